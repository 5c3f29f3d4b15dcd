"""One request and its response on a server connection, from the head to WebSockets."""

import asyncio
import contextlib
import gzip
import json
import logging
import socket
import ssl
import tracemalloc
import zlib
from collections.abc import Mapping
from contextlib import asynccontextmanager
from contextvars import ContextVar
from types import SimpleNamespace

import pytest
import websockets
from aiohttp import web
from aiohttp.http_writer import StreamWriter
from aiohttp.streams import StreamReader

import aioluahttp as http
from aioluahttp.bodies.encoders import CompressedChunks
from aioluahttp.errors import TableError
from aioluahttp.exchange.response import reset_connection
from aioluahttp.headers import is_checked, to_headers
from aioluahttp.server.exchange import SocketExchange
from aioluahttp.websockets import connection

both_ways = pytest.mark.usefixtures('both_ways')

VARIABLE = ContextVar('VARIABLE', default='unset')


class FailingMapping(Mapping):
    """A mapping that fails when it is read."""

    def __getitem__(self, key):
        raise OSError('no key')

    def __iter__(self):
        raise OSError('no keys')

    def __len__(self):
        return 1


def raising(error):
    """Return a callback that raises an exception."""

    async def callback(request):
        raise error

    return callback


def raising_plainly(request):
    """Raise StopIteration from a plain function."""
    raise StopIteration(3)


async def cancelled(request):
    """Await a future that is cancelled, so that CancelledError escapes."""
    future = asyncio.get_running_loop().create_future()
    future.cancel()
    await future


def clearing(request):
    """Clear the request, and fail."""
    request.clear()
    raise KeyError('x')


def spoiling(request):
    """Return a response that was made invalid after it was checked."""
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
    (raising_plainly, RuntimeError),
    (cancelled, RuntimeError),
    (clearing, KeyError),
    (spoiling, TableError),
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
    (lambda request: FailingMapping(), OSError),
]


@both_ways
@pytest.mark.parametrize(('callback', 'kind'), MISTAKES)
async def test_a_mistake_is_a_500_and_is_told(wire, caplog, callback, kind):
    """It is logged once with its traceback and passed to ``on_error``; the connection is kept."""
    told = []

    def handler(request):
        return {'status': 204} if request.path == '/well' else callback(request)

    def on_error(error, request):
        told.append((error, request.path))

    async with http.listen('127.0.0.1', 0, handler, on_error) as server, wire(server) as client:
        client.send_request('GET /ill?secret')
        status, headers, body = await client.read_response()
        assert (500, b'Internal Server Error', None) == (status, body, headers.get('Connection'))
        client.send_request('GET /well')
        assert 204 == (await client.read_response())[0]
    [(error, path)] = told
    assert (kind, None if callback is clearing else '/ill') == (type(error), path)
    [record] = caplog.records
    assert ('ERROR', 'GET /ill failed') == (record.levelname, record.getMessage())
    assert (error, error.__traceback__) == record.exc_info[1:]


async def async_on_error(error, request):
    """Fail after one turn of the loop."""
    await asyncio.sleep(0)
    raise OSError('in on_error')


class Chunks:
    """An iterator that records whether it was closed."""

    closed = False

    def __aiter__(self):
        return self

    async def __anext__(self):
        return b'x'

    async def aclose(self):
        self.closed = True


@both_ways
@pytest.mark.parametrize('wrong', [{'status': 99}, {}, {'status': 200, 'headers': {'a': '\n'}}])
@pytest.mark.parametrize('key', ['body', 'events'])
async def test_the_iterator_of_an_invalid_table_is_closed(wire, key, wrong):
    """The response is a 500, so nothing else would close it."""
    chunks = Chunks()

    def callback(request):
        return {**wrong, key: chunks}

    async with http.listen('127.0.0.1', 0, callback) as server, wire(server) as client:
        client.send_request('GET /')
        assert 500 == (await client.read_response())[0]
        assert chunks.closed


def plain_on_error(error, request):
    """Fail at once."""
    raise OSError('in on_error')


@both_ways
@pytest.mark.parametrize(
    'on_error',
    [async_on_error, plain_on_error, raising, cancelled, lambda error, request: cancelled(request)],
)
async def test_an_on_error_that_fails_is_logged(wire, caplog, on_error):
    """After the error itself; the response is still a 500."""
    callback = raising(ValueError('oops'))
    async with http.listen('127.0.0.1', 0, callback, on_error) as server, wire(server) as client:
        for _ in range(2):
            client.send_request('GET /')
            assert 500 == (await client.read_response())[0]
    expected = ['GET / failed', 'on_error failed'] * 2
    assert expected == [record.getMessage() for record in caplog.records]


@both_ways
async def test_an_async_on_error_is_awaited(wire):
    """It has ended before the response is sent."""
    told = []

    async def on_error(error, request):
        await asyncio.sleep(0)
        told.append((str(error), request.path))

    callback = raising(ValueError('oops'))
    async with http.listen('127.0.0.1', 0, callback, on_error) as server, wire(server) as client:
        client.send_request('GET /x')
        await client.read_response()
        assert [('oops', '/x')] == told


@both_ways
@pytest.mark.parametrize(
    'response',
    [
        {'status': 200, 'body': 'x'},
        http.Response(status=200, body='x'),
        http.to_response({'status': 200, 'body': 'x'}),
    ],
)
@pytest.mark.parametrize('kind', ['plain', 'async', 'future', 'object'])
async def test_every_kind_of_callable_can_be_a_callback(wire, response, kind):
    """A plain function, a coroutine function, one that returns a future, and an object."""

    async def asynchronous(request):
        await asyncio.sleep(0)
        return response

    class Callable:
        async def __call__(self, request):
            return response

    callback = {
        'plain': lambda request: response,
        'async': asynchronous,
        'future': lambda request: asyncio.ensure_future(asynchronous(request)),
        'object': Callable(),
    }[kind]
    async with http.listen('127.0.0.1', 0, callback) as server, wire(server) as client:
        client.send_request('GET /')
        assert (200, b'x') == (await client.read_response())[::2]


@both_ways
async def test_a_table_of_the_callback_is_not_changed(wire):
    """Headers added to the response appear neither in a returned dict nor in a Response."""
    tables = [{'status': 200, 'headers': {'X': '1'}, 'body': 'x'}]
    tables.append(http.to_response(tables[0]))
    before = [dict(table) for table in tables]
    for table in tables:
        async with (
            http.listen('127.0.0.1', 0, lambda _, table=table: table) as server,
            wire(server) as client,
        ):
            client.send_request('GET /')
            assert 'Content-Type' in (await client.read_response())[1]
    assert before == tables
    assert ['X'] == list(tables[1].headers)


@both_ways
async def test_a_callback_that_takes_too_long_is_a_504(wire, caplog):
    """It is cancelled after ``handler_timeout``; nothing is logged, and the connection is kept."""
    ended = []

    async def callback(request):
        try:
            await asyncio.Event().wait()
        finally:
            ended.append(request.path)

    listening = http.listen('127.0.0.1', 0, callback, handler_timeout=0.01)
    async with listening as server, wire(server) as client:
        for path in '/1', '/2':
            client.send_request(f'GET {path}')
            status, headers, body = await client.read_response()
            assert (504, b'Gateway Timeout', None) == (status, body, headers.get('Connection'))
    assert (['/1', '/2'], []) == (ended, caplog.records)


@both_ways
async def test_a_timeout_error_of_the_callback_is_a_500(wire, caplog):
    """Also if there is a ``handler_timeout``."""
    callback = raising(TimeoutError('mine'))
    async with (
        http.listen('127.0.0.1', 0, callback, handler_timeout=60) as server,
        wire(server) as client,
    ):
        client.send_request('GET /')
        assert 500 == (await client.read_response())[0]
    assert ['GET / failed'] == [record.getMessage() for record in caplog.records]


@both_ways
async def test_each_request_has_a_task_and_a_context_of_its_own(wire):
    """A ContextVar that one request sets is unset for the next on the same connection."""
    seen, tasks = [], []

    async def callback(request):
        seen.append(VARIABLE.get())
        tasks.append(asyncio.current_task())
        VARIABLE.set(request.path)
        return {'status': 200}

    VARIABLE.set('of listen')
    async with http.listen('127.0.0.1', 0, callback) as server, wire(server) as client:
        for _ in range(3):
            client.send_request('GET /')
            await client.read_response()
    assert (1, 3) == (len(set(seen)), len(set(tasks)))


@both_ways
@pytest.mark.parametrize('line', ['GET nowhere', 'POST /'])
async def test_an_invalid_request_does_not_reach_the_callback(wire, line):
    """Neither callback nor ``on_error`` is called; the connection closes."""
    calls = []
    listening = http.listen('127.0.0.1', 0, calls.append, calls.append, into='json')
    async with listening as server, wire(server) as client:
        client.send_request(line, 'Content-Length: 1', body=b'{')
        assert 400 == (await client.read_response())[0]
        assert (b'', []) == (await client.rest(), calls)


async def test_every_header_that_is_received_can_be_sent_on(wire):
    """The parser accepts none that ``to_headers`` refuses or changes, so it need not check them."""
    octets = [bytes([octet]) for octet in range(256)]
    values = [b'a' + octet + b'b' for octet in octets] + [octet + b'a' + octet for octet in octets]
    lines = [b'A: ' + value for value in [b'', b'\xed\xa0\x80', b'\xc3\xa9', *values]]
    lines += [b'a' + octet + b'b: c' for octet in octets]
    received = []

    async def callback(request):
        received.append(request['headers'])
        return {'status': 200}

    async with http.listen('127.0.0.1', 0, callback) as server:
        for line in lines:
            async with wire(server) as client:
                client.send(b'GET / HTTP/1.1\r\nHost: h\r\n' + line + b'\r\n\r\n')
                await client.read_response()
    assert 500 < len(received) < len(lines)
    for headers in received:
        assert is_checked(headers)
        assert [*headers.items()] == [*to_headers([*headers.items()]).items()]


@both_ways
async def test_server_header_is_sent_with_every_response(wire):
    """Also with a response to an error of the callback."""
    listening = http.listen('127.0.0.1', 0, lambda request: None, server_header='we')
    async with listening as server, wire(server) as client:
        client.send_request('GET /')
        assert 'we' == (await client.read_response())[1]['Server']


@both_ways
async def test_pipelined_requests_get_responses_in_order(wire):
    """One after the other, each with its own body."""
    running = []

    async def callback(request):
        running.append(request.path)
        await asyncio.sleep(0)
        assert [request.path] == running
        running.clear()
        return {'status': 200, 'body': request.path + (request.body or '')}

    async with http.listen('127.0.0.1', 0, callback) as server, wire(server) as client:
        client.send_request('GET /1')
        client.send_request('POST /2', 'Content-Length: 1', body=b'b')
        client.send_request('GET /3', 'Connection: close')
        responses = [await client.read_response() for _ in range(3)]
        assert [b'/1', b'/2b', b'/3'] == [body for _, _, body in responses]
        assert b'' == await client.rest()


@both_ways
async def test_requests_on_different_connections_run_concurrently(wire):
    """A waiting callback does not delay another connection."""
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
            client.send_request('GET /')
        assert [200, 200] == [(await client.read_response())[0] for client in (one, other)]


@both_ways
async def test_a_client_that_leaves_does_not_end_its_callback(wire, caplog):
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
            client.send_request('GET /held')
            await called.wait()
        async with wire(server) as other:  # its response shows that the server noticed it
            other.send_request('GET /')
            await other.read_response()
        left.set()
        await ended.wait()
    assert [] == [record for record in caplog.records if record.levelno >= logging.WARNING]


@both_ways
@pytest.mark.parametrize('unix', [False, True])
async def test_an_access_logger_gets_a_line_for_each_response(wire, caplog, tmp_path, unix):
    """Address, request line and status; changes of the callback to its table do not count."""
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
        client.send_request('GET http://elsewhere/x?y')
        await client.read_response()
    expected = f'{"-" if unix else "127.0.0.1"} "GET /x?y HTTP/1.1" 404 0 '
    (line,) = [record.getMessage() for record in caplog.records if record.name == 'access']
    assert line.startswith(expected)


