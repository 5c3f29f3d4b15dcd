"""A response table given to an engine of others, which does the framing."""

from __future__ import annotations

import asyncio
import socket
import struct
from collections.abc import AsyncIterator
from contextlib import aclosing, asynccontextmanager
from os import PathLike
from typing import Any, BinaryIO, NamedTuple, Protocol

from ..bodies.chunks import Chunks
from ..errors import TableError
from ..headers import ONE_HOP, Headers, given_length
from ..semantics import NO_BODY, PHRASES, is_silent
from ..tables.checks import is_streamed
from ..tables.conversion import wire_body
from ..tables.handlers import encoded_chunks
from ..tables.models import Response
from .files import SelectedFile, select_file

__all__ = [
    'FilePieces',
    'ReadyResponse',
    'ResponseWriter',
    'cancel_when_left',
    'content_length_of',
    'reset_connection',
    'to_ready',
    'write_response',
]

PIECE = 256 * 1024  # bytes of a file that are read at a time: each costs a turn of a thread


class ResponseWriter(Protocol):
    """What an answer is written to.

    What it raises is a ConnectionError where the client has left.

    Attributes:
        begun: Whether a part of an answer was written.
        gone: Whether the client is known to have left.
    """

    begun: bool
    gone: bool

    async def left(self) -> None:
        """Wait until the client has left."""

    async def whole(self, status: int, reason: str | None, headers: Headers, body: bytes) -> None:
        """Write an answer. Its headers have all that tells how long it is."""

    async def start(self, status: int, reason: str | None, headers: Headers) -> None:
        """Begin an answer whose body comes in parts."""

    async def write(self, data: bytes) -> None:
        """Write a part of it, and wait while the client reads."""

    async def end(self) -> None:
        """End it."""

    async def file(self, path: str) -> bool:
        """Leave the body, which is a whole file, to the engine; tell whether that takes it."""
        ...


class ReadyResponse(NamedTuple):
    """An answer that is ready to be given to an engine.

    Its body is whole, or comes in parts; whoever reads these has to close them. ``length`` is in
    bytes, None where it is not known, or not said. ``path`` is that of a file, where the body is
    all of it.
    """

    status: int
    reason: str | None
    headers: Headers
    length: int | None
    body: bytes | Chunks | FilePieces
    path: str | None = None

    def head(self) -> tuple[int, str | None, Headers]:
        """Give status, phrase and headers as they go out, once the first part of a body is there.

        What is for one hop is the engine's, but for a close.
        """
        headers = self.headers
        kept = Headers([pair for pair in headers.items() if pair[0].lower() not in ONE_HOP])
        if 'close' in ','.join(headers.getall('Connection', ())).lower():
            kept['Connection'] = 'close'
        # That of what is not sent engines leave out of a 304, or take for a mistake.
        if self.length is not None and self.status != 304:
            kept['Content-Length'] = str(self.length)
        return self.status, self.reason, kept


async def to_ready(method: str, asked: Headers, response: Response[Any]) -> ReadyResponse:
    """Make ready the answer that a table is.

    Args:
        method: Of the request.
        asked: The headers of the request.
        response: In normal form, without a ``websocket``.
    """
    headers, body = response['headers'].copy(), response['body']
    status, reason = response['status'], response.get('reason')
    if isinstance(body, str | bytes):
        return _ready_whole(method, status, reason, headers, wire_body(headers, body))
    if isinstance(body, PathLike):
        return await _ready_file(method, asked, status, reason, headers, body)
    if not is_streamed(body):
        wire_body(headers, body)  # raises what is to be said of it
    chunks = encoded_chunks(headers, body)
    if is_silent(method, status):
        await chunks.aclose()
        return _ready_whole(method, status, reason, headers, b'')
    try:
        chunks.length = given_length(headers)
    except TableError:
        await chunks.aclose()
        raise
    return ReadyResponse(status, reason, headers, chunks.length, chunks)


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
    """Make ready a file, or a part of it, or none as the request asks; 404 if there is no file."""
    if status in NO_BODY:
        return _ready_whole(method, status, reason, headers, b'')
    found = await _select_in_thread(path, method, asked, status)
    if found is None:
        missing = Headers({'Content-Type': 'text/plain; charset=utf-8'})
        return _ready_whole(method, 404, None, missing, PHRASES[404].encode())
    fields = Headers(found.fields)
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
    whole = found.path if found.status == status else None
    return ReadyResponse(*start, found.size, FilePieces(found.file, found), whole)


