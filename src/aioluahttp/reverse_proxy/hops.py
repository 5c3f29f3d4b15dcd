"""What of a message goes on to the next hop, and what a relay says of its own (RFC 9110 7.6)."""

from __future__ import annotations

import ipaddress
import re
from collections.abc import Iterator
from functools import lru_cache
from typing import Any

from ..errors import ProtocolError, TableError
from ..headers import ONE_HOP, Headers, listed, to_headers
from ..tables.checks import PORTS, WHOLE_SERVER, check_host, check_port, check_scheme
from ..tables.models import Request
from ..websockets.handshake import refusal_status

__all__ = [
    'announced_length',
    'as_cgi',
    'asks_websocket',
    'count_via',
    'forwarded_headers',
    'hops_left',
    'host_header',
    'target_with_base',
    'to_client',
    'to_origin',
]

NAME = 'aioluahttp'

# HTTP2-Settings is a part of an Upgrade to h2c.
HOP = ONE_HOP | {'http2-settings'}
# What a client may not say to the origin, for it is believed there. CGI makes HTTP_PROXY of Proxy,
# which some take for the proxy that they are to use.
CLAIMS = frozenset({'forwarded', 'host', 'proxy', 'x-real-ip'})

TARGET = re.compile('/[!"$-~]*')  # what the server's parser lets pass
NUMBER = re.compile('[0-9]{1,18}')


@lru_cache(256)
def as_cgi(name: str) -> str:
    """Give a name as CGI and WSGI tell it from others: X_Forwarded_For is X-Forwarded-For."""
    return name.lower().replace('_', '-')


def end_to_end(headers: Headers) -> Iterator[tuple[str, str]]:
    """Leave out what belongs to one connection, and what Connection says does (RFC 9110 7.6.1)."""
    hop = HOP.union(map(as_cgi, listed(headers, 'Connection')))
    return (pair for pair in headers.items() if as_cgi(pair[0]) not in hop)


def count_via(headers: Headers) -> int:
    """Count the relays of this kind that a request has passed (RFC 9110 7.6.3)."""
    return sum(by.split()[1:2] == [NAME] for by in listed(headers, 'Via'))


def hops_left(request: Request) -> int | None:
    """Give how often a request may still be sent on; None for any number (RFC 9110 7.6.2)."""
    given = request['headers'].get('Max-Forwards', '')
    return int(given) if request['method'] == 'OPTIONS' and NUMBER.fullmatch(given) else None


def asks_websocket(request: Request) -> bool:
    """Tell whether a request asks for a WebSocket that may be, and for no other protocol."""
    headers = request['headers']
    options = [one.lower() for one in listed(headers, 'Connection')]
    upgrades = [one.lower() for one in listed(headers, 'Upgrade')]
    return (
        request.get('version') != '1.0'
        and 'upgrade' in options
        and upgrades == ['websocket']
        and request.get('body') is None
        and refusal_status({'origins': '*'}, request, upgrades=True) is None
    )


def target_with_base(method: str, url: Any, base: str) -> str:
    """Put a base in front of the target of a request, of which no byte changes.

    Raises:
        TableError: It is no path; that of a request from a network is one.
    """
    if url == WHOLE_SERVER and method == 'OPTIONS':
        return base or url
    if not isinstance(url, str) or not TARGET.fullmatch(url):
        raise TableError.of('url', url, "what a server gives: a path, and a query behind a '?'")
    return base + url


def to_origin(request: Request) -> Headers:
    """Make the headers that go to the origin of those of a client, but for Host and framing.

    What the client says of who it is, and of what it asked, gives way to what the server knows.
    """
    kept = Headers(
        [
            (name, value)
            for name, value in end_to_end(request['headers'])
            if as_cgi(name) not in CLAIMS and not as_cgi(name).startswith('x-forwarded-')
        ]
    )
    left = hops_left(request)
    if left is not None:
        kept['Max-Forwards'] = str(left - 1)
    kept.add('Via', f'{"1.0" if request.get("version") == "1.0" else "1.1"} {NAME}')
    kept.extend(forwarded_headers(request))
    return kept


def forwarded_headers(request: Request) -> list[tuple[str, str]]:
    """Say who asked, and for what, in both ways that there are (RFC 7239, and X-Forwarded-*)."""
    ip = address_of(request.get('ip') or '')
    scheme = check_scheme(request.get('scheme') or 'http')
    fields = [('X-Forwarded-For', ip)] if ip else []
    fields.append(('X-Forwarded-Proto', scheme))
    node = f'"[{ip}]"' if ip and ':' in ip else ip or 'unknown'  # RFC 7239 6.2, 6.3
    forwarded = f'for={node};proto={scheme}'
    if request.get('host'):
        asked = host_header(scheme, request['host'], request.get('port'))
        fields.append(('X-Forwarded-Host', asked))
        forwarded += f';host="{asked}"'
    return [*fields, ('Forwarded', forwarded)]


@lru_cache(1024)
def address_of(text: str) -> str | None:
    try:
        return str(ipaddress.ip_address(text))
    except ValueError:
        return None


def host_header(scheme: str, host: Any, port: Any) -> str:
    """Write a host and a port as Host does; the port of the scheme is left out."""
    name = check_host(host)
    number = PORTS[scheme] if port is None else check_port(port)
    bare = f'[{name}]' if ':' in name else name
    return bare if number == PORTS[scheme] else f'{bare}:{number}'


def announced_length(headers: Headers) -> int | None:
    """Give the length that the headers of a request say its body has; None for chunks.

    Raises:
        TableError: It is none; that of a request from a network is one.
    """
    given = headers.getall('Content-Length', ())
    if 'Transfer-Encoding' in headers or not given:
        return None
    number = given[0].lstrip('0') or given[0][-1:]  # the zeros may be thousands
    if len(given) > 1 or not NUMBER.fullmatch(number):
        raise TableError.of('headers[Content-Length]', given[0], 'a number of bytes')
    return int(number)


def to_client(version: str, given: Headers) -> Headers:
    """Make the headers that go to the client of those of the origin.

    Raises:
        ProtocolError: There are some that no answer may have, or its end cannot be told for sure.
    """
    try:
        headers = to_headers(given)
    except TableError as error:
        raise ProtocolError(f'the origin sent a header that is none: {error}') from error
    coding = ','.join(headers.getall('Transfer-Encoding', ()))
    lengths = headers.getall('Content-Length', ())
    # RFC 9112 6.1: HTTP/1.0 has no codings, and of those that there are we asked for none.
    if coding and (version == '1.0' or coding.lower() != 'chunked' or lengths):
        raise ProtocolError('the origin sent its body in a coding that nobody asked for')
    if lengths and (len(lengths) > 1 or not NUMBER.fullmatch(lengths[0])):
        raise ProtocolError('the origin sent a length that is none')
    kept = Headers(end_to_end(headers))
    if lengths:
        kept['Content-Length'] = lengths[0]
    return kept
