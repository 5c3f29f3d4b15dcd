"""Serve with starlette on uvicorn: one route."""

from __future__ import annotations

from starlette.applications import Starlette
from starlette.requests import Request
from starlette.responses import PlainTextResponse
from starlette.routing import Route

from . import uvicorn


async def hello(request: Request) -> PlainTextResponse:
    return PlainTextResponse('Hello world')


def serve(port: int, loop: str) -> None:
    uvicorn.serve(port, loop, Starlette(routes=[Route('/', hello)]))
