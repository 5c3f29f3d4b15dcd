"""What a body is drawn from is ready for each try, and closed after it."""

import asyncio
import gzip
import io
import os
import pickle
import socket
import threading

import aiohttp
import pytest

import aioluahttp as http
from aioluahttp.errors import TableError
from aioluahttp.tables.checks import is_one_shot
from aioluahttp.tables.models import Response
from aioluahttp.transports.request_body import (
    PIECE,
    BodyDelivery,
    BodySource,
    BytesSource,
    check_again,
    to_source,
)
from aioluahttp.transports.session import PooledRequest


class Again:
    """Gives a new iterator each time."""

    def __init__(self, *items):
        self.items = items

    def __iter__(self):
        return iter(self.items)


class AgainLater(Again):
    """Likewise, an async one."""

    async def __aiter__(self):
        for item in self.items:
            yield item


class Noted:
    """An iterator that notes how often it was closed."""

    closed = 0

    def __iter__(self):
        return self

    def __next__(self):
        raise StopIteration

    def close(self):
        self.closed += 1


async def letters():
    """Give a letter."""
    yield b'a'


async def drawn(supply):
    """Open a supply, and read all that it gives."""
    await supply.open()
    try:
        return b''.join([chunk async for chunk in supply.chunks(bytes)])
    finally:
        await supply.end()


def pipe(data):
    """Make a file that cannot seek, and read so much from it."""
    reading, writing = os.pipe()
    os.write(writing, data)
    os.close(writing)
    return os.fdopen(reading, 'rb')


@pytest.mark.parametrize('body', [Again(b'a', b'b'), AgainLater(b'a', b'b'), (b'a', b'b')])
async def test_an_iterable_is_drawn_from_as_often_as_is_wanted(body):
    """Each time it gives a new iterator."""
    supply = BodySource(body)
    assert [b'ab', b'ab'] == [await drawn(supply), await drawn(supply)]
    assert (False, None, None) == (supply.is_spent, supply.length, supply.kind)


@pytest.mark.parametrize('make', [letters, lambda: iter([b'a']), lambda: (one for one in [b'a'])])
async def test_an_iterator_is_drawn_from_once(make):
    """It is spent from the beginning on."""
    supply = BodySource(make())
    assert (True, False) == (is_one_shot(supply.body), supply.is_spent)
    assert (b'a', True) == (await drawn(supply), supply.is_spent)


@pytest.mark.parametrize(
    ('name', 'kind'),
    [
        ('a.txt', 'text/plain'),
        ('a.json', 'application/json'),
        ('a.unheard', None),
        ('a.tar.gz', 'application/gzip'),
        ('a.txt.Z', None),
    ],
)
async def test_a_path_is_read_each_time(tmp_path, name, kind):
    """Its length is known, and its kind by its name. A compressed file is that, and no text."""
    path = tmp_path / name
    path.write_bytes(bytes(PIECE) + b'end')
    supply = BodySource(path)
    assert 2 * [bytes(PIECE) + b'end'] == [await drawn(supply), await drawn(supply)]
    assert (PIECE + 3, kind, False) == (supply.length, supply.kind, supply.is_spent)


@pytest.mark.parametrize(
    ('make', 'message'),
    [
        (lambda path: None, 'a file that can be read (No such file or directory)'),
        (lambda path: path.mkdir(), 'it must be the path of a file'),
        (os.mkfifo, 'it must be the path of a file'),
    ],
    ids=['none', 'folder', 'pipe'],
)
async def test_a_path_of_no_file_is_refused(tmp_path, make, message):
    """Before anything is sent, and without waiting for who writes to a pipe."""
    make(tmp_path / 'x')
    supply = BodySource(tmp_path / 'x')
    with pytest.raises(TableError) as caught:
        await supply.open()
    assert message in str(caught.value)
    await supply.end()


async def test_a_file_is_read_from_where_it_stands(tmp_path):
    """Each time, and is left open."""
    (tmp_path / 'a.txt').write_bytes(b'0123456789')
    with (tmp_path / 'a.txt').open('rb') as file:
        file.seek(4)
        supply = BodySource(file)
        assert [b'456789', b'456789'] == [await drawn(supply), await drawn(supply)]
        await supply.close()
        assert (6, 'text/plain', False) == (supply.length, supply.kind, file.closed)


async def test_bytes_in_memory_are_a_file_without_a_name():
    """Their length is known."""
    file = io.BytesIO(b'0123')
    file.read(1)
    supply = BodySource(file)
    assert (b'123', 3, None) == (await drawn(supply), supply.length, supply.kind)


