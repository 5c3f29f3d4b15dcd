"""The middleware ``retry``."""

import asyncio
import contextlib
import io
import math
import re
import sys
import time

import pytest
import stamina

import aioluahttp as http
from aioluahttp.bodies.stream import Stream
from aioluahttp.middleware.retrying import (
    Rules,
    retry,
    retry_after,
    total_of,
    wait_after,
    with_time_left,
)

HOST = {'host': 'h'}
RULES = Rules(frozenset({'GET', 'PUT'}), frozenset({503}), 60.0)
LATER = {'status': 503, 'headers': {'Retry-After': 1}}


@pytest.fixture(autouse=True)
def without_waiting():
    """Make stamina wait for no time, and allow as many attempts as are asked for."""
    with stamina.set_testing(True, attempts=100, cap=True):
        yield


class Script:
    """A handler that returns one response after the other, and notes its requests."""

    def __init__(self, *responses):
        self.responses = list(responses)
        self.asked = []

    async def __call__(self, request):
        self.asked.append(request)
        response = self.responses.pop(0)
        if isinstance(response, Exception):
            raise response
        return response


def failed(status):
    """Make the error for a status that ``check`` does not accept."""
    error = http.StatusError('')
    error.response = http.to_response({'status': status})
    return error


# Pure functions


@pytest.mark.parametrize(
    ('method', 'outcome', 'seconds'),
    [
        ('GET', http.ConnectError(), 2),
        ('POST', http.ConnectError(), 2),
        ('GET', http.TimedOut(), 2),
        ('POST', http.TimedOut(), math.inf),
        ('PUT', http.ProtocolError(), 2),
        ('PATCH', http.ProtocolError(), math.inf),
        ('GET', http.TableError(), math.inf),
        ('GET', http.BodyTooLarge(), math.inf),
        ('GET', failed(503), 2),
        ('GET', failed(404), math.inf),
        ('POST', failed(503), math.inf),
        ('GET', {'status': 503}, 2),
        ('GET', {'status': 200}, math.inf),
        ('POST', {'status': 503}, math.inf),
        ('GET', {'status': 503, 'headers': {'Retry-After': '1'}}, 2),
        ('GET', {'status': 503, 'headers': {'Retry-After': '60'}}, 60),
        ('GET', {'status': 503, 'headers': {'Retry-After': '61'}}, math.inf),
        ('GET', {'status': 200, 'headers': {'Retry-After': '1'}}, math.inf),
    ],
    ids=repr,
)
def test_the_wait_depends_on_method_and_outcome(method, outcome, seconds):
    """It is at least the back-off and the Retry-After; infinity means no retry."""
    given = outcome if isinstance(outcome, Exception) else http.to_response(outcome)
    assert seconds == wait_after(RULES, method, given, 2.0)


@pytest.mark.parametrize(
    ('value', 'seconds'),
    [
        (None, 0),
        ('120', 120),
        ('0', 0),
        ('9' * 400, math.inf),
        ('-1', 0),
        ('1.5', 0),
        ('١', 0),
        ('soon', 0),
        ('Sun, 06 Nov 1994 08:49:37 GMT', 0),
    ],
)
def test_retry_after_may_be_a_number(value, seconds):
    """Invalid values and dates in the past are 0."""
    assert seconds == retry_after(http.Headers({} if value is None else {'Retry-After': value}))


def test_retry_after_may_be_a_date():
    """The result is the number of seconds until then."""
    seconds = retry_after({'Retry-After': http.format_date(time.time() + 1000)})
    assert 900 < seconds <= 1000


@pytest.mark.parametrize(
    ('table', 'total', 'timeout'),
    [
        ({}, 30, {'total': 5}),
        ({'timeout': 9}, 9, {'total': 5}),
        ({'timeout': {'read': 3}}, 30, {'read': 3, 'total': 5}),
        ({'timeout': {'read': 3, 'total': 9}}, 9, {'read': 3, 'total': 5}),
        ({'timeout': None}, math.inf, {'total': 5}),
        ({'timeout': {'total': None}}, math.inf, {'total': 5}),
    ],
    ids=str,
)
def test_the_total_timeout_covers_all_attempts(table, total, timeout):
    """A later attempt gets the time that is left; other timeouts are unchanged."""
    request = http.to_request(HOST, **table)
    assert (total, timeout) == (total_of(request), with_time_left(request, 5).timeout)
    assert request is with_time_left(request, math.inf)
    assert {'total': 0.001} == with_time_left(http.to_request(HOST), -1).timeout