@both_ways
async def test_a_callable_access_log_gets_request_and_response(wire):
    """Also after an error of the callback."""
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
            client.send_request(f'GET {path}')
            await client.read_response()
    assert [('/x', 201), ('/y', 500)] == seen


@both_ways
async def test_an_access_log_that_fails_is_logged(wire, caplog):
    """The response is sent."""
    listening = http.listen(
        '127.0.0.1', 0, lambda request: {'status': 200}, access_log=lambda request: None
    )
    async with listening as server, wire(server) as client:
        client.send_request('GET /')
        assert 200 == (await client.read_response())[0]
    assert ['access_log failed'] == [record.getMessage() for record in caplog.records]


@both_ways
@pytest.mark.parametrize('kind', ['logger', 'function'])
async def test_a_client_that_has_left_is_in_the_access_log(wire, caplog, kind):
    """With the response that it did not read; that is no error of the handler."""
    caplog.set_level(logging.INFO)
    arrived, left, logged = asyncio.Event(), asyncio.Event(), asyncio.Queue()
    log = logging.getLogger('access')
    log.addHandler(handler := logging.Handler())
    handler.emit = lambda record: logged.put_nowait((record.status, record.bytes))

    def note(request, response):
        logged.put_nowait((response['record']['status'], response['record']['bytes']))

    async def callback(request):
        if request.path == '/2':
            return {'status': 204}
        arrived.set()
        await left.wait()
        return {'status': 200, 'body': 'abc'}

    options = {'access_log': log if kind == 'logger' else note}
    try:
        async with http.listen('127.0.0.1', 0, callback, **options) as server:
            async with wire(server) as client:
                client.send_request('GET /')
                await arrived.wait()
                reset_connection(client.writer.transport)
            async with wire(server) as client:  # a round trip, in which the server sees the reset
                client.send_request('GET /2')
                await client.read_response()
            assert (204, 0) == await logged.get()
            left.set()
            assert (200, 3) == await logged.get()
        assert 0 == server.stats['errors']
    finally:
        log.removeHandler(handler)


@both_ways
async def test_an_access_log_may_be_a_coroutine_function(wire):
    """It is awaited, as ``on_error`` is."""
    seen = []

    async def log(request, response):
        await asyncio.sleep(0)
        seen.append((request.path, response.status))

    async with (
        http.listen('127.0.0.1', 0, lambda request: {'status': 204}, access_log=log) as server,
        wire(server) as client,
    ):
        client.send_request('GET /x')
        await client.read_response()
    assert [('/x', 204)] == seen


@both_ways
@pytest.mark.parametrize('kind', [type('Odd', (BaseException,), {}), pytest.fail.Exception])
async def test_a_base_exception_is_a_500_too(wire, caplog, kind):
    """Such as that of a failing test: it is logged and passed to ``on_error``."""
    told = []

    def callback(request):
        raise kind('x')

    async with (
        http.listen('127.0.0.1', 0, callback, lambda error, request: told.append(error)) as server,
        wire(server) as client,
    ):
        client.send_request('GET /')
        status, *_ = await client.read_response()
    assert (500, [kind]) == (status, [type(error.__cause__) for error in told])
    assert ['GET / failed'] == [record.getMessage() for record in caplog.records]


class Gate:
    """A callback that responds once its gate is opened, and counts how many calls wait."""

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


@both_ways
async def test_too_many_at_once_are_sent_away(wire):
    """Above ``max_concurrent``: a 503 with Retry-After at once; the connection is kept."""
    gate, calls = Gate(), []
    listening = http.listen(
        '127.0.0.1', 0, gate, lambda *both: calls.append(both), max_concurrent=1
    )
    async with listening as server, wire(server) as first, wire(server) as second:
        first.send_request('GET /1')
        await gate.arrived.wait()
        for line, body in ('GET /2', b''), ('POST /2', b'abc'):
            second.send_request(line, f'Content-Length: {len(body)}', body=body)
            status, headers, text = await second.read_response()
            assert (503, b'Service Unavailable') == (status, text)
            assert ('1', None) == (headers['Retry-After'], headers.get('Connection'))
        assert 1 == server.stats['in_flight']
        gate.opened.set()
        assert b'/1' == (await first.read_response())[2]
        second.send_request('GET /2')
        assert (200, b'/2') == (await second.read_response())[::2]
        assert (1, [], 0) == (gate.most, calls, server.stats['errors'])


@both_ways
async def test_a_503_does_not_ask_for_the_body(wire):
    """There is no 100 (Continue); the connection closes, since the body may still come."""
    gate = Gate()
    listening = http.listen('127.0.0.1', 0, gate, max_concurrent=1)
    async with listening as server, wire(server) as first, wire(server) as second:
        first.send_request('GET /1')
        await gate.arrived.wait()
        second.send_request('POST /2', 'Content-Length: 9', 'Expect: 100-continue')
        status, headers, _ = await second.read_response()
        assert (503, '1', 'close') == (status, headers['Retry-After'], headers['Connection'])
        gate.opened.set()


@both_ways
async def test_max_concurrent_counts_when_the_body_has_come(wire):
    """Another request may have started while the body was read."""
    gate = Gate()
    listening = http.listen('127.0.0.1', 0, gate, max_concurrent=1)
    async with listening as server, wire(server) as first, wire(server) as second:
        second.send_request('POST /2', 'Content-Length: 3', 'Expect: 100-continue')
        assert b'HTTP/1.1 100 Continue\r\n\r\n' == await second.reader.readexactly(25)
        first.send_request('GET /1')
        await gate.arrived.wait()
        second.send(b'abc')
        status, headers, _ = await second.read_response()
        assert (503, '1', None) == (status, headers['Retry-After'], headers.get('Connection'))
        gate.opened.set()
        assert 200 == (await first.read_response())[0]
    assert 1 == gate.most


@both_ways
@pytest.mark.parametrize('callback', [raising(ValueError()), raising(TimeoutError()), cancelled])
async def test_a_callback_that_fails_no_longer_counts_as_concurrent(wire, callback):
    """However it ends, also by ``handler_timeout``."""
    options = {'max_concurrent': 1, 'handler_timeout': 0.05}

    async def handler(request):
        if request.path == '/late':
            await asyncio.Event().wait()
        return await callback(request)

    async with http.listen('127.0.0.1', 0, handler, **options) as server, wire(server) as client:
        for path, expected in ('/', 500), ('/late', 504), ('/', 500):
            client.send_request(f'GET {path}')
            assert expected == (await client.read_response())[0]


@both_ways
async def test_a_cancelled_callback_leaves_nothing_in_flight(wire):
    """With ``cancel_on_disconnect`` ``on_error`` is not called, and the next request can start."""
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
            client.send_request('GET /')
            await called.wait()
        async with wire(server) as client:
            status = 503
            while status == 503:  # until the server notices that the first has left
                client.send_request('GET /next')
                status, *_ = await client.read_response()
        assert (204, [], 0) == (status, told, server.stats['errors'])


@both_ways
async def test_a_stream_for_a_client_that_has_left_is_closed(wire, until):
    """Also if the client left before the callback returned the stream, which has no part yet."""
    called, left, closed = asyncio.Event(), asyncio.Event(), asyncio.Event()

    class Body:
        def __aiter__(self):
            return self

        async def __anext__(self):
            await asyncio.Event().wait()

        async def aclose(self):
            closed.set()

    async def callback(request):
        called.set()
        await left.wait()
        return {'status': 200, 'body': Body()}

    async with http.listen('127.0.0.1', 0, callback) as server:
        async with wire(server) as client:
            client.send_request('GET /')
            await called.wait()
            client.reset()
        await until(lambda: not server.stats['connections'])
        left.set()
        await closed.wait()
        await until(lambda: not server.stats['in_flight'])


@both_ways
async def test_refused_requests_are_in_the_access_log(wire, caplog):
    """If their head is valid. One line each, and no error of the callback is counted."""
    caplog.set_level(logging.INFO)
    log = logging.getLogger('access')
    gate, options = Gate(), {'max_body': 2, 'max_concurrent': 1, 'access_log': log}
    async with http.listen('127.0.0.1', 0, gate, **options) as server, wire(server) as first:
        first.send_request('GET /1')
        await gate.arrived.wait()
        async with wire(server) as client:
            client.send_request('GET /2')
            assert 503 == (await client.read_response())[0]
        gate.opened.set()
        await first.read_response()
        async with wire(server) as client:
            client.send_request('POST /3', 'Content-Length: 3')
            assert 413 == (await client.read_response())[0]
        async with wire(server) as client:
            client.send_request('CONNECT h:80')
            assert 501 == (await client.read_response())[0]
    expected = [
        ('access', logging.INFO, '127.0.0.1 "GET /2 HTTP/1.1" 503'),
        ('access', logging.INFO, '127.0.0.1 "GET /1 HTTP/1.1" 200'),
        ('access', logging.INFO, '127.0.0.1 "POST /3 HTTP/1.1" 413'),
        ('aioluahttp', logging.INFO, 'bad request from 127.0.0.1: 501'),
    ]
    seen = [one for one in caplog.record_tuples if one[0] != 'asyncio']
    for (*right, start), (*got, text) in zip(expected, seen, strict=True):
        assert (right, True) == (got, text.startswith(start))


@both_ways
async def test_the_access_log_names_the_client_and_not_its_proxy(wire, caplog):
    """If the proxy is trusted."""
    caplog.set_level(logging.INFO, 'access')
    options = {'access_log': logging.getLogger('access'), 'trusted_proxies': ['127.0.0.1']}
    callback = raising(ValueError())
    async with http.listen('127.0.0.1', 0, callback, **options) as server, wire(server) as client:
        client.send_request('GET /', 'Forwarded: for="[2001:db8::1]:80"')
        await client.read_response()
    (line,) = [record for record in caplog.records if record.name == 'access']
    assert ('2001:db8::1', 500) == (line.ip, line.status)


@both_ways
async def test_a_body_that_comes_too_slowly_is_a_408(wire, caplog):
    """``body_timeout`` counts from one part to the next; the callback does not see the request."""
    calls = []
    options = {'body_timeout': 0.05}
    listening = http.listen('127.0.0.1', 0, calls.append, **options)
    async with listening as server, wire(server) as client:
        client.send_request('POST /', 'Content-Length: 3', body=b'a')
        status, headers, _ = await client.read_response()
        assert (408, 'close', b'') == (status, headers['Connection'], await client.rest())
    assert ([], []) == (calls, [r for r in caplog.records if r.levelno >= logging.WARNING])


@both_ways
async def test_a_body_may_be_an_iterator(wire):
    """The tests of streamed bodies are further down."""
    callback = lambda request: {'status': 200, 'body': iter(['a', 'b'])}  # noqa: E731
    async with http.listen('127.0.0.1', 0, callback) as server, wire(server) as client:
        client.send_request('GET /', 'Connection: close')
        assert (await client.rest()).endswith(b'1\r\na\r\n1\r\nb\r\n0\r\n\r\n')


@both_ways
async def test_a_body_may_be_a_file(wire, tmp_path):
    """test_sendfile.py has the other tests of files."""
    (tmp_path / 'a').write_bytes(b'ab')
    callback = lambda request: {'status': 200, 'body': tmp_path / 'a'}  # noqa: E731
    async with http.listen('127.0.0.1', 0, callback) as server, wire(server) as client:
        client.send_request('GET /')
        assert b'ab' == (await client.read_response())[2]


@both_ways
async def test_a_response_may_be_a_websocket():
    """Its errors are those of a callback; a client without a handshake gets a 426."""
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


@both_ways
async def test_an_error_of_a_streamed_request_body_is_not_one_of_the_callback(wire, caplog):
    """It is the client's, and a 413 here."""

    async def callback(request):
        return {'status': 200, 'body': await request.body.read()}

    options = {'into': lambda request: 'stream', 'max_body': lambda request: 1}
    async with http.listen('127.0.0.1', 0, callback, **options) as server, wire(server) as client:
        client.send_request('POST /', 'Transfer-Encoding: chunked', body=b'1\r\na\r\n0\r\n\r\n')
        assert b'a' == (await client.read_response())[2]
        client.send_request('POST /', 'Transfer-Encoding: chunked', body=b'2\r\nab\r\n0\r\n\r\n')
        assert 413 == (await client.read_response())[0]
        assert 0 == server.stats['errors']
    assert [] == caplog.records


