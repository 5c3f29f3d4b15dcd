"""A request in normal form made what goes over the wire, and what comes back a response."""

from __future__ import annotations

from collections.abc import Awaitable, Callable, Mapping
from functools import lru_cache, partial
from typing import Any

import aiohttp
import yarl

from .. import url
from ..bodies import text
from ..bodies.codings import ACCEPT_ENCODING
from ..bodies.stream import Stream
from ..errors import Error, TableError
from ..headers import ONE_HOP, Headers, given_length, is_secret
from ..tables.checks import EVENTS, check_body, check_userinfo
from ..tables.conversion import wire_body
from ..tables.models import Request, Response, SentRequest
from ..tls import client_context
from .failures import translate
from .into import body_as, is_whole
from .request_body import BodyDelivery, BytesSource, source_of
from .response_body import ReadOptions, ReceivedResponse

__all__ = [
    'MAX_BODY',
    'arguments_of',
    'body_of',
    'connection_arguments',
    'read_options_of',
    'response_of',
    'target_of',
    'try_with_source',
    'with_bytes_source',
]

MAX_BODY = 64 * 1024 * 1024
READ = 30.0  # seconds for one read of a body that comes as it is read
LARGE = 1024 * 1024  # bytes from which a body goes out piece by piece, so as not to block
DEFAULTS = {'Accept': '*/*', 'Accept-Encoding': ACCEPT_ENCODING, 'User-Agent': 'aioluahttp'}


async def try_with_source(
    attempt: Callable[[Request], Awaitable[Response[Any]]], request: Request
) -> Response[Any]:
    """Make one try, with what its body is drawn from ready for it.

    Raises:
        Exception: What drawing from it raised, if that is what ended the try.
    """
    supply = source_of(request)
    if supply is None:
        return await attempt(request)
    try:
        await supply.open()
        return await attempt(request)
    except BaseException as error:
        await supply.end()
        if supply.error is None or not isinstance(error, Exception):
            raise
        mistake: Exception = supply.error
    raise mistake  # here, or what it was raised from would be another


def response_of(answer: ReceivedResponse, body: Any, target: str, method: str) -> Response[Any]:
    """Make the table of an answer, once what its body is to be is known."""
    return Response(
        {
            'status': answer.status,
            'reason': answer.reason or '',
            'headers': answer.headers,
            'body': body,
            'url': target,
            'method': method,
            'version': '{}.{}'.format(*(answer.version or (1, 1))),
            'ip': answer.peer,
            'history': [],
        }
    )


@lru_cache(256)
def target_of(scheme: str, host: str, port: int, url: str) -> yarl.URL:
    """Make the URL that a request goes to, of which ``url`` is the path and query."""
    # As the path, path and query go out as they are; yarl would drop a lone question mark.
    path, _, query = (url, '', '') if url.endswith('?') else url.partition('?')
    return yarl.URL.build(
        scheme=scheme,
        host=f'[{host}]' if ':' in host else host,
        port=port,
        path=path,
        query_string=query,
        encoded=True,
    )


@lru_cache(256)
def _timeout(connect: float | None, read: float | None) -> aiohttp.ClientTimeout:
    # The total is the client's own, over redirects too.
    return aiohttp.ClientTimeout(total=None, connect=connect, sock_read=read)


def arguments_of(request: Request, target: yarl.URL) -> dict[str, Any]:
    """Give what aiohttp has to know of a request: ``headers``, ``timeout``, and ``data`` if any."""
    headers = _headers(request, target)
    arguments: dict[str, Any] = {'headers': headers, **connection_arguments(request)}
    if 'body' in request:
        arguments['data'] = _data(request, headers)
    for name, value in DEFAULTS.items():
        headers.setdefault(name, value)
    if 'proxy' in request:
        arguments |= _proxy_arguments(request, headers)
    return arguments


