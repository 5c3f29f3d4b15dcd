"""Request bodies that are sent in parts: the source of the bytes, and their delivery.

``BodySource`` reads a path, a file or an iterable, in one or more attempts. ``BodyDelivery`` is one
attempt to send it; ``wire`` and ``session`` write its chunks.
"""

from __future__ import annotations

import asyncio
import contextlib
import io
import os
from collections.abc import AsyncIterable, AsyncIterator, Awaitable, Callable
from stat import S_ISREG
from typing import IO, Any, TypeVar

from ..bodies.chunks import Chunks, close, in_thread, slices
from ..bodies.files import is_file
from ..bodies.forms import MultipartBody, PartFile
from ..errors import TableError, TimedOut
from ..media_types import type_of
from ..tables.checks import is_one_shot
from ..tables.models import Request, Response
from ..types import Progress
from .failures import BodyFailed

__all__ = [
    'PIECE',
    'SHORT',
    'WRITE',
    'BodyDelivery',
    'BodySource',
    'BytesSource',
    'MultipartSource',
    'check_resendable',
    'source_of',
    'to_source',
    'write_timed_out',
]

T = TypeVar('T')

SHORT = 16 * 1024  # bytes that fit a socket's send buffer
PIECE = 512 * 1024  # bytes that are read at once: each read costs a switch to a thread
WRITE = 64 * 1024  # bytes of one write where the peer has a time to take them
TURN = 256 * 1024  # bytes after which other tasks may run, however fast the peer reads


class BodySource:
    """The source of a request body, for all attempts to send it: a path, a file or an iterable.

    For each attempt call ``open``, ``chunks`` and ``end``; after the last one, ``close``. A file
    that was given is left open, an iterator is closed.

    Args:
        body: The body of the request table.
        key: Names it in errors.
    """

    length: int | None = None
    """In bytes; None if it is unknown before the end."""
    content_type: str | None = None
    """Guessed by the name of the file; None if there is no name, or an unknown one."""

    def __init__(self, body: Any, key: str = 'body') -> None:
        self.body = body
        self._key = key
        self._one_shot = is_one_shot(body)
        self._begun = False
        self._start: int | None = None  # position of a file that was given
        self._opened: IO[bytes] | None = None

    @property
    def is_spent(self) -> bool:
        """Whether reading has begun and cannot begin again, as with an iterator."""
        return self._begun and self._one_shot

    async def open(self) -> None:
        """Open or rewind the file for an attempt, and set ``length`` and ``content_type``.

        Raises:
            TableError: The path is not that of a file that can be read.
        """
        if isinstance(self.body, os.PathLike):
            await in_thread(self._open)
        elif is_file(self.body) and not self._one_shot:
            await in_thread(self._rewind)

    def _open(self) -> None:
        path = os.fspath(self.body)
        try:
            if not S_ISREG(os.stat(path).st_mode):  # opening a pipe may block for ever
                raise TableError.of(self._key, self.body, 'the path of a file')
            self._opened = open(path, 'rb')  # noqa: SIM115 - ``end`` closes it
        except OSError as error:
            right = f'the path of a file that can be read ({error.strerror})'
            raise TableError.of(self._key, self.body, right) from error
        self.length = os.fstat(self._opened.fileno()).st_size
        self.content_type = _content_type_of(path)

    def _rewind(self) -> None:
        if self._start is None:
            self._start = start = self.body.tell()
            self.length = _length_of(self.body, start)
            self.content_type = _content_type_of(getattr(self.body, 'name', None))
        else:
            self.body.seek(self._start)

    def chunks(self, encode: Callable[[Any], bytes]) -> Chunks:
        """Begin to read the body; ``encode`` converts each chunk of an iterable to bytes."""
        self._begun = True
        if self._opened is not None or is_file(self.body):
            file: Any = self._opened or self.body
            return Chunks(SourcePieces(file, self.length, may_block=self._one_shot), _check_piece)
        body = self.body
        return Chunks(aiter(body) if isinstance(body, AsyncIterable) else iter(body), encode)

    async def end(self) -> None:
        """End an attempt: close the file that ``open`` opened."""
        if self._opened is not None:
            opened, self._opened = self._opened, None
            await in_thread(opened.close)

    async def close(self) -> None:
        """Close an iterator that was never read; its ``Chunks`` close one that was."""
        if not (self._begun or is_file(self.body)) and self._one_shot:
            await close(self.body)


class BytesSource(BodySource):
    """A body of ``str`` or ``bytes`` that is sent in pieces, because it is large.

    Args:
        body: The body of the request table.
        data: Its bytes.
    """

    def __init__(self, body: str | bytes, data: bytes) -> None:
        super().__init__(body)
        self._data = data
        self.length: int | None = len(data)

    def chunks(self, encode: Callable[[Any], bytes]) -> Chunks:
        """Begin to read slices of the bytes; ``encode`` is not needed."""
        return Chunks(slices(self._data, PIECE), bytes)


