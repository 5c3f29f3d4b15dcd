"""The server end of a WebSocket over ASGI: messages, while the ASGI server does the framing."""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable, Callable, Mapping
from contextlib import suppress
from typing import Any

from aiohttp import WSMsgType

from .connection import CLOSE_TIMEOUT

__all__ = ['AsgiPeer']

NORMAL, NO_CODE, ABNORMAL, TOO_BIG = 1000, 1005, 1006, 1009
LOST = (OSError, RuntimeError)  # raised by ASGI servers when asked to send after the end


class AsgiPeer:
    """A ``socket.Peer`` over the ``receive`` and ``send`` of an ASGI application.

    A task of its own receives messages, so that a callback that only sends notices the end, and
    ``read`` may be cancelled without losing a message.

    Args:
        limit: Size limit of a received message in bytes; ``None`` is no limit.
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
        self._receive, self._send, self._limit = receive, send, limit
        self._closing = False
        self._sending = asyncio.Lock()
        # Holds one message; further ones wait in the ASGI server. None is the end.
        self._received: asyncio.Queue[str | bytes | None] = asyncio.Queue(1)
        self._receiver = asyncio.create_task(self._receive_until_end(), name='WebSocket')

    async def _receive_until_end(self) -> None:
        try:
            await self._receive_messages()
        except Exception as error:
            self._closing = True
            self.code, self.fault = ABNORMAL, f'the ASGI server gave no message: {error!r}'
        await self._received.put(None)

    async def _receive_messages(self) -> None:
        while (message := await self._receive())['type'] == 'websocket.receive':
            text = message.get('text')
            data: str | bytes = message.get('bytes') or b'' if text is None else text
            if self._limit is not None and _message_size(data) > self._limit:
                self.fault = f'a message is larger than {self._limit} bytes'
                self.code = TOO_BIG
                await self._send_close(TOO_BIG, '')
                break
            await self._received.put(data)
        else:
            # ASGI servers do not tell a close from a lost connection: hypercorn gives 1006 for
            # both, uvicorn 1005 for a lost connection.
            self._closing = True
            self.code, self.reason = message.get('code') or NO_CODE, message.get('reason') or ''

    async def read(self) -> str | bytes | None:
        """Wait for a message; ``None`` once there are no more."""
        message = await self._received.get()
        if message is None:
            self._received.put_nowait(None)  # for the next call
        return message

    async def send(self, message: bytes, kind: WSMsgType) -> bool:
        """Send a message; return whether that was possible."""
        is_text = kind is WSMsgType.TEXT
        data = {'text': message.decode()} if is_text else {'bytes': message}
        async with self._sending:
            if not self._closing:
                with suppress(*LOST):
                    await self._send({'type': 'websocket.send', **data})
                    return True
        return False

    async def close(self, code: int | None, reason: str) -> None:
        """Close within ``CLOSE_TIMEOUT`` seconds, and drop messages that nobody has read."""
        code = NORMAL if code is None else code  # an ASGI server cannot close without one
        was_open, self._closing = not self._closing, True
        # Before the close: granian sends none while a task waits in receive.
        self._receiver.cancel()
        await asyncio.gather(self._receiver, return_exceptions=True)
        if was_open:
            await self._send_close(code, reason)
        if self.code is None:
            self.code, self.reason = code, reason  # the peer replies with the same
        while not self._received.empty():
            self._received.get_nowait()
        self._received.put_nowait(None)

    async def _send_close(self, code: int, reason: str) -> None:
        self._closing = True
        message = {'type': 'websocket.close', 'code': code, 'reason': reason}
        with suppress(TimeoutError, *LOST):
            async with asyncio.timeout(CLOSE_TIMEOUT), self._sending:  # a sender may be stuck
                await self._send(message)

    def abort(self) -> None:
        """Send nothing more: the ASGI server ends the connection once the application returns."""
        self._closing = True
        self._receiver.cancel()


def _message_size(data: str | bytes) -> int:
    return len(data.encode()) if isinstance(data, str) else len(data)
