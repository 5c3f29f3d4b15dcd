"""The protocol between a transport and aiohttp's; test_sending has what it does on a connection."""

import asyncio
import time
from types import SimpleNamespace

import aiohttp
import pytest
from aiohttp.client_proto import ResponseHandler

import aioluahttp as http
from aioluahttp.bodies.stream import read_arrived
from aioluahttp.transports.protocol import ResponseProtocol
from aioluahttp.transports.response_body import FromConnection

CHUNKED = b'HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n'
HEADERS = http.Headers({'Transfer-Encoding': 'chunked'})


@pytest.fixture
def handler():
    """Return a function that makes aiohttp's protocol, as it awaits a response."""

    def make():
        made = ResponseHandler(asyncio.get_running_loop())
        made.set_response_params(read_until_eof=True, auto_decompress=False)
        return made

    return make


def test_aiohttp_still_has_what_is_called():
    """A contract test: these are not documented."""
    for kind, names in {
        ResponseHandler: ['exception', 'force_close', 'should_close', 'data_received', 'read'],
        aiohttp.StreamReader: ['set_exception', 'exception', 'total_raw_bytes', 'read_nowait'],
    }.items():
        for name in names:
            assert hasattr(kind, name), f'aiohttp: {kind.__name__} has no {name} any more'


async def test_aiohttp_still_keeps_what_it_has_buffered(handler):
    """A contract test of ``read_arrived``: an exception can be taken away and put back."""
    reader, error = aiohttp.StreamReader(handler(), 10, loop=asyncio.get_running_loop()), OSError()
    reader.feed_data(b'ab')
    reader.set_exception(error)
    assert b'ab' == read_arrived(reader)
    for _ in range(2):
        with pytest.raises(OSError) as caught:  # noqa: PT011
            read_arrived(reader)
        assert error is caught.value


async def test_the_body_of_another_response_is_not_watched(handler):
    """aiohttp's session may have given the connection away before the body was looked at."""
    aiohttps = handler()
    received = ResponseProtocol(aiohttps, None)
    received.begin('GET')
    received.data_received(CHUNKED + b'1;' + b'x' * 20_000 + b'\r\na\r\n0\r\n\r\n')
    _, body = await aiohttps.read()
    received.begin('GET')
    received.watch(body, HEADERS)
    assert (None, b'a') == (body.exception(), read_arrived(body))


async def test_a_lost_connection_tells_what_broke_a_body(handler):
    """It has no transport any more."""
    aiohttps = handler()
    aiohttps.data_received(CHUNKED)
    _, body = await aiohttps.read()
    aiohttps.data_received(b'1\r\na\r\nzz\r\n')
    info = ResponseProtocol.after_head(SimpleNamespace(transport=None, protocol=aiohttps))
    assert (None, None) == (info.peer, info.tls)
    info.watch(body, HEADERS)
    assert b'a' == read_arrived(body)
    with pytest.raises(aiohttp.http.HttpProcessingError):
        read_arrived(body)


async def test_padding_that_came_before_the_connection_was_lost_is_refused(handler):
    """As in every other chunked body."""
    aiohttps = handler()
    received = ResponseProtocol(aiohttps, None)
    received.begin('GET')
    received.data_received(CHUNKED + b'1;' + b'x' * 20_000)
    _, body = await aiohttps.read()
    received.watch(body, HEADERS)
    with pytest.raises(http.ProtocolError, match='over 16384 bytes'):
        read_arrived(body)


async def test_a_timeout_in_the_turn_in_which_data_came_is_none(handler):
    """The loop was busy elsewhere, and found both at once."""
    aiohttps, loop = handler(), asyncio.get_running_loop()
    body = aiohttp.StreamReader(aiohttps, 10, loop=loop)
    aiohttps.transport = SimpleNamespace(resume_reading=lambda: None)  # or it is not connected
    info = ResponseProtocol(aiohttps, None)
    source = FromConnection(http.Headers(), body, info, None)
    reading = asyncio.create_task(source.read(0.002))
    loop.call_later(0.001, body.feed_data, b'ab')
    await asyncio.sleep(0)  # now the task waits
    time.sleep(0.01)  # noqa: ASYNC251  # both timers are late
    assert (b'ab', None) == (await reading, body.exception())


SHORT = b'HTTP/1.1 200 OK\r\ncontent-length: 2\r\n\r\n'


