"""A request off the wire made a table (RFC 9112 3)."""

from __future__ import annotations

from collections.abc import AsyncIterator

from aiohttp.http_writer import HttpVersion11
from aiohttp.streams import EMPTY_PAYLOAD
from aiohttp.web_protocol import RequestPayloadError

from ..bodies.codings import decoded
from ..errors import BodyTooLarge, ProtocolError, Refused
from ..exchange.forwarded import Proxies
from ..exchange.head import asked, to_head
from ..exchange.request_body import refusal_of
from ..headers import Headers
from ..tables.conversion import body_into
from ..tables.models import Request
from .framing import Framed

__all__ = [
    'CONTINUE',
    'Parts',
    'check_coding',
    'expects_continue',
    'read_body',
    'read_head',
]

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
