"""One handler under every engine: requests and responses are the same everywhere."""

import asyncio
import contextlib
import gzip
import itertools
import json
import logging
import os
import socket
import subprocess
import sys
import time
from pathlib import Path
from types import SimpleNamespace

import hypercorn.asyncio
import hypercorn.config
import pytest
import uvicorn
from aiohttp import web

import aioluahttp as http
import served
from aioluahttp.asgi import to_asgi
from aioluahttp.semantics import PHRASES
from aioluahttp.web import to_application, to_web
from programs import free_port

HERE = Path(__file__).parent

ENGINES = (
    'lean',
    'plain',
    'route',
    'application',
    'uvicorn-h11',
    'uvicorn-httptools',
    'hypercorn',
    'granian',
    'via',
)
OURS = {'lean', 'plain', 'route', 'application', 'via'}
# Engines that do not pass something to an application, or do it differently.
NO_LONE_QUESTION_MARK = set(ENGINES) - OURS  # ASGI separates path and query
NO_LENGTH_OF_304 = set(ENGINES) - {'lean', 'plain', 'via'}  # most of them cannot send it
NO_HEADERS_OF_101 = {'granian'}
# Of a request body, once the client has broken off.
DROP_WHAT_CAME = {'uvicorn-h11', 'uvicorn-httptools'}
CLOSED_WITH = dict.fromkeys(ENGINES, '4002:bye') | {'hypercorn': '1006:', 'granian': '4002:'}
NO_CODE = dict.fromkeys(ENGINES, 1005) | {'hypercorn': 1006}


@contextlib.contextmanager
def listening():
    """Open a listening socket."""
    with socket.create_server(('127.0.0.1', 0)) as sock:
        yield sock


@contextlib.asynccontextmanager
async def with_listen(engine):
    """Serve with ``listen``."""
    async with http.listen('127.0.0.1', 0, served.handler, **served.OPTIONS) as server:
        yield server.port


@contextlib.asynccontextmanager
async def with_web(engine):
    """Serve with aiohttp.web."""
    if engine == 'application':
        application = to_application(served.handler, **served.OPTIONS)
    else:
        application = web.Application(client_max_size=1)  # has no effect
        application.router.add_route('*', '/{tail:.*}', to_web(served.handler, **served.OPTIONS))
    runner = web.AppRunner(application, shutdown_timeout=1, lingering_time=0.1)
    await runner.setup()
    with listening() as sock:
        await web.SockSite(runner, sock).start()
        yield sock.getsockname()[1]
        await runner.cleanup()


@contextlib.asynccontextmanager
async def with_uvicorn(engine):
    """Serve with uvicorn, with the parser that the engine names."""
    config = uvicorn.Config(
        to_asgi(served.handler, **served.OPTIONS),
        http=engine.partition('-')[2],
        log_config=None,
        lifespan='on',
    )
    server = uvicorn.Server(config)
    with listening() as sock:
        task = asyncio.create_task(server.serve([sock]))
        yield sock.getsockname()[1]
        while not server.started:  # noqa: ASYNC110  # there is no event
            await asyncio.sleep(0)
        server.should_exit = True
        await task


@contextlib.asynccontextmanager
async def with_hypercorn(engine):
    """Serve with hypercorn."""
    config = hypercorn.config.Config()
    config.graceful_timeout = 0.1
    config.errorlog = None
    with listening() as sock:
        config.bind = [f'fd://{sock.fileno()}']
        end = asyncio.Event()
        serving = hypercorn.asyncio.serve(
            to_asgi(served.handler, **served.OPTIONS), config, shutdown_trigger=end.wait
        )
        task = asyncio.create_task(serving)
        yield sock.getsockname()[1]
        end.set()
        await task
        sock.detach()  # hypercorn has closed it


@pytest.fixture(scope='session')
def granian():
    """Serve with granian, in another process, once for all tests."""
    port = free_port()
    command = ['granian', '--interface', 'asgi', '--port', str(port), 'served:app']
    process = subprocess.Popen(
        [sys.executable, '-m', *command],
        cwd=HERE,
        stdout=subprocess.DEVNULL,
        stderr=subprocess.DEVNULL,
    )
    while True:
        try:
            socket.create_connection(('127.0.0.1', port)).close()
            break
        except ConnectionRefusedError:
            assert process.poll() is None
    yield port
    process.terminate()
    process.wait()


def pytest_generate_tests(metafunc):
    """Run a test on every engine; raw bytes (``wire``) on every engine with sockets."""
    if 'engine' in metafunc.fixturenames:
        wire = 'wire' in metafunc.fixturenames
        metafunc.parametrize('engine', [one for one in ENGINES if not (wire and one == 'via')])


async def check_reported(server, engine, caplog, error, path):
    """Check that an error was passed to ``on_error`` once, and logged, if that can be seen here."""
    assert '1' == (await server.ask(url='/count', query=f'{error}:{path}')).body
    if engine != 'granian':
        assert f'{path} failed' in caplog.text


