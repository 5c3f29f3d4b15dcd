"""Load on a server: h2load, which must get a 2xx to every request, WebSockets, idle connections."""

from __future__ import annotations

import re
import subprocess
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from tempfile import TemporaryDirectory

from .check import Sample, WrongResponse
from .process import LOAD, Started

__all__ = ['echoes', 'h2load', 'idle']


def h2load(port: int, requests: int, connections: int, sample: Sample) -> None:
    """Send the same request many times.

    Raises:
        WrongResponse: A response was missing, or not a 2xx.
    """
    command = ['h2load', '--h1', '-t', '1', '-c', str(connections), '-n', str(requests)]
    with TemporaryDirectory() as folder:
        if sample.body is not None:
            body = Path(folder, 'body')
            body.write_bytes(sample.body)
            command += [f'--data={body}', f'--header=content-type: {sample.kind}']
        command += [f'--header={name}: {value}' for name, value in sample.headers.items()]
        command.append(f'{"https" if sample.tls else "http"}://127.0.0.1:{port}/')
        said = subprocess.run(command, capture_output=True, text=True, check=True).stdout
    for line in (f' {requests} succeeded, 0 failed, 0 errored', f'status codes: {requests} 2xx'):
        if line not in said:
            raise WrongResponse(f'h2load: {" ".join(re.findall("(?m)^(?:req|stat).*$", said))}')


@contextmanager
def idle(port: int, number: int, kind: str = 'http') -> Iterator[Callable[[], None]]:
    """Hold idle connections; yield a function that raises ``WrongResponse`` if one was closed.

    Args:
        kind: ``'http'`` gets one response on each, ``'websocket'`` opens a WebSocket.
    """
    with Started('idle', port, number, kind, cores=LOAD) as holder:
        holder.read_line()

        def check_open() -> None:
            if (left := holder.ask('how many?')) != str(number):
                raise WrongResponse(f'only {left} of {number} idle connections are still open')

        yield check_open


@contextmanager
def echoes(port: int, batch: int) -> Iterator[Callable[[int], object]]:
    """Open a WebSocket; yield a function that has a number of messages echoed, batch by batch."""
    with Started('echo', port, batch, cores=LOAD) as client:
        client.read_line()
        yield client.ask
