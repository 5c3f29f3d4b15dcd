"""Server connections: track them, enforce their timeouts, write with back-pressure, close them.

How bytes become requests is in ``server/framing``, how one request is handled in
``server/exchange``.
"""

from __future__ import annotations

import asyncio
import contextlib
import contextvars
import logging
import sys
from collections.abc import Awaitable, Callable
from typing import Any

from aiohttp.http_exceptions import HttpProcessingError, LineTooLong
from aiohttp.http_writer import StreamWriter
from aiohttp.web_server import Server as LowLevelServer

from ..bodies.chunks import slices
from ..exchange.responder import Responder
from ..semantics import GOING_AWAY
from ..timers import MovingDeadline
from ..url import split
from ..websockets.connection import ConnectionPeer
from .encode import encode_status_page
from .exchange import SocketExchange
from .framing import BEHIND, REST, FramedConnection

__all__ = ['Connection', 'Connections', 'PacedConnection']


logger: logging.Logger = logging.getLogger('aioluahttp')

SHORT = 16 * 1024  # bytes of a response that the buffer of a socket takes whole
PIECE = 64 * 1024  # bytes of one write over TLS; asyncio's own high-water mark is the same
LINGER = 10.0  # seconds for a peer that may still be sending to leave after the last response
NAME = 'HTTP request'  # the name of each request's task
# Called without super(), which costs 2 % of a WebSocket message on Python 3.11.
receive: Callable[[FramedConnection, bytes], None] = FramedConnection.data_received
# With few connections, an eager task saves one iteration of the loop, and thus one poll for I/O,
# per request. With more, it costs polls: clients that get responses while other requests of the
# same poll are still handled send their next requests one by one, and each poll finds fewer.
FEW = 4
LATER: dict[str, Any] = {}
EAGER: dict[str, Any] = {'eager_start': True} if sys.version_info >= (3, 12) else {}


