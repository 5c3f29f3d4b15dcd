"""The commands `request` and `download`: tables from options, and responses printed."""

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
WORDS = ('text', 'bytes', 'json', 'stream', 'raw', 'events')
KEYS = ('url', 'method', 'body', 'json', 'into', 'timeout', 'check')
INDEX = 'index.html'  # the file name of a download whose URL has none

Progress = Callable[[int, int | None], None]


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


def show_for_people(table: Response[Any]) -> None:
    """Print a table in lines; on a terminal in colours, if rich is installed."""
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
    """Print a table as a Python literal in one line."""
    print(repr(literal(table)))


def show_json(table: Response[Any]) -> None:
    """Print a table as JSON in one line, as ``plain`` returns it."""
    print(json.dumps(Response(literal(table)).plain()))


SHAPES = {None: show_for_people, 'repr': show_literal, 'json': show_json}


def print_table(table: Response[Any], shape: str | None = None) -> None:
    """Print a table: ``None`` for people, ``'repr'`` as a Python literal, ``'json'`` as JSON."""
    SHAPES[shape](table)


def to_url(text: str) -> str:
    """Complete a URL that has no scheme, or no host before its port."""
    if text.startswith(':'):
        text = f'localhost{text}'
    return text if '://' in text else f'http://{text}'


def to_pair(text: str) -> tuple[str, str]:
    """Parse a header: ``Name: value``."""
    name, colon, value = text.partition(':')
    if not colon:
        raise ValueError('no colon')
    return name, value.strip()


def to_body(text: str) -> Any:
    """Parse a body: text, ``@`` and the name of a file, or ``@-`` for standard input."""
    if text == '@-':
        return sys.stdin.buffer.read()
    return Path(text[1:]) if text.startswith('@') else text


def to_into(text: str) -> str | Path:
    """Parse ``--into``: one of ``WORDS``, or the name of a file."""
    return text if text in WORDS else Path(text)


async def run_request(arguments: Namespace) -> int:
    """Send a request, print the response, and return the exit status.

    That is 0, or with ``--check`` the first digit of a status of 400 or above.
    """
    table: Any = to_table(arguments)
    shape = vars(arguments).get('shape')
    try:
        response = await request(table)
    except StatusError as error:
        print_table(error.response, shape)
        return int(error.response['status']) // 100
    if isinstance(response['body'], AsyncIterator):
        await _print_body(response['body'])
    else:
        print_table(response, shape)
    return 0


def to_table(arguments: Namespace) -> dict[str, Any]:
    """Return the request table of the options, which override the keys of ``--table``.

    Raises:
        TableError: The file of ``--table`` is not a request table in JSON.
        OSError: The file cannot be read.
    """
    given = {key: value for key, value in vars(arguments).items() if key != 'url' or value}
    table = dict(Request.from_plain(_read_table(given['table']))) if 'table' in given else {}
    if 'header' in given:
        headers = Headers(table.get('headers', {}))
        for name, _ in given['header']:
            headers.popall(name, None)
        headers.extend(given['header'])
        table['headers'] = headers
    if 'body' in given or 'json' in given:
        table.setdefault('method', 'POST')
    return table | {key: given[key] for key in KEYS if key in given}


def _read_table(name: str) -> dict[str, Any]:
    text = sys.stdin.read() if name == '-' else Path(name).read_text('utf-8')
    try:
        table = json.loads(text)
    except ValueError as error:
        raise TableError.of('--table', text, f'a request table in JSON ({error})') from error
    if not isinstance(table, dict):
        raise TableError.of('--table', table, 'a JSON object')
    return table


async def _print_body(body: Any) -> None:
    """Print a body as it arrives: bytes as they are, events as JSON, one in a line."""
    async with body:
        async for one in body:
            data = one if isinstance(one, bytes) else f'{json.dumps(one)}\n'.encode()
            sys.stdout.buffer.write(data)
            sys.stdout.buffer.flush()


async def run_download(arguments: Namespace) -> int:
    """Download a file, or resume its download, and return the exit status."""
    path = _download_path(arguments.url, arguments.path)
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


def _download_path(address: str, path: Path) -> Path:
    """Return the path of a download; in a folder, the URL may only choose a plain file name."""
    if not path.is_dir():
        return path
    name = unquote(url.split(address).get('path', '').rpartition('/')[2])
    plain = name not in ('', '.', '..') and not set(name) & {'/', '\\', '\0'}
    return path / (name if plain else INDEX)


@contextmanager
def progress(name: str) -> Iterator[Progress | None]:
    """Show the progress of a download, if rich is installed."""
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
