"""Turn the head of a request into a table, for every engine (RFC 9112 3)."""

from __future__ import annotations

import re
from collections.abc import Mapping
from functools import lru_cache
from typing import Any, Protocol

from .. import url
from ..errors import Refused, TableError
from ..headers import Headers
from ..tables.checks import NUMBER, PORTS, check_host, check_port
from ..tables.models import Request
from .forwarded import NO_PROXIES, ClientInfo, Proxies, client_info

__all__ = ['Head', 'check_served_host', 'client_of', 'to_head']

REG_NAME = re.compile(r"(?:[\w.~!$&'()*+,;=-]|%[0-9A-Fa-f]{2})+", re.ASCII)  # RFC 3986 3.2.2


class Head(Protocol):
    """What ``to_head`` needs of an engine beside the head itself."""

    @property
    def sockname(self) -> Any:
        """Address of this server: a tuple of host and port, or something else on a Unix socket."""


def to_head(
    method: str,
    target: str,
    version: str,
    headers: Headers,
    asked: ClientInfo,
    scheme: str,
    read: Head,
) -> Request:
    """Make the table of a request, without its body.

    Args:
        asked: Address of the client; scheme and host if a trusted proxy gave them.
        scheme: Scheme of the connection; that of an absolute target is ignored.
        read: Where the head was read from.

    Raises:
        Refused: RFC 9112 3.2 does not allow the request line or Host.
    """
    if method == 'CONNECT':
        raise Refused(501)
    if target[:1] != '/' or '#' in target:
        target = _origin_form(target, method, headers)
    path, _, query = target.partition('?')
    scheme = asked.scheme or scheme
    host, port = _host_and_port(read, asked.host or headers.get('Host'))
    request = Request(
        method=method,
        url=target,
        scheme=scheme,
        host=host,
        port=port or PORTS[scheme],
        path=path,
        query=query,
        headers=headers,
        version=version,
    )
    if asked.ip:
        request['ip'] = asked.ip
    return request


def client_of(peer: str | None, headers: Headers, proxies: Proxies) -> ClientInfo:
    """Find the client of a request, with ``client_info``.

    Raises:
        Refused: Forwarded is malformed, or contradicts X-Forwarded-For.
    """
    if proxies is NO_PROXIES:
        return ClientInfo(peer)
    try:
        return client_info(peer, headers, proxies)
    except ValueError as error:
        raise Refused(400) from error


def _origin_form(target: str, method: str, headers: Headers) -> str:
    """Reduce the target to origin-form; the authority of an absolute target becomes Host."""
    if '#' in target:
        raise Refused(400)
    if target == '*' and method == 'OPTIONS':
        return target
    parts = url.split(target)
    if parts.get('scheme', '').lower() not in PORTS or not parts.get('host'):
        raise Refused(400)
    port = f':{parts["port"]}' if parts.get('port') else ''
    headers['Host'] = parts['host'] + port
    return parts.get('path', '/') + (f'?{parts["query"]}' if 'query' in parts else '')


def _host_and_port(read: Head, host: str | None) -> tuple[str, int | None]:
    """Return the host and port that the request was sent to (RFC 9112 3.2)."""
    # The engine checks that there is exactly one Host; HTTP/1.0 may have none.
    if host:
        try:
            return _authority(host)
        except TableError as error:
            raise Refused(400) from error
    name = read.sockname
    return name[:2] if isinstance(name, tuple) else ('localhost', None)


@lru_cache(1024)
def _authority(value: str) -> tuple[str, int | None]:
    parts: Mapping[str, str] = url.split('//' + value)
    if not parts.keys() <= {'host', 'port'}:
        raise TableError.of('host', value, 'a host and a port')
    port = check_port(parts['port']) if parts.get('port') else None
    return check_served_host(parts['host']), port


def check_served_host(host: Any) -> str:
    """Check a host that a request was sent to. It may be a name that no request can be sent to.

    Raises:
        TableError: It is neither an IP address nor a name (RFC 3986 3.2.2), or ends with a number.
    """
    try:
        return check_host(host)
    except TableError:
        name = host if isinstance(host, str) and not NUMBER.fullmatch(host) else ''
        if not REG_NAME.fullmatch(name):
            raise
        return name.lower()
