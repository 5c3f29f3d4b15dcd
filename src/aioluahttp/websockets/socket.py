"""``Socket``, the WebSocket object of handlers and clients (RFC 6455), and ``Peer`` below it."""

from __future__ import annotations

import asyncio
import logging
from collections.abc import Callable, Coroutine
from typing import Any, Protocol, Self

from aiohttp import WSMsgType

from ..bodies.chunks import call, close
from ..errors import ProtocolError, TableError
from ..semantics import INTERNAL_ERROR
from ..tables.models import Request, Response, SentRequest
from .connection import may_send

__all__ = ['Peer', 'Socket', 'close_callback', 'run_socket_callback']

logger: logging.Logger = logging.getLogger('aioluahttp')

TEXT, BINARY = WSMsgType.TEXT, WSMsgType.BINARY
BYTES_LIKE = (bytes, bytearray, memoryview)
LONGEST = 123  # bytes of a close reason: 125 of a control frame less its code (RFC 6455 5.5)


class Peer(Protocol):
    """What a ``Socket`` needs of a connection; ``ConnectionPeer`` describes the attributes."""

    code: int | None
    reason: str
    fault: str | None
    raised: Exception | None

    async def read(self) -> str | bytes | None:
        """Wait for a message; ``None`` once there are no more."""

    @property
    def send(self) -> Callable[[bytes, WSMsgType], bool | Coroutine[Any, Any, bool]]:
        """Send a message; return whether that was possible, or a coroutine that returns it."""
        ...

    async def close(self, code: int | None, reason: str) -> None:
        """Close, and wait until the connection has ended; ``None`` sends no code."""

    def abort(self) -> None:
        """End at once, without a handshake."""


class Socket:
    """A WebSocket, the same on both sides. Iterate over it for the messages, ``str`` or ``bytes``.

    The iteration ends when either side closes; ``code`` and ``reason`` then say why. A close code
    is not an error, just as a status is not. A ``ProtocolError`` is raised if the connection ended
    without a close: the peer hung up, stopped sending, or broke the protocol. ``await
    anext(socket)`` waits for one message, and may be cancelled. Pings and close frames are answered
    even while nobody reads.

    Attributes:
        protocol: The negotiated subprotocol; ``None`` without one.
        request: The request of the handshake; on a server the table that the handler was given.
        response: The response of the handshake; on a client the table that the server sent.
    """

    def __init__(
        self, channel: Peer, protocol: str | None, request: Request, response: Response[Any]
    ) -> None:
        self._channel = channel
        self._send = channel.send
        self.protocol = protocol
        self.request = request
        self.response = response

    @property
    def code(self) -> int | None:
        """The close code of the peer (RFC 6455 7.1.5); ``None`` while the WebSocket is open.

        1005 is a close without a code, 1006 an end without a close. If the peer broke the protocol,
        it is the code that was sent to it: 1002, 1007 (text is not UTF-8) or 1009 (a message
        exceeds ``max_message``).
        """
        return self._channel.code

    @property
    def reason(self) -> str:
        """The close reason of the peer; ``''`` without one."""
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

        Wait while the peer does not read what was sent before. Several tasks may send at once;
        messages go out in the order of the calls. A cancelled call has sent the whole message or
        nothing.

        Raises:
            TableError: The message is neither text nor bytes, or is text that UTF-8 cannot encode.
            ProtocolError: The connection is closed or closing.
        """
        if type(message) is str and message.isascii():
            kind, data = TEXT, message.encode()
        else:
            kind, data = _encode_message(message)
        sent = self._send(data, kind)
        if sent is not True and (sent is False or not await sent):
            ended = 'it is closed' if self.code is None else f'it has ended ({self.code})'
            raise self._error(self._channel.fault or ended)

    async def close(self, code: int | None = 1000, reason: str = '') -> None:
        """Close, and wait for the connection to end. Unread messages are dropped.

        A peer that does nothing for 10 s is cut off. It may take longer to read what was sent.

        If either side has already closed, only wait for the end.

        Args:
            code: 1000 (done), 1001 (going away), 1008 (policy violation), 1011 (internal error),
                3000 to 4999 (defined by you), or another that RFC 6455 7.4 allows. ``None`` sends
                none, which the peer sees as 1005; ASGI servers then send 1000.
            reason: Text for people; at most 123 bytes in UTF-8. There is none without a code.

        Raises:
            TableError: A close frame cannot carry this code or this reason.
        """
        await self._channel.close(_checked_code(code, reason), _checked_reason(reason))

    def _error(self, fault: str) -> ProtocolError:
        request = self.request
        error = ProtocolError(f'WebSocket {request["host"]}:{request["port"]}: {fault}')
        error.request = SentRequest(request)
        self._channel.raised = error
        return error


async def run_socket_callback(callback: Any, channel: Peer, socket: Socket) -> None:
    """Run the callback of a WebSocket, then close: 1000 after a return, 1011 after an exception."""
    try:
        await call(callback, socket)
    except asyncio.CancelledError:
        channel.abort()
        raise
    except Exception as error:
        await socket.close(INTERNAL_ERROR)
        if error is not channel.raised:
            raise
        logger.info('%s', error)  # the connection ended: not a mistake of the callback
    else:
        await socket.close()


async def close_callback(callback: Any) -> None:
    """Close a callback that has ``aclose``, such as a bridge of the reverse proxy."""
    if hasattr(callback, 'aclose'):
        await close(callback)


def _encode_message(message: Any) -> tuple[WSMsgType, bytes]:
    try:
        if isinstance(message, str):
            return TEXT, message.encode()
    except UnicodeEncodeError:
        pass
    if isinstance(message, BYTES_LIKE):
        return BINARY, bytes(message)
    raise TableError.of('message', message, 'text that UTF-8 can encode, or bytes')


def _checked_code(code: Any, reason: Any) -> int | None:
    if code is None and not reason:
        return None
    if isinstance(code, bool) or not isinstance(code, int) or not may_send(code):
        right = 'a code that a close frame may carry: 1000, 1001 …, or 3000 to 4999 (RFC 6455 7.4)'
        if code is None:
            right = 'given where a reason is'
        raise TableError.of('code', code, right)
    return code


def _checked_reason(reason: Any) -> str:
    try:
        if isinstance(reason, str) and len(reason.encode()) <= LONGEST:
            return reason
    except UnicodeEncodeError:
        pass
    raise TableError.of('reason', reason, f'text of at most {LONGEST} bytes in UTF-8')
