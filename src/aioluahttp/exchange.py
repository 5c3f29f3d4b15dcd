"""One exchange of a server: a table to the handler, its table out, its mistakes told."""

from __future__ import annotations

import asyncio
import logging
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from os import PathLike
from typing import Any

from aiohttp.http_writer import HttpVersion11

from .answers import taken
from .calling import call
from .checks import STREAMS, check_into, check_max_body, flows
from .conversion import to_response, wire_body
from .errors import Refused
from .flowing import open_body
from .forwarded import NOBODY, Proxies
from .framing import Framed
from .headers import Headers
from .incoming import has_body, read_body, read_head
from .lean import lean_bytes
from .outgoing import PHRASES, Answer, encode, plain_answer
from .paths import FileAnswer
from .sending import Sending
from .streaming import Streamed
from .tables import Handler, Request, Response
from .upgrading import Upgrade

__all__ = ['AccessLog', 'Exchange', 'OnError', 'Settings']

logger = logging.getLogger('aioluahttp')

OnError = Callable[[BaseException, Request], Any]
AccessLog = logging.Logger | Callable[[Request, Response[Any]], Any]


@dataclass(frozen=True)
class Settings:
    """What holds for every exchange of a server: options of ``listen``."""

    into: str | Callable[[Request], str] = 'text'
    max_body: int | Callable[[Request], int | None] | None = 8 * 1024 * 1024
    limits_streams: bool = False  # as where max_body is given
    max_concurrent: int | None = None
    head_timeout: float = 30.0
    body_timeout: float = 30.0
    handler_timeout: float | None = None
    keepalive_timeout: float = 75.0  # above the minute of common proxies: they close first
    cancel_on_disconnect: bool = False
    trusted_proxies: Proxies = NOBODY
    on_error: OnError | None = None
    access_log: AccessLog | None = None
    server_header: str | None = None


