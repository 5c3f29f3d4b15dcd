"""Convert request and response tables to normal form, and bodies to and from bytes.

Normal form is what handlers and callers receive. The checks of single keys are in ``checks``.
"""

from __future__ import annotations

import json
from collections.abc import Callable, Collection, Mapping
from functools import lru_cache
from os import PathLike
from typing import Any

from .. import url
from ..bodies import text
from ..errors import ProtocolError, TableError, warn
from ..headers import Headers, to_headers
from ..semantics import PHRASES
from ..types import RequestTable, ResponseTable
from .checks import (
    ASTERISK,
    PORTS,
    REQUEST_CHECKS,
    REQUEST_OBJECT_CHECKS,
    RESPONSE_CHECKS,
    RESPONSE_OBJECT_CHECKS,
    SWITCHING,
    SWITCHING_CHECKS,
    accept_any,
    check_userinfo,
    has_login,
    quote_url,
)
from .models import Request, Response, to_json_body

__all__ = [
    'PAGES',
    'body_as',
    'body_into',
    'merge_body_keys',
    'normalize',
    'status_page',
    'to_mapping',
    'to_request',
    'to_response',
    'wire_body',
]

PAGES = 300  # from this status on a body is a page that explains, and not what was requested
NULLABLE = frozenset({'timeout', 'max_body', 'json'})  # None has a meaning: no limit, or null
MAPPINGS: Any = (dict, Mapping)  # in this order: to find a dict costs less
NULLABLE_OF_OBJECT = NULLABLE | {'body'}  # JSON may decode to None
LOGINS = ('auth', 'bearer')
BODIES = ('body', 'json', 'form', 'multipart', 'events')
TARGET = ('scheme', 'host', 'port', 'path', 'query')
NORMAL: dict[str, Any] = dict.fromkeys(('method', 'url', *TARGET, 'headers'))
BODY_KEYS = frozenset(BODIES)
CODED_BODIES = BODY_KEYS - {'body'}
# Keys of what a client returns, none of which the others depend on.
RECEIVED = Response.FIELDS - {'websocket'}
# Keys that do not depend on each other, beside a URL that has a host and no login.
PLAIN = BODY_KEYS.union(REQUEST_CHECKS) - {*TARGET, *LOGINS, 'events', 'unix', 'resume'}


def _checked(
    given: Any, checks: Mapping[str, Callable[[Any], Any]], nullable: frozenset[str] = NULLABLE
) -> dict[str, Any]:
    checked = {}
    for key, value in given.items():
        if key not in checks:
            raise TableError.unknown(key, checks)
        if value is not None or key in nullable:
            check = checks[key]
            checked[key] = value if check is accept_any else check(value)
    return checked


def to_request(table: RequestTable | Mapping[str, Any] | None = None, /, **fields: Any) -> Request:
    """Check a request and return it in normal form, the form in which a handler receives it.

    The URL is split into ``scheme``, ``host``, ``port``, ``path`` and ``query``, and ``url`` is in
    origin-form. ``headers`` becomes ``Headers``; ``json``, ``form`` and ``multipart`` become
    ``body`` and a Content-Type header, ``auth`` and ``bearer`` the Authorization header. All other
    keys stay. A table that is in normal form is returned as an equal copy. A ``Request`` may have
    any body that a server passes to a handler: a stream, or a value decoded from JSON.

    If ``url`` overrides a key with a different value, there is a ``TableWarning``, except for keys
    of a ``Request``.

    Raises:
        TableError: A key is unknown, a value is not valid for its key, or two keys exclude each
            other. The message names the key and the value and says what would be right.

    Example:
        >>> request = to_request({'url': 'http://localhost:8080/a?b=c'})
        >>> request.host, request.port, request.path, request.query, request.url
        ('localhost', 8080, '/a', 'b=c', '/a?b=c')
    """
    mapping = to_mapping(table)
    whole = isinstance(table, Request)
    if whole and not fields:
        return normalize(mapping, REQUEST_OBJECT_CHECKS)
    both = {**mapping, **fields} if fields else mapping
    return normalize(both, watched=fields if whole else both)


