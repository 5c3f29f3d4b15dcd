"""Post 64 KiB of bytes, with the module-level ``request``."""

from __future__ import annotations

from contextlib import AbstractAsyncContextManager

from . import Fetch, ours_post


def opened(url: str) -> AbstractAsyncContextManager[Fetch]:
    return ours_post.opened(url, 64 * 1024)
