"""Parse the JSON of a request and serialize it again, with aiohttp's ``web.Server``."""

from __future__ import annotations

from aiohttp import web

from . import aiohttp_server


async def echo(request: web.BaseRequest) -> web.Response:
    return web.json_response(await request.json())


def serve(port: int, loop: str) -> None:
    aiohttp_server.serve(port, loop, echo)
