"""Serve with sanic: one route, one process."""

from __future__ import annotations

from sanic import HTTPResponse, Request, Sanic, text


async def hello(request: Request) -> HTTPResponse:
    return text('Hello world')


def serve(port: int, loop: str) -> None:
    application = Sanic('benchmark')
    application.config.USE_UVLOOP = loop == 'uvloop'
    application.add_route(hello, '/')
    application.run(port=port, single_process=True, access_log=False, motd=False)
