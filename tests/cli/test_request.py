"""The commands `request` and `download`."""

import asyncio
import io
import json
import sys
from argparse import Namespace

import pytest

import aioluahttp as http
from aioluahttp.cli import make_parser
from aioluahttp.cli.request import run_download, run_request, to_table
from aioluahttp.server.listen import listen


def test_options_become_keys_of_the_table():
    """An option that is not given has no key."""
    assert {'url': 'http://h'} == to_table(Namespace(url='http://h', shape='repr'))
    given = Namespace(url='http://h', method='PUT', body='x', check=True, header=[('A', 'b')])
    assert to_table(given) == {
        'url': 'http://h',
        'method': 'PUT',
        'headers': {'A': 'b'},
        'body': 'x',
        'check': True,
    }


@pytest.mark.parametrize(
    'given',
    [
        {'body': ''},
        {'json': None},
        {'form': [('a', 'b')]},
        {'multipart': [{'name': 'a', 'body': ''}]},
    ],
)
def test_a_body_makes_the_method_post(given):
    """``to_table`` sets it if no method is given."""
    assert 'POST' == to_table(Namespace(url='http://h', **given))['method']


@pytest.mark.parametrize('from_input', [True, False])
def test_options_override_the_table(tmp_path, monkeypatch, from_input):
    """The table is JSON from a file or standard input, as ``plain`` returns it."""
    table = {'url': 'http://h', 'method': 'PUT', 'headers': {'A': 'b', 'C': 'd'}, 'body': 'x'}
    table['body'] = {'base64': '/w=='}
    text = json.dumps(table)
    path = tmp_path / 'table'
    path.write_text(text)
    monkeypatch.setattr(sys, 'stdin', io.StringIO(text))
    name = '-' if from_input else str(path)
    given = Namespace(url='http://i', table=name, header=[('a', '1'), ('a', '2')], json=1)
    assert to_table(given) == {
        'url': 'http://i',
        'method': 'PUT',
        'headers': http.Headers([('C', 'd'), ('a', '1'), ('a', '2')]),
        'json': 1,
    }


@pytest.mark.parametrize('text', ['{', '[]', '[' * 100_000, None])
def test_an_invalid_table_is_a_table_error(tmp_path, text):
    """The message names the option; also where there is no such file."""
    path = tmp_path / 'table'
    if text is not None:
        path.write_text(text)
    with pytest.raises(http.TableError, match='--table'):
        to_table(Namespace(url=None, table=str(path)))


def test_a_request_needs_a_url_or_a_table():
    """The message says both."""
    with pytest.raises(http.TableError, match='no URL to request; give one, or --table'):
        to_table(Namespace(url=None))


@pytest.mark.parametrize(
    ('table', 'expected'),
    [
        ({'url': 'http://h'}, {'url': 'http://h?a=1&a=%26'}),
        ({'url': 'http://h/?'}, {'url': 'http://h/?a=1&a=%26'}),
        ({'url': 'http://h/x?y=%7e#z'}, {'url': 'http://h/x?y=%7e&a=1&a=%26#z'}),
        ({'host': 'h'}, {'host': 'h', 'query': 'a=1&a=%26'}),
        ({'host': 'h', 'query': 'b'}, {'host': 'h', 'query': 'b&a=1&a=%26'}),
        ({'host': 'h', 'query': {'b': 2}}, {'host': 'h', 'query': 'b=2&a=1&a=%26'}),
    ],
)
def test_fields_are_added_to_the_query(tmp_path, table, expected):
    """What is there stays as it is."""
    path = tmp_path / 'table'
    path.write_text(json.dumps(table))
    given = Namespace(url=None, table=str(path), query=[('a', '1'), ('a', '&')])
    assert expected == to_table(given)


def test_a_login_overrides_the_other_kind(tmp_path):
    """As a body does the other kinds of body."""
    path = tmp_path / 'table'
    path.write_text(json.dumps({'url': 'http://h', 'bearer': 'x', 'timeout': 1}))
    given = Namespace(url=None, table=str(path), auth='a:b')
    assert {'url': 'http://h', 'auth': 'a:b', 'timeout': 1} == to_table(given)


def parsed(*arguments):
    return make_parser().parse_args(arguments)


