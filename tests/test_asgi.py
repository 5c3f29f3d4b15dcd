"""A handler as an ASGI application, without an ASGI server."""

import asyncio
import contextlib
import subprocess
import sys
from types import SimpleNamespace

import pytest

import aioluahttp as http
from aioluahttp.asgi import AsgiExchange, to_asgi
from aioluahttp.errors import Refused
from aioluahttp.exchange.forwarded import NO_PROXIES
from aioluahttp.exchange.response import ReadyResponse
from aioluahttp.headers import Headers


def hello(request):
    """Return the method and URL of the request."""
    return {'status': 200, 'body': f'{request.method} {request.url}'}


async def test_a_request_gets_a_response(by_messages):
    """It is a start message with the headers, and a body message."""
    sent = await by_messages(to_asgi(hello), path='/a')
    assert [
        {
            'type': 'http.response.start',
            'status': 200,
            'headers': [(b'content-type', b'text/plain; charset=utf-8'), (b'content-length', b'6')],
        },
        {'type': 'http.response.body', 'body': b'GET /a', 'more_body': False},
    ] == sent


STARTUP, SHUTDOWN = {'type': 'lifespan.startup'}, {'type': 'lifespan.shutdown'}


@pytest.mark.parametrize('phase', ['startup', 'shutdown'])
async def test_an_error_at_startup_or_shutdown_is_reported(phase, caplog, by_messages):
    """The engine gets a failed message, and the error is logged."""

    @contextlib.asynccontextmanager
    async def lifespan():
        if phase == 'startup':
            raise LookupError('no database')
        yield
        raise LookupError('no database')

    application = to_asgi(hello, lifespan=lifespan)
    *_, last = await by_messages(application, STARTUP, SHUTDOWN, type='lifespan')
    assert {
        'type': f'lifespan.{phase}.failed',
        'message': 'LookupError: no database',
    } == last
    assert f'the lifespan failed at {phase}' in caplog.text


async def test_an_unknown_scope_is_an_error(by_messages):
    """ASGI requires it."""
    with pytest.raises(http.ProtocolError, match=r"unknown ASGI scope 'dns'"):
        await by_messages(to_asgi(hello), type='dns')


@pytest.mark.parametrize(
    ('options', 'message'),
    [
        ({'on_startup': print}, "unknown key 'on_startup': did you mean 'lifespan'?"),
        ({'lifespan': 1}, "'lifespan' is 1; it must be a function without arguments"),
        ({'on_error': 1}, "'on_error' is 1"),
        ({'into': 'txt'}, "'into' is 'txt'"),
        ({'tls': None}, "unknown key 'tls'"),
        ({'max_bdy': 1}, "did you mean 'max_body'"),
    ],
)
def test_a_wrong_option_is_an_error(options, message):
    """The error names it; an option of ``listen`` that is the engine's job is unknown."""
    with pytest.raises(http.TableError, match=message):
        to_asgi(hello, **options)


def test_it_loads_no_server():
    """``import aioluahttp.asgi`` loads neither aiohttp's server nor ours."""
    script = (
        'import sys, aioluahttp.asgi; print(sorted(n for n in sys.modules '
        'if n.startswith(("aiohttp.web", "aioluahttp.server"))))'
    )
    done = subprocess.run(
        [sys.executable, '-c', script], capture_output=True, text=True, check=True
    )
    assert '[]' == done.stdout.strip()


SOCKET = {'type': 'websocket', 'scheme': 'ws', 'subprotocols': ['a', 'b']}


@pytest.fixture
def run_exchange(by_messages):
    """Run a function on the exchange of a scope; return its result and the messages sent."""

    async def run(function, *messages, **scope):
        made = []

        async def application(*given):
            made.append(await function(AsgiExchange(*given)))

        sent = await by_messages(application, *messages, **scope)
        return made[0], sent

    return run


async def head(exchange):
    """Make the table of the request."""
    return await exchange.head(NO_PROXIES)


def part(body=b'', more=False):
    """Make a message with a part of the request body."""
    return {'type': 'http.request', 'body': body, 'more_body': more}


GONE = {'type': 'http.disconnect'}


