"""Respond with 20 headers, the same each time, with aiohttp's ``web.Server``."""

from __future__ import annotations

from aiohttp import web

from . import aiohttp_server

HEADERS = {f'X-Header-{n}': f'value {n}' for n in range(20)}


async def headers(request: web.BaseRequest) -> web.Response:
    return web.Response(text='Hello world', headers=HEADERS)


def serve(port: int, loop: str) -> None:
    aiohttp_server.serve(port, loop, headers)
