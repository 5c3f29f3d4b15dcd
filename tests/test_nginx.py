"""Middlewares of the client against nginx; skipped if nginx is not installed."""

import asyncio
import contextlib
import tempfile
from pathlib import Path

import pytest
from opentelemetry.sdk.trace import TracerProvider
from opentelemetry.sdk.trace.export import SimpleSpanProcessor
from opentelemetry.sdk.trace.export.in_memory_span_exporter import InMemorySpanExporter

import aioluahttp as http
from aioluahttp.bodies.stream import Stream
from aioluahttp.middleware import limit, lint, record, replay, retry, trace
from programs import NGINX, NGINX_FRAME

TEXT = 'é' * 40_000
DATA = bytes(range(256)) * 1000

CONFIG = """
    types { text/plain txt; }
    default_type application/octet-stream;
    limit_req_zone $scheme zone=busy:32k rate=30r/m;
    limit_req_zone $scheme zone=even:32k rate=20r/s;
    server {
        listen unix:nginx.sock;
        charset utf-8;
        gzip on;
        gzip_types text/plain;
        root files;
        location /moved { return 302 /text.txt?key=secret; }
        location /busy {
            limit_req zone=busy;
            add_header Retry-After 1 always;
            try_files /text.txt =404;
        }
        location /even { limit_req zone=even burst=5 nodelay; try_files /text.txt =404; }
        location /trace { return 200 $http_traceparent; }
    }
"""


pytestmark = pytest.mark.skipif(NGINX is None, reason='nginx is not installed')


@contextlib.asynccontextmanager
async def serving():
    """Run nginx; yield the keys with which requests reach it."""
    with tempfile.TemporaryDirectory() as name:
        folder = Path(name)
        (folder / 'files').mkdir()
        (folder / 'files/text.txt').write_text(TEXT)
        (folder / 'files/data.bin').write_bytes(DATA)
        (folder / 'nginx.conf').write_text(NGINX_FRAME % CONFIG)
        command = [NGINX, '-p', name, '-e', 'stderr', '-c', 'nginx.conf']
        process = await asyncio.create_subprocess_exec(*command, cwd=name)
        try:
            await listening(folder / 'nginx.sock', process)
            yield {'unix': str(folder / 'nginx.sock')}
        finally:
            process.terminate()
            await process.wait()


async def listening(path, process):
    """Wait until nginx listens on the path."""
    while process.returncode is None:
        with contextlib.suppress(OSError):
            _, writer = await asyncio.open_unix_connection(path)
            writer.close()
            return await writer.wait_closed()
    raise AssertionError('nginx does not run')


TABLES = {
    'text': {'url': '/text.txt'},
    'bytes': {'url': '/data.bin', 'into': 'bytes'},
    'stream': {'url': '/data.bin', 'into': 'stream'},
    'raw': {'url': '/text.txt', 'into': 'raw', 'headers': {'Accept-Encoding': 'gzip'}},
    'head': {'url': '/text.txt', 'method': 'HEAD'},
    'part': {'url': '/data.bin?part', 'into': 'bytes', 'headers': {'Range': 'bytes=1-2'}},
    'redirect': {'url': '/moved'},
    'none': {'url': '/none'},
    'refused': {'url': '/text.txt', 'method': 'POST', 'body': 'x'},
}


async def whole(response):
    """Return a response with its stream read, as a table to compare."""
    body = response.body
    return {**response, 'body': await body.read() if isinstance(body, Stream) else body}


async def test_responses_recorded_from_nginx_are_replayed_without_it(tmp_path):
    """Replayed responses are equal, also streams: of files, ranges, redirects and errors."""
    file, given = tmp_path / 'nginx.jsonl', {}
    async with serving() as address:
        handler = lint(record(lint(http.request), file, secrets=True))
        for name, table in TABLES.items():
            given[name] = await whole(await handler(table | address))
        with pytest.raises(http.StatusError):
            await handler({'url': '/none?check', 'check': True, **address})
    assert (TEXT, DATA) == (given['text']['body'], given['stream']['body'])
    assert (302, TEXT) == (given['redirect']['history'][0].status, given['redirect']['body'])
    assert (206, 404, 405) == tuple(given[name]['status'] for name in ('part', 'none', 'refused'))
    handler = lint(replay(file))
    for name, table in reversed(TABLES.items()):
        assert given[name] == await whole(await handler(table | address))
    with pytest.raises(http.StatusError):
        await handler({'url': '/none?check', 'check': True, **address})


async def test_a_request_that_nginx_rejects_is_retried():
    """It accepts a request every two seconds, and sends Retry-After with the 503 of others."""
    async with serving() as address:
        table = {'url': '/busy', **address}
        assert [200, 503] == [(await http.request(table)).status for _ in range(2)]
        response = await retry(http.request, attempts=10)(table)
        assert (200, TEXT) == (response.status, response.body)
        assert 503 == (await retry(http.request)({**table, 'timeout': 1})).status


async def test_nginx_rejects_no_request_within_a_rate_limit():
    """It accepts 20 per second, and a small burst."""
    async with serving() as address:
        tables = [{'url': '/even', **address}] * 20
        responses = await http.parallel.map(limit(http.request, rate=18), tables)
        assert [200] * 20 == [response.status for response in responses]
        responses = await http.parallel.map(http.request, tables)
        assert 503 in [response.status for response in responses]


async def test_nginx_receives_the_trace_context():
    """The traceparent header has the ids of the span."""
    exporter, provider = InMemorySpanExporter(), TracerProvider()
    provider.add_span_processor(SimpleSpanProcessor(exporter))
    async with serving() as address:
        get = trace(http.request, kind='client', tracer_provider=provider)
        response = await get({'url': '/trace', **address})
    (span,) = exporter.get_finished_spans()
    context = span.get_span_context()
    assert (
        f'00-{context.trace_id:032x}-{context.span_id:016x}-{context.trace_flags:02x}'
        == response.body
    )
