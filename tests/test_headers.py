"""Headers: names in any case, repeats, checks, and hidden secrets."""

from __future__ import annotations

import contextlib
import copy
import doctest
import pickle
import re
from collections.abc import Callable, Iterator, MutableMapping
from http import HTTPStatus
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from multidict import CIMultiDict, MultiDict

from aioluahttp import headers
from aioluahttp.errors import TableError
from aioluahttp.headers import (
    Headers,
    given_length,
    hide,
    hide_query,
    list_items,
    parse_cookies,
    parse_links,
    to_headers,
)

TOKENS = st.text("!#$%&'*+-.^_`|~09azAZ", min_size=1)
VALUES = st.text(st.characters(codec='utf-8', exclude_categories=['Cc'])).map(
    lambda text: text.strip(' \t')
)
PAIRS = st.lists(st.tuples(TOKENS, VALUES))
CONTROLS = [chr(code) for code in [*range(32), 127] if chr(code) != '\t']


class Named(str):
    """A str whose ``str()`` is another text, as that of an ``enum.Enum`` is."""

    def __str__(self) -> str:
        return 'Colour.RED'


def test_the_examples_in_the_docstrings_hold() -> None:
    """The module has doctests, and they pass."""
    failed, attempted = doctest.testmod(headers)
    assert 0 == failed < attempted


def test_a_name_is_found_in_any_case() -> None:
    """A header is read, replaced and removed by its name in any case."""
    fields = Headers({'Content-Type': 'a'})
    assert 'a' == fields['content-type'] == fields['CONTENT-TYPE']
    assert 'cOnTeNt-TyPe' in fields
    fields['content-TYPE'] = 'b'
    assert ['b'] == fields.getall('Content-Type')
    del fields['CONTENT-type']
    assert 0 == len(fields)


def test_repeats_are_kept_in_order() -> None:
    """``[...]`` returns the first value, ``getall`` all of them."""
    fields = to_headers([('A', '1'), ('b', '2'), ('a', '3')])
    assert '1' == fields['a']
    assert ['1', '3'] == fields.getall('A')
    assert [('A', '1'), ('b', '2'), ('a', '3')] == list(fields.items())


@pytest.mark.parametrize(
    'other', [{'a': ['3', '4'], 'C': None}, [('A', '3'), ('a', '4'), ('c', None)]]
)
def test_headers_merge_by_name(other: Any) -> None:
    """The right side replaces headers by name, None removes; the left side is unchanged."""
    fields = to_headers([('A', '1'), ('b', '2'), ('b', '5'), ('A', '6'), ('c', '7')])
    merged = fields | other
    assert [('b', '2'), ('b', '5'), ('A', '3'), ('A', '4')] == [
        (name.replace('a', 'A'), value) for name, value in merged.items()
    ]
    assert (Headers, 5) == (type(merged), len(fields))


@pytest.mark.parametrize('other', [{'A': 'x\n'}, {'': 'x'}, {1: 'x'}])
def test_headers_do_not_merge_with_invalid_ones(other: Any) -> None:
    """An invalid name or value on the right side is a TableError."""
    with pytest.raises(TableError):
        Headers() | other


def test_match_treats_headers_as_a_mapping() -> None:
    """A mapping pattern matches, in any case."""
    match Headers({'Content-Type': 'text/html'}):
        case {'content-type': kind}:
            assert 'text/html' == kind
        case _:
            pytest.fail('no match')
    assert isinstance(Headers(), MutableMapping)


@settings(deadline=None)
@given(PAIRS, st.sampled_from([copy.copy, copy.deepcopy, Headers.copy, Headers, to_headers]))
def test_a_copy_is_independent(pairs: list[Any], make: Callable[[Headers], Headers]) -> None:
    """A copy has the same fields; changing it does not change the original."""
    fields = Headers(pairs)
    made = make(fields)
    assert (Headers, pairs) == (type(made), list(made.items()))
    made.add('another', 'one')
    assert pairs == list(fields.items())


@pytest.mark.parametrize(
    'change',
    [
        lambda fields: fields.__setitem__('a', 'x\n'),
        lambda fields: fields.add('b', 'x\n'),
        lambda fields: fields.setdefault('b', 'x\n'),
        lambda fields: fields.extend({'b': 'x\n'}),
        lambda fields: fields.update({'no token': 'x'}),
        lambda fields: (
            fields.merge({'b': 'x\0'}) if hasattr(fields, 'merge') else fields.add('', '')
        ),
    ],
)
def test_checked_headers_that_are_changed_are_checked_again(
    change: Callable[[Headers], object],
) -> None:
    """Only headers that nobody has changed since are not checked a second time."""
    fields = to_headers(to_headers({'a': '1'}))
    assert {'a': '1'} == to_headers(fields)
    change(fields)
    with pytest.raises(TableError):
        to_headers(fields)


