"""Header fields as a table: any case, repeats kept, nothing that could break a line.

What is secret in a URL, hidden.
"""

from __future__ import annotations

import re
from collections.abc import ItemsView, Iterable, Iterator, Mapping, MutableMapping, Sequence
from typing import Any, TypeAlias

from multidict import CIMultiDict

from .errors import TableError

__all__ = ['Headers', 'HeadersLike', 'hide_query', 'parse_cookies', 'parse_links', 'to_headers']

# RFC 9110 5.6.2 (token) and 5.5 (no CR, LF, NUL or other control character but the tab).
TOKEN = re.compile(r"[!#$%&'*+\-.^_`|~0-9A-Za-z]+")
CONTROL = re.compile(r'[\x00-\x08\x0a-\x1f\x7f]')
# Of many at once, a line each: names that are tokens, and values that are not as they go out.
TOKENS = re.compile(rf'{TOKEN.pattern}(?:\n{TOKEN.pattern})*')
ODD = re.compile(r'[\x00-\x08\x0b-\x1f\x7f]|[ \t]\n|\n[ \t]')

SECRET = re.compile('auth|cookie|token|secret|passw|api-?key', re.IGNORECASE)

# What belongs to one connection (RFC 9110 7.6.1) or is the framing of one message: made anew
# for each by the library, never passed on.
ONE_HOP = frozenset(
    """connection keep-alive te trailer upgrade expect content-length transfer-encoding
    proxy-authenticate proxy-authorization proxy-authentication-info proxy-connection""".split()
)

Value: TypeAlias = str | int | list[str] | tuple[str, ...]
# Not Iterable, which a dict is too: mypy could not tell what a literal of mixed values is to be.
HeadersLike: TypeAlias = (
    Mapping[str, Value | None]
    | Sequence[tuple[str, Value | None]]
    | ItemsView[str, Value | None]
    | Iterator[tuple[str, Value | None]]
)


class Headers(CIMultiDict[str], MutableMapping[str, str]):  # pyright: ignore[reportIncompatibleMethodOverride]
    """Header fields. ``[...]`` gives a name's first value in any case, ``getall`` all of them.

    A ``CIMultiDict`` that ``match`` takes for a mapping, too, and that equals any other mapping
    of the same names (in any case), with the same values in the same order for each name.
    """

    __slots__ = ()
    __hash__ = None  # type: ignore[assignment]

    def __eq__(self, other: object) -> bool:
        if not isinstance(other, Mapping):
            return NotImplemented
        try:
            return _by_name(self) == _by_name(to_headers(other))
        except TableError:
            return False

    def __ne__(self, other: object) -> bool:  # CIMultiDict's own heeds case and order
        return not self == other

    def __or__(self, other: HeadersLike) -> Headers:
        """Copy the headers, those of another table in the place of these of the same names.

        Raises:
            TableError: They are none; a value of None leaves a header out.
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
    """Check header fields as they are written and make them ``Headers``.

    Args:
        given: A mapping or pairs; a value is a str, an int, or a list of them for a header
            that is repeated. A value of None leaves the header out.

    Raises:
        TableError: A name is no token, a value has a control character, or is of another type.
    """
    pairs: Any = () if given is None else given
    if isinstance(given, Headers) and _is_plain_value(given):
        return Headers(given)
    if isinstance(given, Mapping):
        pairs = given.items()
    try:
        return Headers([pair for name, value in pairs for pair in _fields(name, value)])
    except (TypeError, ValueError) as error:
        if isinstance(error, TableError):
            raise
        raise TableError.of('headers', type(given), 'a mapping or a list of pairs') from error


def _is_plain_value(headers: Headers) -> bool:
    """Tell whether all are ASCII as they go out, at a fraction of what it costs to look at each."""
    names, values = '\n'.join(headers), list(headers.values())
    if not {str}.issuperset(map(type, values)):
        return False
    lines = '\n'.join(('', *values, ''))
    return (
        TOKENS.fullmatch(names) is not None
        and lines.isascii()
        and not ODD.search(lines)
        and (names.count('\n'), lines.count('\n')) == (len(values) - 1, len(values) + 1)
    )


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
    """Give the length that headers as written say a body has.

    Raises:
        TableError: It is no number.
    """
    given = headers.get('Content-Length')
    if given is not None and not re.fullmatch('[0-9]{1,18}', given):
        raise TableError.of('headers[Content-Length]', given, 'a number of bytes')
    return None if given is None else int(given)


def is_secret(name: str) -> bool:
    """Tell whether a header's value is to be hidden and kept to its origin, by its name."""
    return SECRET.search(name) is not None


