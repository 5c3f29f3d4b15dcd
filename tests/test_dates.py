"""HTTP dates: formatted in one form, parsed in three."""

from __future__ import annotations

import doctest
from datetime import UTC, datetime, timedelta, timezone, tzinfo
from decimal import Decimal
from time import time
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from aioluahttp import dates
from aioluahttp.dates import format_date, parse_cookie_date, parse_date
from aioluahttp.errors import TableError

FIRST, LAST = -62135596800, 253402300799  # the years 1 and 9999
EXAMPLE = 784111777  # the date that RFC 9110 5.6.7 shows in all three forms
IN_INDIA = timezone(timedelta(hours=5, minutes=30))
PIECES = [*'Sun Sunday , 06 6 Nov - 1994 94 08 : 49 37 60 GMT UTC +0000 ٠'.split(), ' ', ', ']


class NoZone(tzinfo):
    """A time zone without an offset."""

    def utcoffset(self, _: datetime | None) -> None:
        return None


def test_the_examples_in_the_docstrings_hold() -> None:
    """The module's doctests pass."""
    failed, attempted = doctest.testmod(dates)
    assert 0 == failed < attempted


@pytest.mark.parametrize(
    ('given_time', 'text'),
    [
        (EXAMPLE, 'Sun, 06 Nov 1994 08:49:37 GMT'),
        (EXAMPLE + 0.999, 'Sun, 06 Nov 1994 08:49:37 GMT'),
        (datetime(1994, 11, 6, 8, 49, 37, 999999, UTC), 'Sun, 06 Nov 1994 08:49:37 GMT'),
        (datetime(1994, 11, 6, 14, 19, 37, tzinfo=IN_INDIA), 'Sun, 06 Nov 1994 08:49:37 GMT'),
        (0, 'Thu, 01 Jan 1970 00:00:00 GMT'),
        (-0.5, 'Wed, 31 Dec 1969 23:59:59 GMT'),
        (951782400, 'Tue, 29 Feb 2000 00:00:00 GMT'),
        (FIRST, 'Mon, 01 Jan 0001 00:00:00 GMT'),
        (LAST, 'Fri, 31 Dec 9999 23:59:59 GMT'),
    ],
)
def test_a_time_becomes_an_imf_fixdate(given_time: Any, text: str) -> None:
    """Unix time and aware datetimes are formatted in GMT, in English, with fractions cut off."""
    assert text == format_date(given_time)


def test_without_a_time_the_date_is_now() -> None:
    """``format_date()`` formats the current time."""
    before = int(time())
    assert before <= parse_date(format_date()) <= time()  # type: ignore[operator]


@pytest.mark.parametrize(
    'wrong',
    [
        datetime(1994, 11, 6),
        datetime(1994, 11, 6, tzinfo=NoZone()),
        datetime(1, 1, 1, tzinfo=IN_INDIA),
        datetime.max.replace(tzinfo=timezone(timedelta(hours=-1))),
        FIRST - 1,
        LAST + 1,
        FIRST - 0.5,
        10**20,
        10**5000,
        1e300,
        float('nan'),
        float('inf'),
        float('-inf'),
        True,
        '784111777',
        Decimal(1),
        [],
    ],
    ids=lambda value: type(value).__name__,
)
def test_an_invalid_time_is_a_table_error(wrong: Any) -> None:
    """A naive datetime, a time outside the years 1 to 9999 or another type is a TableError."""
    with pytest.raises(TableError, match='time'):
        format_date(wrong)


@settings(deadline=None)
@given(st.integers(FIRST, LAST))
def test_parse_date_undoes_format_date(seconds: int) -> None:
    """Every second of the years 1 to 9999 is formatted and parsed back."""
    assert seconds == parse_date(format_date(seconds))


@settings(deadline=None)
@given(st.datetimes(datetime(1900, 1, 1), timezones=st.sampled_from([UTC, IN_INDIA])))
def test_a_datetime_is_formatted_like_its_unix_time(moment: datetime) -> None:
    """The time zone of a datetime does not matter, only the moment."""
    seconds = (moment - datetime(1970, 1, 1, tzinfo=UTC)) // timedelta(seconds=1)
    if seconds <= LAST:
        assert format_date(seconds) == format_date(moment)


@settings(deadline=None)
@given(st.datetimes(datetime(1980, 1, 1), datetime(2060, 1, 1), timezones=st.just(UTC)))
def test_all_three_forms_give_the_same_time(moment: datetime) -> None:
    """The IMF, the RFC 850 and the asctime form of a time give the same Unix time."""
    forms = ('%a, %d %b %Y %X GMT', '%A, %d-%b-%y %X GMT', f'%a %b {moment.day:2} %X %Y')
    expected = int(moment.replace(microsecond=0).timestamp())
    assert [expected] * 3 == [parse_date(moment.strftime(form)) for form in forms]


