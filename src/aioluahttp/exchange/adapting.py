"""One exchange under an engine of others: a table to the handler, its table out."""

from __future__ import annotations

import logging
from collections.abc import AsyncIterator, Sequence
from contextlib import nullcontext
from typing import Any, Protocol

from ..errors import Refused
from ..headers import Headers
from ..semantics import PHRASES
from ..tables.checks import STREAMS
from ..tables.handlers import taken
from ..tables.models import Request, Response
from ..websockets.handshake import to_pairs
from ..websockets.socket import End, Socket, dismiss, talk
from .forwarded import Proxies
from .request_body import Flow, open_flow, take_whole, undoing
from .responder import Handling, refusal
from .response import Writes, answer, until_left

__all__ = ['Adapter', 'Line']

logger: logging.Logger = logging.getLogger('aioluahttp')


class Line(Writes, Protocol):
    """A request that an engine has taken up, and the way of its answer.

    Attributes:
        method: As it came.
        announced: Whether it has a body, whatever its head says.
    """

    method: str
    announced: bool

    async def head(self, proxies: Proxies) -> Request:
        """Make its table, but for its body; raises ``Refused``."""
        ...

    def parts(self, seconds: float) -> AsyncIterator[bytes]:
        """Read its body, each part within a time."""
        ...

    def refuses(
        self, options: dict[str, Any], request: Request
    ) -> tuple[int, Sequence[str]] | None:
        """Find why it opens no WebSocket, as ``handshakes.refusal``."""

    async def open(
        self, options: dict[str, Any], request: Request, headers: Headers
    ) -> tuple[End, str | None]:
        """Open a WebSocket, and give its end here, and the subprotocol."""
        ...

    def cut(self) -> None:
        """Break the answer off, so that its client can tell."""


class Adapter(Handling):
    """Answers requests of an engine with those of a handler."""

    async def __call__(self, line: Line) -> None:
        """Answer the request that an engine has taken up."""
        try:
            request = await line.head(self.settings.trusted_proxies)
        except Refused as refused:
            logger.info('bad request: %s', refused.status)
            await answer(line, line.method, Headers(), refusal(refused.status))
            return
        # For the logs: the handler may change its table.
        target, asked = request['url'], request['headers']
        said = f'{request.get("ip", "-")} "{line.method} {target} HTTP/{request["version"]}"'
        try:
            response, status = await self._answered(line, request, target, asked)
        except Exception as error:
            line.cut()
            left = line.gone and isinstance(error, ConnectionError)
            if not (left or isinstance(error.__cause__, Refused)):
                await self.mistaken(error, line.method, target, request)
            return
        response['status'] = status
        if self.settings.access_log is not None:
            await self.log(said, request, response)

    async def _answered(
        self, line: Line, request: Request, target: str, asked: Headers
    ) -> tuple[Response[Any], int]:
        """Answer, and give the table of the answer and its status."""
        watches = until_left if self.settings.cancel_on_disconnect else nullcontext
        try:
            async with watches(line):
                table = await self.returned(line, request)
            response = await taken(table)
            if 'websocket' in response:
                try:
                    return response, await self._socket(line, request, response)
                finally:
                    await dismiss(response['websocket']['callback'])
            return response, await answer(line, line.method, asked, response)
        except Exception as error:
            if line.begun or (line.gone and isinstance(error, ConnectionError)):
                raise
            response = await self.failed(error, line.method, target, request)
            return response, await answer(line, line.method, asked, response)

    def announces(self, source: Line, request: Request) -> bool:
        """Tell whether there is to be a body."""
        return source.announced or super().announces(source, request)

    async def take_body(self, source: Line, request: Request, into: str, limit: int | None) -> None:
        """Read the body of a request into its table, or open the stream that it is to be."""
        parts = source.parts(self.settings.body_timeout)
        if into in STREAMS:
            open_flow(Flow(parts, undoing(into, request['headers'], limit)), request)
        else:
            await take_whole(parts, request, into, limit)

    async def _socket(self, line: Line, request: Request, response: Response[Any]) -> int:
        """Refuse, or agree and give the WebSocket to its callback (RFC 6455 4.2)."""
        options = response['websocket']
        refused = line.refuses(options, request)
        if refused:
            status, fields = refused
            logger.info('no WebSocket for %s: %s', request.get('ip'), status)
            body = PHRASES[status].encode()
            plain = {'Content-Type': 'text/plain; charset=utf-8', 'Content-Length': str(len(body))}
            headers = Headers([*to_pairs(fields), *plain.items()])
            await line.whole(status, None, headers, body)
            return status
        end, protocol = await line.open(options, request, response['headers'])
        await talk(options['callback'], end, Socket(end, protocol, request, response))
        return 101
