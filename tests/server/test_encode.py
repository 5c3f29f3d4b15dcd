"""Encode a response table as bytes, on the slow path and on the fast path."""

import enum
import re
import ssl
from types import SimpleNamespace

import pytest
from aiohttp.http_writer import HttpVersion11
from hypothesis import given, settings
from hypothesis import strategies as st

import aioluahttp as http
from aioluahttp.dates import parse_date
from aioluahttp.errors import TableError
from aioluahttp.exchange.response import content_length_of
from aioluahttp.semantics import PHRASES, is_silent
from aioluahttp.server.encode import encode_fast, encode_response_head, framing_of
from aioluahttp.tables.conversion import to_response, wire_body

both_ways = pytest.mark.usefixtures('both_ways')


@pytest.fixture
def respond(wire):
    """Let a callback return a table; give the response's bytes without Date, and its Dates."""

    async def ask(table, method='GET', target='/', **options):
        async with (
            http.listen('127.0.0.1', 0, lambda request: table, **options) as server,
            wire(server) as client,
        ):
            client.send_request(f'{method} {target}', 'Connection: close')
            data = await client.rest()
        dates = re.findall(rb'Date: ([^\r]*)\r\n', data)
        return re.sub(rb'Date: [^\r]*\r\n', b'', data), [parse_date(d.decode()) for d in dates]

    return ask


def head(status, *fields):
    """Return the head of a response that closes its connection."""
    return '\r\n'.join((f'HTTP/1.1 {status}', *fields, 'Connection: close', '\r\n')).encode()


@both_ways
@pytest.mark.parametrize(
    ('table', 'fields', 'body'),
    [
        ({}, ['Content-Length: 0'], b''),
        ({'body': None}, ['Content-Length: 0'], b''),
        ({'body': ''}, ['Content-Length: 0'], b''),
        ({'body': b''}, ['Content-Length: 0'], b''),
        (
            {'body': 'é'},
            ['Content-Type: text/plain; charset=utf-8', 'Content-Length: 2'],
            'é'.encode(),
        ),
        ({'body': b'\0'}, ['Content-Type: application/octet-stream', 'Content-Length: 1'], b'\0'),
        ({'body': bytearray(b'x')}, ['Content-Type: application/octet-stream', None], b'x'),
        ({'body': memoryview(b'x')}, ['Content-Type: application/octet-stream', None], b'x'),
        ({'json': [None, 'é']}, ['Content-Type: application/json', None], b'[null,"\\u00e9"]'),
        ({'json': None}, ['Content-Type: application/json', None], b'null'),
        (
            {'body': 'é', 'headers': {'content-type': 'text/html'}},
            ['Content-Type: text/html; charset=utf-8', None],
            'é'.encode(),
        ),
        (
            {'body': 'é', 'headers': {'Content-Type': 'text/html; charset=ISO-8859-1'}},
            ['Content-Type: text/html; charset=ISO-8859-1', None],
            b'\xe9',
        ),
        (
            {'body': 'é', 'headers': {'Content-Type': 'application/xml'}},
            ['Content-Type: application/xml', None],
            'é'.encode(),
        ),
        (
            {'body': b'x', 'headers': {'Content-Type': 'text/html'}},
            ['Content-Type: text/html', None],
            b'x',
        ),
        (
            {'headers': [('X', 1), ('x', ['2', '']), ('Y', ' é\udcff\t')]},
            ['X: 1', 'x: 2', 'x: ', 'Y: é\udcff', None],
            b'',
        ),
    ],
)
async def test_a_table_is_sent_as_it_is(respond, table, fields, body):
    """Headers keep their order and repeats; Content-Type is added if the callback gave none."""
    fields = [f'Content-Length: {len(body)}' if field is None else field for field in fields]
    lines = '\r\n'.join(('HTTP/1.1 200 OK', *fields, 'Connection: close', '\r\n'))
    data, _ = await respond({'status': 200, **table})
    assert lines.encode('utf-8', 'surrogateescape') + body == data


