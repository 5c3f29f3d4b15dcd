"""aiohttp's connections: their deadlines and their ends, and what of aiohttp's they rely on."""

import asyncio
import contextlib
import gc
import logging
import socket
import ssl
import struct
import time
import weakref
from contextvars import ContextVar
from types import SimpleNamespace

import pytest
from aiohttp.base_protocol import BaseProtocol
from aiohttp.http_writer import StreamWriter
from aiohttp.web_protocol import RequestHandler

import aioluahttp as http
from aioluahttp.server.connection import Connection, Connections
from aioluahttp.server.encode import encode_status_page
from aioluahttp.server.exchange import Settings, SocketResponder

BIG = b'x' * 20_000_000  # more than the buffers of two sockets hold
VARIABLE = ContextVar('VARIABLE', default='unset')
LOOPS = {'asyncio': asyncio.new_event_loop}
with contextlib.suppress(ImportError):  # there is none on Windows
    import uvloop

    LOOPS['uvloop'] = uvloop.new_event_loop


def echo(request):
    """Say what was asked."""
    return {'status': 200, 'body': f'{request.method} {request.url} {len(request.body or "")}'}


def big(request):
    """Give more than fits into the buffers."""
    return {'status': 200, 'body': BIG}


class Held:
    """A handler that answers when it is told to."""

    def __init__(self):
        self.called, self.release, self.ended = asyncio.Event(), asyncio.Event(), asyncio.Event()

    async def __call__(self, request):
        self.called.set()
        try:
            await self.release.wait()
        finally:
            self.ended.set()
        return echo(request)


class Noted(Connections):
    """Connections that are given as they are made, with their transports."""

    def __init__(self, exchange):
        super().__init__(exchange)
        self.made = asyncio.Queue()

    def opened(self, connection, transport):
        super().opened(connection, transport)
        self.made.put_nowait((connection, transport))


@contextlib.asynccontextmanager
async def serving(handler=echo, connections=None, **settings):
    """Serve without ``listen``; give connections, and what ``wire`` takes for a server."""
    connections = connections or Noted(SocketResponder(handler, Settings(**settings)))
    server = await asyncio.get_running_loop().create_server(connections, '127.0.0.1', 0)
    try:
        yield connections, SimpleNamespace(port=server.sockets[0].getsockname()[1])
    finally:
        server.close()
        await connections.close_all(1)
        await server.wait_closed()


@pytest.fixture
def trusting(certificates):
    """Give what a client trusts."""
    return ssl.create_default_context(cafile=certificates.ca)


# What aiohttp must go on to do


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
    """What is overridden or called has the parameters that it had."""
    name = function.__qualname__
    assert expected == parameters(function), f'aiohttp: {name} takes other arguments now'


async def test_aiohttp_has_the_same_inner_parts(wire):
    """The things of which no page tells."""
    async with serving() as (connections, server), wire(server) as client:
        connection, transport = await connections.made.get()
        assert connection.transport is transport, 'RequestHandler.transport is another thing now'
        assert connection.ssl_context is None, 'RequestHandler.ssl_context is not None without TLS'
        assert connection.writing_paused is False, 'RequestHandler.writing_paused is no bool now'
        assert transport.get_extra_info('peername') == connection.peername
        assert transport.get_extra_info('sockname') == connection.sockname
        client.ask('GET /')
        assert b'GET / 0' == (await client.answer())[2]
    assert 1 == connections.requests_count, 'requests_count does not count requests any more'
    assert issubclass(RequestHandler, BaseProtocol), 'RequestHandler has no flow control any more'


# Mistakes


class Broken(SocketResponder):
    """An exchange with a fault of its own, for which no handler is to blame."""

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
async def test_a_fault_of_ours_is_told_with_its_traceback(
    wire, caplog, request_bytes, status, level
):
    """A bad request is a line below WARNING; what is not the peer's fault is an error."""
    caplog.set_level(logging.INFO)
    connections = Connections(Broken(echo, Settings()))
    async with serving(connections=connections) as (_, server), wire(server) as client:
        client.send(request_bytes)
        answer = await client.rest()
    assert answer.startswith(f'HTTP/1.1 {status} '.encode())
    assert b'Connection: close\r\n' in answer
    (record,) = caplog.records
    assert (level, level == logging.ERROR) == (record.levelno, bool(record.exc_info))


