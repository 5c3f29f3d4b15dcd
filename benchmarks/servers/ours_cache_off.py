"""Forward requests to an origin with ``proxy``, each to a target of its own; see ``miss``."""

from __future__ import annotations

from collections.abc import Callable
from itertools import count
from typing import Any

import aioluahttp as http

from ..loops import run
from . import ours


def numbered(handler: Callable[..., Any]) -> Callable[..., Any]:
    """Give each request another target."""
    numbers = count()

    async def wrapped(request: http.Request) -> Any:
        request['url'] = f'/{next(numbers)}'
        return await handler(request)

    wrapped.into, wrapped.max_body = 'raw', None  # type: ignore[attr-defined]
    return wrapped


def fresh(handler: Callable[..., Any]) -> Callable[..., Any]:
    """Let each response be stored."""

    async def wrapped(request: http.Request) -> Any:
        response = await handler(request)
        response['headers']['Cache-Control'] = 'max-age=3600'
        return response

    return wrapped


def serve(port: int, loop: str, origin: str) -> None:
    run(ours.listen(port, numbered(fresh(http.proxy(origin)))), loop)
