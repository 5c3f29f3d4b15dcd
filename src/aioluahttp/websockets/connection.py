"""One end of a WebSocket connection: closing handshake, pings, and waiting for a slow peer.

aiohttp's reader parses frames, and its writer compresses and masks them (RFC 6455 5, RFC 7692).
Pings and close frames are answered as soon as they arrive, even if nobody reads messages. The
opening handshake is in ``handshake``, what a handler or client uses is in ``socket``.
"""

from __future__ import annotations

import asyncio
import contextlib
import sys
from collections.abc import Callable, Coroutine
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

from .frames import FIN, HEAD, LONG, MASKS, SHORT, FrameCheck, encode_frame_head

__all__ = ['ConnectionPeer', 'FrameWriter', 'PeerOptions', 'may_send', 'to_peer', 'to_server_peer']


NORMAL, BROKEN, NO_CODE, ABNORMAL, TOO_BIG = 1000, 1002, 1005, 1006, 1009
RESERVED = frozenset({1004, NO_CODE, ABNORMAL})  # never in a frame (RFC 6455 7.4.1)
CLOSE_TIMEOUT = 10.0  # seconds that a peer may do nothing while the connection closes
CLOSE_CHECKS = 10  # times in CLOSE_TIMEOUT that the peer is checked for progress
MOST = 2**32 - 1  # bytes: the largest message limit that aiohttp's reader takes
QUEUE = 64 * 1024  # bytes: aiohttp stops reading while twice as many wait in the queue
BUFFER = 16 * 1024  # bytes that a server's transport buffers before senders wait
SPLIT = 16 * 1024  # bytes: a larger payload is not copied behind its head
AT_ONCE = 16 * 1024  # bytes: aiohttp compresses a larger message in a thread

TEXT, BINARY = WSMsgType.TEXT, WSMsgType.BINARY
COMPRESSIBLE = (TEXT, BINARY)  # no control frame is (RFC 7692 6.1)


def may_send(code: int) -> bool:
    """Tell whether a close frame may carry this code (RFC 6455 7.4; IANA has added up to 1014)."""
    return (NORMAL <= code <= 1014 and code not in RESERVED) or 3000 <= code <= 4999


