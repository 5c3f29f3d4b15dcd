"""The function ``tap``: watching response bodies."""

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
    """Yield two chunks, and then raise the error if there is one."""
    try:
        yield b'1'
        yield b'2'
        if error:
            raise error
    finally:
        if closed is not None:
            closed.append('closed')


async def iter_bytes(data):
    """Yield the bytes."""
    yield data


async def tapped(body, **options):
    """Return a tapped response with this body, and the ends that were reported."""
    ends = Ends()
    return await tap(
        http.Response(status=200, headers=http.Headers(), body=body), ends, **options
    ), ends


@pytest.mark.parametrize('body', ['x', b'x', '', {'json': 1}])
async def test_a_body_in_memory_ends_at_once(body):
    """The response is not changed."""
    response, ends = await tapped(body)
    assert (body, [type(None)]) == (response.body, ends)


@pytest.mark.parametrize('make', [numbers, lambda: iter([b'1', b'2'])], ids=['async', 'plain'])
async def test_a_streamed_body_ends_when_it_is_read(make):
    """Each chunk is seen and passed on; the end is reported once, even if the body is closed."""
    seen = []
    response, ends = await tapped(make(), seen=seen.append)
    assert [] == ends
    assert [b'1', b'2'] == [chunk async for chunk in response.body] == seen
    await response.body.aclose()
    assert [type(None)] == ends


async def test_a_stream_stays_a_stream():
    """It keeps its methods and its Content-Type."""
    headers = http.Headers({'Content-Type': 'text/plain; charset=iso-8859-1'})
    body = Stream(iter_bytes(b'\xe9'))
    response = await tap(http.Response(status=200, headers=headers, body=body), Ends())
    assert ['é'] == [line async for line in response.body.lines()]


async def test_a_stream_that_is_closed_early_ends():
    """Its source is closed, and the end is reported as a GeneratorExit."""
    closed = []
    response, ends = await tapped(Stream(numbers(closed)))
    async with response.body as stream:
        assert b'1' == await anext(stream)
    assert (['closed'], [GeneratorExit]) == (closed, ends)


async def test_a_stream_that_fails_ends():
    """Its exception is reported and raised."""
    response, ends = await tapped(Stream(numbers(error=http.ProtocolError('cut off'))))
    with pytest.raises(http.ProtocolError, match='cut off'):
        await response.body.read()
    assert [http.ProtocolError] == ends


async def test_a_stream_that_is_dropped_ends():
    """The end is reported when the stream is collected."""
    response, ends = await tapped(numbers())
    del response
    gc.collect()
    assert [GeneratorExit] == ends


async def test_an_async_callback_is_awaited():
    """The end of the body waits for it."""
    written = []

    async def note(error):
        written.append(error)

    response = await tap(http.Response(status=200, headers=http.Headers(), body=numbers()), note)
    assert [b'1', b'2'] == [chunk async for chunk in response.body]
    assert [None] == written
