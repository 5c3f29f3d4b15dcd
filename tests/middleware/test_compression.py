"""The middleware ``compress``: on tables, and with real clients."""

import asyncio
import gzip
import json
import os
import shutil
import tracemalloc
import zlib
from pathlib import Path

import pytest

import aioluahttp as http
from aioluahttp.bodies.encoders import ENCODERS
from aioluahttp.middleware.compression import (
    add_vary,
    is_compressible,
    set_coded_headers,
    weaken_etag,
)

TEXT = 'Grüße und mehr ' * 1000
BROWSER = 'gzip, deflate, br, zstd'  # as Chromium and Firefox send it over TLS
HTML = {'Content-Type': 'text/html'}
FEATURES = {
    'gzip': b' libz',
    'deflate': b' libz',
    'br': b' brotli',
    'zstd': b' zstd',
}  # as curl --version names them


def asking(accepted='gzip', **fields):
    """Make a request with this Accept-Encoding."""
    return http.to_request({'url': 'http://h', 'headers': {'Accept-Encoding': accepted}} | fields)


async def compressed(request, table, **options):
    """Return the response of a compressed handler that returns ``table``."""
    return await http.compress(lambda request: table, **options)(request)


async def each(*chunks):
    """Yield chunks asynchronously."""
    for chunk in chunks:
        yield chunk


# Which responses are compressed


@pytest.mark.parametrize(
    'kind',
    [
        'text/html',
        'TEXT/Plain ; charset=utf-8',
        'text/event-stream',
        'application/json',
        'application/problem+json; charset=utf-8',
        'application/javascript',
        'application/xhtml+xml',
        'application/wasm',
        'image/svg+xml',
        'font/ttf',
    ],
)
def test_textual_types_are_compressed(kind):
    """The Content-Type decides."""
    assert is_compressible(200, http.Headers({'Content-Type': kind}), 10, 10)


@pytest.mark.parametrize(
    'kind',
    [
        '',
        'text',
        'image/png',
        'image/jpeg',
        'video/mp4',
        'audio/ogg',
        'font/woff2',
        'application/zip',
        'application/gzip',
        'application/octet-stream',
        'application/pdf',
        'application/jsonish',
        'multipart/form-data; boundary=text/html',
    ],
)
def test_compressed_and_unknown_types_are_not_compressed(kind):
    """So are types that are missing or invalid."""
    assert not is_compressible(200, http.Headers({'Content-Type': kind}), 10, 10)


@pytest.mark.parametrize(
    ('status', 'headers', 'size'),
    [
        (200, {}, 9),
        (204, {}, 10),
        (205, {}, 10),
        (206, {}, 10),
        (416, {'Content-Range': 'bytes */10'}, 10),
        (200, {'content-encoding': 'gzip'}, 10),
        (200, {'Content-Encoding': 'identity'}, 10),
        (200, {'Cache-Control': 'no-transform'}, 10),
        (200, {'Cache-Control': ['max-age=5', 'private, No-Transform']}, 10),
        (200, {'Content-Digest': 'sha-256=:x:'}, 10),
        (200, {'Repr-Digest': 'sha-256=:x:'}, 10),
    ],
)
def test_short_partial_coded_and_digested_bodies_are_not_compressed(status, headers, size):
    """Neither are those that say ``no-transform``."""
    given = http.to_response({'status': 200, 'headers': HTML | headers}).headers
    assert not is_compressible(status, given, size, 10)


@pytest.mark.parametrize(
    ('given', 'expected'),
    [
        ([], ['Accept-Encoding']),
        (['Cookie'], ['Cookie, Accept-Encoding']),
        (['Cookie', 'Accept'], ['Cookie,Accept, Accept-Encoding']),
        (['accept-encoding'], ['accept-encoding']),
        (['Cookie', 'Accept , Accept-Encoding'], ['Cookie', 'Accept , Accept-Encoding']),
        (['*'], ['*']),
    ],
)
def test_accept_encoding_is_added_to_vary(given, expected):
    """It is added once, and not to ``*``, which includes it."""
    headers = http.Headers([('Vary', value) for value in given])
    add_vary(headers)
    assert expected == headers.getall('Vary')


@pytest.mark.parametrize(
    ('given', 'expected'), [('"x"', 'W/"x"'), ('W/"x"', 'W/"x"'), (None, None), ('x', 'x')]
)
def test_a_strong_etag_becomes_weak(given, expected):
    """A strong ETag would promise equal bytes in each coding (RFC 9110 8.8.3.3)."""
    headers = http.Headers({} if given is None else {'ETag': given})
    weaken_etag(headers)
    assert expected == headers.get('ETag')


