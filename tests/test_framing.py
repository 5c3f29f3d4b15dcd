"""Bytes cut into heads and bodies, however they come, and what of aiohttp's inside that needs."""

import asyncio
import contextlib
import logging
from collections import deque
from types import SimpleNamespace

import pytest
from aiohttp import web_protocol
from aiohttp.http_parser import RawRequestMessage
from aiohttp.streams import EMPTY_PAYLOAD, StreamReader
from aiohttp.web import Response
from aiohttp.web_protocol import RequestHandler, RequestPayloadError
from aiohttp.web_request import BaseRequest
from aiohttp.web_server import Server as LowLevelServer

import aioluahttp as http
from aioluahttp.framing import UPGRADES, WAITING, Framed

HEAD = b'GET / HTTP/1.1\r\nHost: h\r\n\r\n'


class Server(LowLevelServer):
    """A server of framed connections, which answers what was asked, but only when it may."""

    def __init__(self):
        super().__init__(self.answer, request_factory=self.taken_up)
        self.made = asyncio.Queue()  # connections, with their transports
        self.called, self.may_answer = asyncio.Event(), asyncio.Event()

    def __call__(self):
        return Framed(self, loop=asyncio.get_running_loop(), access_log=None)

    def connection_made(self, handler, transport):
        super().connection_made(handler, transport)
        self.made.put_nowait((handler, transport))

    def taken_up(self, message, body, connection, writer, task):
        connection.take_up(message, body)
        return BaseRequest(message, body, connection, writer, task, asyncio.get_running_loop())

    async def answer(self, raw):
        self.called.set()
        await self.may_answer.wait()
        try:
            text = f'{raw.method} {raw.raw_path} {len(await raw.content.read())}'
        except RequestPayloadError as error:
            broken = Response(status=400, text=str(error))
            broken.force_close()
            return broken
        return Response(text=text)


@pytest.fixture
def framed(wire, until):
    """Connect a raw client: ``async with framed() as (server, connection, client)``.

    Args:
        answers: Whether the server answers at once, or waits for ``may_answer``.
    """

    @contextlib.asynccontextmanager
    async def connected(*, answers=True):
        server = Server()
        if answers:
            server.may_answer.set()
        listener = await asyncio.get_running_loop().create_server(server, '127.0.0.1', 0)
        address = SimpleNamespace(port=listener.sockets[0].getsockname()[1])
        async with wire(address) as client:
            connection, _ = await server.made.get()
            yield server, connection, client
        listener.close()
        server.may_answer.set()
        connection.force_close()
        await until(lambda: not server.connections)
        await listener.wait_closed()

    return connected


# What aiohttp must go on to do


@pytest.mark.parametrize(
    ('function', 'expected'),
    [
        (RequestHandler.data_received, ['self', 'data']),
        (RequestHandler.pause_reading, ['self']),
        (RequestHandler.resume_reading, ['self', 'resume_parser']),
        (StreamReader.set_exception, ['self', 'exc', 'exc_cause']),
        (StreamReader.feed_eof, ['self']),
        (StreamReader.is_eof, ['self']),
    ],
    ids=lambda value: getattr(value, '__qualname__', ''),
)
def test_aiohttp_takes_the_same_arguments(parameters, function, expected):
    """What is overridden or called has the parameters that it had."""
    name = function.__qualname__
    assert expected == parameters(function), f'aiohttp: {name} takes other arguments now'


async def test_aiohttp_has_the_same_inner_parts(framed, until):
    """The one private name, ``_messages``, and the other things of which no page tells."""
    async with framed() as (_, connection, client):
        assert isinstance(getattr(connection, '_messages', None), deque), (
            'RequestHandler._messages is no deque any more'
        )
        connection.data_received(b'POST / HTTP/1.1\r\nHost: h\r\nContent-Length: 2\r\n\r\n')
        [pair] = connection.waiting
        assert (tuple, 2) == (type(pair), len(pair)), '_messages holds no pairs any more'
        message, payload = pair
        assert isinstance(payload, StreamReader), '_messages holds no StreamReader as the second'
        assert (False, False) == (message.chunked, message.upgrade), (
            'a message no longer says whether it is chunked, or asks for an upgrade'
        )
        assert '2' == message.headers['Content-Length'], 'a message has no headers any more'
        assert not payload.is_eof(), 'a body is at its end before it has come'
        connection.data_received(b'a')
        assert 1 == payload.total_bytes, 'StreamReader.total_bytes is not what came any more'
        connection.data_received(b'b')
        assert payload.is_eof(), 'a body that has come is not at its end'
        assert b'POST / 2' == (await client.answer())[2]
        assert 'no' == ('no' if not connection.waiting else 'yes'), 'what is taken up is not taken'
        connection.data_received(b'bad\r\n\r\n')
        [(error, payload)] = connection.waiting
        assert payload.is_eof(), 'a request that cannot be read has a body now'
        assert not hasattr(error, 'upgrade'), 'a request that cannot be read may upgrade now'
    assert EMPTY_PAYLOAD.is_eof(), 'EMPTY_PAYLOAD is not at its end'
    assert WAITING == web_protocol.MAX_MSG_QUEUE_SIZE, 'aiohttp lets another number of them wait'
    assert {'upgrade', 'chunked', 'headers'} <= set(dir(RawRequestMessage))


