"""Bodies of requests that a callback reads as they come."""

import asyncio
import contextlib
import gzip

import pytest

import aioluahttp as http

BIG = 50_000_000  # more than the buffers of two sockets hold


@contextlib.asynccontextmanager
async def reading(callback, into='stream', **options):
    """Listen with a callback that reads streams; also give the mistakes that were told."""
    told = []

    def on_error(error, request):
        told.append(error)

    async with http.listen('127.0.0.1', 0, callback, on_error, into=into, **options) as server:
        yield server, told


async def whole(request):
    """Say what was read."""
    return {'status': 200, 'body': await request.body.read()}


def echo(request):
    """Send back what comes as it comes."""
    return {'status': 200, 'body': request.body}


@pytest.mark.parametrize('callback', [whole, echo])
async def test_a_body_is_read_by_the_callback(wire, callback):
    """With a length or in chunks; also one that is empty. GET has none."""
    async with reading(callback) as (server, told):
        for fields, body in [
            (('Content-Length: 3',), b'abc'),
            (('Transfer-Encoding: chunked',), b'2\r\nab\r\n1\r\nc\r\n0\r\n\r\n'),
            (('Content-Length: 0',), b''),
        ]:
            async with wire(server) as client:
                client.ask('POST /', *fields, 'Connection: close', body=body)
                answer = await client.rest()
                assert b'HTTP/1.1 200 ' == answer[:13]
                assert (b'abc' in answer) == bool(body)
    assert [] == told


async def test_a_part_is_there_before_the_next_is_sent(wire):
    """Nothing waits for the end of the body."""
    parts = asyncio.Queue()

    async def callback(request):
        async for part in request.body:
            parts.put_nowait(part)
        return {'status': 200}

    async with reading(callback) as (server, _), wire(server) as client:
        client.ask('POST /', 'Content-Length: 4')
        for part in (b'ab', b'cd'):
            client.send(part)
            assert part == await parts.get()
        assert 200 == (await client.answer())[0]
        client.ask('POST /', 'Content-Length: 0')
        assert 200 == (await client.answer())[0]


@pytest.mark.parametrize(('into', 'kept'), [('stream', False), ('raw', True)])
async def test_a_coding_is_undone_or_left(wire, into, kept):
    """The headers describe what is read."""
    data, seen = gzip.compress(b'abc' * 100_000, mtime=0), []

    async def callback(request):
        seen.append(request.headers)
        return await whole(request)

    async with reading(callback, into) as (server, _), wire(server) as client:
        client.ask(*('POST /', f'Content-Length: {len(data)}', 'Content-Encoding: gzip'), body=data)
        assert (data if kept else b'abc' * 100_000) == (await client.answer())[2]
    assert (kept, kept) == tuple(name in seen[0] for name in ('Content-Encoding', 'Content-Length'))


async def test_who_does_not_read_is_sent_no_more(wire, until):
    """The client waits, and no more is held than a few pieces."""
    read, go = [], asyncio.Event()

    async def callback(request):
        await go.wait()
        async for part in request.body:
            read.append(len(part))
        return {'status': 200}

    async with reading(callback) as (server, _), wire(server) as client:
        client.ask('POST /', f'Content-Length: {BIG}', body=bytes(BIG))
        await until(lambda: any(one.paused for one in server._connections.open))
        assert server.stats['bytes_in'] < 2_000_000
        go.set()
        assert 200 == (await client.answer())[0]
    assert BIG == sum(read)
    assert max(read) <= 1 << 20


@pytest.mark.parametrize('size', [9, BIG])
async def test_what_is_left_unread_closes_the_connection(wire, size):
    """After the answer, which the client gets though it is still sending."""
    callback = lambda request: {'status': 200, 'body': 'x'}  # noqa: E731
    async with reading(callback) as (server, _), wire(server) as client:
        client.ask('POST /', f'Content-Length: {size}', body=bytes(size - 1))
        status, headers, body = await client.answer()
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
async def test_what_is_wrong_with_it_is_the_client_s_fault(
    wire, caplog, callback, fields, sent, status, kind
):
    """The callback sees an error of the library; unless it answers, that is done for it."""
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
        client.ask('POST /', *fields, body=sent)
        answer = await client.rest()
    assert f'HTTP/1.1 {status} '.encode() == answer[:13]
    assert seen == ([kind] if kind and callback is whole else [])
    assert [] == told
    assert [] == caplog.records


