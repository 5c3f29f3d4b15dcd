"""Checks of table values: one function for each key, which returns the value's normal form.

A check raises ``TableError`` for a value that its key does not take. Rules that concern more than
one key are in ``conversion``, those of headers in ``aioluahttp.headers``.
"""

from __future__ import annotations

import json
import re
import sys
from base64 import b64encode
from collections.abc import (
    AsyncIterable,
    AsyncIterator,
    Callable,
    Collection,
    Iterable,
    Iterator,
    Mapping,
    Set,
)
from functools import lru_cache, partial
from inspect import iscoroutinefunction
from os import PathLike, fsdecode, fsencode
from typing import Any
from urllib.parse import unquote

import yarl

from .. import url
from ..bodies.chunks import Chunks
from ..bodies.events import encode_event
from ..bodies.files import can_rewind, check_file, is_file
from ..bodies.forms import MultipartBody, encode_multipart
from ..errors import USERINFO, TableError
from ..headers import CONTROL, TOKEN, to_headers
from ..tls import check_tls

__all__ = [
    'ASTERISK',
    'EVENTS',
    'INTO',
    'MAX_BODY',
    'PORTS',
    'REQUEST_CHECKS',
    'REQUEST_OBJECT_CHECKS',
    'RESPONSE_CHECKS',
    'RESPONSE_OBJECT_CHECKS',
    'SOCKET_CHECKS',
    'STREAMS',
    'SWITCHING',
    'SWITCHING_CHECKS',
    'UPGRADE_CHECKS',
    'check_body',
    'check_options',
    'is_accepted',
    'is_one_shot',
    'is_streamed',
    'progress_of',
]

PORTS = {'http': 80, 'https': 443}
METHODS = frozenset({'GET', 'HEAD', 'POST', 'PUT', 'PATCH', 'DELETE', 'OPTIONS'})  # the usual ones
INTO = ('text', 'bytes', 'json')
STREAMS = ('stream', 'raw')
EVENTS = 'events'
ASTERISK = '*'  # the path of an OPTIONS request for the server as a whole (RFC 9112 3.2.4)
SWITCHING = 101
MAX_BODY = 64 * 1024 * 1024  # bytes of a response body that is read whole, decoded
TIMEOUT = 30.0  # seconds: the default of ``timeout``
TIMEOUTS = ('total', 'connect', 'read', 'write')
WHOLE = (str, bytes, bytearray, memoryview)
JSON = (list, Mapping, Set)  # iterable, but no stream: the caller probably meant json
LONGEST = sys.float_info.max  # seconds: asyncio counts in floats, and an int may be larger


def check_method(method: Any) -> str:
    if type(method) is str and method in METHODS:
        return method
    if not isinstance(method, str) or not TOKEN.fullmatch(method):
        raise TableError.of('method', method, "a token, such as 'GET' or 'POST'")
    if method.upper() == 'CONNECT':
        raise TableError.of('method', method, 'a method with a path; for a tunnel use proxy')
    return method.upper()


def check_scheme(scheme: Any) -> str:
    if isinstance(scheme, str) and scheme.lower() in PORTS:
        return scheme.lower()
    raise TableError.of('scheme', scheme, "'http' or 'https'")


def check_port(port: Any) -> int:
    number = int(port) if isinstance(port, str) and re.fullmatch('[0-9]{1,5}', port) else port
    if isinstance(number, bool) or not isinstance(number, int) or not 1 <= number <= 65535:
        raise TableError.of('port', port, 'a number from 1 to 65535')
    return number


HOST = re.compile(r'[A-Za-z0-9._-]+')
IPV6 = re.compile(r'[0-9a-f.]*:[0-9a-f:.]+(?:%[A-Za-z0-9._~-]+)?')  # with a zone (RFC 6874 2)
# A host whose last label is a number is an IPv4 address (WHATWG URL, 3.5), and getaddrinfo reads
# 0x7f.1 as 127.0.0.1. Only the usual form is accepted, so that a check of the text is reliable.
NUMBER = re.compile(r'(?:.*\.)?(?:[0-9]+|0[xX][0-9A-Fa-f]*)\.?')
OCTET = '(?:25[0-5]|2[0-4][0-9]|1[0-9]{2}|[1-9]?[0-9])'
IPV4 = re.compile(rf'{OCTET}(?:\.{OCTET}){{3}}')


