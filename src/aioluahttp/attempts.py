"""One try of a request over one connection of aiohttp's, and what counts as its answer.

aiohttp sends an idempotent request again when a connection drops, also a new one, passes over
interim answers for ever, and takes what nobody asked for as an answer. Here a try ends with an
answer or with an exception for which aiohttp does nothing; ``transport`` decides on another.
"""

from __future__ import annotations

import ssl
from typing import Any
from weakref import WeakSet

import aiohttp
from aiohttp import ClientHandlerType

from .errors import ProtocolError

__all__ = [
    'Answer',
    'LostConnection',
    'Sending',
    'StaleConnection',
    'Switching',
    'check_end',
    'once',
    'reason',
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

    def __init__(self, request: Any, error: Exception) -> None:
        idempotent = request.method in IDEMPOTENT
        self.repeatable = request.reused and idempotent
        what = LOSSES[idempotent].format(request.method) if request.reused else reason(error)
        super().__init__(what)


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
        raise LostConnection(request, error) from error


class Sending(aiohttp.ClientRequest):
    """Refuses a connection on which the peer has spoken unasked; notes which it was."""

    reused = False

    async def send(self, conn: Any) -> aiohttp.ClientResponse:
        protocol, transport = conn.protocol, conn.transport
        self.reused = protocol in _used
        if protocol.should_close and self.reused:
            raise StaleConnection
        if protocol.should_close:
            raise ProtocolError('the peer speaks, or hangs up, before it is asked')
        if not self.reused:
            _used.add(protocol)
        response: Any = await super().send(conn)  # may lose the connection
        peer = transport.get_extra_info('peername')
        response.peer = peer[0] if isinstance(peer, tuple) else None
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
        await _read_ahead(self.protocol, self.switches)
        return await super().start(connection)

    async def __aexit__(self, kind: Any, error: Any, traceback: Any) -> None:
        if error is not None:  # aiohttp may have it back in the pool: all of a body has come
            self.protocol.force_close()
        await super().__aexit__(kind, error, traceback)


class Switching(Answer):
    """An answer to a request for another protocol, by which that begins or does not."""

    switches = True


async def _read_ahead(protocol: Any, switches: bool) -> None:
    """Wait for the head that ends the request, and leave it for aiohttp to read again.

    Raises:
        ProtocolError: There is none, but a status that nobody asked for or too many interim ones.
    """
    for _ in range(INTERIM + 1):
        head = await protocol.read()
        status = head[0].code
        if status >= 200 or (switches and status == 101):
            break
        if status < 100 or status == 101:  # nobody asked for it
            raise ProtocolError(f'the peer answered {status}, which ends no request of ours')
    else:
        raise ProtocolError(f'the peer sent over {INTERIM} interim answers')
    protocol.feed_data(head)
    for _ in range(len(protocol) - 1):  # a queue: what came behind the head goes behind it again
        protocol.feed_data(await protocol.read())


def check_end(response: Any) -> None:
    """Refuse a body that ends with its connection where that was not closed in good order.

    aiohttp takes it after a reset, and after TLS that was cut off (RFC 9112 9.8).

    Raises:
        OSError: The connection was reset.
        ProtocolError: The peer did not say in TLS that it closes the connection.
    """
    codings = ','.join(response.headers.getall('Transfer-Encoding', ()))
    chunked = codings.rpartition(',')[2].strip().lower() == 'chunked'
    if chunked or 'Content-Length' in response.headers:
        return
    if response.content is aiohttp.EMPTY_PAYLOAD:
        return
    error = response.protocol.exception()
    if isinstance(error, OSError):
        raise error
    if response.tls and not _is_closed(response.tls):
        raise ProtocolError('the TLS connection was cut off, and the body with it')


def _is_closed(tls: ssl.SSLObject) -> bool:
    """Tell whether close_notify has come; asyncio and uvloop keep it to themselves."""
    try:
        return tls.read(1) == b''
    except ssl.SSLZeroReturnError:
        return True
    except ssl.SSLError:
        return False
