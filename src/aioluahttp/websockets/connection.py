"""One end of a WebSocket connection: its closing handshake, its pings, and who waits for whom.

aiohttp's reader and writer do the framing (RFC 6455 5, RFC 7692). Pings are answered, and a close
is, as soon as they come, whether or not anybody reads messages: what only sends learns of the end,
too.

The frames of a WebSocket on their way out, one after the other.

All that is sent goes through one lock, behind which senders wait for a peer that does not read, so
that no more than one message waits in memory however many senders there are.
"""

from __future__ import annotations

import asyncio
import sys
from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

from aiohttp import EofStream

# From where it is used: the module that has it bears an underscore. tests/test_channels.py tells
# if it changes.
from aiohttp.client_ws import (  # type: ignore[attr-defined]
    WebSocketDataQueue,  # pyright: ignore[reportPrivateImportUsage]
)
from aiohttp.http import WebSocketError, WebSocketReader, WebSocketWriter, WSMsgType
from aiohttp.http_writer import StreamWriter

__all__ = ['GOING_AWAY', 'ConnectionPeer', 'FrameWriter', 'PeerOptions', 'may_send', 'to_peer']


class FrameWriter:
    """Sends messages, and the frames that are none.

    Args:
        protocol: aiohttp's, of the connection.
        window: Bits of the window of what is sent compressed; 0 for nothing is.
        resets: Whether each message is compressed by itself.
        masks: Whether the frames are masked, as those of a client are (RFC 6455 5.3).
        wrote: Is told of each write the number of its bytes.
        closed: Is called once a close has been sent.

    Attributes:
        ends: Whether no message may be sent any more.
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
            self,  # type: ignore[arg-type]  # of a transport it wants two functions
            use_mask=masks,
            limit=sys.maxsize,  # nobody waits within it, but in _drained
            compress=window,
            notakeover=resets,
        )
        self._in_turn = asyncio.Lock()
        self._due: dict[WSMsgType, Any] = {}  # the frames other than messages; the latest of each
        self._talker: asyncio.Task[None] | None = None

    def write(self, data: bytes) -> None:
        """Write a frame, or a part of it: aiohttp's writer calls this as it would its transport."""
        self._wrote(len(data))
        self._transport.write(data)

    async def send(self, message: bytes, kind: WSMsgType) -> bool:
        """Send a message, once the peer has read those before; give whether that was possible."""
        async with self._in_turn:
            try:
                await self._drained()
                if not self.ends:
                    await self._writer.send_frame(message, kind)
                    return True
            except ConnectionError:  # it has just been lost
                pass
            return False

    async def _drained(self) -> None:
        if self._protocol.writing_paused:
            # Who waits for aiohttp's drain and is cancelled cancels it for all that come after.
            await asyncio.shield(self._loop.create_task(self._drain()))

    def say(self, kind: WSMsgType, data: Any) -> None:
        """Send a frame that is no message; of pings and pongs the latest counts (5.5.3)."""
        self._due[kind] = data
        if self._talker is None:
            self._talker = self._loop.create_task(self._talk(), name='WebSocket')

    def has(self, kind: WSMsgType) -> bool:
        """Tell whether such a frame is still to be sent."""
        return kind in self._due

    def clear(self) -> None:
        """Send nothing more."""
        self.ends = True
        self._due.clear()

    async def emptied(self) -> None:
        """Wait until nothing is being sent that is no message."""
        if self._talker is not None:
            await asyncio.wait([self._talker])

    async def _talk(self) -> None:
        try:
            async with self._in_turn:
                while self._due:
                    await self._drained()
                    for kind, data in list(self._due.items()):
                        del self._due[kind]
                        if kind is not WSMsgType.CLOSE:
                            await self._writer.send_frame(data, kind)
                            continue
                        await self._writer.close(*data)
                        self._due.clear()
                        self._closed()
        except ConnectionError:
            pass  # the end of the connection is told otherwise
        finally:
            self._talker = None


