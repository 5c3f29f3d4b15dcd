"""The body of an answer written to a file, from where it broke off if need be."""

import asyncio
import errno
import gzip
import shutil
import threading

import pytest

import aioluahttp as http
from aioluahttp.client import download
from aioluahttp.client.part_file import NewFile

pytestmark = pytest.mark.usefixtures('both_routes')

DATA = bytes(range(256)) * 4096  # 1 MiB
TAG = '"v1"'
DATES = ('Last-Modified: Sun, 06 Nov 1994 08:49:37 GMT', 'Date: Sun, 06 Nov 1994 08:49:38 GMT')


def answer(status, body, *fields, length=True):
    """Make the bytes of a response."""
    lines = [f'HTTP/1.1 {status} X', *fields, *([f'Content-Length: {len(body)}'] if length else [])]
    return '\r\n'.join((*lines, '\r\n')).encode() + body


def rest(first, body, length, *fields):
    """Make the bytes of a part of a body."""
    return answer(206, body, f'Content-Range: bytes {first}-{length - 1}/{length}', *fields)


def chunked(body, *fields):
    """Make the bytes of a response whose end is not there."""
    head = answer(200, b'', 'Transfer-Encoding: chunked', *fields, length=False)
    return head + b'%x\r\n%b\r\n' % (len(body), body)


class Cut(bytes):
    """A response that breaks off, once what there is has been read."""


def cut(data, size=5):
    """Leave out the end of a response."""
    return Cut(data[:-size])


class Answering:
    """A handler that gives one answer to each connection, and then hangs up."""

    def __init__(self, *answers):
        self.left = list(answers)
        self.came = asyncio.Event()

    async def __call__(self, line):
        await line.request()
        data = self.left.pop(0)
        await line.send(data)
        if isinstance(data, Cut):  # else the end might overtake it
            await self.came.wait()
            self.came.clear()

    async def broken(self, peer, path, **fields):
        """Let a resumed download break off."""
        with pytest.raises(http.ProtocolError):
            await http.request(
                url=peer.url, into=path, resume=True, on_progress=self.note, **fields
            )

    def note(self, *progress):
        """Note that something has come."""
        self.came.set()


@pytest.fixture
def path(tmp_path):
    """Give the path of a file that is to be."""
    return tmp_path / 'file'


# Whole


@pytest.mark.parametrize('body', [b'', b'text', DATA], ids=len)
@pytest.mark.parametrize('resume', [False, True])
async def test_the_body_is_a_file(raw_server, path, body, resume):
    """Its path stands in the table, as it was given; the connection goes back."""
    async with raw_server(answer(200, body, f'ETag: {TAG}')) as peer:
        for _ in range(2):
            response = await http.request(url=peer.url, into=path, resume=resume)
            assert response.body is path
            assert (200, body) == (response.status, path.read_bytes())
    assert 1 == peer.connections
    assert [path] == list(path.parent.iterdir())


async def test_it_is_decoded_as_it_is_written(raw_server, path):
    """And counted so, where there is a limit."""
    async with raw_server(
        answer(200, gzip.compress(DATA, mtime=0), 'Content-Encoding: gzip')
    ) as peer:
        response = await http.request(url=peer.url, into=path, max_body=len(DATA))
        assert DATA == path.read_bytes()
        assert 'Content-Encoding' not in response.headers
        with pytest.raises(http.BodyTooLarge):
            await http.request(url=peer.url, into=path, max_body=len(DATA) - 1)
    assert DATA == path.read_bytes()
    assert [path] == list(path.parent.iterdir())


async def test_a_large_one_is_written_batch_by_batch(raw_server, path, monkeypatch):
    """While the next one comes, in order."""
    monkeypatch.setattr(download, 'BATCH', 100_000)
    async with raw_server(answer(200, DATA)) as peer:
        await http.request(url=peer.url, into=path)
    assert DATA == path.read_bytes()


async def test_what_comes_slowly_is_written_in_the_meantime(raw_server, path, until, monkeypatch):
    """Who looks on sees it grow."""
    monkeypatch.setattr(download, 'PAUSE', 0)
    go_on = asyncio.Event()

    async def handler(line):
        await line.request()
        await line.send(cut(answer(200, bytes(40_000)), 1))
        await go_on.wait()
        await line.send(b'!')

    async with raw_server(handler) as peer:
        task = asyncio.ensure_future(http.request(url=peer.url, into=path))
        await until(lambda: sum(one.stat().st_size for one in path.parent.iterdir()) > 30_000)
        assert not path.exists()
        go_on.set()
        await task
    assert bytes(39_999) + b'!' == path.read_bytes()


