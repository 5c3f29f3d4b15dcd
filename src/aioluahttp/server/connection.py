"""The connections of a server, known from the first to the last moment of each, with deadlines.

What goes out on a connection, at the pace at which its peer reads.
"""

from __future__ import annotations

import asyncio
import contextlib
import contextvars
import logging
import sys
from collections.abc import Awaitable, Callable, Iterator
from typing import Any

from aiohttp.http_exceptions import HttpProcessingError, LineTooLong
from aiohttp.http_writer import StreamWriter
from aiohttp.web_server import Server as LowLevelServer

from ..websockets.connection import GOING_AWAY, ConnectionPeer
from .encode import EncodedResponse, encode_status_page
from .exchange import SocketResponder
from .framing import FramedConnection

__all__ = ['Connection', 'Connections', 'PacedConnection']


PIECE = 64 * 1024  # bytes: what asyncio lets wait for a peer that reads slowly, too


class PacedConnection(FramedConnection):
    """A connection whose peer has so long to read the next part of an answer, else is cut off."""

    __slots__ = ('connections', 'reading_timer')

    def __init__(self, connections: Connections) -> None:
        super().__init__(connections, loop=connections.loop, **connections.settings)
        self.connections: Connections = connections
        self.reading_timer: asyncio.TimerHandle | None = None

    def connection_made(self, transport: Any) -> None:
        """Begin."""
        super().connection_made(transport)
        # An answer is in flight as long as a byte of it waits here, so close() waits for that.
        transport.set_write_buffer_limits(high=1, low=0)

    def connection_lost(self, exc: BaseException | None) -> None:
        """End, whichever side wanted it."""
        super().connection_lost(exc)
        self.is_read()

    def pause_writing(self) -> None:
        """Take note that the peer does not read as fast as it is sent messages."""
        super().pause_writing()
        if self.channel is not None:
            self.expect_reading(self.transport)

    def resume_writing(self) -> None:
        """Take note that it has read them."""
        super().resume_writing()
        if self.channel is not None:
            self.is_read()

    async def write(self, data: bytes) -> None:
        """Write, and wait while the peer reads; who stops reading is cut off."""
        # asyncio's TLS does not wait for who reads, nor tell how far, within a single write.
        whole = self.ssl_context is None or len(data) <= PIECE
        for piece in (data,) if whole else _slices(data):
            transport = self.transport
            if transport is None or transport.is_closing():
                raise ConnectionResetError('the client has left')
            transport.write(piece)
            if self.writing_paused:
                await self.drained()
            elif not whole:
                await asyncio.sleep(0)  # only then it tells that the peer has left
        self.connections.bytes_out += len(data)

    async def drained(self) -> None:
        """Wait while the peer reads; who stops reading is cut off."""
        if self.transport is not None and self.writing_paused:
            await self.unread(StreamWriter(self, self.connections.loop).drain())

    async def unread(self, read: Awaitable[Any]) -> None:
        """Wait for what comes once the peer reads; who stops reading is cut off."""
        self.expect_reading(self.transport)
        await read
        self.is_read()

    def wrote(self, size: int) -> None:
        """Count bytes that were written without ``write``."""
        self.connections.bytes_out += size

    def say(self, answer: EncodedResponse) -> None:
        """Write a short answer, with no wait for who reads it."""
        if self.transport is not None:
            self.transport.write(answer.data)
            self.connections.bytes_out += len(answer.data)

    def close(self) -> None:
        """Close once everything is written; who does not read that is cut off."""
        self.ended = True
        transport = self.connections.open.get(self)
        if transport is not None and not transport.is_closing():
            transport.close()
            self.expect_reading(transport)

    force_close = close  # aiohttp's word for it, when a connection is lost

    def expect_reading(self, transport: Any) -> None:
        """Cut the connection off if its peer reads nothing for ``body_timeout`` seconds."""
        self.is_read()
        left = transport.get_write_buffer_size()

        def look() -> None:
            if left <= transport.get_write_buffer_size():
                transport.abort()
            else:
                self.expect_reading(transport)

        seconds = self.connections.exchange.settings.body_timeout
        self.reading_timer = self.connections.loop.call_later(seconds, look)

    def is_read(self) -> None:
        """Take note that the peer has read what it was sent."""
        if self.reading_timer is not None:
            self.reading_timer.cancel()
            self.reading_timer = None


def _slices(data: bytes) -> Iterator[bytes]:
    return (data[start : start + PIECE] for start in range(0, len(data), PIECE))


