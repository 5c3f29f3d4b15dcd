"""The storage in Redis: one cache for many processes and machines."""

from __future__ import annotations

from hashlib import sha256
from typing import TYPE_CHECKING, Any

from .entries import Entry, dump_entry, load_entry

if TYPE_CHECKING:
    from redis.asyncio import Redis

__all__ = ['RedisStorage']

DRAFT = 3600  # seconds after which pieces go whose entry has not followed
LONGEST = 30 * 24 * 3600  # seconds
STALE = 24 * 3600  # seconds for which an entry is kept beyond its freshness, to be validated
TIMEOUT = 5.0  # seconds of a command

# Redis runs a script as one step: nobody sees an entry in part, and nobody comes between.
PUT = """
if ARGV[2] ~= '' and redis.call('HGET', KEYS[1], 'id') ~= ARGV[2] then return 0 end
redis.call('HSET', KEYS[1], 'id', ARGV[1], 'data', ARGV[3])
redis.call('EXPIRE', KEYS[1], ARGV[4])
redis.call('EXPIRE', KEYS[2], ARGV[4])
return 1
"""


class RedisStorage:
    """Store responses in Redis. Processes that have the same URL and prefix share the cache.

    How much it takes is bounded by Redis: set its ``maxmemory``, and ``maxmemory-policy`` to
    ``allkeys-lru``. A response that was not used again goes a day after it has become stale.

    Args:
        url: Such as ``'redis://localhost:6379/0'``, or ``'unix:///run/redis.sock'``.
        prefix: What all keys begin with.

    Raises:
        ImportError: redis is not installed.
    """

    def __init__(self, url: str, *, prefix: str = 'aioluahttp:') -> None:
        try:
            from redis.asyncio import Redis
        except ImportError as error:
            what = "RedisStorage needs redis: pip install 'aioluahttp[cache-redis]'"
            raise ImportError(what) from error
        self._redis: Redis = Redis.from_url(
            url, socket_timeout=TIMEOUT, socket_connect_timeout=TIMEOUT
        )
        self._prefix = prefix

    def _key(self, key: str) -> str:
        digest = sha256(key.encode('utf-8', 'surrogateescape')).hexdigest()
        return f'{self._prefix}entry:{digest}'

    def _pieces(self, id: str) -> str:
        return f'{self._prefix}pieces:{id}'

    async def get(self, key: str) -> Entry | None:
        """Return the entry of a key."""
        data: Any = await self._redis.hget(self._key(key), 'data')
        return None if data is None else load_entry(data)

    async def put(self, key: str, entry: Entry, replaced: str | None = None) -> None:
        """Store an entry under a key. The pieces of one that it replaces go when they expire."""
        keys = self._key(key), self._pieces(entry.id)
        given = entry.id, replaced or '', dump_entry(entry), seconds_to_keep(entry)
        await self._redis.eval(PUT, len(keys), *keys, *given)

    async def delete(self, key: str) -> None:
        """Remove the entry of a key."""
        await self._redis.delete(self._key(key))

    async def write(self, id: str, number: int, piece: bytes) -> None:
        """Store a piece of a body."""
        key = self._pieces(id)
        async with self._redis.pipeline(transaction=True) as pipeline:
            pipeline.hset(key, str(number), piece)
            pipeline.expire(key, DRAFT)
            await pipeline.execute()

    async def read(self, id: str, number: int) -> bytes | None:
        """Return a piece of a body."""
        piece: Any = await self._redis.hget(self._pieces(id), str(number))
        return None if piece is None else bytes(piece)

    async def discard(self, id: str) -> None:
        """Remove the pieces of a body."""
        await self._redis.delete(self._pieces(id))

    async def close(self) -> None:
        """Close the connections."""
        await self._redis.aclose()


def seconds_to_keep(entry: Entry) -> int:
    """Return after how many seconds Redis forgets an entry; a marker is kept for the longest."""
    if entry.is_marker:
        return LONGEST
    left = max(entry.lifetime - entry.age, 0.0)
    stale = max(STALE, entry.while_revalidate, entry.if_error)
    return int(min(left + stale, LONGEST))
