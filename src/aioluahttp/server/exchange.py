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
from typing import Any, Protocol

from aiohttp.http_writer import HttpVersion11
from aiohttp.streams import EMPTY_PAYLOAD
from aiohttp.web_protocol import RequestPayloadError

from ..bodies.chunks import Chunks
from ..bodies.codings import Decoder, decoded
from ..errors import BodyTooLarge, ProtocolError, Refused
from ..exchange.forwarded import Proxies
from ..exchange.head import asked, to_head
from ..exchange.options import Settings
from ..exchange.request_body import Flow, open_flow, refusal_of, undoing
from ..exchange.responder import Handling
from ..exchange.response import reset
from ..headers import ONE_HOP, Headers, given_length
from ..semantics import is_silent
from ..tables.checks import STREAMS, flows
from ..tables.conversion import body_into, wire_body
from ..tables.handlers import chunks_of, taken
from ..tables.models import Handler, Request, Response
from ..websockets.connection import Channel
from ..websockets.handshake import granted, refusal, without_handshake
from ..websockets.socket import Socket, dismiss, talk
from .encode import Answer, encode, encode_head, framing_of, lean_bytes, plain_answer
from .framing import Framed
from .sendfile import FileAnswer

__all__ = [
    'CONTINUE',
    'Exchange',
    'Parts',
    'Sending',
    'Streamed',
    'Upgrade',
    'check_coding',
    'expects_continue',
    'open_body',
    'read_body',
    'read_head',
]


class Upgrade:
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

    async def send(self, connection: Framed) -> bool:
        """Answer, and let the callback talk; the connection then closes, and the callback."""
        try:
            return await self._send(connection)
        finally:
            await dismiss(self._options['callback'])

    async def _send(self, connection: Framed) -> bool:
        refused = refusal(self._options, self._request, upgrades=connection.upgrade)
        connection.begun = True
        if refused:
            self.status, fields = refused
            logger.info('no WebSocket for %s: %s', connection.peer, self.status)
            await connection.write(plain_answer(self.status, connection.head.method, *fields).data)
            return False
        terms, fields = granted(self._options, self._request)
        await connection.write(self._head(fields))
        if connection.transport is None:
            raise ConnectionResetError('the client has left')
        connection.cancels = False  # the socket tells of a client that leaves
        channel = Channel(connection, terms, is_client=False, wrote=connection.wrote)
        connection.become(channel)
        socket = Socket(channel, terms.protocol, self._request, self._response)
        await talk(self._options['callback'], channel, socket)
        return False

    def _head(self, fields: list[str]) -> bytes:
        headers = without_handshake(self._response['headers'])
        kept = [f'{name}: {one}' for name, one in headers.items() if name.lower() not in ONE_HOP]
        lines = '\r\n'.join(('HTTP/1.1 101 Switching Protocols', *fields, *kept, '\r\n'))
        return lines.encode('utf-8', 'surrogateescape')


class Streamed:
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
        self.chunks: Chunks = chunks_of(headers, response['body'])

    async def send(self, connection: Framed) -> bool:
        """Send head and body; the iterator is closed whatever happens."""
        async with aclosing(self.chunks):
            if is_silent(connection.head.method, self.status):
                start = self.status, self.reason, self.headers
                answer = encode(connection.head, *start, b'', self.keep_alive)
                await connection.write(answer.data)
            else:
                await self._send(connection)
        return self.keep_alive and connection.keeps

    async def _send(self, connection: Framed) -> None:
        length = given_length(self.headers)
        chunked = length is None and connection.head.version >= (1, 1)
        until_close = length is None and not chunked
        self.keep_alive &= not until_close
        self.framing = 'Transfer-Encoding: chunked' if chunked else framing_of(length)
        self.chunks.length = length
        try:
            async for data in self.chunks:
                await self._write(connection, _chunk(data) if chunked else data)
            await self._write(connection, b'0\r\n\r\n' if chunked else b'')
        except BaseException:
            if until_close:  # which would look like the end of the body
                reset(connection.transport)
            raise

    async def _write(self, connection: Framed, data: bytes) -> None:
        if not connection.begun:
            connection.begun = True
            start = self.status, self.reason, self.headers
            data = encode_head(connection.head, *start, self.framing, self.keep_alive) + data
        await connection.write(data)


