"""Functions of a handler that give another: retry, record and replay, limit, log, trace."""

from .limits import limit
from .logs import log
from .recordings import record
from .replays import replay
from .retrying import retry
from .tracing import trace

__all__ = ['limit', 'log', 'record', 'replay', 'retry', 'trace']
