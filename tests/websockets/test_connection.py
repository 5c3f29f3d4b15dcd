"""One end of a WebSocket connection, and its frame writer."""

import asyncio
import contextlib
import gc
import inspect
import random
import sys
import zlib
from functools import partial
from socket import SO_SNDBUF, SOL_SOCKET
from typing import NamedTuple

import pytest
import websockets
from aiohttp import WSMsgType, client_ws, http_websocket
from aiohttp.base_protocol import BaseProtocol

import aioluahttp as http
from aioluahttp.websockets import connection
from aioluahttp.websockets.connection import FrameWriter

TEXT, BINARY, CLOSE, PING, PONG, MORE = 1, 2, 8, 9, 10, 0
PART = 0x00  # the first bits of a frame that is not the last of its message
COMPRESSED = 0xC0
BIG = 20_000_000  # bytes, more than the buffers of two sockets hold


@pytest.fixture
def to_server(wire, frames):
    """Open a raw client connection to a WebSocket callback of ours."""

    @contextlib.asynccontextmanager
    async def opened(chat, *fields, behind=b'', **options):
        def callback(request):
            return {'websocket': {'callback': chat, **options}}

        async with http.listen('127.0.0.1', 0, callback) as server, wire(server) as client:
            client.send_request('GET /', *frames.asking, *fields, body=behind)
            assert 101 == (await client.read_response(silent=True))[0]
            yield client

    return opened


@pytest.fixture
def to_client(raw_server, frames):
    """Open a ``FrameWriter`` to a peer that reads frames once ``reads`` is set, into ``came``."""

    @contextlib.asynccontextmanager
    async def opened(talk, behind=b'', **options):
        async def serve(line):
            asked = await line.request()
            [key] = asked.values('Sec-WebSocket-Key')
            from aioluahttp.websockets.handshake import accept_of

            fields = [*frames.asking[:2], f'Sec-WebSocket-Accept: {accept_of(key)}', '\r\n']
            head = '\r\n'.join(['HTTP/1.1 101 Switching Protocols', *fields]).encode()
            await line.send(head + behind)
            await talk(line)

        async with raw_server(serve) as peer, http.websocket(url=peer.url, **options) as socket:
            yield socket

    return opened


class Noted:
    """A callback that records the messages and the error that ends them."""

    def __init__(self):
        self.messages, self.socket, self.error, self.over = [], None, None, asyncio.Event()

    async def __call__(self, socket):
        self.socket = socket
        try:
            async for message in socket:
                self.messages.append(message)
        except http.ProtocolError as error:
            self.error = error
        self.over.set()


def code_of(data):
    """Return the code of a close frame."""
    return int.from_bytes(data[:2])


def test_the_codes_that_may_be_sent_are_those_of_the_registry():
    """RFC 6455 7.4.1 reserves four codes, and IANA's registry ends at 1014."""
    may = {code for code in range(70_000) if connection.may_send(code)}
    assert {1000, 1001, 1002, 1003, *range(1007, 1015), *range(3000, 5000)} == may


def test_aiohttp_has_the_queue_and_writer_that_are_used(parameters):
    """Fail if aiohttp changes the queue that is subclassed here, or its writer."""
    queue = client_ws.WebSocketDataQueue
    assert {'feed_data', 'set_exception', 'feed_eof', 'read'} <= set(dir(queue))
    writer = http_websocket.WebSocketWriter
    assert ['self', 'message', 'opcode', 'compress'] == parameters(writer.send_frame)
    assert 'random' in inspect.signature(writer).parameters
    # Messages up to this size are compressed without a thread.
    assert connection.AT_ONCE == sys.modules[writer.__module__].WEBSOCKET_MAX_SYNC_CHUNK_SIZE


# Frames that break the protocol, and the code for each (RFC 6455 5 and 8.1, RFC 7692 6).
BROKEN = {
    'a reserved bit': ([(TEXT, b'x', 0xA0)], 1002),
    'compression that was not negotiated': ([(TEXT, b'x', COMPRESSED)], 1002),
    'an unknown opcode': ([(3, b'x', 0x80)], 1002),
    'a fragmented control frame': ([(PING, b'x', PART)], 1002),
    'a control frame that is too long': ([(PING, b'x' * 126, 0x80)], 1002),
    'a continuation of no message': ([(MORE, b'x', 0x80)], 1002),
    'a message within a message': ([(TEXT, b'x', PART), (TEXT, b'x', 0x80)], 1002),
    'a message within one whose fragments are empty': (
        [(TEXT, b'', PART), (MORE, b'', PART), (BINARY, b'x', 0x80)],
        1002,
    ),
    'a reserved bit on a control frame': ([(PING, b'x', COMPRESSED)], 1002),
    'a close code of one byte': ([(CLOSE, b'\x03', 0x80)], 1002),
    'a close code below 1000': ([(CLOSE, b'\x03\xe7', 0x80)], 1002),
    'a reserved close code': ([(CLOSE, b'\x03\xee', 0x80)], 1002),
    'a close code above 4999': ([(CLOSE, b'\x13\x88', 0x80)], 1002),
    'text that is not UTF-8': ([(TEXT, b'\xff', 0x80)], 1007),
    'text that is cut off': ([(TEXT, 'ß'.encode()[:1], 0x80)], 1007),
    'a reason that is not UTF-8': ([(CLOSE, b'\x03\xe8\xff', 0x80)], 1007),
    'a message that is too big': ([(BINARY, b'x' * 101, 0x80)], 1009),
    'fragments that are too big': (
        [(BINARY, b'x' * 60, PART), (MORE, b'x' * 41, 0x80)],
        1009,
    ),
}
broken = pytest.mark.parametrize(('bad', 'code'), BROKEN.values(), ids=BROKEN)


