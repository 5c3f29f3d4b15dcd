"""The subjects that are measured, and the targets of their ratios, as data."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass
from operator import attrgetter

from .check import BROWSER, ECHO, LONG_ECHO, OBJECTS_OUT, PARSED, TEXT, TLS
from .check import HELLO as GREETING
from .meters import Client, Echo, Import, Memory, Meter, Moving, Relay, Server, Sizes

__all__ = ['GROUPS', 'LOOPS', 'PANELS', 'PEERS', 'ROWS', 'Group', 'Row']

LOOPS = ('asyncio', 'uvloop')

# Distributions whose versions the report names, with that of the library.
PEERS = """
    aiohttp multidict yarl uvloop uvicorn httptools starlette granian robyn sanic blacksheep
    httpx2 niquests pyreqwest
""".split()


def once(sizes: Sizes) -> int:
    """Return the number of rounds where all of them would be the same."""
    return 1


@dataclass(frozen=True)
class Group:
    """Subjects that are measured in turn, in rounds.

    Attributes:
        rounds: Number of rounds, of the ``Sizes`` of the run.
        loops: The event loops on which it is measured.
    """

    subjects: Mapping[str, Meter]
    unit: str = 'µs'
    rounds: Callable[[Sizes], int] = attrgetter('rounds')
    loops: tuple[str, ...] = LOOPS


@dataclass(frozen=True)
class Row:
    """The target of a subject, compared to another one of its group.

    Attributes:
        against: The other subject; ``None`` compares the figure itself to the target.
        target: The highest ratio, or figure, that meets it, on all loops or for each.
    """

    title: str
    group: str
    subject: str
    against: str | None
    target: float | Mapping[str, float]

    def target_on(self, loop: str) -> float:
        """Return the target on an event loop."""
        return self.target if isinstance(self.target, int | float) else self.target[loop]


HELLO = 'GET hello'
FETCH = 'client, 16 at a time'
OPEN = 'open connections'
IDLE = 'memory of an idle connection'
IMPORT = 'import'
VIA = 'GET hello in process'
MOVE = 'a body of 1 GiB'
GROWTH = 'memory of a body of 1 GiB'
RELAY = 'GET hello through a proxy'
CACHE = 'GET hello from a cache'
ECHOED = 'WebSocket, messages of 32 bytes echoed'
IDLE_SOCKET = 'memory of an idle WebSocket'

OURS, AIOHTTP, SESSION = 'ours', 'aiohttp web.Server', 'aiohttp pooled session'

# Servers and clients that do the same work with aiohttp: the group, the kind of it, the request and
# response of a server, or the origin of a client and what it sends, and the target of the ratio.
SERVED = (
    ('GET hello, 11 headers of a browser', 'browser', BROWSER, 0.85),
    ('GET hello, 20 response headers', 'headers', GREETING, 0.75),
    ('GET hello, one response header that differs', 'unique', GREETING, 0.9),
    ('GET 100 kB of text', 'text', TEXT, 0.7),
    ('GET JSON of 100 objects', 'objects', OBJECTS_OUT, 0.95),
    ('POST 1 KiB of JSON, read and written anew', 'parsed', PARSED, 0.95),
    ('POST 1 KiB echoed', 'echo', ECHO, 0.85),
    ('POST 64 KiB echoed', 'echo', LONG_ECHO, 1.0),
    ('GET hello over TLS', 'tls', TLS, 1.0),
)
FETCHED = (
    ('20 request headers', 'headers', 'floor', GREETING, 1.0),
    ('20 response headers', 'hello', 'floor.headers', GREETING, 1.0),
    ('100 kB of text', 'text', 'floor.text', TEXT, 0.95),
    ('JSON of 100 objects', 'objects', 'floor.objects', OBJECTS_OUT, 0.95),
    ('POST 10 KiB', 'post', 'floor_post', GREETING, 0.85),
    ('POST 64 KiB', 'post_long', 'floor_post', GREETING, 1.0),
    ('5 cookies in the jar', 'cookies', 'floor', GREETING, 1.0),
    ('TLS', 'tls', 'floor.tls', TLS, 1.0),
)

GROUPS: dict[str, Group] = {
    HELLO: Group(
        {
            'the floor': Server('floor'),
            OURS: Server('ours'),
            AIOHTTP: Server('aiohttp_server'),
            'aiohttp web.Application': Server('aiohttp_application'),
            'uvicorn': Server('uvicorn'),
            'starlette': Server('starlette'),
            'granian': Server('granian'),
            'granian, RSGI': Server('granian_rsgi'),
            'robyn': Server('robyn'),
            'sanic': Server('sanic'),
            'blacksheep': Server('blacksheep'),
        }
    ),
    **{
        name: Group(
            {
                OURS: Server(f'ours.{kind}', sample),
                AIOHTTP: Server(f'aiohttp_server.{kind}', sample),
            }
        )
        for name, kind, sample, _ in SERVED
    },
    FETCH: Group(
        {
            OURS: Client('ours'),
            SESSION: Client('aiohttp_session'),
            'aiohttp.request': Client('aiohttp_request'),
            'httpx2': Client('httpx2'),
            'niquests': Client('niquests'),
            'pyreqwest': Client('pyreqwest'),
        }
    ),
    **{
        f'client, {name}': Group(
            {
                OURS: Client(f'ours.{kind}', origin, sample),
                SESSION: Client(f'aiohttp_session.{kind}', origin, sample),
            }
        )
        for name, kind, origin, sample, _ in FETCHED
    },
    VIA: Group(
        {
            OURS: Client('ours_via'),
            'httpx2, ASGITransport': Client('httpx2_asgi'),
        }
    ),
    RELAY: Group(
        {
            OURS: Server('ours_proxy', origin='floor'),
            'aiohttp, session and server': Server('aiohttp_proxy', origin='floor'),
        }
    ),
    ECHOED: Group(
        {
            'ours, 1 at a time': Echo('ours.websocket', 1),
            'aiohttp, 1 at a time': Echo('aiohttp_server.websocket', 1),
            'ours, 16 at a time': Echo('ours.websocket', 16),
            'aiohttp, 16 at a time': Echo('aiohttp_server.websocket', 16),
        }
    ),
    CACHE: Group(
        {
            'ours, without a cache': Server('ours'),
            'ours, a hit': Server('ours_cache'),
            'nginx, a hit': Server('nginx_cache', origin='floor'),
            'ours, proxy without a cache': Server('ours_cache_off', origin='floor'),
            'ours, proxy and a miss': Server('ours_cache_miss', origin='floor'),
        }
    ),
    MOVE: Group(
        {
            'ours, stream': Moving('ours_stream'),
            'aiohttp, iter_chunked': Moving('aiohttp_stream'),
            'ours, into a file': Moving('ours_file'),
            'aiohttp, iter_chunked into a file': Moving('aiohttp_file'),
            'ours, upload of a file': Moving('ours_upload', sends=True),
            'aiohttp, upload of a file': Moving('aiohttp_upload', sends=True),
            'ours, proxy': Relay('ours_proxy'),
            'aiohttp, session and server': Relay('aiohttp_proxy'),
        },
        unit='ms',
        rounds=attrgetter('transfers'),
    ),
    GROWTH: Group(
        {
            'ours, stream': Moving('ours_stream', memory=True),
            'ours, into a file': Moving('ours_file', memory=True),
            'ours, upload of a file': Moving('ours_upload', sends=True, memory=True),
            'ours, proxy': Relay('ours_proxy', memory=True),
        },
        unit='MiB',
        rounds=once,
    ),
    OPEN: Group(
        {
            '32': Server('ours'),
            '1': Server('ours', connections=1),
            'aiohttp, 1': Server('aiohttp_server', connections=1),
            '1 000': Server('ours', idle=1000 - 32),
            '10 000': Server('ours', idle=10_000 - 32),
            # The share of asyncio: a request at a time needs its own iteration of the loop.
            'the floor, 32': Server('floor'),
            'the floor, 1': Server('floor', connections=1),
        }
    ),
    IDLE: Group(
        {
            OURS: Memory('ours'),
            AIOHTTP: Memory('aiohttp_server'),
        },
        unit='KiB',
        rounds=once,
    ),
    IDLE_SOCKET: Group(
        {
            OURS: Memory('ours.websocket', 'websocket'),
            AIOHTTP: Memory('aiohttp_server.websocket', 'websocket'),
        },
        unit='KiB',
        rounds=once,
    ),
    IMPORT: Group(
        {'aioluahttp': Import('aioluahttp'), 'aiohttp': Import('aiohttp')},
        unit='ms',
        loops=LOOPS[:1],
    ),
}

LISTEN = '`listen`, GET hello, all defaults on'
REQUEST = '`request`, GET hello'
SOCKET = 'messages of 32 bytes echoed, {} at a time'
CONNECTIONS = 'cost per request, {} open connections'
FILE, STREAM = 'aiohttp, iter_chunked into a file', 'aiohttp, iter_chunked'
UPLOAD = 'aiohttp, upload of a file'
UNCACHED = 'ours, proxy without a cache'
BOTH = 'aiohttp, session and server'

# The rows of each panel of the plot.
PANELS: dict[str, tuple[Row, ...]] = {
    'Server': (
        Row(LISTEN, HELLO, OURS, AIOHTTP, {'asyncio': 0.75, 'uvloop': 0.8}),
        *(Row(f'`listen`, {name}', name, OURS, AIOHTTP, goal) for name, _, _, goal in SERVED),
        Row('one connection, one request at a time', OPEN, '1', 'aiohttp, 1', 0.85),
    ),
    'Client': (
        Row(REQUEST, FETCH, OURS, SESSION, 0.9),
        Row('the same, against `aiohttp.request`', FETCH, OURS, 'aiohttp.request', 0.35),
        *(
            Row(f'`request`, {name}', f'client, {name}', OURS, SESSION, goal)
            for name, _, _, _, goal in FETCHED
        ),
    ),
    'Proxy': (
        Row('`proxy`, GET hello', RELAY, OURS, BOTH, 1.0),
        Row('`proxy`, 1 GiB', MOVE, 'ours, proxy', BOTH, 0.9),
    ),
    'WebSocket': (
        Row(SOCKET.format(1), ECHOED, 'ours, 1 at a time', 'aiohttp, 1 at a time', 1.0),
        Row(SOCKET.format(16), ECHOED, 'ours, 16 at a time', 'aiohttp, 16 at a time', 1.05),
        Row('idle WebSocket, memory', IDLE_SOCKET, OURS, AIOHTTP, 1.1),
    ),
    'Bulk, memory, import': (
        Row("`into='stream'`, 1 GiB", MOVE, 'ours, stream', STREAM, 1.0),
        Row('`into` a file, 1 GiB', MOVE, 'ours, into a file', FILE, 1.0),
        Row('upload of a file, 1 GiB', MOVE, 'ours, upload of a file', UPLOAD, 1.0),
        Row('idle keep-alive connection, memory', IDLE, OURS, AIOHTTP, 0.8),
        Row('import, with all that it imports', IMPORT, 'aioluahttp', 'aiohttp', 1.1),
    ),
}

ROWS = (
    *(row for rows in PANELS.values() for row in rows),
    Row(LISTEN, HELLO, OURS, 'uvicorn', {'asyncio': 0.8, 'uvloop': 1.0}),
    *(Row(LISTEN, HELLO, OURS, name, 0.8) for name in ('granian', 'granian, RSGI', 'robyn')),
    *(Row(REQUEST, FETCH, OURS, name, 0.2) for name in ('httpx2', 'niquests')),
    Row(REQUEST, FETCH, OURS, 'pyreqwest', 1.5),
    Row('`Client(via=handler)`, in process', VIA, OURS, 'httpx2, ASGITransport', 0.18),
    Row('`cache`, a hit', CACHE, 'ours, a hit', 'ours, without a cache', 1.3),
    Row('`cache` around `proxy`, a miss', CACHE, 'ours, proxy and a miss', UNCACHED, 1.15),
    *(Row(CONNECTIONS.format(number), OPEN, number, '32', 1.1) for number in ('1 000', '10 000')),
    Row('idle WebSocket, memory, KiB', IDLE_SOCKET, OURS, None, 16),
    *(
        Row(f'the most memory that it takes, MiB: {subject}', GROWTH, subject, None, 16)
        for subject in GROUPS[GROWTH].subjects
    ),
)
