"""The parts of a ``multipart/form-data`` body as they come, by aiohttp's reader (RFC 7578)."""

from __future__ import annotations

import re
from collections.abc import AsyncIterator, Iterator, Mapping
from contextlib import contextmanager
from functools import partial
from typing import TYPE_CHECKING, Any, cast
from urllib.parse import unquote_to_bytes

from aiohttp import BodyPartReader, MultipartReader
from aiohttp.http import HttpProcessingError

from ..errors import BodyTooLarge, ProtocolError, shown
from .text import from_bytes

if TYPE_CHECKING:
    from aiohttp import StreamReader

__all__ = ['MultipartBody', 'PartBody']

STEP = 64 * 1024  # bytes of a body that are read at a time
MAX_HEAD = 8 * 1024  # bytes of all lines between two bodies: a head of a kilobyte is a long one

# RFC 2046 5.1.1.
BOUNDARY = re.compile(r"[0-9A-Za-z'()+_,\-./:=? ]{0,69}[0-9A-Za-z'()+_,\-./:=?]")
# Browsers write a backslash as it is and a quote as %22; others put a backslash before a quote. So
# a quote ends a value unless one stands before it and more of the value after it.
QUOTED = r'"((?:[^"]|(?<=\\)"(?!\s*+(?:;|$)))*+)"'
PARAMETER = re.compile(rf';\s*+([^\s=;,"]++)(?:\s*+=\s*+(?:{QUOTED}|([^\s;,"]*+)))?+')
DISPOSITION = re.compile(rf'\s*+form-data((?:\s*+{PARAMETER.pattern})*+)\s*+;?', re.IGNORECASE)
ESCAPES = (('\\"', '"'), ('%22', '"'), ('%0D', '\r'), ('%0A', '\n'))
AS_IT_IS = frozenset({'7bit', '8bit', 'binary'})


class MultipartBody:
    """A row of parts, each of which is read, or skipped, before the next.

    Args:
        content_type: That of the body, with its boundary.
        chunks: The body, in pieces of moderate size: each part may copy one.

    Raises:
        ProtocolError: There is no boundary, or none that is allowed.
    """

    def __init__(self, content_type: str, chunks: AsyncIterator[bytes]) -> None:
        boundary = _parameters(content_type).get('boundary', '')
        if not BOUNDARY.fullmatch(boundary):
            raise ProtocolError('a multipart body has to name its boundary (RFC 2046 5.1.1)')
        self._content = _Content(chunks)
        # Told of a form, the reader of aiohttp would read a field called _charset_ by itself, and
        # trip over its end; of nested parts, it would look for their parts. Its makers of parts
        # are replaced by one that knows neither: see test_the_field_charset_is_a_field.
        self._reader = MultipartReader(
            {'Content-Type': f'multipart/mixed; boundary="{boundary}"'},
            cast('StreamReader', self._content),
        )
        nested = partial(_body, b'--' + boundary.encode())
        self._reader.part_reader_cls = _body  # type: ignore[assignment]  # pyright: ignore[reportAttributeAccessIssue]
        self._reader.multipart_reader_cls = nested  # type: ignore[assignment]  # pyright: ignore[reportAttributeAccessIssue]

    async def next(self) -> PartBody | None:
        """Give the next part, None after the last one.

        Raises:
            BodyTooLarge: A head passes ``MAX_HEAD``, or what stands before or after all parts.
            ProtocolError: The body is broken or was cut off.
        """
        with _checked():
            if found := await self._reader.next():
                return PartBody(cast('BodyPartReader', found))
        while await self._content.readline():
            pass  # what follows the last boundary; the body is whole only if it ends
        return None


def _body(boundary: bytes, headers: Any, content: Any, **_: Any) -> BodyPartReader:
    # A form's parts have no Content-Length, whatever they say (RFC 7578 4.8).
    return BodyPartReader(boundary, headers, content, subtype='form-data')


