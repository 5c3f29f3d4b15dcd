"""The middlewares ``record`` and ``replay``."""

import asyncio
import json
from pathlib import Path

import pytest

import aioluahttp as http
from aioluahttp.bodies.stream import Stream
from aioluahttp.middleware.recordings import join_chunks, record, recorded_keys, replay

LOGIN = {
    'url': 'http://user:secret@h/a?b=c&token=secret',
    'headers': {'Cookie': 'secret', 'Accept': 'b'},
}


def lines(path):
    """Return the tables of a recording."""
    return [json.loads(line) for line in path.read_text().splitlines()]


async def respond(request):
    """Respond with secrets, also in the redirect of ``history``."""
    table = {
        'status': 200,
        'headers': [('Set-Cookie', 'secret'), ('A', 'b')],
        'body': 'x',
        'url': 'http://h/c?key=secret',
    }
    return {**table, 'history': [http.to_response({**table, 'status': 302})]}


async def chunks(*items):
    """Yield the items."""
    for item in items:
        yield item


async def test_each_exchange_is_a_line(tmp_path):
    """Lines are plain tables in the order of the responses, which are passed on unchanged."""
    file = tmp_path / 'tape.jsonl'
    handler = record(lambda request: {'status': 200, 'body': request.url}, file)
    for url in ('/1', '/2'):
        response = await handler({'host': 'h', 'url': url, 'timeout': 5, 'into': 'text'})
        assert http.to_response({'status': 200, 'body': url}) == response
    assert ['/1', '/2'] == [line['request']['url'] for line in lines(file)]
    request, first = lines(file)[0].values()
    assert {'status': 200, 'headers': [], 'body': '/1'} == first
    assert http.to_request({'host': 'h', 'url': '/1'}).plain() == request


async def test_secrets_are_hidden(tmp_path):
    """Logins, cookies and query fields are hidden, also in redirects, but not for the caller."""
    file = tmp_path / 'tape.jsonl'
    response = await record(respond, file)(LOGIN)
    assert 'secret' == response.headers['Set-Cookie']
    assert 'secret' not in file.read_text()
    (line,) = lines(file)
    assert ('/a?b=c&token=***', 'b=c&token=***') == (
        line['request']['url'],
        line['request']['query'],
    )
    hidden = [['Cookie', '***'], ['Accept', 'b'], ['Authorization', '***']]
    assert hidden == line['request']['headers']
    assert [['Set-Cookie', '***'], ['A', 'b']] == line['response']['history'][0]['headers']
    assert ['http://h/c?key=***'] * 2 == [
        line['response']['url'],
        line['response']['history'][0]['url'],
    ]


async def test_secrets_are_written_on_request(tmp_path):
    """``secrets=True`` writes them unchanged."""
    file = tmp_path / 'tape.jsonl'
    await record(respond, file, secrets=True)(LOGIN)
    (line,) = lines(file)
    assert ('/a?b=c&token=secret', 'secret') == (
        line['request']['url'],
        dict(line['request']['headers'])['Cookie'],
    )


@pytest.mark.parametrize('body', ['x', 'é', '\udcff', b'\xff', {'a': [1]}])
async def test_a_recorded_body_can_be_restored(tmp_path, body):
    """Text, bytes, or a value decoded from JSON."""
    file = tmp_path / 'tape.jsonl'
    given = http.Response(status=200, headers=http.Headers(), body=body)
    await record(lambda request: given, file)({'host': 'h'})
    assert given == http.Response.from_plain(lines(file)[0]['response'])


@pytest.mark.parametrize('make', [chunks, lambda *items: iter(items)], ids=['async', 'plain'])
async def test_a_streamed_body_is_written_at_its_end(tmp_path, make):
    """It is written as one text; the chunks are passed on unchanged."""
    file = tmp_path / 'tape.jsonl'
    body = make('é', b'\xc3', b'\xa9')
    response = await record(lambda request: {'status': 200, 'body': body}, file)({'host': 'h'})
    assert not file.exists()
    assert ['é', b'\xc3', b'\xa9'] == [chunk async for chunk in response.body]
    assert ['éé'] == [line['response']['body'] for line in lines(file)]


