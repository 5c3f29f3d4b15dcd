"""Fetch with an aiohttp session that all requests share."""

from __future__ import annotations

from collections.abc import AsyncIterator
from contextlib import asynccontextmanager

import aiohttp

from . import Fetch


@asynccontextmanager
async def opened(url: str) -> AsyncIterator[Fetch]:
    async with aiohttp.ClientSession() as session:

        async def fetch() -> str:
            async with session.get(url) as response:
                return await response.text()

        yield fetch
