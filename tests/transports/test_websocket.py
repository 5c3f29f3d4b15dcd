"""WebSockets opened by a client."""

import asyncio
import base64
import pathlib
import tempfile

import aiohttp
import pytest
import websockets
import yarl

import aioluahttp as http
from aioluahttp.transports.websocket import as_request, split_socket_table


async def echo(socket):
    """Send the target of the request, then echo each message."""
    await socket.send(socket.request.url)
    async for message in socket:
        await socket.send(message)


def serve(**options):
    """Serve ``echo``."""
    return http.listen('127.0.0.1', 0, lambda request: {'websocket': echo}, **options)


@pytest.mark.parametrize(
    ('given', 'url'),
    [
        ('ws://h/x', 'http://h/x'),
        ('WSS://h/x', 'httpS://h/x'),
        ('https://h/ws://', 'https://h/ws://'),
        ('wsx://h', 'wsx://h'),
        (yarl.URL('wss://h/x'), 'https://h/x'),
        (5, 5),
    ],
)
def test_the_scheme_of_a_websocket_url_becomes_that_of_http(given, url):
    """``ws`` and ``wss`` become ``http`` and ``https`` in a URL."""
    assert {'url': url} == split_socket_table({'url': given})[0]


@pytest.mark.parametrize(('given', 'scheme'), [('ws', 'http'), ('WSS', 'https'), ('http', 'http')])
def test_a_scheme_may_be_a_key_of_the_table(given, scheme):
    """It is converted as in a URL."""
    assert {'scheme': scheme} == split_socket_table({'scheme': given})[0]


def test_a_table_is_split_into_a_request_and_options():
    """The rest is a request table."""
    options = {'protocols': ['a'], 'heartbeat': 5, 'max_message': None, 'compress': False}
    assert ({'host': 'h'}, options) == split_socket_table({'host': 'h', **options})
    assert ({'host': 'h'}, {'heartbeat': None}) == split_socket_table(
        {'host': 'h', 'protocols': None, 'heartbeat': None, 'compress': None}
    )


@pytest.mark.parametrize(
    ('wrong', 'what'),
    [
        ({'body': 'x'}, "unknown key 'body'"),
        ({'hartbeat': 5}, "did you mean 'heartbeat'"),
        ({'method': 'POST'}, "'method' is 'POST'"),
        ({'protocols': 'a'}, "'protocols' is 'a'"),
        ({'scheme': 5}, "'scheme' is 5"),
        ({'url': 5}, "'url' is 5"),
        ({'url': 'ftp://h'}, "'scheme' is 'ftp'"),
    ],
)
async def test_a_wrong_table_is_a_table_error(wrong, what):
    """The error names the key and carries the table; nothing was sent."""
    with pytest.raises(http.TableError, match=what) as caught:
        async with http.websocket({'host': '127.0.0.1', **wrong}):
            pass
    assert '127.0.0.1' == caught.value.request['host']


def test_a_request_that_a_server_received_may_be_sent_on():
    """Its handshake headers, method and body are left out."""
    request = http.to_request(
        method='POST', url='http://h', json=1, headers={'Sec-WebSocket-Key': 'x', 'A': 'b'}
    )
    asked = as_request(request)
    assert ('GET', None) == (asked.method, asked.body)
    assert {'A': 'b', 'Content-Type': 'application/json'} == asked.headers


@pytest.mark.parametrize('scheme', ['ws', 'http'])
async def test_a_table_or_keywords_name_the_server(scheme):
    """As for ``request``; the table is not changed."""
    async with serve() as server:
        table = {'url': f'{scheme}://127.0.0.1:{server.port}/a%20b?c=d', 'headers': {'A': 'b'}}
        before = {**table, 'headers': dict(table['headers'])}
        async with http.websocket(table) as socket:
            assert '/a%20b?c=d' == await anext(socket)
        assert before == table
        async with http.websocket(host='127.0.0.1', port=server.port, query={'c': 'd'}) as socket:
            assert '/?c=d' == await anext(socket)


