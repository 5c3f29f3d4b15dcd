"""Use a SOCKS proxy: ``python socks.py socks5://127.0.0.1:1080 https://example.org``.

Needs ``pip install aiohttp-socks``.
"""

import asyncio
import sys

import aiohttp
from aiohttp_socks import ProxyConnector

import aioluahttp as http


async def ask(proxy, url):
    """Send a request with a session whose connector uses the proxy."""
    connector = ProxyConnector.from_url(proxy)
    async with (
        aiohttp.ClientSession(connector=connector) as session,
        http.Client(session=session) as client,
    ):
        return await client.request(url=url)


if __name__ == '__main__':
    print(asyncio.run(ask(*sys.argv[1:3])).body)