@pytest.mark.parametrize(
    ('scope', 'url'),
    [
        ({'raw_path': b'/%41%2Fb', 'path': '/A/b'}, '/%41%2Fb'),
        ({'raw_path': b'/a?b', 'path': '/a', 'query_string': b'b%20'}, '/a?b%20'),
        ({'path': '/é b/%?\udcff'}, '/%C3%A9%20b/%25%3F%FF'),
        ({'raw_path': b'/app/x', 'path': '/app/x', 'root_path': '/app'}, '/x'),
        ({'raw_path': b'/%61pp%2fx', 'path': '/app/x', 'root_path': '/app'}, '/%61pp%2fx'),
        ({'raw_path': b'/%c3%a9/x', 'path': '/é/x', 'root_path': '/é/'}, '/x'),
        ({'raw_path': b'/app', 'path': '/app', 'root_path': '/app'}, '/'),
        ({'raw_path': b'/apple', 'path': '/apple', 'root_path': '/app'}, '/apple'),
        ({'raw_path': b'/x', 'path': '/x', 'root_path': '/app'}, '/x'),
        ({'raw_path': b'http://h/x', 'path': 'http://h/x'}, '/x'),
    ],
)
async def test_a_url_is_the_path_below_root_path(run_exchange, scope, url):
    """The path is as received, if the engine gives ``raw_path``."""
    table, _ = await run_exchange(head, **scope)
    assert url == table.url


@pytest.mark.parametrize(
    ('scope', 'expected'),
    [
        ({}, ('http', 'example.org', 80, '1.1', None)),
        ({'client': None, 'server': None}, ('http', 'example.org', 80, '1.1', None)),
        ({'client': ['::1', 9]}, ('http', 'example.org', 80, '1.1', '::1')),
        (SOCKET | {'scheme': 'wss'}, ('https', 'example.org', 443, '1.1', None)),
        ({'headers': [], 'server': ('10.0.0.1', 81)}, ('http', '10.0.0.1', 81, '1.1', None)),
        ({'headers': [], 'server': ('/run/s', None)}, ('http', 'localhost', 80, '1.1', None)),
    ],
)
async def test_a_table_has_the_client_and_the_requested_host(run_exchange, scope, expected):
    """As far as the engine knows them."""
    table, _ = await run_exchange(head, **scope)
    assert expected == tuple(map(table.get, ('scheme', 'host', 'port', 'version', 'ip')))


async def test_headers_are_kept_as_received(run_exchange):
    """Repeated ones stay apart, and bytes that are not UTF-8 are surrogates."""
    given = [(b'x', b'\xff'), (b'x', b'b')]
    table, _ = await run_exchange(head, headers=given)
    assert ['\udcff', 'b'] == table.headers.getall('X')


async def test_two_hosts_are_refused(run_exchange):
    """It is ambiguous which is meant."""
    with pytest.raises(Refused):
        await run_exchange(head, headers=[(b'host', b'a'), (b'host', b'b')])


@pytest.mark.parametrize(
    ('message', 'announced'), [(part(), False), (part(b'x'), True), (part(more=True), True)]
)
async def test_http_2_bodies_need_no_announcing_header(run_exchange, message, announced):
    """The first message tells whether there is one; its data is not lost."""

    async def look(exchange):
        await exchange.head(NO_PROXIES)
        return exchange.announced, [data async for data in exchange.parts(1)]

    found, _ = await run_exchange(look, message, part(b'y'), http_version='2')
    assert (announced, b'x' if message['body'] else b'y' if announced else b'') == (
        found[0],
        b''.join(found[1]),
    )


async def read(exchange):
    """Read a body to its end."""
    return [data async for data in exchange.parts(0.01)]


async def test_a_body_comes_in_parts(run_exchange):
    """Empty parts are skipped."""
    messages = [part(b'a', True), part(b'', True), {'type': 'http.request', 'body': b'b'}]
    assert [b'a', b'b'] == (await run_exchange(read, *messages))[0]


@pytest.mark.parametrize(('messages', 'kind'), [((GONE,), ConnectionError), ((), TimeoutError)])
async def test_a_body_that_does_not_arrive_is_an_error(run_exchange, messages, kind):
    """The client leaves, or sends nothing within the timeout."""
    with pytest.raises(kind):
        await run_exchange(read, part(b'a', True), *messages)


async def test_an_empty_part_is_no_progress():
    """``body_timeout`` counts from the last part with data."""
    ended = asyncio.Event()

    async def receive():
        await asyncio.sleep(0.001)  # the pace of the client
        return part(b'', True)

    async def send(message):
        assert (message.get('status', 408), message['type'][:5]) == (408, 'http.')
        ended.set()

    scope = {'type': 'http', 'http_version': '1.1', 'method': 'POST', 'path': '/', 'headers': []}
    await to_asgi(hello, body_timeout=0.05)(scope, receive, send)
    assert ended.is_set()


