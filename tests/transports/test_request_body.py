"""Sources of request bodies, and how they are sent."""

import asyncio
import gzip
import io
import os
import pickle
import socket
import threading

import pytest

import aioluahttp as http
from aioluahttp.errors import TableError
from aioluahttp.tables.checks import is_one_shot
from aioluahttp.tables.models import Response
from aioluahttp.transports.request_body import (
    PIECE,
    BodySource,
    BytesSource,
    check_resendable,
    to_source,
)


class Again:
    """An iterable that gives a new iterator each time."""

    def __init__(self, *items):
        self.items = items

    def __iter__(self):
        return iter(self.items)


class AgainLater(Again):
    """An asynchronous iterable that gives a new iterator each time."""

    async def __aiter__(self):
        for item in self.items:
            yield item


class Noted:
    """An iterator that counts how often it was closed."""

    closed = 0

    def __iter__(self):
        return self

    def __next__(self):
        raise StopIteration

    def close(self):
        self.closed += 1


async def letters():
    """Yield a letter."""
    yield b'a'


async def read_all(source):
    """Open a source, and read it to its end."""
    await source.open()
    try:
        return b''.join([chunk async for chunk in source.chunks(bytes)])
    finally:
        await source.end()


def pipe(data):
    """Make a file that cannot seek, with some data to read."""
    reading, writing = os.pipe()
    os.write(writing, data)
    os.close(writing)
    return os.fdopen(reading, 'rb')


@pytest.mark.parametrize('body', [Again(b'a', b'b'), AgainLater(b'a', b'b'), (b'a', b'b')])
async def test_an_iterable_can_be_read_again(body):
    """Each attempt gets a new iterator."""
    source = BodySource(body)
    assert [b'ab', b'ab'] == [await read_all(source), await read_all(source)]
    assert (False, None, None) == (source.is_spent, source.length, source.content_type)


@pytest.mark.parametrize('make', [letters, lambda: iter([b'a']), lambda: (one for one in [b'a'])])
async def test_an_iterator_can_be_read_once(make):
    """It is spent once reading has begun."""
    source = BodySource(make())
    assert (True, False) == (is_one_shot(source.body), source.is_spent)
    assert (b'a', True) == (await read_all(source), source.is_spent)


@pytest.mark.parametrize(
    ('name', 'kind'),
    [
        ('a.txt', 'text/plain'),
        ('a.json', 'application/json'),
        ('a.unheard', None),
        ('a.tar.gz', 'application/gzip'),
        ('a.txt.Z', 'application/x-compress'),
        ('a.MJS', 'text/javascript'),
    ],
)
async def test_a_path_can_be_read_again(tmp_path, name, kind):
    """Its length and its Content-Type are known; a compressed file has that of its packing."""
    path = tmp_path / name
    path.write_bytes(bytes(PIECE) + b'end')
    source = BodySource(path)
    assert 2 * [bytes(PIECE) + b'end'] == [await read_all(source), await read_all(source)]
    assert (PIECE + 3, kind, False) == (source.length, source.content_type, source.is_spent)


@pytest.mark.parametrize(
    ('make', 'message'),
    [
        (lambda path: None, 'a file that can be read (No such file or directory)'),
        (lambda path: path.mkdir(), 'it must be the path of a file'),
        (os.mkfifo, 'it must be the path of a file'),
    ],
    ids=['none', 'folder', 'pipe'],
)
async def test_a_path_that_is_no_readable_file_is_refused(tmp_path, make, message):
    """Before anything is sent; opening a pipe would wait for a writer."""
    make(tmp_path / 'x')
    source = BodySource(tmp_path / 'x')
    with pytest.raises(TableError) as caught:
        await source.open()
    assert message in str(caught.value)
    await source.end()


async def test_a_file_is_read_from_its_position(tmp_path):
    """Each attempt begins at the same position, and the file is left open."""
    (tmp_path / 'a.txt').write_bytes(b'0123456789')
    with (tmp_path / 'a.txt').open('rb') as file:
        file.seek(4)
        source = BodySource(file)
        assert [b'456789', b'456789'] == [await read_all(source), await read_all(source)]
        await source.close()
        assert (6, 'text/plain', False) == (source.length, source.content_type, file.closed)


