"""The middleware ``compress``: compress response bodies for clients that accept it (RFC 9110 8.4).

The codings themselves, and the choice by Accept-Encoding, are in ``bodies.encoders``.
"""

from __future__ import annotations

import re
from collections.abc import Callable, Coroutine, Iterable
from functools import wraps
from math import inf
from typing import Any

from ..bodies.encoders import ENCODERS, CompressedChunks, choose_coding, compress_body
from ..errors import TableError
from ..headers import Headers, given_length
from ..semantics import STATUSES_WITHOUT_BODY
from ..tables.checks import check_body, check_count, check_names, is_streamed
from ..tables.conversion import to_request, wire_body
from ..tables.handlers import response_of_handler
from ..tables.models import Handler, Request, Response

__all__ = ['compress']

MINIMUM_SIZE = 1024  # bytes: a shorter body fits in one packet, compressed or not

# Types that compress well. Images, audio, video and archives are already compressed.
TYPES = re.compile(
    r"""text/.+ | .+\+(json|xml|yaml) | font/(ttf|otf|collection) | application/(
    json | xml | javascript | ecmascript | x-javascript | wasm | x-ndjson | jsonl | json-seq |
    yaml | toml | sql | graphql | rtf | xml-dtd | x-www-form-urlencoded | vnd\.ms-fontobject )""",
    re.VERBOSE,
)
# A response with one of these is not compressed: they describe its exact bytes, or a part.
FIXING = frozenset(
    'content-encoding content-range content-digest repr-digest digest content-md5'.split()
)
PARTIAL, NOT_MODIFIED = 206, 304


def compress(
    handler: Handler, *, minimum_size: int = MINIMUM_SIZE, codings: Iterable[str] | None = None
) -> Callable[[Request], Coroutine[Any, Any, Response[Any]]]:
    """Compress the response bodies of a handler if the client accepts it.

    Text, JSON and similar types are compressed, with the coding that the request's
    Accept-Encoding prefers. Chunks and events still arrive one by one. A response that has a
    Content-Encoding, is partial, has a file as its body or says ``no-transform`` is unchanged. A
    strong ETag becomes a weak one.

    Args:
        handler: The handler to wrap.
        minimum_size: Bytes. A body that is known to be shorter is not compressed.
        codings: The codings to use, the preferred one first. The default is ``zstd``, ``br``,
            ``gzip`` and ``deflate``, the first two only if their libraries are installed.

    Raises:
        TableError: An option is invalid, or the library of a coding is not installed.

    Example:
        >>> async def page(request):
        ...     return {'status': 200, 'body': 'a text' * 1000}
        >>> handler = compress(page)
    """
    least = max(check_count('minimum_size')(minimum_size), 1)
    listed = _check_codings(codings)

    @wraps(handler)  # also copies ``into`` and ``max_body``, which servers read from a handler
    async def compressed(request: Request) -> Response[Any]:
        given = request if isinstance(request, Request) else to_request(request)
        is_head = given['method'] == 'HEAD'
        coding = choose_coding(','.join(given['headers'].getall('Accept-Encoding', ())), listed)
        response = await response_of_handler(handler, given)
        if response['status'] == NOT_MODIFIED:
            return _unmodified(response, coding)
        headers = response['headers'].copy()
        content = _content(response['body'], headers)
        size = _known_size(content, headers, is_head=is_head)
        if not is_compressible(response['status'], headers, size, least):
            return response
        if coding is None:
            add_vary(response['headers'])
            return response
        set_coded_headers(headers, coding)
        body = await _compressed(content, headers, coding, is_head=is_head)
        return response | {'headers': headers, 'body': body}

    return compressed


def _check_codings(codings: Iterable[str] | None) -> list[str]:
    listed = list(ENCODERS) if codings is None else check_names('codings', codings)
    if not ENCODERS.keys() >= set(listed):
        right = f'some of {", ".join(ENCODERS)} (zstd and br need aiohttp[speedups])'
        raise TableError.of('codings', codings, right)
    return listed


def _unmodified(response: Response[Any], coding: str | None) -> Response[Any]:
    """Give a 304 the Vary and the ETag that a compressed response would have had."""
    add_vary(response['headers'])
    if coding is not None:
        weaken_etag(response['headers'])
    return response


def _content(body: Any, headers: Headers) -> Any:
    """Return a body as bytes or an iterator of chunks, or None for a file and other values."""
    if isinstance(body, str | bytes):
        return wire_body(headers, body)
    return body if is_streamed(body) else None


def _known_size(content: Any, headers: Headers, *, is_head: bool) -> float:
    """Return the size of a body in bytes: infinite if unknown, 0 if it is not to be compressed."""
    if content is None:
        return 0
    in_memory = isinstance(content, bytes)
    try:
        length = given_length(headers) if is_head or not in_memory else None
    except TableError:
        return 0  # the server will reject the response and close the iterator
    if length is not None:
        return length
    return len(content) if in_memory else inf


def is_compressible(status: int, headers: Headers, size: float, least: int) -> bool:
    """Tell whether a response may be compressed.

    Args:
        size: Bytes of the body; infinite if unknown.
        least: The minimum of bytes.
    """
    kind = headers.get('Content-Type', '').partition(';')[0].strip().lower()
    return (
        size >= least
        and status not in STATUSES_WITHOUT_BODY
        and status != PARTIAL
        and TYPES.fullmatch(kind) is not None
        and FIXING.isdisjoint(map(str.lower, headers))
        # RFC 9111 5.2.2.6
        and 'no-transform' not in ','.join(headers.getall('Cache-Control', ())).lower()
    )


def set_coded_headers(headers: Headers, coding: str) -> None:
    """Change the headers of a response to those of its compressed form."""
    headers['Content-Encoding'] = coding
    for name in ('Content-Length', 'Accept-Ranges'):  # true only of the uncompressed bytes
        headers.popall(name, None)
    weaken_etag(headers)
    add_vary(headers)


def weaken_etag(headers: Headers) -> None:
    """Make the ETag weak: a strong one differs for each coding (RFC 9110 8.8.3.3)."""
    if headers.get('ETag', '').startswith('"'):
        headers['ETag'] = 'W/' + headers['ETag']


def add_vary(headers: Headers) -> None:
    """Add Accept-Encoding to Vary: the response depends on it (RFC 9110 12.5.5)."""
    named = ','.join(headers.getall('Vary', ()))
    if {'*', 'accept-encoding'}.isdisjoint(name.strip().lower() for name in named.split(',')):
        headers['Vary'] = f'{named}, Accept-Encoding' if named else 'Accept-Encoding'


async def _compressed(content: Any, headers: Headers, coding: str, *, is_head: bool) -> Any:
    """Compress a body; for HEAD return none, because its compressed length is not known."""
    if not isinstance(content, bytes):
        return CompressedChunks(
            content, lambda chunk: wire_body(headers, check_body(chunk)), coding
        )
    return b'' if is_head else await compress_body(content, coding)
