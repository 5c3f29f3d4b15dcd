"""Framing: cut the bytes of a connection into heads and bodies before aiohttp's parser sees them.

aiohttp's parser takes whole reads, and that has three faults. If one of several requests in a read
is bad, the good ones are lost. Trailers of a chunked body are parsed as headers of the next
request. And the parser does not report where in a read a request ended, so an idle connection
could not be told from one with half a head. Therefore this module feeds the parser one head, or a
part of one body, at a time, and the next head only after the response to the request before it.

The parser alone decides what the bytes mean: a cut at the wrong place does not change how they
are parsed (tests/test_smuggling.py). What a chunked body has beside its data is limited here,
because the parser takes any amount of it. Timeouts and back-pressure are in ``server/connection``.
"""

from __future__ import annotations

import asyncio
import re
from collections.abc import Awaitable
from typing import Any

from aiohttp.http_exceptions import HttpProcessingError
from aiohttp.http_parser import HttpRequestParser, HttpRequestParserPy
from aiohttp.http_writer import HttpVersion, HttpVersion11
from aiohttp.streams import EMPTY_PAYLOAD, StreamReader
from aiohttp.web_protocol import RequestHandler, RequestPayloadError

from ..bodies.chunk_overhead import is_padded
from ..websockets.connection import ConnectionPeer
from ..websockets.handshake import wants_websocket

__all__ = [
    'BEHIND',
    'EMPTY_PAYLOAD',
    'HTTP_11',
    'IS_COMPILED',
    'REST',
    'FramedConnection',
    'RequestPayloadError',
]

# The version object of a head of HTTP/1.1; others are equal, and not the same.
HTTP_11: HttpVersion = HttpVersion11
# Whether aiohttp has its C parser.
IS_COMPILED: bool = HttpRequestParser is not HttpRequestParserPy

CRLF = b'\r\n'
END = CRLF * 2  # the end of a head
LAST_CHUNK = b'0' + END  # the end of a chunked body that has no trailers; also within data
# The end of a chunked body, behind the line end of a head or of a chunk. No trailer looks like
# that: the parser refuses a line without a colon.
PLAIN_END = re.compile(rb'\n0+\r\n\r\n\Z')
TAIL = 64  # bytes kept of what was fed, for LAST_CHUNK and PLAIN_END: more zeros are not plain
PADDED = 'it has too many chunk extensions, zeros before sizes or trailers'
BLANK = 16 * 1024  # bytes of empty lines before a request line; RFC 9112 2.2 asks for one line
ROOM = 64 * 1024  # bytes behind an unfinished request before reading stops
BEHIND = 256 * 1024  # bytes dropped behind the last request or a bad one: they were on their way
REST = 32 * 1024 * 1024  # bytes dropped of a refused body: browsers send it all before they read


