"""Requests to a handler in this process, compared with the same ones over a connection."""

import asyncio
import contextlib
import gzip
import json
import logging
import os

import pytest

import aioluahttp as http

GZIPPED = gzip.compress(b'hello', mtime=0)
# Headers of the connection, or that aiohttp's files leave out.
ENGINE = ('date', 'server', 'transfer-encoding', 'accept-ranges')


@contextlib.asynccontextmanager
async def both(handler, **options):
    """Yield two clients of a handler: over the network, and in process."""
    async with http.listen('127.0.0.1', 0, handler) as server:
        url = {'base_url': server.url}
        async with (
            http.Client(**url, **options) as far,
            http.Client(**url, via=handler, **options) as near,
        ):
            yield far, near


def taking(into='text', max_body=None, response=None):
    """Make a handler with a given ``into`` that records the tables it is given."""

    async def handler(request):
        table = dict(request)
        if into in ('stream', 'raw') and 'body' in request:
            table['body'] = await request.body.read()
        headers = [(name.lower(), value) for name, value in request.headers.items()]
        handler.seen.append(table | {'headers': sorted(headers)})
        return response or {'status': 204}

    handler.into, handler.seen = into, []
    if max_body:
        handler.max_body = max_body
    return handler


async def contents(response):
    """Return all of a response but what depends on the engine."""
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
    history = [await contents(one) for one in response.history]
    return dict(response) | {'headers': kept, 'body': body, 'history': history}


async def same(clients, table):
    """Check that both clients get the same response, and return it."""
    far, near = [await contents(await client.request(table())) for client in clients]
    assert far == near
    return near


@pytest.fixture(autouse=True)
def nothing_logged(request, caplog):
    """Fail if an error of a handler was logged, unless the test uses ``mistakes``."""
    yield
    if 'mistakes' not in request.fixturenames:
        assert [] == [one for one in caplog.records if one.levelno >= logging.ERROR]


@pytest.fixture
def mistakes(caplog):
    """Return a function that lists the exceptions of handlers that were logged."""
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
async def test_a_handler_gets_the_same_request_as_over_a_connection(fields, into):
    """The same request table, for each way of reading the body."""
    if isinstance(body := fields.get('body'), list):  # a list would be sent as JSON
        fields = fields | {'body': iter(body)}
    handler = taking(into)
    async with both(handler, cookies={'b': '1', 'a': '3'}) as clients:
        for client in clients:
            if isinstance(body, list):
                fields['body'] = iter(body)
            await client.request(fields)
    far, near = handler.seen
    assert far == near


async def test_a_handler_gets_json_and_forms():
    """As its ``into`` says, which may be a function of the request."""
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
        ({'method': 'HEAD', 'headers': {'Host': 'a b'}}, 400),
    ],
    ids=str,
)
async def test_a_request_is_refused_as_over_a_connection(fields, status, into):
    """With the same status; no error is logged, and the iterator of the body is closed."""
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

    streamed = isinstance(fields.get('body'), list)
    async with both(taking(into, max_body=9)) as clients:

        def table():
            body = {'body': Chunks(fields['body'])} if streamed else {}
            return {'method': 'POST', **fields, **body}

        assert status == (await same(clients, table))['status']
    assert [True] * 2 * streamed == closed


async def test_keys_for_connections_are_ignored(tmp_path):
    """A table for production works in a test: no file and no proxy is looked for."""
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


# The table of a response


def ticks():
    """Return an iterator of two events."""
    return iter([{'event': 'tick', 'data': 'a\nb'}, {'id': '1'}])


