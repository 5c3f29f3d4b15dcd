"""A WebSocket of a client and one of its origin, each message and each close passed on."""

from __future__ import annotations

import asyncio
from collections.abc import Mapping
from typing import Any

from ..errors import ProtocolError
from ..headers import Headers, listed
from ..tables.checks import SOCKET_CHECKS, check_options
from ..tables.models import Request, Response
from ..transports.wire import WireRequest
from ..websockets.connection import ConnectionPeer, may_send, to_peer
from ..websockets.handshake import read_agreement, request_fields, without_handshake
from ..websockets.socket import Socket
from .hops import to_client

__all__ = ['Bridge', 'to_client_upgrade', 'to_origin_upgrade']

NORMAL, GOING_AWAY, BAD_GATEWAY = 1000, 1001, 1014


def to_origin_upgrade(
    request: Request, options: Mapping[str, Any]
) -> tuple[Request, dict[str, Any]]:
    """Make a request ask the origin for the WebSocket that the client asks for.

    Returns:
        The request, and what is asked for: the subprotocols of the client, and no compression,
        which is for the longer way.

    Raises:
        TableError: The client offers what are no subprotocols.
    """
    headers = request['headers']
    offered = {'protocols': listed(headers, 'Sec-WebSocket-Protocol') or None}
    wanted = {**options, **check_options(offered, SOCKET_CHECKS), 'compress': False}
    fields = [*without_handshake(headers).items(), *request_fields(wanted).items()]
    return Request(request | {'headers': Headers(fields)}), wanted


def to_client_upgrade(
    request: Request, response: Response[Any], options: Mapping[str, Any]
) -> Mapping[str, Any]:
    """Make of the agreement of the origin that for the client.

    Args:
        request: What the origin was asked.
        response: Its answer, of which the body is the ``Line``.
        options: What was asked for.

    Raises:
        ProtocolError: It agreed to something else.
    """
    line: WireRequest = response['body']
    headers = response['headers']
    try:
        terms = read_agreement(options, request['headers'], response['status'], headers)
        granted = to_client(response['version'], without_handshake(headers))
        if not line.protocol.upgraded:
            raise ProtocolError('the origin did not switch')
    except ProtocolError:
        line.close()
        raise
    channel = to_peer(line.protocol, terms)
    bridge = Bridge(channel, Socket(channel, terms.protocol, request, response), line)
    socket = {'callback': bridge, 'origins': '*', 'max_message': options['max_message']}
    if terms.protocol:
        socket['protocols'] = [terms.protocol]
    return {'headers': granted, 'websocket': socket}


class Bridge:
    """What a server runs for the WebSocket of a client: the other end is that of the origin.

    A side waits with its next message until the other has read the one before.
    """

    def __init__(self, channel: ConnectionPeer, origin: Socket, line: WireRequest) -> None:
        self._channel = channel
        self._origin = origin
        self._line = line

    async def __call__(self, client: Socket) -> None:
        async with asyncio.TaskGroup() as ways:
            ways.create_task(carry_messages(client, self._origin, GOING_AWAY))
            ways.create_task(carry_messages(self._origin, client, BAD_GATEWAY))

    async def aclose(self) -> None:
        """Close the connection to the origin, also where it came to no message."""
        self._channel.abort()
        self._line.close()


async def carry_messages(source: Socket, sink: Socket, lost: int) -> None:
    """Pass messages on until one of the two ends, and then the close of the source.

    Args:
        source: Where they come from.
        sink: Where they go.
        lost: The code for a source that ended without a close.
    """
    try:
        async for message in source:
            try:
                await sink.send(message)
            except ProtocolError:
                return  # its own end is for the other way to tell
    except ProtocolError:
        await sink.close(lost)
    else:
        code = source.code or NORMAL
        await sink.close(code if may_send(code) else NORMAL, source.reason)
