"""A request off the wire as a table."""

import asyncio
import gzip
import json
import logging
import socket
import tracemalloc
import zlib
from contextlib import asynccontextmanager

import pytest
from aiohttp.http_writer import StreamWriter
from aiohttp.streams import StreamReader

import aioluahttp as http

MANY = b'0' * 100_000


@asynccontextmanager
async def keeping(**options):
    """Listen with a callback that keeps its tables; give the server and the tables."""
    seen = []

    def callback(request):
        seen.append(request)
        return {'status': 200}

    async with http.listen(*options.pop('at', ('127.0.0.1', 0)), callback, **options) as server:
        yield server, seen


def post(body, *fields):
    """Make the arguments of a POST with a Content-Length."""
    return ('POST /', f'Content-Length: {len(body)}', *fields), body


@pytest.fixture
def given(wire):
    """Send bytes, and give the table that the callback got."""

    async def send(data, **options):
        async with keeping(**options) as (server, seen), wire(server) as client:
            client.send(data)
            assert 200 == (await client.answer())[0]
        return seen[0]

    return send


@pytest.mark.parametrize(
    ('function', 'expected'),
    [
        (StreamReader.at_eof, ['self']),
        (StreamReader.feed_eof, ['self']),
        (StreamReader.read_nowait, ['self', 'n']),
        (StreamReader.readany, ['self']),
        (StreamWriter.write, ['self', 'chunk']),
    ],
    ids=lambda value: getattr(value, '__qualname__', ''),
)
def test_aiohttp_takes_the_same_arguments(parameters, function, expected):
    """What is called has the parameters that it had."""
    name = function.__qualname__
    assert expected == parameters(function), f'aiohttp: {name} takes other arguments now'


async def test_the_table_has_every_key(wire):
    """Each key of the contract is there, and no other; without a body there is none."""
    async with keeping() as (server, seen), wire(server) as client:
        client.ask('GET /a%2Fb?x=1&y', 'X: 1', 'x: 2')
        await client.answer()
    expected = {
        'method': 'GET',
        'url': '/a%2Fb?x=1&y',
        'scheme': 'http',
        'host': 'h',
        'port': 80,
        'path': '/a%2Fb',
        'query': 'x=1&y',
        'headers': http.Headers([('Host', 'h'), ('X', '1'), ('x', '2')]),
        'version': '1.1',
        'ip': '127.0.0.1',
    }
    assert [expected] == seen
    assert (http.Request, http.Headers) == (type(seen[0]), type(seen[0].headers))


@pytest.mark.parametrize(
    ('target', 'path', 'query'),
    [
        ('/', '/', ''),
        ('/?', '/', ''),
        ('/?a?b', '/', 'a?b'),
        ("/%41/../%2e/é'()%zz?%41+%20", None, None),
        ("/%41/../%2e/'()%zz;a=b,c?%41+%20=/?", "/%41/../%2e/'()%zz;a=b,c", '%41+%20=/?'),
        ('//x/y', '//x/y', ''),
        ('//user@elsewhere:1/y?z', '//user@elsewhere:1/y', 'z'),
        ('/http://elsewhere/', '/http://elsewhere/', ''),
    ],
)
async def test_the_target_stays_byte_for_byte(wire, target, path, query):
    """The url is what came; path and query are its parts, not decoded, not normalised."""
    async with keeping() as (server, seen), wire(server) as client:
        client.ask('GET ' + target)
        status, _, _ = await client.answer()
    if path is None:  # the C parser refuses what is not ASCII, the one in Python takes it
        assert status == 400 or [target] == [table.url for table in seen]
    else:
        assert [(target, path, query, 'h')] == [(t.url, t.path, t.query, t.host) for t in seen]