class MultipartSource(BodySource):
    """A multipart body with files.

    ``open`` asks each file for its length. One is open again only while it is read, so a form may
    have more files than a process may have open.
    """

    def __init__(self, body: MultipartBody) -> None:
        super().__init__(body)
        self._pieces = [
            BodySource(piece.body, piece.key) if isinstance(piece, PartFile) else piece
            for piece in body.pieces
        ]
        self._lengths: list[int | None] = []

    async def open(self) -> None:
        """Set ``length``, unless the length of a file is unknown.

        Raises:
            TableError: A path is not that of a file that can be read.
        """
        self._lengths = [await self._measure(piece) for piece in self._pieces]
        known = [length for length in self._lengths if length is not None]
        self.length: int | None = sum(known) if len(known) == len(self._lengths) else None

    async def _measure(self, piece: bytes | BodySource) -> int | None:
        if isinstance(piece, bytes):
            return len(piece)
        await piece.open()
        await piece.end()
        return piece.length

    def chunks(self, encode: Callable[[Any], bytes]) -> Chunks:
        """Begin to read the parts; ``encode`` is not needed."""
        self._begun = True
        return Chunks(self._read(), bytes)

    async def _read(self) -> AsyncIterator[bytes]:
        for piece, length in zip(self._pieces, self._lengths, strict=True):
            if isinstance(piece, bytes):
                for data in slices(piece, PIECE):
                    yield data
                continue
            await piece.open()
            async with contextlib.aclosing(piece.chunks(bytes)) as chunks:
                chunks.length = length
                async for data in chunks:
                    yield data
            await piece.end()

    async def end(self) -> None:
        """End an attempt: close the file that was being read."""
        for piece in self._pieces:
            if isinstance(piece, BodySource):
                await piece.end()


def to_source(body: Any) -> BodySource | None:
    """Make the source of a body that is sent in parts; None for text, bytes or no body."""
    if body is None or isinstance(body, str | bytes):
        return None
    return MultipartSource(body) if isinstance(body, MultipartBody) else BodySource(body)


def check_resendable(body: Any, response: Response[Any]) -> None:
    """Refuse a redirect that needs the body again, if the body can be sent only once.

    Raises:
        TableError: ``response`` of the error is the redirect.
    """
    if isinstance(body, BodySource) and body.is_spent:
        right = 'a path, a seekable file or an iterable that can be read twice, '
        right += f'because a {response["status"]} sends the body again'
        error = TableError.of('body', body.body, right)
        error.response = response
        raise error


class SourcePieces:
    """The pieces of a file, read in a thread.

    Args:
        file: Open, in binary mode.
        length: Bytes to read at most; ``None`` reads to the end.
        may_block: Whether a read may block for ever, so that a cancellation must not wait for it.
    """

    def __init__(self, file: Any, length: int | None, *, may_block: bool) -> None:
        self._file, self._left = file, length
        self._run = asyncio.to_thread if may_block else in_thread

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
    raise TableError.of('body', data, "a file opened in binary mode ('rb'), which reads bytes")


def _length_of(file: Any, start: int) -> int | None:
    """Return how many bytes are left of a file; None if only reading it would tell.

    The size of a descriptor is used for plain files alone: that of a ``GzipFile`` is the packed
    size.
    """
    if isinstance(file, io.BytesIO):
        return max(file.getbuffer().nbytes - start, 0)
    raw = getattr(file, 'raw', file)
    if not isinstance(raw, io.FileIO):
        return None
    status = os.fstat(raw.fileno())
    return max(status.st_size - start, 0) if S_ISREG(status.st_mode) else None


def _content_type_of(name: Any) -> str | None:
    return type_of(os.fsdecode(name)) if isinstance(name, str | bytes) else None


def source_of(request: Request) -> BodySource | None:
    """Return the body source of a request; None if its body is text or bytes, or absent."""
    body = request.get('body')
    return body if isinstance(body, BodySource) else None


class BodyDelivery:
    """One attempt to send the body of a source.

    Args:
        source: Of the bytes; it is open.
        size: The length of the body in bytes; ``None`` is unknown.
        encode: Converts a chunk of an iterable to bytes.
        progress: Called with the bytes that were sent so far, and ``size``.
        seconds: In which the peer must take some more of what is written; ``None`` is no limit.
    """

    def __init__(
        self,
        source: BodySource,
        size: int | None,
        encode: Callable[[Any], bytes],
        progress: Progress | None = None,
        seconds: float | None = None,
    ) -> None:
        self.source = source
        self.size = size
        self.seconds = seconds
        self._encode = encode
        self._progress = progress

    def chunks(self) -> Chunks:
        """Begin to read the source."""
        chunks = self.source.chunks(self._encode)
        chunks.length = self.size
        return chunks

    def tell(self, sent: int) -> None:
        """Call the progress callback with the number of bytes that were sent."""
        if self._progress:
            self._progress(sent, self.size)

    async def send(self, write: Callable[[bytes], Awaitable[bool]]) -> bool:
        """Write all chunks, and close the iterator in any case.

        Args:
            write: Writes a chunk, with back-pressure; returns False if the peer reads no more.

        Returns:
            Whether all chunks were written.

        Raises:
            BodyFailed: The source, or the progress callback, raised an exception.
        """
        sent = since = 0
        try:
            async with contextlib.aclosing(self.chunks()) as chunks:
                async for data in chunks:
                    if not await write(data):
                        return False
                    sent += len(data)
                    since += len(data)
                    if since >= TURN:
                        since = 0
                        await asyncio.sleep(0)
                    self.tell(sent)
        except Exception as error:
            raise BodyFailed(error) from error
        return True


def write_timed_out(seconds: float | None) -> TimedOut:
    """Return the error for a peer that took nothing more of a body in time."""
    return TimedOut(f'the peer took no more of the body within {seconds} s (timeout[write])')
