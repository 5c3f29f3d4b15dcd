"""Requests over the network: responses, errors, connections, TLS, proxies and Unix sockets."""

import asyncio
import gzip
import pickle
import socket
import ssl
import zlib
from pathlib import Path

import pytest

import aioluahttp as http
from aioluahttp.errors import Refused
from aioluahttp.transports.network import NetworkTransport
from programs import free_port

pytestmark = pytest.mark.usefixtures('both_routes')

EVERY_BYTE = bytes(range(256))
OK = b'HTTP/1.1 200 OK\r\nContent-Length: 2\r\n\r\nhi'
LONG = EVERY_BYTE * 8192  # 2 MiB: more than aiohttp sends in one write


def response_bytes(body=b'', *fields, status='200 OK', length=True):
    """Make the bytes of a response."""
    lines = [f'HTTP/1.1 {status}', *fields, *([f'Content-Length: {len(body)}'] if length else [])]
    return '\r\n'.join((*lines, '\r\n')).encode('utf-8', 'surrogateescape') + body


@pytest.fixture
def got(raw_server):
    """Return a function that sends a request to a server with a given response."""

    async def send(data, **fields):
        async def handler(line):
            await line.request()
            await line.send(data)

        async with raw_server(handler) as peer:
            return await http.request(url=peer.url, **fields)

    return send


# Responses


async def test_a_response_is_a_table(raw_server):
    """Each key has the value that was received."""
    raw = response_bytes(b'text', 'X-Many: 1', 'x-many: 2', 'Empty:', status='299 Quite Well')
    async with raw_server(raw) as peer:
        response = await http.request(url=peer.url + '/a?b', method='POST')
    headers = [('X-Many', '1'), ('x-many', '2'), ('Empty', ''), ('Content-Length', '4')]
    assert {
        'status': 299,
        'reason': 'Quite Well',
        'headers': http.Headers(headers),
        'body': 'text',
        'url': peer.url + '/a?b',
        'method': 'POST',
        'version': '1.1',
        'ip': '127.0.0.1',
        'history': [],
    } == response
    assert isinstance(response, http.Response)


@pytest.mark.parametrize(
    ('raw', 'expected'),
    [
        (b'HTTP/1.0 200 OK\r\n\r\nto the end', ('1.0', 200, 'OK', 'to the end')),
        (b'HTTP/1.1 200\r\nContent-Length: 0\r\n\r\n', ('1.1', 200, '', '')),
        (b'HTTP/1.1 999 \xff\r\nContent-Length: 0\r\n\r\n', ('1.1', 999, '\udcff', '')),
        (b'HTTP/1.1 204 No\r\n\r\n', ('1.1', 204, 'No', '')),
        (b'HTTP/1.1 304 No\r\nContent-Length: 5\r\n\r\n', ('1.1', 304, 'No', '')),
        (
            b'HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n2\r\nab\r\n1\r\nc\r\n0\r\n\r\n',
            ('1.1', 200, 'OK', 'abc'),
        ),
        (b'HTTP/1.1 200 OK\r\nTransfer-Encoding: x\r\n\r\nto the end', ('1.1', 200, 'OK', None)),
        (b'HTTP/1.1 103 Early\r\nLink: x\r\n\r\n' * 500 + OK, ('1.1', 200, 'OK', 'hi')),
    ],
)
async def test_any_framing_is_read(got, raw, expected):
    """Bodies that end with the connection, empty ones and chunks; 1xx are skipped."""
    response = await got(raw)
    version, status, reason, body = expected
    assert (version, status, reason) == (response.version, response.status, response.reason)
    assert ('to the end' if body is None else body) == response.body


@pytest.mark.parametrize(
    ('into', 'nothing'), [('text', ''), ('bytes', b''), ('json', None)], ids=str
)
async def test_a_response_without_a_body_has_an_empty_one(got, into, nothing):
    """A response to HEAD keeps the headers of the body."""
    raw = b'HTTP/1.1 200 OK\r\nContent-Length: 5\r\nContent-Encoding: gzip\r\n\r\n'
    response = await got(raw, method='HEAD', into=into)
    assert (nothing, '5', 'gzip') == (
        response.body,
        response.headers['content-length'],
        response.headers['content-encoding'],
    )


@pytest.mark.parametrize(
    ('into', 'body', 'expected'),
    [
        ('text', 'é'.encode(), 'é'),
        ('text', EVERY_BYTE, EVERY_BYTE.decode('utf-8', 'surrogateescape')),
        ('bytes', EVERY_BYTE, EVERY_BYTE),
        ('json', b'{"a": [1, null]}', {'a': [1, None]}),
        ('json', '"é"'.encode('utf-16'), 'é'),
    ],
)
async def test_a_body_becomes_what_into_says(got, into, body, expected):
    """Text, bytes, or the value of the JSON."""
    assert expected == (await got(response_bytes(body), into=into)).body


@pytest.mark.parametrize('body', [b'<html>', b'{', b'\xff', b'[' * 100_000])
async def test_bad_json_is_a_protocol_error_for_a_success_alone(got, body):
    """For a success it is a ProtocolError; the page of a redirect or an error is text."""
    with pytest.raises(http.ProtocolError, match='not JSON'):
        await got(response_bytes(body), into='json')
    for status in ('302 Found', '404 Not Found', '500 Error'):
        response = await got(response_bytes(body, status=status), into='json')
        assert body == response.bytes()
        assert isinstance(response.body, str)


