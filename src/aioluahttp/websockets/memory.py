"""The two ends of a WebSocket within one process, of which each reads what the other sends."""

from __future__ import annotations

import asyncio
from collections import deque

from aiohttp import WSMsgType

__all__ = ['MemoryPeer', 'peer_pair']

ROOM = 64  # messages that wait to be read before who sends them waits, as on a connection
TOO_BIG = 1009
LOST = 1006


class MemoryPeer:
    """One end; ``sockets.End`` tells what it is for. ``limit`` is in bytes of a message."""

    peer: MemoryPeer

    def __init__(self, limit: int | None) -> None:
        self.code: int | None = None
        self.reason = ''
        self.fault: str | None = None
        self.raised: Exception | None = None
        self._limit = limit
        self._is_over = False
        self._came: deque[str | bytes] = deque()
        self._changed = asyncio.Event()  # what has come, or whether it is over
        self._sending = asyncio.Lock()  # who waits first sends first

    async def read(self) -> str | bytes | None:
        """Wait for a message; None where there will be none any more."""
        while not self._came:
            if self._is_over:
                return None
            await self._change()
        message = self._came.popleft()
        self._changed.set()
        return message

    async def _change(self) -> None:
        self._changed.clear()
        await self._changed.wait()

    async def send(self, message: bytes, kind: WSMsgType) -> bool:
        """Send a message; give whether that was possible."""
        peer = self.peer
        async with self._sending:
            while len(peer._came) >= ROOM and not self._is_over:
                await peer._change()
        if self._is_over:
            return False
        if peer._limit is not None and len(message) > peer._limit:
            peer.fault = f'a message is larger than {peer._limit} bytes'
            self._end(TOO_BIG, '')
            return True  # as on a connection, on which the close comes behind it
        peer._came.append(message.decode() if kind is WSMsgType.TEXT else message)
        peer._changed.set()
        return True

    async def close(self, code: int, reason: str) -> None:
        """Close; what has come until then is dropped."""
        self._end(code, reason)
        self._came.clear()

    def abort(self) -> None:
        """End at once, without a handshake."""
        if not self._is_over:
            self.peer.fault = 'the peer hung up'
            self._end(LOST, '')

    def _end(self, code: int, reason: str) -> None:
        for one in (self, self.peer):
            if not one._is_over:
                one._is_over, one.code, one.reason = True, code, reason
            one._changed.set()


def peer_pair(limit: int | None, limit_of_peer: int | None) -> tuple[MemoryPeer, MemoryPeer]:
    """Make the two ends, each with its limit of a message in bytes."""
    one, other = MemoryPeer(limit), MemoryPeer(limit_of_peer)
    one.peer, other.peer = other, one
    return one, other
