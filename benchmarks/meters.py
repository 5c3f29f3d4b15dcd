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
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Protocol

from . import body
from .check import HELLO, Asked, check
from .load import h2load, idle
from .process import LOAD, UNDER_TEST, Started, Unavailable, allow_files

__all__ = ['Client', 'Import', 'Memory', 'Meter', 'Moving', 'Reading', 'Relay', 'Server', 'Sizes']

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
        origin: Another module in ``servers``, which this one asks.
    """

    module: str
    asked: Asked = HELLO
    connections: int = 32
    idle: int = 0
    origin: str | None = None

    @contextmanager
    def opened(self, loop: str, sizes: Sizes) -> Iterator[Reading]:
        allow_files(self.idle)
        with (
            behind(self.origin) as origin,
            started(self.module, loop, self.asked, UNDER_TEST, *origin) as (port, process),
        ):
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
class Moving:
    """What it costs a program to move 1 GiB: milliseconds of CPU, or MiB of memory at its peak.

    Attributes:
        module: In ``transfers``.
        sends: Whether it sends a file; else what it may have written to one is checked.
        memory: Whether that is the figure.
    """

    module: str
    sends: bool = False
    memory: bool = False

    @contextmanager
    def opened(self, loop: str, sizes: Sizes) -> Iterator[Reading]:
        with (
            TemporaryDirectory() as folder,
            behind('body') as (origin,),
            Started(
                'transfer', self.module, f'{origin}/body', path := Path(folder, 'body'), loop
            ) as process,
        ):
            process.answer()

            def move() -> None:
                body.check_moved(process.ask('move'))

            def read() -> float:
                figure = per_move(process, move, memory=self.memory)
                if not self.sends and path.exists():
                    body.check_file(path)
                    path.unlink()
                return figure

            if self.sends:
                body.write(path)
            move()
            yield read


@dataclass(frozen=True)
class Relay:
    """What it costs a server to send 1 GiB on from an origin; the figures of ``Moving``.

    Attributes:
        module: In ``servers``.
        memory: Whether that is the figure.
    """

    module: str
    memory: bool = False

    @contextmanager
    def opened(self, loop: str, sizes: Sizes) -> Iterator[Reading]:
        with (
            behind('body') as origin,
            started(self.module, loop, HELLO, UNDER_TEST, *origin) as (port, process),
        ):

            def move() -> None:
                body.read(port)

            move()
            yield lambda: per_move(process, move, memory=self.memory)


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


def per_move(process: Started, move: Callable[[], None], *, memory: bool) -> float:
    """Give the milliseconds of CPU that a process takes for a move, or the MiB it grows by."""
    if memory:
        before = process.memory()
        process.forget_peak()
        move()
        return (process.peak() - before) / 1024**2
    return cpu(process, move) / 1e6


def per_request(process: Started, requests: int, work: Callable[[int], object]) -> float:
    """Give the microseconds of CPU that a process takes for each request of some work."""
    work(max(requests // WARM, 32))
    return cpu(process, lambda: work(requests)) / requests / 1000


def cpu(process: Started, work: Callable[[], object]) -> int:
    """Give the nanoseconds of CPU that a process takes for some work."""
    before = process.cpu()
    work()
    # A thread that has ended takes what it used with it, and so counts as nothing.
    return sum(used - before.get(thread, 0) for thread, used in process.cpu().items())


@contextmanager
def started(
    module: str, loop: str, asked: Asked, cores: list[int] = UNDER_TEST, *origin: str
) -> Iterator[tuple[int, Started]]:
    """Start a server, wait until it gives the right answer, and give its port too.

    Args:
        module: In ``servers``.
        loop: Its event loop.
        asked: What it has to answer.
        cores: Those that it may run on.
        origin: The URL of another server, where it needs one.
    """
    port = free_port()
    deadline = time.monotonic() + START
    with Started('server', module, port, loop, *origin, cores=cores) as process:
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


@contextmanager
def behind(module: str | None) -> Iterator[list[str]]:
    """Start the server that another one asks, if any, and give its URL."""
    if module is None:
        yield []
        return
    with started(module, 'asyncio', HELLO, LOAD) as (port, _):
        yield [f'http://127.0.0.1:{port}']


def free_port() -> int:
    """Find a port that nothing listens on."""
    with socket.create_server(('127.0.0.1', 0)) as listener:
        return int(listener.getsockname()[1])
