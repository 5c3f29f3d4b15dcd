"""The `Client` class: send a request table, get a response table.

It decides what is sent: defaults, redirects, the total deadline, the checks of a response. How it
is sent is in ``transports``.
"""

from __future__ import annotations

import asyncio
import re
from collections.abc import AsyncIterator, Awaitable, Mapping
from contextlib import asynccontextmanager
from functools import partial
from os import PathLike
from typing import TYPE_CHECKING, Any, Protocol, Self, Unpack, overload

import aiohttp

from ..bodies.events import EventStream
from ..bodies.stream import Stream
from ..errors import ConnectError, Error, ProtocolError, StatusError, TableError, TimedOut
from ..semantics import GOING_AWAY
from ..tables.checks import EVENTS, TIMEOUT, check_handler, check_limit, is_accepted
from ..tables.conversion import PAGES, to_mapping
from ..tables.models import Handler, Request, Response, SentRequest, describe_request
from ..transports.into import apply_into, with_accept
from ..transports.network import LentTransport, NetworkTransport
from ..transports.request_body import check_resendable, to_source
from ..types import (
    AnyPath,
    BytesTable,
    EventsTable,
    FileTable,
    JsonTable,
    RequestTable,
    SocketTable,
    StreamTable,
    TextTable,
)
from .cookies import Cookies, SessionCookies
from .deadlines import Deadline, Deadlines
from .defaults import Defaults, from_environment
from .redirects import add_fragments, next_request

if TYPE_CHECKING:
    from ..exchange.options import ExchangeOptions, Settings, ViaOptions
    from ..transports.in_process import InProcess
    from ..websockets.socket import Socket

__all__ = ['Client', 'Sender']

REDIRECTS = 10


class Sender(Protocol):
    """The type of ``request``: a handler that also takes the keys of its table as keywords."""

    @overload
    async def __call__(
        self, table: TextTable | Request | None = None, /, **fields: Unpack[TextTable]
    ) -> Response[str]: ...
    @overload
    async def __call__(self, table: BytesTable, /) -> Response[bytes]: ...
    @overload
    async def __call__(self, /, **fields: Unpack[BytesTable]) -> Response[bytes]: ...
    @overload
    async def __call__(self, table: JsonTable, /) -> Response[Any]: ...
    @overload
    async def __call__(self, table: StreamTable, /) -> Response[Stream]: ...
    @overload
    async def __call__(self, /, **fields: Unpack[StreamTable]) -> Response[Stream]: ...
    @overload
    async def __call__(self, table: EventsTable, /) -> Response[EventStream]: ...
    @overload
    async def __call__(self, /, **fields: Unpack[EventsTable]) -> Response[EventStream]: ...
    @overload
    async def __call__(self, table: FileTable[AnyPath], /) -> Response[AnyPath]: ...
    @overload
    async def __call__(self, /, **fields: Unpack[FileTable[AnyPath]]) -> Response[AnyPath]: ...
    @overload
    async def __call__(
        self, table: RequestTable | None = None, /, **fields: Unpack[RequestTable]
    ) -> Response[Any]: ...


