"""Serve with aiohttp's ``web.Application``: one route, no access log."""

from __future__ import annotations

import asyncio

from aiohttp import web

from ..loops import run


async def hello(request: web.Request) -> web.Response:
    return web.Response(text='Hello world')


async def listen(port: int) -> None:
    application = web.Application()
    application.router.add_get('/', hello)
    runner = web.AppRunner(application, access_log=None)
    await runner.setup()
    await web.TCPSite(runner, '127.0.0.1', port).start()
    await asyncio.Event().wait()


def serve(port: int, loop: str) -> None:
    run(listen(port), loop)