BAD = 'x\r\nInjected: 1'


def failing() -> Iterator[Any]:
    """Yield a pair, and fail."""
    yield ('A', BAD)
    raise LookupError


@pytest.mark.parametrize(
    'arguments',
    [([('A', BAD), ('B',)],), ({'A': BAD, 5: 'x'},), (failing(),), ({'A': BAD}, 5)],
)
@pytest.mark.parametrize('name', ['update', 'extend', 'merge', '__init__'])
def test_a_change_that_fails_halfway_is_checked(name: str, arguments: Any) -> None:
    """What it has changed until then is checked again."""
    fields = to_headers({'A': '1'})
    with contextlib.suppress(TypeError, ValueError, LookupError, AttributeError):
        getattr(fields, name)(*arguments)
    assert BAD not in [*fields.values()] or is_refused(fields)


def is_refused(fields: Headers) -> bool:
    """Tell whether ``to_headers`` raises an error."""
    try:
        to_headers(fields)
    except TableError:
        return True
    return False


@settings(deadline=None)
@given(PAIRS, st.integers(0, pickle.HIGHEST_PROTOCOL))
def test_headers_pickle(pairs: list[Any], protocol: int) -> None:
    """Unpickled headers have the same names, values, repeats and order."""
    made = pickle.loads(pickle.dumps(Headers(pairs), protocol))
    assert (Headers, pairs) == (type(made), list(made.items()))


@pytest.mark.parametrize(
    ('other', 'equal'),
    [
        (Headers([('a', '1'), ('b', '2'), ('a', '3')]), True),
        (Headers([('b', '2'), ('A', '1'), ('a', '3')]), True),
        (CIMultiDict([('B', '2'), ('a', '1'), ('A', '3')]), True),
        (MultiDict([('B', '2'), ('a', '1'), ('A', '3')]), True),
        ({'A': ['1', '3'], 'B': 2}, True),
        ({'A': '1', 'a': '3', 'b': '2'}, True),
        ({'a': ['3', '1'], 'b': '2'}, False),
        ({'a': '1', 'b': '2'}, False),
        ({}, False),
        ({'no token': '1'}, False),
        ({1: '1'}, False),
        ({'a': object()}, False),
        ([('a', '1'), ('b', '2'), ('a', '3')], False),
        (None, False),
    ],
)
def test_headers_equal_any_mapping_of_the_same_names_and_values(other: Any, equal: bool) -> None:
    """Names are compared in any case, and the values of each name in order."""
    fields = Headers([('A', '1'), ('b', '2'), ('a', '3')])
    assert (equal, equal) == (fields == other, other == fields)
    assert (not equal, not equal) == (fields != other, other != fields)


@settings(deadline=None)
@given(PAIRS, st.randoms())
def test_the_order_of_different_names_does_not_matter(pairs: list[Any], random: Any) -> None:
    """Headers are equal if the values of each name are in the same order."""
    names = sorted({name.lower() for name, _ in pairs})
    random.shuffle(names)
    other = [(n.swapcase(), v) for name in names for n, v in pairs if n.lower() == name]
    assert Headers(pairs) == Headers(other)


def test_headers_have_no_hash() -> None:
    """Headers are mutable, so they cannot be hashed."""
    with pytest.raises(TypeError):
        hash(Headers())


def test_the_repr_of_headers_shows_their_fields() -> None:
    """Evaluating the repr makes equal Headers."""
    fields = Headers([('A', '1'), ('a', '2')])
    assert "Headers([('A', '1'), ('a', '2')])" == repr(fields)


@pytest.mark.parametrize(
    ('given_headers', 'pairs'),
    [
        (None, []),
        ({}, []),
        ({'A': '1', 'B': 2, 'C': None}, [('A', '1'), ('B', '2')]),
        ({'A': ['1', 2, None], 'B': ('3',), 'C': []}, [('A', '1'), ('A', '2'), ('B', '3')]),
        ([('A', '1'), ['a', '2']], [('A', '1'), ('a', '2')]),
        (iter([('A', '1')]), [('A', '1')]),
        ({'A': ' \t1 \t'}, [('A', '1')]),
        ({'A': 'a\tb'}, [('A', 'a\tb')]),
        ({'A': 'é\udcff'}, [('A', 'é\udcff')]),
        ({'A': HTTPStatus.OK, 'B': Named('red')}, [('A', '200'), ('B', 'red')]),
        (MultiDict([('A', '1'), ('A', '2')]), [('A', '1'), ('A', '2')]),
    ],
)
def test_headers_are_made_from_mappings_and_pairs(given_headers: Any, pairs: list[Any]) -> None:
    """A value is a str, an int, a list for a repeated header, or None to leave it out."""
    assert pairs == list(to_headers(given_headers).items())


