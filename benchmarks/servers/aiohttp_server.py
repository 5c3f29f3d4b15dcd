"""Serve with aiohttp's ``web.Server``: no application, no router, no access log."""

from __future__ import annotations

import asyncio
import ssl
from collections.abc import Awaitable, Callable
from itertools import count

from aiohttp import web

from ..check import LONG_TEXT, MANY, OBJECTS
from ..loops import run
from ..tls import server_context

Handler = Callable[[web.BaseRequest], Awaitable[web.StreamResponse]]

HEADERS = {f'X-Header-{n}': f'value {n}' for n in range(MANY)}
NUMBERS = count()


async def hello(request: web.BaseRequest) -> web.Response:
    return web.Response(text='Hello world')


async def echo(request: web.BaseRequest) -> web.Response:
    return web.Response(text=await request.text(), content_type='application/json')


async def parsed(request: web.BaseRequest) -> web.Response:
    return web.json_response(await request.json())


async def objects(request: web.BaseRequest) -> web.Response:
    return web.json_response(OBJECTS)


async def text(request: web.BaseRequest) -> web.Response:
    return web.Response(text=LONG_TEXT)


async def unique(request: web.BaseRequest) -> web.Response:
    return web.Response(text='Hello world', headers={'X-Number': str(next(NUMBERS))})


async def headers(request: web.BaseRequest) -> web.Response:
    return web.Response(text='Hello world', headers=HEADERS)


async def browser(request: web.BaseRequest) -> web.Response:
    language, agent = request.headers['Accept-Language'], request.headers['User-Agent']
    return web.Response(status=200 if language and agent else 400, text='Hello world')


async def websocket(request: web.BaseRequest) -> web.StreamResponse:
    if 'Upgrade' not in request.headers:
        return web.Response(text='Hello world')
    socket = web.WebSocketResponse()
    await socket.prepare(request)
    async for message in socket:
        await socket.send_str(message.data)
    return socket


HANDLERS: dict[str, Handler] = {
    one.__name__: one
    for one in (hello, echo, parsed, objects, text, unique, headers, browser, websocket)
}


async def listen(port: int, handler: Handler, context: ssl.SSLContext | None = None) -> None:
    runner = web.ServerRunner(web.Server(handler, access_log=None))
    await runner.setup()
    await web.TCPSite(runner, '127.0.0.1', port, ssl_context=context).start()
    await asyncio.Event().wait()


def serve(port: int, loop: str, kind: str = 'hello') -> None:
    if kind == 'tls':
        run(listen(port, hello, server_context()), loop)
    else:
        run(listen(port, HANDLERS[kind]), loop)
