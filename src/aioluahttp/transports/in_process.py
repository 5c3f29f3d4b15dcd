"""Send requests to a handler in this process: ``Client(via=handler)``.

The handler and the client get what they would get over a connection: the responder of the engines
calls the handler. Bodies are passed on in parts, each when it is read.
"""

from __future__ import annotations

import asyncio
from collections.abc import Mapping
from typing import Any
from weakref import WeakSet

import yarl

from ..errors import ConnectError, ProtocolError
from ..exchange.options import Settings
from ..exchange.responder import Responder
from ..headers import Headers
from ..semantics import METHODS_WITHOUT_BODY, PHRASES
from ..tables.conversion import body_as
from ..tables.models import Handler, Request, Response, describe_request
from ..websockets.handshake import read_agreement, request_fields
from ..websockets.socket import Socket
from .encode import (
    CookieStore,
    add_cookies,
    body_of,
    data_of,
    headers_of,
    response_of,
    target_of,
    try_with_source,
    with_bytes_source,
)
from .failures import BodyFailed, translate
from .memory import MemoryExchange, SentBody
from .request_body import BodyDelivery
from .response_body import DecodedBody
from .websocket import Dialed

__all__ = ['InProcess']

GRACE = 10.0  # seconds for a WebSocket callback to end once its client is closed


class InProcess:
    """A transport that calls a handler, with the methods of ``NetworkTransport``.

    Args:
        handler: Called with each request.
        settings: Of the exchanges.
        cookies: Of the client; None keeps and sends none.
    """

    def __init__(self, handler: Handler, settings: Settings, cookies: CookieStore | None) -> None:
        self._respond = Responder(handler, settings)
        self._cookies = cookies
        self._bodies: WeakSet[DecodedBody] = WeakSet()
        self._tasks: set[asyncio.Task[None]] = set()  # of responses that are not yet complete
        self._closed = False

    async def start(self) -> None:
        """Enter the lifespan of the handler, if it is not entered yet."""
        await self._respond.lifespan.start()

    async def close(self) -> None:
        """Close all streamed bodies; cancel WebSocket callbacks that do not end within 10 s."""
        self._closed = True
        for body in list(self._bodies):
            body.close('the client was closed')
            await body.aclose()
        if tasks := self._tasks.copy():
            await asyncio.wait(tasks, timeout=GRACE)
        for task in tasks:
            task.cancel()
        await asyncio.gather(*tasks, return_exceptions=True)
        await self._respond.lifespan.stop()

    async def send(self, request: Request, *, sent: bool = False) -> Response[Any]:
        """Call the handler with a request in normal form; follow no redirect.

        What the handler raises is logged, and becomes a response with status 500.

        Raises:
            Error: As ``NetworkTransport.send`` does.
        """
        if self._closed:
            raise ConnectError('the client is closed')
        try:
            if 'body' not in request:
                return await self._exchange(request)
            return await try_with_source(self._exchange, with_bytes_source(request))
        except BodyFailed as failed:
            failure = failed.error
        except Exception as error:
            if ours := translate(error, request, sent=sent):
                raise ours from error
            raise
        raise failure  # outside of the except block, which would change its __context__

    async def _exchange(self, request: Request) -> Response[Any]:
        target, headers, data = self._to_wire(request)
        exchange = MemoryExchange(request, headers, SentBody(data))
        try:
            await self._serve(exchange)
            received = exchange.received()
        except BaseException:
            await exchange.stop()
            raise
        headers, body = received.headers, received.data
        self._keep_cookies(headers, target)
        if isinstance(body, DecodedBody):
            self._keep(exchange, body)
            return response_of(received, body_of(request, received), str(target), exchange.method)
        if isinstance(data, BodyDelivery):
            await exchange.stop()
        into = request.get('into', 'text')
        whole = body_as(into, received.status, headers, body)
        return response_of(received, whole, str(target), exchange.method)

    async def _serve(self, exchange: MemoryExchange) -> None:
        """Let the responder serve; the lifespan's context variables are unset after that."""
        lifespan = self._respond.lifespan
        if self._respond.settings.lifespan is None:
            await self._respond(exchange)
            return
        await lifespan.start()
        with lifespan.variables_set():
            await self._respond(exchange)

    def _keep(self, exchange: MemoryExchange, body: DecodedBody | None) -> None:
        """Keep what ``close`` has to end."""
        if body is not None:
            self._bodies.add(body)
        if exchange.task is not None:
            self._tasks.add(exchange.task)
            exchange.task.add_done_callback(self._tasks.discard)

    def _to_wire(self, request: Request) -> tuple[yarl.URL, Headers, bytes | BodyDelivery | None]:
        """Make the URL, the headers and the body of a request, as for the network."""
        target = target_of(request['scheme'], request['host'], request['port'], request['url'])
        headers = headers_of(request, target)
        data = data_of(request, headers) if 'body' in request else None
        add_cookies(headers, self._cookies, target)
        if data is not None or request['method'] not in METHODS_WITHOUT_BODY:
            size = data.size if isinstance(data, BodyDelivery) else len(data or b'')
            if size is None:
                headers['Transfer-Encoding'] = 'chunked'
            else:
                headers['Content-Length'] = str(size)
        return target, headers, data

    def _keep_cookies(self, headers: Headers, target: yarl.URL) -> None:
        if self._cookies is not None and 'Set-Cookie' in headers:
            self._cookies.keep(headers.getall('Set-Cookie'), target)

    async def dial(self, request: Request, options: Mapping[str, Any]) -> Dialed:
        """Open a WebSocket.

        Raises:
            Error: As ``NetworkTransport.dial`` does.
        """
        if self._closed:
            raise ConnectError('the client is closed')
        target, headers, _ = self._to_wire(request)
        asked = request_fields(options)
        headers.update(asked)
        exchange = MemoryExchange(request, headers, SentBody(None), options)
        try:
            await self._serve(exchange)
            status, _, fields = exchange.response
            result = {'status': status, 'reason': PHRASES[status], 'headers': fields, 'body': ''}
            self._keep_cookies(fields, target)
            try:
                agreement = read_agreement(options, asked, result)
            except ProtocolError as error:
                raise ProtocolError(f'{describe_request(request)}: {error}') from error
        except BaseException:
            await exchange.stop()
            raise
        assert exchange.near is not None
        self._keep(exchange, None)
        response = Response({**result, 'url': str(target)})
        socket = Socket(exchange.near, agreement.protocol, request, response)
        return exchange.near, socket, lambda: None
