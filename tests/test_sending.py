"""Rules of HTTP for every way of sending: the wire, a session, ours or given, and in process."""

import ast
import asyncio
import contextlib
import fcntl
import gzip
import io
import logging
import os
import socket
import ssl
import sys
import termios
import threading
from datetime import UTC, datetime

import aiohttp
import pytest
import stamina
import trustme

import aioluahttp as http
from aioluahttp.bodies.encoders import ENCODERS
from aioluahttp.middleware import retry
from aioluahttp.transports.network import LentTransport


class Given(LentTransport):
    """A transport over a session that a user made, which ends with it."""

    def __init__(self, limit, limit_per_host, cookies):
        jar = aiohttp.DummyCookieJar() if cookies is None else aiohttp.CookieJar(unsafe=True)
        super().__init__(aiohttp.ClientSession(cookie_jar=jar, auto_decompress=False))

    async def close(self):
        """Close the session, too."""
        await super().close()
        await self._lent.close()


@pytest.fixture(autouse=True, params=['wire', 'session', 'given'])
def way(request, monkeypatch):
    """Send over the wire, by a session of the library, or by one of the user."""
    if request.param == 'session':
        monkeypatch.setattr('aioluahttp.transports.wire.can_send', lambda *request: False)
    if request.param == 'given':
        monkeypatch.setattr('aioluahttp.client.client.NetworkTransport', Given)
    return request.param


# What does not hold for the session of a user: there aiohttp alone looks after connections.
OURS = pytest.mark.parametrize('way', ['wire', 'session'], indirect=True)
# Rules that do not depend on bytes of a connection hold in process, too.
EVERY = pytest.mark.parametrize('way', ['wire', 'session', 'given', 'in process'], indirect=True)
OK = b'HTTP/1.1 200 OK\r\nContent-Length: 2\r\n\r\nhi'
INTERIM = b'HTTP/1.1 103 Early\r\nLink: x\r\n\r\n'
LONG = bytes(range(256)) * 8192  # 2 MiB: more than is read in one go


def response_bytes(body, *fields, length=True):
    """Make the bytes of a response."""
    lines = ['HTTP/1.1 200 OK', *fields, *([f'Content-Length: {len(body)}'] if length else [])]
    return '\r\n'.join((*lines, '\r\n')).encode() + body


@pytest.fixture
def sending(way):
    """Send to a handler: ``async with sending(handler, **options) as client``."""

    @contextlib.asynccontextmanager
    async def opened(handler, **options):
        async with contextlib.AsyncExitStack() as stack:
            if way == 'in process':
                options |= {'via': handler, 'base_url': 'http://127.0.0.1:80'}
            else:
                server = await stack.enter_async_context(http.listen('127.0.0.1', 0, handler))
                options['base_url'] = server.url
            yield await stack.enter_async_context(http.Client(**options))

    return opened


# Connections that may be used


@OURS
async def test_a_connection_on_which_the_peer_sent_data_is_not_used(raw_server):
    """Of 20 stale connections none is used, and a POST is sent once."""
    everyone, lines = asyncio.Barrier(20), []

    async def handler(line):
        lines.append(line)
        while True:
            asked = await line.request()
            if asked.line.startswith('GET /together'):
                await everyone.wait()
            await line.send(OK)

    async with raw_server(handler) as peer, http.Client(base_url=peer.url) as client:
        await asyncio.gather(*(client.request(url='/together') for _ in range(20)))
        for line in lines:
            await line.send(b'HTTP/1.1 408 Bye\r\nContent-Length: 0\r\n\r\n')
        for _ in range(5):  # turns of the loop, in which the client reads it
            await asyncio.sleep(0)
        assert 'hi' == (await client.request(method='POST')).body
    assert (21, 21) == (peer.connections, len(peer.requests))


@OURS
async def test_a_peer_that_sends_data_before_a_request_is_refused(certificates):
    """Here it sends data with the end of the TLS handshake. Nothing is sent to it."""

    class Talker(asyncio.Protocol):
        def connection_made(self, transport):
            talkers.append(transport)
            transport.write(OK)

        def data_received(self, data):
            asked.append(data)

    talkers, asked = [], []
    certificates.tls12.maximum_version = ssl.TLSVersion.TLSv1_2
    server = await asyncio.get_running_loop().create_server(
        Talker, '127.0.0.1', 0, ssl=certificates.tls12
    )
    port = server.sockets[0].getsockname()[1]
    async with server:
        with pytest.raises(http.ProtocolError) as caught:
            await http.request(url=f'https://127.0.0.1:{port}/', tls={'ca': certificates.ca})
        for talker in talkers:
            talker.abort()
    assert (1, []) == (len(talkers), asked)
    what = 'the peer sent data, or closed the connection, before the request'
    assert f'GET https://127.0.0.1:{port}/: {what}' == str(caught.value)


@OURS
@pytest.mark.parametrize(('method', 'asked'), [('GET', 3), ('POST', 2)])
async def test_a_lost_reused_connection_is_told_from_a_new_one(raw_server, method, asked):
    """A request is sent again only after a reused one, and only if it is idempotent."""

    async def handler(line):
        await line.request()
        if len(peer.requests) == 1:
            await line.send(OK)
            await line.request()

    async with raw_server(handler) as peer, http.Client(base_url=peer.url) as client:
        await client.request()
        with pytest.raises(http.ProtocolError) as caught:
            await client.request(method=method)
        assert ('a reused connection' in str(caught.value)) == (method == 'POST')
        with pytest.raises(http.ConnectError):
            await client.request(port=1)
    assert (asked, 2 - (method == 'POST')) == (len(peer.requests), peer.connections)


# Interim responses


@pytest.mark.parametrize('more', [b'', OK], ids=['', 'and one more'])
async def test_interim_responses_are_skipped(raw_server, more):
    """A second final response is not taken for the first."""

    async def handler(line):
        await line.request()
        await line.send(INTERIM * 1000 + response_bytes(b'mine') + more)

    async with raw_server(handler) as peer:
        assert 'mine' == (await http.request(url=peer.url)).body


@pytest.mark.parametrize(
    'status', ['000 X', '099 X', '101 X', '101 X\r\nConnection: upgrade\r\nUpgrade: x']
)
async def test_a_status_below_100_or_an_unrequested_101_is_an_error(raw_server, status):
    """One below 100, or a 101 without an upgrade, is no response."""
    raw = f'HTTP/1.1 {status}\r\nContent-Length: 0\r\n\r\n'.encode()
    async with raw_server(raw) as peer:
        for _ in range(2):
            with pytest.raises(http.ProtocolError, match=f'sent status {int(status[:3])}, '):
                await http.request(url=peer.url)


# The end of a body


