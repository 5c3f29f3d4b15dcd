"""Echo the messages of WebSockets, with aiohttp's ``web.Server``."""

from __future__ import annotations

from aiohttp import web

from . import aiohttp_server


async def echo(request: web.BaseRequest) -> web.StreamResponse:
    if 'Upgrade' not in request.headers:
        return web.Response(text='Hello world')
    socket = web.WebSocketResponse()
    await socket.prepare(request)
    async for message in socket:
        await socket.send_str(message.data)
    return socket


def serve(port: int, loop: str) -> None:
    aiohttp_server.serve(port, loop, echo)
