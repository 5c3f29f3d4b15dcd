"""nginx in a process of its own: an origin of files, and a reverse proxy before our server."""

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

STARTING = 10.0  # seconds
SIZES = (0, 1, 100, 5000, 70_000, 1_000_000, 3_000_000)

# One process in the foreground, which stays the user who starts it.
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
    """Give the path of nginx; it may stand where only root's PATH looks."""
    return shutil.which('nginx') or shutil.which('nginx', path='/usr/sbin:/usr/local/sbin')


def content(name: str) -> bytes:
    """Give what a file of this name holds: ``<size>.bin`` of any bytes, ``<size>.txt`` of text."""
    size, _, kind = name.rpartition('.')
    return filler(name, int(size)) if kind == 'txt' else Random(name).randbytes(int(size))


def make_files(folder: Path) -> dict[str, bytes]:
    """Write the files of the origin, and give them by name."""
    files = {name: content(name) for size in SIZES for name in (f'{size}.bin', f'{size}.txt')}
    folder.mkdir()
    for name, data in files.items():
        (folder / name).write_bytes(data)
    return files


@contextlib.asynccontextmanager
async def nginx(program: str, folder: Path, ports: dict[str, int]) -> AsyncIterator[None]:
    """Run nginx.

    Args:
        program: Its path.
        folder: Where it finds ``files``, and puts whatever it writes.
        ports: Of ``files``, of ``front`` (the reverse proxy), and of the server behind that
            (``ours``).
    """
    with running(program, folder, ports) as process:
        async with asyncio.timeout(STARTING):
            for port in (ports['files'], ports['front']):
                await answering(port, process)
        yield


@contextlib.contextmanager
def running(program: str, folder: Path, ports: dict[str, int]) -> Iterator[subprocess.Popen[bytes]]:
    config = folder / 'nginx.conf'
    config.write_text(CONFIG.format(folder=folder, **ports), 'utf-8')
    errors = f'{folder}/error.log'  # the one that is compiled in may not be ours to write
    process = subprocess.Popen([program, '-p', str(folder), '-e', errors, '-c', str(config)])
    try:
        yield process
    finally:
        process.terminate()
        process.wait()


async def answering(port: int, process: subprocess.Popen[bytes]) -> None:
    """Wait until nginx listens."""
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
