"""The rules of cookies: which ones a client keeps, and which ones it sends where (RFC 6265 5).

Also what browsers add (RFC 6265bis): limits, the prefixes ``__Host-`` and ``__Secure-``, and that a
response over plain HTTP replaces no Secure cookie. Values are kept as they came; bytes that are not
UTF-8 are surrogate escapes. The time is a parameter, as Unix time.
"""

from __future__ import annotations

import re
from collections.abc import Callable, Iterable, Iterator
from contextlib import suppress
from functools import cache, lru_cache
from typing import NamedTuple

import yarl

from ..dates import parse_cookie_date
from ..errors import TableError
from ..headers import CONTROL
from ..tables.checks import check_host

__all__ = [
    'Attributes',
    'Cookie',
    'CookieJar',
    'canonical_domain',
    'check_pair',
    'is_public_suffix',
    'parse_set_cookie',
    'path_of',
    'to_cookie',
]

# Limits of RFC 6265bis 5.6 and 5.7, in bytes and seconds, and of browsers, in cookies.
LONGEST_PAIR = 4096  # name and value together
LONGEST_ATTRIBUTE = 1024
LONGEST_AGE = 400 * 24 * 3600
MAX_OF_DOMAIN = 180
MAX_COOKIES = 3000
# Removed at once, so that a peer at a limit does not cause a search for each further cookie.
ROOM_OF_DOMAIN = 30
ROOM = 300

BLANKS = ' \t'
NAME = re.compile(r'[^\x00-\x20\x7f=;,]+')


class Attributes(NamedTuple):
    """The attributes of a cookie that say where it is sent, and how long it is kept.

    ``domain`` and ``path`` are empty if they were not given. ``expires`` is Unix time; None keeps
    the cookie until the client is closed.
    """

    domain: str = ''
    path: str = ''
    is_secure: bool = False
    expires: float | None = None


class Cookie(NamedTuple):
    """A cookie as it is kept.

    Attributes:
        domain: The host that it is sent to, in the form of ``check_host``; ``''`` for every host.
        is_host_only: Whether it is not sent to subdomains of ``domain``.
        is_secure: Whether it is sent over https only.
        expires: Unix time; None until the client is closed.
        serial: Grows from one created cookie to the next.
    """

    name: str
    value: str
    domain: str
    path: str
    is_host_only: bool
    is_secure: bool
    expires: float | None
    serial: int = 0

    def is_expired(self, now: float) -> bool:
        """Tell whether its time is over."""
        return self.expires is not None and self.expires <= now


def parse_set_cookie(field: str, now: float) -> tuple[str, str, Attributes] | None:
    """Parse a Set-Cookie header (RFC 6265 5.2): name, value and attributes.

    Returns:
        None if it sets no cookie: it has no name, a control character, or passes a limit.
    """
    pair, *attributes = field.split(';')
    name, equals, value = pair.partition('=')
    name, value = name.strip(BLANKS), value.strip(BLANKS)
    if not (equals and name) or CONTROL.search(field):
        return None
    try:
        _octets(field)  # a handler in process may set text that cannot be sent
    except UnicodeEncodeError:
        return None
    if _octets(name) + _octets(value) > LONGEST_PAIR:
        return None
    return name, value, _parse_attributes(attributes, now)


def _octets(text: str) -> int:
    return len(text.encode('utf-8', 'surrogateescape'))


def _parse_attributes(parts: Iterable[str], now: float) -> Attributes:
    """Parse attributes; the last of a name counts, a date or an age that is wrong does not."""
    found: dict[str, str] = {}
    age: float | None = None
    date: int | None = None
    for part in parts:
        name, _, value = part.partition('=')
        name, value = name.strip(BLANKS).lower(), value.strip(BLANKS)
        if _octets(value) > LONGEST_ATTRIBUTE:
            continue
        if name == 'max-age' and re.fullmatch('-?[0-9]+', value):
            age = float(value)  # an int may have too many digits for Python
        elif name == 'expires':
            parsed = parse_cookie_date(value)
            date = date if parsed is None else parsed
        found[name] = value
    expires = date if age is None else now + age
    if expires is not None:
        expires = min(expires, now + LONGEST_AGE)
    return Attributes(found.get('domain', ''), found.get('path', ''), 'secure' in found, expires)


def to_cookie(
    name: str,
    value: str,
    attributes: Attributes,
    target: yarl.URL,
    is_suffix: Callable[[str], bool],
) -> Cookie:
    """Make the cookie that a response of a URL sets (RFC 6265 5.3).

    Args:
        name: Of the cookie.
        value: Of the cookie.
        attributes: Of the cookie.
        target: The URL.
        is_suffix: Tells whether a domain is a public suffix, below which anybody may have a name.

    Raises:
        TableError: The URL may not set it.
    """
    host = _host_of(target)
    domain = _cookie_domain(host, attributes.domain, is_suffix)
    if attributes.is_secure and target.scheme != 'https':
        raise TableError.of('secure', True, 'False, or the URL one of https')
    _check_prefix(name, domain, attributes)
    path = attributes.path if attributes.path.startswith('/') else _default_path(path_of(target))
    return Cookie(
        name,
        value,
        domain or host,
        path,
        not domain,
        attributes.is_secure,
        attributes.expires,
    )


