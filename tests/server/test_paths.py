"""Files as bodies: asked for by curl and by raw clients, in part and under conditions."""

import asyncio
import contextlib
import os

import pytest
from aiohttp.abc import AbstractStreamWriter
from aiohttp.web_fileresponse import FileResponse

import aioluahttp as http
from aioluahttp.server.paths import RANGE

DATA = bytes(range(256)) * 1000


@pytest.fixture
def file(tmp_path):
    """Give a file of some pieces, whose name says its type."""
    path = tmp_path / 'a.csv'
    path.write_bytes(DATA)
    os.utime(path, (1_000_000_000, 1_000_000_000))
    return path


@contextlib.asynccontextmanager
async def answering(path, *, status=200, headers=None, **options):
    """Answer each request with a file; also give the mistakes that were told."""
    told = []

    def on_error(error, request):
        told.append(error)

    def callback(request):
        return {'status': status, 'headers': headers, 'body': path}

    async with http.listen('127.0.0.1', 0, callback, on_error, **options) as server:
        yield server, told


@pytest.mark.parametrize(
    ('function', 'expected'),
    [
        (FileResponse, ['path', 'chunk_size', 'status', 'reason', 'headers']),
        (FileResponse.prepare, ['self', 'request']),
    ],
    ids=lambda value: getattr(value, '__qualname__', ''),
)
def test_aiohttp_takes_the_same_arguments(parameters, function, expected):
    """What is called has the parameters that it had."""
    name = function.__qualname__
    assert expected == parameters(function), f'aiohttp: {name} takes other arguments now'
    assert 0 == AbstractStreamWriter.output_size, 'aiohttp: a writer counts in another way now'


async def test_a_file_is_a_body(wire, file):
    """With the type that its name has, its length, and what a client asks again with."""
    async with answering(file, server_header='me') as (server, _), wire(server) as client:
        for _ in range(2):
            client.ask('GET /')
            status, headers, body = await client.answer()
            assert (200, DATA) == (status, body)
            assert ('text/csv', 'bytes') == (headers['Content-Type'], headers['Accept-Ranges'])
            assert 'Sun, 09 Sep 2001 01:46:40 GMT' == headers['Last-Modified']
            assert 'ETag' in headers
            assert ('me', None) == (headers['Server'], headers.get('Connection'))


async def test_nothing_names_aiohttp(wire, file):
    """A server does not say what it is unless it is told to."""
    async with answering(file) as (server, _), wire(server) as client:
        client.ask('GET /')
        assert 'Server' not in (await client.answer())[1]


async def test_the_headers_of_the_table_are_kept(wire, file):
    """But those of framing, and the validators, which are the file's."""
    headers = {
        'Content-Type': 'a/b',
        'Cache-Control': 'no-store',
        'Set-Cookie': ['a=b', 'c=d'],
        'Content-Length': '5',
        'Transfer-Encoding': 'chunked',
        'ETag': '"mine"',
    }
    async with answering(file, headers=headers) as (server, _), wire(server) as client:
        client.ask('GET /')
        _, fields, body = await client.answer()
    assert DATA == body
    assert ('a/b', 'no-store') == (fields['Content-Type'], fields['Cache-Control'])
    assert ['a=b', 'c=d'] == fields.getall('Set-Cookie')
    assert 'Transfer-Encoding' not in fields
    assert '"mine"' != fields['ETag']


@pytest.mark.parametrize(
    ('asked', 'status', 'body'),
    [
        ('Range: bytes=1-2', 206, DATA[1:3]),
        ('Range: bytes=255999-', 206, DATA[-1:]),
        ('Range: bytes=256000-', 416, b''),
        ('Range: bytes=1-2,5-6', 200, DATA),
        ('Range: lines=1-2', 200, DATA),
        ('Range: bytes=x', 200, DATA),
        ('If-Modified-Since: Sun, 09 Sep 2001 01:46:40 GMT', 304, b''),
        ('If-Modified-Since: Sun, 09 Sep 2001 01:46:39 GMT', 200, DATA),
        ('If-Unmodified-Since: Sun, 09 Sep 2001 01:46:39 GMT', 412, b''),
        ('If-None-Match: "x"', 200, DATA),
        ('If-None-Match: *', 304, b''),
        ('If-Match: "x"', 412, b''),
    ],
)
@pytest.mark.parametrize('version', ['1.0', '1.1'])
async def test_a_client_may_ask_for_a_part_or_on_a_condition(
    wire, file, asked, status, body, version
):
    """The status is what is logged; after an answer without a length nothing follows."""
    logged = []

    def log(request, response):
        logged.append(response.status)

    async with answering(file, access_log=log) as (server, _), wire(server) as client:
        client.send(f'GET / HTTP/{version}\r\nHost: h\r\n{asked}\r\n'.encode())
        client.send(b'Connection: keep-alive\r\n\r\n')
        head = await client.reader.readuntil(b'\r\n\r\n')
        assert f' {status} '.encode() in head.splitlines()[0]
        if b'chunked' in head:
            assert b'0\r\n\r\n' == await client.reader.readexactly(5)
        elif b'Content-Length' in head or status == 304:
            assert body == await client.reader.readexactly(len(body))
        else:
            assert ('1.0', b'') == (version, await client.rest())
    assert [status] == logged


@pytest.mark.parametrize(
    ('validator', 'status'),
    [
        ('"of another file"', 200),
        ('W/"x"', 200),
        ('Sun, 09 Sep 2001 01:46:39 GMT', 200),
        ('Sun, 09 Sep 2001 01:46:40 GMT', 206),
    ],
)
async def test_a_part_is_of_the_file_that_the_client_has(wire, file, validator, status):
    """Of another the whole is sent (RFC 9110 13.1.5)."""
    async with answering(file) as (server, _), wire(server) as client:
        client.ask('GET /', 'Range: bytes=0-4', f'If-Range: {validator}')
        given, _, body = await client.answer()
    assert (status, DATA if status == 200 else DATA[:5]) == (given, body)


