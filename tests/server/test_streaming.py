"""Answers that come chunk by chunk, to real peers, and what breaks them off."""

import asyncio
import contextlib
import gzip
import ssl
import tracemalloc

import pytest

import aioluahttp as http
from aioluahttp.bodies.encoders import Coded

CHUNK = b'x' * 65536


class Source:
    """An async iterator that is told what to give, and notes what it is asked."""

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
async def answering(body, *, status=200, headers=None, key='body', **options):
    """Answer each request with what an iterator gives; also give the mistakes that were told."""
    told = []

    def on_error(error, request):
        told.append(error)

    def callback(request):
        return {'status': status, 'headers': headers, key: body}

    async with http.listen('127.0.0.1', 0, callback, on_error, **options) as server:
        yield server, told


async def chunked(client):
    """Read a head and all chunks up to the last; give the headers, and the chunks."""
    head = await client.reader.readuntil(b'\r\n\r\n')
    chunks = []
    while size := int(await client.reader.readline(), 16):
        chunks.append((await client.reader.readexactly(size + 2))[:-2])
    assert b'\r\n' == await client.reader.readline()
    return head.decode(), chunks


def generator(*chunks):
    """Make an async generator."""

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
async def test_a_body_may_come_in_chunks(wire, make):
    """Each goes out as one, of bytes by default, and the connection goes on."""
    async with (
        http.listen('127.0.0.1', 0, lambda request: {'status': 200, 'body': make()}) as server,
        wire(server) as client,
    ):
        for _ in range(2):
            client.ask('GET /')
            head, chunks = await chunked(client)
            assert [b'ab', 'cé'.encode()] == chunks
            assert 'Content-Type: application/octet-stream\r\n' in head
            assert 'Content-Length' not in head
            assert 'Connection' not in head


async def test_a_chunk_goes_out_before_the_next_is_asked_for(wire):
    """Nothing is held back, and an empty chunk sends the head alone."""
    source = Source()
    async with answering(source) as (server, _), wire(server) as client:
        client.ask('GET /')
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
async def test_text_is_sent_by_the_text_rule(wire, kind, chunk, expected, sent):
    """By the charset that is named; a text type that names none gets one."""
    async with (
        answering(generator(chunk), headers={'Content-Type': kind}) as (server, _),
        wire(server) as client,
    ):
        client.ask('GET /')
        head, chunks = await chunked(client)
    assert f'Content-Type: {expected}\r\n' in head
    assert [sent] == chunks


async def test_what_is_compressed_as_it_comes_is_text_all_the_same(wire):
    """Its type names the charset that its chunks were written in."""
    body = Coded(generator('é'), str.encode, 'gzip')
    async with (
        answering(body, headers={'Content-Type': 'text/html'}) as (server, _),
        wire(server) as client,
    ):
        client.ask('GET /')
        head, chunks = await chunked(client)
    assert 'Content-Type: text/html; charset=utf-8\r\n' in head
    assert 'é'.encode() == gzip.decompress(b''.join(chunks))


async def test_http_1_0_reads_up_to_the_end_of_the_connection(wire):
    """It has no chunks."""
    async with answering(generator(b'ab', b'cd')) as (server, _), wire(server) as client:
        client.send(b'GET / HTTP/1.0\r\nConnection: keep-alive\r\n\r\n')
        head, body = (await client.rest()).split(b'\r\n\r\n')
    assert b'abcd' == body
    assert b'\r\nConnection: close' in head
    assert b'Transfer-Encoding' not in head


@pytest.mark.parametrize('version', ['1.0', '1.1'])
async def test_a_length_is_kept_to(wire, version):
    """A callback that knows it may say it; the body is then not chunked."""
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
            _, headers, body = await client.answer()
            assert ('4', b'abcd') == (headers['Content-Length'], body)
            assert 'Transfer-Encoding' not in headers


@pytest.mark.parametrize(
    ('chunks', 'sent'), [((b'ab', b'c'), b'ab'), ((b'ab', b'cde'), b'ab'), ((), None)]
)
async def test_a_length_that_is_a_lie_breaks_off(wire, caplog, chunks, sent):
    """Never is one body read as another; before the first chunk it is a 500."""
    headers = {'Content-Length': 4}
    if chunks == (b'ab', b'c'):
        sent = b'abc'
    async with (
        answering(generator(*chunks), headers=headers) as (server, told),
        wire(server) as client,
    ):
        client.ask('GET /', 'Connection: close')
        answer = await client.rest()
    assert (b'HTTP/1.1 500 ' if sent is None else b'HTTP/1.1 200 ') == answer[:13]
    assert sent is None or answer.endswith(b'\r\n\r\n' + sent)
    assert [http.TableError] == list(map(type, told))
    assert ['GET / failed'] == [record.getMessage() for record in caplog.records]


