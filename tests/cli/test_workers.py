"""Servers in processes of their own."""

import asyncio
import os
import signal
import socket
import sys
import textwrap

import pytest

import aioluahttp as http
from aioluahttp.cli.workers import reserved, run_again

pytestmark = pytest.mark.skipif(sys.platform == 'win32', reason='signals are those of posix')

SCRIPT = textwrap.dedent("""
    import logging, os, sys
    from pathlib import Path
    from aioluahttp.server.listen import run
    from aioluahttp.cli.workers import reserved, run_again, run_many

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
    """Start two workers, and give the process above them and the port."""
    script = folder / 'script.py'
    script.write_text(SCRIPT)
    process = await asyncio.create_subprocess_exec(
        *(sys.executable, '-W', 'error', str(script), function),
        stdout=asyncio.subprocess.PIPE,
        stderr=asyncio.subprocess.PIPE,
    )
    return process, int(await process.stdout.readline())


async def listening(process, number=2):
    """Wait until so many workers listen."""
    for _ in range(number):
        while b'listening on' not in (line := await process.stderr.readline()):
            assert line


async def pids(port, number=2):
    """Give the processes that answer on a port, as soon as there are so many."""
    found = set()
    while len(found) < number:  # the kernel spreads connections, in no order
        async with http.Client() as client:
            found.add(int((await client.request(port=port, host='127.0.0.1')).body))
    return found


def test_a_reserved_port_is_held():
    """Nobody else can have it; port 0 picks one."""
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
    """The others go on."""
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


async def test_a_worker_that_fails_ends_all(tmp_path):
    """Its exit status is that of the whole."""
    process, _ = await start(tmp_path, 'fail')
    _, errors = await process.communicate()
    assert (3, True) == (process.returncode, b'ended with 3' in errors)


async def test_workers_end_with_who_started_them(tmp_path):
    """Also where that was killed, and could tell them nothing."""
    process, port = await start(tmp_path)
    await listening(process)
    process.kill()
    await process.communicate()  # the workers have its stderr too, so this waits for them
    with pytest.raises(ConnectionRefusedError):
        await asyncio.open_connection('127.0.0.1', port)


async def test_a_second_signal_ends_all_at_once(tmp_path):
    """Also one that still answers."""
    process, port = await start(tmp_path)
    await listening(process)
    _, writer = await asyncio.open_connection('127.0.0.1', port)
    writer.write(b'GET /held HTTP/1.1\r\nHost: h\r\n\r\n')
    process.send_signal(signal.SIGTERM)
    process.send_signal(signal.SIGTERM)
    await asyncio.wait_for(process.communicate(), 10)
    writer.close()


async def test_a_change_of_a_file_of_python_starts_it_anew(tmp_path):
    """Until a signal, which ends it well."""
    process, port = await start(tmp_path, 'again')
    await listening(process, 1)
    (first,) = await pids(port, 1)
    (tmp_path / 'other.py').write_text('')
    await listening(process, 1)
    assert {first}.isdisjoint(await pids(port, 1))
    process.send_signal(signal.SIGTERM)
    await process.communicate()
    assert 0 == process.returncode


def test_without_watchfiles_it_says_what_to_install(monkeypatch, tmp_path):
    """In a line."""
    monkeypatch.setitem(sys.modules, 'watchfiles', None)
    with pytest.raises(
        ImportError, match=r"^reload needs watchfiles: pip install 'aioluahttp\[cli\]'$"
    ):
        run_again(tmp_path, print)
