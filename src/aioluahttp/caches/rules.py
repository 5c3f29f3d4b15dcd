"""The rules of a cache (RFC 9111) as pure functions of tables, entries and a time.

No function here asks a clock or a storage. ``middleware/caching`` calls them in turn.
"""

from __future__ import annotations

from dataclasses import replace
from enum import Enum
from functools import lru_cache
from typing import Any, NamedTuple

from .. import url
from ..dates import date_of_second
from ..headers import ONE_HOP, Headers, as_cgi, list_items
from ..semantics import PHRASES
from ..tables.checks import PORTS
from ..tables.models import Request, Response, absolute_url
from .directives import (
    Directives,
    field_names,
    parse_age,
    parse_cache_control,
    parse_cache_date,
    parse_targeted,
    seconds_of,
)
from .entries import Entry

__all__ = [
    'ERRORS',
    'NOTHING_SPECIAL',
    'Asked',
    'Freshened',
    'Verdict',
    'age_of',
    'ask',
    'freshened',
    'invalidated_targets',
    'is_same',
    'judge',
    'may_replace_error',
    'policy_of',
    'to_validation',
    'without_claims',
    'without_conditions',
]

SAFE = frozenset({'GET', 'HEAD', 'OPTIONS', 'TRACE'})  # RFC 9110 9.2.1
ERRORS = frozenset({500, 502, 503, 504})  # RFC 5861 4
# RFC 9110 15.1, without 206: parts are not stored.
HEURISTIC = frozenset({200, 203, 204, 300, 301, 308, 404, 405, 410, 414, 501})
# Statuses whose requirements on caches are kept (RFC 9111 5.2.2.3): those that have none beside
# what is here.
UNDERSTOOD = HEURISTIC | {302, 303, 307, 400, 401, 403, 421, 451, 500, 502, 503, 504}
FRACTION, HEURISTIC_MOST = 0.1, 24 * 3600.0  # of the time since the last change (RFC 9111 4.2.2)

# Headers by which a request asks for something else than the plain stored response.
CONDITIONS = frozenset({'if-none-match', 'if-modified-since'})
RANGES = frozenset({'range', 'if-range'})
PARTIAL = CONDITIONS | RANGES
# Conditions that only the origin can evaluate (RFC 9111 4.3.2), other protocols, and headers that
# make some frameworks take the request for one of another method, host or target.
FOREIGN = frozenset(
    """if-match if-unmodified-since upgrade x-http-method x-http-method-override x-method-override
    x-original-url x-rewrite-url x-original-host x-host x-forwarded-path""".split()
)
SPECIAL = PARTIAL | FOREIGN | {'cache-control', 'authorization', 'cookie'}
# Headers that say by which way a request came. The key has none of them, and a table has what
# trusted proxies said in ``ip``, ``scheme``, ``host`` and ``port``.
CLAIMS = frozenset({'forwarded', 'x-real-ip', 'x-url-scheme', 'x-scheme', 'front-end-https'})

# Fields of a stored response that a 304 does not change: they describe the stored bytes.
FIXED = frozenset({'content-length', 'content-encoding', 'content-range'})
NOT_KEPT = ONE_HOP | {'age'}
VALIDATORS = {'ETag': 'If-None-Match', 'Last-Modified': 'If-Modified-Since'}


class Asked(NamedTuple):
    """What a request asks of a cache.

    Attributes:
        names: Those of its headers that matter here, in lower case.
        bypass: Whether no stored response may be served for it, and none stored.
        directives: Of its Cache-Control.
    """

    names: frozenset[str] = frozenset()
    bypass: bool = False
    directives: Directives = {}  # noqa: RUF012

    @property
    def is_plain(self) -> bool:
        """Whether any fresh response will do, as the whole, so that one request serves many."""
        return not self.directives and self.is_whole

    @property
    def is_whole(self) -> bool:
        """Whether the request has no condition and no range."""
        return not self.names or self.names.isdisjoint(PARTIAL)


NOTHING_SPECIAL = Asked()


@lru_cache(1024)
def special_names(names: tuple[str, ...]) -> frozenset[str]:
    return SPECIAL.intersection(map(as_cgi, names))


