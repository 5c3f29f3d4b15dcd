"""Parse forms, urlencoded or ``multipart/form-data``, within limits (RFC 7578).

Forms are encoded in ``forms``.
"""

from __future__ import annotations

import asyncio
import math
import re
from collections.abc import AsyncGenerator, AsyncIterable, AsyncIterator, Iterator, Mapping
from contextlib import ExitStack, aclosing
from tempfile import SpooledTemporaryFile
from typing import TYPE_CHECKING, Any
from urllib.parse import parse_qsl, unquote_to_bytes

from multidict import MultiDict

from ..errors import BodyTooLarge, ProtocolError, shown
from ..headers import CONTROL, TOKEN, Headers
from .chunks import in_thread, slices
from .text import charset_of, from_bytes

if TYPE_CHECKING:
    from ..types import FormFile

__all__ = ['PartBody', 'ReceivedMultipart', 'read_form']

STEP = 64 * 1024  # bytes of a body that are read at a time
MAX_HEAD = 8 * 1024  # bytes of all lines between two bodies: a head of a kilobyte is long
MAX_LINES = 128  # of the head of a part
BATCH = 512 * 1024  # bytes of one write in a thread: starting that costs more than writing a piece
LABEL = 64  # bytes: no charset has a longer name

# RFC 2046 5.1.1.
BOUNDARY = re.compile(r"[0-9A-Za-z'()+_,\-./:=? ]{0,69}[0-9A-Za-z'()+_,\-./:=?]")
# Browsers send a backslash as it is and a quote as %22; other clients put a backslash before a
# quote. So a quote ends the value unless a backslash is before it and more of the value after it.
QUOTED = r'"((?:[^"]|(?<=\\)"(?!\s*+(?:;|$)))*+)"'
PARAMETER = re.compile(rf';\s*+([^\s=;,"]++)(?:\s*+=\s*+(?:{QUOTED}|([^\s;,"]*+)))?+')
DISPOSITION = re.compile(rf'\s*+form-data((?:\s*+{PARAMETER.pattern})*+)\s*+;?', re.IGNORECASE)
ESCAPES = (('\\"', '"'), ('%22', '"'), ('%0D', '\r'), ('%0A', '\n'))
UNENCODED = frozenset({'7bit', '8bit', 'binary'})


