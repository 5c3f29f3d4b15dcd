"""Types of tables, for type checkers: requests and responses as users write them.

What users get are the classes of ``tables.models``; ``tables.checks`` checks at run time.
"""

# No ``from __future__ import annotations``: a TypedDict compiles each annotation that is a str,
# and the import of this module would take twice as long.

import sys
from collections.abc import (
    AsyncIterable,
    Awaitable,
    Callable,
    Collection,
    Iterable,
    Iterator,
    Mapping,
)
from os import PathLike
from typing import (
    Any,
    Generic,
    Literal,
    NotRequired,
    Protocol,
    TypeAlias,
    TypeVar,
    runtime_checkable,
)

import yarl

from .headers import HeadersLike
from .tls import TlsLike
from .url import Query

if sys.version_info >= (3, 12):
    from typing import TypedDict
else:  # pydantic and others refuse typing.TypedDict below 3.12
    from typing_extensions import TypedDict

__all__ = [
    'BytesTable',
    'CommonTable',
    'CookieAttributes',
    'Event',
    'EventTable',
    'EventsTable',
    'FileTable',
    'FormFile',
    'JsonTable',
    'Part',
    'ProgressTable',
    'RequestTable',
    'ResponseTable',
    'SocketTable',
    'StreamTable',
    'TextTable',
    'TimeoutTable',
    'UpgradeTable',
]


class TimeoutTable(TypedDict, total=False):
    """Timeouts in seconds; None is no limit."""

    total: float | None
    connect: float | None
    read: float | None
    write: float | None


# Called with the bytes so far and the length of the body, None if that is unknown.
Progress: TypeAlias = Callable[[int, int | None], object]


class ProgressTable(TypedDict, total=False):
    """Functions to call with the progress of each direction."""

    upload: Progress | None
    download: Progress | None


@runtime_checkable
class BinaryFile(Protocol):
    """A binary file, which is read piece by piece, in a thread."""

    def read(self, size: int, /) -> bytes: ...


class Part(TypedDict, total=False):
    """A part of a multipart body."""

    name: str
    body: str | bytes | bytearray | memoryview | PathLike[str] | BinaryFile
    filename: str | None
    content_type: str | None


class FormFile(TypedDict):
    """A file of a form as you get it: ``body`` is bytes or an open binary file."""

    filename: str
    content_type: str
    body: Any


class EventTable(TypedDict, total=False):
    """A server-sent event as you write it; ``retry`` is in milliseconds."""

    event: str | None
    data: str | None
    id: str | None
    retry: int | None


class Event(TypedDict):
    """A server-sent event as you get it; ``retry`` is in milliseconds."""

    event: str
    data: str
    id: str
    retry: NotRequired[int]


Chunk: TypeAlias = bytes | bytearray | memoryview | str
# Not Iterable: a list is one too, and a list is meant as JSON.
Flowing: TypeAlias = AsyncIterable[Chunk] | Iterator[Chunk] | tuple[Chunk, ...] | PathLike[str]
Content: TypeAlias = str | bytes | bytearray | memoryview | Flowing | BinaryFile


class CommonTable(TypedDict, total=False):
    """The keys of a request table but ``into``, which determines the type of the response body."""

    method: str
    url: str | yarl.URL
    scheme: str
    host: str
    port: int | str
    path: str
    query: str | Query
    headers: HeadersLike | None
    body: Content | None
    json: Any
    form: Query | None
    multipart: Iterable[Part] | None
    timeout: float | TimeoutTable | None
    redirects: int
    resume: bool | None
    on_progress: Progress | ProgressTable | None
    max_body: int | None
    max_header: int | None
    check: bool | Collection[int]
    auth: tuple[str, str] | str | None
    bearer: str | None
    tls: TlsLike | None
    proxy: str | yarl.URL | None
    unix: str | PathLike[str] | None
    ip: str | None
    version: str | None


class RequestTable(CommonTable, total=False):
    """A request as you write it."""

    into: Literal['text', 'bytes', 'json', 'stream', 'raw', 'events'] | PathLike[str]


class TextTable(CommonTable, total=False):
    """A request whose response body is returned as text."""

    into: Literal['text']


class BytesTable(CommonTable):
    """A request whose response body is returned as bytes."""

    into: Literal['bytes']


class JsonTable(CommonTable):
    """A request whose response body is parsed as JSON."""

    into: Literal['json']


class StreamTable(CommonTable):
    """A request whose response body is returned as a stream."""

    into: Literal['stream', 'raw']


class EventsTable(CommonTable):
    """A request whose response body is returned as server-sent events."""

    into: Literal['events']


AnyPath = TypeVar('AnyPath', bound=PathLike[str])


class FileTable(CommonTable, Generic[AnyPath]):
    """A request whose response body is written to a file."""

    into: AnyPath


class SocketOptions(TypedDict, total=False):
    """WebSocket options, the same for clients and servers."""

    protocols: Iterable[str] | None
    heartbeat: float | None
    max_message: int | None
    compress: bool | None


class SocketTable(SocketOptions, total=False):
    """A WebSocket request as you write it."""

    url: str | yarl.URL
    method: str
    scheme: str
    host: str
    port: int | str
    path: str
    query: str | Query
    headers: HeadersLike | None
    timeout: float | TimeoutTable | None
    auth: tuple[str, str] | str | None
    bearer: str | None
    tls: TlsLike | None
    proxy: str | yarl.URL | None
    unix: str | PathLike[str] | None
    ip: str | None
    version: str | None


class UpgradeTable(SocketOptions):
    """The ``websocket`` of a response as you write it: only ``callback`` is required."""

    callback: Callable[[Any], Awaitable[None]]
    origins: NotRequired[Iterable[str] | None]


EventLike: TypeAlias = EventTable | Mapping[str, Any]


class _Status(TypedDict):
    status: int


class ResponseTable(_Status, total=False):
    """A response as you write it: only ``status`` is required."""

    headers: HeadersLike | None
    body: str | bytes | bytearray | memoryview | Flowing | None
    json: Any
    events: AsyncIterable[EventLike] | Iterator[EventLike] | None
    reason: str | None
    version: str | None
    url: str | None
    method: str | None
    ip: str | None
    history: list[Any] | None
    websocket: Callable[[Any], Awaitable[None]] | UpgradeTable | None


class StatsTable(TypedDict):
    """Statistics of a server: what is open now, and totals since its start."""

    connections: int
    requests: int
    in_flight: int
    errors: int
    bytes_in: int
    bytes_out: int


class CookieAttributes(TypedDict, total=False):
    """The attributes of ``client.cookies.set``.

    ``max_age`` is in seconds and replaces ``expires``, which is Unix time.
    """

    domain: str | None
    path: str | None
    max_age: float | None
    expires: float | None
    secure: bool | None
