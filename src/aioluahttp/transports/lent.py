"""Send requests by an ``aiohttp.ClientSession`` that the user made: ``Client(session=...)``.

Each request goes through ``ClientSession.request``, so that the session's own settings, middlewares
and overridden methods apply. Unlike with ``session``, aiohttp may retry an idempotent request and
decode the body.
"""

from __future__ import annotations

import asyncio
import traceback
from typing import Any, Never

import aiohttp
import yarl

from ..bodies.codings import DECODED_BY_AIOHTTP
from ..errors import ConnectError, ProtocolError, TableError
from ..headers import Headers, is_secret
from ..tables.models import Request
from .encode import read_options_of
from .failures import reason_of
from .network import NetworkTransport
from .request_body import BodyDelivery, PeerGone
from .response_body import (
    DecodedBody,
    FromConnection,
    InMemory,
    ReadOptions,
    ReceivedResponse,
    ResponseSource,
)
from .wire import peer_of

__all__ = ['LentTransport']

CONNECT = aiohttp.BaseConnector.connect.__code__
STATUSES_NEVER_CODED = frozenset({204, 304})  # statuses of a response without a body


class LentTransport(NetworkTransport):
    """A transport over a session that the user made.

    A WebSocket uses the session's connector and cookies, without its middlewares.

    Args:
        session: The user's; ``close`` leaves it open.
    """

    _owns_connectors = False
    # Without ``send_once``: the peer may have closed a pooled connection, so a retry is needed.
    _middlewares = ()

    def __init__(self, session: aiohttp.ClientSession) -> None:
        super().__init__(None, None, session.cookie_jar)
        self._lent = session

    def _session(self, request: Request, *, switches: bool = False) -> aiohttp.ClientSession:
        if self._closed or self._lent.closed:
            raise ConnectError(f'the {"client" if self._closed else "session"} is closed')
        if 'unix' in request:
            right = 'absent: make the session with a UnixConnector, which decides where to connect'
            raise TableError.of('unix', request['unix'], right)
        check_headers(self._lent.headers, request)
        return super()._session(request, switches=True) if switches else self._lent

    def _connector(self, unix: str | None, *, switches: bool) -> aiohttp.BaseConnector | None:
        return self._lent.connector

    async def _send_request(
        self,
        request: Request,
        target: yarl.URL,
        arguments: dict[str, Any],
        limit: int | None,
        options: ReadOptions | None,
    ) -> ReceivedResponse:
        session = self._session(request)
        streamed = options is not None
        options = options or read_options_of(request, limit)._replace(failed=lambda error: None)
        if options.raw and session.auto_decompress:
            right = 'another value, or the session made with auto_decompress=False'
            raise TableError.of('into', request['into'], right)
        delivery = arguments.get('data')
        if isinstance(delivery, BodyDelivery):
            arguments['data'] = LentPayload(delivery)
        else:
            delivery = None
        try:
            response: Any = await session.request(
                request['method'],
                target,
                allow_redirects=False,
                raise_for_status=False,
                **arguments,
            )
        except Exception as error:
            if is_connecting(error):
                raise ConnectError(reason_of(error)) from error
            raise
        decoded = session.auto_decompress
        return await read_response(response, delivery, options, decoded=decoded, streamed=streamed)


def check_headers(headers: Any, request: Request) -> None:
    """Refuse a request to which aiohttp would add a secret of the session's headers, or its Host.

    The client leaves secrets out of a request to another origin; aiohttp would put them back.

    Raises:
        TableError: The session has such a header, and the request does not.
    """
    for name in headers:
        if name not in request['headers'] and (is_secret(name) or name.lower() == 'host'):
            where = '{scheme}://{host}:{port}'.format_map(request)
            right = f'a default of the Client: aiohttp would send it to {where}, too'
            raise TableError.of(f'session.headers[{name}]', headers[name], right, secret=True)


def is_connecting(error: Exception) -> bool:
    """Tell whether a connector raised an exception, of any kind, while it connected."""
    frames = traceback.walk_tb(error.__traceback__)
    return not isinstance(error, TimeoutError) and any(
        frame.f_code is CONNECT for frame, _ in frames
    )