logger: logging.Logger = logging.getLogger('aioluahttp')

LINGER = 10.0  # seconds for a peer to leave once it is told to, while it may be sending
NAME = 'HTTP request'  # of each task
# A task that runs at once saves a turn of the loop, with its look for what has come.
EAGER: dict[str, Any] = {'eager_start': True} if sys.version_info >= (3, 12) else {}


class Connection(PacedConnection):
    """A connection that answers its requests, one after the other, each in a task of its own.

    A peer has so long for a head, from its first byte (or from connecting) to its end, and to
    begin the next one.
    """

    __slots__ = ('deadline', 'timer')

    def __init__(self, connections: Connections) -> None:
        super().__init__(connections)
        self.deadline: float = 0.0  # for the peer to say something
        self.timer: asyncio.TimerHandle | None = None  # looks whether it is past the deadline

    def connection_made(self, transport: Any) -> None:
        """Begin, unless the server was closed while the connection was being accepted."""
        super().connection_made(transport)
        name = self.peername
        # Who has left before it was accepted has no name either, and is no Unix socket's.
        unix = None if name is not None else ''
        self.peer: str | None = name[0] if isinstance(name, tuple) else unix
        self.connections.opened(self, transport)
        self._expect(self.connections.exchange.settings.head_timeout)

    def connection_lost(self, exc: BaseException | None) -> None:
        """End, whichever side wanted it; a callback may run on, an answer does not."""
        super().connection_lost(exc)
        if self.timer is not None:
            self.timer.cancel()
        cancels = self.cancels or self.connections.exchange.settings.cancel_on_disconnect
        if self.busy and self.task and cancels and self.channel is None:  # which tells by itself
            self.task.cancel()
        self.connections.gone(self)

    def data_received(self, data: bytes) -> None:
        """Read what came."""
        self.connections.bytes_in += len(data)
        super().data_received(data)
        if self.at_eof and not (self.held or (self.busy and self.whole)):
            self.close()  # no whole request is left

    def eof_received(self) -> bool:  # type: ignore[override]  # asyncio's may
        """Answer a peer that only closes its own side, as ``nc`` does, before closing ours.

        Who does so behind the head of an answer that takes its time has left.
        """
        if self.channel is not None:
            return self.channel.answers
        self.at_eof: bool = (
            (self.busy or bool(self.held))
            and self.whole
            and self.ssl_context is None  # which has no such half
            and not self.connections.exchange.settings.cancel_on_disconnect
            and not self.begun
        )
        return self.at_eof

    def become(self, channel: ConnectionPeer) -> None:
        """Be a WebSocket from now on, if only to close it because the server does."""
        super().become(channel)
        if self.connections.exchange.closing:
            channel.shut(GOING_AWAY)
        if self.at_eof and not channel.answers and self.transport is not None:
            self.transport.close()

    def head_began(self) -> None:
        """Set a deadline for the rest of it."""
        if not self.in_head:
            super().head_began()
            self._expect(self.connections.exchange.settings.head_timeout)

    def expect_body(self, seconds: float) -> None:
        """Set a deadline for the next part of it."""
        super().expect_body(seconds)
        self._expect(seconds)

    def _expect(self, seconds: float) -> None:
        """Set the time by which the peer must have said something."""
        loop = self.connections.loop
        self.deadline = loop.time() + seconds
        if self.timer is not None and self.timer.when() > self.deadline:
            self.timer.cancel()
            self.timer = None
        if self.timer is None:  # else it looks again when its time has come
            self._look_later()

    def _look_later(self) -> None:
        # In its own context, or it would keep that of the request that was answered last.
        connections = self.connections
        self.timer = connections.loop.call_at(
            self.deadline, self._look, context=connections.context
        )

    def _look(self) -> None:
        self.timer = None
        if self.connections.loop.time() < self.deadline:
            self._look_later()
        elif self.reading:
            self.body.set_exception(TimeoutError('no more of the body came'))
        elif not (self.busy or self.held):  # else it is for the callback to be done, or begun
            if self.in_head and not self.ended:
                self.say(encode_status_page(408))
            self.close()

    def taken_up(self) -> None:
        """Answer a request in a task of its own, with contextvars of its own."""
        self.connections.requests_count += 1
        self.connections.exchange.running.add(self)
        # This may run in the context of the request before.
        context = self.connections.context.copy()
        task = asyncio.Task(
            self._answer(), loop=self.connections.loop, name=NAME, context=context, **EAGER
        )
        self.task = task if self.busy else None

    async def _answer(self) -> None:
        goes_on = False
        try:
            answer = await self.connections.exchange(self)
            await self.write(answer.data)
            goes_on = answer.keep_alive
        except ConnectionError:
            pass  # the client has left
        except Exception:
            logger.exception('the request from %s failed', self.peer)
            self.say(encode_status_page(500))
        except (KeyboardInterrupt, SystemExit) as error:
            # Raised here it may be raised where the bytes came, and uvloop goes on after that.
            self.connections.loop.call_soon(_raise, error)
        finally:
            self.task = None
            self.connections.exchange.running.discard(self)
            self.answered()
            self._go_on(goes_on)

    def _go_on(self, goes_on: bool) -> None:
        """See to what follows an answer."""
        if not goes_on or self.ended or self.connections.exchange.closing:
            broken = self.body.exception() is not None
            self._leave(lingers=broken or not self.whole or bool(self.held))
        elif self.held or self.at_eof:  # in a turn of its own, for there may be many of them
            self.connections.loop.call_soon(self.data_received, b'')
        else:
            self._expect(self.connections.exchange.settings.keepalive_timeout)

    def refused(self, error: HttpProcessingError) -> None:
        """Answer what is no request; no byte of it is repeated."""
        logger.info('bad request from %s: %s', self.peer, type(error).__name__)
        self.connections.requests_count += 1
        self.say(encode_status_page(431 if isinstance(error, LineTooLong) else 400))
        self._leave(lingers=True)

    def _leave(self, *, lingers: bool) -> None:
        """Close, but for a peer that may be sending only at its end: RFC 9112 9.6.

        What is sent to a closed connection resets it, and that may destroy the answer.
        """
        self.ended: bool = True
        self.held: bytes = b''
        transport = self.transport
        if transport is None or not lingers or self.at_eof or transport.is_closing():
            self.close()
        else:
            if transport.can_write_eof():  # in TLS it cannot
                with contextlib.suppress(OSError):  # a peer that has left may be known only now
                    transport.write_eof()
            self.resume_reading()  # a body that nobody wants may have filled its buffer
            self._expect(LINGER)


