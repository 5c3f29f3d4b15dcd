"""Read response bodies, whole or as a stream, and decode their content codings.

``into`` turns them into what the request asks for; the body of a request is in ``request_body``.
"""

from __future__ import annotations

import asyncio
import math
import ssl
import warnings
from collections.abc import AsyncIterator, Callable, Iterator
from typing import Any, NamedTuple, Protocol

import aiohttp
from aiohttp.http import HttpProcessingError
from aiohttp.http_exceptions import LineTooLong

from ..bodies.codings import TOO_LARGE, Decoder, decode_body, decoder_for, within_limit
from ..bodies.stream import read_arrived
from ..errors import BodyTooLarge, Error, ProtocolError, TimedOut
from ..headers import Headers
from ..types import Progress
from .protocol import ResponseProtocol, is_chunked

__all__ = [
    'DecodedBody',
    'FromConnection',
    'HttpProcessingError',
    'InMemory',
    'LineTooLong',
    'ReadOptions',
    'ReceivedResponse',
    'ResponseSource',
    'arrived_body',
    'check_end',
    'is_self_delimited',
    'read_response_body',
]


class ResponseSource(Protocol):
    """Where the bytes of a response body come from; ``is_empty`` tells that there is no body."""

    is_empty: bool

    @property
    def is_pending(self) -> bool:
        """Whether neither a byte of the body nor its end has arrived."""
        ...

    async def read(self, seconds: float | None) -> bytes:
        """Return the bytes that have arrived, else wait for some.

        Args:
            seconds: To wait at most; ``None`` is no limit.

        Returns:
            Some bytes; empty at the end of the body.

        Raises:
            TimedOut: Nothing arrived in time.
        """
        ...

    def finish(self) -> None:
        """Raise an error if the body ended because the connection was cut off."""

    def release(self) -> None:
        """Free the connection, because the body was read to its end."""

    def close(self, error: Exception) -> None:
        """Drop the rest of the body; reads raise ``error`` from now on."""

    async def stop(self) -> None:
        """Stop sending the request body, and wait until that is done."""


class Held(Protocol):
    """What holds a connection until the response body was read.

    ``is_sending`` tells whether a task sends the request body.
    """

    is_sending: bool

    def release(self) -> None:
        """Give the connection back to the pool."""

    def close(self) -> None:
        """Close the connection."""

    async def stop(self) -> None:
        """Stop sending the request body, and wait until that is done."""


class FromConnection:
    """A response body that is read from a connection of aiohttp's; a ``ResponseSource``."""

    def __init__(
        self,
        headers: Headers,
        content: aiohttp.StreamReader,
        received: ResponseProtocol,
        held: Held,
    ) -> None:
        self.is_empty: bool = content is aiohttp.EMPTY_PAYLOAD
        self._is_self_delimited = self.is_empty or is_self_delimited(headers)
        self._content, self._connection, self._held = content, received, held
        self._closed: Exception | None = None
        received.watch(content, headers)
        if not content.is_eof():  # else another request may use the connection
            # Stop the timers, aiohttp's too, which run while nobody reads.
            received.expect(None)
            received.protocol.read_timeout = None
            received.protocol.start_timeout()

    @property
    def is_pending(self) -> bool:
        """Whether neither a byte of the body nor its end has arrived."""
        return not (self._content.total_bytes or self._content.is_eof())

    async def read(self, seconds: float | None) -> bytes:
        """Return the bytes that have arrived, else wait for some; empty at the end."""
        content = self._content
        if self._closed:
            raise self._closed
        # Ask again after a wait, because a body that broke in the meantime may look like an end.
        while not (data := self._read_arrived()) and not content.is_eof():
            if data := await self._wait(seconds):
                break
        return data

    def _read_arrived(self) -> bytes:
        content = self._content
        return content.read_nowait() if content.exception() is None else read_arrived(content)

    async def _wait(self, seconds: float | None) -> bytes:
        content, loop = self._content, asyncio.get_running_loop()
        late = TimedOut(f'no more of the body arrived within {seconds} s')
        timer = loop.call_later(seconds, content.set_exception, late) if seconds else None
        try:
            data = await content.readany()
        finally:
            if timer:
                timer.cancel()
        if content.exception() is late:  # the data came in the same turn of the loop
            content.set_exception(None)  # type: ignore[arg-type]
        return data

    def rest(self, limit: int | None) -> bytes | None:
        """Return the whole body, of which nothing was read, if it has arrived without an error.

        Args:
            limit: Bytes of the body; ``None`` is no limit.
        """
        if not self._is_self_delimited or self._closed or self._held.is_sending:
            return None
        return arrived_body(self._content, limit)

    def finish(self) -> None:
        """Raise an error if a body that ends with its connection was cut off."""
        if not self._is_self_delimited:
            check_end(self._connection)

    def release(self) -> None:
        """Give the connection back to the pool."""
        self._held.release()

    def close(self, error: Exception) -> None:
        """Close the connection."""
        self._closed = error
        self._content.set_exception(error)  # for a read that waits
        self._held.close()

    async def stop(self) -> None:
        """Stop sending the request body, and wait until that is done."""
        if self._held.is_sending:
            await self._held.stop()


