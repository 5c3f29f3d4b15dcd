"""Files as response bodies: sendfile(2), its fallback, ranges, and clients that do not read."""

import asyncio
import contextlib
import os
import socket
from stat import S_ISSOCK

import pytest

import aioluahttp as http
from aioluahttp.conditions import RANGE
from aioluahttp.server.sendfile import send_file

LOOPS = {'asyncio': asyncio.new_event_loop}
with contextlib.suppress(ImportError):  # there is none on Windows
    import uvloop

    LOOPS['uvloop'] = uvloop.new_event_loop

BIG = 50_000_000  # bytes: more than the buffers of two sockets hold


@pytest.fixture
def big(tmp_path):
    """Return a file larger than the buffers of two sockets."""
    path = tmp_path / 'big'
    path.write_bytes(os.urandom(BIG // 50) * 50)
    return path


def sockets():
    """Count the open file descriptors of sockets."""
    count = 0
    for name in os.listdir('/dev/fd'):
        with contextlib.suppress(OSError):  # the descriptor of listdir itself is closed
            count += S_ISSOCK(os.fstat(int(name)).st_mode)
    return count


def run(loop, main):
    """Run a coroutine in a loop of the given kind."""
    with asyncio.Runner(loop_factory=LOOPS[loop]) as runner:
        runner.run(asyncio.wait_for(main, 30))


def listening_with_file(path, **options):
    """Respond to each request with a file."""
    return http.listen('127.0.0.1', 0, lambda request: {'status': 200, 'body': path}, **options)


@pytest.mark.parametrize('loop', LOOPS)
def test_a_file_is_sent_by_the_kernel(wire, big, loop, monkeypatch):
    """It is not read by this process, on any loop; the next response follows it."""
    monkeypatch.setattr('aioluahttp.exchange.response.FilePieces.__anext__', None)

    async def ask():
        async with listening_with_file(big) as server, wire(server) as client:
            for asked, expected in (('GET /', big.read_bytes()), ('HEAD /', b'')):
                client.send_request(asked)
                response = await client.read_response(silent=not expected)
                assert (200, str(BIG)) == (response[0], response[1]['Content-Length'])
                assert expected == response[2]
            client.send_request('GET /', 'Range: bytes=5-9', 'Connection: close')
            assert big.read_bytes()[5:10] == (await client.read_response())[2]

    run(loop, ask())


async def test_bytes_sent_by_the_kernel_are_counted(wire, tmp_path):
    """Byte for byte, though they did not go through this process."""
    path = tmp_path / 'small'
    path.write_bytes(b'0123456789')
    async with listening_with_file(path) as server, wire(server) as client:
        client.send_request('GET /', 'Connection: close')
        assert len(await client.rest()) == server.stats['bytes_out']


@pytest.mark.parametrize('size', [0, 100_000])
async def test_a_file_that_becomes_shorter_while_it_is_sent_cuts_the_response_off(
    wire, tmp_path, monkeypatch, size
):
    """It is an error that ``on_error`` gets; the client sees that bytes are missing."""
    path, told = tmp_path / 'a', []
    path.write_bytes(bytes(1_000_000))
    sendfile = os.sendfile

    def shortening(out, file, offset, count):
        os.truncate(path, size)
        return sendfile(out, file, offset, count)

    monkeypatch.setattr(os, 'sendfile', shortening)
    options = {'on_error': lambda error, request: told.append(str(error))}
    async with listening_with_file(path, **options) as server, wire(server) as client:
        client.send_request('GET /')
        head = await client.reader.readuntil(b'\r\n\r\n')
        assert b'Content-Length: 1000000' in head
        assert size == len(await client.rest())
    assert [f'{path} has become shorter while it was sent'] == told


@pytest.mark.parametrize('loop', LOOPS)
def test_a_client_that_reads_slowly_gets_the_whole_file(wire, big, loop):
    """However long it takes, if it reads something within each ``body_timeout``."""

    async def ask():
        async with listening_with_file(big, body_timeout=0.2) as server, wire(server) as client:
            client.send_request('GET /')
            await client.reader.readuntil(b'\r\n\r\n')
            data = b''
            while len(data) < BIG // 2:
                data += await client.reader.readexactly(BIG // 10)
                await asyncio.sleep(0.1)  # the pace of the client
            data += await client.reader.readexactly(BIG - len(data))
            assert big.read_bytes() == data

    run(loop, ask())


@pytest.mark.parametrize('loop', LOOPS)
@pytest.mark.parametrize('leaves', [None, 'write_eof', 'close', 'abort'])
def test_a_client_that_does_not_read_or_leaves_is_cut_off(wire, big, until, caplog, leaves, loop):
    """This is not an error, and no socket stays open."""

    async def ask():
        async with listening_with_file(big, body_timeout=0.2) as server:
            before = sockets()
            async with wire(server) as client:
                client.send_request('GET /')
                await client.reader.readuntil(b'\r\n\r\n')
                if leaves:
                    getattr(client.writer.transport, leaves)()
                await until(lambda: not server.stats['in_flight'])
            await until(lambda: before == sockets())
            assert (1, 0) == (server.stats['requests'], server.stats['errors'])

    run(loop, ask())
    assert [] == caplog.records


@pytest.mark.parametrize('loop', LOOPS)
def test_a_closing_server_cuts_a_file_off_after_its_grace(wire, big, until, caplog, loop):
    """No socket stays open."""

    async def ask():
        before = sockets()
        async with listening_with_file(big) as server, wire(server) as client:
            client.send_request('GET /')
            await client.reader.readuntil(b'\r\n\r\n')
            await server.close(grace=0)
            with contextlib.suppress(ConnectionError):
                assert len(await client.rest()) < BIG
        await until(lambda: before == sockets())

    run(loop, ask())
    assert [] == caplog.records


def leave(transport):
    """Abort the connection before the file is sent."""
    transport.abort()


def half_close(transport):
    """Shut the socket down for writing, which the transport does not notice."""
    transport.get_extra_info('socket').shutdown(socket.SHUT_WR)


@pytest.mark.parametrize('first', [leave, half_close])
async def test_a_connection_that_has_ended_is_not_an_error_of_the_callback(
    wire, first, tmp_path, monkeypatch
):
    """Whether the transport has noticed it or not."""
    path = tmp_path / 'small'
    path.write_bytes(b'0123456789')
    raised = []

    async def after_the_head(connection, pieces):
        first(connection.transport)
        try:
            return await send_file(connection, pieces)
        except Exception as error:
            raised.append(error)
            raise

    monkeypatch.setattr('aioluahttp.server.exchange.send_file', after_the_head)
    async with listening_with_file(path) as server, wire(server) as client:
        client.send_request('GET /')
        with contextlib.suppress(ConnectionError):
            await client.rest()
        await server.close()
        assert 0 == server.stats['errors']
    assert [True] == [isinstance(error, ConnectionError) for error in raised]


async def test_what_the_kernel_cannot_send_is_read(wire, monkeypatch, tmp_path):
    """Some file systems do not support sendfile(2)."""
    path = tmp_path / 'small'
    path.write_bytes(b'0123456789')

    def failing(out, file, offset, count):
        raise OSError(22, 'Invalid argument')

    monkeypatch.setattr(os, 'sendfile', failing)
    async with listening_with_file(path) as server, wire(server) as client:
        for asked, expected in ((), b'0123456789'), (('Range: bytes=3-5',), b'345'):
            client.send_request('GET /', *asked)
            assert expected == (await client.read_response())[2]


async def test_a_file_that_fails_in_the_middle_cuts_the_response_off(
    wire, big, monkeypatch, caplog
):
    """It is counted as an error, and the fallback does not begin the response again."""
    sendfile = os.sendfile

    def failing(out, file, offset, count):
        if offset:
            raise OSError(5, 'the disk is broken')
        return sendfile(out, file, offset, count)

    monkeypatch.setattr(os, 'sendfile', failing)
    async with listening_with_file(big) as server, wire(server) as client:
        client.send_request('GET /')
        assert len(await client.rest()) < BIG
        assert 1 == server.stats['errors']


@pytest.mark.parametrize('missing', ['tls', 'sendfile'])
async def test_without_sendfile_the_file_is_read(missing, certificates, big, monkeypatch):
    """Over TLS, and on a system without sendfile(2)."""
    tls = None
    if missing == 'tls':
        tls = certificates.server
    else:
        monkeypatch.delattr(os, 'sendfile')
    async with listening_with_file(big, tls=tls) as server:
        table = {'url': server.url, 'into': 'bytes', 'tls': {'ca': certificates.ca}}
        assert big.read_bytes() == (await http.request(table)).body


DATA = bytes(range(256)) * 1000


@pytest.fixture
def file(tmp_path):
    """Return a CSV file of several pieces, with a known time of change."""
    path = tmp_path / 'a.csv'
    path.write_bytes(DATA)
    os.utime(path, (1_000_000_000, 1_000_000_000))
    return path


@contextlib.asynccontextmanager
async def serving_file(path, *, status=200, headers=None, **options):
    """Respond to each request with a file; also give the errors that ``on_error`` got."""
    told = []

    def on_error(error, request):
        told.append(error)

    def callback(request):
        return {'status': status, 'headers': headers, 'body': path}

    async with http.listen('127.0.0.1', 0, callback, on_error, **options) as server:
        yield server, told


async def test_a_file_can_be_a_body(wire, file):
    """It gets the Content-Type of its name, its length, and validators."""
    async with serving_file(file, server_header='me') as (server, _), wire(server) as client:
        for _ in range(2):
            client.send_request('GET /')
            status, headers, body = await client.read_response()
            assert (200, DATA) == (status, body)
            assert ('text/csv; charset=utf-8', 'bytes') == (
                headers['Content-Type'],
                headers['Accept-Ranges'],
            )
            assert 'Sun, 09 Sep 2001 01:46:40 GMT' == headers['Last-Modified']
            assert 'ETag' in headers
            assert ('me', None) == (headers['Server'], headers.get('Connection'))


async def test_the_response_does_not_name_aiohttp(wire, file):
    """No ``Server`` header is sent unless it is configured."""
    async with serving_file(file) as (server, _), wire(server) as client:
        client.send_request('GET /')
        assert 'Server' not in (await client.read_response())[1]


async def test_the_headers_of_the_table_are_kept(wire, file):
    """Except those of framing, and the validators, which are the file's."""
    headers = {
        'Content-Type': 'a/b',
        'Cache-Control': 'no-store',
        'Set-Cookie': ['a=b', 'c=d'],
        'Content-Length': '5',
        'Transfer-Encoding': 'chunked',
        'ETag': '"mine"',
    }
    async with serving_file(file, headers=headers) as (server, _), wire(server) as client:
        client.send_request('GET /')
        _, fields, body = await client.read_response()
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
async def test_a_file_may_be_requested_by_range_or_condition(
    wire, file, asked, status, body, version
):
    """The status sent is logged; a response without a length is the last one."""
    logged = []

    def log(request, response):
        logged.append(response.status)

    async with serving_file(file, access_log=log) as (server, _), wire(server) as client:
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
    """If-Range: the whole file is sent if it has changed (RFC 9110 13.1.5)."""
    async with serving_file(file) as (server, _), wire(server) as client:
        client.send_request('GET /', 'Range: bytes=0-4', f'If-Range: {validator}')
        given, _, body = await client.read_response()
    assert (status, DATA if status == 200 else DATA[:5]) == (given, body)


async def test_if_range_may_name_the_entity_tag_of_the_file(wire, file):
    """As browsers do when one seeks in a video; a packed file.gz is not used then."""
    file.with_suffix('.csv.gz').write_bytes(b'packed')
    async with serving_file(file) as (server, _), wire(server) as client:
        for change in (b'', b'more'):
            with file.open('ab') as appended:
                appended.write(change)
            client.send_request('HEAD /')
            _, headers, _ = await client.read_response(silent=True)
            tag = f'If-Range: {headers["ETag"]}'
            client.send_request('GET /', 'Range: bytes=1-4', tag, 'Accept-Encoding: gzip')
            status, headers, body = await client.read_response()
            assert (206, DATA[1:5]) == (status, body)
            assert f'bytes 1-4/{len(DATA + change)}' == headers['Content-Range']


@pytest.mark.parametrize(('method', 'status'), [('GET', 404), ('POST', 200)])
async def test_ranges_and_conditions_apply_only_to_a_200_for_get(wire, file, method, status):
    """An error page is sent whole, and so is the response to another method."""
    async with serving_file(file, status=status) as (server, _), wire(server) as client:
        asked = 'Range: bytes=0-4', 'If-None-Match: *', 'Content-Length: 0'
        client.send_request(f'{method} /', *asked)
        given, _, body = await client.read_response()
    assert (status, DATA) == (given, body)


async def test_a_response_without_a_body_needs_no_file(wire, tmp_path):
    """The file is not looked for."""
    async with serving_file(tmp_path, status=204) as (server, _), wire(server) as client:
        client.send_request('GET /')
        assert 204 == (await client.read_response())[0]


@pytest.mark.parametrize('name', ['no', 'a.csv/no', 'x' * 300, 'a\0b', '\ud800'])
async def test_a_missing_file_is_a_404(wire, file, name):
    """Also if no file can have that name; the connection is kept."""
    async with serving_file(file.parent / name) as (server, told), wire(server) as client:
        for method in ('HEAD', 'GET'):
            client.send_request(f'{method} /')
            status, _, body = await client.read_response(silent=method == 'HEAD')
            assert (404, b'Not Found' * (method == 'GET')) == (status, body)
    assert [] == told


@pytest.mark.parametrize('name', ['', 'fifo', 'loop'])
async def test_a_path_that_is_no_regular_file_is_a_500(wire, tmp_path, caplog, name):
    """A directory, a pipe, a link loop; nothing waits for the pipe."""
    os.mkfifo(tmp_path / 'fifo')
    (tmp_path / 'loop').symlink_to('loop')
    async with serving_file(tmp_path / name) as (server, told), wire(server) as client:
        client.send_request('GET /')
        assert 500 == (await client.read_response())[0]
    assert isinstance(told[0], OSError)


async def test_a_file_that_becomes_shorter_breaks_off(wire, tmp_path, caplog):
    """Otherwise the client would read the next response as the rest of the file."""
    path = tmp_path / 'big'
    with path.open('wb') as file:
        file.truncate(100_000_000)
    async with serving_file(path) as (server, told), wire(server) as client:
        client.send_request('GET /')
        await client.reader.readuntil(b'\r\n\r\n')
        os.truncate(path, 1)
        assert len(await client.rest()) < 100_000_000
    assert ['big has become shorter while it was sent'] == [
        str(error).rpartition('/')[2] for error in told
    ]


async def test_a_client_that_does_not_read_a_file_is_cut_off(wire, tmp_path, until):
    """No more of the file is sent than the sockets hold."""
    path = tmp_path / 'big'
    with path.open('wb') as file:
        file.truncate(1_000_000_000)
    async with serving_file(path, body_timeout=0.2) as (server, told), wire(server) as client:
        client.send_request('GET /')
        await until(lambda: server.stats['requests'] and not server.stats['in_flight'])
        assert server.stats['bytes_out'] < 50_000_000
    assert [] == told


async def test_a_client_that_leaves_is_logged_with_the_status_sent(wire, tmp_path):
    """A browser that stops reading a range got a 206."""
    path, logged = tmp_path / 'big', asyncio.Queue()
    with path.open('wb') as file:
        file.truncate(1_000_000_000)
    log = lambda request, response: logged.put_nowait(response.status)  # noqa: E731
    async with serving_file(path, access_log=log) as (server, told):
        async with wire(server) as client:
            client.send_request('GET /', 'Range: bytes=1-')
            await client.reader.readuntil(b'\r\n\r\n')
            client.writer.transport.abort()
        assert 206 == await logged.get()
    assert [] == told


async def test_every_byte_of_head_and_file_is_counted(wire, file):
    """Of head and file."""
    async with serving_file(file) as (server, _), wire(server) as client:
        client.send_request('GET /', 'Connection: close')
        response = await client.rest()
        assert b'\r\nConnection: close\r\n' in response
        assert len(response) == server.stats['bytes_out']


@pytest.mark.parametrize('text', ['bytes=1', 'bytes=-', 'bytes=1-2 ', 'bytes=١-', 'bytes=1-2-'])
def test_a_range_has_ascii_digits_only(text):
    """ASCII ones."""
    assert not RANGE.fullmatch(text)


async def test_a_file_is_sent_over_tls(certificates, curl, file):
    """It is written in smaller pieces."""
    async with serving_file(file, tls=certificates.server) as (server, _):
        url = f'https://localhost:{server.port}'
        assert (0, DATA) == await curl('--cacert', certificates.ca, url)
