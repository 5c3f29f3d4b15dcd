"""WebSockets through a relay: messages, closes and handshakes."""

import asyncio
import contextlib

import pytest

import aioluahttp as http
from aioluahttp.asgi import to_asgi
from aioluahttp.client import per_loop
from aioluahttp.reverse_proxy import websocket
from aioluahttp.websockets.handshake import accept_of


@contextlib.asynccontextmanager
async def bridged(talk, **overrides):
    """Serve a WebSocket through a relay; yield the relay."""
    response = talk if isinstance(talk, dict) else {'websocket': talk}
    async with (
        http.listen('127.0.0.1', 0, lambda request: response) as origin,
        http.listen('127.0.0.1', 0, http.proxy(origin.url, **overrides)) as relay,
    ):
        yield relay


async def echo(socket):
    """Send back each message."""
    async for message in socket:
        await socket.send(message)


@pytest.mark.parametrize('message', ['', 'text ☃', b'', bytes(range(256)), 'x' * 9_000_000])
async def test_messages_are_forwarded_unchanged(message):
    """They may be text or bytes, and as large as ``max_message`` allows."""
    options = {'callback': echo, 'max_message': None}
    async with (
        bridged({'websocket': options}) as relay,
        http.websocket(url=relay.url, max_message=None) as socket,
    ):
        for _ in range(2):
            await socket.send(message)
            assert message == await anext(socket)


@pytest.mark.parametrize('ending', ['client', 'origin'])
@pytest.mark.parametrize('code', [1000, 1001, 1008, 3000, 4999])
async def test_a_close_is_forwarded_with_its_code(ending, code):
    """So is its reason, whichever side closes."""
    received = asyncio.get_running_loop().create_future()

    async def end(socket):
        await socket.send('last')
        await socket.close(code, 'why')

    async def receive(socket):
        messages = [message async for message in socket]
        received.set_result((messages, socket.code, socket.reason))

    first, second = (end, receive) if ending == 'origin' else (receive, end)
    async with bridged(first) as relay, http.websocket(url=relay.url) as socket:
        await second(socket)
        assert (['last'], code, 'why') == await received


@pytest.mark.parametrize('ending', ['client', 'origin'])
async def test_a_close_without_a_code_is_forwarded_without_one(wire, frames, ending):
    """1005 may not be sent in a frame; each side sees one, and gets an empty close in reply."""
    received = asyncio.get_running_loop().create_future()

    async def end(socket):
        if ending == 'origin':
            await socket.close(None)
        assert [] == [message async for message in socket]
        received.set_result(socket.code)

    async with bridged(end) as relay, wire(relay) as client:
        client.send_request('GET /', *frames.asking)
        await client.reader.readuntil(b'\r\n\r\n')
        if ending == 'client':
            client.send(frames.write(8, masked=True))
        assert (8, b'') == await frames.read(client.reader)
        if ending == 'origin':
            client.send(frames.write(8, masked=True))
        assert 1005 == await received
        assert b'' == await client.rest()


async def test_a_lost_client_closes_the_origin_with_1001(wire, frames):
    """1001 is "going away"; the connection to the origin is closed."""
    received = asyncio.get_running_loop().create_future()

    async def receive(socket):
        assert [] == [message async for message in socket]
        received.set_result(socket.code)

    async with bridged(receive) as relay:
        async with wire(relay) as client:
            client.send_request('GET /', *frames.asking)
            await client.reader.readuntil(b'\r\n\r\n')
        assert 1001 == await received


async def test_a_lost_origin_closes_the_client_with_1014(raw_server, frames):
    """1014 is "bad gateway" (IANA's registry of close codes)."""

    async def origin(line):
        await handshake(line, frames)
        line.reset()

    async with (
        raw_server(origin) as peer,
        http.listen('127.0.0.1', 0, http.proxy(peer.url)) as relay,
        http.websocket(url=relay.url) as socket,
    ):
        assert [] == [message async for message in socket]
        assert 1014 == socket.code


async def handshake(line, frames, *fields):
    """Accept a WebSocket handshake with the key that was sent."""
    asked = await line.request()
    [key] = asked.values('Sec-WebSocket-Key')
    lines = [
        'HTTP/1.1 101 Switching Protocols',
        'Connection: Upgrade',
        'Upgrade: websocket',
        f'Sec-WebSocket-Accept: {accept_of(key)}',
        *fields,
        '\r\n',
    ]
    await line.send('\r\n'.join(lines).encode())
    return asked


