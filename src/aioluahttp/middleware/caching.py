"""The middleware ``cache``: serve stored responses by the rules of RFC 9111.

The rules are pure functions in ``caches/rules``; here they are called in turn, between a storage
and a handler.
"""

from __future__ import annotations

import asyncio
import logging
import time
from collections.abc import AsyncIterator, Awaitable, Callable
from dataclasses import replace
from functools import update_wrapper
from secrets import token_hex
from typing import Any, NamedTuple, TypeVar

from ..bodies.chunks import call, slices
from ..bodies.stream import ArrivedBody, Stream
from ..caches.entries import PIECE, Entry, key_of, make_marker, selection_of, variant_key
from ..caches.fills import Fill, read_stored
from ..caches.flights import Flight, Found
from ..caches.responses import (
    add_cache_status,
    headers_of,
    select_part,
    to_served_response,
    unavailable,
    whole_response,
)
from ..caches.rules import (
    ERRORS,
    NOTHING_SPECIAL,
    Asked,
    Verdict,
    age_of,
    ask,
    freshened,
    invalidated_targets,
    is_same,
    judge,
    may_replace_error,
    policy_of,
    to_validation,
    without_claims,
    without_conditions,
)
from ..caches.storage import MemoryStorage, Storage
from ..errors import StatusError, TableError
from ..headers import Headers, given_length
from ..tables.checks import INTO, STREAMS, check_count, check_seconds, is_accepted, is_streamed
from ..tables.conversion import body_as, to_request, wire_body
from ..tables.handlers import close_body, encoded_chunks, take_response
from ..tables.models import Handler, Request, Response

__all__ = ['Cache', 'cache']

T = TypeVar('T')

logger: logging.Logger = logging.getLogger('aioluahttp')

MAX_ENTRY = 16 * 1024 * 1024  # bytes
WAIT = 10.0  # seconds
METHODS = frozenset({'GET', 'HEAD'})
KINDS = frozenset({None, *INTO, *STREAMS})  # of ``into``: not files and events


def cache(
    handler: Handler,
    *,
    shared: bool = True,
    storage: Storage | None = None,
    max_entry: int = MAX_ENTRY,
    wait: float | None = WAIT,
    clock: Callable[[], float] = time.time,
) -> Cache:
    """Serve stored responses of a handler, where RFC 9111 allows it.

    Around ``http.request`` it is the cache of a client, around ``http.proxy(origin)`` a caching
    gateway, and around a handler of your own a response cache. Concurrent requests for what is not
    stored become one. Each response says in its Cache-Status header what happened (RFC 9211).

    Args:
        handler: The handler to wrap.
        shared: Whether several users share the cache. It then stores less: nothing that is
            ``private``, and no response that sets a cookie, or whose request has a cookie or an
            Authorization header, unless the response says that it may be shared.
        storage: Where responses are stored; ``None`` is 64 MiB of memory.
        max_entry: Bytes. A response with a longer body is passed on and not stored.
        wait: Seconds that a request waits for the response to an equal one, before it is sent on
            itself. ``None`` is no limit.
        clock: Returns the Unix time.

    Raises:
        TableError: An option is invalid.

    Example:
        >>> async def page(request):
        ...     return {'status': 200, 'headers': {'Cache-Control': 'max-age=60'}, 'body': 'a'}
        >>> handler = cache(page)
    """
    return Cache(
        handler,
        shared=shared,
        storage=MemoryStorage() if storage is None else storage,
        max_entry=check_count('max_entry')(max_entry),
        wait=check_seconds('wait', wait),
        clock=clock,
    )


class Passage(NamedTuple):
    """A GET or HEAD request on its way through the cache.

    Attributes:
        stored: The response that is stored for it; None if there is none that could be used.
        reason: Why it is sent on, in the words of Cache-Status.
    """

    request: Request
    asked: Asked
    key: str
    stored: Found | None
    reason: str