@pytest.mark.parametrize(
    ('kind', 'body', 'text'),
    [
        ('text/plain; charset=iso-8859-1', b'\xe9', 'é'),
        ('text/plain; charset="Shift_JIS"', '日本'.encode('shift_jis'), '日本'),
        ('text/plain; charset=punycode', b'\xe9', '\udce9'),
        ('text/plain', b'\xe9', '\udce9'),
        ('\udcff', b'\xe9', '\udce9'),
    ],
    ids=ascii,
)
async def test_a_charset_is_read_and_written(raw_server, kind, body, text):
    """The text of a body is decoded by its charset, and sent as the same bytes."""
    async with raw_server(response_bytes(body, f'Content-Type: {kind}')) as peer:
        response = await http.request(url=peer.url)
        assert (text, body) == (response.body, response.bytes())
        if kind.isascii():
            headers = {'Content-Type': kind}
            await http.request(url=peer.url, body=response.body, headers=headers)
            assert body == peer.requests[1].body


def bare(data):
    """Compress without the header of zlib, as some peers do."""
    packer = zlib.compressobj(wbits=-15)
    return packer.compress(data) + packer.flush()


@pytest.mark.parametrize(
    ('coding', 'body'),
    [
        (['gzip'], gzip.compress(LONG, mtime=0)),
        (['x-GZIP'], gzip.compress(LONG, mtime=0)),
        (['deflate'], zlib.compress(LONG)),
        (['deflate'], bare(LONG)),
        (['gzip, deflate'], zlib.compress(gzip.compress(LONG, mtime=0))),
        (['deflate', 'gzip'], gzip.compress(zlib.compress(LONG), mtime=0)),
        (['gzip'], gzip.compress(LONG[:7], mtime=0) + gzip.compress(LONG[7:], mtime=0)),
        (['identity'], LONG),
    ],
)
async def test_a_compressed_body_is_decoded(got, coding, body):
    """The headers describe the decoded body."""
    fields = [f'Content-Encoding: {one}' for one in coding]
    response = await got(response_bytes(body, *fields, 'Vary: x'), into='bytes')
    decoded = coding != ['identity']
    names = ['vary'] if decoded else ['content-encoding', 'content-length', 'vary']
    assert LONG == response.body
    assert names == sorted(name.lower() for name in response.headers)


async def test_an_unknown_coding_is_left_alone(got):
    """The body and Content-Encoding are as they were received."""
    response = await got(response_bytes(EVERY_BYTE, 'Content-Encoding: compress'), into='bytes')
    assert (EVERY_BYTE, 'compress') == (response.body, response.headers['Content-Encoding'])


async def test_an_empty_body_may_have_a_coding(got):
    """Some peers name a coding with an empty body."""
    response = await got(response_bytes(b'', 'Content-Encoding: gzip'))
    assert ('', 'gzip') == (response.body, response.headers['content-encoding'])


PACKED = gzip.compress(LONG, mtime=0)


@pytest.mark.parametrize(
    'raw',
    [
        response_bytes(PACKED[:-1], 'Content-Encoding: gzip'),
        response_bytes(PACKED[:-1], 'Content-Encoding: gzip', length=False),
        response_bytes(PACKED[:100], 'Content-Encoding: gzip'),
        response_bytes(b'no gzip', 'Content-Encoding: gzip'),
        response_bytes(PACKED[:-8] + bytes(8), 'Content-Encoding: gzip'),
        response_bytes(zlib.compress(b'x') + b'more', 'Content-Encoding: deflate'),
    ],
)
async def test_a_broken_coding_is_refused(got, raw):
    """A compressed body that is cut off, or not compressed, is a ProtocolError."""
    with pytest.raises(http.ProtocolError, match='the compressed body'):
        await got(raw)


BOMB = gzip.compress(bytes(1 << 20), 9)


@pytest.mark.parametrize(
    ('raw', 'limit', 'fits'),
    [
        (response_bytes(b'12345'), 5, True),
        (response_bytes(b'12345'), 4, False),
        (response_bytes(b''), 0, True),
        (response_bytes(b'12345', length=False), 4, False),
        (b'HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n5\r\n12345\r\n0\r\n\r\n', 4, False),
        (response_bytes(BOMB, 'Content-Encoding: gzip'), 1 << 20, True),
        (response_bytes(BOMB, 'Content-Encoding: gzip'), (1 << 20) - 1, False),
        (response_bytes(gzip.compress(BOMB, mtime=0), 'Content-Encoding: gzip, gzip'), 1000, False),
        (response_bytes(b'12345', status='404 No'), 4, False),
        (response_bytes(BOMB, 'Content-Encoding: gzip'), None, True),
    ],
)
async def test_a_limit_counts_what_the_body_is(raw_server, raw, limit, fits):
    """``max_body`` counts decoded bytes; after an error the pool has its connection again."""

    async def handler(line):
        bad = (await line.request()).line.startswith('GET /bad')
        await line.send(raw if bad else OK)
        if bad:
            line.writer.write_eof()
        else:
            await handler(line)

    async with raw_server(handler) as peer, http.Client(limit=1) as client:
        if fits:
            await client.request(url=peer.url + '/bad', max_body=limit)
        else:
            with pytest.raises(http.BodyTooLarge):
                await client.request(url=peer.url + '/bad', max_body=limit)
        assert 'hi' == (await client.request(url=peer.url)).body


