"""Files that the kernel sends to a connection (sendfile(2)), with none of it in this process.

The event loop's own ``sendfile`` does not tell how far it is, so a peer that stopped reading could
not be told from a slow one; nor does asyncio's bear that the transport is closed or aborted
meanwhile: it waits for ever. Here the transport stays as it is, and the file goes out by a
descriptor of its own.
"""

from __future__ import annotations

import asyncio
import os
from typing import Any

from aiohttp.http import SERVER_SOFTWARE
from aiohttp.http_writer import StreamWriter
from aiohttp.web_request import BaseRequest
from multidict import CIMultiDict

from .framing import Framed

__all__ = ['Sendfile', 'Writer', 'as_aiohttp_has_it']


class Writer(StreamWriter):
    """What aiohttp's responses write with, which makes no mention of aiohttp."""

    output_size: int
    length: int | None

    def __init__(self, connection: Framed, loop: asyncio.AbstractEventLoop) -> None:
        super().__init__(connection, loop)
        self.connection = connection

    async def write_headers(self, status_line: str, headers: CIMultiDict[str]) -> None:
        """Write the head of an answer: aiohttp's word for it."""
        if headers.get('Server') == SERVER_SOFTWARE:
            del headers['Server']
        await super().write_headers(status_line, headers)
        self.connection.begun = True

    def sent(self, size: int) -> None:
        """Count bytes of the body that went another way."""
        self.output_size += size
        if self.length is not None:
            self.length -= size

    async def drain(self) -> None:
        """Wait while the peer reads, as for every answer."""
        await self.connection.drained()


def as_aiohttp_has_it(connection: Framed, writer: Writer, loop: Any) -> BaseRequest:
    """Make aiohttp's request of the one that was taken up, for a response of aiohttp's.

    ``await response.prepare(request)`` then writes to the connection.
    """
    task: Any = connection.task or asyncio.current_task()  # an eager one is not noted yet
    return BaseRequest(connection.head, connection.body, connection, writer, task, loop)


SLICE = 256 * 1024  # bytes after which other connections get their turn


class Sendfile:
    """What a FileResponse takes for its loop, and asks for ``sendfile`` alone."""

    def __init__(self, connection: Framed, writer: Writer) -> None:
        self._connection = connection
        self._writer = writer

    async def sendfile(self, transport: Any, file: Any, offset: int, count: int) -> None:
        """Send a part of a file while the peer reads; less than that if there is no more of it.

        Raises:
            NotImplementedError: It cannot be sent so: by TLS, or from where it is.
        """
        if self._connection.ssl_context is not None or not hasattr(os, 'sendfile'):
            raise NotImplementedError
        transport.set_write_buffer_limits(high=0)  # none of the head may wait to follow the file
        await self._connection.drained()
        if transport.is_closing():
            raise ConnectionResetError('the client has left')
        out = os.dup(transport.get_extra_info('socket').fileno())
        try:
            await self._send(out, file.fileno(), offset, count)
        except ConnectionError:  # the transport does not know of it yet
            transport.abort()
            raise
        finally:
            os.close(out)

    async def _send(self, out: int, file: int, start: int, count: int) -> None:
        left = count
        while left:
            try:
                sent = os.sendfile(out, file, start + count - left, min(SLICE, left))
            except BlockingIOError:
                await self._room(out)
                continue
            except OSError as error:
                if left < count or isinstance(error, ConnectionError):
                    raise
                raise NotImplementedError from error
            if not sent:
                return
            left -= sent
            self._writer.sent(sent)
            await asyncio.sleep(0)

    async def _room(self, out: int) -> None:
        """Wait until the peer has read some."""
        loop = asyncio.get_running_loop()
        room = asyncio.Event()
        loop.add_writer(out, room.set)
        try:
            await self._connection.unread(room.wait())
        finally:
            loop.remove_writer(out)