def _cookie_domain(host: str, given: str, is_suffix: Callable[[str], bool]) -> str:
    """Return the domain of a cookie; ``''`` for the host alone (RFC 6265 5.3, steps 5 and 6)."""
    domain = given and canonical_domain(given)
    is_other = domain != host and (not _is_subdomain(host, domain) or is_suffix(domain))
    if domain and (is_other or given.endswith('.')):
        right = f'{host!r}, or a parent domain of it that is no public suffix'
        raise TableError.of('domain', given, right)
    return '' if domain == host and is_suffix(domain) else domain


def _check_prefix(name: str, domain: str, attributes: Attributes) -> None:
    """Hold a cookie to the promise of its name (RFC 6265bis 4.1.3)."""
    prefix = name[:9].lower()
    if prefix == '__secure-' and not attributes.is_secure:
        raise TableError.of('secure', False, f'True for the cookie {name!r}')
    if prefix.startswith('__host-') and (
        (attributes.is_secure, domain, attributes.path) != (True, '', '/')
    ):
        right = "one of 'secure', with the path '/' and without a domain"
        raise TableError.of('name', name, right)


def check_pair(name: object, value: object) -> tuple[str, str]:
    """Check the name and the value of a cookie that a user gives.

    Raises:
        TableError: They cannot be sent as they are.
    """
    if not isinstance(name, str) or not NAME.fullmatch(name):
        right = "a name without blanks, control characters, '=', ';' and ','"
        raise TableError.of('name', name, right)
    key = f'cookies[{name}]'
    if isinstance(value, bool) or not isinstance(value, str | int):
        raise TableError.of(key, value, 'a str', secret=True)
    text = str(value)
    if ';' in text or CONTROL.search(text) or text != text.strip(BLANKS):
        right = "free of ';' and control characters, and of blanks at its ends"
        raise TableError.of(key, value, right, secret=True)
    try:
        length = _octets(name) + _octets(text)
    except UnicodeEncodeError as error:
        raise TableError.of(key, value, 'text in UTF-8', secret=True) from error
    if length > LONGEST_PAIR:
        right = f'at most {LONGEST_PAIR} bytes long, with its name'
        raise TableError.of(key, value, right, secret=True)
    return name, text


@cache
def _suffix_list() -> Callable[[str], bool]:
    try:
        from publicsuffixlist import PublicSuffixList
    except ImportError:
        return lambda domain: False
    is_public: Callable[[str], bool] = PublicSuffixList().is_public
    return is_public


def is_public_suffix(domain: str) -> bool:
    """Tell whether a domain is a public suffix, as ``co.uk`` is: nobody's cookies may have it.

    The list is that of the package publicsuffixlist, if it is installed; the first domain with a
    dot loads it. A domain without a dot always is one.
    """
    return '.' not in domain or _suffix_list()(domain)


def canonical_domain(domain: str) -> str:
    """Return a domain as hosts are compared: IDNA, in lower case, without dots at its ends.

    Raises:
        TableError: It is no host.
    """
    bare = domain.removeprefix('.')
    return check_host(bare).removesuffix('.') if bare else ''


def _host_of(target: yarl.URL) -> str:
    return (target.raw_host or '').removesuffix('.')


def path_of(target: yarl.URL) -> str:
    """Return the path of a URL, for which ``target_of`` may have put a question mark behind it."""
    return target.raw_path.partition('?')[0]


def _default_path(path: str) -> str:
    """Return the path of a cookie that names none (RFC 6265 5.1.4)."""
    return path[: path.rfind('/')] or '/' if path.startswith('/') else '/'


def _is_at_or_below(path: str, kept: str) -> bool:
    """Tell whether a path is that of a cookie or below it (RFC 6265 5.1.4)."""
    return path.startswith(kept) and (
        len(path) == len(kept) or kept.endswith('/') or path[len(kept)] == '/'
    )


def _is_subdomain(host: str, domain: str) -> bool:
    """Tell whether a host is a subdomain of a domain; an IPv6 address with a zone never is."""
    return host.endswith(f'.{domain}') and ':' not in host


@lru_cache(256)
def _with_parents(host: str) -> tuple[str, ...]:
    labels = host.split('.')
    return tuple('.'.join(labels[start:]) for start in range(len(labels)))


