"""One request of another's, and its answer, over a connection of the session's pool.

The head goes out as it was made, byte for byte: aiohttp would leave out what is no UTF-8, and add
fields of its own. The body goes out while the answer may come already, and it is up to the answer
how much of it: where that ends first, the rest is not sent, and the connection closed. Whatever
breaks a body off breaks the connection off, so that no origin takes a part of it for the whole.

The short way of a request: straight over a connection of the session's pool.

What ``ClientSession.request`` sees to besides is over half of what a short request costs. What
has need of it, or is looked at on its way, goes that way (``attempts``); tests hold the two to
the same bytes on the same connections.
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
from ..semantics import BODILESS
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


SHORT = 16 * 1024  # bytes of a body that a socket's buffer takes at once
ALIKE = frozenset({'headers', 'data', 'ssl', 'server_hostname', 'timeout'})

# Tracers, recorders and test doubles put their own in its place.
_UNTOUCHED = getattr(aiohttp.ClientSession, '_request', None)


def is_short(session: aiohttp.ClientSession, method: str, arguments: dict[str, Any]) -> bool:
    """Tell whether a request may go this way: nobody else has a part in it, and it is short."""
    data = arguments.get('data')
    return (
        (method in BODILESS if data is None else isinstance(data, bytes) and len(data) <= SHORT)
        and ALIKE.issuperset(arguments)
        and isinstance(session.cookie_jar, aiohttp.DummyCookieJar)
        and not session.trace_configs
        and getattr(aiohttp.ClientSession, '_request', None) is _UNTOUCHED
    )


class PoolKey:
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
def _pool_key(url: yarl.URL, tls: Any, server_name: str | None) -> PoolKey:
    return PoolKey(url, tls, server_name)


async def connect(
    session: aiohttp.ClientSession, target: yarl.URL, arguments: dict[str, Any]
) -> Any:
    """Take a connection out of the session's pool, or make one."""
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
    terms: ReadOptions | None = None,
) -> ReceivedResponse:
    """Send a request, and read the answer; the arguments are those of ``attempts.ask``."""
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
        if terms:
            body = DecodedBody(
                headers, FromConnection(headers, content, protocol, tls, connection), terms
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


INTERIM = 1000  # a 102 every 20 s (RFC 2518 10.1) comes as often in over five hours

_used: WeakSet[Any] = WeakSet()  # aiohttp's protocols, one for each connection


def take_connection(protocol: Any) -> bool:
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


class WireRequest:
    """A connection to an origin, and the body that is sent over it.

    Attributes:
        error: What broke the body off that was to be sent.
        content: The body of the answer, once that has begun.
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
        """Send a head, and begin to send its body: bytes, an iterator of them, or None.

        Args:
            head: As it is.
            body: What follows it.
            length: Bytes of the body; None for chunks.
            seconds: How long to wait for the answer once all of it is sent.
        """
        self.protocol.transport.write(head + body if isinstance(body, bytes) else head)
        if body is None or isinstance(body, bytes):
            self._expect(seconds)
        else:
            self._sent = False
            sending = self._send(body, length, seconds)
            self._task = asyncio.get_running_loop().create_task(sending, name='request body')

    def _expect(self, seconds: float | None) -> None:
        if self.content is None:  # a body that comes has timers of its own
            self.protocol.read_timeout = seconds
            self.protocol.start_timeout()

    async def _send(
        self, chunks: AsyncIterator[bytes], length: int | None, seconds: float | None
    ) -> None:
        try:
            self._sent = await self._all(chunks, length)
            if self._sent:
                self._expect(seconds)
        except Exception as error:
            self.error = error
            self.protocol.set_exception(error)
            if self.content is not None:
                self.content.set_exception(error)
        finally:
            await close(chunks)

    async def _all(self, chunks: AsyncIterator[bytes], length: int | None) -> bool:
        """Send all chunks; give whether the origin took them, for how it ends tells its answer."""
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
            what = f'the origin took nothing more of the body within {self._seconds} s'
            raise TimedOut(what) from error
        except (aiohttp.ClientError, OSError):
            return False
        return True

    def release(self) -> None:
        """Give the connection back, unless it is in the middle of a request."""
        if self._sent:
            self.connection.release()
        else:
            self.close()

    def close(self) -> None:
        """Close the connection, and send no more."""
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
    terms: ReadOptions,
) -> tuple[ReceivedResponse, WireRequest]:
    """Send a request whose headers are whole, and read the head of the answer.

    Args:
        session: Has the pool.
        request: In normal form. Its body is bytes, an iterator of them, or absent.
        length: Of the body; None for chunks.
        origin: Where it goes.
        arguments: ``timeout``, and ``ssl`` and ``server_hostname`` where there are some.
        terms: Those on which the body of the answer is read.

    Returns:
        The answer, and the line that it came over: it is the answer's, but for one with 101.
    """
    method, body, timeout = request['method'], request.get('body'), arguments['timeout']
    switches = 'Upgrade' in request['headers']
    connection = await connect(session, origin, arguments)
    line = WireRequest(connection, terms.seconds)
    protocol, transport = line.protocol, connection.transport
    try:
        reused = take_connection(protocol)
        protocol.set_response_params(
            skip_payload=method == 'HEAD', read_until_eof=True, auto_decompress=False
        )
        try:
            line.send(_encode_request_head(request), body, length, timeout.sock_read)
            head, content = await final_head(protocol, switches=switches)
        except (aiohttp.ClientOSError, aiohttp.ServerDisconnectedError) as error:
            again = reused and (body is None or isinstance(body, bytes))
            raise LostConnection(method, error, reused=again) from error
        if line.error is not None:
            raise line.error
    except BaseException as error:
        line.close()
        if line.error is not None and isinstance(error, Exception):
            raise line.error from line.error.__cause__
        raise
    headers = Headers(head.headers)
    peer, tls = peer_of(transport), transport.get_extra_info('ssl_object')
    data: Any = b''
    if head.code != 101:
        line.content = content
        data = DecodedBody(headers, FromConnection(headers, content, protocol, tls, line), terms)
    return ReceivedResponse(head.code, head.reason, head.version, headers, data, peer), line


def _encode_request_head(request: Request) -> bytes:
    lines = [f'{request["method"]} {request["url"]} HTTP/1.1']
    lines += map(': '.join, request['headers'].items())
    return '\r\n'.join([*lines, '\r\n']).encode('utf-8', 'surrogateescape')
