"""One exchange: a table to the handler, its table out, its mistakes told."""

import asyncio
import logging
from collections.abc import Mapping
from contextvars import ContextVar

import pytest
from aiohttp import web

import aioluahttp as http
from aioluahttp.errors import TableError

pytestmark = pytest.mark.usefixtures('both_ways')

VARIABLE = ContextVar('VARIABLE', default='unset')


class Liar(Mapping):
    """A mapping that fails when it is read."""

    def __getitem__(self, key):
        raise OSError('no key')

    def __iter__(self):
        raise OSError('no keys')

    def __len__(self):
        return 1


def raising(error):
    """Make a callback that raises."""

    async def callback(request):
        raise error

    return callback


def plainly_raising(request):
    """Fail as a plain function."""
    raise StopIteration(3)


async def cancelled(request):
    """Let a cancellation escape that nobody asked for."""
    future = asyncio.get_running_loop().create_future()
    future.cancel()
    await future


def cleared(request):
    """Fail, and leave nothing of the request."""
    request.clear()
    raise KeyError('x')


def spoilt(request):
    """Return what was checked, and changed after that."""
    response = http.to_response({'status': 200})
    response.headers['X'] = 'a\r\nY: b'
    return response


MISTAKES = [
    (raising(ValueError('oops')), ValueError),
    (raising(TimeoutError()), TimeoutError),
    (raising(asyncio.CancelledError()), RuntimeError),
    (raising(StopAsyncIteration()), StopAsyncIteration),
    (raising(StopIteration()), RuntimeError),
    (raising(web.HTTPNotFound()), web.HTTPNotFound),
    (raising(ExceptionGroup('many', [OSError()])), ExceptionGroup),
    (raising(http.ConnectError('x')), http.ConnectError),
    (plainly_raising, RuntimeError),
    (cancelled, RuntimeError),
    (cleared, KeyError),
    (spoilt, TableError),
    *[
        (lambda request, table=table: table, TableError)
        for table in [
            None,
            'text',
            200,
            [('status', 200)],
            web.Response(),
            {},
            {'body': 'x'},
            *[
                {'status': status}
                for status in (None, 0, -1, 99, 100, 101, 199, 600, 999, 1000, '200', 200.0, True)
            ],
            {'status': 200, 'bdy': 'x'},
            {'status': 200, 1: 2},
            {'status': 200, 'headers': {'a b': 'c'}},
            {'status': 200, 'headers': {'': 'c'}},
            {'status': 200, 'headers': {'é': 'c'}},
            {'status': 200, 'headers': {'a': 'b\r\nc: d'}},
            {'status': 200, 'headers': {'a': 'b\nc'}},
            {'status': 200, 'headers': {'a': 'b\0'}},
            {'status': 200, 'headers': {'a': '\ud800'}},
            {'status': 200, 'headers': {'a': 1.5}},
            {'status': 200, 'headers': 'a: b'},
            {'status': 200, 'headers': {'Content-Type': 'a\r\n\r\nb'}},
            {'status': 200, 'reason': 'a\r\nb: c'},
            {'status': 200, 'reason': 5},
            {'status': 200, 'body': 5},
            {'status': 200, 'body': ['a']},
            {'status': 200, 'events': [{'data': 'x'}]},
            {'status': 200, 'body': {'a': 1}},
            http.Response({'status': 200, 'body': {'a': 1}}),
            {'status': 200, 'body': 'x', 'json': 1},
            {'status': 200, 'json': object()},
            {'status': 200, 'json': float('nan')},
            {'status': 200, 'body': '\ud800'},
            {'status': 200, 'body': '€', 'headers': {'Content-Type': 'a/b; charset=latin1'}},
        ]
    ],
    (lambda request: Liar(), OSError),
]


