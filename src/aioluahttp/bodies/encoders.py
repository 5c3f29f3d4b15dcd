"""Compress bodies, and choose a coding by Accept-Encoding (RFC 9110 8.4 and 12.5.3).

Decoding is in ``codings``.
"""

from __future__ import annotations

import asyncio
import re
import zlib
from collections.abc import AsyncIterable, Callable, Collection, Iterator
from functools import partial
from importlib import import_module
from typing import Any, NamedTuple

from .chunks import Chunks

__all__ = ['BROTLI', 'ENCODERS', 'ZSTD', 'CompressedChunks', 'choose_coding', 'compress_body']

# Longer bodies are compressed in a thread; shorter ones take less than a millisecond.
THREADED = 64 * 1024  # bytes

# For bodies compressed anew each time: the next level of gzip takes twice as long for 3 % less.
GZIP_LEVEL, BROTLI_LEVEL, ZSTD_LEVEL = 4, 4, 3


class Encoder(NamedTuple):
    """The encoder of one body. After the bytes of ``flush`` a peer can decode all fed so far."""

    feed: Callable[[bytes], bytes]
    flush: Callable[[], bytes]
    finish: Callable[[], bytes]


def first_of(*names: str) -> Any:
    """Import and return the first of these modules that is installed; None if none is."""
    for name in names:
        try:
            return import_module(name)
        except ImportError:
            continue
    return None


# The libraries are those that aiohttp uses, in its order, so they are already loaded.
BROTLI: Any = first_of('brotlicffi', 'brotli')
ZSTD: Any = first_of('compression.zstd', 'backports.zstd')


def _zlib(bits: int) -> Encoder:
    stream = zlib.compressobj(GZIP_LEVEL, wbits=bits)
    return Encoder(stream.compress, partial(stream.flush, zlib.Z_SYNC_FLUSH), stream.flush)


def _brotli(library: Any) -> Encoder:
    stream = library.Compressor(quality=BROTLI_LEVEL)
    return Encoder(stream.process, stream.flush, stream.finish)


def _zstd(library: Any) -> Encoder:
    # Its window is far below the 8 MiB that a client must support (RFC 9659 3).
    stream = library.ZstdCompressor(ZSTD_LEVEL)
    return Encoder(stream.compress, partial(stream.flush, stream.FLUSH_BLOCK), stream.flush)


MAKERS: dict[str, tuple[Callable[[Any], Encoder], Any]] = {
    'zstd': (_zstd, ZSTD),
    'br': (_brotli, BROTLI),
    'gzip': (_zlib, 16 + zlib.MAX_WBITS),
    'deflate': (_zlib, zlib.MAX_WBITS),  # zlib's format (RFC 9110 8.4.1.2)
}
# The available codings, the best first.
ENCODERS = {
    name: partial(make, library) for name, (make, library) in MAKERS.items() if library is not None
}

ELEMENT = re.compile(
    r'([^\s;,]++)[ \t]*+(?:;[ \t]*+q=(0(?:\.[0-9]{0,3})?|1(?:\.0{0,3})?))?', re.IGNORECASE
)


def choose_coding(accepted: str, codings: Collection[str]) -> str | None:
    """Choose the coding that a client prefers; among equals, the first.

    Args:
        accepted: The client's Accept-Encoding, ``''`` if it sent none.
        codings: The available codings.

    Returns:
        ``None`` if the body is not to be compressed: the client accepts no coding of these, or
        prefers identity. Malformed elements of the header are ignored.

    Example:
        >>> choose_coding('gzip, br;q=0.5, *;q=0', ['br', 'gzip', 'deflate'])
        'gzip'
    """
    weights: dict[str, float] = {}
    for element in accepted.lower().split(','):
        if found := ELEMENT.fullmatch(element.strip()):
            name = 'gzip' if found[1] == 'x-gzip' else found[1]  # RFC 9110 8.4.1.3
            weights[name] = float(found[2] or 1)
    others = weights.get('*', 0.0)
    best = max(codings, key=lambda name: weights.get(name, others))
    weight = weights.get(best, others)
    # The weight of ``*`` is not that of identity, which counts as 0 unless it is named.
    return best if 0 < weight >= weights.get('identity', 0.0) else None


async def compress_body(data: bytes, coding: str) -> bytes:
    """Compress a whole body, in a thread if it is long."""
    encoder = ENCODERS[coding]()
    return await _run(lambda: encoder.feed(data) + encoder.finish(), len(data))


async def _run(function: Callable[[], bytes], size: int) -> bytes:
    return function() if size <= THREADED else await asyncio.to_thread(function)


class CompressedChunks(Chunks):
    """Compressed ``Chunks``: a peer can decode each chunk as soon as it arrives.

    Args:
        source: Advanced only when a chunk is wanted, and closed by ``aclose``.
        encode: Turns an item into bytes.
        coding: One of ``ENCODERS``.
    """

    def __init__(
        self,
        source: AsyncIterable[Any] | Iterator[Any],
        encode: Callable[[Any], bytes],
        coding: str,
    ) -> None:
        super().__init__(source, encode)
        self._encoder = ENCODERS[coding]()
        self._ended = False

    async def __anext__(self) -> bytes:
        if self._ended:
            raise StopAsyncIteration
        try:
            data = await super().__anext__()
        except StopAsyncIteration:
            self._ended = True
            return self._encoder.finish()
        # An empty chunk means: send the head now. It must stay empty.
        return await _run(lambda: self._step(data), len(data)) if data else b''

    def _step(self, data: bytes) -> bytes:
        return self._encoder.feed(data) + self._encoder.flush()
