"""Fast path: send a request on a connection from aiohttp's pool, without ``ClientSession.request``.

- ``send_short``: a short request without cookies, proxy, traces or patches, of which all else that
  ``ClientSession.request`` does would be over half of the cost. ``session`` sends other requests;
  tests hold both to the same bytes on the same connections.
- ``send_wire``: a request of a reverse proxy. Its head is sent byte for byte, where aiohttp would
  drop what is not UTF-8, and add headers. Its body is sent while the response may already arrive;
  if the response ends first, the rest is not sent, and the connection is closed. Whatever
  interrupts the body closes the connection, so that no origin takes a part of it for the whole.
"""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator
from functools import lru_cache
from typing import Any
from weakref import WeakSet

import aiohttp
import yarl
from aiohttp.client_reqrep import ConnectionKey
from aiohttp.http_writer import StreamWriter

from ..bodies.chunks import close
from ..errors import ProtocolError, TableError, TimedOut
from ..headers import Headers
from ..semantics import METHODS_WITHOUT_BODY
from ..tables.models import Request
from .failures import LostConnection, StaleConnection
from .response_body import (
    DecodedBody,
    FromConnection,
    ReadOptions,
    ReceivedResponse,
    read_response_body,
)

__all__ = [
    'WireRequest',
    'connect',
    'final_head',
    'is_short',
    'peer_of',
    'send_short',
    'send_wire',
    'take_connection',
]


SHORT = 16 * 1024  # bytes of a body that fit a socket's send buffer
FAST_PATH_ARGUMENTS = frozenset({'headers', 'data', 'ssl', 'server_hostname', 'timeout'})
MAX_INTERIM = 1000  # a 102 every 20 s (RFC 2518 10.1) takes over five hours for as many

# Tracers, recorders and test doubles replace this method; then the fast path is not taken.
_ORIGINAL_REQUEST = getattr(aiohttp.ClientSession, '_request', None)
_used: WeakSet[Any] = WeakSet()  # protocols of connections that had a request


def is_short(session: aiohttp.ClientSession, method: str, arguments: dict[str, Any]) -> bool:
    """Tell whether ``send_short`` may send a request: it is short, and needs nothing of a session.

    That is no cookies, proxy, traces or patched ``ClientSession._request``.
    """
    data = arguments.get('data')
    return (
        (
            method in METHODS_WITHOUT_BODY
            if data is None
            else isinstance(data, bytes) and len(data) <= SHORT
        )
        and FAST_PATH_ARGUMENTS.issuperset(arguments)
        and isinstance(session.cookie_jar, aiohttp.DummyCookieJar)
        and not session.trace_configs
        and getattr(aiohttp.ClientSession, '_request', None) is _ORIGINAL_REQUEST
    )


class PoolKey:
    """The attributes of a request that aiohttp's connector reads: where and how to connect."""

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
        """Tell whether the connection uses TLS."""
        return self.connection_key.is_ssl


@lru_cache(256)
def _pool_key(url: yarl.URL, tls: Any, server_name: str | None) -> PoolKey:
    return PoolKey(url, tls, server_name)


async def connect(
    session: aiohttp.ClientSession, target: yarl.URL, arguments: dict[str, Any]
) -> Any:
    """Acquire a connection from the session's pool, or make one.

    Raises:
        ConnectionTimeoutError: The connect timeout has passed.
    """
    origin: Any = _pool_key(target, arguments.get('ssl', True), arguments.get('server_hostname'))
    connector: Any = session.connector
    try:
        return await connector.connect(origin, [], arguments['timeout'])
    except TimeoutError as error:
        what = f'Connection timeout to host {target}'
        raise aiohttp.ConnectionTimeoutError(what) from error