@broken
async def test_a_client_that_breaks_the_protocol_is_told(to_server, frames, bad, code):
    """It gets the code and then the end; the callback gets the messages before, then the error."""
    noted = Noted()
    async with to_server(noted, max_message=100) as client:
        client.send(frames.write(TEXT, b'good', masked=True))
        for kind, data, first in bad:
            client.send(frames.write(kind, data, first=first, masked=True))
        kind, data = await frames.read(client.reader)
        assert (CLOSE, code) == (kind, code_of(data))
        assert b'' == await client.rest()
        client.writer.close()
        await noted.over.wait()
    assert (['good'], code) == (noted.messages, noted.socket.code)
    assert type(noted.socket.code) is int
    fault = 'larger than 100 bytes' if code == 1009 else f'broke the protocol ({code})'
    assert fault in str(noted.error)


@broken
async def test_a_server_that_breaks_the_protocol_is_told(to_client, frames, bad, code):
    """It gets the code and then the end; the client gets the messages before, then the error."""
    told = []

    async def talk(line):
        await line.send(frames.write(TEXT, b'good'))
        for kind, data, first in bad:
            await line.send(frames.write(kind, data, first=first))
        kind, data = await frames.read(line.reader)
        told.append((kind, code_of(data), await line.reader.read()))

    async with to_client(talk, max_message=100) as socket:
        assert 'good' == await anext(socket)
        with pytest.raises(http.ProtocolError):
            await anext(socket)
        assert code == socket.code
    assert [(CLOSE, code, b'')] == told


@pytest.mark.parametrize('kind', [TEXT, PING, CLOSE])
async def test_a_client_has_to_mask_its_frames(to_server, frames, kind):
    """RFC 6455 5.1: the server closes with 1002, and the callback gets the messages before."""
    noted = Noted()
    async with to_server(noted) as client:
        client.send(frames.write(TEXT, b'good', masked=True) + frames.write(kind, b'\x03\xe8'))
        kind, data = await frames.read(client.reader)
        assert (CLOSE, 1002) == (kind, code_of(data))
        client.writer.close()
        await noted.over.wait()
    assert (['good'], 1002) == (noted.messages, noted.socket.code)
    assert 'a frame is not masked' in str(noted.error)


async def test_a_server_must_not_mask_its_frames(to_client, frames):
    """RFC 6455 5.1: the client closes with 1002 after the messages before."""
    told = []

    async def talk(line):
        await line.send(frames.write(TEXT, b'good') + frames.write(TEXT, b'bad', masked=True))
        told.append(code_of((await frames.read(line.reader))[1]))
        await line.reader.read()

    async with to_client(talk) as socket:
        assert 'good' == await anext(socket)
        with pytest.raises(http.ProtocolError, match='a frame is masked'):
            await anext(socket)
    assert [1002] == told


async def test_what_follows_a_broken_frame_is_not_read(to_server, frames):
    """A frame that cannot be read hides where the next one begins."""
    noted = Noted()
    async with to_server(noted) as client:
        client.send(frames.write(TEXT, b'not masked'))
        assert 1002 == code_of((await frames.read(client.reader))[1])
        client.send(frames.write(TEXT, b'late', masked=True))
        assert b'' == await client.rest()
        client.writer.close()
        await noted.over.wait()
    assert ([], 1002) == (noted.messages, noted.socket.code)


@pytest.mark.parametrize(
    ('bad', 'code'),
    [((TEXT, b'x', {'masked': True}), 1002), ((TEXT, b'\xff', {}), 1007)],
    ids=['a head', 'a payload'],
)
@pytest.mark.parametrize('lost', [False, True])
async def test_messages_before_a_broken_frame_are_read_however_late(
    to_client, frames, until, bad, code, lost
):
    """Also if they all arrive at once, more than are queued, and if the connection ends then."""
    told = []

    async def talk(line):
        with contextlib.suppress(asyncio.IncompleteReadError):
            told.append(code_of((await frames.read(line.reader))[1]))
            await line.reader.read()

    kind, data, how = bad
    async with to_client(talk) as socket:
        peer = socket._channel
        good = frames.write(BINARY, b'x' * 10_000) * 30
        peer.feed_data(good + frames.write(kind, data, **how) + frames.write(TEXT, b'late'))
        if lost:
            peer._transport.abort()
            await until(lambda: peer.gone)
        assert [b'x' * 10_000] * 30 == [await anext(socket) for _ in range(30)]
        with pytest.raises(http.ProtocolError, match=f'broke the protocol .{code}.'):
            await anext(socket)
        assert code == socket.code
    assert ([] if lost else [code]) == told


