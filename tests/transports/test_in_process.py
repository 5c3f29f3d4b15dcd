"""Requests given to a handler of this process, by the rules of the wire."""

import asyncio
import contextlib
import gzip
import json
import logging

import pytest

import aioluahttp as http
from aioluahttp.errors import Refused
from aioluahttp.headers import Headers
from aioluahttp.transports.in_process import ResponseBody, SentBody
from aioluahttp.transports.request_body import BodyDelivery, BodySource

GZIPPED = gzip.compress(b'hello', mtime=0)
# Which are for a connection, or left out by the files of aiohttp.
ENGINE = ('date', 'server', 'transfer-encoding', 'accept-ranges')


@contextlib.asynccontextmanager
async def both(handler, **options):
    """Give two clients of a handler: over the wire, and in process."""
    async with http.listen('127.0.0.1', 0, handler) as server:
        url = {'base_url': server.url}
        async with (
            http.Client(**url, **options) as far,
            http.Client(**url, via=handler, **options) as near,
        ):
            yield far, near


def taking(into='text', max_body=None, answer=None):
    """Make a handler that takes bodies in a way of its own, and keeps the tables it is given."""

    async def handler(request):
        table = dict(request)
        if into in ('stream', 'raw') and 'body' in request:
            table['body'] = await request.body.read()
        headers = [(name.lower(), value) for name, value in request.headers.items()]
        handler.seen.append(table | {'headers': sorted(headers)})
        return answer or {'status': 204}

    handler.into, handler.seen = into, []
    if max_body:
        handler.max_body = max_body
    return handler


async def told(response):
    """Give all that a response says, but for what an engine does."""
    body = response.body
    if isinstance(body, http.Response | str | bytes | int | list | dict):
        pass
    elif hasattr(body, 'read'):
        async with body:
            body = await body.read()
    elif body is not None:
        body = [event async for event in body]
    headers = [(name.lower(), one) for name, one in response.headers.items()]
    kept = sorted(pair for pair in headers if pair[0] not in ENGINE)
    history = [await told(one) for one in response.history]
    return dict(response) | {'headers': kept, 'body': body, 'history': history}


async def same(clients, table):
    """Check that both answer the same, and give that."""
    far, near = [await told(await client.request(table())) for client in clients]
    assert far == near
    return near


@pytest.fixture(autouse=True)
def nothing_logged(request, caplog):
    """Nothing is the mistake of a handler, unless the test says so by asking for the log."""
    yield
    if 'mistakes' not in request.fixturenames:
        assert [] == [one for one in caplog.records if one.levelno >= logging.ERROR]


@pytest.fixture
def mistakes(caplog):
    """Give the names of what handlers have raised, as far as it was logged."""
    return lambda: [one.exc_info[0].__name__ for one in caplog.records if one.exc_info]


# The table of a request


@pytest.mark.parametrize(
    'fields',
    [
        {},
        {'method': 'post'},
        {'method': 'DELETE'},
        {'method': 'HEAD'},
        {'method': 'OPTIONS', 'url': '*'},
        {'url': '/%41%7e//x?'},
        {'path': '/é', 'query': {'a': ['b c', '&']}},
        {'query': '?'},
        {'body': ''},
        {'body': 'é'},
        {'method': 'PUT', 'body': bytes(range(256))},
        {'method': 'POST', 'body': 'x' * 2_000_000},
        {'method': 'POST', 'body': ['a', b'\xff']},
        {'method': 'POST', 'body': ['a', b'b'], 'headers': {'Content-Length': 2}},
        {'method': 'POST', 'json': {'a': None}},
        {'method': 'POST', 'form': {'a': ['b', 'c d']}},
        {'auth': ('me', 'ü')},
        {'bearer': 't'},
        {'headers': {'X': ['b', 'a'], 'x': 'é', 'Cookie': 'z=1; a=2', 'Host': 'other:99'}},
        {'headers': {'Connection': 'x', 'TE': 'y', 'Content-Length': 9, 'Expect': '100-continue'}},
        {'headers': {'User-Agent': '', 'accept': 'a/b', 'Accept-Encoding': 'br'}},
        {'method': 'POST', 'body': GZIPPED, 'headers': {'Content-Encoding': 'gzip'}},
        {'method': 'POST', 'body': '[1]', 'headers': {'Content-Type': 'text/x; charset=koi8-r'}},
    ],
    ids=str,
)
@pytest.mark.parametrize('into', ['text', 'bytes', 'stream', 'raw'])
async def test_a_handler_is_given_what_it_is_given_on_the_wire(fields, into):
    """Head and body, whichever way it takes that."""
    if isinstance(body := fields.get('body'), list):  # which is JSON to be
        fields = fields | {'body': iter(body)}
    handler = taking(into)
    async with both(handler, cookies={'b': '1', 'a': '3'}) as clients:
        for client in clients:
            if isinstance(body, list):
                fields['body'] = iter(body)
            await client.request(fields)
    far, near = handler.seen
    assert far == near


async def test_a_handler_is_given_json_and_parts():
    """As it asks, in a function of the request too."""
    handler = taking(lambda request: 'json')
    async with both(handler) as clients:
        for client in clients:
            await client.request(method='POST', json=[1, None])
            assert 400 == (await client.request(method='POST', body='{')).status
    assert [[1, None]] * 2 == [table['body'] for table in handler.seen]

    async def form(request):
        fields = await request.form()
        return {'status': 200, 'json': [fields['a'], fields['b']['filename']]}

    parts = [{'name': 'a', 'body': 'x'}, {'name': 'b', 'filename': 'f', 'body': b'\xff'}]
    async with both(form) as clients:
        table = {'method': 'POST', 'multipart': parts, 'into': 'json'}
        assert ['x', 'f'] == (await same(clients, lambda: table))['body']


