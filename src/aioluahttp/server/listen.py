"""``listen`` and ``run``: serve HTTP with a handler, and the options of the server.

The server that they start is in ``server/server``; options that all engines share are in
``exchange/options``.
"""

from __future__ import annotations

import asyncio
import logging
import socket
import sys
import warnings
from collections.abc import Callable, Coroutine, Generator
from functools import cache, partial
from os import PathLike, fsdecode
from typing import Any, TypeVar, Unpack

from ..errors import TableError
from ..exchange.options import (
    EXCHANGE_OPTIONS,
    ExchangeOptions,
    OnError,
    check_bool,
    check_exchange_options,
    to_settings,
)
from ..exchange.responder import Responder
from ..headers import to_headers
from ..tables.checks import check_count, check_limit, check_seconds, check_unix
from ..tables.models import Handler
from ..tls import TlsLike, server_context
from .framing import IS_COMPILED
from .server import Server, abandon_task
from .signals import STOPPING

__all__ = ['ListenOptions', 'Listening', 'listen', 'run', 'run_in_loop']

T = TypeVar('T')

logger: logging.Logger = logging.getLogger('aioluahttp')

LEFT = 5.0  # seconds for tasks that a program has started to end after its last response
TIMEOUTS = ('head', 'keepalive', 'shutdown')


class ListenOptions(ExchangeOptions, total=False):
    """The options of ``listen``."""

    max_connections: int | None
    head_timeout: float
    keepalive_timeout: float
    shutdown_timeout: float | None
    tls: TlsLike
    unix: str | PathLike[str]
    sock: socket.socket
    reuse_port: bool
    backlog: int
    server_header: str | None


def check_sock(value: Any) -> socket.socket:
    if not isinstance(value, socket.socket) or value.type != socket.SOCK_STREAM:
        raise TableError.of('sock', value, 'a socket that is bound, of the type SOCK_STREAM')
    return value


def check_server_header(value: Any) -> str:
    if not isinstance(value, str):
        raise TableError.of('server_header', value, 'a str')
    return to_headers({'Server': value})['Server']


OPTIONS: dict[str, Callable[[Any], Any]] = EXCHANGE_OPTIONS | {
    'max_connections': partial(check_limit, 'max_connections'),
    **{f'{key}_timeout': partial(check_seconds, f'{key}_timeout') for key in TIMEOUTS},
    'tls': server_context,
    'unix': check_unix,
    'sock': check_sock,
    'reuse_port': check_bool('reuse_port'),
    'backlog': check_count('backlog'),
    'server_header': check_server_header,
}


class Listening:
    """The return value of ``listen``: ``await`` or ``async with`` it to get a ``Server``."""

    def __init__(self, start: Callable[[], Coroutine[Any, Any, Server]]) -> None:
        self._start = start
        self._used = False
        self._server: Server

    def __await__(self) -> Generator[Any, Any, Server]:
        self._used = True
        return self._start().__await__()

    async def __aenter__(self) -> Server:
        self._server = await self
        return self._server

    async def __aexit__(self, *raised: object) -> None:
        await self._server.__aexit__(*raised)

    def __del__(self) -> None:
        if not self._used:
            message = 'listen(...) was neither awaited nor entered: nothing listens'
            warnings.warn(message, RuntimeWarning, stacklevel=1, source=self)


