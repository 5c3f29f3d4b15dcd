"""Send request tables over the network, and choose how: over the ``wire`` or by a ``session``.

A request is sent again here if a pooled connection turns out to be lost. Redirects are followed in
``client``.
"""

from __future__ import annotations

from collections.abc import Awaitable, Callable, Mapping
from functools import partial
from typing import TYPE_CHECKING, Any, NamedTuple, TypeAlias
from weakref import WeakSet

import aiohttp
import yarl
from aiohttp.abc import AbstractCookieJar

from ..bodies.stream import ArrivedBody, Stream
from ..errors import ConnectError, TableError
from ..headers import Headers
from ..tables.checks import MAX_BODY, SWITCHING
from ..tables.models import Request, Response
from . import wire
from .encode import (
    MAX_HEADER,
    CookieStore,
    add_cookies,
    arguments_of,
    body_of,
    connection_arguments,
    needs_stream,
    read_options_of,
    response_of,
    target_of,
    try_with_source,
    url_text,
    with_bytes_source,
    with_one_spelling,
    write_timeout,
)
from .failures import BodyFailed, LostConnection, translate
from .into import watch_download
from .protocol import ResponseProtocol
from .request_body import SHORT, BodyDelivery, BodySource, BytesSource, source_of
from .response_body import DecodedBody, ReceivedResponse
from .session import check_headers, open_by_session, send_by_session, send_once

if TYPE_CHECKING:
    from .websocket import Dialed

__all__ = ['LentTransport', 'NetworkTransport', 'Switched']

Exchange: TypeAlias = Callable[[Request], Awaitable[Response[Any]]]


class Switched(NamedTuple):
    """The response to a request for an upgrade, and its connection.

    ``protocol`` is aiohttp's; None if the peer did not switch protocols, or has closed the
    connection. ``close`` closes it.
    """

    response: Response[Any]
    protocol: Any
    close: Callable[[], object]


