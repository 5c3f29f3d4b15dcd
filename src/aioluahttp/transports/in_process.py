"""Send requests to a handler in this process: ``Client(via=handler)``.

The handler and the client get what they would get over a connection. Bodies are passed on in parts,
each when it is read.
"""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator, Awaitable, Callable, Mapping
from contextlib import aclosing
from functools import partial
from typing import Any
from weakref import WeakSet

import yarl

from ..bodies.chunks import Chunks
from ..bodies.codings import decode_body
from ..errors import BodyTooLarge, ConnectError, ProtocolError, Refused, TimedOut
from ..exchange.forwarded import ClientInfo
from ..exchange.head import has_body, to_head
from ..exchange.options import EXCHANGE_OPTIONS, check_exchange_options, to_settings
from ..exchange.request_body import (
    BodyParts,
    RequestChunks,
    decoder_of,
    open_request_stream,
    read_whole,
)
from ..exchange.responder import Responder, status_page
from ..exchange.response import FilePieces, ReadyResponse, to_ready
from ..headers import Headers
from ..semantics import METHODS_WITHOUT_BODY, PHRASES, is_silent
from ..tables.checks import STREAMS
from ..tables.conversion import to_response
from ..tables.handlers import close_body, take_response
from ..tables.models import Handler, Request, Response, describe_request
from ..websockets.handshake import (
    check_handshake,
    max_message,
    read_agreement,
    request_fields,
    response_fields,
    to_pairs,
    without_handshake,
)
from ..websockets.memory import MemoryPeer, peer_pair
from ..websockets.socket import Socket, close_callback, run_socket_callback
from .encode import (
    MAX_BODY,
    CookieStore,
    add_cookies,
    arguments_of,
    body_of,
    read_options_of,
    response_of,
    target_of,
    try_with_source,
    with_bytes_source,
)
from .failures import BodyFailed, translate
from .into import PAGES, needs_stream
from .request_body import BodyDelivery
from .response_body import DecodedBody, InMemory, ReceivedResponse
from .websocket import Dialed

__all__ = ['InProcess', 'ResponseBody', 'SentBody']


IP = '127.0.0.1'  # of both sides
GRACE = 10.0  # seconds for a WebSocket callback to end once its client is closed
ROUTE = frozenset({'proxy', 'tls', 'unix'})  # keys for a connection, which are ignored


class SentBody(BodyParts):
    """A request body, as the handler reads it: an asynchronous iterator of bytes.

    Args:
        data: The ``data`` that aiohttp would get.

    Attributes:
        failure: What reading the source raised, and the client raises; None if nothing did.
    """

    def __init__(self, data: bytes | BodyDelivery | None) -> None:
        self._data = data
        self._chunks = self._start(data) if isinstance(data, BodyDelivery) else None
        self._sent = 0
        self.failure: BodyFailed | None = None

    def _start(self, delivery: BodyDelivery) -> Chunks:
        """Make the iterator of the body, which ``aclose`` then closes though nobody reads it."""
        try:
            return delivery.chunks()
        except Exception as error:
            raise BodyFailed(error) from error

    def frame(self, method: str, headers: Headers) -> None:
        """Add Content-Length or Transfer-Encoding to the headers (RFC 9112 6)."""
        data = self._data
        length = data.size if isinstance(data, BodyDelivery) else len(data or b'')
        if length is None:
            headers['Transfer-Encoding'] = 'chunked'
        elif data is not None or method not in METHODS_WITHOUT_BODY:
            headers['Content-Length'] = str(length)

    def __aiter__(self) -> AsyncIterator[bytes]:
        return self

    def rest(self) -> bytes | None:
        """Return a body of bytes; ``None`` for one that is drawn from an iterator."""
        data = self._data
        if isinstance(data, BodyDelivery):
            return None
        self._data = None
        return data or b''

    async def __anext__(self) -> bytes:
        data = self._data
        if isinstance(data, BodyDelivery):
            assert self._chunks is not None
            data = await self._next_chunk(data, self._chunks)
        else:
            self._data = None
        if not data:
            raise StopAsyncIteration
        return data

    async def _next_chunk(self, delivery: BodyDelivery, chunks: Chunks) -> bytes | None:
        try:
            while (data := await anext(chunks, None)) == b'':
                pass
            if data:
                self._sent += len(data)
                delivery.tell(self._sent)
        except Exception as error:
            self.failure = BodyFailed(error)
            raise ProtocolError('the request body was cut off') from error
        return data

    async def aclose(self) -> None:
        """Close the body and its source."""
        if self._chunks is not None:
            await self._chunks.aclose()
        if isinstance(self._data, BodyDelivery):
            await self._data.source.end()


