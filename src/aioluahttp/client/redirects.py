"""Redirects as pure functions: the request that follows, and fragments (RFC 9110 15.4)."""

from __future__ import annotations

from typing import Any

from .. import url
from ..errors import TableError
from ..tables.checks import quote_url
from ..tables.conversion import to_request
from ..tables.models import Request, Response

__all__ = ['add_fragments', 'next_request', 'origin_of']

FOLLOWED = frozenset({301, 302, 303, 307, 308})
CREDENTIALS = ('Authorization', 'Cookie', 'Host')
CONTENT = ('Content-Type', 'Content-Encoding', 'Content-Language', 'Content-Location')
TARGET = ('url', 'scheme', 'host', 'port', 'path', 'query')
TRUST = frozenset({'verify', 'ca'})  # the keys of ``tls`` that are kept across origins


def origin_of(request: Request) -> tuple[str, str, int]:
    """Return the scheme, host and port of a request in normal form (RFC 9110 4.3.1)."""
    return request['scheme'], request['host'], request['port']


def next_request(request: Request, response: Response[Any]) -> Request | None:
    """Return the request that a redirect asks for, in normal form; None if there is none to follow.

    A Location that is not an HTTP URL is not followed. Across origins Authorization, Cookie, Host
    and the client's certificate are dropped. POST becomes GET for 301 and 302, every method but
    HEAD for 303, as in browsers; 307 and 308 keep method and body.
    """
    if response['status'] not in FOLLOWED:
        return None
    location = response['headers'].get('Location')
    if not location:
        return None
    target = url.relative(response['url'], location)
    try:
        following = to_request({'url': target})
    except TableError:
        return None
    moved = {key: following[key] for key in TARGET}
    following = request | moved | {'headers': request['headers'].copy()}
    headers = following['headers']
    if 'unix' in request and following['scheme'] == 'https':
        return None  # Unix sockets are used without TLS
    if origin_of(following) != origin_of(request):
        _drop(headers, CREDENTIALS)
        if isinstance(tls := following.get('tls'), dict):
            following['tls'] = {key: tls[key] for key in TRUST & tls.keys()}
    if _becomes_get(request['method'], response['status']):
        following['method'] = 'GET'
        following.pop('body', None)
        _drop(headers, CONTENT)
    return following


def add_fragments(response: Response[Any], written: Any) -> None:
    """Add the fragment of the request URL to the ``url`` of a response and of its ``history``.

    The fragment of a Location replaces it from there on (RFC 9110 10.2.2). It is not sent.

    Args:
        response: The last response, whose ``url`` has no fragment yet.
        written: The ``url`` of the request as the user wrote it, or None.
    """
    history = response['history']
    text = written if isinstance(written, str) else str(written or '')
    fragment = _fragment(text)
    for redirect in history:
        redirect['url'] += fragment
        fragment = _fragment(redirect['headers']['Location']) or fragment
    response['url'] += fragment


def _fragment(reference: str) -> str:
    """Return the fragment with its mark; a reference without one gives ``''``."""
    _, mark, fragment = reference.partition('#')
    return mark + quote_url('url', fragment)


def _becomes_get(method: str, status: int) -> bool:
    return method not in ('GET', 'HEAD') if status == 303 else method == 'POST' and status < 303


def _drop(headers: Any, names: tuple[str, ...]) -> None:
    for name in names:
        headers.popall(name, None)
