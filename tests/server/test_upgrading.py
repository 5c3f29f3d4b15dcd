"""The answer that makes a WebSocket of its connection."""

import asyncio
import contextlib
import logging
import socket
import struct

import pytest
import websockets

import aioluahttp as http
from aioluahttp.server.upgrading import Upgrade
from aioluahttp.websockets import connection

CLOSE = 8


async def echo(socket):
    """Send back what comes."""
    async for message in socket:
        await socket.send(message)


def serve(chat=echo, answer=None, **options):
    """Serve a WebSocket at any path, of which the options of ``listen`` may be given."""
    return http.listen('127.0.0.1', 0, lambda request: answer or {'websocket': chat}, **options)


def closed(code):
    """Give the data of a close frame."""
    return code.to_bytes(2)


@pytest.mark.parametrize('status', [{}, {'status': 101}])
async def test_an_answer_may_be_a_websocket(wire, frames, status):
    """The handshake is that of RFC 6455 1.3, with headers of the callback's that it leaves be."""
    headers = {
        'Set-Cookie': ['a=1', 'b=2'],
        'Connection': 'close',
        'Sec-WebSocket-Accept': 'no',
        'Sec-WebSocket-Protocol': 'no',
    }
    answer = {'websocket': echo, 'headers': headers, **status}
    async with serve(answer=answer) as server, wire(server) as client:
        client.ask('GET /chat', *frames.asking)
        head = (await client.reader.readuntil(b'\r\n\r\n')).decode()
        assert [
            'HTTP/1.1 101 Switching Protocols',
            'Upgrade: websocket',
            'Connection: Upgrade',
            f'Sec-WebSocket-Accept: {frames.granted}',
            'Set-Cookie: a=1',
            'Set-Cookie: b=2',
        ] == head.split('\r\n')[:-2]
        client.send(frames.write(1, b'hello', masked=True))
        assert (1, b'hello') == await frames.read(client.reader)


WRONG = [
    ('GET', {}, 426),
    ('GET', {'Upgrade': 'h2c', 'Connection': 'Upgrade'}, 426),
    ('POST', {'Content-Length': '0'}, 426),
    ('GET', {'Sec-WebSocket-Version': '12'}, 426),
    ('GET', {'Sec-WebSocket-Key': None}, 400),
    ('GET', {'Sec-WebSocket-Key': 'short'}, 400),
    ('GET', {'Origin': 'https://evil.example'}, 403),
]


@pytest.mark.parametrize(('method', 'fields', 'status'), WRONG)
async def test_what_opens_no_websocket_is_refused(wire, frames, caplog, method, fields, status):
    """426 tells how to ask (RFC 9110 15.5.22, RFC 6455 4.4); the callback is not called."""
    caplog.set_level(logging.INFO, 'aioluahttp')
    asked = dict(line.split(': ') for line in frames.asking)
    fields = (
        asked | fields
        if set(fields) & {'Sec-WebSocket-Version', 'Sec-WebSocket-Key', 'Origin'}
        else fields
    )
    lines = [f'{name}: {value}' for name, value in fields.items() if value is not None]

    async def never(socket):
        pytest.fail('it was called')

    async with serve(never) as server, wire(server) as client:
        client.ask(f'{method} /', *lines)
        client.send(b'\x81\x01x')
        got, headers, _ = await client.answer()
        assert b'' == await client.rest()
        assert 0 == server.stats['errors']
    assert status == got
    if status == 426:
        assert ['Upgrade', 'close'] == headers.getall('Connection')
        assert ('websocket', '13') == (headers['Upgrade'], headers['Sec-WebSocket-Version'])
    assert f'no WebSocket for 127.0.0.1: {status}' in caplog.messages


async def test_an_upgrade_may_be_answered_plainly(wire, frames):
    """Who asks for a WebSocket where there is none gets the answer of the callback."""
    async with serve(answer={'status': 404, 'body': 'none'}) as server, wire(server) as client:
        client.ask('GET /', *frames.asking)
        client.send(b'\x81\x01x' * 50_000)  # which nobody wants
        assert (404, b'none') == (await client.answer())[::2]
        client.send(b'\x81\x01x' * 50_000)
        assert b'' == await client.rest()


