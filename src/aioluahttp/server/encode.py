"""Encode responses as bytes (RFC 9112 4, RFC 9110 8.6), with a fast path for plain tables.

Most callbacks return a dict of a status, a few headers and a text, bytes or JSON, and the same
names of headers again and again. On the fast path a template of the head is made once for a status
and these names, by the functions that every other response goes through, and cached; the values are
checked together and filled in. Every other table, and every invalid one, goes the slow way.
Streams, files and WebSockets are in ``server/exchange`` and ``server/sendfile``.
"""

from __future__ import annotations

from functools import lru_cache
from time import time
from types import NoneType
from typing import Any

from ..bodies.text import codec_of
from ..dates import date_of_second
from ..errors import TableError
from ..exchange.response import page_of
from ..headers import ONE_HOP, STR, Headers, are_plain_values
from ..semantics import PHRASES, STATUSES_WITHOUT_BODY
from ..tables.checks import RESPONSE_CHECKS
from ..tables.conversion import merge_body_keys, wire_body
from ..tables.models import Response

__all__ = [
    'date_line',
    'encode_fast',
    'encode_response_head',
    'encode_status_page',
    'framing_of',
]


KEYS = frozenset({'status', 'headers', 'body', 'json'})
TABLES: tuple[Any, ...] = (dict, Response)  # a Response, for it is what a cache returns
HEADERS: tuple[Any, ...] = (dict, Headers)
# The head depends only on the type of a body and on whether it is empty: a sample stands for it.
SAMPLES: dict[type, Any] = {
    str: 'x',
    bytes: b'x',
    NoneType: '',
}


def encode_status_page(status: int, method: str = 'GET', *fields: str) -> bytes:
    """Encode a response for a request that no handler gets. It closes the connection.

    Args:
        fields: More header lines.
    """
    headers, body = page_of(status, fields)
    lines = [f'HTTP/1.1 {status} {PHRASES[status]}', *map(': '.join, headers.items())]
    if headers['Connection'] != 'close':  # that of a 426 is Upgrade
        lines.append('Connection: close')
    data = '\r\n'.join((*lines, f'Date: {date_of_second(int(time()))}', '\r\n')).encode()
    return data if method == 'HEAD' else data + body


def encode_response_head(
    request: Any,
    status: int,
    reason: str | None,
    headers: Headers,
    framing: str | None,
    keep_alive: bool,
) -> bytes:
    """Encode the head of a response.

    Args:
        request: The head of the request, as aiohttp's parser returns it.
        framing: The header line that says where the body ends; ``None`` for no such line.
    """
    kept = [f'{name}: {value}' for name, value in headers.items() if name.lower() not in ONE_HOP]
    if framing is not None:
        kept.append(framing)
    if 'Date' not in headers:
        kept.append(f'Date: {date_of_second(int(time()))}')
    if not keep_alive:
        kept.append('Connection: close')
    elif request.version < (1, 1):
        kept.append('Connection: keep-alive')
    phrase = PHRASES.get(status, '') if reason is None else reason
    lines = '\r\n'.join((f'HTTP/1.1 {status} {phrase}', *kept, '\r\n'))
    return lines.encode('utf-8', 'surrogateescape')


def framing_of(length: int | None) -> str | None:
    """Return the ``Content-Length`` line of a length."""
    return None if length is None else f'Content-Length: {length}'


@lru_cache(1)
def date_line(second: int) -> bytes:
    """Return the ``Date`` line of a second, which all responses of that second share."""
    return f'Date: {date_of_second(second)}\r\n'.encode()


