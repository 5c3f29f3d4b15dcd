"""Encode forms as ``multipart/form-data`` (RFC 7578).

Urlencoded forms are encoded by ``url.encode``, and both kinds are parsed in ``multipart``.
"""

from __future__ import annotations

import hashlib
from collections.abc import Iterable, Mapping
from typing import Any

from ..errors import TableError
from ..headers import CONTROL

__all__ = ['encode_multipart']

PART_KEYS = ('name', 'body', 'filename', 'content_type')


def encode_multipart(parts: Iterable[Mapping[str, Any]]) -> tuple[str, bytes]:
    """Encode parts as a ``multipart/form-data`` body.

    The boundary is a hash of the content, so that equal tables make equal bytes.

    Args:
        parts: Tables of ``name`` and ``body`` (str as UTF-8, or bytes-like), and for a file
            ``filename`` and ``content_type``.

    Returns:
        The Content-Type and the body.

    Raises:
        TableError: A part has no name or body, an unknown key or a malformed value.
    """
    if isinstance(parts, str | bytes | Mapping) or not isinstance(parts, Iterable):
        raise TableError.of('multipart', parts, 'a list of tables with name and body')
    heads_and_bodies = [_encode_part(part) for part in parts]
    digest = hashlib.sha256(b'\n'.join(piece for pair in heads_and_bodies for piece in pair))
    boundary = digest.hexdigest()
    pieces = [
        b'--%b\r\n%b\r\n\r\n%b\r\n' % (boundary.encode(), head, body)
        for head, body in heads_and_bodies
    ]
    return (
        f'multipart/form-data; boundary={boundary}',
        b''.join([*pieces, b'--%b--\r\n' % boundary.encode()]),
    )


def _encode_part(part: Any) -> tuple[bytes, bytes]:
    if not isinstance(part, Mapping):
        raise TableError.of('multipart', part, 'a list of tables with name and body')
    for key in part:
        if key not in PART_KEYS:
            raise TableError.unknown(key, PART_KEYS)
    name, filename, kind = (
        _check_text(key, part.get(key)) for key in ('name', 'filename', 'content_type')
    )
    if name is None:
        raise TableError.of('multipart', part, 'tables that have a name')
    body = part.get('body')
    if isinstance(body, str):
        data = _encode_utf8(f'[{name}].body', body)
    elif isinstance(body, bytes | bytearray | memoryview):
        data = bytes(body)
    else:
        raise TableError.of(f'multipart[{name}].body', body, 'a str or bytes')
    if filename is not None and kind is None:
        kind = 'application/octet-stream'
    head = f'Content-Disposition: form-data; name="{_quoted(name)}"'
    head += '' if filename is None else f'; filename="{_quoted(filename)}"'
    head += '' if kind is None else f'\r\nContent-Type: {kind}'
    return head.encode('utf-8', 'surrogateescape'), data


def _check_text(key: str, value: Any) -> str | None:
    if value is None:
        return None
    # A line break in a name is sent as %0D or %0A; other control characters cannot be sent.
    kept = value if key == 'content_type' else str(value).translate({10: None, 13: None})
    if not isinstance(value, str) or CONTROL.search(kept):
        raise TableError.of(f'multipart.{key}', value, 'a str without control characters')
    _encode_utf8(f'.{key}', value)
    return value


def _encode_utf8(key: str, text: str) -> bytes:
    try:
        return text.encode('utf-8', 'surrogateescape')
    except UnicodeEncodeError as error:
        raise TableError.of(f'multipart{key}', text, 'text that UTF-8 can encode') from error


def _quoted(text: str) -> str:
    # As browsers do (the HTML standard, multipart/form-data encoding algorithm).
    return text.replace('"', '%22').replace('\r', '%0D').replace('\n', '%0A')