RESETS = [
    (b'', 'GET', False),
    (b'HTTP/1.1 200 OK\r\n', 'GET', False),
    (response_bytes(b'half', length=False), 'GET', False),
    (response_bytes(b'', length=False), 'GET', False),
    (response_bytes(b'half', 'Transfer-Encoding: gzip', length=False), 'GET', False),
    (response_bytes(b'half', 'Transfer-Encoding: xchunked', length=False), 'GET', False),
    (response_bytes(b'half', 'Transfer-Encoding: chunked, gzip', length=False), 'GET', False),
    (response_bytes(b'half', 'Transfer-Encoding: chunked', length=False), 'GET', False),
    (b'HTTP/1.1 200 OK\r\nContent-Length: 9\r\n\r\nhalf', 'GET', False),
    (response_bytes(b'whole'), 'GET', True),
    (
        response_bytes(b'1\r\nx\r\n0\r\n\r\n', 'Transfer-Encoding: Chunked', length=False),
        'GET',
        True,
    ),
    (b'HTTP/1.1 200 OK\r\n\r\n', 'HEAD', True),
    (b'HTTP/1.1 204 OK\r\n\r\n', 'GET', True),
]


@pytest.mark.parametrize(('raw', 'method', 'whole'), RESETS)
async def test_a_reset_ends_no_body(raw_server, raw, method, whole):
    """A reset does not complete a body that ends with its connection; others may precede one."""

    written, read = asyncio.Event(), asyncio.Event()

    async def handler(line):
        await line.request()
        await line.send(raw)
        written.set()
        await read.wait()
        line.reset()

    async with raw_server(handler) as peer:
        asking = asyncio.ensure_future(http.request(url=peer.url, method=method))
        await written.wait()
        for _ in range(20):  # turns of the loop: the client reads before the reset drops it all
            await asyncio.sleep(0)
        read.set()
        if whole:
            assert int(raw.split()[1]) == (await asking).status
        else:
            with pytest.raises(http.ProtocolError):
                await asking


async def cut(line):
    """End TLS without close_notify."""
    line.writer.transport.abort()


async def say(line):
    """End TLS with close_notify."""
    line.writer.close()


@pytest.mark.parametrize('version', [ssl.TLSVersion.TLSv1_2, ssl.TLSVersion.TLSv1_3])
@pytest.mark.parametrize(('end', 'whole'), [(say, True), (cut, False)])
@pytest.mark.parametrize('body', [b'', b'text', LONG], ids=len)
async def test_tls_that_is_cut_off_ends_no_body(
    raw_server, certificates, version, end, whole, body
):
    """A body that ends with its connection is complete only after close_notify."""

    async def handler(line):
        await line.request()
        await line.send(response_bytes(body, length=False))
        await end(line)

    trust = ssl.create_default_context(cafile=certificates.ca)
    trust.maximum_version = version
    async with raw_server(handler, tls=certificates.server) as peer:
        if whole:
            response = await http.request(url=peer.url, tls=trust, into='bytes')
            assert body == response.body
        else:
            with pytest.raises(http.ProtocolError, match='TLS connection was cut off'):
                await http.request(url=peer.url, tls=trust)


@pytest.mark.parametrize(
    'raw',
    [
        response_bytes(b'x'),
        response_bytes(b'1\r\nx\r\n0\r\n\r\n', 'Transfer-Encoding: chunked', length=False),
        response_bytes(gzip.compress(b'x'), 'Content-Encoding: gzip'),
    ],
)
async def test_a_body_with_a_length_or_chunks_needs_no_close_notify(raw_server, certificates, raw):
    """A body with a length or chunks is complete without close_notify."""

    async def handler(line):
        await line.request()
        await line.send(raw)
        await cut(line)

    async with raw_server(handler, tls=certificates.server) as peer:
        response = await http.request(url=peer.url, tls={'ca': certificates.ca})
    assert 'x' == response.body


# Bodies that are sent in parts; test_request_body has more of them


@EVERY
@pytest.mark.parametrize('into', ['text', 'stream'])
@pytest.mark.parametrize(
    ('make', 'sent'),
    [
        (lambda: iter(['a', 'b']), b'ab'),
        (lambda: 'ab', b'ab'),
        (lambda: 'x' * (2 << 20), b'x' * (2 << 20)),
    ],
)
async def test_bodies_are_whole_or_streamed_in_both_directions(sending, way, into, make, sent):
    """The request body and the response body are whole or streamed."""

    async def echo(request):
        return {'status': 200, 'body': request.body}

    echo.into = 'stream'
    async with sending(echo) as client:
        response = await client.request(method='POST', body=make(), into=into)
        got = await response.body.read() if into == 'stream' else response.bytes()
    assert sent == got
    if way != 'given':  # aiohttp does not tell the address of a connection that it has released
        assert '127.0.0.1' == response.ip


async def test_a_reset_after_an_early_error_response_is_no_error(raw_server):
    """A reset after an early error response is for the rest of the request body."""

    async def handler(line):
        await line.reader.readuntil(b'\r\n\r\n')
        await line.send(b'HTTP/1.1 413 Too Large\r\n\r\nno')
        line.reset()

    async with raw_server(handler) as peer:
        body = (bytes(65536) for _ in range(1000))
        response = await http.request(url=peer.url, method='POST', body=body)
    assert (413, 'no') == (response.status, response.body)


# What came before a peer broke off


def with_chunks(*chunks):
    """Make chunks, without the last one."""
    return b''.join(b'%x\r\n%b\r\n' % (len(one), one) for one in chunks)


def one_after_the_other(texts, coding):
    """Make the bytes of texts, each of which can be decoded as soon as it has come."""
    if coding is None:
        return [text.encode() for text in texts]
    encoder = ENCODERS[coding]()
    return [encoder.feed(text.encode()) + encoder.flush() for text in texts]


CHUNKED = ('Transfer-Encoding: chunked',)
SIZED = ('Content-Length: 999',)
EVENTS = ('data: 1\n\n', 'data: 2\n\n', 'data: 3\n\n')


@pytest.fixture
def breaking(raw_server):
    """Serve a body: the first part, and once it was read the others, and the end of all."""

    @contextlib.asynccontextmanager
    async def served(fields, parts, *, reset=False):
        read, broken = asyncio.Event(), asyncio.Event()
        chunked = CHUNKED[0] in fields
        first, *others = [with_chunks(one) if chunked else one for one in parts]

        async def handler(line):
            await line.request()
            await line.send(response_bytes(b'', *fields, *TYPE, length=False) + first)
            await read.wait()
            await line.send(b''.join(others))
            if reset:
                for _ in range(20):  # turns of the loop, in which the client reads it
                    await asyncio.sleep(0)
                line.reset()
            else:
                line.writer.write_eof()
                await line.reader.read()  # until the client has noticed
            broken.set()

        async def go_on():
            read.set()
            await broken.wait()
            for _ in range(20):  # turns of the loop, in which the client notices the end
                await asyncio.sleep(0)

        async with raw_server(handler) as peer:
            yield peer.url, go_on

    return served


TYPE = ('Content-Type: text/event-stream',)


async def until_error(items, after_first):
    """Return the items of an iterator that ends with a ProtocolError."""
    got = []
    try:
        async for item in items:
            got.append(item)
            if len(got) == 1:
                await after_first()
    except http.ProtocolError:
        return got
    pytest.fail('there was no error')


