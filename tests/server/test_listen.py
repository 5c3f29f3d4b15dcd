"""``listen`` and ``run``: their options, and how a server is started and stopped."""

import asyncio
import contextlib
import gc
import importlib.util
import os
import re
import shutil
import signal
import socket
import sys
import textwrap
import warnings
from collections import UserDict
from concurrent.futures import ThreadPoolExecutor

import pytest

import aioluahttp as http
from aioluahttp.errors import TableError
from aioluahttp.server.listen import OPTIONS, ListenOptions, listen, run_in_loop


def hello(request):
    """Respond at once."""
    return {'status': 200, 'body': 'hello'}


async def test_await_listen_returns_a_server_that_accepts():
    """The caller must close it."""
    server = await listen('127.0.0.1', 0, hello)
    assert 'hello' == (await http.request(url=server.url)).body
    await server.close()


async def test_async_with_closes_the_server_at_the_end():
    """Also if its body raises."""
    with contextlib.suppress(ZeroDivisionError):
        async with listen('127.0.0.1', 0, hello) as server:
            assert 'hello' == (await http.request(url=server.url)).body
            assert 'listening' == server.status
            raise ZeroDivisionError
    assert 'closed' == server.status


async def test_async_with_closes_within_the_shutdown_timeout(wire):
    """Callbacks that still run after it are cancelled."""
    called, cancelled = asyncio.Event(), asyncio.Event()

    async def late(request):
        called.set()
        try:
            await asyncio.Event().wait()
        except asyncio.CancelledError:
            cancelled.set()
            raise

    listening = listen('127.0.0.1', 0, late, shutdown_timeout=0.01)
    async with wire(await listening.__aenter__()) as client:
        client.send_request('GET /')
        await called.wait()
        await listening.__aexit__(None, None, None)
        assert (b'', True) == (await client.rest(), cancelled.is_set())


@pytest.mark.parametrize('timeout', [{}, {'shutdown_timeout': None}])
async def test_async_with_waits_for_running_callbacks(wire, timeout):
    """Up to ``shutdown_timeout`` (15 s); with None, for ever."""
    called, release = asyncio.Event(), asyncio.Event()

    async def held(request):
        called.set()
        await release.wait()
        return {'status': 204}

    async def serve(started):
        async with listen('127.0.0.1', 0, held, **timeout) as server:
            started.set_result(server)
            await called.wait()

    started = asyncio.get_running_loop().create_future()
    task = asyncio.create_task(serve(started))
    server = await started
    async with wire(server) as idle, wire(server) as client:
        client.send_request('GET /')
        assert b'' == await idle.rest()  # the server closes
        release.set()
        assert 204 == (await client.read_response())[0]
    await task


def test_listen_without_await_warns():
    """Nothing listened when the return value is collected."""
    with pytest.warns(RuntimeWarning, match='neither awaited nor entered'):
        listen('127.0.0.1', 0, hello)  # collected at once


async def test_listen_with_await_does_not_warn():
    """Also if the server could not start."""
    with warnings.catch_warnings(record=True) as caught:
        async with listen('127.0.0.1', 0, hello) as server:
            with pytest.raises(OSError, match='cannot listen'):
                await listen('127.0.0.1', server.port, hello)
        gc.collect()
    assert [] == caught


def test_the_options_are_those_of_the_type():
    """The typed options are those that are checked, and the docstring names each."""
    assert ListenOptions.__annotations__.keys() == OPTIONS.keys()
    assert [] == [name for name in OPTIONS if f'``{name}``' not in listen.__doc__]