async def test_the_default_limit_is_64_mib(got):
    """A larger body is refused unless the table has ``max_body``."""
    packed = response_bytes(gzip.compress(bytes(64 * 1024 * 1024 + 1), 1), 'Content-Encoding: gzip')
    with pytest.raises(http.BodyTooLarge):
        await got(packed, into='bytes')


# Errors and timeouts


@pytest.mark.parametrize(
    'raw',
    [
        b'',
        b'garbage\r\n\r\n',
        b'\r\n',
        b'\x16\x03\x01\x02\x00',
        b'HTTP/1.1 2000 OK\r\n\r\n',
        b'HTTP/1.1 abc OK\r\n\r\n',
        b'HTTP/1.1 200 OK\r\nX Y: z\r\n\r\n',
        b'HTTP/1.1 200 OK\r\nX: a\0b\r\n\r\n',
        b'HTTP/1.1 200 OK\r\nX: ' + b'a' * 100_000,
        b'HTTP/1.1 200 OK\r\n' + b'X: y\r\n' * 1000 + b'\r\n',
        b'HTTP/1.1 200 OK\r\nContent-Le',
        b'HTTP/1.1 200 OK\r\nContent-Length: 5\r\n\r\nab',
        b'HTTP/1.1 200 OK\r\nContent-Length: -5\r\n\r\nab',
        b'HTTP/1.1 200 OK\r\nContent-Length: 1\r\nContent-Length: 2\r\n\r\nab',
        b'HTTP/1.1 200 OK\r\nContent-Length: 1, 1\r\n\r\na',
        b'HTTP/1.1 200 OK\r\nContent-Length: 1\r\nTransfer-Encoding: chunked\r\n\r\n0\r\n\r\n',
        b'HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n',
        b'HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\nzz\r\n',
        b'HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n2\r\nab\r\n',
        b'HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n2\r\nabc\r\n0\r\n\r\n',
        b'HTTP/1.1 103 Early\r\nX: y\r\n\r\n' * 10_000,
    ],
    ids=lambda raw: ascii(raw[:60]),
)
async def test_bytes_that_are_not_http_are_a_protocol_error(got, raw):
    """Garbage, an early end, wrong lengths, a flood of interim responses."""
    with pytest.raises(http.ProtocolError, match=r'^GET http://127\.0\.0\.1:\d+/: '):
        await got(raw)


@pytest.mark.parametrize(
    'fields',
    [
        {'host': '127.0.0.1'},
        {'host': 'no-such-name.invalid'},
        {'scheme': 'https', 'host': '127.0.0.1'},
        {'unix': '/no/such/socket'},
        {'host': 'a.invalid', 'proxy': 'http://127.0.0.1:1'},
        {'host': 'a.invalid', 'scheme': 'https', 'proxy': 'http://me:s3cret@127.0.0.1:1'},
        {'host': 'a.invalid', 'proxy': 'http://no-such-name.invalid:1'},
    ],
    ids=str,
)
async def test_no_connection_is_a_connect_error(fields):
    """Refused, an unknown name, no Unix socket, no proxy."""
    with pytest.raises(http.ConnectError) as caught:
        await http.request({'port': free_port(), 'query': 's3cret', **fields})
    assert 's3cret' not in str(caught.value)
    assert caught.value.__cause__ is not None


@pytest.mark.parametrize('unit', ['connect', 'read', 'total', None])
async def test_a_timeout_ends_a_request(raw_server, unit):
    """``connect`` (here a TLS handshake), ``read`` and ``total`` each end the request."""

    async def silent(line):
        await line.reader.read()

    timeout = 0.05 if unit is None else {unit: 0.05}
    scheme = 'https' if unit == 'connect' else 'http'
    async with raw_server(silent) as peer:
        with pytest.raises(http.TimedOut) as caught:
            await http.request(
                url=f'{scheme}://127.0.0.1:{peer.port}/p?s3cret', timeout=timeout, tls=False
            )
    assert str(caught.value).startswith(f'GET {scheme}://127.0.0.1:{peer.port}/p: ')
    assert 's3cret' not in str(caught.value)
    assert isinstance(caught.value.__cause__, TimeoutError)


async def test_waiting_for_the_pool_counts_as_connecting(raw_server):
    """The connect timeout holds while the pool is full."""
    asked = asyncio.Event()

    async def silent(line):
        await line.request()
        asked.set()
        await line.reader.read()

    async with raw_server(silent) as peer, http.Client(limit=1) as client:
        first = asyncio.create_task(client.request(url=peer.url))
        await asked.wait()
        with pytest.raises(http.TimedOut):
            await client.request(url=peer.url, timeout={'connect': 0.05})
        first.cancel()
        await asyncio.wait([first])


