"""Fetch from an ASGI application in process, with httpx2's ``ASGITransport``."""

from __future__ import annotations

from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from typing import Any

import httpx2

from ..check import GREETING
from . import Fetch

START = {
    'type': 'http.response.start',
    'status': 200,
    'headers': [(b'content-type', b'text/plain; charset=utf-8'), (b'content-length', b'11')],
}


async def hello(scope: Any, receive: Any, send: Any) -> None:
    await send(START)
    await send({'type': 'http.response.body', 'body': GREETING.encode()})


@asynccontextmanager
async def opened(url: str) -> AsyncIterator[Fetch]:
    async with httpx2.AsyncClient(transport=httpx2.ASGITransport(app=hello)) as client:

        async def fetch() -> str:
            return (await client.get(url)).text

        yield fetch
