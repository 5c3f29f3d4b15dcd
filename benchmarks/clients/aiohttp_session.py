"""Fetch with an aiohttp session that all requests share."""

from __future__ import annotations

from collections.abc import AsyncIterator
from contextlib import asynccontextmanager

import aiohttp
import yarl

from ..check import GREETING, MANY
from . import COOKIES, Fetch

HEADERS = {f'X-Header-{n}': f'value {n}' for n in range(MANY)}


def fetches(session: aiohttp.ClientSession, url: str) -> dict[str, Fetch]:
    """Return a function for each kind of request."""
    short, long = bytes(10 * 1024), bytes(64 * 1024)

    async def hello() -> str:
        async with session.get(url) as response:
            return await response.text()

    async def headers() -> str:
        async with session.get(url, headers=HEADERS) as response:
            return await response.text()

    async def text() -> str:
        async with session.get(url) as response:
            return (await response.text())[: len(GREETING)]

    async def objects() -> str:
        async with session.get(url) as response:
            return str((await response.json())[0]['text'])

    async def post() -> str:
        async with session.post(url, data=short) as response:
            return await response.text()

    async def post_long() -> str:
        async with session.post(url, data=long) as response:
            return await response.text()

    async def tls() -> str:
        async with session.get(url, ssl=False) as response:
            return await response.text()

    return {one.__name__: one for one in (hello, headers, text, objects, post, post_long, tls)}


@asynccontextmanager
async def opened(url: str, kind: str = 'hello') -> AsyncIterator[Fetch]:
    jar = aiohttp.CookieJar(unsafe=True)  # else it takes no cookies of an address
    if kind == 'cookies':
        jar.update_cookies(COOKIES, yarl.URL(url))
        kind = 'hello'
    async with aiohttp.ClientSession(cookie_jar=jar) as session:
        yield fetches(session, url)[kind]
