"""Fetch with the module-level ``request``."""

from __future__ import annotations

from collections.abc import AsyncIterator
from contextlib import asynccontextmanager

import aioluahttp as http

from . import Fetch


@asynccontextmanager
async def opened(url: str) -> AsyncIterator[Fetch]:
    async def fetch() -> str:
        return (await http.request({'url': url})).body

    yield fetch