class PacedConnection(FramedConnection):
    """A connection that writes with back-pressure, and aborts when its peer stops reading.

    The peer has ``body_timeout`` seconds to read the next part of a response.

    Attributes:
        is_paced: Whether a write ends only when the buffer of the transport is empty.
    """

    __slots__ = ('connections', 'is_paced', 'write_timer')

    def __init__(self, connections: Connections) -> None:
        super().__init__(connections, loop=connections.loop, **connections.settings)
        self.connections: Connections = connections
        self.write_timer: asyncio.TimerHandle | None = None
        self.is_paced: bool = False

    def pace(self) -> None:
        """Let each write of this response end only when the buffer of the transport is empty.

        ``Server.close`` waits for the tasks of requests, and so for a peer that reads slowly. Not
        for short responses: the socket takes them whole, and uvloop writes many of them in a row,
        for a third less CPU, unless the limit of the buffer is as low as this.
        """
        if not self.is_paced and self.transport is not None:
            self.is_paced = True
            self.transport.set_write_buffer_limits(high=1, low=0)

    def end_pace(self) -> None:
        """Take back what ``pace`` did, before the next request."""
        self.is_paced = False
        if self.transport is not None:
            self.transport.set_write_buffer_limits()

    def connection_lost(self, exc: BaseException | None) -> None:
        """End the connection."""
        super().connection_lost(exc)
        self._cancel_write_timer()

    def pause_writing(self) -> None:
        """Start the timer of a WebSocket whose peer reads slowly."""
        super().pause_writing()
        if self.channel is not None:
            self.start_write_timer(self.transport)

    def resume_writing(self) -> None:
        """Stop the timer of a WebSocket whose peer has read everything."""
        super().resume_writing()
        if self.channel is not None:
            self.end_write_timer()

    async def write(self, data: bytes) -> None:
        """Write, and wait until all has left the transport's buffer.

        Raises:
            ConnectionResetError: The client has left.
        """
        # Within one write, asyncio's TLS transport neither waits for the peer nor shows progress.
        whole = not self.is_tls or len(data) <= PIECE
        if len(data) > SHORT:
            self.pace()
        for piece in (data,) if whole else slices(data, PIECE):
            transport = self.transport
            if transport is None or transport.is_closing():
                raise ConnectionResetError('the client has left')
            transport.write(piece)
            if self.writing_paused:
                await self.drained()
            elif not whole:
                await asyncio.sleep(0)  # the transport learns only here that the peer has left
        self.connections.bytes_out += len(data)

    async def drained(self) -> None:
        """Wait until the transport's buffer is empty; abort if the peer stops reading."""
        if self.transport is not None and self.writing_paused:
            await self.wait_for_peer(StreamWriter(self, self.connections.loop).drain())

    async def wait_for_peer(self, ready: Awaitable[Any]) -> None:
        """Wait for something that happens once the peer reads; abort if it stops reading."""
        self.start_write_timer(self.transport)
        await ready
        self.end_write_timer()

    def count_written(self, size: int) -> None:
        """Count bytes that were not written by ``write``."""
        self.connections.bytes_out += size

    def write_now(self, data: bytes) -> None:
        """Write a short response without waiting for the peer."""
        if self.transport is not None:
            self.transport.write(data)
            self.connections.bytes_out += len(data)

    def close(self) -> None:
        """Close once everything is written; abort if the peer does not read it."""
        self.ended = True
        transport = self.connections.open.get(self)
        if transport is not None and not transport.is_closing():
            transport.close()
            self.start_write_timer(transport)

    force_close = close  # aiohttp's RequestHandler.connection_lost calls this

    def start_write_timer(self, transport: Any) -> None:
        """Abort the connection if its peer reads nothing for ``body_timeout`` seconds."""
        self._cancel_write_timer()
        unsent = transport.get_write_buffer_size()

        def check_progress() -> None:
            if unsent <= transport.get_write_buffer_size():
                transport.abort()
            else:
                self.start_write_timer(transport)

        seconds, connections = self.connections.responder.settings.body_timeout, self.connections
        self.write_timer = connections.loop.call_later(
            seconds, check_progress, context=connections.context
        )

    def end_write_timer(self) -> None:
        """Stop the timer, unless the connection is closing: then the peer has to read all."""
        if self.transport is not None and not self.transport.is_closing():
            self._cancel_write_timer()

    def _cancel_write_timer(self) -> None:
        if self.write_timer is not None:
            self.write_timer.cancel()
            self.write_timer = None


