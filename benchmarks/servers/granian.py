"""Serve a bare ASGI function with granian, one worker."""

from __future__ import annotations

from granian import Granian
from granian.constants import Interfaces, Loops
from granian.log import LogLevels


def serve(port: int, loop: str) -> None:
    Granian(
        'benchmarks.servers.hello:hello',
        port=port,
        interface=Interfaces.ASGINL,
        loop=Loops(loop),
        log_level=LogLevels.warning,
    ).serve()
