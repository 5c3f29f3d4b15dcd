"""Run nginx as an origin of files, and as a reverse proxy in front of our server."""

from __future__ import annotations

import asyncio
import contextlib
import shutil
import subprocess
from collections.abc import AsyncIterator, Iterator
from pathlib import Path
from random import Random

from subject import filler

__all__ = ['content', 'find_nginx', 'make_files', 'nginx']

STARTING = 10.0  # seconds that nginx may take to listen
SIZES = (0, 1, 100, 5000, 70_000, 1_000_000, 3_000_000)

# One process in the foreground, which keeps the user that starts it.
CONFIG = """
daemon off;
master_process off;
pid {folder}/nginx.pid;
error_log {folder}/error.log warn;
events {{ worker_connections 1024; }}
http {{
    access_log off;
    client_body_temp_path {folder}/body;
    proxy_temp_path {folder}/proxy;
    fastcgi_temp_path {folder}/fastcgi;
    uwsgi_temp_path {folder}/uwsgi;
    scgi_temp_path {folder}/scgi;
    types {{ text/plain txt; }}
    default_type application/octet-stream;
    server {{
        listen 127.0.0.1:{files};
        root {folder}/files;
        gzip on;
        gzip_types text/plain;
        gzip_min_length 1;
        keepalive_requests 100;
    }}
    upstream ours {{
        server 127.0.0.1:{ours};
        keepalive 16;
    }}
    server {{
        listen 127.0.0.1:{front};
        client_max_body_size 0;
        location / {{
            proxy_pass http://ours;
            proxy_http_version 1.1;
            proxy_set_header Connection "";
        }}
    }}
}}
"""


def find_nginx() -> str | None:
    """Return the path of nginx, also from the sbin folders; None if it is not installed."""
    return shutil.which('nginx') or shutil.which('nginx', path='/usr/sbin:/usr/local/sbin')


def content(name: str) -> bytes:
    """Return the content of a file: random bytes for ``<size>.bin``, text for ``<size>.txt``."""
    size, _, kind = name.rpartition('.')
    return filler(name, int(size)) if kind == 'txt' else Random(name).randbytes(int(size))


def make_files(folder: Path) -> dict[str, bytes]:
    """Write the files of the origin, and return their contents by name."""
    files = {name: content(name) for size in SIZES for name in (f'{size}.bin', f'{size}.txt')}
    folder.mkdir()
    for name, data in files.items():
        (folder / name).write_bytes(data)
    return files


@contextlib.asynccontextmanager
async def nginx(program: str, folder: Path, ports: dict[str, int]) -> AsyncIterator[None]:
    """Run nginx.

    Args:
        program: The path of nginx.
        folder: Contains ``files``, and gets all that nginx writes.
        ports: Ports of ``files``, of ``front`` (the reverse proxy) and of ``ours`` (the server
            behind it).
    """
    with running(program, folder, ports) as process:
        async with asyncio.timeout(STARTING):
            for port in (ports['files'], ports['front']):
                await wait_until_listening(port, process)
        yield


@contextlib.contextmanager
def running(program: str, folder: Path, ports: dict[str, int]) -> Iterator[subprocess.Popen[bytes]]:
    config = folder / 'nginx.conf'
    config.write_text(CONFIG.format(folder=folder, **ports), 'utf-8')
    errors = f'{folder}/error.log'  # the compiled-in log may not be writable
    process = subprocess.Popen([program, '-p', str(folder), '-e', errors, '-c', str(config)])
    try:
        yield process
    finally:
        process.terminate()
        process.wait()


async def wait_until_listening(port: int, process: subprocess.Popen[bytes]) -> None:
    """Wait until nginx listens on a port."""
    while True:
        if process.poll() is not None:
            raise OSError(f'nginx ended with {process.returncode}')
        try:
            _, writer = await asyncio.open_connection('127.0.0.1', port)
        except OSError:
            await asyncio.sleep(0.05)
            continue
        writer.close()
        await writer.wait_closed()
        return
