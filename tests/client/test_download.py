"""Downloads to a file, and resuming one that broke off."""

import asyncio
import errno
import gzip
import shutil
import sys
import threading

import pytest

import aioluahttp as http
from aioluahttp.client import download
from aioluahttp.client.part_file import NewFile

pytestmark = pytest.mark.usefixtures('both_routes')

DATA = bytes(range(256)) * 4096  # 1 MiB
TAG = '"v1"'
DATES = ('Last-Modified: Sun, 06 Nov 1994 08:49:37 GMT', 'Date: Sun, 06 Nov 1994 08:49:38 GMT')


def raw_response(status, body, *fields, length=True):
    """Return the bytes of a response."""
    lines = [f'HTTP/1.1 {status} X', *fields, *([f'Content-Length: {len(body)}'] if length else [])]
    return '\r\n'.join((*lines, '\r\n')).encode() + body


def rest(first, body, length, *fields):
    """Return the bytes of a 206 response."""
    return raw_response(206, body, f'Content-Range: bytes {first}-{length - 1}/{length}', *fields)


def chunked(body, *fields):
    """Return the bytes of a response in chunks, without the last one."""
    head = raw_response(200, b'', 'Transfer-Encoding: chunked', *fields, length=False)
    return head + b'%x\r\n%b\r\n' % (len(body), body)


class Cut(bytes):
    """A response that breaks off once the client has read it."""


def cut(data, size=5):
    """Return a response without its last bytes."""
    return Cut(data[:-size])


class OnePerConnection:
    """A raw handler that sends one response on each connection, and then hangs up."""

    def __init__(self, *responses):
        self.left = list(responses)
        self.received = asyncio.Event()

    async def __call__(self, line):
        await line.request()
        data = self.left.pop(0)
        await line.send(data)
        if isinstance(data, Cut):  # else the client might see the end first
            await self.received.wait()
            self.received.clear()

    async def broken(self, peer, path, **fields):
        """Start or resume a download that breaks off."""
        with pytest.raises(http.ProtocolError):
            await http.request(
                url=peer.url, into=path, resume=True, on_progress=self.note, **fields
            )

    def note(self, *progress):
        """Note that the client has received bytes."""
        self.received.set()


@pytest.fixture
def path(tmp_path):
    """Return the path of a file that does not exist yet."""
    return tmp_path / 'file'


# Whole downloads


@pytest.mark.parametrize('body', [b'', b'text', DATA], ids=len)
@pytest.mark.parametrize('resume', [False, True])
async def test_the_response_body_is_the_path_of_the_file(raw_server, path, body, resume):
    """It is the path that was given; the connection is reused."""
    async with raw_server(raw_response(200, body, f'ETag: {TAG}')) as peer:
        for _ in range(2):
            response = await http.request(url=peer.url, into=path, resume=resume)
            assert response.body is path
            assert (200, body) == (response.status, path.read_bytes())
    assert 1 == peer.connections
    assert [path] == list(path.parent.iterdir())


async def test_a_compressed_body_is_decoded_into_the_file(raw_server, path):
    """``max_body`` counts decoded bytes."""
    async with raw_server(
        raw_response(200, gzip.compress(DATA, mtime=0), 'Content-Encoding: gzip')
    ) as peer:
        response = await http.request(url=peer.url, into=path, max_body=len(DATA))
        assert DATA == path.read_bytes()
        assert 'Content-Encoding' not in response.headers
        with pytest.raises(http.BodyTooLarge):
            await http.request(url=peer.url, into=path, max_body=len(DATA) - 1)
    assert DATA == path.read_bytes()
    assert [path] == list(path.parent.iterdir())


async def test_a_large_body_is_written_in_batches(raw_server, path, monkeypatch):
    """The batches are written in order."""
    monkeypatch.setattr(download, 'BATCH', 100_000)
    async with raw_server(raw_response(200, DATA)) as peer:
        await http.request(url=peer.url, into=path)
    assert DATA == path.read_bytes()


