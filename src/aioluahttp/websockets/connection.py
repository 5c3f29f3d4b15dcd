"""One end of a WebSocket connection: closing handshake, pings, and waiting for a slow peer.

aiohttp's reader and writer do the framing (RFC 6455 5, RFC 7692). Pings and close frames are
answered as soon as they arrive, even if nobody reads messages. The opening handshake is in
``handshake``, what a handler or client uses is in ``socket``.
"""

from __future__ import annotations

import asyncio
import sys
from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

from aiohttp import EofStream

# Imported from a module that uses it: the one that defines it is private. A test in
# tests/websockets/test_connection.py fails if aiohttp changes it.
from aiohttp.client_ws import (  # type: ignore[attr-defined]
    WebSocketDataQueue,  # pyright: ignore[reportPrivateImportUsage]
)
from aiohttp.http import WebSocketError, WebSocketReader, WebSocketWriter, WSMsgType
from aiohttp.http_writer import StreamWriter

from .frames import FrameCheck

__all__ = ['ConnectionPeer', 'FrameWriter', 'PeerOptions', 'may_send', 'to_peer']


NORMAL, BROKEN, NO_CODE, ABNORMAL, TOO_BIG = 1000, 1002, 1005, 1006, 1009
RESERVED = frozenset({1004, NO_CODE, ABNORMAL})  # never in a frame (RFC 6455 7.4.1)
CLOSE_TIMEOUT = 10.0  # seconds for the whole closing handshake, until the connection has ended
MOST = 2**32 - 1  # bytes: the largest message limit that aiohttp's reader takes
QUEUE = 64 * 1024  # bytes: aiohttp stops reading while twice as many wait in the queue


def may_send(code: int) -> bool:
    """Tell whether a close frame may carry this code (RFC 6455 7.4; IANA has added up to 1014)."""
    return (NORMAL <= code <= 1014 and code not in RESERVED) or 3000 <= code <= 4999


@dataclass(frozen=True)
class PeerOptions:
    """The result of a handshake, and the limits of this end.

    Attributes:
        protocol: The subprotocol; ``None`` without one.
        window: Window size for compressing sent messages, in bits; 0 sends uncompressed.
        resets: Whether each message is compressed on its own (no context takeover).
        max_message: Size limit of a received message, decompressed, in bytes; ``None`` is no limit.
        heartbeat: Seconds between pings. A peer that sends nothing in that time is gone. ``None``
            sends no pings.
    """

    protocol: str | None
    window: int
    resets: bool
    max_message: int | None
    heartbeat: float | None


class FrameWriter:
    """Send messages and control frames with back-pressure, one at a time.

    All senders wait at one lock while the peer does not read, so at most one message is buffered in
    memory, however many tasks send.

    Args:
        protocol: aiohttp's protocol of the connection.
        window: Window size for compression in bits; 0 sends uncompressed.
        resets: Whether each message is compressed on its own.
        masks: Whether frames are masked: those of a client are (RFC 6455 5.3).
        wrote: Called with the number of bytes of each write.
        closed: Called once a close frame has been sent.

    Attributes:
        ends: Whether sending has ended: no message may follow.
    """

    def __init__(
        self,
        protocol: Any,
        window: int,
        resets: bool,
        *,
        masks: bool,
        wrote: Callable[[int], None],
        closed: Callable[[], None],
    ) -> None:
        self.ends: bool = False
        self._loop = asyncio.get_running_loop()
        self._protocol = protocol
        self._transport: asyncio.Transport = protocol.transport
        self.is_closing: Callable[[], bool] = self._transport.is_closing
        self._wrote, self._closed = wrote, closed
        self._drain = StreamWriter(protocol, self._loop).drain
        self._writer = WebSocketWriter(
            protocol,
            self,  # type: ignore[arg-type]  # it calls write and is_closing only
            use_mask=masks,
            limit=sys.maxsize,  # it never drains by itself: _drained does
            compress=window,
            notakeover=resets,
        )
        self._lock = asyncio.Lock()
        self._controls: dict[WSMsgType, Any] = {}  # unsent control frames, the latest of each kind
        self._control_task: asyncio.Task[None] | None = None

    def write(self, data: bytes) -> None:
        """Write bytes of a frame; aiohttp's writer calls this as it would call a transport."""
        self._wrote(len(data))
        self._transport.write(data)

    async def send(self, message: bytes, kind: WSMsgType) -> bool:
        """Wait for the send buffer to drain, then send a message; return whether it was sent."""
        async with self._lock:
            try:
                await self._drained()
                if not self.ends:
                    await self._writer.send_frame(message, kind)
                    return True
            except ConnectionError:  # lost just now
                pass
            return False

    async def _drained(self) -> None:
        if self._protocol.writing_paused:
            # Without a shield, cancelling one sender would cancel the future that all others await.
            await asyncio.shield(self._loop.create_task(self._drain()))

    def send_control(self, kind: WSMsgType, data: Any) -> None:
        """Queue a control frame; it replaces an unsent one of its kind (RFC 6455 5.5.3)."""
        self._controls[kind] = data
        if self._control_task is None:
            self._control_task = self._loop.create_task(self._send_controls(), name='WebSocket')

    def queued(self, kind: WSMsgType) -> bool:
        """Tell whether a control frame of this kind is queued and not yet sent."""
        return kind in self._controls

    def clear(self) -> None:
        """Drop the queued control frames, and send no further message."""
        self.ends = True
        self._controls.clear()

    async def controls_sent(self) -> None:
        """Wait until the queued control frames have been sent or dropped."""
        if self._control_task is not None:
            await asyncio.wait([self._control_task])

    async def _send_controls(self) -> None:
        try:
            async with self._lock:
                while self._controls:
                    await self._drained()
                    for kind, data in list(self._controls.items()):
                        del self._controls[kind]
                        if kind is not WSMsgType.CLOSE:
                            await self._writer.send_frame(data, kind)
                            continue
                        await self._writer.close(*data)
                        self._controls.clear()
                        self._closed()
        except ConnectionError:
            pass  # ConnectionPeer.feed_eof handles the end of the connection
        finally:
            self._control_task = None


