"""Requests over the wire: those of ``request``, and those of a reverse proxy."""

import asyncio
import contextlib
import functools
import inspect
import logging
import re
import socket

import aiohttp
import pytest
import yarl
from aiohttp.client_proto import ResponseHandler
from aiohttp.client_reqrep import ConnectionKey
from aiohttp.http_writer import StreamWriter

import aioluahttp as http
from aioluahttp.transports import wire
from aioluahttp.transports.request_body import BodyDelivery, BodySource
from aioluahttp.transports.response_body import ReadOptions
from aioluahttp.transports.session import send_by_session, send_once
from aioluahttp.websockets.handshake import accept_of

OK = b'HTTP/1.1 200 OK\r\nContent-Length: 2\r\n\r\nok'
LARGE = b'x' * 100_000


@contextlib.asynccontextmanager
async def relayed(raw_server, handler, **overrides):
    """Serve a proxy in front of a raw origin; yield the server and the origin."""
    async with (
        raw_server(handler) as peer,
        http.listen('127.0.0.1', 0, http.proxy(peer.url, **overrides)) as server,
    ):
        yield server, peer


async def rest_of(line):
    """Read a connection until it is closed or reset."""
    with contextlib.suppress(ConnectionError):
        return await line.reader.read()


async def test_a_request_body_is_streamed_to_the_origin(raw_server, wire):
    """With a Content-Length: the origin has a part before the client sends the next."""
    parts = asyncio.Queue()

    async def origin(line):
        head = await line.reader.readuntil(b'\r\n\r\n')
        assert b'\r\nContent-Length: 6\r\n' in head
        for _ in range(2):
            parts.put_nowait(await line.reader.readexactly(3))
        await line.send(OK)

    async with relayed(raw_server, origin) as (server, _), wire(server) as client:
        client.send_request('PUT /', 'Content-Length: 0006')
        for part in b'abc', b'def':
            client.send(part)
            assert part == await parts.get()
        assert 200 == (await client.read_response())[0]


async def test_a_chunked_body_is_sent_in_chunks(raw_server, wire):
    """Without chunk extensions; only the last chunk ends the body."""

    async def origin(line):
        head = await line.reader.readuntil(b'\r\n\r\n')
        assert b'\r\nTransfer-Encoding: chunked\r\n' in head
        assert b'3\r\nabc\r\n' == await line.reader.readexactly(8)
        await line.send(b'HTTP/1.1 200 OK\r\nContent-Length: 2\r\n\r\n')
        assert b'0\r\n\r\n' == await line.reader.readexactly(5)
        await line.send(b'ok')

    async with relayed(raw_server, origin) as (server, _), wire(server) as client:
        client.send_request('PUT /', 'Transfer-Encoding: chunked')
        client.send(b'3;a=b\r\nabc\r\n')
        await client.reader.readuntil(b'\r\n\r\n')  # the response head
        client.send(b'0\r\n\r\n')
        assert b'ok' == await client.reader.readexactly(2)


async def test_a_large_body_is_sent_whole(raw_server, wire):
    """It is more than a socket takes at once; the connection is used again."""
    body = bytes(range(256)) * 20_000

    async def origin(line):
        while True:
            asked = await line.request()
            await line.send(OK.replace(b'ok', b'yo') if asked.body == body else OK)

    async with relayed(raw_server, origin) as (server, peer), wire(server) as client:
        for _ in range(2):
            client.send_request('PUT /', f'Content-Length: {len(body)}', body=body)
            assert b'yo' == (await client.read_response())[2]
    assert 1 == peer.connections


