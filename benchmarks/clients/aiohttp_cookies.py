"""Fetch with an aiohttp session whose jar has 5 cookies for this server."""

from __future__ import annotations

from collections.abc import AsyncIterator
from contextlib import asynccontextmanager

import aiohttp
import yarl

from . import Fetch

COOKIES = {f'name-{n}': f'value-{n}' for n in range(5)}


@asynccontextmanager
async def opened(url: str) -> AsyncIterator[Fetch]:
    jar = aiohttp.CookieJar(unsafe=True)  # else it takes no cookies of an address
    jar.update_cookies(COOKIES, yarl.URL(url))
    async with aiohttp.ClientSession(cookie_jar=jar) as session:

        async def fetch() -> str:
            async with session.get(url) as response:
                return await response.text()

        yield fetch