@pytest.mark.parametrize('pause', [0, 0.05])
async def test_a_slow_body_is_written_before_it_is_complete(
    raw_server, path, until, monkeypatch, pause
):
    """The temporary file has all that came, though the peer sends nothing more."""
    monkeypatch.setattr(download, 'PAUSE', pause)
    go_on = asyncio.Event()

    async def handler(line):
        await line.request()
        await line.send(cut(raw_response(200, bytes(40_000)), 1))
        await go_on.wait()
        await line.send(b'!')

    async with raw_server(handler) as peer:
        task = asyncio.ensure_future(http.request(url=peer.url, into=path))
        await until(lambda: [39_999] == [one.stat().st_size for one in path.parent.iterdir()])
        assert not path.exists()
        go_on.set()
        await task
    assert bytes(39_999) + b'!' == path.read_bytes()


@pytest.mark.parametrize('resume', [False, True])
@pytest.mark.parametrize('fields', [{'status': 404}, {'status': 302}, {'check': [201]}], ids=str)
async def test_an_error_page_is_text_and_not_a_file(raw_server, path, resume, fields):
    """So is a body whose status ``check`` refuses; an existing file is kept."""
    path.write_text('old')
    status = fields.get('status', 200)
    check = fields.get('check', False)
    async with raw_server(raw_response(status, b'page', f'ETag: {TAG}')) as peer:
        try:
            response = await http.request(url=peer.url, into=path, resume=resume, check=check)
        except http.StatusError as error:
            response = error.response
    assert 'page' == response.body
    assert 'old' == path.read_text()
    assert [path] == list(path.parent.iterdir())


# Downloads that break off


async def test_an_incomplete_body_does_not_replace_the_file(raw_server, path):
    """The error has the request, and the temporary file is removed."""
    path.write_text('old')
    handler = OnePerConnection(cut(raw_response(200, DATA)))
    async with raw_server(handler) as peer:
        with pytest.raises(http.ProtocolError) as raised:
            await http.request(url=peer.url, into=path, on_progress=handler.note)
    assert raised.value.request.into is path
    assert ('old', [path]) == (path.read_text(), list(path.parent.iterdir()))


@pytest.mark.parametrize('resume', [False, True])
async def test_a_cancelled_download_leaves_no_file_and_no_connection(
    raw_server, path, until, resume
):
    """With ``resume`` it leaves the part that was received."""
    left = asyncio.Event()

    async def handler(line):
        await line.request()
        await line.send(cut(raw_response(200, b'half and half', f'ETag: {TAG}')))
        assert b'' == await line.reader.read()
        left.set()

    seen = []
    async with raw_server(handler) as peer:
        task = asyncio.ensure_future(
            http.request(
                url=peer.url, into=path, resume=resume, on_progress=lambda *one: seen.append(one)
            )
        )
        await until(lambda: seen)
        task.cancel()
        with pytest.raises(asyncio.CancelledError):
            await task
        await left.wait()
    assert not path.exists()
    kept = {one.name: one for one in path.parent.iterdir()}
    assert ({'.file.part', '.file.part.json'} if resume else set()) == set(kept)
    if resume:
        assert b'half and' == kept['.file.part'].read_bytes()


async def test_a_download_cancelled_before_it_is_sent_leaves_no_file(path, monkeypatch):
    """It may be cancelled while the file is created."""
    begun, go_on = threading.Event(), threading.Event()
    create = NewFile.open

    def slowly(self):
        begun.set()
        go_on.wait()
        create(self)

    monkeypatch.setattr(NewFile, 'open', slowly)
    task = asyncio.ensure_future(http.request(url='http://127.0.0.1:1', into=path))
    await asyncio.to_thread(begun.wait)
    task.cancel()
    await asyncio.sleep(0)
    go_on.set()
    with pytest.raises(asyncio.CancelledError):
        await task
    assert [] == list(path.parent.iterdir())