def connection_arguments(request: Request) -> dict[str, Any]:
    """Give what aiohttp has to know of how an origin is reached."""
    timeout = request.get('timeout')
    limits: Mapping[str, Any] = timeout if isinstance(timeout, Mapping) else {}
    arguments: dict[str, Any] = {'timeout': _timeout(limits.get('connect'), limits.get('read'))}
    if 'tls' in request:
        arguments['ssl'] = client_context(request['tls'])
        if isinstance(request['tls'], dict):
            arguments['server_hostname'] = request['tls'].get('server_name')
    return arguments


def _data(request: Request, headers: Headers) -> bytes | BodyDelivery:
    """Give what goes out as the body; ``headers`` get the Content-Type that it has by default."""
    progress = request.get('on_progress')
    supply = source_of(request)
    if supply is None:
        return wire_body(headers, request['body'])
    headers.setdefault('Content-Type', supply.kind or 'application/octet-stream')
    length = given_length(request['headers'])
    if supply.length is not None and length not in (None, supply.length):
        raise TableError.of('headers[Content-Length]', length, f'{supply.length}, as the file has')
    # What it adds to headers comes too late.
    encode = partial(_encode_header, headers.copy())
    return BodyDelivery(supply, supply.length if length is None else length, encode, progress)


def _encode_header(headers: Headers, chunk: Any) -> bytes:
    return wire_body(headers, check_body(chunk))


def with_bytes_source(request: Request) -> Request:
    """Give a large body piece by piece, where it is there whole."""
    body = request.get('body')
    if not isinstance(body, str | bytes) or len(body) < LARGE / 4:  # bytes of a character
        return request
    headers = request['headers'].copy()
    headers.popall('Content-Length', None)  # it may be wrong, as for any other that is whole
    data = wire_body(headers, body)
    if len(data) < LARGE:
        return request
    return request | {'headers': headers, 'body': BytesSource(body, data)}


def _headers(request: Request, target: yarl.URL) -> Headers:
    spelling: dict[str, str] = {}  # aiohttp keeps a repeated header only under one spelling
    kept = Headers(Host=target.host_port_subcomponent or '')
    for name, value in request['headers'].items():
        lower = name.lower()
        if not text.is_clean(value):  # aiohttp would leave out what it cannot encode
            right = 'text in UTF-8 to be sent'
            raise TableError.of(f'headers[{name}]', value, right, secret=is_secret(name))
        if lower == 'host':
            kept[name] = value
        elif lower not in ONE_HOP:
            kept.add(spelling.setdefault(lower, name), value)
    return kept


def _proxy_arguments(request: Request, headers: Headers) -> dict[str, Any]:
    parts = url.split(request['proxy'])
    userinfo = parts.pop('userinfo', None)
    arguments: dict[str, Any] = {'proxy': url.join(parts)}
    if userinfo:
        login = check_userinfo(userinfo)
        if request['scheme'] == 'https':  # the proxy reads no more than the CONNECT
            arguments['proxy_headers'] = {'Proxy-Authorization': login}
        else:
            headers['Proxy-Authorization'] = login
    return arguments


def read_options_of(request: Request, limit: int | None) -> ReadOptions:
    """Give the terms on which the answer to a request is read as it comes.

    Args:
        limit: For one that is to be whole in the end.
    """
    into, timeout = request.get('into', 'text'), request.get('timeout', READ)
    whole = is_whole(into)
    default = None if whole or into == EVENTS else READ
    seconds = timeout.get('read', default) if isinstance(timeout, Mapping) else timeout and default
    limit = limit if whole else request.get('max_body')
    return ReadOptions(into == 'raw', limit, seconds, partial(_failed, request))


def _failed(request: Request, error: BaseException) -> Error | None:
    if supply := source_of(request):
        if supply.error:
            raise supply.error
        request = request | {'body': supply.body}
    if ours := translate(error, request, sent=True):
        ours.request = SentRequest(request)
    return ours


def body_of(request: Request, answer: ReceivedResponse) -> Any:
    headers, data = answer.headers, answer.data
    if not isinstance(data, bytes):
        return Stream(data, headers.get('Content-Type'), decoded=data.decoded)
    return body_as(request.get('into', 'text'), answer.status, headers, data)
