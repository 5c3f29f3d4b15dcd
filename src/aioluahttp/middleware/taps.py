"""Call a function when a response body ends, and another with each chunk before."""

from __future__ import annotations

from collections.abc import AsyncIterator, Callable
from typing import Any

from ..bodies.chunks import Chunks, call, close
from ..bodies.stream import Stream
from ..tables.checks import is_streamed
from ..tables.models import Response

__all__ = ['Ended', 'tap']

Ended = Callable[[BaseException | None], Any]


async def tap(
    response: Response[Any], ended: Ended, seen: Callable[[Any], None] | None = None
) -> Response[Any]:
    """Call ``ended`` when a response has ended: at the end of a streamed body, otherwise now.

    Args:
        response: A streamed body is replaced in place.
        ended: Called once, and awaited if it returns an awaitable: with None for a body that was
            read to its end, a GeneratorExit for one that was not, or the exception that reading
            raised.
        seen: Called with each chunk of a streamed body.
    """
    body = response['body']
    if not is_streamed(body):
        await call(ended, None)
        return response
    tapped = Tap(body, ended, seen)
    given = isinstance(body, Stream)
    response['body'] = Stream(tapped, response['headers'].get('Content-Type')) if given else tapped
    return response


class Tap:
    """An iterator that passes on the chunks of another one unchanged."""

    def __init__(self, source: Any, ended: Ended, seen: Callable[[Any], None] | None) -> None:
        self._source = source
        self._items = Chunks(source, _unchanged)
        self._ended: Ended | None = ended
        self._seen = seen

    def __aiter__(self) -> AsyncIterator[Any]:
        return self

    async def __anext__(self) -> Any:
        try:
            item = await anext(self._items)
        except StopAsyncIteration:
            await self._end(None)
            raise
        except BaseException as error:
            await self._end(error)
            raise
        if self._seen is not None:
            self._seen(item)
        return item

    async def aclose(self) -> None:
        """Close the source."""
        try:
            await close(self._items)
        finally:
            await self._end(GeneratorExit())

    async def _end(self, error: BaseException | None) -> None:
        ended, self._ended = self._ended, None
        if ended is not None:
            await call(ended, error)

    def __del__(self) -> None:
        if self._ended is not None:
            # Cannot be awaited here: an ``ended`` must not return an awaitable for a GeneratorExit.
            self._ended(GeneratorExit())


def _unchanged(item: Any) -> Any:
    return item
