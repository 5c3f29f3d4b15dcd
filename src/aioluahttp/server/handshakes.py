"""TLS handshakes of a server: send the alert of one that fails, and log why it failed.

asyncio and uvloop close a connection as soon as OpenSSL reports that its handshake has failed, and
drop the alert that OpenSSL has written for the client. A client of TLS 1.3 without its certificate
could then not tell this from a server that hung up, for its own part of the handshake is complete.
"""

from __future__ import annotations

import asyncio
import contextlib
import logging
import socket
import ssl
from contextvars import Context, ContextVar, copy_context
from typing import Any

__all__ = ['AlertingObject', 'TlsHandshake', 'send_alerts']

logger: logging.Logger = logging.getLogger('aioluahttp')


class TlsHandshake:
    """An accepted connection on which a TLS handshake runs.

    Args:
        accepted: The socket of the connection.
        peer: Its address.

    Attributes:
        error: OpenSSL's reason for which the handshake failed; None if it did not, or hung.
    """

    __slots__ = ('accepted', 'error', 'peer')

    def __init__(self, accepted: socket.socket, peer: Any) -> None:
        self.accepted: socket.socket = accepted
        self.peer: Any = peer
        self.error: ssl.SSLError | None = None

    def context(self) -> Context:
        """Return a context for the task of this handshake, in which ``AlertingObject`` finds it."""
        context = copy_context()
        context.run(_current.set, self)
        return context

    def fail(self, error: ssl.SSLError) -> None:
        """Note and log the error, and half-close the connection once the alert is sent.

        The client may close it then. If it sends more instead, or nothing, the loop closes it.
        """
        self.error = error.with_traceback(None)
        self.log(error)
        loop = asyncio.get_running_loop()
        # A turn later, for uvloop sends at the end of a turn what was written in it.
        loop.call_soon(loop.call_soon, self._half_close)

    def log(self, error: OSError) -> None:
        """Log why the handshake failed."""
        address = self.peer[0] if isinstance(self.peer, tuple) else None
        reason = str(error) or 'the client hung up'
        logger.info('TLS handshake with %s failed: %s', address, reason)

    def _half_close(self) -> None:
        with contextlib.suppress(OSError):  # the client may have left
            self.accepted.shutdown(socket.SHUT_WR)


_current: ContextVar[TlsHandshake | None] = ContextVar('_current', default=None)


class AlertingObject(ssl.SSLObject):
    """A TLS object that lets the loop send an alert before it is told that a handshake failed."""

    def do_handshake(self) -> None:
        """Go on with the handshake; after a failure, ask for more data first."""
        handshake = _current.get()
        if handshake is not None and handshake.error is not None:
            raise handshake.error
        try:
            super().do_handshake()
        except (ssl.SSLWantReadError, ssl.SSLWantWriteError):
            raise
        except ssl.SSLError as error:
            if handshake is None:  # a context of the user's, in use elsewhere, too
                raise
            handshake.fail(error)
            raise ssl.SSLWantReadError from error


def send_alerts(context: ssl.SSLContext) -> None:
    """Let a context send the alerts of failed handshakes, unless it makes objects of its own."""
    if context.sslobject_class is ssl.SSLObject:
        context.sslobject_class = AlertingObject
