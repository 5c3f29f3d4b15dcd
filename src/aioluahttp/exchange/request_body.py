"""Read the body of a request, whole or as a stream, within a size limit."""

from __future__ import annotations

from collections.abc import AsyncIterator, Iterator
from typing import ClassVar

from ..bodies.codings import Decoder, decode_body, decoder_for, read_within, within_limit
from ..bodies.stream import Stream
from ..errors import BodyTooLarge, Error, ProtocolError, Refused, TimedOut
from ..headers import Headers
from ..tables.conversion import body_into
from ..tables.models import Request

__all__ = [
    'BodyParts',
    'RequestChunks',
    'decoder_of',
    'open_request_stream',
    'read_whole',
    'to_refusal',
]


class BodyParts(AsyncIterator[bytes]):
    """The parts of a request body, as an engine gives them."""

    def rest(self) -> bytes | None:
        """Return all that is not read yet if it has arrived; ``None`` if it has to be awaited."""
        return None


async def read_whole(parts: BodyParts, request: Request, into: str, limit: int | None) -> None:
    """Read a whole body into the table of its request, and adapt the headers to the decoded body.

    Args:
        into: ``'text'``, ``'bytes'`` or ``'json'``.
        limit: Size limit of the decoded body in bytes; ``None`` is no limit.

    Raises:
        Refused: The body exceeds the limit, is malformed, is not JSON, or comes too slowly.
    """
    headers = request['headers']
    try:
        if 'Content-Encoding' in headers:  # the limit is for the decoded body
            data = await decode_body(parts, headers, limit)
        elif (rest := parts.rest()) is not None:
            data = within_limit(rest, limit)
        else:
            _check_length(headers, limit)
            data = await read_within(parts, limit)
        request['body'] = body_into(into, data, headers)
    except (BodyTooLarge, ProtocolError, ValueError, OSError) as error:
        raise to_refusal(error) from error


def decoder_of(into: str, headers: Headers, limit: int | None) -> Decoder:
    """Make the decoder of a streamed body, and adapt ``headers`` to the decoded body.

    Raises:
        Refused: Content-Length exceeds the limit.
    """
    decoder = Decoder((), limit) if into == 'raw' else decoder_for(headers, limit)
    if decoder.stages:
        headers.popall('Content-Encoding')
        headers.popall('Content-Length', None)
    _check_length(headers, limit)
    return decoder


def open_request_stream(flow: RequestChunks, request: Request) -> None:
    """Set the body of a request to a ``Stream`` of which nothing is read yet."""
    request['body'] = Stream(flow, request['headers'].get('Content-Type'))


def _check_length(headers: Headers, limit: int | None) -> None:
    length = headers.get('Content-Length', '').lstrip('0')  # int() takes at most 4300 digits
    if limit is not None and int(length or 0) > limit:
        raise Refused(413)


def to_refusal(error: Exception) -> Refused:
    """Turn an error of reading a body into a refusal: 413, 408 or 400."""
    if isinstance(error, BodyTooLarge):
        return Refused(413)
    return Refused(408 if isinstance(error, TimeoutError) else 400)


class RequestChunks:
    """Decoded chunks of a request body. The cause of an error is a ``Refused`` with a status."""

    FAULTS: ClassVar[tuple[type[Exception], ...]] = (BodyTooLarge, ProtocolError, OSError)

    def __init__(self, parts: AsyncIterator[bytes], decoder: Decoder) -> None:
        self._parts = parts
        self._decoder = decoder
        self._decoded: Iterator[bytes] = iter(())

    def __aiter__(self) -> AsyncIterator[bytes]:
        return self

    async def __anext__(self) -> bytes:
        try:
            return await self._next()
        except self.FAULTS as error:
            raise _as_refusal(error) from to_refusal(error)

    async def _next(self) -> bytes:
        while (piece := next(self._decoded, None)) is None:
            try:
                part = await anext(self._parts)
            except StopAsyncIteration:
                self._decoder.finish()
                raise
            self._decoded = self._decoder.feed(part)
        return piece


def _as_refusal(error: Exception) -> Error:
    if isinstance(error, BodyTooLarge):
        return BodyTooLarge(str(error))
    if isinstance(error, TimeoutError):
        return TimedOut(str(error))
    return ProtocolError(f'the body is broken: {error}')
