"""The body of an answer, read as it comes; test_attempts reads it whole."""

import asyncio
import gzip
import ssl

import aiohttp
import pytest

import aioluahttp as http
from aioluahttp.bodies.stream import Stream
from aioluahttp.transports.response_body import DecodedBody, FromConnection, InMemory, ReadOptions

pytestmark = pytest.mark.usefixtures('both_routes')

LONG = bytes(range(256)) * 8192  # 2 MiB: more than is read in one go
ZIPPED = gzip.compress(LONG, mtime=0)


def answer(body, *fields, length=True):
    """Make the bytes of a response."""
    lines = ['HTTP/1.1 200 OK', *fields, *([f'Content-Length: {len(body)}'] if length else [])]
    return '\r\n'.join((*lines, '\r\n')).encode() + body


def chunked(*chunks):
    """Make the bytes of a chunked response, without its end."""
    body = b''.join(b'%x\r\n%b\r\n' % (len(one), one) for one in chunks)
    return answer(body, 'Transfer-Encoding: chunked', length=False)


@pytest.fixture
def client():
    """Give what makes a client without cookies, whose requests may go either way."""
    return lambda **options: http.Client(cookies=False, **options)


def once(data, then=None):
    """Make a handler that answers one request, and does one more thing."""

    async def handler(line):
        await line.request()
        await line.send(data)
        if then:
            await then(line)

    return handler


async def reset(line):
    line.reset()


async def read(**fields):
    """Read a body that comes whole, or as it is read."""
    body = (await http.request(**fields)).body
    return body if isinstance(body, str | bytes) else await body.read()


# Whole


@pytest.mark.parametrize('length', [True, False])
@pytest.mark.parametrize('body', [b'', b'text', LONG], ids=len)
async def test_it_may_be_read_whole(raw_server, body, length):
    """Within a limit, however it ends."""

    async def handler(line):
        await line.request()
        await line.send(answer(body, length=length))

    async with raw_server(handler) as peer:
        table = {'url': peer.url, 'into': 'bytes'}
        assert body == await read(**table, max_body=len(body))
        if body:
            with pytest.raises(http.BodyTooLarge):
                await read(**table, max_body=len(body) - 1)


# As it comes


async def test_it_comes_before_its_end_is_there(raw_server):
    """The table is given with the head, and each part of the body as it comes."""
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
async def test_read_to_its_end_it_gives_the_connection_back(raw_server, body):
    """The next request goes over the same one."""
    async with raw_server(answer(body)) as peer:
        for _ in range(3):
            response = await http.request(url=peer.url, into='stream')
            assert body == await response.body.read()
            assert b'' == await response.body.read()
    assert 1 == peer.connections


async def test_what_has_no_body_is_an_empty_stream(raw_server):
    """HEAD, for one; the headers stay what they are."""
    async with raw_server(answer(b'', 'Content-Encoding: gzip')) as peer:
        response = await http.request(url=peer.url, into='stream', method='HEAD')
        assert b'' == await response.body.read()
    assert 'gzip' == response.headers['Content-Encoding']


@pytest.mark.parametrize('read', [0, 1])
async def test_left_early_it_closes_its_connection(raw_server, read):
    """The peer sees it, and the next request takes another one."""
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


async def test_nobody_reads_on_behind_the_back_of_who_closes(raw_server):
    """A read that waits for more ends."""
    async with raw_server(once(chunked(b'a'), lambda line: line.reader.read())) as peer:
        response = await http.request(url=peer.url, into='stream')
        await anext(response.body)
        reading = asyncio.ensure_future(anext(response.body))
        await asyncio.sleep(0)
        await response.body.close()
        with pytest.raises(http.ProtocolError, match='it was closed'):
            await reading


async def test_a_cancelled_read_closes_the_connection(raw_server):
    """Whoever cancels need not close it."""
    async with raw_server(once(chunked(b'a'), lambda line: line.reader.read())) as peer:
        response = await http.request(url=peer.url, into='stream')
        await anext(response.body)
        reading = asyncio.ensure_future(anext(response.body))
        await asyncio.sleep(0)
        reading.cancel()
        with pytest.raises(asyncio.CancelledError):
            await reading
        with pytest.raises(http.ProtocolError, match='reading it failed before'):
            await anext(response.body)


async def test_what_is_not_read_waits_with_the_peer(raw_server, until):
    """A body larger than memory does not come into it."""
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
async def test_it_is_decoded_as_it_comes(raw_server, limit):
    """Within ``max_body``, which counts where it is given; the headers say what there is."""
    async with raw_server(answer(ZIPPED, 'Content-Encoding: gzip')) as peer:
        response = await http.request(url=peer.url, into='stream', max_body=limit)
        assert LONG == await response.body.read()
    assert not {'Content-Encoding', 'Content-Length'} & response.headers.keys()