async def test_a_mistake_closes_with_1011_and_is_told(caplog):
    """An exception of the function is logged, and given to ``on_error``, as a callback's is."""
    told = []

    async def chat(socket):
        raise KeyError(await anext(socket))

    async with serve(chat, on_error=lambda *both: told.append(both)) as server:
        async with http.websocket(url=server.url + '/path?query') as socket:
            await socket.send('oops')
            assert [] == [message async for message in socket]
            assert 1011 == socket.code
        [(error, request)] = told
        assert 1 == server.stats['errors']
    assert ("KeyError('oops')", '/path') == (repr(error), request.path)
    [record] = [record for record in caplog.records if record.levelno == logging.ERROR]
    assert 'GET /path failed' == record.getMessage()


async def test_a_client_that_leaves_is_no_mistake(wire, frames, caplog):
    """The error that its socket raised may pass through the function; it is a line of the log."""
    caplog.set_level(logging.INFO, 'aioluahttp')
    over = asyncio.Event()

    async def chat(socket):
        try:
            await echo(socket)
        finally:
            over.set()

    async with serve(chat) as server:
        async with wire(server) as client:
            client.ask('GET /', *frames.asking)
            await client.answer(silent=True)
        await over.wait()
        await server.close()
        assert 0 == server.stats['errors']
    assert 1 == sum('hung up without a closing handshake' in one for one in caplog.messages)
    assert not [record for record in caplog.records if record.levelno > logging.INFO]


async def test_an_error_of_another_connection_is_a_mistake():
    """A ProtocolError of what the function asks elsewhere is its own."""
    told = []

    async def chat(socket):
        raise http.ProtocolError('elsewhere')

    async with (
        serve(chat, on_error=lambda *both: told.append(both)) as server,
        http.websocket(url=server.url) as socket,
    ):
        assert [] == [message async for message in socket]
        assert 1011 == socket.code
    assert ['elsewhere'] == [str(error) for error, _ in told]


async def test_the_end_of_the_function_closes():
    """With 1000, or as it did itself."""

    async def chat(socket):
        if socket.request.path == '/by-itself':
            await socket.close(4000, 'so long')

    async with serve(chat) as server:
        for path, end in (('/', (1000, '')), ('/by-itself', (4000, 'so long'))):
            async with http.websocket(url=server.url + path) as socket:
                assert [] == [message async for message in socket]
                assert end == (socket.code, socket.reason)


async def test_a_server_that_closes_says_so():
    """Its WebSockets are closed with 1001, and their functions come to an end by themselves."""
    ended = []

    async def chat(socket):
        ended.append([message async for message in socket])
        with pytest.raises(http.ProtocolError):
            await socket.send('late')

    async with serve(chat) as server, http.websocket(url=server.url) as socket:
        await socket.send('a')
        closing = asyncio.create_task(server.close())
        assert [] == [message async for message in socket]
        assert 1001 == socket.code
        await closing
    assert [['a']] == ended


async def test_a_function_that_does_not_end_is_cancelled_after_the_grace(until):
    """The client has its 1001 all the same."""
    cancelled = []

    async def stubborn(socket):
        try:
            await asyncio.Event().wait()
        except asyncio.CancelledError:
            cancelled.append(socket.code)
            raise

    async with serve(stubborn) as server, http.websocket(url=server.url) as socket:
        await until(lambda: server.stats['in_flight'])
        await server.close(grace=0.05)
        assert [] == [message async for message in socket]
        assert 1001 == socket.code
    assert [1001] == cancelled


async def test_a_client_that_does_not_answer_holds_no_server_up(wire, frames, monkeypatch):
    """It is cut off after a while, however long the grace is."""
    monkeypatch.setattr(connection, 'CLOSING', 0.05)
    async with serve() as server, wire(server) as client:
        client.ask('GET /', *frames.asking)
        await client.answer(silent=True)
        await server.close(grace=None)
        assert (CLOSE, closed(1001)) == await frames.read(client.reader)


