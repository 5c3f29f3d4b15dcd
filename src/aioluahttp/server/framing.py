"""The bytes of a connection cut into heads and bodies, before aiohttp's parser gets them.

The parser takes whole reads. Of a read with several requests it loses the good ones if another
is bad; it takes the trailers of a chunked body for headers of the next request; and it does not
tell where in a read a request ended, so nobody could tell an idle connection from one on which
half a head has come. So it gets one head, or a part of one body, at a time, and the next head
only once the request before it is answered. What it makes of the bytes is its own affair: a cut
at the wrong place changes no reading (tests/test_smuggling.py).
"""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable
from typing import Any

from aiohttp.http_exceptions import HttpProcessingError
from aiohttp.streams import EMPTY_PAYLOAD, StreamReader
from aiohttp.web_protocol import RequestHandler, RequestPayloadError

from ..websockets.connection import ConnectionPeer

__all__ = ['FramedConnection']

END = b'\r\n\r\n'  # of a head
LAST_CHUNK = b'\r\n0' + END  # the end of a chunked body that has no trailers
ROOM = 64 * 1024  # bytes behind a request that may wait for its answer before reading stops
UPGRADES = frozenset({'websocket'})  # after which the parser reads no more requests


class FramedConnection(RequestHandler):
    """aiohttp's connection, which takes up one request at a time, as soon as its head is there.

    Attributes:
        head: The request that was taken up last, as the parser gives it.
        body: Its body.
        busy: Whether it was taken up and not answered yet.
        upgrade: Whether it asks for a WebSocket, for which what comes behind it is held.
        channel: The WebSocket that the connection has become; None where it has not.
        in_head: Whether a part of a head has come.
        ended: Whether nothing more is read.
        at_eof: Whether the peer has closed its side, and waits for answers.
        whole: Whether all of the body has come.
        cancels: Whether its end cancels the task, as it does where an answer writes itself.
        begun: Whether such an answer has written a part of its head.
        peer: The address of the peer; None for that of a Unix socket.
        task: The task that answers.
    """

    __slots__ = (
        'at_eof',
        'begun',
        'body',
        'busy',
        'cancels',
        'channel',
        'ended',
        'fresh',
        'full',
        'head',
        'held',
        'in_head',
        'left',
        'parser',
        'paused',
        'peer',
        'reading',
        'tail',
        'task',
        'upgrade',
        'whole',
    )

    def __init__(self, *arguments: Any, **settings: Any) -> None:
        super().__init__(*arguments, **settings)
        # The names of aiohttp's own that are used, this one and _upgraded; tests/test_framing.py
        # tells if they change.
        self.parser: Any = self._parser
        self.head: Any = None
        self.body: StreamReader = EMPTY_PAYLOAD
        self.channel: ConnectionPeer | None = None
        self.peer: str | None = None
        self.task: asyncio.Task[None] | None = None
        self.busy: bool = False
        self.in_head: bool = False
        self.ended: bool = False
        self.at_eof: bool = False
        self.cancels: bool = False
        self.begun: bool = False
        self.upgrade: bool = False
        self.reading: bool = False  # somebody waits for more of the body
        self.fresh: bool = False  # a head has just come, and nobody was told
        self.paused: bool = False  # until the body is read
        self.full: bool = False  # until what is held is read
        self.whole: bool = True
        self.left: int = 0  # bytes of a body that are yet to come; 0, too, if it is in chunks
        self.held: bytes = b''  # what the parser is yet to get
        self.tail: bytes = b''  # the last bytes that it got of what is not at its end

    async def start(self) -> None:
        """Do nothing. Here aiohttp would wait for requests, and handle one after the other."""

    def taken_up(self) -> None:
        """Answer the request that has come, or has begun to."""

    def refused(self, error: HttpProcessingError) -> None:
        """Answer what is no request."""

    async def write(self, data: bytes) -> None:
        """Write a part of an answer, and wait while the peer reads."""

    async def drained(self) -> None:
        """Wait while the peer reads what was written."""

    async def unread(self, read: Awaitable[Any]) -> None:
        """Wait for what comes once the peer reads."""

    def wrote(self, size: int) -> None:
        """Count bytes of an answer that were written without ``write``."""

    def head_began(self) -> None:
        """Take note that a part of a head has come, and not its end."""
        self.in_head = True

    def expect_body(self, seconds: float) -> None:
        """Take note that somebody waits for more of the body, but only so long."""
        self.reading = True

    @property
    def keeps(self) -> bool:
        """Whether another request may follow the one that is taken up."""
        last = self.head.should_close or self.ended or (self.at_eof and not self.held)
        return self.whole and not last

    def pause_reading(self) -> None:
        """Read no more of a body than is wanted."""
        self.paused = True
        super().pause_reading()

    def resume_reading(self, resume_parser: bool = True) -> None:
        """Read on. aiohttp calls this, too, where nothing is paused."""
        if self.paused:
            self.paused = False
            super().resume_reading(resume_parser)

    def connection_lost(self, exc: BaseException | None) -> None:
        """End, whichever side wanted it; who still reads the body is told."""
        self.ended = True
        self.parser = None  # the two refer to each other
        super().connection_lost(exc)
        if not self.whole:
            self.body.set_exception(exc or ConnectionResetError('the client has left'))
        if self.channel is not None:
            self.channel.feed_eof()

    def answered(self) -> None:
        """Go on to the next request."""
        self.busy = self.upgrade = False
        self._read_on()

    def become(self, channel: ConnectionPeer) -> None:
        """Give the WebSocket what came behind its handshake, and all that is to come."""
        self.channel = channel
        self._upgraded = True  # a pause is for the transport alone, not for the parser
        held, self.held = self.held, b''
        self._read_on()
        channel.feed_data(held)

    def _read_on(self) -> None:
        transport = self.transport
        if self.full and transport is not None and not transport.is_closing():
            transport.resume_reading()
        self.full = False

    def data_received(self, data: bytes) -> None:
        """Read what came. Called with nothing, too, to go on after a pause or an answer."""
        if self.ended:
            self._receive_rest(data)
            return
        if not (self.busy or self.in_head or self.held):
            end = data.find(END) + len(END)
            if end >= len(END):  # a head, as most reads are, and perhaps a body
                self._feed(data[:end])
                data = data[end:]
        if 0 < len(data) <= self.left and not (self.paused or self.held):
            self._feed(data)
        elif data or self.held or not self.whole:
            self._feed_parts(data)
        if self.fresh:
            self.fresh = False
            self.taken_up()

    def _receive_rest(self, data: bytes) -> None:
        """Read what is for a WebSocket, or is to be; nobody wants anything else."""
        if self.channel is not None:
            self.channel.feed_data(data)
        elif self.upgrade:
            self._feed_parts(data)
        else:
            self.held = b''

    def _feed_parts(self, data: bytes) -> None:
        """Feed what is held and what came, up to where the next request would begin."""
        if not (data or self.whole):
            self._feed(b'')
        text = self.tail + self.held + data
        start, self.held = len(self.tail), b''
        while start < len(text) and (self.upgrade or not self.ended):
            if self.paused or (self.busy and self.whole):
                self.held = text[start:]
                break
            end = min(self._end(text, start), len(text))
            self.tail = text[max(0, end - len(LAST_CHUNK)) : end]
            self._feed(text[start:end])
            start = end
        if len(self.held) > ROOM and self.transport is not None:
            self.full = True
            self.transport.pause_reading()

    def _end(self, text: bytes, start: int) -> int:
        """Find where the head or the body ends of which bytes come; or take all of them."""
        if self.left:
            return start + self.left
        mark = END if self.whole else LAST_CHUNK
        end = text.find(mark, max(0, start + 1 - len(mark))) + len(mark)
        return end if end > start else len(text)

    def _feed(self, data: bytes) -> None:
        try:
            messages, _, _ = self.parser.feed_data(data)
        except HttpProcessingError as error:
            self.ended = True
            if self.whole:
                self.refused(error)
            elif not self.body.is_eof():  # else what is bad came behind it
                self._break()
            self.whole = True
            return
        if not self.whole:
            self.left -= min(self.left, len(data))
            self.whole = self.body.is_eof()
            if self.whole:
                self._body_ended(messages)
        elif messages:
            self._take_up(messages)
        else:
            self.head_began()

    def _take_up(self, messages: Any) -> None:
        (head, self.body), *more = messages
        self.head = head
        self.parser.message_consumed()
        self.tail = LAST_CHUNK[:2] if head.chunked else b''  # all of it may be a last chunk
        self.ended = bool(more)  # never, as far as is known: then it is unclear what they are
        self.busy, self.fresh, self.in_head = True, True, False
        self.whole = self.body is EMPTY_PAYLOAD
        if not (self.whole or head.chunked or head.method == 'CONNECT'):
            self.left = int(head.headers['Content-Length'].lstrip('0'))  # of any length
        if head.upgrade:
            self._heed_upgrade()

    def _body_ended(self, messages: Any) -> None:
        if self.head.chunked:
            # Behind an upgrade the parser drops what came with the end, which would tell of
            # trailers; else it takes them for headers of the next request.
            self.ended |= self.tail != LAST_CHUNK or bool(messages) or self.head.upgrade
        self.tail = b''
        if self.head.upgrade:
            self._heed_upgrade()

    def _heed_upgrade(self) -> None:
        upgrade = self.head.headers.get('Upgrade', '').lower() in UPGRADES
        self.upgrade = upgrade and self.whole
        self.ended |= self.upgrade or (self.head.method == 'CONNECT' and not self.whole)

    def _break(self) -> None:
        """Tell who reads the body: the parser gave up in the middle of it, and does not."""
        self.body.set_exception(RequestPayloadError('the framing is broken'))
        self.body.feed_eof()
