"""Listening sockets: accept connections on every kind of event loop, bind, and clean up."""

import asyncio
import contextlib
import errno
import functools
import inspect
import logging
import os
import socket
import ssl
import stat
import subprocess
import sys
import textwrap
from contextlib import ExitStack
from pathlib import Path

import pytest

import aioluahttp as http
from aioluahttp.errors import TableError
from aioluahttp.server import sockets
from aioluahttp.server.sockets import bind_tcp, bind_unix, unlink_unix, url_of


class WithoutReaders(asyncio.SelectorEventLoop):
    """A loop without ``add_reader``, like the default loop on Windows."""

    def add_reader(self, *arguments):
        """Refuse, as that loop does."""
        raise NotImplementedError

    def remove_reader(self, fd):
        """Refuse, except for asyncio's own sockets, which pass a number."""
        if not isinstance(fd, int):
            raise NotImplementedError
        return super().remove_reader(fd)


LOOPS = {'asyncio': asyncio.SelectorEventLoop, 'without readers': WithoutReaders}
with contextlib.suppress(ImportError):  # there is none on Windows
    import uvloop

    LOOPS['uvloop'] = uvloop.new_event_loop


def on_every_loop(function):
    """Run a coroutine test in a loop of each kind, and look for leaked tasks."""
    names = inspect.signature(function).parameters

    async def run(request):
        async with asyncio.timeout(60):
            await function(**{name: request.getfixturevalue(name) for name in names})
        assert {asyncio.current_task()} == asyncio.all_tasks()

    @functools.wraps(function)
    def test(loop, request):
        with asyncio.Runner(loop_factory=LOOPS[loop]) as runner:
            runner.run(run(request))

    del test.__wrapped__  # so that pytest sees the parameters loop and request
    return pytest.mark.parametrize('loop', LOOPS)(test)


def hello(request):
    """Respond at once."""
    return {'status': 200, 'body': 'hello'}


@contextlib.contextmanager
def clients(port, count):
    """Open connections that the kernel has established, whether or not they are accepted."""
    with contextlib.ExitStack() as opened:
        yield [
            opened.enter_context(socket.create_connection(('127.0.0.1', port)))
            for _ in range(count)
        ]


async def first_bytes(client):
    """Send a request, and return the first bytes of the response."""
    client.setblocking(False)
    loop = asyncio.get_running_loop()
    await loop.sock_sendall(client, b'GET / HTTP/1.1\r\nHost: h\r\nConnection: close\r\n\r\n')
    return await loop.sock_recv(client, 15)


async def connection_closed(client):
    """Wait until a connection without a response is closed."""
    client.setblocking(False)
    with contextlib.suppress(ConnectionError):
        assert b'' == await asyncio.get_running_loop().sock_recv(client, 1)


async def until(condition):
    """Let the loop run until a condition holds."""
    while True:
        if condition():
            return
        await asyncio.sleep(0)


@on_every_loop
async def test_beyond_the_limit_clients_wait(wire):
    """They are accepted in turn as others close; open connections go on."""
    async with http.listen('127.0.0.1', 0, hello, max_connections=2) as server:
        with clients(server.port, 3) as waiting:
            async with wire(server) as late:
                waiting[2].sendall(b'GET / HTTP/1.1\r\nHost: h\r\n\r\n')
                for client in waiting[:2] * 2:
                    client.setblocking(False)
                    client.send(b'GET / HTTP/1.1\r\nHost: h\r\n\r\n')
                    response = await asyncio.get_running_loop().sock_recv(client, 1000)
                    assert response.startswith(b'HTTP/1.1 200 OK')
                    assert 2 == server.stats['connections']
                late.send_request('GET /')
                waiting[0].close()
                waiting[2].setblocking(False)
                response = await asyncio.get_running_loop().sock_recv(waiting[2], 1000)
                assert response.startswith(b'HTTP/1.1 200 OK')
                assert 2 == server.stats['connections']
                waiting[1].close()
                assert 200 == (await late.read_response())[0]
                assert (2, 6) == (server.stats['connections'], server.stats['requests'])


@on_every_loop
async def test_max_connections_of_one_serves_many_clients(wire):
    """One connection after the other, each as the one before it closes."""
    async with http.listen('127.0.0.1', 0, hello, max_connections=1) as server:
        with clients(server.port, 20) as waiting:
            responses = await asyncio.gather(*map(first_bytes, waiting))
            assert [b'HTTP/1.1 200 OK'] * 20 == responses
            assert server.stats['connections'] <= 1