@pytest.fixture
def serve(engine, request, monkeypatch):
    """Serve the handler under an engine: ``async with serve() as server``."""
    served.SEEN.clear()
    if engine == 'plain':
        monkeypatch.setattr(
            'aioluahttp.server.exchange.encode_fast', lambda *table, **options: None
        )
    if engine == 'via':

        @contextlib.asynccontextmanager
        async def directly():
            url = 'http://127.0.0.1:80'
            options = {'via': served.handler, 'via_options': served.OPTIONS}
            async with http.Client(**options, base_url=url) as client:
                yield SimpleNamespace(port=80, url=url, ask=client.request, client=client)

        return directly
    if engine == 'granian':
        port = request.getfixturevalue('granian')
        opened = contextlib.nullcontext(port)
    else:
        opened = {
            'lean': with_listen,
            'plain': with_listen,
            'route': with_web,
            'application': with_web,
            'hypercorn': with_hypercorn,
        }.get(engine, with_uvicorn)(engine)

    @contextlib.asynccontextmanager
    async def serving():
        async with opened as port:
            url = f'http://127.0.0.1:{port}'
            async with http.Client(base_url=url) as client:
                yield SimpleNamespace(port=port, url=url, ask=client.request, client=client)

    return serving


async def test_a_handler_receives_the_same_table(serve, engine):
    """The table has everything that was sent, the target byte for byte."""
    target = '/tell?a=%20b&c=%27'
    async with serve() as server:
        response = await server.ask(
            url=target, method='PUT', headers={'X-Many': ['b', 'a', 'b']}, body='é', into='json'
        )
    table = response.body
    headers = table.pop('headers')
    assert ['b', 'a', 'b'] == [value for name, value in headers if name == 'x-many']
    assert {
        'method': 'PUT',
        'url': target,
        'scheme': 'http',
        'host': '127.0.0.1',
        'port': server.port,
        'path': '/tell',
        'query': 'a=%20b&c=%27',
        'version': '1.1',
        'ip': '127.0.0.1',
        'body': 'é',
    } == table


@pytest.mark.parametrize('target', ['/a%2Fb%20c/%41;d', '//elsewhere/x', '/x?', "/!$&'()*+,;=:@"])
async def test_a_target_is_unchanged(serve, engine, wire, target):
    """It is not decoded, and a leading ``//`` is not taken for a host."""
    async with serve() as server, wire(server) as client:
        client.send_request(f'GET {target}')
        _, headers, _ = await client.read_response()
    expected = target.rstrip('?') if engine in NO_LONE_QUESTION_MARK else target
    assert expected == headers['X-Url']


async def test_host_and_port_are_those_of_the_host_header(serve, engine, wire):
    """Not those of the address that the client connected to."""
    async with serve() as server, wire(server) as client:
        client.send(b'GET /tell HTTP/1.1\r\nHost: Example.org:81\r\n\r\n')
        _, _, body = await client.read_response()
    assert b'"host":"example.org","port":81,' in body


async def test_a_get_without_a_body_has_no_body_key(serve, engine):
    """A POST has the key ``body`` even if the body is empty."""
    async with serve() as server:
        assert 'body' not in (await server.ask(url='/tell', into='json')).body
        response = await server.ask(url='/tell', method='POST', into='json')
        assert '' == response.body['body']


@pytest.mark.parametrize('kind', [None, 'text/plain', 'a/b; charset=punycode', 'a/b; charset=gbk'])
@pytest.mark.parametrize('query', ['', 'bytes'])
async def test_no_byte_of_a_body_is_lost(serve, engine, kind, query):
    """All 256 byte values are unchanged after a round trip, as text and as bytes."""
    async with serve() as server:
        post = {'method': 'POST', 'url': '/echo', 'headers': {'Content-Type': kind}}
        response = await server.ask(post, query=query, body=bytes(range(256)), into='bytes')
    assert bytes(range(256)) == response.body


async def test_a_body_may_be_json(serve, engine):
    """In both directions; a request body that is not JSON gets a 400."""
    async with serve() as server:
        post = {'method': 'POST', 'url': '/json', 'query': 'json', 'into': 'json'}
        assert [1, {'a': None}] == (await server.ask(post, json=[1, {'a': None}])).body
        assert 400 == (await server.ask(post, body='{', into='text')).status


@pytest.mark.parametrize(
    ('path', 'kind', 'body'),
    [
        ('/bytes', 'application/octet-stream', bytes(range(256))),
        ('/koi8', 'text/plain; charset=koi8-r', 'слово'.encode('koi8-r')),
        ('/events', 'text/event-stream', b'event: tick\ndata: a\ndata: b\nid: 1\n\n:\n\n'),
        ('/length', 'application/octet-stream', b'abc'),
    ],
)
async def test_a_response_has_its_type_and_bytes(serve, engine, path, kind, body):
    """Whether its body is in memory or an iterator."""
    async with serve() as server:
        response = await server.ask(url=path, into='bytes')
    assert (200, kind, body) == (response.status, response.headers['Content-Type'], response.body)


