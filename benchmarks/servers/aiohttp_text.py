"""Respond with 100 kB of text, with aiohttp's ``web.Server``."""

from __future__ import annotations

from aiohttp import web

from . import aiohttp_server

TEXT = 'x' * 100_000


async def text(request: web.BaseRequest) -> web.Response:
    return web.Response(text=TEXT)


def serve(port: int, loop: str) -> None:
    aiohttp_server.serve(port, loop, text)