def check_host(host: Any) -> str:
    """Check a host and return its form on the wire: IDNA for names, IPv6 without brackets."""
    if not isinstance(host, str):
        raise TableError.of('host', host, 'a str')
    return _host(host)


@lru_cache(1024)
def _host(host: str) -> str:
    bare = host[1:-1] if re.fullmatch(r'\[.*:.*\]', host) else host
    try:
        raw = yarl.URL.build(scheme='http', host=bare, path='/').raw_host or ''
    except ValueError as error:
        raise TableError.of('host', host, 'an IP address or a name') from error
    if IPV6.fullmatch(raw):  # yarl has validated the address
        return raw
    labels = raw.removesuffix('.').split('.')
    if not HOST.fullmatch(raw) or len(raw) > 253 or not all(0 < len(one) < 64 for one in labels):
        raise TableError.of('host', host, 'an IP address or a name (labels of 1 to 63 characters)')
    if NUMBER.fullmatch(raw) and not IPV4.fullmatch(raw):
        right = 'an IP address or a name (what ends with a number is four of 0 to 255)'
        raise TableError.of('host', host, right)
    return raw


# What RFC 3986 allows in a path or a query is left unchanged; everything else is quoted.
ILLEGAL = re.compile(r"[^!$%&'()*+,\-./0-9:;=?@A-Z\[\]_a-z~]")


def quote_url(key: str, part: str) -> str:
    """Percent-encode the characters that a path or a query must not contain, and no others."""
    if not ILLEGAL.search(part):
        return str.__str__(part)  # a plain str: a subclass can override methods
    if CONTROL.search(part) or '\t' in part:
        raise TableError.of(key, part, 'free of control characters')
    try:
        return ILLEGAL.sub(_percent, part)
    except UnicodeEncodeError as error:
        raise TableError.of(key, part, 'text that UTF-8 can encode') from error


def _percent(found: re.Match[str]) -> str:
    return ''.join(f'%{byte:02X}' for byte in found[0].encode('utf-8', 'surrogateescape'))


def check_path(path: Any) -> str:
    if path == ASTERISK:
        return ASTERISK
    if not isinstance(path, str) or not path.startswith('/') or '?' in path or '#' in path:
        raise TableError.of('path', path, "a str that begins with '/' and has no '?' or '#'")
    return quote_url('path', path)


def check_query(query: Any) -> str:
    if not isinstance(query, str):
        return _encode_pairs('query', query)
    if '#' in query:
        raise TableError.of('query', query, "a str without '#' (written %23), or a table")
    return quote_url('query', query)


def _encode_pairs(key: str, table: Any) -> str:
    if isinstance(table, bytes | int | float):
        raise TableError.of(key, table, 'a mapping or pairs')
    return url.encode_pairs(key, table)


def has_login(text: str) -> bool:
    """Tell whether a URL may have a login where an error message does not hide it."""
    return '@' in re.sub(USERINFO, '', text)


ABSOLUTE = re.compile('[A-Za-z][A-Za-z0-9+.-]*://')


def check_url(value: Any) -> str:
    given = str(value) if isinstance(value, yarl.URL) else value
    if not isinstance(given, str):
        raise TableError.of('url', value, 'a str or a yarl.URL')
    if given == ASTERISK or given.startswith('/') or ABSOLUTE.match(given):
        return given
    hint = '; write http:// before a host' if re.match(r'\w', given) else ''
    right = f"'scheme://host/path' or '/path'{hint}"
    raise TableError.of('url', value, right, secret=has_login(given))


def check_seconds(key: str, value: Any) -> float | None:
    if value is None:
        return None
    if isinstance(value, bool) or not isinstance(value, int | float) or not 0 < value <= LONGEST:
        raise TableError.of(key, value, 'a number of seconds above 0, or None for no limit')
    return value


def check_timeout(timeout: Any) -> float | dict[str, float | None] | None:
    if not isinstance(timeout, Mapping):
        return check_seconds('timeout', timeout)
    for key in timeout:
        if key not in TIMEOUTS:
            raise TableError.unknown(key, TIMEOUTS)
    return {key: check_seconds(f'timeout.{key}', value) for key, value in timeout.items()}


