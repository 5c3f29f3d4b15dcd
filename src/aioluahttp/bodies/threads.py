"""Calls in threads, which are over before whoever waits for them goes on."""

from __future__ import annotations

import asyncio
from collections.abc import Callable
from typing import TypeVar

__all__ = ['in_thread', 'over', 'start']

T = TypeVar('T')


def start(function: Callable[..., T], *arguments: object) -> asyncio.Future[T]:
    """Call a function in a thread; wait for it by ``over``."""
    return asyncio.get_running_loop().run_in_executor(None, function, *arguments)


async def over(work: asyncio.Future[T]) -> T:
    """Wait for a thread to the end, even if cancelled: what it still writes cannot be closed."""
    cancelled: asyncio.CancelledError | None = None
    while not work.done():
        try:
            await asyncio.wait([work])
        except asyncio.CancelledError as error:
            cancelled = error
    if cancelled:
        work.exception()  # has been looked at, then
        raise cancelled
    return work.result()


async def in_thread(function: Callable[..., T], *arguments: object) -> T:
    """Call a function in a thread, and wait for it as ``over`` does."""
    return await over(start(function, *arguments))
