"""Parse Cache-Control (RFC 9111 5.2) and targeted fields such as CDN-Cache-Control (RFC 9213)."""

from __future__ import annotations

import re
from collections.abc import Mapping
from functools import lru_cache
from typing import TypeAlias

from ..dates import parse_date
from ..headers import Headers, list_items, split_list

__all__ = [
    'Directives',
    'field_names',
    'parse_age',
    'parse_cache_control',
    'parse_cache_date',
    'parse_targeted',
    'seconds_of',
]

Directives: TypeAlias = Mapping[str, str | None]

LONGEST = 2**31  # seconds: what a delta-seconds that is larger counts as (RFC 9111 1.2.2)
NAMED = ('no-cache', 'private')  # may be given more than once, with lists of field names
SECONDS = frozenset('max-age s-maxage stale-while-revalidate stale-if-error'.split())
FLAGS = frozenset(
    'no-store no-cache private public must-revalidate proxy-revalidate must-understand'.split()
)

# A member of a dictionary of structured fields (RFC 9651 3.2, 4.2.2): its key, and its value if
# that is an item. A value that is an inner list is none of any directive, and so is no item here.
KEY = '[a-z*][a-z0-9_.*-]*'
ITEM = r"""-?[0-9]{1,15}|-?[0-9]{1,12}\.[0-9]{1,3}|"(?:[ !#-\[\]-~]|\\["\\])*"|"""
ITEM += r"""[A-Za-z*][!#$%&'*+.^_`|~0-9A-Za-z:/-]*|:[A-Za-z0-9+/=]*:|\?[01]|@-?[0-9]{1,15}"""
MEMBER = rf'({KEY})(?:=({ITEM}))?(?:;[ ]*{KEY}(?:=(?:{ITEM}))?)*'


def parse_cache_control(headers: Headers) -> Directives:
    """Return the directives of Cache-Control by name in lower case.

    The first of several with the same name counts (RFC 9111 4.2.1), but field names of ``no-cache``
    and ``private`` add up, and one of these without names counts for all fields.
    """
    return _parse_lines(tuple(headers.getall('Cache-Control', ())))


@lru_cache(512)
def _parse_lines(lines: tuple[str, ...]) -> Directives:
    found: dict[str, str | None] = {}
    for item in list_items(Headers([('Cache-Control', line) for line in lines]), 'Cache-Control'):
        name, equals, written = item.partition('=')
        name, value = name.lower(), _unquoted(written) if equals else None
        if name.rstrip() != name:
            name, value = name.rstrip(), ''  # a blank before '=' makes the value invalid
        if name not in found:
            found[name] = value
        elif name in NAMED:
            before = found[name]
            found[name] = None if before is None or value is None else f'{before},{value}'
    return found


def _unquoted(text: str) -> str:
    if len(text) > 1 and text[0] == text[-1] == '"':
        return re.sub(r'\\(.)', r'\1', text[1:-1])
    return text


def parse_targeted(headers: Headers, name: str) -> Directives | None:
    """Return the directives of a targeted field; None if there are none, or it is invalid.

    A directive whose value has a wrong type makes the field invalid: the careful reading, for then
    Cache-Control counts (RFC 9213 2.1).
    """
    if name not in headers:
        return None
    found: dict[str, str | None] = {}
    for member in split_list(headers, name):
        match = re.fullmatch(MEMBER, member)  # an empty one is invalid (RFC 9651 4.2.2)
        if match is None:
            return None
        key, value = match.groups()
        if (key in SECONDS and not _is_number(value or '')) or (key in FLAGS and value):
            return None
        found[key] = value
    return found or None


def seconds_of(directives: Directives, name: str) -> float | None:
    """Return the seconds of a directive: None without it, and 0 if its value is invalid.

    What has an invalid freshness counts as stale (RFC 9111 4.2.1).
    """
    if name not in directives:
        return None
    value = directives[name] or ''
    return _delta_seconds(value) if _is_number(value) else 0


def _is_number(text: str) -> bool:
    return text.isascii() and text.isdigit()


def _delta_seconds(digits: str) -> int:
    digits = digits.lstrip('0') or '0'  # int refuses thousands of digits, zeros among them
    return LONGEST if len(digits) > 10 else min(int(digits), LONGEST)


def field_names(directives: Directives, name: str) -> frozenset[str] | None:
    """Return the field names of ``no-cache`` or ``private``, in lower case.

    Returns:
        None if the directive counts for the whole response. An empty set without the directive.
    """
    if name not in directives:
        return frozenset()
    value = directives[name]
    if not value:
        return None
    return frozenset(one.strip().lower() for one in value.split(',') if one.strip()) or None


def parse_age(headers: Headers) -> int:
    """Return the Age of a response in seconds: its first value, and 0 if that is none."""
    if 'Age' not in headers:
        return 0
    first = headers['Age'].partition(',')[0].strip()
    return _delta_seconds(first) if _is_number(first) else 0


def parse_cache_date(headers: Headers, name: str) -> int | None:
    """Return a date of a response in Unix time, in any case of letters (RFC 9111 4.2).

    None if there is no valid date, or there are several values.
    """
    values = headers.getall(name, ())
    return _parse_any_case(values[0]) if len(values) == 1 else None


@lru_cache(512)
def _parse_any_case(text: str) -> int | None:
    return parse_date(re.sub('[A-Za-z]+', lambda word: _cased(word[0]), text))


def _cased(word: str) -> str:
    return 'GMT' if word.upper() == 'GMT' else word.title()
