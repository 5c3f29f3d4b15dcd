"""One exchange of a server: a table to the handler, its table out, its mistakes told."""

from __future__ import annotations

import asyncio
import inspect
import logging
from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

from aiohttp import web

from .conversion import to_response, wire_body
from .incoming import Refused, read_body, read_head
from .outgoing import PHRASES, Answer, encode, plain_answer
from .tables import Handler, Request, Response

__all__ = ['AccessLog', 'Exchange', 'OnError', 'Settings']

logger = logging.getLogger('aioluahttp')

OnError = Callable[[BaseException, Request], Any]
AccessLog = logging.Logger | Callable[[Request, Response[Any]], Any]


@dataclass(frozen=True)
class Settings:
    """What holds for every exchange of a server: options of ``listen``."""

    into: str = 'text'
    max_body: int | None = 8 * 1024 * 1024
    handler_timeout: float | None = None
    on_error: OnError | None = None
    access_log: AccessLog | None = None
    server_header: str | None = None


class Exchange:
    """Answers the requests of a server with those of a handler."""

    def __init__(self, handler: Handler, settings: Settings) -> None:
        self.handler = handler
        self.settings = settings
        self.closing = False
        self._running: set[asyncio.Task[Any] | None] = set()

    def running(self) -> set[asyncio.Task[Any]]:
        """Give the tasks in which a request is being answered."""
        return {task for task in self._running if task}

    async def __call__(self, raw: web.BaseRequest) -> Answer:
        """Handle one request; aiohttp calls this in a task made for it."""
        task = asyncio.current_task()
        self._running.add(task)
        try:
            request = read_head(raw)
            await read_body(raw, request, self.settings.into, self.settings.max_body)
        except Refused as refused:
            return plain_answer(refused.status, raw.method)
        else:
            return await self._handled(raw, request)
        finally:
            self._running.discard(task)

    async def _handled(self, raw: web.BaseRequest, request: Request) -> Answer:
        try:
            response = await self._within_timeout(request)
            answer = self._answer(raw, response)
        except Exception as error:
            await self._report(error, request)
            response = to_response({'status': 500, 'body': PHRASES[500]})
            answer = self._answer(raw, response)
        self._log(request, response)
        return answer

    async def _within_timeout(self, request: Request) -> Response[Any]:
        deadline = asyncio.timeout(self.settings.handler_timeout)
        try:
            async with deadline:
                return to_response(await self._call(request))
        except TimeoutError:
            if deadline.expired():
                return to_response({'status': 504, 'body': PHRASES[504]})
            raise

    async def _call(self, request: Request) -> Any:
        try:
            result = self.handler(request)
            return await result if inspect.isawaitable(result) else result
        except asyncio.CancelledError as error:
            task = asyncio.current_task()
            if task and task.cancelling():
                raise
            raise RuntimeError('the handler let a cancellation of its own escape') from error

    def _answer(self, raw: web.BaseRequest, response: Response[Any]) -> Answer:
        headers = response['headers'].copy()
        closes = 'close' in headers.get('Connection', '').lower()
        keep_alive = raw.keep_alive and not closes and not self.closing
        if self.settings.server_header:
            headers.setdefault('Server', self.settings.server_header)
        body = wire_body(headers, response['body'])
        reason = response.get('reason')
        return encode(raw, response['status'], reason, headers, body, keep_alive)

    async def _report(self, error: Exception, request: Request) -> None:
        """Tell of a handler's mistake: to the log, and to ``on_error``."""
        logger.error('%s %s failed', request['method'], request['path'], exc_info=error)
        if self.settings.on_error is None:
            return
        try:
            result = self.settings.on_error(error, request)
            if inspect.isawaitable(result):
                await result
        except Exception:
            logger.exception('on_error failed')

    def _log(self, request: Request, response: Response[Any]) -> None:
        log = self.settings.access_log
        if isinstance(log, logging.Logger):
            log.info(
                '%s "%s %s HTTP/%s" %s',
                request.get('ip', '-'),
                request['method'],
                request['url'],
                request['version'],
                response['status'],
            )
        elif log is not None:
            try:
                log(request, response)
            except Exception:
                logger.exception('access_log failed')
