"""The contract of tables as code: what a handler is given and what it returns are held to it."""

from __future__ import annotations

from collections.abc import AsyncIterable, Callable, Mapping
from functools import wraps
from os import PathLike
from typing import Any, TypeAlias

from ..bodies.chunks import call
from ..errors import TableError, shown
from ..tables.checks import STREAMS, is_streamed, quote_url
from ..tables.conversion import BODIES, LOGINS, to_request, to_response
from ..tables.handlers import close_body
from ..tables.models import Handler, Request, Response, Wrapped

__all__ = ['lint']

SUGAR = frozenset(BODIES + LOGINS) - {'body'}
RAW = ('url', 'path', 'query')  # a server gives the bytes that came, be they quoted or not


def is_response_table(body: Any) -> bool:
    return isinstance(body, str | bytes | PathLike) or is_streamed(body)


# What the body of a response is to be, by the ``into`` of its request, and in words.
Kind: TypeAlias = tuple[Callable[[Any], bool], str]

STREAM: Kind = (
    lambda body: isinstance(body, str | AsyncIterable),
    'a stream, or the text of a page',
)
KINDS: dict[Any, Kind] = {
    'text': (lambda body: isinstance(body, str), 'a str'),
    'bytes': (lambda body: isinstance(body, bytes), 'bytes'),
    **dict.fromkeys(STREAMS, STREAM),
    None: (is_response_table, 'a str, bytes, an iterator or a path'),
}


def lint(handler: Handler) -> Wrapped:
    """Hold the tables that go into a handler and come out of it to the contract.

    Put it around your handler in its tests, or between two middlewares. What is written, any
    mapping, is held to what may be written. What is given, a ``Request`` or a ``Response``, is
    held to the normal form, in which ``to_request`` and ``to_response`` give it.

    Raises:
        TableError: From the handler: which side breaks the contract, in which key, and what
            would be right.

    Example:
        >>> import asyncio
        >>> asyncio.run(lint(lambda request: {'stauts': 200})({'host': 'h'}))
        Traceback (most recent call last):
        aioluahttp.errors.TableError: <lambda> returns no response: unknown key 'stauts': ...
    """
    name = getattr(handler, '__qualname__', None) or type(handler).__qualname__

    @wraps(handler)  # with what listen reads from it
    async def linted(table: Any) -> Response[Any]:
        try:
            request = checked_request(table)
        except TableError as error:
            raise TableError(f'{name} is given no request: {error}') from error
        into = request.get('into')
        answer = await call(handler, request)
        try:
            return checked_response(answer, into)
        except TableError as error:
            await close_body(answer)
            raise TableError(f'{name} returns no response: {error}') from error

    return linted


def checked_request(table: Any) -> Request:
    """Give a request in normal form.

    Raises:
        TableError: It cannot be written so, or is a ``Request`` that is not in that form.
    """
    request = to_request(table)
    if isinstance(table, Request):
        _check_normal(table, request)
    return request


def checked_response(table: Any, into: Any) -> Response[Any]:
    """Give a response in normal form; ``into`` is that of the request.

    Raises:
        TableError: It cannot be written so, is a ``Response`` that is not in that form, or has a
            body that ``into`` does not ask for.
    """
    response = to_response(table)
    if isinstance(table, Response):
        _check_normal(table, response)
    is_right, right = KINDS.get(into, (lambda body: True, ''))
    if 'websocket' not in response and not is_right(response['body']):
        asked = f' for into={into!r}' if into else ''
        raise TableError.of('body', response['body'], right + asked)
    return response


def _check_normal(given: Mapping[str, Any], normal: Mapping[str, Any]) -> None:
    """Compare a table that is given with its normal form."""
    for key in given:
        if key in SUGAR and given[key] is not None:
            raise TableError(f'{key!r} is what is written; given are body and headers')
    for key, value in normal.items():
        right = 'Headers' if key == 'headers' else f'{shown(value)}, in normal form'
        if key not in given:
            raise TableError(f'{key!r} is missing; it must be {right}')
        if not _is_normal(key, given[key], value):
            raise TableError.of(key, given[key], right, secret=key == 'headers')


def _is_normal(key: str, given: Any, normal: Any) -> bool:
    if key in RAW and type(given) is str:
        given = quote_url(key, given)
    return type(given) is type(normal) and given == normal
