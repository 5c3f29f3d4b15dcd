"""Lifespan: entered before the first request and left after the last, in one task."""

import asyncio
import contextlib
from contextvars import ContextVar

import pytest

import aioluahttp as http
from aioluahttp.exchange.lifespan import Lifespan, check_lifespan

POOL = ContextVar('POOL')


async def test_it_is_entered_and_left_in_one_task():
    """A task group is left by the task that entered it; without a lifespan nothing happens."""
    tasks = []

    @contextlib.asynccontextmanager
    async def lifespan():
        tasks.append(asyncio.current_task())
        async with asyncio.timeout(60):
            yield
        tasks.append(asyncio.current_task())

    for life in (Lifespan(lifespan), Lifespan(None)):
        await asyncio.gather(life.start(), life.start())
        await asyncio.create_task(life.stop())
        await life.stop()
    first, second = tasks
    assert first is second is not asyncio.current_task()


async def test_a_handler_sees_its_context_variables():
    """Those that it changed, and no others, whatever the task of the handler has."""
    other = ContextVar('other', default=1)

    @contextlib.asynccontextmanager
    async def lifespan():
        POOL.set('pool')
        yield

    life = Lifespan(lifespan)
    await life.start()
    other.set(2)

    async def handler():
        life.set_variables()
        return POOL.get(), other.get()

    assert ('pool', 2) == await asyncio.create_task(handler())
    assert 'none' == POOL.get('none')
    await life.stop()


@pytest.mark.parametrize('value', [5, 'lifespan', contextlib.AsyncExitStack()])
def test_it_must_be_a_function(value):
    """The error names the option."""
    with pytest.raises(http.TableError, match=r"'lifespan' is .* must be a function without arg"):
        check_lifespan(value)


async def generator():
    yield


@contextlib.asynccontextmanager
async def yields_a_value():
    yield {'pool': 5}


@pytest.mark.parametrize(
    ('function', 'message'),
    [
        (dict, "'what lifespan returns' is {}; it must be an async context manager"),
        (generator, 'decorate it with contextlib.asynccontextmanager'),
        (yields_a_value, "'what lifespan yields' is {'pool': 5}; it must be None; hand objects"),
    ],
)
async def test_it_must_return_a_context_manager_that_yields_nothing(function, message):
    """The error says what would be right."""
    life = Lifespan(check_lifespan(function))
    with pytest.raises(http.TableError) as caught:
        await life.start()
    assert message in str(caught.value)
    await life.stop()


@contextlib.asynccontextmanager
async def fails_at_start():
    raise OSError('no database')
    yield


@contextlib.asynccontextmanager
async def fails_at_end():
    yield
    raise OSError('lost')


async def test_a_failing_start_raises_its_error():
    """Every time; there is nothing to stop then."""
    life = Lifespan(fails_at_start)
    for _ in range(2):
        with pytest.raises(OSError, match='no database'):
            await life.start()
    await life.stop()


async def test_a_failing_end_is_raised_by_stop():
    """The service has ended by then."""
    life = Lifespan(fails_at_end)
    await life.start()
    with pytest.raises(OSError, match='lost'):
        await life.stop()


async def test_a_start_that_is_given_up_leaves_nothing_behind(until):
    """Stopping cancels the context manager that is still being entered."""
    states = []

    @contextlib.asynccontextmanager
    async def lifespan():
        states.append('enter')
        try:
            await asyncio.Event().wait()
        finally:
            states.append('left')
        yield

    life = Lifespan(lifespan)
    starting = asyncio.create_task(life.start())
    await until(lambda: states)
    starting.cancel()
    await life.stop()
    assert ['enter', 'left'] == states
    assert starting.cancelled()


async def test_an_early_end_is_logged(until, caplog):
    """For example of a task group that a failed task cancels; stop raises the error too."""

    @contextlib.asynccontextmanager
    async def lifespan():
        async with asyncio.TaskGroup() as group:
            group.create_task(fail())
            yield

    async def fail():
        raise OSError('broken')

    life = Lifespan(lifespan)
    await life.start()
    await until(lambda: caplog.records)
    assert 'the lifespan ended before the service' == caplog.records[0].getMessage()
    with pytest.raises(ExceptionGroup):
        await life.stop()
