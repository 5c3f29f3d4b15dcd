"""Who asked, and for what, where trusted proxies say it (RFC 7239, and X-Forwarded-*)."""

from __future__ import annotations

import ipaddress
import re
from collections.abc import Iterable
from functools import lru_cache
from typing import Any, NamedTuple

from ..errors import TableError
from ..headers import Headers

__all__ = ['NO_PROXIES', 'ClientInfo', 'Proxies', 'check_trusted_proxies', 'client_info']

Address = ipaddress.IPv4Address | ipaddress.IPv6Address

# RFC 7239 4: elements parted by commas, each of pairs parted by semicolons, but not in quotes.
ELEMENT = re.compile(r'(?:[^",]|"(?:[^"\\]|\\.)*+")++')
PAIR = re.compile(r'(?:[^";]|"(?:[^"\\]|\\.)*+")++')
# Looked for first: from each quote that nothing closes the two above would search to the end.
CLOSED = re.compile(r'(?:[^"]|"(?:[^"\\]|\\.)*+")*+')
PARAMETER = re.compile(r'([!#$%&\'*+.^`|~\w-]++)=(?:"((?:[^"\\]|\\.)*+)"|([^\s"]++))')
# An address in brackets, or with a port, which may be a hidden one (RFC 7239 6.3).
NODE = re.compile(r'\[(.+)\](?::[\w.-]+)?|([^:]+):[\w.-]+')
SCHEMES = {'http': 'http', 'https': 'https', 'ws': 'http', 'wss': 'https'}


class Proxies:
    """The proxies that are believed: networks, and whoever reaches a Unix socket."""

    def __init__(self, networks: Iterable[Any] = (), *, unix: bool = False) -> None:
        self.networks: tuple[Any, ...] = tuple(networks)
        self.unix = unix

    def trust(self, ip: str | None) -> bool:
        """Tell whether a peer is one of them; ``None`` is the peer of a Unix socket."""
        address = None if ip is None else _address(ip)
        if address is None:
            return self.unix and ip is None
        return any(address in network for network in self.networks)


NO_PROXIES = Proxies()


def check_trusted_proxies(given: Any) -> Proxies:
    """Read addresses and networks, such as ``('10.0.0.0/8', '::1', 'unix')``.

    Raises:
        TableError: One of them is neither, or a network has bits set behind its mask.
    """
    right = "addresses or networks, such as ['10.0.0.0/8', '::1'], or 'unix'"
    if isinstance(given, str | bytes) or not isinstance(given, Iterable):
        raise TableError.of('trusted_proxies', given, f'a list of {right}')
    networks = []
    names = list(given)
    for name in names:
        # An int, too, is an address to ipaddress.
        if not isinstance(name, str):
            raise TableError.of('trusted_proxies', name, right)
        try:
            networks += [] if name == 'unix' else [ipaddress.ip_network(name)]
        except ValueError as error:
            raise TableError.of('trusted_proxies', name, right) from error
    return Proxies(networks, unix='unix' in names)


class ClientInfo(NamedTuple):
    """What is known of a client: its address, and what it asked for; None where it is not."""

    ip: str | None
    scheme: str | None = None
    host: str | None = None


def client_info(peer: str | None, headers: Headers, proxies: Proxies) -> ClientInfo:
    """Find out who sent a request, from the peer backwards, as far as proxies are trusted.

    Args:
        peer: The address of the peer; None for that of a Unix socket, ``''`` if unknown.
        headers: Those of the request.
        proxies: Which of the hops to believe.

    Raises:
        ValueError: Forwarded cannot be read, or it and X-Forwarded-For name two clients. A
            proxy writes one of them, and passes on the other as its client wrote it. For the
            same reason of what else they say only that is believed which both do.
    """
    if not proxies.trust(peer):
        return ClientInfo(peer)
    hops = _forwarded(headers)
    by_custom = _walk(peer, _by_custom(headers), proxies)
    if not hops:
        return by_custom
    asked = _walk(peer, hops, proxies)
    if 'X-Forwarded-For' not in headers:
        return asked
    if asked.ip != by_custom.ip:
        raise ValueError('Forwarded and X-Forwarded-For do not agree')
    agreed = (one if one == other else None for one, other in zip(asked, by_custom, strict=True))
    return ClientInfo(*agreed)


def _walk(peer: str | None, hops: list[ClientInfo], proxies: Proxies) -> ClientInfo:
    """Give the last hop that a trusted one names; what it asked for is what that one says."""
    asked = ClientInfo(peer)
    for hop in reversed(hops):
        address = _address(hop.ip) if hop.ip and '%' not in hop.ip else None  # a zone is local
        asked = ClientInfo(str(address) if address else asked.ip, hop.scheme, hop.host)
        # Behind one that is unknown, or hidden (RFC 7239 6.2 and 6.3), anything may be written.
        if not address or not proxies.trust(asked.ip):
            break
    return asked


def _forwarded(headers: Headers) -> list[ClientInfo]:
    """Read Forwarded, the hop next to this server last."""
    text = ','.join(headers.getall('Forwarded', ()))
    if not CLOSED.fullmatch(text):
        raise ValueError('Forwarded cannot be read')
    hops = []
    for element in ELEMENT.findall(text):
        if said := _said(element):
            hops.append(ClientInfo(said.get('for'), _scheme(said.get('proto')), said.get('host')))
    return hops


def _said(element: str) -> dict[str, str]:
    """Read an element of Forwarded; empty ones, and empty pairs, are nothing (RFC 9110 5.6.1)."""
    said: dict[str, str] = {}
    for pair in filter(None, map(str.strip, PAIR.findall(element))):
        match = PARAMETER.fullmatch(pair)
        if not match or match[1].lower() in said:
            raise ValueError('Forwarded cannot be read')
        name, quoted, token = match.groups()
        said[name.lower()] = token or re.sub(r'\\(.)', r'\1', quoted)
    return said


def _by_custom(headers: Headers) -> list[ClientInfo]:
    """Read the X-Forwarded headers, the hop next to this server last."""
    addresses: list[Any] = _listed(headers, 'X-Forwarded-For') or [None]
    schemes = _per_hop(_listed(headers, 'X-Forwarded-Proto'), len(addresses))
    hosts = _per_hop(_listed(headers, 'X-Forwarded-Host'), len(addresses))
    return [
        ClientInfo(address, _scheme(scheme), host)
        for address, scheme, host in zip(addresses, schemes, hosts, strict=True)
    ]


def _listed(headers: Headers, name: str) -> list[str]:
    return [one.strip() for value in headers.getall(name, ()) for one in value.split(',')]


def _per_hop(values: list[str], hops: int) -> list[str] | list[None]:
    """Give a value for each hop. One is for all; of another number nobody knows whose they are."""
    if len(values) == 1:
        return values * hops
    return values if len(values) == hops else [None] * hops


def _scheme(name: str | None) -> str | None:
    return SCHEMES.get((name or '').lower())


@lru_cache(1024)
def _address(text: str) -> Address | None:
    """Read an address, with or without a port; an IPv4 address mapped into IPv6 is IPv4."""
    match = NODE.fullmatch(text)
    try:
        address = ipaddress.ip_address((match[1] or match[2]) if match else text)
    except ValueError:
        return None
    return getattr(address, 'ipv4_mapped', None) or address
