"""Server-sent events as tables, and as the bytes of a stream (HTML, 9.2).

Server-sent events of an answer, as they come (HTML, 9.2).
"""

from __future__ import annotations

import re
from collections.abc import AsyncIterable, AsyncIterator, Iterator, Mapping
from typing import TYPE_CHECKING, Any, ClassVar, Self

from ..errors import BodyTooLarge, TableError
from .stream import Stream

if TYPE_CHECKING:
    from ..types import Event

__all__ = ['EventParser', 'EventStream', 'encode_event', 'parse_events']

KEYS = ('event', 'data', 'id', 'retry')
LIMIT = 1024 * 1024  # bytes: far above any event of note, far below what a peer could fill

LINE_END = re.compile(r'\r\n|\r|\n')
LINE_END_BYTES = re.compile(LINE_END.pattern.encode())
BOM = b'\xef\xbb\xbf'

# ASCII digits alone. More of them than a browser's integer has is no number for it either.
DIGITS = 15
RETRY = re.compile(rf'[0-9]{{1,{DIGITS}}}')


async def parse_events(
    chunks: AsyncIterable[bytes], *, limit: int | None = LIMIT
) -> AsyncIterator[Event]:
    """Read the events of a stream as they come.

    Args:
        chunks: The stream, cut anywhere.
        limit: Bytes of one event; ``None`` is no limit.

    Returns:
        Each event as a table: ``event`` (``'message'`` where the stream named none), ``data``,
        and ``id``, the last that the stream gave, ``''`` where there was none. ``retry``, in
        milliseconds, where the stream gave one since the event before. A block without data is
        no event: its ``id`` and ``retry`` are those of the next one. What follows the last
        blank line is no event either.

    Raises:
        BodyTooLarge: An event passes the limit.
    """
    parser = EventParser(limit)
    async for chunk in chunks:
        for event in parser.feed(chunk):
            yield event


class EventParser:
    """Feed it a stream cut anywhere, get its events (HTML, 9.2.5 and 9.2.6).

    ``id`` and ``retry`` are what a client that connects again needs: the last event ID, ``''``
    where there is none, and the time to wait in milliseconds, None where the stream gave none.

    Args:
        limit: Bytes of the lines of data of one event, and of any one line; ``None`` is no limit.
    """

    def __init__(self, limit: int | None = LIMIT) -> None:
        self.id: str = ''
        self.retry: int | None = None
        self._limit = limit
        self._line = bytearray()
        self._at_start = True
        self._after_cr = False
        self._size = 0  # bytes of the lines that _data holds
        self._data: list[str] = []
        self._event = ''
        self._next_id = ''  # becomes id with the next blank line
        self._new_retry: int | None = None

    def feed(self, data: bytes) -> Iterator[Event]:
        """Read the next bytes of the stream; the events that end in them.

        Raises:
            BodyTooLarge: An event passes the limit.
        """
        for line in self._lines(data):
            if line:
                self._take(line)
            elif event := self._dispatch():
                yield event

    def _lines(self, data: bytes) -> Iterator[bytes]:
        if not data:
            return
        # What follows a CR at the end of a chunk may be the other half of a CRLF.
        start = 1 if self._after_cr and data.startswith(b'\n') else 0
        self._after_cr = data.endswith(b'\r')
        for end in LINE_END_BYTES.finditer(data, start):
            self._append(data[start : end.start()])
            line = bytes(self._line)
            self._line.clear()
            yield line.removeprefix(BOM) if self._at_start else line
            self._at_start = False
            start = end.end()
        self._append(data[start:])

    def _append(self, data: bytes) -> None:
        self._line += data
        if self._limit is not None and self._size + len(self._line) > self._limit:
            raise BodyTooLarge(f'an event passed the limit of {self._limit} bytes')

    def _take(self, line: bytes) -> None:
        # No byte of a line end is part of another character, so a line can be decoded by itself.
        name, _, value = line.decode('utf-8', 'replace').partition(':')
        value = value.removeprefix(' ')
        match name:  # a comment has the name ''
            case 'data':
                self._data.append(value)
                self._size += len(line)
            case 'event':
                self._event = value
            case 'id' if '\0' not in value:
                self._next_id = value
            case 'retry' if RETRY.fullmatch(value):
                self.retry = self._new_retry = int(value)

    def _dispatch(self) -> Event | None:
        self.id = self._next_id
        event: Event | None = None
        if self._data:
            event = {
                'event': self._event or 'message',
                'data': '\n'.join(self._data),
                'id': self.id,
            }
            if self._new_retry is not None:
                event['retry'] = self._new_retry
                self._new_retry = None
        self._data.clear()
        self._size = 0
        self._event = ''
        return event


