"""Send files as response bodies by sendfile(2): none of their bytes pass through this process.

The event loop's own ``sendfile`` is not used: it reports no progress, so a peer that stopped
reading could not be told from a slow one, and asyncio's waits for ever if the transport is closed
or aborted meanwhile. Here the transport stays as it is, and the file is written to a duplicate of
the socket's file descriptor. Ranges and conditions are in ``exchange/files``.
"""

from __future__ import annotations

import asyncio
import os

from ..exchange.response import FilePieces
from .framing import FramedConnection

__all__ = ['send_file']

SLICE = 256 * 1024  # bytes of one sendfile(2) call, after which other connections get their turn


async def send_file(connection: FramedConnection, pieces: FilePieces) -> bool:
    """Send a file, or a range of it, with back-pressure, after the head that was written before.

    Returns:
        Whether it was sent. False, and nothing was, where sendfile(2) cannot be used: over TLS, on
        this system, or for this file.

    Raises:
        ConnectionError: The client has left.
        OSError: The file became shorter.
    """
    transport = connection.transport
    if connection.is_tls or not hasattr(os, 'sendfile') or transport is None:
        return False
    await connection.drained()  # the whole head must be sent before the file
    if transport.is_closing():
        raise ConnectionResetError('the client has left')
    out = os.dup(transport.get_extra_info('socket').fileno())
    try:
        return await _send(connection, out, pieces)
    except ConnectionError:  # the transport has not noticed it yet
        transport.abort()
        raise
    finally:
        os.close(out)


async def _send(connection: FramedConnection, out: int, pieces: FilePieces) -> bool:
    file, start, left = pieces.file.fileno(), pieces.start, pieces.size
    while left:
        try:
            sent = os.sendfile(out, file, start, min(SLICE, left))
        except BlockingIOError:
            await _writable(connection, out)
            continue
        except OSError as error:
            if left < pieces.size or isinstance(error, ConnectionError):
                raise
            return False
        if not sent:
            raise pieces.shortened()
        start += sent
        left -= sent
        pieces.sent += sent
        connection.count_written(sent)
        await asyncio.sleep(0)
    return True


async def _writable(connection: FramedConnection, out: int) -> None:
    """Wait until the socket's send buffer has room."""
    loop = asyncio.get_running_loop()
    writable = asyncio.Event()
    loop.add_writer(out, writable.set)
    try:
        await connection.wait_for_peer(writable.wait())
    finally:
        loop.remove_writer(out)
