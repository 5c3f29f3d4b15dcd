"""Programs that move 1 GiB: each module has ``opened(url, path)``, which gives what moves it.

That returns the number of bytes that came, or the digest that the origin made of what it got.
"""

from __future__ import annotations

from collections.abc import Awaitable, Callable

__all__ = ['CHUNK', 'Move']

Move = Callable[[], Awaitable[int | str]]

CHUNK = 64 * 1024  # bytes at a time where a program has to name it