@both_ways
@pytest.mark.parametrize('into', ['text', 'bytes', 'stream'])
async def test_a_form_is_read_or_refused(wire, caplog, into):
    """By the callback, from any body; another type is a 400, and too many fields are a 413."""

    async def callback(request):
        return {'status': 200, 'json': dict(await request.form(max_fields=1))}

    kind = 'Content-Type: application/x-www-form-urlencoded'
    async with http.listen('127.0.0.1', 0, callback, into=into) as server:
        for body, field, status in [
            *((b'a=b', kind, 200), (b'a=b&c=d', kind, 413), (b'a=b', 'Content-Type: a/b', 400))
        ]:
            async with wire(server) as client:
                client.send_request('POST /', field, f'Content-Length: {len(body)}', body=body)
                assert status == (await client.read_response())[0]
        assert 0 == server.stats['errors']
    assert [] == caplog.records


MANY = b'0' * 100_000


@asynccontextmanager
async def recording(**options):
    """Listen with a callback that records its requests; give the server and the requests."""
    seen = []

    def callback(request):
        seen.append(request)
        return {'status': 200}

    async with http.listen(*options.pop('at', ('127.0.0.1', 0)), callback, **options) as server:
        yield server, seen


def post(body, *fields):
    """Return the arguments of a POST with a Content-Length."""
    return ('POST /', f'Content-Length: {len(body)}', *fields), body


@pytest.fixture
def received(wire):
    """Send bytes, and return the table that the callback got."""

    async def send(data, **options):
        async with recording(**options) as (server, seen), wire(server) as client:
            client.send(data)
            assert 200 == (await client.read_response())[0]
        return seen[0]

    return send


@pytest.mark.parametrize(
    ('function', 'expected'),
    [
        (StreamReader.at_eof, ['self']),
        (StreamReader.feed_eof, ['self']),
        (StreamReader.read_nowait, ['self', 'n']),
        (StreamReader.readany, ['self']),
        (StreamWriter.write, ['self', 'chunk']),
    ],
    ids=lambda value: getattr(value, '__qualname__', ''),
)
def test_aiohttp_takes_the_same_arguments(parameters, function, expected):
    """The methods of aiohttp that we override or call still have these parameters."""
    name = function.__qualname__
    assert expected == parameters(function), f'aiohttp: {name} takes other arguments now'


async def test_a_request_has_every_key(wire):
    """Each documented key and no other; a GET without a body has no body."""
    async with recording() as (server, seen), wire(server) as client:
        client.send_request('GET /a%2Fb?x=1&y', 'X: 1', 'x: 2')
        await client.read_response()
    expected = {
        'method': 'GET',
        'url': '/a%2Fb?x=1&y',
        'scheme': 'http',
        'host': 'h',
        'port': 80,
        'path': '/a%2Fb',
        'query': 'x=1&y',
        'headers': http.Headers([('Host', 'h'), ('X', '1'), ('x', '2')]),
        'version': '1.1',
        'ip': '127.0.0.1',
    }
    assert [expected] == seen
    assert (http.Request, http.Headers) == (type(seen[0]), type(seen[0].headers))


@pytest.mark.parametrize(
    ('target', 'path', 'query'),
    [
        ('/', '/', ''),
        ('/?', '/', ''),
        ('/?a?b', '/', 'a?b'),
        ("/%41/../%2e/é'()%zz?%41+%20", None, None),
        ("/%41/../%2e/'()%zz;a=b,c?%41+%20=/?", "/%41/../%2e/'()%zz;a=b,c", '%41+%20=/?'),
        ('//x/y', '//x/y', ''),
        ('//user@elsewhere:1/y?z', '//user@elsewhere:1/y', 'z'),
        ('/http://elsewhere/', '/http://elsewhere/', ''),
    ],
)
async def test_the_target_stays_byte_for_byte(wire, target, path, query):
    """``url`` is the target as sent; path and query are its parts, not decoded or normalised."""
    async with recording() as (server, seen), wire(server) as client:
        client.send_request('GET ' + target)
        status, _, _ = await client.read_response()
    if path is None:  # the C parser refuses non-ASCII, the Python parser accepts it
        assert status == 400 or [target] == [table.url for table in seen]
    else:
        assert [(target, path, query, 'h')] == [(t.url, t.path, t.query, t.host) for t in seen]


@pytest.mark.parametrize(
    ('target', 'url', 'name', 'host', 'port'),
    [
        ('http://elsewhere/x?y', '/x?y', 'elsewhere', 'elsewhere', 80),
        ('http://elsewhere', '/', 'elsewhere', 'elsewhere', 80),
        ('http://elsewhere:81?y', '/?y', 'elsewhere:81', 'elsewhere', 81),
        ('HTTPS://user:p@ElseWhere:/x?', '/x?', 'ElseWhere', 'elsewhere', 80),
        ('http://[::1]:82//y', '//y', '[::1]:82', '::1', 82),
    ],
)
async def test_an_absolute_target_is_reduced_to_origin_form(wire, target, url, name, host, port):
    """Path and query are left; the authority replaces Host (RFC 9112 3.2.2)."""
    async with recording() as (server, seen), wire(server) as client:
        client.send_request('GET ' + target)
        await client.read_response()
    [table] = seen
    assert (url, [name]) == (table.url, table.headers.getall('Host'))
    assert ('http', host, port) == (table.scheme, table.host, table.port)


async def test_options_may_have_the_target_asterisk(received):
    """``url`` and ``path`` are ``*``."""
    table = await received(b'OPTIONS * HTTP/1.1\r\nHost: h\r\n\r\n')
    assert ('*', '*', '') == (table.url, table.path, table.query)


@pytest.mark.parametrize(
    ('value', 'host', 'port'),
    [
        ('EXAMPLE.com', 'example.com', 80),
        ('example.com:', 'example.com', 80),
        ('1.2.3.4:5', '1.2.3.4', 5),
        ('[::1]', '::1', 80),
        ('[2001:DB8::0:1]:8080', '2001:db8::1', 8080),
        ('é.example', 'xn--9ca.example', 80),
    ],
)
async def test_host_and_port_are_those_of_the_host_header(received, value, host, port):
    """The name in lower case, an address without brackets, and the port as an int."""
    table = await received(f'GET / HTTP/1.1\r\nHost: {value}\r\n\r\n'.encode())
    assert (host, port, value) == (table.host, table.port, table.headers['host'])


@pytest.mark.parametrize('head', ['GET / HTTP/1.0', 'GET / HTTP/1.1\r\nHost:'])
async def test_without_host_the_table_has_the_address_of_the_socket(wire, head):
    """HTTP/1.0 needs no Host, and HTTP/1.1 allows an empty one."""
    async with recording() as (server, seen), wire(server) as client:
        client.send(f'{head}\r\n\r\n'.encode())
        await client.read_response()
    assert [('127.0.0.1', server.port)] == [(table.host, table.port) for table in seen]
    assert head[11:14] == seen[0].version


async def test_a_request_on_a_unix_socket_has_no_ip(wire, tmp_path):
    """Without Host, the host is localhost."""
    path = str(tmp_path / 's')
    async with recording(at=(None, None), unix=path) as (_, seen), wire(path=path) as client:
        client.send(b'GET / HTTP/1.0\r\n\r\n')
        await client.read_response()
    assert [('localhost', 80, None)] == [(table.host, table.port, table.ip) for table in seen]
    assert 'ip' not in seen[0]


@pytest.mark.parametrize(
    ('status', 'head'),
    [
        (400, 'GET / HTTP/1.1'),
        (400, 'GET / HTTP/1.1\r\nHost: a\r\nHost: a'),
        (400, 'GET http://e/ HTTP/1.1\r\nHost: a\r\nHost: b'),
        *[
            (400, f'GET / HTTP/1.1\r\nHost: {host}')
            for host in ['a b', 'a|b', 'a/b', 'a?b', 'u@a', 'a:x', 'a:0', 'a:70000', '[::1', '::1']
        ],
        (400, 'GET http://a:0/ HTTP/1.1\r\nHost: a'),
        (400, 'GET http://a|b/ HTTP/1.1\r\nHost: a'),
        (400, 'GET http:/// HTTP/1.1\r\nHost: a'),
        (400, 'GET ftp://a/ HTTP/1.1\r\nHost: a'),
        (400, 'GET mailto:a HTTP/1.1\r\nHost: a'),
        (400, 'GET a HTTP/1.1\r\nHost: a'),
        (400, 'GET * HTTP/1.1\r\nHost: a'),
        (400, 'GET /a#b HTTP/1.1\r\nHost: a'),
        (400, 'GET http://a/#b HTTP/1.1\r\nHost: a'),
        (501, 'CONNECT a:80 HTTP/1.1\r\nHost: a:80'),
        (505, 'GET / HTTP/2.0\r\nHost: a'),
        (505, 'GET / HTTP/0.9\r\nHost: a'),
        (501, 'POST / HTTP/1.1\r\nHost: a\r\nTransfer-Encoding: gzip, chunked'),
    ],
)
async def test_an_invalid_head_is_refused(wire, status, head):
    """The callback does not see it; the response repeats nothing and closes the connection."""
    async with recording() as (server, seen), wire(server) as client:
        client.send(f'{head}\r\n\r\n'.encode())
        found, headers, body = await client.read_response()
    assert (status, 'close', []) == (found, headers['Connection'], seen)
    assert body in (b'Bad Request', b'Not Implemented', b'HTTP Version Not Supported')


@pytest.mark.parametrize(
    ('request_line', 'fields', 'body', 'expected'),
    [
        ('GET', [], b'', None),
        ('DELETE', [], b'', None),
        ('POST', [], b'', ''),
        ('GET', ['Content-Length: 0'], b'', ''),
        ('GET', ['Content-Length: 2'], b'ab', 'ab'),
        (
            'PUT',
            ['Transfer-Encoding: Chunked'],
            b'1;x=y\r\na\r\n2\r\nbc\r\n0\r\nT: 1\r\n\r\n',
            'abc',
        ),
    ],
)
async def test_body_is_in_the_table_if_it_was_announced(wire, request_line, fields, body, expected):
    """And always for POST; otherwise the key is absent."""
    async with recording() as (server, seen), wire(server) as client:
        client.send_request(f'{request_line} /', *fields, body=body)
        await client.read_response()
    assert (expected, expected is not None) == (seen[0].body, 'body' in seen[0])


@pytest.mark.parametrize(
    ('into', 'kind', 'body', 'expected'),
    [
        ('text', 'text/plain', 'é€'.encode(), 'é€'),
        ('text', 'text/plain; charset=latin-1', b'\xe9', '\udce9'),
        ('text', 'text/plain; charset=iso-8859-1', b'\xe9', 'é'),
        ('text', 'text/plain', b'a\xff', 'a\udcff'),
        ('bytes', 'text/plain', b'\xff', b'\xff'),
        ('json', 'text/plain', b'{"a": [1, null]}', {'a': [1, None]}),
        ('json', 'application/json', b'', None),
    ],
)
async def test_the_body_becomes_what_into_says(wire, into, kind, body, expected):
    """Text by its charset, bytes as they are, or parsed JSON."""
    line, data = post(body, f'Content-Type: {kind}')
    async with recording(into=into) as (server, seen), wire(server) as client:
        client.send_request(*line, body=data)
        await client.read_response()
    assert expected == seen[0].body
    assert into == 'json' or body == seen[0].bytes()


