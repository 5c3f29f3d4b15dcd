"""So many requests a second, or at once, and the others wait for their turn."""

from __future__ import annotations

import asyncio
import math
from functools import wraps
from typing import Any

from ..errors import TableError
from ..tables.checks import check_limit
from ..tables.conversion import to_request
from ..tables.handlers import response_of_handler
from ..tables.models import Handler, Response, Wrapped
from .taps import tap

__all__ = ['limit']


def limit(
    handler: Handler,
    *,
    rate: float | None = None,
    concurrency: int | None = None,
    per_host: bool = False,
) -> Wrapped:
    """Let a handler have so many requests, and let the others wait: who came first goes first.

    A response that flows counts as under way until it is read to its end or closed. Each event
    loop has limits of its own. A middleware of a server waits as well: to turn clients away give
    ``max_concurrent`` to ``listen``.

    Args:
        handler: What to wrap.
        rate: Requests a second, evenly apart, so no two at once. ``None`` is no limit, here and
            below.
        concurrency: Requests at once.
        per_host: Whether each host has the limits to itself.

    Raises:
        TableError: A limit is not what it can be.
    """
    _check_rate(rate)
    check_limit('concurrency', concurrency)
    gates: dict[Any, Gate] = {}

    @wraps(handler)  # with what listen reads from it
    async def limited(table: Any) -> Response[Any]:
        request = to_request(table)
        key = asyncio.get_running_loop(), per_host and request['host']
        if (gate := gates.get(key)) is None:
            forget_idle(gates)
            gate = gates[key] = Gate(rate, concurrency)
        await gate.enter()
        try:
            response = await response_of_handler(handler, request)
        except BaseException:
            gate.leave()
            raise
        return await tap(response, gate.leave)

    return limited


class Gate:
    """Lets requests through, in the order in which they come."""

    def __init__(self, rate: float | None, concurrency: int | None) -> None:
        self._slots = asyncio.Semaphore(concurrency) if concurrency else None
        self._turn = asyncio.Lock()  # who has it is the next to go
        self._pause = 1 / rate if rate else 0.0
        self._next = -math.inf
        self._users = 0

    async def enter(self) -> None:
        """Wait for a slot, and until it is time."""
        self._users += 1
        try:
            if self._slots:
                await self._slots.acquire()
        except BaseException:
            self._users -= 1
            raise
        try:
            if self._pause:
                await self._pace()
        except BaseException:
            self.leave()
            raise

    async def _pace(self) -> None:
        async with self._turn:
            loop = asyncio.get_running_loop()
            start = max(self._next, loop.time())  # what the loop is late by is caught up with
            await asyncio.sleep(start - loop.time())
            self._next = start + self._pause

    def leave(self, error: BaseException | None = None) -> None:
        """Give the slot to the next."""
        self._users -= 1
        if self._slots:
            self._slots.release()

    def is_idle(self, now: float) -> bool:
        """Tell whether another gate in its place would make no difference."""
        return not self._users and self._next <= now


def forget_idle(gates: dict[Any, Gate]) -> None:
    """Keep no more of them than there are hosts to wait for; those of a closed loop neither."""
    for key, gate in list(gates.items()):
        loop = key[0]
        if loop.is_closed() or gate.is_idle(loop.time()):
            gates.pop(key, None)  # of another thread's loop it may be gone


def _check_rate(rate: Any) -> None:
    number = isinstance(rate, int | float) and not isinstance(rate, bool)
    if rate is not None and not (number and 0 < rate < math.inf):
        raise TableError.of('rate', rate, 'a number of requests a second above 0, or None')