def normalize(
    table: Mapping[str, Any],
    checks: Mapping[str, Callable[[Any], Any]] = REQUEST_CHECKS,
    watched: Collection[str] = (),
) -> Request:
    """Do what ``to_request`` does; a key of ``watched`` that ``url`` overrides gets a warning."""
    if PLAIN.issuperset(table) and (plain := _normalize_plain(table, checks)) is not None:
        return plain
    given = _checked(table, checks)
    headers = given.pop('headers', None) or Headers()
    userinfo, overridden = _take_target(given)
    _take_authorization(given, headers, userinfo)
    merge_body_keys(given, headers)
    given.setdefault('method', 'GET')
    given['headers'] = headers
    if given['path'] == ASTERISK and given['method'] != 'OPTIONS':
        raise TableError.of('path', ASTERISK, "a path; '*' is for OPTIONS only")
    if given.get('resume'):
        _check_resume(given, headers)
    request = Request(NORMAL)  # fixes the order of the keys
    request.update(given)
    if overridden and (lost := [key for key in overridden if key in watched]):
        warn(
            f'the url overrides {" and ".join(map(repr, lost))} with a different value; '
            'change the url, or leave that part out of it'
        )
    return request


def _normalize_plain(
    table: Mapping[str, Any], checks: Mapping[str, Callable[[Any], Any]]
) -> Request | None:
    """Fast path: do what ``normalize`` does for a table whose target is a URL without a login."""
    written = table.get('url')
    if type(written) is not str or (target := _plain_target(written)) is None:
        return None
    request = Request(target)
    for key, value in table.items():
        if key != 'url' and (value is not None or key in NULLABLE):
            request[key] = checks[key](value)
    if request['headers'] is None:
        request['headers'] = Headers()
    if not BODY_KEYS.isdisjoint(table):
        merge_body_keys(request, request['headers'])
    return request


@lru_cache(256)
def _plain_target(written: str) -> Mapping[str, Any] | None:
    """Return the normal form of a table that has this URL alone, without its headers.

    None if the URL may have a login, which must not be kept, or is no http or https URL.
    """
    if '@' in written or not written.lower().startswith(('http://', 'https://')):
        return None
    # A key that is not plain, so as to take the general way.
    return {**normalize({'url': written, 'scheme': None}), 'headers': None}


def _check_resume(given: dict[str, Any], headers: Headers) -> None:
    if not isinstance(given.get('into'), PathLike):
        raise TableError.of('resume', True, "absent, or used with a path as 'into'")
    if given['method'] != 'GET':  # ranges are defined for GET only (RFC 9110 14.2)
        raise TableError.of('resume', True, "absent when 'method' is not 'GET'")
    for name in ('Range', 'If-Range'):
        if name in headers:
            raise TableError.of(f'headers[{name}]', headers[name], "absent when 'resume' is given")


def to_mapping(table: Any) -> Mapping[str, Any]:
    if table is None or isinstance(table, Mapping):
        return table or {}
    raise TableError.of('table', table, "a table such as {'url': 'http://localhost/'}")


def _take_target(given: dict[str, Any]) -> tuple[str | None, list[str]]:
    """Merge the parts of ``url`` into the target keys.

    Returns:
        The userinfo of the URL, and the keys that it overrides with a different value.
    """
    written = str.__str__(given.pop('url', ''))
    # A login must not be remembered, nor shown where '/', '?' or '#' in it make a part look wrong.
    if '@' in written:
        parts, userinfo = _secret_parts(written)
    else:
        parts, userinfo = _parts(written)
    overridden = [key for key in parts if key in given and given[key] != parts[key]]
    given |= parts
    if 'host' not in given:
        if 'unix' not in given:
            raise TableError("'host' is missing; give a host, or a url that has one")
        given['host'] = 'localhost'
    scheme = given.setdefault('scheme', 'http')
    given.setdefault('port', PORTS[scheme])
    path, query = given.setdefault('path', '/'), given.setdefault('query', '')
    # A '?' with an empty query is part of the URL, but path and query do not show it.
    given['url'] = path + ('?' + query if query or 'query' in parts else '')
    return userinfo, overridden


