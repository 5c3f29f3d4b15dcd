"""What is sent for a request table, and the response table of what is received."""

import asyncio
from base64 import b64decode
from pathlib import Path

import pytest
import yarl

import aioluahttp as http
from aioluahttp.transports.encode import (
    LARGE,
    arguments_of,
    connection_arguments,
    read_options_of,
    target_of,
    try_with_source,
    with_bytes_source,
    with_one_spelling,
    write_timeout,
)
from aioluahttp.transports.request_body import BodySource, source_of

pytestmark = pytest.mark.usefixtures('both_routes')

EVERY_BYTE = bytes(range(256))
OK = b'HTTP/1.1 200 OK\r\nContent-Length: 2\r\n\r\nhi'
LONG = EVERY_BYTE * 8192  # 2 MiB: more than aiohttp sends in one write


@pytest.fixture
def sent(raw_server):
    """Return a function that sends a request table and returns what the server received."""

    async def send(**fields):
        async with raw_server(OK) as peer:
            await http.request({'host': '127.0.0.1', 'port': peer.port, **fields})
        (asked,) = peer.requests
        return asked

    return send


# What is sent


@pytest.mark.parametrize(
    ('fields', 'line'),
    [
        ({}, 'GET / HTTP/1.1'),
        ({'method': 'get'}, 'GET / HTTP/1.1'),
        ({'method': 'Propfind'}, 'PROPFIND / HTTP/1.1'),
        ({'method': 'options', 'url': '*'}, 'OPTIONS * HTTP/1.1'),
        ({'path': '/a/b'}, 'GET /a/b HTTP/1.1'),
        ({'path': '/a', 'query': 'x=%27&y=+'}, 'GET /a?x=%27&y=+ HTTP/1.1'),
        ({'query': {'q': 'a b', 'n': [1, 2]}}, 'GET /?q=a%20b&n=1&n=2 HTTP/1.1'),
        ({'query': [('a', '1'), ('a', '2')]}, 'GET /?a=1&a=2 HTTP/1.1'),
        ({'url': '/a?b', 'path': '/no', 'query': 'no'}, 'GET /a?b HTTP/1.1'),
        ({'url': '/a', 'query': 'b'}, 'GET /a?b HTTP/1.1'),
        *(
            ({'url': one}, f'GET {one} HTTP/1.1')
            for one in (
                '/%27%2C%41%7e',
                '/../x/./y',
                '/a?',
                '/a?b?',
                '/a??',
                '//x',
                '//',
                '//host/x?y',
                '/a;b=c,d:e@f',
                "/!$&'()*+,;=",
                '/a?b=%2F&c=/?',
                '/%',
                '/%zz',
                '/a%2fb%2Fc',
                '/?a=b&&c',
                '/a:80/',
                '/?http://x/',
            )
        ),
        ({'url': '/a b?c d'}, 'GET /a%20b?c%20d HTTP/1.1'),
        ({'url': '/é?ü'}, 'GET /%C3%A9?%C3%BC HTTP/1.1'),
        ({'url': '/\udcff'}, 'GET /%FF HTTP/1.1'),
        ({'url': '/"<>\\^`{|}'}, 'GET /%22%3C%3E%5C%5E%60%7B%7C%7D HTTP/1.1'),
        ({'url': '/a#part'}, 'GET /a HTTP/1.1'),
        ({'url': '/a?#part'}, 'GET /a? HTTP/1.1'),
    ],
    ids=str,
)
@pytest.mark.filterwarnings('ignore::aioluahttp.TableWarning')
async def test_the_bytes_of_a_url_reach_the_wire_unchanged(sent, fields, line):
    """Method and target are sent as written; only what a URL must not contain is quoted."""
    assert line == (await sent(**fields)).line


@pytest.mark.parametrize('make', [str, lambda text: yarl.URL(text, encoded=True)])
async def test_a_full_url_may_be_text_or_a_yarl_url(raw_server, make):
    """Both name the origin, and override the other keys."""
    async with raw_server(OK) as peer:
        with pytest.warns(http.TableWarning, match="overrides 'host' and 'port' with"):
            response = await http.request(url=make(peer.url + '/%41?b'), host='no.invalid', port=1)
    assert ('GET /%41?b HTTP/1.1', peer.url + '/%41?b') == (peer.requests[0].line, response.url)


