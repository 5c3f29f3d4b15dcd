"""Echo the text of a request, with aiohttp's ``web.Server``."""

from __future__ import annotations

from aiohttp import web

from . import aiohttp_server


async def echo(request: web.BaseRequest) -> web.Response:
    return web.Response(text=await request.text(), content_type='application/json')


def serve(port: int, loop: str) -> None:
    aiohttp_server.serve(port, loop, echo)
