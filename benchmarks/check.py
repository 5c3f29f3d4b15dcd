"""Check the responses of a server before it is measured."""

from __future__ import annotations

import json
from dataclasses import dataclass
from http.client import HTTPConnection, HTTPException

__all__ = ['ECHO', 'HELLO', 'JSON', 'LONG_ECHO', 'TEXT', 'Sample', 'WrongResponse', 'check']


class WrongResponse(Exception):
    """A subject sent a wrong response; the text says how."""


@dataclass(frozen=True)
class Sample:
    """A request, and the response that it must get.

    Attributes:
        body: Body of the request; ``None`` for a GET.
        response: Body of the response.
        kind: Media type of both bodies, without parameters.
        parsed: Whether the response need only be equal JSON: libraries differ in where they
            write spaces.
    """

    body: bytes | None
    response: bytes
    kind: str
    parsed: bool = False

    def accepts(self, body: bytes) -> bool:
        """Return whether the body of a response is right."""
        same = body == self.response
        return same or (self.parsed and json.loads(body) == json.loads(self.response))


def _document() -> bytes:
    """Return a JSON text of exactly 1 KiB: numbers, words, nesting."""
    rows = [{'id': n, 'name': f'row {n}', 'price': n * 1.25, 'on': n % 2 == 0} for n in range(16)]
    empty = len(json.dumps({'rows': rows, 'note': ''}))
    return json.dumps({'rows': rows, 'note': 'x' * (1024 - empty)}).encode()


DOCUMENT = _document()
HELLO = Sample(None, b'Hello world', 'text/plain')
ECHO = Sample(DOCUMENT, DOCUMENT, 'application/json')
LONG_ECHO = Sample(DOCUMENT * 64, DOCUMENT * 64, 'application/json')
TEXT = Sample(None, b'x' * 100_000, 'text/plain')
JSON = Sample(DOCUMENT, DOCUMENT, 'application/json', parsed=True)


def check(port: int, sample: Sample) -> None:
    """Send two requests on one connection, and check status, headers and body.

    Raises:
        WrongResponse: Something differs, or the connection was not kept alive.
        OSError: The connection failed.
    """
    connection = HTTPConnection('127.0.0.1', port, timeout=5)
    connection.connect()
    connection.auto_open = 0  # a reconnect would hide that the connection was not kept alive
    try:
        for _ in range(2):
            headers = {} if sample.body is None else {'Content-Type': sample.kind}
            method = 'GET' if sample.body is None else 'POST'
            connection.request(method, '/', sample.body, headers)
            response = connection.getresponse()
            body = response.read()
            length, kind = response.getheader('Content-Length'), response.headers.get_content_type()
            got = (response.status, length, kind)
            if got != (200, str(len(body)), sample.kind) or not sample.accepts(body):
                raise WrongResponse(f'the response is {got} {body!r}')
    except (HTTPException, ConnectionError) as error:
        raise WrongResponse(f'did not respond to two requests: {error!r}') from error
    finally:
        connection.close()
