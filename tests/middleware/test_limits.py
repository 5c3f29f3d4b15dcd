"""So many requests a second, or at once."""

import asyncio
import selectors

import pytest

import aioluahttp as http
from aioluahttp.bodies.stream import Stream
from aioluahttp.middleware.limits import Gate, forget_idle, limit

HOST = {'host': 'h'}


class Held:
    """A handler that answers when it is told to, and notes what it got."""

    def __init__(self):
        self.paths = []
        self.going = asyncio.Semaphore(0)
        self.body = None

    async def __call__(self, request):
        self.paths.append(request.path)
        await self.going.acquire()
        if request.path == '/bad':
            raise http.ProtocolError('bad')
        return {'status': 200, 'body': self.body}


def ask(handler, *paths, host='h'):
    """Send a request for each path, all at once."""
    return [asyncio.create_task(handler({'host': host, 'url': path})) for path in paths]


async def test_so_many_are_under_way_and_the_first_to_come_is_the_next(until):
    """The others wait in the order in which they came."""
    held = Held()
    tasks = ask(limit(held, concurrency=2), '/1', '/2', '/3', '/4')
    await until(lambda: len(held.paths) == 2)
    await asyncio.sleep(0)
    assert ['/1', '/2'] == held.paths
    for _ in tasks:
        held.going.release()
    assert [200] * 4 == [response.status for response in await asyncio.gather(*tasks)]
    assert ['/1', '/2', '/3', '/4'] == held.paths


async def test_each_host_has_the_limit_to_itself(until):
    """One that is full holds up no other."""
    held = Held()
    handler = limit(held, concurrency=1, per_host=True)
    tasks = ask(handler, '/1', '/2', host='a') + ask(handler, '/3', host='b')
    await until(lambda: len(held.paths) == 2)
    assert ['/1', '/3'] == held.paths
    for _ in tasks:
        held.going.release()
    await asyncio.gather(*tasks)


async def test_a_failure_gives_its_slot_to_the_next(until):
    """The exception goes on."""
    held = Held()
    bad, good = ask(limit(held, concurrency=1), '/bad', '/good')
    held.going.release()
    held.going.release()
    with pytest.raises(http.ProtocolError, match='bad'):
        await bad
    assert 200 == (await good).status


@pytest.mark.parametrize(
    'options', [{'concurrency': 1}, {'rate': 1e-6}, {'concurrency': 2, 'rate': 1e-6}]
)
async def test_who_gives_up_leaves_nothing(until, options):
    """One that is cancelled, as it waits or under way, holds up none that comes behind."""
    held = Held()
    gate = limit(held, **options)
    tasks = ask(gate, '/1', '/2', '/3')
    await until(lambda: held.paths)
    for task in tasks:
        task.cancel()
    assert [asyncio.CancelledError] * 3 == [
        type(error) for error in await asyncio.gather(*tasks, return_exceptions=True)
    ]
    assert ['/1'] == held.paths


async def test_one_that_gives_up_in_the_queue_holds_up_no_other(until):
    """The one behind it takes its place."""
    held = Held()
    first, second, third = ask(limit(held, concurrency=1), '/1', '/2', '/3')
    await until(lambda: held.paths)
    second.cancel()
    held.going.release()
    held.going.release()
    assert [200, 200] == [(await task).status for task in (first, third)]
    assert ['/1', '/3'] == held.paths


async def test_a_stream_counts_until_it_is_over(until):
    """The next begins once it is read to its end, or closed."""
    held = Held()

    async def chunks():
        yield b'x'

    for leave in (Stream.read, Stream.close):
        held.body, held.paths = Stream(chunks()), []
        first, second = ask(limit(held, concurrency=1), '/1', '/2')
        held.going.release()
        response = await first
        await asyncio.sleep(0)
        assert ['/1'] == held.paths
        await leave(response.body)
        held.body = None
        held.going.release()
        assert '' == (await second).body


class Waiting(selectors.DefaultSelector):
    """Waits for no time to pass, and notes how much would have."""

    now = 0.0

    def select(self, timeout=None):
        self.now += timeout or 0
        return super().select(0)


def quick_loop():
    """Make a loop whose time passes at once."""
    selector = Waiting()
    loop = asyncio.SelectorEventLoop(selector)
    loop.time = lambda: selector.now
    return loop


def starts(rate, **options):
    """Tell when each of six requests begins that come at 0, 0, 0, 0, 0 and 100 s."""

    async def run():
        loop, times = asyncio.get_running_loop(), []

        async def handler(request):
            times.append(loop.time())
            return {'status': 200}

        limited = limit(handler, rate=rate, **options)
        await asyncio.gather(*ask(limited, *'/a /b /c /d /e'.split()))
        await asyncio.sleep(100 - loop.time())
        await limited(HOST)
        return times

    with asyncio.Runner(loop_factory=quick_loop) as runner:
        return runner.run(run())


def test_requests_begin_evenly_apart():
    """None is saved up for later while nobody asks."""
    assert [0, 0.5, 1, 1.5, 2, 100] == starts(2)
    assert [0, 10, 20, 30, 40, 100] == starts(0.1, concurrency=1, per_host=True)


def test_a_limit_serves_one_loop_after_the_other():
    """One that is made at import is good for every loop, and keeps none of them."""
    held = []

    async def handler(request):
        await asyncio.sleep(0)
        held.append(request.path)
        return {'status': 200}

    limited = limit(handler, concurrency=1)

    async def run():
        await asyncio.gather(*ask(limited, '/1', '/2'))

    for _ in range(2):
        asyncio.run(run())
    assert ['/1', '/2'] * 2 == held


async def test_hosts_that_are_done_with_are_forgotten():
    """A gate is kept while somebody waits, or the next would have to; none of a closed loop is."""
    closed, loop = asyncio.new_event_loop(), asyncio.get_running_loop()
    closed.close()
    busy, slow, idle, lost = (Gate(rate, 1) for rate in (None, 1e-6, None, 1e-6))
    for gate in (busy, slow, lost):
        await gate.enter()
    for gate in (slow, lost):
        gate.leave()
    gates = {(loop, 1): busy, (loop, 2): slow, (loop, 3): idle, (closed, 4): lost}
    forget_idle(gates)
    assert [busy, slow] == list(gates.values())


@pytest.mark.parametrize(
    ('options', 'message'),
    [
        ({'rate': 0}, "'rate' is 0; it must be a number of requests a second above 0, or None"),
        ({'rate': 'x'}, "'rate' is 'x'"),
        ({'rate': True}, "'rate' is True"),
        ({'rate': float('inf')}, "'rate' is inf"),
        ({'rate': float('nan')}, "'rate' is nan"),
        ({'concurrency': 0}, "'concurrency' is 0; it must be an int of 1 or more, or None"),
        ({'concurrency': 1.5}, "'concurrency' is 1.5"),
    ],
)
def test_a_limit_that_is_none_is_refused(options, message):
    """The error names the option."""
    with pytest.raises(http.TableError) as caught:
        limit(http.request, **options)
    assert message in str(caught.value)


async def test_without_limits_nothing_waits():
    """The handler gets a request in normal form, and a response comes back so."""
    response = await limit(lambda request: {'status': 200, 'body': request.url})(HOST)
    assert http.to_response({'status': 200, 'body': '/'}) == response