async def test_a_bytesio_is_a_file_without_a_name():
    """The length of a BytesIO is known."""
    file = io.BytesIO(b'0123')
    file.read(1)
    source = BodySource(file)
    assert (b'123', 3, None) == (await read_all(source), source.length, source.content_type)


async def test_the_length_of_an_unpacked_file_is_unknown(tmp_path):
    """The descriptor of a ``GzipFile`` is that of the packed file."""
    with gzip.open(tmp_path / 'a.gz', 'wb') as packed:
        packed.write(bytes(5000))
    with gzip.open(tmp_path / 'a.gz') as file:
        source = BodySource(file)
        assert (bytes(5000), None) == (await read_all(source), source.length)


async def test_the_length_of_a_device_is_unknown():
    """A device can seek, and has no length."""
    with open('/dev/zero', 'rb') as file:  # noqa: ASYNC230
        source = BodySource(file)
        await source.open()
        assert (None, False) == (source.length, is_one_shot(file))


async def test_a_file_that_cannot_seek_is_read_once():
    """Its length is unknown, and it is left open."""
    with pipe(b'abc') as file:
        source = BodySource(file)
        assert (b'abc', None, True) == (await read_all(source), source.length, source.is_spent)
        await source.close()
        assert not file.closed


async def test_a_file_that_grows_is_read_up_to_its_announced_length(tmp_path):
    """Bytes that are appended later are not sent."""
    path = tmp_path / 'a'
    path.write_bytes(b'abc')
    source = BodySource(path)
    await source.open()
    path.write_bytes(b'abcdef')
    assert [b'abc'] == [chunk async for chunk in source.chunks(bytes)]
    await source.end()


async def test_a_file_must_read_bytes(tmp_path):
    """A file that reads text is refused."""

    class Text:
        def read(self, size):
            return 'text'

    with pytest.raises(TableError, match=r"a file opened in binary mode \('rb'\)"):
        await read_all(BodySource(Text()))


async def test_an_iterator_that_was_not_read_is_closed():
    """``close`` leaves one that was read to its chunks."""
    body = Noted()
    source = BodySource(body)
    await source.close()
    assert 1 == body.closed
    await (chunks := source.chunks(bytes)).aclose()
    assert chunks is not None
    closed = body.closed
    await source.close()
    assert closed == body.closed


async def test_a_cancelled_read_is_waited_for():
    """No thread uses the file any more once the cancellation is raised."""
    entered, go_on = asyncio.Event(), threading.Event()
    loop = asyncio.get_running_loop()

    class Slow(io.BytesIO):
        def read(self, size):
            loop.call_soon_threadsafe(entered.set)
            assert go_on.wait(30)
            return super().read(size)

    source = BodySource(Slow(b'abc'))
    reading = asyncio.create_task(read_all(source))
    await entered.wait()
    reading.cancel()
    await asyncio.sleep(0)
    assert not reading.done()
    go_on.set()
    with pytest.raises(asyncio.CancelledError):
        await reading


async def test_a_large_body_can_be_read_in_pieces():
    """It can be read again."""
    source = BytesSource('text', bytes(PIECE + 1))
    for _ in range(2):
        await source.open()
        chunks = source.chunks(bytes)
        assert [PIECE, 1] == [len(chunk) async for chunk in chunks]
    assert ('text', PIECE + 1, False) == (source.body, source.length, source.is_spent)


@pytest.mark.parametrize('body', [None, '', 'a', b'a'])
def test_text_and_bytes_have_no_source(body):
    """It has no source, and is sent as it is."""
    assert to_source(body) is None


async def test_a_redirect_is_refused_if_the_body_cannot_be_sent_again():
    """The error has the redirect."""
    redirect = Response({'status': 307})
    spent, fresh = BodySource(letters()), BodySource(iter([b'a']))
    check_resendable(fresh, redirect)
    check_resendable('text', redirect)
    await read_all(spent)
    with pytest.raises(TableError, match='because a 307 sends the body again') as caught:
        check_resendable(spent, redirect)
    assert redirect is caught.value.response


CHUNK = bytes(64 * 1024)
LARGE = bytes(range(256)) * 8192  # 2 MiB: more than the buffers of a connection take
CLOSED = 'HTTP/1.1 413 Too Large\r\nContent-Length: 2\r\nConnection: close\r\n\r\nno'


