"""A handler as an ASGI 3 application, for uvicorn, hypercorn, granian and their like.

A request as ASGI has it: a scope, messages in, messages out.
"""

from __future__ import annotations

import asyncio
import logging
from collections.abc import AsyncIterator, Awaitable, Callable, Mapping, Sequence
from typing import Any, TypeAlias, Unpack
from urllib.parse import quote

from .bodies.chunks import call
from .errors import ProtocolError, Refused
from .exchange.forwarded import Proxies
from .exchange.head import client_of, has_body, to_head
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
from .headers import ONE_HOP, Headers
from .tables.models import Handler, Request
from .websockets.asgi import AsgiPeer
from .websockets.handshake import (
    is_allowed,
    max_message,
    protocol_of,
    refusal_status,
    without_handshake,
)

__all__ = ['AsgiExchange', 'Receive', 'Scope', 'Send', 'to_asgi']


Scope: TypeAlias = Mapping[str, Any]
Receive: TypeAlias = Callable[[], Awaitable[Mapping[str, Any]]]
Send: TypeAlias = Callable[[dict[str, Any]], Awaitable[None]]

SCHEMES = {'http': 'http', 'https': 'https', 'ws': 'http', 'wss': 'https'}
SAFE = "/!$&'()*+,-.:;=@_~"  # what stands in a path as it is (RFC 3986 3.3)
PATH_SEND = 'http.response.pathsend'


class AsgiExchange:
    """A request that came by way of ASGI, and the way of its answer.

    ``sockname``, ``begun``, ``gone``, ``method`` and ``announced`` are those of ``Line``.
    """

    def __init__(self, scope: Scope, receive: Receive, send: Send) -> None:
        self._scope, self._receive, self._send = scope, receive, send
        self._is_socket = scope['type'] == 'websocket'
        self._reply = 'websocket.http.response' if self._is_socket else 'http.response'
        self._message: Mapping[str, Any] | None = None  # read, but yet to be looked at
        self._unread = asyncio.Event()  # not set as long as somebody may read the body
        self._unread.set()
        self.method: str = scope.get('method', 'GET')
        self.begun: bool = False
        self.gone: bool = False
        self.announced: bool = False
        self._ended = False
        server = scope.get('server')
        self.sockname: tuple[Any, ...] | None = tuple(server) if server and server[1] else None

    async def head(self, proxies: Proxies) -> Request:
        """Make the table of the request, but for its body."""
        scope = self._scope
        headers = Headers(
            [(latin1_text(name), latin1_text(value)) for name, value in scope['headers']]
        )
        if len(headers.getall('Host', ())) > 1:
            raise Refused(400)
        query = latin1_text(scope.get('query_string') or b'')
        client = scope.get('client')
        request = to_head(
            self.method,
            target_of_scope(scope) + ('?' + query if query else ''),
            scope['http_version'],
            headers,
            client_of(client[0] if client else None, headers, proxies),
            SCHEMES[scope.get('scheme') or 'http'],
            self,
        )
        # HTTP/2 has bodies that no field announces.
        if not (self._is_socket or has_body(request) or scope['http_version'].startswith('1')):
            self._message = await self._receive()
            self.announced = bool(self._message.get('body') or self._message.get('more_body'))
        return request

    def parts(self, seconds: float) -> AsyncIterator[bytes]:
        """Read the body, each part within a time."""
        self._unread.clear()
        return AsgiParts(self, seconds)

    async def part(self) -> tuple[bytes, bool]:
        """Wait for a part of the body; give whether more will come."""
        if self._ended:
            raise ProtocolError('the request is answered, and its body is gone')
        message, self._message = self._message or await self._receive(), None
        more = message.get('more_body', False)
        if not more:
            self._unread.set()
        if message['type'] != 'http.request':
            self.gone = True
            raise ConnectionResetError('the client has left')
        return message.get('body', b''), more

    async def left(self) -> None:
        """Wait until the client has left."""
        await self._unread.wait()
        while not self.gone and (await self._receive())['type'] == 'http.request':
            pass

    async def whole(self, status: int, reason: str | None, headers: Headers, body: bytes) -> None:
        """Write an answer."""
        await self.start(status, reason, headers)
        await self._part_out(body, more=False)

    async def start(self, status: int, reason: str | None, headers: Headers) -> None:
        """Begin an answer; ASGI has no reason phrases."""
        if self._is_socket and self._reply not in (self._scope.get('extensions') or ()):
            await self._say({'type': 'websocket.close'})  # which is a 403
            self._reply = ''
        if self._reply:
            start = {'type': self._reply + '.start', 'status': status}
            await self._say({**start, 'headers': self._pairs(headers)})

    async def write(self, data: bytes) -> None:
        """Write a part of the body."""
        await self._part_out(data, more=True)

    async def end(self) -> None:
        """End the answer."""
        await self._part_out(b'', more=False)

    async def _part_out(self, data: bytes, *, more: bool) -> None:
        if self._reply:
            await self._say({'type': self._reply + '.body', 'body': data, 'more_body': more})
        self._ended = not more

    async def file(self, path: str) -> bool:
        """Leave the body to the engine, where that takes paths; tell whether it does."""
        takes = not self._is_socket and PATH_SEND in (self._scope.get('extensions') or ())
        if takes:
            await self._say({'type': PATH_SEND, 'path': path})
            self._ended = True
        return takes

    def cut(self) -> None:
        """Break off: what is not ended when the application returns, the engine breaks off."""

    def refuses(
        self, options: dict[str, Any], request: Request
    ) -> tuple[int, Sequence[str]] | None:
        """Find why the request opens no WebSocket; what a key is the engine has seen to."""
        if not self._is_socket:
            return refusal_status(options, request, upgrades=False)
        return None if is_allowed(options.get('origins'), request) else (403, ())

    async def open(
        self, options: dict[str, Any], request: Request, headers: Headers
    ) -> tuple[AsgiPeer, str | None]:
        """Open a WebSocket."""
        protocol = protocol_of(options, self._scope.get('subprotocols') or ())
        kept = without_handshake(headers)
        pairs = [pair for pair in self._pairs(kept) if pair[0].decode() not in ONE_HOP]
        first = await self._receive()  # websocket.connect
        if first['type'] != 'websocket.connect':
            self.gone = True
            raise ConnectionResetError('the client has left')
        await self._say({'type': 'websocket.accept', 'subprotocol': protocol, 'headers': pairs})
        return AsgiPeer(self._receive, self._send, max_message(options)), protocol

    def _pairs(self, headers: Headers) -> list[tuple[bytes, bytes]]:
        """Write headers; HTTP/2 has none that are for one hop."""
        one_hop = () if self._scope['http_version'].startswith('1') else ('connection', 'upgrade')
        return [
            (name.lower().encode(), value.encode('utf-8', 'surrogateescape'))
            for name, value in headers.items()
            if name.lower() not in one_hop
        ]

    async def _say(self, message: dict[str, Any]) -> None:
        self.begun = True
        try:
            await self._send(message)
        except OSError as error:  # which ASGI has for a client that has left
            self.gone = True
            raise ConnectionResetError('the client has left') from error


