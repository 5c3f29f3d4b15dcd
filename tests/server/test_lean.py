"""The short way to an answer: the same bytes as the long one, or none."""

import re
from types import SimpleNamespace

import pytest
from aiohttp.http_writer import HttpVersion11
from hypothesis import given, settings
from hypothesis import strategies as st

from aioluahttp.errors import TableError
from aioluahttp.server.encode import encode
from aioluahttp.server.lean import lean_bytes
from aioluahttp.tables.conversion import to_response, wire_body

DATE = re.compile(rb'Date: [^\r]*')


class Text(str):
    """A text that is written as another."""

    def __str__(self):
        return 'a\r\nb'

    __format__ = __str__


def plain_bytes(table, server=None, *, keep_alive=True):
    """Make the answer the long way; None where the table is a mistake."""
    try:
        response = to_response(table)
        headers = response['headers']
        if server:
            headers.setdefault('Server', server)
        raw = SimpleNamespace(method='GET', version=HttpVersion11)
        body = wire_body(headers, response['body'])
        return encode(raw, response['status'], None, headers, body, keep_alive).data
    except TableError:
        return None


def lines(data):
    """Give an answer as its first line, its other lines in any order, and its body."""
    head, _, body = DATE.sub(b'Date', data).partition(b'\r\n\r\n')
    first, *rest = head.split(b'\r\n')
    return first, sorted(rest), body


LEAN = [
    {'status': 200},
    {'status': 404, 'body': None},
    {'status': 200, 'headers': None, 'body': ''},
    {'status': 200, 'headers': {}, 'body': b''},
    {'status': 200, 'body': 'é'},
    {'status': 299, 'body': b'\0'},
    {'status': 200, 'headers': {'Content-Type': 'text/html'}, 'body': 'x'},
    {'status': 200, 'headers': {'content-type': 'text/html; charset=UTF-8'}, 'body': 'x'},
    {'status': 200, 'headers': {'Content-Type': 'application/json'}, 'body': '{}'},
    {'status': 200, 'headers': {'A': ' b ', 'B': 'é'}, 'body': b'x'},
    {'status': 200, 'headers': {'Server': 'mine', 'A': ''}},
    {'status': 200, 'json': None},
    {'status': 200, 'json': ['é', '\udc80', {'a': 1}], 'body': None},
    {'status': 200, 'json': '', 'headers': {'content-type': 'text/x'}},
]


@pytest.mark.parametrize('keep_alive', [True, False])
@pytest.mark.parametrize('server', [None, 'we'])
@pytest.mark.parametrize('table', LEAN, ids=str)
def test_a_plain_table_is_answered_alike(table, server, keep_alive):
    """The first time, when its head is made, and the second, when it is remembered."""
    expected = plain_bytes(table, server, keep_alive=keep_alive)
    for _ in range(2):
        found = lean_bytes(table, server, keep_alive=keep_alive)
        assert lines(expected) == lines(found)


@pytest.mark.parametrize(
    'table',
    [
        None,
        [('status', 200)],
        {},
        {'status': '200'},
        {'status': True},
        {'status': 200.0},
        {'status': 199},
        {'status': 600},
        {'status': 204},
        {'status': 205},
        {'status': 304},
        {'status': []},
        {'status': 200, 'json': object()},
        {'status': 200, 'json': float('nan')},
        {'status': 200, 'json': 1, 'body': 'x'},
        {'status': 204, 'json': 1},
        {'status': 200, 'json': 1, 'headers': {'Content-Type': 'a/b; charset=koi8-r'}},
        {'status': 200, 'reason': 'Fine'},
        {'status': 200, 'bdy': ''},
        {'status': 200, 'body': bytearray(b'x')},
        {'status': 200, 'body': 0},
        {'status': 200, 'body': bytearray()},
        {'status': 200, 'headers': 0},
        {'status': 200, 'body': Text('x')},
        {'status': 200, 'body': '\udc80'},
        {'status': 200, 'headers': [('A', 'b')]},
        {'status': 200, 'headers': {'A': 1}},
        {'status': 200, 'headers': {'A': True}},
        {'status': 200, 'headers': {'A': ['b', 'c']}},
        {'status': 200, 'headers': {'A': None}},
        {'status': 200, 'headers': {'A': Text('b')}},
        {'status': 200, 'headers': {'A': 'b\r\nC: d'}},
        {'status': 200, 'headers': {'A b': 'c'}},
        {'status': 200, 'headers': {5: 'c'}},
        {'status': 200, 'headers': {'Date': 'today'}},
        {'status': 200, 'headers': {'content-length': '5'}},
        {'status': 200, 'headers': {'Transfer-Encoding': 'chunked'}},
        {'status': 200, 'headers': {'Connection': 'close'}},
        {'status': 200, 'headers': {'Content-Type': 'text/plain; charset=iso-8859-1'}, 'body': 'x'},
    ],
    ids=repr,
)
def test_any_other_table_is_left_to_the_long_way(table):
    """Also after one that equals it and is of the plain kind: 200 == 200.0, and '1' is no 1."""
    for like in (
        {'status': 200},
        {'status': 200, 'headers': {'A': 'b'}},
        {'status': 200, 'body': 'x'},
    ):
        assert lean_bytes(like, None, keep_alive=True)
    for _ in range(2):
        assert lean_bytes(table, None, keep_alive=True) is None


@settings(deadline=None)
@given(
    st.fixed_dictionaries(
        {'status': st.integers(190, 610)},
        optional={
            'headers': st.dictionaries(
                st.sampled_from(['A', 'b', 'Content-Type', 'X-Y', 'a b']) | st.text(max_size=3),
                st.text(max_size=5) | st.sampled_from(['text/html', 'a/b; charset=koi8-r']),
                max_size=3,
            ),
            'body': st.text(max_size=5) | st.binary(max_size=5) | st.none(),
            'json': st.none() | st.integers() | st.text(max_size=5) | st.floats(),
        },
    )
)
def test_any_table_is_answered_alike_or_the_long_way(table):
    """What the short way makes of a table, the long one makes of it too."""
    found = lean_bytes(table, None, keep_alive=True)
    if found is not None:
        assert lines(plain_bytes(table)) == lines(found)
