"""Headers as a case-insensitive multi-map: check, parse and compare them, and hide secrets.

Also the names of hop-by-hop headers, and ``hide_query`` for the secrets in URLs.
"""

from __future__ import annotations

import re
from collections.abc import ItemsView, Iterable, Iterator, Mapping, MutableMapping, Sequence
from functools import lru_cache
from typing import TYPE_CHECKING, Any, TypeAlias

from multidict import CIMultiDict, getversion, istr

from .errors import TableError

__all__ = ['Headers', 'HeadersLike', 'hide_query', 'parse_cookies', 'parse_links', 'to_headers']

# RFC 9110 5.6.2 (token) and 5.5 (no CR, LF, NUL or other control character but the tab).
TOKEN = re.compile(r"[!#$%&'*+\-.^_`|~0-9A-Za-z]+")
CONTROL = re.compile(r'[\x00-\x08\x0a-\x1f\x7f]')
# Names of which most messages consist, as they are usually written: found faster than matched.
USUAL = frozenset(
    """Accept Accept-Encoding Accept-Language Age Authorization Cache-Control Connection
    Content-Encoding Content-Language Content-Length Content-Type Cookie Date ETag Expires Forwarded
    Host If-Modified-Since If-None-Match Last-Modified Link Location Origin Range Referer Server
    Set-Cookie Transfer-Encoding User-Agent Vary Via X-Forwarded-For X-Forwarded-Host
    X-Forwarded-Proto X-Request-ID""".split()
)
TOKENS = re.compile(rf'{TOKEN.pattern}(?:\n{TOKEN.pattern})*')  # many names, joined

STR = frozenset({str, istr})  # other subclasses may override methods

NUMBER = re.compile('[0-9]{1,18}')  # of bytes, or another count

SECRET = re.compile('auth|cookie|token|secret|passw|api-?key', re.IGNORECASE)

# Matched as whole names, because page_token and author are no secrets.
SECRET_FIELDS = frozenset(
    """access_token api-key api_key apikey auth awsaccesskeyid client_secret key passwd password
    refresh_token secret sig signature token x-amz-credential x-amz-security-token
    x-amz-signature x-goog-credential x-goog-signature""".split()
)
PAIR = re.compile('(?<=[?&])([^=&#]*)=([^&#]*)')

# Hop-by-hop headers (RFC 9110 7.6.1) and the framing of a message: the library writes them anew
# for each message and never forwards them.
ONE_HOP = frozenset(
    """connection keep-alive te trailer upgrade expect content-length transfer-encoding
    proxy-authenticate proxy-authorization proxy-authentication-info proxy-connection""".split()
)

# Possessive quantifiers: a Link header of a hostile peer is parsed in linear time. Not compiled:
# re does so at the first Link header, and many programs never parse one.
VALUE = r'\s*+=\s*+(?:"((?:[^"\\]|\\.)*+)"|([^\s;,"]*+))'
PARAMETER = rf';\s*+([^\s=;,"]*+)(?:{VALUE})?+'  # the name may be empty (RFC 8288 B.3)
# Up to a comma outside of quoted strings, or up to a quoted string that does not end.
ITEM = r'(?:[^,"]++|"(?:[^"\\]++|\\.)*+")*+'
LINK = rf'<([^<>]*+)>((?:\s*+{PARAMETER})*+)'

Value: TypeAlias = str | int | list[str] | tuple[str, ...]
# Not Iterable: a dict is one too, and mypy could not infer the type of one with mixed values.
HeadersLike: TypeAlias = (
    Mapping[str, Value | None]
    | Sequence[tuple[str, Value | None]]
    | ItemsView[str, Value | None]
    | Iterator[tuple[str, Value | None]]
)


