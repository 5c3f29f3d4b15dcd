"""Fetch with a pyreqwest client that all requests share."""

from __future__ import annotations

from collections.abc import AsyncIterator
from contextlib import asynccontextmanager

from pyreqwest.client import ClientBuilder

from . import Fetch


@asynccontextmanager
async def opened(url: str) -> AsyncIterator[Fetch]:
    async with ClientBuilder().build() as client:

        async def fetch() -> str:
            return await (await client.get(url).build().send()).text()

        yield fetch