async def test_a_fault_of_ours_is_told_though_the_client_has_left(wire, until, caplog):
    """There is nobody to answer then, and that is no second fault."""
    called, left = asyncio.Event(), asyncio.Event()

    class Late(SocketResponder):
        async def __call__(self, raw):
            called.set()
            await left.wait()
            raise ValueError('a fault of the library')

    connections = Connections(Late(echo, Settings()))
    async with serving(connections=connections) as (_, server):
        async with wire(server) as client:
            client.ask('POST /', 'Content-Length: 2')
            await called.wait()
        await until(lambda: not connections.open)
        left.set()
        await until(lambda: not connections.exchange.running)
    assert ['ERROR'] == [record.levelname for record in caplog.records]


@pytest.mark.parametrize('loop', LOOPS)
@pytest.mark.parametrize('kind', [KeyboardInterrupt, SystemExit])
def test_a_handler_may_end_the_program(wire, caplog, loop, kind):
    """On every loop, and nothing but the exception tells of it."""

    def handler(request):
        raise kind

    async def serve():
        async with http.listen('127.0.0.1', 0, handler) as server, wire(server) as client:
            client.ask('GET /')
            await asyncio.Event().wait()

    with asyncio.Runner(loop_factory=LOOPS[loop]) as runner, pytest.raises(kind):
        runner.run(asyncio.wait_for(serve(), 10))
    gc.collect()
    assert [] == caplog.records


# Contexts


async def test_a_request_begins_in_the_context_of_the_server(wire):
    """Never in that of another: one it came along with, or whose connection made room for it."""
    seen = []

    def handler(request):
        seen.append(VARIABLE.get())
        VARIABLE.set(request.url)
        return {'status': 200}

    VARIABLE.set('the server')
    async with http.listen('127.0.0.1', 0, handler, max_connections=1) as server:
        for number in range(3):
            async with wire(server) as client:
                client.ask(f'GET /{number}/1')
                client.ask(f'GET /{number}/2')
                client.ask(f'GET /{number}/3', 'Connection: close')
                await client.rest()
    assert ['the server'] * 9 == seen


async def test_an_idle_connection_keeps_nothing_of_the_context_of_its_last_request(wire):
    """Though that took so long that the deadline of an idle one had to be set anew."""

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
        client.ask('GET /')
        await held.called.wait()
        async with wire(server) as silent:
            await silent.rest()
        held.release.set()
        await client.answer()
        gc.collect()
        assert [None] == [value() for value in values]


# Ends


@pytest.mark.parametrize('tls', [False, True])
async def test_who_is_refused_may_send_on_and_reads_the_answer(wire, certificates, trusting, tls):
    """A connection that is reset as it is closed would take the answer with it."""
    options = {'tls': certificates.server} if tls else {}
    async with (
        http.listen('127.0.0.1', 0, echo, max_body=1, **options) as server,
        wire(server, **({'ssl': trusting} if tls else {})) as client,
    ):
        client.ask('POST /', f'Content-Length: {len(BIG)}')
        for start in range(0, len(BIG), 1_000_000):
            client.send(BIG[start : start + 1_000_000])
            await client.writer.drain()
        status, headers, _ = await client.answer()
        assert (413, 'close') == (status, headers['Connection'])
        if not tls:
            assert b'' == await client.rest()
        assert 1 == server.stats['connections']


async def test_who_is_refused_may_send_on_only_so_long(wire, until, monkeypatch):
    """Then the connection is closed."""
    monkeypatch.setattr('aioluahttp.server.connection.LINGER', 0.05)
    async with http.listen('127.0.0.1', 0, echo, max_body=1) as server, wire(server) as client:
        client.ask('POST /', 'Content-Length: 9', body=b'x')
        assert 413 == (await client.answer())[0]
        await until(lambda: not server.stats['connections'])


