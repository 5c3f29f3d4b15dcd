"""What a user gave is called, iterated and closed, whatever its kind."""

import asyncio
import contextlib
import threading

import pytest

from aioluahttp.bodies.chunks import Chunks, call, close, in_thread
from aioluahttp.errors import TableError


class Closing:
    """An iterator that notes that it was closed."""

    def __init__(self, *items):
        self.items, self.closed = iter(items), 0

    def __next__(self):
        return next(self.items)

    def __iter__(self):
        return self

    def close(self):
        self.closed += 1


class Made:
    """An iterable whose iterators are async generators, that notes their ends."""

    def __init__(self):
        self.ended = 0

    async def __aiter__(self):
        try:
            yield 'a'
            yield 'b'
        finally:
            self.ended += 1


async def letters():
    """Give two letters."""
    yield 'a'
    yield 'b'


async def cancels():
    """Let a cancellation escape that nobody asked for."""
    asyncio.get_running_loop().create_future()
    raise asyncio.CancelledError


@pytest.mark.parametrize(
    ('function', 'expected'), [(lambda: 'x', 'x'), (lambda: asyncio.sleep(0, 'y'), 'y')]
)
async def test_plain_and_async_functions_are_called(function, expected):
    """What can be awaited is."""
    assert expected == await call(function)


async def test_a_cancellation_of_its_own_is_a_mistake():
    """Only who is cancelled ends so."""
    with pytest.raises(RuntimeError, match='CancelledError escaped'):
        await call(cancels)


async def test_who_is_cancelled_ends_so():
    """A cancellation from outside passes."""
    task = asyncio.create_task(call(asyncio.sleep, 60))
    await asyncio.sleep(0)
    task.cancel()
    with pytest.raises(asyncio.CancelledError):
        await task


@pytest.mark.parametrize('make', [letters, Made, lambda: iter('ab'), lambda: (x for x in 'ab')])
async def test_every_kind_of_iterator_gives_its_items(make):
    """Async or not, generator or not, and what only gives one when it is asked."""
    chunks = Chunks(make(), str.encode)
    assert [b'a', b'b'] == [chunk async for chunk in chunks]
    await chunks.aclose()


async def test_a_plain_iterator_does_not_keep_the_loop_to_itself():
    """Others have their turn before each item."""
    chunks, turn = Chunks(iter('ab'), str.encode), asyncio.Event()
    asyncio.get_running_loop().call_soon(turn.set)
    assert b'a' == await anext(chunks)
    assert turn.is_set()


@pytest.mark.parametrize('begun', [False, True])
async def test_what_is_closed_ends(begun):
    """An iterator that was begun, the generator of an iterable too, and one that was not."""
    plain, made = Closing('a', 'b'), Made()
    for source in (plain, made, letters()):
        chunks = Chunks(source, str.encode)
        if begun:
            await anext(chunks)
        await chunks.aclose()
    assert (1, int(begun)) == (plain.closed, made.ended)


async def test_what_cannot_be_closed_need_not_be():
    """An iterator without ``close``."""
    await close(iter('a'))


@pytest.mark.parametrize('items', [('a', 'b'), ('a', 'b', 'c'), ('a',)])
async def test_what_is_announced_is_what_comes(items):
    """What is more or less than that is an error, and what is more is not given."""
    chunks = Chunks(items, str.encode)
    chunks.length = 2
    given = []
    with contextlib.ExitStack() as stack:
        if len(items) != 2:
            stack.enter_context(pytest.raises(TableError, match='than its Content-Length'))
        async for chunk in chunks:
            given.append(chunk)
    assert b'ab'[: len(items)] == b''.join(given)


async def test_a_call_gives_what_the_function_does():
    """Its result, or its exception."""
    assert 3 == await in_thread(len, 'abc')
    with pytest.raises(ZeroDivisionError):
        await in_thread(divmod, 1, 0)


@pytest.mark.parametrize('fails', [False, True])
async def test_who_is_cancelled_waits_until_it_is_over(fails):
    """However often; what the function raises then is of no more interest."""
    begun, go_on, over = threading.Event(), threading.Event(), []

    def work():
        begun.set()
        go_on.wait()
        over.append(True)
        if fails:
            raise OSError

    task = asyncio.ensure_future(in_thread(work))
    await asyncio.to_thread(begun.wait)
    for _ in range(3):
        task.cancel()
        await asyncio.sleep(0)
    assert not task.done()
    go_on.set()
    with pytest.raises(asyncio.CancelledError):
        await task
    assert over
