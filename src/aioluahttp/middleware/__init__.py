"""Functions of a handler that give another, for either side of the wire."""

from .compression import compress
from .limits import limit
from .linting import lint
from .logs import log
from .recordings import record, replay
from .retrying import retry
from .tracing import trace

__all__ = ['compress', 'limit', 'lint', 'log', 'record', 'replay', 'retry', 'trace']