async def test_a_repeated_header_of_a_response_keeps_its_values(serve, engine):
    """In the same order."""
    async with serve() as server:
        response = await server.ask(url='/many')
    assert ['b', 'a', 'b'] == response.headers.getall('x-many')


@pytest.mark.parametrize(
    ('method', 'path', 'status', 'length'),
    [
        ('HEAD', '/bytes', 200, '256'),
        ('HEAD', '/length', 200, '3'),
        ('HEAD', '/file', 200, str(served.FILE.stat().st_size)),
        ('GET', '/204', 204, None),
        ('GET', '/304', 304, '9'),
        ('GET', '/nothing', 200, '0'),
        ('GET', '/elsewhere', 404, '0'),
        ('GET', '/no-file', 404, '9'),
        ('HEAD', '/no-file', 404, '9'),
        ('GET', '/socket', 426, '16'),
    ],
)
async def test_a_response_has_its_length(serve, engine, wire, method, path, status, length):
    """Also one without a body, and the connection can be used again after it."""
    if status == 304 and engine in NO_LENGTH_OF_304:
        length = None
    async with serve() as server, wire(server) as client:
        for _ in range(2 if status != 426 else 1):
            client.send_request(f'{method} {path}')
            silent = method == 'HEAD' or status in (204, 304)
            found, headers, _ = await client.read_response(silent=silent)
            assert (status, length) == (found, headers.get('Content-Length'))


@pytest.mark.parametrize(('path', 'error'), [('/fail', 'LookupError'), ('/control', 'TableError')])
async def test_an_error_in_a_handler_is_a_500(serve, engine, caplog, path, error):
    """It is passed to ``on_error``, and nothing of the response table is sent."""
    async with serve() as server:
        response = await server.ask(url=path)
        assert (500, 'Internal Server Error') == (response.status, response.body)
        assert 'b' not in response.headers
        await check_reported(server, engine, caplog, error, path)


@pytest.mark.parametrize('name', served.RAISED)
@pytest.mark.parametrize('where', ['', '-plainly', '-in-middleware', '-in-body', '-in-iter'])
async def test_an_exception_that_is_no_exception_is_a_500(serve, engine, caplog, name, where):
    """Unless it is a cancellation by the server, a KeyboardInterrupt or a SystemExit."""
    path = f'/raise{where}'
    async with serve() as server:
        response = await server.ask(url=path, query=name)
        assert (500, 'Internal Server Error') == (response.status, response.body)
        await check_reported(server, engine, caplog, 'RuntimeError', path)


@pytest.mark.parametrize('name', served.RAISED)
async def test_an_exception_of_on_error_is_logged(serve, engine, caplog, name):
    """The response is the same 500."""
    async with serve() as server:
        assert 500 == (await server.ask(url='/raise', query=f'Escape+{name}')).status
        await check_reported(server, engine, caplog, 'RuntimeError', '/raise')
        if engine != 'granian':
            assert 'on_error failed' in caplog.text


async def test_an_error_midway_breaks_the_response_off(serve, engine, caplog):
    """The client gets an error, and ``on_error`` is called."""
    async with serve() as server:
        with pytest.raises(http.ProtocolError):
            await server.ask(url='/broken')
        await check_reported(server, engine, caplog, 'ValueError', '/broken')


async def test_a_chunk_is_sent_before_the_next_is_made(serve, engine):
    """The client receives the first chunk before the second one exists."""
    async with serve() as server:
        response = await server.ask(url='/chunks', into='stream')
        async with response.body as stream:
            assert b'one' == await anext(stream)
            await server.ask(url='/go')
            assert b'two' == await stream.read()


async def test_a_client_that_leaves_ends_a_streamed_response(serve, engine, wire):
    """The iterator is closed while it waits."""
    async with serve() as server:
        async with wire(server) as client:
            client.send_request(f'GET /forever?{engine}')
            await client.reader.readuntil(b'x')
        assert '1' == (await server.ask(url='/count', query=f'closed:{engine}')).body


@pytest.mark.parametrize('framing', ['length', 'chunked'])
async def test_a_body_over_the_limit_is_a_413(serve, engine, wire, framing):
    """By its Content-Length, and by its actual size."""
    async with serve() as server, wire(server) as client:
        if framing == 'length':
            client.send_request('POST /echo', 'Content-Length: 1001', body=b'x' * 1001)
        else:
            chunk = b'3e9\r\n' + b'x' * 1001 + b'\r\n0\r\n\r\n'
            client.send_request('POST /echo', 'Transfer-Encoding: chunked', body=chunk)
        assert 413 == (await client.read_response())[0]