@pytest.mark.parametrize('into', ['text', 'stream'])
@pytest.mark.parametrize(
    ('fields', 'status'),
    [
        ({'body': b'x' * 9}, 204),
        ({'body': b'x' * 10}, 413),
        ({'body': ['x' * 9, 'x']}, 413),
        ({'body': gzip.compress(b'x' * 9, mtime=0), 'headers': {'Content-Encoding': 'gzip'}}, 204),
        ({'body': gzip.compress(b'x' * 10, mtime=0), 'headers': {'Content-Encoding': 'gzip'}}, 413),
        ({'body': GZIPPED[:-1], 'headers': {'Content-Encoding': 'gzip'}}, 400),
        ({'headers': {'Host': 'a b'}}, 400),
    ],
    ids=str,
)
async def test_a_request_is_refused_as_on_the_wire(fields, status, into):
    """With its status; it is no mistake of the handler, and what gave the body is closed."""
    closed = []

    class Chunks:
        def __init__(self, items):
            self.items = iter(items)

        def __iter__(self):
            return self

        def __next__(self):
            return next(self.items)

        def close(self):
            closed.append(True)

    flows = isinstance(fields.get('body'), list)
    async with both(taking(into, max_body=9)) as clients:

        def table():
            body = {'body': Chunks(fields['body'])} if flows else {}
            return {'method': 'POST', **fields, **body}

        assert status == (await same(clients, table))['status']
    assert [True] * 2 * flows == closed


async def test_what_is_said_of_connections_counts_for_nothing(tmp_path):
    """Nor is anything looked for, so a table for production serves in a test."""
    handler = taking()
    async with http.Client(via=handler, proxy='http://me:s3cret@127.0.0.1:1') as client:
        await client.request(url='https://h:99/a', tls={'ca': str(tmp_path / 'none')})
        await client.request(url='https://h', unix='/none')
    (first, second) = handler.seen
    assert ('https', 'h', 99, 443) == (
        *(first[k] for k in ('scheme', 'host', 'port')),
        second['port'],
    )
    assert 's3cret' not in str(handler.seen)


# The table of an answer


def ticks():
    """Give two events."""
    return iter([{'event': 'tick', 'data': 'a\nb'}, {'id': '1'}])


@pytest.mark.parametrize('into', ['text', 'bytes', 'stream', 'raw', 'events', 'json'])
@pytest.mark.parametrize(
    'answer',
    [
        lambda: {'status': 200},
        lambda: {'status': 200, 'body': 'é', 'reason': 'Fine'},
        lambda: {'status': 404, 'body': b'\xff'},
        lambda: {'status': 200, 'json': [1]},
        lambda: {'status': 200, 'headers': {'X': ['b', 'a'], 'Connection': 'close', 'TE': 'x'}},
        lambda: {'status': 200, 'body': iter(['', 'a', b'b', ''])},
        lambda: {'status': 200, 'body': iter(()), 'headers': {'Content-Type': 'a/b'}},
        lambda: {'status': 200, 'body': iter(['ab', 'c']), 'headers': {'Content-Length': 3}},
        lambda: {'status': 200, 'events': ticks()},
        lambda: {'status': 200, 'body': GZIPPED, 'headers': {'Content-Encoding': 'gzip'}},
        lambda: {'status': 200, 'body': iter([GZIPPED]), 'headers': {'Content-Encoding': 'gzip'}},
        lambda: {'status': 200, 'headers': {'Content-Encoding': 'gzip'}},
        lambda: {'status': 204, 'body': 'a'},
        lambda: {'status': 304, 'headers': {'ETag': '"x"', 'Content-Length': 9}},
        lambda: {'status': 599, 'body': 'a'},
        lambda: {'status': 201, 'headers': {'Content-Length': 7}, 'body': 'a'},
    ],
)
@pytest.mark.parametrize('method', ['GET', 'HEAD'])
async def test_an_answer_is_what_it_is_on_the_wire(answer, into, method):
    """Head and body, whatever that is and is to be."""
    results = []
    async with both(lambda request: answer()) as clients:
        for client in clients:
            try:
                results.append(await told(await client.request(method=method, into=into)))
            except http.ProtocolError as error:
                assert into in ('events', 'json')
                results.append(str(error))
    far, near = results
    assert far == near


@pytest.mark.parametrize('asked', [{}, {'Range': 'bytes=1-2'}, {'If-None-Match': '*'}])
@pytest.mark.parametrize('into', ['bytes', 'stream'])
async def test_a_file_is_answered_as_it_is_asked_for(tmp_path, asked, into):
    """From a folder, too."""
    (tmp_path / 'a.txt').write_bytes(b'0123')

    def handler(request):
        return {'status': 200, 'body': tmp_path / request.path[1:]}

    for one in (http.files(tmp_path), handler):
        async with both(one) as clients:
            await same(clients, lambda: {'url': '/a.txt', 'headers': asked, 'into': into})
            found = await same(clients, lambda: {'url': '/none', 'into': into})
            assert 404 == found['status']


@pytest.mark.parametrize(
    'body',
    [lambda: b'x' * 10, lambda: iter(['x' * 9, 'x']), lambda: gzip.compress(b'x' * 10, mtime=0)],
)
@pytest.mark.parametrize('into', ['bytes', 'stream'])
async def test_an_answer_may_pass_the_limit(body, into):
    """It counts what is decoded."""

    def handler(request):
        coding = (
            {'Content-Encoding': 'gzip'}
            if isinstance(data := body(), bytes) and data[:1] != b'x'
            else {}
        )
        return {'status': 200, 'body': data, 'headers': coding}

    async with both(handler, into=into) as clients:
        for client in clients:
            with pytest.raises(http.BodyTooLarge):
                await told(await client.request(max_body=9))
            assert b'x' * 10 == (await told(await client.request(max_body=10)))['body']


