"""``Server``: its address and statistics, pause, graceful shutdown, and TLS."""

import asyncio
import contextlib
import functools
import logging
import socket
import ssl

import pytest
import trustme

import aioluahttp as http

BIG = b'x' * 20_000_000  # more than the buffers of two sockets hold


@pytest.fixture(scope='module')
def authority():
    """Return a certificate authority."""
    return trustme.CA()


@pytest.fixture
def tls(authority):
    """Return a context for a server on loopback, and one for its client."""
    server = ssl.create_default_context(ssl.Purpose.CLIENT_AUTH)
    authority.issue_cert('127.0.0.1').configure_cert(server)
    client = ssl.create_default_context()
    authority.configure_trust(client)
    return server, client


class Held:
    """A callback that waits until it is released."""

    def __init__(self):
        self.called, self.release, self.cancelled = asyncio.Event(), asyncio.Event(), []

    async def __call__(self, request):
        self.called.set()
        try:
            await self.release.wait()
        except asyncio.CancelledError:
            self.cancelled.append(request.path)
            raise
        return {'status': 200, 'body': request.path}


def hello(request):
    """Respond at once."""
    return {'status': 200, 'body': 'hello'}


@contextlib.asynccontextmanager
async def serving(*arguments, **options):
    """Listen, and close the server at the end without a grace."""
    server = await http.listen('127.0.0.1', 0, *arguments, **options)
    try:
        yield server
    finally:
        await server.close(grace=0)


async def stopped_accepting(server):
    """Wait until the server accepts no more connections."""
    while True:
        try:
            _, writer = await asyncio.open_connection('127.0.0.1', server.port)
        except OSError:
            return
        writer.close()


GARBAGE = [
    b'\x16\x03\x01\x02\0\x01\0\x01\xfc\x03\x03 secret\r\n\r\n',
    b'SECRET / HTTP/1.1\r\n\r\n',
    b'GET / HTTP/1.1\r\nHost: h\r\nsecret\r\n\r\n',
    b'GET / HTTP/1.1\r\nHost: h\r\nsecret name: x\r\n\r\n',
    b'GET / HTTP/1.1\r\nHost: h\r\nX: a\0secret\r\n\r\n',
    b'GET / HTTP/1.1\r\nHost: h\r\nContent-Length: secret\r\n\r\n',
    b'GET / HTTP/1.1\r\nHost: h\r\nContent-Length: 1\r\nTransfer-Encoding: chunked\r\n\r\n',
    b'GET / HTTP/1.1\r\nHost: h\r\n' + b'X: secret\r\n' * 1000 + b'\r\n',
]


TOO_LONG = [
    b'GET /' + b'secret' * 5000 + b' HTTP/1.1\r\nHost: h\r\n\r\n',
    b'GET / HTTP/1.1\r\nHost: h\r\nX: ' + b'secret' * 5000 + b'\r\n\r\n',
]
REFUSALS = [
    *((data, b'400 Bad Request') for data in GARBAGE),
    *((data, b'431 Request Header Fields Too Large') for data in TOO_LONG),
]


@pytest.mark.parametrize(('data', 'status'), REFUSALS, ids=range(len(REFUSALS)))
async def test_what_is_no_http_is_answered_in_few_words(wire, caplog, data, status):
    """The response to invalid HTTP repeats none of it and names no version; it is logged once."""
    caplog.set_level(logging.DEBUG, 'aioluahttp')
    async with serving(hello) as server, wire(server) as client:
        client.send(data)
        response = await client.rest()
    head, _, body = response.partition(b'\r\n\r\n')
    assert (b'HTTP/1.1 ' + status, status[4:]) == (head.split(b'\r\n')[0], body)
    names = {line.split(b':')[0] for line in head.split(b'\r\n')[1:]}
    assert {b'Content-Type', b'Content-Length', b'Date', b'Connection'} == names
    [record] = [record for record in caplog.records if record.name != 'asyncio']
    assert (logging.INFO, None) == (record.levelno, record.exc_info)
    assert record.getMessage().startswith('bad request from 127.0.0.1: ')
    assert 'secret' not in record.getMessage().lower()


async def test_invalid_http_after_a_request_is_a_400(wire):
    """The request before it gets its response first."""
    async with serving(hello) as server, wire(server) as client:
        client.send_request('GET /')
        assert 200 == (await client.read_response())[0]
        client.send(b'garbage\r\n\r\n')
        assert 400 == (await client.read_response())[0]
        assert b'' == await client.rest()


