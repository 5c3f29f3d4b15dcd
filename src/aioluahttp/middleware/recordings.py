"""The middlewares ``record`` and ``replay``: save exchanges as JSON lines, and replay them."""

from __future__ import annotations

import asyncio
import json
import threading
from collections import deque
from collections.abc import Collection, Mapping
from difflib import get_close_matches
from functools import wraps
from os import PathLike
from pathlib import Path
from typing import Any, TypeVar

from ..bodies.stream import ArrivedBody, Stream
from ..bodies.text import from_bytes, to_bytes
from ..errors import StatusError, TableError, shown
from ..headers import hide, hide_query
from ..tables.checks import STREAMS, check_names, is_accepted, is_streamed
from ..tables.conversion import to_request, to_response
from ..tables.handlers import response_of_handler
from ..tables.models import Handler, Request, Response, Wrapped
from .taps import tap

__all__ = ['RECORDED_KEYS', 'record', 'recorded_keys', 'replay', 'with_hidden_secrets']

T = TypeVar('T', Request, Response[Any])

# The keys of a request that are recorded. The others say how it was sent, or by whom.
RECORDED_KEYS = (
    'method',
    'url',
    'scheme',
    'host',
    'port',
    'path',
    'query',
    'headers',
    'body',
    'into',
)
MATCH = ('method', 'scheme', 'host', 'port', 'url', 'body', 'into')


def record(handler: Handler, path: str | PathLike[str], *, secrets: bool = False) -> Wrapped:
    """Record each request and its response as a line of JSON at the end of a file.

    A line is ``{"request": …, "response": …}``, both in the form of ``plain``. A streamed response
    is written when it has been read to its end. A request that raises an exception is not written,
    except for a StatusError, whose response is. WebSockets are not written.

    Args:
        handler: The handler to wrap.
        path: The file; it is created if it does not exist.
        secrets: Whether to write the values of headers and query fields whose names suggest
            secrets. If they are hidden, ``replay`` does not tell requests apart by them. Bodies
            are always written unchanged.

    Raises:
        TableError: The folder of the file does not exist. From the handler: a body is a file, or
            the body of a request is a stream.
    """
    file = Path(path)
    if not file.parent.is_dir():
        raise TableError.of('path', str(path), 'a file in a folder that exists')
    writing = threading.Lock()

    def write(line: str) -> None:
        with writing, file.open('a', encoding='utf-8') as opened:
            opened.write(line)

    @wraps(handler)  # also copies ``into`` and ``max_body``, which servers read from a handler
    async def recorded(table: Any) -> Response[Any]:
        request = to_request(table)
        plain_request = recorded_keys(request if secrets else with_hidden_secrets(request))

        async def note(response: Response[Any]) -> None:
            given = (response if secrets else with_hidden_secrets(response)).plain()
            line = json.dumps({'request': plain_request, 'response': given})
            await asyncio.to_thread(write, line + '\n')

        try:
            response = await response_of_handler(handler, request)
        except StatusError as error:
            await note(error.response)
            raise
        if 'websocket' in response:
            return response
        whole = response.copy()
        chunks: list[Any] = []

        def ended(error: BaseException | None) -> Any:
            if error is not None:
                return None
            if is_streamed(whole['body']):
                whole['body'] = join_chunks(chunks, whole['headers'].get('Content-Type'))
            return note(whole)

        return await tap(response, ended, chunks.append)

    return recorded


def recorded_keys(request: Request) -> dict[str, Any]:
    """Return the recorded keys of a request, as values for JSON."""
    plain = Request({key: request[key] for key in RECORDED_KEYS if key in request}).plain()
    if plain.get('into') == 'text':
        del plain['into']  # the default
    return plain


def with_hidden_secrets(table: T) -> T:
    """Copy a table with its secrets hidden, except those in the body."""
    copy = table.copy()
    copy['headers'] = hide(table['headers'])
    if 'url' in table:
        copy['url'] = hide_query(table['url'])
    if 'query' in table:
        copy['query'] = hide_query(f'?{table["query"]}')[1:]
    if 'history' in table:
        copy['history'] = [with_hidden_secrets(Response(one)) for one in table['history']]
    return copy