@pytest.mark.parametrize('query', ['', 'stream', 'raw'])
async def test_a_body_is_decompressed_within_the_limit(serve, engine, query):
    """A decompression bomb is a 413; a raw body is not decompressed."""
    headers = {'Content-Encoding': 'gzip'}
    post = {'method': 'POST', 'url': '/digest' if query else '/echo', 'query': query}
    small, bomb = gzip.compress(b'x' * 1000, mtime=0), gzip.compress(b'x' * 1001, mtime=0)
    async with serve() as server:
        response = await server.ask(post, body=small, headers=headers)
        raw = query == 'raw' and engine != 'route'  # where aiohttp has undone it
        found = response.body if query else str(len(response.body))
        assert str(len(small) if raw else 1000) == found
        response = await server.ask(post, body=bomb, headers=headers)
        assert (200 if raw else 413) == response.status


async def test_a_handler_with_a_stream_is_called_before_the_body_is_complete(serve, engine, wire):
    """It is called when the head has been read."""
    async with serve() as server, wire(server) as client:
        client.send_request(
            'POST /digest?stream', 'Transfer-Encoding: chunked', body=b'3\r\nabc\r\n'
        )
        await client.writer.drain()
        client.send(b'2\r\nde\r\n0\r\n\r\n')
        assert b'5' == (await client.read_response())[2]


async def test_a_form_is_read(serve, engine):
    """Its fields and files are read; a body that is not a form is a 400."""
    parts = [{'name': 'name', 'body': 'Ada'}, {'name': 'photo', 'filename': 'a', 'body': b'x' * 9}]
    async with serve() as server:
        post = {'method': 'POST', 'url': '/form', 'into': 'json'}
        assert ['Ada', 9] == (await server.ask(post, multipart=parts)).body
        assert 400 == (await server.ask(post, body='x', into='text')).status


async def test_a_body_that_is_not_json_is_a_400(serve, engine):
    """``request.json()`` parses the body; the handler need not catch its error."""
    async with serve() as server:
        post = {'method': 'POST', 'url': '/parsed'}
        assert '[1]' == (await server.ask(post, json=[1])).body
        assert [400] * 2 == [(await server.ask(post, body=body)).status for body in ('{', b'\xff')]


@pytest.mark.parametrize(
    ('headers', 'status', 'part'),
    [
        ({}, 200, slice(None)),
        ({'Range': 'bytes=3-9'}, 206, slice(3, 10)),
        ({'Range': 'bytes=-5'}, 206, slice(-5, None)),
        ({'Range': 'bytes=999999-'}, 416, slice(0)),
        ({'If-None-Match': '*'}, 304, slice(0)),
        ({'If-Modified-Since': 'Fri, 31 Dec 2100 23:59:59 GMT'}, 304, slice(0)),
        ({'If-Match': '"none"'}, 412, slice(0)),
    ],
)
async def test_a_file_supports_ranges_and_conditions(serve, engine, headers, status, part):
    """It is sent whole, in part, or not at all."""
    async with serve() as server:
        response = await server.ask(url='/file', headers=headers, into='bytes')
    assert (status, served.FILE.read_bytes()[part]) == (response.status, response.body)


