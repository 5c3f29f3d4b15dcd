"""Request smuggling: what two parsers might read differently is read strictly or refused."""

import asyncio
import contextlib
import logging
import re

import pytest

import aioluahttp as http
from aioluahttp.exchange.options import Settings
from aioluahttp.exchange.responder import Responder
from aioluahttp.server.connection import Connections


def ask(*fields, line='GET /1 HTTP/1.1', body=b''):
    """Encode a request and a second one, which a wrong reading of the first would hide."""
    head = b'\r\n'.join((line.encode(), b'Host: h', *fields, b'\r\n'))
    return head + body + b'GET /2 HTTP/1.1\r\nHost: h\r\n\r\n'


def post(*fields, body=b'hello', line='POST /1 HTTP/1.1'):
    """Encode a request with a body."""
    return ask(*fields, line=line, body=body)


def chunked(body, *fields):
    """Encode a request with a chunked body."""
    return post(CHUNKED, *fields, body=body)


CHUNKED = b'Transfer-Encoding: chunked'
EMPTY = b'0\r\n\r\n'  # a complete chunked body without data
BOTH = ['POST /1 hello', 'GET /2']
NONE = ['POST /1 ', 'GET /2']
GETS = ['GET /1', 'GET /2']

# The bytes sent, and for each request what the handler saw, or the status if it is refused.
LENGTHS = {
    'one': (post(b'Content-Length: 5'), BOTH),
    'zeros': (post(b'Content-Length: 005'), BOTH),
    'blanks': (post(b'Content-Length:\t 5 \t'), BOTH),
    'in a GET': (post(b'Content-Length: 5', line='GET /1 HTTP/1.1'), ['GET /1 hello', 'GET /2']),
    'none': (post(body=b''), NONE),
    'two': (post(b'Content-Length: 5', b'Content-Length: 6'), [400]),
    'two of a kind': (post(b'Content-Length: 5', b'Content-Length: 5'), [400]),
    'a list': (post(b'Content-Length: 5, 5'), [400]),
    'a list of two': (post(b'Content-Length: 5, 6'), [400]),
    'plus': (post(b'Content-Length: +5'), [400]),
    'minus': (post(b'Content-Length: -5'), [400]),
    'underscore': (post(b'Content-Length: 5_0'), [400]),
    'hexadecimal': (post(b'Content-Length: 0x5'), [400]),
    'fraction': (post(b'Content-Length: 5.0'), [400]),
    'blank within': (post(b'Content-Length: 5 5'), [400]),
    'empty': (post(b'Content-Length:'), [400]),
    'Arabic': (post('Content-Length: ٥'.encode()), [400]),
    'past 64 bits': (post(b'Content-Length: 18446744073709551621'), [400]),
    '64 bits': (post(b'Content-Length: 18446744073709551615'), [413]),
    'folded': (post(b'Content-Length:\r\n 5'), [400]),
}
CODINGS = {
    'chunked': (post(CHUNKED, body=EMPTY), NONE),
    'in a GET': (post(CHUNKED, body=EMPTY, line='GET /1 HTTP/1.1'), ['GET /1 ', 'GET /2']),
    'in capitals': (post(b'TRANSFER-ENCODING: CHUNKED', body=EMPTY), NONE),
    'tab': (post(b'Transfer-Encoding:\tchunked', body=EMPTY), NONE),
    'with a length': (post(CHUNKED, b'Content-Length: 5', body=EMPTY), [400]),
    'after a length': (post(b'Content-Length: 5', CHUNKED, body=EMPTY), [400]),
    'a length of none': (post(b'Content-Length: 0', CHUNKED, body=EMPTY), [400]),
    'twice': (post(CHUNKED, CHUNKED, body=EMPTY), [400]),
    'a list of twice': (post(CHUNKED + b', chunked', body=EMPTY), [400]),
    'before another': (post(CHUNKED + b', gzip', body=EMPTY), [400]),
    'after another': (post(b'Transfer-Encoding: gzip, chunked', body=EMPTY), [501]),
    'after nothing': (post(b'Transfer-Encoding: ,chunked', body=EMPTY), [501]),
    'before nothing': (post(CHUNKED + b',', body=EMPTY), [400]),
    'before a field': (post(CHUNKED, b'Transfer-Encoding: gzip', body=EMPTY), [400]),
    'after a field': (post(b'Transfer-Encoding: gzip', CHUNKED, body=EMPTY), [400]),
    'identity': (post(b'Transfer-Encoding: identity', body=b''), [400]),
    'identity and a length': (post(b'Transfer-Encoding: identity', b'Content-Length: 5'), [400]),
    'empty': (post(b'Transfer-Encoding:', body=b''), [501]),
    'empty and a length': (post(b'Transfer-Encoding:', b'Content-Length: 5'), [501]),
    'longer': (post(b'Transfer-Encoding: xchunked', body=EMPTY), [400]),
    'longer still': (post(CHUNKED + b'x', body=EMPTY), [400]),
    'quoted': (post(b'Transfer-Encoding: "chunked"', body=EMPTY), [400]),
    'parameter': (post(CHUNKED + b';q=1', body=EMPTY), [400]),
    'vertical tab': (post(b'Transfer-Encoding: \x0bchunked', body=EMPTY), [400]),
    'blank behind': (post(CHUNKED + b' ', body=EMPTY), NONE),
    'blanks behind': (post(CHUNKED + b' \t', body=EMPTY), [400]),
    'blank before the colon': (post(b'Transfer-Encoding : chunked', body=EMPTY), [400]),
    'folded': (post(b'Transfer-Encoding:\r\n chunked', body=EMPTY), [400]),
    'folded to another': (post(b'X: y\r\n\tTransfer-Encoding: chunked', body=EMPTY), [400]),
    'behind a bare LF': (post(b'X: y\nTransfer-Encoding: chunked', body=EMPTY), [400]),
    'behind a bare CR': (post(b'X: y\rTransfer-Encoding: chunked', body=EMPTY), [400]),
    'another name': (post(b'Transfer_Encoding: chunked', body=b''), NONE),
    'HTTP/1.0': (post(CHUNKED, body=EMPTY, line='POST /1 HTTP/1.0'), [400]),
    'HTTP/1.0, kept': (
        post(CHUNKED, b'Connection: keep-alive', body=EMPTY, line='POST /1 HTTP/1.0'),
        [400],
    ),
}
CHUNKS = {
    'one': (chunked(b'5\r\nhello\r\n0\r\n\r\n'), BOTH),
    'two': (chunked(b'2\r\nhe\r\n3\r\nllo\r\n0\r\n\r\n'), BOTH),
    'extensions': (chunked(b'5;a=b;c="d"\r\nhello\r\n0\r\n\r\n'), BOTH),
    'leading zeros': (chunked(b'0' * 30 + b'5\r\nhello\r\n0\r\n\r\n'), BOTH),
    'a last chunk of zeros': (chunked(b'5\r\nhello\r\n000\r\n\r\n'), BOTH),
    'a last chunk of many zeros': (chunked(b'0' * 30 + b'\r\n\r\n'), NONE),
    'an extension that ends with zero': (chunked(b'5\r\nhello\r\n0;a=0\r\n\r\n'), BOTH[:1]),
    'a size that ends with zero': (
        chunked(b'10\r\n\r\n0\r\n\r\n0\r\n\r\nabcd\r\n0\r\n\r\n'),
        ['POST /1 \r\n0\r\n\r\n0\r\n\r\nabcd', 'GET /2'],
    ),
    'what looks like an end': (
        chunked(b'9\r\n\r\n0\r\n\r\n\r\n\r\n0\r\n\r\n'),
        ['POST /1 \r\n0\r\n\r\n\r\n', 'GET /2'],
    ),
    'blank behind': (chunked(b'5 \r\nhello\r\n0\r\n\r\n'), [400]),
    'tab behind': (chunked(b'5\t\r\nhello\r\n0\r\n\r\n'), [400]),
    'blank before': (chunked(b' 5\r\nhello\r\n0\r\n\r\n'), [400]),
    'plus': (chunked(b'+5\r\nhello\r\n0\r\n\r\n'), [400]),
    'minus': (chunked(b'-5\r\nhello\r\n0\r\n\r\n'), [400]),
    'prefix': (chunked(b'0x5\r\nhello\r\n0\r\n\r\n'), [400]),
    'underscore': (chunked(b'5_0\r\nhello\r\n0\r\n\r\n'), [400]),
    'no digit': (chunked(b'5g\r\nhello\r\n0\r\n\r\n'), [400]),
    'past 64 bits': (chunked(b'10000000000000005\r\nhello\r\n0\r\n\r\n'), [400]),
    'no size': (chunked(b'\r\nhello\r\n0\r\n\r\n'), [400]),
    'an extension alone': (chunked(b';a\r\nhello\r\n0\r\n\r\n'), [400]),
    'an empty extension': (chunked(b'5;\r\nhello\r\n0\r\n\r\n'), [400]),
    'blank before an extension': (chunked(b'5 ;a\r\nhello\r\n0\r\n\r\n'), [400]),
    'bare LF in an extension': (chunked(b'5;a\nhello\r\n0\r\n\r\n'), [400]),
    'bare CR in an extension': (chunked(b'5;a\rb\r\nhello\r\n0\r\n\r\n'), [400]),
    'CR LF in an extension': (chunked(b'5;a="\r\n"\r\nhello\r\n0\r\n\r\n'), [400]),
    'NUL in an extension': (chunked(b'5;a=\0\r\nhello\r\n0\r\n\r\n'), [400]),
    'bare LFs': (chunked(b'5\nhello\n0\n\n'), [400]),
    'bare LF behind a size': (chunked(b'5\nhello\r\n0\r\n\r\n'), [400]),
    'bare LF behind data': (chunked(b'5\r\nhello\n0\r\n\r\n'), [400]),
    'bare LF behind the last size': (chunked(b'5\r\nhello\r\n0\n\r\n'), [400]),
    'bare LF at the end': (chunked(b'5\r\nhello\r\n0\r\n\n'), [400]),
    'bare CR behind a size': (chunked(b'5\rhello\r\n0\r\n\r\n'), [400]),
    'nothing behind data': (chunked(b'5\r\nhello0\r\n\r\n'), [400]),
    'more data than said': (chunked(b'5\r\nhelloXX0\r\n\r\n'), [400]),
    'no end': (chunked(b'5\r\nhello\r\n'), [400]),
}
# aiohttp takes a trailer for a header of the next request, so nothing is read after a trailer.
TRAILERS = {
    'one': (chunked(b'5\r\nhello\r\n0\r\nX-Admin: yes\r\n\r\n'), BOTH[:1]),
    'of no chunks': (chunked(b'0\r\nX-Admin: yes\r\n\r\n'), NONE[:1]),
    'before chunks': (
        chunked(b'0\r\nX-Admin: yes\r\n\r\n') + chunked(b'0\r\n\r\n'),
        NONE[:1],
    ),
    'before a bad one': (chunked(b'0\r\nX-Admin: yes\r\n\r\n') + b'bad\r\n\r\n', NONE[:1]),
    'that looks like none': (chunked(b'5\r\nhello\r\n0\r\nX: 0\r\n\r\n'), BOTH[:1]),
    'an extension': (chunked(b'5\r\nhello\r\n0;a=b\r\n\r\n'), BOTH[:1]),
    'that ends with zeros': (chunked(b'5\r\nhello\r\n0\r\nX: 000\r\n\r\n'), BOTH[:1]),
    'of zeros': (chunked(b'5\r\nhello\r\n0\r\n0:0\r\n\r\n'), BOTH[:1]),
    'more zeros before': (chunked(b'5\r\nhello\r\n00\r\nX: 0\r\n\r\n'), BOTH[:1]),
    'Host': (chunked(b'5\r\nhello\r\n0\r\nHost: other\r\n\r\n'), BOTH[:1]),
    'Content-Length': (chunked(b'5\r\nhello\r\n0\r\nContent-Length: 5\r\n\r\n'), [400]),
    'Transfer-Encoding': (chunked(b'5\r\nhello\r\n0\r\nTransfer-Encoding: chunked\r\n\r\n'), [400]),
    'blank in a name': (chunked(b'5\r\nhello\r\n0\r\nX Y: z\r\n\r\n'), [400]),
    # Else it would pass for the end of a body without trailers.
    'a line of zeros': (chunked(b'5\r\nhello\r\n0\r\n00\r\n\r\n'), [400]),
    'a line of zeros behind another': (chunked(b'1\r\nh\r\n0\r\nX: y\r\n0\r\n\r\n'), [400]),
    'folded': (chunked(b'5\r\nhello\r\n0\r\nX: y\r\n z\r\n\r\n'), [400]),
    'bare LF': (chunked(b'5\r\nhello\r\n0\r\nX: y\n\r\n'), [400]),
    'NUL': (chunked(b'5\r\nhello\r\n0\r\nX: \0\r\n\r\n'), [400]),
    'too many': (chunked(b'0\r\n' + b'X: y\r\n' * 200 + b'\r\n'), [400]),
}
LINES = {
    'good': (ask(b'X: y'), GETS),
    'empty before': (b'\r\n\r\n' + ask(), GETS),
    'empty between': (ask(body=b'\r\n'), GETS),
    'two blanks': (ask(line='GET  /1 HTTP/1.1'), GETS),
    'tabs': (ask(line='GET\t/1\tHTTP/1.1'), [400]),
    'blank in the target': (ask(line='GET /1 x HTTP/1.1'), [400]),
    'blank behind': (ask(line='GET /1 HTTP/1.1 '), [400]),
    'bare LFs': (ask().replace(b'\r', b''), [400]),
    'bare CRs': (ask().replace(b'\n', b''), [400]),
    'bare LF behind a value': (ask(b'X: y\nY: z'), [400]),
    'bare CR behind a value': (ask(b'X: y\rY: z'), [400]),
    'CR CR LF': (ask(b'X: y\r'), [400]),
    'CR LF LF': (b'GET /1 HTTP/1.1\r\nHost: h\r\n\n' + ask(), [400]),
    'LF CR LF': (b'GET /1 HTTP/1.1\r\nHost: h\n\r\n' + ask(), [400]),
    'bare CR behind the line': (ask(line='GET /1 HTTP/1.1\rX: y'), [400]),
    'folded': (ask(b'X: y\r\n z'), [400]),
    'folded at once': (ask(line='GET /1 HTTP/1.1\r\n X: y'), [400]),
    'no name': (ask(b': x'), [400]),
    'no colon': (ask(b'X'), [400]),
    'blank in a name': (ask(b'X Y: z'), [400]),
    'blank before the colon': (ask(b'X : z'), [400]),
    'tab before the colon': (ask(b'X\t: z'), [400]),
    'a name that is not Latin': (ask('É: y'.encode()), [400]),
    'NUL': (ask(b'X: a\0b'), [400]),
    'DEL': (ask(b'X: a\x7fb'), [400]),
    'control': (ask(b'X: a\x01b'), [400]),
    'vertical tab': (ask(b'X: a\x0bb'), [400]),
    'no ASCII': (ask(b'X: \xff'), GETS),
    'no version': (ask(line='GET /1'), [505]),
    'HTTP/0.9': (b'GET /1\r\n\r\n' + ask(), [505]),
    'HTTP/1.2': (ask(line='GET /1 HTTP/1.2'), [400]),
    'HTTP/1.10': (ask(line='GET /1 HTTP/1.10'), [400]),
    'HTTP/01.1': (ask(line='GET /1 HTTP/01.1'), [400]),
    'http': (ask(line='GET /1 http/1.1'), [400]),
    'small method': (ask(line='get /1 HTTP/1.1'), [400]),
    'HTTP/2': (b'PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n', [400]),
}
GLUED = {
    'bad behind good': (ask(body=b'bad\r\n\r\n'), ['GET /1', 400]),
    'bad behind two': (ask() + b'bad\r\n\r\n' + ask(), [*GETS, 400]),
    'bad behind a body': (post(b'Content-Length: 5') + b'bad\r\n\r\n', [*BOTH, 400]),
    'bad behind chunks': (chunked(EMPTY) + b'bad\r\n\r\n', [*NONE, 400]),
    'an end of chunks behind good': (ask(body=EMPTY), ['GET /1', 400]),
    'behind a last one': (ask(b'Connection: close'), ['GET /1']),
    'behind HTTP/1.0': (ask(line='GET /1 HTTP/1.0'), ['GET /1']),
    'behind a last body': (post(b'Connection: close', b'Content-Length: 5'), BOTH[:1]),
    'behind an upgrade': (ask(b'Connection: upgrade', b'Upgrade: WebSocket'), ['GET /1']),
    'behind an upgrade with a body': (
        post(b'Connection: upgrade', b'Upgrade: websocket', b'Content-Length: 5'),
        BOTH[:1],
    ),
    'behind an unknown upgrade with a body': (
        post(b'Connection: upgrade', b'Upgrade: h2c', b'Content-Length: 5'),
        BOTH,
    ),
    'behind an unknown upgrade': (ask(b'Connection: upgrade', b'Upgrade: h2c'), GETS),
    'behind a tunnel': (ask(line='CONNECT h:80 HTTP/1.1'), [501]),
}
TABLES = (LENGTHS, CODINGS, CHUNKS, TRAILERS, LINES, GLUED)
NAMES = ('length', 'coding', 'chunks', 'trailers', 'line', 'glued')
CASES = [
    pytest.param(*case, id=f'{kind}: {name}')
    for kind, table in zip(NAMES, TABLES, strict=True)
    for name, case in table.items()
]


