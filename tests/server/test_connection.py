"""Server connections: timeouts, back-pressure, closing, and the parts of aiohttp that they use."""

import asyncio
import contextlib
import gc
import logging
import socket
import ssl
import time
import tracemalloc
import weakref
from contextvars import ContextVar
from types import SimpleNamespace

import pytest
from aiohttp.base_protocol import BaseProtocol
from aiohttp.http_writer import StreamWriter
from aiohttp.web_protocol import RequestHandler

import aioluahttp as http
from aioluahttp.bodies.stream import ArrivedBody, Stream
from aioluahttp.exchange.options import Settings
from aioluahttp.exchange.responder import Responder
from aioluahttp.server.connection import Connection, Connections
from aioluahttp.server.encode import encode_status_page
from aioluahttp.server.framing import BEHIND, ROOM

BIG = b'x' * 20_000_000  # more than the buffers of two sockets hold
VARIABLE = ContextVar('VARIABLE', default='unset')
LOOPS = {'asyncio': asyncio.new_event_loop}
with contextlib.suppress(ImportError):  # there is none on Windows
    import uvloop

    LOOPS['uvloop'] = uvloop.new_event_loop


def echo(request):
    """Respond with method, URL and body length."""
    return {'status': 200, 'body': f'{request.method} {request.url} {len(request.body or "")}'}


def big(request):
    """Respond with more than the buffers hold."""
    return {'status': 200, 'body': BIG}


class Held:
    """A handler that waits until it is released."""

    def __init__(self):
        self.called, self.release, self.ended = asyncio.Event(), asyncio.Event(), asyncio.Event()

    async def __call__(self, request):
        self.called.set()
        try:
            await self.release.wait()
        finally:
            self.ended.set()
        return echo(request)


class RecordingConnections(Connections):
    """Connections that put each new connection and its transport into a queue."""

    def __init__(self, exchange):
        super().__init__(exchange)
        self.made = asyncio.Queue()

    def opened(self, connection, transport):
        super().opened(connection, transport)
        self.made.put_nowait((connection, transport))


@contextlib.asynccontextmanager
async def serving(handler=echo, connections=None, **settings):
    """Serve without ``listen``; give the connections, and what ``wire`` takes as a server."""
    connections = connections or RecordingConnections(Responder(handler, Settings(**settings)))
    server = await asyncio.get_running_loop().create_server(connections, '127.0.0.1', 0)
    try:
        yield connections, SimpleNamespace(port=server.sockets[0].getsockname()[1])
    finally:
        server.close()
        await connections.close_all(1)
        await server.wait_closed()


@pytest.fixture
def trusting(certificates):
    """Return the TLS context of a client that trusts the test authority."""
    return ssl.create_default_context(cafile=certificates.ca)


# What this library needs of aiohttp


@pytest.mark.parametrize(
    ('function', 'expected'),
    [
        (RequestHandler.connection_made, ['self', 'transport']),
        (RequestHandler.connection_lost, ['self', 'exc']),
        (RequestHandler.eof_received, ['self']),
    ],
    ids=lambda value: getattr(value, '__qualname__', ''),
)
def test_aiohttp_takes_the_same_arguments(parameters, function, expected):
    """The methods of aiohttp that we override or call still have these parameters."""
    name = function.__qualname__
    assert expected == parameters(function), f'aiohttp: {name} takes other arguments now'


async def test_aiohttp_has_the_same_inner_parts(wire):
    """The undocumented attributes that we use still exist."""
    async with serving() as (connections, server), wire(server) as client:
        connection, transport = await connections.made.get()
        assert connection.transport is transport, 'RequestHandler.transport is another thing now'
        assert connection.ssl_context is None, 'RequestHandler.ssl_context is not None without TLS'
        assert connection.writing_paused is False, 'RequestHandler.writing_paused is no bool now'
        assert transport.get_extra_info('peername') == connection.peername
        assert transport.get_extra_info('sockname') == connection.sockname
        client.send_request('GET /')
        assert b'GET / 0' == (await client.read_response())[2]
    assert 1 == connections.requests_count, 'requests_count does not count requests any more'
    assert issubclass(RequestHandler, BaseProtocol), 'RequestHandler has no flow control any more'


# Errors


class FailingResponder(Responder):
    """A responder with a bug of its own, which is no error of a handler."""

    async def __call__(self, raw):
        raise ValueError('a fault of the library')


@pytest.mark.parametrize(
    ('request_bytes', 'status', 'level'),
    [
        (b'GET / HTTP/1.1\r\nHost: h\r\n\r\n', 500, logging.ERROR),
        (b'no HTTP at all\r\n\r\n', 400, logging.INFO),
        (b'GET /' + b'x' * 9000 + b' HTTP/1.1\r\nHost: h\r\n\r\n', 431, logging.INFO),
        (b'GET / HTTP/1.1\r\nHost: h\r\nX: ' + b'x' * 9000 + b'\r\n\r\n', 431, logging.INFO),
        (b'GET / HTTP/1.1\r\nHost: h\r\n' + b'X: y\r\n' * 200 + b'\r\n', 400, logging.INFO),
    ],
    ids=['ours', 'theirs', 'a long line', 'a long field', 'many fields'],
)
async def test_a_bug_of_the_library_is_logged_with_its_traceback(
    wire, caplog, request_bytes, status, level
):
    """A bad request is logged below WARNING; what is not the peer's fault is an ERROR."""
    caplog.set_level(logging.INFO)
    connections = Connections(FailingResponder(echo, Settings()))
    async with serving(connections=connections) as (_, server), wire(server) as client:
        client.send(request_bytes)
        response = await client.rest()
    assert response.startswith(f'HTTP/1.1 {status} '.encode())
    assert b'Connection: close\r\n' in response
    (record,) = caplog.records
    assert (level, level == logging.ERROR) == (record.levelno, bool(record.exc_info))