async def test_check_holds_in_process():
    """The error has the whole answer."""
    async with http.Client(via=lambda request: {'status': 404, 'body': 'no'}) as client:
        with pytest.raises(http.StatusError) as caught:
            await client.request(url='http://h/a', check=True)
        assert 'no' == caught.value.response.body
        assert 404 == (await client.request(url='http://h', check=[404])).status


async def test_an_answer_may_be_written_to_a_file(tmp_path, mistakes):
    """And what is there already of one that broke off is not asked for again."""
    data, asked, target = bytes(range(256)) * 400, [], tmp_path / 'a'
    (tmp_path / 'served').mkdir()
    (tmp_path / 'served/a').write_bytes(data)

    def cut():
        yield data[:5000]
        raise ValueError

    async def handler(request):
        asked.append(request.headers.get('Range'))
        if asked[1:]:
            return {'status': 206, 'body': data[5000:], 'headers': {'Content-Range': RANGE, **TAG}}
        return {'status': 200, 'body': cut(), 'headers': {'Content-Length': len(data), **TAG}}

    async with http.Client(via=handler, into=target, resume=True) as client:
        with pytest.raises(http.ProtocolError):
            await client.request(url='http://h/a')
        assert not target.exists()
        response = await client.request(url='http://h/a')
    assert (target, data) == (response.body, target.read_bytes())
    assert ([None, 'bytes=5000-'], ['ValueError']) == (asked, mistakes())
    async with http.Client(via=http.files(tmp_path / 'served'), into=target) as client:
        assert 404 == (await client.request(url='http://h/b')).status
        assert data == (await client.request(url='http://h/a')).body.read_bytes()


RANGE = f'bytes 5000-{256 * 400 - 1}/{256 * 400}'
TAG = {'ETag': '"x"'}


async def test_progress_is_told_both_ways():
    """Each part as it is taken, and how many there are where that is known."""
    seen = []

    def handler(request):
        return {'status': 200, 'body': iter(['ab', 'c'])}

    async with http.Client(via=handler, on_progress=lambda *one: seen.append(one)) as client:
        table = {'url': 'http://h', 'method': 'POST', 'headers': {'Content-Length': 3}}
        assert 'abc' == (await client.request(table, body=iter([b'x', b'yz']))).body
    assert [(1, 3), (3, 3), (2, None), (3, None)] == seen


async def test_progress_that_fails_ends_an_answer():
    """The iterator of the handler is closed with it."""
    source = Forever()
    async with http.Client(via=lambda request: {'status': 200, 'body': source}) as client:
        response = await client.request(url='http://h', into='stream', on_progress=lambda *a: 1 / 0)
        with pytest.raises(ZeroDivisionError):
            await anext(response.body)
    assert 1 == source.closed


async def test_what_on_progress_raises_of_a_large_body_is_raised():
    """As it is, though that is what a connection raises, too."""
    error = ConnectionResetError('mine')

    def fails(done, total):
        raise error

    async with both(taking('stream')) as clients:
        for client in clients:
            with pytest.raises(ConnectionResetError) as caught:
                await client.request(method='PUT', body=bytes(2_000_000), on_progress=fails)
            assert error is caught.value


# Redirects and cookies


async def test_a_redirect_is_followed_with_its_body_and_cookies():
    """To the same handler, whatever its host; credentials stay with their origin."""
    seen = []

    def handler(request):
        cookies = request.headers.get('Cookie')
        seen.append((request.method, request.host, request.get('body'), cookies))
        location, status = {'/a': ('/b', 307), '/b': ('http://other/c', 302)}.get(
            request.path, (None, 200)
        )
        fields = {'Location': location, 'Set-Cookie': f'at={request.path[1:]}; Path=/'}
        return {'status': status, 'headers': fields, 'body': 'page'}

    async with http.Client(via=handler, base_url='http://h', cookies={'x': '1'}) as client:
        response = await client.request(url='/a', method='POST', body='body', bearer='t')
        assert ['http://h/a', 'http://h/b'] == [one.url for one in response.history]
        assert ('http://other/c', 'page') == (response.url, response.body)
        await client.request()
    assert [
        ('POST', 'h', 'body', 'x=1'),
        ('POST', 'h', 'body', 'at=a; x=1'),
        ('GET', 'other', None, None),
        ('GET', 'h', None, 'at=b; x=1'),
    ] == seen


async def test_a_body_that_can_be_sent_but_once_is_not_sent_again():
    """What was sent is closed."""

    async def body():
        try:
            yield b'a'
        finally:
            closed.append(True)

    closed = []
    handler = taking(answer={'status': 307, 'headers': {'Location': '/b'}})
    async with http.Client(via=handler, base_url='http://h') as client:
        with pytest.raises(http.TableError, match='as 307 asks for'):
            await client.request(method='POST', body=body())
        assert 11 == 1 + len((await client.request(method='POST', body='a')).history)
    assert ([True], 12) == (closed, len(handler.seen))


# Mistakes, and other ends


class Forever:
    """Gives a part and no more; counts how often it is closed."""

    def __init__(self):
        self.begun, self.closed = asyncio.Event(), 0

    def __aiter__(self):
        return self

    async def __anext__(self):
        if self.begun.is_set():
            await asyncio.Event().wait()
        self.begun.set()
        return b'x'

    async def aclose(self):
        self.closed += 1


LONGER = {'status': 200, 'body': iter('a'), 'headers': {'Content-Length': 0}}


def raises(error):
    """Make a handler that makes a mistake."""

    def handler(request):
        raise error

    return handler


