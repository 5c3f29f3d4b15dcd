"""`forward` and `proxy`: send a server's requests on to an origin, and return its responses."""

from __future__ import annotations

import logging
from collections.abc import AsyncIterator, Mapping
from typing import Any, Unpack

import yarl

from ..bodies.chunks import Chunks
from ..bodies.stream import Stream
from ..client import per_loop
from ..errors import BodyTooLarge, ConnectError, Error, ProtocolError, Refused, TableError, TimedOut
from ..headers import Headers, is_checked, to_headers
from ..semantics import is_silent
from ..tables.checks import SWITCHING, check_body, check_method, is_streamed
from ..tables.conversion import status_page, to_mapping, to_response
from ..tables.models import Request, Response
from .hops import (
    announced_length,
    asks_websocket,
    count_via,
    hops_left,
    to_client,
)
from .origin import Overrides, check_origin, to_origin_request
from .websocket import to_client_upgrade, to_origin_upgrade

__all__ = ['Proxy', 'forward', 'proxy']

logger: logging.Logger = logging.getLogger('aioluahttp')

RESET = 205  # it has no body (RFC 9110 15.3.6), but aiohttp's parser reads one
MOST_RELAYS = 10  # a request that has passed so many is going round in a circle


async def forward(
    request: Request | Mapping[str, Any], to: str | yarl.URL, **overrides: Unpack[Overrides]
) -> Response[Any]:
    """Send a server's request on to another origin and return its response; bodies are streamed.

    The target is the request's, byte for byte, behind the path of ``to``. Hop-by-hop headers are
    dropped; Host is that of ``to``. ``Forwarded`` and ``X-Forwarded-For``, ``-Proto`` and ``-Host``
    tell the origin about the client and the URL; they are made from ``ip``, ``scheme``, ``host``
    and ``port`` of the table, and those that the client sent are dropped. Nothing is decompressed,
    no redirect is followed, no cookie is kept.

    A WebSocket is forwarded message by message; any other ``Upgrade`` is dropped.

    Args:
        request: The request that a handler was given, with ``into='raw'``, changed or not.
        to: The URL of the origin, such as ``'http://backend:9000'``; it may have a path.
        overrides: ``headers`` (replace the client's by name; None removes one), ``auth``,
            ``bearer``, ``tls``, ``unix``, ``max_body`` and ``max_header`` of the response,
            ``timeout`` (by default 30 s to connect, and 30 s for each read and write; no total)
            and ``max_message`` of a WebSocket (by default 64 MiB).

    Returns:
        The origin's response, whatever its status. If there is none a 502, or a 504 if the origin
        took too long. A TRACE gets a 501, a request that has passed ten relays a 508, and
        ``Max-Forwards: 0`` of OPTIONS a 204.

    Raises:
        TableError: A key has a wrong value; nothing was sent.
        Error: The client's body broke off. The server responds as if it had read the body itself.
    """
    return await Proxy(to, overrides)(to_mapping(request))


def proxy(to: str | yarl.URL, **overrides: Unpack[Overrides]) -> Proxy:
    """Return a handler that forwards: ``listen('0.0.0.0', 80, proxy('http://backend:9000'))``.

    The handler has attributes that ``listen`` uses: ``into='raw'``, and ``max_body=None``, which is
    no limit. The arguments are those of ``forward``, and are checked at once.

    Raises:
        TableError: ``to`` is not the URL of an origin, or an override has a wrong value.
    """
    return Proxy(to, overrides)


