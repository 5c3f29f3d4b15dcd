"""Read a response body with ``into='stream'``."""

from __future__ import annotations

from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from pathlib import Path

import aioluahttp as http

from . import Move


@asynccontextmanager
async def opened(url: str, path: Path) -> AsyncIterator[Move]:
    async def move() -> int:
        response = await http.request({'url': url, 'into': 'stream'})
        async with response.body as stream:
            return sum([len(chunk) async for chunk in stream])

    yield move
