"""What the environment says of proxies and logins: ``HTTP_PROXY``, ``NO_PROXY`` and netrc."""

from __future__ import annotations

import os
from netrc import NetrcParseError, netrc
from urllib.request import getproxies, proxy_bypass

from ..errors import TableError
from ..tables.checks import check_auth, check_proxy
from ..tables.models import Request

__all__ = ['from_environment']


def from_environment(request: Request) -> Request:
    """Add the proxy and the login that the environment has for a request in normal form.

    What the request has itself is left alone. Reads ``~/.netrc`` (or ``NETRC``): call it off
    the event loop.
    """
    added = request.copy()
    if not {'proxy', 'unix'} & request.keys() and (proxy := _proxy(request)):
        added['proxy'] = proxy
    if 'Authorization' not in request['headers'] and (login := _login(request['host'])):
        added['headers'] = request['headers'].copy()
        added['headers']['Authorization'] = check_auth(login)
    return added


def _proxy(request: Request) -> str | None:
    proxies = getproxies()
    proxy = proxies.get(request['scheme'], proxies.get('all'))
    if not proxy or proxy_bypass(f'{request["host"]}:{request["port"]}'):
        return None
    return check_proxy(proxy if '://' in proxy else f'http://{proxy}')


def _login(host: str) -> tuple[str, str] | None:
    path = os.environ.get('NETRC') or os.path.expanduser('~/.netrc')
    if not os.path.isfile(path):
        return None
    try:
        entry = netrc(path).authenticators(host)
    except (NetrcParseError, OSError, UnicodeError) as error:  # their texts may tell a password
        raise TableError.of('netrc', path, 'a file of logins that can be read') from error
    return (entry[0], entry[2] or '') if entry else None
