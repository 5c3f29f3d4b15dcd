"""HTTP as plain tables for asyncio."""

from __future__ import annotations

from importlib import import_module
from typing import TYPE_CHECKING

from . import parallel, url
from .client.client import Client
from .client.per_loop import request, websocket
from .dates import format_date, parse_date
from .errors import (
    BodyTooLarge,
    ConnectError,
    Error,
    ProtocolError,
    StatusError,
    TableError,
    TableWarning,
    TimedOut,
)
from .headers import Headers
from .tables.conversion import to_request, to_response
from .tables.models import Handler, Request, Response, ResponseLike
from .types import RequestTable, ResponseTable

if TYPE_CHECKING:
    from .bodies.events import EventStream
    from .bodies.stream import Stream
    from .exchange.options import ExchangeOptions
    from .middleware.compression import compress
    from .reverse_proxy.proxy import forward, proxy
    from .server.listen import ListenOptions, listen, run
    from .server.server import Server
    from .static import files
    from .websockets.socket import Socket

__version__ = '0.2.0'

__all__ = [
    'BodyTooLarge',
    'Client',
    'ConnectError',
    'Error',
    'EventStream',
    'ExchangeOptions',
    'Handler',
    'Headers',
    'ListenOptions',
    'ProtocolError',
    'Request',
    'RequestTable',
    'Response',
    'ResponseLike',
    'ResponseTable',
    'Server',
    'Socket',
    'StatusError',
    'Stream',
    'TableError',
    'TableWarning',
    'TimedOut',
    'compress',
    'files',
    'format_date',
    'forward',
    'listen',
    'parallel',
    'parse_date',
    'proxy',
    'request',
    'run',
    'to_request',
    'to_response',
    'url',
    'websocket',
]


# Imported on first access, so that a client loads neither the server nor WebSockets.
LAZY = {
    'EventStream': 'bodies.events',
    'ExchangeOptions': 'exchange.options',
    'ListenOptions': 'server.listen',
    'Server': 'server.server',
    'Socket': 'websockets.socket',
    'Stream': 'bodies.stream',
    'compress': 'middleware.compression',
    'files': 'static',
    'forward': 'reverse_proxy.proxy',
    'listen': 'server.listen',
    'proxy': 'reverse_proxy.proxy',
    'run': 'server.listen',
}

if not TYPE_CHECKING:  # or type checkers would accept any name

    def __getattr__(name):
        """Import a name of ``LAZY`` from its module."""
        if name in LAZY:
            return getattr(import_module(f'.{LAZY[name]}', __name__), name)
        raise AttributeError(f'module {__name__!r} has no attribute {name!r}')