async def test_a_broken_frame_ends_all_tasks_that_read(to_client, frames):
    """Also behind messages that wait to be parsed."""

    async def talk(line):
        await line.reader.read()
        await line.reader.read()

    async def read(socket):
        return [message async for message in socket]

    async with to_client(talk) as socket:
        good = frames.write(BINARY, b'x' * 100_000) * 3
        socket._channel.feed_data(good + frames.write(TEXT, b'x', masked=True))
        results = await asyncio.gather(*(read(socket) for _ in range(3)), return_exceptions=True)
    assert [http.ProtocolError] * 3 == [type(result) for result in results]


@pytest.mark.parametrize('bits', [0xE0, 0xD0])
async def test_only_the_first_reserved_bit_has_a_meaning(to_server, frames, bits):
    """RFC 7692 6: compression was negotiated, and takes RSV1 alone."""
    noted = Noted()
    async with to_server(noted, 'Sec-WebSocket-Extensions: permessage-deflate') as client:
        client.send(frames.write(TEXT, b'x', first=bits, masked=True))
        assert 1002 == code_of((await frames.read(client.reader))[1])
        client.writer.close()
        await noted.over.wait()


@pytest.mark.parametrize('first', [COMPRESSED, 0x40])
async def test_a_continuation_has_no_reserved_bit(to_server, frames, first):
    """RFC 7692 6.1: RSV1 is for the first fragment of a message."""
    noted = Noted()
    async with to_server(noted, 'Sec-WebSocket-Extensions: permessage-deflate') as client:
        client.send(frames.write(TEXT, b'', first=0x40, masked=True))
        client.send(frames.write(MORE, b'x', first=first, masked=True))
        assert 1002 == code_of((await frames.read(client.reader))[1])
        client.writer.close()
        await noted.over.wait()


def deflated(data):
    """Compress a message as RFC 7692 7.2.1 requires."""
    maker = zlib.compressobj(wbits=-15)
    return (maker.compress(data) + maker.flush(zlib.Z_SYNC_FLUSH)).removesuffix(b'\0\0\xff\xff')


@pytest.mark.parametrize(
    ('sent', 'code'),
    [
        (deflated(b'x' * 100), None),
        (deflated(b'x' * 101), 1009),
        (deflated(b'x' * 10**7), 1009),
        (b'\xff\xff\xff', 1002),
    ],
)
async def test_a_limit_counts_what_is_decompressed(to_server, frames, sent, code):
    """A compressed message may decompress to ``max_message`` bytes; invalid data is a 1002."""
    noted = Noted()
    extension = 'Sec-WebSocket-Extensions: permessage-deflate'
    async with to_server(noted, extension, max_message=100) as client:
        client.send(frames.write(BINARY, sent, first=COMPRESSED, masked=True))
        client.send(frames.write(CLOSE, b'\x03\xe8', masked=True))
        assert (CLOSE, code or 1000) == (
            (told := await frames.read(client.reader))[0],
            code_of(told[1]),
        )
        assert b'' == await client.rest()
        client.writer.close()
        await noted.over.wait()
    assert ([] if code else [b'x' * 100]) == noted.messages


@pytest.mark.parametrize('limit', [1, 100, 1000, 100_000])
async def test_a_limit_does_not_count_what_compression_adds(limit):
    """Random bytes are longer when they are compressed; one byte more is still too many."""
    noise = random.Random(1).randbytes(limit)

    async def echo(socket):
        async for message in socket:
            await socket.send(message)

    response = {'websocket': {'callback': echo, 'max_message': limit}}
    async with (
        http.listen('127.0.0.1', 0, lambda request: response) as server,
        http.websocket(url=server.url, max_message=limit) as socket,
    ):
        await socket.send(noise)
        assert noise == await anext(socket)
        await socket.send(noise + b'x')
        assert [] == [message async for message in socket]
        assert 1009 == socket.code


@pytest.mark.parametrize('limit', [5_000_000, 2**40, None])
async def test_the_limit_may_be_raised_or_switched_off(limit):
    """A message above the default limit passes."""
    big = b'x' * 4_500_000

    async def echo(socket):
        async for message in socket:
            await socket.send(message)

    def callback(request):
        return {'websocket': {'callback': echo, 'max_message': limit}}

    async with (
        http.listen('127.0.0.1', 0, callback) as server,
        http.websocket(url=server.url, max_message=limit, compress=False) as socket,
    ):
        await socket.send(big)
        assert big == await anext(socket)


async def test_a_message_may_arrive_in_fragments(to_server, frames):
    """Fragments with pings between them, split at any byte, are one message."""
    noted = Noted()
    sent = [
        frames.write(TEXT, 'grü'.encode()[:3], first=PART, masked=True),
        frames.write(PING, b'1', masked=True),
        frames.write(MORE, 'grü'.encode()[3:], first=PART, masked=True),
        frames.write(MORE, b'', masked=True),
        frames.write(CLOSE, b'\x03\xe8bye', masked=True),
    ]
    async with to_server(noted) as client:
        for byte in b''.join(sent):
            client.send(bytes([byte]))
            await asyncio.sleep(0)
        assert (PONG, b'1') == await frames.read(client.reader)
        assert (CLOSE, b'\x03\xe8bye') == await frames.read(client.reader)
        assert b'' == await client.rest()
    assert (['grü'], 1000, 'bye') == (noted.messages, noted.socket.code, noted.socket.reason)