@pytest.mark.parametrize(('callback', 'kind'), MISTAKES)
async def test_a_mistake_is_a_500_and_is_told(wire, caplog, callback, kind):
    """Logged once, with its traceback; given to on_error; the connection answers again."""
    told = []

    def handler(request):
        return {'status': 204} if request.path == '/well' else callback(request)

    def on_error(error, request):
        told.append((error, request.path))

    async with http.listen('127.0.0.1', 0, handler, on_error) as server, wire(server) as client:
        client.ask('GET /ill?secret')
        status, headers, body = await client.answer()
        assert (500, b'Internal Server Error', None) == (status, body, headers.get('Connection'))
        client.ask('GET /well')
        assert 204 == (await client.answer())[0]
    [(error, path)] = told
    assert (kind, None if callback is cleared else '/ill') == (type(error), path)
    [record] = caplog.records
    assert ('ERROR', 'GET /ill failed') == (record.levelname, record.getMessage())
    assert (error, error.__traceback__) == record.exc_info[1:]


async def async_on_error(error, request):
    """Wait a turn, then fail."""
    await asyncio.sleep(0)
    raise OSError('in on_error')


class Chunks:
    """An iterator that knows whether it was closed."""

    closed = False

    def __aiter__(self):
        return self

    async def __anext__(self):
        return b'x'

    async def aclose(self):
        self.closed = True


@pytest.mark.parametrize('wrong', [{'status': 99}, {}, {'status': 200, 'headers': {'a': '\n'}}])
@pytest.mark.parametrize('key', ['body', 'events'])
async def test_the_iterator_of_a_table_that_is_refused_is_closed(wire, key, wrong):
    """Nobody else would, once the answer is a 500."""
    chunks = Chunks()

    def callback(request):
        return {**wrong, key: chunks}

    async with http.listen('127.0.0.1', 0, callback) as server, wire(server) as client:
        client.ask('GET /')
        assert 500 == (await client.answer())[0]
        assert chunks.closed


def plain_on_error(error, request):
    """Fail at once."""
    raise OSError('in on_error')


@pytest.mark.parametrize(
    'on_error',
    [async_on_error, plain_on_error, raising, cancelled, lambda error, request: cancelled(request)],
)
async def test_an_on_error_that_fails_changes_nothing(wire, caplog, on_error):
    """It is logged after the mistake itself; the answer is a 500 all the same."""
    callback = raising(ValueError('oops'))
    async with http.listen('127.0.0.1', 0, callback, on_error) as server, wire(server) as client:
        for _ in range(2):
            client.ask('GET /')
            assert 500 == (await client.answer())[0]
    expected = ['GET / failed', 'on_error failed'] * 2
    assert expected == [record.getMessage() for record in caplog.records]


async def test_an_async_on_error_is_awaited(wire):
    """It has run to its end before the answer goes out."""
    told = []

    async def on_error(error, request):
        await asyncio.sleep(0)
        told.append((str(error), request.path))

    callback = raising(ValueError('oops'))
    async with http.listen('127.0.0.1', 0, callback, on_error) as server, wire(server) as client:
        client.ask('GET /x')
        await client.answer()
        assert [('oops', '/x')] == told


@pytest.mark.parametrize(
    'answer',
    [
        {'status': 200, 'body': 'x'},
        http.Response(status=200, body='x'),
        http.to_response({'status': 200, 'body': 'x'}),
    ],
)
@pytest.mark.parametrize('kind', ['plain', 'async', 'future', 'object'])
async def test_every_kind_of_callback_will_do(wire, answer, kind):
    """A plain function, a coroutine function, one that gives an awaitable, and an object."""

    async def asynchronous(request):
        await asyncio.sleep(0)
        return answer

    class Callable:
        async def __call__(self, request):
            return answer

    callback = {
        'plain': lambda request: answer,
        'async': asynchronous,
        'future': lambda request: asyncio.ensure_future(asynchronous(request)),
        'object': Callable(),
    }[kind]
    async with http.listen('127.0.0.1', 0, callback) as server, wire(server) as client:
        client.ask('GET /')
        assert (200, b'x') == (await client.answer())[::2]


async def test_a_table_of_the_callback_is_not_changed(wire):
    """Neither a plain table nor a Response gets headers that the answer has."""
    tables = [{'status': 200, 'headers': {'X': '1'}, 'body': 'x'}]
    tables.append(http.to_response(tables[0]))
    before = [dict(table) for table in tables]
    for table in tables:
        async with (
            http.listen('127.0.0.1', 0, lambda _, table=table: table) as server,
            wire(server) as client,
        ):
            client.ask('GET /')
            assert 'Content-Type' in (await client.answer())[1]
    assert before == tables
    assert ['X'] == list(tables[1].headers)


