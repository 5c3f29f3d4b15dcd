"""Signals that stop a server, and ``serve_forever`` with them."""

import asyncio
import os
import signal
import sys

import pytest

import aioluahttp as http
from aioluahttp.server.signals import STOPPING, on_first_signal

pytestmark = pytest.mark.skipif(sys.platform == 'win32', reason='signals are those of posix')


def hello(request):
    return {'status': 200, 'body': 'hello'}


def handlers():
    """Return the handlers of the signals that stop a server."""
    return [signal.getsignal(number) for number in STOPPING]


async def called_with(*signals):
    """Send signals to this process; return what the first one called in the loop."""
    before, called = handlers(), asyncio.Event()
    with on_first_signal(signals, called.set):
        os.kill(os.getpid(), signals[0])
        await called.wait()
        inside = [signal.getsignal(number) for number in signals]
    return inside, before == handlers()


@pytest.mark.parametrize('signals', [STOPPING, STOPPING[:1], STOPPING[1:], [signal.SIGUSR1]])
async def test_the_first_signal_calls_a_function(signals):
    """The next one has its default action; at the end the handlers are those of before."""
    assert ([signal.SIG_DFL] * len(signals), True) == await called_with(*signals)


async def test_without_signals_nothing_is_caught():
    """The handlers stay as they are."""
    before = handlers()
    with on_first_signal((), pytest.fail):
        assert before == handlers()


async def test_the_loop_keeps_its_own_handler_of_a_signal():
    """It is called again after the block."""
    loop, called = asyncio.get_running_loop(), asyncio.Event()
    loop.add_signal_handler(signal.SIGUSR1, called.set)
    try:
        with on_first_signal([signal.SIGUSR1], lambda: None):
            pass
        os.kill(os.getpid(), signal.SIGUSR1)
        await called.wait()
    finally:
        loop.remove_signal_handler(signal.SIGUSR1)


@pytest.mark.parametrize(
    'signals',
    [5, ['SIGINT'], [signal.SIGINT, 100_000], [signal.SIGINT, signal.SIGKILL]],
)
async def test_what_is_no_signal_to_catch_is_refused(signals):
    """The handlers are those of before."""
    before = handlers()
    with pytest.raises(http.TableError, match='signals'), on_first_signal(signals, pytest.fail):
        pass
    assert before == handlers()


async def test_signals_outside_the_main_thread_are_refused():
    """Python sets signal handlers in the main thread only; without signals it works."""

    async def serve(signals):
        async with http.listen('127.0.0.1', 0, hello) as server:
            closing = asyncio.create_task(server.close())
            await server.serve_forever(signals)
            await closing

    await asyncio.to_thread(asyncio.run, serve(()))
    with pytest.raises(http.TableError, match='main thread'):
        await asyncio.to_thread(asyncio.run, serve(STOPPING))


@pytest.mark.parametrize('number', STOPPING)
async def test_serve_forever_returns_at_the_first_signal(number):
    """Once the server is closed, and running callbacks have ended."""
    called, release, before = asyncio.Event(), asyncio.Event(), handlers()

    async def held(request):
        called.set()
        await release.wait()
        return {'status': 200}

    async with http.listen('127.0.0.1', 0, held) as server, http.Client() as client:
        serving = asyncio.create_task(server.serve_forever(signals=STOPPING))
        asking = asyncio.create_task(client.request(url=server.url))
        await called.wait()
        os.kill(os.getpid(), number)
        while server.status == 'listening':  # noqa: ASYNC110  # there is no event for this
            await asyncio.sleep(0)
        assert not serving.done()
        release.set()
        assert 200 == (await asking).status
        await serving
        assert ('closed', before) == (server.status, handlers())