@pytest.mark.parametrize(
    ('method', 'data', 'expected'),
    [
        ('GET', SHORT + b'hi', 1),
        ('HEAD', SHORT + b'hi', 2),
        ('GET', SHORT + b'h', 2),
        ('GET', SHORT + b'hi!', 2),
        ('GET', SHORT.replace(b'200', b'204') + b'hi', 2),
        ('GET', SHORT.replace(b'200', b'304') + b'hi', 2),
        ('GET', SHORT.replace(b'200', b'103') + SHORT + b'hi', 3),
        ('GET', SHORT[:20], 1),
        ('GET', CHUNKED + b'0\r\n\r\n', 2),
    ],
)
async def test_only_a_response_that_is_as_long_as_it_says_is_parsed_at_once(
    handler, method, data, expected
):
    """Of any other one, the parser gets the head first, and cannot lose it by what follows."""
    aiohttps, parts = handler(), []
    aiohttps.data_received = parts.append
    received = ResponseProtocol(aiohttps, None)
    received.begin(method)
    received.data_received(data)
    assert (expected, data) == (len(parts), b''.join(parts))


@pytest.mark.parametrize('behind', [b'', b'!'])
async def test_bytes_behind_a_response_that_was_parsed_at_once_are_noticed(handler, behind):
    """The connection is not used again."""
    aiohttps = handler()
    received = ResponseProtocol(aiohttps, None)
    received.begin('GET')
    received.data_received(SHORT + b'hi')
    _, body = await aiohttps.read()
    received.watch(body, http.Headers({'Content-Length': '2'}))
    received.data_received(behind)
    assert (b'hi', bool(behind)) == (read_arrived(body), aiohttps.should_close)


SLOWLY = b'HTTP/1.1 200 OK\r\nContent-Length: 6\r\n\r\n'


@pytest.mark.parametrize(
    'sent', [b'', b'HTTP/1.1 200', SLOWLY, SLOWLY + b'abc', CHUNKED + b'6\r\n']
)
async def test_the_read_timeout_is_for_the_next_bytes(raw_server, sent):
    """In the head as in the body, though the bytes before came in time."""

    async def origin(line):
        await line.reader.readuntil(b'\r\n\r\n')
        for byte in sent:
            await line.send(bytes([byte]))
        await line.reader.read()

    async with raw_server(origin) as peer, http.Client(timeout={'read': 0.1}) as client:
        with pytest.raises(http.TimedOut):
            await client.request(url=peer.url)


async def test_a_response_may_take_longer_than_its_read_timeout(raw_server):
    async def origin(line):
        await line.reader.readuntil(b'\r\n\r\n')
        for start in range(0, len(SLOWLY), 10):
            await asyncio.sleep(0.05)
            await line.send(SLOWLY[start : start + 10])
        for byte in b'abcdef':
            await asyncio.sleep(0.05)
            await line.send(bytes([byte]))

    async with raw_server(origin) as peer, http.Client(timeout={'read': 0.3}) as client:
        began = time.monotonic()
        assert (await client.request(url=peer.url)).body == 'abcdef'
        assert time.monotonic() - began > 0.4


async def test_the_read_timeout_ends_with_the_response(raw_server):
    """A connection that waits in the pool for the next request is not late."""

    async def origin(line):
        while await line.reader.readuntil(b'\r\n\r\n'):
            await line.send(SLOWLY + b'abcdef')

    async with raw_server(origin) as peer, http.Client(timeout={'read': 0.05}) as client:
        for _ in range(3):
            assert (await client.request(url=peer.url)).body == 'abcdef'
            await asyncio.sleep(0.1)
        assert peer.connections == 1


@pytest.mark.parametrize(
    'first',
    [SLOWLY + b'abcdef', CHUNKED + b'0\r\n\r\n', b'HTTP/1.1 204 No Content\r\n\r\n'],
)
@pytest.mark.parametrize('into', ['text', 'stream'])
@pytest.mark.parametrize('body', [None, 'slow'])
async def test_the_read_timeout_is_not_for_the_next_request(raw_server, first, into, body):
    """That has no such timeout, or is still being sent."""

    async def origin(line):
        await line.reader.readuntil(b'\r\n\r\n')
        await line.send(first)
        await line.reader.readuntil(b'\r\n\r\n' if body is None else b'\r\n0\r\n\r\n')
        await asyncio.sleep(0 if body else 0.25)
        await line.send(SLOWLY + b'abcdef')

    async def slowly():
        for _ in range(5):
            await asyncio.sleep(0.05)
            yield b'x'

    async with raw_server(origin) as peer, http.Client() as client:
        response = await client.request(url=peer.url, into=into, timeout={'read': 0.1})
        if into == 'stream':
            await response.body.read()
        table = {'url': peer.url, 'timeout': {'read': None if body is None else 0.1}}
        if body is not None:
            table |= {'method': 'POST', 'body': slowly()}
        assert (await client.request(table)).body == 'abcdef'
        assert peer.connections == 1