async def test_a_callback_that_takes_too_long_is_a_504(wire, caplog):
    """It is cancelled; nothing is logged, and the connection answers again."""
    ended = []

    async def callback(request):
        try:
            await asyncio.Event().wait()
        finally:
            ended.append(request.path)

    listening = http.listen('127.0.0.1', 0, callback, handler_timeout=0.01)
    async with listening as server, wire(server) as client:
        for path in '/1', '/2':
            client.ask(f'GET {path}')
            status, headers, body = await client.answer()
            assert (504, b'Gateway Timeout', None) == (status, body, headers.get('Connection'))
    assert (['/1', '/2'], []) == (ended, caplog.records)


async def test_a_timeout_of_the_callbacks_own_is_its_mistake(wire, caplog):
    """Also where there is a handler_timeout, a TimeoutError is a 500."""
    callback = raising(TimeoutError('mine'))
    async with (
        http.listen('127.0.0.1', 0, callback, handler_timeout=60) as server,
        wire(server) as client,
    ):
        client.ask('GET /')
        assert 500 == (await client.answer())[0]
    assert ['GET / failed'] == [record.getMessage() for record in caplog.records]


async def test_each_request_has_a_task_and_a_context_of_its_own(wire):
    """What one sets in a ContextVar the next on the same connection does not see."""
    seen, tasks = [], []

    async def callback(request):
        seen.append(VARIABLE.get())
        tasks.append(asyncio.current_task())
        VARIABLE.set(request.path)
        return {'status': 200}

    VARIABLE.set('of listen')
    async with http.listen('127.0.0.1', 0, callback) as server, wire(server) as client:
        for _ in range(3):
            client.ask('GET /')
            await client.answer()
    assert (1, 3) == (len(set(seen)), len(set(tasks)))


@pytest.mark.parametrize('line', ['GET nowhere', 'POST /'])
async def test_a_request_that_is_no_table_is_refused(wire, line):
    """The callback is not called, nor on_error; the connection closes."""
    calls = []
    listening = http.listen('127.0.0.1', 0, calls.append, calls.append, into='json')
    async with listening as server, wire(server) as client:
        client.ask(line, 'Content-Length: 1', body=b'{')
        assert 400 == (await client.answer())[0]
        assert (b'', []) == (await client.rest(), calls)


async def test_the_server_can_have_a_name(wire):
    """``server_header`` goes out with every answer of the callback."""
    listening = http.listen('127.0.0.1', 0, lambda request: None, server_header='we')
    async with listening as server, wire(server) as client:
        client.ask('GET /')
        assert 'we' == (await client.answer())[1]['Server']


async def test_pipelined_requests_are_answered_in_order(wire):
    """One after the other, each with its own body."""
    running = []

    async def callback(request):
        running.append(request.path)
        await asyncio.sleep(0)
        assert [request.path] == running
        running.clear()
        return {'status': 200, 'body': request.path + (request.body or '')}

    async with http.listen('127.0.0.1', 0, callback) as server, wire(server) as client:
        client.ask('GET /1')
        client.ask('POST /2', 'Content-Length: 1', body=b'b')
        client.ask('GET /3', 'Connection: close')
        answers = [await client.answer() for _ in range(3)]
        assert [b'/1', b'/2b', b'/3'] == [body for _, _, body in answers]
        assert b'' == await client.rest()


async def test_requests_run_beside_each_other(wire):
    """A callback that waits does not hold up another connection."""
    barrier = asyncio.Barrier(2)

    async def callback(request):
        await barrier.wait()
        return {'status': 200}

    async with (
        http.listen('127.0.0.1', 0, callback) as server,
        wire(server) as one,
        wire(server) as other,
    ):
        for client in one, other:
            client.ask('GET /')
        assert [200, 200] == [(await client.answer())[0] for client in (one, other)]


async def test_a_client_that_leaves_disturbs_nothing(wire, caplog):
    """The callback runs to its end, and nothing is logged as an error."""
    called, left, ended = asyncio.Event(), asyncio.Event(), asyncio.Event()

    async def callback(request):
        if request.path == '/held':
            called.set()
            await left.wait()
            ended.set()
        return {'status': 200, 'body': 'x'}

    async with http.listen('127.0.0.1', 0, callback) as server:
        async with wire(server) as client:
            client.ask('GET /held')
            await called.wait()
        async with wire(server) as other:  # by its answer the server knows that the first has left
            other.ask('GET /')
            await other.answer()
        left.set()
        await ended.wait()
    assert [] == [record for record in caplog.records if record.levelno >= logging.WARNING]


