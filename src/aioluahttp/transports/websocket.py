"""A WebSocket from the side of the client (RFC 6455 4.1)."""

from __future__ import annotations

import contextlib
import re
from collections.abc import AsyncIterator, Awaitable, Callable, Mapping
from typing import Any, TypeAlias

import yarl

from ..errors import ProtocolError, TableError
from ..headers import Headers
from ..tables.checks import SOCKET_CHECKS, check_options
from ..tables.models import Request, Response, described
from ..types import SocketTable
from ..websockets.connection import to_peer
from ..websockets.handshake import read_agreement, request_fields, without_handshake
from ..websockets.socket import Peer, Socket

__all__ = ['Dialed', 'as_request', 'dial', 'open_socket', 'split_socket_table']

Dialed: TypeAlias = tuple[Peer, Socket, Callable[[], object]]

SCHEMES = {'ws': 'http', 'wss': 'https'}
MISTAKE = 1011
KEYS = SocketTable.__annotations__.keys()


def split_socket_table(given: Mapping[str, Any]) -> tuple[dict[str, Any], dict[str, Any]]:
    """Take the table of a WebSocket apart: a request table, and the options of the WebSocket.

    Raises:
        TableError: A key is none of such a table, or an option is not what its key takes.
    """
    for key in given:
        if key not in KEYS:
            raise TableError.unknown(key, KEYS)
    method = given.get('method')
    if method is not None and str(method).upper() != 'GET':
        raise TableError.of('method', method, "'GET', as it is for every WebSocket")
    request = {key: one for key, one in given.items() if key not in SOCKET_CHECKS}
    url, scheme = request.get('url'), request.get('scheme')
    if isinstance(url, str | yarl.URL):
        request['url'] = re.sub('^ws(?=s?://)', 'http', str(url), flags=re.IGNORECASE)
    if isinstance(scheme, str):
        request['scheme'] = SCHEMES.get(scheme.lower(), scheme)
    options = {key: one for key, one in given.items() if key in SOCKET_CHECKS}
    return request, check_options(options, SOCKET_CHECKS)


def as_request(request: Request) -> Request:
    """Leave out of a request in normal form what the defaults of a client may have put there."""
    kept = {key: value for key, value in request.items() if key != 'body'}
    headers = without_handshake(request['headers'])
    return Request(kept | {'method': 'GET', 'headers': headers})


async def dial(
    switch: Callable[..., Awaitable[Any]], request: Request, options: Mapping[str, Any]
) -> Dialed:
    """Open a WebSocket.

    Args:
        switch: ``Transport.switch``.
        request: In normal form.
        options: Of the WebSocket.

    Returns:
        Its inner end, its outer one, and what closes its connection.

    Raises:
        Error: Of the kinds that say what went wrong.
    """
    asked = request_fields(options)
    response = await switch(request, asked)
    try:
        headers = Headers(response.headers)
        try:
            terms = read_agreement(options, asked, response.status, headers)
            connection = response.connection
            if connection is None or connection.protocol is None or connection.transport is None:
                raise ProtocolError('the server did not switch, or hung up')
        except ProtocolError as error:
            raise ProtocolError(f'{described(request)}: {error}') from error
        channel = to_peer(connection.protocol, terms)
    except BaseException:
        response.close()
        raise
    table = {'status': response.status, 'reason': response.reason or '', 'headers': headers}
    answer: Response[Any] = Response({**table, 'body': '', 'url': str(response.url)})
    return channel, Socket(channel, terms.protocol, request, answer), response.close


@contextlib.asynccontextmanager
async def open_socket(
    channel: Peer, socket: Socket, close: Callable[[], object]
) -> AsyncIterator[Socket]:
    """Give a WebSocket, and close it after that."""
    try:
        yield socket
    except Exception:
        await socket.close(MISTAKE)
        raise
    except BaseException:  # a cancellation: no time to wait for the peer
        channel.abort()
        raise
    else:
        await socket.close()
    finally:
        close()
