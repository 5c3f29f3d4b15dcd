"""A handler, and what is held against its call."""

import asyncio
import logging

import pytest

import aioluahttp as http
from aioluahttp.errors import Refused
from aioluahttp.exchange.options import Settings
from aioluahttp.exchange.responder import Handling, refusal


class Handles(Handling):
    """Gives each body as what it was asked for."""

    async def take_body(self, source, request, into, limit):
        """Fill the body in."""
        request['body'] = (source, into, limit)
        await asyncio.sleep(0)


def request(**fields):
    """Make a request."""
    return http.to_request({'url': 'http://h/a?b', **fields})


def body(request):
    """Answer with the body."""
    return request.body


async def returned(handler=body, asked=None, **settings):
    """Call a handler."""
    return await Handles(handler, Settings(**settings)).returned('source', asked or request())


POST = {'method': 'POST'}


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
async def test_a_body_is_taken_as_the_settings_say(settings, expected):
    """Each a value, or a function of the request."""
    assert ('source', *expected) == await returned(asked=request(**POST), **settings)


async def test_without_a_body_none_is_taken():
    """The handler is called at once."""
    assert None is await returned()


async def test_a_base_takes_no_body():
    """It cannot know where from."""
    with pytest.raises(NotImplementedError):
        await Handling(body, Settings()).returned(None, request(**POST))


@pytest.mark.parametrize('asked', [{}, POST])
async def test_only_so_many_are_called_at_once(asked):
    """The others are a 503, those too that came while a body was read."""
    free = asyncio.Event()
    handles = Handles(lambda request: free.wait(), Settings(max_concurrent=1))
    tasks = [asyncio.create_task(handles.returned(None, request(**asked))) for _ in range(2)]
    with pytest.raises(Refused):
        await tasks[1]
    free.set()
    assert await tasks[0]
    assert 0 == handles.handling


async def test_a_handler_has_so_long():
    """Then it is a 504; its own TimeoutError is its own."""

    def late(request):
        raise TimeoutError

    response = await returned(lambda request: asyncio.Event().wait(), handler_timeout=0.01)
    assert 504 == response['status']
    assert 1 == await returned(lambda request: 1, handler_timeout=10)
    with pytest.raises(TimeoutError):
        await returned(late, handler_timeout=10)


async def test_a_mistake_is_logged_and_told(caplog):
    """With the method and the path that came; the answer is a 500."""
    told = []
    handles = Handles(body, Settings(on_error=lambda *both: told.append(both)))
    error, asked = LookupError('x'), request()
    assert 500 == (await handles.failed(error, 'GET', '/a?secret', asked)).status
    assert ([(error, asked)], 1) == (told, handles.errors)
    assert 'GET /a failed' in caplog.text
    assert 'secret' not in caplog.text
    assert 500 == (await Handles(body, Settings()).failed(error, 'GET', '/', asked)).status


async def test_a_mistake_in_on_error_is_logged(caplog):
    """The answer is a 500 all the same."""
    handles = Handles(body, Settings(on_error=lambda error, request: 1 / 0))
    assert 500 == (await handles.failed(LookupError(), 'GET', '/', request())).status
    assert 'on_error failed' in caplog.text


async def test_a_fault_of_the_client_is_no_mistake(caplog):
    """Itself, or as the cause of what reading raised."""
    error = http.ProtocolError('cut')
    error.__cause__ = Refused(400)
    for one in (error, Refused(400)):
        response = await Handles(body, Settings()).failed(one, 'GET', '/', request())
        assert (400, 'close') == (response.status, response.headers['Connection'])
    assert '' == caplog.text


def test_who_is_refused_for_others_may_come_again():
    """A 503 says when."""
    assert {'Retry-After': '1'} == refusal(503).headers


async def test_the_access_log_is_a_logger_or_a_function(caplog):
    """A mistake in it is logged."""
    caplog.set_level(logging.INFO)
    response = http.to_response({'status': 200})
    seen = []
    for log in (logging.root, lambda *both: seen.append(both), lambda *both: 1 / 0):
        await Handles(body, Settings(access_log=log)).log('line', request(), response)
    assert [(request(), response)] == seen
    assert ['line 200', 'access_log failed'] == caplog.messages
