"""Server-sent events of an answer, as they come (HTML, 9.2)."""

from __future__ import annotations

from collections.abc import Iterator
from typing import TYPE_CHECKING, ClassVar, Self

from .events import EventParser
from .stream import Stream

if TYPE_CHECKING:
    from ..types import Event

__all__ = ['EventStream']


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
