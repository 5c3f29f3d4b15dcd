"""Flights: requests on their way to a handler, and others that wait for the same response."""

from __future__ import annotations

import asyncio
from collections.abc import Callable
from contextlib import suppress
from typing import NamedTuple

from ..headers import Headers
from ..tables.models import Request
from .entries import Entry
from .fills import Fill

__all__ = ['Flight', 'Found']


class Found(NamedTuple):
    """A response that can be served: it is stored, or on its way into the storage."""

    key: str
    entry: Entry
    fill: Fill | None = None


class Flight:
    """A request on its way to the handler, and others that wait for its response.

    Attributes:
        headers: Of the request.
        settled: Whether it is known what the others may be served with.
        found: What they may be served with; None if they are on their own.
        void: Whether an unsafe request has invalidated the response meanwhile.
    """

    def __init__(self, request: Request) -> None:
        self.headers: Headers = request['headers']
        self.settled: bool = False
        self.found: Found | None = None
        self.void: bool = False
        self._waiting: asyncio.Event | None = None

    def settle(self, found: Found | None) -> None:
        """Let the others go on. Only the first call counts."""
        if not self.settled:
            self.settled, self.found = True, found
            if self._waiting is not None:
                self._waiting.set()

    async def wait(self, seconds: float | None) -> Found | None:
        """Wait for the response; None if it takes longer, or is for one client alone."""
        if not self.settled:
            if self._waiting is None:
                self._waiting = asyncio.Event()
            with suppress(TimeoutError):
                async with asyncio.timeout(seconds):
                    await self._waiting.wait()
        return self.found

    def call_when_stored(self, function: Callable[[], object]) -> None:
        """Call a function once the body is stored, or no longer is: at once, or by its task."""
        fill = None if self.found is None else self.found.fill
        if fill is None or fill.task is None:
            function()
        else:
            fill.task.add_done_callback(lambda _: function())
