"""The body of an answer written to a file, from where it broke off if need be."""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable, Callable
from contextlib import suppress
from hashlib import sha256
from mmap import mmap
from typing import Any

from ..bodies.chunks import in_thread, start_thread, wait_for_thread
from ..bodies.stream import Stream
from ..errors import BodyTooLarge, ProtocolError, TableError, shown
from ..headers import Headers
from ..tables.models import Request, Response, described
from .part_file import ContentRange, NewFile, ResumableFile, parse_content_range, validator_of

__all__ = ['download_to_file']

BATCH = 4 * 1024 * 1024  # bytes for one thread: with less, changing between them costs more
PAUSE = 1.0  # seconds after which less is written, for who looks on, or goes on with it
PARTIAL, NOT_SATISFIABLE = 206, 416

Ask = Callable[[Request], Awaitable[Response[Any]]]


async def download_to_file(request: Request, ask: Ask) -> Response[Any]:
    """Send a request, and write the body of its answer to the file that ``into`` names.

    Args:
        request: In normal form.
        ask: Sends it; the body of what it gives is a stream where it is to be written.

    Raises:
        TableError: Of a HEAD request, by whose answer nothing is to be written; nothing was sent.
        OSError: The file cannot be written; where it cannot be made, nothing was sent.
        Error: Of the kinds that say what went wrong.
    """
    path = request['into']
    if request['method'] == 'HEAD':
        raise TableError.of('into', path, "'text' for HEAD, whose answer has no body")
    part = ResumableFile(path, _source(request)) if request.get('resume') else None
    sink = part or NewFile(path)
    try:
        await in_thread(sink.open)
        response = await (_resumed(request, part, ask) if part else ask(request))
        if isinstance(response['body'], Stream):
            async with response['body'] as stream:
                length = await _prepare_part(part, request, response) if part else None
                came = await _pour(stream, sink)
            if part:
                _check_known_length(request, part.start + came, length)
            response['body'] = path
        if response['body'] is path:
            await in_thread(sink.keep)
    finally:
        if sink.is_open:
            await in_thread(sink.drop)
    return response


async def _pour(stream: Stream, sink: NewFile) -> int:
    """Write a stream, and give how many bytes it had."""
    batches = Batches(sink)
    try:
        async for piece in stream:
            await batches.add(piece)
    except BaseException:
        with suppress(OSError):  # it is not the first thing that went wrong
            await batches.end()
        raise
    await batches.end()
    return batches.came


class Batches:
    """Two buffers: one is written in a thread while the other one is filled.

    Pieces are copied, and so gone soon: malloc gives back and takes again what is held longer,
    for more than a copy costs. What is never used of the buffers is no memory.
    """

    def __init__(self, sink: NewFile) -> None:
        self.came: int = 0
        self._sink = sink
        self._filled, self._other = (memoryview(mmap(-1, BATCH)) for _ in range(2))
        self._size = 0
        self._writing: asyncio.Future[None] | None = None
        self._loop = asyncio.get_running_loop()
        self._last = self._loop.time()

    async def add(self, piece: bytes) -> None:
        """Take bytes, and wait as long as there is no room for them."""
        rest = memoryview(piece)
        self.came += len(piece)
        while rest:
            taken = rest[: BATCH - self._size]
            end = self._size + len(taken)
            self._filled[self._size : end] = taken
            self._size, rest = end, rest[len(taken) :]
            if end == BATCH or self._loop.time() > self._last + PAUSE:
                await self._write()

    async def end(self) -> None:
        """Write what is left, and wait for it."""
        if self._size:
            await self._write()
        await self._written()

    async def _write(self) -> None:
        await self._written()
        self._writing = start_thread(self._sink.write, self._filled[: self._size])
        self._filled, self._other, self._size = self._other, self._filled, 0
        self._last = self._loop.time()

    async def _written(self) -> None:
        if self._writing:
            await wait_for_thread(self._writing)


# What goes on


