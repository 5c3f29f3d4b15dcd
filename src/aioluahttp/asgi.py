"""``to_asgi``: a handler as an ASGI 3 application, for uvicorn, hypercorn, granian and others."""

from __future__ import annotations

import asyncio
import logging
from collections.abc import AsyncIterator, Awaitable, Callable, Mapping, Sequence
from contextlib import AbstractAsyncContextManager
from typing import Any, TypeAlias, Unpack
from urllib.parse import quote

from .errors import ProtocolError, Refused
from .exchange.forwarded import SCHEMES, Proxies
from .exchange.head import client_of, to_head
from .exchange.lifespan import Lifespan
from .exchange.options import (
    EXCHANGE_OPTIONS,
    ExchangeOptions,
    OnError,
    check_exchange_options,
    to_settings,
)
from .exchange.request_body import BodyParts
from .exchange.responder import Exchange, Responder, has_body
from .exchange.response import FilePieces, ReadyResponse, cancelled_when, page_of
from .headers import ONE_HOP, Headers
from .tables.models import Handler, Request
from .websockets.asgi import AsgiPeer
from .websockets.handshake import (
    check_handshake,
    is_allowed,
    max_message,
    protocol_of,
    without_handshake,
)

__all__ = ['AsgiExchange', 'Receive', 'Scope', 'Send', 'to_asgi']

logger: logging.Logger = logging.getLogger('aioluahttp')

Scope: TypeAlias = Mapping[str, Any]
Receive: TypeAlias = Callable[[], Awaitable[Mapping[str, Any]]]
Send: TypeAlias = Callable[[dict[str, Any]], Awaitable[None]]
Application: TypeAlias = Callable[[Scope, Receive, Send], Awaitable[None]]

SAFE = "/!$&'()*+,-.:;=@_~"  # characters not percent-encoded in a path (RFC 3986 3.3)
PATH_SEND = 'http.response.pathsend'


def to_asgi(
    handler: Handler,
    on_error: OnError | None = None,
    **options: Unpack[ExchangeOptions],
) -> Application:
    """Make an ASGI application of a handler.

    Tables, checks, limits and error handling are those of ``listen``. The ASGI server handles
    connections, their timeouts, TLS, the headers ``Date`` and ``Server``, and the pings and
    compression of WebSockets. If the application is mounted below a path (``root_path``), the
    handler sees the rest of the path.

    Args:
        handler: ``async`` or plain: takes a ``Request``, returns a response table.
        on_error: Called with the exception and the request, plain or ``async``.
        options: Options of ``listen`` that concern one exchange: ``into``, ``max_body``,
            ``max_concurrent``, ``body_timeout``, ``handler_timeout``, ``cancel_on_disconnect``,
            ``trusted_proxies``, ``access_log`` and ``lifespan``. The handler may have ``into``,
            ``max_body`` and ``lifespan`` as attributes instead. An application that is mounted in
            another gets no events for its ``lifespan``.

    Raises:
        TableError: An option is unknown, or its value is invalid.

    Example:
        >>> async def hello(request):
        ...     return {'status': 200, 'body': 'Hello'}
        >>> app = to_asgi(hello)  # uvicorn module:app
    """
    made = check_exchange_options(handler, options, EXCHANGE_OPTIONS)
    responder = Responder(handler, to_settings(made, on_error))

    async def application(scope: Scope, receive: Receive, send: Send) -> None:
        if scope['type'] in ('http', 'websocket'):
            seconds = responder.settings.body_timeout
            await responder(AsgiExchange(scope, receive, send, seconds))
        elif scope['type'] == 'lifespan':
            await _run_lifespan(responder.lifespan, receive, send)
        else:
            kind = scope['type']
            raise ProtocolError(f'unknown ASGI scope {kind!r}: not http, websocket or lifespan')

    return application


async def _run_lifespan(lifespan: Lifespan, receive: Receive, send: Send) -> None:
    """Start and stop the lifespan, and report success or failure to the ASGI server."""
    for phase, run in (('startup', lifespan.start), ('shutdown', lifespan.stop)):
        await receive()  # lifespan.startup, lifespan.shutdown
        try:
            await run()
        except Exception as error:
            logger.exception('the lifespan failed at %s', phase)
            message = f'{type(error).__name__}: {error}'
            await send({'type': f'lifespan.{phase}.failed', 'message': message})
            return
        await send({'type': f'lifespan.{phase}.complete'})


