"""Response bodies that are read as a stream; test_network reads them whole."""

import asyncio
import gzip
import ssl

import aiohttp
import pytest

import aioluahttp as http
from aioluahttp.bodies.stream import Stream
from aioluahttp.transports.protocol import ResponseProtocol
from aioluahttp.transports.response_body import (
    DecodedBody,
    FromConnection,
    InMemory,
    ReadOptions,
)

pytestmark = pytest.mark.usefixtures('both_routes')

LONG = bytes(range(256)) * 8192  # 2 MiB: more than is read in one go
ZIPPED = gzip.compress(LONG, mtime=0)


def response_bytes(body, *fields, length=True):
    """Make the bytes of a response."""
    lines = ['HTTP/1.1 200 OK', *fields, *([f'Content-Length: {len(body)}'] if length else [])]
    return '\r\n'.join((*lines, '\r\n')).encode() + body


def chunked(*chunks):
    """Make the bytes of a chunked response, without the last chunk."""
    body = b''.join(b'%x\r\n%b\r\n' % (len(one), one) for one in chunks)
    return response_bytes(body, 'Transfer-Encoding: chunked', length=False)


@pytest.fixture
def client():
    """Return a function that makes a client without cookies, which may use the fast path."""
    return lambda **options: http.Client(cookies=False, **options)


def once(data, then=None):
    """Make a handler that responds to one request, and then calls ``then``."""

    async def handler(line):
        await line.request()
        await line.send(data)
        if then:
            await then(line)

    return handler


async def reset(line):
    line.reset()


async def read(**fields):
    """Send a request, and read its body, whole or streamed."""
    body = (await http.request(**fields)).body
    return body if isinstance(body, str | bytes) else await body.read()


# Whole


@pytest.mark.parametrize('length', [True, False])
@pytest.mark.parametrize('body', [b'', b'text', LONG], ids=len)
async def test_a_body_may_be_read_whole(raw_server, body, length):
    """``max_body`` holds, with and without a Content-Length."""

    async def handler(line):
        await line.request()
        await line.send(response_bytes(body, length=length))

    async with raw_server(handler) as peer:
        table = {'url': peer.url, 'into': 'bytes'}
        assert body == await read(**table, max_body=len(body))
        if body:
            with pytest.raises(http.BodyTooLarge):
                await read(**table, max_body=len(body) - 1)


# As a stream


async def test_a_stream_is_read_before_its_end_arrives(raw_server):
    """The response is returned with the head, and each chunk when it arrives."""
    go_on = asyncio.Event()

    async def rest(line):
        await go_on.wait()
        await line.send(b'1\r\nc\r\n0\r\n\r\n')

    async with raw_server(once(chunked(b'ab'), rest)) as peer:
        response = await http.request(url=peer.url, into='stream')
        assert isinstance(response.body, Stream)
        async with response.body as stream:
            assert b'ab' == await anext(stream)
            go_on.set()
            assert [b'c'] == [chunk async for chunk in stream]


@pytest.mark.parametrize('body', [b'', b'text', LONG], ids=len)
async def test_a_stream_that_is_read_to_its_end_gives_its_connection_back(raw_server, body):
    """The next request uses the same connection."""
    async with raw_server(response_bytes(body)) as peer:
        for _ in range(3):
            response = await http.request(url=peer.url, into='stream')
            assert body == await response.body.read()
            assert b'' == await response.body.read()
    assert 1 == peer.connections


async def test_a_response_without_a_body_is_an_empty_stream(raw_server):
    """As for HEAD; the headers are not changed."""
    async with raw_server(response_bytes(b'', 'Content-Encoding: gzip')) as peer:
        response = await http.request(url=peer.url, into='stream', method='HEAD')
        assert b'' == await response.body.read()
    assert 'gzip' == response.headers['Content-Encoding']


@pytest.mark.parametrize('read', [0, 1])
async def test_a_stream_that_is_left_early_closes_its_connection(raw_server, read):
    """The peer sees the end, and the stream cannot be read any more."""
    left = asyncio.Event()

    async def wait(line):
        assert b'' == await line.reader.read()
        left.set()

    async with raw_server(once(chunked(b'a', b'b'), wait)) as peer:
        response = await http.request(url=peer.url, into='stream')
        async with response.body as stream:
            for _ in range(read):
                await anext(stream)
        await left.wait()
        with pytest.raises(http.ProtocolError, match='is closed'):
            await anext(stream)


async def test_closing_a_stream_ends_a_read_that_waits(raw_server):
    """A read that waits raises an error."""
    async with raw_server(once(chunked(b'a'), lambda line: line.reader.read())) as peer:
        response = await http.request(url=peer.url, into='stream')
        await anext(response.body)
        reading = asyncio.ensure_future(anext(response.body))
        await asyncio.sleep(0)
        await response.body.close()
        with pytest.raises(http.ProtocolError, match='it was closed'):
            await reading