class PartBody:
    """A part, and an async iterator of the pieces of its body.

    ``filename`` and ``content_type`` are None where absent. Taking a piece raises a
    ``ProtocolError`` where the body was cut off.
    """

    def __init__(self, body: BodyPartReader) -> None:
        self._body = body
        self.content_type: str | None = body.headers.get('Content-Type')
        for encoding in body.headers.getall('Content-Transfer-Encoding', ()):
            if encoding.lower() not in AS_IT_IS:  # no browser sends one (RFC 7578 4.7)
                raise ProtocolError('a part of a form must not be encoded (RFC 7578 4.7)')
        dispositions = body.headers.getall('Content-Disposition', ())
        if len(dispositions) != 1 or not DISPOSITION.fullmatch(dispositions[0]):
            raise ProtocolError('a part of a form has to have one Content-Disposition of form-data')
        parameters = _parameters(dispositions[0])
        name = _name(parameters, 'name')
        if name is None:
            raise ProtocolError('a part of a form has to have a name (RFC 7578 4.2)')
        self.name = name
        self.filename: str | None = _name(parameters, 'filename')

    def __aiter__(self) -> AsyncIterator[bytes]:
        return self

    async def __anext__(self) -> bytes:
        if self._body.at_eof():
            raise StopAsyncIteration
        with _checked():
            return await self._body.read_chunk(STEP)


@contextmanager
def _checked() -> Iterator[None]:
    try:
        yield
    except (ValueError, HttpProcessingError) as error:
        raise ProtocolError('the multipart body is broken or was cut off') from error


def _parameters(value: str) -> dict[str, str]:
    """Read the parameters of a field; one that is there twice would be read as either."""
    found: dict[str, str] = {}
    for name, quoted, bare in PARAMETER.findall(value):
        if name.lower() in found:
            raise ProtocolError(f'{shown(name)} is there twice')
        found[name.lower()] = quoted or bare
    return found


def _name(parameters: Mapping[str, str], key: str) -> str | None:
    """Read a name as browsers and curl write it, or as in RFC 5987 where there is no other."""
    if (value := parameters.get(key)) is not None:
        for written, meant in ESCAPES:
            value = value.replace(written, meant)
        return value
    charset, _, rest = parameters.get(key + '*', '').partition("'")
    return from_bytes(unquote_to_bytes(rest.partition("'")[2]), f';charset={charset}') or None


class _Content:
    """What of ``aiohttp.StreamReader`` its ``MultipartReader`` calls, with a limit on lines.

    aiohttp's own needs a connection, copies all that it holds for each part, and takes lines
    before the first boundary without end.
    """

    def __init__(self, chunks: AsyncIterator[bytes]) -> None:
        self._chunks = chunks
        self._buffer = bytearray()
        self._ended = False
        self._head = 0  # bytes of lines since the last read of a body

    async def read(self, size: int) -> bytes:
        self._head = 0
        while not self._buffer and not self._ended:
            await self._more()
        return self._take(size)

    async def readline(self, *, max_line_length: int | None = None) -> bytes:
        start = 0
        while (end := self._buffer.find(b'\n', start)) < 0 and not self._ended:
            start = len(self._buffer)
            self._check(start)
            await self._more()
        line = self._take(end + 1 or len(self._buffer))
        self._check(len(line))
        self._head += len(line)
        return line

    def unread_data(self, data: bytes) -> None:
        self._buffer[:0] = data

    def at_eof(self) -> bool:
        return self._ended and not self._buffer

    def _check(self, size: int) -> None:
        if self._head + size > MAX_HEAD:
            raise BodyTooLarge(f'the head of a part passed {MAX_HEAD} bytes')

    def _take(self, size: int) -> bytes:
        data = bytes(self._buffer[:size])
        del self._buffer[:size]
        return data

    async def _more(self) -> None:
        chunk = await anext(self._chunks, None)
        self._ended = chunk is None
        self._buffer += chunk or b''