@pytest.mark.parametrize(
    ('handler', 'kind'),
    [
        (raises(LookupError()), 'LookupError'),
        (raises(asyncio.CancelledError()), 'RuntimeError'),
        (raises(http.ConnectError('elsewhere')), 'ConnectError'),
        (raises(TimeoutError()), 'TimeoutError'),
        (lambda request: None, 'TableError'),
        (lambda request: {'status': 99}, 'TableError'),
        (lambda request: {'status': 200, 'headers': {'X': 'a\r\nb'}}, 'TableError'),
        (lambda request: {'status': 200, 'body': iter([5])}, 'TableError'),
        (lambda request: LONGER, 'TableError'),
        (lambda request: {'status': 200, 'body': (1 / 0 for _ in 'a')}, 'ZeroDivisionError'),
    ],
)
async def test_a_mistake_is_a_500(handler, kind, mistakes):
    """It is logged once, and nothing of the table is given."""
    async with http.Client(via=handler, into='stream') as client:
        response = await client.request(url='http://h/a')
        assert (500, 'Internal Server Error') == (response.status, await text(response))
    assert [kind] == mistakes()


async def text(response):
    """Read a body that flows as text."""
    return (await response.body.read()).decode()


@pytest.mark.parametrize('into', ['text', 'stream'])
async def test_a_mistake_midway_breaks_the_answer_off(into, mistakes):
    """It is logged once, and the iterator is closed."""

    async def chunks():
        yield b'a'
        raise ValueError('midway')

    async with http.Client(via=lambda request: {'status': 200, 'body': chunks()}) as client:
        with pytest.raises(http.ProtocolError, match='the handler broke off') as caught:
            await told(await client.request(url='http://h/a', into=into))
    assert 'http://h/a' == caught.value.request['url'] or into == 'stream'
    assert ['ValueError'] == mistakes()


async def test_a_mistake_of_the_client_is_its_own():
    """Its exception comes out, and the handler has made none."""

    async def body():
        yield b'a'
        raise OSError('mine')

    async def reads(request):
        return {'status': 200, 'body': request.body}

    reads.into = 'stream'
    for handler in (taking(), taking('stream'), reads):
        async with http.Client(via=handler, base_url='http://h') as client:
            for into in ('text', 'stream'):
                with pytest.raises(OSError, match='mine'):
                    await told(await client.request(method='POST', body=body(), into=into))


async def test_what_was_sent_flows_back():
    """Each part as it is asked for; the handler is done by then, and so is the request."""
    given = []

    async def body():
        for part in (b'a', b'b', b'c'):
            given.append(part)
            yield part

    def echo(request):
        return {'status': 200, 'body': request.body}

    echo.into = 'stream'
    async with http.Client(via=echo) as client:
        response = await client.request(url='http://h', method='POST', body=body(), into='stream')
        assert (b'a', [b'a']) == (await anext(response.body), given)
        assert (b'b', [b'a', b'b']) == (await anext(response.body), given)
        assert b'c' == await response.body.read()


async def test_what_is_sent_may_be_read_late():
    """Behind the head of the answer, and the table of the client."""

    def handler(request):
        async def chunks():
            yield b'x'
            async for chunk in request.body:
                yield chunk

        return {'status': 200, 'body': chunks()}

    async def body():
        yield b'ab'

    handler.into = 'stream'
    async with http.Client(via=handler) as client:
        response = await client.request(url='http://h', method='POST', body=body(), into='stream')
        assert b'xab' == await response.body.read()


@pytest.mark.parametrize('end', ['cancelled', 'total', 'closed'])
async def test_what_ends_a_request_ends_its_handler(end):
    """A cancellation, a deadline, and a close of the client; what is sent is closed."""
    began, ended, source = asyncio.Event(), [], Forever()

    async def handler(request):
        try:
            await anext(request.body)
            began.set()
            await asyncio.Event().wait()
        finally:
            ended.append(True)

    handler.into = 'stream'
    async with http.Client(
        via=handler, timeout={'total': 0.05} if end == 'total' else 60
    ) as client:
        asking = asyncio.create_task(client.request(url='http://h', method='POST', body=source))
        await began.wait()
        if end == 'cancelled':
            asking.cancel()
        elif end == 'closed':
            await client.close()
        kinds = {'total': http.TimedOut, 'closed': http.ProtocolError}
        with pytest.raises(kinds.get(end, asyncio.CancelledError)):
            await asking
    assert ([True], 1) == (ended, source.closed)


@pytest.mark.parametrize('into', ['text', 'stream'])
@pytest.mark.parametrize('end', ['cancelled', 'read'])
async def test_what_ends_the_reading_ends_the_answer(into, end):
    """The iterator of the handler is closed, and that of what was sent."""
    source, body = Forever(), Forever()

    def handler(request):
        return {'status': 200, 'body': source}

    handler.into = 'stream'
    async with http.Client(via=handler, timeout={'read': 0.05} if end == 'read' else 60) as client:

        async def ask():
            await told(await client.request(url='http://h', method='POST', body=body, into=into))

        asking = asyncio.create_task(ask())
        await source.begun.wait()
        await asyncio.sleep(0)
        if end == 'cancelled':
            asking.cancel()
        with pytest.raises(http.TimedOut if end == 'read' else asyncio.CancelledError):
            await asking
    assert (1, 1) == (source.closed, body.closed)


@pytest.mark.parametrize('reads', [True, False])
async def test_a_close_ends_what_flows(reads):
    """Who reads is told, and who would; the iterator is closed at once."""
    source = Forever()
    client = http.Client(via=lambda request: {'status': 200, 'body': source})
    response = await client.request(url='http://h', into='stream')
    assert b'x' == await anext(response.body)
    reading = asyncio.create_task(response.body.read()) if reads else None
    await asyncio.sleep(0)
    await client.close()
    with pytest.raises(http.ProtocolError, match='the client was closed'):
        await (reading or response.body.read())
    assert 1 == source.closed
    with pytest.raises(http.ConnectError, match='the client is closed'):
        await client.request(url='http://h')
    with pytest.raises(http.ConnectError, match='the client is closed'):
        async with client.websocket(url='http://h'):
            pass