async def test_a_file_that_cannot_be_created_raises_before_anything_is_sent(raw_server, path):
    """The error is that of the operating system."""
    async with raw_server(raw_response(200, b'x')) as peer:
        with pytest.raises(FileNotFoundError):
            await http.request(url=peer.url, into=path / 'a')
        with pytest.raises(IsADirectoryError):
            await http.request(url=peer.url, into=path.parent)
    assert [] == peer.requests


@pytest.fixture
def full(monkeypatch):
    """Make every write fail as on a full disk."""

    def write(self, data):
        raise OSError(errno.ENOSPC, 'No space left on device')

    monkeypatch.setattr(NewFile, 'write', write)


@pytest.mark.usefixtures('full')
async def test_a_full_disk_raises(raw_server, path):
    """The temporary file is removed."""
    async with raw_server(raw_response(200, b'text')) as peer:
        with pytest.raises(OSError, match='No space left'):
            await http.request(url=peer.url, into=path)
    assert [] == list(path.parent.iterdir())


@pytest.mark.usefixtures('full')
async def test_a_full_disk_closes_the_connection(raw_server, path, monkeypatch):
    """The rest of the body is not awaited."""
    monkeypatch.setattr(download, 'BATCH', 100_000)
    left = asyncio.Event()

    async def handler(line):
        await line.request()
        try:
            await line.send(cut(raw_response(200, DATA), 1))
            await line.reader.read()
        finally:  # it may be a reset
            left.set()

    async with raw_server(handler) as peer:
        with pytest.raises(OSError, match='No space left'):
            await http.request(url=peer.url, into=path)
        await left.wait()
    assert [] == list(path.parent.iterdir())


async def test_the_timeouts_are_those_of_a_stream(raw_server, path):
    """The total covers the head, and each read has its own timeout."""

    async def handler(line):
        await line.request()
        await line.send(cut(raw_response(200, b'half'), 1))
        await line.reader.read()

    async with raw_server(handler) as peer:
        with pytest.raises(http.TimedOut, match='no more of the body arrived'):
            await http.request(url=peer.url, into=path, timeout={'total': 30, 'read': 0.05})
    assert [] == list(path.parent.iterdir())


async def test_downloads_to_one_path_at_once_do_not_mix(raw_server, path):
    """Each writes its own temporary file; one of them remains."""
    bodies = [bytes([n]) * 300_000 for n in range(8)]
    async with raw_server(OnePerConnection(*(raw_response(200, body) for body in bodies))) as peer:
        await asyncio.gather(*(http.request(url=peer.url, into=path) for _ in bodies))
    assert path.read_bytes() in bodies
    assert [path] == list(path.parent.iterdir())


# Resuming


@pytest.mark.parametrize('framing', ['Content-Length: 300000', 'Transfer-Encoding: chunked'])
@pytest.mark.parametrize('end', ['closes', 'resets', 'stops'])
async def test_a_part_has_every_byte_that_came(raw_server, path, framing, end, monkeypatch):
    """Even if the peer breaks off before the client has read any of them."""
    monkeypatch.setattr(download, 'PAUSE', 0.05)
    sent = DATA[:200_000]
    if 'chunked' in framing:
        sent = b'%x\r\n' % 300_000 + sent

    async def handler(line):
        await line.request()
        await line.send(raw_response(200, sent, f'ETag: {TAG}', framing, length=False))
        if end == 'resets':
            await until_size(path, 200_000)  # a reset may destroy what has not been read
            line.reset()
        elif end == 'stops':
            await line.reader.read()

    table = {'into': path, 'resume': True, 'timeout': {'read': 0.5}}
    async with raw_server(handler) as peer:
        with pytest.raises((http.ProtocolError, http.TimedOut)):
            await http.request(table, url=peer.url)
    assert DATA[:200_000] == (path.parent / '.file.part').read_bytes()


