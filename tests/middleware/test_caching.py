"""The middleware ``cache``: around handlers, clients and proxies."""

import asyncio
from contextlib import asynccontextmanager, suppress

import pytest

import aioluahttp as http
from aioluahttp.asgi import to_asgi
from aioluahttp.bodies.stream import Stream
from aioluahttp.caches import MemoryStorage, SqliteStorage
from aioluahttp.caches.entries import PIECE
from aioluahttp.middleware import cache

URL = {'url': 'http://h/a'}
LONG = bytes(number % 251 for number in range(5 * PIECE + 7))


class Clock:
    """A clock that goes on when the test says so."""

    def __init__(self):
        self.now = 784111777.0

    def __call__(self):
        return self.now


class Origin:
    """A handler that notes its requests, and returns what the test says."""

    def __init__(self, *responses):
        self.requests = []
        self.responses = list(responses)

    async def __call__(self, request):
        self.requests.append(request)
        given = self.responses.pop(0) if len(self.responses) > 1 else self.responses[0]
        if callable(given):
            given = given(request)
        if asyncio.iscoroutine(given):
            given = await given
        if isinstance(given, BaseException):
            raise given
        return given


def page(text='max-age=60', body='a', status=200, **headers):
    named = {name.replace('_', '-'): value for name, value in headers.items()}
    return {'status': status, 'headers': {'Cache-Control': text, **named}, 'body': body}


def status_of(response):
    return response.headers['Cache-Status'].removeprefix('aioluahttp; ')


def asking(handler, **headers):
    named = {name.replace('_', '-'): value for name, value in headers.items()}
    return handler({**URL, 'headers': named})


async def text_of(response):
    body = response['body']
    return await body.read() if isinstance(body, Stream) else body


async def test_a_fresh_response_is_served_from_the_storage():
    """It has its Age, and Cache-Status says so (RFC 9111 4, RFC 9211)."""
    clock, origin = Clock(), Origin(page(ETag='"a"'))
    handler = cache(origin, clock=clock)
    first = await handler(URL)
    clock.now += 59.5
    second = await handler(URL)
    assert ('fwd=uri-miss; stored', 'hit') == (status_of(first), status_of(second))
    assert ('a', 'a', '59') == (first.body, second.body, second.headers['Age'])
    assert second.headers['Date'] == http.format_date(784111777)
    assert 1 == len(origin.requests)
    await handler.close()


async def test_a_stale_response_is_fetched_again():
    """Without a validator, as a whole."""
    clock, origin = Clock(), Origin(page(body='a'), page(body='b'))
    handler = cache(origin, clock=clock)
    await handler(URL)
    clock.now += 60
    assert 'b' == (await handler(URL)).body
    assert 'hit' == status_of(await handler(URL))


async def test_a_server_s_request_is_served_as_others_are():
    """By a short way while the response is fresh, and not beyond."""
    clock, origin = Clock(), Origin(page())
    handler = cache(origin, clock=clock)
    request = http.to_request({**URL, 'version': '1.1'})
    statuses = []
    for seconds in (0, 59, 1):
        clock.now += seconds
        statuses.append(status_of(await handler(request)))
    assert ['fwd=uri-miss; stored', 'hit', 'fwd=stale; stored'] == statuses


async def test_a_stale_response_is_validated():
    """A 304 makes it fresh, and updates its headers (RFC 9111 4.3)."""
    clock = Clock()
    unchanged = {'status': 304, 'headers': {'A': '2', 'Cache-Control': 'max-age=9'}}
    origin = Origin(page(ETag='"a"', A='1'), unchanged)
    handler = cache(origin, clock=clock)
    await handler(URL)
    clock.now += 60
    response = await handler(URL)
    assert '"a"' == origin.requests[1].headers['If-None-Match']
    assert (200, 'a', '2') == (response.status, response.body, response.headers['A'])
    assert 'fwd=stale; fwd-status=304' == status_of(response)
    clock.now += 8
    again = await handler(URL)
    assert ('hit', '8', '2') == (status_of(again), again.headers['Age'], again.headers['A'])


async def test_the_condition_of_a_client_is_evaluated_after_a_validation():
    """The origin sees that of the cache instead."""
    clock, origin = Clock(), Origin(page(ETag='"a"'), {'status': 304})
    handler = cache(origin, clock=clock)
    await handler(URL)
    clock.now += 60
    assert 200 == (await asking(handler, If_None_Match='"b"')).status
    clock.now += 60
    assert 304 == (await asking(handler, If_None_Match='"a"')).status
    assert ['"a"'] * 2 == [one.headers['If-None-Match'] for one in origin.requests[1:]]


async def test_a_304_about_another_representation_is_not_used():
    """The response is fetched again without a condition."""
    clock = Clock()
    origin = Origin(page(ETag='"a"'), page('', '', 304, ETag='"b"'), page(body='b', ETag='"b"'))
    handler = cache(origin, clock=clock)
    await handler(URL)
    clock.now += 60
    assert 'b' == (await handler(URL)).body
    assert 'If-None-Match' not in origin.requests[2].headers
    assert 'hit' == status_of(await handler(URL))