async def test_who_leaves_a_stream_early_closes_its_iterator():
    """Also one of an answer that was at hand."""
    source = Forever()
    async with http.Client(via=lambda request: {'status': 200, 'body': source}) as client:
        async with (await client.request(url='http://h', into='stream')).body as stream:
            assert b'x' == await anext(stream)
        assert 1 == source.closed
    async with http.Client(via=lambda request: {'status': 200, 'body': 'ab'}) as client:
        stream = (await client.request(url='http://h', into='stream')).body
        await stream.close()


async def test_a_stream_that_is_forgotten_is_told_of():
    """As one that came over the wire is."""

    async def chunks():
        try:
            yield b'x'
        finally:
            closed.set()

    closed = asyncio.Event()
    async with http.Client(via=lambda request: {'status': 200, 'body': chunks()}) as client:
        response = await client.request(url='http://h', into='stream')
        kept = [response]
        del response
        with pytest.warns(ResourceWarning, match='neither read nor closed'):
            kept.clear()
        await closed.wait()


@pytest.mark.parametrize('where', ['before', 'midway'])
async def test_an_iterator_of_an_answer_that_is_no_good_is_closed(where, mistakes):
    """Beside a key that is unknown, or the mistake that it is itself."""
    source = Forever()
    if where == 'midway':
        source.begun = 5  # which is no event
    table = {'status': 200, 'body': source} | ({'colour': 'red'} if where == 'before' else {})
    async with http.Client(via=lambda request: table) as client:
        assert 500 == (await client.request(url='http://h')).status
    assert (1, 1) == (source.closed, len(mistakes()))


# Handlers of other kinds


async def test_a_handler_may_be_anything_that_is_called():
    """Its attributes count, on an object too."""

    class Echo:
        into = 'json'

        async def __call__(self, request):
            return {'status': 200, 'json': [type(request.body).__name__]}

    async with both(Echo(), into='json') as clients:
        table = {'method': 'POST', 'json': {}}
        assert ['dict'] == (await same(clients, lambda: table))['body']
    Echo.into = 'colour'
    with pytest.raises(http.TableError, match='into'):
        async with http.Client(via=Echo()) as client:
            await client.request(url='http://h')


async def test_a_handler_may_compress():
    """What it is given is the client's Accept-Encoding."""
    long = 'x' * 10_000
    handler = http.compress(lambda request: {'status': 200, 'body': long})
    async with both(handler) as clients:
        assert long == (await same(clients, lambda: {'into': 'text'}))['body']
        assert len((await same(clients, lambda: {'into': 'raw'}))['body']) < 1000


async def test_a_handler_may_be_a_proxy():
    """Which streams both ways, and passes a WebSocket on."""

    async def chat(socket):
        async for message in socket:
            await socket.send(message)

    def origin(request):
        if request.path == '/ws':
            return {'websocket': {'callback': chat, 'protocols': ['v1']}}
        return {
            'status': 200,
            'body': request.body,
            'headers': {'X-For': request.headers['Forwarded']},
        }

    async with (
        http.listen('127.0.0.1', 0, origin) as server,
        http.Client(via=http.proxy(server.url), base_url='http://front') as client,
    ):
        response = await client.request(method='POST', body=iter(['a', 'b']))
        assert ('ab', True) == (response.body, 'front' in response.headers['X-For'])
        async with client.websocket(url='/ws', protocols=['v1']) as ws:
            await ws.send('hi')
            assert ('hi', 'v1') == (await anext(ws), ws.protocol)
    async with http.Client(via=http.proxy(server.url), base_url='http://front') as client:
        assert 502 == (await client.request()).status


# WebSockets


class Chat:
    """Takes down what comes and how it ends; answers each message with itself."""

    def __init__(self, **options):
        self.options, self.came, self.over = options, [], asyncio.Event()
        self.socket = None

    def __call__(self, request):
        return {'websocket': {'callback': self.talk, **self.options}, 'headers': {'X-Room': 'a'}}

    async def talk(self, socket):
        self.socket = socket
        try:
            async for message in socket:
                self.came.append(message)
                await socket.send(message)
        finally:
            self.over.set()


async def test_a_websocket_is_opened_as_on_the_wire():
    """The tables of both ends are those of a server and of its client."""
    ends = []
    chat = Chat(protocols=['v2', 'v1'])
    async with both(chat, cookies={'x': '1'}) as clients:
        for client in clients:
            async with client.websocket(url='/a?b', protocols=['v1', 'v2']) as ws:
                await ws.send('é')
                await ws.send(b'\xff')
                assert ['é', b'\xff'] == [await anext(ws), await anext(ws)]
            asked, answered = chat.socket.request, ws.response
            own = ('sec-websocket-key', 'sec-websocket-accept', *ENGINE)
            ends.append(
                (
                    (ws.protocol, ws.code, ws.reason, answered.status, answered.url),
                    sorted(
                        (name.lower(), one)
                        for name, one in answered.headers.items()
                        if name.lower() not in own
                    ),
                    dict(asked) | {'headers': None},
                    sorted(
                        (name.lower(), one)
                        for name, one in asked.headers.items()
                        if name.lower() not in own
                    ),
                )
            )
    far, near = ends
    assert far == near
    assert ['é', b'\xff'] * 2 == chat.came


@pytest.mark.parametrize('by', ['client', 'handler'])
async def test_a_close_code_goes_to_the_other_end(by):
    """As does its reason."""

    async def closes(socket):
        await socket.close(4001, 'enough')

    chat = Chat()
    handler = chat if by == 'client' else lambda request: {'websocket': closes}
    async with http.Client(via=handler) as client:
        async with client.websocket(url='ws://h') as ws:
            if by == 'client':
                await ws.close(4001, 'enough')
                await chat.over.wait()
                assert (4001, 'enough') == (chat.socket.code, chat.socket.reason)
            else:
                assert [] == [message async for message in ws]
        assert (4001, 'enough') == (ws.code, ws.reason)


