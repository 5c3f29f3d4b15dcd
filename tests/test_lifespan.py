"""The lifespan of a handler, on every engine that starts and stops."""

import asyncio
import contextlib
from contextvars import ContextVar

import pytest
from aiohttp import web

import aioluahttp as http
from aioluahttp.asgi import to_asgi
from aioluahttp.testing import http_via, serve_in_thread
from aioluahttp.web import to_application

POOL = ContextVar('POOL', default=None)


class Service:
    """A handler with a lifespan, which notes what happens in which order."""

    def __init__(self):
        self.events = []

    @contextlib.asynccontextmanager
    async def lifespan(self):
        self.events.append('start')
        POOL.set('pool')
        yield
        self.events.append('end')

    async def __call__(self, request):
        await asyncio.sleep(0)
        self.events.append(POOL.get())
        return {'status': 200, 'body': 'hello'}


@contextlib.asynccontextmanager
async def by_listen(handler, **options):
    async with http.listen('127.0.0.1', 0, handler, **options) as server:
        yield lambda: http.request(url=server.url)


@contextlib.asynccontextmanager
async def by_application(handler, **options):
    runner = web.AppRunner(to_application(handler, **options))
    await runner.setup()
    site = web.TCPSite(runner, '127.0.0.1', 0)
    await site.start()
    yield lambda: http.request(url=f'http://127.0.0.1:{runner.addresses[0][1]}')
    await runner.cleanup()


@contextlib.asynccontextmanager
async def by_asgi(handler, **options):
    application, received, sent = to_asgi(handler, **options), asyncio.Queue(), asyncio.Queue()
    serving = asyncio.create_task(application({'type': 'lifespan'}, received.get, sent.put))
    await received.put({'type': 'lifespan.startup'})
    assert 'lifespan.startup.complete' == (await sent.get())['type']
    scope = {'type': 'http', 'method': 'GET', 'path': '/', 'headers': [], 'http_version': '1.1'}

    async def ask():
        asked = asyncio.Queue()
        await asked.put({'type': 'http.request'})
        await asyncio.create_task(application(scope, asked.get, sent.put))
        assert (200, b'hello') == ((await sent.get())['status'], (await sent.get())['body'])

    yield ask
    await received.put({'type': 'lifespan.shutdown'})
    assert 'lifespan.shutdown.complete' == (await sent.get())['type']
    await serving


@contextlib.asynccontextmanager
async def by_via(handler, **options):
    async with http.Client(via=handler, via_options=options, base_url='http://h') as client:
        yield client.request


ENGINES = pytest.mark.parametrize('engine', [by_listen, by_application, by_asgi, by_via])


@ENGINES
@pytest.mark.parametrize('as_attribute', [False, True])
async def test_it_is_around_all_requests(engine, as_attribute):
    """An option or an attribute of the handler; handlers see its context variables."""
    service = Service()
    options = {'lifespan': service.lifespan}
    handler = service
    if not as_attribute:

        async def handler(request):
            return await service(request)

    async with engine(handler, **({} if as_attribute else options)) as ask:
        assert ['start'] == service.events
        for _ in range(2):
            await ask()
    assert ['start', 'pool', 'pool', 'end'] == service.events
    assert POOL.get() is None


class Unequal:
    """A value that cannot be compared, as arrays cannot."""

    def __eq__(self, other):
        raise ValueError('ambiguous')

    __hash__ = None


@ENGINES
@pytest.mark.parametrize(('before', 'within'), [([], []), (Unequal(), Unequal())])
async def test_a_variable_is_the_object_that_was_set(engine, before, within):
    """Also if it equals the one that the variable had before, or cannot be compared."""

    @contextlib.asynccontextmanager
    async def lifespan():
        POOL.set(within)
        yield

    seen = []

    def handler(request):
        seen.append(POOL.get())
        return {'status': 200, 'body': 'hello'}

    token = POOL.set(before)
    try:
        async with engine(handler, lifespan=lifespan) as ask:
            await ask()
    finally:
        POOL.reset(token)
    assert seen[0] is within


@ENGINES
async def test_an_option_beats_the_attribute(engine):
    """With None the handler has no lifespan."""
    service, other = Service(), Service()
    async with engine(service, lifespan=other.lifespan):
        pass
    async with engine(service, lifespan=None):
        pass
    assert ([], ['start', 'end']) == (service.events, other.events)


@contextlib.asynccontextmanager
async def failing():
    raise LookupError('no database')
    yield


@contextlib.asynccontextmanager
async def fails_at_end():
    yield
    raise LookupError('lost')


async def test_a_failing_start_of_listen_leaves_nothing_open(tmp_path):
    """The error is raised by listen; the port and the path are free again."""
    for options in ({}, {'unix': tmp_path / 'socket'}):
        with pytest.raises(LookupError, match='no database'):
            await http.listen(None, None, Service(), lifespan=failing, **options)
    assert [] == list(tmp_path.iterdir())
    with pytest.raises(LookupError, match='no database'):
        async with http.Client(via=Service(), via_options={'lifespan': failing}):
            pass


async def test_a_cancelled_start_leaves_nothing_open(until):
    """The lifespan that is being entered is cancelled."""
    states = []

    @contextlib.asynccontextmanager
    async def lifespan():
        states.append('enter')
        try:
            await asyncio.Event().wait()
        finally:
            states.append('left')
        yield

    starting = asyncio.ensure_future(http.listen('127.0.0.1', 0, Service(), lifespan=lifespan))
    await until(lambda: states)
    starting.cancel()
    with pytest.raises(asyncio.CancelledError):
        await starting
    assert ['enter', 'left'] == states


async def test_an_error_at_the_end_is_raised_by_close():
    """By then the server is closed."""
    server = await http.listen('127.0.0.1', 0, Service(), lifespan=fails_at_end)
    with pytest.raises(LookupError, match='lost'):
        await server.close()
    assert 'closed' == server.status
    client = http.Client(via=Service(), via_options={'lifespan': fails_at_end})
    await client.request(url='http://h')
    with pytest.raises(LookupError, match='lost'):
        await client.close()


async def test_it_ends_after_the_last_response(until):
    """A request that is handled when the server closes still has what the lifespan opened."""
    service, go_on = Service(), asyncio.Event()

    async def handler(request):
        service.events.append('asked')
        await go_on.wait()
        return await service(request)

    async with http.listen('127.0.0.1', 0, handler, lifespan=service.lifespan) as server:
        asking = asyncio.create_task(http.request(url=server.url))
        await until(lambda: 'asked' in service.events)
        closing = asyncio.create_task(server.close())
        await until(lambda: server.status == 'closing')
        go_on.set()
        await closing
        assert 200 == (await asking).status
    assert ['start', 'asked', 'pool', 'end'] == service.events


def test_a_client_in_process_enters_it_at_the_first_request():
    """Without ``async with``; the context of the caller is left as it was."""
    service = Service()

    async def main():
        client = http.Client(via=service)
        assert [] == service.events
        await asyncio.gather(*(client.request(url='http://h') for _ in range(2)))
        assert POOL.get() is None
        await client.close()

    asyncio.run(main())
    assert ['start', 'pool', 'pool', 'end'] == service.events


def test_the_functions_for_tests_take_it():
    """In a thread, and in process."""
    service = Service()
    with serve_in_thread(service) as server:
        asyncio.run(http.request(url=server.url))
    with http_via(
        lambda request: {'status': 200}, via_options={'lifespan': service.lifespan}
    ) as ask:
        ask()
    assert ['start', 'pool', 'end', 'start', 'end'] == service.events