async def test_a_websocket_that_opens_as_the_server_closes_is_closed(wire, frames, until):
    """Its callback was called before; the handshake is done, and the close at once."""
    called, release = asyncio.Event(), asyncio.Event()

    async def callback(request):
        called.set()
        await release.wait()
        return {'websocket': echo}

    async with http.listen('127.0.0.1', 0, callback) as server, wire(server) as client:
        client.ask('GET /', *frames.asking)
        await called.wait()
        closing = asyncio.create_task(server.close())
        await until(lambda: server._exchange.closing)
        release.set()
        assert 101 == (await client.answer(silent=True))[0]
        assert (CLOSE, closed(1001)) == await frames.read(client.reader)
        client.send(frames.write(CLOSE, closed(1001), masked=True))
        assert b'' == await client.rest()
        await closing


@pytest.mark.parametrize('cancels', [True, False])
async def test_a_client_that_leaves_cancels_no_function(cancels):
    """The socket tells of it, whatever ``cancel_on_disconnect`` says of callbacks."""
    done = asyncio.Event()

    async def chat(socket):
        with contextlib.suppress(http.ProtocolError):
            await echo(socket)
        for _ in range(5):
            await asyncio.sleep(0)
        done.set()

    async with serve(chat, cancel_on_disconnect=cancels) as server:
        async with http.websocket(url=server.url) as socket:
            await socket.send('x')
            assert 'x' == await anext(socket)
        await done.wait()


async def test_the_frames_are_counted(wire, frames):
    """In both directions, every byte."""
    async with serve() as server, wire(server) as client:
        client.ask('GET /', *frames.asking)
        await client.answer(silent=True)
        before = server.stats
        client.send(frames.write(1, b'x', masked=True))
        assert b'\x81\x01x' == await client.reader.readexactly(3)
        assert [7, 3] == [server.stats[key] - before[key] for key in ('bytes_in', 'bytes_out')]


async def test_limits_on_callbacks_are_none_on_websockets():
    """The callback is over when it has answered: its time, and its place, are free again."""
    async with (
        serve(handler_timeout=0.05, max_concurrent=1) as server,
        http.websocket(url=server.url) as first,
        http.websocket(url=server.url) as second,
    ):
        await asyncio.sleep(0.1)  # past the timeout
        for socket in (first, second):
            await socket.send('x')
            assert 'x' == await anext(socket)


async def test_the_access_log_has_a_line():
    """One for each WebSocket, once it is over."""
    logged = []
    async with serve(access_log=lambda *both: logged.append(both)) as server:
        async with http.websocket(url=server.url + '/x'):
            assert [] == logged
        await http.request(url=server.url)
    assert [('/x', 101), ('/', 426)] == [(one.path, two.status) for one, two in logged]


async def test_a_handshake_with_its_end_is_answered(wire, frames):
    """A client that writes all it has to say, and ends its side, is answered to the end."""
    goodbye = frames.write(1, b'x', masked=True) + frames.write(CLOSE, closed(1000), masked=True)
    for said, answer in ((goodbye, b'\x81\x01x\x88\x02\x03\xe8'), (b'', b'')):
        async with serve() as server, wire(server) as client:
            client.ask('GET /', *frames.asking, body=said)
            client.writer.write_eof()
            head, _, rest = (await client.rest()).partition(b'\r\n\r\n')
            assert head.startswith(b'HTTP/1.1 101 ')
            assert rest in (answer, answer.removeprefix(b'\x81\x01x'))


