"""Read a response body with aiohttp's ``iter_chunked``."""

from __future__ import annotations

from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from pathlib import Path

import aiohttp

from . import CHUNK, Move


@asynccontextmanager
async def opened(url: str, path: Path) -> AsyncIterator[Move]:
    async with aiohttp.ClientSession() as session:

        async def move() -> int:
            async with session.get(url) as response:
                return sum([len(chunk) async for chunk in response.content.iter_chunked(CHUNK)])

        yield move
