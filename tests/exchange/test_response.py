"""Writing a response table to an engine that does the framing."""

import asyncio
from pathlib import Path

import pytest

import aioluahttp as http
from aioluahttp.exchange.response import cancelled_when, to_ready, write_later, write_now
from aioluahttp.headers import Headers


class Recorder:
    """A ``ResponseWriter`` that records; its client leaves once ``leaves`` is set."""

    def __init__(self, *, files=False):
        self.begun = self.gone = False
        self.heads, self.data, self.ended, self.paths = [], [], False, []
        self.leaves, self.files = asyncio.Event(), files

    async def left(self):
        """Wait for ``leaves``."""
        await self.leaves.wait()
        self.gone = True

    def cancelled_when_left(self):
        """Cancel the block once ``leaves`` is set."""
        return cancelled_when(self.left)

    async def whole(self, response, body):
        """Record a complete response."""
        await self.start(response)
        self.data.append(body)
        await self.end()

    async def start(self, response):
        """Record a head."""
        self.begun = True
        status, reason, headers = response.head()
        self.heads.append((status, reason, dict(headers)))

    async def write(self, data):
        """Record a part."""
        self.data.append(data)

    async def end(self):
        """Record the end."""
        self.ended = True

    async def file(self, pieces):
        """Record a file and whether it is whole, if files are accepted; return whether they are."""
        self.paths += [(pieces.path, pieces.is_whole)] * self.files
        return self.files


async def write(writer, method, asked, response):
    """Write a response as the responder does."""
    if not await write_now(writer, method, response):
        await write_later(writer, method, asked, response)


async def written(table, method='GET', writer=None, **asked):
    """Write a table, and return the writer with what it recorded."""
    writer = writer or Recorder()
    response = http.to_response(table)
    await write(writer, method, Headers(asked), response)
    assert response['status'] == writer.heads[0][0]
    return writer


TEXT = 'text/plain; charset=utf-8'
BYTES = 'application/octet-stream'


@pytest.mark.parametrize(
    ('table', 'method', 'headers', 'data'),
    [
        ({'body': 'é'}, 'GET', {'Content-Type': TEXT, 'Content-Length': '2'}, 'é'.encode()),
        ({'body': 'é'}, 'HEAD', {'Content-Type': TEXT, 'Content-Length': '2'}, b''),
        ({}, 'GET', {'Content-Length': '0'}, b''),
        ({'headers': {'Connection': 'Close, x', 'TE': 'y'}}, 'GET',
         {'Connection': 'close', 'Content-Length': '0'}, b''),
        ({'status': 204, 'body': 'a'}, 'GET', {'Content-Type': TEXT}, b''),
        ({'status': 304, 'headers': {'Content-Length': 5}}, 'GET', {}, b''),
        ({'body': iter('ab'), 'headers': {'Content-Length': 2}}, 'HEAD',
         {'Content-Type': BYTES, 'Content-Length': '2'}, b''),
    ],
)  # fmt: skip
async def test_a_complete_response_has_a_length_and_no_hop_by_hop_fields(
    table, method, headers, data
):
    """Only ``Connection: close`` stays."""
    writer = await written({'status': 200} | table, method)
    assert [headers] == [head[2] for head in writer.heads]
    assert ([data], True) == (writer.data, writer.ended)


async def test_a_streamed_response_has_the_length_that_was_given():
    """Without Content-Length from the handler it has none."""
    writer = await written({'status': 200, 'reason': 'Fine', 'body': iter(['a', b'b'])})
    assert [(200, 'Fine', {'Content-Type': BYTES})] == writer.heads
    assert ([b'a', b'b'], True) == (writer.data, writer.ended)
    writer = await written({'status': 200, 'headers': {'Content-Length': 0}, 'body': iter(())})
    assert ([], '0') == (writer.data, writer.heads[0][2]['Content-Length'])


@pytest.mark.parametrize('body', [['abc'], ['a'], [1]])
async def test_a_wrong_chunk_is_an_error(body):
    """Too long, too short, or not bytes; if it is the first, no head is written."""
    writer = Recorder()
    with pytest.raises(http.TableError):
        await written(
            {'status': 200, 'headers': {'Content-Length': 2}, 'body': iter(body)}, writer=writer
        )
    assert (body == ['a'], False) == (writer.begun, writer.ended)


