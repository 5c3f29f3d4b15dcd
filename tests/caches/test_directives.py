"""Cache-Control and targeted fields as directives, ages and dates."""

import pytest
from hypothesis import given
from hypothesis import strategies as st

from aioluahttp.caches.directives import (
    field_names,
    parse_age,
    parse_cache_control,
    parse_cache_date,
    parse_targeted,
    seconds_of,
)
from aioluahttp.headers import Headers


def control(*lines):
    return parse_cache_control(Headers([('Cache-Control', line) for line in lines]))


@pytest.mark.parametrize(
    ('lines', 'found'),
    [
        ([], {}),
        (['no-store'], {'no-store': None}),
        (['No-StOrE, MAX-age=5'], {'no-store': None, 'max-age': '5'}),
        (['max-age=1', 's-maxage=2'], {'max-age': '1', 's-maxage': '2'}),
        (['max-age=1, max-age=2'], {'max-age': '1'}),
        (['max-age="3600"'], {'max-age': '3600'}),
        ([r'a="b\"c", max-age=1'], {'a': 'b"c', 'max-age': '1'}),
        (['a="max-age=3600", max-age=1'], {'a': 'max-age=3600', 'max-age': '1'}),
        (['max-age =5'], {'max-age': ''}),
        (['no-cache="a"', 'no-cache="b"'], {'no-cache': 'a,b'}),
        (['no-cache="a", no-cache'], {'no-cache': None}),
        (['no-cache, no-cache="a"'], {'no-cache': None}),
        (['private="a"'], {'private': 'a'}),
        (['="'], {'': '"'}),
    ],
)
def test_cache_control_is_parsed(lines, found):
    """The first value of a directive counts, and field names add up."""
    assert found == control(*lines)


@pytest.mark.parametrize(
    ('line', 'seconds'),
    [
        ('max-age=5', 5),
        ('max-age=003600', 3600),
        ('max-age=99999999999', 2**31),
        ('max-age=' + '9' * 500, 2**31),
        ('max-age', 0),
        ('max-age=', 0),
        ('max-age=-5', 0),
        ('max-age=5.0', 0),
        ("max-age='5'", 0),
        ('max-age=٣', 0),
        ('max-age =5', 0),
        ('other', None),
    ],
)
def test_invalid_seconds_count_as_none_at_all(line, seconds):
    """What is not a number makes a response stale, and a huge one is as long as can be."""
    assert seconds == seconds_of(control(line), 'max-age')


@pytest.mark.parametrize(
    ('line', 'names'),
    [
        ('max-age=1', frozenset()),
        ('no-cache', None),
        ('no-cache=""', None),
        ('no-cache=","', None),
        ('no-cache="A, b"', {'a', 'b'}),
        ('no-cache=set-cookie', {'set-cookie'}),
    ],
)
def test_no_cache_may_be_about_fields(line, names):
    """Without any name it is about the whole response."""
    assert names == field_names(control(line), 'no-cache')


@pytest.mark.parametrize(
    ('lines', 'found'),
    [
        ([], None),
        (['', ''], None),
        (['max-age=60'], {'max-age': '60'}),
        (['max-age=60, public', 'a'], {'max-age': '60', 'public': None, 'a': None}),
        (['max-age=60;a=b;c'], {'max-age': '60'}),
        (['a="x, y", max-age=1'], {'a': '"x, y"', 'max-age': '1'}),
        (['a=?1, b=:YQ==:, c=1.5'], {'a': '?1', 'b': ':YQ==:', 'c': '1.5'}),
        (['d=tok/en, e=-1, f=@1'], {'d': 'tok/en', 'e': '-1', 'f': '@1'}),
        (['max-age=60, max-age=30'], {'max-age': '30'}),
        (['max-age="60"'], None),
        (['max-age'], None),
        (['no-store=1'], None),
        (['max-age =60'], None),
        (['max-age= 60'], None),
        (['Max-Age=60'], None),
        (['max-age=60, &&&&'], None),
        (['max-age=60,'], None),
        (['max-age=60,,a'], None),
        (['a=(b c)'], None),
    ],
)  # fmt: skip
def test_a_targeted_field_is_a_dictionary_of_structured_fields(lines, found):
    """Anything else in it makes it invalid as a whole, and Cache-Control counts."""
    headers = Headers([('CDN-Cache-Control', line) for line in lines])
    assert found == parse_targeted(headers, 'CDN-Cache-Control')


@pytest.mark.parametrize(
    ('lines', 'age'),
    [
        ([], 0),
        (['7'], 7),
        (['7, 0'], 7),
        (['7', '0'], 7),
        (['2147483649'], 2**31),
        (['abc'], 0),
        (['-7'], 0),
        (['7.0'], 0),
        (['7;a=b'], 0),
    ],
)
def test_the_first_age_counts(lines, age):
    """What is not a number is ignored (RFC 9111 5.1)."""
    assert age == parse_age(Headers([('Age', line) for line in lines]))


@pytest.mark.parametrize(
    ('lines', 'time'),
    [
        (['Sun, 06 Nov 1994 08:49:37 GMT'], 784111777),
        (['SUN, 06 nov 1994 08:49:37 gmt'], 784111777),
        (['Sunday, 06-NOV-94 08:49:37 GMT'], 784111777),
        (['Sun Nov  6 08:49:37 1994'], 784111777),
        (['Sun, 06 Nov 1994 08:49:37 UTC'], None),
        (['0'], None),
        ([], None),
        (['Sun, 06 Nov 1994 08:49:37 GMT'] * 2, None),
    ],
)
def test_dates_are_read_in_any_case(lines, time):
    """A cache compares letters without case (RFC 9111 4.2); several dates are none."""
    assert time == parse_cache_date(Headers([('Expires', line) for line in lines]), 'Expires')


@pytest.mark.parametrize('zeros', [1, 5000])
def test_seconds_may_begin_with_zeros(zeros):
    """Any number of digits is allowed (RFC 9111 1.2.2)."""
    seconds = '0' * zeros + '7'
    assert 7 == seconds_of({'max-age': seconds}, 'max-age')
    assert 7 == parse_age(Headers(Age=seconds))


@given(st.lists(st.text(max_size=20), max_size=3))
def test_no_text_raises(lines):
    """Whatever a peer sends is parsed."""
    pairs = [('Cache-Control', line) for line in lines]
    found = parse_cache_control(Headers(pairs))
    assert all(seconds_of(found, name) >= 0 for name in found)
    parse_targeted(Headers([('CDN-Cache-Control', line) for line in lines]), 'CDN-Cache-Control')
    parse_cache_date(Headers([('Date', line) for line in lines]), 'Date')
    assert parse_age(Headers([('Age', line) for line in lines])) >= 0
