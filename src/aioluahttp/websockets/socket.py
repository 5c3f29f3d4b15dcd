"""WebSocket as one small object for both sides (RFC 6455)."""

from __future__ import annotations

import asyncio
import logging
from typing import Any, Protocol, Self

from aiohttp import WSMsgType

from ..bodies.chunks import call, close
from ..errors import ProtocolError, TableError
from ..tables.models import Request, Response, SentRequest
from .connection import may_send

__all__ = ['Peer', 'Socket', 'close_callback', 'run_socket_callback']

logger: logging.Logger = logging.getLogger('aioluahttp')

LONGEST = 123  # bytes: what a close frame has room for (RFC 6455 5.5)
MISTAKE = 1011  # the close code for what a 500 is elsewhere


class Peer(Protocol):
    """One end of a connection, as a ``Socket`` needs it; ``Channel`` tells what each name means."""

    code: int | None
    reason: str
    fault: str | None
    raised: Exception | None

    async def read(self) -> str | bytes | None:
        """Wait for a message; None where there will be none any more."""

    async def send(self, message: bytes, kind: WSMsgType) -> bool:
        """Send a message; give whether that was possible."""
        ...

    async def close(self, code: int, reason: str) -> None:
        """Close, and wait until the connection has ended."""

    def abort(self) -> None:
        """End at once, without a handshake."""


class Socket:
    """A WebSocket, the same on both sides. Iterate over it for the messages, ``str`` or ``bytes``.

    The iteration ends when either side closes; ``code`` and ``reason`` then tell why. As a status
    is, a close code is no error. A ``ProtocolError`` is raised where there was no close: the peer
    hung up, was not heard from any more, or broke the protocol. ``await anext(socket)`` waits for
    one message, and may be cancelled. Pings are answered, and a close is, without anybody reading.

    Attributes:
        protocol: The subprotocol that was agreed upon; None where there is none.
        request: The table that asked for it; on a server as the callback was given it.
        response: The table that granted it; on a client as the server sent it.
    """

    def __init__(
        self, channel: Peer, protocol: str | None, request: Request, response: Response[Any]
    ) -> None:
        self._channel = channel
        self.protocol = protocol
        self.request = request
        self.response = response

    @property
    def code(self) -> int | None:
        """The close code of the peer (RFC 6455 7.1.5); None as long as there is none.

        1005 is a close without a code, 1006 an end without a close. Where the peer broke the
        protocol it is the one that it was told: 1002, 1007 (text that is no UTF-8) or 1009 (a
        message above ``max_message``).
        """
        return self._channel.code

    @property
    def reason(self) -> str:
        """What the peer said besides its code; ``''`` where it said nothing."""
        return self._channel.reason

    def __aiter__(self) -> Self:
        return self

    async def __anext__(self) -> str | bytes:
        message = await self._channel.read()
        if message is not None:
            return message
        if self._channel.fault is not None:
            raise self._error(self._channel.fault)
        raise StopAsyncIteration

    async def send(self, message: str | bytes | bytearray | memoryview) -> None:
        """Send a message: a ``str`` as text, bytes as binary.

        Waits while the peer does not read what was sent before. Many tasks may send; what one
        sends before another goes out before it. Cancelled, it sent the message whole or not at
        all.

        Raises:
            TableError: It is neither, or text that UTF-8 cannot encode.
            ProtocolError: The connection has ended, or is about to.
        """
        kind, data = _encode_message(message)
        if not await self._channel.send(data, kind):
            what = 'it is closed' if self.code is None else f'it has ended ({self.code})'
            raise self._error(self._channel.fault or what)

    async def close(self, code: int = 1000, reason: str = '') -> None:
        """Close, and wait until the peer has agreed, at most 10 s. Messages until then are lost.

        Called again, or where the peer has closed, it waits for the end alone.

        Args:
            code: 1000 (done), 1001 (going away), 1008 (a policy forbids it), 1011 (a mistake of
                ours), 3000 to 4999 (yours to define), or another that RFC 6455 7.4 lets be sent.
            reason: For people to read; 123 bytes in UTF-8 at most.

        Raises:
            TableError: No frame may have this code, or this reason.
        """
        await self._channel.close(_checked_code(code), _checked_reason(reason))

    def _error(self, what: str) -> ProtocolError:
        request = self.request
        error = ProtocolError(f'WebSocket {request["host"]}:{request["port"]}: {what}')
        error.request = SentRequest(request)
        self._channel.raised = error
        return error


async def run_socket_callback(callback: Any, channel: Peer, socket: Socket) -> None:
    """Run the callback, and close: by what it came to, where it did not by itself."""
    try:
        await call(callback, socket)
    except asyncio.CancelledError:
        channel.abort()
        raise
    except Exception as error:
        await socket.close(MISTAKE)
        if error is not channel.raised:
            raise
        logger.info('%s', error)  # the client has left, which is no mistake
    else:
        await socket.close()


async def close_callback(callback: Any) -> None:
    """Close a callback that holds something, as a bridge does, once it is not called any more."""
    if hasattr(callback, 'aclose'):
        await close(callback)


def _encode_message(message: Any) -> tuple[WSMsgType, bytes]:
    if isinstance(message, bytes | bytearray | memoryview):
        return WSMsgType.BINARY, bytes(message)
    try:
        if isinstance(message, str):
            return WSMsgType.TEXT, message.encode()
    except UnicodeEncodeError:
        pass
    raise TableError.of('message', message, 'text that UTF-8 can encode, or bytes')


def _checked_code(code: Any) -> int:
    if isinstance(code, bool) or not isinstance(code, int) or not may_send(code):
        right = 'a code that may be sent: 1000, 1001 …, or 3000 to 4999 (RFC 6455 7.4)'
        raise TableError.of('code', code, right)
    return code


def _checked_reason(reason: Any) -> str:
    try:
        if isinstance(reason, str) and len(reason.encode()) <= LONGEST:
            return reason
    except UnicodeEncodeError:
        pass
    raise TableError.of('reason', reason, f'text of {LONGEST} bytes in UTF-8 at most')