@pytest.mark.parametrize(
    ('headers', 'expected'),
    [
        (None, {}),
        ({'Accept': 'a/b'}, {'Accept': ['a/b']}),
        ({'accept-encoding': 'br'}, {'Accept-Encoding': ['br']}),
        ({'USER-AGENT': 'mine'}, {'User-Agent': ['mine']}),
        ({'User-Agent': ''}, {'User-Agent': ['']}),
        ({'Accept': ['a/b', 'c/d']}, {'Accept': ['a/b', 'c/d']}),
        ({'Accept': None}, {}),
    ],
    ids=str,
)
async def test_three_headers_have_defaults(sent, headers, expected):
    """Accept, Accept-Encoding and User-Agent are sent unless they are given."""
    asked = await sent(headers=headers)
    defaults = {
        'Accept': ['*/*'],
        'Accept-Encoding': ['gzip, deflate, br, zstd'],
        'User-Agent': ['aioluahttp'],
    }
    assert {**defaults, **expected} == {name: asked.values(name) for name in defaults}
    assert ['Host', *defaults] == sorted(
        {name.title() for name, _ in asked.headers}, key=['Host', *defaults].index
    )


async def test_headers_are_sent_as_given(sent):
    """Repeated headers keep their order, however they are spelled; an int is sent as digits."""
    given = [('X-b', '1'), ('x-A', 'é ü'), ('X-B', '2'), ('X-n', 3), ('X-e', ''), ('x-b', '0')]
    asked = await sent(headers=given)
    expected = [(name.lower(), str(value)) for name, value in given]
    pairs = [(name.lower(), value) for name, value in asked.headers]
    assert expected == [pair for pair in pairs if pair[0].startswith('x-')]


def test_a_session_gets_a_repeated_header_in_one_spelling():
    """aiohttp loses one that is spelled in two ways."""
    given = http.Headers([('X-b', '1'), ('x-A', '2'), ('X-B', '3')])
    expected = [('X-b', '1'), ('x-A', '2'), ('X-b', '3')]
    assert expected == list(with_one_spelling(given).items())


@pytest.mark.parametrize('host', ['name.example', 'name.example:81', '[::1]', ''])
async def test_host_is_sent_as_given(sent, host):
    """A Host header is sent once, with the given value."""
    assert [host] == (await sent(headers={'hOST': host})).values('Host')


@pytest.mark.parametrize(
    ('fields', 'expected'),
    [
        ({'headers': {'Content-Length': 5}}, []),
        ({'headers': {'Transfer-Encoding': 'chunked'}}, []),
        ({'method': 'POST'}, [('Content-Length', '0')]),
        ({'method': 'POST', 'headers': {'Content-Length': 5}}, [('Content-Length', '0')]),
        ({'body': ''}, [('Content-Length', '0')]),
        ({'body': 'abc', 'headers': {'Content-Length': 5}}, [('Content-Length', '3')]),
        (
            {'body': b'abc', 'headers': {'Transfer-Encoding': 'chunked', 'TE': 'trailers'}},
            [('Content-Length', '3')],
        ),
    ],
    ids=str,
)
async def test_framing_is_the_library_s(sent, fields, expected):
    """The length that is sent is the true one, whatever the table says."""
    asked = await sent(**fields)
    framing = ('content-length', 'transfer-encoding', 'te')
    assert expected == [pair for pair in asked.headers if pair[0].lower() in framing]


