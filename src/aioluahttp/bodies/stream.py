"""A body that is read while it arrives: the class ``Stream``."""

from __future__ import annotations

from collections.abc import AsyncIterable, AsyncIterator
from typing import Any, Self

from ..errors import BodyTooLarge, ProtocolError
from . import text
from .chunks import close

__all__ = ['ArrivedBody', 'Stream', 'read_arrived']

LINE = 1024 * 1024  # bytes: far more than real lines have, far less than a peer could send


def read_arrived(reader: Any) -> bytes:
    """Return the bytes that have arrived at a reader of aiohttp's; only then raise its error.

    aiohttp's own methods raise an error at once, and lose what came before it.

    Returns:
        Some bytes; none if no more have arrived.
    """
    error = reader.exception()
    if error is None:
        return reader.read_nowait()  # type: ignore[no-any-return]
    reader.set_exception(None)
    try:
        data: bytes = reader.read_nowait()
    finally:
        reader.set_exception(error)
    if not data:
        raise error
    return data


class Stream:
    """A body read while it arrives: an async iterator of bytes, and an async context manager.

    It can be read once. What was read is not kept, and what is not read yet waits at the peer.

    Args:
        chunks: The body. It is closed with the stream, if it can be closed.
        content_type: Names the charset of ``lines``.
        decoded: Whether a content coding was decoded.
    """

    def __init__(
        self,
        chunks: AsyncIterable[bytes],
        content_type: str | None = None,
        *,
        decoded: bool = False,
    ) -> None:
        self.decoded = decoded
        self._source = chunks
        self._chunks = aiter(chunks)
        self._content_type = content_type
        self._closed = False

    def __aiter__(self) -> Self:
        return self

    async def __anext__(self) -> bytes:
        if self._closed:
            raise ProtocolError('the stream is closed')
        return await anext(self._chunks)

    @property
    def has_arrived(self) -> bool:
        """Whether the body is here, so that no read can fail."""
        return isinstance(self._source, ArrivedBody)

    def rest(self) -> bytes | None:
        """Return the body if it has arrived, nothing of it was read, and it needs no decoding.

        Then the stream is at its end. Else the result is ``None``, and nothing has happened.
        """
        find = None if self._closed else getattr(self._source, 'rest', None)
        data: bytes | None = find() if find else None
        return data

    async def read(self) -> bytes:
        """Read the rest of the body."""
        return b''.join([chunk async for chunk in self])

    async def lines(self, *, limit: int | None = LINE) -> AsyncIterator[str]:
        r"""Read the rest of the body as lines of text, without ``\n`` or ``\r\n``.

        Args:
            limit: Bytes of a line without its end; ``None`` is no limit.

        Raises:
            BodyTooLarge: A line passes the limit.
        """
        rest = b''
        async for chunk in self:
            # No codec of the text rule has a line feed as a part of another character.
            *lines, rest = (rest + chunk).split(b'\n')
            for line in lines:
                _check_line(line, limit)
                yield self._text(line)
            _check_line(rest, limit)
        if rest:
            yield self._text(rest)

    def _text(self, line: bytes) -> str:
        return text.from_bytes(line.removesuffix(b'\r'), self._content_type)

    async def close(self) -> None:
        """Close the body. Reading after this raises a ProtocolError."""
        self._closed = True
        await close(self._source)

    async def __aenter__(self) -> Self:
        return self

    async def __aexit__(self, *raised: object) -> None:
        await self.close()


def _check_line(line: bytes, limit: int | None) -> None:
    if limit is not None and len(line.removesuffix(b'\r')) > limit:
        raise BodyTooLarge(f'a line has more than {limit} bytes')


class ArrivedBody:
    """The chunks of a body that is here already: all of it, or none if it is empty."""

    def __init__(self, data: bytes) -> None:
        self._data: bytes | None = data

    def __aiter__(self) -> AsyncIterator[bytes]:
        return self

    async def __anext__(self) -> bytes:
        data = self.rest()
        if not data:
            raise StopAsyncIteration
        return data

    def rest(self) -> bytes | None:
        """Return the body; ``None`` if it was read."""
        data, self._data = self._data, None
        return data