@pytest.mark.parametrize('resume', [False, True])
@pytest.mark.parametrize('fields', [{'status': 404}, {'status': 302}, {'check': [201]}], ids=str)
async def test_a_page_is_text_and_no_file(raw_server, path, resume, fields):
    """So is a body with a status that ``check`` refuses; what is there stays."""
    path.write_text('old')
    status = fields.get('status', 200)
    check = fields.get('check', False)
    async with raw_server(answer(status, b'page', f'ETag: {TAG}')) as peer:
        try:
            response = await http.request(url=peer.url, into=path, resume=resume, check=check)
        except http.StatusError as error:
            response = error.response
    assert 'page' == response.body
    assert 'old' == path.read_text()
    assert [path] == list(path.parent.iterdir())


# Broken off


async def test_a_body_that_is_cut_off_is_no_file(raw_server, path):
    """What had the name has it still."""
    path.write_text('old')
    handler = Answering(cut(answer(200, DATA)))
    async with raw_server(handler) as peer:
        with pytest.raises(http.ProtocolError) as raised:
            await http.request(url=peer.url, into=path, on_progress=handler.note)
    assert raised.value.request.into is path
    assert ('old', [path]) == (path.read_text(), list(path.parent.iterdir()))


@pytest.mark.parametrize('resume', [False, True])
async def test_who_cancels_leaves_no_file_and_no_connection(raw_server, path, until, resume):
    """But with ``resume`` what came so far."""
    left = asyncio.Event()

    async def handler(line):
        await line.request()
        await line.send(cut(answer(200, b'half and half', f'ETag: {TAG}')))
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


async def test_who_cancels_before_anything_is_sent_leaves_no_file(path, monkeypatch):
    """Even as it is made."""
    begun, go_on = threading.Event(), threading.Event()
    make = NewFile.open

    def slowly(self):
        begun.set()
        go_on.wait()
        make(self)

    monkeypatch.setattr(NewFile, 'open', slowly)
    task = asyncio.ensure_future(http.request(url='http://127.0.0.1:1', into=path))
    await asyncio.to_thread(begun.wait)
    task.cancel()
    await asyncio.sleep(0)
    go_on.set()
    with pytest.raises(asyncio.CancelledError):
        await task
    assert [] == list(path.parent.iterdir())


async def test_a_file_that_cannot_be_made_is_told_before_anything_is_sent(raw_server, path):
    """By the error of the system."""
    async with raw_server(answer(200, b'x')) as peer:
        with pytest.raises(FileNotFoundError):
            await http.request(url=peer.url, into=path / 'a')
        with pytest.raises(IsADirectoryError):
            await http.request(url=peer.url, into=path.parent)
    assert [] == peer.asked


@pytest.fixture
def full(monkeypatch):
    """Let every write find the disk full."""

    def write(self, data):
        raise OSError(errno.ENOSPC, 'No space left on device')

    monkeypatch.setattr(NewFile, 'write', write)


@pytest.mark.usefixtures('full')
async def test_a_full_disk_is_told(raw_server, path):
    """Nothing is left."""
    async with raw_server(answer(200, b'text')) as peer:
        with pytest.raises(OSError, match='No space left'):
            await http.request(url=peer.url, into=path)
    assert [] == list(path.parent.iterdir())


@pytest.mark.usefixtures('full')
async def test_a_full_disk_closes_the_connection(raw_server, path, monkeypatch):
    """What would still come is not waited for."""
    monkeypatch.setattr(download, 'BATCH', 100_000)
    left = asyncio.Event()

    async def handler(line):
        await line.request()
        try:
            await line.send(cut(answer(200, DATA), 1))
            await line.reader.read()
        finally:  # it may be a reset
            left.set()

    async with raw_server(handler) as peer:
        with pytest.raises(OSError, match='No space left'):
            await http.request(url=peer.url, into=path)
        await left.wait()
    assert [] == list(path.parent.iterdir())


async def test_the_deadlines_are_those_of_a_stream(raw_server, path):
    """The total covers the head, and each read has its own."""

    async def handler(line):
        await line.request()
        await line.send(cut(answer(200, b'half'), 1))
        await line.reader.read()

    async with raw_server(handler) as peer:
        with pytest.raises(http.TimedOut, match='nothing more of the body'):
            await http.request(url=peer.url, into=path, timeout={'total': 30, 'read': 0.05})
    assert [] == list(path.parent.iterdir())


