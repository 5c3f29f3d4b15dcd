"""The commands `serve`, `echo` and `proxy`, worker processes and reloading."""

import asyncio
import importlib
import json
import os
import signal
import socket
import sys
import textwrap
from contextlib import asynccontextmanager

import pytest
import trustme

import aioluahttp as http
from aioluahttp.cli.serve import (
    HANDLERS,
    LIMITS,
    echo_handler,
    find,
    reserved,
    run_again,
    to_handler,
    with_cache,
)
from aioluahttp.exchange.forwarded import NO_PROXIES
from aioluahttp.exchange.options import Settings
from aioluahttp.server.listen import OPTIONS

pytestmark = pytest.mark.skipif(sys.platform == 'win32', reason='needs signals of POSIX')

MODULE = """
class Folder:
    async def hello(request):
        return {'status': 200, 'body': 'hello'}
"""


@asynccontextmanager
async def served(folder, *arguments):
    """Run a command that serves; yield the URL that it prints, and the process."""
    process = await asyncio.create_subprocess_exec(
        *(sys.executable, '-W', 'error', '-m', 'aioluahttp', *arguments),
        cwd=folder,
        stderr=asyncio.subprocess.PIPE,
    )
    lines = []
    while b'Listening on' not in (line := await process.stderr.readline()):
        assert line, lines
        lines.append(line)
    try:
        yield line.split()[2].decode(), process
    finally:
        process.send_signal(signal.SIGTERM)
        _, errors = await process.communicate()
        assert 0 == process.returncode, errors


def test_echo_responds_with_the_request_table():
    """The whole table is in values that JSON has."""
    request = http.to_request(url='http://h/x?y', method='POST', headers={'A': 'b'}, body=b'\xff')
    response = asyncio.run(echo_handler(request))
    assert request == http.Request.from_plain(json.loads(json.dumps(response['json'])))


def test_a_folder_is_served(tmp_path):
    """The handler is that of ``files``."""
    assert 'files' in to_handler(str(tmp_path)).__qualname__


@pytest.mark.parametrize(
    ('target', 'what'),
    [
        ('nothing', 'a folder that exists, or module:handler'),
        ('json:', 'a folder that exists, or module:handler'),
        (':x', 'a folder that exists, or module:handler'),
        ('.json:x', 'a folder that exists, or module:handler'),
        ('json:no.such', "'json' has no attribute 'no'"),
        ('no_such_module:x', "a module that exists: No module named 'no_such_module'"),
        ('json.no_such:x', "a module that exists: No module named 'json.no_such'"),
        ('json.py:x', "a module that exists: No module named 'json.py'"),
        ('json:__name__', 'the request; this is str'),
        ('json:JSONEncoder.encode', 'this is a function of other arguments: missing'),
    ],
)
def test_an_invalid_target_is_a_table_error(monkeypatch, target, what):
    """The message says what is wrong with it."""
    monkeypatch.setattr(sys, 'path', sys.path[:])
    with pytest.raises(http.TableError) as caught:
        to_handler(target)
    assert what in str(caught.value)


def test_a_function_without_a_signature_may_be_a_handler(monkeypatch):
    """Some of C have none."""
    monkeypatch.setattr(sys, 'path', sys.path[:])
    assert dict is to_handler('builtins:dict')


@pytest.fixture
def modules(tmp_path, monkeypatch):
    """Write modules into the current folder; forget them at the end."""
    monkeypatch.setattr(sys, 'path', sys.path[:])
    monkeypatch.chdir(tmp_path)
    before = set(sys.modules)
    importlib.invalidate_caches()

    def write(**sources):
        for name, source in sources.items():
            (tmp_path / f'{name}.py').write_text(textwrap.dedent(source))

    yield write
    for name in set(sys.modules) - before:
        if name.startswith('shown_'):
            del sys.modules[name]


def test_an_application_of_another_kind_is_named(modules):
    """ASGI and WSGI applications are called with other arguments."""
    modules(
        shown_apps="""
            from aioluahttp.asgi import to_asgi

            class Asgi:
                async def __call__(self, scope, receive, send): ...

            def wsgi(environ, start_response): ...

            asgi, ours = Asgi(), to_asgi(lambda request: {'status': 204})
        """
    )
    for name, kind in [('asgi', 'ASGI'), ('ours', 'ASGI'), ('wsgi', 'WSGI')]:
        with pytest.raises(http.TableError, match=f'this is an? {kind} application'):
            to_handler(f'shown_apps:{name}')