async def test_a_bug_of_the_library_is_logged_once_if_the_client_has_left(wire, until, caplog):
    """That no response can be sent is not a second error."""
    called, left = asyncio.Event(), asyncio.Event()

    class Late(Responder):
        async def __call__(self, raw):
            called.set()
            await left.wait()
            raise ValueError('a fault of the library')

    connections = Connections(Late(echo, Settings()))
    async with serving(connections=connections) as (_, server):
        async with wire(server) as client:
            client.send_request('POST /', 'Content-Length: 2')
            await called.wait()
        await until(lambda: not connections.open)
        left.set()
        await until(lambda: not connections.running)
    assert ['ERROR'] == [record.levelname for record in caplog.records]


@pytest.mark.parametrize('loop', LOOPS)
@pytest.mark.parametrize('kind', [KeyboardInterrupt, SystemExit])
def test_keyboard_interrupt_and_system_exit_of_a_handler_end_the_program(wire, caplog, loop, kind):
    """On every loop, and without a log record."""

    def handler(request):
        raise kind

    async def serve():
        async with http.listen('127.0.0.1', 0, handler) as server, wire(server) as client:
            client.send_request('GET /')
            await asyncio.Event().wait()

    with asyncio.Runner(loop_factory=LOOPS[loop]) as runner, pytest.raises(kind):
        runner.run(asyncio.wait_for(serve(), 10))
    gc.collect()
    assert [] == caplog.records


# Contexts


async def test_a_request_starts_in_the_context_of_the_server(wire):
    """Never in that of a request before it, on the same connection or another."""
    seen = []

    def handler(request):
        seen.append(VARIABLE.get())
        VARIABLE.set(request.url)
        return {'status': 200}

    VARIABLE.set('the server')
    async with http.listen('127.0.0.1', 0, handler, max_connections=1) as server:
        for number in range(3):
            async with wire(server) as client:
                client.send_request(f'GET /{number}/1')
                client.send_request(f'GET /{number}/2')
                client.send_request(f'GET /{number}/3', 'Connection: close')
                await client.rest()
    assert ['the server'] * 9 == seen


async def test_an_idle_connection_does_not_keep_the_context_of_its_last_request(wire):
    """Also if that request took so long that the timer was started anew."""

    class Value:
        """Something that may be large."""

    held, values = Held(), []

    async def handler(request):
        value = Value()
        values.append(weakref.ref(value))
        VARIABLE.set(value)
        return await held(request)

    async with (
        http.listen('127.0.0.1', 0, handler, head_timeout=0.05) as server,
        wire(server) as client,
    ):
        client.send_request('GET /')
        await held.called.wait()
        async with wire(server) as silent:
            await silent.rest()
        held.release.set()
        await client.read_response()
        gc.collect()
        assert [None] == [value() for value in values]


# Closing


@pytest.mark.parametrize('tls', [False, True])
@pytest.mark.parametrize(
    ('field', 'begin', 'status'),
    [
        ('Content-Length: 999999999', b'', 413),
        ('Transfer-Encoding: chunked', b'fffffff\r\n', 413),
        ('Transfer-Encoding: chunked', b'1;', 400),
        ('Transfer-Encoding: chunked', b'no size\r\n', 400),
    ],
)
async def test_who_is_refused_may_send_on_and_reads_the_answer(
    wire, certificates, trusting, tls, field, begin, status
):
    """A client that is still sending gets the response, for the connection is not reset."""
    options = {'tls': certificates.server} if tls else {}
    async with (
        http.listen('127.0.0.1', 0, echo, max_body=1, **options) as server,
        wire(server, **({'ssl': trusting} if tls else {})) as client,
    ):
        client.send_request('POST /', field, body=begin)
        for start in range(0, len(BIG), 1_000_000):
            client.send(BIG[start : start + 1_000_000])
            await client.writer.drain()
        got, headers, _ = await client.read_response()
        assert (status, 'close') == (got, headers['Connection'])
        if not tls:
            assert b'' == await client.rest()
        assert 1 == server.stats['connections']


async def test_who_is_refused_may_send_on_only_so_long(wire, until, monkeypatch):
    """The connection is closed ``LINGER`` seconds after a refusal."""
    monkeypatch.setattr('aioluahttp.server.connection.LINGER', 0.05)
    async with http.listen('127.0.0.1', 0, echo, max_body=1) as server, wire(server) as client:
        client.send_request('POST /', 'Content-Length: 9', body=b'x')
        assert 413 == (await client.read_response())[0]
        await until(lambda: not server.stats['connections'])


POST = 'POST / HTTP/1.1\r\nHost: h\r\n'
CHUNKED = POST + 'Transfer-Encoding: chunked\r\n\r\n'
LONG = POST + 'Content-Length: 999999999999\r\n'


