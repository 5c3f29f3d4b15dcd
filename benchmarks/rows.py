"""The subjects that are measured, and the targets of their ratios, as data."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass

from .check import ECHO, JSON, LONG_ECHO, TEXT
from .check import HELLO as GREETING
from .meters import Client, Echo, Import, Memory, Meter, Moving, Relay, Server

__all__ = ['GROUPS', 'LOOPS', 'PEERS', 'ROWS', 'Group', 'Row']

LOOPS = ('asyncio', 'uvloop')

# Distributions whose versions the report names, with that of the library.
PEERS = """
    aiohttp multidict yarl uvloop uvicorn httptools starlette granian sanic blacksheep
    httpx2 niquests pyreqwest
""".split()


@dataclass(frozen=True)
class Group:
    """Subjects that are measured in turn, in rounds.

    Attributes:
        rounds: Number of rounds; ``None`` takes that of ``Sizes``.
        loops: The event loops on which it is measured.
    """

    subjects: Mapping[str, Meter]
    unit: str = 'µs'
    rounds: int | None = None
    loops: tuple[str, ...] = LOOPS


@dataclass(frozen=True)
class Row:
    """The target of a subject, compared to another one of its group.

    Attributes:
        against: The other subject; ``None`` compares the figure itself to the target.
        target: The highest ratio, or figure, that meets it.
    """

    title: str
    group: str
    subject: str
    against: str | None
    target: float


HELLO = 'GET hello'
POST = 'POST 1 KiB echoed'
PARSED = 'POST 1 KiB of JSON, read and written anew'
FETCH = 'client, 16 at a time'
OPEN = 'open connections'
IDLE = 'memory of an idle connection'
IMPORT = 'import'
VIA = 'GET hello in process'
MOVE = 'a body of 1 GiB'
GROWTH = 'memory of a body of 1 GiB'
LONG_POST = 'POST 64 KiB echoed'
LARGE = 'GET 100 kB of text'
UNIQUE = 'GET hello, one response header that differs'
MANY = 'GET hello, 20 response headers'
ASKED = 'client, 20 request headers'
SENT = 'client, POST'
COOKIES = 'client, 5 cookies'
RELAY = 'GET hello through a proxy'
ECHOED = 'WebSocket, messages of 32 bytes echoed'
IDLE_SOCKET = 'memory of an idle WebSocket'

GROUPS: dict[str, Group] = {
    HELLO: Group(
        {
            'the floor': Server('floor'),
            'ours': Server('ours'),
            'aiohttp web.Server': Server('aiohttp_server'),
            'aiohttp web.Application': Server('aiohttp_application'),
            'uvicorn': Server('uvicorn'),
            'starlette': Server('starlette'),
            'granian': Server('granian'),
            'sanic': Server('sanic'),
            'blacksheep': Server('blacksheep'),
        }
    ),
    POST: Group(
        {
            'ours': Server('ours_echo', ECHO),
            'aiohttp web.Server': Server('aiohttp_echo', ECHO),
        }
    ),
    PARSED: Group(
        {
            'ours': Server('ours_json', JSON),
            'aiohttp web.Server': Server('aiohttp_json', JSON),
        }
    ),
    FETCH: Group(
        {
            'ours': Client('ours'),
            'aiohttp pooled session': Client('aiohttp_session'),
            'aiohttp.request': Client('aiohttp_request'),
            'httpx2': Client('httpx2'),
            'niquests': Client('niquests'),
            'pyreqwest': Client('pyreqwest'),
        }
    ),
    VIA: Group(
        {
            'ours': Client('ours_via'),
            'httpx2, ASGITransport': Client('httpx2_asgi'),
        }
    ),
    **{
        name: Group(
            {
                'ours': Server(f'ours_{module}', sample),
                'aiohttp web.Server': Server(f'aiohttp_{module}', sample),
            }
        )
        for name, module, sample in (
            (LONG_POST, 'echo', LONG_ECHO),
            (LARGE, 'text', TEXT),
            (UNIQUE, 'unique', GREETING),
            (MANY, 'headers', GREETING),
        )
    },
    ASKED: Group(
        {
            'ours': Client('ours_headers'),
            'aiohttp pooled session': Client('aiohttp_headers'),
        }
    ),
    SENT: Group(
        {
            'ours, 10 KiB': Client('ours_post', 'floor_post'),
            'aiohttp, 10 KiB': Client('aiohttp_post', 'floor_post'),
            'ours, 64 KiB': Client('ours_post_long', 'floor_post'),
            'aiohttp, 64 KiB': Client('aiohttp_post_long', 'floor_post'),
        }
    ),
    COOKIES: Group(
        {
            'ours': Client('ours_cookies'),
            'aiohttp session with its jar': Client('aiohttp_cookies'),
        }
    ),
    OPEN: Group(
        {
            '32': Server('ours'),
            '1': Server('ours', connections=1),
            '1 000': Server('ours', idle=1000 - 32),
            '10 000': Server('ours', idle=10_000 - 32),
            # The share of asyncio: a request at a time needs its own iteration of the loop.
            'the floor, 32': Server('floor'),
            'the floor, 1': Server('floor', connections=1),
        }
    ),
    IDLE: Group(
        {
            'ours': Memory('ours'),
            'aiohttp web.Server': Memory('aiohttp_server'),
        },
        unit='KiB',
        rounds=1,
    ),
    ECHOED: Group(
        {
            'ours, 1 at a time': Echo('ours_websocket', 1),
            'aiohttp, 1 at a time': Echo('aiohttp_websocket', 1),
            'ours, 16 at a time': Echo('ours_websocket', 16),
            'aiohttp, 16 at a time': Echo('aiohttp_websocket', 16),
        }
    ),
    IDLE_SOCKET: Group(
        {
            'ours': Memory('ours_websocket', 'websocket'),
            'aiohttp web.Server': Memory('aiohttp_websocket', 'websocket'),
        },
        unit='KiB',
        rounds=1,
    ),
    RELAY: Group(
        {
            'ours': Server('ours_proxy', origin='floor'),
            'aiohttp': Server('aiohttp_proxy', origin='floor'),
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
        rounds=3,
    ),
    GROWTH: Group(
        {
            'ours, stream': Moving('ours_stream', memory=True),
            'ours, into a file': Moving('ours_file', memory=True),
            'ours, upload of a file': Moving('ours_upload', sends=True, memory=True),
            'ours, proxy': Relay('ours_proxy', memory=True),
        },
        unit='MiB',
        rounds=1,
    ),
    IMPORT: Group(
        {'aioluahttp after aiohttp': Import('aioluahttp', after='aiohttp')},
        unit='ms',
        rounds=10,
        loops=LOOPS[:1],
    ),
}

LISTEN = '`listen`, GET hello, table in and table out, all defaults on'
REQUEST = '`request`, module level, text body'
ECHO_ROW = 'WebSocket of `listen`, messages of 32 bytes echoed'
CONNECTIONS = 'cost per request, {} open connections'

ROWS = (
    Row(LISTEN, HELLO, 'ours', 'aiohttp web.Server', 0.75),
    Row(LISTEN, HELLO, 'ours', 'uvicorn', 0.9),
    Row(LISTEN, HELLO, 'ours', 'granian', 1.0),
    Row('`listen`, POST of 1 KiB JSON echoed', POST, 'ours', 'aiohttp web.Server', 0.85),
    Row('the same, read and written anew', PARSED, 'ours', 'aiohttp web.Server', 0.85),
    Row('`listen`, POST of 64 KiB echoed', LONG_POST, 'ours', 'aiohttp web.Server', 1.0),
    Row('`listen`, 100 kB of text', LARGE, 'ours', 'aiohttp web.Server', 0.7),
    Row('`listen`, a response header that differs', UNIQUE, 'ours', 'aiohttp web.Server', 0.9),
    Row('`listen`, 20 response headers', MANY, 'ours', 'aiohttp web.Server', 0.75),
    Row('`request`, 20 request headers', ASKED, 'ours', 'aiohttp pooled session', 1.0),
    Row('`request`, POST of 10 KiB', SENT, 'ours, 10 KiB', 'aiohttp, 10 KiB', 0.85),
    Row('`request`, POST of 64 KiB', SENT, 'ours, 64 KiB', 'aiohttp, 64 KiB', 1.0),
    Row('`Client` with 5 cookies', COOKIES, 'ours', 'aiohttp session with its jar', 1.0),
    Row(REQUEST, FETCH, 'ours', 'aiohttp pooled session', 0.95),
    Row(REQUEST, FETCH, 'ours', 'aiohttp.request', 0.35),
    Row(REQUEST, FETCH, 'ours', 'httpx2', 0.2),
    Row(REQUEST, FETCH, 'ours', 'niquests', 0.2),
    Row('`Client(via=handler)`, in process', VIA, 'ours', 'httpx2, ASGITransport', 0.1),
    Row('idle keep-alive connection, memory', IDLE, 'ours', 'aiohttp web.Server', 1.1),
    Row(ECHO_ROW, ECHOED, 'ours, 1 at a time', 'aiohttp, 1 at a time', 1.0),
    Row(ECHO_ROW, ECHOED, 'ours, 16 at a time', 'aiohttp, 16 at a time', 1.05),
    Row('idle WebSocket, memory, KiB', IDLE_SOCKET, 'ours', None, 16),
    Row("`into='stream'`, 1 GiB", MOVE, 'ours, stream', 'aiohttp, iter_chunked', 1.05),
    Row(
        '`into` a file, 1 GiB',
        MOVE,
        'ours, into a file',
        'aiohttp, iter_chunked into a file',
        1.05,
    ),
    Row(
        'upload of a file, 1 GiB',
        MOVE,
        'ours, upload of a file',
        'aiohttp, upload of a file',
        1.05,
    ),
    Row('`proxy`, 1 GiB', MOVE, 'ours, proxy', 'aiohttp, session and server', 1.05),
    Row('`proxy`, GET hello', RELAY, 'ours', 'aiohttp', 1.05),
    *(
        Row(f'the most memory that it takes, MiB: {subject}', GROWTH, subject, None, 16)
        for subject in GROUPS[GROWTH].subjects
    ),
    Row(
        '`import aioluahttp` beyond `import aiohttp`, ms',
        IMPORT,
        'aioluahttp after aiohttp',
        None,
        15,
    ),
    Row('cost per request, 1 open connection', OPEN, '1', '32', 1.3),
    Row(CONNECTIONS.format('1 000'), OPEN, '1 000', '32', 1.3),
    Row(CONNECTIONS.format('10 000'), OPEN, '10 000', '32', 1.3),
)