@settings(deadline=None)
@given(PAIRS)
def test_valid_names_and_values_are_kept(pairs: list[Any]) -> None:
    """Every token is a valid name, and every text without control characters a valid value."""
    assert pairs == list(to_headers(pairs).items())


@settings(deadline=None)
@given(VALUES, st.sampled_from(CONTROLS), VALUES)
def test_no_control_character_gets_into_a_header(before: str, control: str, after: str) -> None:
    """CR, LF, NUL and the like are refused anywhere in values and names."""
    with pytest.raises(TableError):
        to_headers({'A': before + control + after})
    with pytest.raises(TableError):
        to_headers({'A' + before + control + after: '1'})


@settings(deadline=None)
@given(st.dictionaries(st.text(), st.text() | st.lists(st.text())))
def test_every_accepted_header_is_one_line(table: Any) -> None:
    """Headers are refused, or each is sent as one line."""
    try:
        fields = to_headers(table)
    except TableError:
        return
    for name, value in fields.items():
        line = f'{name}: {value}'.encode('utf-8', 'surrogateescape')
        assert [line] == line.splitlines()
        assert b'\0' not in line


@pytest.mark.parametrize(
    'wrong',
    [
        5,
        'ab',
        ['abc'],
        [('a',)],
        [1],
        {'': '1'},
        {'a b': '1'},
        {'a:': '1'},
        {'é': '1'},
        {'a\n': '1'},
        {1: '1'},
        {b'a': '1'},
        {'a': b'1'},
        {'a': True},
        {'a': 1.5},
        {'a': {'b': 'c'}},
        {'a': ['1', object()]},
        {'a': '\ud800'},
        {'b': '\udc0a'},
        pytest.param({'a': 10**5000}, id='huge'),
    ],
)
def test_an_invalid_header_is_a_table_error(wrong: Any) -> None:
    """A name that is not a token, or a value of another type, is a TableError."""
    with pytest.raises(TableError, match='headers'):
        to_headers(wrong)


@pytest.mark.parametrize('name', ['Authorization', 'cookie', 'SET-COOKIE', 'Proxy-Authorization'])
@pytest.mark.parametrize('value', ['swordfish\n', b'swordfish', 'swordfish\ud800'])
def test_no_error_contains_a_secret_value(name: str, value: Any) -> None:
    """The message about a secret header does not contain its value."""
    for written in ({name: value}, [(name, 'swordfish'), 5], {name: [value]}):
        with pytest.raises(TableError) as caught:
            to_headers(written)  # type: ignore[arg-type]
        assert 'swordfish' not in str(caught.value)


def test_secrets_can_be_hidden() -> None:
    """``hide`` returns a copy with asterisks for secret values."""
    fields = Headers([('AUTHORIZATION', 'x'), ('Accept', 'y'), ('set-cookie', 'z')])
    hidden = [('AUTHORIZATION', '***'), ('Accept', 'y'), ('set-cookie', '***')]
    assert hidden == list(hide(fields).items())
    assert 'x' == fields['Authorization']


@pytest.mark.parametrize(
    ('pairs', 'cookies'),
    [
        ([], {}),
        (['a=1', ' b = 2 '], {'a': '1', 'b': '2'}),
        (['a=1', 'a=2'], {'a': '1'}),
        (['a="x y"', 'b=c=d', 'c='], {'a': '"x y"', 'b': 'c=d', 'c': ''}),
        (['a="', 'b=""', 'c={"d": "e"}'], {'a': '"', 'b': '""', 'c': '{"d": "e"}'}),
        (['', 'novalue', '=1', ' =2'], {}),
    ],
)
def test_cookies_are_parsed(pairs: list[str], cookies: dict[str, str]) -> None:
    """The first cookie of a name counts; text that is not a pair is ignored."""
    assert cookies == parse_cookies(pairs)


