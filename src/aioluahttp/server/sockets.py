"""Listening sockets that hand over connections: stopped, started, and no more than a limit."""

from __future__ import annotations

import asyncio
import contextlib
import logging
import socket
from collections.abc import Sequence
from typing import Any

from .connection import Connections

__all__ = ['Acceptor']

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