@pytest.mark.parametrize('command', ['request', 'download'])
def test_both_commands_have_the_options_of_sending(command):
    """They are keys of the table."""
    given = parsed(
        *(command, 'h', '-H', 'A: b', '--auth', 'u:p', '--query', 'a=b', '--redirects', '0'),
        *('--timeout', '1.5', '--proxy', 'p:3128', '--insecure'),
    )
    assert to_table(given) == {
        'url': 'http://h?a=b',
        'headers': {'A': 'b'},
        'auth': 'u:p',
        'redirects': 0,
        'timeout': 1.5,
        'proxy': 'http://p:3128',
        'tls': {'verify': False},
    }
    assert 't' == to_table(parsed(command, 'h', '--bearer', 't'))['bearer']


async def show_form(request):
    """Respond with the login, the query and the fields of a form."""
    form = await request.form()
    login = request.headers.get('Authorization')
    if isinstance(file := form.get('f'), dict):
        form['f'] = list(map(str, file.values()))
    return {'status': 200, 'json': [login, request.query, list(form.items())]}


async def test_a_form_is_sent(tmp_path, capsysbinary):
    """By the options that a user writes."""
    path = tmp_path / 'a.txt'
    path.write_text('text')
    async with listen('127.0.0.1', 0, show_form) as server:
        address = server.url.removeprefix('http://')
        for options in (
            ['--form', 'a=1', '--form', 'a=&', '--bearer', 't', '--query', 'q=1'],
            ['--multipart', 'a=1', '--multipart', f'f=@{path}', '--auth', 'u:p'],
        ):
            assert 0 == await run_request(parsed('request', address, '--body', *options))
    first, second = capsysbinary.readouterr().out.replace(b'][', b']\n[').splitlines()
    assert ['Bearer t', 'q=1', [['a', '1'], ['a', '&']]] == json.loads(first)
    file = ['a.txt', 'text/plain', "b'text'"]
    assert ['Basic dTpw', '', [['a', '1'], ['f', file]]] == json.loads(second)


async def handler(request):
    match request.path:
        case '/missing':
            return {'status': 404, 'body': 'nothing'}
        case '/slow':
            return {'status': 200, 'body': iter([b'one ', b'two'])}
        case '/events':
            return {'status': 200, 'events': iter([{'data': 'x'}, {'id': '1', 'data': 'y'}])}
    return {'status': 200, 'body': f'{request.method} {request.body}'}


async def printed(capsysbinary, **given):
    """Run ``request``; return the exit status and what is printed."""
    async with listen('127.0.0.1', 0, handler) as server:
        path = given.pop('path', '/')
        status = await run_request(Namespace(url=server.url + path, **given))
    return status, capsysbinary.readouterr().out


async def test_the_response_is_printed(capsysbinary):
    """It is printed as a table; the exit status is 0 for any status."""
    status, output = await printed(capsysbinary, body='x', shape='repr')
    assert (0, True) == (status, b"'body': 'POST x'" in output)
    status, output = await printed(capsysbinary, path='/missing')
    assert (0, True) == (status, b"'body': 'nothing'" in output)


async def test_check_exits_with_the_first_digit_of_the_status(capsysbinary):
    """The table is printed, too."""
    status, output = await printed(capsysbinary, path='/missing', check=True)
    assert (4, True) == (status, b"'body': 'nothing'" in output)


async def test_a_stream_is_printed_as_it_arrives(capsysbinary):
    """Only its bytes are printed."""
    assert (0, b'one two') == await printed(capsysbinary, path='/slow', into='stream')


async def test_events_are_printed_as_lines_of_json(capsysbinary):
    """Each event is one line."""
    status, output = await printed(capsysbinary, path='/events', into='events')
    events = [json.loads(line) for line in output.splitlines()]
    assert (0, ['x', 'y']) == (status, [event['data'] for event in events])


async def test_an_error_page_is_printed_as_a_table(capsysbinary):
    """It is, even if a stream was requested."""
    status, output = await printed(capsysbinary, path='/missing', into='stream', check=True)
    assert (4, True) == (status, b"'body': 'nothing'" in output)


