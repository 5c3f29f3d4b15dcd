"""A request off the wire made a table (RFC 9112 3)."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator, Mapping
from functools import lru_cache
from typing import Any

from aiohttp.http_writer import HttpVersion11
from aiohttp.streams import StreamReader
from aiohttp.web_protocol import RequestPayloadError
from aiohttp.web_request import BaseRequest

from . import url
from .checks import PORTS, check_host, check_port
from .codings import decoded
from .conversion import body_into
from .errors import BodyTooLarge, ProtocolError, TableError
from .forwarded import NOBODY, Asked, Proxies, asked_by
from .headers import Headers
from .tables import Request

__all__ = ['Refused', 'read_body', 'read_head']

CONTINUE = b'HTTP/1.1 100 Continue\r\n\r\n'


class Refused(Exception):
    """The request cannot be given to the handler; the status says why."""

    def __init__(self, status: int) -> None:
        super().__init__(status)
        self.status = status


def read_head(raw: BaseRequest, proxies: Proxies) -> Request:
    """Make the table of a request but for its body.

    Raises:
        Refused: The request line or Host is none that RFC 9112 3.2 allows, or a trusted proxy
            says what cannot be.
    """
    headers = Headers(raw.headers)
    version = raw.version
    if version.major != 1:
        raise Refused(505)
    if raw.method == 'CONNECT':
        raise Refused(501)
    target = raw.raw_path
    if target[:1] != '/' or '#' in target:
        target = _origin_form(target, raw.method, headers)
    path, _, query = target.partition('?')
    connection: Any = raw.protocol
    asked = _asked(connection.peer, headers, proxies)
    # The scheme is not what an absolute target says.
    scheme = asked.scheme or ('https' if connection.ssl_context else 'http')
    host, port = _sent_to(raw, asked.host or headers.get('Host'))
    request = Request(
        method=raw.method,
        url=target,
        scheme=scheme,
        host=host,
        port=port or PORTS[scheme],
        path=path,
        query=query,
        headers=headers,
        version='1.1' if version is HttpVersion11 else f'1.{version.minor}',
    )
    if asked.ip:
        request['ip'] = asked.ip
    return request


def _asked(peer: str | None, headers: Headers, proxies: Proxies) -> Asked:
    """Find out who sent the request."""
    if proxies is NOBODY:
        return Asked(peer)
    try:
        return asked_by(peer, headers, proxies)
    except ValueError as error:
        raise Refused(400) from error


def _origin_form(target: str, method: str, headers: Headers) -> str:
    """Reduce the target to path and query; an absolute one's authority becomes Host."""
    if '#' in target:
        raise Refused(400)
    if target == '*' and method == 'OPTIONS':
        return target
    parts = url.split(target)
    if parts.get('scheme', '').lower() not in PORTS or not parts.get('host'):
        raise Refused(400)
    port = f':{parts["port"]}' if parts.get('port') else ''
    headers['Host'] = parts['host'] + port
    return parts.get('path', '/') + (f'?{parts["query"]}' if 'query' in parts else '')


def _sent_to(raw: BaseRequest, host: str | None) -> tuple[str, int | None]:
    """Give the host and port that the request was sent to (RFC 9112 3.2)."""
    # That there is one, and no more, is for the parser to see; HTTP/1.0 may have none.
    if host:
        try:
            return _authority(host)
        except TableError as error:
            raise Refused(400) from error
    name = raw.transport.get_extra_info('sockname') if raw.transport else None
    return name[:2] if isinstance(name, tuple) else ('localhost', None)


@lru_cache(1024)
def _authority(value: str) -> tuple[str, int | None]:
    parts: Mapping[str, str] = url.split('//' + value)
    if not parts.keys() <= {'host', 'port'}:
        raise TableError.of('host', value, 'a host and a port')
    port = check_port(parts['port']) if parts.get('port') else None
    return check_host(parts['host']), port


async def read_body(
    raw: BaseRequest, request: Request, into: str, limit: int | None, seconds: float
) -> None:
    """Read the body of a request into its table; the headers then describe what is there.

    Args:
        into: What the body becomes.
        limit: Bytes of it, decoded; ``None`` is no limit.
        seconds: How long to wait for the next part of it.

    Raises:
        Refused: The body passes the limit, is broken, comes too slowly, or is sent or expected
            in a way unknown.
    """
    headers = request['headers']
    announced = 'Content-Length' in headers or 'Transfer-Encoding' in headers
    if not announced and request['method'] != 'POST':
        return
    # RFC 9112 6.1. HTTP/1.0 has no such thing, so that who sent it on may have read another end.
    if 'Transfer-Encoding' in headers and raw.version < (1, 1):
        raise Refused(400)
    if headers.get('Transfer-Encoding', 'chunked').lower() != 'chunked':
        raise Refused(501)
    try:
        # What is compressed may be shorter once decoded, which is what the limit counts.
        length = 0 if 'Content-Encoding' in headers else int(headers.get('Content-Length', '0'))
        if limit is not None and length > limit:
            raise Refused(413)
        await _expected(raw, headers)
        if raw.content.is_eof() and 'Content-Encoding' not in headers:
            data = raw.content.read_nowait()  # all of it came with the head, as it is to be
            if limit is not None and len(data) > limit:
                raise Refused(413)
        else:
            data = await decoded(_Chunks(raw.content, seconds), headers, limit)
        request['body'] = body_into(into, data, headers)
    except BodyTooLarge as error:
        raise Refused(413) from error
    except TimeoutError as error:
        raw.content.feed_eof()  # or aiohttp would go on waiting for the rest
        raise Refused(408) from error
    # ValueError is JSON's, or int's; the others come of a body that is broken or cut off.
    except (ProtocolError, ValueError, RequestPayloadError, OSError) as error:
        raise Refused(400) from error


class _Chunks:
    """The chunks of a body, each within a time. No generator: it would have to be closed."""

    def __init__(self, content: StreamReader, seconds: float) -> None:
        self._content = content
        self._seconds = seconds

    def __aiter__(self) -> AsyncIterator[bytes]:
        return self

    async def __anext__(self) -> bytes:
        if data := self._content.read_nowait():  # raises where the body is broken
            return data
        if self._content.at_eof():
            raise StopAsyncIteration
        async with asyncio.timeout(self._seconds):
            return await self._content.readany()


async def _expected(raw: BaseRequest, headers: Headers) -> None:
    """Answer ``Expect`` (RFC 9110 10.1.1)."""
    expectation = headers.get('Expect')
    if expectation is None or raw.version < (1, 1):
        return
    if expectation.lower() != '100-continue':
        raise Refused(417)
    await raw.writer.write(CONTINUE)
    raw.writer.output_size = 0  # or aiohttp would take the answer for begun
