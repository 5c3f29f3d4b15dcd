"""Content codings undone, within a limit and up to their own end (RFC 9110 8.4)."""

from __future__ import annotations

import math
import zlib
from collections.abc import AsyncIterable, Iterator
from typing import Any

from ..errors import BodyTooLarge, ProtocolError
from ..headers import Headers

__all__ = ['ACCEPT_ENCODING', 'UNDONE', 'Decoder', 'decode_body', 'decoder_for']

ACCEPT_ENCODING = 'gzip, deflate'

CODINGS = frozenset({'gzip', 'x-gzip', 'deflate'})
UNDONE = frozenset({'gzip', 'deflate', 'br', 'zstd'})  # by aiohttp, where it may: one alone
STEP = 64 * 1024  # bytes decoded at a time: what a bomb can cost beyond the limit
MEMBERS = 1000  # gzip streams in one body: each costs an allocation, however short it is
CHAIN = 2  # codings on top of each other: each multiplies what a small body can become


def decoder_for(headers: Headers, limit: int | None) -> Decoder:
    """Make the decoder for a body with these headers.

    Codings that are unknown, or too many, leave the body as it came.
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
    """Read a whole body and undo its codings; ``headers`` then describe what there is.

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
    """Feed it what comes off the wire, get what the body is.

    Args:
        codings: In the order in which they were applied.
        limit: Bytes of the decoded body; ``None`` is no limit.
    """

    def __init__(self, codings: list[str] | tuple[()], limit: int | None) -> None:
        self.left = math.inf if limit is None else limit
        # What decodes to nothing takes time all the same. No honest stream is twice its text.
        self.stages: list[_Stage] = [
            _Stage(coding, 2 * self.left + STEP) for coding in reversed(codings)
        ]

    def feed(self, data: bytes) -> Iterator[bytes]:
        """Decode the next bytes off the wire, in pieces of bounded size; without codings in one.

        Raises:
            BodyTooLarge: The decoded body passes the limit.
            ProtocolError: The bytes are not what the coding allows.
        """
        # zlib copies what it has not read yet with each step, so it is given little at a time.
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
        """Make sure that every coding has come to its own end.

        Raises:
            ProtocolError: The body was cut off.
        """
        if any(stage.started and not stage.at_end for stage in self.stages):
            raise ProtocolError('the compressed body was cut off')


class _Stage:
    """One coding: a row of zlib streams, of which only gzip allows more than one."""

    def __init__(self, coding: str, limit: float) -> None:
        self.gzip = coding != 'deflate'
        self.left = limit
        self.members = 0
        self.stream: Any = None  # zlib names no type for it

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
            # A full piece may leave output behind in a stream that has no input left.
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
            raise ProtocolError('the compressed body goes on after its end')
        if self.gzip:
            return zlib.decompressobj(16 + zlib.MAX_WBITS)
        # RFC 9110 8.4.1.2: deflate is zlib's format, but some peers send it bare. The low four
        # bits of a zlib header are 8, which no bare stream of theirs starts with.
        return zlib.decompressobj(zlib.MAX_WBITS if first & 15 == 8 else -zlib.MAX_WBITS)
