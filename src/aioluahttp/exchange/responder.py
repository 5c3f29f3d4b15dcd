"""A handler and all that is held against its call: room, time, and its mistakes."""

from __future__ import annotations

import asyncio
import logging
from collections.abc import Mapping
from typing import Any

from ..bodies.chunks import call
from ..errors import Refused
from ..semantics import PHRASES
from ..tables.checks import STREAMS, check_into, check_max_body
from ..tables.conversion import to_response
from ..tables.models import Handler, Request, Response
from .head import has_body
from .options import Settings

__all__ = ['Handling', 'refusal']

logger: logging.Logger = logging.getLogger('aioluahttp')


class Handling:
    """Calls a handler, once the body of its request is there.

    ``source`` is what a request is read from; only ``take_body`` looks into it.
    """

    def __init__(self, handler: Handler, settings: Settings) -> None:
        self.handler = handler
        self.settings = settings
        self.handling: int = 0  # callbacks that run
        self.errors: int = 0  # mistakes of the callback so far

    async def take_body(self, source: Any, request: Request, into: str, limit: int | None) -> None:
        """Read the body of a request into its table, or open the stream that it is to be."""
        raise NotImplementedError

    def announces(self, source: Any, request: Request) -> bool:
        """Tell whether there is to be a body."""
        return has_body(request)

    async def returned(self, source: Any, request: Request) -> Any:
        """Give what the handler returns for a request.

        Raises:
            Refused: The request is not for the handler.
        """
        settings = self.settings
        self._check_room()
        if self.announces(source, request):
            into, limit = self._terms(request)
            await self.take_body(source, request, into, limit)
            self._check_room()  # others may have come as the body was read
        self.handling += 1
        try:
            if settings.handler_timeout is None:
                return await call(self.handler, request)
            return await self._within_timeout(request, settings.handler_timeout)
        finally:
            self.handling -= 1

    def _terms(self, request: Request) -> tuple[str, int | None]:
        into, limit = self.settings.into, self.settings.max_body
        if callable(into):
            into = check_into(into(request))
        if callable(limit):
            limit = check_max_body(limit(request))
        unlimited = into in STREAMS and not self.settings.limits_streams
        return into, None if unlimited else limit

    def _check_room(self) -> None:
        if self.handling == self.settings.max_concurrent:
            raise Refused(503)

    async def _within_timeout(self, request: Request, seconds: float) -> Any:
        deadline = asyncio.timeout(seconds)
        try:
            async with deadline:
                return await call(self.handler, request)
        except TimeoutError:
            if deadline.expired():
                return {'status': 504, 'body': PHRASES[504]}
            raise

    async def failed(
        self, error: Exception, method: str, target: str, request: Request
    ) -> Response[Any]:
        """Give the answer for what went wrong: the fault of the client, or of the callback.

        Args:
            method: As the client gave it, and so the target: the handler may change its table.
        """
        for one in (error, error.__cause__):
            if isinstance(one, Refused):
                return refusal(one.status)
        await self.mistaken(error, method, target, request)
        return to_response({'status': 500, 'body': PHRASES[500]})

    async def mistaken(self, error: Exception, method: str, target: str, request: Request) -> None:
        """Take note of a mistake of the callback."""
        self.errors += 1
        logger.error('%s %s failed', method, target.partition('?')[0], exc_info=error)
        if self.settings.on_error is None:
            return
        try:
            await call(self.settings.on_error, error, request)
        except Exception:
            logger.exception('on_error failed')

    async def log(self, line: str, request: Request, response: Mapping[str, Any]) -> None:
        """Write to the access log, of which there is one."""
        log: Any = self.settings.access_log
        if isinstance(log, logging.Logger):
            log.info('%s %s', line, response['status'])
        else:
            try:
                await call(log, request, response)
            except Exception:
                logger.exception('access_log failed')


def refusal(status: int) -> Response[Any]:
    """Answer for the handler, which does not see the request."""
    overloaded = status == 503
    # Who is refused for what it sent may have meant another end of it.
    headers = {'Retry-After': 1} if overloaded else {'Connection': 'close'}
    return to_response({'status': status, 'headers': headers, 'body': PHRASES[status]})
