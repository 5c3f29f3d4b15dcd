"""The middleware ``lint``: check the request that a handler gets and the response it returns."""

from __future__ import annotations

from collections.abc import AsyncIterable, Callable, Mapping
from functools import wraps
from os import PathLike
from typing import Any, TypeAlias

from ..bodies.chunks import call
from ..errors import TableError, shown
from ..tables.checks import STREAMS, is_streamed, quote_url
from ..tables.conversion import BODIES, LOGINS, to_request, to_response
from ..tables.handlers import close_body, name_of_handler
from ..tables.models import Handler, Request, Response, Wrapped

__all__ = ['lint']

SUGAR = frozenset(BODIES + LOGINS) - {'body'}
RAW = ('url', 'path', 'query')  # a server passes these on as received, quoted or not


def is_response_body(body: Any) -> bool:
    return isinstance(body, str | bytes | PathLike) or is_streamed(body)


# For an ``into``: a test of the response body, and what it must be in words.
Kind: TypeAlias = tuple[Callable[[Any], bool], str]

STREAM: Kind = (
    lambda body: isinstance(body, str | AsyncIterable),
    'a stream, or the text of a page',
)
KINDS: dict[Any, Kind] = {
    'text': (lambda body: isinstance(body, str), 'a str'),
    'bytes': (lambda body: isinstance(body, bytes), 'bytes'),
    **dict.fromkeys(STREAMS, STREAM),
    None: (is_response_body, 'a str, bytes, an iterator or a path'),
}


def lint(handler: Handler) -> Wrapped:
    """Check the request and the response of a handler against the rules for tables.

    Use it around a handler in its tests, or between two middlewares. A plain mapping may have all
    keys that one may write. A ``Request`` or a ``Response`` must be in normal form, as
    ``to_request`` and ``to_response`` return it.

    Raises:
        TableError: From the handler. The message says which side broke a rule, in which key, and
            what would be right.

    Example:
        >>> import asyncio
        >>> asyncio.run(lint(lambda request: {'stauts': 200})({'host': 'h'}))
        Traceback (most recent call last):
        aioluahttp.errors.TableError: <lambda> returned an invalid response: ... 'stauts': ...
    """
    name = name_of_handler(handler)

    @wraps(handler)  # also copies ``into`` and ``max_body``, which servers read from a handler
    async def linted(table: Any) -> Response[Any]:
        try:
            request = checked_request(table)
        except TableError as error:
            raise TableError(f'{name} was given an invalid request: {error}') from error
        into = request.get('into')
        response = await call(handler, request)
        try:
            return checked_response(response, into)
        except TableError as error:
            await close_body(response)
            raise TableError(f'{name} returned an invalid response: {error}') from error

    return linted


def checked_request(table: Any) -> Request:
    """Return a request in normal form.

    Raises:
        TableError: The request is invalid, or it is a ``Request`` that is not in normal form.
    """
    request = to_request(table)
    if isinstance(table, Request):
        _check_normal(table, request)
    return request


def checked_response(table: Any, into: Any) -> Response[Any]:
    """Return a response in normal form; ``into`` is that of the request.

    Raises:
        TableError: The response is invalid, it is a ``Response`` that is not in normal form, or
            its body is not of the type that ``into`` asks for.
    """
    response = to_response(table)
    if isinstance(table, Response):
        _check_normal(table, response)
    is_right, right = KINDS.get(into, (lambda body: True, ''))
    if 'websocket' not in response and not is_right(response['body']):
        condition = f' for into={into!r}' if into else ''
        raise TableError.of('body', response['body'], right + condition)
    return response


def _check_normal(given: Mapping[str, Any], normal: Mapping[str, Any]) -> None:
    """Check that a ``Request`` or a ``Response`` equals its normal form."""
    for key in given:
        if key in SUGAR and given[key] is not None:
            raise TableError(f'{key!r} is not allowed in normal form; use body and headers')
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
