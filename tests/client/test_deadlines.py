"""`Deadlines`: many deadlines with one timer."""

import asyncio

import pytest

from aioluahttp.client.deadlines import Deadline, Deadlines


async def wait(deadlines, seconds, event=None):
    """Wait for an event, or forever, with a deadline."""
    with Deadline(deadlines, seconds, TimeoutError):
        await (event or asyncio.Event()).wait()


@pytest.mark.parametrize('seconds', [[0.05, 0.1, 0.2], [0.2, 0.1, 0.05], [0.1, 0.1, 0.1]])
async def test_each_deadline_passes_at_its_own_time(seconds):
    """None passes early, in whichever order they were added, and all are removed."""
    deadlines, loop = Deadlines(), asyncio.get_running_loop()

    async def timed(one):
        start = loop.time()
        with pytest.raises(TimeoutError):
            await wait(deadlines, one)
        return loop.time() - start

    taken = await asyncio.gather(*map(timed, seconds))
    assert all(took > one - 0.005 for took, one in zip(taken, seconds, strict=True))
    assert 0 == len(deadlines)


async def test_a_removed_deadline_does_not_pass():
    """A deadline of None passes only by ``pass_all``."""
    deadlines, event = Deadlines(), asyncio.Event()
    event.set()
    await wait(deadlines, 0.05, event)
    never = asyncio.ensure_future(wait(deadlines, None))
    with pytest.raises(TimeoutError):
        await wait(deadlines, 0.1)
    assert (1, False) == (len(deadlines), never.done())
    deadlines.pass_all()
    with pytest.raises(TimeoutError):
        await never


async def test_pass_all_lets_every_deadline_pass_once():
    """It may be called again, and without any deadline."""
    deadlines = Deadlines()
    deadlines.pass_all()
    waiting = [asyncio.ensure_future(wait(deadlines, seconds)) for seconds in (None, 30, 60)]
    await asyncio.sleep(0)
    deadlines.pass_all()
    await asyncio.sleep(0)
    deadlines.pass_all()
    ended = await asyncio.gather(*waiting, return_exceptions=True)
    assert [TimeoutError] * 3 == list(map(type, ended))


async def test_a_cancellation_from_outside_is_no_timeout():
    """Also if the deadline passes at the same moment."""
    deadlines = Deadlines()
    for passes in (False, True):
        waiting = asyncio.ensure_future(wait(deadlines, None))
        await asyncio.sleep(0)
        waiting.cancel()
        if passes:
            deadlines.pass_all()
        with pytest.raises(asyncio.CancelledError):
            await waiting
    assert 0 == len(deadlines)


async def test_another_error_is_raised_as_it_is():
    """The cancellation of the deadline is taken back, also if nothing is raised."""
    deadlines, task = Deadlines(), asyncio.current_task()

    async def run(error):
        with Deadline(deadlines, 0.01, TimeoutError):
            try:
                await asyncio.Event().wait()
            except asyncio.CancelledError:
                if error:
                    raise error from None

    with pytest.raises(OSError, match='broken'):
        await run(OSError('broken'))
    await run(None)
    assert (0, 0) == (task.cancelling(), len(deadlines))


async def test_the_end_of_all_deadlines_can_be_waited_for():
    """By more than one task, and also if there are none."""
    deadlines, event = Deadlines(), asyncio.Event()
    await deadlines.wait()
    open_ones = [asyncio.ensure_future(wait(deadlines, None, event)) for _ in range(2)]
    await asyncio.sleep(0)
    waiting = [asyncio.ensure_future(deadlines.wait()) for _ in range(2)]
    await asyncio.sleep(0)
    assert [False, False] == [one.done() for one in waiting]
    event.set()
    await asyncio.gather(*open_ones, *waiting)
