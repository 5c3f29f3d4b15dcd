"""Clients that are measured: each module has ``opened(url)``, which gives what fetches the text."""

from __future__ import annotations

from collections.abc import Awaitable, Callable

__all__ = ['Fetch']

Fetch = Callable[[], Awaitable[str]]