def check_count(key: str) -> Callable[[Any], int]:
    def check(value: Any) -> int:
        if isinstance(value, bool) or not isinstance(value, int) or value < 0:
            raise TableError.of(key, value, 'an int of 0 or more')
        return value

    return check


def check_limit(key: str, limit: Any) -> Any:
    if limit is not None and check_count(key)(limit) == 0:
        raise TableError.of(key, limit, 'an int of 1 or more, or None for no limit')
    return limit


def check_handler(key: str, handler: Any) -> Any:
    if not callable(handler):
        raise TableError.of(key, handler, 'a function that takes a request table')
    return handler


def check_max_body(limit: Any) -> int | None:
    return None if limit is None else check_count('max_body')(limit)


def check_max_header(limit: Any) -> int:
    if check_count('max_header')(limit) == 0:
        raise TableError.of('max_header', limit, 'an int of 1 or more')
    return int(limit)


def check_into(into: Any, words: tuple[str, ...] = (*INTO, *STREAMS), also: str = '') -> Any:
    for known in words:
        if isinstance(into, str) and into == known:
            return known
    raise TableError.of('into', into, f'one of {", ".join(map(repr, words))}{also}')


def check_client_into(into: Any) -> Any:
    """Check the ``into`` of a request that a client sends, which may also be a path or events."""
    also = ', or a path such as pathlib.Path(...)'
    if not isinstance(into, PathLike):
        return check_into(into, (*INTO, *STREAMS, EVENTS), also)
    if not _is_path(into):
        raise TableError.of('into', into, 'a path without NUL')
    return into


def _is_path(path: Any) -> bool:
    try:
        data = fsencode(path)
    except UnicodeError:
        return False
    return bool(data) and b'\0' not in data


def check_check(check: Any) -> bool | list[int]:
    if isinstance(check, bool):
        return check
    many = isinstance(check, Collection) and not isinstance(check, str | bytes)
    if many and all(isinstance(status, int) for status in check):
        return sorted({int(status) for status in check})
    raise TableError.of('check', check, 'a bool, or a collection of the statuses to accept')


def check_auth(auth: Any) -> str:
    """Return the Authorization header for a user and a password (RFC 7617)."""
    match auth:
        case str() if ':' in auth:
            user, _, password = auth.partition(':')
        case (str(user), str(password)) if ':' not in user:
            pass
        case _:
            user = password = '\n'
    try:
        pair = f'{user}:{password}'.encode('utf-8', 'surrogateescape')
    except UnicodeEncodeError:
        pair = b'\n'
    if CONTROL.search(pair.decode('latin-1')):
        right = "(user, password) or 'user:password', the user without a colon"
        raise TableError.of('auth', auth, right, secret=True)
    return 'Basic ' + b64encode(pair).decode()


def check_userinfo(userinfo: str) -> str:
    """Return the Authorization header for the percent-encoded userinfo of a URL."""
    user, _, password = userinfo.partition(':')
    try:
        return check_auth(tuple(unquote(one, errors='surrogateescape') for one in (user, password)))
    except TableError as error:
        raise TableError(f'{error}; it is the login in the url') from error


def check_bearer(token: Any) -> str:
    if not isinstance(token, str) or not re.fullmatch('[!-~]+', token):
        raise TableError.of('bearer', token, 'a token without blanks', secret=True)
    return 'Bearer ' + token


def check_proxy(proxy: Any, key: str = 'proxy') -> str:
    """Check the URL of a proxy; errors call it ``key``."""
    given = str(proxy)
    try:
        quote_url(key, given)  # refuses characters that no URL may contain
        parts = url.split(given)
        check_scheme(parts.get('scheme'))
        check_host(parts.get('host'))
        check_port(parts.get('port') or PORTS['http'])
        check_userinfo(parts.get('userinfo', ''))
    except TableError as error:
        right = "a URL such as 'http://proxy:3128'"
        raise TableError.of(key, proxy, right, secret=has_login(given)) from error
    return given


def check_unix(path: Any) -> str:
    if not isinstance(path, str | PathLike) or not _is_path(path):
        raise TableError.of('unix', path, 'the path of a socket')
    return fsdecode(path)


def check_body(body: Any) -> str | bytes:
    if isinstance(body, str | bytes):
        return body
    if isinstance(body, bytearray | memoryview):
        return bytes(body)
    raise TableError.of('body', body, 'a str or bytes (for other values use json)')


