"""Requests from the command line.

Tables as the command line shows them.
"""

from __future__ import annotations

import json
import sys
from argparse import Namespace
from collections.abc import AsyncIterator, Callable, Iterator, Mapping
from contextlib import contextmanager, nullcontext
from os import PathLike, fspath
from pathlib import Path
from pprint import pformat
from typing import Any
from urllib.parse import unquote

from .. import url
from ..client.per_loop import request
from ..errors import StatusError, TableError
from ..headers import Headers
from ..tables.models import Request, Response

__all__ = [
    'SHAPES',
    'WORDS',
    'print_table',
    'run_download',
    'run_request',
    'to_body',
    'to_into',
    'to_pair',
    'to_url',
]


WIDTH = 96


def literal(value: Any) -> Any:
    """Make a value that has a literal in Python: headers as pairs, a path as text."""
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


def show_for_people(table: Response[Any]) -> None:
    """Print a table in lines; on a terminal in colours, where rich is installed."""
    if sys.stdout.isatty():
        try:
            from rich.console import Console
            from rich.pretty import Pretty
        except ImportError:
            pass
        else:
            Console().print(Pretty(literal(table), expand_all=True))
            return
    print(pformat(literal(table), sort_dicts=False, width=WIDTH))


def show_literal(table: Response[Any]) -> None:
    """Print a table as a literal of Python in one line."""
    print(repr(literal(table)))


def show_json(table: Response[Any]) -> None:
    """Print a table as JSON in one line: what ``plain`` gives."""
    print(json.dumps(Response(literal(table)).plain()))


SHAPES = {None: show_for_people, 'repr': show_literal, 'json': show_json}


def print_table(table: Response[Any], shape: str | None = None) -> None:
    """Print a table: ``None`` for people, ``'repr'`` as Python, ``'json'`` as JSON."""
    SHAPES[shape](table)


WORDS = ('text', 'bytes', 'json', 'stream', 'raw', 'events')
KEYS = ('url', 'method', 'body', 'json', 'into', 'timeout', 'check')
INDEX = 'index.html'  # the name of a download whose URL has none

Progress = Callable[[int, int | None], None]


def to_url(text: str) -> str:
    """Read a URL as people write it: without a scheme, or without a host."""
    if text.startswith(':'):
        text = f'localhost{text}'
    return text if '://' in text else f'http://{text}'


def to_pair(text: str) -> tuple[str, str]:
    """Read a header: ``Name: value``."""
    name, colon, value = text.partition(':')
    if not colon:
        raise ValueError('no colon')
    return name, value.strip()


def to_body(text: str) -> Any:
    """Read a body: text, ``@`` and the name of a file, or ``@-`` for the standard input."""
    if text == '@-':
        return sys.stdin.buffer.read()
    return Path(text[1:]) if text.startswith('@') else text


def to_into(text: str) -> str | Path:
    """Read what the body becomes: one of the words, or the name of a file."""
    return text if text in WORDS else Path(text)


async def run_request(arguments: Namespace) -> int:
    """Send a request and print the response; give the exit status.

    That is 0, but with ``--check`` the first digit of a status of 400 and above.
    """
    table: Any = to_table(arguments)
    shape = vars(arguments).get('shape')
    try:
        response = await request(table)
    except StatusError as error:
        print_table(error.response, shape)
        return int(error.response['status']) // 100
    if isinstance(response['body'], AsyncIterator):
        await _print(response['body'])
    else:
        print_table(response, shape)
    return 0


def to_table(arguments: Namespace) -> dict[str, Any]:
    """Make a request table of the command line: its options go before what ``--table`` has.

    Raises:
        TableError: ``--table`` names no JSON of a table.
        OSError: It names no file that can be read.
    """
    given = {key: value for key, value in vars(arguments).items() if key != 'url' or value}
    table = dict(Request.from_plain(_read(given['table']))) if 'table' in given else {}
    if 'header' in given:
        headers = Headers(table.get('headers', {}))
        for name, _ in given['header']:
            headers.popall(name, None)
        headers.extend(given['header'])
        table['headers'] = headers
    if 'body' in given or 'json' in given:
        table.setdefault('method', 'POST')
    return table | {key: given[key] for key in KEYS if key in given}


def _read(name: str) -> dict[str, Any]:
    text = sys.stdin.read() if name == '-' else Path(name).read_text('utf-8')
    try:
        table = json.loads(text)
    except ValueError as error:
        raise TableError.of('--table', text, f'JSON of a request table ({error})') from error
    if not isinstance(table, dict):
        raise TableError.of('--table', table, 'a JSON object')
    return table


async def _print(body: Any) -> None:
    """Print a body as it comes: bytes as they are, events as JSON, one in a line."""
    async with body:
        async for one in body:
            data = one if isinstance(one, bytes) else f'{json.dumps(one)}\n'.encode()
            sys.stdout.buffer.write(data)
            sys.stdout.buffer.flush()


async def run_download(arguments: Namespace) -> int:
    """Download a file, and go on where one was broken off; give the exit status."""
    path = _file_of(arguments.url, arguments.path)
    shown = progress(path.name) if sys.stderr.isatty() else nullcontext(None)
    with shown as on_progress:
        response = await request(
            url=arguments.url,
            into=path,
            resume=arguments.resume,
            check=True,
            on_progress=on_progress,
        )
    print(response['body'])
    return 0


def _file_of(address: str, path: Path) -> Path:
    """Name the file of a download: of a URL no more is taken than one name."""
    if not path.is_dir():
        return path
    name = unquote(url.split(address).get('path', '').rpartition('/')[2])
    plain = name not in ('', '.', '..') and not set(name) & {'/', '\\', '\0'}
    return path / (name if plain else INDEX)


@contextmanager
def progress(name: str) -> Iterator[Progress | None]:
    """Show how far a download is, where rich is installed."""
    try:
        from rich.console import Console
        from rich.progress import DownloadColumn, Progress, TransferSpeedColumn
    except ImportError:
        yield None
        return
    columns = (*Progress.get_default_columns(), DownloadColumn(), TransferSpeedColumn())
    with Progress(*columns, console=Console(stderr=True)) as bar:
        task = bar.add_task(name, total=None)
        yield lambda done, total: bar.update(task, completed=done, total=total)
