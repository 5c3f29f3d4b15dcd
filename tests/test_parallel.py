"""Many calls at once: order, limit, failures, cancellation."""

from __future__ import annotations

import asyncio
import builtins
import doctest
from collections.abc import AsyncIterator, Callable, Iterator
from contextvars import ContextVar
from itertools import count
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from aioluahttp import parallel
from aioluahttp.errors import TableError


class Source:
    """An async input that records how far it was read and whether it was closed."""

    def __init__(self, values: Any, failure: Exception | None = None) -> None:
        self.values, self.failure = values, failure
        self.read, self.closed = 0, False

    async def __aiter__(self) -> AsyncIterator[Any]:
        try:
            for value in self.values:
                self.read += 1
                yield value
            if self.failure:
                raise self.failure
        finally:
            await asyncio.sleep(0)
            self.closed = True


class Bare:
    """An async iterator without ``aclose``."""

    def __init__(self, n: int) -> None:
        self.numbers = iter(builtins.range(n))

    def __aiter__(self) -> Bare:
        return self

    async def __anext__(self) -> int:
        for number in self.numbers:
            return number
        raise StopAsyncIteration


class Calls:
    """Calls of which one raises ``failure``, while the others wait until they are cancelled."""

    def __init__(self, failing: Any, failure: BaseException | None) -> None:
        self.failing, self.failure = failing, failure
        self.waiting: set[Any] = set()
        self.ended: list[Any] = []
        self.all_wait = asyncio.Event()

    async def __call__(self, value: Any) -> None:
        if value == self.failing and self.failure:
            raise self.failure
        self.waiting.add(value)
        self.all_wait.set()
        try:
            await asyncio.Event().wait()
        finally:
            await asyncio.sleep(0)
            self.ended.append(value)


def endless() -> Iterator[int]:
    """Count without end, but fail at 10,000 rather than hang if nothing stops the reading."""
    for number in count():
        assert number < 10_000, 'nothing stopped the reading'
        yield number


async def same(value: Any) -> Any:
    return value


def test_the_examples_in_the_docstrings_hold() -> None:
    """The module's doctests pass."""
    failed, attempted = doctest.testmod(parallel)
    assert 0 == failed < attempted


@pytest.mark.parametrize('limit', [None, 1, 2, 100])
@pytest.mark.parametrize('function', [same, lambda value: value], ids=['async', 'sync'])
@pytest.mark.parametrize('inputs', [list, iter, Source, lambda v: Bare(len(v))])
async def test_functions_and_inputs_may_be_plain_or_async(
    inputs: Callable[[Any], Any], function: Any, limit: int | None
) -> None:
    """Plain and coroutine functions are mapped over iterables, plain and asynchronous."""
    numbers = list(builtins.range(5))
    assert numbers == await parallel.map(function, inputs(numbers), limit=limit)
    assert [] == await parallel.map(function, inputs([]), limit=limit)


async def test_results_are_in_the_order_of_the_inputs() -> None:
    """The call that was made first gives the first result, even if it ends last."""
    done = [asyncio.Event() for _ in builtins.range(4)]
    done[3].set()

    async def after_the_next(index: int) -> int:
        await done[index + 1].wait()
        done[index].set()
        return index

    assert [0, 1, 2] == await parallel.map(after_the_next, [0, 1, 2])


@settings(deadline=None)
@given(st.lists(st.integers(0, 5)), st.integers(1, 4) | st.none())
def test_neither_calls_nor_reading_exceed_the_limit(turns: list[int], limit: int | None) -> None:
    """At most ``limit`` calls run at once, and the input is read for no more than those."""
    running = ended = 0
    source = Source(turns)
    most = limit or len(turns)

    async def take(turns: int) -> int:
        nonlocal running, ended
        running += 1
        assert running <= most
        for _ in builtins.range(turns):
            assert source.read - ended <= most
            await asyncio.sleep(0)
        running -= 1
        ended += 1
        return turns

    assert turns == asyncio.run(parallel.map(take, source, limit=limit))
    assert source.closed


async def test_as_many_calls_run_as_the_limit_allows() -> None:
    """As many calls as the limit allows run at the same time."""
    barrier = asyncio.Barrier(3)  # opens for three at once, and only then
    met = await parallel.map(lambda _: barrier.wait(), builtins.range(6), limit=3)
    assert [0, 1, 2] == sorted(met[:3]) == sorted(met[3:])


@pytest.mark.parametrize('limit', [None, 3])
@pytest.mark.parametrize('kind', [OSError, ExceptionGroup, asyncio.TimeoutError])
async def test_the_first_failure_cancels_the_rest_and_is_raised_itself(
    kind: Any, limit: int | None
) -> None:
    """The same exception object is raised, after all other calls have ended."""
    failure = kind('text', [ValueError()]) if kind is ExceptionGroup else kind('text')
    calls, source = Calls(2, failure), Source(endless())
    with pytest.raises(kind) as caught:
        await parallel.map(calls, source, limit=limit)
    assert failure is caught.value
    assert calls.waiting == set(calls.ended) >= {0, 1}
    assert source.closed