async def test_an_unknown_upgrade_is_ignored(wire):
    """The response is an ordinary one, and the connection is kept."""
    async with serving(hello) as server, wire(server) as client:
        for _ in range(2):
            client.send_request('GET /', 'Connection: Upgrade', 'Upgrade: h2c')
            assert (200, b'hello') == (await client.read_response())[::2]


async def test_a_server_has_host_port_url_and_status():
    """The status goes from listening to closed."""
    server = await http.listen('127.0.0.1', 0, hello)
    assert ('127.0.0.1', 'listening') == (server.host, server.status)
    assert f'http://127.0.0.1:{server.port}' == server.url
    await server.close()
    assert 'closed' == server.status


@pytest.mark.parametrize('host', ['0.0.0.0', 'localhost', None, ''])
async def test_a_client_can_use_the_url(host):
    """Also if the server listens on every interface."""
    async with http.listen(host, 0, hello) as server:
        assert 'hello' == (await http.request(url=server.url)).body
        assert (host or server.host) == server.host


async def test_a_client_can_use_the_url_of_every_ipv6_interface():
    """The address has its brackets."""
    try:
        server = await http.listen('::', 0, hello)
    except OSError:
        pytest.skip('there is no IPv6 here')
    async with closing_server(server):
        assert f'http://[::1]:{server.port}' == server.url
        response = await http.request(url=server.url)
    assert ('hello', '::1') == (response.body, response.ip)


@contextlib.asynccontextmanager
async def closing_server(server):
    """Close a server at the end."""
    try:
        yield
    finally:
        await server.close(grace=0)


async def test_a_given_socket_serves():
    """Host and port are those of the socket; it is closed with the server."""
    given = socket.create_server(('127.0.0.1', 0))
    port = given.getsockname()[1]
    async with http.listen(None, None, hello, sock=given) as server:
        assert ('127.0.0.1', port) == (server.host, server.port)
        assert 'hello' == (await http.request(url=server.url)).body
    assert -1 == given.fileno()


async def test_a_unix_socket_serves(tmp_path):
    """There is a URL, but no host and port; the file is removed with the server."""
    path = tmp_path / 's'
    async with http.listen(None, None, hello, unix=path) as server:
        assert (None, None, 'http://localhost') == (server.host, server.port, server.url)
        assert 'hello' == (await http.request(url=server.url, unix=path)).body
    assert not path.exists()


async def test_another_file_at_the_path_of_a_unix_socket_is_not_removed(tmp_path):
    """It has replaced the file of the server."""
    path = tmp_path / 's'
    async with http.listen(None, None, hello, unix=path):
        path.unlink()
        path.write_text('mine')
    assert 'mine' == path.read_text()


async def test_a_server_that_cannot_start_leaves_nothing_open(tmp_path):
    """Neither a socket nor the file of one."""
    async with http.listen('127.0.0.1', 0, hello) as server:
        with pytest.raises(OSError, match=rf'127\.0\.0\.1:{server.port}: '):
            await http.listen('127.0.0.1', server.port, hello)
    path = tmp_path / 's'
    async with http.listen(None, None, hello, unix=path):
        with pytest.raises(OSError, match=str(path)):
            await http.listen(None, None, hello, unix=path)
        assert path.is_socket()


async def test_idle_connections_are_closed_at_once(wire):
    """Connections without a complete head do not wait for running callbacks."""
    held = Held()
    async with (
        serving(held) as server,
        wire(server) as busy,
        wire(server) as silent,
        wire(server) as used,
        wire(server) as partial,
    ):
        held.release.set()
        used.send_request('GET /')
        await used.read_response()
        partial.send(b'GET / HTTP/1.1\r\nHo')
        held.called.clear()
        held.release.clear()
        busy.send_request('GET /busy')
        await held.called.wait()
        closing = asyncio.create_task(server.close())
        for client in silent, used, partial:
            assert b'' == await client.rest()
        assert ('closing', False) == (server.status, closing.done())
        held.release.set()
        status, headers, body = await busy.read_response()
        assert (200, 'close', b'/busy') == (status, headers['Connection'], body)
        assert b'' == await busy.rest()
        await closing