class InMemory:
    """A response body that is in memory; a ``ResponseSource``."""

    is_pending = False

    def __init__(self, data: Any, *, is_empty: bool) -> None:
        self.is_empty: bool = is_empty
        self._data: bytes = data
        self._closed: Exception | None = None

    async def read(self, seconds: float | None) -> bytes:
        """Return the whole body, and then empty bytes."""
        if self._closed:
            raise self._closed
        data, self._data = self._data, b''
        return data

    def finish(self) -> None:
        """Do nothing: a body in memory is complete."""

    def release(self) -> None:
        """Do nothing: there is no connection."""

    def close(self, error: Exception) -> None:
        """Make reads raise ``error``."""
        self._closed = error

    async def stop(self) -> None:
        """Do nothing: there is nothing to stop."""


class ReadOptions(NamedTuple):
    """How a response body is read as a stream.

    ``raw`` leaves its content codings as they are. ``limit`` is in bytes, after decoding;
    ``seconds`` are for one read; ``None`` is no limit. ``failed`` translates an exception of
    aiohttp's into ours, and returns None for others. ``early`` is for a proxy: a body with a length
    is bytes if it has arrived, and a stream begins with an empty chunk if no byte has arrived yet,
    so that the head can be sent on at once.
    """

    raw: bool
    limit: int | None
    seconds: float | None
    failed: Callable[[BaseException], Error | None]
    early: bool = False


def arrived_body(content: aiohttp.StreamReader, limit: int | None) -> bytes | None:
    """Return a whole body if it has arrived without an error, and passes no limit in bytes."""
    if not content.is_eof() or content.exception() is not None:
        return None
    return None if limit is not None and content.total_bytes > limit else content.read_nowait()


async def read_response_body(
    content: aiohttp.StreamReader,
    headers: Headers,
    received: ResponseProtocol,
    limit: int | None,
    *,
    strict: bool = True,
) -> bytes:
    """Read a whole body and decode it; ``headers`` then describe the decoded body.

    Args:
        content: The body.
        headers: Of the response.
        received: Of the connection.
        limit: In bytes, decoded; ``None`` is no limit.
        strict: Whether a body that ends with its connection must not end in a reset or with TLS
            that is cut off.

    Raises:
        BodyTooLarge: The decoded body passes the limit.
        ProtocolError: The body is broken or was cut off.
        OSError: The connection was reset in the body.
    """
    self_delimited = content is aiohttp.EMPTY_PAYLOAD or is_self_delimited(headers)
    received.watch(content, headers)
    if 'Content-Encoding' in headers:
        data = await decode_body(content.iter_any(), headers, limit)
    elif content.is_eof():  # the whole body arrived with the head
        data = within_limit(content.read_nowait(), limit)
    else:
        data = await _read_plain(content, limit)
    if strict and not self_delimited:
        check_end(received)
    return data


async def _read_plain(content: aiohttp.StreamReader, limit: int | None) -> bytes:
    pieces, left = [], math.inf if limit is None else limit
    while piece := await content.readany():
        left -= len(piece)
        if left < 0:
            raise BodyTooLarge(TOO_LARGE)
        pieces.append(piece)
    return b''.join(pieces)