@pytest.mark.parametrize('tls', [False, True])
@pytest.mark.parametrize(
    'case',
    [
        ('bad\r\n\r\n', {}, 400, BEHIND),
        (f'GET / HTTP/1.1\r\nX: {"x" * 10_000}\r\n\r\n', {}, 431, BEHIND),
        (CHUNKED + 'no size\r\n', {}, 400, 500_000),
        ('CONNECT h:1 HTTP/1.1\r\nHost: h:1\r\n\r\n' + 'x' * 1000, {}, 501, BEHIND),
        (CHUNKED + '1;' + 'x' * 20_000, {}, 400, 500_000),
        (LONG + '\r\n', {}, 413, 500_000),
        (LONG + 'Expect: more\r\n\r\n', {}, 417, 500_000),
        (CHUNKED + '8\r\nhello', {'max_body': 1}, 413, 500_000),
    ],
)
async def test_who_is_refused_may_send_on_only_so_much(
    wire, until, monkeypatch, certificates, trusting, tls, case
):
    """The connection is cut off, also if its client neither reads nor leaves."""
    sent, options, status, room = case
    monkeypatch.setattr('aioluahttp.server.connection.REST', 500_000)
    options = options | ({'tls': certificates.server} if tls else {})
    async with (
        http.listen('127.0.0.1', 0, echo, **options) as server,
        wire(server, **({'ssl': trusting} if tls else {})) as client,
    ):
        client.send(sent.encode())
        assert status == (await client.read_response())[0]
        with contextlib.suppress(OSError):
            for _ in range(2000):
                client.send(b'x' * 50_000)
                await client.writer.drain()
        await until(lambda: not server.stats['connections'])
        assert room < server.stats['bytes_in'] < room + 600_000  # and what one read takes


async def test_reading_stops_behind_a_broken_body_until_the_response(wire, until):
    """What follows it is not read while the callback runs, and dropped after that."""
    called, may_respond = asyncio.Event(), asyncio.Event()

    async def callback(request):
        called.set()
        await may_respond.wait()
        return {'status': 200}

    async with serving(callback, into='stream') as (connections, server), wire(server) as client:
        connection, transport = await connections.made.get()
        client.send(CHUNKED.encode())
        await called.wait()
        client.send(b'no size\r\n' + b'x' * ROOM * 4)
        await until(lambda: not transport.is_reading())
        assert connection.dropped < ROOM * 8
        may_respond.set()
        status, headers, _ = await client.read_response()
        assert (200, 'close', b'') == (status, headers['Connection'], await client.rest())


async def test_lingering_ends_when_the_client_leaves(wire, until, monkeypatch):
    """Also if the client had sent another request, which gets no response."""
    monkeypatch.setattr('aioluahttp.server.connection.LINGER', 3600)
    async with serving() as (connections, server):
        async with wire(server) as client:
            client.send_request('GET /1', 'Connection: close')
            client.send_request('GET /2')
            assert (200, b'') == ((await client.read_response())[0], await client.rest())
            assert connections.open
        await until(lambda: not connections.open)


async def test_a_bad_head_in_parts_gets_one_400_and_no_408(wire, until, monkeypatch):
    """The connection lingers for ``LINGER`` seconds, and ``head_timeout`` no longer counts."""
    monkeypatch.setattr('aioluahttp.server.connection.LINGER', 0.05)
    async with serving() as (connections, server), wire(server) as client:
        connection, _ = await connections.made.get()
        client.send(b'GET / HT')
        await until(lambda: connection.in_head)
        client.send(b'no')
        assert (400, b'') == ((await client.read_response())[0], await client.rest())
        await until(lambda: not connections.open)


async def test_an_unread_body_is_dropped_while_the_connection_lingers(wire):
    """Also if reading had stopped because the buffer of the body was full."""
    chunks = b'1\r\nx\r\n' * 4_000_000
    async with serving(max_concurrent=0) as (_, server), wire(server) as client:
        client.send_request('POST /', 'Transfer-Encoding: chunked', body=chunks)
        await client.writer.drain()
        assert (503, b'') == ((await client.read_response())[0], await client.rest())


@pytest.mark.parametrize(
    'sent', [b'no HTTP', b'POST / HTTP/1.1\r\nHost: h\r\nContent-Length: 9\r\n']
)
async def test_a_refused_client_that_has_left_is_not_logged(until, caplog, sent):
    """The response makes the peer reset the connection, and closing it finds that."""
    async with serving(max_body=1) as (connections, server):
        with socket.create_connection(('127.0.0.1', server.port)) as client:
            client.sendall(sent + b'\r\nx')
        await connections.made.get()
        await until(lambda: not connections.open)
        gc.collect()  # a task reports an exception that was never retrieved when it is collected
    assert [] == [record for record in caplog.records if record.levelno > logging.INFO]


# Deadlines


@pytest.mark.parametrize('before', [b'', b'GET / HTTP/1.1\r\nHost: h\r\n\r\n'])
@pytest.mark.parametrize('part', [b'G', b'\r', b'GET / HTTP/1.1\r\nHost: h\r\n'])
async def test_an_incomplete_head_is_a_408_after_head_timeout(wire, caplog, before, part):
    """The first head of a connection and later ones; it is not logged."""
    caplog.set_level(logging.INFO, 'aioluahttp')
    listening = http.listen('127.0.0.1', 0, echo, head_timeout=0.05, keepalive_timeout=60)
    async with listening as server, wire(server) as client:
        client.send(before)
        if before:
            assert 200 == (await client.read_response())[0]
        client.send(part)
        status, headers, body = await client.read_response()
        assert (408, 'close', b'Request Timeout') == (status, headers['Connection'], body)
        assert b'' == await client.rest()
    assert [] == caplog.records


async def test_head_timeout_counts_for_a_head_begun_behind_a_request(wire):
    """Also if its first part came in the same packet, and nothing after it."""
    listening = http.listen('127.0.0.1', 0, echo, head_timeout=0.05, keepalive_timeout=60)
    async with listening as server, wire(server) as client:
        client.send(b'GET /1 HTTP/1.1\r\nHost: h\r\n\r\nGET /2')
        assert b'GET /1 0' == (await client.read_response())[2]
        assert 408 == (await client.read_response())[0]
        assert b'' == await client.rest()


