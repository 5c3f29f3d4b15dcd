"""Convert a request in normal form to aiohttp's arguments, and what was received to a response.

The bytes of a request body come from ``request_body``; ``response_body`` reads a response body.
"""

from __future__ import annotations

import re
from collections.abc import Awaitable, Callable, Mapping, Sequence
from functools import lru_cache, partial
from typing import Any, Protocol

import aiohttp
import yarl

from .. import url
from ..bodies import text
from ..bodies.codings import ACCEPT_ENCODING
from ..bodies.stream import Stream
from ..errors import Error, TableError
from ..headers import ONE_HOP, Headers, given_length, is_secret
from ..tables.checks import EVENTS, INTO, TIMEOUT, check_body, check_userinfo, progress_of
from ..tables.conversion import body_as, wire_body
from ..tables.models import Request, Response, SentRequest, bracketed
from ..tls import client_context
from .failures import BodyFailed, translate
from .request_body import SHORT, BodyDelivery, BodySource, BytesSource, source_of
from .response_body import ReadOptions, ReceivedResponse

__all__ = [
    'MAX_HEADER',
    'CookieStore',
    'add_cookies',
    'arguments_of',
    'body_of',
    'connection_arguments',
    'data_of',
    'headers_of',
    'needs_stream',
    'read_options_of',
    'response_of',
    'target_of',
    'try_with_source',
    'url_text',
    'with_bytes_source',
    'with_one_spelling',
    'write_timeout',
]

MAX_HEADER = 64 * 1024  # bytes of one header line of a response, and of its status line
READ = WRITE = 30.0  # seconds for one read or write of a body where the total does not run
LARGE = 1024 * 1024  # bytes from which a body is sent in pieces, so as not to block the loop
OWN = frozenset({*ONE_HOP, 'host'})  # headers that are not copied as they are
DEFAULTS = {'Accept': '*/*', 'Accept-Encoding': ACCEPT_ENCODING, 'User-Agent': 'aioluahttp'}


async def try_with_source(
    attempt: Callable[[Request], Awaitable[Response[Any]]], request: Request
) -> Response[Any]:
    """Open the body source of a request, if it has one, and make one attempt to send it."""
    source = source_of(request)
    if source is None:
        return await attempt(request)
    try:
        await source.open()
        return await attempt(request)
    except BaseException:
        await source.end()
        raise


def response_of(received: ReceivedResponse, body: Any, target: str, method: str) -> Response[Any]:
    """Make the response table of what was received, with ``body`` as its body."""
    major, minor = received.version or (1, 1)
    return Response(
        {
            'status': received.status,
            'reason': received.reason or '',
            'headers': received.headers,
            'body': body,
            'url': target,
            'method': method,
            'version': f'{major}.{minor}',
            'ip': received.peer,
            'history': [],
        }
    )


@lru_cache(256)
def target_of(scheme: str, host: str, port: int, url: str) -> yarl.URL:
    """Build the URL of a request from its origin and ``url``, its path and query."""
    # yarl drops a question mark with nothing behind it, unless it is part of the path.
    path, _, query = (url, '', '') if url.endswith('?') else url.partition('?')
    return yarl.URL.build(
        scheme=scheme,
        host=bracketed(host),
        port=port,
        path=path,
        query_string=query,
        encoded=True,
    )


@lru_cache(256)
def _timeout(connect: float | None, read: float | None) -> aiohttp.ClientTimeout:
    # The client enforces the total timeout itself, because redirects count in it too.
    return aiohttp.ClientTimeout(total=None, connect=connect, sock_read=read)


def arguments_of(
    request: Request, target: yarl.URL, max_header: int | None = MAX_HEADER
) -> dict[str, Any]:
    """Make aiohttp's arguments for a request: ``headers``, and ``data`` if there is a body.

    Args:
        request: In normal form.
        target: Its URL.
        max_header: The default of the key; ``None`` leaves the limit to the session.

    Returns:
        Those of ``connection_arguments``, too.
    """
    arguments = connection_arguments(request, max_header)
    arguments['headers'] = headers = headers_of(request, target)
    if 'body' in request:
        arguments['data'] = data_of(request, headers)
    if 'proxy' in request:
        arguments |= _proxy_arguments(request, headers)
    return arguments