@pytest.mark.parametrize('framing', ['Content-Length: 6', 'Transfer-Encoding: chunked'])
async def test_a_client_that_leaves_its_body_unfinished_ends_nothing(raw_server, wire, framing):
    """The origin sees the end of the connection, and no end of the body."""
    read = asyncio.get_running_loop().create_future()

    async def origin(line):
        await line.reader.readuntil(b'\r\n\r\n')
        await line.reader.readuntil(b'abc')
        began.set()
        read.set_result(await rest_of(line))

    began = asyncio.Event()
    async with relayed(raw_server, origin) as (server, _):
        async with wire(server) as client:
            client.send_request('PUT /', framing)
            client.send(b'abc' if 'Length' in framing else b'3\r\nabc\r\n')
            await began.wait()
        assert await read in (b'', b'\r\n')


@pytest.mark.parametrize('framing', ['Content-Length: 6', 'Transfer-Encoding: chunked'])
async def test_a_body_that_stops_arriving_is_a_408_and_no_error_of_the_origin(
    raw_server, wire, framing, caplog
):
    """The server sends its own response, and logs nothing."""

    async def origin(line):
        await line.reader.readuntil(b'\r\n\r\n')
        assert await rest_of(line) in (b'', b'3\r\nabc\r\n')

    async with raw_server(origin) as peer:
        proxy = http.proxy(peer.url)
        async with (
            http.listen('127.0.0.1', 0, proxy, body_timeout=0.05) as server,
            wire(server) as client,
        ):
            client.send_request('PUT /', framing)
            assert 408 == (await client.read_response())[0]
            assert b'' == await client.rest()
    assert not caplog.records


async def test_a_body_above_the_server_s_limit_is_a_413(raw_server, wire):
    """``max_body`` of ``listen`` holds if it is given."""

    async def origin(line):
        await line.reader.readuntil(b'\r\n\r\n')
        await rest_of(line)

    async with raw_server(origin) as peer:
        proxy = http.proxy(peer.url)
        async with (
            http.listen('127.0.0.1', 0, proxy, max_body=5) as server,
            wire(server) as client,
        ):
            client.send_request('PUT /', 'Transfer-Encoding: chunked', body=b'6\r\nabcdef\r\n')
            assert 413 == (await client.read_response())[0]


@pytest.mark.parametrize('ends', [True, False])
async def test_an_early_answer_goes_back(raw_server, wire, ends):
    """The rest of the body is not sent, and no connection is used again."""

    async def origin(line):
        await line.reader.readuntil(b'\r\n\r\n')
        await line.send(b'HTTP/1.1 413 Large\r\nContent-Length: 2\r\n\r\nno')
        if not ends:
            assert b'' == await rest_of(line)

    async with relayed(raw_server, origin) as (server, peer):
        for count in 1, 2:
            async with wire(server) as client:
                client.send_request('PUT /', 'Content-Length: 1000000')
                status, _, body = await client.read_response()
                assert (413, b'no') == (status, body)
                assert b'' == await client.rest()
            assert count == peer.connections


async def test_a_response_is_received_while_the_body_is_sent(raw_server, wire):
    """Sending and receiving do not wait for each other; both connections are used again."""

    async def origin(line):
        await line.reader.readuntil(b'\r\n\r\n')
        await line.send(b'HTTP/1.1 200 OK\r\nContent-Length: 6\r\n\r\n')
        for _ in range(2):
            await line.send(await line.reader.readexactly(3))
        await line.request()
        await line.send(OK)

    async with relayed(raw_server, origin) as (server, peer):
        async with wire(server) as client:
            client.send_request('PUT /', 'Content-Length: 6')
            await client.reader.readuntil(b'\r\n\r\n')
            for part in b'abc', b'def':
                client.send(part)
                assert part == await client.reader.readexactly(3)
            assert b'' == await client.rest()  # the response began before the request had ended
        assert 'ok' == (await http.request(url=server.url)).body
        assert 1 == peer.connections