@pytest.mark.parametrize(
    ('option', 'message'),
    [
        ({'max_bdy': 1}, "unknown key 'max_bdy': did you mean 'max_body'?"),
        ({'url': 'x'}, "unknown key 'url'"),
        ({'into': 'xml'}, "'into' is 'xml'; it must be one of"),
        ({'max_body': -1}, "'max_body' is -1; it must be an int of 0 or more"),
        ({'max_body': '1'}, "'max_body' is '1'; it must be"),
        ({'max_connections': 0}, "'max_connections' is 0; it must be an int of 1 or more"),
        ({'max_connections': True}, "'max_connections' is True; it must be"),
        ({'max_concurrent': 0}, "'max_concurrent' is 0; it must be an int of 1 or more"),
        ({'max_concurrent': '1'}, "'max_concurrent' is '1'; it must be"),
        ({'head_timeout': 0}, "'head_timeout' is 0; it must be a number of seconds"),
        ({'body_timeout': float('nan')}, "'body_timeout' is nan; it must be"),
        ({'cancel_on_disconnect': 1}, "'cancel_on_disconnect' is 1; it must be True or False"),
        ({'trusted_proxies': '::1'}, "'trusted_proxies' is '::1'; it must be a list of addresses"),
        ({'trusted_proxies': ['::1', 5]}, "'trusted_proxies' is 5; it must be addresses"),
        ({'trusted_proxies': ['10.0.0.1/8']}, "'trusted_proxies' is '10.0.0.1/8'; it must be"),
        ({'handler_timeout': 0}, "'handler_timeout' is 0; it must be a number of seconds"),
        ({'keepalive_timeout': '1'}, "'keepalive_timeout' is '1'; it must be"),
        ({'shutdown_timeout': -1}, "'shutdown_timeout' is -1; it must be"),
        ({'tls': True}, "'tls' is True; it must be"),
        ({'tls': {'crt': 'x'}}, "unknown key 'crt': did you mean 'cert'?"),
        ({'unix': 5}, "'unix' is 5; it must be the path of a socket"),
        ({'sock': 5}, "'sock' is 5; it must be a socket that is bound"),
        ({'reuse_port': 'yes'}, "'reuse_port' is 'yes'; it must be True or False"),
        ({'backlog': True}, "'backlog' is True; it must be an int"),
        ({'access_log': 'x'}, "'access_log' is 'x'; it must be a logger, or a function"),
        ({'server_header': 5}, "'server_header' is 5; it must be a str"),
        ({'server_header': 'a\r\nb: c'}, 'free of control characters'),
        ({'on_error': 'x'}, "'on_error' is 'x'; it must be a function of the exception"),
        ({'callback': None}, "'callback' is None; it must be a function that takes a request"),
    ],
    ids=str,
)
def test_a_wrong_option_is_a_table_error(option, message):
    """It names the option and says what would be right, before anything listens."""
    with pytest.raises(TableError) as caught:
        listen('127.0.0.1', 0, **{'callback': hello, **option})
    assert message in str(caught.value)


def test_a_datagram_socket_is_a_table_error():
    """It stays open, for its owner to close."""
    with socket.socket(socket.AF_INET, socket.SOCK_DGRAM) as datagrams:
        with pytest.raises(TableError, match=r"'sock' is .* of the type SOCK_STREAM"):
            listen(None, None, hello, sock=datagrams)
        assert datagrams.fileno() >= 0


async def test_a_socket_need_only_be_bound():
    """``listen`` makes it listen and sets it non-blocking."""
    bound = socket.socket()
    bound.bind(('127.0.0.1', 0))
    async with listen(None, None, hello, sock=bound) as server:
        assert bound.getsockname() == (server.host, server.port)
        assert 200 == (await http.request(url=server.url)).status


async def test_an_option_of_none_is_the_default(wire):
    """Except for ``max_body`` and ``shutdown_timeout``, where it is no limit."""
    options = dict.fromkeys(OPTIONS)
    async with listen('127.0.0.1', 0, hello, None, **options) as server, wire(server) as client:
        body = b'0' * (8 * 1024 * 1024 + 1)
        client.send_request('POST /', f'Content-Length: {len(body)}', body=body)
        assert (200, b'hello') == (await client.read_response())[::2]


async def test_every_option_is_accepted(wire, tmp_path):
    """One server with all options that do not exclude each other."""
    seen = []
    options = {
        'into': 'json',
        'max_body': 3,
        'max_connections': 3,
        'max_concurrent': 2,
        'head_timeout': 60,
        'body_timeout': 60,
        'handler_timeout': 60,
        'keepalive_timeout': 60.5,
        'shutdown_timeout': 1,
        'cancel_on_disconnect': True,
        'trusted_proxies': ['127.0.0.1'],
        'reuse_port': hasattr(socket, 'SO_REUSEPORT'),
        'backlog': 5,
        'access_log': lambda request, response: seen.append((request.body, response.status)),
        'server_header': 'we',
    }
    async with listen('127.0.0.1', None, hello, **options) as server, wire(server) as client:
        client.send_request('POST /', 'Content-Length: 3', body=b'[1]')
        assert 'we' == (await client.read_response())[1]['Server']
        client.send_request('POST /', 'Content-Length: 4', body=b'[10]')
        assert 413 == (await client.read_response())[0]
    assert [([1], 200), (None, 413)] == seen


@pytest.mark.parametrize('table', [{'status': 200}, UserDict(status=200)])
async def test_any_mapping_is_a_response(table):
    """It need not be a dict."""
    async with listen('127.0.0.1', 0, lambda request: table) as server:
        assert 200 == (await http.request(url=server.url)).status


