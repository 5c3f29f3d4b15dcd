"""A handler under aiohttp.web."""

import asyncio
import contextlib
import gzip
from types import SimpleNamespace

import pytest
from aiohttp import HttpVersion11, web

import aioluahttp as http
from aioluahttp.exchange.forwarded import check_trusted_proxies
from aioluahttp.web import WatchedProtocol, WebExchange, to_application, to_web


@contextlib.asynccontextmanager
async def serve(application):
    """Serve an application of aiohttp.web."""
    before = asyncio.all_tasks()
    runner = web.AppRunner(application, shutdown_timeout=1, lingering_time=0.1)
    await runner.setup()
    try:
        site = web.TCPSite(runner, '127.0.0.1', 0)
        await site.start()
        yield Running(runner.addresses[0][1])
    finally:
        await runner.cleanup()
        # Tasks of aiohttp for connections that it has closed.
        if left := [one for one in asyncio.all_tasks() - before if 'RequestHandler' in repr(one)]:
            await asyncio.wait(left)


class Running:
    """Port and URL of a server."""

    def __init__(self, port):
        self.port, self.url = port, f'http://127.0.0.1:{port}'


def at_route(handler, middlewares=(), **options):
    """Make an application with one route to a handler."""
    application = web.Application(middlewares=middlewares)
    application.router.add_route('*', '/{tail:.*}', to_web(handler, **options))
    return application


BOTH = pytest.mark.parametrize('made', [at_route, to_application])


def echo(request):
    """Return the request body."""
    return {'status': 200, 'body': request.body}


@BOTH
async def test_requests_and_responses_are_tables(made):
    """The tables are those of ``listen``."""
    seen = []

    def handler(request):
        seen.append(request)
        return {'status': 201, 'reason': 'Made', 'json': [1]}

    async with serve(made(handler)) as server, http.Client() as client:
        response = await client.request(url=server.url + '/%41?b', into='json')
    assert (201, 'Made', [1]) == (response.status, response.reason, response.body)
    table = seen[0]
    assert ('/%41?b', '127.0.0.1', 'http', server.port, '1.1') == (
        table.url,
        table.ip,
        table.scheme,
        table.port,
        table.version,
    )


async def test_an_application_serves_every_target(wire):
    """This includes ``*``, which no route matches."""
    application = to_application(lambda request: {'status': 200, 'body': request.url})
    async with serve(application) as server, wire(server) as client:
        client.send_request('OPTIONS *')
        assert b'*' == (await client.read_response())[2]


async def test_middlewares_may_change_a_complete_response():
    """A middleware of the application adds a header."""

    @web.middleware
    async def marks(request, handler):
        response = await handler(request)
        response.headers['X-Marked'] = 'yes'
        return response

    application = at_route(lambda request: {'status': 200, 'body': 'a'}, [marks])
    async with serve(application) as server, http.Client() as client:
        assert 'yes' == (await client.request(url=server.url)).headers['X-Marked']


ZIPPED = {'Content-Encoding': 'gzip'}
COMPRESSED = gzip.compress(b'abc', mtime=0)


@pytest.mark.parametrize(
    ('made', 'into', 'headers', 'data', 'expected'),
    [
        (at_route, 'text', {}, b'abc', b'abc'),
        (at_route, 'text', ZIPPED, gzip.compress(b'abc', mtime=0), b'abc'),
        (at_route, 'raw', ZIPPED, gzip.compress(b'abc', mtime=0), b'abc'),
        (to_application, 'text', ZIPPED, gzip.compress(b'abc', mtime=0), b'abc'),
        (to_application, 'raw', ZIPPED, COMPRESSED, COMPRESSED),
    ],
)
async def test_a_compressed_body_is_decoded_once(made, into, headers, data, expected):
    """By aiohttp or here; the headers describe the body that the handler gets."""

    async def handler(request):
        assert (expected == data and bool(headers)) == ('Content-Encoding' in request.headers)
        body = request.bytes() if into == 'text' else await request.body.read()
        return {'status': 200, 'body': body}

    async with serve(made(handler, into=into)) as server, http.Client() as client:
        post = {'method': 'POST', 'url': server.url, 'headers': headers, 'into': 'bytes'}
        assert expected == (await client.request(post, body=data)).body


async def test_a_body_that_aiohttp_cannot_decode_is_a_400(wire, caplog):
    """It is the client's fault, whoever decodes."""
    begun = asyncio.Event()

    async def handler(request):
        begun.set()
        return {'status': 200, 'body': await request.body.read()}

    async with serve(at_route(handler, into='stream')) as server, wire(server) as client:
        client.send_request('POST /', 'Content-Encoding: gzip', 'Content-Length: 5')
        await begun.wait()
        client.send(b'abcde')
        assert 400 == (await client.read_response())[0]


