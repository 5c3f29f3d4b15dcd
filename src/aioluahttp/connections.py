"""The connections of a server, known from the first to the last moment of each, with deadlines."""

from __future__ import annotations

import asyncio
import contextlib
import logging
from collections.abc import Callable
from typing import Any

from aiohttp.http_exceptions import LineTooLong
from aiohttp.web_request import BaseRequest
from aiohttp.web_server import Server as LowLevelServer

from .exchange import Exchange
from .framing import Framed
from .outgoing import plain_answer

__all__ = ['Connection', 'Connections']

logger = logging.getLogger('aioluahttp')


class Connection(Framed):
    """A connection with deadlines, and with few words for what is no HTTP.

    aiohttp has a deadline for a connection that is idle. To that come one for a head, from its
    first byte (or from connecting) to its end, which ``_expect_head`` sets, and one for a peer
    that does not read its answer, which ``expect_reading`` sets.
    """

    __slots__ = ('connections', 'head_timer', 'peer', 'reading_timer', 'serving')

    def __init__(self, connections: Connections) -> None:
        super().__init__(connections, loop=asyncio.get_running_loop(), **connections.settings)
        self.connections = connections
        self.serving: Any = None  # the task that serves it
        self.peer: str | None  # its address; None for that of a Unix socket
        self.head_timer: asyncio.TimerHandle | None = None
        self.reading_timer: asyncio.TimerHandle | None = None

    def connection_made(self, transport: Any) -> None:
        """Begin, unless the server was closed while the connection was being accepted."""
        super().connection_made(transport)
        name = self.peername
        # Who has left before it was accepted has no name either, and is no Unix socket's.
        self.peer = name[0] if isinstance(name, tuple) else '' if name is None else None
        # An answer is in flight as long as a byte of it waits here, so close() waits for that.
        transport.set_write_buffer_limits(high=1, low=0)
        self.connections.opened(self, transport)
        self._expect_head()

    def connection_lost(self, exc: BaseException | None) -> None:
        """End, whichever side wanted it."""
        super().connection_lost(exc)
        self.head_ended()
        self.is_read()
        self.connections.gone(self)

    def data_received(self, data: bytes) -> None:
        """Read what came."""
        self.connections.bytes_in += len(data)
        super().data_received(data)

    def head_began(self) -> None:
        """Set a deadline for the rest of it."""
        super().head_began()
        self._expect_head()

    def head_ended(self) -> None:
        """Take the deadline back."""
        super().head_ended()
        if self.head_timer is not None:
            self.head_timer.cancel()
            self.head_timer = None

    def _expect_head(self) -> None:
        self.keep_alive(False)  # takes back the deadline for what is idle
        if self.head_timer is None:
            seconds = self.connections.exchange.settings.head_timeout
            self.head_timer = asyncio.get_running_loop().call_later(seconds, self._head_is_late)

    def _head_is_late(self) -> None:
        self.head_timer = None
        if self.busy or self.waiting:  # the answers to other requests come first
            self._expect_head()
            return
        if self.in_head and self.transport is not None:
            self.transport.write(plain_answer(408).data)
        self.force_close()

    def eof_received(self) -> bool:  # type: ignore[override]  # asyncio's may
        """Answer a peer that only closes its own side, as ``nc`` does, before closing ours."""
        self.ended = (
            (self.busy or bool(self.waiting))
            and self.arriving[1].is_eof()
            and self.ssl_context is None  # which has no such half
            and not self.connections.exchange.settings.cancel_on_disconnect
        )
        return self.ended

    @property
    def closes(self) -> bool:
        """Whether no request will follow the one that is taken up."""
        return self.ended and not self.waiting

    async def finish_response(self, request: BaseRequest, resp: Any, start_time: Any) -> Any:
        """Write an answer, which ends the exchange."""
        closes = self.closes  # asked now: aiohttp is about to read what followed an upgrade
        try:
            return await super().finish_response(request, resp, start_time)
        finally:
            self.busy = False
            self.connections.bytes_out += len(resp.data)
            self.connections.exchange.running.pop(self, None)
            if closes or self.closes:
                self.close()

    def expect_reading(self, transport: Any) -> None:
        """Cut the connection off if its peer reads nothing for ``body_timeout`` seconds."""
        self.is_read()
        left = transport.get_write_buffer_size()

        def look() -> None:
            if left == transport.get_write_buffer_size():
                transport.abort()
            else:
                self.expect_reading(transport)

        seconds = self.connections.exchange.settings.body_timeout
        self.reading_timer = asyncio.get_running_loop().call_later(seconds, look)

    def is_read(self) -> None:
        """Take note that the peer has read what it was sent."""
        if self.reading_timer is not None:
            self.reading_timer.cancel()
            self.reading_timer = None

    async def start(self) -> None:
        """Serve, and close in the end: aiohttp does not when it waits for a request."""
        self.serving = asyncio.current_task()
        self.connections.serves(self.serving)
        try:
            await super().start()
        finally:
            self.force_close()
            if transport := self.connections.open.get(self):
                self.expect_reading(transport)

    def force_close(self) -> None:
        """Close, but only once: asyncio's TLS cannot be aborted after a second time."""
        if self.transport is not None and self.transport.is_closing():
            self.transport = None
        super().force_close()

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
        return plain_answer(431 if isinstance(exc, LineTooLong) else status)


