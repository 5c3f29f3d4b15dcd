"""Requests given to a handler of this process, by the rules of the wire and without one.

Bodies handed over within a process: to a handler, and back, each part when it is asked for.
"""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator, Awaitable, Callable, Mapping
from contextlib import aclosing
from functools import partial
from typing import Any
from weakref import WeakSet

import yarl
from aiohttp.abc import AbstractCookieJar

from ..bodies.chunks import Chunks
from ..bodies.codings import decode_body
from ..errors import BodyTooLarge, ConnectError, ProtocolError, Refused, TimedOut
from ..exchange.forwarded import ClientInfo
from ..exchange.head import to_head
from ..exchange.options import EXCHANGE_OPTIONS, check_exchange_options, to_settings
from ..exchange.request_body import RequestChunks, decoder_of, open_request_stream, take_whole
from ..exchange.responder import Responder, status_page
from ..exchange.response import FilePieces, ReadyResponse, to_ready
from ..headers import Headers, parse_cookies
from ..semantics import PHRASES, is_silent
from ..tables.checks import STREAMS
from ..tables.conversion import to_response
from ..tables.handlers import close_body, take_response
from ..tables.models import Handler, Request, Response, described
from ..websockets.handshake import (
    max_message,
    read_agreement,
    request_fields,
    response_fields,
    to_pairs,
    without_handshake,
)
from ..websockets.handshake import refusal_status as declined
from ..websockets.memory import MemoryPeer, peer_pair
from ..websockets.socket import Socket, close_callback, run_socket_callback
from .encode import (
    MAX_BODY,
    arguments_of,
    body_of,
    read_options_of,
    response_of,
    target_of,
    try_with_source,
    with_bytes_source,
)
from .failures import translate
from .into import PAGES, needs_stream
from .request_body import BodyDelivery
from .response_body import DecodedBody, InMemory, ReceivedResponse
from .websocket import Dialed

__all__ = ['InProcess', 'ResponseBody', 'SentBody']


BODILESS = frozenset({'GET', 'HEAD', 'OPTIONS', 'TRACE'})  # without a Content-Length of 0, too


class SentBody:
    """The body of a request, as a handler reads it.

    Args:
        data: What aiohttp would be given to send.
    """

    def __init__(self, data: bytes | BodyDelivery | None) -> None:
        self._data = data
        self._chunks = self._begun(data) if isinstance(data, BodyDelivery) else None
        self._sent = 0

    def _begun(self, delivery: BodyDelivery) -> Chunks:
        """Begin before it is read, from when on it is for this to close."""
        try:
            return delivery.chunks()
        except Exception as error:
            delivery.supply.error = error
            raise

    def frame(self, method: str, headers: Headers) -> None:
        """Add the field that says how long it is (RFC 9112 6)."""
        data = self._data
        length = data.size if isinstance(data, BodyDelivery) else len(data or b'')
        if length is None:
            headers['Transfer-Encoding'] = 'chunked'
        elif data is not None or method not in BODILESS:
            headers['Content-Length'] = str(length)

    @property
    def error(self) -> Exception | None:
        """What drawing it raised, which is the client's own mistake."""
        return self._data.supply.error if isinstance(self._data, BodyDelivery) else None

    def __aiter__(self) -> AsyncIterator[bytes]:
        return self

    async def __anext__(self) -> bytes:
        data = self._data
        if isinstance(data, BodyDelivery):
            assert self._chunks is not None
            data = await self._drawn(data, self._chunks)
        else:
            self._data = None
        if not data:
            raise StopAsyncIteration
        return data

    async def _drawn(self, delivery: BodyDelivery, chunks: Chunks) -> bytes | None:
        try:
            while (data := await anext(chunks, None)) == b'':
                pass
            if data:
                self._sent += len(data)
                delivery.tell(self._sent)
        except Exception as error:
            delivery.supply.error = error  # which is the client's to see
            raise ProtocolError('the body broke off') from error
        return data

    async def aclose(self) -> None:
        """Draw no more."""
        if self._chunks is not None:
            await self._chunks.aclose()
        if isinstance(self._data, BodyDelivery):
            await self._data.supply.end()