class NetworkTransport:
    """A transport with a connection pool.

    Args:
        limit: Connections at once; ``None`` is no limit.
        limit_per_host: Connections to one origin at once; ``None`` is no limit.
        cookies: Of the client; None keeps and sends none.
    """

    _is_lent = False  # whether the session is the user's
    _max_header: int | None = MAX_HEADER  # the default of the key
    _middlewares: tuple[aiohttp.ClientMiddlewareType, ...] = (send_once,)

    def __init__(
        self, limit: int | None, limit_per_host: int | None, cookies: CookieStore | None
    ) -> None:
        self._limits: dict[str, Any] = {'limit': limit or 0, 'limit_per_host': limit_per_host or 0}
        self._cookies = cookies
        # By the path of a Unix socket, and whether for WebSockets, which the limits do not count.
        self._sessions: dict[tuple[str | None, bool], aiohttp.ClientSession] = {}
        self._bodies: WeakSet[DecodedBody] = WeakSet()  # streamed response bodies
        self._closed = False

    async def close(self) -> None:
        """Close all connections and streamed bodies; requests raise a ConnectError from now on."""
        self._closed = True
        for body in list(self._bodies):
            body.close('the client was closed')
        while self._sessions:
            _, session = self._sessions.popitem()
            await session.close()

    def _session(self, request: Request, *, switches: bool = False) -> aiohttp.ClientSession:
        if self._closed:
            raise ConnectError('the client is closed')
        unix = request.get('unix')
        if unix and (request['scheme'] == 'https' or 'proxy' in request):
            raise TableError.of('unix', unix, 'absent for https and with a proxy')
        if session := self._sessions.get((unix, switches)):
            return session
        session = self._sessions[unix, switches] = aiohttp.ClientSession(
            connector=self._connector(unix, switches=switches),
            connector_owner=not self._is_lent,
            cookie_jar=self._session_jar(),
            middlewares=self._middlewares,
            auto_decompress=False,  # ``bodies.codings`` does: with a limit, and a check of the end
            skip_auto_headers=('Content-Type',),
        )
        return session

    def _connector(self, unix: str | None, *, switches: bool) -> aiohttp.BaseConnector | None:
        limits = {'limit': 0, 'force_close': True} if switches else self._limits
        if unix is None:
            return wire.TCPPool(**limits)
        return wire.UnixPool(unix, **limits)

    def _session_jar(self) -> AbstractCookieJar:
        """Return the jar for a session of ours: it keeps nothing, ``_cookies`` does."""
        return aiohttp.DummyCookieJar()

    async def send(
        self, request: Request, *, sent: bool = False, exchange: Exchange | None = None
    ) -> Response[Any]:
        """Send a request in normal form, and read the response; follow no redirect.

        Args:
            request: In normal form.
            sent: Whether it follows a request that was sent, as after a redirect.
            exchange: Sends the request once; by default over ``wire`` or ``session``.

        Raises:
            Error: Translated from aiohttp's exception, which is its cause.
        """
        repeated = False
        if exchange is None:
            exchange = self._try
            if 'body' in request:
                request = with_bytes_source(request)
                if isinstance(request['body'], BodySource):
                    exchange = partial(try_with_source, exchange)
        while True:
            try:
                return await exchange(request)
            except BodyFailed as failed:
                failure = failed.error
                break
            except Exception as error:
                supply = source_of(request)
                lost = isinstance(error, LostConnection) and error.repeatable
                if lost and not repeated and not (supply and supply.is_spent):
                    repeated = True
                elif ours := translate(error, request, sent=sent or repeated):
                    raise ours from error
                else:
                    raise
        raise failure  # outside of the except block, which would change its __context__

    async def switch(self, request: Request, fields: Mapping[str, str]) -> Switched:
        """Send a request for an upgrade, on a connection that is not from the request pool.

        Args:
            request: In normal form.
            fields: Headers that ask for the upgrade.

        Returns:
            The response, whatever its status, and its connection, which the caller has to close.

        Raises:
            Error: Translated from aiohttp's exception, which is its cause.
        """
        try:
            target = target_of(request['scheme'], request['host'], request['port'], request['url'])
            arguments = arguments_of(request, target, self._max_header)
            arguments['headers'].update(fields)
            session = self._session(request, switches=True)
            if not self._is_lent and wire.can_send(session, arguments):
                return await self._switch_over_wire(session, request, target, arguments)
            return await self._switch_by_session(session, target, arguments)
        except Exception as error:
            if ours := translate(error, request, sent=False):
                raise ours from error
            raise

    async def _try(self, request: Request) -> Response[Any]:
        """Make one attempt."""
        method, limit = request['method'], request.get('max_body', MAX_BODY)
        target = target_of(request['scheme'], request['host'], request['port'], request['url'])
        options = read_options_of(request, limit) if needs_stream(request) else None
        arguments = arguments_of(request, target, self._max_header)
        session = self._session(request)
        if self._is_lent or not wire.can_send(session, arguments):
            received = await self._send_by_session(session, request, target, arguments, limit)
        else:
            headers, body = arguments['headers'], arguments.get('data')
            if self._cookies is not None:
                add_cookies(headers, self._cookies, target)
            head = wire.request_head(method, target, headers, body)
            wire_request = wire.WireRequest(method, head, body, cookies=self._cookies)
            received = await wire_request.ask(session, target, arguments, limit, options)
        if options is not None and isinstance(received.data, DecodedBody):
            self._bodies.add(received.data)
            if 'on_progress' in request:
                watch_download(request, received.status, received.data)
        return response_of(received, body_of(request, received), url_text(target), method)

    async def _send_by_session(
        self,
        session: aiohttp.ClientSession,
        request: Request,
        target: yarl.URL,
        arguments: dict[str, Any],
        limit: int | None,
    ) -> ReceivedResponse:
        headers = arguments['headers'] = with_one_spelling(arguments['headers'])
        add_cookies(headers, self._cookies, target, by_session=True)
        options, streamed = read_options_of(request, limit), needs_stream(request)
        if not streamed:
            options = options._replace(failed=lambda error: None)
        return await send_by_session(
            session,
            request['method'],
            target,
            arguments,
            options,
            streamed=streamed,
            cookies=self._cookies,
        )

    async def _switch_over_wire(
        self,
        session: aiohttp.ClientSession,
        request: Request,
        target: yarl.URL,
        arguments: dict[str, Any],
    ) -> Switched:
        add_cookies(arguments['headers'], self._cookies, target)
        head = wire.request_head('GET', target, arguments['headers'], None)
        wire_request = wire.WireRequest('GET', head, switches=True, cookies=self._cookies)
        options = read_options_of(request, None)
        received = await wire_request.ask(session, target, arguments, None, options)
        response = response_of(received, '', str(target), 'GET')
        if isinstance(received.data, DecodedBody):
            return Switched(response, None, received.data.close)
        protocol = wire_request.protocol if wire_request.has_switched else None
        return Switched(response, protocol, wire_request.close)

    async def _switch_by_session(
        self, session: aiohttp.ClientSession, target: yarl.URL, arguments: dict[str, Any]
    ) -> Switched:
        add_cookies(arguments['headers'], self._cookies, target, by_session=True)
        arguments['read_until_eof'] = False
        response = await open_by_session(session, 'GET', target, arguments, self._cookies)
        received = ReceivedResponse(
            response.status, response.reason, response.version, Headers(response.headers), b'', None
        )
        connection = response.connection
        is_open = connection is not None and connection.transport is not None
        protocol = ResponseProtocol.after_head(connection).protocol if is_open else None
        return Switched(response_of(received, '', str(target), 'GET'), protocol, response.close)

    async def dial(self, request: Request, options: Mapping[str, Any]) -> Dialed:
        """Open a WebSocket.

        Args:
            request: In normal form.
            options: Of the WebSocket.

        Raises:
            Error: As ``websocket.dial`` does.
        """
        from .websocket import dial

        return await dial(self.switch, request, options)

    def pass_on(self, request: Request, length: int | None) -> Awaitable[Response[Any]]:
        """Send a request of a reverse proxy with exactly its own headers, over the wire.

        Args:
            request: In normal form.
            length: Bytes of its body; None sends it in chunks.

        Returns:
            The response; its body is a ``Stream``, or with status 101 the ``WireRequest``.

        Raises:
            Error: As ``send`` does.
        """
        body = request.get('body')
        if not (body is None or isinstance(body, bytes)):
            request = Request(request | {'body': BodySource(body)})
        elif body and len(body) > SHORT:
            request = Request(request | {'body': BytesSource(body, body)})

        async def exchange(request: Request) -> Response[Any]:
            origin = target_of(request['scheme'], request['host'], request['port'], '/')
            session, arguments = self._session(request), connection_arguments(request)
            options = read_options_of(request, None, early=True)
            method, headers, sent = request['method'], request['headers'], request.get('body')
            if source := source_of(request):
                sent = BodyDelivery(source, length, bytes, seconds=write_timeout(request))
            wire_request = wire.WireRequest(
                method,
                wire.encode_request_head(method, request['url'], headers),
                sent,
                switches='Upgrade' in headers,
            )
            received = await wire_request.ask(session, origin, arguments, None, options)
            result: Any = wire_request
            if received.status != SWITCHING:
                data, kind = received.data, received.headers.get('Content-Type')
                result = Stream(ArrivedBody(data) if isinstance(data, bytes) else data, kind)
                if isinstance(data, DecodedBody):
                    self._bodies.add(data)
            asked = url_text(origin).removesuffix('/') + request['url']
            return response_of(received, result, asked, method)

        return self.send(request, exchange=exchange)