def encode_event(event: Mapping[str, Any]) -> bytes:
    r"""Write an event as bytes of a stream.

    Without ``data`` there is no event for who reads it, only an ``id`` or a ``retry`` from then
    on. An empty table is a comment: nothing for who reads it, but it keeps the connection alive.

    Args:
        event: A table of ``event``, ``data`` and ``id``, each a str, and ``retry``, an int in
            milliseconds; each may be absent or None. Line ends in ``data`` are read as ``\n``.

    Raises:
        TableError: A key or a value is none that an event can have, or ``event`` has no data.

    Example:
        >>> encode_event({'event': 'tick', 'data': 'one\ntwo'})
        b'event: tick\ndata: one\ndata: two\n\n'
        >>> encode_event({})
        b':\n\n'
    """
    if not isinstance(event, Mapping):
        raise TableError.of('events', event, f'tables of {", ".join(KEYS)}')
    for key in event:
        if key not in KEYS:
            raise TableError.unknown(key, KEYS)
    fields = [f'{key}: {line}\n' for key in KEYS for line in _lines_of(key, event.get(key))]
    if event.get('event') is not None and event.get('data') is None:
        raise TableError.of('data', None, "a str, '' if need be: without it there is no event")
    try:
        return (''.join(fields) or ':\n').encode('utf-8', 'surrogateescape') + b'\n'
    except UnicodeEncodeError as error:
        raise TableError.of('events', event, 'text that UTF-8 can encode') from error


def _lines_of(key: str, value: Any) -> list[str]:
    """Check a value, and give what stands on its lines."""
    if value is None:
        return []
    if key == 'retry':
        if isinstance(value, bool) or not isinstance(value, int) or not 0 <= value < 10**DIGITS:
            raise TableError.of(key, value, 'milliseconds, an int from 0')
        return [str(value)]
    if not isinstance(value, str):
        right = 'a str, such as json.dumps makes' if key == 'data' else 'a str'
        raise TableError.of(key, value, right)
    lines = LINE_END.split(value)
    if key != 'data' and len(lines) > 1:
        raise TableError.of(key, value, 'a str without line ends')
    if key == 'id' and '\0' in value:
        raise TableError.of(key, value, 'a str without NUL: who reads it would ignore it')
    return lines


class EventStream:
    """The events of a body, each a table: an async iterator, and an async context manager.

    It can be read once, and is closed like the stream that it reads. One event may have 1 MiB.

    Args:
        stream: Where they come from.
    """

    TYPE: ClassVar = 'text/event-stream'

    def __init__(self, stream: Stream) -> None:
        self._stream = stream
        self._parser = EventParser()
        self._events: Iterator[Event] = iter(())

    @classmethod
    def is_type(cls, content_type: str) -> bool:
        """Tell whether a Content-Type is that of events, with any parameters."""
        return content_type.partition(';')[0].strip().lower() == cls.TYPE

    @property
    def id(self) -> str:
        """The last ID that came, which a next request sends as Last-Event-ID; ``''`` for none."""
        return self._parser.id

    @property
    def retry(self) -> int | None:
        """Milliseconds to wait before a next request, None where the stream gave none."""
        return self._parser.retry

    def __aiter__(self) -> Self:
        return self

    async def __anext__(self) -> Event:
        try:
            while (event := next(self._events, None)) is None:
                self._events = self._parser.feed(await anext(self._stream))
        except StopAsyncIteration:
            raise
        except BaseException:  # such as an event that is too large
            await self.close()
            raise
        return event

    async def close(self) -> None:
        """Close the connection. Who goes on reading gets a ProtocolError."""
        self._events = iter(())
        await self._stream.close()

    async def __aenter__(self) -> Self:
        return self

    async def __aexit__(self, *raised: object) -> None:
        await self.close()