async def test_who_leaves_once_it_has_its_last_answer_is_waited_for_no_more(
    wire, until, monkeypatch
):
    """Though it had asked for more, which it does not get."""
    monkeypatch.setattr('aioluahttp.server.connection.LINGER', 3600)
    async with serving() as (connections, server):
        async with wire(server) as client:
            client.ask('GET /1', 'Connection: close')
            client.ask('GET /2')
            assert (200, b'') == ((await client.answer())[0], await client.rest())
            assert connections.open
        await until(lambda: not connections.open)


async def test_a_bad_head_in_parts_is_refused_once_and_only_so_long(wire, until, monkeypatch):
    """It is late for nothing once it is answered, be it as it may that its end never came."""
    monkeypatch.setattr('aioluahttp.server.connection.LINGER', 0.05)
    async with serving() as (connections, server), wire(server) as client:
        connection, _ = await connections.made.get()
        client.send(b'GET / HT')
        await until(lambda: connection.in_head)
        client.send(b'no')
        assert (400, b'') == ((await client.answer())[0], await client.rest())
        await until(lambda: not connections.open)


async def test_what_is_sent_of_a_body_that_nobody_reads_is_dropped(wire):
    """Also where reading had stopped, for more of it had come than is wanted at a time."""
    chunks = b'1\r\nx\r\n' * 4_000_000
    async with serving(max_concurrent=0) as (_, server), wire(server) as client:
        client.ask('POST /', 'Transfer-Encoding: chunked', body=chunks)
        await client.writer.drain()
        assert (503, b'') == ((await client.answer())[0], await client.rest())


@pytest.mark.parametrize(
    'sent', [b'no HTTP', b'POST / HTTP/1.1\r\nHost: h\r\nContent-Length: 9\r\n']
)
async def test_who_has_left_when_it_is_refused_is_not_told_of(until, caplog, sent):
    """The answer resets the connection then, and what follows finds it so."""
    async with serving(max_body=1) as (connections, server):
        with socket.create_connection(('127.0.0.1', server.port)) as client:
            client.sendall(sent + b'\r\nx')
        await connections.made.get()
        await until(lambda: not connections.open)
        gc.collect()  # a task tells of an exception that nobody asked for as it goes
    assert [] == [record for record in caplog.records if record.levelno > logging.INFO]


# Deadlines


@pytest.mark.parametrize('before', [b'', b'GET / HTTP/1.1\r\nHost: h\r\n\r\n'])
@pytest.mark.parametrize('part', [b'G', b'\r', b'GET / HTTP/1.1\r\nHost: h\r\n'])
async def test_a_head_that_does_not_end_is_a_408(wire, caplog, before, part):
    """After head_timeout, the first of a connection as well as the next; it costs no log."""
    caplog.set_level(logging.INFO, 'aioluahttp')
    listening = http.listen('127.0.0.1', 0, echo, head_timeout=0.05, keepalive_timeout=60)
    async with listening as server, wire(server) as client:
        client.send(before)
        if before:
            assert 200 == (await client.answer())[0]
        client.send(part)
        status, headers, body = await client.answer()
        assert (408, 'close', b'Request Timeout') == (status, headers['Connection'], body)
        assert b'' == await client.rest()
    assert [] == caplog.records


async def test_a_head_begun_behind_a_request_must_end_too(wire):
    """Also where it came in the same packet, and nothing after it."""
    listening = http.listen('127.0.0.1', 0, echo, head_timeout=0.05, keepalive_timeout=60)
    async with listening as server, wire(server) as client:
        client.send(b'GET /1 HTTP/1.1\r\nHost: h\r\n\r\nGET /2')
        assert b'GET /1 0' == (await client.answer())[2]
        assert 408 == (await client.answer())[0]
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
    """Without a word: at first after head_timeout, after an answer after keepalive_timeout."""
    async with http.listen('127.0.0.1', 0, echo, **options) as server, wire(server) as client:
        if 'keepalive_timeout' in options:
            client.ask('GET /')
            await client.answer()
        assert b'' == await client.rest()