class LentTransport(NetworkTransport):
    """A transport over a session that the user made: ``Client(session=...)``.

    Each request goes through ``ClientSession.request``, so that the session's own settings,
    middlewares and overridden methods apply. A WebSocket uses the session's connector and cookies,
    without its middlewares.

    Args:
        session: The user's; ``close`` leaves it open.
    """

    _is_lent = True
    _max_header = None  # the session has limits of its own
    # Without ``send_once``: the peer may have closed a pooled connection, so a retry is needed.
    _middlewares = ()

    def __init__(self, session: aiohttp.ClientSession) -> None:
        super().__init__(None, None, None)
        self._lent = session

    def _session_jar(self) -> AbstractCookieJar:
        return self._lent.cookie_jar

    def _session(self, request: Request, *, switches: bool = False) -> aiohttp.ClientSession:
        if self._closed or self._lent.closed:
            raise ConnectError(f'the {"client" if self._closed else "session"} is closed')
        if 'unix' in request:
            right = 'absent: make the session with a UnixConnector, which decides where to connect'
            raise TableError.of('unix', request['unix'], right)
        if request.get('into') == 'raw' and self._lent.auto_decompress:
            right = 'another value, or the session made with auto_decompress=False'
            raise TableError.of('into', request['into'], right)
        check_headers(self._lent.headers, request)
        return super()._session(request, switches=True) if switches else self._lent

    def _connector(self, unix: str | None, *, switches: bool) -> aiohttp.BaseConnector | None:
        return self._lent.connector
