"""The answer to a plain table in one step: its checked head is remembered, the rest appended.

Most callbacks return a dict of a status, a few headers and a text, bytes or JSON, and the same
status and headers again and again. For those the head is made once, by the very functions that make
every other; whatever they refuse, or do otherwise, is left to them.
"""

from __future__ import annotations

from functools import lru_cache
from time import time
from types import NoneType
from typing import Any

from ..bodies.text import codec_of
from ..errors import TableError
from ..headers import ONE_HOP, Headers
from ..semantics import NO_BODY, PHRASES
from ..tables.checks import RESPONSE_CHECKS
from ..tables.conversion import take_body, wire_body
from .encode import date_line

__all__ = ['lean_bytes']

KEYS = frozenset({'status', 'headers', 'body', 'json'})
STR = frozenset({str})
FRAMING = ONE_HOP | {'date'}
SAMPLES: dict[type, Any] = {
    str: 'x',
    bytes: b'x',
    NoneType: '',
}  # for a head only the kind of a body counts


def lean_bytes(table: Any, server: str | None, *, keep_alive: bool) -> bytes | None:
    """Encode the answer to a request of HTTP/1.1 that wants its body.

    Returns:
        What ``outgoing.encode`` makes of the table, byte for byte; ``None`` where the table is
        none of the plain kind.
    """
    if type(table) is not dict or not KEYS.issuperset(table):
        return None
    headers: Any = table.get('headers')
    if headers is None:
        headers = {}
    # Equal keys find the same head, and 1 == True: so the values are text, and all of it.
    if type(headers) is not dict or not STR.issuperset(map(type, headers.values())):
        return None
    body: Any = table.get('body')
    try:
        if 'json' in table:
            key, sample, data = 'json', 'x', _json(table['json'], body)
        else:
            key, sample = 'body', SAMPLES[type(body)]
            if not body:
                sample = ''
            data = body.encode() if sample == 'x' else body or b''
        head = _head(table.get('status'), tuple(headers.items()), key, sample, server)
    except (KeyError, TypeError, UnicodeEncodeError, TableError):
        return None
    if head is None:
        return None
    close = b'' if keep_alive else b'Connection: close\r\n'
    date = date_line(int(time()))
    return b'%bContent-Length: %d\r\n%b%b\r\n%b' % (head, len(data), date, close, data)


def _json(value: Any, body: Any) -> bytes:
    if body is not None:
        raise KeyError('body')
    text: str = RESPONSE_CHECKS['json'](value)
    return text.encode()


@lru_cache(512, typed=True)
def _head(
    status: Any, pairs: tuple[tuple[str, str], ...], key: str, sample: Any, server: str | None
) -> bytes | None:
    """Make the status line and the headers of the table; None if it is none of the plain kind."""
    try:
        status = RESPONSE_CHECKS['status'](status)
        headers: Headers = RESPONSE_CHECKS['headers'](pairs)
    except TableError:
        return None
    given = {key: sample}
    take_body(given, headers)
    wire_body(headers, given['body'])
    if status in NO_BODY or not FRAMING.isdisjoint(map(str.lower, headers)):
        return None
    if sample and isinstance(sample, str) and codec_of(headers['Content-Type']) != 'utf-8':
        return None
    if server:
        headers.setdefault('Server', server)
    lines = [f'HTTP/1.1 {status} {PHRASES.get(status, "")}', *map(': '.join, headers.items()), '']
    return '\r\n'.join(lines).encode('utf-8', 'surrogateescape')