async def echo(request):
    """Respond with the body, its framing and its Content-Type."""
    body = await request.body.read()
    how = [request.headers.get(name) for name in ('Content-Length', 'Transfer-Encoding')]
    kind = request.headers.get('Content-Type')
    return {'status': 200, 'json': [body.decode(), *how, kind]}


class Chunks:
    """An async iterator of chunks that then fails, ends or waits; it counts its closes."""

    def __init__(self, *chunks, then=None):
        self.chunks, self.then = iter(chunks), then
        self.closed, self.waits = 0, asyncio.Event()

    def __aiter__(self):
        return self

    async def __anext__(self):
        for chunk in self.chunks:
            return chunk
        if self.then == 'wait':
            self.waits.set()
            await asyncio.get_running_loop().create_future()
        raise self.then or StopAsyncIteration

    async def aclose(self):
        self.closed += 1


def endless():
    """Yield chunks without end."""
    while True:
        yield CHUNK


async def ask(peer, **fields):
    """Send a POST request."""
    return await http.request(method='POST', url=peer.url, **fields)


@pytest.mark.parametrize(
    ('fields', 'expected'),
    [
        ({'body': iter(['ä', b'b', b''])}, ['äb', None, 'chunked', 'application/octet-stream']),
        ({'body': iter([])}, ['', None, 'chunked', 'application/octet-stream']),
        ({'body': io.BytesIO(b'ab')}, ['ab', '2', None, 'application/octet-stream']),
        (
            {'body': (b'a', b'b'), 'headers': {'Content-Length': 2, 'Content-Type': 'a/b'}},
            ['ab', '2', None, 'a/b'],
        ),
    ],
    ids=['chunks', 'none', 'file', 'length'],
)
async def test_a_body_is_sent_in_chunks_or_with_a_length(fields, expected):
    """In chunks, unless its length is known or given."""
    async with http.listen('127.0.0.1', 0, echo, into='stream') as server:
        assert expected == (await ask(server, **fields, into='json')).body


async def test_a_path_is_sent_with_its_length_and_content_type(tmp_path):
    """With its length, and the Content-Type that its name tells."""
    (tmp_path / 'a.json').write_text('[1]')
    async with http.listen('127.0.0.1', 0, echo, into='stream') as server:
        response = await ask(server, body=tmp_path / 'a.json', into='json')
    assert ['[1]', '3', None, 'application/json'] == response.body


@pytest.mark.parametrize('of', [lambda: LARGE, lambda: io.BytesIO(LARGE)])
async def test_progress_of_sending_is_reported(of):
    """The bytes that were sent, and the length of the body."""
    told = []
    async with http.listen('127.0.0.1', 0, echo, into='stream', max_body=None) as server:
        await ask(server, body=of(), on_progress=lambda *far: told.append(far), into='bytes')
    sent = told[: told.index((len(LARGE), len(LARGE))) + 1]  # the rest is of the response
    assert sorted(sent) == sent


async def test_progress_of_a_body_without_a_length_has_no_total():
    """The total is None."""
    told = []
    async with http.listen('127.0.0.1', 0, echo, into='stream') as server:
        await ask(server, body=iter(['a', 'bc']), on_progress=lambda *far: told.append(far))
    assert [(1, None), (3, None)] == told[:2]  # the rest is of the response


async def test_a_response_is_streamed_while_the_request_is_sent():
    """A response may be read while the request is sent."""
    turns = asyncio.Queue()

    async def mirror(request):
        return {'status': 200, 'body': request.body}

    async def sent():
        while chunk := await turns.get():
            yield chunk

    async with http.listen('127.0.0.1', 0, mirror, into='stream') as server:
        turns.put_nowait(b'one')
        async with (await ask(server, body=sent(), into='stream')).body as stream:
            assert b'one' == await anext(stream)
            turns.put_nowait(b'two')
            assert b'two' == await anext(stream)
            turns.put_nowait(None)
            assert b'' == await stream.read()