@pytest.mark.skipif(not shutil.which('curl'), reason='there is no curl here')
async def test_curl_gets_its_responses():
    """A form, an upload with ``Expect: 100-continue``, and a kept connection."""

    def callback(request):
        kind = request.headers.get('Content-Type')
        return {'status': 200, 'body': f'{request.method} {request.url} {kind} {request.body}\n'}

    async with listen('127.0.0.1', 0, callback) as server:
        curl = await asyncio.create_subprocess_exec(
            *('curl', '--silent', '--show-error', '--globoff', '--path-as-is'),
            *(
                '--data',
                'a=b',
                '-H',
                'Expect: 100-continue',
                server.url + '/a/../%7E?[x]',
                '--next',
            ),
            *('--silent', server.url, '--next', '--silent', '--head', server.url),
            stdout=asyncio.subprocess.PIPE,
            stderr=asyncio.subprocess.PIPE,
        )
        out, err = await curl.communicate()
    form, plain, head = out.decode().split('\n', 2)
    assert 'POST /a/../%7E?[x] application/x-www-form-urlencoded a=b' == form
    assert 'GET / None None' == plain
    assert head.startswith('HTTP/1.1 200 OK\r\n')
    assert (0, b'') == (curl.returncode, err)


SCRIPT = textwrap.dedent("""
    import asyncio, logging, signal, sys
    import aioluahttp as http

    logging.getLogger('asyncio').setLevel(logging.ERROR)  # -X dev logs slow callbacks

    async def held(request):
        loop = type(asyncio.get_running_loop()).__module__.partition('.')[0]
        print('called on', loop, flush=True)
        if request.path == '/for-ever':
            await asyncio.Event().wait()
        await asyncio.to_thread(sys.stdin.readline)
        return {'status': 200, 'body': 'done'}

    before = [signal.getsignal(number) for number in (signal.SIGINT, signal.SIGTERM)]
    http.run('127.0.0.1', 0, held, None, server_header='script')
    after = [signal.getsignal(number) for number in (signal.SIGINT, signal.SIGTERM)]
    print('ended', before == after)
""")

LOOPS = {'asyncio': 'import sys; sys.modules["uvloop"] = None'}  # as if it were not installed
if importlib.util.find_spec('uvloop'):
    LOOPS['uvloop'] = ''


class Script:
    """A script that serves, in a process of its own."""

    def __init__(self, process, port):
        self.process, self.port = process, port

    @classmethod
    async def start(cls, loop):
        """Start it and wait until it listens."""
        # CPython 3.11 crashes where coverage traces uvloop in debug mode.
        mode = () if loop == 'uvloop' else ('-X', 'dev')
        process = await asyncio.create_subprocess_exec(
            *(sys.executable, *mode, '-W', 'error', '-c', LOOPS[loop] + SCRIPT),
            stdin=asyncio.subprocess.PIPE,
            stdout=asyncio.subprocess.PIPE,
            stderr=asyncio.subprocess.PIPE,
        )
        line = (await process.stderr.readline()).decode()
        found = re.fullmatch(r'Listening on http://127.0.0.1:(\d+) \(Ctrl\+C stops\)\n', line)
        return cls(process, int(found[1]))

    async def signal(self, number):
        """Send a signal, and wait until nobody listens any more."""
        self.process.send_signal(number)
        while True:
            try:
                _, writer = await asyncio.open_connection('127.0.0.1', self.port)
            except OSError:
                return
            writer.close()


@pytest.mark.skipif(sys.platform == 'win32', reason='signals are those of posix')
@pytest.mark.parametrize('loop', LOOPS)
@pytest.mark.parametrize('number', [signal.SIGTERM, signal.SIGINT])
async def test_run_closes_gracefully_on_a_signal(wire, loop, number):
    """The running request gets its response; then the script goes on, with its signal handlers."""
    script = await Script.start(loop)
    async with wire(script) as client:
        client.send_request('GET /')
        assert f'called on {loop}\n'.encode() == await script.process.stdout.readline()
        await script.signal(number)
        script.process.stdin.write(b'\n')
        status, headers, body = await client.read_response()
        assert (200, 'close', b'done') == (status, headers['Connection'], body)
        assert 'script' == headers['Server']
    assert (b'ended True\n', b'') == await script.process.communicate()
    assert 0 == script.process.returncode


