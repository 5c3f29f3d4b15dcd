"""The body of a request on its way to the peer."""

from __future__ import annotations

import asyncio
import contextlib
from collections.abc import Callable
from typing import Any, Never

import aiohttp

from ..bodies.chunks import Chunks
from .request_body import PIECE, Supply

__all__ = ['Delivery', 'Gone']

TURN = 256 * 1024  # bytes after which others have a turn of the loop, however fast the peer reads


class Broken(Exception):
    """The body broke off on our side; carried through aiohttp, which heeds it not."""


class Delivery(aiohttp.Payload):
    """One try to send a body, chunked unless its length is known. Is a payload of aiohttp's.

    ``attempts.Sending`` calls ``deliver`` in a task. A peer that stops reading is no mistake here:
    its answer, or that there is none, tells why.

    Args:
        supply: Where it comes from, ready for a try.
        length: In bytes; ``None`` is unknown.
        encode: Makes bytes of a chunk.
        progress: Is told how many bytes were sent, and of how many.
    """

    def __init__(
        self,
        supply: Supply,
        length: int | None,
        encode: Callable[[Any], bytes],
        progress: Callable[[int, int | None], object] | None = None,
    ) -> None:
        super().__init__(supply)
        self._length = length
        self.supply = supply
        self._encode = encode
        self._progress = progress
        self._content: aiohttp.StreamReader | None = None
        self._task: asyncio.Task[Any] | None = None
        self._protocol: Any = None
        self._transport: Any = None  # unless it is TLS, which asyncio ends in time
        self.read_timeout: float | None = None  # from when all is sent
        self.is_done: bool = False  # all of it, and not given up

    @property
    def autoclose(self) -> bool:
        """Whether aiohttp has nothing to close."""
        return True

    @property
    def size(self) -> int | None:
        """How many bytes there are. aiohttp's word for it."""
        return self._length

    def decode(self, encoding: str = 'utf-8', errors: str = 'strict') -> Never:
        """Refuse to be text. aiohttp's word for it."""
        raise TypeError('a body that is sent as it comes is no text')

    async def write(self, writer: Any) -> None:
        """Write the body, without its end; the iterator is closed whatever happens."""
        async with contextlib.aclosing(self.chunks()) as chunks:
            await self._write(chunks, writer)

    def chunks(self) -> Chunks:
        """Begin to draw it."""
        chunks = self.supply.chunks(self._encode)
        chunks.length = self._length
        return chunks

    async def _write(self, chunks: Chunks, writer: Any) -> None:
        sent = since = 0
        async for data in chunks:
            await _through(writer.write, data)
            sent += len(data)
            since += len(data)
            if since >= TURN:
                since = 0
                await asyncio.sleep(0)
            self.tell(sent)

    def tell(self, sent: int) -> None:
        """Tell who watches how many bytes were sent."""
        if self._progress:
            self._progress(sent, self._length)

    def take(self, protocol: Any, transport: Any) -> None:
        """Take a connection, and lose no answer of a peer that closes it while it is written to."""
        self._protocol = protocol
        if transport.get_extra_info('sslcontext'):  # what is left of TLS says nothing
            return
        self._transport = transport
        if transport.get_protocol() is protocol:
            transport.set_protocol(LastWord(protocol))

    async def deliver(self, writer: Any, connection: Any) -> None:
        """Send the body over a connection of aiohttp's, and wait for no answer."""
        self._task = asyncio.current_task()
        protocol = self._protocol
        self.read_timeout, protocol.read_timeout = protocol.read_timeout, None
        try:
            await self.write(writer)
            await _through(writer.write_eof)
            self.is_done = True
        except Gone:
            _abort(protocol)  # it may wait for its peer to read
        except BaseException as error:
            if isinstance(error, Exception):
                self._break(protocol, error)
            _abort(protocol)
            connection.close()
            if not isinstance(error, Exception):
                raise
        else:
            protocol.read_timeout = self.read_timeout
            protocol.start_timeout()
        finally:
            await self.supply.end()

    def _break(self, protocol: Any, error: Exception) -> None:
        """Tell those who wait for the answer."""
        self.supply.error = error
        for waiting in (protocol, self._content):
            if waiting is not None:
                waiting.set_exception(Broken())

    def answered(self, content: aiohttp.StreamReader, *, flows: bool) -> None:
        """Take note that a head has come.

        Args:
            content: Of the answer; is told if the body breaks off.
            flows: Whether who reads it sees to the time that takes.
        """
        self._content = content
        if self.supply.error:
            content.set_exception(Broken())
        if flows:
            self.read_timeout = None

    async def stop(self) -> None:
        """Send no more, and wait until that is so."""
        if self._task and not self._task.done():
            self._task.cancel()
            await asyncio.wait([self._task])
        await self.supply.end()
        transport = self._transport
        if transport and transport.is_closing() and transport.get_write_buffer_size():
            transport.abort()  # what is left may wait for ever


class LastWord(asyncio.Protocol):
    """Stands before a protocol of aiohttp's, and reads what the peer said before it was gone.

    A peer that answers, and closes with something unread, resets the connection. The event loop
    learns of that by a write that fails, and then reads no more: not the answer, either.
    """

    def __init__(self, protocol: Any) -> None:
        self._protocol, self._transport = protocol, protocol.transport

    def data_received(self, data: bytes) -> None:
        """Pass on what came."""
        self._protocol.data_received(data)

    def eof_received(self) -> Any:
        """Pass on that nothing more will come."""
        return self._protocol.eof_received()

    def pause_writing(self) -> None:
        """Pass on that the peer reads too slowly."""
        self._protocol.pause_writing()

    def resume_writing(self) -> None:
        """Pass on that it has read."""
        self._protocol.resume_writing()

    def connection_lost(self, exc: Exception | None) -> None:
        """Read what is left, before the socket is closed."""
        if isinstance(exc, OSError):
            with (
                contextlib.suppress(OSError),
                self._transport.get_extra_info('socket').dup() as left,
            ):
                while data := left.recv(PIECE):
                    self.data_received(data)
        self._protocol.connection_lost(exc)


def _abort(protocol: Any) -> None:
    if protocol.transport is not None:  # a second end would be an error of asyncio's
        protocol.transport.abort()


class Gone(Exception):
    """The peer does not read any more."""


async def _through(write: Callable[..., Any], *data: Any) -> None:
    try:
        await write(*data)
    except OSError as error:
        raise Gone from error
