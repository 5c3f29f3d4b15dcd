"""The responder: handler calls, their limits, and their errors."""

import asyncio
import logging
from types import SimpleNamespace

import pytest

import aioluahttp as http
from aioluahttp.asgi import AsgiExchange
from aioluahttp.errors import Refused
from aioluahttp.exchange.options import Settings
from aioluahttp.exchange.responder import Responder, refusal_page


class Handles(Responder):
    """A responder whose bodies are the arguments of ``read_body``."""

    async def read_body(self, source, request, into, limit):
        """Set the body to the arguments."""
        request['body'] = (source, into, limit)
        await asyncio.sleep(0)


def request(**fields):
    """Make a request."""
    return http.to_request({'url': 'http://h/a?b', **fields})


def body(request):
    """Return the body."""
    return request.body


async def call_handler(handler=body, asked=None, **settings):
    """Call a handler."""
    handles = Handles(handler, Settings(**settings))
    return await handles.call_handler(SOURCE, asked or request())


POST = {'method': 'POST'}
SOURCE = SimpleNamespace(announced=False)


@pytest.mark.parametrize(
    ('settings', 'expected'),
    [
        ({}, ('text', 2**23)),
        ({'into': 'bytes', 'max_body': 9}, ('bytes', 9)),
        ({'into': 'raw'}, ('raw', None)),
        ({'into': 'raw', 'limits_streams': True}, ('raw', 2**23)),
        ({'into': lambda asked: 'json', 'max_body': lambda asked: len(asked.path)}, ('json', 2)),
    ],
)
async def test_a_body_is_read_as_the_settings_say(settings, expected):
    """``into`` and ``max_body`` are values, or functions of the request."""
    assert (SOURCE, *expected) == await call_handler(asked=request(**POST), **settings)


async def test_a_request_without_a_body_reads_none():
    """The handler is called at once."""
    assert None is await call_handler()


@pytest.mark.parametrize('asked', [{}, POST])
async def test_max_concurrent_limits_the_handler_calls(asked):
    """Further requests are a 503, also those that began while a body was read."""
    free = asyncio.Event()
    handles = Handles(lambda request: free.wait(), Settings(max_concurrent=1))
    tasks = [asyncio.create_task(handles.call_handler(SOURCE, request(**asked))) for _ in range(2)]
    with pytest.raises(Refused):
        await tasks[1]
    free.set()
    assert await tasks[0]
    assert 0 == handles.handling


async def test_a_handler_above_its_timeout_is_a_504():
    """A TimeoutError that the handler raises itself is passed on."""

    def late(request):
        raise TimeoutError

    response = await call_handler(lambda request: asyncio.Event().wait(), handler_timeout=0.01)
    assert 504 == response['status']
    assert 1 == await call_handler(lambda request: 1, handler_timeout=10)
    with pytest.raises(TimeoutError):
        await call_handler(late, handler_timeout=10)


async def test_a_handler_error_is_logged_and_passed_to_on_error(caplog):
    """The log has the method and path as received, without the query; the response is a 500."""
    told = []
    handles = Handles(body, Settings(on_error=lambda *both: told.append(both)))
    error, asked = LookupError('x'), request()
    assert 500 == (await handles.error_response(error, 'GET', '/a?secret', asked)).status
    assert ([(error, asked)], 1) == (told, handles.errors)
    assert 'GET /a failed' in caplog.text
    assert 'secret' not in caplog.text
    assert 500 == (await Handles(body, Settings()).error_response(error, 'GET', '/', asked)).status


async def test_an_error_in_on_error_is_logged(caplog):
    """The response is a 500 all the same."""
    handles = Handles(body, Settings(on_error=lambda error, request: 1 / 0))
    assert 500 == (await handles.error_response(LookupError(), 'GET', '/', request())).status
    assert 'on_error failed' in caplog.text


async def test_a_fault_of_the_client_is_no_handler_error(caplog):
    """A ``Refused``, raised or as a cause, gives its status and logs nothing."""
    error = http.ProtocolError('cut')
    error.__cause__ = Refused(400)
    for one in (error, Refused(400)):
        response = await Handles(body, Settings()).error_response(one, 'GET', '/', request())
        assert (400, 'close') == (response.status, response.headers['Connection'])
    assert '' == caplog.text


def test_a_503_has_retry_after():
    """The connection stays open."""
    assert {'Retry-After': '1'} == refusal_page(503).headers


async def test_an_engine_has_no_fast_path_by_default():
    """Only our own server has one."""
    exchange = AsgiExchange({'type': 'http'}, None, None)
    assert (False, None) == (exchange.is_fast, await exchange.fast({'status': 204}))


POST_SCOPE = {'method': 'POST', 'headers': [(b'host', b'h'), (b'content-length', b'3')]}
SOCKET = {'type': 'websocket', 'extensions': {'websocket.http.response': {}}}
CONNECT, LEFT = {'type': 'websocket.connect'}, {'type': 'http.disconnect'}


def part(body=b'', more=False):
    """Make a message with a part of the request body."""
    return {'type': 'http.request', 'body': body, 'more_body': more}


@pytest.fixture
def serve(by_messages):
    """Serve a request with a handler; return the statuses, the body and the messages."""

    async def served(handler, *messages, settings=None, **scope):
        responder = Responder(handler, Settings(**(settings or {})))

        async def application(*given):
            await responder(AsgiExchange(*given))

        sent = await by_messages(application, *messages, **scope)
        status = [one['status'] for one in sent if 'status' in one]
        return status, b''.join(one.get('body', b'') for one in sent), sent

    return served


