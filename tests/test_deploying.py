"""The configurations of the page *Deploy with systemd, Docker and nginx* work."""

import asyncio
import configparser
import contextlib
import json
import re
import shlex
import shutil
import signal
import subprocess
import sys
from pathlib import Path

import pytest

import aioluahttp as http
from programs import NGINX, NGINX_FRAME, free_port

PAGE = Path(__file__).parents[1] / 'docs/how-to/deploy.md'
BLOCKS = dict(re.findall(r'^```(\w+)\n(.*?)^```$', PAGE.read_text('utf-8'), re.M | re.S))
ANALYZE = shutil.which('systemd-analyze')

needs_nginx = pytest.mark.skipif(NGINX is None, reason='nginx is not installed')
needs_posix = pytest.mark.skipif(sys.platform == 'win32', reason='needs signals of POSIX')


def replaced(text, **words):
    """Replace words that have to be there."""
    for word, other in words.values():
        assert word in text
        text = text.replace(word, str(other))
    return text


async def connected(port, process, source):
    """Connect to nginx once it listens."""
    while process.returncode is None:
        with contextlib.suppress(OSError):
            return await asyncio.open_connection('127.0.0.1', port, local_addr=(source, 0))
    raise AssertionError('nginx does not run')


@contextlib.asynccontextmanager
async def behind_nginx(folder, handler):
    """Serve behind the nginx of the page; yield its port, the server and a way to connect."""
    port = free_port()
    async with http.listen('127.0.0.1', 0, handler, trusted_proxies=['127.0.0.1']) as server:
        here = replaced(
            BLOCKS['nginx'],
            app=('server 127.0.0.1:8080;', f'server 127.0.0.1:{server.port};'),
            port=('listen 80;', f'listen 127.0.0.1:{port};'),
        )
        (folder / 'nginx.conf').write_text(NGINX_FRAME % here)
        process = await asyncio.create_subprocess_exec(
            *(NGINX, '-p', str(folder), '-e', 'stderr', '-c', 'nginx.conf'), cwd=folder
        )
        try:
            _, writer = await connected(port, process, '127.0.0.1')
            writer.close()
            yield port, server, lambda: connected(port, process, '127.0.0.2')
        finally:
            process.terminate()
            await process.wait()


def tell(request):
    """Respond with what a handler knows of the client and of its request."""
    fields = [request.headers.get(name) for name in ('Host', 'Forwarded', 'Connection', 'Upgrade')]
    return {
        'status': 200,
        'json': [request.ip, request.scheme, request.host, request.port, *fields],
    }


@needs_nginx
async def test_behind_nginx_a_handler_knows_the_client_and_the_host(tmp_path):
    """Forwarding headers that the client wrote do not count; the port of Host is kept."""
    async with behind_nginx(tmp_path, tell) as (_, server, connect):
        for _ in range(2):
            reader, writer = await connect()
            writer.write(
                b'GET / HTTP/1.1\r\nHost: app.example:8081\r\nConnection: close\r\n'
                b'X-Forwarded-For: 203.0.113.9\r\nX-Forwarded-Host: evil\r\n'
                b'X-Forwarded-Proto: https\r\nForwarded: for=203.0.113.9;host=evil\r\n\r\n'
            )
            body = (await reader.read()).rpartition(b'\r\n\r\n')[2]
            writer.close()
            expected = ['127.0.0.2', 'http', 'app.example', 8081, 'app.example:8081', None, None]
            assert [*expected, None] == json.loads(body)
        assert 1 == server.stats['connections']  # nginx keeps it open


async def echo(socket):
    async for message in socket:
        await socket.send(message)