@pytest.mark.parametrize(
    ('head', 'drop'),
    [
        (b'HTTP/1.1 200 OK\r\nX: ', b'y'),
        (b'HTTP/1.1 200 OK\r\n\r\n', b'x'),
        (b'HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n', b'1\r\nx\r\n'),
        (b'HTTP/1.1 200 OK\r\nContent-Encoding: gzip\r\n\r\n', gzip.compress(b'', mtime=0)),
        (b'', b'HTTP/1.1 100 Continue\r\n\r\n'),
    ],
)
async def test_a_peer_that_drips_is_held_to_the_total(raw_server, head, drop):
    """Bytes that keep arriving do not extend the total timeout."""

    async def handler(line):
        await line.request()
        await line.send(head)
        while True:
            await line.send(drop)
            await asyncio.sleep(0.01)

    async with raw_server(handler) as peer:
        with pytest.raises(http.TimedOut):
            await http.request(url=peer.url, timeout=0.1)


@pytest.mark.parametrize('raw', [b'', b'HTTP/1.1 200 OK\r\nContent-Length: 9\r\n\r\nhalf'])
async def test_a_cancelled_request_leaves_no_task_and_no_connection(raw_server, raw):
    """Its connection is closed and no task is left, before and after the head."""
    asked, left = asyncio.Event(), asyncio.Event()

    async def handler(line):
        await line.request()
        await line.send(raw)
        asked.set()
        await line.reader.read()
        left.set()

    async with raw_server(handler) as peer, http.Client(limit=1) as client:
        asking = asyncio.create_task(client.request(url=peer.url, method='PUT', body=LONG))
        await asked.wait()
        asking.cancel()
        with pytest.raises(asyncio.CancelledError):
            await asking
        await left.wait()
        assert {asyncio.current_task()} == {
            task for task in asyncio.all_tasks() if 'serve' not in task.get_coro().__qualname__
        }


# Connections


async def test_a_connection_is_reused(raw_server):
    """By one request after the other, with a body and with an error status."""
    async with raw_server(response_bytes(b'no', status='404 No')) as peer:
        for _ in range(3):
            await http.request(url=peer.url, method='POST', body='x')
    assert (1, 3) == (peer.connections, len(peer.requests))


async def test_a_second_response_is_dropped_with_its_connection(raw_server):
    """Data right behind a response closes the connection."""
    async with raw_server(OK + OK) as peer:
        bodies = [(await http.request(url=peer.url, method='POST')).body for _ in range(3)]
    assert (['hi'] * 3, 3) == (bodies, peer.connections)


@pytest.mark.parametrize('unasked', [response_bytes(b'forged'), b'HTTP/1.1 100 C\r\n\r\n', b'x'])
async def test_a_connection_on_which_the_peer_spoke_unasked_is_not_used_again(raw_server, unasked):
    """Bytes on an idle connection are never taken for the next response."""
    lines = []

    async def handler(line):
        lines.append(line)
        while True:
            await line.request()
            await line.send(OK)

    async with raw_server(handler) as peer, http.Client() as client:
        assert 'hi' == (await client.request(url=peer.url)).body
        await lines[0].send(unasked)
        for _ in range(5):  # turns of the loop, in which the client reads it
            await asyncio.sleep(0)
        assert 'hi' == (await client.request(url=peer.url, method='POST', body='x')).body
    assert (2, 2) == (peer.connections, len(peer.requests))


def leaving(responds):
    """Make a handler that responds to one request on a connection, and then closes it."""

    async def handler(line):
        await line.request()
        if responds(line.peer):
            await line.send(response_bytes())
            await line.request()

    return handler


@pytest.mark.parametrize('method', ['GET', 'HEAD', 'OPTIONS', 'TRACE', 'PUT', 'DELETE'])
async def test_a_request_over_a_dead_connection_is_repeated_where_it_may_be(raw_server, method):
    """An idempotent request is sent again with its whole body."""
    async with raw_server(leaving(lambda peer: True)) as peer, http.Client() as client:
        await client.request(url=peer.url)
        assert 200 == (await client.request(url=peer.url, method=method, body=LONG)).status
    assert [b'', LONG, LONG] == [asked.body for asked in peer.requests]


@pytest.mark.parametrize('method', ['POST', 'PATCH', 'QUERY'])
async def test_a_request_that_is_not_idempotent_is_never_repeated(raw_server, method):
    """The error says why, and that the peer may have acted on it."""
    async with raw_server(leaving(lambda peer: True)) as peer, http.Client() as client:
        await client.request(url=peer.url)
        with pytest.raises(http.ProtocolError) as caught:
            await client.request(url=peer.url, method=method, body=LONG)
    assert (
        f'{method} {peer.url}/: the peer closed a reused connection before it responded; '
        f'{method} is not idempotent, so it was not sent again, and the peer may or may not have '
        'acted on it'
    ) == str(caught.value)
    assert {'url': peer.url, 'method': method, 'body': LONG} == caught.value.request
    assert [b'', LONG] == [asked.body for asked in peer.requests]


async def test_a_request_is_repeated_once(raw_server):
    """A second lost connection is an error."""
    handler = leaving(lambda peer: len(peer.requests) == 1)
    async with raw_server(handler) as peer, http.Client() as client:
        await client.request(url=peer.url)
        with pytest.raises(http.ProtocolError, match='Server disconnected'):
            await client.request(url=peer.url)
    assert 3 == len(peer.requests)