async def _resumed(request: Request, part: ResumableFile, ask: Ask) -> Response[Any]:
    """Ask for what is missing, and once more for all where there is no such part."""
    response = await ask(_range_request(request, part))
    if not part.start or response['status'] not in (PARTIAL, NOT_SATISFIABLE):
        return response
    if part.notes and part.notes.target == _url_of_file(response):
        if response['status'] == PARTIAL:
            return response
        if _is_all(part, response['headers']):
            if on_progress := request.get('on_progress'):
                on_progress(part.start, part.start)
            response['body'] = request['into']
            return response
    if isinstance(response['body'], Stream):
        await response['body'].close()
    part.start = 0
    return await ask(_range_request(request, part))


def _source(request: Request) -> str:
    return _hashed('{scheme}://{host}:{port}{url}'.format_map(request))


def _url_of_file(response: Response[Any]) -> str:
    """Name what redirects led to, whose tags say nothing of another; a query may be a signature."""
    return _hashed(response['url'].partition('?')[0])


def _hashed(url: str) -> str:
    """Name a URL, but not in clear: it may be secret."""
    return sha256(url.encode('utf-8', 'surrogateescape')).hexdigest()


def _range_request(request: Request, part: ResumableFile) -> Request:
    headers = Headers(request['headers'])
    headers.setdefault('Accept-Encoding', 'identity')  # ranges are of what is encoded
    if part.start and part.notes:
        headers['Range'] = f'bytes={part.start}-'
        headers['If-Range'] = part.notes.validator
    asked = request | {'headers': headers}
    if on_progress := request.get('on_progress'):
        asked['on_progress'] = lambda done, total: on_progress(
            part.start + done, None if total is None else part.start + total
        )
    return asked


def _is_all(part: ResumableFile, headers: Headers) -> bool:
    """Tell whether nothing is missing, as an answer with 416 says."""
    found = parse_content_range(headers.get('Content-Range', ''))
    known = part.notes.length if part.notes else None
    return (
        found is not None
        and found.length == part.start
        and known in (None, part.start)
        and _is_same_version(part, headers)
    )


def _is_same_version(part: ResumableFile, headers: Headers) -> bool:
    """Tell whether an answer does not say that it is of another version."""
    validator = part.notes.validator if part.notes else ''
    return validator == headers.get(
        'ETag' if validator.startswith('"') else 'Last-Modified', validator
    )


async def _prepare_part(
    part: ResumableFile, request: Request, response: Response[Any]
) -> int | None:
    """Make the part ready for a body: empty, or to go on; give its length where one has to look."""
    if response['status'] == PARTIAL:
        return _check_continuation(part, request, response)
    length = response['headers'].get('Content-Length')
    coded = response['body'].decoded  # ranges are not of what is written, then
    validator = None if coded else validator_of(response['headers'])
    known = None if length is None else int(length)
    await in_thread(part.begin, _url_of_file(response), validator, known)
    return None  # the transport has looked


def _check_continuation(
    part: ResumableFile, request: Request, response: Response[Any]
) -> int | None:
    """Check that what comes is what was missing; give the length of all where it is known."""
    headers = response['headers']
    given = headers.get('Content-Range', '')
    found = parse_content_range(given)
    length = found and found.length
    known = (part.notes and part.notes.length) or length
    if not (part.start and found and found.first == part.start and length in (None, known)):
        what = f'Content-Range is {shown(given)}; asked for was what is behind {part.start} bytes'
    elif not _is_same_version(part, headers) or response['body'].decoded:
        what = 'the rest that came is of another version'
    else:
        _check_last(request, found)
        return known
    raise ProtocolError(f'{described(request)}: {what}')


def _check_last(request: Request, found: ContentRange) -> None:
    # The transport counts what comes, and not what was there.
    limit = request.get('max_body')
    if limit is not None and (found.last or 0) >= limit:
        raise BodyTooLarge(f'{described(request)}: the body passed max_body')


def _check_known_length(request: Request, size: int, length: int | None) -> None:
    if length is not None and size != length:
        raise ProtocolError(f'{described(request)}: {size} bytes of {length} came')
