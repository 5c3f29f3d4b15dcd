"""The handler of ``files``: which files of a folder it serves, and which it does not."""

import doctest
import os
from pathlib import Path

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

import aioluahttp as http
from aioluahttp import static as folders

SECRET = 'secret'
PARTS = '/ / .. . %2e %2E%2e %2f %5c \\ %00 sub b.txt out out-folder root outside.txt .env'.split()


@pytest.fixture
def folder(tmp_path):
    """Create a folder with files, hidden files and links, and files outside of it."""
    root = tmp_path / 'root'
    for name in ('index.html', 'a b.txt', 'é.txt', 'sub/index.html', 'sub/b.txt', 'a%2Fb'):
        (root / name).parent.mkdir(parents=True, exist_ok=True)
        (root / name).write_text(name)
    (root / 'empty').mkdir()
    (root / 'odd/index.html').mkdir(parents=True)
    for path in (root / '.env', root / '.git/config', tmp_path / 'outside.txt', tmp_path / 'root2'):
        path.parent.mkdir(exist_ok=True)
        path.write_text(SECRET)
    os.mkfifo(root / 'fifo')
    for name, target in {
        'inner': 'sub/b.txt',
        'inner-folder': 'sub',
        'out': '../outside.txt',
        'out-folder': '..',
        'beside': '../root2',
        'hidden': '.env',
        'dead': 'nowhere',
        'loop': 'loop',
        'sub/up': '../sub/b.txt',
    }.items():
        (root / name).symlink_to(target)
    return root


async def ask(handler, path, method='GET', query=''):
    """Call a handler; return the status, and the text of the file."""
    request = http.Request(method=method, path=path, query=query)
    response = http.to_response(await handler(request))
    body = response.body.read_text() if isinstance(response.body, Path) else None
    return response.status, body


def test_the_examples_hold():
    """The module's doctests pass."""
    assert (0, 2) == doctest.testmod(folders)


@pytest.mark.parametrize(
    ('path', 'name'),
    [
        ('/', 'index.html'),
        ('/index.html', 'index.html'),
        ('/a%20b.txt', 'a b.txt'),
        ('/%C3%A9.txt', 'é.txt'),
        ('/é.txt', 'é.txt'),
        ('/sub/', 'sub/index.html'),
        ('/sub/b.txt', 'sub/b.txt'),
        ('/s%75b/b.txt', 'sub/b.txt'),
        ('/a%252Fb', 'a%2Fb'),
        ('/inner', 'sub/b.txt'),
        ('/inner-folder/b.txt', 'sub/b.txt'),
        ('/sub/up', 'sub/b.txt'),
        ('/out-folder/root/index.html', 'index.html'),  # the target of a link decides
    ],
)
async def test_a_path_names_a_file(folder, path, name):
    """The path is decoded once; links that lead to a place inside are followed."""
    for method in ('GET', 'HEAD'):
        assert (200, name) == await ask(http.files(folder), path, method)


@pytest.mark.parametrize(
    'path',
    [
        '',
        '*',
        '/no',
        '/empty/',
        '/odd/',
        '/sub/b.txt/',
        '/sub/b.txt/c',
        '//',
        '//sub/b.txt',
        '/sub//b.txt',
        '/./index.html',
        '/sub/../index.html',
        '/..',
        '/../outside.txt',
        '/../root2',
        '/sub/../../outside.txt',
        '/%2e%2e/outside.txt',
        '/%2E%2e%2foutside.txt',
        '/..%2foutside.txt',
        '/..%5coutside.txt',
        '/..\\outside.txt',
        '/sub%2Fb.txt',
        '/sub\\b.txt',
        '/%252e%252e/outside.txt',
        '/..;/outside.txt',
        '/.env',
        '/%2eenv',
        '/.git/config',
        '/hidden',
        '/out',
        '/out-folder',
        '/out-folder/outside.txt',
        '/beside',
        '/dead',
        '/loop',
        '/fifo',
        '/index.html%00',
        '/index.html%00.txt',
        '/%ff',
        '/' + 'x' * 300,
        '/' + 'x/' * 3000,
        '/index.html?x',
        '/~root',
        '/C:/outside.txt',
        '/%',
    ],
)
async def test_nothing_else_is_there(folder, path):
    """Files outside, hidden files and things that are not regular files are a 404."""
    assert (404, None) == await ask(http.files(folder), path)


@settings(deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(st.lists(st.sampled_from(PARTS), max_size=12))
def test_no_path_leads_out(folder, parts):
    """A found file is inside the folder, and no part of its path is hidden."""
    found = folders._find_file(folder, folders._path_names('/' + ''.join(parts)))
    assert not found or SECRET not in Path(found).read_text()


@pytest.mark.parametrize('method', ['POST', 'PUT', 'DELETE', 'OPTIONS', 'get'])
async def test_only_get_and_head_are_allowed(folder, method):
    """Any other method is a 405 with an Allow header."""
    request = http.Request(method=method, path='/', query='')
    response = await http.files(folder)(request)
    assert (405, 'GET, HEAD') == (response['status'], response['headers']['Allow'])


@pytest.mark.parametrize(
    ('path', 'query', 'location'),
    [
        ('/sub', '', './sub/'),
        ('/sub', 'a=b', './sub/?a=b'),
        ('/inner-folder', '', './inner-folder/'),
        ('/s%75b', '', './s%75b/'),
        ('/empty', '', './empty/'),
    ],
)
async def test_a_folder_without_a_slash_is_redirected(folder, path, query, location):
    """Relative links of its page need the slash. The Location names no host."""
    request = http.Request(method='GET', path=path, query=query)
    response = await http.files(folder)(request)
    assert (301, location) == (response['status'], response['headers']['Location'])


async def test_files_are_served_below_a_prefix(folder, wire):
    """As the handler of a server, a prefix may be removed from the path first."""
    static = http.files(str(folder))

    async def callback(request):
        return await static(request | {'path': request.path.removeprefix('/static')})

    async with http.listen('127.0.0.1', 0, callback) as server:
        page = await http.request(url=server.url + '/static/sub')
        assert 'sub/index.html' == page.body
        assert 'text/html; charset=utf-8' == page.headers['Content-Type']
        assert server.url + '/static/sub/' == page.url
        async with wire(server) as client:
            client.send_request('GET /static/../outside.txt')
            assert 404 == (await client.read_response())[0]


@pytest.mark.parametrize('name', ['no', 'index.html'])
def test_a_missing_folder_is_rejected(folder, name):
    """It is checked when the handler is made."""
    with pytest.raises(http.TableError, match="'directory' is "):
        http.files(folder / name)
