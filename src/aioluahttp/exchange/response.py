"""Turn a response table into what an engine writes: whole, in parts, or a file.

The engines implement ``ResponseWriter``. How bytes are framed is theirs: ``server/encode`` for our
own server.
"""

from __future__ import annotations

import asyncio
import socket
import struct
from collections.abc import AsyncIterator, Awaitable, Callable, Sequence
from contextlib import AbstractAsyncContextManager, aclosing, asynccontextmanager
from os import PathLike
from typing import Any, BinaryIO, NamedTuple, Protocol

from ..bodies.chunks import Chunks, close
from ..bodies.stream import Stream
from ..errors import TableError
from ..headers import ONE_HOP, Headers, given_length
from ..semantics import PHRASES, STATUSES_WITHOUT_BODY, is_silent
from ..tables.checks import is_streamed
from ..tables.conversion import status_page, wire_body
from ..tables.handlers import encoded_chunks
from ..tables.models import Response
from ..websockets.handshake import to_pairs
from .files import SelectedFile, select_file

__all__ = [
    'FilePieces',
    'ReadyResponse',
    'ResponseWriter',
    'cancelled_when',
    'content_length_of',
    'page_of',
    'reset_connection',
    'to_ready',
    'write_later',
    'write_now',
]

WHOLE = (str, bytes)  # types of a body that is in memory
PIECE = 256 * 1024  # bytes of a file read at a time: each read is a call in a thread
# SO_LINGER with a timeout of 0 s: closing drops unsent bytes and sends a reset.
AT_ONCE = struct.pack('ii', 1, 0)


class ResponseWriter(Protocol):
    """What a response is written to. Methods raise ``ConnectionError`` once the client has left.

    Attributes:
        begun: Whether the head of a response with parts has been written.
        sent: Bytes of the body that were given to the engine, for the access log: after content
            coding, and without the framing of chunks.
    """

    begun: bool
    sent: int = 0

    @property
    def gone(self) -> bool:
        """Whether the client is known to have left."""
        ...

    def cancelled_when_left(self) -> AbstractAsyncContextManager[None]:
        """Cancel the block once the client leaves, and raise ``ConnectionResetError``."""
        ...

    async def whole(self, response: ReadyResponse, body: bytes) -> None:
        """Write a complete response."""

    async def start(self, response: ReadyResponse) -> None:
        """Write the head of a response whose body follows in parts."""

    async def write(self, data: bytes) -> None:
        """Write a part of the body, with back-pressure."""

    async def end(self) -> None:
        """End the body."""

    async def file(self, pieces: FilePieces) -> bool:
        """Send a file as the body without reading it here; return whether that was possible."""
        return False


class ReadyResponse(NamedTuple):
    """A response that is ready to be written to an engine.

    Attributes:
        length: Content-Length in bytes; ``None`` if it is unknown or must not be sent.
        body: Bytes, or an iterator over parts, which the reader has to close.
    """

    status: int
    reason: str | None
    headers: Headers
    length: int | None
    body: bytes | Chunks | FilePieces

    def head(self) -> tuple[int, str | None, Headers]:
        """Return status, reason phrase and headers to send.

        Hop-by-hop fields are the engine's and left out, except ``Connection: close``.
        """
        headers = self.headers
        if not ONE_HOP.isdisjoint(map(str.lower, headers)):
            closes = 'close' in ','.join(headers.getall('Connection', ())).lower()
            headers = Headers([pair for pair in headers.items() if pair[0].lower() not in ONE_HOP])
            if closes:
                headers['Connection'] = 'close'
        # Engines drop the Content-Length of a 304, or reject it, since no body follows.
        if self.length is not None and self.status != 304:
            headers['Content-Length'] = str(self.length)
        return self.status, self.reason, headers