class AsgiExchange(Exchange):
    """An ``Exchange`` over the scope, ``receive`` and ``send`` of an ASGI application.

    Args:
        seconds: In which a request of HTTP/2 must say whether it has a body.

    Attributes:
        sockname: Host and port of this server; ``None`` if unknown or on a Unix socket.
    """

    def __init__(
        self, scope: Scope, receive: Receive, send: Send, seconds: float | None = None
    ) -> None:
        self._scope, self._receive, self._send = scope, receive, send
        self._seconds = seconds
        self._is_socket = scope['type'] == 'websocket'
        self._response_type = 'websocket.http.response' if self._is_socket else 'http.response'
        # Received ahead, for part or open to take.
        self._message: Mapping[str, Any] | None = None
        self._has_reader = False  # parts was called
        self._turn = asyncio.Lock()  # held while a message is waited for
        self._taken = asyncio.Event()  # set when part has taken that message
        self.method: str = scope.get('method', 'GET')
        self.begun: bool = False
        self.announced: bool = False
        self._gone = False
        self._response_ended = False
        client, server = scope.get('client'), scope.get('server')
        self.peer: str | None = client[0] if client else None
        self.sockname: tuple[Any, ...] | None = tuple(server) if server and server[1] else None

    @property
    def gone(self) -> bool:
        """Whether the client is known to have left."""
        return self._gone

    async def head(self, proxies: Proxies) -> Request:
        """Make the table of the request, without its body."""
        scope = self._scope
        headers = Headers([(utf8_text(name), utf8_text(value)) for name, value in scope['headers']])
        if len(headers.getall('Host', ())) > 1:
            raise Refused(400)
        query = utf8_text(scope.get('query_string') or b'')
        request = to_head(
            self.method,
            target_of_scope(scope) + ('?' + query if query else ''),
            scope['http_version'],
            headers,
            client_of(self.peer, headers, proxies),
            SCHEMES[scope.get('scheme') or 'http'],
            self,
        )
        # In HTTP/2 no header needs to announce a body.
        if not (self._is_socket or has_body(request) or scope['http_version'].startswith('1')):
            try:
                async with asyncio.timeout(self._seconds):
                    message = self._keep(await self._receive())
            except TimeoutError:
                raise Refused(408) from None
            self.announced = bool(message.get('body') or message.get('more_body'))
        return request

    def _keep(self, message: Mapping[str, Any]) -> Mapping[str, Any]:
        """Keep a message that was received ahead, or note that the client has left."""
        if message['type'] in ('http.request', 'websocket.connect'):
            self._message = message
        else:
            self._gone = True
        return message

    def parts(self, seconds: float) -> AsgiParts:
        """Iterate over the body; each part must arrive within the timeout in seconds."""
        self._has_reader = True
        return AsgiParts(self, seconds)

    async def part(self) -> tuple[bytes, bool]:
        """Wait for a part of the body; return it and whether more will come."""
        if self._response_ended:
            raise ProtocolError('the request is answered, and its body is gone')
        message = await self._next_message('http.request')
        return message.get('body', b''), message.get('more_body', False)

    async def _next_message(self, kind: str) -> Mapping[str, Any]:
        """Take the message that was received ahead, or wait for one."""
        if self._message is None and not self._gone:
            async with self._turn:
                if self._message is None and not self._gone:  # it may have come meanwhile
                    self._keep(await self._receive())
        message, self._message = self._message, None
        self._taken.set()
        if message is None or message['type'] != kind:
            self._gone = True
            raise ConnectionResetError('the client has left')
        return message

    def cancelled_when_left(self) -> AbstractAsyncContextManager[None]:
        """Cancel the block once the client leaves, and raise ``ConnectionResetError``."""
        return cancelled_when(self.left)

    async def left(self) -> None:
        """Wait until the client has left; receive at most one message that others want."""
        while not self._gone:
            async with self._turn:
                self._taken.clear()
                # Behind the last part of a body, only the end of the connection can come.
                more = self._message is not None and self._message.get('more_body')
                if not (self._has_reader and more):
                    self._keep(await self._receive())
                    continue
            await self._taken.wait()

    async def whole(self, response: ReadyResponse, body: bytes) -> None:
        """Write a complete response."""
        await self._start(*response.head())
        await self._send_body(body, more=False)

    async def refuse(self, status: int, fields: Sequence[str] = ()) -> None:
        """Write a short page for a request that no handler gets, with more header lines."""
        page, body = page_of(status, fields)
        await self._start(status, None, page)
        await self._send_body(body, more=False)

    async def start(self, response: ReadyResponse) -> None:
        """Write the head of a response whose body follows in parts."""
        await self._start(*response.head())

    async def _start(self, status: int, reason: str | None, headers: Headers) -> None:
        """Write a head; ASGI has no reason phrases."""
        if self._is_socket and self._response_type not in (self._scope.get('extensions') or ()):
            await self._send_message({'type': 'websocket.close'})  # the server sends a 403
            self._response_type = ''
        if self._response_type:
            start = {'type': self._response_type + '.start', 'status': status}
            await self._send_message({**start, 'headers': self._pairs(headers)})

    async def write(self, data: bytes) -> None:
        """Write a part of the body, with back-pressure."""
        await self._send_body(data, more=True)

    async def end(self) -> None:
        """End the body."""
        await self._send_body(b'', more=False)

    async def _send_body(self, data: bytes, *, more: bool) -> None:
        if self._response_type:
            await self._send_message(
                {'type': self._response_type + '.body', 'body': data, 'more_body': more}
            )
        self._response_ended = not more

    async def file(self, pieces: FilePieces) -> bool:
        """Let the ASGI server send a whole file if it supports pathsend; return whether it does."""
        takes = not self._is_socket and PATH_SEND in (self._scope.get('extensions') or ())
        if takes and pieces.is_whole:
            await self._send_message({'type': PATH_SEND, 'path': pieces.path})
            self._response_ended = True
            pieces.sent = pieces.size
            return True
        return False

    def abort(self) -> None:
        """Do nothing: the ASGI server aborts a response that is incomplete on return."""

    def handshake_refusal(
        self, options: Mapping[str, Any], request: Request
    ) -> tuple[int, Sequence[str]] | None:
        """Return why no WebSocket can be opened; the ASGI server has checked version and key."""
        if not self._is_socket or self._scope['http_version'] == '1.0':
            return check_handshake(options, request, upgrades=False)
        return None if is_allowed(options.get('origins'), request) else (403, ())

    async def open(
        self, options: Mapping[str, Any], request: Request, headers: Headers
    ) -> tuple[AsgiPeer, str | None]:
        """Open a WebSocket; return this end of it and the subprotocol."""
        protocol = protocol_of(options, self._scope.get('subprotocols') or ())
        kept = without_handshake(headers)
        pairs = [pair for pair in self._pairs(kept) if pair[0].decode() not in ONE_HOP]
        await self._next_message('websocket.connect')
        await self._send_message(
            {'type': 'websocket.accept', 'subprotocol': protocol, 'headers': pairs}
        )
        return AsgiPeer(self._receive, self._send, max_message(options)), protocol

    def _pairs(self, headers: Headers) -> list[tuple[bytes, bytes]]:
        """Encode headers, without the hop-by-hop ones in HTTP/2."""
        one_hop = () if self._scope['http_version'].startswith('1') else ('connection', 'upgrade')
        return [
            (name.lower().encode(), value.encode('utf-8', 'surrogateescape'))
            for name, value in headers.items()
            if name.lower() not in one_hop
        ]

    async def _send_message(self, message: dict[str, Any]) -> None:
        self.begun = True
        try:
            await self._send(message)
        except OSError as error:  # what ASGI specifies once the client has left
            self._gone = True
            raise ConnectionResetError('the client has left') from error