TAG, DATE = '"TAG"', 'Sun, 09 Sep 2001 01:46:40 GMT'  # TAG stands for the tag of the file
BEFORE, AFTER = 'Sun, 09 Sep 2001 01:46:39 GMT', 'Sun, 09 Sep 2001 01:46:41 GMT'
OTHER, WEAK = '"other"', f'W/{TAG}'
DIGITS = b'0123456789'
# Header fields of a GET of DIGITS, the status (RFC 9110 13 and 14), and the part that is sent.
CONDITIONS = [
    ([], 200, DIGITS),
    *(([('If-Match', tag)], 200, DIGITS) for tag in (TAG, '*', f' {OTHER} ,, {TAG},', f',{TAG}')),
    *(([('If-Match', tag)], 412, b'') for tag in (OTHER, WEAK, '"*"', '', 'TAG', f'x{TAG}')),
    ([('If-Match', OTHER), ('If-Match', TAG)], 200, DIGITS),
    ([('If-Match', OTHER), ('If-Match', WEAK)], 412, b''),
    *(([('If-None-Match', tag)], 304, b'') for tag in (TAG, WEAK, '*', f'{OTHER},{TAG}')),
    *(([('If-None-Match', tag)], 200, DIGITS) for tag in (OTHER, '"*"', '', 'TAG', f'{TAG}x')),
    ([('If-None-Match', OTHER), ('If-None-Match', f', ,{WEAK}')], 304, b''),
    ([('If-None-Match', '"a,b", "c' + TAG[1:])], 200, DIGITS),
    *(([('If-Modified-Since', date)], 304, b'') for date in (DATE, AFTER)),
    *(([('If-Modified-Since', date)], 200, DIGITS) for date in (BEFORE, 'yesterday', '0', '')),
    ([('If-Modified-Since', AFTER), ('If-Modified-Since', AFTER)], 200, DIGITS),
    ([('If-Modified-Since', AFTER), ('If-None-Match', OTHER)], 200, DIGITS),
    ([('If-Modified-Since', BEFORE), ('If-None-Match', TAG)], 304, b''),
    *(([('If-Unmodified-Since', date)], 200, DIGITS) for date in (DATE, AFTER, 'now', '')),
    ([('If-Unmodified-Since', BEFORE)], 412, b''),
    ([('If-Unmodified-Since', BEFORE), ('If-Match', TAG)], 200, DIGITS),
    ([('If-Unmodified-Since', BEFORE), ('If-Unmodified-Since', BEFORE)], 200, DIGITS),
    ([('If-Match', TAG), ('If-None-Match', TAG)], 304, b''),
    *(
        ([('Range', value)], 206, DIGITS[part])
        for value, part in [
            ('bytes=0-0', slice(0, 1)),
            ('bytes=3-5', slice(3, 6)),
            ('bytes=3-', slice(3, None)),
            ('bytes=3-999', slice(3, None)),
            ('bytes=-4', slice(-4, None)),
            ('bytes=-99', slice(None)),
        ]
    ),
    *(([('Range', value)], 416, b'') for value in ('bytes=10-', 'bytes=99-100', 'bytes=-0')),
    *(
        ([('Range', value)], 200, DIGITS)
        for value in ('bytes=', 'bytes=a-b', 'lines=1-2', 'bytes=1', 'bytes=0-1,3-4', '')
    ),
    ([('Range', 'bytes=0-1'), ('Range', 'bytes=3-4')], 200, DIGITS),
    *(([('Range', 'bytes=3-5'), ('If-Range', one)], 206, b'345') for one in (TAG, DATE)),
    *(
        ([('Range', 'bytes=3-5'), ('If-Range', one)], 200, DIGITS)
        for one in (OTHER, WEAK, '*', BEFORE, AFTER, 'yesterday', '', 'TAG')
    ),
    ([('Range', 'bytes=3-5'), ('If-Range', TAG), ('If-Range', TAG)], 200, DIGITS),
    ([('Range', 'bytes=3-5'), ('If-None-Match', TAG)], 304, b''),
    ([('Range', 'bytes=3-5'), ('If-Match', OTHER)], 412, b''),
    ([('Range', 'bytes=99-'), ('If-Range', OTHER)], 200, DIGITS),
]


def to_asked(fields, tag):
    """Put the tag of the file into header fields."""
    return [('Accept-Encoding', 'identity')] + [
        (name, value.replace(TAG, tag).replace(TAG[1:], tag[1:])) for name, value in fields
    ]


async def test_conditional_requests_and_ranges_are_those_of_rfc_9110(serve, engine, tmp_path):
    """On every engine alike, for each of the four conditions, If-Range and Range."""
    path = tmp_path / 'digits.txt'
    path.write_bytes(DIGITS)
    os.utime(path, (1_000_000_000, 1_000_000_000))
    async with serve() as server:
        table = {'url': '/path', 'query': str(path), 'into': 'bytes'}
        tag = (await server.ask(table)).headers['ETag']
        for fields, status, body in CONDITIONS:
            response = await server.ask(table | {'headers': to_asked(fields, tag)})
            assert (status, body) == (response.status, response.body), fields
            ranged = response.headers.get('Content-Range')
            assert (status in (206, 416)) == (ranged is not None), fields
            if status in (200, 206, 304):
                validators = response.headers['ETag'], response.headers['Last-Modified']
                assert (tag, DATE) == validators, fields
        head = table | {'method': 'HEAD', 'headers': {'Range': 'bytes=3-5'}}
        response = await server.ask(head)
        assert (200, '10') == (response.status, response.headers['Content-Length'])


async def test_an_empty_file_has_no_range(serve, engine, tmp_path):
    """Every range of it is unsatisfiable (RFC 9110 14.1.2)."""
    path = tmp_path / 'empty'
    path.write_bytes(b'')
    async with serve() as server:
        table = {'url': '/path', 'query': str(path)}
        assert (200, '') == ((await server.ask(table)).status, (await server.ask(table)).body)
        for value in ('bytes=0-', 'bytes=-1', 'bytes=-0', 'bytes=0-0'):
            response = await server.ask(table | {'headers': {'Range': value}})
            assert (416, 'bytes */0') == (response.status, response.headers['Content-Range'])


