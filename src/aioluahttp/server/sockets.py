"""Listening sockets: bind them, accept connections up to a limit, and remove socket files.

What happens on an accepted connection is in ``server/connection``.
"""

from __future__ import annotations

import asyncio
import contextlib
import errno
import logging
import os
import socket
import stat
from collections.abc import Sequence
from typing import Any

from ..errors import TableError
from ..tables.models import bracketed
from .connection import Connections
from .handshakes import TlsHandshake, send_alerts

__all__ = ['Acceptor', 'bind_tcp', 'bind_unix', 'unlink_unix', 'url_of']

logger: logging.Logger = logging.getLogger('aioluahttp')

BURST = 100  # connections accepted in a row before other callbacks of the loop run
GONE = (BlockingIOError, ConnectionAbortedError, InterruptedError)  # nothing left to accept
RECOVERY = 1.0  # seconds without accepting after file descriptors or memory ran out
TRIES = 20  # ports tried until one is free in every address family
ANY = {'0.0.0.0': '127.0.0.1', '::': '::1', '': '127.0.0.1'}  # every interface -> loopback


class Acceptor:
    """Accepts connections unless it is stopped or their limit is reached.

    Further connections wait in the backlog of the kernel.

    Args:
        sockets: Listening sockets; ``close`` closes them.
        connections: The protocol factory, which also reports when a connection was lost.
        limit: Connections at once; ``None`` is no limit.
        tls: asyncio's keyword arguments for TLS; empty without TLS.
    """

    def __init__(
        self,
        sockets: Sequence[socket.socket],
        connections: Connections,
        limit: int | None,
        tls: dict[str, Any],
    ) -> None:
        self._loop = asyncio.get_running_loop()
        self._sockets = sockets
        self._connections = connections
        self._limit = limit
        self._tls = tls
        if tls:
            send_alerts(tls['ssl'])
        # Accepted sockets that are no connections yet: their TLS handshake is not done.
        self._making: dict[asyncio.Task[Any], TlsHandshake] = {}
        # Tasks of _accept_each, on loops without add_reader.
        self._watching: dict[socket.socket, asyncio.Task[None]] = {}
        self._wanted = self._accepting = self._closed = False
        self._room = asyncio.Event()  # set while _accepting is True
        self._recovery: asyncio.TimerHandle | None = None
        connections.on_gone = self._update

    def start(self) -> None:
        """Start accepting."""
        self._wanted = True
        self._update()

    def stop(self) -> None:
        """Stop accepting; open connections go on."""
        self._wanted = False
        self._update()

    async def close(self) -> None:
        """Stop accepting, close the sockets, and drop connections that are not established yet."""
        self._closed = True
        self.stop()
        for listening in self._sockets:
            listening.close()
        if self._recovery:
            self._recovery.cancel()
        for task in (watching := self._watching.values()):
            task.cancel()
        # Without TLS they are established in a moment. A TLS handshake is ended by a shutdown of
        # its socket: if its task were cancelled, asyncio or uvloop might keep the socket open, or
        # never report its end.
        for handshake in self._making.values() if self._tls else ():
            with contextlib.suppress(OSError):
                handshake.accepted.shutdown(socket.SHUT_RDWR)
        await asyncio.gather(*self._making, *watching, return_exceptions=True)

    def _update(self) -> None:
        count = len(self._making) + len(self._connections.open)
        room = self._limit is None or count < self._limit
        accepting = self._wanted and room and self._recovery is None
        if accepting != self._accepting:
            self._accepting = accepting
            (self._room.set if accepting else self._room.clear)()
            for listening in self._sockets:
                (self._watch if accepting else self._ignore)(listening)

    def _watch(self, listening: socket.socket) -> None:
        if listening in self._watching:
            return
        try:
            self._loop.add_reader(listening, self._accept, listening)
        except NotImplementedError:  # the default loop on Windows
            self._watching[listening] = self._loop.create_task(self._accept_each(listening))

    def _ignore(self, listening: socket.socket) -> None:
        if listening not in self._watching:
            self._loop.remove_reader(listening)

    async def _accept_each(self, listening: socket.socket) -> None:
        # Cancelling sock_accept could lose a connection. So one that is accepted during a pause
        # waits here until the pause is over.
        while True:
            await self._room.wait()
            try:
                accepted, peer = await self._loop.sock_accept(listening)
            except GONE:
                continue
            except OSError as error:
                self._failed(error)
                continue
            try:
                await self._room.wait()
            except asyncio.CancelledError:
                accepted.close()
                raise
            self._hand_over(accepted, peer)

    def _accept(self, listening: socket.socket) -> None:
        for _ in range(BURST):
            if not self._accepting:
                return
            try:
                accepted, peer = listening.accept()
            except GONE:
                return
            except OSError as error:
                self._failed(error)
                return
            accepted.setblocking(False)
            self._hand_over(accepted, peer)

    def _failed(self, error: OSError) -> None:
        """Stop accepting for ``RECOVERY`` seconds: no file descriptors or memory are left."""
        logger.error('cannot accept connections for %s s: %s', RECOVERY, error)
        self._recovery = self._loop.call_later(RECOVERY, self._recovered)
        self._update()

    def _recovered(self) -> None:
        self._recovery = None
        self._update()

    def _hand_over(self, accepted: socket.socket, peer: Any) -> None:
        connection = self._connections()
        handshake = TlsHandshake(accepted, peer)
        task = self._loop.create_task(
            self._loop.connect_accepted_socket(lambda: connection, accepted, **self._tls),
            context=handshake.context() if self._tls else None,
        )
        self._making[task] = handshake
        task.add_done_callback(self._made)
        self._update()

    def _made(self, task: asyncio.Task[Any]) -> None:
        handshake = self._making.pop(task)
        self._update()
        try:
            with contextlib.suppress(asyncio.CancelledError):
                task.result()
        except OSError as error:
            if self._tls and not self._closed and handshake.error is None:
                handshake.log(error)


