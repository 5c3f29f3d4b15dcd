"""The cookies of a client, as its user and its transport see them: ``client.cookies``."""

from __future__ import annotations

import json
import math
from collections.abc import Mapping, Sequence
from http.cookies import CookieError, Morsel
from os import PathLike
from time import time
from typing import Any, Never, Unpack

import yarl
from aiohttp.abc import AbstractCookieJar

from ..errors import TableError
from ..tables.checks import check_path
from ..types import CookieAttributes
from .cookie_jar import (
    Attributes,
    Cookie,
    CookieJar,
    canonical_domain,
    check_pair,
    is_public_suffix,
    parse_set_cookie,
    to_cookie,
)
from .defaults import Defaults

__all__ = ['Cookies', 'SessionCookies']

PRIVATE = 0o600
# The keys of a cookie in a file, and the types of their values.
SAVED: dict[str, tuple[type, ...]] = {
    'name': (str,),
    'value': (str,),
    'domain': (str,),
    'path': (str,),
    'is_host_only': (bool,),
    'is_secure': (bool,),
    'expires': (int, float),
}


class Cookies:
    """The cookies that a client has: ``client.cookies``.

    A URL may be relative to the base URL of the client.

    Args:
        defaults: Of the client.
    """

    def __init__(self, defaults: Defaults) -> None:
        self._defaults = defaults
        self._jar = CookieJar()

    def get(self, url: str) -> dict[str, str]:
        """Return the cookies that a request of a URL would send, by name.

        Of two with one name, the one with the longer path counts.

        Raises:
            TableError: The URL is malformed.
        """
        found: dict[str, str] = {}
        for name, value in self.pairs(self._defaults.target(url)):
            found.setdefault(name, value)
        return found

    def set(self, name: str, value: str, url: str, **attributes: Unpack[CookieAttributes]) -> None:
        """Set a cookie, as a response of a URL could set it.

        Args:
            name: Of the cookie.
            value: Sent as it is; it cannot have a semicolon, a control character, or blanks at its
                ends.
            url: Without a ``domain``, the cookie is sent to the host of this URL only.
            attributes: ``domain``: sent to this host and its subdomains. ``path``: sent to this
                path and those below it, by default ``'/'``. ``max_age``: kept for so many seconds;
                ``expires``: kept up to this Unix time; without both, until the client is closed. A
                time that is over removes the cookie. ``secure``: True sends it over https only.

        Raises:
            TableError: The cookie cannot be sent as it is, or the URL may not set it.
        """
        pair = check_pair(name, value)
        now, target = time(), self._defaults.target(url)
        cookie = to_cookie(*pair, _to_attributes(attributes, now), target, is_public_suffix)
        self._put(cookie, target, now)

    def _put(self, cookie: Cookie, target: yarl.URL, now: float) -> None:
        self._jar.put(cookie, now, is_secure=True)

    def set_initial(self, cookies: Any) -> None:
        """Set the cookies of ``Client(cookies=...)``, for the host of the base URL or every host.

        Raises:
            TableError: They cannot be sent as they are.
        """
        try:
            given = dict(cookies)
        except (TypeError, ValueError) as error:
            right = 'a bool, or a mapping of names to values'
            raise TableError.of('cookies', cookies, right, secret=True) from error
        base = self._defaults.base_target
        for pair in given.items():
            name, value = check_pair(*pair)
            cookie = Cookie(name, value, '', '/', False, False, None)
            if base is not None:
                cookie = to_cookie(name, value, Attributes(path='/'), base, is_public_suffix)
            self._jar.put(cookie, time(), is_secure=True)

    def clear(self, domain: str | None = None) -> None:
        """Remove the cookies of a domain and of its subdomains; by default all cookies.

        Raises:
            TableError: The domain is no host.
        """
        self._jar.clear(None if domain is None else _check_domain(domain))

    def save(self, path: str | PathLike[str]) -> None:
        """Write the cookies to a file as JSON, without those that are kept until the client closes.

        Only you can read the file (mode 0600). It replaces an existing one once it is complete.

        Raises:
            OSError: The file cannot be written.
        """
        from .part_file import NewFile

        now = time()
        kept = [
            {key: one for key, one in cookie._asdict().items() if key in SAVED}
            for cookie in self._jar
            if cookie.expires is not None and not cookie.is_expired(now)
        ]
        file = NewFile(path, PRIVATE)
        file.open()
        try:
            file.write(json.dumps({'cookies': kept}, indent=1).encode())
            file.keep()
        finally:
            if file.is_open:
                file.drop()

    def load(self, path: str | PathLike[str]) -> None:
        """Add the cookies of a file that ``save`` wrote; they replace those of the same name.

        Raises:
            OSError: The file cannot be read, or there is none.
            TableError: It is no file of cookies; nothing was added.
        """
        with open(path, 'rb') as file:
            text = file.read()
        try:
            cookies = [_to_saved(one) for one in json.loads(text)['cookies']]
        except (KeyError, TypeError, ValueError, RecursionError) as error:
            raise TableError.of('path', path, 'a file that save wrote') from error
        for cookie in cookies:
            self._jar.put(cookie, time(), is_secure=True)

    def pairs(self, target: yarl.URL) -> list[tuple[str, str]]:
        """Return the names and values of the cookies to send; called by the transport."""
        if not self._jar:
            return []
        return [(cookie.name, cookie.value) for cookie in self._jar.matching(target, time())]

    def keep(self, fields: Sequence[str], target: yarl.URL) -> None:
        """Keep what the Set-Cookie headers of a response set; called by the transport."""
        self._jar.keep(fields, target, time())