@dataclass(frozen=True, slots=True)
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

    While the peer reads, a message that is neither compressed nor masked is written at once.
    Otherwise all senders wait at one lock, so at most one message is buffered in memory beyond the
    limit of the transport, however many tasks send.

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

    # Thousands of WebSockets may be idle, so what a plain one does not need is made when it does.
    __slots__ = (
        '_closed',
        '_coded',
        '_compressing',
        '_control_task',
        '_controls',
        '_has_drained',
        '_lock',
        '_masks',
        '_protocol',
        '_resets',
        '_senders',
        '_transport',
        '_unsent',
        '_window',
        '_writer',
        '_wrote',
        'ends',
    )

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
        self._protocol = protocol
        self._transport: asyncio.Transport = protocol.transport
        self._window, self._resets, self._masks = window, resets, masks
        self._coded = masks or window > 0  # aiohttp's writer, a coroutine, sends the messages
        self._wrote, self._closed = wrote, closed
        self._writer: WebSocketWriter | None = None  # compresses and masks
        self._senders = 0  # that wait in _send_in_turn
        self._lock: asyncio.Lock | None = None
        self._compressing: asyncio.Task[bool] | None = None  # sends a message via a thread
        self._unsent = 0  # bytes that the transport buffered at the last call of progressed
        self._has_drained = False  # since that call, for a sender that waited
        self._controls: dict[WSMsgType, bytes] = {}  # unsent, the latest of each kind
        self._control_task: asyncio.Task[None] | None = None

    def is_closing(self) -> bool:
        """Tell whether the connection is closing; aiohttp's writer calls this, too."""
        return self._transport.is_closing()

    def write(self, data: bytes) -> None:
        """Write bytes of a frame; aiohttp's writer calls this as it would call a transport."""
        self._wrote(len(data))
        self._transport.write(data)

    def send(self, message: bytes, kind: WSMsgType) -> bool | Coroutine[Any, Any, bool]:
        """Send a message once the send buffer has drained.

        Returns:
            Whether it was sent, or a coroutine that sends it and returns that.
        """
        # Without the check of _senders, this message could overtake one that waits.
        if self._senders or self._coded or self._protocol.writing_paused:
            return self._send_in_turn(message, kind)
        transport = self._transport
        if self.ends or transport.is_closing():
            return False
        size = len(message)
        if size < LONG:
            transport.write(HEAD(FIN | kind, size) + message)
            self._wrote(SHORT + size)
        else:
            self._write_frame(message, kind)
        return True

    async def _send_in_turn(self, message: bytes, kind: WSMsgType) -> bool:
        self._senders += 1
        try:
            async with self._turn():
                await self._drained()
                if self.ends:
                    return False
                if self._window and len(message) > AT_ONCE:
                    # aiohttp sends it even after a cancellation. With a task of our own, _drained
                    # can wait until then: no frame may overtake it, above all no close frame.
                    self._compressing = asyncio.create_task(self._compress(message, kind))
                    return await asyncio.shield(self._compressing)
                await self._send_frame(message, kind)
                return True
        except ConnectionError:  # lost just now
            return False
        finally:
            self._senders -= 1

    async def _compress(self, message: bytes, kind: WSMsgType) -> bool:
        """Send a message that aiohttp compresses in a thread; return whether it was sent."""
        try:
            await self._compressor().send_frame(message, kind)
        except ConnectionError:
            return False
        else:
            return True
        finally:
            self._compressing = None

    def _turn(self) -> asyncio.Lock:
        if self._lock is None:
            self._lock = asyncio.Lock()
        return self._lock

    async def _drained(self) -> None:
        if self._compressing is not None:  # its sender was cancelled, and gave up its turn
            await asyncio.wait([self._compressing])
        if self._protocol.writing_paused:
            loop = asyncio.get_running_loop()
            drain = loop.create_task(StreamWriter(self._protocol, loop).drain())
            drain.add_done_callback(_take_exception)  # its sender may have been cancelled
            # Without a shield, cancelling one sender would cancel the future that all others await.
            await asyncio.shield(drain)
            self._has_drained = True

    async def _send_frame(self, data: bytes, kind: WSMsgType) -> None:
        """Send a frame, compressed and masked where it has to be.

        Raises:
            ConnectionError: The connection is closing.
        """
        if self._masks or (self._window and kind in COMPRESSIBLE):
            await self._compressor().send_frame(data, kind)
        elif self._transport.is_closing():
            raise ConnectionResetError('the connection is closing')
        else:
            self._write_frame(data, kind)

    def _write_frame(self, data: bytes, kind: WSMsgType) -> None:
        """Write a frame that is neither compressed nor masked."""
        size = len(data)
        head = encode_frame_head(kind, size)
        if size > SPLIT:
            self._transport.write(head)
            self._transport.write(data)
        else:
            self._transport.write(head + data)
        self._wrote(len(head) + size)

    def _compressor(self) -> WebSocketWriter:
        if self._writer is None:
            self._writer = WebSocketWriter(
                self._protocol,
                self,  # type: ignore[arg-type]  # it calls write and is_closing only
                use_mask=self._masks,
                random=MASKS,
                limit=sys.maxsize,  # it never drains by itself: _drained does
                compress=self._window,
                notakeover=self._resets,
            )
        return self._writer

    def send_control(self, kind: WSMsgType, data: bytes) -> None:
        """Queue a control frame; it replaces an unsent one of its kind (RFC 6455 5.5.3).

        Drop it behind a close frame, which is the last frame.
        """
        if WSMsgType.CLOSE in self._controls:
            return
        self._controls[kind] = data
        if self._control_task is None:
            self._control_task = asyncio.create_task(self._send_controls(), name='WebSocket')

    def queued(self, kind: WSMsgType) -> bool:
        """Tell whether a control frame of this kind is queued and not yet sent."""
        return kind in self._controls

    def clear(self) -> None:
        """Drop the queued control frames, and send no further message."""
        self.ends = True
        self._controls.clear()

    def progressed(self) -> bool:
        """Tell whether the peer has taken bytes that were buffered, since the last call.

        What the transport passes on at once does not count: the kernel buffers it, also for a peer
        that is gone. Over TLS progress is seen at the end of a message only: the transport below
        buffers the message, and asyncio does not tell how much of it.
        """
        before, self._unsent = self._unsent, self._transport.get_write_buffer_size()
        drained, self._has_drained = self._has_drained, False
        return drained or self._unsent < before

    def has_unsent(self) -> bool:
        """Tell whether bytes are buffered, or a close frame waits to be sent."""
        return self.queued(WSMsgType.CLOSE) or self._transport.get_write_buffer_size() > 0

    async def controls_sent(self) -> None:
        """Wait until the queued control frames have been sent or dropped."""
        if self._control_task is not None:
            await asyncio.wait([self._control_task])

    async def _send_controls(self) -> None:
        try:
            async with self._turn():
                await self._drained()
                while self._controls:
                    kind = next(iter(self._controls))
                    await self._send_frame(self._controls.pop(kind), kind)
                    if kind is WSMsgType.CLOSE:
                        self._closed()
        except ConnectionError:
            pass  # ConnectionPeer.feed_eof handles the end of the connection
        finally:
            self._control_task = None