@pytest.mark.parametrize(
    ('target', 'url', 'name', 'host', 'port'),
    [
        ('http://elsewhere/x?y', '/x?y', 'elsewhere', 'elsewhere', 80),
        ('http://elsewhere', '/', 'elsewhere', 'elsewhere', 80),
        ('http://elsewhere:81?y', '/?y', 'elsewhere:81', 'elsewhere', 81),
        ('HTTPS://user:p@ElseWhere:/x?', '/x?', 'ElseWhere', 'elsewhere', 80),
        ('http://[::1]:82//y', '//y', '[::1]:82', '::1', 82),
    ],
)
async def test_an_absolute_target_is_reduced(wire, target, url, name, host, port):
    """Path and query are left; the authority replaces Host (RFC 9112 3.2.2)."""
    async with keeping() as (server, seen), wire(server) as client:
        client.ask('GET ' + target)
        await client.answer()
    [table] = seen
    assert (url, [name]) == (table.url, table.headers.getall('Host'))
    assert ('http', host, port) == (table.scheme, table.host, table.port)


async def test_the_asterisk_is_for_options(given):
    """The url of ``OPTIONS *`` is ``*``."""
    table = await given(b'OPTIONS * HTTP/1.1\r\nHost: h\r\n\r\n')
    assert ('*', '*', '') == (table.url, table.path, table.query)


@pytest.mark.parametrize(
    ('value', 'host', 'port'),
    [
        ('EXAMPLE.com', 'example.com', 80),
        ('example.com:', 'example.com', 80),
        ('1.2.3.4:5', '1.2.3.4', 5),
        ('[::1]', '::1', 80),
        ('[2001:DB8::0:1]:8080', '2001:db8::1', 8080),
        ('é.example', 'xn--9ca.example', 80),
    ],
)
async def test_host_and_port_are_those_of_the_host_header(given, value, host, port):
    """A name in lower case, an address without brackets, a port that is an int."""
    table = await given(f'GET / HTTP/1.1\r\nHost: {value}\r\n\r\n'.encode())
    assert (host, port, value) == (table.host, table.port, table.headers['host'])


@pytest.mark.parametrize('head', ['GET / HTTP/1.0', 'GET / HTTP/1.1\r\nHost:'])
async def test_without_a_host_it_is_the_socket_that_was_reached(wire, head):
    """HTTP/1.0 needs no Host, and an empty one is allowed: address and port are the socket's."""
    async with keeping() as (server, seen), wire(server) as client:
        client.send(f'{head}\r\n\r\n'.encode())
        await client.answer()
    assert [('127.0.0.1', server.port)] == [(table.host, table.port) for table in seen]
    assert head[11:14] == seen[0].version


async def test_a_unix_socket_has_no_address(wire, tmp_path):
    """Without a Host the host is localhost; there is no ip."""
    path = str(tmp_path / 's')
    async with keeping(at=(None, None), unix=path) as (_, seen), wire(path=path) as client:
        client.send(b'GET / HTTP/1.0\r\n\r\n')
        await client.answer()
    assert [('localhost', 80, None)] == [(table.host, table.port, table.ip) for table in seen]
    assert 'ip' not in seen[0]


@pytest.mark.parametrize(
    ('status', 'head'),
    [
        (400, 'GET / HTTP/1.1'),
        (400, 'GET / HTTP/1.1\r\nHost: a\r\nHost: a'),
        (400, 'GET http://e/ HTTP/1.1\r\nHost: a\r\nHost: b'),
        *[
            (400, f'GET / HTTP/1.1\r\nHost: {host}')
            for host in ['a b', 'a,b', 'a/b', 'a?b', 'u@a', 'a:x', 'a:0', 'a:70000', '[::1', '::1']
        ],
        (400, 'GET http://a:0/ HTTP/1.1\r\nHost: a'),
        (400, 'GET http://a,b/ HTTP/1.1\r\nHost: a'),
        (400, 'GET http:/// HTTP/1.1\r\nHost: a'),
        (400, 'GET ftp://a/ HTTP/1.1\r\nHost: a'),
        (400, 'GET mailto:a HTTP/1.1\r\nHost: a'),
        (400, 'GET a HTTP/1.1\r\nHost: a'),
        (400, 'GET * HTTP/1.1\r\nHost: a'),
        (400, 'GET /a#b HTTP/1.1\r\nHost: a'),
        (400, 'GET http://a/#b HTTP/1.1\r\nHost: a'),
        (501, 'CONNECT a:80 HTTP/1.1\r\nHost: a:80'),
        (505, 'GET / HTTP/2.0\r\nHost: a'),
        (505, 'GET / HTTP/0.9\r\nHost: a'),
        (501, 'POST / HTTP/1.1\r\nHost: a\r\nTransfer-Encoding: gzip, chunked'),
    ],
)
async def test_what_no_table_can_say_is_refused(wire, status, head):
    """The callback does not see it; the answer repeats nothing and closes."""
    async with keeping() as (server, seen), wire(server) as client:
        client.send(f'{head}\r\n\r\n'.encode())
        found, headers, body = await client.answer()
    assert (status, 'close', []) == (found, headers['Connection'], seen)
    assert body in (b'Bad Request', b'Not Implemented', b'HTTP Version Not Supported')


