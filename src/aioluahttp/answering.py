"""A response table given to an engine of others, which does the framing."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator
from contextlib import aclosing, asynccontextmanager, closing
from os import PathLike
from typing import Any, BinaryIO, Protocol

from .answers import chunks_of
from .checks import flows
from .conversion import wire_body
from .headers import ONE_HOP, Headers, given_length
from .outgoing import NO_BODY, PHRASES, is_silent, length_of
from .selection import Selected, select
from .tables import Response

__all__ = ['Writes', 'answer', 'until_left']

Start = tuple[int, str | None]  # a status, and the phrase that is to go with it

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


async def answer(line: Writes, method: str, asked: Headers, response: Response[Any]) -> int:
    """Write the answer that a table is, and give its status.

    Args:
        asked: The headers of the request.
        response: In normal form, without a ``websocket``.
    """
    headers, body = response['headers'].copy(), response['body']
    start: Start = response['status'], response.get('reason')
    if isinstance(body, str | bytes):
        await _whole(line, method, start, headers, wire_body(headers, body))
    elif isinstance(body, PathLike):
        async with until_left(line):
            return await _path(line, method, asked, start, headers, body)
    elif flows(body):
        async with until_left(line):
            await _flow(line, method, start, headers, body)
    else:
        wire_body(headers, body)  # raises what is to be said of it
    return start[0]


async def _whole(line: Writes, method: str, start: Start, headers: Headers, data: bytes) -> None:
    status, reason = start
    # The length of what is not sent engines leave out of a 304, or take for a mistake.
    length = None if status == 304 else length_of(method, status, headers, data)
    framed = _framed(headers, length)
    await line.whole(status, reason, framed, b'' if is_silent(method, status) else data)


def _framed(headers: Headers, length: int | None) -> Headers:
    """Give the headers that go out: what is for one hop is the engine's, but for a close."""
    kept = Headers([pair for pair in headers.items() if pair[0].lower() not in ONE_HOP])
    if 'close' in ','.join(headers.getall('Connection', ())).lower():
        kept['Connection'] = 'close'
    if length is not None:
        kept['Content-Length'] = str(length)
    return kept


async def _flow(line: Writes, method: str, start: Start, headers: Headers, body: Any) -> None:
    """Send each chunk as it comes; the head goes with the first, so a mistake before is a 500."""
    chunks = chunks_of(headers, body)
    async with aclosing(chunks):
        if is_silent(method, start[0]):
            await _whole(line, method, start, headers, b'')
            return
        length = given_length(headers)
        chunks.length = length
        async for data in chunks:
            if not line.begun:
                await line.start(*start, _framed(headers, length))
            await line.write(data)
        if not line.begun:
            await line.start(*start, _framed(headers, length))
        await line.end()


async def _path(
    line: Writes, method: str, asked: Headers, start: Start, headers: Headers, path: Any
) -> int:
    """Send a file, or a part of it, or none as the request asks; 404 if there is no file."""
    status, reason = start
    if status in NO_BODY:
        await _whole(line, method, start, headers, b'')
        return status
    found = await _selected(path, method, asked, status)
    if found is None:
        missing = Headers({'Content-Type': 'text/plain; charset=utf-8'})
        await _whole(line, method, (404, None), missing, PHRASES[404].encode())
        return 404
    fields = Headers(found.fields)
    kept = [
        pair
        for pair in headers.items()
        if pair[0] not in fields or pair[0].lower() == 'content-type'
    ]
    start = found.status, reason if found.status == status else None
    headers = Headers(kept)
    for name, value in fields.items():
        headers.setdefault(name, value)
    framed = _framed(headers, None if found.status == 304 else found.size)
    if found.file is None:
        await line.whole(*start, framed, b'')
        return found.status
    with closing(found.file) as file:
        await line.start(*start, framed)
        if found.status != status or not await line.file(found.path):
            await _pieces(line, file, found)
    return found.status


async def _pieces(line: Writes, file: BinaryIO, found: Selected) -> None:
    left = found.size
    while left:
        data = await asyncio.to_thread(file.read, min(left, PIECE))
        if not data:  # the client would wait for the rest
            raise OSError(f'{found.path} has become shorter while it was sent')
        left -= len(data)
        await line.write(data)
    await line.end()


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