@pytest.mark.parametrize(
    ('coding', 'data'),
    [
        ('gzip', gzip.compress(b'text', mtime=0)),
        ('X-GZIP', gzip.compress(b'te', mtime=0) + gzip.compress(b'xt', mtime=0)),
        ('deflate', zlib.compress(b'text')),
        ('deflate, gzip', gzip.compress(zlib.compress(b'text'), mtime=0)),
    ],
)
async def test_a_compressed_body_is_decompressed(wire, coding, data):
    """The headers that no longer describe it are removed; the others stay."""
    line, data = post(data, f'Content-Encoding: {coding}', 'Content-Type: text/plain')
    async with recording() as (server, seen), wire(server) as client:
        client.send_request(*line, body=data)
        await client.read_response()
    assert ('text', ['Host', 'Content-Type']) == (seen[0].body, list(seen[0].headers))


async def test_an_unknown_content_coding_is_left_alone(wire):
    """Bytes and headers are those of the client."""
    line, data = post(b'\x0b\x00', 'Content-Encoding: compress')
    async with recording(into='bytes') as (server, seen), wire(server) as client:
        client.send_request(*line, body=data)
        await client.read_response()
    assert (data, 'compress', '2') == (
        seen[0].body,
        seen[0].headers['Content-Encoding'],
        seen[0].headers['Content-Length'],
    )


@pytest.mark.parametrize(
    ('status', 'fields', 'body'),
    [
        (200, ['Content-Length: 10'], b'0123456789'),
        (413, ['Content-Length: 11'], b''),
        (413, ['Content-Length: 11', 'Expect: 100-continue'], b''),
        (413, ['Transfer-Encoding: chunked'], b'b\r\n01234567890\r\n'),
        (413, ['Transfer-Encoding: chunked'], b'b\r\n01234567890\r\n0\r\n\r\n'),
        (200, ['Transfer-Encoding: chunked'], b'a\r\n0123456789\r\n0\r\n\r\n'),
        (413, ['Content-Length: {}', 'Content-Encoding: gzip'], gzip.compress(MANY, mtime=0)),
        (200, ['Content-Length: {}', 'Content-Encoding: deflate'], zlib.compress(b'0' * 10)),
        (400, ['Content-Length: {}', 'Content-Encoding: gzip'], gzip.compress(b'0', mtime=0)[:-1]),
        (400, ['Content-Length: 2', 'Content-Encoding: gzip'], b'ab'),
        (400, ['Transfer-Encoding: chunked'], b'zz\r\n'),
        (400, ['Transfer-Encoding: chunked'], b'2\r\nabX'),
        (417, ['Content-Length: 2', 'Expect: 200-ok'], b''),
    ],
)
async def test_a_body_has_limits_and_must_be_whole(wire, caplog, status, fields, body):
    """``max_body`` counts decoded bytes; a broken body is a 400. Nothing is logged as an error."""
    fields = [field.format(len(body)) for field in fields]
    async with recording(max_body=10) as (server, seen), wire(server) as client:
        client.send_request('POST /', *fields, body=body)
        found, headers, _ = await client.read_response()
    assert (status, 1 if status == 200 else 0) == (found, len(seen))
    assert (None if status == 200 else 'close') == headers.get('Connection')
    assert [] == [record for record in caplog.records if record.levelno >= logging.WARNING]


async def test_max_body_of_none_is_no_limit(wire):
    """The default is 8 MiB."""
    big = b'0' * (8 * 1024 * 1024 + 1)
    line, data = post(gzip.compress(big, mtime=0), 'Content-Encoding: gzip')
    for limit, status in ({}, 413), ({'max_body': None}, 200):
        async with recording(**limit) as (server, _), wire(server) as client:
            client.send_request(*line, body=data)
            assert status == (await client.read_response())[0]


@pytest.mark.parametrize('body', [b'{', b'\xff', b'NaN,', b'[' * 100_000, b'1' * 5000])
async def test_an_invalid_json_body_is_a_400(wire, body):
    """With ``into='json'`` the callback is not called."""
    line, data = post(body)
    async with recording(into='json') as (server, seen), wire(server) as client:
        client.send_request(*line, body=data)
        assert (400, []) == ((await client.read_response())[0], seen)


async def test_expect_100_continue_gets_a_100_before_the_body_is_read(wire):
    """The response after the body is an ordinary one."""
    async with recording() as (server, seen), wire(server) as client:
        for _ in range(2):
            client.send_request('POST /', 'Content-Length: 2', 'Expect: 100-Continue')
            assert b'HTTP/1.1 100 Continue\r\n\r\n' == await client.reader.readexactly(25)
            client.send(b'ab')
            assert 200 == (await client.read_response())[0]
    assert ['ab', 'ab'] == [table.body for table in seen]


async def test_expect_100_continue_gets_no_100_if_the_body_has_come(wire):
    """A client may send the body without waiting."""
    async with recording() as (server, seen), wire(server) as client:
        client.send_request('POST /', 'Content-Length: 2', 'Expect: 100-continue', body=b'ab')
        assert 200 == (await client.read_response())[0]
    assert ['ab'] == [table.body for table in seen]


@pytest.mark.parametrize('whole', [True, False])
async def test_a_compressed_body_may_come_in_parts(wire, until, whole):
    """A body that breaks meanwhile is a 400, however much of it was there."""
    data = gzip.compress(b'abc', mtime=0)
    async with recording() as (server, seen), wire(server) as client:
        client.send_request('POST /', 'Content-Encoding: gzip', 'Transfer-Encoding: chunked')
        for start in range(0, len(data), 8):
            client.send(b'%x\r\n%b\r\n' % (len(data[start : start + 8]), data[start : start + 8]))
            before = server.stats['bytes_in']
            await until(lambda: server.stats['bytes_in'] > before)  # noqa: B023
        client.send(b'0\r\n\r\n' if whole else b'no size\r\n')
        assert (200 if whole else 400) == (await client.read_response())[0]
    assert (['abc'] if whole else []) == [table.body for table in seen]


async def test_expect_is_ignored_in_http_1_0(received):
    """RFC 9110 10.1.1."""
    head = b'POST / HTTP/1.0\r\nContent-Length: 2\r\nExpect: 200-ok\r\n\r\n'
    assert 'ab' == (await received(head + b'ab')).body


async def test_a_client_that_leaves_during_its_body_is_not_logged(wire, caplog):
    """The callback does not see the request."""
    async with recording() as (server, seen):
        for fields in ['Content-Length: 9'], ['Content-Length: 9', 'Expect: 100-continue']:
            async with wire(server) as client:
                client.send_request('POST /', *fields, body=b'ab')
    assert ([], []) == (seen, [r for r in caplog.records if r.levelno >= logging.WARNING])


@pytest.mark.parametrize('target', ['http://{}/x?y', '//{}/x?y'])
async def test_no_client_chooses_where_a_relayed_table_goes(wire, target):
    """A table sent on with scheme, host and port of a backend reaches that backend only."""
    async with recording() as (elsewhere, strayed), recording() as (backend, seen):
        aim = {'scheme': 'http', 'host': '127.0.0.1', 'port': backend.port}

        async def relay(request):
            return await http.request({**request, **aim})

        async with http.listen('127.0.0.1', 0, relay) as server, wire(server) as client:
            client.send_request('GET ' + target.format(f'127.0.0.1:{elsewhere.port}'))
            assert 200 == (await client.read_response())[0]
    url = target.format(f'127.0.0.1:{elsewhere.port}').removeprefix('http:')
    expected = url if target.startswith('//') else '/x?y'
    assert ([expected], []) == ([table.url for table in seen], strayed)


async def test_a_received_request_can_be_sent(wire):
    """The table of a POST is sent as it is, with its body and repeated headers."""
    line, data = post(b'a\xff', 'X: 1', 'X: 2')
    async with recording() as (server, seen), wire(server) as client:
        client.send_request(*line, body=data)
        await client.read_response()
        sent = {**seen[0], 'host': '127.0.0.1', 'port': server.port}
        await http.request(sent)
    assert (b'a\xff', ['1', '2']) == (seen[1].bytes(), seen[1].headers.getall('x'))
    assert json.dumps(seen[0].plain())


@pytest.mark.parametrize('limit', [None, 10])
async def test_a_length_that_the_parser_takes_for_no_body_is_refused(wire, limit):
    """Otherwise the body would be parsed as the next request."""
    async with recording(max_body=limit) as (server, seen), wire(server) as client:
        length = f'Content-Length: {2**64 - 1}'
        client.send_request('POST /', length, body=b'GET /2 HTTP/1.1\r\nHost: h\r\n\r\n')
        status, headers, _ = await client.read_response()
        assert (413, 'close', b'') == (status, headers['Connection'], await client.rest())
    assert [] == seen


async def test_a_length_of_thousands_of_digits_is_accepted(received):
    """Python's ``int`` would refuse that many leading zeros."""
    head = b'POST / HTTP/1.1\r\nHost: h\r\nContent-Length: ' + b'0' * 5000 + b'5\r\n\r\n'
    assert 'hello' == (await received(head + b'hello')).body


PROXY = {'trusted_proxies': ['127.0.0.0/8']}


@pytest.mark.parametrize(
    ('fields', 'options', 'expected'),
    [
        ('Forwarded: for=192.0.2.1;proto=https;host=x:81', {}, ('127.0.0.1', 'http', 'h', 80)),
        ('X-Forwarded-For: 192.0.2.1', {}, ('127.0.0.1', 'http', 'h', 80)),
        (
            'Forwarded: for=192.0.2.1;proto=https;host=x:81',
            PROXY,
            ('192.0.2.1', 'https', 'x', 81),
        ),
        ('Forwarded: for="[::1]";proto=https', PROXY, ('::1', 'https', 'h', 443)),
        (
            'X-Forwarded-For: 192.0.2.1\r\nX-Forwarded-Proto: https\r\nX-Forwarded-Host: x',
            PROXY,
            ('192.0.2.1', 'https', 'x', 443),
        ),
        ('X-Forwarded-For: 192.0.2.1, 127.0.0.2', PROXY, ('192.0.2.1', 'http', 'h', 80)),
        ('X: 1', PROXY, ('127.0.0.1', 'http', 'h', 80)),
    ],
)
async def test_trusted_proxies_set_address_scheme_host_and_port(
    received, fields, options, expected
):
    """The headers stay as they came. Other peers are not trusted."""
    table = await received(f'GET / HTTP/1.1\r\nHost: h\r\n{fields}\r\n\r\n'.encode(), **options)
    assert expected == (table.ip, table.scheme, table.host, table.port)
    names = [line.partition(':')[0] for line in fields.split('\r\n')]
    assert ['Host', *names] == list(table.headers)


@pytest.mark.parametrize(
    'fields',
    [
        'Forwarded: for="192.0.2.1',
        'Forwarded: for=192.0.2.1\r\nX-Forwarded-For: 192.0.2.2',
        'Forwarded: host="a b"',
        'X-Forwarded-Host: u@h',
        'X-Forwarded-Host: h:x',
    ],
)
async def test_an_invalid_forwarded_header_of_a_trusted_proxy_is_a_400(wire, caplog, fields):
    """It is logged in one line; from other peers the header is ignored."""
    caplog.set_level(logging.INFO, 'aioluahttp')
    head = f'GET / HTTP/1.1\r\nHost: h\r\n{fields}\r\n\r\n'.encode()
    for options, expected in (PROXY, 400), ({}, 200):
        async with recording(**options) as (server, _), wire(server) as client:
            client.send(head)
            assert expected == (await client.read_response())[0]
    lines = [record.getMessage() for record in caplog.records if record.name == 'aioluahttp']
    assert ['bad request from 127.0.0.1: 400'] == lines


@pytest.mark.parametrize(('options', 'ip'), [({}, None), ({'trusted_proxies': ['unix']}, '::1')])
@pytest.mark.parametrize('name', ['', 'client'])
async def test_a_proxy_on_a_unix_socket_is_trusted_as_unix(tmp_path, wire, options, ip, name):
    """``'unix'`` stands for every peer on the socket, also for one bound to a path."""
    path = str(tmp_path / 's')
    async with recording(at=(None, None), unix=path, **options) as (_, seen):
        connecting = socket.socket(socket.AF_UNIX)
        if name:
            connecting.bind(str(tmp_path / name))
        connecting.connect(path)
        async with wire(None, sock=connecting) as client:
            client.send_request('GET /', 'X-Forwarded-For: ::1')
            await client.read_response()
    assert [(ip, ip is not None)] == [(table.ip, 'ip' in table) for table in seen]


