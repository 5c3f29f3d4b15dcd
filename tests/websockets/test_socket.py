"""``Socket``, which is the same on both sides."""

import asyncio
import contextlib
import pickle
import types

import pytest

import aioluahttp as http


@contextlib.asynccontextmanager
async def pair(**options):
    """Open a WebSocket from our client to our server, and yield both ends."""
    opened, done = asyncio.get_running_loop().create_future(), asyncio.Event()

    async def chat(socket):
        opened.set_result(socket)
        await done.wait()

    def callback(request):
        return {'websocket': {'callback': chat, **options}}

    async with http.listen('127.0.0.1', 0, callback) as server:
        try:
            async with http.websocket(url=server.url, bearer='secret', **options) as client:
                yield types.SimpleNamespace(client=client, server=await opened)
        finally:
            done.set()


def ends(pair, side):
    """Return the end on this side, then the other."""
    return (pair.client, pair.server) if side == 'client' else (pair.server, pair.client)


both_sides = pytest.mark.parametrize('side', ['client', 'server'])
MESSAGES = [
    '',
    'text',
    'Grüße \N{SNOWMAN}',
    '\0',
    b'',
    b'bytes',
    bytes(range(256)),
    b'x' * 1_000_000,
]


@both_sides
@pytest.mark.parametrize('compress', [True, False])
async def test_a_message_arrives_as_it_was_sent(side, compress):
    """Text is str and binary is bytes, on either side, compressed or not, also if empty."""
    async with pair(compress=compress) as both:
        ours, peer = ends(both, side)
        for message in MESSAGES:
            await ours.send(message)
            assert message == await anext(peer)


async def test_bytes_like_objects_are_sent_as_bytes():
    """A bytearray and a memoryview are binary messages."""
    async with pair() as both:
        for message in (bytearray(b'abc'), memoryview(b'abc')):
            await both.client.send(message)
            assert b'abc' == await anext(both.server)


@both_sides
@pytest.mark.parametrize('message', [None, 5, ['a'], 'a\ud800'])
async def test_an_invalid_message_is_a_table_error(side, message):
    """It is neither text nor bytes, or not UTF-8. The error names it, and nothing is sent."""
    async with pair() as both:
        ours, peer = ends(both, side)
        with pytest.raises(http.TableError, match="'message' is "):
            await ours.send(message)
        await ours.send('next')
        assert 'next' == await anext(peer)


@both_sides
async def test_an_iteration_ends_with_the_close_of_the_peer(side):
    """Messages before it are read; both sides then have the same ``code`` and ``reason``."""
    async with pair() as both:
        ours, peer = ends(both, side)
        assert (None, '') == (ours.code, ours.reason) == (peer.code, peer.reason)
        await ours.send('a')
        await ours.send(b'b')
        closing = asyncio.create_task(ours.close(4000, 'genug für heute'))
        assert ['a', b'b'] == [message async for message in peer]
        await closing
        assert (4000, 'genug für heute') == (ours.code, ours.reason) == (peer.code, peer.reason)
        assert [] == [message async for message in ours]
        assert [] == [message async for message in peer]


@both_sides
async def test_an_error_code_of_the_peer_raises_nothing(side):
    """A close code is data, as a status is."""
    async with pair() as both:
        ours, peer = ends(both, side)
        await ours.close(1011)
        assert [] == [message async for message in peer]
        assert 1011 == peer.code


@both_sides
async def test_closing_again_only_waits_for_the_end(side):
    """The first close gives the code."""
    async with pair() as both:
        ours, peer = ends(both, side)
        await asyncio.gather(ours.close(3001), ours.close(3002), peer.close(3003))
        await ours.close(3004)
        assert {ours.code, peer.code} <= {3001, 3003}


@both_sides
@pytest.mark.parametrize('code', [0, 999, 1004, 1005, 1006, 1015, 2999, 5000, 65536, True, '1000'])
async def test_a_code_that_no_close_frame_may_carry_is_a_table_error(side, code):
    """RFC 6455 7.4 lists the codes; the connection stays open."""
    async with pair() as both:
        ours, peer = ends(both, side)
        with pytest.raises(http.TableError, match="'code' is "):
            await ours.close(code)
        await ours.send('still here')
        assert 'still here' == await anext(peer)