@pytest.mark.parametrize(
    ('headers', 'then'),
    [({'Set_Cookie': 'a=b'}, 'fwd=stale; fwd-status=304'), ({'Vary': 'B'}, 'fwd=uri-miss; stored')],
)
async def test_a_304_that_must_not_be_stored_is_served_once(headers, then):
    """The stored response stays stale, or goes if requests would select it otherwise now."""
    clock = Clock()
    origin = Origin(
        page(ETag='"a"'), page('max-age=60', '', 304, **headers), page('', '', 304), page()
    )
    handler = cache(origin, clock=clock)
    await handler(URL)
    clock.now += 60
    response = await handler(URL)
    assert (200, 'a') == (response.status, response.body)
    assert (
        dict(response.headers).items()
        >= {k.replace('_', '-'): v for k, v in headers.items()}.items()
    )
    if then != 'fwd=stale; fwd-status=304':
        origin.responses = [page()]
    assert then == status_of(await handler(URL))


async def test_a_request_may_ask_for_a_validation():
    """With no-cache, although the response is fresh."""
    origin = Origin(page(ETag='"a"'), {'status': 304})
    handler = cache(origin)
    await handler(URL)
    response = await asking(handler, Cache_Control='no-cache')
    assert ('a', 'fwd=request; fwd-status=304') == (response.body, status_of(response))


async def test_only_if_cached():
    """A 504 if there is nothing to serve (RFC 9111 5.2.1.7)."""
    clock, origin = Clock(), Origin(page())
    handler = cache(origin, clock=clock)
    assert 504 == (await asking(handler, Cache_Control='only-if-cached')).status
    await handler(URL)
    assert 200 == (await asking(handler, Cache_Control='only-if-cached')).status
    clock.now += 60
    response = await asking(handler, Cache_Control='only-if-cached')
    assert (504, 'detail=only-if-cached') == (response.status, status_of(response))
    assert 1 == len(origin.requests)


async def test_stale_while_revalidate(until):
    """The stale response is served at once, and validated once meanwhile (RFC 5861 3)."""
    clock, going = Clock(), asyncio.Event()

    async def slowly(request):
        await going.wait()
        return page(body='b')

    origin = Origin(page('max-age=60, stale-while-revalidate=60', ETag='"a"'), slowly)
    handler = cache(origin, clock=clock)
    await handler(URL)
    clock.now += 61
    for method in ('HEAD', 'GET', 'GET'):
        assert 'hit' == status_of(await handler({**URL, 'method': method}))
    await until(lambda: len(origin.requests) == 2)
    assert 'GET' == origin.requests[1].method
    going.set()
    await until(lambda: not handler._tasks)
    assert ('b', 'hit') == ((response := await handler(URL)).body, status_of(response))
    assert 2 == len(origin.requests)


@pytest.mark.parametrize('tag', [None, '"a"'])
@pytest.mark.parametrize('field', ['Range', 'If-None-Match'])
async def test_a_range_of_a_client_does_not_reach_a_validation_in_the_background(until, tag, field):
    """A 416 for it would be stored as the response for everybody."""
    clock = Clock()
    stored = page('max-age=60, stale-while-revalidate=60', **({'ETag': tag} if tag else {}))
    own = {'Range': 'bytes=999-', 'If-None-Match': '"b"'}[field]

    def second(request):
        assert own != request.headers.get(field)
        return page(body='b')

    origin = Origin(stored, second)
    handler = cache(origin, clock=clock)
    await handler(URL)
    clock.now += 61
    await handler({**URL, 'headers': {field: own}})
    await until(lambda: len(origin.requests) == 2 and not handler._tasks)
    assert ('b', 'hit') == ((response := await handler(URL)).body, status_of(response))


async def test_a_validation_in_the_background_may_fail(until, caplog):
    """It is logged, and tried again by the next request."""
    clock = Clock()
    origin = Origin(page('max-age=60, stale-while-revalidate=60'), http.TimedOut('too slow'))
    handler = cache(origin, clock=clock)
    await handler(URL)
    clock.now += 61
    for number in (2, 3):
        assert 'a' == (await handler(URL)).body
        await until(lambda number=number: len(origin.requests) == number and not handler._tasks)
    assert 'too slow' in caplog.text


async def test_closing_ends_what_runs_in_the_background(until):
    """And the handler can still be used."""
    clock = Clock()
    origin = Origin(page('max-age=60, stale-while-revalidate=60'), lambda _: asyncio.sleep(99))
    handler = cache(origin, clock=clock)
    await handler(URL)
    clock.now += 61
    await handler(URL)
    await until(lambda: len(origin.requests) == 2)
    await handler.close()
    assert 'hit' == status_of(await handler(URL))
    await handler.close()


@pytest.mark.parametrize('error', [page(status=503), http.ConnectError('no'), ValueError('a bug')])
async def test_stale_if_error(error, caplog):
    """A stale response instead of an error, for as long as it says (RFC 5861 4)."""
    clock = Clock()
    origin = Origin(page('max-age=60, stale-if-error=60'), error)
    handler = cache(origin, clock=clock)
    await handler(URL)
    clock.now += 61
    response = await handler(URL)
    assert ('a', 'hit; detail=stale-if-error') == (response.body, status_of(response))
    clock.now += 60
    if isinstance(error, Exception):
        assert type(error).__name__ in caplog.text
        with pytest.raises(type(error)):
            await handler(URL)
    else:
        assert 503 == (await handler(URL)).status


