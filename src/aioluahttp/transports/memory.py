"""A request and its response in memory, between a client and a handler in one process.

``MemoryExchange`` has two sides: the responder of the engines writes to it, and the transport of
``in_process`` reads the response.
"""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator, Coroutine, Mapping, Sequence
from contextlib import asynccontextmanager
from typing import Any

from ..bodies.chunks import Chunks
from ..bodies.codings import within_limit
from ..errors import ProtocolError, TimedOut
from ..exchange.forwarded import NO_PROXIES, ClientInfo, Proxies
from ..exchange.head import client_of, to_head
from ..exchange.request_body import BodyParts
from ..exchange.responder import Exchange
from ..exchange.response import ReadyResponse, page_of
from ..headers import ONE_HOP, Headers
from ..semantics import PHRASES, is_silent
from ..tables.checks import MAX_BODY
from ..tables.models import Request
from ..websockets.handshake import (
    check_handshake,
    max_message,
    response_fields,
    to_pairs,
    without_handshake,
)
from ..websockets.memory import MemoryPeer, peer_pair
from ..websockets.socket import Peer
from .encode import needs_stream, read_options_of
from .failures import BodyFailed
from .into import watch_download
from .request_body import BodyDelivery
from .response_body import DecodedBody, InMemory, ReceivedResponse

__all__ = ['MemoryExchange', 'SentBody']

IP = '127.0.0.1'  # of both sides
LOCAL = ClientInfo(IP)


class SentBody(BodyParts):
    """A request body, as the handler reads it: an asynchronous iterator of bytes.

    Args:
        data: The ``data`` that aiohttp would get.

    Attributes:
        seconds: Timeout of each part; ``None`` is no limit.
        failure: What reading the source raised, and the client raises; None if nothing did.
    """

    seconds: float | None = None
    failure: BodyFailed | None = None
    _chunks: Chunks | None = None
    _sent = 0

    def __init__(self, data: bytes | BodyDelivery | None) -> None:
        self._data = data
        if isinstance(data, BodyDelivery):
            try:
                self._chunks = data.chunks()  # ``aclose`` closes it though nobody reads it
            except Exception as error:
                raise BodyFailed(error) from error

    def rest(self) -> bytes | None:
        """Return a body of bytes; ``None`` for one that is drawn from an iterator."""
        data = self._data
        if isinstance(data, BodyDelivery):
            return None
        self._data = None
        return data or b''

    def __aiter__(self) -> AsyncIterator[bytes]:
        return self

    async def __anext__(self) -> bytes:
        data = self.rest()
        if data is None:
            async with asyncio.timeout(self.seconds):
                data = await self._next_chunk()
        if not data:
            raise StopAsyncIteration
        return data

    async def _next_chunk(self) -> bytes | None:
        delivery, chunks = self._data, self._chunks
        assert isinstance(delivery, BodyDelivery)
        assert chunks is not None
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