class MessageQueue(WebSocketDataQueue):
    """aiohttp's queue of received messages; control frames go to the ``ConnectionPeer`` instead."""

    def __init__(self, channel: ConnectionPeer, protocol: Any) -> None:
        super().__init__(protocol, QUEUE, loop=channel.loop)
        self.channel = channel

    def feed_data(self, data: Any, size: int) -> None:
        """Queue a message, or let the ``ConnectionPeer`` handle a control frame."""
        if self.channel.accept_frame(data, size):
            super().feed_data(data, size)

    def set_exception(self, exc: BaseException, exc_cause: BaseException | None = None) -> None:
        """Close the connection: the peer broke the protocol."""
        code = exc.code if isinstance(exc, WebSocketError) else BROKEN
        self.channel.fail(code, f'the peer broke the protocol ({code}): {exc}')


class ConnectionPeer:
    """This end of a WebSocket connection, of a client or of a server.

    Attributes:
        code: Close code (RFC 6455 7.1.5): the peer's, 1006 for an end without a close frame, or the
            code sent to a peer that broke the protocol. ``None`` while the connection is open.
        reason: Close reason of the peer; ``''`` without one.
        fault: What went wrong, in words; ``None`` after a proper close.
        raised: The last error that the ``Socket`` raised for this connection.
        gone: Set once the connection has ended.
    """

    def __init__(
        self,
        protocol: Any,
        options: PeerOptions,
        *,
        is_client: bool,
        wrote: Callable[[int], None] = lambda size: None,
    ) -> None:
        self.loop: asyncio.AbstractEventLoop = asyncio.get_running_loop()
        self.code: int | None = None
        self.reason: str = ''
        self.fault: str | None = None
        self.raised: Exception | None = None
        self.gone: asyncio.Event = asyncio.Event()
        self._is_client = is_client
        self._drops_messages = False  # set by close: nobody reads what still arrives
        self._heard = True
        self._heartbeat = options.heartbeat
        self._limit = options.max_message
        self._transport: asyncio.Transport = protocol.transport
        self.queue: MessageQueue = MessageQueue(self, protocol)
        # aiohttp's limit is inclusive for compressed messages and exclusive for others, so it gets
        # one more, and accept_frame checks the exact size.
        limit = 0 if self._limit is None else min(self._limit + 1, MOST)
        compressed = options.window > 0
        self._reader = WebSocketReader(self.queue, limit, compress=compressed, decode_text=True)
        self._broken = False  # set at a frame that cannot be read: no later one can
        self._check = FrameCheck(masked=not is_client, compressed=compressed).check
        self._reading = asyncio.Lock()
        self._writer = FrameWriter(
            protocol,
            options.window,
            options.resets,
            masks=is_client,
            wrote=wrote,
            closed=self._end_connection,
        )
        self._timer: asyncio.TimerHandle | None = None
        if self._heartbeat is not None:
            self._timer = self.loop.call_later(self._heartbeat, self._ping, self._heartbeat)

    async def send(self, message: bytes, kind: WSMsgType) -> bool:
        """Send a message with ``FrameWriter.send``; return whether it was sent."""
        return await self._writer.send(message, kind)

    def feed_data(self, data: bytes) -> tuple[bool, bytes]:
        """Parse received bytes; aiohttp's client protocol calls this as it would its own parser."""
        self._heard = True
        if not self._broken:
            valid, fault = self._check(data)
            self._reader.feed_data(data if fault is None else data[:valid])
            if fault is not None:
                self._broken = True
                self.fail(BROKEN, f'the peer broke the protocol ({BROKEN}): {fault}')
        return False, b''  # True would detach this parser, and feed_eof would not be called

    def feed_eof(self) -> None:
        """Handle the end of the connection, with or without a closing handshake before it."""
        if self.code is None:
            self.code = ABNORMAL
            if not (self._writer.ends or self.fault):
                self.fault = 'the peer hung up without a closing handshake'
        self._writer.clear()
        if self._timer is not None:
            self._timer.cancel()
        self.queue.feed_eof()
        self.gone.set()

    @property
    def close_is_pending(self) -> bool:
        """Whether a close frame in reply to the peer's is queued and not yet sent."""
        return self._writer.queued(WSMsgType.CLOSE) and self.code is not None and self.fault is None

    def accept_frame(self, frame: Any, size: int) -> bool:
        """Handle a received frame; return whether it is a message to queue."""
        if self.code not in (None, ABNORMAL):
            return False  # frames after a close are ignored (RFC 6455 5.5.1)
        match frame.type:
            case WSMsgType.TEXT | WSMsgType.BINARY:
                if self._limit is not None and size > self._limit:
                    self.fail(TOO_BIG, f'a message is larger than {self._limit} bytes')
                    return False
                return not self._drops_messages
            case WSMsgType.PING:
                self._writer.send_control(WSMsgType.PONG, frame.data)
            case WSMsgType.CLOSE:
                self._on_close_frame(frame.data or NO_CODE, frame.extra)
        return False

    def _on_close_frame(self, code: int, reason: str) -> None:
        """Reply to the peer's close frame, or end if ours was sent before (RFC 6455 5.5.1)."""
        if code != NO_CODE and not may_send(code):
            self.fail(BROKEN, f'the peer broke the protocol (1002): it closed with {code}')
            return
        close_sent = self._writer.ends and not self._writer.queued(WSMsgType.CLOSE)
        self.code, self.reason, self.fault = code, reason, None
        self.queue.feed_eof()
        if close_sent:
            self._end_connection()
        else:
            self.shut(NORMAL if code == NO_CODE else code, reason)

    def fail(self, code: int, fault: str) -> None:
        """Fail the connection because the peer broke the protocol (RFC 6455 7.1.7)."""
        if self.code is None:
            self.code, self.fault = code, fault
            self.queue.feed_eof()
            if self._writer.ends:
                self._transport.abort()
            self.shut(code)

    def shut(self, code: int, reason: str = '') -> None:
        """Begin the closing handshake unless it has begun; abort after ``CLOSE_TIMEOUT`` s."""
        if not self._writer.ends:
            self._writer.ends = True
            if self._timer is not None:
                self._timer.cancel()
            self._timer = self.loop.call_later(CLOSE_TIMEOUT, self._transport.abort)
            self._writer.send_control(WSMsgType.CLOSE, (code, reason))

    async def close(self, code: int, reason: str) -> None:
        """Close, and wait until the connection has ended; drop messages that arrive meanwhile."""
        self._drops_messages = True
        self.shut(code, reason)
        while await self.read() is not None:
            pass
        await self.gone.wait()
        await self._writer.controls_sent()

    def abort(self) -> None:
        """End at once, without a handshake."""
        self._writer.ends = True
        self._transport.abort()

    async def read(self) -> str | bytes | None:
        """Wait for a message; ``None`` once there are no more."""
        async with self._reading:
            try:
                message: str | bytes = (await self.queue.read()).data
            except EofStream:
                return None
            return message

    def _end_connection(self) -> None:
        """End the connection after the close frames: the server does (RFC 6455 7.1.1)."""
        # A peer that broke the protocol may still be sending: closing the socket would then reset
        # the connection, and the peer would lose our close frame. Half-close instead; TLS cannot.
        if self.fault is not None and self._transport.can_write_eof():
            self._transport.write_eof()
        elif self.fault is not None or (self.code is not None and not self._is_client):
            self._transport.close()

    def _ping(self, seconds: float) -> None:
        """Abort if no byte arrived since the last ping, else ping again.

        While reading is paused no byte can arrive, so the peer is not judged then.
        """
        if not self._heard and self._transport.is_reading():
            self.fault = f'the peer was not heard from for {seconds} s, nor did it answer a ping'
            self._transport.abort()
            return
        self._heard = False
        self._writer.send_control(WSMsgType.PING, b'')
        self._timer = self.loop.call_later(seconds, self._ping, seconds)


def to_peer(protocol: Any, options: PeerOptions) -> ConnectionPeer:
    """Turn a connection of aiohttp's client, after its 101 response, into a ``ConnectionPeer``."""
    channel = ConnectionPeer(protocol, options, is_client=True)
    protocol.read_timeout = None  # the heartbeat takes over
    protocol.set_parser(channel, channel.queue)
    return channel