@pytest.mark.parametrize(
    ('text', 'links'),
    [
        ('', {}),
        ('</a>', {}),
        ('</a>; title=x', {}),
        ('</a>; rel=""', {}),
        ('</a>; rel', {}),
        ('<>; rel=self', {'self': {'url': '', 'rel': 'self'}}),
        ('</a>;rel=NEXT', {'next': {'url': '/a', 'rel': 'NEXT'}}),
        ('</a> ; REL = "next"', {'next': {'url': '/a', 'rel': 'next'}}),
        ('</a>; rel=next; rel=prev', {'next': {'url': '/a', 'rel': 'next'}}),
        ('</a>; url=/evil; rel=next', {'next': {'url': '/a', 'rel': 'next'}}),
        (
            '</a>; rel="next last"',
            {name: {'url': '/a', 'rel': 'next last'} for name in ('next', 'last')},
        ),
        (
            '</a>; rel=next, </b>; rel=next, </c>;rel=prev',
            {'next': {'url': '/a', 'rel': 'next'}, 'prev': {'url': '/c', 'rel': 'prev'}},
        ),
        (
            '</a?x,y;z>; title="</b>; rel=prev, x"; rel=next',
            {'next': {'url': '/a?x,y;z', 'title': '</b>; rel=prev, x', 'rel': 'next'}},
        ),
        (
            r'</a>; title="a \"b\\"; rel="next"',
            {'next': {'url': '/a', 'title': 'a "b\\', 'rel': 'next'}},
        ),
        # Empty parameters are skipped, wherever they are (RFC 8288 B.3).
        *(
            (f'</a>{parameters}', {'next': {'url': '/a', 'rel': 'next'}})
            for parameters in [
                *('; ; rel="next"', ';;rel=next', ';rel=next;', '; rel=next ; ;', ';\t;rel=next'),
                *(' ; rel\t=\t"next"\t;', ';=; rel=next', ';="x";rel=next', '; =x ;rel=next'),
                *(';;;;rel=next', ' ;\t; ; rel = next , </b>;;rel=NEXT', ';rel="next";,<>'),
            ]
        ),
        (
            '</a>; ; rel=next; , ,</b>;; rel=prev;; x',
            {
                'next': {'url': '/a', 'rel': 'next'},
                'prev': {'url': '/b', 'rel': 'prev', 'x': ''},
            },
        ),
        ("</a>; title*=UTF-8''x; rel=n", {'n': {'url': '/a', 'title*': "UTF-8''x", 'rel': 'n'}}),
        ('</x>; rel=n; anchor="/other", </a>; rel=n', {'n': {'url': '/a', 'rel': 'n'}}),
    ],
)
def test_links_are_parsed(text: str, links: dict[str, dict[str, str]]) -> None:
    """Each relation type has its first link, with the parameters unquoted."""
    assert links == parse_links(text)


@pytest.mark.parametrize(
    'unit',
    [
        *('<', '<a', '<>', '<>;', '<>; a', '<>;a="', '<>;a=\\"', ';a="\\', '<> ', '>;=", ', '\\'),
        *(';', '; ', ';=', ';=""', ' ;'),
    ],
)
def test_a_hostile_link_header_is_parsed_in_linear_time(unit: str) -> None:
    """No repetition takes more than linear time."""
    assert {} == parse_links(unit * 30_000)
    assert {} == parse_links('<a>' + ' ' * 30_000 + unit * 30_000)


@settings(deadline=None)
@given(st.text() | st.text('<>;=", \\ab') | st.text('<>;=", \\ab').map('<a>; rel=next'.__add__))
def test_every_link_header_can_be_parsed(text: str) -> None:
    """No text makes parsing fail, and each link has its url and rel."""
    assert all({'url', 'rel'} <= link.keys() for link in parse_links(text).values())


@pytest.mark.parametrize(
    ('values', 'items'),
    [
        ([], []),
        (['a'], ['a']),
        (['a, b', 'c'], ['a', 'b', 'c']),
        ([',a,\t,b ,'], ['a', 'b']),
        (['"a,b", c'], ['"a,b"', 'c']),
        (['a;x="1, 2";y=3,b'], ['a;x="1, 2";y=3', 'b']),
        (['"a\\",b",c'], ['"a\\",b"', 'c']),
        (['"a\\\\",b'], ['"a\\\\"', 'b']),
        (['"",""'], ['""', '""']),
        (['a\\,b'], ['a\\', 'b']),
        (['a "b, c'], ['a "b', 'c']),
        (['"a", b, "c, d'], ['"a"', 'b', '"c', 'd']),
        (['"a, b\\'], ['"a', 'b\\']),
        (['"a', 'b", c'], ['"a', 'b"', 'c']),
        (['a\xa0,\xa0b'], ['a\xa0', '\xa0b']),
    ],
)
def test_a_list_is_split_at_commas_outside_of_quotes(values: list[str], items: list[str]) -> None:
    """Quoted strings are whole (RFC 9110 5.6.1), and none goes on in another header line."""
    assert items == list_items(Headers([('L', value) for value in values]), 'l')