@on_every_loop
async def test_more_clients_than_one_burst_are_accepted():
    """Those left when the rest of the loop gets its turn are accepted later."""
    async with http.listen('127.0.0.1', 0, hello) as server:
        with clients(server.port, sockets.BURST + 20) as waiting:
            responses = await asyncio.gather(*map(first_bytes, waiting))
            assert [b'HTTP/1.1 200 OK'] * len(waiting) == responses


@on_every_loop
async def test_clients_that_connect_during_a_pause_wait(wire):
    """Open connections go on; the new clients are served after ``resume``."""
    async with http.listen('127.0.0.1', 0, hello) as server, wire(server) as before:
        before.send_request('GET /')
        await before.read_response()
        for _ in range(2):
            for _ in range(2):  # a second call changes nothing
                server.pause()
                assert 'paused' == server.status
            async with wire(server) as one, wire(server) as other:
                for client in one, other:
                    client.send_request('GET /')
                for _ in range(3):
                    before.send_request('GET /')
                    assert 200 == (await before.read_response())[0]
                assert 1 == server.stats['connections']
                for _ in range(2):
                    server.resume()
                    assert 'listening' == server.status
                for client in one, other:
                    assert 200 == (await client.read_response())[0]
            await until(lambda: server.stats['connections'] == 1)


@on_every_loop
async def test_a_short_pause_loses_no_connection(wire):
    """However far the accepting of a connection has come when the pause begins."""
    for turns in range(6):
        async with http.listen('127.0.0.1', 0, hello) as server, wire(server) as client:
            client.send_request('GET /')
            for _ in range(turns):
                await asyncio.sleep(0)
            server.pause()
            server.resume()
            assert 200 == (await client.read_response())[0]


@on_every_loop
async def test_clients_that_wait_in_a_pause_are_closed_with_the_server():
    """Also if the loop has accepted them already. ``resume`` does nothing after ``close``."""
    server = await http.listen('127.0.0.1', 0, hello)
    with clients(server.port, 1) as (before,):
        assert b'HTTP/1.1 200 OK' == await first_bytes(before)
    server.pause()
    with clients(server.port, 2) as waiting:
        for client in waiting:
            client.sendall(b'GET / HTTP/1.1\r\nHost: h\r\n\r\n')
        for _ in range(5):
            await asyncio.sleep(0)
        await server.close()
        for client in waiting:
            await connection_closed(client)
    server.resume()
    server.pause()
    assert ('closed', 1) == (server.status, server.stats['requests'])


@pytest.mark.parametrize('context', [None, 'server'])
@pytest.mark.parametrize('turns', range(8))
@pytest.mark.parametrize('loop', LOOPS)
def test_clients_that_connect_as_the_server_closes_are_closed(certificates, context, turns, loop):
    """However far each connection has come, it is closed and nothing is left of it."""
    tls = {'tls': getattr(certificates, context)} if context else {}

    async def close():
        server = await http.listen('127.0.0.1', 0, hello, **tls)
        with clients(server.port, 3) as arriving:
            for _ in range(turns):
                await asyncio.sleep(0)
            await server.close()
            for client in arriving:
                await connection_closed(client)
        assert {asyncio.current_task()} == asyncio.all_tasks()

    with asyncio.Runner(loop_factory=LOOPS[loop]) as runner:
        runner.run(close())


@on_every_loop
async def test_tls_handshakes_that_hang_are_dropped_at_the_end(certificates, caplog):
    """They do not delay closing the server, and are not logged."""
    caplog.set_level(logging.INFO, 'aioluahttp')
    server = await http.listen('127.0.0.1', 0, hello, tls=certificates.server)
    before = len(asyncio.all_tasks())
    with clients(server.port, 3) as hanging:
        hanging[0].sendall(b'\x16\x03\x01')
        await until(lambda: len(asyncio.all_tasks()) == before + 3)
        await server.close()
        for client in hanging:
            await connection_closed(client)
    assert [] == [record for record in caplog.records if record.name != 'asyncio']