async def until_size(path, size):
    """Wait until the part of a download has a size."""
    part = path.parent / f'.{path.name}.part'
    while not (part.exists() and part.stat().st_size == size):  # noqa: ASYNC110
        await asyncio.sleep(0.01)


DOWNLOAD = """
import asyncio, sys
from pathlib import Path
import aioluahttp as http
asyncio.run(http.request(url=sys.argv[1], into=Path(sys.argv[2]), resume=True))
"""


async def test_a_download_of_a_killed_process_is_resumed(raw_server, path):
    """What had come is on disk, though the peer was slow."""

    async def handler(line):
        asked = await line.request()
        if not asked.values('Range'):
            await line.send(raw_response(200, DATA, f'ETag: {TAG}')[: -len(DATA) + 1000])
            await line.reader.read()
        await line.send(rest(1000, DATA[1000:], len(DATA)))

    async with raw_server(handler) as peer:
        process = await asyncio.create_subprocess_exec(
            *(sys.executable, '-c', DOWNLOAD, peer.url, str(path)),
            stderr=asyncio.subprocess.DEVNULL,
        )
        await until_size(path, 1000)
        process.kill()
        await process.wait()
        await http.request(url=peer.url, into=path, resume=True)
    assert DATA == path.read_bytes()
    assert ['bytes=1000-'] == peer.requests[1].values('Range')


@pytest.mark.parametrize('fields', [(f'ETag: {TAG}',), DATES], ids=['tag', 'date'])
@pytest.mark.parametrize('watch', [lambda one: one, lambda one: {'download': one}])
async def test_a_download_is_resumed_where_it_broke_off(raw_server, path, fields, watch):
    """It sends Range and If-Range, and progress counts the bytes that were there."""
    handler = OnePerConnection(
        cut(raw_response(200, DATA, *fields)), rest(len(DATA) - 5, DATA[-5:], len(DATA))
    )
    seen = []
    async with raw_server(handler) as peer:
        await handler.broken(peer, path)
        assert not path.exists()
        on_progress = watch(lambda *one: seen.append(one))
        response = await http.request(url=peer.url, into=path, resume=True, on_progress=on_progress)
    assert (206, path, DATA) == (response.status, response.body, path.read_bytes())
    assert (len(DATA), len(DATA)) == seen[-1]
    first, second = peer.requests
    assert ['identity'] == first.values('Accept-Encoding') == second.values('Accept-Encoding')
    assert [] == first.values('Range') + first.values('If-Range')
    assert [f'bytes={len(DATA) - 5}-'] == second.values('Range')
    assert [fields[0].partition(': ')[2]] == second.values('If-Range')
    assert [path] == list(path.parent.iterdir())


async def test_a_download_may_break_off_more_than_once(raw_server, path):
    """Each time it has more bytes; the whole length may be unknown."""
    handler = OnePerConnection(
        Cut(chunked(b'ab', f'ETag: {TAG}')),
        cut(rest(2, b'cdef', 6), 2),
        raw_response(206, b'ef', 'Content-Range: bytes 4-5/*'),
    )
    seen = []
    async with raw_server(handler) as peer:
        await handler.broken(peer, path)
        await handler.broken(peer, path)
        await http.request(
            url=peer.url,
            into=path,
            resume=True,
            check=[200],
            on_progress=lambda *one: seen.append(one),
        )
    assert b'abcdef' == path.read_bytes()
    assert [(6, 6)] == seen


async def test_a_download_restarts_if_the_response_is_whole(raw_server, path):
    """Then the file has another version, or the server does not know ranges."""
    handler = OnePerConnection(
        cut(raw_response(200, b'one version', f'ETag: {TAG}')),
        cut(raw_response(200, b'another version', 'ETag: "v2"')),
        rest(10, b'rsion', 15, 'ETag: "v2"'),
    )
    async with raw_server(handler) as peer:
        await handler.broken(peer, path)
        await handler.broken(peer, path)
        await http.request(url=peer.url, into=path, resume=True)
    assert b'another version' == path.read_bytes()
    assert ['"v2"'] == peer.requests[2].values('If-Range')