class CookieJar:
    """The cookies of a client, in memory.

    A peer cannot make it grow without bounds: it has at most ``MAX_OF_DOMAIN`` cookies of a domain
    and ``MAX_COOKIES`` in all.

    Args:
        is_suffix: Tells whether a domain is a public suffix.
    """

    def __init__(self, is_suffix: Callable[[str], bool] = is_public_suffix) -> None:
        self.is_suffix = is_suffix
        # By domain, and then by name, path and is_host_only; the one that was set last is the last.
        self._domains: dict[str, dict[tuple[str, str, bool], Cookie]] = {}
        self._serial = 0

    def __bool__(self) -> bool:
        return bool(self._domains)

    def __len__(self) -> int:
        return sum(map(len, self._domains.values()))

    def __iter__(self) -> Iterator[Cookie]:
        """Iterate over the cookies, the earliest created first."""
        kept = [cookie for of_domain in self._domains.values() for cookie in of_domain.values()]
        return iter(sorted(kept, key=lambda cookie: cookie.serial))

    def matching(self, target: yarl.URL, now: float) -> list[Cookie]:
        """Return the cookies to send to a URL, in the order of their sending (RFC 6265 5.4)."""
        host, path, is_secure = _host_of(target), path_of(target), target.scheme == 'https'
        found = [
            cookie
            for domain in _with_parents(host)
            for cookie in self._domains.get(domain, {}).values()
            if (not cookie.is_host_only or domain == host)
            and (is_secure or not cookie.is_secure)
            and not cookie.is_expired(now)
            and _is_at_or_below(path, cookie.path)
        ]
        if '' in self._domains:  # a cookie of the host replaces the one of every host
            names = {cookie.name for cookie in found}
            found += [one for one in self._domains[''].values() if one.name not in names]
        found.sort(key=lambda cookie: (-len(cookie.path), cookie.serial))
        return found

    def keep(self, fields: Iterable[str], target: yarl.URL, now: float) -> None:
        """Keep what the Set-Cookie headers of a response set or delete. It never raises."""
        for field in fields:
            if parsed := parse_set_cookie(field, now):
                with suppress(TableError):  # RFC 6265: ignore the cookie
                    cookie = to_cookie(*parsed, target, self.is_suffix)
                    self.put(cookie, now, is_secure=target.scheme == 'https')

    def put(self, cookie: Cookie, now: float, *, is_secure: bool) -> None:
        """Keep a cookie, or delete the one that it replaces if its time is over.

        Args:
            cookie: Its ``serial`` is ignored.
            now: The time.
            is_secure: Whether it was set over https, or by the user.

        Raises:
            TableError: It was set over plain HTTP, and there is a Secure one of its name.
        """
        if not is_secure and self._has_secure(cookie, now):
            right = 'another one: a cookie of this name is secure, and cannot be set over http'
            raise TableError.of('name', cookie.name, right)
        kept = self._domains.setdefault(cookie.domain, {})
        key = cookie.name, cookie.path, cookie.is_host_only
        old = kept.pop(key, None)
        if not cookie.is_expired(now):
            if old is None:
                self._serial += 1
            kept[key] = cookie._replace(serial=old.serial if old else self._serial)
        self._make_room(kept, now)
        if not kept:
            self._domains.pop(cookie.domain, None)

    def _has_secure(self, cookie: Cookie, now: float) -> bool:
        """Tell whether a Secure cookie of this name would be replaced or hidden (6265bis 5.7)."""
        return any(
            old.name == cookie.name
            and old.is_secure
            and not old.is_expired(now)
            and _is_at_or_below(cookie.path, old.path)
            for domain, kept in self._domains.items()
            if domain == cookie.domain
            or _is_subdomain(domain, cookie.domain)
            or _is_subdomain(cookie.domain, domain)
            for old in kept.values()
        )

    def _make_room(self, kept: dict[tuple[str, str, bool], Cookie], now: float) -> None:
        """Remove cookies if a domain, or the jar, has too many: first those whose time is over."""
        if len(kept) > MAX_OF_DOMAIN:
            order = sorted(kept.values(), key=lambda one: (not one.is_expired(now), one.is_secure))
            self._drop(order[:ROOM_OF_DOMAIN])
        if len(self) > MAX_COOKIES:
            self._drop([cookie for cookie in self if cookie.is_expired(now)])
        if len(self) > MAX_COOKIES:
            self._drop_from_largest_sites()

    def _drop_from_largest_sites(self) -> None:
        """Remove cookies of the sites that have the most, lest one drives out those of others."""
        sites: dict[str, list[Cookie]] = {}
        for cookie in sorted(self, key=lambda one: (not one.is_secure, -one.serial)):
            sites.setdefault('.'.join(cookie.domain.split('.')[-2:]), []).append(cookie)
        excess = len(self) - (MAX_COOKIES - ROOM)
        self._drop([max(sites.values(), key=len).pop() for _ in range(excess)])

    def _drop(self, cookies: Iterable[Cookie]) -> None:
        for cookie in cookies:
            kept = self._domains[cookie.domain]
            del kept[cookie.name, cookie.path, cookie.is_host_only]
            if not kept:
                del self._domains[cookie.domain]

    def clear(self, domain: str | None = None) -> None:
        """Remove the cookies of a domain and of its subdomains; by default all cookies."""
        self._domains = {
            kept: cookies
            for kept, cookies in self._domains.items()
            if domain is not None and kept != domain and not _is_subdomain(kept, domain)
        }