@pytest.mark.parametrize('size', [LARGE // 4, LARGE], ids=str)
async def test_framing_of_a_large_body_is_the_library_s(sent, size):
    """It is sent in pieces, with the true length and its default Content-Type."""
    asked = await sent(body='a' * size, headers={'Content-Length': 5})
    assert (b'a' * size, [str(size)]) == (asked.body, asked.values('Content-Length'))
    assert ['text/plain; charset=utf-8'] == asked.values('Content-Type')


@pytest.mark.parametrize('name', ['CONNECTION', 'tE', 'proxy-Authorization'])
async def test_what_belongs_to_one_hop_is_found_in_any_case(sent, name):
    """Also beside a header that is passed on, and whose name has another case."""
    asked = await sent(headers={'X-a': '1', name: 'x'})
    found = {one.lower(): value for one, value in asked.headers}
    assert '1' == found['x-a']
    assert name.lower() not in found


async def test_what_belongs_to_one_hop_is_not_passed_on(sent):
    """No hop-by-hop header is sent as it was given."""
    names = [
        *('Connection', 'Keep-Alive', 'TE', 'Trailer', 'Upgrade', 'Expect'),
        *('Proxy-Authorization', 'Proxy-Authenticate', 'Proxy-Connection'),
        'proxy-authentication-info',
    ]
    asked = await sent(headers={**dict.fromkeys(names, 'x'), 'X-Mine': 'y'}, body='z')
    assert ([], ['y']) == ([v for n in names for v in asked.values(n)], asked.values('X-Mine'))


@pytest.mark.parametrize(
    'headers',
    [
        {'X': 'a\r\nY: b'},
        {'X': 'a\nb'},
        {'X': 'a\0b'},
        {'X': 'a\x7fb'},
        {'X\r\nY': 'b'},
        {'X Y': 'b'},
        {'': 'b'},
        {'Ä': 'b'},
        {'X': 'a\udc80b'},
    ],
    ids=ascii,
)
async def test_a_header_that_cannot_be_sent_as_it_is_is_refused(raw_server, headers):
    """No control character is sent, and no part of a value is dropped silently."""
    async with raw_server(OK) as peer:
        with pytest.raises(http.TableError):
            await http.request(url=peer.url, headers=headers)
    assert (0, []) == (peer.connections, peer.requests)


async def test_an_error_hides_a_secret_header_that_cannot_be_sent():
    """The message contains the name of the header, and not its value."""
    with pytest.raises(http.TableError) as caught:
        await http.request(url='http://127.0.0.1:1', headers={'Cookie': 's3cret=\udc80'})
    assert "'headers[Cookie]' is ***; it must be text that UTF-8 can encode" == str(caught.value)


@pytest.mark.parametrize(
    ('fields', 'kind', 'body'),
    [
        ({'body': 'é'}, 'text/plain; charset=utf-8', 'é'.encode()),
        ({'body': b'\xff'}, 'application/octet-stream', b'\xff'),
        ({'body': bytearray(b'x')}, 'application/octet-stream', b'x'),
        ({'body': memoryview(b'x')}, 'application/octet-stream', b'x'),
        ({'body': 'a\udcff'}, 'application/octet-stream', b'a\xff'),
        ({'body': ''}, None, b''),
        ({'body': 'é', 'headers': {'Content-Type': 'text/html'}}, 'text/html; charset=utf-8', None),
        (
            {'body': 'é', 'headers': {'Content-Type': 'text/html; charset=iso-8859-1'}},
            'text/html; charset=iso-8859-1',
            b'\xe9',
        ),
        ({'body': b'x', 'headers': {'content-type': 'image/png'}}, 'image/png', b'x'),
        ({'json': {'a': [1, 'é', None]}}, 'application/json', b'{"a":[1,"\\u00e9",null]}'),
        ({'json': None}, 'application/json', b'null'),
        ({'json': 1, 'headers': {'Content-Type': 'a/b+json'}}, 'a/b+json', b'1'),
        ({'form': {'a': 'x y', 'b': [1, 2]}}, 'application/x-www-form-urlencoded', None),
        ({'form': [('a', '&')]}, 'application/x-www-form-urlencoded', b'a=%26'),
    ],
    ids=str,
)
@pytest.mark.parametrize('method', ['POST', 'GET', 'DELETE'])
async def test_a_body_is_sent_with_its_content_type(sent, method, fields, kind, body):
    """Text, bytes, JSON and forms have their Content-Type, for any method."""
    asked = await sent(method=method, **fields)
    assert [kind] * (kind is not None) == asked.values('Content-Type')
    expected = {
        'text/html; charset=utf-8': 'é'.encode(),
        'application/x-www-form-urlencoded': b'a=x%20y&b=1&b=2',
    }
    assert (expected.get(kind) if body is None else body) == asked.body


async def test_no_body_has_no_content_type(sent):
    """A request without a body has no Content-Type and no Content-Length."""
    assert ([], []) == tuple(map((await sent()).values, ('Content-Type', 'Content-Length')))


async def test_text_that_its_charset_cannot_encode_is_refused(sent):
    """Nothing is sent in its place."""
    with pytest.raises(http.TableError):
        await sent(body='☺', headers={'Content-Type': 'text/plain; charset=iso-8859-1'})


async def test_a_multipart_body_is_sent(sent):
    """Each part has its name, and a file its filename and type."""
    part = {'name': 'f', 'body': EVERY_BYTE, 'filename': 'a.bin', 'content_type': 'a/b'}
    asked = await sent(method='POST', multipart=[{'name': 'x', 'body': 'é'}, part])
    boundary = asked.values('Content-Type')[0].removeprefix('multipart/form-data; boundary=')
    expected = (
        b'Content-Disposition: form-data; name="x"\r\n\r\n\xc3\xa9',
        b'Content-Disposition: form-data; name="f"; filename="a.bin"\r\n'
        b'Content-Type: a/b\r\n\r\n' + EVERY_BYTE,
    )
    mark = b'--' + boundary.encode()
    assert (
        asked.body
        == b''.join(mark + b'\r\n' + one + b'\r\n' for one in expected) + mark + b'--\r\n'
    )


@pytest.mark.parametrize('body', [EVERY_BYTE, LONG], ids=len)
@pytest.mark.parametrize('method', ['POST', 'PUT', 'GET'])
async def test_a_body_of_any_bytes_and_length_arrives(sent, method, body):
    """All 256 values, and more than aiohttp accepts as bytes without a warning."""
    assert body == (await sent(method=method, body=body)).body


@pytest.mark.parametrize('fields', [{'auth': ('me', 'ü:')}, {'auth': 'me:ü:'}])
async def test_a_login_is_basic(sent, fields):
    """A pair and a text give the same Authorization header."""
    (value,) = (await sent(**fields)).values('Authorization')
    assert 'me:ü:' == b64decode(value.removeprefix('Basic ')).decode()


async def test_the_userinfo_of_a_url_is_basic(raw_server):
    """It is decoded, and removed from the URL of the response."""
    async with raw_server(OK) as peer:
        url = peer.url.replace('//', '//me:s%3Acret@')
        response = await http.request(url=url)
    (value,) = peer.requests[0].values('Authorization')
    assert 'me:s:cret' == b64decode(value.removeprefix('Basic ')).decode()
    assert peer.url + '/' == response.url


async def test_a_bearer_is_a_token(sent):
    """It is sent as it is."""
    assert ['Bearer a.b~c='] == (await sent(bearer='a.b~c=')).values('Authorization')


async def test_a_table_that_a_server_received_can_be_sent_on(sent):
    """``ip`` and ``version`` are accepted and not sent."""
    asked = await sent(ip='192.0.2.1', version='1.0')
    assert ('GET / HTTP/1.1', False) == (asked.line, '192.0.2.1' in str(asked))


# Bodies that are sent in parts; test_request_body has more of them


async def receive(line):
    """Read a chunked request, and return its body with its frames."""
    await line.reader.readuntil(b'\r\n\r\n')
    return await line.reader.readuntil(b'0\r\n\r\n')


async def test_text_chunks_are_encoded_by_the_charset_of_the_content_type(raw_server):
    """The charset of Content-Type is used; other chunks than text and bytes are refused."""
    came = []

    async def handler(line):
        came.append(await receive(line))
        await line.send(OK)

    headers = {'Content-Type': 'text/plain; charset=iso-8859-1'}
    async with raw_server(handler) as peer:
        await http.request(url=peer.url, body=iter(['é', b'\xff']), headers=headers)
        with pytest.raises(http.TableError, match="'body' is 5; it must be a str or bytes"):
            await http.request(url=peer.url, body=iter([5]))
    assert [b'1\r\n\xe9\r\n1\r\n\xff\r\n0\r\n\r\n'] == came


async def test_a_content_length_other_than_that_of_the_file_is_refused(tmp_path):
    """Another Content-Length is refused before anything is sent."""
    (tmp_path / 'a').write_bytes(b'abc')
    with pytest.raises(http.TableError, match='it must be 3, the length of the file'):
        await http.request(
            url='http://127.0.0.1:1', body=tmp_path / 'a', headers={'Content-Length': 5}
        )


async def test_the_error_of_a_broken_stream_carries_the_request(raw_server):
    """The error carries the request; a cancelled read raises no such error."""

    async def handler(line):
        await line.request()
        await line.send(b'HTTP/1.1 200 OK\r\nContent-Length: 5\r\n\r\nx')
        if len(peer.requests) == 1:
            line.reset()
        await line.reader.read()

    async with raw_server(handler) as peer:
        response = await http.request(url=peer.url, into='stream')
        with pytest.raises(http.ProtocolError) as caught:
            await response.body.read()
        assert '/' == caught.value.request['url']
        response = await http.request(url=peer.url, into='stream')
        reading = asyncio.create_task(response.body.read())
        await asyncio.sleep(0)
        reading.cancel()
        with pytest.raises(asyncio.CancelledError):
            await reading


@pytest.mark.parametrize('own', [True, False])
async def test_reading_a_stream_raises_what_ended_it(raw_server, own):
    """Reading raises the exception of the request body; or an error that carries the request."""
    began, error = asyncio.Event(), OSError('mine')

    async def sent():
        yield b'a'
        await began.wait()
        raise error

    async def handler(line):
        await line.reader.readuntil(b'a\r\n')
        await line.send(b'HTTP/1.1 200 OK\r\nContent-Length: 5\r\n\r\nx')
        if not own:
            line.reset()
        await line.reader.read()

    body = sent()
    async with raw_server(handler) as peer:
        response = await http.request(url=peer.url, body=body, into='stream')
        if own:
            began.set()
        with pytest.raises(OSError if own else http.ProtocolError) as caught:
            await response.body.read()
    if own:
        assert error is caught.value
    else:
        assert body is caught.value.request['body']


# Arguments for aiohttp, and options for reading


def arguments(**fields):
    """Make aiohttp's arguments for a request."""
    request = http.to_request({'url': 'http://h', **fields})
    return arguments_of(request, target_of(request['scheme'], 'h', request['port'], '/'))


@pytest.mark.parametrize(
    ('fields', 'connect', 'read'),
    [
        ({}, None, None),
        ({'timeout': 5}, None, None),
        ({'timeout': None}, None, None),
        ({'timeout': {'connect': 1, 'total': 3}}, 1, None),
        ({'timeout': {'read': 2}}, None, 2),
    ],
)
def test_the_total_timeout_is_not_passed_to_aiohttp(fields, connect, read):
    """The client enforces it, because it includes redirects."""
    timeout = arguments(**fields)['timeout']
    assert (None, connect, read) == (timeout.total, timeout.connect, timeout.sock_read)


@pytest.mark.parametrize(
    ('tls', 'host', 'name'),
    [
        ({'server_name': 'x'}, 'h', 'x'),
        ({'server_name': 'x.'}, 'h', 'x'),
        ({'verify': False}, 'h', None),
        (False, 'h', None),
        (False, 'h.', 'h'),
        ({'server_name': 'x'}, 'h.', 'x'),
    ],
)
def test_a_tls_table_may_name_the_server(tls, host, name):
    """Otherwise aiohttp takes the host, whose last dot is removed here."""
    request = http.to_request(url=f'https://{host}', tls=tls)
    assert name == connection_arguments(request).get('server_hostname')


@pytest.mark.parametrize(
    ('url', 'host'),
    [
        ('http://h', 'h'),
        ('https://h.', 'h.'),
        ('http://h.:81', 'h.:81'),
        ('http://h.:80', 'h.'),
        ('http://[fe80::1%lo]', '[fe80::1]'),
        ('http://[fe80::1%lo]:81', '[fe80::1]:81'),
    ],
)
def test_the_host_header_is_that_of_the_url(url, host):
    """With the dot at the end of a name, without a default port or the zone of an address."""
    request = http.to_request(url=url)
    target = target_of(request['scheme'], request['host'], request['port'], '/')
    assert host == arguments_of(request, target)['headers']['Host']


@pytest.mark.parametrize(
    ('url', 'given'),
    [
        ('http://h', ({'Proxy-Authorization': 'Basic YTpi'}, {})),
        ('https://h', ({}, {'Proxy-Authorization': 'Basic YTpi'})),
    ],
)
def test_the_login_of_a_proxy_is_sent_to_the_proxy_alone(url, given):
    """With https it is sent with the CONNECT alone."""
    made = arguments(url=url, proxy='http://a:b@p:1')
    headers = {name: one for name, one in made['headers'].items() if name[:5] == 'Proxy'}
    assert ('http://p:1', given) == (made['proxy'], (headers, made.get('proxy_headers', {})))
    assert 'proxy_headers' not in arguments(url=url, proxy='http://p:1')


async def test_an_attempt_needs_no_body_source():
    """A request without one is sent as it is."""

    async def attempt(request):
        return request

    request = http.to_request(url='http://h', body='x')
    assert request is await try_with_source(attempt, request)


@pytest.mark.parametrize('error', [OSError, asyncio.CancelledError])
async def test_the_body_source_is_closed_if_an_attempt_fails(tmp_path, error):
    """Whatever ended the attempt."""
    (tmp_path / 'a').write_bytes(b'abc')
    source = BodySource(tmp_path / 'a')
    request = http.to_request(url='http://h') | {'body': source}

    async def attempt(request):
        assert 3 == source.length
        raise error

    with pytest.raises(error):
        await try_with_source(attempt, request)
    assert source._opened is None


@pytest.mark.parametrize(
    ('fields', 'raw', 'limit', 'seconds'),
    [
        ({}, False, 9, None),
        ({'into': 'json', 'timeout': {'read': 2}}, False, 9, 2),
        ({'into': 'stream'}, False, None, 30.0),
        ({'into': 'raw', 'max_body': 5}, True, 5, 30.0),
        ({'into': 'stream', 'timeout': None}, False, None, None),
        ({'into': 'stream', 'timeout': 1}, False, None, 30.0),
        ({'into': 'stream', 'timeout': {'read': 2}}, False, None, 2),
        ({'into': 'events'}, False, None, None),
        ({'into': 'events', 'timeout': {'read': 2}}, False, None, 2),
    ],
)
def test_a_streamed_body_has_a_read_timeout(fields, raw, limit, seconds):
    """A body that is read whole has a size limit; events have no default read timeout."""
    options = read_options_of(http.to_request({'url': 'http://h', **fields}), 9)
    assert (raw, limit, seconds) == (options.raw, options.limit, options.seconds)


async def test_a_body_is_a_stream_or_whole(raw_server):
    """``into`` decides between a stream and a whole body."""
    async with raw_server(OK) as peer:
        response = await http.request(url=peer.url, into='stream')
        assert b'hi' == await response.body.read()
        assert b'hi' == (await http.request(url=peer.url, into='bytes')).body


@pytest.mark.parametrize(
    ('fields', 'seconds'),
    [
        ({}, None),
        ({'timeout': 5}, None),
        ({'timeout': None}, None),
        ({'timeout': {'read': 5}}, None),
        ({'timeout': {'total': None}}, 30.0),
        ({'timeout': {'total': None, 'write': None}}, None),
        ({'timeout': {'write': 5}}, 5),
        ({'timeout': {'total': 9}, 'into': 'stream'}, 30.0),
        ({'timeout': 5, 'into': 'events'}, 30.0),
        ({'into': Path('x')}, 30.0),
        ({'into': 'stream', 'timeout': None}, None),
    ],
)
def test_the_write_timeout_has_a_default_where_the_total_does_not_run(fields, seconds):
    """``None`` as the whole timeout is no limit of any kind."""
    assert seconds == write_timeout(http.to_request(url='http://h', **fields))


@pytest.mark.parametrize(
    ('timeout', 'length', 'in_pieces'),
    [
        (30, 2**20 - 1, False),
        (30, 2**20, True),
        ({'write': 1}, 16384, False),
        ({'write': 1}, 16385, True),
    ],
)
@pytest.mark.parametrize('kind', ['x', b'x'])
def test_a_large_body_is_sent_in_pieces(timeout, length, in_pieces, kind):
    """With a write timeout so is each that may not fit the send buffer."""
    request = http.to_request(url='http://h', body=kind * length, timeout=timeout)
    source = source_of(with_bytes_source(request))
    assert (length if in_pieces else None) == (source and source.length)
