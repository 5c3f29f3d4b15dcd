"""Exceptions of a lost connection, and the translation of aiohttp's exceptions into ours."""

from __future__ import annotations

import re
import ssl

import aiohttp

from ..errors import BodyTooLarge, ConnectError, Error, ProtocolError, TimedOut
from ..semantics import IDEMPOTENT
from ..tables.models import Request, describe_request
from .response_body import HttpProcessingError, LineTooLong

__all__ = [
    'BodyFailed',
    'LostConnection',
    'is_refused_handshake',
    'line_too_long',
    'reason_of',
    'translate',
]


REUSED = 'the peer closed a reused connection before it responded'
# By whether the method is idempotent.
LOSSES = {
    True: REUSED,
    False: f'{REUSED}; {{}} is not idempotent, so it was not sent again, '
    'and the peer may or may not have acted on it',
}


class BodyFailed(Exception):
    """The request body failed on our side: in its source, or in the progress callback.

    The user gets ``error`` as it was raised. This is no ``OSError`` even if ``error`` is one, for
    that would look like an error of the connection.
    """

    def __init__(self, error: Exception) -> None:
        super().__init__(str(error))
        self.error = error


class LostConnection(aiohttp.ClientError):
    """The connection ended before the response; aiohttp does not retry on this exception.

    ``repeatable`` is true if the request may be sent again: the connection was a reused one, which
    the peer may have closed before the request arrived, and the method is idempotent (RFC 9110
    9.2.2, RFC 9112 9.3.1).
    """

    def __init__(self, method: str, error: Exception, *, reused: bool) -> None:
        idempotent = method in IDEMPOTENT
        self.repeatable: bool = reused and idempotent
        super().__init__(LOSSES[idempotent].format(method) if reused else reason_of(error))


# What a server of TLS 1.3 may send once it has read the client's part of the handshake (RFC 8446
# 4.4): of a missing or bad certificate, of its signature, or of what was negotiated (6.2).
REFUSALS = re.compile(
    r'alert[ _][\w ]*?(?:certificate|unknown[ _]ca|access[ _]denied|decrypt[ _]error'
    r'|handshake[ _]failure|insufficient[ _]security|protocol[ _]version)',
    re.IGNORECASE,
)


def is_refused_handshake(error: BaseException) -> bool:
    """Tell whether an exception of aiohttp's is for a TLS handshake that the peer refused.

    The handshake of TLS 1.3 is complete for a client before the server has checked its certificate,
    so what the server finds comes with the first read (RFC 8446 4.4.2.4).
    """
    cause: BaseException | None = error
    while cause is not None and not isinstance(cause, ssl.SSLError):
        cause = cause.__cause__
    return cause is not None and REFUSALS.search(str(cause)) is not None


def line_too_long(most: int) -> str:
    """Return the text of the error for a line of a response head of over ``most`` bytes."""
    return f'a header line or the status line of the response is over {most} bytes (max_header)'


def reason_of(error: BaseException) -> str:
    """Return the text of an exception, or the name of its class where it has none."""
    if isinstance(too_long := error.__cause__, LineTooLong):  # its text has a part of the line
        return line_too_long(too_long.args[1])
    # The message of aiohttp's ServerDisconnectedError may be a response head, which is no text.
    what = getattr(error, 'message', str(error))
    if isinstance(error, aiohttp.ClientConnectorError) and what.endswith('[None]'):
        what = what.removesuffix('None]') + f'{type(error.os_error).__name__}]'
    return what if isinstance(what, str) and what else type(error).__name__


# Some of aiohttp's messages repeat the URL, with its query, or say how TLS was set up, also where
# there is none: ``ssl:default``, or the repr of a context.
NOISE = re.compile(r'\?\S*| ssl:(?:\w+|<[^>]*>)(?= \[)')

# aiohttp's exceptions and ours; the first match counts.
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
    """Translate one of aiohttp's exceptions into ours, with the request in its text.

    A ``ConnectError`` promises that nothing was sent, so it becomes a ``ProtocolError`` once a
    request was sent.

    Args:
        error: What was raised.
        request: In normal form.
        sent: Whether this request, or one that was redirected to it, was sent before.

    Returns:
        Our exception; None where ``error`` is none of a connection, and is raised as it is.
    """
    for theirs, ours in TRANSLATIONS:
        if isinstance(error, theirs):
            text = f'{describe_request(request)}: {NOISE.sub("", reason_of(error))}'
            if sent and ours is ConnectError:
                return ProtocolError(f'{text}, after a request had been sent')
            return ours(text)
    return None