def connection_arguments(request: Request, max_header: int | None = MAX_HEADER) -> dict[str, Any]:
    """Make aiohttp's arguments for a connection, of a request that may have none of its own.

    Returns:
        ``timeout``, ``max_line_size`` and ``max_field_size``, ``ssl``, ``server_hostname``.
    """
    timeout = request.get('timeout')
    limits: Mapping[str, Any] = timeout if isinstance(timeout, dict) else {}
    arguments: dict[str, Any] = {'timeout': _timeout(limits.get('connect'), limits.get('read'))}
    if longest := request.get('max_header', max_header):
        arguments['max_line_size'] = arguments['max_field_size'] = longest
    tls, name = request.get('tls'), None
    if tls is not None:
        arguments['ssl'] = client_context(tls)
        name = tls.get('server_name') if isinstance(tls, dict) else None
    if name or request['host'].endswith('.'):
        # Neither SNI (RFC 6066 3) nor a certificate has the dot; aiohttp sends it in a tunnel.
        arguments['server_hostname'] = (name or request['host']).rstrip('.')
    return arguments


class CookieStore(Protocol):
    """The cookies of a client, as a transport uses them."""

    def pairs(self, target: yarl.URL) -> list[tuple[str, str]]:
        """Return the names and values of the cookies to send to a URL, in their order."""
        ...

    def keep(self, fields: Sequence[str], target: yarl.URL) -> None:
        """Keep what the Set-Cookie headers of a response set."""
        ...


def add_cookies(
    headers: Headers, cookies: CookieStore | None, target: yarl.URL, *, by_session: bool = False
) -> None:
    """Add the cookies of a client to the Cookie header; they replace given ones of the same name.

    Args:
        headers: Of the request.
        cookies: None adds none.
        target: The URL of the request.
        by_session: Whether aiohttp encodes the headers. A cookie with bytes that are not UTF-8 is
            then left out, for aiohttp would send it without these.
    """
    if cookies is None or not (kept := cookies.pairs(target)):
        return
    names = {name for name, _ in kept}
    given = [one.strip(' \t') for one in ';'.join(headers.getall('Cookie', ())).split(';')]
    pairs = [pair for pair in given if pair and pair.partition('=')[0].strip() not in names]
    added = [f'{name}={value}' for name, value in kept]
    pairs += [pair for pair in added if not by_session or text.is_clean(pair)]
    if pairs:
        headers['Cookie'] = '; '.join(pairs)


def data_of(request: Request, headers: Headers) -> bytes | BodyDelivery:
    """Make the body of a request as it is sent; add its default Content-Type to ``headers``."""
    source = request['body']
    if not isinstance(source, BodySource):
        return wire_body(headers, source)
    headers.setdefault('Content-Type', source.content_type or 'application/octet-stream')
    length = given_length(request['headers'])
    if source.length is not None and length not in (None, source.length):
        right = f'{source.length}, the length of the file'
        raise TableError.of('headers[Content-Length]', length, right)
    # A copy, because headers are sent before the first chunk is encoded.
    encode = partial(_encode_header, headers.copy())
    size, seconds = source.length if length is None else length, write_timeout(request)
    return BodyDelivery(source, size, encode, progress_of(request, 'upload'), seconds)


def _encode_header(headers: Headers, chunk: Any) -> bytes:
    return wire_body(headers, check_body(chunk))


def with_bytes_source(request: Request) -> Request:
    """Replace a large ``str`` or ``bytes`` body by a source that gives it in pieces.

    With a write timeout, so is every body that may not fit a socket's send buffer.
    """
    body = request.get('body')
    if not isinstance(body, str | bytes) or len(body) <= SHORT / 4:  # at most 4 bytes a character
        return request
    most = LARGE - 1 if write_timeout(request) is None else SHORT
    if len(body) <= most / 4:
        return request
    headers = request['headers'].copy()
    headers.popall('Content-Length', None)  # it may be wrong, and is ignored as for a small body
    data = wire_body(headers, body)
    if len(data) <= most:
        return request
    return request | {'headers': headers, 'body': BytesSource(body, data)}