async def test_a_broken_request_body_cuts_off_a_response_that_has_begun(raw_server, wire, caplog):
    """It is an error of the client, and nothing is logged."""

    async def origin(line):
        await line.reader.readuntil(b'\r\n\r\n')
        await line.send(b'HTTP/1.1 200 OK\r\nContent-Length: 6\r\n\r\nabc')
        assert b'' == await rest_of(line)

    async with relayed(raw_server, origin) as (server, _), wire(server) as client:
        client.send_request('PUT /', 'Transfer-Encoding: chunked')
        await client.reader.readuntil(b'abc')
        client.send(b'no chunk\r\n')
        assert b'' == await client.rest()
    assert not caplog.records


async def test_an_origin_that_resets_in_the_middle_of_a_body_is_a_502(raw_server, wire):
    """However much of the body was sent."""

    async def origin(line):
        await line.reader.readexactly(100)
        line.reset()

    async with relayed(raw_server, origin) as (server, _), wire(server) as client:
        client.send_request('PUT /', f'Content-Length: {len(LARGE) * 1000}')
        with contextlib.suppress(ConnectionError):
            for _ in range(100):
                client.send(LARGE)
                await client.writer.drain()
                if client.reader._buffer:
                    break
        assert 502 == (await client.read_response())[0]


async def test_an_origin_that_takes_no_more_of_a_body_is_a_504(raw_server, wire):
    """The write timeout of the origin holds."""

    async def origin(line):
        await line.reader.readuntil(b'\r\n\r\n')
        line.writer.transport.pause_reading()
        await asyncio.Event().wait()

    async with (
        relayed(raw_server, origin, timeout={'write': 0.1}) as (server, _),
        wire(server) as client,
    ):
        client.send_request('PUT /', f'Content-Length: {len(LARGE) * 1000}')

        async def send():
            while True:
                client.send(LARGE)
                await client.writer.drain()

        sending = asyncio.create_task(send())
        assert 504 == (await client.read_response())[0]
        sending.cancel()
        with contextlib.suppress(asyncio.CancelledError, ConnectionError):
            await sending


async def test_the_read_timeout_begins_at_the_end_of_the_body(raw_server, wire):
    """Sending may take longer than the read timeout, even after an interim response."""

    async def origin(line):
        await line.reader.readuntil(b'\r\n\r\n')
        await line.send(b'HTTP/1.1 100 Continue\r\n\r\n')
        for _ in range(6):
            await line.reader.readexactly(1)
        await line.send(OK)

    async with (
        relayed(raw_server, origin, timeout={'read': 0.1}) as (server, _),
        wire(server) as client,
    ):
        client.send_request('PUT /', 'Content-Length: 6')
        for _ in range(6):
            await asyncio.sleep(0.02)
            client.send(b'x')
        assert 200 == (await client.read_response())[0]


async def test_an_origin_that_does_not_respond_is_a_504(raw_server, wire):
    """With a request body and without one."""

    async def origin(line):
        await line.reader.read()

    async with relayed(raw_server, origin, timeout={'read': 0.05}) as (server, _):
        for fields, body in ((), b''), (('Content-Length: 1',), b'x'):
            async with wire(server) as client:
                client.send_request('PUT /', *fields, body=body)
                assert 504 == (await client.read_response())[0]


@pytest.mark.parametrize(
    ('body', 'right'), [([b'abc'], 'shorter'), ([b'abc', b'defg'], 'longer')], ids=str
)
async def test_a_replaced_body_must_have_the_content_length(raw_server, body, right):
    """A body of another length than Content-Length is a TableError of the handler."""

    async def origin(line):
        await line.reader.readuntil(b'\r\n\r\n')
        assert await rest_of(line) in (b'', b'abc')

    async with raw_server(origin) as peer:
        request = http.Request(method='PUT', url='/', headers=http.Headers({'Content-Length': '6'}))
        with pytest.raises(http.TableError, match=right):
            await http.forward({**request, 'body': iter(body)}, peer.url)


