"""Deadlines of many requests at once, over which one timer of the loop watches."""

from __future__ import annotations

import asyncio
import math

__all__ = ['Deadlines']

PAUSE = 0.01  # seconds between two looks at all of them, however many pass one by one


class Deadlines:
    """Those of the requests under way, all in one loop.

    To set and cancel a timer for each costs more than all else that a deadline does.
    """

    def __init__(self) -> None:
        self._when: dict[asyncio.Timeout, float] = {}
        self._next = math.inf
        self._timer: asyncio.TimerHandle | None = None

    def __len__(self) -> int:
        return len(self._when)

    def add(self, deadline: asyncio.Timeout, seconds: float | None) -> None:
        """Let a deadline that has been entered pass in so many seconds; ``None`` is never."""
        when = math.inf
        if seconds is not None:
            loop = asyncio.get_running_loop()
            when = loop.time() + seconds
            if when < self._next:
                self._watch(loop, when)
        self._when[deadline] = when

    def remove(self, deadline: asyncio.Timeout) -> None:
        """Forget a deadline, if it is there."""
        self._when.pop(deadline, None)

    def pass_all(self) -> None:
        """Let all of them pass now, and set no timer for what is removed after that."""
        self._pass(math.inf)
        if self._timer:
            self._timer.cancel()

    def _watch(self, loop: asyncio.AbstractEventLoop, when: float) -> None:
        if self._timer:
            self._timer.cancel()
        self._next = when
        self._timer = loop.call_at(when, self._look, loop)

    def _look(self, loop: asyncio.AbstractEventLoop) -> None:
        now = max(loop.time(), self._next)  # a loop may call a tick of its clock too early
        self._next, self._timer = math.inf, None
        self._pass(now)
        ahead = min(self._when.values(), default=math.inf)
        if ahead < math.inf:
            self._watch(loop, max(ahead, now + PAUSE))

    def _pass(self, now: float) -> None:
        for deadline, when in self._when.items():
            if when <= now:
                self._when[deadline] = math.inf
                if not deadline.expired():
                    deadline.reschedule(0)
