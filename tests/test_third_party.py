"""Third-party packages for aiohttp and asyncio work with tables, as the how-to pages say."""

import asyncio
import ssl
from collections import Counter

import aiohttp
import pytest
import truststore
from aiohttp_client_cache import CachedSession
from aiohttp_socks import ProxyConnector
from dask.distributed import Client, LocalCluster, get_worker
from opentelemetry.instrumentation.aiohttp_client import (
    AioHttpClientInstrumentor,
    create_trace_config,
)
from opentelemetry.sdk.trace import TracerProvider
from opentelemetry.sdk.trace.export import SimpleSpanProcessor
from opentelemetry.sdk.trace.export.in_memory_span_exporter import InMemorySpanExporter

import aioluahttp as http
from aioluahttp.middleware import limit


async def site(request):
    """Return the target of the request, a redirect or a WebSocket."""
    if request.path == '/moved':
        return {'status': 302, 'headers': {'Location': '/there'}}
    if request.path == '/chat':
        return {'websocket': chat}
    return {'status': 200, 'body': request.url, 'headers': {'X': request.headers.get('x', '')}}


async def read(response):
    """Return the bytes of a body, which may be a stream."""
    if hasattr(response.body, '__aiter__'):
        return b''.join([chunk async for chunk in response.body])
    return response.bytes()


async def chat(socket):
    """Send each message back."""
    async for message in socket:
        await socket.send(message)


@pytest.fixture
def spans():
    """An OpenTelemetry tracer provider; its spans are in ``.exporter``."""
    provider = TracerProvider(shutdown_on_exit=False)
    provider.exporter = InMemorySpanExporter()
    provider.add_span_processor(SimpleSpanProcessor(provider.exporter))
    yield provider
    provider.shutdown()


@pytest.mark.parametrize('into', ['text', 'bytes', 'stream'])
@pytest.mark.parametrize('decompress', [True, False])
async def test_a_cached_response_can_be_read_again(into, decompress):
    """Compressed or not, any number of times, while the session is open."""
    compressed = http.middleware.compress(lambda _: {'status': 200, 'body': 'hello' * 1000})
    async with (
        http.listen('127.0.0.1', 0, compressed) as server,
        CachedSession(auto_decompress=decompress) as session,
        http.Client(session=session, base_url=server.url) as client,
    ):
        for _ in range(3):
            assert b'hello' * 1000 == await read(await client.request(url='/', into=into))
        assert 1 == server.stats['requests']
        with pytest.raises(http.BodyTooLarge):
            await client.request(url='/', max_body=4999)


async def test_the_target_of_a_redirect_is_cached():
    """The redirect itself and a POST are not cached."""
    async with (
        http.listen('127.0.0.1', 0, site) as server,
        CachedSession() as session,
        http.Client(session=session, base_url=server.url) as client,
    ):
        for _ in range(2):
            response = await client.request(url='/moved')
            assert ('/there', [302]) == (response.body, [one.status for one in response.history])
        assert 3 == server.stats['requests']
        for _ in range(2):
            await client.request(url='/', method='POST', body='x')
        assert 5 == server.stats['requests']


async def test_a_websocket_and_a_stream_go_through_a_socks_proxy(socks_proxy):
    """So does a streamed request body; the connection is reused."""

    async def parts():
        yield b'one'

    async with socks_proxy() as proxy, http.listen('127.0.0.1', 0, site) as server:
        connector = ProxyConnector.from_url(f'socks5://127.0.0.1:{proxy.port}')
        async with (
            aiohttp.ClientSession(connector=connector) as session,
            http.Client(session=session, host='name.test', port=server.port) as client,
        ):
            for _ in range(2):
                table = {'method': 'POST', 'body': parts(), 'into': 'stream'}
                assert b'/' == await read(await client.request(table))
            async with client.websocket(url='/chat') as socket:
                await socket.send('hello')
                assert 'hello' == await anext(socket)
    assert [('name.test', server.port)] == proxy.requests