async def test_a_streamed_body_is_not_sent_again(raw_server, wire, caplog):
    """If the origin closed a reused connection; a streamed body is gone by then."""
    caplog.set_level(logging.CRITICAL)

    async def origin(line):
        await line.request()
        await line.send(OK)
        await line.reader.read(1)
        line.reset()

    async with relayed(raw_server, origin) as (server, _), wire(server) as client:
        for method, fields, body, status in (
            ('GET', (), b'', 200),
            ('GET', (), b'', 200),
            ('PUT', ('Content-Length: 1',), b'x', 502),
        ):
            client.send_request(f'{method} /', *fields, body=body)
            assert status == (await client.read_response())[0]


async def test_a_request_may_be_cancelled_at_every_await(raw_server):
    """Its body and its connection are closed."""

    async def origin(line):
        while True:
            await line.request()
            await line.send(OK)

    class Body:
        closed = 0

        def __aiter__(self):
            return self.chunks()

        async def chunks(self):
            try:
                for _ in range(3):
                    await asyncio.sleep(0)
                    yield b'ab'
            finally:
                Body.closed += 1

    async with raw_server(origin) as peer:
        done = False
        for steps in range(200):
            headers = http.Headers({'Content-Length': '6'})
            table = {'method': 'PUT', 'url': '/', 'headers': headers, 'body': Body()}
            task = asyncio.create_task(http.forward(table, peer.url))
            for _ in range(steps):
                await asyncio.sleep(0)
            if done := task.done():
                assert b'ok' == await (await task)['body'].read()
                break
            task.cancel()
            with contextlib.suppress(asyncio.CancelledError):
                await task
        assert done
    assert Body.closed


async def test_a_body_that_fails_as_the_response_arrives_is_an_error(raw_server):
    """The error is raised, and not the response to half a request returned."""
    head_sent = asyncio.Event()

    async def origin(line):
        await line.reader.readuntil(b'\r\n\r\n')
        await line.send(b'HTTP/1.1 200 OK\r\nContent-Length: 6\r\n\r\n')
        head_sent.set()
        assert b'' == await rest_of(line)

    async def body():
        await head_sent.wait()
        await asyncio.sleep(0)  # the client has read the head, and not yet looked at it
        raise ValueError('broken')
        yield b''

    async with raw_server(origin) as peer:
        headers = http.Headers({'Content-Length': '6'})
        table = {'method': 'PUT', 'url': '/', 'headers': headers, 'body': body()}
        with pytest.raises(ValueError, match='broken'):
            await http.forward(table, peer.url)


async def test_an_origin_that_resets_while_sending_waits_cuts_off_its_response(raw_server):
    """A reset is noticed while sending waits, and cuts the response off."""
    sent = 0

    async def origin(line):
        await line.reader.readuntil(b'\r\n\r\n')
        await line.send(b'HTTP/1.1 200 OK\r\nContent-Length: 6\r\n\r\n')
        line.writer.transport.pause_reading()
        before = -1
        while before < sent:  # until nothing more has gone for many turns of the loop
            before = sent
            for _ in range(300):
                await asyncio.sleep(0)
        line.reset()

    async def body():
        nonlocal sent
        try:
            for _ in range(1000):
                sent += 1
                yield LARGE
        finally:
            closed.set()

    closed = asyncio.Event()
    async with raw_server(origin) as peer:
        table = {'method': 'PUT', 'url': '/', 'body': body()}
        response = await http.forward(table, peer.url)
        await closed.wait()
        with pytest.raises(http.ProtocolError):
            await response['body'].read()
    assert sent < 1000


