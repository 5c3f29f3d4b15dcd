"""The commands `serve`, `echo` and `proxy`, also in worker processes and with reloading."""

from __future__ import annotations

import importlib
import logging
import multiprocessing
import os
import signal
import socket
import sys
import threading
from argparse import Namespace
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from multiprocessing.connection import wait
from pathlib import Path
from typing import Any

from ..errors import TableError
from ..reverse_proxy.proxy import proxy
from ..server.listen import run
from ..static import files
from ..tables.models import Handler, Request

__all__ = ['reserved', 'run_again', 'run_many', 'run_serve', 'to_handler']

logger: logging.Logger = logging.getLogger('aioluahttp')

SIGNALS = (signal.SIGINT, signal.SIGTERM)
LOG_FORMAT = '%(asctime)s %(message)s'


@contextmanager
def reserved(host: str, port: int) -> Iterator[int]:
    """Reserve a port that several processes will listen on, and yield its number; 0 picks one.

    Raises:
        OSError: The port is in use or privileged, or the host is not an address of this machine.
    """
    family, *_, address = socket.getaddrinfo(host, port, type=socket.SOCK_STREAM)[0]
    with socket.socket(family, socket.SOCK_STREAM) as held:
        held.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        held.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEPORT, 1)
        held.bind(address)
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

    before = {name: signal.signal(name, stop) for name in SIGNALS}
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
        TableError: The target is neither.
        ImportError: The module does not exist, or cannot be imported.
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
        raise TableError.of('target', target, f'a name that the module has: {error}') from error
    return found  # type: ignore[no-any-return]


HANDLERS: dict[str, Callable[[str], Handler]] = {
    'serve': to_handler,
    'echo': lambda _: echo_handler,
    'proxy': proxy,
}


def run_serve(arguments: Namespace) -> int:
    """Serve until SIGINT or SIGTERM, and return the exit status."""
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
    """Reserve a port, and let several processes listen on it."""
    if 'unix' in options:
        raise TableError.of('--unix', options['unix'], 'left out with --workers and --reload')
    with reserved(options['host'], options['port']) as port:
        options |= {'port': port, 'reuse_port': True}
        yield


def _serve_one(command: str, target: str, options: dict[str, Any]) -> None:
    """Serve in this process, which may be a worker."""
    logging.basicConfig(level=logging.INFO, format=LOG_FORMAT)
    run(callback=HANDLERS[command](target), **options)
