"""Answers whose body comes chunk by chunk, in constant memory (RFC 9112 7.1)."""

from __future__ import annotations

from contextlib import aclosing
from typing import Any

from ..bodies.chunks import Chunks
from ..exchange.response import reset
from ..headers import Headers, given_length
from ..semantics import is_silent
from ..tables.handlers import chunks_of
from ..tables.models import Response
from .encode import encode, encode_head, framing_of
from .framing import Framed

__all__ = ['Streamed']


class Streamed:
    """An answer whose body an iterator gives. Each chunk goes out as it comes.

    The head goes with the first of them, so that a mistake before it is still a 500. An empty
    chunk sends the head alone.
    """

    def __init__(self, response: Response[Any], headers: Headers, keep_alive: bool) -> None:
        self.status: int = response['status']
        self.reason: str | None = response.get('reason')
        self.headers = headers
        self.keep_alive: bool = keep_alive
        self.framing: str | None = None
        self.chunks: Chunks = chunks_of(headers, response['body'])

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
        self.chunks.length = length
        try:
            async for data in self.chunks:
                await self._write(connection, _chunk(data) if chunked else data)
            await self._write(connection, b'0\r\n\r\n' if chunked else b'')
        except BaseException:
            if until_close:  # which would look like the end of the body
                reset(connection.transport)
            raise

    async def _write(self, connection: Framed, data: bytes) -> None:
        if not connection.begun:
            connection.begun = True
            start = self.status, self.reason, self.headers
            data = encode_head(connection.head, *start, self.framing, self.keep_alive) + data
        await connection.write(data)


def _chunk(data: bytes) -> bytes:
    return b'%x\r\n%b\r\n' % (len(data), data) if data else b''