async def test_a_body_that_is_still_arriving_is_read_after_close(wire):
    """Its request gets a response."""
    async with (
        serving(lambda request: {'status': 200, 'body': request.body}) as server,
        wire(server) as client,
    ):
        client.send_request('POST /', 'Content-Length: 4', 'Expect: 100-continue')
        await client.reader.readuntil(b'\r\n\r\n')
        client.send(b'ab')
        closing = asyncio.create_task(server.close())
        await stopped_accepting(server)
        client.send(b'cd')
        assert (200, b'abcd') == (await client.read_response())[::2]
        await closing


async def test_callbacks_are_cancelled_after_the_grace(wire, caplog):
    """Their connections close without a response; nothing is logged."""
    held = Held()
    async with serving(held) as server, wire(server) as client:
        client.send_request('GET /late')
        await held.called.wait()
        await server.close(grace=0)
        assert (b'', ['/late']) == (await client.rest(), held.cancelled)
    assert [] == caplog.records


async def test_a_cancelled_callback_may_still_respond(wire):
    """What it returns after the cancellation is sent."""
    called = asyncio.Event()

    async def stubborn(request):
        called.set()
        try:
            await asyncio.Event().wait()
        except asyncio.CancelledError:
            return {'status': 200, 'body': 'in time'}

    async with serving(stubborn) as server, wire(server) as client:
        client.send_request('GET /')
        await called.wait()
        await server.close(grace=0)
        status, headers, body = await client.read_response()
        assert (200, 'close', b'in time') == (status, headers['Connection'], body)


async def test_close_waits_for_the_callback_of_a_client_that_has_left(wire):
    """The server closes once the callback has ended."""
    held = Held()
    async with serving(held) as server:
        async with wire(server) as client:
            client.send_request('GET /')
            await held.called.wait()
        closing = asyncio.create_task(server.close())
        await stopped_accepting(server)
        assert not closing.done()
        held.release.set()
        await closing
    assert [] == held.cancelled


@pytest.mark.parametrize('turns', range(6))
async def test_a_client_that_connects_as_the_server_closes_is_closed(turns):
    """However far its connection has come, nothing is left of it."""
    held = Held()
    async with serving(held) as server:
        with socket.create_connection(('127.0.0.1', server.port)) as client:
            client.sendall(b'G')
            for _ in range(turns):
                await asyncio.sleep(0)
            await server.close()
            with contextlib.suppress(ConnectionResetError):
                assert b'' == client.recv(1)


@pytest.mark.parametrize('turns', range(6))
async def test_a_request_read_as_the_server_closes_gets_a_response_or_is_not_started(wire, turns):
    """A callback is never cut off before the grace is over."""
    held = Held()
    async with serving(held) as server, wire(server) as client:
        client.send_request('GET /')
        for _ in range(turns):
            await asyncio.sleep(0)
        closing = asyncio.create_task(server.close())
        await stopped_accepting(server)
        begun = held.called.is_set()
        held.release.set()
        assert begun is (b'HTTP/1.1 200 OK' == (await client.rest())[:15])
        await closing
    assert [] == held.cancelled


async def test_pipelined_requests_behind_the_running_one_are_not_started(wire):
    """The response to the running one says that the connection closes."""
    held = Held()
    async with serving(held) as server, wire(server) as client:
        client.send_request('GET /1')
        client.send_request('GET /2')
        await held.called.wait()
        closing = asyncio.create_task(server.close())
        await stopped_accepting(server)
        held.release.set()
        assert b'/1' == (await client.read_response())[2]
        assert b'' == await client.rest()
        await closing


async def test_a_second_close_waits_for_the_first(wire):
    """So do ``wait_closed`` and ``serve_forever``."""
    held = Held()
    async with serving(held) as server, wire(server) as client:
        client.send_request('GET /')
        await held.called.wait()
        calls = [server.close(None), server.close(0), server.wait_closed(), server.serve_forever()]
        tasks = [asyncio.create_task(call) for call in calls]
        await stopped_accepting(server)
        assert [False] * 4 == [task.done() for task in tasks]
        held.release.set()
        await client.read_response()
        assert [None] * 4 == await asyncio.gather(*tasks)


async def test_a_close_that_is_cancelled_goes_on(wire):
    """Only the waiting ends."""
    held = Held()
    async with serving(held) as server, wire(server) as client:
        client.send_request('GET /')
        await held.called.wait()
        closing = asyncio.create_task(server.close())
        await stopped_accepting(server)
        closing.cancel()
        with pytest.raises(asyncio.CancelledError):
            await closing
        held.release.set()
        assert 200 == (await client.read_response())[0]
        await server.wait_closed()