@both_ways
@pytest.mark.parametrize(
    'headers',
    [
        {'Content-Length': '1'},
        {'Content-Length': ['5', '6']},
        {'content-length': 'x'},
        {'Transfer-Encoding': 'chunked'},
        {'Transfer-Encoding': 'chunked', 'Content-Length': '9'},
        {'Connection': 'keep-alive, X', 'Keep-Alive': 'timeout=9'},
        {'TE': 'x', 'Trailer': 'y', 'Upgrade': 'z', 'Expect': 'e', 'Proxy-Authenticate': 'p'},
    ],
)
async def test_the_framing_is_never_a_lie(respond, headers):
    """Framing and connection headers of the callback are not sent."""
    data, _ = await respond({'status': 200, 'headers': headers, 'body': b'abc'})
    expected = head('200 OK', 'Content-Type: application/octet-stream', 'Content-Length: 3')
    assert expected + b'abc' == data


@both_ways
@pytest.mark.parametrize(
    ('method', 'status', 'given', 'body', 'length'),
    [
        ('HEAD', 200, None, b'', None),
        ('HEAD', 200, None, b'abc', '3'),
        ('HEAD', 200, '12', b'', '12'),
        ('HEAD', 200, '12', b'abc', '12'),
        ('HEAD', 304, '12', b'', '12'),
        ('GET', 304, '12', b'abc', '12'),
        ('GET', 304, None, b'abc', None),
        ('GET', 204, '12', b'abc', None),
        ('HEAD', 204, '12', b'abc', None),
        ('GET', 205, '12', b'abc', '0'),
        ('HEAD', 205, '12', b'abc', '0'),
        ('GET', 404, '12', b'', '0'),
    ],
)
async def test_some_responses_have_no_body(respond, method, status, given, body, length):
    """HEAD, 204, 205 and 304 send none; the length given for HEAD or 304 is kept."""
    headers = {'Content-Length': given, 'Content-Type': 'a/b'}
    data, _ = await respond({'status': status, 'headers': headers, 'body': body}, method)
    fields = ['Content-Type: a/b'] + ([f'Content-Length: {length}'] if length else [])
    assert head(f'{status} {PHRASES[status]}', *fields) == data


@both_ways
@pytest.mark.parametrize('length', ['-1', '1.0', '٣', '', 'x'])
async def test_an_invalid_content_length_is_a_500(respond, length):
    """A Content-Length given for HEAD must be a number of bytes."""
    data, _ = await respond({'status': 200, 'headers': {'Content-Length': length}}, 'HEAD')
    assert data.startswith(b'HTTP/1.1 500 Internal Server Error\r\n')
    assert data.endswith(b'\r\n\r\n')


@both_ways
@pytest.mark.parametrize(
    ('table', 'line'),
    [
        ({'status': 200}, 'HTTP/1.1 200 OK'),
        ({'status': 418}, "HTTP/1.1 418 I'm a Teapot"),
        ({'status': 599}, 'HTTP/1.1 599 '),
        ({'status': 200, 'reason': 'Très bien'}, 'HTTP/1.1 200 Très bien'),
        ({'status': 200, 'reason': ''}, 'HTTP/1.1 200 '),
        ({'status': 200, 'version': '9.9', 'url': 'x', 'history': [1]}, 'HTTP/1.1 200 OK'),
    ],
)
async def test_the_status_line_has_the_standard_phrase_or_the_callback_s(respond, table, line):
    """The version is always HTTP/1.1."""
    data, _ = await respond(table)
    assert line.encode() == data.partition(b'\r\n')[0]


@both_ways
async def test_date_is_now_or_the_callback_s(respond):
    """Every response has one Date."""
    _, dates = await respond({'status': 200, 'headers': {'Date': http.format_date(7)}})
    assert [7] == dates
    before = parse_date(http.format_date())
    _, [found] = await respond({'status': 200})
    assert before <= found <= parse_date(http.format_date())


@both_ways
@pytest.mark.parametrize(
    ('option', 'headers', 'expected'),
    [
        ({}, {}, []),
        ({'server_header': 'we'}, {}, [b'Server: we']),
        ({'server_header': 'we'}, {'server': 'me'}, [b'server: me']),
        ({'server_header': None}, {}, []),
    ],
)
async def test_a_server_header_is_sent_only_if_configured(respond, option, headers, expected):
    """``server_header`` is sent if the callback gave no Server."""
    data, _ = await respond({'status': 200, 'headers': headers}, **option)
    assert expected == re.findall(rb'server: [^\r]*', data, re.IGNORECASE)