class Connection(PacedConnection):
    """A connection that handles its requests one after the other, each in a task of its own.

    ``head_timeout`` runs from the first byte of a request (or from accept) to the end of its
    head; ``keepalive_timeout`` from the end of a response to the first byte of the next request.
    """

    __slots__ = ('deadline',)

    def __init__(self, connections: Connections) -> None:
        super().__init__(connections)
        # By which the peer must have sent something. The context of the server: else the timer
        # would keep that of the last request alive.
        self.deadline: MovingDeadline = MovingDeadline(
            connections.loop, self._deadline_passed, connections.context
        )

    def connection_made(self, transport: Any) -> None:
        """Begin the connection, and start ``head_timeout``."""
        super().connection_made(transport)
        name = self.peername
        # A TCP peer that left before it was accepted has no name; it must not pass for a Unix
        # socket, whose peers have the address None.
        unix = None if name is not None else ''
        self.peer: str | None = name[0] if isinstance(name, tuple) else unix
        self.connections.opened(self, transport)
        self.deadline.move(self.connections.responder.settings.head_timeout)

    def connection_lost(self, exc: BaseException | None) -> None:
        """End the connection; cancel a response that writes itself.

        A running callback is cancelled with ``cancel_on_disconnect`` only, for the responder.
        """
        super().connection_lost(exc)
        self.deadline.cancel()
        # A WebSocket reports the lost connection to its callback itself.
        if self.busy and self.task and self.cancels and self.channel is None:
            self.task.cancel()
        self.connections.gone(self)

    def data_received(self, data: bytes) -> None:
        """Process received bytes, and close a half-closed connection without a complete request."""
        self.connections.bytes_in += len(data)
        receive(self, data)
        if self.at_eof and not (self.held or (self.busy and self.whole)):
            self.close()

    def eof_received(self) -> bool:  # type: ignore[override]  # asyncio allows a bool
        """Respond to a peer that half-closes, as ``nc -N`` does, before closing our side.

        A peer that half-closes after the head of a response that writes itself has left.

        Returns:
            Whether the transport stays open.
        """
        if self.channel is not None:
            stays = self.channel.close_is_pending
        else:
            self.at_eof: bool = self._responds_after_eof()
            stays = self.at_eof
        if not stays:
            self.close()  # asyncio would let the peer read the rest when it likes
        return stays

    def _responds_after_eof(self) -> bool:
        return (
            (self.busy or bool(self.held))
            and self.whole
            and not self.is_tls  # TLS has no half-close in asyncio
            and not self.connections.responder.settings.cancel_on_disconnect
            and not self.begun
        )

    def become(self, channel: ConnectionPeer) -> None:
        """Switch to a WebSocket; close it with 1001 at once if the server is closing."""
        super().become(channel)
        if self.connections.closing:
            channel.shut(GOING_AWAY)
        if self.at_eof and not channel.close_is_pending:
            self.close()

    @property
    def current_request(self) -> str:
        """Method and path of the current request, for logs: no query, and no login of a URL."""
        target = str(self.head.path)
        path = target if target.startswith('/') else split(target).get('path', '/')
        return f'{self.head.method} {path.partition("?")[0]}'

    def head_began(self) -> None:
        """Start ``head_timeout`` at the first part of a head."""
        if not self.in_head:
            super().head_began()
            self.deadline.move(self.connections.responder.settings.head_timeout)

    def expect_body(self, seconds: float) -> None:
        """Set a deadline for the next part of the body."""
        super().expect_body(seconds)
        self.deadline.move(seconds)

    def _deadline_passed(self) -> None:
        if self.reading and not self.has_more:
            self.body.set_exception(TimeoutError('no more of the body came'))
        if not (self.busy or self.held):  # a request that runs or waits is not the peer's delay
            if self.in_head and not self.ended:
                self.write_now(encode_status_page(408))
            self.close()

    def start_request(self) -> None:
        """Handle a request in a task of its own, with contextvars of its own."""
        self.connections.requests_count += 1
        self.connections.running.add(self)
        # The current context may be that of the previous request.
        context = self.connections.context.copy()
        start = EAGER if len(self.connections.open) <= FEW else LATER
        task = asyncio.Task(
            self._respond(), loop=self.connections.loop, name=NAME, context=context, **start
        )
        self.task = task if self.busy else None  # an eager task may have ended already

    async def _respond(self) -> None:
        connections = self.connections
        header = connections.responder.settings.server_header
        exchange = SocketExchange(self, header, connections.is_closing)
        keep_alive = False
        try:
            await connections.responder(exchange)
            keep_alive = exchange.keep_alive
        except ConnectionError:
            pass  # the client has left
        except Exception:
            logger.exception('the request from %s failed', self.peer)
            if not exchange.begun:
                self.write_now(encode_status_page(500))
        except (KeyboardInterrupt, SystemExit) as error:
            # An eager task would raise this in data_received, and uvloop does not stop for that.
            self.connections.loop.call_soon(_raise, error)
        finally:
            self.task = None
            self.cancels = self.begun = False
            if self.is_paced:
                self.end_pace()
            connections.running.discard(self)
            self.finish_request()
            self._continue(keep_alive)

    def _continue(self, keep_alive: bool) -> None:
        """After a response: close, go on with the bytes held, or wait for the next request."""
        if not keep_alive or self.ended or self.connections.closing:
            broken = self.body.exception() is not None
            self._leave(lingers=broken or not self.whole or bool(self.held))
        elif self.held or self.at_eof:  # by the loop, for many requests may be held
            self.connections.loop.call_soon(self.data_received, b'')
        else:
            self.deadline.move(self.connections.responder.settings.keepalive_timeout)

    def reject(self, error: HttpProcessingError) -> None:
        """Respond to a bad request with 400 or 431, without repeating any byte of it."""
        logger.info('bad request from %s: %s', self.peer, type(error).__name__)
        self.connections.requests_count += 1
        self.write_now(encode_status_page(431 if isinstance(error, LineTooLong) else 400))
        self._leave(lingers=True)

    def _leave(self, *, lingers: bool) -> None:
        """Close the connection after its last response (RFC 9112 9.6).

        With ``lingers``, for a peer that may still be sending: half-close, and wait ``LINGER``
        seconds for it to leave. Bytes that reach a closed socket make the kernel reset the
        connection, and that may destroy the response before the peer reads it. Clients that read
        the response only after they have sent the whole body get it if no more than ``REST`` bytes
        are missing.
        """
        self.ended: bool = True
        self.held: bytes = b''
        self.dropped: int = 0
        # A chunked body that is broken, or has too much beside its data, goes on all the same.
        in_body = not self.whole or self.body.exception() is not None
        # What follows CONNECT is no body, though aiohttp reads it as one.
        self.room: int = REST if in_body and self.head.method != 'CONNECT' else BEHIND
        transport = self.transport
        if transport is None or not lingers or self.at_eof or transport.is_closing():
            self.close()
        else:
            if transport.can_write_eof():  # not over TLS
                with contextlib.suppress(OSError):  # the peer may have left unnoticed
                    transport.write_eof()
            self.resume_reading()  # an unread body may have filled its buffer
            self.deadline.move(LINGER)