class RecordedConnections(Connections):
    """Connections that put each new connection and its transport into the queue ``made``."""

    def __init__(self, exchange):
        super().__init__(exchange)
        self.made = asyncio.Queue()

    def opened(self, connection, transport):
        super().opened(connection, transport)
        self.made.put_nowait((connection, transport))


@contextlib.asynccontextmanager
async def serving():
    """Serve a handler that returns what it sees; yield the connections, and a list of the same."""
    seen = []

    def handler(request):
        parts = request.method, request.url, request.body
        seen.append(' '.join(part for part in parts if part is not None))
        return {'status': 200, 'body': seen[-1]}

    settings = Settings(head_timeout=9, body_timeout=9)
    connections = RecordedConnections(Responder(handler, settings))
    server = await asyncio.get_running_loop().create_server(connections, '127.0.0.1', 0)
    try:
        yield connections, seen, server.sockets[0].getsockname()
    finally:
        server.close()
        await connections.close_all(1)
        await server.wait_closed()


def parse_responses(data):
    """Parse responses: the body of a 200, the status of any other."""
    found = []
    while data:
        head, _, data = data.partition(b'\r\n\r\n')
        line, *fields = head.decode().split('\r\n')
        [length] = [int(field[16:]) for field in fields if field.startswith('Content-Length: ')]
        status = int(line.split()[1])
        found.append(data[:length].decode() if status == 200 else status)
        data = data[length:]
    return found


