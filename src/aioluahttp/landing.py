"""What becomes of the body of an answer that is not read whole."""

from __future__ import annotations

from contextlib import suppress
from typing import Any

from . import text
from .checks import INTO, STREAMS
from .errors import Error
from .tables import Response

__all__ = ['is_accepted', 'is_whole', 'land', 'to_page']

PAGE = 64 * 1024  # bytes of a page of an error or a redirect: what a person would read of it


def is_whole(into: Any) -> bool:
    """Tell whether a body is read whole before its table is given."""
    return into in INTO


def is_accepted(status: int, check: bool | list[int]) -> bool:
    """Tell whether ``check`` lets a status pass."""
    return status < 400 if check is True else check is False or status in check


async def land(response: Response[Any], into: Any, check: bool | list[int]) -> None:
    """Make of the stream of a response what ``into`` asks for, or the text of a page."""
    status = response['status']
    if not is_accepted(status, check) or (into not in STREAMS and status >= 300):
        await to_page(response)


async def to_page(response: Response[Any]) -> None:
    """Make text of the stream of a response: what comes of it, up to a bound."""
    data = bytearray()
    async with response['body'] as stream:
        with suppress(Error):  # the answer tells more than how its page ends
            async for chunk in stream:
                data += chunk
                if len(data) > PAGE:
                    break
    page = bytes(data[:PAGE])
    response['body'] = text.from_bytes(page, response['headers'].get('Content-Type'))
