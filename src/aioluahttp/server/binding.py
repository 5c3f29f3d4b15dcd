"""Listening sockets: opened, named and taken away again."""

from __future__ import annotations

import asyncio
import contextlib
import errno
import os
import socket
import stat
from collections.abc import Sequence
from typing import Any

from ..errors import TableError

__all__ = ['bind_tcp', 'bind_unix', 'unlink_unix', 'url_of']

TRIES = 20  # ports to try until one is free in every family at once
ANY = {'0.0.0.0': '127.0.0.1', '::': '::1', '': '127.0.0.1'}  # where a client finds "everywhere"


async def bind_tcp(
    host: str | None, port: int, *, backlog: int = 128, reuse_port: bool = False
) -> list[socket.socket]:
    """Open a listening socket for each address of a host, all on the same port.

    Args:
        host: A name or an address; ``None`` or ``''`` is every interface.
        port: 0 picks a free one.

    Raises:
        OSError: The port is in use, privileged, or the host is none of this machine's; the
            text names host and port.
        TableError: The host is no text, or the port no number from 0 to 65535.
    """
    if isinstance(port, bool) or not isinstance(port, int) or not 0 <= port <= 65535:
        raise TableError.of('port', port, 'an int from 0 (any free port) to 65535')
    try:
        found = await _found(host or None, port)
    except OSError as error:
        raise OSError(error.errno, f'cannot listen on {host}:{port}: {error.strerror}') from error
    except (TypeError, ValueError) as error:
        raise TableError.of('host', host, 'an IP address or a name, or None') from error
    tries = TRIES
    addresses = list(dict.fromkeys((family, address) for family, *_, address in found))
    while True:
        try:
            return _bind_all(addresses, port, backlog, reuse_port)
        except OSError as error:
            # With port 0 the second family may find the first one's port taken: pick again.
            tries -= 1
            if port == 0 and error.errno == errno.EADDRINUSE and tries:
                continue
            what = f'cannot listen on {host or "*"}:{port}: {error.strerror}'
            raise OSError(error.errno, what) from error


async def _found(host: str | None, port: int) -> list[Any]:
    passive = socket.AI_PASSIVE
    with contextlib.suppress(socket.gaierror):  # of a name, which takes a thread to look up
        numeric = passive | socket.AI_NUMERICHOST
        return socket.getaddrinfo(host, port, type=socket.SOCK_STREAM, flags=numeric)
    loop = asyncio.get_running_loop()
    return await loop.getaddrinfo(host, port, type=socket.SOCK_STREAM, flags=passive)


def _bind_all(
    addresses: Sequence[tuple[int, Any]], port: int, backlog: int, reuse_port: bool
) -> list[socket.socket]:
    with contextlib.ExitStack() as opened:
        sockets = []
        for family, address in addresses:
            listening = opened.enter_context(socket.socket(family, socket.SOCK_STREAM))
            _prepare(listening, reuse_port)
            listening.bind((address[0], port, *address[2:]))
            port = listening.getsockname()[1]
            listening.listen(backlog)
            sockets.append(listening)
        opened.pop_all()
        return sockets


def _prepare(listening: socket.socket, reuse_port: bool) -> None:
    listening.setblocking(False)
    # Elsewhere than on posix it would let others take the port.
    listening.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, os.name == 'posix')
    if reuse_port:
        listening.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEPORT, 1)
    if listening.family == socket.AF_INET6:  # the other family has a socket of its own
        listening.setsockopt(socket.IPPROTO_IPV6, socket.IPV6_V6ONLY, 1)


def bind_unix(path: str, *, backlog: int = 128) -> socket.socket:
    """Open a listening Unix socket. A file that a dead server has left there is replaced.

    Raises:
        OSError: A live server has the path, or it cannot be made; the text names it.
    """
    listening = socket.socket(socket.AF_UNIX, socket.SOCK_STREAM)
    try:
        if _is_dead(path):
            os.unlink(path)
        listening.bind(path)
        listening.listen(backlog)
        listening.setblocking(False)
    except OSError as error:
        listening.close()
        what = f'cannot listen on {path}: {error.strerror or error}'
        raise OSError(error.errno, what) from error
    return listening


def _is_dead(path: str) -> bool:
    """Tell whether a path is a socket that nobody answers on."""
    try:
        if not stat.S_ISSOCK(os.stat(path).st_mode):
            return False
        with socket.socket(socket.AF_UNIX, socket.SOCK_STREAM) as probe:
            probe.setblocking(False)
            return probe.connect_ex(path) == errno.ECONNREFUSED
    except FileNotFoundError:
        return False


def unlink_unix(path: str, inode: int) -> None:
    """Remove the file of a Unix socket, if it is still the one with that inode."""
    with contextlib.suppress(FileNotFoundError):
        if os.stat(path).st_ino == inode:
            os.unlink(path)


def url_of(scheme: str, host: str | None, port: int | None) -> str:
    """Write a URL under which a client on the same machine finds a listening socket."""
    if port is None:
        return f'{scheme}://localhost'
    name = ANY.get(host or '', host)
    return f'{scheme}://[{name}]:{port}' if ':' in (name or '') else f'{scheme}://{name}:{port}'
