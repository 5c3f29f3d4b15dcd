"""curl as the client: ranges of files, conditional requests, and uploads of all kinds."""

import hashlib
import os

import pytest

import aioluahttp as http

DATA = os.urandom(3_000_000)  # above 1 MiB curl sends Expect: 100-continue
LATER, EARLIER = 'Sun, 09 Sep 2001 01:46:41 GMT', 'Sun, 09 Sep 2001 01:46:39 GMT'


@pytest.fixture
def file(tmp_path):
    """Make a file of several pieces, last modified at Unix time 1,000,000,000."""
    path = tmp_path / 'file.bin'
    path.write_bytes(DATA)
    os.utime(path, (1_000_000_000, 1_000_000_000))
    return path


@pytest.fixture(params=['a folder', 'a path'])
def files(request, file):
    """A server whose response is a file, from ``files`` or as a path in ``body``."""
    handler = http.files(file.parent)
    if request.param == 'a path':
        handler = lambda request: {'status': 200, 'body': file}  # noqa: E731
    return http.listen('127.0.0.1', 0, handler)


VERSIONS = pytest.mark.parametrize('version', ['--http1.0', '--http1.1'])


@VERSIONS
@pytest.mark.parametrize(
    ('range_', 'status', 'body'),
    [
        ('0-0', 206, DATA[:1]),
        ('500000-1500000', 206, DATA[500_000:1_500_001]),
        ('2999999-', 206, DATA[-1:]),
        ('0-99999999', 206, DATA),
        ('-5', 206, DATA[-5:]),
        ('-99999999', 206, DATA),
        ('3000000-', 416, b''),
        ('0-4,10-14', 200, DATA),
    ],
)
async def test_curl_gets_a_range(curl, files, tmp_path, range_, status, body, version):
    """One range is sent; for several ranges the whole file is."""
    got = tmp_path / 'got'
    async with files as server:
        arguments = '-r', range_, '-o', got, '-w', '%{http_code}', f'{server.url}/file.bin'
        assert (0, str(status).encode()) == await curl(version, *arguments)
    assert body == (got.read_bytes() if body else b'')


@VERSIONS
@pytest.mark.parametrize('there', [0, 1, 1_000_000, 2_999_999, 3_000_000])
async def test_curl_resumes_a_download(curl, files, tmp_path, there, version):
    """From any byte; a complete file is not changed."""
    got = tmp_path / 'got'
    got.write_bytes(DATA[:there])
    async with files as server:
        assert (0, b'') == await curl(version, '-C', '-', '-o', got, f'{server.url}/file.bin')
    assert DATA == got.read_bytes()


async def test_curl_requests_the_head(curl, files):
    """``-I`` gets the headers of a GET, and the connection is reused."""
    async with files as server:
        url = f'{server.url}/file.bin'
        code, printed = await curl('-I', '-w', '%{num_connects}\n', url, url)
    head, second, _ = (head.decode().splitlines() for head in printed.split(b'\r\n\r\n'))
    assert (0, 'HTTP/1.1 200 OK') == (code, head[0])
    assert {'Content-Length: 3000000', 'Accept-Ranges: bytes'} <= set(head)
    assert ['1', *head] == second


@pytest.mark.parametrize(
    ('arguments', 'status'),
    [
        (['-z', LATER], 304),
        (['-z', EARLIER], 200),
        (['-z', f'-{LATER}'], 200),
        (['-z', f'-{EARLIER}'], 412),
        (['-H', 'If-None-Match: "x", *'], 200),
        (['-H', 'If-None-Match: *'], 304),
        (['-H', 'If-None-Match: "x"', '-H', f'If-Modified-Since: {LATER}'], 200),
        (['-H', 'If-Match: "x"'], 412),
        (['-H', f'If-Range: {EARLIER}', '-r', '0-0'], 200),
        (['-H', f'If-Range: {LATER}', '-r', '0-0'], 200),  # a date must match exactly
    ],
)
async def test_curl_sends_conditional_requests(curl, files, tmp_path, arguments, status):
    """With a date (``-z``), an ETag, or both, of which the ETag takes precedence."""
    async with files as server:
        code = '-o', tmp_path / 'got', '-w', '%{http_code}'
        result = await curl(*arguments, *code, f'{server.url}/file.bin')
    assert (0, str(status).encode()) == result