async def test_what_was_sent_comes_though_the_client_is_closed():
    """A callback sees it, and that it was the end, before the client is done."""
    chat = Chat()
    async with http.Client(via=chat) as client, client.websocket(url='ws://h') as ws:
        await ws.send('a')
    assert (['a'], True, 1000) == (chat.came, chat.over.is_set(), chat.socket.code)
    chat = Chat()
    client = http.Client(via=chat)
    async with client.websocket(url='ws://h') as ws:
        await client.close()
        assert (1001, 1001) == (ws.code, chat.socket.code)


async def test_a_callback_that_does_not_end_is_ended(monkeypatch):
    """The client does not wait for ever."""
    monkeypatch.setattr('aioluahttp.transports.in_process.GRACE', 0.01)
    ended = []

    async def deaf(socket):
        try:
            await asyncio.Event().wait()
        finally:
            ended.append(True)

    async with http.Client(via=lambda request: {'websocket': deaf}) as client:
        async with client.websocket(url='ws://h'):
            pass
        assert [] == ended
    assert [True] == ended


@pytest.mark.parametrize('by', ['client', 'handler'])
async def test_a_message_over_the_limit_ends_a_websocket(by):
    """Of who reads it: his end has the fault, and the other the code."""
    chat = Chat(max_message=5 if by == 'handler' else 99)
    limit = 5 if by == 'client' else 99
    async with (
        http.Client(via=chat) as client,
        client.websocket(url='ws://h', max_message=limit) as ws,
    ):
        await ws.send('x' * 5)
        assert 'xxxxx' == await anext(ws)
        await ws.send('x' * 6)
        if by == 'client':
            with pytest.raises(http.ProtocolError, match='larger than 5 bytes'):
                await anext(ws)
        else:
            assert [] == [message async for message in ws]
        assert 1009 == ws.code


async def test_who_sends_waits_for_a_handler_that_does_not_read():
    """Once 64 messages wait; and is heard when that reads."""
    reads, came = asyncio.Event(), []

    async def slow(socket):
        await reads.wait()
        came.extend([message async for message in socket])

    async with (
        http.Client(via=lambda request: {'websocket': slow}) as client,
        client.websocket(url='ws://h') as ws,
    ):
        for number in range(64):
            await ws.send(str(number))
        last = asyncio.create_task(ws.send('last'))
        await asyncio.sleep(0)
        assert not last.done()
        reads.set()
        await last
        await ws.close()
    assert [*map(str, range(64)), 'last'] == came


@pytest.mark.parametrize(
    ('answer', 'headers', 'status'),
    [
        ({'status': 401, 'body': 'who?'}, {}, 401),
        ({'status': 200, 'body': iter('ab')}, {}, 200),
        ({'websocket': Chat().talk}, {'Origin': 'http://evil'}, 403),
        ({'websocket': Chat().talk}, {'Origin': 'http://h'}, None),
        ({'status': 200}, {'Host': 'a b'}, 400),
    ],
)
async def test_a_websocket_may_be_declined(answer, headers, status):
    """With the status that a server would give; the error has the table."""
    async with http.Client(via=lambda request: answer) as client:
        opened = client.websocket(url='ws://h/a', headers=headers)
        if status is None:
            async with opened as ws:
                assert 101 == ws.response.status
            return
        with pytest.raises(http.ProtocolError, match=f'http://h:80/a: .*: {status}') as caught:
            async with opened:
                pass
        assert 'ws://h/a' == caught.value.request['url']


async def test_a_mistake_declines_a_websocket(mistakes):
    """It is a 500, as for every request."""
    async with http.Client(via=raises(LookupError())) as client:
        with pytest.raises(http.ProtocolError, match='500'):
            async with client.websocket(url='ws://h'):
                pass
    assert ['LookupError'] == mistakes()


async def test_a_websocket_that_nobody_asked_for_is_declined():
    """What the callback holds is closed."""
    closed = []

    class Holds:
        async def __call__(self, socket):
            raise AssertionError('nobody is there')

        async def aclose(self):
            closed.append(True)

    async with both(lambda request: {'websocket': Holds()}) as clients:
        assert [426] * 2 == [(await client.request()).status for client in clients]
        assert 2 == len(closed)
        with pytest.raises(http.ProtocolError, match='403'):
            async with clients[1].websocket(headers={'Origin': 'http://evil'}):
                pass
        assert 3 == len(closed)


async def test_a_mistake_in_a_callback_ends_its_websocket(mistakes):
    """With 1011, and in closing what it holds too; each is logged once."""

    class Fails:
        async def __call__(self, socket):
            await anext(socket)
            raise ValueError

        async def aclose(self):
            raise KeyError

    async with (
        http.Client(via=lambda request: {'websocket': Fails()}) as client,
        client.websocket(url='ws://h') as ws,
    ):
        await ws.send('a')
        assert [] == [message async for message in ws]
        assert 1011 == ws.code
    assert ['KeyError'] == mistakes()


async def test_who_is_cancelled_hangs_up():
    """Which is no mistake of the callback, that is told of it."""
    chat = Chat()
    began = asyncio.Event()

    async def use(client):
        async with client.websocket(url='ws://h') as ws:
            await ws.send('a')
            await anext(ws)
            began.set()
            await anext(ws)

    async with http.Client(via=chat) as client:
        using = asyncio.create_task(use(client))
        await began.wait()
        using.cancel()
        with pytest.raises(asyncio.CancelledError):
            await using
        await chat.over.wait()
    assert 1006 == chat.socket.code


async def test_the_handler_of_a_client_may_ask_it_again():
    """For it is but a call."""

    async def handler(request):
        if request.path == '/a':
            return await client.request(url='http://h/b')
        return {'status': 200, 'body': json.dumps(request.path)}

    async with http.Client(via=handler) as client:
        assert '"/b"' == (await client.request(url='http://h/a')).body