@pytest.mark.parametrize(
    ('source', 'text'),
    [
        ('import no_such', "ModuleNotFoundError: No module named 'no_such'"),
        ('from json import no', "ImportError: cannot import name 'no' from 'json'"),
        ('import aioluahttp\naioluahttp.files("no")', "TableError: 'directory' is 'no'"),
        ('open("no")', 'FileNotFoundError: '),
    ],
)
def test_an_error_inside_a_module_has_its_place(modules, tmp_path, source, text):
    """The file and the line, also where another module imports it."""
    line = 2 + source.count('\n')
    modules(shown_broken=f'\n{source}\n', shown_outer='import shown_broken\n')
    for target in ('shown_broken:x', 'shown_outer:x'):
        with pytest.raises(ImportError) as caught:
            to_handler(target)
        assert f'{tmp_path / "shown_broken.py"}, line {line}: {text}' in str(caught.value)


def test_any_other_error_of_a_module_is_raised(modules):
    """Its traceback is shown."""
    modules(shown_wrong='1 / 0')
    with pytest.raises(ZeroDivisionError):
        to_handler('shown_wrong:x')


def test_every_option_of_listen_is_an_option_of_serve():
    """Those that are left out have options of another form, or none."""
    assert set(OPTIONS) == set(LIMITS) | {
        *('into', 'tls', 'unix', 'sock', 'reuse_port', 'access_log', 'lifespan'),
    }


def test_the_defaults_in_the_help_are_those_of_listen():
    """They come from where ``listen`` has them, except these."""
    assert (8 * 1024 * 1024, None) == (Settings.max_body, Settings.max_concurrent)
    assert (NO_PROXIES, None) == (Settings.trusted_proxies, Settings.server_header)


async def test_a_handler_in_a_module_of_the_current_folder_is_served(tmp_path):
    """The options apply; each request is a line of the log."""
    (tmp_path / 'app.py').write_text(MODULE)
    arguments = 'serve', 'app:Folder.hello', '--port', '0', '--access-log', '--max-body', '3'
    async with served(tmp_path, *arguments) as (url, process):
        assert 'hello' == (await http.request(url=f'{url}/x')).body
        assert b'"GET /x HTTP/1.1" 200' in await process.stderr.readline()
        assert 413 == (await http.request(method='POST', url=url, body='four')).status


async def test_unix_and_tls_options_are_used(tmp_path):
    """Both are passed to ``listen``."""
    path = tmp_path / 's'
    async with served(tmp_path, 'echo', '--unix', str(path)):
        response = await http.request(unix=path, host='localhost', into='json')
    assert '/' == response.body['path']
    cert, key = tmp_path / 'cert', tmp_path / 'key'
    issued = trustme.CA().issue_cert('127.0.0.1')
    issued.private_key_pem.write_to_path(str(key))
    for one in issued.cert_chain_pems:
        one.write_to_path(str(cert), append=True)
    arguments = 'echo', '--port', '0', '--cert', str(cert), '--key', str(key)
    async with served(tmp_path, *arguments) as (url, _):
        response = await http.request(url=url, tls=False, into='json')
    assert 'https' == response.body['scheme']


async def test_workers_share_a_port(tmp_path):
    """Each is its own process; a signal ends them all."""
    (tmp_path / 'app.py').write_text(
        'import os\ndef pid(request): return {"status": 200, "body": str(os.getpid())}\n'
    )
    arguments = 'serve', 'app:pid', '--port', '0', '--workers', '2'
    async with served(tmp_path, *arguments) as (url, _):
        pids = set()
        while len(pids) < 2:  # the kernel spreads connections, in no order
            async with http.Client() as client:
                pids.add((await client.request(url=url)).body)
    for pid in pids:
        with pytest.raises(ProcessLookupError):
            os.kill(int(pid), 0)


async def test_an_error_of_a_worker_is_one_line(tmp_path):
    """Its exit status is that of the command."""
    process = await asyncio.create_subprocess_exec(
        *(sys.executable, '-m', 'aioluahttp', 'serve', 'no_such:x', '--port', '0'),
        *('--workers', '2'),
        cwd=tmp_path,
        stderr=asyncio.subprocess.PIPE,
    )
    _, errors = await process.communicate()
    assert (2, False) == (process.returncode, b'Traceback' in errors)
    assert errors.startswith(b"aioluahttp: 'target' is 'no_such:x'; it must be a module that")


