"""A body that is stored while it is passed on to one or more readers: ``Fill``.

One task, the pump, reads the source. A window of what it has read last stays in memory; it does not
run further ahead of the fastest reader. A reader that falls behind the window goes on from the
storage, so a slow one holds up neither the others nor the storage. Without any reader the pump goes
on to the end, so that a client that leaves does not lose the response for the next one.

If the body turns out not to be storable, because it is too large or the storage fails, the pump
waits for the slowest reader instead, and ends with the last one.
"""

from __future__ import annotations

import asyncio
import logging
from bisect import bisect_right
from collections.abc import AsyncIterator, Awaitable, Callable
from contextlib import suppress
from typing import Any

from ..bodies.chunks import close
from ..errors import ProtocolError, Refused
from .entries import PIECE
from .storage import Storage

__all__ = ['Fill', 'FillReader', 'read_stored']

logger: logging.Logger = logging.getLogger('aioluahttp')

WINDOW = 4 * PIECE
UNREAD = 'the body was not read to its end'


class Fill:
    """A body on its way from a source to a storage and to readers.

    Args:
        source: The body. It is closed at the end.
        storage: Where its pieces go.
        id: Id of the entry that follows.
        most: Bytes. A longer body is not stored.
        commit: Called at the end with the size of the body, and the body itself if it is one piece
            at most, which is not written; all pieces of a longer one are.

    Attributes:
        id: Id of the entry.
        start: Offset of the first byte of the window.
        end: Offset behind the last byte that was read.
        storing: Whether the body is being stored.
        done: Whether the source has ended.
        error: Why the body broke off; None if it did not.
        readers: Those that have not left.
        task: The pump, once it is started.
    """

    def __init__(
        self,
        source: AsyncIterator[bytes],
        storage: Storage,
        id: str,
        most: int,
        commit: Callable[[int, bytes | None], Awaitable[None]],
    ) -> None:
        self.id = id
        self.storage = storage
        self.start: int = 0
        self.end: int = 0
        self.storing: bool = True
        self.done: bool = False
        self.error: BaseException | None = None
        self.readers: set[FillReader] = set()
        self.task: asyncio.Task[None] | None = None
        self._source = source
        self._most = most
        self._commit = commit
        self._offsets: list[int] = []
        self._chunks: list[bytes] = []
        self._pending = bytearray()  # read, but no whole piece yet
        self._pieces = 0  # number of pieces stored
        self._wrote = False
        self._changed = asyncio.Event()
        self._moved = asyncio.Event()  # set when a reader moves or leaves
        self._discarded = False

    def start_pump(self) -> asyncio.Task[None]:
        """Start the task that reads the source to its end."""
        self.task = asyncio.create_task(self._run())
        return self.task

    async def _run(self) -> None:
        try:
            async for chunk in self._source:
                if not chunk:
                    continue
                self._append(chunk)
                if self.storing:
                    await self._store(chunk)
                    if not (self.storing or self.readers):  # it would be read for nobody
                        self.error = ProtocolError(UNREAD)
                        return
                self._trim()
                await self._room()
            if self.storing:
                await self._finish()
        except Exception as error:
            self.error = error
            self.storing = False
        except BaseException:
            self.error = ProtocolError(UNREAD)
            self.storing = False
            raise
        finally:
            self.done = True
            self._notify()
            with suppress(Exception):
                await close(self._source)
            await self.release()

    def _append(self, chunk: bytes) -> None:
        self._offsets.append(self.end)
        self._chunks.append(chunk)
        self.end += len(chunk)
        self._notify()

    async def _store(self, chunk: bytes) -> None:
        """Store the whole pieces that there are; stop storing if that fails, or is too much."""
        self._pending += chunk
        if self.end > self._most:
            self.storing = False
        while self.storing and len(self._pending) >= PIECE:
            piece = bytes(self._pending[:PIECE])
            del self._pending[:PIECE]
            await self._write(piece)
        if not self.storing:
            self._pending.clear()

    async def _write(self, piece: bytes) -> None:
        self._wrote = True
        try:
            await self.storage.write(self.id, self._pieces, piece)
            self._pieces += 1
        except Exception as error:
            logger.warning('a response is not stored: %r', error)
            self.storing = False

    async def _finish(self) -> None:
        if not self._pieces:
            await self._commit(self.end, bytes(self._pending))
            return
        if self._pending:
            await self._write(bytes(self._pending))
        if self.storing:
            await self._commit(self.end, None)

    def _trim(self) -> None:
        """Drop from the window what no reader needs, or can read from the storage."""
        if self.storing:
            least = min(self._pieces * PIECE, self.end - WINDOW)
        else:
            least = min((reader.offset for reader in self.readers), default=self.end)
        count = bisect_right(self._offsets, least) - 1
        if count > 0:
            del self._offsets[:count], self._chunks[:count]
            self.start = self._offsets[0]

    async def _room(self) -> None:
        """Wait for readers: for the fastest while the body is stored, else for the slowest."""
        while self._is_ahead():
            self._moved.clear()
            await self._moved.wait()
            await self.release()

    def _is_ahead(self) -> bool:
        offsets = [reader.offset for reader in self.readers]
        if not offsets:
            return False
        return self.end - (max if self.storing else min)(offsets) >= WINDOW

    def chunk_at(self, offset: int) -> bytes:
        """Return the bytes of the window from an offset on, up to the end of a chunk."""
        index = bisect_right(self._offsets, offset) - 1
        chunk = self._chunks[index]
        skipped = offset - self._offsets[index]
        return chunk[skipped:] if skipped else chunk

    async def changed(self) -> None:
        """Wait until there is more to read, or the end."""
        await self._changed.wait()

    async def begun(self) -> None:
        """Wait for the first byte.

        Raises:
            Exception: What the source raised before it.
        """
        while not (self.end or self.done):
            await self.changed()
        if self.error is not None and not self.end:
            raise self.error

    def _notify(self) -> None:
        self._changed.set()
        self._changed = asyncio.Event()

    def moved(self) -> None:
        """Tell the pump that a reader has moved or left; end it if it works for nobody."""
        self._moved.set()
        if not (self.storing or self.readers or self.done) and self.task is not None:
            self.task.cancel()

    async def release(self) -> None:
        """Remove pieces from the storage whose entry will not follow, once nobody needs them."""
        if self.storing or self._discarded or not self._wrote:
            return
        if any(reader.offset < self.start for reader in self.readers):
            return
        self._discarded = True
        try:
            await self.storage.discard(self.id)
        except Exception as error:
            logger.warning('pieces of a response stay in the storage: %r', error)

    def reader(self) -> FillReader:
        """Return a reader of the body, from its first byte on."""
        return FillReader(self)