def hide(headers: Headers) -> Headers:
    """Copy headers with the values of those that carry secrets hidden."""
    return Headers([(name, '***' if is_secret(name) else value) for name, value in headers.items()])


def parse_cookies(pairs: Iterable[str]) -> dict[str, str]:
    """Read ``name=value`` pairs of cookies; the first of a name counts (RFC 6265 5.4)."""
    cookies: dict[str, str] = {}
    for pair in pairs:
        name, equals, value = pair.partition('=')
        if equals and name.strip():
            cookies.setdefault(name.strip(), value.strip().strip('"'))
    return cookies


# Possessive quantifiers: a Link header of a hostile peer is read in linear time. As text: re
# compiles them at the first Link header, which many a program never reads.
VALUE = r'\s*+=\s*+(?:"((?:[^"\\]|\\.)*+)"|([^\s;,"]*+))'
PARAMETER = rf';\s*+([^\s=;,"]++)(?:{VALUE})?+'
LINK = rf'<([^<>]*+)>((?:\s*+{PARAMETER})*+)'


def parse_links(text: str) -> dict[str, dict[str, str]]:
    """Read a Link header as a table from each ``rel`` to its parameters (RFC 8288 3).

    Returns:
        For each relation type a table of ``url`` (as written) and the parameters; the first
        link of a type counts. Links without ``rel`` are left out.

    Example:
        >>> parse_links('</p?page=2>; rel="next"')
        {'next': {'url': '/p?page=2', 'rel': 'next'}}
    """
    links: dict[str, dict[str, str]] = {}
    for target, parameters, *_ in re.findall(LINK, text):
        link = {'url': target}
        for name, quoted, bare in re.findall(PARAMETER, parameters):
            link.setdefault(name.lower(), re.sub(r'\\(.)', r'\1', quoted) or bare)
        for relation in link.get('rel', '').lower().split():
            links.setdefault(relation, link)
    return links


def listed(headers: Headers, name: str) -> list[str]:
    """Read a header that is a list (RFC 9110 5.6.1)."""
    values = ','.join(headers.getall(name, ())).split(',')
    return [value.strip() for value in values if value.strip()]


# Whole names, for much that is no secret has one of these words in its name: page_token, author.
SECRET_FIELDS = frozenset(
    """access_token api-key api_key apikey auth awsaccesskeyid client_secret key passwd password
    refresh_token secret sig signature token x-amz-credential x-amz-security-token
    x-amz-signature x-goog-credential x-goog-signature""".split()
)
PAIR = re.compile('(?<=[?&])([^=&#]*)=([^&#]*)')


def hide_query(text: str, instead: str = '***') -> str:
    """Hide the values of fields of a query whose names speak of secrets.

    Args:
        text: A URL, or a query with the question mark before it.
        instead: What stands in their place.

    Example:
        >>> hide_query('http://h/a?page=2&api_key=5')
        'http://h/a?page=2&api_key=***'
    """

    def hidden(pair: re.Match[str]) -> str:
        return f'{pair[1]}={instead}' if pair[1].lower() in SECRET_FIELDS else pair[0]

    return PAIR.sub(hidden, text)