@pytest.mark.parametrize(
    ('request_line', 'fields', 'body', 'expected'),
    [
        ('GET', [], b'', None),
        ('DELETE', [], b'', None),
        ('POST', [], b'', ''),
        ('GET', ['Content-Length: 0'], b'', ''),
        ('GET', ['Content-Length: 2'], b'ab', 'ab'),
        (
            'PUT',
            ['Transfer-Encoding: Chunked'],
            b'1;x=y\r\na\r\n2\r\nbc\r\n0\r\nT: 1\r\n\r\n',
            'abc',
        ),
    ],
)
async def test_a_body_is_there_where_it_was_announced(wire, request_line, fields, body, expected):
    """And for POST in any case; else the key is absent."""
    async with keeping() as (server, seen), wire(server) as client:
        client.ask(f'{request_line} /', *fields, body=body)
        await client.answer()
    assert (expected, expected is not None) == (seen[0].body, 'body' in seen[0])


@pytest.mark.parametrize(
    ('into', 'kind', 'body', 'expected'),
    [
        ('text', 'text/plain', 'é€'.encode(), 'é€'),
        ('text', 'text/plain; charset=latin-1', b'\xe9', '\udce9'),
        ('text', 'text/plain; charset=iso-8859-1', b'\xe9', 'é'),
        ('text', 'text/plain', b'a\xff', 'a\udcff'),
        ('bytes', 'text/plain', b'\xff', b'\xff'),
        ('json', 'text/plain', b'{"a": [1, null]}', {'a': [1, None]}),
        ('json', 'application/json', b'', None),
    ],
)
async def test_the_body_becomes_what_into_says(wire, into, kind, body, expected):
    """Text by the text rule, bytes as they are, or what the JSON says."""
    line, data = post(body, f'Content-Type: {kind}')
    async with keeping(into=into) as (server, seen), wire(server) as client:
        client.ask(*line, body=data)
        await client.answer()
    assert expected == seen[0].body
    assert into == 'json' or body == seen[0].bytes()


@pytest.mark.parametrize(
    ('coding', 'data'),
    [
        ('gzip', gzip.compress(b'text', mtime=0)),
        ('X-GZIP', gzip.compress(b'te', mtime=0) + gzip.compress(b'xt', mtime=0)),
        ('deflate', zlib.compress(b'text')),
        ('deflate, gzip', gzip.compress(zlib.compress(b'text'), mtime=0)),
    ],
)
async def test_a_compressed_body_is_decompressed(wire, coding, data):
    """The headers that no longer describe it are gone; the others stay."""
    line, data = post(data, f'Content-Encoding: {coding}', 'Content-Type: text/plain')
    async with keeping() as (server, seen), wire(server) as client:
        client.ask(*line, body=data)
        await client.answer()
    assert ('text', ['Host', 'Content-Type']) == (seen[0].body, list(seen[0].headers))


async def test_an_unknown_coding_stays_as_it_came(wire):
    """Bytes and headers are those of the client."""
    line, data = post(b'\x0b\x00', 'Content-Encoding: br')
    async with keeping(into='bytes') as (server, seen), wire(server) as client:
        client.ask(*line, body=data)
        await client.answer()
    assert (data, 'br', '2') == (
        seen[0].body,
        seen[0].headers['Content-Encoding'],
        seen[0].headers['Content-Length'],
    )


