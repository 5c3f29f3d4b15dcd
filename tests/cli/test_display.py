"""Tables as the command line shows them."""

import ast
import json
import sys
from pathlib import Path

import pytest

from aioluahttp.cli.display import show
from aioluahttp.headers import Headers
from aioluahttp.tables.models import Response

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
    show(RESPONSE, shape)
    output = capsys.readouterr().out
    assert LITERAL == ast.literal_eval(output)
    assert '\x1b' not in output


def test_repr_is_one_line(capsys):
    """A program reads it line by line."""
    show(RESPONSE, 'repr')
    assert 1 == capsys.readouterr().out.count('\n')


def test_json_is_one_line_that_can_be_read_again(capsys):
    """It is what ``plain`` gives."""
    show(RESPONSE, 'json')
    output = capsys.readouterr().out
    assert 1 == output.count('\n')
    assert RESPONSE == Response.from_plain(json.loads(output))


@pytest.mark.parametrize('shape', ['repr', 'json'])
def test_a_path_is_text(capsys, shape):
    """Neither Python nor JSON has a literal for it."""
    show(Response(status=200, body=Path('some', 'file')), shape)
    assert str(Path('some', 'file')) in capsys.readouterr().out


def on_a_terminal(monkeypatch):
    monkeypatch.setattr(sys.stdout, 'isatty', lambda: True, raising=False)


def test_a_terminal_gets_colours_where_rich_is_installed(capsys, monkeypatch):
    """rich prints the same table."""
    pytest.importorskip('rich')
    monkeypatch.setenv('TERM', 'xterm-256color')
    monkeypatch.delenv('NO_COLOR', raising=False)
    on_a_terminal(monkeypatch)
    show(RESPONSE)
    output = capsys.readouterr().out
    assert '\x1b[' in output
    assert "'Set-Cookie'" in output


def test_a_terminal_without_rich_gets_plain_text(capsys, monkeypatch):
    """As where there is no terminal."""
    monkeypatch.setitem(sys.modules, 'rich.console', None)
    on_a_terminal(monkeypatch)
    show(RESPONSE)
    assert LITERAL == ast.literal_eval(capsys.readouterr().out)