async def test_a_body_has_a_deadline_of_its_own(wire):
    """Though that of the head, and of an idle connection, may be far."""
    async with (
        http.listen('127.0.0.1', 0, echo, body_timeout=0.05) as server,
        wire(server) as client,
    ):
        client.ask('GET /')
        assert 200 == (await client.answer())[0]
        client.ask('POST /', 'Content-Length: 2', body=b'a')
        assert (408, b'') == ((await client.answer())[0], await client.rest())


@pytest.mark.parametrize('step', [b'G', b'\r\n', b'GET / HTTP/1.1\r\nHost: h\r\nX: '])
async def test_trickled_bytes_win_no_time(wire, step):
    """The deadline of a head stands from its first byte, whatever follows."""
    async with (
        http.listen('127.0.0.1', 0, echo, head_timeout=0.1) as server,
        wire(server) as client,
    ):
        client.send(step)
        end = asyncio.create_task(client.rest())
        while not end.done():
            client.send(b'x' if b':' in step else step[-2:])
            await asyncio.wait([end], timeout=0.01)  # the pace
        with contextlib.suppress(ConnectionError):  # it went on sending
            assert (await end)[:12] in (b'', b'HTTP/1.1 408', b'HTTP/1.1 400')


async def test_a_head_may_take_longer_than_a_connection_may_be_idle(wire):
    """From its first byte on keepalive_timeout is no matter."""
    async with (
        http.listen('127.0.0.1', 0, echo, keepalive_timeout=0.05) as server,
        wire(server) as client,
        wire(server) as idle,
    ):
        client.ask('GET /')
        await client.answer()
        client.send(b'GET / HTTP')
        idle.ask('GET /')
        await idle.answer()
        assert b'' == await idle.rest()
        client.send(b'/1.1\r\nHost: h\r\n\r\n')
        assert 200 == (await client.answer())[0]


async def test_a_head_begun_beside_an_answer_may_take_longer_too(wire):
    """Also where the answer before it starts the time that a connection may be idle."""
    held = Held()
    async with (
        serving(held, keepalive_timeout=0.05) as (connections, server),
        wire(server) as client,
        wire(server) as idle,
    ):
        client.ask('GET /')
        connection, _ = await connections.made.get()
        await held.called.wait()
        connection.data_received(b'GET / H')
        held.release.set()
        await client.answer()
        connection.data_received(b'T')
        idle.ask('GET /')
        await idle.answer()
        assert b'' == await idle.rest()
        client.send(b'TP/1.1\r\nHost: h\r\n\r\n')
        assert 200 == (await client.answer())[0]


async def test_a_late_head_waits_for_the_answers_before_it(wire):
    """They go out first, then comes the 408."""
    held = Held()
    async with (
        http.listen('127.0.0.1', 0, held, head_timeout=0.05) as server,
        wire(server) as client,
    ):
        client.ask('GET /1')
        await held.called.wait()
        client.send(b'GET /2 HTTP/1.1\r\n')
        async with wire(server) as silent:
            assert b'' == await silent.rest()
        async with wire(server) as silent:
            assert b'' == await silent.rest()
        held.release.set()
        assert (200, b'GET /1 0') == (await client.answer())[::2]
        assert 408 == (await client.answer())[0]


@pytest.mark.parametrize('loop', LOOPS)
def test_a_callback_that_holds_up_the_loop_costs_nobody_an_answer(wire, loop):
    """However late it is then, who has asked more is not idle."""

    def handler(request):
        time.sleep(0.25)
        return echo(request)

    async def ask():
        async with (
            http.listen('127.0.0.1', 0, handler, head_timeout=0.2) as server,
            wire(server) as client,
        ):
            client.ask('GET /1')
            client.ask('GET /2', 'Connection: close')
            return (await client.rest()).count(b'HTTP/1.1 200 OK')

    with asyncio.Runner(loop_factory=LOOPS[loop]) as runner:
        assert 2 == runner.run(ask())


# Peers that do not read