async def test_a_response_may_switch_protocols(raw_server, wire, frames):
    """If the request asked for it; the WebSocket then owns the connection."""

    async def origin(line):
        asked = await line.request()
        [key] = asked.values('Sec-WebSocket-Key')
        fields = 'Connection: Upgrade', 'Upgrade: websocket'
        accept = f'Sec-WebSocket-Accept: {accept_of(key)}'
        await line.send('\r\n'.join(('HTTP/1.1 101 Go', *fields, accept, '\r\n')).encode())
        await line.send(frames.write(1, b'hello'))
        await line.reader.read(1)  # until the client has closed

    async with relayed(raw_server, origin) as (server, _), wire(server) as client:
        client.send_request('GET /', *frames.asking)
        assert b' 101 ' in await client.reader.readuntil(b'\r\n\r\n')
        assert (1, b'hello') == await frames.read(client.reader)


HI = b'HTTP/1.1 200 OK\r\nContent-Length: 2\r\n\r\nhi'


@pytest.mark.parametrize(('count', 'passes'), [(0, True), (1000, True), (1001, False)])
@pytest.mark.parametrize('more', [b'', HI], ids=['', 'and one more'])
async def test_so_many_interim_answers_are_passed_over_and_no_more(raw_server, count, passes, more):
    """Up to 1000 are skipped; aiohttp has no limit."""

    async def handler(line):
        await line.request()
        await line.send(b'HTTP/1.1 103 Early\r\nLink: x\r\n\r\n' * count + HI + more)

    async with raw_server(handler) as peer:
        if passes:
            assert 'hi' == (await http.request(url=peer.url)).body
        else:
            with pytest.raises(http.ProtocolError, match='over 1000 interim responses'):
                await http.request(url=peer.url)
    assert 1 == len(peer.requests)


@pytest.mark.parametrize(
    ('fields', 'fits'), [({}, True), ({'max_body': 1}, False), ({'into': 'json'}, True)]
)
async def test_a_body_that_is_refused_closes_its_connection(raw_server, fields, fits):
    """Even if all of it has arrived; a complete body that is not JSON does not."""
    async with raw_server(HI) as peer, http.Client() as client:
        for _ in range(2):
            with contextlib.suppress(http.BodyTooLarge, http.ProtocolError):
                await client.request(url=peer.url, **fields)
    assert 2 - fits == peer.connections


TIMEOUT = aiohttp.ClientTimeout(total=None)


def session(**options):
    """Make a session with the options that ``NetworkTransport`` uses."""
    return aiohttp.ClientSession(
        **{'cookie_jar': aiohttp.DummyCookieJar(), 'connector': wire.TCPPool(), **options},
        middlewares=(send_once,),
        auto_decompress=False,
        skip_auto_headers=('Content-Type',),
    )


@pytest.mark.parametrize(
    ('function', 'expected'),
    [
        (aiohttp.BaseConnector.connect, ['self', 'req', 'traces', 'timeout']),
        (ResponseHandler.start_timeout, ['self']),
        (ResponseHandler.read, ['self']),
        (ResponseHandler.set_exception, ['self', 'exc', 'exc_cause']),
        (StreamWriter.__init__, ['self', 'protocol', 'loop', 'on_chunk_sent', 'on_headers_sent']),
        (StreamWriter.drain, ['self']),
    ],
    ids=lambda value: getattr(value, '__qualname__', ''),
)
def test_aiohttp_takes_the_same_arguments(parameters, function, expected):
    """The functions that are called have the same parameters as before."""
    name = function.__qualname__
    assert expected == parameters(function), f'aiohttp: {name} takes other arguments now'


@pytest.mark.parametrize('name', ['should_close', 'writing_paused', 'upgraded'])
def test_aiohttp_has_the_same_properties_of_a_connection(name):
    """The attributes that are read."""
    found = getattr(ResponseHandler, name, None)
    assert isinstance(found, property), f'aiohttp: {name} is no property of a connection now'


def test_aiohttp_takes_the_same_options_for_a_response():
    """They are set before each request."""
    options = inspect.signature(ResponseHandler.set_response_params).parameters
    wanted = {
        'skip_payload',
        'read_until_eof',
        'auto_decompress',
        'max_line_size',
        'max_field_size',
    }
    assert wanted <= set(options), 'aiohttp: set_response_params takes other options now'


