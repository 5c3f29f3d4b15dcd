"""Serve with Robyn, one process and one worker; it runs on uvloop where that is installed."""

from __future__ import annotations

from typing import Any

from robyn import Response, Robyn

application = Robyn(__file__)


@application.get('/')
async def hello(request: Any) -> Response:
    headers = {'content-type': 'text/plain; charset=utf-8'}
    return Response(status_code=200, headers=headers, description='Hello world')


def serve(port: int, loop: str) -> None:
    application.start(host='127.0.0.1', port=port)