async def test_the_rest_of_a_body_that_does_not_come_is_a_408(wire):
    """After ``body_timeout`` without a byte."""
    async with recording(body_timeout=0.05) as (server, seen), wire(server) as client:
        client.send_request('POST /', 'Content-Length: 3', 'Expect: 100-continue')
        await client.reader.readuntil(b'\r\n\r\n')
        client.send(b'ab')
        assert (408, []) == ((await client.read_response())[0], seen)


@pytest.mark.parametrize(
    ('fields', 'body'),
    [
        (['Content-Length: 9'], b''),
        (['Content-Length: 9'], b'part'),
        (['Content-Length: 9', 'Expect: 100-continue'], b''),
        (['Transfer-Encoding: chunked'], b'4\r\npart\r\n'),
        (['Transfer-Encoding: chunked'], b'4;extension-without-end'),
        (['Transfer-Encoding: chunked'], b'4\r\npart\r\n0\r\nX: a trailer'),
        (['Content-Length: 99', 'Content-Encoding: gzip'], gzip.compress(b'0', mtime=0)[:-1]),
    ],
)
async def test_a_body_that_does_not_come_is_a_408(wire, caplog, fields, body):
    """After ``body_timeout`` without more of it; the callback does not see the request."""
    caplog.set_level(logging.INFO, 'aioluahttp')
    async with recording(body_timeout=0.05) as (server, seen), wire(server) as client:
        client.send_request('POST /', *fields, body=body)
        if 'Expect: 100-continue' in fields:
            await client.reader.readuntil(b'\r\n\r\n')
        status, headers, text = await client.read_response()
        assert (408, 'close', b'Request Timeout') == (status, headers['Connection'], text)
        assert (b'', []) == (await client.rest(), seen)
    assert [] == caplog.records


async def test_a_body_may_come_slowly(wire):
    """Each part of it has ``body_timeout``."""
    async with recording(body_timeout=2) as (server, seen), wire(server) as client:
        client.send_request('POST /', 'Content-Length: 8')
        for part in [b'a'] * 8:
            await asyncio.sleep(0.3)  # the pace of the client
            client.send(part)
        assert 200 == (await client.read_response())[0]
    assert ['a' * 8] == [table.body for table in seen]


@pytest.mark.parametrize('field', ['Connection: keep-alive', 'Content-Length: 5'])
async def test_a_chunked_body_in_http_1_0_is_a_400(wire, field):
    """A proxy may have seen another end of the body (RFC 9112 6.1)."""
    head = f'POST / HTTP/1.0\r\nTransfer-Encoding: chunked\r\n{field}\r\n\r\n'
    async with recording() as (server, seen), wire(server) as client:
        client.send(head.encode() + b'0\r\n\r\n')
        status, headers, _ = await client.read_response()
        assert (400, 'close', b'', []) == (
            status,
            headers['Connection'],
            await client.rest(),
            seen,
        )


async def test_contradicting_headers_of_a_trusted_proxy_are_a_400(wire):
    """Forwarded and X-Forwarded-For name different clients."""
    async with recording(trusted_proxies=['127.0.0.1']) as (server, seen), wire(server) as client:
        client.send_request('GET /', 'Forwarded: for=192.0.2.1', 'X-Forwarded-For: 192.0.2.2')
        assert (400, []) == ((await client.read_response())[0], seen)


@pytest.mark.parametrize('framing', ['Content-Length: {}', 'Transfer-Encoding: chunked'])
async def test_a_bomb_costs_no_more_than_the_limit(wire, framing):
    """1 GiB of gzip is a 413 once ``max_body`` is decoded; little more memory is used than that."""
    flushed = zlib.compressobj(9, zlib.DEFLATED, 31)
    first = flushed.compress(bytes(2**20)) + flushed.flush(zlib.Z_FULL_FLUSH)
    again = flushed.compress(bytes(2**20)) + flushed.flush(zlib.Z_FULL_FLUSH)
    bomb = first + 1023 * again
    if 'chunked' in framing:
        bomb = b'%x\r\n%b\r\n0\r\n\r\n' % (len(bomb), bomb)
    async with recording(max_body=2**20) as (server, seen), wire(server) as client:
        client.send(b'')
        tracemalloc.start()
        client.send_request(
            'POST /', 'Content-Encoding: gzip', framing.format(len(bomb)), body=bomb
        )
        status, *_ = await client.read_response()
        _, peak = tracemalloc.get_traced_memory()
        tracemalloc.stop()
    assert (413, []) == (status, seen)
    assert peak < len(bomb) * 3 + 2**20 * 3  # what the client sends is counted, too


BIG = 50_000_000  # more than the buffers of two sockets hold


@contextlib.asynccontextmanager
async def reading(callback, into='stream', **options):
    """Listen with ``into='stream'``; also give the errors that ``on_error`` got."""
    told = []

    def on_error(error, request):
        told.append(error)

    async with http.listen('127.0.0.1', 0, callback, on_error, into=into, **options) as server:
        yield server, told


async def whole(request):
    """Respond with the whole request body."""
    return {'status': 200, 'body': await request.body.read()}


def echo(request):
    """Respond with the request body as it comes."""
    return {'status': 200, 'body': request.body}


@pytest.mark.parametrize('callback', [whole, echo])
async def test_a_streamed_request_body_is_read_by_the_callback(wire, callback):
    """With a length, chunked, and empty."""
    async with reading(callback) as (server, told):
        for fields, body in [
            (('Content-Length: 3',), b'abc'),
            (('Transfer-Encoding: chunked',), b'2\r\nab\r\n1\r\nc\r\n0\r\n\r\n'),
            (('Content-Length: 0',), b''),
        ]:
            async with wire(server) as client:
                client.send_request('POST /', *fields, 'Connection: close', body=body)
                response = await client.rest()
                assert b'HTTP/1.1 200 ' == response[:13]
                assert (b'abc' in response) == bool(body)
    assert [] == told


async def test_a_part_of_a_body_is_read_before_the_next_is_sent(wire):
    """The callback does not wait for the end of the body."""
    parts = asyncio.Queue()

    async def callback(request):
        async for part in request.body:
            parts.put_nowait(part)
        return {'status': 200}

    async with reading(callback) as (server, _), wire(server) as client:
        client.send_request('POST /', 'Content-Length: 4')
        for part in (b'ab', b'cd'):
            client.send(part)
            assert part == await parts.get()
        assert 200 == (await client.read_response())[0]
        client.send_request('POST /', 'Content-Length: 0')
        assert 200 == (await client.read_response())[0]


@pytest.mark.parametrize(('into', 'kept'), [('stream', False), ('raw', True)])
async def test_a_stream_is_decoded_and_a_raw_one_is_not(wire, into, kept):
    """The headers describe what is read."""
    data, seen = gzip.compress(b'abc' * 100_000, mtime=0), []

    async def callback(request):
        seen.append(request.headers)
        return await whole(request)

    async with reading(callback, into) as (server, _), wire(server) as client:
        client.send_request(
            *('POST /', f'Content-Length: {len(data)}', 'Content-Encoding: gzip'), body=data
        )
        assert (data if kept else b'abc' * 100_000) == (await client.read_response())[2]
    assert (kept, kept) == tuple(name in seen[0] for name in ('Content-Encoding', 'Content-Length'))


async def test_who_does_not_read_is_sent_no_more(wire, until):
    """While a callback does not read, the client waits, and only a few pieces are held."""
    read, go = [], asyncio.Event()

    async def callback(request):
        await go.wait()
        async for part in request.body:
            read.append(len(part))
        return {'status': 200}

    async with reading(callback) as (server, _), wire(server) as client:
        client.send_request('POST /', f'Content-Length: {BIG}', body=bytes(BIG))
        await until(lambda: any(one.paused for one in server._connections.open))
        assert server.stats['bytes_in'] < 2_000_000
        go.set()
        assert 200 == (await client.read_response())[0]
    assert BIG == sum(read)
    assert max(read) <= 1 << 20


@pytest.mark.parametrize('size', [9, BIG])
async def test_what_is_left_unread_closes_the_connection(wire, size):
    """After the response, which the client gets though it is still sending."""
    callback = lambda request: {'status': 200, 'body': 'x'}  # noqa: E731
    async with reading(callback) as (server, _), wire(server) as client:
        client.send_request('POST /', f'Content-Length: {size}', body=bytes(size - 1))
        status, headers, body = await client.read_response()
        assert (200, 'close', b'x') == (status, headers['Connection'], body)
        client.writer.close()


@pytest.mark.parametrize(
    ('fields', 'sent', 'status', 'kind'),
    [
        (('Content-Length: 3',), b'', 408, http.TimedOut),
        (('Transfer-Encoding: chunked',), b'5\r\nabcde\r\n', 413, http.BodyTooLarge),
        (('Transfer-Encoding: chunked',), b'x\r\n', 400, http.ProtocolError),
        (('Content-Length: 1', 'Content-Encoding: gzip'), b'x', 400, http.ProtocolError),
        (('Content-Length: 5',), b'', 413, None),
        (('Content-Length: 1', 'Expect: x'), b'', 417, None),
        (('Transfer-Encoding: gzip, chunked',), b'', 501, None),
    ],
)
@pytest.mark.parametrize('callback', [whole, echo])
async def test_a_broken_streamed_body_is_an_error_of_the_client(
    wire, caplog, callback, fields, sent, status, kind
):
    """The callback gets a library error; if it does not catch it, the response has that status."""
    seen = []

    async def noting(request):
        try:
            return {**await whole(request)} if callback is whole else echo(request)
        except http.Error as error:
            seen.append(type(error))
            raise

    async with (
        reading(noting, max_body=4, body_timeout=0.1) as (server, told),
        wire(server) as client,
    ):
        client.send_request('POST /', *fields, body=sent)
        response = await client.rest()
    assert f'HTTP/1.1 {status} '.encode() == response[:13]
    assert seen == ([kind] if kind and callback is whole else [])
    assert [] == told
    assert [] == caplog.records


async def test_an_echo_of_a_broken_body_is_cut_off(wire, caplog):
    """This is not an error of the callback."""
    async with reading(echo) as (server, told), wire(server) as client:
        client.send_request('POST /', 'Transfer-Encoding: chunked', body=b'1\r\na\r\n')
        await client.reader.readuntil(b'1\r\na\r\n')
        client.send(b'x\r\n')
        assert b'' == await client.rest()
    assert [] == told
    assert [] == caplog.records


async def test_the_reader_of_a_body_gets_an_error_if_the_client_leaves(wire):
    """It is a ProtocolError."""
    seen = asyncio.Queue()

    async def callback(request):
        try:
            return await whole(request)
        except http.ProtocolError as error:
            seen.put_nowait(str(error))
            raise

    async with reading(callback) as (server, told):
        async with wire(server) as client:
            client.send_request('POST /', 'Content-Length: 9', body=b'a')
            await client.writer.drain()
        assert 'the body is broken' in await seen.get()
    assert [] == told


@pytest.mark.parametrize('reads', [True, False])
async def test_expect_100_continue_gets_a_100_at_the_first_read(wire, reads):
    """If the callback does not read, the client gets the response alone."""

    async def callback(request):
        return await whole(request) if reads else {'status': 403}

    async with reading(callback) as (server, _), wire(server) as client:
        client.send_request('POST /', 'Content-Length: 2', 'Expect: 100-continue')
        status = await client.reader.readline()
        if reads:
            assert b'HTTP/1.1 100 Continue\r\n' == status
            await client.reader.readline()
            client.send(b'ab')
            assert b'ab' == (await client.read_response())[2]
        else:
            assert b'HTTP/1.1 403 Forbidden\r\n' == status


async def test_no_100_is_sent_in_the_middle_of_a_response(wire):
    """The response has begun before the first read of the body."""

    async def parts(request):
        yield b'x'
        async for part in request.body:
            yield part

    callback = lambda request: {'status': 200, 'body': parts(request)}  # noqa: E731
    async with reading(callback) as (server, _), wire(server) as client:
        client.send_request('POST /', 'Content-Length: 2', 'Expect: 100-continue')
        await client.reader.readuntil(b'1\r\nx\r\n')
        client.send(b'ab')
        assert b'2\r\nab\r\n0\r\n\r\n' == await client.rest()


