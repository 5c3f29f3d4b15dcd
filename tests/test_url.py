"""URLs as tables: split and join are inverse, and no part is read as another."""

from __future__ import annotations

import doctest
from typing import Any
from urllib.parse import unquote_to_bytes

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from aioluahttp import url
from aioluahttp.errors import TableError
from aioluahttp.url import decode, encode, join, relative, split

# Text with many delimiters of URLs, and text of any characters.
MARKED = st.text(':/?#[]@.a1%é ') | st.text(st.characters())
BYTES_AS_TEXT = st.binary().map(lambda data: data.decode('utf-8', 'surrogateescape'))
SEGMENTS = st.lists(st.sampled_from(['', '.', '..', 'a', 'b:c', '...'])).map('/'.join)


class Named(str):
    """A str whose ``str()`` is another text, as that of an ``enum.Enum`` is."""

    def __str__(self) -> str:
        return 'Colour.RED'


def without_dots(path: str) -> str:
    """Remove dot segments by the very steps of RFC 3986 5.2.4, in quadratic time."""
    out = ''
    while path:
        if path.startswith(('../', './')):
            path = path.partition('/')[2]
        elif path.startswith('/./') or path == '/.':
            path = '/' + path[3:]
        elif path.startswith('/../') or path == '/..':
            path, out = '/' + path[4:], out.rpartition('/')[0]
        elif path in ('.', '..'):
            path = ''
        else:
            end = path.find('/', 1) if '/' in path[1:] else len(path)
            out, path = out + path[:end], path[end:]
    return out


def test_the_examples_in_the_docstrings_hold() -> None:
    """The module's doctests pass."""
    failed, attempted = doctest.testmod(url)
    assert 0 == failed < attempted


@pytest.mark.parametrize(
    ('text', 'parts'),
    [
        ('', {}),
        ('a', {'path': 'a'}),
        ('http:', {'scheme': 'http'}),
        ('1:a', {'path': '1:a'}),
        ('HTTP://H/%7e', {'scheme': 'HTTP', 'host': 'H', 'path': '/%7e'}),
        ('//h', {'host': 'h'}),
        ('///p', {'host': '', 'path': '/p'}),
        ('//h:', {'host': 'h', 'port': ''}),
        ('//:80', {'host': '', 'port': '80'}),
        ('//h:x', {'host': 'h:x'}),
        ('//h:٣', {'host': 'h:٣'}),
        ('//@h', {'userinfo': '', 'host': 'h'}),
        ('//a@b@h:1', {'userinfo': 'a@b', 'host': 'h', 'port': '1'}),
        ('//u:p@[::1]:8080', {'userinfo': 'u:p', 'host': '[::1]', 'port': '8080'}),
        ('//[::1', {'host': '[:', 'port': '1'}),
        ('?', {'query': ''}),
        ('#', {'fragment': ''}),
        ('/p?a?b#c?d#e', {'path': '/p', 'query': 'a?b', 'fragment': 'c?d#e'}),
        ('/a\nb', {'path': '/a\nb'}),
        ('mailto:a@b', {'scheme': 'mailto', 'path': 'a@b'}),
    ],
)
def test_a_url_is_split_into_the_parts_that_are_present(text: str, parts: dict[str, str]) -> None:
    """An absent part has no key, an empty one is ``''``, and nothing is decoded."""
    assert parts == split(text)
    assert text == join(parts)


@settings(deadline=None)
@given(MARKED)
def test_join_undoes_split(text: str) -> None:
    """``join(split(text)) == text`` for every str."""
    assert text == join(split(text))


@pytest.mark.parametrize('mark', [*':/?#[]@.', '//', ':1', '@:', '/../', ':1@'])
def test_a_long_url_takes_linear_time(mark: str) -> None:
    """No function is quadratic in the length of a URL."""
    text = 'http://' + mark * 100_000
    assert text == join(split(text))
    assert relative('http://host/', text).startswith('http:')


@pytest.mark.parametrize('value', [None, 1, b'/', ['/']])
def test_a_url_that_is_not_a_str_is_a_table_error(value: Any) -> None:
    """Only a str can be split."""
    with pytest.raises(TableError, match='url'):
        split(value)


