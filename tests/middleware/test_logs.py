"""The middleware ``log``: one log record for each request."""

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
    """Return the attributes of a record for structured logging, except the time."""
    return tuple(getattr(record, name) for name in FIELDS)


@pytest.fixture
def records(caplog):
    """Return a function that returns the records so far."""
    caplog.set_level(logging.DEBUG, 'aioluahttp.requests')
    return lambda: caplog.records


async def chunks(error=None):
    """Yield five bytes, as text and as bytes, and then raise the error if there is one."""
    yield 'é'
    yield b'abc'
    if error:
        raise error


async def test_a_request_is_logged_with_its_attributes(records):
    """Login and query are left out, because they may be secret."""
    handler = log(lambda request: {'status': 404, 'body': 'é'})
    response = await handler({'url': 'http://user:secret@h/a?key=secret', 'method': 'post'})
    assert http.to_response({'status': 404, 'body': 'é'}) == response
    (record,) = records()
    assert ('POST', 'http://h:80/a', 404, 2, None) == fields_of(record)
    assert 0 <= record.seconds < 60
    assert ('aioluahttp.requests', 'INFO') == (record.name, record.levelname)
    assert record.getMessage().startswith('POST http://h:80/a: 404, 2 bytes in 0.')


@pytest.mark.parametrize(
    ('fields', 'size'),
    [
        ({'body': b'abc'}, 3),
        ({}, 0),
        ({'json': [1]}, 3),
        ({'body': Path('/etc/hosts')}, None),
    ],
)
async def test_the_size_of_the_body_is_logged(records, fields, size):
    """The size of a file is not known."""
    await log(lambda request: {'status': 200, **fields})({'host': 'h'})
    assert [size] == [record.bytes for record in records()]


async def test_a_body_decoded_from_json_has_no_size(records):
    """Its bytes are not kept."""
    given = http.Response(status=200, headers={}, body={'a': 1})
    await log(lambda request: given)({'host': 'h', 'into': 'json'})
    assert [None] == [record.bytes for record in records()]


async def test_a_failure_is_a_warning(records):
    """Only the name of the exception's class is logged, because its text may be secret."""

    async def handler(request):
        raise http.ConnectError('secret')

    with pytest.raises(http.ConnectError):
        await log(handler)({'host': 'h'})
    (record,) = records()
    assert ('GET', 'http://h:80/', None, None, 'ConnectError') == fields_of(record)
    assert 'WARNING' == record.levelname
    assert record.getMessage().startswith('GET http://h:80/: ConnectError after 0.')


async def test_a_cancelled_request_is_not_a_failure(records):
    """It is logged at the usual level."""
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
    """With the bytes up to then, whether it was read, closed early or failed."""

    async def encoded():
        async for chunk in chunks(error):
            yield chunk.encode() if isinstance(chunk, str) else chunk

    response = await log(lambda request: {'status': 200, 'body': Stream(encoded())})({'host': 'h'})
    assert [] == records()
    with contextlib.suppress(http.ProtocolError):
        await read(response.body)
    assert [expected] == [(one.levelname, one.bytes, one.error) for one in records()]


async def test_streamed_text_counts_as_bytes(records):
    """A handler may stream text chunks."""
    response = await log(lambda request: {'status': 200, 'body': chunks()})({'host': 'h'})
    assert ['é', b'abc'] == [chunk async for chunk in response.body]
    assert [5] == [record.bytes for record in records()]


async def test_logger_and_level_can_be_chosen(caplog):
    """The options ``logger`` and ``level`` are used."""
    caplog.set_level(logging.DEBUG, 'mine')
    handler = log(lambda request: {'status': 200}, logging.getLogger('mine'), level=logging.DEBUG)
    await handler({'host': 'h'})
    assert [('mine', 'DEBUG')] == [(one.name, one.levelname) for one in caplog.records]