@pytest.mark.parametrize('error', [ValueError('mine'), FileNotFoundError(2, 'mine')])
@pytest.mark.parametrize('chunks', [[], [b'a']])
async def test_an_exception_of_the_iterator_is_raised_by_the_request(raw_server, error, chunks):
    """The same object with the same cause; the peer sees an incomplete body."""
    error.__cause__ = cause = KeyError('cause')
    came = []

    async def handler(line):
        came.append(await line.reader.read())

    body = Chunks(*chunks, then=error)
    async with raw_server(handler) as peer:
        with pytest.raises(type(error)) as caught:
            await ask(peer, body=body)
    assert (error, cause, 1) == (caught.value, caught.value.__cause__, body.closed)
    assert not [one for one in came if one.endswith(b'0\r\n\r\n')]


@pytest.mark.parametrize(
    ('fields', 'message'),
    [
        ({'body': iter([5])}, "'body' is 5; it must be a str or bytes"),
        ({'body': iter([b'a']), 'headers': {'Content-Length': 2}}, "'body' is shorter than its"),
        ({'body': iter([b'abc']), 'headers': {'Content-Length': 2}}, "'body' is longer than its"),
    ],
)
async def test_a_wrong_chunk_or_length_is_an_error(raw_server, fields, message):
    """Bytes beyond the length are not sent, and a short body does not look complete."""
    came = []

    async def handler(line):
        came.append(await line.reader.read())

    async with raw_server(handler) as peer:
        with pytest.raises(http.TableError, match=message):
            await ask(peer, **fields)
    assert not [one for one in came if one.partition(b'\r\n\r\n')[2] not in (b'', b'a')]


async def test_a_length_that_is_not_that_of_the_file_is_refused(tmp_path):
    """Nothing is sent, and the file is closed."""
    (tmp_path / 'a').write_bytes(b'abc')
    with pytest.raises(http.TableError, match=r'it must be 3, the length of the file'):
        await http.request(
            url='http://localhost:1', body=tmp_path / 'a', headers={'Content-Length': 2}
        )


async def test_a_file_that_becomes_shorter_is_an_error(tmp_path, raw_server):
    """The request ends with an error."""
    (tmp_path / 'a').write_bytes(LARGE)

    async def handler(line):
        await line.reader.readuntil(b'\r\n\r\n')
        (tmp_path / 'a').write_bytes(b'')
        await line.reader.read()

    async with raw_server(handler) as peer:
        with pytest.raises(http.TableError, match="'body' is shorter than its Content-Length"):
            await ask(peer, body=tmp_path / 'a', on_progress=print)


@pytest.mark.parametrize('into', ['text', 'stream'])
@pytest.mark.parametrize('error', [ValueError('mine'), ConnectionResetError('mine')])
async def test_an_exception_of_the_request_body_ends_the_response_body(raw_server, into, error):
    """Also a response that ends with its connection, and would look complete."""
    began = asyncio.Event()

    async def sent():
        yield b'a'
        await began.wait()
        raise error

    async def handler(line):
        await line.reader.readuntil(b'\r\n\r\n')
        await line.send(b'HTTP/1.1 200 OK\r\n\r\nbegins')
        await line.reader.read()

    async def read(asking):
        response = await asking
        began.set()
        async with response.body as stream:
            await stream.read()

    def seen(done, total):
        if into == 'text':
            began.set()

    async with raw_server(handler) as peer:
        with pytest.raises(type(error)) as caught:
            await read(ask(peer, body=sent(), into=into, on_progress=seen))
    assert error is caught.value


@pytest.mark.parametrize('into', ['text', 'stream'])
@pytest.mark.parametrize('body', [LARGE, 'é' * len(LARGE), io.BytesIO(LARGE)], ids=type)
@pytest.mark.parametrize('error', [ValueError('mine'), ConnectionResetError('mine')])
async def test_an_exception_of_on_progress_is_raised(into, body, error):
    """As it is, also for a body of text or bytes; the connection is closed."""

    def fails(done, total):
        raise error

    async with http.listen('127.0.0.1', 0, echo, into='stream', max_body=None) as server:
        with pytest.raises(type(error)) as caught:
            await ask(server, body=body, into=into, on_progress=fails)
    assert error is caught.value


