"""``to_web`` and ``to_application``: a handler at a route of aiohttp.web, or as an application."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator, Awaitable, Callable, Iterator, Mapping, Sequence
from contextlib import AbstractAsyncContextManager, contextmanager
from typing import Any, TypeAlias, Unpack

from aiohttp import web

from .bodies.codings import DECODED_BY_AIOHTTP
from .bodies.stream import read_arrived
from .errors import ProtocolError, TableError
from .exchange.forwarded import Proxies
from .exchange.head import client_of, to_head
from .exchange.options import (
    EXCHANGE_OPTIONS,
    ExchangeOptions,
    OnError,
    check_exchange_options,
    to_settings,
)
from .exchange.request_body import BodyParts
from .exchange.responder import Exchange, Responder
from .exchange.response import ReadyResponse, cancelled_when, page_of, reset_connection
from .headers import ONE_HOP, Headers
from .semantics import GOING_AWAY
from .tables.models import Handler, Request
from .websockets.connection import ConnectionPeer, to_server_peer
from .websockets.handshake import (
    check_handshake,
    response_fields,
    to_pairs,
    wants_websocket,
    without_handshake,
)

__all__ = ['WatchedProtocol', 'to_application', 'to_web']

WebHandler: TypeAlias = Callable[[web.Request], Awaitable[web.StreamResponse]]


def to_web(
    handler: Handler,
    on_error: OnError | None = None,
    *,
    auto_decompress: bool = True,
    **options: Unpack[ExchangeOptions],
) -> WebHandler:
    """Make a handler of aiohttp.web, for a route of an existing application.

    Tables, checks, limits and error handling are those of ``listen``. aiohttp handles connections,
    their timeouts and the headers ``Date`` and ``Server``. The application's middlewares can change
    a response whose body is text or bytes; a streamed one is sent before they see it.
    ``client_max_size`` is ignored: ``max_body`` is the limit.

    Args:
        handler: ``async`` or plain: takes a ``Request``, returns a response table.
        on_error: Called with the exception and the request, plain or ``async``.
        auto_decompress: Pass False if the application was made with
            ``web.Application(handler_args={'auto_decompress': False})``. Otherwise aiohttp decodes
            request bodies: ``into='raw'`` gets a decoded body, and a compressed body that was cut
            off is not noticed.
        options: As in ``asgi.to_asgi``.

    Raises:
        TableError: An option is unknown, or its value is invalid.
    """
    if 'lifespan' in options:
        right = 'absent: it belongs to the application, as does its cleanup_ctx'
        raise TableError.of('lifespan', options['lifespan'], right)
    responder = to_responder(handler, on_error, options)
    return _to_web_handler(responder, set(), auto_decompress)


def to_application(
    handler: Handler,
    on_error: OnError | None = None,
    **options: Unpack[ExchangeOptions],
) -> web.Application:
    """Make an ``aiohttp.web.Application`` in which a handler gets every request.

    For gunicorn's ``aiohttp.GunicornWebWorker``, and for ``web.run_app``.

    Args:
        handler: ``async`` or plain: takes a ``Request``, returns a response table.
        on_error: Called with the exception and the request, plain or ``async``.
        options: As in ``asgi.to_asgi``.

    Raises:
        TableError: An option is unknown, or its value is invalid.
    """
    responder, channels = to_responder(handler, on_error, options), set[ConnectionPeer]()
    serve = _to_web_handler(responder, channels, False)

    @web.middleware
    async def every(request: web.Request, handler: Any) -> web.StreamResponse:
        return await serve(request)  # a middleware, for no route matches the target *

    async def close_websockets(_: web.Application) -> None:
        for channel in list(channels):
            channel.shut(GOING_AWAY)

    application = web.Application(middlewares=[every], handler_args={'auto_decompress': False})
    application.on_shutdown.append(close_websockets)
    application.on_startup.append(lambda _: responder.lifespan.start())
    application.on_cleanup.append(lambda _: responder.lifespan.stop())
    return application


def to_responder(handler: Handler, on_error: OnError | None, options: Any) -> Responder:
    made = check_exchange_options(handler, options, EXCHANGE_OPTIONS)
    return Responder(handler, to_settings(made, on_error))


def _to_web_handler(
    responder: Responder, channels: set[ConnectionPeer], decompressed: bool
) -> WebHandler:
    async def serve(request: web.Request) -> web.StreamResponse:
        exchange = WebExchange(request, channels, decompressed=decompressed)
        try:
            await responder(exchange)
        finally:
            channels.difference_update(exchange.opened)
        return exchange.response

    return serve


class WebExchange(Exchange):
    """An ``Exchange`` over a request of aiohttp.web.

    Attributes:
        response: The response to return to aiohttp.web.
        opened: The WebSockets that were opened.
    """

    def __init__(
        self, request: web.Request, channels: set[ConnectionPeer], *, decompressed: bool
    ) -> None:
        self._request, self._channels = request, channels
        self._decompressed = decompressed
        self.method: str = request.method
        self.peer: str | None = request.remote
        self.begun: bool = False
        self.announced: bool = False
        self._gone = False
        self.response: web.StreamResponse = web.Response(status=500)
        self.opened: list[ConnectionPeer] = []

    @property
    def gone(self) -> bool:
        """Whether the client is known to have left."""
        return self._gone

    @property
    def sockname(self) -> Any:
        """Address of this server."""
        return self._info('sockname')

    def _info(self, name: str) -> Any:
        transport = self._request.transport
        return None if transport is None else transport.get_extra_info(name)

    def _peer_address(self) -> str | None:
        """Return the IP address of the peer; None on a Unix socket, ``''`` if it is unknown."""
        if self._request.transport is None:  # it has left, and must not pass for a Unix socket
            return self._request.remote or ''
        return self._request.remote if isinstance(self._info('peername'), tuple) else None

    async def head(self, proxies: Proxies) -> Request:
        """Make the table of the request, without its body."""
        request = self._request
        headers = Headers(request.headers)
        coding = headers.get('Content-Encoding', '').lower()
        if self._decompressed and coding in DECODED_BY_AIOHTTP and request.can_read_body:
            headers.popall('Content-Encoding')
            headers.popall('Content-Length', None)
            self.announced = True
        return to_head(
            request.method,
            request.raw_path,
            f'{request.version.major}.{request.version.minor}',
            headers,
            client_of(self._peer_address(), headers, proxies),
            request.scheme,
            self,
        )

    def parts(self, seconds: float) -> WebParts:
        """Iterate over the body; each part must arrive within the timeout in seconds."""
        return WebParts(self._request, seconds)

    def cancelled_when_left(self) -> AbstractAsyncContextManager[None]:
        """Cancel the block once the client leaves, and raise ``ConnectionResetError``."""
        return cancelled_when(self.left)

    async def left(self) -> None:
        """Wait until the client has left."""
        transport = self._request.transport
        if transport is not None and not transport.is_closing():
            await WatchedProtocol(transport).left()
        self._gone = True

    async def whole(self, response: ReadyResponse, body: bytes) -> None:
        """Return a complete response, which the application's middlewares may change."""
        self._whole(*response.head(), body)

    async def refuse(self, status: int, fields: Sequence[str] = ()) -> None:
        """Return a short page for a request that no handler gets, with more header lines."""
        page, body = page_of(status, fields)
        self._whole(status, None, page, body)

    def _whole(self, status: int, reason: str | None, headers: Headers, body: bytes) -> None:
        response = web.Response(status=status, reason=reason, headers=headers, body=body or None)
        self._set(response, headers)

    def _set(self, response: web.StreamResponse, headers: Headers) -> None:
        for text in (*headers.values(), response.reason or ''):
            text.encode()  # raises here: aiohttp would fail later, while writing it
        if headers.get('Connection') == 'close':
            response.force_close()
        self.response = response

    async def start(self, response: ReadyResponse) -> None:
        """Write the head of a response whose body follows in parts."""
        await self._start(*response.head())

    async def _start(self, status: int, reason: str | None, headers: Headers) -> None:
        response = web.StreamResponse(status=status, reason=reason, headers=headers)
        self._set(response, headers)
        self.begun = True
        with self._notes_loss():
            await response.prepare(self._request)

    async def write(self, data: bytes) -> None:
        """Write a part of the body, with back-pressure."""
        with self._notes_loss():
            await self.response.write(data)

    async def end(self) -> None:
        """End the body."""
        with self._notes_loss():
            await self.response.write_eof()

    @contextmanager
    def _notes_loss(self) -> Iterator[None]:
        try:
            yield
        except ConnectionError:
            self._gone = True
            raise

    def abort(self) -> None:
        """Reset the connection, so that the client does not take the response for complete."""
        reset_connection(self._request.transport)

    def handshake_refusal(
        self, options: Mapping[str, Any], request: Request
    ) -> tuple[int, Sequence[str]] | None:
        """Return why no WebSocket can be opened, as ``check_handshake`` does."""
        asked = self._request
        upgrades = (
            asked.version >= (1, 1) and wants_websocket(asked.headers) and not asked.body_exists
        )
        return check_handshake(options, request, upgrades=upgrades)

    async def open(
        self, options: Mapping[str, Any], request: Request, headers: Headers
    ) -> tuple[ConnectionPeer, str | None]:
        """Open a WebSocket with our own framing; return this end of it and the subprotocol."""
        terms, fields = response_fields(options, request)
        kept = without_handshake(headers)
        pairs = [pair for pair in kept.items() if pair[0].lower() not in ONE_HOP]
        given = Headers([*to_pairs(fields), *pairs])
        await self._start(101, None, given)
        self.response.force_close()
        channel = to_server_peer(self._request.protocol, terms)
        feed_directly(self._request.transport, channel)
        self._channels.add(channel)
        self.opened.append(channel)
        return channel, terms.protocol


