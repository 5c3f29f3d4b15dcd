"""One request and its response on a server connection: the read side, the handler, the write side.

Requests are read into tables (RFC 9112 3), with their bodies whole or as streams. Responses are
encoded as one block of bytes by ``server/encode``, or write themselves: streams, in constant
memory (RFC 9112 7.1), and WebSockets here, files in ``server/sendfile``. Logs, limits and
``on_error`` are in ``exchange/responder``.
"""

from __future__ import annotations

import asyncio
import logging
from collections.abc import AsyncIterator, Mapping
from contextlib import aclosing
from os import PathLike
from typing import Any, ClassVar, Protocol

from aiohttp.http_writer import HttpVersion11
from aiohttp.streams import EMPTY_PAYLOAD
from aiohttp.web_protocol import RequestPayloadError

from ..bodies.chunks import Chunks
from ..bodies.codings import Decoder, decode_body
from ..errors import BodyTooLarge, ProtocolError, Refused
from ..exchange.forwarded import Proxies
from ..exchange.head import client_of, to_head
from ..exchange.options import Settings
from ..exchange.request_body import RequestChunks, decoder_of, open_request_stream, to_refusal
from ..exchange.responder import Responder
from ..exchange.response import reset_connection
from ..headers import ONE_HOP, Headers, given_length
from ..semantics import is_silent
from ..tables.checks import STREAMS, is_streamed
from ..tables.conversion import body_into, wire_body
from ..tables.handlers import encoded_chunks, take_response
from ..tables.models import Handler, Request, Response
from ..websockets.connection import ConnectionPeer
from ..websockets.handshake import check_handshake, response_fields, without_handshake
from ..websockets.socket import Socket, close_callback, run_socket_callback
from .encode import (
    EncodedResponse,
    encode_fast,
    encode_head,
    encode_response,
    encode_status_page,
    framing_of,
)
from .framing import FramedConnection
from .sendfile import SentFile

__all__ = [
    'CONTINUE',
    'SelfWritingResponse',
    'SocketResponder',
    'StreamedResponse',
    'TimedParts',
    'UpgradeResponse',
    'check_coding',
    'expects_continue',
    'open_body_stream',
    'read_request_body',
    'read_request_head',
]

logger: logging.Logger = logging.getLogger('aioluahttp')

CONTINUE = b'HTTP/1.1 100 Continue\r\n\r\n'


