"""Fetch from a handler in process, with ``Client(via=handler)``."""

from __future__ import annotations

from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from typing import Any

import aioluahttp as http

from ..check import GREETING
from . import Fetch


async def hello(request: http.Request) -> dict[str, Any]:
    return {'status': 200, 'body': GREETING}


@asynccontextmanager
async def opened(url: str) -> AsyncIterator[Fetch]:
    async with http.Client(via=hello) as client:

        async def fetch() -> str:
            return (await client.request(url=url)).body

        yield fetch
