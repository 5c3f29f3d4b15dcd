"""What a client adds to a request table: a base URL, default keys, and the environment's settings.

The environment's are the proxies of ``HTTP_PROXY`` and the like, ``NO_PROXY``, and netrc logins.
"""

from __future__ import annotations

import os
from collections.abc import Mapping
from netrc import NetrcParseError, netrc
from os import PathLike
from typing import Any
from urllib.request import getproxies, proxy_bypass

import yarl

from .. import url
from ..errors import TableError
from ..headers import Headers, is_secret, to_headers
from ..tables.checks import ASTERISK, check_auth, check_proxy
from ..tables.conversion import BODIES, LOGINS, NULLABLE, to_mapping, to_request
from ..tables.models import Request
from .redirects import TRUST, origin_of

__all__ = ['Defaults', 'from_environment']


class Defaults:
    """The base URL and the default keys of a client.

    Args:
        base_url: Relative URLs are resolved against it; only its origin gets credentials.
        defaults: Keys of the request table. Headers are merged by name.
        headers: More headers, read at each request; those of ``defaults`` replace them.

    Raises:
        TableError: A default has a wrong value.
    """

    def __init__(
        self,
        base_url: str | None,
        defaults: Mapping[str, Any],
        headers: Any = None,
    ) -> None:
        self._headers = headers or {}
        self.base: Request | None = None if base_url is None else to_request(url=base_url)
        self._defaults = dict(defaults)
        to_request(_merge_defaults(defaults, {'host': 'localhost'}))  # raises TableError
        if self.base:
            headers = to_headers(defaults.get('headers'))
            self._defaults['headers'] = _replaced(self.base['headers'], headers)

    def request(self, table: Any, fields: dict[str, Any]) -> Request:
        """Return a table in normal form, with the base URL and the defaults applied."""
        defaults = self._defaults
        if self._headers:
            defaults = _merge_defaults({'headers': list(self._headers.items())}, defaults)
        if not defaults:
            return to_request(table, **fields)
        both = {**to_mapping(table), **fields}
        given = {key: one for key, one in both.items() if one is not None or key in NULLABLE}
        if self.base is None:
            return to_request(_merge_defaults(defaults, given))
        given['url'] = _resolved(self.base['url'], given)
        defaults = _origin_of_base(self.base, given) | defaults
        request = to_request(_merge_defaults(defaults, given))
        if origin_of(request) != origin_of(self.base):
            return to_request(_merge_defaults(_without_origin_keys(defaults), given))
        return request


def _resolved(base: str, given: Mapping[str, Any]) -> Any:
    """Resolve the ``url`` of a table against a base in origin-form."""
    reference = given.get('url')
    if reference is None:
        return None if given.get('path') else base
    if isinstance(reference, yarl.URL):
        reference = str(reference)
    if _is_absolute(reference) or reference == ASTERISK or reference.startswith('/'):
        return reference
    return url.relative('//-' + base, reference).removeprefix('//-')


def _is_absolute(reference: Any) -> bool:
    return not isinstance(reference, str) or 'scheme' in url.split(reference)


def _origin_of_base(base: Request, given: Mapping[str, Any]) -> dict[str, Any]:
    """Return the origin keys of the base; no port if the table has its own scheme or host."""
    other_origin = {'scheme', 'host'} & given.keys() or _is_absolute(given['url'] or '')
    return {key: base[key] for key in ('scheme', 'host', *(() if other_origin else ('port',)))}


def _merge_defaults(defaults: Mapping[str, Any], given: Mapping[str, Any]) -> dict[str, Any]:
    """Merge a table over the defaults; its body or login replaces a default of any kind."""
    merged = dict(defaults)
    for kind in (BODIES, LOGINS):
        if any(key in given for key in kind):
            merged = {key: value for key, value in merged.items() if key not in kind}
    headers = to_headers(given.get('headers'))
    default_headers = to_headers(defaults.get('headers'))
    if any(given.get(key) for key in LOGINS):
        default_headers.popall('Authorization', None)
    if 'Authorization' in headers:
        merged = {key: value for key, value in merged.items() if key not in LOGINS}
    if not isinstance(given.get('into', merged.get('into')), PathLike):
        merged.pop('resume', None)  # which only downloads may have
    return {**merged, **given, 'headers': _replaced(default_headers, headers)}


def _replaced(headers: Headers, by: Headers) -> Headers:
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
    return public | {'headers': kept}


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
        added['headers']['Authorization'] = check_auth(login)
    return added


def _proxy_from_environment(request: Request) -> str | None:
    proxies = getproxies()
    proxy = proxies.get(request['scheme'], proxies.get('all'))
    if not proxy or proxy_bypass(f'{request["host"]}:{request["port"]}'):
        return None
    return check_proxy(proxy if '://' in proxy else f'http://{proxy}')


def _login_from_netrc(host: str) -> tuple[str, str] | None:
    path = os.environ.get('NETRC') or os.path.expanduser('~/.netrc')
    if not os.path.isfile(path):
        return None
    try:
        entry = netrc(path).authenticators(host)
    except (NetrcParseError, OSError, UnicodeError) as error:  # their texts may have a password
        raise TableError.of('netrc', path, 'a readable file in netrc format') from error
    return (entry[0], entry[2] or '') if entry else None
