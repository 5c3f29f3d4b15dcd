"""One end of a WebSocket over messages of ASGI."""

import asyncio

import pytest
from aiohttp import WSMsgType

from aioluahttp.websockets.asgi import AsgiPeer

LEFT = {'type': 'websocket.disconnect', 'code': 4000, 'reason': 'bye'}


def text(data):
    """Make the message that a client sends."""
    return {'type': 'websocket.receive', 'text': data}


class Engine:
    """An engine that has received some messages and will receive no more."""

    def __init__(self, *messages, error=None):
        self.given, self.sent, self.error = list(messages), [], error

    async def receive(self):
        """Give the next one."""
        return self.given.pop(0) if self.given else await asyncio.Event().wait()

    async def send(self, message):
        """Take one, or fail."""
        if self.error:
            raise self.error
        self.sent.append(message)

    def opened(self, limit=None):
        """Give its WebSocket."""
        return AsgiPeer(self.receive, self.send, limit)


async def test_messages_come_in_their_order_up_to_the_end():
    """Text and bytes; the end stays the end."""
    both = {'type': 'websocket.receive', 'bytes': b'b', 'text': None}
    end = Engine(text('a'), both, LEFT).opened()
    assert ['a', b'b', None, None] == [await end.read() for _ in range(4)]
    assert (4000, 'bye', None) == (end.code, end.reason, end.fault)
    await end.close(1000, '')


async def test_an_end_without_a_code_has_one():
    """That of a close without one (RFC 6455 7.1.5)."""
    end = Engine({'type': 'websocket.disconnect'}).opened()
    assert None is await end.read()
    assert (1005, '') == (end.code, end.reason)


async def test_messages_go_out():
    """As text and as bytes; the close last, and nothing behind it."""
    engine = Engine()
    end = engine.opened()
    assert await end.send(b'a', WSMsgType.TEXT)
    assert await end.send(b'b', WSMsgType.BINARY)
    await end.close(4001, 'done')
    await end.close(1000, '')
    assert not await end.send(b'c', WSMsgType.BINARY)
    assert None is await end.read()
    assert [
        {'type': 'websocket.send', 'text': 'a'},
        {'type': 'websocket.send', 'bytes': b'b'},
        {'type': 'websocket.close', 'code': 4001, 'reason': 'done'},
    ] == engine.sent
    assert (4001, 'done') == (end.code, end.reason)


@pytest.mark.parametrize('error', [OSError('left'), RuntimeError('closed')])
async def test_a_client_that_has_just_left_is_told(error):
    """Engines raise one or the other."""
    end = Engine(error=error).opened()
    assert not await end.send(b'a', WSMsgType.TEXT)
    await end.close(1000, '')


@pytest.mark.parametrize('data', ['éé', b'xxxx'])
async def test_a_message_over_the_limit_is_told(data, until):
    """The client gets 1009; what is as long as the limit passes."""
    message = {'type': 'websocket.receive', 'bytes' if isinstance(data, bytes) else 'text': data}
    engine = Engine(message)
    end = engine.opened(3)
    assert None is await end.read()
    assert (1009, 'a message is larger than 3 bytes') == (end.code, end.fault)
    assert [{'type': 'websocket.close', 'code': 1009, 'reason': ''}] == engine.sent
    within = Engine(message).opened(4)
    assert data == await within.read()
    for one in (end, within):
        await one.close(1000, '')


async def test_who_waits_is_told_of_a_close():
    """And may be cancelled without loss; what has come until then is dropped."""
    end = Engine(text('a'), text('b')).opened()
    assert 'a' == await end.read()
    assert 'b' == await end.read()
    waiting = asyncio.create_task(end.read())
    await asyncio.sleep(0)
    waiting.cancel()
    other = asyncio.create_task(end.read())
    await asyncio.sleep(0)
    await end.close(1000, '')
    assert None is await other
    unread = Engine(text('a'), text('b')).opened()
    await asyncio.sleep(0)
    await unread.close(1000, '')
    assert None is await unread.read()


async def test_an_end_without_a_close(until):
    """It says nothing; the engine does."""
    engine = Engine()
    end = engine.opened()
    end.abort()
    await until(lambda: len(asyncio.all_tasks()) == 1)
    assert not await end.send(b'a', WSMsgType.TEXT)
    assert [] == engine.sent