async def test_a_wrong_table_is_an_error_all_the_same():
    """It is the caller's mistake, and so is a status that ``check`` does not accept."""
    clock = Clock()
    for error in (http.TableError('wrong'), http.StatusError('404')):
        origin = Origin(page('max-age=60, stale-if-error=60'), error)
        handler = cache(origin, clock=clock)
        await handler(URL)
        clock.now += 61
        with pytest.raises(type(error)):
            await handler(URL)


@pytest.mark.parametrize(
    ('keys', 'status', 'body', 'headers'),
    [
        ({'method': 'HEAD'}, 200, '', {'Content-Length': '10'}),
        ({'headers': {'Range': 'bytes=2-4'}}, 206, '234', {'Content-Range': 'bytes 2-4/10'}),
        ({'headers': {'Range': 'bytes=-1'}}, 206, '9', {'Content-Range': 'bytes 9-9/10'}),
        ({'headers': {'Range': 'bytes=10-'}}, 416, '', {'Content-Range': 'bytes */10'}),
        ({'headers': {'Range': 'bytes=0-1,4-5'}}, 200, '0123456789', {}),
        ({'headers': {'Range': 'bytes=0-1'}, 'method': 'HEAD'}, 200, '', {'Content-Length': '10'}),
        ({'headers': {'Range': 'bytes=0-1', 'If-Range': '"a"'}}, 206, '01', {}),
        ({'headers': {'Range': 'bytes=0-1', 'If-Range': '"b"'}}, 200, '0123456789', {}),
        ({'headers': {'If-None-Match': '"a"'}}, 304, '', {'ETag': '"a"'}),
        ({'headers': {'If-None-Match': '"b"'}}, 200, '0123456789', {}),
        ({'headers': {'If-Modified-Since': http.format_date(784111777)}}, 304, '', {}),
        ({'headers': {'If-Modified-Since': http.format_date(784111776)}}, 200, '0123456789', {}),
    ],
)
async def test_parts_of_a_whole_stored_response(keys, status, body, headers):
    """HEAD, ranges and conditions are served from the storage (RFC 9111 4.3.2, RFC 9110 14)."""
    origin = Origin(page(body='0123456789', ETag='"a"', Content_Type='text/x'))
    handler = cache(origin, clock=Clock())
    await handler(URL)
    response = await handler({**URL, **keys})
    assert (status, body, 'hit') == (response.status, response.body, status_of(response))
    assert headers.items() <= dict(response.headers).items()
    assert ('Content-Type' in response.headers) == (status not in (304, 416))


async def test_a_date_compares_with_last_modified():
    """Before Date, if a response has one."""
    origin = Origin(page(Last_Modified=http.format_date(784000000)))
    handler = cache(origin, clock=Clock())
    await handler(URL)
    for seconds, status in ((784000000, 304), (783999999, 200)):
        response = await asking(handler, If_Modified_Since=http.format_date(seconds))
        assert status == response.status


@pytest.mark.parametrize('keys', [{'method': 'HEAD'}, {'headers': {'Range': 'bytes=0-1'}}])
async def test_what_is_no_whole_response_is_not_stored(keys):
    """A part, and a response without its body, go by."""
    origin = Origin(page(body=''), page(status=206), page())
    handler = cache(origin)
    for _ in range(2):
        assert 'fwd=uri-miss' == status_of(await handler({**URL, **keys}))
    assert 'fwd=uri-miss; stored' == status_of(await handler(URL))


async def test_an_unusual_status_keeps_its_reason():
    """And an error page is served as such, without conditions."""
    origin = Origin(page(status=404, body='none') | {'reason': 'Gone fishing'})
    handler = cache(origin)
    for _ in range(2):
        response = await asking(handler, If_None_Match='*')
        if response.headers['Cache-Status'].endswith('stored'):
            continue
        assert (404, 'none', 'Gone fishing') == (response.status, response.body, response.reason)


async def test_variants_are_stored_side_by_side():
    """Each is selected by the request fields in Vary (RFC 9111 4.1)."""
    origin = Origin(lambda request: page(body=request.headers.get('A', '-'), Vary='A, B'))
    handler = cache(origin)
    for _ in range(2):
        for value in ('1', '2'):
            assert value == (await asking(handler, A=value, C=value)).body
        assert '-' == (await asking(handler)).body
    assert 3 == len(origin.requests)
    assert 'fwd=vary-miss; stored' == status_of(await asking(handler, A='3'))


async def test_another_vary_starts_anew():
    """What varies otherwise than before is found by its own fields only."""
    origin = Origin(page(body='a', Vary='A'), page(body='b', Vary='B'), page(body='c', Vary='B'))
    handler = cache(origin)
    assert ['a', 'a'] == [(await asking(handler, A='1')).body for _ in range(2)]
    assert 'b' == (await asking(handler, A='2')).body
    assert 'b' == (await asking(handler, A='1')).body
    assert 'c' == (await asking(handler, B='1')).body


@pytest.mark.parametrize('method', ['POST', 'PUT', 'DELETE', 'PATCH', 'M-SEARCH'])
async def test_an_unsafe_request_invalidates(method):
    """Its target, and those in Location and Content-Location, unless it fails (RFC 9111 4.4)."""
    origin = Origin(page())
    handler = cache(origin)
    targets = [{'url': f'http://h/{name}'} for name in 'abc']
    raw = {**targets[0], 'into': 'raw'}
    for target in (*targets, raw):
        await handler(target)
    origin.responses = [page(status=500), page(status=404)]
    for _ in range(2):
        assert 'fwd=method' == status_of(await handler({**targets[0], 'method': method}))
    assert {'hit'} == {status_of(await handler(target)) for target in (*targets, raw)}
    origin.responses = [page(status=201, Location='b', Content_Location='/c')]
    await handler({**targets[0], 'method': method})
    origin.responses = [page()]
    for target in (*targets, raw):
        assert 'fwd=uri-miss; stored' == status_of(await handler(target))


