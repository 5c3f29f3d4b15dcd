"""One record of the standard library's logging for each request."""

from __future__ import annotations

import logging
import time
from functools import wraps
from typing import Any

from ..errors import TableError
from ..tables.checks import is_streamed
from ..tables.conversion import to_request
from ..tables.handlers import response_of_handler
from ..tables.models import Handler, Request, Response, Wrapped
from .taps import tap

__all__ = ['log']

ANSWERED = '%(method)s %(url)s: %(status)s, %(bytes)s bytes in %(seconds).3f s'
FAILED = '%(method)s %(url)s: %(error)s after %(seconds).3f s'


def log(
    handler: Handler, logger: logging.Logger | None = None, *, level: int = logging.INFO
) -> Wrapped:
    """Log each request of a handler in a line once it is over, without what may be secret.

    The record has these attributes, for structured logging: ``method``, ``url`` (without its
    query), ``status``, ``bytes`` (of the response's body), ``seconds`` and ``error`` (the kind of
    exception). Each is None where there is none. A response that flows is over when its body is.

    Args:
        handler: What to wrap.
        logger: Where to; ``None`` is the logger ``aioluahttp.requests``.
        level: That of the records, whatever the status. A request that fails is a warning, and
            its exception goes on.
    """
    target = logger or logging.getLogger('aioluahttp.requests')

    @wraps(handler)  # with what listen reads from it
    async def logged(table: Any) -> Response[Any]:
        request = to_request(table)
        entry = Entry(target, level, request)
        try:
            response = await response_of_handler(handler, request)
        except BaseException as error:
            entry.write(error)
            raise
        entry.answered(response)
        return await tap(response, entry.write, entry.count)

    return logged


class Entry:
    """What the record of a request says, put together as it comes."""

    def __init__(self, logger: logging.Logger, level: int, request: Request) -> None:
        self._log = logger.log
        self._level = level
        self._start = time.perf_counter()
        url = '{scheme}://{host}:{port}{path}'.format_map(request)
        self._fields = {'method': request['method'], 'url': url, 'status': None, 'bytes': None}

    def answered(self, response: Response[Any]) -> None:
        self._fields['status'] = response['status']
        self._fields['bytes'] = 0 if is_streamed(response['body']) else size_of(response)

    def count(self, chunk: Any) -> None:
        data = chunk.encode(errors='surrogateescape') if isinstance(chunk, str) else chunk
        self._fields['bytes'] += len(data)

    def write(self, error: BaseException | None) -> None:
        """Write the record; who cancels or leaves makes no mistake."""
        fields = self._fields | {
            'seconds': time.perf_counter() - self._start,
            'error': None if error is None else type(error).__name__,
        }
        failed = isinstance(error, Exception)
        level, line = (logging.WARNING, FAILED) if failed else (self._level, ANSWERED)
        self._log(level, line, fields, extra=fields)


def size_of(response: Response[Any]) -> int | None:
    """Give the bytes of a body; None for a file, and for what was read from JSON."""
    try:
        return len(response.bytes())
    except TableError:
        return None
