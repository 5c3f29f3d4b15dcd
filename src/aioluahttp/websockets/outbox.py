"""The frames of a WebSocket on their way out, one after the other.

All that is sent goes through one lock, behind which senders wait for a peer that does not read, so
that no more than one message waits in memory however many senders there are.
"""

from __future__ import annotations

import asyncio
import sys
from collections.abc import Callable
from typing import Any

from aiohttp.http import WebSocketWriter, WSMsgType
from aiohttp.http_writer import StreamWriter

__all__ = ['Outbox']


class Outbox:
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