@pytest.mark.parametrize('into', ['text', 'bytes', 'stream', 'raw', 'events', 'json'])
@pytest.mark.parametrize(
    'make',
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
async def test_a_response_is_the_same_as_over_a_connection(make, into, method):
    """For each kind of body and each ``into``."""
    results = []
    async with both(lambda request: make()) as clients:
        for client in clients:
            try:
                results.append(await contents(await client.request(method=method, into=into)))
            except http.ProtocolError as error:
                assert into in ('events', 'json')
                results.append(str(error))
    far, near = results
    assert far == near


@pytest.mark.parametrize('asked', [{}, {'Range': 'bytes=1-2'}, {'If-None-Match': '*'}])
@pytest.mark.parametrize('into', ['bytes', 'stream'])
async def test_a_file_is_the_same_as_over_a_connection(tmp_path, asked, into):
    """With ranges and conditions, for a body that is a path and for a folder."""
    (tmp_path / 'a.txt').write_bytes(b'0123')
    # Of a file of this second Last-Modified would depend on the time of the request.
    os.utime(tmp_path / 'a.txt', (1_000_000_000, 1_000_000_000))

    def handler(request):
        return {'status': 200, 'body': tmp_path / request.path[1:]}

    for one in (http.files(tmp_path), handler):
        async with both(one) as clients:
            await same(clients, lambda: {'url': '/a.txt', 'headers': asked, 'into': into})
            found = await same(clients, lambda: {'url': '/none', 'into': into})
            assert 404 == found['status']


async def test_a_response_may_be_written_to_a_file(tmp_path, mistakes):
    """A download that was cut off goes on with a range."""
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


async def test_an_exception_of_on_progress_ends_a_response():
    """The iterator of the handler is closed."""
    source = Forever()
    async with http.Client(via=lambda request: {'status': 200, 'body': source}) as client:
        response = await client.request(url='http://h', into='stream', on_progress=lambda *a: 1 / 0)
        with pytest.raises(ZeroDivisionError):
            await anext(response.body)
    assert 1 == source.closed


# Redirects and cookies


async def test_a_redirect_is_followed_with_its_body_and_cookies():
    """To the same handler for any host; credentials are sent to their origin alone."""
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
        ('POST', 'h', 'body', 'x=1; at=a'),
        ('GET', 'other', None, None),
        ('GET', 'h', None, 'x=1; at=b'),
    ] == seen


# Exceptions, cancellations and timeouts


class Forever:
    """A body that yields one part and then waits; it counts its closes."""

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
    """Make a handler that raises an exception."""

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
async def test_an_exception_of_the_handler_is_a_500(handler, kind, mistakes):
    """It is logged once, and nothing of the response of the handler is sent."""
    async with http.Client(via=handler, into='stream') as client:
        response = await client.request(url='http://h/a')
        assert (500, 'Internal Server Error') == (response.status, await text(response))
    assert [kind] == mistakes()


async def text(response):
    """Read a streamed body as text."""
    return (await response.body.read()).decode()


@pytest.mark.parametrize('into', ['text', 'stream'])
async def test_an_exception_midway_cuts_off_the_response(into, mistakes):
    """It is logged once, and the iterator is closed."""

    async def chunks():
        yield b'a'
        raise ValueError('midway')

    async with http.Client(via=lambda request: {'status': 200, 'body': chunks()}) as client:
        with pytest.raises(http.ProtocolError, match='the handler failed') as caught:
            await contents(await client.request(url='http://h/a', into=into))
    assert 'http://h/a' == caught.value.request['url'] or into == 'stream'
    assert ['ValueError'] == mistakes()


async def test_a_request_body_can_be_the_response_body():
    """Each part is read when the client reads one, after the handler has returned."""
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


async def test_a_request_body_may_be_read_after_the_head():
    """The handler may read it while it yields the response body."""

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
async def test_the_end_of_a_request_ends_its_handler(end):
    """A cancellation, a timeout, or closing the client; the request body is closed."""
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
async def test_the_end_of_reading_ends_the_response(into, end):
    """The iterators of the response body and of the request body are closed."""
    source, body = Forever(), Forever()

    def handler(request):
        return {'status': 200, 'body': source}

    handler.into = 'stream'
    async with http.Client(via=handler, timeout={'read': 0.05} if end == 'read' else 60) as client:

        async def ask():
            await contents(
                await client.request(url='http://h', method='POST', body=body, into=into)
            )

        asking = asyncio.create_task(ask())
        await source.begun.wait()
        await asyncio.sleep(0)
        if end == 'cancelled':
            asking.cancel()
        with pytest.raises(http.TimedOut if end == 'read' else asyncio.CancelledError):
            await asking
    assert (1, 1) == (source.closed, body.closed)


async def test_a_stream_that_is_left_early_closes_its_iterator():
    """A body in memory may be left early, too."""
    source = Forever()
    async with http.Client(via=lambda request: {'status': 200, 'body': source}) as client:
        async with (await client.request(url='http://h', into='stream')).body as stream:
            assert b'x' == await anext(stream)
        assert 1 == source.closed
    async with http.Client(via=lambda request: {'status': 200, 'body': 'ab'}) as client:
        stream = (await client.request(url='http://h', into='stream')).body
        await stream.close()