def test_the_headers_describe_the_compressed_body():
    """Headers that set_coded_headers the uncompressed body are removed; the others stay."""
    headers = http.Headers(
        HTML | {'Content-Length': '9', 'Accept-Ranges': 'bytes', 'ETag': '"x"', 'A': 'b'}
    )
    set_coded_headers(headers, 'br')
    assert headers == HTML | {
        'ETag': 'W/"x"',
        'A': 'b',
        'Content-Encoding': 'br',
        'Vary': 'Accept-Encoding',
    }


# Compressed tables


@pytest.mark.parametrize(
    ('table', 'kind', 'body'),
    [
        ({'body': TEXT}, 'text/plain; charset=utf-8', TEXT.encode()),
        ({'body': TEXT, 'headers': HTML}, 'text/html; charset=utf-8', TEXT.encode()),
        (
            {'body': TEXT, 'headers': {'Content-Type': 'text/html; charset=latin1'}},
            'text/html; charset=latin1',
            TEXT.encode('latin1'),
        ),
        ({'body': b'\xff' * 2000, 'headers': HTML}, 'text/html', b'\xff' * 2000),
        ({'json': [TEXT]}, 'application/json', json.dumps([TEXT]).encode()),
    ],
)
async def test_a_body_is_encoded_before_it_is_compressed(table, kind, body):
    """Text gets a charset as usual. The handler's table is not changed."""
    table = {'status': 201, **table}
    before = table | {'headers': dict(table.get('headers', {}))}
    response = await compressed(asking(BROWSER, method='POST'), table, codings=['gzip'])
    assert before == table | {'headers': dict(table.get('headers', {}))}
    assert isinstance(response, http.Response)
    assert (201, body) == (response.status, gzip.decompress(response.body))
    assert response.headers == {
        'Content-Type': kind,
        'Content-Encoding': 'gzip',
        'Vary': 'Accept-Encoding',
    }


@pytest.mark.parametrize(
    'table',
    [
        {'body': 'x' * 1023},
        {'body': ''},
        {'body': os.urandom(9999)},
        {'body': Path('a.txt'), 'headers': HTML},
        {'body': each(b'x')},
        {'body': each(b'x'), 'headers': HTML | {'Content-Length': 1023}},
        {'body': each(b'x'), 'headers': HTML | {'Content-Length': 'what the server refuses'}},
        {'body': TEXT, 'headers': {'Content-Encoding': 'br'}},
        {'status': 101, 'websocket': print},
        http.Response(status=200, headers=http.Headers(HTML), body={'a': 'JSON that was read'}),
    ],
    ids=lambda table: str(table)[:50],
)
@pytest.mark.parametrize('method', ['GET', 'HEAD'])
async def test_a_response_that_is_not_compressible_is_only_normalised(table, method):
    """No header is added to it."""
    table = table if isinstance(table, http.Response) else {'status': 200, **table}
    response = await compressed(asking(method=method), table)
    assert http.to_response(table) == response


@pytest.mark.parametrize('accepted', ['', 'identity', 'gzip;q=0', 'compress'])
async def test_a_client_that_accepts_no_coding_gets_the_plain_body(accepted):
    """Vary is set, because other clients get another body."""
    table = {'status': 200, 'body': TEXT, 'headers': HTML | {'ETag': '"x"'}}
    response = await compressed(asking(accepted), table)
    assert TEXT == response.body
    assert response.headers == HTML | {'ETag': '"x"', 'Vary': 'Accept-Encoding'}


@pytest.mark.parametrize(('accepted', 'etag'), [('gzip', 'W/"x"'), ('', '"x"')])
async def test_a_304_has_the_etag_and_vary_of_the_compressed_response(accepted, etag):
    """They must be those of the response that the client has cached (RFC 9110 15.4.5)."""
    response = await compressed(asking(accepted), {'status': 304, 'headers': {'ETag': '"x"'}})
    assert {'ETag': etag, 'Vary': 'Accept-Encoding'} == response.headers


@pytest.mark.parametrize(
    ('table', 'coding'),
    [
        ({'body': TEXT}, 'gzip'),
        ({'headers': HTML | {'Content-Length': 1024}}, 'gzip'),
        ({'headers': HTML | {'Content-Length': 1023}}, None),
        ({'headers': HTML}, None),
        ({'headers': HTML, 'body': each()}, 'gzip'),
    ],
)
async def test_head_has_the_headers_of_get_without_the_length(wire, table, coding):
    """The compressed length is known only after compression (RFC 9110 9.3.2)."""
    handler = http.compress(lambda request: {'status': 200, **table})
    async with http.listen('127.0.0.1', 0, handler) as server, wire(server) as client:
        client.send_request('HEAD /', 'Accept-Encoding: gzip')
        status, headers, _ = await client.read_response(silent=True)
        assert (200, coding) == (status, headers.get('Content-Encoding'))
        assert ('Content-Length' in headers) == ('1023' in str(table))
        assert (coding is not None) == ('Vary' in headers)


