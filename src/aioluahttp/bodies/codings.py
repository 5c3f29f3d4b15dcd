"""Decode content codings, within a limit on the body and up to their end (RFC 9110 8.4).

Their encoding is in ``encoders``.
"""

from __future__ import annotations

import math
import zlib
from collections.abc import AsyncIterable, Iterator
from typing import Any

from ..errors import BodyTooLarge, ProtocolError
from ..headers import Headers

__all__ = ['ACCEPT_ENCODING', 'DECODED_BY_AIOHTTP', 'Decoder', 'decode_body', 'decoder_for']

ACCEPT_ENCODING = 'gzip, deflate'

CODINGS = frozenset({'gzip', 'x-gzip', 'deflate'})
DECODED_BY_AIOHTTP = frozenset(
    {'gzip', 'deflate', 'br', 'zstd'}
)  # by aiohttp, if it decodes: a single coding
STEP = 64 * 1024  # bytes decoded at a time, and so what a bomb can cost beyond the limit
MEMBERS = 1000  # gzip streams in one body: each costs an allocation, however short it is
CHAIN = 2  # codings on top of each other: each multiplies what a small body can decode to


def decoder_for(headers: Headers, limit: int | None) -> Decoder:
    """Return the decoder for a body with these headers.

    Unknown codings, or more than ``CHAIN``, leave the body as it came.
    """
    names = [
        name
        for value in headers.getall('Content-Encoding', ())
        for part in value.split(',')
        if (name := part.strip().lower()) and name != 'identity'
    ]
    known = len(names) <= CHAIN and CODINGS.issuperset(names)
    return Decoder(names if known else (), limit)


async def decode_body(chunks: AsyncIterable[bytes], headers: Headers, limit: int | None) -> bytes:
    """Read and decode a whole body.

    If anything was decoded, Content-Encoding and Content-Length are removed from ``headers``.

    Raises:
        BodyTooLarge: The decoded body passes the limit.
        ProtocolError: The body is broken or was cut off.
    """
    decoder = decoder_for(headers, limit)
    pieces: list[bytes] = []
    async for chunk in chunks:
        pieces.extend(decoder.feed(chunk))
    decoder.finish()
    if any(stage.started for stage in decoder.stages):
        headers.popall('Content-Encoding')
        headers.popall('Content-Length', None)
    return b''.join(pieces)


class Decoder:
    """Decode a body piece by piece: ``feed`` it all bytes that were received, then ``finish``.

    Args:
        codings: In the order in which they were applied.
        limit: Bytes of the decoded body; ``None`` is no limit.
    """

    def __init__(self, codings: list[str] | tuple[()], limit: int | None) -> None:
        self.left = math.inf if limit is None else limit
        # Input is limited too, for input that decodes to nothing costs time. Compressed data that
        # is honest is never twice as long as what it decodes to.
        self.stages: list[_Stage] = [
            _Stage(coding, 2 * self.left + STEP) for coding in reversed(codings)
        ]

    def feed(self, data: bytes) -> Iterator[bytes]:
        """Decode the next bytes, into pieces of bounded size; without codings, into one piece.

        Raises:
            BodyTooLarge: The decoded body passes the limit.
            ProtocolError: The bytes are not valid in the coding.
        """
        # zlib copies the input that it has not read yet at each step, so it gets little at a time.
        step = STEP if self.stages else len(data) or 1
        pieces: Iterator[bytes] = (
            data[start : start + step] for start in range(0, len(data), step)
        )
        for stage in self.stages:
            pieces = stage.decode(pieces)
        for piece in pieces:
            self.left -= len(piece)
            if self.left < 0:
                raise BodyTooLarge('the body passed max_body')
            yield piece

    def finish(self) -> None:
        """Check that every coding has reached its end.

        Raises:
            ProtocolError: The body was cut off.
        """
        if any(stage.started and not stage.at_end for stage in self.stages):
            raise ProtocolError('the compressed body was cut off')


class _Stage:
    """One coding: a series of zlib streams; only gzip allows more than one."""

    def __init__(self, coding: str, limit: float) -> None:
        self.gzip = coding != 'deflate'
        self.left = limit
        self.members = 0
        self.stream: Any = None  # zlib does not export its type

    @property
    def started(self) -> bool:
        return self.members > 0

    @property
    def at_end(self) -> bool:
        return self.stream is None

    def decode(self, pieces: Iterator[bytes]) -> Iterator[bytes]:
        for data in pieces:
            self.left -= len(data)
            if self.left < 0:
                raise BodyTooLarge('the body passed max_body before it was decoded')
            piece = b''
            # After a full piece the stream may hold more output, although no input is left.
            while data or (self.stream and len(piece) == STEP):
                stream = self.stream or self._open(data[0])
                try:
                    piece = stream.decompress(data, STEP)
                except zlib.error as error:
                    raise ProtocolError(f'the compressed body is broken: {error}') from error
                data = stream.unused_data if stream.eof else stream.unconsumed_tail
                self.stream = None if stream.eof else stream
                if piece:
                    yield piece

    def _open(self, first: int) -> Any:
        self.members += 1
        if self.members > (MEMBERS if self.gzip else 1):
            raise ProtocolError('the compressed body has data after its end')
        if self.gzip:
            return zlib.decompressobj(16 + zlib.MAX_WBITS)
        # RFC 9110 8.4.1.2: deflate is zlib's format, but some peers send it without the header.
        # The low four bits of the header are 8; no headerless stream of theirs starts so.
        return zlib.decompressobj(zlib.MAX_WBITS if first & 15 == 8 else -zlib.MAX_WBITS)