async def test_a_slow_reader_of_what_is_invalidated_gets_all_of_it(until):
    """It is not stored, and the pieces stay until nobody needs them."""
    body, storage = b'a' * 40 * PIECE, MemoryStorage()

    async def chunks():
        for start in range(0, len(body), PIECE):
            yield body[start : start + PIECE]

    origin = Origin(lambda request: page(body=chunks()), page(body=''))
    handler = cache(origin, storage=storage)
    slow = (await handler({**URL, 'into': 'stream'})).body
    fast = (await handler({**URL, 'into': 'stream'})).body
    assert 1 == len(origin.requests)
    await anext(slow)
    await anext(fast)
    await handler({**URL, 'method': 'POST'})
    assert 39 * PIECE == len(await fast.read())
    assert 39 * PIECE == len(await slow.read())
    await until(lambda: not handler._tasks)
    assert 0 == storage.size


async def test_what_is_invalidated_while_it_is_written_is_removed():
    """A storage takes its time."""
    writing, going = asyncio.Event(), asyncio.Event()

    class Slow(MemoryStorage):
        async def put(self, *arguments):
            writing.set()
            await going.wait()
            await super().put(*arguments)

    handler = cache(Origin(page(), page(body=''), page(body='new')), storage=Slow())
    first = asyncio.create_task(handler(URL))
    await writing.wait()
    await handler({**URL, 'method': 'POST'})
    going.set()
    assert 'a' == (await first).body
    assert 'new' == (await handler(URL)).body


@pytest.mark.parametrize('limit', [1000, None])
async def test_a_limit_holds_for_a_body_on_its_way(limit):
    """A request that gets what another one has asked for has a ``max_body`` of its own."""
    body = b'a' * 4 * PIECE

    async def chunks():
        yield body

    handler = cache(Origin(lambda request: page(body=chunks())))
    first = await handler({**URL, 'into': 'stream'})
    second = asyncio.create_task(handler({**URL, 'into': 'bytes', 'max_body': limit}))
    assert body == await first.body.read()
    if limit is None:
        assert body == (await second).body
    else:
        with pytest.raises(http.BodyTooLarge):
            await second


@pytest.mark.parametrize('long', [False, True])
async def test_what_arrives_while_it_is_invalidated_is_not_stored(long, until):
    """It may be what was there before the unsafe request."""
    going = asyncio.Event()

    async def chunks():
        yield b'a' * 2 * PIECE
        await going.wait()

    async def slowly(request):
        if long:
            return page(body=chunks())
        await going.wait()
        return page()

    origin = Origin(slowly, page(body=''), page(body='new'))
    handler = cache(origin)
    first = asyncio.create_task(handler({**URL, 'into': 'stream'}))
    await until(lambda: len(origin.requests) == 1)
    if long:
        await first
    await handler({**URL, 'method': 'POST'})
    second = asyncio.create_task(handler(URL))
    await until(lambda: len(origin.requests) == 3)
    going.set()
    await text_of(await first)
    assert 'new' == (await second).body
    await until(lambda: not handler._tasks)
    assert ('new', 'hit') == ((response := await handler(URL)).body, status_of(response))


@pytest.mark.parametrize(
    'keys',
    [
        {'body': 'fat'},
        {'headers': {'X-HTTP-Method-Override': 'DELETE'}},
        {'headers': {'X-Original-URL': '/admin'}},
        {'headers': {'Cache-Control': 'no-store'}},
        {'headers': {'If-Match': '"a"'}},
        {'headers': {'Upgrade': 'websocket'}},
        {'tls': {'verify': False}},
        {'into': 'events'},
    ],
)
async def test_a_request_that_asks_for_something_else_goes_by(keys):
    """It gets nothing from the storage, and what it gets is not stored."""
    origin = Origin(page(body='a'), page(body='b'), page(body='c'))
    handler = cache(origin)
    await handler(URL)
    response = await handler({**URL, **keys})
    assert ('b', 'fwd=bypass') == (response.body, status_of(response))
    assert 'a' == (await handler(URL)).body


async def test_a_handler_does_not_see_what_no_key_holds():
    """X-Forwarded-Host could change the page of others; a private cache has no others."""
    claims = {'X_Forwarded_Host': 'evil', 'Forwarded': 'host=evil', 'A': 'b'}
    for shared, seen in ((True, {'A': 'b'}), (False, {'A', 'Forwarded', 'X-Forwarded-Host'})):
        origin = Origin(page())
        await asking(cache(origin, shared=shared), **claims)
        assert set(seen) == set(origin.requests[0].headers)


async def test_what_is_one_client_s_own_is_not_shared():
    """Neither cookies nor what was requested with a login or a cookie."""
    origin = Origin(lambda request: page(body=request.headers.get('Cookie', '')))
    handler = cache(origin)
    for value in ('a', 'b'):
        assert value == (await asking(handler, Cookie=value)).body
    assert '' == (await handler(URL)).body
    assert '' == (await asking(handler, Cookie='c')).body  # the origin did not say that it varies
    private = cache(Origin(page(Set_Cookie='a=b')), shared=False)
    assert ['fwd=uri-miss; stored', 'hit'] == [status_of(await private(URL)) for _ in range(2)]


