"""The commands `serve`, `echo` and `proxy`, also in worker processes and with reloading."""

from __future__ import annotations

import importlib
import inspect
import logging
import multiprocessing
import os
import signal
import socket
import sys
import threading
import traceback
from argparse import Namespace
from collections.abc import Callable, Iterator
from contextlib import ExitStack, contextmanager
from multiprocessing.connection import wait
from pathlib import Path
from typing import Any

from ..caches.sqlite import SqliteStorage
from ..errors import Error, TableError
from ..exchange.options import Settings
from ..middleware.caching import cache
from ..reverse_proxy.proxy import proxy
from ..server.listen import run
from ..server.server import BACKLOG, GRACE
from ..server.signals import STOPPING
from ..static import files
from ..tables.models import Handler, Request
from .statuses import exit_status
from .values import or_none, to_count, to_names, to_seconds, to_size

__all__ = ['LIMITS', 'reserved', 'run_again', 'run_many', 'run_serve', 'to_handler', 'with_cache']

logger: logging.Logger = logging.getLogger('aioluahttp')

OURS = os.path.dirname(os.path.dirname(__file__))  # the folder of this package
LOG_FORMAT = '%(asctime)s %(message)s'


def valued(metavar: str, parse: Callable[[str], Any], text: str) -> dict[str, Any]:
    return {'metavar': metavar, 'type': parse, 'help': text}


def seconds(text: str, default: float | None, parse: Any = to_seconds) -> dict[str, Any]:
    shown = 'no limit' if default is None else f'{default:g}'
    return valued('SECONDS', parse, f'{text} ({shown})')


# Options of ``listen`` that the commands pass on, with argparse's description of each.
LIMITS: dict[str, dict[str, Any]] = {
    'max_body': valued(
        'BYTES',
        or_none(to_size),
        'limit on a request body, such as 8M, or none; above it the response is a 413 '
        '(8M; no limit with proxy)',
    ),
    'max_concurrent': valued(
        'N', to_count, 'limit on requests at once; above it the response is a 503 (no limit)'
    ),
    'max_connections': valued(
        'N', to_count, 'limit on connections at once; further clients wait (no limit)'
    ),
    'head_timeout': seconds('time for a client to send a head', Settings.head_timeout),
    'body_timeout': seconds(
        'time between two parts of a body, of a request or a response', Settings.body_timeout
    ),
    'keepalive_timeout': seconds('time between two requests', Settings.keepalive_timeout),
    'handler_timeout': seconds(
        'time for a handler; after it the response is a 504', Settings.handler_timeout
    ),
    'shutdown_timeout': seconds(
        'time for running requests after a signal, or none', GRACE, or_none(to_seconds)
    ),
    'cancel_on_disconnect': {
        'action': 'store_true',
        'help': 'cancel the handler when its client leaves',
    },
    'trusted_proxies': valued(
        'LIST',
        to_names,
        'addresses and networks, with commas between, whose Forwarded and X-Forwarded headers '
        'are trusted; unix for clients of a Unix socket (none)',
    ),
    'server_header': valued('TEXT', str, 'value of the Server header (none)'),
    'backlog': valued('N', to_count, f'clients that wait in the kernel ({BACKLOG})'),
}


@contextmanager
def reserved(host: str, port: int) -> Iterator[int]:
    """Reserve a port that several processes will listen on, and yield its number; 0 picks one.

    Raises:
        OSError: The port is in use or privileged, or the host is not an address of this machine.
    """
    with ExitStack() as stack:
        try:
            family, *_, address = socket.getaddrinfo(host, port, type=socket.SOCK_STREAM)[0]
            held = stack.enter_context(socket.socket(family, socket.SOCK_STREAM))
            held.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
            held.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEPORT, 1)
            held.bind(address)
        except OSError as error:
            what = f'cannot listen on {host}:{port}: {error.strerror}'
            raise OSError(error.errno, what) from error
        yield held.getsockname()[1]


def run_many(number: int, serve: Callable[..., None], *arguments: Any) -> int:
    """Run a function in several processes until a signal, and return the exit status.

    A process that exits with an error ends them all; any other that ends is replaced. The first
    signal ends the processes gracefully, the second one kills them.

    Args:
        number: The number of processes.
        serve: A function of a module; SIGTERM has to end it.
        arguments: Its arguments, which have to be picklable.
    """
    context = multiprocessing.get_context('spawn')
    workers: dict[Any, Any] = {}
    status = signals = 0

    def start() -> None:
        worker = context.Process(target=_work, args=(serve, *arguments))
        worker.start()
        workers[worker.sentinel] = worker

    def stop(*_: Any) -> None:
        nonlocal signals
        signals += 1
        for worker in workers.values():
            worker.terminate() if signals == 1 else worker.kill()

    before = {name: signal.signal(name, stop) for name in STOPPING}
    for _ in range(number):
        start()
    while workers:
        for sentinel in wait(list(workers)):
            worker = workers.pop(sentinel)
            worker.join()
            if signals:
                continue
            logger.warning('worker %s ended with %s', worker.pid, worker.exitcode)
            if worker.exitcode > 0:
                status = worker.exitcode
                stop()
            else:
                start()
    for name, handler in before.items():
        signal.signal(name, handler)
    return status


def _work(serve: Callable[..., None], *arguments: Any) -> None:
    """Run as a worker, outside the terminal's process group, whose signals only the parent gets."""
    os.setpgrp()
    threading.Thread(target=_end_with_parent, daemon=True).start()
    serve(*arguments)