NORMAL, GOING_AWAY, BROKEN, NO_CODE, ABNORMAL, TOO_BIG = 1000, 1001, 1002, 1005, 1006, 1009
RESERVED = frozenset({1004, NO_CODE, ABNORMAL})  # which no frame may have (RFC 6455 7.4.1)
CLOSING = 10.0  # seconds for a peer to answer a close, and to leave
MOST = 2**32 - 1  # bytes up to which aiohttp can count a message
QUEUE = 64 * 1024  # bytes of messages that may wait to be read, twice, before reading stops


def may_send(code: int) -> bool:
    """Tell whether a close frame may have this code (RFC 6455 7.4, and IANA's up to 1014)."""
    return (NORMAL <= code <= 1014 and code not in RESERVED) or 3000 <= code <= 4999


@dataclass(frozen=True)
class PeerOptions:
    """What two ends have agreed upon in their handshake, and the limits of this one.

    Attributes:
        protocol: The subprotocol; None where there is none.
        window: Bits of the window of what is sent compressed; 0 for nothing is.
        resets: Whether each message is compressed by itself.
        max_message: Bytes of a message, after decompression; None is no limit.
        heartbeat: Seconds between pings; the peer has as long to be heard from. None for none.
    """

    protocol: str | None
    window: int
    resets: bool
    max_message: int | None
    heartbeat: float | None


class MessageQueue(WebSocketDataQueue):
    """aiohttp's queue of what is yet to be read, which gets the messages alone."""

    def __init__(self, channel: ConnectionPeer, protocol: Any) -> None:
        super().__init__(protocol, QUEUE, loop=channel.loop)
        self.channel = channel

    def feed_data(self, data: Any, size: int) -> None:
        """Take a message up, or heed a frame that is none."""
        if self.channel.takes(data, size):
            super().feed_data(data, size)

    def set_exception(self, exc: BaseException, exc_cause: BaseException | None = None) -> None:
        """End: the peer has broken the protocol."""
        code = exc.code if isinstance(exc, WebSocketError) else BROKEN
        self.channel.fail(code, f'the peer broke the protocol ({code}): {exc}')