def gate():
    """Make a handler that waits for an event, and the event."""
    going = asyncio.Event()

    async def slowly(request):
        await going.wait()
        return page(body=request.headers.get('A', 'a'), **given)

    given = {}
    return going, slowly, given


async def test_concurrent_misses_become_one_request(until):
    """The others wait for the response to the first."""
    going, slowly, _ = gate()
    origin = Origin(slowly)
    handler = cache(origin)
    tasks = [asyncio.create_task(handler(URL)) for _ in range(20)]
    await until(lambda: origin.requests)
    going.set()
    responses = await asyncio.gather(*tasks)
    assert 1 == len(origin.requests)
    assert {'a'} == {response.body for response in responses}
    assert 19 == [status_of(one) for one in responses].count('fwd=uri-miss; collapsed')
    assert not handler._flights
    assert not handler._current


async def test_requests_wait_only_so_long(until):
    """Then they are sent on themselves."""
    going, slowly, _ = gate()
    origin = Origin(slowly, page(body='b'))
    handler = cache(origin, wait=0.01)
    first = asyncio.create_task(handler(URL))
    await until(lambda: origin.requests)
    assert 'b' == (await handler(URL)).body
    going.set()
    await first


@pytest.mark.parametrize(
    'outcome', [page('no-store', body='b'), page('no-cache', ETag='"b"'), http.ConnectError('no')]
)
async def test_a_response_that_cannot_be_shared_releases_those_who_wait(outcome, until):
    """They are sent on themselves, all at once."""
    going = asyncio.Event()

    async def slowly(request):
        await going.wait()
        return outcome

    origin = Origin(slowly)
    handler = cache(origin)
    tasks = [asyncio.create_task(handler(URL)) for _ in range(5)]
    await until(lambda: origin.requests)
    await asyncio.sleep(0)
    going.set()
    results = await asyncio.gather(*tasks, return_exceptions=True)
    assert 5 == len(origin.requests)
    assert isinstance(outcome, Exception) or 'collapsed' not in ''.join(map(status_of, results))
    assert not handler._flights


async def test_a_first_request_that_is_cancelled_releases_those_who_wait(until):
    """Its client has left."""
    going, slowly, _ = gate()
    origin = Origin(slowly)
    handler = cache(origin)
    first = asyncio.create_task(handler(URL))
    await until(lambda: origin.requests)
    second = asyncio.create_task(handler(URL))
    await asyncio.sleep(0)
    first.cancel()
    await until(lambda: len(origin.requests) == 2)
    going.set()
    assert 'a' == (await second).body


async def test_requests_for_other_variants_wait_for_one_of_their_own(until):
    """Once it is known by which fields the response varies."""
    going, slowly, given = gate()
    given['Vary'] = 'A'
    origin = Origin(slowly)
    handler = cache(origin)
    tasks = [asyncio.create_task(asking(handler, A=str(number % 3))) for number in range(9)]
    await until(lambda: origin.requests)
    await asyncio.sleep(0)
    going.set()
    assert [str(number % 3) for number in range(9)] == [
        one.body for one in await asyncio.gather(*tasks)
    ]
    assert 3 == len(origin.requests)


async def test_a_request_waits_twice_at_most(until):
    """The response may vary by other fields each time; then it is sent on itself."""

    def slowly(vary):
        async def respond(request):
            for _ in range(5):
                await asyncio.sleep(0)
            return page(body=request.headers['B'], Vary=vary)

        return respond

    origin = Origin(slowly('A'), slowly('B'), slowly('B'))
    handler = cache(origin)
    values = ('1', '1'), ('2', '2'), ('2', '3')
    tasks = [asyncio.create_task(asking(handler, A=a, B=b)) for a, b in values]
    assert ['1', '2', '3'] == [one.body for one in await asyncio.gather(*tasks)]
    assert 3 == len(origin.requests)


async def test_those_who_wait_may_not_want_the_response():
    """A client's limits hold for it, too."""
    going, slowly, _ = gate()
    origin = Origin(slowly)
    handler = cache(origin)
    tasks = [
        asyncio.create_task(handler({**URL, 'headers': {'A': 'abc'}})),
        asyncio.create_task(handler({**URL, 'max_body': 2})),
    ]
    await asyncio.sleep(0)
    going.set()
    assert ['abc', 'a'] == [one.body for one in await asyncio.gather(*tasks)]
    assert 2 == len(origin.requests)


def streamed(body=LONG, *, step=PIECE, known=True, error=None):
    """Make a page whose body arrives in chunks."""

    async def chunks():
        for start in range(0, len(body), step):
            yield body[start : start + step]
        if error is not None:
            raise error

    given = page(body=Stream(chunks()))
    if known:
        given['headers']['Content-Length'] = str(len(body))
    return http.to_response({'status': 200}) | given