def give_back(request):
    """Return the request body."""
    return {'status': 200, 'body': request.body}


async def test_a_request_body_reaches_the_handler(serve):
    """It is whole or a stream, and may be announced by HTTP/2 alone."""

    async def stream(request):
        return {'status': 200, 'body': await request.body.read()}

    assert ([200], b'abc') == (await serve(give_back, part(b'abc'), **POST_SCOPE))[:2]
    stream.into = 'stream'
    given = {'into': 'stream'}
    assert ([200], b'abc') == (await serve(stream, part(b'abc'), settings=given, **POST_SCOPE))[:2]
    assert ([200], b'abc') == (await serve(give_back, part(b'abc'), http_version='2'))[:2]


async def test_a_bad_head_is_refused(serve):
    """The handler is not called."""
    assert ([400], b'Bad Request') == (await serve(None, path='x', raw_path=b'x'))[:2]


async def test_a_body_over_the_limit_is_refused(serve):
    """The connection is closed after the 413."""
    status, _, sent = await serve(give_back, part(b'abc'), settings={'max_body': 2}, **POST_SCOPE)
    assert [413] == status
    assert (b'connection', b'close') in sent[0]['headers']


@pytest.mark.parametrize('result', [None, {}, {'status': 99}, {'status': 200, 'body': 1}])
async def test_an_invalid_response_is_a_500(serve, caplog, result):
    """It is logged, and passed to on_error."""
    told = []
    settings = {'on_error': lambda *both: told.append(both)}
    found = await serve(lambda request: result, settings=settings)
    assert ([500], b'Internal Server Error') == found[:2]
    assert 'GET / failed' in caplog.text
    assert 1 == len(told)


async def test_an_error_in_a_streamed_response_is_logged(serve, caplog):
    """What was sent stays without an end."""

    def broken():
        yield b'a'
        raise LookupError

    status, data, sent = await serve(lambda request: {'status': 200, 'body': broken()})
    assert ([200], b'a', True) == (status, data, sent[-1]['more_body'])
    assert 'LookupError' in caplog.text


async def test_a_request_that_breaks_off_midway_is_no_handler_error(serve, caplog):
    """The body is sent back as it arrives."""
    messages = [part(b'a', True), LEFT]
    settings = {'into': 'stream'}
    status, data, _ = await serve(give_back, *messages, settings=settings, **POST_SCOPE)
    assert ([200], b'a') == (status, data)
    assert '' == caplog.text


@pytest.mark.parametrize('cancels', [True, False])
async def test_a_client_that_leaves_may_cancel_the_handler(serve, caplog, cancels):
    """Then there is no response; without ``cancel_on_disconnect`` the handler runs on."""
    ended = []

    async def wait(request):
        try:
            await asyncio.sleep(0.01)
            ended.append('ended')
        except asyncio.CancelledError:
            ended.append('cancelled')
            raise
        return {'status': 204}

    settings = {'cancel_on_disconnect': cancels}
    status, _, _ = await serve(wait, part(), LEFT, settings=settings)
    assert ((['cancelled'], []) if cancels else (['ended'], [204])) == (ended, status)
    assert '' == caplog.text


async def test_the_access_log_has_the_request_as_received(serve, caplog):
    """Changes of the table by the handler do not matter."""
    caplog.set_level(logging.INFO)
    settings = {'access_log': logging.getLogger('access')}

    def handler(request):
        request.clear()
        return {'status': 404}

    await serve(handler, settings=settings, raw_path=b'/a', query_string=b'b', client=('::1', 9))
    (line,) = caplog.messages
    assert line.startswith('::1 "GET /a?b HTTP/1.1" 404 0 ')


async def echo(socket):
    """Send back the first message."""
    await socket.send(await anext(socket))


async def test_a_websocket_is_given_to_its_callback(serve):
    """It is closed when the callback returns."""
    hello = {'type': 'websocket.receive', 'text': 'hello'}
    _, _, sent = await serve(lambda request: {'websocket': echo}, CONNECT, hello, **SOCKET)
    types = ['websocket.accept', 'websocket.send', 'websocket.close']
    assert types == [message['type'] for message in sent]


async def test_an_error_in_a_websocket_callback_is_a_1011(serve, caplog):
    """It is logged."""

    async def fail(socket):
        raise LookupError

    _, _, sent = await serve(lambda request: {'websocket': fail}, CONNECT, **SOCKET)
    assert ('websocket.close', 1011) == (sent[-1]['type'], sent[-1]['code'])
    assert 'LookupError' in caplog.text


async def test_a_websocket_may_be_refused(serve):
    """A plain request is a 426 with the required fields; the handler may return another status."""
    status, data, sent = await serve(lambda request: {'websocket': echo})
    assert ([426], b'Upgrade Required') == (status, data)
    assert (b'upgrade', b'websocket') in sent[0]['headers']
    assert [401] == (await serve(lambda request: {'status': 401}, CONNECT, **SOCKET))[0]


async def test_a_cancellation_by_the_engine_is_passed_on(by_messages):
    """There is no response."""
    responder = Responder(lambda request: asyncio.Event().wait(), Settings())

    async def application(*given):
        await responder(AsgiExchange(*given))

    task = asyncio.create_task(by_messages(application))
    await asyncio.sleep(0)
    task.cancel()
    with pytest.raises(asyncio.CancelledError):
        await task
