"""Property tests over real sockets: any table arrives as it was sent or is refused; any bytes."""

import asyncio
import contextlib
import io
import logging
from email.errors import MessageDefect
from http.client import HTTPResponse

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

import aioluahttp as http
from aioluahttp.bodies.text import is_clean
from aioluahttp.errors import TableError
from aioluahttp.headers import ONE_HOP
from aioluahttp.semantics import PHRASES, STATUSES_WITHOUT_BODY
from aioluahttp.tables.conversion import to_request, to_response, wire_body

MANY = settings(max_examples=250, deadline=None)

# Parts of tables: mostly valid, sometimes invalid.
OWN = ['Content-Length', 'Transfer-Encoding', 'Connection', 'Keep-Alive', 'Trailer', 'TE']
TOKENS = st.text('!#$%&*+-.^_`|~09AZaz', min_size=1, max_size=8).map('X'.__add__)
NAMES = st.one_of(TOKENS, TOKENS, st.sampled_from([*OWN, 'Date']), st.text(max_size=5))
WORDS = st.text(st.characters(codec='utf-8', exclude_categories=['Cc', 'Cs']), max_size=12)
ANY = st.text(st.characters(exclude_categories=[]), max_size=12)
ESCAPED = st.binary(max_size=12).map(lambda data: data.decode('utf-8', 'surrogateescape'))
VALUES = st.one_of(WORDS, WORDS, WORDS, ANY, ESCAPED, st.integers(), st.lists(WORDS, max_size=2))
HEADERS = st.lists(st.tuples(NAMES, VALUES), max_size=4)
KINDS = ['text/plain', 'text/html; charset=latin-1', 'a/b; charset=punycode', 'application/json']
BODIES = st.one_of(st.none(), WORDS, ANY, ESCAPED, st.binary(max_size=50))
TYPED = st.tuples(HEADERS, st.sampled_from([None, *KINDS])).map(
    lambda pair: [*pair[0], ('Content-Type', pair[1])]
)
PATHS = st.one_of(WORDS, WORDS, ANY, st.text('/.%41?#;é ', max_size=12)).map('/'.__add__)
METHODS = ['GET', 'head', 'POST', 'put', 'Delete', 'OPTIONS', 'PATCH', 'PROPFIND', 'M-SEARCH']

REQUESTS = st.fixed_dictionaries(
    {'method': st.sampled_from(METHODS), 'path': PATHS, 'headers': TYPED},
    optional={'query': st.one_of(WORDS, ANY, st.dictionaries(WORDS, WORDS)), 'body': BODIES},
)
RESPONSES = st.fixed_dictionaries(
    {'status': st.one_of(st.sampled_from([200, 204, 205, 304, 404]), st.integers(150, 650))},
    optional={'headers': TYPED, 'body': BODIES, 'reason': st.one_of(WORDS, ANY)},
)

# Parts of requests, valid and invalid.
PARTS = st.sampled_from(
    [
        *(method.encode() for method in METHODS),
        *b'\r\n|\r\n\r\n|\n|\r| |\t|:|,|;|\0|\xff|/|?|#|%|*|h|0|1|5|a|ffffffffffffffff'.split(b'|'),
        *b'GET / HTTP/1.1\r\n|POST / HTTP/1.1\r\n|GET / HTTP/1.0\r\n| HTTP/1.1\r\n'.split(b'|'),
        *b'Host: h\r\n|Content-Length: 5\r\n|Transfer-Encoding: chunked\r\n'.split(b'|'),
        *b'Connection: close\r\n|Connection: upgrade\r\n|Upgrade: websocket\r\n'.split(b'|'),
        *b'Expect: 100-continue\r\n|Content-Encoding: gzip\r\n|\r\nhello|X: y\r\n'.split(b'|'),
        *b'5\r\nhello\r\n|0\r\n\r\n|0\r\nX: y\r\n\r\n|\x1f\x8b\x08\0'.split(b'|'),
    ]
)
GOOD = st.sampled_from(
    [
        b'GET /1 HTTP/1.1\r\nHost: h\r\nX: y\r\n\r\n',
        b'POST /1 HTTP/1.1\r\nHost: h\r\nContent-Length: 5\r\n\r\nhello',
        b'POST /1 HTTP/1.1\r\nHost: h\r\nTransfer-Encoding: chunked\r\n\r\n5\r\nhello\r\n0\r\n\r\n',
    ]
)


@st.composite
def mutated(draw):
    """Draw valid requests in which some bytes are replaced."""
    data = b''.join(draw(st.lists(GOOD, min_size=1, max_size=3)))
    for _ in range(draw(st.integers(1, 3))):
        start = draw(st.integers(0, len(data)))
        end = draw(st.integers(start, min(len(data), start + 5)))
        data = data[:start] + draw(st.one_of(PARTS, st.binary(max_size=3))) + data[end:]
    return data


BYTES = st.one_of(st.binary(max_size=200), st.lists(PARTS, max_size=20).map(b''.join), mutated())


@contextlib.contextmanager
def listening(handler, **options):
    """Listen in an event loop that runs only on call; yield its ``run`` and the server."""
    with asyncio.Runner() as runner:
        server = runner.run(http.listen('127.0.0.1', 0, handler, **options).__aenter__())
        try:
            yield runner.run, server
        finally:
            runner.run(server.close(grace=0))


