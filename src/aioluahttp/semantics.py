"""Facts of HTTP and WebSocket: phrases, methods and statuses without a body, close codes."""

from __future__ import annotations

from http import HTTPStatus

__all__ = [
    'GOING_AWAY',
    'IDEMPOTENT',
    'INTERNAL_ERROR',
    'METHODS_WITHOUT_BODY',
    'PHRASES',
    'STATUSES_WITHOUT_BODY',
    'is_silent',
]

PHRASES = {int(status): status.phrase for status in HTTPStatus}
STATUSES_WITHOUT_BODY = frozenset({204, 205, 304})
IDEMPOTENT = frozenset({'GET', 'HEAD', 'OPTIONS', 'TRACE', 'PUT', 'DELETE'})  # RFC 9110 9.2.2
# A request of these methods without a body has no ``Content-Length: 0`` either (RFC 9110 8.6).
METHODS_WITHOUT_BODY = frozenset({'GET', 'HEAD', 'OPTIONS', 'TRACE'})
# Close codes of a WebSocket (RFC 6455 7.4.1): this end shuts down; its callback raised an error.
GOING_AWAY, INTERNAL_ERROR = 1001, 1011


def is_silent(method: str, status: int) -> bool:
    """Tell whether a response has no body, whatever its headers say (RFC 9112 6.3)."""
    return method == 'HEAD' or status in STATUSES_WITHOUT_BODY
