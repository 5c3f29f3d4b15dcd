"""URLs as tables: split, join, resolve, encode and decode them (RFC 3986)."""

from __future__ import annotations

import re
from collections.abc import ItemsView, Iterable, Iterator, Mapping, Sequence
from typing import Any, TypeAlias
from urllib.parse import parse_qsl, quote

from .errors import TableError, shown

__all__ = ['Query', 'decode', 'encode', 'join', 'relative', 'split']

PARTS = ('scheme', 'userinfo', 'host', 'port', 'path', 'query', 'fragment')

# RFC 3986 appendix B, with the grammar of a scheme. It matches every str.
REFERENCE = re.compile(
    r'(?:(?P<scheme>[A-Za-z][A-Za-z0-9+.\-]*):)?'
    r'(?://(?P<authority>[^/?#]*))?'
    r'(?P<path>[^?#]*)'
    r'(?:\?(?P<query>[^#]*))?'
    r'(?:#(?P<fragment>.*))?',
    re.DOTALL,
)
AUTHORITY = re.compile(
    r'(?:(?P<userinfo>.*)@)?(?P<host>\[[^\]]*\]|.*?)(?::(?P<port>[0-9]*))?', re.DOTALL
)
# What a reference inherits from its base, up to the first part that it has itself.
INHERITED = (
    ('scheme', ('scheme',)),
    ('host', ('userinfo', 'host', 'port')),
    ('path', ('path',)),
    ('query', ('query',)),
)

Scalar: TypeAlias = str | bytes | int | float
Query: TypeAlias = (
    Mapping[str, Scalar | list[Any] | tuple[Any, ...] | None]
    | Sequence[tuple[str, Any]]
    | ItemsView[str, Any]
    | Iterator[tuple[str, Any]]
)


def split(text: str) -> dict[str, str]:
    """Split a URL or a relative reference into its parts.

    Nothing is decoded or normalised, so that ``join(split(text)) == text`` for every str.

    Returns:
        The parts that are present, of ``scheme userinfo host port path query fragment``, each
        a str. The host of an IPv6 address keeps its brackets. A part that is present but empty
        (the query of ``/p?``) is ``''``; an absent part and an empty path have no key.

    Example:
        >>> split('http://[::1]:8080/a%20b?x=1')
        {'scheme': 'http', 'host': '[::1]', 'port': '8080', 'path': '/a%20b', 'query': 'x=1'}
    """
    if not isinstance(text, str):
        raise TableError.of('url', text, 'a str')
    parts = REFERENCE.fullmatch(text).groupdict()  # type: ignore[union-attr]  # always matches
    if parts['authority'] is not None:
        parts |= AUTHORITY.fullmatch(parts['authority']).groupdict()  # type: ignore[union-attr]
    return {
        name: part
        for name in PARTS
        if (part := parts.get(name)) is not None and (part or name != 'path')
    }


def join(parts: Mapping[str, str | int | None]) -> str:
    """Join the parts of a URL. To resolve a relative link, use ``urllib.parse.urljoin``.

    Raises:
        TableError: A part is unknown, or would be read as another part of the URL: a host with
            a slash, a path of ``@other/`` after a host.

    Example:
        >>> join({'scheme': 'http', 'host': 'localhost', 'port': 8080, 'path': '/'})
        'http://localhost:8080/'
    """
    given = {name: _part(name, part) for name, part in parts.items() if part is not None}
    if given.get('path') == '':
        del given['path']
    text = _unsplit(given)
    found = split(text)
    for name in PARTS:
        if found.get(name) != given.get(name):
            together = '***' if 'userinfo' in given else f'{shown(given)} make {shown(text)}'
            raise TableError(f'the URL would have another {name}: {together}; encode the parts')
    return text


def _part(name: str, part: Any) -> str:
    if name not in PARTS:
        raise TableError.unknown(name, PARTS)
    if isinstance(part, bool) or not isinstance(part, str | int):
        raise TableError.of(name, part, 'a str, an int or None')
    return part if isinstance(part, str) else str(part)


def _unsplit(parts: Mapping[str, str]) -> str:
    authority = ''
    if 'host' in parts:
        authority = (
            '//' + _after('userinfo', '@', parts) + parts['host'] + _before(':', 'port', parts)
        )
    return (
        _after('scheme', ':', parts)
        + authority
        + parts.get('path', '')
        + _before('?', 'query', parts)
        + _before('#', 'fragment', parts)
    )


def _before(mark: str, name: str, parts: Mapping[str, str]) -> str:
    return mark + parts[name] if name in parts else ''


def _after(name: str, mark: str, parts: Mapping[str, str]) -> str:
    return parts[name] + mark if name in parts else ''