@pytest.mark.parametrize('upgrade', [*UPGRADES, 'tcp', 'h2c', 'TLS/1.0'])
async def test_aiohttp_keeps_what_follows_these_upgrades(framed, upgrade):
    """And no others: what it keeps to itself, nobody else sees."""
    async with framed() as (_, connection, _):
        head = f'GET / HTTP/1.1\r\nHost: h\r\nConnection: upgrade\r\nUpgrade: {upgrade}\r\n\r\n'
        for _ in range(2):
            RequestHandler.data_received(connection, head.encode())
        found = len(connection.waiting)
    kept = 'aiohttp keeps what follows other upgrades now'
    assert (1 if upgrade in UPGRADES else 2) == found, kept


async def test_aiohttp_goes_on_after_a_pause_with_no_bytes(framed):
    """So what was held is read on, though the peer may have nothing more to say."""
    came = []

    class Watched(Framed):
        def data_received(self, data):
            came.append(data)

    async with framed() as (server, _, _):
        connection = Watched(server, loop=asyncio.get_running_loop())
        connection.resume_reading()
        assert [b''] == came, 'resume_reading does not call data_received any more'
        connection.resume_reading(resume_parser=False)
        assert [b''] == came, 'resume_reading calls data_received at the end of a body, too'


# Heads


@pytest.mark.parametrize('step', [1, 5, len(HEAD)])
async def test_it_is_known_whether_a_head_has_begun(framed, step):
    """From its first byte to its last, also behind other requests."""
    async with framed() as (_, connection, client):
        assert not connection.in_head
        for start in range(0, len(HEAD), step):
            connection.data_received(HEAD[start : start + step])
            assert connection.in_head is (start + step < len(HEAD))
        assert b'GET / 0' == (await client.answer())[2]
        connection.data_received(HEAD + HEAD[:step])
        assert connection.in_head is (step < len(HEAD))
        connection.data_received(HEAD[step:])
        assert not connection.in_head


@pytest.mark.parametrize('cut', range(1, 4))
async def test_the_end_of_a_head_may_come_in_parts(framed, cut):
    """With the next one behind it, which has begun then."""
    async with framed(answers=False) as (_, connection, _):
        connection.data_received(HEAD[:-cut])
        connection.data_received(HEAD[-cut:] + b'G')
        assert (1, True) == (len(connection.waiting), connection.in_head)


async def test_a_body_is_no_part_of_a_head(framed):
    """Nor is what ends one, and what comes behind it is."""
    async with framed(answers=False) as (_, connection, _):
        connection.data_received(b'POST / HTTP/1.1\r\nHost: h\r\nContent-Length: 2\r\n\r\n')
        for piece, in_head in [(b'a', False), (b'b', False), (b'G', True)]:
            connection.data_received(piece)
            assert connection.in_head is in_head


async def test_many_requests_at_once_are_answered_in_order(wire):
    """More than may wait, with a bad one at the end."""
    asked = [f'/{number}' for number in range(500)]
    async with http.listen('127.0.0.1', 0, echo) as server, wire(server) as client:
        for path in asked:
            client.ask(f'GET {path}')
        client.send(b'bad\r\n\r\n')
        found = [(await client.answer())[2].decode().split()[1] for _ in asked]
        assert (asked, 400) == (found, (await client.answer())[0])