class ReceivedMultipart:
    """The parts of a multipart body, each of which is read or skipped before the next.

    Stricter than RFC 2046 where parsers disagree: all line ends are CRLF, a head has no folded
    lines, and a line that only begins with the boundary is an error.

    Args:
        content_type: That of the body, with its boundary.
        chunks: The body, in pieces of moderate size: each is copied once.

    Raises:
        ProtocolError: There is no boundary, or it is malformed.
    """

    def __init__(self, content_type: str, chunks: AsyncIterator[bytes]) -> None:
        boundary = _parameters(content_type).get('boundary', '')
        if not BOUNDARY.fullmatch(boundary):
            raise ProtocolError(f'the boundary is {shown(boundary)}, which RFC 2046 5.1.1 forbids')
        self._delimiter = b'\r\n--' + boundary.encode()
        self._chunks = chunks
        self._buffer = bytearray()
        self._ended = False  # all chunks were taken
        self._in_part = False  # the delimiter after the current part was not taken yet
        self._left = MAX_HEAD  # bytes of lines that may come before the next body

    async def next(self) -> PartBody | None:
        """Return the next part, or None after the last one.

        Raises:
            BodyTooLarge: A head, the preamble or the epilogue is longer than ``MAX_HEAD``.
            ProtocolError: The body is broken or was cut off.
        """
        if self._in_part:
            while await self.read():
                pass
            self._take(2)  # the CRLF of the delimiter
        self._left = MAX_HEAD
        dashes = self._delimiter[2:]
        while not (line := await self._line()).startswith(dashes):  # the preamble
            _require(not self._ended and dashes not in line)
        rest = line.removeprefix(dashes).rstrip(b' \t')
        if rest == b'--':
            while not self._ended:  # the epilogue: the body is complete only at its end
                await self._line()
            return None
        _require(not rest)
        headers = await self._head()
        self._in_part = True
        return PartBody(headers, self)

    async def _head(self) -> Headers:
        """Read the head of a part, and the empty line after it."""
        pairs: list[tuple[str, str]] = []
        while line := await self._line():
            name, colon, value = line.decode('utf-8', 'surrogateescape').partition(':')
            _require(colon and TOKEN.fullmatch(name) and not CONTROL.search(value))
            pairs.append((name, value.strip(' \t')))
        _require(len(pairs) <= MAX_LINES)
        # A delimiter here would use the CRLF of the empty line: some parsers do not see it.
        while len(self._buffer) < len(self._delimiter) - 2 and not self._ended:
            await self._more()
        _require(not self._buffer.startswith(self._delimiter[2:]))
        return Headers(pairs)

    async def read(self) -> bytes:
        """Return more of the body of the current part; ``b''`` at its end."""
        while (end := self._buffer.find(self._delimiter)) < 0:
            # The last bytes may be the first ones of a delimiter.
            end = len(self._buffer) - len(self._delimiter) + 1
            if end > 0:
                break
            _require(not self._ended)
            await self._more()
        return self._take(end)

    async def _line(self) -> bytes:
        """Return the next line without its CRLF; at the end of the body, what is left of it."""
        while (end := self._buffer.find(b'\r\n')) < 0 and not self._ended:
            self._limit(len(self._buffer))
            await self._more()
        line = self._take(len(self._buffer) if end < 0 else end)
        self._left -= len(line + self._take(2))
        self._limit(0)
        return line.removesuffix(b'\r') if end < 0 else line  # half a CRLF is no part of it

    def _limit(self, size: int) -> None:
        if size > self._left:
            raise BodyTooLarge(f'the head of a part passed {MAX_HEAD} bytes')

    def _take(self, size: int) -> bytes:
        data = bytes(self._buffer[:size])
        del self._buffer[:size]
        return data

    async def _more(self) -> None:
        chunk = await anext(self._chunks, None)
        self._ended = chunk is None
        self._buffer += chunk or b''


class PartBody:
    """A part of a form, and an async iterator of the pieces of its body.

    ``filename`` and ``content_type`` are None if absent. Iterating raises a ``ProtocolError`` if
    the body was cut off.
    """

    def __init__(self, headers: Headers, body: ReceivedMultipart) -> None:
        self._body = body
        self.content_type: str | None = headers.get('Content-Type')
        for encoding in headers.getall('Content-Transfer-Encoding', ()):
            if encoding.lower() not in UNENCODED:  # no browser sends one (RFC 7578 4.7)
                raise ProtocolError(f'a part must not have the encoding {shown(encoding)}')
        dispositions = headers.getall('Content-Disposition', ())
        if len(dispositions) != 1 or not DISPOSITION.fullmatch(dispositions[0]):
            raise ProtocolError('a part of a form must have one Content-Disposition of form-data')
        parameters = _parameters(dispositions[0])
        name = _name(parameters, 'name')
        if name is None:
            raise ProtocolError('a part of a form must have a name (RFC 7578 4.2)')
        self.name = name
        self.filename: str | None = _name(parameters, 'filename')

    def __aiter__(self) -> AsyncIterator[bytes]:
        return self

    async def __anext__(self) -> bytes:
        if piece := await self._body.read():
            return piece
        raise StopAsyncIteration


def _require(holds: object) -> None:
    if not holds:
        raise ProtocolError('the multipart body is broken or was cut off')


def _parameters(value: str) -> dict[str, str]:
    """Parse the parameters of a header. A repeated one is refused: which one counts is unclear."""
    found: dict[str, str] = {}
    for name, quoted, bare in PARAMETER.findall(value):
        if name.lower() in found:
            raise ProtocolError(f'the parameter {shown(name)} is repeated')
        found[name.lower()] = quoted or bare
    return found


