"""Call a handler and bring the response that it returns to normal form."""

from __future__ import annotations

from collections.abc import Mapping
from functools import partial
from typing import Any

from ..bodies.chunks import Chunks, call, close
from ..bodies.encoders import CompressedChunks
from ..bodies.stream import Stream
from ..headers import Headers
from .checks import check_body, is_streamed
from .conversion import to_response, wire_body
from .models import Handler, Request, Response

__all__ = [
    'close_body',
    'encoded_chunks',
    'name_of_handler',
    'response_of_handler',
    'take_response',
]


async def response_of_handler(handler: Handler, request: Request) -> Response[Any]:
    """Call a handler, plain or async, and return its response in normal form."""
    return await take_response(await call(handler, request))


def name_of_handler(handler: Any) -> str:
    """Return the name of a handler for messages; of an object that of its class."""
    while isinstance(handler, partial):
        handler = handler.func
    name: str = getattr(handler, '__qualname__', None) or type(handler).__qualname__
    return name


async def take_response(table: Any) -> Response[Any]:
    """Bring a response to normal form; if it is invalid, close its iterators."""
    try:
        return to_response(table)
    except BaseException:  # of a value of the user's
        await close_body(table)
        raise


async def close_body(table: Any) -> None:
    """Close the iterators of a response that will not be read."""
    for key in ('body', 'events') if isinstance(table, Mapping) else ():
        if is_streamed(source := table.get(key)):
            await close(source)


def encoded_chunks(headers: Headers, body: Any) -> Chunks:
    """Return the chunks of a streamed response body, encoded to bytes for the wire.

    The default Content-Type is set in ``headers``. A ``Stream`` is passed on unchanged.
    """
    if isinstance(body, Stream):
        return Chunks(body, lambda chunk: chunk)
    headers.setdefault('Content-Type', 'application/octet-stream')

    def encode(chunk: Any) -> bytes:
        return wire_body(headers, check_body(chunk))

    if isinstance(body, CompressedChunks):  # a text chunk adds its charset to these headers
        body.encode = encode
    return Chunks(body, encode)