@pytest.mark.parametrize('how', ['close', 'reset'])
async def test_a_request_over_a_new_connection_is_never_repeated(raw_server, how):
    """There is no race with an idle timeout of the peer."""

    async def handler(line):
        await line.request()
        if how == 'reset':
            line.reset()

    async with raw_server(handler) as peer:
        with pytest.raises(http.ProtocolError) as caught:
            await http.request(url=peer.url)
    assert (1, 1) == (peer.connections, len(peer.requests))
    assert 'reused' not in str(caught.value)


@pytest.mark.parametrize('requests', [1, 2])
async def test_a_failure_after_a_request_was_sent_is_no_connect_error(requests):
    """The peer may have acted on the first attempt."""

    async def serve(reader, writer):
        listening.close()
        for _ in range(requests - 1):
            await reader.readuntil(b'\r\n\r\n')
            writer.write(OK)
        await reader.readuntil(b'\r\n\r\n')
        writer.close()

    listening = await asyncio.start_server(serve, '127.0.0.1', 0)
    url = f'http://127.0.0.1:{listening.sockets[0].getsockname()[1]}/'
    async with http.Client() as client:
        for _ in range(requests - 1):
            await client.request(url=url)
        with pytest.raises(http.ProtocolError) as caught:
            await client.request(url=url)
        assert (requests == 2) == str(caught.value).endswith(', after a request had been sent')
        with pytest.raises(http.ConnectError):
            await client.request(url=url)


async def test_a_connection_that_the_peer_has_closed_is_not_used(raw_server):
    """A POST is sent on a new one."""
    ended = asyncio.Event()

    async def handler(line):
        await line.request()
        await line.send(OK)
        await ended.wait()

    async with raw_server(handler) as peer, http.Client() as client:
        await client.request(url=peer.url)
        ended.set()
        for _ in range(20):
            await asyncio.sleep(0)
        assert 'hi' == (await client.request(url=peer.url, method='POST', body='x')).body
    assert 2 == peer.connections


@pytest.mark.parametrize(('limits', 'most'), [({'limit': 2}, 2), ({'limit_per_host': 3}, 3)])
async def test_connections_are_limited(raw_server, limits, most):
    """No more than the limit are open at once, and all requests get a response."""
    open_now, seen = 0, []

    async def handler(line):
        nonlocal open_now
        await line.request()
        open_now += 1
        seen.append(open_now)
        await asyncio.sleep(0)
        open_now -= 1
        await line.send(OK)
        await handler(line)

    async with raw_server(handler) as peer, http.Client(**limits) as client:
        await asyncio.gather(*(client.request(url=peer.url) for _ in range(12)))
    assert (12, True, most) == (len(peer.requests), max(seen) <= most, peer.connections)


async def test_no_limit_is_none(raw_server):
    """``None`` opens a connection for each of 120 requests."""
    everyone = asyncio.Barrier(120)

    async def handler(line):
        await line.request()
        await everyone.wait()
        await line.send(OK)

    async with raw_server(handler) as peer, http.Client(limit=None) as client:
        await asyncio.gather(*(client.request(url=peer.url) for _ in range(120)))
    assert 120 == peer.connections


# TLS


@pytest.mark.parametrize(
    'tls',
    [
        lambda files: {'ca': files.ca},
        lambda files: {'ca': Path(files.ca), 'verify': True},
        lambda files: {'verify': False},
        lambda files: False,
        lambda files: ssl.create_default_context(cafile=files.ca),
    ],
)
async def test_a_trusted_server_is_accepted(raw_server, certificates, tls):
    """By its CA, by a context, or without verification."""
    async with raw_server(OK, tls=certificates.server) as peer:
        response = await http.request(url=peer.url, tls=tls(certificates))
    assert ('hi', f'https://localhost:{peer.port}/') == (response.body, response.url)


@pytest.mark.parametrize(
    'tls',
    [
        lambda files: None,
        lambda files: True,
        lambda files: {},
        lambda files: {'ca': files.ca, 'server_name': 'other.example'},
        lambda files: ssl.create_default_context(),
    ],
)
async def test_an_untrusted_server_is_refused(raw_server, certificates, tls):
    """An unknown CA or another name is a ConnectError; nothing is sent."""
    async with raw_server(OK, tls=certificates.server) as peer:
        with pytest.raises(http.ConnectError) as caught:
            await http.request(url=peer.url + '/?s3cret', tls=tls(certificates))
    assert [] == peer.requests
    assert 's3cret' not in str(caught.value)


async def test_server_name_is_verified_and_sent(raw_server, certificates):
    """The certificate has to be for ``server_name``, which is sent as SNI."""
    names = []
    certificates.named.sni_callback = lambda connection, name, context: names.append(name)
    async with raw_server(OK, tls=certificates.named) as peer:
        tls = {'ca': certificates.ca, 'server_name': 'localhost'}
        await http.request(url=f'https://127.0.0.1:{peer.port}/', tls=tls)
    assert ['localhost'] == names


