"""A handler as an ASGI application: what no engine has a part in."""

import subprocess
import sys

import pytest

import aioluahttp as http
from aioluahttp.asgi import to_asgi


def hello(request):
    """Say where it was asked."""
    return {'status': 200, 'body': f'{request.method} {request.url}'}


async def test_a_request_is_answered(by_messages):
    """A start with the headers, and a body."""
    sent = await by_messages(to_asgi(hello), path='/a')
    assert [
        {
            'type': 'http.response.start',
            'status': 200,
            'headers': [(b'content-type', b'text/plain; charset=utf-8'), (b'content-length', b'6')],
        },
        {'type': 'http.response.body', 'body': b'GET /a', 'more_body': False},
    ] == sent


BEGIN, END = {'type': 'lifespan.startup'}, {'type': 'lifespan.shutdown'}


async def test_it_has_a_begin_and_an_end(by_messages):
    """Functions for them may be plain or async, or absent."""
    seen = []

    async def end():
        seen.append('end')

    application = to_asgi(hello, on_startup=lambda: seen.append('begin'), on_shutdown=end)
    for one in (application, to_asgi(hello)):
        sent = await by_messages(one, BEGIN, END, type='lifespan')
        types = [message['type'] for message in sent]
        assert ['lifespan.startup.complete', 'lifespan.shutdown.complete'] == types
    assert ['begin', 'end'] == seen


@pytest.mark.parametrize('phase', ['startup', 'shutdown'])
async def test_a_mistake_in_them_is_told(phase, caplog, by_messages):
    """So an engine does not start, and it is logged."""

    async def fail():
        raise LookupError('no database')

    application = to_asgi(hello, **{f'on_{phase}': fail})
    *_, last = await by_messages(application, BEGIN, END, type='lifespan')
    assert {
        'type': f'lifespan.{phase}.failed',
        'message': 'LookupError: no database',
    } == last
    assert f'on_{phase} failed' in caplog.text


async def test_what_is_no_scope_is_an_error(by_messages):
    """As ASGI asks for."""
    with pytest.raises(http.ProtocolError, match=r"no scope of the type 'dns'"):
        await by_messages(to_asgi(hello), type='dns')


@pytest.mark.parametrize(
    ('options', 'message'),
    [
        ({'on_startup': 1}, "'on_startup' is 1; it must be a function without arguments"),
        ({'on_error': 1}, "'on_error' is 1"),
        ({'into': 'txt'}, "'into' is 'txt'"),
        ({'tls': None}, "unknown key 'tls'"),
        ({'max_bdy': 1}, "did you mean 'max_body'"),
    ],
)
def test_a_wrong_option_is_an_error(options, message):
    """It names the option; what is the engine's is none."""
    with pytest.raises(http.TableError, match=message):
        to_asgi(hello, **options)


def test_it_loads_no_server():
    """``import aioluahttp.asgi`` runs nothing of aiohttp's server, nor ours."""
    script = (
        'import sys, aioluahttp.asgi; print(sorted(n for n in sys.modules '
        'if n.startswith(("aiohttp.web", "aioluahttp.server"))))'
    )
    done = subprocess.run(
        [sys.executable, '-c', script], capture_output=True, text=True, check=True
    )
    assert '[]' == done.stdout.strip()
