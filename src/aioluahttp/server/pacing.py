"""What goes out on a connection, at the pace at which its peer reads."""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable, Iterator
from typing import TYPE_CHECKING, Any

from aiohttp.http_writer import StreamWriter

from .encode import Answer
from .framing import Framed

if TYPE_CHECKING:
    from .connection import Connections

__all__ = ['Paced']

PIECE = 64 * 1024  # bytes: what asyncio lets wait for a peer that reads slowly, too


class Paced(Framed):
    """A connection whose peer has so long to read the next part of an answer, else is cut off."""

    __slots__ = ('connections', 'reading_timer')

    def __init__(self, connections: Connections) -> None:
        super().__init__(connections, loop=connections.loop, **connections.settings)
        self.connections: Connections = connections
        self.reading_timer: asyncio.TimerHandle | None = None

    def connection_made(self, transport: Any) -> None:
        """Begin."""
        super().connection_made(transport)
        # An answer is in flight as long as a byte of it waits here, so close() waits for that.
        transport.set_write_buffer_limits(high=1, low=0)

    def connection_lost(self, exc: BaseException | None) -> None:
        """End, whichever side wanted it."""
        super().connection_lost(exc)
        self.is_read()

    def pause_writing(self) -> None:
        """Take note that the peer does not read as fast as it is sent messages."""
        super().pause_writing()
        if self.channel is not None:
            self.expect_reading(self.transport)

    def resume_writing(self) -> None:
        """Take note that it has read them."""
        super().resume_writing()
        if self.channel is not None:
            self.is_read()

    async def write(self, data: bytes) -> None:
        """Write, and wait while the peer reads; who stops reading is cut off."""
        # asyncio's TLS does not wait for who reads, nor tell how far, within a single write.
        whole = self.ssl_context is None or len(data) <= PIECE
        for piece in (data,) if whole else _pieces(data):
            transport = self.transport
            if transport is None or transport.is_closing():
                raise ConnectionResetError('the client has left')
            transport.write(piece)
            if self.writing_paused:
                await self.drained()
            elif not whole:
                await asyncio.sleep(0)  # only then it tells that the peer has left
        self.connections.bytes_out += len(data)

    async def drained(self) -> None:
        """Wait while the peer reads; who stops reading is cut off."""
        if self.transport is not None and self.writing_paused:
            await self.unread(StreamWriter(self, self.connections.loop).drain())

    async def unread(self, read: Awaitable[Any]) -> None:
        """Wait for what comes once the peer reads; who stops reading is cut off."""
        self.expect_reading(self.transport)
        await read
        self.is_read()

    def wrote(self, size: int) -> None:
        """Count bytes that were written without ``write``."""
        self.connections.bytes_out += size

    def say(self, answer: Answer) -> None:
        """Write a short answer, with no wait for who reads it."""
        if self.transport is not None:
            self.transport.write(answer.data)
            self.connections.bytes_out += len(answer.data)

    def close(self) -> None:
        """Close once everything is written; who does not read that is cut off."""
        self.ended = True
        transport = self.connections.open.get(self)
        if transport is not None and not transport.is_closing():
            transport.close()
            self.expect_reading(transport)

    force_close = close  # aiohttp's word for it, when a connection is lost

    def expect_reading(self, transport: Any) -> None:
        """Cut the connection off if its peer reads nothing for ``body_timeout`` seconds."""
        self.is_read()
        left = transport.get_write_buffer_size()

        def look() -> None:
            if left <= transport.get_write_buffer_size():
                transport.abort()
            else:
                self.expect_reading(transport)

        seconds = self.connections.exchange.settings.body_timeout
        self.reading_timer = self.connections.loop.call_later(seconds, look)

    def is_read(self) -> None:
        """Take note that the peer has read what it was sent."""
        if self.reading_timer is not None:
            self.reading_timer.cancel()
            self.reading_timer = None


def _pieces(data: bytes) -> Iterator[bytes]:
    return (data[start : start + PIECE] for start in range(0, len(data), PIECE))
