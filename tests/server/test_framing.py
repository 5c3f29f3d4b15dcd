"""Framing: heads and bodies cut at any byte, and the inner parts of aiohttp that this uses."""

import asyncio
import contextlib
import logging
from types import SimpleNamespace

import pytest
from aiohttp.http_exceptions import HttpProcessingError
from aiohttp.http_parser import RawRequestMessage
from aiohttp.streams import EMPTY_PAYLOAD, StreamReader
from aiohttp.web_protocol import RequestHandler, RequestPayloadError
from aiohttp.web_server import Server as LowLevelServer

import aioluahttp as http
from aioluahttp.server.framing import ROOM, FramedConnection

HEAD = b'GET / HTTP/1.1\r\nHost: h\r\n\r\n'


class Responding(FramedConnection):
    """A connection that responds with what was requested, once it may."""

    __slots__ = ('server',)

    def __init__(self, server):
        super().__init__(server, loop=asyncio.get_running_loop(), keepalive_timeout=0)
        self.server = server

    def connection_made(self, transport):
        super().connection_made(transport)
        self.server.made.put_nowait(self)

    def start_request(self):
        self.task = asyncio.create_task(self.respond())

    async def respond(self):
        self.server.called.set()
        await self.server.may_respond.wait()
        status = 200
        try:
            text = f'{self.head.method} {self.head.path} {len(await self.body.read())}'
        except RequestPayloadError as error:
            status, text = 400, str(error)
        self.write_response(status, text)
        self.finish_request()
        if status != 200 and self.transport is not None:
            self.transport.close()
        asyncio.get_running_loop().call_soon(self.data_received, b'')

    def write_response(self, status, text):
        option = '' if status == 200 else 'Connection: close\r\n'
        head = f'HTTP/1.1 {status} X\r\n{option}Content-Length: {len(text)}\r\n\r\n'
        if self.transport is not None:
            self.transport.write((head + text).encode())

    def reject(self, error):
        self.write_response(400, '')
        self.transport.close()


class Server(LowLevelServer):
    """A server of framed connections."""

    def __init__(self):
        super().__init__(None)
        self.made = asyncio.Queue()
        self.called, self.may_respond = asyncio.Event(), asyncio.Event()

    def __call__(self):
        return Responding(self)


@pytest.fixture
def framed(wire, until):
    """Connect a raw client: ``async with framed() as (server, connection, client)``.

    Args:
        responds: Whether the server responds at once, or waits for ``may_respond``.
    """

    @contextlib.asynccontextmanager
    async def connected(*, responds=True):
        server = Server()
        if responds:
            server.may_respond.set()
        listener = await asyncio.get_running_loop().create_server(server, '127.0.0.1', 0)
        address = SimpleNamespace(port=listener.sockets[0].getsockname()[1])
        try:
            async with wire(address) as client:
                connection = await server.made.get()
                yield server, connection, client
        finally:
            listener.close()
            server.may_respond.set()
            connection.force_close()
            await until(lambda: not server.connections)
            await listener.wait_closed()
            await asyncio.gather(*([connection.task] if connection.task else []))

    return connected


# What this library needs of aiohttp


@pytest.mark.parametrize(
    ('function', 'expected'),
    [
        (RequestHandler.start, ['self']),
        (RequestHandler.connection_lost, ['self', 'exc']),
        (RequestHandler.data_received, ['self', 'data']),
        (RequestHandler.pause_reading, ['self']),
        (RequestHandler.pause_writing, ['self']),
        (RequestHandler.resume_writing, ['self']),
        (RequestHandler.resume_reading, ['self', 'resume_parser']),
        (StreamReader.set_exception, ['self', 'exc', 'exc_cause']),
        (StreamReader.exception, ['self']),
        (StreamReader.feed_eof, ['self']),
        (StreamReader.is_eof, ['self']),
    ],
    ids=lambda value: getattr(value, '__qualname__', ''),
)
def test_aiohttp_takes_the_same_arguments(parameters, function, expected):
    """The methods of aiohttp that we override or call still have these parameters."""
    name = function.__qualname__
    assert expected == parameters(function), f'aiohttp: {name} takes other arguments now'