@pytest.mark.parametrize(
    'options',
    [
        {'head_timeout': 0.05},
        {'keepalive_timeout': 0.05},
        {'head_timeout': 0.1, 'keepalive_timeout': 0.2},
    ],
)
async def test_a_connection_that_says_nothing_is_closed(wire, options):
    """Without a response: first after ``head_timeout``, later after ``keepalive_timeout``."""
    async with http.listen('127.0.0.1', 0, echo, **options) as server, wire(server) as client:
        if 'keepalive_timeout' in options:
            client.send_request('GET /')
            await client.read_response()
        assert b'' == await client.rest()


async def test_body_timeout_counts_apart_from_the_other_timeouts(wire):
    """Also if the deadlines of the head and of an idle connection are far away."""
    async with (
        http.listen('127.0.0.1', 0, echo, body_timeout=0.05) as server,
        wire(server) as client,
    ):
        client.send_request('GET /')
        assert 200 == (await client.read_response())[0]
        client.send_request('POST /', 'Content-Length: 2', body=b'a')
        assert (408, b'') == ((await client.read_response())[0], await client.rest())


@pytest.mark.parametrize('step', [b'G', b'\r\n', b'GET / HTTP/1.1\r\nHost: h\r\nX: '])
async def test_trickled_bytes_win_no_time(wire, step):
    """The deadline of a head is set at its first byte, whatever follows."""
    async with (
        http.listen('127.0.0.1', 0, echo, head_timeout=0.1) as server,
        wire(server) as client,
    ):
        client.send(step)
        end = asyncio.create_task(client.rest())
        while not end.done():
            client.send(b'x' if b':' in step else step[-2:])
            await asyncio.wait([end], timeout=0.01)  # the pace of the client
        with contextlib.suppress(ConnectionError):  # it was still sending
            assert (await end)[:12] in (b'', b'HTTP/1.1 408', b'HTTP/1.1 400')


@pytest.mark.parametrize('begun', [b'5\r\nhello\r\n1;', b'5\r\nhello\r\n', b'1;'])
@pytest.mark.parametrize('into', ['text', 'stream'])
async def test_extensions_of_chunks_win_no_time(wire, begun, into):
    """A body makes progress by its data only: ``body_timeout`` counts from the last of it."""

    async def read(request):
        return {'status': 200, 'body': await request.body.read()}

    async with (
        http.listen('127.0.0.1', 0, read, body_timeout=0.1, into=into) as server,
        wire(server) as client,
    ):
        client.send(CHUNKED.encode() + begun)
        end = asyncio.create_task(client.rest())
        while not end.done():
            client.send(b'x' if begun.endswith(b';') else b'0')
            await asyncio.wait([end], timeout=0.01)  # the pace of the client
        with contextlib.suppress(ConnectionError):  # it was still sending
            assert (await end)[:12] in (b'', b'HTTP/1.1 408')


async def test_keepalive_timeout_ends_with_the_first_byte_of_a_head(wire):
    """From then on ``head_timeout`` counts."""
    async with (
        http.listen('127.0.0.1', 0, echo, keepalive_timeout=0.05) as server,
        wire(server) as client,
        wire(server) as idle,
    ):
        client.send_request('GET /')
        await client.read_response()
        client.send(b'GET / HTTP')
        idle.send_request('GET /')
        await idle.read_response()
        assert b'' == await idle.rest()
        client.send(b'/1.1\r\nHost: h\r\n\r\n')
        assert 200 == (await client.read_response())[0]


async def test_keepalive_timeout_does_not_cut_a_head_begun_during_a_response(wire):
    """Also if the end of that response starts ``keepalive_timeout``."""
    held = Held()
    async with (
        serving(held, keepalive_timeout=0.05) as (connections, server),
        wire(server) as client,
        wire(server) as idle,
    ):
        client.send_request('GET /')
        connection, _ = await connections.made.get()
        await held.called.wait()
        connection.data_received(b'GET / H')
        held.release.set()
        await client.read_response()
        connection.data_received(b'T')
        idle.send_request('GET /')
        await idle.read_response()
        assert b'' == await idle.rest()
        client.send(b'TP/1.1\r\nHost: h\r\n\r\n')
        assert 200 == (await client.read_response())[0]


async def test_the_408_of_a_late_head_comes_after_the_responses_before_it(wire):
    """The responses to earlier requests are sent first."""
    held = Held()
    async with (
        http.listen('127.0.0.1', 0, held, head_timeout=0.05) as server,
        wire(server) as client,
    ):
        client.send_request('GET /1')
        await held.called.wait()
        client.send(b'GET /2 HTTP/1.1\r\n')
        async with wire(server) as silent:
            assert b'' == await silent.rest()
        async with wire(server) as silent:
            assert b'' == await silent.rest()
        held.release.set()
        assert (200, b'GET /1 0') == (await client.read_response())[::2]
        assert 408 == (await client.read_response())[0]


@pytest.mark.parametrize('loop', LOOPS)
def test_a_callback_that_blocks_the_loop_does_not_time_out_the_next_request(wire, loop):
    """However late it is then, a request that was sent in time gets its response."""

    def handler(request):
        time.sleep(0.25)
        return echo(request)

    async def ask():
        async with (
            http.listen('127.0.0.1', 0, handler, head_timeout=0.2) as server,
            wire(server) as client,
        ):
            client.send_request('GET /1')
            client.send_request('GET /2', 'Connection: close')
            return (await client.rest()).count(b'HTTP/1.1 200 OK')

    with asyncio.Runner(loop_factory=LOOPS[loop]) as runner:
        assert 2 == runner.run(ask())


# Peers that do not read


