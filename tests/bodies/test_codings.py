"""Content codings are decoded to their end and within the limit, however the bytes arrive."""

from __future__ import annotations

import gzip
import tracemalloc
import zlib
from collections.abc import AsyncIterator, Callable, Iterator

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from aioluahttp.bodies.codings import (
    ACCEPT_ENCODING,
    CHAIN,
    MEMBERS,
    STEP,
    Decoder,
    decode_body,
    decoder_for,
)
from aioluahttp.bodies.encoders import BROTLI, ZSTD
from aioluahttp.errors import BodyTooLarge, ProtocolError
from aioluahttp.headers import Headers


def deflated(data: bytes, wbits: int) -> bytes:
    """Compress in the container that ``wbits`` stands for."""
    coder = zlib.compressobj(9, zlib.DEFLATED, wbits)
    return coder.compress(data) + coder.flush()


def bare(data: bytes) -> bytes:
    """Compress without a container, as some peers do for deflate."""
    return deflated(data, -zlib.MAX_WBITS)


def members(data: bytes) -> bytes:
    """Compress as two gzip members with an empty one between them."""
    return (
        gzip.compress(data[:7], mtime=0)
        + gzip.compress(b'', mtime=0)
        + gzip.compress(data[7:], mtime=0)
    )


def brotlied(data: bytes) -> bytes:
    """Compress with Brotli."""
    coded: bytes = BROTLI.compress(data, quality=4)
    return coded


def zstandard(data: bytes) -> bytes:
    """Compress as one frame of zstd."""
    coded: bytes = ZSTD.compress(data)
    return coded


def frames(data: bytes) -> bytes:
    """Compress as two frames of zstd, with an empty one and one to be skipped between them."""
    skipped = bytes.fromhex('50 2a 4d 18 04 00 00 00') + b'skip'
    return zstandard(data[:7]) + zstandard(b'') + skipped + zstandard(data[7:])


def stored(data: bytes) -> bytes:
    """Wrap in zlib's format without compressing."""
    return zlib.compress(data, 0)


