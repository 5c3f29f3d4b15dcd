"""Send files as response bodies, by sendfile(2) where possible.

Ranges and conditional requests (RFC 9110 13 and 14) are handled by aiohttp's ``FileResponse``. Its
call of the event loop's ``sendfile`` is replaced: that method reports no progress, so a peer that
stopped reading could not be told from a slow one, and asyncio's waits for ever if the transport is
closed or aborted meanwhile. Here the transport stays as it is, and the file is written to a
duplicate of the socket's file descriptor.
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
from ..semantics import PHRASES, STATUSES_WITHOUT_BODY, is_silent
from ..tables.models import Response
from .encode import encode_response
from .framing import FramedConnection

__all__ = ['ResponseStreamWriter', 'SendfileLoop', 'SentFile', 'to_aiohttp_request']

SLICE = 256 * 1024  # bytes of one sendfile(2) call, after which other connections get their turn
PIECE = 256 * 1024  # bytes read at a time, in a thread, where sendfile(2) cannot be used
TLS_PIECE = 64 * 1024  # the same over TLS: asyncio shows no progress within a single write


class ResponseStreamWriter(StreamWriter):
    """The writer of aiohttp's responses, without aiohttp's default ``Server`` header."""

    output_size: int
    length: int | None

    def __init__(self, connection: FramedConnection, loop: asyncio.AbstractEventLoop) -> None:
        super().__init__(connection, loop)
        self.connection = connection

    async def write_headers(self, status_line: str, headers: CIMultiDict[str]) -> None:
        """Write the head of a response (called by aiohttp)."""
        if headers.get('Server') == SERVER_SOFTWARE:
            del headers['Server']
        await super().write_headers(status_line, headers)
        self.connection.begun = True

    def sent(self, size: int) -> None:
        """Count bytes of the body that were sent by sendfile(2)."""
        self.output_size += size
        if self.length is not None:
            self.length -= size

    async def drain(self) -> None:
        """Wait with back-pressure, as for every response."""
        await self.connection.drained()


def to_aiohttp_request(
    connection: FramedConnection, writer: ResponseStreamWriter, loop: Any
) -> BaseRequest:
    """Convert the current request of a connection to a request of aiohttp.

    ``await response.prepare(request)`` with a response of aiohttp then writes to the connection.
    """
    task: Any = connection.task or asyncio.current_task()  # connection.task is not set yet if eager
    return BaseRequest(connection.head, connection.body, connection, writer, task, loop)


class SendfileLoop:
    """A stand-in for the event loop: ``FileResponse`` uses only its ``sendfile``."""

    def __init__(self, connection: FramedConnection, writer: ResponseStreamWriter) -> None:
        self._connection = connection
        self._writer = writer

    async def sendfile(self, transport: Any, file: Any, offset: int, count: int) -> None:
        """Send ``count`` bytes of a file, or fewer if the file ends before, with back-pressure.

        Raises:
            NotImplementedError: sendfile(2) cannot be used: over TLS, on this system, or for
                this file. aiohttp then reads the file itself.
        """
        if self._connection.ssl_context is not None or not hasattr(os, 'sendfile'):
            raise NotImplementedError
        transport.set_write_buffer_limits(high=0)  # the whole head must be sent before the file
        await self._connection.drained()
        if transport.is_closing():
            raise ConnectionResetError('the client has left')
        out = os.dup(transport.get_extra_info('socket').fileno())
        try:
            await self._send(out, file.fileno(), offset, count)
        except ConnectionError:  # the transport has not noticed it yet
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
                await self._writable(out)
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

    async def _writable(self, out: int) -> None:
        """Wait until the socket's send buffer has room."""
        loop = asyncio.get_running_loop()
        writable = asyncio.Event()
        loop.add_writer(out, writable.set)
        try:
            await self._connection.wait_for_peer(writable.wait())
        finally:
            loop.remove_writer(out)


class SentFile:
    """A response whose body is a file, sent with back-pressure (a ``SelfWritingResponse``)."""

    def __init__(self, response: Response[Any], headers: Headers, keep_alive: bool) -> None:
        self.path: str = fsdecode(response['body'])
        self.status: int = response['status']
        self.reason: str | None = response.get('reason')
        self.headers = headers
        self.keep_alive: bool = keep_alive

    async def send(self, connection: FramedConnection) -> bool:
        """Send the file, a range of it, or only a head, as requested; 404 if there is no file."""
        if self.status in STATUSES_WITHOUT_BODY:
            await self._write(connection, self.headers, b'')
        elif tag := await asyncio.to_thread(tag_of, self.path):
            await self._send(connection, tag)
        else:
            self.status, self.reason = 404, None
            headers = Headers({'Content-Type': 'text/plain; charset=utf-8'})
            await self._write(connection, headers, PHRASES[404].encode())
        return self.keep_alive and connection.can_keep_alive

    async def _write(self, connection: FramedConnection, headers: Headers, body: bytes) -> None:
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
            connection.count_written(writer.output_size)
        if not is_silent(connection.head.method, self.status):
            self.keep_alive &= writer.chunked or writer.length is not None
            # aiohttp does not raise here; the client would read the next response as file.
            if writer.length:
                raise OSError(f'{self.path} has become shorter while it was sent')

    def _request(
        self, connection: FramedConnection, writer: ResponseStreamWriter, tag: str
    ) -> BaseRequest:
        request = to_aiohttp_request(connection, writer, SendfileLoop(connection, writer))
        # Ranges and conditions apply only where the status would be 200 (RFC 9110 13.2.1, 14.2).
        conditional = self.status == 200 and request.method in ('GET', 'HEAD')
        return request.clone(headers=_aiohttp_headers(request.headers, tag) if conditional else {})


def _aiohttp_headers(given: Mapping[str, str], tag: str) -> Headers:
    """Return request headers that make aiohttp treat If-Range as RFC 9110 13.1.5 says.

    aiohttp ignores an entity tag in If-Range, and would send a range of a changed file.

    Args:
        tag: The current entity tag of the file.
    """
    headers = Headers(given)
    validator = headers.get('If-Range', '')
    if not RANGE.fullmatch(headers.get('Range', '')) or ('"' in validator and validator != tag):
        headers.popall('Range', None)
    elif validator == tag:
        headers.setdefault('If-Match', tag)  # the file may change before aiohttp opens it
        headers.popall('Accept-Encoding', None)  # a packed file.gz has another entity tag
    return headers
