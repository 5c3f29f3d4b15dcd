"""Requests and their responses, written down as lines of JSON.

What was recorded, given again.
"""

from __future__ import annotations

import asyncio
import json
import threading
from collections import deque
from collections.abc import AsyncIterator, Collection, Mapping
from difflib import get_close_matches
from functools import wraps
from os import PathLike
from pathlib import Path
from typing import Any, TypeVar

from ..bodies.stream import Stream
from ..bodies.text import from_bytes, to_bytes
from ..errors import StatusError, TableError, shown
from ..headers import hide, hide_query
from ..tables.checks import STREAMS, check_names, is_accepted, is_streamed
from ..tables.conversion import to_request, to_response
from ..tables.handlers import response_of_handler
from ..tables.models import Handler, Request, Response, Wrapped
from .taps import tap

__all__ = ['KEPT', 'hidden', 'kept', 'record', 'replay']

T = TypeVar('T', Request, Response[Any])

# Of a request: the rest says how it was sent, or by whom.
KEPT = ('method', 'url', 'scheme', 'host', 'port', 'path', 'query', 'headers', 'body', 'into')


def record(handler: Handler, path: str | PathLike[str], *, secrets: bool = False) -> Wrapped:
    """Write each request and its response down, as a line of JSON at the end of a file.

    A line is ``{"request": …, "response": …}``, each as ``plain`` has it. A response that flows
    is written once it was read to its end. What raises is not written, but for a StatusError, of
    which the response is, and a WebSocket is not.

    Args:
        handler: What to wrap.
        path: The file; is made where there is none.
        secrets: Whether to write the values of headers, and of fields of a query, whose names
            speak of secrets: where they are not, requests that differ in them alone are alike to
            ``replay``. Bodies are written as they are.

    Raises:
        TableError: There is no folder for the file. From the handler: a body is a file, or one
            of a request flows.
    """
    file = Path(path)
    if not file.parent.is_dir():
        raise TableError.of('path', str(path), 'a file in a folder that exists')
    writing = threading.Lock()

    def write(line: str) -> None:
        with writing, file.open('a', encoding='utf-8') as opened:
            opened.write(line)

    @wraps(handler)  # with what listen reads from it
    async def recorded(table: Any) -> Response[Any]:
        request = to_request(table)
        asked = kept(request if secrets else hidden(request))

        async def note(response: Response[Any]) -> None:
            given = (response if secrets else hidden(response)).plain()
            line = json.dumps({'request': asked, 'response': given})
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
                whole['body'] = joined(chunks, whole['headers'].get('Content-Type'))
            return note(whole)

        return await tap(response, ended, chunks.append)

    return recorded


def kept(request: Request) -> dict[str, Any]:
    """Give of a request, as JSON has it, what tells it from others."""
    plain = Request({key: request[key] for key in KEPT if key in request}).plain()
    if plain.get('into') == 'text':
        del plain['into']  # as where there is none
    return plain


def hidden(table: T) -> T:
    """Copy a table with what is secret in it hidden, but for its body."""
    copy = table.copy()
    copy['headers'] = hide(table['headers'])
    if 'url' in table:
        copy['url'] = hide_query(table['url'])
    if 'query' in table:
        copy['query'] = hide_query(f'?{table["query"]}')[1:]
    if 'history' in table:
        copy['history'] = [hidden(Response(one)) for one in table['history']]
    return copy


def joined(chunks: list[Any], content_type: str | None) -> str:
    """Make one text of the chunks of a body, by the text rule."""
    data = (to_bytes(one, content_type) if isinstance(one, str) else one for one in chunks)
    return from_bytes(b''.join(data), content_type)


MATCH = ('method', 'scheme', 'host', 'port', 'url', 'body', 'into')


def replay(path: str | PathLike[str], *, match: Collection[str] = MATCH) -> Wrapped:
    """Answer with what was recorded: a handler that needs no network.

    Requests that are alike get their responses in the order in which these were recorded, and
    the last of them from then on. ``check`` and the streams of ``into`` are as they are for
    ``request``.

    Args:
        path: The file that ``record`` has written. It is read at the first request.
        match: The keys in which a request is like a recorded one.

    Raises:
        TableError: There is no such file, or a key is none of a request. From the handler: a
            line is none that ``record`` writes, or no request is like this one; the message has
            the nearest.
    """
    file = Path(path)
    if not file.is_file():
        raise TableError.of('path', str(path), 'a file that record has written')
    for key in check_names('match', match):
        if key not in KEPT:
            raise TableError.unknown(key, KEPT)
    tape: Tape | None = None

    async def replayed(table: Any) -> Response[Any]:
        nonlocal tape
        request = to_request(table)
        if tape is None:
            read = await asyncio.to_thread(read_tape, file, tuple(match))
            tape = tape or read  # another request may have been first
        response = tape.take(request)
        if not is_accepted(response['status'], request.get('check', False)):
            error = StatusError(f'{line_of(hidden(request))}: {response["status"]}')
            error.response = response
            raise error
        if request.get('into') in STREAMS:
            response['body'] = Stream(_once(response.bytes()), response.headers.get('Content-Type'))
        return response

    return replayed


async def _once(data: bytes) -> AsyncIterator[bytes]:
    if data:
        yield data


def line_of(request: Mapping[str, Any]) -> str:
    return '{method} {scheme}://{host}:{port}{url}'.format_map(request)


class Tape:
    """What was recorded, by what it answers."""

    def __init__(self, match: tuple[str, ...]) -> None:
        self._match = match
        self._responses: dict[str, deque[Any]] = {}
        self._requests: dict[str, Any] = {}  # one of each description

    def add(self, request: Mapping[str, Any], response: Mapping[str, Any]) -> None:
        self._requests.setdefault(line_of(request), request)
        self._responses.setdefault(self._key(request), deque()).append(response)

    def take(self, request: Request) -> Response[Any]:
        """Give the next response to a request.

        Raises:
            TableError: There is none.
        """
        for asked in (kept(request), kept(hidden(request))):
            if responses := self._responses.get(self._key(asked)):
                plain = responses.popleft() if len(responses) > 1 else responses[0]
                return Response.from_plain(plain)
        raise TableError(f'nothing is recorded for {line_of(asked)}; {self._nearest(asked)}')

    def _key(self, request: Mapping[str, Any]) -> str:
        return json.dumps([request.get(key) for key in self._match], sort_keys=True)

    def _nearest(self, asked: Mapping[str, Any]) -> str:
        near = get_close_matches(line_of(asked), self._requests, 1, 0)
        if not near:
            return 'the recording is empty'
        other = self._requests[near[0]]
        others = (key for key in self._match if asked.get(key) != other.get(key))
        values = ' and '.join(f'{key!r} is {shown(other.get(key))}' for key in others)
        return f'the nearest is {near[0]}, where {values}'


def read_tape(file: Path, match: tuple[str, ...]) -> Tape:
    """Read a recording.

    Raises:
        TableError: A line is none that ``record`` writes.
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
                raise TableError(f'line {number} of {file} is no recorded exchange') from error
    return tape
