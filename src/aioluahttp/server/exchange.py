"""One exchange of a server: a table to the handler, its table out, its mistakes told.

A request off the wire made a table (RFC 9112 3).

Bodies of requests that a callback reads as they come off a connection.

Answers that are not one block of bytes, and so write themselves.

Answers whose body comes chunk by chunk, in constant memory (RFC 9112 7.1).

The answer that makes a WebSocket of its connection.
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
from ..websockets.handshake import refusal_status, response_fields, without_handshake
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


class UpgradeResponse:
    """Refuses, or agrees and gives the WebSocket to its callback (RFC 6455 4.2).

    Args:
        request: As the handler was given it.
        response: What it answered, in normal form.
    """

    def __init__(self, request: Request, response: Response[Any]) -> None:
        self.status: int = 101
        self._request = request
        self._response = response
        self._options = response['websocket']

    async def send(self, connection: FramedConnection) -> bool:
        """Answer, and let the callback talk; the connection then closes, and the callback."""
        try:
            return await self._send(connection)
        finally:
            await close_callback(self._options['callback'])

    async def _send(self, connection: FramedConnection) -> bool:
        refused = refusal_status(self._options, self._request, upgrades=connection.upgrade)
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
        connection.cancels = False  # the socket tells of a client that leaves
        channel = ConnectionPeer(connection, terms, is_client=False, wrote=connection.wrote)
        connection.become(channel)
        socket = Socket(channel, terms.protocol, self._request, self._response)
        await run_socket_callback(self._options['callback'], channel, socket)
        return False

    def _head(self, fields: list[str]) -> bytes:
        headers = without_handshake(self._response['headers'])
        kept = [f'{name}: {one}' for name, one in headers.items() if name.lower() not in ONE_HOP]
        lines = '\r\n'.join(('HTTP/1.1 101 Switching Protocols', *fields, *kept, '\r\n'))
        return lines.encode('utf-8', 'surrogateescape')


class StreamedResponse:
    """An answer whose body an iterator gives. Each chunk goes out as it comes.

    The head goes with the first of them, so that a mistake before it is still a 500. An empty
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
        """Send head and body; the iterator is closed whatever happens."""
        async with aclosing(self.chunks):
            if is_silent(connection.head.method, self.status):
                start = self.status, self.reason, self.headers
                answer = encode_response(connection.head, *start, b'', self.keep_alive)
                await connection.write(answer.data)
            else:
                await self._send(connection)
        return self.keep_alive and connection.keeps

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
            if until_close:  # which would look like the end of the body
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


class SelfWritingResponse(Protocol):
    """An answer that writes itself to its connection.

    ``SocketResponder`` awaits ``send`` once, in the task of the request. While that runs, the task
    is cancelled if the client leaves, whatever ``cancel_on_disconnect`` says.

    What ``send`` raises is a mistake of the callback: logged, and told to ``on_error``. It is
    answered with a 500 as long as ``connection.begun`` is False, and else the connection is closed
    where it stands. A ConnectionError of a client that has left is none.
    """

    status: int
    """For the access log, which is written after ``send``; that may set another."""

    async def send(self, connection: FramedConnection) -> bool:
        """Write head and body by ``connection.write``, which waits for who reads slowly.

        Before the first byte set ``connection.begun``.

        Returns:
            Whether another request may follow on the connection. Ask ``connection.keeps`` for it
            after the last ``await``.
        """
        ...


def open_body_stream(
    connection: FramedConnection, request: Request, into: str, limit: int | None, seconds: float
) -> None:
    """Put the body of a request into its table as a stream, of which nothing is read yet.

    Args:
        into: ``'stream'``, or ``'raw'`` to leave codings as they are.
        limit: Bytes of it; ``None`` is no limit.
        seconds: How long to wait for the next part of it.

    Raises:
        Refused: The body passes the limit, or is sent or expected in a way unknown.
    """
    headers = request['headers']
    check_coding(connection, headers)
    decoder = decoder_of(into, headers, limit)
    waits = expects_continue(connection, headers)
    open_request_stream(ConnectionChunks(connection, decoder, seconds, waits=waits), request)