def _end_with_parent() -> None:
    parent: Any = multiprocessing.parent_process()
    wait([parent.sentinel])
    os.kill(os.getpid(), signal.SIGTERM)


def run_again(folder: Path, serve: Callable[..., None], *arguments: Any) -> int:
    """Run a function in a process, and restart it whenever a Python file in a folder changes.

    The arguments are those of ``run_many``. The exit status is 0.

    Raises:
        ImportError: watchfiles is not installed.
    """
    try:
        from watchfiles import PythonFilter, run_process
    except ImportError as error:
        raise ImportError("reload needs watchfiles: pip install 'aioluahttp[cli]'") from error
    run_process(folder, target=serve, args=arguments, watch_filter=PythonFilter())
    return 0


async def echo_handler(table: Request) -> dict[str, Any]:
    """Respond to a request with its own table, as JSON."""
    return {'status': 200, 'json': table.plain()}


def to_handler(target: str) -> Handler:
    """Return the handler that ``module:name`` names, or one that serves a folder.

    Raises:
        TableError: The target is neither, or what it names is no handler.
        ImportError: The module raises an error; the message has its place.
    """
    return files(target) if os.path.isdir(target) else _check_target(find(target, 'target'), target)


def find(target: str, key: str) -> Any:
    """Import what ``module:name`` names; errors call it ``key``.

    Raises:
        TableError: There is no such module or name.
        ImportError: The module raises an error; the message has its place.
    """
    module, _, name = target.partition(':')
    if not name or not module.strip('.') or module.startswith('.'):
        right = 'a folder that exists, or module:handler' if key == 'target' else 'module:name'
        raise TableError.of(key, target, right)
    sys.path.insert(0, os.getcwd())
    found = _import(module, target, key)
    try:
        for part in name.split('.'):
            found = getattr(found, part)
    except AttributeError as error:
        raise TableError.of(key, target, f'a name that the module has: {error}') from error
    return found


def _import(module: str, target: str, key: str) -> Any:
    """Import a module; an error that it raises gets the file and the line."""
    try:
        return importlib.import_module(module)
    except (Error, OSError, ImportError) as error:
        missing = error.name if isinstance(error, ModuleNotFoundError) else None
        if missing and f'{module}.'.startswith(f'{missing}.'):
            raise TableError.of(key, target, f'a module that exists: {error}') from error
        frames = traceback.extract_tb(error.__traceback__)
        place = [one for one in frames if not one.filename.startswith(('<frozen', OURS))][-1]
        text = f'{place.filename}, line {place.lineno}: {type(error).__name__}: {error}'
        raise ImportError(text) from error


# What takes other arguments than a handler, by the name of the first.
OTHERS = {
    'scope': 'an ASGI application, which needs an ASGI server, such as uvicorn',
    'environ': 'a WSGI application, which needs a WSGI server, such as gunicorn',
}


def _check_target(found: Any, target: str) -> Handler:
    """Return what a target names, if it can be called with a request.

    Raises:
        TableError: It is an application for other servers, or no handler at all.
    """
    right = 'a handler, a function of one argument, the request'
    if not callable(found):
        raise TableError.of('target', target, f'{right}; this is {type(found).__name__}')
    try:
        signature = inspect.signature(found)
    except (TypeError, ValueError):  # some functions of C have none
        return found  # type: ignore[no-any-return]
    try:
        signature.bind(Request())
    except TypeError as error:
        first = next(iter(signature.parameters), '')
        what = OTHERS.get(first, f'a function of other arguments: {error}')
        raise TableError.of('target', target, f'{right}; this is {what}') from error
    return found  # type: ignore[no-any-return]


HANDLERS: dict[str, Callable[[str], Handler]] = {
    'serve': to_handler,
    'echo': lambda _: echo_handler,
    'proxy': proxy,
}


def run_serve(arguments: Namespace) -> int:
    """Serve until SIGINT or SIGTERM, and return the exit status."""
    given = vars(arguments)
    keys = ('host', 'port', 'unix', 'lifespan', 'cache', *LIMITS)
    options = {key: given[key] for key in keys if key in given}
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
    if arguments.workers > 1 and 'reload' in given:
        raise TableError.of('--workers', arguments.workers, 'left out with --reload')
    with _shared(options):
        if 'reload' in given:
            return run_again(Path.cwd(), _work_one, *work)
        return run_many(arguments.workers, _work_one, *work)


@contextmanager
def _shared(options: dict[str, Any]) -> Iterator[None]:
    """Reserve a port, and let several processes listen on it."""
    if 'unix' in options:
        raise TableError.of('--unix', options['unix'], 'left out with --workers and --reload')
    with reserved(options['host'], options['port']) as port:
        options |= {'port': port, 'reuse_port': True}
        yield


def _work_one(command: str, target: str, options: dict[str, Any]) -> None:
    """Serve as a worker, which ends with the exit status of the command."""
    sys.exit(exit_status(lambda: _serve_one(command, target, options)))


def _serve_one(command: str, target: str, options: dict[str, Any]) -> None:
    """Serve in this process."""
    logging.basicConfig(level=logging.INFO, format=LOG_FORMAT)
    options = dict(options)
    handler = HANDLERS[command](target)
    if 'cache' in options:
        handler = with_cache(handler, options.pop('cache'))
    if 'lifespan' in options:
        options['lifespan'] = find(options['lifespan'], '--lifespan')
    run(callback=handler, **options)


def with_cache(handler: Handler, path: str) -> Handler:
    """Store the responses of a handler in a file, or in memory if there is no path."""
    return cache(handler, storage=SqliteStorage(path) if path else None)