async def test_reading_stops_where_answers_are_not_read(wire, until):
    """Reading stops while responses are not read, so endless requests cost bounded memory."""
    async with serving(big, body_timeout=60) as (connections, server), wire(server) as client:
        _, transport = await connections.made.get()
        client.send(b'GET / HTTP/1.1\r\nHost: h\r\n\r\n' * 100_000)
        await until(lambda: not transport.is_reading())
        assert connections.bytes_in < 1_000_000
        assert transport.get_write_buffer_size() <= len(BIG) + 1000
        client.writer.transport.abort()


# Peers that half-close or leave


@pytest.mark.parametrize(
    ('sent', 'expected'),
    [
        (b'', []),
        (b'GET / HTTP/1.1\r\n', []),
        (b'GET /1 HTTP/1.1\r\nHost: h\r\n\r\n', [b'GET /1 0']),
        (b'GET /1 HTTP/1.1\r\nHost: h\r\n\r\n' * 40, [b'GET /1 0'] * 40),
        (b'GET /1 HTTP/1.1\r\nHost: h\r\n\r\nGET /2', [b'GET /1 0']),
        (
            b'GET /1 HTTP/1.1\r\nHost: h\r\n\r\n'
            b'POST /2 HTTP/1.1\r\nHost: h\r\nContent-Length: 3\r\n\r\nab',
            [b'GET /1 0'],
        ),
        (b'POST / HTTP/1.1\r\nHost: h\r\nContent-Length: 2\r\n\r\nab', [b'POST / 2']),
        (b'POST / HTTP/1.1\r\nHost: h\r\nContent-Length: 3\r\n\r\nab', []),
        (b'GET /1 HTTP/1.0\r\n\r\n', [b'GET /1 0']),
    ],
)
async def test_a_client_that_half_closes_gets_its_responses(wire, caplog, sent, expected):
    """After a half-close, as by ``nc -N``, each complete request gets its response."""
    async with http.listen('127.0.0.1', 0, echo) as server, wire(server) as client:
        client.send(sent)
        client.writer.write_eof()
        found = [(await client.read_response())[2] for _ in expected]
        assert (expected, b'') == (found, await client.rest())
    assert [] == [record for record in caplog.records if record.levelno > logging.INFO]


async def test_a_client_that_half_closes_gets_a_response_that_is_not_ready_yet(wire, until):
    """The handler may still run when the end of input comes."""
    held = Held()
    async with serving(held) as (connections, server), wire(server) as client:
        client.send_request('GET /')
        connection, _ = await connections.made.get()
        await held.called.wait()
        client.writer.write_eof()
        await until(lambda: connection.at_eof)
        held.release.set()
        assert (200, b'GET / 0') == (await client.read_response())[::2]
        assert b'' == await client.rest()


@pytest.mark.parametrize('tls', [False, True])
async def test_cancel_on_disconnect_cancels_the_callback_of_a_client_that_leaves(
    wire, certificates, trusting, tls
):
    """A half-close counts as leaving then."""
    held = Held()
    options = {'tls': certificates.server} if tls else {}
    listening = http.listen('127.0.0.1', 0, held, cancel_on_disconnect=True, **options)
    async with listening as server:
        async with wire(server, **({'ssl': trusting} if tls else {})) as client:
            client.send_request('GET /')
            await held.called.wait()
            if not tls:
                client.writer.write_eof()
                await held.ended.wait()
        await held.ended.wait()


async def test_a_client_that_leaves_does_not_cancel_its_callback_by_default(wire, until):
    """The callback runs to its end, though the connection is lost."""
    held = Held()
    async with serving(held) as (connections, server):
        async with wire(server) as client:
            client.send_request('GET /')
            await held.called.wait()
            client.reset()
        await until(lambda: not connections.open)
        assert not held.ended.is_set()
        held.release.set()
        await held.ended.wait()


async def test_no_request_is_started_after_the_last_response_of_a_closing_server(wire, until):
    """Also if that response began before, and does not say ``Connection: close``."""
    asked = []

    def handler(request):
        asked.append(request.url)
        return big(request)

    async with serving(handler) as (connections, server), wire(server) as client:
        _, transport = await connections.made.get()
        client.send_request('GET /1')
        client.send_request('GET /2')
        await until(transport.get_write_buffer_size)
        connections.closing = True
        assert None is (await client.read_response())[1].get('Connection')
        with contextlib.suppress(ConnectionError):
            assert b'' == await client.rest()
    assert ['/1'] == asked


async def test_a_connection_accepted_as_the_server_closes_is_aborted(wire):
    """A connection that was being accepted is closed at once."""
    async with serving() as (connections, server):
        connections.closing = True
        async with wire(server) as client:
            with contextlib.suppress(ConnectionResetError):
                assert b'' == await client.rest()


async def test_close_all_aborts_connections_that_stay_open(wire):
    """After the given seconds to read what is unsent."""
    async with serving(big) as (connections, server), wire(server) as client:
        client.send_request('GET /', 'Connection: close')
        await client.reader.readuntil(b'\r\n\r\n')
        await connections.close_all(0.01)
        assert {} == connections.open


async def test_close_idle_leaves_connections_with_a_request_open(wire):
    """They send their response first."""
    held = Held()
    async with (
        serving(held) as (connections, server),
        wire(server) as busy,
        wire(server) as idle,
    ):
        busy.send_request('GET /')
        await held.called.wait()
        await connections.made.get()
        await connections.made.get()
        connections.close_idle()
        assert b'' == await idle.rest()
        held.release.set()
        assert 200 == (await busy.read_response())[0]


# WebSockets

CLOSE = 8


async def read_all(socket):
    """Read all messages, and ignore errors."""
    with contextlib.suppress(http.ProtocolError):
        async for _ in socket:
            pass


def opening(held):
    """Serve WebSockets that open when the handler is released."""

    async def callback(request):
        await held(request)
        return {'websocket': read_all}

    return http.listen('127.0.0.1', 0, callback)


