"""Serve a handler with ``listen``, with all its defaults."""

from __future__ import annotations

import aioluahttp as http

from ..loops import run


async def hello(request: http.Request) -> http.ResponseTable:
    return {'status': 200, 'body': 'Hello world'}


async def listen(port: int, handler: http.Handler) -> None:
    async with http.listen('127.0.0.1', port, handler) as server:
        await server.serve_forever()


def serve(port: int, loop: str, handler: http.Handler = hello) -> None:
    run(listen(port, handler), loop)