async def test_a_stream_that_is_dropped_is_warned_of():
    """With a ResourceWarning, as over a connection."""

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
async def test_the_iterator_of_a_wrong_response_is_closed(where, mistakes):
    """Of a response with an unknown key, or whose iterator yields a wrong part."""
    source = Forever()
    if where == 'midway':
        source.begun = 5  # an int has no ``is_set``, so the first part fails
    table = {'status': 200, 'body': source} | ({'colour': 'red'} if where == 'before' else {})
    async with http.Client(via=lambda request: table) as client:
        assert 500 == (await client.request(url='http://h')).status
    assert (1, 1) == (source.closed, len(mistakes()))


# Handlers of other kinds


async def test_a_handler_may_be_any_callable():
    """Attributes of an object count as those of a function do."""

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
    """It gets the client's Accept-Encoding."""
    long = 'x' * 10_000
    handler = http.compress(lambda request: {'status': 200, 'body': long})
    async with both(handler) as clients:
        assert long == (await same(clients, lambda: {'into': 'text'}))['body']
        assert len((await same(clients, lambda: {'into': 'raw'}))['body']) < 1000


async def test_a_handler_may_be_a_proxy():
    """It streams in both directions, and relays a WebSocket."""

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


# Options of an exchange


async def test_options_of_an_exchange_hold_in_process():
    """Limits, trusted proxies, the access log and the timeout of a handler."""
    logged, free = [], asyncio.Event()

    async def handler(request):
        if request.path == '/wait':
            await free.wait()
        return {'status': 200, 'body': f'{request.ip} {request.scheme}'}

    options = {
        'max_concurrent': 1,
        'handler_timeout': 0.05,
        'trusted_proxies': ['127.0.0.1'],
        'cancel_on_disconnect': True,
        'access_log': lambda request, response: logged.append((request.url, response.status)),
    }
    forwarded = {'X-Forwarded-For': '192.0.2.1', 'X-Forwarded-Proto': 'https'}
    async with http.Client(via=handler, via_options=options, base_url='http://h') as client:
        assert '192.0.2.1 https' == (await client.request(headers=forwarded)).body
        both = asyncio.gather(*(client.request(url='/wait') for _ in range(2)))
        assert [504, 503] == [one.status for one in await both]
    assert [('/', 200), ('/wait', 503), ('/wait', 504)] == logged


async def test_the_access_log_has_a_streamed_response_at_its_end(caplog):
    """Once the client has read it, or has left."""
    caplog.set_level(logging.INFO)
    source = Forever()
    options = {'access_log': logging.getLogger('access')}
    async with http.Client(
        via=lambda request: {'status': 200, 'body': source if request.query else iter('ab')},
        via_options=options,
        base_url='http://h',
        into='stream',
    ) as client:
        response = await client.request(url='/')
        assert [] == caplog.messages
        assert b'ab' == await response.body.read()
        (line,) = caplog.messages
        assert line.startswith('127.0.0.1 "GET / HTTP/1.1" 200 2 ')
        async with (await client.request(url='/?left')).body as stream:
            assert b'x' == await anext(stream)
        assert caplog.messages[-1].startswith('127.0.0.1 "GET /?left HTTP/1.1" 200 1 ')
    assert 1 == source.closed


@pytest.mark.parametrize('kind', [KeyboardInterrupt, SystemExit])
async def test_the_end_of_the_process_is_passed_on(kind, mistakes):
    """It is no error of the handler, and ends the request."""
    raised = []

    async def ask(client):
        try:
            await client.request(url='http://h')
        except kind:
            raised.append(kind)

    async with http.Client(via=raises(kind())) as client:
        await ask(client)
    assert ([kind], []) == (raised, mistakes())


# WebSockets


class Chat:
    """A WebSocket handler that echoes messages, and records them and the end."""

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


async def test_a_websocket_is_the_same_as_over_a_connection():
    """Both ends have the tables that a server and its client have."""
    ends = []
    chat = Chat(protocols=['v2', 'v1'])
    async with both(chat, cookies={'x': '1'}) as clients:
        for client in clients:
            async with client.websocket(url='/a?b', protocols=['v1', 'v2']) as ws:
                await ws.send('é')
                await ws.send(b'\xff')
                assert ['é', b'\xff'] == [await anext(ws), await anext(ws)]
            request, response = chat.socket.request, ws.response
            own = ('sec-websocket-key', 'sec-websocket-accept', *ENGINE)
            ends.append(
                (
                    (ws.protocol, ws.code, ws.reason, response.status, response.url),
                    sorted(
                        (name.lower(), one)
                        for name, one in response.headers.items()
                        if name.lower() not in own
                    ),
                    dict(request) | {'headers': None},
                    sorted(
                        (name.lower(), one)
                        for name, one in request.headers.items()
                        if name.lower() not in own
                    ),
                )
            )
    far, near = ends
    assert far == near
    assert ['é', b'\xff'] * 2 == chat.came


