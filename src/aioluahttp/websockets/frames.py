"""Check and encode the heads of WebSocket frames, and draw masks (RFC 6455 5, RFC 7692 6).

aiohttp's reader is compiled and fast, but it takes frames that the standard forbids: unmasked ones
from clients, masked ones from servers, RSV1 on control frames, and a new message inside a
fragmented one. ``FrameCheck`` reads each head, and no payload, before aiohttp does. aiohttp
parses a frame that passes; the first that fails ends the connection.

``FrameCheck`` keeps the state of an unfinished frame, so the result does not depend on where reads
are cut.
"""

from __future__ import annotations

import os
import random
from struct import Struct

__all__ = ['MASKS', 'FrameCheck', 'encode_frame_head']

FIN, RSV, RSV1, OPCODE, CONTROL = 0x80, 0x70, 0x40, 0x0F, 0x08  # bits of the first byte of a head
MASK, LENGTH = 0x80, 0x7F  # bits of the second
LONG = 126  # a length that stands for 2 more bytes of length; 127 for 8
SHORT = 2  # bytes of a head without extended length and mask
WHOLE = frozenset({FIN | 1, FIN | 2})  # first bytes of messages in one frame: text, binary
COMPRESSED = frozenset({FIN | RSV1 | 1, FIN | RSV1 | 2})
MESSAGES = frozenset({1, 2})  # opcodes with which a message begins: text, binary
OPCODES = frozenset({0, 1, 2, 8, 9, 10})  # also continuation, close, ping, pong

HEAD, LONG_HEAD, LONGEST_HEAD = (Struct(form).pack for form in ('!BB', '!BBH', '!BBQ'))


def encode_frame_head(opcode: int, size: int) -> bytes:
    """Encode the head of a whole frame that is neither compressed nor masked (RFC 6455 5.2).

    Args:
        opcode: What the frame is.
        size: Bytes of its payload.
    """
    if size < LONG:
        return HEAD(FIN | opcode, size)
    if size < 2**16:
        return LONG_HEAD(FIN | opcode, LONG, size)
    return LONGEST_HEAD(FIN | opcode, LONG + 1, size)


class MaskSource(random.SystemRandom):
    """Draw unpredictable masks, as RFC 6455 5.3 and 10.3 require of a client.

    The random bytes come from the operating system in blocks: a call of it for each mask would cost
    as much as the rest of a short message.
    """

    def __init__(self) -> None:
        super().__init__()
        self._drawn: list[int] = []

    def getrandbits(self, k: int) -> int:
        """Return a number of ``k`` random bits, at most 32."""
        try:
            number = self._drawn.pop()
        except IndexError:  # not a check before, which another thread could outdate
            drawn = memoryview(os.urandom(MASK_BLOCK)).cast('I').tolist()
            number = drawn.pop()
            self._drawn = drawn
        return number >> (32 - k)

    def clear(self) -> None:
        """Forget what was drawn, which a forked process shares with its parent."""
        self._drawn = []


MASK_BLOCK = 1024  # bytes: 256 masks
MASKS = MaskSource()
if hasattr(os, 'register_at_fork'):  # pragma: no branch - not on Windows
    os.register_at_fork(after_in_child=MASKS.clear)


class FrameCheck:
    """The state of one direction of a connection, between two reads.

    Args:
        masked: Whether frames have to be masked. Those of a client have to be, those of a server
            must not (RFC 6455 5.1).
        compressed: Whether RSV1 may be set, on the first frame of a message (RFC 7692 6).

    Attributes:
        valid: After a fault, how many of the bytes that were passed last may be parsed.
    """

    __slots__ = ('_allowed', '_head', '_in_message', '_left', '_mask', '_skip', '_whole', 'valid')

    def __init__(self, *, masked: bool, compressed: bool) -> None:
        self.valid: int = 0
        self._mask, self._skip = (MASK, SHORT + 4) if masked else (0, SHORT)
        self._allowed = RSV1 if compressed else 0
        self._whole = WHOLE | COMPRESSED if compressed else WHOLE
        self._head = b''  # of a head that has not ended
        self._left = 0  # bytes of a payload that are yet to come
        self._in_message = False  # whether a fragmented message has begun

    def check(self, data: bytes) -> str | None:
        """Check the heads in received bytes.

        Returns:
            What is wrong with the frame that follows ``valid`` bytes, ``None`` where nothing is. Do
            not call it again after a fault.
        """
        if not (self._left or self._head or self._in_message):
            end = len(data)
            if end > SHORT and data[0] in self._whole:
                size = data[1] ^ self._mask
                if size < LONG and size + self._skip == end:  # a short message, as most reads are
                    return None
        return self._check_parts(data)

    def _check_parts(self, data: bytes) -> str | None:
        pending = len(self._head)
        if pending:
            data = self._head + data
        start, end = self._left, len(data)
        mask, skip, whole, in_message = self._mask, self._skip, self._whole, self._in_message
        last = end - 1
        while start < last:
            first, size = data[start], data[start + 1] ^ mask
            if first in whole and size < LONG and not in_message:  # as nearly all are
                start += skip + size
                continue
            if fault := self._fault(first, size):
                self.valid = max(start - pending, 0)
                return fault
            extended = 0 if size < LONG else 2 if size == LONG else 8
            if extended:
                if end < start + SHORT + extended:
                    break
                size = int.from_bytes(data[start + SHORT : start + SHORT + extended])
                if fault := _length_fault(size, extended):
                    self.valid = max(start - pending, 0)
                    return fault
            if not first & CONTROL:
                self._in_message = in_message = not first & FIN
            start += skip + extended + size
        self._head = data[start:]  # of a head that has not ended
        self._left = start - end if start > end else 0
        return None

    def _fault(self, first: int, size: int) -> str | None:
        """Say what is wrong with the first two bytes of a head; None where nothing is.

        Args:
            first: The first byte.
            size: The length of the second byte; 128 more where the bit of the mask is wrong.
        """
        opcode = first & OPCODE
        if size > LENGTH:
            return 'a frame is not masked' if self._mask else 'a frame is masked'
        if first & RSV & ~self._allowed or (first & RSV1 and opcode not in MESSAGES):
            return 'a reserved bit is set'
        if opcode not in OPCODES:
            return f'the opcode {opcode} is unknown'
        if opcode & CONTROL:
            if not first & FIN:
                return 'a control frame is fragmented'
            return 'a control frame is longer than 125 bytes' if size >= LONG else None
        if opcode and self._in_message:
            return 'a message begins inside a fragmented one'
        if not opcode and not self._in_message:
            return 'a continuation has no message before it'
        return None


def _length_fault(size: int, extended: int) -> str | None:
    """Say what is wrong with a length in 2 or 8 bytes (RFC 6455 5.2); None where nothing is."""
    if size < (LONG if extended == 2 else 2**16):
        return 'a length takes more bytes than it needs'
    return 'the first bit of a length is set' if size >> 63 else None
