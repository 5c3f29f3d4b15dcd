"""Middlewares: each takes a handler and returns another, for servers and for clients."""

from .caching import cache
from .compression import compress
from .limits import limit
from .linting import lint
from .logs import log
from .recordings import record, replay
from .retrying import retry
from .tracing import trace

__all__ = [
    'cache',
    'compress',
    'limit',
    'lint',
    'log',
    'record',
    'replay',
    'retry',
    'trace',
]