class ResponseBody:
    """The body of an answer, as its client reads it; a ``Source``.

    A task of its own asks for each part when it is wanted, and closes: what an iterator has around
    its parts, such as a deadline, belongs to the task that asks for them.

    Args:
        parts: What the handler gives.
        sent: The body of the request, which the handler may read as long as it gives.
        told: Is told of what the handler raises.
    """

    is_empty = is_waited_for = False

    def __init__(
        self,
        parts: Chunks | FilePieces,
        sent: SentBody,
        told: Callable[[Exception], Awaitable[None]],
    ) -> None:
        self._parts, self._sent, self._told = parts, sent, told
        # A part, what was raised instead, or None at the end.
        self._came: asyncio.Queue[bytes | Exception | None] = asyncio.Queue()
        self._taken = False  # a part that another may follow once one is wanted
        self._next: bytes | None = b''
        self._reading = self._ended = self._stopped = False
        self._closed: Exception | None = None
        self._asking = asyncio.create_task(self._ask(), name='body of an answer')

    async def _ask(self) -> None:
        gave = False
        try:
            async with aclosing(self._parts):
                async for part in self._parts:
                    if self._closed:
                        break
                    gave = True
                    self._came.put_nowait(part)
                    await self._came.join()
                gave = True
                self._came.put_nowait(None)
        except Exception as error:
            self._came.put_nowait(error)
            if gave and not isinstance(error.__cause__, Refused):  # whose sender is at fault
                await self._told(error)
        finally:
            self._came.put_nowait(None)

    async def _part(self) -> bytes | None:
        if self._taken:
            self._came.task_done()
        self._taken = False
        part = await self._came.get()
        self._taken = True
        if isinstance(part, Exception):
            raise part
        return part

    async def begin(self) -> None:
        """Wait for the first part, before which a mistake is but another answer."""
        try:
            self._next = await self._part()
        except asyncio.CancelledError:
            await self._end()
            raise

    async def read(self, seconds: float | None) -> bytes:
        """Wait for the next part, for a time; nothing at the end."""
        self._check()
        if self._reading:
            raise RuntimeError('another task reads this body')
        self._reading, deadline = True, asyncio.timeout(seconds)
        try:
            async with deadline:
                while self._next == b'':
                    self._next = await self._part()
        except Exception as error:
            if deadline.expired():
                raise TimedOut(f'nothing more of the body came within {seconds} s') from error
            raise ProtocolError('the handler broke off its answer') from error
        finally:
            self._reading = False
        self._check()
        self._ended = self._next is None
        data, self._next = self._next, self._next and b''
        return data or b''

    def _check(self) -> None:
        if self._closed:
            raise self._closed
        if error := self._sent.error:  # though the handler may make nothing of it
            raise ProtocolError('the body that was sent broke off') from error

    def finish(self) -> None:
        """Be content: what ends here has ended well."""

    def release(self) -> None:
        """Be done."""

    def close(self, error: Exception) -> None:
        """Interrupt who reads, for good, and who gives."""
        self._closed = error
        self._came.put_nowait(None)
        self._asking.cancel()

    async def stop(self) -> None:
        """Close the iterators of the handler, and of the client."""
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
            self._asking.cancel()
        if self._asking is not asyncio.current_task():
            await asyncio.wait([self._asking])


IP = '127.0.0.1'  # of either side
GRACE = 10.0  # seconds for the callback of a WebSocket to see that it has ended
ROUTE = frozenset({'proxy', 'tls', 'unix'})  # what is said of a connection