@pytest.mark.parametrize('known', [True, False])
@pytest.mark.parametrize('body', [b'', b'abc', LONG])
async def test_a_stream_is_stored_while_it_is_passed_on(body, known, until, tmp_path):
    """The next client gets the same bytes, or a range of them."""
    for storage in (MemoryStorage(), SqliteStorage(tmp_path / 'file')):
        origin = Origin(streamed(body, known=known))
        handler = cache(origin, storage=storage)
        for status in ('fwd=uri-miss; stored', 'hit'):
            response = await handler({**URL, 'into': 'stream'})
            assert status == status_of(response)
            assert body == await response.body.read()
            await until(lambda handler=handler: not handler._tasks)
        assert body == (await handler({**URL, 'into': 'bytes'})).body
        if body == LONG:
            part = await handler(
                {**URL, 'into': 'bytes', 'headers': {'Range': 'bytes=65000-70000'}}
            )
            assert (206, body[65000:70001]) == (part.status, part.body)
        await storage.close()


async def test_clients_follow_a_body_that_is_on_its_way(until):
    """They get what has come, and then the rest as it comes; one that leaves disturbs nobody."""
    going = asyncio.Event()

    async def chunks():
        yield LONG[: 3 * PIECE]
        await going.wait()
        yield LONG[3 * PIECE :]

    origin = Origin(page(body=chunks(), Content_Type='a/b'))
    handler = cache(origin)
    ask = {**URL, 'into': 'stream'}
    first = await handler(ask)
    second, third = await handler(ask), await handler(ask)
    assert 'fwd=uri-miss; collapsed' == status_of(second)
    assert LONG[: 3 * PIECE] == await anext(second.body)
    await first.body.close()
    await third.body.close()
    going.set()
    assert LONG[3 * PIECE :] == await second.body.read()
    await until(lambda: not handler._tasks)
    assert ('hit', LONG) == (status_of(found := await handler(ask)), await found.body.read())
    assert 1 == len(origin.requests)


@pytest.mark.parametrize('known', [True, False])
@pytest.mark.parametrize('body', [b'abc', LONG])
async def test_a_body_that_breaks_off_is_not_stored(body, known, until):
    """The client gets what came, and the error."""
    origin = Origin(lambda _: streamed(body, known=known, error=http.ProtocolError('it broke off')))
    handler = cache(origin)
    for _ in range(2):
        response = await handler({**URL, 'into': 'stream'})
        assert body[:3] == (await anext(response.body))[:3]
        with pytest.raises(http.ProtocolError, match='it broke off'):
            await response.body.read()
        await until(lambda: not handler._tasks)
    assert 2 == len(origin.requests)


async def test_a_body_that_is_here_already_is_taken_at_once():
    """Nobody needs to iterate over it."""

    class Arrived(Stream):
        def rest(self):
            return b'abc'

        def __anext__(self):
            raise AssertionError

    origin = Origin(streamed(b'abc') | {'body': Arrived(streamed()['body'])})
    handler = cache(origin)
    for status in ('fwd=uri-miss; stored', 'hit'):
        response = await handler(http.to_request({**URL, 'version': '1.1'}))
        assert (b'abc', status) == (response.body, status_of(response))


async def test_a_body_may_break_off_at_once(until):
    """Before its first byte."""
    origin = Origin(streamed(b'', error=http.ProtocolError('it broke off')))
    response = await cache(origin)({**URL, 'into': 'stream'})
    with pytest.raises(http.ProtocolError, match='it broke off'):
        await response.body.read()


async def test_a_body_of_another_length_than_announced_is_not_stored(until):
    """The server rejects it, as without a cache."""
    for body in (b'abc', LONG):
        origin = Origin(lambda _, body=body: streamed(body) | {'headers': longer(streamed(body))})
        handler = cache(origin)
        for _ in range(2):
            response = await handler({**URL, 'into': 'stream'})
            with suppress(http.TableError):  # raised by the server for a short body
                await response.body.read()
            await until(lambda handler=handler: not handler._tasks)
        assert 2 == len(origin.requests)


def longer(response):
    return response['headers'] | {
        'Content-Length': str(int(response['headers']['Content-Length']) + 1)
    }


@pytest.mark.parametrize('body', ['a' * 11, LONG])
async def test_a_body_that_is_too_long_is_not_stored(body, until):
    """Whether its length is known at the start or not."""
    responses = [page(body=body)]
    if body is LONG:
        responses = [streamed(), streamed(known=False), page(body=LONG)]
    for response in responses:
        origin = Origin(response)
        handler = cache(origin, max_entry=10)
        got = await handler({**URL, 'into': 'stream'})
        assert body == await text_of(got)
        await until(lambda handler=handler: not handler._tasks)
        await handler._storage.get('x')
        assert 0 == handler._storage.size


async def test_a_long_body_in_memory_is_stored_in_pieces():
    """As one that arrives; if the storage fails meanwhile, nothing is stored."""
    for limit, status in ((10**7, 'hit'), (2 * PIECE, 'fwd=uri-miss; stored')):
        origin = Origin(page(body=LONG))
        handler = cache(origin, storage=MemoryStorage(limit))
        await handler(URL)
        response = await handler({**URL, 'into': 'bytes'})
        assert (LONG, status) == (response.body, status_of(response))


