"""Responses without a body."""

import pytest

from aioluahttp.semantics import is_silent


@pytest.mark.parametrize(
    ('method', 'status', 'expected'),
    [
        ('GET', 200, False),
        ('HEAD', 200, True),
        ('POST', 204, True),
        ('GET', 205, True),
        ('GET', 304, True),
        ('HEAD', 404, True),
    ],
)
def test_head_and_three_statuses_have_no_body(method, status, expected):
    """A response to HEAD, a 204, a 304 (RFC 9112 6.3) and a 205 (RFC 9110 15.3.6) have none."""
    assert expected == is_silent(method, status)
