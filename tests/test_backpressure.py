"""What is made and not yet read, counted: no more than a socket holds and a few pieces.

Over Unix sockets, for those of TCP hold more the longer they are not read.
"""

import asyncio
from collections.abc import Iterator

import pytest

import aioluahttp as http

PIECE = bytes(64 * 1024)
PIECES = 500
SIZE = PIECES * len(PIECE)
AHEAD = 4 * 1024 * 1024  # bytes: a Unix socket holds 0.2 MiB, and each end some pieces
TURNS = 200  # of the loop: time to make 12 MiB, if nothing held it back


class Gap:
    """How far who makes bytes is ahead of who reads them."""

    def __init__(self):
        self.made = self.read = self.most = 0

    def made_one(self):
        """Count a piece, and give it."""
        self.made += len(PIECE)
        self.most = max(self.most, self.made - self.read)
        return PIECE

    async def reads(self, data):
        """Count what was read, now and then with a rest before the next."""
        before = self.read
        self.read += len(data)
        if not before or before // 10**6 < self.read // 10**6:
            await rest()


async def rest():
    """Let who makes bytes make as many as are taken from it."""
    for _ in range(TURNS):
        await asyncio.sleep(0)


@pytest.fixture
def gap():
    """Count what waits; in the end all has come, and never did too much of it wait."""
    gap = Gap()
    yield gap
    assert SIZE == gap.made == gap.read
    assert gap.most < AHEAD


async def flow(gap):
    """Give pieces as fast as they are asked for."""
    for _ in range(PIECES):
        yield gap.made_one()


def plain(gap) -> Iterator[bytes]:
    """Give them without being waited for."""
    return (gap.made_one() for _ in range(PIECES))


@pytest.mark.parametrize('make', [flow, plain])
@pytest.mark.parametrize('length', [True, False], ids=['length', 'chunked'])
async def test_an_answer_is_made_as_it_is_read(wire, tmp_path, gap, make, length):
    """An iterator is asked for no more than its client reads."""
    headers = {'Content-Length': SIZE} if length else {'Connection': 'close'}
    answer = lambda request: {'status': 200, 'headers': headers, 'body': make(gap)}  # noqa: E731
    path = str(tmp_path / 'socket')
    async with http.listen(None, None, answer, unix=path), wire(path=path) as client:
        client.ask('GET /')
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
async def test_a_request_is_read_as_the_callback_does(wire, tmp_path, gap, into):
    """A client can send no more than the callback reads."""

    async def callback(request):
        await rest()
        async for chunk in request.body:
            await gap.reads(chunk)
        return {'status': 200}

    path = str(tmp_path / 'socket')
    async with (
        http.listen(None, None, callback, unix=path, into=into) as server,
        wire(path=path) as client,
    ):
        client.ask('POST /', f'Content-Length: {SIZE}')
        for _ in range(PIECES):
            client.send(gap.made_one())
            await client.writer.drain()
            assert server.stats['bytes_in'] - gap.read < AHEAD
        assert 200 == (await client.answer())[0]


async def test_what_is_sent_back_is_read_as_it_is_taken(wire, tmp_path, gap):
    """Of a client that does not read its own bytes again, no more are read."""
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

        client.ask('POST /', f'Content-Length: {SIZE}')
        group.create_task(write())
        await rest()
        await client.reader.readuntil(b'\r\n\r\n')
        while size := int(await client.reader.readuntil(b'\r\n'), 16):
            await gap.reads(await client.reader.readexactly(size))
            await client.reader.readexactly(2)


@pytest.mark.parametrize('into', ['stream', 'raw'])
async def test_a_response_is_read_as_its_caller_does(raw_server, tmp_path, gap, into):
    """A server can write no more than is read of it."""

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
    """Send messages as fast as they are taken."""
    for _ in range(PIECES):
        await socket.send(gap.made_one())


async def hear(gap, socket):
    """Read messages, slowly."""
    await rest()
    for _ in range(PIECES):
        await gap.reads(await anext(socket))


@pytest.mark.parametrize(('server', 'client'), [(speak, hear), (hear, speak)])
async def test_messages_are_sent_as_they_are_read(tmp_path, gap, server, client):
    """Over a WebSocket, in either direction."""
    options = {'callback': lambda socket: server(gap, socket), 'compress': False}
    path = str(tmp_path / 'socket')
    async with (
        http.listen(None, None, lambda request: {'websocket': options}, unix=path),
        http.websocket(url='ws://localhost/', unix=path) as socket,
    ):
        await client(gap, socket)
        assert [] == [message async for message in socket]