def test_join_takes_none_and_numbers() -> None:
    """None and an empty path count as absent; a port may be an int."""
    parts = {'scheme': 'http', 'userinfo': None, 'host': 'h', 'port': 80, 'path': '', 'query': ''}
    assert 'http://h:80?' == join(parts)


@settings(deadline=None)
@given(
    st.dictionaries(
        st.sampled_from(url.PARTS), st.text(':/?#[]@.a1') | st.integers(0, 9) | st.none()
    )
)
def test_joined_parts_are_split_into_the_same_parts(parts: dict[str, Any]) -> None:
    """If join accepts the parts, split returns the same ones."""
    try:
        text = join(parts)
    except TableError:
        return
    given = {name: str(part) for name, part in parts.items() if part is not None}
    assert {name: part for name, part in given.items() if part or name != 'path'} == split(text)


@pytest.mark.parametrize(
    'parts',
    [
        {'scheme': ''},
        {'scheme': '1a', 'path': 'b'},
        {'scheme': 'a/b'},
        {'host': 'a/b'},
        {'host': 'a?b'},
        {'host': 'a#b'},
        {'host': 'a@b'},
        {'host': 'h:80'},
        {'userinfo': 'a/b', 'host': 'h'},
        {'userinfo': 'a'},
        {'port': '80'},
        {'host': 'h', 'port': 'x'},
        {'host': 'h', 'port': -1},
        {'host': 'h', 'path': 'x'},
        {'scheme': 'http', 'host': 'h', 'path': '@other/'},
        {'path': '//x'},
        {'path': 'a:b'},
        {'path': '/a?b'},
        {'query': 'a#b'},
        {'host': True},
        {'path': b'/'},
        {'query': {'a': 'b'}},
        {'hots': 'h'},
        {1: 'h'},
    ],
)
def test_parts_that_would_read_as_others_are_refused(parts: Any) -> None:
    """A part that the URL would turn into another, or an unknown part, is a TableError."""
    with pytest.raises(TableError):
        join(parts)


def test_no_error_of_join_contains_the_password() -> None:
    """The message does not contain the userinfo."""
    with pytest.raises(TableError) as caught:
        join({'userinfo': 'user:sword/fish', 'host': 'h'})
    assert 'fish' not in str(caught.value)


@pytest.mark.parametrize(
    ('reference', 'target'),
    [
        # RFC 3986 5.4.1: normal
        ('g:h', 'g:h'),
        ('g', 'http://a/b/c/g'),
        ('./g', 'http://a/b/c/g'),
        ('g/', 'http://a/b/c/g/'),
        ('/g', 'http://a/g'),
        ('//g', 'http://g'),
        ('?y', 'http://a/b/c/d;p?y'),
        ('g?y', 'http://a/b/c/g?y'),
        ('#s', 'http://a/b/c/d;p?q#s'),
        ('g#s', 'http://a/b/c/g#s'),
        ('g?y#s', 'http://a/b/c/g?y#s'),
        (';x', 'http://a/b/c/;x'),
        ('g;x', 'http://a/b/c/g;x'),
        ('g;x?y#s', 'http://a/b/c/g;x?y#s'),
        ('', 'http://a/b/c/d;p?q'),
        ('.', 'http://a/b/c/'),
        ('./', 'http://a/b/c/'),
        ('..', 'http://a/b/'),
        ('../', 'http://a/b/'),
        ('../g', 'http://a/b/g'),
        ('../..', 'http://a/'),
        ('../../', 'http://a/'),
        ('../../g', 'http://a/g'),
        # RFC 3986 5.4.2: abnormal
        ('../../../g', 'http://a/g'),
        ('../../../../g', 'http://a/g'),
        ('/./g', 'http://a/g'),
        ('/../g', 'http://a/g'),
        ('g.', 'http://a/b/c/g.'),
        ('.g', 'http://a/b/c/.g'),
        ('g..', 'http://a/b/c/g..'),
        ('..g', 'http://a/b/c/..g'),
        ('./../g', 'http://a/b/g'),
        ('./g/.', 'http://a/b/c/g/'),
        ('g/./h', 'http://a/b/c/g/h'),
        ('g/../h', 'http://a/b/c/h'),
        ('g;x=1/./y', 'http://a/b/c/g;x=1/y'),
        ('g;x=1/../y', 'http://a/b/c/y'),
        ('g?y/./x', 'http://a/b/c/g?y/./x'),
        ('g?y/../x', 'http://a/b/c/g?y/../x'),
        ('g#s/./x', 'http://a/b/c/g#s/./x'),
        ('g#s/../x', 'http://a/b/c/g#s/../x'),
        ('http:g', 'http:g'),
    ],
)
def test_a_reference_is_resolved_as_the_rfc_shows(reference: str, target: str) -> None:
    """All normal and abnormal examples of RFC 3986 5.4 are resolved correctly."""
    assert target == relative('http://a/b/c/d;p?q', reference)