def feed_directly(transport: Any, channel: ConnectionPeer) -> None:
    """Let a WebSocket receive what aiohttp.web drops once it shuts down, such as close frames."""
    protocol: Any = WatchedProtocol(transport)
    protocol.data_received = channel.feed_data
    transport.set_protocol(protocol)


class WebParts(BodyParts):
    """Iterate over the parts of a body, each within a timeout in seconds."""

    def __init__(self, request: web.Request, seconds: float) -> None:
        self._request, self._seconds = request, seconds
        self._begun = False

    def __aiter__(self) -> AsyncIterator[bytes]:
        return self

    async def __anext__(self) -> bytes:
        content = self._request.content
        try:
            if not (data := read_arrived(content)):
                async with asyncio.timeout(self._seconds):
                    data = await content.readany()
        except web.RequestPayloadError as error:
            raise ProtocolError(str(error)) from error
        if not data and not self._begun:
            data = await self._request.read()  # aiohttp keeps a body that a middleware has read
        self._begun = True
        if not data:
            raise StopAsyncIteration
        return data


class WatchedProtocol(asyncio.Protocol):
    """Forward the calls of a transport to its protocol, and notice the end of the connection.

    It is needed because aiohttp.web either cancels the handler of a client that has left, or does
    not report it at all.
    """

    def __init__(self, transport: asyncio.Transport) -> None:
        self._transport = transport
        self._protocol: Any = transport.get_protocol()
        self._left = asyncio.Event()
        for name in ('data_received', 'eof_received', 'pause_writing', 'resume_writing'):
            setattr(self, name, getattr(self._protocol, name))

    async def left(self) -> None:
        """Wait until the connection is lost."""
        self._transport.set_protocol(self)
        try:
            await self._left.wait()
        finally:
            if self._transport.get_protocol() is self:
                self._transport.set_protocol(self._protocol)

    def connection_lost(self, exc: BaseException | None) -> None:
        """Wake ``left``, and forward the call."""
        self._left.set()
        self._protocol.connection_lost(exc)