async def test_no_more_requests_are_read_than_may_wait(framed):
    """The others are held as they came, and read when there is room."""
    async with framed(answers=False) as (server, connection, client):
        connection.data_received(HEAD * WAITING * 2)
        assert (WAITING, HEAD * WAITING) == (len(connection.waiting), connection.held)
        server.may_answer.set()
        for _ in range(WAITING * 2):
            assert b'GET / 0' == (await client.answer())[2]
        assert (0, b'') == (len(connection.waiting), connection.held)


async def test_nothing_is_read_behind_the_last_request(framed):
    """Nor kept, be it bytes or the nothing that follows a pause."""
    async with framed() as (_, connection, _):
        connection.ended = True
        for data in HEAD, b'':
            connection.data_received(data)
        assert (0, b'', False) == (len(connection.waiting), connection.held, connection.in_head)


# Bodies


@pytest.mark.parametrize('chunks', [False, True])
async def test_a_body_waits_until_it_is_wanted(framed, until, chunks):
    """No more of it is read than fits the buffers; what follows it comes after it."""
    size = 3_000_000
    body = b'\r\n\r\n' * (size // 4)
    async with framed(answers=False) as (server, connection, client):
        client.ask('GET /1')
        await server.called.wait()
        if chunks:
            body = b'%x\r\n%b\r\n0\r\n\r\n' % (size, body)
            client.ask('POST /2', 'Transfer-Encoding: chunked', body=body)
        else:
            client.ask('POST /2', f'Content-Length: {size}', body=body)
        client.ask('GET /3')
        await until(lambda: connection.paused)
        assert not connection.transport.is_reading()
        assert connection.arriving[1].total_bytes + len(connection.held) < 1_500_000
        server.may_answer.set()
        found = [(await client.answer())[2].decode() for _ in range(3)]
        assert not connection.paused
    assert ['GET /1 0', f'POST /2 {size}', 'GET /3 0'] == found


@pytest.mark.parametrize('behind', [b'', HEAD])
async def test_what_comes_behind_a_body_that_waits_is_held(framed, behind):
    """It is read when the body is, which ends though nothing more comes."""
    size = 600_000  # more than aiohttp buffers
    async with framed(answers=False) as (server, connection, client):
        connection.data_received(f'POST /1 HTTP/1.1\r\nHost: h\r\nContent-Length: {size}'.encode())
        connection.data_received(b'\r\n\r\n' + b'x' * size + behind)
        assert (True, behind, 1) == (connection.paused, connection.held, len(connection.waiting))
        server.may_answer.set()
        assert b'POST /1 %d' % size == (await client.answer())[2]
        if behind:
            assert b'GET / 0' == (await client.answer())[2]


async def test_a_length_may_begin_with_many_zeros(framed):
    """More digits than int takes are no matter, if the parser has no objection."""
    async with framed() as (_, connection, client):
        length = '0' * 5000 + '2'
        connection.data_received(f'POST / HTTP/1.1\r\nHost: h\r\nContent-Length: {length}'.encode())
        connection.data_received(b'\r\n\r\nab' + HEAD)
        assert b'POST / 2' == (await client.answer())[2]
        assert b'GET / 0' == (await client.answer())[2]


async def test_what_comes_with_the_end_of_a_body_is_not_forgotten(framed, until):
    """Also on a connection that has had many bodies: there aiohttp keeps it to itself."""
    async with framed() as (_, connection, client):
        for number in range(40):
            connection.data_received(
                f'POST /{number} HTTP/1.1\r\nHost: h\r\nContent-Length: 2\r\n\r\n'.encode()
            )
            await until(lambda: not connection.waiting)
            connection.data_received(b'ab' + HEAD)
            found = [(await client.answer())[2] for _ in range(2)]
            assert [b'POST /%d 2' % number, b'GET / 0'] == found


@pytest.mark.parametrize(
    'behind',
    [
        b'',
        HEAD,
        HEAD * 100,  # more than may wait
        b'POST / HTTP/1.1\r\nHost: h\r\nTransfer-Encoding: chunked\r\n\r\n1\r\nx\r\n0\r\n\r\n',
        b'bad\r\n\r\n',
    ],
)
@pytest.mark.parametrize('fields', [[], ['Connection: upgrade', 'Upgrade: h2c']])
async def test_trailers_are_no_headers_of_the_next_request(wire, behind, fields):
    """The request that has them is the last of its connection, and its answer says so."""
    seen = []

    def handler(request):
        seen.append((request.url, list(request.headers)))
        return {'status': 200}

    async with http.listen('127.0.0.1', 0, handler) as server, wire(server) as client:
        client.ask(
            'POST /1',
            'Transfer-Encoding: chunked',
            *fields,
            body=b'1\r\na\r\n0\r\nX-Admin: yes\r\n\r\n' + behind,
        )
        status, headers, _ = await client.answer()
        assert (200, 'close', b'') == (status, headers['Connection'], await client.rest())
    names = ['Host', 'Transfer-Encoding', *(field.partition(':')[0] for field in fields)]
    assert [('/1', names)] == seen


@pytest.mark.parametrize('more', [b'', b'GET /2 HTTP/1.1\r\nHost: h\r\n\r\n'])
@pytest.mark.parametrize(
    ('upgrade', 'option', 'closes'),
    [
        ('websocket', 'upgrade', True),
        ('WebSocket', 'Upgrade', True),
        ('websocket', 'keep-alive', False),  # this asks for none
        ('h2c', 'upgrade', False),
    ],
)
async def test_a_websocket_that_is_declined_is_the_last_of_its_connection(
    wire, upgrade, option, closes, more
):
    """What comes behind it, aiohttp would read unseen. Another upgrade is no matter."""
    async with http.listen('127.0.0.1', 0, echo) as server, wire(server) as client:
        fields = f'Connection: {option}', f'Upgrade: {upgrade}', 'Content-Length: 2'
        client.ask('POST /1', *fields, 'Expect: 100-continue', body=b'a')
        await client.reader.readuntil(b'\r\n\r\n')  # it is taken up
        client.send(b'b' + more)
        status, headers, body = await client.answer()
        expected = 200, 'close' if closes else None, b'POST /1 2'
        assert expected == (status, headers.get('Connection'), body)
        with contextlib.suppress(OSError):  # it may be closed already
            client.writer.write_eof()
        assert (b'GET /2 0' in await client.rest()) is (bool(more) and not closes)


def echo(request):
    """Say what was asked."""
    return {'status': 200, 'body': f'{request.method} {request.url} {len(request.body or "")}'}


# Bodies that break


@pytest.mark.parametrize('options', [{'max_body': 1}, {'max_concurrent': 1}])
async def test_what_breaks_behind_a_refusal_is_read_by_nobody(wire, caplog, options):
    """A body that is broken after its request was refused costs no line of the log."""
    called, may_answer = asyncio.Event(), asyncio.Event()

    async def handler(request):
        called.set()
        await may_answer.wait()
        return {'status': 200}

    async with (
        http.listen('127.0.0.1', 0, handler, **options) as server,
        wire(server) as other,
        wire(server) as client,
    ):
        other.ask('GET /')
        await called.wait()
        client.ask('POST /', 'Transfer-Encoding: chunked', body=b'5\r\nhello\r\n')
        status, headers, _ = await client.answer()
        client.send(b'no size\r\n')
        assert ('close', b'') == (headers['Connection'], await client.rest())
        may_answer.set()
        await other.answer()
    assert status == (413 if 'max_body' in options else 503)
    assert [] == [record for record in caplog.records if record.levelno > logging.INFO]


@pytest.mark.parametrize('before', [False, True])
async def test_a_body_that_breaks_is_a_400(framed, until, caplog, before):
    """Whether its request is read already, or waits for the answer to another."""
    async with framed(answers=False) as (server, connection, client):
        if before:
            client.ask('GET /')
            await server.called.wait()
        client.ask('POST /', 'Transfer-Encoding: chunked', body=b'5\r\nhello\r\n')
        await until(lambda: connection.waiting if before else connection.busy)
        _, body = connection.arriving
        client.send(b'no size\r\n')
        await until(body.is_eof)
        assert isinstance(body.exception(), RequestPayloadError)
        server.may_answer.set()
        if before:
            assert 200 == (await client.answer())[0]
        status, headers, _ = await client.answer()
        assert (400, 'close', b'') == (status, headers['Connection'], await client.rest())
    assert [] == [record for record in caplog.records if record.levelno > logging.INFO]


async def test_a_body_may_break_before_its_request_is_taken_up(framed):
    """Also on a connection that was idle: whoever takes it up then is told."""
    async with framed() as (_, connection, client):
        connection.data_received(
            b'POST / HTTP/1.1\r\nHost: h\r\nTransfer-Encoding: chunked\r\n\r\n'
        )
        connection.data_received(b'no size\r\n')
        assert not connection.busy
        assert 400 == (await client.answer())[0]
