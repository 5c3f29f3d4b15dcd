"""Back-pressure: bytes sent and not yet read never exceed a socket's buffers and a few pieces.

Over Unix sockets, because the buffers of TCP sockets grow while nobody reads.
"""

import asyncio
from collections.abc import Iterator

import pytest

import aioluahttp as http

PIECE = bytes(64 * 1024)
PIECES = 500
SIZE = PIECES * len(PIECE)
AHEAD = 4 * 1024 * 1024  # bytes: a Unix socket buffers 0.2 MiB, and each end a few pieces
TURNS = 200  # loop iterations: enough to produce 12 MiB without back-pressure


class Gap:
    """Count how many bytes the producer is ahead of the reader."""

    def __init__(self):
        self.made = self.read = self.most = 0

    def made_one(self):
        """Count a produced piece, and return it."""
        self.made += len(PIECE)
        self.most = max(self.most, self.made - self.read)
        return PIECE

    async def reads(self, data):
        """Count bytes that were read; pause after the first, and after each megabyte."""
        before = self.read
        self.read += len(data)
        if not before or before // 10**6 < self.read // 10**6:
            await rest()


async def rest():
    """Let the producer run for as long as it is not held back."""
    for _ in range(TURNS):
        await asyncio.sleep(0)


@pytest.fixture
def gap():
    """A counter; after the test everything was read, and the producer was never too far ahead."""
    gap = Gap()
    yield gap
    assert SIZE == gap.made == gap.read
    assert gap.most < AHEAD


async def flow(gap):
    """Yield pieces as fast as they are taken."""
    for _ in range(PIECES):
        yield gap.made_one()


def plain(gap) -> Iterator[bytes]:
    """Yield the same pieces from a plain iterator."""
    return (gap.made_one() for _ in range(PIECES))


@pytest.mark.parametrize('make', [flow, plain])
@pytest.mark.parametrize('length', [True, False], ids=['length', 'chunked'])
async def test_a_response_is_produced_as_fast_as_it_is_read(wire, tmp_path, gap, make, length):
    """No more is taken from an iterator than the client reads."""
    headers = {'Content-Length': SIZE} if length else {'Connection': 'close'}
    handler = lambda request: {'status': 200, 'headers': headers, 'body': make(gap)}  # noqa: E731
    path = str(tmp_path / 'socket')
    async with http.listen(None, None, handler, unix=path), wire(path=path) as client:
        client.send_request('GET /')
        await rest()
        head = await client.reader.readuntil(b'\r\n\r\n')
        assert length == (b'Content-Length' in head)
        for _ in range(PIECES):
            if not length:
                await client.reader.readuntil(b'\r\n')
            await gap.reads(await client.reader.readexactly(len(PIECE)))
            if not length:
                await client.reader.readuntil(b'\r\n')


@pytest.mark.parametrize('into', ['stream', 'raw'])
async def test_a_request_is_read_as_fast_as_the_handler_reads(wire, tmp_path, gap, into):
    """A client can send no more than the handler reads."""

    async def handler(request):
        await rest()
        async for chunk in request.body:
            await gap.reads(chunk)
        return {'status': 200}

    path = str(tmp_path / 'socket')
    async with (
        http.listen(None, None, handler, unix=path, into=into) as server,
        wire(path=path) as client,
    ):
        client.send_request('POST /', f'Content-Length: {SIZE}')
        for _ in range(PIECES):
            client.send(gap.made_one())
            await client.writer.drain()
            assert server.stats['bytes_in'] - gap.read < AHEAD
        assert 200 == (await client.read_response())[0]


async def test_an_echoed_request_is_read_as_fast_as_its_response(wire, tmp_path, gap):
    """If a client does not read the response, no more of its request is read."""
    echo = lambda request: {'status': 200, 'body': request.body}  # noqa: E731
    path = str(tmp_path / 'socket')
    async with (
        http.listen(None, None, echo, unix=path, into='stream'),
        wire(path=path) as client,
        asyncio.TaskGroup() as group,
    ):

        async def write():
            for _ in range(PIECES):
                client.send(gap.made_one())
                await client.writer.drain()

        client.send_request('POST /', f'Content-Length: {SIZE}')
        group.create_task(write())
        await rest()
        await client.reader.readuntil(b'\r\n\r\n')
        while size := int(await client.reader.readuntil(b'\r\n'), 16):
            await gap.reads(await client.reader.readexactly(size))
            await client.reader.readexactly(2)


@pytest.mark.parametrize('into', ['stream', 'raw'])
async def test_a_response_is_received_as_fast_as_its_caller_reads(raw_server, tmp_path, gap, into):
    """A server can write no more than the caller reads."""

    async def flood(line):
        await line.request()
        await line.send(f'HTTP/1.1 200 OK\r\nContent-Length: {SIZE}\r\n\r\n'.encode())
        for _ in range(PIECES):
            await line.send(gap.made_one())

    path = str(tmp_path / 'socket')
    async with raw_server(flood, unix=path) as peer:
        response = await http.request(url=peer.url, unix=path, into=into)
        await rest()
        async for chunk in response.body:
            await gap.reads(chunk)


async def speak(gap, socket):
    """Send messages as fast as the peer takes them."""
    for _ in range(PIECES):
        await socket.send(gap.made_one())


async def hear(gap, socket):
    """Read messages, slowly."""
    await rest()
    for _ in range(PIECES):
        await gap.reads(await anext(socket))


@pytest.mark.parametrize(('server', 'client'), [(speak, hear), (hear, speak)])
async def test_messages_are_sent_as_fast_as_they_are_read(tmp_path, gap, server, client):
    """Over a WebSocket, in either direction."""
    options = {'callback': lambda socket: server(gap, socket), 'compress': False}
    path = str(tmp_path / 'socket')
    async with (
        http.listen(None, None, lambda request: {'websocket': options}, unix=path),
        http.websocket(url='ws://localhost/', unix=path) as socket,
    ):
        await client(gap, socket)
        assert [] == [message async for message in socket]
