"""One request and its response on a connection of our own server: an ``Exchange``.

The head is read into a table (RFC 9112 3), the body comes from aiohttp's parser part by part, and
responses are written with our own framing (RFC 9112 6 and 7, ``encode``): whole, as streams in
constant memory, as files (``sendfile``), and as WebSockets. ``exchange/responder``
decides what the response is.
"""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator, Awaitable, Callable, Mapping, Sequence
from contextlib import AbstractAsyncContextManager
from types import TracebackType
from typing import Any

from ..bodies.stream import read_arrived
from ..errors import ProtocolError, Refused
from ..exchange.forwarded import Proxies
from ..exchange.head import client_of, to_head
from ..exchange.request_body import BodyParts
from ..exchange.response import FilePieces, ReadyResponse, reset_connection
from ..headers import ONE_HOP, Headers, note_checked
from ..tables.models import Request
from ..websockets.connection import ConnectionPeer
from ..websockets.handshake import check_handshake, response_fields, without_handshake
from ..websockets.socket import Peer
from .encode import encode_fast, encode_response_head, encode_status_page, framing_of
from .framing import EMPTY_PAYLOAD, HTTP_11, FramedConnection, RequestPayloadError
from .sendfile import send_file

__all__ = ['SocketExchange']

CONTINUE = b'HTTP/1.1 100 Continue\r\n\r\n'
CHUNKED = 'Transfer-Encoding: chunked'
LAST_CHUNK = b'0\r\n\r\n'