@pytest.mark.parametrize(
    ('accepted', 'coding'),
    [
        ('gzip', 'gzip'),
        ('br, gzip', 'br'),
        ('gzip, br;q=0.5', 'gzip'),
        ('*', 'br'),
        ('br;q=0, *;q=0.1', 'gzip'),
        ('x-gzip', 'gzip'),
        ('GZIP;q=1.0', 'gzip'),
        ('', None),
        ('identity', None),
        ('gzip;q=0', None),
        ('gzip; q=0.000, br;q=0', None),
        ('foo-gzip, notbr', None),
        ('gzip;q=0.5, identity', None),
        ('gzip;q=x', None),
    ],
)
async def test_a_compressed_variant_is_sent_as_the_client_accepts(
    serve, engine, tmp_path, accepted, coding
):
    """RFC 9110 12.5.3: with Vary on each response, beside that of the handler (12.5.5, 15.4.5)."""
    path = tmp_path / 'digits.txt'
    for ending, data in (('', b'identity'), ('.gz', b'gzip'), ('.br', b'br')):
        path.with_name(path.name + ending).write_bytes(data)
    async with serve() as server:
        table = {'url': '/path', 'query': str(path), 'into': 'raw'}
        asked = {'Accept-Encoding': accepted}
        response = await server.ask(table | {'headers': asked})
        assert (coding or 'identity').encode() == await response.body.read()
        assert coding == response.headers.get('Content-Encoding')
        assert 'Cookie, Accept-Encoding' == response.headers['Vary']
        assert 'text/plain' == response.headers['Content-Type'].partition(';')[0]
        asked['If-None-Match'] = response.headers['ETag']
        response = await server.ask(table | {'headers': asked})
        assert (304, b'') == (response.status, await response.body.read())
        assert 'Cookie, Accept-Encoding' == response.headers['Vary']


async def test_last_modified_is_never_later_than_date(serve, engine, tmp_path):
    """RFC 9110 8.8.2.1, for a file of the future and one of this second."""
    path = tmp_path / 'new'
    path.write_bytes(b'x')
    async with serve() as server:
        for _ in range(2):
            response = await server.ask(url='/path', query=str(path))
            dates = map(response.headers.get, ('Last-Modified', 'Date'))
            modified, date = (http.parse_date(text or '') for text in dates)
            assert modified <= int(time.time())
            if engine in ('lean', 'plain'):  # the clock of other engines' Date may be late
                assert modified <= date
            os.utime(path, (4_000_000_000, 4_000_000_000))


@pytest.mark.parametrize('framing', ['Transfer-Encoding: chunked', 'Content-Length: 9'])
async def test_a_stream_gives_what_came_before_its_client_broke_off(serve, engine, wire, framing):
    """The handler reads it after that, and gets the error last."""
    if engine in DROP_WHAT_CAME:
        pytest.skip('the server of the application drops it')
    one, *others = (b'1\r\n%d\r\n' % n if 'chunked' in framing else b'%d' % n for n in (1, 2, 3))
    async with serve() as server:
        async with wire(server) as client:
            client.send_request('POST /collect?stream', framing, body=one)
            assert '1' == (await server.ask(url='/count', query='begun')).body
            client.send(b''.join(others))
        await server.ask(url='/go')
        assert '1' == (await server.ask(url='/count', query='collected:123')).body


async def test_a_websocket_works(serve, engine):
    """Text, bytes, the subprotocol, response headers and the close code are the same."""
    async with serve() as server:
        async with server.client.websocket(url='/socket', protocols=['v1', 'v2']) as ws:
            room = None if engine in NO_HEADERS_OF_101 else 'a'
            assert ('v1', room) == (ws.protocol, ws.response.headers.get('X-Room'))
            await ws.send('é')
            assert 'é' == await anext(ws)
            await ws.send(b'\x00\xff')
            assert b'\x00\xff' == await anext(ws)
            await ws.send('close')
            assert [] == [message async for message in ws]
            assert (4001, 'as-you-said') == (ws.code, ws.reason)
        assert '1' == (await server.ask(url='/count', query='socket:4001:as-you-said')).body


async def test_a_close_by_the_client_ends_a_websocket(serve, engine):
    """The socket has the close code and the reason, as far as the engine passes them."""
    async with serve() as server:
        async with server.client.websocket(url='/socket') as ws:
            await ws.close(4002, 'bye')
        query = f'socket:{CLOSED_WITH[engine]}'
        assert '1' == (await server.ask(url='/count', query=query)).body


async def test_a_message_over_the_limit_ends_a_websocket(serve, engine):
    """With close code 1009; a message as large as the limit is accepted."""
    async with serve() as server, server.client.websocket(url='/socket') as ws:
        await ws.send('x' * 100)
        assert 100 == len(await anext(ws))
        await ws.send('x' * 101)
        assert [] == [message async for message in ws]
        assert 1009 == ws.code


@pytest.mark.parametrize(
    ('path', 'headers', 'status'),
    [('/denied', {}, 401), ('/fail', {}, 500), ('/socket', {'Origin': 'http://evil'}, 403)],
)
async def test_a_websocket_may_be_declined(serve, engine, caplog, path, headers, status):
    """With the status that the handler returns; one from another origin with a 403."""
    async with serve() as server:
        with pytest.raises(http.ProtocolError, match=str(status)):
            async with server.client.websocket(url=path, headers=headers):
                pass


