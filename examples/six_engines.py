"""One handler under six engines, such as ``uvicorn six_engines:asgi_app``."""

import asyncio

import aioluahttp as http
from aioluahttp import asgi, web

OPTIONS = {'max_body': 1024 * 1024, 'handler_timeout': 10, 'trusted_proxies': ['127.0.0.1']}


async def hello(request):
    """Tell a client who it is, whatever runs this handler."""
    return {'status': 200, 'json': {'path': request.path, 'you': request.ip}}


asgi_app = asgi.to_asgi(hello, **OPTIONS)  # for uvicorn, hypercorn, granian


def web_app(arguments=()):
    """Return an application for aiohttp.web and gunicorn."""
    return web.to_application(hello, **OPTIONS)


async def in_process():
    """Send a request without any server, as tests do."""
    async with http.Client(via=hello, via_options=OPTIONS, base_url='http://app') as client:
        return (await client.request(url='/page')).json()


if __name__ == '__main__':
    print(asyncio.run(in_process()))
    http.run('127.0.0.1', 8080, hello, **OPTIONS)
