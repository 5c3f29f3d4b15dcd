"""A handler as an ASGI application: what no engine has a part in."""

import asyncio
import subprocess
import sys

import pytest

import aioluahttp as http
from aioluahttp.asgi import AsgiExchange, to_asgi
from aioluahttp.errors import Refused
from aioluahttp.exchange.forwarded import NO_PROXIES
from aioluahttp.headers import Headers


def hello(request):
    """Say where it was asked."""
    return {'status': 200, 'body': f'{request.method} {request.url}'}


async def test_a_request_is_answered(by_messages):
    """A start with the headers, and a body."""
    sent = await by_messages(to_asgi(hello), path='/a')
    assert [
        {
            'type': 'http.response.start',
            'status': 200,
            'headers': [(b'content-type', b'text/plain; charset=utf-8'), (b'content-length', b'6')],
        },
        {'type': 'http.response.body', 'body': b'GET /a', 'more_body': False},
    ] == sent


BEGIN, END = {'type': 'lifespan.startup'}, {'type': 'lifespan.shutdown'}


async def test_it_has_a_begin_and_an_end(by_messages):
    """Functions for them may be plain or async, or absent."""
    seen = []

    async def end():
        seen.append('end')

    application = to_asgi(hello, on_startup=lambda: seen.append('begin'), on_shutdown=end)
    for one in (application, to_asgi(hello)):
        sent = await by_messages(one, BEGIN, END, type='lifespan')
        types = [message['type'] for message in sent]
        assert ['lifespan.startup.complete', 'lifespan.shutdown.complete'] == types
    assert ['begin', 'end'] == seen


@pytest.mark.parametrize('phase', ['startup', 'shutdown'])
async def test_a_mistake_in_them_is_told(phase, caplog, by_messages):
    """So an engine does not start, and it is logged."""

    async def fail():
        raise LookupError('no database')

    application = to_asgi(hello, **{f'on_{phase}': fail})
    *_, last = await by_messages(application, BEGIN, END, type='lifespan')
    assert {
        'type': f'lifespan.{phase}.failed',
        'message': 'LookupError: no database',
    } == last
    assert f'on_{phase} failed' in caplog.text


async def test_what_is_no_scope_is_an_error(by_messages):
    """As ASGI asks for."""
    with pytest.raises(http.ProtocolError, match=r"no scope of the type 'dns'"):
        await by_messages(to_asgi(hello), type='dns')


@pytest.mark.parametrize(
    ('options', 'message'),
    [
        ({'on_startup': 1}, "'on_startup' is 1; it must be a function without arguments"),
        ({'on_error': 1}, "'on_error' is 1"),
        ({'into': 'txt'}, "'into' is 'txt'"),
        ({'tls': None}, "unknown key 'tls'"),
        ({'max_bdy': 1}, "did you mean 'max_body'"),
    ],
)
def test_a_wrong_option_is_an_error(options, message):
    """It names the option; what is the engine's is none."""
    with pytest.raises(http.TableError, match=message):
        to_asgi(hello, **options)


def test_it_loads_no_server():
    """``import aioluahttp.asgi`` runs nothing of aiohttp's server, nor ours."""
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
def lines(by_messages):
    """Give what a function makes of the line of a scope, and what was sent by then."""

    async def run(function, *messages, **scope):
        made = []

        async def application(*given):
            made.append(await function(AsgiExchange(*given)))

        sent = await by_messages(application, *messages, **scope)
        return made[0], sent

    return run


async def head(line):
    """Make the table."""
    return await line.head(NO_PROXIES)


def part(body=b'', more=False):
    """Make a message of a request."""
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
async def test_a_url_is_the_path_below_the_root(lines, scope, url):
    """As it came, where the engine tells."""
    table, _ = await lines(head, **scope)
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
async def test_a_table_says_who_asked_for_what(lines, scope, expected):
    """As far as the engine knows."""
    table, _ = await lines(head, **scope)
    assert expected == tuple(map(table.get, ('scheme', 'host', 'port', 'version', 'ip')))


async def test_headers_are_as_they_came(lines):
    """Repeated, and with bytes that are no text."""
    given = [(b'x', b'\xff'), (b'x', b'b')]
    table, _ = await lines(head, headers=given)
    assert ['\udcff', 'b'] == table.headers.getall('X')


async def test_two_hosts_are_refused(lines):
    """It is unclear which is meant."""
    with pytest.raises(Refused):
        await lines(head, headers=[(b'host', b'a'), (b'host', b'b')])


@pytest.mark.parametrize(
    ('message', 'announced'), [(part(), False), (part(b'x'), True), (part(more=True), True)]
)
async def test_http_2_has_bodies_that_nothing_announces(lines, message, announced):
    """So the first part tells; it is not lost."""

    async def look(line):
        await line.head(NO_PROXIES)
        return line.announced, [data async for data in line.parts(1)]

    found, _ = await lines(look, message, part(b'y'), http_version='2')
    assert (announced, b'x' if message['body'] else b'y' if announced else b'') == (
        found[0],
        b''.join(found[1]),
    )