async def test_a_streamed_body_cannot_be_read_after_its_response(wire):
    """It would read the body of a later request."""
    kept = []

    def callback(request):
        kept.append(request.body)
        return {'status': 200}

    async with reading(callback) as (server, _), wire(server) as client:
        for _ in range(2):
            client.send_request('POST /', 'Content-Length: 2', body=b'ab')
            assert 200 == (await client.read_response())[0]
        for body in kept:
            with pytest.raises(http.ProtocolError, match='the request is answered'):
                await body.read()


async def test_into_and_max_body_may_be_functions_of_the_request(wire):
    """An invalid return value is an error of the callback."""

    async def callback(request):
        return {'status': 200, 'body': type(request.body).__name__}

    def into(request):
        return request.path[1:]

    def max_body(request):
        return 1 if request.query else 5

    async with reading(callback, into, max_body=max_body) as (server, told):
        for target, expected in [
            *(('/stream', 'Stream'), ('/raw', 'Stream'), ('/text', 'str'), ('/bytes', 'bytes')),
            *(('/text?x', 413), ('/stream?x', 413), ('/no', 500)),
        ]:
            async with wire(server) as client:
                client.send_request(f'POST {target}', 'Content-Length: 3', body=b'"a"')
                status, _, body = await client.read_response()
                assert expected in (status, body.decode())
    assert [http.TableError] == list(map(type, told))


async def test_into_and_max_body_may_be_attributes_of_the_handler(wire):
    """Options take precedence."""

    async def handler(request):
        return {'status': 200, 'body': type(request.body).__name__}

    handler.into, handler.max_body = 'raw', 5
    for options, expected in [({}, 'Stream'), ({'into': 'bytes'}, 'bytes')]:
        async with http.listen('127.0.0.1', 0, handler, **options) as server:
            async with wire(server) as client:
                client.send_request('POST /', 'Content-Length: 1', body=b'x')
                assert expected == (await client.read_response())[2].decode()
            async with wire(server) as client:
                client.send_request('POST /', 'Content-Length: 6')
                assert 413 == (await client.read_response())[0]


async def test_a_stream_has_a_limit_only_if_one_is_given(wire):
    """The default of 8 MiB is for bodies held in memory."""

    async def callback(request):
        return {'status': 200, 'body': str(sum([len(part) async for part in request.body]))}

    async with reading(callback) as (server, _), wire(server) as client:
        client.send_request('POST /', f'Content-Length: {BIG}', body=bytes(BIG))
        assert str(BIG).encode() == (await client.read_response())[2]


CHUNK = b'x' * 65536


class Source:
    """An async iterator that is fed by a queue, and counts how often it is asked."""

    def __init__(self, *chunks):
        self.queue, self.asked, self.closed = asyncio.Queue(), 0, asyncio.Event()
        for chunk in chunks:
            self.queue.put_nowait(chunk)

    def __aiter__(self):
        return self

    async def __anext__(self):
        self.asked += 1
        chunk = await self.queue.get()
        if chunk is None:
            raise StopAsyncIteration
        if isinstance(chunk, BaseException):
            raise chunk
        return chunk

    async def aclose(self):
        await asyncio.sleep(0)
        self.closed.set()


@contextlib.asynccontextmanager
async def serving_body(body, *, status=200, headers=None, key='body', **options):
    """Respond to each request with a body; also give the errors that ``on_error`` got."""
    told = []

    def on_error(error, request):
        told.append(error)

    def callback(request):
        return {'status': status, 'headers': headers, key: body}

    async with http.listen('127.0.0.1', 0, callback, on_error, **options) as server:
        yield server, told


async def chunked(client):
    """Read a response up to its last chunk; return the head, and the chunks."""
    head = await client.reader.readuntil(b'\r\n\r\n')
    chunks = []
    while size := int(await client.reader.readline(), 16):
        chunks.append((await client.reader.readexactly(size + 2))[:-2])
    assert b'\r\n' == await client.reader.readline()
    return head.decode(), chunks


def generator(*chunks):
    """Return an async generator of the chunks."""

    async def generate():
        for chunk in chunks:
            yield chunk

    return generate()


KINDS = {
    'async iterator': lambda: Source(b'ab', 'cé', None),
    'async generator': lambda: generator(b'ab', 'cé'),
    'iterator': lambda: iter([b'ab', 'cé']),
    'generator': lambda: (chunk for chunk in (bytearray(b'ab'), memoryview('cé'.encode()))),
}


@pytest.mark.parametrize('make', KINDS.values(), ids=KINDS)
async def test_every_kind_of_iterator_can_be_a_body(wire, make):
    """Each chunk is sent as one, of type application/octet-stream; the connection is kept."""
    async with (
        http.listen('127.0.0.1', 0, lambda request: {'status': 200, 'body': make()}) as server,
        wire(server) as client,
    ):
        for _ in range(2):
            client.send_request('GET /')
            head, chunks = await chunked(client)
            assert [b'ab', 'cé'.encode()] == chunks
            assert 'Content-Type: application/octet-stream\r\n' in head
            assert 'Content-Length' not in head
            assert 'Connection' not in head


async def test_a_chunk_is_sent_before_the_next_is_asked_for(wire):
    """An empty chunk sends the head alone."""
    source = Source()
    async with serving_body(source) as (server, _), wire(server) as client:
        client.send_request('GET /')
        source.queue.put_nowait('')
        await client.reader.readuntil(b'\r\n\r\n')
        for chunk, expected in [
            (b'ab', b'2\r\nab\r\n'),
            (b'c', b'1\r\nc\r\n'),
            (None, b'0\r\n\r\n'),
        ]:
            source.queue.put_nowait(chunk)
            assert expected == await client.reader.readexactly(len(expected))
        await source.closed.wait()


@pytest.mark.parametrize(
    ('kind', 'chunk', 'expected', 'sent'),
    [
        ('text/html', 'é', 'text/html; charset=utf-8', 'é'.encode()),
        ('text/html', b'\xe9', 'text/html', b'\xe9'),
        ('text/html; charset=latin1', 'é', 'text/html; charset=latin1', b'\xe9'),
        ('application/json', 'é', 'application/json', 'é'.encode()),
    ],
)
async def test_text_chunks_are_encoded_in_the_charset_of_content_type(
    wire, kind, chunk, expected, sent
):
    """A text type without a charset gets one."""
    async with (
        serving_body(generator(chunk), headers={'Content-Type': kind}) as (server, _),
        wire(server) as client,
    ):
        client.send_request('GET /')
        head, chunks = await chunked(client)
    assert f'Content-Type: {expected}\r\n' in head
    assert [sent] == chunks


async def test_content_type_of_compressed_text_chunks_names_their_charset(wire):
    """Its type names the charset that its chunks were written in."""
    body = CompressedChunks(generator('é'), str.encode, 'gzip')
    async with (
        serving_body(body, headers={'Content-Type': 'text/html'}) as (server, _),
        wire(server) as client,
    ):
        client.send_request('GET /')
        head, chunks = await chunked(client)
    assert 'Content-Type: text/html; charset=utf-8\r\n' in head
    assert 'é'.encode() == gzip.decompress(b''.join(chunks))


async def test_a_streamed_body_in_http_1_0_ends_with_the_connection(wire):
    """HTTP/1.0 has no chunked coding."""
    async with serving_body(generator(b'ab', b'cd')) as (server, _), wire(server) as client:
        client.send(b'GET / HTTP/1.0\r\nConnection: keep-alive\r\n\r\n')
        head, body = (await client.rest()).split(b'\r\n\r\n')
    assert b'abcd' == body
    assert b'\r\nConnection: close' in head
    assert b'Transfer-Encoding' not in head


@pytest.mark.parametrize('version', ['1.0', '1.1'])
async def test_a_streamed_body_with_a_length_is_not_chunked(wire, version):
    """A callback that knows the length may give it."""
    async with (
        http.listen(
            *('127.0.0.1', 0),
            lambda request: {
                'status': 200,
                'headers': {'Content-Length': 4, 'Transfer-Encoding': 'chunked'},
                'body': generator(b'ab', b'cd'),
            },
        ) as server,
        wire(server) as client,
    ):
        for _ in range(2):
            client.send(
                f'GET / HTTP/{version}\r\nHost: h\r\nConnection: keep-alive\r\n\r\n'.encode()
            )
            _, headers, body = await client.read_response()
            assert ('4', b'abcd') == (headers['Content-Length'], body)
            assert 'Transfer-Encoding' not in headers


@pytest.mark.parametrize(
    ('chunks', 'sent'), [((b'ab', b'c'), b'ab'), ((b'ab', b'cde'), b'ab'), ((), None)]
)
async def test_a_wrong_length_cuts_the_response_off(wire, caplog, chunks, sent):
    """The rest is never read as another response; before the first chunk it is a 500."""
    headers = {'Content-Length': 4}
    if chunks == (b'ab', b'c'):
        sent = b'abc'
    async with (
        serving_body(generator(*chunks), headers=headers) as (server, told),
        wire(server) as client,
    ):
        client.send_request('GET /', 'Connection: close')
        response = await client.rest()
    assert (b'HTTP/1.1 500 ' if sent is None else b'HTTP/1.1 200 ') == response[:13]
    assert sent is None or response.endswith(b'\r\n\r\n' + sent)
    assert [http.TableError] == list(map(type, told))
    assert ['GET / failed'] == [record.getMessage() for record in caplog.records]


async def test_a_length_that_is_no_number_is_a_500(wire):
    """It is checked before anything is sent."""
    async with (
        serving_body(generator(b'a'), headers={'Content-Length': 'x'}) as (server, told),
        wire(server) as client,
    ):
        client.send_request('GET /')
        assert 500 == (await client.read_response())[0]
    assert [http.TableError] == list(map(type, told))


@pytest.mark.parametrize(
    ('method', 'status', 'headers', 'expected'),
    [
        ('HEAD', 200, {}, None),
        ('HEAD', 200, {'Content-Length': 9}, '9'),
        ('GET', 204, {}, None),
        ('GET', 304, {}, None),
        ('GET', 304, {'Content-Length': 9}, '9'),
        ('GET', 205, {}, '0'),
    ],
)
async def test_a_response_without_a_body_does_not_read_its_iterator(
    wire, method, status, headers, expected
):
    """The iterator is closed without being asked; the connection is kept."""
    source = Source(b'ab')
    async with (
        serving_body(source, status=status, headers=headers) as (server, _),
        wire(server) as client,
    ):
        for _ in range(2):
            client.send_request(f'{method} /')
            given, fields, _ = await client.read_response(silent=True)
            assert (status, expected) == (given, fields.get('Content-Length'))
            assert 'Transfer-Encoding' not in fields
    assert (0, True) == (source.asked, source.closed.is_set())


FAULTS = [
    (ValueError('x'), ValueError),
    (ConnectionResetError('x'), ConnectionResetError),
    (asyncio.CancelledError(), RuntimeError),
    (5, http.TableError),
    ('\ud800', http.TableError),
    ([b'x'], http.TableError),
]


@pytest.mark.parametrize(('fault', 'kind'), FAULTS)
async def test_an_error_before_the_first_chunk_is_a_500(wire, caplog, fault, kind):
    """It is logged and passed to ``on_error``; the connection is kept."""
    source = Source(fault)
    async with serving_body(source) as (server, told), wire(server) as client:
        client.send_request('GET /')
        assert 500 == (await client.read_response())[0]
        assert source.closed.is_set()
        source.queue.put_nowait(None)
        client.send_request('GET /')
        assert [] == (await chunked(client))[1]
    assert [kind] == list(map(type, told))
    assert ['GET / failed'] == [record.getMessage() for record in caplog.records]


