"""Fetch with 20 request headers, with the module-level ``request``."""

from __future__ import annotations

from collections.abc import AsyncIterator
from contextlib import asynccontextmanager

import aioluahttp as http

from . import Fetch

HEADERS = {f'X-Header-{n}': f'value {n}' for n in range(20)}


@asynccontextmanager
async def opened(url: str) -> AsyncIterator[Fetch]:
    async def fetch() -> str:
        return (await http.request({'url': url, 'headers': HEADERS})).body

    yield fetch
