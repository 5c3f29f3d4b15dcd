"""Servers from the command line."""

import asyncio
import json
import os
import signal
import sys
from contextlib import asynccontextmanager

import pytest
import trustme

import aioluahttp as http
from aioluahttp.cli.serve import HANDLERS, echo, to_handler

pytestmark = pytest.mark.skipif(sys.platform == 'win32', reason='signals are those of posix')

MODULE = """
class Folder:
    async def hello(request):
        return {'status': 200, 'body': 'hello'}
"""


@asynccontextmanager
async def served(folder, *arguments):
    """Run a command that serves, and give the URL that it says."""
    process = await asyncio.create_subprocess_exec(
        *(sys.executable, '-W', 'error', '-m', 'aioluahttp', *arguments),
        cwd=folder,
        stderr=asyncio.subprocess.PIPE,
    )
    lines = []
    while b'listening on' not in (line := await process.stderr.readline()):
        assert line, lines
        lines.append(line)
    try:
        yield line.split()[-1].decode(), process
    finally:
        process.send_signal(signal.SIGTERM)
        _, errors = await process.communicate()
        assert 0 == process.returncode, errors


def test_echo_answers_with_the_table():
    """All of it, in JSON's own values."""
    request = http.to_request(url='http://h/x?y', method='POST', headers={'A': 'b'}, body=b'\xff')
    response = asyncio.run(echo(request))
    assert request == http.Request.from_plain(json.loads(json.dumps(response['json'])))


def test_a_folder_is_served(tmp_path):
    """As ``files`` does."""
    assert 'files' in to_handler(str(tmp_path)).__qualname__


@pytest.mark.parametrize(
    ('target', 'what'),
    [
        ('nothing', 'a folder, or module:handler'),
        ('json:', 'a folder, or module:handler'),
        ('json:no.such', "'json' has no attribute 'no'"),
    ],
)
def test_a_target_that_is_none_is_a_table_error(monkeypatch, target, what):
    """The message says what is wrong with it."""
    monkeypatch.setattr(sys, 'path', sys.path[:])
    with pytest.raises(http.TableError, match=what):
        to_handler(target)


def test_a_module_that_is_missing_is_an_import_error(monkeypatch):
    """It names the module."""
    monkeypatch.setattr(sys, 'path', sys.path[:])
    with pytest.raises(ImportError, match='no_such_module'):
        to_handler('no_such_module:x')


async def test_a_handler_in_a_module_of_this_folder_is_served(tmp_path):
    """With the options that are given; each request is a line of the log."""
    (tmp_path / 'app.py').write_text(MODULE)
    arguments = 'serve', 'app:Folder.hello', '--port', '0', '--access-log'
    async with served(tmp_path, *arguments) as (url, process):
        assert 'hello' == (await http.request(url=f'{url}/x')).body
        assert b'"GET /x HTTP/1.1" 200' in await process.stderr.readline()


async def test_a_unix_socket_and_tls(tmp_path):
    """Both go to ``listen`` as they are."""
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
    """Each is a process of its own; a signal ends them all."""
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


async def test_reload_starts_anew(tmp_path):
    """A change of a file of Python is enough."""
    pytest.importorskip('watchfiles')
    app = tmp_path / 'app.py'
    app.write_text('def handler(request): return {"status": 200, "body": "old"}\n')
    async with served(tmp_path, 'serve', 'app:handler', '--port', '0', '--reload') as (url, child):
        assert 'old' == (await http.request(url=url)).body
        app.write_text('def handler(request): return {"status": 200, "body": "new!"}\n')
        while b'listening on' not in await child.stderr.readline():
            pass
        assert 'new!' == (await http.request(url=url)).body


def test_a_unix_socket_has_one_process(capsys):
    """Workers share a port."""
    from aioluahttp.cli import main

    assert 2 == main(['echo', '--unix', '/nowhere', '--workers', '2'])
    assert '--unix' in capsys.readouterr().err


def test_a_proxy_is_that_of_the_library():
    """An origin that is none is told at once."""
    with pytest.raises(http.TableError):
        HANDLERS['proxy']('nonsense://')
