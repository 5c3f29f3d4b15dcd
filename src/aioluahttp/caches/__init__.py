"""Storages of the middleware ``cache``; beside them its rules, as pure functions (RFC 9111)."""

from .redis import RedisStorage
from .sqlite import SqliteStorage
from .storage import MemoryStorage, Storage

__all__ = ['MemoryStorage', 'RedisStorage', 'SqliteStorage', 'Storage']