CODERS: list[tuple[str, Callable[[bytes], bytes]]] = [
    ('gzip', gzip.compress),
    ('x-gzip', gzip.compress),
    ('gzip', members),
    ('deflate', zlib.compress),
    ('deflate', stored),
    ('deflate', bare),
    ('br', brotlied),
    ('zstd', zstandard),
    ('zstd', frames),
]
NAMES = ['gzip', 'deflate', 'br', 'zstd']
CHECKED = {ZSTD.CompressionParameter.checksum_flag: 1}
SERIES = {members: lambda data: gzip.compress(data, mtime=0), frames: zstandard}
CHAINS = st.lists(st.sampled_from(CODERS), min_size=1, max_size=CHAIN)
DATA = st.binary(max_size=200) | st.builds(
    bytes.__mul__, st.binary(min_size=1, max_size=9), st.integers(0, 3 * STEP // 4)
)
SIZES = [0, 1, STEP - 1, STEP, STEP + 1, 2 * STEP, 10 * STEP, 10 * STEP + 1]
EMPTY_BLOCKS = bytes.fromhex('1f8b08000000000000ff') + b'\0\0\0\xff\xff' * 2_000_000

each_coder = pytest.mark.parametrize(('coding', 'compress'), CODERS)


def applied(chain: list[tuple[str, Callable[[bytes], bytes]]], data: bytes) -> bytes:
    """Apply one coding after the other."""
    for _, compress in chain:
        data = compress(data)
    return data


def decoded_whole(codings: list[str], chunks: Iterator[bytes] | list[bytes]) -> bytes:
    """Decode a whole body without a limit."""
    decoder = Decoder(codings, None)
    body = b''.join(piece for chunk in chunks for piece in decoder.feed(chunk))
    decoder.finish()
    return body


def bytewise(data: bytes) -> list[bytes]:
    """Cut into single bytes."""
    return [data[at : at + 1] for at in range(len(data))]


async def arriving(*chunks: bytes) -> AsyncIterator[bytes]:
    """Yield chunks as the network does."""
    for chunk in chunks:
        yield chunk


@each_coder
@pytest.mark.parametrize('size', SIZES)
def test_a_coding_is_decoded(coding: str, compress: Callable[[bytes], bytes], size: int) -> None:
    """A body of any size is decoded, also one of the size of a step."""
    data = b'a' * size
    assert data == decoded_whole([coding], [compress(data)])


@settings(deadline=None)
@given(CHAINS, DATA, st.lists(st.integers(1, 300), min_size=1))
def test_how_the_bytes_arrive_does_not_matter(
    chain: list[tuple[str, Callable[[bytes], bytes]]], data: bytes, sizes: list[int]
) -> None:
    """Codings on top of each other are decoded in pieces, byte by byte, and as a whole."""
    codings, coded = [coding for coding, _ in chain], applied(chain, data)
    chunks, at = [], 0
    while at < len(coded):
        size = sizes[len(chunks) % len(sizes)]
        chunks.append(coded[at : at + size])
        at += size
    assert data == decoded_whole(codings, [coded])
    assert data == decoded_whole(codings, chunks)
    assert data == decoded_whole(codings, bytewise(coded))


@each_coder
def test_a_body_that_is_cut_off_is_an_error(
    coding: str, compress: Callable[[bytes], bytes]
) -> None:
    """A body that ends too early, anywhere and however it arrives, is a ProtocolError."""
    coded = compress(b'what is to come back' * 9)
    whole = [0, len(coded)]
    if one := SERIES.get(compress):  # a body that ends with a member is complete
        whole.append(len(one(b'what is')))
        whole.append(whole[-1] + len(one(b'')))
        whole.append(whole[-1] + 12 * (compress is frames))
    for end in range(len(coded)):
        for chunks in ([coded[:end]], bytewise(coded[:end])):
            if end in whole:
                decoded_whole([coding], chunks)
                continue
            with pytest.raises(ProtocolError, match='cut off'):
                decoded_whole([coding], chunks)


def test_a_cut_within_any_of_several_codings_is_an_error() -> None:
    """An inner coding that is cut off is a ProtocolError too."""
    with pytest.raises(ProtocolError, match='cut off'):
        decoded_whole(['deflate', 'gzip'], [gzip.compress(zlib.compress(b'text')[:-1], mtime=0)])


@each_coder
@pytest.mark.parametrize('garbage', [b'\0', b'x', b'garbage', b'\x78\x9c' * STEP])
@pytest.mark.parametrize('cut', [bytewise, lambda data: [data]], ids=['bytewise', 'whole'])
def test_bytes_after_the_end_are_an_error(
    coding: str, compress: Callable[[bytes], bytes], garbage: bytes, cut: Callable[..., list[bytes]]
) -> None:
    """Bytes after the end of a body are a ProtocolError."""
    with pytest.raises(ProtocolError):
        decoded_whole([coding], cut(compress(b'text') + garbage))


@pytest.mark.parametrize('coding', NAMES)
@pytest.mark.parametrize(
    'data',
    [
        b'not compressed',
        b'\x08',
        gzip.compress(b'text', mtime=0)[:-8] + bytes(8),
        zlib.compress(b'text')[:-4] + bytes(4),
        zlib.compressobj(zdict=b'text').flush(),
        ZSTD.compress(b'text', options={ZSTD.CompressionParameter.checksum_flag: 1})[:-4]
        + bytes(4),
    ],
    ids=['text', 'a byte', 'gzip checksum', 'zlib checksum', 'dictionary', 'zstd checksum'],
)
def test_bytes_that_are_not_of_the_coding_are_an_error(coding: str, data: bytes) -> None:
    """Bytes that are not valid in the coding are a ProtocolError."""
    with pytest.raises(ProtocolError):
        decoded_whole([coding], [data])


@settings(deadline=None)
@given(
    st.lists(st.sampled_from(['gzip', 'deflate', 'br', 'zstd']), max_size=3), st.lists(st.binary())
)
def test_any_bytes_are_decoded_or_a_protocol_error(codings: list[str], chunks: list[bytes]) -> None:
    """Any bytes are decoded or raise a ProtocolError; without codings they are the body."""
    try:
        body = decoded_whole(codings, chunks)
    except ProtocolError:
        assert codings
    else:
        assert codings or b''.join(chunks) == body


@settings(deadline=None)
@given(st.sampled_from([[], *([one] for one in CODERS), [CODERS[0], CODERS[3]]]), DATA, st.data())
def test_the_limit_counts_decoded_bytes(
    chain: list[tuple[str, Callable[[bytes], bytes]]], data: bytes, draw: st.DataObject
) -> None:
    """A body up to the limit is decoded; of a longer one no more than the limit is returned."""
    limit = draw.draw(st.integers(0, 2 * len(data) + 1))
    decoder = Decoder([coding for coding, _ in chain], limit)
    given_out = b''
    try:
        for piece in decoder.feed(applied(chain, data)):
            assert 0 < len(piece) <= (STEP if chain else len(data))  # uncoded bytes are kept whole
            given_out += piece
        decoder.finish()
    except BodyTooLarge:
        assert len(given_out) <= limit < len(data)
    else:
        assert data == given_out
        assert len(data) <= limit


@pytest.mark.parametrize(
    'chain',
    [
        *([one] for one in CODERS if one[1] not in (members, stored)),
        [CODERS[0], CODERS[3]],
        [CODERS[0]] * 3,
        [('gzip', gzip.compress), ('br', brotlied)],
        [('zstd', zstandard), ('zstd', zstandard)],
    ],
    ids=lambda chain: ' in '.join(compress.__name__ for _, compress in chain),
)
def test_a_bomb_costs_a_few_steps_of_memory(
    chain: list[tuple[str, Callable[[bytes], bytes]]],
) -> None:
    """The memory is bounded by the limit and some steps, not by the decoded size."""
    bomb = applied(chain, bytes(200 * STEP))
    decoder = Decoder([coding for coding, _ in chain], STEP)
    tracemalloc.start()
    try:
        with pytest.raises(BodyTooLarge):
            for _ in decoder.feed(bomb):
                pass
        assert tracemalloc.get_traced_memory()[1] < len(bomb) + 10 * STEP
    finally:
        tracemalloc.stop()


@pytest.mark.parametrize('chain', [[], ['gzip'], ['gzip', 'gzip']])
def test_input_that_decodes_to_nothing_is_limited_too(chain: list[str]) -> None:
    """Empty blocks exceed a limit before they cost much time."""
    decoder = Decoder(['gzip', *chain], 0)
    coded = EMPTY_BLOCKS
    for _ in chain:
        coded = gzip.compress(coded, mtime=0)
    with pytest.raises(BodyTooLarge):
        list(decoder.feed(coded))


def test_a_large_body_in_one_piece_takes_linear_time() -> None:
    """A body in one piece is decoded without copying the rest of it at each step."""
    coded = stored(bytes(1000 * STEP))
    assert 1000 * STEP == len(decoded_whole(['deflate'], [coded]))


@pytest.mark.parametrize(('coding', 'compress'), [('gzip', gzip.compress), ('zstd', zstandard)])
def test_the_number_of_members_is_limited(coding: str, compress: Callable[[bytes], bytes]) -> None:
    """Gzip members or zstd frames in a row are one body, up to ``MEMBERS`` of them."""
    member = compress(b'a')
    assert b'a' * MEMBERS == decoded_whole([coding], [member * MEMBERS])
    with pytest.raises(ProtocolError, match='after its end'):
        decoded_whole([coding], [member * (MEMBERS + 1)])


def test_the_window_of_zstd_is_limited() -> None:
    """A frame may ask for a window of 8 MiB, and not for more memory (RFC 9659 3)."""
    for size, decodes in ((23, True), (24, False)):
        options = {ZSTD.CompressionParameter.window_log: size}
        coder = ZSTD.ZstdCompressor(options=options)  # which does not know the size of the data
        coded = coder.compress(b'text') + coder.flush()
        if decodes:
            assert b'text' == decoded_whole(['zstd'], [coded])
        else:
            with pytest.raises(ProtocolError, match='memory'):
                decoded_whole(['zstd'], [coded])


def test_what_is_decoded_is_offered() -> None:
    """Each coding once, under its own name."""
    assert 'gzip, deflate, br, zstd' == ACCEPT_ENCODING


@pytest.mark.parametrize(
    ('fields', 'decodes'),
    [
        ([], False),
        (['identity'], False),
        ([''], False),
        (['gzip'], True),
        (['GZip'], True),
        (['x-gzip'], True),
        (['deflate', 'gzip'], True),
        (['deflate , identity,, gzip'], True),
        (['gzip, gzip'], True),
        (['gzip, gzip, gzip'], False),
        (['gzip, gzip, gzip, gzip'], False),
        (['br'], True),
        (['gzip, br'], True),
        (['gzip', 'zstd'], True),
        (['compress'], False),
        (['gzip, compress'], False),
        (['aws-chunked'], False),
    ],
)
async def test_only_known_codings_are_decoded(fields: list[str], decodes: bool) -> None:
    """Unknown codings, and too many, leave the body and the headers as they came."""
    given_headers = Headers([('Content-Encoding', field) for field in fields])
    given_headers['Content-Length'] = '4'
    assert decodes is bool(decoder_for(given_headers, None).stages)
    if not decodes:
        before = given_headers.copy()
        assert b'text' == await decode_body(arriving(b'te', b'', b'xt'), given_headers, 4)
        assert before == given_headers


@pytest.mark.parametrize('data', [b'', b'text'])
async def test_headers_describe_the_decoded_body(data: bytes) -> None:
    """After decoding, Content-Encoding and Content-Length are removed."""
    fields = Headers([('Content-Encoding', 'deflate'), ('Content-Encoding', 'gzip'), ('A', 'b')])
    fields['Content-Length'] = '99'
    coded = gzip.compress(zlib.compress(data), mtime=0)
    assert data == await decode_body(arriving(coded[:5], coded[5:]), fields, 4)
    assert {'A': 'b'} == fields


async def test_headers_without_a_body_are_kept() -> None:
    """A response to HEAD has nothing to decode, and keeps its headers."""
    fields = Headers({'Content-Encoding': 'gzip', 'Content-Length': '99'})
    assert b'' == await decode_body(arriving(), fields, 0)
    assert {'Content-Encoding': 'gzip', 'Content-Length': '99'} == fields


@pytest.mark.parametrize(
    ('data', 'error'),
    [
        (gzip.compress(b'text', mtime=0)[:-1], ProtocolError),
        (gzip.compress(b'too long', mtime=0), BodyTooLarge),
    ],
)
async def test_a_body_that_cannot_be_decoded_is_an_error(
    data: bytes, error: type[Exception]
) -> None:
    """A body that is cut off or exceeds the limit raises, and is not returned."""
    with pytest.raises(error):
        await decode_body(arriving(data), Headers({'Content-Encoding': 'gzip'}), 4)
