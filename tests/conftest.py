"""What every test has: coroutines run as tests, in a loop that leaves nothing behind."""

from __future__ import annotations

import asyncio
import functools
import inspect

import pytest


@pytest.hookimpl(tryfirst=True)
def pytest_pyfunc_call(pyfuncitem: pytest.Function) -> None:
    """Run a test that is a coroutine function in a loop of its own, and look for leaked tasks."""
    function = pyfuncitem.obj
    if not inspect.iscoroutinefunction(function):
        return

    @functools.wraps(function)
    def in_a_loop(**arguments: object) -> None:
        async def run() -> None:
            async with asyncio.timeout(60):  # a hang is a failure, not a stuck build
                await function(**arguments)
            left = asyncio.all_tasks() - {asyncio.current_task()}
            assert not left, f'tasks left behind: {left}'

        asyncio.run(run(), debug=False)

    pyfuncitem.obj = in_a_loop