@pytest.mark.parametrize('unix', [False, True])
async def test_a_logger_gets_a_line_for_each_answer(wire, caplog, tmp_path, unix):
    """Address, request line and status; what the callback does to its table does not show."""
    caplog.set_level(logging.INFO, 'access')
    log = logging.getLogger('access')
    options = {'unix': tmp_path / 's'} if unix else {}

    def callback(request):
        request.clear()
        return {'status': 404}

    async with (
        http.listen('127.0.0.1', 0, callback, access_log=log, **options) as server,
        wire(None, path=options['unix']) if unix else wire(server) as client,
    ):
        client.ask('GET http://elsewhere/x?y')
        await client.answer()
    expected = f'{"-" if unix else "127.0.0.1"} "GET /x?y HTTP/1.1" 404'
    lines = [record.getMessage() for record in caplog.records if record.name == 'access']
    assert [expected] == lines


async def test_a_callable_gets_both_tables(wire):
    """Request and response, also of a mistake."""
    seen = []

    def callback(request):
        return {'status': 201} if request.path == '/x' else None

    def log(request, response):
        seen.append((request.path, response.status))

    async with (
        http.listen('127.0.0.1', 0, callback, access_log=log) as server,
        wire(server) as client,
    ):
        for path in '/x', '/y':
            client.ask(f'GET {path}')
            await client.answer()
    assert [('/x', 201), ('/y', 500)] == seen


async def test_an_access_log_that_fails_changes_nothing(wire, caplog):
    """It is logged, and the answer goes out."""
    listening = http.listen(
        '127.0.0.1', 0, lambda request: {'status': 200}, access_log=lambda request: None
    )
    async with listening as server, wire(server) as client:
        client.ask('GET /')
        assert 200 == (await client.answer())[0]
    assert ['access_log failed'] == [record.getMessage() for record in caplog.records]


async def test_an_access_log_may_be_a_coroutine_function(wire):
    """What it returns is awaited where it can be, as of ``on_error``."""
    seen = []

    async def log(request, response):
        await asyncio.sleep(0)
        seen.append((request.path, response.status))

    async with (
        http.listen('127.0.0.1', 0, lambda request: {'status': 204}, access_log=log) as server,
        wire(server) as client,
    ):
        client.ask('GET /x')
        await client.answer()
    assert [('/x', 204)] == seen


@pytest.mark.parametrize('kind', [type('Odd', (BaseException,), {}), pytest.fail.Exception])
async def test_what_is_no_exception_is_a_500_too(wire, caplog, kind):
    """What is raised and is no ``Exception``, as of a failing test, is told all the same."""
    told = []

    def callback(request):
        raise kind('x')

    async with (
        http.listen('127.0.0.1', 0, callback, lambda error, request: told.append(error)) as server,
        wire(server) as client,
    ):
        client.ask('GET /')
        status, *_ = await client.answer()
    assert (500, [kind]) == (status, [type(error.__cause__) for error in told])
    assert ['GET / failed'] == [record.getMessage() for record in caplog.records]


class Gate:
    """A callback that answers when its gate is opened, and counts how many wait there."""

    def __init__(self):
        self.opened, self.waiting, self.most = asyncio.Event(), 0, 0
        self.arrived = asyncio.Event()

    async def __call__(self, request):
        self.waiting += 1
        self.most = max(self.most, self.waiting)
        self.arrived.set()
        await self.opened.wait()
        self.waiting -= 1
        return {'status': 200, 'body': request.path}


