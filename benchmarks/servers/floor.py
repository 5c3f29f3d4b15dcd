"""The floor: send fixed bytes for each read, which shows the cost of asyncio and sockets alone.

Each read counts as one request, which is true only for the loads of these benchmarks.
"""

from __future__ import annotations

import asyncio
import json
from typing import cast

from ..check import LONG_TEXT, MANY, OBJECTS
from ..loops import run
from ..tls import server_context

HEADERS = ''.join(f'X-Header-{n}: value {n}\r\n' for n in range(MANY))


def response(body: bytes, kind: str = 'text/plain; charset=utf-8', fields: str = '') -> bytes:
    head = f'HTTP/1.1 200 OK\r\nContent-Type: {kind}\r\n{fields}Content-Length: {len(body)}\r\n\r\n'
    return head.encode() + body


HELLO = response(b'Hello world')
RESPONSES = {
    'hello': HELLO,
    'tls': HELLO,
    'headers': response(b'Hello world', fields=HEADERS),
    'text': response(LONG_TEXT.encode()),
    'objects': response(json.dumps(OBJECTS).encode(), 'application/json'),
}


class Floor(asyncio.Protocol):
    response = HELLO

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        # No isinstance: uvloop's transport is not a subclass of asyncio's.
        self.transport = cast(asyncio.Transport, transport)

    def data_received(self, data: bytes) -> None:
        self.transport.write(self.response)


async def listen(port: int, kind: str) -> None:
    loop, context = asyncio.get_running_loop(), server_context() if kind == 'tls' else None
    Floor.response = RESPONSES[kind]
    await (await loop.create_server(Floor, '127.0.0.1', port, ssl=context)).serve_forever()


def serve(port: int, loop: str, kind: str = 'hello') -> None:
    run(listen(port, kind), loop)