async def test_who_does_not_read_holds_the_other_up(raw_server, frames, wire, until):
    """The relay holds at most one message in each direction: back-pressure."""
    sent = 0

    async def flood(socket):
        nonlocal sent
        while True:
            await socket.send(bytes(100_000))
            sent += 1

    async with bridged(flood) as relay, wire(relay) as client:
        client.send_request('GET /', *frames.asking)
        await client.reader.readuntil(b'\r\n\r\n')
        client.writer.transport.pause_reading()
        before = -1
        while before < sent:
            before = sent
            await asyncio.sleep(0.1)
        assert sent < 500  # a few socket buffers
        client.writer.transport.abort()


BIG = bytes(20_000_000)  # more than the socket buffers take: a message behind it has to wait


@pytest.fixture
def short_limits(monkeypatch):
    """Check often whether a side has ended, and give the other little time."""
    monkeypatch.setattr(websocket, 'PERIOD', 0.01)
    monkeypatch.setattr(websocket, 'CLOSE_TIMEOUT', 0.05)


@contextlib.asynccontextmanager
async def relayed(raw_server, wire, frames, talk):
    """Open a WebSocket to a raw origin through a relay; yield the relay and the raw client."""

    async def origin(line):
        await handshake(line, frames)
        await talk(line)

    async with (
        raw_server(origin) as peer,
        http.listen('127.0.0.1', 0, http.proxy(peer.url, max_message=None)) as relay,
        wire(relay) as client,
    ):
        client.send_request('GET /', *frames.asking)
        await client.reader.readuntil(b'\r\n\r\n')
        yield relay, client


async def test_an_origin_that_does_not_read_is_cut_off_after_its_client(
    raw_server, wire, frames, until, short_limits
):
    """The message that waits for it hides neither the end of the client nor the time."""
    gone = asyncio.Event()

    async def talk(line):
        await gone.wait()
        received.set_result(len(await line.reader.read()))

    received = asyncio.get_running_loop().create_future()
    async with relayed(raw_server, wire, frames, talk) as (relay, client):
        client.send(frames.write(2, BIG, masked=True) + frames.write(1, b'more', masked=True))
        await until(lambda: relay.stats['bytes_in'] > len(BIG))
        client.writer.transport.abort()
        await until(lambda: not relay.stats['in_flight'])
        gone.set()
        assert await received < len(BIG)


async def test_a_client_that_does_not_read_is_cut_off_after_the_origin(
    raw_server, wire, frames, until, short_limits, monkeypatch
):
    """Its close waits behind the message, but only for the close timeout."""
    monkeypatch.setattr('aioluahttp.websockets.connection.CLOSE_TIMEOUT', 0.05)

    async def talk(line):
        messages = frames.write(2, BIG) + frames.write(1, b'more')
        await line.send(messages + frames.write(8, b'\x03\xe8'))
        await line.reader.read()

    async with relayed(raw_server, wire, frames, talk) as (relay, client):
        await until(lambda: relay.stats['requests'] and not relay.stats['in_flight'])
        assert len(await client.rest()) < len(BIG)


async def test_an_asgi_server_that_is_stuck_is_left_after_the_origin(
    raw_server, frames, short_limits, monkeypatch
):
    """The application returns, though a send waits for ever."""
    monkeypatch.setattr('aioluahttp.websockets.asgi.CLOSE_TIMEOUT', 0.05)

    async def origin(line):
        await handshake(line, frames)
        await line.send(frames.write(1, b'hello') + frames.write(8, b'\x03\xe8'))
        await line.reader.read()

    async def receive():
        return given.pop(0) if given else await asyncio.Event().wait()

    async def send(message):
        sent.append(message['type'])
        if message['type'] == 'websocket.send':
            await asyncio.Event().wait()

    given, sent = [{'type': 'websocket.connect'}], []
    asked = [tuple(one.encode().split(b': ')) for one in ('host: h', *frames.asking)]
    scope = {'type': 'websocket', 'http_version': '1.1', 'scheme': 'ws', 'path': '/'}
    scope |= {'query_string': b'', 'headers': [(name.lower(), value) for name, value in asked]}
    async with raw_server(origin) as peer:
        await to_asgi(http.proxy(peer.url))(scope, receive, send)
    assert ['websocket.accept', 'websocket.send'] == sent