async def test_an_unfinished_stream_is_not_written(tmp_path):
    """A body that was not read to its end is incomplete."""
    file = tmp_path / 'tape.jsonl'
    handler = record(lambda request: {'status': 200, 'body': Stream(chunks(b'a', b'b'))}, file)
    async with (await handler({'host': 'h'})).body as stream:
        assert b'a' == await anext(stream)
    assert not file.exists()


async def test_a_status_error_is_written_and_raised(tmp_path):
    """Its response is written. Other exceptions have no response to write."""
    file = tmp_path / 'tape.jsonl'
    failed = http.StatusError('404')
    failed.response = http.to_response({'status': 404})
    for error in (failed, http.TimedOut()):

        async def handler(request, error=error):
            raise error

        with pytest.raises(type(error)):
            await record(handler, file)({'host': 'h'})
    assert [404] == [line['response']['status'] for line in lines(file)]


async def test_a_websocket_is_not_written(tmp_path):
    """It is opened as usual."""

    async def chat(socket):
        await socket.send('hello')

    handler = record(lambda request: {'websocket': chat}, tmp_path / 'tape.jsonl')
    async with (
        http.listen('127.0.0.1', 0, handler) as server,
        http.websocket(url=server.url.replace('http', 'ws')) as socket,
    ):
        assert 'hello' == await anext(socket)
    assert not (tmp_path / 'tape.jsonl').exists()


async def test_a_streamed_request_body_and_a_file_are_rejected(tmp_path):
    """The request is rejected before it is sent."""
    asked = []

    async def handler(request):
        asked.append(request)
        return {'status': 200, 'body': Path(__file__)}

    recorded = record(handler, tmp_path / 'tape.jsonl')
    with pytest.raises(http.TableError, match="'body' is "):
        await recorded(http.to_request(host='h') | {'body': Stream(chunks())})
    assert [] == asked
    with pytest.raises(http.TableError, match="'body' is "):
        await recorded({'host': 'h'})


async def test_concurrent_requests_get_a_line_each(tmp_path):
    """Lines that are longer than a buffer are not mixed up."""
    file = tmp_path / 'tape.jsonl'
    body = 'x' * 100_000
    handler = record(lambda request: {'status': 200, 'body': body}, file)
    await asyncio.gather(*(handler({'host': 'h', 'url': f'/{n}'}) for n in range(20)))
    assert {f'/{n}' for n in range(20)} == {line['request']['url'] for line in lines(file)}
    assert {body} == {line['response']['body'] for line in lines(file)}


async def test_a_recording_is_appended_to(tmp_path):
    """Existing lines stay."""
    file = tmp_path / 'tape.jsonl'
    for _ in range(2):
        await record(lambda request: {'status': 200}, str(file))({'host': 'h'})
    assert 2 == len(lines(file))


def test_a_missing_folder_is_rejected(tmp_path):
    """It is checked at once, not after the first request."""
    with pytest.raises(http.TableError, match=r"'path' is '.*'; it must be a file in a folder"):
        record(http.request, tmp_path / 'none' / 'tape.jsonl')


def test_only_identifying_keys_of_a_request_are_kept():
    """``into`` is kept if it is not the default."""
    table = {'host': 'h', 'timeout': 5, 'tls': False, 'ip': '::1', 'body': b'\xff'}
    plain = http.to_request(host='h', body=b'\xff').plain()
    assert plain == recorded_keys(http.to_request(table, into='text'))
    assert plain | {'into': 'bytes'} == recorded_keys(http.to_request(table, into='bytes'))


def test_chunks_are_joined_in_the_charset_of_the_content_type():
    """Text and bytes chunks may be mixed."""
    assert 'éÿ' == join_chunks(['é', b'\xff'], 'text/plain; charset=iso-8859-1')


@pytest.fixture
def tape(tmp_path):
    """Return a function that records requests to a handler and returns the path."""

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
    """Make a handler that numbers its responses."""
    count = iter(range(1000))
    return lambda request: {'status': 200, 'body': f'{request.url} {next(count)}'}


async def test_recorded_responses_are_replayed(tape):
    """Each request gets its response, in any order."""
    path = await tape(counting(), {'url': '/a'}, {'url': '/b'})
    handler = replay(path)
    for url, body in (('/b', '/b 1'), ('/a', '/a 0'), ('/b', '/b 1')):
        response = await handler({'url': 'http://h' + url, 'headers': {'A': 'b'}, 'timeout': 1})
        assert http.to_response({'status': 200, 'body': body}) == response