class SocketExchange:
    """The current request of a connection, and the writer of its response: an ``Exchange``.

    Args:
        connection: Its current request is this one until the responder returns.
        server_header: Value of the Server header; ``None`` for no such header.
        closing: Tells whether the server is closing, and so keeps no connection alive.

    Attributes:
        keep_alive: Whether another request may follow on the connection.
    """

    __slots__ = (
        '_chunked',
        '_closing',
        '_connection',
        '_pending',
        '_server_header',
        '_until_close',
        'begun',
        'keep_alive',
        'method',
        'peer',
        'sent',
    )

    sent: int

    announced = False
    is_fast = True

    def __init__(
        self,
        connection: FramedConnection,
        server_header: str | None,
        closing: Callable[[], bool],
    ) -> None:
        self._connection = connection
        self._server_header = server_header
        self._closing = closing
        self.method: str = connection.head.method
        self.peer: str | None = connection.peer
        self.begun: bool = False
        self.keep_alive: bool = False
        self._pending = b''  # a head that is sent with the first part of its body
        self._chunked = False
        self._until_close = False  # the body ends with the connection

    @property
    def gone(self) -> bool:
        """Whether the client is known to have left."""
        transport = self._connection.transport
        return transport is None or transport.is_closing()

    @property
    def sockname(self) -> Any:
        """Address of this server."""
        return self._connection.sockname

    async def head(self, proxies: Proxies) -> Request:
        """Make the table of the request, without its body.

        Raises:
            Refused: The request line or Host is invalid (RFC 9112 3.2), the HTTP version is not
                1.x, or a trusted proxy sent an invalid Forwarded or X-Forwarded header.
        """
        connection = self._connection
        head = connection.head
        headers = note_checked(Headers(head.headers))  # the parser has the rules of ``to_headers``
        version = head.version
        if version.major != 1:
            raise Refused(505)
        return to_head(
            head.method,
            head.path,
            '1.1' if version is HTTP_11 else f'1.{version.minor}',
            headers,
            client_of(connection.peer, headers, proxies),
            'https' if connection.is_tls else 'http',
            self,
        )

    def parts(self, seconds: float) -> SocketParts:
        """Iterate over the body; each part must arrive within the timeout in seconds.

        Raises:
            Refused: The end of the body is ambiguous, or the client expects what we do not know.
        """
        headers = self._connection.head.headers
        self._check_coding(headers)
        return SocketParts(self._connection, seconds, waits=self._expects_continue(headers))

    def _check_coding(self, headers: Mapping[str, str]) -> None:
        coding = headers.get('Transfer-Encoding')
        # RFC 9112 6.1: an HTTP/1.0 proxy does not know Transfer-Encoding, and may have seen another
        # end of the body.
        if coding is not None and self._connection.head.version < (1, 1):
            raise Refused(400)
        if coding is not None and coding.lower() != 'chunked':
            raise Refused(501)
        # aiohttp's parser takes a Content-Length of 2**64 - 1 for a request without a body.
        empty = self._connection.body is EMPTY_PAYLOAD
        if empty and headers.get('Content-Length', '0').strip('0'):
            raise Refused(413)

    def _expects_continue(self, headers: Mapping[str, str]) -> bool:
        """Tell whether the client waits for a 100 (Continue) before the body (RFC 9110 10.1.1)."""
        expectation = headers.get('Expect')
        if expectation is None or self._connection.head.version < (1, 1):
            return False
        if expectation.lower() != '100-continue':
            raise Refused(417)
        return not self._connection.whole

    def cancelled_when_left(self) -> AbstractAsyncContextManager[None]:
        """Cancel the block once the client leaves, and raise ``ConnectionResetError``."""
        return CancelledWhenLost(self._connection)

    def _keeps_alive(self) -> bool:
        return self._connection.can_keep_alive and not self._closing()

    async def fast(self, table: Any) -> bytes | None:
        """Write a plain table in one step; return what it wrote, if table and request are plain."""
        connection = self._connection
        head = connection.head
        if head.method == 'HEAD' or head.version is not HTTP_11:
            return None
        keep_alive = self._keeps_alive()
        data = encode_fast(table, self._server_header, keep_alive=keep_alive)
        if data is not None:
            try:
                self.begun = True
                await connection.write(data)
                self.keep_alive = keep_alive
            except ConnectionError:
                pass  # the client has left, which is no error; the access log has the response
        return data

    async def refuse(self, status: int, fields: Sequence[str] = ()) -> None:
        """Write a short page; the connection then closes."""
        self.begun = True
        await self._connection.write(encode_status_page(status, self.method, *fields))

    async def whole(self, response: ReadyResponse, body: bytes) -> None:
        """Write a complete response."""
        keep_alive = self._closes_not(response)
        head = self._encode_head(response, framing_of(response.length), keep_alive)
        self.begun = True
        await self._connection.write(head + body)
        self.keep_alive = keep_alive

    async def start(self, response: ReadyResponse) -> None:
        """Make the head of a response whose body follows in parts; the first sends it along."""
        self.begun = self._connection.begun = True
        self._connection.pace()
        self._chunked = response.length is None and self._connection.head.version >= (1, 1)
        self._until_close = response.length is None and not self._chunked
        self.keep_alive = self._closes_not(response) and not self._until_close
        framing = CHUNKED if self._chunked else framing_of(response.length)
        self._pending = self._encode_head(response, framing, self.keep_alive)

    def _closes_not(self, response: ReadyResponse) -> bool:
        listed = response.headers.getall('Connection', ())
        return self._keeps_alive() and not (listed and 'close' in ','.join(listed).lower())

    def _encode_head(self, response: ReadyResponse, framing: str | None, keep_alive: bool) -> bytes:
        headers = response.headers
        if self._server_header:
            headers.setdefault('Server', self._server_header)
        head = self._connection.head
        return encode_response_head(
            head, response.status, response.reason, headers, framing, keep_alive
        )

    async def write(self, data: bytes) -> None:
        """Write a part of the body, with back-pressure; an empty one sends the head alone."""
        if self._chunked and data:
            data = b'%x\r\n%b\r\n' % (len(data), data)
        pending, self._pending = self._pending, b''
        await self._connection.write(pending + data if pending else data)

    async def end(self) -> None:
        """End the body."""
        pending, self._pending = self._pending, b''
        await self._connection.write(pending + LAST_CHUNK if self._chunked else pending)
        self.keep_alive &= self._keeps_alive()

    def detach(self, writing: Awaitable[None]) -> Awaitable[None]:
        """Run the writing of a streamed response or a WebSocket."""
        return writing

    async def file(self, pieces: FilePieces) -> bool:
        """Send a file as the body by sendfile(2); return whether that was possible."""
        await self.write(b'')  # the head
        if not await send_file(self._connection, pieces):
            return False
        self.keep_alive &= self._keeps_alive()
        return True

    def abort(self) -> None:
        """Reset the connection where its end would be taken for that of the body."""
        self.keep_alive = False
        if self._until_close:
            reset_connection(self._connection.transport)

    def handshake_refusal(
        self, options: Mapping[str, Any], request: Request
    ) -> tuple[int, Sequence[str]] | None:
        """Return why no WebSocket can be opened, as ``handshake.check_handshake`` does."""
        return check_handshake(options, request, upgrades=self._connection.upgrade)

    async def open(
        self, options: Mapping[str, Any], request: Request, headers: Headers
    ) -> tuple[Peer, str | None]:
        """Write the 101, and turn the connection into a WebSocket."""
        connection = self._connection
        agreement, fields = response_fields(options, request)
        self.begun = connection.begun = True
        await connection.write(_encode_switch(fields, headers))
        if connection.transport is None:
            raise ConnectionResetError('the client has left')
        peer = ConnectionPeer(
            connection, agreement, is_client=False, wrote=connection.count_written
        )
        connection.become(peer)
        return peer, agreement.protocol