@pytest.mark.skipif(sys.platform == 'win32', reason='signals are those of posix')
@pytest.mark.parametrize('loop', LOOPS)
@pytest.mark.parametrize('first', [signal.SIGTERM, signal.SIGINT])
@pytest.mark.parametrize('second', [signal.SIGTERM, signal.SIGINT])
async def test_a_second_signal_ends_the_process(wire, loop, first, second):
    """It has its default effect."""
    script = await Script.start(loop)
    async with wire(script) as client:
        client.send_request('GET /for-ever')
        assert f'called on {loop}\n'.encode() == await script.process.stdout.readline()
        await script.signal(first)
        script.process.send_signal(second)
        out, _ = await script.process.communicate()
    assert (-second, b'') == (script.process.returncode, out)


@pytest.mark.parametrize('loop', ['uvloop', 'asyncio'])
@pytest.mark.parametrize('swallowed', [0, 1, 9])
def test_a_task_that_cannot_be_cancelled_does_not_keep_the_loop(
    monkeypatch, caplog, loop, swallowed
):
    """The tasks that a program leaves are cancelled, and after a while given up."""
    monkeypatch.setattr('aioluahttp.server.listen.LEFT', 0.05)
    if loop == 'asyncio':
        monkeypatch.setitem(sys.modules, 'uvloop', None)
    tasks, may_end = [], None

    async def stubborn():
        for _ in range(swallowed):
            with contextlib.suppress(asyncio.CancelledError):
                await may_end.wait()
        await asyncio.sleep(0)

    async def main():
        nonlocal may_end
        may_end = asyncio.Event()
        tasks.append(asyncio.create_task(stubborn(), name='stubborn'))
        await asyncio.sleep(0)
        return 'result'

    assert 'result' == run_in_loop(main())
    expected = ['a task runs on although cancelled: stubborn'] if swallowed > 1 else []
    assert expected == [record.getMessage() for record in caplog.records]
    if expected:
        tasks.pop()._log_destroy_pending = False


def test_run_takes_the_arguments_of_listen():
    """A wrong argument raises before anything listens."""
    with pytest.raises(TableError, match='did you mean'):
        http.run('127.0.0.1', 0, hello, max_bdy=1)
    with (
        socket.create_server(('127.0.0.1', 0)) as taken,
        pytest.raises(OSError, match='cannot listen on 127'),
    ):
        http.run(*taken.getsockname(), hello)


def test_run_outside_the_main_thread_is_refused(capsys):
    """Python has signals in the main thread only; nothing says that it listens."""
    with ThreadPoolExecutor() as pool, pytest.raises(TableError, match='main thread'):
        pool.submit(http.run, '127.0.0.1', 0, hello).result()
    assert ('', '') == capsys.readouterr()


async def test_run_names_its_unix_socket(tmp_path):
    """A URL alone would not tell where it is."""
    script = 'import sys, aioluahttp as http; http.run(None, None, print, unix=sys.argv[1])'
    process = await asyncio.create_subprocess_exec(
        *(sys.executable, '-c', script, str(tmp_path / 's')), stderr=asyncio.subprocess.PIPE
    )
    line = f'Listening on http://localhost by the Unix socket {tmp_path / "s"} (Ctrl+C stops)\n'
    assert line.encode() == await process.stderr.readline()
    process.terminate()  # at once: the line comes when a signal closes gracefully
    await process.communicate()
    assert 0 == process.returncode


WITHOUT_C = textwrap.dedent("""
    import asyncio, warnings
    import aioluahttp as http

    async def main():
        for _ in range(2):
            async with http.listen('127.0.0.1', 0, lambda request: {'status': 204}) as server:
                print((await http.request(url=server.url)).status)

    with warnings.catch_warnings(record=True) as caught:
        warnings.simplefilter('always')
        asyncio.run(main())
    print([(one.category.__name__, str(one.message), one.filename) for one in caught])
""")


@pytest.mark.parametrize('extensions', [True, False])
async def test_listen_warns_once_without_the_c_parser(extensions):
    """The RuntimeWarning points at the first call of ``listen``."""
    environment = os.environ | ({} if extensions else {'AIOHTTP_NO_EXTENSIONS': '1'})
    script = await asyncio.create_subprocess_exec(
        *(sys.executable, '-c', WITHOUT_C),
        env=environment,
        stdout=asyncio.subprocess.PIPE,
        stderr=asyncio.subprocess.PIPE,
    )
    out, err = await script.communicate()
    message = 'aiohttp runs without its C parser; its Python parser accepts some invalid HTTP'
    expected = [] if extensions else [('RuntimeWarning', message, '<string>')]
    assert (f'204\n204\n{expected}\n', '') == (out.decode(), err.decode())
