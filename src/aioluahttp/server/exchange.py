"""One exchange of a server: a table to the handler, its table out, its mistakes told."""

from __future__ import annotations

import asyncio
import logging
from collections.abc import Mapping
from os import PathLike
from typing import Any

from aiohttp.http_writer import HttpVersion11

from ..errors import Refused
from ..exchange.options import Settings
from ..exchange.responder import Handling
from ..headers import Headers
from ..tables.checks import STREAMS, flows
from ..tables.conversion import wire_body
from ..tables.handlers import taken
from ..tables.models import Handler, Request, Response
from .encode import Answer, encode, plain_answer
from .flowing import open_body
from .framing import Framed
from .incoming import read_body, read_head
from .lean import lean_bytes
from .paths import FileAnswer
from .sending import Sending
from .streaming import Streamed
from .upgrading import Upgrade

__all__ = ['Exchange']

logger: logging.Logger = logging.getLogger('aioluahttp')


class Exchange(Handling):
    """Answers the requests of a server with those of a handler."""

    def __init__(self, handler: Handler, settings: Settings) -> None:
        super().__init__(handler, settings)
        self.closing = False
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
            response = await self.returned(connection, request)
            answer = self._lean(connection, response)
            if answer is None:
                response = await taken(response)
                answer = await self._answer(connection, request, target, response)
        except Exception as error:
            response = await self.failed(error, connection.head.method, target, request)
            answer = self._plain(connection, response)
        if self.settings.access_log is not None:
            head = connection.head
            line = (
                f'{client} "{head.method} {target} HTTP/{head.version.major}.{head.version.minor}"'
            )
            await self.log(line, request, response)
        return answer

    async def take_body(
        self, source: Framed, request: Request, into: str, limit: int | None
    ) -> None:
        """Read the body of a request into its table, or open the stream that it is to be."""
        seconds = self.settings.body_timeout
        if into in STREAMS:
            open_body(source, request, into, limit, seconds)
        else:
            await read_body(source, request, into, limit, seconds)

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
                await self.mistaken(error, connection.head.method, target, request)
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
