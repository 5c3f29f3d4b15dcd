"""Send a request by ``ClientSession.request``, once, and accept only a final response.

aiohttp by itself retries an idempotent request when a connection drops, even a new one, skips
interim responses without a limit, and takes unrequested data for a response. Here an attempt ends
with a response or an exception on which aiohttp does not retry; ``network`` decides on a retry.
"""

from __future__ import annotations

import ssl
from typing import Any

import aiohttp
import yarl
from aiohttp import ClientHandlerType

from ..headers import Headers
from .failures import LostConnection
from .request_body import BodyDelivery
from .response_body import (
    DecodedBody,
    FromConnection,
    ReadOptions,
    ReceivedResponse,
    read_response_body,
)
from .wire import final_head, peer_of, take_connection

__all__ = ['FinalResponse', 'PooledRequest', 'SwitchingResponse', 'send_by_session', 'send_once']


async def send_once(request: Any, handler: ClientHandlerType) -> Any:
    """Keep aiohttp from retrying a request. An aiohttp client middleware."""
    try:
        return await handler(request)
    except aiohttp.ClientConnectorError:
        raise
    except (aiohttp.ClientOSError, aiohttp.ServerDisconnectedError) as error:
        raise LostConnection(request.method, error, reused=request.reused) from error


class PooledRequest(aiohttp.ClientRequest):
    """A request that refuses a stale connection, and notes what is known of its connection."""

    reused: bool = False

    async def send(self, conn: Any) -> aiohttp.ClientResponse:
        """Send the request; the response gets ``peer``, ``tls`` and ``protocol``."""
        protocol, transport = conn.protocol, conn.transport
        self.reused = take_connection(protocol)
        if isinstance(self.body, BodyDelivery):
            self.body.take(protocol, transport)
        response: Any = await super().send(conn)  # ``conn`` may have lost its protocol after this
        response.peer = peer_of(transport)
        response.tls = transport.get_extra_info('ssl_object')
        response.protocol = protocol
        return response  # type: ignore[no-any-return]

    async def write_bytes(self, writer: Any, conn: Any, content_length: int | None = None) -> None:
        """Write the body; aiohttp calls this in a task."""
        if isinstance(self.body, BodyDelivery):
            await self.body.deliver(writer, conn)
        else:
            await super().write_bytes(writer, conn, content_length)


class FinalResponse(aiohttp.ClientResponse):
    """A response with a final status, as ``final_head`` defines it."""

    peer: str | None
    protocol: Any
    tls: ssl.SSLObject | None
    switches = False  # whether 101 is final

    async def start(self, connection: Any) -> aiohttp.ClientResponse:
        """Wait for the final head, and put it back where aiohttp reads it."""
        head = await final_head(self.protocol, switches=self.switches)
        # The protocol is a queue: move what came behind the head behind it again.
        self.protocol.feed_data(head)
        for _ in range(len(self.protocol) - 1):
            self.protocol.feed_data(await self.protocol.read())
        return await super().start(connection)

    async def __aexit__(self, kind: Any, error: Any, traceback: Any) -> None:
        """Close the connection after an exception."""
        if error is not None:  # aiohttp may have put it back into the pool: the body was complete
            self.protocol.force_close()
        await super().__aexit__(kind, error, traceback)


class SwitchingResponse(FinalResponse):
    """A response to a request for an upgrade, for which 101 is a final status."""

    switches = True


async def send_by_session(
    session: aiohttp.ClientSession,
    method: str,
    target: yarl.URL,
    arguments: dict[str, Any],
    limit: int | None,
    options: ReadOptions | None = None,
) -> ReceivedResponse:
    """Send a request by ``session.request``, and read the response.

    Args:
        session: Uses ``PooledRequest``, ``FinalResponse`` and ``send_once``.
        method: Of the request.
        target: The URL.
        arguments: Further arguments of aiohttp's: ``headers``, ``timeout`` and the like.
        limit: Bytes of a body that is read whole, decoded; ``None`` is no limit.
        options: For a body that is read as a stream; ``None`` reads it whole.
    """
    request = session.request(method, target, allow_redirects=False, **arguments)
    delivery = arguments.get('data')
    if not isinstance(delivery, BodyDelivery):
        return await _send(request, limit, options, None)
    streamed = False
    try:
        received = await _send(request, limit, options, delivery)
        streamed = isinstance(received.data, DecodedBody)
    finally:
        if not streamed:  # the end of a stream stops the delivery itself
            await delivery.stop()
    return received


async def _send(
    request: Any, limit: int | None, options: ReadOptions | None, delivery: BodyDelivery | None
) -> ReceivedResponse:
    if options:
        response = await request
        headers = Headers(response.headers)
        source = FromConnection(
            headers, response.content, response.protocol, response.tls, response, delivery
        )
        if delivery:
            delivery.head_received(response.content, streamed=True)
        return _received(response, headers, DecodedBody(headers, source, options))
    async with request as response:
        headers = Headers(response.headers)
        strict = True
        if delivery:
            delivery.head_received(response.content, streamed=False)
            # A peer that refuses the body sends an error page and resets the connection.
            strict = delivery.is_done or response.status < 300
        data = await read_response_body(
            response.content, headers, response.protocol, response.tls, limit, strict=strict
        )
    return _received(response, headers, data)


def _received(response: Any, headers: Headers, data: bytes | DecodedBody) -> ReceivedResponse:
    return ReceivedResponse(
        response.status, response.reason, response.version, headers, data, response.peer
    )
