"""Forward requests to an origin with ``proxy``."""

from __future__ import annotations

import aioluahttp as http

from . import ours


def serve(port: int, loop: str, origin: str) -> None:
    ours.serve(port, loop, http.proxy(origin))
