"""What was recorded, given again."""

import asyncio
import json

import pytest

import aioluahttp as http
from aioluahttp.bodies.stream import Stream
from aioluahttp.middleware.recordings import record
from aioluahttp.middleware.replays import replay


@pytest.fixture
def tape(tmp_path):
    """Record requests to a handler, and give the path of that."""

    async def made(handler, *tables, **options):
        path = tmp_path / 'tape.jsonl'
        path.touch()
        for table in tables:
            response = await record(handler, path, **options)({'host': 'h', **table})
            if isinstance(response.body, Stream):
                await response.body.read()
        return path

    return made


def counting():
    """Make a handler that counts its requests."""
    count = iter(range(1000))
    return lambda request: {'status': 200, 'body': f'{request.url} {next(count)}'}


async def test_what_was_recorded_is_given(tape):
    """Each response to its request, in any order."""
    path = await tape(counting(), {'url': '/a'}, {'url': '/b'})
    handler = replay(path)
    for url, body in (('/b', '/b 1'), ('/a', '/a 0'), ('/b', '/b 1')):
        response = await handler({'url': 'http://h' + url, 'headers': {'A': 'b'}, 'timeout': 1})
        assert http.to_response({'status': 200, 'body': body}) == response


async def test_what_is_alike_is_given_in_order(tape):
    """The last of it from then on, and each to be changed by who gets it."""
    handler = replay(str(await tape(counting(), *[{'url': '/a'}] * 3)))
    bodies = []
    for _ in range(5):
        response = await handler({'host': 'h', 'url': '/a'})
        bodies.append(response.body)
        response.headers['A'] = response.body = 'changed'
        assert 1 == len(response.headers)
    assert ['/a 0', '/a 1', '/a 2', '/a 2', '/a 2'] == bodies


@pytest.mark.parametrize(
    ('table', 'message'),
    [
        ({'url': '/b'}, "GET http://h:80/b; the nearest is GET http://h:80/a, where 'url' is '/a'"),
        (
            {'url': '/p', 'method': 'POST', 'body': 'y'},
            "POST http://h:80/p; the nearest is POST http://h:80/p, where 'body' is 'x'",
        ),
        (
            {'url': '/a', 'into': 'bytes', 'method': 'PUT'},
            "the nearest is GET http://h:80/a, where 'method' is 'GET' and 'into' is None",
        ),
        ({'url': '/b?token=secret'}, 'GET http://h:80/b?token=***; the nearest is '),
    ],
)
async def test_what_was_not_recorded_is_an_error_with_the_nearest(tape, table, message):
    """It tells in what that differs, and no secret."""
    path = await tape(counting(), {'url': '/a'}, {'url': '/p', 'method': 'POST', 'body': 'x'})
    with pytest.raises(http.TableError) as caught:
        await replay(path)({'host': 'h', **table})
    assert (True, False) == (message in str(caught.value), 'secret' in str(caught.value))


async def test_an_empty_recording_says_so(tape):
    """There is no nearest."""
    with pytest.raises(
        http.TableError, match=r'^nothing is recorded for GET http://h:80/; the rec'
    ):
        await replay(await tape(counting()))({'host': 'h'})


async def test_secrets_do_not_matter(tape):
    """A request is found whatever its secrets are, which the recording does not have."""
    handler = replay(await tape(counting(), {'url': '/a?key=one&b=c', 'bearer': 'x'}))
    response = await handler({'host': 'h', 'url': '/a?key=other&b=c', 'bearer': 'y'})
    assert '/a?key=one&b=c 0' == response.body


async def test_secrets_matter_where_they_were_written(tape):
    """They tell one request from another then."""
    path = await tape(counting(), {'url': '/a?key=1'}, {'url': '/a?key=2'}, secrets=True)
    assert '/a?key=2 1' == (await replay(path)({'host': 'h', 'url': '/a?key=2'})).body


async def test_what_makes_requests_alike_can_be_chosen(tape):
    """Any keys that are recorded."""
    path = await tape(counting(), {'url': '/a', 'method': 'POST', 'body': 'x'})
    response = await replay(path, match=['path'])({'host': 'other', 'url': '/a?b=c'})
    assert '/a 0' == response.body


@pytest.mark.parametrize('into', ['stream', 'raw'])
@pytest.mark.parametrize('data', [b'\xff\xc3\xa9', b''])
async def test_a_stream_is_given_as_a_stream(tape, into, data):
    """With the same bytes; it was recorded as its text."""

    async def chunks():
        for byte in data:
            yield bytes([byte])

    path = await tape(lambda request: {'status': 200, 'body': Stream(chunks())}, {'into': into})
    async with (await replay(path)({'host': 'h', 'into': into})).body as stream:
        assert data == await stream.read()


@pytest.mark.parametrize('check', [True, [200]])
async def test_check_holds_as_for_request(tape, check):
    """A status that it does not accept is a StatusError with the response."""
    handler = replay(await tape(lambda request: {'status': 404, 'body': 'x'}, {}))
    with pytest.raises(http.StatusError, match=r'^GET http://h:80/: 404$') as caught:
        await handler({'host': 'h', 'check': check})
    assert 'x' == caught.value.response.body
    assert 404 == (await handler({'host': 'h', 'check': {404}})).status


async def test_many_at_once_share_one_tape(tape):
    """It is read from the first request on, and each response is given once."""
    handler = replay(await tape(counting(), *[{}] * 10))
    responses = await asyncio.gather(*(handler({'host': 'h'}) for _ in range(10)))
    assert {f'/ {n}' for n in range(10)} == {response.body for response in responses}


GOOD = {'request': http.to_request(host='h').plain(), 'response': {'status': 200, 'headers': []}}


@pytest.mark.parametrize(
    'line',
    [
        'x',
        '[]',
        '{}',
        '{"request": {}, "response": {"status": 200}}',
        json.dumps({**GOOD, 'response': 5}),
        json.dumps({**GOOD, 'response': {}}),
        json.dumps({**GOOD, 'response': {'status': 200, 'headers': 5}}),
        '[' * 100_000,
    ],
    ids=lambda line: line[:60],
)
async def test_a_line_that_is_none_is_told(tmp_path, line):
    """By its number and the file."""
    path = tmp_path / 'tape.jsonl'
    path.write_text(f'{json.dumps(GOOD)}\n{line}\n')
    with pytest.raises(http.TableError, match=r'^line 2 of .*tape.jsonl is no recorded exchange'):
        await replay(path)({'host': 'h'})


def test_what_cannot_be_replayed_is_refused(tmp_path):
    """A file that is not there, and keys that no request has."""
    with pytest.raises(http.TableError, match=r"'path' is '.*'; it must be a file that record has"):
        replay(tmp_path / 'none')
    (tmp_path / 'tape').touch()
    with pytest.raises(http.TableError, match=r"unknown key 'pat': did you mean 'path'\?"):
        replay(tmp_path / 'tape', match=['pat'])
    with pytest.raises(http.TableError, match="'match' is 'path'; it must be a list of text"):
        replay(tmp_path / 'tape', match='path')
