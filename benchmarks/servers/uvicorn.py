"""Answer by a bare ASGI function on uvicorn, with httptools; or by another ASGI application."""

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
        # A bare function has no life of its own; frameworks set themselves up in it.
        lifespan='off' if application is hello else 'on',
        access_log=False,
        log_level='warning',
    )
