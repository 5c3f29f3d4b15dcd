"""What a body is drawn from is ready for each try, and closed after it."""

import asyncio
import gzip
import io
import os
import threading

import pytest

from aioluahttp.errors import TableError
from aioluahttp.tables.checks import is_one_shot
from aioluahttp.tables.models import Response
from aioluahttp.transports.request_body import PIECE, Supply, Whole, check_again, to_supply


class Again:
    """Gives a new iterator each time."""

    def __init__(self, *items):
        self.items = items

    def __iter__(self):
        return iter(self.items)


class AgainLater(Again):
    """Likewise, an async one."""

    async def __aiter__(self):
        for item in self.items:
            yield item


class Noted:
    """An iterator that notes how often it was closed."""

    closed = 0

    def __iter__(self):
        return self

    def __next__(self):
        raise StopIteration

    def close(self):
        self.closed += 1


async def letters():
    """Give a letter."""
    yield b'a'


async def drawn(supply):
    """Open a supply, and read all that it gives."""
    await supply.open()
    try:
        return b''.join([chunk async for chunk in supply.chunks(bytes)])
    finally:
        await supply.end()


def pipe(data):
    """Make a file that cannot seek, and read so much from it."""
    reading, writing = os.pipe()
    os.write(writing, data)
    os.close(writing)
    return os.fdopen(reading, 'rb')


@pytest.mark.parametrize('body', [Again(b'a', b'b'), AgainLater(b'a', b'b'), (b'a', b'b')])
async def test_an_iterable_is_drawn_from_as_often_as_is_wanted(body):
    """Each time it gives a new iterator."""
    supply = Supply(body)
    assert [b'ab', b'ab'] == [await drawn(supply), await drawn(supply)]
    assert (False, None, None) == (supply.is_spent, supply.length, supply.kind)


@pytest.mark.parametrize('make', [letters, lambda: iter([b'a']), lambda: (one for one in [b'a'])])
async def test_an_iterator_is_drawn_from_once(make):
    """It is spent from the beginning on."""
    supply = Supply(make())
    assert (True, False) == (is_one_shot(supply.body), supply.is_spent)
    assert (b'a', True) == (await drawn(supply), supply.is_spent)


@pytest.mark.parametrize(
    ('name', 'kind'),
    [
        ('a.txt', 'text/plain'),
        ('a.json', 'application/json'),
        ('a.unheard', None),
        ('a.tar.gz', 'application/gzip'),
        ('a.txt.Z', None),
    ],
)
async def test_a_path_is_read_each_time(tmp_path, name, kind):
    """Its length is known, and its kind by its name. A compressed file is that, and no text."""
    path = tmp_path / name
    path.write_bytes(bytes(PIECE) + b'end')
    supply = Supply(path)
    assert 2 * [bytes(PIECE) + b'end'] == [await drawn(supply), await drawn(supply)]
    assert (PIECE + 3, kind, False) == (supply.length, supply.kind, supply.is_spent)


@pytest.mark.parametrize(
    ('make', 'message'),
    [
        (lambda path: None, 'a file that can be read (No such file or directory)'),
        (lambda path: path.mkdir(), 'it must be the path of a file'),
        (os.mkfifo, 'it must be the path of a file'),
    ],
    ids=['none', 'folder', 'pipe'],
)
async def test_a_path_of_no_file_is_refused(tmp_path, make, message):
    """Before anything is sent, and without waiting for who writes to a pipe."""
    make(tmp_path / 'x')
    supply = Supply(tmp_path / 'x')
    with pytest.raises(TableError) as caught:
        await supply.open()
    assert message in str(caught.value)
    await supply.end()


async def test_a_file_is_read_from_where_it_stands(tmp_path):
    """Each time, and is left open."""
    (tmp_path / 'a.txt').write_bytes(b'0123456789')
    with (tmp_path / 'a.txt').open('rb') as file:
        file.seek(4)
        supply = Supply(file)
        assert [b'456789', b'456789'] == [await drawn(supply), await drawn(supply)]
        await supply.close()
        assert (6, 'text/plain', False) == (supply.length, supply.kind, file.closed)