LIFESPAN = """
import contextlib
from pathlib import Path

@contextlib.asynccontextmanager
async def lifespan():
    Path('started').touch()
    yield
    Path('ended').touch()

async def hello(request):
    return {'status': 200, 'body': 'hello'}
"""


async def test_a_lifespan_of_a_module_is_entered_and_left(tmp_path):
    """Before the first request, and after the signal."""
    (tmp_path / 'shown_lifespan.py').write_text(LIFESPAN)
    arguments = '--lifespan', 'shown_lifespan:lifespan', '--port', '0'
    async with served(tmp_path, 'serve', 'shown_lifespan:hello', *arguments) as (url, _):
        assert ['shown_lifespan.py', 'started'] == sorted(os.listdir(tmp_path))[-2:]
        assert 'hello' == (await http.request(url=url)).body
    assert (tmp_path / 'ended').exists()


def test_a_wrong_lifespan_is_told_by_its_option(modules):
    """As for the handler: the module and the name have to exist."""
    modules(shown_empty='')
    for name, message in [
        ('shown_empty:lifespan', "'--lifespan' is 'shown_empty:lifespan'; it must be a name"),
        ('shown_empty', 'it must be module:name'),
        ('shown_absent:x', 'it must be a module that exists'),
    ]:
        with pytest.raises(http.TableError, match=message):
            find(name, '--lifespan')


async def test_reload_restarts_the_server(tmp_path):
    """Changing a Python file is enough."""
    pytest.importorskip('watchfiles')
    app = tmp_path / 'app.py'
    app.write_text('def handler(request): return {"status": 200, "body": "old"}\n')
    async with served(tmp_path, 'serve', 'app:handler', '--port', '0', '--reload') as (url, child):
        assert 'old' == (await http.request(url=url)).body
        app.write_text('def handler(request): return {"status": 200, "body": "new!"}\n')
        while b'Listening on' not in await child.stderr.readline():
            pass
        assert 'new!' == (await http.request(url=url)).body


def test_unix_and_workers_are_refused_together(capsys):
    """Workers can only share a port."""
    from aioluahttp.cli import main

    assert 2 == main(['echo', '--unix', '/nowhere', '--workers', '2'])
    assert '--unix' in capsys.readouterr().err


def test_the_proxy_command_uses_proxy():
    """An invalid origin raises at once."""
    with pytest.raises(http.TableError):
        HANDLERS['proxy']('nonsense://')


SCRIPT = textwrap.dedent("""
    import logging, os, sys
    from pathlib import Path
    from aioluahttp.server.listen import run
    from aioluahttp.cli.serve import reserved, run_again, run_many

    def pid(request):
        if request.path == '/held':
            sys.stdin.readline()
        return {'status': 200, 'body': str(os.getpid())}

    def serve(port):
        logging.basicConfig(level=logging.INFO, format='%(message)s')
        run('127.0.0.1', port, pid, reuse_port=True)

    def fail(port):
        raise SystemExit(3)

    if __name__ == '__main__':
        logging.basicConfig(level=logging.INFO, format='%(message)s')
        with reserved('127.0.0.1', 0) as port:
            print(port, flush=True)
            if sys.argv[1] == 'again':
                sys.exit(run_again(Path(__file__).parent, serve, port))
            sys.exit(run_many(2, globals()[sys.argv[1]], port))
""")


async def start(folder, function='serve'):
    """Start two workers; return their parent process and the port."""
    script = folder / 'script.py'
    script.write_text(SCRIPT)
    process = await asyncio.create_subprocess_exec(
        *(sys.executable, '-W', 'error', str(script), function),
        stdout=asyncio.subprocess.PIPE,
        stderr=asyncio.subprocess.PIPE,
    )
    return process, int(await process.stdout.readline())


async def listening(process, number=2):
    """Wait until this number of workers listen."""
    for _ in range(number):
        while b'Listening on' not in (line := await process.stderr.readline()):
            assert line


async def pids(port, number=2):
    """Return the ids of the processes that serve a port, once there are this many."""
    found = set()
    while len(found) < number:  # the kernel spreads connections, in no order
        async with http.Client() as client:
            found.add(int((await client.request(port=port, host='127.0.0.1')).body))
    return found