def listen(
    host: str | None,
    port: int | None,
    callback: Handler,
    on_error: OnError | None = None,
    **options: Unpack[ListenOptions],
) -> Listening:
    """Listen for HTTP requests, and respond to each with the table that a callback returns.

    The callback runs in an asyncio task of its own for each request. If it raises an exception,
    the response is a 500; the exception is logged and passed to ``on_error``.

    Args:
        host: An address or a name; ``'0.0.0.0'`` is every IPv4 interface, ``None`` is every
            interface.
        port: 0 or None picks a free port.
        callback: A handler, ``async`` or plain: takes a ``Request``, returns a response table.
        on_error: Called with the exception and the request; may be ``async``.
        options: ``into`` (what a request body becomes: ``'text'``, the default, ``'bytes'``,
            ``'json'``, ``'stream'`` or ``'raw'``) and ``max_body`` (8 MiB, decoded; a 413 above
            it; limits a stream only if given): each is a value or a function of the request, and
            may be an attribute of the callback instead; ``max_connections`` (None; further
            clients wait), ``max_concurrent`` (None; callbacks at once, a 503 above it),
            ``head_timeout`` (30 s for a whole head, then a 408; also for the TLS handshake before
            it), ``body_timeout`` (30 s between two parts of a request body, then a 408; also
            between two reads of a response by the client), ``handler_timeout`` (None; seconds,
            then a 504), ``keepalive_timeout`` (75 s between two requests), ``shutdown_timeout``
            (15 s for running callbacks; None waits for ever), ``cancel_on_disconnect`` (False;
            cancel the callback when its client leaves), ``trusted_proxies`` (none; addresses and
            networks whose Forwarded and X-Forwarded headers are trusted, ``'unix'`` for clients
            of a Unix socket), ``tls`` (a context, or a table with ``cert`` and ``key``), ``unix``
            (a path, instead of host and port), ``sock`` (a bound socket, instead of host and
            port), ``reuse_port`` (False), ``backlog`` (128), ``access_log`` (a logger, or a
            callable of request and response, whose key ``record`` has ``ip``, ``method``,
            ``target``, ``status``, ``bytes`` and ``seconds``), ``lifespan`` (a function that
            returns an async context manager, entered before the first connection is accepted and
            left after the last response; may be an attribute of the callback), ``server_header``
            (None; the value of Server).

    Returns:
        An awaitable for a ``Server`` that accepts connections. ``async with`` also gives the
        server, and closes it at the end.

    Raises:
        TableError: An option is unknown or has an invalid value.
        OSError: The port is in use or privileged; the message names host and port.
    """
    made = check_exchange_options(callback, options, OPTIONS)
    settings = to_settings(made, on_error)
    _check_parser()
    responder = Responder(callback, settings)
    return Listening(partial(Server.start, responder, host, port, made))


@cache
def _check_parser() -> None:
    if not IS_COMPILED:
        message = 'aiohttp runs without its C parser; its Python parser accepts some invalid HTTP'
        warnings.warn(message, RuntimeWarning, stacklevel=3)


def run(
    host: str | None,
    port: int | None,
    callback: Handler,
    on_error: OnError | None = None,
    **options: Unpack[ListenOptions],
) -> None:
    """Listen until SIGINT or SIGTERM, then close gracefully. A second signal ends the process.

    The blocking form of ``listen``, for scripts, with the same arguments. A line on stderr says
    where it listens. It runs in an event loop of its own: uvloop's if that is installed, else
    asyncio's. In a coroutine use ``listen`` and ``Server.serve_forever``.

    Raises:
        TableError: An option is invalid, or this is not the main thread.
        OSError: It cannot listen there.
    """
    listening = listen(host, port, callback, on_error, **options)
    run_in_loop(_serve(listening, options.get('unix')))


def run_in_loop(main: Coroutine[Any, Any, T]) -> T:
    """Run a coroutine in an event loop of its own: uvloop's if installed, else asyncio's."""
    try:
        from uvloop import run as uvloop_run  # imported here, for ``listen`` does not need it
    except ImportError:
        return asyncio.run(_then_end_tasks(main))
    return uvloop_run(_then_end_tasks(main))


async def _then_end_tasks(main: Coroutine[Any, Any, T]) -> T:
    """Run a coroutine, then cancel the tasks that it left; those that run on are given up.

    ``asyncio.run`` would wait for them until they end.
    """
    try:
        return await main
    finally:
        if left := asyncio.all_tasks() - {asyncio.current_task()}:
            for task in left:
                task.cancel()
            for task in (await asyncio.wait(left, timeout=LEFT))[1]:
                logger.error('a task runs on although cancelled: %s', task.get_name())
                abandon_task(task)


async def _serve(listening: Listening, unix: Any) -> None:
    async with listening as server:
        where = f'{server.url} by the Unix socket {fsdecode(unix)}' if unix else server.url
        # In one write, since workers share stderr, and later, when the signal handlers are set: who
        # reads the line may send a signal at once.
        tell = partial(print, end='', file=sys.stderr, flush=True)
        line = f'Listening on {where} (Ctrl+C stops)\n'
        told = asyncio.get_running_loop().call_soon(tell, line)
        try:
            await server.serve_forever(STOPPING)
        finally:
            told.cancel()  # in vain, unless there are no signals in this thread