async def read_response(
    response: Any,
    delivery: BodyDelivery | None,
    options: ReadOptions,
    *,
    decoded: bool,
    streamed: bool,
) -> ReceivedResponse:
    """Read a response of the session's; it may come from a cache, without a connection.

    Args:
        response: What the session returned.
        delivery: The request body, which may still be being sent.
        options: How the body is read.
        decoded: Whether the session decodes bodies.
        streamed: Whether the body is returned as a stream, and not as bytes.
    """
    headers, connection = Headers(response.headers), response.connection
    decoded = decoded and has_coding(response, headers)
    source: ResponseSource
    if connection is None:  # the body has arrived whole; a middleware or a cache may have read it
        peer, source = None, CachedBody(await response.read(), response, delivery)
    else:
        peer, source = peer_of(connection.transport), BorrowedBody(headers, response, delivery)
    if decoded:
        headers.popall('Content-Encoding')
        headers.popall('Content-Length', None)
    data: Any = DecodedBody(headers, source, options)
    if not streamed:
        data = b''.join([chunk async for chunk in data])
    return ReceivedResponse(response.status, response.reason, response.version, headers, data, peer)


def has_coding(response: Any, headers: Headers) -> bool:
    """Tell whether a response has a body in a content coding that aiohttp decodes."""
    bodiless = response.method == 'HEAD' or response.status in STATUSES_NEVER_CODED
    return not bodiless and headers.get('Content-Encoding', '').lower() in DECODED_BY_AIOHTTP


class BorrowedBody(FromConnection):
    """A body that is read from a connection of the session; a ``ResponseSource``."""

    def __init__(self, headers: Headers, response: Any, delivery: BodyDelivery | None) -> None:
        protocol, transport = response.connection.protocol, response.connection.transport
        tls = transport.get_extra_info('ssl_object')
        super().__init__(headers, response.content, protocol, tls, response, delivery)

    async def stop(self) -> None:
        """Wait until aiohttp sends no more of the request."""
        await stop(self._held, self._delivery)


class CachedBody(InMemory):
    """A body that was read before, by a middleware or a cache; a ``ResponseSource``."""

    def __init__(self, data: bytes, response: Any, delivery: BodyDelivery | None) -> None:
        super().__init__(data, is_empty=not data)
        self._response, self._delivery = response, delivery

    async def stop(self) -> None:
        """Wait until aiohttp sends no more of the request."""
        await stop(self._response, self._delivery)


async def stop(response: Any, delivery: BodyDelivery | None) -> None:
    """Wait until aiohttp's task that sends the request body ends; it ends with the response."""
    if delivery:
        await response.wait_for_close()
        await delivery.source.end()


class LentPayload(aiohttp.Payload):
    """A request body as an aiohttp payload, which aiohttp may send more than once."""

    def __init__(self, delivery: BodyDelivery) -> None:
        super().__init__(delivery)
        self._delivery = delivery
        self._begun = False
        self._lock = asyncio.Lock()  # the attempt before may still read a file in a thread

    @property
    def autoclose(self) -> bool:
        """True: aiohttp has nothing to close. An attribute of aiohttp's payloads."""
        return True

    @property
    def size(self) -> int | None:
        """The length in bytes; None if it is unknown. An attribute of aiohttp's payloads."""
        return self._delivery.size

    def decode(self, encoding: str = 'utf-8', errors: str = 'strict') -> Never:
        """Raise a TypeError. A method of aiohttp's payloads."""
        self._delivery.decode()

    async def write(self, writer: Any) -> None:
        """Write the body; what its source raises ends the request."""
        async with self._lock:
            await self._begin()
            try:
                await self._delivery.write(writer)
            except PeerGone as error:
                raise OSError('the peer stopped reading') from error
            except Exception as error:
                self._delivery.source.error = error
                raise BodyFailed from error

    async def _begin(self) -> None:
        source = self._delivery.source
        if source.is_spent and source.error is None:
            what = 'the request had to be sent again, but its body can be sent only once'
            source.error = ProtocolError(what)
        if source.error is not None:
            raise BodyFailed
        if self._begun:
            await source.end()
            await source.open()
        self._begun = True


class BodyFailed(Exception):
    """The body source failed. It is no OSError, because aiohttp retries after one."""
