"""Count the calls of functions of the package for one request: ``python -m benchmarks.calls``.

Unlike CPU time, the counts are the same on every machine, so they show what a change adds or saves.
"""

from __future__ import annotations

import asyncio
import sys
from collections.abc import AsyncIterator, Awaitable, Callable
from contextlib import AbstractAsyncContextManager, asynccontextmanager
from types import FrameType
from typing import Any

import aioluahttp as http
from aioluahttp.asgi import to_asgi

from .servers.floor import Floor

__all__ = ['Count', 'count']

WARM = 20  # requests before the one that is counted: pools are filled, heads are remembered
PACKAGE = 'aioluahttp'
ASKING = b'GET / HTTP/1.1\r\nHost: h\r\n\r\n'
SETTLE = 10  # iterations of the loop after a request, in which its tasks end

Work = Callable[[], Awaitable[object]]


class Count:
    """Counts of one request, and the profile function that makes them.

    Attributes:
        calls: Calls of functions of the package. A coroutine counts each time that it goes on.
        stays: Runs of consecutive such calls in one module: how often the module changes.
        modules: The modules in which they were.
    """

    def __init__(self) -> None:
        self.calls: int = 0
        self.stays: int = 0
        self.modules: set[str] = set()
        self._module = ''

    def __call__(self, frame: FrameType, event: str, argument: object) -> None:
        if event != 'call':
            return
        module = frame.f_globals.get('__name__', '')
        if module.partition('.')[0] != PACKAGE:
            return
        self.calls += 1
        self.modules.add(module)
        if module != self._module:
            self.stays += 1
            self._module = module


async def hello(request: http.Request) -> http.ResponseTable:
    return {'status': 200, 'body': 'Hello world'}


@asynccontextmanager
async def floor() -> AsyncIterator[str]:
    """Run a server outside of the package, and yield its URL."""
    server = await asyncio.get_running_loop().create_server(Floor, '127.0.0.1', 0)
    async with server:
        yield f'http://127.0.0.1:{server.sockets[0].getsockname()[1]}/'


@asynccontextmanager
async def get() -> AsyncIterator[Work]:
    async with floor() as url:
        yield lambda: http.request({'url': url})


@asynccontextmanager
async def post_json() -> AsyncIterator[Work]:
    async with floor() as url:
        yield lambda: http.request({'method': 'POST', 'url': url, 'json': {'name': 'Ada'}})


@asynccontextmanager
async def stream() -> AsyncIterator[Work]:
    async def read() -> None:
        response = await http.request({'url': url, 'into': 'stream'})
        async with response.body as body:
            async for _ in body:
                pass

    async with floor() as url:
        yield read


@asynccontextmanager
async def via() -> AsyncIterator[Work]:
    async with http.Client(via=hello) as client:
        yield lambda: client.request({'url': 'http://h/'})


@asynccontextmanager
async def asgi() -> AsyncIterator[Work]:
    scope: dict[str, Any] = {
        'type': 'http',
        'asgi': {'version': '3.0', 'spec_version': '2.4'},
        'http_version': '1.1',
        'method': 'GET',
        'scheme': 'http',
        'path': '/',
        'raw_path': b'/',
        'query_string': b'',
        'root_path': '',
        'headers': [(b'host', b'h')],
        'client': ('127.0.0.1', 1),
        'server': ('127.0.0.1', 80),
        'extensions': {},
    }
    application = to_asgi(hello)

    async def work() -> None:
        requests = iter([{'type': 'http.request', 'body': b'', 'more_body': False}])

        async def receive() -> Any:
            return next(requests, None) or await asyncio.Event().wait()

        async def send(message: Any) -> None:
            pass

        await application(dict(scope), receive, send)

    yield work


@asynccontextmanager
async def listening(handler: http.Handler) -> AsyncIterator[Work]:
    """Serve with ``listen``; the work is a GET by a client outside of the package."""
    async with http.listen('127.0.0.1', 0, handler) as server:
        reader, writer = await asyncio.open_connection('127.0.0.1', server.port)

        async def ask() -> None:
            writer.write(ASKING)
            data = b''
            while not data.endswith(b'Hello world'):
                if not (part := await reader.read(65536)):
                    raise ConnectionError(f'the response is {data!r}')
                data += part

        yield ask
        writer.close()


@asynccontextmanager
async def proxy() -> AsyncIterator[Work]:
    async with floor() as url, listening(http.proxy(url)) as ask:
        yield ask


WAYS: dict[str, Callable[[], AbstractAsyncContextManager[Work]]] = {
    '`request`, GET': get,
    '`request`, POST of JSON': post_json,
    "`request`, `into='stream'`": stream,
    '`listen`, GET': lambda: listening(hello),
    '`proxy` under `listen`, GET': proxy,
    '`Client(via=handler)`, GET': via,
    'ASGI, GET': asgi,
}


async def count(way: Callable[[], AbstractAsyncContextManager[Work]]) -> Count:
    """Count one request, after some others of the same kind."""
    async with way() as work:
        for _ in range(WARM):
            await work()
            await settle()
        counted = Count()
        sys.setprofile(counted)
        try:
            await work()
            await settle()
        finally:
            sys.setprofile(None)
        return counted


async def settle() -> None:
    for _ in range(SETTLE):
        await asyncio.sleep(0)


async def main() -> None:
    print('| way | calls | changes of module | modules |\n| --- | --- | --- | --- |')
    for name, way in WAYS.items():
        counted = await count(way)
        print(f'| {name} | {counted.calls} | {counted.stays} | {len(counted.modules)} |')


if __name__ == '__main__':
    asyncio.run(main())
