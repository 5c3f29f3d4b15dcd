"""The protocol of storages, and the storage in memory."""

from __future__ import annotations

import time
from collections import OrderedDict
from collections.abc import Callable
from typing import Protocol

from ..errors import TableError
from ..tables.checks import check_count
from .entries import Entry

__all__ = ['GRACE', 'MemoryStorage', 'Storage', 'StorageFull', 'check_bound']

MAX_BYTES = 64 * 1024 * 1024
GRACE = 60.0  # seconds for which a long body that was replaced can still be read by who began to


class StorageFull(Exception):
    """There is no room, even without every response that could make way."""


class Storage(Protocol):
    """Where a cache stores responses.

    An entry is visible under its key as soon as ``put`` has returned, and never in part. The pieces
    of a long body are written before. Any method may raise any exception: the cache logs it and
    goes on without the storage.
    """

    async def get(self, key: str) -> Entry | None:
        """Return the entry of a key, with its body if that is one piece at most."""
        ...

    async def put(self, key: str, entry: Entry, replaced: str | None = None) -> None:
        """Store an entry under a key, in place of any other.

        Args:
            replaced: Do nothing unless the key has the entry of this id now.
        """

    async def delete(self, key: str) -> None:
        """Remove the entry of a key."""

    async def write(self, id: str, number: int, piece: bytes) -> None:
        """Store a piece of a body; the entry of this id follows."""

    async def read(self, id: str, number: int) -> bytes | None:
        """Return a piece of a body; None if it is gone.

        The pieces of an entry that was replaced or deleted should stay for a minute, for those who
        are reading them.
        """
        ...

    async def discard(self, id: str) -> None:
        """Remove the pieces of a body whose entry does not follow."""

    async def close(self) -> None:
        """Release what the storage holds open. It may be used again."""


def check_bound(max_bytes: int) -> int:
    """Check the bound of a storage in bytes."""
    if check_count('max_bytes')(max_bytes) < 1:
        raise TableError.of('max_bytes', max_bytes, 'a number of bytes above 0')
    return max_bytes


class MemoryStorage:
    """Store responses in memory. What was not used for the longest time makes way for others.

    Args:
        max_bytes: The most that all responses take together, headers and bodies.
        clock: Returns the Unix time.
    """

    def __init__(
        self, max_bytes: int = MAX_BYTES, *, clock: Callable[[], float] = time.time
    ) -> None:
        self._limit = check_bound(max_bytes)
        self._clock = clock
        self._entries: OrderedDict[str, Entry] = OrderedDict()  # by key, the latest used last
        self._pieces: dict[str, list[bytes]] = {}  # by id
        self._drafts: dict[str, int] = {}  # bytes of pieces whose entry has not followed yet
        # By id, of entries that were replaced or deleted: since when, and their weight.
        self._former: OrderedDict[str, tuple[float, int]] = OrderedDict()
        self.size: int = 0
        """Bytes that are in use."""

    async def get(self, key: str) -> Entry | None:
        """Return the entry of a key."""
        entry = self._entries.get(key)
        if entry is not None:
            self._entries.move_to_end(key)
        return entry

    async def put(self, key: str, entry: Entry, replaced: str | None = None) -> None:
        """Store an entry under a key."""
        before = self._entries.get(key)
        if replaced is not None and (before is None or before.id != replaced):
            return
        if before is not None and before.id == entry.id:
            self.size += entry.weight - before.weight
        else:
            self._retire(key)
            self.size += entry.weight - self._drafts.pop(entry.id, 0)
        self._entries[key] = entry
        self._entries.move_to_end(key)
        self._make_room()

    async def delete(self, key: str) -> None:
        """Remove the entry of a key."""
        self._retire(key)

    async def write(self, id: str, number: int, piece: bytes) -> None:
        """Store a piece of a body."""
        self._pieces.setdefault(id, []).append(piece)
        self._drafts[id] = self._drafts.get(id, 0) + len(piece)
        self.size += len(piece)
        self._make_room()
        if self.size > self._limit:
            raise StorageFull(f'responses that arrive take more than {self._limit} bytes')

    async def read(self, id: str, number: int) -> bytes | None:
        """Return a piece of a body."""
        pieces = self._pieces.get(id, ())
        return pieces[number] if number < len(pieces) else None

    async def discard(self, id: str) -> None:
        """Remove the pieces of a body."""
        self._pieces.pop(id, None)
        self.size -= self._drafts.pop(id, 0)

    async def close(self) -> None:
        """Do nothing: memory needs no closing."""

    def _retire(self, key: str) -> None:
        """Remove an entry, and keep its pieces for a while."""
        entry = self._entries.pop(key, None)
        if entry is None:
            return
        if entry.id in self._pieces:
            self._former[entry.id] = self._clock(), entry.weight
        else:
            self.size -= entry.weight

    def _make_room(self) -> None:
        now = self._clock()
        while self._former and next(iter(self._former.values()))[0] < now - GRACE:
            self._forget_former()
        while self.size > self._limit and self._entries:
            _, entry = self._entries.popitem(last=False)
            self.size -= entry.weight
            self._pieces.pop(entry.id, None)
        while self.size > self._limit and self._former:
            self._forget_former()

    def _forget_former(self) -> None:
        id, (_, weight) = self._former.popitem(last=False)
        self.size -= weight
        del self._pieces[id]
