"""Values of the command line: from the text of an argument to the value of a key.

argparse shows the text of an ``ArgumentTypeError`` after the name of the argument.
"""

from __future__ import annotations

import json
import re
import sys
from argparse import ArgumentTypeError
from collections.abc import Callable
from pathlib import Path
from typing import Any

__all__ = [
    'WORDS',
    'or_none',
    'to_body',
    'to_count',
    'to_field',
    'to_header',
    'to_into',
    'to_json',
    'to_names',
    'to_part',
    'to_port',
    'to_seconds',
    'to_size',
    'to_url',
]

WORDS = ('text', 'bytes', 'json', 'stream', 'raw', 'events')
SCHEME = re.compile('[a-z][a-z0-9+.-]*://', re.IGNORECASE)
SIZE = re.compile('([0-9]{1,15})([kmg]?)i?b?', re.IGNORECASE)
UNITS = {'': 0, 'k': 10, 'm': 20, 'g': 30}


def _wrong(text: str, right: str) -> ArgumentTypeError:
    return ArgumentTypeError(f'{text!r} must be {right}')


def to_url(text: str) -> str:
    """Complete a URL that has no scheme, or no host before its port."""
    if text.startswith(':'):
        text = f'localhost{text}'
    return text if SCHEME.match(text) else f'http://{text}'


def to_header(text: str) -> tuple[str, str]:
    """Parse a header: ``Name: value``."""
    name, colon, value = text.partition(':')
    if not colon:
        raise _wrong(text, '"NAME: VALUE"')
    return name, value.strip()


def to_field(text: str) -> tuple[str, str]:
    """Parse a field of a form or a query: ``name=value``."""
    name, equals, value = text.partition('=')
    if not equals:
        raise _wrong(text, 'NAME=VALUE')
    return name, value


def to_part(text: str) -> dict[str, Any]:
    """Parse a part of a multipart form: ``name=value``, or ``name=@file``, whose body is a path."""
    name, value = to_field(text)
    return {'name': name, 'body': to_body(value)}


def to_body(text: str) -> Any:
    """Parse a body: text, ``@`` and the name of a file, or ``@-`` for standard input."""
    if text == '@-':
        return sys.stdin.buffer.read()
    return Path(text[1:]) if text.startswith('@') else text


def to_json(text: str) -> Any:
    """Parse JSON."""
    try:
        return json.loads(text)
    except (ValueError, RecursionError) as error:
        raise _wrong(text, f'JSON: {error}') from error


def to_into(text: str) -> str | Path:
    """Parse ``--into``: one of ``WORDS``, or the name of a file."""
    return text if text in WORDS else Path(text)


def to_count(text: str) -> int:
    """Parse a number of things, 1 or more."""
    if not re.fullmatch('0*[1-9][0-9]{0,9}', text):
        raise _wrong(text, 'a number, 1 or more')
    return int(text)


def to_port(text: str) -> int:
    """Parse the number of a port; 0 is any free one."""
    if not re.fullmatch('[0-9]{1,5}', text) or int(text) > 65535:
        raise _wrong(text, 'a number from 0 to 65535')
    return int(text)


def to_seconds(text: str) -> float:
    """Parse a number of seconds; which ones are allowed is the check of the key."""
    try:
        return float(text)
    except ValueError as error:
        raise _wrong(text, 'a number of seconds') from error


def to_size(text: str) -> int:
    """Parse a number of bytes, with K, M or G for 1024, its square or its cube.

    Example:
        >>> to_size('1000'), to_size('8M')
        (1000, 8388608)
    """
    found = SIZE.fullmatch(text)
    if not found:
        raise _wrong(text, 'a number of bytes, such as 1000, 64K, 8M or 1G')
    return int(found[1]) << UNITS[found[2].lower()]


def to_names(text: str) -> list[str]:
    """Parse a list of names with commas between them."""
    return [name.strip() for name in text.split(',') if name.strip()]


def or_none(parse: Callable[[str], Any]) -> Callable[[str], Any]:
    """Return a function that also parses ``none``, which is no limit."""
    return lambda text: None if text.lower() == 'none' else parse(text)