@BOTH
async def test_a_body_that_does_not_come_is_a_408(made, wire):
    """``body_timeout`` is for each part."""
    async with serve(made(echo, body_timeout=0.01)) as server, wire(server) as client:
        client.send_request('POST /', 'Content-Length: 3', body=b'ab')
        assert 408 == (await client.read_response())[0]


@BOTH
@pytest.mark.parametrize(
    'table', [{'headers': {'X': '\udc80'}}, {'reason': '\udc80'}, {'headers': {'X': 'a\nb'}}]
)
async def test_a_response_that_aiohttp_cannot_send_is_a_500(made, table, caplog):
    """A header with bytes that are not UTF-8, for one; on_error is called."""
    told = []
    application = made(
        lambda request: {'status': 200} | table, on_error=lambda *both: told.append(both)
    )
    async with serve(application) as server, http.Client() as client:
        assert 500 == (await client.request(url=server.url)).status
    assert 1 == len(told)


@BOTH
async def test_a_response_may_be_a_file(made, tmp_path):
    """It is read here, not by aiohttp."""
    path = tmp_path / 'a.txt'
    path.write_text('abc')
    application = made(lambda request: {'status': 200, 'body': path})
    async with serve(application) as server, http.Client() as client:
        assert 'abc' == (await client.request(url=server.url)).body


@BOTH
async def test_a_response_may_close_the_connection(made, wire):
    """The handler returns ``Connection: close``."""
    response = {'status': 200, 'headers': {'Connection': 'close'}, 'body': 'a'}
    async with serve(made(lambda request: response)) as server, wire(server) as client:
        client.send_request('GET /')
        assert 'close' == (await client.read_response())[1]['Connection']
        assert b'' == await client.rest()


@BOTH
@pytest.mark.parametrize('version', ['1.0', '1.1'])
async def test_an_error_in_a_streamed_response_aborts_it(made, wire, caplog, version):
    """Also in HTTP/1.0, where the end of the connection is the end of the body."""

    async def broken():
        yield b'a'
        raise LookupError

    application = made(lambda request: {'status': 200, 'body': broken()})
    async with serve(application) as server, wire(server) as client:
        client.send(f'GET / HTTP/{version}\r\nHost: h\r\n\r\n'.encode())
        with contextlib.suppress(ConnectionResetError):
            assert not (await client.rest()).endswith(b'0\r\n\r\n')
            assert '1.1' == version
    assert 'LookupError' in caplog.text


@BOTH
async def test_a_client_that_leaves_cancels_the_handler(made, wire):
    """Only with ``cancel_on_disconnect``."""
    begun, cancelled = asyncio.Event(), asyncio.Event()

    async def wait(request):
        begun.set()
        try:
            await asyncio.Event().wait()
        except asyncio.CancelledError:
            cancelled.set()
            raise

    async with serve(made(wait, cancel_on_disconnect=True)) as server:
        async with wire(server) as client:
            client.send_request('GET /')
            await begun.wait()
        await cancelled.wait()


@pytest.mark.parametrize('response', [{'status': 200, 'body': iter('a')}, {'websocket': print}])
async def test_nothing_is_sent_to_a_client_that_has_left(wire, frames, until, caplog, response):
    """A streamed response is not begun, and no WebSocket opens."""
    seen = []

    @web.middleware
    async def notes(request, handler):
        seen.append(request)
        return await handler(request)

    async def handler(request):
        await until(lambda: seen[0].transport is None)
        return response

    async with serve(at_route(handler, [notes])) as server:
        async with wire(server) as client:
            client.send_request('GET /', *frames.asking)
            await until(lambda: seen)
        await until(lambda: seen[0].transport is None)
    assert 'failed' not in caplog.text


async def chat(socket):
    """Send back each message."""
    async for message in socket:
        await socket.send(message)


@BOTH
async def test_a_response_may_be_a_websocket(made):
    """All options work, since its frames are handled here."""
    response = {'websocket': {'callback': chat, 'heartbeat': 5}, 'headers': {'X': 'a', 'TE': 'b'}}
    async with serve(made(lambda request: response)) as server, http.Client() as client:
        async with client.websocket(url=server.url) as socket:
            await socket.send('hello')
            assert 'hello' == await anext(socket)
            assert ('a', None) == (
                socket.response.headers['X'],
                socket.response.headers.get('TE'),
            )
        assert 426 == (await client.request(url=server.url)).status


@pytest.mark.parametrize(
    ('remote', 'connected', 'seen'),
    [
        ('192.0.2.1', True, '192.0.2.1'),
        ('192.0.2.1', False, '192.0.2.1'),
        (None, False, ''),
        ('', True, '203.0.113.9'),  # the peer of a Unix socket is trusted
    ],
)
async def test_a_client_that_has_left_does_not_pass_for_a_unix_socket(remote, connected, seen):
    """Its address is that of its request, or unknown."""
    peername = (remote, 1) if remote else remote
    transport = SimpleNamespace(get_extra_info={'peername': peername}.get)
    request = SimpleNamespace(
        method='GET',
        raw_path='/',
        scheme='http',
        version=HttpVersion11,
        headers={'Host': 'h', 'X-Forwarded-For': '203.0.113.9'},
        remote=remote,
        transport=transport if connected else None,
    )
    exchange = WebExchange(request, set(), decompressed=False)
    table = await exchange.head(check_trusted_proxies(['unix']))
    assert seen == table.get('ip', '')