async def test_a_client_sends_its_certificate(raw_server, certificates):
    """A server that requires one responds only then."""
    mine = {'ca': certificates.ca, 'cert': certificates.cert, 'key': certificates.key}
    async with raw_server(OK, tls=certificates.strict) as peer:
        assert 'hi' == (await http.request(url=peer.url, tls=mine)).body
        with pytest.raises((http.ConnectError, http.ProtocolError)):
            await http.request(url=peer.url, tls={'ca': certificates.ca})
    assert 1 == len(peer.requests)


async def test_equal_tls_tables_share_connections(raw_server, certificates):
    """Other settings never get the same connection."""
    async with raw_server(OK, tls=certificates.server) as peer:
        for _ in range(3):
            await http.request(url=peer.url, tls={'ca': certificates.ca})
        assert 1 == peer.connections
        await http.request(url=peer.url, tls={'ca': certificates.ca, 'verify': False})
        await http.request(url=peer.url, tls=False)
        assert 3 == peer.connections
        with pytest.raises(http.ConnectError):
            await http.request(url=peer.url)


async def test_tls_files_that_cannot_be_loaded_are_a_table_error(tmp_path):
    """No connection is made."""
    with pytest.raises(http.TableError, match='cannot be loaded'):
        await http.request(url='https://127.0.0.1:1', tls={'ca': tmp_path / 'missing'})


@pytest.mark.parametrize('scheme', ['http', 'https'])
async def test_the_wrong_scheme_is_an_error(raw_server, certificates, scheme):
    """TLS to a server without it is a ConnectError; HTTP to one with TLS a ProtocolError."""
    tls = certificates.server if scheme == 'http' else None
    kind = http.ProtocolError if scheme == 'http' else http.ConnectError

    async def handler(line):
        await line.send(b'HTTP/1.1 400 no TLS\r\n\r\n')

    async with raw_server(handler, tls=tls) as peer:
        with pytest.raises(kind):
            await http.request(url=f'{scheme}://127.0.0.1:{peer.port}')


# Proxies, Unix sockets, IPv6


async def relay(reader, writer):
    """Copy bytes in one direction until they end."""
    while data := await reader.read(65536):
        writer.write(data)
        await writer.drain()


def proxying(login=None):
    """Make the handler of a forward proxy, which may require a login."""

    async def handler(line):
        asked = await line.request()
        if login not in (None, *asked.values('Proxy-Authorization')):
            return await line.send(response_bytes(b'', status='407 Who Are You'))
        method, target, _ = asked.line.split()
        host, _, port = target.removeprefix('http://').partition('/')[0].partition(':')
        reader, writer = await asyncio.open_connection(host, port)
        try:
            if method == 'CONNECT':
                await line.send(b'HTTP/1.1 200 Go On\r\n\r\n')
            else:
                path = '/' + target.removeprefix('http://').partition('/')[2]
                fields = [f'{n}: {v}' for n, v in asked.headers if not n.startswith('Proxy-')]
                writer.write('\r\n'.join((f'{method} {path} HTTP/1.1', *fields, '\r\n')).encode())
                writer.write(asked.body)
            async with asyncio.TaskGroup() as group:
                group.create_task(relay(reader, line.writer))
                group.create_task(relay(line.reader, writer))
        finally:
            writer.transport.abort()

    return handler


LOGIN = 'Basic bWU6cyZjcmV0'  # me:s&cret
LOGINS = [('', None), ('me:s%26cret@', LOGIN), ('me@', 'Basic bWU6')]


@pytest.mark.parametrize(('userinfo', 'login'), LOGINS)
async def test_a_proxy_gets_requests_for_http(raw_server, userinfo, login):
    """The absolute URL is sent to it; its login reaches the proxy alone."""
    async with raw_server(OK) as origin, raw_server(proxying(login)) as proxy:
        response = await http.request(
            url=origin.url + '/%41?b', proxy=f'http://{userinfo}127.0.0.1:{proxy.port}'
        )
    assert f'GET {origin.url}/%41?b HTTP/1.1' == proxy.requests[0].line
    assert [login] * bool(login) == proxy.requests[0].values('Proxy-Authorization')
    assert ('hi', 'GET /%41?b HTTP/1.1') == (response.body, origin.requests[0].line)


@pytest.mark.parametrize(('userinfo', 'login'), LOGINS)
async def test_a_proxy_tunnels_https(raw_server, certificates, userinfo, login):
    """The proxy gets CONNECT and its login, the origin neither."""
    async with (
        raw_server(OK, tls=certificates.server) as origin,
        raw_server(proxying(login)) as proxy,
    ):
        request = {
            'url': origin.url + '/a?s3cret',
            'headers': {'Cookie': 's3cret'},
            'proxy': f'http://{userinfo}127.0.0.1:{proxy.port}',
            'tls': {'ca': certificates.ca},
        }
        assert ['hi', 'hi'] == [(await http.request(request)).body for _ in range(2)]
    (connect,) = proxy.requests
    assert f'CONNECT localhost:{origin.port} HTTP/1.1' == connect.line
    assert [login] * bool(login) == connect.values('Proxy-Authorization')
    assert 's3cret' not in str(connect)
    assert [] == origin.requests[0].values('Proxy-Authorization')


