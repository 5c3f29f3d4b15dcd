"""Both ends of a WebSocket in one process: each reads what the other sends."""

from __future__ import annotations

import asyncio
from collections import deque

from aiohttp import WSMsgType

__all__ = ['MemoryPeer', 'peer_pair']

ROOM = 64  # unread messages before ``send`` waits, as it does on a connection
TOO_BIG = 1009
NO_CODE, LOST = 1005, 1006


class MemoryPeer:
    """One end of the pair, a ``socket.Peer``.

    Args:
        limit: Size limit of a received message in bytes; ``None`` is no limit.
    """

    peer: MemoryPeer

    def __init__(self, limit: int | None) -> None:
        self.code: int | None = None
        self.reason = ''
        self.fault: str | None = None
        self.raised: Exception | None = None
        self._limit = limit
        self._is_over = False
        self._received: deque[str | bytes] = deque()
        self._changed = asyncio.Event()  # set when _received or _is_over changes
        self._sending = asyncio.Lock()  # senders wait in order

    async def read(self) -> str | bytes | None:
        """Wait for a message; ``None`` once there are no more."""
        while not self._received:
            if self._is_over:
                return None
            await self._wait_change()
        message = self._received.popleft()
        self._changed.set()
        return message

    async def _wait_change(self) -> None:
        self._changed.clear()
        await self._changed.wait()

    async def send(self, message: bytes, kind: WSMsgType) -> bool:
        """Send a message; return whether that was possible."""
        peer = self.peer
        async with self._sending:
            while len(peer._received) >= ROOM and not self._is_over:
                await peer._wait_change()
        if self._is_over:
            return False
        if peer._limit is not None and len(message) > peer._limit:
            peer.fault = f'a message is larger than {peer._limit} bytes'
            self._end(TOO_BIG, '')
            return True  # as on a connection: the peer's close arrives after the send
        peer._received.append(message.decode() if kind is WSMsgType.TEXT else message)
        peer._changed.set()
        return True

    async def close(self, code: int | None, reason: str) -> None:
        """Close, and drop messages that this end has not read."""
        self._end(NO_CODE if code is None else code, reason)
        self._received.clear()

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
    """Make two connected ends; each limit is in bytes of a received message, ``None`` is none."""
    one, other = MemoryPeer(limit), MemoryPeer(limit_of_peer)
    one.peer, other.peer = other, one
    return one, other
