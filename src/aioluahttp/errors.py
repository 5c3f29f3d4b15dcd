"""Exceptions of the library, split by what the caller can do next."""

from __future__ import annotations

import re
from collections.abc import Iterable
from typing import TYPE_CHECKING, Any, Self

if TYPE_CHECKING:
    from .tables.models import Request, Response

__all__ = [
    'BodyTooLarge',
    'ConnectError',
    'Error',
    'ProtocolError',
    'StatusError',
    'TableError',
    'TimedOut',
]

SHOWN = 100  # characters of a bad value in a message: enough to recognise it
USERINFO = r'//[^/?#]*@'


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
    def unknown(cls, key: object, known: Iterable[str]) -> Self:
        """Return the error for an unknown key, with the nearest known key or all known keys."""
        from difflib import get_close_matches

        near = get_close_matches(key.lower(), sorted(known), 1) if isinstance(key, str) else ()
        hint = f'did you mean {near[0]!r}?' if near else f'known are {", ".join(sorted(known))}'
        return cls(f'unknown key {shown(key)}: {hint}')


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