GONE = http.ProtocolError('gone')


def delivery(body, length=None, progress=None):
    """Make what a body that is drawn is sent by."""
    return BodyDelivery(BodySource(body), length, bytes, progress)


def sending(body, **options):
    """Hand over a body that is drawn."""
    return SentBody(delivery(body, **options))


class Parts:
    """Gives parts, or raises them; counts how often it is closed, which may fail too."""

    def __init__(self, *parts, fails=None):
        self.parts, self.closed, self.fails = list(parts), 0, fails

    def __aiter__(self):
        return self

    async def __anext__(self):
        if not self.parts:
            raise StopAsyncIteration
        part = self.parts.pop(0)
        if part is None:
            await asyncio.Event().wait()
        if isinstance(part, BaseException):
            raise part
        return part

    async def aclose(self):
        self.closed += 1
        if self.fails:
            raise self.fails


def answering(parts, sent=None, told=None):
    """Hand over an answer; ``told`` gets the mistakes of the handler."""

    async def tell(error):
        told.append(error)

    return ResponseBody(parts, sent or SentBody(None), tell)


@pytest.mark.parametrize(
    ('data', 'method', 'framing'),
    [
        (None, 'GET', {}),
        (None, 'HEAD', {}),
        (None, 'POST', {'Content-Length': '0'}),
        (None, 'DELETE', {'Content-Length': '0'}),
        (b'', 'GET', {'Content-Length': '0'}),
        (b'ab', 'GET', {'Content-Length': '2'}),
    ],
)
async def test_a_body_at_hand_has_its_length(data, method, framing):
    """As on the wire: no body has none where none is expected."""
    headers, sent = Headers(), SentBody(data)
    sent.frame(method, headers)
    assert framing == dict(headers)
    assert (data or b'') == b''.join([part async for part in sent])
    assert [] == [part async for part in sent]
    assert sent.error is None
    await sent.aclose()


@pytest.mark.parametrize(
    ('length', 'framing'), [(2, {'Content-Length': '2'}), (None, {'Transfer-Encoding': 'chunked'})]
)
async def test_a_body_that_is_drawn_is_drawn_as_it_is_read(length, framing):
    """What is empty is no part of it; who watches is told of each that is."""
    drawn, told, headers = [], [], Headers()

    def chunks():
        for chunk in (b'', b'a', b'', b'b', b''):
            drawn.append(chunk)
            yield chunk

    sent = sending(chunks(), length=length, progress=lambda *one: told.append(one))
    sent.frame('POST', headers)
    assert framing == dict(headers)
    assert [] == drawn
    assert b'a' == await anext(sent)
    assert [b'', b'a'] == drawn
    assert [b'b'] == [part async for part in sent]
    assert [(1, length), (2, length)] == told
    await sent.aclose()


async def test_a_body_that_is_not_read_is_closed():
    """It counts as begun, and is for nobody else to close."""
    parts = Parts(b'a')
    body = delivery(parts)
    sent = SentBody(body)
    assert body.supply.is_spent
    await sent.aclose()
    assert 1 == parts.closed


@pytest.mark.parametrize('part', [ValueError('mine'), 'text'])
async def test_a_body_that_breaks_is_the_mistake_of_who_sends_it(part):
    """Its reader is told that there is no more; the error is kept."""
    sent = sending(Parts(b'a', part))
    assert b'a' == await anext(sent)
    with pytest.raises(http.ProtocolError, match='the body broke off') as caught:
        await anext(sent)
    assert caught.value.__cause__ is sent.error
    assert isinstance(part, str) or part is sent.error


async def test_what_watches_may_fail():
    """That is a mistake of who sends it, too."""
    sent = sending([b'a'], progress=lambda *one: 1 / 0)
    with pytest.raises(http.ProtocolError):
        await anext(sent)
    assert isinstance(sent.error, ZeroDivisionError)


async def test_what_gives_no_iterator_is_the_mistake_of_who_sends_it():
    """Before anybody asks for a part."""

    class Bad:
        def __iter__(self):
            raise OSError('mine')

    body = delivery(Bad())
    with pytest.raises(OSError, match='mine') as caught:
        SentBody(body)
    assert caught.value is body.supply.error


async def test_a_file_is_closed_behind_it(tmp_path):
    """Which was opened for this try."""
    (tmp_path / 'a').write_bytes(b'abc')
    body = delivery(tmp_path / 'a')
    await body.supply.open()
    sent = SentBody(body)
    assert b'abc' == await anext(sent)
    await sent.aclose()
    assert body.supply._opened is None


async def test_an_answer_is_read_part_by_part():
    """The first is waited for before there is a head; what is empty is no part."""
    parts = Parts(b'a', b'', b'b')
    source = answering(parts)
    await source.begin()
    assert [b'b'] == parts.parts[1:]
    assert [b'a', b'b', b'', b''] == [await source.read(None) for _ in range(4)]
    source.finish()
    source.release()
    assert [False, False] == [source.is_empty, source.is_waited_for]
    for _ in range(2):
        await source.stop()
    assert 1 == parts.closed


async def test_an_answer_may_begin_with_nothing():
    """An empty first part sends the head alone, on the wire; so does an answer of no parts."""
    source = answering(Parts(b'', b'a'))
    await source.begin()
    assert [b'a', b''] == [await source.read(None) for _ in range(2)]
    source = answering(Parts())
    await source.begin()
    assert b'' == await source.read(None)


async def test_a_first_part_that_fails_is_no_part():
    """What is raised comes out, and the iterator is closed."""
    parts = Parts(ValueError('first'))
    with pytest.raises(ValueError, match='first'):
        await answering(parts).begin()
    assert 1 == parts.closed


