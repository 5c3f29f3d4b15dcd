"""Respond with 20 headers, the same each time, with ``listen``."""

from __future__ import annotations

import aioluahttp as http

from . import ours

HEADERS = {f'X-Header-{n}': f'value {n}' for n in range(20)}


async def headers(request: http.Request) -> http.ResponseTable:
    return {'status': 200, 'headers': HEADERS, 'body': 'Hello world'}


def serve(port: int, loop: str) -> None:
    ours.serve(port, loop, headers)