async def test_serve_forever_closes_when_it_is_cancelled(wire):
    """Within the ``shutdown_timeout`` given to ``listen``."""
    held = Held()
    server = await http.listen('127.0.0.1', 0, held, shutdown_timeout=0.01)
    forever = asyncio.create_task(server.serve_forever())
    async with wire(server) as client:
        client.send_request('GET /')
        await held.called.wait()
        forever.cancel()
        with pytest.raises(asyncio.CancelledError):
            await forever
        assert ('closed', ['/']) == (server.status, held.cancelled)


async def test_a_client_that_does_not_read_does_not_delay_close(wire):
    """Neither in the middle of a response, nor after a refusal while it still sends."""

    def callback(request):
        return {'status': 200, 'body': BIG}

    async with (
        serving(callback, max_body=1) as server,
        wire(server) as client,
        wire(server) as other,
    ):
        client.send_request('GET /')
        await client.reader.readuntil(b'\r\n\r\n')
        other.send_request('POST /', 'Content-Length: 9')
        assert 413 == (await other.read_response())[0]
        await server.close(grace=0)
        assert 'closed' == server.status
        with pytest.raises((asyncio.IncompleteReadError, OSError)):
            await client.reader.readexactly(len(BIG))


async def test_a_client_that_leaves_its_response_unread_is_not_logged(wire, caplog):
    """The connection ends."""
    async with serving(lambda request: {'status': 200, 'body': BIG}) as server:
        async with wire(server) as client:
            client.send_request('GET /')
            await client.reader.readuntil(b'\r\n\r\n')
            client.writer.transport.abort()
        await server.close()
    assert [] == [record for record in caplog.records if record.levelno >= logging.WARNING]


async def test_an_idle_connection_is_closed_after_keepalive_timeout(wire):
    """It counts from the end of the last response."""
    async with (
        serving(hello, keepalive_timeout=0.05) as server,
        wire(server) as client,
    ):
        client.send_request('GET /')
        assert 200 == (await client.read_response())[0]
        assert b'' == await client.rest()


async def test_a_server_with_tls_serves_https_only(wire, tls):
    """The scheme is https, whatever an absolute target says; plain text gets no response."""
    seen = []

    def callback(request):
        seen.append((request.scheme, request.host, request.port))
        return {'status': 200}

    async with serving(callback, tls=tls[0]) as server:
        assert f'https://127.0.0.1:{server.port}' == server.url
        async with wire(server, ssl=tls[1]) as client:
            for target in '/', 'http://h/', 'https://h:1/':
                client.send_request(f'GET {target}')
                assert 200 == (await client.read_response())[0]
        async with wire(server) as client:
            client.send_request('GET /')
            assert b'HTTP' not in await client.rest()
    assert [('https', 'h', 443)] * 2 + [('https', 'h', 1)] == seen


async def test_ca_requires_client_certificates(wire, authority, tls, tmp_path):
    """With ``ca`` a server asks for certificates of that authority."""
    paths = {name: tmp_path / name for name in ('ca', 'cert', 'key')}
    authority.cert_pem.write_to_path(paths['ca'])
    issued = authority.issue_cert('127.0.0.1')
    issued.cert_chain_pems[0].write_to_path(paths['cert'])
    issued.private_key_pem.write_to_path(paths['key'])
    async with serving(hello, tls=paths) as server:
        with contextlib.suppress(OSError):  # TLS 1.3 tells a client only after its handshake
            async with wire(server, ssl=tls[1]) as client:
                client.send_request('GET /')
                assert b'' == await client.rest()
        issued.configure_cert(tls[1])
        async with wire(server, ssl=tls[1]) as client:
            client.send_request('GET /')
            assert 200 == (await client.read_response())[0]


async def test_silent_tls_clients_do_not_delay_close(tls):
    """Neither one without close_notify, nor one before its handshake.

    The latter is not served if it does its handshake later.
    """
    held = Held()
    loop = asyncio.get_running_loop()
    with socket.socket() as raw, socket.socket() as mute:
        server = await http.listen('127.0.0.1', 0, held, tls=tls[0])
        for client in raw, mute:
            client.setblocking(False)
            await loop.sock_connect(client, ('127.0.0.1', server.port))
        await tls_handshake(mute, tls[1])
        await server.close()
        assert 'closed' == server.status
        with contextlib.suppress(OSError):
            await tls_handshake(raw, tls[1])
            assert b'' == await loop.sock_recv(raw, 1)
        if left := asyncio.all_tasks() - {asyncio.current_task()}:
            await asyncio.wait(left)  # the server sees the end when the client does
    assert not held.called.is_set()