@pytest.mark.parametrize(
    ('status', 'fields', 'body'),
    [
        (200, ['Content-Length: 10'], b'0123456789'),
        (413, ['Content-Length: 11'], b''),
        (413, ['Content-Length: 11', 'Expect: 100-continue'], b''),
        (413, ['Transfer-Encoding: chunked'], b'b\r\n01234567890\r\n'),
        (413, ['Transfer-Encoding: chunked'], b'b\r\n01234567890\r\n0\r\n\r\n'),
        (200, ['Transfer-Encoding: chunked'], b'a\r\n0123456789\r\n0\r\n\r\n'),
        (413, ['Content-Length: {}', 'Content-Encoding: gzip'], gzip.compress(MANY, mtime=0)),
        (200, ['Content-Length: {}', 'Content-Encoding: deflate'], zlib.compress(b'0' * 10)),
        (400, ['Content-Length: {}', 'Content-Encoding: gzip'], gzip.compress(b'0', mtime=0)[:-1]),
        (400, ['Content-Length: 2', 'Content-Encoding: gzip'], b'ab'),
        (400, ['Transfer-Encoding: chunked'], b'zz\r\n'),
        (400, ['Transfer-Encoding: chunked'], b'2\r\nabX'),
        (417, ['Content-Length: 2', 'Expect: 200-ok'], b''),
    ],
)
async def test_a_body_has_limits_and_must_be_whole(wire, caplog, status, fields, body):
    """max_body counts what is decoded; what is broken is a 400. Nothing is logged as an error."""
    fields = [field.format(len(body)) for field in fields]
    async with keeping(max_body=10) as (server, seen), wire(server) as client:
        client.ask('POST /', *fields, body=body)
        found, headers, _ = await client.answer()
    assert (status, 1 if status == 200 else 0) == (found, len(seen))
    assert (None if status == 200 else 'close') == headers.get('Connection')
    assert [] == [record for record in caplog.records if record.levelno >= logging.WARNING]


async def test_the_limit_may_be_lifted(wire):
    """``max_body`` of None lets anything in; the default is 8 MiB."""
    big = b'0' * (8 * 1024 * 1024 + 1)
    line, data = post(gzip.compress(big, mtime=0), 'Content-Encoding: gzip')
    for limit, status in ({}, 413), ({'max_body': None}, 200):
        async with keeping(**limit) as (server, _), wire(server) as client:
            client.ask(*line, body=data)
            assert status == (await client.answer())[0]


@pytest.mark.parametrize('body', [b'{', b'\xff', b'NaN,', b'[' * 100_000, b'1' * 5000])
async def test_a_body_that_is_no_json_is_a_400(wire, body):
    """With ``into='json'`` the callback sees JSON alone."""
    line, data = post(body)
    async with keeping(into='json') as (server, seen), wire(server) as client:
        client.ask(*line, body=data)
        assert (400, []) == ((await client.answer())[0], seen)


async def test_a_body_that_is_waited_for_is_asked_for(wire):
    """``Expect: 100-continue`` is answered before the body is read, and the answer is whole."""
    async with keeping() as (server, seen), wire(server) as client:
        for _ in range(2):
            client.ask('POST /', 'Content-Length: 2', 'Expect: 100-Continue')
            assert b'HTTP/1.1 100 Continue\r\n\r\n' == await client.reader.readexactly(25)
            client.send(b'ab')
            assert 200 == (await client.answer())[0]
    assert ['ab', 'ab'] == [table.body for table in seen]


async def test_a_body_that_is_there_is_not_asked_for(wire):
    """Who expects to be asked may send it all the same."""
    async with keeping() as (server, seen), wire(server) as client:
        client.ask('POST /', 'Content-Length: 2', 'Expect: 100-continue', body=b'ab')
        assert 200 == (await client.answer())[0]
    assert ['ab'] == [table.body for table in seen]