class Exchange:
    """Answers the requests of a server with those of a handler."""

    def __init__(self, handler: Handler, settings: Settings) -> None:
        self.handler = handler
        self.settings = settings
        self.closing = False
        self.handling = 0  # callbacks that run
        self.errors = 0  # mistakes of the callback so far
        # The connections on which a request is being read, handled or answered.
        self.running: set[Framed] = set()

    async def __call__(self, connection: Framed) -> Answer:
        """Answer the request that a connection has taken up."""
        try:
            request = read_head(connection, self.settings.trusted_proxies)
        except Refused as refused:
            logger.info('bad request from %s: %s', connection.peer, refused.status)
            return plain_answer(refused.status, connection.head.method)
        # For the logs: the handler may change its table.
        client, target = request.get('ip', '-'), request['url']
        response: Mapping[str, Any]
        try:
            response = await self._returned(connection, request)
            answer = self._lean(connection, response)
            if answer is None:
                response = await taken(response)
                answer = await self._answer(connection, request, target, response)
        except Refused as refused:
            response = _refusal(refused.status)
            answer = self._plain(connection, response)
        except Exception as error:
            if isinstance(error.__cause__, Refused):  # the client's fault
                response = _refusal(error.__cause__.status)
            else:
                await self._mistaken(connection, request, target, error)
                response = to_response({'status': 500, 'body': PHRASES[500]})
            answer = self._plain(connection, response)
        if self.settings.access_log is not None:
            head = connection.head
            line = (
                f'{client} "{head.method} {target} HTTP/{head.version.major}.{head.version.minor}"'
            )
            await self._log(line, request, response)
        return answer

    async def _returned(self, connection: Framed, request: Request) -> Any:
        """Give what the handler returns for a request."""
        settings = self.settings
        self._check_room()
        if has_body(request):
            await self._take_body(connection, request)
            self._check_room()  # others may have come as the body was read
        self.handling += 1
        try:
            if settings.handler_timeout is None:
                return await call(self.handler, request)
            return await self._within_timeout(request, settings.handler_timeout)
        finally:
            self.handling -= 1

    async def _take_body(self, connection: Framed, request: Request) -> None:
        into, limit = self.settings.into, self.settings.max_body
        if callable(into):
            into = check_into(into(request))
        if callable(limit):
            limit = check_max_body(limit(request))
        seconds = self.settings.body_timeout
        if into not in STREAMS:
            await read_body(connection, request, into, limit, seconds)
        else:
            limit = limit if self.settings.limits_streams else None
            open_body(connection, request, into, limit, seconds)

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

    def _lean(self, connection: Framed, table: Any) -> Answer | None:
        """Answer the short way; None where that is not for this request, or this table."""
        head = connection.head
        wants_all = head.method != 'HEAD' and head.version is HttpVersion11
        if not wants_all or callable(self.settings.access_log):  # which gets a Response
            return None
        keep_alive = connection.keeps and not self.closing
        data = lean_bytes(table, self.settings.server_header, keep_alive=keep_alive)
        return None if data is None else Answer(table['status'], data, keep_alive)

    async def _answer(
        self, connection: Framed, request: Request, target: str, response: Response[Any]
    ) -> Answer:
        """Answer the way that is for every table; what writes itself has written all of it."""
        sending = self.to_sending(connection, request, response)
        if sending is None:
            return self._plain(connection, response)
        connection.cancels, connection.begun = True, False
        goes_on = False
        try:
            goes_on = await sending.send(connection)
        except asyncio.CancelledError:
            task = asyncio.current_task()
            if task is None or connection.transport is not None:
                raise  # the server closes
            task.uncancel()
        except Exception as error:
            transport = connection.transport
            left = isinstance(error, ConnectionError) and (
                transport is None or transport.is_closing()
            )
            if not (connection.begun or left):
                raise
            if not (left or isinstance(error.__cause__, Refused)):
                await self._mistaken(connection, request, target, error)
        finally:
            connection.cancels = connection.begun = False
        response['status'] = sending.status
        return Answer(sending.status, b'', goes_on and not self.closing)

    def to_sending(
        self, connection: Framed, request: Request, response: Response[Any]
    ) -> Sending | None:
        """Find what answers with a table by writing itself; None where its bytes are at hand."""
        if 'websocket' in response:
            return Upgrade(request, response)
        body = response['body']
        if isinstance(body, str | bytes):
            return None
        if isinstance(body, PathLike):
            return FileAnswer(response, *self._framed(connection, response))
        if flows(body):
            return Streamed(response, *self._framed(connection, response))
        return None

    def _plain(self, connection: Framed, response: Response[Any]) -> Answer:
        """Answer the way that is for every table."""
        headers, keep_alive = self._framed(connection, response)
        body = wire_body(headers, response['body'])
        reason = response.get('reason')
        return encode(connection.head, response['status'], reason, headers, body, keep_alive)

    def _framed(self, connection: Framed, response: Response[Any]) -> tuple[Headers, bool]:
        """Give the headers of an answer, and whether the connection goes on."""
        headers: Headers = response['headers'].copy()
        closes = 'close' in ','.join(headers.getall('Connection', ())).lower()
        if self.settings.server_header:
            headers.setdefault('Server', self.settings.server_header)
        return headers, connection.keeps and not self.closing and not closes

    async def _mistaken(
        self, connection: Framed, request: Request, target: str, error: Exception
    ) -> None:
        """Take note of a mistake of the callback."""
        self.errors += 1
        path = target.partition('?')[0]
        logger.error('%s %s failed', connection.head.method, path, exc_info=error)
        await self._tell(error, request)

    async def _tell(self, error: Exception, request: Request) -> None:
        if self.settings.on_error is None:
            return
        try:
            await call(self.settings.on_error, error, request)
        except Exception:
            logger.exception('on_error failed')

    async def _log(self, line: str, request: Request, response: Mapping[str, Any]) -> None:
        log: Any = self.settings.access_log
        if isinstance(log, logging.Logger):
            log.info('%s %s', line, response['status'])
        else:
            try:
                await call(log, request, response)
            except Exception:
                logger.exception('access_log failed')


def _refusal(status: int) -> Response[Any]:
    """Answer for the handler, which does not see the request."""
    overloaded = status == 503
    # Who is refused for what it sent may have meant another end of it.
    headers = {'Retry-After': 1} if overloaded else {'Connection': 'close'}
    return to_response({'status': status, 'headers': headers, 'body': PHRASES[status]})