class SocketResponder(Responder):
    """Responds to the requests of server connections with what a handler returns."""

    def __init__(self, handler: Handler, settings: Settings) -> None:
        super().__init__(handler, settings)
        self.closing = False  # the server is closing: keep no connection alive
        self.running: set[FramedConnection] = set()  # connections with a current request

    async def __call__(self, connection: FramedConnection) -> EncodedResponse:
        """Handle the current request of a connection, and return what is left to be written."""
        try:
            request = read_request_head(connection, self.settings.trusted_proxies)
        except Refused as refused:
            logger.info('bad request from %s: %s', connection.peer, refused.status)
            return encode_status_page(refused.status, connection.head.method)
        # For the logs: the handler may change its table.
        client, target = request.get('ip', '-'), request['url']
        response: Mapping[str, Any]
        try:
            response = await self.call_handler(connection, request)
            encoded = self._encode_fast(connection, response)
            if encoded is None:
                response = await take_response(response)
                encoded = await self._respond(connection, request, target, response)
        except Exception as error:
            response = await self.error_response(error, connection.head.method, target, request)
            encoded = self._encode(connection, response)
        if self.settings.access_log is not None:
            head = connection.head
            line = (
                f'{client} "{head.method} {target} HTTP/{head.version.major}.{head.version.minor}"'
            )
            await self.log(line, request, response)
        return encoded

    async def read_body(
        self, source: FramedConnection, request: Request, into: str, limit: int | None
    ) -> None:
        """Read the body of a request into its table, or put it there as a stream."""
        seconds = self.settings.body_timeout
        if into in STREAMS:
            open_body_stream(source, request, into, limit, seconds)
        else:
            await read_request_body(source, request, into, limit, seconds)

    def _encode_fast(self, connection: FramedConnection, table: Any) -> EncodedResponse | None:
        """Encode a response on the fast path; None if request or table needs the slow path."""
        head = connection.head
        wants_all = head.method != 'HEAD' and head.version is HttpVersion11
        if not wants_all or callable(self.settings.access_log):  # a callable gets a Response
            return None
        keep_alive = connection.can_keep_alive and not self.closing
        data = encode_fast(table, self.settings.server_header, keep_alive=keep_alive)
        return None if data is None else EncodedResponse(table['status'], data, keep_alive)

    async def _respond(
        self, connection: FramedConnection, request: Request, target: str, response: Response[Any]
    ) -> EncodedResponse:
        """Slow path: encode any response. One that writes itself is sent here, and leaves b''."""
        sending = self.to_sending(connection, request, response)
        if sending is None:
            return self._encode(connection, response)
        connection.cancels, connection.begun = True, False
        keep_alive = False
        try:
            keep_alive = await sending.send(connection)
        except asyncio.CancelledError:
            task = asyncio.current_task()
            if task is None or connection.transport is not None:
                raise  # the server is closing
            task.uncancel()  # the client has left
        except Exception as error:
            transport = connection.transport
            left = isinstance(error, ConnectionError) and (
                transport is None or transport.is_closing()
            )
            if not (connection.begun or left):
                raise
            if not (left or isinstance(error.__cause__, Refused)):
                await self.report_error(error, connection.head.method, target, request)
        finally:
            connection.cancels = connection.begun = False
        response['status'] = sending.status
        return EncodedResponse(sending.status, b'', keep_alive and not self.closing)

    def to_sending(
        self, connection: FramedConnection, request: Request, response: Response[Any]
    ) -> SelfWritingResponse | None:
        """Return the response as one that writes itself; None if its body is str, bytes or None."""
        if 'websocket' in response:
            return UpgradeResponse(request, response)
        body = response['body']
        if isinstance(body, str | bytes):
            return None
        if isinstance(body, PathLike):
            return SentFile(response, *self._framed(connection, response))
        if is_streamed(body):
            return StreamedResponse(response, *self._framed(connection, response))
        return None

    def _encode(self, connection: FramedConnection, response: Response[Any]) -> EncodedResponse:
        headers, keep_alive = self._framed(connection, response)
        body = wire_body(headers, response['body'])
        reason = response.get('reason')
        return encode_response(
            connection.head, response['status'], reason, headers, body, keep_alive
        )

    def _framed(
        self, connection: FramedConnection, response: Response[Any]
    ) -> tuple[Headers, bool]:
        """Return the headers to send, and whether the connection is kept alive."""
        headers: Headers = response['headers'].copy()
        closes = 'close' in ','.join(headers.getall('Connection', ())).lower()
        if self.settings.server_header:
            headers.setdefault('Server', self.settings.server_header)
        return headers, connection.can_keep_alive and not self.closing and not closes


def read_request_head(connection: FramedConnection, proxies: Proxies) -> Request:
    """Return the table of a connection's current request, without its body.

    Raises:
        Refused: The request line or Host is invalid (RFC 9112 3.2), the HTTP version is not 1.x,
            or a trusted proxy sent an invalid Forwarded or X-Forwarded header.
    """
    head = connection.head
    headers = Headers(head.headers)
    version = head.version
    if version.major != 1:
        raise Refused(505)
    return to_head(
        head.method,
        head.path,
        '1.1' if version is HttpVersion11 else f'1.{version.minor}',
        headers,
        client_of(connection.peer, headers, proxies),
        'https' if connection.ssl_context else 'http',
        connection,
    )


async def read_request_body(
    connection: FramedConnection, request: Request, into: str, limit: int | None, seconds: float
) -> None:
    """Read the body of a request into its table; its headers then describe the decoded body.

    Args:
        into: ``'text'``, ``'bytes'`` or ``'json'``.
        limit: Maximum size in bytes, decoded; ``None`` is no limit.
        seconds: How long to wait for each part of the body.

    Raises:
        Refused: The body passes the limit, is broken or too slow, or Transfer-Encoding or Expect
            is not supported.
    """
    headers = request['headers']
    check_coding(connection, headers)
    try:
        if 'Content-Encoding' in headers:
            _send_continue(connection, headers)
            data = await decode_body(TimedParts(connection, seconds), headers, limit)
        else:  # the limit counts decoded bytes, so Content-Length is compared here only
            if limit is not None and connection.left > limit:
                raise Refused(413)
            _send_continue(connection, headers)
            data = await _read_raw_body(connection, seconds, limit)
        request['body'] = body_into(into, data, headers)
    # ValueError comes from JSON or int(), the others from a broken or incomplete body.
    except (BodyTooLarge, ProtocolError, ValueError, RequestPayloadError, OSError) as error:
        raise to_refusal(error) from error


