"""Bodies that somebody listens in on."""

import gc

import pytest

import aioluahttp as http
from aioluahttp.bodies.stream import Stream
from aioluahttp.middleware.taps import tap


class Ends(list):
    """Notes how responses ended."""

    def __call__(self, error):
        self.append(type(error))


async def numbers(closed=None, error=None):
    """Give two chunks, and then fail where an error is given."""
    try:
        yield b'1'
        yield b'2'
        if error:
            raise error
    finally:
        if closed is not None:
            closed.append('closed')


async def iter_bytes(data):
    """Give these bytes."""
    yield data


async def tapped(body, **options):
    """Give a response with this body that was tapped, and what is told of its end."""
    ends = Ends()
    return await tap(
        http.Response(status=200, headers=http.Headers(), body=body), ends, **options
    ), ends


@pytest.mark.parametrize('body', ['x', b'x', '', {'json': 1}])
async def test_a_body_that_is_there_is_over_at_once(body):
    """The response is as it was."""
    response, ends = await tapped(body)
    assert (body, [type(None)]) == (response.body, ends)


@pytest.mark.parametrize('make', [numbers, lambda: iter([b'1', b'2'])], ids=['async', 'plain'])
async def test_a_body_that_flows_is_over_at_its_end(make):
    """Each chunk is passed on as it is and seen; the end is told once, also if it is closed."""
    seen = []
    response, ends = await tapped(make(), seen=seen.append)
    assert [] == ends
    assert [b'1', b'2'] == [chunk async for chunk in response.body] == seen
    await response.body.aclose()
    assert [type(None)] == ends


async def test_a_stream_stays_a_stream():
    """It has its methods, and its Content-Type."""
    headers = http.Headers({'Content-Type': 'text/plain; charset=iso-8859-1'})
    body = Stream(iter_bytes(b'\xe9'))
    response = await tap(http.Response(status=200, headers=headers, body=body), Ends())
    assert ['é'] == [line async for line in response.body.lines()]


async def test_a_stream_that_is_left_early_is_over():
    """What it comes from is closed, and the end is told as Python tells a generator."""
    closed = []
    response, ends = await tapped(Stream(numbers(closed)))
    async with response.body as stream:
        assert b'1' == await anext(stream)
    assert (['closed'], [GeneratorExit]) == (closed, ends)


async def test_a_stream_that_fails_is_over():
    """Its exception is told, and goes on."""
    response, ends = await tapped(Stream(numbers(error=http.ProtocolError('cut off'))))
    with pytest.raises(http.ProtocolError, match='cut off'):
        await response.body.read()
    assert [http.ProtocolError] == ends


async def test_a_stream_that_nobody_keeps_is_over():
    """Nothing that waits for its end waits for ever."""
    response, ends = await tapped(numbers())
    del response
    gc.collect()
    assert [GeneratorExit] == ends


async def test_who_is_told_may_be_awaited():
    """The end of the body waits for it."""
    written = []

    async def note(error):
        written.append(error)

    response = await tap(http.Response(status=200, headers=http.Headers(), body=numbers()), note)
    assert [b'1', b'2'] == [chunk async for chunk in response.body]
    assert [None] == written
