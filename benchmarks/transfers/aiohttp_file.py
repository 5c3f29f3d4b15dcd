"""Download to a file with aiohttp's ``iter_chunked``, in the loop, as in its documentation."""

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
                with path.open('wb') as file:
                    async for chunk in response.content.iter_chunked(CHUNK):
                        file.write(chunk)
            return path.stat().st_size  # noqa: ASYNC240

        yield move
