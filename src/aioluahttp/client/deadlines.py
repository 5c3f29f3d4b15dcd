"""Deadlines of the requests in progress, all watched by one timer of the event loop."""

from __future__ import annotations

import asyncio
import math

__all__ = ['Deadlines']

PAUSE = 0.01  # seconds: the least time between two scans, however many deadlines pass


class Deadlines:
    """Deadlines of the requests in progress in one event loop.

    Setting and cancelling a timer for each would cost more than the rest of a deadline's work.
    """

    def __init__(self) -> None:
        self._when: dict[asyncio.Timeout, float] = {}
        self._next = math.inf
        self._timer: asyncio.TimerHandle | None = None

    def __len__(self) -> int:
        return len(self._when)

    def add(self, deadline: asyncio.Timeout, seconds: float | None) -> None:
        """Let a deadline that was entered pass after some seconds; ``None`` is never."""
        when = math.inf
        if seconds is not None:
            loop = asyncio.get_running_loop()
            when = loop.time() + seconds
            if when < self._next:
                self._set_timer(loop, when)
        self._when[deadline] = when

    def remove(self, deadline: asyncio.Timeout) -> None:
        """Remove a deadline, if it is there."""
        self._when.pop(deadline, None)

    def pass_all(self) -> None:
        """Let all deadlines pass now, and cancel the timer."""
        self._expire(math.inf)
        if self._timer:
            self._timer.cancel()

    def _set_timer(self, loop: asyncio.AbstractEventLoop, when: float) -> None:
        if self._timer:
            self._timer.cancel()
        self._next = when
        self._timer = loop.call_at(when, self._scan, loop)

    def _scan(self, loop: asyncio.AbstractEventLoop) -> None:
        now = max(loop.time(), self._next)  # a loop may call one tick of its clock early
        self._next, self._timer = math.inf, None
        self._expire(now)
        ahead = min(self._when.values(), default=math.inf)
        if ahead < math.inf:
            self._set_timer(loop, max(ahead, now + PAUSE))

    def _expire(self, now: float) -> None:
        for deadline, when in self._when.items():
            if when <= now:
                self._when[deadline] = math.inf
                if not deadline.expired():
                    deadline.reschedule(0)
