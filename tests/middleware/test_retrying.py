"""Requests that are sent again."""

import asyncio
import math
import sys
import time

import pytest
import stamina

import aioluahttp as http
from aioluahttp.bodies.stream import Stream
from aioluahttp.middleware.retrying import (
    Rules,
    check_restarts,
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
    """Wait for nothing, and make no more attempts than are asked for."""
    with stamina.set_testing(True, attempts=100, cap=True):
        yield


class Script:
    """A handler that answers with one thing after the other, and notes what it was asked."""

    def __init__(self, *answers):
        self.answers = list(answers)
        self.asked = []

    async def __call__(self, request):
        self.asked.append(request)
        answer = self.answers.pop(0)
        if isinstance(answer, Exception):
            raise answer
        return answer


def failed(status):
    """Make the error of a status that ``check`` does not accept."""
    error = http.StatusError('')
    error.response = http.to_response({'status': status})
    return error


# The pure parts


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
def test_what_is_sent_again_and_when(method, outcome, seconds):
    """What does no harm and may help: no sooner than the answer says, and the back-off."""
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
def test_retry_after_is_read(value, seconds):
    """Digits are seconds; what is no time, and what is past, is none."""
    assert seconds == retry_after(http.Headers({} if value is None else {'Retry-After': value}))


def test_retry_after_may_be_a_date():
    """The seconds until then."""
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
def test_the_total_is_for_all_attempts(table, total, timeout):
    """A later one has what is left of it, and the other limits as they are."""
    request = http.to_request(HOST, **table)
    assert (total, timeout) == (total_of(request), with_time_left(request, 5).timeout)
    assert request is with_time_left(request, math.inf)
    assert {'total': 0.001} == with_time_left(http.to_request(HOST), -1).timeout


async def test_a_body_that_can_be_read_once_is_refused():
    """Before anything is sent."""
    handler = Script()
    body = Stream(Chunks())
    with pytest.raises(http.TableError, match=r"'body' is <.*; it must be one to be sent more"):
        await retry(handler)(http.to_request(HOST, method='PUT') | {'body': body})
    assert [] == handler.asked
    check_restarts(http.to_request(HOST, body='x'))


class Chunks:
    """Chunks of a body, none of which is ever read."""

    closed = False

    def __aiter__(self):
        return self

    async def __anext__(self):
        raise AssertionError

    async def aclose(self):
        self.closed = True


# The middleware


@pytest.mark.parametrize('first', [LATER, http.ConnectError(), http.TimedOut(), failed(503)])
async def test_it_is_sent_until_it_is_answered(first):
    """Each attempt gets the whole request anew; from the second on with what is left of time."""
    handler = Script(first, first, {'status': 200, 'body': 'x'})
    response = await retry(handler)({'url': 'http://h/a', 'method': 'PUT', 'body': 'b'})
    assert http.to_response({'status': 200, 'body': 'x'}) == response
    one, two, three = handler.asked
    assert http.to_request(url='http://h/a', method='PUT', body='b') == one
    assert one == {key: two[key] for key in one} == {key: three[key] for key in one}
    assert (False, True) == ('timeout' in one, 0 < three.timeout['total'] < 30)
    assert one.headers is not two.headers


@pytest.mark.parametrize('last', [{'status': 429}, {'status': 502}, {'status': 504}])
async def test_the_last_answer_is_given(last):
    """Once there have been so many attempts."""
    handler = Script(LATER, last)
    assert http.to_response(last) == await retry(handler, attempts=2)(HOST)


async def test_the_last_error_is_raised():
    """As it was, without a trace of the waiting."""
    first, last = http.TimedOut(), http.ConnectError('refused')
    with pytest.raises(http.ConnectError, match='refused') as caught:
        await retry(Script(first, last), attempts=2)(HOST)
    assert last is caught.value


@pytest.mark.parametrize(
    ('table', 'answer'),
    [({'timeout': 1}, LATER), ({}, {'status': 503, 'headers': {'Retry-After': '31'}})],
)
async def test_what_would_take_longer_than_there_is_time_is_not_done(table, answer):
    """The answer is given at once, whatever time is left."""
    handler = Script(answer)
    assert 503 == (await retry(handler)({**HOST, **table})).status


async def test_without_a_limit_of_time_it_goes_on():
    """The attempts are the only limit then, and none is also possible."""
    handler = Script(*[http.ConnectError()] * 50, {'status': 200})
    assert 200 == (await retry(handler, attempts=None)({**HOST, 'timeout': None})).status


async def test_what_is_sent_again_can_be_chosen():
    """Any method in any case, any statuses, any Retry-After."""
    handler = Script({'status': 418, 'headers': {'Retry-After': '86400'}}, {'status': 503})
    options = {'methods': ['post'], 'statuses': [418], 'longest': None}
    table = {**HOST, 'method': 'POST', 'timeout': None}
    assert 503 == (await retry(handler, **options)(table)).status


async def test_a_mistake_of_the_handler_is_raised_at_once():
    """What is no error of ours, and a table that is none."""
    for handler, kind in ((Script(KeyError()), KeyError), (Script({}), http.TableError)):
        with pytest.raises(kind):
            await retry(handler)(HOST)
        assert 1 == len(handler.asked)


async def test_a_stream_is_closed_before_the_next_attempt():
    """Its connection is free for that."""
    chunks = Chunks()

    async def handler(request):
        if chunks.closed:
            return {'status': 200}
        return {'status': 503, 'body': Stream(chunks)}

    assert 200 == (await retry(handler)({**HOST, 'into': 'stream'})).status


async def test_a_stream_that_is_given_is_open():
    """Of the last attempt, and of a status that is not asked for again."""
    for status in (200, 503):
        chunks = Chunks()
        response = await retry(Script({'status': status, 'body': Stream(chunks)}), attempts=1)(HOST)
        assert (status, False) == (response.status, chunks.closed)


async def test_who_gives_up_ends_the_waiting(until):
    """Nothing is left behind, and nothing more is sent."""
    handler = Script(LATER)
    stamina.set_testing(False)
    task = asyncio.create_task(retry(handler)(HOST))
    await until(lambda: handler.asked)
    task.cancel()
    with pytest.raises(asyncio.CancelledError):
        await task
    assert 1 == len(handler.asked)


async def test_stamina_can_be_switched_off():
    """As in the tests of those who use it: then there is one attempt, and its stream is open."""
    chunks = Chunks()
    stamina.set_active(False)
    try:
        response = await retry(Script({'status': 503, 'body': Stream(chunks)}))(HOST)
    finally:
        stamina.set_active(True)
    assert (503, False) == (response.status, chunks.closed)


async def test_stamina_may_let_fewer_attempts_be_made():
    """The answer or the error of the last of them is given all the same."""
    with stamina.set_testing(True, attempts=1):
        assert 503 == (await retry(Script(LATER))(HOST)).status
        with pytest.raises(http.ConnectError, match='refused'):
            await retry(Script(http.ConnectError('refused')))(HOST)


async def test_what_stamina_logs_has_no_secrets(caplog):
    """The status of an answer, or the kind of an error."""
    secret = {'status': 503, 'headers': {'Set-Cookie': 'secret'}, 'body': 'secret'}
    await retry(Script(secret, http.ConnectError('secret'), {'status': 200}))(HOST)
    assert (2, False) == (len(caplog.records), 'secret' in repr([vars(r) for r in caplog.records]))


@pytest.mark.parametrize(
    ('options', 'message'),
    [
        ({'attempts': 0}, "'attempts' is 0; it must be an int of 1 or more, or None"),
        ({'longest': 0}, "'longest' is 0; it must be a number of seconds above 0, or None"),
        ({'methods': 'GET'}, "'methods' is 'GET'; it must be a list of text"),
        ({'statuses': 503}, "'statuses' is 503; it must be a list of statuses"),
        ({'statuses': ['503']}, "'statuses' is ['503']"),
    ],
)
def test_an_option_that_is_none_is_refused(options, message):
    """The error names it."""
    with pytest.raises(http.TableError) as caught:
        retry(http.request, **options)
    assert message in str(caught.value)


def test_without_stamina_it_says_what_to_install(monkeypatch):
    """In a line."""
    monkeypatch.setitem(sys.modules, 'stamina', None)
    with pytest.raises(
        ImportError, match=r"^retry needs stamina: pip install 'aioluahttp\[retry\]'$"
    ):
        retry(http.request)


# Over the network


async def test_over_the_network_a_server_comes_back(raw_server):
    """After a reset and a 503 it answers; the body goes out whole each time."""

    async def answer(line):
        await line.request()
        number = len(line.peer.asked)
        if number == 1:
            return line.reset()
        head = (
            b'HTTP/1.1 503 Later\r\nRetry-After: 0\r\n' if number == 2 else b'HTTP/1.1 200 OK\r\n'
        )
        await line.send(head + b'Connection: close\r\nContent-Length: 2\r\n\r\nok')

    async with raw_server(answer) as peer:
        response = await retry(http.request)({'url': peer.url, 'method': 'PUT', 'body': 'whole'})
        assert (200, 'ok') == (response.status, response.body)
        assert [b'whole'] * 3 == [asked.body for asked in peer.asked]


async def test_over_the_network_nobody_listens():
    """A refusal is a ConnectError, and a request of any method is sent again after it."""
    async with http.listen('127.0.0.1', 0, lambda request: {'status': 200}) as server:
        url = server.url
    with pytest.raises(http.ConnectError):
        await retry(http.request, attempts=2)({'url': url, 'method': 'POST'})


async def test_on_the_side_of_a_server():
    """A callback that is not ready yet is asked again."""
    handler = Script(LATER, {'status': 200, 'body': 'ready'})
    async with http.listen('127.0.0.1', 0, retry(handler)) as server:
        assert 'ready' == (await http.request(url=server.url)).body