@pytest.mark.parametrize('unit', [',', '"', '",', '\\"', '"\\', '"a",', '\\', 'a', '"\\",'])
def test_a_hostile_list_is_split_in_linear_time(unit: str) -> None:
    """No repetition takes more than linear time."""
    text = '"' + unit * 100_000
    joined = ','.join(list_items(Headers([('L', text), ('L', unit * 100_000)]), 'L'))
    assert joined.count('"') == text.count('"') + unit.count('"') * 100_000


@settings(deadline=None)
@given(st.lists(st.text('ab,"\\ ') | VALUES.filter(lambda text: '"' not in text)))
def test_quoted_items_come_back_from_a_list(texts: list[str]) -> None:
    """Any texts that are quoted and joined by commas are the items of the list."""
    quoted = ['"{}"'.format(re.sub(r'(["\\])', r'\\\1', text)) for text in texts]
    assert quoted == list_items(Headers({'L': ' , '.join(quoted)}), 'L')


@settings(deadline=None)
@given(TOKENS, st.text())
def test_a_quoted_parameter_is_unescaped(name: str, value: str) -> None:
    """Any value that is quoted and escaped comes back."""
    quoted = value.replace('\\', '\\\\').replace('"', '\\"')
    link = parse_links(f'</a>; x-{name}="{quoted}"; rel=next')['next']
    assert value == link[f'x-{name}'.lower()]


@pytest.mark.parametrize(
    'name', ['Authorization', 'X-Api-Key', 'x-auth-token', 'Cookie', 'X-Secret']
)
def test_a_secret_is_not_in_a_message(name):
    """A header with a secret name is refused with asterisks for its value."""
    with pytest.raises(TableError, match=r'\*\*\*') as caught:
        to_headers({name: 'hush\n'})
    assert 'hush' not in str(caught.value)


@pytest.mark.parametrize('name', ['X', 'a-b', 'X Y', 'X\nY', '', 'X:', 'é'])
@pytest.mark.parametrize(
    'value',
    [
        '',
        'a',
        'a b',
        ' a',
        'a\t',
        '\t',
        'a\nb',
        'a\rb',
        'a\0',
        'a\x7f',
        'é',
        '\udce9',
        5,
        True,
    ],
)
def test_headers_objects_are_checked_like_pairs(name, value):
    """The fast check of a Headers object gives the same result as the check of each pair."""
    for pairs in [(name, value)], [('A', 'b'), (name, value), ('C', 'd')]:
        assert outcome(pairs) == outcome(Headers(pairs))


def test_every_spelling_of_a_repeated_name_is_checked():
    """The Kelvin sign is a k in lower case, and no letter of a token."""
    for pairs in ([('X-K', 'a'), ('X-\u212a', 'b')], [('X-\u212a', 'b'), ('X-K', 'a')]):
        with pytest.raises(TableError, match='a token'):
            to_headers(Headers(pairs))
    assert [('X-K', 'a'), ('x-k', 'b')] == [
        *to_headers(Headers([('X-K', 'a'), ('x-k', 'b')])).items()
    ]


def outcome(pairs):
    """Return the pairs of the checked headers, or the text of the error."""
    try:
        return list(to_headers(pairs).items())
    except TableError as error:
        return str(error)


def test_a_content_length_is_parsed():
    """Content-Length must be a number of bytes."""
    assert (None, 5) == (given_length(Headers()), given_length(Headers({'content-length': '5'})))
    with pytest.raises(TableError, match="'headers\\[Content-Length\\]' is '-5'"):
        given_length(Headers({'Content-Length': '-5'}))


def test_the_example_holds():
    """The module's doctests pass."""
    assert 0 == doctest.testmod(headers).failed


@pytest.mark.parametrize(
    ('text', 'expected'),
    [
        ('/a', '/a'),
        ('/a?token=x', '/a?token=***'),
        ('/a?b=c&TOKEN=x&d=e', '/a?b=c&TOKEN=***&d=e'),
        ('?sig=a=b', '?sig=***'),
        ('/token=x', '/token=x'),
        ('/a?page_token=x&author=y', '/a?page_token=x&author=y'),
        ('/a?token', '/a?token'),
        ('/a?token=x#token=y', '/a?token=***#token=y'),
    ],
)
def test_values_of_secret_query_fields_are_hidden(text, expected):
    """Other fields, and other parts of the URL, are kept."""
    assert expected == hide_query(text)


def test_the_replacement_of_secrets_can_be_chosen():
    """Some conventions write REDACTED."""
    assert '?key=REDACTED' == hide_query('?key=x', 'REDACTED')
