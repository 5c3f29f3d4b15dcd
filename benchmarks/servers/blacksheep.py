"""Serve with blacksheep on uvicorn: one route."""

from __future__ import annotations

from blacksheep import Application, Response, text

from . import uvicorn


async def hello() -> Response:
    return text('Hello world')


def serve(port: int, loop: str) -> None:
    application = Application()
    application.router.add_get('/', hello)
    uvicorn.serve(port, loop, application)