async def test_frames_sent_together_with_the_handshake_are_read(to_server, to_client, frames):
    """They are the first messages, on either side."""
    noted = Noted()
    ends = [frames.write(CLOSE, masked=masked) for masked in (True, False)]
    async with to_server(noted, behind=frames.write(TEXT, b'now', masked=True) + ends[0]) as client:
        assert (CLOSE, b'') == await frames.read(client.reader)
        await noted.over.wait()
    assert (['now'], 1005) == (noted.messages, noted.socket.code)

    async def talk(line):
        pass

    async with to_client(talk, frames.write(TEXT, b'now') + ends[1]) as socket:
        assert ['now'] == [message async for message in socket]
        assert 1005 == socket.code


async def test_pings_and_closes_are_answered_while_nobody_reads(to_server, frames):
    """A callback that only sends, or waits for something else, keeps to the protocol."""
    done = asyncio.Event()

    async def deaf(socket):
        await done.wait()

    async with to_server(deaf) as client:
        client.send(frames.write(PING, b'there?', masked=True))
        assert (PONG, b'there?') == await frames.read(client.reader)
        client.send(frames.write(PONG, b'unasked', masked=True))
        client.send(frames.write(CLOSE, b'\x0f\xa0', masked=True))
        assert (CLOSE, b'\x0f\xa0') == await frames.read(client.reader)
        assert b'' == await client.rest()
        done.set()


async def test_of_many_pings_the_last_is_answered(to_server, frames):
    """RFC 6455 5.5.3 allows it, and a peer that pings without reading fills no memory."""
    noted = Noted()
    async with to_server(noted) as client:
        client.send(b''.join(frames.write(PING, b'%d' % n, masked=True) for n in range(1000)))
        pongs = []
        while b'999' not in pongs:
            pongs.append((await frames.read(client.reader))[1])
        assert len(pongs) < 1000


@pytest.mark.parametrize('heartbeat', [20, None])
@pytest.mark.parametrize('reset', [True, False])
async def test_a_peer_that_hangs_up_is_an_error(to_client, reset, heartbeat):
    """An end without a close frame is a ProtocolError, and code 1006 (RFC 6455 7.1.5)."""

    async def talk(line):
        if reset:
            line.reset()

    async with to_client(talk, heartbeat=heartbeat) as socket:
        for _ in range(2):
            with pytest.raises(http.ProtocolError, match='hung up without a closing handshake'):
                await anext(socket)
        with pytest.raises(http.ProtocolError, match='hung up'):
            await socket.send('x')
        assert (1006, '') == (socket.code, socket.reason)


async def test_a_client_that_hangs_up_is_an_error_in_the_callback(to_server):
    """The iteration raises after the messages that arrived before."""
    noted = Noted()
    async with to_server(noted) as client:
        client.writer.write_eof()
        assert b'' == await client.rest()
        await noted.over.wait()
    assert 'hung up' in str(noted.error)
    assert 1006 == noted.socket.code


async def test_a_peer_that_is_not_heard_from_is_gone(to_client, to_server, frames):
    """If no byte arrives within the heartbeat, the connection ends, on either side."""

    async def mute(line):
        assert (PING, b'') == await frames.read(line.reader)
        await line.reader.read()

    async with to_client(mute, heartbeat=0.01) as socket:
        with pytest.raises(http.ProtocolError, match=r'not heard from for 0\.01 s'):
            await anext(socket)
        assert 1006 == socket.code

    noted = Noted()
    async with to_server(noted, heartbeat=0.01):
        await noted.over.wait()
    assert 'not heard from for 0.01 s' in str(noted.error)


async def send_long(socket):
    """Send a message that its peer has to read in many steps."""
    line = socket._channel._transport.get_extra_info('socket')
    line.setsockopt(SOL_SOCKET, SO_SNDBUF, 65_536)  # more would be taken in steps of a megabyte
    await socket.send(b'x' * BIG)


async def read_some(client, peer):
    """Read until the other end buffers less than before; return the number of bytes."""
    size, before = 0, peer._transport.get_write_buffer_size()
    while peer._transport.get_write_buffer_size() >= before:
        size += len(await client.reader.read(65_536))
    return size


async def test_a_peer_that_reads_a_long_message_stays(to_server):
    """The ping waits behind the message, and no byte can arrive in reply to it."""
    noted, done = Noted(), asyncio.Event()

    async def chat(socket):
        await send_long(socket)
        sent.set_result(socket._channel)
        await noted(socket)
        done.set()

    sent = asyncio.get_running_loop().create_future()
    async with to_server(chat) as client:
        peer = await sent
        peer._ping(20)
        for _ in range(3):
            await read_some(client, peer)
            peer._ping(20)
            assert not peer._transport.is_closing()
        client.writer.transport.abort()
        await done.wait()
    assert 'hung up' in str(noted.error)


async def test_a_peer_that_reads_no_message_is_gone(to_server):
    """A ping that waits behind an unread message does not keep it."""
    noted = Noted()

    async def chat(socket):
        await socket.send(b'x' * BIG)
        await noted(socket)

    async with to_server(chat, heartbeat=0.02):
        await noted.over.wait()
    assert 'not heard from for 0.02 s' in str(noted.error)


