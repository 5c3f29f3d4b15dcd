"""A bare ASGI function, for servers that run ASGI applications."""

from __future__ import annotations

from collections.abc import Awaitable, Callable
from typing import Any

__all__ = ['hello']

Send = Callable[[dict[str, Any]], Awaitable[None]]
HEADERS = [(b'content-type', b'text/plain; charset=utf-8'), (b'content-length', b'11')]


async def hello(scope: dict[str, Any], receive: Any, send: Send) -> None:
    await send({'type': 'http.response.start', 'status': 200, 'headers': HEADERS})
    await send({'type': 'http.response.body', 'body': b'Hello world'})