async def test_a_cancelled_read_closes_the_connection(raw_server):
    """Later reads raise an error."""
    async with raw_server(once(chunked(b'a'), lambda line: line.reader.read())) as peer:
        response = await http.request(url=peer.url, into='stream')
        await anext(response.body)
        reading = asyncio.ensure_future(anext(response.body))
        await asyncio.sleep(0)
        reading.cancel()
        with pytest.raises(asyncio.CancelledError):
            await reading
        with pytest.raises(http.ProtocolError, match='an earlier read failed'):
            await anext(response.body)


async def test_a_stream_has_back_pressure(raw_server, until):
    """A body larger than memory is not buffered."""
    size = 64 * 1024 * 1024
    held = []

    async def flood(line):
        sent = 0
        while sent < size:
            await line.send(bytes(1024 * 1024))
            sent += 1024 * 1024
            held.append(sent)

    head = f'HTTP/1.1 200 OK\r\nContent-Length: {size}\r\n\r\n'.encode()
    async with raw_server(once(head, flood)) as peer:
        response = await http.request(url=peer.url, into='stream')
        read = 0
        async for chunk in response.body:
            read += len(chunk)
            assert len(held) * 1024 * 1024 - read < size / 2  # buffers of sockets are smaller
    assert size == read


# Decoded


@pytest.mark.parametrize('limit', [None, len(LONG)])
async def test_a_stream_is_decoded(raw_server, limit):
    """``max_body`` counts decoded bytes; the headers describe the decoded body."""
    async with raw_server(response_bytes(ZIPPED, 'Content-Encoding: gzip')) as peer:
        response = await http.request(url=peer.url, into='stream', max_body=limit)
        assert LONG == await response.body.read()
    assert not {'Content-Encoding', 'Content-Length'} & response.headers.keys()


async def test_a_raw_stream_is_not_decoded(raw_server):
    """Its headers are not changed either."""
    async with raw_server(response_bytes(ZIPPED, 'Content-Encoding: gzip')) as peer:
        response = await http.request(url=peer.url, into='raw')
        assert ZIPPED == await response.body.read()
    assert 'gzip' == response.headers['Content-Encoding']
    assert str(len(ZIPPED)) == response.headers['Content-Length']


@pytest.mark.parametrize('into', ['stream', 'raw'])
async def test_a_stream_has_a_limit_if_one_is_given(raw_server, into):
    """The read that passes ``max_body`` raises the error."""
    async with raw_server(response_bytes(ZIPPED, 'Content-Encoding: gzip')) as peer:
        limit = (len(LONG) if into == 'stream' else len(ZIPPED)) - 1
        response = await http.request(url=peer.url + '/p', into=into, max_body=limit)
        with pytest.raises(http.BodyTooLarge, match='/p: the body passed') as raised:
            await response.body.read()
    assert '/p' == raised.value.request.path


# Progress


@pytest.mark.parametrize(
    ('raw', 'expected'),
    [
        (response_bytes(b'text'), [(4, 4)]),
        (response_bytes(b''), [(0, 0)]),
        (response_bytes(b'', 'Content-Encoding: gzip'), [(0, 0)]),
        (chunked(b'text') + b'0\r\n\r\n', [(4, None)]),
        (response_bytes(gzip.compress(b'text', mtime=0), 'Content-Encoding: gzip'), [(24, 24)]),
    ],
)
@pytest.mark.parametrize('into', ['stream', 'raw', 'bytes', 'text'])
async def test_progress_counts_received_bytes(raw_server, into, raw, expected):
    """Bytes before decoding, and the Content-Length; an empty body is reported once."""
    seen = []
    async with raw_server(raw) as peer:
        for _ in range(2):
            response = await http.request(
                url=peer.url, into=into, on_progress=lambda *one: seen.append(one)
            )
            if into in ('stream', 'raw'):
                assert [] == seen
                await response.body.read()
            assert expected == seen
            seen.clear()
    assert 1 == peer.connections


async def test_progress_of_a_response_to_head_is_zero(raw_server):
    """The Content-Length of a response to HEAD is not that of a body."""
    seen = []
    async with raw_server(response_bytes(b'', 'Content-Length: 9', length=False)) as peer:
        table = {'url': peer.url, 'method': 'HEAD', 'on_progress': lambda *one: seen.append(one)}
        assert '' == (await http.request(table)).body
    assert [(0, 0)] == seen


