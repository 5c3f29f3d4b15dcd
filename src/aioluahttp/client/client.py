"""Send a table and get one back: a client with a pool of its own."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator, Awaitable, Callable, Mapping
from contextlib import asynccontextmanager
from http.cookies import CookieError, SimpleCookie
from os import PathLike
from typing import TYPE_CHECKING, Any, Protocol, Self, TypeVar, Unpack, overload

import aiohttp
import yarl
from aiohttp.abc import AbstractCookieJar

from ..bodies.events import EventStream
from ..bodies.stream import Stream
from ..errors import ConnectError, Error, ProtocolError, StatusError, TableError, TimedOut
from ..tables.checks import TIMEOUT, check_handler, check_limit, is_accepted
from ..tables.conversion import to_mapping
from ..tables.models import Handler, Request, Response, SentRequest, described
from ..transports.into import apply_into, with_accept
from ..transports.network import NetworkTransport
from ..transports.request_body import check_again, to_source
from ..types import (
    BytesTable,
    EventsTable,
    FileTable,
    JsonTable,
    RequestTable,
    SocketTable,
    StreamTable,
    TextTable,
)
from .deadlines import Deadlines
from .defaults import Defaults, from_environment
from .redirects import next_request

if TYPE_CHECKING:
    from ..transports.in_process import InProcess
    from ..websockets.socket import Socket

__all__ = ['Client', 'Sender']

T = TypeVar('T')

REDIRECTS = 10
GOING_AWAY = 1001  # the close code (RFC 6455 7.4.1)


class Sender(Protocol):
    """The type of ``request``: a handler that takes keywords too."""

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
    async def __call__(self, /, **fields: Unpack[JsonTable]) -> Response[Any]: ...
    @overload
    async def __call__(self, table: StreamTable, /) -> Response[Stream]: ...
    @overload
    async def __call__(self, /, **fields: Unpack[StreamTable]) -> Response[Stream]: ...
    @overload
    async def __call__(self, table: EventsTable, /) -> Response[EventStream]: ...
    @overload
    async def __call__(self, /, **fields: Unpack[EventsTable]) -> Response[EventStream]: ...
    @overload
    async def __call__(self, table: FileTable, /) -> Response[PathLike[str]]: ...
    @overload
    async def __call__(self, /, **fields: Unpack[FileTable]) -> Response[PathLike[str]]: ...
    @overload
    async def __call__(
        self, table: RequestTable | None = None, /, **fields: Unpack[RequestTable]
    ) -> Response[Any]: ...


class Client:
    """A client with its own pool of connections, its own cookies, and defaults for its tables.

    Use it as an async context manager, or ``close`` it. It belongs to the event loop of its
    first request.

    Args:
        base_url: What a request's ``url`` is resolved against, and what is asked where there
            is none. Its credentials, and those of the defaults, go to its origin alone.
        cookies: True keeps cookies between requests, False does not; a mapping starts with
            these, which go to the origin of the base URL, and without one to every host.
        limit: Connections at once; ``None`` is no limit.
        limit_per_host: Likewise to one origin.
        trust_env: Whether to read ``HTTP_PROXY``, ``NO_PROXY`` and netrc.
        via: A handler that answers in this process, in the place of a network: its tables, checks
            and errors are those of a server, and its mistakes a 500. It runs in the task of the
            request. What is said of connections counts for nothing.
        session: One of aiohttp's to send by, with its connector, cookies, headers, middlewares and
            traces. It stays yours to close. Beside it there are no ``cookies``, limits and ``via``.
        defaults: Keys of the request table. Headers are merged by name.

    Raises:
        TableError: A default is not what its key takes, or ``session`` comes beside what it has.
    """

    def __init__(
        self,
        *,
        base_url: str | None = None,
        cookies: bool | Mapping[str, str] = True,
        limit: int | None = 100,
        limit_per_host: int | None = None,
        trust_env: bool = False,
        via: Handler | None = None,
        session: aiohttp.ClientSession | None = None,
        **defaults: Unpack[RequestTable],
    ) -> None:
        self.closed: bool = False
        if session is not None:
            own = cookies is True and (limit, limit_per_host, via) == (100, None, None)
            _check_session(session, alone=own)
        self._session = session
        self._defaults = Defaults(base_url, defaults, session and session.headers)
        self._trust_env = trust_env
        self._cookies = _checked_cookies(cookies)
        check_limit('limit', limit)
        check_limit('limit_per_host', limit_per_host)
        self._limits = (limit, limit_per_host)
        self._via = None if via is None else check_handler('via', via)
        self._way: NetworkTransport | InProcess | None = None
        self._loop: asyncio.AbstractEventLoop | None = None
        self._deadlines = Deadlines()  # of the requests under way
        self._sockets: set[Socket] = set()  # the WebSockets that are open
        self._idle = asyncio.Event()  # set by the last of them once the client is closed

    async def __aenter__(self) -> Self:
        return self

    async def __aexit__(self, *raised: object) -> None:
        await self.close()

    async def close(self) -> None:
        """Close every connection; WebSockets with 1001, which takes at most 10 s.

        A request under way, and a stream that is still read, end in a ``ProtocolError``, a request
        made after that in a ``ConnectError``.
        """
        self.closed = True
        self._deadlines.pass_all()
        try:
            await asyncio.gather(*(socket.close(GOING_AWAY) for socket in self._sockets))
            # aiohttp cancels, or leaves waiting for ever, who still uses what it closes.
            if self._deadlines:
                await self._idle.wait()
        finally:
            if self._way:
                await self._way.close()

    if TYPE_CHECKING:
        request: Sender
    else:

        async def request(self, table=None, /, **fields):
            """Send a request table and return the response table. A handler.

            Raises:
                TableError: The table is malformed; nothing was sent.
                ConnectError: No connection came about.
                TimedOut: A deadline passed.
                ProtocolError: The peer broke HTTP or hung up midway.
                BodyTooLarge: The body passed ``max_body``.
                StatusError: The status is one that ``check`` does not accept.
                OSError: The file that ``into`` names cannot be written.
            """
            return await self._request(table, fields)

    @asynccontextmanager
    async def websocket(
        self, table: SocketTable | Request | None = None, /, **fields: Unpack[SocketTable]
    ) -> AsyncIterator[Socket]:
        """Open a WebSocket: ``async with client.websocket(url='wss://…') as socket``.

        It has a connection of its own, which counts for no limit of the pool. It is closed at
        the end of the block: with 1000, or after an exception with 1011. A redirect is not
        followed; the defaults of the client hold.

        Raises:
            TableError: The table is malformed; nothing was sent.
            ConnectError: No connection came about.
            TimedOut: A deadline passed before it was open; no other is set by ``timeout``.
            ProtocolError: The server declined, or broke HTTP; the text has the status.
        """
        from ..transports.websocket import as_request, open_socket, split_socket_table

        given = {**to_mapping(table), **fields}
        try:
            asked, options = split_socket_table(given)
            request = as_request(self._defaults.request(asked, {}))
            if self._trust_env:
                request = await asyncio.to_thread(from_environment, request)
            line = await self._within_total(request, lambda way: way.dial(request, options))
        except Error as error:
            error.request = SentRequest(given)
            raise
        async with open_socket(*line) as socket:
            self._sockets.add(socket)
            try:
                yield socket
            finally:
                self._sockets.discard(socket)

    async def pass_on(self, request: Request, length: int | None) -> Response[Any]:
        """Send on a request that a server was sent; ``relay`` is what calls this."""
        return await self._within_total(request, lambda way: way.pass_on(request, length))

    async def _request(self, table: Any, fields: dict[str, Any]) -> Response[Any]:
        supply = None
        try:
            request = with_accept(self._defaults.request(table, fields))
            if supply := to_source(request.get('body')):
                request['body'] = supply
            if isinstance(request.get('into'), PathLike):
                from .download import download_to_file

                response = await download_to_file(request, self._answer)
            else:
                response = await self._answer(request)
            return _accepted(response, request.get('check', False))
        except Error as error:
            given = _to_table(table, fields)
            error.request = SentRequest(given)
            supply = supply or to_source(given.get('body'))  # of a table that was refused, too
            raise
        finally:
            if supply:
                await supply.close()

    async def _answer(self, request: Request) -> Response[Any]:
        return await self._within_total(request, lambda way: self._follow(request, way))

    async def _within_total(self, request: Request, answer: Callable[[Any], Awaitable[T]]) -> T:
        timeout = request.get('timeout', TIMEOUT)
        total = timeout.get('total', TIMEOUT) if isinstance(timeout, Mapping) else timeout
        way = self._open()
        deadline = asyncio.timeout(None)
        try:
            async with deadline:
                self._deadlines.add(deadline, total)
                return await answer(way)
        except TimeoutError as error:
            if not deadline.expired():
                raise
            if self.closed:
                what = 'the client was closed before the answer was there'
                raise ProtocolError(f'{described(request)}: {what}') from error
            raise TimedOut(f'{described(request)}: not done within {total} s') from error
        finally:
            self._deadlines.remove(deadline)
            if self.closed and not self._deadlines:
                self._idle.set()

    async def _follow(self, request: Request, way: NetworkTransport | InProcess) -> Response[Any]:
        """Send a request and those that redirects ask for, up to the limit of them."""
        history: list[Response[Any]] = []
        while True:
            sent = request
            if self._trust_env:
                sent = await asyncio.to_thread(from_environment, request)
            response = await way.send(sent, sent=bool(history))
            following = next_request(request, response)
            if len(history) >= request.get('redirects', REDIRECTS):
                following = None
            await apply_into(response, request, last=following is None)
            if following is None:
                response['history'] = history
                return response
            check_again(following.get('body'), response)
            history.append(response)
            request = following

    def _open(self) -> NetworkTransport | InProcess:
        loop = asyncio.get_running_loop()
        if self._way is None:
            if self.closed:
                raise ConnectError('the client is closed')
            self._loop = loop
            self._way = self._made(_cookie_jar(self._cookies, self._defaults.base))
        if self._loop is not loop:
            raise ConnectError('the client belongs to another event loop; make one for each')
        return self._way

    def _made(self, cookies: AbstractCookieJar) -> NetworkTransport | InProcess:
        if self._session is not None:
            from ..transports.lent import LentTransport

            return LentTransport(self._session)
        if self._via is None:
            return NetworkTransport(*self._limits, cookies)
        from ..transports.in_process import InProcess

        return InProcess(self._via, cookies)


def _to_table(table: Any, fields: Mapping[str, Any]) -> dict[str, Any]:
    return {**(table if isinstance(table, Mapping) else {}), **fields}


def _check_session(session: Any, *, alone: bool) -> None:
    if not isinstance(session, aiohttp.ClientSession):
        raise TableError.of('session', session, 'an aiohttp.ClientSession')
    if session.auth is not None:  # aiohttp would send it to where redirects lead, too
        raise TableError.of('session.auth', session.auth, 'the auth of the Client', secret=True)
    if not alone:
        right = 'without cookies, limit, limit_per_host and via: it has its own'
        raise TableError.of('session', session, right)


def _checked_cookies(cookies: Any) -> bool | SimpleCookie:
    if isinstance(cookies, bool):
        return cookies
    try:
        return SimpleCookie(dict(cookies))
    except (CookieError, TypeError, ValueError) as error:
        right = 'a bool, or a mapping of names to values'
        raise TableError.of('cookies', cookies, right, secret=True) from error


def _cookie_jar(cookies: bool | SimpleCookie, base: Request | None) -> AbstractCookieJar:
    if cookies is False:
        return aiohttp.DummyCookieJar()
    # unsafe: an IP address may have cookies, as any host that sends them to itself alone.
    jar = aiohttp.CookieJar(unsafe=True)
    if isinstance(cookies, SimpleCookie):
        origin = base and {key: base[key] for key in ('scheme', 'host', 'port')}
        jar.update_cookies(cookies, yarl.URL.build(**origin) if origin else yarl.URL())
    return jar


def _accepted(response: Response[Any], check: bool | list[int]) -> Response[Any]:
    status = response['status']
    if isinstance(response['body'], PathLike) or is_accepted(status, check):
        return response
    target = response['url'].partition('?')[0]  # the query may be secret
    error = StatusError(f'{response["method"]} {target}: {status} {response["reason"]}')
    error.response = response
    raise error