@pytest.mark.parametrize('outcome', [failed(503), http.ConnectError(), http.TimedOut()], ids=repr)
async def test_a_body_that_can_be_sent_only_once_is_tried_once(outcome):
    """A gateway passes such requests on; the first response or error is that of the caller."""
    for body in (Stream(Chunks()), iter([b'x']), io.BytesIO(b'x')):
        handler = Script(outcome)
        asking = retry(handler)(http.to_request(HOST, method='PUT') | {'body': body})
        if isinstance(outcome, http.Error) and not isinstance(outcome, http.StatusError):
            with pytest.raises(type(outcome)):
                await asking
        else:
            with contextlib.suppress(http.StatusError):
                assert 503 == (await asking).status
        assert 1 == len(handler.asked)


@pytest.mark.parametrize('rewinds', [True, False])
async def test_a_form_with_an_open_file_is_tried_once(tmp_path, rewinds):
    """One with paths is sent again; an open file is not rewound, as for ``body``."""
    handler = Script(LATER, {'status': 200})
    body = tmp_path / 'a' if rewinds else io.BytesIO(b'x')
    table = HOST | {'method': 'PUT', 'multipart': [{'name': 'a', 'body': body}]}
    assert (200 if rewinds else 503) == (await retry(handler)(table)).status


async def test_a_retry_is_logged_with_the_request_but_no_secrets(caplog):
    """Its method and URL, without login and query, and what failed."""
    caplog.set_level('INFO', logger='aioluahttp')
    handler = Script(LATER, http.ConnectError('no'), {'status': 200})
    await retry(handler)({'url': 'http://user:secret@h/a?token=secret', 'method': 'PUT'})
    first, second = (one.getMessage() for one in caplog.records if one.name == 'aioluahttp')
    assert re.fullmatch(r'PUT http://h:80/a failed with 503; attempt 2 follows in \d\.\d s', first)
    assert re.fullmatch('PUT http://h:80/a failed with ConnectError; attempt 3 .*', second)
    assert 'secret' not in repr([vars(one) for one in caplog.records])


class Chunks:
    """Chunks of a body that fail if they are read."""

    closed = False

    def __aiter__(self):
        return self

    async def __anext__(self):
        raise AssertionError

    async def aclose(self):
        self.closed = True


# The middleware


@pytest.mark.parametrize('first', [LATER, http.ConnectError(), http.TimedOut(), failed(503)])
async def test_a_request_is_retried_until_it_succeeds(first):
    """Each attempt gets a fresh copy of the request, from the second one on with the time left."""
    handler = Script(first, first, {'status': 200, 'body': 'x'})
    response = await retry(handler)({'url': 'http://h/a', 'method': 'PUT', 'body': 'b'})
    assert http.to_response({'status': 200, 'body': 'x'}) == response
    one, two, three = handler.asked
    assert http.to_request(url='http://h/a', method='PUT', body='b') == one
    assert one == {key: two[key] for key in one} == {key: three[key] for key in one}
    assert (False, True) == ('timeout' in one, 0 < three.timeout['total'] < 30)
    assert one.headers is not two.headers


@pytest.mark.parametrize('last', [{'status': 429}, {'status': 502}, {'status': 504}])
async def test_the_last_response_is_returned(last):
    """After ``attempts`` attempts the failed response is returned."""
    handler = Script(LATER, last)
    assert http.to_response(last) == await retry(handler, attempts=2)(HOST)


async def test_the_last_error_is_raised():
    """It is the same exception that the handler raised."""
    first, last = http.TimedOut(), http.ConnectError('refused')
    with pytest.raises(http.ConnectError, match='refused') as caught:
        await retry(Script(first, last), attempts=2)(HOST)
    assert last is caught.value


@pytest.mark.parametrize(
    ('table', 'response'),
    [({'timeout': 1}, LATER), ({}, {'status': 503, 'headers': {'Retry-After': '31'}})],
)
async def test_a_wait_beyond_the_timeout_is_not_started(table, response):
    """The response is returned at once."""
    handler = Script(response)
    assert 503 == (await retry(handler)({**HOST, **table})).status


async def test_without_a_timeout_only_attempts_limits_retries():
    """``attempts=None`` is no limit either."""
    handler = Script(*[http.ConnectError()] * 50, {'status': 200})
    assert 200 == (await retry(handler, attempts=None)({**HOST, 'timeout': None})).status


async def test_methods_statuses_and_longest_can_be_chosen():
    """Methods may be in any case."""
    handler = Script({'status': 418, 'headers': {'Retry-After': '86400'}}, {'status': 503})
    options = {'methods': ['post'], 'statuses': [418], 'longest': None}
    table = {**HOST, 'method': 'POST', 'timeout': None}
    assert 503 == (await retry(handler, **options)(table)).status


async def test_an_exception_of_the_handler_is_raised_at_once():
    """Other exceptions and invalid responses are not retried."""
    for handler, kind in ((Script(KeyError()), KeyError), (Script({}), http.TableError)):
        with pytest.raises(kind):
            await retry(handler)(HOST)
        assert 1 == len(handler.asked)