async def test_two_at_once_do_not_mix(raw_server, path):
    """Each has a file of its own, and the last one stands."""
    bodies = [bytes([n]) * 300_000 for n in range(8)]
    async with raw_server(Answering(*(answer(200, body) for body in bodies))) as peer:
        await asyncio.gather(*(http.request(url=peer.url, into=path) for _ in bodies))
    assert path.read_bytes() in bodies
    assert [path] == list(path.parent.iterdir())


# Resumed


@pytest.mark.parametrize('fields', [(f'ETag: {TAG}',), DATES], ids=['tag', 'date'])
async def test_it_goes_on_where_it_broke_off(raw_server, path, fields):
    """By Range and If-Range, with progress that begins there."""
    handler = Answering(cut(answer(200, DATA, *fields)), rest(len(DATA) - 5, DATA[-5:], len(DATA)))
    seen = []
    async with raw_server(handler) as peer:
        await handler.broken(peer, path)
        assert not path.exists()
        response = await http.request(
            url=peer.url, into=path, resume=True, on_progress=lambda *one: seen.append(one)
        )
    assert (206, path, DATA) == (response.status, response.body, path.read_bytes())
    assert (len(DATA), len(DATA)) == seen[-1]
    first, second = peer.asked
    assert ['identity'] == first.values('Accept-Encoding') == second.values('Accept-Encoding')
    assert [] == first.values('Range') + first.values('If-Range')
    assert [f'bytes={len(DATA) - 5}-'] == second.values('Range')
    assert [fields[0].partition(': ')[2]] == second.values('If-Range')
    assert [path] == list(path.parent.iterdir())


