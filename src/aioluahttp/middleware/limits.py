"""The middleware ``limit``: limit the requests per second and at once; others wait or get a 429."""

from __future__ import annotations

import asyncio
import math
from collections.abc import Callable, Hashable
from functools import wraps
from typing import Any

from ..errors import TableError
from ..tables.checks import check_function, check_limit
from ..tables.conversion import status_page, to_request
from ..tables.handlers import response_of_handler
from ..tables.models import Handler, Request, Response, Wrapped
from .taps import tap

__all__ = ['limit']

FEW = 64  # gates: so many are never searched for idle ones


def limit(
    handler: Handler,
    *,
    rate: float | None = None,
    concurrency: int | None = None,
    per_host: bool = False,
    burst: int = 1,
    key: Callable[[Request], Hashable] | None = None,
    refuse: bool = False,
) -> Wrapped:
    """Limit the rate and the number of concurrent requests of a handler.

    Further requests wait, and go on in the order in which they came, or with ``refuse`` get a 429
    (RFC 6585 4) with Retry-After. A streamed response counts until its body is read to the end or
    closed. Each event loop has its own limits.

    Args:
        handler: The handler to wrap.
        rate: Requests per second, evenly spaced. ``None`` is no limit, here and below.
        concurrency: Requests at once.
        per_host: Whether each host has its own limits.
        burst: Requests that ``rate`` lets start at once after a pause.
        key: Takes a request and returns what has limits of its own, such as its ``ip``; it
            excludes ``per_host``. With neither, all requests share the limits.
        refuse: Whether a request above the limits gets a 429 instead of waiting.

    Raises:
        TableError: An option is invalid.
    """
    _check_rate(rate)
    check_limit('concurrency', concurrency)
    _check_burst(burst)
    key = _check_key(key, per_host)
    gates = Gates(rate, concurrency, burst)

    @wraps(handler)  # also copies ``into`` and ``max_body``, which servers read from a handler
    async def limited(table: Any) -> Response[Any]:
        request = to_request(table)
        gate = gates.find(key(request))
        if refuse and (wait := gate.wait_needed()):
            return status_page(429, {'Retry-After': math.ceil(wait)})
        await gate.enter()
        try:
            response = await response_of_handler(handler, request)
        except BaseException:
            gate.leave()
            raise
        return await tap(response, gate.leave)

    return limited


class Gate:
    """The limits of one event loop, or of one of its keys: first come, first served."""

    def __init__(self, rate: float | None, concurrency: int | None, burst: int = 1) -> None:
        self._slots = asyncio.Semaphore(concurrency) if concurrency else None
        self._turn = asyncio.Lock()  # its holder is the next to start
        self._pause = 1 / rate if rate else 0.0
        self._ahead = (burst - 1) * self._pause  # seconds that a start may be too early
        self._next = -math.inf  # when the next request starts if all are evenly spaced
        self._users = 0

    def wait_needed(self) -> float:
        """Return the seconds after which a refused request may try again; 0 if it may enter."""
        early = self._next - self._ahead - asyncio.get_running_loop().time()
        if early > 0:
            return early
        return 1.0 if self._slots and self._slots.locked() else 0.0

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
            start = max(self._next - self._ahead, loop.time())
            if (delay := start - loop.time()) > 0:  # else the next one sees this start at once
                await asyncio.sleep(delay)
            self._next = max(self._next, start) + self._pause

    def leave(self, error: BaseException | None = None) -> None:
        """Release the slot."""
        self._users -= 1
        if self._slots:
            self._slots.release()

    def is_idle(self, now: float) -> bool:
        """Tell whether the gate can be dropped: a new one would behave the same."""
        return not self._users and self._next <= now


class Gates:
    """The gates of a handler, by event loop and key. Idle ones are dropped as new ones come."""

    def __init__(self, *limits: Any) -> None:
        self._limits = limits
        self._gates: dict[Any, Gate] = {}
        self._search_at = FEW

    def __len__(self) -> int:
        return len(self._gates)

    def find(self, key: Hashable) -> Gate:
        """Return the gate of a key in the running event loop."""
        place = asyncio.get_running_loop(), key
        if (gate := self._gates.get(place)) is None:
            if len(self._gates) >= self._search_at:
                self._forget_idle()
                self._search_at = max(FEW, 2 * len(self._gates))  # rare, so cheap for each key
            gate = self._gates[place] = Gate(*self._limits)
        return gate

    def _forget_idle(self) -> None:
        for place, gate in list(self._gates.items()):
            loop = place[0]
            if loop.is_closed() or gate.is_idle(loop.time()):
                self._gates.pop(place, None)  # another thread may have dropped it


def _check_key(key: Any, per_host: Any) -> Callable[[Request], Hashable]:
    if key is None:
        return _by_host if per_host else _for_all
    if per_host:
        raise TableError.of('key', key, "absent when 'per_host' is given")
    checked: Callable[[Request], Hashable] = check_function('key', 'a function of a request')(key)
    return checked


def _by_host(request: Request) -> str:
    return request.host


def _for_all(request: Request) -> None:
    return None


def _check_burst(burst: Any) -> None:
    if isinstance(burst, bool) or not isinstance(burst, int) or burst < 1:
        raise TableError.of('burst', burst, 'an int of 1 or more')


def _check_rate(rate: Any) -> None:
    number = isinstance(rate, int | float) and not isinstance(rate, bool)
    if rate is not None and not (number and 0 < rate < math.inf):
        raise TableError.of('rate', rate, 'a number of requests per second above 0, or None')
