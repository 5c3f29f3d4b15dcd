"""Count the bytes of a chunked body that are neither data nor needed to frame it (RFC 9112 7.1).

Those are chunk extensions, zeros and blanks around a chunk size, and trailers: a peer may send any
number of them, and ``max_body`` counts none.
"""

from __future__ import annotations

import re

__all__ = ['MAX_OVERHEAD', 'ChunkOverhead']

MAX_OVERHEAD = 16 * 1024  # bytes a body: honest peers send no extension at all, and few trailers

# A line with a size, behind the line end of the chunk before. It counts even if a parser would
# refuse it, for the counter must not be more lenient than the parser: so LF ends a line, too.
SIZE_LINE = re.compile(rb'(?:\r?+\n)?+[ \t]*+0*+([0-9A-Fa-f]*+)[^\n]*+\n')
FRAMING = len(b'\r\n\r\n')  # of a chunk: the line end before its size, and the one after it


class ChunkOverhead:
    """Count the overhead of one chunked body, which is fed as it comes: cut anywhere.

    Data of chunks is skipped, not searched. The framing itself is for a parser to check.

    Attributes:
        size: Bytes so far.
        trailers: Of them, those behind the line of the last chunk: 2, a line end, without trailers.

    Example:
        >>> overhead = ChunkOverhead()
        >>> overhead.feed(b'5\\r\\nhello\\r\\n')
        False
        >>> overhead.feed(b'005;a=b\\r\\nhello\\r\\n'), overhead.size
        (False, 6)
    """

    __slots__ = ('_in_trailers', '_line', '_skip', 'size', 'trailers')

    def __init__(self) -> None:
        self.size: int = 0
        self.trailers: int = 0
        self._skip = 0  # bytes of data that are still to come
        self._line = b''  # the beginning of a line
        self._in_trailers = False

    def feed(self, data: bytes) -> bool:
        """Count the next bytes of the body; return whether there are over ``MAX_OVERHEAD``."""
        start, length, gap = self._skip, len(data), 0
        while start < length:
            end = data.find(b'\n', start + gap) + 1 or length
            size = self._take(data[start:end])
            start, gap = end + size, 2 if size else 0  # over the line end behind the data
        self._skip = start - length
        return self.size + len(self._line) > MAX_OVERHEAD

    def _take(self, piece: bytes) -> int:
        """Take a line, or a part of one; return how many bytes of data follow it."""
        if self._in_trailers:
            self.size += len(piece)
            self.trailers += len(piece)
            return 0
        line = self._line + piece
        found = SIZE_LINE.match(line)
        if found is None:
            self._line = line
            return 0
        self._line = b''
        digits = found[1]
        self.size += max(0, len(line) - FRAMING - (len(digits) or 1))
        self._in_trailers = not digits
        return int(digits or b'0', 16)