@pytest.mark.parametrize(
    ('options', 'message'),
    [
        ({'minimum_size': -1}, "'minimum_size' is -1; it must be an int of 0 or more"),
        ({'minimum_size': None}, "'minimum_size' is None"),
        ({'codings': 'gzip'}, "'codings' is 'gzip'; it must be a non-empty list of str"),
        ({'codings': []}, "'codings' is "),
        ({'codings': ['gzip', 'lzma']}, "'codings' is .*; it must be some of .*gzip, deflate"),
    ],
)
def test_an_invalid_option_is_rejected(options, message):
    """It is checked when the handler is made; the message says what would be right."""
    with pytest.raises(http.TableError, match=message):
        http.compress(print, **options)


async def test_minimum_size_may_be_zero():
    """An empty body is never compressed."""
    for body, coding in [('x', 'gzip'), ('', None)]:
        response = await compressed(asking(), {'status': 200, 'body': body}, minimum_size=0)
        assert coding == response.headers.get('Content-Encoding')


async def test_the_first_of_the_given_codings_is_preferred():
    """If the client accepts several equally, the first one is used."""
    response = await compressed(
        asking(BROWSER), {'status': 200, 'body': TEXT}, codings=('deflate', 'gzip')
    )
    assert TEXT.encode() == zlib.decompress(response.body)


async def test_listen_reads_the_options_of_the_wrapped_handler():
    """``into`` as an attribute of the handler still works."""

    async def handler(request):
        return {'status': 200, 'body': type(request.body).__name__}

    handler.into = 'bytes'
    async with http.listen('127.0.0.1', 0, http.compress(handler)) as server:
        assert 'bytes' == (await http.request(method='POST', url=server.url, body='x')).body


# Real clients


async def curl(*arguments):
    """Run curl; return its exit code and its output."""
    process = await asyncio.create_subprocess_exec(
        'curl', '-s', *arguments, stdout=asyncio.subprocess.PIPE
    )
    out, _ = await process.communicate()
    return process.returncode, out


@pytest.mark.skipif(not shutil.which('curl'), reason='there is no curl here')
@pytest.mark.parametrize('coding', ENCODERS)
@pytest.mark.parametrize('chunked', [False, True])
async def test_curl_decodes_every_coding(coding, chunked):
    """With each coding, whole and in chunks, and with its own Accept-Encoding."""
    if FEATURES[coding] not in (await curl('--version'))[1]:
        pytest.skip(f'this curl has no {coding}')

    def handler(request):
        headers = {'Content-Type': 'text/plain'}
        return {
            'status': 200,
            'headers': headers,
            'body': each(TEXT, '', TEXT) if chunked else TEXT,
        }

    expected = TEXT.encode() * (2 if chunked else 1)
    async with http.listen('127.0.0.1', 0, http.compress(handler)) as server:
        asked = ('-H', f'Accept-Encoding: {coding}', '--compressed')
        assert (0, expected) == await curl(*asked, server.url)
        head = (await curl(*asked, '-o', os.devnull, '-D', '-', server.url))[1]
        assert f'\r\nContent-Encoding: {coding}\r\n'.encode() in head
        assert b'\r\nContent-Type: text/plain; charset=utf-8\r\n' in head
        assert (0, expected) == await curl('--compressed', server.url)
        assert (0, expected) == await curl('--compressed', '--http1.0', server.url)
        assert (0, expected) == await curl(server.url)


async def test_a_browser_gets_the_preferred_coding():
    """Our client decodes the coding that it asks for."""
    handler = http.compress(lambda request: {'status': 200, 'json': [TEXT]})
    async with http.listen('127.0.0.1', 0, handler) as server:
        headers = {'Accept-Encoding': BROWSER}
        response = await http.request(url=server.url, headers=headers, into='raw')
        async with response.body:
            assert next(iter(ENCODERS)) == response.headers['Content-Encoding']
        response = await http.request(url=server.url, into='json')
        assert [TEXT] == response.body


async def test_compressed_events_arrive_one_by_one():
    """Each event can be decoded before the next one is read from the iterator."""
    events = asyncio.Queue()

    async def given_events():
        while (event := await events.get()) is not None:
            yield event

    handler = http.compress(lambda request: {'status': 200, 'events': given_events()})
    async with http.listen('127.0.0.1', 0, handler) as server:
        events.put_nowait({})
        response = await http.request(asking('gzip', url=server.url, into='raw'))
        assert 'gzip' == response.headers['Content-Encoding']
        decode = zlib.decompressobj(31).decompress
        async with response.body as stream:
            text = decode(await anext(stream))
            for number in '012':
                events.put_nowait({'data': number})
                while not text.endswith(b'\n\n') or number.encode() not in text:
                    text += decode(await anext(stream))
            assert b':\n\ndata: 0\n\ndata: 1\n\ndata: 2\n\n' == text
            events.put_nowait(None)
            assert b'' == b''.join([decode(chunk) async for chunk in stream])