async def test_too_many_at_once_are_sent_away(wire):
    """A 503 with Retry-After, at once; the connection goes on, and later there is room."""
    gate, calls = Gate(), []
    listening = http.listen(
        '127.0.0.1', 0, gate, lambda *both: calls.append(both), max_concurrent=1
    )
    async with listening as server, wire(server) as first, wire(server) as second:
        first.ask('GET /1')
        await gate.arrived.wait()
        for line, body in ('GET /2', b''), ('POST /2', b'abc'):
            second.ask(line, f'Content-Length: {len(body)}', body=body)
            status, headers, text = await second.answer()
            assert (503, b'Service Unavailable') == (status, text)
            assert ('1', None) == (headers['Retry-After'], headers.get('Connection'))
        assert 1 == server.stats['in_flight']
        gate.opened.set()
        assert b'/1' == (await first.answer())[2]
        second.ask('GET /2')
        assert (200, b'/2') == (await second.answer())[::2]
        assert (1, [], 0) == (gate.most, calls, server.stats['errors'])


async def test_who_is_sent_away_need_not_send_its_body(wire):
    """Nothing of it is asked for or read; the connection closes, as its end is not known."""
    gate = Gate()
    listening = http.listen('127.0.0.1', 0, gate, max_concurrent=1)
    async with listening as server, wire(server) as first, wire(server) as second:
        first.ask('GET /1')
        await gate.arrived.wait()
        second.ask('POST /2', 'Content-Length: 9', 'Expect: 100-continue')
        status, headers, _ = await second.answer()
        assert (503, '1', 'close') == (status, headers['Retry-After'], headers['Connection'])
        gate.opened.set()


async def test_room_that_others_took_while_a_body_came_is_taken(wire):
    """The callbacks are counted when they are called."""
    gate = Gate()
    listening = http.listen('127.0.0.1', 0, gate, max_concurrent=1)
    async with listening as server, wire(server) as first, wire(server) as second:
        second.ask('POST /2', 'Content-Length: 3', 'Expect: 100-continue')
        assert b'HTTP/1.1 100 Continue\r\n\r\n' == await second.reader.readexactly(25)
        first.ask('GET /1')
        await gate.arrived.wait()
        second.send(b'abc')
        status, headers, _ = await second.answer()
        assert (503, '1', None) == (status, headers['Retry-After'], headers.get('Connection'))
        gate.opened.set()
        assert 200 == (await first.answer())[0]
    assert 1 == gate.most


@pytest.mark.parametrize('callback', [raising(ValueError()), raising(TimeoutError()), cancelled])
async def test_a_callback_that_fails_makes_room(wire, callback):
    """However it ends, and also where it is late."""
    options = {'max_concurrent': 1, 'handler_timeout': 0.05}

    async def handler(request):
        if request.path == '/late':
            await asyncio.Event().wait()
        return await callback(request)

    async with http.listen('127.0.0.1', 0, handler, **options) as server, wire(server) as client:
        for path, expected in ('/', 500), ('/late', 504), ('/', 500):
            client.ask(f'GET {path}')
            assert expected == (await client.answer())[0]


async def test_a_cancelled_callback_leaves_nothing_in_flight(wire):
    """With ``cancel_on_disconnect`` nobody is told, and there is room for the next."""
    called = asyncio.Event()
    told, options = [], {'cancel_on_disconnect': True, 'max_concurrent': 1}

    async def callback(request):
        if request.path == '/next':
            return {'status': 204}
        called.set()
        await asyncio.Event().wait()

    listening = http.listen('127.0.0.1', 0, callback, lambda *both: told.append(both), **options)
    async with listening as server:
        async with wire(server) as client:
            client.ask('GET /')
            await called.wait()
        async with wire(server) as client:
            status = 503
            while status == 503:  # until the server knows that the first has left
                client.ask('GET /next')
                status, *_ = await client.answer()
        assert (204, [], 0) == (status, told, server.stats['errors'])