async def send_short(
    session: aiohttp.ClientSession,
    method: str,
    target: yarl.URL,
    arguments: dict[str, Any],
    limit: int | None,
    options: ReadOptions | None = None,
) -> ReceivedResponse:
    """Send a short request, and read the response; arguments as for ``send_by_session``."""
    timeout = arguments['timeout']
    connection = await connect(session, target, arguments)
    try:
        protocol, transport = connection.protocol, connection.transport
        reused = take_connection(protocol)
        protocol.set_response_params(
            skip_payload=method == 'HEAD',
            read_until_eof=True,
            auto_decompress=False,
            read_timeout=timeout.sock_read,
        )
        try:
            transport.write(_encode_request(method, target, arguments))
            protocol.start_timeout()
            head, content = await final_head(protocol)
        except (aiohttp.ClientOSError, aiohttp.ServerDisconnectedError) as error:
            raise LostConnection(method, error, reused=reused) from error
        headers = Headers(head.headers)
        peer, tls = peer_of(transport), transport.get_extra_info('ssl_object')
        if options:
            body = DecodedBody(
                headers, FromConnection(headers, content, protocol, tls, connection), options
            )
            return ReceivedResponse(head.code, head.reason, head.version, headers, body, peer)
        data = await read_response_body(content, headers, protocol, tls, limit)
    except BaseException:
        connection.close()
        raise
    connection.release()
    return ReceivedResponse(head.code, head.reason, head.version, headers, data, peer)


def _encode_request(method: str, target: yarl.URL, arguments: dict[str, Any]) -> bytes:
    data = arguments.get('data')
    lines = [
        f'{method} {target.raw_path_qs} HTTP/1.1',
        *map(': '.join, arguments['headers'].items()),
    ]
    if data is not None:
        lines.append(f'Content-Length: {len(data)}')
    return '\r\n'.join([*lines, '\r\n']).encode() + (data or b'')


def take_connection(protocol: Any) -> bool:
    """Mark a connection as used for a request; return whether it had one before.

    Raises:
        StaleConnection: The peer sent data on a reused connection, or closed it.
        ProtocolError: The peer did so on a new connection.
    """
    reused = protocol in _used
    if protocol.should_close and reused:
        raise StaleConnection
    if protocol.should_close:
        raise ProtocolError('the peer sent data, or closed the connection, before the request')
    if not reused:
        _used.add(protocol)
    return reused


def peer_of(transport: Any) -> str | None:
    """Return the IP address of the peer; None for a Unix socket."""
    peer = transport.get_extra_info('peername')
    return peer[0] if isinstance(peer, tuple) else None


async def final_head(protocol: Any, *, switches: bool = False) -> tuple[Any, aiohttp.StreamReader]:
    """Wait for the final response head, and skip interim responses (1xx).

    Args:
        protocol: aiohttp's protocol of the connection.
        switches: Whether the request asks for an upgrade, for which 101 is final.

    Returns:
        The head, and the reader of the body.

    Raises:
        ProtocolError: The status is below 100 or an unrequested 101, or over ``MAX_INTERIM``
            interim responses arrived.
    """
    for _ in range(MAX_INTERIM + 1):
        head: tuple[Any, aiohttp.StreamReader] = await protocol.read()
        status = head[0].code
        if status >= 200 or (switches and status == 101):
            return head
        if status < 100 or status == 101:  # the request asked for no upgrade
            raise ProtocolError(f'the peer sent status {status}, which no request asked for')
    raise ProtocolError(f'the peer sent over {MAX_INTERIM} interim responses')


