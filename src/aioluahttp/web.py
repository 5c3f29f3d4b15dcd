"""A handler under aiohttp.web: at a route of an application, or as one.

A transport watched for its end, whatever else its protocol is about.
"""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator, Awaitable, Callable, Iterator, Sequence
from contextlib import contextmanager
from typing import Any, TypeAlias, Unpack

from aiohttp import web
from aiohttp.web_protocol import RequestPayloadError

from .bodies.chunks import call
from .bodies.codings import UNDONE
from .errors import ProtocolError
from .exchange.forwarded import Proxies
from .exchange.head import client_of, to_head
from .exchange.options import (
    EXCHANGE_OPTIONS,
    ExchangeOptions,
    Hook,
    OnError,
    check_exchange_options,
    check_hook,
    to_settings,
)
from .exchange.responder import ExchangeResponder
from .exchange.response import reset_connection
from .headers import ONE_HOP, Headers
from .tables.models import Handler, Request
from .websockets.connection import GOING_AWAY, ConnectionPeer
from .websockets.handshake import refusal_status, response_fields, to_pairs, without_handshake

__all__ = ['WatchedProtocol', 'to_application', 'to_web']


class WatchedProtocol(asyncio.Protocol):
    """Stands between a transport and its protocol, which hears all as before.

    aiohttp.web tells a handler that its client has left by cancelling it, or not at all.
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
        """Tell both."""
        self._left.set()
        self._protocol.connection_lost(exc)


WebHandler: TypeAlias = Callable[[web.Request], Awaitable[web.StreamResponse]]


def to_web(
    handler: Handler,
    on_error: OnError | None = None,
    *,
    auto_decompress: bool = True,
    **options: Unpack[ExchangeOptions],
) -> WebHandler:
    """Make a handler of aiohttp.web, for a route of an application that there is.

    Requests and answers are as with ``listen``: the same tables, checks, limits and mistakes.
    Connections are aiohttp's, and so are their deadlines and the fields ``Date`` and ``Server``.
    Of an answer that is text or bytes the application's middlewares get a ``web.Response``, and
    can change it; one that flows is sent before they see it. ``client_max_size`` is not heeded:
    ``max_body`` is the limit.

    Args:
        handler: ``async`` or plain: takes a ``Request``, returns a response table.
        on_error: Called with the exception and the request, and awaited where it can be.
        auto_decompress: What the application was made with. Unless that is False, as
            ``web.Application(handler_args={'auto_decompress': False})`` makes it, aiohttp undoes
            the codings of bodies: ``into='raw'`` then is not, and one that was cut off passes.
        options: As of ``asgi.to_asgi``.

    Raises:
        TableError: An option is unknown, or its value is not what it takes.
    """
    adapter = to_adapter(handler, on_error, options)
    return _serving(adapter, set(), auto_decompress)


def to_application(
    handler: Handler,
    on_error: OnError | None = None,
    *,
    on_startup: Hook = None,
    on_shutdown: Hook = None,
    **options: Unpack[ExchangeOptions],
) -> web.Application:
    """Make an ``aiohttp.web.Application`` of a handler, whose every request it answers.

    For gunicorn's ``aiohttp.GunicornWebWorker``, and for ``web.run_app``.

    Args:
        handler: ``async`` or plain: takes a ``Request``, returns a response table.
        on_error: Called with the exception and the request, and awaited where it can be.
        on_startup: Called before the first request, plain or ``async``.
        on_shutdown: Called after the last request, likewise.
        options: As of ``asgi.to_asgi``.

    Raises:
        TableError: An option is unknown, or its value is not what it takes.
    """
    begin, end = check_hook('on_startup', on_startup), check_hook('on_shutdown', on_shutdown)
    channels: set[ConnectionPeer] = set()
    serve = _serving(to_adapter(handler, on_error, options), channels, False)

    @web.middleware
    async def every(request: web.Request, handler: Any) -> web.StreamResponse:
        return await serve(request)  # in place of routes, which have no path such as *

    async def shut(_: web.Application) -> None:
        for channel in list(channels):
            channel.shut(GOING_AWAY)

    application = web.Application(middlewares=[every], handler_args={'auto_decompress': False})
    application.on_shutdown.append(shut)
    for signal, hook in ((application.on_startup, begin), (application.on_cleanup, end)):
        if hook is not None:
            signal.append(_calls(hook))
    return application


def _calls(hook: Callable[[], Any]) -> Callable[[web.Application], Awaitable[None]]:
    async def called(_: web.Application) -> None:
        await call(hook)

    return called


def to_adapter(handler: Handler, on_error: OnError | None, options: Any) -> ExchangeResponder:
    made = check_exchange_options(handler, options, EXCHANGE_OPTIONS)
    return ExchangeResponder(handler, to_settings(made, on_error))


def _serving(
    adapter: ExchangeResponder, channels: set[ConnectionPeer], decompressed: bool
) -> WebHandler:
    async def serve(request: web.Request) -> web.StreamResponse:
        line = WebExchange(request, channels, decompressed=decompressed)
        try:
            await adapter(line)
        finally:
            channels.difference_update(line.opened)
        return line.response

    return serve


class WebExchange:
    """A request that aiohttp.web has taken up, and the way of its answer.

    ``begun``, ``gone``, ``method`` and ``announced`` are those of ``Line``.
    """

    def __init__(
        self, request: web.Request, channels: set[ConnectionPeer], *, decompressed: bool
    ) -> None:
        self._request, self._channels = request, channels
        self._decompressed = decompressed
        self.method: str = request.method
        self.begun: bool = False
        self.gone: bool = False
        self.announced: bool = False
        self.response: web.StreamResponse = web.Response(status=500)
        self.opened: list[ConnectionPeer] = []

    @property
    def sockname(self) -> Any:
        """The address of this server."""
        return self._info('sockname')

    def _info(self, name: str) -> Any:
        transport = self._request.transport
        return None if transport is None else transport.get_extra_info(name)

    async def head(self, proxies: Proxies) -> Request:
        """Make the table of the request, but for its body."""
        request = self._request
        headers = Headers(request.headers)
        coding = headers.get('Content-Encoding', '').lower()
        if self._decompressed and coding in UNDONE and request.can_read_body:
            headers.popall('Content-Encoding')
            headers.popall('Content-Length', None)
            self.announced = True
        peer = self._info('peername')
        return to_head(
            request.method,
            request.raw_path,
            f'{request.version.major}.{request.version.minor}',
            headers,
            client_of(request.remote if isinstance(peer, tuple) else None, headers, proxies),
            request.scheme,
            self,
        )

    def parts(self, seconds: float) -> AsyncIterator[bytes]:
        """Read the body, each part within a time."""
        return WebParts(self._request, seconds)

    async def left(self) -> None:
        """Wait until the client has left."""
        transport = self._request.transport
        if transport is not None and not transport.is_closing():
            await WatchedProtocol(transport).left()

    async def whole(self, status: int, reason: str | None, headers: Headers, body: bytes) -> None:
        """Answer by what the application's middlewares may change."""
        response = web.Response(status=status, reason=reason, headers=headers, body=body or None)
        self._set(response, headers)

    def _set(self, response: web.StreamResponse, headers: Headers) -> None:
        for text in (*headers.values(), response.reason or ''):
            text.encode()  # aiohttp could write no other, and would not say so here
        if headers.get('Connection') == 'close':
            response.force_close()
        self.response = response

    async def start(self, status: int, reason: str | None, headers: Headers) -> None:
        """Begin an answer whose body comes in parts."""
        response = web.StreamResponse(status=status, reason=reason, headers=headers)
        self._set(response, headers)
        self.begun = True
        with self._noting():
            await response.prepare(self._request)

    async def write(self, data: bytes) -> None:
        """Write a part of it, and wait while the client reads."""
        with self._noting():
            await self.response.write(data)

    async def end(self) -> None:
        """End it."""
        with self._noting():
            await self.response.write_eof()

    @contextmanager
    def _noting(self) -> Iterator[None]:
        try:
            yield
        except ConnectionError:
            self.gone = True
            raise

    async def file(self, path: str) -> bool:
        """Leave no file to aiohttp: it is read here."""
        return False

    def cut(self) -> None:
        """Break the answer off."""
        reset_connection(self._request.transport)

    def refuses(
        self, options: dict[str, Any], request: Request
    ) -> tuple[int, Sequence[str]] | None:
        """Find why the request opens no WebSocket."""
        headers = self._request.headers
        upgrades = (
            headers.get('Upgrade', '').lower() == 'websocket'
            and 'upgrade' in headers.get('Connection', '').lower()
            and not self._request.body_exists
        )
        return refusal_status(options, request, upgrades=upgrades)

    async def open(
        self, options: dict[str, Any], request: Request, headers: Headers
    ) -> tuple[ConnectionPeer, str | None]:
        """Open a WebSocket, whose frames are read here."""
        terms, fields = response_fields(options, request)
        kept = without_handshake(headers)
        pairs = [pair for pair in kept.items() if pair[0].lower() not in ONE_HOP]
        given = Headers([*to_pairs(fields), *pairs])
        await self.start(101, None, given)
        self.response.force_close()
        channel = ConnectionPeer(self._request.protocol, terms, is_client=False)
        self._request.protocol.set_parser(channel)  # type: ignore[arg-type]
        self._channels.add(channel)
        self.opened.append(channel)
        return channel, terms.protocol


class WebParts:
    """The parts of a body, each within a time."""

    def __init__(self, request: web.Request, seconds: float) -> None:
        self._request, self._seconds = request, seconds
        self._begun = False

    def __aiter__(self) -> AsyncIterator[bytes]:
        return self

    async def __anext__(self) -> bytes:
        content = self._request.content
        try:
            async with asyncio.timeout(self._seconds):
                data = await content.readany()
        except RequestPayloadError as error:
            raise ProtocolError(str(error)) from error
        if not data and not self._begun:
            data = await self._request.read()  # what a middleware has read is kept there
        self._begun = True
        if not data:
            raise StopAsyncIteration
        return data
