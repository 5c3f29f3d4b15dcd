"""What becomes of the body of an answer."""

from __future__ import annotations

from contextlib import suppress
from typing import Any

from ..bodies import text
from ..bodies.events import EventStream
from ..bodies.stream import Stream
from ..errors import Error, ProtocolError, shown
from ..headers import Headers
from ..tables.checks import EVENTS, INTO, STREAMS, is_accepted
from ..tables.conversion import body_into
from ..tables.models import Request, Response, described

__all__ = ['PAGES', 'apply_into', 'body_as', 'is_whole', 'needs_stream', 'with_accept']

PAGE = 64 * 1024  # bytes of a page of an error or a redirect: what a person would read of it
PAGES = 300  # from this status on an answer is a page, and not what was asked for
NOTHING = (204, 205)  # neither has a body, nor a type
PARTIAL = 206


def is_whole(into: Any) -> bool:
    """Tell whether a body is read whole before its table is given."""
    return into in INTO


def needs_stream(request: Request) -> bool:
    """Tell whether the body of the answer is read as it comes, and be it to tell how far it is."""
    return 'on_progress' in request or not is_whole(request.get('into', 'text'))


def with_accept(request: Request) -> Request:
    """Give a request the headers that say what ``into`` asks for, where it has none of its own."""
    if request.get('into') != EVENTS or 'Accept' in request['headers']:
        return request
    return request | {
        'headers': Headers([*request['headers'].items(), ('Accept', EventStream.TYPE)])
    }


def body_as(into: str, status: int, headers: Headers, data: bytes) -> Any:
    """Make of a whole body what ``into`` asks for.

    Raises:
        ProtocolError: It is to be JSON, and is not.
    """
    try:
        return body_into(into, data, headers)
    except ValueError as error:
        if status < PAGES:
            raise ProtocolError(f'the body is no JSON: {error}') from error
        # The page of a redirect or an error, as a rule.
        return body_into('text', data, headers)


async def apply_into(response: Response[Any], request: Request, *, last: bool) -> None:
    """Make of the stream of a response what ``into`` asks for, or the text of a page.

    What is to be written to a file stays a stream.

    Args:
        response: Of which the body is changed.
        request: That it answers.
        last: Whether no other request follows, as after a redirect.

    Raises:
        Error: Of the kinds that say what went wrong.
    """
    if not isinstance(response['body'], Stream):
        return
    into = request.get('into', 'text')
    try:
        if is_whole(into):
            await _to_whole(response, into)
        elif not last or _is_page(response['status'], request):
            await _to_page(response)
        elif into == EVENTS:
            await _to_events(response)
    except ProtocolError as error:
        if error.request is None:
            raise ProtocolError(f'{described(request)}: {error}') from error
        raise


def _is_page(status: int, request: Request) -> bool:
    # The rest was asked for in place of the whole.
    asked = 200 if status == PARTIAL and request.get('resume') else status
    accepted = is_accepted(asked, request.get('check', False))
    return not accepted or (status >= PAGES and request.get('into') not in STREAMS)


async def _to_whole(response: Response[Any], into: str) -> None:
    async with response['body'] as stream:
        data = await stream.read()
    response['body'] = body_as(into, response['status'], response['headers'], data)


async def _to_events(response: Response[Any]) -> None:
    stream, kind = response['body'], response['headers'].get('Content-Type')
    if response['status'] not in NOTHING and not EventStream.is_type(kind or ''):
        await stream.close()
        raise ProtocolError(f'Content-Type is {shown(kind)}, not {EventStream.TYPE}')
    response['body'] = EventStream(stream)


async def _to_page(response: Response[Any]) -> None:
    """Read what comes of it, up to a bound."""
    data = bytearray()
    async with response['body'] as stream:
        with suppress(Error):  # the answer tells more than how its page ends
            async for chunk in stream:
                data += chunk
                if len(data) > PAGE:
                    break
    page = bytes(data[:PAGE])
    response['body'] = text.from_bytes(page, response['headers'].get('Content-Type'))