def is_streamed(body: Any) -> bool:
    """Tell whether a body is an iterable of chunks, not one value."""
    return isinstance(body, AsyncIterable | Iterable) and not isinstance(body, WHOLE + JSON)


def check_response_body(body: Any) -> Any:
    """Check a response body: text, bytes, an iterable of chunks or the path of a file."""
    plain = isinstance(body, str | bytes)  # tested first: most bodies are, and it is fast
    return body if plain or isinstance(body, PathLike) or is_streamed(body) else check_body(body)


def check_request_body(body: Any) -> Any:
    """Check a request body: text, bytes, a path, a binary file or an iterable of chunks."""
    if isinstance(body, WHOLE):
        return check_body(body)
    if is_file(body):
        return check_file('body', body)
    if None in (getattr(body, 'gi_frame', 0), getattr(body, 'ag_frame', 0)):
        raise TableError.of('body', body, 'a generator that is not exhausted')
    if isinstance(body, PathLike | MultipartBody) or is_streamed(body):
        return body
    right = 'a str, bytes, a path, a binary file or an iterable of bytes'
    raise TableError.of('body', body, f'{right} (for other values use json)')


def check_events(events: Any) -> Chunks:
    if not isinstance(events, AsyncIterable | Iterator):
        raise TableError.of('events', events, "an iterator of tables such as {'data': 'x'}")
    return Chunks(events, encode_event)


# Made once: json.dumps makes one for each call with options.
ENCODER = json.JSONEncoder(allow_nan=False, separators=(',', ':'))


def check_json(value: Any) -> str:
    try:
        return ENCODER.encode(value)
    except (TypeError, ValueError, RecursionError) as error:
        raise TableError.of('json', value, f'a value that JSON can hold ({error})') from error


def check_form(form: Any) -> str:
    if isinstance(form, str):
        raise TableError.of('form', form, "a mapping or pairs (give an encoded form as 'body')")
    return _encode_pairs('form', form)


def check_flag(key: str) -> Callable[[Any], bool]:
    def check(value: Any) -> bool:
        if isinstance(value, bool):
            return value
        raise TableError.of(key, value, 'a bool')

    return check


def check_function(key: str, right: str) -> Callable[[Any], Any]:
    def check(value: Any) -> Any:
        if not callable(value):
            raise TableError.of(key, value, right)
        return value

    return check


def check_progress(value: Any, key: str = 'on_progress') -> Any:
    if isinstance(value, Mapping) and key == 'on_progress':
        return check_options(value, PROGRESS_CHECKS)
    if iscoroutinefunction(value):  # it would not be awaited
        raise TableError.of(key, value, 'a function that is not async')
    return check_function(key, 'a function of (done, total)')(value)


PROGRESS_CHECKS = {
    direction: partial(check_progress, key=f'on_progress[{direction}]')
    for direction in ('upload', 'download')
}


def progress_of(request: Mapping[str, Any], direction: str) -> Any:
    """Return the function to call with the progress of ``'upload'`` or ``'download'``, or None."""
    given = request.get('on_progress')
    return given.get(direction) if isinstance(given, dict) else given


def accept_any(value: Any) -> Any:
    return value


REQUEST_CHECKS: dict[str, Callable[[Any], Any]] = {
    'method': check_method,
    'url': check_url,
    'scheme': check_scheme,
    'host': check_host,
    'port': check_port,
    'path': check_path,
    'query': check_query,
    'headers': to_headers,
    'body': check_request_body,
    'json': check_json,
    'form': check_form,
    'multipart': encode_multipart,
    'timeout': check_timeout,
    'redirects': check_count('redirects'),
    'into': check_client_into,
    'resume': check_flag('resume'),
    'on_progress': check_progress,
    'max_body': check_max_body,
    'max_header': check_max_header,
    'check': check_check,
    'auth': check_auth,
    'bearer': check_bearer,
    'tls': check_tls,
    'proxy': check_proxy,
    'unix': check_unix,
    'ip': accept_any,
    'version': accept_any,
}


def check_received_body(body: Any) -> Any:
    """Check the body of a ``Request``, which may be any value that JSON decodes to, or a stream."""
    return bytes(body) if isinstance(body, bytearray | memoryview) else body