async def test_a_client_adds_its_defaults(raw_server, frames):
    """Its base URL, headers, login and cookies are sent."""

    async def decline(line):
        await line.request()
        await line.send(b'HTTP/1.1 403 No\r\nContent-Length: 0\r\n\r\n')

    async with raw_server(decline) as peer:
        defaults = {'base_url': peer.url + '/v1/', 'headers': {'A': 'b'}, 'auth': 'me:secret'}
        async with http.Client(**defaults, json='x', cookies={'c': '1'}) as client:
            with pytest.raises(http.ProtocolError, match='declined a WebSocket: 403') as caught:
                async with client.websocket(url='chat', protocols=['x']):
                    pass
    [asked] = peer.requests
    assert 'GET /v1/chat HTTP/1.1' == asked.line
    login = 'Basic ' + base64.b64encode(b'me:secret').decode()
    for name, value in {'A': 'b', 'Authorization': login, 'Cookie': 'c=1'}.items():
        assert [value] == asked.values(name)
    assert (['x'], ['websocket']) == (
        asked.values('Sec-WebSocket-Protocol'),
        asked.values('Upgrade'),
    )
    assert (b'', []) == (asked.body, asked.values('Content-Length'))
    assert {'url': 'chat', 'protocols': ['x']} == caught.value.request


HEAD = b'HTTP/1.1 101 Switching Protocols\r\nUpgrade: websocket\r\nConnection: Upgrade\r\n'
BAD = {
    'a redirect': (b'HTTP/1.1 302 Found\r\nLocation: /\r\nContent-Length: 0\r\n\r\n', '302'),
    'a plain response': (b'HTTP/1.1 200 OK\r\nContent-Length: 2\r\n\r\nhi', '200'),
    'no proof': (HEAD + b'\r\n', 'did not understand'),
    'no HTTP': (b'hello\r\n\r\n', 'GET http://127.0.0.1'),
    'another interim response': (b'HTTP/1.1 99 What\r\n\r\n', '99'),
    'nothing': (b'', 'disconnected'),
}


@pytest.mark.parametrize(('response', 'what'), BAD.values(), ids=BAD)
async def test_a_server_that_declines_is_a_protocol_error(raw_server, response, what):
    """Its status is in the message, and nothing is left open."""

    async def decline(line):
        await line.request()
        await line.send(response)

    async with raw_server(decline) as peer:
        with pytest.raises(http.ProtocolError, match=what):
            async with http.websocket(url=peer.url + '/x?secret'):
                pass


@pytest.mark.parametrize('lent', [False, True], ids=['wire', 'given session'])
@pytest.mark.parametrize(
    ('version', 'fields', 'what'),
    [
        # The rest would be HTTP.
        ('1.1', '', 'did not switch protocols, or closed'),
        ('1.1', 'Upgrade: websocket\r\n', 'did not switch protocols, or closed'),
        # Upgrade is a field of HTTP/1.1 (RFC 9110 7.8).
        ('1.0', 'Upgrade: websocket\r\nConnection: Upgrade\r\n', 'switched protocols in HTTP/1.0'),
    ],
)
async def test_a_101_that_switches_nothing_is_a_protocol_error(
    raw_server, lent, version, fields, what
):
    """101 and the right key, but no Upgrade, none in Connection, or a version that has none."""
    from aioluahttp.websockets.handshake import accept_of

    async def half(line):
        [key] = (await line.request()).values('Sec-WebSocket-Key')
        proof = f'Sec-WebSocket-Accept: {accept_of(key)}\r\n'
        await line.send(f'HTTP/{version} 101 Yes\r\n{fields}{proof}\r\n'.encode())

    async with (
        raw_server(half) as peer,
        aiohttp.ClientSession() as session,
        http.Client(session=session if lent else None) as client,
    ):
        with pytest.raises(http.ProtocolError, match=what):
            async with client.websocket(url=peer.url):
                pass


async def test_no_connection_is_a_connect_error():
    """Nobody listens there."""
    async with serve() as server:
        url = server.url
    with pytest.raises(http.ConnectError):
        async with http.websocket(url=url):
            pass


async def test_a_timeout_is_for_the_handshake_alone(raw_server):
    """A handshake may time out; an open WebSocket has no timeout."""

    async def mute(line):
        await line.request()
        await line.reader.read()

    async with raw_server(mute) as peer:
        for timeout in (0.05, {'read': 0.05}):
            with pytest.raises(http.TimedOut):
                async with http.websocket(url=peer.url, timeout=timeout):
                    pass
    async with serve() as server:
        for timeout in (0.2, {'total': 0.2, 'read': 0.2}):
            async with http.websocket(url=server.url, timeout=timeout) as socket:
                await asyncio.sleep(0.3)
                await anext(socket)
                await socket.send('still here')
                assert 'still here' == await anext(socket)


