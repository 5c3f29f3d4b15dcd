"""The websockets package as the peer, on either side."""

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
    """Send back what comes, at either end."""
    with contextlib.suppress(websockets.ConnectionClosed):
        async for message in end:
            await end.send(message)


def to_us(ours, theirs, **options):
    """Let a client of the package talk to a server of ours."""
    return between(ours, theirs, options, ours_is_server=True)


def to_them(ours, theirs, **options):
    """Let a client of ours talk to a server of the package."""
    return between(ours, theirs, options, ours_is_server=False)


async def between(ours, theirs, options, *, ours_is_server):
    """Open a WebSocket with a function at each end; give both ends once both are over.

    Args:
        options: Of the package.
    """
    ends = []

    async def talk(function, end):
        ends.append(end)
        await function(end)

    if ours_is_server:
        callback = lambda socket: talk(ours, socket)  # noqa: E731
        answer = {'websocket': {'callback': callback, 'max_message': LIMIT}}
        async with (
            http.listen('127.0.0.1', 0, lambda request: answer) as server,
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
    """Wait for a message at either end."""
    return anext(end) if isinstance(end, http.Socket) else end.recv()


def says(*messages):
    """Make an end that says these and hears each again, and closes."""

    async def talk(end):
        for message in messages:
            await end.send(message)
            assert message == await hear(end)
        await end.close()

    return talk


# Compression: what no context is kept of from message to message, and windows.
BITS = None, 9, 15
AGREED = list(itertools.product([False, True], [False, True], BITS, BITS))


@pytest.mark.parametrize('agreed', AGREED, ids=str)
@pytest.mark.parametrize(
    ('talks', 'factory'),
    [(to_us, ClientPerMessageDeflateFactory), (to_them, ServerPerMessageDeflateFactory)],
)
async def test_any_compression_may_be_agreed_upon(talks, factory, agreed):
    """With windows of all sizes, kept from message to message or not, at each end."""
    options = {'compression': None, 'extensions': [factory(*agreed)], 'max_size': None}
    _, peer = await talks(echo, says(*MESSAGES, *MESSAGES), **options)
    assert ['permessage-deflate'] == [one.name for one in peer.protocol.extensions]


@SIDES
@pytest.mark.parametrize('compression', ['deflate', None])
async def test_a_message_comes_in_parts(talks, compression):
    """Of text or bytes, with pings between them, that are answered before the message is whole."""

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
async def test_both_talk_at_once(talks):
    """Thousands of messages and pings in each direction, of which none is lost or overtakes."""
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


# The end


@SIDES
@pytest.mark.parametrize(('code', 'reason'), [(1000, ''), (1011, 'größer'), (4999, 'x' * 123)])
async def test_it_hears_why_we_close(talks, code, reason):
    """The package tells an error from an end in good order by the code."""
    ours, peer = await talks(lambda socket: socket.close(code, reason), echo)
    assert (code, reason) == (peer.close_code, peer.close_reason) == (ours.code, ours.reason)


@SIDES
@pytest.mark.parametrize(('code', 'reason'), [(1000, ''), (1001, 'bye'), (1011, 'x'), (4000, '')])
async def test_we_hear_why_it_closes(talks, code, reason):
    """No code is an error."""
    ours, peer = await talks(echo, lambda peer: peer.close(code, reason))
    assert (code, reason) == (peer.close_code, peer.close_reason) == (ours.code, ours.reason)


@SIDES
async def test_we_close_when_a_function_or_a_block_is_over(talks):
    """With 1000; what is under way still comes."""
    heard = []

    async def ours(socket):
        await socket.send('last words')

    async def theirs(peer):
        heard.extend([message async for message in peer])

    ours, peer = await talks(ours, theirs)
    assert ['last words'] == heard
    assert (1000, '') == (peer.close_code, peer.close_reason)


@SIDES
async def test_both_may_close_at_once(talks):
    """Each hears what the other said."""
    both = asyncio.Barrier(2)

    def closing(code):
        async def close(end):
            await both.wait()
            await end.close(code)

        return close

    ours, peer = await talks(closing(4001), closing(4002))
    assert {4001, 4002} >= {ours.code, peer.close_code}


@SIDES
async def test_it_may_hang_up(talks):
    """That is an error, and 1006."""

    async def ours(socket):
        with pytest.raises(http.ProtocolError, match='hung up'):
            await anext(socket)

    async def theirs(peer):
        peer.transport.abort()

    ours, _ = await talks(ours, theirs)
    assert 1006 == ours.code


async def test_a_server_that_closes_is_going_away():
    """The client is told 1001, which it takes for an end in good order."""
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


# What is not allowed

BROKEN = {
    'a reserved bit': ([(TEXT, b'x', 0xA0)], 1002),
    'a reserved kind of message': ([(3, b'x', 0x80)], 1002),
    'a reserved kind of control': ([(11, b'', 0x80)], 1002),
    'a ping in parts': ([(PING, b'', PART)], 1002),
    'a part of no message': ([(MORE, b'x', 0x80)], 1002),
    'a close of one byte': ([(CLOSE, b'x', 0x80)], 1002),
    'text that is no UTF-8': ([(TEXT, b'\xff', 0x80)], 1007),
    'parts that are no UTF-8': ([(TEXT, b'\xc3', PART), (MORE, b'x', 0x80)], 1007),
    'a message that is too large': ([(BINARY, bytes(LIMIT + 1), 0x80)], 1009),
    'parts that are too large': ([(BINARY, bytes(LIMIT), PART), (MORE, b'x', 0x80)], 1009),
}


@SIDES
@pytest.mark.parametrize(('bad', 'code'), BROKEN.values(), ids=BROKEN)
async def test_what_breaks_the_protocol_is_named_to_it(talks, frames, bad, code):
    """The package hears the code; what came before is read, and what comes behind is not."""
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
async def test_it_tells_us_of_what_is_too_large_for_it(talks):
    """Its code ends our iteration, and nothing may be sent after that."""

    async def ours(socket):
        await socket.send(bytes(2000))
        assert [] == [message async for message in socket]
        with pytest.raises(http.ProtocolError, match='1009'):
            await socket.send('more')

    ours, _ = await talks(ours, echo, max_size=1000)
    assert 1009 == ours.code


# TLS


async def test_it_talks_to_us_over_tls(certificates):
    """All messages, and an end in good order."""
    answer = lambda request: {'websocket': echo}  # noqa: E731
    trust = ssl.create_default_context(cafile=certificates.ca)
    async with (
        http.listen('127.0.0.1', 0, answer, tls=certificates.server) as server,
        websockets.connect(f'wss://localhost:{server.port}', ssl=trust) as peer,
    ):
        await says(*MESSAGES)(peer)
    assert 1000 == peer.close_code


async def test_we_talk_to_it_over_tls(certificates):
    """All messages, and an end in good order."""
    async with websockets.serve(echo, '127.0.0.1', 0, ssl=certificates.server) as server:
        url = f'wss://localhost:{server.sockets[0].getsockname()[1]}/'
        async with http.websocket(url=url, tls={'ca': certificates.ca}) as socket:
            await says(*MESSAGES)(socket)
    assert 1000 == socket.code
