"""One record for each request."""

import asyncio
import contextlib
import logging
from pathlib import Path

import pytest

import aioluahttp as http
from aioluahttp.bodies.stream import Stream
from aioluahttp.middleware.logs import log

FIELDS = ('method', 'url', 'status', 'bytes', 'error')


def fields_of(record):
    """Give what a record has for structured logging, but for the time."""
    return tuple(getattr(record, name) for name in FIELDS)


@pytest.fixture
def records(caplog):
    """Give a function for the records so far."""
    caplog.set_level(logging.DEBUG, 'aioluahttp.requests')
    return lambda: caplog.records


async def chunks(error=None):
    """Give five bytes, as text and as bytes, and fail then where an error is given."""
    yield 'é'
    yield b'abc'
    if error:
        raise error


async def test_a_request_is_a_record_with_its_attributes(records):
    """It tells no login and no query, which may be secret."""
    handler = log(lambda request: {'status': 404, 'body': 'é'})
    response = await handler({'url': 'http://user:secret@h/a?key=secret', 'method': 'post'})
    assert http.to_response({'status': 404, 'body': 'é'}) == response
    (record,) = records()
    assert ('POST', 'http://h:80/a', 404, 2, None) == fields_of(record)
    assert 0 <= record.seconds < 60
    assert ('aioluahttp.requests', 'INFO') == (record.name, record.levelname)
    assert record.getMessage().startswith('POST http://h:80/a: 404, 2 bytes in 0.')


@pytest.mark.parametrize(
    ('answer', 'size'),
    [
        ({'body': b'abc'}, 3),
        ({}, 0),
        ({'json': [1]}, 3),
        ({'body': Path('/etc/hosts')}, None),
    ],
)
async def test_the_bytes_are_those_of_the_body(records, answer, size):
    """Where it is there; of a file they are not known."""
    await log(lambda request: {'status': 200, **answer})({'host': 'h'})
    assert [size] == [record.bytes for record in records()]


async def test_what_was_read_from_json_has_no_bytes(records):
    """They are gone once it was read."""
    given = http.Response(status=200, headers={}, body={'a': 1})
    await log(lambda request: given)({'host': 'h', 'into': 'json'})
    assert [None] == [record.bytes for record in records()]


async def test_a_failure_is_a_warning(records):
    """It tells the kind alone, for the text may be secret; the exception goes on."""

    async def handler(request):
        raise http.ConnectError('secret')

    with pytest.raises(http.ConnectError):
        await log(handler)({'host': 'h'})
    (record,) = records()
    assert ('GET', 'http://h:80/', None, None, 'ConnectError') == fields_of(record)
    assert 'WARNING' == record.levelname
    assert record.getMessage().startswith('GET http://h:80/: ConnectError after 0.')


async def test_who_gives_up_is_no_failure(records):
    """A request that is cancelled has a record like others."""
    task = asyncio.create_task(log(lambda request: asyncio.Event().wait())({'host': 'h'}))
    await asyncio.sleep(0)
    task.cancel()
    with pytest.raises(asyncio.CancelledError):
        await task
    assert [('INFO', 'CancelledError')] == [(one.levelname, one.error) for one in records()]


@pytest.mark.parametrize(
    ('read', 'error', 'expected'),
    [
        (Stream.read, None, ('INFO', 5, None)),
        (Stream.close, None, ('INFO', 0, 'GeneratorExit')),
        (Stream.read, http.ProtocolError('x'), ('WARNING', 5, 'ProtocolError')),
    ],
    ids=['read', 'left', 'broken'],
)
async def test_a_stream_is_logged_at_its_end(records, read, error, expected):
    """With the bytes up to there, whether it was read, left or broke off."""

    async def encoded():
        async for chunk in chunks(error):
            yield chunk.encode() if isinstance(chunk, str) else chunk

    response = await log(lambda request: {'status': 200, 'body': Stream(encoded())})({'host': 'h'})
    assert [] == records()
    with contextlib.suppress(http.ProtocolError):
        await read(response.body)
    assert [expected] == [(one.levelname, one.bytes, one.error) for one in records()]


async def test_text_that_flows_counts_as_bytes(records):
    """A callback may give text chunk by chunk."""
    response = await log(lambda request: {'status': 200, 'body': chunks()})({'host': 'h'})
    assert ['é', b'abc'] == [chunk async for chunk in response.body]
    assert [5] == [record.bytes for record in records()]


async def test_logger_and_level_can_be_chosen(caplog):
    """As for any use of logging."""
    caplog.set_level(logging.DEBUG, 'mine')
    handler = log(lambda request: {'status': 200}, logging.getLogger('mine'), level=logging.DEBUG)
    await handler({'host': 'h'})
    assert [('mine', 'DEBUG')] == [(one.name, one.levelname) for one in caplog.records]