def _raise(error: BaseException) -> None:
    raise error


class Connections(LowLevelServer):
    """The open connections of a server, and the protocol factory that makes them.

    Attributes:
        responder: Responds to each request.
        closing: Whether the server is closing, and keeps no connection alive.
        running: The connections with a current request.
    """

    def __init__(self, responder: Responder) -> None:
        super().__init__(responder)  # type: ignore[arg-type]  # aiohttp never calls it
        self.responder = responder
        self.closing: bool = False
        self.running: set[Connection] = set()
        self.settings: dict[str, Any] = {
            'access_log': None,
            'keepalive_timeout': 0,  # Connection has deadlines of its own
            'auto_decompress': False,  # bodies/codings decodes, within max_body
        }
        self.on_gone: Callable[[], None] = lambda: None
        self.bytes_in = self.bytes_out = 0
        self.loop: asyncio.AbstractEventLoop = asyncio.get_running_loop()
        # Each request gets a copy.
        self.context: contextvars.Context = contextvars.copy_context()
        self.open: dict[PacedConnection, Any] = {}  # and their transports
        self._none_open = asyncio.Event()
        self._none_open.set()

    def __call__(self) -> Connection:
        return Connection(self)

    def is_closing(self) -> bool:
        """Tell whether the server is closing."""
        return self.closing

    def opened(self, connection: PacedConnection, transport: Any) -> None:
        """Add a new connection; abort it if the server was closed while it was accepted."""
        self.open[connection] = transport
        self._none_open.clear()
        if self.closing:
            transport.abort()

    def gone(self, connection: PacedConnection) -> None:
        """Remove a connection that was lost."""
        del self.open[connection]
        if not self.open:
            self._none_open.set()
        self.on_gone()

    def close_idle(self) -> None:
        """Close the connections without a current request.

        The others close after their response. Closed now, they would stop reading the body.
        """
        for connection in list(self.open):
            if not connection.busy:
                connection.close()

    def close_sockets(self) -> None:
        """Begin the closing handshake of all WebSockets, with code 1001 (going away)."""
        for connection in list(self.open):
            if connection.channel is not None:
                connection.channel.shut(GOING_AWAY)

    async def close_all(self, seconds: float) -> None:
        """Close all connections, and abort those still open after ``seconds``."""
        for connection in list(self.open):
            connection.close()
        with contextlib.suppress(TimeoutError):
            async with asyncio.timeout(seconds):
                await self._none_open.wait()
        for transport in list(self.open.values()):
            transport.abort()
        await self._none_open.wait()
