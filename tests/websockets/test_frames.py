"""The check of frame heads, whatever cuts the bytes, and the source of masks."""

import os
import random
import subprocess
import sys

import pytest
from hypothesis import given
from hypothesis import strategies as st

from aioluahttp.websockets.frames import MASK_BLOCK, FrameCheck, MaskSource, encode_frame_head

WHOLE, PART, RSV1 = 0x80, 0x00, 0x40
CONTINUATION, TEXT, BINARY, CLOSE, PING, PONG = 0, 1, 2, 8, 9, 10


def frame(first, size=0, *, masked=True, bits=None):
    """Make a frame whose length takes ``bits``: 7, 16 or 64, by default as few as it can.

    A payload is at most 100,000 bytes, whatever its length says.
    """
    mask = 0x80 if masked else 0
    bits = bits or (7 if size < 126 else 16 if size < 2**16 else 64)
    length = bytes([mask | {7: size, 16: 126, 64: 127}[bits]])
    if bits > 7:
        length += size.to_bytes(bits // 8)
    return bytes([first]) + length + bytes(4 if masked else 0) + b'x' * min(size, 100_000)


def cut(data, *ends):
    """Cut bytes at these places."""
    starts = [0, *ends]
    return [data[a:b] for a, b in zip(starts, [*ends, len(data)], strict=True)]


def check(check, parts):
    """Feed parts up to the first fault; return how many bytes were valid, and the fault."""
    valid = 0
    for part in parts:
        fault = check.check(part)
        valid += check.valid if fault else len(part)
        if fault:
            return valid, fault
    return valid, None


VALID = [
    frame(WHOLE | TEXT, 5),
    frame(PART | BINARY, 0),
    frame(PART | CONTINUATION, 200),
    frame(WHOLE | PING, 125),
    frame(WHOLE | CONTINUATION, 70_000),
    frame(WHOLE | PONG),
    frame(WHOLE | RSV1 | BINARY, 126),
    frame(PART | RSV1 | TEXT, 3),
    frame(PART | CONTINUATION, 65_535),
    frame(WHOLE | CONTINUATION, 65_536),
    frame(WHOLE | CLOSE, 2),
]


@given(st.lists(st.integers(0, sum(map(len, VALID))), max_size=6).map(sorted))
def test_valid_frames_pass_however_they_are_cut(ends):
    """Data and control frames of all lengths, fragments, and control frames between them."""
    data = b''.join(VALID)
    found = check(FrameCheck(masked=True, compressed=True), cut(data, *ends))
    assert (len(data), None) == found


def test_valid_frames_pass_byte_by_byte():
    """A head may be cut at each of its bytes."""
    data = b''.join(VALID)
    found = check(FrameCheck(masked=True, compressed=True), (bytes([one]) for one in data))
    assert (len(data), None) == found


@pytest.mark.parametrize(
    ('frames', 'fault'),
    [
        ([frame(WHOLE | TEXT, masked=False)], 'not masked'),
        ([frame(WHOLE | PING, masked=False)], 'not masked'),
        ([frame(WHOLE | 0x20 | TEXT)], 'reserved bit'),
        ([frame(WHOLE | 0x10 | TEXT)], 'reserved bit'),
        ([frame(WHOLE | RSV1 | PING)], 'reserved bit'),
        ([frame(PART | TEXT), frame(WHOLE | RSV1 | CONTINUATION)], 'reserved bit'),
        *(([frame(WHOLE | opcode)], f'opcode {opcode}') for opcode in (3, 7, 11, 15)),
        ([frame(PART | PING)], 'fragmented'),
        ([frame(WHOLE | CLOSE, 126)], 'longer than 125'),
        ([frame(WHOLE | PONG, 70_000)], 'longer than 125'),
        ([frame(WHOLE | PING, 5, bits=16)], 'longer than 125'),
        ([frame(WHOLE | CONTINUATION)], 'no message before'),
        ([frame(WHOLE | TEXT), frame(PART | CONTINUATION)], 'no message before'),
        ([frame(PART | TEXT), frame(WHOLE | TEXT)], 'inside a fragmented'),
        ([frame(PART | TEXT), frame(PART | CONTINUATION), frame(PART | BINARY)], 'inside'),
        ([frame(WHOLE | TEXT, 125, bits=16)], 'more bytes than it needs'),
        ([frame(WHOLE | TEXT, 125, bits=64)], 'more bytes than it needs'),
        ([frame(PART | TEXT), frame(PART | CONTINUATION, 65_535, bits=64)], 'more bytes than'),
        ([frame(WHOLE | TEXT, 2**63, bits=64)], 'first bit'),
    ],
)
def test_the_first_invalid_frame_is_found_however_it_is_cut(frames, fault):
    """What comes before it is valid, and what comes after it is not looked at."""
    good = [frame(WHOLE | BINARY, 300), *frames[:-1]]
    valid = sum(map(len, good))
    data = b''.join([*good, frames[-1], frame(WHOLE | TEXT)])
    pick = random.Random(1)
    for _ in range(50):
        ends = sorted(pick.choices(range(len(data)), k=3))
        found, told = check(FrameCheck(masked=True, compressed=True), cut(data, *ends))
        assert fault in told
        assert valid <= found < valid + 10  # a part of the head may have come alone


def test_a_server_does_not_mask():
    """Its frames are shorter by the mask, and a masked one is a fault."""
    checks = FrameCheck(masked=False, compressed=False)
    data = frame(WHOLE | TEXT, 5, masked=False) * 3
    assert (len(data), None) == check(checks, [data])
    assert (0, 'a frame is masked') == check(checks, [frame(WHOLE | TEXT)])


def test_compression_has_to_be_negotiated():
    """RSV1 is a reserved bit otherwise."""
    found = check(FrameCheck(masked=True, compressed=False), [frame(WHOLE | RSV1 | TEXT)])
    assert (0, 'a reserved bit is set') == found


@pytest.mark.parametrize(
    ('size', 'head'),
    [
        (0, '82 00'),
        (125, '82 7d'),
        (126, '82 7e 007e'),
        (65_535, '82 7e ffff'),
        (65_536, '82 7f 0000000000010000'),
    ],
)
def test_the_length_of_a_payload_takes_as_few_bytes_as_it_can(size, head):
    """RFC 6455 5.2: 7 bits, or 16, or 64."""
    assert bytes.fromhex(head) == encode_frame_head(BINARY, size)


def test_a_mask_has_as_many_bits_as_are_asked_for():
    """At most 32, also across the blocks in which they are drawn."""
    source, count = MaskSource(), MASK_BLOCK // 4 + 1
    assert 1 < len({source.getrandbits(32) for _ in range(count)}) <= count
    assert {0, 1} == {source.getrandbits(1) for _ in range(count)}
    with pytest.raises(ValueError, match='negative shift'):
        source.getrandbits(33)


FORK = """
import os
from aioluahttp.websockets.frames import MASKS

MASKS.getrandbits(32)
reader, writer = os.pipe()
if not (child := os.fork()):
    os.write(writer, MASKS.getrandbits(32).to_bytes(4))
    os._exit(0)
assert 0 == os.waitstatus_to_exitcode(os.waitpid(child, 0)[1])
assert int.from_bytes(os.read(reader, 4)) != MASKS.getrandbits(32)
"""


@pytest.mark.skipif(not hasattr(os, 'fork'), reason='needs fork')
def test_a_forked_process_draws_other_masks():
    """What was drawn before the fork would be known to both."""
    subprocess.run([sys.executable, '-c', FORK], check=True)