async def test_what_is_refused_reaches_the_access_log_too(wire, caplog):
    """As far as it is a request; it costs one line, and is no mistake of the callback."""
    caplog.set_level(logging.INFO)
    log = logging.getLogger('access')
    gate, options = Gate(), {'max_body': 2, 'max_concurrent': 1, 'access_log': log}
    async with http.listen('127.0.0.1', 0, gate, **options) as server, wire(server) as first:
        first.ask('GET /1')
        await gate.arrived.wait()
        async with wire(server) as client:
            client.ask('GET /2')
            assert 503 == (await client.answer())[0]
        gate.opened.set()
        await first.answer()
        async with wire(server) as client:
            client.ask('POST /3', 'Content-Length: 3')
            assert 413 == (await client.answer())[0]
        async with wire(server) as client:
            client.ask('CONNECT h:80')
            assert 501 == (await client.answer())[0]
    expected = [
        ('access', logging.INFO, '127.0.0.1 "GET /2 HTTP/1.1" 503'),
        ('access', logging.INFO, '127.0.0.1 "GET /1 HTTP/1.1" 200'),
        ('access', logging.INFO, '127.0.0.1 "POST /3 HTTP/1.1" 413'),
        ('aioluahttp', logging.INFO, 'bad request from 127.0.0.1: 501'),
    ]
    assert expected == [one for one in caplog.record_tuples if one[0] != 'asyncio']


async def test_the_access_log_names_the_client_and_not_its_proxy(wire, caplog):
    """Where the proxy is trusted."""
    caplog.set_level(logging.INFO, 'access')
    options = {'access_log': logging.getLogger('access'), 'trusted_proxies': ['127.0.0.1']}
    callback = raising(ValueError())
    async with http.listen('127.0.0.1', 0, callback, **options) as server, wire(server) as client:
        client.ask('GET /', 'Forwarded: for="[2001:db8::1]:80"')
        await client.answer()
    lines = [record.getMessage() for record in caplog.records if record.name == 'access']
    assert ['2001:db8::1 "GET / HTTP/1.1" 500'] == lines


async def test_a_body_that_comes_too_slowly_is_a_408(wire, caplog):
    """``body_timeout`` is from one part to the next; the callback does not see the request."""
    calls = []
    options = {'body_timeout': 0.05}
    listening = http.listen('127.0.0.1', 0, calls.append, **options)
    async with listening as server, wire(server) as client:
        client.ask('POST /', 'Content-Length: 3', body=b'a')
        status, headers, _ = await client.answer()
        assert (408, 'close', b'') == (status, headers['Connection'], await client.rest())
    assert ([], []) == (calls, [r for r in caplog.records if r.levelno >= logging.WARNING])


class Parts:
    """Answers in parts, each when it is told to."""

    status = 200

    def __init__(self):
        self.parts, self.ended = asyncio.Queue(), asyncio.Event()

    async def send(self, connection):
        try:
            while part := await self.parts.get():
                if isinstance(part, Exception):
                    raise part
                connection.begun = True
                await connection.write(part)
            return connection.keeps
        finally:
            self.ended.set()


async def test_an_answer_may_take_its_time_and_the_connection_goes_on(self_sent, wire):
    """Each part goes out when it is written; the next request waits for the last of them."""
    answer = Parts()
    async with self_sent(answer) as server, wire(server) as client:
        for _ in range(2):
            client.ask('GET /')
            for part in (b'HTTP/1.1 200 OK\r\nContent-Length: 2\r\n\r\n', b'a', b'b'):
                answer.parts.put_nowait(part)
                assert part == await client.reader.readexactly(len(part))
            answer.parts.put_nowait(None)


@pytest.mark.parametrize('begun', [False, True])
async def test_a_mistake_is_a_500_or_breaks_off(self_sent, wire, caplog, begun):
    """It is logged and told in any case."""
    told, answer = [], Parts()
    head = b'HTTP/1.1 200 OK\r\nContent-Length: 2\r\n\r\n'
    async with (
        self_sent(answer, on_error=lambda error, request: told.append(str(error))) as server,
        wire(server) as client,
    ):
        client.ask('GET /')
        if begun:
            answer.parts.put_nowait(head)
        answer.parts.put_nowait(ConnectionError('oops'))
        if begun:
            assert head == await client.rest()
        else:
            assert 500 == (await client.answer())[0]
        assert (1, ['oops']) == (server.stats['errors'], told)
    assert ['GET / failed'] == [record.getMessage() for record in caplog.records]


async def test_who_leaves_ends_its_answer(self_sent, wire, caplog):
    """It is cancelled where it waits, and no mistake; the access log has it all the same."""
    answer, logged = Parts(), asyncio.Queue()
    log = lambda request, response: logged.put_nowait(response.status)  # noqa: E731
    async with self_sent(answer, access_log=log) as server:
        async with wire(server) as client:
            client.ask('GET /')
            answer.parts.put_nowait(b'HTTP/1.1 200 OK\r\n')
            await client.reader.readline()
        await answer.ended.wait()
        assert 200 == await logged.get()
    assert [] == caplog.records


