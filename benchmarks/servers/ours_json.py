"""Parse the JSON of a request and serialize it again, with ``listen``."""

from __future__ import annotations

import aioluahttp as http

from . import ours


async def echo(request: http.Request) -> http.ResponseTable:
    return {'status': 200, 'json': request.json()}


def serve(port: int, loop: str) -> None:
    ours.serve(port, loop, echo)
