"""The client behind ``request``: one for each running event loop, which closes it at its end."""

from __future__ import annotations

import asyncio
import os
import threading
import warnings
from collections.abc import AsyncGenerator, AsyncIterator
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
    """The clients of a loop, and the generator with which the loop closes them."""

    def __init__(self) -> None:
        self.client: Client = Client(cookies=False)
        # What is sent on takes no turn from what a program sends, and a server has limits itself.
        self.relaying: Client = Client(cookies=False, limit=None)
        self.keeper: AsyncGenerator[None, None] = self._close_at_shutdown()
        self.leaving: bool = False
        self.inherited = False
        self._busy = 0
        self._idle = asyncio.Event()

    async def request(self, table: Any, fields: dict[str, Any]) -> Response[Any]:
        """Send a table by the kept client, which stays open until the answer is there."""
        self._busy += 1
        try:
            response: Response[Any] = await self.client.request(table, **fields)
            return response
        finally:
            self._busy -= 1
            if self.leaving and not self._busy:
                self._idle.set()

    async def _close_at_shutdown(self) -> AsyncGenerator[None, None]:
        """Wait until the loop closes its generators: asyncio.run, Runner and uvloop.run all do.

        Other generators that it closes then may be in the middle of a request.
        """
        try:
            yield
        finally:
            self.leaving = True
            if self._busy:
                await self._idle.wait()
            if not self.inherited:
                await self.client.close()
                await self.relaying.close()


_kept: dict[asyncio.AbstractEventLoop, LoopClients] = {}
_starting = threading.Lock()  # catch_warnings changes what all threads share

if TYPE_CHECKING:
    request: Sender
else:

    async def request(table=None, /, **fields):
        """Send a request table and return the response table.

        Uses one pool of connections for each running event loop, made at the first request and
        closed with the loop; no cookies are kept. A handler: ``request`` serves wherever one
        does.

        Args:
            table: The request table; its keys may be given as keywords, too.

        Returns:
            The response table. A status is never an error, unless ``check`` says so.

        Raises:
            TableError: The table is malformed; nothing was sent.
            ConnectError: No connection came about.
            TimedOut: A deadline passed.
            ProtocolError: The peer broke HTTP or hung up midway.
            BodyTooLarge: The body passed ``max_body``.
            StatusError: The status is one that ``check`` does not accept.
            OSError: The file that ``into`` names cannot be written.
        """
        loop = asyncio.get_running_loop()
        kept = _kept.get(loop) or _clients_of(loop)
        if kept and not kept.leaving:
            return await kept.request(table, fields)
        async with Client(cookies=False) as client:  # the loop is shutting down
            return await client.request(table, **fields)


async def pass_on(request: Request, length: int | None) -> Response[Any]:
    """Send on a request that a server was sent, over connections that are for this alone."""
    loop = asyncio.get_running_loop()
    kept = _kept.get(loop) or _clients_of(loop)
    if kept is None:
        raise ConnectError('the event loop is shutting down')
    return await kept.relaying.pass_on(request, length)


@asynccontextmanager
async def websocket(
    table: SocketTable | Request | None = None, /, **fields: Unpack[SocketTable]
) -> AsyncIterator[Socket]:
    """Open a WebSocket: ``async with websocket(url='wss://…') as socket``.

    It is closed at the end of the block: with 1000, or after an exception with 1011. A redirect
    is not followed.

    Args:
        table: The keys of a request table that make sense here, and ``protocols``,
            ``heartbeat``, ``max_message`` and ``compress``; as keywords, too.

    Raises:
        TableError: The table is malformed; nothing was sent.
        ConnectError: No connection came about.
        TimedOut: A deadline passed before it was open; no other is set by ``timeout``.
        ProtocolError: The server declined, or broke HTTP; the text has the status.
    """
    async with Client(cookies=False) as client, client.websocket(table, **fields) as socket:
        yield socket


def _clients_of(loop: asyncio.AbstractEventLoop) -> LoopClients | None:
    """Make the client of a loop; None where the loop has begun to shut down."""
    for other in list(_kept):
        if other.is_closed():  # a client refers to its loop, so nothing else would free the two
            _kept.pop(other, None)
    kept = LoopClients()
    try:
        # A loop that has closed its generators warns of one that is started after that. There
        # is no other way to ask it.
        with _starting, warnings.catch_warnings():
            warnings.simplefilter('error', ResourceWarning)
            kept.keeper.asend(None).send(None)
    except ResourceWarning:
        return None
    except StopIteration:  # it has come to its yield
        pass
    _kept[loop] = kept
    return kept


def _forget() -> None:
    """Let a forked child make its own clients and never touch those of its parent.

    Freeing them would take the parent's sockets out of the epoll that the two share, so they
    get a reference that nothing takes back.
    """
    import ctypes

    for kept in _kept.values():
        kept.inherited = True  # the child may close the parent's loop at its exit
    ctypes.pythonapi.Py_IncRef(ctypes.py_object(_kept.copy()))
    _kept.clear()
    _starting.release()


if hasattr(os, 'register_at_fork'):  # pragma: no branch - not on Windows
    os.register_at_fork(
        before=_starting.acquire, after_in_parent=_starting.release, after_in_child=_forget
    )
