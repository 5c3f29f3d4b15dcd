"""Fixtures for pytest: a handler on a real socket, for tests that are not async.

A module of its own, for pytest imports it in every run, and ``aioluahttp`` brings aiohttp with it.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator
from contextlib import ExitStack
from typing import TYPE_CHECKING, Any

import pytest

if TYPE_CHECKING:
    from aioluahttp import Server

__all__ = ['http_serve']


@pytest.fixture
def http_serve() -> Iterator[Callable[..., Server]]:
    """Serve handlers: ``http_serve(handler)`` gives a server, which is closed after the test.

    It listens on a free port of loopback, in a thread; ``server.url`` tells where. Options are
    those of ``listen``.
    """
    from aioluahttp.testing import serve_in_thread

    def serve(handler: Any, **options: Any) -> Server:
        return servers.enter_context(serve_in_thread(handler, **options))

    with ExitStack() as servers:
        yield serve
