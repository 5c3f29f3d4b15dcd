"""Listening sockets: opened, named and taken away again."""

import asyncio
import errno
import os
import socket
import stat
from contextlib import ExitStack
from pathlib import Path

import pytest

from aioluahttp.errors import TableError
from aioluahttp.server.binding import bind_tcp, bind_unix, unlink_unix, url_of


def can_ipv6():
    """Tell whether there is a loopback of IPv6."""
    try:
        socket.create_server(('::1', 0), family=socket.AF_INET6).close()
    except OSError:
        return False
    return True


def is_free(port):
    """Tell whether anyone may bind a port below 1024."""
    start = Path('/proc/sys/net/ipv4/ip_unprivileged_port_start')
    return os.geteuid() == 0 or (start.exists() and int(start.read_text()) <= port)


ipv6 = pytest.mark.skipif(not can_ipv6(), reason='there is no IPv6 here')
BOTH = {socket.AF_INET, socket.AF_INET6}


@pytest.fixture
def bind():
    """Bind as ``bind_tcp`` does, for as long as the test runs."""
    with ExitStack() as opened:

        async def bound(*arguments, **options):
            return [opened.enter_context(one) for one in await bind_tcp(*arguments, **options)]

        yield bound


async def connected(address, family=socket.AF_INET):
    """Tell whether a connection comes about."""
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
async def test_a_host_has_one_port_in_all_its_families(bind, host, families):
    """Port 0 picks one that is free in each; a client reaches every socket."""
    sockets = await bind(host, 0)
    [port] = {one.getsockname()[1] for one in sockets}
    assert families == {one.family for one in sockets}
    for one in sockets:
        name = '127.0.0.1' if one.family == socket.AF_INET else '::1'
        assert await connected((name, port), one.family)


async def test_localhost_has_one_port_in_all_its_families(bind):
    """What it resolves to differs from machine to machine."""
    sockets = await bind('localhost', 0)
    assert 1 == len({one.getsockname()[1] for one in sockets})


async def test_a_port_that_only_one_family_has_is_not_taken():
    """It tries others, and gives up when none is free in both."""
    loop, asked = asyncio.get_running_loop(), []

    async def resolve(host, port, **options):
        asked.append((host, port))
        return [(socket.AF_INET, 1, 6, '', (name, port)) for name in ('127.0.0.1', '0.0.0.0')]

    loop.getaddrinfo = resolve  # all interfaces never have the port that one has
    with pytest.raises(OSError, match=r'cannot listen on two:0: ') as caught:
        await bind_tcp('two', 0)
    assert (errno.EADDRINUSE, [('two', 0)]) == (caught.value.errno, asked)


async def test_an_address_that_is_named_twice_is_bound_once(bind):
    """A resolver may repeat itself."""
    loop = asyncio.get_running_loop()

    async def resolve(host, port, **options):
        return [(socket.AF_INET, 1, 6, '', ('127.0.0.1', port))] * 2

    loop.getaddrinfo = resolve
    assert 1 == len(await bind('twice', 0))


async def test_a_port_in_use_is_named(bind):
    """The error says host and port, and leaves no socket open."""
    [first] = await bind('127.0.0.1', 0)
    port = first.getsockname()[1]
    for host in '127.0.0.1', '0.0.0.0':
        with pytest.raises(OSError, match=f'cannot listen on {host}:{port}: ') as caught:
            await bind(host, port)
        assert errno.EADDRINUSE == caught.value.errno
    with pytest.raises(OSError, match=rf'cannot listen on \*:{port}: '):
        await bind(None, port)


async def test_a_port_that_was_used_is_free_again(bind):
    """A restart does not wait for connections that linger."""
    [first] = await bind('127.0.0.1', 0)
    address = first.getsockname()
    with socket.create_connection(address):
        first.setblocking(True)
        first.accept()[0].close()
        first.close()
        assert [address] == [one.getsockname() for one in await bind(*address)]


@pytest.mark.skipif(is_free(1), reason='every port may be bound here')
async def test_a_privileged_port_is_named(bind):
    """The error says host and port."""
    with pytest.raises(PermissionError, match=r'cannot listen on 127\.0\.0\.1:1: '):
        await bind('127.0.0.1', 1)


@pytest.mark.parametrize('host', ['192.0.2.1', 'no-such-host.invalid'])
async def test_a_host_of_no_interface_is_named(bind, host):
    """An address of another machine, and a name that has none, are errors that say which."""
    with pytest.raises(OSError, match=f'cannot listen on {host}:0: '):
        await bind(host, 0)


@pytest.mark.parametrize('host', [5, ['127.0.0.1'], '\udcff', f'{"a" * 64}.example'])
async def test_what_is_no_host_is_a_table_error(bind, host):
    """A host is a text that can be looked up, or None."""
    with pytest.raises(TableError, match=r"'host' is .*; it must be an IP address or a name"):
        await bind(host, 0)


@pytest.mark.parametrize('port', [-1, 65536, '80', 80.0, True, None])
async def test_what_is_no_port_is_a_table_error(bind, port):
    """A port is an int from 0 to 65535."""
    with pytest.raises(TableError, match=r"'port' is .*; it must be an int from 0"):
        await bind('127.0.0.1', port)


@pytest.mark.skipif(not hasattr(socket, 'SO_REUSEPORT'), reason='the system has no SO_REUSEPORT')
async def test_a_port_can_be_shared(bind):
    """With ``reuse_port`` two sockets listen on one port."""
    [first] = await bind('127.0.0.1', 0, reuse_port=True)
    address = first.getsockname()
    assert [address] == [one.getsockname() for one in await bind(*address, reuse_port=True)]


def test_a_unix_socket_listens(tmp_path):
    """A client reaches it under its path."""
    path = str(tmp_path / 's')
    with bind_unix(path), socket.socket(socket.AF_UNIX) as client:
        client.connect(path)
    assert stat.S_ISSOCK(os.stat(path).st_mode)


def test_the_socket_of_a_dead_server_is_replaced(tmp_path):
    """A file on which nobody answers is in nobody's way."""
    path = str(tmp_path / 's')
    bind_unix(path).close()
    with bind_unix(path), socket.socket(socket.AF_UNIX) as client:
        client.connect(path)


def test_the_socket_of_a_live_server_is_left_alone(tmp_path):
    """The error names the path; the other still answers."""
    path = str(tmp_path / 's')
    with bind_unix(path):
        with pytest.raises(OSError, match=f'cannot listen on {path}: ') as caught:
            bind_unix(path)
        assert errno.EADDRINUSE == caught.value.errno
        with socket.socket(socket.AF_UNIX) as client:
            client.connect(path)


def test_a_foreign_file_is_left_alone(tmp_path):
    """What is no socket is never removed."""
    path = tmp_path / 's'
    path.write_text('mine')
    with pytest.raises(OSError, match=f'cannot listen on {path}: '):
        bind_unix(str(path))
    assert 'mine' == path.read_text()


@pytest.mark.parametrize('name', ['no/such/folder', 'x' * 200])
def test_a_path_that_cannot_be_is_named(tmp_path, name):
    """A folder that is missing and a path too long are errors that say which."""
    with pytest.raises(OSError, match=f'cannot listen on {tmp_path / name}: '):
        bind_unix(str(tmp_path / name))


def test_only_the_own_file_is_removed(tmp_path):
    """Not one that has come in its place; that it is gone already does not matter."""
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
def test_a_url_leads_to_the_socket(expected, arguments):
    """Everywhere is loopback, IPv6 has its brackets, and a Unix socket a host that it needs."""
    assert expected == url_of(*arguments)
