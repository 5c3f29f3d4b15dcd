"""Programs that transfer 1 GiB: each module has ``opened(url, path)``, which yields a function.

That function returns the number of bytes received, or the digest that the origin computed.
"""

from __future__ import annotations

from collections.abc import Awaitable, Callable

__all__ = ['CHUNK', 'Move']

Move = Callable[[], Awaitable[int | str]]

CHUNK = 64 * 1024  # bytes at a time, for programs that must choose
