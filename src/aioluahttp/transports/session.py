"""Send requests by ``ClientSession.request``, with what aiohttp documents alone.

For HTTP proxies, for traced or patched sessions, and for a session that the user made. What
``wire`` does better is aiohttp's here: interim responses are skipped without a limit, and a peer
that resets the connection behind an early response may cost that response. A session of the user's
may also repeat an idempotent request and decode the body; one of ours does not (``send_once``).
"""

from __future__ import annotations

import asyncio
from typing import Any, Never

import aiohttp
import yarl

from ..bodies.chunks import slices
from ..bodies.codings import DECODED_BY_AIOHTTP
from ..errors import ConnectError, ProtocolError, TableError, TimedOut
from ..headers import Headers, is_secret
from ..tables.models import Request
from .encode import CookieStore
from .failures import BodyFailed, LostConnection, is_refused_handshake, reason_of
from .protocol import ResponseProtocol
from .request_body import WRITE, BodyDelivery, write_timed_out
from .response_body import (
    DecodedBody,
    FromConnection,
    HttpProcessingError,
    InMemory,
    ReadOptions,
    ReceivedResponse,
    ResponseSource,
    check_end,
    is_self_delimited,
)
from .wire import check_head, note_connections, noted_connection

__all__ = [
    'CachedBody',
    'SessionPayload',
    'check_headers',
    'open_by_session',
    'send_by_session',
    'send_once',
]

# What a connector may raise though it has reached a peer, or has waited too long. In a tunnel
# through a proxy, nothing has reached the origin then.
NO_CONNECT_ERRORS = (
    TimeoutError,
    LostConnection,
    ProtocolError,
    aiohttp.ClientResponseError,
    aiohttp.ServerDisconnectedError,
)
STATUSES_NEVER_CODED = frozenset({204, 304})  # statuses of a response without a body


async def send_once(request: Any, handler: aiohttp.ClientHandlerType) -> Any:
    """Keep aiohttp from repeating a request, for ``network`` does. An aiohttp client middleware."""
    try:
        return await handler(request)
    except aiohttp.ClientConnectorError:
        raise
    except (aiohttp.ClientOSError, aiohttp.ServerDisconnectedError) as error:
        info = noted_connection()
        reused = info is not None and info.reused
        raise LostConnection(request.method, error, reused=reused) from error


async def send_by_session(
    session: aiohttp.ClientSession,
    method: str,
    target: yarl.URL,
    arguments: dict[str, Any],
    options: ReadOptions,
    *,
    streamed: bool,
    cookies: CookieStore | None = None,
) -> ReceivedResponse:
    """Send a request by ``session.request``, and read the response.

    Args:
        session: Ours or the user's.
        method: Of the request.
        target: The URL.
        arguments: Further arguments of aiohttp's: ``headers``, ``data``, ``timeout`` and the like.
        options: How the body is read.
        streamed: Whether the body is returned as a stream, and not as bytes.
        cookies: Keeps the cookies of the response; None leaves that to the session.

    Raises:
        ConnectError: No connection was made; nothing was sent.
        BodyFailed: Reading the source of the body raised an exception.
    """
    payload = None
    if isinstance(arguments.get('data'), BodyDelivery):
        payload = SessionPayload(arguments['data'])
        arguments = arguments | {'data': payload}
    with note_connections():
        response = await open_by_session(session, method, target, arguments, cookies)
        info = noted_connection()
    try:
        if response.status < 200:
            what = f'the peer sent status {response.status}, which no request asked for'
            raise ProtocolError(what)
        if longest := arguments.get('max_field_size'):
            check_head(response.raw_headers, longest)
        headers = Headers(response.headers)
        decoded = session.auto_decompress and _has_coding(response, headers)
        source: ResponseSource
        if response.connection is None:  # the body has arrived, or a middleware or cache has it
            ended = info if info and response.content is not aiohttp.EMPTY_PAYLOAD else None
            if info and isinstance(response.content, aiohttp.StreamReader):
                info.watch(response.content, headers)
            source = CachedBody(await response.read(), headers, ended, payload)
        else:
            info = info or ResponseProtocol.after_head(response.connection)
            source = SessionBody(headers, response, info, payload)
    except BaseException:
        response.close()
        await _stop(payload)
        raise
    if decoded:
        headers.popall('Content-Encoding')
        headers.popall('Content-Length', None)
    if payload:
        payload.bind(source)
    body = DecodedBody(headers, source, options)
    received: Any = body if streamed else b''.join([chunk async for chunk in body])
    peer = info.peer if info else None
    return ReceivedResponse(
        response.status, response.reason, response.version, headers, received, peer
    )


