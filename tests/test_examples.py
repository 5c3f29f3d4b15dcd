"""Every example in examples/ runs and does what it should."""

import asyncio
import contextlib
import hmac
import importlib.util
import socket
import subprocess
import sys
from importlib.metadata import version
from pathlib import Path

import pytest
import stamina

import aioluahttp as http
from aioluahttp.testing import serve
from programs import free_port

TRACED = float(version('opentelemetry-instrumentation-aiohttp-server').partition('b')[0])
FOLDER = Path(__file__).parent.parent / 'examples'


def load(name):
    """Load an example as a module."""
    spec = importlib.util.spec_from_file_location(name, FOLDER / f'{name}.py')
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    return module


@pytest.mark.parametrize('path', sorted(FOLDER.glob('*.py')), ids=lambda path: path.name)
def test_an_example_is_short(path):
    """An example has under 40 lines, and a test in this file."""
    assert len(path.read_text(encoding='utf-8').splitlines()) < 40
    assert f'test_{path.stem}_' in Path(__file__).read_text(encoding='utf-8')


async def test_chat_sends_each_message_to_everybody(capsys):
    """A message is sent to its sender and to all others in the room."""
    chat = load('chat')

    async def lines():
        yield 'hello'
        yield 'anybody there?'

    async with (
        http.listen('127.0.0.1', 0, lambda request: {'websocket': chat.chat}) as server,
        http.websocket(url=server.url) as other,
    ):
        await other.send('here')
        assert 'here' == await anext(other)
        await chat.talk('Ada', lines(), server.url)
        heard = [await anext(other) for _ in range(2)]
    assert ['Ada: hello', 'Ada: anybody there?'] == heard
    assert heard == capsys.readouterr().out.splitlines()
    assert not chat.room


async def test_chat_room_sends_each_message_to_sockets_and_readers():
    """The page is served; a message is sent over every WebSocket and every event stream."""
    example = load('chat_room')
    async with serve(example.room) as server, http.Client(base_url=server.url) as client:
        page = await client.request(url='/')
        assert 'new EventSource("/events")' in page.body
        assert 404 == (await client.request(url='/chat_room.py')).status
        response = await client.request(url='/events', into='events')
        async with (
            response.body as events,
            client.websocket(url='/socket') as ada,
            client.websocket(url='/socket') as bob,
        ):
            while len(example.members) < 3:  # noqa: ASYNC110  # there is no event
                await asyncio.sleep(0)
            await ada.send('hello')
            assert 'hello' == await anext(ada) == await anext(bob)
            assert 'hello' == (await anext(events))['data']
    assert not example.members


async def test_crawler_finds_broken_links(tmp_path):
    """It requests each page of the site once, shows progress, and keeps errors as results."""
    links = '/', 'a.html', 'a.html#top', 'none.html', 'sub/', 'http://other.test/'
    (tmp_path / 'index.html').write_text(''.join(f'<a href="{link}">x</a>' for link in links))
    (tmp_path / 'a.html').write_text('<a class="x" href="large.bin">x</a>')
    (tmp_path / 'large.bin').write_bytes(bytes(1024 * 1024 + 1))
    (tmp_path / 'sub').mkdir()
    (tmp_path / 'sub/index.html').write_text('<a href="../a.html">x</a><a href="http://[">x</a>')
    seen = []
    async with http.listen('127.0.0.1', 0, http.files(tmp_path)) as server:
        results = await load('crawler').crawl(f'{server.url}/', lambda *both: seen.append(both))
        results = {url.removeprefix(server.url): result for url, result in results.items()}
    assert isinstance(results.pop('/large.bin'), http.BodyTooLarge)
    assert 'Invalid IPv6 URL' == str(results.pop('/sub/'))
    assert {'/': 200, '/a.html': 200, '/none.html': 404} == results
    assert (5, 5) == seen[-1]


@pytest.mark.parametrize('rich', [True, False])
async def test_download_shows_progress(capsys, tmp_path, monkeypatch, rich):
    """With a progress bar if rich is installed, otherwise with a line of text."""
    if rich:
        pytest.importorskip('rich')
    else:
        monkeypatch.setitem(sys.modules, 'rich.progress', None)
    download = load('download')
    (tmp_path / 'a').write_bytes(bytes(1_000_000))
    async with http.listen('127.0.0.1', 0, http.files(tmp_path)) as server:
        show = download.with_bar if download.Progress else download.with_text
        await show(server.url + '/a', tmp_path / 'b')
    assert bytes(1_000_000) == (tmp_path / 'b').read_bytes()
    assert ('100%' if rich else '1,000,000 of 1,000,000') in capsys.readouterr().out


