"""Fetch with the module-level ``request``, or with a ``Client`` that has cookies."""

from __future__ import annotations

from collections.abc import AsyncIterator
from contextlib import asynccontextmanager

import aioluahttp as http

from ..check import GREETING, MANY
from . import COOKIES, Fetch

HEADERS = {f'X-Header-{n}': f'value {n}' for n in range(MANY)}


def fetches(url: str) -> dict[str, Fetch]:
    """Return a function for each kind of request."""
    short, long = bytes(10 * 1024), bytes(64 * 1024)

    async def hello() -> str:
        return (await http.request({'url': url})).body

    async def headers() -> str:
        return (await http.request({'url': url, 'headers': HEADERS})).body

    async def text() -> str:
        return (await http.request({'url': url})).body[: len(GREETING)]

    async def objects() -> str:
        response = await http.request({'url': url, 'into': 'json'})
        return str(response.body[0]['text'])

    async def post() -> str:
        return (await http.request({'method': 'POST', 'url': url, 'body': short})).body

    async def post_long() -> str:
        return (await http.request({'method': 'POST', 'url': url, 'body': long})).body

    async def tls() -> str:
        return (await http.request({'url': url, 'tls': {'verify': False}})).body

    return {one.__name__: one for one in (hello, headers, text, objects, post, post_long, tls)}


@asynccontextmanager
async def opened(url: str, kind: str = 'hello') -> AsyncIterator[Fetch]:
    if kind != 'cookies':
        yield fetches(url)[kind]
        return
    async with http.Client() as client:
        for name, value in COOKIES.items():
            client.cookies.set(name, value, url)

        async def fetch() -> str:
            return (await client.request(url=url)).body

        yield fetch
