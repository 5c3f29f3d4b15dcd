"""Serve a handler with ``listen`` from ``cache``: each request but the first is a hit."""

from __future__ import annotations

import aioluahttp as http
from aioluahttp.middleware import cache

from ..loops import run
from . import ours


async def hello(request: http.Request) -> http.ResponseTable:
    headers = {'Cache-Control': 'max-age=3600'}
    return {'status': 200, 'headers': headers, 'body': 'Hello world'}


def serve(port: int, loop: str) -> None:
    run(ours.listen(port, cache(hello)), loop)
