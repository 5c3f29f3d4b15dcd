"""Send requests over a connection of the pool, without ``ClientSession.request``.

Every request is sent this way, except those that need ``ClientSession.request`` (``session``):
through an HTTP proxy, with a traced or patched session, or with a session of the user's. There are
two reasons. The other work of ``ClientSession.request`` is over half of the cost of a short
request. It also loses the exception that the source of a body raises, and the response of a peer
that responds before it has read the whole body.

The head and a body of bytes are written at once. A task writes any other body, and the response
may arrive meanwhile; if it ends first, the rest is not sent. A connection on which a body was not
sent completely is closed, so that no peer takes a part of it for the whole.

Only this module, ``protocol`` and ``response_body`` use what aiohttp's client does not
document.
"""

from __future__ import annotations

import asyncio
from collections.abc import Iterable, Iterator
from contextlib import contextmanager
from contextvars import ContextVar
from functools import lru_cache, partial
from types import SimpleNamespace
from typing import TYPE_CHECKING, Any

import aiohttp
import yarl
from aiohttp.client_proto import ResponseHandler
from aiohttp.client_reqrep import ConnectionKey
from aiohttp.http_writer import StreamWriter

from ..bodies.chunks import slices
from ..errors import ConnectError, ProtocolError
from ..headers import Headers
from ..semantics import METHODS_WITHOUT_BODY
from .failures import BodyFailed, LostConnection, is_refused_handshake, line_too_long, reason_of
from .protocol import ResponseProtocol
from .request_body import SHORT, WRITE, BodyDelivery, write_timed_out
from .response_body import (
    DecodedBody,
    FromConnection,
    ReadOptions,
    ReceivedResponse,
    arrived_body,
    read_response_body,
)

if TYPE_CHECKING:
    from .encode import CookieStore

__all__ = [
    'PoolKey',
    'TCPPool',
    'UnixPool',
    'WireRequest',
    'can_send',
    'check_head',
    'encode_request_head',
    'final_head',
    'note_connections',
    'noted_connection',
    'request_head',
]


WAITING = 64 * 1024  # bytes in a transport's buffer from which on the next write has to wait
JOINED = 256 * 1024  # bytes of a body up to which a copy costs less than a second write
MAX_HEAD = 256 * 1024  # bytes of all header lines of a response
# What aiohttp reads of the head of a proxy's response, besides its status.
PROXY_FIELDS = ('version', 'reason', 'headers', 'raw_headers')
MAX_INTERIM = 1000  # a 102 every 20 s (RFC 2518 10.1) takes over five hours for as many

# Tracers, recorders and test doubles replace this method; then ``session`` sends the requests.
_ORIGINAL_REQUEST = getattr(aiohttp.ClientSession, '_request', None)
_noted: ContextVar[list[ResponseProtocol] | None] = ContextVar('_noted', default=None)
# The factory of the protocol for the next connection: to a proxy that is to open a tunnel.
_to_proxy: ContextVar[list[Any] | None] = ContextVar('_to_proxy', default=None)


