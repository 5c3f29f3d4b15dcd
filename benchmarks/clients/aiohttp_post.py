"""Post 10 KiB of bytes, with an aiohttp session."""

from __future__ import annotations

from collections.abc import AsyncIterator
from contextlib import asynccontextmanager

import aiohttp

from . import Fetch


@asynccontextmanager
async def opened(url: str, size: int = 10 * 1024) -> AsyncIterator[Fetch]:
    data = bytes(size)
    async with aiohttp.ClientSession() as session:

        async def fetch() -> str:
            async with session.post(url, data=data) as response:
                return await response.text()

        yield fetch