@pytest.mark.parametrize('by', ['client', 'handler'])
async def test_a_close_code_reaches_the_other_end(by):
    """With its reason."""

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


async def test_messages_that_were_sent_arrive_though_the_client_closes():
    """The callback reads it, and the end, before ``close`` of the client returns."""
    chat = Chat()
    async with http.Client(via=chat) as client, client.websocket(url='ws://h') as ws:
        await ws.send('a')
    assert (['a'], True, 1000) == (chat.came, chat.over.is_set(), chat.socket.code)
    chat = Chat()
    client = http.Client(via=chat)
    async with client.websocket(url='ws://h') as ws:
        await client.close()
        assert (1001, 1001) == (ws.code, chat.socket.code)


async def test_a_callback_that_does_not_end_is_cancelled(monkeypatch):
    """Closing the client cancels it after a grace period."""
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
    """The end that reads it gets the error, the other one the code 1009."""
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


async def test_sending_to_a_handler_has_back_pressure():
    """Once 64 messages are queued."""
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
    ('response', 'headers', 'status'),
    [
        ({'status': 401, 'body': 'who?'}, {}, 401),
        ({'status': 200, 'body': iter('ab')}, {}, 200),
        ({'websocket': Chat().talk}, {'Origin': 'http://evil'}, 403),
        ({'websocket': Chat().talk}, {'Origin': 'http://h'}, None),
        ({'status': 200}, {'Host': 'a b'}, 400),
    ],
)
async def test_a_websocket_may_be_declined(response, headers, status):
    """With the status that a server would send; the error has the table."""
    async with http.Client(via=lambda request: response) as client:
        opened = client.websocket(url='ws://h/a', headers=headers)
        if status is None:
            async with opened as ws:
                assert 101 == ws.response.status
            return
        with pytest.raises(http.ProtocolError, match=f'http://h:80/a: .*: {status}') as caught:
            async with opened:
                pass
        assert 'ws://h/a' == caught.value.request['url']


async def test_an_exception_of_the_handler_declines_a_websocket(mistakes):
    """It is a 500, as for any request."""
    async with http.Client(via=raises(LookupError())) as client:
        with pytest.raises(http.ProtocolError, match='500'):
            async with client.websocket(url='ws://h'):
                pass
    assert ['LookupError'] == mistakes()


async def test_a_websocket_that_nobody_asked_for_is_declined():
    """Its callback is closed."""
    closed = []

    class Holds:
        async def __call__(self, socket):
            raise AssertionError('called without a peer')

        async def aclose(self):
            closed.append(True)

    async with both(lambda request: {'websocket': Holds()}) as clients:
        assert [426] * 2 == [(await client.request()).status for client in clients]
        assert 2 == len(closed)
        with pytest.raises(http.ProtocolError, match='403'):
            async with clients[1].websocket(headers={'Origin': 'http://evil'}):
                pass
        assert 3 == len(closed)


async def test_an_exception_in_a_callback_ends_its_websocket(mistakes):
    """With 1011; the exception of closing the callback is logged."""

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


async def test_a_cancellation_ends_a_websocket():
    """The callback sees the end, with 1006; no error is logged."""
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


async def test_a_handler_may_use_its_own_client():
    """It is an ordinary call."""

    async def handler(request):
        if request.path == '/a':
            return await client.request(url='http://h/b')
        return {'status': 200, 'body': json.dumps(request.path)}

    async with http.Client(via=handler) as client:
        assert '"/b"' == (await client.request(url='http://h/a')).body


async def test_a_wrong_length_of_a_file_is_a_table_error(tmp_path):
    """As over a connection; the handler is not called."""
    (tmp_path / 'a').write_bytes(b'abc')
    async with http.Client(via=lambda request: 1 / 0) as client:
        with pytest.raises(http.TableError, match='the length of the file'):
            await client.request(url='http://h', body=tmp_path / 'a', headers={'Content-Length': 2})