async def test_a_peer_that_answers_pings_stays(to_client, frames):
    """Any byte within the heartbeat keeps the connection."""
    stop = asyncio.Event()

    async def answering(line):
        for _ in range(5):
            assert (PING, b'') == await frames.read(line.reader)
            await line.send(frames.write(PONG))
        stop.set()
        while (await frames.read(line.reader))[0] == PING:
            pass
        await line.send(frames.write(CLOSE, b'\x03\xe8'))

    async with to_client(answering, heartbeat=0.05) as socket:
        await stop.wait()
    assert 1000 == socket.code


async def test_the_heartbeat_does_not_judge_a_peer_while_reading_is_paused(to_client, frames):
    """While messages wait to be read, no byte can arrive."""
    pings = asyncio.Event()
    message = frames.write(BINARY, b'x' * 100_000)

    async def flood(line):
        line.writer.write(message * 100)
        for _ in range(3):
            assert (PING, b'') == await frames.read(line.reader)
        pings.set()
        await line.send(frames.write(CLOSE, b'\x03\xe8'))
        while (await frames.read(line.reader))[
            0
        ] == PING:  # unread, they would reset the connection
            pass

    async with to_client(flood, heartbeat=0.05) as socket:
        await pings.wait()
        assert 100 == len([one async for one in socket])


async def test_a_heartbeat_of_none_sends_no_pings(to_client, frames):
    """The peer gets nothing but the close."""

    async def talk(line):
        assert CLOSE == (await frames.read(line.reader))[0]
        await line.send(frames.write(CLOSE, b'\x03\xe8'))

    async with to_client(talk, heartbeat=None) as socket:
        pass
    assert 1000 == socket.code


async def test_messages_that_nobody_reads_wait_in_the_network(to_client, frames):
    """A peer that sends faster than is read has to wait, and no message is lost."""
    message = frames.write(BINARY, b'x' * 1000)
    halted = asyncio.Event()

    async def flood(line):
        for _ in range(30_000):
            line.writer.write(message)
            if line.writer.transport.get_write_buffer_size() > 1_000_000:
                halted.set()
                await line.writer.drain()
        await line.send(frames.write(CLOSE, b'\x03\xe8'))

    async with to_client(flood) as socket:
        await halted.wait()
        assert 30_000 == len([one async for one in socket])
        assert 1000 == socket.code


async def test_a_close_drops_unread_messages(to_client, frames):
    """They are dropped on the way to the peer's close."""

    async def flood(line):
        await line.send(frames.write(BINARY, b'x' * 1000) * 30_000)
        assert CLOSE == (await frames.read(line.reader))[0]
        await line.send(frames.write(CLOSE, b'\x0f\xa0'))

    async with to_client(flood) as socket:
        await anext(socket)
    assert 4000 == socket.code


async def test_senders_wait_for_a_peer_that_does_not_read(to_client, frames):
    """All senders wait, and cancelling one does not affect the others."""
    read = asyncio.Event()
    got = []

    async def lazy(line):
        await read.wait()
        while (frame := await frames.read(line.reader))[0] != CLOSE:
            got.append((len(frame[1]), frame[1][:1]))
        await line.send(frames.write(CLOSE, b'\x03\xe8'))

    async with to_client(lazy, compress=False) as socket:
        first = asyncio.create_task(socket.send(b'f' * BIG))
        await first  # it is buffered in memory, for the kernel takes less
        second, third, fourth = (
            asyncio.create_task(socket.send(bytes([48 + n]) * 10)) for n in range(3)
        )
        done, _ = await asyncio.wait([second, third, fourth], timeout=0.05)
        assert not done
        second.cancel()
        read.set()
        await asyncio.gather(third, fourth)
        assert second.cancelled()
    assert [(BIG, b'f'), (10, b'1'), (10, b'2')] == got


async def test_messages_of_several_senders_are_not_mixed():
    """Each arrives whole, large or small, compressed in a thread or not, in its sender's order."""
    got = []

    async def chat(socket):
        got.extend([message async for message in socket])

    async def sender(socket, name):
        for size in (10, 100_000, 20, 50_000, 30):
            await socket.send(name * size)

    def callback(request):
        return {'websocket': chat}

    async with (
        http.listen('127.0.0.1', 0, callback) as server,
        http.websocket(url=server.url) as socket,
    ):
        await asyncio.gather(*(sender(socket, name) for name in 'abcdefghij'))
    assert 50 == len(got)
    for name in 'abcdefghij':
        assert [10, 100_000, 20, 50_000, 30] == [len(m) for m in got if set(m) == {name}]


async def test_a_cancelled_send_does_not_send_after_the_close(to_server, frames):
    """Its message may still be compressed in a thread (RFC 6455 5.5.1); later ones are dropped."""
    big = random.randbytes(1_000_000)

    async def chat(socket):
        for _ in range(20):
            sending = asyncio.create_task(socket.send(big))
            for _ in range(5):
                await asyncio.sleep(0)
            sending.cancel()
            with pytest.raises(asyncio.CancelledError):
                await sending
        await socket.close()

    async with to_server(chat, 'Sec-WebSocket-Extensions: permessage-deflate') as client:
        kinds = []
        while CLOSE not in kinds:
            kinds.append((await frames.read(client.reader))[0])
        client.send(frames.write(CLOSE, b'\x03\xe8', masked=True))
        assert b'' == await client.rest()
    assert BINARY == kinds[0]
    assert len(kinds) < 20


