"""The middleware ``limit``: limit the requests per second and at once; further ones wait."""

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
    """Limit the rate and the number of concurrent requests of a handler; further requests wait.

    Requests go on in the order in which they came. A streamed response counts until its body is
    read to the end or closed. Each event loop has its own limits. On a server requests wait too;
    to reject them instead, use ``max_concurrent`` of ``listen``.

    Args:
        handler: The handler to wrap.
        rate: Requests per second, evenly spaced, without bursts. ``None`` is no limit, here and
            below.
        concurrency: Requests at once.
        per_host: Whether each host has its own limits.

    Raises:
        TableError: A limit is invalid.
    """
    _check_rate(rate)
    check_limit('concurrency', concurrency)
    gates: dict[Any, Gate] = {}

    @wraps(handler)  # also copies ``into`` and ``max_body``, which servers read from a handler
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
    """The limits of one event loop, or of one of its hosts: first come, first served."""

    def __init__(self, rate: float | None, concurrency: int | None) -> None:
        self._slots = asyncio.Semaphore(concurrency) if concurrency else None
        self._turn = asyncio.Lock()  # its holder is the next to start
        self._pause = 1 / rate if rate else 0.0
        self._next = -math.inf
        self._users = 0

    async def enter(self) -> None:
        """Wait for a free slot, then for the time that ``rate`` allows."""
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
            # From the planned time of the request before, so that a late timer does not add up.
            start = max(self._next, loop.time())
            await asyncio.sleep(start - loop.time())
            self._next = start + self._pause

    def leave(self, error: BaseException | None = None) -> None:
        """Release the slot."""
        self._users -= 1
        if self._slots:
            self._slots.release()

    def is_idle(self, now: float) -> bool:
        """Tell whether the gate can be dropped: a new one would behave the same."""
        return not self._users and self._next <= now


def forget_idle(gates: dict[Any, Gate]) -> None:
    """Drop the gates that are idle and those of closed loops, so that ``gates`` stays small."""
    for key, gate in list(gates.items()):
        loop = key[0]
        if loop.is_closed() or gate.is_idle(loop.time()):
            gates.pop(key, None)  # another thread may have dropped it


def _check_rate(rate: Any) -> None:
    number = isinstance(rate, int | float) and not isinstance(rate, bool)
    if rate is not None and not (number and 0 < rate < math.inf):
        raise TableError.of('rate', rate, 'a number of requests per second above 0, or None')