class MemoryExchange(Exchange):
    """An ``Exchange`` with a client in this process, which reads the body as a ``ResponseSource``.

    The handler runs in the task of the client. A streamed response, and the callback of a
    WebSocket, have a task of their own.

    Args:
        request: In normal form.
        headers: As they are sent.
        sent: The request body.
        options: Of the WebSocket that the client asks for; ``None`` if it does not.

    Attributes:
        response: Status, reason and headers.
        body: The body of the response; ``None`` if it has to be read in parts.
        task: Writes the response; ``None`` if it is written already.
        near: The client's end of the WebSocket, once it is open.
    """

    peer: str | None = IP
    announced = is_empty = is_pending = False
    begun: bool = False
    sockname = None
    response: tuple[int, str | None, Headers]
    body: bytes | None = None
    task: asyncio.Task[None] | None = None
    near: MemoryPeer | None = None
    _failure: Exception | None = None  # of the handler's iterator
    _closed: Exception | None = None  # why the client reads no more
    _taken = False  # a part was taken: the next read lets the task go on
    _reading = _ended = _stopped = False

    def __init__(
        self,
        request: Request,
        headers: Headers,
        sent: SentBody,
        options: Mapping[str, Any] | None = None,
    ) -> None:
        self._request, self._headers = request, headers
        self._sent, self._options = sent, options
        self.method: str = request['method']

    # The handler's side

    @property
    def gone(self) -> bool:
        """Whether the client reads no more."""
        return self._closed is not None

    async def head(self, proxies: Proxies) -> Request:
        """Make the table of the request, without its body."""
        request, headers = self._request, self._headers
        client = LOCAL if proxies is NO_PROXIES else client_of(IP, headers, proxies)
        return to_head(self.method, request['url'], '1.1', headers, client, request['scheme'], self)

    def parts(self, seconds: float) -> SentBody:
        """Iterate over the body; each part must arrive within the timeout in seconds."""
        self._sent.seconds = seconds
        return self._sent

    @asynccontextmanager
    async def cancelled_when_left(self) -> AsyncIterator[None]:
        """Raise ``ConnectionResetError`` in place of the cancellation when the client leaves."""
        try:
            yield
        except asyncio.CancelledError:
            if not self.gone or self.task is None or self.task.uncancel():
                raise
            raise ConnectionResetError('the client has left') from None
        except Exception as error:
            self._failure = error
            raise

    async def detach(self, writing: Coroutine[Any, Any, None]) -> None:
        """Write a response in a task; return once its head is there, or all of it.

        One task reads all parts of the handler's iterator, each when the client wants it, and
        closes it: an iterator may hold an ``asyncio.timeout``, which belongs to one task.
        """
        self._has_begun = asyncio.Event()
        # A part, an exception that was raised in its place, or None at the end.
        self._queue: asyncio.Queue[bytes | Exception | None] = asyncio.Queue()
        self.task = task = asyncio.create_task(writing, name='response')
        task.add_done_callback(lambda _: self._has_begun.set())
        await self._has_begun.wait()
        if not self.begun:
            await task

    async def whole(self, response: ReadyResponse, body: bytes) -> None:
        """Respond with a body in memory."""
        headers = response.headers
        if not ONE_HOP.isdisjoint(map(str.lower, headers)):
            headers = response.head()[2]
        if response.length is not None:  # for a 304, too, unlike on other engines
            headers['Content-Length'] = str(response.length)
        self.response, self.body = (response.status, response.reason, headers), body

    async def refuse(self, status: int, fields: Sequence[str] = ()) -> None:
        """Respond with a short page."""
        headers, body = page_of(status, fields)
        self.response, self.body = (status, None, headers), body
        if is_silent(self.method, status):
            self.body = b''

    async def start(self, response: ReadyResponse) -> None:
        """Respond with a body that follows in parts."""
        self._begin(*response.head())

    def _begin(self, status: int, reason: str | None, headers: Headers) -> None:
        self.response = (status, reason, headers)
        self.begun = True
        self._has_begun.set()

    async def write(self, data: bytes) -> None:
        """Give a part to the client, and wait until it wants the next one."""
        if self.gone:
            raise ConnectionResetError('the client has left')
        self._queue.put_nowait(data)
        await self._queue.join()

    async def end(self) -> None:
        """End the body."""
        self._queue.put_nowait(None)

    def abort(self) -> None:
        """End a body that has begun with an error."""
        if self.begun:
            self._queue.put_nowait(self._failure or ProtocolError('the handler was cancelled'))

    def handshake_refusal(
        self, options: Mapping[str, Any], request: Request
    ) -> tuple[int, Sequence[str]] | None:
        """Return why no WebSocket can be opened, as ``handshake.check_handshake`` does."""
        return check_handshake(options, request, upgrades=self._options is not None)

    async def open(
        self, options: Mapping[str, Any], request: Request, headers: Headers
    ) -> tuple[Peer, str | None]:
        """Open a WebSocket; return the handler's end of it and the subprotocol."""
        agreement, fields = response_fields(options, request)
        self.near, far = peer_pair(max_message(self._options or {}), max_message(options))
        kept = without_handshake(headers)
        self._begin(101, None, Headers([*to_pairs(fields), *kept.items()]))
        return far, agreement.protocol

    # The client's side

    def received(self) -> ReceivedResponse:
        """Return the response; its body is in parts if it, or the request, needs that.

        Raises:
            BodyFailed: The request body failed.
            BodyTooLarge: The body passes ``max_body``.
        """
        if self._sent.failure is not None:
            raise self._sent.failure
        request, body = self._request, self.body
        status, reason, headers = self.response
        limit = request.get('max_body', MAX_BODY)
        if body is None or needs_stream(request) or (body and 'Content-Encoding' in headers):
            silent = is_silent(self.method, status)
            source = self if body is None else InMemory(body, is_empty=silent)
            data: Any = DecodedBody(headers, source, read_options_of(request, limit))
            watch_download(request, status, data)
        else:
            data = within_limit(body, limit)
        phrase = PHRASES.get(status) if reason is None else reason
        return ReceivedResponse(status, phrase, None, headers, data, IP)

    async def read(self, seconds: float | None) -> bytes:
        """Wait for the next part, for ``seconds`` at most; return empty bytes at the end."""
        self._check()
        if self._reading:
            raise RuntimeError('another task is reading this body')
        self._reading = True
        try:
            async with asyncio.timeout(seconds):
                while (part := await self._next_part()) == b'':
                    pass
        except TimeoutError as error:
            raise TimedOut(f'no more of the body arrived within {seconds} s') from error
        finally:
            self._reading = False
        self._check()
        if isinstance(part, Exception):
            raise ProtocolError('the handler failed while it sent its response') from part
        self._ended = part is None
        return part or b''

    async def _next_part(self) -> bytes | Exception | None:
        if self._taken:
            self._queue.task_done()
        self._taken = False
        part = await self._queue.get()
        self._taken = True
        return part

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
        """Make a waiting read and all later ones raise ``error``, and cancel the task."""
        self._closed = error
        if self.task is not None:
            self._queue.put_nowait(None)
            self.task.cancel()

    async def stop(self) -> None:
        """Wait until the response is written, or cancelled, and close the request body."""
        if self._stopped:
            return
        self._stopped = True
        try:
            if not (self._ended or self.gone):
                self.close(ProtocolError('the body is closed'))
            if self.task is not None and self.task is not asyncio.current_task():
                await asyncio.wait([self.task])
        finally:
            await self._sent.aclose()