async def test_a_message_is_not_sent_if_the_connection_ends_while_it_is_compressed(to_server):
    """The sender gets an error."""
    errors = []
    over = asyncio.Event()

    async def chat(socket):
        sending = asyncio.create_task(socket.send(random.randbytes(1_000_000)))
        for _ in range(5):
            await asyncio.sleep(0)
        socket._channel.abort()
        with pytest.raises(http.ProtocolError) as caught:
            await sending
        errors.append(str(caught.value))
        over.set()

    async with to_server(chat, 'Sec-WebSocket-Extensions: permessage-deflate') as client:
        await over.wait()
        client.writer.close()
    assert 1 == len(errors)


async def test_a_waiting_sender_gets_an_error_when_the_connection_ends(to_client):
    """A connection that is lost or closed meanwhile is a ProtocolError."""
    lose = asyncio.Event()

    async def deaf(line):
        await lose.wait()
        line.reset()

    async with to_client(deaf, compress=False) as socket:
        await socket.send(b'x' * BIG)
        waiting = asyncio.create_task(socket.send('more'))
        done, _ = await asyncio.wait([waiting], timeout=0.05)
        assert not done
        lose.set()
        with pytest.raises(http.ProtocolError, match='hung up'):
            await waiting


async def test_a_peer_that_neither_reads_nor_leaves_is_cut_off(to_client, monkeypatch):
    """The close frame waits behind unread data, but only for the close timeout."""
    monkeypatch.setattr(connection, 'CLOSE_TIMEOUT', 0.05)
    done = asyncio.Event()

    async def deaf(line):
        await done.wait()

    async with to_client(deaf, compress=False) as socket:
        await socket.send(b'x' * BIG)
        await socket.close()
        assert 1006 == socket.code
        with pytest.raises(http.ProtocolError, match='did not read all that was sent'):
            await anext(socket)
        done.set()


async def test_a_peer_that_reads_slowly_gets_all_before_the_close(to_server, frames, until):
    """While it reads, the close timeout does not run out."""
    size, sent = 0, asyncio.get_running_loop().create_future()

    async def chat(socket):
        await send_long(socket)
        sent.set_result(socket)
        await socket.close()

    async with to_server(chat) as client:
        socket = await sent
        peer = socket._channel
        await until(lambda: peer._writer.ends)
        for _ in range(2 * connection.CLOSE_CHECKS):
            size += await read_some(client, peer)
            peer._check_close()
        await client.reader.readexactly(10 + BIG - size)
        assert (CLOSE, b'\x03\xe8') == await frames.read(client.reader)
        client.send(frames.write(CLOSE, b'\x03\xe8', masked=True))
        assert b'' == await client.rest()
        await until(lambda: peer.gone)
    assert (1000, None) == (socket.code, peer.fault)


async def test_a_cancellation_ends_the_connection_without_a_close(to_client):
    """It does not wait for the peer, which would not answer here."""

    async def mute(line):
        await asyncio.Event().wait()

    with pytest.raises(TimeoutError):
        async with asyncio.timeout(0.05), to_client(mute) as socket:
            await anext(socket)
    assert (1006, None) == (socket.code, socket._channel.fault)


@pytest.mark.parametrize('replies', [True, False])
async def test_a_peer_that_does_not_leave_is_cut_off(to_client, frames, monkeypatch, replies):
    """The timeout holds for its close frame and for the end of the connection after it."""
    monkeypatch.setattr(connection, 'CLOSE_TIMEOUT', 0.05)

    async def stays(line):
        assert CLOSE == (await frames.read(line.reader))[0]
        if replies:
            await line.send(frames.write(CLOSE, b'\x03\xe8'))
        await line.reader.read()
        await line.reader.read()

    async with to_client(stays) as socket:
        await socket.close(4000)
        assert (1000 if replies else 1006) == socket.code
        assert [] == [message async for message in socket]  # no error: this side closed


async def test_a_peer_that_breaks_the_protocol_while_closing_is_cut_off(to_client, frames):
    """Our close frame has been sent, and there is no other to send."""

    async def talk(line):
        assert CLOSE == (await frames.read(line.reader))[0]
        await line.send(frames.write(3))
        assert b'' == await line.reader.read()

    async with to_client(talk) as socket:
        pass
    assert 1002 == socket.code


async def test_frames_after_a_close_are_ignored(to_client, frames):
    """Nothing may follow a close frame (RFC 6455 5.5.1)."""

    async def talk(line):
        late = [frames.write(kind) for kind in (TEXT, PING, CLOSE, 3)]
        await line.send(frames.write(CLOSE, b'\x0f\xa0') + b''.join(late))
        assert CLOSE == (await frames.read(line.reader))[0]
        assert b'' == await line.reader.read(0)

    async with to_client(talk) as socket:
        assert [] == [message async for message in socket]
        assert 4000 == socket.code


async def test_both_may_close_at_once(to_client, frames):
    """Each side gets the other's code."""

    async def talk(line):
        await now.wait()
        await line.send(frames.write(CLOSE, b'\x0f\xa1'))
        told.append(await frames.read(line.reader))

    told, now = [], asyncio.Event()
    async with to_client(talk) as socket:
        now.set()
        await socket.close(4000)
    assert 4001 == socket.code
    assert [(CLOSE, b'\x0f\xa0')] == told


