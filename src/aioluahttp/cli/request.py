"""The commands `request` and `download`: send a table of options, and print the response."""

from __future__ import annotations

import errno
import json
import os
import sys
from argparse import Namespace
from collections.abc import AsyncIterator, Iterator
from contextlib import contextmanager, nullcontext
from pathlib import Path
from typing import Any
from urllib.parse import unquote

from .. import types, url
from ..client.per_loop import request
from ..errors import Error, StatusError, TableError
from ..headers import Headers
from ..tables.models import Request
from .output import print_body, print_response

__all__ = ['run_download', 'run_request', 'to_table']

# Options that are keys of a request table, and those of them that make its method POST.
BODIES = ('body', 'json', 'form', 'multipart')
LOGIN = ('auth', 'bearer')
KEYS = ('url', 'method', *BODIES, *LOGIN, 'into', 'timeout', 'redirects', 'proxy', 'tls', 'check')
INDEX = 'index.html'  # the file name of a download whose URL has none


async def run_request(arguments: Namespace) -> int:
    """Send a request, print the response, and return the exit status.

    That is 0, or with ``--check`` the first digit of a status of 400 or above.
    """
    table: Any = to_table(arguments)
    shape = vars(arguments).get('shape')
    try:
        response = await request(table)
    except StatusError as error:
        print_response(error.response, shape)
        return int(error.response['status']) // 100
    if isinstance(response['body'], AsyncIterator):
        await print_body(response['body'])
    else:
        print_response(response, shape)
    return 0


def to_table(arguments: Namespace) -> dict[str, Any]:
    """Return the request table of the options, which override the keys of ``--table``.

    Raises:
        TableError: There is neither a URL nor ``--table``, or its file is not a request table.
    """
    given = {key: value for key, value in vars(arguments).items() if key != 'url' or value}
    if not {'url', 'table'} & given.keys():
        raise TableError('there is no URL to request; give one, or --table')
    table = dict(Request.from_plain(_read_table(given['table']))) if 'table' in given else {}
    for keys in BODIES, LOGIN:  # an option overrides also the other forms of its key
        if given.keys() & set(keys):
            table = {key: value for key, value in table.items() if key not in keys}
    if 'header' in given:
        headers = Headers(table.get('headers', {}))
        for name, _ in given['header']:
            headers.popall(name, None)
        headers.extend(given['header'])
        table['headers'] = headers
    if given.keys() & set(BODIES):
        table.setdefault('method', 'POST')
    table |= {key: given[key] for key in KEYS if key in given}
    return _with_query(table, given['query']) if 'query' in given else table


def _with_query(table: dict[str, Any], fields: list[tuple[str, str]]) -> dict[str, Any]:
    """Add fields to the query of a table, which is in its URL if it has one."""
    if 'url' not in table:
        return table | {'query': _extended(table.get('query'), fields)}
    parts = url.split(table['url'])
    query = _extended(parts.get('query'), fields)
    return table | {'url': url.join({**parts, 'query': query})}


def _extended(query: Any, fields: list[tuple[str, str]]) -> str:
    before = query if isinstance(query, str) else url.encode(query)
    return '&'.join(filter(None, [before, url.encode(fields)]))


def _read_table(name: str) -> dict[str, Any]:
    try:
        text = sys.stdin.read() if name == '-' else Path(name).read_text('utf-8')
        table = json.loads(text)
    except OSError as error:
        raise TableError.of('--table', name, f'a file to read ({error.strerror})') from error
    except (ValueError, RecursionError) as error:
        raise TableError.of('--table', name, f'a request table in JSON ({error})') from error
    if not isinstance(table, dict):
        raise TableError.of('--table', table, 'a JSON object')
    return table


async def run_download(arguments: Namespace) -> int:
    """Download a file, or resume its download, and return the exit status."""
    path = _download_path(arguments.url, arguments.path)
    shown = progress(path.name) if sys.stderr.isatty() else nullcontext(None)
    table: Any = to_table(arguments) | {'into': path, 'resume': arguments.resume, 'check': True}
    try:
        with shown as on_progress:
            response = await request(table, on_progress=on_progress)
    except Error as error:
        if arguments.resume and path.with_name(f'.{path.name}.part').exists():
            error.add_note('to continue the download, run the same command again')
        raise
    print(response['body'])
    return 0


def _download_path(address: str, given: str) -> Path:
    """Return the path of a download; in a folder, the URL may only choose a plain file name."""
    path = Path(given)
    if not path.is_dir():
        if given.endswith(('/', os.sep)):
            raise FileNotFoundError(errno.ENOENT, 'there is no such folder', given)
        return path
    name = unquote(url.split(address).get('path', '').rpartition('/')[2])
    plain = name not in ('', '.', '..') and not set(name) & {'/', '\\', '\0'}
    return path / (name if plain else INDEX)


@contextmanager
def progress(name: str) -> Iterator[types.Progress | None]:
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