async def test_bytes_in_memory_are_a_file_without_a_name():
    """Their length is known."""
    file = io.BytesIO(b'0123')
    file.read(1)
    supply = Supply(file)
    assert (b'123', 3, None) == (await drawn(supply), supply.length, supply.kind)


async def test_the_length_of_what_is_unpacked_is_not_that_of_its_file(tmp_path):
    """A ``GzipFile`` has the descriptor of the packed one."""
    with gzip.open(tmp_path / 'a.gz', 'wb') as packed:
        packed.write(bytes(5000))
    with gzip.open(tmp_path / 'a.gz') as file:
        supply = Supply(file)
        assert (bytes(5000), None) == (await drawn(supply), supply.length)


async def test_what_is_behind_a_descriptor_may_be_no_file():
    """A device can seek, and has no length."""
    with open('/dev/zero', 'rb') as file:  # noqa: ASYNC230
        supply = Supply(file)
        await supply.open()
        assert (None, False) == (supply.length, is_one_shot(file))


async def test_a_file_that_cannot_seek_is_read_once():
    """Its length is not known, and it is left open."""
    with pipe(b'abc') as file:
        supply = Supply(file)
        assert (b'abc', None, True) == (await drawn(supply), supply.length, supply.is_spent)
        await supply.close()
        assert not file.closed


async def test_of_a_file_that_grows_the_announced_length_is_read(tmp_path):
    """What comes behind that is left."""
    path = tmp_path / 'a'
    path.write_bytes(b'abc')
    supply = Supply(path)
    await supply.open()
    path.write_bytes(b'abcdef')
    assert [b'abc'] == [chunk async for chunk in supply.chunks(bytes)]
    await supply.end()


async def test_a_file_gives_bytes(tmp_path):
    """What gives text, though it does not look so, is refused."""

    class Text:
        def read(self, size):
            return 'text'

    with pytest.raises(TableError, match=r"a file that gives bytes, as one opened with 'rb' does"):
        await drawn(Supply(Text()))


async def test_an_iterator_that_was_not_begun_is_closed():
    """One that was begun is closed where it was."""
    body = Noted()
    supply = Supply(body)
    await supply.close()
    assert 1 == body.closed
    await (chunks := supply.chunks(bytes)).aclose()
    assert chunks is not None
    closed = body.closed
    await supply.close()
    assert closed == body.closed


async def test_a_cancelled_read_is_waited_for():
    """Nobody else has the file in hand then."""
    entered, go_on = asyncio.Event(), threading.Event()
    loop = asyncio.get_running_loop()

    class Slow(io.BytesIO):
        def read(self, size):
            loop.call_soon_threadsafe(entered.set)
            assert go_on.wait(30)
            return super().read(size)

    supply = Supply(Slow(b'abc'))
    reading = asyncio.create_task(drawn(supply))
    await entered.wait()
    reading.cancel()
    await asyncio.sleep(0)
    assert not reading.done()
    go_on.set()
    with pytest.raises(asyncio.CancelledError):
        await reading


async def test_what_is_whole_can_be_drawn_in_pieces():
    """As often as it takes."""
    supply = Whole('text', bytes(PIECE + 1))
    for _ in range(2):
        await supply.open()
        chunks = supply.chunks(bytes)
        assert [PIECE, 1] == [len(chunk) async for chunk in chunks]
    assert ('text', PIECE + 1, False) == (supply.body, supply.length, supply.is_spent)


@pytest.mark.parametrize('body', [None, '', 'a', b'a'])
def test_what_is_whole_is_drawn_from_nothing(body):
    """It is sent as it stands."""
    assert to_supply(body) is None


async def test_a_body_is_sent_twice_only_where_it_can_be():
    """The error has the redirect that asks for it."""
    redirect = Response({'status': 307})
    spent, fresh = Supply(letters()), Supply(iter([b'a']))
    check_again(fresh, redirect)
    check_again('text', redirect)
    await drawn(spent)
    with pytest.raises(TableError, match='as 307 asks for') as caught:
        check_again(spent, redirect)
    assert redirect is caught.value.response