async def bind_tcp(
    host: str | None, port: int, *, backlog: int = 128, reuse_port: bool = False
) -> list[socket.socket]:
    """Open a listening socket for each address of a host, all on the same port.

    Args:
        host: A name or an address; ``None`` or ``''`` is every interface.
        port: 0 picks a free one.

    Raises:
        OSError: The port is in use or privileged, or the host is not an address of this machine.
            The message names host and port.
        TableError: The host is not a str or None, or the port not an int from 0 to 65535.
    """
    if isinstance(port, bool) or not isinstance(port, int) or not 0 <= port <= 65535:
        raise TableError.of('port', port, 'an int from 0 (any free port) to 65535')
    try:
        found = await _addresses_of(host or None, port)
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
            # With port 0, the port picked in the first family may be taken in the second.
            tries -= 1
            if port == 0 and error.errno == errno.EADDRINUSE and tries:
                continue
            what = f'cannot listen on {host or "*"}:{port}: {error.strerror}'
            raise OSError(error.errno, what) from error


async def _addresses_of(host: str | None, port: int) -> list[Any]:
    passive = socket.AI_PASSIVE
    with contextlib.suppress(socket.gaierror):  # a name needs a DNS lookup in a thread, below
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
    # On Windows this option would let another process take the port.
    listening.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, os.name == 'posix')
    if reuse_port:
        listening.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEPORT, 1)
    if listening.family == socket.AF_INET6:  # IPv4 has a socket of its own
        listening.setsockopt(socket.IPPROTO_IPV6, socket.IPV6_V6ONLY, 1)


def bind_unix(path: str, *, backlog: int = 128) -> socket.socket:
    """Open a listening Unix socket. The socket file of a dead server is replaced.

    Raises:
        OSError: A live server listens on the path, or the file cannot be created. The message
            names the path.
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
    """Tell whether a path is a Unix socket on which no process listens."""
    try:
        if not stat.S_ISSOCK(os.stat(path).st_mode):
            return False
        with socket.socket(socket.AF_UNIX, socket.SOCK_STREAM) as probe:
            probe.setblocking(False)
            return probe.connect_ex(path) == errno.ECONNREFUSED
    except FileNotFoundError:
        return False


def unlink_unix(path: str, inode: int) -> None:
    """Remove the file of a Unix socket, if it still has that inode number."""
    with contextlib.suppress(FileNotFoundError):
        if os.stat(path).st_ino == inode:
            os.unlink(path)


def url_of(scheme: str, host: str | None, port: int | None) -> str:
    """Return a URL with which a client on the same machine reaches a listening socket."""
    if port is None:
        return f'{scheme}://localhost'
    name = host or ''
    return f'{scheme}://{bracketed(ANY.get(name, name))}:{port}'
