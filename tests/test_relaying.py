"""curl requests from nginx get the same responses through ``http.proxy`` as directly."""

import asyncio
import contextlib
import os
import re
import shutil
from types import SimpleNamespace

import pytest

import aioluahttp as http
from programs import free_port

pytestmark = pytest.mark.skipif(
    not (shutil.which('curl') and shutil.which('nginx')), reason='needs curl and nginx'
)

CONFIGURATION = """
daemon off; master_process off; pid {folder}/pid; error_log {folder}/log crit;
events {{ worker_connections 64; }}
http {{
    access_log off; client_body_temp_path {folder}/body; proxy_temp_path {folder}/proxy;
    fastcgi_temp_path {folder}/f; uwsgi_temp_path {folder}/u; scgi_temp_path {folder}/s;
    types {{ text/plain txt; }}
    gzip on; gzip_types *; gzip_min_length 1; gzip_proxied any; gzip_http_version 1.0;
    server {{
        listen 127.0.0.1:{port}; root {folder}/www;
        location /up/ {{ dav_methods PUT DELETE; client_max_body_size 0; }}
        location /small/ {{ dav_methods PUT; client_max_body_size 10; }}
        location /moved {{ return 302 /a.txt; }}
        location /none {{ return 204; }}
        location /cookies {{ add_header Set-Cookie a=1; add_header Set-Cookie b=2; return 200 x; }}
    }}
}}
"""
HOP = re.compile(rb'(?i)(connection|date|keep-alive|transfer-encoding):')


@pytest.fixture
def peers(tmp_path):
    """Run nginx, and a reverse proxy for it: ``async with peers() as found``."""

    @contextlib.asynccontextmanager
    async def running():
        (tmp_path / 'www').mkdir()
        (tmp_path / 'www/a.txt').write_bytes(b'hello\n' * 1000)
        (tmp_path / 'www/r.bin').write_bytes(os.urandom(3_000_000))
        port = free_port()
        path = tmp_path / 'nginx.conf'
        path.write_text(CONFIGURATION.format(folder=tmp_path, port=port))
        arguments = '-p', str(tmp_path), '-c', str(path)
        nginx = await asyncio.create_subprocess_exec('nginx', *arguments, stderr=-3)
        try:
            await listens(port)
            url = f'http://127.0.0.1:{port}'
            async with http.listen('127.0.0.1', 0, http.proxy(url)) as server:
                yield SimpleNamespace(folder=tmp_path, origin=url, relay=server.url)
        finally:
            nginx.terminate()
            await nginx.wait()

    return running


async def listens(port):
    """Wait until nginx listens on the port."""
    while True:
        with contextlib.suppress(OSError):
            _, writer = await asyncio.open_connection('127.0.0.1', port)
            writer.close()
            await writer.wait_closed()
            return
        await asyncio.sleep(0.01)


async def curl(url, *arguments):
    """Run curl; return its exit code, heads without hop-by-hop headers, and the body."""
    done = await asyncio.create_subprocess_exec(
        'curl', '-sSi', '--path-as-is', '--max-time', '20', *arguments, url, stdout=-1, stderr=-2
    )
    data, _ = await done.communicate()
    heads = []
    while data.startswith(b'HTTP/'):
        head, _, data = data.partition(b'\r\n\r\n')
        start, *fields = head.split(b'\r\n')
        heads.append((start, sorted(one.lower() for one in fields if not HOP.match(one))))
    return done.returncode, heads, re.sub(rb'\b0{8,}\d+', b'boundary', data)


def without_boundary(found):
    """Remove the boundary of multipart ranges, which is new in each response of nginx."""
    code, heads, data = found
    return (
        code,
        [(start, [re.sub(rb'=\d{20}', b'', one) for one in fields]) for start, fields in heads],
        data,
    )


REQUESTS = [
    ('/a.txt',),
    ('/a.txt', '-I'),
    ('/a.txt', '-H', 'Accept-Encoding: gzip'),
    ('/a.txt', '-r', '10-19'),
    ('/a.txt', '-r', '0-4,10-14'),
    ('/a.txt', '-r', '100000-'),
    ('/a.txt', '-z', '2100-01-01'),
    ('/a.txt', '-H', 'If-Match: "x"'),
    ('/a.txt', '--http1.0'),
    ('/a.txt', '--http1.0', '-H', 'Accept-Encoding: gzip'),
    ('/a.txt', '-d', 'a=b'),
    ('/a.txt', '-X', 'OPTIONS'),
    ('/a.txt', '-H', 'Connection: close'),
    ('/a.txt?',),
    ('//a.txt',),
    ('/x/../a.txt',),
    ('/..%2f..%2fetc/passwd',),
    ('/r.bin',),
    ('/moved',),
    ('/none',),
    ('/cookies',),
    ('/missing',),
]


async def test_responses_are_those_of_nginx(peers):
    """Byte for byte, except for hop-by-hop headers."""
    async with peers() as found:
        for path, *arguments in REQUESTS:
            expected = await curl(found.origin + path, *arguments)
            received = await curl(found.relay + path, *arguments)
            assert without_boundary(expected) == without_boundary(received), (path, arguments)


@pytest.mark.parametrize(
    'arguments',
    [
        (),
        ('-H', 'Expect:'),
        ('-H', 'Expect: 100-continue'),
        ('-H', 'Transfer-Encoding: chunked'),
        ('--http1.0',),
    ],
    ids=str,
)
async def test_uploads_reach_nginx(peers, arguments):
    """With any framing; one that is too large gets the 413 of nginx."""
    async with peers() as found:
        (found.folder / 'www/up').mkdir(mode=0o777)
        (found.folder / 'www').chmod(0o777)
        sent = found.folder / 'www/r.bin'
        code, heads, _ = await curl(f'{found.relay}/up/x', '-T', str(sent), *arguments)
        assert (0, b'201') == (code, heads[-1][0].split()[1])
        assert sent.read_bytes() == (found.folder / 'www/up/x').read_bytes()
        _, heads, _ = await curl(f'{found.relay}/small/x', '-T', str(sent), *arguments)
        assert b'413' == heads[-1][0].split()[1]
