"""Run one client under test: ``python -m benchmarks.client MODULE[.KIND] URL LOOP``.

Each line of its input is a number of requests. It sends them, 16 at a time, and prints ``done``.
A wrong response body ends the program.
"""

from __future__ import annotations

import asyncio
import sys
from collections.abc import Iterator
from importlib import import_module

from .check import GREETING
from .clients import Fetch
from .loops import run

AT_ONCE = 16


async def fetch_all(fetch: Fetch, number: int) -> None:
    """Send a number of requests, 16 at a time."""

    async def worker(left: Iterator[int]) -> None:
        for _ in left:
            if (body := await fetch()) != GREETING:
                raise ValueError(f'the body is {body!r}')

    left = iter(range(number))
    await asyncio.gather(*(worker(left) for _ in range(AT_ONCE)))


async def main(name: str, url: str) -> None:
    module, *kind = name.split('.')
    async with import_module(f'benchmarks.clients.{module}').opened(url, *kind) as fetch:
        await fetch_all(fetch, AT_ONCE)
        print('ready', flush=True)
        for line in sys.stdin:  # blocks the loop: nothing needs to run between measurements
            await fetch_all(fetch, int(line))
            print('done', flush=True)


if __name__ == '__main__':
    name, url, loop = sys.argv[1:]
    run(main(name, url), loop)