async def tls_handshake(client, context):
    """Do the TLS handshake by hand, so that nothing reacts to what comes later."""
    loop = asyncio.get_running_loop()
    incoming, outgoing = ssl.MemoryBIO(), ssl.MemoryBIO()
    session = context.wrap_bio(incoming, outgoing, server_hostname='127.0.0.1')
    while True:
        try:
            session.do_handshake()
        except ssl.SSLWantReadError:
            await loop.sock_sendall(client, outgoing.read())
            data = await loop.sock_recv(client, 65536)
            if not data:
                raise ConnectionError('the server has left') from None
            incoming.write(data)
            continue
        await loop.sock_sendall(client, outgoing.read())
        return


async def test_a_server_can_be_entered():
    """``async with`` on a server that was awaited closes it at the end."""
    server = await http.listen('127.0.0.1', 0, lambda request: {'status': 204})
    async with server as entered:
        assert entered is server
        assert 204 == (await http.request(url=server.url)).status
    assert 'closed' == server.status


async def test_stats_is_a_table_of_numbers(wire):
    """Open connections and requests in flight, and totals since the start."""
    held = Held()

    async def callback(request):
        return None if request.path == '/ill' else await held(request)

    async with serving(callback) as server:
        nothing = dict.fromkeys(
            ('connections', 'requests', 'in_flight', 'errors', 'bytes_in', 'bytes_out'), 0
        )
        assert nothing == server.stats
        async with wire(server) as client, wire(server) as other:
            other.send_request('GET /ill')
            size = len(await other.reader.readuntil(b'\r\n\r\nInternal Server Error'))
            client.send_request('POST /', 'Content-Length: 3', body=b'abc')
            await held.called.wait()
            expected = {
                'connections': 2,
                'requests': 2,
                'in_flight': 1,
                'errors': 1,
                'bytes_in': len(b'GET /ill HTTP/1.1\r\nHost: h\r\n\r\n')
                + len(b'POST / HTTP/1.1\r\nHost: h\r\nContent-Length: 3\r\n\r\nabc'),
                'bytes_out': size,
            }
            assert expected == server.stats
            held.release.set()
            size += len(await client.reader.readuntil(b'\r\n\r\n/'))
            assert expected | {'in_flight': 0, 'bytes_out': size} == server.stats
    assert expected | {'connections': 0, 'in_flight': 0, 'bytes_out': size} == server.stats


async def test_accepting_can_be_paused(wire):
    """The status says so; new clients wait, and are served after ``resume``."""
    async with serving(hello) as server:
        server.resume()
        assert 'listening' == server.status
        server.pause()
        assert 'paused' == server.status
        async with wire(server) as client:
            client.send_request('GET /')
            await asyncio.sleep(0)
            assert 0 == server.stats['requests']
            server.resume()
            assert (200, 'listening') == ((await client.read_response())[0], server.status)
    server.pause()
    assert 'closed' == server.status


SMALL = 4096  # bytes of a buffer, which the kernel doubles


@contextlib.asynccontextmanager
async def slow(callback, **options):
    """Give a server and a client whose sockets have small buffers."""
    listening = socket.socket()
    listening.setsockopt(socket.SOL_SOCKET, socket.SO_SNDBUF, SMALL)
    listening.bind(('127.0.0.1', 0))
    server = await http.listen(None, None, callback, sock=listening, **options)
    with socket.socket() as client:
        client.setsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF, SMALL)
        client.setblocking(False)
        try:
            await asyncio.get_running_loop().sock_connect(client, ('127.0.0.1', server.port))
            yield server, client
        finally:
            await server.close(grace=0)


async def read_all(client):
    """Read up to the end of a connection, in small pieces."""
    parts = []
    while data := await asyncio.get_running_loop().sock_recv(client, 1000):
        parts.append(data)
    return b''.join(parts)


