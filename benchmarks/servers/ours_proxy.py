"""Forward requests to an origin with ``proxy``."""

from __future__ import annotations

import aioluahttp as http

from ..loops import run
from . import ours


def serve(port: int, loop: str, origin: str) -> None:
    run(ours.listen(port, http.proxy(origin)), loop)