@pytest.mark.parametrize(
    ('base', 'reference', 'target'),
    [
        ('http://u@h:1', 'g', 'http://u@h:1/g'),
        ('http://h?q', '', 'http://h?q'),
        ('http://h/a?q#f', '', 'http://h/a?q'),
        ('http://h/a?q', '?', 'http://h/a?'),
        ('http://h/a', '//other:2/../b', 'http://other:2/b'),
        ('http://h/a/', 'b//c/../', 'http://h/a/b//'),
        ('x:/a', './/b', 'x:/.//b'),
        ('x:/a', '/..//b', 'x:/.//b'),
        ('', 'a', 'a'),
        ('', './b:c', './b:c'),
        ('a/b', '..', '/'),
        ('mailto:a', 'b', 'mailto:b'),
    ],
)
def test_a_reference_is_resolved_against_any_base(base: str, reference: str, target: str) -> None:
    """The RFC does not show empty parts, other authorities and bases without one."""
    assert target == relative(base, reference)


@settings(deadline=None)
@given(st.sampled_from(['http://h/', 'x:/', 'x:', 'http://h', '/', '']), SEGMENTS, SEGMENTS)
def test_dot_segments_are_removed_by_the_steps_of_the_rfc(
    start: str, base: str, reference: str
) -> None:
    """The path is that of the steps of RFC 3986 5.2, and is not read as a host."""
    base = start + base
    found, first = split(reference), split(base)
    at = {'scheme', 'host'} & found.keys()
    path = found.get('path', '')
    if not at and path and not path.startswith('/'):
        parent, slash, _ = first.get('path', '').rpartition('/')
        path = '/' + path if 'host' in first and not slash else parent + slash + path
    path = without_dots(path) if at or path else first.get('path', '')
    target = split(relative(base, reference))
    assert path == target.get('path', '').removeprefix('/.' * path.startswith('//')).removeprefix(
        './' * ('scheme' not in target and ':' in path.partition('/')[0])
    )
    assert (found if 'host' in found or 'scheme' in found else first).get('host') == target.get(
        'host'
    )
    assert found.get('scheme', first.get('scheme')) == target.get('scheme')


@pytest.mark.parametrize(
    ('value', 'text'),
    [
        ('', ''),
        ('a b+c/é?&=%', 'a%20b%2Bc%2F%C3%A9%3F%26%3D%25'),
        ('AZaz09-._~', 'AZaz09-._~'),
        (b'\xff\x00a', '%FF%00a'),
        ('\udcff', '%FF'),
        (1, '1'),
        (-1.5, '-1.5'),
        (Named('red'), 'red'),
        (None, ''),
        (True, 'true'),
        (False, 'false'),
        ({}, ''),
        ([], ''),
        ({'a': None, 'b': ''}, 'b='),
        ({'a': [1, 'x y', b'\xff']}, 'a=1&a=x%20y&a=%FF'),
        ({'a': True, 'b': [False, 1, 0], True: False}, 'a=true&b=false&b=1&b=0&true=false'),
        ([('a', None), ('b', True)], 'b=true'),
        ({'a': (1, 2), 'b': [], '&': '='}, 'a=1&a=2&%26=%3D'),
        ([('a', 1), ('b', 2), ('a', 3)], 'a=1&b=2&a=3'),
        (((name, name) for name in 'ab'), 'a=a&b=b'),
    ],
)
def test_a_value_is_encoded(value: Any, text: str) -> None:
    """All but the unreserved characters are encoded; order and repeats are kept."""
    assert text == encode(value)