class Client:
    """An HTTP client with its own connection pool, cookies and default request keys.

    Use it as an async context manager, or call ``close``. It belongs to the event loop of its
    first request.

    Args:
        base_url: The URL that a request's ``url`` is resolved against, and the URL of a request
            that has none. Its credentials, and those of the defaults, go to its origin only.
        cookies: True keeps cookies between requests, False does not. A mapping keeps them and
            starts with these, sent to the host of the base URL, or to every host without one.
        limit: The number of connections at once; ``None`` is no limit.
        limit_per_host: The number of connections to one origin at once; ``None`` is no limit.
        trust_env: Whether to use ``HTTP_PROXY``, ``NO_PROXY`` and netrc.
        via: A handler to call in this process instead of using the network, as a server calls
            it: tables are checked, an exception becomes a 500 response. It runs in the task of
            the request. Options about connections have no effect.
        via_options: Options of ``listen`` for each request to ``via``, such as ``into``,
            ``max_body``, ``handler_timeout``, ``trusted_proxies`` and ``on_error``; not those of
            connections.
        session: An ``aiohttp.ClientSession`` to send with: its connector, cookies, headers,
            middlewares and traces apply. You close it. It excludes ``cookies``, limits and ``via``.
        defaults: Keys for every request table. Headers are merged by name.

    Raises:
        TableError: A default or an option is wrong, or ``session`` comes with an option that it
            excludes, or ``via_options`` without ``via``.
    """

    def __init__(  # noqa: PLR0913 - keywords alone, each an option of its own
        self,
        *,
        base_url: str | None = None,
        cookies: bool | Mapping[str, str] = True,
        limit: int | None = 100,
        limit_per_host: int | None = None,
        trust_env: bool = False,
        via: Handler | None = None,
        via_options: ExchangeOptions | ViaOptions | None = None,
        session: aiohttp.ClientSession | None = None,
        **defaults: Unpack[RequestTable],
    ) -> None:
        self.closed: bool = False
        if session is not None:
            own = cookies is True and (limit, limit_per_host, via) == (100, None, None)
            _check_session(session, alone=own)
        self._session = session
        options = Client.__init__.__kwdefaults__ or ()
        self._defaults = Defaults(base_url, defaults, session and session.headers, options)
        self._trust_env = trust_env
        self._cookies = self._make_cookies(cookies)
        check_limit('limit', limit)
        check_limit('limit_per_host', limit_per_host)
        self._limits = (limit, limit_per_host)
        self._via = _checked_via(via, via_options)
        self._transport: NetworkTransport | InProcess | None = None
        self._loop: asyncio.AbstractEventLoop | None = None
        self._deadlines = Deadlines()  # of the requests in progress
        self._sockets: set[Socket] = set()  # open WebSockets

    async def __aenter__(self) -> Self:
        if self._via is not None:
            in_process: Any = self._open_transport()
            await in_process.start()
        return self

    async def __aexit__(self, *raised: object) -> None:
        await self.close()

    async def close(self) -> None:
        """Close every connection; WebSockets are closed with 1001.

        A WebSocket whose peer does nothing for 10 s is cut off. A request in progress, and a stream
        that is still being read, raise ``ProtocolError``; a later request raises ``ConnectError``.
        """
        self.closed = True
        self._deadlines.pass_all()
        try:
            await asyncio.gather(*(socket.close(GOING_AWAY) for socket in self._sockets))
            # aiohttp cancels requests that still use what it closes, or leaves them waiting.
            await self._deadlines.wait()
        finally:
            if self._transport:
                await self._transport.close()

    @property
    def cookies(self) -> Cookies:
        """The cookies of the client, to read, set, clear, save and load.

        Raises:
            TableError: The client was made with ``cookies=False``.
        """
        if self._cookies is None:
            right = 'True, or a mapping of names to values, for a client that has cookies'
            raise TableError.of('cookies', False, right)
        return self._cookies

    if TYPE_CHECKING:
        request: Sender
    else:

        async def request(self, table=None, /, **fields):
            """Send a request table and return the response table; usable as a handler.

            Raises:
                TableError: The table is malformed; nothing was sent.
                ConnectError: No connection could be made; nothing was sent.
                TimedOut: A deadline passed.
                ProtocolError: The peer broke HTTP or hung up midway, or the client was closed.
                BodyTooLarge: The body passed ``max_body``.
                StatusError: ``check`` does not accept the status.
                OSError: The file that ``into`` names cannot be written.
            """
            return await self.send_table(table, fields)

    @asynccontextmanager
    async def websocket(
        self, table: SocketTable | Request | None = None, /, **fields: Unpack[SocketTable]
    ) -> AsyncIterator[Socket]:
        """Open a WebSocket: ``async with client.websocket(url='wss://…') as socket``.

        Its connection does not count for the limits of the pool. It is closed at the end of the
        block: with 1000, or after an exception with 1011. Redirects are not followed; the
        client's defaults apply.

        Raises:
            TableError: The table is malformed; nothing was sent.
            ConnectError: No connection could be made.
            TimedOut: A deadline passed before it was open; ``timeout`` does not apply later.
            ProtocolError: The server declined, and the text has its status, or broke HTTP.
        """
        from ..transports.websocket import as_request, open_socket, split_socket_table

        given = {**to_mapping(table), **fields}
        try:
            request_keys, options = split_socket_table(given)
            keywords = {key: one for key, one in request_keys.items() if key in fields}
            whole = Request(request_keys) if isinstance(table, Request) else request_keys
            request = as_request(self._defaults.request(whole, keywords))
            if self._trust_env:
                request = await asyncio.to_thread(from_environment, request)
            transport = self._open_transport()
            with self._total_of(request):
                dialed = await transport.dial(request, options)
        except Error as error:
            error.request = SentRequest(given)
            raise
        async with open_socket(*dialed) as socket:
            self._sockets.add(socket)
            try:
                yield socket
            finally:
                self._sockets.discard(socket)

    async def pass_on(self, request: Request, length: int | None) -> Response[Any]:
        """Send on a request that a server received; called by ``forward``.

        Args:
            request: In normal form.
            length: Bytes of its body; None for chunks.
        """
        transport: Any = self._open_transport()
        limits = request.get('timeout')
        if isinstance(limits, dict) and limits.get('total', TIMEOUT) is None:
            # By default. This client is closed with its loop, which has cancelled its tasks then.
            return await transport.pass_on(request, length)  # type: ignore[no-any-return]
        with self._total_of(request):
            response: Response[Any] = await transport.pass_on(request, length)
        return response

    async def send_table(self, table: Any, fields: dict[str, Any]) -> Response[Any]:
        """Do what ``request`` does, with the keyword arguments as a dict."""
        source = None
        try:
            request = self._defaults.request(table, fields)
            if not isinstance(request.get('body', ''), str | bytes):
                request['body'] = source = to_source(request['body'])
            response = await (
                self._send_into(request) if 'into' in request else self._send(request)
            )
            written = fields['url'] if 'url' in fields else (table or fields).get('url')
            if response['history'] or '#' in str(written):
                add_fragments(response, written)
            check = request.get('check', False)
            return response if check is False else _accepted(response, check)
        except Error as error:
            given = _to_table(table, fields)
            error.request = SentRequest(given)
            source = source or to_source(given.get('body'))  # also of a table that was refused
            raise
        finally:
            if source:
                await source.close()

    def _send_into(self, request: Request) -> Awaitable[Response[Any]]:
        """Send a request that says what the body of the response becomes."""
        if not isinstance(request['into'], PathLike):
            return self._send(with_accept(request) if request['into'] == EVENTS else request)
        from .download import download_to_file

        return download_to_file(request, self._send)

    async def _send(self, request: Request) -> Response[Any]:
        """Send a request and follow its redirects, as many as ``redirects`` allows."""
        transport = self._open_transport()
        history: list[Response[Any]] = []
        with self._total_of(request):
            while True:
                sent = request
                if self._trust_env:
                    sent = await asyncio.to_thread(from_environment, request)
                response = await transport.send(sent, sent=bool(history))
                following = None
                if response['status'] >= PAGES:
                    follows = len(history) < request.get('redirects', REDIRECTS)
                    following = next_request(request, response) if follows else None
                if isinstance(response['body'], Stream):
                    await apply_into(response, request, last=following is None)
                if following is None:
                    response['history'] = history
                    return response
                check_resendable(following.get('body'), response)
                history.append(response)
                request = following

    def _total_of(self, request: Request) -> Deadline:
        """Make the deadline of a request."""
        timeout = request.get('timeout', TIMEOUT)
        total = timeout.get('total', TIMEOUT) if isinstance(timeout, dict) else timeout
        return Deadline(self._deadlines, total, partial(self._late, request, total))

    def _late(self, request: Request, total: float | None) -> Error:
        """Return the error for a request whose deadline has passed."""
        if self.closed:
            what = 'the client was closed before the response arrived'
            return ProtocolError(f'{describe_request(request)}: {what}')
        return TimedOut(f'{describe_request(request)}: not done within {total} s')

    def _open_transport(self) -> NetworkTransport | InProcess:
        loop = asyncio.get_running_loop()
        if self._transport is None:
            if self.closed:
                raise ConnectError('the client is closed')
            self._loop = loop
            self._transport = self._make_transport()
        if self._loop is not loop:
            raise ConnectError('the client belongs to another event loop; make one for each')
        return self._transport

    def _make_transport(self) -> NetworkTransport | InProcess:
        if self._session is not None:
            return LentTransport(self._session)
        if self._via is None:
            return NetworkTransport(*self._limits, self._cookies)
        from ..transports.in_process import InProcess

        return InProcess(*self._via, self._cookies)

    def _make_cookies(self, given: Any) -> Cookies | None:
        if self._session is not None:
            return SessionCookies(self._defaults, self._session.cookie_jar)
        if given is False:
            return None
        cookies = Cookies(self._defaults)
        if given is not True:
            cookies.set_initial(given)
        return cookies


