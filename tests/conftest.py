"""Fixtures for all tests; coroutine tests, each in an event loop that must leave no tasks."""

from __future__ import annotations

import asyncio
import contextlib
import functools
import inspect
import shutil
import socket
import ssl
import struct
from collections.abc import AsyncIterator, Awaitable, Callable
from dataclasses import dataclass, field
from types import SimpleNamespace
from typing import Any, NamedTuple

import pytest
import trustme
from multidict import CIMultiDict


@pytest.hookimpl(tryfirst=True)
def pytest_pyfunc_call(pyfuncitem: pytest.Function) -> None:
    """Run a coroutine test in an event loop of its own, and fail if tasks are left."""
    function = pyfuncitem.obj
    if not inspect.iscoroutinefunction(function):
        return

    @functools.wraps(function)
    def in_a_loop(**arguments: object) -> None:
        async def run() -> None:
            async with asyncio.timeout(60):  # a hang is a failure, not a stuck build
                await function(**arguments)
            left = asyncio.all_tasks() - {asyncio.current_task()}
            assert not left, f'tasks left behind: {left}'

        asyncio.run(run(), debug=False)

    pyfuncitem.obj = in_a_loop


def reset(writer: asyncio.StreamWriter) -> None:
    """Reset a connection, as the system does when a process dies."""
    on_socket = writer.get_extra_info('socket')
    on_socket.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, struct.pack('ii', 1, 0))
    writer.transport.abort()