@both_ways
@pytest.mark.parametrize(
    ('version', 'field', 'given', 'expected'),
    [
        ('1.1', None, None, None),
        ('1.1', 'Connection: close', None, 'close'),
        ('1.1', None, 'Close', 'close'),
        ('1.1', None, ['X', 'x, close'], 'close'),
        ('1.0', None, None, 'close'),
        ('1.0', 'Connection: keep-alive', None, 'keep-alive'),
        ('1.0', 'Connection: keep-alive', 'close', 'close'),
    ],
)
async def test_connection_says_whether_the_connection_is_kept(
    wire, version, field, given, expected
):
    """``Connection: close`` closes; a kept connection serves another request."""
    table = {'status': 200, 'headers': {'Connection': given}, 'body': 'x'}
    request = '\r\n'.join([f'GET / HTTP/{version}', 'Host: h', *filter(None, [field]), '\r\n'])
    async with (
        http.listen('127.0.0.1', 0, lambda request: table) as server,
        wire(server) as client,
    ):
        for _ in range(1 if expected == 'close' else 2):
            client.send(request.encode())
            _, headers, _ = await client.read_response()
            assert expected == headers.get('Connection')
        if expected == 'close':
            assert b'' == await client.rest()


@both_ways
async def test_a_long_response_is_sent_whole(respond):
    """A response larger than the buffers arrives to its last byte."""
    body = bytes(range(256)) * 40_000
    data, _ = await respond({'status': 200, 'body': body})
    assert body == data.partition(b'\r\n\r\n')[2]


@both_ways
@pytest.mark.parametrize(('method', 'body'), [('GET', b'Bad Request'), ('HEAD', b'')])
async def test_a_status_page_closes_the_connection(respond, method, body):
    """Its body is the phrase of its status; HEAD has no body."""
    data, dates = await respond({}, method, '/#')
    fields = ['Content-Type: text/plain; charset=utf-8', 'Content-Length: 11']
    assert (head('400 Bad Request', *fields) + body, 1) == (data, len(dates))


@both_ways
@pytest.mark.parametrize('fields', [[], ['Connection: close']])
async def test_a_long_response_is_sent_whole_over_tls(wire, certificates, fields):
    """It is written in pieces there; none is lost or repeated."""
    body = bytes(range(256)) * 40_000
    listening = http.listen(
        '127.0.0.1', 0, lambda request: {'status': 200, 'body': body}, tls=certificates.server
    )
    context = ssl.create_default_context(cafile=certificates.ca)
    async with listening as server, wire(server, ssl=context) as client:
        for _ in range(1 if fields else 3):
            client.send_request('GET /', *fields)
            assert body == (await client.read_response())[2]


@both_ways
async def test_a_client_that_leaves_during_its_response_is_not_logged(wire, caplog):
    """Unsent bytes are dropped, and other clients are served."""
    body = b'x' * 20_000_000
    async with http.listen('127.0.0.1', 0, lambda request: {'status': 200, 'body': body}) as server:
        async with wire(server) as client:
            client.send_request('GET /')
            await client.reader.readuntil(b'\r\n\r\n')
            client.writer.transport.abort()
        assert 200 == (await http.request(url=server.url)).status
    assert [] == caplog.records


class Kind(str, enum.Enum):  # noqa: UP042  # a StrEnum has the str of its value
    """A str subclass whose ``str()`` and ``format()`` differ from its value."""

    HTML = 'text/html'

    def __format__(self, spec):
        return 'a\r\nX: b'

    __str__ = __repr__ = lambda self: 'a\r\nX: b'


