"""The answer that makes a WebSocket of its connection."""

from __future__ import annotations

import logging
from typing import Any

from ..headers import ONE_HOP
from ..tables.models import Request, Response
from ..websockets.connection import Channel
from ..websockets.handshake import granted, refusal, without_handshake
from ..websockets.socket import Socket, dismiss, talk
from .encode import plain_answer
from .framing import Framed

__all__ = ['Upgrade']

logger: logging.Logger = logging.getLogger('aioluahttp')


class Upgrade:
    """Refuses, or agrees and gives the WebSocket to its callback (RFC 6455 4.2).

    Args:
        request: As the handler was given it.
        response: What it answered, in normal form.
    """

    def __init__(self, request: Request, response: Response[Any]) -> None:
        self.status: int = 101
        self._request = request
        self._response = response
        self._options = response['websocket']

    async def send(self, connection: Framed) -> bool:
        """Answer, and let the callback talk; the connection then closes, and the callback."""
        try:
            return await self._send(connection)
        finally:
            await dismiss(self._options['callback'])

    async def _send(self, connection: Framed) -> bool:
        refused = refusal(self._options, self._request, upgrades=connection.upgrade)
        connection.begun = True
        if refused:
            self.status, fields = refused
            logger.info('no WebSocket for %s: %s', connection.peer, self.status)
            await connection.write(plain_answer(self.status, connection.head.method, *fields).data)
            return False
        terms, fields = granted(self._options, self._request)
        await connection.write(self._head(fields))
        if connection.transport is None:
            raise ConnectionResetError('the client has left')
        connection.cancels = False  # the socket tells of a client that leaves
        channel = Channel(connection, terms, is_client=False, wrote=connection.wrote)
        connection.become(channel)
        socket = Socket(channel, terms.protocol, self._request, self._response)
        await talk(self._options['callback'], channel, socket)
        return False

    def _head(self, fields: list[str]) -> bytes:
        headers = without_handshake(self._response['headers'])
        kept = [f'{name}: {one}' for name, one in headers.items() if name.lower() not in ONE_HOP]
        lines = '\r\n'.join(('HTTP/1.1 101 Switching Protocols', *fields, *kept, '\r\n'))
        return lines.encode('utf-8', 'surrogateescape')
