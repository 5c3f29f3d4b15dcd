"""Responder: call a handler for a request, enforce its limits, and turn its errors into responses.

``ExchangeResponder`` does it for an exchange of ASGI or aiohttp.web; the classes of our own server
and of the in-process transport are in ``server`` and ``transports``.
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
from .request_body import RequestChunks, decoder_of, open_request_stream, read_whole
from .response import ResponseWriter, cancel_when_left, write_response

__all__ = ['Exchange', 'ExchangeResponder', 'Responder', 'status_page']

logger: logging.Logger = logging.getLogger('aioluahttp')


class Responder:
    """Call a handler once the body of its request has been read.

    ``source`` is whatever the request is read from; only ``read_body`` and ``has_body`` use it.

    Attributes:
        handling: Number of handler calls in progress.
        errors: Number of handler errors so far.
    """

    def __init__(self, handler: Handler, settings: Settings) -> None:
        self.handler = handler
        self.settings = settings
        self.handling: int = 0
        self.errors: int = 0

    async def read_body(self, source: Any, request: Request, into: str, limit: int | None) -> None:
        """Read the body of a request into its table, or set it to an open stream."""
        raise NotImplementedError

    def has_body(self, source: Any, request: Request) -> bool:
        """Tell whether the request has a body."""
        return has_body(request)

    async def call_handler(self, source: Any, request: Request) -> Any:
        """Read the body, call the handler and return its result.

        Raises:
            Refused: The handler is not called: too many calls are in progress, or the body is bad.
        """
        settings = self.settings
        self._check_concurrency()
        if self.has_body(source, request):
            into, limit = self._body_options(request)
            await self.read_body(source, request, into, limit)
            self._check_concurrency()  # other calls may have begun while the body was read
        self.handling += 1
        try:
            if settings.handler_timeout is None:
                return await call(self.handler, request)
            return await self._within_timeout(request, settings.handler_timeout)
        finally:
            self.handling -= 1

    def _body_options(self, request: Request) -> tuple[str, int | None]:
        into, limit = self.settings.into, self.settings.max_body
        if callable(into):
            into = check_into(into(request))
        if callable(limit):
            limit = check_max_body(limit(request))
        unlimited = into in STREAMS and not self.settings.limits_streams
        return into, None if unlimited else limit

    def _check_concurrency(self) -> None:
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
                return status_page(one.status)
        await self.report_error(error, method, target, request)
        return to_response({'status': 500, 'body': PHRASES[500]})

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

    async def log(self, line: str, request: Request, response: Mapping[str, Any]) -> None:
        """Write to the access log, which must be set."""
        log: Any = self.settings.access_log
        if isinstance(log, logging.Logger):
            log.info('%s %s', line, response['status'])
        else:
            try:
                await call(log, request, response)
            except Exception:
                logger.exception('access_log failed')


def status_page(status: int) -> Response[Any]:
    """Make a response for a request that the handler does not get."""
    overloaded = status == 503
    # Closed after a bad request: its framing, and so where the next one begins, is in doubt.
    headers = {'Retry-After': 1} if overloaded else {'Connection': 'close'}
    return to_response({'status': status, 'headers': headers, 'body': PHRASES[status]})


class Exchange(ResponseWriter, Protocol):
    """A request on some engine, and the means to respond to it.

    Attributes:
        method: Method of the request, as it was received.
        announced: Whether there is a body even if the head does not say so.
    """

    method: str
    announced: bool

    async def head(self, proxies: Proxies) -> Request:
        """Make the table of the request, without its body; raises ``Refused``."""
        ...

    def parts(self, seconds: float) -> AsyncIterator[bytes]:
        """Iterate over the body; each part must arrive within the timeout in seconds."""
        ...

    def refuses(
        self, options: dict[str, Any], request: Request
    ) -> tuple[int, Sequence[str]] | None:
        """Return why no WebSocket can be opened, as ``handshake.refusal_status`` does."""

    async def open(
        self, options: dict[str, Any], request: Request, headers: Headers
    ) -> tuple[Peer, str | None]:
        """Open a WebSocket; return this end of it and the subprotocol."""
        ...

    def abort(self) -> None:
        """Abort the response, so that the client does not take it for complete."""


class ExchangeResponder(Responder):
    """Respond to each exchange of an engine with what a handler returns."""

    async def __call__(self, exchange: Exchange) -> None:
        """Read the request, call the handler, and write the response."""
        try:
            request = await exchange.head(self.settings.trusted_proxies)
        except Refused as refused:
            logger.info('bad request: %s', refused.status)
            await write_response(exchange, exchange.method, Headers(), status_page(refused.status))
            return
        # Kept for the logs: the handler may change its table.
        target, asked = request['url'], request['headers']
        line = f'{request.get("ip", "-")} "{exchange.method} {target} HTTP/{request["version"]}"'
        try:
            response, status = await self._respond(exchange, request, target, asked)
        except Exception as error:
            exchange.abort()
            left = exchange.gone and isinstance(error, ConnectionError)
            if not (left or isinstance(error.__cause__, Refused)):
                await self.report_error(error, exchange.method, target, request)
            return
        response['status'] = status
        if self.settings.access_log is not None:
            await self.log(line, request, response)

    async def _respond(
        self, exchange: Exchange, request: Request, target: str, asked: Headers
    ) -> tuple[Response[Any], int]:
        """Call the handler and write its response; return that and the status that was written."""
        guard = cancel_when_left if self.settings.cancel_on_disconnect else nullcontext
        try:
            async with guard(exchange):
                table = await self.call_handler(exchange, request)
            response = await take_response(table)
            if 'websocket' in response:
                try:
                    return response, await self._websocket(exchange, request, response)
                finally:
                    await close_callback(response['websocket']['callback'])
            return response, await write_response(exchange, exchange.method, asked, response)
        except Exception as error:
            if exchange.begun or (exchange.gone and isinstance(error, ConnectionError)):
                raise
            response = await self.error_response(error, exchange.method, target, request)
            return response, await write_response(exchange, exchange.method, asked, response)

    def has_body(self, source: Exchange, request: Request) -> bool:
        """Tell whether the request has a body."""
        return source.announced or super().has_body(source, request)

    async def read_body(
        self, source: Exchange, request: Request, into: str, limit: int | None
    ) -> None:
        """Read the body of a request into its table, or set it to an open stream."""
        parts = source.parts(self.settings.body_timeout)
        if into in STREAMS:
            open_request_stream(
                RequestChunks(parts, decoder_of(into, request['headers'], limit)), request
            )
        else:
            await read_whole(parts, request, into, limit)

    async def _websocket(
        self, exchange: Exchange, request: Request, response: Response[Any]
    ) -> int:
        """Refuse a WebSocket, or open it and run its callback; return the status (RFC 6455 4.2)."""
        options = response['websocket']
        refused = exchange.refuses(options, request)
        if refused:
            status, fields = refused
            logger.info('no WebSocket for %s: %s', request.get('ip'), status)
            body = PHRASES[status].encode()
            plain = {'Content-Type': 'text/plain; charset=utf-8', 'Content-Length': str(len(body))}
            headers = Headers([*to_pairs(fields), *plain.items()])
            await exchange.whole(status, None, headers, body)
            return status
        end, protocol = await exchange.open(options, request, response['headers'])
        await run_socket_callback(
            options['callback'], end, Socket(end, protocol, request, response)
        )
        return 101
