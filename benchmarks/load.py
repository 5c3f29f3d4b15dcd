"""The load: h2load, every answer to which must be a 2xx, and idle connections beside it."""

from __future__ import annotations

import re
import subprocess
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from tempfile import TemporaryDirectory

from .check import Asked, WrongAnswer
from .process import LOAD, Started

__all__ = ['h2load', 'idle']


def h2load(port: int, requests: int, connections: int, asked: Asked) -> None:
    """Ask the same many times.

    Raises:
        WrongAnswer: An answer was missing, or no 2xx.
    """
    command = ['h2load', '--h1', '-t', '1', '-c', str(connections), '-n', str(requests)]
    with TemporaryDirectory() as folder:
        if asked.body is not None:
            body = Path(folder, 'body')
            body.write_bytes(asked.body)
            command += [f'--data={body}', f'--header=content-type: {asked.kind}']
        command.append(f'http://127.0.0.1:{port}/')
        said = subprocess.run(command, capture_output=True, text=True, check=True).stdout
    for line in (f' {requests} succeeded, 0 failed, 0 errored', f'status codes: {requests} 2xx'):
        if line not in said:
            raise WrongAnswer(f'h2load: {" ".join(re.findall("(?m)^(?:req|stat).*$", said))}')


@contextmanager
def idle(port: int, number: int) -> Iterator[Callable[[], None]]:
    """Hold idle connections, and give what raises ``WrongAnswer`` where one was closed."""
    with Started('idle', port, number, cores=LOAD) as holder:
        holder.answer()

        def check_open() -> None:
            if (left := holder.ask('how many?')) != str(number):
                raise WrongAnswer(f'of {number} idle connections only {left} were left open')

        yield check_open
