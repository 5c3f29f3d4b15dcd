"""Conditional requests and ranges as pure functions of headers (RFC 9110 13 and 14)."""

from __future__ import annotations

import re

from .dates import parse_date
from .headers import Headers

__all__ = [
    'ETAG',
    'RANGE',
    'failed_condition',
    'if_range_holds',
    'matches_tag',
    'requested_range',
    'single_value',
]

# A single range of bytes. A server may ignore any other Range (RFC 9110 14.2).
RANGE = re.compile('bytes=(?:([0-9]{1,18})-([0-9]{0,18})|-([0-9]{1,18}))')
ETAG = re.compile('(W/)?("[^"]*")')
MEMBER = re.compile('(?:[^",]|"[^"]*")+')  # of a list of entity tags, in which commas may stand


def single_value(asked: Headers, field: str) -> str:
    """Return a field that must not be a list; ``''`` if it is absent or there are several."""
    values = asked.getall(field, ())
    return values[0] if len(values) == 1 else ''


def failed_condition(asked: Headers, tag: str, modified: int | None) -> int | None:
    """Return 412 or 304 for the first condition that fails; ``None`` if all hold.

    The order is that of RFC 9110 13.2.2. A date that cannot be read is ignored (13.1.3, 13.1.4).

    Args:
        asked: Headers of the request.
        tag: ETag of the representation; ``''`` if it has none.
        modified: Its Last-Modified in Unix time; ``None`` if it has none.
    """
    since = parse_date(single_value(asked, 'If-Unmodified-Since'))
    late = since is not None and modified is not None and modified > since
    if not matches_tag(asked, 'If-Match', tag, weak=False) if 'If-Match' in asked else late:
        return 412
    if 'If-None-Match' in asked:
        return 304 if matches_tag(asked, 'If-None-Match', tag, weak=True) else None
    since = parse_date(single_value(asked, 'If-Modified-Since'))
    return 304 if since is not None and modified is not None and modified <= since else None


def matches_tag(asked: Headers, field: str, tag: str, *, weak: bool) -> bool:
    """Tell whether a list of entity tags has this one, by weak or strong comparison."""
    value = ','.join(asked.getall(field))
    if value.strip() == '*':
        return True
    own = ETAG.fullmatch(tag)
    if own is None or (own[1] and not weak):
        return False
    found = (ETAG.fullmatch(one.strip()) for one in MEMBER.findall(value))
    return any(one is not None and one[2] == own[2] and (weak or not one[1]) for one in found)


def if_range_holds(asked: Headers, tag: str, modified: int | None, now: int) -> bool:
    """Tell whether If-Range matches this representation (RFC 9110 13.1.5).

    A date matches exactly or not at all, and only one that no later change can bear, too (8.8.2.2).
    """
    if 'If-Range' not in asked:
        return True
    validator = single_value(asked, 'If-Range')
    if validator == tag and tag.startswith('"'):
        return True
    return modified is not None and parse_date(validator) == modified and modified < now


def requested_range(asked: Headers, size: int) -> tuple[int, int] | None:
    """Return the first byte of a requested range and the one behind its last (RFC 9110 14.1.2).

    Args:
        asked: Headers of a GET request.
        size: Bytes of the whole representation.

    Returns:
        ``None`` without a Range, or with one that may be ignored. A range that is empty cannot be
        satisfied.
    """
    wanted = RANGE.fullmatch(single_value(asked, 'Range'))
    if wanted is None:
        return None
    first, last, tail = wanted.groups()
    start = max(size - int(tail), 0) if tail else int(first)
    end = min(int(last) + 1, size) if last else size
    return (start, end) if start < end else (0, 0)
