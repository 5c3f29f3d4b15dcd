"""What goes out on a connection: to who reads slowly, does not read, or has left."""

import asyncio
import contextlib
import socket
import ssl
from types import SimpleNamespace

import pytest
from aiohttp.http_writer import StreamWriter
from aiohttp.web_protocol import RequestHandler

import aioluahttp as http
from aioluahttp.server.connection import Connection, Connections
from aioluahttp.server.encode import plain_answer
from aioluahttp.server.exchange import Exchange, Settings

BIG = b'x' * 20_000_000  # more than the buffers of two sockets hold


def echo(request):
    """Say what was asked."""
    return {'status': 200, 'body': f'{request.method} {request.url} {len(request.body or "")}'}


def big(request):
    """Give more than fits into the buffers."""
    return {'status': 200, 'body': BIG}


@pytest.fixture
def trusting(certificates):
    """Give what a client trusts."""
    return ssl.create_default_context(cafile=certificates.ca)


@pytest.mark.parametrize(
    ('function', 'expected'),
    [
        (RequestHandler.close, ['self']),
        (RequestHandler.force_close, ['self']),
        (StreamWriter.drain, ['self']),
    ],
    ids=lambda value: getattr(value, '__qualname__', ''),
)
def test_aiohttp_takes_the_same_arguments(parameters, function, expected):
    """What is overridden or called has the parameters that it had."""
    name = function.__qualname__
    assert expected == parameters(function), f'aiohttp: {name} takes other arguments now'


async def test_who_has_left_is_told_nothing():
    """Nor is that counted."""
    connections = Connections(Exchange(echo, Settings()))
    connections().say(plain_answer(400))
    assert 0 == connections.bytes_out


@pytest.mark.parametrize('sent', [b'x\r\n\r\n', b'GET / HTTP/1.0\r\n\r\n'])
async def test_every_byte_of_an_answer_is_counted(wire, sent):
    """Also of one to what is no request."""
    async with http.listen('127.0.0.1', 0, echo) as server, wire(server) as client:
        client.send(sent)
        answer = await client.rest()
        assert len(answer) == server.stats['bytes_out'] > 0


@pytest.mark.parametrize('fields', [[], ['Connection: close']])
@pytest.mark.parametrize('times', [1, 5])
@pytest.mark.parametrize('tls', [False, True])
async def test_who_does_not_read_is_cut_off(wire, certificates, trusting, fields, times, tls):
    """After body_timeout; the connection that waits for its place is served then."""
    options = {'tls': certificates.server} if tls else {}
    listening = http.listen(
        '127.0.0.1',
        0,
        lambda request: big(request) if request.path == '/big' else echo(request),
        max_connections=1,
        body_timeout=0.1,
        **options,
    )
    options = {'ssl': trusting} if tls else {}
    async with listening as server, wire(server, **options) as client:
        for _ in range(times):
            client.ask('GET /big', *fields)
        await client.reader.readuntil(b'\r\n\r\n')
        async with wire(server, **options) as other:
            other.ask('GET /')
            assert 200 == (await other.answer())[0]
        with pytest.raises((OSError, asyncio.IncompleteReadError)):
            await client.reader.readexactly(len(BIG))


@pytest.mark.parametrize('fields', [[], ['Connection: close']])
@pytest.mark.parametrize('tls', [False, True])
async def test_who_reads_slowly_gets_all(wire, certificates, trusting, fields, tls):
    """However long it takes, if something is read within each body_timeout."""
    looked = asyncio.Event()

    class Looking(Connection):
        def expect_reading(self, transport):
            looked.set()
            super().expect_reading(transport)

    class Looked(Connections):
        def __call__(self):
            return Looking(self)

    connections = Looked(Exchange(big, Settings(body_timeout=0.25)))
    options = {'ssl': certificates.server, 'ssl_shutdown_timeout': 0.25} if tls else {}
    server = await asyncio.get_running_loop().create_server(connections, '127.0.0.1', 0, **options)
    address = SimpleNamespace(port=server.sockets[0].getsockname()[1])
    async with wire(address, **({'ssl': trusting} if tls else {})) as client:
        client.ask('GET /', *fields)
        await client.reader.readuntil(b'\r\n\r\n')
        left = len(BIG)
        for _ in range(3):  # as many deadlines
            looked.clear()
            left -= len(await client.reader.readexactly(2_000_000))
            await looked.wait()
        assert left == len(await client.reader.readexactly(left))
    server.close()
    await connections.close_all(1)
    await server.wait_closed()


