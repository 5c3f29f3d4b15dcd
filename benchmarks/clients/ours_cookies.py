"""Fetch with a ``Client`` that sends 5 cookies."""

from __future__ import annotations

from collections.abc import AsyncIterator
from contextlib import asynccontextmanager

import aioluahttp as http

from . import Fetch

COOKIES = {f'name-{n}': f'value-{n}' for n in range(5)}


@asynccontextmanager
async def opened(url: str) -> AsyncIterator[Fetch]:
    async with http.Client(base_url=url, cookies=COOKIES) as client:

        async def fetch() -> str:
            return (await client.request(url=url)).body

        yield fetch