async def test_a_stream_is_closed_before_the_next_attempt():
    """Its connection is free for the next attempt."""
    chunks = Chunks()

    async def handler(request):
        if chunks.closed:
            return {'status': 200}
        return {'status': 503, 'body': Stream(chunks)}

    assert 200 == (await retry(handler)({**HOST, 'into': 'stream'})).status


async def test_the_stream_of_the_returned_response_is_open():
    """Of a successful response, and of the last attempt."""
    for status in (200, 503):
        chunks = Chunks()
        response = await retry(Script({'status': status, 'body': Stream(chunks)}), attempts=1)(HOST)
        assert (status, False) == (response.status, chunks.closed)


async def test_cancelling_ends_the_wait(until):
    """No task is left and no further request is sent."""
    handler = Script(LATER)
    stamina.set_testing(False)
    task = asyncio.create_task(retry(handler)(HOST))
    await until(lambda: handler.asked)
    task.cancel()
    with pytest.raises(asyncio.CancelledError):
        await task
    assert 1 == len(handler.asked)


async def test_stamina_can_be_switched_off():
    """Then there is one attempt, and the stream of its response is open."""
    chunks = Chunks()
    stamina.set_active(False)
    try:
        response = await retry(Script({'status': 503, 'body': Stream(chunks)}))(HOST)
    finally:
        stamina.set_active(True)
    assert (503, False) == (response.status, chunks.closed)


async def test_stamina_may_allow_fewer_attempts():
    """The last response is returned or the last error raised."""
    with stamina.set_testing(True, attempts=1):
        assert 503 == (await retry(Script(LATER))(HOST)).status
        with pytest.raises(http.ConnectError, match='refused'):
            await retry(Script(http.ConnectError('refused')))(HOST)


async def test_the_logs_of_stamina_have_no_secrets(caplog):
    """They have the status of a response, or the class of an error."""
    secret = {'status': 503, 'headers': {'Set-Cookie': 'secret'}, 'body': 'secret'}
    await retry(Script(secret, http.ConnectError('secret'), {'status': 200}))(HOST)
    assert (2, False) == (len(caplog.records), 'secret' in repr([vars(r) for r in caplog.records]))


@pytest.mark.parametrize(
    ('options', 'message'),
    [
        ({'attempts': 0}, "'attempts' is 0; it must be an int of 1 or more, or None"),
        ({'longest': 0}, "'longest' is 0; it must be a number of seconds above 0, or None"),
        ({'methods': 'GET'}, "'methods' is 'GET'; it must be a non-empty list of str"),
        ({'statuses': 503}, "'statuses' is 503; it must be a list of statuses"),
        ({'statuses': ['503']}, "'statuses' is ['503']"),
    ],
)
def test_an_invalid_option_is_rejected(options, message):
    """The error names the option."""
    with pytest.raises(http.TableError) as caught:
        retry(http.request, **options)
    assert message in str(caught.value)


def test_without_stamina_the_error_says_what_to_install(monkeypatch):
    """The message is one line."""
    monkeypatch.setitem(sys.modules, 'stamina', None)
    with pytest.raises(
        ImportError, match=r"^retry needs stamina: pip install 'aioluahttp\[retry\]'$"
    ):
        retry(http.request)


# Over the network


async def test_a_request_is_retried_over_the_network(raw_server):
    """The server resets, sends a 503 and then a 200; the whole body is sent each time."""

    async def respond(line):
        await line.request()
        number = len(line.peer.requests)
        if number == 1:
            return line.reset()
        head = (
            b'HTTP/1.1 503 Later\r\nRetry-After: 0\r\n' if number == 2 else b'HTTP/1.1 200 OK\r\n'
        )
        await line.send(head + b'Connection: close\r\nContent-Length: 2\r\n\r\nok')

    async with raw_server(respond) as peer:
        response = await retry(http.request)({'url': peer.url, 'method': 'PUT', 'body': 'whole'})
        assert (200, 'ok') == (response.status, response.body)
        assert [b'whole'] * 3 == [asked.body for asked in peer.requests]


async def test_a_refused_connection_is_retried():
    """A refused connection is a ConnectError, after which any method is retried."""
    async with http.listen('127.0.0.1', 0, lambda request: {'status': 200}) as server:
        url = server.url
    with pytest.raises(http.ConnectError):
        await retry(http.request, attempts=2)({'url': url, 'method': 'POST'})


async def test_retry_works_on_a_server():
    """A handler that responds with 503 is called again."""
    handler = Script(LATER, {'status': 200, 'body': 'ready'})
    async with http.listen('127.0.0.1', 0, retry(handler)) as server:
        assert 'ready' == (await http.request(url=server.url)).body