class Wire:
    """A raw client: writes bytes, and reads responses or any other bytes."""

    def __init__(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        self.reader, self.writer = reader, writer
        self.send = writer.write

    def send_request(self, line: str, *fields: str, body: bytes = b'') -> None:
        """Send an HTTP/1.1 request; ``line`` is its method and target, ``fields`` follow Host."""
        head = '\r\n'.join((f'{line} HTTP/1.1', 'Host: h', *fields, '\r\n'))
        self.send(head.encode('utf-8', 'surrogateescape') + body)

    async def read_response(self, *, silent: bool = False) -> tuple[int, CIMultiDict[str], bytes]:
        """Read one response; with ``silent`` it has no body, whatever its head says."""
        head = await self.reader.readuntil(b'\r\n\r\n')
        first, *lines = head.decode('utf-8', 'surrogateescape').split('\r\n')[:-2]
        fields = CIMultiDict(tuple(line.split(': ', 1)) for line in lines)
        length = 0 if silent else int(fields.get('Content-Length', 0))
        return int(first.split()[1]), fields, await self.reader.readexactly(length)

    async def rest(self) -> bytes:
        """Read everything up to the end of the connection."""
        return await self.reader.read()

    def reset(self) -> None:
        """Reset the connection, as the system does when a process dies."""
        reset(self.writer)


@pytest.fixture
def wire() -> Any:
    """Open a raw connection: ``async with wire(server) as client``, or ``wire(path=…)``."""

    @contextlib.asynccontextmanager
    async def opened(server: Any = None, **options: Any) -> AsyncIterator[Wire]:
        if server is None:
            reader, writer = await asyncio.open_unix_connection(**options)
        else:
            reader, writer = await asyncio.open_connection('127.0.0.1', server.port, **options)
        try:
            yield Wire(reader, writer)
        finally:
            writer.close()
            with contextlib.suppress(OSError):
                await writer.wait_closed()

    return opened


ASKING = (  # the handshake fields of RFC 6455 1.3; GRANTED is the Sec-WebSocket-Accept for them
    'Upgrade: websocket',
    'Connection: Upgrade',
    'Sec-WebSocket-Version: 13',
    'Sec-WebSocket-Key: dGhlIHNhbXBsZSBub25jZQ==',
)
GRANTED = 's3pPLMBiTxaQ9kYGzzhZRbK+xOo='


def write_frame(
    opcode: int, data: bytes = b'', *, first: int = 0x80, masked: bool = False
) -> bytes:
    """Encode a frame (RFC 6455 5.2). Its mask is zero; ``first`` has the FIN and RSV bits."""
    size, bit = len(data), 0x80 if masked else 0
    if size < 126:
        head = struct.pack('!BB', first | opcode, bit | size)
    elif size < 2**16:
        head = struct.pack('!BBH', first | opcode, bit | 126, size)
    else:
        head = struct.pack('!BBQ', first | opcode, bit | 127, size)
    return head + bytes(4 if masked else 0) + data


async def read_frame(reader: asyncio.StreamReader) -> tuple[int, bytes]:
    """Read a frame; return its opcode and its data."""
    first, size = await reader.readexactly(2)
    masked, size = size & 0x80, size & 0x7F
    if size > 125:
        size = int.from_bytes(await reader.readexactly(2 if size == 126 else 8))
    mask = await reader.readexactly(4) if masked else bytes(4)
    data = int.from_bytes(await reader.readexactly(size), 'little')
    data ^= int.from_bytes((mask * (size // 4 + 1))[:size], 'little')
    return first & 0xF, data.to_bytes(size, 'little')


@pytest.fixture(scope='session')
def frames() -> SimpleNamespace:
    """Functions to write and read WebSocket frames, and the fields of a handshake."""
    return SimpleNamespace(write=write_frame, read=read_frame, asking=ASKING, granted=GRANTED)


SCOPE = {
    'type': 'http',
    'asgi': {'version': '3.0'},
    'http_version': '1.1',
    'method': 'GET',
    'scheme': 'http',
    'path': '/',
    'query_string': b'',
    'headers': [(b'host', b'example.org')],
}


@pytest.fixture(scope='session')
def by_messages() -> Callable[..., Awaitable[list[dict[str, Any]]]]:
    """Run an ASGI application with a scope and messages; return the messages that it sent.

    After the last message ``receive`` waits for ever.
    """

    async def ask(application: Any, *messages: Any, **scope: Any) -> list[dict[str, Any]]:
        given, sent = list(messages), []

        async def receive() -> Any:
            return given.pop(0) if given else await asyncio.Event().wait()

        async def send(message: Any) -> None:
            sent.append(message)

        await application(SCOPE | scope, receive, send)
        return sent

    return ask


@pytest.fixture(scope='session')
def until() -> Callable[[Callable[[], object]], Awaitable[None]]:
    """Run the event loop until a condition holds for which there is no event to wait for."""

    async def turned(holds: Callable[[], object]) -> None:
        while True:
            if holds():
                return
            await asyncio.sleep(0)

    return turned


@pytest.fixture(scope='session')
def parameters() -> Callable[[Callable[..., Any]], list[str]]:
    """Return the names of the positional parameters of a function.

    For contract tests, which fail if aiohttp changes what the library overrides or calls.
    """

    def names(function: Callable[..., Any]) -> list[str]:
        found = inspect.signature(function).parameters.values()
        return [one.name for one in found if one.kind is one.POSITIONAL_OR_KEYWORD]

    return names


@pytest.fixture(params=['lean', 'plain'])
def both_ways(request: pytest.FixtureRequest, monkeypatch: pytest.MonkeyPatch) -> None:
    """Run a test twice: with the fast path for responses (``encode_fast``), and without it."""
    if request.param == 'plain':
        monkeypatch.setattr(
            'aioluahttp.server.exchange.encode_fast', lambda *table, **options: None
        )


@pytest.fixture(params=['wire', 'session'])
def both_routes(request: pytest.FixtureRequest, monkeypatch: pytest.MonkeyPatch) -> None:
    """Run a test twice: over the wire, and by ``ClientSession.request``."""
    if request.param == 'session':
        monkeypatch.setattr('aioluahttp.transports.wire.can_send', lambda *request: False)


class Asked(NamedTuple):
    """A request as it was received, with its body."""

    line: str
    headers: list[tuple[str, str]]
    body: bytes

    def values(self, name: str) -> list[str]:
        """Return the values of a header; an empty list if it was not sent."""
        return [value for key, value in self.headers if key.lower() == name.lower()]


@dataclass
class Peer:
    """A raw server: its address, and the requests that it has received."""

    port: int | None
    url: str
    requests: list[Asked] = field(default_factory=list)
    connections: int = 0


class Line:
    """One connection of a raw server: reads whole requests, and writes any bytes."""

    def __init__(self, peer: Peer, reader: asyncio.StreamReader, writer: asyncio.StreamWriter):
        self.peer, self.reader, self.writer = peer, reader, writer

    async def request(self) -> Asked:
        """Read a request with its body, and record it; IncompleteReadError if the client closes."""
        head = (await self.reader.readuntil(b'\r\n\r\n')).decode('utf-8', 'surrogateescape')
        line, *fields = head.removesuffix('\r\n\r\n').split('\r\n')
        headers = [(name, value) for name, _, value in (one.partition(': ') for one in fields)]
        length = {name.lower(): value for name, value in headers}.get('content-length', 0)
        request = Asked(line, headers, await self.reader.readexactly(int(length)))
        self.peer.requests.append(request)
        return request

    async def send(self, data: bytes) -> None:
        """Write any bytes, with back-pressure."""
        self.writer.write(data)
        await self.writer.drain()

    def reset(self) -> None:
        """Reset the connection, as the system does when a process dies."""
        reset(self.writer)


Handler = Callable[[Line], Awaitable[None]]


def always(response: bytes) -> Handler:
    """Make a raw handler that sends the same bytes for each request."""

    async def handler(line: Line) -> None:
        while True:
            await line.request()
            await line.send(response)

    return handler


def handshakes() -> list[asyncio.Task[None]]:
    """Return asyncio's tasks for connections whose TLS handshake is not complete."""
    return [task for task in asyncio.all_tasks() if '_accept_connection2' in repr(task)]


@contextlib.asynccontextmanager
async def serve_raw(
    handler: Handler | bytes,
    *,
    host: str = '127.0.0.1',
    unix: str | None = None,
    tls: ssl.SSLContext | None = None,
) -> AsyncIterator[Peer]:
    """Serve each connection with a raw handler, or send the same bytes for each request.

    At the end every connection is closed and every handler has ended. A handler that raises fails
    the test, unless the reason is that the client has left.
    """
    tasks: list[asyncio.Task[None]] = []
    handle = always(handler) if isinstance(handler, bytes) else handler

    async def serve(line: Line) -> None:
        with contextlib.suppress(ConnectionError, asyncio.IncompleteReadError):
            await handle(line)
        line.writer.close()
        with contextlib.suppress(OSError):
            await line.writer.wait_closed()

    def accept(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        peer.connections += 1
        tasks.append(asyncio.create_task(serve(Line(peer, reader, writer))))
        tasks[-1].add_done_callback(lambda task: writer.transport.abort())

    if unix is None:
        server = await asyncio.start_server(accept, host, 0, ssl=tls, backlog=256)
        port = server.sockets[0].getsockname()[1]
        name = f'[{host}]' if ':' in host else 'localhost' if tls else host
        peer = Peer(port, f'{"https" if tls else "http"}://{name}:{port}')
    else:
        server = await asyncio.start_unix_server(accept, unix)
        peer = Peer(None, 'http://localhost')
    try:
        yield peer
    finally:
        server.close()
        for task in tasks:
            task.cancel()
        results = await asyncio.gather(*tasks, return_exceptions=True)
        await server.wait_closed()
        await asyncio.gather(*handshakes())
    for result in results:
        if isinstance(result, Exception):
            raise result


@pytest.fixture(scope='session')
def raw_server() -> Callable[..., contextlib.AbstractAsyncContextManager[Peer]]:
    """Return ``serve_raw``, which runs small servers that write any bytes."""
    return serve_raw


async def pour(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
    """Copy all data from a reader to a writer, and then close the writer."""
    while data := await reader.read(65536):
        writer.write(data)
    writer.close()


@pytest.fixture(scope='session')
def socks_proxy() -> Any:
    """Run a SOCKS5 proxy (RFC 1928) that connects to this machine, whatever host is requested.

    ``requests`` of its peer has the host names and ports. Hosts in ``.invalid`` are unreachable.
    """

    async def handler(line: Line) -> None:
        read = line.reader.readexactly
        await read((await read(2))[1])
        await line.send(b'\5\0')  # no authentication
        *_, kind = await read(4)
        name = (await read((await read(1))[0])).decode() if kind == 3 else (await read(4)).hex()
        line.peer.requests.append((name, port := int.from_bytes(await read(2))))
        if name.endswith('.invalid'):
            return await line.send(b'\5\4\0\1' + bytes(6))  # host unreachable
        far_reader, far_writer = await asyncio.open_connection('127.0.0.1', port)
        await line.send(b'\5\0\0\1' + bytes(6))
        try:
            await asyncio.gather(pour(line.reader, far_writer), pour(far_reader, line.writer))
        finally:
            far_writer.close()

    return functools.partial(serve_raw, handler)


@pytest.fixture(scope='session')
def curl() -> Callable[..., Awaitable[tuple[int | None, bytes]]]:
    """Run curl with data for its standard input; return its exit code and its output."""
    if shutil.which('curl') is None:
        pytest.skip('there is no curl here')

    async def run(*arguments: object, given: bytes = b'') -> tuple[int | None, bytes]:
        pipe = asyncio.subprocess.PIPE
        command = 'curl', '--silent', *map(str, arguments)
        process = await asyncio.create_subprocess_exec(*command, stdin=pipe, stdout=pipe)
        printed, _ = await process.communicate(given)
        return process.returncode, printed

    return run


@pytest.fixture(scope='session')
def certificates(tmp_path_factory: pytest.TempPathFactory) -> SimpleNamespace:
    """Paths of a CA and of a client certificate with its key, and TLS contexts of servers.

    The contexts are for localhost and 127.0.0.1; ``strict`` requires client certificates.
    """
    folder = tmp_path_factory.mktemp('certificates')
    authority = trustme.CA()
    paths = {name: str(folder / f'{name}.pem') for name in ('ca', 'cert', 'key')}
    authority.cert_pem.write_to_path(paths['ca'])
    client = authority.issue_cert('client@example.com')
    client.cert_chain_pems[0].write_to_path(paths['cert'])
    client.private_key_pem.write_to_path(paths['key'])
    contexts = {name: ssl.create_default_context(ssl.Purpose.CLIENT_AUTH) for name in TLS_SERVERS}
    for context in contexts.values():
        authority.issue_cert('localhost', '127.0.0.1').configure_cert(context)
    authority.configure_trust(contexts['strict'])
    contexts['strict'].verify_mode = ssl.CERT_REQUIRED
    return SimpleNamespace(**paths, **contexts)


TLS_SERVERS = ('server', 'strict', 'named', 'tls12')
