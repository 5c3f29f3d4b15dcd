"""Answers that are not one block of bytes, and so write themselves."""

from __future__ import annotations

import asyncio
from typing import Any, Protocol

from aiohttp.http import SERVER_SOFTWARE
from aiohttp.http_writer import StreamWriter
from aiohttp.web_request import BaseRequest
from multidict import CIMultiDict

from .framing import Framed

__all__ = ['Sending', 'Writer', 'as_aiohttp_has_it']


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


class Writer(StreamWriter):
    """What aiohttp's responses write with, which makes no mention of aiohttp."""

    output_size: int
    length: int | None

    def __init__(self, connection: Framed, loop: asyncio.AbstractEventLoop) -> None:
        super().__init__(connection, loop)
        self.connection = connection

    async def write_headers(self, status_line: str, headers: CIMultiDict[str]) -> None:
        """Write the head of an answer: aiohttp's word for it."""
        if headers.get('Server') == SERVER_SOFTWARE:
            del headers['Server']
        await super().write_headers(status_line, headers)
        self.connection.begun = True

    def sent(self, size: int) -> None:
        """Count bytes of the body that went another way."""
        self.output_size += size
        if self.length is not None:
            self.length -= size

    async def drain(self) -> None:
        """Wait while the peer reads, as for every answer."""
        await self.connection.drained()


def as_aiohttp_has_it(connection: Framed, writer: Writer, loop: Any) -> BaseRequest:
    """Make aiohttp's request of the one that was taken up, for a response of aiohttp's.

    ``await response.prepare(request)`` then writes to the connection.
    """
    task: Any = connection.task or asyncio.current_task()  # an eager one is not noted yet
    return BaseRequest(connection.head, connection.body, connection, writer, task, loop)