def test_aiohttp_has_the_same_fields_in_a_connection_key():
    """A change would make the pool mix connections, or keep equal ones apart."""
    fields = ('host', 'port', 'is_ssl', 'ssl', 'proxy', 'proxy_auth')
    assert (*fields, 'proxy_headers_hash', 'server_hostname') == ConnectionKey._fields


@pytest.mark.parametrize('tls', [True, False, 'context'])
@pytest.mark.parametrize('name', [None, 'other'])
@pytest.mark.parametrize('url', ['http://h/', 'https://h:81/a?b', 'https://[::1]/', 'http://ü/'])
async def test_both_ways_of_sending_use_the_same_connections(certificates, url, tls, name):
    """``PoolKey`` and aiohttp make the same connection key."""
    url, tls = yarl.URL(url), certificates.server if tls == 'context' else tls
    loop = asyncio.get_running_loop()
    theirs = aiohttp.ClientRequest('GET', url, loop=loop, ssl=tls, server_hostname=name)
    ours = wire.PoolKey(url, tls, name)
    assert theirs.connection_key == ours.connection_key
    found = [(one.host, one.port, one.is_ssl(), one.ssl) for one in (theirs, ours)]
    assert found[0] == found[1]


NOT_READ = ReadOptions(False, None, None, lambda error: None)


def by_wire(one, method, url, headers, data):
    """Send a request over the wire."""
    head = wire.request_head(method, url, headers, data)
    sent = wire.WireRequest(method, head, data)
    return sent.ask(one, url, {'timeout': TIMEOUT, 'max_field_size': 8190}, None)


def by_session(one, method, url, headers, data):
    """Send a request by ``ClientSession.request``."""
    arguments = {'headers': headers, 'timeout': TIMEOUT, 'data': data}
    return send_by_session(one, method, url, arguments, NOT_READ, streamed=False)


def delivered(body, size=None):
    """Make the delivery of a body that is read in parts."""
    return BodyDelivery(BodySource(body), size, bytes)


@pytest.mark.parametrize(
    ('method', 'make'),
    [
        *((method, lambda: None) for method in ('GET', 'HEAD', 'OPTIONS', 'TRACE')),
        *((method, lambda: None) for method in ('POST', 'PUT', 'DELETE', 'PURGE')),
        *((method, lambda: b'a\0b') for method in ('GET', 'POST', 'PUT', 'DELETE', 'PURGE')),
        ('POST', lambda: b''),
        ('POST', lambda: LARGE),
        ('POST', lambda: delivered([LARGE, b'', b'end'], len(LARGE) + 3)),
        ('POST', lambda: delivered([])),
        ('POST', lambda: delivered([b'ab', b'', b'c'])),
    ],
)
async def test_both_ways_of_sending_send_the_same_bytes(raw_server, method, make):
    """A failure means that aiohttp sends requests or keys connections in a new way."""
    headers = [('Host', 'host:81'), ('Accept', '*/*'), ('Accept-Encoding', 'x'), ('A', 'b')]
    headers += [('User-Agent', 'é'), ('A', 'c')]
    found, came = [], []

    async def handler(line):
        while True:
            data = await line.reader.readuntil(b'\r\n\r\n')
            length = re.search(b'Content-Length: (.*)\r', data)
            if length:
                data += await line.reader.readexactly(int(length[1]))
            elif b'chunked' in data:
                data += await line.reader.readuntil(b'0\r\n\r\n')
            came.append(data)
            await line.send(b'HTTP/1.1 200 OK\r\nContent-Length: 0\r\nB: c\r\n\r\n')

    async with raw_server(handler) as peer, session() as one:
        url = yarl.URL(peer.url + '/%41?a=%2C', encoded=True)
        for send in (by_session, by_wire, by_session):
            found.append(await send(one, method, url, http.Headers(headers), make()))
    assert came[0] == came[1] == came[2]
    assert found[0] == found[1] == found[2]
    assert 1 == peer.connections