class Headers(CIMultiDict[str], MutableMapping[str, str]):  # pyright: ignore[reportIncompatibleMethodOverride]
    """Headers by name in any case: ``[...]`` returns the first value, ``getall`` all of them.

    A ``CIMultiDict`` that also matches mapping patterns of ``match``, and that equals any other
    mapping of the same names (in any case), with the same values in the same order for each name.
    """

    __slots__ = ('_checked',)  # the version that ``to_headers`` has checked; unset before that
    __hash__ = None  # type: ignore[assignment]

    def __eq__(self, other: object) -> bool:
        if not isinstance(other, Mapping):
            return NotImplemented
        try:
            return _by_name(self) == _by_name(to_headers(other))
        except TableError:
            return False

    def __ne__(self, other: object) -> bool:  # CIMultiDict's own compares case and order
        return not self == other

    if not TYPE_CHECKING:

        def update(self, *arguments, **pairs):
            """Replace headers by those of a mapping or of pairs, as a ``CIMultiDict`` does."""
            self._checked = None  # multidict 6 keeps its version if this fails halfway
            super().update(*arguments, **pairs)

    def __or__(self, other: HeadersLike) -> Headers:
        """Copy the headers, with those of ``other`` replacing the ones of the same names.

        A value of None removes a header.

        Raises:
            TableError: A name or a value of ``other`` is not allowed in headers.
        """
        pairs = list(other.items() if isinstance(other, Mapping) else other)
        replaced = {str(name).lower() for name, _ in pairs}
        kept = [pair for pair in self.items() if pair[0].lower() not in replaced]
        return to_headers([*kept, *pairs])

    def __repr__(self) -> str:
        return f'Headers({list(self.items())!r})'


def _by_name(headers: Headers) -> dict[str, list[str]]:
    names: dict[str, list[str]] = {}
    for name, value in headers.items():
        names.setdefault(name.lower(), []).append(value)
    return names


def to_headers(given: HeadersLike | None) -> Headers:
    """Check headers as users write them and return them as ``Headers``.

    Args:
        given: A mapping or pairs; a value is a str, an int, or a list of them for a header
            that is repeated. A value of None leaves the header out.

    Raises:
        TableError: A name is not a token, or a value has a control character or another type.
    """
    if given is None:
        return Headers()
    anything: Any = given
    return note_checked(Headers(anything) if is_plain(anything) else _from_pairs(anything))


def note_checked(headers: Any) -> Headers:
    """Let ``to_headers`` take these ``Headers`` as they are, until they change."""
    headers._checked = getversion(headers)
    return headers  # type: ignore[no-any-return]


def is_checked(given: Any) -> bool:
    """Tell whether these are headers that ``to_headers`` takes as they are."""
    kind: Any = type(given)
    return kind is Headers and getattr(given, '_checked', None) == getversion(given)


def is_plain(given: Any) -> bool:
    """Tell whether headers need no change; then ``Headers`` are noted as checked."""
    if is_checked(given):
        return True
    kind = type(given)
    if not (kind is Headers or kind is dict):
        return False
    names, values = [*given], [*given.values()]
    if len(names) != len(values):  # the names have only the first spelling of one that is repeated
        names = [name for name, _ in given.items()]
    if names and not _are_plain(names, values):
        return False
    if kind is Headers:
        note_checked(given)
    return True


def _from_pairs(given: Any) -> Headers:
    try:
        pairs: list[Any] = list(given.items() if isinstance(given, Mapping) else given)
        if not pairs or _are_plain(*zip(*pairs, strict=True)):
            return Headers(pairs)
        return Headers([pair for name, value in pairs for pair in _fields(name, value)])
    except (TypeError, ValueError) as error:
        if isinstance(error, TableError):
            raise
        raise TableError.of('headers', type(given), 'a mapping or a list of pairs') from error


def _are_plain(names: Sequence[Any], values: Sequence[Any]) -> bool:
    """Tell whether all headers are text that can be sent as it is; faster than one by one."""
    if not STR.issuperset(map(type, names)):
        return False
    if not USUAL.issuperset(names):
        joined = '\n'.join(names)
        if not TOKENS.fullmatch(joined) or joined.count('\n') != len(names) - 1:
            return False
    return are_plain_values(values)


def are_plain_values(values: Sequence[Any]) -> bool:
    """Tell whether all values are printable ASCII text without a blank at an end."""
    if not STR.issuperset(map(type, values)):
        return False
    text, lines = ''.join(values), '\n'.join(('', *values, ''))
    return text.isascii() and text.isprintable() and '\n ' not in lines and ' \n' not in lines


def _fields(name: Any, value: Any) -> list[tuple[str, str]]:
    if not isinstance(name, str) or not TOKEN.fullmatch(name):
        raise TableError.of('headers', name, 'a token, such as Content-Type (RFC 9110 5.6.2)')
    if isinstance(value, list | tuple):
        return [field for one in value for field in _fields(name, one)]
    return [] if value is None else [(name, _value(name, value))]


