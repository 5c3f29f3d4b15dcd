"""Headers and targets of forwarded messages, as pure functions (RFC 9110 7.6).

Hop-by-hop headers are removed, and Via, Forwarded and X-Forwarded-* added.
"""

from __future__ import annotations

import ipaddress
import re
from functools import lru_cache
from typing import Any

from ..errors import ProtocolError, Refused, TableError
from ..exchange.head import check_served_host
from ..headers import NUMBER, ONE_HOP, Headers, as_cgi, is_plain, list_items, to_headers
from ..tables.checks import ASTERISK, PORTS, check_port, check_scheme
from ..tables.models import Request, bracketed
from ..websockets.handshake import check_handshake, wants_websocket

__all__ = [
    'announced_length',
    'asks_websocket',
    'count_via',
    'forwarded_headers',
    'hops_left',
    'host_header',
    'target_with_base',
    'to_client',
    'to_origin',
]

NAME = 'aioluahttp'  # in Via
VIA_10, VIA_11 = ('Via', f'1.0 {NAME}'), ('Via', f'1.1 {NAME}')

# HTTP2-Settings belongs to an Upgrade to h2c.
HOP = ONE_HOP | {'http2-settings'}
# Headers that a client may not send to the origin, which would trust them. CGI turns Proxy into
# HTTP_PROXY, which some programs take for the proxy that they have to use (httpoxy).
CLAIMS = frozenset({'forwarded', 'host', 'proxy', 'x-real-ip'})

TARGET = re.compile('/[!"$-~]*')  # what the server's parser accepts


@lru_cache(256)
def _passes(name: str) -> bool:
    """Tell whether the header of a client is for the origin, unless Connection lists it."""
    folded = as_cgi(name)
    return not (folded in HOP or folded in CLAIMS or folded.startswith('x-forwarded-'))


def _hop_names(headers: Headers) -> frozenset[str]:
    """Return the folded names that Connection lists as hop-by-hop (RFC 9110 7.6.1)."""
    if 'Connection' not in headers:
        return frozenset()
    return frozenset(map(as_cgi, list_items(headers, 'Connection')))


def count_via(headers: Headers) -> int:
    """Count the aioluahttp relays in the Via of a request (RFC 9110 7.6.3)."""
    if 'Via' not in headers:
        return 0
    return sum(by.split()[1:2] == [NAME] for by in list_items(headers, 'Via'))


def hops_left(request: Request) -> int | None:
    """Return Max-Forwards of an OPTIONS request; None is no limit (RFC 9110 7.6.2)."""
    if request['method'] != 'OPTIONS':
        return None
    given = request['headers'].get('Max-Forwards', '')
    return int(given) if NUMBER.fullmatch(given) else None


def asks_websocket(request: Request) -> bool:
    """Tell whether a request is a valid WebSocket handshake."""
    return (
        'Upgrade' in request['headers']
        and request.get('version') != '1.0'
        and wants_websocket(request['headers'])
        and request.get('body') is None
        and check_handshake({'origins': '*'}, request, upgrades=True) is None
    )


def target_with_base(method: str, url: Any, base: str) -> str:
    """Return the target of a request with a base path in front; its bytes are unchanged.

    Raises:
        TableError: The target is not a path. A server's request always has one.
    """
    if url == ASTERISK and method == 'OPTIONS':
        return base or url
    if not isinstance(url, str) or not TARGET.fullmatch(url):
        raise TableError.of('url', url, "a path as in a server's request, such as '/a?b'")
    return base + url


def to_origin(request: Request, replaced: frozenset[str]) -> list[tuple[str, str]]:
    """Return the headers for the origin from a client's request, without Host and framing.

    Forwarded, X-Forwarded-* and X-Real-IP of the client are dropped; the first two are made anew.

    Args:
        request: Of the client.
        replaced: Folded names of headers that are left out.
    """
    headers, left = request['headers'], hops_left(request)
    dropped = replaced | _hop_names(headers)
    if left is not None:
        dropped |= {'max-forwards'}
    kept = [pair for pair in headers.items() if _passes(pair[0])]
    if dropped:
        kept = [pair for pair in kept if as_cgi(pair[0]) not in dropped]
    added = [VIA_10 if request.get('version') == '1.0' else VIA_11, *forwarded_headers(request)]
    if left is not None:
        added.append(('Max-Forwards', str(left - 1)))
    if replaced:
        added = [pair for pair in added if as_cgi(pair[0]) not in replaced]
    return kept + added


