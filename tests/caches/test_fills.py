"""Bodies that are stored while they are passed on to readers."""

import asyncio

import pytest

import aioluahttp as http
from aioluahttp.caches import MemoryStorage
from aioluahttp.caches.entries import PIECE
from aioluahttp.caches.fills import WINDOW, Fill, read_stored

MANY = 100 * PIECE


class Source:
    """A body whose chunks arrive when the test says so."""

    def __init__(self):
        self.chunks = asyncio.Queue()
        self.taken = 0
        self.closed = False

    def __aiter__(self):
        return self

    async def __anext__(self):
        chunk = await self.chunks.get()
        if chunk is None:
            raise StopAsyncIteration
        if isinstance(chunk, Exception):
            raise chunk
        self.taken += 1
        return chunk

    async def aclose(self):
        self.closed = True

    def give(self, *chunks):
        for chunk in chunks:
            self.chunks.put_nowait(chunk)


class Kept:
    """A fill with its source and storage, and what was committed."""

    def __init__(self, *, most=MANY, limit=1000 * PIECE, storage=None):
        self.source, self.storage = Source(), storage or MemoryStorage(limit)
        self.committed = None
        self.fill = Fill(self.source, self.storage, 'id', most, self.commit)
        self.give = self.source.give

    async def commit(self, size, body):
        self.committed = size, body

    async def stored(self):
        """Return what is in the storage."""
        pieces = []
        while (piece := await self.storage.read('id', len(pieces))) is not None:
            pieces.append(piece)
        return b''.join(pieces)


async def read(reader):
    return b''.join([chunk async for chunk in reader])


async def test_a_short_body_is_committed_whole():
    """It is not written in pieces; empty chunks do not matter."""
    kept = Kept()
    reader = kept.fill.reader()
    pump = kept.fill.start_pump()
    kept.give(b'a', b'', b'bc', None)
    assert b'abc' == await read(reader)
    await pump
    assert (3, b'abc') == kept.committed
    assert b'' == await kept.stored()
    assert kept.source.closed


async def test_an_empty_body_is_committed():
    """With no byte at all."""
    kept = Kept()
    kept.give(None)
    await kept.fill.start_pump()
    assert (0, b'') == kept.committed
    assert b'' == await read(kept.fill.reader())
    await kept.fill.begun()


@pytest.mark.parametrize('size', [PIECE, PIECE + 1, 3 * PIECE, 10 * PIECE + 7])
@pytest.mark.parametrize('chunk', [1000, PIECE, 200_000])
async def test_a_long_body_is_stored_in_pieces_of_one_size(size, chunk):
    """However it arrives; a reader gets the same bytes."""
    body = bytes(number % 251 for number in range(size))
    kept = Kept()
    reader = kept.fill.reader()
    pump = kept.fill.start_pump()
    kept.give(*(body[start : start + chunk] for start in range(0, size, chunk)), None)
    assert body == await read(reader)
    await pump
    assert (size, None) == kept.committed
    assert body == await kept.stored()
    assert PIECE == len(await kept.storage.read('id', 0))