@pytest.mark.parametrize(
    ('text', 'seconds'),
    [
        ('Sun, 06 Nov 1994 08:49:37 GMT', EXAMPLE),
        ('Sunday, 06-Nov-94 08:49:37 GMT', EXAMPLE),
        ('Sun Nov  6 08:49:37 1994', EXAMPLE),
        ('Sun Nov 06 08:49:37 1994', EXAMPLE),
        ('Mon, 06 Nov 1994 08:49:37 GMT', EXAMPLE),  # the name of the day need not fit
        ('Sat, 31 Dec 2016 23:59:60 GMT', 1483228800),  # a leap second: the second after it
        ('Fri, 31 Dec 9999 23:59:60 GMT', LAST + 1),
        ('Tue, 29 Feb 2000 00:00:00 GMT', 951782400),
        ('Tuesday, 29-Feb-00 00:00:00 GMT', 951782400),
    ],
)
def test_a_date_is_parsed(text: str, seconds: int) -> None:
    """Each form of RFC 9110 5.6.7 is parsed to Unix time, an int."""
    assert (seconds, int) == (parse_date(text), type(parse_date(text)))


@pytest.mark.parametrize(
    'text',
    [
        '',
        'tomorrow',
        'Sun, 06 Nov 1994 08:49:37',
        'Sun, 06 Nov 1994 08:49:37 UTC',
        'Sun, 06 Nov 1994 08:49:37 +0000',
        'Sun, 06 Nov 1994 08:49:37 EST',
        'Sun, 06 Nov 1994 08:49:37 gmt',
        'sun, 06 nov 1994 08:49:37 GMT',
        'Sun, 06 NOV 1994 08:49:37 GMT',
        'Sun, 06 Nov 1994 08:49:37 GMT ',
        'Sun, 06 Nov 1994 08:49:37 GMT\n',
        'Sun, 06 Nov 1994 08:49:37 GMT; x',
        ' Sun, 06 Nov 1994 08:49:37 GMT',
        'Sun,  06 Nov 1994 08:49:37 GMT',
        'Sun, 6 Nov 1994 08:49:37 GMT',
        'Sun, 06 Nov 94 08:49:37 GMT',
        'Sun, 00 Nov 1994 08:49:37 GMT',
        'Sun, 31 Nov 1994 08:49:37 GMT',
        'Sun, 32 Dec 1994 08:49:37 GMT',
        'Wed, 29 Feb 1900 00:00:00 GMT',
        'Sun, 06 Foo 1994 08:49:37 GMT',
        'Foo, 06 Nov 1994 08:49:37 GMT',
        'Sun, 06 Nov 0000 08:49:37 GMT',
        'Sun, 06 Nov -994 08:49:37 GMT',
        'Sun, 06 Nov 1994 24:00:00 GMT',
        'Sun, 06 Nov 1994 08:60:37 GMT',
        'Sun, 06 Nov 1994 08:49:61 GMT',
        'Sun, 06 Nov 1994 8:49:37 GMT',
        'Sun, ٠٦ Nov 1994 08:49:37 GMT',
        'Sun, 06 Nov １９９４ 08:49:37 GMT',
        'Sun, 06-Nov-94 08:49:37 GMT',
        'Sunday, 06-Nov-1994 08:49:37 GMT',
        'Sunday, 06-Nov-94 08:49:37',
        'Tuesday, 29-Feb-99 00:00:00 GMT',
        'Sun Nov  0 08:49:37 1994',
        'Sun Nov 6 08:49:37 1994',
        'Sun Nov  6 08:49:37 94',
        'Sun Nov  6 08:49:37 1994 GMT',
        'Sun Nov  6 08:49:37 0000',
        pytest.param('9' * 10**6, id='digits'),
        pytest.param('Sun, ' * 10**6, id='days'),
        pytest.param('Sun, 06 Nov 1994 08:49:37 GMT' + ' ' * 10**6, id='spaces'),
    ],
)
def test_a_malformed_date_is_none(text: str) -> None:
    """Another zone, an impossible date, other digits or letters, or surrounding text give None."""
    assert None is parse_date(text)


@pytest.mark.parametrize('value', [None, 0, 1.5, True, b'Sun Nov  6 08:49:37 1994', [], object()])
def test_a_value_that_is_not_a_str_is_none(value: object) -> None:
    """A value of any other type gives None."""
    assert None is parse_date(value)