def encode_fast(table: Any, server: str | None, *, keep_alive: bool) -> bytes | None:
    """Fast path: encode a plain table as the response to an HTTP/1.1 request other than HEAD.

    Args:
        table: What a handler returned, not checked yet.
        server: The value of ``Server`` if the table has none; ``None`` adds no such header.

    Returns:
        The bytes that ``SocketExchange.whole`` writes for the same table; ``None`` if the table is
        not plain, or not valid.
    """
    if type(table) not in TABLES or not KEYS.issuperset(table):
        return None
    headers: Any = table.get('headers')
    if headers is None:
        headers = {}
    if type(headers) not in HEADERS:
        return None
    body: Any = table.get('body')
    try:
        if 'json' in table:
            key, sample, data = 'json', 'x', _encode_json(table['json'], body)
        else:
            key, sample = 'body', SAMPLES[type(body)]
            if not body:
                sample = ''
            data = body.encode() if sample == 'x' else body or b''
        kind = headers.get('Content-Type') or headers.get('content-type')
        names, values = tuple(headers), tuple(headers.values())
        if len(names) != len(values):  # a repeated header
            return None
        template = _template(table.get('status'), names, kind, (key, sample), server)
    except (KeyError, TypeError, UnicodeEncodeError, TableError):
        return None
    if template is None or (head := template.fill(values)) is None:
        return None
    close = b'' if keep_alive else b'Connection: close\r\n'
    date = b'' if template.dated else date_line(int(time()))
    return b'%bContent-Length: %d\r\n%b%b\r\n%b' % (head, len(data), date, close, data)


def _encode_json(value: Any, body: Any) -> bytes:
    if body is not None:
        raise KeyError('body')
    text: str = RESPONSE_CHECKS['json'](value)
    return text.encode()


class HeadTemplate:
    """The status line and headers of a response, without the values of the headers.

    Args:
        text: A format string that takes the values.
        dated: Whether a Date is among the headers.
    """

    def __init__(self, text: str, dated: bool) -> None:
        self.dated = dated
        self._text = text
        self._values: tuple[str, ...] | None = None  # the last ones, and the head with them
        self._head = b''

    def fill(self, values: tuple[str, ...]) -> bytes | None:
        """Return the head with these values; None if one is not plain ASCII text."""
        if values != self._values or not STR.issuperset(map(type, values)):
            if not are_plain_values(values):
                return None
            self._values, self._head = values, (self._text % values).encode()
        return self._head


@lru_cache(512, typed=True)
def _template(
    status: Any, names: tuple[Any, ...], kind: Any, body: tuple[str, Any], server: str | None
) -> HeadTemplate | None:
    """Make the template for tables of one status, the same names and one Content-Type.

    Args:
        kind: The Content-Type; None if the table has none.
        body: Its key, and a sample of it.

    Returns:
        None if such tables are not plain or not valid.
    """
    key, sample = body
    if sum(map(_is_content_type, names)) != (kind is not None):  # twice, or in another spelling
        return None
    pairs = [(name, kind if _is_content_type(name) else '') for name in names]
    try:
        status = RESPONSE_CHECKS['status'](status)
        headers: Headers = RESPONSE_CHECKS['headers'](pairs)
    except TableError:
        return None
    given = {key: sample}
    merge_body_keys(given, headers)
    wire_body(headers, given['body'])
    if status in STATUSES_WITHOUT_BODY or not ONE_HOP.isdisjoint(map(str.lower, headers)):
        return None
    if sample and isinstance(sample, str) and codec_of(headers['Content-Type']) != 'utf-8':
        return None
    if server:
        headers.setdefault('Server', server)
    lines = [f'HTTP/1.1 {status} {PHRASES.get(status, "")}']
    for position, (name, value) in enumerate(headers.items()):
        # %.0s takes a value and writes nothing: this Content-Type is complete already.
        taken = '%.0s' if _is_content_type(name) else '%s'
        line = f'{name}: {value}'.replace('%', '%%')
        lines.append(line + taken if position < len(names) else line)
    return HeadTemplate('\r\n'.join([*lines, '']), 'Date' in headers)


def _is_content_type(name: Any) -> bool:
    return isinstance(name, str) and name.lower() == 'content-type'