OTHER_PARTS = [
    raw_response(206, b'rsion'),
    raw_response(206, b'rsion', 'Content-Range: bytes=6-10/11'),
    raw_response(206, b'rsion', 'Content-Range: bytes */11'),
    raw_response(206, b'--a\r\n\r\nrsion', 'Content-Type: multipart/byteranges; boundary=a'),
    rest(5, b'ersion', 11),
    rest(7, b'sion', 11),
    rest(0, b'one version', 11),
    rest(6, b'rsion', 12),
    rest(6, b'rsion', 11, 'ETag: "v2"'),
    rest(6, b'rsion', 11, f'ETag: W/{TAG}'),
    rest(6, gzip.compress(b'rsion', mtime=0), 11, 'Content-Encoding: gzip'),
]


@pytest.mark.parametrize('second', OTHER_PARTS)
@pytest.mark.parametrize('length', [True, False])
async def test_a_part_that_the_server_cannot_continue_is_fetched_anew(
    raw_server, path, second, length
):
    """In the same call, with one more request; the file never has bytes of two versions."""
    first = raw_response(200, b'one version', f'ETag: {TAG}')
    if not length:  # then the length of the whole is not known
        first = chunked(b'one version', f'ETag: {TAG}').replace(b'b\r\none ve', b'6\r\none ve')
        if b'/12' in second:
            return
    new = raw_response(200, b'a new text', 'ETag: "v2"')
    handler = OnePerConnection(cut(first), second, new)
    seen = []
    async with raw_server(handler) as peer:
        await handler.broken(peer, path)
        response = await http.request(
            url=peer.url, into=path, resume=True, on_progress=lambda *one: seen.append(one)
        )
    assert (200, b'a new text') == (response.status, path.read_bytes())
    assert [(10, 10)] == seen
    assert [[], ['bytes=6-'], []] == [one.values('Range') for one in peer.requests]
    assert [path] == list(path.parent.iterdir())


@pytest.mark.parametrize('second', OTHER_PARTS)
async def test_a_server_that_cannot_continue_twice_is_refused(raw_server, path, second):
    """It is asked once for a part and once for the whole, and the part is dropped."""
    first = raw_response(200, b'one version', f'ETag: {TAG}')
    handler = OnePerConnection(cut(first), second, second, raw_response(200, b'new'))
    async with raw_server(handler) as peer:
        await handler.broken(peer, path)
        with pytest.raises(http.ProtocolError, match=f'^GET {peer.url}/: a 206 with Content-Ra'):
            await http.request(url=peer.url, into=path, resume=True)
        assert [] == list(path.parent.iterdir())
        await http.request(url=peer.url, into=path, resume=True)
    assert b'new' == path.read_bytes()
    assert [[], ['bytes=6-'], [], []] == [one.values('Range') for one in peer.requests]


async def test_a_file_that_became_shorter_than_the_part_is_fetched_anew(raw_server, path):
    """The server cannot satisfy the range, or says so with a 206 of its own."""
    first, new = raw_response(200, b'one version', f'ETag: {TAG}'), raw_response(200, b'new')
    short = raw_response(416, b'', 'Content-Range: bytes */3', 'ETag: "v2"')
    for second in (short, rest(0, b'new', 3, 'ETag: "v2"')):
        handler = OnePerConnection(cut(first), second, new)
        async with raw_server(handler) as peer:
            await handler.broken(peer, path)
            await http.request(url=peer.url, into=path, resume=True)
        assert b'new' == path.read_bytes()


