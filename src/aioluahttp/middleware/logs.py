"""The middleware ``log``: write one ``logging`` record for each request."""

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

COMPLETED = '%(method)s %(url)s: %(status)s, %(bytes)s bytes in %(seconds).3f s'
FAILED = '%(method)s %(url)s: %(error)s after %(seconds).3f s'


def log(
    handler: Handler, logger: logging.Logger | None = None, *, level: int = logging.INFO
) -> Wrapped:
    """Log one line for each request of a handler when it has ended, without secrets.

    The record has these attributes for structured logging: ``method``, ``url`` (without the
    query), ``status``, ``bytes`` (size of the response body), ``seconds`` and ``error`` (the name
    of the exception's class). An attribute without a value is None. A streamed response ends when
    its body ends.

    Args:
        handler: The handler to wrap.
        logger: The logger to use; ``None`` is the logger ``aioluahttp.requests``.
        level: The level of the records, whatever the status. A request that fails is logged as a
            warning, and its exception is raised again.
    """
    target = logger or logging.getLogger('aioluahttp.requests')

    @wraps(handler)  # also copies ``into`` and ``max_body``, which servers read from a handler
    async def logged(table: Any) -> Response[Any]:
        request = to_request(table)
        entry = LogEntry(target, level, request)
        try:
            response = await response_of_handler(handler, request)
        except BaseException as error:
            entry.write(error)
            raise
        entry.set_response(response)
        return await tap(response, entry.write, entry.count)

    return logged


class LogEntry:
    """The log record of one request, filled in as the request goes on."""

    def __init__(self, logger: logging.Logger, level: int, request: Request) -> None:
        self._log = logger.log
        self._level = level
        self._start = time.perf_counter()
        url = '{scheme}://{host}:{port}{path}'.format_map(request)
        self._fields = {'method': request['method'], 'url': url, 'status': None, 'bytes': None}

    def set_response(self, response: Response[Any]) -> None:
        self._fields['status'] = response['status']
        self._fields['bytes'] = 0 if is_streamed(response['body']) else size_of(response)

    def count(self, chunk: Any) -> None:
        data = chunk.encode(errors='surrogateescape') if isinstance(chunk, str) else chunk
        self._fields['bytes'] += len(data)

    def write(self, error: BaseException | None) -> None:
        """Write the record. A cancelled request or an unfinished stream is not a failure."""
        fields = self._fields | {
            'seconds': time.perf_counter() - self._start,
            'error': None if error is None else type(error).__name__,
        }
        failed = isinstance(error, Exception)
        level, line = (logging.WARNING, FAILED) if failed else (self._level, COMPLETED)
        self._log(level, line, fields, extra=fields)


def size_of(response: Response[Any]) -> int | None:
    """Return the size of a body in bytes; None for a file or a value decoded from JSON."""
    try:
        return len(response.bytes())
    except TableError:
        return None
