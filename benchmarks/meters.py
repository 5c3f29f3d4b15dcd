"""Meters: open one with ``with``, and each call of what it yields returns one figure."""

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
from .check import HELLO, Sample, check
from .load import echoes, h2load, idle
from .process import LOAD, UNDER_TEST, Started, Unavailable, allow_files

__all__ = [
    'Client',
    'Echo',
    'Import',
    'Memory',
    'Meter',
    'Moving',
    'Reading',
    'Relay',
    'Server',
    'Sizes',
]

START = 30.0  # seconds that a server may take to start
WARM = 10  # one uncounted request is sent first for this many counted ones

Reading = Callable[[], float]


@dataclass(frozen=True)
class Sizes:
    """How much is measured.

    Attributes:
        runs: How often each subject is started.
        rounds: How often it is measured, in turn with the others, in each run.
        transfers: How often a body of 1 GiB is transferred, instead of ``rounds``; more than once,
            after an uncounted transfer.
        requests: Requests of h2load in each round.
        fetches: Requests of a client in each round.
        messages: WebSocket messages in each round; a multiple of ``WARM`` and of each batch.
        held: Number of idle connections whose memory is measured.
    """

    runs: int
    rounds: int
    transfers: int
    requests: int
    fetches: int
    messages: int
    held: int


class Meter(Protocol):
    """A subject, and how to measure it."""

    def opened(self, loop: str, sizes: Sizes) -> AbstractContextManager[Reading]: ...


@dataclass(frozen=True)
class Server:
    """CPU time of a server under h2load, in microseconds per request.

    Attributes:
        module: Name of a module in ``servers``, and behind a dot the kind of its responses.
        connections: Number of connections of h2load.
        idle: Number of idle connections in addition.
        origin: Another module in ``servers``, to which this one forwards.
    """

    module: str
    sample: Sample = HELLO
    connections: int = 32
    idle: int = 0
    origin: str | None = None

    @contextmanager
    def opened(self, loop: str, sizes: Sizes) -> Iterator[Reading]:
        allow_files(self.idle)
        with (
            behind(self.origin) as origin,
            started(self.module, loop, self.sample, UNDER_TEST, *origin) as (port, process),
        ):
            holding = idle(port, self.idle) if self.idle else nullcontext(lambda: None)
            with holding as check_open:

                def read() -> float:
                    check(port, self.sample)
                    figure = per_request(process, sizes.requests, work)
                    check_open()
                    return figure

                def work(requests: int) -> None:
                    h2load(port, requests, self.connections, self.sample)

                yield read


@dataclass(frozen=True)
class Client:
    """CPU time of a client, in microseconds per request.

    Attributes:
        module: Name of a module in ``clients``, and behind a dot the kind of its requests.
        origin: Its server, a module in ``servers``.
        sample: What a GET gets there.
    """

    module: str
    origin: str = 'floor'
    sample: Sample = HELLO

    @contextmanager
    def opened(self, loop: str, sizes: Sizes) -> Iterator[Reading]:
        with (
            started(self.origin, 'asyncio', self.sample, LOAD) as (port, _),
            Started('client', self.module, url_of(port, self.sample), loop) as process,
        ):
            process.read_line()
            yield lambda: per_request(process, sizes.fetches, process.ask)


@dataclass(frozen=True)
class Echo:
    """CPU time of a server that echoes WebSocket messages, in microseconds per message.

    Attributes:
        module: Name of a module in ``servers``.
        batch: Number of messages that are sent at once, on one connection.
    """

    module: str
    batch: int

    @contextmanager
    def opened(self, loop: str, sizes: Sizes) -> Iterator[Reading]:
        with (
            started(self.module, loop, HELLO) as (port, process),
            echoes(port, self.batch) as work,
        ):
            yield lambda: per_request(process, sizes.messages, work)


@dataclass(frozen=True)
class Memory:
    """Memory of a server per idle connection, in KiB.

    Attributes:
        module: Name of a module in ``servers``.
        kind: Kind of the connections, ``'http'`` or ``'websocket'``.
    """

    module: str
    kind: str = 'http'

    @contextmanager
    def opened(self, loop: str, sizes: Sizes) -> Iterator[Reading]:
        def read() -> float:
            with started(self.module, loop, HELLO, steady=False) as (port, process):
                h2load(port, sizes.requests, 32, HELLO)
                with idle(port, 32, self.kind):  # what is loaded or cached once is not counted
                    pass
                before = process.memory()
                with idle(port, sizes.held, self.kind) as check_open:
                    grown = process.memory() - before
                    check_open()
            return grown / sizes.held / 1024

        allow_files(sizes.held)
        yield read


