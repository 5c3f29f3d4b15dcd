"""The client of a request, read from Forwarded (RFC 7239) or X-Forwarded-* of trusted proxies."""

from __future__ import annotations

import ipaddress
import re
from collections.abc import Iterable
from functools import lru_cache
from typing import Any, NamedTuple

from ..errors import TableError
from ..headers import Headers

__all__ = ['NO_PROXIES', 'SCHEMES', 'ClientInfo', 'Proxies', 'check_trusted_proxies', 'client_info']

Address = ipaddress.IPv4Address | ipaddress.IPv6Address

# RFC 7239 4: elements separated by commas, pairs within by semicolons, unless in quotes.
ELEMENT = re.compile(r'(?:[^",]|"(?:[^"\\]|\\.)*+")++')
PAIR = re.compile(r'(?:[^";]|"(?:[^"\\]|\\.)*+")++')
# Checked first: from each unclosed quote, the two patterns above would search to the end.
CLOSED = re.compile(r'(?:[^"]|"(?:[^"\\]|\\.)*+")*+')
PARAMETER = re.compile(r'([!#$%&\'*+.^`|~\w-]++)=(?:"((?:[^"\\]|\\.)*+)"|([^\s"]++))')
# An address in brackets, or with a port; a port may be an obfuscated name (RFC 7239 6.3).
NODE = re.compile(r'\[(.+)\](?::[\w.-]+)?|([^:]+):[\w.-]+')
SCHEMES = {'http': 'http', 'https': 'https', 'ws': 'http', 'wss': 'https'}


class Proxies:
    """Trusted proxies: networks, and with ``unix`` every peer on a Unix socket."""

    def __init__(self, networks: Iterable[Any] = (), *, unix: bool = False) -> None:
        self.networks: tuple[Any, ...] = tuple(networks)
        self.unix = unix

    def trust(self, ip: str | None) -> bool:
        """Tell whether a peer is a trusted proxy; ``None`` is the peer of a Unix socket."""
        address = None if ip is None else _address(ip)
        if address is None:
            return self.unix and ip is None
        return any(address in network for network in self.networks)


NO_PROXIES = Proxies()


def check_trusted_proxies(given: Any) -> Proxies:
    """Parse ``trusted_proxies``, such as ``('10.0.0.0/8', '::1', 'unix')``.

    Raises:
        TableError: An item is neither address, network nor ``'unix'``, or a network has host bits.
    """
    right = "addresses or networks, such as ['10.0.0.0/8', '::1'], or 'unix'"
    if isinstance(given, str | bytes) or not isinstance(given, Iterable):
        raise TableError.of('trusted_proxies', given, f'a list of {right}')
    networks = []
    names = list(given)
    for name in names:
        # ipaddress would take an int as an address.
        if not isinstance(name, str):
            raise TableError.of('trusted_proxies', name, right)
        try:
            networks += [] if name == 'unix' else [ipaddress.ip_network(name)]
        except ValueError as error:
            raise TableError.of('trusted_proxies', name, right) from error
    return Proxies(networks, unix='unix' in names)


class ClientInfo(NamedTuple):
    """The address of a client, and the scheme and host it requested; ``None`` if unknown."""

    ip: str | None
    scheme: str | None = None
    host: str | None = None


def client_info(peer: str | None, headers: Headers, proxies: Proxies) -> ClientInfo:
    """Find the client of a request: walk back from the peer while each hop is a trusted proxy.

    A proxy writes either Forwarded or X-Forwarded-For and passes the other on as its client wrote
    it. So if both are there, only a scheme and host on which both agree is used.

    Args:
        peer: Address of the peer; ``None`` on a Unix socket, ``''`` if unknown.
        headers: Headers of the request.
        proxies: Trusted proxies.

    Raises:
        ValueError: Forwarded is malformed, or it and X-Forwarded-For name different clients.
    """
    if not proxies.trust(peer):
        return ClientInfo(peer)
    hops = _forwarded(headers)
    x_forwarded = _walk(peer, _x_forwarded(headers), proxies)
    if not hops:
        return x_forwarded
    forwarded = _walk(peer, hops, proxies)
    if 'X-Forwarded-For' not in headers:
        return forwarded
    if forwarded.ip != x_forwarded.ip:
        raise ValueError('Forwarded and X-Forwarded-For name different clients')
    agreed = (a if a == b else None for a, b in zip(forwarded, x_forwarded, strict=True))
    return ClientInfo(*agreed)


def _walk(peer: str | None, hops: list[ClientInfo], proxies: Proxies) -> ClientInfo:
    """Walk back from the peer; return the first hop that is not trusted, or the last one.

    Its address, scheme and host are those that the hop nearer to this server reported.
    """
    client = ClientInfo(peer)
    for hop in reversed(hops):
        address = _address(hop.ip) if hop.ip and '%' not in hop.ip else None  # a zone is local
        client = ClientInfo(str(address) if address else client.ip, hop.scheme, hop.host)
        # A hop before an unknown or obfuscated one (RFC 7239 6.2 and 6.3) cannot be trusted.
        if not address or not proxies.trust(client.ip):
            break
    return client


def _forwarded(headers: Headers) -> list[ClientInfo]:
    """Parse Forwarded; the hop nearest to this server is last."""
    text = ','.join(headers.getall('Forwarded', ()))
    if not CLOSED.fullmatch(text):
        raise ValueError('Forwarded is malformed (RFC 7239 4)')
    hops = []
    for element in ELEMENT.findall(text):
        if hop := _element_pairs(element):
            hops.append(ClientInfo(hop.get('for'), _scheme(hop.get('proto')), hop.get('host')))
    return hops


def _element_pairs(element: str) -> dict[str, str]:
    """Parse an element of Forwarded; empty elements and pairs are skipped (RFC 9110 5.6.1)."""
    pairs: dict[str, str] = {}
    for pair in filter(None, map(str.strip, PAIR.findall(element))):
        match = PARAMETER.fullmatch(pair)
        if not match or match[1].lower() in pairs:
            raise ValueError('Forwarded is malformed (RFC 7239 4)')
        name, quoted, token = match.groups()
        pairs[name.lower()] = token or re.sub(r'\\(.)', r'\1', quoted)
    return pairs


def _x_forwarded(headers: Headers) -> list[ClientInfo]:
    """Parse the X-Forwarded headers; the hop nearest to this server is last."""
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
    """Return one value for each hop. A single one holds for all; any other number gives None."""
    if len(values) == 1:
        return values * hops
    return values if len(values) == hops else [None] * hops


def _scheme(name: str | None) -> str | None:
    return SCHEMES.get((name or '').lower())


@lru_cache(1024)
def _address(text: str) -> Address | None:
    """Parse an address with or without a port; an IPv4-mapped IPv6 address becomes IPv4."""
    match = NODE.fullmatch(text)
    try:
        address = ipaddress.ip_address((match[1] or match[2]) if match else text)
    except ValueError:
        return None
    return getattr(address, 'ipv4_mapped', None) or address