async def open_by_session(
    session: aiohttp.ClientSession,
    method: str,
    target: yarl.URL,
    arguments: dict[str, Any],
    cookies: CookieStore | None,
) -> Any:
    """Send a request by ``session.request``, and return aiohttp's response after its head.

    The arguments are those of ``send_by_session``.

    Raises:
        ConnectError: No connection was made; nothing was sent.
        BodyFailed: Reading the source of the body raised an exception.
    """
    payload = arguments.get('data')
    payload = payload if isinstance(payload, SessionPayload) else None
    tracker = aiohttp.UploadTracker()
    options: dict[str, Any] = {
        'allow_redirects': False,
        'raise_for_status': False,
        'upload_tracker': tracker,
    }
    try:
        response = await session.request(method, target, **options, **arguments)
        if cookies is not None and 'Set-Cookie' in response.headers:
            cookies.keep(response.headers.getall('Set-Cookie'), target)
        return response
    except BaseException as error:
        await _stop(payload)
        if not isinstance(error, Exception):
            raise
        failed = error
    if payload and payload.failure:  # outside of the except block, for the sake of __context__
        raise payload.failure from failed
    proxy = arguments.get('proxy')
    tunnels = proxy is not None and target.scheme == 'https'
    begun = payload is not None and payload.is_begun
    if not begun and _is_connecting(failed, tracker, tunnels=tunnels):
        raise ConnectError(_connect_failure(failed, proxy)) from failed
    info = noted_connection()
    if is_refused_handshake(failed) and not (info and info.reused):
        raise ConnectError(reason_of(failed)) from failed
    _raise_failure(failed, tracker)


def _is_connecting(error: Exception, tracker: aiohttp.UploadTracker, *, tunnels: bool) -> bool:
    """Tell whether a connector raised an exception, of any kind, before anything was sent.

    aiohttp tells its tracker of an attempt before it connects. Once the head is written, it writes
    the body, or tells the tracker that an absent one is complete.

    Args:
        error: The exception.
        tracker: Of the request.
        tunnels: Whether the request is sent in a tunnel through a proxy. The session of a user may
            then have tried to connect twice, if the method is idempotent.
    """
    return (
        (tracker.attempts == 1 or (tunnels and not isinstance(error, aiohttp.ClientConnectorError)))
        and noted_connection() is None
        and tracker.upload_complete.done()
        and isinstance(tracker.upload_complete.exception(), aiohttp.UploadAbortedError)
        and not tracker.bytes_written
        and (tunnels or not isinstance(error, NO_CONNECT_ERRORS))
    )


def _connect_failure(error: Exception, proxy: str | None) -> str:
    """Say why no connection was made; ``proxy`` is the URL of a proxy, without its login."""
    if isinstance(error, aiohttp.ClientHttpProxyError):
        reason = f'it responded with status {error.status} {error.message}'
    else:
        cause = error.__cause__
        reason = reason_of(cause if isinstance(cause, HttpProcessingError) else error)
    if not isinstance(error, (aiohttp.ClientError, OSError)):  # such as ProxyError, for SOCKS
        reason = f'{type(error).__name__}: {reason}'
    return reason if proxy is None else f'no connection through the proxy {proxy}: {reason}'


def _raise_failure(error: Exception, tracker: aiohttp.UploadTracker) -> Never:
    if isinstance(error, aiohttp.ClientConnectorError) and tracker.attempts > 1:
        what = f'{reason_of(error)}, after a request had been sent'
        raise ProtocolError(what) from error
    if isinstance(error.__cause__, HttpProcessingError):
        raise error.__cause__  # aiohttp's ClientResponseError around it cannot be pickled
    raise error


async def _stop(payload: SessionPayload | None) -> None:
    if payload:
        await payload.stop()


def check_headers(headers: Any, request: Request) -> None:
    """Refuse a request to which aiohttp would add a secret of the session's headers, or its Host.

    The client leaves secrets out of a request to another origin; aiohttp would put them back.

    Raises:
        TableError: The session has such a header, and the request does not.
    """
    for name in headers:
        if name not in request['headers'] and (is_secret(name) or name.lower() == 'host'):
            where = '{scheme}://{host}:{port}'.format_map(request)
            right = f'a default of the Client: aiohttp would send it to {where}, too'
            raise TableError.of(f'session.headers[{name}]', headers[name], right, secret=True)


def _has_coding(response: Any, headers: Headers) -> bool:
    """Tell whether a response has a body in a content coding that aiohttp decodes."""
    bodiless = response.method == 'HEAD' or response.status in STATUSES_NEVER_CODED
    return not bodiless and headers.get('Content-Encoding', '').lower() in DECODED_BY_AIOHTTP


