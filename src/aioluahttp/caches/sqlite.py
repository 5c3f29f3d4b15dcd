"""The storage in an SQLite file: responses that outlive the process."""

from __future__ import annotations

import asyncio
import time
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from os import PathLike, fspath
from typing import TYPE_CHECKING, Any, TypeVar

from ..bodies.chunks import wait_for_thread
from .entries import OVERHEAD, Entry, dump_entry, load_entry
from .storage import GRACE, StorageFull, check_bound

if TYPE_CHECKING:
    import sqlite3

__all__ = ['SqliteStorage']

T = TypeVar('T')

MAX_BYTES = 256 * 1024 * 1024
PAGE = 4096  # bytes, SQLite's default
SLACK = 1024 * 1024  # bytes of pages beside what is counted, at least
BUSY = 5.0  # seconds to wait for another process that writes
TOUCH = 60.0  # seconds: an entry that is used is marked as used at most so often
ABANDONED = 3600.0  # seconds after which pieces without an entry are of a process that was killed
BATCH = 16  # entries that make way at a time

# A piece counts as soon as it is written. An entry counts its head and its inline body.
SCHEMA = f"""
CREATE TABLE IF NOT EXISTS entries (
    key BLOB PRIMARY KEY, id TEXT NOT NULL, used REAL NOT NULL, data BLOB NOT NULL
) WITHOUT ROWID;
CREATE INDEX IF NOT EXISTS by_use ON entries (used);
CREATE TABLE IF NOT EXISTS pieces (
    id TEXT NOT NULL, number INTEGER NOT NULL, written REAL NOT NULL, retired REAL,
    data BLOB NOT NULL
);
CREATE INDEX IF NOT EXISTS by_retirement ON pieces (retired) WHERE retired IS NOT NULL;
CREATE UNIQUE INDEX IF NOT EXISTS by_number ON pieces (id, number);
CREATE TABLE IF NOT EXISTS total (bytes INTEGER NOT NULL);
INSERT INTO total SELECT 0 WHERE NOT EXISTS (SELECT * FROM total);
CREATE TRIGGER IF NOT EXISTS entry_added AFTER INSERT ON entries BEGIN
    UPDATE total SET bytes = bytes + length(new.data) + length(new.key) + {OVERHEAD};
END;
CREATE TRIGGER IF NOT EXISTS entry_removed AFTER DELETE ON entries BEGIN
    UPDATE total SET bytes = bytes - length(old.data) - length(old.key) - {OVERHEAD};
END;
CREATE TRIGGER IF NOT EXISTS piece_added AFTER INSERT ON pieces BEGIN
    UPDATE total SET bytes = bytes + length(new.data) + {OVERHEAD};
END;
CREATE TRIGGER IF NOT EXISTS piece_removed AFTER DELETE ON pieces BEGIN
    UPDATE total SET bytes = bytes - length(old.data) - {OVERHEAD};
END;
"""