async def test_a_range_with_too_few_bytes_is_kept(raw_server, path):
    """It is an error, and the next call requests the others."""
    first = cut(raw_response(200, b'one version', f'ETag: {TAG}'))
    few = raw_response(206, b'rs', 'Content-Range: bytes 6-7/11')
    handler = OnePerConnection(first, few, rest(8, b'ion', 11))
    async with raw_server(handler) as peer:
        await handler.broken(peer, path)
        with pytest.raises(http.ProtocolError, match='8 of 11 bytes were received'):
            await http.request(url=peer.url, into=path, resume=True)
        await http.request(url=peer.url, into=path, resume=True)
    assert b'one version' == path.read_bytes()


async def test_a_range_with_too_many_bytes_is_refused(raw_server, path):
    """Even if the length of the whole is unknown; the next call fetches the file anew."""
    first = Cut(chunked(b'one ve', f'ETag: {TAG}'))
    many = raw_response(206, b'rsion and more', 'Content-Range: bytes 6-10/*')
    none = raw_response(416, b'', 'Content-Range: bytes */11')
    handler = OnePerConnection(first, many, none, raw_response(200, b'one version'))
    async with raw_server(handler) as peer:
        await handler.broken(peer, path)
        with pytest.raises(http.ProtocolError, match='20 of 11 bytes were received'):
            await http.request(url=peer.url, into=path, resume=True)
        await http.request(url=peer.url, into=path, resume=True)
    assert b'one version' == path.read_bytes()


async def test_a_206_that_check_does_not_accept_is_a_page(raw_server, path):
    """The part is kept."""
    first = cut(raw_response(200, b'one version', f'ETag: {TAG}'))
    handler = OnePerConnection(first, rest(6, b'rsion', 11))
    async with raw_server(handler) as peer:
        await handler.broken(peer, path)
        with pytest.raises(http.StatusError) as caught:
            await http.request(url=peer.url, into=path, resume=True, check=[404])
    assert 'rsion' == caught.value.response.body
    assert b'one ve' == (path.parent / '.file.part').read_bytes()


@pytest.mark.parametrize('limit', [10, 11])
async def test_max_body_counts_the_bytes_that_were_there(raw_server, path, limit):
    """If the whole passes the limit, nothing more is written."""
    handler = OnePerConnection(
        cut(raw_response(200, b'one version', f'ETag: {TAG}')), rest(6, b'rsion', 11)
    )
    async with raw_server(handler) as peer:
        await handler.broken(peer, path)
        table = {'url': peer.url, 'into': path, 'resume': True, 'max_body': limit}
        if limit < 11:
            with pytest.raises(http.BodyTooLarge, match=f'^GET {peer.url}/: '):
                await http.request(table)
            assert b'one ve' == (path.parent / '.file.part').read_bytes()
        else:
            await http.request(table)
            assert b'one version' == path.read_bytes()


async def test_a_range_that_was_not_requested_is_refused(raw_server, path):
    """There is no part that it could continue."""
    async with raw_server(rest(0, b'abc', 3)) as peer:
        with pytest.raises(http.ProtocolError, match='but the whole file was requested'):
            await http.request(url=peer.url, into=path, resume=True)
    assert [] == list(path.parent.iterdir())


@pytest.mark.parametrize(
    'first',
    [Cut(chunked(b'abcdef', f'ETag: {TAG}')), raw_response(200, b'abcdef', f'ETag: {TAG}')],
    ids=['chunked', 'length'],
)
@pytest.mark.parametrize('watched', [True, False])
async def test_a_complete_part_is_kept_on_a_416(raw_server, path, first, watched):
    """The server says that there are no more bytes; ``check`` accepts that status."""

    def fails(self):
        raise OSError(errno.EIO, 'Input/output error')

    seen = []
    nothing = raw_response(416, b'page', 'Content-Range: bytes */6', f'ETag: {TAG}')
    handler = OnePerConnection(first, nothing)
    table = {'into': path, 'resume': True}
    async with raw_server(handler) as peer:
        first_time = {**table, 'url': peer.url, 'on_progress': handler.note}
        with pytest.MonkeyPatch.context() as patch:
            patch.setattr(NewFile, 'keep', fails)
            with pytest.raises((OSError, http.ProtocolError)):
                await http.request(first_time)
        if watched:
            table['on_progress'] = lambda *one: seen.append(one)
        response = await http.request({**table, 'url': peer.url, 'check': True})
    assert (416, path, b'abcdef') == (response.status, response.body, path.read_bytes())
    assert ([(6, 6)] if watched else []) == seen


