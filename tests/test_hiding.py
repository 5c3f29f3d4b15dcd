"""What is secret in a URL, hidden."""

import doctest

import pytest

from aioluahttp import hiding
from aioluahttp.hiding import hide_query


def test_the_example_holds():
    """The module's doctests pass."""
    assert 0 == doctest.testmod(hiding).failed


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
def test_values_of_secret_names_are_hidden(text, expected):
    """Those alone, and in the query alone."""
    assert expected == hide_query(text)


def test_what_stands_in_their_place_can_be_chosen():
    """As other conventions have another."""
    assert '?key=REDACTED' == hide_query('?key=x', 'REDACTED')
