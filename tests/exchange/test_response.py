"""A response table given to an engine that does the framing."""

import asyncio
from pathlib import Path

import pytest

import aioluahttp as http
from aioluahttp.exchange.response import cancel_when_left, to_ready, write_response
from aioluahttp.headers import Headers


class Line:
    """Takes down what an answer is; its client leaves when told to."""

    def __init__(self, *, files=False):
        self.begun = self.gone = False
        self.heads, self.data, self.ended, self.paths = [], [], False, []
        self.leaves, self.files = asyncio.Event(), files

    async def left(self):
        """Wait."""
        await self.leaves.wait()

    async def whole(self, status, reason, headers, body):
        """Take an answer."""
        await self.start(status, reason, headers)
        self.data.append(body)
        await self.end()

    async def start(self, status, reason, headers):
        """Take a head."""
        self.begun = True
        self.heads.append((status, reason, dict(headers)))

    async def write(self, data):
        """Take a part."""
        self.data.append(data)

    async def end(self):
        """Take the end."""
        self.ended = True

    async def file(self, path):
        """Take a path, or not."""
        self.paths += [path] * self.files
        return self.files


async def answered(table, method='GET', line=None, **asked):
    """Answer with a table, and give what was taken down."""
    line = line or Line()
    status = await write_response(line, method, Headers(asked), http.to_response(table))
    assert status == line.heads[0][0]
    return line


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
async def test_an_answer_that_is_at_hand_is_one(table, method, headers, data):
    """With the length that it has, and nothing of other hops."""
    line = await answered({'status': 200} | table, method)
    assert [headers] == [head[2] for head in line.heads]
    assert ([data], True) == (line.data, line.ended)


async def test_an_answer_that_flows_begins_with_its_first_chunk():
    """Its length is that which the callback gave, or none."""
    line = await answered({'status': 200, 'reason': 'Fine', 'body': iter(['a', b'b'])})
    assert [(200, 'Fine', {'Content-Type': BYTES})] == line.heads
    assert ([b'a', b'b'], True) == (line.data, line.ended)
    line = await answered({'status': 200, 'headers': {'Content-Length': 0}, 'body': iter(())})
    assert ([], '0') == (line.data, line.heads[0][2]['Content-Length'])


@pytest.mark.parametrize('body', [['abc'], ['a'], [1]])
async def test_a_chunk_that_is_wrong_is_an_error(body):
    """Longer or shorter than was said, or none; one that is the first is not sent."""
    line = Line()
    with pytest.raises(http.TableError):
        await answered(
            {'status': 200, 'headers': {'Content-Length': 2}, 'body': iter(body)}, line=line
        )
    assert (body == ['a'], False) == (line.begun, line.ended)


@pytest.mark.parametrize('method', ['GET', 'HEAD'])
async def test_an_iterator_that_is_not_read_is_closed(method):
    """For there is to be no body, or its length is none."""
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


async def test_what_was_read_from_json_is_no_body():
    """As everywhere."""
    with pytest.raises(http.TableError, match='goes as json'):
        await write_response(
            Line(), 'GET', Headers(), http.Response(status=200, headers=Headers(), body={})
        )


async def test_a_client_that_leaves_closes_the_iterator():
    """Which may be waiting."""
    closed = []

    async def chunks():
        try:
            yield 'a'
            line.leaves.set()
            await asyncio.Event().wait()
        finally:
            closed.append(True)

    line = Line()
    with pytest.raises(ConnectionResetError):
        await answered({'status': 200, 'body': chunks()}, line=line)
    assert ([True], True) == (closed, line.gone)


async def test_a_cancellation_from_outside_is_one():
    """Also where the client has left just then."""

    async def wait(line):
        async with cancel_when_left(line):
            await asyncio.Event().wait()

    for leaves in (False, True):
        line = Line()
        task = asyncio.create_task(wait(line))
        await asyncio.sleep(0)
        task.cancel()
        if leaves:
            task.cancel()
            line.leaves.set()
        with pytest.raises(asyncio.CancelledError):
            await task


@pytest.fixture
def file(tmp_path):
    """Make a file."""
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
async def test_a_file_is_an_answer(file, method, asked, status, data, length):
    """Or a part of it, or none; its fields count, but for the type."""
    headers = {'Content-Type': 'a/b', 'ETag': '"x"', 'X': 'y'}
    table = {'status': 200, 'reason': 'Fine', 'headers': headers, 'body': file}
    line = await answered(table, method, **asked)
    found, reason, sent = line.heads[0]
    assert (status, 'Fine' if status == 200 else None) == (found, reason)
    assert (data, length, 'a/b') == (line.data, sent.get('Content-Length'), sent['Content-Type'])
    assert sent['ETag'] != '"x"' or status == 416


@pytest.mark.parametrize(('asked', 'left'), [({}, True), ({'Range': 'bytes=0-1'}, False)])
async def test_a_whole_file_may_be_left_to_the_engine(file, asked, left):
    """Not a part of it."""
    line = await answered({'status': 200, 'body': file}, line=Line(files=True), **asked)
    assert [str(file)] * left == line.paths
    assert 'text/plain' == line.heads[0][2]['Content-Type']


@pytest.mark.parametrize(('status', 'found'), [(200, 404), (204, 204)])
async def test_a_file_that_is_missing_is_a_404(tmp_path, status, found):
    """An answer without a body needs none."""
    line = await answered({'status': status, 'body': tmp_path / 'none'})
    assert (found, [b'Not Found' if found == 404 else b'']) == (line.heads[0][0], line.data)


async def test_a_file_that_becomes_shorter_breaks_off(file):
    """Its client waits for no more."""

    class Cuts(Line):
        async def start(self, *head):
            file.write_bytes(b'012')

    line = Cuts()
    with pytest.raises(OSError, match='shorter'):
        await answered({'status': 200, 'body': file}, line=line)
    assert [b'012'] == line.data


@pytest.mark.parametrize('name', ['a.txt', 'none'])
async def test_a_file_that_was_opened_in_vain_is_closed(file, name):
    """The client has left meanwhile."""
    line = Line()
    line.leaves.set()
    with pytest.raises(ConnectionResetError):
        await answered({'status': 200, 'body': Path(file.parent, name)}, line=line)
    assert [] == line.heads
