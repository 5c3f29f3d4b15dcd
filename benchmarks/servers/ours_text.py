"""Respond with 100 kB of text, with ``listen``."""

from __future__ import annotations

import aioluahttp as http

from . import ours

TEXT = 'x' * 100_000


async def text(request: http.Request) -> http.ResponseTable:
    return {'status': 200, 'body': TEXT}


def serve(port: int, loop: str) -> None:
    ours.serve(port, loop, text)