async def test_an_echo_of_a_broken_body_breaks_off(wire, caplog):
    """That is nobody's mistake here."""
    async with reading(echo) as (server, told), wire(server) as client:
        client.ask('POST /', 'Transfer-Encoding: chunked', body=b'1\r\na\r\n')
        await client.reader.readuntil(b'1\r\na\r\n')
        client.send(b'x\r\n')
        assert b'' == await client.rest()
    assert [] == told
    assert [] == caplog.records


async def test_who_leaves_in_the_middle_is_told_of(wire):
    """The callback gets an error where it reads."""
    seen = asyncio.Queue()

    async def callback(request):
        try:
            return await whole(request)
        except http.ProtocolError as error:
            seen.put_nowait(str(error))
            raise

    async with reading(callback) as (server, told):
        async with wire(server) as client:
            client.ask('POST /', 'Content-Length: 9', body=b'a')
            await client.writer.drain()
        assert 'the body is broken' in await seen.get()
    assert [] == told


@pytest.mark.parametrize('reads', [True, False])
async def test_a_client_is_told_to_send_when_the_body_is_wanted(wire, reads):
    """``Expect: 100-continue`` is answered at the first read; else the answer is the answer."""

    async def callback(request):
        return await whole(request) if reads else {'status': 403}

    async with reading(callback) as (server, _), wire(server) as client:
        client.ask('POST /', 'Content-Length: 2', 'Expect: 100-continue')
        status = await client.reader.readline()
        if reads:
            assert b'HTTP/1.1 100 Continue\r\n' == status
            await client.reader.readline()
            client.send(b'ab')
            assert b'ab' == (await client.answer())[2]
        else:
            assert b'HTTP/1.1 403 Forbidden\r\n' == status


async def test_no_word_is_said_in_the_middle_of_an_answer(wire):
    """The client has its answer, so it needs no 100."""

    async def answer(request):
        yield b'x'
        async for part in request.body:
            yield part

    callback = lambda request: {'status': 200, 'body': answer(request)}  # noqa: E731
    async with reading(callback) as (server, _), wire(server) as client:
        client.ask('POST /', 'Content-Length: 2', 'Expect: 100-continue')
        await client.reader.readuntil(b'1\r\nx\r\n')
        client.send(b'ab')
        assert b'2\r\nab\r\n0\r\n\r\n' == await client.rest()


async def test_a_body_is_gone_with_its_request(wire):
    """Nobody reads the body of another."""
    kept = []

    def callback(request):
        kept.append(request.body)
        return {'status': 200}

    async with reading(callback) as (server, _), wire(server) as client:
        for _ in range(2):
            client.ask('POST /', 'Content-Length: 2', body=b'ab')
            assert 200 == (await client.answer())[0]
        for body in kept:
            with pytest.raises(http.ProtocolError, match='the request is answered'):
                await body.read()


async def test_what_a_body_becomes_may_hang_on_the_request(wire):
    """And so may its limit; what is no such word, or fails, is a mistake."""

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
                client.ask(f'POST {target}', 'Content-Length: 3', body=b'"a"')
                status, _, body = await client.answer()
                assert expected in (status, body.decode())
    assert [http.TableError] == list(map(type, told))


async def test_a_handler_may_say_what_it_takes(wire):
    """By attributes, which options go before."""

    async def handler(request):
        return {'status': 200, 'body': type(request.body).__name__}

    handler.into, handler.max_body = 'raw', 5
    for options, expected in [({}, 'Stream'), ({'into': 'bytes'}, 'bytes')]:
        async with http.listen('127.0.0.1', 0, handler, **options) as server:
            async with wire(server) as client:
                client.ask('POST /', 'Content-Length: 1', body=b'x')
                assert expected == (await client.answer())[2].decode()
            async with wire(server) as client:
                client.ask('POST /', 'Content-Length: 6')
                assert 413 == (await client.answer())[0]


async def test_a_stream_has_a_limit_only_where_one_is_given(wire):
    """The 8 MiB are for what is held in memory."""

    async def callback(request):
        return {'status': 200, 'body': str(sum([len(part) async for part in request.body]))}

    async with reading(callback) as (server, _), wire(server) as client:
        client.ask('POST /', f'Content-Length: {BIG}', body=bytes(BIG))
        assert str(BIG).encode() == (await client.answer())[2]