def headers_of(request: Request, target: yarl.URL) -> Headers:
    """Make the headers of a request as they are sent, without cookies and framing."""
    authority, host, given = (
        target.host_port_subcomponent or '',
        request['host'],
        request['headers'],
    )
    if host.endswith('.'):  # yarl leaves the dot out
        authority = host + authority[len(host) - 1 :]
    elif '%' in authority:  # the zone of an IPv6 address is this machine's own (RFC 6874 4)
        authority = re.sub('%[^]]*', '', authority)
    if not given:
        return _default_headers(authority).copy()
    if not ''.join(given.values()).isascii():
        _check_header_text(given)
    headers = Headers(Host=authority)
    if given.keys().isdisjoint(OWN):
        headers.extend(given)
    else:
        for name, value in given.items():
            if name.lower() == 'host':
                headers[name] = value
            elif name.lower() not in ONE_HOP:
                headers.add(name, value)
    for name, value in DEFAULTS.items():
        headers.setdefault(name, value)
    return headers


@lru_cache(256)
def _default_headers(authority: str) -> Headers:
    return Headers(Host=authority, **DEFAULTS)


def _check_header_text(headers: Headers) -> None:
    for name, value in headers.items():
        if not text.is_clean(value):  # aiohttp would drop what it cannot encode
            right = 'text that UTF-8 can encode'
            raise TableError.of(f'headers[{name}]', value, right, secret=is_secret(name))


def with_one_spelling(headers: Headers) -> Headers:
    """Spell a repeated header in one way: aiohttp loses one that is spelled in two."""
    spelling: dict[str, str] = {}
    return Headers(
        [(spelling.setdefault(name.lower(), name), value) for name, value in headers.items()]
    )


@lru_cache(256)
def url_text(target: yarl.URL) -> str:
    """Return a URL as text."""
    return str(target)


def _proxy_arguments(request: Request, headers: Headers) -> dict[str, Any]:
    parts = url.split(request['proxy'])
    userinfo = parts.pop('userinfo', None)
    arguments: dict[str, Any] = {'proxy': url.join(parts)}
    if userinfo:
        login = check_userinfo(userinfo)
        if request['scheme'] == 'https':  # the proxy reads the CONNECT alone
            arguments['proxy_headers'] = {'Proxy-Authorization': login}
        else:
            headers['Proxy-Authorization'] = login
    return arguments


def needs_stream(request: Request) -> bool:
    """Tell whether the response body is read in parts, if only to report progress."""
    if request.get('into', 'text') not in INTO:
        return True
    return 'on_progress' in request and progress_of(request, 'download') is not None


def read_options_of(request: Request, limit: int | None, *, early: bool = False) -> ReadOptions:
    """Make the options with which the response body is read as a stream.

    Args:
        request: In normal form.
        limit: Bytes of a body that is read whole; a streamed body has ``max_body`` as its limit.
        early: As in ``ReadOptions``.
    """
    into, timeout = request.get('into', 'text'), request.get('timeout', READ)
    whole = into in INTO
    default = None if whole or into == EVENTS else READ
    seconds = timeout.get('read', default) if isinstance(timeout, dict) else timeout and default
    limit = limit if whole else request.get('max_body')
    return ReadOptions(into == 'raw', limit, seconds, partial(_failed, request), early)


def write_timeout(request: Request) -> float | None:
    """Return the seconds in which the peer must take some more of the request body.

    It has a default where the total timeout does not run while a body is sent.
    """
    timeout = request.get('timeout', TIMEOUT)
    if timeout is None:
        return None
    limits: Mapping[str, Any] = timeout if isinstance(timeout, dict) else {}
    runs = request.get('into', 'text') in INTO and limits.get('total', TIMEOUT) is not None
    seconds: float | None = limits.get('write', None if runs else WRITE)
    return seconds


def _failed(request: Request, error: BaseException) -> Error | None:
    if isinstance(error, BodyFailed):
        raise error.error
    if source := source_of(request):
        request = request | {'body': source.body}
    if ours := translate(error, request, sent=True):
        ours.request = SentRequest(request)
    return ours


def body_of(request: Request, received: ReceivedResponse) -> Any:
    """Make the body of a response table: a stream, or the whole body as ``into`` says."""
    headers, data = received.headers, received.data
    if not isinstance(data, bytes):
        return Stream(data, headers.get('Content-Type'), decoded=data.decoded)
    return body_as(request.get('into', 'text'), received.status, headers, data)
