"""Clients under test: each has ``opened(url)``, or ``opened(url, kind)``; it yields a function."""

from __future__ import annotations

from collections.abc import Awaitable, Callable

__all__ = ['COOKIES', 'Fetch']

COOKIES = {f'name-{n}': f'value-{n}' for n in range(5)}

Fetch = Callable[[], Awaitable[str]]
