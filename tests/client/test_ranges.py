"""Which part of a representation is asked for, and which one came."""

import doctest

import pytest

from aioluahttp.client import ranges
from aioluahttp.client.ranges import is_validator, parse_content_range, validator_of
from aioluahttp.headers import Headers

OLD, NEW = 'Sun, 06 Nov 1994 08:49:37 GMT', 'Sun, 06 Nov 1994 08:49:38 GMT'


def test_the_examples_hold():
    """The module's doctests pass."""
    assert 0 == doctest.testmod(ranges).failed


@pytest.mark.parametrize(
    ('text', 'expected'),
    [
        ('bytes 0-0/1', (0, 0, 1)),
        ('Bytes 5-9/*', (5, 9, None)),
        ('bytes */7', (None, None, 7)),
        ('', None),
        ('bytes 5-/7', None),
        ('items 0-0/1', None),
        ('bytes ٣-9/9', None),
        ('bytes 0-0/1, 2-3/4', None),
        ('bytes 0-0/' + '9' * 99, None),
    ],
)
def test_a_content_range_says_which_bytes(text, expected):
    """What is none says nothing."""
    assert expected == parse_content_range(text)


@pytest.mark.parametrize(
    ('fields', 'expected'),
    [
        ({'ETag': '"a"'}, '"a"'),
        ({'ETag': '""', 'Last-Modified': OLD, 'Date': NEW}, '""'),
        ({'ETag': 'W/"a"', 'Last-Modified': OLD, 'Date': NEW}, None),
        ({'ETag': 'a'}, None),
        ({'ETag': '"é"'}, None),
        ({'Last-Modified': OLD, 'Date': NEW}, OLD),
        ({'Last-Modified': NEW, 'Date': NEW}, None),
        ({'Last-Modified': OLD}, None),
        ({'Last-Modified': 'never', 'Date': NEW}, None),
        ({}, None),
    ],
)
def test_a_validator_is_a_strong_one(fields, expected):
    """A weak entity tag tells too little, and so does a date within whose second more happened."""
    assert expected == validator_of(Headers(fields))
    assert expected is None or is_validator(expected)


@pytest.mark.parametrize('text', ['', 'W/"a"', '"a"\r\nX: y', '"a', None, 5])
def test_what_is_none_is_told(text):
    """Nothing else is sent in If-Range."""
    assert not is_validator(text)