class ResponseBody:
    """A response body, as the client reads it; a ``ResponseSource``.

    One task reads all parts of the handler's iterator, each when the client wants it, and closes
    it: an iterator may hold an ``asyncio.timeout`` around its parts, which belongs to one task.

    Args:
        parts: The body that the handler returned.
        sent: The request body, which the handler may read until the response body ends.
        on_error: Called with what the iterator raises after its first part.
    """

    is_empty = is_pending = False

    def __init__(
        self,
        parts: Chunks | FilePieces,
        sent: SentBody,
        on_error: Callable[[Exception], Awaitable[None]],
    ) -> None:
        self._parts, self._sent, self._on_error = parts, sent, on_error
        # A part, an exception that was raised in its place, or None at the end.
        self._queue: asyncio.Queue[bytes | Exception | None] = asyncio.Queue()
        self._taken = False  # a part was taken: the next read lets the task go on
        self._next: bytes | None = b''
        self._reading = self._ended = self._stopped = False
        self._closed: Exception | None = None
        self._task = asyncio.create_task(self._produce(), name='response body')

    async def _produce(self) -> None:
        gave = False
        try:
            async with aclosing(self._parts):
                async for part in self._parts:
                    if self._closed:
                        break
                    gave = True
                    self._queue.put_nowait(part)
                    await self._queue.join()
                gave = True
                self._queue.put_nowait(None)
        except Exception as error:
            self._queue.put_nowait(error)
            if gave and not isinstance(error.__cause__, Refused):  # a Refused is the sender's fault
                await self._on_error(error)
        finally:
            self._queue.put_nowait(None)

    async def _next_part(self) -> bytes | None:
        if self._taken:
            self._queue.task_done()
        self._taken = False
        part = await self._queue.get()
        self._taken = True
        if isinstance(part, Exception):
            raise part
        return part

    async def begin(self) -> None:
        """Wait for the first part; an exception before it can still become another response."""
        try:
            self._next = await self._next_part()
        except asyncio.CancelledError:
            await self._end()
            raise

    async def read(self, seconds: float | None) -> bytes:
        """Wait for the next part, for ``seconds`` at most; return empty bytes at the end."""
        self._check()
        if self._reading:
            raise RuntimeError('another task is reading this body')
        self._reading, deadline = True, asyncio.timeout(seconds)
        try:
            async with deadline:
                while self._next == b'':
                    self._next = await self._next_part()
        except Exception as error:
            if deadline.expired():
                raise TimedOut(f'no more of the body arrived within {seconds} s') from error
            self._check()
            raise ProtocolError('the handler failed while it sent its response') from error
        finally:
            self._reading = False
        self._check()
        self._ended = self._next is None
        data, self._next = self._next, self._next and b''
        return data or b''

    def _check(self) -> None:
        if self._closed:
            raise self._closed
        if self._sent.failure:  # even if the handler ignores it
            raise self._sent.failure

    def finish(self) -> None:
        """Treat the end as a complete body: an incomplete one raises in ``read``."""

    def release(self) -> None:
        """Do nothing: there is no connection."""

    def close(self, error: Exception) -> None:
        """Make a waiting read and all later ones raise ``error``, and cancel the handler's task."""
        self._closed = error
        self._queue.put_nowait(None)
        self._task.cancel()

    async def stop(self) -> None:
        """Close the iterators of the response body and of the request body."""
        if self._stopped:
            return
        self._stopped = True
        try:
            await self._end()
        finally:
            await self._sent.aclose()

    async def _end(self) -> None:
        if not self._ended:
            self._closed = self._closed or ProtocolError('the body is closed')
            self._task.cancel()
        if self._task is not asyncio.current_task():
            await asyncio.wait([self._task])


