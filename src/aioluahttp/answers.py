"""What a handler answers, brought to its normal form."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from .calling import call, close
from .checks import flows
from .conversion import to_response
from .tables import Handler, Request, Response

__all__ = ['answer_of', 'discard', 'taken']


async def answer_of(handler: Handler, request: Request) -> Response[Any]:
    """Call a handler, plain or async, and take what it returns."""
    return await taken(await call(handler, request))


async def taken(table: Any) -> Response[Any]:
    """Bring a response to its normal form; the iterators of one that is refused are closed."""
    try:
        return to_response(table)
    except Exception:
        await discard(table)
        raise


async def discard(table: Any) -> None:
    """Close the iterators of a response that nobody is going to read."""
    for key in ('body', 'events') if isinstance(table, Mapping) else ():
        if flows(source := table.get(key)):
            await close(source)
