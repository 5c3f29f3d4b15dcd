"""A response table made the bytes of an answer (RFC 9112 4, RFC 9110 8.6)."""

from __future__ import annotations

from functools import lru_cache
from time import time
from typing import Any

from ..dates import format_date
from ..exchange.response import length_of
from ..headers import ONE_HOP, Headers
from ..semantics import PHRASES, is_silent

__all__ = ['Answer', 'date_line', 'encode', 'encode_head', 'framing_of', 'plain_answer']


class Answer:
    """The bytes of a response, head and body together, and whether the connection goes on."""

    __slots__ = ('data', 'keep_alive', 'status')

    def __init__(self, status: int, data: bytes, keep_alive: bool) -> None:
        self.status: int = status
        self.data: bytes = data
        self.keep_alive: bool = keep_alive


def plain_answer(status: int, method: str = 'GET', *fields: str) -> Answer:
    """Make an answer for a request that is refused. It closes the connection."""
    body = PHRASES[status].encode()
    lines = [
        f'HTTP/1.1 {status} {PHRASES[status]}',
        'Content-Type: text/plain; charset=utf-8',
        f'Content-Length: {len(body)}',
        f'Date: {_date(int(time()))}',
        *fields,
        'Connection: close\r\n\r\n',
    ]
    data = '\r\n'.join(lines).encode()
    return Answer(status, data if method == 'HEAD' else data + body, keep_alive=False)


def encode(
    request: Any,
    status: int,
    reason: str | None,
    headers: Headers,
    body: bytes,
    keep_alive: bool,
) -> Answer:
    """Write a response out: the framing is the library's, all else as the table has it.

    Args:
        request: What it answers, as aiohttp's parser gives it.
    """
    length = length_of(request.method, status, headers, body)
    head = encode_head(request, status, reason, headers, framing_of(length), keep_alive)
    silent = is_silent(request.method, status)
    return Answer(status, head if silent else head + body, keep_alive)


def encode_head(
    request: Any,
    status: int,
    reason: str | None,
    headers: Headers,
    framing: str | None,
    keep_alive: bool,
) -> bytes:
    """Write the head of a response out.

    Args:
        request: What it answers, as aiohttp's parser gives it.
        framing: The line that tells where the body ends; ``None`` where there is none.
    """
    kept = [f'{name}: {value}' for name, value in headers.items() if name.lower() not in ONE_HOP]
    if framing is not None:
        kept.append(framing)
    if 'Date' not in headers:
        kept.append(f'Date: {_date(int(time()))}')
    if not keep_alive:
        kept.append('Connection: close')
    elif request.version < (1, 1):
        kept.append('Connection: keep-alive')
    phrase = PHRASES.get(status, '') if reason is None else reason
    lines = '\r\n'.join((f'HTTP/1.1 {status} {phrase}', *kept, '\r\n'))
    return lines.encode('utf-8', 'surrogateescape')


def framing_of(length: int | None) -> str | None:
    """Write the line that tells a length."""
    return None if length is None else f'Content-Length: {length}'


@lru_cache(1)
def _date(second: int) -> str:
    return format_date(second)


@lru_cache(1)
def date_line(second: int) -> bytes:
    """Write the Date header of a second, which is the same for all its answers."""
    return f'Date: {_date(second)}\r\n'.encode()