class SessionBody(FromConnection):
    """A body that is read from a connection of aiohttp's session; a ``ResponseSource``."""

    def __init__(
        self,
        headers: Headers,
        response: Any,
        info: ResponseProtocol,
        payload: SessionPayload | None,
    ) -> None:
        super().__init__(headers, response.content, info, response)
        self._payload = payload
        self._status: int = response.status

    def rest(self, limit: int | None) -> bytes | None:
        """Return None: what sends the request body is aiohttp's, and may not have ended."""
        return None

    def finish(self) -> None:
        """Raise an error if a body that ends with its connection was cut off."""
        # A peer that refuses the body sends an error page and resets the connection.
        if self._payload is None or self._payload.is_done or self._status < 300:
            super().finish()

    async def stop(self) -> None:
        """Stop sending the request body, and wait until that is done."""
        await _stop(self._payload)


class CachedBody(InMemory):
    """A body that aiohttp has read, or a middleware or a cache; a ``ResponseSource``."""

    def __init__(
        self,
        data: bytes,
        headers: Headers,
        info: ResponseProtocol | None,
        payload: SessionPayload | None,
    ) -> None:
        super().__init__(data, is_empty=not data)
        # Asked before a decoded body takes Content-Length out of the headers.
        self._is_self_delimited = is_self_delimited(headers)
        self._info, self._payload = info, payload

    def finish(self) -> None:
        """Raise an error if a body that ended with its connection was cut off."""
        if self._info and not self._is_self_delimited:
            check_end(self._info)

    async def stop(self) -> None:
        """Stop sending the request body, and wait until that is done."""
        await _stop(self._payload)


class SessionPayload(aiohttp.Payload):
    """A request body as an aiohttp payload, which aiohttp may send more than once.

    Attributes:
        failure: What failed on our side, or the error for a write timeout; None if nothing did.
        is_begun: Whether aiohttp has begun to write the body.
        is_done: Whether it has written all of it.
    """

    def __init__(self, delivery: BodyDelivery) -> None:
        super().__init__(delivery)
        self._delivery = delivery
        self._lock = asyncio.Lock()  # the attempt before may still read a file in a thread
        self._task: asyncio.Task[Any] | None = None  # aiohttp's, which writes the body
        self._source: ResponseSource | None = None
        self.failure: BodyFailed | TimedOut | None = None
        self.is_begun: bool = False
        self.is_done: bool = False

    @property
    def autoclose(self) -> bool:
        """True: aiohttp has nothing to close. An attribute of aiohttp's payloads."""
        return True

    @property
    def size(self) -> int | None:
        """The length in bytes; None if it is unknown. An attribute of aiohttp's payloads."""
        return self._delivery.size

    def decode(self, encoding: str = 'utf-8', errors: str = 'strict') -> Never:
        """Raise a TypeError. A method of aiohttp's payloads."""
        raise TypeError('a body that is sent in parts cannot be decoded to text')

    async def write(self, writer: Any) -> None:
        """Write the body; what its source raises ends the request."""
        async with self._lock:
            self._task = asyncio.current_task()

            async def write(data: bytes) -> bool:
                try:
                    await self._write_to(writer, data)
                except OSError as error:
                    gone.append(error)
                return not gone

            gone: list[OSError] = []
            try:
                await self._begin()
                await self._delivery.send(write)
            except BodyFailed as failed:
                self._fail(failed)
                raise
            if gone and isinstance(gone[0], TimedOut):
                self._fail(gone[0])
                raise BodyFailed(gone[0])
            if gone:
                raise gone[0]
            self.is_done = True

    async def _write_to(self, writer: Any, data: bytes) -> None:
        seconds = self._delivery.seconds
        for piece in slices(data, WRITE) if seconds else (data,):
            try:
                async with asyncio.timeout(seconds):
                    await writer.write(piece)
            except TimeoutError as error:
                raise write_timed_out(seconds) from error

    def _fail(self, error: BodyFailed | TimedOut) -> None:
        self.failure = error
        if self._source:
            self._source.close(error)

    async def _begin(self) -> None:
        source = self._delivery.source
        if self.failure:
            raise self.failure
        if source.is_spent:
            what = 'the request had to be sent again, but its body can be sent only once'
            raise BodyFailed(ProtocolError(what))
        if self.is_begun:
            await source.end()
            await source.open()
        self.is_begun = True

    def bind(self, source: ResponseSource) -> None:
        """Make a failure of the request body end the response body, too."""
        self._source = source
        if self.failure:
            source.close(self.failure)

    async def stop(self) -> None:
        """Stop sending, and wait until that is done."""
        if self._task and not self._task.done():
            self._task.cancel()
            await asyncio.wait([self._task])
        await self._delivery.source.end()
