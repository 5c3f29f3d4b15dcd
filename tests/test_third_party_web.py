"""Middlewares of aiohttp.web around a handler of this library."""

from contextlib import asynccontextmanager
from contextvars import ContextVar

import pytest
from aiohttp import web

import aioluahttp as http

to_web = pytest.importorskip('aioluahttp.web').to_web

user = ContextVar('user', default='nobody')


async def echo(request):
    """Return the user and the body; a streamed response or an error for two paths."""
    if request.path == '/stream':
        return {'status': 200, 'body': iter(['one ', 'two'])}
    if request.path == '/error':
        raise web.HTTPFound('/')
    return {'status': 200, 'json': [user.get(), request.body]}


@asynccontextmanager
async def serving(*middlewares, signal=None):
    """Serve ``echo`` in an application with these middlewares; yield its URL."""
    app = web.Application(middlewares=middlewares)
    app.on_response_prepare.extend([signal] if signal else [])
    app.router.add_route('*', '/{tail:.*}', to_web(echo))
    runner = web.AppRunner(app, access_log=None)
    await runner.setup()
    try:
        await web.TCPSite(runner, '127.0.0.1', 0).start()
        yield f'http://127.0.0.1:{runner.addresses[0][1]}'
    finally:
        await runner.cleanup()


@web.middleware
async def named(request, handler):
    """Refuse requests without a user, pass the user to the handler, and add a header."""
    if 'X-User' not in request.headers:
        raise web.HTTPUnauthorized
    user.set(request.headers['X-User'])
    response = await handler(request)
    if not response.prepared:
        response.headers['X-Seen'] = str(response.status)
    return response


async def test_a_middleware_responds_passes_data_and_changes_a_response():
    """It can respond itself, set a context variable, and change a text response."""
    async with serving(named) as url, http.Client() as client:
        assert 401 == (await client.request(url=url)).status
        response = await client.request(url=url, headers={'X-User': 'ada'}, method='POST', body='b')
    assert ['ada', 'b'] == response.json()
    assert '200' == response.headers['x-seen']


async def test_a_streamed_response_is_changed_by_a_signal():
    """A middleware gets it after it was sent; ``on_response_prepare`` is called before."""

    async def signal(request, response):
        response.headers['X-Signal'] = 'yes'

    async with serving(named, signal=signal) as url, http.Client() as client:
        response = await client.request(url=f'{url}/stream', headers={'X-User': 'ada'})
    assert 'one two' == response.body
    assert ('yes', None) == tuple(response.headers.get(name) for name in ('X-Signal', 'X-Seen'))


async def test_a_handler_gets_a_body_that_a_middleware_has_read():
    """After ``request.read()``, as after ``text``, ``json`` and an urlencoded ``post``."""

    @web.middleware
    async def reads(request, handler):
        await request.read()
        return await handler(request)

    async with serving(reads) as url, http.Client() as client:
        for body in ('', 'text'):
            response = await client.request(url=url, method='POST', body=body)
            assert body == response.json()[1]
        response = await client.request(url=url, method='POST', form={'a': 'b'})
        assert 'a=b' == response.json()[1]


async def test_an_error_in_a_handler_does_not_reach_a_middleware(caplog):
    """It is a 500 already, also an HTTPException, which only handlers of aiohttp may raise."""
    caught = []

    @web.middleware
    async def catches(request, handler):
        try:
            return await handler(request)
        except web.HTTPException as error:
            caught.append(error)
            raise

    async with serving(catches) as url, http.Client() as client:
        assert 500 == (await client.request(url=f'{url}/error', redirects=0)).status
    assert not caught
    assert 'HTTPFound' in caplog.text