HOSTS = [  # any name of RFC 3986 3.2.2, and a port that may be empty
    ('0.0.0.0=5000', '0.0.0.0=5000', 80),
    ("a!$&'()*+,;=~_b:81", "a!$&'()*+,;=~_b", 81),
    ('a%20b', 'a%20b', 80),
    ('h:', 'h', 80),
    ('[::1]:', '::1', 80),
]


@pytest.mark.parametrize(('value', 'host', 'port'), HOSTS)
async def test_a_host_may_be_any_name(serve, engine, wire, value, host, port):
    """RFC 9112 3.2 refuses an invalid Host only."""
    async with serve() as server, wire(server) as client:
        client.send(f'GET /tell HTTP/1.1\r\nHost: {value}\r\n\r\n'.encode())
        status, _, body = await client.read_response()
    table = json.loads(body)
    assert (200, host, port) == (status, table['host'], table['port'])


@pytest.mark.parametrize('value', ['a b', 'u@h', 'h:x', 'a%zz', '[::1', ':80', 'a"b'])
async def test_an_invalid_host_is_a_400(serve, engine, wire, value):
    """The handler is not called."""
    async with serve() as server, wire(server) as client:
        client.send(f'GET /tell HTTP/1.1\r\nHost: {value}\r\n\r\n'.encode())
        assert 400 == (await client.read_response())[0]


KEY = 'Sec-WebSocket-Version: 13', 'Sec-WebSocket-Key: dGhlIHNhbXBsZSBub25jZQ=='
UPGRADE, OPTION = 'Upgrade: websocket', 'Connection: Upgrade'


@pytest.mark.parametrize(
    'fields',
    [
        (UPGRADE, OPTION),
        ('Upgrade: WebSocket', 'Connection: keep-alive, UPGRADE'),
        (UPGRADE, 'Connection: keep-alive', 'Connection: upgrade'),
        ('Upgrade: websocket, foo', OPTION),
        ('Upgrade: foo,websocket', OPTION),
    ],
)
async def test_a_websocket_may_be_asked_for_in_many_ways(serve, engine, wire, frames, fields):
    """Connection and Upgrade are lists, in any case (RFC 9110 7.8)."""
    if engine not in OURS and 'foo' in fields[0]:
        pytest.skip('the ASGI server reads Upgrade')
    async with serve() as server, wire(server) as client:
        client.send_request('GET /socket', *fields, *KEY)
        status, *_ = await client.read_response()
        assert 101 == status
        client.send(frames.write(1, b'hi', masked=True))
        assert (1, b'hi') == await frames.read(client.reader)


async def test_an_upgrade_of_http_1_0_is_ignored(serve, engine, wire):
    """It is an ordinary request (RFC 9110 7.8), to which a WebSocket is no response."""
    if engine not in OURS:
        pytest.skip('the ASGI server reads Upgrade')
    async with serve() as server, wire(server) as client:
        head = '\r\n'.join(('GET /socket HTTP/1.0', 'Host: h', UPGRADE, OPTION, *KEY, '\r\n'))
        client.send(head.encode())
        assert 426 == (await client.read_response())[0]


@pytest.mark.parametrize('origin', ['null', 'http://', 'file://'])
async def test_an_empty_host_is_the_origin_of_no_page(serve, engine, wire, origin):
    """Its Origin is opaque, or has no host either."""
    async with serve() as server, wire(server) as client:
        fields = UPGRADE, OPTION, *KEY, f'Origin: {origin}'
        head = '\r\n'.join(('GET /socket HTTP/1.1', 'Host:', *fields, '\r\n'))
        client.send(head.encode())
        assert 403 == (await client.read_response())[0]


async def test_a_close_without_a_code_is_1005(serve, engine, wire, frames):
    """The reply has no code either where we write it: 1005 is never sent (RFC 6455 7.4.1)."""
    async with serve() as server:
        async with wire(server) as client:
            client.send_request('GET /socket', UPGRADE, OPTION, *KEY)
            assert 101 == (await client.read_response())[0]
            client.send(frames.write(8, masked=True))
            kind, data = await frames.read(client.reader)
            assert (8, True) == (kind, data in (b'', b'\x03\xe8'))
            assert data == b'' or engine not in OURS
        query = f'socket:{NO_CODE[engine]}:'
        assert 0 < int((await server.ask(url='/count', query=query)).body)


async def test_a_last_chunk_may_have_several_zeros(serve, engine, wire):
    """RFC 9112 7.1: the connection goes on."""
    async with serve() as server, wire(server) as client:
        for _ in range(2):
            body = b'2\r\nab\r\n000\r\n\r\n'
            client.send_request('POST /echo', 'Transfer-Encoding: chunked', body=body)
            head = await client.reader.readuntil(b'\r\n\r\n')
            assert b' 200 ' in head.partition(b'\r\n')[0]
            await client.reader.readuntil(b'ab')


