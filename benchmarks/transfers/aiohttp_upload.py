"""Upload a file with aiohttp, which reads it in threads."""

from __future__ import annotations

from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from pathlib import Path

import aiohttp

from . import Move


@asynccontextmanager
async def opened(url: str, path: Path) -> AsyncIterator[Move]:
    async with aiohttp.ClientSession() as session:

        async def move() -> str:
            with path.open('rb') as file:
                async with session.put(url, data=file) as response:
                    return await response.text()

        yield move