class Cache:
    """A handler that serves stored responses of another one. Made by ``cache``."""

    def __init__(
        self,
        handler: Handler,
        *,
        shared: bool,
        storage: Storage,
        max_entry: int,
        wait: float | None,
        clock: Callable[[], float],
    ) -> None:
        # Also copies ``into`` and ``max_body``, which servers read from a handler.
        update_wrapper(self, handler)
        self._handler = handler
        self._shared = shared
        self._storage = storage
        self._most = max_entry
        self._wait = wait
        self._clock = clock
        self._flights: dict[Any, Flight] = {}  # that others may join
        self._current: dict[str, set[Flight]] = {}  # all of a key, to be invalidated
        self._tasks: set[asyncio.Task[Any]] = set()

    async def __call__(self, table: Any) -> Response[Any]:
        """Respond from the storage, or send the request on."""
        request = table if isinstance(table, Request) else to_request(table)
        if request['method'] not in METHODS:
            return await self._pass_unsafe(request)
        asked = ask(request)
        if asked.bypass or request.get('into') not in KINDS or 'tls' in request:
            response = await self._call(request)
            return self._finished(request, self._marked(response, 'fwd=bypass'))
        key = key_of(request)
        entry = await self._try(self._storage.get, key)
        if entry is not None and asked is NOTHING_SPECIAL and is_simple(entry, request):
            age = age_of(entry, self._clock())
            if age < entry.lifetime:  # what ``_respond`` would find out, for most of all hits
                return whole_response(entry, int(age))
        return await self._respond(request, asked, key, entry)

    async def _respond(
        self, request: Request, asked: Asked, key: str, entry: Entry | None
    ) -> Response[Any]:
        """Respond with an entry, or with one of its variants, or send the request on."""
        stored, missed = await self._select(key, request, entry)
        if stored is not None:
            now = self._clock()
            verdict = judge(stored.entry, asked, now)
            if verdict is not Verdict.VALIDATE:
                served = await self._serve(stored, request, asked, now, 'hit')
                if served is not None:
                    if verdict is Verdict.BACKGROUND:
                        passage = Passage(request, asked, key, stored, 'stale')
                        self._validate_in_background(passage, stored.entry.id)
                    return served
            stale = judge(stored.entry, NOTHING_SPECIAL, now) is Verdict.VALIDATE
            missed = 'stale' if stale else 'request'
        if 'only-if-cached' in asked.directives:
            return self._finished(request, unavailable())
        return await self._miss(Passage(request, asked, key, stored, missed))

    async def close(self) -> None:
        """Stop storing bodies and validating responses in the background, and wait for the end.

        The storage stays open.
        """
        for task in self._tasks:
            task.cancel()
        await asyncio.gather(*self._tasks, return_exceptions=True)

    async def _pass_unsafe(self, request: Request) -> Response[Any]:
        """Send on a request of another method, and invalidate what it has changed."""
        response = await take_response(await call(self._handler, request))
        for target in invalidated_targets(request, response):
            for raw in (False, True):
                await self._invalidate(key_of(target, raw=raw))
        return self._marked(response, 'fwd=method')

    async def _invalidate(self, key: str) -> None:
        for flight in self._current.get(key, ()):
            flight.void = True
            flight.settle(None)
        for slot in [slot for slot in self._flights if slot[1] == key]:
            del self._flights[slot]
        await self._try(self._storage.delete, key)

    async def _try(self, method: Callable[..., Awaitable[T]], *arguments: Any) -> T | None:
        """Call a method of the storage; None if it fails, for that costs no response."""
        try:
            return await method(*arguments)
        except Exception as error:
            logger.warning('the storage of a cache failed: %r', error)
            return None

    async def _select(
        self, key: str, request: Request, entry: Entry | None
    ) -> tuple[Found | None, str]:
        """Return what can be served of what a key has; if there is nothing, say why."""
        missed = 'uri-miss'
        if entry is not None and entry.is_marker:
            key, missed = variant_key(key, entry, request['headers']), 'vary-miss'
            entry = await self._try(self._storage.get, key)
        if entry is None or entry.is_marker or not is_wanted(entry, request):
            return None, missed
        return Found(key, entry), missed

    async def _serve(
        self, found: Found, request: Request, asked: Asked, now: float, *status: str
    ) -> Response[Any] | None:
        """Respond with an entry; None if its body is gone."""
        entry, fill = found.entry, found.fill
        part = select_part(entry, request, asked, now)
        headers = headers_of(entry, request, part, now)
        add_cache_status(headers, *status)
        body: Any = b''
        if fill is not None:
            body = Stream(fill.reader(), headers.get('Content-Type'))
        elif part.start < part.end:
            if entry.body is not None:
                body = entry.body[part.start : part.end]
            else:
                first = await self._try(self._storage.read, entry.id, part.start // PIECE)
                if first is None:
                    return None
                pieces = read_stored(self._storage, entry.id, part.start, part.end, first)
                body = Stream(pieces, headers.get('Content-Type'))
                headers['Content-Length'] = str(part.end - part.start)
        response = Response({'status': part.status, 'headers': headers, 'body': body})
        if entry.reason is not None and part.status == entry.status:
            response['reason'] = entry.reason
        return response if 'version' in request else await to_served_response(request, response)

    async def _miss(self, passage: Passage) -> Response[Any]:
        """Send a request on, or wait for the response to an equal one."""
        request, asked, key, stored, _ = passage
        if not asked.is_plain or request['method'] == 'HEAD':
            return await self._forward(passage, Flight(request))
        loop = asyncio.get_running_loop()
        # A second time if the response turned out to vary by headers in which the requests differ.
        selection = '' if stored is None or not stored.entry.vary else stored.key
        for again in (False, True):
            slot = loop, key, selection
            flight = self._flights.get(slot)
            if flight is None:
                response = await self._look_again(passage) if again else None
                return response or await self._lead(slot, passage)
            found = await flight.wait(self._wait)
            if found is None:
                break
            vary = found.entry.vary
            selection = selection_of(vary, request['headers'])
            if selection == selection_of(vary, flight.headers):
                response = await self._follow(found, passage)
                if response is not None:
                    return response
                break
        return await self._forward(passage, Flight(request))

    async def _look_again(self, passage: Passage) -> Response[Any] | None:
        """Serve what was stored while the request waited for the response to another one."""
        request, asked, now = passage.request, passage.asked, self._clock()
        entry = await self._try(self._storage.get, passage.key)
        found, _ = await self._select(passage.key, request, entry)
        if found is None or judge(found.entry, asked, now) is Verdict.VALIDATE:
            return None
        return await self._serve(found, request, asked, now, 'hit')

    async def _follow(self, found: Found, passage: Passage) -> Response[Any] | None:
        """Serve what another request was responded with, if that may be served."""
        request, now = passage.request, self._clock()
        gone = found.fill is not None and not found.fill.storing
        if gone or not is_wanted(found.entry, request):
            return None
        if judge(found.entry, passage.asked, now) is Verdict.VALIDATE:
            return None
        status = f'fwd={passage.reason}', 'collapsed'
        return await self._serve(found, request, passage.asked, now, *status)

    async def _lead(self, slot: Any, passage: Passage) -> Response[Any]:
        """Send a request on, so that equal ones wait for its response."""
        flight = self._flights[slot] = Flight(passage.request)

        def end() -> None:
            if self._flights.get(slot) is flight:
                del self._flights[slot]

        try:
            return await self._forward(passage, flight)
        finally:
            flight.settle(None)
            flight.call_when_stored(end)

    def _validate_in_background(self, passage: Passage, id: str) -> None:
        """Validate the entry of an id, which is served stale meanwhile, once (RFC 5861 3)."""
        slot = asyncio.get_running_loop(), passage.key, f'background {id}'
        if slot in self._flights:
            return
        request = without_conditions(passage.request) | {'method': 'GET'}
        self._flights[slot] = Flight(request)

        async def validate() -> None:
            try:
                given = passage._replace(request=request, asked=NOTHING_SPECIAL)
                await close_body(await self._forward(given, Flight(request)))
            except Exception as error:
                logger.warning('a stale response could not be validated: %r', error)
            finally:
                self._flights.pop(slot, None)

        self._keep(asyncio.create_task(validate()))

    def _keep(self, task: asyncio.Task[Any]) -> None:
        self._tasks.add(task)
        task.add_done_callback(self._tasks.discard)

    async def _forward(self, passage: Passage, flight: Flight) -> Response[Any]:
        """Send a request on, and store its response if it may be stored."""
        current = self._current.setdefault(passage.key, set())
        current.add(flight)
        try:
            return await self._exchange(passage, flight)
        finally:
            # A body that is still being stored keeps the flight, to be invalidated.
            flight.call_when_stored(lambda: self._forget(passage.key, flight))

    def _forget(self, key: str, flight: Flight) -> None:
        current = self._current.get(key, set())
        current.discard(flight)
        if not current:
            self._current.pop(key, None)

    async def _exchange(self, passage: Passage, flight: Flight) -> Response[Any]:
        request, asked, _, stored, reason = passage
        validation = None if stored is None else to_validation(request, stored.entry)
        began = self._clock()
        try:
            response = await self._call(validation or request)
        except Exception as error:
            instead = await self._instead(passage, type(error).__name__)
            if instead is None or isinstance(error, TableError | StatusError):
                raise
            logger.warning('a stale response is served: %r', error)
            return instead
        times = began, self._clock()
        if validation is not None and response['status'] == 304:
            await close_body(response)
            served = await self._validated(passage, flight, response, times)
            # Another representation, or its body is gone: once more, without the condition.
            again = passage._replace(stored=None)
            return served or await self._exchange(again, flight)
        if response['status'] in ERRORS:
            instead = await self._instead(passage, str(response['status']))
            if instead is not None:
                await close_body(response)
                return instead
        entry = None
        if request['method'] == 'GET' and not asked.names & {'range'}:
            entry = policy_of(request, response, self._shared, times)
        if entry is not None:
            return await self._store(passage, flight, response, entry)
        return self._finished(request, self._marked(response, f'fwd={reason}'))

    async def _instead(self, passage: Passage, error: str) -> Response[Any] | None:
        """Return a stale response to serve instead of an error (RFC 5861 4)."""
        stored, now = passage.stored, self._clock()
        if stored is None or not may_replace_error(stored.entry, passage.asked, now):
            return None
        status = 'hit', 'detail=stale-if-error'
        return await self._serve(stored, passage.request, passage.asked, now, *status)

    async def _validated(
        self, passage: Passage, flight: Flight, response: Response[Any], times: tuple[float, float]
    ) -> Response[Any] | None:
        """Update a stored response by a 304, and respond with it."""
        stored: Any = passage.stored
        if not is_same(stored.entry, response):
            return None
        entry, stores, drops = freshened(
            passage.request, stored.entry, response, self._shared, times
        )
        found = Found(stored.key, entry)
        if stores and not flight.void:
            flight.settle(found)
            await self._try(self._storage.put, stored.key, entry, stored.entry.id)
        elif drops:
            await self._try(self._storage.delete, stored.key)
        status = 'fwd=stale' if passage.reason == 'stale' else 'fwd=request', 'fwd-status=304'
        return await self._serve(found, passage.request, passage.asked, times[1], *status)

    async def _store(
        self, passage: Passage, flight: Flight, response: Response[Any], entry: Entry
    ) -> Response[Any]:
        """Store a response, while it is passed on if it is long."""
        request, body, status = passage.request, response['body'], f'fwd={passage.reason}'
        streamed = isinstance(body, Stream) or is_streamed(body)
        length = given_length(response['headers']) if streamed else 0
        if length is not None and length > self._most:
            return self._finished(request, self._marked(response, status))
        entry.id = token_hex(8)
        if isinstance(body, Stream) and length is not None and length <= PIECE:
            response = await self._read_short(passage, flight, response, entry, length)
        elif streamed:
            response['body'] = await self._fill(passage, flight, response, entry, length)
        else:
            data = bytes_of(request, response)
            if data is None or len(data) > self._most:
                return self._finished(request, self._marked(response, status))
            set_type(entry, response['headers'])
            await self._store_whole(passage, flight, entry, data)
        return self._finished(request, self._marked(response, status, 'stored'))

    async def _store_whole(
        self, passage: Passage, flight: Flight, entry: Entry, data: bytes
    ) -> None:
        """Store a response with a body that is here."""
        entry.size, entry.body = len(data), data
        flight.settle(None if flight.void else Found(passage.key, entry))
        if len(data) > PIECE:
            entry = replace(entry, body=None)
            if not await self._try(self._write, entry.id, data):
                await self._try(self._storage.discard, entry.id)
                return
        await self._put(passage, flight, entry)

    async def _write(self, id: str, data: bytes) -> bool:
        for number, piece in enumerate(slices(data, PIECE)):
            await self._storage.write(id, number, piece)
        return True

    async def _put(self, passage: Passage, flight: Flight, entry: Entry) -> None:
        """Make a stored response visible, under the key of its variant if there are several."""
        if flight.void:
            await self._try(self._storage.discard, entry.id)
            return
        key = passage.key
        if entry.vary:
            marker = await self._try(self._storage.get, key)
            if marker is None or marker.status or marker.vary != entry.vary:
                marker = make_marker(entry.vary)
                await self._try(self._storage.put, key, marker)
            key = variant_key(key, marker, passage.request['headers'])
        await self._try(self._storage.put, key, entry)
        if flight.void:  # it was invalidated meanwhile
            await self._try(self._storage.delete, key)

    async def _read_short(
        self,
        passage: Passage,
        flight: Flight,
        response: Response[Any],
        entry: Entry,
        length: int,
    ) -> Response[Any]:
        """Read a short body whose length is known, and store it."""
        body: Stream = response['body']
        kind, data = response['headers'].get('Content-Type'), body.rest()
        if data is None:
            chunks: list[bytes] = []
            try:
                async for chunk in body:
                    chunks.append(chunk)
            except Exception as error:
                parts = broken(b''.join(chunks), error)
                response['body'] = Stream(parts, kind, decoded=body.decoded)
                return response
            finally:
                await body.close()
            data = b''.join(chunks)
        if len(data) == length:  # a server sends no other body whole
            await self._store_whole(passage, flight, entry, data)
        if 'version' not in passage.request:
            response['body'] = Stream(ArrivedBody(data), kind, decoded=body.decoded)
            return response
        headers = response['headers']
        headers.popall('Content-Length')  # the server writes its own
        whole = {'status': response['status'], 'headers': headers, 'body': data}
        return Response(whole if entry.reason is None else whole | {'reason': entry.reason})

    async def _fill(
        self,
        passage: Passage,
        flight: Flight,
        response: Response[Any],
        entry: Entry,
        length: int | None,
    ) -> Any:
        """Start to store a body while it is passed on; return what the client reads."""
        body, headers = response['body'], response['headers']
        chunks = encoded_chunks(headers, body)
        chunks.length = length

        async def commit(size: int, data: bytes | None) -> None:
            entry.size, entry.body = size, data
            if flight.void:
                fill.storing = False  # so that it discards the pieces once nobody reads them
            else:
                await self._put(passage, flight, entry)

        fill = Fill(chunks, self._storage, entry.id, self._most, commit)
        reader = fill.reader()
        task = fill.start_pump()
        self._keep(task)
        if not isinstance(body, Stream):
            # Errors before the first chunk become a 500; and the first one may add a Content-Type.
            try:
                await fill.begun()
            except BaseException:
                await reader.aclose()
                raise
        set_type(entry, headers)
        flight.settle(None if flight.void else Found(passage.key, entry, fill))
        decoded = isinstance(body, Stream) and body.decoded
        return Stream(reader, headers.get('Content-Type'), decoded=decoded)

    async def _call(self, request: Request) -> Response[Any]:
        """Call the handler with a request that others may get the response of."""
        if self._shared:
            request = without_claims(request)
        if request.get('into') == 'json':  # a body that is decoded cannot be stored
            request = Request(request | {'into': 'bytes'})
        response = await call(self._handler, request)
        if type(response) is Response and type(response.get('headers')) is Headers:
            # As ``request`` and ``proxy`` return it; servers check it once more anyway.
            return Response({'body': '', **response, 'headers': response['headers'].copy()})
        return await take_response(response)

    def _marked(self, response: Response[Any], *status: str) -> Response[Any]:
        add_cache_status(response['headers'], *status)
        return response

    def _finished(self, request: Request, response: Response[Any]) -> Response[Any]:
        """Bring a body that was asked for as JSON to that form."""
        if request.get('into') == 'json' and isinstance(response['body'], str | bytes):
            status, headers = response['status'], response['headers']
            response['body'] = body_as('json', status, headers, response.bytes())
        return response


def is_simple(entry: Entry, request: Request) -> bool:
    """Tell whether a server responds to a request with the whole of an entry, while fresh."""
    return (
        entry.body is not None
        and entry.status != 0
        and entry.reason is None
        and not entry.must_validate
        and request['method'] == 'GET'
        and 'version' in request
        and 'max_body' not in request
        and 'check' not in request
    )


def is_wanted(entry: Entry, request: Request) -> bool:
    """Tell whether a client's limits on a response allow an entry."""
    limit, check = request.get('max_body'), request.get('check', False)
    return (limit is None or entry.size <= limit) and (
        check is False or is_accepted(entry.status, check)
    )


def bytes_of(request: Request, response: Response[Any]) -> bytes | None:
    """Return the bytes of a body, None for a file or a value that was decoded from JSON.

    On a server they have the Content-Type that is sent with them.
    """
    body = response['body']
    if not isinstance(body, str | bytes):
        return None
    return wire_body(response['headers'], body) if 'version' in request else response.bytes()


def set_type(entry: Entry, headers: Headers) -> None:
    """Give an entry the Content-Type that its body got when it was encoded."""
    given = headers.get('Content-Type')
    if given is not None and ('Content-Type', given) not in entry.headers:
        kept = (pair for pair in entry.headers if pair[0].lower() != 'content-type')
        entry.headers = (*kept, ('Content-Type', given))


async def broken(data: bytes, error: Exception) -> AsyncIterator[bytes]:
    """Yield what came of a body before it broke off, and raise the error."""
    if data:
        yield data
    raise error