async def test_the_length_of_what_is_unpacked_is_not_that_of_its_file(tmp_path):
    """A ``GzipFile`` has the descriptor of the packed one."""
    with gzip.open(tmp_path / 'a.gz', 'wb') as packed:
        packed.write(bytes(5000))
    with gzip.open(tmp_path / 'a.gz') as file:
        supply = BodySource(file)
        assert (bytes(5000), None) == (await drawn(supply), supply.length)


async def test_what_is_behind_a_descriptor_may_be_no_file():
    """A device can seek, and has no length."""
    with open('/dev/zero', 'rb') as file:  # noqa: ASYNC230
        supply = BodySource(file)
        await supply.open()
        assert (None, False) == (supply.length, is_one_shot(file))


async def test_a_file_that_cannot_seek_is_read_once():
    """Its length is not known, and it is left open."""
    with pipe(b'abc') as file:
        supply = BodySource(file)
        assert (b'abc', None, True) == (await drawn(supply), supply.length, supply.is_spent)
        await supply.close()
        assert not file.closed


async def test_of_a_file_that_grows_the_announced_length_is_read(tmp_path):
    """What comes behind that is left."""
    path = tmp_path / 'a'
    path.write_bytes(b'abc')
    supply = BodySource(path)
    await supply.open()
    path.write_bytes(b'abcdef')
    assert [b'abc'] == [chunk async for chunk in supply.chunks(bytes)]
    await supply.end()


async def test_a_file_gives_bytes(tmp_path):
    """What gives text, though it does not look so, is refused."""

    class Text:
        def read(self, size):
            return 'text'

    with pytest.raises(TableError, match=r"a file that gives bytes, as one opened with 'rb' does"):
        await drawn(BodySource(Text()))


async def test_an_iterator_that_was_not_begun_is_closed():
    """One that was begun is closed where it was."""
    body = Noted()
    supply = BodySource(body)
    await supply.close()
    assert 1 == body.closed
    await (chunks := supply.chunks(bytes)).aclose()
    assert chunks is not None
    closed = body.closed
    await supply.close()
    assert closed == body.closed


async def test_a_cancelled_read_is_waited_for():
    """Nobody else has the file in hand then."""
    entered, go_on = asyncio.Event(), threading.Event()
    loop = asyncio.get_running_loop()

    class Slow(io.BytesIO):
        def read(self, size):
            loop.call_soon_threadsafe(entered.set)
            assert go_on.wait(30)
            return super().read(size)

    supply = BodySource(Slow(b'abc'))
    reading = asyncio.create_task(drawn(supply))
    await entered.wait()
    reading.cancel()
    await asyncio.sleep(0)
    assert not reading.done()
    go_on.set()
    with pytest.raises(asyncio.CancelledError):
        await reading


async def test_what_is_whole_can_be_drawn_in_pieces():
    """As often as it takes."""
    supply = BytesSource('text', bytes(PIECE + 1))
    for _ in range(2):
        await supply.open()
        chunks = supply.chunks(bytes)
        assert [PIECE, 1] == [len(chunk) async for chunk in chunks]
    assert ('text', PIECE + 1, False) == (supply.body, supply.length, supply.is_spent)


@pytest.mark.parametrize('body', [None, '', 'a', b'a'])
def test_what_is_whole_is_drawn_from_nothing(body):
    """It is sent as it stands."""
    assert to_source(body) is None


async def test_a_body_is_sent_twice_only_where_it_can_be():
    """The error has the redirect that asks for it."""
    redirect = Response({'status': 307})
    spent, fresh = BodySource(letters()), BodySource(iter([b'a']))
    check_again(fresh, redirect)
    check_again('text', redirect)
    await drawn(spent)
    with pytest.raises(TableError, match='as 307 asks for') as caught:
        check_again(spent, redirect)
    assert redirect is caught.value.response


CHUNK = bytes(64 * 1024)
LARGE = bytes(range(256)) * 8192  # 2 MiB: more than the buffers of a connection take
CLOSED = 'HTTP/1.1 413 Too Large\r\nContent-Length: 2\r\nConnection: close\r\n\r\nno'


async def echo(request):
    """Answer with what came, and how."""
    body = await request.body.read()
    how = [request.headers.get(name) for name in ('Content-Length', 'Transfer-Encoding')]
    kind = request.headers.get('Content-Type')
    return {'status': 200, 'json': [body.decode(), *how, kind]}