class InProcess(Responder):
    """Gives requests to a handler, in the place of a ``Transport``.

    The handler runs in the task of its client, so a cancellation and a deadline end it, and its
    answer flows as the client reads it. What flows, and a WebSocket, has a task of its own.

    Args:
        handler: Answers; ``into`` and ``max_body`` it may have as attributes.
        cookies: Where cookies are kept.
    """

    sockname = None

    def __init__(self, handler: Handler, cookies: AbstractCookieJar) -> None:
        super().__init__(
            handler, to_settings(check_exchange_options(handler, {}, EXCHANGE_OPTIONS), None)
        )
        self._cookies = cookies
        self._bodies: WeakSet[DecodedBody] = WeakSet()
        self._talks: set[asyncio.Task[None]] = set()
        self._closed = False

    async def close(self) -> None:
        """End every body that flows, and let the callbacks of WebSockets end, at most 10 s."""
        self._closed = True
        for body in list(self._bodies):
            body.close('the client was closed')
            await body.aclose()
        if talks := self._talks.copy():
            await asyncio.wait(talks, timeout=GRACE)
        for task in talks:
            task.cancel()
        await asyncio.gather(*talks, return_exceptions=True)

    async def send(self, request: Request, *, sent: bool = False) -> Response[Any]:
        """Have a request in normal form answered. Follows no redirect.

        Raises:
            Error: As ``Transport.send`` does. What the handler raises is a 500.
        """
        self._check_open()
        request = with_bytes_source(request)
        try:
            return await try_with_source(self._exchange, request)
        except Exception as error:
            if ours := translate(error, request, sent=sent):
                raise ours from error
            raise

    def _check_open(self) -> None:
        if self._closed:
            raise ConnectError('the client is closed')

    async def _exchange(self, request: Request) -> Response[Any]:
        target, arguments = self._outbound(request)
        sent = SentBody(arguments.get('data'))
        sent.frame(request['method'], arguments['headers'])
        source = None
        try:
            out, source = await self._answer(request, arguments['headers'], sent)
            if sent.error is not None:
                raise sent.error
            response = await self._received(request, target, out, source)
        except BaseException:
            await (source.stop() if source else sent.aclose())
            raise
        if source is None:
            await sent.aclose()
        return response

    def _outbound(self, request: Request) -> tuple[yarl.URL, dict[str, Any]]:
        """Make of a request what would go over the wire."""
        if not ROUTE.isdisjoint(request):
            request = Request({key: one for key, one in request.items() if key not in ROUTE})
        target = target_of(request['scheme'], request['host'], request['port'], request['url'])
        arguments = arguments_of(request, target)
        if len(self._cookies) and (kept := self._cookies.filter_cookies(target)):
            headers = arguments['headers']
            given = parse_cookies('; '.join(headers.getall('Cookie', ())).split(';'))
            both = given | {name: one.coded_value for name, one in kept.items()}
            headers['Cookie'] = '; '.join(f'{name}={one}' for name, one in sorted(both.items()))
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

    async def take_body(
        self, source: SentBody, request: Request, into: str, limit: int | None
    ) -> None:
        """Read the body of a request into its table, or open the stream that it is to be."""
        if into in STREAMS:
            open_request_stream(
                RequestChunks(source, decoder_of(into, request['headers'], limit)), request
            )
        else:
            await take_whole(source, request, into, limit)

    async def _answer(
        self, request: Request, headers: Headers, sent: SentBody
    ) -> tuple[ReadyResponse, ResponseBody | None]:
        """Ask the handler, and wait for the first part of what it answers."""
        method = request['method']
        try:
            table = self._head(request, headers)
        except Refused as refused:
            return await to_ready(method, headers, status_page(refused.status)), None
        told = partial(self.mistaken, method=method, target=table['url'], request=table)
        try:
            response = await self._plain(
                table, await take_response(await self.returned(sent, table))
            )
            out = await to_ready(method, headers, response)
            if isinstance(out.body, bytes):
                return out, None
            source = ResponseBody(out.body, sent, told)
            await source.begin()
        except Exception as error:
            response = await self.failed(error, method, table['url'], table)
            return await to_ready(method, headers, response), None
        return out, source

    async def _plain(self, table: Request, response: Response[Any]) -> Response[Any]:
        """Decline a WebSocket that nobody asked for."""
        if 'websocket' not in response:
            return response
        options = response['websocket']
        await close_callback(options['callback'])
        status, fields = declined(options, table, upgrades=False) or (426, ())
        return to_response({'status': status, 'headers': to_pairs(fields), 'body': PHRASES[status]})

    async def _received(
        self, request: Request, target: yarl.URL, out: ReadyResponse, source: ResponseBody | None
    ) -> Response[Any]:
        status, reason, headers = out.head()
        if out.length is not None:
            headers['Content-Length'] = str(out.length)
        if 'Set-Cookie' in headers:
            self._cookies.update_cookies_from_headers(headers.getall('Set-Cookie'), target)
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

    async def dial(self, request: Request, options: Mapping[str, Any]) -> Dialed:
        """Open a WebSocket.

        Raises:
            Error: As ``Transport.dial`` does.
        """
        self._check_open()
        target, arguments = self._outbound(request)
        asked, headers = request_fields(options), arguments['headers']
        headers.update(asked)
        table: Request = request  # if it is none that a server takes
        try:
            table = self._head(request, headers)
            response = await take_response(await self.returned(SentBody(None), table))
        except Exception as error:
            response = await self.failed(error, 'GET', request['url'], table)
        status, fields = response['status'], response['headers']
        if 'websocket' in response:
            status, fields = await self._granted(table, response)
        else:
            await close_body(response)
        try:
            terms = read_agreement(options, asked, status, fields)
        except ProtocolError as error:
            raise ProtocolError(f'{described(request)}: {error}') from error
        near, far = peer_pair(terms.max_message, max_message(response['websocket']))
        self._begin(response['websocket']['callback'], far, terms.protocol, table, response)
        answer = {'status': status, 'reason': PHRASES[status], 'headers': fields, 'body': ''}
        socket = Socket(near, terms.protocol, request, Response({**answer, 'url': str(target)}))
        return near, socket, lambda: None

    async def _granted(self, table: Request, response: Response[Any]) -> tuple[int, Headers]:
        """Refuse or open a WebSocket; give status and headers of the answer."""
        options = response['websocket']
        if refused := declined(options, table, upgrades=True):
            await close_callback(options['callback'])
            return refused[0], Headers(to_pairs(refused[1]))
        _, fields = response_fields(options, table)
        kept = without_handshake(response['headers'])
        return 101, Headers([*to_pairs(fields), *kept.items()])

    def _begin(
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
                await self.mistaken(error, 'GET', target, table)

        task = asyncio.create_task(run(), name='WebSocket')
        self._talks.add(task)
        task.add_done_callback(self._talks.discard)


async def _decode_whole(data: Any, headers: Headers, limit: int | None) -> bytes:
    if data and 'Content-Encoding' in headers:
        return await decode_body(SentBody(data), headers, limit)
    if limit is not None and len(data) > limit:
        raise BodyTooLarge('the body passed max_body')
    whole: bytes = data
    return whole