async def test_curl_revalidates_a_file(curl, files, file, tmp_path):
    """By its stored ETag, or by the time of its file; a changed file is sent whole."""
    tag, got = tmp_path / 'tag', tmp_path / 'got'
    async with files as server:
        url = f'{server.url}/file.bin'
        code = '-w', '%{http_code}'
        assert (0, b'200') == await curl('-R', '-o', got, '--etag-save', tag, *code, url)
        assert (0, b'304') == await curl('-o', got, '-z', got, *code, url)
        assert (0, b'304') == await curl('-o', got, '--etag-compare', tag, *code, url)
        file.write_bytes(b'changed')
        assert (0, b'200') == await curl('-o', got, '-z', got, *code, url)
        assert b'changed' == got.read_bytes()
        assert (0, b'200') == await curl('-o', got, '--etag-compare', tag, *code, url)


async def digest(request):
    """Return the framing headers of a request, and a digest of its body."""
    body = request.body
    data = body if isinstance(body, bytes) else await body.read()
    framing = {'Expect', 'Content-Length', 'Transfer-Encoding'} & set(request.headers)
    return {'status': 200, 'body': f'{sorted(framing)} {hashlib.sha256(data).hexdigest()}\n'}


LENGTH, CHUNKS, WAITS = 'Content-Length', 'Transfer-Encoding', 'Expect'
UPLOADS = [
    (['-T', 'FILE'], [LENGTH, WAITS]),
    (['-T', 'FILE', '-H', 'Expect:'], [LENGTH]),
    (['-T', 'FILE', '--http1.0'], [LENGTH]),
    (['-T', '-'], [WAITS, CHUNKS]),
    (['-T', '-', '-H', 'Expect:'], [CHUNKS]),
    (['-T', '.'], [WAITS, CHUNKS]),
    (['--data-binary', '@FILE'], [LENGTH, WAITS]),
    (['--data-binary', '@FILE', '-H', 'Transfer-Encoding: chunked'], [WAITS, CHUNKS]),
]


@pytest.mark.parametrize('into', ['bytes', 'stream', 'raw'])
@pytest.mark.parametrize(('arguments', 'framing'), UPLOADS)
async def test_curl_sends_a_body(curl, file, arguments, framing, into):
    """With a length or chunked, with or without Expect: 100-continue."""
    arguments = [argument.replace('FILE', str(file)) for argument in arguments]
    expected = f'{framing} {hashlib.sha256(DATA).hexdigest()}\n'
    async with http.listen('127.0.0.1', 0, digest, into=into) as server:
        assert (0, expected.encode()) == await curl(*arguments, f'{server.url}/', given=DATA)


@pytest.mark.parametrize('into', ['bytes', 'stream'])
@pytest.mark.parametrize('arguments', [[], ['-H', 'Expect:'], ['-H', 'Transfer-Encoding: chunked']])
async def test_curl_sends_several_bodies_on_one_connection(curl, file, arguments, into):
    """Three uploads use one connection."""
    expected = f'{hashlib.sha256(DATA).hexdigest()}\n'
    async with http.listen('127.0.0.1', 0, digest, into=into) as server:
        url = f'{server.url}/[1-3]'
        code, printed = await curl('-T', file, *arguments, '-w', '%{num_connects}\n', url)
    assert 0 == code
    assert ['1', '0', '0'] == printed.decode().splitlines()[1::2]
    assert 3 == printed.decode().count(expected)


@pytest.mark.parametrize('into', ['bytes', 'stream'])
@pytest.mark.parametrize(('arguments', 'framing'), UPLOADS)
async def test_curl_gets_a_413_for_a_body_that_is_too_large(curl, file, arguments, framing, into):
    """In all cases; with Expect: 100-continue and a length it has sent nothing of the body."""
    arguments = [argument.replace('FILE', str(file)) for argument in arguments]
    arguments += '-w', ' %{http_code} %{size_upload}'
    limited = {'into': into, 'max_body': 1_000_000}
    async with http.listen('127.0.0.1', 0, digest, **limited) as server:
        code, printed = await curl(*arguments, f'{server.url}/', given=DATA)
    *_, large, status, sent = printed.decode().split(' ')
    assert (0, 'Large', '413') == (code, large, status)
    if {LENGTH, WAITS} <= set(framing):
        assert '0' == sent


@pytest.mark.parametrize('arguments', [['-T', 'FILE'], ['-T', '-'], ['-T', '.']])
async def test_curl_is_refused_before_it_sends(curl, file, arguments):
    """By a handler that does not read the body."""
    arguments = [argument.replace('FILE', str(file)) for argument in arguments]
    refuse = lambda request: {'status': 401, 'body': 'who are you?'}  # noqa: E731
    async with http.listen('127.0.0.1', 0, refuse, into='stream') as server:
        sent = '-w', ' %{http_code} %{size_upload}'
        printed = await curl(*arguments, *sent, f'{server.url}/', given=DATA)
    assert (0, b'who are you? 401 0') == printed
