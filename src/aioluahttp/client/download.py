"""Download a response body to a file, or resume a download that broke off."""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable, Callable
from contextlib import suppress
from hashlib import sha256
from mmap import mmap
from typing import Any

from ..bodies.chunks import in_thread, start_thread, wait_for_thread
from ..bodies.codings import TOO_LARGE
from ..bodies.stream import Stream
from ..errors import BodyTooLarge, ProtocolError, TableError, shown
from ..headers import Headers
from ..tables.checks import progress_of
from ..tables.models import Request, Response, describe_request
from .part_file import NewFile, ResumableFile, parse_content_range, validator_of

__all__ = ['download_to_file']

BATCH = 4 * 1024 * 1024  # bytes to write in one thread call: with fewer, the calls cost more
PAUSE = 1.0  # seconds after which fewer are written, so that a killed process loses no more
PARTIAL, NOT_SATISFIABLE = 206, 416

Send = Callable[[Request], Awaitable[Response[Any]]]


async def download_to_file(request: Request, send: Send) -> Response[Any]:
    """Send a request, and write the response body to the file that ``into`` names.

    Args:
        request: In normal form.
        send: Sends it; a response body that is to be written is a stream.

    Raises:
        TableError: The method is HEAD, whose response has no body; nothing was sent.
        OSError: The file cannot be written. If it cannot be created, nothing was sent.
        Error: The request failed, or the body is not what was requested.
    """
    path = request['into']
    if request['method'] == 'HEAD':
        raise TableError.of('into', path, "'text' for HEAD, whose response has no body")
    part = ResumableFile(path, _source(request)) if request.get('resume') else None
    sink = part or NewFile(path)
    try:
        await in_thread(sink.open)
        response = await (_resume(request, part, send) if part else send(request))
        if isinstance(response['body'], Stream):
            async with response['body'] as stream:
                length = await _prepare_part(part, request, response) if part else None
                received = await _write_stream(stream, sink)
            if part:
                _check_known_length(request, part.start + received, length)
            response['body'] = path
        if response['body'] is path:
            await in_thread(sink.keep)
    finally:
        if sink.is_open:
            await in_thread(sink.drop)
    return response


async def _write_stream(stream: Stream, sink: NewFile) -> int:
    """Write a stream to a file, and return its number of bytes."""
    batches = Batches(sink)
    try:
        async for piece in stream:
            await batches.add(piece)
    except BaseException:
        with suppress(OSError):  # the first exception is the one to raise
            await batches.end()
        raise
    await batches.end()
    return batches.received


class Batches:
    """Two buffers: one is written in a thread while the other is filled.

    What has arrived is written after ``PAUSE`` seconds, even if the peer sends nothing more.

    Pieces are copied, so that each is freed at once: if many are held, malloc returns their memory
    to the system and takes it again, which costs more than the copy. Untouched pages of the
    buffers take no memory.
    """

    def __init__(self, sink: NewFile) -> None:
        self.received: int = 0
        self._sink = sink
        self._filled, self._other = (memoryview(mmap(-1, BATCH)) for _ in range(2))
        self._size = 0
        self._writing: asyncio.Future[None] | None = None
        self._loop = asyncio.get_running_loop()
        self._timer = self._loop.call_later(PAUSE, self._write_on_time)

    async def add(self, piece: bytes) -> None:
        """Add bytes, and wait while there is no room for them."""
        rest = memoryview(piece)
        self.received += len(piece)
        while rest:
            taken = rest[: BATCH - self._size]
            end = self._size + len(taken)
            self._filled[self._size : end] = taken
            self._size, rest = end, rest[len(taken) :]
            if end == BATCH:
                await self._write()

    async def end(self) -> None:
        """Write the remaining bytes, and wait until they are written."""
        self._timer.cancel()
        await self._write()
        await self._wait_for_write()

    async def _write(self) -> None:
        await self._wait_for_write()
        self._start_write()

    def _start_write(self) -> None:
        if self._size:
            self._writing = start_thread(self._sink.write, self._filled[: self._size])
            self._filled, self._other, self._size = self._other, self._filled, 0

    def _write_on_time(self) -> None:
        self._timer = self._loop.call_later(PAUSE, self._write_on_time)
        writing = self._writing
        if writing is None or (writing.done() and writing.exception() is None):
            self._start_write()

    async def _wait_for_write(self) -> None:
        if self._writing:
            await wait_for_thread(self._writing)


# Resuming