# For a ``Request``: a server may have converted its body to what ``into`` asks for.
REQUEST_OBJECT_CHECKS = REQUEST_CHECKS | {'body': check_received_body}


def check_status_to(highest: int) -> Callable[[Any], int]:
    def check(status: Any) -> int:
        if isinstance(status, bool) or not isinstance(status, int) or not 200 <= status <= highest:
            raise TableError.of('status', status, f'an int from 200 to {highest}')
        return int(status)

    return check


def check_reason(reason: Any) -> str:
    if not isinstance(reason, str) or CONTROL.search(reason):
        raise TableError.of('reason', reason, 'a str without control characters')
    return str.__str__(reason)  # a plain str: a subclass can override methods


def check_names(key: str, names: Any) -> list[str]:
    try:
        listed = [] if isinstance(names, str | Mapping) else list(names)
    except TypeError:
        listed = []
    if not listed or not all(isinstance(one, str) for one in listed):
        raise TableError.of(key, names, 'a non-empty list of str')
    return listed


def check_protocols(protocols: Any) -> list[str]:
    listed = check_names('protocols', protocols)
    if len(set(listed)) < len(listed) or not all(map(TOKEN.fullmatch, listed)):
        raise TableError.of('protocols', protocols, "tokens such as 'chat.v2', without duplicates")
    return listed


ORIGIN = re.compile('null|[A-Za-z][A-Za-z0-9+.-]*://[^/?#@]+')  # RFC 6454 6.2


def check_origins(origins: Any) -> list[str] | str:
    if origins == '*':
        return '*'
    listed = check_names('origins', origins)
    if not all(ORIGIN.fullmatch(one) for one in listed):
        raise TableError.of('origins', origins, "'*', or origins such as 'https://example.com'")
    return [one.lower() for one in listed]


# WebSocket options of both sides.
SOCKET_CHECKS: dict[str, Callable[[Any], Any]] = {
    'protocols': check_protocols,
    'heartbeat': lambda value: check_seconds('heartbeat', value),
    'max_message': lambda value: check_limit('max_message', value),
    'compress': check_flag('compress'),
}
# WebSocket options of a handler's response.
UPGRADE_CHECKS = {
    'callback': check_function('websocket', 'an async function that takes a Socket'),
    'origins': check_origins,
} | SOCKET_CHECKS


def check_options(given: Mapping[str, Any], checks: Mapping[str, Any]) -> dict[str, Any]:
    checked = {}
    for key, value in given.items():
        if key not in checks:
            raise TableError.unknown(key, checks)
        if value is not None or key in ('heartbeat', 'max_message'):
            checked[key] = checks[key](value)
    return checked


def check_websocket(value: Any) -> dict[str, Any]:
    given = value if isinstance(value, Mapping) else {'callback': value}
    if given.get('callback') is None:
        raise TableError("'callback' is missing in 'websocket'; give an async function")
    return check_options(given, UPGRADE_CHECKS)


RESPONSE_CHECKS: dict[str, Callable[[Any], Any]] = {
    'status': check_status_to(599),
    'headers': to_headers,
    'body': check_response_body,
    'json': check_json,
    'events': check_events,
    'reason': check_reason,
    'websocket': check_websocket,
    **dict.fromkeys(('version', 'url', 'method', 'ip', 'history'), accept_any),
}

# For a ``Response``: any status that a peer may send, and a body of any type, as JSON decodes to.
RESPONSE_OBJECT_CHECKS = RESPONSE_CHECKS | {'status': check_status_to(999), 'body': accept_any}


def check_switching(status: Any) -> int:
    if status != SWITCHING or isinstance(status, bool):
        raise TableError.of('status', status, "101 or absent when 'websocket' is given")
    return SWITCHING


# For a response that opens a WebSocket.
SWITCHING_CHECKS = RESPONSE_CHECKS | {'status': check_switching}


def is_accepted(status: int, check: bool | list[int]) -> bool:
    """Tell whether ``check`` accepts a status."""
    return status < 400 if check is True else check is False or status in check


def is_one_shot(body: Any) -> bool:
    """Tell whether a body can be sent only once.

    An iterable that is not an iterator can be sent again: it returns a new iterator each time.
    """
    if isinstance(body, MultipartBody):
        return any(map(is_one_shot, body.files))
    if is_file(body):
        return not can_rewind(body)
    return isinstance(body, AsyncIterator | Iterator)
