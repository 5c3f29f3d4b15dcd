"""What the body of a request is drawn from while it is sent: a path, a file, an iterable.

The body of a request on its way to the peer.
"""

from __future__ import annotations

import asyncio
import contextlib
import io
import os
from collections.abc import AsyncIterable, AsyncIterator, Callable
from mimetypes import guess_type
from stat import S_ISREG
from typing import IO, Any, Never, TypeVar

import aiohttp

from ..bodies.chunks import Chunks, close
from ..errors import TableError
from ..tables.checks import is_file, is_one_shot
from ..tables.models import Request, Response

__all__ = [
    'PIECE',
    'BodyDelivery',
    'BodySource',
    'BytesSource',
    'PeerGone',
    'check_again',
    'source_of',
    'to_source',
]

T = TypeVar('T')

COMPRESSED = {'gzip': 'application/gzip', 'bzip2': 'application/x-bzip2', 'xz': 'application/x-xz'}
PIECE = 512 * 1024  # bytes read at a time: each costs a turn of a thread


class BodySource:
    """What the body of one request is drawn from, over all its tries.

    ``open`` readies it for a try, ``chunks`` begins it, ``end`` ends it. ``close`` is for the end
    of all of them. A file that was given is left open, an iterator is closed.
    """

    length: int | None = None
    """In bytes, where it is known beforehand."""
    kind: str | None = None
    """The Content-Type, where there is a name to guess it by."""
    error: Exception | None = None
    """What broke off the last try, where that was no fault of the peer's."""

    def __init__(self, body: Any) -> None:
        self.body = body
        self._one_shot = is_one_shot(body)
        self._begun = False
        self._start: int | None = None  # where a file that was given stood
        self._opened: IO[bytes] | None = None

    @property
    def is_spent(self) -> bool:
        """Whether it has been begun, and cannot be begun again."""
        return self._begun and self._one_shot

    async def open(self) -> None:
        """Be ready for a try: the length and the kind are known, where they can be.

        Raises:
            TableError: There is no such file, or it cannot be read.
        """
        self.error = None
        if isinstance(self.body, os.PathLike):
            await run_in_thread(self._open)
        elif is_file(self.body) and not self._one_shot:
            await run_in_thread(self._rewind)

    def _open(self) -> None:
        path = os.fspath(self.body)
        try:
            if not S_ISREG(os.stat(path).st_mode):  # to open a pipe may take for ever
                raise TableError.of('body', self.body, 'the path of a file')
            self._opened = open(path, 'rb')  # noqa: SIM115 - until the end of the try
        except OSError as error:
            right = f'the path of a file that can be read ({error.strerror})'
            raise TableError.of('body', self.body, right) from error
        self.length = os.fstat(self._opened.fileno()).st_size
        self.kind = _kind_of(path)

    def _rewind(self) -> None:
        if self._start is None:
            self._start = start = self.body.tell()
            self.length = _length_of(self.body, start)
            self.kind = _kind_of(getattr(self.body, 'name', None))
        else:
            self.body.seek(self._start)

    def chunks(self, encode: Callable[[Any], bytes]) -> Chunks:
        """Begin to draw: each chunk is made bytes."""
        self._begun = True
        if self._opened is not None or is_file(self.body):
            file: Any = self._opened or self.body
            return Chunks(SourcePieces(file, self.length, stuck=self._one_shot), _check_piece)
        body = self.body
        return Chunks(aiter(body) if isinstance(body, AsyncIterable) else iter(body), encode)

    async def end(self) -> None:
        """Close the file that was opened for a try."""
        if self._opened is not None:
            opened, self._opened = self._opened, None
            await run_in_thread(opened.close)

    async def close(self) -> None:
        """Close an iterator that was never begun; one that was has been closed."""
        if not (self._begun or is_file(self.body)) and self._one_shot:
            await close(self.body)


class BytesSource(BodySource):
    """A body that is there, to be sent in pieces.

    Args:
        body: As it was given.
        data: Its bytes.
    """

    def __init__(self, body: str | bytes, data: bytes) -> None:
        super().__init__(body)
        self._data = data
        self.length: int | None = len(data)

    def chunks(self, encode: Callable[[Any], bytes]) -> Chunks:
        """Begin to draw: slices, which are bytes already."""
        data = self._data
        starts = range(0, len(data), PIECE)
        return Chunks((data[start : start + PIECE] for start in starts), bytes)