async def test_a_body_cannot_be_read_after_the_response(run_exchange):
    """Reading it is a ProtocolError."""

    async def late(exchange):
        await exchange.whole(ReadyResponse(200, None, Headers(), None, b''), b'')
        await read(exchange)

    with pytest.raises(http.ProtocolError, match='is answered'):
        await run_exchange(late, part(b'a'))


async def test_a_client_that_leaves_is_noticed_after_the_body(run_exchange):
    """Both while the body is being read and while it is not."""

    async def wait(exchange):
        await exchange.left()
        return exchange

    await run_exchange(wait, part(b'a', True), part(b'b'), GONE)

    async def wait_and_read(exchange):
        parts = exchange.parts(1)
        waiting = asyncio.create_task(exchange.left())
        await asyncio.sleep(0)
        assert not waiting.done()
        found = [data async for data in parts]
        await waiting
        return found

    assert [b'a', b'b'] == (await run_exchange(wait_and_read, part(b'a', True), part(b'b'), GONE))[
        0
    ]


CONNECT, LOST = {'type': 'websocket.connect'}, {'type': 'websocket.disconnect', 'code': 1006}


async def test_a_websocket_opens_though_its_handler_waits(by_messages):
    """``cancel_on_disconnect`` does not take the handshake for a client that leaves."""
    returned = asyncio.Event()

    async def chat(socket):
        assert [] == [message async for message in socket]
        assert 1001 == socket.code

    async def handler(request):
        for _ in range(3):
            await asyncio.sleep(0)
        returned.set()
        return {'websocket': chat}

    async def application(scope, receive, send):
        async def later():
            if received:
                await returned.wait()
            received.append(message := await receive())
            return message

        received = []
        await to_asgi(handler, cancel_on_disconnect=True)(scope, later, send)

    sent = await by_messages(application, CONNECT, LOST | {'code': 1001}, **SOCKET)
    assert 'websocket.accept' == sent[0]['type']


@pytest.mark.parametrize('extensions', [{}, {'websocket.http.response': {}}])
async def test_a_websocket_may_be_refused_with_a_stream(by_messages, extensions):
    """The handshake, which nobody took, is no client that leaves."""

    async def parts():
        for part in b'ab', b'cd':
            await asyncio.sleep(0)
            yield part

    application = to_asgi(lambda request: {'status': 404, 'body': parts()})
    sent = await by_messages(application, CONNECT, extensions=extensions, **SOCKET)
    if extensions:
        assert (404, b'abcd') == (sent[0]['status'], b''.join(one['body'] for one in sent[1:]))
    else:
        assert [{'type': 'websocket.close'}] == sent


@pytest.mark.parametrize('messages', [[part()], [part(b'a')], [part(b'a'), part(b'b')]])
async def test_a_stream_ends_when_the_client_leaves_though_nobody_read_the_body(
    by_messages, messages
):
    """The body of the request is all there."""
    closed = []

    async def endless():
        try:
            while True:
                await asyncio.sleep(0)
                yield b'x'
        finally:
            closed.append(True)

    application = to_asgi(lambda request: {'status': 200, 'body': endless()}, into='stream')
    async with asyncio.timeout(10):
        await by_messages(application, *messages, GONE, method='POST')
    assert [True] == closed


@pytest.mark.parametrize('turns', [0, 1, 5])
async def test_a_body_is_read_beside_a_watch_for_the_client(by_messages, turns):
    """No part of it is lost or read twice."""

    async def handler(request):
        parts = []
        async for one in request.body:
            await asyncio.sleep(0)
            parts.append(one)
        return {'status': 200, 'body': b''.join(parts)}

    async def application(scope, receive, send):
        async def slowly():
            for _ in range(turns):
                await asyncio.sleep(0)
            return await receive()

        await to_asgi(handler, into='stream', cancel_on_disconnect=True)(scope, slowly, send)

    sent = [part(b'%d' % number, number < 9) for number in range(10)]
    *_, last = await by_messages(application, *sent, method='POST')
    assert b'0123456789' == last['body']


async def test_a_request_of_http_2_must_say_whether_it_has_a_body(by_messages):
    """Its head does not say so. Without a message in time it is a 408."""
    application = to_asgi(hello, body_timeout=0.05)
    start, _ = await by_messages(application, http_version='2')
    assert 408 == start['status']