async def write_response(
    line: ResponseWriter, method: str, asked: Headers, response: Response[Any]
) -> int:
    """Write the response that a table is; give its status. The arguments are those of ``to_ready``.

    A client that leaves is noticed where that may take long.
    """
    if isinstance(response['body'], str | bytes):
        return await _write_parts(line, await to_ready(method, asked, response))
    async with cancel_when_left(line):
        return await _write_parts(line, await to_ready(method, asked, response))


async def _write_parts(line: ResponseWriter, out: ReadyResponse) -> int:
    """Write an answer. The head goes with the first part, so a mistake before it is a 500."""
    if isinstance(out.body, bytes):
        await line.whole(*out.head(), out.body)
        return out.status
    async with aclosing(out.body) as parts:
        if out.path is not None:
            await line.start(*out.head())
            if await line.file(out.path):
                return out.status
        async for data in parts:
            if not line.begun:
                await line.start(*out.head())
            await line.write(data)
        if not line.begun:
            await line.start(*out.head())
        await line.end()
    return out.status


class FilePieces:
    """The pieces of an open file, read in a thread."""

    def __init__(self, file: BinaryIO, selected: SelectedFile) -> None:
        self._file = file
        self._path = selected.path
        self._left = selected.size

    def __aiter__(self) -> AsyncIterator[bytes]:
        return self

    async def __anext__(self) -> bytes:
        if not self._left:
            raise StopAsyncIteration
        data = await asyncio.to_thread(self._file.read, min(self._left, PIECE))
        if not data:  # the client would wait for the rest
            raise OSError(f'{self._path} has become shorter while it was sent')
        self._left -= len(data)
        return data

    async def aclose(self) -> None:
        """Close the file."""
        self._file.close()


async def _select_in_thread(
    path: Any, method: str, asked: Headers, status: int
) -> SelectedFile | None:
    """Select in a thread, which opens a file; cancelled, it is closed."""
    selecting = asyncio.ensure_future(asyncio.to_thread(select_file, path, method, asked, status))
    try:
        return await asyncio.shield(selecting)
    except asyncio.CancelledError:
        found = await selecting
        if found is not None and found.file is not None:
            found.file.close()
        raise


@asynccontextmanager
async def cancel_when_left(line: ResponseWriter) -> AsyncIterator[None]:
    """Cancel what is within once the client leaves; that is then a ConnectionError."""
    task = asyncio.current_task()
    assert task is not None
    ours = False

    async def watch() -> None:
        nonlocal ours
        await line.left()
        line.gone = ours = True
        task.cancel()

    watcher = asyncio.create_task(watch())
    try:
        yield
    except asyncio.CancelledError:
        if not ours or task.uncancel():
            raise
        raise ConnectionResetError('the client has left') from None
    finally:
        watcher.cancel()
        await asyncio.gather(watcher, return_exceptions=True)


def content_length_of(method: str, status: int, headers: Headers, body: bytes) -> int | None:
    """Give the Content-Length of a response; None where it has none (RFC 9110 8.6)."""
    if status in (204, 205):
        return 0 if status == 205 else None
    if 'Content-Length' in headers and (method == 'HEAD' or status == 304):
        return given_length(headers)
    return None if status == 304 or (method == 'HEAD' and not body) else len(body)


AT_ONCE = struct.pack('ii', 1, 0)  # linger: no bytes are sent any more, but a reset


def reset_connection(transport: Any) -> None:
    """End a connection so that its peer takes nothing for the end of a body."""
    if transport is not None:
        on_socket = transport.get_extra_info('socket')
        on_socket.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, AT_ONCE)
        transport.abort()
