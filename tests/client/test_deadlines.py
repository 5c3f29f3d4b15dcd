"""Deadlines of many requests at once."""

import asyncio

import pytest

from aioluahttp.client.deadlines import Deadlines


async def wait(deadlines, seconds, event=None):
    """Wait for an event, or for ever, under a deadline."""
    deadline = asyncio.timeout(None)
    try:
        async with deadline:
            deadlines.add(deadline, seconds)
            await (event or asyncio.Event()).wait()
    finally:
        deadlines.remove(deadline)


@pytest.mark.parametrize('seconds', [[0.05, 0.1, 0.2], [0.2, 0.1, 0.05], [0.1, 0.1, 0.1]])
async def test_each_passes_at_its_own_time(seconds):
    """Never before it, whichever came first, and none is left behind."""
    deadlines, loop = Deadlines(), asyncio.get_running_loop()

    async def timed(one):
        start = loop.time()
        with pytest.raises(TimeoutError):
            await wait(deadlines, one)
        return loop.time() - start

    taken = await asyncio.gather(*map(timed, seconds))
    assert all(took > one - 0.005 for took, one in zip(taken, seconds, strict=True))
    assert 0 == len(deadlines)


async def test_one_that_was_removed_does_not_pass():
    """Its time comes, and nobody hears of it; one that never passes waits on."""
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


async def test_all_may_pass_at_once():
    """Each once, also one that has passed already; with none there is nothing to do."""
    deadlines = Deadlines()
    deadlines.pass_all()
    waiting = [asyncio.ensure_future(wait(deadlines, seconds)) for seconds in (None, 30, 60)]
    await asyncio.sleep(0)
    deadlines.pass_all()
    await asyncio.sleep(0)
    deadlines.pass_all()
    ended = await asyncio.gather(*waiting, return_exceptions=True)
    assert [TimeoutError] * 3 == list(map(type, ended))
