"""Lifespan: what a service opens before its first request and closes after its last.

A lifespan is a function that returns an async context manager. ``listen``, ``to_asgi``,
``to_application`` and ``Client(via=...)`` enter it at their start and leave it at their end.
"""

from __future__ import annotations

import asyncio
import logging
from collections.abc import AsyncIterator, Callable, Iterator
from contextlib import AbstractAsyncContextManager, contextmanager
from contextvars import Context, ContextVar, Token, copy_context
from typing import Any, TypeAlias, cast

from ..errors import TableError

__all__ = ['Lifespan', 'LifespanFunction', 'check_lifespan']

logger: logging.Logger = logging.getLogger('aioluahttp')

LifespanFunction: TypeAlias = Callable[[], AbstractAsyncContextManager[None]]

RIGHT = 'an async context manager'


def check_lifespan(value: Any) -> LifespanFunction:
    """Check that a lifespan is a function; what it returns is checked when it is entered."""
    if not callable(value):
        right = f'a function without arguments that returns {RIGHT}'
        raise TableError.of('lifespan', value, right)
    return cast('LifespanFunction', value)


class Lifespan:
    """Enter and leave the context manager of a service, both in one task of its own.

    One task, because task groups and cancel scopes must be left in the task that entered them.

    Args:
        function: Returns the context manager; ``None`` is a service without a lifespan.
    """

    def __init__(self, function: LifespanFunction | None) -> None:
        self._function = function
        self._task: asyncio.Task[None] | None = None
        self._entered: asyncio.Future[None]
        self._ending = asyncio.Event()
        self._variables: list[tuple[ContextVar[Any], Any]] = []

    async def start(self) -> None:
        """Enter the context manager; further calls wait for the first. A failure needs no stop.

        Raises:
            TableError: The function returns no async context manager, or that yields a value.
            Exception: What the context manager raises.
        """
        if self._function is None:
            return
        if self._task is None:
            manager = _check_manager(self._function())
            self._entered = asyncio.get_running_loop().create_future()
            running = self._run(manager, copy_context())
            self._task = asyncio.create_task(running, name='lifespan')
            self._task.add_done_callback(self._ended)
        await asyncio.shield(self._entered)

    async def _run(self, manager: AbstractAsyncContextManager[Any], before: Context) -> None:
        async with manager as value:
            if value is not None:
                right = 'None; hand objects to the handlers in a context variable or an attribute'
                raise TableError.of('what lifespan yields', value, right)
            now = copy_context()
            new = [var for var in now if before.get(var, self) is not now[var]]
            self._variables = [(var, now[var]) for var in new]
            self._entered.set_result(None)
            await self._ending.wait()

    def _ended(self, task: asyncio.Task[None]) -> None:
        error = None if task.cancelled() else task.exception()
        if not self._entered.done():
            self._entered.set_exception(error or RuntimeError('the lifespan ended at its start'))
            self._entered.exception()  # or asyncio logs it if no caller is left to raise it
        elif not self._ending.is_set():
            logger.error('the lifespan ended before the service', exc_info=error)

    def set_variables(self) -> list[Token[Any]]:
        """Set the context variables that the context manager has set, for a handler."""
        return [variable.set(value) for variable, value in self._variables]

    @contextmanager
    def variables_set(self) -> Iterator[None]:
        """Set these context variables within a block of code that does not own its context."""
        tokens = self.set_variables()
        try:
            yield
        finally:
            for token in tokens:
                token.var.reset(token)

    async def stop(self) -> None:
        """Leave the context manager, if it was entered, and raise what it raises."""
        self._ending.set()
        if self._task is None:
            return
        is_entered = self._entered.done()
        if not is_entered:
            self._task.cancel()
        await asyncio.wait([self._task])
        failed = not self._task.cancelled() and self._task.exception()
        if failed and is_entered and self._entered.exception() is None:
            raise failed


def _check_manager(manager: Any) -> AbstractAsyncContextManager[Any]:
    if not isinstance(manager, AbstractAsyncContextManager):
        hint = ' (decorate it with contextlib.asynccontextmanager)'
        right = RIGHT + (hint if isinstance(manager, AsyncIterator) else '')
        raise TableError.of('what lifespan returns', manager, right)
    return manager
