"""Responses of a cache: all of a stored one, a range, a 304 or a 416; and Cache-Status."""

from __future__ import annotations

from typing import Any, NamedTuple

from ..bodies.codings import read_within
from ..bodies.stream import ArrivedBody, Stream
from ..conditions import failed_condition, if_range_holds, requested_range
from ..headers import Headers
from ..semantics import PHRASES, STATUSES_WITHOUT_BODY
from ..tables.checks import MAX_BODY, STREAMS
from ..tables.conversion import body_as, status_page
from ..tables.models import Request, Response, absolute_url
from .directives import parse_cache_date
from .entries import Entry
from .rules import Asked, age_of

__all__ = [
    'SelectedPart',
    'add_cache_status',
    'headers_of',
    'select_part',
    'to_served_response',
    'unavailable',
    'whole_response',
]

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


def whole_response(entry: Entry, age: int) -> Response[Any]:
    """Respond with the whole of an entry to a request that asks for nothing special.

    The headers are the same for a second, and so are kept with the entry.
    """
    if entry.served is None or entry.served[0] != age:
        headers = Headers(entry.headers)
        headers['Age'] = str(age)
        add_cache_status(headers, 'hit')
        entry.served = age, headers
    headers = entry.served[1].copy()
    return Response({'status': entry.status, 'headers': headers, 'body': entry.body})


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


def unavailable() -> Response[Any]:
    """Make the response to ``only-if-cached`` if nothing is stored (RFC 9111 5.2.1.7)."""
    response = status_page(504, {'Content-Type': 'text/plain; charset=utf-8'})
    add_cache_status(response['headers'], 'detail=only-if-cached')
    return response


async def to_served_response(request: Request, response: Response[Any]) -> Response[Any]:
    """Give a stored response the form that ``request`` returns: its fields, and ``into``."""
    into, body, headers = request.get('into', 'text'), response['body'], response['headers']
    response.setdefault('reason', PHRASES.get(response['status'], ''))
    response |= {
        'url': absolute_url(request),
        'method': request['method'],
        'version': '1.1',
        'history': [],
    }
    if into in STREAMS:
        given = isinstance(body, Stream)
        response['body'] = body if given else Stream(ArrivedBody(body), headers.get('Content-Type'))
        return response
    if isinstance(body, Stream):  # it may be on its way, and longer than the client wants
        async with body:
            body = await read_within(body, request.get('max_body', MAX_BODY))
    response['body'] = body_as(into, response['status'], headers, body)
    return response