async def to_ready(method: str, asked: Headers, response: Response[Any]) -> ReadyResponse:
    """Turn a response table into a ``ReadyResponse``.

    Args:
        method: Method of the request.
        asked: Headers of the request.
        response: In normal form, with a body that is neither text nor bytes.
    """
    body = response['body']
    headers, status, reason = response['headers'].copy(), response['status'], response.get('reason')
    if isinstance(body, PathLike):
        return await _ready_file(method, asked, status, reason, headers, body)
    if not is_streamed(body):
        wire_body(headers, body)  # raises: it is no body
    silent = is_silent(method, status)
    chunks = encoded_chunks(headers, body)
    if silent:
        await chunks.aclose()
        return _ready_whole(method, status, reason, headers, b'')
    try:
        chunks.length = given_length(headers)
    except TableError:
        await chunks.aclose()
        raise
    return ReadyResponse(status, reason, headers, chunks.length, chunks)


def _ready_now(method: str, response: Response[Any]) -> ReadyResponse | None:
    """Prepare a response whose body is here; ``None`` if it is not."""
    body, headers, status = response['body'], response['headers'].copy(), response['status']
    silent = is_silent(method, status)
    data: bytes | None
    if isinstance(body, WHOLE):
        data = wire_body(headers, body)
        if silent:
            return _ready_whole(method, status, response.get('reason'), headers, data)
    elif silent or not isinstance(body, Stream) or 'Content-Length' not in headers:
        return None  # a body that came in chunks would get a length
    elif (data := body.rest()) is None:
        return None
    elif (length := given_length(headers)) != len(data):
        what = f"'body' has {len(data)} bytes, and its Content-Length is {length}"
        raise TableError(what)
    return ReadyResponse(status, response.get('reason'), headers, len(data), data)


def _ready_whole(
    method: str, status: int, reason: str | None, headers: Headers, data: bytes
) -> ReadyResponse:
    length = content_length_of(method, status, headers, data)
    return ReadyResponse(
        status, reason, headers, length, b'' if is_silent(method, status) else data
    )


async def _ready_file(
    method: str, asked: Headers, status: int, reason: str | None, headers: Headers, path: Any
) -> ReadyResponse:
    """Prepare a file, the requested part of it, or a 304, 412 or 416; a 404 without a file."""
    if status in STATUSES_WITHOUT_BODY:
        return _ready_whole(method, status, reason, headers, b'')
    found = await _select_in_thread(path, method, asked, status)
    if found is None:
        missing = Headers({'Content-Type': 'text/plain; charset=utf-8'})
        return _ready_whole(method, 404, None, missing, PHRASES[404].encode())
    fields = Headers(found.fields)
    if 'Vary' in fields:
        fields['Vary'] = ', '.join([*headers.getall('Vary', ()), fields['Vary']])
    kept = Headers(
        [
            pair
            for pair in headers.items()
            if pair[0] not in fields or pair[0].lower() == 'content-type'
        ]
    )
    for name, value in fields.items():
        kept.setdefault(name, value)
    start = found.status, reason if found.status == status else None, kept
    if found.file is None:
        return ReadyResponse(*start, None if found.status == 304 else found.size, b'')
    pieces = FilePieces(found.file, found, is_whole=found.status == status)
    return ReadyResponse(*start, found.size, pieces)


async def write_now(writer: ResponseWriter, method: str, response: Response[Any]) -> bool:
    """Write a response whose body is here, and tell whether it is; arguments as in ``to_ready``."""
    ready = _ready_now(method, response)
    if ready is None:
        return False
    data: Any = ready.body
    writer.sent = len(data)
    await writer.whole(ready, data)
    return True


async def write_later(
    writer: ResponseWriter, method: str, asked: Headers, response: Response[Any]
) -> None:
    """Write a response whose body is not here yet, and set its status to the one written.

    A client that leaves cancels this. The arguments are those of ``to_ready``.

    Raises:
        ConnectionResetError: The client has left, maybe before this.
    """
    if writer.gone:  # it will not leave again
        await close(response['body'])
        raise ConnectionResetError('the client has left')
    async with writer.cancelled_when_left():
        ready = await to_ready(method, asked, response)
        response['status'] = ready.status
        if isinstance(ready.body, bytes):
            writer.sent = len(ready.body)
            await writer.whole(ready, ready.body)
            return
        async with aclosing(ready.body) as parts:
            await _write_parts(writer, ready, parts)


