"""Echo the messages of WebSockets, with ``listen``."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import aioluahttp as http

from . import ours


async def echo(socket: http.Socket) -> None:
    async for message in socket:
        await socket.send(message)


async def hello_or_echo(request: http.Request) -> Mapping[str, Any]:
    if 'Upgrade' in request.headers:
        return {'websocket': echo}
    return {'status': 200, 'body': 'Hello world'}


def serve(port: int, loop: str) -> None:
    ours.serve(port, loop, hello_or_echo)
