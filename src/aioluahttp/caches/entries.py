"""Stored responses: the class ``Entry``, their keys, and their form in a storage."""

from __future__ import annotations

import json
from dataclasses import dataclass, field, fields
from hashlib import sha256
from secrets import token_hex
from typing import Any

from ..headers import Headers
from ..tables.models import Request

__all__ = [
    'PIECE',
    'Entry',
    'dump_entry',
    'key_of',
    'load_entry',
    'make_marker',
    'selection_of',
    'variant_key',
]

PIECE = 64 * 1024  # bytes: longer bodies are stored in pieces of this size
FORMAT = 1  # an entry that was stored in another form is as good as absent

# Names of fields whose values compare without case (RFC 9110 12.5).
CASELESS = frozenset({'accept-charset', 'accept-encoding', 'accept-language'})


@dataclass(slots=True)
class Entry:
    """A stored response, or a marker that says by which request fields the responses of a key vary.

    Attributes:
        id: Unique for each body; the pieces of a body are stored under it.
        status: 0 for a marker.
        headers: To serve, without those of one hop.
        received: Unix time at which the response was received or last validated.
        age: Seconds that it was old then (``corrected_initial_age`` of RFC 9111 4.2.3).
        lifetime: Seconds of age up to which it is fresh.
        must_validate: Whether it may never be served without validation (``no-cache``).
        never_stale: Whether it may not be served stale (``must-revalidate`` and the like).
        while_revalidate: Seconds for which it may be served stale while it is validated.
        if_error: Seconds for which it may be served stale instead of an error.
        vary: Names of the request fields that it varies by, in lower case and sorted.
        size: Bytes of the body.
        body: The body, if it is one piece at most; otherwise its pieces are stored one by one.
        served: The headers with which it was served last, and the Age among them. Nothing else of
            an entry changes.
    """

    id: str
    status: int = 0
    reason: str | None = None
    headers: tuple[tuple[str, str], ...] = ()
    received: float = 0.0
    age: float = 0.0
    lifetime: float = 0.0
    must_validate: bool = False
    never_stale: bool = False
    while_revalidate: float = 0.0
    if_error: float = 0.0
    vary: tuple[str, ...] = ()
    size: int = 0
    body: bytes | None = b''
    served: tuple[int, Headers] | None = field(default=None, compare=False, repr=False)

    @property
    def is_marker(self) -> bool:
        return not self.status

    @property
    def weight(self) -> int:
        """Bytes that it counts as in the bound of a storage, with its body."""
        head = sum(len(name) + len(value) for name, value in self.headers)
        return OVERHEAD + head + self.size


OVERHEAD = 512  # bytes of an entry beside its headers and its body, roughly
NAMES = frozenset(one.name for one in fields(Entry)) - {'served'}


def make_marker(vary: tuple[str, ...]) -> Entry:
    """Make a marker. Each has its own variants: once it is replaced, no key leads to them."""
    return Entry(token_hex(8), vary=vary)


def dump_entry(entry: Entry) -> bytes:
    """Encode an entry as a line of JSON, and behind it its body if it has that itself."""
    table = {name: getattr(entry, name) for name in NAMES}
    table |= {'format': FORMAT, 'body': entry.body is not None}
    return json.dumps(table).encode() + b'\n' + (entry.body or b'')


def load_entry(data: bytes) -> Entry | None:
    """Decode an entry; None if it is damaged or has another form."""
    head, _, body = data.partition(b'\n')
    try:
        table: dict[str, Any] = json.loads(head)
        if table.pop('format') != FORMAT or table.keys() != NAMES:
            return None
        whole = table['body']
        if whole and len(body) != table['size']:
            return None
        table['headers'] = tuple((name, value) for name, value in table['headers'])
        table['vary'] = tuple(table['vary'])
        table['body'] = body if whole else None
        return Entry(**table)
    except (ValueError, KeyError, TypeError, AttributeError):
        return None


def key_of(request: Request, *, raw: bool | None = None) -> str:
    """Return the key of a request: its method, scheme, host, port and target.

    Beside these it has the Host header, which may differ from the host, the path of a Unix socket,
    and whether content codings are decoded. HEAD has the key of GET.

    Args:
        request: In normal form.
        raw: Whether content codings are left; None is what the request says.
    """
    coded = request.get('into') == 'raw' if raw is None else raw
    target = f'GET {request["scheme"]}://{request["host"]}:{request["port"]}{request["url"]}'
    host = request['headers'].get('Host', '').lower()
    return f'{target}\n{host}\n{request.get("unix") or ""}\n{"raw" if coded else ""}'


def variant_key(key: str, marker: Entry, headers: Headers) -> str:
    """Return the key of the variant that a request selects."""
    return f'{key}\n{marker.id} {selection_of(marker.vary, headers)}'


def selection_of(vary: tuple[str, ...], headers: Headers) -> str:
    """Return a digest of the request fields by which responses vary (RFC 9111 4.1)."""
    values = [_normal(name, headers.getall(name, None)) for name in vary]
    return sha256(json.dumps(values).encode()).hexdigest()


def _normal(name: str, lines: list[str] | None) -> str | None:
    """Bring a request field to the form in which it is compared: one line, without blanks."""
    if lines is None:
        return None
    if any('"' in line for line in lines):  # blanks in a quoted string mean something
        return ', '.join(lines)
    value = ','.join(one.strip(' \t') for line in lines for one in line.split(','))
    return value.lower() if name in CASELESS else value
