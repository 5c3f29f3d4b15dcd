"""Forward a WebSocket: its handshake, its messages in both directions, and its close."""

from __future__ import annotations

import asyncio
from collections.abc import Mapping
from typing import Any

from ..errors import ProtocolError
from ..headers import Headers, list_items
from ..semantics import GOING_AWAY
from ..tables.checks import SOCKET_CHECKS, check_options
from ..tables.models import Request, Response
from ..transports.wire import WireRequest
from ..websockets.connection import CLOSE_TIMEOUT, ConnectionPeer, may_send, to_peer
from ..websockets.handshake import read_agreement, request_fields, without_handshake
from ..websockets.socket import Socket
from .hops import to_client

__all__ = ['Bridge', 'to_client_upgrade', 'to_origin_upgrade']

NORMAL, NO_CODE, BAD_GATEWAY = 1000, 1005, 1014
PERIOD = 1.0  # seconds between two checks of whether a side has ended


def to_origin_upgrade(
    request: Request, options: Mapping[str, Any]
) -> tuple[Request, dict[str, Any]]:
    """Turn the request of the client into a handshake with the origin.

    Returns:
        The request, and the options of the handshake: the client's subprotocols, and no
        compression, which is only worth it on the way to the client.

    Raises:
        TableError: The client offers invalid subprotocols.
    """
    headers = request['headers']
    offered = {'protocols': list_items(headers, 'Sec-WebSocket-Protocol') or None}
    wanted = {**options, **check_options(offered, SOCKET_CHECKS), 'compress': False}
    fields = [*without_handshake(headers).items(), *request_fields(wanted).items()]
    return Request(request | {'headers': Headers(fields)}), wanted


def to_client_upgrade(
    request: Request, response: Response[Any], options: Mapping[str, Any]
) -> Mapping[str, Any]:
    """Turn the 101 response of the origin into the WebSocket response for the client.

    Args:
        request: The handshake that the origin was sent.
        response: Its response, whose body is the ``WireRequest``.
        options: The options of the handshake.

    Raises:
        ProtocolError: The origin agreed to something else.
    """
    wire: WireRequest = response['body']
    try:
        terms = read_agreement(options, request['headers'], response)
        granted = to_client(response['version'], without_handshake(response['headers']))
        if not wire.has_switched:
            raise ProtocolError('the origin did not switch to a WebSocket')
    except ProtocolError:
        wire.close()
        raise
    peer = to_peer(wire.protocol, terms)
    bridge = Bridge(peer, Socket(peer, terms.protocol, request, response), wire)
    socket = {'callback': bridge, 'origins': '*', 'max_message': options['max_message']}
    if terms.protocol:
        socket['protocols'] = [terms.protocol]
    return {'headers': granted, 'websocket': socket}


class Bridge:
    """The callback for the WebSocket of a client, which connects it to that of the origin.

    It has back-pressure: the next message of a side is read once the other took the one before.
    Once a side has ended, the other has ``CLOSE_TIMEOUT`` seconds to take the messages that are
    under way and the close. The origin is then aborted, and the client closed with 1014.
    """

    _timer: asyncio.TimerHandle

    def __init__(self, peer: ConnectionPeer, origin: Socket, wire: WireRequest) -> None:
        self._peer = peer
        self._origin = origin
        self._wire = wire

    async def __call__(self, client: Socket) -> None:
        async with asyncio.TaskGroup() as directions:
            there = directions.create_task(carry_messages(client, self._origin, GOING_AWAY))
            back = directions.create_task(carry_messages(self._origin, client, BAD_GATEWAY))
            try:
                async with asyncio.timeout(None) as limit:
                    self._limit_after_end(client, limit)
                    await asyncio.wait([there, back])
            except TimeoutError:
                self._peer.abort()
                await client.close(BAD_GATEWAY)
                back.cancel()  # an ASGI server may be stuck in a send even after the close
            finally:
                self._timer.cancel()

    def _limit_after_end(self, client: Socket, limit: asyncio.Timeout) -> None:
        """Set the limit once a side has ended.

        A timer checks that, because a task that waits until one side takes a message does not
        notice the end of the other.
        """
        loop = asyncio.get_running_loop()
        has_ended = client.code is not None or self._origin.code is not None
        if has_ended and limit.when() is None:
            limit.reschedule(loop.time() + CLOSE_TIMEOUT)
        self._timer = loop.call_later(PERIOD, self._limit_after_end, client, limit)

    async def aclose(self) -> None:
        """Close the connection to the origin, also if the callback never ran."""
        self._peer.abort()
        self._wire.close()


async def carry_messages(source: Socket, sink: Socket, lost: int) -> None:
    """Forward messages until one of the two WebSockets ends, and then the close of the source.

    Args:
        source: The WebSocket to read.
        sink: The WebSocket to send to.
        lost: The close code to send if the source ended without a close.
    """
    try:
        async for message in source:
            try:
                await sink.send(message)
            except ProtocolError:
                return  # the other direction forwards the end of the sink
    except ProtocolError:
        await sink.close(lost)
    else:
        code = source.code or NORMAL
        if code == NO_CODE:
            await sink.close(None)
        else:
            await sink.close(code if may_send(code) else NORMAL, source.reason)