async def feed(connections, address, pieces, turns):
    """Feed pieces to a new connection, some loop iterations apart; return the responses."""
    reader, writer = await asyncio.open_connection(*address)
    connection, transport = await connections.made.get()
    for piece in pieces:
        if transport.is_closing():
            break
        connection.data_received(piece)
        for _ in range(turns):
            await asyncio.sleep(0)
    with contextlib.suppress(OSError):
        writer.write_eof()
    found = parse_responses(await reader.read())
    writer.close()
    await writer.wait_closed()
    return found


async def outcome(server, pieces, turns):
    """Feed pieces to ``serving``; return the responses, after a check against what was seen."""
    connections, seen, address = server
    seen.clear()
    found = await feed(connections, address, pieces, turns)
    assert [one for one in found if isinstance(one, str)] == seen
    return found


@pytest.mark.parametrize(('data', 'expected'), CASES)
async def test_there_is_one_reading(caplog, data, expected):
    """A request is read as the standard says, or refused with one log record or none.

    The server closes the connection after a refusal, without waiting for the client.
    """
    caplog.set_level(logging.DEBUG, 'aioluahttp')
    async with serving() as (_, seen, address):
        reader, writer = await asyncio.open_connection(*address)
        writer.write(data)
        if expected[-1] == 'GET /2':
            writer.write_eof()
        found = parse_responses(await reader.read())
        writer.close()
        await writer.wait_closed()
    assert (expected, [one for one in expected if isinstance(one, str)]) == (found, seen)
    lines = [record.levelno for record in caplog.records if record.name != 'asyncio']
    assert lines in ([], [logging.INFO])