def _name(parameters: Mapping[str, str], key: str) -> str | None:
    """Decode a name as browsers and curl encode it, or if there is none, as RFC 5987 does."""
    if (value := parameters.get(key)) is not None:
        for written, meant in ESCAPES:
            value = value.replace(written, meant)
        return value
    charset, _, rest = parameters.get(key + '*', '').partition("'")
    return from_bytes(unquote_to_bytes(rest.partition("'")[2]), f';charset={charset}') or None


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

    A field is text, in the charset that its part names, else that in the field ``_charset_``,
    else UTF-8; a charset without a lossless codec counts as UTF-8 with surrogate escapes. A part
    with a filename, even ``''``, is a file: a table of ``filename``, ``content_type`` and
    ``body``. The filename is whatever the peer sent: do not use it as a path. In names and
    filenames ``%22``, ``%0D`` and ``%0A`` are decoded, since browsers encode these characters so.

    Args:
        headers: Only Content-Type is used.
        content: The decoded body; of a ``StreamReader`` its ``iter_any()``.
        max_fields: How many fields there may be. Here and below ``None`` is no limit.
        max_files: How many files there may be.
        max_text: Bytes of all fields together, or of an urlencoded body.
        max_size: Bytes of the whole body.
        spool: ``None`` makes the body of each file bytes. A number makes it an open binary file
            at its start, which is on disk if it has more bytes than that. It has no name there,
            and is deleted once it is closed.

    Raises:
        BodyTooLarge: The form exceeds a limit.
        ProtocolError: The body is not a form, is malformed, or was cut off.
    """
    limits = {
        'max_fields': max_fields,
        'max_files': max_files,
        'max_text': max_text,
        'max_size': max_size,
    }
    left = {key: math.inf if limit is None else limit for key, limit in limits.items()}
    content_type = headers.get('Content-Type', '')
    async with aclosing(_in_steps(content, left)) as chunks:
        match content_type.partition(';')[0].strip().lower():
            case 'multipart/form-data':
                return await _multipart(ReceivedMultipart(content_type, chunks), left, spool)
            case 'application/x-www-form-urlencoded':
                return _urlencoded(await _read_text(chunks, left), max_fields)
    raise ProtocolError(f'the body is not a form: its Content-Type is {shown(content_type)}')


def _count(left: dict[str, float], key: str, taken: int = 1) -> None:
    left[key] -= taken
    if left[key] < 0:
        raise BodyTooLarge(f'the form passed {key}')


async def _in_steps(
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
    _count(left, 'max_size', len(chunk))
    return slices(chunk, STEP)


async def _read_text(pieces: AsyncIterable[bytes], left: dict[str, float]) -> bytes:
    data = bytearray()
    async for piece in pieces:
        _count(left, 'max_text', len(piece))
        data += piece
    return bytes(data)


def _urlencoded(data: bytes, max_fields: int | None) -> MultiDict[str | FormFile]:
    text = data.decode('utf-8', 'surrogateescape')
    try:  # as url.decode does
        pairs = parse_qsl(
            text, keep_blank_values=True, errors='surrogateescape', max_num_fields=max_fields
        )
    except ValueError as error:  # raised before any field is decoded
        raise BodyTooLarge('the form passed max_fields') from error
    return MultiDict(pairs)


async def _multipart(
    body: ReceivedMultipart, left: dict[str, float], spool: int | None
) -> MultiDict[str | FormFile]:
    found: list[tuple[str, bytes | FormFile, str]] = []
    with ExitStack() as opened:
        while part := await body.next():
            value: bytes | FormFile
            if part.filename is None:
                _count(left, 'max_fields')
                value = await _read_text(part, left)
            else:
                _count(left, 'max_files')
                value = await _file(part, part.filename, spool, opened)
            found.append((part.name, value, part.content_type or ''))
            await asyncio.sleep(0)  # other tasks run: a thousand small parts take 0.1 s
        opened.pop_all()
    # RFC 7578 4.6. The field may come after those that it applies to.
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
        await _write_file(part, body, spool)
    return {
        'filename': filename,
        'content_type': part.content_type or 'application/octet-stream',
        'body': body,
    }


async def _write_file(part: PartBody, file: SpooledTemporaryFile[bytes], spool: int) -> None:
    """Write a body to a file: beyond ``spool`` bytes to disk, in a thread."""
    held: list[bytes] = []  # to be written to disk
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
