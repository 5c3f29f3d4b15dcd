"""Requests sent by a session of aiohttp's that another made, and set up in another way.

It is asked by ``ClientSession.request`` alone, so that what it is made of, and what its class
does in its place, has its part in each request. What ``attempts`` keeps aiohttp from is its own
affair here: it may send an idempotent request again, and undo codings.
"""

from __future__ import annotations

import asyncio
import traceback
from typing import Any, Never

import aiohttp
import yarl

from ..bodies.codings import UNDONE
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
BODILESS = frozenset({204, 304})


class LentTransport(NetworkTransport):
    """A session in the place of a pool. WebSockets go over its connector, with its cookies.

    Args:
        session: Stays open.
    """

    _owns_connectors = False
    _middlewares = ()  # a WebSocket may get a connection that the session has used

    def __init__(self, session: aiohttp.ClientSession) -> None:
        super().__init__(None, None, session.cookie_jar)
        self._lent = session

    def _session(self, request: Request, *, switches: bool = False) -> aiohttp.ClientSession:
        if self._closed or self._lent.closed:
            raise ConnectError(f'the {"client" if self._closed else "session"} is closed')
        if 'unix' in request:
            right = "absent: the session's connector says where to; give it a UnixConnector"
            raise TableError.of('unix', request['unix'], right)
        check_headers(self._lent.headers, request)
        return super()._session(request, switches=True) if switches else self._lent

    def _connector(self, unix: str | None, *, switches: bool) -> aiohttp.BaseConnector | None:
        return self._lent.connector

    async def _ask(
        self,
        request: Request,
        target: yarl.URL,
        arguments: dict[str, Any],
        limit: int | None,
        terms: ReadOptions | None,
    ) -> ReceivedResponse:
        session = self._session(request)
        flows = terms is not None
        terms = terms or read_options_of(request, limit)._replace(failed=lambda error: None)
        if terms.raw and session.auto_decompress:
            right = "another, or the session's auto_decompress False"
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
        return await read_response(response, delivery, terms, decoded=decoded, flows=flows)


def check_headers(headers: Any, request: Request) -> None:
    """Refuse to send secrets of the session's where they were left out: to another origin.

    Raises:
        TableError: aiohttp would put one back.
    """
    for name in headers:
        if name not in request['headers'] and (is_secret(name) or name.lower() == 'host'):
            where = '{scheme}://{host}:{port}'.format_map(request)
            right = f'a default of the Client: aiohttp would send it to {where}, too'
            raise TableError.of(f'session.headers[{name}]', headers[name], right, secret=True)


def is_connecting(error: Exception) -> bool:
    """Tell whether an exception came while a connection was made: connectors have their own."""
    frames = traceback.walk_tb(error.__traceback__)
    return not isinstance(error, TimeoutError) and any(
        frame.f_code is CONNECT for frame, _ in frames
    )


async def read_response(
    response: Any, delivery: BodyDelivery | None, terms: ReadOptions, *, decoded: bool, flows: bool
) -> ReceivedResponse:
    """Read a response, or let its body flow. It may be one of a cache's, over no connection.

    Args:
        response: What the session gave.
        delivery: May still be sending what this is the answer to.
        terms: On which the body is read.
        decoded: Whether the session has undone a coding.
        flows: Whether it is read as it comes.
    """
    headers, connection = Headers(response.headers), response.connection
    decoded = decoded and has_coding(response, headers)
    source: ResponseSource
    if connection is None:  # all has come; a middleware or a cache may have read it
        peer, source = None, CachedBody(await response.read(), response, delivery)
    else:
        peer, source = peer_of(connection.transport), BorrowedBody(headers, response, delivery)
    if decoded:
        headers.popall('Content-Encoding')
        headers.popall('Content-Length', None)
    data: Any = DecodedBody(headers, source, terms)
    if not flows:
        data = b''.join([chunk async for chunk in data])
    return ReceivedResponse(response.status, response.reason, response.version, headers, data, peer)


def has_coding(response: Any, headers: Headers) -> bool:
    """Tell whether the body of a response was in a coding of those that aiohttp undoes."""
    bodiless = response.method == 'HEAD' or response.status in BODILESS
    return not bodiless and headers.get('Content-Encoding', '').lower() in UNDONE


class BorrowedBody(FromConnection):
    """What comes over a connection of the session's; a ``Source``."""

    def __init__(self, headers: Headers, response: Any, delivery: BodyDelivery | None) -> None:
        protocol, transport = response.connection.protocol, response.connection.transport
        tls = transport.get_extra_info('ssl_object')
        super().__init__(headers, response.content, protocol, tls, response, delivery)

    async def stop(self) -> None:
        """Wait until aiohttp sends no more."""
        await stop(self._held, self._delivery)


class CachedBody(InMemory):
    """A body of which all is there; a ``Source``."""

    def __init__(self, data: bytes, response: Any, delivery: BodyDelivery | None) -> None:
        super().__init__(data, is_empty=not data)
        self._response, self._delivery = response, delivery

    async def stop(self) -> None:
        """Wait until aiohttp sends no more."""
        await stop(self._response, self._delivery)


async def stop(response: Any, delivery: BodyDelivery | None) -> None:
    """Wait until aiohttp's task that sends a body has ended; it does with the response."""
    if delivery:
        await response.wait_for_close()
        await delivery.supply.end()


class LentPayload(aiohttp.Payload):
    """A body as aiohttp's own request sends it, which may begin it more than once."""

    def __init__(self, delivery: BodyDelivery) -> None:
        super().__init__(delivery)
        self._delivery = delivery
        self._begun = False
        self._turn = asyncio.Lock()  # the one before may still read a file

    @property
    def autoclose(self) -> bool:
        """Whether aiohttp has nothing to close."""
        return True

    @property
    def size(self) -> int | None:
        """How many bytes there are. aiohttp's word for it."""
        return self._delivery.size

    def decode(self, encoding: str = 'utf-8', errors: str = 'strict') -> Never:
        """Refuse to be text. aiohttp's word for it."""
        self._delivery.decode()

    async def write(self, writer: Any) -> None:
        """Write the body; what drawing it raises breaks off the request."""
        async with self._turn:
            await self._begin()
            try:
                await self._delivery.write(writer)
            except PeerGone as error:
                raise OSError('the peer reads no more') from error
            except Exception as error:
                self._delivery.supply.error = error
                raise BodyFailed from error

    async def _begin(self) -> None:
        supply = self._delivery.supply
        if supply.is_spent and supply.error is None:
            what = 'the connection was lost, and a body with it that can be sent but once'
            supply.error = ProtocolError(what)
        if supply.error is not None:
            raise BodyFailed
        if self._begun:
            await supply.end()
            await supply.open()
        self._begun = True


class BodyFailed(Exception):
    """The body broke off on our side; no OSError, after which aiohttp would send it again."""
