"""The body of 1 GiB that is transferred: write it, read it, and check its digest."""

from __future__ import annotations

import hashlib
import random
from functools import cache
from http.client import HTTPConnection
from pathlib import Path

from .check import WrongResponse

__all__ = ['PIECE', 'PIECES', 'SIZE', 'check_file', 'check_moved', 'digest', 'read', 'write']

PIECE = random.Random(1).randbytes(1024 * 1024)
PIECES = 1024
SIZE = len(PIECE) * PIECES


@cache
def digest() -> str:
    """Return the SHA-256 of the body."""
    made = hashlib.sha256()
    for _ in range(PIECES):
        made.update(PIECE)
    return made.hexdigest()


def write(path: Path) -> None:
    """Write the body to a file."""
    with path.open('wb') as file:
        for _ in range(PIECES):
            file.write(PIECE)


def check_file(path: Path) -> None:
    """Check that a file holds the body.

    Raises:
        WrongResponse: It holds something else.
    """
    with path.open('rb') as file:
        if hashlib.file_digest(file, 'sha256').hexdigest() != digest():
            raise WrongResponse('the file differs from what was sent')


def check_moved(gave: str) -> None:
    """Check that the result of a transfer is the number of bytes, or their digest.

    Raises:
        WrongResponse: It is neither.
    """
    if gave not in (str(SIZE), digest()):
        raise WrongResponse(f'the transfer returned {gave!r}')


def read(port: int) -> None:
    """Read the body from a server, and check it.

    Raises:
        WrongResponse: The server sent another body, or none.
    """
    connection = HTTPConnection('127.0.0.1', port, timeout=30)
    try:
        connection.request('GET', '/body')
        response = connection.getresponse()
        made = hashlib.sha256()
        while chunk := response.read1(len(PIECE)):
            made.update(chunk)
        if made.hexdigest() != digest():
            raise WrongResponse(f'the response has status {response.status} and another body')
    finally:
        connection.close()