def relative(base: str, reference: str) -> str:
    """Resolve a relative reference against a base URL (RFC 3986 5.2, strict).

    Example:
        >>> relative('http://a/b/c/d?q', '../g')
        'http://a/b/g'
    """
    start, found = split(base), split(reference)
    result = dict(found)
    for part, inherited in INHERITED:
        if part in found:
            break
        result |= {name: start[name] for name in inherited if name in start}
    if 'path' in found:
        path = found['path']
        if not path.startswith('/') and not {'scheme', 'host'} & found.keys():
            path = _merge(start, path)
        result['path'] = _without_dots(path)
    path = result.get('path', '')
    if 'host' not in result and path.startswith('//'):
        result['path'] = '/.' + path  # or its first segment would be a host
    elif not {'scheme', 'host'} & result.keys() and ':' in path.partition('/')[0]:
        result['path'] = './' + path  # or that would be a scheme (RFC 3986 4.2)
    return _unsplit(result)


def _merge(start: Mapping[str, str], path: str) -> str:
    """Replace the last segment of the base's path by a relative path (RFC 3986 5.2.3)."""
    if 'host' in start and 'path' not in start:
        return '/' + path
    return start.get('path', '').rpartition('/')[0] + '/' * ('/' in start.get('path', '')) + path


def _without_dots(path: str) -> str:
    """Remove the segments ``.`` and ``..`` (RFC 3986 5.2.4), in linear time."""
    kept: list[str] = []
    segments = path.split('/')
    for segment in segments:
        if segment == '..':
            kept[-1:] = [''] if len(kept) == 1 else []  # keep the leading slash
        elif segment != '.':
            kept.append(segment)
    if segments[-1] in ('.', '..'):
        kept.append('')
    return '/'.join(kept)


def encode(value: Scalar | Query | None) -> str:
    """Percent-encode a component, or encode a table as a query string.

    All but the unreserved characters of RFC 3986 2.3 are encoded, a space as ``%20``. Text is
    encoded as UTF-8; surrogate escapes, as ``decode`` returns them, as the bytes they stand for.

    Args:
        value: A component (str, bytes, a number, or a bool, which becomes ``true`` or ``false``;
            None becomes ``''``), or a mapping or pairs. In these a list repeats its key, and a
            key whose value is None is left out.

    Raises:
        TableError: A value is of another type, or is text that UTF-8 cannot encode.

    Example:
        >>> encode('a b&c')
        'a%20b%26c'
        >>> encode({'q': 'x y', 'page': [1, 2], 'all': True})
        'q=x%20y&page=1&page=2&all=true'
    """
    if value is None:
        return ''
    if isinstance(value, str | bytes | int | float):
        return _component(value, 'query')
    return encode_pairs('query', value)


def encode_pairs(key: str, table: Query) -> str:
    """Encode a mapping or pairs as a query string; errors call the table ``key``."""
    pairs = table.items() if isinstance(table, Mapping) else table
    try:
        flat = [(name, one) for name, many in pairs for one in _values(many)]
    except (TypeError, ValueError) as error:
        raise TableError.of(key, table, 'a str, a mapping or pairs') from error
    return '&'.join([f'{_component(name, key)}={_component(one, key, name)}' for name, one in flat])


def _values(value: Any) -> Iterable[Any]:
    if isinstance(value, list | tuple):
        return value
    return () if value is None else (value,)


def _component(value: Any, key: str, name: Any = None) -> str:
    """Encode a component; errors call it ``key``, or ``key[name]`` if it is the value of a name."""
    if isinstance(value, bool):
        return 'true' if value else 'false'
    right = 'text, bytes or a number, or a bool'
    try:
        if isinstance(value, str | bytes | int | float):
            text = value if isinstance(value, str | bytes) else str(value)
            data = text if isinstance(text, bytes) else text.encode('utf-8', 'surrogateescape')
            return quote(data, safe='')
    except ValueError:  # a lone surrogate, or an int of over 4300 digits
        right = 'text that UTF-8 can encode'
    raise TableError.of(key if name is None else f'{key}[{name}]', value, right)


def decode(query: str) -> dict[str, str | list[str]]:
    """Parse a query string or an urlencoded form into a table: the inverse of ``encode``.

    A plus is a space. Bytes that are not UTF-8 become surrogate escapes, which ``encode``
    turns back. A key without ``=`` has the value ``''``.

    Returns:
        A value per key, in order of first appearance; a list if the key is repeated.

    Example:
        >>> decode('q=x+y&page=1&page=2')
        {'q': 'x y', 'page': ['1', '2']}
    """
    table: dict[str, str | list[str]] = {}
    for name, value in parse_qsl(query, keep_blank_values=True, errors='surrogateescape'):
        match table.get(name):
            case None:
                table[name] = value
            case str(first):
                table[name] = [first, value]
            case values:
                values.append(value)
    return table
