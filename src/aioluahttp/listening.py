"""Listen: hand each request to a handler, and send back what it returns."""

from __future__ import annotations

import asyncio
import contextlib
import logging
import signal
import socket
import warnings
from collections.abc import Callable, Coroutine, Generator, Iterable, Mapping
from dataclasses import fields
from functools import cache, partial
from os import PathLike
from typing import Any, Literal, TypedDict, TypeVar, Unpack

from aiohttp.http_parser import HttpRequestParser, HttpRequestParserPy

from .checks import (
    check_count,
    check_into,
    check_limit,
    check_max_body,
    check_seconds,
    check_unix,
)
from .errors import TableError
from .exchange import AccessLog, Exchange, OnError, Settings
from .forwarded import check_trusted_proxies
from .headers import to_headers
from .server import Server
from .tables import Handler, Request
from .tls import TlsLike, server_context

__all__ = ['Listening', 'listen', 'run', 'run_in_loop']

T = TypeVar('T')

logger = logging.getLogger('aioluahttp')

TIMEOUTS = ('head', 'body', 'handler', 'keepalive', 'shutdown')
SIGNALS = (signal.SIGINT, signal.SIGTERM)


Into = Literal['text', 'bytes', 'json', 'stream', 'raw']


class Options(TypedDict, total=False):
    """The options of ``listen``."""

    into: Into | Callable[[Request], Into]
    max_body: int | Callable[[Request], int | None] | None
    max_connections: int | None
    max_concurrent: int | None
    head_timeout: float
    body_timeout: float
    handler_timeout: float | None
    keepalive_timeout: float
    shutdown_timeout: float | None
    cancel_on_disconnect: bool
    trusted_proxies: Iterable[str]
    tls: TlsLike
    unix: str | PathLike[str]
    sock: socket.socket
    reuse_port: bool
    backlog: int
    access_log: AccessLog | None
    server_header: str | None


def check_kind(key: str, kinds: Any, right: str) -> Callable[[Any], Any]:
    def check(value: Any) -> Any:
        if not isinstance(value, kinds):
            raise TableError.of(key, value, right)
        return value

    return check


def or_function(check: Callable[[Any], Any]) -> Callable[[Any], Any]:
    return lambda value: value if callable(value) else check(value)


def check_sock(value: Any) -> socket.socket:
    if not isinstance(value, socket.socket) or value.type != socket.SOCK_STREAM:
        raise TableError.of('sock', value, 'a socket that is bound, of the type SOCK_STREAM')
    return value


def check_server_header(value: Any) -> str:
    if not isinstance(value, str):
        raise TableError.of('server_header', value, 'a str')
    return to_headers({'Server': value})['Server']


def check_bool(key: str) -> Callable[[Any], Any]:
    return check_kind(key, bool, 'True or False')


OPTIONS: dict[str, Callable[[Any], Any]] = {
    'into': or_function(check_into),
    'max_body': or_function(check_max_body),
    **{key: partial(check_limit, key) for key in ('max_connections', 'max_concurrent')},
    **{f'{key}_timeout': partial(check_seconds, f'{key}_timeout') for key in TIMEOUTS},
    'cancel_on_disconnect': check_bool('cancel_on_disconnect'),
    'trusted_proxies': check_trusted_proxies,
    'tls': server_context,
    'unix': check_unix,
    'sock': check_sock,
    'reuse_port': check_bool('reuse_port'),
    'backlog': check_count('backlog'),
    'access_log': check_kind(
        'access_log', (logging.Logger, Callable), 'a logger, or a function of request and response'
    ),
    'server_header': check_server_header,
}
CARRIED = ('into', 'max_body')  # which a handler may have as attributes
NULLABLE = frozenset({'max_body', 'shutdown_timeout'})  # where None is no limit
PER_EXCHANGE = frozenset(field.name for field in fields(Settings))


