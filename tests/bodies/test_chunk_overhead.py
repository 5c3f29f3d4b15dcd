"""The overhead of chunked bodies: what is neither data nor needed to frame it."""

import pytest
from hypothesis import given
from hypothesis import strategies as st

from aioluahttp.bodies.chunk_overhead import MAX_OVERHEAD, is_padded

END = b'0\r\n\r\n'


@given(st.lists(st.integers(1, 10**9)))
def test_plain_chunks_of_any_size_are_no_overhead(sizes):
    """Nor if they are counted midway, between the size of a chunk and its data."""
    received = data = 0
    for size in sizes:
        received += len(b'%x\r\n' % size)
        assert not is_padded(received, data)
        received, data = received + size + len(b'\r\n'), data + size
        assert not is_padded(received, data)
    assert not is_padded(received + len(END), data)


@pytest.mark.parametrize('data', [0, 1, 1000, 10**7])
def test_the_limit_is_16_kib_beside_what_one_byte_chunks_need(data):
    """So no body costs more to receive than one that is valid."""
    most = MAX_OVERHEAD + len(b'1\r\nx\r\n') * data
    assert (False, True) == (is_padded(most, data), is_padded(most + 1, data))
