"""The helpers and pytest fixtures for tests."""

import asyncio
import json
import subprocess
import sys
import textwrap
import threading
import urllib.request

import pytest

import aioluahttp as http
from aioluahttp.testing import http_via as call_via
from aioluahttp.testing import serve, serve_in_thread


def where(request):
    return {'status': 200, 'json': [threading.get_ident(), request.path]}


async def test_a_handler_is_served_on_a_free_port():
    """``serve`` takes the options of ``listen``."""
    mistakes = []

    def fail(request):
        raise ValueError('mine')

    async with (
        serve(where) as server,
        serve(fail, on_error=lambda error, _: mistakes.append(str(error))) as failing,
    ):
        assert 200 == (await http.request(url=server.url)).status
        assert 500 == (await http.request(url=failing.url)).status
    assert ['mine'] == mistakes


def test_a_handler_is_served_to_code_that_is_not_async():
    """The handler runs in another thread, which ends with the block."""
    before = threading.active_count()
    with serve_in_thread(where) as server:
        with urllib.request.urlopen(f'{server.url}/x') as response:
            thread, path = json.load(response)
        assert ('/x', False) == (path, thread == threading.get_ident())
    assert (before, 'closed') == (threading.active_count(), server.status)


def test_a_wrong_option_raises_in_the_calling_thread():
    """No thread is left after the TableError."""
    before = threading.active_count()
    with pytest.raises(http.TableError, match='max_body'), serve_in_thread(where, max_body='x'):
        pass
    assert before == threading.active_count()


def test_an_exception_in_the_block_closes_the_server():
    """The exception is raised, and the server is closed."""
    with pytest.raises(KeyError), serve_in_thread(where) as server:
        raise KeyError
    assert 'closed' == server.status


def test_the_fixture_serves_handlers(http_serve):
    """``http_serve`` serves as many handlers as a test needs."""
    for server in http_serve(where), http_serve(where, server_header='tables'):
        with urllib.request.urlopen(server.url) as response:
            assert 200 == response.status
    assert 'tables' == response.headers['Server']


def test_the_fixture_calls_handlers_in_process(http_via):
    """``http_via`` has one client for each handler, which keeps cookies."""
    ask = http_via(lambda request: {'status': 200, 'body': str(request.cookies())})
    count = http_via(lambda request: {'status': 204, 'headers': {'Set-Cookie': 'a=b'}})
    assert 'localhost' in ask(url='/x').url
    assert 'http://other/' == http_via(where, base_url='http://other')({}).url
    assert 'b' == count(url='/').cookies()['a']
    assert '{}' == ask(url='/', method='POST').body


def test_a_handler_is_called_in_process_by_code_that_is_not_async():
    """``via_options`` are for the handler, all others for the client."""

    def count(request):
        return {'status': 200, 'json': len(request.body)}

    options = {'via_options': {'into': 'bytes', 'max_body': 3}, 'into': 'json', 'method': 'POST'}
    with call_via(count, **options) as request:
        assert 2 == request(body='é').body
        assert 413 == request(body='abcd', into='text').status


def test_the_fixture_takes_options_of_an_exchange(http_via):
    """Clients of one test run in one event loop."""
    loops = []

    async def handler(request):
        loops.append(asyncio.get_running_loop())
        raise ValueError

    told = []
    for _ in range(2):
        options = {'on_error': lambda error, request: told.append(request.path)}
        assert 500 == http_via(handler, via_options=options)(url='/a').status
    assert (['/a'] * 2, 1) == (told, len(set(loops)))


def test_the_plugin_imports_no_other_module():
    """pytest imports it in every run, of other projects too, so it must be light."""
    code = textwrap.dedent("""
        import sys, pytest
        before = set(sys.modules)
        import pytest_aioluahttp
        print(*sorted({name.partition('.')[0] for name in set(sys.modules) - before}))
    """)
    output = subprocess.check_output([sys.executable, '-c', code], text=True)
    assert ['pytest_aioluahttp'] == output.split()


def test_the_plugin_is_found_by_its_entry_point(request):
    """No line in a conftest is needed."""
    assert request.config.pluginmanager.hasplugin('aioluahttp')
