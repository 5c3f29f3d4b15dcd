"""Encode forms as ``multipart/form-data`` (RFC 7578).

Urlencoded forms are encoded by ``url.encode``, and both kinds are parsed in ``multipart``.
"""

from __future__ import annotations

import hashlib
import os
from collections.abc import Iterable, Iterator, Mapping
from typing import Any, NamedTuple

from ..errors import TableError
from ..headers import CONTROL
from ..media_types import UNKNOWN, type_of
from .files import check_file, file_name_of, is_file

__all__ = ['MultipartBody', 'PartFile', 'encode_multipart']

PART_KEYS = ('name', 'body', 'filename', 'content_type')
LIST = 'a list of tables with name and body'


class PartFile(NamedTuple):
    """The file of a part: ``body`` is a path or an open file, ``key`` names it in errors."""

    key: str
    body: Any


class MultipartBody:
    """A multipart body with files, which are read while it is sent.

    Attributes:
        pieces: What it consists of, in order.
    """

    def __init__(self, pieces: Iterable[bytes | PartFile]) -> None:
        self.pieces: list[bytes | PartFile] = list(pieces)

    @property
    def files(self) -> Iterator[Any]:
        """The paths and open files."""
        return (piece.body for piece in self.pieces if isinstance(piece, PartFile))

    def __repr__(self) -> str:
        return f'<MultipartBody of {list(self.files)}>'


def encode_multipart(parts: Iterable[Mapping[str, Any]]) -> tuple[str, bytes | MultipartBody]:
    """Encode parts as a ``multipart/form-data`` body.

    The boundary is a hash of the content, so that equal tables make equal bytes; with files, whose
    content is not known yet, it is random.

    Args:
        parts: Tables of ``name`` and ``body`` (str as UTF-8, bytes-like, a path or a binary file),
            and for a file ``filename`` and ``content_type``.

    Returns:
        The Content-Type and the body.

    Raises:
        TableError: A part has no name or body, an unknown key or a malformed value.
    """
    if isinstance(parts, str | bytes | Mapping) or not isinstance(parts, Iterable):
        raise TableError.of('multipart', parts, LIST)
    heads_and_bodies = [_encode_part(part) for part in parts]
    data = [body for _, body in heads_and_bodies if isinstance(body, bytes)]
    if whole := len(data) == len(heads_and_bodies):
        heads = [head for head, _ in heads_and_bodies]
        content = b'\n'.join(piece for pair in zip(heads, data, strict=True) for piece in pair)
        boundary = hashlib.sha256(content).hexdigest()
    else:
        boundary = os.urandom(32).hex()
    pieces = list(_pieces(boundary.encode(), heads_and_bodies))
    body = b''.join(pieces) if whole else MultipartBody(_joined(pieces))  # type: ignore[arg-type]
    return f'multipart/form-data; boundary={boundary}', body


def _pieces(
    boundary: bytes, heads_and_bodies: Iterable[tuple[bytes, bytes | PartFile]]
) -> Iterator[bytes | PartFile]:
    for head, body in heads_and_bodies:
        yield b'--%b\r\n%b\r\n\r\n' % (boundary, head)
        yield body
        yield b'\r\n'
    yield b'--%b--\r\n' % boundary


def _joined(pieces: Iterable[bytes | PartFile]) -> Iterator[bytes | PartFile]:
    """Join bytes that follow each other."""
    waiting: list[bytes] = []
    for piece in pieces:
        if isinstance(piece, bytes):
            waiting.append(piece)
        else:
            yield b''.join(waiting)
            yield piece
            waiting = []
    yield b''.join(waiting)


def _encode_part(part: Any) -> tuple[bytes, bytes | PartFile]:
    if not isinstance(part, Mapping):
        raise TableError.of('multipart', part, LIST)
    for key in part:
        if key not in PART_KEYS:
            raise TableError.unknown(key, PART_KEYS)
    name, filename, kind = (
        _check_text(key, part.get(key)) for key in ('name', 'filename', 'content_type')
    )
    if name is None:
        raise TableError.of('multipart', part, 'tables that have a name')
    body = _to_part_body(f'multipart[{name}].body', part.get('body'))
    if filename is None and isinstance(body, PartFile):
        filename = _check_text('filename', file_name_of(body.body))
    if filename is not None and kind is None:
        kind = type_of(filename) or UNKNOWN
    head = f'Content-Disposition: form-data; name="{_quoted(name)}"'
    head += '' if filename is None else f'; filename="{_quoted(filename)}"'
    head += '' if kind is None else f'\r\nContent-Type: {kind}'
    return head.encode('utf-8', 'surrogateescape'), body


def _to_part_body(key: str, body: Any) -> bytes | PartFile:
    if isinstance(body, str):
        return _encode_utf8(key, body)
    if isinstance(body, bytes | bytearray | memoryview):
        return bytes(body)
    if isinstance(body, os.PathLike) or is_file(body):
        return PartFile(key, check_file(key, body))
    raise TableError.of(key, body, 'a str, bytes, a path or a binary file')


def _check_text(key: str, value: Any) -> str | None:
    if value is None:
        return None
    # A line break in a name is sent as %0D or %0A; other control characters cannot be sent.
    kept = value if key == 'content_type' else str(value).translate({10: None, 13: None})
    if not isinstance(value, str) or CONTROL.search(kept):
        raise TableError.of(f'multipart.{key}', value, 'a str without control characters')
    _encode_utf8(f'multipart.{key}', value)
    return value


def _encode_utf8(key: str, text: str) -> bytes:
    try:
        return text.encode('utf-8', 'surrogateescape')
    except UnicodeEncodeError as error:
        raise TableError.of(key, text, 'text that UTF-8 can encode') from error


def _quoted(text: str) -> str:
    # As browsers do (the HTML standard, multipart/form-data encoding algorithm).
    return text.replace('"', '%22').replace('\r', '%0D').replace('\n', '%0A')
