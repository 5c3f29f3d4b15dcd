"""A caching gateway: ``python examples/caching_gateway.py http://localhost:9000 responses.db``."""

import sys

import aioluahttp as http
from aioluahttp.caches import SqliteStorage
from aioluahttp.middleware import cache

MAX_BYTES = 512 * 1024 * 1024


def with_default(handler, seconds):
    """Let what says nothing about caches be used for some seconds, if it is a plain page."""

    async def wrapped(request):
        response = http.to_response(await handler(request))
        if response.status == 200 and 'Set-Cookie' not in response.headers:
            response.headers.setdefault('Cache-Control', f'max-age={seconds}')
        return response

    wrapped.into, wrapped.max_body = 'raw', None  # stream bodies of any size
    return wrapped


def gateway(origin, path):
    """Return a handler that forwards to an origin, and stores its responses in a file."""
    storage = SqliteStorage(path, MAX_BYTES)
    return cache(with_default(http.proxy(origin), 10), storage=storage), storage


if __name__ == '__main__':
    handler, _ = gateway(*sys.argv[1:])
    http.run('127.0.0.1', 8080, handler)
