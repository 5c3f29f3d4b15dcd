"""Fetch with a niquests session that all requests share."""

from __future__ import annotations

from collections.abc import AsyncIterator
from contextlib import asynccontextmanager

import niquests

from ..client import AT_ONCE
from . import Fetch


@asynccontextmanager
async def opened(url: str) -> AsyncIterator[Fetch]:
    # Its default pool of 10 would open and close connections all the time.
    async with niquests.AsyncSession(pool_maxsize=AT_ONCE) as session:

        async def fetch() -> str:
            return (await session.get(url)).text or ''

        yield fetch