@pytest.mark.parametrize('keeps', [True, False])
async def test_a_tls_client_that_does_not_take_its_leave_is_cut_off(
    wire, certificates, trusting, keeps
):
    """After body_timeout, whether it was idle or got its last answer."""
    listening = http.listen(
        '127.0.0.1',
        0,
        echo,
        max_connections=1,
        keepalive_timeout=0.05,
        body_timeout=0.05,
        tls=certificates.server,
    )
    async with listening as server:
        with socket.socket() as mute:
            mute.setblocking(False)
            await asyncio.get_running_loop().sock_connect(mute, ('127.0.0.1', server.port))
            await whisper(mute, trusting, b'' if keeps else b'Connection: close\r\n')
            async with wire(server, ssl=trusting) as client:
                client.ask('GET /')
                assert 200 == (await client.answer())[0]


async def whisper(client, context, field):
    """Shake hands and ask by hand, so that nothing answers what comes later."""
    loop = asyncio.get_running_loop()
    incoming, outgoing = ssl.MemoryBIO(), ssl.MemoryBIO()
    session = context.wrap_bio(incoming, outgoing, server_hostname='127.0.0.1')

    async def repeat(act):
        while True:
            with contextlib.suppress(ssl.SSLWantReadError):
                result = act()
                await loop.sock_sendall(client, outgoing.read())
                return result
            await loop.sock_sendall(client, outgoing.read())
            incoming.write(await loop.sock_recv(client, 65536))

    await repeat(session.do_handshake)
    await repeat(lambda: session.write(b'GET / HTTP/1.1\r\nHost: h\r\n' + field + b'\r\n'))
    assert b'HTTP/1.1 200' == await repeat(lambda: session.read(12))


@pytest.mark.parametrize('tls', [False, True])
async def test_who_does_not_read_holds_up_no_close(wire, certificates, trusting, tls):
    """It is cut off in the end, whatever is still to be written."""
    options = {'tls': certificates.server} if tls else {}
    async with (
        http.listen('127.0.0.1', 0, big, **options) as server,
        wire(server, **({'ssl': trusting} if tls else {})) as client,
    ):
        client.ask('GET /', 'Connection: close')
        await client.reader.readuntil(b'\r\n\r\n')
        await server.close(grace=0)
        with pytest.raises((OSError, asyncio.IncompleteReadError)):
            await client.reader.readexactly(len(BIG))


async def test_a_tls_client_that_leaves_is_written_no_more(wire, certificates, trusting, caplog):
    """Nor is the rest of its answer encrypted; asyncio would warn of every piece."""

    def handler(request):
        client.writer.get_extra_info('socket').shutdown(socket.SHUT_RDWR)
        return big(request)

    async with (
        http.listen('127.0.0.1', 0, handler, tls=certificates.server) as server,
        wire(server, ssl=trusting) as client,
    ):
        client.ask('GET /')
        with contextlib.suppress(ConnectionError):
            await client.rest()
    assert [] == caplog.records


async def test_what_an_answer_writes_by_other_means_is_waited_for_and_counted(wire, tmp_path):
    """A file, which aiohttp writes."""
    (tmp_path / 'small').write_bytes(b'x')
    (tmp_path / 'big').write_bytes(BIG)

    def callback(request):
        return {'status': 200, 'body': tmp_path / request.path[1:]}

    async with http.listen('127.0.0.1', 0, callback) as server, wire(server) as client:
        for name, size in (('small', 1), ('big', len(BIG))):
            client.ask(f'GET /{name}')
            assert size == len((await client.answer())[2])
    assert server.stats['bytes_out'] > len(BIG)


async def floods(socket):
    """Send what nobody reads."""
    while True:
        await socket.send(b'x' * 1_000_000)


async def test_a_websocket_whose_client_does_not_read_is_cut_off(wire, frames, until):
    """After ``body_timeout`` without a byte read; one that reads has all the time."""
    async with http.listen(
        '127.0.0.1', 0, lambda request: {'websocket': floods}, body_timeout=0.1
    ) as server:
        async with wire(server) as client:
            client.ask('GET /', *frames.asking)
            await client.answer(silent=True)
            for _ in range(30):
                assert 1_000_000 == len((await frames.read(client.reader))[1])
        async with wire(server) as client:
            client.ask('GET /', *frames.asking)
            await client.answer(silent=True)
            await until(lambda: not server.stats['connections'])
