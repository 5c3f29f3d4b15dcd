"""What a client adds to a request table: a base URL, default keys, and the environment's settings.

The environment's are the proxies of ``HTTP_PROXY`` and the like, ``NO_PROXY``, and netrc logins.
"""

from __future__ import annotations

import os
import re
from collections.abc import Iterable, Mapping
from functools import lru_cache
from ipaddress import IPv4Address, IPv6Address, ip_address, ip_network
from netrc import NetrcParseError, netrc
from os import PathLike
from typing import Any, TypeAlias
from urllib.request import getproxies, proxy_bypass

import yarl

from .. import url
from ..errors import TableError
from ..headers import Headers, is_secret, to_headers
from ..tables.checks import ASTERISK, REQUEST_CHECKS, check_auth, check_proxy, has_login
from ..tables.conversion import BODIES, LOGINS, NULLABLE, TARGET, normalize, to_mapping, to_request
from ..tables.models import Request, bracketed
from ..transports.encode import target_of
from .redirects import TRUST, origin_of

__all__ = ['Defaults', 'from_environment', 'is_listed']

Address: TypeAlias = IPv4Address | IPv6Address


class Defaults:
    """The base URL and the default keys of a client.

    Args:
        base_url: Relative URLs are resolved against it; only its origin gets credentials.
        defaults: Keys of the request table. Headers are merged by name.
        headers: More headers, read at each request; those of ``defaults`` replace them.
        options: Names of the client's other options, to suggest one for an unknown default.

    Raises:
        TableError: A default is unknown or has a wrong value, or the base URL is not absolute.
    """

    def __init__(
        self,
        base_url: str | None,
        defaults: Mapping[str, Any],
        headers: Any = None,
        options: Iterable[str] = (),
    ) -> None:
        for key in defaults:
            if key not in REQUEST_CHECKS:
                raise TableError.unknown(key, {*REQUEST_CHECKS, *options})
        self._headers = headers or {}
        self.base: Request | None = None if base_url is None else _to_base(base_url)
        own = to_headers(defaults.get('headers'))
        self._defaults: dict[str, Any] = {**defaults, 'headers': own} if defaults else {}
        normalize(_merge_defaults(self._defaults, {'host': 'localhost'}))  # raises TableError
        self._origin = ''  # of the base URL, where no default says otherwise
        if self.base:
            self._defaults['headers'] = _replaced(self.base['headers'], own)
            if defaults.keys().isdisjoint(TARGET):
                self._origin = _origin_text(self.base)

    def request(self, table: Any, fields: dict[str, Any]) -> Request:
        """Return a table in normal form, with the base URL and the defaults applied."""
        defaults = self._defaults
        if self._headers:
            more = to_headers(list(self._headers.items()))
            defaults = _merge_defaults({'headers': more}, defaults)
        if not defaults:
            return to_request(table, **fields)
        both = {**to_mapping(table), **fields}
        given = {key: one for key, one in both.items() if one is not None or key in NULLABLE}
        # Of a Request and of the defaults no key is watched: the url may override them.
        watched = fields if isinstance(table, Request) else both
        if self.base is None:
            return normalize(_merge_defaults(defaults, given), watched=watched)
        given['url'] = resolved = _resolved(self.base['url'], given)
        if self._origin and _is_path_only(resolved) and given.keys().isdisjoint(TARGET):
            given['url'] = self._origin + resolved
            return normalize(_merge_defaults(defaults, given))
        defaults = _origin_of_base(self.base, given) | defaults
        request = normalize(_merge_defaults(defaults, given), watched=watched)
        if origin_of(request) != origin_of(self.base):
            return normalize(_merge_defaults(_without_origin_keys(defaults), given))
        return request

    def target(self, reference: str) -> yarl.URL:
        """Return the URL that a request with this ``url`` is sent to.

        Raises:
            TableError: It is malformed, or relative without a base URL.
        """
        return _target_of(self.request({'url': reference}, {}))

    @property
    def base_target(self) -> yarl.URL | None:
        """The base URL; None if there is none."""
        return None if self.base is None else _target_of(self.base)


