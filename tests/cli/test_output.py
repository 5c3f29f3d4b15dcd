"""Responses printed: as messages, tables and bodies."""

import ast
import doctest
import json
import re
import sys
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from aioluahttp.bodies.stream import Stream
from aioluahttp.cli import output
from aioluahttp.cli.output import LONG, layout, print_body, print_response
from aioluahttp.headers import Headers
from aioluahttp.tables.models import JsonText, Response

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


def test_the_examples_hold():
    """The module's doctests pass."""
    assert 0 == doctest.testmod(output).failed


def of(body, kind='text/plain', **fields):
    """Return a response with a body."""
    table = {'status': 200, 'reason': 'OK', 'version': '1.1', 'body': body, **fields}
    return Response(table | {'headers': Headers({'Content-Type': kind})})


@pytest.mark.parametrize('shape', [None, 'repr'])
def test_a_table_is_printed_as_a_python_literal(capsys, shape):
    """Off a terminal, and by ``repr``: it evaluates to the table, with headers as pairs."""
    print_response(RESPONSE, shape)
    printed = capsys.readouterr().out
    assert LITERAL == ast.literal_eval(printed)
    assert '\x1b' not in printed


def test_repr_is_one_line(capsys):
    """A program can read it line by line."""
    print_response(RESPONSE, 'repr')
    assert 1 == capsys.readouterr().out.count('\n')


def test_json_is_one_line_that_from_plain_reads(capsys):
    """It is what ``plain`` returns."""
    print_response(RESPONSE, 'json')
    printed = capsys.readouterr().out
    assert 1 == printed.count('\n')
    assert RESPONSE == Response.from_plain(json.loads(printed))


@pytest.mark.parametrize('shape', ['repr', 'json', 'body'])
def test_a_path_is_printed_as_text(capsys, shape):
    """Neither Python nor JSON has a literal for it."""
    print_response(Response(status=200, body=Path('some', 'file')), shape)
    assert str(Path('some', 'file')) in capsys.readouterr().out


@pytest.mark.parametrize(
    ('body', 'printed'),
    [
        ('é\udcff\n', b'\xc3\xa9\xff\n'),
        (b'\x00\xff', b'\x00\xff'),
        ({'a': 'é'}, b'{"a": "\\u00e9"}\n'),
        (JsonText('a'), b'"a"\n'),
        (None, b'null\n'),
    ],
)
def test_the_body_alone_is_the_bytes_that_came(capsysbinary, body, printed):
    """Off a terminal; what was read as JSON is a line of JSON."""
    print_response(of(body), 'body')
    assert printed == capsysbinary.readouterr().out


@pytest.fixture
def shown(capsys, monkeypatch):
    """Return a function that prints a response on a terminal, and returns what is printed."""

    def show(response, shape=None, *, rich=False):
        monkeypatch.setenv('TERM', 'xterm-256color')
        monkeypatch.delenv('NO_COLOR', raising=False)
        if rich:
            pytest.importorskip('rich')
        else:
            monkeypatch.setitem(sys.modules, 'rich.console', None)
        monkeypatch.setattr(sys.stdout, 'isatty', lambda: True, raising=False)
        print_response(response, shape)
        return capsys.readouterr().out

    return show


def test_a_terminal_gets_status_headers_and_body(shown):
    """JSON is laid out; without rich there are no colours."""
    printed = shown(of('{"a":[1]}', 'application/problem+json'))
    head = 'HTTP/1.1 200 OK\nContent-Type: application/problem+json\n'
    assert f'{head}\n{layout("""{"a":[1]}""")}\n' == printed


@pytest.mark.parametrize('reason', ['', None])
def test_a_status_may_have_no_reason(shown, reason):
    """The line ends with the status."""
    assert 'HTTP/1.1 499\n' == shown(of('', reason=reason) | {'status': 499}).splitlines(True)[0]


def test_a_terminal_gets_colours_with_rich(shown):
    """The text is the same."""
    response = of('{"a": "b"}', 'application/json')
    printed = shown(response, rich=True)
    assert '\x1b[1;32m200 OK\x1b[0m' in printed
    assert '\x1b[36mContent-Type\x1b[0m: application/json\n\n' in printed
    assert '"a"\x1b' in printed


@pytest.mark.parametrize(
    ('response', 'printed'),
    [
        (of('plain'), 'plain\n'),
        (of(''), '\n'),
        (of('x' * (LONG + 1), 'text/css'), 'x' * (LONG + 1) + '\n'),
    ],
)
def test_text_of_no_known_type_and_long_text_has_no_colour(shown, response, printed):
    """Long text would take long."""
    assert printed == shown(response, 'body', rich=True)


@pytest.mark.parametrize(
    ('response', 'printed'),
    [
        (of('<p>', 'text/html'), '<p>'),
        (of('a\r\nb\x1b[31m\x9b\x7f\t'), 'a\nb\\x1b[31m\\x9b\\x7f\t'),
        (of('caf\udce9'), 'caf\ufffd'),
        (of(b'caf\xe9', 'text/plain; charset=iso-8859-1'), 'café'),
        (of('caf\udce9', 'image/x'), '(4 bytes that are not text)'),
        (of(b'a\0', 'text/plain'), '(2 bytes that are not text)'),
        (of(b'["\\ud800"]', 'application/json'), '[\n    "\\ud800"\n]'),
        (of('{no', 'application/json'), '{no'),
        (of({'a': 'é'}, 'application/json'), '{\n    "a": "é"\n}'),
        (of(JsonText('é'), 'application/json'), '"é"'),
        (of(None, 'application/json'), 'null'),
        (of(Path('a', 'b')), f'(written to {Path("a", "b")})'),
        (Response(status=200, headers=Headers(), body='x'), 'x'),
    ],
)
@pytest.mark.parametrize('rich', [True, False])
def test_a_terminal_gets_a_body_that_people_can_read(shown, response, printed, rich):
    """Control characters are escaped, since they would be commands to the terminal."""
    text = re.sub(r'\x1b\[[0-9;]*m', '', shown(response, 'body', rich=rich))
    assert printed.expandtabs(8).rstrip() == text.expandtabs(8).rstrip()


def test_control_characters_of_headers_are_escaped(shown):
    """As in a body."""
    printed = shown(of('', 'a/b\x1b[31m', reason='O\x9bK'))
    assert 'HTTP/1.1 200 O\\x9bK\nContent-Type: a/b\\x1b[31m\n' in printed


JSON = st.recursive(
    st.none() | st.booleans() | st.integers() | st.floats(allow_nan=False) | st.text(),
    lambda inner: st.lists(inner) | st.dictionaries(st.text(), inner),
)


@given(JSON, st.booleans(), st.sampled_from([None, 2]))
def test_laid_out_json_is_the_same_json(value, ascii_only, indent):
    """It is laid out as by Python, whatever the spaces in it were."""
    text = json.dumps(value, ensure_ascii=ascii_only, indent=indent)
    assert json.dumps(value, ensure_ascii=False, indent=4) == layout(text)


def test_numbers_and_repeated_keys_are_kept():
    """A parser would change them."""
    assert '{\n    "a": 1.10,\n    "a": 1e400\n}' == layout('{"a":1.10,"a":1e400}')


async def test_a_stream_is_printed_as_it_arrives(capsysbinary):
    """Bytes are printed as they are, each before the next is read."""
    printed = []

    async def chunks():
        for chunk in (b'one ', b'two'):
            yield chunk
            printed.append(capsysbinary.readouterr().out)

    await print_body(Stream(chunks()))
    assert [b'one ', b'two'] == printed
