"""A protocol between a transport and aiohttp's, which mends what that loses of a response.

It calls what asyncio documents of a protocol, and ``exception`` of aiohttp's.
"""

from __future__ import annotations

import asyncio
import contextlib
import contextvars
import re
import ssl
from typing import Any, Self

import aiohttp

from ..bodies.chunk_overhead import MAX_OVERHEAD, is_padded
from ..errors import ProtocolError
from ..headers import Headers
from ..timers import MovingDeadline

__all__ = ['ResponseProtocol', 'is_chunked']

END = b'\r\n\r\n'  # the end of a head
INTERIM = re.compile(rb'HTTP/1\.[01] 1(?!01)')  # after a 101 no head follows
STATUS = len(b'HTTP/1.1 101')
# Of a head behind which there is a body, unless the request is a HEAD.
WITH_BODY = re.compile(rb'HTTP/1\.[01] (?!1|204|304)[1-9][0-9]{2}[ \r]')
LENGTH = re.compile(rb'\r\ncontent-length: ?([0-9]{1,15})\r\n', re.IGNORECASE)
READ = 512 * 1024  # bytes that are read of a socket at once
PADDED = f'a chunked body has over {MAX_OVERHEAD} bytes of extensions, padding and trailers'


def is_chunked(headers: Headers) -> bool:
    """Tell whether a body has chunks."""
    if 'Transfer-Encoding' not in headers:
        return False
    codings = ','.join(headers.getall('Transfer-Encoding'))
    return codings.rpartition(',')[2].strip().lower() == 'chunked'