async def test_equal_requests_get_their_responses_in_order(tape):
    """The last response is repeated; each is a copy that the caller may change."""
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
async def test_an_unknown_request_is_an_error_that_names_the_nearest(tape, table, message):
    """The error says in which keys the nearest one differs, and shows no secret."""
    path = await tape(counting(), {'url': '/a'}, {'url': '/p', 'method': 'POST', 'body': 'x'})
    with pytest.raises(http.TableError) as caught:
        await replay(path)({'host': 'h', **table})
    assert (True, False) == (message in str(caught.value), 'secret' in str(caught.value))


async def test_an_empty_recording_is_named_in_the_error(tape):
    """There is no nearest request."""
    with pytest.raises(
        http.TableError, match=r'^nothing is recorded for GET http://h:80/; the rec'
    ):
        await replay(await tape(counting()))({'host': 'h'})


async def test_hidden_secrets_are_ignored_in_matching(tape):
    """A request matches whatever its secrets are if the recording has hidden them."""
    handler = replay(await tape(counting(), {'url': '/a?key=one&b=c', 'bearer': 'x'}))
    response = await handler({'host': 'h', 'url': '/a?key=other&b=c', 'bearer': 'y'})
    assert '/a?key=one&b=c 0' == response.body


async def test_written_secrets_count_in_matching(tape):
    """Requests that differ in their secrets get different responses."""
    path = await tape(counting(), {'url': '/a?key=1'}, {'url': '/a?key=2'}, secrets=True)
    assert '/a?key=2 1' == (await replay(path)({'host': 'h', 'url': '/a?key=2'})).body


async def test_the_keys_to_match_can_be_chosen(tape):
    """Any recorded keys can be given as ``match``."""
    path = await tape(counting(), {'url': '/a', 'method': 'POST', 'body': 'x'})
    response = await replay(path, match=['path'])({'host': 'other', 'url': '/a?b=c'})
    assert '/a 0' == response.body


@pytest.mark.parametrize('into', ['stream', 'raw'])
@pytest.mark.parametrize('data', [b'\xff\xc3\xa9', b''])
async def test_a_stream_is_replayed_as_a_stream(tape, into, data):
    """It has the same bytes, although it was recorded as text."""

    async def chunks():
        for byte in data:
            yield bytes([byte])

    path = await tape(lambda request: {'status': 200, 'body': Stream(chunks())}, {'into': into})
    async with (await replay(path)({'host': 'h', 'into': into})).body as stream:
        assert data == await stream.read()


@pytest.mark.parametrize('check', [True, [200]])
async def test_check_works_as_for_request(tape, check):
    """A status that it does not accept is a StatusError with the response."""
    handler = replay(await tape(lambda request: {'status': 404, 'body': 'x'}, {}))
    with pytest.raises(http.StatusError, match=r'^GET http://h:80/: 404$') as caught:
        await handler({'host': 'h', 'check': check})
    assert 'x' == caught.value.response.body
    assert 404 == (await handler({'host': 'h', 'check': {404}})).status


async def test_concurrent_requests_share_one_recording(tape):
    """It is read once, and each response is returned once."""
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
async def test_an_invalid_line_is_an_error(tmp_path, line):
    """The error names the line number and the file."""
    path = tmp_path / 'tape.jsonl'
    path.write_text(f'{json.dumps(GOOD)}\n{line}\n')
    with pytest.raises(
        http.TableError, match=r'^line 2 of .*tape.jsonl is not a recorded exchange'
    ):
        await replay(path)({'host': 'h'})


def test_a_missing_file_and_unknown_keys_are_rejected(tmp_path):
    """``match`` must be a list of recorded keys."""
    with pytest.raises(
        http.TableError, match=r"'path' is '.*'; it must be an existing file that record has"
    ):
        replay(tmp_path / 'none')
    (tmp_path / 'tape').touch()
    with pytest.raises(http.TableError, match=r"unknown key 'pat': did you mean 'path'\?"):
        replay(tmp_path / 'tape', match=['pat'])
    with pytest.raises(
        http.TableError, match="'match' is 'path'; it must be a non-empty list of str"
    ):
        replay(tmp_path / 'tape', match='path')