def _to_attributes(given: Mapping[str, Any], now: float) -> Attributes:
    """Check the attributes that a user gives, and convert them.

    Raises:
        TableError: An attribute is unknown, or has a wrong value.
    """
    known = CookieAttributes.__annotations__
    for key in given:
        if key not in known:
            raise TableError.unknown(key, known.keys())
    domain, path, secure = given.get('domain'), given.get('path'), given.get('secure')
    if path is not None and not (isinstance(path, str) and path.startswith('/')):
        raise TableError.of('path', path, "a str that begins with '/'")
    if not (secure is None or isinstance(secure, bool)):
        raise TableError.of('secure', secure, 'a bool')
    age, expires = _number('max_age', given), _number('expires', given)
    return Attributes(
        '' if domain is None else _check_domain(domain),
        '/' if path is None else check_path(path),
        secure or False,
        expires if age is None else now + age,
    )


def _check_domain(domain: object) -> str:
    if not isinstance(domain, str) or not (canonical := canonical_domain(domain)):
        raise TableError.of('domain', domain, 'a host')
    return canonical


def _number(key: str, given: Mapping[str, Any]) -> float | None:
    number = given.get(key)
    if number is None:
        return None
    try:
        if not isinstance(number, bool) and math.isfinite(number):
            return float(number)
    except (TypeError, OverflowError):
        pass
    raise TableError.of(key, number, 'a number of seconds')


def _to_saved(entry: Mapping[str, Any]) -> Cookie:
    """Make a cookie of an entry of a file.

    Raises:
        KeyError: The entry lacks a key.
        TypeError: It is no mapping.
        ValueError: A value is wrong.
    """
    values: dict[str, Any] = {key: entry[key] for key in SAVED}
    for key, kinds in SAVED.items():
        if type(values[key]) not in kinds:
            raise ValueError(f'{key} has another type')
    values['expires'] = _number('expires', values)
    cookie = Cookie(**values)
    # Not check_pair: servers set names that a user may not.
    parsed = parse_set_cookie(f'{cookie.name}={cookie.value}', 0.0)
    if parsed is None or parsed[:2] != (cookie.name, cookie.value):
        raise ValueError('a name or a value cannot be sent as it is')
    if cookie.domain != _check_domain(cookie.domain) or not cookie.path.startswith('/'):
        raise ValueError('a domain or a path is not in canonical form')
    return cookie


class SessionCookies(Cookies):
    """The cookies of the session of ``Client(session=...)``, in its jar of aiohttp's.

    Args:
        defaults: Of the client.
        jar: The jar.
    """

    def __init__(self, defaults: Defaults, jar: AbstractCookieJar) -> None:
        super().__init__(defaults)
        self._session_jar = jar

    def pairs(self, target: yarl.URL) -> list[tuple[str, str]]:
        """Return the names and values that aiohttp would send to a URL."""
        found = self._session_jar.filter_cookies(target)
        return [(name, morsel.coded_value) for name, morsel in found.items()]

    def _put(self, cookie: Cookie, target: yarl.URL, now: float) -> None:
        morsel: Morsel[str] = Morsel()
        try:
            morsel.set(cookie.name, cookie.value, cookie.value)
        except CookieError as error:
            raise TableError.of('name', cookie.name, 'a token (RFC 6265 4.1.1)') from error
        morsel['path'] = cookie.path
        if not cookie.is_host_only:
            morsel['domain'] = cookie.domain
        if cookie.is_secure:
            morsel['secure'] = 'true'
        if cookie.expires is not None:
            morsel['max-age'] = str(math.ceil(cookie.expires - now))
        self._session_jar.update_cookies({cookie.name: morsel}, target)
        sent = self._session_jar.filter_cookies(target.with_path(cookie.path, encoded=True))
        if not cookie.is_expired(now) and cookie.name not in sent:
            right = 'one that keeps this cookie; for an IP address that is CookieJar(unsafe=True)'
            raise TableError.of('session.cookie_jar', self._session_jar, right)

    def clear(self, domain: str | None = None) -> None:
        """Remove the cookies of a domain and of its subdomains; by default all cookies."""
        if domain is None:
            self._session_jar.clear()
        else:
            self._session_jar.clear_domain(_check_domain(domain))

    def save(self, path: str | PathLike[str]) -> Never:
        """Raise an error: a jar of aiohttp's does not tell how long a cookie is kept."""
        raise TableError('the session keeps the cookies: call session.cookie_jar.save(path)')

    def load(self, path: str | PathLike[str]) -> Never:
        """Raise an error, as ``save`` does."""
        raise TableError('the session keeps the cookies: call session.cookie_jar.load(path)')
