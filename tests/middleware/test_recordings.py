"""Requests and their responses, written down."""

import asyncio
import json
from pathlib import Path

import pytest

import aioluahttp as http
from aioluahttp.bodies.stream import Stream
from aioluahttp.middleware.recordings import joined, kept, record

LOGIN = {
    'url': 'http://user:secret@h/a?b=c&token=secret',
    'headers': {'Cookie': 'secret', 'Accept': 'b'},
}


def lines(path):
    """Give the tables of a recording."""
    return [json.loads(line) for line in path.read_text().splitlines()]


async def answer(request):
    """Answer with secrets, also of a redirect on the way."""
    table = {
        'status': 200,
        'headers': [('Set-Cookie', 'secret'), ('A', 'b')],
        'body': 'x',
        'url': 'http://h/c?key=secret',
    }
    return {**table, 'history': [http.to_response({**table, 'status': 302})]}


async def chunks(*items):
    """Give these."""
    for item in items:
        yield item


async def test_each_exchange_is_a_line(tmp_path):
    """Of plain tables, in the order in which they were answered; the responses are as they were."""
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
    """Logins, cookies and fields of the query, also those of redirects; not for who asked."""
    file = tmp_path / 'tape.jsonl'
    response = await record(answer, file)(LOGIN)
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


async def test_secrets_are_written_where_one_asks_for_it(tmp_path):
    """For a recording that nobody else gets to see."""
    file = tmp_path / 'tape.jsonl'
    await record(answer, file, secrets=True)(LOGIN)
    (line,) = lines(file)
    assert ('/a?b=c&token=secret', 'secret') == (
        line['request']['url'],
        dict(line['request']['headers'])['Cookie'],
    )


@pytest.mark.parametrize('body', ['x', 'é', '\udcff', b'\xff', {'a': [1]}])
async def test_a_body_comes_back_from_a_line(tmp_path, body):
    """Text, bytes, or what was read from JSON."""
    file = tmp_path / 'tape.jsonl'
    given = http.Response(status=200, headers=http.Headers(), body=body)
    await record(lambda request: given, file)({'host': 'h'})
    assert given == http.Response.from_plain(lines(file)[0]['response'])


@pytest.mark.parametrize('make', [chunks, lambda *items: iter(items)], ids=['async', 'plain'])
async def test_what_flows_is_written_at_its_end(tmp_path, make):
    """As one text; the chunks go on as they are."""
    file = tmp_path / 'tape.jsonl'
    body = make('é', b'\xc3', b'\xa9')
    response = await record(lambda request: {'status': 200, 'body': body}, file)({'host': 'h'})
    assert not file.exists()
    assert ['é', b'\xc3', b'\xa9'] == [chunk async for chunk in response.body]
    assert ['éé'] == [line['response']['body'] for line in lines(file)]


async def test_what_was_not_read_is_not_written(tmp_path):
    """Half of a body is no recording."""
    file = tmp_path / 'tape.jsonl'
    handler = record(lambda request: {'status': 200, 'body': Stream(chunks(b'a', b'b'))}, file)
    async with (await handler({'host': 'h'})).body as stream:
        assert b'a' == await anext(stream)
    assert not file.exists()


async def test_a_status_error_is_written_and_raised(tmp_path):
    """Its response is what came; what else raises is no response."""
    file = tmp_path / 'tape.jsonl'
    failed = http.StatusError('404')
    failed.response = http.to_response({'status': 404})
    for error in (failed, http.TimedOut()):

        async def handler(request, error=error):
            raise error

        with pytest.raises(type(error)):
            await record(handler, file)({'host': 'h'})
    assert [404] == [line['response']['status'] for line in lines(file)]


async def test_a_websocket_passes_by(tmp_path):
    """It is opened, and not written."""

    async def chat(socket):
        await socket.send('hello')

    handler = record(lambda request: {'websocket': chat}, tmp_path / 'tape.jsonl')
    async with (
        http.listen('127.0.0.1', 0, handler) as server,
        http.websocket(url=server.url.replace('http', 'ws')) as socket,
    ):
        assert 'hello' == await anext(socket)
    assert not (tmp_path / 'tape.jsonl').exists()


async def test_what_no_line_can_hold_is_refused(tmp_path):
    """A request whose body flows, before it is sent, and a file."""
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


async def test_many_at_once_get_a_line_each(tmp_path):
    """Lines that are longer than a buffer are not mixed up."""
    file = tmp_path / 'tape.jsonl'
    body = 'x' * 100_000
    handler = record(lambda request: {'status': 200, 'body': body}, file)
    await asyncio.gather(*(handler({'host': 'h', 'url': f'/{n}'}) for n in range(20)))
    assert {f'/{n}' for n in range(20)} == {line['request']['url'] for line in lines(file)}
    assert {body} == {line['response']['body'] for line in lines(file)}


async def test_a_recording_goes_on(tmp_path):
    """What is in the file already stays."""
    file = tmp_path / 'tape.jsonl'
    for _ in range(2):
        await record(lambda request: {'status': 200}, str(file))({'host': 'h'})
    assert 2 == len(lines(file))


def test_a_folder_that_is_not_there_is_refused(tmp_path):
    """At once, not after the first request."""
    with pytest.raises(http.TableError, match=r"'path' is '.*'; it must be a file in a folder"):
        record(http.request, tmp_path / 'none' / 'tape.jsonl')


def test_of_a_request_what_tells_it_from_others_is_kept():
    """``into`` is kept where it is not that of every request."""
    table = {'host': 'h', 'timeout': 5, 'tls': False, 'ip': '::1', 'body': b'\xff'}
    plain = http.to_request(host='h', body=b'\xff').plain()
    assert plain == kept(http.to_request(table, into='text'))
    assert plain | {'into': 'bytes'} == kept(http.to_request(table, into='bytes'))


def test_chunks_are_joined_by_the_text_rule():
    """In the charset that the Content-Type names."""
    assert 'éÿ' == joined(['é', b'\xff'], 'text/plain; charset=iso-8859-1')