def _raise(error: BaseException) -> None:
    raise error


class Connections(LowLevelServer):
    """aiohttp's low-level server, which makes connections of ours."""

    def __init__(self, exchange: SocketResponder) -> None:
        super().__init__(exchange)  # type: ignore[arg-type]  # called with a connection of ours
        self.exchange = exchange
        self.settings: dict[str, Any] = {
            'access_log': None,
            'keepalive_timeout': 0,  # a connection has deadlines of its own
            'auto_decompress': False,  # codings undoes it: within the limit, and up to its end
        }
        self.on_gone: Callable[[], None] = lambda: None
        self.bytes_in = self.bytes_out = 0
        self.loop: asyncio.AbstractEventLoop = asyncio.get_running_loop()
        # Of which each request gets a copy.
        self.context: contextvars.Context = contextvars.copy_context()
        self.open: dict[PacedConnection, Any] = {}  # with their transports
        self._none_open = asyncio.Event()
        self._none_open.set()

    def __call__(self) -> Connection:
        return Connection(self)

    def opened(self, connection: PacedConnection, transport: Any) -> None:
        """Take note of a connection."""
        self.open[connection] = transport
        self._none_open.clear()
        if self.exchange.closing:
            transport.abort()

    def gone(self, connection: PacedConnection) -> None:
        """Forget a connection."""
        del self.open[connection]
        if not self.open:
            self._none_open.set()
        self.on_gone()

    def close_idle(self) -> None:
        """Close the connections on which no request is being read or answered.

        The others close after their answer; told to close, they would read no more of a body.
        """
        for connection in list(self.open):
            if not connection.busy:
                connection.close()

    def close_sockets(self) -> None:
        """Begin to close the WebSockets; their callbacks are told by them."""
        for connection in list(self.open):
            if connection.channel is not None:
                connection.channel.shut(GOING_AWAY)

    async def close_all(self, seconds: float) -> None:
        """Close all connections, and cut off those whose peer takes too long to read."""
        for connection in list(self.open):
            connection.close()
        with contextlib.suppress(TimeoutError):
            async with asyncio.timeout(seconds):
                await self._none_open.wait()
        for transport in list(self.open.values()):
            transport.abort()
        await self._none_open.wait()