async def test_the_first_of_several_failures_is_raised() -> None:
    """An error raised by a cancelled call does not hide the error that cancelled it."""
    waits = asyncio.Event()

    async def fail(index: int) -> None:
        if index:
            await waits.wait()
            raise OSError('first')
        try:
            waits.set()
            await asyncio.Event().wait()
        finally:
            raise ValueError('second')

    with pytest.raises(OSError, match='first'):
        await parallel.map(fail, [0, 1])


async def test_a_failing_plain_function_ends_the_reading() -> None:
    """An exception of a plain function is raised, and an endless input is read no further."""
    with pytest.raises(ZeroDivisionError):
        await parallel.map(lambda number: 1 / (100 - number), endless(), limit=7)


@pytest.mark.parametrize('limit', [None, 10**9, 1])
async def test_an_endless_input_ends_with_the_first_failure(limit: int | None) -> None:
    """Calls run while the input is read, so that one of them can end an endless input."""
    calls = []

    def until_ten(number: int) -> None:
        calls.append(number)
        if number == 10:
            raise ZeroDivisionError

    with pytest.raises(ZeroDivisionError):
        await parallel.map(until_ten, endless(), limit=limit)
    assert list(builtins.range(11)) == calls[:11]


@pytest.mark.parametrize('limit', [None, 2])
async def test_exceptions_can_be_returned_in_place_of_results(limit: int | None) -> None:
    """With ``errors='return'`` an exception is a result like any other."""
    failure = OSError()

    async def fail_at_one(index: int) -> int:
        if index == 1:
            raise failure
        return index

    expected = [0, failure, 2]
    assert expected == await parallel.map(fail_at_one, [0, 1, 2], limit=limit, errors='return')


@pytest.mark.parametrize('errors', ['raise', 'return'])
async def test_a_failing_input_cancels_the_calls(errors: Any) -> None:
    """An exception of the input is always raised, after all calls have ended."""
    failure, calls = ZeroDivisionError(), Calls(None, None)
    source = Source([1, 2], failure)
    with pytest.raises(ZeroDivisionError) as caught:
        await parallel.map(calls, source, errors=errors)
    assert failure is caught.value
    assert ([1, 2], True) == (sorted(calls.ended), source.closed)


@pytest.mark.parametrize('errors', ['raise', 'return'])
async def test_a_call_that_was_cancelled_raises_cancelled_error(errors: Any) -> None:
    """A call that was cancelled from elsewhere is not a result, whatever ``errors`` is."""
    cancelled = asyncio.get_running_loop().create_future()
    cancelled.cancel()
    with pytest.raises(asyncio.CancelledError):
        await parallel.map(lambda _: cancelled, [1], errors=errors)


@pytest.mark.parametrize('limit', [None, 2])
@pytest.mark.parametrize('errors', ['raise', 'return'])
async def test_cancellation_reaches_the_calls(errors: Any, limit: int | None) -> None:
    """When map is cancelled, it ends after its calls have ended and the input is closed."""
    calls, source = Calls(None, None), Source(endless())
    task = asyncio.create_task(parallel.map(calls, source, limit=limit, errors=errors))
    await calls.all_wait.wait()
    task.cancel()
    with pytest.raises(asyncio.CancelledError):
        await task
    assert calls.waiting == set(calls.ended) != set()
    assert source.closed


async def test_a_timeout_around_an_endless_input_works() -> None:
    """A timeout is raised even if reading the input never waits."""
    with pytest.raises(TimeoutError):
        async with asyncio.timeout(0):
            await parallel.map(lambda _: None, endless())


async def test_each_call_has_its_own_context() -> None:
    """A context variable set by a call is not seen by the next."""
    variable: ContextVar[int] = ContextVar('variable', default=-1)

    async def see_and_set(number: int) -> int:
        seen = variable.get()
        variable.set(number)
        return seen

    assert [-1, -1, -1] == await parallel.map(see_and_set, [1, 2, 3], limit=1)


@pytest.mark.parametrize('limit', [0, -1, True, 1.5, '2'])
async def test_an_invalid_limit_is_a_table_error(limit: Any) -> None:
    """A limit is an int of 1 or more, or None."""
    with pytest.raises(TableError, match='limit'):
        await parallel.map(same, [1], limit=limit)


async def test_an_invalid_value_of_errors_is_a_table_error() -> None:
    """``errors`` is 'raise' or 'return'."""
    with pytest.raises(TableError, match='errors'):
        await parallel.map(same, [1], errors='ignore')  # type: ignore[call-overload]


async def test_an_input_that_cannot_be_iterated_is_a_type_error() -> None:
    """The input's own exception is raised as it is."""
    with pytest.raises(TypeError, match='not iterable'):
        await parallel.map(same, 5)  # type: ignore[call-overload]


async def test_a_range_is_mapped_in_order() -> None:
    """``range`` calls the function on 0 to n - 1, with the options of ``map``."""
    assert [0, 1, 2] == await parallel.range(3, same, limit=2)
    assert [] == await parallel.range(0, same)
    [failure] = await parallel.range(1, lambda number: 1 / number, errors='return')
    assert ZeroDivisionError is type(failure)