async def test_aiohttp_has_the_same_inner_parts(framed):
    """The private ``_parser`` and ``_upgraded``, and other undocumented parts, still exist."""
    async with framed() as (_, connection, _):
        parser = getattr(connection, '_parser', None)
        assert parser is not None, 'BaseProtocol._parser is the parser no more'
        assert connection._upgraded is False, 'BaseProtocol._upgraded is no more'
        found = parser.feed_data(b'POST / HTTP/1.1\r\nHost: h\r\nContent-Length: 2\r\n\r\n')
        assert 3 == len(found), 'feed_data gives no messages, upgrade and tail any more'
        ((message, payload),) = found[0]
        assert isinstance(payload, StreamReader), 'a message comes with no StreamReader any more'
        assert (False, False) == (message.chunked, message.upgrade), (
            'a message no longer says whether it is chunked, or asks for an upgrade'
        )
        assert ('POST', '/', False) == (message.method, message.path, message.should_close), (
            'a message has no method, path or should_close any more'
        )
        assert '2' == message.headers['Content-Length'], 'a message has no headers any more'
        assert not payload.is_eof(), 'a body is at its end before it has come'
        assert [] == list(parser.feed_data(b'a')[0]), 'a part of a body is a message now'
        parser.feed_data(b'b')
        assert payload.is_eof(), 'a body that has come is not at its end'
        ((_, payload),) = parser.feed_data(HEAD)[0]
        assert EMPTY_PAYLOAD is payload, 'a request without a body comes with another reader now'
        with pytest.raises(HttpProcessingError):
            parser.feed_data(b'bad\r\n\r\n')
    assert EMPTY_PAYLOAD.is_eof(), 'EMPTY_PAYLOAD is not at its end'
    fields = {'upgrade', 'chunked', 'headers', 'method', 'path', 'version', 'should_close'}
    assert fields <= set(dir(RawRequestMessage))


async def test_aiohttp_parses_on_after_message_consumed(framed):
    """Without ``message_consumed`` a connection would stop after some requests."""
    async with framed() as (_, connection, _):
        found = 0
        for _ in range(100):
            messages = connection._parser.feed_data(HEAD)[0]
            found += len(messages)
            for _ in messages:
                connection._parser.message_consumed()
    assert 100 == found, 'message_consumed does not make room any more'


@pytest.mark.parametrize('upgrade', ['websocket', 'websocket, foo', 'tcp', 'h2c', 'TLS/1.0'])
async def test_aiohttp_parses_on_after_an_upgrade_that_is_ignored(framed, upgrade):
    """Behind a WebSocket upgrade its parser does so only after ``set_upgraded(False)``."""
    async with framed() as (_, connection, _):
        parser = connection._parser
        head = f'GET / HTTP/1.1\r\nHost: h\r\nConnection: upgrade\r\nUpgrade: {upgrade}\r\n\r\n'
        (((message, _),), upgraded, _) = parser.feed_data(head.encode())
        assert message.upgrade, 'aiohttp does not report an upgrade any more'
        assert (upgrade == 'websocket') is upgraded, 'aiohttp keeps what follows other upgrades now'
        parser.set_upgraded(False)
        parser.message_consumed()
        found, upgraded, _ = parser.feed_data(HEAD)
    assert (1, False) == (len(found), upgraded), 'set_upgraded(False) does not end an upgrade'


async def test_aiohttp_resumes_with_an_empty_read(framed):
    """``resume_reading`` calls ``data_received(b'')``, so that held bytes are parsed."""
    came = []

    class Watched(Responding):
        def data_received(self, data):
            came.append(data)

    async with framed() as (server, _, _):
        connection = Watched(server)
        connection.resume_reading()
        assert [] == came, 'there was no pause'
        connection.paused = True
        connection.resume_reading()
        assert [b''] == came, 'resume_reading does not call data_received any more'
        connection.paused = True
        connection.resume_reading(resume_parser=False)
        assert [b''] == came, 'resume_reading calls data_received at the end of a body, too'


