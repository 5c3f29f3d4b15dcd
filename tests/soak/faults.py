"""A TCP proxy that delays, splits, cuts, resets and stalls what goes through it."""

from __future__ import annotations

import asyncio
import contextlib
import math
import socket
import struct
from collections import Counter
from collections.abc import AsyncIterator
from dataclasses import dataclass
from random import Random

__all__ = ['FaultyProxy', 'Harm', 'faulty_proxy', 'some_harm']

PIECE = 64 * 1024
STALL = 1.0  # seconds of silence before a stalled connection is closed


@dataclass(frozen=True)
class Harm:
    """What is done to one direction of a connection.

    Attributes:
        delay: Seconds before each segment, at most.
        segment: Bytes handed on at once, at most.
        after: Bytes after which the connection ends.
        end: How: ``'cut'``, ``'reset'`` or ``'stall'``.
    """

    delay: float = 0.0
    segment: int = PIECE
    after: float = math.inf
    end: str = ''


def some_harm(random: Random) -> Harm:
    """Draw a harm; the bytes after which a connection ends are of any magnitude up to 1 MB.

    Every connection ends at some time: a pool would otherwise soon have only those that do not.
    """
    after = 10 ** random.uniform(0, 6)
    match random.randint(0, 6):
        case 0 | 1:
            return Harm(after=10 * after, end='cut')
        case 2:
            return Harm(delay=random.choice((0.001, 0.02)), after=10 * after, end='reset')
        case 3:  # so small that heads and lengths of chunks are torn, for the first bytes at least
            return Harm(segment=random.randint(1, 20), after=20_000 + after, end='cut')
        case 4:
            return Harm(after=after, end='cut')
        case 5:
            return Harm(after=after, end='reset')
    return Harm(after=after, end='stall')


class FaultyProxy:
    """Hands bytes on between its clients and an origin.

    Attributes:
        port: Where it listens.
        harmful: False ends all harm, also on the connections that there are.
        connections: How many were made.
        done: What was done to them.
    """

    def __init__(self, origin: int, random: Random) -> None:
        self.port = 0
        self.harmful = True
        self.connections = 0
        self.done: Counter[str] = Counter()
        self._origin, self._random = origin, random
        self._tasks: set[asyncio.Task[None]] = set()

    def accept(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        """Take a connection."""
        self.connections += 1
        task = asyncio.create_task(self._serve(reader, writer))
        self._tasks.add(task)
        task.add_done_callback(self._tasks.discard)

    async def close(self) -> None:
        """End all connections."""
        tasks = list(self._tasks)
        for task in tasks:
            task.cancel()
        await asyncio.gather(*tasks, return_exceptions=True)

    async def _serve(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        """Serve a connection; whichever direction ends first, or is ended, ends both."""
        origin = await asyncio.open_connection('127.0.0.1', self._origin)
        # A request is harmed less often than its answer, which is what there is to check.
        asked = some_harm(self._random) if self._random.random() < 0.2 else Harm()
        pumps = [
            asyncio.create_task(self._pump(reader, origin[1], asked, writer)),
            asyncio.create_task(self._pump(origin[0], writer, some_harm(self._random), writer)),
        ]
        try:
            await asyncio.wait(pumps, return_when=asyncio.FIRST_COMPLETED)
        finally:
            for pump in pumps:
                pump.cancel()
            await asyncio.gather(*pumps, return_exceptions=True)
            for one in (origin[1], writer):
                one.close()
                with contextlib.suppress(OSError):
                    await one.wait_closed()

    async def _pump(
        self,
        source: asyncio.StreamReader,
        target: asyncio.StreamWriter,
        harm: Harm,
        client: asyncio.StreamWriter,
    ) -> None:
        """Hand bytes on until one side has no more, or the harm is to end the connection."""
        handed = 0
        while True:
            if self.harmful and handed >= harm.after:
                return await self._end(harm, client)
            size = min(harm.segment, harm.after - handed) if self.harmful else PIECE
            data = await source.read(math.ceil(size))
            if not data:
                return
            if self.harmful and harm.delay:
                await asyncio.sleep(self._random.uniform(0, harm.delay))
            target.write(data)
            handed += len(data)
            await target.drain()
            await asyncio.sleep(0)  # so that a segment is read before the next one is written

    async def _end(self, harm: Harm, client: asyncio.StreamWriter) -> None:
        self.done[harm.end] += 1
        if harm.end == 'stall':
            await asyncio.sleep(STALL)
        elif harm.end == 'reset':
            on_socket = client.get_extra_info('socket')
            on_socket.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, struct.pack('ii', 1, 0))
            client.transport.abort()


@contextlib.asynccontextmanager
async def faulty_proxy(origin: int, random: Random) -> AsyncIterator[FaultyProxy]:
    """Run a proxy before the origin that listens on a port of this machine."""
    proxy = FaultyProxy(origin, random)
    server = await asyncio.start_server(proxy.accept, '127.0.0.1', 0, backlog=256)
    proxy.port = server.sockets[0].getsockname()[1]
    try:
        yield proxy
    finally:
        server.close()
        await proxy.close()
        await server.wait_closed()