def can_send(session: aiohttp.ClientSession, arguments: dict[str, Any]) -> bool:
    """Tell whether a request can be sent over the wire: it needs nothing else of a session.

    That is no proxy, traces or patched ``ClientSession._request``.
    """
    return (
        'proxy' not in arguments
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
        key: dict[str, Any] = dict.fromkeys(ConnectionKey._fields)  # those of aiohttp 4 are fewer
        key.update(host=self.host, port=self.port, is_ssl=secure, ssl=tls)
        key.update(server_hostname=server_name)
        self.connection_key: ConnectionKey = ConnectionKey(**key)

    def is_ssl(self) -> bool:
        """Tell whether the connection uses TLS."""
        return self.connection_key.is_ssl


@lru_cache(256)
def _pool_key(url: yarl.URL, tls: Any, server_name: str | None) -> PoolKey:
    return PoolKey(url, tls, server_name)


class Pool(aiohttp.BaseConnector):
    """A connection pool that gives out no connection on which the peer sent data, or closed it."""

    async def acquire(
        self, origin: Any, traces: list[Any], timeout: Any
    ) -> tuple[Any, ResponseProtocol]:
        """Take a connection from the pool, or make one.

        Args:
            origin: aiohttp's request, or a ``PoolKey``.
            traces: aiohttp's.
            timeout: aiohttp's.

        Returns:
            aiohttp's connection, and what receives its data.

        Raises:
            ConnectionTimeoutError: The connect timeout has passed.
            ProtocolError: The peer sent data on a new connection, or closed it.
        """
        while True:
            try:
                connection: Any = await super().connect(origin, traces, timeout)
            except TimeoutError as error:
                what = f'Connection timeout to host {origin.url}'
                raise aiohttp.ConnectionTimeoutError(what) from error
            received = ResponseProtocol.of(connection)
            if not received.protocol.should_close:
                return connection, received
            connection.close()
            if not received.requests:
                what = 'the peer sent data, or closed the connection, before the request'
                raise ProtocolError(what)

    async def connect(self, req: Any, traces: list[Any], timeout: Any) -> Any:
        """Take a connection for ``ClientSession.request``, and note it for ``session``."""
        connection, received = await self.acquire(req, traces, timeout)
        received.begin(req.method)
        if (noted := _noted.get()) is not None:
            noted.append(received)
        return connection


class TunnelProtocol(ResponseHandler):
    """For a proxy: every 2xx opens a tunnel (RFC 9110 9.3.6), where aiohttp wants a 200."""

    async def read(self) -> Any:
        """Return the head, with what aiohttp reads of it, and the body."""
        head, body = await super().read()
        fields = {name: getattr(head, name) for name in PROXY_FIELDS}
        return SimpleNamespace(**fields, code=200 if head.code // 100 == 2 else head.code), body


class TCPPool(Pool, aiohttp.TCPConnector):
    """A pool of TCP connections."""

    def __init__(self, **options: Any) -> None:
        super().__init__(**options)
        self._factory: Any = partial(_new_protocol, self._factory)

    async def connect(self, req: Any, traces: list[Any], timeout: Any) -> Any:
        """Take a connection for ``ClientSession.request``, perhaps in a tunnel through a proxy."""
        tunnels = req.proxy and req.is_ssl()
        token = _to_proxy.set([partial(TunnelProtocol, self._loop)] if tunnels else None)
        try:
            return await super().connect(req, traces, timeout)
        finally:
            _to_proxy.reset(token)


def _new_protocol(factory: Any) -> Any:
    """Make a protocol; the one after that of a proxy is for the TLS connection in its tunnel."""
    factories = _to_proxy.get()
    return factories.pop()() if factories else factory()


class UnixPool(Pool, aiohttp.UnixConnector):
    """A pool of connections to a Unix socket."""


@contextmanager
def note_connections() -> Iterator[None]:
    """Note the connections that ``ClientSession.request`` takes in this block from a ``Pool``."""
    token = _noted.set([])
    try:
        yield
    finally:
        _noted.reset(token)


def noted_connection() -> ResponseProtocol | None:
    """Return the last connection that was noted; None if there is none."""
    noted = _noted.get()
    return noted[-1] if noted else None


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


def check_head(lines: Iterable[tuple[bytes, bytes]], longest: int) -> None:
    """Refuse a response head that is too large.

    aiohttp limits the number of lines, and each of them, but counts the name only in the first.

    Args:
        lines: Names and values of its headers.
        longest: ``max_header``, in bytes. The head may have four of these, or ``MAX_HEAD``.

    Raises:
        ProtocolError: A line, or the whole, is too large.
    """
    sizes, most = [len(name) + len(value) for name, value in lines], max(MAX_HEAD, 4 * longest)
    size = sum(sizes)
    if size > longest and max(sizes) > longest:
        raise ProtocolError(line_too_long(longest))
    if size > most:
        raise ProtocolError(f'the head of the response is over {most} bytes (max_header)')


def encode_request_head(method: str, target: str, headers: Headers, *framing: str) -> bytes:
    """Encode the head of a request, with exactly these headers and lines."""
    lines = [f'{method} {target} HTTP/1.1', *map(': '.join, headers.items()), *framing, '\r\n']
    return '\r\n'.join(lines).encode('utf-8', 'surrogateescape')


def request_head(
    method: str, target: yarl.URL, headers: Headers, body: bytes | BodyDelivery | None
) -> bytes:
    """Encode the head of a request, with the framing of its body."""
    length = body.size if isinstance(body, BodyDelivery) else len(body or b'')
    if length is None:
        return encode_request_head(
            method, target.raw_path_qs, headers, 'Transfer-Encoding: chunked'
        )
    if body is None and method in METHODS_WITHOUT_BODY:
        return encode_request_head(method, target.raw_path_qs, headers)
    return encode_request_head(method, target.raw_path_qs, headers, f'Content-Length: {length}')


def _has_rest(transport: Any) -> bool:
    """Tell whether a transport has to be kept from waiting until its peer has read the rest."""
    # asyncio cannot tell of one with TLS that is closing, and aborts it in time by itself.
    closing_tls = transport.is_closing() and transport.get_extra_info('sslcontext') is not None
    return not closing_tls and transport.get_write_buffer_size() > 0


class WireRequest:
    """A request, the connection that it is sent on, and the response on it.

    ``release``, ``close`` and ``stop`` are those of the connection, for a ``FromConnection``.

    Args:
        method: Of the request.
        head: Its bytes.
        body: Bytes, or what sends another body; None if there is none.
        switches: Whether the request asks for an upgrade. After a 101, the response has no body,
            and the caller has to close the request.
        cookies: Keeps the cookies of the response; None keeps none.

    Attributes:
        connection: aiohttp's connection.
        protocol: aiohttp's protocol of the connection.
        is_sending: Whether a task sends the body, or did.
    """

    connection: Any
    protocol: Any
    is_sending: bool = False
    _received: ResponseProtocol
    _failure: Exception | None = None  # what ended the sending, unless the peer did
    _content: aiohttp.StreamReader | None = None  # of the response body, after the head
    _task: asyncio.Task[None] | None = None  # that sends the body, or waits until it is sent
    _sent = True  # the body was handed to the transport completely, and without a rest
    _is_partial = False  # the transport holds a rest of a body of bytes
    _is_streamed = False  # the reader of the response body has its own timeouts
    _timer: asyncio.TimerHandle | None = None  # of the write timeout

    def __init__(
        self,
        method: str,
        head: bytes,
        body: bytes | BodyDelivery | None = None,
        *,
        switches: bool = False,
        cookies: CookieStore | None = None,
    ) -> None:
        self._method, self._head, self._body = method, head, body
        self._switches, self._cookies = switches, cookies
        # In which the peer must take some more of the body; None is no limit.
        self._seconds = body.seconds if isinstance(body, BodyDelivery) else None

    async def ask(
        self,
        session: aiohttp.ClientSession,
        target: yarl.URL,
        arguments: dict[str, Any],
        limit: int | None,
        options: ReadOptions | None = None,
    ) -> ReceivedResponse:
        """Send the request, and read the response, or its head.

        Args:
            session: Its connector is a ``Pool``.
            target: The URL.
            arguments: ``timeout``, ``max_field_size``, and optionally ``ssl`` and
                ``server_hostname``.
            limit: Bytes of a body that is read whole, decoded; ``None`` is no limit.
            options: For a body that is read as a stream; ``None`` reads it whole.

        Raises:
            ConnectionTimeoutError: The connect timeout has passed.
            ConnectError: The peer refused the TLS handshake.
            LostConnection: The connection ended before the response.
            BodyFailed: Reading the source of the body raised an exception.
            TimedOut: The peer took nothing more of the body in time.
        """
        pool: Any = session.connector
        origin = _pool_key(target, arguments.get('ssl', True), arguments.get('server_hostname'))
        self.connection, received = await pool.acquire(origin, [], arguments['timeout'])
        self.protocol, self._received = received.protocol, received
        received.begin(self._method)
        try:
            try:
                self._send(arguments['timeout'].sock_read, arguments['max_field_size'])
                head, content = await final_head(self.protocol, switches=self._switches)
            except (aiohttp.ClientOSError, aiohttp.ServerDisconnectedError) as error:
                if is_refused_handshake(error) and not received.reused:
                    raise ConnectError(reason_of(error)) from error
                raise LostConnection(self._method, error, reused=received.reused) from error
            self._content = content
            if self._failure is not None:
                raise self._failure
            if received.head_size > arguments['max_field_size']:
                check_head(head.raw_headers, arguments['max_field_size'])
            headers = Headers(head.headers)
            if self._cookies is not None and 'Set-Cookie' in headers:
                self._cookies.keep(headers.getall('Set-Cookie'), target)
            data: bytes | DecodedBody = b''
            if head.code == 101:
                received.expect(None)  # the heartbeat takes over
            elif options:
                self._is_streamed = True
                data = self._open_body(options, headers, content)
            else:
                # A peer that refuses the body sends an error page and resets the connection.
                strict = head.code < 300 or self._is_sent()
                data = await read_response_body(content, headers, received, limit, strict=strict)
                self.release()
                if self.is_sending:
                    await self.stop()
        except BaseException as error:
            self.close()
            await self.stop()
            if self._failure not in (None, error) and isinstance(error, Exception):
                raise self._failure from error
            raise
        return ReceivedResponse(head.code, head.reason, head.version, headers, data, received.peer)

    def _open_body(
        self, options: ReadOptions, headers: Headers, content: aiohttp.StreamReader
    ) -> bytes | DecodedBody:
        """Return a response body as a stream; for a proxy as bytes, if all of it has arrived."""
        if options.early and not self.is_sending and 'Content-Length' in headers:
            self._received.watch(content, headers)
            if (data := arrived_body(content, options.limit)) is not None:
                self.release()
                return data
        return DecodedBody(headers, FromConnection(headers, content, self._received, self), options)

    @property
    def upgraded(self) -> bool:
        """Whether the peer has switched protocols after its 101; it may have left since."""
        return bool(self.protocol.upgraded)

    @property
    def has_switched(self) -> bool:
        """Whether the peer has switched protocols after its 101, and is still connected."""
        return self.connection.transport is not None and self.upgraded

    def _send(self, seconds: float | None, longest: int) -> None:
        """Write the head and a body of bytes, or begin to write another body.

        Args:
            seconds: To wait for data of the response, once the body is sent; None is no limit.
            longest: Bytes of a line of the response head.
        """
        protocol, body, transport = self.protocol, self._body, self.connection.transport
        protocol.set_response_params(
            skip_payload=self._method == 'HEAD',
            read_until_eof=True,
            auto_decompress=False,
            max_line_size=longest,
            max_field_size=longest,
        )
        if isinstance(body, BodyDelivery):
            self._sent = False
            self._received.keep_last_bytes()
            if self._seconds:  # the mark of TLS is 512 KiB by default, and hides progress
                transport.set_write_buffer_limits(high=WAITING)
            transport.write(self._head)
            self._start(self._deliver(body, seconds))
        elif body and len(body) > SHORT:
            self._send_long(transport, body, seconds)
        else:
            transport.write(self._head + body if body else self._head)
            if seconds is not None:
                self._start_timeout(seconds)

    def _send_long(self, transport: Any, body: bytes, seconds: float | None) -> None:
        if len(body) <= JOINED:
            transport.write(self._head + body)
        else:
            transport.write(self._head)
            transport.write(body)
        if transport.get_write_buffer_size():
            self._sent, self._is_partial = False, True
            self._received.keep_last_bytes()
        if seconds and self.protocol.writing_paused:
            self._start(self._flush(seconds))
        else:
            self._start_timeout(seconds)

    def _start(self, sending: Any) -> None:
        self.is_sending = True
        self._task = asyncio.get_running_loop().create_task(sending, name='request body')

    def _start_timeout(self, seconds: float | None) -> None:
        if seconds is not None and not self._is_streamed:
            self._received.expect(seconds)

    async def _flush(self, seconds: float | None) -> None:
        if await self._drain():
            self._start_timeout(seconds)

    async def _deliver(self, body: BodyDelivery, seconds: float | None) -> None:
        chunked = body.size is None

        async def write(data: bytes) -> bool:
            if not data:  # an empty chunk would end the body
                return True
            return await self._write(b'%x\r\n%b\r\n' % (len(data), data) if chunked else data)

        try:
            if await body.send(write) and (not chunked or await self._write(b'0\r\n\r\n')):
                self._sent = True
                if self._seconds and (transport := self.protocol.transport) is not None:
                    transport.set_write_buffer_limits(high=0)  # drain waits for the last byte
                await self._flush(seconds)
        except BodyFailed as failed:
            self._fail(failed)
        finally:
            await body.source.end()

    async def _write(self, data: bytes) -> bool:
        """Write data; return False if the peer reads no more: its response says why."""
        taken = True
        # Within one write, asyncio's TLS transport shows no progress.
        for piece in slices(data, WRITE) if self._seconds else (data,):
            transport = self.protocol.transport
            if transport is None or transport.is_closing():
                self._abort()
                return False
            transport.write(piece)
            taken = not self.protocol.writing_paused or await self._drain()
        return taken

    async def _drain(self) -> bool:
        """Wait until the peer has taken enough; return False if it reads no more, or too late."""
        if self._seconds and (transport := self.protocol.transport) is not None:
            self._start_write_timer(transport, self._seconds)
        try:
            await StreamWriter(self.protocol, asyncio.get_running_loop()).drain()
        except (aiohttp.ClientError, OSError):
            return False
        finally:
            if self._timer is not None:
                self._timer.cancel()
        return self._failure is None

    def _start_write_timer(self, transport: asyncio.Transport, seconds: float) -> None:
        """Fail if the peer takes nothing of what is buffered for some seconds."""
        unsent = transport.get_write_buffer_size()

        def check_progress() -> None:
            if unsent > transport.get_write_buffer_size():
                self._start_write_timer(transport, seconds)
            else:
                self._fail(write_timed_out(seconds))

        self._timer = asyncio.get_running_loop().call_later(seconds, check_progress)

    def _abort(self) -> None:
        """Abort a connection: closing it would wait for the peer to read what is buffered."""
        if (transport := self.protocol.transport) is not None:
            transport.abort()

    def _fail(self, error: Exception) -> None:
        """Raise an exception where the response is waited for or read, and close the connection."""
        self._failure = error
        self.protocol.set_exception(error)
        if self._content is not None:
            self._content.set_exception(error)
        self._close_connection()

    def _is_sent(self) -> bool:
        """Tell whether the peer may have all of the body."""
        transport = self.connection.transport
        if transport is None or transport.is_closing():
            return self._sent
        return (self._sent or self._is_partial) and not transport.get_write_buffer_size()

    def release(self) -> None:
        """Give the connection back to the pool; close it if the request body is not sent whole."""
        if self._is_sent():
            self.connection.release()
        else:
            self.close()

    def close(self) -> None:
        """Stop sending, and close the connection."""
        if self._task is not None:
            self._task.cancel()
        self._close_connection()

    def _close_connection(self) -> None:
        transport: asyncio.Transport | None = self.connection.transport
        stuck = transport if transport is not None and _has_rest(transport) else None
        self.connection.close()
        if stuck is not None:
            stuck.abort()  # closing would wait for the peer to read

    async def stop(self) -> None:
        """Stop sending, and wait until the task has ended."""
        if self._task is None:
            return
        if not self._task.done():
            self._task.cancel()
            await asyncio.wait([self._task])
        if isinstance(self._body, BodyDelivery):
            await self._body.source.end()
