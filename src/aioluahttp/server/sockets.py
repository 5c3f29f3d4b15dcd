"""Listening sockets that hand over connections: stopped, started, and no more than a limit.

Listening sockets: opened, named and taken away again.
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
from .connection import Connections

__all__ = ['Acceptor', 'bind_tcp', 'bind_unix', 'unlink_unix', 'url_of']

logger: logging.Logger = logging.getLogger('aioluahttp')

BURST = 100  # connections taken before the rest of the loop gets its turn
GONE = (BlockingIOError, ConnectionAbortedError, InterruptedError)  # before it was accepted
RECOVERY = 1.0  # seconds without new connections once the machine has no more file descriptors


class Acceptor:
    """Accepts connections while that is wanted and there is room for them.

    Those that are not accepted wait in the backlog of the kernel.

    Args:
        sockets: Listening ones, which it closes in the end.
        connections: What makes the connections, and tells when one has gone.
        limit: Connections at once; ``None`` is no limit.
        tls: What asyncio takes for TLS, empty for none.
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
        # Those on which TLS has not been agreed on, each with its socket.
        self._making: dict[asyncio.Task[Any], socket.socket] = {}
        self._watching: dict[socket.socket, asyncio.Task[None]] = {}  # where a loop has no readers
        self._wanted = self._accepting = False
        self._room = asyncio.Event()  # set while it accepts
        self._recovery: asyncio.TimerHandle | None = None
        connections.on_gone = self._update

    def start(self) -> None:
        """Accept, now and as room comes."""
        self._wanted = True
        self._update()

    def stop(self) -> None:
        """Accept no more; connections that there are go on."""
        self._wanted = False
        self._update()

    async def close(self) -> None:
        """Stop, close the sockets, and drop the connections that are not yet made."""
        self.stop()
        for listening in self._sockets:
            listening.close()
        if self._recovery:
            self._recovery.cancel()
        for task in (watching := self._watching.values()):
            task.cancel()
        # Without TLS they are made in a moment. A handshake ends as its peer seems to leave;
        # cancelled, asyncio or uvloop may keep the socket, or not tell of its end.
        for accepted in self._making.values() if self._tls else ():
            with contextlib.suppress(OSError):
                accepted.shutdown(socket.SHUT_RDWR)
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
        except NotImplementedError:  # the loop that Windows has by default
            self._watching[listening] = self._loop.create_task(self._accept_each(listening))

    def _ignore(self, listening: socket.socket) -> None:
        if listening not in self._watching:
            self._loop.remove_reader(listening)

    async def _accept_each(self, listening: socket.socket) -> None:
        # Stopped in the middle of accepting it could lose a connection: that one has to wait.
        while True:
            await self._room.wait()
            try:
                accepted, _ = await self._loop.sock_accept(listening)
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
            self._hand_over(accepted)

    def _accept(self, listening: socket.socket) -> None:
        for _ in range(BURST):
            if not self._accepting:
                return
            try:
                accepted, _ = listening.accept()
            except GONE:
                return
            except OSError as error:
                self._failed(error)
                return
            accepted.setblocking(False)
            self._hand_over(accepted)

    def _failed(self, error: OSError) -> None:
        """Wait: no file descriptors or memory are left."""
        logger.error('cannot accept connections for %s s: %s', RECOVERY, error)
        self._recovery = self._loop.call_later(RECOVERY, self._recovered)
        self._update()

    def _recovered(self) -> None:
        self._recovery = None
        self._update()

    def _hand_over(self, accepted: socket.socket) -> None:
        connection = self._connections()
        task = self._loop.create_task(
            self._loop.connect_accepted_socket(lambda: connection, accepted, **self._tls)
        )
        self._making[task] = accepted
        task.add_done_callback(self._made)
        self._update()

    def _made(self, task: asyncio.Task[Any]) -> None:
        del self._making[task]
        self._update()
        with contextlib.suppress(asyncio.CancelledError, OSError):  # the peer's failure in TLS
            task.result()


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
            # With port 0 the second family may find the first one's port taken: pick again.
            tries -= 1
            if port == 0 and error.errno == errno.EADDRINUSE and tries:
                continue
            what = f'cannot listen on {host or "*"}:{port}: {error.strerror}'
            raise OSError(error.errno, what) from error


async def _addresses_of(host: str | None, port: int) -> list[Any]:
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
