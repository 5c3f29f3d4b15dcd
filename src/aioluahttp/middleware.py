"""Functions of a handler that give another: retry, record and replay, limit, log."""

from .limits import limit
from .logs import log
from .recordings import record
from .replays import replay
from .retrying import retry

__all__ = ['limit', 'log', 'record', 'replay', 'retry']