async def test_a_request_through_a_proxy_is_sent_by_the_session():
    """aiohttp knows how to speak to it."""
    async with session() as one:
        assert wire.can_send(one, {})
        assert not wire.can_send(one, {'proxy': 'http://h/'})


async def test_traces_of_aiohttp_see_every_request(raw_server, monkeypatch):
    """A session with ``trace_configs`` sends by aiohttp."""
    seen = []
    trace = aiohttp.TraceConfig()

    async def note(session, context, params):
        seen.append(type(params).__name__)

    for signal in (trace.on_request_start, trace.on_request_headers_sent, trace.on_request_end):
        signal.append(note)
    made = aiohttp.ClientSession.__init__

    def instrumented(self, *arguments, **options):
        made(self, *arguments, **{**options, 'trace_configs': [trace]})

    monkeypatch.setattr(aiohttp.ClientSession, '__init__', instrumented)
    async with raw_server(HI) as peer, http.Client(cookies=False) as client:
        assert 'hi' == (await client.request(url=peer.url)).body
    expected = ['TraceRequestStartParams', 'TraceRequestHeadersSentParams', 'TraceRequestEndParams']
    assert expected == seen


async def test_a_replaced_request_method_of_aiohttp_is_called(raw_server, monkeypatch):
    """Recorders, tracers and test doubles replace ``ClientSession._request``."""
    seen = []
    theirs = aiohttp.ClientSession._request

    async def recorded(self, method, url, **options):
        seen.append((method, str(url)))
        return await theirs(self, method, url, **options)

    async with raw_server(HI) as peer, http.Client(cookies=False) as client:
        await client.request(url=peer.url)
        assert [] == seen
        monkeypatch.setattr(aiohttp.ClientSession, '_request', recorded)
        assert 'hi' == (await client.request(url=peer.url)).body
    assert [('GET', peer.url + '/')] == seen


async def test_a_connect_timeout_has_the_text_of_aiohttp(raw_server, both_routes):
    """Here because the pool is full."""
    asked, go_on = asyncio.Event(), asyncio.Event()

    async def handler(line):
        await line.request()
        asked.set()
        await go_on.wait()
        await line.send(HI)

    async with raw_server(handler) as peer, http.Client(cookies=False, limit=1) as client:
        first = asyncio.create_task(client.request(url=peer.url))
        await asked.wait()
        with pytest.raises(http.TimedOut, match=f'Connection timeout to host {peer.url}/$'):
            await client.request(url=peer.url, timeout={'connect': 0.01})
        go_on.set()
        assert 'hi' == (await first).body


# Bodies of bytes that are more than the socket takes at once


@pytest.fixture
def small_buffers(monkeypatch):
    """Give the sockets of clients a small send buffer, so that the transport keeps a rest."""

    def make(address):
        family, kind, protocol, _, _ = address
        made = socket.socket(family, kind, protocol)
        made.setsockopt(socket.SOL_SOCKET, socket.SO_SNDBUF, 4096)
        # A peer announces room for two segments at a time, which on this machine are 128 KiB.
        made.setsockopt(socket.IPPROTO_TCP, socket.TCP_MAXSEG, 1400)
        return made

    pool = functools.partial(wire.TCPPool, socket_factory=make)
    monkeypatch.setattr(wire, 'TCPPool', pool)


LONG = bytes(range(256)) * 3500  # 896,000 bytes: sent in one go, and more than the buffers take


@pytest.mark.parametrize('data', [LONG, LONG[:200_000]], ids=len)
async def test_a_long_body_is_sent_while_the_peer_reads(raw_server, small_buffers, data):
    """The connection is used again once all of it is sent."""
    async with raw_server(HI) as peer, http.Client() as client:
        for _ in range(2):
            response = await client.request(method='POST', url=peer.url, body=data)
            assert 'hi' == response.body
    assert [data, data] == [asked.body for asked in peer.requests]
    assert 1 == peer.connections