@pytest.mark.parametrize('opened', [True, False])
async def test_a_closing_server_closes_its_websockets_with_1001(wire, frames, until, opened):
    """Also those that open while it is closing (RFC 6455 7.4.1)."""
    held = Held()
    async with opening(held) as server, wire(server) as client:
        client.send_request('GET /', *frames.asking)
        await held.called.wait()
        if opened:
            held.release.set()
            assert 101 == (await client.read_response(silent=True))[0]
        closing = asyncio.create_task(server.close())
        await until(lambda: server._connections.closing)
        held.release.set()
        if not opened:
            assert 101 == (await client.read_response(silent=True))[0]
        assert (CLOSE, b'\x03\xe9') == await frames.read(client.reader)
        client.send(frames.write(CLOSE, b'\x03\xe9', masked=True))
        assert b'' == await client.rest()
        await closing


@pytest.mark.parametrize('late', [True, False])
async def test_a_websocket_ends_when_its_client_half_closes(wire, frames, until, late):
    """Also if the client did so before the response to the handshake."""
    held = Held()
    async with opening(held) as server, wire(server) as client:
        client.send_request('GET /', *frames.asking)
        if late:
            held.release.set()
            await client.read_response(silent=True)
            client.writer.write_eof()
        else:
            await held.called.wait()
            client.writer.write_eof()
            await until(lambda: any(one.at_eof for one in server._connections.open))
            held.release.set()
            await client.read_response(silent=True)
        assert b'' == await client.rest()


async def test_an_open_websocket_keeps_its_headers_once(wire, frames):
    """In its request, and neither in the parser nor in what the parser made."""
    fields = [f'X-{number}: {str(number) * 7000}' for number in range(4)]
    held = Held()
    held.release.set()
    async with opening(held) as server, wire(server) as first, wire(server) as second:
        first.send_request('GET /', *frames.asking)  # fills caches
        await first.read_response(silent=True)
        tracemalloc.start()
        try:
            second.send_request('GET /', *frames.asking, *fields)
            assert 101 == (await second.read_response(silent=True))[0]
            gc.collect()
            assert 28_000 < tracemalloc.get_traced_memory()[0] < 56_000
        finally:
            tracemalloc.stop()


@pytest.mark.parametrize(
    ('function', 'expected'),
    [
        (RequestHandler.close, ['self']),
        (RequestHandler.force_close, ['self']),
        (StreamWriter.drain, ['self']),
    ],
    ids=lambda value: getattr(value, '__qualname__', ''),
)
def test_aiohttp_takes_the_same_arguments_for_pauses(parameters, function, expected):
    """The methods of aiohttp that we override or call still have these parameters."""
    name = function.__qualname__
    assert expected == parameters(function), f'aiohttp: {name} takes other arguments now'


async def test_nothing_is_written_or_counted_without_a_transport():
    """Nor is that counted."""
    connections = Connections(Responder(echo, Settings()))
    connections().write_now(encode_status_page(400))
    assert 0 == connections.bytes_out


@pytest.mark.parametrize('sent', [b'x\r\n\r\n', b'GET / HTTP/1.0\r\n\r\n'])
async def test_every_byte_of_a_response_is_counted(wire, sent):
    """Also of a response to an invalid request."""
    async with http.listen('127.0.0.1', 0, echo) as server, wire(server) as client:
        client.send(sent)
        response = await client.rest()
        assert len(response) == server.stats['bytes_out'] > 0


@pytest.mark.parametrize('fields', [[], ['Connection: close']])
@pytest.mark.parametrize('times', [1, 5])
@pytest.mark.parametrize('tls', [False, True])
async def test_who_does_not_read_is_cut_off(wire, certificates, trusting, fields, times, tls):
    """After ``body_timeout``; then a connection that waits for its place is served."""
    options = {'tls': certificates.server} if tls else {}
    listening = http.listen(
        '127.0.0.1',
        0,
        lambda request: big(request) if request.path == '/big' else echo(request),
        max_connections=1,
        body_timeout=0.1,
        **options,
    )
    options = {'ssl': trusting} if tls else {}
    async with listening as server, wire(server, **options) as client:
        for _ in range(times):
            client.send_request('GET /big', *fields)
        await client.reader.readuntil(b'\r\n\r\n')
        async with wire(server, **options) as other:
            other.send_request('GET /')
            assert 200 == (await other.read_response())[0]
        with pytest.raises((OSError, asyncio.IncompleteReadError)):
            await client.reader.readexactly(len(BIG))


@pytest.mark.parametrize('fields', [[], ['Connection: close']])
@pytest.mark.parametrize('tls', [False, True])
async def test_a_client_that_reads_slowly_gets_the_whole_response(
    wire, certificates, trusting, fields, tls
):
    """However long it takes, if it reads something within each ``body_timeout``."""
    looked = asyncio.Event()

    class Looking(Connection):
        def start_write_timer(self, transport):
            looked.set()
            super().start_write_timer(transport)

    class Looked(Connections):
        def __call__(self):
            return Looking(self)

    connections = Looked(Responder(big, Settings(body_timeout=0.25)))
    options = {'ssl': certificates.server, 'ssl_shutdown_timeout': 0.25} if tls else {}
    server = await asyncio.get_running_loop().create_server(connections, '127.0.0.1', 0, **options)
    address = SimpleNamespace(port=server.sockets[0].getsockname()[1])
    async with wire(address, **({'ssl': trusting} if tls else {})) as client:
        client.send_request('GET /', *fields)
        await client.reader.readuntil(b'\r\n\r\n')
        left = len(BIG)
        for _ in range(3):  # three times body_timeout
            looked.clear()
            left -= len(await client.reader.readexactly(2_000_000))
            await looked.wait()
        assert left == len(await client.reader.readexactly(left))
    server.close()
    await connections.close_all(1)
    await server.wait_closed()


