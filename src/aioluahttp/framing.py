"""The bytes of a connection cut into heads and bodies, before aiohttp's parser gets them.

The parser answers whole reads. Of a read with several requests it loses the good ones if another
is bad; it takes the trailers of a chunked body for headers of the next request; and it does not
tell where in a read a request ended, so nobody could tell an idle connection from one on which
half a head has come. So it gets one head, or a part of one body, at a time. What it makes of the
bytes is its own affair: a cut at the wrong place changes no reading (tests/test_smuggling.py).
"""

from __future__ import annotations

from typing import Any

from aiohttp.streams import EMPTY_PAYLOAD, StreamReader
from aiohttp.web_protocol import RequestHandler, RequestPayloadError

__all__ = ['Framed']

END = b'\r\n\r\n'  # of a head
LAST_CHUNK = b'\r\n0' + END  # the end of a chunked body that has no trailers
WAITING = 32  # requests that aiohttp lets wait
UPGRADES = frozenset({'websocket'})  # after which aiohttp keeps what comes to itself


class Framed(RequestHandler):
    """aiohttp's connection, which knows whether a head or a body is what comes next."""

    __slots__ = ('busy', 'ended', 'held', 'in_head', 'paused', 'tail', 'taken')

    def __init__(self, *arguments: Any, **settings: Any) -> None:
        super().__init__(*arguments, **settings)
        self.taken: tuple[Any, StreamReader] = (None, EMPTY_PAYLOAD)  # up last: head and body
        self.busy = False  # from when a request is taken up until its answer is written
        self.in_head = False  # a part of a head has come
        self.ended = False  # no more requests are read, but those that there are get answers
        self.paused = False  # until the body that arrives is read
        self.tail = self.held = b''  # the last bytes that the parser got; what it is yet to get

    # The one name of aiohttp's own that is used; tests/test_framing.py tells if it changes.
    @property
    def waiting(self) -> Any:
        """Give the requests that were read and not yet taken up, with their bodies."""
        return self._messages

    @property
    def arriving(self) -> tuple[Any, StreamReader]:
        """Give the request that comes, or came last, with its body; after that comes a head."""
        last: tuple[Any, StreamReader] = self.waiting[-1] if self.waiting else self.taken
        return last

    def take_up(self, head: Any, body: StreamReader) -> None:
        """Take note that a request is taken up."""
        self.busy = True
        self.taken = head, body

    def head_began(self) -> None:
        """Take note that a part of a head has come, and not its end."""
        self.in_head = True

    def head_ended(self) -> None:
        """Take note that what came last is no part of a head."""
        self.in_head = False

    def pause_reading(self) -> None:
        """Read no more of a body than is wanted."""
        self.paused = True
        super().pause_reading()

    def resume_reading(self, resume_parser: bool = True) -> None:
        """Read on."""
        self.paused = False
        super().resume_reading(resume_parser)

    def data_received(self, data: bytes) -> None:
        """Read what came. aiohttp calls this, too, with nothing, to go on after a pause."""
        if data.find(END) == len(data) - len(END) and self._is_between():
            self.tail = data[-len(LAST_CHUNK) :]  # one head, as most reads are
            self._feed(data)
            return
        if not data and not self.ended:
            self._feed(b'')
        text = self.tail + self.held + data
        start, self.held = len(self.tail), b''
        while start < len(text) and not self.ended:
            if self.paused or len(self.waiting) >= WAITING:
                self.held = text[start:]
                break
            end = min(self._end(text, start), len(text))
            self.tail = text[max(0, end - len(LAST_CHUNK)) : end]
            self._feed(text[start:end])
            start = end

    def _is_between(self) -> bool:
        """Tell whether all that has come is whole requests, and all of it was taken up."""
        part = self.in_head or self.held or self.ended or self.waiting
        return not part and self.taken[1].is_eof()

    def _end(self, text: bytes, start: int) -> int:
        """Find where the head or the body ends of which bytes come; or take all of them."""
        head, body = self.arriving
        if not body.is_eof() and not head.chunked:
            length = head.headers['Content-Length'].lstrip('0')  # int takes no 5000 digits
            return start + int(length) - body.total_bytes
        mark = END if body.is_eof() else LAST_CHUNK
        end = text.find(mark, max(0, start + 1 - len(mark))) + len(mark)
        return end if end > start else len(text)

    def _feed(self, data: bytes) -> None:
        (head, body), waiting = self.arriving, len(self.waiting)
        in_body = not body.is_eof()
        super().data_received(data)
        more = len(self.waiting) > waiting
        if in_body and not body.is_eof():
            if more:  # the parser gave up in the middle of it, and does not say so to the body
                self._break(body)
        # Behind an upgrade the parser drops what came with the end, which would tell of trailers.
        elif in_body and head.chunked and (more or head.upgrade or self.tail != LAST_CHUNK):
            self._end_with_trailers(waiting)
        if more or in_body:
            self.head_ended()
            head, body = self.arriving
            if body.is_eof() and getattr(head, 'upgrade', False):  # a bad request has no such field
                self.ended |= head.headers.get('Upgrade', '').lower() in UPGRADES
        elif data:
            self.head_began()

    def _break(self, body: StreamReader) -> None:
        if self.busy or body is not self.taken[1]:  # else nobody but aiohttp would read it
            body.set_exception(RequestPayloadError('the framing is broken'))
        body.feed_eof()  # or aiohttp would try to read the rest

    def _end_with_trailers(self, waiting: int) -> None:
        self.ended = True
        while len(self.waiting) > waiting:  # the first of these has the trailers
            self.waiting.pop()
