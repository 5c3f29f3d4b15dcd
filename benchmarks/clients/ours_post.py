"""Post 10 KiB of bytes, with the module-level ``request``."""

from __future__ import annotations

from collections.abc import AsyncIterator
from contextlib import asynccontextmanager

import aioluahttp as http

from . import Fetch


@asynccontextmanager
async def opened(url: str, size: int = 10 * 1024) -> AsyncIterator[Fetch]:
    data = bytes(size)

    async def fetch() -> str:
        return (await http.request({'method': 'POST', 'url': url, 'body': data})).body

    yield fetch