async def test_gateway_checks_logins_limits_and_retries(monkeypatch):
    """Origins get the name of the user and no token; a 503 is retried, too many requests a 429."""
    example = load('gateway')
    statuses = iter([503])

    async def origin(request):
        named = {name: request.headers.get(name) for name in ('X-User', 'Authorization')}
        return {'status': next(statuses, 200), 'json': [request.url, named, request.body]}

    async with (
        http.listen('127.0.0.1', 0, origin) as users,
        http.listen('127.0.0.1', 0, example.limited) as server,
    ):
        monkeypatch.setitem(example.ORIGINS, 'users', users.url)
        monkeypatch.setitem(example.ORIGINS, 'orders', f'{users.url}/v1')
        async with http.Client(base_url=server.url) as client:
            assert 401 == (await client.request(url='/users')).status
            assert 401 == (await client.request(url='/users', bearer='wrong')).status
            assert 404 == (await client.request(url='/other', bearer='sesame')).status
            user = {'X-User': 'ada', 'Authorization': None}
            spoofed = {'X-User': 'root', 'Connection': 'X-User'}
            with stamina.set_testing(True, attempts=3):
                response = await client.request(url='/users/1?a', bearer='sesame', headers=spoofed)
            assert [200, ['/1?a', user, None]] == [response.status, response.json()]
            body = {'method': 'POST', 'body': iter(['x', 'y'])}
            response = await client.request(url='/orders/2', bearer='tahini', **body)
            assert ['/v1/2', user | {'X-User': 'bob'}, 'xy'] == response.json()
            tables = [{'url': '/users', 'bearer': 'sesame'}] * 300
            many = await http.parallel.map(client.request, tables)
        assert {200, 429} == {one.status for one in many}


async def test_reverse_proxy_routes_by_path(monkeypatch):
    """The first segment chooses the origin and the headers, and is removed from the path."""
    relay = load('reverse_proxy')

    def handler(request):
        return {'status': 200, 'json': [request.url, 'Cookie' in request.headers, request.body]}

    async with (
        http.listen('127.0.0.1', 0, handler) as origin,
        http.listen('127.0.0.1', 0, relay.callback) as server,
    ):
        monkeypatch.setitem(relay.ROUTES, 'api', http.proxy(origin.url))
        monkeypatch.setitem(
            relay.ROUTES, 'static', http.proxy(origin.url + '/files', headers={'Cookie': None})
        )
        table = {'method': 'POST', 'body': 'x', 'headers': {'Cookie': 'a=b'}}
        for path, expected in ('/api/x?y', '/x?y'), ('/static/z', '/files/z'):
            response = await http.request(url=server.url + path, **table)
            assert [expected, path.startswith('/api'), 'x'] == response.json()
        for path in '/', '/api', '/other/x':
            assert 404 == (await http.request(url=server.url + path)).status


async def test_event_stream_counts_from_the_last_event_until_the_client_leaves(capsys):
    """The page is served; events start after Last-Event-ID, and end when the client leaves."""
    example = load('event_stream')
    async with http.listen('127.0.0.1', 0, example.callback) as server:
        assert 'new EventSource("/count")' in (await http.request(url=server.url)).body
        for last, number in (None, 1), ('41', 42), ('x', 1):
            fields = {'headers': {'Last-Event-ID': last}} if last else {}
            response = await http.request(url=f'{server.url}/count', into='stream', **fields)
            async with response.body as body:
                assert f'data: {number} …\nid: {number}\n\n' == (await anext(body)).decode()
    assert 'left at 1\nleft at 42\nleft at 1\n' == capsys.readouterr().out


async def test_static_site_serves_files_and_listings(tmp_path):
    """It serves files, an index file or a generated listing, and a page for a 404."""
    (tmp_path / 'a & b.txt').write_text('x')
    (tmp_path / '.hidden').write_text('x')
    handler = load('static_site').site(tmp_path)
    async with http.listen('127.0.0.1', 0, handler) as server:
        listed = await http.request(url=server.url)
        assert '<li><a href="a%20%26%20b.txt">a &amp; b.txt</a>' in listed.body
        assert 'hidden' not in listed.body
        assert 'x' == (await http.request(url=f'{server.url}/a%20%26%20b.txt')).body
        missing = await http.request(url=f'{server.url}/none/')
        assert (404, True) == (missing.status, '<h1>Not here</h1>' in missing.body)
        (tmp_path / 'index.html').write_text('<h1>Mine</h1>')
        assert '<h1>Mine</h1>' == (await http.request(url=server.url)).body


