"""Limit what a chunked body has besides its data (RFC 9112 7.1).

That is chunk extensions, zeros and blanks around a chunk size, and trailers: a peer may send any
number of them, and ``max_body`` counts none.

Chunks are not parsed here a second time, which would cost 1 µs or more for each. What came is
compared with the data in it: at most five bytes frame a byte of data, in chunks of one byte. So a
body can have no more bytes in all than one of such chunks, and 16 KiB.
"""

from __future__ import annotations

__all__ = ['MAX_OVERHEAD', 'is_padded']

MAX_OVERHEAD = 16 * 1024  # bytes a body: honest peers send no extension at all, and few trailers
LONGEST = len(b'1\r\nx\r\n')  # bytes received for one byte of data, if all of them are needed


def is_padded(received: int, data: int) -> bool:
    """Tell whether a chunked body has too much besides its data, and is to be refused.

    Args:
        received: Bytes of the body so far, as they came.
        data: Bytes of data in them.

    Example:
        >>> is_padded(received=20_000, data=1), is_padded(received=20_000, data=15_000)
        (True, False)
    """
    return received > MAX_OVERHEAD + LONGEST * data
