"""Send request tables over the network, and choose how: ``wire``, ``session`` or a WebSocket.

A request is sent again here if a pooled connection turns out to be lost. Redirects are followed in
``client``.
"""

from __future__ import annotations

from collections.abc import Awaitable, Callable, Mapping
from functools import partial
from typing import TYPE_CHECKING, Any, TypeAlias
from weakref import WeakSet

import aiohttp
import yarl
from aiohttp.abc import AbstractCookieJar

from ..bodies.stream import Stream
from ..errors import ConnectError, TableError
from ..tables.models import Request, Response
from . import wire
from .encode import (
    MAX_BODY,
    arguments_of,
    body_of,
    connection_arguments,
    read_options_of,
    response_of,
    target_of,
    try_with_source,
    with_bytes_source,
)
from .failures import LostConnection, StaleConnection, translate
from .into import PAGES, needs_stream
from .request_body import source_of
from .response_body import DecodedBody, ReadOptions, ReceivedResponse
from .session import FinalResponse, PooledRequest, SwitchingResponse, send_by_session, send_once

if TYPE_CHECKING:
    from .websocket import Dialed

__all__ = ['NetworkTransport']

Exchange: TypeAlias = Callable[[Request], Awaitable[Response[Any]]]


class NetworkTransport:
    """A transport with a connection pool.

    Args:
        limit: Connections at once; ``None`` is no limit.
        limit_per_host: Connections to one origin at once; ``None`` is no limit.
        cookies: The cookie jar.
    """

    _owns_connectors = True
    _middlewares: tuple[aiohttp.ClientMiddlewareType, ...] = (send_once,)

    def __init__(
        self, limit: int | None, limit_per_host: int | None, cookies: AbstractCookieJar
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
            connector_owner=self._owns_connectors,
            cookie_jar=self._cookies,
            request_class=PooledRequest,
            response_class=SwitchingResponse if switches else FinalResponse,
            middlewares=self._middlewares,
            auto_decompress=False,  # ``bodies.codings`` does: with a limit, and a check of the end
            skip_auto_headers=('Content-Type',),
        )
        return session

    def _connector(self, unix: str | None, *, switches: bool) -> aiohttp.BaseConnector | None:
        limits = {'limit': 0, 'force_close': True} if switches else self._limits
        if unix is None:
            return aiohttp.TCPConnector(**limits)
        return aiohttp.UnixConnector(unix, **limits)

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
            exchange, request = partial(try_with_source, self._try), with_bytes_source(request)
        while True:
            try:
                return await exchange(request)
            except StaleConnection:  # no endless loop: each removes a connection from the pool
                continue
            except Exception as error:
                supply = source_of(request)
                lost = isinstance(error, LostConnection) and error.repeatable
                if lost and not repeated and not (supply and supply.is_spent):
                    repeated = True
                elif ours := translate(error, request, sent=sent or repeated):
                    raise ours from error
                else:
                    raise

    async def switch(self, request: Request, fields: Mapping[str, str]) -> aiohttp.ClientResponse:
        """Send a request for an upgrade, on a connection that is not from the request pool.

        Args:
            request: In normal form.
            fields: Headers that ask for the upgrade.

        Returns:
            The response, whatever its status; the caller has to close it.

        Raises:
            Error: Translated from aiohttp's exception, which is its cause.
        """
        try:
            target = target_of(request['scheme'], request['host'], request['port'], request['url'])
            arguments = arguments_of(request, target)
            arguments['allow_redirects'] = arguments['read_until_eof'] = False
            arguments['headers'].update(fields)
            session = self._session(request, switches=True)
            return await session.get(target, **arguments)
        except Exception as error:
            if ours := translate(error, request, sent=False):
                raise ours from error
            raise

    async def _try(self, request: Request) -> Response[Any]:
        """Make one attempt."""
        method = request['method']
        target = target_of(request['scheme'], request['host'], request['port'], request['url'])
        arguments = arguments_of(request, target)
        limit = request.get('max_body', MAX_BODY)
        options = read_options_of(request, limit) if needs_stream(request) else None
        received = await self._send_request(request, target, arguments, limit, options)
        if isinstance(received.data, DecodedBody):
            self._bodies.add(received.data)
            if 'on_progress' in request and received.status < PAGES:
                received.data.watch(request['on_progress'], 0 if 'body' in request else None)
        return response_of(received, body_of(request, received), str(target), method)

    async def _send_request(
        self,
        request: Request,
        target: yarl.URL,
        arguments: dict[str, Any],
        limit: int | None,
        options: ReadOptions | None,
    ) -> ReceivedResponse:
        session, method = self._session(request), request['method']
        short = wire.is_short(session, method, arguments)
        send = wire.send_short if short else send_by_session
        return await send(session, method, target, arguments, limit, options)

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

    async def pass_on(self, request: Request, length: int | None) -> Response[Any]:
        """Send a request of a reverse proxy with exactly its own headers, by ``wire.send_wire``.

        Args:
            request: In normal form.
            length: Bytes of its body; None sends it in chunks.

        Returns:
            The response; its body is a ``Stream``, or with status 101 the ``WireRequest``.

        Raises:
            Error: As ``send`` does.
        """

        async def exchange(request: Request) -> Response[Any]:
            origin = target_of(request['scheme'], request['host'], request['port'], '/')
            session, arguments = self._session(request), connection_arguments(request)
            options = read_options_of(request, None)._replace(early=True)
            received, wire_request = await wire.send_wire(
                session, request, length, origin, arguments, options
            )
            body: Any = wire_request
            if isinstance(received.data, DecodedBody):
                self._bodies.add(received.data)
                body = Stream(received.data, received.headers.get('Content-Type'))
            return response_of(
                received, body, str(origin.origin()) + request['url'], request['method']
            )

        return await self.send(request, exchange=exchange)