async def test_the_read_timeout_begins_at_the_end_of_a_long_body(raw_server, small_buffers):
    """A peer may read for longer than that; then it has to respond in time."""

    async def handler(line):
        head = await line.reader.readuntil(b'\r\n\r\n')
        read = asyncio.Event()
        asyncio.get_running_loop().call_later(0.3, read.set)
        await read.wait()
        await line.reader.readexactly(len(LONG))
        if b'GET' not in head:
            await line.send(HI)
        await line.reader.read()

    async with raw_server(handler) as peer, http.Client(timeout={'read': 0.1}) as client:
        assert 'hi' == (await client.request(method='PUT', url=peer.url, body=LONG)).body
        with pytest.raises(http.TimedOut):
            await client.request(method='GET', url=peer.url, body=LONG)


@pytest.mark.parametrize('end', ['resets', 'closes', 'stays'])
@pytest.mark.parametrize('timeout', [30, {'read': 30}])
async def test_an_early_response_to_a_long_body_is_returned(
    raw_server, small_buffers, end, timeout
):
    """The rest is not sent, and the connection not used again."""
    left = asyncio.Event()

    async def handler(line):
        await line.reader.readuntil(b'\r\n\r\n')
        line.writer.transport.pause_reading()
        length = 'Content-Length: 2\r\n' if end == 'stays' else ''
        await line.send(f'HTTP/1.1 413 Too Large\r\n{length}\r\nno'.encode())
        if end == 'resets':
            return line.reset()
        if end == 'closes':
            line.writer.write_eof()
        await left.wait()

    async with raw_server(handler) as peer, http.Client() as client:
        for _ in range(2):
            response = await client.request(method='POST', url=peer.url, body=LONG, timeout=timeout)
            assert (413, 'no') == (response.status, response.body)
        left.set()
    assert 2 == peer.connections


@pytest.mark.parametrize('into', ['text', 'stream'])
async def test_a_cancelled_long_body_is_not_sent(raw_server, small_buffers, into):
    """Closing the connection does not wait for the peer to read it."""
    asked, ended = asyncio.Event(), asyncio.Event()

    async def handler(line):
        await line.reader.readuntil(b'\r\n\r\n')
        line.writer.transport.pause_reading()
        asked.set()
        await ended.wait()
        line.writer.transport.resume_reading()
        with contextlib.suppress(ConnectionError):
            read.append(await line.reader.read())

    read = []
    async with raw_server(handler) as peer, http.Client() as client:
        table = {'method': 'POST', 'url': peer.url, 'body': LONG, 'into': into}
        asking = asyncio.create_task(client.request(table, timeout={'read': 30}))
        await asked.wait()
        asking.cancel()
        with pytest.raises(asyncio.CancelledError):
            await asking
        ended.set()
    assert all(len(data) < len(LONG) for data in read)


async def test_a_peer_that_takes_a_little_at_a_time_does_not_time_out(small_buffers):
    """The write timeout begins anew whenever the transport gets rid of some bytes."""
    data = bytes(200_000)

    async def serve(reader, writer):
        made = writer.get_extra_info('socket')
        made.setsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF, 8192)
        await reader.readuntil(b'\r\n\r\n')
        for left in range(len(data), 0, -2000):
            await asyncio.sleep(0.02)
            await reader.readexactly(min(left, 2000))
        writer.write(HI)
        writer.close()

    server = await asyncio.start_server(serve, '127.0.0.1', 0, limit=2048)
    url = f'http://127.0.0.1:{server.sockets[0].getsockname()[1]}/'
    async with server, http.Client(timeout={'write': 0.4}) as client:
        assert 'hi' == (await client.request(method='PUT', url=url, body=data)).body
