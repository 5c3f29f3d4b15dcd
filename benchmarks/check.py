"""Check the responses of a server before it is measured."""

from __future__ import annotations

import json
import ssl
from collections.abc import Mapping
from dataclasses import dataclass, field
from http.client import HTTPConnection, HTTPException, HTTPSConnection

__all__ = [
    'BROWSER',
    'ECHO',
    'GREETING',
    'HELLO',
    'LONG_ECHO',
    'LONG_TEXT',
    'MANY',
    'OBJECTS',
    'OBJECTS_OUT',
    'PARSED',
    'TEXT',
    'TLS',
    'Sample',
    'WrongResponse',
    'check',
]

MANY = 20  # headers, where there are many
GREETING = 'Hello world'
LONG_TEXT = GREETING.ljust(100_000, 'x')
OBJECTS = [{'id': n, 'price': n * 1.25, 'on': True, 'text': GREETING} for n in range(100)]


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
        headers: Of the request.
        tls: Whether the server uses TLS.
    """

    body: bytes | None
    response: bytes
    kind: str
    parsed: bool = False
    headers: Mapping[str, str] = field(default_factory=dict)
    tls: bool = False

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
TEXT = Sample(None, LONG_TEXT.encode(), 'text/plain')
PARSED = Sample(DOCUMENT, DOCUMENT, 'application/json', parsed=True)
OBJECTS_OUT = Sample(None, json.dumps(OBJECTS).encode(), 'application/json', parsed=True)
TLS = Sample(None, b'Hello world', 'text/plain', tls=True)
# With Host, 11 headers, as a browser sends them.
BROWSER = Sample(
    None,
    b'Hello world',
    'text/plain',
    headers={
        'User-Agent': 'Mozilla/5.0 (X11; Linux x86_64; rv:140.0) Gecko/20100101 Firefox/140.0',
        'Accept': 'text/html,application/xhtml+xml,application/xml;q=0.9,*/*;q=0.8',
        'Accept-Language': 'en-US,en;q=0.5',
        'Accept-Encoding': 'gzip, deflate, br, zstd',
        'Cookie': 'session=0123456789abcdef; theme=dark',
        'Upgrade-Insecure-Requests': '1',
        'Sec-Fetch-Dest': 'document',
        'Sec-Fetch-Mode': 'navigate',
        'Sec-Fetch-Site': 'none',
        'Priority': 'u=0, i',
    },
)


def check(port: int, sample: Sample) -> None:
    """Send two requests on one connection, and check status, headers and body.

    Raises:
        WrongResponse: Something differs, or the connection was not kept alive.
        OSError: The connection failed.
    """
    connection = _connection(port, tls=sample.tls)
    connection.connect()
    connection.auto_open = 0  # a reconnect would hide that the connection was not kept alive
    try:
        for _ in range(2):
            headers = dict(sample.headers)
            if sample.body is not None:
                headers['Content-Type'] = sample.kind
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


def _connection(port: int, *, tls: bool) -> HTTPConnection:
    if not tls:
        return HTTPConnection('127.0.0.1', port, timeout=5)
    unchecked = ssl.SSLContext(ssl.PROTOCOL_TLS_CLIENT)
    unchecked.check_hostname = False
    unchecked.verify_mode = ssl.CERT_NONE
    return HTTPSConnection('127.0.0.1', port, timeout=5, context=unchecked)
