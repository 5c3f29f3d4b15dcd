"""WebSockets with the package ``websockets`` as the peer, on either side."""

import asyncio
import contextlib
import itertools
import os
import ssl

import pytest
import websockets
from websockets.extensions.permessage_deflate import (
    ClientPerMessageDeflateFactory,
    ServerPerMessageDeflateFactory,
)

import aioluahttp as http

MESSAGES = ['', b'', 'größer', 'again and again ' * 10_000, os.urandom(70_000), bytes(10**5)]
LIMIT = 10**6  # bytes of a message
TEXT, BINARY, MORE, PING, CLOSE = 1, 2, 0, 9, 8
PART = 0  # the first bits of a frame that is not the last


async def echo(end):
    """Send each message back, at either end."""
    with contextlib.suppress(websockets.ConnectionClosed):
        async for message in end:
            await end.send(message)


def to_us(ours, theirs, **options):
    """Connect a client of the package to a server of this library."""
    return between(ours, theirs, options, ours_is_server=True)


def to_them(ours, theirs, **options):
    """Connect a client of this library to a server of the package."""
    return between(ours, theirs, options, ours_is_server=False)


async def between(ours, theirs, options, *, ours_is_server):
    """Open a WebSocket with a function at each end; return both ends when both are done.

    Args:
        options: Options of the package's end.
    """
    ends = []

    async def talk(function, end):
        ends.append(end)
        await function(end)

    if ours_is_server:
        callback = lambda socket: talk(ours, socket)  # noqa: E731
        response = {'websocket': {'callback': callback, 'max_message': LIMIT}}
        async with (
            http.listen('127.0.0.1', 0, lambda request: response) as server,
            websockets.connect(f'ws://127.0.0.1:{server.port}', **options) as peer,
        ):
            await talk(theirs, peer)
            await peer.wait_closed()
    else:
        handler = lambda peer: talk(theirs, peer)  # noqa: E731
        async with websockets.serve(handler, '127.0.0.1', 0, **options) as server:
            port = server.sockets[0].getsockname()[1]
            async with http.websocket(url=f'ws://127.0.0.1:{port}/', max_message=LIMIT) as socket:
                await talk(ours, socket)
    return sorted(ends, key=lambda end: not isinstance(end, http.Socket))


SIDES = pytest.mark.parametrize('talks', [to_us, to_them])


def hear(end):
    """Receive a message at either end."""
    return anext(end) if isinstance(end, http.Socket) else end.recv()


def says(*messages):
    """Make a function that sends each message, expects it back, and then closes."""

    async def talk(end):
        for message in messages:
            await end.send(message)
            assert message == await hear(end)
        await end.close()

    return talk


# Compression: no context takeover of server and client, and their window bits.
BITS = None, 9, 15
AGREED = list(itertools.product([False, True], [False, True], BITS, BITS))


@pytest.mark.parametrize('agreed', AGREED, ids=str)
@pytest.mark.parametrize(
    ('talks', 'factory'),
    [(to_us, ClientPerMessageDeflateFactory), (to_them, ServerPerMessageDeflateFactory)],
)
async def test_any_compression_parameters_can_be_negotiated(talks, factory, agreed):
    """Window sizes, with and without context takeover, at each end."""
    options = {'compression': None, 'extensions': [factory(*agreed)], 'max_size': None}
    _, peer = await talks(echo, says(*MESSAGES, *MESSAGES), **options)
    assert ['permessage-deflate'] == [one.name for one in peer.protocol.extensions]


@SIDES
@pytest.mark.parametrize('compression', ['deflate', None])
async def test_a_fragmented_message_is_received(talks, compression):
    """Text or bytes, with pings between fragments that get their pong before the last fragment."""

    async def parts(peer, *parts):
        for part in parts:
            await (await peer.ping())
            yield part

    async def theirs(peer):
        for message in (['', 'a', '', 'ß' * 50_000], [b'a', os.urandom(70_000), b'']):
            await peer.send(parts(peer, *message))
            assert message[0][:0].join(message) == await peer.recv()
        await peer.close()

    ours, _ = await talks(echo, theirs, compression=compression)
    assert (1000, '') == (ours.code, ours.reason)


@SIDES
async def test_both_ends_send_at_once(talks):
    """Thousands of messages and pings in each direction; none is lost or reordered."""
    said = [f'{number} ' * (number % 300) for number in range(2000)]
    heard = []

    async def talk(end):
        async def speak():
            for message in said:
                await end.send(message)

        async with asyncio.TaskGroup() as group:
            group.create_task(speak())
            heard.append([await hear(end) for _ in said])

    async def theirs(peer):
        await talk(peer)
        await peer.wait_closed()

    await talks(talk, theirs, ping_interval=0.01)
    assert [said, said] == heard


# Closing


@SIDES
@pytest.mark.parametrize(('code', 'reason'), [(1000, ''), (1011, 'größer'), (4999, 'x' * 123)])
async def test_the_package_receives_our_close_code(talks, code, reason):
    """It receives code and reason."""
    ours, peer = await talks(lambda socket: socket.close(code, reason), echo)
    assert (code, reason) == (peer.close_code, peer.close_reason) == (ours.code, ours.reason)