@dataclass(frozen=True)
class Moving:
    """Cost of transferring 1 GiB: milliseconds of CPU time, or MiB of memory at its peak.

    Attributes:
        module: Name of a module in ``transfers``.
        sends: Whether it sends a file; otherwise the file that it may have written is checked.
        memory: Whether the figure is memory, not CPU time.
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
                'transfer',
                self.module,
                f'{origin}/body',
                path := Path(folder, 'body'),
                loop,
                steady=not self.memory,
            ) as process,
        ):
            process.read_line()

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
            if self.memory or sizes.transfers > 1:
                move()
            yield read


@dataclass(frozen=True)
class Relay:
    """Cost for a proxy to forward 1 GiB from an origin; the same figures as ``Moving``.

    Attributes:
        module: Name of a module in ``servers``.
        memory: Whether the figure is memory, not CPU time.
    """

    module: str
    memory: bool = False

    @contextmanager
    def opened(self, loop: str, sizes: Sizes) -> Iterator[Reading]:
        with (
            behind('body') as origin,
            started(self.module, loop, HELLO, UNDER_TEST, *origin, steady=not self.memory) as (
                port,
                process,
            ),
        ):

            def move() -> None:
                body.read(port)

            if self.memory or sizes.transfers > 1:
                move()
            yield lambda: per_move(process, move, memory=self.memory)


@dataclass(frozen=True)
class Import:
    """CPU time of importing a package in a fresh process, in milliseconds.

    The bytecode is compiled before, as after an installation by pip.
    """

    package: str

    @contextmanager
    def opened(self, loop: str, sizes: Sizes) -> Iterator[Reading]:
        clock = 'time.process_time_ns()'
        code = f'import time; t = {clock}; import {self.package}; print({clock} - t)'

        with TemporaryDirectory() as cache:
            # Its own cache: if the environment forbids to write one, the compiler would be timed.
            bytecode = {'PYTHONDONTWRITEBYTECODE': '', 'PYTHONPYCACHEPREFIX': cache}

            def read() -> float:
                command = [sys.executable, '-c', code]
                return int(subprocess.check_output(command, env=os.environ | bytecode)) / 1e6

            read()  # writes the cache
            yield read


def per_move(process: Started, move: Callable[[], None], *, memory: bool) -> float:
    """Return the milliseconds of CPU time of a transfer, or the MiB of memory at its peak."""
    if memory:
        before = process.memory()
        process.forget_peak()
        move()
        return (process.peak() - before) / 1024**2
    return cpu(process, move) / 1e6


def per_request(process: Started, requests: int, work: Callable[[int], object]) -> float:
    """Return the microseconds of CPU time of a process per request."""
    work(max(requests // WARM, 32))
    return cpu(process, lambda: work(requests)) / requests / 1000


def cpu(process: Started, work: Callable[[], object]) -> int:
    """Return the nanoseconds of CPU time that a process uses while some work runs."""
    before = process.cpu()
    work()
    # A thread that has ended is gone from the second reading, so it counts as nothing.
    return sum(used - before.get(thread, 0) for thread, used in process.cpu().items())


@contextmanager
def started(
    module: str,
    loop: str,
    sample: Sample,
    cores: list[int] = UNDER_TEST,
    *origin: str,
    steady: bool = True,
) -> Iterator[tuple[int, Started]]:
    """Start a server, wait until its response is right, and yield its port and its process.

    Args:
        module: Name of a module in ``servers``.
        loop: Its event loop.
        sample: The request that it gets, and the response that it must send.
        cores: The cores that it may run on.
        origin: The URL of the server to which it forwards, if any.
        steady: As for ``Started``.
    """
    port = free_port()
    deadline = time.monotonic() + START
    with Started('server', module, port, loop, *origin, cores=cores, steady=steady) as process:
        while True:
            process.check_running()
            try:
                check(port, sample)
                break
            except ConnectionRefusedError:
                if time.monotonic() > deadline:
                    raise Unavailable(f'did not listen within {START:.0f} s') from None
                time.sleep(0.02)
        yield port, process


@contextmanager
def behind(module: str | None) -> Iterator[list[str]]:
    """Start the origin of a proxy or a client, if there is one, and yield its URL."""
    if module is None:
        yield []
        return
    with started(module, 'asyncio', HELLO, LOAD) as (port, _):
        yield [f'http://127.0.0.1:{port}']


def url_of(port: int, sample: Sample) -> str:
    """Return the URL of a server under test or an origin."""
    return f'{"https" if sample.tls else "http"}://127.0.0.1:{port}/'


def free_port() -> int:
    """Return a port that nothing listens on."""
    with socket.create_server(('127.0.0.1', 0)) as listener:
        return int(listener.getsockname()[1])
