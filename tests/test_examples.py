"""Every example in examples/ runs and does what it should."""

import importlib.util
import sys
from importlib.metadata import version
from pathlib import Path

import pytest

import aioluahttp as http

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