def _target_of(request: Request) -> yarl.URL:
    return target_of(request['scheme'], request['host'], request['port'], request['url'])


def _origin_text(request: Request) -> str:
    return f'{request["scheme"]}://{bracketed(request["host"])}:{request["port"]}'


def _to_base(base_url: Any) -> Request:
    try:
        return to_request(url=base_url)
    except TableError as error:
        hidden = has_login(str(base_url))
        right = "a URL such as 'https://api.example/v1/'" + ('' if hidden else f': {error}')
        raise TableError.of('base_url', base_url, right, secret=hidden) from error


def _resolved(base: str, given: Mapping[str, Any]) -> Any:
    """Resolve the ``url`` of a table against a base in origin-form."""
    reference = given.get('url')
    if reference is None:
        return None if given.get('path') else base
    if isinstance(reference, yarl.URL):
        reference = str(reference)
    if not isinstance(reference, str) or reference == ASTERISK or _is_path_only(reference):
        return reference
    # A login must not be remembered.
    return (_joined_reference if '@' in reference else _remembered)(base, reference)


def _joined_reference(base: str, reference: str) -> str:
    if _is_absolute(reference):
        return reference
    return url.relative('//-' + base, reference).removeprefix('//-')


_remembered = lru_cache(256)(_joined_reference)


def _is_path_only(reference: Any) -> bool:
    return type(reference) is str and reference.startswith('/')


def _is_absolute(reference: Any) -> bool:
    return not isinstance(reference, str) or 'scheme' in url.split(reference)


def _origin_of_base(base: Request, given: Mapping[str, Any]) -> dict[str, Any]:
    """Return the origin keys of the base; no port if the table has its own scheme or host."""
    other_origin = {'scheme', 'host'} & given.keys() or _is_absolute(given['url'] or '')
    return {key: base[key] for key in ('scheme', 'host', *(() if other_origin else ('port',)))}


def _merge_defaults(defaults: Mapping[str, Any], given: Mapping[str, Any]) -> dict[str, Any]:
    """Merge a table over the defaults, whose headers are ``Headers``.

    Its body or login replaces a default of any kind.
    """
    merged, in_url = dict(defaults), _has_userinfo(given.get('url'))
    for kind, replaces in ((BODIES, False), (LOGINS, in_url)):
        if replaces or not given.keys().isdisjoint(kind):
            for key in kind:
                merged.pop(key, None)
    headers, default_headers = to_headers(given.get('headers')), defaults.get('headers', Headers())
    if in_url or any(given.get(key) for key in LOGINS):
        default_headers = default_headers.copy()
        default_headers.popall('Authorization', None)
    if 'Authorization' in headers:
        for key in LOGINS:
            merged.pop(key, None)
    if 'resume' in merged and not isinstance(given.get('into', merged.get('into')), PathLike):
        del merged['resume']  # which only downloads may have
    return {**merged, **given, 'headers': _replaced(default_headers, headers)}


def _has_userinfo(written: Any) -> bool:
    """Tell whether a URL has a login, which counts like ``auth``."""
    text = str(written) if isinstance(written, yarl.URL) else written
    if not isinstance(text, str) or '@' not in text or text.startswith('/'):  # that is a path
        return False
    return bool(url.split(text).get('userinfo'))


def _replaced(headers: Headers, by: Headers) -> Headers:
    if not by:
        return headers
    kept = [(name, value) for name, value in headers.items() if name not in by]
    return Headers([*kept, *by.items()])