@pytest.mark.parametrize('into', ['text', 'stream'])
async def test_a_cancelled_request_sends_no_more(raw_server, into):
    """Its iterator and its connection are closed."""
    ended = asyncio.Event()

    async def handler(line):
        await line.reader.read()
        ended.set()

    body = Chunks(b'a', then='wait')
    async with raw_server(handler) as peer:
        asking = asyncio.create_task(ask(peer, body=body, into=into))
        await body.waits.wait()
        asking.cancel()
        with pytest.raises(asyncio.CancelledError):
            await asking
        assert 1 == body.closed
        await ended.wait()


async def test_a_peer_that_reads_nothing_is_a_timeout(raw_server):
    """The total timeout includes sending the body."""
    left = asyncio.Event()
    body = endless()
    async with raw_server(lambda line: left.wait()) as peer:
        with pytest.raises(http.TimedOut):
            await ask(peer, body=body, timeout=0.2)
        assert body.gi_frame is None
        left.set()


async def test_the_read_timeout_begins_at_the_end_of_the_request_body(raw_server):
    """However long sending takes, even after an interim response."""
    go_on = asyncio.Event()

    async def sent():
        yield b'a'
        await go_on.wait()
        asyncio.get_running_loop().call_later(0.3, done.set)
        await done.wait()
        yield b'b'

    async def handler(line):
        await line.reader.readuntil(b'a\r\n')
        await line.send(b'HTTP/1.1 102 Processing\r\n\r\n')
        go_on.set()
        await line.reader.readuntil(b'0\r\n\r\n')
        await left.wait()

    left, done = asyncio.Event(), asyncio.Event()
    async with raw_server(handler) as peer:
        with pytest.raises(http.TimedOut):
            await ask(peer, body=sent(), timeout={'read': 0.1})
        assert done.is_set()
        left.set()


async def test_a_table_that_is_refused_closes_its_iterator():
    """So does a request that finds no connection."""
    refused, lost = Chunks(b'a'), Chunks(b'a')
    with pytest.raises(http.TableError):
        await http.request(url='http://localhost:1', timuot=5, body=refused)
    with pytest.raises(http.ConnectError):
        await http.request(url='http://localhost:1', body=lost)
    assert (1, 1) == (refused.closed, lost.closed)


async def test_an_error_of_a_request_with_an_iterator_pickles():
    """Without the values that cannot be pickled."""
    with pytest.raises(http.ConnectError) as caught:
        await http.request(url='http://localhost:1', body=endless(), on_progress=lambda *a: 0)
    request = pickle.loads(pickle.dumps(caught.value)).request
    assert {'url': 'http://localhost:1'} == request


@pytest.mark.parametrize('make', [endless, lambda: io.BytesIO(100 * CHUNK), lambda: 100 * CHUNK])
@pytest.mark.parametrize('length', ['Content-Length: 2\r\n', ''])
@pytest.mark.parametrize('end', ['closes', 'resets'])
async def test_an_early_response_is_returned(raw_server, make, length, end):
    """Though the peer closes or resets the connection with the rest of the body unread."""

    async def handler(line):
        await line.reader.readuntil(b'\r\n\r\n')
        await line.send(f'HTTP/1.1 413 Too Large\r\n{length}\r\nno'.encode())
        if end == 'closes':
            line.writer.write_eof()
            await line.reader.read()

    async with raw_server(handler) as peer:
        for _ in range(10):
            response = await ask(peer, body=make())
            assert (413, 'no') == (response.status, response.body)


@pytest.mark.parametrize('forwarded', [False, True])
async def test_a_response_is_read_though_a_write_fails_first(forwarded):
    """The peer responds and resets the connection in one turn of the event loop."""
    listening, asked, gone = socket.create_server(('127.0.0.1', 0)), [], threading.Event()

    def serve():
        connection, _ = listening.accept()
        with connection:
            asked.append(connection.recv(5))
            connection.sendall(CLOSED.encode())
        gone.set()

    def chunks():
        yield CHUNK
        assert gone.wait(30)
        yield CHUNK

    serving = asyncio.create_task(asyncio.to_thread(serve))
    with listening:
        url = f'http://127.0.0.1:{listening.getsockname()[1]}/'
        if forwarded:
            response = await http.forward({'url': '/', 'body': chunks()}, url)
            body = (await response['body'].read()).decode()
        else:
            response = await http.request(url=url, body=chunks())
            body = response.body
        await serving
    assert (413, 'no', [b'GET /']) == (response['status'], body, asked)