def _to_table(table: Any, fields: Mapping[str, Any]) -> dict[str, Any]:
    return {**(table if isinstance(table, Mapping) else {}), **fields}


def _check_session(session: Any, *, alone: bool) -> None:
    if not isinstance(session, aiohttp.ClientSession):
        raise TableError.of('session', session, 'an aiohttp.ClientSession')
    auth = getattr(session, 'auth', None)  # gone in aiohttp 4
    if auth is not None:  # aiohttp would also send it to where redirects lead
        right = 'None; give auth to the Client instead'
        raise TableError.of('session.auth', auth, right, secret=True)
    if not alone:
        right = 'given without cookies, limit, limit_per_host and via: it has its own'
        raise TableError.of('session', session, right)


def _checked_via(
    via: Handler | None, options: Mapping[str, Any] | None
) -> tuple[Handler, Settings] | None:
    if via is None:
        if options is not None:
            raise TableError.of('via_options', options, 'absent, or given with via')
        return None
    from ..exchange.options import to_via_settings

    return check_handler('via', via), to_via_settings(via, options)


def _accepted(response: Response[Any], check: bool | list[int]) -> Response[Any]:
    status = response['status']
    if isinstance(response['body'], PathLike) or is_accepted(status, check):
        return response
    target = re.split('[?#]', response['url'])[0]  # query and fragment may be secret
    error = StatusError(f'{response["method"]} {target}: {status} {response["reason"]}')
    error.response = response
    raise error