def _chunk(data: bytes) -> bytes:
    return b'%x\r\n%b\r\n' % (len(data), data) if data else b''


class Sending(Protocol):
    """An answer that writes itself to its connection.

    ``Exchange`` awaits ``send`` once, in the task of the request. While that runs, the task is
    cancelled if the client leaves, whatever ``cancel_on_disconnect`` says.

    What ``send`` raises is a mistake of the callback: logged, and told to ``on_error``. It is
    answered with a 500 as long as ``connection.begun`` is False, and else the connection is closed
    where it stands. A ConnectionError of a client that has left is none.
    """

    status: int
    """For the access log, which is written after ``send``; that may set another."""

    async def send(self, connection: Framed) -> bool:
        """Write head and body by ``connection.write``, which waits for who reads slowly.

        Before the first byte set ``connection.begun``.

        Returns:
            Whether another request may follow on the connection. Ask ``connection.keeps`` for it
            after the last ``await``.
        """
        ...


def open_body(
    connection: Framed, request: Request, into: str, limit: int | None, seconds: float
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
    decoder = undoing(into, headers, limit)
    waits = expects_continue(connection, headers)
    open_flow(_Chunks(connection, decoder, seconds, waits=waits), request)


class _Chunks(Flow):
    """The chunks of a body as they come off a connection."""

    FAULTS = (*Flow.FAULTS, RequestPayloadError)

    def __init__(
        self, connection: Framed, decoder: Decoder, seconds: float, *, waits: bool
    ) -> None:
        super().__init__(Parts(connection, seconds), decoder)
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


def read_head(connection: Framed, proxies: Proxies) -> Request:
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
        asked(connection.peer, headers, proxies),
        'https' if connection.ssl_context else 'http',
        connection,
    )


