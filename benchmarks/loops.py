"""Run a coroutine on an event loop chosen by name."""

from __future__ import annotations

import asyncio
from collections.abc import Coroutine
from typing import Any

__all__ = ['run']


def run(main: Coroutine[Any, Any, None], loop: str) -> None:
    """Run a coroutine on a new loop, ``'asyncio'`` or ``'uvloop'``."""
    factory = None
    if loop == 'uvloop':
        import uvloop

        factory = uvloop.new_event_loop
    with asyncio.Runner(loop_factory=factory) as runner:
        runner.run(main)
