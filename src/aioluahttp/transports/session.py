"""One try of a request over one connection of aiohttp's, and what counts as its answer.

aiohttp sends an idempotent request again when a connection drops, also a new one, passes over
interim answers for ever, and takes what nobody asked for as an answer. Here a try ends with an
answer or with an exception for which aiohttp does nothing; ``transport`` decides on another.
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
    """Keep aiohttp from sending a request again. A client middleware of aiohttp's."""
    try:
        return await handler(request)
    except aiohttp.ClientConnectorError:
        raise
    except (aiohttp.ClientOSError, aiohttp.ServerDisconnectedError) as error:
        raise LostConnection(request.method, error, reused=request.reused) from error


class PooledRequest(aiohttp.ClientRequest):
    """Takes a connection that is fit for it, and notes which it was."""

    reused: bool = False

    async def send(self, conn: Any) -> aiohttp.ClientResponse:
        protocol, transport = conn.protocol, conn.transport
        self.reused = take_connection(protocol)
        if isinstance(self.body, BodyDelivery):
            self.body.take(protocol, transport)
        response: Any = await super().send(conn)  # may lose the connection
        response.peer = peer_of(transport)
        response.tls = transport.get_extra_info('ssl_object')
        response.protocol = protocol
        return response  # type: ignore[no-any-return]

    async def write_bytes(self, writer: Any, conn: Any, content_length: int | None = None) -> None:
        if isinstance(self.body, BodyDelivery):
            await self.body.deliver(writer, conn)
        else:
            await super().write_bytes(writer, conn, content_length)


class FinalResponse(aiohttp.ClientResponse):
    """An answer with a status that ends a request."""

    peer: str | None
    protocol: Any
    tls: ssl.SSLObject | None
    switches = False  # whether 101 ends the request

    async def start(self, connection: Any) -> aiohttp.ClientResponse:
        head = await final_head(self.protocol, switches=self.switches)
        # aiohttp reads it again. It is a queue: what came behind goes behind it again.
        self.protocol.feed_data(head)
        for _ in range(len(self.protocol) - 1):
            self.protocol.feed_data(await self.protocol.read())
        return await super().start(connection)

    async def __aexit__(self, kind: Any, error: Any, traceback: Any) -> None:
        if error is not None:  # aiohttp may have it back in the pool: all of a body has come
            self.protocol.force_close()
        await super().__aexit__(kind, error, traceback)


class SwitchingResponse(FinalResponse):
    """An answer to a request for another protocol, by which that begins or does not."""

    switches = True


async def send_by_session(
    session: aiohttp.ClientSession,
    method: str,
    target: yarl.URL,
    arguments: dict[str, Any],
    limit: int | None,
    terms: ReadOptions | None = None,
) -> ReceivedResponse:
    """Send a request the way of aiohttp's own, and read the answer.

    Args:
        session: Has ``PooledRequest``, ``FinalResponse`` and ``send_once``.
        method: Of the request.
        target: Its URL.
        arguments: What else aiohttp takes: ``headers``, ``timeout`` and the like.
        limit: Bytes of a body that is read whole, decoded; ``None`` is no limit.
        terms: Those on which the body is read as it comes; ``None`` reads it whole.
    """
    request = session.request(method, target, allow_redirects=False, **arguments)
    delivery = arguments.get('data')
    if not isinstance(delivery, BodyDelivery):
        return await _send(request, limit, terms, None)
    flows = False
    try:
        received = await _send(request, limit, terms, delivery)
        flows = isinstance(received.data, DecodedBody)
    finally:
        if not flows:  # whose end is that of the delivery, too
            await delivery.stop()
    return received


async def _send(
    request: Any, limit: int | None, terms: ReadOptions | None, delivery: BodyDelivery | None
) -> ReceivedResponse:
    if terms:
        answer = await request
        headers = Headers(answer.headers)
        source = FromConnection(
            headers, answer.content, answer.protocol, answer.tls, answer, delivery
        )
        if delivery:
            delivery.answered(answer.content, flows=True)
        return _received(answer, headers, DecodedBody(headers, source, terms))
    async with request as answer:
        headers = Headers(answer.headers)
        strict = True
        if delivery:
            delivery.answered(answer.content, flows=False)
            # Who has no wish to read it resets the connection, behind a page of an error.
            strict = delivery.is_done or answer.status < 300
        data = await read_response_body(
            answer.content, headers, answer.protocol, answer.tls, limit, strict=strict
        )
    return _received(answer, headers, data)


def _received(answer: Any, headers: Headers, data: bytes | DecodedBody) -> ReceivedResponse:
    return ReceivedResponse(
        answer.status, answer.reason, answer.version, headers, data, answer.peer
    )