def test_a_reserved_port_is_held():
    """No other socket can be bound to it; port 0 picks one."""
    taken = pytest.raises(OSError, match='in use')
    with reserved('127.0.0.1', 0) as port, socket.socket() as other, taken:
        other.bind(('127.0.0.1', port))
    with (
        socket.create_server(('127.0.0.1', 0)) as other,
        pytest.raises(OSError, match='in use'),
        reserved('127.0.0.1', other.getsockname()[1]),
    ):
        pass


async def test_a_worker_that_is_killed_is_replaced(tmp_path):
    """The other workers go on."""
    process, port = await start(tmp_path)
    await listening(process)
    first, second = await pids(port)
    os.kill(first, signal.SIGKILL)
    assert f'worker {first} ended with -9\n'.encode() == await process.stderr.readline()
    await listening(process, 1)
    assert {second} < await pids(port)
    process.send_signal(signal.SIGINT)
    await process.communicate()
    assert 0 == process.returncode


async def test_a_worker_that_fails_ends_all_workers(tmp_path):
    """Its exit status is that of the command."""
    process, _ = await start(tmp_path, 'fail')
    _, errors = await process.communicate()
    assert (3, True) == (process.returncode, b'ended with 3' in errors)


async def test_workers_end_with_their_parent(tmp_path):
    """They end even if the parent was killed, and could not signal them."""
    process, port = await start(tmp_path)
    await listening(process)
    process.kill()
    await process.communicate()  # the workers have its stderr too, so this waits for them
    with pytest.raises(ConnectionRefusedError):
        await asyncio.open_connection('127.0.0.1', port)


async def test_a_second_signal_kills_the_workers(tmp_path):
    """It kills one that is still handling a request, too."""
    process, port = await start(tmp_path)
    await listening(process)
    _, writer = await asyncio.open_connection('127.0.0.1', port)
    writer.write(b'GET /held HTTP/1.1\r\nHost: h\r\n\r\n')
    process.send_signal(signal.SIGTERM)
    process.send_signal(signal.SIGTERM)
    await asyncio.wait_for(process.communicate(), 10)
    writer.close()


async def test_a_changed_python_file_restarts_the_process(tmp_path):
    """A signal ends it with status 0."""
    process, port = await start(tmp_path, 'again')
    await listening(process, 1)
    (first,) = await pids(port, 1)
    (tmp_path / 'other.py').write_text('')
    await listening(process, 1)
    assert {first}.isdisjoint(await pids(port, 1))
    process.send_signal(signal.SIGTERM)
    await process.communicate()
    assert 0 == process.returncode


def test_reload_without_watchfiles_says_what_to_install(monkeypatch, tmp_path):
    """The error has the command to run."""
    monkeypatch.setitem(sys.modules, 'watchfiles', None)
    with pytest.raises(
        ImportError, match=r"^reload needs watchfiles: pip install 'aioluahttp\[cli\]'$"
    ):
        run_again(tmp_path, print)


@pytest.mark.parametrize('path', ['', 'responses.db'])
async def test_proxy_can_store_responses(tmp_path, path):
    """In memory, or in a file."""
    count = 0

    async def origin(request):
        nonlocal count
        count += 1
        return {'status': 200, 'headers': {'Cache-Control': 'max-age=60'}, 'body': 'a'}

    async with http.listen('127.0.0.1', 0, origin) as server:
        arguments = 'proxy', server.url, '--port', '0', '--cache', *([path] if path else [])
        async with served(tmp_path, *arguments) as (url, _):
            for _ in range(2):
                response = await http.request(url=url)
                assert 'a' == response.body
        assert 'aioluahttp; hit' == response.headers['Cache-Status']
    assert 1 == count
    assert bool(path) == (tmp_path / 'responses.db').exists()


async def test_responses_can_be_stored_in_this_process(tmp_path):
    """``with_cache`` wraps a handler, with a file or without."""

    async def page(request):
        return {'status': 200, 'headers': {'Cache-Control': 'max-age=60'}, 'body': 'a'}

    for path in ('', str(tmp_path / 'file')):
        handler = with_cache(page, path)
        for _ in range(2):
            response = await handler({'host': 'h'})
        assert 'aioluahttp; hit' == response.headers['Cache-Status']
        await handler._storage.close()
