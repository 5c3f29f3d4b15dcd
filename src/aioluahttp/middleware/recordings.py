"""Requests and their responses, written down as lines of JSON."""

from __future__ import annotations

import asyncio
import json
import threading
from functools import wraps
from os import PathLike
from pathlib import Path
from typing import Any, TypeVar

from ..bodies.text import from_bytes, to_bytes
from ..errors import StatusError, TableError
from ..headers import hide
from ..hiding import hide_query
from ..tables.checks import flows
from ..tables.conversion import to_request
from ..tables.handlers import answer_of
from ..tables.models import Handler, Request, Response, Wrapped
from .taps import tap

__all__ = ['KEPT', 'hidden', 'kept', 'record']

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
            response = await answer_of(handler, request)
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
            if flows(whole['body']):
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
