"""The commands `request` and `download`, and how tables are printed."""

import ast
import io
import json
import sys
from argparse import Namespace
from pathlib import Path

import pytest

import aioluahttp as http
from aioluahttp.cli.request import (
    print_table,
    run_download,
    run_request,
    to_body,
    to_into,
    to_pair,
    to_table,
    to_url,
)
from aioluahttp.headers import Headers
from aioluahttp.server.listen import listen
from aioluahttp.tables.models import Response


@pytest.mark.parametrize(
    ('text', 'url'),
    [
        ('http://h/x', 'http://h/x'),
        ('https://h', 'https://h'),
        ('h:8080/x', 'http://h:8080/x'),
        (':8080/x', 'http://localhost:8080/x'),
    ],
)
def test_a_url_may_lack_scheme_and_host(text, url):
    """They are http and localhost then."""
    assert url == to_url(text)


def test_a_header_has_a_colon():
    """The name is before it; spaces around the value are removed."""
    assert ('A', 'b:c') == to_pair('A:  b:c ')
    with pytest.raises(ValueError, match='no colon'):
        to_pair('A=b')


def test_a_body_is_text_or_a_file_or_the_input(monkeypatch):
    """The syntax is that of curl."""
    assert 'text' == to_body('text')
    assert Path('name') == to_body('@name')
    monkeypatch.setattr(sys, 'stdin', io.TextIOWrapper(io.BytesIO(b'\xff')))
    assert b'\xff' == to_body('@-')


def test_into_is_a_word_or_a_file():
    """A text that is not one of the words names a file."""
    assert 'json' == to_into('json')
    assert Path('jsonl') == to_into('jsonl')


def test_options_become_keys_of_the_table():
    """An option that is not given has no key."""
    assert {} == to_table(Namespace(url=None, shape='repr'))
    given = Namespace(url='http://h', method='PUT', body='x', check=True, header=[('A', 'b')])
    assert to_table(given) == {
        'url': 'http://h',
        'method': 'PUT',
        'headers': {'A': 'b'},
        'body': 'x',
        'check': True,
    }


@pytest.mark.parametrize('given', [{'body': ''}, {'json': None}])
def test_a_body_makes_the_method_post(given):
    """``to_table`` sets it if no method is given."""
    assert 'POST' == to_table(Namespace(url=None, **given))['method']


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
        'body': b'\xff',
        'json': 1,
    }


@pytest.mark.parametrize('text', ['{', '[]'])
def test_an_invalid_table_is_a_table_error(tmp_path, text):
    """The message names the option."""
    path = tmp_path / 'table'
    path.write_text(text)
    with pytest.raises(http.TableError, match='--table'):
        to_table(Namespace(url=None, table=str(path)))


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
    given = Namespace(path=folder / 'here' / path, resume=True)
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
        await run_download(Namespace(url=url, path=folder / 'here', resume=False))
    assert ['index.html'] == [one.name for one in (folder / 'here').iterdir()]


async def test_a_404_is_not_downloaded(folder):
    """No file is left, and the error has the status."""
    async with listen('127.0.0.1', 0, http.files(folder / 'site')) as server:
        given = Namespace(url=f'{server.url}/missing', path=folder / 'here', resume=True)
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
        given = Namespace(url=f'{server.url}/a%20b', path=folder / 'here', resume=True)
        assert 0 == await run_download(given)
    assert rich == ('100%' in capsys.readouterr().err)


HEADERS = Headers([('Set-Cookie', 'a=1'), ('Set-Cookie', 'b=2')])
BEFORE = Response(status=302, headers=Headers(Location='/'), body='', history=[])
RESPONSE = Response(status=200, headers=HEADERS, body='\x1b[31m', history=[BEFORE])
PAIRS = [('Set-Cookie', 'a=1'), ('Set-Cookie', 'b=2')]
LITERAL = {
    'status': 200,
    'headers': PAIRS,
    'body': '\x1b[31m',
    'history': [{'status': 302, 'headers': [('Location', '/')], 'body': '', 'history': []}],
}


@pytest.mark.parametrize('shape', [None, 'repr'])
def test_a_table_is_printed_as_a_python_literal(capsys, shape):
    """The output for people and of ``repr`` evaluates to the table, with headers as pairs."""
    print_table(RESPONSE, shape)
    output = capsys.readouterr().out
    assert LITERAL == ast.literal_eval(output)
    assert '\x1b' not in output


def test_repr_is_one_line(capsys):
    """A program can read it line by line."""
    print_table(RESPONSE, 'repr')
    assert 1 == capsys.readouterr().out.count('\n')


def test_json_is_one_line_that_from_plain_reads(capsys):
    """It is what ``plain`` returns."""
    print_table(RESPONSE, 'json')
    output = capsys.readouterr().out
    assert 1 == output.count('\n')
    assert RESPONSE == Response.from_plain(json.loads(output))


@pytest.mark.parametrize('shape', ['repr', 'json'])
def test_a_path_is_printed_as_text(capsys, shape):
    """Neither Python nor JSON has a literal for it."""
    print_table(Response(status=200, body=Path('some', 'file')), shape)
    assert str(Path('some', 'file')) in capsys.readouterr().out


def on_a_terminal(monkeypatch):
    monkeypatch.setattr(sys.stdout, 'isatty', lambda: True, raising=False)


def test_a_terminal_gets_colours_if_rich_is_installed(capsys, monkeypatch):
    """rich prints the same table."""
    pytest.importorskip('rich')
    monkeypatch.setenv('TERM', 'xterm-256color')
    monkeypatch.delenv('NO_COLOR', raising=False)
    on_a_terminal(monkeypatch)
    print_table(RESPONSE)
    output = capsys.readouterr().out
    assert '\x1b[' in output
    assert "'Set-Cookie'" in output


def test_a_terminal_without_rich_gets_plain_text(capsys, monkeypatch):
    """The output is as without a terminal."""
    monkeypatch.setitem(sys.modules, 'rich.console', None)
    on_a_terminal(monkeypatch)
    print_table(RESPONSE)
    assert LITERAL == ast.literal_eval(capsys.readouterr().out)
