"""Bodies that somebody listens in on as they flow, and is told of their end."""

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
    """Tell when a response is over: where its body flows, at the end of that, and else now.

    Args:
        response: Its body is replaced where it flows.
        ended: Is called once, and awaited where it can be: with None for a body that was read to
            its end, a GeneratorExit for one that was left early, else with what reading raised.
        seen: Gets each chunk of a body that flows.
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
    """What an iterator of any kind gives, as it is."""

    def __init__(self, source: Any, ended: Ended, seen: Callable[[Any], None] | None) -> None:
        self._source = source
        self._items = Chunks(source, _as_it_is)
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
        """Close what it comes from."""
        try:
            await close(self._items)
        finally:
            await self._end(GeneratorExit())

    async def _end(self, error: BaseException | None) -> None:
        ended, self._ended = self._ended, None
        if ended is not None:
            await call(ended, error)

    def __del__(self) -> None:
        if (
            self._ended is not None
        ):  # never one to be awaited: of what is left early nothing is written
            self._ended(GeneratorExit())


def _as_it_is(item: Any) -> Any:
    return item
