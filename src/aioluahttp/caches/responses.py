"""What is served of a stored response: all, a range, a 304 or a 416; and Cache-Status."""

from __future__ import annotations

from typing import NamedTuple

from ..conditions import failed_condition, if_range_holds, requested_range
from ..headers import Headers
from ..semantics import STATUSES_WITHOUT_BODY
from ..tables.models import Request
from .directives import parse_cache_date
from .entries import Entry
from .rules import Asked, age_of

__all__ = ['SelectedPart', 'add_cache_status', 'headers_of', 'headers_of_hit', 'select_part']

NAME = 'aioluahttp'  # in Cache-Status
# What a 304 does not repeat of the stored response (RFC 9110 15.4.5).
OF_BODY = ('Content-Length', 'Content-Encoding', 'Content-Type', 'Content-Language', 'Content-MD5')


class SelectedPart(NamedTuple):
    """What is served of an entry.

    Attributes:
        start: First byte of the body to send.
        end: The byte behind the last one.
    """

    status: int
    start: int
    end: int
    content_range: str | None = None


def select_part(entry: Entry, request: Request, asked: Asked, now: float) -> SelectedPart:
    """Select what to serve of an entry: by the conditions of a request, its Range, its method."""
    whole = SelectedPart(entry.status, 0, entry.size)
    if entry.status == 200 and not asked.is_whole:
        whole = _conditional_part(entry, request, whole, now)
    if request['method'] == 'HEAD' or whole.status in STATUSES_WITHOUT_BODY:
        return whole._replace(start=0, end=0)
    return whole


def _conditional_part(
    entry: Entry, request: Request, whole: SelectedPart, now: float
) -> SelectedPart:
    stored, asked, size = Headers(entry.headers), request['headers'], entry.size
    tag, modified = stored.get('ETag', ''), parse_cache_date(stored, 'Last-Modified')
    date = parse_cache_date(stored, 'Date')
    since = date if modified is None else modified  # RFC 9111 4.3.2
    if failed_condition(asked, tag, since) == 304:
        return SelectedPart(304, 0, 0)
    wanted = requested_range(asked, size) if request['method'] == 'GET' else None
    if wanted is None or not if_range_holds(
        asked, tag, modified, int(now) if date is None else date
    ):
        return whole
    start, end = wanted
    if start == end:
        return SelectedPart(416, 0, 0, f'bytes */{size}')
    return SelectedPart(206, start, end, f'bytes {start}-{end - 1}/{size}')


def headers_of_hit(entry: Entry, age: int) -> Headers:
    """Return the headers of a whole response that was not asked for in any special way.

    They are the same for a second, and so are kept with the entry.
    """
    if entry.served is None or entry.served[0] != age:
        headers = Headers(entry.headers)
        headers['Age'] = str(age)
        add_cache_status(headers, 'hit')
        entry.served = age, headers
    return entry.served[1].copy()


def headers_of(entry: Entry, request: Request, part: SelectedPart, now: float) -> Headers:
    """Return the headers of a response from an entry, with its Age (RFC 9111 4)."""
    headers = Headers(entry.headers)
    headers['Age'] = str(int(age_of(entry, now)))
    if part.status in (304, 416):
        for name in OF_BODY:
            headers.popall(name, None)
    elif request['method'] == 'HEAD' and part.status not in STATUSES_WITHOUT_BODY:
        headers['Content-Length'] = str(entry.size)
    if part.content_range is not None:
        headers['Content-Range'] = part.content_range
        headers.popall('Content-Length', None)
    return headers


def add_cache_status(headers: Headers, *parameters: str) -> None:
    """Add what this cache did to Cache-Status, behind other caches (RFC 9211 2)."""
    headers.add('Cache-Status', '; '.join((NAME, *parameters)))
