"""A WebSocket through a relay: what each end says, the other hears."""

import asyncio
import contextlib

import pytest

import aioluahttp as http
from aioluahttp.websockets.handshake import accept_of


@contextlib.asynccontextmanager
async def bridged(talk, **overrides):
    """Serve a WebSocket through a relay; give the relay."""
    answer = talk if isinstance(talk, dict) else {'websocket': talk}
    async with (
        http.listen('127.0.0.1', 0, lambda request: answer) as origin,
        http.listen('127.0.0.1', 0, http.proxy(origin.url, **overrides)) as relay,
    ):
        yield relay


async def echo(socket):
    """Send back what comes."""
    async for message in socket:
        await socket.send(message)


@pytest.mark.parametrize('message', ['', 'text ☃', b'', bytes(range(256)), 'x' * 9_000_000])
async def test_messages_pass_as_they_are(message):
    """Of either kind, and as large as ``max_message`` lets them."""
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
async def test_a_close_passes_with_its_code(ending, code):
    """And its reason, whichever end says it."""
    heard = asyncio.get_running_loop().create_future()

    async def end(socket):
        await socket.send('last')
        await socket.close(code, 'why')

    async def hear(socket):
        messages = [message async for message in socket]
        heard.set_result((messages, socket.code, socket.reason))

    first, second = (end, hear) if ending == 'origin' else (hear, end)
    async with bridged(first) as relay, http.websocket(url=relay.url) as socket:
        await second(socket)
        assert (['last'], code, 'why') == await heard


async def test_a_close_without_a_code_is_one_of_1000(wire, frames):
    """There is no frame for 1005."""
    heard = asyncio.get_running_loop().create_future()

    async def hear(socket):
        assert [] == [message async for message in socket]
        heard.set_result(socket.code)

    async with bridged(hear) as relay, wire(relay) as client:
        client.ask('GET /', *frames.asking)
        await client.reader.readuntil(b'\r\n\r\n')
        client.send(frames.write(8, masked=True))
        assert 1000 == await heard


async def test_a_client_that_is_lost_has_gone_away(wire, frames):
    """The origin is told so, and its connection closed."""
    heard = asyncio.get_running_loop().create_future()

    async def hear(socket):
        assert [] == [message async for message in socket]
        heard.set_result(socket.code)

    async with bridged(hear) as relay:
        async with wire(relay) as client:
            client.ask('GET /', *frames.asking)
            await client.reader.readuntil(b'\r\n\r\n')
        assert 1001 == await heard


async def test_an_origin_that_is_lost_is_a_bad_gateway(raw_server, frames):
    """The client is told by 1014 (IANA's registry of close codes)."""

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
    """Agree to a WebSocket, by the key that was sent."""
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
    """A relay keeps no more than a message for each way."""
    sent = 0

    async def flood(socket):
        nonlocal sent
        while True:
            await socket.send(bytes(100_000))
            sent += 1

    async with bridged(flood) as relay, wire(relay) as client:
        client.ask('GET /', *frames.asking)
        await client.reader.readuntil(b'\r\n\r\n')
        client.writer.transport.pause_reading()
        before = -1
        while before < sent:
            before = sent
            await asyncio.sleep(0.1)
        assert sent < 500  # a few socket buffers
        client.writer.transport.abort()


async def test_a_server_that_closes_closes_both():
    """By 1001, for each of the two."""
    heard = asyncio.get_running_loop().create_future()

    async def hear(socket):
        await socket.send('hello')
        assert [] == [message async for message in socket]
        heard.set_result(socket.code)

    async with bridged(hear) as relay, http.websocket(url=relay.url) as socket:
        assert 'hello' == await anext(socket)
        closing = asyncio.create_task(relay.close())
        assert [] == [message async for message in socket]
        assert (1001, 1001) == (socket.code, await heard)
        await closing


async def test_what_comes_for_who_has_closed_is_lost():
    """As it is without a relay; the origin is told of the close."""
    heard = asyncio.get_running_loop().create_future()

    async def flood(socket):
        with contextlib.suppress(http.ProtocolError):
            while True:
                await socket.send('x' * 1000)
        heard.set_result(socket.code)

    async with bridged(flood) as relay, http.websocket(url=relay.url) as socket:
        await anext(socket)
        await socket.close(3000)
        assert 3000 == await heard


@pytest.mark.parametrize('protocol', ['two', None])
async def test_the_subprotocol_is_the_origin_s_choice(protocol):
    """Of those that the client offers."""

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
    [((), True), (UPGRADE, False), ((*UPGRADE, 'Sec-WebSocket-Protocol: x'), True)],
)
async def test_a_handshake_that_is_none_is_a_502(raw_server, wire, frames, fields, knows_key):
    """And the connection to the origin is closed."""

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
        client.ask('GET /', *frames.asking)
        assert 502 == (await client.answer())[0]


async def test_a_websocket_that_nobody_answers_with_is_closed(raw_server, wire, frames):
    """As where a middleware answers otherwise, or the client cannot have one."""

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
                client.ask('GET /')
                assert 426 == (await client.answer())[0]
            assert b'' == await closed