@pytest.mark.parametrize('size', [40_000, 400_000])
async def test_a_slow_reader_gets_the_grace_of_close(monkeypatch, size):
    """A response is in flight until its last bytes are written."""
    monkeypatch.setattr('aioluahttp.server.server.LAST', 0.01)
    response = b'x' * size
    loop = asyncio.get_running_loop()
    async with slow(lambda request: {'status': 200, 'body': response}) as (server, client):
        await loop.sock_sendall(client, b'GET / HTTP/1.1\r\nHost: h\r\n\r\n')
        head = await loop.sock_recv(client, 12)
        assert (b'HTTP/1.1 200', 1) == (head, server.stats['in_flight'])
        closing = asyncio.create_task(server.close())
        await stopped_accepting(server)
        body = (await read_all(client)).partition(b'\r\n\r\n')[2]
        await closing
    assert response == body


async def test_a_slow_reader_is_cut_off_after_the_grace():
    """The unread rest is lost."""
    loop = asyncio.get_running_loop()
    async with slow(lambda request: {'status': 200, 'body': BIG}) as (server, client):
        await loop.sock_sendall(client, b'GET / HTTP/1.1\r\nHost: h\r\n\r\n')
        await loop.sock_recv(client, 12)
        await server.close(grace=0)
        with contextlib.suppress(ConnectionError):
            assert len(BIG) > len(await read_all(client))
    assert 0 == server.stats['in_flight']


async def test_a_client_that_stops_reading_is_cut_off():
    """After ``body_timeout`` seconds without reading; the request is no longer in flight."""
    loop = asyncio.get_running_loop()
    ended = asyncio.Event()

    def log(request, response):
        asyncio.current_task().add_done_callback(lambda task: ended.set())

    options = {'body_timeout': 0.05, 'access_log': log}
    async with slow(lambda request: {'status': 200, 'body': BIG}, **options) as (server, client):
        await loop.sock_sendall(client, b'GET / HTTP/1.1\r\nHost: h\r\n\r\n')
        await ended.wait()
        assert 0 == server.stats['in_flight']
        with contextlib.suppress(ConnectionError):
            assert len(BIG) > len(await read_all(client))


async def test_a_callback_that_swallows_its_cancellation_is_cancelled_again(monkeypatch, wire):
    """Until it ends: ``close`` returns when no task is left."""
    monkeypatch.setattr('aioluahttp.server.server.LAST', 0.01)
    called, swallowed = asyncio.Event(), []

    async def stubborn(request):
        called.set()
        while len(swallowed) < 3:
            try:
                await asyncio.Event().wait()
            except asyncio.CancelledError as error:
                swallowed.append(error)
        return {'status': 200}

    async with serving(stubborn) as server, wire(server) as client:
        client.send_request('GET /')
        await called.wait()
        await server.close(grace=0)
        assert (3, 'closed') == (len(swallowed), server.status)


@pytest.mark.parametrize(
    ('target', 'path'),
    [('/a/b?token=secret', '/a/b'), ('http://me:secret@h/c?token=d', '/c'), ('//h/x', '//h/x')],
)
async def test_a_callback_that_cannot_be_cancelled_is_given_up(
    monkeypatch, wire, until, caplog, target, path
):
    """The log record says which it is, and the event loop can end."""
    monkeypatch.setattr('aioluahttp.server.server.LAST', 0.01)
    called, may_end = [], asyncio.Event()

    async def stubborn(request):
        called.append(asyncio.current_task())
        while request.path != '/polite' and not may_end.is_set():
            with contextlib.suppress(asyncio.CancelledError):
                await may_end.wait()
        await may_end.wait()
        return {'status': 200}

    handler = functools.partial(functools.partial(stubborn))
    async with serving(handler) as server, wire(server) as client, wire(server) as polite:
        client.send_request(f'GET {target}')
        polite.send_request('GET /polite')
        await until(lambda: len(called) == 2)
        await server.close(grace=0)
        assert ('closed', b'') == (server.status, await client.rest())
        assert called[0] not in asyncio.all_tasks()
    (record,) = caplog.records
    name = stubborn.__qualname__
    assert f'{name} runs on although cancelled: GET {path}' == record.getMessage()
    may_end.set()
    await asyncio.wait(called)


@pytest.mark.parametrize('turns', range(8))
async def test_a_request_that_was_just_read_has_the_whole_grace(monkeypatch, wire, turns):
    """However far it is between reading and calling as the server closes."""
    monkeypatch.setattr('aioluahttp.server.server.LAST', 0.001)
    ended = []

    async def callback(request):
        ended.append(False)
        await asyncio.sleep(0.05)
        ended[:] = [True]
        return {'status': 200}

    async with serving(callback) as server, wire(server) as client:
        client.send_request('GET /')
        for _ in range(turns):
            await asyncio.sleep(0)
        await server.close()
        assert ended in ([], [True])
        assert bool(ended) is (b'HTTP/1.1 200 OK' == (await client.rest())[:15])


