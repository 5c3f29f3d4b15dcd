"""Respond with a header that differs each time, with ``listen``."""

from __future__ import annotations

from itertools import count

import aioluahttp as http

from . import ours

NUMBERS = count()


async def unique(request: http.Request) -> http.ResponseTable:
    return {'status': 200, 'headers': {'X-Number': str(next(NUMBERS))}, 'body': 'Hello world'}


def serve(port: int, loop: str) -> None:
    ours.serve(port, loop, unique)
