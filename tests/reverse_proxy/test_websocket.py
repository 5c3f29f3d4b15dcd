"""WebSockets through a relay: messages, closes and handshakes."""

import asyncio
import contextlib

import pytest

import aioluahttp as http
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