class ResponseProtocol(asyncio.Protocol):
    """Pass received bytes on to aiohttp's protocol of a client's connection.

    - A final head is passed on apart from the bytes behind it. If those are invalid, aiohttp would
      lose a response that was complete: a 204 with a chunked body, or bytes behind its length. A
      body that is as long as its Content-Length, and came with the head, is passed on with it.
    - aiohttp keeps a connection on which the beginning of a response came that nobody asked for.
    - It tells the connection that the framing of a body is broken, but not the reader of the body.
    - It has no limit on what a chunked body has besides data, such as chunk extensions.
    - After a write that failed the event loop reads no more: not even the response of a peer that
      responded early and closed the connection, with part of the request unread.

    Args:
        protocol: aiohttp's.
        transport: Of the connection; None if it is lost.

    Attributes:
        protocol: aiohttp's.
        peer: The IP address; None for a Unix socket.
        tls: The TLS object; None without TLS.
        requests: The number of requests on this connection.
        head_size: Bytes of the head of the response, and of interim ones before it.
    """

    def __init__(self, protocol: Any, transport: Any) -> None:
        self.protocol: Any = protocol
        self._transport = transport
        address = transport and transport.get_extra_info('peername')
        self.peer: str | None = address[0] if isinstance(address, tuple) else None
        self.tls: ssl.SSLObject | None = transport and transport.get_extra_info('ssl_object')
        self._keeps_last_bytes = False
        self._seconds: float | None = None  # to wait for the next bytes
        self._deadline: MovingDeadline | None = None  # by which they must come
        self.requests: int = 0
        self.begin(None)

    @classmethod
    def of(cls, connection: Any) -> Self:
        """Return the one of a connection of aiohttp's; put one there if there is none."""
        transport = connection.transport  # None once it is lost
        found = transport and transport.get_protocol()
        if not isinstance(found, cls):
            found = cls(connection.protocol, transport)
            if transport:
                transport.set_protocol(found)
        return found

    @classmethod
    def after_head(cls, connection: Any) -> Self:
        """Return the one of a connection on which the head of a response has come."""
        received = cls.of(connection)
        received.begin(None)
        return received

    @property
    def reused(self) -> bool:
        """Whether a request was sent on the connection before this one."""
        return self.requests > 1

    def begin(self, method: str | None) -> None:
        """Begin with the response to a request, and count that.

        Args:
            method: Of the request; None where no head is awaited: there is no request yet, or the
                head has come already.
        """
        awaits_head = method is not None
        self.requests += awaits_head
        self._awaits_head = awaits_head
        self._counts_all = awaits_head  # else the session of a user takes what is behind the body
        self._may_be_whole = awaits_head and method != 'HEAD'
        self._first = self._last = b''  # the bytes of a head, and those received last
        self.head_size: int = 0
        self._size = 0  # bytes received behind the head
        self._body: aiohttp.StreamReader | None = None  # that has not ended
        self._is_chunked = self._ended = False
        self._seconds = None
        if self._deadline is not None:
            self._deadline.clear()

    def expect(self, seconds: float | None) -> None:
        """Let this response fail if nothing comes for some seconds, from now on; None: no limit."""
        self._seconds = seconds
        if seconds is not None:
            if self._deadline is None:
                loop, context = asyncio.get_running_loop(), contextvars.Context()
                self._deadline = MovingDeadline(loop, self._is_late, context)
            self._deadline.move(seconds)
        elif self._deadline is not None:
            self._deadline.clear()

    def _is_late(self) -> None:
        if self._ended:  # the connection waits in the pool
            return
        error = aiohttp.SocketTimeoutError('Timeout on reading data from socket')
        self.protocol.set_exception(error)
        if self._body is not None:
            self._body.set_exception(error)

    def keep_last_bytes(self) -> None:
        """Let the connection read an early response though the peer then resets it."""
        # The socket of a TLS connection has encrypted bytes alone.
        self._keeps_last_bytes = self.tls is None

    def watch(self, body: aiohttp.StreamReader, headers: Headers) -> None:
        """Tell the reader of a response body of errors in its framing."""
        # Else this is another response already, or one that is known to be complete.
        if not (self._awaits_head or (self._ended and body.is_eof())):
            self._is_chunked = is_chunked(headers)
            self._check(body)

    def _check(self, body: aiohttp.StreamReader) -> None:
        """Check the state of a body, as after each read."""
        is_empty = body is aiohttp.EMPTY_PAYLOAD
        size = 0 if is_empty else body.total_raw_bytes
        if self._is_chunked and self._is_padded(body, size):
            body.set_exception(ProtocolError(PADDED))
            self.protocol.force_close()
            if self._transport is not None:
                self._transport.abort()
        self._ended = self._counts_all and body.is_eof()
        self._body = None if body.is_eof() else body
        if self._ended:
            if self._last != END if self._is_chunked and not is_empty else self._size > size:
                self.protocol.force_close()
        elif self._body and not body.exception() and (error := self.protocol.exception()):
            body.set_exception(error)

    def _is_padded(self, body: aiohttp.StreamReader, size: int) -> bool:
        """Tell whether a chunked body has too many bytes that are no data."""
        if not is_padded(self._size, size):
            return False
        # While reading is paused, the parser may hold a rest that is not counted as data yet.
        return body.is_eof() or self._transport is None or self._transport.is_reading()

    def data_received(self, data: bytes) -> None:
        """Pass data on."""
        if self._may_be_whole and self._is_whole(data):
            self._awaits_head, self._ended = False, True
            self.protocol.data_received(data)
            return
        if self._seconds is not None:
            self.expect(self._seconds)
        if self._awaits_head:
            data = self._pass_heads(data)
        if not data:
            return
        self._size += len(data)
        self._last = (self._last + data[-len(END) :])[-len(END) :]
        self.protocol.data_received(data)
        if self._body is not None:
            self._check(self._body)
        elif self._ended:
            self.protocol.force_close()

    def _is_whole(self, data: bytes) -> bool:
        """Tell whether data is a response whose body is as long as its head says.

        That is the usual response, and the parser finds nothing invalid behind its head.
        """
        self._may_be_whole = False  # what comes later is only a part
        end = data.find(END) + len(END)
        found = WITH_BODY.match(data) and LENGTH.search(data, 0, end)
        size = len(data) - end
        if not found or int(found[1]) != size:
            return False
        self.head_size, self._size = end, size
        return True

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
            self.head_size += end
            self.protocol.data_received(data[:end])
            data = b'' if self.protocol.exception() else data[end:]
        return data

    def eof_received(self) -> Any:
        """Pass the end of input on; the peer reads no more of the request then."""
        keep_open = self.protocol.eof_received()
        if self._keeps_last_bytes and self._transport.get_write_buffer_size():
            self._transport.abort()  # closing would wait for the peer to read
        return keep_open

    def pause_writing(self) -> None:
        """Pass on that the write buffer is full."""
        self.protocol.pause_writing()

    def resume_writing(self) -> None:
        """Pass on that the write buffer has room again."""
        self.protocol.resume_writing()

    def connection_lost(self, exc: Exception | None) -> None:
        """After an error, read the rest from the socket before it is closed."""
        if self._deadline is not None:
            self._deadline.cancel()
            self._deadline = self._seconds = None
        if self._keeps_last_bytes and isinstance(exc, OSError):
            with (
                contextlib.suppress(OSError),
                self._transport.get_extra_info('socket').dup() as left,
            ):
                while data := left.recv(READ):
                    self.data_received(data)
        self._parse_rest()
        self.protocol.connection_lost(exc)
        if self._body is not None:
            self._check(self._body)
            self._body = None

    def _parse_rest(self) -> None:
        """Parse what the parser has kept because the reader of the body is slow."""
        size = -1
        while self._body is not None and size < self._body.total_bytes:
            size = self._body.total_bytes
            self.protocol.data_received(b'')
