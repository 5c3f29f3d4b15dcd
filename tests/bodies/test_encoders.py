"""Compressed bodies, which any decoder can decode, and the choice of a coding."""

import asyncio
import os
import zlib
from concurrent.futures import ThreadPoolExecutor

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from aioluahttp.bodies import encoders
from aioluahttp.bodies.encoders import (
    ENCODERS,
    CompressedChunks,
    choose_coding,
    compress_body,
    first_of,
)

LONG = os.urandom(1024) * 65  # longer than what is compressed without a thread


def inflated(bits):
    """Return a streaming decoder of zlib."""
    return zlib.decompressobj(bits).decompress


def unbrotlied():
    """Return a streaming decoder of Brotli."""
    process = first_of('brotlicffi', 'brotli').Decompressor().process

    def decode(data):
        # One call may not return all of the output.
        return b''.join([process(data), *iter(lambda: process(b''), b'')])

    return decode


def unzstandard():
    """Return a streaming decoder of Zstandard, with the least window a client must have: 8 MiB."""
    zstd = first_of('compression.zstd', 'backports.zstd')
    options = {zstd.DecompressionParameter.window_log_max: 23}
    return zstd.ZstdDecompressor(options=options).decompress


DECODERS = {
    'gzip': lambda: inflated(16 + zlib.MAX_WBITS),
    'deflate': lambda: inflated(zlib.MAX_WBITS),
    'br': unbrotlied,
    'zstd': unzstandard,
}
CHOICES = {
    '': None,
    'gzip': 'gzip',
    'GZIP': 'gzip',
    'x-gzip': 'gzip',
    'x-gzip;q=0': None,
    'identity': None,
    'compress': None,
    'deflate, gzip, br, zstd': 'zstd',
    'gzip, deflate, br': 'br',
    'deflate, gzip': 'gzip',
    'gzip;q=0.5, deflate;q=0.6': 'deflate',
    'gzip;q=0.001': 'gzip',
    'gzip ; q=1.000 ,deflate\t;\tQ=1': 'gzip',
    'gzip;q=0': None,
    'gzip;q=0.000, *': 'zstd',
    '*': 'zstd',
    '*;q=0': None,
    '*;q=0, gzip;q=0.1': 'gzip',
    'zstd;q=0, br;q=0, *;q=0.1': 'gzip',
    'identity, gzip': 'gzip',
    'identity;q=0.5, gzip;q=0.2': None,
    'identity;q=0': None,
    'identity;q=0, *;q=0.5': 'zstd',
    '*;q=0.9, gzip': 'gzip',
    ', ,gzip,': 'gzip',
    'gzip;q=2': None,
    'gzip;q=-1': None,
    'gzip;q=0.1234': None,
    'gzip;q=nan': None,
    'gzip;q=١': None,
    'gzip;level=9': None,
    'gzip;q=1;q=0': None,
    'gzip deflate': None,
    'br' + ' ' * 8000 + 'x': None,
}
every_coding = pytest.mark.parametrize('coding', ENCODERS)


@pytest.mark.parametrize(('accepted', 'expected'), CHOICES.items())
def test_the_coding_is_the_one_that_the_client_prefers(accepted, expected):
    """Among equals it is ours; None if the client accepts none of them (RFC 9110 12.5.3)."""
    assert expected == choose_coding(accepted, ('zstd', 'br', 'gzip', 'deflate'))


@given(st.text() | st.lists(st.sampled_from([*'*,;=.019 ', 'q', 'gzip', 'identity'])).map(''.join))
def test_any_accept_encoding_is_parsed(accepted):
    """Whatever a client sends, the choice is None or one of the codings."""
    assert choose_coding(accepted, ['gzip', 'br']) in (None, 'gzip', 'br')


def test_the_best_codings_come_first():
    """Codings that need a library are there if it is installed."""
    names = [name for name, (_, library) in encoders.MAKERS.items() if library]
    assert names == list(ENCODERS)
    assert ['gzip', 'deflate'] == names[-2:]


def test_the_first_installed_library_is_used():
    """If none is installed, the result is None."""
    assert zlib is first_of('aioluahttp.no_such_module', 'zlib', 'json')
    assert first_of('aioluahttp.no_such_module') is None


@every_coding
@settings(deadline=None)
@given(data=st.binary(), size=st.integers(0, len(LONG)))
def test_a_compressed_body_decompresses_to_the_same_bytes(coding, data, size):
    """Bodies of every coding and size are decompressed to the same bytes."""
    data += LONG[:size]
    assert data == DECODERS[coding]()(asyncio.run(compress_body(data, coding)))


class CountingExecutor(ThreadPoolExecutor):
    """An executor that counts what it was asked to run."""

    asked = 0

    def submit(self, *work):
        """Count the call."""
        self.asked += 1
        return super().submit(*work)


@every_coding
async def test_a_long_body_does_not_block_the_loop(coding):
    """It is compressed in a thread, a short one at once."""
    executor = CountingExecutor()
    asyncio.get_running_loop().set_default_executor(executor)
    for data, asked in [(LONG[:1000], 0), (LONG, 1)]:
        assert data == DECODERS[coding]()(await compress_body(data, coding))
        assert asked == executor.asked


async def each(items):
    """Yield items asynchronously."""
    for item in items:
        yield item


@every_coding
@settings(deadline=None)
@given(sizes=st.lists(st.integers(0, 5000) | st.just(len(LONG))))
def test_a_chunk_can_be_decoded_as_soon_as_it_arrives(coding, sizes):
    """All of it, before the next one is read; an empty chunk stays empty."""

    async def read():
        chunks = [LONG[:size] for size in sizes]
        decode, decoded = DECODERS[coding](), []
        stream = CompressedChunks(each(chunks), bytes, coding)
        for chunk in chunks:
            data = await anext(stream)
            assert bool(chunk) == bool(data)
            decoded.append(decode(data) if data else b'')
        assert chunks == decoded
        assert b'' == decode(await anext(stream))
        with pytest.raises(StopAsyncIteration):
            await anext(stream)

    asyncio.run(read())


@every_coding
async def test_an_exception_of_the_iterator_does_not_end_the_coding(coding):
    """It is raised as it is, and the end of the coding is not sent."""

    async def failing():
        yield b'ab'
        raise ValueError('x')

    stream = CompressedChunks(failing(), bytes, coding)
    await anext(stream)
    with pytest.raises(ValueError, match='x'):
        await anext(stream)


async def test_closing_the_chunks_closes_the_iterator():
    """The iterator's ``finally`` runs."""
    ended = []

    async def endless():
        try:
            while True:
                yield b'ab'
        finally:
            ended.append(True)

    stream = CompressedChunks(endless(), bytes, 'gzip')
    await anext(stream)
    await stream.aclose()
    assert [True] == ended
