"""aiohttp's connections, known from the first to the last moment of each."""

from __future__ import annotations

import asyncio
import contextlib
import logging
from typing import Any

from aiohttp.web_protocol import RequestHandler
from aiohttp.web_request import BaseRequest
from aiohttp.web_server import Server as LowLevelServer

from .exchange import Exchange
from .outgoing import plain_answer

__all__ = ['Connection', 'Connections']

logger = logging.getLogger('aioluahttp')


class Connection(RequestHandler):
    """aiohttp's connection, which is known until it is gone, and says little to what is no HTTP."""

    def __init__(self, connections: Connections) -> None:
        super().__init__(connections, loop=asyncio.get_running_loop(), **connections.settings)
        self.connections = connections
        self.serving: Any = None  # the task that serves it

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        """Begin, unless the server was closed while the connection was being accepted."""
        super().connection_made(transport)
        self.connections.opened(self, transport)

    def connection_lost(self, exc: BaseException | None) -> None:
        """End, whichever side wanted it."""
        super().connection_lost(exc)
        self.connections.gone(self)

    async def start(self) -> None:
        """Serve, and close in the end: aiohttp does not when it waits for a request."""
        self.serving = asyncio.current_task()
        self.connections.serves(self.serving)
        try:
            await super().start()
        finally:
            self.force_close()

    def handle_error(
        self,
        request: BaseRequest,
        status: int = 500,
        exc: BaseException | None = None,
        message: str | None = None,
    ) -> Any:
        """Answer a request that the parser refuses; no byte of it is repeated."""
        if status >= 500:  # not the peer's fault
            logger.error('the request from %s failed', request.remote, exc_info=exc)
        else:
            logger.info('bad request from %s: %s', request.remote, type(exc).__name__)
        return plain_answer(status)


class Connections(LowLevelServer):
    """aiohttp's low-level server, which makes connections of ours."""

    def __init__(self, exchange: Exchange, **settings: Any) -> None:
        super().__init__(exchange)  # type: ignore[arg-type]  # an Answer does for a response
        self.exchange = exchange
        self.settings = settings
        self._open: dict[Connection, Any] = {}  # with their transports
        self._none_open = asyncio.Event()
        self._none_open.set()
        self._serving: set[asyncio.Task[None]] = set()

    def __call__(self) -> Connection:
        return Connection(self)

    def opened(self, connection: Connection, transport: Any) -> None:
        """Take note of a connection."""
        self._open[connection] = transport
        self._none_open.clear()
        if self.exchange.closing:
            transport.abort()

    def serves(self, task: asyncio.Task[None]) -> None:
        """Take note of the task that serves a connection."""
        self._serving.add(task)
        task.add_done_callback(self._serving.discard)

    def gone(self, connection: Connection) -> None:
        """Forget a connection; what serves it ends, but for a callback that runs."""
        del self._open[connection]
        if not self._open:
            self._none_open.set()
        if connection not in self.exchange.running:
            connection.serving.cancel()

    def close_idle(self) -> None:
        """Close the connections on which no request is being read or answered.

        The others close after their answer; told to close, they would read no more of a body.
        """
        for connection in self._open.keys() - self.exchange.running.keys():
            connection.close()

    async def close_all(self, seconds: float) -> None:
        """Close all connections, and cut off those whose peer takes too long to read."""
        await self.shutdown(seconds)
        with contextlib.suppress(TimeoutError):
            async with asyncio.timeout(seconds):
                await self._none_open.wait()
        for transport in self._open.values():
            transport.abort()
        await self._none_open.wait()
        await asyncio.gather(*self._serving, return_exceptions=True)
