"""Request bodies, whole and as streams."""

import zlib

import pytest

import aioluahttp as http
from aioluahttp.errors import Refused
from aioluahttp.exchange.request_body import (
    BodyParts,
    RequestChunks,
    decoder_of,
    open_request_stream,
    read_whole,
)
from aioluahttp.headers import Headers
from aioluahttp.tables.models import Request


class Parts(BodyParts):
    """Parts of a body; an exception among them is raised."""

    def __init__(self, *data):
        self.data = list(data)

    async def __anext__(self):
        """Return the next part."""
        if not self.data:
            raise StopAsyncIteration
        one = self.data.pop(0)
        if isinstance(one, Exception):
            raise one
        return one


class Arrived(Parts):
    """A body of which all has arrived."""

    def rest(self):
        """Return it."""
        return b''.join(self.data)


def to_request(**headers):
    """Make a request with these headers."""
    return Request(headers=Headers({name.replace('_', '-'): one for name, one in headers.items()}))


async def take(*data, into='text', limit=10, **headers):
    """Read a body whole, or as a stream to its end."""
    request = to_request(**headers)
    if into in ('text', 'json'):
        await read_whole(Parts(*data), request, into, limit)
        return request.body
    open_request_stream(
        RequestChunks(Parts(*data), decoder_of(into, request.headers, limit)), request
    )
    return (await request.body.read()).decode('latin-1')


WAYS = ('text', 'stream')
ZIPPED = zlib.compress(b'x' * 10)


@pytest.mark.parametrize('into', WAYS)
async def test_a_body_is_the_sum_of_its_parts(into):
    """It may be as long as the limit, or of any length without one."""
    assert 'abcdef' == await take(b'abc', b'def', into=into)
    assert 'x' * 20 == await take(b'x' * 20, into=into, limit=None, Content_Length='20')


@pytest.mark.parametrize('into', WAYS)
async def test_a_compressed_body_is_decoded(into):
    """The limit is for the decoded body, not for Content-Length."""
    headers = {'Content_Encoding': 'deflate', 'Content_Length': '9999'}
    assert 'x' * 10 == await take(ZIPPED, into=into, **headers)


async def test_a_raw_body_is_not_decoded():
    """Its headers stay as they are."""
    request = to_request(Content_Encoding='deflate')
    open_request_stream(
        RequestChunks(Parts(ZIPPED), decoder_of('raw', request.headers, None)), request
    )
    assert (ZIPPED, 'deflate') == (await request.body.read(), request.headers['Content-Encoding'])


FAULTS = [
    ((b'x' * 11,), {}, 413, http.BodyTooLarge),
    ((TimeoutError('late'),), {}, 408, http.TimedOut),
    ((ConnectionResetError('left'),), {}, 400, http.ProtocolError),
    ((ZIPPED[:-1],), {'Content_Encoding': 'deflate'}, 400, http.ProtocolError),
]


@pytest.mark.parametrize(('data', 'headers', 'status', 'kind'), FAULTS)
async def test_a_fault_of_the_client_has_its_status(data, headers, status, kind):
    """It is the status of the ``Refused``, which is raised, or the cause of a stream's error."""
    with pytest.raises(Refused) as caught:
        await take(*data, **headers)
    assert status == caught.value.status
    with pytest.raises(kind) as caught:
        await take(*data, into='stream', **headers)
    assert status == caught.value.__cause__.status


@pytest.mark.parametrize('into', WAYS)
async def test_a_content_length_above_the_limit_is_refused_at_once(into):
    """Nothing is read."""
    with pytest.raises(Refused) as caught:
        await take(AssertionError(), into=into, Content_Length='11')
    assert 413 == caught.value.status


async def test_invalid_json_is_refused():
    """A valid body is parsed."""
    assert [1] == await take(b'[1]', into='json')
    with pytest.raises(Refused):
        await take(b'[', into='json')


async def test_a_body_that_has_arrived_is_read_at_once():
    """It has the same limit."""
    request = to_request()
    await read_whole(Arrived(b'ab', b'c'), request, 'bytes', 3)
    assert b'abc' == request['body']
    with pytest.raises(Refused) as refused:
        await read_whole(Arrived(b'ab', b'cd'), to_request(), 'bytes', 3)
    assert 413 == refused.value.status