class DecodedBody:
    """Iterate over the decoded chunks of a response body; ``headers`` then describe those.

    The end of the body releases the source. ``close``, an error and a cancellation before the end
    close it.
    """

    def __init__(self, headers: Headers, source: ResponseSource, options: ReadOptions) -> None:
        self._source = source
        self._options = options
        self._length = 0 if source.is_empty else _length(headers)
        self._received = 0  # bytes, before decoding
        self._reported: int | None = None  # bytes, at the last call of on_progress
        self._on_progress: Progress | None = None
        limit = options.limit
        self._decoder: Decoder | None = None  # if chunks are returned as they come
        if not options.raw and 'Content-Encoding' in headers:
            self._decoder = decoder_for(headers, limit)
        elif limit is not None:
            self._decoder = Decoder((), limit)
        coded = self._decoder is not None and bool(self._decoder.stages)
        self.decoded: bool = coded and not source.is_empty
        if self.decoded:
            headers.popall('Content-Encoding')
            headers.popall('Content-Length', None)
        self._pieces: Iterator[bytes] = iter((b'',) * (options.early and source.is_pending))
        self._loop = asyncio.get_running_loop()
        self._done = False  # whether the source is released or closed
        self._ended = False

    def __del__(self) -> None:
        if not self._done:
            if not self._loop.is_closed():
                self.close('it was garbage-collected')
            # Last, because a filter may turn the warning into an exception.
            what = 'a body was neither read nor closed'
            warnings.warn(what, ResourceWarning, stacklevel=1, source=self)

    def __aiter__(self) -> AsyncIterator[bytes]:
        return self

    def watch(self, on_progress: Progress, reported: int | None = None) -> None:
        """Call ``on_progress`` with the bytes that were received and the length of the body.

        It is called before the bytes are returned to the reader, and once for an empty body. The
        length is None if it is unknown. What the function raises, the read raises.

        Args:
            on_progress: The function.
            reported: Bytes that were reported before: 0 prevents the call for an empty body.
        """
        self._on_progress, self._reported = on_progress, reported

    def rest(self) -> bytes | None:
        """Return the whole body, and free its connection, if it has arrived and needs no work.

        That is, if nothing of it was read, and it is not to be decoded.
        """
        source = self._source
        if self._done or self._received or self.decoded or self._on_progress:
            return None
        data = source.rest(self._options.limit) if isinstance(source, FromConnection) else None
        if data is not None:
            self._pieces = iter(())
            self._ended = self._done = True
            self._source.release()
        return data

    async def __anext__(self) -> bytes:
        if self._ended:  # a read of aiohttp's response fails once it is released
            raise StopAsyncIteration
        piece = await self._next()
        if self._on_progress and self._received != self._reported:
            await self._report(self._on_progress)
        if piece is None:
            raise StopAsyncIteration
        return piece

    async def _next(self) -> bytes | None:
        try:
            while (piece := next(self._pieces, None)) is None:
                if not (data := await self._source.read(self._options.seconds)):
                    if self._decoder is not None:
                        self._decoder.finish()
                    self._source.finish()
                    break
                self._received += len(data)
                self._pieces = iter((data,)) if self._decoder is None else self._decoder.feed(data)
        except BaseException as error:
            self.close('an earlier read failed')
            await self._source.stop()
            if ours := self._options.failed(error):
                raise ours from error
            raise
        if piece is None:
            self._ended = self._done = True
            self._source.release()
            await self._source.stop()
        return piece

    async def _report(self, on_progress: Progress) -> None:
        self._reported = self._received
        try:
            on_progress(self._received, self._length)
        except BaseException as error:
            self.close('on_progress raised an exception')
            await self._source.stop()
            if isinstance(error, StopAsyncIteration):  # it would look like the end of the body
                raise RuntimeError('on_progress raised StopAsyncIteration') from error
            raise

    def close(self, why: str = 'it was closed') -> None:
        """Close the source unless the end was read; later reads raise a ProtocolError."""
        if not self._done:
            self._done = True
            self._pieces = iter(())
            self._source.close(ProtocolError(f'the body cannot be read: {why}'))

    async def aclose(self) -> None:
        """Close the source, and wait until nothing of the request is sent any more."""
        self.close()
        if not self._ended:
            await self._source.stop()


def is_self_delimited(headers: Headers) -> bool:
    """Tell whether a body has a length or chunks, and so does not end with its connection."""
    return 'Content-Length' in headers or is_chunked(headers)


def _length(headers: Headers) -> int | None:
    length = headers.get('Content-Length')
    return None if length is None or 'Transfer-Encoding' in headers else int(length)


def check_end(received: ResponseProtocol) -> None:
    """Raise an error if a body that ends with its connection may be cut off.

    aiohttp takes such a body as complete after a reset, and after TLS that ends without
    close_notify (RFC 9112 9.8).
    """
    error = received.protocol.exception()
    if isinstance(error, OSError):
        raise error
    if received.tls and not _has_close_notify(received.tls):
        raise ProtocolError('the TLS connection was cut off, so the body may be incomplete')


def _has_close_notify(tls: ssl.SSLObject) -> bool:
    """Tell whether close_notify has arrived, which asyncio and uvloop do not tell."""
    try:
        return tls.read(1) == b''
    except ssl.SSLZeroReturnError:
        return True
    except ssl.SSLError:
        return False


class ReceivedResponse(NamedTuple):
    """The head of a response, and its body: bytes, or a stream."""

    status: int
    reason: str | None
    version: Any
    headers: Headers
    data: bytes | DecodedBody
    peer: str | None
