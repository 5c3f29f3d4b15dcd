"""A body that is read while it arrives."""

import asyncio

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

import aioluahttp as http
from aioluahttp.bodies.stream import ArrivedBody, Stream


class Source:
    """An async iterator of chunks that records whether it was closed."""

    def __init__(self, *chunks):
        self.chunks, self.closed = iter(chunks), False

    def __aiter__(self):
        return self

    async def __anext__(self):
        for chunk in self.chunks:
            return chunk
        raise StopAsyncIteration

    async def aclose(self):
        self.closed = True


async def test_a_stream_yields_chunks_as_they_arrive():
    """Each chunk is yielded once; after the end there is nothing."""
    stream = Stream(Source(b'ab', b'c'))
    assert [b'ab', b'c'] == [chunk async for chunk in stream]
    assert b'' == await stream.read()


async def test_the_rest_of_a_stream_can_be_read():
    """``read`` returns the bytes that were not yet read."""
    stream = Stream(Source(b'ab', b'c', b'd'))
    assert b'ab' == await anext(stream)
    assert b'cd' == await stream.read()


@pytest.mark.parametrize(
    ('chunks', 'kind', 'expected'),
    [
        ((b'a\r\nb', b'c\n\n', b'd'), None, ['a', 'bc', '', 'd']),
        ((b'a\r', b'\nb\r\n'), None, ['a', 'b']),
        ((b'\xc3', b'\xa9\n'), None, ['é']),
        ((b'\xe9\n',), 'text/plain; charset=latin1', ['é']),
        ((b'\xff\n',), None, ['\udcff']),
        ((), None, []),
    ],
)
async def test_a_stream_can_be_read_by_lines(chunks, kind, expected):
    """Lines are text by the text rule, wherever the body is cut."""
    assert expected == [line async for line in Stream(Source(*chunks), kind).lines()]


@settings(deadline=None)
@given(st.lists(st.binary(max_size=9)))
def test_lines_do_not_depend_on_the_chunks(chunks):
    """A body has the same lines however it is cut."""

    async def lines(*chunks):
        return [line async for line in Stream(Source(*chunks)).lines()]

    assert asyncio.run(lines(b''.join(chunks))) == asyncio.run(lines(*chunks))


@pytest.mark.parametrize(
    'chunks', [(b'ab\n', b'bcd', b'e\n'), (b'ab\r\nbcde\n',), (b'ab', b'\r', b'\nbcde')]
)
async def test_the_length_of_a_line_is_limited(chunks):
    """A peer cannot fill the memory with one line, wherever the body is cut."""
    lines = Stream(Source(*chunks)).lines(limit=2)
    assert 'ab' == await anext(lines)
    with pytest.raises(http.BodyTooLarge, match='more than 2 bytes'):
        await anext(lines)


async def test_the_limit_of_a_line_can_be_switched_off():
    """With None."""
    assert ['a', 'bcde'] == [
        line async for line in Stream(Source(b'a\n', b'bcd', b'e\n')).lines(limit=None)
    ]


async def test_a_closed_stream_cannot_be_read():
    """Leaving the context manager closes the stream and its source."""
    source = Source(b'a')
    async with Stream(source) as stream:
        pass
    assert source.closed
    with pytest.raises(http.ProtocolError, match='the stream is closed'):
        await stream.read()


@pytest.mark.parametrize('data', [b'data', b''])
async def test_a_body_that_is_here_is_read_once(data):
    stream = Stream(ArrivedBody(data))
    assert stream.has_arrived
    assert data == await stream.read()
    assert await stream.read() == b''
    assert stream.rest() is None
    whole = Stream(ArrivedBody(data))
    assert data == whole.rest()
    assert await whole.read() == b''
