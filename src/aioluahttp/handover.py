"""Bodies handed over within a process: to a handler, and back, each part when it is asked for."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator, Awaitable, Callable, Iterator
from contextlib import contextmanager

from .calling import Chunks, close
from .delivery import Delivery
from .errors import ProtocolError, Refused, TimedOut
from .headers import Headers

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

    Args:
        parts: What the handler gives.
        sent: The body of the request, which the handler may read as long as it gives.
        told: Is told of what the handler raises.
    """

    is_empty = is_waited_for = False

    def __init__(
        self,
        parts: AsyncIterator[bytes],
        sent: Sent,
        told: Callable[[Exception], Awaitable[None]],
    ) -> None:
        self._parts, self._sent, self._told = parts, sent, told
        self._next: bytes | None = b''
        self._reader: asyncio.Task[object] | None = None
        self._closed: Exception | None = None
        self._interrupted = False  # who reads, by ``close``
        self._stopped = False

    async def begin(self) -> None:
        """Wait for the first part, before which a mistake is but another answer."""
        try:
            self._next = await anext(self._parts, None)
        except BaseException:
            await close(self._parts)
            raise

    async def read(self, seconds: float | None) -> bytes:
        """Wait for the next part, for a time; nothing at the end."""
        self._check()
        if self._reader is not None:
            raise RuntimeError('another task reads this body')
        deadline = asyncio.timeout(seconds)
        with self._interruptible():
            try:
                async with deadline:
                    while self._next == b'':
                        self._next = await anext(self._parts, None)
            except Exception as error:
                if deadline.expired():
                    raise TimedOut(f'nothing more of the body came within {seconds} s') from error
                await self._broke(error)
                raise ProtocolError('the handler broke off its answer') from error
        self._check()
        data, self._next = self._next, self._next and b''
        return data or b''

    @contextmanager
    def _interruptible(self) -> Iterator[None]:
        """Let ``close`` cancel what is within, whatever that makes of it."""
        self._reader = task = asyncio.current_task()
        assert task is not None
        try:
            yield
        except asyncio.CancelledError:
            if not self._interrupted or task.cancelling() > 1:
                raise
        finally:
            self._reader = None
            if self._interrupted:
                task.uncancel()

    def _check(self) -> None:
        if self._closed:
            raise self._closed
        if error := self._sent.error:  # though the handler may make nothing of it
            raise ProtocolError('the body that was sent broke off') from error

    async def _broke(self, error: Exception) -> None:
        if not isinstance(error.__cause__, Refused):  # the fault of who sent the request
            await self._told(error)

    def finish(self) -> None:
        """Be content: what ends here has ended well."""

    def release(self) -> None:
        """Be done."""

    def close(self, error: Exception) -> None:
        """Interrupt who reads, for good."""
        self._closed = error
        if self._reader is not None and self._reader is not asyncio.current_task():
            self._interrupted = self._reader.cancel()

    async def stop(self) -> None:
        """Close the iterators of the handler, and of the client."""
        if self._stopped or self._reader is not None:  # who does so itself
            return
        self._stopped = True
        try:
            await close(self._parts)
        except Exception as error:
            await self._broke(error)
        finally:
            await self._sent.aclose()