async def test_iterators_of_a_handler_are_stored_as_they_are_sent(until):
    """With the Content-Type that a server gives them; an error before the first chunk is one."""

    def words():
        yield 'é'
        yield b'b'

    async def bad():
        raise ValueError('a bug')
        yield

    for given, kind in (
        (words, 'application/octet-stream'),
        (lambda: 'é', 'text/plain; charset=utf-8'),
    ):
        handler = cache(Origin(lambda _, given=given: page(body=given())))
        async with http.Client(via=handler) as client:
            for _ in range(2):
                response = await client.request({**URL, 'into': 'bytes'})
                assert response.body.startswith('é'.encode())
                assert kind == response.headers['Content-Type']
                await until(lambda handler=handler: not handler._tasks)
    handler = cache(Origin(page(body=bad())))
    with pytest.raises(ValueError, match='a bug'):
        await handler(URL)
    await until(lambda: not handler._tasks)


async def test_a_file_goes_by(tmp_path):
    """It is as near as the storage, and the system sends it."""
    path = tmp_path / 'a.txt'
    path.write_text('a')
    handler = cache(Origin(page(body=path)))
    for _ in range(2):
        response = await handler(URL)
        assert (path, 'fwd=uri-miss') == (response.body, status_of(response))


class Broken:
    """A storage that fails."""

    def __getattr__(self, name):
        async def fail(*_):
            raise OSError('the disk is gone')

        return fail


@pytest.mark.parametrize('body', ['a', 'a' * 3 * PIECE, None])
async def test_a_storage_that_fails_costs_no_response(body, until, caplog):
    """Every request is a miss, and the error is logged."""
    origin = Origin(lambda _: streamed() if body is None else page(body=body, Vary='A'))
    handler = cache(origin, storage=Broken())
    for _ in range(2):
        response = await handler({**URL, 'into': 'stream' if body is None else 'text'})
        assert (body or LONG) == await text_of(response)
        await until(lambda: not handler._tasks)
    assert 'fwd=method' == status_of(await handler({**URL, 'method': 'POST'}))
    assert 'the disk is gone' in caplog.text


async def test_a_body_that_the_storage_has_lost_is_fetched_again():
    """Before its head is sent, that is; also after it was validated."""
    clock, storage = Clock(), MemoryStorage()
    origin = Origin(
        page(body=LONG, ETag='"a"'),
        page(body=LONG, ETag='"a"'),
        page('', '', 304),
        page(body=b'new'),
    )
    handler = cache(origin, storage=storage, clock=clock)
    ask = {**URL, 'into': 'bytes'}
    await handler(ask)
    storage._pieces.clear()
    assert ('fwd=request; stored', LONG) == (status_of(found := await handler(ask)), found.body)
    storage._pieces.clear()
    clock.now += 60
    assert b'new' == (await handler(ask)).body


async def test_an_attribute_of_the_handler_is_kept():
    """``into`` and ``max_body``, which servers read."""
    handler = cache(http.proxy('http://h'))
    assert ('raw', None) == (handler.into, handler.max_body)


@pytest.mark.parametrize('options', [{'max_entry': -1}, {'wait': 0}, {'wait': 'x'}])
def test_options_are_checked(options):
    """The error names the option."""
    with pytest.raises(http.TableError, match=next(iter(options))):
        cache(Origin(page()), **options)


@pytest.mark.parametrize(
    ('into', 'body'),
    [
        (None, '[1]'),
        ('text', '[1]'),
        ('bytes', b'[1]'),
        ('json', [1]),
        ('stream', b'[1]'),
        ('raw', b'[1]'),
    ],
)
async def test_a_client_gets_what_it_asks_for(into, body):
    """From the origin and from the storage, in the same form."""

    async def handler(request):
        return {'status': 200, 'headers': {'Cache-Control': 'max-age=60'}, 'json': [1]}

    async with http.listen('127.0.0.1', 0, handler) as server:
        request = cache(http.request, shared=False)
        for status in ('fwd=uri-miss; stored', 'hit'):
            table = {'url': server.url + '/a?b', **({'into': into} if into else {})}
            response = await request(table)
            assert (body, status) == (await text_of(response), status_of(response))
            assert (f'{server.url}/a?b', 'GET', 'OK') == (
                response.url,
                response.method,
                response.reason,
            )
            assert 200 == response.status


@pytest.mark.parametrize('control', ['no-store', 'max-age=60'])
async def test_json_is_decoded_whether_it_is_stored_or_not(control):
    """A response on the way past the cache has the same form."""
    handler = cache(Origin(page(body='[1]', Content_Type='application/json')))
    headers = {'Cache-Control': control}
    assert [1] == (await handler({**URL, 'into': 'json', 'headers': headers})).body


async def test_a_validation_may_get_a_304_whatever_statuses_a_client_accepts():
    """``check`` is about the response that the client gets."""
    clock = Clock()

    def second(request):
        assert http.tables.checks.is_accepted(304, request['check'])
        return page(status=304, body='', ETag='"a"')

    handler = cache(Origin(page(ETag='"a"'), second), clock=clock)
    for _ in range(2):
        assert 'a' == (await handler({**URL, 'check': [200]})).body
        clock.now += 61


async def test_bodies_that_are_not_json():
    """An error as without a cache; the page of an error is text."""
    for status in (200, 404):
        origin = Origin(page(body='oops', status=status))
        handler = cache(origin)
        for _ in range(2):
            if status == 200:
                with pytest.raises(http.ProtocolError, match='not JSON'):
                    await handler({**URL, 'into': 'json'})
            else:
                assert 'oops' == (await handler({**URL, 'into': 'json'})).body
        assert 1 == len(origin.requests)