COMMANDS = {
    'listen': ['aioluahttp', 'serve', 'six_engines:hello', '--trusted-proxies', '127.0.0.1'],
    'uvicorn': ['uvicorn', 'six_engines:asgi_app'],
    'hypercorn': ['hypercorn', 'six_engines:asgi_app', '--bind'],
    'granian': ['granian', '--interface', 'asgi', 'six_engines:asgi_app'],
    'aiohttp.web': ['aiohttp.web', '-H', '127.0.0.1', 'six_engines:web_app'],
}


@contextlib.contextmanager
def started(module, *arguments):
    """Run a module of Python that serves; give the URL once it listens."""
    port = free_port()
    last = [f'127.0.0.1:{port}'] if '--bind' in arguments else ['--port', str(port)]
    process = subprocess.Popen(
        [sys.executable, '-m', module, *arguments, *last],
        cwd=FOLDER,
        stdout=subprocess.DEVNULL,
        stderr=subprocess.DEVNULL,
    )
    try:
        while True:
            try:
                socket.create_connection(('127.0.0.1', port)).close()
                break
            except ConnectionRefusedError:
                assert process.poll() is None
        yield f'http://127.0.0.1:{port}'
    finally:
        process.terminate()
        process.wait()


@pytest.mark.parametrize('engine', COMMANDS)
async def test_six_engines_give_the_same_response(engine):
    """Each runs by a command, and gives the same alone and behind a reverse proxy."""
    expected = {'path': '/page', 'you': '127.0.0.1'}
    assert expected == await load('six_engines').in_process()
    with started(*COMMANDS[engine]) as url:
        assert expected == (await http.request(url=f'{url}/page')).json()
        async with http.listen('127.0.0.1', 0, http.proxy(url)) as proxy:
            assert expected == (await http.request(url=f'{proxy.url}/page')).json()


async def test_socks_sends_through_the_proxy(socks_proxy):
    """The proxy gets the name of the host."""
    ask = load('socks').ask
    async with socks_proxy() as proxy, http.listen('127.0.0.1', 0, lambda _: {'status': 200}) as to:
        response = await ask(f'socks5://127.0.0.1:{proxy.port}', f'http://name.test:{to.port}/')
    assert 200 == response.status
    assert [('name.test', to.port)] == proxy.requests


async def test_traced_app_names_spans_by_routes(monkeypatch):
    """A request to a route has a span with the name of the route."""
    spans = []
    console = 'opentelemetry.sdk.trace.export.ConsoleSpanExporter.export'
    monkeypatch.setattr(console, lambda exporter, batch: spans.extend(batch))
    traced = load('traced_app')
    runner = traced.web.AppRunner(traced.app)
    try:
        await runner.setup()
        await traced.web.TCPSite(runner, '127.0.0.1', 0).start()
        async with http.Client() as client:
            port = runner.addresses[0][1]
            response = await client.request(url=f'http://127.0.0.1:{port}/users/5')
        assert '5' == response.body
    finally:
        await runner.cleanup()
        traced.AioHttpServerInstrumentor().uninstrument()
        traced.provider.shutdown()
    if not spans and TRACED < 0.6:
        pytest.skip(f'the instrumentation {TRACED} ignores the tracer provider')
    assert ['GET /users/{id}'] == [span.name for span in spans]


async def test_caching_gateway_stores_pages_that_say_nothing(tmp_path):
    """A plain page is stored for ten seconds, one that sets a cookie is not."""

    async def origin(request):
        cookie = {'Set-Cookie': 'a=b'} if request.path == '/login' else {}
        return {'status': 200, 'headers': cookie, 'body': request.path}

    async with http.listen('127.0.0.1', 0, origin) as server:
        handler, storage = load('caching_gateway').gateway(server.url, tmp_path / 'file')
        async with http.listen('127.0.0.1', 0, handler) as cached:
            for path, hit in (('/page', True), ('/login', False)):
                for _ in range(2):
                    response = await http.request({'url': cached.url + path})
                assert path == response.body
                assert hit == ('hit' in response.headers['Cache-Status'])
        await storage.close()


async def test_webhook_receiver_verifies_signatures(monkeypatch, capsys):
    """A signed event is worked on before the end; any other is refused."""
    monkeypatch.setenv('SECRET', 'sesame')
    example = load('webhook_receiver')
    body = b'{"action": "opened"}'
    signature = 'sha256=' + hmac.new(b'sesame', body, 'sha256').hexdigest()
    async with http.Client(via=example.receive, base_url='http://hooks') as client:
        for given, status in (None, 401), ('sha256=\u00e9', 401), (signature, 202):
            headers = {'X-Hub-Signature-256': given}
            response = await client.request(method='POST', url='/', body=body, headers=headers)
            assert status == response.status
        large = await client.request(method='POST', url='/', body=bytes(2_000_000))
        assert 413 == large.status
        assert 401 == (await client.request(url='/')).status
    assert "received {'action': 'opened'}\n" == capsys.readouterr().out