async def test_a_message_under_way_arrives_after_its_client_has_closed(raw_server, wire, frames):
    """The origin has time to read it, and then gets the close of the client."""
    closed = asyncio.Event()

    async def talk(line):
        await closed.wait()
        received.set_result([await frames.read(line.reader) for _ in range(3)])

    received = asyncio.get_running_loop().create_future()
    async with relayed(raw_server, wire, frames, talk) as (_, client):
        sent = [(2, BIG), (1, b'more'), (8, b'\x0b\xb8why')]
        client.send(b''.join(frames.write(*one, masked=True) for one in sent))
        assert (8, b'\x0b\xb8why') == await frames.read(client.reader)
        closed.set()
        assert sent == await received


async def test_a_relay_that_closes_closes_both_websockets():
    """Each is closed with 1001."""
    received = asyncio.get_running_loop().create_future()

    async def receive(socket):
        await socket.send('hello')
        assert [] == [message async for message in socket]
        received.set_result(socket.code)

    async with bridged(receive) as relay, http.websocket(url=relay.url) as socket:
        assert 'hello' == await anext(socket)
        closing = asyncio.create_task(relay.close())
        assert [] == [message async for message in socket]
        assert (1001, 1001) == (socket.code, await received)
        await closing


async def test_messages_for_a_closed_client_are_lost():
    """It is so without a relay, too; the origin receives the close."""
    received = asyncio.get_running_loop().create_future()

    async def flood(socket):
        with contextlib.suppress(http.ProtocolError):
            while True:
                await socket.send('x' * 1000)
        received.set_result(socket.code)

    async with bridged(flood) as relay, http.websocket(url=relay.url) as socket:
        await anext(socket)
        await socket.close(3000)
        assert 3000 == await received


@pytest.mark.parametrize('protocol', ['two', None])
async def test_the_origin_chooses_the_subprotocol(protocol):
    """It chooses from those that the client offers."""

    async def tell(socket):
        await socket.send(str(socket.protocol))

    websocket = {'callback': tell, 'protocols': ['three', protocol or 'four']}
    async with (
        bridged({'websocket': websocket}) as relay,
        http.websocket(url=relay.url, protocols=['one', 'two']) as socket,
    ):
        assert (protocol, str(protocol)) == (socket.protocol, await anext(socket))


UPGRADE = 'Connection: Upgrade', 'Upgrade: websocket'


@pytest.mark.parametrize(
    ('fields', 'knows_key'),
    [
        ((), True),
        (UPGRADE, False),
        ((*UPGRADE, 'Sec-WebSocket-Protocol: x'), True),
        (('Connection: Upgrade', 'Upgrade: h2c'), True),
        (('Upgrade: websocket',), True),
    ],
)
async def test_an_invalid_handshake_is_a_502(raw_server, wire, frames, fields, knows_key):
    """The connection to the origin is closed."""

    async def origin(line):
        [key] = (await line.request()).values('Sec-WebSocket-Key')
        accept = f'Sec-WebSocket-Accept: {accept_of(key) if knows_key else "x"}'
        await line.send('\r\n'.join(('HTTP/1.1 101 Go', accept, *fields, '\r\n')).encode())
        assert b'' == await line.reader.read()

    async with (
        raw_server(origin) as peer,
        http.listen('127.0.0.1', 0, http.proxy(peer.url)) as server,
        wire(server) as client,
    ):
        client.send_request('GET /', *frames.asking)
        assert 502 == (await client.read_response())[0]


async def test_a_websocket_response_that_is_not_used_is_closed(raw_server, wire, frames):
    """A middleware may replace it, or the request of the client may not be a handshake."""

    async def origin(line):
        await handshake(line, frames)
        closed.set_result(await line.reader.read())

    closed = asyncio.get_running_loop().create_future()
    async with raw_server(origin) as peer:

        async def handler(request):
            headers = http.Headers([one.split(': ') for one in frames.asking])
            return await http.forward(request | {'headers': headers}, peer.url)

        async with http.listen('127.0.0.1', 0, handler) as server:
            async with wire(server) as client:
                client.send_request('GET /')
                assert 426 == (await client.read_response())[0]
            assert b'' == await closed


async def test_an_origin_that_leaves_after_its_handshake_did_not_switch(raw_server, frames, until):
    """Its connection would never tell the WebSocket that it has ended."""

    async def origin(line):
        await handshake(line, frames)
        await line.reader.read()

    async with raw_server(origin) as peer:
        request = http.to_request(url=peer.url)
        request, options = websocket.to_origin_upgrade(request, {'max_message': None})
        response = await per_loop.pass_on(request, None)
        protocol = response.body.protocol
        protocol.transport.abort()
        await until(lambda: protocol.transport is None)
        with pytest.raises(http.ProtocolError, match='the origin did not switch to a WebSocket'):
            websocket.to_client_upgrade(request, response, options)
