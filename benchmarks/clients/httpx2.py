"""Fetch with an httpx2 client that all requests share."""

from __future__ import annotations

from collections.abc import AsyncIterator
from contextlib import asynccontextmanager

import httpx2

from . import Fetch


@asynccontextmanager
async def opened(url: str) -> AsyncIterator[Fetch]:
    async with httpx2.AsyncClient() as client:

        async def fetch() -> str:
            return (await client.get(url)).text

        yield fetch