class Proxy:
    """A handler that forwards requests to one origin."""

    def __init__(self, to: str | yarl.URL, overrides: Mapping[str, Any]) -> None:
        self._origin = check_origin(to, overrides)
        self.into: str = 'raw'  # functools.wraps copies attributes of the instance only
        self.max_body: int | None = None

    async def __call__(self, request: Mapping[str, Any]) -> Response[Any]:
        request = _check_request(request)
        if request['method'] == 'TRACE':  # would show the client the headers added for the origin
            return status_page(501)
        if count_via(request['headers']) >= MOST_RELAYS:
            return status_page(508)
        if hops_left(request) == 0:
            return to_response({'status': 204})
        sent = to_origin_request(request, self._origin)
        try:
            if asks_websocket(request):
                return await self._socket(sent)
            length = None
            if request.get('body') is not None:
                body, length = await begin_body(request)
                sent = with_framing(sent, body, length)
            response = await per_loop.pass_on(sent, length)
            return await to_client_response(response, sent.get('max_body'))
        except (ConnectError, ProtocolError, BodyTooLarge, TimedOut) as error:
            if isinstance(error.__cause__, Refused):
                raise
            logger.warning('%s', error)
            return status_page(504 if isinstance(error, TimedOut) else 502)

    async def _socket(self, request: Request) -> Response[Any]:
        """Open a WebSocket at the origin; if that declines, return its response."""
        try:
            sent, options = to_origin_upgrade(request, self._origin.options)
        except TableError:  # a subprotocol is repeated, or not a token
            return status_page(400)
        response = await per_loop.pass_on(sent, None)
        if response['status'] == SWITCHING:
            return to_response(to_client_upgrade(sent, response, options))
        return await to_client_response(response, sent.get('max_body'))


def _check_request(request: Mapping[str, Any]) -> Request:
    checked = Request(request)
    checked['method'] = check_method(request.get('method', 'GET'))
    if not is_checked(request.get('headers')):  # those of a server's request are
        checked['headers'] = to_headers(request.get('headers'))
    return checked


async def begin_body(request: Request) -> tuple[Any, int | None]:
    """Return the body of a request to send on, and its length in bytes; None for chunks."""
    body = request['body']
    if not is_streamed(body):
        data = request.bytes()
        return data, len(data)
    headers = request['headers']
    chunks, length = Chunks(body, _check_chunk), announced_length(headers)
    if length is not None or 'Transfer-Encoding' in headers:
        return chunks, length
    # A POST may come without a body. Some origins do not expect an empty body in chunks.
    first = await anext(chunks, None)
    return (b'', 0) if first is None else (BegunChunks(first, chunks), None)


def _check_chunk(chunk: Any) -> bytes:
    data = check_body(chunk)
    return data if isinstance(data, bytes) else data.encode()


class BegunChunks:
    """Chunks whose first one has been read already."""

    def __init__(self, first: bytes, rest: Chunks) -> None:
        self._first = first
        self._rest = rest

    def __aiter__(self) -> AsyncIterator[bytes]:
        return self

    async def __anext__(self) -> bytes:
        first, self._first = self._first, b''
        return first or await anext(self._rest)

    async def aclose(self) -> None:
        await self._rest.aclose()


def with_framing(request: Request, body: Any, length: int | None) -> Request:
    """Return a request with a body, and the header that says where it ends."""
    line = ('Transfer-Encoding', 'chunked') if length is None else ('Content-Length', str(length))
    headers = Headers([*request['headers'].items(), line])
    return Request(request | {'body': body, 'headers': headers})


async def to_client_response(response: Response[Any], limit: int | None) -> Response[Any]:
    """Turn the response of the origin into the one for the client."""
    silent = is_silent(response['method'], response['status'])
    try:
        response['headers'] = to_client(response['version'], response['headers'])
        if limit is not None and not silent:
            length = announced_length(response['headers'])
            if length is not None and length > limit:
                raise BodyTooLarge('the response body of the origin passes max_body')
    except Error:
        await response['body'].close()
        raise
    if silent and response['status'] == RESET and not response['body'].has_arrived:
        await response['body'].close()  # a body that came all the same may have no end
        response['body'] = b''
    elif silent:
        response['body'] = await response['body'].read()  # empty; releases the connection
    elif not response['body'].has_arrived:
        response['body'] = OriginBody(response['body'])
    return response


class OriginBody(Stream):
    """The body of an origin's response; if it breaks off, that is no exception of the handler."""

    async def __anext__(self) -> bytes:
        try:
            return await super().__anext__()
        except (ProtocolError, BodyTooLarge, TimedOut) as error:
            if isinstance(error.__cause__, Refused):
                raise
            logger.warning('%s', error)
            raise ProtocolError(str(error)) from Refused(502)