@pytest.mark.parametrize('whole', [True, False])
async def test_a_compressed_body_may_come_in_parts(wire, until, whole):
    """They are waited for; one that breaks meanwhile is a 400, however much was there."""
    data = gzip.compress(b'abc', mtime=0)
    async with keeping() as (server, seen), wire(server) as client:
        client.ask('POST /', 'Content-Encoding: gzip', 'Transfer-Encoding: chunked')
        for start in range(0, len(data), 8):
            client.send(b'%x\r\n%b\r\n' % (len(data[start : start + 8]), data[start : start + 8]))
            before = server.stats['bytes_in']
            await until(lambda: server.stats['bytes_in'] > before)  # noqa: B023
        client.send(b'0\r\n\r\n' if whole else b'no size\r\n')
        assert (200 if whole else 400) == (await client.answer())[0]
    assert (['abc'] if whole else []) == [table.body for table in seen]


async def test_http_1_0_knows_no_expectation(given):
    """Expect is not heeded there (RFC 9110 10.1.1)."""
    head = b'POST / HTTP/1.0\r\nContent-Length: 2\r\nExpect: 200-ok\r\n\r\n'
    assert 'ab' == (await given(head + b'ab')).body


async def test_a_client_that_leaves_in_its_body_disturbs_nothing(wire, caplog):
    """The callback does not see the request, and nothing is logged as an error."""
    async with keeping() as (server, seen):
        for fields in ['Content-Length: 9'], ['Content-Length: 9', 'Expect: 100-continue']:
            async with wire(server) as client:
                client.ask('POST /', *fields, body=b'ab')
    assert ([], []) == (seen, [r for r in caplog.records if r.levelno >= logging.WARNING])


@pytest.mark.parametrize('target', ['http://{}/x?y', '//{}/x?y'])
async def test_no_client_chooses_where_a_relayed_table_goes(wire, target):
    """A table sent on with scheme, host and port of a backend reaches that and nothing else."""
    async with keeping() as (elsewhere, strayed), keeping() as (backend, seen):
        aim = {'scheme': 'http', 'host': '127.0.0.1', 'port': backend.port}

        async def relay(request):
            return await http.request({**request, **aim})

        async with http.listen('127.0.0.1', 0, relay) as server, wire(server) as client:
            client.ask('GET ' + target.format(f'127.0.0.1:{elsewhere.port}'))
            assert 200 == (await client.answer())[0]
    url = target.format(f'127.0.0.1:{elsewhere.port}').removeprefix('http:')
    expected = url if target.startswith('//') else '/x?y'
    assert ([expected], []) == ([table.url for table in seen], strayed)


async def test_what_was_given_is_a_request_to_send(wire):
    """The table of a POST goes on as it is, body and repeated headers with it."""
    line, data = post(b'a\xff', 'X: 1', 'X: 2')
    async with keeping() as (server, seen), wire(server) as client:
        client.ask(*line, body=data)
        await client.answer()
        sent = {**seen[0], 'host': '127.0.0.1', 'port': server.port}
        await http.request(sent)
    assert (b'a\xff', ['1', '2']) == (seen[1].bytes(), seen[1].headers.getall('x'))
    assert json.dumps(seen[0].plain())


@pytest.mark.parametrize('limit', [None, 10])
async def test_a_length_that_the_parser_takes_for_none_is_refused(wire, limit):
    """What follows would be read as a request, which another reader takes for the body."""
    async with keeping(max_body=limit) as (server, seen), wire(server) as client:
        length = f'Content-Length: {2**64 - 1}'
        client.ask('POST /', length, body=b'GET /2 HTTP/1.1\r\nHost: h\r\n\r\n')
        status, headers, _ = await client.answer()
        assert (413, 'close', b'') == (status, headers['Connection'], await client.rest())
    assert [] == seen


async def test_a_length_of_thousands_of_digits_is_no_fault_of_the_server(given):
    """Python's int refuses that many; they say what the parser took them for."""
    head = b'POST / HTTP/1.1\r\nHost: h\r\nContent-Length: ' + b'0' * 5000 + b'5\r\n\r\n'
    assert 'hello' == (await given(head + b'hello')).body