class Listening:
    """What ``listen`` gives: ``await`` it, or enter it with ``async with``, for a ``Server``."""

    def __init__(
        self, exchange: Exchange, host: str | None, port: int | None, options: Mapping[str, Any]
    ) -> None:
        self._arguments = exchange, host, port, options
        self._used = False
        self._server: Server

    def __await__(self) -> Generator[Any, Any, Server]:
        self._used = True
        exchange, host, port, options = self._arguments
        return Server.start(exchange, host, port, options).__await__()

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
    **options: Unpack[Options],
) -> Listening:
    """Listen for HTTP requests, and answer each with the table that a callback returns.

    Each request runs the callback in an asyncio task of its own. What goes wrong in it is
    answered with a 500, logged, and given to ``on_error``.

    Args:
        host: An address or a name; ``'0.0.0.0'`` is every IPv4 interface, ``None`` every one.
        port: 0 (or None) picks a free one.
        callback: A handler, ``async`` or plain: takes a ``Request``, returns a response table.
        on_error: Called with the exception and the request, and awaited where it can be.
        options: ``into`` (``'text'``, ``'bytes'``, ``'json'``, ``'stream'`` or ``'raw'``: what a
            request's body becomes), ``max_body`` (8 MiB; bytes, decoded; beyond it a 413; on a
            stream only where given), each a value or a function of the request, which else the
            callback may have as an attribute; ``max_connections`` (None;
            beyond it clients wait), ``max_concurrent`` (None; callbacks at once, beyond it a
            503), ``head_timeout`` (30 s for a whole head, then a 408; likewise for TLS before
            it), ``body_timeout`` (30 s between two reads of a body, then a 408, and between
            two of an answer by its client), ``handler_timeout`` (None; seconds, then a 504),
            ``keepalive_timeout`` (75 s), ``shutdown_timeout`` (15 s),
            ``cancel_on_disconnect`` (False; cancel the callback when its client leaves),
            ``trusted_proxies`` (none; addresses and networks whose Forwarded and X-Forwarded
            headers are believed, ``'unix'`` for whoever reaches a Unix socket), ``tls`` (a
            context, or a table with ``cert`` and ``key``), ``unix`` (a path, in place of host
            and port), ``sock`` (a listening socket, likewise), ``reuse_port``, ``backlog``
            (128), ``access_log`` (a logger, or a callable that gets request and response),
            ``server_header`` (None: the server does not name itself).

    Returns:
        What gives a ``Server`` that accepts already: ``await`` it, or enter it with
        ``async with``, which closes it at its end.

    Raises:
        TableError: An option is unknown, or its value is not what it takes.
        OSError: The port is in use or privileged; the text names host and port.
    """
    if not callable(callback):
        raise TableError.of('callback', callback, 'a function that takes a request table')
    if on_error is not None and not callable(on_error):
        raise TableError.of('on_error', on_error, 'a function of the exception and the request')
    carried = {key: getattr(callback, key) for key in CARRIED if hasattr(callback, key)}
    checked: dict[str, Any] = {}
    for name, value in (carried | options).items():
        if name not in OPTIONS:
            raise TableError.unknown(name, OPTIONS)
        if value is not None or name in NULLABLE:
            checked[name] = None if value is None else OPTIONS[name](value)
    _check_parser()
    settings = {name: value for name, value in checked.items() if name in PER_EXCHANGE}
    settings['limits_streams'] = checked.get('max_body') is not None
    exchange = Exchange(callback, Settings(on_error=on_error, **settings))
    return Listening(exchange, host, port, checked)


@cache
def _check_parser() -> None:
    if HttpRequestParser is HttpRequestParserPy:
        message = 'aiohttp runs without its C parser; the one in Python takes more than HTTP allows'
        warnings.warn(message, RuntimeWarning, stacklevel=3)


def run(
    host: str | None,
    port: int | None,
    callback: Handler,
    on_error: OnError | None = None,
    **options: Unpack[Options],
) -> None:
    """Listen until SIGINT or SIGTERM, then close gracefully. A second signal ends at once.

    The blocking form of ``listen``, for scripts; the arguments are the same. It runs in an event
    loop of its own: uvloop's where that is installed, else asyncio's.
    """
    run_in_loop(_until_signal(listen(host, port, callback, on_error, **options)))


def run_in_loop(main: Coroutine[Any, Any, T]) -> T:
    """Run a coroutine in a loop of its own: uvloop's where that is installed, else asyncio's."""
    try:
        from uvloop import run as uvloop_run  # here, for an app with a loop needs none
    except ImportError:
        return asyncio.run(main)
    return uvloop_run(main)


async def _until_signal(listening: Listening) -> None:
    loop = asyncio.get_running_loop()
    stopped = asyncio.Event()
    before = {number: signal.getsignal(number) for number in SIGNALS}

    def stop() -> None:
        for number in SIGNALS:
            loop.remove_signal_handler(number)
            # Not KeyboardInterrupt: in the middle of the loop it can lose a task, and so hang.
            signal.signal(number, signal.SIG_DFL)
        stopped.set()

    async with listening as server:
        with contextlib.suppress(NotImplementedError):  # Windows; there Ctrl-C cancels this
            for number in SIGNALS:
                loop.add_signal_handler(number, stop)
        logger.info('listening on %s', server.url)
        await stopped.wait()
    for number, handler in before.items():
        signal.signal(number, handler)