async def test_reading_stops_where_answers_are_not_read(wire, until):
    """Requests without end cost no more than those that may wait."""
    async with serving(big, body_timeout=60) as (connections, server), wire(server) as client:
        _, transport = await connections.made.get()
        client.send(b'GET / HTTP/1.1\r\nHost: h\r\n\r\n' * 100_000)
        await until(lambda: not transport.is_reading())
        assert connections.bytes_in < 1_000_000
        assert transport.get_write_buffer_size() <= len(BIG) + 1000
        client.writer.transport.abort()


# Peers that end


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
async def test_who_has_said_all_gets_its_answers(wire, caplog, sent, expected):
    """A client that closes its own side, as ``nc -N`` does, is answered what it asked in full."""
    async with http.listen('127.0.0.1', 0, echo) as server, wire(server) as client:
        client.send(sent)
        client.writer.write_eof()
        found = [(await client.answer())[2] for _ in expected]
        assert (expected, b'') == (found, await client.rest())
    assert [] == [record for record in caplog.records if record.levelno > logging.INFO]


async def test_who_has_said_all_may_wait_for_the_answer(wire, until):
    """Also if it was still being made when the end came."""
    held = Held()
    async with serving(held) as (connections, server), wire(server) as client:
        client.ask('GET /')
        connection, _ = await connections.made.get()
        await held.called.wait()
        client.writer.write_eof()
        await until(lambda: connection.at_eof)
        held.release.set()
        assert (200, b'GET / 0') == (await client.answer())[::2]
        assert b'' == await client.rest()


@pytest.mark.parametrize('tls', [False, True])
async def test_who_leaves_ends_its_callback_where_that_is_wanted(wire, certificates, trusting, tls):
    """With cancel_on_disconnect, and no client can only half leave then."""
    held = Held()
    options = {'tls': certificates.server} if tls else {}
    listening = http.listen('127.0.0.1', 0, held, cancel_on_disconnect=True, **options)
    async with listening as server:
        async with wire(server, **({'ssl': trusting} if tls else {})) as client:
            client.ask('GET /')
            await held.called.wait()
            if not tls:
                client.writer.write_eof()
                await held.ended.wait()
        await held.ended.wait()


async def test_who_leaves_does_not_end_its_callback(wire, until):
    """Unless told, it runs to its end, though the connection is no more."""
    held = Held()
    async with serving(held) as (connections, server):
        async with wire(server) as client:
            client.ask('GET /')
            await held.called.wait()
            on_socket = client.writer.get_extra_info('socket')
            on_socket.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, struct.pack('ii', 1, 0))
            client.writer.transport.abort()
        await until(lambda: not connections.open)
        assert not held.ended.is_set()
        held.release.set()
        await held.ended.wait()


async def test_no_request_is_taken_up_behind_the_last_answer_of_a_server(wire, until):
    """Also where that answer was begun before the server was closed, and does not say so."""
    asked = []

    def handler(request):
        asked.append(request.url)
        return big(request)

    async with serving(handler) as (connections, server), wire(server) as client:
        _, transport = await connections.made.get()
        client.ask('GET /1')
        client.ask('GET /2')
        await until(transport.get_write_buffer_size)
        connections.exchange.closing = True
        assert None is (await client.answer())[1].get('Connection')
        with contextlib.suppress(ConnectionError):
            assert b'' == await client.rest()
    assert ['/1'] == asked


async def test_who_comes_as_the_server_closes_is_sent_away(wire):
    """A connection that was being accepted is closed at once."""
    exchange = SocketResponder(echo, Settings())
    async with serving(connections=Connections(exchange)) as (_, server):
        exchange.closing = True
        async with wire(server) as client:
            with contextlib.suppress(ConnectionResetError):
                assert b'' == await client.rest()


async def test_who_does_not_leave_as_all_is_closed_is_cut_off(wire):
    """It has so long to read what waits for it."""
    async with serving(big) as (connections, server), wire(server) as client:
        client.ask('GET /', 'Connection: close')
        await client.reader.readuntil(b'\r\n\r\n')
        await connections.close_all(0.01)
        assert {} == connections.open