def page_of(status: int, fields: Sequence[str]) -> tuple[Headers, bytes]:
    """Encode a ``status_page`` that closes the connection, with more header lines."""
    body = status_page(status)['body'].encode()
    headers = Headers(to_pairs(fields))
    headers['Content-Type'] = 'text/plain; charset=utf-8'
    headers['Content-Length'] = str(len(body))
    headers.setdefault('Connection', 'close')
    return headers, body


async def _write_parts(
    writer: ResponseWriter, response: ReadyResponse, parts: Chunks | FilePieces
) -> None:
    """Write a body in parts. The head waits for the first, so an error before it can be a 500."""
    if isinstance(parts, FilePieces):
        await writer.start(response)
        try:
            if await writer.file(parts):
                return
        finally:
            writer.sent = parts.sent
    sent = 0
    async for data in parts:
        if not writer.begun:
            await writer.start(response)
        writer.sent = sent = sent + len(data)
        await writer.write(data)
    if not writer.begun:
        await writer.start(response)
    await writer.end()


class FilePieces:
    """Iterate over an open file, or a range of it, in pieces that are read in a thread.

    Attributes:
        file: Open, at ``start``.
        path: Its path.
        start: First byte to send.
        size: Number of bytes to send.
        is_whole: Whether that is all of the file.
        sent: Number of bytes that an engine has sent by itself.
    """

    def __init__(self, file: BinaryIO, selected: SelectedFile, *, is_whole: bool) -> None:
        self.file = file
        self.path: str = selected.path
        self.start: int = selected.start
        self.size: int = selected.size
        self.is_whole: bool = is_whole
        self.sent: int = 0
        self._left = selected.size

    def __aiter__(self) -> AsyncIterator[bytes]:
        return self

    async def __anext__(self) -> bytes:
        if not self._left:
            raise StopAsyncIteration
        data = await asyncio.to_thread(self.file.read, min(self._left, PIECE))
        if not data:  # the client would wait for the rest
            raise self.shortened()
        self._left -= len(data)
        return data

    def shortened(self) -> OSError:
        """Make the error for a file that ends before all of it was sent."""
        return OSError(f'{self.path} has become shorter while it was sent')

    async def aclose(self) -> None:
        """Close the file."""
        self.file.close()


async def _select_in_thread(
    path: Any, method: str, asked: Headers, status: int
) -> SelectedFile | None:
    """Run ``select_file`` in a thread; if cancelled, close the file that it opened."""
    selecting = asyncio.ensure_future(asyncio.to_thread(select_file, path, method, asked, status))
    try:
        return await asyncio.shield(selecting)
    except asyncio.CancelledError:
        found = await selecting
        if found is not None and found.file is not None:
            found.file.close()
        raise


@asynccontextmanager
async def cancelled_when(left: Callable[[], Awaitable[None]]) -> AsyncIterator[None]:
    """Cancel the block once ``left`` returns, and raise ``ConnectionResetError``.

    Args:
        left: Waits until the client has left; runs in a task of its own.
    """
    task = asyncio.current_task()
    assert task is not None
    cancelled = False

    async def watch() -> None:
        nonlocal cancelled
        await left()
        cancelled = True
        task.cancel()

    watcher = asyncio.create_task(watch())
    try:
        yield
    except asyncio.CancelledError:
        if not cancelled or task.uncancel():
            raise
        raise ConnectionResetError('the client has left') from None
    finally:
        watcher.cancel()
        await asyncio.gather(watcher, return_exceptions=True)


def content_length_of(method: str, status: int, headers: Headers, body: bytes) -> int | None:
    """Return the Content-Length of a response; ``None`` if it has none (RFC 9110 8.6)."""
    if status in (204, 205):
        return 0 if status == 205 else None
    if 'Content-Length' in headers and (method == 'HEAD' or status == 304):
        return given_length(headers)
    return None if status == 304 or (method == 'HEAD' and not body) else len(body)


def reset_connection(transport: Any) -> None:
    """Reset a connection, so that the peer does not take its close for the end of a body."""
    if transport is not None and not transport.is_closing():
        on_socket = transport.get_extra_info('socket')
        on_socket.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, AT_ONCE)
        transport.abort()
