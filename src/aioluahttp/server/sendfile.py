"""Files that the kernel sends to a connection (sendfile(2)), with none of it in this process.

The event loop's own ``sendfile`` does not tell how far it is, so a peer that stopped reading could
not be told from a slow one; nor does asyncio's bear that the transport is closed or aborted
meanwhile: it waits for ever. Here the transport stays as it is, and the file goes out by a
descriptor of its own.

Answers whose body is a file on disk, with ranges and conditions (RFC 9110 13 and 14).
"""

from __future__ import annotations

import asyncio
import os
from collections.abc import Mapping
from os import fsdecode
from typing import Any

from aiohttp.http import SERVER_SOFTWARE
from aiohttp.http_writer import StreamWriter
from aiohttp.web_fileresponse import FileResponse
from aiohttp.web_request import BaseRequest
from multidict import CIMultiDict

from ..exchange.files import RANGE, tag_of
from ..headers import ONE_HOP, Headers
from ..semantics import NO_BODY, PHRASES, is_silent
from ..tables.models import Response
from .encode import encode_response
from .framing import FramedConnection

__all__ = ['ResponseStreamWriter', 'SendfileLoop', 'SentFile', 'to_aiohttp_request']


class ResponseStreamWriter(StreamWriter):
    """What aiohttp's responses write with, which makes no mention of aiohttp."""

    output_size: int
    length: int | None

    def __init__(self, connection: FramedConnection, loop: asyncio.AbstractEventLoop) -> None:
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


def to_aiohttp_request(
    connection: FramedConnection, writer: ResponseStreamWriter, loop: Any
) -> BaseRequest:
    """Make aiohttp's request of the one that was taken up, for a response of aiohttp's.

    ``await response.prepare(request)`` then writes to the connection.
    """
    task: Any = connection.task or asyncio.current_task()  # an eager one is not noted yet
    return BaseRequest(connection.head, connection.body, connection, writer, task, loop)


SLICE = 256 * 1024  # bytes after which other connections get their turn


class SendfileLoop:
    """What a FileResponse takes for its loop, and asks for ``sendfile`` alone."""

    def __init__(self, connection: FramedConnection, writer: ResponseStreamWriter) -> None:
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


PIECE = 256 * 1024  # bytes read at a time where the kernel cannot send: a turn of a thread
TLS_PIECE = 64 * 1024  # asyncio's TLS does not tell how far it is within a single write


class SentFile:
    """An answer whose body is a file, sent as the peer reads it."""

    def __init__(self, response: Response[Any], headers: Headers, keep_alive: bool) -> None:
        self.path: str = fsdecode(response['body'])
        self.status: int = response['status']
        self.reason: str | None = response.get('reason')
        self.headers = headers
        self.keep_alive: bool = keep_alive

    async def send(self, connection: FramedConnection) -> bool:
        """Send the file, or a part of it, or none as the request asks; 404 if there is no file."""
        if self.status in NO_BODY:
            await self._say(connection, self.headers, b'')
        elif tag := await asyncio.to_thread(tag_of, self.path):
            await self._send(connection, tag)
        else:
            self.status, self.reason = 404, None
            headers = Headers({'Content-Type': 'text/plain; charset=utf-8'})
            await self._say(connection, headers, PHRASES[404].encode())
        return self.keep_alive and connection.keeps

    async def _say(self, connection: FramedConnection, headers: Headers, body: bytes) -> None:
        start = self.status, self.reason, headers
        await connection.write(encode_response(connection.head, *start, body, self.keep_alive).data)

    async def _send(self, connection: FramedConnection, tag: str) -> None:
        kept = [pair for pair in self.headers.items() if pair[0].lower() not in ONE_HOP]
        piece = PIECE if connection.ssl_context is None else TLS_PIECE
        response = FileResponse(self.path, piece, self.status, self.reason, Headers(kept))
        if not self.keep_alive:
            response.force_close()
        writer = ResponseStreamWriter(connection, asyncio.get_running_loop())
        try:
            await response.prepare(self._request(connection, writer, tag))
            await response.write_eof()
        finally:
            self.status = response.status
            connection.wrote(writer.output_size)
        if not is_silent(connection.head.method, self.status):
            self.keep_alive &= writer.chunked or writer.length is not None
            if writer.length:  # aiohttp would go on, and the next answer be read as this file
                raise OSError(f'{self.path} has become shorter while it was sent')

    def _request(
        self, connection: FramedConnection, writer: ResponseStreamWriter, tag: str
    ) -> BaseRequest:
        request = to_aiohttp_request(connection, writer, SendfileLoop(connection, writer))
        # Ranges and conditions are for what would be a 200 (RFC 9110 13.2.1 and 14.2).
        conditional = self.status == 200 and request.method in ('GET', 'HEAD')
        return request.clone(headers=_ask_aiohttp(request.headers, tag) if conditional else {})


def _ask_aiohttp(given: Mapping[str, str], tag: str) -> Headers:
    """Ask aiohttp for what a client asks for of the file that has a tag.

    It knows no tag in If-Range, and would send a part of another file.
    """
    headers = Headers(given)
    validator = headers.get('If-Range', '')
    if not RANGE.fullmatch(headers.get('Range', '')) or ('"' in validator and validator != tag):
        headers.popall('Range', None)
    elif validator == tag:
        headers.setdefault('If-Match', tag)  # it may just be changing
        headers.popall('Accept-Encoding', None)  # a name.gz beside it has another tag
    return headers