async def read_body(
    connection: Framed, request: Request, into: str, limit: int | None, seconds: float
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
            _expected(connection, headers)
            data = await decoded(Parts(connection, seconds), headers, limit)
        else:  # compressed it may be longer than decoded, which is what the limit counts
            if limit is not None and connection.left > limit:
                raise Refused(413)
            _expected(connection, headers)
            data = await _whole(connection, seconds, limit)
        request['body'] = body_into(into, data, headers)
    # ValueError is JSON's, or int's; the others come of a body that is broken or cut off.
    except (BodyTooLarge, ProtocolError, ValueError, RequestPayloadError, OSError) as error:
        raise refusal_of(error) from error


def check_coding(connection: Framed, headers: Headers) -> None:
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


async def _whole(connection: Framed, seconds: float, limit: int | None) -> bytes:
    """Read a body that is to be as it came."""
    body = connection.body
    pieces: list[bytes] = []
    size = 0
    while True:
        ended = connection.whole  # asked first, for what is read makes room for more
        data = body.read_nowait()  # raises where it is broken
        if not (data or ended):
            data = await _waited(connection, seconds)
        size += len(data)
        if limit is not None and size > limit:
            raise Refused(413)
        pieces.append(data)
        if ended:
            return b''.join(pieces)


async def _waited(connection: Framed, seconds: float) -> bytes:
    """Wait for the next part of a body. One that has broken by then may look as if it ended."""
    connection.expect_body(seconds)
    try:
        return await connection.body.readany()
    finally:
        connection.reading = False


class Parts:
    """The parts of a body, each within a time. No generator: it would have to be closed."""

    def __init__(self, connection: Framed, seconds: float) -> None:
        self._connection = connection
        self._seconds = seconds

    def __aiter__(self) -> AsyncIterator[bytes]:
        return self

    async def __anext__(self) -> bytes:
        body = self._connection.body
        while not (data := body.read_nowait()):
            if body.is_eof():
                raise StopAsyncIteration
            if data := await _waited(self._connection, self._seconds):
                break
        return data


def _expected(connection: Framed, headers: Headers) -> None:
    """Answer ``Expect``."""
    if expects_continue(connection, headers) and connection.transport is not None:
        connection.transport.write(CONTINUE)


def expects_continue(connection: Framed, headers: Headers) -> bool:
    """Tell whether the client waits for a word before it sends the body (RFC 9110 10.1.1)."""
    expectation = headers.get('Expect')
    if expectation is None or connection.head.version < (1, 1):
        return False
    if expectation.lower() != '100-continue':
        raise Refused(417)
    return not connection.whole


logger: logging.Logger = logging.getLogger('aioluahttp')


class Exchange(Handling):
    """Answers the requests of a server with those of a handler."""

    def __init__(self, handler: Handler, settings: Settings) -> None:
        super().__init__(handler, settings)
        self.closing = False
        # The connections on which a request is being read, handled or answered.
        self.running: set[Framed] = set()

    async def __call__(self, connection: Framed) -> Answer:
        """Answer the request that a connection has taken up."""
        try:
            request = read_head(connection, self.settings.trusted_proxies)
        except Refused as refused:
            logger.info('bad request from %s: %s', connection.peer, refused.status)
            return plain_answer(refused.status, connection.head.method)
        # For the logs: the handler may change its table.
        client, target = request.get('ip', '-'), request['url']
        response: Mapping[str, Any]
        try:
            response = await self.returned(connection, request)
            answer = self._lean(connection, response)
            if answer is None:
                response = await taken(response)
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
        self, source: Framed, request: Request, into: str, limit: int | None
    ) -> None:
        """Read the body of a request into its table, or open the stream that it is to be."""
        seconds = self.settings.body_timeout
        if into in STREAMS:
            open_body(source, request, into, limit, seconds)
        else:
            await read_body(source, request, into, limit, seconds)

    def _lean(self, connection: Framed, table: Any) -> Answer | None:
        """Answer the short way; None where that is not for this request, or this table."""
        head = connection.head
        wants_all = head.method != 'HEAD' and head.version is HttpVersion11
        if not wants_all or callable(self.settings.access_log):  # which gets a Response
            return None
        keep_alive = connection.keeps and not self.closing
        data = lean_bytes(table, self.settings.server_header, keep_alive=keep_alive)
        return None if data is None else Answer(table['status'], data, keep_alive)

    async def _answer(
        self, connection: Framed, request: Request, target: str, response: Response[Any]
    ) -> Answer:
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
        return Answer(sending.status, b'', goes_on and not self.closing)

    def to_sending(
        self, connection: Framed, request: Request, response: Response[Any]
    ) -> Sending | None:
        """Find what answers with a table by writing itself; None where its bytes are at hand."""
        if 'websocket' in response:
            return Upgrade(request, response)
        body = response['body']
        if isinstance(body, str | bytes):
            return None
        if isinstance(body, PathLike):
            return FileAnswer(response, *self._framed(connection, response))
        if flows(body):
            return Streamed(response, *self._framed(connection, response))
        return None

    def _plain(self, connection: Framed, response: Response[Any]) -> Answer:
        """Answer the way that is for every table."""
        headers, keep_alive = self._framed(connection, response)
        body = wire_body(headers, response['body'])
        reason = response.get('reason')
        return encode(connection.head, response['status'], reason, headers, body, keep_alive)

    def _framed(self, connection: Framed, response: Response[Any]) -> tuple[Headers, bool]:
        """Give the headers of an answer, and whether the connection goes on."""
        headers: Headers = response['headers'].copy()
        closes = 'close' in ','.join(headers.getall('Connection', ())).lower()
        if self.settings.server_header:
            headers.setdefault('Server', self.settings.server_header)
        return headers, connection.keeps and not self.closing and not closes