class ConnectionChunks(RequestChunks):
    """The chunks of a body as they come off a connection."""

    FAULTS: ClassVar[tuple[type[Exception], ...]] = (*RequestChunks.FAULTS, RequestPayloadError)

    def __init__(
        self, connection: FramedConnection, decoder: Decoder, seconds: float, *, waits: bool
    ) -> None:
        super().__init__(TimedParts(connection, seconds), decoder)
        self._connection, self._body = connection, connection.body
        self._waits = waits  # for a word that it is to be sent

    async def __anext__(self) -> bytes:
        connection = self._connection
        if connection.body is not self._body or not connection.busy:
            raise ProtocolError('the request is answered, and its body is gone')
        if self._waits and not connection.begun and connection.transport is not None:
            connection.transport.write(CONTINUE)
        self._waits = False
        return await super().__anext__()


CONTINUE = b'HTTP/1.1 100 Continue\r\n\r\n'


def read_request_head(connection: FramedConnection, proxies: Proxies) -> Request:
    """Make the table of the request that a connection has taken up, but for its body.

    Raises:
        Refused: The request line or Host is none that RFC 9112 3.2 allows, or a trusted proxy
            says what cannot be.
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
    """Read the body of a request into its table; the headers then describe what is there.

    Args:
        into: What the body becomes.
        limit: Bytes of it, decoded; ``None`` is no limit.
        seconds: How long to wait for the next part of it.

    Raises:
        Refused: The body passes the limit, is broken, comes too slowly, or is sent or expected
            in a way unknown.
    """
    headers = request['headers']
    check_coding(connection, headers)
    try:
        if 'Content-Encoding' in headers:
            _answer_expect(connection, headers)
            data = await decode_body(TimedParts(connection, seconds), headers, limit)
        else:  # compressed it may be longer than decoded, which is what the limit counts
            if limit is not None and connection.left > limit:
                raise Refused(413)
            _answer_expect(connection, headers)
            data = await _read_raw_body(connection, seconds, limit)
        request['body'] = body_into(into, data, headers)
    # ValueError is JSON's, or int's; the others come of a body that is broken or cut off.
    except (BodyTooLarge, ProtocolError, ValueError, RequestPayloadError, OSError) as error:
        raise to_refusal(error) from error


def check_coding(connection: FramedConnection, headers: Headers) -> None:
    """Refuse a body whose end cannot be told for sure."""
    coding = headers.get('Transfer-Encoding')
    # RFC 9112 6.1. HTTP/1.0 has no such thing, so that who sent it on may have read another end.
    if coding is not None and connection.head.version < (1, 1):
        raise Refused(400)
    if coding is not None and coding.lower() != 'chunked':
        raise Refused(501)
    # aiohttp's parser takes a length of 2**64 - 1 for none.
    if connection.body is EMPTY_PAYLOAD and headers.get('Content-Length', '0').strip('0'):
        raise Refused(413)


async def _read_raw_body(connection: FramedConnection, seconds: float, limit: int | None) -> bytes:
    """Read a body that is to be as it came."""
    body = connection.body
    pieces: list[bytes] = []
    size = 0
    while True:
        ended = connection.whole  # asked first, for what is read makes room for more
        data = body.read_nowait()  # raises where it is broken
        if not (data or ended):
            data = await _next_part(connection, seconds)
        size += len(data)
        if limit is not None and size > limit:
            raise Refused(413)
        pieces.append(data)
        if ended:
            return b''.join(pieces)


async def _next_part(connection: FramedConnection, seconds: float) -> bytes:
    """Wait for the next part of a body. One that has broken by then may look as if it ended."""
    connection.expect_body(seconds)
    try:
        return await connection.body.readany()
    finally:
        connection.reading = False


class TimedParts:
    """The parts of a body, each within a time. No generator: it would have to be closed."""

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


def _answer_expect(connection: FramedConnection, headers: Headers) -> None:
    """Answer ``Expect``."""
    if expects_continue(connection, headers) and connection.transport is not None:
        connection.transport.write(CONTINUE)


def expects_continue(connection: FramedConnection, headers: Headers) -> bool:
    """Tell whether the client waits for a word before it sends the body (RFC 9110 10.1.1)."""
    expectation = headers.get('Expect')
    if expectation is None or connection.head.version < (1, 1):
        return False
    if expectation.lower() != '100-continue':
        raise Refused(417)
    return not connection.whole


logger: logging.Logger = logging.getLogger('aioluahttp')


class SocketResponder(Responder):
    """Answers the requests of a server with those of a handler."""

    def __init__(self, handler: Handler, settings: Settings) -> None:
        super().__init__(handler, settings)
        self.closing = False
        # The connections on which a request is being read, handled or answered.
        self.running: set[FramedConnection] = set()

    async def __call__(self, connection: FramedConnection) -> EncodedResponse:
        """Answer the request that a connection has taken up."""
        try:
            request = read_request_head(connection, self.settings.trusted_proxies)
        except Refused as refused:
            logger.info('bad request from %s: %s', connection.peer, refused.status)
            return encode_status_page(refused.status, connection.head.method)
        # For the logs: the handler may change its table.
        client, target = request.get('ip', '-'), request['url']
        response: Mapping[str, Any]
        try:
            response = await self.returned(connection, request)
            answer = self._lean(connection, response)
            if answer is None:
                response = await take_response(response)
                answer = await self._answer(connection, request, target, response)
        except Exception as error:
            response = await self.failed(error, connection.head.method, target, request)
            answer = self._plain(connection, response)
        if self.settings.access_log is not None:
            head = connection.head
            line = (
                f'{client} "{head.method} {target} HTTP/{head.version.major}.{head.version.minor}"'
            )
            await self.log(line, request, response)
        return answer

    async def take_body(
        self, source: FramedConnection, request: Request, into: str, limit: int | None
    ) -> None:
        """Read the body of a request into its table, or open the stream that it is to be."""
        seconds = self.settings.body_timeout
        if into in STREAMS:
            open_body_stream(source, request, into, limit, seconds)
        else:
            await read_request_body(source, request, into, limit, seconds)

    def _lean(self, connection: FramedConnection, table: Any) -> EncodedResponse | None:
        """Answer the short way; None where that is not for this request, or this table."""
        head = connection.head
        wants_all = head.method != 'HEAD' and head.version is HttpVersion11
        if not wants_all or callable(self.settings.access_log):  # which gets a Response
            return None
        keep_alive = connection.keeps and not self.closing
        data = encode_fast(table, self.settings.server_header, keep_alive=keep_alive)
        return None if data is None else EncodedResponse(table['status'], data, keep_alive)

    async def _answer(
        self, connection: FramedConnection, request: Request, target: str, response: Response[Any]
    ) -> EncodedResponse:
        """Answer the way that is for every table; what writes itself has written all of it."""
        sending = self.to_sending(connection, request, response)
        if sending is None:
            return self._plain(connection, response)
        connection.cancels, connection.begun = True, False
        goes_on = False
        try:
            goes_on = await sending.send(connection)
        except asyncio.CancelledError:
            task = asyncio.current_task()
            if task is None or connection.transport is not None:
                raise  # the server closes
            task.uncancel()
        except Exception as error:
            transport = connection.transport
            left = isinstance(error, ConnectionError) and (
                transport is None or transport.is_closing()
            )
            if not (connection.begun or left):
                raise
            if not (left or isinstance(error.__cause__, Refused)):
                await self.mistaken(error, connection.head.method, target, request)
        finally:
            connection.cancels = connection.begun = False
        response['status'] = sending.status
        return EncodedResponse(sending.status, b'', goes_on and not self.closing)

    def to_sending(
        self, connection: FramedConnection, request: Request, response: Response[Any]
    ) -> SelfWritingResponse | None:
        """Find what answers with a table by writing itself; None where its bytes are at hand."""
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

    def _plain(self, connection: FramedConnection, response: Response[Any]) -> EncodedResponse:
        """Answer the way that is for every table."""
        headers, keep_alive = self._framed(connection, response)
        body = wire_body(headers, response['body'])
        reason = response.get('reason')
        return encode_response(
            connection.head, response['status'], reason, headers, body, keep_alive
        )

    def _framed(
        self, connection: FramedConnection, response: Response[Any]
    ) -> tuple[Headers, bool]:
        """Give the headers of an answer, and whether the connection goes on."""
        headers: Headers = response['headers'].copy()
        closes = 'close' in ','.join(headers.getall('Connection', ())).lower()
        if self.settings.server_header:
            headers.setdefault('Server', self.settings.server_header)
        return headers, connection.keeps and not self.closing and not closes
