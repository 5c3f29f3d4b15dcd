"""Servers in processes of their own: many on one port, or one that is started anew."""

from __future__ import annotations

import logging
import multiprocessing
import os
import signal
import socket
import threading
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from multiprocessing.connection import wait
from pathlib import Path
from typing import Any

__all__ = ['reserved', 'run_again', 'run_many']

logger: logging.Logger = logging.getLogger('aioluahttp')

SIGNALS = (signal.SIGINT, signal.SIGTERM)


@contextmanager
def reserved(host: str, port: int) -> Iterator[int]:
    """Hold a port on which processes are to listen, and give its number; 0 picks one.

    Raises:
        OSError: The port is in use or privileged, or the host is none of this machine's.
    """
    family, *_, address = socket.getaddrinfo(host, port, type=socket.SOCK_STREAM)[0]
    with socket.socket(family, socket.SOCK_STREAM) as held:
        held.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        held.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEPORT, 1)
        held.bind(address)
        yield held.getsockname()[1]


def run_many(number: int, serve: Callable[..., None], *arguments: Any) -> int:
    """Run a function in many processes until a signal, and give the exit status.

    A process that is killed is replaced; one that fails ends them all. The first signal has them
    end gracefully, the second one at once.

    Args:
        number: Of processes.
        serve: A function of a module; SIGTERM ends it.
        arguments: What it is given; they have to pickle.
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
    """Be one of many: of the signals of a terminal only the first process is to hear."""
    os.setpgrp()
    threading.Thread(target=_end_with_parent, daemon=True).start()
    serve(*arguments)


def _end_with_parent() -> None:
    parent: Any = multiprocessing.parent_process()
    wait([parent.sentinel])
    os.kill(os.getpid(), signal.SIGTERM)


def run_again(folder: Path, serve: Callable[..., None], *arguments: Any) -> int:
    """Run a function in a process, anew whenever a file of Python in a folder changes.

    The arguments are those of ``run_many``, and so is what is returned.

    Raises:
        ImportError: watchfiles is not installed.
    """
    try:
        from watchfiles import PythonFilter, run_process
    except ImportError as error:
        raise ImportError("reload needs watchfiles: pip install 'aioluahttp[cli]'") from error
    run_process(folder, target=serve, args=arguments, watch_filter=PythonFilter())
    return 0
