"""Storages: one behaviour of all kinds, and the bounds of each."""

import asyncio
import contextlib
import random
import shutil
import socket
import sqlite3
import subprocess
import sys
import threading
import time
from dataclasses import replace

import pytest

import aioluahttp as http
from aioluahttp.caches import MemoryStorage, RedisStorage, SqliteStorage
from aioluahttp.caches.entries import OVERHEAD, PIECE, Entry, make_marker
from aioluahttp.caches.redis import seconds_to_keep
from aioluahttp.caches.storage import StorageFull

ENTRY = Entry('one', 200, headers=(('A', 'b'), ('C', '\udcff')), lifetime=60.0, size=3, body=b'abc')
OTHER = replace(ENTRY, id='two', body=b'xyz')
LONG = replace(ENTRY, id='long', size=PIECE + 1, body=None)


@contextlib.contextmanager
def real_redis(folder):
    """Start Debian's redis-server on a Unix socket."""
    path = folder / 'socket'
    options = ['--port', '0', '--unixsocket', str(path), '--save', '', '--appendonly', 'no']
    with subprocess.Popen(['redis-server', *options], stdout=subprocess.DEVNULL) as server:
        with socket.socket(socket.AF_UNIX) as probe:
            while probe.connect_ex(str(path)):
                assert server.poll() is None
                time.sleep(0.01)
        yield f'unix://{path}'
        server.terminate()


@contextlib.contextmanager
def fake_redis(folder):
    """Start fakeredis, which speaks the protocol and runs the scripts, on a port."""
    fakeredis = pytest.importorskip('fakeredis')
    with fakeredis.TcpFakeServer(('127.0.0.1', 0)) as server:
        thread = threading.Thread(target=server.serve_forever, kwargs={'poll_interval': 0.01})
        thread.start()
        yield 'redis://{}:{}'.format(*server.server_address)
        server.shutdown()
        thread.join()


@pytest.fixture(scope='module')
def redis_url(tmp_path_factory):
    """Start Redis, or what stands in for it where it is not installed."""
    start = real_redis if shutil.which('redis-server') else fake_redis
    with start(tmp_path_factory.mktemp('redis')) as url:
        yield url


@pytest.fixture(params=['memory', 'sqlite', 'redis'])
def storage(request, tmp_path):
    """Make an empty storage of each kind; the test closes it."""
    if request.param == 'memory':
        return MemoryStorage(10 * PIECE)
    if request.param == 'sqlite':
        return SqliteStorage(tmp_path / 'file', 10 * PIECE)
    return RedisStorage(request.getfixturevalue('redis_url'), prefix=f'{random.random()}:')


class Clock:
    """A clock that goes on when the test says so."""

    def __init__(self):
        self.now = 1e9

    def __call__(self):
        return self.now


def bounded(kind, folder, limit, clock=time.time):
    """Make a storage that has a bound of its own."""
    if kind == 'memory':
        return MemoryStorage(limit, clock=clock)
    return SqliteStorage(folder / 'file', limit, clock=clock)


async def test_what_is_stored_is_found(storage):
    """An entry under its key, until another takes its place or it is deleted."""
    key = 'GET http://h/\udcff'
    assert await storage.get(key) is None
    await storage.put(key, ENTRY)
    await storage.put('other', make_marker(('a',)))
    assert ENTRY == await storage.get(key)
    assert await storage.get(key + 'x') is None
    await storage.put(key, OTHER)
    assert OTHER == await storage.get(key)
    await storage.delete(key)
    await storage.delete(key)
    assert await storage.get(key) is None
    assert ('a',) == (await storage.get('other')).vary
    await storage.close()


async def test_an_entry_is_replaced_only_if_it_is_still_there(storage):
    """A late validation does not bring back what was invalidated meanwhile."""
    fresh = replace(ENTRY, received=5.0)
    await storage.put('key', fresh, 'one')
    assert await storage.get('key') is None
    await storage.put('key', OTHER)
    await storage.put('key', fresh, 'one')
    assert OTHER == await storage.get('key')
    await storage.put('key', replace(OTHER, received=5.0), 'two')
    assert 5.0 == (await storage.get('key')).received
    await storage.close()


