"""Turn a response body into what ``into`` asks for: text, bytes, JSON, a stream or events.

Writing a body to a file is in ``client.download``.
"""

from __future__ import annotations

from contextlib import suppress
from typing import Any

from ..bodies import text
from ..bodies.events import EventStream
from ..errors import Error, ProtocolError, shown
from ..headers import Headers
from ..tables.checks import EVENTS, INTO, STREAMS, is_accepted, progress_of
from ..tables.conversion import PAGES, body_as
from ..tables.models import Request, Response, describe_request
from .response_body import DecodedBody

__all__ = ['apply_into', 'watch_download', 'with_accept']

PAGE = 64 * 1024  # bytes that are kept of the page of an error or a redirect, for people to read
NOTHING = (204, 205)  # these have no body and no Content-Type
PARTIAL = 206


def watch_download(request: Request, status: int, body: DecodedBody) -> None:
    """Let a body that is read in parts report its progress, unless it is a page."""
    on_progress = progress_of(request, 'download')
    if on_progress is not None and status < PAGES:
        # A function for both directions is not called with 0 after the upload: it would jump back.
        shared = 'body' in request and on_progress is request['on_progress']
        body.watch(on_progress, 0 if shared else None)


def with_accept(request: Request) -> Request:
    """Add the Accept header for events, unless the request has one."""
    if 'Accept' in request['headers']:
        return request
    return request | {
        'headers': Headers([*request['headers'].items(), ('Accept', EventStream.TYPE)])
    }


async def apply_into(response: Response[Any], request: Request, *, last: bool) -> None:
    """Replace the stream of a response by what ``into`` asks for, or by the text of its page.

    The body stays a stream if ``into`` asks for one, or for a file.

    Args:
        response: Its body is a ``Stream``, which is replaced.
        request: The request that it responds to.
        last: False for a redirect that is followed.

    Raises:
        ProtocolError: The body is not what ``into`` asks for, or is cut off.
        BodyTooLarge: A body that is read whole passes ``max_body``.
        TimedOut: A read took too long.
    """
    into = request.get('into', 'text')
    try:
        if into in INTO:
            await _to_whole(response, into)
        elif not last or _is_page(response['status'], request):
            await _to_page(response)
        elif into == EVENTS:
            await _to_events(response)
    except ProtocolError as error:
        if error.request is None:
            raise ProtocolError(f'{describe_request(request)}: {error}') from error
        raise


def _is_page(status: int, request: Request) -> bool:
    # ``resume`` requests the rest of a body, so a 206 counts as the 200 of the whole.
    checked = 200 if status == PARTIAL and request.get('resume') else status
    check = request.get('check', False)
    accepted = check is False or is_accepted(checked, check)
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
    """Read the text of a page: its first ``PAGE`` bytes, or what arrives of them."""
    data = bytearray()
    async with response['body'] as stream:
        with suppress(Error):  # the status matters, a page that is cut off does not
            async for chunk in stream:
                data += chunk
                if len(data) > PAGE:
                    break
    page = bytes(data[:PAGE])
    response['body'] = text.from_bytes(page, response['headers'].get('Content-Type'))
