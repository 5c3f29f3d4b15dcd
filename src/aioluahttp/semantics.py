"""Facts of HTTP: reason phrases, idempotent methods, and messages without a body."""

from __future__ import annotations

from http import HTTPStatus

__all__ = ['IDEMPOTENT', 'NO_BODY', 'PHRASES', 'is_silent']

PHRASES = {int(status): status.phrase for status in HTTPStatus}
NO_BODY = frozenset({204, 205, 304})  # statuses
IDEMPOTENT = frozenset({'GET', 'HEAD', 'OPTIONS', 'TRACE', 'PUT', 'DELETE'})  # RFC 9110 9.2.2
# A request of these methods without a body has no ``Content-Length: 0`` either (RFC 9110 8.6).
BODILESS = frozenset({'GET', 'HEAD', 'OPTIONS', 'TRACE'})


def is_silent(method: str, status: int) -> bool:
    """Tell whether a response has no body, whatever its headers say (RFC 9112 6.3)."""
    return method == 'HEAD' or status in NO_BODY
