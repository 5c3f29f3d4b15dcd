"""Clients under test: each module has ``opened(url)``, which yields a fetch function."""

from __future__ import annotations

from collections.abc import Awaitable, Callable

__all__ = ['Fetch']

Fetch = Callable[[], Awaitable[str]]