def _secret_parts(written: str) -> tuple[Mapping[str, Any], str | None]:
    try:
        return _parts.__wrapped__(written)
    except TableError:
        if not has_login(written):
            raise
    right = "a URL whose login has '/', '?' and '#' percent-encoded"
    raise TableError.of('url', written, right, secret=True)


@lru_cache(256)
def _parts(written: str) -> tuple[Mapping[str, Any], str | None]:
    """Split a URL into target keys, each checked, and its userinfo."""
    # A URL that begins with '/' is a path and a query, even if it begins with '//'.
    parts = url.split('http://-' + written if written.startswith('/') else written)
    if written.startswith('/'):
        del parts['scheme'], parts['host']
    checked = {
        key: REQUEST_CHECKS[key](parts[key])
        for key in TARGET
        if parts.get(key) or (key == 'query' and key in parts)
    }
    quote_url('url', parts.get('fragment', ''))  # raises TableError; a response's url will have it
    if 'host' in parts and not parts['host']:
        raise TableError.of('url', written, 'a URL with a host')
    return checked, parts.get('userinfo')


def _take_authorization(given: dict[str, Any], headers: Headers, userinfo: str | None) -> None:
    made = [given.pop(key) for key in LOGINS if key in given]
    if userinfo:
        made.append(check_userinfo(userinfo))
    if len(made) + ('Authorization' in headers) > 1:
        raise TableError(
            'more than one of auth, bearer, credentials in the url and an Authorization header; '
            'give one of them'
        )
    if made:
        headers['Authorization'] = made[0]


def merge_body_keys(given: dict[str, Any], headers: Headers) -> None:
    """Replace ``json``, ``form``, ``multipart`` or ``events`` by ``body`` and default headers."""
    if CODED_BODIES.isdisjoint(given):
        return
    kinds = [key for key in BODIES if key in given]
    if len(kinds) > 1:
        raise TableError(f'{" and ".join(map(repr, kinds))} exclude each other; give one of them')
    for kind in kinds:
        body = given.pop(kind)
        if kind == 'multipart':
            if 'Content-Type' in headers:
                raise TableError.of(
                    'headers[Content-Type]',
                    headers['Content-Type'],
                    "absent when 'multipart' is given, which sets its own with the boundary",
                )
            headers['Content-Type'], body = body
        elif kind == 'json':
            headers.setdefault('Content-Type', 'application/json')
        elif kind == 'events':
            headers.setdefault('Content-Type', 'text/event-stream')
            headers.setdefault('Cache-Control', 'no-cache')
        else:  # a form
            headers.setdefault('Content-Type', 'application/x-www-form-urlencoded')
        given['body'] = body


