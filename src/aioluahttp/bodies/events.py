"""Server-sent events: encode tables as events, and parse events of a stream (HTML, 9.2)."""

from __future__ import annotations

import re
from collections.abc import Iterator, Mapping
from typing import TYPE_CHECKING, Any, ClassVar, Self

from ..errors import BodyTooLarge, TableError
from .stream import Stream

if TYPE_CHECKING:
    from ..types import Event

__all__ = ['EventParser', 'EventStream', 'encode_event']

KEYS = ('event', 'data', 'id', 'retry')
LIMIT = 1024 * 1024  # bytes: far more than real events have, far less than a peer could send

LINE_END = re.compile(r'\r\n|\r|\n')
LINE_END_BYTES = re.compile(LINE_END.pattern.encode())
BOM = b'\xef\xbb\xbf'

# ASCII digits only. Browsers too ignore a number with more of them than their integers have.
DIGITS = 15
RETRY = re.compile(rf'[0-9]{{1,{DIGITS}}}')


class EventParser:
    """Parser of server-sent events: ``feed`` it a stream cut anywhere (HTML, 9.2.5 and 9.2.6).

    ``id`` and ``retry`` are for a client that reconnects: the last event ID, ``''`` if there is
    none, and the time to wait in milliseconds, None if the stream set none.

    Args:
        limit: Bytes of the data lines of an event and the line after them; ``None`` is no limit.
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
        """Parse the next bytes of the stream, and yield the events that end in them.

        Returns:
            Each event as a table: ``event`` (``'message'`` if the stream named none), ``data``, and
            ``id``, the last one in the stream, ``''`` if there was none; also ``retry``, in
            milliseconds, if the stream set it since the previous event. A block without data is not
            an event: its ``id`` and ``retry`` are those of the next one. What follows the last
            blank line is not an event either.

        Raises:
            BodyTooLarge: An event passes the limit.
        """
        for line in self._lines(data):
            if line:
                self._read_line(line)
            elif event := self._dispatch():
                yield event

    def _lines(self, data: bytes) -> Iterator[bytes]:
        if not data:
            return
        # A LF after a chunk that ended with a CR is the other half of a CRLF.
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

    def _read_line(self, line: bytes) -> None:
        # In UTF-8 no CR or LF is part of another character, so each line can be decoded by itself.
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
    r"""Encode an event as bytes of a stream.

    Without ``data`` the client gets no event, but keeps the ``id`` and ``retry``. An empty table
    is a comment, which clients ignore, but which keeps the connection alive.

    Args:
        event: A table of ``event``, ``data`` and ``id``, each a str, and ``retry``, an int in
            milliseconds; each may be absent or None. Clients get line ends in ``data`` as ``\n``.

    Raises:
        TableError: A key is unknown, a value is malformed, or there is ``event`` without ``data``.

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
        raise TableError.of('data', None, "a str, such as '': clients drop an event without it")
    try:
        return (''.join(fields) or ':\n').encode('utf-8', 'surrogateescape') + b'\n'
    except UnicodeEncodeError as error:
        raise TableError.of('events', event, 'text that UTF-8 can encode') from error


def _lines_of(key: str, value: Any) -> list[str]:
    """Check the value of a key, and split it into lines."""
    if value is None:
        return []
    if key == 'retry':
        if isinstance(value, bool) or not isinstance(value, int) or not 0 <= value < 10**DIGITS:
            raise TableError.of(key, value, f'milliseconds, an int from 0 to 10**{DIGITS} - 1')
        return [str(value)]
    if not isinstance(value, str):
        right = 'a str, such as json.dumps makes' if key == 'data' else 'a str'
        raise TableError.of(key, value, right)
    lines = LINE_END.split(value)
    if key != 'data' and len(lines) > 1:
        raise TableError.of(key, value, 'a str without line ends')
    if key == 'id' and '\0' in value:
        raise TableError.of(key, value, 'a str without NUL: clients ignore an id with one')
    return lines


class EventStream:
    """The server-sent events of a body, as an async iterator of tables and a context manager.

    It can be read once. Closing it closes the stream. One event may have up to 1 MiB.

    Args:
        stream: The body.
    """

    TYPE: ClassVar = 'text/event-stream'

    def __init__(self, stream: Stream) -> None:
        self._stream = stream
        self._parser = EventParser()
        self._events: Iterator[Event] = iter(())

    @classmethod
    def is_type(cls, content_type: str) -> bool:
        """Tell whether a Content-Type is ``text/event-stream``, with any parameters."""
        return content_type.partition(';')[0].strip().lower() == cls.TYPE

    @property
    def id(self) -> str:
        """The last event ID, to be sent as Last-Event-ID when reconnecting; ``''`` for none."""
        return self._parser.id

    @property
    def retry(self) -> int | None:
        """Milliseconds to wait before reconnecting; None if the stream set none."""
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
        """Close the connection. Reading after this raises a ProtocolError."""
        self._events = iter(())
        await self._stream.close()

    async def __aenter__(self) -> Self:
        return self

    async def __aexit__(self, *raised: object) -> None:
        await self.close()
