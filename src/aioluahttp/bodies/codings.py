"""Decode content codings, within a limit on the body and up to their end (RFC 9110 8.4).

Their encoding is in ``encoders``.
"""

from __future__ import annotations

import math
import zlib
from collections.abc import AsyncIterable, Callable, Iterator
from typing import Protocol

from ..errors import BodyTooLarge, ProtocolError
from ..headers import Headers
from .chunks import slices
from .encoders import BROTLI, ZSTD

__all__ = [
    'ACCEPT_ENCODING',
    'DECODED_BY_AIOHTTP',
    'TOO_LARGE',
    'Decoder',
    'decode_body',
    'decoder_for',
    'read_within',
    'within_limit',
]

TOO_LARGE = 'the body passed max_body'
DECODED_BY_AIOHTTP = frozenset(
    {'gzip', 'deflate', 'br', 'zstd'}
)  # by aiohttp, if it decodes: a single coding
STEP = 64 * 1024  # bytes decoded at a time, and so what a bomb can cost beyond the limit
MEMBERS = 1000  # gzip members or zstd frames in one body: each costs an allocation, even if short
WINDOW = 23  # the window of zstd is at most 2**23 bytes, 8 MiB (RFC 9659 3)
CHAIN = 2  # codings on top of each other: each multiplies what a small body can decode to


def within_limit(data: bytes, limit: int | None) -> bytes:
    """Return a body of at most ``limit`` bytes, else raise ``BodyTooLarge``."""
    if limit is not None and len(data) > limit:
        raise BodyTooLarge(TOO_LARGE)
    return data


async def read_within(chunks: AsyncIterable[bytes], limit: int | None) -> bytes:
    """Read a whole body of at most ``limit`` bytes, else raise ``BodyTooLarge``."""
    pieces: list[bytes] = []
    size = 0
    async for chunk in chunks:
        size += len(chunk)
        if limit is not None and size > limit:
            raise BodyTooLarge(TOO_LARGE)
        pieces.append(chunk)
    return b''.join(pieces)


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
    known = len(names) <= CHAIN and DECODERS.keys() >= set(names)
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
        pieces = slices(data, step)
        for stage in self.stages:
            pieces = stage.decode(pieces)
        for piece in pieces:
            self.left -= len(piece)
            if self.left < 0:
                raise BodyTooLarge(TOO_LARGE)
            yield piece

    def finish(self) -> None:
        """Check that every coding has reached its end.

        Raises:
            ProtocolError: The body was cut off.
        """
        if any(stage.started and not stage.at_end for stage in self.stages):
            raise ProtocolError('the compressed body was cut off')


class _Stage:
    """One coding: a series of streams; only gzip and zstd allow more than one."""

    def __init__(self, coding: str, limit: float) -> None:
        self.open, self.most = DECODERS[coding]
        self.left = limit
        self.members = 0
        self.stream: _Stream | None = None

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
                raise BodyTooLarge(f'{TOO_LARGE} before it was decoded')
            while data or (self.stream and self.stream.has_more):
                stream = self.stream or self._next(data[0])
                try:
                    piece, data = stream.decode(data)
                except ERRORS as error:
                    raise ProtocolError(f'the compressed body is broken: {error}') from error
                self.stream = None if stream.at_end else stream
                if piece:
                    yield piece

    def _next(self, first: int) -> _Stream:
        self.members += 1
        if self.members > self.most:
            raise ProtocolError('the compressed body has data after its end')
        return self.open(first)


class _Stream(Protocol):
    """The decoder of one stream.

    ``has_more`` tells whether there is output left, although no input is; ``at_end`` whether the
    stream has ended.
    """

    has_more: bool
    at_end: bool

    def decode(self, data: bytes) -> tuple[bytes, bytes]:
        """Return at most ``STEP`` bytes of output, and the input that is left."""
        ...


class _Zlib:
    def __init__(self, bits: int) -> None:
        self.stream = zlib.decompressobj(bits)
        self.has_more = self.at_end = False

    def decode(self, data: bytes) -> tuple[bytes, bytes]:
        piece = self.stream.decompress(data, STEP)
        self.at_end = self.stream.eof
        self.has_more = len(piece) == STEP and not self.at_end
        return piece, self.stream.unused_data if self.at_end else self.stream.unconsumed_tail


class _Brotli:
    def __init__(self) -> None:
        self.stream = BROTLI.Decompressor()
        self.has_more = self.at_end = False

    def decode(self, data: bytes) -> tuple[bytes, bytes]:
        # Its buffer grows by 32, 64, ... KiB, until it is as large as the limit or larger.
        limit = STEP // 2
        piece = self.stream.process(data, output_buffer_limit=limit)
        self.at_end = self.stream.is_finished()
        is_full = len(piece) >= limit or not self.stream.can_accept_more_data()
        self.has_more = is_full and not self.at_end
        return piece, b''


class _Zstd:
    def __init__(self) -> None:
        options = {ZSTD.DecompressionParameter.window_log_max: WINDOW}
        self.stream = ZSTD.ZstdDecompressor(options=options)
        self.has_more = self.at_end = False

    def decode(self, data: bytes) -> tuple[bytes, bytes]:
        piece = self.stream.decompress(data, STEP)
        self.at_end = self.stream.eof
        self.has_more = not (self.at_end or self.stream.needs_input)
        return piece, self.stream.unused_data


def _gzip(first: int) -> _Stream:
    return _Zlib(16 + zlib.MAX_WBITS)


def _deflate(first: int) -> _Stream:
    # RFC 9110 8.4.1.2: deflate is zlib's format, but some peers send it without the header.
    # The low four bits of the header are 8; no headerless stream of theirs starts so.
    return _Zlib(zlib.MAX_WBITS if first & 15 == 8 else -zlib.MAX_WBITS)


# Brotli below 1.2 cannot limit its output.
LIMITS_BROTLI = hasattr(getattr(BROTLI, 'Decompressor', None), 'can_accept_more_data')

# By coding: what opens a stream with its first byte, and how many streams a body may have.
DECODERS: dict[str, tuple[Callable[[int], _Stream], int]] = {
    'gzip': (_gzip, MEMBERS),
    'deflate': (_deflate, 1),
    **({'br': (lambda first: _Brotli(), 1)} if LIMITS_BROTLI else {}),
    **({'zstd': (lambda first: _Zstd(), MEMBERS)} if ZSTD else {}),
}
ACCEPT_ENCODING = ', '.join(DECODERS)
DECODERS['x-gzip'] = DECODERS['gzip']  # RFC 9110 8.4.1.3
ERRORS: tuple[type[Exception], ...] = (
    zlib.error,
    *([BROTLI.error] if BROTLI else []),
    *([ZSTD.ZstdError] if ZSTD else []),
)