@settings(deadline=None)
@given(st.text() | st.lists(st.sampled_from(PIECES)).map(''.join))
def test_parsing_any_text_never_raises(text: str) -> None:
    """Any text gives an int or None."""
    assert isinstance(parse_date(text), int | None)


@pytest.mark.parametrize(
    ('days', 'years'), [(-3, 50), (3, -50)], ids=['50 years ahead', 'more than that']
)
def test_a_two_digit_year_lies_at_most_50_years_ahead(days: int, years: int) -> None:
    """A date further ahead is in the most recent past year with the same digits."""
    moment = datetime.now(UTC).replace(microsecond=0) + timedelta(days=days)
    moment = moment.replace(year=moment.year + years, day=min(moment.day, 28))
    assert moment.timestamp() == parse_date(moment.strftime('%A, %d-%b-%y %X GMT'))


@settings(deadline=None)
@given(st.integers(0, 99))
def test_a_two_digit_year_is_within_50_years_of_now(digits: int) -> None:
    """The full year ends in the two digits."""
    read = parse_date(f'Sunday, 01-Jan-{digits:02} 00:00:00 GMT')
    year = datetime.fromtimestamp(read or 0, UTC).year
    assert digits == year % 100
    assert -50 <= year - datetime.now(UTC).year <= 50


@pytest.mark.parametrize(
    'text',
    [
        'Sun, 06 Nov 1994 08:49:37 GMT',
        'Sunday, 06-Nov-94 08:49:37 GMT',
        'Sun Nov  6 08:49:37 1994',
        'Sun, 06-Nov-1994 08:49:37 GMT',
        'sun, 6 november 1994 8:49:37 gmt',
        '08:49:37 6 Nov 94',
        '1994 Nov 6 8:49:37',
        '6-NOV-1994;8:49:37',
        '6th Nov 1994AD 08:49:37.5 +0530',
        'Nov Dec 06 1994 2000 08:49:37 09:00:00',
        '\u00e9 06 Nov 1994 08:49:37 \udce9',
    ],
)
def test_a_date_of_a_cookie_has_many_forms(text: str) -> None:
    """Its parts stand in any order, and the first of a kind counts (RFC 6265 5.1.1)."""
    assert EXAMPLE == parse_cookie_date(text)


@pytest.mark.parametrize(
    ('year', 'full'), [('70', 1970), ('99', 1999), ('00', 2000), ('69', 2069), ('1601', 1601)]
)
def test_a_cookie_may_have_a_year_of_two_digits(year: str, full: int) -> None:
    """70 to 99 are in the 20th century."""
    assert full == datetime.fromtimestamp(parse_cookie_date(f'1 Jan {year} 0:0:0') or 0, UTC).year


@pytest.mark.parametrize(
    'text',
    [
        '',
        'tomorrow',
        '0',
        '06 Nov 1994',
        'Nov 1994 08:49:37',
        '06 1994 08:49:37',
        '06 Nov 08:49:37',
        '06 Nov 1994 08:49',
        '06 Nov 1994 24:00:00',
        '06 Nov 1994 23:60:00',
        '06 Nov 1994 23:59:60',
        '06 Nov 1994 008:49:37',
        '06 Nov 1994 08:49:371',
        '32 Nov 1994 08:49:37',
        '00 Nov 1994 08:49:37',
        '31 Nov 1994 08:49:37',
        '29 Feb 2023 08:49:37',
        '006 Nov 1994 08:49:37',
        '06 Nov 1600 08:49:37',
        '06 Nov 994 08:49:37',
        '06 Nov 19940 08:49:37',
        '06 Nov 4 08:49:37',
        '06 No 1994 08:49:37',
        '\u0660\u0666 Nov 1994 08:49:37',
        '06 \u017fep 1994 08:49:37',
    ],
)
def test_other_text_is_no_date_of_a_cookie(text: str) -> None:
    """A part is missing, or out of its range."""
    assert parse_cookie_date(text) is None


@given(text=st.text() | st.lists(st.sampled_from([*PIECES, ' ', '-', 'Feb', '31'])).map(' '.join))
def test_parsing_the_date_of_a_cookie_never_raises(text: str) -> None:
    """It returns Unix time or None."""
    assert isinstance(parse_cookie_date(text), int | None)


@given(time=st.integers(-11644473600, LAST))
def test_a_cookie_may_have_any_date_that_is_formatted(time: int) -> None:
    """From 1601 on."""
    assert time == parse_cookie_date(format_date(time))
