"""Clients that write raw bytes: they pipeline, disconnect midway, or send invalid HTTP."""

from __future__ import annotations

import asyncio
import contextlib
import socket
import struct
import time
from collections.abc import AsyncIterator, Awaitable, Callable, Sequence
from random import Random

from listener import Address
from subject import filler
from tally import Tally

__all__ = ['PROXIED', 'RUDE', 'raw_client']

PATIENCE = 30.0
CLOSING = 3.0  # seconds in which a connection must be closed after its last response
LARGE = 400_000
HUGE = 3_000_000  # more than the system buffers, so that the server has to wait
BUFFER = 64 * 1024  # receive buffer of a slow reader; loopback segments stall in a smaller one

Tokens = Callable[[], str]


class Wire:
    """A raw connection."""

    def __init__(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        self.reader, self.writer = reader, writer
        self.at = ''  # progress, for the text of a fault

    async def send(self, data: bytes) -> None:
        self.writer.write(data)
        await self.writer.drain()
        await asyncio.sleep(0)  # asyncio reports only then that a TLS server has left

    async def read_response(self) -> tuple[int, dict[str, str], bytes]:
        """Read one response, which must have a Content-Length."""
        head = await self.reader.readuntil(b'\r\n\r\n')
        first, *lines = head.decode().split('\r\n')[:-2]
        pairs = [line.split(': ', 1) for line in lines]
        fields = {name.lower(): value for name, value in pairs}
        body = await self.reader.readexactly(int(fields['content-length']))
        return int(first.split()[1]), fields, body

    def option(self, level: int, name: int, value: int | bytes) -> None:
        """Set an option of the socket, if it is open and has that option."""
        if on_socket := self.writer.get_extra_info('socket'):
            with contextlib.suppress(OSError):
                on_socket.setsockopt(level, name, value)

    def reset(self) -> None:
        """Close with a reset, like a process that dies."""
        self.option(socket.SOL_SOCKET, socket.SO_LINGER, struct.pack('ii', 1, 0))
        self.writer.transport.abort()


@contextlib.asynccontextmanager
async def wire(address: Address) -> AsyncIterator[Wire]:
    reader, writer = await address.connect(limit=2**16)
    try:
        yield Wire(reader, writer)
    finally:
        writer.transport.abort()
        with contextlib.suppress(OSError):
            await writer.wait_closed()


def head(token: str, *fields: str, method: str = 'GET', query: str = 'size=100') -> bytes:
    lines = (f'{method} /raw/{token}?{query} HTTP/1.1', 'Host: h', *fields, '', '')
    return '\r\n'.join(lines).encode()


class Wrong(Exception):
    """A response belongs to another request, or is wrong."""


async def expect(client: Wire, token: str, size: int, status: int = 200) -> dict[str, str]:
    """Read a response, and check its token and body."""
    got, fields, body = await client.read_response()
    if got != status or fields.get('token') != token or body != filler(token, size):
        raise Wrong(f'{token} got {got}, {fields}, {body[:60]!r}')
    return fields


async def pipelines(client: Wire, random: Random, tokens: Tokens) -> None:
    """Pipeline requests, in pieces of any size; the responses must come in order."""
    asked = [(tokens(), random.choice((0, 100, 20_000))) for _ in range(random.randint(2, 12))]
    data = b''
    for token, size in asked:
        query = f'size={size}&wait={random.choice((0, 0, 0.01))}'
        if random.random() < 0.5:
            data += head(token, query=query)
        else:
            body = filler(token, random.choice((1, 100, 9000)))
            length = f'Content-Length: {len(body)}'
            data += head(token, length, method='POST', query=f'{query}&length={len(body)}') + body
    step = random.choice((len(data), random.randint(1, 4000)))
    for start in range(0, len(data), max(step, len(data) // 50)):
        await client.send(data[start : start + max(step, len(data) // 50)])
        await asyncio.sleep(0)
    for token, size in asked:
        await expect(client, token, size)


async def closes(client: Wire, random: Random, tokens: Tokens) -> None:
    """Send requests, the last with ``Connection: close`` on either side, and wait for the end."""
    for _ in range(random.randint(0, 5)):
        token = tokens()
        await client.send(head(token))
        await expect(client, token, 100)
    token, ours = tokens(), random.random() < 0.5
    last = ('Connection: close',) if ours else ()
    await client.send(head(token, *last, query='size=70000' if ours else 'size=70000&close=1'))
    fields = await expect(client, token, 70_000)
    try:
        async with asyncio.timeout(CLOSING):
            closed = fields.get('connection') == 'close' and not await client.reader.read()
    except TimeoutError:
        closed = False
    if not closed:
        raise Wrong(f'{token} is not closed after its response: {fields}')


async def chunked(client: Wire, random: Random, tokens: Tokens) -> None:
    """Send a chunked body, sometimes with ``Expect: 100-continue``."""
    token, length = tokens(), random.choice((100, 5000, 100_000))
    waits = random.random() < 0.5
    fields = ('Transfer-Encoding: chunked', *(['Expect: 100-continue'] if waits else []))
    await client.send(head(token, *fields, method='PUT', query=f'size=5&length={length}'))
    if waits and await client.reader.readuntil(b'\r\n\r\n') != b'HTTP/1.1 100 Continue\r\n\r\n':
        raise Wrong(f'{token} is not asked to continue')
    data, step = filler(token, length), random.randint(length // 20, length)
    for start in range(0, length, step):
        piece = data[start : start + step]
        await client.send(b'%x\r\n%b\r\n' % (len(piece), piece))
        if random.random() < 0.2:
            await asyncio.sleep(0.01)
    await client.send(b'0\r\n\r\n')
    await expect(client, token, 5)


async def reads_slowly(client: Wire, random: Random, tokens: Tokens) -> None:
    """Read a large response slowly, with a small receive buffer."""
    client.option(socket.SOL_SOCKET, socket.SO_RCVBUF, BUFFER)
    token, got = tokens(), bytearray()
    await client.send(head(token, query=f'size={HUGE}'))
    _, _, length = (await client.reader.readuntil(b'\r\n\r\n')).partition(b'Content-Length: ')
    if int(length.split()[0]) != HUGE:
        raise Wrong(f'{token} got a length of {length!r}')
    while len(got) < HUGE:
        piece = await client.reader.read(random.randint(1, 200_000))
        if not piece:
            raise ConnectionError('cut off')
        got += piece
        client.at = f'{len(got)} of {HUGE} bytes'
        await asyncio.sleep(0.005)
    if got != filler(token, HUGE):
        raise Wrong(f'{token} got {got[:60]!r}')


async def leaves(client: Wire, random: Random, tokens: Tokens) -> None:
    """Disconnect at any point of a request or response, with an end or a reset."""
    token = tokens()
    whole = head(token, 'Content-Length: 50000', method='POST', query=f'size={LARGE}&length=50000')
    match random.randint(0, 3):
        case 0:
            await client.send(whole[: random.randint(0, len(whole) - 1)])
        case 1:
            await client.send(whole + filler(token, random.randint(0, 49_999)))
        case 2:
            await client.send(head(token, query=f'size=10&wait={random.choice((0.01, 0.2))}'))
        case 3:
            await client.send(head(token, query=f'size={LARGE}'))
            await client.reader.readexactly(random.randint(1, 20_000))
    await asyncio.sleep(random.choice((0, 0, 0.01)))
    if random.random() < 0.5:
        client.reset()


async def sends_bad_http(client: Wire, random: Random, tokens: Tokens) -> None:
    """Send invalid HTTP, sometimes after a request, which must still get its response."""
    token, asked = tokens(), random.random() < 0.5
    invalid = random.choice((
        random.randbytes(random.randint(1, 2000)) + b'\r\n\r\n',
        b'GET / HTTP/1.1\r\nHost: h\r\nno colon\r\n\r\n',
        b'GET / HTTP/9.9\r\nHost: h\r\n\r\n',
        b'POST / HTTP/1.1\r\nHost: h\r\nContent-Length: x\r\n\r\n',
        b'PUT / HTTP/1.1\r\nHost: h\r\nTransfer-Encoding: chunked\r\n\r\nrot\r\n',
        b'CONNECT h:1 HTTP/1.1\r\nHost: h\r\n\r\n',
        b'\x16\x03\x01\x02\x00\x01\x00\x01\xfc\x03\x03',
        b'GET /' + b'a' * 20_000 + b' HTTP/1.1\r\n\r\n',
    ))  # fmt: skip
    if asked:
        await client.send(head(token))
        await expect(client, token, 100)
    client.writer.write(invalid)
    with contextlib.suppress(OSError):
        client.writer.write_eof() if client.writer.can_write_eof() else client.reset()
        rest = await client.reader.read()
        if rest and not rest.startswith((b'HTTP/1.1 4', b'HTTP/1.1 5', b'HTTP/1.0 4')):
            raise Wrong(f'invalid {invalid[:40]!r} got {rest[:80]!r}')


Kind = Callable[[Wire, Random, Tokens], Awaitable[None]]

RUDE: Sequence[Kind] = (pipelines, closes, chunked, reads_slowly, leaves, leaves, sends_bad_http)
# For use behind a reverse proxy: the others test one connection, or the proxy would respond.
PROXIED: Sequence[Kind] = (pipelines, chunked, reads_slowly, leaves)


async def raw_client(
    tally: Tally, random: Random, tokens: Tokens, address: Address, kinds: Sequence[Kind] = RUDE
) -> None:
    """Run one raw client of a random kind, from connect to close."""
    does, began, at = random.choice(kinds), time.monotonic(), ''
    try:
        async with asyncio.timeout(PATIENCE), wire(address) as client:
            try:
                await does(client, random, tokens)
            finally:
                at = client.at
            tally.events[does.__name__] += 1
    except Wrong as error:
        tally.fault('wrong responses', f'{does.__name__} on {address.name}: {error}')
    except (OSError, asyncio.IncompleteReadError) as error:  # TimeoutError is an OSError
        tally.events[f'{does.__name__} cut off'] += 1
        if does is leaves or (address.disturbed(began) and not isinstance(error, TimeoutError)):
            return
        tally.fault('unexpected failures', f'{does.__name__} on {address.name}: {error!r} {at}')
