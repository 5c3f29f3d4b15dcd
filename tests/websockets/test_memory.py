"""Both ends of a WebSocket in one process."""

import asyncio

import pytest
from aiohttp import WSMsgType

from aioluahttp.websockets.memory import ROOM, peer_pair

TEXT, BINARY = WSMsgType.TEXT, WSMsgType.BINARY


def state(half):
    """Return the code, the reason and the fault of an end."""
    return half.code, half.reason, half.fault


async def test_each_end_reads_what_the_other_sends():
    """Messages arrive in order, text as str and binary as bytes."""
    near, far = peer_pair(None, None)
    for data, kind in ((b'a', TEXT), (b'a', BINARY), (b'', TEXT)):
        assert await near.send(data, kind)
    assert await far.send('é'.encode(), TEXT)
    assert ['a', b'a', ''] == [await far.read() for _ in range(3)]
    assert 'é' == await near.read()


async def test_several_reads_wait_and_are_served_in_order():
    """Each message goes to one of the waiting reads, in the order of their calls."""
    near, far = peer_pair(None, None)
    readers = [asyncio.create_task(far.read()) for _ in range(3)]
    await asyncio.sleep(0)
    for data in (b'a', b'b', b'c'):
        await near.send(data, TEXT)
    assert ['a', 'b', 'c'] == await asyncio.gather(*readers)


async def test_send_waits_while_too_many_messages_are_unread():
    """Each message that is read lets the sender that waits longest go on."""
    near, far = peer_pair(None, None)
    for _ in range(ROOM):
        await near.send(b'x', TEXT)
    senders = [asyncio.create_task(near.send(data, TEXT)) for data in (b'1', b'2')]
    await asyncio.sleep(0)
    assert not any(one.done() for one in senders)
    assert 'x' == await far.read()
    late = asyncio.create_task(near.send(b'3', TEXT))
    read = [await far.read() for _ in range(ROOM + 2)]
    assert ['1', '2', '3'] == read[-3:]
    assert [True] * 3 == await asyncio.gather(*senders, late)


async def test_a_waiting_send_may_be_cancelled():
    """Its message is not sent; those of other senders are."""
    near, far = peer_pair(None, None)
    for _ in range(ROOM):
        await near.send(b'x', TEXT)
    senders = [asyncio.create_task(near.send(data, TEXT)) for data in (b'1', b'2')]
    await asyncio.sleep(0)
    senders[0].cancel()
    await asyncio.wait(senders[:1])
    assert ['x'] * ROOM + ['2'] == [await far.read() for _ in range(ROOM + 1)]


async def test_a_close_ends_waiting_reads_and_sends():
    """A waiting read returns None, and a waiting send False."""
    near, far = peer_pair(None, None)
    for _ in range(ROOM):
        await near.send(b'x', TEXT)
    waiting = [asyncio.create_task(one) for one in (near.send(b'y', TEXT), near.read())]
    await asyncio.sleep(0)
    await far.close(4000, 'enough')
    assert [False, None] == await asyncio.gather(*waiting)
    assert (4000, 'enough', None) == state(near) == state(far)


async def test_a_close_without_a_code_is_1005():
    """At both ends, as on a connection (RFC 6455 7.1.5)."""
    near, far = peer_pair(None, None)
    await near.close(None, '')
    assert (1005, '', None) == state(near) == state(far)


async def test_only_the_other_end_reads_messages_sent_before_a_close():
    """The end that closes drops its unread messages; the first close gives the code."""
    near, far = peer_pair(None, None)
    for one in (near, far):
        await one.send(b'a', TEXT)
    await near.close(4000, 'a')
    await near.close(4001, 'b')
    assert [None, 'a', None] == [await near.read(), await far.read(), await far.read()]
    assert not await far.send(b'b', TEXT)
    assert (4000, 'a', None) == state(near) == state(far)


@pytest.mark.parametrize(('limit', 'passes'), [(2, True), (1, False), (None, True)])
async def test_a_message_over_the_limit_ends_both_sides(limit, passes):
    """The limit is the reader's, in bytes. Both get code 1009; the fault is at the reader."""
    near, far = peer_pair(0, limit)
    assert await near.send('é'.encode(), TEXT)
    if passes:
        assert 'é' == await far.read()
        return
    assert await far.read() is None
    assert (1009, '', None) == state(near)
    assert (1009, '', 'a message is larger than 1 bytes') == state(far)


async def test_an_abort_is_a_fault_at_the_other_end():
    """An abort after the end changes nothing."""
    near, far = peer_pair(None, None)
    near.abort()
    assert (1006, '', None) == state(near)
    assert (1006, '', 'the peer hung up') == state(far)
    far.abort()
    assert (1006, '', None) == state(near)
    assert await far.read() is None