def _encode_switch(fields: list[str], given: Headers) -> bytes:
    headers = without_handshake(given)
    kept = [f'{name}: {one}' for name, one in headers.items() if name.lower() not in ONE_HOP]
    lines = '\r\n'.join(('HTTP/1.1 101 Switching Protocols', *fields, *kept, '\r\n'))
    return lines.encode('utf-8', 'surrogateescape')


class SocketParts(BodyParts):
    """The parts of a body, each with a timeout. Not a generator, which would have to be closed.

    Args:
        seconds: How long to wait for each part.
        waits: Whether the client waits for a 100 (Continue); it is sent when a part is wanted.
    """

    def __init__(self, connection: FramedConnection, seconds: float, *, waits: bool) -> None:
        self._connection, self._body = connection, connection.body
        self._seconds = seconds
        self._waits = waits

    def __aiter__(self) -> AsyncIterator[bytes]:
        return self

    async def __anext__(self) -> bytes:
        connection, body = self._connection, self._body
        if connection.body is not body or not connection.busy:
            raise ProtocolError('the request is answered, and its body is gone')
        if self._waits and not connection.begun and connection.transport is not None:
            connection.transport.write(CONTINUE)
        self._waits = False
        try:
            while not (data := read_arrived(body)):  # raises if the body is broken
                if body.is_eof():
                    raise StopAsyncIteration
                if data := await self._next():
                    break
        except RequestPayloadError as error:
            raise ProtocolError(str(error)) from error
        return data

    def rest(self) -> bytes | None:
        """Return all that is not read yet if it has arrived; ``None`` if it has to be awaited."""
        if not self._connection.whole or self._body.exception() is not None:
            return None
        return self._body.read_nowait()

    async def _next(self) -> bytes:
        """Wait for the next part; ``b''`` if the body broke meanwhile, for ``read_arrived``."""
        self._connection.expect_body(self._seconds)
        try:
            return await self._body.readany()
        finally:
            self._connection.reading = False


class CancelledWhenLost:
    """Let the connection cancel the task of its request when it is lost, within a block."""

    def __init__(self, connection: FramedConnection) -> None:
        self._connection = connection

    async def __aenter__(self) -> None:
        self._connection.cancels = True

    async def __aexit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        traceback: TracebackType | None,
    ) -> None:
        self._connection.cancels = False
        task = asyncio.current_task()
        if not isinstance(error, asyncio.CancelledError) or task is None:
            return
        if self._connection.transport is None and not task.uncancel():  # else the server closes
            raise ConnectionResetError('the client has left') from None