def cuts(data, expected):
    """Return the places to cut at, without those that other cases with the same bytes cover."""
    usual = ask(), chunked(b''), post(b'Content-Length: 5')
    start = max(
        next((at for at, two in enumerate(zip(data, one, strict=False)) if two[0] != two[1]), 1)
        for one in usual
    )
    return range(1 if expected[-1] == 'GET /2' else min(start, len(data) - 1), len(data) - 20)


@pytest.mark.parametrize(('data', 'expected'), CASES)
async def test_the_reading_is_the_same_however_the_bytes_are_cut(data, expected):
    """In two pieces at any place, or byte by byte; with or without time for responses between."""
    async with serving() as server:
        for cut in cuts(data, expected) if len(data) < 200 else ():
            found = await outcome(server, [data[:cut], data[cut:]], turns=8 * (cut % 2))
            assert (cut, expected) == (cut, found)
        for turns in 0, 1, 8:
            pieces = [data[at : at + 1] for at in range(len(data))]
            assert expected == await outcome(server, pieces, turns)


# A head as a proxy may write it: nothing that two parsers might read differently.
HEAD = re.compile(
    rb'([A-Z]+) (/[!-~]*|\*) HTTP/1\.1\r\n'
    rb"((?:[!#$%&'*+.^_`|~0-9A-Za-z-]+: [\t -~\x80-\xff]*\r\n)+)\r\n"
)
CHUNK = re.compile(rb'([1-9a-f][0-9a-f]*)\r\n')