async def test_a_part_may_be_asked_for_by_the_tag_of_the_file(wire, file):
    """As browsers do when one seeks in a video; what is packed beside it is no part of that."""
    file.with_suffix('.csv.gz').write_bytes(b'packed')
    async with answering(file) as (server, _), wire(server) as client:
        for change in (b'', b'more'):
            with file.open('ab') as appended:
                appended.write(change)
            client.ask('HEAD /')
            _, headers, _ = await client.answer(silent=True)
            tag = f'If-Range: {headers["ETag"]}'
            client.ask('GET /', 'Range: bytes=1-4', tag, 'Accept-Encoding: gzip')
            status, headers, body = await client.answer()
            assert (206, DATA[1:5]) == (status, body)
            assert f'bytes 1-4/{len(DATA + change)}' == headers['Content-Range']


@pytest.mark.parametrize(('method', 'status'), [('GET', 404), ('POST', 200)])
async def test_ranges_and_conditions_are_for_what_is_asked_for(wire, file, method, status):
    """A page that says what is wrong comes whole, as does what is no GET."""
    async with answering(file, status=status) as (server, _), wire(server) as client:
        asked = 'Range: bytes=0-4', 'If-None-Match: *', 'Content-Length: 0'
        client.ask(f'{method} /', *asked)
        given, _, body = await client.answer()
    assert (status, DATA) == (given, body)


async def test_an_answer_without_a_body_needs_no_file(wire, tmp_path):
    """It is not looked for."""
    async with answering(tmp_path, status=204) as (server, _), wire(server) as client:
        client.ask('GET /')
        assert 204 == (await client.answer())[0]


@pytest.mark.parametrize('name', ['no', 'a.csv/no', 'x' * 300, 'a\0b', '\ud800'])
async def test_a_file_that_is_missing_is_a_404(wire, file, name):
    """Also where no file can have such a name; the connection goes on."""
    async with answering(file.parent / name) as (server, told), wire(server) as client:
        for method in ('HEAD', 'GET'):
            client.ask(f'{method} /')
            status, _, body = await client.answer(silent=method == 'HEAD')
            assert (404, b'Not Found' * (method == 'GET')) == (status, body)
    assert [] == told


@pytest.mark.parametrize('name', ['', 'fifo', 'loop'])
async def test_what_is_no_file_is_a_mistake(wire, tmp_path, caplog, name):
    """A directory, a pipe, a link that leads nowhere: a 500, and nothing is waited for."""
    os.mkfifo(tmp_path / 'fifo')
    (tmp_path / 'loop').symlink_to('loop')
    async with answering(tmp_path / name) as (server, told), wire(server) as client:
        client.ask('GET /')
        assert 500 == (await client.answer())[0]
    assert isinstance(told[0], OSError)


async def test_a_file_that_becomes_shorter_breaks_off(wire, tmp_path, caplog):
    """Else the next answer would be read as its end."""
    path = tmp_path / 'big'
    with path.open('wb') as file:
        file.truncate(100_000_000)
    async with answering(path) as (server, told), wire(server) as client:
        client.ask('GET /')
        await client.reader.readuntil(b'\r\n\r\n')
        os.truncate(path, 1)
        assert len(await client.rest()) < 100_000_000
    assert ['big has become shorter while it was sent'] == [
        str(error).rpartition('/')[2] for error in told
    ]


async def test_who_does_not_read_a_file_is_cut_off(wire, tmp_path, until):
    """What waits is what the sockets hold, and no more is read of the file."""
    path = tmp_path / 'big'
    with path.open('wb') as file:
        file.truncate(1_000_000_000)
    async with answering(path, body_timeout=0.2) as (server, told), wire(server) as client:
        client.ask('GET /')
        await until(lambda: server.stats['requests'] and not server.stats['in_flight'])
        assert server.stats['bytes_out'] < 50_000_000
    assert [] == told


async def test_who_leaves_is_logged_with_what_was_sent(wire, tmp_path):
    """A browser that has seen enough of a part was sent a part."""
    path, logged = tmp_path / 'big', asyncio.Queue()
    with path.open('wb') as file:
        file.truncate(1_000_000_000)
    log = lambda request, response: logged.put_nowait(response.status)  # noqa: E731
    async with answering(path, access_log=log) as (server, told):
        async with wire(server) as client:
            client.ask('GET /', 'Range: bytes=1-')
            await client.reader.readuntil(b'\r\n\r\n')
            client.writer.transport.abort()
        assert 206 == await logged.get()
    assert [] == told


async def test_every_byte_is_counted(wire, file):
    """Of head and file."""
    async with answering(file) as (server, _), wire(server) as client:
        client.ask('GET /', 'Connection: close')
        answer = await client.rest()
        assert b'\r\nConnection: close\r\n' in answer
        assert len(answer) == server.stats['bytes_out']


@pytest.mark.parametrize('text', ['bytes=1', 'bytes=-', 'bytes=1-2 ', 'bytes=١-', 'bytes=1-2-'])
def test_a_range_is_of_digits(text):
    """ASCII ones."""
    assert not RANGE.fullmatch(text)


async def test_a_file_is_sent_by_tls_too(certificates, curl, file):
    """In smaller pieces."""
    async with answering(file, tls=certificates.server) as (server, _):
        url = f'https://localhost:{server.port}'
        assert (0, DATA) == await curl('--cacert', certificates.ca, url)
