"""Functions of a handler that give another: limit."""

from .limits import limit

__all__ = ['limit']