async def test_an_exception_in_the_block_closes_with_1011():
    """It is raised again; a cancellation does not wait for the peer."""
    ended = asyncio.Queue()

    async def chat(socket):
        try:
            async for _ in socket:
                pass
        finally:
            ended.put_nowait(socket.code)

    async with http.listen('127.0.0.1', 0, lambda request: {'websocket': chat}) as server:
        with pytest.raises(KeyError):
            async with http.websocket(url=server.url):
                raise KeyError
        assert 1011 == await ended.get()
        with pytest.raises(TimeoutError):
            async with asyncio.timeout(0.05), http.websocket(url=server.url) as socket:
                await anext(socket)
        assert 1006 == await ended.get()


async def test_closing_the_client_closes_its_websockets():
    """They close with 1001 (RFC 6455 7.4.1), and no more can be opened."""
    codes = []

    async def chat(socket):
        await echo(socket)
        codes.append(socket.code)

    async with http.listen('127.0.0.1', 0, lambda request: {'websocket': chat}) as server:
        client = http.Client()
        async with client.websocket(url=server.url) as socket:
            assert '/' == await anext(socket)
            await client.close()
            with pytest.raises(StopAsyncIteration):
                await anext(socket)
            assert [1001] == codes
        with pytest.raises(http.ConnectError, match='the client is closed'):
            async with client.websocket(url=server.url):
                pass


async def test_websockets_do_not_count_for_the_limit_of_the_pool():
    """Requests are sent while WebSockets are open."""
    async with (
        serve() as server,
        http.Client(limit=1) as client,
        client.websocket(url=server.url) as first,
        client.websocket(url=server.url) as second,
    ):
        assert '/' == await anext(first) == await anext(second)
        assert 426 == (await client.request(url=server.url)).status


async def test_the_environment_is_read_where_it_is_trusted(monkeypatch, raw_server):
    """With ``trust_env`` the proxy of HTTP_PROXY is used."""

    async def proxy(line):
        await line.request()
        await line.send(b'HTTP/1.1 502 No\r\nContent-Length: 0\r\n\r\n')

    async with raw_server(proxy) as peer:
        monkeypatch.setenv('HTTP_PROXY', peer.url)
        async with http.Client(trust_env=True) as client:
            with pytest.raises(http.ProtocolError, match='502'):
                async with client.websocket(url='ws://nowhere.example/'):
                    pass
    assert 'GET http://nowhere.example/ HTTP/1.1' == peer.requests[0].line


async def test_a_websocket_over_a_unix_socket():
    """``unix`` is a path to connect to, as for a request."""
    with tempfile.TemporaryDirectory() as folder:
        path = str(pathlib.Path(folder) / 's')
        async with (
            http.listen(None, None, lambda request: {'websocket': echo}, unix=path),
            http.websocket(unix=path) as socket,
        ):
            assert '/' == await anext(socket)


async def test_the_server_chooses_the_subprotocol():
    """``protocol`` is one of those offered."""

    async def handler(peer):
        await peer.send(str(peer.subprotocol))

    async with websockets.serve(handler, '127.0.0.1', 0, subprotocols=['v2', 'v1']) as server:
        url = f'ws://127.0.0.1:{server.sockets[0].getsockname()[1]}/'
        async with http.websocket(url=url, protocols=['v1', 'v2']) as socket:
            assert socket.protocol == await anext(socket)
            assert socket.protocol in ('v1', 'v2')


async def test_a_server_of_the_websockets_package_may_decline():
    """An origin that it does not list gets a 403."""

    async def handler(peer):
        pass

    origins = ['https://app.example']
    async with websockets.serve(handler, '127.0.0.1', 0, origins=origins) as server:
        url = f'ws://127.0.0.1:{server.sockets[0].getsockname()[1]}/'
        with pytest.raises(http.ProtocolError, match='declined a WebSocket: 403'):
            async with http.websocket(url=url, headers={'Origin': 'https://evil.example'}):
                pass
        async with http.websocket(url=url, headers={'Origin': origins[0]}) as socket:
            assert [] == [message async for message in socket]
