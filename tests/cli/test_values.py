"""Values of the command line, from text."""

import doctest
import io
import sys
from argparse import ArgumentTypeError
from pathlib import Path

import pytest

from aioluahttp.cli import values
from aioluahttp.cli.values import (
    or_none,
    to_body,
    to_count,
    to_field,
    to_header,
    to_into,
    to_json,
    to_names,
    to_part,
    to_port,
    to_seconds,
    to_size,
    to_url,
)


def test_the_examples_hold():
    """The module's doctests pass."""
    assert 0 == doctest.testmod(values).failed


@pytest.mark.parametrize(
    ('text', 'url'),
    [
        ('http://h/x', 'http://h/x'),
        ('https://h', 'https://h'),
        ('HTTP://h', 'HTTP://h'),
        ('h:8080/x', 'http://h:8080/x'),
        ('h/login?next=http://i', 'http://h/login?next=http://i'),
        (':8080/x', 'http://localhost:8080/x'),
    ],
)
def test_a_url_may_lack_scheme_and_host(text, url):
    """They are http and localhost then."""
    assert url == to_url(text)


def test_a_header_has_a_colon():
    """The name is before it; spaces around the value are removed."""
    assert ('A', 'b:c') == to_header('A:  b:c ')


def test_a_field_has_an_equals_sign():
    """The value is what follows the first one."""
    assert ('a', ' b=c') == to_field('a= b=c')


def test_a_body_is_text_or_a_file_or_the_input(monkeypatch):
    """The syntax is that of curl."""
    assert 'text' == to_body('text')
    assert Path('name') == to_body('@name')
    monkeypatch.setattr(sys, 'stdin', io.TextIOWrapper(io.BytesIO(b'\xff')))
    assert b'\xff' == to_body('@-')


def test_a_part_is_a_field_or_a_file():
    """A file is a path, which is read while it is sent."""
    assert {'name': 'a', 'body': 'b@c'} == to_part('a=b@c')
    assert {'name': 'f', 'body': Path('sub/a.png')} == to_part('f=@sub/a.png')


def test_into_is_a_word_or_a_file():
    """A text that is not one of the words names a file."""
    assert 'json' == to_into('json')
    assert Path('jsonl') == to_into('jsonl')


@pytest.mark.parametrize(
    ('text', 'size'), [('0', 0), ('1000', 1000), ('64k', 65536), ('1MiB', 1 << 20), ('2G', 2 << 30)]
)
def test_a_size_may_have_a_unit(text, size):
    """K is 1024."""
    assert size == to_size(text)


def test_numbers_are_parsed():
    """Seconds may have a fraction; ``none`` is no limit where it is allowed."""
    assert (3, 0, 0.5) == (to_count('3'), to_port('0'), to_seconds('.5'))
    assert {'a': [1]} == to_json('{"a": [1]}')
    assert ['10.0.0.0/8', 'unix'] == to_names('10.0.0.0/8, unix,')
    assert (None, 1) == (or_none(to_size)('None'), or_none(to_size)('1'))


@pytest.mark.parametrize(
    ('parse', 'text', 'right'),
    [
        (to_header, 'A=b', '"NAME: VALUE"'),
        (to_field, 'a', 'NAME=VALUE'),
        (to_part, 'a', 'NAME=VALUE'),
        (to_json, '{', 'JSON: Expecting'),
        (to_json, '[' * 100_000, 'JSON: '),
        (to_count, '0', '1 or more'),
        (to_count, '-1', '1 or more'),
        (to_count, '²', '1 or more'),
        (to_port, '65536', '0 to 65535'),
        (to_port, 'http', '0 to 65535'),
        (to_seconds, 'soon', 'seconds'),
        (to_size, '8X', '64K, 8M or 1G'),
        (to_size, '-1', 'a number of bytes'),
    ],
)
def test_wrong_text_says_what_is_right(parse, text, right):
    """No name of a function is in the message."""
    with pytest.raises(ArgumentTypeError) as caught:
        parse(text)
    assert right in str(caught.value)