@pytest.mark.parametrize(
    'fields',
    [(), ('Content-Range: bytes */9',), ('Content-Range: bytes */6', 'ETag: "v2"')],
    ids=['none', 'length', 'version'],
)
@pytest.mark.parametrize('then', [200, 404, 416])
async def test_a_416_that_does_not_fit_restarts_the_download_once(raw_server, path, fields, then):
    """If the second response is not a file either, the part is kept."""
    first = raw_response(200, b'abcdef---', f'ETag: {TAG}')
    handler = OnePerConnection(
        cut(first, 3), raw_response(416, b'', *fields), raw_response(then, b'new')
    )
    async with raw_server(handler) as peer:
        await handler.broken(peer, path)
        response = await http.request(url=peer.url, into=path, resume=True)
    assert then == response.status
    assert [] == peer.requests[2].values('Range')
    if then == 200:
        assert b'new' == path.read_bytes()
    else:
        assert 'new' == response.body
        assert b'abcdef' == (path.parent / '.file.part').read_bytes()


async def test_a_decoded_download_restarts(raw_server, path):
    """A range counts encoded bytes, so a decoded part cannot be continued."""
    zipped = raw_response(
        200, gzip.compress(DATA, mtime=0), f'ETag: {TAG}', 'Content-Encoding: gzip'
    )
    handler, headers = OnePerConnection(cut(zipped), zipped), {'Accept-Encoding': 'gzip'}
    async with raw_server(handler) as peer:
        await handler.broken(peer, path, headers=headers)
        assert [] == list(path.parent.iterdir())
        await http.request(url=peer.url, into=path, resume=True, headers=headers)
    assert DATA == path.read_bytes()
    assert ['gzip'] == peer.requests[1].values('Accept-Encoding')
    assert [] == peer.requests[1].values('Range')


async def test_another_url_restarts_the_download(raw_server, path):
    """Two resources may have the same validator."""
    handler = OnePerConnection(
        cut(raw_response(200, b'one thing', f'ETag: {TAG}')),
        raw_response(200, b'another', f'ETag: {TAG}'),
    )
    async with raw_server(handler) as peer:
        await handler.broken(peer, path)
        await http.request(url=peer.url + '/?other', into=path, resume=True)
    assert [] == peer.requests[1].values('Range')
    assert b'another' == path.read_bytes()


@pytest.mark.parametrize('status', [206, 416])
async def test_a_redirect_to_another_url_restarts_the_download(raw_server, path, status):
    """Two resources may have the same entity tag; a changed query, as a signature, is allowed."""
    places = '/1?a', '/1?b', '/2'
    to = [raw_response(302, b'', f'Location: {place}', 'Connection: close') for place in places]
    other = {
        206: rest(8, b'---', 11, f'ETag: {TAG}'),
        416: raw_response(416, b'', 'Content-Range: bytes */8', f'ETag: {TAG}'),
    }
    handler = OnePerConnection(
        *(to[0], cut(raw_response(200, b'one version', f'ETag: {TAG}'))),
        *(to[1], cut(rest(6, b'rsion', 11, f'ETag: {TAG}'), 3)),
        *(to[2], other[status], to[2], raw_response(200, b'another', f'ETag: {TAG}')),
    )
    async with raw_server(handler) as peer:
        await handler.broken(peer, path)
        await handler.broken(peer, path)
        assert b'one vers' == (path.parent / '.file.part').read_bytes()
        response = await http.request(url=peer.url, into=path, resume=True)
    assert (200, b'another') == (response.status, path.read_bytes())
    assert ['bytes=6-'] == peer.requests[3].values('Range')
    assert [] == peer.requests[7].values('Range')