@on_every_loop
async def test_failed_tls_handshakes_do_not_count_as_connections(wire, certificates, caplog):
    """Plain text, clients that leave, and clients that send nothing (``head_timeout``)."""
    listening = http.listen(
        '127.0.0.1', 0, hello, tls=certificates.server, max_connections=1, head_timeout=0.2
    )
    context = ssl.create_default_context(cafile=certificates.ca)
    async with listening as server:
        with clients(server.port, 4) as failing:
            failing[0].sendall(b'GET / HTTP/1.1\r\n\r\n')
            failing[1].sendall(b'\x16\x03\x01')
            failing[1].close()
            failing[2].close()
            async with wire(server, ssl=context) as client:
                client.send_request('GET /', 'Connection: close')
                assert 200 == (await client.read_response())[0]
    assert [] == [record for record in caplog.records if record.levelno >= logging.WARNING]


def send_plain_text(client):
    """Speak HTTP to a port with TLS."""
    client.sendall(b'GET / HTTP/1.1\r\nHost: h\r\n\r\n')


def leave(client):
    """Leave within the handshake."""
    client.sendall(b'\x16\x03\x01')
    client.shutdown(socket.SHUT_WR)


async def shake_hands(server, authority, version):
    """Complete the handshake of a client without a certificate, or fail in it."""
    context = ssl.create_default_context(cafile=authority)
    context.minimum_version = context.maximum_version = version
    with contextlib.suppress(OSError):
        reader, writer = await asyncio.open_connection('127.0.0.1', server.port, ssl=context)
        with contextlib.closing(writer), contextlib.suppress(OSError):
            await reader.read()
        await writer.wait_closed()


@on_every_loop
async def test_a_failed_tls_handshake_is_one_log_record(certificates, caplog):
    """With the address of the peer and OpenSSL's reason, and without a traceback."""
    caplog.set_level(logging.INFO, 'aioluahttp')
    listening = http.listen('127.0.0.1', 0, hello, tls=certificates.strict, head_timeout=0.2)
    expected = []
    async with listening as server:
        for act, reason in (
            (send_plain_text, 'HTTP_REQUEST'),
            (leave, 'the client hung up'),
            (lambda client: None, 'longer than 0.2 seconds'),
        ):
            with clients(server.port, 1) as (client,):
                act(client)
                expected.append(reason)
                await until(lambda: len(expected) <= len(caplog.records))
        for version in ssl.TLSVersion.TLSv1_2, ssl.TLSVersion.TLSv1_3:
            await shake_hands(server, certificates.ca, version)
            expected.append('PEER_DID_NOT_RETURN_A_CERTIFICATE')
        await until(lambda: len(expected) <= len(caplog.records))
    assert len(expected) == len(caplog.records)
    for reason, record in zip(expected, caplog.records, strict=True):
        assert (logging.INFO, None) == (record.levelno, record.exc_info)
        assert record.getMessage().startswith('TLS handshake with 127.0.0.1 failed: ')
        assert reason in record.getMessage()


async def test_a_failed_tls_handshake_on_a_unix_socket_is_one_log_record(
    certificates, caplog, tmp_path
):
    """Its peer has no address."""
    caplog.set_level(logging.INFO, 'aioluahttp')
    path = str(tmp_path / 'socket')
    async with http.listen(None, None, hello, tls=certificates.server, unix=path):
        with socket.socket(socket.AF_UNIX) as client:
            client.connect(path)
            send_plain_text(client)
            await connection_closed(client)
    (record,) = caplog.records
    assert record.getMessage().startswith('TLS handshake with None failed: [SSL: HTTP_REQUEST]')


class FailingSocket(socket.socket):
    """A listening socket whose ``accept`` first raises the given exceptions."""

    def __init__(self, *failures):
        super().__init__()
        self.failures = list(failures)
        self.bind(('127.0.0.1', 0))
        self.setblocking(False)

    def accept(self):
        """Raise the next failure, or accept."""
        if self.failures:
            raise self.failures.pop()
        return super().accept()


EXHAUSTED = OSError(errno.EMFILE, 'Too many open files')