@pytest.mark.parametrize('method', ['GET', 'HEAD'])
async def test_an_iterator_that_is_not_read_is_closed(method):
    """A HEAD has no body, and an invalid Content-Length is an error."""
    closed = []

    class Chunks:
        def __aiter__(self):
            return self

        async def __anext__(self):
            raise AssertionError('it is not read')

        async def aclose(self):
            closed.append(True)

    response = http.to_response({'status': 200, 'body': Chunks()})
    if method == 'GET':
        response['headers']['Content-Length'] = 'x'
        with pytest.raises(http.TableError):
            await to_ready(method, Headers(), response)
    else:
        assert b'' == (await to_ready(method, Headers(), response)).body
    assert [True] == closed


async def test_parsed_json_is_no_body():
    """The error says to use ``json``."""
    with pytest.raises(http.TableError, match='use json'):
        await write(
            Recorder(), 'GET', Headers(), http.Response(status=200, headers=Headers(), body={})
        )


async def test_a_client_that_leaves_closes_the_iterator():
    """Even while it waits."""
    closed = []

    async def chunks():
        try:
            yield 'a'
            writer.leaves.set()
            await asyncio.Event().wait()
        finally:
            closed.append(True)

    writer = Recorder()
    with pytest.raises(ConnectionResetError):
        await written({'status': 200, 'body': chunks()}, writer=writer)
    assert ([True], True) == (closed, writer.gone)


async def test_a_cancellation_from_outside_is_passed_on():
    """Also if the client leaves at the same time."""

    async def wait(writer):
        async with writer.cancelled_when_left():
            await asyncio.Event().wait()

    for leaves in (False, True):
        writer = Recorder()
        task = asyncio.create_task(wait(writer))
        await asyncio.sleep(0)
        task.cancel()
        if leaves:
            task.cancel()
            writer.leaves.set()
        with pytest.raises(asyncio.CancelledError):
            await task


@pytest.fixture
def file(tmp_path):
    """Make a file of ten digits."""
    path = tmp_path / 'a.txt'
    path.write_bytes(b'0123456789')
    return path


@pytest.mark.parametrize(
    ('method', 'asked', 'status', 'data', 'length'),
    [
        ('GET', {}, 200, [b'0123456789'], '10'),
        ('GET', {'Range': 'bytes=2-3'}, 206, [b'23'], '2'),
        ('GET', {'Range': 'bytes=12-'}, 416, [b''], '0'),
        ('GET', {'If-None-Match': '*'}, 304, [b''], None),
        ('HEAD', {}, 200, [b''], '10'),
    ],
)
async def test_a_file_is_a_response_body(file, method, asked, status, data, length):
    """The whole, a part or nothing is sent; the fields of the file count, except the type."""
    headers = {'Content-Type': 'a/b', 'ETag': '"x"', 'X': 'y'}
    table = {'status': 200, 'reason': 'Fine', 'headers': headers, 'body': file}
    writer = await written(table, method, **asked)
    found, reason, sent = writer.heads[0]
    assert (status, 'Fine' if status == 200 else None) == (found, reason)
    assert (data, length, 'a/b') == (writer.data, sent.get('Content-Length'), sent['Content-Type'])
    assert sent['ETag'] != '"x"' or status == 416


@pytest.mark.parametrize(('asked', 'whole'), [({}, True), ({'Range': 'bytes=0-1'}, False)])
async def test_the_engine_may_send_a_file(file, asked, whole):
    """It is told whether that is all of the file."""
    writer = await written({'status': 200, 'body': file}, writer=Recorder(files=True), **asked)
    assert [(str(file), whole)] == writer.paths
    assert 'text/plain; charset=utf-8' == writer.heads[0][2]['Content-Type']


@pytest.mark.parametrize(('status', 'found'), [(200, 404), (204, 204)])
async def test_a_missing_file_is_a_404(tmp_path, status, found):
    """A status without a body needs no file."""
    writer = await written({'status': status, 'body': tmp_path / 'none'})
    assert (found, [b'Not Found' if found == 404 else b'']) == (writer.heads[0][0], writer.data)


async def test_a_file_that_becomes_shorter_breaks_off(file):
    """Otherwise the client would wait for the rest."""

    class Cuts(Recorder):
        async def start(self, *head):
            file.write_bytes(b'012')

    writer = Cuts()
    with pytest.raises(OSError, match='shorter'):
        await written({'status': 200, 'body': file}, writer=writer)
    assert [b'012'] == writer.data


@pytest.mark.parametrize('name', ['a.txt', 'none'])
async def test_a_file_is_closed_if_the_client_left_meanwhile(file, name):
    """Nothing is written."""
    writer = Recorder()
    writer.leaves.set()
    with pytest.raises(ConnectionResetError):
        await written({'status': 200, 'body': Path(file.parent, name)}, writer=writer)
    assert [] == writer.heads