class Chunks:
    """An async iterator that gives chunks, and then fails, ends or waits; it notes its end."""

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
    """Give chunks as long as they are wanted."""
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
async def test_a_body_goes_out_as_it_comes(fields, expected):
    """Chunked, unless its length is known or given."""
    async with http.listen('127.0.0.1', 0, echo, into='stream') as server:
        assert expected == (await ask(server, **fields, into='json')).body


async def test_a_path_is_sent_as_the_file_that_it_is(tmp_path):
    """With its length, and the type that its name tells."""
    (tmp_path / 'a.json').write_text('[1]')
    async with http.listen('127.0.0.1', 0, echo, into='stream') as server:
        response = await ask(server, body=tmp_path / 'a.json', into='json')
    assert ['[1]', '3', None, 'application/json'] == response.body


@pytest.mark.parametrize('of', [lambda: LARGE, lambda: io.BytesIO(LARGE)])
async def test_progress_is_told(of):
    """Of what is sent piece by piece: how much, and of how much."""
    told = []
    async with http.listen('127.0.0.1', 0, echo, into='stream', max_body=None) as server:
        await ask(server, body=of(), on_progress=lambda *far: told.append(far), into='bytes')
    sent = told[: told.index((len(LARGE), len(LARGE))) + 1]  # what follows is the answer's
    assert sorted(sent) == sent


async def test_progress_of_what_has_no_end_in_sight_has_no_total():
    """It is None."""
    told = []
    async with http.listen('127.0.0.1', 0, echo, into='stream') as server:
        await ask(server, body=iter(['a', 'bc']), on_progress=lambda *far: told.append(far))
    assert [(1, None), (3, None)] == told[:2]  # what follows is the answer's


async def test_who_reads_while_it_is_sent_is_answered_while_it_is_sent():
    """A stream comes back as the body goes out."""
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
async def test_an_exception_of_the_iterator_is_that_of_the_request(raw_server, error, chunks):
    """The very one, as it was; the peer sees that the transfer broke off."""
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
async def test_a_mistake_in_the_body_is_an_error(raw_server, fields, message):
    """What is too much is not sent, and what is too little is not taken for all of it."""
    came = []

    async def handler(line):
        came.append(await line.reader.read())

    async with raw_server(handler) as peer:
        with pytest.raises(http.TableError, match=message):
            await ask(peer, **fields)
    assert not [one for one in came if one.partition(b'\r\n\r\n')[2] not in (b'', b'a')]


async def test_a_length_that_is_not_that_of_the_file_is_refused(tmp_path):
    """Before anything is sent, and with the file closed."""
    (tmp_path / 'a').write_bytes(b'abc')
    with pytest.raises(http.TableError, match=r'it must be 3, as the file has'):
        await http.request(
            url='http://localhost:1', body=tmp_path / 'a', headers={'Content-Length': 2}
        )


async def test_a_file_that_became_shorter_is_not_taken_for_whole(tmp_path, raw_server):
    """The transfer breaks off."""
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
async def test_a_body_that_breaks_off_breaks_its_answer_off(raw_server, into, error):
    """Also one that ends with its connection, and so would look whole."""
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
async def test_what_on_progress_raises_is_raised(into, body, error):
    """As it is, also for a body that is there whole; the connection is closed."""

    def fails(done, total):
        raise error

    async with http.listen('127.0.0.1', 0, echo, into='stream', max_body=None) as server:
        with pytest.raises(type(error)) as caught:
            await ask(server, body=body, into=into, on_progress=fails)
    assert error is caught.value


async def test_a_broken_body_is_known_before_the_head_is_read(raw_server):
    """As the head came first, but nobody had looked."""
    content = aiohttp.StreamReader(None, 1024, loop=asyncio.get_running_loop())
    supply = BodySource(iter([]))
    supply.error = ValueError('mine')
    BodyDelivery(supply, None, bytes).answered(content, flows=False)
    assert content.exception() is not None


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


async def test_a_peer_that_reads_nothing_meets_the_deadline(raw_server):
    """That of the whole exchange."""
    left = asyncio.Event()
    body = endless()
    async with raw_server(lambda line: left.wait()) as peer:
        with pytest.raises(http.TimedOut):
            await ask(peer, body=body, timeout=0.2)
        assert body.gi_frame is None
        left.set()


async def test_the_deadline_of_a_read_begins_when_all_is_sent(raw_server):
    """However long that takes, and though the peer has said something before."""
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
    """As does one that finds no connection."""
    refused, lost = Chunks(b'a'), Chunks(b'a')
    with pytest.raises(http.TableError):
        await http.request(url='http://localhost:1', timuot=5, body=refused)
    with pytest.raises(http.ConnectError):
        await http.request(url='http://localhost:1', body=lost)
    assert (1, 1) == (refused.closed, lost.closed)


