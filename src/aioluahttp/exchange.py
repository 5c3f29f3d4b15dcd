"""One exchange of a server: a table to the handler, its table out, its mistakes told."""

from __future__ import annotations

import asyncio
import inspect
import logging
from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

from aiohttp.web_protocol import RequestHandler
from aiohttp.web_request import BaseRequest

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
        # The connections on which a request is being read or handled, with its task.
        self.running: dict[RequestHandler, asyncio.Task[Any]] = {}

    async def __call__(self, raw: BaseRequest) -> Answer:
        """Handle one request; aiohttp calls this in a task made for it."""
        task: Any = asyncio.current_task()
        connection = raw.protocol
        self.running[connection] = task
        try:
            request = read_head(raw)
            await read_body(raw, request, self.settings.into, self.settings.max_body)
        except Refused as refused:
            return plain_answer(refused.status, raw.method)
        else:
            return await self._handled(raw, request)
        finally:
            del self.running[connection]

    async def _handled(self, raw: BaseRequest, request: Request) -> Answer:
        target = request['url']  # for the logs: the handler may change its table
        try:
            response = await self._within_timeout(request)
            answer = self._answer(raw, response)
        except Exception as error:
            path = target.partition('?')[0]
            logger.error('%s %s failed', raw.method, path, exc_info=error)
            await self._tell(error, request)
            response = to_response({'status': 500, 'body': PHRASES[500]})
            answer = self._answer(raw, response)
        await self._log(raw, target, request, response)
        return answer

    async def _within_timeout(self, request: Request) -> Response[Any]:
        deadline = asyncio.timeout(self.settings.handler_timeout)
        try:
            async with deadline:
                return to_response(await _call(self.handler, request))
        except TimeoutError:
            if deadline.expired():
                return to_response({'status': 504, 'body': PHRASES[504]})
            raise

    def _answer(self, raw: BaseRequest, response: Response[Any]) -> Answer:
        headers = response['headers'].copy()
        closes = 'close' in ','.join(headers.getall('Connection', ())).lower()
        keep_alive = raw.keep_alive and not closes and not self.closing
        if self.settings.server_header:
            headers.setdefault('Server', self.settings.server_header)
        body = wire_body(headers, response['body'])
        reason = response.get('reason')
        return encode(raw, response['status'], reason, headers, body, keep_alive)

    async def _tell(self, error: Exception, request: Request) -> None:
        if self.settings.on_error is None:
            return
        try:
            await _call(self.settings.on_error, error, request)
        except Exception:
            logger.exception('on_error failed')

    async def _log(
        self, raw: BaseRequest, target: str, request: Request, response: Response[Any]
    ) -> None:
        log = self.settings.access_log
        if isinstance(log, logging.Logger):
            log.info(
                '%s "%s %s HTTP/%s.%s" %s',
                raw.remote or '-',
                raw.method,
                target,
                *raw.version,
                response['status'],
            )
        elif log is not None:
            try:
                await _call(log, request, response)
            except Exception:
                logger.exception('access_log failed')


async def _call(function: Callable[..., Any], *arguments: Any) -> Any:
    """Call what a user gave, and await what it returns where that can be awaited."""
    try:
        result = function(*arguments)
        return await result if inspect.isawaitable(result) else result
    except (Exception, KeyboardInterrupt, SystemExit, GeneratorExit):
        raise
    except BaseException as error:  # such as a cancellation of its own, or pytest.fail's
        task = asyncio.current_task()
        if isinstance(error, asyncio.CancelledError) and task and task.cancelling():
            raise
        raise RuntimeError(f'{type(error).__name__} escaped from it') from error
