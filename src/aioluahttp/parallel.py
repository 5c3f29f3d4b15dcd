"""Many at once: a function mapped over inputs, in order, within a limit."""

from __future__ import annotations

import asyncio
import builtins
import inspect
from collections.abc import AsyncIterable, AsyncIterator, Awaitable, Callable, Iterable
from contextlib import asynccontextmanager
from typing import Any, Literal, TypeVar, overload

from .errors import TableError

__all__ = ['map', 'range']

In = TypeVar('In')
Out = TypeVar('Out')


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
    """Call a function on every input, many at a time, and collect what it gives back.

    Each call is a task of its own. The input is read no further ahead than there are calls to
    be made at once, so it may be endless as long as something ends it.

    Args:
        function: Called with one input; its result is awaited where it can be.
        inputs: Any iterable or async iterable. An async generator is closed at the end.
        limit: How many calls may run at once; ``None`` is no limit.
        errors: ``'raise'``: the first failure cancels the rest, waits until they have ended,
            and is raised. ``'return'``: an exception stands in the place of its result.

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
                await asyncio.sleep(0)  # the call starts, though reading may never have to wait
    except BaseExceptionGroup as group:
        failure = group.exceptions[0]  # the first; what came of the cancelling follows it
    else:
        return [one.result() for one in calls]  # CancelledError, where a call raised it itself
    raise failure


@asynccontextmanager
async def _reading(
    inputs: Iterable[Any] | AsyncIterable[Any],
) -> AsyncIterator[AsyncIterator[Any]]:
    """Read either kind of iterable as an async one; what has to be closed is."""
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
    """Call a function on each number from 0 to ``n - 1``, as ``map`` does.

    Example:
        >>> asyncio.run(range(3, lambda number: number * number))
        [0, 1, 4]
    """
    return await map(function, builtins.range(n), limit=limit, errors=errors)