async def read(line):
    """Read a body to its end."""
    return [data async for data in line.parts(0.01)]


async def test_a_body_comes_in_parts(lines):
    """Those with nothing in them are none."""
    messages = [part(b'a', True), part(b'', True), {'type': 'http.request', 'body': b'b'}]
    assert [b'a', b'b'] == (await lines(read, *messages))[0]


@pytest.mark.parametrize(('messages', 'kind'), [((GONE,), ConnectionError), ((), TimeoutError)])
async def test_a_body_may_not_come(lines, messages, kind):
    """The client leaves, or says nothing for too long."""
    with pytest.raises(kind):
        await lines(read, part(b'a', True), *messages)


async def test_a_body_is_gone_with_the_answer(lines):
    """Who reads on is told."""

    async def late(line):
        await line.whole(200, None, Headers(), b'')
        await read(line)

    with pytest.raises(http.ProtocolError, match='is answered'):
        await lines(late, part(b'a'))


async def test_a_client_that_leaves_is_noticed_behind_the_body(lines):
    """Whether somebody reads that, or nobody does."""

    async def wait(line):
        await line.left()
        return line

    await lines(wait, part(b'a', True), part(b'b'), GONE)

    async def wait_and_read(line):
        parts = line.parts(1)
        waiting = asyncio.create_task(line.left())
        await asyncio.sleep(0)
        assert not waiting.done()
        found = [data async for data in parts]
        await waiting
        return found

    assert [b'a', b'b'] == (await lines(wait_and_read, part(b'a', True), part(b'b'), GONE))[0]


async def answer(line):
    """Answer in two parts."""
    await line.start(200, 'Fine', Headers({'X-É'[:2] + 'a': 'é', 'Connection': 'close'}))
    await line.write(b'a')
    await line.end()
    line.cut()
    return await line.file('/a')


@pytest.mark.parametrize('version', ['1.1', '2'])
async def test_an_answer_is_messages(lines, version):
    """HTTP/2 has no headers that are for one hop."""
    close = [(b'connection', b'close')] if version == '1.1' else []
    files, sent = await lines(answer, http_version=version)
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


async def test_a_file_is_left_to_the_engine(lines):
    """Where that takes one."""

    async def send(line):
        assert await line.file('/a')

    sent = (await lines(send, extensions={'http.response.pathsend': {}}))[1]
    assert [{'type': 'http.response.pathsend', 'path': '/a'}] == sent


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
async def test_a_websocket_is_declined(lines, extensions, types):
    """With an answer where the engine takes one, else by a close, which is a 403."""
    files, sent = await lines(answer, **SOCKET, extensions=extensions)
    assert types == [message['type'] for message in sent]
    assert not files


async def test_a_client_that_has_left_is_a_connection_error(lines):
    """Some engines raise an OSError for it."""

    async def send(message):
        raise OSError('gone')

    async def no(line):
        line._send = send
        try:
            await line.write(b'')
        finally:
            assert line.gone

    with pytest.raises(ConnectionResetError):
        await lines(no)


async def test_a_websocket_opens(lines):
    """With the first subprotocol that is known, and the headers that are the callback's."""

    async def opened(line):
        request = await line.head(NO_PROXIES)
        assert line.refuses({}, request) is None
        headers = Headers({'X': 'a', 'Connection': 'close', 'Sec-WebSocket-Accept': 'no'})
        end, protocol = await line.open({'protocols': ['b']}, request, headers)
        await end.close(1000, '')
        return protocol

    protocol, sent = await lines(opened, {'type': 'websocket.connect'}, **SOCKET)
    assert 'b' == protocol
    accept = {'type': 'websocket.accept', 'subprotocol': 'b', 'headers': [(b'x', b'a')]}
    assert accept == sent[0]


@pytest.mark.parametrize(
    ('scope', 'fields', 'status'), [({}, {}, 426), (SOCKET, {'origin': 'http://evil'}, 403)]
)
async def test_what_opens_no_websocket_is_refused(lines, scope, fields, status):
    """A plain request, and a page of another origin."""

    async def refused(line):
        return line.refuses({}, await line.head(NO_PROXIES))

    pairs = [(b'host', b'h'), *((name.encode(), one.encode()) for name, one in fields.items())]
    assert status == (await lines(refused, **scope, headers=pairs))[0][0]


async def test_a_client_may_leave_before_a_websocket_opens(lines):
    """Nothing is said to it."""

    async def left(line):
        await line.open({}, await line.head(NO_PROXIES), Headers())

    with pytest.raises(ConnectionResetError):
        await lines(left, {'type': 'websocket.disconnect'}, **SOCKET)