def forwarded_headers(request: Request) -> tuple[tuple[str, str], ...]:
    """Return X-Forwarded-* and Forwarded (RFC 7239) for the client and URL of a request."""
    given, scheme = request.get('ip') or '', request.get('scheme') or 'http'
    if not isinstance(given, str):
        raise TableError.of('ip', given, 'an IP address as a str')
    host, port = request.get('host') or '', request.get('port')
    if type(given) is type(scheme) is type(host) is str and type(port) is int:
        return _client_fields(given, scheme, host, port)
    # What a user wrote may have no hash.
    return _client_fields.__wrapped__(given, scheme, host, port)


@lru_cache(256)
def _client_fields(given: str, scheme: Any, host: Any, port: Any) -> tuple[tuple[str, str], ...]:
    ip = address_of(given)
    scheme = check_scheme(scheme)
    fields = [('X-Forwarded-For', ip)] if ip else []
    fields.append(('X-Forwarded-Proto', scheme))
    node = f'"[{ip}]"' if ip and ':' in ip else ip or 'unknown'  # RFC 7239 6.2, 6.3
    forwarded = f'for={node};proto={scheme}'
    if host:
        host = host_header(scheme, host, port)
        fields.append(('X-Forwarded-Host', host))
        forwarded += f';host="{host}"'
    return *fields, ('Forwarded', forwarded)


def address_of(text: str) -> str | None:
    try:
        return str(ipaddress.ip_address(text))
    except ValueError:
        return None


def host_header(scheme: str, host: Any, port: Any) -> str:
    """Return the Host header for a host and a port; the default port is left out."""
    # The zone of an IPv6 address means something on this machine alone (RFC 6874 4).
    name = check_served_host(host)
    name = bracketed(name.partition('%')[0]) if ':' in name else name
    if ',' in name or ';' in name:  # would be split by what reads Forwarded carelessly
        error = TableError.of('host', host, 'a host without commas and semicolons')
        raise error from Refused(400)
    number = PORTS[scheme] if port is None else check_port(port)
    return name if number == PORTS[scheme] else f'{name}:{number}'


def announced_length(headers: Headers) -> int | None:
    """Return Content-Length in bytes; None without one, or for chunks.

    Raises:
        TableError: It is not one number of bytes. A server's request never has such a one.
    """
    given = headers.getall('Content-Length', ())
    if 'Transfer-Encoding' in headers or not given:
        return None
    number = given[0].lstrip('0') or given[0][-1:]  # there may be thousands of zeros
    if len(given) > 1 or not NUMBER.fullmatch(number):
        raise TableError.of('headers[Content-Length]', given[0], 'a number of bytes')
    return int(number)


def to_client(version: str, given: Headers) -> Headers:
    """Turn the headers of the origin's response into those for the client.

    Args:
        version: Of the response.
        given: Is changed: its hop-by-hop headers are dropped.

    Returns:
        ``given``, noted as checked, or a checked copy if values had to be changed.

    Raises:
        ProtocolError: A header is invalid, or the end of the body is ambiguous.
    """
    coding = ','.join(given.getall('Transfer-Encoding', ()))
    lengths = given.getall('Content-Length', ())
    # RFC 9112 6.1: HTTP/1.0 has no codings. Without TE, an origin may only send chunked.
    if coding and (version == '1.0' or coding.lower() != 'chunked' or lengths):
        what = 'other than chunked, beside Content-Length, or in HTTP/1.0'
        raise ProtocolError(f'the origin sent a Transfer-Encoding {what}')
    if lengths and (len(lengths) > 1 or not NUMBER.fullmatch(lengths[0])):
        raise ProtocolError('the origin sent a Content-Length that is not one number of bytes')
    listed = _hop_names(given)
    for name in [name for name in given if as_cgi(name) in HOP or as_cgi(name) in listed]:
        if name.lower() != 'content-length':
            given.popall(name, None)
    try:
        return given if is_plain(given) else to_headers(given)
    except TableError as error:
        raise ProtocolError(f'the origin sent an invalid header: {error}') from error