@pytest.mark.parametrize('coding', [None, *ENCODERS])
@pytest.mark.parametrize(
    ('fields', 'reset'),
    [(CHUNKED, False), (CHUNKED, True), (SIZED, False), (SIZED, True), ((), True)],
)
async def test_what_came_before_a_peer_broke_off_is_given(breaking, fields, reset, coding):
    """As a stream, raw, as lines and as events; after it comes the error, again and again."""
    coded = (f'Content-Encoding: {coding}',) if coding else ()

    async def pieces(stream):
        async for piece in stream:
            yield piece.decode()

    async def texts(events):
        async for event in events:
            yield f'data: {event["data"]}\n\n'

    async def lines(stream):
        async for line in stream.lines():
            yield f'{line}\n'

    for into, read in [('stream', pieces), ('raw', pieces), ('stream', lines), ('events', texts)]:
        if coding and into == 'raw':
            continue
        parts = one_after_the_other(EVENTS, coding)
        async with breaking((*fields, *coded), parts, reset=reset) as served:
            url, go_on = served
            response = await http.request(url=url, into=into)
            assert ''.join(EVENTS) == ''.join(await until_error(read(response.body), go_on))
            with pytest.raises(http.ProtocolError):
                await anext(response.body)


@OURS
@pytest.mark.parametrize(
    ('fields', 'reset'),
    [(CHUNKED, False), (CHUNKED, True), (SIZED, False), (SIZED, True), ((), True)],
)
async def test_a_relay_passes_on_what_came_before_its_origin_broke_off(breaking, fields, reset):
    """Then the response breaks off, too."""
    parts = one_after_the_other(EVENTS, None)
    async with breaking(fields, parts, reset=reset) as (url, go_on):
        response = await http.forward({'method': 'GET', 'url': '/'}, url)
        got = await until_error(response['body'], go_on)
    assert b''.join(parts) == b''.join(got)


def unacknowledged(line):
    """Return the number of bytes that the peer of a connection has not acknowledged."""
    sent = line.writer.get_extra_info('socket')
    return int.from_bytes(fcntl.ioctl(sent.fileno(), termios.TIOCOUTQ, bytes(4)), sys.byteorder)


@pytest.mark.parametrize('way', ['wire'], indirect=True)
@pytest.mark.parametrize('count', [1, 300])
async def test_what_came_is_given_though_a_write_failed(raw_server, count, until):
    """Of a response that began while the request was sent, even if its reader was slow."""
    ended = asyncio.Event()
    chunk = bytes(1000)

    async def handler(line):
        await line.reader.readuntil(b'\r\n\r\n')
        await line.send(response_bytes(b'', *CHUNKED, length=False))
        for start in range(0, count, 60):
            await line.send(with_chunks(*[chunk] * min(60, count - start)))
            for _ in range(20):  # turns of the loop, in which the client reads it
                await asyncio.sleep(0)
        async with asyncio.timeout(5):  # a reset drops the rest
            await until(lambda: not unacknowledged(line))
        line.reset()

    async def body():
        try:
            while True:
                yield LONG
        finally:
            ended.set()

    async with raw_server(handler) as peer:
        response = await http.request(url=peer.url, method='POST', body=body(), into='stream')
        await ended.wait()
        got = await until_error(response.body, ended.wait)
    assert count * chunk == b''.join(got)


@pytest.mark.parametrize('into', ['text', 'stream'])
@pytest.mark.parametrize('bad', [b'zz\r\n', b'1\r\nbzz\r\n'])
async def test_broken_chunks_end_a_body_with_an_error(raw_server, into, bad):
    """At once: the reader does not wait for the connection to end."""
    head = response_bytes(b'', *CHUNKED, length=False)
    go_on = asyncio.Event()

    async def handler(line):
        await line.request()
        await line.send(head + b'1\r\na\r\n')
        await go_on.wait()
        await line.send(bad)
        await line.reader.read()

    async with raw_server(handler) as peer:
        asking = asyncio.ensure_future(http.request(url=peer.url, into=into))
        if into == 'stream':
            stream = (await asking).body
            assert b'a' == await anext(stream)
            asking = asyncio.ensure_future(stream.read())
        for _ in range(20):  # turns of the loop, in which the client reads the head
            await asyncio.sleep(0)
        go_on.set()
        with pytest.raises(http.ProtocolError):
            await asking


# Bytes behind a response


RESPONSES = [
    ('GET', b'HTTP/1.1 204 X\r\nTransfer-Encoding: chunked\r\n\r\n', b'0\r\n\r\n', (204, '')),
    ('GET', b'HTTP/1.1 304 X\r\nContent-Length: 4\r\n\r\n', b'body', (304, '')),
    ('HEAD', b'HTTP/1.1 200 X\r\nContent-Length: 4\r\n\r\n', b'body', (200, '')),
    ('GET', b'HTTP/1.1 200 X\r\nContent-Length: 0\r\n\r\n', b'\0', (200, '')),
    ('GET', OK, b'more', (200, 'hi')),
    ('GET', OK, OK.replace(b'hi', b'no'), (200, 'hi')),
    ('GET', OK, b'HTTP/1.1 20', (200, 'hi')),
    ('GET', INTERIM + OK, b'more', (200, 'hi')),
    (
        'GET',
        b'HTTP/1.1 200 X\r\nTransfer-Encoding: chunked\r\n\r\n2\r\nhi\r\n0\r\n\r\n',
        b'more',
        (200, 'hi'),
    ),
]


@OURS
@pytest.mark.parametrize('into', ['text', 'stream'])
@pytest.mark.parametrize('pause', [None, 5, -1, -2])
@pytest.mark.parametrize(('method', 'raw', 'more', 'expected'), RESPONSES)
async def test_bytes_behind_a_response_cost_its_connection_alone(
    raw_server, method, raw, more, expected, pause, into
):
    """The response counts, even if all came in one read; no other request uses the connection."""

    async def handler(line):
        while True:
            await line.request()
            if pause is not None:  # the head comes in two reads
                end = raw.index(b'\r\n\r\n') + 4 + pause if pause < 0 else pause
                await line.send(raw[:end])
                for _ in range(20):  # turns of the loop, in which the client reads it
                    await asyncio.sleep(0)
            await line.send(raw[0 if pause is None else end :] + more)

    async with raw_server(handler) as peer, http.Client(base_url=peer.url) as client:
        for _ in range(2):
            response = await client.request(method=method, into=into)
            body = response.body if into == 'text' else (await response.body.read()).decode()
            assert expected == (response.status, body)
    assert 2 == peer.connections


@pytest.mark.parametrize('into', ['text', 'stream'])
@pytest.mark.parametrize('pauses', [(), (-1,), (-5, -4), (-2,), (-20,)])
@pytest.mark.parametrize(
    'raw', [OK, response_bytes(b'2\r\nhi\r\n0\r\n\r\n', *CHUNKED, length=False), INTERIM + OK]
)
async def test_a_connection_is_used_again_however_a_response_is_cut(raw_server, raw, pauses, into):
    """Nothing of the response is taken for bytes behind it."""

    async def handler(line):
        while True:
            await line.request()
            start = 0
            for end in (*(len(raw) + one for one in pauses), len(raw)):
                await line.send(raw[start:end])
                start = end
                for _ in range(20):  # turns of the loop, in which the client reads it
                    await asyncio.sleep(0)

    async with raw_server(handler) as peer, http.Client(base_url=peer.url) as client:
        for _ in range(3):
            response = await client.request(into=into)
            assert 'hi' == (
                response.body if into == 'text' else (await response.body.read()).decode()
            )
    assert 1 == peer.connections


