"""A reverse proxy that routes by path: ``python examples/reverse_proxy.py``."""

import aioluahttp as http

ROUTES = {
    'api': http.proxy('http://127.0.0.1:9000', timeout={'read': 60}),
    'static': http.proxy('http://127.0.0.1:9001/files', headers={'Cookie': None}),
}


async def callback(request):
    """Forward a request to the origin that the first part of its path names."""
    first, slash, rest = request.url.removeprefix('/').partition('/')
    if first not in ROUTES or not slash:
        return {'status': 404, 'body': 'nothing here'}
    return await ROUTES[first](request | {'url': '/' + rest})


callback.into, callback.max_body = 'raw', None  # stream bodies of any size

if __name__ == '__main__':
    http.run('127.0.0.1', 8080, callback)
