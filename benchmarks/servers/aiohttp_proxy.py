"""Forward requests to an origin with aiohttp's session, in chunks; no header is checked."""

from __future__ import annotations

import aiohttp
from aiohttp import web
from multidict import CIMultiDict

from ..loops import run
from ..transfers import CHUNK
from . import aiohttp_server

LEFT_OUT = ('Connection', 'Keep-Alive', 'Transfer-Encoding', 'Date', 'Server')


def serve(port: int, loop: str, origin: str) -> None:
    sessions: list[aiohttp.ClientSession] = []

    async def pass_on(request: web.BaseRequest) -> web.StreamResponse:
        if not sessions:
            sessions.append(aiohttp.ClientSession(auto_decompress=False))
        data = request.content if request.body_exists else None
        url = origin + request.raw_path
        headers = kept(request.headers)
        async with sessions[0].request(request.method, url, headers=headers, data=data) as found:
            response = web.StreamResponse(status=found.status, headers=kept(found.headers))
            await response.prepare(request)
            async for chunk in found.content.iter_chunked(CHUNK):
                await response.write(chunk)
            await response.write_eof()
        return response

    run(aiohttp_server.listen(port, pass_on), loop)


def kept(headers: CIMultiDict[str]) -> CIMultiDict[str]:
    copy = CIMultiDict(headers)
    for name in LEFT_OUT:
        copy.popall(name, None)
    return copy
