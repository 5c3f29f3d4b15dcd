"""The body of an answer: read whole, or as it comes."""

from __future__ import annotations

import asyncio
import ssl
import warnings
from collections.abc import AsyncIterator, Callable, Iterator
from typing import Any, NamedTuple, Protocol, TypeAlias

import aiohttp

from ..bodies.codings import Decoder, decode_body, decoder_for
from ..errors import BodyTooLarge, Error, ProtocolError, TimedOut
from ..headers import Headers
from .request_body import BodyDelivery

__all__ = [
    'DecodedBody',
    'FromConnection',
    'InMemory',
    'Progress',
    'ReadOptions',
    'ReceivedResponse',
    'ResponseSource',
    'read_response_body',
]

Progress: TypeAlias = Callable[[int, int | None], object]


class ResponseSource(Protocol):
    """Where the body of one answer comes from; ``is_empty`` tells whether there is none."""

    is_empty: bool

    @property
    def is_waited_for(self) -> bool:
        """Whether nothing of it has come, nor its end."""
        ...

    async def read(self, seconds: float | None) -> bytes:
        """Read what there is, or wait for it, for a time; nothing at the end."""
        ...

    def finish(self) -> None:
        """Make sure that the end was one in good order."""

    def release(self) -> None:
        """Take note that all was read."""

    def close(self, error: Exception) -> None:
        """Give up what was not read, and raise an exception for who goes on reading."""

    async def stop(self) -> None:
        """Wait until nothing is sent any more of what this is the answer to."""


class FromConnection:
    """What comes over a connection of aiohttp's; a ``ResponseSource``.

    ``held`` is what keeps the connection from others until it is released or closed: aiohttp's
    connection, or its response. ``delivery`` may still be sending what this is the answer to.
    """

    def __init__(
        self,
        headers: Headers,
        content: aiohttp.StreamReader,
        protocol: Any,
        tls: ssl.SSLObject | None,
        held: Any,
        delivery: BodyDelivery | None = None,
    ) -> None:
        self.is_empty: bool = content is aiohttp.EMPTY_PAYLOAD
        self._ends_itself = _ends_itself(headers, content)
        self._content, self._protocol, self._tls = content, protocol, tls
        self._held, self._delivery = held, delivery
        if not content.is_eof():  # else the connection may be with another request
            # aiohttp's own timer runs while nobody reads, too.
            protocol.read_timeout = None
            protocol.start_timeout()

    @property
    def is_waited_for(self) -> bool:
        """Whether nothing of it has come, nor its end."""
        return not (self._content.total_bytes or self._content.is_eof())

    async def read(self, seconds: float | None) -> bytes:
        """Read what there is, or wait for it, for a time; nothing at the end."""
        content, loop = self._content, asyncio.get_running_loop()
        # Twice, for one that has broken while it was waited for may look as if it ended.
        while not (data := content.read_nowait()) and not content.is_eof():
            what = TimedOut(f'nothing more of the body came within {seconds} s')
            timer = loop.call_later(seconds, content.set_exception, what) if seconds else None
            try:
                if data := await content.readany():
                    break
            finally:
                if timer:
                    timer.cancel()
        return data

    def finish(self) -> None:
        """Make sure that the end was one in good order."""
        if not self._ends_itself:
            _check_end(self._protocol, self._tls)

    def release(self) -> None:
        """Give the connection back."""
        self._held.release()

    def close(self, error: Exception) -> None:
        """Close the connection."""
        self._content.set_exception(error)
        self._held.close()

    async def stop(self) -> None:
        """Send no more, and wait until that is so."""
        if self._delivery:
            await self._delivery.stop()


class InMemory:
    """The body of an answer that is there; a ``ResponseSource``."""

    is_waited_for = False

    def __init__(self, data: Any, *, is_empty: bool) -> None:
        self.is_empty: bool = is_empty
        self._data: bytes = data
        self._closed: Exception | None = None

    async def read(self, seconds: float | None) -> bytes:
        """Give all of it, and then nothing."""
        if self._closed:
            raise self._closed
        data, self._data = self._data, b''
        return data

    def finish(self) -> None:
        """Be content."""

    def release(self) -> None:
        """Be done."""

    def close(self, error: Exception) -> None:
        """Give nothing more."""
        self._closed = error

    async def stop(self) -> None:
        """Be done: nobody gives."""


class ReadOptions(NamedTuple):
    """How a body is read as it comes.

    ``raw`` leaves its codings as they are. ``limit`` is in bytes, ``seconds`` are for one read;
    ``None`` is no limit. ``failed`` gives our exception for one of aiohttp's, None for others.
    ``early`` has it begin with an empty chunk where none is there yet, for who passes the head on.
    """

    raw: bool
    limit: int | None
    seconds: float | None
    failed: Callable[[BaseException], Error | None]
    early: bool = False