def to_response(table: ResponseTable | Mapping[str, Any]) -> Response[Any]:
    """Check a response and return it in normal form, the form in which ``request`` returns it.

    ``headers`` becomes ``Headers``, ``json`` and ``events`` become ``body`` and a Content-Type
    header, and ``body`` is always present: ``''`` when there is none. A ``Response`` may have any
    status and body that ``request`` can return; it is checked too, because it may have been
    changed. With ``websocket``, which becomes a table, ``status`` is 101.

    Raises:
        TableError: The argument is no table, the status is missing, a key is unknown, or a value
            is not valid for its key. The message names the key and the value and says what would
            be right.

    Example:
        >>> to_response({'status': 200, 'json': [1, 2]}).body
        '[1,2]'
    """
    if type(table) is Response and (received := _check_received(table)) is not None:
        return received
    if not isinstance(table, MAPPINGS):
        raise TableError.of('response', table, "a table such as {'status': 200}")
    switches = table.get('websocket') is not None
    if switches:
        given = _checked(table, SWITCHING_CHECKS)
        given.setdefault('status', SWITCHING)
    elif isinstance(table, Response):
        given = _checked(table, RESPONSE_OBJECT_CHECKS, NULLABLE_OF_OBJECT)
    else:
        given = _checked(table, RESPONSE_CHECKS)
    if 'status' not in given:
        raise TableError("'status' is missing; give one, as in {'status': 200}")
    headers = given.pop('headers', None) or Headers()
    merge_body_keys(given, headers)
    given.setdefault('body', '')
    if switches and given['body']:
        raise TableError("'websocket' and a body exclude each other; give one of them")
    return Response({'status': given['status'], 'headers': headers, 'body': given['body']} | given)


def _check_received(table: Response[Any]) -> Response[Any] | None:
    """Fast path: do what ``to_response`` does for a response with all that a client returns.

    None if it has other keys, or one of it is None, and so is absent in normal form.
    """
    if not RECEIVED.issuperset(table) or len(table) < len(RECEIVED):
        return None
    for value in table.values():
        if value is None:
            return None
    checks, response = RESPONSE_OBJECT_CHECKS, Response(table)
    response['status'] = checks['status'](response['status'])
    response['reason'] = checks['reason'](response['reason'])
    response['headers'] = to_headers(response['headers'])
    return response


def wire_body(headers: Headers, body: Any) -> bytes:
    """Encode a body to bytes, and complete the Content-Type in ``headers``.

    A missing Content-Type is set unless the body is empty. A ``text/*`` type without a charset
    gets ``utf-8`` if the body is a str without surrogate escapes.

    Raises:
        TableError: The body is neither text nor bytes, or its charset cannot encode it.
    """
    kind = headers.get('Content-Type')
    if isinstance(body, bytes):
        if kind is None and body:
            headers['Content-Type'] = 'application/octet-stream'
        return body
    if not isinstance(body, str):
        raise TableError.of('body', body, 'a str or bytes; for a value decoded from JSON use json')
    if not body:
        return b''
    if kind is None:
        clean = text.is_clean(body)
        kind = 'text/plain; charset=utf-8' if clean else 'application/octet-stream'
        headers['Content-Type'] = kind
    elif kind.lower().startswith('text/') and text.charset_of(kind) is None and text.is_clean(body):
        kind = headers['Content-Type'] = f'{kind}; charset=utf-8'
    return text.to_bytes(body, kind)


def body_into(into: str, data: bytes, headers: Headers) -> Any:
    """Convert the bytes of a body to what ``into`` asks for: bytes, text or decoded JSON.

    An empty body as JSON is ``None``.

    Raises:
        ValueError: ``into`` is ``'json'`` and the body is not valid JSON.
    """
    if into == 'bytes':
        return data
    if into == 'text':
        return text.from_bytes(data, headers.get('Content-Type'))
    try:
        return to_json_body(json.loads(data)) if data else None
    except RecursionError as error:
        raise ValueError('it is nested too deeply') from error


def body_as(into: str, status: int, headers: Headers, data: bytes) -> Any:
    """Convert a whole body to what ``into`` asks for: text, bytes or JSON.

    Raises:
        ProtocolError: ``into`` asks for JSON, the status is below 300, and the body is not JSON.
    """
    try:
        return body_into(into, data, headers)
    except ValueError as error:
        if status < PAGES:
            raise ProtocolError(f'the body is not JSON: {error}') from error
        # Usually the page of a redirect or an error.
        return body_into('text', data, headers)


def status_page(status: int, headers: Any = None) -> Response[Any]:
    """Make a response whose body is the phrase of its status."""
    return to_response({'status': status, 'headers': headers, 'body': PHRASES[status]})