WHOLE_FILE = SimpleNamespace(path='/a', is_whole=True, size=9, sent=0)
PART_OF_FILE = SimpleNamespace(path='/a', is_whole=False)


async def respond(exchange):
    """Write a response in two parts."""
    headers = Headers({'X-É'[:2] + 'a': 'é', 'Connection': 'close'})
    await exchange.start(ReadyResponse(200, 'Fine', headers, None, b''))
    await exchange.write(b'a')
    await exchange.end()
    exchange.abort()
    return await exchange.file(WHOLE_FILE)


@pytest.mark.parametrize('version', ['1.1', '2'])
async def test_a_streamed_response_is_messages(run_exchange, version):
    """HTTP/2 has no hop-by-hop headers."""
    close = [(b'connection', b'close')] if version == '1.1' else []
    files, sent = await run_exchange(respond, http_version=version)
    assert [
        {
            'type': 'http.response.start',
            'status': 200,
            'headers': [(b'x-a', 'é'.encode()), *close],
        },
        {'type': 'http.response.body', 'body': b'a', 'more_body': True},
        {'type': 'http.response.body', 'body': b'', 'more_body': False},
    ] == sent
    assert not files


async def test_a_file_is_sent_by_an_engine_that_supports_pathsend(run_exchange):
    """It gets the path of a whole file; a part is read here."""

    async def send(exchange):
        assert not await exchange.file(PART_OF_FILE)
        assert await exchange.file(WHOLE_FILE)

    sent = (await run_exchange(send, extensions={'http.response.pathsend': {}}))[1]
    assert [{'type': 'http.response.pathsend', 'path': '/a'}] == sent
    assert WHOLE_FILE.size == WHOLE_FILE.sent


@pytest.mark.parametrize(
    ('extensions', 'types'),
    [
        ({}, ['websocket.close']),
        (
            {'websocket.http.response': {}},
            ['websocket.http.response.start'] + ['websocket.http.response.body'] * 2,
        ),
    ],
)
async def test_a_websocket_may_be_declined(run_exchange, extensions, types):
    """By a response if the engine supports it, else by a close, which becomes a 403."""
    files, sent = await run_exchange(respond, **SOCKET, extensions=extensions)
    assert types == [message['type'] for message in sent]
    assert not files


async def test_a_client_that_has_left_is_a_connection_error(run_exchange):
    """ASGI specifies an OSError for it."""

    async def send(message):
        raise OSError('gone')

    async def write(exchange):
        exchange._send = send
        try:
            await exchange.write(b'')
        finally:
            assert exchange.gone

    with pytest.raises(ConnectionResetError):
        await run_exchange(write)


async def test_a_websocket_opens(run_exchange):
    """It has the first known subprotocol, and the headers of the handler's response."""

    async def opened(exchange):
        request = await exchange.head(NO_PROXIES)
        assert exchange.handshake_refusal({}, request) is None
        headers = Headers({'X': 'a', 'Connection': 'close', 'Sec-WebSocket-Accept': 'no'})
        end, protocol = await exchange.open({'protocols': ['b']}, request, headers)
        await end.close(1000, '')
        return protocol

    protocol, sent = await run_exchange(opened, {'type': 'websocket.connect'}, **SOCKET)
    assert 'b' == protocol
    accept = {'type': 'websocket.accept', 'subprotocol': 'b', 'headers': [(b'x', b'a')]}
    assert accept == sent[0]


@pytest.mark.parametrize(
    ('scope', 'fields', 'status'),
    [
        ({}, {}, 426),
        (SOCKET | {'http_version': '1.0'}, {}, 426),
        (SOCKET, {'origin': 'http://evil'}, 403),
    ],
)
async def test_a_request_that_may_not_open_a_websocket_is_refused(
    run_exchange, scope, fields, status
):
    """A plain request, or one of HTTP/1.0, is a 426, a page of another origin a 403."""

    async def refused(exchange):
        return exchange.handshake_refusal({}, await exchange.head(NO_PROXIES))

    pairs = [(b'host', b'h'), *((name.encode(), one.encode()) for name, one in fields.items())]
    assert status == (await run_exchange(refused, **scope, headers=pairs))[0][0]


async def test_a_client_may_leave_before_a_websocket_opens(run_exchange):
    """Nothing is sent to it."""

    async def left(exchange):
        await exchange.open({}, await exchange.head(NO_PROXIES), Headers())

    with pytest.raises(ConnectionResetError):
        await run_exchange(left, {'type': 'websocket.disconnect'}, **SOCKET)