def join_chunks(chunks: list[Any], content_type: str | None) -> str:
    """Join the chunks of a body to one text, in the charset of the Content-Type."""
    data = (to_bytes(one, content_type) if isinstance(one, str) else one for one in chunks)
    return from_bytes(b''.join(data), content_type)


def replay(path: str | PathLike[str], *, match: Collection[str] = MATCH) -> Wrapped:
    """Return a handler that replays recorded responses, without a network.

    If several recorded requests match, their responses are returned in the order of recording,
    and then the last of them each time. ``check``, and ``into`` for streams, work as for
    ``request``.

    Args:
        path: The file that ``record`` has written. It is read at the first request.
        match: The keys in which a request must equal the recorded one.

    Raises:
        TableError: The file does not exist, or ``match`` has an unknown key. From the handler: a
            line was not written by ``record``, or no recorded request matches; the message names
            the nearest one.
    """
    file = Path(path)
    if not file.is_file():
        raise TableError.of('path', str(path), 'an existing file that record has written')
    for key in check_names('match', match):
        if key not in RECORDED_KEYS:
            raise TableError.unknown(key, RECORDED_KEYS)
    tape: Tape | None = None

    async def replayed(table: Any) -> Response[Any]:
        nonlocal tape
        request = to_request(table)
        if tape is None:
            read = await asyncio.to_thread(read_tape, file, tuple(match))
            tape = tape or read  # a concurrent request may have read it first
        response = tape.take(request)
        if not is_accepted(response['status'], request.get('check', False)):
            error = StatusError(f'{line_of(with_hidden_secrets(request))}: {response["status"]}')
            error.response = response
            raise error
        if request.get('into') in STREAMS:
            kind = response.headers.get('Content-Type')
            response['body'] = Stream(ArrivedBody(response.bytes()), kind)
        return response

    return replayed


def line_of(request: Mapping[str, Any]) -> str:
    return '{method} {scheme}://{host}:{port}{url}'.format_map(request)


class Tape:
    """Recorded responses by the keys of the request that they belong to."""

    def __init__(self, match: tuple[str, ...]) -> None:
        self._match = match
        self._responses: dict[str, deque[Any]] = {}
        self._requests: dict[str, Any] = {}  # one for each ``line_of``

    def add(self, request: Mapping[str, Any], response: Mapping[str, Any]) -> None:
        self._requests.setdefault(line_of(request), request)
        self._responses.setdefault(self._key(request), deque()).append(response)

    def take(self, request: Request) -> Response[Any]:
        """Return the next response to a request.

        Raises:
            TableError: No response is recorded for it.
        """
        for wanted in (recorded_keys(request), recorded_keys(with_hidden_secrets(request))):
            if responses := self._responses.get(self._key(wanted)):
                plain = responses.popleft() if len(responses) > 1 else responses[0]
                return Response.from_plain(plain)
        raise TableError(f'nothing is recorded for {line_of(wanted)}; {self._nearest(wanted)}')

    def _key(self, request: Mapping[str, Any]) -> str:
        return json.dumps([request.get(key) for key in self._match], sort_keys=True)

    def _nearest(self, wanted: Mapping[str, Any]) -> str:
        near = get_close_matches(line_of(wanted), self._requests, 1, 0)
        if not near:
            return 'the recording is empty'
        other = self._requests[near[0]]
        differing = (key for key in self._match if wanted.get(key) != other.get(key))
        values = ' and '.join(f'{key!r} is {shown(other.get(key))}' for key in differing)
        return f'the nearest is {near[0]}, where {values}'


def read_tape(file: Path, match: tuple[str, ...]) -> Tape:
    """Read a recording.

    Raises:
        TableError: A line was not written by ``record``.
    """
    tape = Tape(match)
    with file.open(encoding='utf-8') as lines:
        for number, line in enumerate(lines, 1):
            try:
                exchange = json.loads(line)
                request, response = exchange['request'], exchange['response']
                to_response(Response.from_plain(response))
                tape.add(request, response)
            except (AttributeError, LookupError, RecursionError, TypeError, ValueError) as error:
                raise TableError(f'line {number} of {file} is not a recorded exchange') from error
    return tape