PROXY = {'trusted_proxies': ['127.0.0.0/8']}


@pytest.mark.parametrize(
    ('fields', 'options', 'expected'),
    [
        ('Forwarded: for=192.0.2.1;proto=https;host=x:81', {}, ('127.0.0.1', 'http', 'h', 80)),
        ('X-Forwarded-For: 192.0.2.1', {}, ('127.0.0.1', 'http', 'h', 80)),
        (
            'Forwarded: for=192.0.2.1;proto=https;host=x:81',
            PROXY,
            ('192.0.2.1', 'https', 'x', 81),
        ),
        ('Forwarded: for="[::1]";proto=https', PROXY, ('::1', 'https', 'h', 443)),
        (
            'X-Forwarded-For: 192.0.2.1\r\nX-Forwarded-Proto: https\r\nX-Forwarded-Host: x',
            PROXY,
            ('192.0.2.1', 'https', 'x', 443),
        ),
        ('X-Forwarded-For: 192.0.2.1, 127.0.0.2', PROXY, ('192.0.2.1', 'http', 'h', 80)),
        ('X: 1', PROXY, ('127.0.0.1', 'http', 'h', 80)),
    ],
)
async def test_trusted_proxies_say_who_asked_and_for_what(given, fields, options, expected):
    """Address, scheme, host and port; the headers stay as they came. Nobody is trusted else."""
    table = await given(f'GET / HTTP/1.1\r\nHost: h\r\n{fields}\r\n\r\n'.encode(), **options)
    assert expected == (table.ip, table.scheme, table.host, table.port)
    names = [line.partition(':')[0] for line in fields.split('\r\n')]
    assert ['Host', *names] == list(table.headers)


@pytest.mark.parametrize(
    'fields',
    [
        'Forwarded: for="192.0.2.1',
        'Forwarded: for=192.0.2.1\r\nX-Forwarded-For: 192.0.2.2',
        'Forwarded: host="a b"',
        'X-Forwarded-Host: u@h',
        'X-Forwarded-Host: h:x',
    ],
)
async def test_a_proxy_that_says_what_cannot_be_is_refused(wire, caplog, fields):
    """A 400 that costs one line; from anybody else it is but a header."""
    caplog.set_level(logging.INFO, 'aioluahttp')
    head = f'GET / HTTP/1.1\r\nHost: h\r\n{fields}\r\n\r\n'.encode()
    for options, expected in (PROXY, 400), ({}, 200):
        async with keeping(**options) as (server, _), wire(server) as client:
            client.send(head)
            assert expected == (await client.answer())[0]
    lines = [record.getMessage() for record in caplog.records if record.name == 'aioluahttp']
    assert ['bad request from 127.0.0.1: 400'] == lines


@pytest.mark.parametrize(('options', 'ip'), [({}, None), ({'trusted_proxies': ['unix']}, '::1')])
@pytest.mark.parametrize('name', ['', 'client'])
async def test_a_proxy_on_a_unix_socket_is_believed_by_name(tmp_path, wire, options, ip, name):
    """``'unix'`` names whoever reaches the socket, also where its own end has a path."""
    path = str(tmp_path / 's')
    async with keeping(at=(None, None), unix=path, **options) as (_, seen):
        connecting = socket.socket(socket.AF_UNIX)
        if name:
            connecting.bind(str(tmp_path / name))
        connecting.connect(path)
        async with wire(None, sock=connecting) as client:
            client.ask('GET /', 'X-Forwarded-For: ::1')
            await client.answer()
    assert [(ip, ip is not None)] == [(table.ip, 'ip' in table) for table in seen]


async def test_a_body_may_be_late_only_so_long(wire):
    """After ``body_timeout`` without a byte it is a 408."""
    async with keeping(body_timeout=0.05) as (server, seen), wire(server) as client:
        client.ask('POST /', 'Content-Length: 3', 'Expect: 100-continue')
        await client.reader.readuntil(b'\r\n\r\n')
        client.send(b'ab')
        assert (408, []) == ((await client.answer())[0], seen)