async def test_a_raw_one_is_as_it_came(raw_server):
    """So are the headers."""
    async with raw_server(answer(ZIPPED, 'Content-Encoding: gzip')) as peer:
        response = await http.request(url=peer.url, into='raw')
        assert ZIPPED == await response.body.read()
    assert 'gzip' == response.headers['Content-Encoding']
    assert str(len(ZIPPED)) == response.headers['Content-Length']


@pytest.mark.parametrize('into', ['stream', 'raw'])
async def test_it_has_a_limit_where_one_is_given(raw_server, into):
    """The error comes with the read that passes it."""
    async with raw_server(answer(ZIPPED, 'Content-Encoding: gzip')) as peer:
        limit = (len(LONG) if into == 'stream' else len(ZIPPED)) - 1
        response = await http.request(url=peer.url + '/p', into=into, max_body=limit)
        with pytest.raises(http.BodyTooLarge, match='/p: the body passed') as raised:
            await response.body.read()
    assert '/p' == raised.value.request.path


# Watched


@pytest.mark.parametrize(
    ('raw', 'expected'),
    [
        (answer(b'text'), [(4, 4)]),
        (answer(b''), [(0, 0)]),
        (answer(b'', 'Content-Encoding: gzip'), [(0, 0)]),
        (chunked(b'text') + b'0\r\n\r\n', [(4, None)]),
        (answer(gzip.compress(b'text', mtime=0), 'Content-Encoding: gzip'), [(24, 24)]),
    ],
)
@pytest.mark.parametrize('into', ['stream', 'raw', 'bytes', 'text'])
async def test_progress_is_what_came_off_the_wire(raw_server, into, raw, expected):
    """Of how much, if that is known; and be it only at the end."""
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


async def test_there_is_no_progress_without_a_body(raw_server):
    """The length that HEAD tells is that of another."""
    seen = []
    async with raw_server(answer(b'', 'Content-Length: 9', length=False)) as peer:
        table = {'url': peer.url, 'method': 'HEAD', 'on_progress': lambda *one: seen.append(one)}
        assert '' == (await http.request(table)).body
    assert [(0, 0)] == seen


async def test_progress_comes_as_the_body_does(raw_server):
    """A large one is told of many times, and it only grows."""
    seen = []
    async with raw_server(answer(ZIPPED + LONG)) as peer:
        await http.request(url=peer.url, into='bytes', on_progress=lambda *one: seen.append(one))
    assert len(seen) > 2
    assert sorted(set(seen)) == seen
    assert (len(ZIPPED + LONG),) * 2 == seen[-1]


async def test_a_page_of_a_redirect_or_an_error_is_no_progress(raw_server):
    """It is not what was asked for; nor is there any in its stream."""

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
async def test_what_on_progress_raises_reaches_who_reads(raw_server, into, error, expected):
    """As it is, never as an error of ours or as an end; the connection is closed."""
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
        (answer(b'half', length=False), reset),
        (answer(ZIPPED[:-9], 'Content-Encoding: gzip'), None),
        (answer(b'no gzip', 'Content-Encoding: gzip'), None),
    ],
)
async def test_a_body_that_is_cut_off_does_not_end(raw_server, raw, end):
    """The read that finds it out is an error, and so is each one after that."""
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
    """A body that ends with its connection is whole only where the peer says that it ends."""
    trust = ssl.create_default_context(cafile=certificates.ca)
    handler = once(answer(LONG, length=False), end)
    async with raw_server(handler, tls=certificates.server) as peer:
        response = await http.request(url=peer.url, tls=trust, into='stream')
        if whole:
            assert LONG == await response.body.read()
        else:
            with pytest.raises(http.ProtocolError, match='TLS connection was cut off'):
                await response.body.read()


# Deadlines


async def test_the_total_covers_the_head(raw_server, client):
    """The body may take longer; each read of it has its own deadline."""
    go_on = asyncio.Event()

    async def rest(line):
        await go_on.wait()
        await line.send(b'1\r\nb\r\n0\r\n\r\n')

    async with raw_server(once(chunked(b'a'), rest)) as peer, client() as one:
        response = await one.request(url=peer.url, into='stream', timeout=0.2)
        assert b'a' == await anext(response.body)
        asyncio.get_running_loop().call_later(0.3, go_on.set)
        assert b'b' == await response.body.read()


