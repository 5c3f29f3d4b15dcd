"""Deadlines of the requests in progress, all watched by one timer of the event loop."""

from __future__ import annotations

import asyncio
import math
from collections.abc import Callable
from types import TracebackType
from typing import Self

__all__ = ['Deadline', 'Deadlines']

PAUSE = 0.01  # seconds: the least time between two scans, however many deadlines pass


class Deadline:
    """Cancel a block once some seconds have passed, and raise an exception from it.

    Like ``asyncio.timeout``, which costs over twice as much.

    Args:
        deadlines: That it is watched with.
        seconds: ``None`` is never, unless all deadlines are made to pass.
        error: Makes the exception.

    Attributes:
        passed: Whether it has passed.
        when: When it passes, in the time of the event loop.
    """

    __slots__ = ('_cancelling', '_deadlines', '_error', '_seconds', '_task', 'passed', 'when')

    def __init__(
        self,
        deadlines: Deadlines,
        seconds: float | None,
        error: Callable[[], Exception],
    ) -> None:
        self._deadlines, self._seconds, self._error = deadlines, seconds, error
        self._task: asyncio.Task[object] | None = None
        self._cancelling = 0
        self.passed: bool = False
        self.when: float = math.inf

    def __enter__(self) -> Self:
        self._task = asyncio.current_task()
        assert self._task is not None
        self._cancelling = self._task.cancelling()
        self._deadlines.add(self, self._seconds)
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        traceback: TracebackType | None,
    ) -> None:
        self._deadlines.remove(self)
        task, self._task = self._task, None  # the error's traceback may keep this object alive
        if not self.passed or task is None:
            return
        # Another cancellation counts more: the caller must see it.
        is_ours = task.uncancel() <= self._cancelling
        if is_ours and isinstance(error, asyncio.CancelledError):
            late = TimeoutError()
            late.__cause__ = error
            raise self._error() from late

    def expire(self) -> None:
        """Cancel the block, once, if it has not ended. Not for the task of the block itself."""
        if not self.passed and self._task is not None:
            self.passed = True
            self._task.cancel()


class Deadlines:
    """Deadlines of the requests in progress in one event loop.

    Setting and cancelling a timer for each would cost more than the rest of a deadline's work.
    """

    def __init__(self) -> None:
        self._open: set[Deadline] = set()
        self._next = math.inf
        self._timer: asyncio.TimerHandle | None = None
        self._all_removed: asyncio.Event | None = None  # if somebody waits for that

    def __len__(self) -> int:
        return len(self._open)

    def add(self, deadline: Deadline, seconds: float | None) -> None:
        """Watch a deadline that passes after some seconds; ``None`` is never."""
        self._open.add(deadline)
        if seconds is None:
            return
        loop = asyncio.get_running_loop()
        deadline.when = loop.time() + seconds
        if deadline.when < self._next:
            self._set_timer(loop, deadline.when)

    def remove(self, deadline: Deadline) -> None:
        """Stop watching a deadline."""
        self._open.discard(deadline)
        if self._all_removed is not None and not self._open:
            self._all_removed.set()

    async def wait(self) -> None:
        """Wait until no deadline is watched any more."""
        if self._open:
            self._all_removed = self._all_removed or asyncio.Event()
            await self._all_removed.wait()

    def pass_all(self) -> None:
        """Let all deadlines pass now, and cancel the timer."""
        for deadline in self._open:
            asyncio.get_running_loop().call_soon(deadline.expire)  # it may be of this task
        if self._timer:
            self._timer.cancel()

    def _set_timer(self, loop: asyncio.AbstractEventLoop, when: float) -> None:
        if self._timer:
            self._timer.cancel()
        self._next = when
        self._timer = loop.call_at(when, self._scan, loop)

    def _scan(self, loop: asyncio.AbstractEventLoop) -> None:
        now = max(loop.time(), self._next)  # a loop may call one tick of its clock early
        self._next, self._timer, ahead = math.inf, None, math.inf
        for deadline in self._open:
            if deadline.when <= now:
                deadline.expire()
            else:
                ahead = min(ahead, deadline.when)
        if ahead < math.inf:
            self._set_timer(loop, max(ahead, now + PAUSE))
