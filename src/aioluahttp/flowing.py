"""Bodies of requests that a callback reads as they come."""

from __future__ import annotations

from collections.abc import AsyncIterator, Iterator

from aiohttp.web_protocol import RequestPayloadError

from .codings import Decoder, decoder_for
from .errors import BodyTooLarge, ProtocolError, Refused, TimedOut
from .framing import Framed
from .incoming import CONTINUE, Parts, check_coding, expects_continue
from .streams import Stream
from .tables import Request

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
    decoder = Decoder((), limit) if into == 'raw' else decoder_for(headers, limit)
    if decoder.stages:
        headers.popall('Content-Encoding')
        headers.popall('Content-Length', None)
    length = headers.get('Content-Length', '').lstrip('0')  # which may be thousands
    if limit is not None and int(length or 0) > limit:
        raise Refused(413)
    waits = expects_continue(connection, headers)
    chunks = _Chunks(connection, decoder, seconds, waits=waits)
    request['body'] = Stream(chunks, headers.get('Content-Type'))


class _Chunks:
    """The chunks of a body, decoded. Its errors say whose fault they are by their cause."""

    def __init__(
        self, connection: Framed, decoder: Decoder, seconds: float, *, waits: bool
    ) -> None:
        self._connection, self._body = connection, connection.body
        self._parts = Parts(connection, seconds)
        self._decoder = decoder
        self._decoded: Iterator[bytes] = iter(())
        self._waits = waits  # for a word that it is to be sent

    def __aiter__(self) -> AsyncIterator[bytes]:
        return self

    async def __anext__(self) -> bytes:
        connection = self._connection
        if connection.body is not self._body or not connection.busy:
            raise ProtocolError('the request is answered, and its body is gone')
        if self._waits and not connection.begun and connection.transport is not None:
            connection.transport.write(CONTINUE)
        self._waits = False
        try:
            return await self._next()
        except BodyTooLarge as error:
            raise BodyTooLarge(str(error)) from Refused(413)
        except TimeoutError as error:
            raise TimedOut(str(error)) from Refused(408)
        except (ProtocolError, RequestPayloadError, OSError) as error:
            raise ProtocolError(f'the body is broken: {error}') from Refused(400)

    async def _next(self) -> bytes:
        while (piece := next(self._decoded, None)) is None:
            try:
                part = await anext(self._parts)
            except StopAsyncIteration:
                self._decoder.finish()
                raise
            self._decoded = self._decoder.feed(part)
        return piece