async def test_an_error_of_a_request_with_an_iterator_pickles():
    """Without what cannot travel."""
    with pytest.raises(http.ConnectError) as caught:
        await http.request(url='http://localhost:1', body=endless(), on_progress=lambda *a: 0)
    request = pickle.loads(pickle.dumps(caught.value)).request
    assert {'url': 'http://localhost:1'} == request


@pytest.mark.parametrize('make', [endless, lambda: io.BytesIO(100 * CHUNK), lambda: 100 * CHUNK])
@pytest.mark.parametrize('length', ['Content-Length: 2\r\n', ''])
@pytest.mark.parametrize('end', ['closes', 'resets'])
async def test_an_early_answer_is_given(raw_server, make, length, end):
    """Whatever becomes of the connection on which it came, with the rest of the body unread."""

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


async def test_an_answer_is_read_though_a_write_fails_first():
    """The peer answers and resets the connection in one turn of the loop."""
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
        response = await http.request(
            url=f'http://127.0.0.1:{listening.getsockname()[1]}/', body=chunks()
        )
        await serving
    assert (413, 'no', [b'GET /']) == (response.status, response.body, asked)


async def test_a_body_is_sent_over_tls(certificates):
    """As it comes."""
    async with http.listen('localhost', 0, echo, into='stream', tls=certificates.server) as server:
        response = await ask(
            server, body=iter(['a', 'b']), tls={'ca': certificates.ca}, into='json'
        )
    assert 'ab' == response.body[0]


async def test_an_early_answer_over_tls_is_given(raw_server, certificates):
    """Where the peer reads on until it is read."""

    async def handler(line):
        await line.reader.readuntil(b'\r\n\r\n')
        await line.send(CLOSED.encode())
        await line.reader.read()

    async with raw_server(handler, tls=certificates.server) as peer:
        response = await ask(peer, body=endless(), tls={'ca': certificates.ca})
        assert 413 == response.status


async def test_an_early_stream_that_is_closed_ends_the_body(raw_server):
    """And with it the iterator."""

    async def handler(line):
        await line.reader.readuntil(b'\r\n\r\n')
        await line.send(b'HTTP/1.1 200 OK\r\nContent-Length: 9\r\n\r\n')
        await line.reader.read()

    body = Chunks(b'a', then='wait')
    async with raw_server(handler) as peer:
        response = await ask(peer, body=body, into='stream')
        await response.body.close()
    assert 1 == body.closed


async def test_a_reset_without_an_answer_is_a_protocol_error(raw_server):
    """Not a broken pipe."""

    async def handler(line):
        await line.reader.readuntil(b'\r\n\r\n')
        line.reset()

    async with raw_server(handler) as peer:
        with pytest.raises(http.ProtocolError):
            await ask(peer, body=endless())


async def test_a_slow_peer_is_waited_for(raw_server):
    """No more is held for it than the buffers take."""
    drawn = 0

    def counted():
        nonlocal drawn
        for _ in range(1000):
            drawn += 1
            yield CHUNK

    async def handler(line):
        await line.reader.readuntil(b'\r\n\r\n')
        for _ in range(1000):  # turns of the loop, in which the client draws what it may
            await asyncio.sleep(0)
        assert drawn < 500
        end = b''
        while not end.endswith(b'\r\n0\r\n\r\n'):
            end = (end + await line.reader.read(2**20))[-7:]
        await line.send(b'HTTP/1.1 200 OK\r\nContent-Length: 2\r\n\r\nhi')

    async with raw_server(handler) as peer:
        assert 'hi' == (await ask(peer, body=counted())).body
    assert 1000 == drawn


async def test_a_redirect_sends_what_can_be_sent_again(tmp_path):
    """And refuses the rest, with the redirect at hand."""

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
async def test_a_lost_connection_sends_again_what_can_be(raw_server, body, asked):
    """What cannot is an error, though the method is idempotent."""
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


def test_aiohttp_writes_bodies_as_it_did(parameters):
    """The method that the library overrides takes what it took."""
    assert ['self', 'writer', 'conn', 'content_length'] == parameters(
        aiohttp.ClientRequest.write_bytes
    )
    assert PooledRequest.write_bytes is not aiohttp.ClientRequest.write_bytes


def test_a_delivery_is_no_text():
    """aiohttp is told so, and that it has nothing to close."""
    delivery = BodyDelivery(BodySource(iter([])), 5, bytes)
    assert (5, True) == (delivery.size, delivery.autoclose)
    with pytest.raises(TypeError):
        delivery.decode()
