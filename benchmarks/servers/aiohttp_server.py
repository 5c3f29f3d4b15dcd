"""Serve with aiohttp's ``web.Server``: no application, no router, no access log."""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable, Callable

from aiohttp import web

from ..loops import run

Handler = Callable[[web.BaseRequest], Awaitable[web.StreamResponse]]


async def hello(request: web.BaseRequest) -> web.Response:
    return web.Response(text='Hello world')


async def listen(port: int, handler: Handler) -> None:
    runner = web.ServerRunner(web.Server(handler, access_log=None))
    await runner.setup()
    await web.TCPSite(runner, '127.0.0.1', port).start()
    await asyncio.Event().wait()


def serve(port: int, loop: str, handler: Handler = hello) -> None:
    run(listen(port, handler), loop)