async def test_the_login_of_a_proxy_is_not_taken_from_headers(raw_server):
    """Proxy-Authorization in the headers of the table is not sent."""
    async with raw_server(OK) as origin, raw_server(proxying()) as proxy:
        await http.request(
            url=origin.url,
            headers={'Proxy-Authorization': LOGIN},
            proxy=f'http://127.0.0.1:{proxy.port}',
        )
    assert [] == proxy.requests[0].values('Proxy-Authorization')


async def test_a_proxy_that_refuses_https_is_a_connect_error(raw_server):
    """A failed CONNECT is a ConnectError; for http it is a response with its status."""
    async with raw_server(proxying(LOGIN)) as proxy:
        request = {'host': 'a.example', 'proxy': f'http://127.0.0.1:{proxy.port}'}
        with pytest.raises(http.ConnectError, match='Who Are You'):
            await http.request(request, scheme='https')
        assert 407 == (await http.request(request)).status


unix_only = pytest.mark.skipif(not hasattr(socket, 'AF_UNIX'), reason='needs Unix sockets')


@unix_only
@pytest.mark.parametrize('make', [str, Path])
async def test_a_request_over_a_unix_socket(raw_server, tmp_path, make):
    """It needs no host, the peer has no address, and each path has its own connections."""
    paths = [tmp_path / 'a', tmp_path / 'b']
    async with raw_server(OK, unix=str(paths[0])) as one, raw_server(OK, unix=str(paths[1])) as two:
        for path in (paths[0], paths[0], paths[1]):
            response = await http.request(unix=make(path), path='/x')
        assert 'hi' == (await http.request(unix=make(paths[1]), host='name.example')).body
    assert ('hi', None, 'http://localhost/x') == (response.body, response.ip, response.url)
    assert (1, 2) == (one.connections, two.connections)
    hosts = [asked.values('Host') for asked in (*one.requests, *two.requests)]
    assert [*[['localhost']] * 3, ['name.example']] == hosts


@unix_only
@pytest.mark.parametrize('fields', [{'scheme': 'https'}, {'proxy': 'http://me:s3cret@p'}])
async def test_a_unix_socket_with_https_or_a_proxy_is_refused(raw_server, tmp_path, fields):
    """Neither what https would encrypt nor the login of a proxy."""
    async with raw_server(OK, unix=str(tmp_path / 'a')) as peer:
        with pytest.raises(http.TableError, match="'unix'"):
            await http.request(unix=tmp_path / 'a', host='a.example', **fields)
    assert 0 == peer.connections


def has_ipv6():
    """Tell whether this machine has ::1."""
    try:
        with socket.create_server(('::1', 0), family=socket.AF_INET6):
            return True
    except OSError:
        return False


@pytest.mark.skipif(not has_ipv6(), reason='needs ::1')
@pytest.mark.parametrize(
    'make',
    [
        lambda port: {'url': f'http://[::1]:{port}/x'},
        lambda port: {'host': '::1', 'port': port, 'path': '/x'},
        lambda port: {'host': '[::1]', 'port': str(port), 'path': '/x'},
    ],
)
async def test_a_host_may_be_an_ipv6_address(raw_server, make):
    """With brackets and without."""
    async with raw_server(OK, host='::1') as peer:
        response = await http.request(make(peer.port))
    assert ('::1', f'{peer.url}/x') == (response.ip, response.url)
    assert [f'[::1]:{peer.port}'] == peer.requests[0].values('Host')


@pytest.mark.parametrize('host', ['::1', '[fe80::1%lo]', '[::ffff:127.0.0.1]'])
async def test_an_unreachable_ipv6_address_is_a_connect_error(host):
    """On any machine."""
    with pytest.raises(http.ConnectError):
        await http.request(host=host, port=free_port(), timeout=5)


# What errors carry and hide


@pytest.mark.parametrize(
    ('kind', 'make'),
    [
        (http.ConnectError, lambda peer: {'host': '127.0.0.1', 'port': free_port()}),
        (http.TimedOut, lambda peer: {'url': peer.url + '/silent', 'timeout': 0.05}),
        (http.ProtocolError, lambda peer: {'url': peer.url + '/garbage'}),
        (http.BodyTooLarge, lambda peer: {'url': peer.url, 'max_body': 1}),
        (http.StatusError, lambda peer: {'url': peer.url, 'check': {204}}),
        (http.TableError, lambda peer: {'url': peer.url, 'port': 0}),
    ],
)
async def test_an_error_carries_its_request_and_hides_its_secrets(raw_server, kind, make):
    """``request`` equals the table that was given; text and pickle have no secret of it."""

    async def handler(line):
        what = (await line.request()).line.split()[1]
        await line.send({'/garbage': b'garbage\r\n\r\n', '/silent': b''}.get(what, OK))
        if what != '/silent':
            return
        await line.reader.read()

    secrets = [
        {'bearer': 's3cret'},
        {'auth': ('me', 's3cret')},
        {'headers': {'Cookie': 's3cret', 'AUTHORIZATION': 's3cret'}},
    ]
    async with raw_server(handler) as peer:
        for secret in secrets:
            table = {**make(peer), **secret}
            with pytest.raises(kind) as caught:
                await http.request(table)
            again = pickle.loads(pickle.dumps(caught.value))
            assert (table, kind, str(caught.value)) == (
                caught.value.request,
                type(again),
                str(again),
            )
            for one in (caught.value, again):
                assert 's3cret' not in f'{one} {one!r} {one.request} {one.request!r}'
            assert 's3cret' not in str(dict(again.request))


