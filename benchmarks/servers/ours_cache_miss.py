"""Forward requests to an origin with ``cache`` around ``proxy``: each is a miss, and is stored."""

from __future__ import annotations

import aioluahttp as http
from aioluahttp.middleware import cache

from ..loops import run
from . import ours
from .ours_cache_off import fresh, numbered


def serve(port: int, loop: str, origin: str) -> None:
    run(ours.listen(port, numbered(cache(fresh(http.proxy(origin))))), loop)