async def test_a_long_body_is_stored_in_pieces(storage):
    """They are read one by one, and go with their entry."""
    assert await storage.read('long', 0) is None
    piece = b'a\n' * (PIECE // 2)  # fakeredis sends what has no line breaks as one long line
    await storage.write('long', 0, piece)
    await storage.write('long', 1, b'b')
    await storage.put('key', LONG)
    await storage.put('key', replace(LONG, received=5.0), 'long')
    assert piece == await storage.read('long', 0)
    assert b'b' == await storage.read('long', 1)
    assert await storage.read('long', 2) is None
    assert (await storage.get('key')).body is None
    await storage.put('key', ENTRY)
    assert b'b' == await storage.read('long', 1)  # for those who are reading it
    await storage.close()


@pytest.mark.parametrize('kind', ['memory', 'sqlite'])
@pytest.mark.parametrize('seconds', [59, 61])
async def test_a_body_that_was_replaced_can_be_read_for_a_minute(kind, seconds, tmp_path):
    """By a client that has begun to; then it makes way before any entry does."""
    clock = Clock()
    storage = bounded(kind, tmp_path, 4 * PIECE, clock)
    await storage.write('long', 0, b'a' * PIECE)
    await storage.put('key', replace(LONG, size=PIECE))
    await storage.put('key', ENTRY)
    await storage.put('other', OTHER)
    clock.now += seconds
    for number in range(3):
        await storage.write('draft', number, b'b' * (PIECE - 2000))
    await storage.write('draft', 3, b'b' * 6000)
    kept = await storage.get('key'), await storage.read('long', 0)
    assert kept == ((ENTRY, None) if seconds > 60 else (None, None))
    await storage.close()


@pytest.mark.parametrize('kind', ['memory', 'sqlite'])
async def test_a_body_that_was_deleted_can_be_read_on(kind, tmp_path):
    """Until there is no more room for anything else."""
    storage = bounded(kind, tmp_path, 4 * PIECE)
    await storage.write('long', 0, b'a' * PIECE)
    await storage.put('key', replace(LONG, size=PIECE))
    await storage.delete('key')
    await storage.write('draft', 0, b'b' * PIECE)
    assert await storage.get('key') is None
    assert b'a' * PIECE == await storage.read('long', 0)
    for number in range(1, 4):
        await storage.write('draft', number, b'b' * (PIECE - 1000))
    assert await storage.read('long', 0) is None
    await storage.close()


async def test_pieces_without_an_entry_can_be_discarded(storage):
    """For a body that broke off."""
    await storage.write('long', 0, b'a')
    await storage.discard('long')
    await storage.discard('long')
    assert await storage.read('long', 0) is None
    await storage.close()


async def test_a_storage_can_be_used_again_after_it_was_closed(storage):
    """Closing releases what is open."""
    await storage.close()
    await storage.put('key', ENTRY)
    assert ENTRY == await storage.get('key')
    await storage.close()
    await storage.close()


@pytest.mark.parametrize('kind', ['memory', 'sqlite'])
async def test_what_was_not_used_for_longest_makes_way(kind, tmp_path):
    """So that all responses together stay within the bound."""
    clock = Clock()
    storage = bounded(kind, tmp_path, 40 * PIECE, clock)
    body = bytes(PIECE)
    for number in range(100):
        clock.now += 100
        await storage.put(str(number), replace(ENTRY, id=str(number), size=PIECE, body=body))
        assert await storage.get('0') is not None
    kept = [number for number in range(100) if await storage.get(str(number)) is not None]
    assert 0 in kept
    assert 99 in kept
    assert kept[1:] == list(range(kept[1], 100))
    assert 20 < len(kept) < 40
    await storage.close()


@pytest.mark.parametrize('kind', ['memory', 'sqlite'])
async def test_bodies_that_arrive_are_within_the_bound(kind, tmp_path):
    """If nothing can make way for them, storing them fails."""
    storage = bounded(kind, tmp_path, 4 * PIECE)
    await storage.put('key', replace(ENTRY, size=PIECE, body=bytes(PIECE)))
    for number in range(3):
        await storage.write('long', number, bytes(PIECE))
    with pytest.raises(StorageFull):
        await storage.write('long', 3, bytes(PIECE + 1))
    assert await storage.get('key') is None
    await storage.discard('long')
    await storage.put('key', ENTRY)
    assert ENTRY == await storage.get('key')
    await storage.close()


async def test_memory_counts_what_it_has():
    """The count is 0 again once all is gone."""
    clock = Clock()
    storage = MemoryStorage(clock=clock)
    await storage.put('a', ENTRY)
    await storage.put('a', replace(ENTRY, headers=()))
    await storage.write('long', 0, bytes(PIECE))
    await storage.write('long', 1, b'b')
    await storage.put('b', LONG)
    await storage.write('draft', 0, b'b')
    assert storage.size == replace(ENTRY, headers=()).weight + LONG.weight + 1
    for key in ('a', 'b', 'c'):
        await storage.delete(key)
    await storage.discard('draft')
    assert LONG.weight == storage.size  # for those who are reading it
    clock.now += 61
    await storage.write('draft', 0, b'')
    await storage.discard('draft')
    assert 0 == storage.size


async def test_a_file_is_bounded(tmp_path):
    """Also after much more has passed through it than fits."""
    path, limit = tmp_path / 'file', 1024 * 1024
    storage = SqliteStorage(path, limit)
    for number in range(150):
        await storage.write(str(number), 0, random.randbytes(PIECE))
        await storage.put(str(number % 60), replace(LONG, id=str(number), size=PIECE))
    await storage.close()
    assert path.stat().st_size <= limit * 5 // 4 + 1024 * 1024


async def test_pieces_of_a_process_that_was_killed_make_way_first(tmp_path):
    """They are removed before entries, an hour after they were written."""
    clock = Clock()
    storage = SqliteStorage(tmp_path / 'file', 4 * PIECE, clock=clock)
    await storage.write('abandoned', 0, bytes(PIECE))
    await storage.write('abandoned', 1, bytes(PIECE))
    clock.now += 3601
    await storage.put('key', replace(ENTRY, size=PIECE, body=bytes(PIECE)))
    await storage.write('long', 0, bytes(PIECE))
    assert await storage.read('abandoned', 0) is None
    assert await storage.get('key') is not None
    await storage.close()


async def test_the_bytes_in_a_file_are_counted(tmp_path):
    """What is removed is subtracted."""
    path = tmp_path / 'file'
    storage = SqliteStorage(path)
    await storage.put('key', ENTRY)
    await storage.put('key', OTHER)
    await storage.write('long', 0, b'abc')
    await storage.discard('long')
    await storage.delete('key')
    await storage.write('long', 0, b'abc')
    await storage.close()
    with sqlite3.connect(path) as connection:
        assert [(3 + OVERHEAD,)] == connection.execute('SELECT bytes FROM total').fetchall()
    connection.close()


async def test_a_file_that_is_none_is_an_error(tmp_path):
    """The error is that of SQLite, each time; the cache goes on without a storage."""
    path = tmp_path / 'file'
    path.write_bytes(b'x' * 5000)
    storage = SqliteStorage(path)
    for _ in range(2):
        with pytest.raises(sqlite3.DatabaseError):
            await storage.get('key')
    await storage.close()


WRITER = """
import asyncio, os, sys
from dataclasses import replace
from aioluahttp.caches import SqliteStorage
from aioluahttp.caches.entries import PIECE, Entry

async def main():
    storage = SqliteStorage(sys.argv[1], 20 * PIECE)
    for number in range(1000000):
        piece = (b'%08d' % number) * (PIECE // 8)
        id = f'{os.getpid()} {number}'
        entry = Entry(id, 200, headers=(('N', f'{number}'),), size=2 * PIECE, body=None)
        await storage.write(entry.id, 0, piece)
        await storage.write(entry.id, 1, piece)
        await storage.put(str(number % 7), entry)
        print(number, flush=True)

asyncio.run(main())
"""


async def test_a_process_that_is_killed_leaves_the_file_intact(tmp_path):
    """At any moment: each entry that is found afterwards has its own body, whole."""
    path, all_found = tmp_path / 'file', []
    for _ in range(5):
        writer = await asyncio.create_subprocess_exec(
            sys.executable, '-c', WRITER, str(path), stdout=asyncio.subprocess.PIPE
        )
        for _ in range(random.randint(3, 30)):
            assert await writer.stdout.readline()
        writer.kill()
        await writer.wait()
        storage = SqliteStorage(path, 20 * PIECE)
        found = [entry for key in range(7) if (entry := await storage.get(str(key)))]
        all_found += found  # none, if all had to make way for a piece right before the end
        for entry in found:
            piece = (b'%08d' % int(dict(entry.headers)['N'])) * (PIECE // 8)
            assert [piece] * 2 == [await storage.read(entry.id, number) for number in (0, 1)]
        await storage.close()
        with sqlite3.connect(path) as connection:
            assert [('ok',)] == connection.execute('PRAGMA integrity_check').fetchall()
        connection.close()
    assert all_found


@pytest.mark.parametrize('bound', [0, -1, None, '1', True])
def test_a_bound_is_a_number_of_bytes(bound, tmp_path):
    """Anything else is a TableError, before anything is opened."""
    for kind in (MemoryStorage, lambda bound: SqliteStorage(tmp_path / 'file', bound)):
        with pytest.raises(http.TableError, match='max_bytes'):
            kind(bound)


def test_redis_says_what_to_install(monkeypatch):
    """Without the package, the error names the extra."""
    monkeypatch.setitem(sys.modules, 'redis.asyncio', None)
    with pytest.raises(ImportError, match=r'aioluahttp\[cache-redis\]'):
        RedisStorage('redis://localhost')


@pytest.mark.parametrize(
    ('entry', 'seconds'),
    [
        (make_marker(('a',)), 30 * 24 * 3600),
        (replace(ENTRY, lifetime=60.0, age=10.0), 50 + 24 * 3600),
        (replace(ENTRY, lifetime=0.0, age=10.0), 24 * 3600),
        (replace(ENTRY, lifetime=2.0**31), 30 * 24 * 3600),
        (replace(ENTRY, lifetime=60.0, if_error=100_000.0), 100_060),
    ],
)
def test_redis_forgets_what_is_stale_for_long(entry, seconds):
    """A day after it has become stale, or later if it may be served stale for longer."""
    assert seconds == seconds_to_keep(entry)