@pytest.mark.parametrize('headers', [{}, {'Content-Length': 9}])
@pytest.mark.parametrize(('fault', 'kind'), FAULTS)
async def test_an_error_after_the_first_chunk_cuts_the_response_off(
    wire, caplog, fault, kind, headers
):
    """The last chunk is not sent, so the client can tell that the body is incomplete."""
    source = Source(b'ab', fault)
    async with serving_body(source, headers=headers) as (server, told), wire(server) as client:
        client.send_request('GET /')
        assert (await client.rest()).endswith(b'ab' if headers else b'2\r\nab\r\n')
        assert source.closed.is_set()
        assert 1 == server.stats['errors']
    assert [kind] == list(map(type, told))
    assert ['GET / failed'] == [record.getMessage() for record in caplog.records]


@pytest.mark.parametrize('tls', [False, True])
async def test_an_error_in_an_http_1_0_body_resets_the_connection(wire, certificates, tls):
    """A plain close would look like the end of the body."""
    source = Source(b'ab', ValueError('x'))
    options = {'tls': certificates.server} if tls else {}
    client_options = (
        {'ssl': ssl.create_default_context(cafile=certificates.ca), 'server_hostname': 'localhost'}
        if tls
        else {}
    )
    async with (
        serving_body(source, **options) as (server, _),
        wire(server, **client_options) as client,
    ):
        client.send(b'GET / HTTP/1.0\r\n\r\n')
        with pytest.raises(ConnectionResetError):
            await client.rest()


async def test_curl_reports_a_response_that_is_cut_off():
    """Its exit codes: 18 for a body that is cut off, 56 for a reset."""
    for arguments, code in [(['--http1.1'], 18), (['--http1.0'], 56)]:
        async with serving_body(Source(b'ab', ValueError('x'))) as (server, _):
            curl = await asyncio.create_subprocess_exec('curl', '-s', *arguments, server.url)
            assert code == await curl.wait()


async def test_who_leaves_closes_the_iterator(wire, caplog):
    """If the client leaves, the iterator is closed and awaited, and that is not an error."""
    source = Source(b'ab')
    async with serving_body(source) as (server, told):
        async with wire(server) as client:
            client.send_request('GET /')
            await client.reader.readuntil(b'ab')
        await source.closed.wait()
        assert 0 == server.stats['errors']
    assert [] == told
    assert [] == caplog.records


async def test_a_lost_http_1_0_connection_is_not_reset(wire):
    """HTTP/1.0, and a connection that is gone."""
    source = Source(b'ab')
    async with serving_body(source) as (server, _):
        async with wire(server) as client:
            client.send(b'GET / HTTP/1.0\r\n\r\n')
            await client.reader.readuntil(b'ab')
        await source.closed.wait()


async def test_the_finally_of_a_generator_runs_if_the_client_leaves(wire):
    """It may await."""
    ended = asyncio.Event()

    async def endless():
        try:
            yield b'ab'
            await asyncio.Event().wait()
        finally:
            await asyncio.sleep(0)
            ended.set()

    async with serving_body(endless()) as (server, _):
        async with wire(server) as client:
            client.send_request('GET /')
            await client.reader.readuntil(b'ab')
        await ended.wait()


async def test_a_closing_server_closes_the_iterator_after_its_grace(wire):
    """The body is cut off."""
    source = Source(b'ab')
    async with serving_body(source) as (server, told), wire(server) as client:
        client.send_request('GET /')
        await client.reader.readuntil(b'ab\r\n')
        await server.close(grace=0)
        assert source.closed.is_set()
        assert b'' == await client.rest()
    assert [] == told


async def test_a_closing_server_lets_a_body_end_within_its_grace(wire):
    """Within the grace."""
    source = Source(b'ab')
    async with serving_body(source) as (server, _), wire(server) as client:
        client.send_request('GET /')
        await client.reader.readuntil(b'ab\r\n')
        closing = asyncio.create_task(server.close())
        await asyncio.sleep(0)
        source.queue.put_nowait(None)
        assert b'0\r\n\r\n' == await client.rest()
        await closing


class Endless:
    """Gives the same chunk again and again, and counts."""

    def __init__(self):
        self.given, self.closed = 0, asyncio.Event()

    def __aiter__(self):
        return self

    async def __anext__(self):
        self.given += 1
        return CHUNK

    async def aclose(self):
        self.closed.set()


async def test_who_does_not_read_is_given_no_more_and_cut_off(wire):
    """The iterator is read only as far as the sockets hold, until ``body_timeout``."""
    source = Endless()
    async with serving_body(source, body_timeout=0.2) as (server, told), wire(server) as client:
        client.send_request('GET /')
        await source.closed.wait()
        assert source.given * len(CHUNK) < 20_000_000
    assert [] == told


async def test_a_streamed_body_takes_constant_memory(wire):
    """A body of 256 MiB takes no more memory than a few chunks."""
    source = Endless()
    async with serving_body(source) as (server, _), wire(server) as client:
        client.send_request('GET /')
        await client.reader.readexactly(1 << 20)
        tracemalloc.start()
        try:
            for _ in range(256):
                await client.reader.readexactly(1 << 20)
            assert tracemalloc.get_traced_memory()[1] < 8 << 20
        finally:
            tracemalloc.stop()


async def test_a_streamed_response_is_logged_and_counted(wire):
    """The log line comes at the end, with the status sent; every byte is counted."""
    logged = asyncio.Queue()

    def log(request, response):
        logged.put_nowait((request.path, response.status, response['record']['bytes']))

    source = Source(CHUNK)
    async with (
        serving_body(source, status=201, access_log=log, server_header='me') as (server, _),
        wire(server) as client,
    ):
        client.send_request('GET /a')
        head = await client.reader.readuntil(b'\r\n\r\n')
        assert b'\r\nServer: me\r\n' in head
        assert logged.empty()
        source.queue.put_nowait(None)
        assert ('/a', 201, len(CHUNK)) == await logged.get()
        size = len(head) + len(b'10000\r\n\r\n' + CHUNK + b'0\r\n\r\n')
        assert size == server.stats['bytes_out']


async def test_connection_close_ends_a_streamed_response(wire):
    """As with every other body."""
    async with (
        serving_body(generator(b'a'), headers={'Connection': 'close'}) as (server, _),
        wire(server) as client,
    ):
        client.send_request('GET /')
        response = await client.rest()
    assert response.endswith(b'1\r\na\r\n0\r\n\r\n')
    assert b'\r\nConnection: close\r\n' in response


async def test_events_are_sent_as_a_stream(wire):
    """As text/event-stream, not to be cached, one chunk for each event."""
    source = Source({'data': 'a\nb', 'id': '1'}, {}, None)
    async with serving_body(source, key='events') as (server, _), wire(server) as client:
        client.send_request('GET /')
        head, chunks = await chunked(client)
    assert [b'data: a\ndata: b\nid: 1\n\n', b':\n\n'] == chunks
    assert 'Content-Type: text/event-stream\r\n' in head
    assert 'Cache-Control: no-cache\r\n' in head
    assert source.closed.is_set()


async def test_headers_of_the_callback_are_kept_for_events(wire):
    """Its headers are kept."""
    headers = {'Cache-Control': 'no-store', 'Content-Type': 'text/x'}
    async with (
        serving_body(iter([{'data': 'x'}]), key='events', headers=headers) as (server, _),
        wire(server) as client,
    ):
        client.send_request('GET /')
        head, _ = await chunked(client)
    assert 'Cache-Control: no-store\r\n' in head
    assert 'Content-Type: text/x\r\n' in head


@pytest.mark.parametrize('begun', [False, True])
async def test_an_invalid_event_is_a_500_or_cuts_the_response_off(wire, begun):
    """A 500 before the first event."""
    events = [{'data': 'x'}] * begun + [{'data': 'x', 'id': 'a\nb'}]
    async with serving_body(iter(events), key='events') as (server, told), wire(server) as client:
        client.send_request('GET /', 'Connection: close')
        response = await client.rest()
    assert response.endswith(b'data: x\n\n\r\n' if begun else b'Internal Server Error')
    assert [http.TableError] == list(map(type, told))


async def test_a_middleware_may_pass_a_streamed_body_on(wire):
    """In the normal form of a response."""

    def callback(request):
        response = http.to_response({'status': 200, 'events': iter([{'data': 'x'}])})
        return http.to_response(response | {'headers': {**response.headers, 'A': 'b'}})

    async with http.listen('127.0.0.1', 0, callback) as server, wire(server) as client:
        client.send_request('GET /')
        head, chunks = await chunked(client)
    assert 'Content-Type: text/event-stream\r\n' in head
    assert [b'data: x\n\n'] == chunks


async def test_a_relayed_stream_gets_no_content_type(raw_server, wire):
    """Only a body of the callback's own gets a default."""
    response = b'HTTP/1.1 200 OK\r\nContent-Length: 2\r\n\r\nok'
    async with raw_server(response) as peer:

        async def handler(request):
            return await http.request(url=peer.url, into='raw')

        async with http.listen('127.0.0.1', 0, handler) as server, wire(server) as client:
            client.send_request('GET /')
            status, headers, body = await client.read_response()
    assert (200, b'ok', {'Content-Length', 'Date'}) == (status, body, set(headers))


CLOSE = 8


async def echo_messages(socket):
    """Send each message back."""
    async for message in socket:
        await socket.send(message)


def serve(chat=echo_messages, response=None, **options):
    """Listen with a callback that opens a WebSocket, or returns the given response."""
    return http.listen('127.0.0.1', 0, lambda request: response or {'websocket': chat}, **options)


def closed(code):
    """Return the data of a close frame."""
    return code.to_bytes(2)


@pytest.mark.parametrize('status', [{}, {'status': 101}])
async def test_a_websocket_is_opened_by_the_handshake(wire, frames, status):
    """That of RFC 6455 1.3, with the callback's headers that are not part of it."""
    headers = {
        'Set-Cookie': ['a=1', 'b=2'],
        'Connection': 'close',
        'Sec-WebSocket-Accept': 'no',
        'Sec-WebSocket-Protocol': 'no',
    }
    response = {'websocket': echo_messages, 'headers': headers, **status}
    async with serve(response=response) as server, wire(server) as client:
        client.send_request('GET /chat', *frames.asking)
        head = (await client.reader.readuntil(b'\r\n\r\n')).decode()
        assert [
            'HTTP/1.1 101 Switching Protocols',
            'Upgrade: websocket',
            'Connection: Upgrade',
            f'Sec-WebSocket-Accept: {frames.granted}',
            'Set-Cookie: a=1',
            'Set-Cookie: b=2',
        ] == head.split('\r\n')[:-2]
        client.send(frames.write(1, b'hello', masked=True))
        assert (1, b'hello') == await frames.read(client.reader)


WRONG = [
    ('GET', {}, 426),
    ('GET', {'Upgrade': 'h2c', 'Connection': 'Upgrade'}, 426),
    ('POST', {'Content-Length': '0'}, 426),
    ('GET', {'Sec-WebSocket-Version': '12'}, 426),
    ('GET', {'Sec-WebSocket-Key': None}, 400),
    ('GET', {'Sec-WebSocket-Key': 'short'}, 400),
    ('GET', {'Origin': 'https://evil.example'}, 403),
]


@pytest.mark.parametrize(('method', 'fields', 'status'), WRONG)
async def test_an_invalid_handshake_is_refused(wire, frames, caplog, method, fields, status):
    """A 426 says how to ask (RFC 9110 15.5.22, RFC 6455 4.4); the callback is not called."""
    caplog.set_level(logging.INFO, 'aioluahttp')
    asked = dict(line.split(': ') for line in frames.asking)
    fields = (
        asked | fields
        if set(fields) & {'Sec-WebSocket-Version', 'Sec-WebSocket-Key', 'Origin'}
        else fields
    )
    lines = [f'{name}: {value}' for name, value in fields.items() if value is not None]

    async def never(socket):
        pytest.fail('it was called')

    async with serve(never) as server, wire(server) as client:
        client.send_request(f'{method} /', *lines)
        client.send(b'\x81\x01x')
        got, headers, _ = await client.read_response()
        assert b'' == await client.rest()
        assert 0 == server.stats['errors']
    assert status == got
    if status == 426:
        assert ['Upgrade', 'close'] == headers.getall('Connection')
        assert ('websocket', '13') == (headers['Upgrade'], headers['Sec-WebSocket-Version'])
    assert f'no WebSocket for 127.0.0.1: {status}' in caplog.messages