async def test_a_second_resumed_download_at_once_is_refused(raw_server, path):
    """The second one raises; the first one goes on."""
    go_on = asyncio.Event()

    async def handler(line):
        await line.request()
        await line.send(cut(raw_response(200, b'abc', f'ETag: {TAG}'), 1))
        await go_on.wait()
        await line.send(b'c')

    seen = asyncio.Event()
    async with raw_server(handler) as peer:
        first = asyncio.ensure_future(
            http.request(url=peer.url, into=path, resume=True, on_progress=lambda *one: seen.set())
        )
        await seen.wait()
        with pytest.raises(BlockingIOError, match='another download'):
            await http.request(url=peer.url, into=path, resume=True)
        go_on.set()
        await first
    assert (b'abc', 1) == (path.read_bytes(), len(peer.requests))


@pytest.mark.skipif(not shutil.which('nginx'), reason='nginx is not installed')
async def test_nginx_sends_the_missing_bytes(path, tmp_path_factory, until):
    """nginx accepts the validator and the range."""
    folder = tmp_path_factory.mktemp('nginx')
    (folder / 'f').write_bytes(DATA)
    config = folder / 'conf'
    config.write_text(
        f'user root; daemon off; pid {folder}/pid; events {{}} http {{ access_log off;'
        + ''.join(f'{kind}_temp_path {folder}/{kind}; ' for kind in TEMPORARY)
        + f'server {{ listen unix:{folder}/s; root {folder}; }} }}'
    )
    arguments = ('-c', str(config), '-e', str(folder / 'log'), '-p', str(folder))
    process = await asyncio.create_subprocess_exec('nginx', *arguments)
    try:
        await until((folder / 'pid').exists)  # written once nginx listens
        table = {'unix': folder / 's', 'path': '/f', 'into': path, 'resume': True}
        with pytest.raises(ZeroDivisionError):
            await http.request({**table, 'on_progress': lambda *one: 1 / 0})
        seen = []
        response = await http.request({**table, 'on_progress': lambda *one: seen.append(one)})
        assert (len(DATA), len(DATA)) == seen[-1]
    finally:
        process.terminate()
        await process.wait()
    assert DATA == path.read_bytes()
    assert response.body is path


TEMPORARY = ('client_body', 'proxy', 'fastcgi', 'uwsgi', 'scgi')


async def test_a_head_request_into_a_file_is_refused(tmp_path):
    """Its response has no body; an existing file is kept."""
    path = tmp_path / 'a'
    path.write_bytes(b'there')
    with pytest.raises(http.TableError, match=r"'into' is .*'text' for HEAD"):
        await http.request(method='HEAD', url='http://127.0.0.1:1', into=path)
    assert b'there' == path.read_bytes()


async def test_a_slow_disk_is_not_asked_twice_at_once(monkeypatch):
    """While a write runs, what arrives waits, however often the time to write has come."""
    monkeypatch.setattr(download, 'PAUSE', 0.01)
    written, go_on, begun = [], threading.Event(), threading.Event()

    class Slow:
        def write(self, data):
            begun.set()
            go_on.wait()
            written.append(bytes(data))

    batches = download.Batches(Slow())
    await batches.add(b'first')
    await asyncio.to_thread(begun.wait)
    await batches.add(b'second')
    for _ in range(3):
        await asyncio.sleep(0.02)  # times at which it would be written
    assert [] == written
    go_on.set()
    await batches.end()
    assert [b'first', b'second'] == written