class AsgiParts(BodyParts):
    """Iterate over the non-empty parts of a body, each within a timeout in seconds."""

    def __init__(self, exchange: AsgiExchange, seconds: float) -> None:
        self._exchange, self._seconds = exchange, seconds
        self._more = True

    def __aiter__(self) -> AsyncIterator[bytes]:
        return self

    async def __anext__(self) -> bytes:
        async with asyncio.timeout(self._seconds):  # an empty part is no progress
            while self._more:
                data, self._more = await self._exchange.part()
                if data:
                    return data
        raise StopAsyncIteration


def utf8_text(data: bytes) -> str:
    return data.decode('utf-8', 'surrogateescape')


def target_of_scope(scope: Scope) -> str:
    """Return the path as it was received, below ``root_path``, where the application is mounted."""
    root: str = scope.get('root_path') or ''
    raw = scope.get('raw_path')
    path = (
        quote(scope['path'], SAFE, errors='surrogateescape')
        if raw is None
        else utf8_text(raw).partition('?')[0]
    )
    return _below(path, root.rstrip('/').encode())


def _below(path: str, root: bytes) -> str:
    at = 0
    for byte in root:  # each may be percent-encoded in the path
        if path[at : at + 3].upper() == f'%{byte:02X}':
            at += 3
        elif path[at : at + 1] == chr(byte):
            at += 1
        else:
            return path
    rest = path[at:]
    return path if root and rest[:1] not in ('', '/') else rest or '/'
