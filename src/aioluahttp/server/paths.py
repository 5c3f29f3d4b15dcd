"""Answers whose body is a file on disk, with ranges and conditions (RFC 9110 13 and 14)."""

from __future__ import annotations

import asyncio
from collections.abc import Mapping
from os import fsdecode
from typing import Any

from aiohttp.web_fileresponse import FileResponse
from aiohttp.web_request import BaseRequest

from ..exchange.files import RANGE, tag_of
from ..headers import ONE_HOP, Headers
from ..semantics import NO_BODY, PHRASES, is_silent
from ..tables.models import Response
from .encode import encode
from .framing import Framed
from .sendfile import Sendfile, Writer, as_aiohttp_has_it

__all__ = ['FileAnswer']

PIECE = 256 * 1024  # bytes read at a time where the kernel cannot send: a turn of a thread
TLS_PIECE = 64 * 1024  # asyncio's TLS does not tell how far it is within a single write


class FileAnswer:
    """An answer whose body is a file, sent as the peer reads it."""

    def __init__(self, response: Response[Any], headers: Headers, keep_alive: bool) -> None:
        self.path: str = fsdecode(response['body'])
        self.status: int = response['status']
        self.reason: str | None = response.get('reason')
        self.headers = headers
        self.keep_alive: bool = keep_alive

    async def send(self, connection: Framed) -> bool:
        """Send the file, or a part of it, or none as the request asks; 404 if there is no file."""
        if self.status in NO_BODY:
            await self._say(connection, self.headers, b'')
        elif tag := await asyncio.to_thread(tag_of, self.path):
            await self._send(connection, tag)
        else:
            self.status, self.reason = 404, None
            headers = Headers({'Content-Type': 'text/plain; charset=utf-8'})
            await self._say(connection, headers, PHRASES[404].encode())
        return self.keep_alive and connection.keeps

    async def _say(self, connection: Framed, headers: Headers, body: bytes) -> None:
        start = self.status, self.reason, headers
        await connection.write(encode(connection.head, *start, body, self.keep_alive).data)

    async def _send(self, connection: Framed, tag: str) -> None:
        kept = [pair for pair in self.headers.items() if pair[0].lower() not in ONE_HOP]
        piece = PIECE if connection.ssl_context is None else TLS_PIECE
        response = FileResponse(self.path, piece, self.status, self.reason, Headers(kept))
        if not self.keep_alive:
            response.force_close()
        writer = Writer(connection, asyncio.get_running_loop())
        try:
            await response.prepare(self._request(connection, writer, tag))
            await response.write_eof()
        finally:
            self.status = response.status
            connection.wrote(writer.output_size)
        if not is_silent(connection.head.method, self.status):
            self.keep_alive &= writer.chunked or writer.length is not None
            if writer.length:  # aiohttp would go on, and the next answer be read as this file
                raise OSError(f'{self.path} has become shorter while it was sent')

    def _request(self, connection: Framed, writer: Writer, tag: str) -> BaseRequest:
        request = as_aiohttp_has_it(connection, writer, Sendfile(connection, writer))
        # Ranges and conditions are for what would be a 200 (RFC 9110 13.2.1 and 14.2).
        conditional = self.status == 200 and request.method in ('GET', 'HEAD')
        return request.clone(headers=_asked(request.headers, tag) if conditional else {})


def _asked(given: Mapping[str, str], tag: str) -> Headers:
    """Ask aiohttp for what a client asks for of the file that has a tag.

    It knows no tag in If-Range, and would send a part of another file.
    """
    headers = Headers(given)
    validator = headers.get('If-Range', '')
    if not RANGE.fullmatch(headers.get('Range', '')) or ('"' in validator and validator != tag):
        headers.popall('Range', None)
    elif validator == tag:
        headers.setdefault('If-Match', tag)  # it may just be changing
        headers.popall('Accept-Encoding', None)  # a name.gz beside it has another tag
    return headers
