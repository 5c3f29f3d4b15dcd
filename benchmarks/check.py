"""What a server must answer before it counts."""

from __future__ import annotations

import json
from dataclasses import dataclass
from http.client import HTTPConnection, HTTPException

__all__ = ['ECHO', 'HELLO', 'JSON', 'Asked', 'WrongAnswer', 'check']


class WrongAnswer(Exception):
    """A subject answered otherwise than it must; the text says how."""


@dataclass(frozen=True)
class Asked:
    """A request, and what must come back.

    Attributes:
        body: To send; ``None`` for a GET.
        answer: The bytes that must come.
        kind: Their media type, parameters apart; that of the body too.
        parsed: Whether it is enough that they mean the same JSON: one writer puts spaces
            where another does not.
    """

    body: bytes | None
    answer: bytes
    kind: str
    parsed: bool = False

    def accepts(self, body: bytes) -> bool:
        """Tell whether the body of an answer is right."""
        return body == self.answer or (self.parsed and json.loads(body) == json.loads(self.answer))


def _document() -> bytes:
    """Write a JSON text of exactly 1 KiB: numbers, words, nesting."""
    rows = [{'id': n, 'name': f'row {n}', 'price': n * 1.25, 'on': n % 2 == 0} for n in range(16)]
    empty = len(json.dumps({'rows': rows, 'note': ''}))
    return json.dumps({'rows': rows, 'note': 'x' * (1024 - empty)}).encode()


DOCUMENT = _document()
HELLO = Asked(None, b'Hello world', 'text/plain')
ECHO = Asked(DOCUMENT, DOCUMENT, 'application/json')
JSON = Asked(DOCUMENT, DOCUMENT, 'application/json', parsed=True)


def check(port: int, asked: Asked) -> None:
    """Ask twice on one connection, and compare status, headers and body.

    Raises:
        WrongAnswer: Something differs, or the connection was not kept.
        OSError: No connection came about.
    """
    connection = HTTPConnection('127.0.0.1', port, timeout=5)
    connection.connect()
    connection.auto_open = 0  # to connect anew would hide that the connection was not kept
    try:
        for _ in range(2):
            headers = {} if asked.body is None else {'Content-Type': asked.kind}
            method = 'GET' if asked.body is None else 'POST'
            connection.request(method, '/', asked.body, headers)
            answer = connection.getresponse()
            body = answer.read()
            length, kind = answer.getheader('Content-Length'), answer.headers.get_content_type()
            got = (answer.status, length, kind)
            if got != (200, str(len(body)), asked.kind) or not asked.accepts(body):
                raise WrongAnswer(f'answered {got} {body!r}')
    except (HTTPException, ConnectionError) as error:
        raise WrongAnswer(f'did not answer two requests: {error!r}') from error
    finally:
        connection.close()
