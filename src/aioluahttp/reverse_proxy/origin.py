"""The origin of a reverse proxy: its URL, and the overrides for requests sent on to it."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from os import PathLike
from typing import Any, NamedTuple, TypedDict

from ..errors import TableError
from ..headers import Headers, HeadersLike, as_cgi, to_headers
from ..tables.checks import SOCKET_CHECKS, check_options
from ..tables.conversion import to_request
from ..tables.models import Request
from ..tls import TlsLike
from ..types import TimeoutTable
from .hops import HOP, host_header, target_with_base, to_origin

__all__ = ['Origin', 'Overrides', 'check_origin', 'to_origin_request']

TIMEOUT: dict[str, float | None] = {  # seconds
    'total': None,
    'connect': 30.0,
    'read': 30.0,
    'write': 30.0,
}
MAX_MESSAGE = 64 * 1024 * 1024  # bytes


class Overrides(TypedDict, total=False):
    """The keys of a request table, and of a WebSocket, that may override those of the client."""

    headers: HeadersLike | None
    auth: tuple[str, str] | str | None
    bearer: str | None
    timeout: float | TimeoutTable | None
    max_body: int | None
    max_header: int | None
    tls: TlsLike | None
    unix: str | PathLike[str] | None
    max_message: int | None


class Origin(NamedTuple):
    """An origin, and the overrides for requests sent on to it.

    Attributes:
        table: A request in normal form for the base URL, with the overrides.
        host: Value of the Host header.
        base: The path that is put in front of each target.
        replaced: Names of headers that are not taken from the client, folded by ``as_cgi``.
        options: Options of WebSockets.
    """

    table: Request
    host: str
    base: str
    replaced: frozenset[str]
    options: dict[str, Any]


def check_origin(to: Any, overrides: Mapping[str, Any]) -> Origin:
    """Check the URL of an origin and the overrides.

    Raises:
        TableError: ``to`` is not the URL of an origin, or an override is wrong.
    """
    for key in overrides:
        if key not in Overrides.__annotations__:
            raise TableError.unknown(key, Overrides.__annotations__)
    if '?' in str(to) or '#' in str(to):
        raise TableError.of('to', to, "a URL without a query, such as 'http://backend:9000'")
    given = {key: one for key, one in overrides.items() if key not in SOCKET_CHECKS}
    pairs = _pairs(given.get('headers'))
    table = to_request({**given, 'url': to, 'headers': pairs, 'into': 'raw'})
    replacing = table['headers']
    names = {*replacing, *(name for name, _ in pairs)}
    hosts = replacing.popall('Host', ()) or [
        host_header(table['scheme'], table['host'], table['port'])
    ]
    if len(hosts) > 1:
        raise TableError.of('headers[Host]', hosts, 'one value')
    table['headers'] = Headers([pair for pair in replacing.items() if as_cgi(pair[0]) not in HOP])
    table['timeout'] = _with_defaults(table.get('timeout', TIMEOUT))
    options = {key: one for key, one in overrides.items() if key in SOCKET_CHECKS}
    return Origin(
        table,
        hosts[0],
        table['path'].removesuffix('/'),
        frozenset(map(as_cgi, names)),
        {'max_message': MAX_MESSAGE} | check_options(options, SOCKET_CHECKS),
    )


def _pairs(headers: Any) -> list[Any]:
    pairs = headers.items() if isinstance(headers, Mapping) else headers
    if isinstance(pairs, Iterable):
        return list(pairs)
    to_headers(pairs)  # raises TableError, except for None
    return []


def _with_defaults(timeout: Any) -> dict[str, float | None]:
    """Fill in a timeout; without a total, bodies may take as long as they make progress."""
    if timeout is None:
        return dict.fromkeys(TIMEOUT)
    return TIMEOUT | (timeout if isinstance(timeout, dict) else {'total': timeout})


def to_origin_request(request: Request, origin: Origin) -> Request:
    """Return the request for the origin, without its body."""
    url = target_with_base(request['method'], request.get('url'), origin.base)
    kept = to_origin(request, origin.replaced)
    sent = Request(origin.table)
    sent['method'] = request['method']
    sent['url'] = url
    sent['path'] = url.partition('?')[0]
    sent['headers'] = Headers([('Host', origin.host), *kept, *origin.table['headers'].items()])
    return sent
