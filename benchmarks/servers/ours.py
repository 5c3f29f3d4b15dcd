"""Serve a handler with ``listen``, with all its defaults."""

from __future__ import annotations

from collections.abc import Mapping
from itertools import count
from typing import Any

import aioluahttp as http

from ..check import LONG_TEXT, MANY, OBJECTS
from ..loops import run
from ..tls import server_context

HEADERS = {f'X-Header-{n}': f'value {n}' for n in range(MANY)}
NUMBERS = count()


async def hello(request: http.Request) -> http.ResponseTable:
    return {'status': 200, 'body': 'Hello world'}


async def echo(request: http.Request) -> http.ResponseTable:
    headers = {'Content-Type': 'application/json'}
    return {'status': 200, 'headers': headers, 'body': request.body}


async def parsed(request: http.Request) -> http.ResponseTable:
    return {'status': 200, 'json': request.json()}


async def objects(request: http.Request) -> http.ResponseTable:
    return {'status': 200, 'json': OBJECTS}


async def text(request: http.Request) -> http.ResponseTable:
    return {'status': 200, 'body': LONG_TEXT}


async def unique(request: http.Request) -> http.ResponseTable:
    return {'status': 200, 'headers': {'X-Number': str(next(NUMBERS))}, 'body': 'Hello world'}


async def headers(request: http.Request) -> http.ResponseTable:
    return {'status': 200, 'headers': HEADERS, 'body': 'Hello world'}


async def browser(request: http.Request) -> http.ResponseTable:
    language, agent = request.headers['Accept-Language'], request.headers['User-Agent']
    return {'status': 200 if language and agent else 400, 'body': 'Hello world'}


async def repeat(socket: http.Socket) -> None:
    async for message in socket:
        await socket.send(message)


async def websocket(request: http.Request) -> Mapping[str, Any]:
    if 'Upgrade' in request.headers:
        return {'websocket': repeat}
    return {'status': 200, 'body': 'Hello world'}


HANDLERS: dict[str, http.Handler] = {
    one.__name__: one
    for one in (hello, echo, parsed, objects, text, unique, headers, browser, websocket)
}


async def listen(port: int, handler: http.Handler, **options: Any) -> None:
    async with http.listen('127.0.0.1', port, handler, **options) as server:
        await server.wait_closed()


def serve(port: int, loop: str, kind: str = 'hello') -> None:
    if kind == 'tls':
        run(listen(port, hello, tls=server_context()), loop)
    else:
        run(listen(port, HANDLERS[kind]), loop)