def strictly(data):
    """Parse all requests of a connection as strictly as possible; the last may be incomplete."""
    found = []
    while data:
        head = HEAD.match(data)
        assert head or b'\r\n\r\n' not in data, data
        if head is None:
            break
        data = data[head.end() :]
        fields = [line.split(b': ', 1) for line in head[3].lower().splitlines()]
        names = [name for name, _ in fields]
        framing = [pair for pair in fields if b'content' in pair[0] or b'transfer' in pair[0]]
        assert 1 == names.count(b'host')
        assert len(framing) < 2
        line = b'%b %b' % head.groups()[:2]
        if not framing:
            found.append(line.decode())
            continue
        body, data = _strict_body(*framing[0], data)
        if body is None:
            break
        found.append((line + b' ' + body).decode())
    return found


def _strict_body(name, value, data):
    if name == b'content-length':
        size = int(re.fullmatch(rb'0|[1-9][0-9]*', value)[0])
        return (data[:size] if size <= len(data) else None), data[size:]
    assert (b'transfer-encoding', b'chunked') == (name, value)
    body = b''
    while not data.startswith(b'0\r\n\r\n'):
        chunk = CHUNK.match(data)
        if chunk is None:
            assert re.match(rb'\Z|[0-9a-f]*\r?\Z|0\r\n\r?\Z', data), data
            return None, b''
        size = int(chunk[1], 16)
        data = data[chunk.end() :]
        body += data[:size]
        if len(data) < size + 2:
            return None, b''
        assert data[size : size + 2] == b'\r\n'
        data = data[size + 2 :]
    return body, data[5:]