class WireRequest:
    """A connection to an origin, and the request body that is sent on it.

    Attributes:
        connection: aiohttp's connection.
        protocol: aiohttp's protocol of the connection.
        error: What interrupted the request body; None if nothing did.
        content: The reader of the response body; None before the final head.
    """

    def __init__(self, connection: Any, seconds: float | None) -> None:
        self.connection = connection
        self.protocol: Any = connection.protocol
        self.error: Exception | None = None
        self.content: aiohttp.StreamReader | None = None
        self._seconds = seconds
        self._task: asyncio.Task[None] | None = None
        self._sent = True

    def send(self, head: bytes, body: Any, length: int | None, seconds: float | None) -> None:
        """Send a head, and start to send the body.

        Args:
            head: Bytes of the head.
            body: Bytes, an asynchronous iterator of bytes, or None.
            length: Bytes of the body; None sends it in chunks.
            seconds: To wait for data of the response, once the body is sent; None is no limit.
        """
        self.protocol.transport.write(head + body if isinstance(body, bytes) else head)
        if body is None or isinstance(body, bytes):
            self._start_timeout(seconds)
        else:
            self._sent = False
            sending = self._send(body, length, seconds)
            self._task = asyncio.get_running_loop().create_task(sending, name='request body')

    def _start_timeout(self, seconds: float | None) -> None:
        if self.content is None:  # the reader of a response body has its own timeouts
            self.protocol.read_timeout = seconds
            self.protocol.start_timeout()

    async def _send(
        self, chunks: AsyncIterator[bytes], length: int | None, seconds: float | None
    ) -> None:
        try:
            self._sent = await self._send_chunks(chunks, length)
            if self._sent:
                self._start_timeout(seconds)
        except Exception as error:
            self.error = error
            self.protocol.set_exception(error)
            if self.content is not None:
                self.content.set_exception(error)
        finally:
            await close(chunks)

    async def _send_chunks(self, chunks: AsyncIterator[bytes], length: int | None) -> bool:
        """Send all chunks; return False if the origin stopped reading: its response says why."""
        left = length
        async for chunk in chunks:
            if left is not None:
                left -= len(chunk)
                if left < 0:
                    raise TableError("'body' is longer than its Content-Length")
            if chunk and not await self._write(
                chunk if length is not None else _encode_request_chunk(chunk)
            ):
                return False
        if left:
            raise TableError("'body' is shorter than its Content-Length")
        return length is not None or await self._write(b'0\r\n\r\n')

    async def _write(self, data: bytes) -> bool:
        transport = self.protocol.transport
        if transport is None or transport.is_closing():
            return False
        transport.write(data)
        try:
            async with asyncio.timeout(self._seconds):
                await StreamWriter(self.protocol, asyncio.get_running_loop()).drain()
        except TimeoutError as error:
            what = f'the origin read no more of the body within {self._seconds} s'
            raise TimedOut(what) from error
        except (aiohttp.ClientError, OSError):
            return False
        return True

    def release(self) -> None:
        """Give the connection back to the pool; close it if the request body is not sent whole."""
        if self._sent:
            self.connection.release()
        else:
            self.close()

    def close(self) -> None:
        """Stop sending, and close the connection."""
        if self._task is not None:
            self._task.cancel()
        self.connection.close()


def _encode_request_chunk(data: bytes) -> bytes:
    return b'%x\r\n%b\r\n' % (len(data), data)


async def send_wire(
    session: aiohttp.ClientSession,
    request: Request,
    length: int | None,
    origin: yarl.URL,
    arguments: dict[str, Any],
    options: ReadOptions,
) -> tuple[ReceivedResponse, WireRequest]:
    """Send a request with exactly its own headers, and read the head of the response.

    Args:
        session: Has the connection pool.
        request: In normal form; its body is bytes, an asynchronous iterator of bytes, or absent.
        length: Bytes of the body; None sends it in chunks.
        origin: The URL of the origin.
        arguments: ``timeout``, and optionally ``ssl`` and ``server_hostname``.
        options: How the response body is read.

    Returns:
        The response, and the request with its connection, which the response body releases or
        closes; after a 101 the caller has to.

    Raises:
        LostConnection: The connection ended before the response.
        Exception: What the iterator of the body raised.
    """
    method, body, timeout = request['method'], request.get('body'), arguments['timeout']
    switches = 'Upgrade' in request['headers']
    connection = await connect(session, origin, arguments)
    wire_request = WireRequest(connection, options.seconds)
    protocol, transport = wire_request.protocol, connection.transport
    try:
        reused = take_connection(protocol)
        protocol.set_response_params(
            skip_payload=method == 'HEAD', read_until_eof=True, auto_decompress=False
        )
        try:
            wire_request.send(_encode_request_head(request), body, length, timeout.sock_read)
            head, content = await final_head(protocol, switches=switches)
        except (aiohttp.ClientOSError, aiohttp.ServerDisconnectedError) as error:
            repeatable = reused and (body is None or isinstance(body, bytes))
            raise LostConnection(method, error, reused=repeatable) from error
        if wire_request.error is not None:
            raise wire_request.error
    except BaseException as error:
        wire_request.close()
        if wire_request.error is not None and isinstance(error, Exception):
            raise wire_request.error from wire_request.error.__cause__
        raise
    headers = Headers(head.headers)
    peer, tls = peer_of(transport), transport.get_extra_info('ssl_object')
    data: Any = b''
    if head.code != 101:
        wire_request.content = content
        source = FromConnection(headers, content, protocol, tls, wire_request)
        data = DecodedBody(headers, source, options)
    return ReceivedResponse(head.code, head.reason, head.version, headers, data, peer), wire_request


def _encode_request_head(request: Request) -> bytes:
    lines = [f'{request["method"]} {request["url"]} HTTP/1.1']
    lines += map(': '.join, request['headers'].items())
    return '\r\n'.join([*lines, '\r\n']).encode('utf-8', 'surrogateescape')