class Connections(LowLevelServer):
    """aiohttp's low-level server, which makes connections of ours."""

    def __init__(self, exchange: Exchange) -> None:
        super().__init__(exchange, request_factory=self._taken_up)  # type: ignore[arg-type]  # an Answer does for a response
        self.exchange = exchange
        self.settings: dict[str, Any] = {
            'access_log': None,
            'keepalive_timeout': exchange.settings.keepalive_timeout,
            'auto_decompress': False,  # codings undoes it: within the limit, and up to its end
        }
        self.on_gone: Callable[[], None] = lambda: None
        self.bytes_in = self.bytes_out = 0
        self._running = asyncio.get_running_loop()
        self.open: dict[Connection, Any] = {}  # with their transports
        self._none_open = asyncio.Event()
        self._none_open.set()
        self._serving: set[asyncio.Task[None]] = set()

    def __call__(self) -> Connection:
        return Connection(self)

    def _taken_up(
        self, message: Any, body: Any, connection: Any, writer: Any, task: Any
    ) -> BaseRequest:
        connection.take_up(message, body)
        return BaseRequest(message, body, connection, writer, task, self._running)

    def opened(self, connection: Connection, transport: Any) -> None:
        """Take note of a connection."""
        self.open[connection] = transport
        self._none_open.clear()
        if self.exchange.closing:
            transport.abort()

    def serves(self, task: asyncio.Task[None]) -> None:
        """Take note of the task that serves a connection."""
        self._serving.add(task)
        task.add_done_callback(self._serving.discard)

    def gone(self, connection: Connection) -> None:
        """Forget a connection; what serves it ends, but for a callback that is to run on."""
        del self.open[connection]
        if not self.open:
            self._none_open.set()
        runs_on = connection in self.exchange.running
        if not runs_on or self.exchange.settings.cancel_on_disconnect:
            connection.serving.cancel()
        self.on_gone()

    def close_idle(self) -> None:
        """Close the connections on which no request is being read or answered.

        The others close after their answer; told to close, they would read no more of a body.
        """
        for connection in self.open:
            if not connection.busy:
                connection.close()

    async def close_all(self, seconds: float) -> None:
        """Close all connections, and cut off those whose peer takes too long to read."""
        await self.shutdown(seconds)
        with contextlib.suppress(TimeoutError):
            async with asyncio.timeout(seconds):
                await self._none_open.wait()
        for transport in self.open.values():
            transport.abort()
        await self._none_open.wait()
        await asyncio.gather(*self._serving, return_exceptions=True)
