"""The middleware ``limit``: requests per second and at once."""

import asyncio
import selectors

import pytest

import aioluahttp as http
from aioluahttp.bodies.stream import Stream
from aioluahttp.middleware.limits import FEW, Gates, limit

HOST = {'host': 'h'}


class Held:
    """A handler that responds when it is told to, and notes the paths of its requests."""

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


async def test_concurrent_requests_are_limited_in_order_of_arrival(until):
    """Requests above ``concurrency`` wait, and start in the order in which they came."""
    held = Held()
    tasks = ask(limit(held, concurrency=2), '/1', '/2', '/3', '/4')
    await until(lambda: len(held.paths) == 2)
    await asyncio.sleep(0)
    assert ['/1', '/2'] == held.paths
    for _ in tasks:
        held.going.release()
    assert [200] * 4 == [response.status for response in await asyncio.gather(*tasks)]
    assert ['/1', '/2', '/3', '/4'] == held.paths


async def test_each_host_can_have_its_own_limit(until):
    """With ``per_host`` a host at its limit does not delay other hosts."""
    held = Held()
    handler = limit(held, concurrency=1, per_host=True)
    tasks = ask(handler, '/1', '/2', host='a') + ask(handler, '/3', host='b')
    await until(lambda: len(held.paths) == 2)
    assert ['/1', '/3'] == held.paths
    for _ in tasks:
        held.going.release()
    await asyncio.gather(*tasks)


async def test_a_failed_request_releases_its_slot(until):
    """The exception is raised."""
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
async def test_a_cancelled_request_releases_its_slot(until, options):
    """Whether it waits or runs, a cancelled request leaves no task and calls no handler."""
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


async def test_a_request_cancelled_in_the_queue_delays_no_other(until):
    """The next request in the queue takes its place."""
    held = Held()
    first, second, third = ask(limit(held, concurrency=1), '/1', '/2', '/3')
    await until(lambda: held.paths)
    second.cancel()
    held.going.release()
    held.going.release()
    assert [200, 200] == [(await task).status for task in (first, third)]
    assert ['/1', '/3'] == held.paths


async def test_a_streamed_response_counts_until_its_end(until):
    """The next request starts when the stream is read to its end or closed."""
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
    """A selector that never blocks, and adds up how long it would have."""

    now = 0.0

    def select(self, timeout=None):
        self.now += timeout or 0
        return super().select(0)


def quick_loop():
    """Make an event loop whose waits take no real time."""
    selector = Waiting()
    loop = asyncio.SelectorEventLoop(selector)
    loop.time = lambda: selector.now
    return loop


def starts(rate, **options):
    """Return the times at which six requests start that come at 0, 0, 0, 0, 0 and 100 s."""

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


def test_requests_start_evenly_spaced():
    """Idle time is not saved up for a later burst."""
    assert [0, 0.5, 1, 1.5, 2, 100] == starts(2)
    assert [0, 10, 20, 30, 40, 100] == starts(0.1, concurrency=1, per_host=True)
    assert [0, 0, 0, 10, 20, 100] == starts(0.1, burst=3)


def test_a_limit_works_with_several_event_loops():
    """A limit that is made at import works in every loop, and keeps no loop alive."""
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


async def test_idle_gates_are_dropped():
    """A gate is kept while requests use it or would have to wait; gates of closed loops are not."""
    gates = Gates(1e-6, 1)
    busy, slow = gates.find('busy'), gates.find('slow')
    await busy.enter()
    await slow.enter()
    slow.leave()

    async def elsewhere():
        await gates.find('lost').enter()

    await asyncio.to_thread(asyncio.run, elsewhere())
    for number in range(3 * FEW):
        gates.find(number)
        assert len(gates) <= FEW + 2
    assert (busy, slow) == (gates.find('busy'), gates.find('slow'))


def status_and_wait(response):
    """Return the status and Retry-After of a response."""
    return response.status, response.headers.get('Retry-After')


async def test_requests_can_be_refused_instead_of_waiting(until):
    """A 429 says in whole seconds when to try again; each key has limits of its own."""
    handler = limit(
        lambda request: {'status': 200},
        rate=0.1,
        burst=2,
        key=lambda request: request.ip,
        refuse=True,
    )
    asked = [{'host': 'h', 'ip': ip} for ip in ('1.1.1.1',) * 3 + ('2.2.2.2',)]
    found = [status_and_wait(await handler(request)) for request in asked]
    assert [(200, None), (200, None), (429, '10'), (200, None)] == found
    refused = await handler(asked[0])
    assert 'Too Many Requests' == refused.body

    held = Held()
    one = limit(held, concurrency=1, refuse=True)
    (task,) = ask(one, '/1')
    await until(lambda: held.paths)
    assert (429, '1') == status_and_wait(await one(HOST))
    held.going.release()
    held.going.release()
    assert [200, 200] == [(await task).status, (await one(HOST)).status]


async def test_requests_that_come_at_once_are_refused_too():
    """Not only those that come once another has started."""
    handler = limit(lambda request: {'status': 200}, rate=0.1, burst=2, refuse=True)
    found = await asyncio.gather(*(handler(HOST) for _ in range(50)))
    assert [200] * 2 + [429] * 48 == [response.status for response in found]


@pytest.mark.parametrize(
    ('options', 'message'),
    [
        ({'rate': 0}, "'rate' is 0; it must be a number of requests per second above 0, or None"),
        ({'rate': 'x'}, "'rate' is 'x'"),
        ({'rate': True}, "'rate' is True"),
        ({'rate': float('inf')}, "'rate' is inf"),
        ({'rate': float('nan')}, "'rate' is nan"),
        ({'concurrency': 0}, "'concurrency' is 0; it must be an int of 1 or more, or None"),
        ({'concurrency': 1.5}, "'concurrency' is 1.5"),
        ({'burst': 0}, "'burst' is 0; it must be an int of 1 or more"),
        ({'burst': True}, "'burst' is True"),
        ({'burst': 1.5}, "'burst' is 1.5"),
        ({'key': 'ip'}, "'key' is 'ip'; it must be a function of a request"),
        ({'key': len, 'per_host': True}, "it must be absent when 'per_host' is given"),
    ],
)
def test_an_invalid_limit_is_rejected(options, message):
    """The error names the option."""
    with pytest.raises(http.TableError) as caught:
        limit(http.request, **options)
    assert message in str(caught.value)


async def test_without_limits_nothing_waits():
    """Request and response are in normal form."""
    response = await limit(lambda request: {'status': 200, 'body': request.url})(HOST)
    assert http.to_response({'status': 200, 'body': '/'}) == response