class ConnectionPeer:
    """One end of a WebSocket connection.

    Attributes:
        code: Why it ended (RFC 6455 7.1.5), as the peer said; None as long as it has not.
        reason: Likewise, in words.
        fault: What broke it; None where it ended in good order.
        raised: The error that told of it last.
        gone: Set once there is no connection any more.
    """

    def __init__(
        self,
        protocol: Any,
        terms: PeerOptions,
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
        self._deaf = False  # nobody wants the messages that still come
        self._heard = True
        self._heartbeat = terms.heartbeat
        self._limit = terms.max_message
        self._transport: asyncio.Transport = protocol.transport
        self.queue: MessageQueue = MessageQueue(self, protocol)
        # aiohttp takes a message up to its limit if it was compressed, else below it.
        limit = 0 if self._limit is None else min(self._limit + 1, MOST)
        compressed = terms.window > 0
        self._reader = WebSocketReader(self.queue, limit, compress=compressed, decode_text=True)
        self._reading = asyncio.Lock()
        self._outbox = FrameWriter(
            protocol,
            terms.window,
            terms.resets,
            masks=is_client,
            wrote=wrote,
            closed=self._leave,
        )
        self._timer: asyncio.TimerHandle | None = None
        if self._heartbeat is not None:
            self._timer = self.loop.call_later(self._heartbeat, self._beat, self._heartbeat)

    async def send(self, message: bytes, kind: WSMsgType) -> bool:
        """Send a message, as ``Outbox.send`` does; give whether it was sent."""
        return await self._outbox.send(message, kind)

    def feed_data(self, data: bytes) -> tuple[bool, bytes]:
        """Read what came; aiohttp's client calls this as it would its reader's."""
        self._heard = True
        self._reader.feed_data(data)
        return False, b''  # it would hear no more of the connection, else, that is to end

    def feed_eof(self) -> None:
        """End, for the connection has: with a handshake before that, or without."""
        if self.code is None:
            self.code = ABNORMAL
            if not (self._outbox.ends or self.fault):
                self.fault = 'the peer hung up without a closing handshake'
        self._outbox.clear()
        if self._timer is not None:
            self._timer.cancel()
        self.queue.feed_eof()
        self.gone.set()

    @property
    def answers(self) -> bool:
        """Whether the close of the peer is yet to be answered."""
        return self._outbox.has(WSMsgType.CLOSE) and self.code is not None and self.fault is None

    def takes(self, frame: Any, size: int) -> bool:
        """Heed a frame; give whether it is a message for who reads."""
        if self.code not in (None, ABNORMAL):
            return False  # what follows the end means nothing (RFC 6455 5.5.1)
        match frame.type:
            case WSMsgType.TEXT | WSMsgType.BINARY:
                if self._limit is not None and size > self._limit:
                    self.fail(TOO_BIG, f'a message is larger than {self._limit} bytes')
                    return False
                return not self._deaf
            case WSMsgType.PING:
                self._outbox.say(WSMsgType.PONG, frame.data)
            case WSMsgType.CLOSE:
                self._ended(frame.data or NO_CODE, frame.extra)
        return False

    def _ended(self, code: int, reason: str) -> None:
        """Answer the close of the peer (RFC 6455 5.5.1)."""
        if code != NO_CODE and not may_send(code):
            self.fail(BROKEN, f'the peer broke the protocol (1002): it closed with {code}')
            return
        said = self._outbox.ends and not self._outbox.has(WSMsgType.CLOSE)
        self.code, self.reason, self.fault = code, reason, None
        self.queue.feed_eof()
        if said:
            self._leave()
        else:
            self.shut(NORMAL if code == NO_CODE else code, reason)

    def fail(self, code: int, fault: str) -> None:
        """Close because of what the peer does (RFC 6455 7.1.7)."""
        if self.code is None:
            self.code, self.fault = code, fault
            self.queue.feed_eof()
            if self._outbox.ends:
                self._transport.abort()
            self.shut(code)

    def shut(self, code: int, reason: str = '') -> None:
        """Begin the closing handshake, unless it has begun; the peer has so long for its part."""
        if not self._outbox.ends:
            self._outbox.ends = True
            if self._timer is not None:
                self._timer.cancel()
            self._timer = self.loop.call_later(CLOSING, self._transport.abort)
            self._outbox.say(WSMsgType.CLOSE, (code, reason))

    async def close(self, code: int, reason: str) -> None:
        """Close, and wait until the connection has ended; what comes until then is dropped."""
        self._deaf = True
        self.shut(code, reason)
        while await self.read() is not None:
            pass
        await self.gone.wait()
        await self._outbox.emptied()

    def abort(self) -> None:
        """End at once, without a handshake."""
        self._outbox.ends = True
        self._transport.abort()

    async def read(self) -> str | bytes | None:
        """Wait for a message; None where there will be none any more."""
        async with self._reading:
            try:
                message: str | bytes = (await self.queue.read()).data
            except EofStream:
                return None
            return message

    def _leave(self) -> None:
        """End the connection once both have closed: the server does (RFC 6455 7.1.1)."""
        # A peer that breaks the protocol may be sending; a close would reset what it is told.
        if self.fault is not None and self._transport.can_write_eof():  # in TLS it cannot
            self._transport.write_eof()
        elif self.fault is not None or (self.code is not None and not self._is_client):
            self._transport.close()

    def _beat(self, seconds: float) -> None:
        """Look whether the peer is there, and ask it again. Who is not read cannot be heard."""
        if not self._heard and self._transport.is_reading():
            self.fault = f'the peer was not heard from for {seconds} s, nor did it answer a ping'
            self._transport.abort()
            return
        self._heard = False
        self._outbox.say(WSMsgType.PING, b'')
        self._timer = self.loop.call_later(seconds, self._beat, seconds)


def to_peer(protocol: Any, terms: PeerOptions) -> ConnectionPeer:
    """Make a connection of aiohttp's client that has switched a WebSocket."""
    channel = ConnectionPeer(protocol, terms, is_client=True)
    protocol.read_timeout = None  # the heartbeat takes over
    protocol.set_parser(channel, channel.queue)
    return channel