async def test_progress_is_reported_while_the_body_arrives(raw_server):
    """A large body is reported many times, with growing numbers."""
    seen = []
    async with raw_server(response_bytes(ZIPPED + LONG)) as peer:
        await http.request(url=peer.url, into='bytes', on_progress=lambda *one: seen.append(one))
    assert len(seen) > 2
    assert sorted(set(seen)) == seen
    assert (len(ZIPPED + LONG),) * 2 == seen[-1]


async def test_the_page_of_a_redirect_or_an_error_is_not_reported_as_progress(raw_server):
    """Neither while it is read whole nor in its stream."""

    async def handler(line):
        while True:
            asked = await line.request()
            there = asked.line.startswith('GET /a')
            status, field = (404, 'X: y') if there else (302, 'Location: /a')
            await line.send(
                f'HTTP/1.1 {status} X\r\n{field}\r\nContent-Length: 2\r\n\r\nno'.encode()
            )

    seen = []
    async with raw_server(handler) as peer:
        for into in ('bytes', 'stream'):
            response = await http.request(
                url=peer.url, into=into, on_progress=lambda *one: seen.append(one)
            )
            body = response.body if into == 'bytes' else await response.body.read()
            assert (404, b'no') == (response.status, body)
            assert [b'no' if into == 'bytes' else 'no'] == [one.body for one in response.history]
    assert ([], 1) == (seen, peer.connections)


@pytest.mark.parametrize('into', ['stream', 'text'])
@pytest.mark.parametrize(
    ('error', 'expected'),
    [
        (ZeroDivisionError, ZeroDivisionError),
        (OSError, OSError),
        (TimeoutError, TimeoutError),
        (KeyboardInterrupt, KeyboardInterrupt),
        (StopAsyncIteration, RuntimeError),
    ],
)
async def test_an_exception_of_on_progress_is_raised_by_the_read(raw_server, into, error, expected):
    """It is not translated, and no end of the body; the connection is closed."""
    left = asyncio.Event()

    async def wait(line):
        assert b'' == await line.reader.read()
        left.set()

    def fails(done, total):
        raise error

    async with raw_server(once(chunked(b'a'), wait)) as peer:
        with pytest.raises(expected) as raised:
            await read(url=peer.url, into=into, on_progress=fails)
        assert expected is raised.type
        await left.wait()


# Cut off


@pytest.mark.parametrize(
    ('raw', 'end'),
    [
        (b'HTTP/1.1 200 OK\r\nContent-Length: 9\r\n\r\nhalf', None),
        (chunked(b'half'), None),
        (response_bytes(b'half', length=False), reset),
        (response_bytes(ZIPPED[:-9], 'Content-Encoding: gzip'), None),
        (response_bytes(b'no gzip', 'Content-Encoding: gzip'), None),
    ],
)
async def test_reading_a_body_that_is_cut_off_is_an_error(raw_server, raw, end):
    """The read that notices it and all later reads raise an error."""
    async with raw_server(once(raw, end)) as peer:
        try:
            response = await http.request(url=peer.url, into='stream')
        except http.ProtocolError:  # the reset has overtaken the head
            return
        for _ in range(2):
            with pytest.raises(http.ProtocolError):
                await response.body.read()


async def say(line):
    line.writer.close()


async def cut(line):
    line.writer.transport.abort()


@pytest.mark.parametrize(('end', 'whole'), [(say, True), (cut, False)])
async def test_tls_that_is_cut_off_ends_no_stream(raw_server, certificates, end, whole):
    """A body that ends with its connection is complete only after close_notify."""
    trust = ssl.create_default_context(cafile=certificates.ca)
    handler = once(response_bytes(LONG, length=False), end)
    async with raw_server(handler, tls=certificates.server) as peer:
        response = await http.request(url=peer.url, tls=trust, into='stream')
        if whole:
            assert LONG == await response.body.read()
        else:
            with pytest.raises(http.ProtocolError, match='TLS connection was cut off'):
                await response.body.read()


# Timeouts


async def test_the_total_timeout_of_a_stream_ends_with_the_head(raw_server, client):
    """The body may take longer; each read has its own timeout."""
    go_on = asyncio.Event()

    async def rest(line):
        await go_on.wait()
        await line.send(b'1\r\nb\r\n0\r\n\r\n')

    async with raw_server(once(chunked(b'a'), rest)) as peer, client() as one:
        response = await one.request(url=peer.url, into='stream', timeout=0.2)
        assert b'a' == await anext(response.body)
        asyncio.get_running_loop().call_later(0.3, go_on.set)
        assert b'b' == await response.body.read()


