"""Entries: their keys, and their form in a storage."""

from contextlib import suppress
from dataclasses import replace

import pytest

import aioluahttp as http
from aioluahttp.caches.entries import (
    Entry,
    dump_entry,
    key_of,
    load_entry,
    make_marker,
    selection_of,
    variant_key,
)
from aioluahttp.headers import Headers

PLAIN = {'url': 'http://h/a?b'}


def key(**keys):
    return key_of(http.to_request({**PLAIN, **keys}))


@pytest.mark.parametrize(
    'keys',
    [
        {'url': 'https://h/a?b'},
        {'url': 'http://i/a?b'},
        {'url': 'http://h:81/a?b'},
        {'url': 'http://h/A?b'},
        {'url': 'http://h/a?b='},
        {'url': 'http://h/a'},
        {'headers': {'Host': 'i'}},
        {'unix': '/socket'},
        {'into': 'raw'},
    ],
)
def test_each_part_of_a_target_makes_another_key(keys):
    """Also a Host header that differs, a Unix socket, and codings left as they are."""
    assert key() != key(**keys)


@pytest.mark.parametrize(
    'keys',
    [
        {'method': 'HEAD'},
        {'headers': {'Accept': 'a/b', 'X-Forwarded-Host': 'evil'}},
        {'into': 'json'},
        {'timeout': 3},
    ],
)
def test_nothing_else_makes_another_key(keys):
    """Headers are compared where the response varies by them."""
    assert key() == key(**keys)


@pytest.mark.parametrize('keys', [{'url': 'http://h/a\nb'}, {'headers': {'Host': 'a\nb'}}])
def test_no_part_of_a_key_has_a_line_feed(keys):
    """The parts are joined by line feeds, so that none can stand for another."""
    with suppress(http.TableError):  # refused before
        assert 4 == len(key(**keys).split('\n'))


@pytest.mark.parametrize(
    ('one', 'other', 'same'),
    [
        ([], [], True),
        ([('Foo', '1')], [('foo', '1')], True),
        ([('Foo', '1')], [], False),
        ([('Foo', '')], [], False),
        ([('Foo', '1')], [('Foo', '2')], False),
        ([('Foo', '1, 2')], [('Foo', '1'), ('Foo', '2')], True),
        ([('Foo', '1,2')], [('Foo', ' 1 ,\t2 ')], True),
        ([('Foo', 'a')], [('Foo', 'A')], False),
        ([('Foo', '"a , b"')], [('Foo', '"a,b"')], False),
        ([('Accept-Language', 'EN, de')], [('Accept-Language', 'en,De')], True),
        ([('Accept-Language', 'en, de')], [('Accept-Language', 'de, en')], False),
        ([('Other', '1')], [('Other', '2')], True),
        ([('Foo', '\udcff')], [('Foo', '?')], False),
    ],
)
def test_a_variant_is_selected_by_the_named_fields(one, other, same):
    """Blanks around commas and the number of lines do not matter (RFC 9111 4.1)."""
    vary = ('accept-language', 'foo')
    assert same == (selection_of(vary, Headers(one)) == selection_of(vary, Headers(other)))


def test_the_variants_of_another_marker_are_not_found():
    """A key that was invalidated and varies again has new variants."""
    one, other = make_marker(('foo',)), make_marker(('foo',))
    assert variant_key('k', one, Headers()) != variant_key('k', other, Headers())
    assert one.is_marker
    assert not Entry('id', 200).is_marker


HEADERS = (('A', 'b'), ('C', '\udcff'))
ENTRY = Entry('id', 203, 'Fine', HEADERS, 5.5, 1.5, 60.0, vary=('foo',), size=2, body=b'\n\n')
KINDS = [ENTRY, replace(ENTRY, body=None), Entry('id'), make_marker(('a',))]


@pytest.mark.parametrize(
    'entry', [ENTRY, replace(ENTRY, body=None), Entry('id'), make_marker(('a',))]
)
def test_an_entry_can_be_loaded(entry):
    """Loading reverses dumping, with surrogate escapes and line feeds."""
    assert entry == load_entry(dump_entry(entry))


DUMPED = dump_entry(ENTRY)


@pytest.mark.parametrize(
    'data',
    [
        b'',
        b'\n',
        b'[]\n',
        b'{}\n',
        DUMPED[:-1],
        DUMPED + b'x',
        DUMPED.replace(b'"format": 1', b'"format": 0'),
        DUMPED.replace(b'"age"', b'"old"'),
        DUMPED.replace(b'[["A", "b"]', b'[["A"]'),
        DUMPED.replace(b'["foo"]', b'5'),
    ],
)
def test_damaged_data_is_no_entry(data):
    """Nothing is served of what another version stored, or of half an entry."""
    assert load_entry(data) is None


def test_the_weight_counts_headers_and_body():
    """A longer header or body weighs more."""
    assert ENTRY.weight < replace(ENTRY, size=3).weight
    assert ENTRY.weight < replace(ENTRY, headers=(('A', 'bb'), ('C', 'd'))).weight
