"""Functions of a handler that give another: retry, record and replay, limit, log, trace, lint."""

from .limits import limit
from .linting import lint
from .logs import log
from .recordings import record
from .replays import replay
from .retrying import retry
from .tracing import trace

__all__ = ['limit', 'lint', 'log', 'record', 'replay', 'retry', 'trace']