@pytest.mark.parametrize('compression', ['deflate', None])
async def test_the_websockets_package_understands_us(compression):
    """As a client: messages, parts, pings and closes, compressed or not."""
    noted = Noted()

    async def chat(socket):
        await socket.send('welcome')
        await noted(socket)

    async with http.listen('127.0.0.1', 0, lambda request: {'websocket': chat}) as server:
        url = server.url.replace('http', 'ws')
        async with websockets.connect(url, compression=compression) as peer:
            assert 'welcome' == await peer.recv()
            await (await peer.ping(b'x'))
            await peer.send(['a', 'b', 'c'])
            await peer.send([b'x' * 100_000] * 3)
            for n in range(20):
                await peer.send('again and again ' * n)
            await peer.close(4001, 'done')
    assert ['abc', b'x' * 300_000] == noted.messages[:2]
    assert ['again and again ' * n for n in range(20)] == noted.messages[2:]
    assert (4001, 'done') == (noted.socket.code, noted.socket.reason)


@pytest.mark.parametrize('compression', ['deflate', None])
async def test_we_understand_the_websockets_package(compression):
    """As a server: messages, parts, pings and closes, compressed or not."""
    got = []

    async def handler(peer):
        await (await peer.ping())
        await peer.send(['a', 'b'])
        async for message in peer:
            got.append(message)
            if message == 'end':
                await peer.close(4002, 'done')

    async with websockets.serve(handler, '127.0.0.1', 0, compression=compression) as server:
        port = server.sockets[0].getsockname()[1]
        async with http.websocket(url=f'ws://127.0.0.1:{port}/') as socket:
            assert 'ab' == await anext(socket)
            for message in ('', b'', 'ß' * 100_000, b'x' * 100_000, 'end'):
                await socket.send(message)
            assert [] == [message async for message in socket]
            assert (4002, 'done') == (socket.code, socket.reason)
    assert ['', b'', 'ß' * 100_000, b'x' * 100_000, 'end'] == got


TEXT_TYPE, CLOSE_TYPE, PING_TYPE, PONG_TYPE = (
    WSMsgType.TEXT,
    WSMsgType.CLOSE,
    WSMsgType.PING,
    WSMsgType.PONG,
)
BIG_MESSAGE = b'x' * 20_000_000  # more than the buffers of two sockets hold


@contextlib.asynccontextmanager
async def sending(raw_server, read, *, masks=False):
    """Connect a ``FrameWriter`` to a peer that reads with ``read``; yield it and its reports."""
    loop = asyncio.get_running_loop()
    told = []

    async def serve(line):
        await read(line.reader)

    async with raw_server(serve) as peer:
        transport, protocol = await loop.create_connection(
            lambda: BaseProtocol(loop), '127.0.0.1', peer.port
        )
        transport.set_write_buffer_limits(high=0)
        try:
            close = partial(told.append, 'closed')
            yield (
                FrameWriter(protocol, 0, False, masks=masks, wrote=told.append, closed=close),
                told,
            )
        finally:
            transport.abort()


async def sent(writer, message, kind=TEXT_TYPE):
    """Send a message, and return whether that was possible."""
    result = writer.send(message, kind)
    return result if isinstance(result, bool) else await result


class Opened(NamedTuple):
    """A writer, the event that lets its peer read, and what came and was reported."""

    writer: FrameWriter
    reads: asyncio.Event
    came: asyncio.Queue
    told: list


@pytest.fixture
def opened(raw_server, frames):
    """Open a writer to a peer that reads frames once it is told to; give those, too."""

    @contextlib.asynccontextmanager
    async def open_it(*, masks=False):
        reads, came = asyncio.Event(), asyncio.Queue()

        async def read(reader):
            await reads.wait()
            with contextlib.suppress(asyncio.IncompleteReadError):
                while True:
                    came.put_nowait(await frames.read(reader))

        async with sending(raw_server, read, masks=masks) as (writer, told):
            yield Opened(writer, reads, came, told)

    return open_it


@pytest.mark.parametrize(('masks', 'size'), [(False, 3), (True, 7)])
async def test_a_message_is_sent_and_counted(opened, masks, size):
    """Every byte of the frame is counted, with the mask of a client (RFC 6455 5.2)."""
    async with opened(masks=masks) as (writer, reads, came, told):
        reads.set()
        assert await sent(writer, b'x')
        assert ((TEXT_TYPE, b'x'), size) == (await came.get(), sum(told))


async def test_masks_cannot_be_predicted(raw_server):
    """RFC 6455 10.3: they do not come from aiohttp's generator, which has a state to work out."""
    weak = inspect.signature(http_websocket.WebSocketWriter).parameters['random'].default
    came = asyncio.Queue()

    async def read(reader):
        with contextlib.suppress(asyncio.IncompleteReadError):
            while True:
                came.put_nowait((await reader.readexactly(7))[2:6])

    async with sending(raw_server, read, masks=True) as (writer, _told):
        for _ in range(2):
            weak.seed(1)
            assert await sent(writer, b'x')
        assert await came.get() != await came.get()


async def test_a_peer_has_progressed_if_a_sender_waited_for_it(opened):
    """Also where as much is buffered as before; bytes that are passed on at once do not count."""
    async with opened() as (writer, reads, came, _told):
        assert await sent(writer, BIG_MESSAGE)
        later = asyncio.create_task(sent(writer, b'1'))
        writer.progressed()
        reads.set()
        assert await later
        assert [True, False] == [writer.progressed() for _ in range(2)]
        assert await sent(writer, b'2')
        assert [BIG_MESSAGE, b'1', b'2'] == [(await came.get())[1] for _ in range(3)]
        assert not writer.progressed()