@needs_nginx
async def test_websockets_pass_nginx(tmp_path):
    """Also from a page, whose Origin has the port; those of other origins are refused."""

    def handler(request):
        return {'websocket': echo}

    async with behind_nginx(tmp_path, handler) as (port, _, _), http.Client() as client:
        url = f'http://127.0.0.1:{port}/'
        async with client.websocket(url=url, headers={'Origin': url.rstrip('/')}) as ws:
            for message in ('é', b'\x00' * 100_000):
                await ws.send(message)
                assert message == await anext(ws)
        with pytest.raises(http.ProtocolError, match='403'):
            async with client.websocket(url=url, headers={'Origin': 'http://127.0.0.1:1'}):
                pass


@needs_nginx
async def test_bodies_pass_nginx_as_they_come(tmp_path):
    """Neither a stream nor an upload waits for its end in nginx."""
    read = asyncio.Event()

    async def chunks():
        yield b'one'
        await read.wait()
        yield b'two'

    async def upload():
        yield b'first'
        await read.wait()
        yield b'second'

    async def handler(request):
        if request.method == 'GET':
            return {'status': 200, 'body': chunks()}
        first = await anext(request.body)
        read.set()
        return {'status': 200, 'body': first + await request.body.read()}

    handler.into = 'stream'
    async with behind_nginx(tmp_path, handler) as (port, _, _), http.Client() as client:
        url = f'http://127.0.0.1:{port}'
        response = await client.request(url=url, into='stream')
        async with response.body as body:
            assert b'one' == await anext(body)
            read.set()
            assert b'two' == await body.read()
        read.clear()
        response = await client.request(method='POST', url=url, body=upload())
        assert 'firstsecond' == response.body


async def check_command(folder, command, number):
    """Run a command of the library that serves; check a response, and that SIGTERM ends it."""
    (folder / 'app.py').write_text(BLOCKS['python'])
    assert 'aioluahttp' == Path(command[0]).name
    process = await asyncio.create_subprocess_exec(
        *(sys.executable, '-m', 'aioluahttp', *command[1:]),
        cwd=folder,
        stderr=asyncio.subprocess.PIPE,
    )
    for _ in range(number):
        line = (await process.stderr.readline()).decode()
        assert line.startswith('Listening on http://'), line
    response = await http.request(url=re.search(r':\d+', line)[0].join(['http://127.0.0.1', '/']))
    assert (200, '127.0.0.1 asked for http://127.0.0.1') == (response.status, response.body)
    process.send_signal(signal.SIGTERM)
    _, errors = await process.communicate()
    assert (0, b'') == (process.returncode, errors)


def unit():
    parsed = configparser.ConfigParser(delimiters='=', interpolation=None)
    parsed.optionxform = str
    parsed.read_string(BLOCKS['ini'])
    return parsed['Service']


@needs_posix
async def test_the_command_of_the_systemd_unit_serves(tmp_path):
    """On SIGTERM for its first process alone, it closes gracefully in the time that it has."""
    command = replaced(
        unit()['ExecStart'], port=('--port 8080', '--port 0'), workers=('rs 4', 'rs 2')
    )
    assert 'mixed' == unit()['KillMode']
    assert int(unit()['TimeoutStopSec']) > 15 + 1
    await check_command(tmp_path, shlex.split(command), 2)


@pytest.mark.skipif(ANALYZE is None, reason='systemd is not installed')
def test_systemd_takes_the_unit(tmp_path):
    """It finds no fault in it."""
    program = unit()['ExecStart'].split()[0]
    path = tmp_path / 'app.service'
    path.write_text(replaced(BLOCKS['ini'], program=(program, sys.executable)))
    done = subprocess.run([ANALYZE, 'verify', path], capture_output=True, text=True, check=False)
    assert (0, '') == (done.returncode, done.stderr)


@needs_posix
async def test_the_command_of_the_dockerfile_serves(tmp_path):
    """It is a list, so that no shell stands between it and SIGTERM."""
    command = json.loads(re.search(r'^CMD (.*)$', BLOCKS['dockerfile'], re.M)[1])
    timeout = float(command[command.index('--shutdown-timeout') + 1])
    assert timeout + 1 < 10  # seconds after which Docker kills
    await check_command(tmp_path, [*command, '--port', '0'], 1)
