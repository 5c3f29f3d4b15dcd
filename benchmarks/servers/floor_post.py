"""Send fixed bytes for each request with a Content-Length, once its body has come; not measured."""

from __future__ import annotations

import asyncio
import re

from ..loops import run
from .floor import HELLO, Floor

LENGTH = re.compile(rb'(?i)\r\ncontent-length: *(\d+)')
END = b'\r\n\r\n'


class PostFloor(Floor):
    received = b''

    def data_received(self, data: bytes) -> None:
        self.received += data
        while (end := self.received.find(END)) >= 0:
            found = LENGTH.search(self.received, 0, end)
            size = end + len(END) + (int(found[1]) if found else 0)
            if len(self.received) < size:
                break
            self.received = self.received[size:]
            self.transport.write(HELLO)


async def listen(port: int) -> None:
    server = await asyncio.get_running_loop().create_server(PostFloor, '127.0.0.1', port)
    await server.serve_forever()


def serve(port: int, loop: str) -> None:
    run(listen(port), loop)
