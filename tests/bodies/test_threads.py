"""Calls in threads, which are over before whoever waits for them goes on."""

import asyncio
import threading

import pytest

from aioluahttp.bodies.threads import in_thread


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