@pytest.mark.parametrize(
    ('fields', 'body'),
    [
        (['Content-Length: 9'], b''),
        (['Content-Length: 9'], b'part'),
        (['Content-Length: 9', 'Expect: 100-continue'], b''),
        (['Transfer-Encoding: chunked'], b'4\r\npart\r\n'),
        (['Transfer-Encoding: chunked'], b'4;extension-without-end'),
        (['Transfer-Encoding: chunked'], b'4\r\npart\r\n0\r\nX: a trailer'),
        (['Content-Length: 99', 'Content-Encoding: gzip'], gzip.compress(b'0', mtime=0)[:-1]),
    ],
)
async def test_a_body_that_does_not_come_is_a_408(wire, caplog, fields, body):
    """After ``body_timeout`` without more of it; the callback does not see the request."""
    caplog.set_level(logging.INFO, 'aioluahttp')
    async with keeping(body_timeout=0.05) as (server, seen), wire(server) as client:
        client.ask('POST /', *fields, body=body)
        if 'Expect: 100-continue' in fields:
            await client.reader.readuntil(b'\r\n\r\n')
        status, headers, text = await client.answer()
        assert (408, 'close', b'Request Timeout') == (status, headers['Connection'], text)
        assert (b'', []) == (await client.rest(), seen)
    assert [] == caplog.records


async def test_a_body_may_come_slowly(wire):
    """Each part of it has ``body_timeout`` for itself."""
    async with keeping(body_timeout=2) as (server, seen), wire(server) as client:
        client.ask('POST /', 'Content-Length: 8')
        for part in [b'a'] * 8:
            await asyncio.sleep(0.3)  # the pace
            client.send(part)
        assert 200 == (await client.answer())[0]
    assert ['a' * 8] == [table.body for table in seen]


@pytest.mark.parametrize('field', ['Connection: keep-alive', 'Content-Length: 5'])
async def test_http_1_0_knows_no_chunks(wire, field):
    """Who sent such a body on may have taken another end for its own (RFC 9112 6.1)."""
    head = f'POST / HTTP/1.0\r\nTransfer-Encoding: chunked\r\n{field}\r\n\r\n'
    async with keeping() as (server, seen), wire(server) as client:
        client.send(head.encode() + b'0\r\n\r\n')
        status, headers, _ = await client.answer()
        assert (400, 'close', b'', []) == (
            status,
            headers['Connection'],
            await client.rest(),
            seen,
        )


async def test_what_trusted_proxies_say_must_agree(wire):
    """Or nobody knows whom to believe, and it is a 400."""
    async with keeping(trusted_proxies=['127.0.0.1']) as (server, seen), wire(server) as client:
        client.ask('GET /', 'Forwarded: for=192.0.2.1', 'X-Forwarded-For: 192.0.2.2')
        assert (400, []) == ((await client.answer())[0], seen)


@pytest.mark.parametrize('framing', ['Content-Length: {}', 'Transfer-Encoding: chunked'])
async def test_a_bomb_costs_no_more_than_the_limit(wire, framing):
    """1 GiB of gzip is a 413 once max_body is decoded; memory holds little more than that."""
    flushed = zlib.compressobj(9, zlib.DEFLATED, 31)
    first = flushed.compress(bytes(2**20)) + flushed.flush(zlib.Z_FULL_FLUSH)
    again = flushed.compress(bytes(2**20)) + flushed.flush(zlib.Z_FULL_FLUSH)
    bomb = first + 1023 * again
    if 'chunked' in framing:
        bomb = b'%x\r\n%b\r\n0\r\n\r\n' % (len(bomb), bomb)
    async with keeping(max_body=2**20) as (server, seen), wire(server) as client:
        client.send(b'')
        tracemalloc.start()
        client.ask('POST /', 'Content-Encoding: gzip', framing.format(len(bomb)), body=bomb)
        status, *_ = await client.answer()
        _, peak = tracemalloc.get_traced_memory()
        tracemalloc.stop()
    assert (413, []) == (status, seen)
    assert peak < len(bomb) * 3 + 2**20 * 3  # what the client sends is counted, too