async def test_a_client_that_leaves_during_the_callback_opens_nothing(wire, frames, until):
    """Nothing is logged of it but that it asked."""
    release = asyncio.Event()

    async def never(socket):
        pytest.fail('it was called')

    async def callback(request):
        await release.wait()
        return {'websocket': never}

    async with http.listen('127.0.0.1', 0, callback) as server:
        async with wire(server) as client:
            client.ask('GET /', *frames.asking)
            await until(lambda: server.stats['in_flight'])
            reset = client.writer.get_extra_info('socket')
            reset.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, struct.pack('ii', 1, 0))
            client.writer.transport.abort()
        await until(lambda: not server.stats['connections'])
        release.set()
        await server.close()
        assert 0 == server.stats['errors']


async def test_who_does_not_read_its_messages_is_cut_off(wire, frames):
    """After ``body_timeout`` without a byte read, as for any other answer."""
    over = asyncio.Event()

    async def flood(socket):
        try:
            while True:
                await socket.send(b'x' * 1_000_000)
        finally:
            over.set()

    async with serve(flood, body_timeout=0.1) as server, wire(server) as client:
        client.ask('GET /', *frames.asking)
        await client.answer(silent=True)
        await over.wait()


async def test_over_tls(certificates):
    """A WebSocket of https is as any other, the end of a bad one included."""
    tls = {'ca': certificates.ca}
    async with serve(tls=certificates.server) as server:
        url = server.url.replace('https', 'wss').replace('127.0.0.1', 'localhost')
        async with http.websocket(url=url, tls=tls) as socket:
            await socket.send('x' * 100_000)
            assert 'x' * 100_000 == await anext(socket)
        assert 1000 == socket.code
        async with http.websocket(url=url, tls=tls) as socket:
            await socket.send('x' * 5_000_000)
            assert [] == [message async for message in socket]
            assert 1009 == socket.code


async def test_websockets_are_refused_by_their_origin():
    """A page of another origin is told 403; the package sends the header that a browser does."""
    async with serve() as server:
        url = server.url.replace('http', 'ws')
        async with websockets.connect(url, origin=server.url) as peer:
            await peer.send('x')
            assert 'x' == await peer.recv()
        with pytest.raises(websockets.InvalidStatus, match='403'):
            async with websockets.connect(url, origin='https://evil.example'):
                pass


async def test_subprotocols_are_agreed_with_the_websockets_package():
    """The first of the client's that the server knows."""
    answer = {'websocket': {'callback': echo, 'protocols': ['v1', 'v2']}}
    async with serve(answer=answer) as server:
        url = server.url.replace('http', 'ws')
        async with websockets.connect(url, subprotocols=['v3', 'v2', 'v1']) as peer:
            assert 'v2' == peer.subprotocol


async def test_a_client_that_leaves_as_it_is_answered_opens_nothing():
    """The connection may be lost while the handshake is written."""

    class Lost:
        upgrade, begun, cancels, transport = True, False, True, None

        async def write(self, data):
            assert data.startswith(b'HTTP/1.1 101 ')

    key = {'Sec-WebSocket-Version': '13', 'Sec-WebSocket-Key': 'dGhlIHNhbXBsZSBub25jZQ=='}
    request = http.to_request(url='http://h', headers=key)
    upgrade = Upgrade(request, http.to_response({'websocket': echo}))
    with pytest.raises(ConnectionResetError):
        await upgrade.send(Lost())


@pytest.mark.parametrize('asks', [True, False])
async def test_a_function_that_can_be_closed_is(wire, frames, asks):
    """After the WebSocket, also where there was none."""
    closed = asyncio.Event()

    class Chat:
        async def __call__(self, socket):
            await socket.send('hello')

        async def aclose(self):
            closed.set()

    async with (
        http.listen('127.0.0.1', 0, lambda request: {'websocket': Chat()}) as server,
        wire(server) as client,
    ):
        client.ask('GET /', *(frames.asking if asks else ()))
        head = await client.reader.readuntil(b'\r\n\r\n')
        assert (b' 101 ' if asks else b' 426 ') in head
        if asks:
            assert (1, b'hello') == await frames.read(client.reader)
            client.send(frames.write(8, b'\x03\xe8', masked=True))
        await closed.wait()