async def test_the_idle_are_closed_and_the_busy_are_not(wire):
    """A connection that has a request to answer does so, then closes."""
    held = Held()
    async with (
        serving(held) as (connections, server),
        wire(server) as busy,
        wire(server) as idle,
    ):
        busy.ask('GET /')
        await held.called.wait()
        await connections.made.get()
        await connections.made.get()
        connections.close_idle()
        assert b'' == await idle.rest()
        held.release.set()
        assert 200 == (await busy.answer())[0]


# WebSockets

CLOSE = 8


async def reads(socket):
    """Read what comes, and let nobody know."""
    with contextlib.suppress(http.ProtocolError):
        async for _ in socket:
            pass


def opens(held):
    """Serve WebSockets that open when it is told so."""

    async def callback(request):
        await held(request)
        return {'websocket': reads}

    return http.listen('127.0.0.1', 0, callback)


@pytest.mark.parametrize('answers', [True, False])
async def test_a_server_that_closes_tells_its_websockets(wire, frames, until, answers):
    """They are told 1001 (RFC 6455 7.4.1); those that open as it closes are told at once."""
    held = Held()
    async with opens(held) as server, wire(server) as client:
        client.ask('GET /', *frames.asking)
        await held.called.wait()
        if answers:
            held.release.set()
            assert 101 == (await client.answer(silent=True))[0]
        closing = asyncio.create_task(server.close())
        await until(lambda: server._exchange.closing)
        held.release.set()
        if not answers:
            assert 101 == (await client.answer(silent=True))[0]
        assert (CLOSE, b'\x03\xe9') == await frames.read(client.reader)
        client.send(frames.write(CLOSE, b'\x03\xe9', masked=True))
        assert b'' == await client.rest()
        await closing


@pytest.mark.parametrize('late', [True, False])
async def test_a_websocket_of_a_client_that_ends_its_side_ends(wire, frames, until, late):
    """Also where it had done so before the handshake was answered."""
    held = Held()
    async with opens(held) as server, wire(server) as client:
        client.ask('GET /', *frames.asking)
        if late:
            held.release.set()
            await client.answer(silent=True)
            client.writer.write_eof()
        else:
            await held.called.wait()
            client.writer.write_eof()
            await until(lambda: any(one.at_eof for one in server._connections.open))
            held.release.set()
            await client.answer(silent=True)
        assert b'' == await client.rest()


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
    """What is overridden or called has the parameters that it had."""
    name = function.__qualname__
    assert expected == parameters(function), f'aiohttp: {name} takes other arguments now'


async def test_who_has_left_is_told_nothing():
    """Nor is that counted."""
    connections = Connections(SocketResponder(echo, Settings()))
    connections().say(encode_status_page(400))
    assert 0 == connections.bytes_out


@pytest.mark.parametrize('sent', [b'x\r\n\r\n', b'GET / HTTP/1.0\r\n\r\n'])
async def test_every_byte_of_an_answer_is_counted(wire, sent):
    """Also of one to what is no request."""
    async with http.listen('127.0.0.1', 0, echo) as server, wire(server) as client:
        client.send(sent)
        answer = await client.rest()
        assert len(answer) == server.stats['bytes_out'] > 0


@pytest.mark.parametrize('fields', [[], ['Connection: close']])
@pytest.mark.parametrize('times', [1, 5])
@pytest.mark.parametrize('tls', [False, True])
async def test_who_does_not_read_is_cut_off(wire, certificates, trusting, fields, times, tls):
    """After body_timeout; the connection that waits for its place is served then."""
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
            client.ask('GET /big', *fields)
        await client.reader.readuntil(b'\r\n\r\n')
        async with wire(server, **options) as other:
            other.ask('GET /')
            assert 200 == (await other.answer())[0]
        with pytest.raises((OSError, asyncio.IncompleteReadError)):
            await client.reader.readexactly(len(BIG))