@both_ways
@pytest.mark.parametrize(
    'table',
    [
        {'status': 200, 'headers': {'Content-Type': Kind.HTML}},
        {'status': 200, 'headers': {'X-Kind': Kind.HTML}},
        {'status': 200, 'headers': {Kind.HTML.replace('/', ''): 'x'}},
        {'status': 200, 'reason': Kind.HTML},
        {'status': 200, 'body': Kind.HTML},
    ],
)
async def test_a_str_subclass_is_sent_as_it_was_checked(respond, table):
    """Its own ``__str__`` and ``__format__`` cannot add a header."""
    data, _ = await respond(table)
    assert b'\r\nX: b' not in data


@both_ways
@pytest.mark.parametrize('reason', ['\ud800', 'a\udc0a', 'a\x7f', '\0', 'a\nb'])
async def test_a_reason_that_cannot_be_encoded_is_a_500(respond, reason):
    """The 500 is complete and well-formed."""
    data, _ = await respond({'status': 200, 'reason': reason})
    assert data.startswith(b'HTTP/1.1 500 Internal Server Error\r\n')
    assert data.endswith(b'\r\n\r\nInternal Server Error')


DATE = re.compile(rb'Date: [^\r]*')


class Text(str):
    """A str subclass that is formatted as other text."""

    def __str__(self):
        return 'a\r\nb'

    __format__ = __str__


def plain_bytes(table, server=None, *, keep_alive=True):
    """Encode the response on the slow path; None if the table is invalid."""
    try:
        response = to_response(table)
        headers = response['headers']
        if server:
            headers.setdefault('Server', server)
        raw = SimpleNamespace(method='GET', version=HttpVersion11)
        body = wire_body(headers, response['body'])
        status = response['status']
        framing = framing_of(content_length_of('GET', status, headers, body))
        head = encode_response_head(raw, status, None, headers, framing, keep_alive)
        return head if is_silent('GET', status) else head + body
    except TableError:
        return None


def lines(data):
    """Split a response into its first line, its other lines sorted, and its body."""
    head, _, body = DATE.sub(b'Date', data).partition(b'\r\n\r\n')
    first, *rest = head.split(b'\r\n')
    return first, sorted(rest), body


PLAIN = [
    {'status': 200},
    {'status': 404, 'body': None},
    {'status': 200, 'headers': None, 'body': ''},
    {'status': 200, 'headers': {}, 'body': b''},
    {'status': 200, 'body': 'é'},
    {'status': 299, 'body': b'\0'},
    {'status': 200, 'headers': {'Content-Type': 'text/html'}, 'body': 'x'},
    {'status': 200, 'headers': {'content-type': 'text/html; charset=UTF-8'}, 'body': 'x'},
    {'status': 200, 'headers': {'Content-Type': 'application/json'}, 'body': '{}'},
    {'status': 200, 'headers': {'A': 'b%s%%', 'a%': '', 'B': 'c d'}, 'body': b'x'},
    {'status': 200, 'headers': {'Server': 'mine', 'A': ''}},
    {'status': 200, 'json': None},
    {'status': 200, 'json': ['é', '\udc80', {'a': 1}], 'body': None},
    {'status': 200, 'json': '', 'headers': {'content-type': 'text/x'}},
    {'status': 200, 'headers': {'Date': 'Sun, 06 Nov 1994 08:49:37 GMT'}, 'body': 'x'},
    http.Response({'status': 200, 'headers': http.Headers({'A': '1', 'B': '2'}), 'body': b'x'}),
    http.to_response({'status': 404, 'headers': {'date': '0', 'content-type': 'text/x'}}),
]


@pytest.mark.parametrize('keep_alive', [True, False])
@pytest.mark.parametrize('server', [None, 'we'])
@pytest.mark.parametrize('table', PLAIN, ids=str)
def test_both_paths_encode_a_plain_table_alike(table, server, keep_alive):
    """The first time, when its head is encoded, and the second, when it comes from the cache."""
    expected = plain_bytes(table, server, keep_alive=keep_alive)
    for _ in range(2):
        found = encode_fast(table, server, keep_alive=keep_alive)
        assert lines(expected) == lines(found)