async def test_it_breaks_off_as_often_as_it_will(raw_server, path):
    """Each time something more is there; a part without a length is one, too."""
    handler = Answering(
        Cut(chunked(b'ab', f'ETag: {TAG}')),
        cut(rest(2, b'cdef', 6), 2),
        answer(206, b'ef', 'Content-Range: bytes 4-5/*'),
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


async def test_it_starts_anew_where_the_answer_is_whole(raw_server, path):
    """It is another version, or the peer knows no ranges."""
    handler = Answering(
        cut(answer(200, b'one version', f'ETag: {TAG}')),
        cut(answer(200, b'another version', 'ETag: "v2"')),
        rest(10, b'rsion', 15, 'ETag: "v2"'),
    )
    async with raw_server(handler) as peer:
        await handler.broken(peer, path)
        await handler.broken(peer, path)
        await http.request(url=peer.url, into=path, resume=True)
    assert b'another version' == path.read_bytes()
    assert ['"v2"'] == peer.asked[2].values('If-Range')


@pytest.mark.parametrize(
    'second',
    [
        answer(206, b'rsion'),
        rest(5, b'rsion', 11),
        rest(6, b'rsion', 12),
        rest(6, b'rsion', 11, 'ETag: "v2"'),
        rest(6, gzip.compress(b'rsion', mtime=0), 11, 'Content-Encoding: gzip'),
        answer(206, b'rs', 'Content-Range: bytes 6-7/11'),
    ],
)
async def test_a_part_that_does_not_fit_is_refused(raw_server, path, second):
    """What is there stays, but for what it was right to add."""
    handler = Answering(cut(answer(200, b'one version', f'ETag: {TAG}')), second)
    async with raw_server(handler) as peer:
        await handler.broken(peer, path)
        with pytest.raises(http.ProtocolError, match=f'^GET {peer.url}/: '):
            await http.request(url=peer.url, into=path, resume=True)
    assert not path.exists()
    part = (path.parent / '.file.part').read_bytes()
    assert part == b'one version'[: len(part)]
    assert len(part) >= 6


@pytest.mark.parametrize('limit', [10, 11])
async def test_what_was_there_counts_for_the_limit(raw_server, path, limit):
    """One that the whole passes lets nothing more be written."""
    handler = Answering(cut(answer(200, b'one version', f'ETag: {TAG}')), rest(6, b'rsion', 11))
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


async def test_a_part_that_nobody_asked_for_is_refused(raw_server, path):
    """There is nothing that it would go on with."""
    async with raw_server(rest(0, b'abc', 3)) as peer:
        with pytest.raises(http.ProtocolError, match='behind 0 bytes'):
            await http.request(url=peer.url, into=path, resume=True)
    assert [] == list(path.parent.iterdir())


@pytest.mark.parametrize(
    'first',
    [Cut(chunked(b'abcdef', f'ETag: {TAG}')), answer(200, b'abcdef', f'ETag: {TAG}')],
    ids=['chunked', 'length'],
)
@pytest.mark.parametrize('watched', [True, False])
async def test_one_that_is_all_there_is_done(raw_server, path, first, watched):
    """The answer is that there is nothing behind it; ``check`` does not mind."""

    def fails(self):
        raise OSError(errno.EIO, 'Input/output error')

    seen = []
    nothing = answer(416, b'page', 'Content-Range: bytes */6', f'ETag: {TAG}')
    handler = Answering(first, nothing)
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
async def test_one_that_has_no_such_rest_starts_anew_once(raw_server, path, fields, then):
    """And where that is no file either, what is there stays."""
    first = answer(200, b'abcdef---', f'ETag: {TAG}')
    handler = Answering(cut(first, 3), answer(416, b'', *fields), answer(then, b'new'))
    async with raw_server(handler) as peer:
        await handler.broken(peer, path)
        response = await http.request(url=peer.url, into=path, resume=True)
    assert then == response.status
    assert [] == peer.asked[2].values('Range')
    if then == 200:
        assert b'new' == path.read_bytes()
    else:
        assert 'new' == response.body
        assert b'abcdef' == (path.parent / '.file.part').read_bytes()


async def test_one_that_was_decoded_starts_anew(raw_server, path):
    """A range is one of what is encoded."""
    zipped = answer(200, gzip.compress(DATA, mtime=0), f'ETag: {TAG}', 'Content-Encoding: gzip')
    handler, headers = Answering(cut(zipped), zipped), {'Accept-Encoding': 'gzip'}
    async with raw_server(handler) as peer:
        await handler.broken(peer, path, headers=headers)
        assert [] == list(path.parent.iterdir())
        await http.request(url=peer.url, into=path, resume=True, headers=headers)
    assert DATA == path.read_bytes()
    assert ['gzip'] == peer.asked[1].values('Accept-Encoding')
    assert [] == peer.asked[1].values('Range')


async def test_another_url_starts_anew(raw_server, path):
    """Two things may have the same validator."""
    handler = Answering(
        cut(answer(200, b'one thing', f'ETag: {TAG}')), answer(200, b'another', f'ETag: {TAG}')
    )
    async with raw_server(handler) as peer:
        await handler.broken(peer, path)
        await http.request(url=peer.url + '/?other', into=path, resume=True)
    assert [] == peer.asked[1].values('Range')
    assert b'another' == path.read_bytes()


@pytest.mark.parametrize('status', [206, 416])
async def test_a_redirect_that_leads_elsewhere_starts_anew(raw_server, path, status):
    """The tags of two resources may be the same; a query may change, as a signed one does."""
    places = '/1?a', '/1?b', '/2'
    to = [answer(302, b'', f'Location: {place}', 'Connection: close') for place in places]
    other = {
        206: rest(8, b'---', 11, f'ETag: {TAG}'),
        416: answer(416, b'', 'Content-Range: bytes */8', f'ETag: {TAG}'),
    }
    handler = Answering(
        *(to[0], cut(answer(200, b'one version', f'ETag: {TAG}'))),
        *(to[1], cut(rest(6, b'rsion', 11, f'ETag: {TAG}'), 3)),
        *(to[2], other[status], to[2], answer(200, b'another', f'ETag: {TAG}')),
    )
    async with raw_server(handler) as peer:
        await handler.broken(peer, path)
        await handler.broken(peer, path)
        assert b'one vers' == (path.parent / '.file.part').read_bytes()
        response = await http.request(url=peer.url, into=path, resume=True)
    assert (200, b'another') == (response.status, path.read_bytes())
    assert ['bytes=6-'] == peer.asked[3].values('Range')
    assert [] == peer.asked[7].values('Range')


async def test_two_resumed_at_once_do_not_mix(raw_server, path):
    """The second one is told; the first one goes on."""
    go_on = asyncio.Event()

    async def handler(line):
        await line.request()
        await line.send(cut(answer(200, b'abc', f'ETag: {TAG}'), 1))
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
    assert (b'abc', 1) == (path.read_bytes(), len(peer.asked))


@pytest.mark.skipif(not shutil.which('nginx'), reason='nginx is not there')
async def test_nginx_gives_the_rest(path, tmp_path_factory, until):
    """It takes our validator and our range, as it does those of any browser."""
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
        await until((folder / 's').exists)
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


async def test_head_has_nothing_to_write(tmp_path):
    """So what stands under the name is left as it is."""
    path = tmp_path / 'a'
    path.write_bytes(b'there')
    with pytest.raises(http.TableError, match=r"'into' is .*'text' for HEAD"):
        await http.request(method='HEAD', url='http://127.0.0.1:1', into=path)
    assert b'there' == path.read_bytes()