def _take_exception(task: asyncio.Task[None]) -> None:
    """Tell asyncio that nobody else has to look at the exception of a task."""
    with contextlib.suppress(asyncio.CancelledError):
        task.exception()


class MessageQueue(WebSocketDataQueue):
    """aiohttp's queue of received messages; control frames go to the ``ConnectionPeer`` instead.

    Attributes:
        most: Size limit of a message in bytes; -1 once no message is accepted any more.
    """

    __slots__ = ('channel', 'most')

    def __init__(self, channel: ConnectionPeer, protocol: Any, most: int) -> None:
        super().__init__(protocol, QUEUE, loop=channel.loop)
        self.channel: ConnectionPeer = channel
        self.most: int = most

    def feed_data(self, data: Any, size: int | None = None) -> None:  # pyright: ignore[reportIncompatibleMethodOverride]
        """Queue a message, or let the ``ConnectionPeer`` handle another frame."""
        kind = data.type
        length = data.size if size is None else size  # aiohttp 4 gives the message alone
        if length <= self.most and (kind is TEXT or kind is BINARY):
            put(self, data) if size is None else put(self, data, size)
        else:
            self.channel.handle_frame(data, length)

    def set_exception(self, exc: BaseException, exc_cause: BaseException | None = None) -> None:
        """Close the connection: the peer broke the protocol."""
        code = int(exc.code) if isinstance(exc, WebSocketError) else BROKEN
        if code == TOO_BIG and exc.__cause__ is None:
            self.channel.fail_too_big()
        else:
            self.channel.fail(code, f'the peer broke the protocol ({code}): {exc}')


# Called without super(), which would cost more than all else that a message costs here.
put: Callable[..., None] = WebSocketDataQueue.feed_data


