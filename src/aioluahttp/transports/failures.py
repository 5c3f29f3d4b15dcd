"""Errors of a connection, and aiohttp's exceptions translated into ours."""

from __future__ import annotations

import re

import aiohttp
from aiohttp.http import HttpProcessingError

from ..errors import BodyTooLarge, ConnectError, Error, ProtocolError, Refused, TimedOut
from ..semantics import IDEMPOTENT
from ..tables.models import Request, described
from .request_body import source_of

__all__ = ['LostConnection', 'StaleConnection', 'reason_of', 'translate']


REUSED = 'the peer closed the connection, a reused one, before it answered'
LOSSES = {
    True: REUSED,
    False: f'{REUSED}; {{}} is not idempotent, so it was not sent again, '
    'and the peer may or may not have acted on it',
}


class StaleConnection(aiohttp.ClientError):
    """The peer has spoken or left on a pooled connection; nothing was sent on it."""


class LostConnection(aiohttp.ClientError):
    """The connection ended before the answer; none of those that aiohttp sends again for.

    ``repeatable`` tells whether to send again: on a reused connection the peer may have closed
    it before the request came, which does no harm where the method is idempotent (RFC 9110
    9.2.2, RFC 9112 9.3.1).
    """

    def __init__(self, method: str, error: Exception, *, reused: bool) -> None:
        idempotent = method in IDEMPOTENT
        self.repeatable: bool = reused and idempotent
        super().__init__(LOSSES[idempotent].format(method) if reused else reason_of(error))


def reason_of(error: BaseException) -> str:
    """Give the text of an exception, or its kind where it has none."""
    what = getattr(error, 'message', str(error))  # half a head, where that is what came
    return what if isinstance(what, str) and what else type(error).__name__


QUERY = re.compile(r'\?\S*')  # of the URL that some of aiohttp's messages repeat

# aiohttp's exceptions and ours, the first match counts.
TRANSLATIONS: tuple[
    tuple[type[BaseException] | tuple[type[BaseException], ...], type[Error]], ...
] = (
    (BodyTooLarge, BodyTooLarge),
    (TimeoutError, TimedOut),
    (
        (aiohttp.ClientConnectorError, aiohttp.ClientHttpProxyError, ConnectError),
        ConnectError,
    ),
    ((aiohttp.ClientError, HttpProcessingError, OSError, ProtocolError), ProtocolError),
)


def translate(error: BaseException, request: Request, *, sent: bool) -> Error | None:
    """Give our exception for one of aiohttp's, with the request in its text; None for others.

    A ``ConnectError`` says that nothing was sent, so it is none where something was before. What
    is the fault of a client whose body is sent on stays as it is, and so does what drawing a
    body raised.
    """
    supply = source_of(request)
    if isinstance(error.__cause__, Refused) or (supply and error is supply.error):
        return None
    for theirs, ours in TRANSLATIONS:
        if isinstance(error, theirs):
            text = f'{described(request)}: {QUERY.sub("", reason_of(error))}'
            if sent and ours is ConnectError:
                return ProtocolError(f'{text}, after a request had been sent')
            return ours(text)
    return None