async def test_a_first_part_need_not_be_waited_for():
    """Who gives up ends the handler's iterator, too."""
    parts = Parts(None)
    beginning = asyncio.create_task(answering(parts).begin())
    await asyncio.sleep(0)
    beginning.cancel()
    with pytest.raises(asyncio.CancelledError):
        await beginning
    assert 1 == parts.closed


async def test_one_task_asks_for_all_parts():
    """So what an iterator has around them, such as a deadline, is not left to who reads."""

    async def parts():
        async with asyncio.timeout(0.01):
            yield b'a'
            await asyncio.Event().wait()

    source = answering(parts(), told=[])
    assert b'a' == await source.read(None)
    with pytest.raises(http.ProtocolError, match='broke off') as caught:
        await source.read(None)
    assert isinstance(caught.value.__cause__, TimeoutError)


@pytest.mark.parametrize('cause', [None, Refused(400)])
async def test_an_answer_that_breaks_is_the_mistake_of_the_handler(cause):
    """Unless who sent the request is at fault; for who reads it is broken either way."""
    error, told = ValueError('midway'), []
    error.__cause__ = cause
    source = answering(Parts(b'a', error), told=told)
    assert b'a' == await source.read(None)
    with pytest.raises(http.ProtocolError, match='the handler broke off its answer') as caught:
        await source.read(None)
    assert caught.value.__cause__ is error
    assert ([] if cause else [error]) == told


@pytest.mark.parametrize('cause', [None, Refused(400)])
async def test_an_iterator_that_cannot_be_closed_is_the_mistake_of_the_handler(cause):
    """What was sent is closed all the same."""
    error, told, body = ValueError('closing'), [], Parts()
    error.__cause__ = cause
    source = answering(Parts(b'a', fails=error), sending(body), told)
    assert [b'a', b''] == [await source.read(None) for _ in range(2)]
    await source.stop()
    assert ([] if cause else [error]) == told
    assert 1 == body.closed


async def test_a_cancelled_stop_closes_what_was_sent():
    """Though the iterator of the handler takes its time to be closed."""

    class Slow(Parts):
        async def aclose(self):
            await asyncio.Event().wait()

    body = Parts()
    stopping = asyncio.create_task(answering(Slow(), sending(body)).stop())
    await asyncio.sleep(0)
    stopping.cancel()
    with pytest.raises(asyncio.CancelledError):
        await stopping
    assert 1 == body.closed


async def test_the_mistake_of_who_sent_the_request_is_not_lost():
    """Though the handler makes nothing of it, and goes on."""
    sent = sending(Parts(ValueError('mine')))

    async def parts():
        try:
            await anext(sent)
        except http.ProtocolError:
            yield b'never mind'

    source = answering(parts(), sent)
    for _ in range(2):
        with pytest.raises(http.ProtocolError, match='sent broke off') as caught:
            await source.read(None)
        assert 'mine' == str(caught.value.__cause__)
    await source.stop()


async def test_a_part_may_not_come_in_time():
    """The handler is cancelled; its own deadlines are its own."""
    source = answering(Parts(None))
    with pytest.raises(http.TimedOut, match=r'within 0.01 s'):
        await source.read(0.01)
    await source.stop()
    with pytest.raises(http.ProtocolError, match='the handler broke off'):
        await answering(Parts(TimeoutError()), told=[]).read(60)


async def reads(source):
    """Begin to read in a task."""
    task = asyncio.create_task(source.read(None))
    await asyncio.sleep(0)
    return task


async def test_a_close_interrupts_who_reads():
    """With its error, for good; the task itself is not cancelled by that."""
    source = answering(Parts(None))

    async def read():
        with pytest.raises(http.ProtocolError, match='gone'):
            await source.read(None)
        return asyncio.current_task().cancelling()

    task = asyncio.create_task(read())
    await asyncio.sleep(0)
    source.close(GONE)
    await source.stop()  # leaves that to who reads
    assert 0 == await task
    with pytest.raises(http.ProtocolError, match='gone'):
        await source.read(None)


@pytest.mark.parametrize('parts', ['goes on', 'fails'])
async def test_a_close_holds_whatever_the_handler_makes_of_it(parts):
    """One that goes on is not listened to, one that fails has made a mistake."""
    told = []

    begun = asyncio.Event()

    async def stubborn():
        yield b'x'
        try:
            begun.set()
            await asyncio.Event().wait()
        except asyncio.CancelledError:
            if parts == 'fails':
                raise ValueError from None
            yield b'a'

    source = answering(stubborn(), told=told)

    assert b'x' == await source.read(None)
    task = await reads(source)
    await begun.wait()
    source.close(GONE)
    with pytest.raises(http.ProtocolError, match='gone'):
        await task
    await source.stop()
    assert ('fails' == parts) == bool(told)


async def test_a_cancellation_is_one_though_it_is_closed_just_then():
    """Who cancels is heard."""
    source = answering(Parts(None, None))
    for closes in (False, True):
        task = await reads(source)
        task.cancel()
        if closes:
            source.close(GONE)
        with pytest.raises(asyncio.CancelledError):
            await task


async def test_the_handler_itself_may_close_it():
    """Which interrupts nobody: the part is not given, that is all."""

    async def parts():
        source.close(GONE)
        yield b'a'

    source = answering(parts())
    with pytest.raises(http.ProtocolError, match='gone'):
        await source.read(None)
    await source.stop()


async def test_one_task_reads():
    """A second is refused, and the first goes on."""
    source = answering(Parts(None))
    task = await reads(source)
    with pytest.raises(RuntimeError, match='another task'):
        await source.read(None)
    task.cancel()
    await asyncio.wait([task])
    await source.stop()


async def test_an_iterator_may_stop_what_reads_it():
    """As one does that closes the response it is the body of; it waits not for itself."""

    async def parts():
        yield b'a'
        await source.stop()
        yield b'b'

    source = answering(parts())
    assert b'a' == await source.read(None)
    with pytest.raises(http.ProtocolError, match='the body is closed'):
        await source.read(None)
