"""Download to a file with a path as ``into``."""

from __future__ import annotations

from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from pathlib import Path

import aioluahttp as http

from . import Move


@asynccontextmanager
async def opened(url: str, path: Path) -> AsyncIterator[Move]:
    async def move() -> int:
        await http.request({'url': url, 'into': path})
        return path.stat().st_size  # noqa: ASYNC240

    yield move