async def noise(closed, sizes):
    """Yield incompressible chunks without end; note their sizes and the end of the generator."""
    try:
        while True:
            sizes.append(65536)
            yield os.urandom(65536)
    finally:
        closed.set()


def noisy():
    """Make a handler that responds with ``noise``, and return what it notes."""
    closed, sizes = asyncio.Event(), []
    table = {'status': 200, 'headers': HTML, 'body': noise(closed, sizes)}
    return http.compress(lambda request: table), closed, sizes


@pytest.mark.parametrize('coding', ENCODERS)
async def test_who_does_not_read_is_given_no_more_and_cut_off(wire, coding):
    """Only the socket buffers fill up; then the iterator is closed, and that is no error."""
    handler, closed, sizes = noisy()
    async with http.listen('127.0.0.1', 0, handler, body_timeout=0.2) as server:
        async with wire(server) as client:
            client.send_request('GET /', f'Accept-Encoding: {coding}')
            await closed.wait()
        assert sum(sizes) < 20_000_000
        assert 0 == server.stats['errors']


async def test_memory_stays_flat(wire):
    """A long body does not use more memory."""
    async with http.listen('127.0.0.1', 0, noisy()[0]) as server, wire(server) as client:
        client.send_request('GET /', 'Accept-Encoding: gzip')
        await client.reader.readexactly(1 << 20)
        tracemalloc.start()
        try:
            for _ in range(32):
                await client.reader.readexactly(1 << 20)
            assert tracemalloc.get_traced_memory()[1] < 4 << 20
        finally:
            tracemalloc.stop()


async def test_who_leaves_closes_the_iterator(wire):
    """The iterator is closed when the client disconnects, also while a thread compresses."""
    handler, closed, _ = noisy()
    async with http.listen('127.0.0.1', 0, handler) as server:
        async with wire(server) as client:
            client.send_request('GET /', 'Accept-Encoding: gzip')
            await client.reader.readuntil(b'\r\n\r\n')
        await closed.wait()
        assert 0 == server.stats['errors']


@pytest.mark.parametrize(('chunks', 'outcome'), [((), 500), (('ab',), http.ProtocolError)])
async def test_an_exception_of_the_iterator_is_reported(caplog, chunks, outcome):
    """Before the first chunk the response is a 500; after it the body is cut off visibly."""

    async def failing():
        for chunk in chunks:
            yield chunk
        raise ValueError('x')

    errors = []
    handler = http.compress(lambda request: {'status': 200, 'headers': HTML, 'body': failing()})
    async with http.listen(
        '127.0.0.1', 0, handler, lambda error, request: errors.append(error)
    ) as server:
        if outcome == 500:
            response = await http.request(url=server.url)
            assert 500 == response.status
            assert 'Content-Encoding' not in response.headers
        else:
            with pytest.raises(outcome):
                await http.request(url=server.url)
    assert [ValueError] == list(map(type, errors))
    assert ['GET / failed'] == [record.getMessage() for record in caplog.records]


# Around a client


async def test_a_relayed_stream_is_compressed():
    """A given Content-Length is removed; a body that is compressed already is passed on."""

    def backend(request):
        return {'status': 200, 'headers': HTML | {'Content-Length': 2000}, 'body': each('x' * 2000)}

    async with http.listen('127.0.0.1', 0, backend) as behind:

        async def relay(request):
            return await http.request(url=behind.url, into='stream')

        async with (
            http.listen('127.0.0.1', 0, http.compress(relay)) as front,
            http.listen('127.0.0.1', 0, http.compress(http.compress(relay))) as twice,
        ):
            for server in (front, twice):
                accepts = {'Accept-Encoding': 'gzip'}
                response = await http.request(url=server.url, into='raw', headers=accepts)
                assert ['gzip'] == response.headers.getall('Content-Encoding')
                assert 'Content-Length' not in response.headers
                assert b'x' * 2000 == gzip.decompress(await response.body.read())


async def test_it_wraps_request_too():
    """A plain table is accepted. Without an Accept-Encoding the body is not compressed."""
    send = http.compress(http.request)
    async with http.listen('127.0.0.1', 0, lambda request: {'status': 200, 'body': TEXT}) as server:
        response = await send({'url': server.url})
        assert (TEXT, 'Accept-Encoding') == (response.body, response.headers['Vary'])
        response = await send(asking(url=server.url))
        assert TEXT.encode() == gzip.decompress(response.body)