def _value(name: str, value: Any) -> str:
    key, secret = f'headers[{name}]', is_secret(name)
    if isinstance(value, bool) or not isinstance(value, str | int):
        raise TableError.of(key, value, 'a str, an int or a list of str', secret=secret)
    text = (value if isinstance(value, str) else str(value)).strip(' \t')
    if CONTROL.search(text):
        raise TableError.of(key, value, 'free of control characters', secret=secret)
    try:
        text.encode('utf-8', 'surrogateescape')
    except UnicodeEncodeError as error:
        raise TableError.of(key, value, 'text in UTF-8', secret=secret) from error
    return text


def given_length(headers: Headers) -> int | None:
    """Return the Content-Length of headers that a user wrote, or None.

    Raises:
        TableError: It is not a number.
    """
    given = headers.get('Content-Length')
    if given is not None and not NUMBER.fullmatch(given):
        raise TableError.of('headers[Content-Length]', given, 'a number of bytes')
    return None if given is None else int(given)


def is_secret(name: str) -> bool:
    """Tell by its name whether a header is secret: to be hidden, and sent to its origin only."""
    return SECRET.search(name) is not None


def hide(headers: Headers) -> Headers:
    """Copy headers, with asterisks for the values of secret ones."""
    return Headers([(name, '***' if is_secret(name) else value) for name, value in headers.items()])


def parse_cookies(pairs: Iterable[str]) -> dict[str, str]:
    """Parse ``name=value`` pairs of cookies; the first of a name counts (RFC 6265 5.4).

    Double quotes belong to a value (RFC 6265 5.2), as in what ``client.cookies`` sends back.
    """
    cookies: dict[str, str] = {}
    for pair in pairs:
        name, equals, value = pair.partition('=')
        if equals and name.strip():
            cookies.setdefault(name.strip(), value.strip())
    return cookies


def parse_links(text: str) -> dict[str, dict[str, str]]:
    """Parse a Link header into a table from each ``rel`` to its parameters (RFC 8288 3).

    Returns:
        For each relation type, a table of ``url`` (as written) and the parameters; the first
        link of a type counts. Links without ``rel`` are left out, and those of another resource,
        which ``anchor`` names.

    Example:
        >>> parse_links('</p?page=2>; rel="next"')
        {'next': {'url': '/p?page=2', 'rel': 'next'}}
    """
    links: dict[str, dict[str, str]] = {}
    for target, parameters, *_ in re.findall(LINK, text):
        link = {'url': target}
        for name, quoted, bare in re.findall(PARAMETER, parameters):
            if name:
                link.setdefault(name.lower(), re.sub(r'\\(.)', r'\1', quoted) or bare)
        if not link.get('anchor'):
            for relation in link.get('rel', '').lower().split():
                links.setdefault(relation, link)
    return links


@lru_cache(256)
def as_cgi(name: str) -> str:
    """Fold a header name as CGI and WSGI do: X_Forwarded_For is X-Forwarded-For."""
    return name.lower().replace('_', '-')


def list_items(headers: Headers, name: str) -> list[str]:
    """Return the items of a comma-separated header (RFC 9110 5.6.1), without empty ones.

    A comma in a quoted string does not separate. A quote that nothing closes is an ordinary
    character, so that it does not hide the items behind it.

    Example:
        >>> list_items(Headers({'Example': 'a;b="c, d", e'}), 'Example')
        ['a;b="c, d"', 'e']
    """
    return [item for item in split_list(headers, name) if item]


def split_list(headers: Headers, name: str) -> list[str]:
    """Do what ``list_items`` does, but return empty items, too."""
    items = [item for value in headers.getall(name, ()) for item in _split_list(value)]
    return [item.strip(' \t') for item in items]


def _split_list(value: str) -> list[str]:
    if '"' not in value:
        return value.split(',')
    items: list[str] = []
    start = 0
    while start <= len(value):
        end = re.compile(ITEM, re.DOTALL).match(value, start).end()  # type: ignore[union-attr]  # always matches
        if value[end : end + 1] == '"':
            return [*items, *value[start:].split(',')]
        items.append(value[start:end])
        start = end + 1
    return items


def hide_query(text: str, instead: str = '***') -> str:
    """Hide the values of fields with secret names in the query of a URL.

    Args:
        text: A URL, or a query with its question mark.
        instead: The replacement.

    Example:
        >>> hide_query('http://h/a?page=2&api_key=5')
        'http://h/a?page=2&api_key=***'
    """

    def hidden(pair: re.Match[str]) -> str:
        return f'{pair[1]}={instead}' if pair[1].lower() in SECRET_FIELDS else pair[0]

    return PAIR.sub(hidden, text)
