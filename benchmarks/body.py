"""A body of 1 GiB: how to write it, and how to know it again."""

from __future__ import annotations

import hashlib
import random
from functools import cache
from http.client import HTTPConnection
from pathlib import Path

from .check import WrongAnswer

__all__ = ['PIECE', 'PIECES', 'SIZE', 'check_file', 'check_moved', 'digest', 'read', 'write']

PIECE = random.Random(1).randbytes(1024 * 1024)
PIECES = 1024
SIZE = len(PIECE) * PIECES


@cache
def digest() -> str:
    """Give the SHA-256 of the body."""
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
    """Make sure that a file has the body.

    Raises:
        WrongAnswer: It has another.
    """
    with path.open('rb') as file:
        if hashlib.file_digest(file, 'sha256').hexdigest() != digest():
            raise WrongAnswer('the file differs from what was sent')


def check_moved(gave: str) -> None:
    """Make sure that what a move gave is the number of bytes, or their digest.

    Raises:
        WrongAnswer: It is neither.
    """
    if gave not in (str(SIZE), digest()):
        raise WrongAnswer(f'the move gave {gave!r}')


def read(port: int) -> None:
    """Read the body from a server.

    Raises:
        WrongAnswer: Another one came, or none.
    """
    connection = HTTPConnection('127.0.0.1', port, timeout=30)
    try:
        connection.request('GET', '/body')
        answer = connection.getresponse()
        made = hashlib.sha256()
        while chunk := answer.read1(len(PIECE)):
            made.update(chunk)
        if made.hexdigest() != digest():
            raise WrongAnswer(f'answered {answer.status} and another body')
    finally:
        connection.close()
