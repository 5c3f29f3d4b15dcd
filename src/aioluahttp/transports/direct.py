"""The short way of a request: straight over a connection of the session's pool.

What ``ClientSession.request`` sees to besides is over half of what a short request costs. What
has need of it, or is looked at on its way, goes that way (``attempts``); tests hold the two to
the same bytes on the same connections.
"""

from __future__ import annotations

from functools import lru_cache
from typing import Any
from weakref import WeakSet

import aiohttp
import yarl
from aiohttp.client_reqrep import ConnectionKey

from ..errors import ProtocolError
from ..headers import Headers
from ..semantics import BODILESS
from .failures import LostConnection, StaleConnection
from .response_body import Body, Inflow, Received, Terms, read_body

__all__ = ['ask', 'connect', 'final_head', 'is_open', 'peer_of', 'take']

SHORT = 16 * 1024  # bytes of a body that a socket's buffer takes at once
ALIKE = frozenset({'headers', 'data', 'ssl', 'server_hostname', 'timeout'})

# Tracers, recorders and test doubles put their own in its place.
_UNTOUCHED = getattr(aiohttp.ClientSession, '_request', None)


def is_open(session: aiohttp.ClientSession, method: str, arguments: dict[str, Any]) -> bool:
    """Tell whether a request may go this way: nobody else has a part in it, and it is short."""
    data = arguments.get('data')
    return (
        (method in BODILESS if data is None else isinstance(data, bytes) and len(data) <= SHORT)
        and ALIKE.issuperset(arguments)
        and isinstance(session.cookie_jar, aiohttp.DummyCookieJar)
        and not session.trace_configs
        and getattr(aiohttp.ClientSession, '_request', None) is _UNTOUCHED
    )


class Origin:
    """What aiohttp's connector asks of a request: where to connect to, and how."""

    proxy = proxy_auth = proxy_headers = None

    def __init__(self, url: yarl.URL, tls: Any, server_name: str | None) -> None:
        secure = url.scheme == 'https'
        self.url = url
        self.host: str = url.raw_host or ''
        self.port: int | None = url.port
        self.ssl = tls
        self.server_hostname = server_name
        self.connection_key: ConnectionKey = ConnectionKey(
            self.host, self.port, secure, tls, None, None, None, server_name
        )

    def is_ssl(self) -> bool:
        return self.connection_key.is_ssl


@lru_cache(256)
def _origin(url: yarl.URL, tls: Any, server_name: str | None) -> Origin:
    return Origin(url, tls, server_name)


async def connect(
    session: aiohttp.ClientSession, target: yarl.URL, arguments: dict[str, Any]
) -> Any:
    """Take a connection out of the session's pool, or make one."""
    origin: Any = _origin(target, arguments.get('ssl', True), arguments.get('server_hostname'))
    connector: Any = session.connector
    try:
        return await connector.connect(origin, [], arguments['timeout'])
    except TimeoutError as error:
        what = f'Connection timeout to host {target}'
        raise aiohttp.ConnectionTimeoutError(what) from error


async def ask(
    session: aiohttp.ClientSession,
    method: str,
    target: yarl.URL,
    arguments: dict[str, Any],
    limit: int | None,
    terms: Terms | None = None,
) -> Received:
    """Send a request, and read the answer; the arguments are those of ``attempts.ask``."""
    timeout = arguments['timeout']
    connection = await connect(session, target, arguments)
    try:
        protocol, transport = connection.protocol, connection.transport
        reused = take(protocol)
        protocol.set_response_params(
            skip_payload=method == 'HEAD',
            read_until_eof=True,
            auto_decompress=False,
            read_timeout=timeout.sock_read,
        )
        try:
            transport.write(_bytes(method, target, arguments))
            protocol.start_timeout()
            head, content = await final_head(protocol)
        except (aiohttp.ClientOSError, aiohttp.ServerDisconnectedError) as error:
            raise LostConnection(method, error, reused=reused) from error
        headers = Headers(head.headers)
        peer, tls = peer_of(transport), transport.get_extra_info('ssl_object')
        if terms:
            body = Body(headers, Inflow(headers, content, protocol, tls, connection), terms)
            return Received(head.code, head.reason, head.version, headers, body, peer)
        data = await read_body(content, headers, protocol, tls, limit)
    except BaseException:
        connection.close()
        raise
    connection.release()
    return Received(head.code, head.reason, head.version, headers, data, peer)


def _bytes(method: str, target: yarl.URL, arguments: dict[str, Any]) -> bytes:
    data = arguments.get('data')
    lines = [
        f'{method} {target.raw_path_qs} HTTP/1.1',
        *map(': '.join, arguments['headers'].items()),
    ]
    if data is not None:
        lines.append(f'Content-Length: {len(data)}')
    return '\r\n'.join([*lines, '\r\n']).encode() + (data or b'')


INTERIM = 1000  # a 102 every 20 s (RFC 2518 10.1) comes as often in over five hours

_used: WeakSet[Any] = WeakSet()  # aiohttp's protocols, one for each connection


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
