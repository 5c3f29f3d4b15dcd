"""What the body of a request is drawn from while it is sent: a path, a file, an iterable."""

from __future__ import annotations

import asyncio
import io
import os
from collections.abc import AsyncIterable, AsyncIterator, Callable
from mimetypes import guess_type
from stat import S_ISREG
from typing import IO, Any, TypeVar

from ..bodies.chunks import Chunks, close
from ..errors import TableError
from ..tables.checks import is_file, is_one_shot
from ..tables.models import Request, Response

__all__ = ['PIECE', 'Supply', 'Whole', 'check_again', 'supply_of', 'to_supply']

T = TypeVar('T')

COMPRESSED = {'gzip': 'application/gzip', 'bzip2': 'application/x-bzip2', 'xz': 'application/x-xz'}
PIECE = 512 * 1024  # bytes read at a time: each costs a turn of a thread


class Supply:
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
            await _through(self._open)
        elif is_file(self.body) and not self._one_shot:
            await _through(self._rewind)

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
            return Chunks(_Pieces(file, self.length, stuck=self._one_shot), _check_piece)
        body = self.body
        return Chunks(aiter(body) if isinstance(body, AsyncIterable) else iter(body), encode)

    async def end(self) -> None:
        """Close the file that was opened for a try."""
        if self._opened is not None:
            opened, self._opened = self._opened, None
            await _through(opened.close)

    async def close(self) -> None:
        """Close an iterator that was never begun; one that was has been closed."""
        if not (self._begun or is_file(self.body)) and self._one_shot:
            await close(self.body)


class Whole(Supply):
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


def to_supply(body: Any) -> Supply | None:
    """Give what a body is drawn from while it is sent; None for one that is whole, or absent."""
    return None if body is None or isinstance(body, str | bytes) else Supply(body)


def check_again(body: Any, response: Response[Any]) -> None:
    """Refuse to send a body twice that cannot be, where a redirect asks for it.

    Raises:
        TableError: Of which ``response`` is that redirect.
    """
    if isinstance(body, Supply) and body.is_spent:
        right = 'a path, a seekable file or what gives a new iterator each time to be sent again, '
        error = TableError.of('body', body.body, right + f'as {response["status"]} asks for')
        error.response = response
        raise error


class _Pieces:
    """The pieces of a file, read in a thread.

    Args:
        file: Open, binary.
        length: Of what is read, in bytes: no more is, though there may be; ``None`` is all.
        stuck: Whether a read may take for ever, so that nobody can wait for it to be over.
    """

    def __init__(self, file: Any, length: int | None, *, stuck: bool) -> None:
        self._file, self._left = file, length
        self._run = asyncio.to_thread if stuck else _through

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


async def _through(function: Callable[..., T], *arguments: Any) -> T:
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


def supply_of(request: Request) -> Supply | None:
    """Give what the body of a request is drawn from; None for one that is whole, or absent."""
    body = request.get('body')
    return body if isinstance(body, Supply) else None