# Bytes of a body that are not data


PADDED = [
    b'1;' + b'x' * 20_000 + b'\r\na\r\n0\r\n\r\n',
    b'0' * 20_000 + b'1\r\na\r\n0\r\n\r\n',
    b'1\r\na\r\n0;' + b'x' * 20_000 + b'\r\n\r\n',
    b'1\r\na\r\n0\r\n' + (b'X: ' + b'y' * 7_000 + b'\r\n') * 5 + b'\r\n',
    b'1;' + b'x' * 20_000 + b'\r\na\r\n',
]
PLAIN = [
    b'1\r\na\r\n' * 20_000,
    b'1;' + b'x' * 16_000 + b'\r\na\r\n',
    b'%x\r\n%b\r\n' % (len(LONG), LONG),
]


@pytest.mark.parametrize('into', ['bytes', 'stream'])
@pytest.mark.parametrize('split', [False, True])
@pytest.mark.parametrize('raw', PADDED, ids=range(len(PADDED)))
async def test_a_chunked_body_has_a_limit_of_what_is_not_data(raw_server, way, raw, split, into):
    """Such as extensions, zeros before a size and trailers: 16 KiB, and then an error."""
    if way == 'given' and not split:
        return  # aiohttp alone sees what comes with the head
    head = response_bytes(b'', *CHUNKED, length=False)

    async def handler(line):
        await line.request()
        await line.send(head if split else head + raw)
        if split:
            for _ in range(20):  # turns of the loop, in which the client reads the head
                await asyncio.sleep(0)
            await line.send(raw)
        await line.reader.read()  # until the client closes

    async with raw_server(handler) as peer:
        with pytest.raises(http.ProtocolError, match='16384'):
            await (await http.request(url=peer.url, into=into)).body.read()


@pytest.mark.parametrize('raw', PLAIN, ids=range(len(PLAIN)))
async def test_plain_framing_has_no_limit(raw_server, raw):
    """Neither that of many small chunks nor that of a large one."""
    async with raw_server(response_bytes(b'', *CHUNKED, length=False) + raw + b'0\r\n\r\n') as peer:
        got = (await http.request(url=peer.url, into='bytes')).body
    assert (20_000, 1, len(LONG))[PLAIN.index(raw)] == len(got)


# The write timeout


BIG = bytes(24 * 1024 * 1024)  # more than the sockets of both sides take


async def endless():
    """Give parts of a body for ever."""
    while True:
        yield bytes(100_000)


@contextlib.asynccontextmanager
async def stalling(raw_server, tls=None):
    """Serve peers that read the head of a request, and nothing of its body."""
    done = asyncio.Event()

    async def handler(line):
        await line.reader.readuntil(b'\r\n\r\n')
        line.writer.transport.pause_reading()
        await done.wait()

    async with raw_server(handler, tls=tls) as peer:
        try:
            yield peer
        finally:
            done.set()


@pytest.mark.parametrize(
    ('kind', 'tls'),
    [
        *((kind, False) for kind in ('bytes', 'text', 'multipart', 'file', 'path', 'iterator')),
        *((kind, True) for kind in ('bytes', 'path', 'iterator')),
    ],
)
async def test_a_peer_that_takes_no_more_of_a_body_times_out(
    raw_server, certificates, tmp_path, kind, tls
):
    """The message names the key. The read timeout does not run yet."""
    path = tmp_path / 'file'
    path.write_bytes(BIG)
    with path.open('rb') as file:
        body = {
            'bytes': {'body': BIG},
            'text': {'body': 'x' * len(BIG)},
            'multipart': {'multipart': [{'name': 'a', 'body': BIG}]},
            'file': {'body': file},
            'path': {'body': path},
            'iterator': {'body': endless()},
        }[kind]
        async with stalling(raw_server, certificates.server if tls else None) as peer:
            table = {'method': 'POST', 'url': peer.url, 'tls': {'ca': certificates.ca}, **body}
            with pytest.raises(http.TimedOut, match=r'took no more .* 0\.2 s \(timeout\[write\]\)'):
                await http.request(table, timeout={'write': 0.2, 'read': 0.01, 'total': None})


async def test_a_slow_source_does_not_time_out(raw_server):
    """The write timeout runs only while the peer is waited for."""

    async def parts():
        for _ in range(3):
            yield b'x' * 70_000
            await asyncio.sleep(0.05)

    async def handler(line):
        data = b''
        while not data.endswith(b'\r\n0\r\n\r\n'):
            data += await line.reader.read(65536)
        await line.send(OK)

    async with raw_server(handler) as peer:
        table = {'method': 'POST', 'url': peer.url, 'body': parts()}
        assert 'hi' == (await http.request(table, timeout={'write': 0.02})).body


