"""Files sent by the kernel: whole, to who is slow, and to who does not read or leaves."""

import asyncio
import contextlib
import os
import socket
from stat import S_ISSOCK

import pytest

import aioluahttp as http
from aioluahttp.server.sendfile import Sendfile, Writer

LOOPS = {'asyncio': asyncio.new_event_loop}
with contextlib.suppress(ImportError):  # there is none on Windows
    import uvloop

    LOOPS['uvloop'] = uvloop.new_event_loop

BIG = 50_000_000  # bytes: more than the buffers of two sockets hold
HEAD = b'HTTP/1.1 200 OK\r\nContent-Length: 9\r\n\r\n'


@pytest.fixture
def big(tmp_path):
    """Give a file that the buffers of two sockets do not hold."""
    path = tmp_path / 'big'
    path.write_bytes(os.urandom(BIG // 50) * 50)
    return path


def sockets():
    """Give the number of descriptors of sockets that are open."""
    count = 0
    for name in os.listdir('/dev/fd'):
        with contextlib.suppress(OSError):  # the one that tells is gone
            count += S_ISSOCK(os.fstat(int(name)).st_mode)
    return count


def run(loop, main):
    """Run a coroutine in a loop of a kind."""
    with asyncio.Runner(loop_factory=LOOPS[loop]) as runner:
        runner.run(asyncio.wait_for(main, 30))


def answering(path, **options):
    """Answer each request with a file."""
    return http.listen('127.0.0.1', 0, lambda request: {'status': 200, 'body': path}, **options)


class Sends:
    """An answer that sends a part of a file behind a head, and notes what came of it."""

    status = 200

    def __init__(self, file, *, first=lambda transport: None):
        self.file, self.first, self.error = file, first, None

    async def send(self, connection):
        writer = Writer(connection, asyncio.get_running_loop())
        connection.begun = True
        await connection.write(HEAD)
        transport = connection.transport
        self.first(transport)
        try:
            await Sendfile(connection, writer).sendfile(transport, self.file, 1, 9)
        except Exception as error:
            self.error = error
            raise
        finally:
            self.size = writer.output_size
        return connection.keeps


@pytest.mark.parametrize('loop', LOOPS)
def test_a_file_is_sent_by_the_kernel(wire, big, loop, monkeypatch):
    """None of it is read, on any loop; the next answer follows it."""
    monkeypatch.setattr('aiohttp.web_fileresponse.FileResponse._sendfile_fallback', None)

    async def ask():
        async with answering(big) as server, wire(server) as client:
            for asked, expected in (('GET /', big.read_bytes()), ('HEAD /', b'')):
                client.ask(asked)
                answer = await client.answer(silent=not expected)
                assert (200, str(BIG)) == (answer[0], answer[1]['Content-Length'])
                assert expected == answer[2]
            client.ask('GET /', 'Range: bytes=5-9', 'Connection: close')
            assert big.read_bytes()[5:10] == (await client.answer())[2]

    run(loop, ask())


async def test_a_part_is_counted(self_sent, wire, tmp_path):
    """Byte for byte, though it did not go through this process."""
    (tmp_path / 'small').write_bytes(b'0123456789')
    with (tmp_path / 'small').open('rb') as file:
        answer = Sends(file)
        async with self_sent(answer) as server, wire(server) as client:
            client.ask('GET /')
            assert b'123456789' == (await client.answer())[2]
    assert (9, None) == (answer.size, answer.error)


async def test_of_a_file_that_has_become_shorter_less_is_sent(self_sent, wire, tmp_path):
    """What it was to be is for others to know."""
    (tmp_path / 'small').write_bytes(b'01234')
    with (tmp_path / 'small').open('rb') as file:
        answer = Sends(file)
        async with self_sent(answer) as server, wire(server) as client:
            client.ask('GET /')
            assert HEAD + b'1234' == await client.reader.readexactly(len(HEAD) + 4)
    assert (4, None) == (answer.size, answer.error)


@pytest.mark.parametrize('loop', LOOPS)
def test_who_reads_slowly_gets_it_all(wire, big, loop):
    """What counts is that it reads, however long that takes."""

    async def ask():
        async with answering(big, body_timeout=0.2) as server, wire(server) as client:
            client.ask('GET /')
            await client.reader.readuntil(b'\r\n\r\n')
            data = b''
            while len(data) < BIG // 2:
                data += await client.reader.readexactly(BIG // 10)
                await asyncio.sleep(0.1)  # the pace
            data += await client.reader.readexactly(BIG - len(data))
            assert big.read_bytes() == data

    run(loop, ask())


@pytest.mark.parametrize('loop', LOOPS)
@pytest.mark.parametrize('leaves', [None, 'write_eof', 'close', 'abort'])
def test_who_does_not_read_or_leaves_is_cut_off(wire, big, until, caplog, leaves, loop):
    """It is no mistake, and nothing is left open."""

    async def ask():
        async with answering(big, body_timeout=0.2) as server:
            before = sockets()
            async with wire(server) as client:
                client.ask('GET /')
                await client.reader.readuntil(b'\r\n\r\n')
                if leaves:
                    getattr(client.writer.transport, leaves)()
                await until(lambda: not server.stats['in_flight'])
            await until(lambda: before == sockets())
            assert (1, 0) == (server.stats['requests'], server.stats['errors'])

    run(loop, ask())
    assert [] == caplog.records


@pytest.mark.parametrize('loop', LOOPS)
def test_a_server_that_closes_breaks_it_off(wire, big, until, caplog, loop):
    """After its grace, with nothing left."""

    async def ask():
        before = sockets()
        async with answering(big) as server, wire(server) as client:
            client.ask('GET /')
            await client.reader.readuntil(b'\r\n\r\n')
            await server.close(grace=0)
            with contextlib.suppress(ConnectionError):
                assert len(await client.rest()) < BIG
        await until(lambda: before == sockets())

    run(loop, ask())
    assert [] == caplog.records


def leave(transport):
    """End the connection before the file."""
    transport.abort()


def half_close(transport):
    """Make the socket one that takes no more, of which the transport does not know."""
    transport.get_extra_info('socket').shutdown(socket.SHUT_WR)


@pytest.mark.parametrize('first', [leave, half_close])
async def test_a_connection_that_has_ended_is_no_mistake(self_sent, wire, first, tmp_path):
    """Whether the transport knows of it or not."""
    (tmp_path / 'small').write_bytes(b'0123456789')
    with (tmp_path / 'small').open('rb') as file:
        answer = Sends(file, first=first)
        async with self_sent(answer) as server, wire(server) as client:
            client.ask('GET /')
            with contextlib.suppress(ConnectionError):
                assert HEAD == await client.rest()
            await server.close()
            assert 0 == server.stats['errors']
    assert isinstance(answer.error, ConnectionError)


async def test_what_the_kernel_cannot_send_is_for_others_to_send(self_sent, wire):
    """Such as what is no file."""
    ours, other = socket.socketpair()
    with ours, other, ours.makefile('rb') as file:
        answer = Sends(file)
        async with self_sent(answer) as server, wire(server) as client:
            client.ask('GET /')
            await client.rest()
    assert isinstance(answer.error, NotImplementedError)
    assert isinstance(answer.error.__cause__, OSError)


async def test_a_file_that_fails_in_the_middle_is_a_mistake(wire, big, monkeypatch, caplog):
    """The answer is broken off, as nobody else may begin it anew."""
    sendfile = os.sendfile

    def failing(out, file, offset, count):
        if offset:
            raise OSError(5, 'the disk is broken')
        return sendfile(out, file, offset, count)

    monkeypatch.setattr(os, 'sendfile', failing)
    async with answering(big) as server, wire(server) as client:
        client.ask('GET /')
        assert len(await client.rest()) < BIG
        assert 1 == server.stats['errors']


@pytest.mark.parametrize('missing', ['tls', 'sendfile'])
async def test_where_there_is_none_it_is_read(missing, certificates, big, monkeypatch):
    """By TLS, and on a system that knows no such thing."""
    tls = None
    if missing == 'tls':
        tls = certificates.server
    else:
        monkeypatch.delattr(os, 'sendfile')
    async with answering(big, tls=tls) as server:
        table = {'url': server.url, 'into': 'bytes', 'tls': {'ca': certificates.ca}}
        assert big.read_bytes() == (await http.request(table)).body
