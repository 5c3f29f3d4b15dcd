"""Bodies of requests that a callback reads as they come off a connection."""

from __future__ import annotations

from aiohttp.web_protocol import RequestPayloadError

from ..bodies.codings import Decoder
from ..errors import ProtocolError
from ..exchange.request_body import Flow, open_flow, undoing
from ..tables.models import Request
from .framing import Framed
from .incoming import CONTINUE, Parts, check_coding, expects_continue

__all__ = ['open_body']


def open_body(
    connection: Framed, request: Request, into: str, limit: int | None, seconds: float
) -> None:
    """Put the body of a request into its table as a stream, of which nothing is read yet.

    Args:
        into: ``'stream'``, or ``'raw'`` to leave codings as they are.
        limit: Bytes of it; ``None`` is no limit.
        seconds: How long to wait for the next part of it.

    Raises:
        Refused: The body passes the limit, or is sent or expected in a way unknown.
    """
    headers = request['headers']
    check_coding(connection, headers)
    decoder = undoing(into, headers, limit)
    waits = expects_continue(connection, headers)
    open_flow(_Chunks(connection, decoder, seconds, waits=waits), request)


class _Chunks(Flow):
    """The chunks of a body as they come off a connection."""

    FAULTS = (*Flow.FAULTS, RequestPayloadError)

    def __init__(
        self, connection: Framed, decoder: Decoder, seconds: float, *, waits: bool
    ) -> None:
        super().__init__(Parts(connection, seconds), decoder)
        self._connection, self._body = connection, connection.body
        self._waits = waits  # for a word that it is to be sent

    async def __anext__(self) -> bytes:
        connection = self._connection
        if connection.body is not self._body or not connection.busy:
            raise ProtocolError('the request is answered, and its body is gone')
        if self._waits and not connection.begun and connection.transport is not None:
            connection.transport.write(CONTINUE)
        self._waits = False
        return await super().__anext__()