def ask(request: Request) -> Asked:
    """Return what a GET or HEAD request asks of a cache."""
    headers = request['headers']
    names = special_names(tuple(headers))
    bypass = bool(request.get('body'))
    if not names and not bypass:
        return NOTHING_SPECIAL
    directives = parse_cache_control(headers) if 'cache-control' in names else {}
    known = {name: value for name, value in directives.items() if name in REQUESTED}
    return Asked(names, bypass or not names.isdisjoint(FOREIGN) or 'no-store' in known, known)


REQUESTED = frozenset('no-store no-cache only-if-cached max-age max-stale min-fresh'.split())


def without_claims(request: Request) -> Request:
    """Drop the headers by which a client could change what a shared cache stores for others."""
    headers = request['headers']
    if not any(map(_is_claim, headers)):
        return request
    # Of each header: the names of a multi-map have only the first spelling of one that is repeated.
    kept = Headers([pair for pair in headers.items() if not _is_claim(pair[0])])
    return Request({**request, 'headers': kept})


@lru_cache(1024)
def _is_claim(name: str) -> bool:
    folded = as_cgi(name)
    return folded in CLAIMS or folded.startswith('x-forwarded-')


class Verdict(Enum):
    """What to do with an entry."""

    FRESH = 'serve it'
    STALE = 'serve it although it is stale'
    BACKGROUND = 'serve it, and validate it meanwhile'
    VALIDATE = 'validate it first'


def judge(entry: Entry, asked: Asked, now: float) -> Verdict:
    """Decide whether a response may be served without validation (RFC 9111 4, RFC 5861 3)."""
    wanted = asked.directives
    age = age_of(entry, now)
    left = entry.lifetime - age
    if entry.must_validate or 'no-cache' in wanted:
        return Verdict.VALIDATE
    if wanted:
        youngest = seconds_of(wanted, 'max-age')
        if youngest is not None and age > youngest:
            return Verdict.VALIDATE
        least = seconds_of(wanted, 'min-fresh')
        if least is not None and left < least:
            return Verdict.VALIDATE
    if left > 0:
        return Verdict.FRESH
    if entry.never_stale:
        return Verdict.VALIDATE
    if -left < entry.while_revalidate:
        return Verdict.BACKGROUND
    # Without a value, any staleness will do (RFC 9111 5.2.1.2).
    if 'max-stale' in wanted and (
        wanted['max-stale'] is None or -left <= (seconds_of(wanted, 'max-stale') or 0)
    ):
        return Verdict.STALE
    return Verdict.VALIDATE


def age_of(entry: Entry, now: float) -> float:
    """Return the age of a response in seconds (RFC 9111 4.2.3); a clock may have been set back."""
    passed = now - entry.received
    return entry.age + passed if passed > 0 else entry.age


def may_replace_error(entry: Entry, asked: Asked, now: float) -> bool:
    """Tell whether a stored response may be served instead of an error (RFC 5861 4).

    Not to a client that asks for one that is validated, or younger.
    """
    if entry.never_stale or entry.must_validate or not YOUNGER.isdisjoint(asked.directives):
        return False
    return 0 < entry.if_error >= age_of(entry, now) - entry.lifetime


YOUNGER = frozenset({'no-cache', 'max-age', 'min-fresh'})


class Policy(NamedTuple):
    """The directives of a response, and the headers that hold its freshness."""

    directives: Directives
    targeted: bool


def response_policy(headers: Headers, shared: bool) -> Policy:
    """Return the directives that count for a cache: a shared one obeys CDN-Cache-Control."""
    found = parse_targeted(headers, 'CDN-Cache-Control') if shared else None
    return Policy(parse_cache_control(headers), False) if found is None else Policy(found, True)


def policy_of(
    request: Request, response: Response[Any], shared: bool, times: tuple[float, float]
) -> Entry | None:
    """Return the entry of a response without its body, or None if it must not be stored.

    Args:
        request: A GET.
        response: Its response, whose body is not read.
        shared: Whether several users share the cache.
        times: Unix times at which the request was sent and the head of the response received.
    """
    headers, status, now = response['headers'], response['status'], times[1]
    directives, targeted = response_policy(headers, shared)
    if not _may_store(status, headers, directives) or not _is_own(response):
        return None
    if shared and not _may_share(request['headers'], headers, directives):
        return None
    lifetime = _lifetime(status, headers, Policy(directives, targeted), shared, now)
    entry = Entry(
        '',
        status,
        _unusual_reason(response),
        _kept(headers, directives, shared, now),
        now,
        _initial_age(headers, *times),
        lifetime or 0.0,
        'no-cache' in directives and field_names(directives, 'no-cache') is None,
        _is_never_stale(directives, shared),
        seconds_of(directives, 'stale-while-revalidate') or 0.0,
        seconds_of(directives, 'stale-if-error') or 0.0,
        _vary(headers),
    )
    return entry if _is_useful(entry, lifetime, headers) else None