async def test_the_pump_is_a_window_ahead_of_the_fastest_reader(until):
    """So that memory is constant; a slow reader goes on from the storage."""
    kept = Kept()
    fast, slow = kept.fill.reader(), kept.fill.reader()
    pump = kept.fill.start_pump()
    body = [bytes([number]) * PIECE for number in range(20)]
    kept.give(*body, None)
    await until(lambda: kept.source.taken == WINDOW // PIECE)
    await asyncio.sleep(0)
    assert WINDOW == kept.fill.end
    assert b''.join(body) == await read(fast)
    await pump
    assert kept.fill.start >= 10 * PIECE
    assert b''.join(body) == await read(slow)


async def test_a_body_is_stored_although_its_reader_leaves(until):
    """The next client gets it from the storage."""
    kept = Kept()
    reader = kept.fill.reader()
    pump = kept.fill.start_pump()
    kept.give(b'a' * PIECE)
    assert b'a' * PIECE == await anext(reader)
    await reader.aclose()
    kept.give(*[b'b' * PIECE] * 20, None)
    await pump
    assert (21 * PIECE, None) == kept.committed


async def test_a_body_that_breaks_off_is_not_stored():
    """Readers get what came, and then the error; the pieces are removed."""
    kept = Kept()
    reader, late = kept.fill.reader(), kept.fill.reader()
    pump = kept.fill.start_pump()
    kept.give(b'a' * PIECE, b'b' * PIECE, http.ProtocolError('it broke off'))
    await pump
    for one in (reader, late):
        assert b'a' * PIECE == await anext(one)
        assert b'b' * PIECE == await anext(one)
        with pytest.raises(http.ProtocolError, match='it broke off'):
            await anext(one)
    assert kept.committed is None
    assert b'' == await kept.stored()
    assert 0 == kept.storage.size


async def test_a_slow_reader_of_a_body_that_breaks_off_gets_what_came():
    """From the storage, whose pieces are removed afterwards."""
    kept = Kept()
    slow, fast = kept.fill.reader(), kept.fill.reader()
    pump = kept.fill.start_pump()
    kept.give(*[b'a' * PIECE] * 20, http.ProtocolError('it broke off'))
    for reader in (fast, slow):
        for _ in range(20):
            assert b'a' * PIECE == await anext(reader)
        with pytest.raises(http.ProtocolError, match='it broke off'):
            await anext(reader)
    await pump
    assert 0 == kept.storage.size


async def test_an_error_before_the_first_byte_is_known_at_once():
    """A response with such a body can still be an error page."""
    kept = Kept()
    pump = kept.fill.start_pump()
    kept.give(ValueError('bad'))
    with pytest.raises(ValueError, match='bad'):
        await kept.fill.begun()
    await pump


async def test_a_body_that_is_too_long_is_passed_on_and_not_stored(until):
    """From then on the slowest reader sets the pace, also one that reads from the storage."""
    kept = Kept(most=10 * PIECE)
    fast, slow = kept.fill.reader(), kept.fill.reader()
    pump = kept.fill.start_pump()
    body = [bytes([number]) * PIECE for number in range(30)]
    kept.give(*body, None)
    taken = [await anext(fast) for _ in range(11)]
    await until(lambda: not kept.fill.storing)
    assert 0 < kept.fill.start
    assert kept.fill.end <= 15 * PIECE
    first = asyncio.create_task(read(fast))
    assert b''.join(body) == await read(slow)
    assert b''.join(body) == b''.join(taken) + await first
    await pump
    assert kept.committed is None
    assert 0 == kept.storage.size


async def test_nobody_reads_a_body_that_is_not_stored_to_its_end(until):
    """The last reader that leaves ends it."""
    kept = Kept(most=PIECE)
    reader = kept.fill.reader()
    pump = kept.fill.start_pump()
    kept.give(b'a' * PIECE, b'b')
    await until(lambda: not kept.fill.storing)
    await anext(reader)
    await reader.aclose()
    with pytest.raises(asyncio.CancelledError):
        await pump
    assert kept.source.closed
    assert 0 == kept.storage.size


async def test_a_body_that_nobody_reads_ends_where_it_is_too_long():
    """Its last reader has left before; the source may have no end."""
    kept = Kept(most=3 * PIECE)
    reader = kept.fill.reader()
    pump = kept.fill.start_pump()
    kept.give(b'a' * PIECE)
    await anext(reader)
    await reader.aclose()
    kept.give(*[b'b' * PIECE] * 20)
    await pump
    assert (True, 4) == (kept.source.closed, kept.source.taken)
    assert (None, 0) == (kept.committed, kept.storage.size)


class Failing(MemoryStorage):
    """A storage whose methods fail."""

    def __init__(self, *methods):
        super().__init__()
        for name in methods:
            setattr(self, name, self.fail)

    async def fail(self, *_):
        raise OSError('the disk is full')


async def test_an_error_of_the_storage_loses_no_body(caplog):
    """It is logged, and the body is not stored."""
    kept = Kept(storage=Failing('write', 'discard'))
    reader = kept.fill.reader()
    pump = kept.fill.start_pump()
    kept.give(*[b'a' * PIECE] * 9, None)
    assert b'a' * PIECE * 9 == await read(reader)
    await pump
    assert kept.committed is None
    assert 'the disk is full' in caplog.text


async def test_a_storage_may_fail_at_the_last_piece():
    """Then the body is not committed either."""
    kept = Kept(limit=PIECE)
    pump = kept.fill.start_pump()
    kept.give(b'a' * PIECE, b'b', None)
    await pump
    assert kept.committed is None
    assert 0 == kept.storage.size


@pytest.mark.parametrize('gone', [True, False])
async def test_a_slow_reader_breaks_off_if_the_storage_has_lost_the_body(gone):
    """It gets an error, never other bytes."""
    kept = Kept()
    slow, fast = kept.fill.reader(), kept.fill.reader()
    pump = kept.fill.start_pump()
    kept.give(*[b'a' * PIECE] * 20, None)
    await read(fast)
    await pump
    if gone:
        kept.storage._pieces.clear()
    else:
        kept.fill.storage = Failing('read')
    with pytest.raises(http.ProtocolError, match='breaks off'):
        await read(slow)


async def test_a_pump_that_is_cancelled_is_an_error_for_its_readers():
    """For example when the program ends."""
    kept = Kept()
    reader = kept.fill.reader()
    pump = kept.fill.start_pump()
    kept.give(b'a')
    assert b'a' == await anext(reader)
    pump.cancel()
    with pytest.raises(asyncio.CancelledError):
        await pump
    with pytest.raises(http.ProtocolError, match='not read to its end'):
        await anext(reader)


@pytest.mark.parametrize(
    ('start', 'end'),
    [
        (0, 3 * PIECE + 5),
        (5, 10),
        (PIECE - 1, PIECE + 1),
        (PIECE, 2 * PIECE),
        (2 * PIECE + 1, 3 * PIECE + 5),
    ],
)
async def test_a_range_of_a_stored_body(start, end):
    """It may begin and end within a piece."""
    body = bytes(number % 251 for number in range(3 * PIECE + 5))
    storage = MemoryStorage()
    for number in range(4):
        await storage.write('id', number, body[number * PIECE : (number + 1) * PIECE])
    first = await storage.read('id', start // PIECE)
    assert body[start:end] == await read(read_stored(storage, 'id', start, end, first))
