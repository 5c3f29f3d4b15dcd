"""The overhead of chunked bodies: what is neither data nor needed to frame it."""

import pytest
from hypothesis import given
from hypothesis import strategies as st

from aioluahttp.bodies.chunk_overhead import MAX_OVERHEAD, ChunkOverhead

PIECES = st.lists(st.binary(min_size=1, max_size=40), max_size=8)
END = b'0\r\n\r\n'


def overhead(*pieces):
    """Feed a body in pieces; return what the last call returned, and the size."""
    counter = ChunkOverhead()
    passed = False
    for piece in pieces:
        passed = counter.feed(piece)
    return passed, counter.size


def chunked(chunks, padding=b'', extension=b'', line_end=b'\r\n'):
    """Make a chunked body without its end."""
    return b''.join(
        b'%b%x%b%b%b%b' % (padding, len(one), extension, line_end, one, line_end) for one in chunks
    )


def cut(data, sizes):
    """Cut bytes into pieces of these sizes, again and again."""
    pieces, start = [], 0
    while start < len(data):
        size = sizes[len(pieces) % len(sizes)]
        pieces.append(data[start : start + size])
        start += size
    return pieces


@given(PIECES, st.lists(st.integers(1, 30), min_size=1), st.sampled_from([b'\r\n', b'\n']))
def test_plain_chunks_have_no_overhead_wherever_they_are_cut(chunks, sizes, line_end):
    """Only the line end behind the last chunk counts, as a trailer."""
    body = chunked(chunks, line_end=line_end) + b'0' + line_end * 2
    assert (False, len(line_end)) == overhead(*cut(body, sizes))


@given(PIECES, st.lists(st.integers(1, 30), min_size=1), st.integers(0, 9), st.integers(0, 9))
def test_zeros_and_extensions_count_wherever_they_are_cut(chunks, sizes, zeros, length):
    """All but two bytes of the first chunk, which has no line end before it."""
    extension = b';' * bool(length) + b'x' * length
    body = chunked(chunks, b'0' * zeros, extension) + END
    each = zeros + len(extension)
    expected = max(0, each - 2) + each * (len(chunks) - 1) if chunks else 0
    assert (False, expected + 2) == overhead(*cut(body, sizes))


@pytest.mark.parametrize(
    'make',
    [
        lambda size: b'1;' + b'x' * size,  # an extension that has not ended yet
        lambda size: b'1;' + b'x' * size + b'\r\nx\r\n' + END,
        lambda size: b'1' + b' ' * size + b'\r\nx\r\n' + END,
        lambda size: b'0' * size,
        lambda size: b'0' * size + b'1\r\nx\r\n' + END,
        lambda size: b'1\r\nx\r\n0\r\nX: ' + b'x' * size + b'\r\n\r\n',
        lambda size: b'1\r\nx\r\n0;' + b'x' * size + b'\r\n\r\n',
        lambda size: b'1;x\r\nx\r\n' * (size // 2),
        lambda size: b'\n' * size,  # no chunk at all, which a parser refuses
    ],
)
@pytest.mark.parametrize('step', [1, 7, 1000, 10**6])
def test_there_is_a_limit_to_each_kind(make, step):
    """It is 16 KiB a body, and does not depend on how the body is cut."""
    for size, passed in ((MAX_OVERHEAD // 2, False), (MAX_OVERHEAD + 100, True)):
        data = make(size)
        pieces = (data[start : start + step] for start in range(0, len(data), step))
        assert passed == overhead(*pieces)[0]


@pytest.mark.parametrize(
    ('end', 'size'),
    [(b'0\r\n\r\n', 2), (b'000\r\n\r\n', 2), (b'0;a=b\r\n\r\n', 2), (b'0\r\nX: 0\r\n\r\n', 8)],
)
@pytest.mark.parametrize('step', [1, 3, 100])
def test_trailers_are_counted(end, size, step):
    """A body without any has the two bytes of a line end."""
    counter = ChunkOverhead()
    for piece in cut(chunked([b'0\r\n\r\n']) + end, [step]):
        counter.feed(piece)
    assert size == counter.trailers


def test_data_of_chunks_is_no_overhead():
    """Not even line ends and what looks like chunks, in a chunk that is larger than a read."""
    data = b'\r\n1;x\r\n' * 10_000
    body = chunked([data, data]) + END
    assert (False, 2) == overhead(*cut(body, [1000]))
    assert (False, 2) == overhead(body)


def test_many_small_chunks_have_no_overhead():
    """A body of one-byte chunks is five times as long in framing, which is not overhead."""
    assert (False, 0) == overhead(*[b'1\r\nx\r\n' * 1000] * 100)