@pytest.mark.parametrize('keeps', [True, False])
async def test_a_tls_client_without_close_notify_is_cut_off(wire, certificates, trusting, keeps):
    """After ``body_timeout``, after an idle connection or a last response."""
    listening = http.listen(
        '127.0.0.1',
        0,
        echo,
        max_connections=1,
        keepalive_timeout=0.05,
        body_timeout=0.05,
        tls=certificates.server,
    )
    async with listening as server:
        with socket.socket() as mute:
            mute.setblocking(False)
            await asyncio.get_running_loop().sock_connect(mute, ('127.0.0.1', server.port))
            await handshake_and_request(mute, trusting, b'' if keeps else b'Connection: close\r\n')
            async with wire(server, ssl=trusting) as client:
                client.send_request('GET /')
                assert 200 == (await client.read_response())[0]


async def handshake_and_request(client, context, field):
    """Do the TLS handshake and a request by hand, so that nothing reacts to what comes later."""
    loop = asyncio.get_running_loop()
    incoming, outgoing = ssl.MemoryBIO(), ssl.MemoryBIO()
    session = context.wrap_bio(incoming, outgoing, server_hostname='127.0.0.1')

    async def repeat(act):
        while True:
            with contextlib.suppress(ssl.SSLWantReadError):
                result = act()
                await loop.sock_sendall(client, outgoing.read())
                return result
            await loop.sock_sendall(client, outgoing.read())
            incoming.write(await loop.sock_recv(client, 65536))

    await repeat(session.do_handshake)
    await repeat(lambda: session.write(b'GET / HTTP/1.1\r\nHost: h\r\n' + field + b'\r\n'))
    assert b'HTTP/1.1 200' == await repeat(lambda: session.read(12))


@pytest.mark.parametrize('tls', [False, True])
async def test_a_client_that_does_not_read_does_not_delay_close(wire, certificates, trusting, tls):
    """It is cut off in the end, whatever is still unsent."""
    options = {'tls': certificates.server} if tls else {}
    async with (
        http.listen('127.0.0.1', 0, big, **options) as server,
        wire(server, **({'ssl': trusting} if tls else {})) as client,
    ):
        client.send_request('GET /', 'Connection: close')
        await client.reader.readuntil(b'\r\n\r\n')
        await server.close(grace=0)
        with pytest.raises((OSError, asyncio.IncompleteReadError)):
            await client.reader.readexactly(len(BIG))


async def test_nothing_is_written_to_a_tls_client_that_has_left(
    wire, certificates, trusting, caplog
):
    """The rest is not encrypted either; asyncio would log a warning for each piece."""

    def handler(request):
        client.writer.get_extra_info('socket').shutdown(socket.SHUT_RDWR)
        return big(request)

    async with (
        http.listen('127.0.0.1', 0, handler, tls=certificates.server) as server,
        wire(server, ssl=trusting) as client,
    ):
        client.send_request('GET /')
        with contextlib.suppress(ConnectionError):
            await client.rest()
    assert [] == caplog.records


async def test_a_response_written_by_aiohttp_is_waited_for_and_counted(wire, tmp_path):
    """A file is such a response."""
    (tmp_path / 'small').write_bytes(b'x')
    (tmp_path / 'big').write_bytes(BIG)

    def callback(request):
        return {'status': 200, 'body': tmp_path / request.path[1:]}

    async with http.listen('127.0.0.1', 0, callback) as server, wire(server) as client:
        for name, size in (('small', 1), ('big', len(BIG))):
            client.send_request(f'GET /{name}')
            assert size == len((await client.read_response())[2])
    assert server.stats['bytes_out'] > len(BIG)


async def flood(socket):
    """Send messages without end."""
    while True:
        await socket.send(b'x' * 1_000_000)


async def test_a_websocket_whose_client_does_not_read_is_cut_off(wire, frames, until):
    """After ``body_timeout`` without a byte read; a client that reads is not cut off."""
    # Long enough for a client in the same process, which a busy machine may hold up.
    async with http.listen(
        '127.0.0.1', 0, lambda request: {'websocket': flood}, body_timeout=1
    ) as server:
        async with wire(server) as client:
            client.send_request('GET /', *frames.asking)
            await client.read_response(silent=True)
            for _ in range(30):
                assert 1_000_000 == len((await frames.read(client.reader))[1])
                await asyncio.sleep(0.05)
        async with wire(server) as client:
            client.send_request('GET /', *frames.asking)
            await client.read_response(silent=True)
            await until(lambda: not server.stats['connections'])


def unread(port):
    """Return a socket, connected, whose peer can send it little that is not read."""
    client = socket.socket()
    client.setsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF, 4096)
    client.connect(('127.0.0.1', port))
    client.setblocking(False)
    return client


async def echo_much(channel):
    with contextlib.suppress(http.ProtocolError):
        async for _ in channel:
            await channel.send('x' * 15_000)


HANDSHAKE = (
    b'GET / HTTP/1.1\r\nHost: h\r\nConnection: Upgrade\r\nUpgrade: websocket\r\n'
    b'Sec-WebSocket-Version: 13\r\nSec-WebSocket-Key: dGhlIHNhbXBsZSBub25jZQ==\r\n\r\n'
)