# Heads


@pytest.mark.parametrize('step', [1, 5, len(HEAD)])
async def test_in_head_is_true_from_the_first_byte_of_a_head_to_its_last(framed, step):
    """This holds for the first head and for those behind other requests."""
    async with framed() as (_, connection, client):
        assert not connection.in_head
        for start in range(0, len(HEAD), step):
            connection.data_received(HEAD[start : start + step])
            assert connection.in_head is (start + step < len(HEAD))
        assert b'GET / 0' == (await client.read_response())[2]
        connection.data_received(HEAD + HEAD[:step])
        for _ in range(1 if step < len(HEAD) else 2):
            assert b'GET / 0' == (await client.read_response())[2]
        assert connection.in_head is (step < len(HEAD))
        connection.data_received(HEAD[step:])
        assert not connection.in_head


@pytest.mark.parametrize('cut', range(1, 4))
async def test_the_end_of_a_head_may_come_in_parts(framed, cut):
    """The end of a head is found even if it is cut, with the next head behind it."""
    async with framed(responds=False) as (_, connection, _):
        connection.data_received(HEAD[:-cut])
        assert (False, True) == (connection.busy, connection.in_head)
        connection.data_received(HEAD[-cut:] + b'G')
        assert (True, b'G') == (connection.busy, connection.held)


async def test_in_head_is_false_during_a_body(framed):
    """The bytes behind the body are held until the response is sent."""
    async with framed(responds=False) as (_, connection, _):
        connection.data_received(b'POST / HTTP/1.1\r\nHost: h\r\nContent-Length: 2\r\n\r\n')
        for piece, held in [(b'a', b''), (b'b', b''), (b'G', b'G')]:
            connection.data_received(piece)
            assert (False, held) == (connection.in_head, connection.held)


async def test_many_pipelined_requests_get_responses_in_order(wire):
    """500 requests, more than may be held, and a bad one at the end."""
    asked = [f'/{number}' for number in range(500)]
    async with http.listen('127.0.0.1', 0, echo) as server, wire(server) as client:
        for path in asked:
            client.send_request(f'GET {path}')
        client.send(b'bad\r\n\r\n')
        found = [(await client.read_response())[2].decode().split()[1] for _ in asked]
        assert (asked, 400) == (found, (await client.read_response())[0])


async def test_reading_stops_when_enough_is_held(framed):
    """Bytes behind a request are held unparsed; reading stops above ``ROOM`` until the response."""
    count = ROOM // len(HEAD) + 2
    async with framed(responds=False) as (server, connection, client):
        connection.data_received(HEAD * 2)
        assert (HEAD, True) == (connection.held, connection.transport.is_reading())
        connection.data_received(HEAD * (count - 2))
        assert (HEAD * (count - 1), False) == (connection.held, connection.transport.is_reading())
        server.may_respond.set()
        for _ in range(count):
            assert b'GET / 0' == (await client.read_response())[2]
        assert (b'', True) == (connection.held, connection.transport.is_reading())


async def test_nothing_is_parsed_after_the_last_request(framed):
    """Later bytes are dropped, and so is the empty read that follows a pause."""
    async with framed() as (_, connection, _):
        connection.ended = True
        for data in HEAD, b'':
            connection.data_received(data)
        assert (False, b'', False) == (connection.busy, connection.held, connection.in_head)


# Bodies