@pytest.mark.parametrize('fields', [[], ['Connection: close']])
@pytest.mark.parametrize('tls', [False, True])
async def test_who_reads_slowly_gets_all(wire, certificates, trusting, fields, tls):
    """However long it takes, if something is read within each body_timeout."""
    looked = asyncio.Event()

    class Looking(Connection):
        def expect_reading(self, transport):
            looked.set()
            super().expect_reading(transport)

    class Looked(Connections):
        def __call__(self):
            return Looking(self)

    connections = Looked(SocketResponder(big, Settings(body_timeout=0.25)))
    options = {'ssl': certificates.server, 'ssl_shutdown_timeout': 0.25} if tls else {}
    server = await asyncio.get_running_loop().create_server(connections, '127.0.0.1', 0, **options)
    address = SimpleNamespace(port=server.sockets[0].getsockname()[1])
    async with wire(address, **({'ssl': trusting} if tls else {})) as client:
        client.ask('GET /', *fields)
        await client.reader.readuntil(b'\r\n\r\n')
        left = len(BIG)
        for _ in range(3):  # as many deadlines
            looked.clear()
            left -= len(await client.reader.readexactly(2_000_000))
            await looked.wait()
        assert left == len(await client.reader.readexactly(left))
    server.close()
    await connections.close_all(1)
    await server.wait_closed()


@pytest.mark.parametrize('keeps', [True, False])
async def test_a_tls_client_that_does_not_take_its_leave_is_cut_off(
    wire, certificates, trusting, keeps
):
    """After body_timeout, whether it was idle or got its last answer."""
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
            await whisper(mute, trusting, b'' if keeps else b'Connection: close\r\n')
            async with wire(server, ssl=trusting) as client:
                client.ask('GET /')
                assert 200 == (await client.answer())[0]


async def whisper(client, context, field):
    """Shake hands and ask by hand, so that nothing answers what comes later."""
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
async def test_who_does_not_read_holds_up_no_close(wire, certificates, trusting, tls):
    """It is cut off in the end, whatever is still to be written."""
    options = {'tls': certificates.server} if tls else {}
    async with (
        http.listen('127.0.0.1', 0, big, **options) as server,
        wire(server, **({'ssl': trusting} if tls else {})) as client,
    ):
        client.ask('GET /', 'Connection: close')
        await client.reader.readuntil(b'\r\n\r\n')
        await server.close(grace=0)
        with pytest.raises((OSError, asyncio.IncompleteReadError)):
            await client.reader.readexactly(len(BIG))


async def test_a_tls_client_that_leaves_is_written_no_more(wire, certificates, trusting, caplog):
    """Nor is the rest of its answer encrypted; asyncio would warn of every piece."""

    def handler(request):
        client.writer.get_extra_info('socket').shutdown(socket.SHUT_RDWR)
        return big(request)

    async with (
        http.listen('127.0.0.1', 0, handler, tls=certificates.server) as server,
        wire(server, ssl=trusting) as client,
    ):
        client.ask('GET /')
        with contextlib.suppress(ConnectionError):
            await client.rest()
    assert [] == caplog.records


async def test_what_an_answer_writes_by_other_means_is_waited_for_and_counted(wire, tmp_path):
    """A file, which aiohttp writes."""
    (tmp_path / 'small').write_bytes(b'x')
    (tmp_path / 'big').write_bytes(BIG)

    def callback(request):
        return {'status': 200, 'body': tmp_path / request.path[1:]}

    async with http.listen('127.0.0.1', 0, callback) as server, wire(server) as client:
        for name, size in (('small', 1), ('big', len(BIG))):
            client.ask(f'GET /{name}')
            assert size == len((await client.answer())[2])
    assert server.stats['bytes_out'] > len(BIG)


async def floods(socket):
    """Send what nobody reads."""
    while True:
        await socket.send(b'x' * 1_000_000)


async def test_a_websocket_whose_client_does_not_read_is_cut_off(wire, frames, until):
    """After ``body_timeout`` without a byte read; one that reads has all the time."""
    async with http.listen(
        '127.0.0.1', 0, lambda request: {'websocket': floods}, body_timeout=0.1
    ) as server:
        async with wire(server) as client:
            client.ask('GET /', *frames.asking)
            await client.answer(silent=True)
            for _ in range(30):
                assert 1_000_000 == len((await frames.read(client.reader))[1])
        async with wire(server) as client:
            client.ask('GET /', *frames.asking)
            await client.answer(silent=True)
            await until(lambda: not server.stats['connections'])
