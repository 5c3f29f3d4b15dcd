"""Serve a bare ASGI function, or another ASGI application, with uvicorn and httptools."""

from __future__ import annotations

from typing import Any, Literal, cast

import uvicorn

from .hello import hello


def serve(port: int, loop: str, application: Any = hello) -> None:
    uvicorn.run(
        application,
        port=port,
        loop=cast(Literal['asyncio', 'uvloop'], loop),
        http='httptools',
        # A bare function does not support lifespan; frameworks set themselves up in it.
        lifespan='off' if application is hello else 'on',
        access_log=False,
        log_level='warning',
    )
