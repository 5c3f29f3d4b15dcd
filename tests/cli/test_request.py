"""Requests from the command line."""

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
    """People write them so."""
    assert url == to_url(text)


def test_a_header_has_a_colon():
    """What is before it is the name; spaces around the value do not count."""
    assert ('A', 'b:c') == to_pair('A:  b:c ')
    with pytest.raises(ValueError, match='no colon'):
        to_pair('A=b')


def test_a_body_is_text_or_a_file_or_the_input(monkeypatch):
    """As curl has it."""
    assert 'text' == to_body('text')
    assert Path('name') == to_body('@name')
    monkeypatch.setattr(sys, 'stdin', io.TextIOWrapper(io.BytesIO(b'\xff')))
    assert b'\xff' == to_body('@-')


def test_into_is_a_word_or_a_file():
    """What is no word names a file."""
    assert 'json' == to_into('json')
    assert Path('jsonl') == to_into('jsonl')


def test_a_table_is_what_the_options_say():
    """What is not given is not there."""
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
def test_who_gives_a_body_means_a_post(given):
    """Unless a method is given."""
    assert 'POST' == to_table(Namespace(url=None, **given))['method']


@pytest.mark.parametrize('from_input', [True, False])
def test_options_go_before_what_the_table_has(tmp_path, monkeypatch, from_input):
    """The table is JSON, from a file or the standard input, as ``plain`` gives it."""
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
def test_a_table_that_is_none_is_a_table_error(tmp_path, text):
    """The message names the option."""
    path = tmp_path / 'table'
    path.write_text(text)
    with pytest.raises(http.TableError, match='--table'):
        to_table(Namespace(url=None, table=str(path)))


async def answer(request):
    match request.path:
        case '/missing':
            return {'status': 404, 'body': 'nothing'}
        case '/slow':
            return {'status': 200, 'body': iter([b'one ', b'two'])}
        case '/events':
            return {'status': 200, 'events': iter([{'data': 'x'}, {'id': '1', 'data': 'y'}])}
    return {'status': 200, 'body': f'{request.method} {request.body}'}


async def told(capsysbinary, **given):
    """Ask, and give the exit status with what is printed."""
    async with listen('127.0.0.1', 0, answer) as server:
        path = given.pop('path', '/')
        status = await run_request(Namespace(url=server.url + path, **given))
    return status, capsysbinary.readouterr().out


async def test_the_response_is_printed(capsysbinary):
    """As a table; the status is of no account."""
    status, output = await told(capsysbinary, body='x', shape='repr')
    assert (0, True) == (status, b"'body': 'POST x'" in output)
    status, output = await told(capsysbinary, path='/missing')
    assert (0, True) == (status, b"'body': 'nothing'" in output)


async def test_check_gives_the_class_of_the_status(capsysbinary):
    """The table is printed all the same."""
    status, output = await told(capsysbinary, path='/missing', check=True)
    assert (4, True) == (status, b"'body': 'nothing'" in output)


async def test_a_stream_is_printed_as_it_comes(capsysbinary):
    """Its bytes alone."""
    assert (0, b'one two') == await told(capsysbinary, path='/slow', into='stream')


async def test_events_are_lines_of_json(capsysbinary):
    """One for each."""
    status, output = await told(capsysbinary, path='/events', into='events')
    events = [json.loads(line) for line in output.splitlines()]
    assert (0, ['x', 'y']) == (status, [event['data'] for event in events])


async def test_the_page_of_an_error_is_a_table(capsysbinary):
    """Also where a stream was asked for."""
    status, output = await told(capsysbinary, path='/missing', into='stream', check=True)
    assert (4, True) == (status, b"'body': 'nothing'" in output)


@pytest.fixture
def folder(tmp_path):
    """Serve a folder, and give where downloads are to go."""
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
    """Under the name that is given, or the last one of the URL; its path is printed."""
    given = Namespace(path=folder / 'here' / path, resume=True)
    async with listen('127.0.0.1', 0, http.files(folder / 'site')) as server:
        assert 0 == await run_download(Namespace(url=server.url + url, **vars(given)))
    assert str(folder / 'here' / name) == capsys.readouterr().out.strip()
    assert [name] == [one.name for one in (folder / 'here').iterdir()]


@pytest.mark.parametrize('last', ['..', '%2e%2e', 'a%2fb', 'a%5cb', 'a%00b'])
async def test_no_url_names_a_file_elsewhere(folder, last):
    """What is no plain name is left."""

    def anything(request):
        return {'status': 200, 'body': 'x'}

    async with listen('127.0.0.1', 0, anything) as server:
        url = f'{server.url}/x/{last}'
        await run_download(Namespace(url=url, path=folder / 'here', resume=False))
    assert ['index.html'] == [one.name for one in (folder / 'here').iterdir()]


async def test_what_is_missing_is_no_download(folder):
    """No file is left, and the error says the status."""
    async with listen('127.0.0.1', 0, http.files(folder / 'site')) as server:
        given = Namespace(url=f'{server.url}/missing', path=folder / 'here', resume=True)
        with pytest.raises(http.StatusError, match='404'):
            await run_download(given)
    assert [] == list((folder / 'here').iterdir())


@pytest.mark.parametrize('rich', [True, False])
async def test_a_terminal_sees_how_far_it_is(folder, capsys, monkeypatch, rich):
    """Where rich is installed."""
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
def test_it_is_a_literal_of_python(capsys, shape):
    """What is printed for people and by ``repr`` reads as the table, headers as pairs."""
    print_table(RESPONSE, shape)
    output = capsys.readouterr().out
    assert LITERAL == ast.literal_eval(output)
    assert '\x1b' not in output


def test_repr_is_one_line(capsys):
    """A program reads it line by line."""
    print_table(RESPONSE, 'repr')
    assert 1 == capsys.readouterr().out.count('\n')


def test_json_is_one_line_that_can_be_read_again(capsys):
    """It is what ``plain`` gives."""
    print_table(RESPONSE, 'json')
    output = capsys.readouterr().out
    assert 1 == output.count('\n')
    assert RESPONSE == Response.from_plain(json.loads(output))


@pytest.mark.parametrize('shape', ['repr', 'json'])
def test_a_path_is_text(capsys, shape):
    """Neither Python nor JSON has a literal for it."""
    print_table(Response(status=200, body=Path('some', 'file')), shape)
    assert str(Path('some', 'file')) in capsys.readouterr().out


def on_a_terminal(monkeypatch):
    monkeypatch.setattr(sys.stdout, 'isatty', lambda: True, raising=False)


def test_a_terminal_gets_colours_where_rich_is_installed(capsys, monkeypatch):
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
    """As where there is no terminal."""
    monkeypatch.setitem(sys.modules, 'rich.console', None)
    on_a_terminal(monkeypatch)
    print_table(RESPONSE)
    assert LITERAL == ast.literal_eval(capsys.readouterr().out)
