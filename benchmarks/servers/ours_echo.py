"""Echo the text of a request, with ``listen``."""

from __future__ import annotations

import aioluahttp as http

from . import ours


async def echo(request: http.Request) -> http.ResponseTable:
    headers = {'Content-Type': 'application/json'}
    return {'status': 200, 'headers': headers, 'body': request.body}


def serve(port: int, loop: str) -> None:
    ours.serve(port, loop, echo)