async def _resume(request: Request, part: ResumableFile, send: Send) -> Response[Any]:
    """Request the missing bytes; if the response does not fit the part, request the whole."""
    response = await send(_range_request(request, part))
    status, body = response['status'], response['body']
    if not part.start or status not in (PARTIAL, NOT_SATISFIABLE):
        return response
    same_url = part.notes is not None and part.notes.target == _url_of_file(response)
    if status == PARTIAL:
        if not isinstance(body, Stream) or (same_url and _continues(part, response)):
            return response
        await body.close()
        if same_url:  # the server ignores If-Range, and would do so again
            await in_thread(part.begin, '', None, None)
    elif same_url and _is_complete(part, response['headers']):
        if on_progress := progress_of(request, 'download'):
            on_progress(part.start, part.start)
        response['body'] = request['into']
        return response
    part.start = 0
    return await send(_range_request(request, part))


def _source(request: Request) -> str:
    return _hash('{scheme}://{host}:{port}{url}'.format_map(request))


def _url_of_file(response: Response[Any]) -> str:
    """Hash the URL that redirects led to, whose validators hold for it alone.

    The query is left out, for it may be a signature that changes.
    """
    return _hash(response['url'].partition('?')[0])


def _hash(url: str) -> str:
    """Hash a URL: it may be secret, and the notes are a file."""
    return sha256(url.encode('utf-8', 'surrogateescape')).hexdigest()


def _range_request(request: Request, part: ResumableFile) -> Request:
    headers = Headers(request['headers'])
    headers.setdefault('Accept-Encoding', 'identity')  # ranges count encoded bytes
    if part.start and part.notes:
        headers['Range'] = f'bytes={part.start}-'
        headers['If-Range'] = part.notes.validator
    ranged = request | {'headers': headers}
    if on_progress := progress_of(request, 'download'):

        def download(done: int, total: int | None) -> None:
            on_progress(part.start + done, None if total is None else part.start + total)

        upload = progress_of(request, 'upload')
        ranged['on_progress'] = {'upload': upload, 'download': download}
    return ranged


def _is_complete(part: ResumableFile, headers: Headers) -> bool:
    """Tell whether a 416 response says that no bytes are missing."""
    found = parse_content_range(headers.get('Content-Range', ''))
    known = part.notes.length if part.notes else None
    return (
        found is not None
        and found.length == part.start
        and known in (None, part.start)
        and _is_same_version(part, headers)
    )


def _is_same_version(part: ResumableFile, headers: Headers) -> bool:
    """Tell whether a response has the validator of the part, or has none."""
    validator = part.notes.validator if part.notes else ''
    return validator == headers.get(
        'ETag' if validator.startswith('"') else 'Last-Modified', validator
    )


async def _prepare_part(
    part: ResumableFile, request: Request, response: Response[Any]
) -> int | None:
    """Empty the part, or check that the response continues it.

    Returns:
        The length that the file must have in the end; None if unknown or checked elsewhere.
    """
    if response['status'] == PARTIAL:
        return _check_continuation(part, request, response)
    length = response['headers'].get('Content-Length')
    coded = response['body'].decoded  # then ranges do not count the bytes of the file
    validator = None if coded else validator_of(response['headers'])
    known = None if length is None else int(length)
    await in_thread(part.begin, _url_of_file(response), validator, known)
    return None  # the transport checks Content-Length


def _continues(part: ResumableFile, response: Response[Any]) -> bool:
    """Tell whether a 206 response continues the part, with bytes of the same version."""
    headers = response['headers']
    found = parse_content_range(headers.get('Content-Range', ''))
    known = part.notes and part.notes.length
    return (
        found is not None
        and found.first == part.start
        and (found.length is None or known in (None, found.length))
        and _is_same_version(part, headers)
        and not response['body'].decoded
    )


def _check_continuation(part: ResumableFile, request: Request, response: Response[Any]) -> int:
    """Check that a 206 response was requested; return the length of the file with its bytes."""
    given = response['headers'].get('Content-Range', '')
    found = parse_content_range(given)
    if not part.start or found is None or found.last is None:
        what = f'a 206 with Content-Range {shown(given)}, but the whole file was requested'
        raise ProtocolError(f'{describe_request(request)}: {what}')
    limit = request.get('max_body')
    # The transport counts what it receives, not what the part has already.
    if limit is not None and found.last >= limit:
        raise BodyTooLarge(f'{describe_request(request)}: {TOO_LARGE}')
    return (part.notes and part.notes.length) or found.length or found.last + 1


def _check_known_length(request: Request, size: int, length: int | None) -> None:
    if length is not None and size != length:
        raise ProtocolError(f'{describe_request(request)}: {size} of {length} bytes were received')
