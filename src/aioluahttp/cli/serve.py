"""Servers from the command line: of a handler, a folder, an origin, or each request itself."""

from __future__ import annotations

import importlib
import logging
import os
import sys
from argparse import Namespace
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

from ..errors import TableError
from ..reverse_proxy.proxy import proxy
from ..server.listen import run
from ..static import files
from ..tables.models import Handler, Request
from .workers import reserved, run_again, run_many

__all__ = ['serve', 'to_handler']

LOG_FORMAT = '%(asctime)s %(message)s'


async def echo(table: Request) -> dict[str, Any]:
    """Answer a request with its own table, as JSON."""
    return {'status': 200, 'json': table.plain()}


def to_handler(target: str) -> Handler:
    """Find the handler that ``module:name`` says, or make one of a folder.

    Raises:
        TableError: It is neither.
        ImportError: There is no such module, or it cannot be imported.
    """
    if os.path.isdir(target):
        return files(target)
    module, _, name = target.partition(':')
    if not name:
        raise TableError.of('target', target, 'a folder, or module:handler')
    sys.path.insert(0, os.getcwd())
    try:
        found: Any = importlib.import_module(module)
        for part in name.split('.'):
            found = getattr(found, part)
    except AttributeError as error:
        raise TableError.of('target', target, f'a name that is there: {error}') from error
    return found  # type: ignore[no-any-return]


HANDLERS: dict[str, Callable[[str], Handler]] = {
    'serve': to_handler,
    'echo': lambda _: echo,
    'proxy': proxy,
}


def serve(arguments: Namespace) -> int:
    """Serve until SIGINT or SIGTERM; give the exit status."""
    given = vars(arguments)
    options: dict[str, Any] = {key: given[key] for key in ('host', 'port', 'unix') if key in given}
    if 'unix' in options:
        options |= {'host': None, 'port': None}
    if 'cert' in given or 'key' in given:
        options['tls'] = {key: given[key] for key in ('cert', 'key') if key in given}
    if 'access_log' in given:
        options['access_log'] = logging.getLogger('aioluahttp.access')
    work = arguments.command, given.get('target', ''), options
    if arguments.workers == 1 and 'reload' not in given:
        _serve_one(*work)
        return 0
    with _shared(options):
        if 'reload' in given:
            return run_again(Path.cwd(), _serve_one, *work)
        return run_many(arguments.workers, _serve_one, *work)


@contextmanager
def _shared(options: dict[str, Any]) -> Iterator[None]:
    """Let several processes listen on the same port."""
    if 'unix' in options:
        raise TableError.of('--unix', options['unix'], 'absent for workers and for --reload')
    with reserved(options['host'], options['port']) as port:
        options |= {'port': port, 'reuse_port': True}
        yield


def _serve_one(command: str, target: str, options: dict[str, Any]) -> None:
    """Serve in this process, which may be a new one."""
    logging.basicConfig(level=logging.INFO, format=LOG_FORMAT)
    run(callback=HANDLERS[command](target), **options)