async def read_response_body(
    content: aiohttp.StreamReader,
    headers: Headers,
    protocol: Any,
    tls: Any,
    limit: int | None,
    *,
    strict: bool = True,
) -> bytes:
    """Read a whole body and undo its codings; ``headers`` then describe what there is.

    Args:
        content: The body.
        headers: Those of its answer.
        protocol: That of its connection.
        tls: Likewise.
        limit: In bytes, decoded; ``None`` is no limit.
        strict: Whether one that ends with its connection has to do so in good order.

    Raises:
        BodyTooLarge: The decoded body passes the limit.
        ProtocolError: The body is broken or was cut off.
        OSError: The connection was reset in it.
    """
    ends_itself = _ends_itself(headers, content)
    if 'Content-Encoding' in headers or not content.is_eof():
        data = await decode_body(content.iter_any(), headers, limit)
    else:
        data = content.read_nowait()  # all of it came with the head
        if limit is not None and len(data) > limit:
            raise BodyTooLarge('the body passed max_body')
    if strict and not ends_itself:
        _check_end(protocol, tls)
    return data


class DecodedBody:
    """The decoded bytes of an answer, as they come; ``headers`` then describe them.

    Read to its end it releases its source, and left before that it closes it, as do an error and a
    cancellation.
    """

    def __init__(self, headers: Headers, source: ResponseSource, terms: ReadOptions) -> None:
        self._source = source
        self._terms = terms
        self._length = 0 if source.is_empty else _length(headers)
        self._came = 0  # bytes off the wire
        self._told: int | None = None  # of them
        self._on_progress: Progress | None = None
        self._decoder = Decoder((), terms.limit) if terms.raw else decoder_for(headers, terms.limit)
        self.decoded: bool = bool(self._decoder.stages) and not source.is_empty
        if self.decoded:
            headers.popall('Content-Encoding')
            headers.popall('Content-Length', None)
        self._pieces: Iterator[bytes] = iter((b'',) * (terms.early and source.is_waited_for))
        self._loop = asyncio.get_running_loop()
        self._done = False  # with the source
        self._ended = False

    def __del__(self) -> None:
        if not self._done:
            if not self._loop.is_closed():
                self.close('nobody is there to read it')
            # Behind the rest, for it may be an error.
            what = 'a body was neither read nor closed'
            warnings.warn(what, ResourceWarning, stacklevel=1, source=self)

    def __aiter__(self) -> AsyncIterator[bytes]:
        return self

    def watch(self, on_progress: Progress, told: int | None = None) -> None:
        """Call a function with the bytes that came off the wire, and those that are to come.

        That is before they are given to who reads, and at the end if it was not before. What it
        raises goes to who reads.

        Args:
            told: 0 where it is not to be told of a body that is empty.
        """
        self._on_progress, self._told = on_progress, told

    async def __anext__(self) -> bytes:
        if self._ended:  # aiohttp's response, once released, lets any other read fail
            raise StopAsyncIteration
        piece = await self._next()
        if self._on_progress and self._came != self._told:
            await self._tell(self._on_progress)
        if piece is None:
            raise StopAsyncIteration
        return piece

    async def _next(self) -> bytes | None:
        try:
            while (piece := next(self._pieces, None)) is None:
                if not (data := await self._source.read(self._terms.seconds)):
                    self._decoder.finish()
                    self._source.finish()
                    break
                self._came += len(data)
                self._pieces = self._decoder.feed(data)
        except BaseException as error:
            self.close('reading it failed before')
            await self._source.stop()
            if ours := self._terms.failed(error):
                raise ours from error
            raise
        if piece is None:
            self._ended = self._done = True
            self._source.release()
            await self._source.stop()
        return piece

    async def _tell(self, on_progress: Progress) -> None:
        self._told = self._came
        try:
            on_progress(self._came, self._length)
        except BaseException as error:
            self.close('on_progress failed before')
            await self._source.stop()
            if isinstance(error, StopAsyncIteration):  # who reads would take it for the end
                raise RuntimeError('on_progress raised StopAsyncIteration') from error
            raise

    def close(self, why: str = 'it was closed') -> None:
        """Close the source, unless the end was read. Who reads on gets a ProtocolError."""
        if not self._done:
            self._done = True
            self._pieces = iter(())
            self._source.close(ProtocolError(f'the body is gone: {why}'))

    async def aclose(self) -> None:
        self.close()
        await self._source.stop()


def _ends_itself(headers: Headers, content: aiohttp.StreamReader) -> bool:
    if 'Content-Length' in headers or content is aiohttp.EMPTY_PAYLOAD:
        return True
    codings = ','.join(headers.getall('Transfer-Encoding', ()))
    return codings.rpartition(',')[2].strip().lower() == 'chunked'


def _length(headers: Headers) -> int | None:
    length = headers.get('Content-Length')
    return None if length is None or 'Transfer-Encoding' in headers else int(length)


def _check_end(protocol: Any, tls: ssl.SSLObject | None) -> None:
    """Refuse a body that ends with its connection where that was not closed in good order.

    aiohttp takes it after a reset, and after TLS that was cut off (RFC 9112 9.8).
    """
    error = protocol.exception()
    if isinstance(error, OSError):
        raise error
    if tls and not _is_closed(tls):
        raise ProtocolError('the TLS connection was cut off, and the body with it')


def _is_closed(tls: ssl.SSLObject) -> bool:
    """Tell whether close_notify has come; asyncio and uvloop keep it to themselves."""
    try:
        return tls.read(1) == b''
    except ssl.SSLZeroReturnError:
        return True
    except ssl.SSLError:
        return False


class ReceivedResponse(NamedTuple):
    """An answer and its body, whole or as it comes."""

    status: int
    reason: str | None
    version: Any
    headers: Headers
    data: bytes | DecodedBody
    peer: str | None