async def test_a_length_that_is_no_number_is_a_500(wire):
    """It is looked at before anything is sent."""
    async with (
        answering(generator(b'a'), headers={'Content-Length': 'x'}) as (server, told),
        wire(server) as client,
    ):
        client.ask('GET /')
        assert 500 == (await client.answer())[0]
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
async def test_who_gets_no_body_reads_none(wire, method, status, headers, expected):
    """The iterator is closed and was asked for nothing; the connection goes on."""
    source = Source(b'ab')
    async with (
        answering(source, status=status, headers=headers) as (server, _),
        wire(server) as client,
    ):
        for _ in range(2):
            client.ask(f'{method} /')
            given, fields, _ = await client.answer(silent=True)
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
async def test_a_mistake_before_the_first_chunk_is_a_500(wire, caplog, fault, kind):
    """Logged and told as every other; the connection goes on."""
    source = Source(fault)
    async with answering(source) as (server, told), wire(server) as client:
        client.ask('GET /')
        assert 500 == (await client.answer())[0]
        assert source.closed.is_set()
        source.queue.put_nowait(None)
        client.ask('GET /')
        assert [] == (await chunked(client))[1]
    assert [kind] == list(map(type, told))
    assert ['GET / failed'] == [record.getMessage() for record in caplog.records]


@pytest.mark.parametrize('headers', [{}, {'Content-Length': 9}])
@pytest.mark.parametrize(('fault', 'kind'), FAULTS)
async def test_a_mistake_after_it_breaks_off(wire, caplog, fault, kind, headers):
    """The end never comes, so nobody takes half a body for a whole one."""
    source = Source(b'ab', fault)
    async with answering(source, headers=headers) as (server, told), wire(server) as client:
        client.ask('GET /')
        assert (await client.rest()).endswith(b'ab' if headers else b'2\r\nab\r\n')
        assert source.closed.is_set()
        assert 1 == server.stats['errors']
    assert [kind] == list(map(type, told))
    assert ['GET / failed'] == [record.getMessage() for record in caplog.records]


@pytest.mark.parametrize('tls', [False, True])
async def test_a_mistake_resets_where_the_end_of_the_connection_would_end_the_body(
    wire, certificates, tls
):
    """HTTP/1.0 knows no other sign."""
    source = Source(b'ab', ValueError('x'))
    options = {'tls': certificates.server} if tls else {}
    client_options = (
        {'ssl': ssl.create_default_context(cafile=certificates.ca), 'server_hostname': 'localhost'}
        if tls
        else {}
    )
    async with (
        answering(source, **options) as (server, _),
        wire(server, **client_options) as client,
    ):
        client.send(b'GET / HTTP/1.0\r\n\r\n')
        with pytest.raises(ConnectionResetError):
            await client.rest()


async def test_curl_sees_what_is_broken():
    """Its exit codes: 18 for a body that is cut off, 56 for a reset."""
    for arguments, code in [(['--http1.1'], 18), (['--http1.0'], 56)]:
        async with answering(Source(b'ab', ValueError('x'))) as (server, _):
            curl = await asyncio.create_subprocess_exec('curl', '-s', *arguments, server.url)
            assert code == await curl.wait()


async def test_who_leaves_closes_the_iterator(wire, caplog):
    """It is closed and awaited where it waits, and that is no mistake."""
    source = Source(b'ab')
    async with answering(source) as (server, told):
        async with wire(server) as client:
            client.ask('GET /')
            await client.reader.readuntil(b'ab')
        await source.closed.wait()
        assert 0 == server.stats['errors']
    assert [] == told
    assert [] == caplog.records


async def test_who_has_left_needs_no_reset(wire):
    """HTTP/1.0, and a connection that is gone."""
    source = Source(b'ab')
    async with answering(source) as (server, _):
        async with wire(server) as client:
            client.send(b'GET / HTTP/1.0\r\n\r\n')
            await client.reader.readuntil(b'ab')
        await source.closed.wait()


async def test_a_generator_of_who_leaves_runs_its_finally(wire):
    """It may await in it."""
    ended = asyncio.Event()

    async def endless():
        try:
            yield b'ab'
            await asyncio.Event().wait()
        finally:
            await asyncio.sleep(0)
            ended.set()

    async with answering(endless()) as (server, _):
        async with wire(server) as client:
            client.ask('GET /')
            await client.reader.readuntil(b'ab')
        await ended.wait()


async def test_a_server_that_closes_closes_the_iterator(wire):
    """After the grace that callbacks have, too; the body is broken off."""
    source = Source(b'ab')
    async with answering(source) as (server, told), wire(server) as client:
        client.ask('GET /')
        await client.reader.readuntil(b'ab\r\n')
        await server.close(grace=0)
        assert source.closed.is_set()
        assert b'' == await client.rest()
    assert [] == told


