"""A handler and all that is held against its call: room, time, and its mistakes.

One exchange under an engine of others: a table to the handler, its table out.
"""

from __future__ import annotations

import asyncio
import logging
from collections.abc import AsyncIterator, Mapping, Sequence
from contextlib import nullcontext
from typing import Any, Protocol

from ..bodies.chunks import call
from ..errors import Refused
from ..headers import Headers
from ..semantics import PHRASES
from ..tables.checks import STREAMS, check_into, check_max_body
from ..tables.conversion import to_response
from ..tables.handlers import take_response
from ..tables.models import Handler, Request, Response
from ..websockets.handshake import to_pairs
from ..websockets.socket import Peer, Socket, close_callback, run_socket_callback
from .forwarded import Proxies
from .head import has_body
from .options import Settings
from .request_body import RequestChunks, decoder_of, open_request_stream, take_whole
from .response import ResponseWriter, cancel_when_left, write_response

__all__ = ['Exchange', 'ExchangeResponder', 'Responder', 'status_page']

logger: logging.Logger = logging.getLogger('aioluahttp')


class Responder:
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
                return status_page(one.status)
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


def status_page(status: int) -> Response[Any]:
    """Answer for the handler, which does not see the request."""
    overloaded = status == 503
    # Who is refused for what it sent may have meant another end of it.
    headers = {'Retry-After': 1} if overloaded else {'Connection': 'close'}
    return to_response({'status': status, 'headers': headers, 'body': PHRASES[status]})


class Exchange(ResponseWriter, Protocol):
    """A request that an engine has taken up, and the way of its answer.

    Attributes:
        method: As it came.
        announced: Whether it has a body, whatever its head says.
    """

    method: str
    announced: bool

    async def head(self, proxies: Proxies) -> Request:
        """Make its table, but for its body; raises ``Refused``."""
        ...

    def parts(self, seconds: float) -> AsyncIterator[bytes]:
        """Read its body, each part within a time."""
        ...

    def refuses(
        self, options: dict[str, Any], request: Request
    ) -> tuple[int, Sequence[str]] | None:
        """Find why it opens no WebSocket, as ``handshakes.refusal``."""

    async def open(
        self, options: dict[str, Any], request: Request, headers: Headers
    ) -> tuple[Peer, str | None]:
        """Open a WebSocket, and give its end here, and the subprotocol."""
        ...

    def cut(self) -> None:
        """Break the answer off, so that its client can tell."""


class ExchangeResponder(Responder):
    """Answers requests of an engine with those of a handler."""

    async def __call__(self, line: Exchange) -> None:
        """Answer the request that an engine has taken up."""
        try:
            request = await line.head(self.settings.trusted_proxies)
        except Refused as refused:
            logger.info('bad request: %s', refused.status)
            await write_response(line, line.method, Headers(), status_page(refused.status))
            return
        # For the logs: the handler may change its table.
        target, asked = request['url'], request['headers']
        said = f'{request.get("ip", "-")} "{line.method} {target} HTTP/{request["version"]}"'
        try:
            response, status = await self._answered(line, request, target, asked)
        except Exception as error:
            line.cut()
            left = line.gone and isinstance(error, ConnectionError)
            if not (left or isinstance(error.__cause__, Refused)):
                await self.mistaken(error, line.method, target, request)
            return
        response['status'] = status
        if self.settings.access_log is not None:
            await self.log(said, request, response)

    async def _answered(
        self, line: Exchange, request: Request, target: str, asked: Headers
    ) -> tuple[Response[Any], int]:
        """Answer, and give the table of the answer and its status."""
        watches = cancel_when_left if self.settings.cancel_on_disconnect else nullcontext
        try:
            async with watches(line):
                table = await self.returned(line, request)
            response = await take_response(table)
            if 'websocket' in response:
                try:
                    return response, await self._socket(line, request, response)
                finally:
                    await close_callback(response['websocket']['callback'])
            return response, await write_response(line, line.method, asked, response)
        except Exception as error:
            if line.begun or (line.gone and isinstance(error, ConnectionError)):
                raise
            response = await self.failed(error, line.method, target, request)
            return response, await write_response(line, line.method, asked, response)

    def announces(self, source: Exchange, request: Request) -> bool:
        """Tell whether there is to be a body."""
        return source.announced or super().announces(source, request)

    async def take_body(
        self, source: Exchange, request: Request, into: str, limit: int | None
    ) -> None:
        """Read the body of a request into its table, or open the stream that it is to be."""
        parts = source.parts(self.settings.body_timeout)
        if into in STREAMS:
            open_request_stream(
                RequestChunks(parts, decoder_of(into, request['headers'], limit)), request
            )
        else:
            await take_whole(parts, request, into, limit)

    async def _socket(self, line: Exchange, request: Request, response: Response[Any]) -> int:
        """Refuse, or agree and give the WebSocket to its callback (RFC 6455 4.2)."""
        options = response['websocket']
        refused = line.refuses(options, request)
        if refused:
            status, fields = refused
            logger.info('no WebSocket for %s: %s', request.get('ip'), status)
            body = PHRASES[status].encode()
            plain = {'Content-Type': 'text/plain; charset=utf-8', 'Content-Length': str(len(body))}
            headers = Headers([*to_pairs(fields), *plain.items()])
            await line.whole(status, None, headers, body)
            return status
        end, protocol = await line.open(options, request, response['headers'])
        await run_socket_callback(
            options['callback'], end, Socket(end, protocol, request, response)
        )
        return 101