class FillReader:
    """An async iterator over the bytes of a ``Fill``."""

    def __init__(self, fill: Fill) -> None:
        self.offset: int = 0
        self._fill = fill
        fill.readers.add(self)

    def __aiter__(self) -> AsyncIterator[bytes]:
        return self

    async def __anext__(self) -> bytes:
        fill = self._fill
        while True:
            if self.offset < fill.start:
                chunk = await self._from_storage()
            elif self.offset < fill.end:
                chunk = fill.chunk_at(self.offset)
            elif not fill.done:
                await fill.changed()
                continue
            else:
                await self.aclose()
                if fill.error is not None:
                    raise fill.error
                raise StopAsyncIteration
            self.offset += len(chunk)
            fill.moved()
            return chunk

    async def _from_storage(self) -> bytes:
        number, skipped = divmod(self.offset, PIECE)
        piece = await _read_piece(self._fill.storage, self._fill.id, number)
        return piece[skipped:]

    async def aclose(self) -> None:
        """Leave. The body is read on for others, and for the storage."""
        self._fill.readers.discard(self)
        self._fill.moved()
        if self._fill.done:
            await self._fill.release()


async def _read_piece(storage: Storage, id: str, number: int) -> bytes:
    """Read a piece of a body.

    Raises:
        ProtocolError: It is gone, or the storage failed.
    """
    reason: Any = 'it made way for others'
    try:
        piece = await storage.read(id, number)
    except Exception as error:
        piece, reason = None, repr(error)
    if piece is None:
        logger.warning('a stored body breaks off: %s', reason)
        # The client's connection is closed, as if the origin had broken off.
        raise ProtocolError(f'a stored body breaks off: {reason}') from Refused(502)
    return piece


async def read_stored(
    storage: Storage, id: str, start: int, end: int, first: bytes
) -> AsyncIterator[bytes]:
    """Read a range of a stored body piece by piece.

    Args:
        first: The piece that has the first byte.
    """
    piece = first
    while start < end:
        number, skipped = divmod(start, PIECE)
        if skipped or start + PIECE > end:
            piece = piece[skipped : skipped + end - start]
        yield piece
        start += len(piece)
        if start < end:
            piece = await _read_piece(storage, id, number + 1)