class FramedConnection(RequestHandler):
    """aiohttp's connection, which starts one request at a time, as soon as its head has come.

    Attributes:
        head: The current or last request, as aiohttp's parser returns it; once the connection is a
            WebSocket, without its headers.
        body: The body of that request.
        busy: Whether that request has been started and not finished.
        upgrade: Whether that request asks for a WebSocket; the bytes behind it are then held.
        channel: The WebSocket that the connection was switched to, else None.
        in_head: Whether a part of a head has come, and not its end.
        is_tls: Whether the connection uses TLS.
        ended: Whether no more requests are read.
        at_eof: Whether the peer has closed its sending side (half-close) and awaits responses.
        whole: Whether all of the body has come.
        dropped: Bytes received after the last request, which are not read.
        room: Bytes that the peer may send behind the last response; then it is cut off.
        fed: Bytes of the current body that the parser got; counted if it is chunked.
        cancels: Whether losing the connection cancels the task, as while a body is streamed.
        begun: Whether the head of a streamed response has been made.
        blank: Bytes of empty lines before the current head.
        peer: The address of the peer; None on a Unix socket.
        task: The task that handles the request.
    """

    __slots__ = (
        'at_eof',
        'begun',
        'blank',
        'body',
        'busy',
        'cancels',
        'channel',
        'dropped',
        'ended',
        'fed',
        'fresh',
        'full',
        'had',
        'head',
        'held',
        'in_head',
        'is_tls',
        'left',
        'parser',
        'paused',
        'peer',
        'reading',
        'room',
        'tail',
        'task',
        'upgrade',
        'whole',
    )

    def __init__(self, *arguments: Any, **settings: Any) -> None:
        super().__init__(*arguments, **settings)
        # Two private names of aiohttp are used, _parser and _upgraded;
        # tests/server/test_framing.py fails if they change.
        self.parser: Any = self._parser
        self.head: Any = None
        self.body: StreamReader = EMPTY_PAYLOAD
        self.channel: ConnectionPeer | None = None
        self.peer: str | None = None
        self.task: asyncio.Task[None] | None = None
        self.busy: bool = False
        self.in_head: bool = False
        self.is_tls: bool = False
        self.ended: bool = False
        self.at_eof: bool = False
        self.cancels: bool = False
        self.begun: bool = False
        self.upgrade: bool = False
        self.reading: bool = False  # a reader waits for more of the body
        self.fresh: bool = False  # a head has come, and start_request was not called yet
        self.paused: bool = False  # the buffer of the body is full
        self.full: bool = False  # held is longer than ROOM, so the transport is paused
        self.whole: bool = True
        self.left: int = 0  # bytes of the body still to come; 0 if it is chunked
        self.dropped: int = 0
        self.blank: int = 0
        self.room: int = BEHIND
        self.fed: int = 0
        self.had: int = 0  # bytes of the body when a reader began to wait
        self.held: bytes = b''  # received, and not fed to the parser yet
        self.tail: bytes = b''  # the last bytes fed of a head or body that has not ended

    async def start(self) -> None:
        """Do nothing: aiohttp's own method would handle the requests here, in one task."""

    def start_request(self) -> None:
        """Handle the request whose head has come; its body may still be coming."""

    def reject(self, error: HttpProcessingError) -> None:
        """Respond to bytes that are not a valid request."""

    async def write(self, data: bytes) -> None:
        """Write a part of a response, with back-pressure."""

    def pace(self) -> None:
        """Let each write of this response end only when the transport's buffer is empty."""

    async def drained(self) -> None:
        """Wait until all that was written has left the transport's buffer."""

    async def wait_for_peer(self, ready: Awaitable[Any]) -> None:
        """Wait for something that happens once the peer reads more."""

    def count_written(self, size: int) -> None:
        """Count bytes of a response that were not written by ``write``."""

    def head_began(self) -> None:
        """Note that a part of a head has come, and not its end."""
        self.in_head = True

    def expect_body(self, seconds: float) -> None:
        """Note that a reader waits for more of the body, for at most ``seconds``."""
        self.reading = True
        self.had = self.body.total_bytes

    @property
    def has_more(self) -> bool:
        """Whether what a reader of the body waits for has come, and it did not run yet."""
        return self.body.is_eof() or self.body.total_bytes > self.had

    @property
    def can_keep_alive(self) -> bool:
        """Whether another request may follow the current one."""
        last = self.head.should_close or self.ended or (self.at_eof and not self.held)
        return self.whole and not last

    def connection_made(self, transport: Any) -> None:
        """Begin the connection."""
        super().connection_made(transport)
        self.is_tls = self.ssl_context is not None  # aiohttp asks the transport each time

    def pause_reading(self) -> None:
        """Stop reading while the buffer of the body is full."""
        self.paused = True
        super().pause_reading()

    def resume_reading(self, resume_parser: bool = True) -> None:
        """Read on. aiohttp calls this even when reading is not paused."""
        if self.paused:
            self.paused = False
            super().resume_reading(resume_parser)

    def connection_lost(self, exc: BaseException | None) -> None:
        """End the connection; a reader of an incomplete body gets an error."""
        self.ended = True
        self.parser = None  # parser and connection refer to each other
        super().connection_lost(exc)
        if not self.whole:
            self.body.set_exception(exc or ConnectionResetError('the client has left'))
        if self.channel is not None:
            self.channel.feed_eof()

    def finish_request(self) -> None:
        """Finish the current request, so that the next one can start."""
        self.busy = self.upgrade = False
        self._read_on()

    def become(self, channel: ConnectionPeer) -> None:
        """Switch to a WebSocket, and feed it the bytes that came behind its handshake."""
        self.channel = channel
        # They keep the headers, of which the table of the request has a copy, maybe for hours.
        self.parser = self._parser = None
        self.head = self.head._replace(headers=None, raw_headers=None)
        self._upgraded = True  # from now on a pause stops the transport only, not the parser
        held, self.held = self.held, b''
        self._read_on()
        channel.feed_data(held)

    def _read_on(self) -> None:
        transport = self.transport
        if self.full and transport is not None and not transport.is_closing():
            transport.resume_reading()
        self.full = False

    def data_received(self, data: bytes) -> None:
        """Process received bytes; ``b''`` goes on after a pause or a response."""
        if self.ended:
            if self.channel is not None:
                self.channel.feed_data(data)
            else:
                self._receive_rest(data)
            return
        if not (self.busy or self.in_head or self.held):
            end = data.find(END) + len(END)
            if end >= len(END):  # most reads are one head, and perhaps a body
                self._feed(data[:end])
                data = data[end:]
        if 0 < len(data) <= self.left and not (self.paused or self.held):
            self._feed(data)
        elif data or self.held or not self.whole:
            self._feed_parts(data)
        if self.fresh:
            self.fresh = False
            self.start_request()

    def _receive_rest(self, data: bytes) -> None:
        """Process bytes behind the last request: for a WebSocket to come, or to be dropped."""
        if self.upgrade:
            self._feed_parts(data)
        else:
            self.held = b''
            self.dropped += len(data)
            if self.busy:
                self._limit_waiting(self.dropped)
            elif self.dropped > self.room and self.transport is not None:
                self.transport.abort()  # not close, for which TLS reads on until the peer agrees

    def _limit_waiting(self, size: int) -> None:
        """Stop reading while more than ``ROOM`` bytes have come behind the current request."""
        if size > ROOM and self.transport is not None:
            self.full = True
            self.transport.pause_reading()

    def _feed_parts(self, data: bytes) -> None:
        """Feed the held and the new bytes to the parser, up to the start of the next request."""
        if not (data or self.whole):
            self._feed(b'')
        text, start = self.held + data, 0  # no copy unless bytes were held
        self.held = b''
        while start < len(text) and (self.upgrade or not self.ended):
            if self.paused or (self.busy and self.whole):
                self.held = text[start:]
                break
            end = min(self._end(text, start), len(text))
            self.tail = (self.tail + text[max(start, end - TAIL) : end])[-TAIL:]
            self._feed(text[start:end])
            start = end
        self._limit_waiting(len(self.held))

    def _end(self, text: bytes, start: int) -> int:
        """Find the end of the current head or body in ``text``, else the end of ``text``."""
        if self.left:
            return start + self.left
        mark = END if self.whole else LAST_CHUNK
        seam = self.tail + text[start : start + len(mark) - 1]
        end = seam.find(mark, max(0, len(self.tail) + 1 - len(mark))) + len(mark)
        if end >= len(mark):  # a part of the mark has been fed
            return start + end - len(self.tail)
        end = text.find(mark, start) + len(mark)
        return end if end >= len(mark) else len(text)

    def _feed(self, data: bytes) -> None:
        try:
            messages, _, _ = self.parser.feed_data(data)
        except HttpProcessingError as error:
            if self.whole:
                self.reject(error)
            elif not self.body.is_eof():  # else the bad bytes came behind it
                self._fail_body('its framing is broken')
            self.ended = self.whole = True
            return
        if not self.whole:
            self._body_fed(len(data), messages)
        elif messages:
            self._head_ended(messages)
        elif data.strip(CRLF):
            self.head_began()
        else:
            self._skip_blank(len(data))

    def _skip_blank(self, size: int) -> None:
        """Count empty lines before a request line, of which the parser takes any number."""
        self.head_began()
        self.blank += size
        if self.blank > BLANK:
            self.ended = True
            self.reject(HttpProcessingError(code=400, message='too many empty lines'))

    def _head_ended(self, messages: Any) -> None:
        (head, self.body), *more = messages
        self.head = head
        self.parser.message_consumed()
        self.fed = self.blank = 0
        self.ended = bool(more)  # not known to happen: one head gave several requests
        self.busy, self.fresh, self.in_head = True, True, False
        self.whole = self.body is EMPTY_PAYLOAD
        self.tail = CRLF if head.chunked else b''
        if not (self.whole or head.chunked or head.method == 'CONNECT'):
            # The parser accepts more leading zeros than int() accepts digits.
            self.left = int(head.headers['Content-Length'].lstrip('0'))
        if head.upgrade:
            self._check_upgrade()

    def _body_fed(self, size: int, messages: Any) -> None:
        self.left -= min(self.left, size)
        if self.head.chunked:
            self.fed += size
            # While the buffer of the body is full, the parser may hold data that is not counted.
            if not self.paused and is_padded(self.fed, self.body.total_bytes):
                self._fail_body(PADDED)
                return
        self.whole = self.body.is_eof()
        if self.whole:
            self._body_ended(messages)

    def _body_ended(self, messages: Any) -> None:
        if self.head.chunked:
            # Trailers make this request the last, for the parser takes them for headers of the
            # next one. With an upgrade it drops them, and they could not be noticed.
            plain = PLAIN_END.search(self.tail) is not None
            self.ended |= not plain or bool(messages) or self.head.upgrade
        self.tail = b''
        if self.head.upgrade:
            self._check_upgrade()

    def _check_upgrade(self) -> None:
        upgrade = self.head.version >= (1, 1) and wants_websocket(self.head.headers)
        if not upgrade:
            self.parser.set_upgraded(False)  # else it reads no more requests after some upgrades
        self.upgrade = upgrade and self.whole
        self.ended |= self.upgrade or (self.head.method == 'CONNECT' and not self.whole)

    def _fail_body(self, fault: str) -> None:
        """Set an error on a body, which is the last; aiohttp's parser does not."""
        self.ended = self.whole = True
        self.body.set_exception(RequestPayloadError(fault))
        self.body.feed_eof()
