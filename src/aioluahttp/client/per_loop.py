"""The functions `request` and `websocket`, for which you create no `Client`.

Each event loop has a client for `request`, and another for `pass_on`, with which the reverse proxy
sends. Both are closed when the loop shuts down; a forked child makes its own. `websocket` makes a
client for each call.
"""

from __future__ import annotations

import asyncio
import os
import threading
import warnings
from collections.abc import AsyncGenerator, AsyncIterator, Awaitable
from contextlib import asynccontextmanager
from typing import TYPE_CHECKING, Any, Unpack

from ..errors import ConnectError
from ..tables.models import Request, Response
from ..types import SocketTable
from .client import Client, Sender

if TYPE_CHECKING:
    from ..websockets.socket import Socket

__all__ = ['pass_on', 'request', 'websocket']


class LoopClients:
    """The clients of an event loop, and the async generator by which the loop closes them."""

    def __init__(self) -> None:
        self.client: Client = Client(cookies=False)
        # Forwarded requests do not use up the limit of a program; the server has its own limits.
        self.relaying: Client = Client(cookies=False, limit=None)
        self.keeper: AsyncGenerator[None, None] = self._close_at_shutdown()
        self.closing: bool = False
        self.inherited = False
        self.busy: int = 0  # requests for which ``client`` has to stay open
        self._idle = asyncio.Event()

    def note_idle(self) -> None:
        """Let the clients close, if no request needs them any more."""
        if not self.busy:
            self._idle.set()

    async def _close_at_shutdown(self) -> AsyncGenerator[None, None]:
        """Close the clients when the loop closes its generators.

        asyncio.run, Runner and uvloop.run do that. Other generators that are closed at the same
        time may be in the middle of a request, so wait for those.
        """
        try:
            yield
        finally:
            self.closing = True
            if self.busy:
                await self._idle.wait()
            if not self.inherited:
                await self.client.close()
                await self.relaying.close()


_kept: dict[asyncio.AbstractEventLoop, LoopClients] = {}
_starting = threading.Lock()  # catch_warnings changes state of all threads

if TYPE_CHECKING:
    request: Sender
else:

    async def request(table=None, /, **fields):
        """Send a request table and return the response table.

        Each running event loop has one connection pool, made at the first request and closed with
        the loop. Cookies are not kept. ``request`` can be used wherever a handler is expected.

        Args:
            table: The request table; its keys may also be given as keywords.

        Returns:
            The response table. No status is an error, unless ``check`` makes it one.

        Raises:
            TableError: The table is malformed; nothing was sent.
            ConnectError: No connection could be made; nothing was sent.
            TimedOut: A deadline passed.
            ProtocolError: The peer broke HTTP or hung up midway.
            BodyTooLarge: The body passed ``max_body``.
            StatusError: ``check`` does not accept the status.
            OSError: The file that ``into`` names cannot be written.
        """
        loop = asyncio.get_running_loop()
        kept = _kept.get(loop) or _clients_of(loop)
        if kept and not kept.closing:
            kept.busy += 1
            try:
                return await kept.client.send_table(table, fields)
            finally:
                kept.busy -= 1
                if kept.closing:
                    kept.note_idle()
        async with Client(cookies=False) as client:  # the loop is shutting down
            return await client.request(table, **fields)


def pass_on(request: Request, length: int | None) -> Awaitable[Response[Any]]:
    """Send on a request that a server received, over connections used only for that.

    Args:
        request: In normal form.
        length: Bytes of its body; None for chunks.
    """
    loop = asyncio.get_running_loop()
    kept = _kept.get(loop) or _clients_of(loop)
    if kept is None:
        raise ConnectError('the event loop is shutting down')
    return kept.relaying.pass_on(request, length)


@asynccontextmanager
async def websocket(
    table: SocketTable | Request | None = None, /, **fields: Unpack[SocketTable]
) -> AsyncIterator[Socket]:
    """Open a WebSocket: ``async with websocket(url='wss://…') as socket``.

    It is closed at the end of the block: with 1000, or after an exception with 1011. Redirects
    are not followed.

    Args:
        table: The keys of a request table that a handshake can have, and ``protocols``,
            ``heartbeat``, ``max_message`` and ``compress``; also as keywords.

    Raises:
        TableError: The table is malformed; nothing was sent.
        ConnectError: No connection could be made.
        TimedOut: A deadline passed before it was open; ``timeout`` does not apply later.
        ProtocolError: The server declined, and the text has its status, or broke HTTP.
    """
    async with Client(cookies=False) as client, client.websocket(table, **fields) as socket:
        yield socket


def _clients_of(loop: asyncio.AbstractEventLoop) -> LoopClients | None:
    """Make the clients of a loop; None if the loop has begun to shut down."""
    for other in list(_kept):
        if other.is_closed():  # a client refers to its loop, so nothing else frees the two
            _kept.pop(other, None)
    kept = LoopClients()
    try:
        # A loop that has closed its generators warns if one is started after that. There is no
        # other way to find out.
        with _starting, warnings.catch_warnings():
            warnings.simplefilter('error', ResourceWarning)
            kept.keeper.asend(None).send(None)
    except ResourceWarning:
        return None
    except StopIteration:  # the generator has reached its yield
        pass
    _kept[loop] = kept
    return kept


def _forget() -> None:
    """Drop the clients of the parent in a forked child, which makes its own.

    Freeing them would remove the parent's sockets from the epoll that the two processes share, so
    they get a reference that is never released.
    """
    import ctypes

    for kept in _kept.values():
        kept.inherited = True  # the child may close the parent's loop when it exits
    ctypes.pythonapi.Py_IncRef(ctypes.py_object(_kept.copy()))
    _kept.clear()
    _starting.release()


if hasattr(os, 'register_at_fork'):  # pragma: no branch - not on Windows
    os.register_at_fork(
        before=_starting.acquire, after_in_parent=_starting.release, after_in_child=_forget
    )
