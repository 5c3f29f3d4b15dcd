"""The short way of a request: straight over a connection of the session's pool.

What ``ClientSession.request`` sees to besides is over half of what a short request costs. What
has need of it, or is looked at on its way, goes that way (``attempts``); tests hold the two to
the same bytes on the same connections.
"""

from __future__ import annotations

from functools import lru_cache
from typing import Any

import aiohttp
import yarl
from aiohttp.client_reqrep import ConnectionKey

from .attempts import LostConnection, Received, final_head, peer_of, take
from .bodies import Body, Inflow, Terms, read_body
from .headers import Headers

__all__ = ['ask', 'connect', 'is_open']

BODILESS = frozenset({'GET', 'HEAD', 'OPTIONS', 'TRACE'})  # without a Content-Length of 0, too
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
