"""Frames on their way out: in turn, at the pace of the peer, and counted."""

import asyncio
import contextlib
from functools import partial

import pytest
from aiohttp import WSMsgType
from aiohttp.base_protocol import BaseProtocol

from aioluahttp.websockets.outbox import Outbox

TEXT, CLOSE, PING, PONG = WSMsgType.TEXT, WSMsgType.CLOSE, WSMsgType.PING, WSMsgType.PONG
BIG = b'x' * 20_000_000  # more than the buffers of two sockets hold


@contextlib.asynccontextmanager
async def sending(raw_server, read, *, masks=False):
    """Open a connection to a peer that reads by a function; give its outbox, and what it told."""
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
            yield Outbox(protocol, 0, False, masks=masks, wrote=told.append, closed=close), told
        finally:
            transport.abort()


@pytest.fixture
def opened(raw_server, frames):
    """Open an outbox to a peer that reads frames once it is told to; give those, too."""

    @contextlib.asynccontextmanager
    async def open_it(*, masks=False):
        reads, came = asyncio.Event(), asyncio.Queue()

        async def read(reader):
            await reads.wait()
            with contextlib.suppress(asyncio.IncompleteReadError):
                while True:
                    came.put_nowait(await frames.read(reader))

        async with sending(raw_server, read, masks=masks) as (outbox, told):
            outbox.reads, outbox.came, outbox.told = reads, came, told
            yield outbox

    return open_it


@pytest.mark.parametrize(('masks', 'size'), [(False, 3), (True, 7)])
async def test_a_message_is_sent_and_counted(opened, masks, size):
    """Every byte of its frame is, and a client's has a mask (RFC 6455 5.2)."""
    async with opened(masks=masks) as outbox:
        outbox.reads.set()
        assert await outbox.send(b'x', TEXT)
        assert ((TEXT, b'x'), size) == (await outbox.came.get(), sum(outbox.told))


async def test_messages_wait_for_a_peer_that_does_not_read(opened, until):
    """No more than one of them lies in memory, and they come in the order of their senders."""
    async with opened() as outbox:
        assert await outbox.send(BIG, TEXT)
        later = [asyncio.create_task(outbox.send(data, TEXT)) for data in (b'1', b'2', b'3')]
        for _ in range(10):
            await asyncio.sleep(0)
        assert sum(outbox.told) < len(BIG) + 100
        later[1].cancel()
        outbox.reads.set()
        assert [BIG, b'1', b'3'] == [(await outbox.came.get())[1] for _ in range(3)]
        results = await asyncio.gather(*later, return_exceptions=True)
        assert [True, True] == [results[0], results[2]]


async def test_of_frames_that_are_no_messages_the_latest_counts(opened):
    """Of each kind (RFC 6455 5.5.3); nobody waits for them but who wants to."""
    async with opened() as outbox:
        await outbox.emptied()
        for kind, data in ((PING, b'1'), (PONG, b'2'), (PING, b'3')):
            outbox.say(kind, data)
        assert outbox.has(PING)
        await outbox.emptied()
        assert not outbox.has(PING)
        outbox.reads.set()
        assert [(PING, b'3'), (PONG, b'2')] == [await outbox.came.get() for _ in range(2)]


async def test_nothing_follows_a_close(opened):
    """What was due behind it is not sent, and who waits for it is told."""
    async with opened() as outbox:
        outbox.ends = True
        outbox.say(CLOSE, (1000, b''))
        outbox.say(PONG, b'')
        await outbox.emptied()
        assert ('closed', False) == (outbox.told[-1], outbox.has(PONG))
        assert not await outbox.send(b'x', TEXT)
        outbox.reads.set()
        assert (CLOSE, b'\x03\xe8') == await outbox.came.get()


async def test_what_is_due_can_be_dropped(opened):
    """As it is once the connection has ended."""
    async with opened() as outbox:
        outbox.say(PING, b'')
        outbox.clear()
        await outbox.emptied()
        assert ([], False) == (outbox.told, await outbox.send(b'x', TEXT))


async def test_a_connection_that_has_been_lost_takes_nothing(opened):
    """Whoever sends is told, and a frame that is no message is dropped."""
    async with opened() as outbox:
        outbox._transport.abort()
        outbox.say(PING, b'')
        assert not await outbox.send(b'x', TEXT)
        await outbox.emptied()
        assert [] == outbox.told
