"""A protocol between a transport and aiohttp's, which mends what that loses of a response.

It calls what asyncio documents of a protocol, and ``exception`` of aiohttp's.
"""

from __future__ import annotations

import asyncio
import contextlib
import re
from typing import Any, Self

import aiohttp

from ..bodies.chunk_overhead import MAX_OVERHEAD, is_padded
from ..errors import ProtocolError

__all__ = ['ResponseProtocol', 'keep_last_bytes']

END = b'\r\n\r\n'  # the end of a head
INTERIM = re.compile(rb'HTTP/1\.[01] 1(?!01)')  # after a 101 no head follows
STATUS = len(b'HTTP/1.1 101')
READ = 512 * 1024  # bytes that are read of a socket at once
PADDED = f'a chunked body has over {MAX_OVERHEAD} bytes of extensions, padding and trailers'


def keep_last_bytes(protocol: Any, transport: Any) -> None:
    """Let a connection read an early response though the peer then resets it."""
    # The socket of a TLS connection has encrypted bytes alone.
    if transport.get_extra_info('sslcontext') is None:
        ResponseProtocol.of(transport).keeps_last_bytes = True


class ResponseProtocol(asyncio.Protocol):
    """Pass received bytes on to aiohttp's protocol of a client's connection.

    - A final head is passed on apart from the bytes behind it. If those are invalid, aiohttp would
      lose a response that was complete: a 204 with a chunked body, or bytes behind its length.
    - aiohttp keeps a connection on which the beginning of a response came that nobody asked for.
    - It tells the connection that the framing of a body is broken, but not the reader of the body.
    - It has no limit on what a chunked body has besides data, such as chunk extensions.
    - After a write that failed the event loop reads no more: not even the response of a peer that
      responded early and closed the connection, with part of the request unread.

    Args:
        protocol: aiohttp's.
        transport: Of the connection; None if it is lost.

    Attributes:
        keeps_last_bytes: Whether the rest is read from the socket after an error.
    """

    def __init__(self, protocol: Any, transport: Any) -> None:
        self._protocol, self._transport = protocol, transport
        self.keeps_last_bytes: bool = False
        self.begin(awaits_head=False)

    @classmethod
    def of(cls, transport: Any) -> Self:
        """Return the one of a transport; put one there if there is none."""
        found = transport.get_protocol()
        if not isinstance(found, cls):
            found = cls(found, transport)
            transport.set_protocol(found)
        return found

    def begin(self, *, awaits_head: bool) -> None:
        """Begin with a response, whose head is still to come or has come."""
        self._awaits_head = awaits_head
        self._counts_all = awaits_head  # else the session of a user takes what is behind the body
        self._first = self._last = b''  # the bytes of a head, and those received last
        self._size = 0  # bytes received behind the head
        self._body: aiohttp.StreamReader | None = None  # that has not ended
        self._is_chunked = self._ended = False

    def watch(self, body: aiohttp.StreamReader, *, is_chunked: bool) -> None:
        """Tell the reader of a response body of errors in its framing."""
        if self._awaits_head:  # this is another response already
            return
        self._is_chunked = is_chunked
        self._check(body)

    def _check(self, body: aiohttp.StreamReader) -> None:
        """Check the state of a body, as after each read."""
        is_empty = body is aiohttp.EMPTY_PAYLOAD
        size = 0 if is_empty else body.total_raw_bytes
        if self._is_chunked and self._is_padded(body, size):
            body.set_exception(ProtocolError(PADDED))
            self._protocol.force_close()
            if self._transport is not None:
                self._transport.abort()
        self._ended = self._counts_all and body.is_eof()
        self._body = None if body.is_eof() else body
        if self._ended:
            if self._last != END if self._is_chunked and not is_empty else self._size > size:
                self._protocol.force_close()
        elif self._body and not body.exception() and (error := self._protocol.exception()):
            body.set_exception(error)

    def _is_padded(self, body: aiohttp.StreamReader, size: int) -> bool:
        """Tell whether a chunked body has too many bytes that are no data."""
        if not is_padded(self._size, size):
            return False
        # While reading is paused, the parser may hold a rest that is not counted as data yet.
        return body.is_eof() or self._transport is None or self._transport.is_reading()

    def data_received(self, data: bytes) -> None:
        """Pass data on."""
        if self._awaits_head:
            data = self._pass_heads(data)
        if not data:
            return
        self._size += len(data)
        self._last = (self._last + data[-len(END) :])[-len(END) :]
        self._protocol.data_received(data)
        if self._body is not None:
            self._check(self._body)
        elif self._ended:
            self._protocol.force_close()

    def _pass_heads(self, data: bytes) -> bytes:
        """Pass on heads, up to the end of a final one; return what follows."""
        while data and self._awaits_head:
            self._first = (self._first + data[:STATUS])[:STATUS]
            text = self._last + data
            end = text.find(END) + len(END) - len(self._last)
            if end < len(END) - len(self._last):
                self._last = text[1 - len(END) :]
                end = len(data)
            else:
                self._awaits_head = INTERIM.match(self._first) is not None
                self._first = self._last = b''
            self._protocol.data_received(data[:end])
            data = b'' if self._protocol.exception() else data[end:]
        return data

    def eof_received(self) -> Any:
        """Pass the end of input on; the peer reads no more of the request then."""
        keep_open = self._protocol.eof_received()
        if self.keeps_last_bytes and self._transport.get_write_buffer_size():
            self._transport.abort()  # closing would wait for the peer to read
        return keep_open

    def pause_writing(self) -> None:
        """Pass on that the write buffer is full."""
        self._protocol.pause_writing()

    def resume_writing(self) -> None:
        """Pass on that the write buffer has room again."""
        self._protocol.resume_writing()

    def connection_lost(self, exc: Exception | None) -> None:
        """After an error, read the rest from the socket before it is closed."""
        if self.keeps_last_bytes and isinstance(exc, OSError):
            with (
                contextlib.suppress(OSError),
                self._transport.get_extra_info('socket').dup() as left,
            ):
                while data := left.recv(READ):
                    self.data_received(data)
        self._parse_rest()
        self._protocol.connection_lost(exc)
        if self._body is not None:
            self._check(self._body)
            self._body = None

    def _parse_rest(self) -> None:
        """Parse what the parser has kept because the reader of the body is slow."""
        size = -1
        while self._body is not None and size < self._body.total_bytes:
            size = self._body.total_bytes
            self._protocol.data_received(b'')
