"""Functions of a handler that give another: retry, limit, log."""

from .limits import limit
from .logs import log
from .retrying import retry

__all__ = ['limit', 'log', 'retry']
