"""Respond with a header that differs each time, with aiohttp's ``web.Server``."""

from __future__ import annotations

from itertools import count

from aiohttp import web

from . import aiohttp_server

NUMBERS = count()


async def unique(request: web.BaseRequest) -> web.Response:
    return web.Response(text='Hello world', headers={'X-Number': str(next(NUMBERS))})


def serve(port: int, loop: str) -> None:
    aiohttp_server.serve(port, loop, unique)