@pytest.mark.parametrize(
    'value',
    [
        '\ud800',
        pytest.param(10**5000, id='huge'),
        5j,
        object(),
        bytearray(b'a'),
        ['abc'],
        [1],
        [('a', 'b', 'c')],
        {'a': {'b': 'c'}},
        {'a': [['b']]},
        {'a': [None]},
        {None: 'a'},
        {'a': '\ud800'},
        pytest.param({'a': 10**5000}, id='huge in a table'),
    ],
)
def test_what_cannot_be_encoded_is_a_table_error(value: Any) -> None:
    """A value of another type, or text that UTF-8 cannot encode, is a TableError."""
    with pytest.raises(TableError, match='query'):
        encode(value)


@pytest.mark.parametrize(
    ('value', 'message'),
    [
        (5j, "'query' is 5j; it must be a str, a mapping or pairs"),
        ('\ud800', "'query' is '\\ud800'; it must be text that UTF-8 can encode"),
        ({'a': {}}, "'query[a]' is {}; it must be text, bytes or a number, or a bool"),
        (
            [('b', [1, 5j])],
            "'query[b]' is 5j; it must be text, bytes or a number, or a bool",
        ),
        ({'a': '\ud800'}, "'query[a]' is '\\ud800'; it must be text that UTF-8 can encode"),
        ({None: 1}, "'query' is None; it must be text, bytes or a number, or a bool"),
    ],
)
def test_an_error_names_the_field(value: Any, message: str) -> None:
    """A wrong value of a table is named with its field."""
    with pytest.raises(TableError) as caught:
        encode(value)
    assert message == str(caught.value)


@settings(deadline=None)
@given(BYTES_AS_TEXT)
def test_a_component_is_encoded_byte_for_byte(text: str) -> None:
    """The encoded text decodes to exactly the bytes of the text, whatever they are."""
    encoded = encode(text)
    assert text.encode('utf-8', 'surrogateescape') == unquote_to_bytes(encoded)
    assert encoded == encode(text.encode('utf-8', 'surrogateescape'))


@settings(deadline=None)
@given(
    st.dictionaries(BYTES_AS_TEXT, BYTES_AS_TEXT | st.lists(BYTES_AS_TEXT, min_size=2)),
)
def test_decode_undoes_encode(table: dict[str, str | list[str]]) -> None:
    """Keys, repeats, order and bytes that are not UTF-8 come back."""
    assert list(table.items()) == list(decode(encode(table)).items())


@pytest.mark.parametrize(
    ('query', 'table'),
    [
        ('', {}),
        ('&&', {}),
        ('a', {'a': ''}),
        ('=', {'': ''}),
        ('a=b=c', {'a': 'b=c'}),
        ('a;b=c', {'a;b': 'c'}),
        ('q=x+y%2B%20', {'q': 'x y+ '}),
        ('+=+', {' ': ' '}),
        ('a=%C3%A9&b=é', {'a': 'é', 'b': 'é'}),
        ('a=%FF%zz%', {'a': '\udcff%zz%'}),
        ('b=1&a=2&b=3&c=4&b=5', {'b': ['1', '3', '5'], 'a': '2', 'c': '4'}),
        ('a=&a=', {'a': ['', '']}),
    ],
)
def test_a_query_is_decoded(query: str, table: dict[str, str | list[str]]) -> None:
    """Each key has one value, in order of first appearance, or a list if it is repeated."""
    assert list(table.items()) == list(decode(query).items())


@settings(deadline=None)
@given(MARKED | st.text('ab&=+%2F;'))
def test_every_text_can_be_decoded(query: str) -> None:
    """No query string makes decoding fail, and encoding its result and decoding again is stable."""
    table = decode(query)
    if all(ord(letter) not in range(0xD800, 0xE000) for letter in query):
        assert table == decode(encode(table))


def test_a_key_may_be_repeated_many_times() -> None:
    """A query with 100,000 repeats of a key is decoded."""
    assert {'a': [''] * 100_000} == decode('a&' * 100_000)
