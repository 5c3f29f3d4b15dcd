"""Fetch with 20 request headers, with an aiohttp session."""

from __future__ import annotations

from collections.abc import AsyncIterator
from contextlib import asynccontextmanager

import aiohttp

from . import Fetch

HEADERS = {f'X-Header-{n}': f'value {n}' for n in range(20)}


@asynccontextmanager
async def opened(url: str) -> AsyncIterator[Fetch]:
    async with aiohttp.ClientSession() as session:

        async def fetch() -> str:
            async with session.get(url, headers=HEADERS) as response:
                return await response.text()

        yield fetch
