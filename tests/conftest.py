"""What every test has: coroutines run as tests, in a loop that leaves nothing behind."""

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

from aioluahttp.server.exchange import Settings, SocketResponder
from aioluahttp.server.listen import Listening
from aioluahttp.server.server import Server
from aioluahttp.tables.conversion import to_response


@pytest.hookimpl(tryfirst=True)
def pytest_pyfunc_call(pyfuncitem: pytest.Function) -> None:
    """Run a test that is a coroutine function in a loop of its own, and look for leaked tasks."""
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


class Wire:
    """A raw client: writes bytes, and reads answers or whatever else comes."""

    def __init__(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        self.reader, self.writer = reader, writer
        self.send = writer.write

    def ask(self, line: str, *fields: str, body: bytes = b'') -> None:
        """Send a request of HTTP/1.1, given its method and target and the fields after Host."""
        head = '\r\n'.join((f'{line} HTTP/1.1', 'Host: h', *fields, '\r\n'))
        self.send(head.encode('utf-8', 'surrogateescape') + body)

    async def answer(self, *, silent: bool = False) -> tuple[int, CIMultiDict[str], bytes]:
        """Read one answer; a silent one has no body, whatever its head says."""
        head = await self.reader.readuntil(b'\r\n\r\n')
        first, *lines = head.decode('utf-8', 'surrogateescape').split('\r\n')[:-2]
        fields = CIMultiDict(tuple(line.split(': ', 1)) for line in lines)
        length = 0 if silent else int(fields.get('Content-Length', 0))
        return int(first.split()[1]), fields, await self.reader.readexactly(length)

    async def rest(self) -> bytes:
        """Read all up to the end of the connection."""
        return await self.reader.read()


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


ASKING = (  # the fields of RFC 6455 1.3, and the answer to their key
    'Upgrade: websocket',
    'Connection: Upgrade',
    'Sec-WebSocket-Version: 13',
    'Sec-WebSocket-Key: dGhlIHNhbXBsZSBub25jZQ==',
)
GRANTED = 's3pPLMBiTxaQ9kYGzzhZRbK+xOo='


def write_frame(
    opcode: int, data: bytes = b'', *, first: int = 0x80, masked: bool = False
) -> bytes:
    """Write a frame (RFC 6455 5.2), with a mask that changes nothing; ``first`` has its bits."""
    size, bit = len(data), 0x80 if masked else 0
    if size < 126:
        head = struct.pack('!BB', first | opcode, bit | size)
    elif size < 2**16:
        head = struct.pack('!BBH', first | opcode, bit | 126, size)
    else:
        head = struct.pack('!BBQ', first | opcode, bit | 127, size)
    return head + bytes(4 if masked else 0) + data


async def read_frame(reader: asyncio.StreamReader) -> tuple[int, bytes]:
    """Read a frame, and give its opcode and its data."""
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
    """Give what a raw peer needs to speak WebSocket: frames, and the fields of a handshake."""
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
    """Run an ASGI application with a scope and messages; gives what it sent.

    Behind the last message nothing comes any more.
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
    """Let the loop turn until something holds that no event tells of."""

    async def turned(holds: Callable[[], object]) -> None:
        while True:
            if holds():
                return
            await asyncio.sleep(0)

    return turned


@pytest.fixture(scope='session')
def parameters() -> Callable[[Callable[..., Any]], list[str]]:
    """Give the names of the parameters that a function of aiohttp's takes by position.

    For the tests that tell if aiohttp changes what the library overrides or calls.
    """

    def names(function: Callable[..., Any]) -> list[str]:
        found = inspect.signature(function).parameters.values()
        return [one.name for one in found if one.kind is one.POSITIONAL_OR_KEYWORD]

    return names


@pytest.fixture(params=['lean', 'plain'])
def both_ways(request: pytest.FixtureRequest, monkeypatch: pytest.MonkeyPatch) -> None:
    """Run a test twice: with answers made the short way where that is open, and never so."""
    if request.param == 'plain':
        monkeypatch.setattr(
            'aioluahttp.server.exchange.encode_fast', lambda *table, **options: None
        )


@pytest.fixture(params=['direct', 'session'])
def both_routes(request: pytest.FixtureRequest, monkeypatch: pytest.MonkeyPatch) -> None:
    """Run a test twice: with requests sent the short way where that is open, and never so."""
    if request.param == 'session':
        monkeypatch.setattr('aioluahttp.transports.wire.is_short', lambda *request: False)


@pytest.fixture
def self_sent() -> Any:
    """Serve what answers each request by writing itself: ``async with self_sent(answer)``."""

    def opened(answer: Any, **settings: Any) -> Any:
        class Sends(SocketResponder):
            def to_sending(self, connection: Any, request: Any, response: Any) -> Any:
                return answer

        table = to_response({'status': 200})
        exchange = Sends(lambda request: table, Settings(**settings))
        return Listening(functools.partial(Server.start, exchange, '127.0.0.1', 0, {}))

    return opened


class Asked(NamedTuple):
    """A request as it came over the wire."""

    line: str
    headers: list[tuple[str, str]]
    body: bytes

    def values(self, name: str) -> list[str]:
        """Give the values of a header, none where it did not come."""
        return [value for key, value in self.headers if key.lower() == name.lower()]


@dataclass
class Peer:
    """A raw server: where it is, and what was asked of it."""

    port: int | None
    url: str
    asked: list[Asked] = field(default_factory=list)
    connections: int = 0


class Line:
    """One connection of a raw server: whole requests in, any bytes out."""

    def __init__(self, peer: Peer, reader: asyncio.StreamReader, writer: asyncio.StreamWriter):
        self.peer, self.reader, self.writer = peer, reader, writer

    async def request(self) -> Asked:
        """Read a request and its body, and note it; ends with IncompleteReadError."""
        head = (await self.reader.readuntil(b'\r\n\r\n')).decode('utf-8', 'surrogateescape')
        line, *fields = head.removesuffix('\r\n\r\n').split('\r\n')
        headers = [(name, value) for name, _, value in (one.partition(': ') for one in fields)]
        length = {name.lower(): value for name, value in headers}.get('content-length', 0)
        asked = Asked(line, headers, await self.reader.readexactly(int(length)))
        self.peer.asked.append(asked)
        return asked

    async def send(self, data: bytes) -> None:
        """Write bytes, whatever they are."""
        self.writer.write(data)
        await self.writer.drain()

    def reset(self) -> None:
        """Close by a reset, as a process that dies does."""
        on_socket = self.writer.get_extra_info('socket')
        on_socket.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, struct.pack('ii', 1, 0))
        self.writer.transport.abort()


Handler = Callable[[Line], Awaitable[None]]


def always(answer: bytes) -> Handler:
    """Make a raw handler that answers each request with the same bytes."""

    async def handler(line: Line) -> None:
        while True:
            await line.request()
            await line.send(answer)

    return handler


def handshakes() -> list[asyncio.Task[None]]:
    """Give asyncio's tasks for clients that are connected but not yet through with TLS."""
    return [task for task in asyncio.all_tasks() if '_accept_connection2' in repr(task)]


@contextlib.asynccontextmanager
async def serve_raw(
    handler: Handler | bytes,
    *,
    host: str = '127.0.0.1',
    unix: str | None = None,
    tls: ssl.SSLContext | None = None,
) -> AsyncIterator[Peer]:
    """Serve each connection by a raw handler, or each request by the same bytes.

    At the end every connection is closed and every handler over; one that fails, but by the
    client's leaving, fails the test.
    """
    tasks: list[asyncio.Task[None]] = []
    answer = always(handler) if isinstance(handler, bytes) else handler

    async def serve(line: Line) -> None:
        with contextlib.suppress(ConnectionError, asyncio.IncompleteReadError):
            await answer(line)
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
    """Give ``serve_raw``, the maker of small servers that write any bytes."""
    return serve_raw


async def pour(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
    """Write all that is read, and the end."""
    while data := await reader.read(65536):
        writer.write(data)
    writer.close()


@pytest.fixture(scope='session')
def socks_proxy() -> Any:
    """Be a SOCKS5 proxy (RFC 1928) to this machine, whatever the name it is asked for.

    Its peer's ``asked`` are names and ports. It reaches none that ends in ``.invalid``.
    """

    async def handler(line: Line) -> None:
        read = line.reader.readexactly
        await read((await read(2))[1])
        await line.send(b'\5\0')  # nobody has to log in
        *_, kind = await read(4)
        name = (await read((await read(1))[0])).decode() if kind == 3 else (await read(4)).hex()
        line.peer.asked.append((name, port := int.from_bytes(await read(2))))
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
    """Run curl, with what it is to read; give its exit code and what it printed."""
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
    """Give the paths of an authority and of a client's certificate, and contexts of servers.

    Each is for localhost and 127.0.0.1; ``strict`` asks clients for certificates.
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
