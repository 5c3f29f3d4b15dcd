"""Responses printed: as a message for people, as a table or as a body for programs."""

from __future__ import annotations

import json
import re
import sys
from collections.abc import Iterator, Mapping
from os import PathLike, fspath
from pprint import pformat
from typing import Any

from ..headers import Headers
from ..tables.models import DECODED, Response

__all__ = ['SHAPES', 'layout', 'print_body', 'print_response']

WIDTH = 96
LONG = 256 * 1024  # characters above which a body is not coloured: 1 MiB takes 1 s

# Names of pygments' lexers, which are also the last words of media types.
LEXERS = frozenset('json xml html css javascript yaml toml markdown python sql graphql'.split())
STYLES = {1: 'blue', 2: 'bold green', 3: 'bold cyan', 4: 'bold yellow', 5: 'bold red'}

# Control characters would be commands to the terminal; a lone surrogate cannot be printed.
CONTROL = re.compile('[\x00-\x08\x0b-\x1f\x7f-\x9f\ud800-\udfff]')
OPENING, CLOSING = frozenset('[{'), frozenset(']}')
TOKEN = re.compile(r'"(?:[^"\\]|\\.)*"|[][{}:,]|[^][{}:,\s"]+')

Part = tuple[str, str]  # a text and its style


def literal(value: Any) -> Any:
    """Return a value that has a Python literal: headers as pairs, a path as text."""
    match value:
        case Headers():
            return list(value.items())
        case Mapping():
            return {key: literal(one) for key, one in value.items()}
        case list():
            return [literal(one) for one in value]
        case PathLike():
            return fspath(value)
    return value


def show_for_people(response: Response[Any]) -> None:
    """Print status, headers and body on a terminal; else the table as a Python literal."""
    if sys.stdout.isatty():
        _show([*_head(response), ('\n', '')], response)
    else:
        print(pformat(literal(response), sort_dicts=False, width=WIDTH))


def show_literal(response: Response[Any]) -> None:
    """Print a table as a Python literal in one line."""
    print(repr(literal(response)))


def show_json(response: Response[Any]) -> None:
    """Print a table as JSON in one line, as ``plain`` returns it."""
    print(json.dumps(Response(literal(response)).plain()))


def show_body(response: Response[Any]) -> None:
    """Print the body alone: laid out on a terminal; else its bytes, a path or a line of JSON."""
    body = response['body']
    if sys.stdout.isatty():
        _show([], response)
    elif isinstance(body, PathLike):
        print(fspath(body))
    elif body is None or isinstance(body, DECODED):
        print(json.dumps(body))
    else:
        sys.stdout.buffer.write(response.bytes())


SHAPES = {None: show_for_people, 'repr': show_literal, 'json': show_json, 'body': show_body}


def print_response(response: Response[Any], shape: str | None = None) -> None:
    """Print a response: ``None`` for people, ``'body'``, or as a table: ``'repr'``, ``'json'``."""
    SHAPES[shape](response)


async def print_body(body: Any) -> None:
    """Print a body as it arrives: bytes as they are, events as JSON, one in a line."""
    async with body:
        async for one in body:
            data = one if isinstance(one, bytes) else f'{json.dumps(one)}\n'.encode()
            sys.stdout.buffer.write(data)
            sys.stdout.buffer.flush()


def _head(response: Response[Any]) -> Iterator[Part]:
    status = response['status']
    yield f'HTTP/{response.get("version", "1.1")} ', 'blue'
    yield f'{status} {response.get("reason") or ""}'.strip(), STYLES.get(status // 100, 'bold')
    yield '\n', ''
    for name, value in response['headers'].items():
        yield name, 'cyan'
        yield f': {value}\n', ''


def _body_of(response: Response[Any]) -> Part:
    """Return the body as text for people, and the name of its lexer or ``''``."""
    body = response['body']
    if isinstance(body, PathLike):
        return f'(written to {fspath(body)})', ''
    if body is None or isinstance(body, DECODED):
        return json.dumps(body, indent=4, ensure_ascii=False), 'json'
    kind = response['headers'].get('Content-Type', '').partition(';')[0].strip().lower()
    text = response.text()
    if '\0' in text or ('\N{REPLACEMENT CHARACTER}' in text and not kind.startswith('text/')):
        return f'({len(response.bytes())} bytes that are not text)', ''
    word = re.split('[/+]', kind)[-1].removeprefix('x-')
    return layout(text) if word == 'json' else text, word if word in LEXERS else ''


def layout(text: str) -> str:
    """Lay JSON out in lines; its numbers, and its keys with their order, stay as they are.

    Text that is not JSON is returned unchanged.

    Example:
        >>> print(layout('{"a":[1.0,{}]}'))
        {
            "a": [
                1.0,
                {}
            ]
        }
    """
    try:
        json.loads(text)
    except (ValueError, RecursionError):
        return text
    laid, depth, before = '', 0, ''
    for token in TOKEN.findall(text):
        depth -= token in CLOSING
        if before == ',' or (before in OPENING) != (token in CLOSING):
            laid += '\n' + '    ' * depth
        laid += f'{token} ' if token == ':' else _unescaped(token)
        depth += token in OPENING
        before = token
    return laid


def _unescaped(token: str) -> str:
    """Write the letters of a JSON string as themselves, not as ``\\u00e9``."""
    return json.dumps(json.loads(token), ensure_ascii=False) if token[0] == '"' else token


def _show(parts: list[Part], response: Response[Any]) -> None:
    """Print parts and the body; in colours if rich is installed."""
    body, lexer = _body_of(response)
    body = _printable(body.replace('\r\n', '\n'))
    head = [(_printable(text), style) for text, style in parts]
    try:
        from rich.console import Console
        from rich.syntax import Syntax
        from rich.text import Text
    except ImportError:
        print(''.join(text for text, _ in head) + body)
        return
    shown = Text.assemble(*head)
    if lexer and len(body) <= LONG:
        coloured = Syntax('', lexer, theme='ansi_dark', background_color='default').highlight(body)
        coloured.rstrip()  # it adds a line break
        shown.append_text(coloured)
    else:
        shown.append(body)
    Console(highlight=False).print(shown, soft_wrap=True)


def _printable(text: str) -> str:
    return CONTROL.sub(lambda found: ascii(found[0])[1:-1], text)
