"""A timer whose deadline moves often, as at every byte that a peer sends."""

from __future__ import annotations

import asyncio
import contextvars
from collections.abc import Callable

__all__ = ['MovingDeadline']

LATE = 0.05  # seconds by which a timer is late if the event loop was busy
TURN = 0.001  # seconds after which the loop has looked for what has arrived meanwhile


class MovingDeadline:
    """Call a function once a deadline has passed.

    One timer of the event loop runs at a time, and finds out when it fires whether the deadline has
    moved: to set and cancel one for each move would cost more than the rest of the work.

    If the event loop was busy when the deadline passed, it first gets a turn to take what arrived
    in time.

    Args:
        loop: The event loop.
        passed: What to call.
        context: In which ``passed`` is called: that of the caller would be kept alive.
    """

    __slots__ = ('_at', '_context', '_fires', '_loop', '_passed', '_timer')

    def __init__(
        self,
        loop: asyncio.AbstractEventLoop,
        passed: Callable[[], None],
        context: contextvars.Context,
    ) -> None:
        self._loop, self._passed, self._context = loop, passed, context
        self._at: float | None = None  # loop time of the deadline; None for none
        self._timer: asyncio.TimerHandle | None = None
        self._fires = 0.0  # loop time at which the timer fires

    def move(self, seconds: float) -> None:
        """Set the deadline to some seconds from now."""
        self._at = at = self._loop.time() + seconds
        if self._timer is None:
            self._start(at)
        elif self._fires > at:
            self._timer.cancel()
            self._start(at)

    def clear(self) -> None:
        """Have no deadline; a timer that runs finds out by itself."""
        self._at = None

    def cancel(self) -> None:
        """Have no deadline any more, and no reference to ``passed``, which may refer to this."""
        self._at, self._passed = None, _do_nothing
        if self._timer is not None:
            self._timer.cancel()
            self._timer = None

    def _start(self, at: float) -> None:
        self._fires = at
        self._timer = self._loop.call_at(at, self._check, context=self._context)

    def _check(self) -> None:
        self._timer, at = None, self._at
        if at is None:
            return
        now = self._loop.time()
        if now < at:
            self._start(at)
        elif now > self._fires + LATE:
            self._start(now + TURN)
        else:
            self._at = None
            self._passed()


def _do_nothing() -> None:
    pass