async def _read_raw_body(connection: FramedConnection, seconds: float, limit: int | None) -> bytes:
    """Read a whole body without a content coding."""
    body = connection.body
    pieces: list[bytes] = []
    size = 0
    while True:
        ended = connection.whole  # before read_nowait, which makes room for more of the body
        data = body.read_nowait()  # raises if the body is broken
        if not (data or ended):
            data = await _next_part(connection, seconds)
        size += len(data)
        if limit is not None and size > limit:
            raise Refused(413)
        pieces.append(data)
        if ended:
            return b''.join(pieces)


def check_coding(connection: FramedConnection, headers: Headers) -> None:
    """Refuse a body whose end is ambiguous.

    Raises:
        Refused: Transfer-Encoding is sent with HTTP/1.0 or is not ``chunked``, or Content-Length
            has_body a body that aiohttp's parser did not find.
    """
    coding = headers.get('Transfer-Encoding')
    # RFC 9112 6.1: an HTTP/1.0 proxy does not know Transfer-Encoding, and may have seen another
    # end of the body.
    if coding is not None and connection.head.version < (1, 1):
        raise Refused(400)
    if coding is not None and coding.lower() != 'chunked':
        raise Refused(501)
    # aiohttp's parser takes a Content-Length of 2**64 - 1 for a request without a body.
    if connection.body is EMPTY_PAYLOAD and headers.get('Content-Length', '0').strip('0'):
        raise Refused(413)


def expects_continue(connection: FramedConnection, headers: Headers) -> bool:
    """Tell whether the client waits for a 100 (Continue) before the body (RFC 9110 10.1.1).

    Raises:
        Refused: It expects something else.
    """
    expectation = headers.get('Expect')
    if expectation is None or connection.head.version < (1, 1):
        return False
    if expectation.lower() != '100-continue':
        raise Refused(417)
    return not connection.whole


def _send_continue(connection: FramedConnection, headers: Headers) -> None:
    if expects_continue(connection, headers) and connection.transport is not None:
        connection.transport.write(CONTINUE)


def open_body_stream(
    connection: FramedConnection, request: Request, into: str, limit: int | None, seconds: float
) -> None:
    """Put the body of a request into its table as a stream, without reading any of it.

    Args:
        into: ``'stream'``, or ``'raw'`` to keep the content coding.
        limit: Maximum size in bytes; ``None`` is no limit.
        seconds: How long to wait for each part of the body.

    Raises:
        Refused: Content-Length passes the limit, or Transfer-Encoding or Expect is not supported.
    """
    headers = request['headers']
    check_coding(connection, headers)
    decoder = decoder_of(into, headers, limit)
    waits = expects_continue(connection, headers)
    open_request_stream(ConnectionChunks(connection, decoder, seconds, waits=waits), request)


class ConnectionChunks(RequestChunks):
    """The chunks of a request body, read from its connection as they come."""

    FAULTS: ClassVar[tuple[type[Exception], ...]] = (*RequestChunks.FAULTS, RequestPayloadError)

    def __init__(
        self, connection: FramedConnection, decoder: Decoder, seconds: float, *, waits: bool
    ) -> None:
        super().__init__(TimedParts(connection, seconds), decoder)
        self._connection, self._body = connection, connection.body
        self._waits = waits  # the client waits for a 100 (Continue)

    async def __anext__(self) -> bytes:
        connection = self._connection
        if connection.body is not self._body or not connection.busy:
            raise ProtocolError('the request is answered, and its body is gone')
        if self._waits and not connection.begun and connection.transport is not None:
            connection.transport.write(CONTINUE)
        self._waits = False
        return await super().__anext__()


class TimedParts:
    """The parts of a body, each with a timeout. Not a generator, which would have to be closed."""

    def __init__(self, connection: FramedConnection, seconds: float) -> None:
        self._connection = connection
        self._seconds = seconds

    def __aiter__(self) -> AsyncIterator[bytes]:
        return self

    async def __anext__(self) -> bytes:
        body = self._connection.body
        while not (data := body.read_nowait()):
            if body.is_eof():
                raise StopAsyncIteration
            if data := await _next_part(self._connection, self._seconds):
                break
        return data


async def _next_part(connection: FramedConnection, seconds: float) -> bytes:
    """Wait for the next part of a body.

    May return ``b''`` if the body broke meanwhile; then the next ``read_nowait`` raises.
    """
    connection.expect_body(seconds)
    try:
        return await connection.body.readany()
    finally:
        connection.reading = False