@pytest.mark.parametrize('chunks', [False, True])
async def test_reading_stops_while_a_body_is_not_read(framed, until, chunks):
    """No more of the body is read than fits the buffers; the next request comes after it."""
    size = 3_000_000
    body = b'\r\n\r\n' * (size // 4)
    async with framed(responds=False) as (server, connection, client):
        if chunks:
            body = b'%x\r\n%b\r\n0\r\n\r\n' % (size, body)
            client.send_request('POST /1', 'Transfer-Encoding: chunked', body=body)
        else:
            client.send_request('POST /1', f'Content-Length: {size}', body=body)
        client.send_request('GET /2')
        await until(lambda: connection.paused)
        assert not connection.transport.is_reading()
        assert connection.body.total_bytes + len(connection.held) < 1_500_000
        server.may_respond.set()
        found = [(await client.read_response())[2].decode() for _ in range(2)]
        assert not connection.paused
    assert [f'POST /1 {size}', 'GET /2 0'] == found


@pytest.mark.parametrize('behind', [b'', HEAD])
async def test_bytes_behind_an_unread_body_are_held(framed, behind):
    """They are parsed once the body is read; the body ends even if nothing more comes."""
    size = 600_000  # more than aiohttp buffers
    async with framed(responds=False) as (server, connection, client):
        connection.data_received(f'POST /1 HTTP/1.1\r\nHost: h\r\nContent-Length: {size}'.encode())
        connection.data_received(b'\r\n\r\n' + b'x' * size + behind)
        assert (True, behind, True) == (connection.paused, connection.held, connection.busy)
        server.may_respond.set()
        assert b'POST /1 %d' % size == (await client.read_response())[2]
        if behind:
            assert b'GET / 0' == (await client.read_response())[2]


async def test_content_length_may_have_thousands_of_leading_zeros(framed):
    """The parser accepts them, and ``int`` would refuse that many digits."""
    async with framed() as (_, connection, client):
        length = '0' * 5000 + '2'
        connection.data_received(f'POST / HTTP/1.1\r\nHost: h\r\nContent-Length: {length}'.encode())
        connection.data_received(b'\r\n\r\nab' + HEAD)
        assert b'POST / 2' == (await client.read_response())[2]
        assert b'GET / 0' == (await client.read_response())[2]


async def test_a_request_in_the_same_read_as_the_end_of_a_body_is_parsed(framed, until):
    """Also after many bodies on one connection, where aiohttp's parser would keep the bytes."""
    async with framed() as (_, connection, client):
        for number in range(40):
            connection.data_received(
                f'POST /{number} HTTP/1.1\r\nHost: h\r\nContent-Length: 2\r\n\r\n'.encode()
            )
            connection.data_received(b'ab' + HEAD)
            found = [(await client.read_response())[2] for _ in range(2)]
            assert [b'POST /%d 2' % number, b'GET / 0'] == found


@pytest.mark.parametrize(
    'behind',
    [
        b'',
        HEAD,
        HEAD * 100,
        b'POST / HTTP/1.1\r\nHost: h\r\nTransfer-Encoding: chunked\r\n\r\n1\r\nx\r\n0\r\n\r\n',
        b'bad\r\n\r\n',
    ],
)
@pytest.mark.parametrize('fields', [[], ['Connection: upgrade', 'Upgrade: h2c']])
async def test_trailers_are_no_headers_of_the_next_request(wire, behind, fields):
    """A request with trailers is the last of its connection, and its response says so."""
    seen = []

    def handler(request):
        seen.append((request.url, list(request.headers)))
        return {'status': 200}

    async with http.listen('127.0.0.1', 0, handler) as server, wire(server) as client:
        client.send_request(
            'POST /1',
            'Transfer-Encoding: chunked',
            *fields,
            body=b'1\r\na\r\n0\r\nX-Admin: yes\r\n\r\n' + behind,
        )
        status, headers, _ = await client.read_response()
        assert (200, 'close', b'') == (status, headers['Connection'], await client.rest())
    names = ['Host', 'Transfer-Encoding', *(field.partition(':')[0] for field in fields)]
    assert [('/1', names)] == seen


@pytest.mark.parametrize('more', [b'', b'GET /2 HTTP/1.1\r\nHost: h\r\n\r\n'])
@pytest.mark.parametrize(
    ('upgrade', 'option', 'closes'),
    [
        ('websocket', 'upgrade', True),
        ('WebSocket', 'Upgrade', True),
        ('foo, websocket', 'keep-alive, Upgrade', True),
        ('websocket', 'keep-alive', False),  # asks for no upgrade
        ('h2c', 'upgrade', False),
    ],
)
async def test_a_declined_websocket_ends_the_connection(wire, upgrade, option, closes, more):
    """aiohttp would parse later bytes unseen. Other upgrades do not end the connection."""
    async with http.listen('127.0.0.1', 0, echo) as server, wire(server) as client:
        fields = f'Connection: {option}', f'Upgrade: {upgrade}', 'Content-Length: 2'
        client.send_request('POST /1', *fields, 'Expect: 100-continue', body=b'a')
        await client.reader.readuntil(b'\r\n\r\n')  # the request has started
        client.send(b'b' + more)
        status, headers, body = await client.read_response()
        expected = 200, 'close' if closes else None, b'POST /1 2'
        assert expected == (status, headers.get('Connection'), body)
        with contextlib.suppress(OSError):  # it may be closed already
            client.writer.write_eof()
        assert (b'GET /2 0' in await client.rest()) is (bool(more) and not closes)


@pytest.mark.parametrize('body', [b'', b'ab'])
async def test_an_upgrade_in_http_1_0_is_ignored(wire, body):
    """Also if the connection is kept (RFC 9110 7.8)."""
    async with http.listen('127.0.0.1', 0, echo) as server, wire(server) as client:
        fields = f'Upgrade: websocket\r\nContent-Length: {len(body)}\r\n\r\n'
        head = f'POST /1 HTTP/1.0\r\nConnection: keep-alive, upgrade\r\n{fields}'.encode()
        client.send((head + body) * 2)
        for _ in range(2):
            status, headers, text = await client.read_response()
            found = status, headers['Connection'], text
            assert (200, 'keep-alive', b'POST /1 %d' % len(body)) == found


def echo(request):
    """Respond with method, URL and body length."""
    return {'status': 200, 'body': f'{request.method} {request.url} {len(request.body or "")}'}


# Bodies that break


@pytest.mark.parametrize('options', [{'max_body': 1}, {'max_concurrent': 1}])
async def test_a_broken_body_behind_a_refusal_is_not_logged(wire, caplog, options):
    """A body that breaks after its request was refused causes no log record."""
    called, may_respond = asyncio.Event(), asyncio.Event()

    async def handler(request):
        called.set()
        await may_respond.wait()
        return {'status': 200}

    async with (
        http.listen('127.0.0.1', 0, handler, **options) as server,
        wire(server) as other,
        wire(server) as client,
    ):
        other.send_request('GET /')
        await called.wait()
        client.send_request('POST /', 'Transfer-Encoding: chunked', body=b'5\r\nhello\r\n')
        status, headers, _ = await client.read_response()
        client.send(b'no size\r\n')
        assert ('close', b'') == (headers['Connection'], await client.rest())
        may_respond.set()
        await other.read_response()
    assert status == (413 if 'max_body' in options else 503)
    assert [] == [record for record in caplog.records if record.levelno > logging.INFO]


PADDED = {
    'an extension': b'1;' + b'x' * 5_000_000,
    'an extension that ends': b'1;' + b'x' * 20_000 + b'\r\nx\r\n0\r\n\r\n',
    'zeros': b'0' * 5_000_000,
    'zeros before a size': b'0' * 20_000 + b'1\r\nx\r\n0\r\n\r\n',
    'extensions of many chunks': b'1;' + b'x' * 90 + b'\r\nx\r\n',
    'trailers': b'1\r\nx\r\n0\r\n' + b'X: %b\r\n' % (b'x' * 5_000) * 4 + b'\r\n',
    'an extension of the last chunk': b'0;' + b'x' * 20_000 + b'\r\n\r\n',
}
PADDED['extensions of many chunks'] *= 300
GET = b'GET /2 HTTP/1.1\r\nHost: h\r\n\r\n'


@pytest.mark.parametrize('padded', PADDED.values(), ids=PADDED)
@pytest.mark.parametrize('options', [{'max_body': 1000}, {'max_body': None}, {'into': 'stream'}])
async def test_what_a_body_has_beside_its_data_is_limited(wire, caplog, padded, options):
    """16 KiB of extensions, padding and trailers are accepted, then follow a 400 and the end."""

    async def count(request):
        body = await request.body.read() if 'into' in options else request.body
        return {'status': 200, 'body': f'{request.url} {len(body)}'}

    async with http.listen('127.0.0.1', 0, count, **options) as server, wire(server) as client:
        client.send_request('POST /1', 'Content-Length: 0')
        assert b'/1 0' == (await client.read_response())[2]
        client.send_request('POST /2', 'Transfer-Encoding: chunked', body=padded + GET)
        status, headers, _ = await client.read_response()
        assert (400, 'close') == (status, headers['Connection'])
        with contextlib.suppress(ConnectionError):  # reset, where much was still on its way
            assert b'' == await client.rest()
    assert [] == [record for record in caplog.records if record.levelno > logging.INFO]


@pytest.mark.parametrize('upgrade', [(), ('Connection: upgrade', 'Upgrade: websocket')])
async def test_a_callback_may_ignore_a_body_with_too_many_extensions(wire, until, upgrade):
    """Its response is sent, and is the last; nothing is opened behind such a body."""
    head = 'POST /1', 'Transfer-Encoding: chunked', *upgrade
    called, may_respond = asyncio.Event(), asyncio.Event()

    async def ignore(request):
        called.set()
        await may_respond.wait()
        return {'status': 200}

    listening = http.listen('127.0.0.1', 0, ignore, into='stream')
    async with listening as server, wire(server) as client:
        client.send_request(*head, body=PADDED['zeros before a size'] + GET)
        await called.wait()
        may_respond.set()
        status, headers, _ = await client.read_response()
        assert (200, 'close', b'') == (status, headers['Connection'], await client.rest())


@pytest.mark.parametrize(
    'body',
    [
        b'1;' + b'x' * 16_000 + b'\r\nx\r\n0\r\n\r\n',
        b'0' * 16_000 + b'1\r\nx\r\n' + b'0' * 50 + b'\r\n\r\n',
        b'1;ab=cd\r\nx\r\n' + b'1\r\n.\r\n' * 50_000 + b'0\r\n\r\n',
    ],
)
async def test_few_extensions_are_accepted_in_each_body(wire, body):
    """The connection goes on, and each body has a limit of its own."""
    size = max(1, body.count(b'.') + 1)
    async with http.listen('127.0.0.1', 0, echo) as server, wire(server) as client:
        for _ in range(3):
            client.send_request('POST /', 'Transfer-Encoding: chunked', body=body)
        for _ in range(3):
            assert b'POST / %d' % size == (await client.read_response())[2]


async def test_a_body_with_broken_framing_is_a_400(framed, until, caplog):
    """Its reader gets an error, though aiohttp's parser does not set one."""
    async with framed(responds=False) as (server, connection, client):
        client.send_request('POST /', 'Transfer-Encoding: chunked', body=b'5\r\nhello\r\n')
        await until(lambda: connection.busy)
        client.send(b'no size\r\n')
        await until(connection.body.is_eof)
        assert isinstance(connection.body.exception(), RequestPayloadError)
        server.may_respond.set()
        status, headers, _ = await client.read_response()
        assert (400, 'close', b'') == (status, headers['Connection'], await client.rest())
    assert [] == [record for record in caplog.records if record.levelno > logging.INFO]


async def test_an_invalid_request_is_a_400(framed):
    """It is the last request of its connection."""
    async with framed() as (_, connection, client):
        connection.data_received(b'bad\r\n\r\n' + HEAD)
        assert 400 == (await client.read_response())[0]
        assert (True, False, b'') == (connection.ended, connection.busy, connection.held)


async def test_the_reader_of_a_body_gets_an_error_if_the_connection_is_lost(framed, until):
    """The error is what ended the connection, or a ConnectionResetError."""
    async with framed(responds=False) as (_, connection, client):
        client.send_request('POST /', 'Content-Length: 9', body=b'x')
        await until(lambda: connection.busy)
        client.writer.write_eof()
        await until(connection.body.exception)
        assert isinstance(connection.body.exception(), ConnectionResetError)
        connection.body.set_exception(RequestPayloadError('to end the response'))


# WebSockets


class RecordingChannel:
    """A WebSocket that records the bytes that it is fed."""

    def __init__(self):
        self.got, self.ended = b'', False

    def feed_data(self, data):
        self.got += data

    def feed_eof(self):
        self.ended = True


ASKING = b'GET / HTTP/1.1\r\nHost: h\r\nConnection: Upgrade\r\nUpgrade: websocket\r\n'


@pytest.mark.parametrize('body', [b'', b'abc'])
@pytest.mark.parametrize('step', [1, 7, 1000])
async def test_bytes_behind_an_upgrade_are_held_for_the_websocket(framed, until, body, step):
    """No byte is lost, wherever the bytes are cut, before and after the response."""
    length = b'Content-Length: %d\r\n' % len(body) if body else b''
    frames = bytes(range(256)) * 2
    sent = ASKING + length + b'\r\n' + body + frames
    async with framed(responds=False) as (server, connection, client):
        for start in range(0, len(sent), step):
            client.send(sent[start : start + step])
            await asyncio.sleep(0)
        await server.called.wait()
        await until(lambda: frames == connection.held)
        assert connection.upgrade
        channel = RecordingChannel()
        connection.become(channel)
        client.send(b'more')
        await until(lambda: frames + b'more' == channel.got)
        client.writer.write_eof()
        await until(lambda: channel.ended)


async def test_reading_stops_when_enough_is_held_for_a_websocket(framed, until):
    """Reading goes on once the connection has become a WebSocket."""
    frames = b'x' * 10_000_000
    async with framed(responds=False) as (_, connection, client):
        client.send(ASKING + b'\r\n' + frames)
        await until(lambda: connection.full)
        held = len(connection.held)
        assert ROOM < held < 2**20
        channel = RecordingChannel()
        connection.become(channel)
        assert held <= len(channel.got)
        await until(lambda: len(frames) == len(channel.got))


async def test_aiohttp_pauses_only_the_transport_of_a_websocket(framed, until):
    """Its parser refuses to pause between two requests."""
    async with framed(responds=False) as (_, connection, client):
        client.send(ASKING + b'\r\n')
        await until(lambda: connection.upgrade)
        connection.become(RecordingChannel())
        connection.pause_reading()
        assert not connection.transport.is_reading()
        connection.resume_reading()
        assert connection.transport.is_reading()


@pytest.mark.parametrize('unit', [b'\r\n', b'\n', b'\r'])
@pytest.mark.parametrize('size', [1, 60_000])
async def test_empty_lines_before_a_request_are_limited(wire, unit, size):
    """Some are skipped, also between requests; over 16 KiB of them are a 400, however they come."""
    listening = http.listen('127.0.0.1', 0, lambda request: {'status': 200})
    async with listening as server, wire(server) as client:
        for _ in range(3):
            client.send(unit * (8000 // len(unit)))
            client.send_request('GET /')
            assert 200 == (await client.read_response())[0]
        for _ in range(20_000 // size + 1):
            client.send(unit * size)
            await client.writer.drain()
        assert 400 == (await client.read_response())[0]
        assert b'' == await client.rest()