async def test_each_read_has_a_timeout(raw_server):
    """A read waits for the peer for ``read`` seconds."""
    async with raw_server(once(chunked(b'a'), lambda line: line.reader.read())) as peer:
        timeout = {'read': 0.05}
        response = await http.request(url=peer.url, into='stream', timeout=timeout)
        assert b'a' == await anext(response.body)
        with pytest.raises(http.TimedOut, match=r'no more of the body arrived within 0\.05 s'):
            await anext(response.body)


@pytest.mark.parametrize('timeout', [{'read': 0.05}, None])
async def test_a_stream_that_is_not_read_has_no_timeout(raw_server, timeout):
    """The timeout runs only while a read waits for the peer."""
    go_on = asyncio.Event()

    async def rest(line):
        await go_on.wait()
        await line.send(b'0\r\n\r\n')

    async with raw_server(once(chunked(b'a'), rest)) as peer:
        response = await http.request(url=peer.url, into='stream', timeout=timeout)
        await asyncio.sleep(0.1)  # the reader is slow, not the peer
        assert b'a' == await anext(response.body)
        go_on.set()
        assert b'' == await response.body.read()


# Streams that are dropped, or whose client is closed


async def test_a_stream_that_is_dropped_closes_its_connection(raw_server):
    """With a ResourceWarning."""
    left = asyncio.Event()

    async def wait(line):
        assert b'' == await line.reader.read()
        left.set()

    async with raw_server(once(chunked(b'a'), wait)) as peer:
        response = await http.request(url=peer.url, into='stream')
        with pytest.warns(ResourceWarning, match='neither read nor closed'):
            del response
        await left.wait()


def test_a_stream_may_be_dropped_after_its_loop_was_closed():
    """It warns, and does not touch the closed event loop."""

    class Held:
        read_timeout = None

        def start_timeout(self):
            pass

        def exception(self):
            return None

    async def make():
        content = aiohttp.StreamReader(None, 1, loop=asyncio.get_running_loop())
        info = ResponseProtocol(Held(), None)
        source = FromConnection(http.Headers(), content, info, None)
        return DecodedBody(
            http.Headers(), source, ReadOptions(False, None, None, lambda error: None)
        )

    body = asyncio.run(make())
    with pytest.warns(ResourceWarning, match='neither read nor closed'):
        del body


async def test_closing_the_client_ends_its_streams(raw_server, client):
    """Reads that wait and later reads raise an error."""
    async with raw_server(once(chunked(b'a'), lambda line: line.reader.read())) as peer:
        async with client() as one:
            responses = [await one.request(url=peer.url, into='stream') for _ in range(2)]
            await anext(responses[0].body)
            reading = asyncio.ensure_future(anext(responses[0].body))
            await asyncio.sleep(0)
        for read in (reading, anext(responses[1].body)):
            with pytest.raises(http.ProtocolError, match='the client was closed'):
                await read


async def test_a_stream_of_a_proxy_begins_with_the_head(raw_server, client):
    """It begins with an empty chunk if only the head has arrived, as proxies need it."""
    go_on = asyncio.Event()

    async def late(line):
        await line.request()
        await line.send(b'HTTP/1.1 200 OK\r\nContent-Length: 2\r\n\r\n')
        await go_on.wait()
        await line.send(b'ok')

    for origin, first in (late, b''), (once(response_bytes(b'ok')), b'ok'):
        async with raw_server(origin) as peer, client() as sender:
            request = http.to_request(url=peer.url, into='raw')
            stream = (await sender.pass_on(request, None)).body
            assert first == await anext(stream)
            go_on.set()
            assert b'ok' == first + await stream.read()


# While the request is still being sent


async def test_the_end_of_a_stream_ends_the_request_body(raw_server):
    """The iterator of the request body is closed once the stream is."""
    closed = []

    async def sent():
        try:
            yield b'a'
            await asyncio.get_running_loop().create_future()
        finally:
            closed.append(True)

    async def handler(line):
        await line.reader.readuntil(b'a\r\n')
        await line.send(response_bytes(b'xy'))
        await line.reader.read()

    async with raw_server(handler) as peer:
        for leave in (lambda stream: stream.close(), lambda stream: stream.read()):
            response = await http.request(url=peer.url, body=sent(), into='stream')
            await leave(response.body)
    assert [True, True] == closed


async def test_a_body_in_memory_is_read_at_once():
    """After ``close`` reads raise its error."""
    source = InMemory(b'ab', is_empty=False)
    assert [False, False] == [source.is_empty, source.is_pending]
    assert [b'ab', b''] == [await source.read(None) for _ in range(2)]
    source.finish()
    source.release()
    source.close(http.ProtocolError('gone'))
    await source.stop()
    with pytest.raises(http.ProtocolError, match='gone'):
        await source.read(None)
