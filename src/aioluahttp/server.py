"""A server that listens, and its end."""

from __future__ import annotations

import asyncio
import contextlib
import socket
import ssl
from collections.abc import Mapping
from os import stat
from typing import Any, Self

from .binding import bind_tcp, bind_unix, unlink_unix, url_of
from .connections import Connections
from .exchange import Exchange

__all__ = ['GRACE', 'Server']

BACKLOG = 128
KEEPALIVE = 75.0  # longer than the minute of common proxies, so that they close first
GRACE = 15.0
LAST = 1.0  # what connections get to end once no callback runs


class Server:
    """A server that ``listen`` has started.

    Attributes:
        host: The host it was given, or the address of its socket.
        port: The port it listens on, also where 0 was given; None for a Unix socket.
        url: A URL under which a client on this machine finds it, without a slash at its end.
        status: ``'listening'``, ``'closing'`` or ``'closed'``.
    """

    def __init__(self, exchange: Exchange, options: Mapping[str, Any]) -> None:
        self.host: str | None = None
        self.port: int | None = None
        self.url = ''
        self.status = 'starting'
        self._exchange = exchange
        self._options = options
        self._connections = Connections(
            exchange,
            access_log=None,
            keepalive_timeout=options.get('keepalive_timeout', KEEPALIVE),
            auto_decompress=False,  # codings undoes it: within the limit, and up to its end
        )
        self._grace: float | None = options.get('shutdown_timeout', GRACE)
        self._backlog: int = options.get('backlog', BACKLOG)
        self._sockets: list[socket.socket] = []
        self._accepting: list[asyncio.Server] = []
        self._unix: tuple[str, int] | None = None
        self._closer: asyncio.Task[None] | None = None
        self._closed = asyncio.Event()

    @classmethod
    async def start(
        cls, exchange: Exchange, host: str | None, port: int | None, options: Mapping[str, Any]
    ) -> Self:
        """Make a server and let it listen. ``listen`` is what calls this."""
        server = cls(exchange, options)
        try:
            await server._bind(host, port)
            await server._accept(host)
        except BaseException:
            await server._release()
            raise
        return server

    async def _accept(self, host: str | None) -> None:
        tls: ssl.SSLContext | None = self._options.get('tls')
        loop = asyncio.get_running_loop()
        for listening in self._sockets:
            self._accepting.append(
                await loop.create_server(
                    self._connections, sock=listening, ssl=tls, backlog=self._backlog
                )
            )
        name = self._sockets[0].getsockname()
        if isinstance(name, tuple):
            self.host, self.port = host or name[0], name[1]
        self.url = url_of('https' if tls else 'http', self.host, self.port)
        self.status = 'listening'

    async def _release(self) -> None:
        """Give back what was bound."""
        for accepting in self._accepting:
            accepting.close()
        for listening in self._sockets:
            listening.close()
        with contextlib.suppress(TimeoutError):  # who only begins a TLS handshake can hold it up
            async with asyncio.timeout(LAST):
                for accepting in self._accepting:
                    await accepting.wait_closed()
        if self._unix:
            unlink_unix(*self._unix)

    async def _bind(self, host: str | None, port: int | None) -> None:
        if unix := self._options.get('unix'):
            self._sockets = [bind_unix(unix, backlog=self._backlog)]
            self._unix = unix, stat(unix).st_ino
        elif listening := self._options.get('sock'):
            listening.setblocking(False)
            self._sockets = [listening]
        else:
            self._sockets = await bind_tcp(
                host,
                0 if port is None else port,
                backlog=self._backlog,
                reuse_port=self._options.get('reuse_port', False),
            )

    async def close(self, grace: float | None = GRACE) -> None:
        """Stop accepting, let callbacks that run come to their end, and close.

        Args:
            grace: Seconds after which the callbacks that still run are cancelled; ``None``
                waits for them however long they take.

        Called again, it waits for the first call to be done.
        """
        if self._closer is None:
            self._closer = asyncio.create_task(self._close(grace))
        await asyncio.shield(self._closer)

    async def _close(self, grace: float | None) -> None:
        self.status = 'closing'
        self._exchange.closing = True
        await self._stop_accepting()
        self._connections.close_idle()
        await asyncio.sleep(0)  # what has just been read becomes a task that runs
        if running := set(self._exchange.running.values()):
            _, late = await asyncio.wait(running, timeout=grace)
            for task in late:
                task.cancel()
            if late:
                await asyncio.wait(late)
        await self._connections.close_all(LAST)
        await self._release()
        self.status = 'closed'
        self._closed.set()

    async def _stop_accepting(self) -> None:
        loop = asyncio.get_running_loop()
        with contextlib.suppress(NotImplementedError):  # Windows has no readers
            for listening in self._sockets:
                loop.remove_reader(listening)
        # asyncio loses, open, what it has accepted and not yet made a connection of.
        await asyncio.sleep(0)
        for accepting in self._accepting:
            accepting.close()

    async def __aenter__(self) -> Self:
        return self

    async def __aexit__(self, *raised: object) -> None:
        await self.close(self._grace)

    async def wait_closed(self) -> None:
        """Wait until the server is closed."""
        await self._closed.wait()

    async def serve_forever(self) -> None:
        """Wait until the server is closed; cancelled, close it."""
        try:
            await self.wait_closed()
        except asyncio.CancelledError:
            await self.close(self._grace)
            raise