async def test_the_limits_of_a_client_hold_for_stored_responses():
    """What ``check`` or ``max_body`` does not accept is requested from the origin."""
    origin = Origin(page(status=404, body='abc'))
    handler = cache(origin)
    await handler(URL)
    for keys in ({'check': True}, {'max_body': 2}):
        assert 'fwd=uri-miss; stored' == status_of(await handler({**URL, **keys}))
    assert 'hit' == status_of(await handler({**URL, 'max_body': 3, 'check': [404]}))


async def test_an_ipv6_host_is_in_the_url_of_a_response():
    """With its brackets."""
    handler = cache(Origin(page()))
    for _ in range(2):
        response = await handler({'url': 'http://[::1]:8080/a'})
    assert 'http://[::1]:8080/a' == response.url


@asynccontextmanager
async def on_listen(handler):
    async with (
        http.listen('127.0.0.1', 0, handler) as server,
        http.Client(base_url=server.url) as client,
    ):
        yield client.request


@asynccontextmanager
async def in_process(handler):
    async with http.Client(via=handler, base_url='http://h') as client:
        yield client.request


@asynccontextmanager
async def on_asgi(handler):
    """Call an ASGI application as a server would."""
    application = to_asgi(handler)

    async def request(table):
        given = http.to_request({**table, 'url': f'http://h{table["url"]}'})
        sent = []
        headers = [(name.lower().encode(), one.encode()) for name, one in given.headers.items()]
        scope = {
            'type': 'http', 'asgi': {'version': '3.0'}, 'http_version': '1.1', 'scheme': 'http',
            'method': given.method, 'path': given.path, 'raw_path': given.path.encode(),
            'query_string': b'', 'root_path': '', 'server': ('h', 80), 'client': ('127.0.0.1', 5),
            'headers': [(b'host', b'h'), *headers],
        }  # fmt: skip

        events = [{'type': 'http.request', 'body': b''}]

        async def receive():
            if events:
                return events.pop()
            await asyncio.Event().wait()

        async def send(event):
            sent.append(event)

        await application(scope, receive, send)
        body = b''.join(event.get('body', b'') for event in sent[1:])
        headers = [(name.decode(), value.decode()) for name, value in sent[0]['headers']]
        return http.to_response({'status': sent[0]['status'], 'headers': headers, 'body': body})

    yield request


@pytest.mark.parametrize('engine', [on_listen, in_process, on_asgi])
@pytest.mark.parametrize('body', ['é', b'\xff', LONG])
async def test_every_engine_serves_from_a_cache(engine, body, until):
    """A gateway around a proxy, and a response cache around a handler: the same responses."""

    async def origin(request):
        nonlocal count
        count += 1
        return page(body=body, ETag='"a"')

    count = 0
    wanted = body.encode() if isinstance(body, str) else body
    async with http.listen('127.0.0.1', 0, origin) as server:
        for handler in (cache(http.proxy(server.url)), cache(origin)):
            count = 0
            async with engine(handler) as request:
                for status in ('fwd=uri-miss; stored', 'hit', 'hit'):
                    response = await request({'url': '/a', 'into': 'bytes'})
                    assert (200, wanted) == (response.status, response.bytes())
                    assert status == status_of(response)
                    await until(lambda handler=handler: not handler._tasks)
                headers = {'Range': 'bytes=0-0'}
                part = await request({'url': '/a', 'headers': headers, 'into': 'bytes'})
                assert (206, wanted[:1]) == (part.status, part.bytes())
                headers = {'If-None-Match': '"a"'}
                assert 304 == (await request({'url': '/a', 'headers': headers})).status
                head = await request({'url': '/a', 'method': 'HEAD'})
                assert (str(len(wanted)), b'') == (head.headers['Content-Length'], head.bytes())
            assert 1 == count


async def test_a_client_that_leaves_a_gateway_does_not_stop_the_storing(wire, until):
    """The next client gets the whole body from the storage."""
    going = asyncio.Event()

    async def chunks():
        yield b'a' * PIECE
        await going.wait()
        yield b'b' * PIECE

    async with (
        http.listen('127.0.0.1', 0, lambda _: page(body=chunks())) as server,
        http.listen('127.0.0.1', 0, handler := cache(http.proxy(server.url))) as gateway,
    ):
        async with wire(gateway) as client:
            client.send_request('GET /')
            await client.reader.readuntil(b'\r\n\r\n')
        going.set()
        await until(lambda: handler._storage.size > 2 * PIECE and not handler._tasks)
        response = await http.request({'url': gateway.url, 'headers': {'Host': 'h'}})
        assert ('hit', 2 * PIECE) == (status_of(response), len(response.body))


async def test_the_host_and_the_target_are_the_key_of_a_gateway(wire):
    """In absolute-form the target names the host, whatever Host says."""
    handler = cache(Origin(lambda request: page(body=f'{request.host}{request.url}')))
    async with http.listen('127.0.0.1', 0, handler) as server, wire(server) as client:
        for target, host, body in (
            ('/a', 'one', 'one/a'),
            ('/a', 'two', 'two/a'),
            ('http://three/a', 'one', 'three/a'),
            ('/a', 'one', 'one/a'),
        ):
            client.send(f'GET {target} HTTP/1.1\r\nHost: {host}\r\n\r\n'.encode())
            _, _, found = await client.read_response()
            assert body == found.decode()
