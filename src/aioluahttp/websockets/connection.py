"""One end of a WebSocket connection: its closing handshake, its pings, and who waits for whom.

aiohttp's reader and writer do the framing (RFC 6455 5, RFC 7692). Pings are answered, and a close
is, as soon as they come, whether or not anybody reads messages: what only sends learns of the end,
too.
"""

from __future__ import annotations

import asyncio
from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

from aiohttp import EofStream

# From where it is used: the module that has it bears an underscore. tests/test_channels.py tells
# if it changes.
from aiohttp.client_ws import (  # type: ignore[attr-defined]
    WebSocketDataQueue,  # pyright: ignore[reportPrivateImportUsage]
)
from aiohttp.http import WebSocketError, WebSocketReader, WSMsgType

from .outbox import Outbox

__all__ = ['GOING_AWAY', 'Channel', 'Terms', 'may_send', 'to_channel']

NORMAL, GOING_AWAY, BROKEN, NO_CODE, ABNORMAL, TOO_BIG = 1000, 1001, 1002, 1005, 1006, 1009
RESERVED = frozenset({1004, NO_CODE, ABNORMAL})  # which no frame may have (RFC 6455 7.4.1)
CLOSING = 10.0  # seconds for a peer to answer a close, and to leave
MOST = 2**32 - 1  # bytes up to which aiohttp can count a message
QUEUE = 64 * 1024  # bytes of messages that may wait to be read, twice, before reading stops


def may_send(code: int) -> bool:
    """Tell whether a close frame may have this code (RFC 6455 7.4, and IANA's up to 1014)."""
    return (NORMAL <= code <= 1014 and code not in RESERVED) or 3000 <= code <= 4999


@dataclass(frozen=True)
class Terms:
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


class Messages(WebSocketDataQueue):
    """aiohttp's queue of what is yet to be read, which gets the messages alone."""

    def __init__(self, channel: Channel, protocol: Any) -> None:
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


class Channel:
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
        terms: Terms,
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
        self.queue: Messages = Messages(self, protocol)
        # aiohttp takes a message up to its limit if it was compressed, else below it.
        limit = 0 if self._limit is None else min(self._limit + 1, MOST)
        compressed = terms.window > 0
        self._reader = WebSocketReader(self.queue, limit, compress=compressed, decode_text=True)
        self._reading = asyncio.Lock()
        self._outbox = Outbox(
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


def to_channel(protocol: Any, terms: Terms) -> Channel:
    """Make a connection of aiohttp's client that has switched a WebSocket."""
    channel = Channel(protocol, terms, is_client=True)
    protocol.read_timeout = None  # the heartbeat takes over
    protocol.set_parser(channel, channel.queue)
    return channel