async def test_an_upgrade_may_get_an_ordinary_response(wire, frames):
    """If the callback returns no WebSocket, the client gets its response."""
    async with serve(response={'status': 404, 'body': 'none'}) as server, wire(server) as client:
        client.send_request('GET /', *frames.asking)
        client.send(b'\x81\x01x' * 50_000)  # dropped
        assert (404, b'none') == (await client.read_response())[::2]
        client.send(b'\x81\x01x' * 50_000)
        assert b'' == await client.rest()


async def test_an_error_of_a_websocket_callback_closes_with_1011(caplog):
    """It is logged and passed to ``on_error``, as one of an ordinary callback is."""
    told = []

    async def chat(socket):
        raise KeyError(await anext(socket))

    async with serve(chat, on_error=lambda *both: told.append(both)) as server:
        async with http.websocket(url=server.url + '/path?query') as socket:
            await socket.send('oops')
            assert [] == [message async for message in socket]
            assert 1011 == socket.code
        [(error, request)] = told
        assert 1 == server.stats['errors']
    assert ("KeyError('oops')", '/path') == (repr(error), request.path)
    [record] = [record for record in caplog.records if record.levelno == logging.ERROR]
    assert 'GET /path failed' == record.getMessage()


async def test_a_websocket_client_that_leaves_is_not_an_error(wire, frames, caplog):
    """The ProtocolError of its socket may escape from the callback; it is an INFO line."""
    caplog.set_level(logging.INFO, 'aioluahttp')
    over = asyncio.Event()

    async def chat(socket):
        try:
            await echo_messages(socket)
        finally:
            over.set()

    async with serve(chat) as server:
        async with wire(server) as client:
            client.send_request('GET /', *frames.asking)
            await client.read_response(silent=True)
        await over.wait()
        await server.close()
        assert 0 == server.stats['errors']
    assert 1 == sum('hung up without a closing handshake' in one for one in caplog.messages)
    assert not [record for record in caplog.records if record.levelno > logging.INFO]


async def test_a_protocol_error_of_another_connection_is_an_error():
    """It closes the WebSocket with 1011."""
    told = []

    async def chat(socket):
        raise http.ProtocolError('elsewhere')

    async with (
        serve(chat, on_error=lambda *both: told.append(both)) as server,
        http.websocket(url=server.url) as socket,
    ):
        assert [] == [message async for message in socket]
        assert 1011 == socket.code
    assert ['elsewhere'] == [str(error) for error, _ in told]


async def test_the_end_of_the_callback_closes_the_websocket():
    """With 1000, or as the callback did itself."""

    async def chat(socket):
        if socket.request.path == '/by-itself':
            await socket.close(4000, 'so long')

    async with serve(chat) as server:
        for path, end in (('/', (1000, '')), ('/by-itself', (4000, 'so long'))):
            async with http.websocket(url=server.url + path) as socket:
                assert [] == [message async for message in socket]
                assert end == (socket.code, socket.reason)


async def test_a_closing_server_closes_websockets_with_1001():
    """Their callbacks end by themselves."""
    ended = []

    async def chat(socket):
        ended.append([message async for message in socket])
        with pytest.raises(http.ProtocolError):
            await socket.send('late')

    async with serve(chat) as server, http.websocket(url=server.url) as socket:
        await socket.send('a')
        closing = asyncio.create_task(server.close())
        assert [] == [message async for message in socket]
        assert 1001 == socket.code
        await closing
    assert [['a']] == ended


async def test_a_websocket_callback_is_cancelled_after_the_grace(until):
    """The client gets its 1001 before that."""
    cancelled = []

    async def stubborn(socket):
        try:
            await asyncio.Event().wait()
        except asyncio.CancelledError:
            cancelled.append(socket.code)
            raise

    async with serve(stubborn) as server, http.websocket(url=server.url) as socket:
        await until(lambda: server.stats['in_flight'])
        await server.close(grace=0.05)
        assert [] == [message async for message in socket]
        assert 1001 == socket.code
    assert [1001] == cancelled


async def test_a_client_that_does_not_answer_holds_no_server_up(wire, frames, monkeypatch):
    """A client that does not send its close frame is cut off, however long the grace is."""
    monkeypatch.setattr(connection, 'CLOSE_TIMEOUT', 0.05)
    async with serve() as server, wire(server) as client:
        client.send_request('GET /', *frames.asking)
        await client.read_response(silent=True)
        await server.close(grace=None)
        assert (CLOSE, closed(1001)) == await frames.read(client.reader)


async def test_a_websocket_that_opens_as_the_server_closes_is_closed(wire, frames, until):
    """Its callback was called before; the handshake is completed, then it is closed with 1001."""
    called, release = asyncio.Event(), asyncio.Event()

    async def callback(request):
        called.set()
        await release.wait()
        return {'websocket': echo_messages}

    async with http.listen('127.0.0.1', 0, callback) as server, wire(server) as client:
        client.send_request('GET /', *frames.asking)
        await called.wait()
        closing = asyncio.create_task(server.close())
        await until(lambda: server._connections.closing)
        release.set()
        assert 101 == (await client.read_response(silent=True))[0]
        assert (CLOSE, closed(1001)) == await frames.read(client.reader)
        client.send(frames.write(CLOSE, closed(1001), masked=True))
        assert b'' == await client.rest()
        await closing


@pytest.mark.parametrize('cancels', [True, False])
async def test_a_client_that_leaves_cancels_no_websocket_callback(cancels):
    """The socket reports it, whatever ``cancel_on_disconnect`` says."""
    done = asyncio.Event()

    async def chat(socket):
        with contextlib.suppress(http.ProtocolError):
            await echo_messages(socket)
        for _ in range(5):
            await asyncio.sleep(0)
        done.set()

    async with serve(chat, cancel_on_disconnect=cancels) as server:
        async with http.websocket(url=server.url) as socket:
            await socket.send('x')
            assert 'x' == await anext(socket)
        await done.wait()


async def test_the_bytes_of_frames_are_counted(wire, frames):
    """In both directions."""
    async with serve() as server, wire(server) as client:
        client.send_request('GET /', *frames.asking)
        await client.read_response(silent=True)
        before = server.stats
        client.send(frames.write(1, b'x', masked=True))
        assert b'\x81\x01x' == await client.reader.readexactly(3)
        assert [7, 3] == [server.stats[key] - before[key] for key in ('bytes_in', 'bytes_out')]


async def test_limits_on_callbacks_do_not_apply_to_websockets():
    """``handler_timeout`` and ``max_concurrent`` count until the callback has returned."""
    async with (
        serve(handler_timeout=0.05, max_concurrent=1) as server,
        http.websocket(url=server.url) as first,
        http.websocket(url=server.url) as second,
    ):
        await asyncio.sleep(0.1)  # past the timeout
        for socket in (first, second):
            await socket.send('x')
            assert 'x' == await anext(socket)


async def test_the_access_log_has_a_line_for_each_websocket():
    """It is written when the WebSocket has ended."""
    logged = []
    async with serve(access_log=lambda *both: logged.append(both)) as server:
        async with http.websocket(url=server.url + '/x'):
            assert [] == logged
        await http.request(url=server.url)
    assert [('/x', 101), ('/', 426)] == [(one.path, two.status) for one, two in logged]


async def test_a_websocket_client_may_half_close_at_once(wire, frames):
    """It gets the responses to all that it sent with its handshake."""
    goodbye = frames.write(1, b'x', masked=True) + frames.write(CLOSE, closed(1000), masked=True)
    for said, response in ((goodbye, b'\x81\x01x\x88\x02\x03\xe8'), (b'', b'')):
        async with serve() as server, wire(server) as client:
            client.send_request('GET /', *frames.asking, body=said)
            client.writer.write_eof()
            head, _, rest = (await client.rest()).partition(b'\r\n\r\n')
            assert head.startswith(b'HTTP/1.1 101 ')
            assert rest in (response, response.removeprefix(b'\x81\x01x'))


async def test_a_client_that_leaves_during_the_callback_opens_no_websocket(wire, frames, until):
    """This is not an error."""
    release = asyncio.Event()

    async def never(socket):
        pytest.fail('it was called')

    async def callback(request):
        await release.wait()
        return {'websocket': never}

    async with http.listen('127.0.0.1', 0, callback) as server:
        async with wire(server) as client:
            client.send_request('GET /', *frames.asking)
            await until(lambda: server.stats['in_flight'])
            client.reset()
        await until(lambda: not server.stats['connections'])
        release.set()
        await server.close()
        assert 0 == server.stats['errors']


async def test_who_does_not_read_its_messages_is_cut_off(wire, frames):
    """After ``body_timeout`` without a byte read, as for any other response."""
    over = asyncio.Event()

    async def flood(socket):
        try:
            while True:
                await socket.send(b'x' * 1_000_000)
        finally:
            over.set()

    async with serve(flood, body_timeout=0.1) as server, wire(server) as client:
        client.send_request('GET /', *frames.asking)
        await client.read_response(silent=True)
        await over.wait()


async def test_a_websocket_works_over_tls(certificates):
    """So does the close of one that received too large a message."""
    tls = {'ca': certificates.ca}
    async with serve(tls=certificates.server) as server:
        url = server.url.replace('https', 'wss').replace('127.0.0.1', 'localhost')
        async with http.websocket(url=url, tls=tls) as socket:
            await socket.send('x' * 100_000)
            assert 'x' * 100_000 == await anext(socket)
        assert 1000 == socket.code
        async with http.websocket(url=url, tls=tls) as socket:
            await socket.send('x' * 5_000_000)
            assert [] == [message async for message in socket]
            assert 1009 == socket.code


async def test_websockets_are_refused_by_their_origin():
    """A page of another origin gets a 403; the package sends Origin as a browser does."""
    async with serve() as server:
        url = server.url.replace('http', 'ws')
        async with websockets.connect(url, origin=server.url) as peer:
            await peer.send('x')
            assert 'x' == await peer.recv()
        with pytest.raises(websockets.InvalidStatus, match='403'):
            async with websockets.connect(url, origin='https://evil.example'):
                pass


async def test_subprotocols_are_agreed_with_the_websockets_package():
    """The first one of the client that the server supports."""
    response = {'websocket': {'callback': echo_messages, 'protocols': ['v1', 'v2']}}
    async with serve(response=response) as server:
        url = server.url.replace('http', 'ws')
        async with websockets.connect(url, subprotocols=['v3', 'v2', 'v1']) as peer:
            assert 'v2' == peer.subprotocol


async def test_a_client_that_leaves_during_the_handshake_opens_no_websocket():
    """The connection may be lost while the 101 is written."""

    class Lost:
        head = SimpleNamespace(method='GET')
        peer, upgrade, begun, transport = None, True, False, None

        async def write(self, data):
            assert data.startswith(b'HTTP/1.1 101 ')

    key = {'Sec-WebSocket-Version': '13', 'Sec-WebSocket-Key': 'dGhlIHNhbXBsZSBub25jZQ=='}
    request = http.to_request(url='http://h', headers=key)
    exchange = SocketExchange(Lost(), None, lambda: False)
    with pytest.raises(ConnectionResetError):
        await exchange.open({}, request, http.Headers())


@pytest.mark.parametrize('asks', [True, False])
async def test_a_websocket_callback_with_aclose_is_closed(wire, frames, asks):
    """After the WebSocket, and also if none was opened."""
    closed = asyncio.Event()

    class Chat:
        async def __call__(self, socket):
            await socket.send('hello')

        async def aclose(self):
            closed.set()

    async with (
        http.listen('127.0.0.1', 0, lambda request: {'websocket': Chat()}) as server,
        wire(server) as client,
    ):
        client.send_request('GET /', *(frames.asking if asks else ()))
        head = await client.reader.readuntil(b'\r\n\r\n')
        assert (b' 101 ' if asks else b' 426 ') in head
        if asks:
            assert (1, b'hello') == await frames.read(client.reader)
            client.send(frames.write(8, b'\x03\xe8', masked=True))
        await closed.wait()