async def test_each_read_has_a_deadline(raw_server):
    """A peer that sends nothing more is waited for so long."""
    async with raw_server(once(chunked(b'a'), lambda line: line.reader.read())) as peer:
        timeout = {'read': 0.05}
        response = await http.request(url=peer.url, into='stream', timeout=timeout)
        assert b'a' == await anext(response.body)
        with pytest.raises(http.TimedOut, match=r'nothing more of the body came within 0\.05 s'):
            await anext(response.body)


@pytest.mark.parametrize('timeout', [{'read': 0.05}, None])
async def test_who_does_not_read_has_no_deadline(raw_server, timeout):
    """The time counts in which a read waits for the peer."""
    go_on = asyncio.Event()

    async def rest(line):
        await go_on.wait()
        await line.send(b'0\r\n\r\n')

    async with raw_server(once(chunked(b'a'), rest)) as peer:
        response = await http.request(url=peer.url, into='stream', timeout=timeout)
        await asyncio.sleep(0.1)  # what is slow is who reads
        assert b'a' == await anext(response.body)
        go_on.set()
        assert b'' == await response.body.read()


# Left behind


async def test_one_that_is_forgotten_closes_its_connection(raw_server):
    """With a warning, for it may take long until somebody finds it forgotten."""
    left = asyncio.Event()

    async def wait(line):
        assert b'' == await line.reader.read()
        left.set()

    async with raw_server(once(chunked(b'a'), wait)) as peer:
        response = await http.request(url=peer.url, into='stream')
        with pytest.warns(ResourceWarning, match='neither read nor closed'):
            del response
        await left.wait()


def test_one_that_is_forgotten_outlives_its_loop():
    """It warns, and closes nothing: what the loop had is gone."""

    class Held:
        read_timeout = None

        def start_timeout(self):
            pass

    async def make():
        content = aiohttp.StreamReader(None, 1, loop=asyncio.get_running_loop())
        source = FromConnection(http.Headers(), content, Held(), None, None)
        return DecodedBody(
            http.Headers(), source, ReadOptions(False, None, None, lambda error: None)
        )

    body = asyncio.run(make())
    with pytest.warns(ResourceWarning, match='neither read nor closed'):
        del body


async def test_a_client_that_closes_ends_its_streams(raw_server, client):
    """Those that are being read, and those that are not."""
    async with raw_server(once(chunked(b'a'), lambda line: line.reader.read())) as peer:
        async with client() as one:
            responses = [await one.request(url=peer.url, into='stream') for _ in range(2)]
            await anext(responses[0].body)
            reading = asyncio.ensure_future(anext(responses[0].body))
            await asyncio.sleep(0)
        for read in (reading, anext(responses[1].body)):
            with pytest.raises(http.ProtocolError, match='the client was closed'):
                await read


async def test_it_may_begin_before_there_is_any(raw_server, client):
    """With an empty chunk where only the head has come, for who passes that on."""
    go_on = asyncio.Event()

    async def late(line):
        await line.request()
        await line.send(b'HTTP/1.1 200 OK\r\nContent-Length: 2\r\n\r\n')
        await go_on.wait()
        await line.send(b'ok')

    for origin, first in (late, b''), (once(answer(b'ok')), b'ok'):
        async with raw_server(origin) as peer, client() as sender:
            request = http.to_request(url=peer.url, into='raw')
            stream = (await sender.pass_on(request, None)).body
            assert first == await anext(stream)
            go_on.set()
            assert b'ok' == first + await stream.read()


# While its request is still sent


async def test_a_stream_that_is_left_ends_what_it_is_the_answer_to(raw_server):
    """The iterator is closed by the time that the stream is."""
    closed = []

    async def sent():
        try:
            yield b'a'
            await asyncio.get_running_loop().create_future()
        finally:
            closed.append(True)

    async def handler(line):
        await line.reader.readuntil(b'a\r\n')
        await line.send(answer(b'xy'))
        await line.reader.read()

    async with raw_server(handler) as peer:
        for leave in (lambda stream: stream.close(), lambda stream: stream.read()):
            response = await http.request(url=peer.url, body=sent(), into='stream')
            await leave(response.body)
    assert [True, True] == closed


async def test_an_answer_at_hand_is_read_at_once():
    """And no more of it once it is closed."""
    source = InMemory(b'ab', is_empty=False)
    assert [False, False] == [source.is_empty, source.is_waited_for]
    assert [b'ab', b''] == [await source.read(None) for _ in range(2)]
    source.finish()
    source.release()
    source.close(http.ProtocolError('gone'))
    await source.stop()
    with pytest.raises(http.ProtocolError, match='gone'):
        await source.read(None)