def _without_origin_keys(defaults: Mapping[str, Any]) -> dict[str, Any]:
    """Return the defaults for another origin: no secrets, Host or client certificate."""
    kept = [
        (name, value)
        for name, value in to_headers(defaults.get('headers')).items()
        if name.lower() != 'host' and not is_secret(name)
    ]
    public = {key: value for key, value in defaults.items() if key not in LOGINS}
    if isinstance(tls := defaults.get('tls'), Mapping):
        public['tls'] = {key: tls[key] for key in TRUST & tls.keys()}
    return public | {'headers': Headers(kept)}


def from_environment(request: Request) -> Request:
    """Return a request in normal form with the proxy and login of the environment.

    Those of the request itself are kept. It reads the file ``NETRC`` or ``~/.netrc``, which
    blocks: call it outside the event loop.
    """
    added = request.copy()
    if not {'proxy', 'unix'} & request.keys() and (proxy := _proxy_from_environment(request)):
        added['proxy'] = proxy
    if 'Authorization' not in request['headers'] and (login := _login_from_netrc(request['host'])):
        added['headers'] = request['headers'].copy()
        added['headers']['Authorization'] = login
    return added


def _proxy_from_environment(request: Request) -> str | None:
    proxies = getproxies()
    kind = request['scheme'] if request['scheme'] in proxies else 'all'
    proxy, listed = proxies.get(kind), proxies.get('no')
    host, port = request['host'], request['port']
    # Without NO_PROXY, the settings of macOS and Windows may name hosts without a proxy.
    direct = proxy_bypass(f'{host}:{port}') if listed is None else is_listed(host, port, listed)
    if not proxy or direct:
        return None
    name = f'{kind}_proxy'
    key = name if name in os.environ else name.upper()
    return check_proxy(proxy if '://' in proxy else f'http://{proxy}', key)


def is_listed(host: str, port: int, no_proxy: str) -> bool:
    """Tell whether ``NO_PROXY`` lists a host, by the rules of curl since 7.86.

    An entry is a name, which includes its subdomains, or an address, or a network in CIDR notation.
    Addresses are compared as such, never as text. Unlike in curl, an entry may end with a port, as
    in Python's urllib, and ``/0`` is the network of all addresses.

    Args:
        host: In normal form: a name, or an address without brackets.
        no_proxy: Entries between commas or blanks, or ``*`` for all hosts.

    Example:
        >>> is_listed('10.1.2.3', 80, 'localhost, 10.0.0.0/8')
        True
    """
    if no_proxy.strip() == '*':
        return True
    address, name = _to_address(host), host.lower().removesuffix('.')
    for entry in no_proxy.replace(',', ' ').split():
        listed, found = _without_port(entry)
        if found in (None, str(port)) and (
            _is_within(address, listed) if address else _is_below(name, listed)
        ):
            return True
    return False


PORT = re.compile(r'(\[[^\]]*\]|[^:]*):([0-9]+)')  # behind anything but a bare IPv6 address


def _without_port(entry: str) -> tuple[str, str | None]:
    parts = PORT.fullmatch(entry)
    return (parts[1], parts[2]) if parts else (entry, None)


def _to_address(host: str) -> Address | None:
    try:
        return ip_address(host)
    except ValueError:
        return None


def _is_within(address: Address, entry: str) -> bool:
    try:
        network = ip_network(re.sub(r'[\[\]]', '', entry), strict=False)
    except ValueError:
        return False
    return address in network


def _is_below(name: str, entry: str) -> bool:
    domain = entry.lower().removesuffix('.').removeprefix('.')
    return bool(domain) and (name == domain or name.endswith('.' + domain))


def _login_from_netrc(host: str) -> str | None:
    """Return the Authorization header for the login of a host."""
    path = os.environ.get('NETRC') or os.path.expanduser('~/.netrc')
    if not os.path.isfile(path):
        return None
    try:
        entry = netrc(path).authenticators(host)
        return check_auth((entry[0], entry[2] or '')) if entry else None
    except (NetrcParseError, OSError, ValueError) as error:  # their texts may have a password
        right = 'a readable file in netrc format, without a colon in a login'
        raise TableError.of('netrc', path, right) from error