async def test_an_application_closes_its_websockets_at_shutdown():
    """The code is 1001 at both ends, as soon as the client has replied, and callbacks end."""
    codes = []

    async def noted(socket):
        await chat(socket)
        codes.append(socket.code)

    application = to_application(lambda request: {'websocket': noted})
    async with contextlib.AsyncExitStack() as stack:
        server = await stack.enter_async_context(serve(application))
        async with http.Client() as client, client.websocket(url=server.url) as socket:
            await socket.send('hello')
            assert 'hello' == await anext(socket)
            closing = asyncio.create_task(stack.aclose())
            assert [] == [message async for message in socket]
            assert 1001 == socket.code
            await closing
    assert [1001] == codes


async def test_a_unix_socket_has_no_address(tmp_path, wire):
    """Neither the server nor the client has one."""
    path = str(tmp_path / 's')
    seen = []
    runner = web.AppRunner(to_application(lambda request: seen.append(request) or {'status': 204}))
    await runner.setup()
    await web.UnixSite(runner, path).start()
    async with wire(path=path) as client:
        client.send(b'GET / HTTP/1.0\r\n\r\n')
        await client.rest()
    await runner.cleanup()
    assert (None, 'localhost', '1.0') == (seen[0].ip, seen[0].host, seen[0].version)


def test_a_wrong_option_is_an_error():
    """Both functions raise, and name the option."""
    for made in (to_web, to_application):
        with pytest.raises(http.TableError, match='max_body'):
            made(echo, max_bdy=1)
    with pytest.raises(http.TableError, match="did you mean 'lifespan'"):
        to_application(echo, on_shutdown=print)
    with pytest.raises(http.TableError, match='it must be absent: it belongs to the application'):
        to_web(echo, lifespan=contextlib.nullcontext)


async def test_the_handler_gets_a_body_that_a_middleware_has_read():
    """aiohttp keeps it."""

    @web.middleware
    async def reads(request, handler):
        assert 'text' == await request.text()
        return await handler(request)

    async with serve(at_route(echo, [reads])) as server, http.Client() as client:
        assert 'text' == (await client.request(url=server.url, method='POST', body='text')).body


class Recorder(asyncio.Protocol):
    """A protocol that records what it receives."""

    def __init__(self):
        self.data, self.lost = b'', asyncio.Event()

    def connection_made(self, transport):
        """Keep the transport."""
        self.transport = transport

    def data_received(self, data):
        """Record the data."""
        self.data += data

    def connection_lost(self, exc):
        """Record the end."""
        self.lost.set()


async def test_a_watched_protocol_gets_every_call(until):
    """``left`` returns at the end of the connection; if cancelled, it leaves no trace."""
    protocol = Recorder()
    loop = asyncio.get_running_loop()
    server = await loop.create_server(lambda: protocol, '127.0.0.1', 0)
    _, writer = await asyncio.open_connection(*server.sockets[0].getsockname())
    await until(lambda: hasattr(protocol, 'transport'))

    waiting = asyncio.create_task(WatchedProtocol(protocol.transport).left())
    await asyncio.sleep(0)
    assert protocol is not protocol.transport.get_protocol()
    waiting.cancel()
    await asyncio.gather(waiting, return_exceptions=True)
    assert protocol is protocol.transport.get_protocol()

    waiting = asyncio.create_task(WatchedProtocol(protocol.transport).left())
    writer.write(b'hello')
    await until(lambda: protocol.data == b'hello')
    assert not waiting.done()
    writer.close()
    await waiting
    assert protocol.lost.is_set()
    server.close()
    await server.wait_closed()


async def test_a_protocol_set_meanwhile_is_kept(until):
    """The watched one is not put back."""
    protocol, other = Recorder(), Recorder()
    loop = asyncio.get_running_loop()
    server = await loop.create_server(lambda: protocol, '127.0.0.1', 0)
    _, writer = await asyncio.open_connection(*server.sockets[0].getsockname())
    await until(lambda: hasattr(protocol, 'transport'))
    waiting = asyncio.create_task(WatchedProtocol(protocol.transport).left())
    await asyncio.sleep(0)
    protocol.transport.set_protocol(other)
    waiting.cancel()
    await asyncio.gather(waiting, return_exceptions=True)
    assert other is protocol.transport.get_protocol()
    writer.close()
    await other.lost.wait()
    server.close()
    await server.wait_closed()