def _vary(headers: Headers) -> tuple[str, ...]:
    if 'Vary' not in headers:
        return ()
    return tuple(sorted({name.lower() for name in list_items(headers, 'Vary')}))


def _unusual_reason(response: Response[Any]) -> str | None:
    reason = response.get('reason')
    return None if reason == PHRASES.get(response['status']) else reason


def _is_own(response: Response[Any]) -> bool:
    """Tell whether a response is that of the target, and not of one that it redirected to."""
    return not response.get('history') and 'websocket' not in response


def _may_store(status: int, headers: Headers, directives: Directives) -> bool:
    # 206 and 416 are about a range, and not about the whole.
    if status in (206, 304, 416) or status < 200 or '*' in _vary(headers):
        return False
    if 'must-understand' in directives:
        return status in UNDERSTOOD
    return 'no-store' not in directives


def _may_share(asked: Headers, headers: Headers, directives: Directives) -> bool:
    """Tell whether a shared cache may store a response (RFC 9111 3.5, 7.3, and careful)."""
    if 'private' in directives and field_names(directives, 'private') is None:
        return False
    said = 'public' in directives or 's-maxage' in directives
    if 'Authorization' in asked and not (said or 'must-revalidate' in directives):
        return False
    hidden = field_names(directives, 'private') or field_names(directives, 'no-cache') or ()
    sets_cookie = 'Set-Cookie' in headers and 'set-cookie' not in hidden
    return said or not (sets_cookie or 'Cookie' in asked)


def _is_never_stale(directives: Directives, shared: bool) -> bool:
    if shared and ('proxy-revalidate' in directives or 's-maxage' in directives):
        return True
    return 'must-revalidate' in directives


def _lifetime(
    status: int, headers: Headers, policy: Policy, shared: bool, now: float
) -> float | None:
    """Return the freshness lifetime in seconds (RFC 9111 4.2.1); None if nothing says it."""
    directives, targeted = policy
    for name in ('s-maxage', 'max-age') if shared else ('max-age',):
        if (seconds := seconds_of(directives, name)) is not None:
            return seconds
    date = parse_cache_date(headers, 'Date')
    since = now if date is None else date
    if 'Expires' in headers and not targeted:
        expires = parse_cache_date(headers, 'Expires')
        return 0.0 if expires is None else max(expires - since, 0.0)
    modified = parse_cache_date(headers, 'Last-Modified')
    if modified is not None and (status in HEURISTIC or 'public' in directives):
        return min(max(since - modified, 0.0) * FRACTION, HEURISTIC_MOST)
    return None


def _initial_age(headers: Headers, began: float, now: float) -> float:
    date = parse_cache_date(headers, 'Date')
    apparent = 0.0 if date is None else max(now - date, 0.0)
    return max(apparent, parse_age(headers) + max(now - began, 0.0))


def _is_useful(entry: Entry, lifetime: float | None, headers: Headers) -> bool:
    """Tell whether a stored response could ever be served (RFC 9111 3, the last condition)."""
    if any(name in headers for name in VALIDATORS):
        return lifetime is not None or entry.must_validate or entry.status in HEURISTIC
    kept = entry.lifetime + max(entry.while_revalidate, entry.if_error)
    return not entry.must_validate and kept > entry.age


def _kept(
    headers: Headers, directives: Directives, shared: bool, now: float
) -> tuple[tuple[str, str], ...]:
    """Return the headers to store (RFC 9111 3.1), with a Date."""
    limiting = ('no-cache', 'private') if shared else ('no-cache',)
    dropped = NOT_KEPT.union(*(field_names(directives, name) or () for name in limiting))
    if 'Connection' in headers:
        dropped = dropped.union(map(str.lower, list_items(headers, 'Connection')))
    kept = [pair for pair in headers.items() if pair[0].lower() not in dropped]
    if parse_cache_date(headers, 'Date') is None:  # RFC 9110 6.6.1
        kept = [pair for pair in kept if pair[0].lower() != 'date']
        kept.append(('Date', date_of_second(int(now))))
    return tuple(kept)


