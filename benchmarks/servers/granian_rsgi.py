"""Serve a bare RSGI function with granian, one worker."""

from __future__ import annotations

from typing import Any

from granian import Granian
from granian.constants import Interfaces, Loops
from granian.log import LogLevels

HEADERS = [('content-type', 'text/plain; charset=utf-8')]


async def hello(scope: Any, protocol: Any) -> None:
    protocol.response_str(200, HEADERS, 'Hello world')


def serve(port: int, loop: str) -> None:
    Granian(
        'benchmarks.servers.granian_rsgi:hello',
        port=port,
        interface=Interfaces.RSGI,
        loop=Loops(loop),
        log_level=LogLevels.warning,
    ).serve()