def normal(headers):
    """Return the fields that the library does not set, with their values as on the wire."""
    own = ONE_HOP | {'date', 'host', 'accept', 'accept-encoding', 'user-agent', 'content-type'}
    return http.Headers(
        (name, value.encode('utf-8', 'surrogateescape').decode('utf-8', 'surrogateescape'))
        for name, value in headers.items()
        if name.lower() not in own
    )


def test_any_request_arrives_as_it_was_sent():
    """In the normal form of ``to_request``; or it raises TableError, and nothing is sent."""
    seen = []

    def handler(request):
        seen.append(request)
        return {'status': 200}

    with listening(handler, into='bytes') as (run, server):

        @MANY
        @given(REQUESTS)
        def each(table):
            seen.clear()
            table = {'host': '127.0.0.1', 'port': server.port, **table}
            try:
                expected = to_request(table)
                headers = expected.headers.copy()
                body = wire_body(headers, expected.get('body', ''))
                if not all(map(is_clean, headers.values())):  # aiohttp would omit it
                    raise TableError('a header that is not UTF-8')
            except TableError:
                with pytest.raises(TableError):
                    run(http.request(table))
                assert [] == seen
                return
            assert 200 == run(http.request(table)).status
            [request] = seen
            assert (expected.method, expected.url) == (request.method, request.url)
            assert normal(headers) == normal(request.headers)
            assert body == request.get('body', b'')
            if body:
                assert headers.getall('Content-Type') == request.headers.getall('Content-Type')

        each()


def parsed(data):
    """Parse a raw response with the parser of the standard library."""

    class Socket:
        def makefile(self, mode):
            return io.BytesIO(data)

    response = HTTPResponse(Socket(), method='GET')
    response.begin()
    body = response.read()
    assert [] == [one for one in response.msg.defects if isinstance(one, MessageDefect)]
    pairs = [(name, value.encode('latin-1')) for name, value in response.msg.items()]
    return response.status, pairs, body


async def raw(server, data):
    """Send bytes; return everything received up to the end of the connection."""
    reader, writer = await asyncio.open_connection('127.0.0.1', server.port)
    writer.write(data)
    found = b''
    with contextlib.suppress(OSError):  # a reset: the server closed before it had read everything
        writer.write_eof()
        while more := await reader.read(65536):
            found += more
    writer.close()
    with contextlib.suppress(OSError):
        await writer.wait_closed()
    return found


def test_two_parsers_read_any_response_alike():
    """It is what the handler returned, in the normal form of ``to_response``; or it is a 500."""
    response_table = {}
    with listening(lambda request: response_table) as (run, server):

        @MANY
        @given(RESPONSES)
        def each(table):
            response_table.clear()
            response_table.update(table)
            try:
                expected = to_response(table)
                headers = expected.headers.copy()
                body = wire_body(headers, expected.body)
                f'{expected.get("reason")}'.encode('utf-8', 'surrogateescape')
                length = headers.get('Content-Length', '0')
                if expected.status == 304 and not (length.isascii() and length.isdigit()):
                    raise TableError('only a 304 has the Content-Length of the handler')
            except (TableError, UnicodeEncodeError):
                expected = to_response({'status': 500, 'body': PHRASES[500]})
                headers = expected.headers.copy()
                body = wire_body(headers, expected.body)
            data = run(raw(server, b'GET / HTTP/1.1\r\nHost: h\r\nConnection: close\r\n\r\n'))
            reason = expected.get('reason', PHRASES.get(expected.status, ''))
            line = f'HTTP/1.1 {expected.status} {reason}'.encode('utf-8', 'surrogateescape')
            assert line == data.partition(b'\r\n')[0]
            body = b'' if expected.status in STATUSES_WITHOUT_BODY else body
            status, pairs, found = parsed(data)
            assert (expected.status, body) == (status, found)
            own = ONE_HOP | {'date'}
            sent = [
                (name, value.encode('utf-8', 'surrogateescape'))
                for name, value in headers.items()
                if name.lower() not in own
            ]
            assert sent == [pair for pair in pairs if pair[0].lower() not in own]
            response = run(http.request(url=server.url, into='bytes', redirects=0))
            assert (expected.status, body) == (response.status, response.body)
            assert normal(headers) == normal(response.headers)

        each()


def statuses(data):
    """Return the status of each response; all have to be complete."""
    found = []
    while data:
        head, blank, data = data.partition(b'\r\n\r\n')
        line, *fields = head.split(b'\r\n')
        assert (b'HTTP/1.1 ', b'\r\n\r\n') == (line[:9], blank)
        lengths = [int(field[16:]) for field in fields if field.startswith(b'Content-Length: ')]
        found.append(int(line[9:12]))
        data = data[sum(lengths) if found[-1] != 100 else 0 :]
    return found


def test_no_bytes_break_a_server(caplog):
    """The connection ends, with or without responses; nothing is logged; the next one works."""

    def handler(request):
        return {'status': 204, 'headers': {'X': str(len(request.body or ''))}}

    options = {'head_timeout': 2, 'body_timeout': 2, 'keepalive_timeout': 2}
    with listening(handler, **options) as (run, server):

        @settings(MANY, max_examples=500)
        @given(BYTES)
        def each(data):
            found = statuses(run(raw(server, data)))
            assert set(found) <= {100, 204, 400, 408, 413, 417, 431, 501, 505}
            good = run(raw(server, b'GET / HTTP/1.1\r\nHost: h\r\n\r\n'))
            assert [204] == statuses(good)
            assert [] == [one for one in caplog.records if one.levelno >= logging.WARNING]

        each()
