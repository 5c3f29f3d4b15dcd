"""Responder: respond to each exchange with what a handler returns, whatever the engine.

An exchange is one request and its response on some engine. ``server/exchange`` (``listen``),
``asgi``, ``web`` and ``transports/in_process`` each implement ``Exchange``. Limits, timeouts,
``on_error`` and status pages are here, in one place for all engines.
"""

from __future__ import annotations

import asyncio
import logging
from collections.abc import Awaitable, Coroutine, Mapping, Sequence
from typing import Any, Protocol

from ..bodies.chunks import call, to_exception
from ..errors import Refused
from ..headers import Headers
from ..semantics import PHRASES
from ..tables.checks import STREAMS, check_into, check_max_body
from ..tables.conversion import status_page
from ..tables.handlers import take_response
from ..tables.models import Handler, Request, Response
from ..websockets.socket import Peer, Socket, close_callback, run_socket_callback
from .access_log import AccessRecord, body_size
from .forwarded import Proxies
from .lifespan import Lifespan
from .options import Settings
from .request_body import BodyParts, RequestChunks, decoder_of, open_request_stream, read_whole
from .response import ResponseWriter, write_later, write_now

__all__ = ['Exchange', 'Responder', 'has_body', 'refusal_page']

logger: logging.Logger = logging.getLogger('aioluahttp')


class Exchange(ResponseWriter, Protocol):
    """A request on some engine, and the means to respond to it.

    Attributes:
        method: Method of the request, as it was received.
        peer: Address of the peer, for logs; ``None`` if unknown or on a Unix socket.
        announced: Whether there is a body even if the head does not say so.
        is_fast: Whether ``fast`` can write a plain table.
    """

    is_fast: bool = False

    method: str
    peer: str | None
    announced: bool

    async def head(self, proxies: Proxies) -> Request:
        """Make the table of the request, without its body; raises ``Refused``."""
        ...

    def parts(self, seconds: float) -> BodyParts:
        """Iterate over the body; each part must arrive within the timeout in seconds.

        Raises:
            Refused: The body is sent in a way that the engine does not support.
        """
        ...

    async def fast(self, table: Any) -> bytes | None:
        """Write a plain table in one step, if this engine can; return what it wrote."""
        return None

    async def refuse(self, status: int, fields: Sequence[str] = ()) -> None:
        """Write a short page for a request that no handler gets, with more header lines."""
        ...

    def detach(self, writing: Coroutine[Any, Any, None]) -> Awaitable[None]:
        """Run the writing of a streamed response or a WebSocket; an engine may return earlier."""
        return writing

    def handshake_refusal(
        self, options: Mapping[str, Any], request: Request
    ) -> tuple[int, Sequence[str]] | None:
        """Return why no WebSocket can be opened, as ``handshake.check_handshake`` does."""

    async def open(
        self, options: Mapping[str, Any], request: Request, headers: Headers
    ) -> tuple[Peer, str | None]:
        """Open a WebSocket; return this end of it and the subprotocol."""
        ...

    def abort(self) -> None:
        """Abort a response that has begun, so that the client does not take it for complete."""