def to_validation(request: Request, entry: Entry) -> Request | None:
    """Return the request that validates an entry (RFC 9111 4.3.1); None if it has no validator.

    The client's own conditions and range are left out: they are evaluated on the stored response.
    """
    stored = Headers(entry.headers)
    given = {to: stored[name] for name, to in VALIDATORS.items() if stored.get(name)}
    if not given:
        return None
    made = without_conditions(request)
    made['headers'].extend(given)
    check = request.get('check', False)
    if not isinstance(check, bool):  # the statuses that the client accepts
        made['check'] = {*check, 304}
    return made


def without_conditions(request: Request) -> Request:
    """Return a request for the whole of a response, whatever the client has of it."""
    kept = [pair for pair in request['headers'].items() if pair[0].lower() not in PARTIAL]
    return Request({**request, 'headers': Headers(kept)})


def is_same(entry: Entry, response: Response[Any]) -> bool:
    """Tell whether a 304 is about the representation of an entry (RFC 9111 4.3.4).

    That of another URL, to which the request was redirected, is not.
    """
    given, stored = response['headers'], Headers(entry.headers)
    tags, dates = (
        [headers.get(name) for headers in (given, stored)] for name in ('ETag', 'Last-Modified')
    )
    if response.get('history'):
        return False
    if tags[0] is not None:
        return tags[0].removeprefix('W/') == (tags[1] or '').removeprefix('W/')
    return None in dates or dates[0] == dates[1]


class Freshened(NamedTuple):
    """An entry that was updated by a 304.

    Attributes:
        entry: What to respond with.
        stores: Whether it replaces the stored one, which otherwise stays as stale as it was.
        drops: Whether the stored one must go, because other requests would select it now.
    """

    entry: Entry
    stores: bool
    drops: bool


def freshened(
    request: Request,
    entry: Entry,
    response: Response[Any],
    shared: bool,
    times: tuple[float, float],
) -> Freshened:
    """Update an entry by a 304 (RFC 9111 3.2, 4.3.4).

    Args:
        times: Unix times at which the request was sent and the response was received.
    """
    kept = (p for p in response['headers'].items() if p[0].lower() not in ONE_HOP | FIXED)
    given = Headers(list(kept))
    given.setdefault('Date', date_of_second(int(times[1])))
    names = {name.lower() for name in given}
    merged = Headers([pair for pair in entry.headers if pair[0].lower() not in names])
    merged.extend(given)
    updated = Response({'status': entry.status, 'headers': merged, 'body': b''})
    made = policy_of(request, updated, shared, times)
    if made is None or made.vary != entry.vary:
        served = replace(
            entry, headers=_kept(merged, {}, shared, times[1]), received=times[1], age=0.0
        )
        return Freshened(served, False, made is not None)
    served = replace(made, id=entry.id, reason=entry.reason, size=entry.size, body=entry.body)
    return Freshened(served, True, False)


def invalidated_targets(request: Request, response: Response[Any]) -> list[Request]:
    """Return requests for the targets that an unsafe request invalidates (RFC 9111 4.4).

    These are its own target, and those of Location and Content-Location on the same origin.
    """
    if request['method'] in SAFE or not 200 <= response['status'] < 400:
        return []
    found = [request]
    own = absolute_url(request)
    for name in ('Location', 'Content-Location'):
        given = response['headers'].get(name)
        if given and (target := _target(own, given, request)) is not None:
            found.append(Request(request | {'url': target}))
    return found


def _target(base: str, reference: str, request: Request) -> str | None:
    """Return the target of a reference in origin-form; None if it is of another origin."""
    try:
        parts: dict[str, Any] = dict(url.split(url.relative(base, reference)))
        port = int(parts.get('port') or PORTS.get(parts.get('scheme', ''), 0))
    except ValueError:
        return None
    if (parts.get('scheme'), parts.get('host', '').strip('[]').lower(), port) != (
        request['scheme'],
        request['host'],
        request['port'],
    ):
        return None
    query = parts.get('query')
    return (parts.get('path') or '/') + ('' if query is None else f'?{query}')
