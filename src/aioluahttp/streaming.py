"""Answers whose body comes chunk by chunk, in constant memory (RFC 9112 7.1)."""

from __future__ import annotations

import socket
import struct
from contextlib import aclosing
from typing import Any

from .calling import Chunks
from .checks import check_body
from .conversion import wire_body
from .encoders import Coded
from .errors import TableError
from .framing import Framed
from .headers import Headers
from .outgoing import encode, encode_head, framing_of, given_length, is_silent
from .streams import Stream
from .tables import Response

__all__ = ['Streamed']

AT_ONCE = struct.pack('ii', 1, 0)  # linger: no bytes are sent any more, but a reset


class Streamed:
    """An answer whose body an iterator gives. Each chunk goes out as it comes.

    The head goes with the first of them, so that a mistake before it is still a 500. An empty
    chunk sends the head alone.
    """

    def __init__(self, response: Response[Any], headers: Headers, keep_alive: bool) -> None:
        body = response['body']
        self.is_own = not isinstance(body, Stream)  # else it is as its origin says
        if self.is_own:
            headers.setdefault('Content-Type', 'application/octet-stream')
        self.status: int = response['status']
        self.reason: str | None = response.get('reason')
        self.headers = headers
        self.keep_alive = keep_alive
        self.framing: str | None = None
        if isinstance(body, Coded):  # its text may yet name its charset
            body.encode = self._encoded
        self.chunks = Chunks(body, self._encoded)

    def _encoded(self, chunk: Any) -> bytes:
        return wire_body(self.headers, check_body(chunk)) if self.is_own else chunk

    async def send(self, connection: Framed) -> bool:
        """Send head and body; the iterator is closed whatever happens."""
        async with aclosing(self.chunks):
            if is_silent(connection.head.method, self.status):
                start = self.status, self.reason, self.headers
                answer = encode(connection.head, *start, b'', self.keep_alive)
                await connection.write(answer.data)
            else:
                await self._send(connection)
        return self.keep_alive and connection.keeps

    async def _send(self, connection: Framed) -> None:
        length = given_length(self.headers)
        chunked = length is None and connection.head.version >= (1, 1)
        until_close = length is None and not chunked
        self.keep_alive &= not until_close
        self.framing = 'Transfer-Encoding: chunked' if chunked else framing_of(length)
        sent = 0
        try:
            async for data in self.chunks:
                sent += len(data)
                if length is not None and sent > length:
                    raise TableError("'body' is longer than its Content-Length")
                await self._write(connection, _chunk(data) if chunked else data)
            if length is not None and sent < length:
                raise TableError("'body' is shorter than its Content-Length")
            await self._write(connection, b'0\r\n\r\n' if chunked else b'')
        except BaseException:
            if until_close:  # which would look like the end of the body
                _reset(connection)
            raise

    async def _write(self, connection: Framed, data: bytes) -> None:
        if not connection.begun:
            connection.begun = True
            start = self.status, self.reason, self.headers
            data = encode_head(connection.head, *start, self.framing, self.keep_alive) + data
        await connection.write(data)


def _chunk(data: bytes) -> bytes:
    return b'%x\r\n%b\r\n' % (len(data), data) if data else b''


def _reset(connection: Framed) -> None:
    transport = connection.transport
    if transport is not None:
        on_socket = transport.get_extra_info('socket')
        on_socket.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, AT_ONCE)
        transport.abort()
