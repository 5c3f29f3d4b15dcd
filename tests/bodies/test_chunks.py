"""Functions and iterables of users, plain or async, and functions in threads."""

import asyncio
import contextlib
import threading

import pytest

from aioluahttp.bodies.chunks import Chunks, call, close, in_thread, to_exception
from aioluahttp.errors import TableError


class Closing:
    """A plain iterator that counts how often it was closed."""

    def __init__(self, *items):
        self.items, self.closed = iter(items), 0

    def __next__(self):
        return next(self.items)

    def __iter__(self):
        return self

    def close(self):
        self.closed += 1


class Made:
    """An iterable whose iterators are async generators; it counts how many ended."""

    def __init__(self):
        self.ended = 0

    async def __aiter__(self):
        try:
            yield 'a'
            yield 'b'
        finally:
            self.ended += 1


async def letters():
    """Yield two letters."""
    yield 'a'
    yield 'b'


async def cancels():
    """Raise a CancelledError although no task is cancelled."""
    asyncio.get_running_loop().create_future()
    raise asyncio.CancelledError


@pytest.mark.parametrize(
    ('function', 'expected'), [(lambda: 'x', 'x'), (lambda: asyncio.sleep(0, 'y'), 'y')]
)
async def test_plain_and_async_functions_are_called(function, expected):
    """An awaitable result is awaited."""
    assert expected == await call(function)


async def test_a_cancelled_error_raised_without_cancellation_is_a_runtime_error():
    """Only a task that is cancelled may end with a CancelledError."""
    with pytest.raises(RuntimeError, match='CancelledError escaped'):
        await call(cancels)


async def test_a_generator_exit_that_is_raised_is_a_runtime_error():
    """As of a plain function, and of one that waited before."""

    def fails():
        raise GeneratorExit

    async def waits():
        await asyncio.sleep(0)
        raise GeneratorExit

    for function in (fails, waits):
        with pytest.raises(RuntimeError, match='GeneratorExit escaped'):
            await call(function)


def test_a_coroutine_may_be_closed_after_its_loop():
    """The GeneratorExit that closes it is none of the function."""
    ended = []

    async def waits():
        try:
            await asyncio.Future(loop=loop)
        except GeneratorExit:
            ended.append(True)
            raise

    loop = asyncio.new_event_loop()
    calling = call(waits)

    async def begin():
        calling.send(None)

    loop.run_until_complete(begin())
    loop.close()
    calling.close()
    assert [True] == ended


@pytest.mark.parametrize(
    'error', [ValueError(), KeyboardInterrupt(), SystemExit(), GeneratorExit()]
)
async def test_an_error_that_ends_the_process_has_no_other_for_it(error):
    """An Exception stands for itself."""
    if isinstance(error, Exception):
        assert error is to_exception(error)
    else:
        with pytest.raises(type(error)):
            to_exception(error)


async def test_a_cancelled_call_raises_cancelled_error():
    """A cancellation from outside is raised as it is."""
    task = asyncio.create_task(call(asyncio.sleep, 60))
    await asyncio.sleep(0)
    task.cancel()
    with pytest.raises(asyncio.CancelledError):
        await task


@pytest.mark.parametrize('make', [letters, Made, lambda: iter('ab'), lambda: (x for x in 'ab')])
async def test_every_kind_of_iterable_gives_its_items(make):
    """Async or plain, generator or iterator, or an iterable."""
    chunks = Chunks(make(), str.encode)
    assert [b'a', b'b'] == [chunk async for chunk in chunks]
    await chunks.aclose()


async def test_a_plain_iterator_does_not_block_the_loop():
    """Other callbacks of the loop run before each item."""
    chunks, turn = Chunks(iter('ab'), str.encode), asyncio.Event()
    asyncio.get_running_loop().call_soon(turn.set)
    assert b'a' == await anext(chunks)
    assert turn.is_set()


@pytest.mark.parametrize('begun', [False, True])
async def test_closing_chunks_closes_the_source(begun):
    """Also the generator that an iterable made, if iteration has begun."""
    plain, made = Closing('a', 'b'), Made()
    for source in (plain, made, letters()):
        chunks = Chunks(source, str.encode)
        if begun:
            await anext(chunks)
        await chunks.aclose()
    assert (1, int(begun)) == (plain.closed, made.ended)


async def test_an_iterator_without_close_can_be_closed():
    """Nothing happens."""
    await close(iter('a'))


@pytest.mark.parametrize('items', [('a', 'b'), ('a', 'b', 'c'), ('a',)])
async def test_the_chunks_must_have_the_length_that_was_set(items):
    """More or fewer bytes are an error, and a chunk that exceeds the length is not returned."""
    chunks = Chunks(items, str.encode)
    chunks.length = 2
    given = []
    with contextlib.ExitStack() as stack:
        if len(items) != 2:
            stack.enter_context(pytest.raises(TableError, match='than its Content-Length'))
        async for chunk in chunks:
            given.append(chunk)
    assert b'ab'[: len(items)] == b''.join(given)


async def test_a_thread_returns_or_raises_what_the_function_does():
    """``in_thread`` passes on the result or the exception."""
    assert 3 == await in_thread(len, 'abc')
    with pytest.raises(ZeroDivisionError):
        await in_thread(divmod, 1, 0)


@pytest.mark.parametrize('fails', [False, True])
async def test_a_cancelled_waiter_waits_until_the_thread_ends(fails):
    """However often it is cancelled; an exception of the function is then dropped."""
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
