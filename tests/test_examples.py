"""The examples run."""

import importlib.util
from pathlib import Path

import pytest

import aioluahttp as http

FOLDER = Path(__file__).parent.parent / 'examples'


def load(name):
    """Load an example as a module."""
    spec = importlib.util.spec_from_file_location(name, FOLDER / f'{name}.py')
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    return module


@pytest.mark.parametrize('path', sorted(FOLDER.glob('*.py')), ids=lambda path: path.name)
def test_an_example_is_short(path):
    """It has under 40 lines, and a test of its own here."""
    lines = path.read_text(encoding='utf-8').splitlines()
    assert len([line for line in lines if line]) < 40
    assert f'test_{path.stem}_' in Path(__file__).read_text(encoding='utf-8')


async def test_chat_tells_all_what_one_says(capsys):
    """What is said comes back to who said it, and to the others."""
    chat = load('chat')

    async def lines():
        yield 'hello'
        yield 'anybody there?'

    async with (
        http.listen('127.0.0.1', 0, chat.callback) as server,
        http.websocket(url=server.url) as other,
    ):
        await other.send('here')
        assert 'here' == await anext(other)
        await chat.talk('Ada', lines(), server.url)
        heard = [await anext(other) for _ in range(2)]
    assert ['Ada: hello', 'Ada: anybody there?'] == heard
    assert heard == capsys.readouterr().out.splitlines()
    assert not chat.room


async def test_reverse_proxy_sends_on_by_path(monkeypatch):
    """The rest of the path to its origin, with what that is to get."""
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
        asked = {'method': 'POST', 'body': 'x', 'headers': {'Cookie': 'a=b'}}
        for path, expected in ('/api/x?y', '/x?y'), ('/static/z', '/files/z'):
            response = await http.request(url=server.url + path, **asked)
            assert [expected, path.startswith('/api'), 'x'] == response.json()
        for path in '/', '/api', '/other/x':
            assert 404 == (await http.request(url=server.url + path)).status