async def test_an_error_hides_the_logins_of_urls():
    """That of the URL and that of the proxy."""
    table = {
        'url': f'http://me:s3cret@127.0.0.1:{free_port()}',
        'proxy': f'http://me:s3cret@127.0.0.1:{free_port()}',
    }
    with pytest.raises(http.ConnectError) as caught:
        await http.request(table)
    again = pickle.loads(pickle.dumps(caught.value))
    assert 's3cret' not in f'{caught.value!r} {caught.value.request!r} {dict(again.request)}'


async def test_an_upgrade_uses_a_connection_of_its_own(raw_server):
    """Any response is returned; a failure is one of our errors."""
    transport = NetworkTransport(1, None, None)
    request = http.to_request(url='http://127.0.0.1', headers={'Upgrade': 'of the table'})
    async with raw_server(OK) as peer:
        for _ in range(2):
            switched = await transport.switch(request | {'port': peer.port}, {'Upgrade': 'x'})
            assert (200, None) == (switched.response['status'], switched.protocol)
            switched.close()
    assert (2, [['x']] * 2) == (peer.connections, [one.values('Upgrade') for one in peer.requests])
    with pytest.raises(http.ConnectError):
        await transport.switch(request | {'port': peer.port}, {})
    with pytest.raises(http.TableError):
        await transport.switch(request | {'unix': '/x', 'scheme': 'https'}, {})
    await transport.close()


def passed(url, *pairs, **fields):
    """Make a request in normal form that is sent with exactly these headers."""
    table = http.to_request(url=url, into='raw')
    return http.Request({**table, 'headers': http.Headers(pairs), **fields})


async def test_pass_on_sends_exactly_the_given_headers(raw_server):
    """The response is returned as it was received."""
    raw = b'HTTP/1.1 600 \r\nContent-Encoding: gzip\r\nContent-Length: 2\r\n\r\nok'
    async with raw_server(raw) as peer, http.Client(cookies=False) as client:
        request = passed(peer.url + '/a?b', ('Host', 'h'), ('X', 'caf\udce9'))
        response = await client.pass_on(request, None)
        assert b'ok' == await response.body.read()
    assert ('GET /a?b HTTP/1.1', request.headers) == (
        peer.requests[0].line,
        http.Headers(peer.requests[0].headers),
    )
    assert (600, peer.url + '/a?b', 'gzip') == (
        response.status,
        response.url,
        response.headers['Content-Encoding'],
    )


async def test_pass_on_raises_the_same_errors_as_send():
    """An error that the client of a proxy caused is raised as it is."""
    fault = http.ProtocolError('the client has left')
    fault.__cause__ = Refused(400)

    class Broken:
        def __aiter__(self):
            return self

        async def __anext__(self):
            raise fault

    async with http.Client(cookies=False) as client:
        async with http.listen('127.0.0.1', 0, lambda request: {'status': 200}) as server:
            pairs = ('Host', 'h'), ('Content-Length', '5')
            request = passed(server.url, *pairs, method='PUT', body=Broken())
            with pytest.raises(http.ProtocolError) as raised:
                await client.pass_on(request, 5)
            assert raised.value is fault
        with pytest.raises(http.ConnectError):
            await client.pass_on(request, 5)


async def test_pass_on_returns_the_connection_after_a_101(raw_server):
    """The status is 101, and the caller closes the body."""
    head = b'HTTP/1.1 101 Go\r\nConnection: Upgrade\r\nUpgrade: websocket\r\n\r\n'
    async with raw_server(head) as peer, http.Client(cookies=False) as client:
        pairs = ('Host', 'h'), ('Connection', 'Upgrade'), ('Upgrade', 'websocket')
        response = await client.pass_on(passed(peer.url, *pairs), None)
        assert 101 == response.status
        response.body.close()


# Streamed bodies; test_response_body has more of them


async def test_dial_opens_a_websocket():
    """``dial`` takes a request table, and uses a connection of its own."""

    async def chat(socket):
        await socket.send(await anext(socket))

    def handler(request):
        return {'websocket': chat}

    transport = NetworkTransport(1, None, None)
    async with http.listen('127.0.0.1', 0, handler) as server:
        _, ws, close = await transport.dial(http.to_request(url=server.url), {})
        await ws.send('a')
        assert 'a' == await anext(ws)
        await ws.close()
        close()
    await transport.close()


@pytest.mark.parametrize('sends', [True, False])
async def test_progress_of_an_upload_is_not_reset_by_an_empty_response(raw_server, sends):
    """A progress bar that is full does not jump back."""
    seen = []

    async def handler(line):
        await line.reader.readuntil(b'0\r\n\r\n' if sends else b'\r\n\r\n')
        await line.send(b'HTTP/1.1 200 OK\r\nContent-Length: 0\r\n\r\n')

    fields = {'body': iter([b'ab'])} if sends else {}
    async with raw_server(handler) as peer:
        await http.request(url=peer.url, on_progress=lambda *one: seen.append(one), **fields)
    assert [(2, None) if sends else (0, 0)] == seen