@on_every_loop
async def test_accepting_is_retried_after_file_descriptors_ran_out(monkeypatch, wire, caplog):
    """Each failure is one log record, and accepting is tried again after ``RECOVERY``."""
    monkeypatch.setattr(sockets, 'RECOVERY', 0.01)
    failing = FailingSocket(EXHAUSTED, EXHAUSTED)
    async with http.listen(None, None, hello, sock=failing) as server, wire(server) as client:
        client.send_request('GET /')
        assert 200 == (await client.read_response())[0]
    expected = 'cannot accept connections for 0.01 s: [Errno 24] Too many open files'
    assert [(logging.ERROR, expected)] * 2 == [(r.levelno, r.getMessage()) for r in caplog.records]


@on_every_loop
async def test_clients_that_leave_before_they_are_accepted_are_not_logged(wire, caplog):
    """The next one is accepted at once."""
    failing = FailingSocket(ConnectionAbortedError(), ConnectionAbortedError())
    async with http.listen(None, None, hello, sock=failing) as server, wire(server) as client:
        client.send_request('GET /')
        assert 200 == (await client.read_response())[0]
    assert [] == caplog.records


@on_every_loop
async def test_a_recovery_does_not_end_a_pause(monkeypatch, wire, caplog):
    """The end of a pause does not end a recovery either; both must be over."""
    monkeypatch.setattr(sockets, 'RECOVERY', 0.05)
    failing = FailingSocket(EXHAUSTED)
    async with http.listen(None, None, hello, sock=failing) as server, wire(server) as client:
        client.send_request('GET /')
        await until(lambda: caplog.records)
        server.pause()
        server.resume()
        server.pause()
        recovered = asyncio.Event()
        asyncio.get_running_loop().call_later(0.1, recovered.set)
        await recovered.wait()
        assert 0 == server.stats['connections']
        server.resume()
        assert 200 == (await client.read_response())[0]


@on_every_loop
async def test_close_does_not_wait_for_a_recovery(caplog):
    """Accepting is not tried again."""
    failing = FailingSocket(EXHAUSTED)
    server = await http.listen(None, None, hello, sock=failing)
    with clients(server.port, 1) as (client,):
        await until(lambda: caplog.records)
        await server.close()
        await connection_closed(client)
    assert (1, -1) == (len(caplog.records), failing.fileno())


SCRIPT = textwrap.dedent("""
    import asyncio, contextlib, logging, os, resource, socket, sys
    import aioluahttp as http
    from aioluahttp.server import sockets

    sockets.RECOVERY = 0.01
    told = []

    class Told(logging.Handler):
        def emit(self, record):
            told.append(record.getMessage())
            while spare:
                os.close(spare.pop())

    logging.getLogger('aioluahttp').addHandler(Told())
    spare = []
    HARD = resource.getrlimit(resource.RLIMIT_NOFILE)[1]

    async def main():
        loop = asyncio.get_running_loop()
        loop.slow_callback_duration = 60  # a busy machine is no fault
        async with http.listen('127.0.0.1', 0, lambda request: {'status': 204}) as server:
            client = socket.socket()
            client.setblocking(False)
            resource.setrlimit(resource.RLIMIT_NOFILE, (64, HARD))
            with contextlib.suppress(OSError):
                while True:
                    spare.append(os.dup(0))
            await loop.sock_connect(client, ('127.0.0.1', server.port))
            await loop.sock_sendall(client, b'GET / HTTP/1.1\\r\\nHost: h\\r\\n\\r\\n')
            print((await loop.sock_recv(client, 12)).decode(), told)
            client.close()

    asyncio.run(main())
""")


@pytest.mark.skipif(sys.platform == 'win32', reason='limits are those of posix')
def test_a_process_at_its_limit_recovers():
    """Without a free file descriptor it logs once, and accepts again when there is one."""
    done = subprocess.run(
        [sys.executable, '-X', 'dev', '-W', 'error::ResourceWarning', '-c', SCRIPT],
        capture_output=True,
        text=True,
        timeout=60,
        check=False,
    )
    told = ['cannot accept connections for 0.01 s: [Errno 24] Too many open files']
    assert (0, '', f'HTTP/1.1 204 {told}\n') == (done.returncode, done.stderr, done.stdout)


def can_ipv6():
    """Tell whether there is an IPv6 loopback."""
    try:
        socket.create_server(('::1', 0), family=socket.AF_INET6).close()
    except OSError:
        return False
    return True


def is_free(port):
    """Tell whether any user may bind a port below 1024."""
    start = Path('/proc/sys/net/ipv4/ip_unprivileged_port_start')
    return os.geteuid() == 0 or (start.exists() and int(start.read_text()) <= port)


