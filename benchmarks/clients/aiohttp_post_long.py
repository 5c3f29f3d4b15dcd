"""Post 64 KiB of bytes, with an aiohttp session."""

from __future__ import annotations

from contextlib import AbstractAsyncContextManager

from . import Fetch, aiohttp_post


def opened(url: str) -> AbstractAsyncContextManager[Fetch]:
    return aiohttp_post.opened(url, 64 * 1024)