@pytest.mark.parametrize(
    'table',
    [
        None,
        [('status', 200)],
        {},
        {'status': '200'},
        {'status': True},
        {'status': 200.0},
        {'status': 199},
        {'status': 600},
        {'status': 204},
        {'status': 205},
        {'status': 304},
        {'status': []},
        {'status': 200, 'json': object()},
        {'status': 200, 'json': float('nan')},
        {'status': 200, 'json': 1, 'body': 'x'},
        {'status': 204, 'json': 1},
        {'status': 200, 'json': 1, 'headers': {'Content-Type': 'a/b; charset=koi8-r'}},
        {'status': 200, 'reason': 'Fine'},
        {'status': 200, 'bdy': ''},
        {'status': 200, 'headers': {'A': ' b'}},
        {'status': 200, 'headers': {'A': 'b '}},
        {'status': 200, 'headers': {'A': 'é'}},
        {'status': 200, 'headers': {'A': 'b\tc'}},
        {'status': 200, 'headers': {'A': 'b\x7f'}},
        {'status': 200, 'headers': {'Content-Type': 'a/b', 'content-type': 'a/b'}},
        {'status': 200, 'headers': {'CONTENT-TYPE': 'a/b'}, 'body': 'x'},
        {'status': 200, 'body': bytearray(b'x')},
        {'status': 200, 'body': 0},
        {'status': 200, 'body': bytearray()},
        {'status': 200, 'headers': 0},
        {'status': 200, 'body': Text('x')},
        {'status': 200, 'body': '\udc80'},
        {'status': 200, 'headers': [('A', 'b')]},
        {'status': 200, 'headers': {'A': 1}},
        {'status': 200, 'headers': {'A': True}},
        {'status': 200, 'headers': {'A': ['b', 'c']}},
        {'status': 200, 'headers': {'A': None}},
        {'status': 200, 'headers': {'A': Text('b')}},
        {'status': 200, 'headers': {'A': 'b\r\nC: d'}},
        {'status': 200, 'headers': {'A b': 'c'}},
        {'status': 200, 'headers': {5: 'c'}},
        http.Response({'status': 200, 'reason': 'Fine', 'body': ''}),
        http.Response({'status': 700, 'body': ''}),
        {'status': 200, 'headers': http.Headers({'Connection': 'close'})},
        {'status': 200, 'headers': {'content-length': '5'}},
        {'status': 200, 'headers': {'Transfer-Encoding': 'chunked'}},
        {'status': 200, 'headers': {'Connection': 'close'}},
        {'status': 200, 'headers': {'Content-Type': 'text/plain; charset=iso-8859-1'}, 'body': 'x'},
    ],
    ids=repr,
)
def test_every_other_table_takes_the_slow_path(table):
    """Also after an equal plain one: 200 == 200.0, and '1' is not 1."""
    for like in (
        {'status': 200},
        {'status': 200, 'headers': {'A': 'b'}},
        {'status': 200, 'body': 'x'},
    ):
        assert encode_fast(like, None, keep_alive=True)
    for _ in range(2):
        assert encode_fast(table, None, keep_alive=True) is None


def test_a_response_with_a_repeated_header_is_written_whole():
    """The fast path takes none or writes both, as the version of multidict has it."""
    table = http.to_response({'status': 200, 'headers': {'A': ['b', 'c']}})
    head = encode_fast(table, None, keep_alive=True)
    assert head is None or b'A: b\r\nA: c\r\n' in head


@settings(deadline=None)
@given(
    st.fixed_dictionaries(
        {'status': st.integers(190, 610)},
        optional={
            'headers': st.dictionaries(
                st.sampled_from(['A', 'b', 'Content-Type', 'X-Y', 'a b']) | st.text(max_size=3),
                st.text(max_size=5) | st.sampled_from(['text/html', 'a/b; charset=koi8-r']),
                max_size=3,
            ),
            'body': st.text(max_size=5) | st.binary(max_size=5) | st.none(),
            'json': st.none() | st.integers() | st.text(max_size=5) | st.floats(),
        },
    )
)
def test_both_paths_encode_any_table_alike(table):
    """Whatever the fast path encodes, the slow path encodes to the same bytes."""
    found = encode_fast(table, None, keep_alive=True)
    if found is not None:
        assert lines(plain_bytes(table)) == lines(found)
