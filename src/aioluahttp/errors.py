"""Exceptions of the library, split by what the caller can do next."""

from __future__ import annotations

import re
import warnings
from collections.abc import Collection
from inspect import currentframe
from typing import TYPE_CHECKING, Any, Self

if TYPE_CHECKING:
    from types import FrameType

    from .tables.models import Request, Response

__all__ = [
    'BodyTooLarge',
    'ConnectError',
    'Error',
    'ProtocolError',
    'StatusError',
    'TableError',
    'TableWarning',
    'TimedOut',
]

SHOWN = 100  # characters of a bad value in a message: enough to recognise it
USERINFO = r'//[^/?#]*@'

# What other HTTP libraries call a key, and its names here.
SYNONYMS = {
    'params': ('query',),
    'data': ('form', 'body'),
    'content': ('body',),
    'files': ('multipart',),
    'verify': ('tls',),
    'cert': ('tls',),
    'ssl': ('tls',),
    'stream': ('into',),
    'allow_redirects': ('redirects',),
    'follow_redirects': ('redirects',),
    'on_startup': ('lifespan',),
    'on_shutdown': ('lifespan',),
}
# What other libraries have as an argument of a request, and is something else here.
ELSEWHERE = {
    'cookies': 'give cookies to a client, as Client(cookies=…)',
    'retries': 'retry is a middleware, as middleware.retry(http.request)',
    'retry': 'retry is a middleware, as middleware.retry(http.request)',
}
# Packages whose frames can stand between a user's call and the code that warns.
BETWEEN = frozenset({__name__.partition('.')[0], 'asyncio', 'contextlib', 'functools'})


def shown(value: object) -> str:
    """Return the repr of a value for a message: cut to ``SHOWN``, credentials in URLs hidden."""
    try:
        text = re.sub(USERINFO, '//***@', repr(value))
    except Exception:  # an int of over 4300 digits has no repr, and any class may fail to give one
        return f'a {type(value).__name__}'
    return text if len(text) <= SHOWN else text[:SHOWN] + '…'


class Error(Exception):
    """Base of every exception that this library raises on purpose.

    ``request`` is the request table, or None if there was none. Its repr and pickle hide
    secrets, so that an error can be logged and pickled.
    """

    request: Request | None = None


class TableError(Error, ValueError):
    """A table is malformed; nothing was sent.

    Also raised when a request body fails while it is sent, or has to be sent again and cannot be.
    ``response`` is the redirect that requires it to be sent again, or None.
    """

    response: Response[Any] | None = None

    @classmethod
    def of(cls, key: str, value: object, right: str, *, secret: bool = False) -> Self:
        """Return the error that names a key and its value, and says what would be right."""
        return cls(f'{key!r} is {"***" if secret else shown(value)}; it must be {right}')

    @classmethod
    def unknown(cls, key: object, known: Collection[str]) -> Self:
        """Return the error for an unknown key, with the nearest known keys or all of them."""
        return cls(f'unknown key {shown(key)}: {_hint(key, known)}')


def _hint(key: object, known: Collection[str]) -> str:
    """Suggest the known key that was meant: another library's name for it, or the nearest."""
    from difflib import get_close_matches

    if isinstance(key, str):
        word = key.lower()
        if word in ELSEWHERE and 'url' in known and 'host' in known:  # of a request
            return ELSEWHERE[word]
        same = [name for name in SYNONYMS.get(word, ()) if name in known]
        if near := same or get_close_matches(word, sorted(known), 1):
            return f'did you mean {" or ".join(map(repr, near))}?'
    return f'known are {", ".join(sorted(known))}'


class TableWarning(UserWarning):
    """``url`` overrides a key of the table with a different value."""


def warn(text: str) -> None:
    """Issue a ``TableWarning`` that points at the user's call, as far as it is on the stack."""
    # ``skip_file_prefixes`` of warnings.warn does this, but only from Python 3.12 on.
    frame, level = currentframe(), 1
    while frame and _package(frame) in BETWEEN:
        frame, level = frame.f_back, level + 1
    warnings.warn(text, TableWarning, stacklevel=level)


def _package(frame: FrameType) -> str:
    return str(frame.f_globals.get('__name__', '')).partition('.')[0]


class ConnectError(Error, ConnectionError):
    """No connection: name resolution, the network, a refusal or TLS. Nothing was sent."""


class TimedOut(Error, TimeoutError):
    """A deadline passed; the connection was closed."""


class ProtocolError(Error):
    """The peer broke HTTP or closed the connection too early, or the client was closed.

    Whether the peer acted on the request is not known.
    """


class BodyTooLarge(Error):
    """A body exceeded ``max_body``, counted after decompression, or another limit on its size.

    A client has closed the connection.
    """


class Refused(Exception):
    """A request is refused with this status. Internal: users see it at most as ``__cause__``."""

    def __init__(self, status: int) -> None:
        super().__init__(status)
        self.status = status


class StatusError(Error):
    """A status that ``check`` does not accept. ``response`` is the complete response."""

    response: Response[Any]
