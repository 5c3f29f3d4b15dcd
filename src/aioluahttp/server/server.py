"""The ``Server`` that ``listen`` returns: address, statistics, pause, and graceful shutdown."""

from __future__ import annotations

import asyncio
import logging
import socket
import ssl
from collections.abc import Iterable, Mapping
from functools import partial
from os import stat
from typing import Any, Self

from ..exchange.responder import Responder
from ..tables.handlers import name_of_handler
from ..types import StatsTable
from .connection import Connections
from .signals import on_first_signal
from .sockets import Acceptor, bind_tcp, bind_unix, unlink_unix, url_of

__all__ = ['GRACE', 'Server', 'abandon_task']

logger: logging.Logger = logging.getLogger('aioluahttp')

BACKLOG = 128
GRACE = 15.0  # seconds for running callbacks to end
LAST = 1.0  # seconds for connections to close after that, and between cancellations of a callback
CANCELLATIONS = 3  # of a callback that swallows them; then it is given up


class Server:
    """A server that ``listen`` has started.

    Attributes:
        host: The host given to ``listen``, else the address of the socket; None on a Unix socket.
        port: The port it listens on, also if 0 was given; None on a Unix socket.
        url: A URL with which a client on this machine reaches it, without a slash at the end.
        status: ``'listening'``, ``'paused'``, ``'closing'`` or ``'closed'``.
    """

    def __init__(self, responder: Responder, options: Mapping[str, Any]) -> None:
        self.host: str | None = None
        self.port: int | None = None
        self.url: str = ''
        self.status: str = 'starting'
        self._responder = responder
        self._options = options
        self._connections = Connections(responder)
        self._grace: float | None = options.get('shutdown_timeout', GRACE)
        self._sockets: list[socket.socket] = []
        self._unix: tuple[str, int] | None = None
        self._closer: asyncio.Task[None] | None = None
        self._closed = asyncio.Event()

    @classmethod
    async def start(
        cls, responder: Responder, host: str | None, port: int | None, options: Mapping[str, Any]
    ) -> Self:
        """Create a server and start listening. Call ``listen`` instead."""
        server = cls(responder, options)
        await server._bind(host, port)
        try:
            await responder.lifespan.start()
        except BaseException:
            await responder.lifespan.stop()
            server._unbind()
            raise
        server._accept(host)
        return server

    def _unbind(self) -> None:
        for listening in self._sockets:
            listening.close()
        if self._unix:
            unlink_unix(*self._unix)

    def _accept(self, host: str | None) -> None:
        context: ssl.SSLContext | None = self._options.get('tls')
        tls: dict[str, Any] = {}
        if context:
            tls['ssl'] = context
            tls['ssl_handshake_timeout'] = self._responder.settings.head_timeout
            tls['ssl_shutdown_timeout'] = self._responder.settings.body_timeout
        limit = self._options.get('max_connections')
        self._acceptor = Acceptor(self._sockets, self._connections, limit, tls)
        self._acceptor.start()
        name = self._sockets[0].getsockname()
        if isinstance(name, tuple):
            self.host, self.port = host or name[0], name[1]
        self.url = url_of('https' if context else 'http', self.host, self.port)
        self.status = 'listening'

    async def _bind(self, host: str | None, port: int | None) -> None:
        backlog = self._options.get('backlog', BACKLOG)
        if unix := self._options.get('unix'):
            self._sockets = [bind_unix(unix, backlog=backlog)]
            self._unix = unix, stat(unix).st_ino
        elif listening := self._options.get('sock'):
            listening.setblocking(False)
            listening.listen(backlog)
            self._sockets = [listening]
        else:
            self._sockets = await bind_tcp(
                host,
                0 if port is None else port,
                backlog=backlog,
                reuse_port=self._options.get('reuse_port', False),
            )

    @property
    def stats(self) -> StatsTable:
        """Statistics of the server, as a table of numbers.

        ``connections`` (open) and ``in_flight`` (requests whose body is being read, that are
        being handled or whose response is being sent) are of this moment. ``requests``,
        ``errors`` (raised by the callback), ``bytes_in`` and ``bytes_out`` (of HTTP, without TLS)
        are counted from the start.
        """
        return {
            'connections': len(self._connections.open),
            'requests': self._connections.requests_count,
            'in_flight': len(self._connections.running),
            'errors': self._responder.errors,
            'bytes_in': self._connections.bytes_in,
            'bytes_out': self._connections.bytes_out,
        }

    def pause(self) -> None:
        """Stop accepting connections. Open ones go on; new ones wait in the kernel."""
        if self.status == 'listening':
            self.status = 'paused'
            self._acceptor.stop()

    def resume(self) -> None:
        """Accept connections again."""
        if self.status == 'paused':
            self.status = 'listening'
            self._acceptor.start()

    async def close(self, grace: float | None = GRACE) -> None:
        """Stop accepting, wait for running callbacks, and close all connections.

        A second call waits for the first one to finish.

        Args:
            grace: Seconds after which callbacks that still run are cancelled; ``None`` never
                cancels them. One that swallows its cancellation three times in as many seconds is
                given up, with a log record: nothing waits for it any longer.

        Raises:
            Exception: What the lifespan raised at its end, once all else is closed.
        """
        await asyncio.shield(self._begin_close(grace))

    def _begin_close(self, grace: float | None) -> asyncio.Task[None]:
        if self._closer is None:
            self._closer = asyncio.create_task(self._close(grace))
        return self._closer

    async def _close(self, grace: float | None) -> None:
        self.status = 'closing'
        self._connections.closing = True
        await self._acceptor.close()
        if self._unix:
            unlink_unix(*self._unix)
        for _ in range(3):  # requests that have just come are read and started
            await asyncio.sleep(0)
        self._connections.close_idle()
        self._connections.close_sockets()
        await self._end_requests(grace)
        await self._connections.close_all(LAST)
        try:
            await self._responder.lifespan.stop()
        finally:
            self.status = 'closed'
            self._closed.set()

    async def _end_requests(self, grace: float | None) -> None:
        """Wait for running callbacks, cancel the late ones, and give up those that run on."""
        running = self._connections.running
        requests = {one.task: one.current_request for one in running if one.task}
        late, wait = set(requests), grace
        for _ in range(CANCELLATIONS):
            late = await _unfinished(late, wait)
            wait = LAST  # cancel again: a callback may have caught the CancelledError
            for task in late:
                task.cancel()
        for task in await _unfinished(late, wait):
            name = name_of_handler(self._responder.handler)
            logger.error('%s runs on although cancelled: %s', name, requests[task])
            abandon_task(task)

    async def __aenter__(self) -> Self:
        return self

    async def __aexit__(self, *raised: object) -> None:
        await self.close(self._grace)

    async def wait_closed(self) -> None:
        """Wait until the server is closed."""
        await self._closed.wait()

    async def serve_forever(self, signals: Iterable[int] = ()) -> None:
        """Wait until the server is closed. If this is cancelled, close the server.

        Args:
            signals: Signals such as ``(SIGINT, SIGTERM)``. The first one closes the server
                gracefully, within the ``shutdown_timeout`` of ``listen``, and this returns; a
                second one has its default action, which ends the process. When this ends, the
                signal handlers are those of before.

        Raises:
            TableError: There are signals, and this is not the main thread.
        """
        with on_first_signal(signals, partial(self._begin_close, self._grace)):
            try:
                await self.wait_closed()
            finally:
                await self.close(self._grace)


def abandon_task(task: asyncio.Task[Any]) -> None:
    """Let ``asyncio.run`` end without a task: it would wait for one that cannot be cancelled."""
    asyncio._unregister_task(task)  # public, for classes of tasks (asyncio, Extending)


async def _unfinished(tasks: set[asyncio.Task[None]], seconds: float | None) -> set[Any]:
    """Wait for tasks; return those that are not done in time."""
    return (await asyncio.wait(tasks, timeout=seconds))[1] if tasks else set()
