"""HTTP as plain tables for asyncio."""

from __future__ import annotations

from typing import TYPE_CHECKING

from . import parallel, url
from .client import Client
from .conversion import to_request, to_response
from .dates import format_date, parse_date
from .errors import (
    BodyTooLarge,
    ConnectError,
    Error,
    ProtocolError,
    StatusError,
    TableError,
    TimedOut,
)
from .headers import Headers
from .pool import request, websocket
from .shapes import RequestTable, ResponseTable
from .tables import Handler, Request, Response

if TYPE_CHECKING:
    from .compression import compress
    from .folders import files
    from .listening import listen, run
    from .relay import forward, proxy
    from .server import Server
    from .sockets import Socket

__version__ = '0.1.0'

__all__ = [
    'BodyTooLarge',
    'Client',
    'ConnectError',
    'Error',
    'Handler',
    'Headers',
    'ProtocolError',
    'Request',
    'RequestTable',
    'Response',
    'ResponseTable',
    'Server',
    'Socket',
    'StatusError',
    'TableError',
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


if not TYPE_CHECKING:  # to checkers any name of the module would be there

    def __getattr__(name):
        """Load the server, and aiohttp's with it, when it is first asked for; so WebSockets."""
        if name in ('Server', 'listen', 'run'):
            from . import listening

            return getattr(listening, name)
        if name == 'Socket':
            from .sockets import Socket

            return Socket
        if name in ('forward', 'proxy'):
            from . import relay

            return getattr(relay, name)
        if name == 'files':
            from .folders import files

            return files
        if name == 'compress':
            from .compression import compress

            return compress
        raise AttributeError(f'module {__name__!r} has no attribute {name!r}')
