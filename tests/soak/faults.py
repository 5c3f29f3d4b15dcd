"""A TCP proxy that delays, splits, cuts, resets and stalls connections."""

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
    """The faults of one direction of a connection.

    Attributes:
        delay: Maximum delay before each segment, in seconds.
        segment: Maximum size of a segment, in bytes.
        after: Number of bytes after which the connection ends.
        end: How it ends: ``'cut'``, ``'reset'`` or ``'stall'``.
    """

    delay: float = 0.0
    segment: int = PIECE
    after: float = math.inf
    end: str = ''


def some_harm(random: Random) -> Harm:
    """Return random faults; a connection ends after a number of bytes of any magnitude up to 1 MB.

    Every connection ends at some point: otherwise a pool would soon hold only those that do not.
    """
    after = 10 ** random.uniform(0, 6)
    match random.randint(0, 6):
        case 0 | 1:
            return Harm(after=10 * after, end='cut')
        case 2:
            return Harm(delay=random.choice((0.001, 0.02)), after=10 * after, end='reset')
        case 3:  # small enough to split heads and chunk sizes
            return Harm(segment=random.randint(1, 20), after=20_000 + after, end='cut')
        case 4:
            return Harm(after=after, end='cut')
        case 5:
            return Harm(after=after, end='reset')
    return Harm(after=after, end='stall')


class FaultyProxy:
    """Forwards bytes between its clients and an origin.

    Attributes:
        port: The port on which it listens.
        harmful: Set to False to stop all faults, also on open connections.
        connections: Number of connections accepted.
        done: Number of connections ended, for each kind of end.
    """

    def __init__(self, origin: int, random: Random) -> None:
        self.port = 0
        self.harmful = True
        self.connections = 0
        self.done: Counter[str] = Counter()
        self._origin, self._random = origin, random
        self._tasks: set[asyncio.Task[None]] = set()

    def accept(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        """Accept a connection."""
        self.connections += 1
        task = asyncio.create_task(self._serve(reader, writer))
        self._tasks.add(task)
        task.add_done_callback(self._tasks.discard)

    async def close(self) -> None:
        """Close all connections."""
        tasks = list(self._tasks)
        for task in tasks:
            task.cancel()
        await asyncio.gather(*tasks, return_exceptions=True)

    async def _serve(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        """Forward both directions of a connection until one of them ends."""
        origin = await asyncio.open_connection('127.0.0.1', self._origin)
        # Requests have faults less often than responses, because responses are what is checked.
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
        """Forward bytes until the source ends, or a fault ends the connection."""
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
            await asyncio.sleep(0)  # lets the peer read a segment before the next one is written

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
    """Run a proxy in front of an origin that listens on a port of this machine."""
    proxy = FaultyProxy(origin, random)
    server = await asyncio.start_server(proxy.accept, '127.0.0.1', 0, backlog=256)
    proxy.port = server.sockets[0].getsockname()[1]
    try:
        yield proxy
    finally:
        server.close()
        await proxy.close()
        await server.wait_closed()
