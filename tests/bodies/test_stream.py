"""A body that comes as it is read."""

import asyncio

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

import aioluahttp as http
from aioluahttp.bodies.stream import Stream


class Source:
    """Gives chunks, and notes that it was closed."""

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


async def test_it_gives_the_chunks_as_they_come():
    """One after the other, once."""
    stream = Stream(Source(b'ab', b'c'))
    assert [b'ab', b'c'] == [chunk async for chunk in stream]
    assert b'' == await stream.read()


async def test_it_may_be_read_whole():
    """Or what is left of it."""
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
async def test_it_may_be_read_line_by_line(chunks, kind, expected):
    """As text by the text rule, wherever it is cut."""
    assert expected == [line async for line in Stream(Source(*chunks), kind).lines()]


@settings(deadline=None)
@given(st.lists(st.binary(max_size=9)))
def test_lines_are_those_of_the_whole(chunks):
    """However it is cut."""

    async def lines(*chunks):
        return [line async for line in Stream(Source(*chunks)).lines()]

    assert asyncio.run(lines(b''.join(chunks))) == asyncio.run(lines(*chunks))


async def test_a_line_has_a_limit():
    """A peer cannot fill the memory with one."""
    lines = Stream(Source(b'a\n', b'bcd', b'e\n')).lines(limit=2)
    assert 'a' == await anext(lines)
    with pytest.raises(http.BodyTooLarge, match='more than 2 bytes'):
        await anext(lines)
    assert ['a', 'bcde'] == [
        line async for line in Stream(Source(b'a\n', b'bcd', b'e\n')).lines(limit=None)
    ]


async def test_what_is_closed_is_read_no_more():
    """Its source is closed; a stream that is left is closed."""
    source = Source(b'a')
    async with Stream(source) as stream:
        pass
    assert source.closed
    with pytest.raises(http.ProtocolError, match='the stream is closed'):
        await stream.read()
