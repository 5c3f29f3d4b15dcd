"""The floor: send fixed bytes for each read, which shows the cost of asyncio and sockets alone.

Each read counts as one request, which is true only for the loads of these benchmarks.
"""

from __future__ import annotations

import asyncio
from typing import cast

from ..loops import run

HEAD = b'HTTP/1.1 200 OK\r\nContent-Type: text/plain; charset=utf-8\r\nContent-Length: 11\r\n\r\n'


class Floor(asyncio.Protocol):
    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        # No isinstance: uvloop's transport is not a subclass of asyncio's.
        self.transport = cast(asyncio.Transport, transport)

    def data_received(self, data: bytes) -> None:
        self.transport.write(HEAD + b'Hello world')


async def listen(port: int) -> None:
    server = await asyncio.get_running_loop().create_server(Floor, '127.0.0.1', port)
    await server.serve_forever()


def serve(port: int, loop: str) -> None:
    run(listen(port), loop)
