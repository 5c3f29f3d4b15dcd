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
from ..tables.checks import flows
from ..tables.conversion import wire_body
from ..tables.handlers import chunks_of
from ..tables.models import Response
from .files import Selected, select

__all__ = ['Pieces', 'Ready', 'Writes', 'answer', 'length_of', 'ready', 'reset', 'until_left']

PIECE = 256 * 1024  # bytes of a file that are read at a time: each costs a turn of a thread


class Writes(Protocol):
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


class Ready(NamedTuple):
    """An answer that is ready to be given to an engine.

    Its body is whole, or comes in parts; whoever reads these has to close them. ``length`` is in
    bytes, None where it is not known, or not said. ``path`` is that of a file, where the body is
    all of it.
    """

    status: int
    reason: str | None
    headers: Headers
    length: int | None
    body: bytes | Chunks | Pieces
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


async def ready(method: str, asked: Headers, response: Response[Any]) -> Ready:
    """Make ready the answer that a table is.

    Args:
        method: Of the request.
        asked: The headers of the request.
        response: In normal form, without a ``websocket``.
    """
    headers, body = response['headers'].copy(), response['body']
    status, reason = response['status'], response.get('reason')
    if isinstance(body, str | bytes):
        return _whole(method, status, reason, headers, wire_body(headers, body))
    if isinstance(body, PathLike):
        return await _path(method, asked, status, reason, headers, body)
    if not flows(body):
        wire_body(headers, body)  # raises what is to be said of it
    chunks = chunks_of(headers, body)
    if is_silent(method, status):
        await chunks.aclose()
        return _whole(method, status, reason, headers, b'')
    try:
        chunks.length = given_length(headers)
    except TableError:
        await chunks.aclose()
        raise
    return Ready(status, reason, headers, chunks.length, chunks)


def _whole(method: str, status: int, reason: str | None, headers: Headers, data: bytes) -> Ready:
    length = length_of(method, status, headers, data)
    return Ready(status, reason, headers, length, b'' if is_silent(method, status) else data)


async def _path(
    method: str, asked: Headers, status: int, reason: str | None, headers: Headers, path: Any
) -> Ready:
    """Make ready a file, or a part of it, or none as the request asks; 404 if there is no file."""
    if status in NO_BODY:
        return _whole(method, status, reason, headers, b'')
    found = await _selected(path, method, asked, status)
    if found is None:
        missing = Headers({'Content-Type': 'text/plain; charset=utf-8'})
        return _whole(method, 404, None, missing, PHRASES[404].encode())
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
        return Ready(*start, None if found.status == 304 else found.size, b'')
    whole = found.path if found.status == status else None
    return Ready(*start, found.size, Pieces(found.file, found), whole)


async def answer(line: Writes, method: str, asked: Headers, response: Response[Any]) -> int:
    """Write the answer that a table is, and give its status; the arguments are those of ``ready``.

    A client that leaves is noticed where that may take long.
    """
    if isinstance(response['body'], str | bytes):
        return await _write(line, await ready(method, asked, response))
    async with until_left(line):
        return await _write(line, await ready(method, asked, response))


async def _write(line: Writes, out: Ready) -> int:
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


class Pieces:
    """The pieces of an open file, read in a thread."""

    def __init__(self, file: BinaryIO, selected: Selected) -> None:
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


async def _selected(path: Any, method: str, asked: Headers, status: int) -> Selected | None:
    """Select in a thread, which opens a file; cancelled, it is closed."""
    selecting = asyncio.ensure_future(asyncio.to_thread(select, path, method, asked, status))
    try:
        return await asyncio.shield(selecting)
    except asyncio.CancelledError:
        found = await selecting
        if found is not None and found.file is not None:
            found.file.close()
        raise


@asynccontextmanager
async def until_left(line: Writes) -> AsyncIterator[None]:
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


def length_of(method: str, status: int, headers: Headers, body: bytes) -> int | None:
    """Give the Content-Length of a response; None where it has none (RFC 9110 8.6)."""
    if status in (204, 205):
        return 0 if status == 205 else None
    if 'Content-Length' in headers and (method == 'HEAD' or status == 304):
        return given_length(headers)
    return None if status == 304 or (method == 'HEAD' and not body) else len(body)


AT_ONCE = struct.pack('ii', 1, 0)  # linger: no bytes are sent any more, but a reset


def reset(transport: Any) -> None:
    """End a connection so that its peer takes nothing for the end of a body."""
    if transport is not None:
        on_socket = transport.get_extra_info('socket')
        on_socket.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, AT_ONCE)
        transport.abort()