def to_source(body: Any) -> BodySource | None:
    """Give what a body is drawn from while it is sent; None for one that is whole, or absent."""
    return None if body is None or isinstance(body, str | bytes) else BodySource(body)


def check_again(body: Any, response: Response[Any]) -> None:
    """Refuse to send a body twice that cannot be, where a redirect asks for it.

    Raises:
        TableError: Of which ``response`` is that redirect.
    """
    if isinstance(body, BodySource) and body.is_spent:
        right = 'a path, a seekable file or what gives a new iterator each time to be sent again, '
        error = TableError.of('body', body.body, right + f'as {response["status"]} asks for')
        error.response = response
        raise error


class SourcePieces:
    """The pieces of a file, read in a thread.

    Args:
        file: Open, binary.
        length: Of what is read, in bytes: no more is, though there may be; ``None`` is all.
        stuck: Whether a read may take for ever, so that nobody can wait for it to be over.
    """

    def __init__(self, file: Any, length: int | None, *, stuck: bool) -> None:
        self._file, self._left = file, length
        self._run = asyncio.to_thread if stuck else run_in_thread

    def __aiter__(self) -> AsyncIterator[Any]:
        return self

    async def __anext__(self) -> Any:
        size = PIECE if self._left is None else min(PIECE, self._left)
        if not size or not (data := await self._run(self._file.read, size)):
            raise StopAsyncIteration
        if self._left is not None:
            self._left -= len(data)
        return data


def _check_piece(data: Any) -> bytes:
    if isinstance(data, bytes):
        return data
    raise TableError.of('body', data, "a file that gives bytes, as one opened with 'rb' does")


async def run_in_thread(function: Callable[..., T], *arguments: Any) -> T:
    """Run a function in a thread; a cancellation waits for it, for no thread can be stopped."""
    running = asyncio.get_running_loop().run_in_executor(None, function, *arguments)
    try:
        return await asyncio.shield(running)
    except asyncio.CancelledError:
        await asyncio.wait([running])
        raise


def _length_of(file: Any, start: int) -> int | None:
    """Give how much is left of a file; None where only reading it would tell.

    The size that a descriptor tells is not that of what a ``GzipFile`` and its like give.
    """
    if isinstance(file, io.BytesIO):
        return max(file.getbuffer().nbytes - start, 0)
    raw = getattr(file, 'raw', file)
    if not isinstance(raw, io.FileIO):
        return None
    status = os.fstat(raw.fileno())
    return max(status.st_size - start, 0) if S_ISREG(status.st_mode) else None


def _kind_of(name: Any) -> str | None:
    if not isinstance(name, str | bytes):
        return None
    kind, coding = guess_type(os.fsdecode(name))
    return kind if coding is None else COMPRESSED.get(coding)


def source_of(request: Request) -> BodySource | None:
    """Give what the body of a request is drawn from; None for one that is whole, or absent."""
    body = request.get('body')
    return body if isinstance(body, BodySource) else None


TURN = 256 * 1024  # bytes after which others have a turn of the loop, however fast the peer reads


class BodyBroken(Exception):
    """The body broke off on our side; carried through aiohttp, which heeds it not."""


class BodyDelivery(aiohttp.Payload):
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
        supply: BodySource,
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
            await _write_or_gone(writer.write, data)
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
            transport.set_protocol(LastBytesProtocol(protocol))

    async def deliver(self, writer: Any, connection: Any) -> None:
        """Send the body over a connection of aiohttp's, and wait for no answer."""
        self._task = asyncio.current_task()
        protocol = self._protocol
        self.read_timeout, protocol.read_timeout = protocol.read_timeout, None
        try:
            await self.write(writer)
            await _write_or_gone(writer.write_eof)
            self.is_done = True
        except PeerGone:
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
                waiting.set_exception(BodyBroken())

    def answered(self, content: aiohttp.StreamReader, *, flows: bool) -> None:
        """Take note that a head has come.

        Args:
            content: Of the answer; is told if the body breaks off.
            flows: Whether who reads it sees to the time that takes.
        """
        self._content = content
        if self.supply.error:
            content.set_exception(BodyBroken())
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


class LastBytesProtocol(asyncio.Protocol):
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


class PeerGone(Exception):
    """The peer does not read any more."""


async def _write_or_gone(write: Callable[..., Any], *data: Any) -> None:
    try:
        await write(*data)
    except OSError as error:
        raise PeerGone from error
