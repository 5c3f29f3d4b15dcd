"""Find leaked tasks, file descriptors and memory. Reads /proc, so it needs Linux."""

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

ENDING = 2.0  # seconds in which cancelled tasks must end


def descriptors() -> dict[int, str]:
    """Return the open file descriptors, and what each refers to."""
    found = {}
    for name in os.listdir('/proc/self/fd'):
        with contextlib.suppress(OSError):  # the descriptor of the listing itself
            found[int(name)] = os.readlink(f'/proc/self/fd/{name}')
    return found


def check_descriptors(tally: Tally, before: dict[int, str]) -> None:
    """Count file descriptors as faults that were not open before."""
    after = descriptors()
    for number in after.keys() - before.keys():
        tally.fault('leaked file descriptors', f'{number} is {after[number]}')


async def check_tasks(tally: Tally) -> None:
    """Count tasks as faults that do not end; only the task of the caller should run."""
    left = asyncio.all_tasks() - {asyncio.current_task()}
    if left:
        await asyncio.wait(left, timeout=ENDING)
    for task in asyncio.all_tasks() - {asyncio.current_task()}:
        tally.fault('leaked tasks', repr(task))


async def resident() -> int:
    """Return the resident memory in bytes, after freeing what can be freed."""
    for _ in range(3):  # freed objects may have to run in the loop before more can be freed
        gc.collect()
        await asyncio.sleep(0)
    return resident_now()


def resident_now() -> int:
    with contextlib.suppress(AttributeError):  # not the GNU C library
        ctypes.CDLL(None).malloc_trim(0)
    pages = int(Path('/proc/self/statm').read_text('ascii').split()[1])
    return pages * os.sysconf('SC_PAGE_SIZE')


def check_memory(tally: Tally, sizes: Sequence[int], limit: float) -> None:
    """Count a fault if memory grew by ``limit`` or more from the first size to the last."""
    first, last = sizes[0], sizes[-1]
    growth = last / first - 1
    mib = ' → '.join(f'{size / 2**20:.1f}' for size in sizes)
    line = f'{mib} MiB ({growth:+.1%})'
    tally.note(f'resident memory: {line}')
    if growth >= limit:
        tally.fault('memory growth', line)
