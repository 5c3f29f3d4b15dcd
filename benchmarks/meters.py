"""What is measured: a meter is opened with ``with``, and gives a figure each time it is read."""

from __future__ import annotations

import os
import socket
import subprocess
import sys
import time
from collections.abc import Callable, Iterator
from contextlib import AbstractContextManager, contextmanager, nullcontext
from dataclasses import dataclass
from tempfile import TemporaryDirectory
from typing import Protocol

from .check import HELLO, Asked, check
from .load import h2load, idle
from .process import LOAD, UNDER_TEST, Started, Unavailable, allow_files

__all__ = ['Client', 'Import', 'Memory', 'Meter', 'Reading', 'Server', 'Sizes']

START = 30.0  # seconds that a server has to start
WARM = 10  # before as many requests that count, one is made that does not

Reading = Callable[[], float]


@dataclass(frozen=True)
class Sizes:
    """How much is measured.

    Attributes:
        runs: How often each subject is started anew.
        rounds: How often it is measured, in turn with the others, while it runs.
        requests: Of h2load, each time.
        fetches: Of a client, each time.
        held: Idle connections whose memory is measured.
    """

    runs: int
    rounds: int
    requests: int
    fetches: int
    held: int


class Meter(Protocol):
    """A subject and how to measure it."""

    def opened(self, loop: str, sizes: Sizes) -> AbstractContextManager[Reading]: ...


@dataclass(frozen=True)
class Server:
    """CPU of a server under h2load, in microseconds per request.

    Attributes:
        module: In ``servers``.
        connections: Of h2load.
        idle: Connections beside those.
    """

    module: str
    asked: Asked = HELLO
    connections: int = 32
    idle: int = 0

    @contextmanager
    def opened(self, loop: str, sizes: Sizes) -> Iterator[Reading]:
        allow_files(self.idle)
        with started(self.module, loop, self.asked) as (port, process):
            holding = idle(port, self.idle) if self.idle else nullcontext(lambda: None)
            with holding as check_open:

                def read() -> float:
                    check(port, self.asked)
                    figure = per_request(process, sizes.requests, work)
                    check_open()
                    return figure

                def work(requests: int) -> None:
                    h2load(port, requests, self.connections, self.asked)

                yield read


@dataclass(frozen=True)
class Client:
    """CPU of a client of the bare protocol, in microseconds per request.

    Attributes:
        module: In ``clients``.
    """

    module: str

    @contextmanager
    def opened(self, loop: str, sizes: Sizes) -> Iterator[Reading]:
        with (
            started('floor', 'asyncio', HELLO, LOAD) as (port, _),
            Started('client', self.module, f'http://127.0.0.1:{port}/', loop) as process,
        ):
            process.answer()
            yield lambda: per_request(process, sizes.fetches, process.ask)


@dataclass(frozen=True)
class Memory:
    """Memory of a server for each idle connection, in KiB.

    Attributes:
        module: In ``servers``.
    """

    module: str

    @contextmanager
    def opened(self, loop: str, sizes: Sizes) -> Iterator[Reading]:
        def read() -> float:
            with started(self.module, loop, HELLO) as (port, process):
                h2load(port, sizes.requests, 32, HELLO)
                before = process.memory()
                with idle(port, sizes.held) as check_open:
                    grown = process.memory() - before
                    check_open()
            return grown / sizes.held / 1024

        allow_files(sizes.held)
        yield read


@dataclass(frozen=True)
class Import:
    """CPU of importing a package after another one, in milliseconds.

    Both in a fresh process, and the clock runs for the second import alone: as the difference of
    two whole processes it would drown in the noise of both. The bytecode is there, as it is
    where pip has installed a package.
    """

    package: str
    after: str

    @contextmanager
    def opened(self, loop: str, sizes: Sizes) -> Iterator[Reading]:
        clock = 'time.process_time_ns()'
        code = f'import time, {self.after}; t = {clock}; import {self.package}; print({clock} - t)'

        with TemporaryDirectory() as cache:
            # Its own, for an environment that forbids to write any would time the compiler.
            bytecode = {'PYTHONDONTWRITEBYTECODE': '', 'PYTHONPYCACHEPREFIX': cache}

            def read() -> float:
                command = [sys.executable, '-c', code]
                return int(subprocess.check_output(command, env=os.environ | bytecode)) / 1e6

            read()  # writes it
            yield read


def per_request(process: Started, requests: int, work: Callable[[int], object]) -> float:
    """Give the microseconds of CPU that a process takes for each request of some work."""
    work(max(requests // WARM, 32))
    before = process.cpu()
    work(requests)
    # A thread that has ended takes what it used with it, and so counts as nothing.
    used = sum(used - before.get(thread, 0) for thread, used in process.cpu().items())
    return used / requests / 1000


@contextmanager
def started(
    module: str, loop: str, asked: Asked, cores: list[int] = UNDER_TEST
) -> Iterator[tuple[int, Started]]:
    """Start a server, wait until it gives the right answer, and give its port too."""
    port = free_port()
    deadline = time.monotonic() + START
    with Started('server', module, port, loop, cores=cores) as process:
        while True:
            process.check_running()
            try:
                check(port, asked)
                break
            except ConnectionRefusedError:
                if time.monotonic() > deadline:
                    raise Unavailable(f'did not listen within {START:.0f} s') from None
                time.sleep(0.02)
        yield port, process


def free_port() -> int:
    """Find a port that nothing listens on."""
    with socket.create_server(('127.0.0.1', 0)) as listener:
        return int(listener.getsockname()[1])
