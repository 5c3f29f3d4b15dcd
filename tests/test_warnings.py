"""A ``TableWarning`` points at the call of the user, whichever way the table is sent."""

import asyncio
import linecache
import warnings

import pytest

import aioluahttp as http
from aioluahttp import middleware

TABLE = {'url': '/old?s3cret=1', 'path': '/new', 'query': 's3cret=2'}


async def echo(request):
    """Respond with the target."""
    return {'status': 200, 'body': request.url}


@pytest.fixture
def warned():
    """Collect the warnings; check that there is one, which is on a line with ``HERE``."""
    with warnings.catch_warnings(record=True) as caught:
        warnings.simplefilter('always')
        yield caught
    assert [http.TableWarning] == [one.category for one in caught]
    [one] = caught
    text = str(one.message)
    assert (True, False) == ("overrides 'path' and 'query'" in text, 's3cret' in text)
    assert __file__ == one.filename
    assert '# HERE' in linecache.getline(one.filename, one.lineno)


def test_to_request(warned):
    """The function that checks a table."""
    http.to_request(TABLE, host='h')  # HERE


async def test_request(warned):
    """A request over the network."""
    async with http.listen('127.0.0.1', 0, echo) as server:
        host = {'host': '127.0.0.1', 'port': server.port}
        response = await http.request(TABLE, **host)  # HERE
    assert '/old?s3cret=1' == response.body


async def test_request_in_a_task(warned):
    """The user's code is not on the stack of the task, but the call that runs the loop is."""

    def run():
        asyncio.run(main())  # HERE

    async def main():
        async with http.Client(via=echo) as client:
            await asyncio.create_task(client.request(TABLE, host='h'))

    await asyncio.to_thread(run)


async def test_client(warned):
    """A client with a base URL, which is redirected."""

    def moved(request):
        if request.path == '/old':
            return {'status': 302, 'headers': {'Location': '/to?x=1'}}
        return {'status': 200, 'body': request.url}

    async with http.Client(base_url='http://h/', via=moved) as client:
        response = await client.request(TABLE)  # HERE
    assert '/to?x=1' == response.body


async def test_download(warned, tmp_path):
    """A download to a file."""
    async with http.Client(via=echo) as client:
        await client.request(TABLE, host='h', into=tmp_path / 'x')  # HERE


async def test_websocket(warned):
    """A WebSocket: between the user and the library are frames of ``contextlib``."""

    async def talk(socket):
        await socket.send('hi')

    async with http.listen('127.0.0.1', 0, lambda request: {'websocket': talk}) as server:
        url = server.url.replace('http', 'ws') + '/old?s3cret=1'
        keys = {'path': '/new', 'query': 's3cret=2'}
        async with http.websocket(url=url, **keys) as socket:  # HERE
            assert 'hi' == await anext(aiter(socket))


async def test_middleware(warned):
    """Middlewares, the outermost of which brings the table to normal form; also with retries."""
    tries = []

    async def unavailable(request):
        tries.append(request.url)
        return {'status': 200 if len(tries) > 1 else 503, 'headers': {'Retry-After': '0'}}

    handler = middleware.retry(middleware.limit(unavailable, concurrency=1), attempts=2)
    response = await handler({'host': 'h', **TABLE})  # HERE
    assert (200, ['/old?s3cret=1'] * 2) == (response.status, tries)


async def test_what_warns_of_nothing():
    """A received request that is sent on, a reverse proxy, and the defaults of a client."""

    async def on(request):
        return await http.request(
            request | {'scheme': 'http', 'host': '127.0.0.1', 'port': origin.port}
        )

    async with http.listen('127.0.0.1', 0, echo) as origin:
        for handler in (on, http.proxy(origin.url)):
            async with http.listen('127.0.0.1', 0, handler) as server:
                assert '/p?q' == (await http.request(url=server.url + '/p?q')).body
        async with http.Client(host='a', port=1, path='/a', query='a') as client:
            assert '/p?q' == (await client.request(url=origin.url + '/p?q')).body


async def test_a_websocket_of_a_received_request_warns_of_nothing():
    """Its own keys may be overridden; a keyword beside it may not."""

    async def talk(socket):
        await socket.send('hi')

    async with http.listen('127.0.0.1', 0, lambda request: {'websocket': talk}) as server:
        received = http.to_request(url='http://elsewhere/p?q')
        async with http.websocket(received, url=server.url + '/ws') as socket:
            assert 'hi' == await anext(aiter(socket))
        with pytest.warns(http.TableWarning, match="overrides 'path' with"):
            async with http.websocket(received, url=server.url + '/ws', path='/x') as socket:
                assert 'hi' == await anext(aiter(socket))


async def test_a_warning_as_an_error_sends_nothing():
    """With ``-W error`` the warning is raised by the request."""
    asked = []

    async with http.Client(via=asked.append) as client:
        with pytest.raises(http.TableWarning):
            await client.request(TABLE, host='h')
    assert [] == asked
