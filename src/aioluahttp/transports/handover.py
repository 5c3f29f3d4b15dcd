"""Bodies handed over within a process: to a handler, and back, each part when it is asked for."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator, Awaitable, Callable
from contextlib import aclosing

from ..bodies.chunks import Chunks
from ..errors import ProtocolError, Refused, TimedOut
from ..exchange.response import Pieces
from ..headers import Headers
from .delivery import Delivery

__all__ = ['Answered', 'Sent']

BODILESS = frozenset({'GET', 'HEAD', 'OPTIONS', 'TRACE'})  # without a Content-Length of 0, too


class Sent:
    """The body of a request, as a handler reads it.

    Args:
        data: What aiohttp would be given to send.
    """

    def __init__(self, data: bytes | Delivery | None) -> None:
        self._data = data
        self._chunks = self._begun(data) if isinstance(data, Delivery) else None
        self._sent = 0

    def _begun(self, delivery: Delivery) -> Chunks:
        """Begin before it is read, from when on it is for this to close."""
        try:
            return delivery.chunks()
        except Exception as error:
            delivery.supply.error = error
            raise

    def frame(self, method: str, headers: Headers) -> None:
        """Add the field that says how long it is (RFC 9112 6)."""
        data = self._data
        length = data.size if isinstance(data, Delivery) else len(data or b'')
        if length is None:
            headers['Transfer-Encoding'] = 'chunked'
        elif data is not None or method not in BODILESS:
            headers['Content-Length'] = str(length)

    @property
    def error(self) -> Exception | None:
        """What drawing it raised, which is the client's own mistake."""
        return self._data.supply.error if isinstance(self._data, Delivery) else None

    def __aiter__(self) -> AsyncIterator[bytes]:
        return self

    async def __anext__(self) -> bytes:
        data = self._data
        if isinstance(data, Delivery):
            assert self._chunks is not None
            data = await self._drawn(data, self._chunks)
        else:
            self._data = None
        if not data:
            raise StopAsyncIteration
        return data

    async def _drawn(self, delivery: Delivery, chunks: Chunks) -> bytes | None:
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
        if isinstance(self._data, Delivery):
            await self._data.supply.end()


class Answered:
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
        parts: Chunks | Pieces,
        sent: Sent,
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
