"""Read the JSON that came, and answer it written anew."""

from __future__ import annotations

import aioluahttp as http

from . import ours


async def echo(request: http.Request) -> http.ResponseTable:
    return {'status': 200, 'json': request.json()}


def serve(port: int, loop: str) -> None:
    ours.serve(port, loop, echo)