class SelfWritingResponse(Protocol):
    """A response that writes itself to its connection.

    ``SocketResponder`` awaits ``send`` once, in the task of the request. While that runs, the task
    is cancelled if the client leaves, whatever ``cancel_on_disconnect`` says.

    An exception from ``send`` is an error of the callback: it is logged and passed to
    ``on_error``. The response is then a 500 if ``connection.begun`` is False; otherwise the
    connection is closed in the middle of the response. A ConnectionError because the client has
    left is not an error of the callback.
    """

    status: int
    """The status for the access log, which is written after ``send``; ``send`` may change it."""

    async def send(self, connection: FramedConnection) -> bool:
        """Write head and body with ``connection.write``, which applies back-pressure.

        Set ``connection.begun`` before the first byte.

        Returns:
            Whether another request may follow on the connection: read
            ``connection.can_keep_alive`` after the last ``await``.
        """
        ...


class StreamedResponse:
    """A response whose body is an iterator. Each chunk is sent as it comes.

    The head is sent with the first chunk, so an exception before that is still a 500. An empty
    chunk sends the head alone.
    """

    def __init__(self, response: Response[Any], headers: Headers, keep_alive: bool) -> None:
        self.status: int = response['status']
        self.reason: str | None = response.get('reason')
        self.headers = headers
        self.keep_alive: bool = keep_alive
        self.framing: str | None = None
        self.chunks: Chunks = encoded_chunks(headers, response['body'])

    async def send(self, connection: FramedConnection) -> bool:
        """Send head and body, and close the iterator in any case."""
        async with aclosing(self.chunks):
            if is_silent(connection.head.method, self.status):
                start = self.status, self.reason, self.headers
                response = encode_response(connection.head, *start, b'', self.keep_alive)
                await connection.write(response.data)
            else:
                await self._send(connection)
        return self.keep_alive and connection.can_keep_alive

    async def _send(self, connection: FramedConnection) -> None:
        length = given_length(self.headers)
        chunked = length is None and connection.head.version >= (1, 1)
        until_close = length is None and not chunked
        self.keep_alive &= not until_close
        self.framing = 'Transfer-Encoding: chunked' if chunked else framing_of(length)
        self.chunks.length = length
        try:
            async for data in self.chunks:
                await self._write(connection, _encode_chunk(data) if chunked else data)
            await self._write(connection, b'0\r\n\r\n' if chunked else b'')
        except BaseException:
            if until_close:  # a plain close would look like the end of the body
                reset_connection(connection.transport)
            raise

    async def _write(self, connection: FramedConnection, data: bytes) -> None:
        if not connection.begun:
            connection.begun = True
            start = self.status, self.reason, self.headers
            data = encode_head(connection.head, *start, self.framing, self.keep_alive) + data
        await connection.write(data)


def _encode_chunk(data: bytes) -> bytes:
    return b'%x\r\n%b\r\n' % (len(data), data) if data else b''


class UpgradeResponse:
    """A response that opens a WebSocket and runs its callback, or refuses it (RFC 6455 4.2).

    Args:
        request: The request that the handler got.
        response: What the handler returned, in normal form.
    """

    def __init__(self, request: Request, response: Response[Any]) -> None:
        self.status: int = 101
        self._request = request
        self._response = response
        self._options = response['websocket']

    async def send(self, connection: FramedConnection) -> bool:
        """Send the 101 and run the callback, or send a refusal; the connection then closes."""
        try:
            return await self._send(connection)
        finally:
            await close_callback(self._options['callback'])

    async def _send(self, connection: FramedConnection) -> bool:
        refused = check_handshake(self._options, self._request, upgrades=connection.upgrade)
        connection.begun = True
        if refused:
            self.status, fields = refused
            logger.info('no WebSocket for %s: %s', connection.peer, self.status)
            await connection.write(
                encode_status_page(self.status, connection.head.method, *fields).data
            )
            return False
        terms, fields = response_fields(self._options, self._request)
        await connection.write(self._head(fields))
        if connection.transport is None:
            raise ConnectionResetError('the client has left')
        connection.cancels = False  # the Socket reports it when the client leaves
        channel = ConnectionPeer(connection, terms, is_client=False, wrote=connection.count_written)
        connection.become(channel)
        socket = Socket(channel, terms.protocol, self._request, self._response)
        await run_socket_callback(self._options['callback'], channel, socket)
        return False

    def _head(self, fields: list[str]) -> bytes:
        headers = without_handshake(self._response['headers'])
        kept = [f'{name}: {one}' for name, one in headers.items() if name.lower() not in ONE_HOP]
        lines = '\r\n'.join(('HTTP/1.1 101 Switching Protocols', *fields, *kept, '\r\n'))
        return lines.encode('utf-8', 'surrogateescape')
