"""Which part of a representation is asked for, and which one came (RFC 9110 13.1.5, 14)."""

from __future__ import annotations

import re
from typing import NamedTuple

from ..dates import parse_date
from ..headers import Headers

__all__ = ['ContentRange', 'is_validator', 'parse_content_range', 'validator_of']

STRONG = re.compile('"[!#-~]*"')
CONTENT_RANGE = r'bytes (?:([0-9]{1,18})-([0-9]{1,18})|\*)/([0-9]{1,18}|\*)'


class ContentRange(NamedTuple):
    """Which bytes came, and of how many; None is not known, or none came."""

    first: int | None
    last: int | None
    length: int | None


def parse_content_range(text: str) -> ContentRange | None:
    """Read a Content-Range of bytes; None where it is none.

    Example:
        >>> parse_content_range('bytes 2-3/4')
        ContentRange(first=2, last=3, length=4)
        >>> parse_content_range('bytes */4')
        ContentRange(first=None, last=None, length=4)
    """
    found = re.fullmatch(CONTENT_RANGE, text, re.IGNORECASE)
    if not found:
        return None
    return ContentRange(*(int(one) if one and one != '*' else None for one in found.groups()))


def is_validator(text: object) -> bool:
    """Tell whether a text may stand in If-Range: a strong entity tag, or a date."""
    return isinstance(text, str) and bool(STRONG.fullmatch(text) or parse_date(text) is not None)


def validator_of(headers: Headers) -> str | None:
    """Give what tells this representation from any other, byte for byte; None where nothing does.

    A weak entity tag does not, nor does a date of last change beside one. Without any a date
    does, where a second has passed since.
    """
    tag = headers.get('ETag')
    if tag is not None:
        return tag if STRONG.fullmatch(tag) else None
    changed = headers.get('Last-Modified', '')
    at, now = parse_date(changed), parse_date(headers.get('Date', ''))
    return changed if at is not None and now is not None and now > at else None