class AsgiParts:
    """The parts of a body, each within a time."""

    def __init__(self, line: AsgiExchange, seconds: float) -> None:
        self._line, self._seconds = line, seconds
        self._more = True

    def __aiter__(self) -> AsyncIterator[bytes]:
        return self

    async def __anext__(self) -> bytes:
        data = b''
        while not data:
            if not self._more:
                raise StopAsyncIteration
            async with asyncio.timeout(self._seconds):
                data, self._more = await self._line.part()
        return data


def latin1_text(data: bytes) -> str:
    return data.decode('utf-8', 'surrogateescape')


def target_of_scope(scope: Scope) -> str:
    """Give the path as it came, below the one that the application is mounted at."""
    root: str = scope.get('root_path') or ''
    raw = scope.get('raw_path')
    path = (
        quote(scope['path'], SAFE, errors='surrogateescape')
        if raw is None
        else latin1_text(raw).partition('?')[0]
    )
    return _below(path, root.rstrip('/').encode())


def _below(path: str, root: bytes) -> str:
    at = 0
    for byte in root:  # of which each may have come encoded
        if path[at : at + 3].upper() == f'%{byte:02X}':
            at += 3
        elif path[at : at + 1] == chr(byte):
            at += 1
        else:
            return path
    rest = path[at:]
    return path if root and rest[:1] not in ('', '/') else rest or '/'


logger: logging.Logger = logging.getLogger('aioluahttp')

Application: TypeAlias = Callable[[Scope, Receive, Send], Awaitable[None]]


def to_asgi(
    handler: Handler,
    on_error: OnError | None = None,
    *,
    on_startup: Hook = None,
    on_shutdown: Hook = None,
    **options: Unpack[ExchangeOptions],
) -> Application:
    """Make an ASGI application of a handler.

    Requests and answers are as with ``listen``: the same tables, checks, limits and mistakes.
    Connections are the engine's, and so are their deadlines, TLS, the fields ``Date`` and
    ``Server``, and a WebSocket's pings and compression. Mounted below a path (``root_path``), the
    handler sees what is behind that.

    Args:
        handler: ``async`` or plain: takes a ``Request``, returns a response table.
        on_error: Called with the exception and the request, and awaited where it can be.
        on_startup: Called before the first request, plain or ``async``; if it fails, the engine
            does not start. Engines call it once in each of their workers.
        on_shutdown: Called after the last request, likewise.
        options: Those of ``listen`` that are about one exchange: ``into``, ``max_body``,
            ``max_concurrent``, ``body_timeout``, ``handler_timeout``, ``cancel_on_disconnect``,
            ``trusted_proxies`` and ``access_log``. ``into`` and ``max_body`` the handler may have
            as attributes instead.

    Raises:
        TableError: An option is unknown, or its value is not what it takes.

    Example:
        >>> async def hello(request):
        ...     return {'status': 200, 'body': 'Hello'}
        >>> app = to_asgi(hello)  # uvicorn module:app
    """
    hooks = [check_hook('on_startup', on_startup), check_hook('on_shutdown', on_shutdown)]
    made = check_exchange_options(handler, options, EXCHANGE_OPTIONS)
    adapter = ExchangeResponder(handler, to_settings(made, on_error))

    async def application(scope: Scope, receive: Receive, send: Send) -> None:
        if scope['type'] in ('http', 'websocket'):
            await adapter(AsgiExchange(scope, receive, send))
        elif scope['type'] == 'lifespan':
            await _live(hooks, receive, send)
        else:
            raise ProtocolError(f'ASGI has no scope of the type {scope["type"]!r}')

    return application


async def _live(hooks: list[Hook], receive: Receive, send: Send) -> None:
    """Call what is for the begin and the end, and tell the engine how it went."""
    for phase, hook in zip(('startup', 'shutdown'), hooks, strict=True):
        await receive()  # lifespan.startup, lifespan.shutdown
        try:
            if hook is not None:
                await call(hook)
        except Exception as error:
            logger.exception('on_%s failed', phase)
            message = f'{type(error).__name__}: {error}'
            await send({'type': f'lifespan.{phase}.failed', 'message': message})
            return
        await send({'type': f'lifespan.{phase}.complete'})