@both_sides
async def test_a_close_may_have_no_code(side):
    """Both sides then have the code 1005 (RFC 6455 7.1.5), and there can be no reason."""
    async with pair() as both:
        ours, peer = ends(both, side)
        with pytest.raises(http.TableError, match="'code' is None; it must be given"):
            await ours.close(None, 'why')
        closing = asyncio.create_task(ours.close(None))
        assert [] == [message async for message in peer]
        await closing
        assert [(1005, '')] * 2 == [(one.code, one.reason) for one in (ours, peer)]


@pytest.mark.parametrize('reason', ['x' * 124, 'ß' * 62, '\ud800', b'bytes', None])
async def test_a_reason_is_at_most_123_bytes_of_text(reason):
    """A longer reason, or one that UTF-8 cannot encode, is a TableError (RFC 6455 5.5)."""
    async with pair() as both:
        with pytest.raises(http.TableError, match="'reason' is "):
            await both.client.close(1000, reason)
        await both.client.close(1000, 'ß' * 61 + 'x')
        assert 'ß' * 61 + 'x' == both.server.reason


@both_sides
async def test_nothing_is_sent_after_the_end(side):
    """Sending on a closed WebSocket raises ProtocolError on both sides."""
    async with pair() as both:
        ours, peer = ends(both, side)
        closing = asyncio.create_task(ours.close(3000))
        assert [] == [message async for message in peer]
        for end in (ours, peer):
            with pytest.raises(http.ProtocolError, match=r'it is closed|it has ended'):
                await end.send('late')
        await closing


async def test_an_error_carries_the_request_without_its_secrets():
    """``error.request`` and the message name the server, and no secret is pickled."""
    async with pair() as both:
        await both.client.close()
        with pytest.raises(http.ProtocolError) as caught:
            await both.client.send('late')
    assert '127.0.0.1' == caught.value.request.host
    assert str(caught.value).startswith('WebSocket 127.0.0.1:')
    for text in (repr(caught.value.request), pickle.dumps(caught.value.request).decode('latin-1')):
        assert 'secret' not in text


async def test_waiting_for_a_message_may_be_cancelled():
    """The next message goes to the next read, and the WebSocket stays open."""
    async with pair() as both:
        with pytest.raises(TimeoutError):
            await asyncio.wait_for(anext(both.client), 0.001)
        await both.server.send('a')
        assert 'a' == await anext(both.client)


async def test_several_reads_wait_and_are_served_in_order():
    """Each gets one message, in the order of their calls; the end is given to the rest."""
    async with pair() as both:
        waiting = [asyncio.create_task(anext(both.server, None)) for _ in range(3)]
        await both.client.send('a')
        await both.client.send('b')
        await both.client.close()
        assert ['a', 'b', None] == await asyncio.gather(*waiting)


async def test_a_cancelled_read_leaves_its_turn_to_the_next():
    """So does one whose turn has not come."""
    async with pair() as both:
        first, second, third = (asyncio.create_task(anext(both.server)) for _ in range(3))
        await asyncio.sleep(0)
        first.cancel()
        second.cancel()
        await both.client.send('a')
        assert 'a' == await third
        assert first.cancelled()
        assert second.cancelled()


async def test_a_socket_has_the_request_and_response_of_its_handshake():
    """It has them on both sides."""
    async with pair() as both:
        assert 101 == both.client.response.status == both.server.response.status
        assert 'GET' == both.client.request.method == both.server.request.method
        assert both.client.protocol is both.server.protocol is None


@both_sides
async def test_a_lost_connection_is_an_error(side):
    """Reading and sending raise ProtocolError; the code is 1006."""
    async with pair() as both:
        ours, peer = ends(both, side)
        peer._channel.abort()
        for attempt in (lambda: anext(ours), lambda: ours.send('x')):
            with pytest.raises(http.ProtocolError, match='hung up without a closing handshake'):
                await attempt()
        assert 1006 == ours.code