class Responder:
    """Call a handler once the body of its request has been read, and write what it returns.

    Attributes:
        lifespan: Of the handler; whoever serves with it starts and stops it.
        handling: Number of handler calls in progress.
        errors: Number of handler errors so far.
    """

    def __init__(self, handler: Handler, settings: Settings) -> None:
        self.handler = handler
        self.settings = settings
        self.lifespan: Lifespan = Lifespan(settings.lifespan)
        self.handling: int = 0
        self.errors: int = 0

    async def __call__(self, exchange: Exchange) -> None:
        """Read the request, call the handler, and write the response."""
        if self.settings.lifespan is not None:
            self.lifespan.set_variables()
        try:
            request = await exchange.head(self.settings.trusted_proxies)
        except Refused as refused:
            logger.info('bad request from %s: %s', exchange.peer, refused.status)
            await exchange.refuse(refused.status)
            return
        log = self.settings.access_log
        # Kept for logs and conditions: the handler may change its table.
        target, asked = request['url'], request['headers']
        record = None if log is None else AccessRecord(exchange, exchange.method, request)
        response: Mapping[str, Any] | None = None
        apart: Response[Any] | None = None  # what is not written whole
        try:
            if self.settings.cancel_on_disconnect:
                async with exchange.cancelled_when_left():
                    table = await self.call_handler(exchange, request)
            else:
                table = await self.call_handler(exchange, request)
            # A function as access log gets a Response, which the fast path does not make.
            fast = exchange.is_fast and not callable(log)
            if fast and (data := await exchange.fast(table)) is not None:
                response = table
                if record is not None:
                    exchange.sent = body_size(data)
            else:
                response = made = await take_response(table)
                if 'websocket' in made or not await write_now(exchange, exchange.method, made):
                    apart = made
        except BaseException as error:
            response = await self._fail(error, exchange, request, target) or response
        if apart is not None:
            await exchange.detach(self._write(exchange, request, target, asked, record, apart))
        elif record is not None and response is not None:
            await record.write(log, request, response)

    async def _write(
        self,
        exchange: Exchange,
        request: Request,
        target: str,
        asked: Headers,
        record: AccessRecord | None,
        response: Response[Any],
    ) -> None:
        """Write a response, and an error response if that fails before anything is written."""
        try:
            if 'websocket' in response:
                await self._websocket(exchange, request, response)
            else:
                await write_later(exchange, exchange.method, asked, response)
        except BaseException as error:
            response = await self._fail(error, exchange, request, target) or response
        if record is not None:
            await record.write(self.settings.access_log, request, response)

    async def _fail(
        self,
        error: BaseException,
        exchange: Exchange,
        request: Request,
        target: str,
    ) -> Response[Any] | None:
        """Write the response to an error of the handler, or abort a response that has begun.

        Returns:
            The response; ``None`` if another one has begun, or the client has left.

        Raises:
            BaseException: ``error``, if it ends the task or the process.
        """
        try:
            error = to_exception(error)
        except BaseException:
            exchange.abort()
            raise
        left = exchange.gone and isinstance(error, ConnectionError)
        if not (exchange.begun or left):
            response = await self.error_response(error, exchange.method, target, request)
            await write_now(exchange, exchange.method, response)  # a page is here at once
            return response
        exchange.abort()
        if not (left or isinstance(error.__cause__, Refused)):
            await self.report_error(error, exchange.method, target, request)
        return None

    async def call_handler(self, exchange: Exchange, request: Request) -> Any:
        """Read the body, call the handler and return its result.

        Raises:
            Refused: The handler is not called: too many calls are in progress, or the body is bad.
        """
        settings = self.settings
        most = settings.max_concurrent
        if self.handling == most:
            raise Refused(503)
        if exchange.announced or has_body(request):
            await self.read_body(exchange, request, *self._body_options(request))
            if self.handling == most:  # other calls may have begun while the body was read
                raise Refused(503)
        self.handling += 1
        try:
            if settings.handler_timeout is None:
                return await call(self.handler, request)
            return await self._within_timeout(request, settings.handler_timeout)
        finally:
            self.handling -= 1

    async def read_body(
        self, exchange: Exchange, request: Request, into: str, limit: int | None
    ) -> None:
        """Read the body of a request into its table, or set it to an open stream."""
        parts = exchange.parts(self.settings.body_timeout)
        if into in STREAMS:
            decoder = decoder_of(into, request['headers'], limit)
            open_request_stream(RequestChunks(parts, decoder), request)
        else:
            await read_whole(parts, request, into, limit)

    def _body_options(self, request: Request) -> tuple[str, int | None]:
        into, limit = self.settings.into, self.settings.max_body
        if callable(into):
            into = check_into(into(request))
        if callable(limit):
            limit = check_max_body(limit(request))
        unlimited = into in STREAMS and not self.settings.limits_streams
        return into, None if unlimited else limit

    async def _within_timeout(self, request: Request, seconds: float) -> Any:
        deadline = asyncio.timeout(seconds)
        try:
            async with deadline:
                return await call(self.handler, request)
        except TimeoutError:
            if deadline.expired():
                return status_page(504)
            raise

    async def _websocket(
        self, exchange: Exchange, request: Request, response: Response[Any]
    ) -> None:
        """Refuse a WebSocket, or open it and run its callback (RFC 6455 4.2)."""
        options = response['websocket']
        try:
            if refusal := exchange.handshake_refusal(options, request):
                status, fields = refusal
                logger.info('no WebSocket for %s: %s', request.get('ip'), status)
                response['status'] = status
                await exchange.refuse(status, fields)
                exchange.sent = 0 if exchange.method == 'HEAD' else len(PHRASES[status])
                return
            response['status'] = 101
            peer, protocol = await exchange.open(options, request, response['headers'])
            socket = Socket(peer, protocol, request, response)
            await run_socket_callback(options['callback'], peer, socket)
        finally:
            await close_callback(options['callback'])

    async def error_response(
        self, error: Exception, method: str, target: str, request: Request
    ) -> Response[Any]:
        """Return the error response: the status of a ``Refused``, else 500 for a handler error.

        Args:
            error: What was raised; it or its cause may be a ``Refused``.
            method: As the client sent it, like ``target``: the handler may have changed its table.
        """
        for one in (error, error.__cause__):
            if isinstance(one, Refused):
                return refusal_page(one.status)
        await self.report_error(error, method, target, request)
        return status_page(500)

    async def report_error(
        self, error: Exception, method: str, target: str, request: Request
    ) -> None:
        """Count and log an error of the handler, and call ``on_error``."""
        self.errors += 1
        logger.error('%s %s failed', method, target.partition('?')[0], exc_info=error)
        if self.settings.on_error is None:
            return
        try:
            await call(self.settings.on_error, error, request)
        except Exception:
            logger.exception('on_error failed')


def has_body(request: Request) -> bool:
    """Tell whether a request has a body: its framing announces one, or it is a POST."""
    headers = request['headers']
    always = request['method'] == 'POST'
    return always or 'Content-Length' in headers or 'Transfer-Encoding' in headers


def refusal_page(status: int) -> Response[Any]:
    """Make a response for a request that the handler does not get."""
    overloaded = status == 503
    # Closed after a bad request: its framing, and so where the next one begins, is in doubt.
    headers = {'Retry-After': 1} if overloaded else {'Connection': 'close'}
    return status_page(status, headers)
