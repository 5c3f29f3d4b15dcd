"""Processes under test: start and stop them, and read their CPU time and memory."""

from __future__ import annotations

import os
import re
import resource
import subprocess
import sys
from contextlib import suppress
from pathlib import Path
from tempfile import TemporaryFile
from typing import Self

import psutil

__all__ = ['LOAD', 'UNDER_TEST', 'Started', 'Unavailable', 'allow_files', 'pin']

ROOT = Path(__file__).parent.parent
END = 5.0  # seconds that a process has to end after it was terminated
# asyncio allocates 256 KiB for each read, and shrinks it. Whether glibc returns that memory to the
# system and faults it in again depends on the layout of the heap; with these it never does.
STEADY = {'MALLOC_TRIM_THRESHOLD_': str(2**28), 'MALLOC_MMAP_THRESHOLD_': str(2**25)}
# Where the environment forbids to write bytecode, every start would compile the whole package.
COMPILED = {'PYTHONDONTWRITEBYTECODE': ''}
SPARE = 200  # file descriptors for other uses than connections

# If there are two cores, the process under test has one, and the load generator another.
CORES = sorted(os.sched_getaffinity(0)) if hasattr(os, 'sched_getaffinity') else []
UNDER_TEST, LOAD = CORES[:1], CORES[-1:]


class Unavailable(Exception):
    """A subject cannot be measured here; the text says why."""


class Started:
    """A process that runs a module of these benchmarks, until the ``with`` block ends.

    Args:
        arguments: The module, and its command line arguments.
        cores: The cores that it may run on.
        steady: Whether its allocator keeps freed memory, which makes its CPU time less a matter of
            chance; not where its memory is measured.
    """

    def __init__(
        self, *arguments: object, cores: list[int] = UNDER_TEST, steady: bool = True
    ) -> None:
        module, *rest = map(str, arguments)
        self._stderr = TemporaryFile('w+', errors='replace')  # noqa: SIM115 - closed at the end
        self._process = subprocess.Popen(
            [sys.executable, '-m', f'benchmarks.{module}', *rest],
            cwd=ROOT,
            env=os.environ | COMPILED | (STEADY if steady else {}),
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            stderr=self._stderr,
            text=True,
        )
        pin(self._process.pid, cores)  # before it has threads and children, which inherit it
        self._tree = psutil.Process(self._process.pid)

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *raised: object) -> None:
        processes = self._processes()
        self._process.terminate()
        _, left = psutil.wait_procs(processes, END)
        for process in left:
            process.kill()
        self._process.communicate()
        self._stderr.close()

    def ask(self, line: object) -> str:
        """Write a line to its input, and return the next line of its output."""
        assert self._process.stdin
        try:
            print(line, file=self._process.stdin, flush=True)
        except BrokenPipeError:
            raise self._ended() from None
        return self.read_line()

    def read_line(self) -> str:
        """Wait for the next line of its output."""
        assert self._process.stdout
        if not (line := self._process.stdout.readline()):
            raise self._ended()
        return line.strip()

    def check_running(self) -> None:
        """Check that the process has not ended.

        Raises:
            Unavailable: It has; the text is the last line of its standard error.
        """
        if self._process.poll() is not None:
            raise self._ended()

    def _ended(self) -> Unavailable:
        code = self._process.wait()
        self._stderr.seek(0)
        lines = self._stderr.read().strip().splitlines()
        return Unavailable(lines[-1] if lines else f'ended with {code}')

    def _processes(self) -> list[psutil.Process]:
        try:
            return [self._tree, *self._tree.children(recursive=True)]
        except psutil.NoSuchProcess:
            return []

    def cpu(self) -> dict[object, int]:
        """Return the nanoseconds of CPU time of each thread, including child processes."""
        used: dict[object, int] = {}
        for process in self._processes():
            if sys.platform == 'linux':
                for thread in Path(f'/proc/{process.pid}/task').iterdir():
                    with suppress(FileNotFoundError):  # it has just ended
                        # Nanoseconds on a CPU, nanoseconds waiting for one, number of slices.
                        used[thread.name] = int((thread / 'schedstat').read_text().split()[0])
            else:
                times = process.cpu_times()
                used[process.pid] = int((times.user + times.system) * 1e9)
        return used

    def memory(self) -> int:
        """Return the resident memory in bytes, including child processes."""
        return sum(process.memory_info().rss for process in self._processes())

    def forget_peak(self) -> None:
        """Reset the peak of memory, so that ``peak`` counts from now on.

        Raises:
            Unavailable: The system does not support it.
        """
        try:
            Path(f'/proc/{self._process.pid}/clear_refs').write_text('5')  # proc(5)
        except OSError as error:
            raise Unavailable(f'the system cannot reset the peak of memory: {error}') from error

    def peak(self) -> int:
        """Return the peak of the resident memory in bytes, without child processes."""
        status = Path(f'/proc/{self._process.pid}/status').read_text()
        (kibibytes,) = re.findall(r'VmHWM:\s+(\d+) kB', status)
        return int(kibibytes) * 1024


def pin(pid: int, cores: list[int]) -> None:
    """Pin a process, and what it starts from now on, to some cores."""
    if cores:
        psutil.Process(pid).cpu_affinity(cores)


def allow_files(number: int) -> None:
    """Let this process, and those it starts from now on, open a number of connections.

    Raises:
        Unavailable: The system's hard limit is too low.
    """
    soft, hard = resource.getrlimit(resource.RLIMIT_NOFILE)
    needed = number + SPARE
    if hard != resource.RLIM_INFINITY and hard < needed:
        raise Unavailable(f'{needed} file descriptors are needed, and the hard limit is {hard}')
    resource.setrlimit(resource.RLIMIT_NOFILE, (max(soft, needed), hard))
