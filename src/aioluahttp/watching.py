"""A transport watched for its end, whatever else its protocol is about."""

from __future__ import annotations

import asyncio
from typing import Any

__all__ = ['Watched']


class Watched(asyncio.Protocol):
    """Stands between a transport and its protocol, which hears all as before.

    aiohttp.web tells a handler that its client has left by cancelling it, or not at all.
    """

    def __init__(self, transport: asyncio.Transport) -> None:
        self._transport = transport
        self._protocol: Any = transport.get_protocol()
        self._left = asyncio.Event()
        for name in ('data_received', 'eof_received', 'pause_writing', 'resume_writing'):
            setattr(self, name, getattr(self._protocol, name))

    async def left(self) -> None:
        """Wait until the connection is lost."""
        self._transport.set_protocol(self)
        try:
            await self._left.wait()
        finally:
            if self._transport.get_protocol() is self:
                self._transport.set_protocol(self._protocol)

    def connection_lost(self, exc: BaseException | None) -> None:
        """Tell both."""
        self._left.set()
        self._protocol.connection_lost(exc)