async def test_a_socks_proxy_that_reaches_nothing_raises_connect_error(socks_proxy):
    """The error has the message of the proxy, and says that it comes from a proxy."""
    async with socks_proxy() as proxy:
        for port, what in ((proxy.port, 'ProxyError: .* unreachable'), (1, 'connect to proxy')):
            connector = ProxyConnector.from_url(f'socks5://127.0.0.1:{port}')
            async with (
                aiohttp.ClientSession(connector=connector) as session,
                http.Client(session=session) as client,
            ):
                with pytest.raises(http.ConnectError, match=what):
                    await client.request(url='http://name.invalid')


async def test_a_context_of_truststore_is_accepted(certificates):
    """Untrusted servers are refused; requests with one context share connections."""
    async with http.listen('localhost', 0, site, tls=certificates.server) as server:
        system = truststore.SSLContext(ssl.PROTOCOL_TLS_CLIENT)
        with pytest.raises(http.ConnectError, match='CERTIFICATE_VERIFY_FAILED'):
            await http.request(url=server.url, tls=system)
        system.load_verify_locations(certificates.ca)
        for into in ('text', 'stream'):
            table = {'url': server.url, 'tls': system, 'into': into}
            assert b'/' == await read(await http.request(table))
        assert 1 == server.stats['connections']


async def test_instrumentation_makes_a_span_for_each_request(spans):
    """For every way of sending, also if it fails; a single session can be traced, too."""
    AioHttpClientInstrumentor().instrument(tracer_provider=spans)
    try:
        async with http.listen('127.0.0.1', 0, site) as server, http.Client() as client:
            await client.request(url=f'{server.url}/moved')
            table = {'url': server.url, 'into': 'stream', 'method': 'POST', 'body': iter(['x'])}
            assert b'/' == await read(await client.request(table))
            with pytest.raises(http.ConnectError):
                await client.request(url='http://127.0.0.1:1')
    finally:
        AioHttpClientInstrumentor().uninstrument()
    names = [span.name for span in spans.exporter.get_finished_spans()]
    assert ['GET', 'GET', 'POST', 'GET'] == names

    trace_config = create_trace_config(tracer_provider=spans)
    async with (
        http.listen('127.0.0.1', 0, site) as server,
        aiohttp.ClientSession(trace_configs=[trace_config]) as session,
        http.Client(session=session) as client,
    ):
        await client.request(url=server.url)
    assert 5 == len(spans.exporter.get_finished_spans())


async def test_dask_keeps_the_order_and_the_limits():
    """Jobs run on all workers, errors are returned as results, and a limit holds in each worker."""
    running = Counter()
    most = Counter()

    async def counted(request):
        running[request.path] += 1
        most[request.path] = max(most[request.path], running[request.path])
        await asyncio.sleep(0.01)
        running[request.path] -= 1
        return {'status': 200, 'body': request.url}

    def crawl(tables):
        async def fetch():
            get = limit(http.request, concurrency=2)
            return await http.parallel.map(get, tables, errors='return')

        return get_worker().name, asyncio.run(fetch())

    async with (
        http.listen('127.0.0.1', 0, counted) as server,
        LocalCluster(
            n_workers=2,
            threads_per_worker=1,
            processes=False,
            protocol='tcp://',  # so that tables are pickled
            dashboard_address=':0',  # any free port
            asynchronous=True,
        ) as cluster,
        Client(cluster, asynchronous=True) as dask,
    ):
        urls = [[f'{server.url}/{job}?{n}' for n in range(8)] for job in range(4)]
        jobs = [[{'url': url} for url in (*some, 'http://127.0.0.1:1')] for some in urls]
        done = await dask.gather(dask.map(crawl, jobs, pure=False))
        single = await dask.gather(dask.map(http.request, jobs[0][:3], pure=False))
    assert urls == [[one.url for one in some[:-1]] for _, some in done]
    assert all(isinstance(some[-1], http.ConnectError) for _, some in done)
    assert {0, 1} == {worker for worker, _ in done}
    assert {2} == set(most.values())
    assert urls[0][:3] == [one.url for one in single]
