"""The server end of a WebSocket over ASGI messages."""

import asyncio

import pytest
from aiohttp import WSMsgType

from aioluahttp.websockets import asgi
from aioluahttp.websockets.asgi import AsgiPeer

LEFT = {'type': 'websocket.disconnect', 'code': 4000, 'reason': 'bye'}


def text(data):
    """Make a message with text from the client."""
    return {'type': 'websocket.receive', 'text': data}


class Engine:
    """An engine that has received some messages and will receive no more."""

    def __init__(self, *messages, error=None):
        self.given, self.sent, self.error = list(messages), [], error

    async def receive(self):
        """Return the next message, or raise it if it is an exception; wait forever after all."""
        message = self.given.pop(0) if self.given else await asyncio.Event().wait()
        if isinstance(message, Exception):
            raise message
        return message

    async def send(self, message):
        """Record a message, or raise the error."""
        if self.error:
            raise self.error
        self.sent.append(message)

    def peer(self, limit=None):
        """Make an ``AsgiPeer`` on this engine."""
        return AsgiPeer(self.receive, self.send, limit)


async def test_messages_are_read_in_order_until_the_end():
    """Text and bytes are read in order; after the end every read returns None."""
    both = {'type': 'websocket.receive', 'bytes': b'b', 'text': None}
    end = Engine(text('a'), both, LEFT).peer()
    assert ['a', b'b', None, None] == [await end.read() for _ in range(4)]
    assert (4000, 'bye', None) == (end.code, end.reason, end.fault)
    await end.close(1000, '')


async def test_a_disconnect_without_a_code_is_1005():
    """The code is that of a close without a code (RFC 6455 7.1.5)."""
    end = Engine({'type': 'websocket.disconnect'}).peer()
    assert None is await end.read()
    assert (1005, '') == (end.code, end.reason)


async def test_a_close_without_a_code_is_1000():
    """An ASGI server sends a code in any case, and 1005 is never sent."""
    engine = Engine()
    await engine.peer().close(None, '')
    assert [{'type': 'websocket.close', 'code': 1000, 'reason': ''}] == engine.sent


async def test_messages_are_sent_in_order_and_none_after_the_close():
    """Text and bytes are sent, then one close; later sends report failure."""
    engine = Engine()
    end = engine.peer()
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
async def test_sending_to_a_client_that_has_left_reports_failure(error):
    """Engines raise either OSError or RuntimeError, and send turns it into False."""
    end = Engine(error=error).peer()
    assert not await end.send(b'a', WSMsgType.TEXT)
    await end.close(1000, '')


@pytest.mark.parametrize('data', ['éé', b'xxxx'])
async def test_a_message_over_the_limit_closes_with_1009(data, until):
    """A message of exactly the limit is read."""
    message = {'type': 'websocket.receive', 'bytes' if isinstance(data, bytes) else 'text': data}
    engine = Engine(message)
    end = engine.peer(3)
    assert None is await end.read()
    assert (1009, 'a message is larger than 3 bytes') == (end.code, end.fault)
    assert [{'type': 'websocket.close', 'code': 1009, 'reason': ''}] == engine.sent
    within = Engine(message).peer(4)
    assert data == await within.read()
    for one in (end, within):
        await one.close(1000, '')


async def test_a_waiting_read_returns_none_after_a_close():
    """A read may be cancelled without losing a message; a close drops unread messages."""
    end = Engine(text('a'), text('b')).peer()
    assert 'a' == await end.read()
    assert 'b' == await end.read()
    waiting = asyncio.create_task(end.read())
    await asyncio.sleep(0)
    waiting.cancel()
    other = asyncio.create_task(end.read())
    await asyncio.sleep(0)
    await end.close(1000, '')
    assert None is await other
    unread = Engine(text('a'), text('b')).peer()
    await asyncio.sleep(0)
    await unread.close(1000, '')
    assert None is await unread.read()


async def test_an_abort_sends_no_close(until):
    """The task ends and nothing is sent: the engine ends the connection."""
    engine = Engine()
    end = engine.peer()
    end.abort()
    await until(lambda: len(asyncio.all_tasks()) == 1)
    assert not await end.send(b'a', WSMsgType.TEXT)
    assert [] == engine.sent


@pytest.mark.parametrize('message', [RuntimeError('no more'), {}, None], ids=repr)
async def test_an_engine_that_fails_to_receive_ends_the_socket(message):
    """Its error is the fault; messages before it are read, and nothing is sent after it."""
    engine = Engine(text('a'), message)
    end = engine.peer()
    assert ['a', None, None] == [await end.read() for _ in range(3)]
    assert 1006 == end.code
    assert end.fault.startswith('the ASGI server gave no message: ')
    assert not await end.send(b'b', WSMsgType.BINARY)
    await end.close(1000, '')
    assert [] == engine.sent


@pytest.mark.parametrize('data', [{}, {'bytes': None, 'text': None}], ids=repr)
async def test_a_message_without_data_is_empty(data):
    """ASGI demands text or bytes, and one with neither does not end the socket."""
    end = Engine({'type': 'websocket.receive', **data}).peer()
    assert b'' == await end.read()
    await end.close(1000, '')


async def test_a_sender_that_is_stuck_does_not_hold_up_a_close(monkeypatch):
    """The close waits for it, but only for the close timeout."""
    monkeypatch.setattr(asgi, 'CLOSE_TIMEOUT', 0.01)

    async def stuck(message):
        sent.append(message['type'])
        await asyncio.Event().wait()

    sent = []
    end = AsgiPeer(Engine().receive, stuck, None)
    sending = asyncio.create_task(end.send(b'a', WSMsgType.BINARY))
    await asyncio.sleep(0)
    await end.close(1000, '')
    assert (['websocket.send'], 1000, None) == (sent, end.code, await end.read())
    sending.cancel()
    await asyncio.wait([sending])