class ConnectionPeer:
    """This end of a WebSocket connection, of a client or of a server.

    Attributes:
        code: Close code (RFC 6455 7.1.5): the peer's, 1006 for an end without a close frame, or the
            code sent to a peer that broke the protocol. ``None`` while the connection is open.
        reason: Close reason of the peer; ``''`` without one.
        fault: What went wrong, in words; ``None`` after a proper close.
        raised: The last error that the ``Socket`` raised for this connection.
        gone: Whether the connection has ended.
    """

    __slots__ = (
        '_broken',
        '_checks',
        '_end',
        '_frames',
        '_heard',
        '_heartbeat',
        '_is_client',
        '_limit',
        '_reader',
        '_reading',
        '_timer',
        '_transport',
        '_turns',
        '_writer',
        'code',
        'fault',
        'gone',
        'loop',
        'queue',
        'raised',
        'reason',
    )

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
        self.gone: bool = False
        self._end: asyncio.Event | None = None  # set with gone; made where somebody waits for it
        self._is_client = is_client
        self._heard = True
        self._heartbeat = options.heartbeat
        # aiohttp's limit is inclusive for compressed messages and exclusive for others, so it gets
        # one more, and MessageQueue checks the exact size.
        most = options.max_message
        self._limit = sys.maxsize if most is None else min(most, MOST - 1)
        self._transport: asyncio.Transport = protocol.transport
        if not is_client:
            # A server's connection writes responses without a buffer of its own. Small messages
            # with such a buffer share a write on uvloop, which writes once per iteration.
            self._transport.set_write_buffer_limits(high=BUFFER)
        limit = 0 if most is None else self._limit + 1
        self.queue: MessageQueue = MessageQueue(self, protocol, self._limit)
        compressed = options.window > 0
        if compressed and limit:  # it counts compressed bytes, too, and deflate may add some
            limit = min(limit + limit // 8 + 64, MOST)
        self._reader = WebSocketReader(self.queue, limit, compress=compressed, decode_text=True)
        self._broken = ''  # what is wrong with a frame that cannot be read: no later one can
        self._frames = FrameCheck(masked=not is_client, compressed=compressed)
        self._reading = False  # whether a task waits in read
        self._turns: asyncio.Lock | None = None  # made where several tasks read
        self._writer = FrameWriter(
            protocol,
            options.window,
            options.resets,
            masks=is_client,
            wrote=wrote,
            closed=self._end_connection,
        )
        self._checks = 0  # that a peer which does nothing has left while the connection closes
        self._timer: asyncio.TimerHandle | None = None
        if self._heartbeat is not None:
            self._timer = self.loop.call_later(self._heartbeat, self._ping, self._heartbeat)

    def feed_data(self, data: bytes) -> tuple[bool, bytes]:
        """Parse received bytes; aiohttp's client protocol calls this as it would its own parser."""
        self._heard = True
        if not self._broken:
            fault = self._frames.check(data)
            if fault is None:
                self._reader.feed_data(data)
            else:
                self._reader.feed_data(data[: self._frames.valid])
                self._broken = f'the peer broke the protocol ({BROKEN}): {fault}'
                if self._transport.is_reading():
                    self.fail(BROKEN, self._broken)
                else:  # aiohttp's reader may keep frames until messages have been read
                    self.queue.feed_eof()
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
        self.gone = True
        if self._end is not None:
            self._end.set()

    @property
    def close_is_pending(self) -> bool:
        """Whether a close frame in reply to the peer's is queued and not yet sent."""
        return self._writer.queued(WSMsgType.CLOSE) and self.code is not None and self.fault is None

    def handle_frame(self, frame: Any, size: int) -> None:
        """Handle a received frame that is no message to queue."""
        if self.code not in (None, ABNORMAL):
            return  # frames after a close are ignored (RFC 6455 5.5.1)
        match frame.type:
            case WSMsgType.PING:
                self._writer.send_control(WSMsgType.PONG, bytes(frame.data))
            case WSMsgType.CLOSE:
                self._on_close_frame(frame.data or NO_CODE, frame.extra)
            case WSMsgType.TEXT | WSMsgType.BINARY:
                if size > self._limit:
                    self.fail_too_big()

    def _on_close_frame(self, code: int, reason: str) -> None:
        """Reply to the peer's close frame, or end if ours was sent before (RFC 6455 5.5.1)."""
        if code != NO_CODE and not may_send(code):
            self.fail(BROKEN, f'the peer broke the protocol (1002): it closed with {code}')
            return
        close_sent = self._writer.ends and not self._writer.queued(WSMsgType.CLOSE)
        self.code, self.reason, self.fault = code, reason, None
        self._end_messages()
        if close_sent:
            self._end_connection()
        else:
            self.shut(None if code == NO_CODE else code, reason)

    def _end_messages(self) -> None:
        """Accept no more messages; ``read`` still gives those that are queued."""
        self.queue.most = -1
        self.queue.feed_eof()

    def fail(self, code: int, fault: str) -> None:
        """Fail the connection because the peer broke the protocol (RFC 6455 7.1.7).

        The connection may have ended before the frame was read that broke it.
        """
        if self.code in (None, ABNORMAL):
            self.code, self.fault = code, fault
            self._end_messages()
            if self._writer.ends:
                self._transport.abort()
            self.shut(code)

    def fail_too_big(self) -> None:
        """Fail the connection because a message exceeds ``max_message``."""
        self.fail(TOO_BIG, f'a message is larger than {self._limit} bytes')

    def shut(self, code: int | None, reason: str = '') -> None:
        """Begin the closing handshake unless it has begun.

        Abort if the peer then does nothing for ``CLOSE_TIMEOUT`` s. It may take longer to read the
        messages before the close frame.

        Args:
            code: ``None`` sends a close without a code, and so without a reason.
        """
        if not self._writer.ends:
            self._writer.ends = True
            if self._timer is not None:
                self._timer.cancel()
            self._writer.progressed()  # from now on
            self._checks = CLOSE_CHECKS
            self._timer = self.loop.call_later(CLOSE_TIMEOUT / CLOSE_CHECKS, self._check_close)
            data = b'' if code is None else code.to_bytes(2) + reason.encode()
            self._writer.send_control(WSMsgType.CLOSE, data)

    def _check_close(self) -> None:
        """Abort once the peer has done nothing for ``CLOSE_TIMEOUT`` s."""
        # The progress was somewhere in the time since the last check, which is left out.
        self._checks = CLOSE_CHECKS - 1 if self._writer.progressed() else self._checks - 1
        if self._checks:
            self._timer = self.loop.call_later(CLOSE_TIMEOUT / CLOSE_CHECKS, self._check_close)
            return
        if self.code is None and self._writer.has_unsent():
            self.fault = 'the peer did not read all that was sent before the close'
        self._transport.abort()

    async def close(self, code: int | None, reason: str) -> None:
        """Close, and wait until the connection has ended; drop messages that arrive meanwhile."""
        self.queue.most = -1
        self.shut(code, reason)
        while await self.read() is not None:
            pass
        if not self.gone:
            self._end = self._end or asyncio.Event()
            await self._end.wait()
        await self._writer.controls_sent()

    def abort(self) -> None:
        """End at once, without a handshake."""
        self._writer.ends = True
        self._transport.abort()

    @property
    def send(self) -> Callable[[bytes, WSMsgType], bool | Coroutine[Any, Any, bool]]:
        """Send a message, as ``FrameWriter.send`` says.

        Not a method that calls it, which each message would pay for.
        """
        return self._writer.send

    async def read(self) -> str | bytes | None:
        """Wait for a message; ``None`` once there are no more."""
        if self._reading or self._turns is not None:
            return await self._read_in_turn()
        self._reading = True
        try:
            message: str | bytes = (await self.queue.read()).data
        except EofStream:
            self._end_reading()
            return None
        else:
            return message
        finally:
            self._reading = False
            if self._turns is not None:
                self._turns.release()

    async def _read_in_turn(self) -> str | bytes | None:
        """Wait for a message after the other tasks that read: the queue serves one at a time."""
        if self._turns is None:
            self._turns = asyncio.Lock()
            await self._turns.acquire()  # for the read that waits; that one releases it
        async with self._turns:
            try:
                message: str | bytes = (await self.queue.read()).data
            except EofStream:
                self._end_reading()
                return None
            return message

    def _end_reading(self) -> None:
        """Fail for a frame behind messages that had not been parsed when it arrived."""
        if self._broken:
            self.fail(BROKEN, self._broken)

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

        While reading is paused no byte can arrive, and while the peer reads a long message the ping
        waits behind it, so the peer is not judged then.
        """
        progressed = self._writer.progressed()
        if not (self._heard or progressed) and self._transport.is_reading():
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


def to_server_peer(protocol: Any, options: PeerOptions) -> ConnectionPeer:
    """Turn a connection of aiohttp.web, after its 101 response, into a ``ConnectionPeer``."""
    channel = ConnectionPeer(protocol, options, is_client=False)
    protocol.set_parser(channel)
    return channel
