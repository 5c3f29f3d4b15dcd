"""Serve a handler on a real loopback socket, or call it in process, for tests.

The pytest fixtures are in ``pytest_aioluahttp``.
"""

from __future__ import annotations

import asyncio
import threading
from collections.abc import Callable, Iterator
from concurrent.futures import Future
from contextlib import contextmanager, nullcontext
from typing import Any, Unpack

from .client.client import Client
from .exchange.options import ExchangeOptions, OnError, ViaOptions
from .server.listen import Listening, ListenOptions, listen
from .server.server import Server
from .tables.models import Handler, Response

__all__ = ['http_via', 'serve', 'serve_in_thread']


def serve(
    handler: Handler, on_error: OnError | None = None, **options: Unpack[ListenOptions]
) -> Listening:
    """Serve a handler on a free port of loopback: ``async with serve(handler) as server``.

    Args:
        handler: Called with each request.
        on_error: As for ``listen``.
        options: As for ``listen``.
    """
    return listen('127.0.0.1', 0, handler, on_error, **options)


@contextmanager
def serve_in_thread(
    handler: Handler, on_error: OnError | None = None, **options: Unpack[ListenOptions]
) -> Iterator[Server]:
    """Serve a handler in a thread with its own event loop, for code that is not async.

    Only the server's attributes, such as ``url``, ``host`` and ``port``, may be used from this
    thread, not its methods.

    Raises:
        TableError: As ``listen`` does.
    """

    async def run() -> None:
        try:
            server = await serve(handler, on_error, **options)
        except BaseException as error:
            started.set_exception(error)
            return
        ended = asyncio.Event()
        loop = asyncio.get_running_loop()
        async with server:
            started.set_result((server, lambda: loop.call_soon_threadsafe(ended.set)))
            await ended.wait()

    started: Future[tuple[Server, Callable[[], object]]] = Future()
    thread = threading.Thread(target=asyncio.run, args=(run(),))
    thread.start()
    try:
        server, end = started.result()
        try:
            yield server
        finally:
            end()
    finally:
        thread.join()


@contextmanager
def http_via(
    handler: Handler,
    *,
    via_options: ExchangeOptions | ViaOptions | None = None,
    base_url: str = 'http://localhost',
    runner: asyncio.Runner | None = None,
    **client_options: Any,
) -> Iterator[Callable[..., Response[Any]]]:
    """Call a handler in process, for code that is not async.

    ``with http_via(handler) as request`` gives ``Client(via=handler).request`` without ``await``.

    Args:
        handler: Called with each request.
        via_options: As for ``Client``.
        base_url: Likewise.
        runner: Runs the requests; ``None`` is a runner of its own.
        client_options: Other arguments of ``Client``.

    Raises:
        TableError: As ``Client`` does.
    """
    client = Client(via=handler, via_options=via_options, base_url=base_url, **client_options)
    with asyncio.Runner() if runner is None else nullcontext(runner) as running:

        def request(table: Any = None, /, **fields: Any) -> Response[Any]:
            return running.run(client.request(table, **fields))

        try:
            yield request
        finally:
            running.run(client.close())