class SqliteStorage:
    """Store responses in a file. What was not used for the longest time makes way for others.

    Several processes may use the same file. One that is killed at any moment leaves it intact.
    Each call is a short transaction, in a thread of the storage.

    Args:
        path: The file; it is created if it does not exist. SQLite keeps two more beside it.
        max_bytes: The most that all responses take together. The file is larger by a quarter and
            1 MiB at most.
        clock: Returns the Unix time.
    """

    def __init__(
        self,
        path: str | PathLike[str],
        max_bytes: int = MAX_BYTES,
        *,
        clock: Callable[[], float] = time.time,
    ) -> None:
        self._clock = clock
        self._path = fspath(path)
        self._limit = check_bound(max_bytes)
        self._connection: sqlite3.Connection | None = None
        # One thread: SQLite would make others wait anyway.
        self._thread: ThreadPoolExecutor | None = None

    async def get(self, key: str) -> Entry | None:
        """Return the entry of a key."""
        return await self._in_transaction(self._get, key_bytes(key))

    async def put(self, key: str, entry: Entry, replaced: str | None = None) -> None:
        """Store an entry under a key."""
        await self._in_transaction(self._put, key_bytes(key), entry, replaced)

    async def delete(self, key: str) -> None:
        """Remove the entry of a key."""
        await self._in_transaction(self._delete, key_bytes(key))

    async def write(self, id: str, number: int, piece: bytes) -> None:
        """Store a piece of a body."""
        await self._in_transaction(self._write, id, number, piece)

    async def read(self, id: str, number: int) -> bytes | None:
        """Return a piece of a body."""
        return await self._in_transaction(self._read, id, number)

    async def discard(self, id: str) -> None:
        """Remove the pieces of a body."""
        await self._in_transaction(self._discard, id)

    async def close(self) -> None:
        """Close the file."""
        thread, self._thread = self._thread, None
        if thread is not None:
            await self._run(thread, self._close)
            thread.shutdown()

    async def _in_transaction(self, function: Callable[..., T], *arguments: Any) -> T:
        if self._thread is None:
            self._thread = ThreadPoolExecutor(1, 'cache')

        def run() -> T:
            if self._connection is None:
                self._connection = self._opened()
            with self._connection as connection:  # commits, or rolls back
                return function(connection, *arguments)

        return await self._run(self._thread, run)

    async def _run(self, thread: ThreadPoolExecutor, function: Callable[[], T]) -> T:
        return await wait_for_thread(asyncio.get_running_loop().run_in_executor(thread, function))

    def _opened(self) -> sqlite3.Connection:
        import sqlite3

        connection = sqlite3.connect(self._path, timeout=BUSY)
        try:
            # What was committed survives a process that is killed; the last of it may be lost in a
            # crash of the machine, which a cache can bear.
            connection.execute('PRAGMA journal_mode = WAL')
            connection.execute('PRAGMA synchronous = NORMAL')
            connection.execute(f'PRAGMA journal_size_limit = {SLACK}')
            connection.execute(f'PRAGMA max_page_count = {(self._limit * 5 // 4 + SLACK) // PAGE}')
            connection.executescript(SCHEMA)
        except BaseException:
            connection.close()
            raise
        return connection

    def _close(self) -> None:
        connection, self._connection = self._connection, None
        if connection is not None:
            connection.close()

    def _get(self, connection: sqlite3.Connection, key: bytes) -> Entry | None:
        found = connection.execute('SELECT data, used FROM entries WHERE key = ?', (key,))
        row = found.fetchone()
        if row is None:
            return None
        now = self._clock()
        if abs(now - row[1]) > TOUCH:
            connection.execute('UPDATE entries SET used = ? WHERE key = ?', (now, key))
        return load_entry(row[0])

    def _put(
        self, connection: sqlite3.Connection, key: bytes, entry: Entry, replaced: str | None
    ) -> None:
        connection.execute('BEGIN IMMEDIATE')
        found = connection.execute('SELECT id FROM entries WHERE key = ?', (key,)).fetchone()
        if replaced is not None and (found is None or found[0] != replaced):
            return
        if found is not None:
            connection.execute('DELETE FROM entries WHERE key = ?', (key,))
            if found[0] != entry.id:
                self._retire(connection, found[0])
        connection.execute(
            'INSERT INTO entries (key, id, used, data) VALUES (?, ?, ?, ?)',
            (key, entry.id, self._clock(), dump_entry(entry)),
        )
        self._make_room(connection)

    def _delete(self, connection: sqlite3.Connection, key: bytes) -> None:
        connection.execute('BEGIN IMMEDIATE')
        found = connection.execute('SELECT id FROM entries WHERE key = ?', (key,)).fetchone()
        if found is not None:
            connection.execute('DELETE FROM entries WHERE key = ?', (key,))
            self._retire(connection, found[0])

    def _write(self, connection: sqlite3.Connection, id: str, number: int, piece: bytes) -> None:
        connection.execute('BEGIN IMMEDIATE')
        connection.execute(
            'INSERT INTO pieces (id, number, written, data) VALUES (?, ?, ?, ?)',
            (id, number, self._clock(), piece),
        )
        self._make_room(connection)
        if self._total(connection) > self._limit:
            raise StorageFull(f'responses that arrive take more than {self._limit} bytes')

    def _read(self, connection: sqlite3.Connection, id: str, number: int) -> bytes | None:
        found = connection.execute(
            'SELECT data FROM pieces WHERE id = ? AND number = ?', (id, number)
        ).fetchone()
        return None if found is None else found[0]

    def _discard(self, connection: sqlite3.Connection, id: str) -> None:
        connection.execute('DELETE FROM pieces WHERE id = ?', (id,))

    def _retire(self, connection: sqlite3.Connection, id: str) -> None:
        """Keep the pieces of a body for a while, for those who are reading it."""
        connection.execute('UPDATE pieces SET retired = ? WHERE id = ?', (self._clock(), id))

    def _total(self, connection: sqlite3.Connection) -> int:
        total: int = connection.execute('SELECT bytes FROM total').fetchone()[0]
        return total

    def _make_room(self, connection: sqlite3.Connection) -> None:
        """Remove what is in the way until the rest is within the bound.

        First pieces that nobody needs, then entries, and then pieces that somebody may be reading.
        """
        if self._total(connection) <= self._limit:
            return
        now = self._clock()
        connection.execute('DELETE FROM pieces WHERE retired < ?', (now - GRACE,))
        connection.execute(
            'DELETE FROM pieces WHERE written < ? AND id NOT IN (SELECT id FROM entries)',
            (now - ABANDONED,),
        )
        while self._total(connection) > self._limit:
            rows = connection.execute(
                'SELECT key, id FROM entries ORDER BY used LIMIT ?', (BATCH,)
            ).fetchall()
            if not rows:
                connection.execute('DELETE FROM pieces WHERE retired IS NOT NULL')
                return
            connection.executemany('DELETE FROM entries WHERE key = ?', [row[:1] for row in rows])
            connection.executemany('DELETE FROM pieces WHERE id = ?', [row[1:] for row in rows])


def key_bytes(key: str) -> bytes:
    """Encode a key, whose target may have any bytes."""
    return key.encode('utf-8', 'surrogateescape')
