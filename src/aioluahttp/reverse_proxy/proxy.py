"""Send a server's requests on to another origin, and its answers back."""

from __future__ import annotations

import logging
from collections.abc import AsyncIterator, Mapping
from typing import Any, Unpack

import yarl

from ..bodies.chunks import Chunks
from ..bodies.stream import Stream
from ..client import per_loop
from ..errors import BodyTooLarge, ConnectError, Error, ProtocolError, Refused, TableError, TimedOut
from ..headers import Headers, to_headers
from ..semantics import PHRASES, is_silent
from ..tables.checks import SWITCHING, check_body, check_method, is_streamed
from ..tables.conversion import to_mapping
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

MOST_RELAYS = 10  # behind each other: a request that has passed so many goes round in a circle


async def forward(
    request: Request | Mapping[str, Any], to: str | yarl.URL, **overrides: Unpack[Overrides]
) -> Mapping[str, Any]:
    """Send a server's request on to another origin, and give its answer; both flow.

    The target is the request's, byte for byte, behind the path of ``to``. Fields that belong to
    one connection stay behind; Host is that of ``to``. Who asked, and for what, is told by
    ``Forwarded`` and ``X-Forwarded-For``, ``-Proto`` and ``-Host``, from the ``ip``, ``scheme``,
    ``host`` and ``port`` of the table alone: what the client says of that is not passed on. Nothing
    is decompressed, no redirect followed, no cookie kept.

    A WebSocket is passed on, message by message; any other ``Upgrade`` is not.

    Args:
        request: As a callback was given it, ``into='raw'``; what was changed in it goes on changed.
        to: The origin, such as ``'http://backend:9000'``, and perhaps a path.
        overrides: ``headers`` (by name, in place of the client's; None leaves one out), ``auth``,
            ``bearer``, ``tls``, ``unix``, ``max_body`` of the answer, ``timeout`` (by default 30 s
            to connect, and 30 s for each read and write; no total) and ``max_message`` of a
            WebSocket (64 MiB).

    Returns:
        The answer of the origin, whatever its status. Where there is none a 502, or a 504 where
        it took too long.

    Raises:
        TableError: A value is not what its key takes; nothing was sent.
        Error: The client's body broke off. A server answers this as if it had read it.
    """
    return await Proxy(to, overrides)(to_mapping(request))


def proxy(to: str | yarl.URL, **overrides: Unpack[Overrides]) -> Proxy:
    """Make a handler that forwards: ``listen('0.0.0.0', 80, proxy('http://backend:9000'))``.

    It carries ``into='raw'`` and no ``max_body``, which ``listen`` heeds. The arguments are those
    of ``forward``, and are checked at once.

    Raises:
        TableError: ``to`` is no URL of an origin, or an override is not what its key takes.
    """
    return Proxy(to, overrides)


class Proxy:
    """A handler that forwards requests to one origin."""

    def __init__(self, to: str | yarl.URL, overrides: Mapping[str, Any]) -> None:
        self._origin = check_origin(to, overrides)
        self.into: str = 'raw'  # not of the class, where functools.wraps would not find them
        self.max_body: int | None = None

    async def __call__(self, request: Mapping[str, Any]) -> Mapping[str, Any]:
        request = _check_request(request)
        if request['method'] == 'TRACE':  # would show the client what is for the origin alone
            return failure_page(501)
        if count_via(request['headers']) >= MOST_RELAYS:
            return failure_page(508)
        if hops_left(request) == 0:
            return {'status': 204}
        sent = to_origin_request(request, self._origin)
        try:
            if asks_websocket(request):
                return await self._socket(sent)
            body, length = await begin_body(request)
            response = await per_loop.pass_on(with_framing(sent, body, length), length)
            return await to_client_response(response, sent.get('max_body'))
        except (ConnectError, ProtocolError, BodyTooLarge, TimedOut) as error:
            if isinstance(error.__cause__, Refused):
                raise
            logger.warning('%s', error)
            return failure_page(504 if isinstance(error, TimedOut) else 502)

    async def _socket(self, request: Request) -> Mapping[str, Any]:
        """Open a WebSocket at the origin; its refusal is the answer."""
        try:
            sent, options = to_origin_upgrade(request, self._origin.options)
        except TableError:  # two subprotocols of one name, or one that is no token
            return failure_page(400)
        response = await per_loop.pass_on(sent, None)
        if response['status'] == SWITCHING:
            return to_client_upgrade(sent, response, options)
        return await to_client_response(response, sent.get('max_body'))


def failure_page(status: int) -> Mapping[str, Any]:
    return {'status': status, 'body': PHRASES[status]}


def _check_request(request: Mapping[str, Any]) -> Request:
    method = check_method(request.get('method', 'GET'))
    return Request(request) | {'method': method, 'headers': to_headers(request.get('headers'))}


async def begin_body(request: Request) -> tuple[Any, int | None]:
    """Give the body of a request to be sent on, and its length; None for chunks."""
    body = request.get('body')
    if body is None:
        return None, None
    if not is_streamed(body):
        data = request.bytes()
        return data, len(data)
    headers = request['headers']
    chunks, length = Chunks(body, _check_chunk), announced_length(headers)
    if length is not None or 'Transfer-Encoding' in headers:
        return chunks, length
    # A POST may come without a body, and nothing says so; to origins nothing in chunks is odd.
    first = await anext(chunks, None)
    return (b'', 0) if first is None else (BegunChunks(first, chunks), None)


def _check_chunk(chunk: Any) -> bytes:
    data = check_body(chunk)
    return data if isinstance(data, bytes) else data.encode()


class BegunChunks:
    """Chunks of which the first has been read."""

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
    """Put a body into a request, and say in its headers where it ends."""
    if body is None:
        return request
    line = ('Transfer-Encoding', 'chunked') if length is None else ('Content-Length', str(length))
    headers = Headers([*request['headers'].items(), line])
    return Request(request | {'body': body, 'headers': headers})


async def to_client_response(response: Response[Any], limit: int | None) -> Response[Any]:
    """Make of the answer of the origin the one that goes to the client."""
    silent = is_silent(response['method'], response['status'])
    try:
        response['headers'] = to_client(response['version'], response['headers'])
        length = announced_length(response['headers'])
        if not silent and limit is not None and length is not None and length > limit:
            raise BodyTooLarge('the answer of the origin passes max_body')
    except Error:
        await response['body'].close()
        raise
    if silent:
        response['body'] = await response['body'].read()  # nothing, and the connection is free
    else:
        response['body'] = OriginBody(response['body'])
    return response


class OriginBody(Stream):
    """The body of an origin's answer. That it breaks off is no mistake of the handler."""

    async def __anext__(self) -> bytes:
        try:
            return await super().__anext__()
        except (ProtocolError, BodyTooLarge, TimedOut) as error:
            if isinstance(error.__cause__, Refused):
                raise
            logger.warning('%s', error)
            raise ProtocolError(str(error)) from Refused(502)
