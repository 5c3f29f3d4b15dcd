"""Fetch with ``aiohttp.request``, which opens a session and a connection for each request."""

from __future__ import annotations

from collections.abc import AsyncIterator
from contextlib import asynccontextmanager

import aiohttp

from . import Fetch


@asynccontextmanager
async def opened(url: str) -> AsyncIterator[Fetch]:
    async def fetch() -> str:
        async with aiohttp.request('GET', url) as response:
            return await response.text()

    yield fetch
