"""One try of a request over one connection of aiohttp's, and what counts as its answer.

aiohttp sends an idempotent request again when a connection drops, also a new one, passes over
interim answers for ever, and takes what nobody asked for as an answer. Here a try ends with an
answer or with an exception for which aiohttp does nothing; ``transport`` decides on another.
"""

from __future__ import annotations

import ssl
from typing import Any, NamedTuple
from weakref import WeakSet

import aiohttp
import yarl
from aiohttp import ClientHandlerType

from .codings import decoded
from .errors import BodyTooLarge, ProtocolError
from .headers import Headers

__all__ = [
    'Answer',
    'LostConnection',
    'Received',
    'Sending',
    'StaleConnection',
    'Switching',
    'ask',
    'final_head',
    'once',
    'peer_of',
    'read_body',
    'reason',
    'take',
]

IDEMPOTENT = frozenset({'GET', 'HEAD', 'OPTIONS', 'TRACE', 'PUT', 'DELETE'})  # RFC 9110 9.2.2
INTERIM = 1000  # a 102 every 20 s (RFC 2518 10.1) comes as often in over five hours

REUSED = 'the peer closed the connection, a reused one, before it answered'
LOSSES = {
    True: REUSED,
    False: f'{REUSED}; {{}} is not idempotent, so it was not sent again, '
    'and the peer may or may not have acted on it',
}

_used: WeakSet[Any] = WeakSet()  # aiohttp's protocols, one for each connection


class StaleConnection(aiohttp.ClientError):
    """The peer has spoken or left on a pooled connection; nothing was sent on it."""


class LostConnection(aiohttp.ClientError):
    """The connection ended before the answer; none of those that aiohttp sends again for.

    ``repeatable`` tells whether to send again: on a reused connection the peer may have closed
    it before the request came, which does no harm where the method is idempotent (RFC 9110
    9.2.2, RFC 9112 9.3.1).
    """

    def __init__(self, method: str, error: Exception, *, reused: bool) -> None:
        idempotent = method in IDEMPOTENT
        self.repeatable = reused and idempotent
        super().__init__(LOSSES[idempotent].format(method) if reused else reason(error))


def reason(error: BaseException) -> str:
    """Give the text of an exception, or its kind where it has none."""
    what = getattr(error, 'message', str(error))  # half a head, where that is what came
    return what if isinstance(what, str) and what else type(error).__name__


async def once(request: Any, handler: ClientHandlerType) -> Any:
    """Keep aiohttp from sending a request again. A client middleware of aiohttp's."""
    try:
        return await handler(request)
    except aiohttp.ClientConnectorError:
        raise
    except (aiohttp.ClientOSError, aiohttp.ServerDisconnectedError) as error:
        raise LostConnection(request.method, error, reused=request.reused) from error


def take(protocol: Any) -> bool:
    """Take a connection for a request; tell whether it had one before.

    Raises:
        StaleConnection: The peer has spoken on it unasked, or left.
        ProtocolError: Likewise, on a new one.
    """
    reused = protocol in _used
    if protocol.should_close and reused:
        raise StaleConnection
    if protocol.should_close:
        raise ProtocolError('the peer speaks, or hangs up, before it is asked')
    if not reused:
        _used.add(protocol)
    return reused


def peer_of(transport: Any) -> str | None:
    """Give the address of the peer; None for that of a Unix socket."""
    peer = transport.get_extra_info('peername')
    return peer[0] if isinstance(peer, tuple) else None


class Sending(aiohttp.ClientRequest):
    """Takes a connection that is fit for it, and notes which it was."""

    reused = False

    async def send(self, conn: Any) -> aiohttp.ClientResponse:
        protocol, transport = conn.protocol, conn.transport
        self.reused = take(protocol)
        response: Any = await super().send(conn)  # may lose the connection
        response.peer = peer_of(transport)
        response.tls = transport.get_extra_info('ssl_object')
        response.protocol = protocol
        return response  # type: ignore[no-any-return]


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


async def final_head(protocol: Any, *, switches: bool = False) -> tuple[Any, aiohttp.StreamReader]:
    """Wait for the head that ends a request, with its body; 101 does where it ``switches``.

    Raises:
        ProtocolError: There is none, but a status that nobody asked for or too many interim ones.
    """
    for _ in range(INTERIM + 1):
        head: tuple[Any, aiohttp.StreamReader] = await protocol.read()
        status = head[0].code
        if status >= 200 or (switches and status == 101):
            return head
        if status < 100 or status == 101:  # nobody asked for it
            raise ProtocolError(f'the peer answered {status}, which ends no request of ours')
    raise ProtocolError(f'the peer sent over {INTERIM} interim answers')


class Received(NamedTuple):
    """An answer and its whole body."""

    status: int
    reason: str | None
    version: Any
    headers: Headers
    data: bytes
    peer: str | None


async def ask(
    session: aiohttp.ClientSession,
    method: str,
    target: yarl.URL,
    arguments: dict[str, Any],
    limit: int | None,
) -> Received:
    """Send a request the way of aiohttp's own, and read the whole answer.

    Args:
        session: Has ``Sending``, ``Answer`` and ``once``.
        method: Of the request.
        target: Its URL.
        arguments: What else aiohttp takes: ``headers``, ``timeout`` and the like.
        limit: Bytes of the body, decoded; ``None`` is no limit.
    """
    request = session.request(method, target, allow_redirects=False, **arguments)
    async with request as response:
        answer: Any = response
        headers = Headers(answer.headers)
        data = await read_body(answer.content, headers, answer.protocol, answer.tls, limit)
    return Received(answer.status, answer.reason, answer.version, headers, data, answer.peer)


async def read_body(
    content: aiohttp.StreamReader, headers: Headers, protocol: Any, tls: Any, limit: int | None
) -> bytes:
    """Read a whole body and undo its codings; ``headers`` then describe what there is.

    Raises:
        BodyTooLarge: The decoded body passes the limit.
        ProtocolError: The body is broken or was cut off.
        OSError: The connection was reset in it.
    """
    ends_itself = _ends_itself(headers, content)
    if 'Content-Encoding' in headers or not content.is_eof():
        data = await decoded(content.iter_any(), headers, limit)
    else:
        data = content.read_nowait()  # all of it came with the head
        if limit is not None and len(data) > limit:
            raise BodyTooLarge('the body passed max_body')
    if not ends_itself:
        _check_end(protocol, tls)
    return data


def _ends_itself(headers: Headers, content: aiohttp.StreamReader) -> bool:
    if 'Content-Length' in headers or content is aiohttp.EMPTY_PAYLOAD:
        return True
    codings = ','.join(headers.getall('Transfer-Encoding', ()))
    return codings.rpartition(',')[2].strip().lower() == 'chunked'


def _check_end(protocol: Any, tls: ssl.SSLObject | None) -> None:
    """Refuse a body that ends with its connection where that was not closed in good order.

    aiohttp takes it after a reset, and after TLS that was cut off (RFC 9112 9.8).
    """
    error = protocol.exception()
    if isinstance(error, OSError):
        raise error
    if tls and not _is_closed(tls):
        raise ProtocolError('the TLS connection was cut off, and the body with it')


def _is_closed(tls: ssl.SSLObject) -> bool:
    """Tell whether close_notify has come; asyncio and uvloop keep it to themselves."""
    try:
        return tls.read(1) == b''
    except ssl.SSLZeroReturnError:
        return True
    except ssl.SSLError:
        return False
