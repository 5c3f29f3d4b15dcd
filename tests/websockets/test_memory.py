"""The two ends of a WebSocket within one process."""

import asyncio

import pytest
from aiohttp import WSMsgType

from aioluahttp.websockets.memory import ROOM, peer_pair

TEXT, BINARY = WSMsgType.TEXT, WSMsgType.BINARY


def state(half):
    """Give how an end has ended."""
    return half.code, half.reason, half.fault


async def test_each_end_reads_what_the_other_sends():
    """In order, text as text and bytes as bytes."""
    near, far = peer_pair(None, None)
    for data, kind in ((b'a', TEXT), (b'a', BINARY), (b'', TEXT)):
        assert await near.send(data, kind)
    assert await far.send('é'.encode(), TEXT)
    assert ['a', b'a', ''] == [await far.read() for _ in range(3)]
    assert 'é' == await near.read()


async def test_who_reads_waits_for_a_message():
    """Also several at once: each message is for one of them, in their order."""
    near, far = peer_pair(None, None)
    readers = [asyncio.create_task(far.read()) for _ in range(3)]
    await asyncio.sleep(0)
    for data in (b'a', b'b', b'c'):
        await near.send(data, TEXT)
    assert ['a', 'b', 'c'] == await asyncio.gather(*readers)


async def test_who_sends_waits_where_nobody_reads():
    """For room, of which each message that is read makes some; who waits first is first."""
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


async def test_who_waits_to_send_may_be_cancelled():
    """Its message is not sent then, and those of others are."""
    near, far = peer_pair(None, None)
    for _ in range(ROOM):
        await near.send(b'x', TEXT)
    senders = [asyncio.create_task(near.send(data, TEXT)) for data in (b'1', b'2')]
    await asyncio.sleep(0)
    senders[0].cancel()
    await asyncio.wait(senders[:1])
    assert ['x'] * ROOM + ['2'] == [await far.read() for _ in range(ROOM + 1)]


async def test_who_waits_is_told_of_the_end():
    """Nothing will come any more, nor can anything be sent."""
    near, far = peer_pair(None, None)
    for _ in range(ROOM):
        await near.send(b'x', TEXT)
    waiting = [asyncio.create_task(one) for one in (near.send(b'y', TEXT), near.read())]
    await asyncio.sleep(0)
    await far.close(4000, 'enough')
    assert [False, None] == await asyncio.gather(*waiting)
    assert (4000, 'enough', None) == state(near) == state(far)


async def test_what_came_before_a_close_is_read_but_by_who_closes():
    """As on a connection; the first close counts."""
    near, far = peer_pair(None, None)
    for one in (near, far):
        await one.send(b'a', TEXT)
    await near.close(4000, 'a')
    await near.close(4001, 'b')
    assert [None, 'a', None] == [await near.read(), await far.read(), await far.read()]
    assert not await far.send(b'b', TEXT)
    assert (4000, 'a', None) == state(near) == state(far)


@pytest.mark.parametrize(('limit', 'passes'), [(2, True), (1, False), (None, True)])
async def test_a_message_over_the_limit_ends_both(limit, passes):
    """In bytes: of who reads it. He has the fault, and who sent it the code."""
    near, far = peer_pair(0, limit)
    assert await near.send('é'.encode(), TEXT)
    if passes:
        assert 'é' == await far.read()
        return
    assert await far.read() is None
    assert (1009, '', None) == state(near)
    assert (1009, '', 'a message is larger than 1 bytes') == state(far)


async def test_an_end_without_a_close_is_a_fault_for_the_other():
    """Unless it had ended before."""
    near, far = peer_pair(None, None)
    near.abort()
    assert (1006, '', None) == state(near)
    assert (1006, '', 'the peer hung up') == state(far)
    far.abort()
    assert (1006, '', None) == state(near)
    assert await far.read() is None