class InProcess(Responder):
    """A transport that calls a handler, with the methods of ``NetworkTransport``.

    The handler runs in the task of the caller, so that a cancellation or a timeout ends it. A
    streamed response body, and the callback of a WebSocket, have a task of their own.

    Args:
        handler: It may have ``into`` and ``max_body`` as attributes.
        cookies: Of the client; None keeps and sends none.
    """

    sockname = None

    def __init__(self, handler: Handler, cookies: CookieStore | None) -> None:
        super().__init__(
            handler, to_settings(check_exchange_options(handler, {}, EXCHANGE_OPTIONS), None)
        )
        self._cookies = cookies
        self._bodies: WeakSet[DecodedBody] = WeakSet()
        self._websocket_tasks: set[asyncio.Task[None]] = set()
        self._closed = False

    async def close(self) -> None:
        """Close all streamed bodies; cancel WebSocket callbacks that do not end within 10 s."""
        self._closed = True
        for body in list(self._bodies):
            body.close('the client was closed')
            await body.aclose()
        if tasks := self._websocket_tasks.copy():
            await asyncio.wait(tasks, timeout=GRACE)
        for task in tasks:
            task.cancel()
        await asyncio.gather(*tasks, return_exceptions=True)

    async def send(self, request: Request, *, sent: bool = False) -> Response[Any]:
        """Call the handler with a request in normal form; follow no redirect.

        What the handler raises is logged, and becomes a response with status 500.

        Raises:
            Error: As ``NetworkTransport.send`` does.
        """
        self._check_open()
        request = with_bytes_source(request)
        try:
            return await try_with_source(self._exchange, request)
        except BodyFailed as failed:
            failure = failed.error
        except Exception as error:
            if ours := translate(error, request, sent=sent):
                raise ours from error
            raise
        raise failure  # outside of the except block, which would change its __context__

    def _check_open(self) -> None:
        if self._closed:
            raise ConnectError('the client is closed')

    async def _exchange(self, request: Request) -> Response[Any]:
        target, arguments = self._to_wire(request)
        sent = SentBody(arguments.get('data'))
        sent.frame(request['method'], arguments['headers'])
        source = None
        try:
            out, source = await self._ask_handler(request, arguments['headers'], sent)
            if sent.failure is not None:
                raise sent.failure
            response = await self._received_response(request, target, out, source)
        except BaseException:
            await (source.stop() if source else sent.aclose())
            raise
        if source is None:
            await sent.aclose()
        return response

    def _to_wire(self, request: Request) -> tuple[yarl.URL, dict[str, Any]]:
        """Make the URL and aiohttp's arguments of a request, as for the network."""
        if not ROUTE.isdisjoint(request):
            request = Request({key: one for key, one in request.items() if key not in ROUTE})
        target = target_of(request['scheme'], request['host'], request['port'], request['url'])
        arguments = arguments_of(request, target)
        add_cookies(arguments['headers'], self._cookies, target)
        return target, arguments

    def _head(self, request: Request, headers: Headers) -> Request:
        return to_head(
            request['method'],
            request['url'],
            '1.1',
            headers,
            ClientInfo(IP),
            request['scheme'],
            self,
        )

    def has_body(self, source: Any, request: Request) -> bool:
        """Tell whether the request has a body."""
        return has_body(request)

    async def read_body(
        self, source: SentBody, request: Request, into: str, limit: int | None
    ) -> None:
        """Read a request body into its table, or put a stream there."""
        if into in STREAMS:
            open_request_stream(
                RequestChunks(source, decoder_of(into, request['headers'], limit)), request
            )
        else:
            await read_whole(source, request, into, limit)

    async def _ask_handler(
        self, request: Request, headers: Headers, sent: SentBody
    ) -> tuple[ReadyResponse, ResponseBody | None]:
        """Call the handler, and wait for the first part of its response body.

        Returns:
            The response; the source of its body, None if the body is in memory.
        """
        method = request['method']
        try:
            table = self._head(request, headers)
        except Refused as refused:
            return await to_ready(method, headers, status_page(refused.status)), None
        on_error = partial(self.report_error, method=method, target=table['url'], request=table)
        try:
            response = await self._without_websocket(
                table, await take_response(await self.call_handler(sent, table))
            )
            out = await to_ready(method, headers, response)
            if isinstance(out.body, bytes):
                return out, None
            source = ResponseBody(out.body, sent, on_error)
            await source.begin()
        except Exception as error:
            response = await self.error_response(error, method, table['url'], table)
            return await to_ready(method, headers, response), None
        return out, source

    async def _without_websocket(self, table: Request, response: Response[Any]) -> Response[Any]:
        """Replace a WebSocket that the request did not ask for by a response that declines it."""
        if 'websocket' not in response:
            return response
        options = response['websocket']
        await close_callback(options['callback'])
        status, fields = check_handshake(options, table, upgrades=False) or (426, ())
        return to_response({'status': status, 'headers': to_pairs(fields), 'body': PHRASES[status]})

    async def _received_response(
        self, request: Request, target: yarl.URL, out: ReadyResponse, source: ResponseBody | None
    ) -> Response[Any]:
        status, reason, headers = out.head()
        if out.length is not None:
            headers['Content-Length'] = str(out.length)
        self._keep_cookies(headers, target)
        limit = request.get('max_body', MAX_BODY)
        data: bytes | DecodedBody
        if isinstance(out.body, bytes) and not needs_stream(request):
            data = await _decode_whole(out.body, headers, limit)
        else:
            silent = is_silent(request['method'], status)
            data = DecodedBody(
                headers,
                source or InMemory(out.body, is_empty=silent),
                read_options_of(request, limit),
            )
            self._bodies.add(data)
            if 'on_progress' in request and status < PAGES:
                data.watch(request['on_progress'], 0 if 'body' in request else None)
        phrase = PHRASES.get(status) if reason is None else reason
        received = ReceivedResponse(status, phrase, (1, 1), headers, data, IP)
        return response_of(received, body_of(request, received), str(target), request['method'])

    def _keep_cookies(self, headers: Headers, target: yarl.URL) -> None:
        if self._cookies is not None and 'Set-Cookie' in headers:
            self._cookies.keep(headers.getall('Set-Cookie'), target)

    async def dial(self, request: Request, options: Mapping[str, Any]) -> Dialed:
        """Open a WebSocket.

        Raises:
            Error: As ``NetworkTransport.dial`` does.
        """
        self._check_open()
        target, arguments = self._to_wire(request)
        handshake, headers = request_fields(options), arguments['headers']
        headers.update(handshake)
        table: Request = request  # for ``failed``, if a server would refuse the head
        try:
            table = self._head(request, headers)
            response = await take_response(await self.call_handler(SentBody(None), table))
        except Exception as error:
            response = await self.error_response(error, 'GET', request['url'], table)
        status, fields = response['status'], response['headers']
        if 'websocket' in response:
            status, fields = await self._accept(table, response)
        else:
            await close_body(response)
        self._keep_cookies(fields, target)
        try:
            agreement = read_agreement(options, handshake, status, fields)
        except ProtocolError as error:
            raise ProtocolError(f'{describe_request(request)}: {error}') from error
        near, far = peer_pair(agreement.max_message, max_message(response['websocket']))
        self._start_callback(
            response['websocket']['callback'], far, agreement.protocol, table, response
        )
        result = {'status': status, 'reason': PHRASES[status], 'headers': fields, 'body': ''}
        socket = Socket(near, agreement.protocol, request, Response({**result, 'url': str(target)}))
        return near, socket, lambda: None

    async def _accept(self, table: Request, response: Response[Any]) -> tuple[int, Headers]:
        """Accept a WebSocket or decline it; return the status and headers of the response."""
        options = response['websocket']
        if refused := check_handshake(options, table, upgrades=True):
            await close_callback(options['callback'])
            return refused[0], Headers(to_pairs(refused[1]))
        _, fields = response_fields(options, table)
        kept = without_handshake(response['headers'])
        return 101, Headers([*to_pairs(fields), *kept.items()])

    def _start_callback(
        self,
        callback: Any,
        end: MemoryPeer,
        protocol: str | None,
        table: Request,
        response: Response[Any],
    ) -> None:
        target = table['url']

        async def run() -> None:
            try:
                try:
                    await run_socket_callback(callback, end, Socket(end, protocol, table, response))
                finally:
                    await close_callback(callback)
            except Exception as error:
                await self.report_error(error, 'GET', target, table)

        task = asyncio.create_task(run(), name='WebSocket')
        self._websocket_tasks.add(task)
        task.add_done_callback(self._websocket_tasks.discard)


async def _decode_whole(data: Any, headers: Headers, limit: int | None) -> bytes:
    if data and 'Content-Encoding' in headers:
        return await decode_body(SentBody(data), headers, limit)
    if limit is not None and len(data) > limit:
        raise BodyTooLarge('the body passed max_body')
    whole: bytes = data
    return whole
