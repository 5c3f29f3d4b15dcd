"""What can go wrong, split by what the caller does next."""

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

SHOWN = 100  # characters of a bad value that a message repeats: enough to recognise it
USERINFO = r'//[^/?#]*@'


def shown(value: object) -> str:
    """Give the text of a value for a message: cut to length, credentials of a URL hidden."""
    try:
        text = re.sub(USERINFO, '//***@', repr(value))
    except Exception:  # an int of over 4300 digits has no repr, and any class may fail to give one
        return f'a {type(value).__name__}'
    return text if len(text) <= SHOWN else text[:SHOWN] + '…'


class Error(Exception):
    """Base of every exception that this library raises on purpose.

    ``request`` is the table that was to be sent, or None where there was none. Its text and
    its pickle hide what is secret, so that an error can be logged and travel as it is.
    """

    request: Request | None = None


class TableError(Error, ValueError):
    """The table is malformed; nothing was sent.

    Or it cannot be sent as it has to be: a body breaks off, or has to be sent again and cannot.
    ``response`` is the redirect that asks for that, or None.
    """

    response: Response[Any] | None = None

    @classmethod
    def of(cls, key: str, value: object, right: str, *, secret: bool = False) -> Self:
        """Make the error that names a key and its value, and says what would be right."""
        return cls(f'{key!r} is {"***" if secret else shown(value)}; it must be {right}')

    @classmethod
    def unknown(cls, key: object, known: Iterable[str]) -> Self:
        """Make the error for a key that no table has, with the nearest one that does exist."""
        from difflib import get_close_matches

        near = get_close_matches(key.lower(), sorted(known), 1) if isinstance(key, str) else ()
        hint = f'did you mean {near[0]!r}?' if near else f'known are {", ".join(sorted(known))}'
        return cls(f'unknown key {shown(key)}: {hint}')


class ConnectError(Error, ConnectionError):
    """No connection came about: the name, the network, a refusal, or TLS. Nothing was sent."""


class TimedOut(Error, TimeoutError):
    """A deadline passed; the connection was closed."""


class ProtocolError(Error):
    """The peer broke HTTP or hung up midway, or the client was closed.

    What the peer has done with the request is not known.
    """


class BodyTooLarge(Error):
    """A body passed ``max_body``, counted after decompression; the connection was closed."""


class Refused(Exception):
    """The request is not for the handler; the status says why. No user gets to see this."""

    def __init__(self, status: int) -> None:
        super().__init__(status)
        self.status = status


class StatusError(Error):
    """A response whose status ``check`` does not accept. ``response`` is the whole of it."""

    response: Response[Any]