@pytest.mark.parametrize('context', [None, 'tls'])
async def test_who_leaves_can_cancel_its_callback(wire, tls, context):
    """With ``cancel_on_disconnect``, also by a half-close; ``on_error`` is not called."""
    secure = context is not None
    options = {'cancel_on_disconnect': True, **({'tls': tls[0]} if secure else {})}
    called, cancelled, told = asyncio.Event(), asyncio.Event(), []

    async def callback(request):
        called.set()
        try:
            await asyncio.Event().wait()
        except asyncio.CancelledError:
            cancelled.set()
            raise

    async with serving(callback, lambda *both: told.append(both), **options) as server:
        for leave in 'close', 'abort', *([] if secure else ['write_eof']):
            called.clear()
            cancelled.clear()
            async with wire(server, ssl=tls[1] if secure else None) as client:
                client.send_request('GET /')
                await called.wait()
                assert 1 == server.stats['in_flight']
                transport = client.writer.transport
                getattr(transport, leave)()
                await cancelled.wait()
        await server.close()
    assert ([], 0, 0) == (told, server.stats['in_flight'], server.stats['errors'])


@pytest.mark.parametrize('context', [None, 'tls'])
async def test_a_client_that_leaves_cancels_nothing_by_default(wire, tls, context):
    """The callback runs to its end, and the server waits for it."""
    secure = context is not None
    held = Held()
    async with serving(held, **({'tls': tls[0]} if secure else {})) as server:
        async with wire(server, ssl=tls[1] if secure else None) as client:
            client.send_request('GET /')
            await held.called.wait()
            client.writer.transport.abort()
        closing = asyncio.create_task(server.close())
        await stopped_accepting(server)
        assert (1, False) == (server.stats['in_flight'], closing.done())
        held.release.set()
        await closing
    assert ([], 0) == (held.cancelled, server.stats['in_flight'])


async def test_a_client_that_half_closes_gets_its_responses(wire):
    """As ``nc -N`` does; the connection ends after the pipelined requests."""
    async with serving(hello) as server, wire(server) as client:
        client.send_request('GET /1')
        client.send_request('GET /2')
        client.writer.write_eof()
        responses = [await client.read_response() for _ in range(2)]
        assert [(200, b'hello')] * 2 == [response[::2] for response in responses]
        assert b'' == await client.rest()


@pytest.mark.parametrize('data', [b'GET / HTTP/1.1\r\nHost: h\r\nX', b'', b'\r\n'])
async def test_an_incomplete_head_is_a_408_after_head_timeout(wire, data):
    """A connection without any byte of a head is closed without a response."""
    async with serving(hello, head_timeout=0.05) as server, wire(server) as client:
        client.send(data)
        expected = b'HTTP/1.1 408 Request Timeout' if data else b''
        assert expected == (await client.rest()).partition(b'\r\n')[0]


def test_close_works_the_same_on_uvloop(wire):
    """Running requests get responses, idle connections close, late callbacks are cancelled."""
    uvloop = pytest.importorskip('uvloop')

    async def bounded():
        async with asyncio.timeout(60):
            await close()

    async def close():
        held = Held()
        server = await http.listen('127.0.0.1', 0, held)
        async with wire(server) as idle, wire(server) as client, wire(server) as other:
            client.send_request('GET /1')
            await held.called.wait()
            held.called.clear()
            other.send_request('GET /2')
            await held.called.wait()
            closing = asyncio.create_task(server.close())
            assert b'' == await idle.rest()
            held.release.set()
            for which, path in (client, b'/1'), (other, b'/2'):
                status, headers, body = await which.read_response()
                assert (200, 'close', path) == (status, headers['Connection'], body)
            await closing
        held = Held()
        server = await http.listen('127.0.0.1', 0, held)
        async with wire(server) as client:
            client.send_request('GET /late')
            await held.called.wait()
            await server.close(grace=0)
            assert (b'', ['/late']) == (await client.rest(), held.cancelled)
        assert {asyncio.current_task()} == asyncio.all_tasks()

    with asyncio.Runner(loop_factory=uvloop.new_event_loop) as runner:
        runner.run(bounded())
