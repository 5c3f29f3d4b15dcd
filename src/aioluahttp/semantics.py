"""Facts of HTTP: phrases of statuses, and which methods and statuses have no body."""

from __future__ import annotations

from http import HTTPStatus

__all__ = ['IDEMPOTENT', 'NO_BODY', 'PHRASES', 'is_silent']


PHRASES = {int(status): status.phrase for status in HTTPStatus}
NO_BODY = frozenset({204, 205, 304})


def is_silent(method: str, status: int) -> bool:
    """Tell whether a response has no body, whatever its head says (RFC 9112 6.3)."""
    return method == 'HEAD' or status in NO_BODY


IDEMPOTENT = frozenset({'GET', 'HEAD', 'OPTIONS', 'TRACE', 'PUT', 'DELETE'})  # RFC 9110 9.2.2


BODILESS = frozenset({'GET', 'HEAD', 'OPTIONS', 'TRACE'})  # without a Content-Length of 0, too