@pytest.mark.parametrize('tls', [False, True], ids=['', 'tls'])
async def test_a_slow_peer_does_not_time_out(raw_server, certificates, tls):
    """Each part that it takes begins the time anew."""

    async def handler(line):
        await line.reader.readuntil(b'\r\n\r\n')
        for left in range(len(BIG), 0, -(len(BIG) // 8)):
            await asyncio.sleep(0.1)
            await line.reader.readexactly(min(left, len(BIG) // 8))
        await line.send(OK)

    async with raw_server(handler, tls=certificates.server if tls else None) as peer:
        table = {'method': 'POST', 'url': peer.url, 'body': BIG, 'tls': {'ca': certificates.ca}}
        assert 'hi' == (await http.request(table, timeout={'write': 0.5})).body


async def test_a_peer_that_responds_and_takes_no_more_of_a_body_times_out(raw_server):
    """Reading the stream of the response raises the error."""
    done = asyncio.Event()

    async def handler(line):
        await line.reader.readuntil(b'\r\n\r\n')
        line.writer.transport.pause_reading()
        await line.send(b'HTTP/1.1 200 OK\r\nContent-Length: 9\r\n\r\nhi')
        await done.wait()

    async with raw_server(handler) as peer:
        table = {'method': 'POST', 'url': peer.url, 'body': endless(), 'into': 'stream'}
        response = await http.request(table, timeout={'write': 0.2})
        assert b'hi' == await anext(response.body)
        with pytest.raises(http.TimedOut, match=r'timeout\[write\]'):
            await anext(response.body)
        done.set()


# The size of a response head


def policy(length):
    """Make a response with a long header: ``length`` bytes of name and value."""
    return response_bytes(b'hi', 'Content-Security-Policy: ' + 'x' * (length - 23))


async def test_a_long_header_line_is_accepted(raw_server, way):
    """12 kB, and up to 64 KiB; the session of a user has limits of its own, unless one is given."""
    for length in (12_000, 65_536):
        async with raw_server(policy(length)) as peer:
            if way == 'given':
                with pytest.raises(http.ProtocolError, match=r'over 8190 bytes \(max_header\)'):
                    await http.request(url=peer.url)
            for given in ({'max_header': length}, {} if way != 'given' else {'max_header': 65_536}):
                response = await http.request(url=peer.url, **given)
                assert length - 23 == len(response.headers['Content-Security-Policy'])


@pytest.mark.parametrize('into', ['text', 'stream'])
@pytest.mark.parametrize(
    'raw',
    [
        policy(1001),
        b'HTTP/1.1 200 ' + b'x' * 1001 + b'\r\n\r\n',
        response_bytes(b'', 'x' * 1001 + ': y'),
        response_bytes(b'', 'A: b', 'B: ' + 'x' * 1000),
    ],
    ids=['value', 'reason', 'name', 'later'],
)
async def test_a_line_of_a_head_that_is_too_long_is_an_error(raw_server, raw, into):
    """The message names the key, and has nothing of the line."""
    async with raw_server(raw) as peer:
        with pytest.raises(http.ProtocolError) as caught:
            await http.request(url=peer.url, max_header=1000, into=into)
    what = 'a header line or the status line of the response is over 1000 bytes (max_header)'
    assert f'GET {peer.url}/: {what}' == str(caught.value)


@pytest.mark.parametrize(('size', 'limit'), [(262_144, 65_536), (500_000, 125_000)])
async def test_a_head_has_a_limit_as_a_whole(raw_server, size, limit):
    """256 KiB, or four times ``max_header``; below it, many long lines are accepted."""
    left = size - len('Content-Length2')
    lines = ['A: ' + 'x' * 9_999] * (left // 10_000) + ['B: ' + 'x' * (left % 10_000 - 1)]
    async with raw_server(response_bytes(b'hi', *lines)) as peer:
        assert 'hi' == (await http.request(url=peer.url, max_header=limit)).body
    async with raw_server(response_bytes(b'hi', *lines, 'C:')) as peer:
        with pytest.raises(http.ProtocolError, match=rf'head .* over {size} bytes'):
            await http.request(url=peer.url, max_header=limit)


async def test_a_head_has_at_most_128_lines(raw_server):
    """One more is an error."""
    for count in (127, 128):
        raw = response_bytes(b'hi', *(f'A: {number}' for number in range(count)))
        async with raw_server(raw) as peer:
            if count == 127:
                assert 'hi' == (await http.request(url=peer.url)).body
            else:
                with pytest.raises(http.ProtocolError, match='Too many headers'):
                    await http.request(url=peer.url)


# Tunnels through a proxy


def http_response(status):
    """Make a response without a body."""
    return f'HTTP/1.1 {status}\r\nContent-Length: 0\r\n\r\n'.encode()


OPEN = b'HTTP/1.1 200 Go On\r\n\r\n'
NO_TUNNELS = [
    (b'', 'isconnected'),
    (b'HTTP/1.1 200 Go On\r\nA: b', 'isconnected'),
    (b'garbage\r\n\r\n', 'Bad status line'),
    (http_response('503 Busy'), 'it responded with status 503 Busy'),
    (http_response('407 Who Are You'), 'it responded with status 407 Who Are You'),
    (http_response('302 Elsewhere'), 'it responded with status 302 Elsewhere'),
    (OPEN + b'no TLS', 'SSL'),
    (OPEN, '[ConnectionResetError]'),
    (None, 'Connection timeout'),
]


@pytest.mark.parametrize(('raw', 'what'), NO_TUNNELS)
@pytest.mark.parametrize(
    'fields',
    [{}, {'method': 'POST'}, {'method': 'POST', 'body': 'x'}, {'method': 'PUT', 'body': (b'x',)}],
    ids=['GET', 'POST', 'text', 'stream'],
)
async def test_a_proxy_that_opens_no_tunnel_is_a_connect_error(raw_server, raw, what, fields):
    """Nothing was sent to the origin. The message names the proxy, without its login."""
    done = asyncio.Event()

    async def handler(line):
        await line.reader.readuntil(b'\r\n\r\n')
        if raw is None:
            await done.wait()
        elif raw.startswith(OPEN):
            await line.send(OPEN)
            await line.reader.read(10)
            await line.send(raw.removeprefix(OPEN))
        else:
            await line.send(raw)

    async with raw_server(handler) as proxy:
        table = {'url': 'https://a.example/?s3cret', 'proxy': f'http://me:s3cret@{proxy.url[7:]}'}
        timeout = {'connect': 0.1 if raw is None else 30}
        with pytest.raises(http.ConnectError) as caught:
            await http.request({**table, **fields, 'timeout': timeout})
        done.set()
    said = f' https://a.example:443/: no connection through the proxy {proxy.url}: '
    assert said in str(caught.value)
    assert what in str(caught.value)
    assert 's3cret' not in str(caught.value)


@OURS
@pytest.mark.parametrize(
    'raw',
    [
        OPEN,
        b'HTTP/1.1 201 Created\r\n\r\n',
        b'HTTP/1.0 204 None\r\n\r\n',
        http_response('299 Odd'),
        http_response('200 OK'),
    ],
)
async def test_every_2xx_of_a_proxy_opens_a_tunnel(raw_server, certificates, raw):
    """Whatever it says of a body (RFC 9110 9.3.6); a 2xx of the origin stays what it is."""
    created = b'HTTP/1.1 201 Created\r\nContent-Length: 2\r\n\r\nhi'

    async def handler(line):
        await line.reader.readuntil(b'\r\n\r\n')
        await line.send(raw)
        reader, writer = await asyncio.open_connection('127.0.0.1', origin.port)
        await asyncio.gather(pump(line.reader, writer), pump(reader, line.writer))

    async with (
        raw_server(created, tls=certificates.server) as origin,
        raw_server(handler) as proxy,
        http.Client(proxy=proxy.url, tls={'ca': certificates.ca}) as client,
    ):
        for _ in range(2):
            response = await client.request(url=f'https://localhost:{origin.port}/')
            assert (201, 'hi') == (response.status, response.body)
    assert 1 == proxy.connections


async def pump(reader, writer):
    """Copy what comes to the other side of a tunnel."""
    while data := await reader.read(65536):
        writer.write(data)
    writer.close()


async def test_a_websocket_without_a_tunnel_is_a_connect_error(raw_server):
    """As for any other request."""
    async with raw_server(http_response('503 Busy')) as proxy, http.Client() as client:
        with pytest.raises(http.ConnectError, match=r'through the proxy .* status 503 Busy'):
            async with client.websocket(url='wss://a.example', proxy=proxy.url):
                raise AssertionError


async def test_a_request_is_retried_if_there_was_no_tunnel(raw_server):
    """Whatever its method."""
    with stamina.set_testing(True, attempts=3, cap=True):
        async with raw_server(http_response('503 Busy')) as proxy:
            send = retry(http.request)
            with pytest.raises(http.ConnectError):
                await send({'url': 'https://a.example', 'method': 'POST', 'proxy': proxy.url})
    assert 3 == len(proxy.requests)


async def test_a_host_with_a_dot_at_its_end_is_named_without_it_in_tls(raw_server, certificates):
    """In SNI (RFC 6066 3) and in the check of the certificate; Host has the dot."""
    names = []
    certificates.named.sni_callback = lambda tls, name, context: names.append(name)

    async def handler(line):
        await line.reader.readuntil(b'\r\n\r\n')
        await line.send(OPEN)
        reader, writer = await asyncio.open_connection('127.0.0.1', origin.port)
        await asyncio.gather(pump(line.reader, writer), pump(reader, line.writer))

    async with raw_server(OK, tls=certificates.named) as origin, raw_server(handler) as proxy:
        for tls in ({}, {'server_name': 'localhost.'}):
            async with http.Client(proxy=proxy.url, tls={'ca': certificates.ca, **tls}) as client:
                response = await client.request(url=f'https://localhost.:{origin.port}/')
                assert 'hi' == response.body
    assert ['localhost', 'localhost'] == names
    assert [f'localhost.:{origin.port}'] * 2 == [
        asked.values('Host')[0] for asked in origin.requests
    ]


# TLS handshakes that fail


@contextlib.contextmanager
def refusing(context):
    """Serve, in a thread, TLS handshakes that fail; yield the port.

    asyncio sends no alert for them.
    """

    def serve():
        with contextlib.suppress(OSError):  # ``listening`` was shut down
            while True:
                accepted, _ = listening.accept()
                with context.wrap_socket(
                    accepted, server_side=True, do_handshake_on_connect=False
                ) as tls:
                    with contextlib.suppress(ssl.SSLError):
                        tls.do_handshake()
                    while socket.socket.recv(tls, 65536):  # else the system resets the connection
                        pass

    with socket.create_server(('127.0.0.1', 0)) as listening:
        thread = threading.Thread(target=serve)
        thread.start()
        try:
            yield listening.getsockname()[1]
        finally:
            listening.shutdown(socket.SHUT_RDWR)
            thread.join()


@pytest.mark.parametrize('version', [ssl.TLSVersion.TLSv1_2, ssl.TLSVersion.TLSv1_3])
@pytest.mark.parametrize('certificate', [None, 'of another authority'])
@pytest.mark.parametrize('into', ['text', 'stream'])
@pytest.mark.parametrize('method', ['GET', 'POST'])
async def test_a_client_certificate_that_is_refused_is_a_connect_error(
    certificates, version, certificate, into, method
):
    """With TLS 1.3 the client learns that by its first read."""
    context = ssl.create_default_context(cafile=certificates.ca)
    context.maximum_version = version
    what = 'ALERT_(CERTIFICATE_REQUIRED|HANDSHAKE_FAILURE)'
    if certificate:
        trustme.CA().issue_cert('me@example.com').configure_cert(context)
        what = 'ALERT_UNKNOWN_CA'
    with refusing(certificates.strict) as port, pytest.raises(http.ConnectError, match=what):
        await http.request(url=f'https://127.0.0.1:{port}/', tls=context, into=into, method=method)


def context_of(authority, name, **options):
    """Make the context of a server."""
    context = ssl.create_default_context(ssl.Purpose.CLIENT_AUTH)
    authority.issue_cert(name, **options).configure_cert(context)
    return context


@pytest.mark.parametrize(
    ('kind', 'what'),
    [
        ('plain', 'SSL'),
        ('expired', 'certificate has expired'),
        ('unknown', 'unable to get local issuer certificate'),
        ('host', 'CERTIFICATE_VERIFY_FAILED'),
    ],
)
async def test_a_failed_tls_handshake_is_a_connect_error(raw_server, kind, what):
    """The message has the reason of OpenSSL."""
    authority = trustme.CA()
    trust = ssl.create_default_context()
    authority.configure_trust(trust)
    past = datetime(2020, 1, 1, tzinfo=UTC), datetime(2021, 1, 1, tzinfo=UTC)
    contexts = {
        'plain': None,
        'expired': context_of(authority, '127.0.0.1', not_before=past[0], not_after=past[1]),
        'unknown': context_of(trustme.CA(), '127.0.0.1'),
        'host': context_of(authority, 'other.example'),
    }

    async def handler(line):
        await line.reader.read(10)
        await line.send(b'HTTP/1.1 400 Bad Request\r\n\r\n')

    async with raw_server(handler, tls=contexts[kind]) as peer:
        with pytest.raises(http.ConnectError, match=what):
            await http.request(url=f'https://127.0.0.1:{peer.port}/', tls=trust)


async def test_a_version_of_tls_that_is_refused_is_a_connect_error(certificates):
    """The message has the alert."""
    context = ssl.create_default_context(cafile=certificates.ca)
    context.minimum_version = ssl.TLSVersion.TLSv1_3
    certificates.tls12.maximum_version = ssl.TLSVersion.TLSv1_2
    with (
        refusing(certificates.tls12) as port,
        pytest.raises(http.ConnectError, match='PROTOCOL_VERSION'),
    ):
        await http.request(url=f'https://127.0.0.1:{port}/', tls=context)


class Once:
    """An iterator of parts, of which an exception is raised; it counts its closes."""

    def __init__(self, *parts):
        self.parts, self.closed = iter(parts), 0

    def __iter__(self):
        return self

    def __next__(self):
        part = next(self.parts)
        if isinstance(part, BaseException):
            raise part
        return part

    def close(self):
        self.closed += 1


class Forever:
    """A body that yields one part and then waits; it counts its closes."""

    def __init__(self):
        self.begun, self.closed, self.ended = False, 0, asyncio.Event()

    def __aiter__(self):
        return self

    async def __anext__(self):
        if self.begun:
            await asyncio.Event().wait()
        self.begun = True
        return b'x'

    async def aclose(self):
        self.closed += 1
        self.ended.set()


async def whole(request):
    """Read the request body, and return its length."""
    return {'status': 200, 'body': str(len(await request.body.read()))}


whole.into = 'stream'


@EVERY
@pytest.mark.parametrize('error', [OSError('mine'), ValueError('mine'), ConnectionResetError()])
@pytest.mark.parametrize('into', ['text', 'stream'])
async def test_an_exception_of_the_request_body_is_raised(sending, caplog, error, into):
    """As it is, although a connection may raise the same kind; it is no error of the handler."""
    body = Once(b'a', error)
    async with sending(whole) as client:
        with pytest.raises(type(error)) as caught:
            await client.request(method='POST', body=body, into=into)
    assert (error, 1) == (caught.value, body.closed)
    assert [] == [one for one in caplog.records if one.levelno >= logging.ERROR]


@EVERY
async def test_an_exception_of_on_progress_is_raised(sending):
    """As it is, for a large body and for one in parts."""
    error = ConnectionResetError('mine')

    def fails(done, total):
        raise error

    async with sending(whole) as client:
        for body in (bytes(2_000_000), Once(b'a')):
            with pytest.raises(ConnectionResetError) as caught:
                await client.request(method='PUT', body=body, on_progress=fails)
            assert error is caught.value


@EVERY
async def test_progress_is_reported_in_both_directions(sending):
    """Each part that is sent or received, and the total if it is known."""
    seen = []

    async def handler(request):
        await request.body.read()
        return {'status': 200, 'body': iter(['ab', 'c']), 'headers': {'Content-Length': 3}}

    handler.into = 'stream'
    async with sending(handler, on_progress=lambda *one: seen.append(one)) as client:
        for into in ('text', 'stream'):
            response = await client.request(method='POST', body=Once(b'x', b'yz'), into=into)
            got = await response.body.read() if into == 'stream' else response.bytes()
            assert b'abc' == got
            assert [(1, None), (3, None)] == seen[:2]
            assert (3, 3) == seen[-1]
            seen.clear()


@EVERY
@pytest.mark.parametrize('coding', ['', 'gzip'])
@pytest.mark.parametrize('make', [lambda data: data, lambda data: iter([data[:1], data[1:]])])
@pytest.mark.parametrize('into', ['bytes', 'stream'])
async def test_a_response_above_the_limit_is_an_error(sending, coding, make, into):
    """``max_body`` counts decoded bytes."""
    data = gzip.compress(b'x' * 10, mtime=0) if coding else b'x' * 10

    def handler(request):
        headers = {'Content-Encoding': coding} if coding else {}
        return {'status': 200, 'body': make(data), 'headers': headers}

    async def got(client, limit):
        response = await client.request(max_body=limit, into=into)
        return await response.body.read() if into == 'stream' else response.body

    async with sending(handler) as client:
        with pytest.raises(http.BodyTooLarge):
            await got(client, 9)
        assert b'x' * 10 == await got(client, 10)


@EVERY
async def test_progress_may_be_told_by_direction(sending):
    """A table has a function for the upload and one for the download; both are optional."""
    up, down = [], []

    def handler(request):
        return {'status': 200, 'body': '' if request.body == 'b' else 'abc'}

    watch = {'upload': lambda *one: up.append(one), 'download': lambda *one: down.append(one)}
    async with sending(handler) as client:
        await client.request(method='POST', body=iter(['x', 'yz']), on_progress=watch)
        assert ([(1, None), (3, None)], (3, 3)) == (up, down[-1])
        await client.request(method='POST', body=iter(['b']), on_progress=watch)
        assert ((1, None), (0, 0)) == (up[-1], down[-1])
        for table in {'upload': watch['upload']}, {'download': None}, {}:
            down.clear()
            await client.request(method='POST', body=iter('abc'), on_progress=table)
        assert ((3, None), []) == (up[-1], down)


# Parts of a multipart body from files


async def form(request):
    """Return the fields and files of a form, and how it was framed."""
    fields = [
        [name, one] if isinstance(one, str) else [name, *one.values()]
        for name, one in (await request.form()).items()
    ]
    framing = request.headers.get('Content-Length'), request.headers.get('Transfer-Encoding')
    return {'status': 200, 'body': repr((fields, *framing))}


form.into = 'stream'


@contextlib.contextmanager
def pipe(data):
    """Open a file that can be read only once."""
    end, start = os.pipe()
    os.write(start, data)
    os.close(start)
    with open(end, 'rb') as file:
        yield file


@EVERY
async def test_parts_may_be_files(sending, tmp_path):
    """The length is sent unless a file has none; the same file may be in several parts."""
    path, long, memory = tmp_path / 'a.png', tmp_path / 'b', io.BytesIO(b'me')
    path.write_bytes(b'\x89PNG')
    long.write_bytes(LONG)
    with path.open('rb') as file, pipe(b'pi') as piped:
        file.seek(1)
        parts = [
            {'name': 'title', 'body': 'é'},
            {'name': 'path', 'body': path},
            {'name': 'long', 'body': long, 'filename': 'c.csv'},
            *({'name': 'open', 'body': file, 'content_type': 'a/b'} for _ in range(2)),
            {'name': 'memory', 'body': memory},
            {'name': 'large', 'body': 'x' * (1 << 20), 'filename': 'd'},
        ]
        expected = [
            ['title', 'é'],
            ['path', 'a.png', 'image/png', b'\x89PNG'],
            ['long', 'c.csv', 'text/csv', LONG],
            *[['open', 'a.png', 'a/b', b'PNG']] * 2,
            ['memory', 'me'],
            ['large', 'd', 'application/octet-stream', b'x' * (1 << 20)],
        ]
        seen = []
        async with sending(form) as client:
            table = {'method': 'POST', 'multipart': parts}
            response = await client.request(
                table, on_progress={'upload': lambda *one: seen.append(one)}
            )
            got, length, coding = ast.literal_eval(response.body)
            assert (expected, None) == (got, coding)
            assert (int(length), int(length)) == seen[-1]
            assert seen == sorted(seen)
            file.seek(1)
            memory.seek(0)
            parts.append({'name': 'pipe', 'body': piped, 'filename': 'p'})
            response = await client.request(table)
        kind = 'application/octet-stream'
        got, length, coding = ast.literal_eval(response.body)
        assert ([*expected, ['pipe', 'p', kind, b'pi']], None, 'chunked') == (got, length, coding)
        assert (False, False) == (file.closed, memory.closed)


@EVERY
async def test_a_redirect_resends_the_files_of_parts(sending, tmp_path):
    """If each can be read twice; a pipe is an error, with the redirect."""
    path, seen = tmp_path / 'a', []
    path.write_bytes(b'abc')

    async def handler(request):
        seen.append([one['body'] for one in (await request.form()).values()])
        if len(seen) % 2:
            return {'status': 307, 'headers': {'Location': '/b'}}
        return {'status': 200}

    handler.into = 'stream'
    async with sending(handler) as client:
        with path.open('rb') as file, pipe(b'x') as piped:
            file.seek(1)
            parts = [{'name': 'a', 'body': one, 'filename': 'a'} for one in (path, file)]
            assert 200 == (await client.request(method='POST', multipart=parts)).status
            assert [[b'abc', b'bc']] * 2 == seen
            parts.append({'name': 'a', 'body': piped, 'filename': 'a'})
            with pytest.raises(http.TableError, match='a 307 sends the body again') as caught:
                await client.request(method='POST', multipart=parts)
    assert (307, 3) == (caught.value.response.status, len(seen))


@EVERY
@pytest.mark.parametrize('kind', ['missing', 'folder'])
async def test_a_part_whose_file_cannot_be_read_is_an_error(sending, tmp_path, kind):
    """Nothing is sent, and the error names the part and the path."""
    path = tmp_path if kind == 'folder' else tmp_path / 'missing'
    (tmp_path / 'good').write_bytes(b'')
    parts = [{'name': 'a', 'body': tmp_path / 'good'}, {'name': 'f', 'body': path}]
    async with sending(lambda request: pytest.fail('it was sent')) as client:
        with pytest.raises(http.TableError) as caught:
            await client.request(method='POST', multipart=parts)
    assert f"'multipart[f].body' is {path!r}; it must be the path of a file" in str(caught.value)


@EVERY
@pytest.mark.parametrize('size', [1, 5 << 20])
async def test_a_file_of_a_part_that_changes_its_size_is_an_error(sending, tmp_path, size):
    """The server does not take the body for complete."""
    first, path, got = tmp_path / 'first', tmp_path / 'file', []
    first.write_bytes(LONG)
    path.write_bytes(LONG)

    def change(done=0, total=0):
        # Once, before its first byte is read. A second time would empty it while it is read.
        if path.stat().st_size != size:
            path.write_bytes(bytes(size))

    async def handler(request):
        with contextlib.suppress(http.ProtocolError):
            async for _ in request.body:
                change()
            got.append('all')
        return {'status': 200}

    handler.into = 'stream'
    parts = [{'name': 'a', 'body': first}, {'name': 'b', 'body': path}]
    async with sending(handler) as client:
        progress = {'upload': change}
        with pytest.raises(http.TableError, match=r'than its Content-Length'):
            await client.request(method='POST', multipart=parts, on_progress=progress)
    assert [] == got


# Redirects, cookies and checks


@EVERY
@pytest.mark.parametrize('body', ['text é', b'\x00\xff', 'x' * (2 << 20)], ids=len)
async def test_a_redirect_that_keeps_the_method_resends_the_whole_body(sending, body):
    """With the same Content-Type, and the cookies that it sets."""
    seen = []

    def handler(request):
        kind, cookie = request.headers['Content-Type'], request.headers.get('Cookie')
        seen.append((request.method, request.body, kind, cookie))
        if len(seen) == 3:
            return {'status': 204}
        headers = {'Location': f'/{len(seen)}', 'Set-Cookie': f'a={len(seen)}; Path=/'}
        return {'status': 306 + len(seen), 'headers': headers}

    handler.into = 'bytes'
    async with sending(handler) as client:
        response = await client.request(method='POST', body=body)
    sent = body if isinstance(body, bytes) else body.encode()
    assert [('POST', sent)] * 3 == [one[:2] for one in seen]
    assert (1, [None, 'a=1', 'a=2']) == (len({one[2] for one in seen}), [one[3] for one in seen])
    assert [307, 308] == [one.status for one in response.history]


@EVERY
async def test_a_body_that_can_be_sent_only_once_is_not_sent_again(sending):
    """The error has the redirect; the iterator is closed."""

    async def handler(request):
        seen.append(await request.body.read())
        return {'status': 307, 'headers': {'Location': '/b'}}

    handler.into = 'stream'
    body, seen = Once(b'a'), []
    async with sending(handler) as client:
        with pytest.raises(http.TableError, match='because a 307 sends the body again') as caught:
            await client.request(method='POST', body=body)
    assert ('/b', 1, [b'a']) == (caught.value.response.headers['Location'], body.closed, seen)


@EVERY
async def test_a_cookie_of_the_jar_replaces_one_of_the_table(sending):
    """It is sent as it was set."""
    seen = []

    def handler(request):
        seen.append(sorted(request.headers['Cookie'].split('; ')))
        return {'status': 200, 'headers': {'Set-Cookie': 'a="x,y"; Path=/'}}

    async with sending(handler) as client:
        for _ in range(2):
            await client.request(headers={'Cookie': 'a=1; b=2'})
    assert [['a=1', 'b=2'], ['a="x,y"', 'b=2']] == seen


@EVERY
async def test_check_raises_for_a_status(sending):
    """The error has the whole response."""
    async with sending(lambda request: {'status': 404, 'body': 'no'}) as client:
        with pytest.raises(http.StatusError) as caught:
            await client.request(check=True)
        assert 'no' == caught.value.response.body
        assert 404 == (await client.request(check=[404])).status


# The end of a stream


@EVERY
async def test_a_stream_that_is_left_early_ends_the_response(sending):
    """The iterator of the handler is closed."""
    source = Forever()
    async with sending(lambda request: {'status': 200, 'body': source}) as client:
        async with (await client.request(into='stream')).body as stream:
            assert b'x' == await anext(stream)
        await source.ended.wait()
    assert 1 == source.closed


@EVERY
@pytest.mark.parametrize('reads', [True, False])
async def test_closing_the_client_ends_streamed_bodies(sending, reads):
    """Reads raise an error, and so do later requests; the iterator of the handler is closed."""
    source = Forever()
    async with sending(lambda request: {'status': 200, 'body': source}) as client:
        response = await client.request(into='stream')
        assert b'x' == await anext(response.body)
        reading = asyncio.create_task(response.body.read()) if reads else None
        await asyncio.sleep(0)
        await client.close()
        with pytest.raises(http.ProtocolError):
            await (reading or response.body.read())
        await source.ended.wait()
        for ask in (client.request(), client.websocket().__aenter__()):
            with pytest.raises(http.ConnectError, match='the client is closed'):
                await ask
    assert 1 == source.closed


# Bodies that have arrived


async def arrived(response):
    """Return the body of a streamed response once it has had time to arrive."""
    for _ in range(20):  # turns of the loop, in which the client reads it
        await asyncio.sleep(0)
    return response.body.rest()


@pytest.mark.parametrize('way', ['wire'], indirect=True)
async def test_a_body_that_has_arrived_is_given_in_one_piece(raw_server):
    """A proxy writes it with the head. Its connection is free, and the stream at its end."""
    async with raw_server(OK) as peer, http.Client(base_url=peer.url) as client:
        for _ in range(2):
            response = await client.request(into='stream')
            assert (b'hi', None) == (await arrived(response), response.body.rest())
            assert b'' == await response.body.read()
        response = await client.request(into='stream')
        await response.body.close()
        assert response.body.rest() is None
    assert 1 == peer.connections


PACKED = gzip.compress(b'hi')
NOT_YET = [
    (b'HTTP/1.1 200 OK\r\nContent-Length: 3\r\n\r\nhi', {}),
    (b'HTTP/1.1 200 OK\r\n\r\nhi', {}),
    (OK, {'max_body': 1}),
    (OK, {'on_progress': print}),
    (response_bytes(PACKED, 'Content-Encoding: gzip'), {}),
]


@pytest.mark.parametrize(('raw', 'options'), NOT_YET, ids=range(len(NOT_YET)))
async def test_any_other_body_is_read_in_the_usual_way(raw_server, raw, options):
    """One that is not complete, not delimited, too long, decoded or watched."""
    async with raw_server(raw) as peer:
        response = await http.request(url=peer.url, into='stream', **options)
        assert await arrived(response) is None
        await response.body.close()
        response = await http.request(url=peer.url, into='stream')
        first = await anext(response.body)
        assert (b'hi', None) == (first, response.body.rest())
        await response.body.close()


@pytest.mark.parametrize('way', ['session', 'given'], indirect=True)
async def test_by_a_session_bodies_are_read_in_the_usual_way(raw_server):
    """What sends the request belongs to aiohttp there."""
    async with raw_server(OK) as peer:
        response = await http.request(url=peer.url, into='stream')
        assert await arrived(response) is None
        assert b'hi' == await response.body.read()


@pytest.mark.parametrize('way', ['wire'], indirect=True)
async def test_a_body_that_has_arrived_must_fit_its_new_length(raw_server, caplog):
    """A handler that changes the Content-Length of a stream gets its mistake told: a 500."""
    async with raw_server(OK) as peer:

        async def handler(request):
            response = await http.request(url=peer.url, into='raw')
            for _ in range(20):  # turns of the loop, in which the client reads it
                await asyncio.sleep(0)
            response.headers['Content-Length'] = '5'
            return response

        async with http.listen('127.0.0.1', 0, handler) as server:
            assert 500 == (await http.request(url=server.url)).status
    assert "'body' has 2 bytes, and its Content-Length is 5" in caplog.text