@pytest.fixture
def folder(tmp_path):
    """Make a folder with files to serve in ``site``, and one for downloads in ``here``."""
    (tmp_path / 'site').mkdir()
    (tmp_path / 'site' / 'a b').write_bytes(bytes(200_000))
    (tmp_path / 'site' / 'index.html').write_text('index')
    (tmp_path / 'here').mkdir()
    return tmp_path


@pytest.mark.parametrize(
    ('url', 'path', 'name'),
    [
        ('/a%20b?x', '', 'a b'),
        ('/a%20b', 'c', 'c'),
        ('/', '', 'index.html'),
        ('', '', 'index.html'),
    ],
)
async def test_a_file_is_downloaded(folder, capsys, url, path, name):
    """Its name is the one given, or the last of the URL; its path is printed."""
    given = Namespace(path=str(folder / 'here' / path), resume=True)
    async with listen('127.0.0.1', 0, http.files(folder / 'site')) as server:
        assert 0 == await run_download(Namespace(url=server.url + url, **vars(given)))
    assert str(folder / 'here' / name) == capsys.readouterr().out.strip()
    assert [name] == [one.name for one in (folder / 'here').iterdir()]


@pytest.mark.parametrize('last', ['..', '%2e%2e', 'a%2fb', 'a%5cb', 'a%00b'])
async def test_a_url_cannot_name_a_file_in_another_folder(folder, last):
    """A name that is not a plain file name is not used."""

    def anything(request):
        return {'status': 200, 'body': 'x'}

    async with listen('127.0.0.1', 0, anything) as server:
        url = f'{server.url}/x/{last}'
        await run_download(Namespace(url=url, path=str(folder / 'here'), resume=False))
    assert ['index.html'] == [one.name for one in (folder / 'here').iterdir()]


async def test_a_404_is_not_downloaded(folder):
    """No file is left, and the error has the status."""
    async with listen('127.0.0.1', 0, http.files(folder / 'site')) as server:
        given = Namespace(url=f'{server.url}/missing', path=str(folder / 'here'), resume=True)
        with pytest.raises(http.StatusError, match='404'):
            await run_download(given)
    assert [] == list((folder / 'here').iterdir())


@pytest.mark.parametrize('rich', [True, False])
async def test_a_terminal_gets_a_progress_bar_if_rich_is_installed(
    folder, capsys, monkeypatch, rich
):
    """Without rich nothing is printed on stderr."""
    if rich:
        pytest.importorskip('rich')
    else:
        monkeypatch.setitem(sys.modules, 'rich.progress', None)
    monkeypatch.setattr(sys.stderr, 'isatty', lambda: True, raising=False)
    async with listen('127.0.0.1', 0, http.files(folder / 'site')) as server:
        given = Namespace(url=f'{server.url}/a%20b', path=str(folder / 'here'), resume=True)
        assert 0 == await run_download(given)
    assert rich == ('100%' in capsys.readouterr().err)


async def test_a_folder_that_does_not_exist_is_an_error(folder):
    """A name that ends with a slash is no name of a file."""
    given = Namespace(url='http://127.0.0.1:1', path=f'{folder}/missing/', resume=True)
    with pytest.raises(FileNotFoundError, match='no such folder'):
        await run_download(given)
    assert not (folder / 'missing').exists()


async def cut_off(reader, writer):
    """Send half of the bytes that are announced, more than the buffers hold."""
    await reader.readuntil(b'\r\n\r\n')
    head = b'HTTP/1.1 200 OK\r\nETag: "a"\r\nContent-Length: 40000000\r\n\r\n'
    writer.write(head + bytes(20_000_000))
    writer.close()
    await writer.wait_closed()


@pytest.mark.parametrize('resume', [True, False])
async def test_a_download_that_breaks_off_says_how_to_continue(folder, resume):
    """The same command does, if a part was kept."""
    async with await asyncio.start_server(cut_off, '127.0.0.1', 0) as server:
        port = server.sockets[0].getsockname()[1]
        given = Namespace(url=f'http://127.0.0.1:{port}/a', path=str(folder), resume=resume)
        with pytest.raises(http.ProtocolError) as caught:
            await run_download(given)
    again = 'to continue the download, run the same command again'
    assert [again] * resume == getattr(caught.value, '__notes__', [])
