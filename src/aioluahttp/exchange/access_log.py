"""The access log: one record for each response, the same for a logger and for a function."""

from __future__ import annotations

import logging
import re
import time
from typing import Any

from ..bodies.chunks import call
from ..tables.models import Request
from .response import ResponseWriter

__all__ = ['AccessRecord', 'body_size']

logger: logging.Logger = logging.getLogger('aioluahttp')

LINE = '%s "%s %s HTTP/%s" %s %s %.6f'  # like the common log format, without user and date
ODD = re.compile(r'[^!#-\[\]-~]')  # would break the line, or what parses it: quotes, controls …


class AccessRecord:
    """What the access log has of one request and its response.

    It is made when the head of the request has arrived, because the handler may change its table,
    and written when the response has ended.

    Args:
        writer: Of the response; it counts the bytes of the body.
        method: As the client sent it.
        request: Without its body.
    """

    def __init__(self, writer: ResponseWriter, method: str, request: Request) -> None:
        self._writer = writer
        writer.sent = 0
        self._start = time.perf_counter()
        self._version = request['version']
        self._asked = {'ip': request.get('ip'), 'method': method, 'target': request['url']}

    async def write(self, log: Any, request: Request, response: Any) -> None:
        """Log one line, or call a function; what that raises is logged.

        Args:
            log: The logger, or the function, whose response table gets the key ``record``.
            request: The table that the handler had.
            response: A table with a ``status``.
        """
        if isinstance(log, logging.Logger) and not log.isEnabledFor(logging.INFO):
            return
        seconds = time.perf_counter() - self._start
        status, size = response['status'], self._writer.sent
        record = {**self._asked, 'status': status, 'bytes': size, 'seconds': seconds}
        try:
            if isinstance(log, logging.Logger):
                target = ODD.sub(_escaped_text, record['target'])
                asked = record['ip'] or '-', record['method'], target, self._version
                log.info(LINE, *asked, status, size, seconds, extra=record)
            else:
                response['record'] = record
                await call(log, request, response)
        except Exception:
            logger.exception('access_log failed')


def _escaped_text(found: re.Match[str]) -> str:
    return ''.join(f'\\x{byte:02X}' for byte in found[0].encode('utf-8', 'surrogateescape'))


def body_size(message: bytes) -> int:
    """Return the length of the body of a response, in its bytes as they are sent."""
    return len(message) - message.index(b'\r\n\r\n') - 4
