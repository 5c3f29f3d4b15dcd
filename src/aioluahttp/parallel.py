"""Call a function on many inputs at once, within a limit, with the results in order."""

from __future__ import annotations

import asyncio
import builtins
import inspect
from collections.abc import AsyncIterable, AsyncIterator, Awaitable, Callable, Iterable
from contextlib import asynccontextmanager
from typing import TYPE_CHECKING, Any, Literal, TypeVar, overload

from .errors import TableError

if TYPE_CHECKING:
    from .client.client import Sender
    from .tables.models import Request, Response
    from .types import RequestTable, TextTable

__all__ = ['map', 'range']

In = TypeVar('In')
Out = TypeVar('Out')


@overload
async def map(
    function: Sender,
    inputs: Iterable[TextTable | Request],
    *,
    limit: int | None = None,
    errors: Literal['raise'] = 'raise',
) -> list[Response[str]]: ...
@overload
async def map(
    function: Sender,
    inputs: Iterable[TextTable | Request],
    *,
    limit: int | None = None,
    errors: Literal['return'],
) -> list[Response[str] | Exception]: ...
@overload
async def map(
    function: Sender,
    inputs: Iterable[RequestTable],
    *,
    limit: int | None = None,
    errors: Literal['raise'] = 'raise',
) -> list[Response[Any]]: ...
@overload
async def map(
    function: Sender,
    inputs: Iterable[RequestTable],
    *,
    limit: int | None = None,
    errors: Literal['return'],
) -> list[Response[Any] | Exception]: ...
@overload
async def map(
    function: Callable[[In], Awaitable[Out]],
    inputs: Iterable[In] | AsyncIterable[In],
    *,
    limit: int | None = None,
    errors: Literal['raise'] = 'raise',
) -> list[Out]: ...
@overload
async def map(
    function: Callable[[In], Awaitable[Out]],
    inputs: Iterable[In] | AsyncIterable[In],
    *,
    limit: int | None = None,
    errors: Literal['return'],
) -> list[Out | Exception]: ...
@overload
async def map(
    function: Callable[[In], Out],
    inputs: Iterable[In] | AsyncIterable[In],
    *,
    limit: int | None = None,
    errors: Literal['raise'] = 'raise',
) -> list[Out]: ...
@overload
async def map(
    function: Callable[[In], Out],
    inputs: Iterable[In] | AsyncIterable[In],
    *,
    limit: int | None = None,
    errors: Literal['return'],
) -> list[Out | Exception]: ...
async def map(
    function: Callable[[Any], Any],
    inputs: Iterable[Any] | AsyncIterable[Any],
    *,
    limit: int | None = None,
    errors: Literal['raise', 'return'] = 'raise',
) -> list[Any]:
    """Call a function on every input, many at a time, and return its results.

    Each call is a task of its own. With a limit, the input is read only as calls can start. It
    may be endless if something stops it: a call that fails, or a timeout.

    Args:
        function: Called with one input, plain or async.
        inputs: Any iterable or async iterable. An async generator is closed at the end.
        limit: How many calls may run at once; ``None`` is no limit.
        errors: ``'raise'``: the first failure cancels the other calls, waits until they have
            ended, and is raised. ``'return'``: an exception is returned in place of a result.

    Returns:
        The results in the order of the inputs.

    Example:
        >>> async def double(number):
        ...     return 2 * number
        >>> asyncio.run(map(double, [1, 2, 3], limit=2))
        [2, 4, 6]
    """
    if limit is not None and (isinstance(limit, bool) or not isinstance(limit, int) or limit < 1):
        raise TableError.of('limit', limit, 'an int of 1 or more, or None')
    if errors not in ('raise', 'return'):
        raise TableError.of('errors', errors, "'raise' or 'return'")
    calls: list[asyncio.Task[Any]] = []
    gate = asyncio.Semaphore(limit) if limit else None

    async def call(value: Any) -> Any:
        try:
            result = function(value)
            return await result if inspect.isawaitable(result) else result
        except Exception as error:
            if errors == 'raise':
                raise
            return error
        finally:
            if gate:
                gate.release()

    try:
        async with _reading(inputs) as values, asyncio.TaskGroup() as tasks:
            while True:
                if gate:
                    await gate.acquire()
                try:
                    value = await anext(values)
                except StopAsyncIteration:
                    break
                calls.append(tasks.create_task(call(value)))
                await asyncio.sleep(0)  # lets the call start, even if reading never waits
    except BaseExceptionGroup as group:
        failure = group.exceptions[0]  # the first; those raised by cancelled calls follow it
    else:
        return [one.result() for one in calls]  # raises CancelledError if a call did
    raise failure


@asynccontextmanager
async def _reading(
    inputs: Iterable[Any] | AsyncIterable[Any],
) -> AsyncIterator[AsyncIterator[Any]]:
    """Iterate over either kind of iterable asynchronously, and close what has ``aclose``."""
    values = aiter(inputs) if isinstance(inputs, AsyncIterable) else _each(inputs)
    try:
        yield values
    finally:
        if close := getattr(values, 'aclose', None):
            await close()


async def _each(inputs: Iterable[Any]) -> AsyncIterator[Any]:
    for value in inputs:
        yield value


async def range(
    n: int,
    function: Callable[[int], Any],
    *,
    limit: int | None = None,
    errors: Literal['raise', 'return'] = 'raise',
) -> list[Any]:
    """Call a function on each number from 0 to ``n - 1``, with the options of ``map``.

    Example:
        >>> asyncio.run(range(3, lambda number: number * number))
        [0, 1, 4]
    """
    return await map(function, builtins.range(n), limit=limit, errors=errors)
