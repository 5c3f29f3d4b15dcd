"""Pytest fixtures for tests that are not async: serve a handler on a socket, or call it in process.

A top-level module, because pytest imports it in every run, and ``aioluahttp`` imports aiohttp.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator
from contextlib import ExitStack
from typing import TYPE_CHECKING, Any

import pytest

if TYPE_CHECKING:
    from aioluahttp import Response, Server

__all__ = ['http_serve', 'http_via']


@pytest.fixture
def http_serve() -> Iterator[Callable[..., Server]]:
    """Serve handlers: ``http_serve(handler)`` returns a server, which is closed after the test.

    It listens on a free loopback port, in a thread; its address is ``server.url``. The options
    are those of ``listen``.
    """
    from aioluahttp.testing import serve_in_thread

    def serve(handler: Any, **options: Any) -> Server:
        return servers.enter_context(serve_in_thread(handler, **options))

    with ExitStack() as servers:
        yield serve


@pytest.fixture
def http_via() -> Iterator[Callable[..., Callable[..., Response[Any]]]]:
    """Call handlers in process: ``http_via(handler)`` returns a function that sends a table.

    It is ``Client.request`` without ``await``; the clients are closed after the test. The options
    are those of ``testing.http_via``.
    """
    import asyncio

    from aioluahttp.testing import http_via

    def via(handler: Any, **options: Any) -> Callable[..., Response[Any]]:
        return clients.enter_context(http_via(handler, runner=runner, **options))

    with asyncio.Runner() as runner, ExitStack() as clients:
        yield via