async def test_a_body_is_sent_over_tls(certificates):
    """In chunks."""
    async with http.listen('localhost', 0, echo, into='stream', tls=certificates.server) as server:
        response = await ask(
            server, body=iter(['a', 'b']), tls={'ca': certificates.ca}, into='json'
        )
    assert 'ab' == response.body[0]


async def test_an_early_response_over_tls_is_returned(raw_server, certificates):
    """If the peer keeps reading until the client has read it."""

    async def handler(line):
        await line.reader.readuntil(b'\r\n\r\n')
        await line.send(CLOSED.encode())
        await line.reader.read()

    async with raw_server(handler, tls=certificates.server) as peer:
        response = await ask(peer, body=endless(), tls={'ca': certificates.ca})
        assert 413 == response.status


async def test_closing_an_early_stream_ends_the_request_body(raw_server):
    """The iterator is closed."""

    async def handler(line):
        await line.reader.readuntil(b'\r\n\r\n')
        await line.send(b'HTTP/1.1 200 OK\r\nContent-Length: 9\r\n\r\n')
        await line.reader.read()

    body = Chunks(b'a', then='wait')
    async with raw_server(handler) as peer:
        response = await ask(peer, body=body, into='stream')
        await response.body.close()
    assert 1 == body.closed


async def test_a_reset_without_a_response_is_a_protocol_error(raw_server):
    """It is not raised as a BrokenPipeError."""

    async def handler(line):
        await line.reader.readuntil(b'\r\n\r\n')
        line.reset()

    async with raw_server(handler) as peer:
        with pytest.raises(http.ProtocolError):
            await ask(peer, body=endless())


async def test_sending_a_body_has_back_pressure(raw_server):
    """No more is read from the iterator than the buffers take."""
    taken = 0

    def counted():
        nonlocal taken
        for _ in range(1000):
            taken += 1
            yield CHUNK

    async def handler(line):
        await line.reader.readuntil(b'\r\n\r\n')
        for _ in range(1000):  # turns of the loop, in which the client reads what it may
            await asyncio.sleep(0)
        assert taken < 500
        end = b''
        while not end.endswith(b'\r\n0\r\n\r\n'):
            end = (end + await line.reader.read(2**20))[-7:]
        await line.send(b'HTTP/1.1 200 OK\r\nContent-Length: 2\r\n\r\nhi')

    async with raw_server(handler) as peer:
        assert 'hi' == (await ask(peer, body=counted())).body
    assert 1000 == taken


async def test_a_redirect_sends_a_body_again_if_it_can(tmp_path):
    """Other bodies are refused, with the redirect in the error."""

    async def handler(request):
        if request.path == '/':
            return {'status': 307, 'headers': {'Location': '/next'}}
        return await echo(request)

    (tmp_path / 'a').write_bytes(b'abc')
    async with http.listen('127.0.0.1', 0, handler, into='stream') as server:
        assert 'abc' == (await ask(server, body=tmp_path / 'a', into='json')).body[0]
        assert 'abc' == (await ask(server, body=io.BytesIO(b'abc'), into='json')).body[0]
        with pytest.raises(http.TableError) as caught:
            await ask(server, body=Chunks(b'abc'))
        assert '/next' == caught.value.response.headers['Location']
        response = await ask(server, body=Chunks(b'abc'), redirects=0)
        assert 307 == response.status


@pytest.mark.parametrize(('body', 'asked'), [((b'a',), 3), (None, 2)])
async def test_a_retry_sends_a_body_again_if_it_can(raw_server, body, asked):
    """Other bodies are an error, though the method is idempotent."""
    heads = []

    async def handler(line):
        for turn in range(2):
            heads.append(await line.reader.readuntil(b'\r\n\r\n'))
            await line.reader.readuntil(b'0\r\n\r\n')
            if turn and len(heads) == 2:
                return
            await line.send(b'HTTP/1.1 200 OK\r\nContent-Length: 2\r\n\r\nhi')

    async with raw_server(handler) as peer, http.Client(base_url=peer.url) as client:
        await client.request(method='PUT', body=iter([b'a']))
        if body:
            assert 'hi' == (await client.request(method='PUT', body=body)).body
        else:
            with pytest.raises(http.ProtocolError):
                await client.request(method='PUT', body=iter([b'a']))
    assert asked == len(heads)
