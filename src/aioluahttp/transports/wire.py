"""One request of another's, and its answer, over a connection of the session's pool.

The head goes out as it was made, byte for byte: aiohttp would leave out what is no UTF-8, and add
fields of its own. The body goes out while the answer may come already, and it is up to the answer
how much of it: where that ends first, the rest is not sent, and the connection closed. Whatever
breaks a body off breaks the connection off, so that no origin takes a part of it for the whole.
"""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator
from typing import Any

import aiohttp
import yarl
from aiohttp.http_writer import StreamWriter

from ..bodies.chunks import close
from ..errors import TableError, TimedOut
from ..headers import Headers
from ..tables.models import Request
from .direct import connect, final_head, peer_of, take
from .failures import LostConnection
from .response_body import Body, Inflow, Received, Terms

__all__ = ['Line', 'ask']


class Line:
    """A connection to an origin, and the body that is sent over it.

    Attributes:
        error: What broke the body off that was to be sent.
        content: The body of the answer, once that has begun.
    """

    def __init__(self, connection: Any, seconds: float | None) -> None:
        self.connection = connection
        self.protocol: Any = connection.protocol
        self.error: Exception | None = None
        self.content: aiohttp.StreamReader | None = None
        self._seconds = seconds
        self._task: asyncio.Task[None] | None = None
        self._sent = True

    def send(self, head: bytes, body: Any, length: int | None, seconds: float | None) -> None:
        """Send a head, and begin to send its body: bytes, an iterator of them, or None.

        Args:
            head: As it is.
            body: What follows it.
            length: Bytes of the body; None for chunks.
            seconds: How long to wait for the answer once all of it is sent.
        """
        self.protocol.transport.write(head + body if isinstance(body, bytes) else head)
        if body is None or isinstance(body, bytes):
            self._expect(seconds)
        else:
            self._sent = False
            sending = self._send(body, length, seconds)
            self._task = asyncio.get_running_loop().create_task(sending, name='request body')

    def _expect(self, seconds: float | None) -> None:
        if self.content is None:  # a body that comes has timers of its own
            self.protocol.read_timeout = seconds
            self.protocol.start_timeout()

    async def _send(
        self, chunks: AsyncIterator[bytes], length: int | None, seconds: float | None
    ) -> None:
        try:
            self._sent = await self._all(chunks, length)
            if self._sent:
                self._expect(seconds)
        except Exception as error:
            self.error = error
            self.protocol.set_exception(error)
            if self.content is not None:
                self.content.set_exception(error)
        finally:
            await close(chunks)

    async def _all(self, chunks: AsyncIterator[bytes], length: int | None) -> bool:
        """Send all chunks; give whether the origin took them, for how it ends tells its answer."""
        left = length
        async for chunk in chunks:
            if left is not None:
                left -= len(chunk)
                if left < 0:
                    raise TableError("'body' is longer than its Content-Length")
            if chunk and not await self._write(chunk if length is not None else _chunk(chunk)):
                return False
        if left:
            raise TableError("'body' is shorter than its Content-Length")
        return length is not None or await self._write(b'0\r\n\r\n')

    async def _write(self, data: bytes) -> bool:
        transport = self.protocol.transport
        if transport is None or transport.is_closing():
            return False
        transport.write(data)
        try:
            async with asyncio.timeout(self._seconds):
                await StreamWriter(self.protocol, asyncio.get_running_loop()).drain()
        except TimeoutError as error:
            what = f'the origin took nothing more of the body within {self._seconds} s'
            raise TimedOut(what) from error
        except (aiohttp.ClientError, OSError):
            return False
        return True

    def release(self) -> None:
        """Give the connection back, unless it is in the middle of a request."""
        if self._sent:
            self.connection.release()
        else:
            self.close()

    def close(self) -> None:
        """Close the connection, and send no more."""
        if self._task is not None:
            self._task.cancel()
        self.connection.close()


def _chunk(data: bytes) -> bytes:
    return b'%x\r\n%b\r\n' % (len(data), data)


async def ask(
    session: aiohttp.ClientSession,
    request: Request,
    length: int | None,
    origin: yarl.URL,
    arguments: dict[str, Any],
    terms: Terms,
) -> tuple[Received, Line]:
    """Send a request whose headers are whole, and read the head of the answer.

    Args:
        session: Has the pool.
        request: In normal form. Its body is bytes, an iterator of them, or absent.
        length: Of the body; None for chunks.
        origin: Where it goes.
        arguments: ``timeout``, and ``ssl`` and ``server_hostname`` where there are some.
        terms: Those on which the body of the answer is read.

    Returns:
        The answer, and the line that it came over: it is the answer's, but for one with 101.
    """
    method, body, timeout = request['method'], request.get('body'), arguments['timeout']
    switches = 'Upgrade' in request['headers']
    connection = await connect(session, origin, arguments)
    line = Line(connection, terms.seconds)
    protocol, transport = line.protocol, connection.transport
    try:
        reused = take(protocol)
        protocol.set_response_params(
            skip_payload=method == 'HEAD', read_until_eof=True, auto_decompress=False
        )
        try:
            line.send(_head(request), body, length, timeout.sock_read)
            head, content = await final_head(protocol, switches=switches)
        except (aiohttp.ClientOSError, aiohttp.ServerDisconnectedError) as error:
            again = reused and (body is None or isinstance(body, bytes))
            raise LostConnection(method, error, reused=again) from error
        if line.error is not None:
            raise line.error
    except BaseException as error:
        line.close()
        if line.error is not None and isinstance(error, Exception):
            raise line.error from line.error.__cause__
        raise
    headers = Headers(head.headers)
    peer, tls = peer_of(transport), transport.get_extra_info('ssl_object')
    data: Any = b''
    if head.code != 101:
        line.content = content
        data = Body(headers, Inflow(headers, content, protocol, tls, line), terms)
    return Received(head.code, head.reason, head.version, headers, data, peer), line


def _head(request: Request) -> bytes:
    lines = [f'{request["method"]} {request["url"]} HTTP/1.1']
    lines += map(': '.join, request['headers'].items())
    return '\r\n'.join([*lines, '\r\n']).encode('utf-8', 'surrogateescape')