@pytest.mark.parametrize('query', ['', 'stream'])
@pytest.mark.parametrize(
    'padding', [b'1;' + b'x' * 100_000, b'0' * 100_000, b'0\r\nX: y\r\n' * 9999]
)
async def test_padding_of_chunks_is_limited(serve, engine, wire, query, padding):
    """What is no data counts for no ``max_body``, and has a limit of its own."""
    if engine not in ('lean', 'plain'):
        pytest.skip('the engine reads the chunks')
    async with serve() as server, wire(server) as client:
        path = '/digest' if query else '/echo'
        client.send_request(f'POST {path}?{query}', 'Transfer-Encoding: chunked', body=padding)
        status, headers, _ = await client.read_response()
        assert (400, 'close') == (status, headers['Connection'])


@pytest.mark.parametrize(
    ('name', 'kind'),
    [
        ('page.html', 'text/html; charset=utf-8'),
        ('APP.MJS', 'text/javascript; charset=utf-8'),
        ('app.js.map', 'application/json'),
        ('type.woff2', 'font/woff2'),
        ('photo.webp', 'image/webp'),
        ('song.flac', 'audio/flac'),
        ('app.js.gz', 'application/gzip'),
        ('unknown.ending', 'application/octet-stream'),
    ],
)
async def test_the_name_of_a_file_tells_its_type(serve, engine, tmp_path, name, kind):
    """Text names its charset; a compressed file has the type of its packing."""
    path = tmp_path / name
    path.write_bytes(b'x')
    async with serve() as server:
        response = await server.ask(url='/path', query=str(path))
        found = tuple(map(response.headers.get, ('Content-Type', 'Content-Encoding')))
        assert (kind, None) == found


logging.getLogger('hypercorn.error').propagate = False


NUMBERS = itertools.count()  # a target for each test: granian keeps what others have asked
ACCESS = [
    ('/bytes', {}, 200, 256),
    ('/bytes', {'method': 'HEAD'}, 200, 0),
    ('/nothing', {}, 200, 0),
    ('/koi8', {}, 200, 5),
    ('/204', {}, 204, 0),
    ('/304', {}, 304, 0),
    ('/length', {}, 200, 3),
    ('/file', {}, 200, served.FILE.stat().st_size),
    ('/file', {'headers': {'Range': 'bytes=0-9'}}, 206, 10),
    ('/file', {'method': 'HEAD'}, 200, 0),
    ('/no-file', {}, 404, 9),
    ('/fail', {}, 500, 21),
    ('/echo', {'method': 'POST', 'body': 'x' * 1001}, 413, len(PHRASES[413])),
    ('/socket', {}, 426, 16),
    ('/socket', {'method': 'HEAD'}, 426, 0),
]


@pytest.fixture(params=['logger', 'function'])
def access_log(request, engine, monkeypatch):
    """Serve with an access log of each kind; granian, in its own process, has a logger."""
    if engine == 'granian' and request.param == 'function':
        pytest.skip('it serves with a logger')
    log = {'logger': served.ACCESS, 'function': served.note_access}[request.param]
    monkeypatch.setitem(served.OPTIONS, 'access_log', log)


async def record_of(server, target):
    """Return the facts of the access record of a target."""
    facts = (await server.ask(url=f'/access?{target}', into='json')).body
    assert 0 < facts.pop('seconds') < 60
    return facts


@pytest.mark.parametrize(('path', 'fields', 'status', 'size'), ACCESS)
async def test_the_access_log_has_a_record(access_log, serve, engine, path, fields, status, size):
    """It has the target as it came, and the bytes of the body that were sent."""
    target = f'{path}?%20{next(NUMBERS)}'
    async with serve() as server:
        response = await server.ask(url=target, **fields)
        expected = {'ip': '127.0.0.1', 'method': fields.get('method', 'GET'), 'target': target}
        expected |= {'status': status, 'bytes': size}
        assert expected == await record_of(server, target)
    assert status == response.status


async def test_the_access_log_has_what_was_sent_before_a_response_broke_off(
    access_log, serve, engine
):
    """And the status that was sent."""
    target = f'/broken?{next(NUMBERS)}'
    async with serve() as server:
        with pytest.raises(http.ProtocolError):
            await server.ask(url=target)
        facts = await record_of(server, target)
    assert (200, 10) == (facts['status'], facts['bytes'])


async def test_the_access_log_has_a_websocket_at_its_end(access_log, serve, engine):
    """Its messages are no response body."""
    target = f'/socket?{next(NUMBERS)}'
    async with serve() as server:
        async with server.client.websocket(url=target):
            pass
        facts = await record_of(server, target)
    assert ('GET', 101, 0) == (facts['method'], facts['status'], facts['bytes'])