ipv6 = pytest.mark.skipif(not can_ipv6(), reason='there is no IPv6 here')
BOTH = {socket.AF_INET, socket.AF_INET6}


@pytest.fixture
def bind():
    """Call ``bind_tcp``, and close the sockets after the test."""
    with ExitStack() as opened:

        async def bound(*arguments, **options):
            return [opened.enter_context(one) for one in await bind_tcp(*arguments, **options)]

        yield bound


async def connected(address, family=socket.AF_INET):
    """Tell whether a connection can be opened."""
    with socket.socket(family) as client:
        client.setblocking(False)
        await asyncio.get_running_loop().sock_connect(client, address)
    return True


@pytest.mark.parametrize(
    ('host', 'families'),
    [
        ('127.0.0.1', {socket.AF_INET}),
        ('0.0.0.0', {socket.AF_INET}),
        pytest.param('::1', {socket.AF_INET6}, marks=ipv6),
        pytest.param('::', {socket.AF_INET6}, marks=ipv6),
        pytest.param(None, BOTH, marks=ipv6),
        pytest.param('', BOTH, marks=ipv6),
    ],
)
async def test_a_host_has_one_port_in_all_address_families(bind, host, families):
    """Port 0 picks one that is free in each; a client reaches every socket."""
    sockets = await bind(host, 0)
    [port] = {one.getsockname()[1] for one in sockets}
    assert families == {one.family for one in sockets}
    for one in sockets:
        name = '127.0.0.1' if one.family == socket.AF_INET else '::1'
        assert await connected((name, port), one.family)


async def test_localhost_has_one_port_in_all_address_families(bind):
    """The addresses that it resolves to differ from machine to machine."""
    sockets = await bind('localhost', 0)
    assert 1 == len({one.getsockname()[1] for one in sockets})


async def test_a_port_that_is_free_in_one_family_only_is_not_used():
    """Other ports are tried, until ``TRIES`` were not free in both."""
    loop, asked = asyncio.get_running_loop(), []

    async def resolve(host, port, **options):
        asked.append((host, port))
        return [(socket.AF_INET, 1, 6, '', (name, port)) for name in ('127.0.0.1', '0.0.0.0')]

    loop.getaddrinfo = resolve  # a port that 127.0.0.1 has is never free on 0.0.0.0
    with pytest.raises(OSError, match=r'cannot listen on two:0: ') as caught:
        await bind_tcp('two', 0)
    assert (errno.EADDRINUSE, [('two', 0)]) == (caught.value.errno, asked)


async def test_an_address_that_is_resolved_twice_is_bound_once(bind):
    """A resolver may return duplicates."""
    loop = asyncio.get_running_loop()

    async def resolve(host, port, **options):
        return [(socket.AF_INET, 1, 6, '', ('127.0.0.1', port))] * 2

    loop.getaddrinfo = resolve
    assert 1 == len(await bind('twice', 0))


async def test_the_error_for_a_port_in_use_names_host_and_port(bind):
    """No socket stays open."""
    [first] = await bind('127.0.0.1', 0)
    port = first.getsockname()[1]
    for host in '127.0.0.1', '0.0.0.0':
        with pytest.raises(OSError, match=f'cannot listen on {host}:{port}: ') as caught:
            await bind(host, port)
        assert errno.EADDRINUSE == caught.value.errno
    with pytest.raises(OSError, match=rf'cannot listen on \*:{port}: '):
        await bind(None, port)


async def test_a_port_can_be_bound_again_at_once(bind):
    """A restart does not wait for connections in TIME_WAIT."""
    [first] = await bind('127.0.0.1', 0)
    address = first.getsockname()
    with socket.create_connection(address):
        first.setblocking(True)
        first.accept()[0].close()
        first.close()
        assert [address] == [one.getsockname() for one in await bind(*address)]


@pytest.mark.skipif(is_free(1), reason='every port may be bound here')
async def test_the_error_for_a_privileged_port_names_host_and_port(bind):
    """It is a PermissionError."""
    with pytest.raises(PermissionError, match=r'cannot listen on 127\.0\.0\.1:1: '):
        await bind('127.0.0.1', 1)


