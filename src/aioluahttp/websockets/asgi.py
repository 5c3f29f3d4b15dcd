"""One end of a WebSocket whose frames are an engine's, of which it gives and takes messages."""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable, Callable, Mapping
from contextlib import suppress
from typing import Any

from aiohttp import WSMsgType

__all__ = ['AsgiPeer']

NO_CODE, TOO_BIG = 1005, 1009
LOST = (OSError, RuntimeError)  # what engines raise who are told to send behind the end


class AsgiPeer:
    """One end of a WebSocket over ASGI; ``sockets.End`` tells what it is for.

    A task of its own takes what comes, so that who only sends learns of the end too, and who
    reads may be cancelled.
    """

    def __init__(
        self,
        receive: Callable[[], Awaitable[Mapping[str, Any]]],
        send: Callable[[dict[str, Any]], Awaitable[None]],
        limit: int | None,
    ) -> None:
        self.code: int | None = None
        self.reason: str = ''
        self.fault: str | None = None
        self.raised: Exception | None = None
        self._receive, self._say, self._limit = receive, send, limit
        self._closing = False
        self._sending = asyncio.Lock()
        # One message waits here, beside those that the engine holds; None is the end.
        self._came: asyncio.Queue[str | bytes | None] = asyncio.Queue(1)
        self._taker = asyncio.create_task(self._take(), name='WebSocket')

    async def _take(self) -> None:
        while (message := await self._receive())['type'] == 'websocket.receive':
            text = message.get('text')
            data: str | bytes = message['bytes'] if text is None else text
            if self._limit is not None and _message_size(data) > self._limit:
                self.fault = f'a message is larger than {self._limit} bytes'
                self.code = TOO_BIG
                await self._shut(TOO_BIG, '')
                break
            await self._came.put(data)
        else:
            # Whether the peer has closed or hung up, engines do not tell: hypercorn has 1006 for
            # both, and uvicorn 1005 for the latter.
            self._closing = True
            self.code, self.reason = message.get('code') or NO_CODE, message.get('reason') or ''
        await self._came.put(None)

    async def read(self) -> str | bytes | None:
        """Wait for a message; None where there will be none any more."""
        message = await self._came.get()
        if message is None:
            self._came.put_nowait(None)  # for who reads next
        return message

    async def send(self, message: bytes, kind: WSMsgType) -> bool:
        """Send a message; give whether that was possible."""
        is_text = kind is WSMsgType.TEXT
        data = {'text': message.decode()} if is_text else {'bytes': message}
        async with self._sending:
            if not self._closing:
                with suppress(*LOST):
                    await self._say({'type': 'websocket.send', **data})
                    return True
        return False

    async def close(self, code: int, reason: str) -> None:
        """Close; what has come until then is dropped."""
        open_still, self._closing = not self._closing, True
        # First: granian sends no close as long as somebody waits for what comes.
        self._taker.cancel()
        await asyncio.gather(self._taker, return_exceptions=True)
        if open_still:
            await self._shut(code, reason)
        if self.code is None:
            self.code, self.reason = code, reason  # as the peer repeats it
        while not self._came.empty():
            self._came.get_nowait()
        self._came.put_nowait(None)

    async def _shut(self, code: int, reason: str) -> None:
        async with self._sending:
            self._closing = True
            with suppress(*LOST):
                await self._say({'type': 'websocket.close', 'code': code, 'reason': reason})

    def abort(self) -> None:
        """End: the engine does, once the application returns."""
        self._closing = True
        self._taker.cancel()


def _message_size(data: str | bytes) -> int:
    return len(data.encode()) if isinstance(data, str) else len(data)