@SIDES
@pytest.mark.parametrize(('code', 'reason'), [(1000, ''), (1001, 'bye'), (1011, 'x'), (4000, '')])
async def test_we_receive_the_close_code_of_the_package(talks, code, reason):
    """Code and reason are those that were sent; no code raises."""
    ours, peer = await talks(echo, lambda peer: peer.close(code, reason))
    assert (code, reason) == (peer.close_code, peer.close_reason) == (ours.code, ours.reason)


@SIDES
async def test_we_close_when_a_function_or_a_block_ends(talks):
    """With 1000; messages that were sent before are still received."""
    heard = []

    async def ours(socket):
        await socket.send('last words')

    async def theirs(peer):
        heard.extend([message async for message in peer])

    ours, peer = await talks(ours, theirs)
    assert ['last words'] == heard
    assert (1000, '') == (peer.close_code, peer.close_reason)


@SIDES
async def test_both_ends_may_close_at_once(talks):
    """Each end has one of the two close codes."""
    both = asyncio.Barrier(2)

    def closing(code):
        async def close(end):
            await both.wait()
            await end.close(code)

        return close

    ours, peer = await talks(closing(4001), closing(4002))
    assert {4001, 4002} >= {ours.code, peer.close_code}


@SIDES
async def test_a_peer_that_hangs_up_raises(talks):
    """The read raises ProtocolError, and the code is 1006."""

    async def ours(socket):
        with pytest.raises(http.ProtocolError, match='hung up'):
            await anext(socket)

    async def theirs(peer):
        peer.transport.abort()

    ours, _ = await talks(ours, theirs)
    assert 1006 == ours.code


async def test_a_server_that_shuts_down_closes_with_1001():
    """The client takes it for a normal end."""
    async with (
        http.listen('127.0.0.1', 0, lambda request: {'websocket': echo}) as server,
        websockets.connect(f'ws://127.0.0.1:{server.port}') as peer,
    ):
        await peer.send('here')
        assert 'here' == await peer.recv()
        closing = asyncio.create_task(server.close())
        assert [] == [message async for message in peer]
        await closing
    assert 1001 == peer.close_code


# Protocol violations

BROKEN = {
    'a reserved bit': ([(TEXT, b'x', 0xA0)], 1002),
    'a reserved data opcode': ([(3, b'x', 0x80)], 1002),
    'a reserved control opcode': ([(11, b'', 0x80)], 1002),
    'a fragmented ping': ([(PING, b'', PART)], 1002),
    'a continuation without a message': ([(MORE, b'x', 0x80)], 1002),
    'a close of one byte': ([(CLOSE, b'x', 0x80)], 1002),
    'text that is not UTF-8': ([(TEXT, b'\xff', 0x80)], 1007),
    'fragments that are not UTF-8': ([(TEXT, b'\xc3', PART), (MORE, b'x', 0x80)], 1007),
    'a message that is too large': ([(BINARY, bytes(LIMIT + 1), 0x80)], 1009),
    'fragments that are too large': ([(BINARY, bytes(LIMIT), PART), (MORE, b'x', 0x80)], 1009),
}


@SIDES
@pytest.mark.parametrize(('bad', 'code'), BROKEN.values(), ids=BROKEN)
async def test_a_protocol_violation_gets_its_close_code(talks, frames, bad, code):
    """The peer receives the code; earlier messages are read, later ones are not."""
    heard = []

    async def ours(socket):
        heard.append(await anext(socket))
        with pytest.raises(http.ProtocolError):
            await anext(socket)

    async def theirs(peer):
        await peer.send('good')
        for kind, data, first in (*bad, (TEXT, b'late', 0x80)):
            masked = talks is to_us
            peer.transport.write(frames.write(kind, data, first=first, masked=masked))
        with pytest.raises(websockets.ConnectionClosedError):
            await peer.recv()

    ours, peer = await talks(ours, theirs, max_size=None)
    assert ['good'] == heard
    assert (code, code) == (ours.code, peer.close_code)


@SIDES
async def test_a_message_too_large_for_the_package_ends_the_socket(talks):
    """The iteration ends with code 1009, and sending raises after that."""

    async def ours(socket):
        await socket.send(bytes(2000))
        assert [] == [message async for message in socket]
        with pytest.raises(http.ProtocolError, match='1009'):
            await socket.send('more')

    ours, _ = await talks(ours, echo, max_size=1000)
    assert 1009 == ours.code


# TLS


async def test_the_package_connects_to_us_over_tls(certificates):
    """All messages are received, and both ends close normally."""
    handler = lambda request: {'websocket': echo}  # noqa: E731
    trust = ssl.create_default_context(cafile=certificates.ca)
    async with (
        http.listen('127.0.0.1', 0, handler, tls=certificates.server) as server,
        websockets.connect(f'wss://localhost:{server.port}', ssl=trust) as peer,
    ):
        await says(*MESSAGES)(peer)
    assert 1000 == peer.close_code


async def test_we_connect_to_the_package_over_tls(certificates):
    """All messages are received, and both ends close normally."""
    async with websockets.serve(echo, '127.0.0.1', 0, ssl=certificates.server) as server:
        url = f'wss://localhost:{server.sockets[0].getsockname()[1]}/'
        async with http.websocket(url=url, tls={'ca': certificates.ca}) as socket:
            await says(*MESSAGES)(socket)
    assert 1000 == socket.code