async def test_a_server_that_closes_lets_a_body_come_to_its_end(wire):
    """Within the grace."""
    source = Source(b'ab')
    async with answering(source) as (server, _), wire(server) as client:
        client.ask('GET /')
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
    """What waits is what the sockets hold, however long the body is; then ``body_timeout``."""
    source = Endless()
    async with answering(source, body_timeout=0.2) as (server, told), wire(server) as client:
        client.ask('GET /')
        await source.closed.wait()
        assert source.given * len(CHUNK) < 20_000_000
    assert [] == told


async def test_memory_stays_flat(wire):
    """A body of 256 MiB takes no more memory than a few chunks."""
    source = Endless()
    async with answering(source) as (server, _), wire(server) as client:
        client.ask('GET /')
        await client.reader.readexactly(1 << 20)
        tracemalloc.start()
        try:
            for _ in range(256):
                await client.reader.readexactly(1 << 20)
            assert tracemalloc.get_traced_memory()[1] < 8 << 20
        finally:
            tracemalloc.stop()


async def test_the_log_and_the_counters_know_it(wire):
    """The log is written at the end, with the status that was sent; each byte is counted."""
    logged = asyncio.Queue()

    def log(request, response):
        logged.put_nowait((request.path, response.status))

    source = Source(CHUNK)
    async with (
        answering(source, status=201, access_log=log, server_header='me') as (server, _),
        wire(server) as client,
    ):
        client.ask('GET /a')
        head = await client.reader.readuntil(b'\r\n\r\n')
        assert b'\r\nServer: me\r\n' in head
        assert logged.empty()
        source.queue.put_nowait(None)
        assert ('/a', 201) == await logged.get()
        size = len(head) + len(b'10000\r\n\r\n' + CHUNK + b'0\r\n\r\n')
        assert size == server.stats['bytes_out']


async def test_a_callback_may_close_the_connection(wire):
    """As with every other body."""
    async with (
        answering(generator(b'a'), headers={'Connection': 'close'}) as (server, _),
        wire(server) as client,
    ):
        client.ask('GET /')
        answer = await client.rest()
    assert answer.endswith(b'1\r\na\r\n0\r\n\r\n')
    assert b'\r\nConnection: close\r\n' in answer


async def test_events_are_sent_as_a_stream(wire):
    """Of the type that browsers ask for, not to be stored, each event by itself."""
    source = Source({'data': 'a\nb', 'id': '1'}, {}, None)
    async with answering(source, key='events') as (server, _), wire(server) as client:
        client.ask('GET /')
        head, chunks = await chunked(client)
    assert [b'data: a\ndata: b\nid: 1\n\n', b':\n\n'] == chunks
    assert 'Content-Type: text/event-stream\r\n' in head
    assert 'Cache-Control: no-cache\r\n' in head
    assert source.closed.is_set()


async def test_what_the_callback_says_of_its_events_stays(wire):
    """Its headers are kept."""
    headers = {'Cache-Control': 'no-store', 'Content-Type': 'text/x'}
    async with (
        answering(iter([{'data': 'x'}]), key='events', headers=headers) as (server, _),
        wire(server) as client,
    ):
        client.ask('GET /')
        head, _ = await chunked(client)
    assert 'Cache-Control: no-store\r\n' in head
    assert 'Content-Type: text/x\r\n' in head


@pytest.mark.parametrize('begun', [False, True])
async def test_an_event_that_is_none_is_a_mistake(wire, begun):
    """A 500 before the first, else the stream breaks off."""
    events = [{'data': 'x'}] * begun + [{'data': 'x', 'id': 'a\nb'}]
    async with answering(iter(events), key='events') as (server, told), wire(server) as client:
        client.ask('GET /', 'Connection: close')
        answer = await client.rest()
    assert answer.endswith(b'data: x\n\n\r\n' if begun else b'Internal Server Error')
    assert [http.TableError] == list(map(type, told))


async def test_a_middleware_may_pass_a_flowing_body_on(wire):
    """It is in the normal form of a table, and stays what it was."""

    def callback(request):
        response = http.to_response({'status': 200, 'events': iter([{'data': 'x'}])})
        return http.to_response(response | {'headers': {**response.headers, 'A': 'b'}})

    async with http.listen('127.0.0.1', 0, callback) as server, wire(server) as client:
        client.ask('GET /')
        head, chunks = await chunked(client)
    assert 'Content-Type: text/event-stream\r\n' in head
    assert [b'data: x\n\n'] == chunks


async def test_a_stream_of_another_s_goes_out_as_that_says(raw_server, wire):
    """No Content-Type is made for what is not the callback's own."""
    answer = b'HTTP/1.1 200 OK\r\nContent-Length: 2\r\n\r\nok'
    async with raw_server(answer) as peer:

        async def handler(request):
            return await http.request(url=peer.url, into='raw')

        async with http.listen('127.0.0.1', 0, handler) as server, wire(server) as client:
            client.ask('GET /')
            status, headers, body = await client.answer()
    assert (200, b'ok', {'Content-Length', 'Date'}) == (status, body, set(headers))