@pytest.mark.parametrize('name', LOOPS)
@pytest.mark.parametrize('kind', ['http', 'websocket'])
def test_a_peer_that_half_closes_and_reads_nothing_is_cut_off(name, kind, until):
    """Also if what it has not read is so little that no write waits."""
    first = HANDSHAKE if kind == 'websocket' else b''
    request = b'\x81\x81\0\0\0\0a' if first else b'GET / HTTP/1.1\r\nHost: h\r\n\r\n'
    response = {'websocket': echo_much} if first else {'status': 200, 'body': 'x' * 15_000}

    async def main():
        options = {'body_timeout': 0.1, 'keepalive_timeout': 0.1}
        async with http.listen('127.0.0.1', 0, lambda request: response, **options) as server:
            with unread(server.port) as client:
                send = asyncio.get_running_loop().sock_sendall
                await send(client, first)
                await until(lambda: server._connections.open)
                (transport,) = server._connections.open.values()
                await asyncio.sleep(0.05)
                while not transport.get_write_buffer_size():
                    await send(client, request)
                    await asyncio.sleep(0.002)
                client.shutdown(socket.SHUT_WR)
                await until(lambda: not server._connections.open)

    with asyncio.Runner(loop_factory=LOOPS[name]) as runner:
        runner.run(main())


async def test_reading_a_body_after_the_response_keeps_no_connection_open(wire, monkeypatch, until):
    """The handler has started a task that still waits for more of the body."""
    monkeypatch.setattr('aioluahttp.server.connection.LINGER', 0.1)
    tasks = []

    async def handler(request):
        tasks.append(asyncio.create_task(request.body.read()))
        await asyncio.sleep(0.01)
        return {'status': 403}

    async with (
        http.listen('127.0.0.1', 0, handler, into='stream', body_timeout=30) as server,
        wire(server) as client,
    ):
        client.send_request('POST /', 'Content-Length: 10', body=b'ab')
        assert (await client.read_response())[0] == 403
        await until(lambda: not server.stats['connections'])
    (ended,) = await asyncio.gather(*tasks, return_exceptions=True)
    assert isinstance(ended, http.Error)


@pytest.mark.parametrize('name', LOOPS)
@pytest.mark.parametrize('into', ['text', 'stream'])
def test_a_body_that_came_in_time_is_not_late_because_the_loop_was_busy(name, into):
    async def handler(request):
        body = request.body if into == 'text' else (await request.body.read()).decode()
        return {'status': 200, 'body': body}

    async def main():
        options = {'into': into, 'body_timeout': 0.2}
        async with http.listen('127.0.0.1', 0, handler, **options) as server:
            reader, writer = await asyncio.open_connection('127.0.0.1', server.port)
            writer.write(b'POST / HTTP/1.1\r\nHost: h\r\nContent-Length: 4\r\n\r\nab')
            await asyncio.sleep(0.05)
            writer.write(b'cd')
            time.sleep(0.3)  # noqa: ASYNC251
            assert b' 200 ' in await reader.readline()
            writer.close()

    with asyncio.Runner(loop_factory=LOOPS[name]) as runner:
        runner.run(main())


async def test_a_closed_connection_is_freed_without_a_collection(wire, until):
    def connections():
        return sum(type(one) is Connection for one in gc.get_objects())

    async with http.listen('127.0.0.1', 0, echo) as server:
        gc.collect()
        before = connections()
        gc.disable()
        try:
            async with wire(server) as client:
                client.send_request('GET /')
                await client.read_response()
                assert connections() == before + 1
            await until(lambda: connections() == before)
        finally:
            gc.enable()


@pytest.mark.parametrize('cancels', [False, True])
@pytest.mark.parametrize('body', ['whole', 'arrived', 'plain'])
async def test_a_response_that_is_not_read_to_its_end_is_in_the_access_log(wire, cancels, body):
    logged = asyncio.Queue()

    def handler(request):
        if body == 'arrived':
            headers = {'Content-Length': len(BIG)}
            return {'status': 200, 'headers': headers, 'body': Stream(ArrivedBody(BIG))}
        return {'status': 200, 'reason': 'Fine', 'body': BIG} if body == 'whole' else big(request)

    def log(request, response):
        logged.put_nowait((response['status'], response['record']['bytes']))

    options = {'cancel_on_disconnect': cancels, 'access_log': log}
    async with http.listen('127.0.0.1', 0, handler, **options) as server:
        reader, writer = await asyncio.open_connection('127.0.0.1', server.port)
        writer.write(b'GET / HTTP/1.1\r\nHost: h\r\n\r\n')
        await reader.read(1000)
        writer.transport.abort()
        assert await asyncio.wait_for(logged.get(), 5) == (200, len(BIG))


async def test_an_access_log_that_fails_changes_no_response(wire, caplog):
    """A second response would be taken for that to the next request."""

    class Failing(logging.Handler):
        def emit(self, record):
            raise OSError('the disk is full')

    log = logging.getLogger('tests.failing')
    log.addHandler(Failing())
    log.setLevel(logging.INFO)
    async with (
        http.listen('127.0.0.1', 0, echo, access_log=log) as server,
        wire(server) as client,
    ):
        for path in '/1', '/2':
            client.send_request(f'GET {path}')
        for path in '/1', '/2':
            status, _, body = await client.read_response()
            assert (status, body) == (200, f'GET {path} 0'.encode())
    assert caplog.text.count('access_log failed') == 2


async def test_an_error_after_a_response_adds_no_second_one(wire, caplog, monkeypatch):
    """The connection closes: the client would take it for the response to its next request."""

    async def fail(*arguments):
        raise RuntimeError('a mistake of the library')

    monkeypatch.setattr('aioluahttp.exchange.access_log.AccessRecord.write', fail)
    async with (
        http.listen('127.0.0.1', 0, echo, access_log=fail) as server,
        wire(server) as client,
    ):
        client.send_request('GET /1')
        client.send_request('GET /2')
        assert (await client.read_response())[0] == 200
        assert await client.rest() == b''
    assert 'a mistake of the library' in caplog.text
