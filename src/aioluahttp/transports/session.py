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
from .request_body import Delivery
from .response_body import Body, Inflow, Received, Terms, read_body
from .wire import final_head, peer_of, take

__all__ = ['Answer', 'Sending', 'Switching', 'ask', 'once']


async def once(request: Any, handler: ClientHandlerType) -> Any:
    """Keep aiohttp from sending a request again. A client middleware of aiohttp's."""
    try:
        return await handler(request)
    except aiohttp.ClientConnectorError:
        raise
    except (aiohttp.ClientOSError, aiohttp.ServerDisconnectedError) as error:
        raise LostConnection(request.method, error, reused=request.reused) from error


class Sending(aiohttp.ClientRequest):
    """Takes a connection that is fit for it, and notes which it was."""

    reused: bool = False

    async def send(self, conn: Any) -> aiohttp.ClientResponse:
        protocol, transport = conn.protocol, conn.transport
        self.reused = take(protocol)
        if isinstance(self.body, Delivery):
            self.body.take(protocol, transport)
        response: Any = await super().send(conn)  # may lose the connection
        response.peer = peer_of(transport)
        response.tls = transport.get_extra_info('ssl_object')
        response.protocol = protocol
        return response  # type: ignore[no-any-return]

    async def write_bytes(self, writer: Any, conn: Any, content_length: int | None = None) -> None:
        if isinstance(self.body, Delivery):
            await self.body.deliver(writer, conn)
        else:
            await super().write_bytes(writer, conn, content_length)


class Answer(aiohttp.ClientResponse):
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


class Switching(Answer):
    """An answer to a request for another protocol, by which that begins or does not."""

    switches = True


async def ask(
    session: aiohttp.ClientSession,
    method: str,
    target: yarl.URL,
    arguments: dict[str, Any],
    limit: int | None,
    terms: Terms | None = None,
) -> Received:
    """Send a request the way of aiohttp's own, and read the answer.

    Args:
        session: Has ``Sending``, ``Answer`` and ``once``.
        method: Of the request.
        target: Its URL.
        arguments: What else aiohttp takes: ``headers``, ``timeout`` and the like.
        limit: Bytes of a body that is read whole, decoded; ``None`` is no limit.
        terms: Those on which the body is read as it comes; ``None`` reads it whole.
    """
    request = session.request(method, target, allow_redirects=False, **arguments)
    delivery = arguments.get('data')
    if not isinstance(delivery, Delivery):
        return await _ask(request, limit, terms, None)
    flows = False
    try:
        received = await _ask(request, limit, terms, delivery)
        flows = isinstance(received.data, Body)
    finally:
        if not flows:  # whose end is that of the delivery, too
            await delivery.stop()
    return received


async def _ask(
    request: Any, limit: int | None, terms: Terms | None, delivery: Delivery | None
) -> Received:
    if terms:
        answer = await request
        headers = Headers(answer.headers)
        source = Inflow(headers, answer.content, answer.protocol, answer.tls, answer, delivery)
        if delivery:
            delivery.answered(answer.content, flows=True)
        return _received(answer, headers, Body(headers, source, terms))
    async with request as answer:
        headers = Headers(answer.headers)
        strict = True
        if delivery:
            delivery.answered(answer.content, flows=False)
            # Who has no wish to read it resets the connection, behind a page of an error.
            strict = delivery.is_done or answer.status < 300
        data = await read_body(
            answer.content, headers, answer.protocol, answer.tls, limit, strict=strict
        )
    return _received(answer, headers, data)


def _received(answer: Any, headers: Headers, data: bytes | Body) -> Received:
    return Received(answer.status, answer.reason, answer.version, headers, data, answer.peer)
