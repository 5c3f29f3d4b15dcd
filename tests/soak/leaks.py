"""What a run leaves behind: tasks, file descriptors, memory. Reads /proc, so Linux only."""

from __future__ import annotations

import asyncio
import contextlib
import ctypes
import gc
import os
from collections.abc import Sequence
from pathlib import Path

from tally import Tally

__all__ = ['check_descriptors', 'check_memory', 'check_tasks', 'descriptors', 'resident']

ENDING = 2.0  # seconds in which what was cancelled or closed must be gone


def descriptors() -> dict[int, str]:
    """Give the open file descriptors, each with what it is."""
    found = {}
    for name in os.listdir('/proc/self/fd'):
        with contextlib.suppress(OSError):  # the descriptor of the listing itself
            found[int(name)] = os.readlink(f'/proc/self/fd/{name}')
    return found


def check_descriptors(tally: Tally, before: dict[int, str]) -> None:
    """Count as faults the descriptors that were not open before."""
    after = descriptors()
    for number in after.keys() - before.keys():
        tally.fault('leaked file descriptors', f'{number} is {after[number]}')


async def check_tasks(tally: Tally) -> None:
    """Count as faults the tasks of this loop that do not end; none but the caller's should run."""
    left = asyncio.all_tasks() - {asyncio.current_task()}
    if left:
        await asyncio.wait(left, timeout=ENDING)
    for task in asyncio.all_tasks() - {asyncio.current_task()}:
        tally.fault('leaked tasks', repr(task))


async def resident() -> int:
    """Give the resident memory in bytes, once all is freed that can be."""
    for _ in range(3):  # what one collection frees may have to run in the loop to free more
        gc.collect()
        await asyncio.sleep(0)
    return resident_now()


def resident_now() -> int:
    with contextlib.suppress(AttributeError):  # a C library that is not GNU's
        ctypes.CDLL(None).malloc_trim(0)
    pages = int(Path('/proc/self/statm').read_text('ascii').split()[1])
    return pages * os.sysconf('SC_PAGE_SIZE')


def check_memory(tally: Tally, sizes: Sequence[int], limit: float) -> None:
    """Count it as a fault where memory grew by the limit or more from first to last."""
    first, last = sizes[0], sizes[-1]
    growth = last / first - 1
    mib = ' → '.join(f'{size / 2**20:.1f}' for size in sizes)
    line = f'{mib} MiB ({growth:+.1%})'
    tally.note(f'resident memory: {line}')
    if growth >= limit:
        tally.fault('memory growth', line)