@pytest.mark.parametrize('host', ['192.0.2.1', 'no-such-host.invalid'])
async def test_the_error_for_a_host_of_another_machine_names_it(bind, host):
    """An address of another machine, and a name without an address."""
    with pytest.raises(OSError, match=f'cannot listen on {host}:0: '):
        await bind(host, 0)


@pytest.mark.parametrize('host', [5, ['127.0.0.1'], '\udcff', f'{"a" * 64}.example'])
async def test_an_invalid_host_is_a_table_error(bind, host):
    """A host is a str that can be looked up, or None."""
    with pytest.raises(TableError, match=r"'host' is .*; it must be an IP address or a name"):
        await bind(host, 0)


@pytest.mark.parametrize('port', [-1, 65536, '80', 80.0, True, None])
async def test_an_invalid_port_is_a_table_error(bind, port):
    """A port is an int from 0 to 65535."""
    with pytest.raises(TableError, match=r"'port' is .*; it must be an int from 0"):
        await bind('127.0.0.1', port)


@pytest.mark.skipif(not hasattr(socket, 'SO_REUSEPORT'), reason='the system has no SO_REUSEPORT')
async def test_reuse_port_lets_two_sockets_share_a_port(bind):
    """With ``reuse_port`` two sockets listen on one port."""
    [first] = await bind('127.0.0.1', 0, reuse_port=True)
    address = first.getsockname()
    assert [address] == [one.getsockname() for one in await bind(*address, reuse_port=True)]


def test_a_unix_socket_listens_on_its_path(tmp_path):
    """A client can connect to it."""
    path = str(tmp_path / 's')
    with bind_unix(path), socket.socket(socket.AF_UNIX) as client:
        client.connect(path)
    assert stat.S_ISSOCK(os.stat(path).st_mode)


def test_the_socket_of_a_dead_server_is_replaced(tmp_path):
    """A socket file on which no process listens does not prevent a start."""
    path = str(tmp_path / 's')
    bind_unix(path).close()
    with bind_unix(path), socket.socket(socket.AF_UNIX) as client:
        client.connect(path)


def test_the_socket_of_a_live_server_is_left_alone(tmp_path):
    """The error names the path; the other server still accepts."""
    path = str(tmp_path / 's')
    with bind_unix(path):
        with pytest.raises(OSError, match=f'cannot listen on {path}: ') as caught:
            bind_unix(path)
        assert errno.EADDRINUSE == caught.value.errno
        with socket.socket(socket.AF_UNIX) as client:
            client.connect(path)


def test_a_file_that_is_no_socket_is_left_alone(tmp_path):
    """It is never removed."""
    path = tmp_path / 's'
    path.write_text('mine')
    with pytest.raises(OSError, match=f'cannot listen on {path}: '):
        bind_unix(str(path))
    assert 'mine' == path.read_text()


@pytest.mark.parametrize('name', ['no/such/folder', 'x' * 200])
def test_the_error_for_an_impossible_path_names_it(tmp_path, name):
    """A missing folder, and a path that is too long."""
    with pytest.raises(OSError, match=f'cannot listen on {tmp_path / name}: '):
        bind_unix(str(tmp_path / name))


def test_unlink_unix_removes_only_the_file_with_that_inode(tmp_path):
    """Another file at the path stays; a missing file is no error."""
    path = tmp_path / 's'
    path.touch()
    inode = path.stat().st_ino
    unlink_unix(str(path), inode + 1)
    assert path.exists()
    for _ in range(2):
        unlink_unix(str(path), inode)
        assert not path.exists()


@pytest.mark.parametrize(
    ('expected', 'arguments'),
    [
        ('http://127.0.0.1:80', ('http', '127.0.0.1', 80)),
        ('https://example.com:1', ('https', 'example.com', 1)),
        ('http://127.0.0.1:1', ('http', '0.0.0.0', 1)),
        ('http://127.0.0.1:1', ('http', '', 1)),
        ('http://127.0.0.1:1', ('http', None, 1)),
        ('http://[::1]:1', ('http', '::', 1)),
        ('http://[fe80::1]:1', ('http', 'fe80::1', 1)),
        ('http://localhost', ('http', None, None)),
    ],
)
def test_url_of_names_an_address_that_a_client_can_reach(expected, arguments):
    """Every interface becomes loopback, IPv6 gets brackets, and a Unix socket a dummy host."""
    assert expected == url_of(*arguments)