@contextlib.asynccontextmanager
async def relaying(raw_server):
    """Serve a reverse proxy; yield the bytes that its origin read on each connection."""
    read = []

    async def origin(line):
        mine = bytearray()
        read.append(mine)
        responses = 0
        while data := await line.reader.read(65536):
            mine += data
            found = strictly(bytes(mine))
            for one in found[responses:]:
                await line.send(b'HTTP/1.1 200 OK\r\nContent-Length: %d\r\n\r\n' % len(one))
                await line.send(one.encode())
            responses = len(found)

    async with raw_server(origin) as peer:
        handler = http.proxy(peer.url)
        settings = Settings(into=handler.into, head_timeout=9, body_timeout=9)
        connections = RecordedConnections(Responder(handler, settings))
        server = await asyncio.get_running_loop().create_server(connections, '127.0.0.1', 0)
        try:
            yield connections, read, server.sockets[0].getsockname()
        finally:
            server.close()
            await connections.close_all(1)
            await server.wait_closed()


@pytest.mark.parametrize(('data', 'expected'), CASES)
async def test_what_is_sent_on_has_one_reading(raw_server, data, expected):
    """A strict parser at the origin of a reverse proxy reads each accepted request as expected."""
    for size in len(data), 1:
        pieces = [data[at : at + size] for at in range(0, len(data), size)]
        async with relaying(raw_server) as (connections, read, address):
            found = await feed(connections, address, pieces, turns=1)
        whole = [one for mine in read for one in strictly(bytes(mine))]
        assert (expected, [one for one in expected if isinstance(one, str)]) == (found, whole)