async def test_a_server_that_closes_ends_its_answers(self_sent, wire, until):
    """They have the same time as callbacks."""
    answer = Parts()
    async with self_sent(answer) as server, wire(server) as client:
        client.ask('GET /')
        await until(lambda: server.stats['in_flight'])
        await server.close(grace=0)
        assert answer.ended.is_set()
        assert b'' == await client.rest()


class Lost:
    """Writes to a connection that has just been lost."""

    status = 200

    async def send(self, connection):
        connection.transport.abort()
        await connection.write(b'x')


async def test_a_write_to_who_has_left_is_no_mistake(self_sent, wire, caplog):
    """Nobody is told, whether anything was sent or not."""
    async with self_sent(Lost()) as server, wire(server) as client:
        client.ask('GET /')
        assert b'' == await client.rest()
        assert 0 == server.stats['errors']
    assert [] == caplog.records


async def test_a_body_may_flow(wire):
    """tests/test_streaming.py has the rest."""
    callback = lambda request: {'status': 200, 'body': iter(['a', 'b'])}  # noqa: E731
    async with http.listen('127.0.0.1', 0, callback) as server, wire(server) as client:
        client.ask('GET /', 'Connection: close')
        assert (await client.rest()).endswith(b'1\r\na\r\n1\r\nb\r\n0\r\n\r\n')


async def test_a_body_may_be_a_file(wire, tmp_path):
    """tests/test_paths.py has the rest."""
    (tmp_path / 'a').write_bytes(b'ab')
    callback = lambda request: {'status': 200, 'body': tmp_path / 'a'}  # noqa: E731
    async with http.listen('127.0.0.1', 0, callback) as server, wire(server) as client:
        client.ask('GET /')
        assert b'ab' == (await client.answer())[2]


async def test_an_answer_may_be_a_websocket():
    """Its mistakes are those of a callback; a client that asks for none is told so."""
    told = []

    async def chat(socket):
        raise KeyError('of the function')

    async with (
        http.listen(
            '127.0.0.1',
            0,
            lambda request: {'websocket': chat},
            on_error=lambda error, request: told.append(repr(error)),
        ) as server,
        http.websocket(url=server.url) as socket,
    ):
        assert [] == [message async for message in socket]
        assert 426 == (await http.request(url=server.url)).status
    assert ["KeyError('of the function')"] == told


async def test_a_body_may_be_a_stream_and_what_is_wrong_with_it_is_no_mistake(wire, caplog):
    """tests/test_flowing.py has the rest."""

    async def callback(request):
        return {'status': 200, 'body': await request.body.read()}

    options = {'into': lambda request: 'stream', 'max_body': lambda request: 1}
    async with http.listen('127.0.0.1', 0, callback, **options) as server, wire(server) as client:
        client.ask('POST /', 'Transfer-Encoding: chunked', body=b'1\r\na\r\n0\r\n\r\n')
        assert b'a' == (await client.answer())[2]
        client.ask('POST /', 'Transfer-Encoding: chunked', body=b'2\r\nab\r\n0\r\n\r\n')
        assert 413 == (await client.answer())[0]
        assert 0 == server.stats['errors']
    assert [] == caplog.records


@pytest.mark.parametrize('into', ['text', 'bytes', 'stream'])
async def test_a_form_is_read_or_refused(wire, caplog, into):
    """By the callback, from any body; what is no form is a 400, and too large a one a 413."""

    async def callback(request):
        return {'status': 200, 'json': dict(await request.form(max_fields=1))}

    kind = 'Content-Type: application/x-www-form-urlencoded'
    async with http.listen('127.0.0.1', 0, callback, into=into) as server:
        for body, field, status in [
            *((b'a=b', kind, 200), (b'a=b&c=d', kind, 413), (b'a=b', 'Content-Type: a/b', 400))
        ]:
            async with wire(server) as client:
                client.ask('POST /', field, f'Content-Length: {len(body)}', body=body)
                assert status == (await client.answer())[0]
        assert 0 == server.stats['errors']
    assert [] == caplog.records
