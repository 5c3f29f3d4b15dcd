"""Open a WebSocket as a client, and close it (RFC 6455 4.1)."""

from __future__ import annotations

import contextlib
import re
from collections.abc import AsyncIterator, Awaitable, Callable, Mapping
from typing import Any, TypeAlias

import yarl

from ..errors import ProtocolError, TableError
from ..semantics import INTERNAL_ERROR
from ..tables.checks import SOCKET_CHECKS, check_options
from ..tables.models import Request, describe_request
from ..types import SocketTable
from ..websockets.connection import to_peer
from ..websockets.handshake import read_agreement, request_fields, without_handshake
from ..websockets.socket import Peer, Socket

__all__ = ['Dialed', 'as_request', 'dial', 'open_socket', 'split_socket_table']

Dialed: TypeAlias = tuple[Peer, Socket, Callable[[], object]]

SCHEMES = {'ws': 'http', 'wss': 'https'}
KEYS = SocketTable.__annotations__.keys()


def split_socket_table(given: Mapping[str, Any]) -> tuple[dict[str, Any], dict[str, Any]]:
    """Split the table of a WebSocket into a request table and the options of the WebSocket.

    Raises:
        TableError: A key is unknown, the method is not GET, or an option has a wrong value.
    """
    for key in given:
        if key not in KEYS:
            raise TableError.unknown(key, KEYS)
    method = given.get('method')
    if method is not None and str(method).upper() != 'GET':
        raise TableError.of('method', method, "'GET', the method of every WebSocket")
    request = {key: one for key, one in given.items() if key not in SOCKET_CHECKS}
    url, scheme = request.get('url'), request.get('scheme')
    if isinstance(url, str | yarl.URL):
        request['url'] = re.sub('^ws(?=s?://)', 'http', str(url), flags=re.IGNORECASE)
    if isinstance(scheme, str):
        request['scheme'] = SCHEMES.get(scheme.lower(), scheme)
    options = {key: one for key, one in given.items() if key in SOCKET_CHECKS}
    return request, check_options(options, SOCKET_CHECKS)


def as_request(request: Request) -> Request:
    """Make a request in normal form a GET without a body and without handshake headers.

    The defaults of a client may have set a method and a body; a server's request that is sent on
    has the headers of its own handshake.
    """
    kept = {key: value for key, value in request.items() if key != 'body'}
    headers = without_handshake(request['headers'])
    return Request(kept | {'method': 'GET', 'headers': headers})


async def dial(
    switch: Callable[..., Awaitable[Any]], request: Request, options: Mapping[str, Any]
) -> Dialed:
    """Open a WebSocket.

    Args:
        switch: ``NetworkTransport.switch``.
        request: In normal form.
        options: Of the WebSocket.

    Returns:
        The peer that sends and receives, the socket for the user, and a function that closes the
        connection.

    Raises:
        ProtocolError: The server declined, or broke the protocol.
        Error: As ``switch`` raises.
    """
    fields = request_fields(options)
    response, protocol, close = await switch(request, fields)
    try:
        try:
            agreement = read_agreement(options, fields, response)
            if protocol is None:
                raise ProtocolError('the server did not switch protocols, or closed the connection')
        except ProtocolError as error:
            raise ProtocolError(f'{describe_request(request)}: {error}') from error
        peer = to_peer(protocol, agreement)
    except BaseException:
        close()
        raise
    return peer, Socket(peer, agreement.protocol, request, response), close


@contextlib.asynccontextmanager
async def open_socket(
    peer: Peer, socket: Socket, close: Callable[[], object]
) -> AsyncIterator[Socket]:
    """Yield a WebSocket, close it after the block, and free its connection.

    Args:
        peer: The inner end, as ``dial`` returns it.
        socket: The WebSocket.
        close: Closes the connection.
    """
    try:
        yield socket
    except Exception:
        await socket.close(INTERNAL_ERROR)
        raise
    except BaseException:  # a cancellation must not wait for the peer
        peer.abort()
        raise
    else:
        await socket.close()
    finally:
        close()
