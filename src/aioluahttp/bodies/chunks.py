"""Call functions and iterators of users, plain or async, and run functions in threads."""

from __future__ import annotations

import asyncio
import inspect
from collections.abc import AsyncIterable, AsyncIterator, Callable, Iterable, Iterator
from types import CoroutineType
from typing import Any, TypeVar

from ..errors import TableError

__all__ = [
    'Chunks',
    'call',
    'close',
    'in_thread',
    'slices',
    'start_thread',
    'to_exception',
    'wait_for_thread',
]

T = TypeVar('T')

END = object()


async def call(function: Callable[..., Any], *arguments: Any) -> Any:
    """Call a function of the user, and await its result if that can be awaited.

    Raises:
        RuntimeError: The function raised a BaseException, such as a CancelledError, by itself.
    """
    try:
        result = function(*arguments)
        awaitable = type(result) is CoroutineType or inspect.isawaitable(result)
        return await result if awaitable else result
    except Exception:
        raise
    except BaseException as error:
        if isinstance(error, GeneratorExit) and _loop_runs():
            raise _escaped(error) from error
        raise to_exception(error) from error


def _loop_runs() -> bool:
    """Tell whether an event loop runs; else a GeneratorExit closes what a loop left behind."""
    try:
        asyncio.get_running_loop()
    except RuntimeError:
        return False
    return True


def to_exception(error: BaseException) -> Exception:
    """Return an exception that stands for what a function of the user raised.

    It is ``error`` itself, or a RuntimeError in place of another BaseException.

    Raises:
        BaseException: ``error``, if it ends the task or the process: a cancellation from outside,
            a KeyboardInterrupt, a SystemExit, or a GeneratorExit, which closes the coroutine.
    """
    if isinstance(error, Exception):
        return error
    if isinstance(error, (KeyboardInterrupt, SystemExit, GeneratorExit)):
        raise error
    task = asyncio.current_task()
    if isinstance(error, asyncio.CancelledError) and task and task.cancelling():
        raise error
    return _escaped(error)


def _escaped(error: BaseException) -> RuntimeError:
    escaped = RuntimeError(f'{type(error).__name__} escaped from a user function')
    escaped.__cause__ = error
    return escaped


async def close(source: Any) -> None:
    """Close an iterator or a file of the user, if it has ``aclose`` or ``close``."""
    function = getattr(source, 'aclose', None) or getattr(source, 'close', None)
    if callable(function):
        await call(function)


class Chunks:
    """Iterate over an iterable of any kind, with each item encoded as bytes.

    Args:
        source: Advanced only when a chunk is wanted, and closed by ``aclose``.
        encode: Turns an item into bytes.
    """

    length: int | None = None
    """The Content-Length that was sent, which the chunks must add up to; None if there is none."""

    def __init__(
        self, source: AsyncIterable[Any] | Iterable[Any], encode: Callable[[Any], bytes]
    ) -> None:
        self._source = source
        self.encode = encode
        self._items: AsyncIterator[Any] | Iterator[Any] | None = None
        self._given = 0

    def __aiter__(self) -> AsyncIterator[bytes]:
        return self

    async def __anext__(self) -> bytes:
        try:
            data = self.encode(await self._item())
        except StopAsyncIteration:
            if self.length is not None and self._given < self.length:
                raise TableError("'body' is shorter than its Content-Length") from None
            raise
        self._given += len(data)
        if self.length is not None and self._given > self.length:
            raise TableError("'body' is longer than its Content-Length")
        return data

    def _begin(self) -> None:
        is_async = isinstance(self._source, AsyncIterable)
        self._items = aiter(self._source) if is_async else iter(self._source)  # type: ignore[arg-type]

    async def _item(self) -> Any:
        if self._items is None:
            await call(self._begin)
        if isinstance(self._items, AsyncIterator):
            return await call(self._items.__anext__)
        await asyncio.sleep(0)  # a plain iterator must not block the event loop
        if (item := await call(next, self._items, END)) is END:
            raise StopAsyncIteration
        return item

    async def aclose(self) -> None:
        """Close the iterator, and the iterable that it came from."""
        if self._items is not None and self._items is not self._source:
            await close(self._items)
        await close(self._source)


def slices(data: bytes, size: int) -> Iterator[bytes]:
    """Cut bytes into slices of a size; the last one may be shorter."""
    return (data[start : start + size] for start in range(0, len(data), size))


def start_thread(function: Callable[..., T], *arguments: object) -> asyncio.Future[T]:
    """Call a function in a thread; wait for it with ``wait_for_thread``."""
    return asyncio.get_running_loop().run_in_executor(None, function, *arguments)


async def wait_for_thread(work: asyncio.Future[T]) -> T:
    """Wait until a thread ends, even if cancelled: a file it writes to must not be closed."""
    cancelled: asyncio.CancelledError | None = None
    while not work.done():
        try:
            await asyncio.wait([work])
        except asyncio.CancelledError as error:
            cancelled = error
    if cancelled:
        work.exception()  # or asyncio logs that it was never retrieved
        raise cancelled
    return work.result()


async def in_thread(function: Callable[..., T], *arguments: object) -> T:
    """Call a function in a thread, and wait for it as ``wait_for_thread`` does."""
    return await wait_for_thread(start_thread(function, *arguments))
