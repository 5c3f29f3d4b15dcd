"""Answers whose body is a file on disk, with ranges and conditions (RFC 9110 13 and 14)."""

from __future__ import annotations

import asyncio
import re
from errno import EISDIR, ENAMETOOLONG, ENOENT, ENOTDIR
from os import fsdecode, stat
from stat import S_ISREG
from typing import Any

from aiohttp.web_fileresponse import FileResponse
from aiohttp.web_request import BaseRequest

from .framing import Framed
from .headers import ONE_HOP, Headers
from .outgoing import NO_BODY, PHRASES, encode, is_silent
from .sendfile import Sendfile
from .sending import Writer, as_aiohttp_has_it
from .tables import Response

__all__ = ['FileAnswer']

PIECE = 256 * 1024  # bytes read at a time where the kernel cannot send: a turn of a thread
TLS_PIECE = 64 * 1024  # asyncio's TLS does not tell how far it is within a single write
MISSING = frozenset({ENOENT, ENOTDIR, ENAMETOOLONG})
# One range of bytes. Whatever else is asked for may be ignored (RFC 9110 14.2), or has to be;
# aiohttp would answer it with a 416.
RANGE = re.compile('bytes=([0-9]{1,18}-[0-9]{0,18}|-[0-9]{1,18})')


class FileAnswer:
    """An answer whose body is a file, sent as the peer reads it."""

    def __init__(self, response: Response[Any], headers: Headers, keep_alive: bool) -> None:
        self.path = fsdecode(response['body'])
        self.status: int = response['status']
        self.reason: str | None = response.get('reason')
        self.headers = headers
        self.keep_alive = keep_alive

    async def send(self, connection: Framed) -> bool:
        """Send the file, or a part of it, or none as the request asks; 404 if there is no file."""
        if self.status in NO_BODY:
            await self._say(connection, self.headers, b'')
        elif await asyncio.to_thread(_is_there, self.path):
            await self._send(connection)
        else:
            self.status, self.reason = 404, None
            headers = Headers({'Content-Type': 'text/plain; charset=utf-8'})
            await self._say(connection, headers, PHRASES[404].encode())
        return self.keep_alive and connection.keeps

    async def _say(self, connection: Framed, headers: Headers, body: bytes) -> None:
        start = self.status, self.reason, headers
        await connection.write(encode(connection.head, *start, body, self.keep_alive).data)

    async def _send(self, connection: Framed) -> None:
        kept = [pair for pair in self.headers.items() if pair[0].lower() not in ONE_HOP]
        piece = PIECE if connection.ssl_context is None else TLS_PIECE
        response = FileResponse(self.path, piece, self.status, self.reason, Headers(kept))
        if not self.keep_alive:
            response.force_close()
        writer = Writer(connection, asyncio.get_running_loop())
        try:
            await response.prepare(self._request(connection, writer))
            await response.write_eof()
        finally:
            connection.wrote(writer.output_size)
        self.status = response.status
        if not is_silent(connection.head.method, self.status):
            self.keep_alive &= writer.chunked or writer.length is not None
            if writer.length:  # aiohttp would go on, and the next answer be read as this file
                raise OSError(f'{self.path} has become shorter while it was sent')

    def _request(self, connection: Framed, writer: Writer) -> BaseRequest:
        request = as_aiohttp_has_it(connection, writer, Sendfile(connection, writer))
        headers = Headers(request.headers)
        # Ranges and conditions are for what would be a 200 (RFC 9110 13.2.1 and 14.2).
        if self.status != 200 or request.method not in ('GET', 'HEAD'):
            return request.clone(headers={})
        # aiohttp knows no If-Range with an entity tag, and would send a part of another file.
        if not RANGE.fullmatch(headers.get('Range', '')) or '"' in headers.get('If-Range', ''):
            headers.popall('Range', None)
            return request.clone(headers=headers)
        return request


def _is_there(path: str) -> bool:
    """Tell whether there is something of that name.

    Raises:
        OSError: It is no file, or cannot be read.
    """
    try:
        mode = stat(path).st_mode
    except ValueError:  # no name of a file
        return False
    except OSError as error:
        if error.errno in MISSING:
            return False
        raise
    if not S_ISREG(mode):
        raise OSError(EISDIR, 'a body has to be a file', path)
    with open(path, 'rb'):
        return True
