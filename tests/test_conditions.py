"""Conditional requests and ranges: pure functions of headers."""

import pytest

from aioluahttp.conditions import failed_condition, if_range_holds, requested_range
from aioluahttp.headers import Headers

BEFORE, THEN, LATER = 784111776, 784111777, 784111778
DATES = {
    BEFORE: 'Sun, 06 Nov 1994 08:49:36 GMT',
    THEN: 'Sun, 06 Nov 1994 08:49:37 GMT',
    LATER: 'Sun, 06 Nov 1994 08:49:38 GMT',
}


@pytest.mark.parametrize(
    ('asked', 'tag', 'modified', 'status'),
    [
        ({}, '"a"', THEN, None),
        ({'If-None-Match': '"a"'}, '"a"', THEN, 304),
        ({'If-None-Match': 'W/"a"'}, '"a"', THEN, 304),
        ({'If-None-Match': '"b", "a"'}, 'W/"a"', THEN, 304),
        ({'If-None-Match': '"b"'}, '"a"', THEN, None),
        ({'If-None-Match': '*'}, '', None, 304),
        ({'If-None-Match': '""'}, '', None, None),
        ({'If-None-Match': '"b"', 'If-Modified-Since': DATES[THEN]}, '"a"', THEN, None),
        ({'If-Modified-Since': DATES[THEN]}, '', THEN, 304),
        ({'If-Modified-Since': DATES[BEFORE]}, '', THEN, None),
        ({'If-Modified-Since': DATES[THEN]}, '', None, None),
        ({'If-Modified-Since': [DATES[THEN], DATES[THEN]]}, '', THEN, None),
        ({'If-Match': '"a"'}, '"a"', THEN, None),
        ({'If-Match': 'W/"a"'}, '"a"', THEN, 412),
        ({'If-Match': 'W/"a"'}, 'W/"a"', THEN, 412),
        ({'If-Match': '"b"', 'If-None-Match': '"a"'}, '"a"', THEN, 412),
        ({'If-Unmodified-Since': DATES[BEFORE]}, '', THEN, 412),
        ({'If-Unmodified-Since': DATES[THEN]}, '', THEN, None),
        ({'If-Unmodified-Since': DATES[BEFORE]}, '', None, None),
    ],
)
def test_the_first_condition_that_fails_gives_the_status(asked, tag, modified, status):
    """Conditions are evaluated in the order of RFC 9110 13.2.2."""
    assert status == failed_condition(Headers(asked_pairs(asked)), tag, modified)


def asked_pairs(asked):
    return [
        (name, one)
        for name, value in asked.items()
        for one in (value if isinstance(value, list) else [value])
    ]


@pytest.mark.parametrize(
    ('validator', 'tag', 'modified', 'now', 'holds'),
    [
        ('"a"', '"a"', THEN, LATER, True),
        ('W/"a"', 'W/"a"', THEN, LATER, False),
        ('', '', None, LATER, False),
        (DATES[THEN], '', THEN, LATER, True),
        (DATES[THEN], '', THEN, THEN, False),
        (DATES[LATER], '', THEN, LATER, False),
        (DATES[THEN], '', None, LATER, False),
        ('never', '', None, LATER, False),
    ],
)
def test_if_range_holds_for_an_exact_match_only(validator, tag, modified, now, holds):
    """A weak tag, another date, and a date of this second do not match."""
    assert holds == if_range_holds(Headers({'If-Range': validator}), tag, modified, now)
    assert if_range_holds(Headers(), tag, modified, now)


@pytest.mark.parametrize(
    ('text', 'found'),
    [
        ('bytes=0-1', (0, 2)),
        ('bytes=8-', (8, 10)),
        ('bytes=8-99', (8, 10)),
        ('bytes=-3', (7, 10)),
        ('bytes=-99', (0, 10)),
        ('bytes=10-', (0, 0)),
        ('bytes=-0', (0, 0)),
        ('bytes=5-3', (0, 0)),
        ('bytes=0-1,3-4', None),
        ('lines=0-1', None),
        ('', None),
    ],
)
def test_a_range_is_cut_to_the_body(text, found):
    """A range that cannot be satisfied is empty, and one that may be ignored is None."""
    assert found == requested_range(Headers({'Range': text}), 10)
