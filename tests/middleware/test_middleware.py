"""All middlewares combined, on servers and on clients."""

import logging
import subprocess
import sys

import pytest
import stamina
from opentelemetry.sdk.trace import TracerProvider

import aioluahttp as http
from aioluahttp import middleware
from aioluahttp.bodies.stream import Stream
from aioluahttp.middleware import compress, limit, lint, log, record, replay, retry, trace

HEAVY = {'stamina', 'tenacity', 'opentelemetry'}


def test_importing_middleware_loads_no_extras():
    """The library of an extra is loaded when a middleware that needs it is called."""
    script = (
        'import sys, aioluahttp.middleware; '
        'print(*{name.partition(".")[0] for name in sys.modules} & set(sys.argv[1:]))'
    )
    done = subprocess.run(
        [sys.executable, '-c', script, *HEAVY], capture_output=True, text=True, check=True
    )
    assert '' == done.stdout.strip()


@pytest.mark.parametrize('name', middleware.__all__)
def test_a_middleware_has_a_docstring_and_is_public_in_its_module(name):
    """It is in the ``__all__`` of the module that defines it."""
    function = getattr(middleware, name)
    assert function.__doc__
    assert name in sys.modules[function.__module__].__all__


@pytest.mark.parametrize('name', sorted({*middleware.__all__} - {'replay'}))
def test_a_middleware_keeps_the_options_of_a_handler(name, tmp_path):
    """``into`` as an attribute of a handler is found on the wrapped one."""

    def handler(request):
        return {'status': 200}

    handler.into = 'raw'
    options = {'record': {'path': tmp_path / 'a'}, 'trace': {'kind': 'server'}}
    wrapped = getattr(middleware, name)(handler, **options.get(name, {}))
    assert (handler, 'raw') == (wrapped.__wrapped__, wrapped.into)


def composed(handler, folder, kind):
    """Wrap a handler in all middlewares."""
    provider = TracerProvider()
    if kind == 'server':
        handler = compress(lint(handler), minimum_size=1)
    inner = lint(record(lint(handler), folder / f'{kind}.jsonl'))
    traced = lint(trace(inner, kind=kind, tracer_provider=provider))
    return lint(log(lint(retry(limit(traced, concurrency=1, rate=1e6)))))


async def test_all_middlewares_work_together_on_both_sides(tmp_path, caplog):
    """A stream passes through all of them, and the recorded exchange can be replayed."""
    caplog.set_level(logging.INFO)
    statuses = iter([503, 200])

    async def numbers():
        for number in range(3):
            yield str(number)

    async def respond(request):
        if request.path == '/stream':
            return {'status': 200, 'body': numbers()}
        return {'status': next(statuses), 'json': {'a': request.url}}

    tables = ({'url': '/a?b=c', 'into': 'json'}, {'url': '/stream', 'into': 'stream'})
    with stamina.set_testing(True, attempts=2):
        async with http.listen('127.0.0.1', 0, composed(respond, tmp_path, 'server')) as server:
            client = composed(http.request, tmp_path, 'client')
            for table in tables:
                response = await client({'host': '127.0.0.1', 'port': server.port, **table})
                assert 200 == response.status
                if isinstance(response.body, Stream):
                    assert b'012' == await response.body.read()
                else:
                    assert {'a': '/a?b=c'} == response.body
    offline = lint(replay(tmp_path / 'client.jsonl'))
    table = {'host': '127.0.0.1', 'port': server.port, **tables[0]}
    assert {'a': '/a?b=c'} == (await offline(table)).body
    logged = [one.url for one in caplog.records if one.name == 'aioluahttp.requests']
    assert 4 == len(logged)


async def test_middlewares_pass_any_request_body_of_a_server(tmp_path):
    """Text, bytes, decoded JSON and streams reach the handler unread."""

    async def echo(request):
        body = request.body
        return {'status': 200, 'body': repr(await body.read() if request.query else body)}

    handler = lint(log(limit(trace(echo, kind='server'), concurrency=5)))

    def into(request):
        return request.query or request.path[1:]

    async with http.listen('127.0.0.1', 0, handler, into=into) as server:
        for url, body in (
            ('/text', "'[5]'"),
            ('/bytes', "b'[5]'"),
            ('/json', '[5]'),
            ('/?stream', "b'[5]'"),
            ('/?raw', "b'[5]'"),
        ):
            response = await http.request(url=server.url + url, method='POST', body='[5]')
            assert body == response.body