async def test_messages_wait_for_a_peer_that_does_not_read(opened, until):
    """Only one message is buffered in memory, and messages go out in the order of their senders."""
    async with opened() as (writer, reads, came, told):
        assert await sent(writer, BIG_MESSAGE)
        later = [asyncio.create_task(sent(writer, data)) for data in (b'1', b'2', b'3')]
        for _ in range(10):
            await asyncio.sleep(0)
        assert sum(told) < len(BIG_MESSAGE) + 100
        later[1].cancel()
        reads.set()
        assert [BIG_MESSAGE, b'1', b'3'] == [(await came.get())[1] for _ in range(3)]
        results = await asyncio.gather(*later, return_exceptions=True)
        assert [True, True] == [results[0], results[2]]


async def test_nothing_is_logged_of_a_cancelled_sender_whose_peer_then_leaves(opened, caplog):
    """asyncio complains of an exception that nobody retrieves, when it frees a task."""
    async with opened() as (writer, _reads, _came, _told):
        assert await sent(writer, BIG_MESSAGE)
        waiting = asyncio.create_task(sent(writer, b'1'))
        for _ in range(5):
            await asyncio.sleep(0)
        waiting.cancel()
        await asyncio.wait([waiting])
        writer._transport._fatal_error(ConnectionResetError())
        for _ in range(5):
            await asyncio.sleep(0)
    del waiting
    gc.collect()
    assert 'never retrieved' not in caplog.text


async def test_a_message_does_not_overtake_one_that_waits(opened):
    """Not even if it is sent after the buffer drained, and before the other sender went on."""
    async with opened() as (writer, reads, came, _told):
        writer._protocol.pause_writing()
        first = asyncio.create_task(sent(writer, b'1'))
        for _ in range(5):
            await asyncio.sleep(0)
        writer._protocol.resume_writing()
        assert await sent(writer, b'2')
        assert await first
        reads.set()
        assert [b'1', b'2'] == [(await came.get())[1] for _ in range(2)]


@pytest.mark.parametrize('size', [0, 125, 126, 65_535, 65_536])
async def test_a_message_of_any_size_is_framed(opened, size):
    """The length of a payload takes 7, 16 or 64 bits (RFC 6455 5.2)."""
    async with opened() as (writer, reads, came, told):
        reads.set()
        assert await sent(writer, b'x' * size)
        assert (TEXT_TYPE, b'x' * size) == await came.get()
        assert size + (2 if size < 126 else 4 if size < 65_536 else 10) == sum(told)


async def test_only_the_latest_control_frame_of_each_kind_is_sent(opened):
    """Queueing one does not wait (RFC 6455 5.5.3)."""
    async with opened() as (writer, reads, came, _told):
        await writer.controls_sent()
        for kind, data in ((PING_TYPE, b'1'), (PONG_TYPE, b'2'), (PING_TYPE, b'3')):
            writer.send_control(kind, data)
        assert writer.queued(PING_TYPE)
        await writer.controls_sent()
        assert not writer.queued(PING_TYPE)
        reads.set()
        assert [(PING_TYPE, b'3'), (PONG_TYPE, b'2')] == [await came.get() for _ in range(2)]


async def test_nothing_is_sent_after_a_close_frame(opened):
    """Control frames queued after it are dropped, and sending a message returns False."""
    async with opened() as (writer, reads, came, told):
        writer.ends = True
        writer.send_control(CLOSE_TYPE, b'\x03\xe8')
        writer.send_control(PONG_TYPE, b'')
        await writer.controls_sent()
        assert ('closed', False) == (told[-1], writer.queued(PONG_TYPE))
        assert not await sent(writer, b'x')
        reads.set()
        assert (CLOSE_TYPE, b'\x03\xe8') == await came.get()


async def test_a_control_frame_behind_a_close_frame_is_dropped(opened):
    """A ping may arrive while the close frame waits to be sent."""
    async with opened() as (writer, reads, came, told):
        for kind, data in ((PING_TYPE, b'1'), (CLOSE_TYPE, b'\x03\xe8'), (PONG_TYPE, b'2')):
            writer.send_control(kind, data)
        assert not writer.queued(PONG_TYPE)
        await writer._control_task  # raises what the task has raised
        reads.set()
        assert [(PING_TYPE, b'1'), (CLOSE_TYPE, b'\x03\xe8')] == [
            await came.get() for _ in range(2)
        ]
        assert 'closed' == told[-1]


async def test_queued_control_frames_can_be_dropped(opened):
    """This happens when the connection ends."""
    async with opened() as (writer, _reads, _came, told):
        writer.send_control(PING_TYPE, b'')
        writer.clear()
        await writer.controls_sent()
        assert ([], False) == (told, await sent(writer, b'x'))


async def test_nothing_is_sent_on_a_lost_connection(opened):
    """Sending a message returns False, and control frames are dropped."""
    async with opened() as (writer, _reads, _came, told):
        writer._transport.abort()
        writer.send_control(PING_TYPE, b'')
        assert not await sent(writer, b'x')
        await writer.controls_sent()
        assert [] == told
