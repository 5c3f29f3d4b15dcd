"""Processes that are measured: their start, their end, their CPU time and memory."""

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
END = 5.0  # seconds that a process has to end when it is told to
SPARE = 200  # file descriptors beside those of connections

# The process under test has a core for itself, where there are two, and the load another one.
CORES = sorted(os.sched_getaffinity(0)) if hasattr(os, 'sched_getaffinity') else []
UNDER_TEST, LOAD = CORES[:1], CORES[-1:]


class Unavailable(Exception):
    """A subject cannot be measured here; the text says why."""


class Started:
    """A process that runs a module of these benchmarks, until the end of the ``with``.

    Args:
        arguments: The module, and what it is given.
        cores: Those that it may run on.
    """

    def __init__(self, *arguments: object, cores: list[int] = UNDER_TEST) -> None:
        module, *rest = map(str, arguments)
        self._stderr = TemporaryFile('w+', errors='replace')  # noqa: SIM115 - closed at the end
        self._process = subprocess.Popen(
            [sys.executable, '-m', f'benchmarks.{module}', *rest],
            cwd=ROOT,
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            stderr=self._stderr,
            text=True,
        )
        pin(self._process.pid, cores)  # before it has threads and children: they inherit it
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
        """Write a line to its input, and wait for its answer."""
        assert self._process.stdin
        try:
            print(line, file=self._process.stdin, flush=True)
        except BrokenPipeError:
            raise self._ended() from None
        return self.answer()

    def answer(self) -> str:
        """Wait for a line of its output."""
        assert self._process.stdout
        if not (line := self._process.stdout.readline()):
            raise self._ended()
        return line.strip()

    def check_running(self) -> None:
        """Raise where it has ended.

        Raises:
            Unavailable: With the last line that it wrote to its standard error.
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
        """Give the nanoseconds of CPU of each thread, those of child processes included."""
        used: dict[object, int] = {}
        for process in self._processes():
            if sys.platform == 'linux':
                for thread in Path(f'/proc/{process.pid}/task').iterdir():
                    with suppress(FileNotFoundError):  # it has just ended
                        # The time on a CPU, the time of waiting for one, the number of turns.
                        used[thread.name] = int((thread / 'schedstat').read_text().split()[0])
            else:
                times = process.cpu_times()
                used[process.pid] = int((times.user + times.system) * 1e9)
        return used

    def memory(self) -> int:
        """Give the bytes in physical memory, those of child processes included."""
        return sum(process.memory_info().rss for process in self._processes())

    def forget_peak(self) -> None:
        """Have ``peak`` count from now on.

        Raises:
            Unavailable: The system cannot.
        """
        try:
            Path(f'/proc/{self._process.pid}/clear_refs').write_text('5')  # proc(5)
        except OSError as error:
            raise Unavailable(f'the system does not count the peak of memory: {error}') from error

    def peak(self) -> int:
        """Give the most bytes in physical memory that it had, child processes left out."""
        status = Path(f'/proc/{self._process.pid}/status').read_text()
        (kibibytes,) = re.findall(r'VmHWM:\s+(\d+) kB', status)
        return int(kibibytes) * 1024


def pin(pid: int, cores: list[int]) -> None:
    """Keep a process, and what it starts from then on, on some cores."""
    if cores:
        psutil.Process(pid).cpu_affinity(cores)


def allow_files(number: int) -> None:
    """Let this process, and those it starts from then on, open many connections.

    Raises:
        Unavailable: The system's hard limit is below that.
    """
    soft, hard = resource.getrlimit(resource.RLIMIT_NOFILE)
    needed = number + SPARE
    if hard != resource.RLIM_INFINITY and hard < needed:
        raise Unavailable(f'{needed} file descriptors are needed, and the hard limit is {hard}')
    resource.setrlimit(resource.RLIMIT_NOFILE, (max(soft, needed), hard))
