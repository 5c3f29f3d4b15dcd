"""Upload a file as the ``body`` of a request."""

from __future__ import annotations

from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from pathlib import Path

import aioluahttp as http

from . import Move


@asynccontextmanager
async def opened(url: str, path: Path) -> AsyncIterator[Move]:
    async def move() -> str:
        return (await http.request({'url': url, 'method': 'PUT', 'body': path})).body

    yield move
