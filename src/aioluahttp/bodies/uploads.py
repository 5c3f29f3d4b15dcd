"""Forms that come in, urlencoded or multipart, as multi-maps within limits (RFC 7578)."""

from __future__ import annotations

import asyncio
import math
from collections.abc import AsyncGenerator, AsyncIterable, Iterator, Mapping
from contextlib import ExitStack, aclosing
from tempfile import SpooledTemporaryFile
from typing import TYPE_CHECKING, Any
from urllib.parse import parse_qsl

from multidict import MultiDict

from ..errors import BodyTooLarge, ProtocolError, shown
from ..headers import Headers
from .multipart import MultipartBody
from .text import charset_of, from_bytes
from .threads import in_thread

if TYPE_CHECKING:
    from ..types import FormFile
    from .multipart import PartBody

__all__ = ['close_form', 'read_form']

STEP = 64 * 1024  # bytes: what a body in memory is cut into, since each part may copy a piece
BATCH = 512 * 1024  # bytes for one turn of a thread, which costs more than to write a piece
LABEL = 64  # bytes: no charset has a longer name


async def read_form(
    headers: Headers,
    content: bytes | AsyncIterable[bytes],
    *,
    max_fields: int | None = 1000,
    max_files: int | None = 100,
    max_text: int | None = 1024 * 1024,
    max_size: int | None = None,
    spool: int | None = None,
) -> MultiDict[str | FormFile]:
    """Read a form, urlencoded or multipart, as a multi-map of its fields and files.

    A field is text: by the charset that its part names, else by that in the field ``_charset_``,
    else UTF-8; where that is no lossless codec, UTF-8 with surrogate escapes. A file, which is
    what has a filename, be it ``''``, is a table of ``filename``, ``content_type`` and ``body``.
    Its filename is whatever the peer sent: no path to write to. In names and filenames ``%22``,
    ``%0D`` and ``%0A`` are undone, since browsers write them so.

    Args:
        headers: Of which the Content-Type counts.
        content: The decoded body; of a ``StreamReader`` its ``iter_any()``.
        max_fields: How many fields there may be. Here and below ``None`` is no limit.
        max_files: How many files.
        max_text: Bytes of all fields together, or of an urlencoded body.
        max_size: Bytes of the whole body.
        spool: ``None`` makes the body of each file bytes. A number makes it an open binary file
            at its start, which is on disk where it has more bytes than that, has no name there,
            and is gone once it is closed: ``close_form`` closes all.

    Raises:
        BodyTooLarge: The form passes a limit.
        ProtocolError: The body is no form, is broken, or was cut off.
    """
    limits = {
        'max_fields': max_fields,
        'max_files': max_files,
        'max_text': max_text,
        'max_size': max_size,
    }
    left = {key: math.inf if limit is None else limit for key, limit in limits.items()}
    content_type = headers.get('Content-Type', '')
    async with aclosing(_steps(content, left)) as chunks:
        match content_type.partition(';')[0].strip().lower():
            case 'multipart/form-data':
                return await _multipart(MultipartBody(content_type, chunks), left, spool)
            case 'application/x-www-form-urlencoded':
                return _urlencoded(await _text(chunks, left), max_fields)
    raise ProtocolError(f'the body is no form: its Content-Type is {shown(content_type)}')


def close_form(form: Mapping[str, str | FormFile]) -> None:
    """Close the files of a form, which removes those that are on disk."""
    for value in form.values():
        if not isinstance(value, str) and not isinstance(value['body'], bytes):
            value['body'].close()


def _take(left: dict[str, float], key: str, taken: int = 1) -> None:
    left[key] -= taken
    if left[key] < 0:
        raise BodyTooLarge(f'the form passed {key}')


async def _steps(
    content: bytes | AsyncIterable[bytes], left: dict[str, float]
) -> AsyncGenerator[bytes, None]:
    if isinstance(content, bytes):
        for piece in _cut(content, left):
            yield piece
    else:
        async for chunk in content:
            for piece in _cut(chunk, left):
                yield piece


def _cut(chunk: bytes, left: dict[str, float]) -> Iterator[bytes]:
    _take(left, 'max_size', len(chunk))
    return (chunk[start : start + STEP] for start in range(0, len(chunk), STEP))


async def _text(pieces: AsyncIterable[bytes], left: dict[str, float]) -> bytes:
    data = bytearray()
    async for piece in pieces:
        _take(left, 'max_text', len(piece))
        data += piece
    return bytes(data)


def _urlencoded(data: bytes, max_fields: int | None) -> MultiDict[str | FormFile]:
    text = data.decode('utf-8', 'surrogateescape')
    try:  # as url.decode does
        pairs = parse_qsl(
            text, keep_blank_values=True, errors='surrogateescape', max_num_fields=max_fields
        )
    except ValueError as error:  # before any of them is decoded
        raise BodyTooLarge('the form passed max_fields') from error
    return MultiDict(pairs)


async def _multipart(
    body: MultipartBody, left: dict[str, float], spool: int | None
) -> MultiDict[str | FormFile]:
    found: list[tuple[str, bytes | FormFile, str]] = []
    with ExitStack() as opened:
        while part := await body.next():
            value: bytes | FormFile
            if part.filename is None:
                _take(left, 'max_fields')
                value = await _text(part, left)
            else:
                _take(left, 'max_files')
                value = await _file(part, part.filename, spool, opened)
            found.append((part.name, value, part.content_type or ''))
            await asyncio.sleep(0)  # a thousand small parts take a tenth of a second
        opened.pop_all()
    # RFC 7578 4.6. It may stand after the fields that it speaks of.
    labels = (data for name, data, _ in found if name == '_charset_' and isinstance(data, bytes))
    default = '; charset=' + next(labels, b'')[:LABEL].decode('latin-1').strip()
    return MultiDict(
        (name, from_bytes(value, kind if charset_of(kind) else default))
        if isinstance(value, bytes)
        else (name, value)
        for name, value, kind in found
    )


async def _file(part: PartBody, filename: str, spool: int | None, opened: ExitStack) -> FormFile:
    body: Any
    if spool is None:
        body = b''.join([piece async for piece in part])
    else:
        body = opened.enter_context(SpooledTemporaryFile())  # noqa: SIM115  # the stack closes it
        await _write(part, body, spool)
    return {
        'filename': filename,
        'content_type': part.content_type or 'application/octet-stream',
        'body': body,
    }


async def _write(part: PartBody, file: SpooledTemporaryFile[bytes], spool: int) -> None:
    """Write a body to a file, in a thread from where it is on disk."""
    held: list[bytes] = []  # for the disk
    size = 0
    async for piece in part:
        if not held and file.tell() + len(piece) <= spool:
            file.write(piece)
            continue
        held.append(piece)
        size += len(piece)
        if size >= BATCH:
            await in_thread(_append, file, held)
            held, size = [], 0
    await in_thread(_end, file, held)


def _append(file: SpooledTemporaryFile[bytes], pieces: list[bytes]) -> None:
    file.rollover()  # to disk
    file.writelines(pieces)


def _end(file: SpooledTemporaryFile[bytes], pieces: list[bytes]) -> None:
    if pieces:
        _append(file, pieces)
    file.seek(0)
