"""Functions of a handler that give another: limit, log."""

from .limits import limit
from .logs import log

__all__ = ['limit', 'log']
