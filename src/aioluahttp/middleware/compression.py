"""Answers compressed on their way out, for clients that take them so (RFC 9110 8.4)."""

from __future__ import annotations

import re
from collections.abc import Awaitable, Callable, Iterable
from functools import wraps
from math import inf
from typing import Any

from ..bodies.encoders import ENCODERS, CompressedChunks, choose_coding, compress_body
from ..errors import TableError
from ..headers import Headers, given_length
from ..semantics import NO_BODY
from ..tables.checks import check_body, check_count, check_names, is_streamed
from ..tables.conversion import to_request, wire_body
from ..tables.handlers import response_of_handler
from ..tables.models import Handler, Request, Response

__all__ = ['compress']

LEAST = 1024  # bytes: a shorter body goes out in one packet, compressed or not

# What is text, or as good as text. Images, sound, films and archives are compressed by themselves.
TYPES = re.compile(
    r"""text/.+ | .+\+(json|xml|yaml) | font/(ttf|otf|collection) | application/(
    json | xml | javascript | ecmascript | x-javascript | wasm | x-ndjson | jsonl | json-seq |
    yaml | toml | sql | graphql | rtf | xml-dtd | x-www-form-urlencoded | vnd\.ms-fontobject )""",
    re.VERBOSE,
)
# These tell of the bytes of the answer as they are, or that it is no whole one.
FIXING = frozenset(
    'content-encoding content-range content-digest repr-digest digest content-md5'.split()
)
PARTIAL, NOT_MODIFIED = 206, 304


def compress(
    handler: Handler, *, minimum_size: int = LEAST, codings: Iterable[str] | None = None
) -> Callable[[Request], Awaitable[Response[Any]]]:
    """Make a handler that compresses what another answers, where the client takes that.

    Text, JSON and what is like them is compressed, in the coding that the request's
    Accept-Encoding likes best. Chunks, and events, still arrive one by one. What has a
    Content-Encoding, is a part or a file, or says ``no-transform``, is left alone. A strong ETag
    becomes a weak one.

    Args:
        handler: What answers.
        minimum_size: Bytes; a body that is known to be shorter is left alone.
        codings: Those that may be used, the best first; by default ``zstd``, ``br``, ``gzip`` and
            ``deflate``, the first two where their libraries are installed.

    Raises:
        TableError: An option is not what it takes, or a coding's library is not installed.

    Example:
        >>> async def page(request):
        ...     return {'status': 200, 'body': 'a text' * 1000}
        >>> handler = compress(page)
    """
    least = max(check_count('minimum_size')(minimum_size), 1)
    listed = _check_codings(codings)

    @wraps(handler)  # with what listen reads from it
    async def compressed(request: Request) -> Response[Any]:
        given = request if isinstance(request, Request) else to_request(request)
        silent = given['method'] == 'HEAD'
        coding = choose_coding(','.join(given['headers'].getall('Accept-Encoding', ())), listed)
        response = await response_of_handler(handler, given)
        if response['status'] == NOT_MODIFIED:
            return _unmodified(response, coding)
        headers = response['headers'].copy()
        content = _content(response['body'], headers)
        size = _known_size(content, headers, silent=silent)
        if not is_compressible(response['status'], headers, size, least):
            return response
        if coding is None:
            vary(response['headers'])
            return response
        describe(headers, coding)
        body = await _compressed(content, headers, coding, silent=silent)
        return response | {'headers': headers, 'body': body}

    return compressed


def _check_codings(codings: Iterable[str] | None) -> list[str]:
    listed = list(ENCODERS) if codings is None else check_names('codings', codings)
    if not ENCODERS.keys() >= set(listed):
        right = f'some of {", ".join(ENCODERS)} (zstd and br need aiohttp[speedups])'
        raise TableError.of('codings', codings, right)
    return listed


def _unmodified(response: Response[Any], coding: str | None) -> Response[Any]:
    """Say of an answer that the client has what was said with it; it may have been compressed."""
    vary(response['headers'])
    if coding is not None:
        weaken(response['headers'])
    return response


def _content(body: Any, headers: Headers) -> Any:
    """Give a body as bytes or as an iterator; None if it is neither."""
    if isinstance(body, str | bytes):
        return wire_body(headers, body)
    return body if is_streamed(body) else None


def _known_size(content: Any, headers: Headers, *, silent: bool) -> float:
    """Tell how many bytes there will be, as far as is known: no end is in sight of an iterator."""
    if content is None:
        return 0
    whole = isinstance(content, bytes)
    try:
        length = given_length(headers) if silent or not whole else None
    except TableError:
        return 0  # the server will say so, and close the iterator
    if length is not None:
        return length
    return len(content) if whole else inf


def is_compressible(status: int, headers: Headers, size: float, least: int) -> bool:
    """Tell whether clients that take it so may get this answer compressed.

    Args:
        size: Bytes of the body; infinite where nobody knows.
        least: Those that it has to have.
    """
    kind = headers.get('Content-Type', '').partition(';')[0].strip().lower()
    return (
        size >= least
        and status not in NO_BODY
        and status != PARTIAL
        and TYPES.fullmatch(kind) is not None
        and FIXING.isdisjoint(map(str.lower, headers))
        # RFC 9111 5.2.2.6
        and 'no-transform' not in ','.join(headers.getall('Cache-Control', ())).lower()
    )


def describe(headers: Headers, coding: str) -> None:
    """Change the headers of a body to those that it has in a coding."""
    headers['Content-Encoding'] = coding
    for name in ('Content-Length', 'Accept-Ranges'):  # they were of other bytes
        headers.popall(name, None)
    weaken(headers)
    vary(headers)


def weaken(headers: Headers) -> None:
    """Make the ETag a weak one: a strong one tells codings apart (RFC 9110 8.8.3.3)."""
    if headers.get('ETag', '').startswith('"'):
        headers['ETag'] = 'W/' + headers['ETag']


def vary(headers: Headers) -> None:
    """Tell caches that the answer depends on Accept-Encoding (RFC 9110 12.5.5)."""
    named = ','.join(headers.getall('Vary', ()))
    if {'*', 'accept-encoding'}.isdisjoint(name.strip().lower() for name in named.split(',')):
        headers['Vary'] = f'{named}, Accept-Encoding' if named else 'Accept-Encoding'


async def _compressed(content: Any, headers: Headers, coding: str, *, silent: bool) -> Any:
    """Give the body in its coding; none for HEAD, so that its length is not told."""
    if not isinstance(content, bytes):
        return CompressedChunks(
            content, lambda chunk: wire_body(headers, check_body(chunk)), coding
        )
    return b'' if silent else await compress_body(content, coding)
