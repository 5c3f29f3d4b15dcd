"""Answers that are not one block of bytes, and so write themselves."""

from __future__ import annotations

from typing import Protocol

from .framing import Framed

__all__ = ['Sending']


class Sending(Protocol):
    """An answer that writes itself to its connection.

    ``Exchange`` awaits ``send`` once, in the task of the request. While that runs, the task is
    cancelled if the client leaves, whatever ``cancel_on_disconnect`` says.

    What ``send`` raises is a mistake of the callback: logged, and told to ``on_error``. It is
    answered with a 500 as long as ``connection.begun`` is False, and else the connection is closed
    where it stands. A ConnectionError of a client that has left is none.
    """

    status: int
    """For the access log, which is written after ``send``; that may set another."""

    async def send(self, connection: Framed) -> bool:
        """Write head and body by ``connection.write``, which waits for who reads slowly.

        Before the first byte set ``connection.begun``.

        Returns:
            Whether another request may follow on the connection. Ask ``connection.keeps`` for it
            after the last ``await``.
        """
        ...
