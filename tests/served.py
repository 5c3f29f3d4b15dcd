"""The handler that tests/test_serving.py runs under every engine."""

import asyncio
import logging
from collections import Counter
from pathlib import Path

from aioluahttp import compress

SEEN = Counter()  # events that no response shows: closed iterators, calls of on_error
FILE = Path(__file__).with_name('served.py')


class Escape(BaseException):
    """An exception that is no Exception."""


RAISED = {
    'GeneratorExit': GeneratorExit,
    'Escape': Escape,
    'CancelledError': asyncio.CancelledError,
}


def on_error(error, request):
    """Count the errors passed to ``on_error``, and raise what the query names as the second."""
    SEEN[f'{type(error).__name__}:{request.path}'] += 1
    _, _, second = request.query.partition('+')
    if second:
        raise RAISED[second]


def into(request):
    """Read the body as the query says."""
    return request.query if request.query in ('bytes', 'json', 'stream', 'raw') else 'text'


async def seen(what):
    """Wait until an event has happened; return how often, and reset its count."""
    while not SEEN[what]:  # noqa: ASYNC110  # handlers may run in other loops and processes
        await asyncio.sleep(0.001)
    return SEEN.pop(what)


OPTIONS = {'into': into, 'max_body': 1000, 'on_error': on_error}

RECORDS = {}  # of the access log, by the target of the request
FACTS = ('ip', 'method', 'target', 'status', 'bytes', 'seconds')


class Access(logging.Handler):
    """The handler of the access log, if that is a logger."""

    def emit(self, record):
        """Keep the facts of a record."""
        RECORDS[record.target] = {name: getattr(record, name) for name in FACTS}


ACCESS = logging.getLogger('served.access')
ACCESS.propagate = False
ACCESS.setLevel(logging.INFO)
ACCESS.addHandler(Access())


def note_access(request, response):
    """Keep the facts of a response; the access log, if that is a function."""
    RECORDS[response['record']['target']] = response['record']


async def access(request):
    """Return the record of the target in the query, once it is there."""
    while request.query not in RECORDS:  # noqa: ASYNC110  # as in ``seen``
        await asyncio.sleep(0.001)
    return {'status': 200, 'json': RECORDS.pop(request.query)}


async def chat(socket):
    """Send each message back; close at the message ``close``."""
    async for message in socket:
        if message == 'close':
            await socket.close(4001, 'as-you-said')
        else:
            await socket.send(message)
    SEEN[f'socket:{socket.code}:{socket.reason}'] += 1


async def chunks():
    """Yield a chunk, and the next one after a request to /go."""
    yield 'one'
    await seen('go')
    yield b'two'


async def forever(key):
    """Yield one chunk and then wait for ever; count when it is closed."""
    try:
        yield b'x'
        await asyncio.Event().wait()
    finally:
        SEEN[f'closed:{key}'] += 1


async def broken():
    """Raise after the first chunk."""
    yield b'x' * 10
    await asyncio.sleep(0.01)
    raise ValueError('midway')


async def ticks():
    """Yield an event and a comment."""
    yield {'event': 'tick', 'data': 'a\nb', 'id': '1'}
    yield {}


async def digest(request):
    """Return the length of a body that is read as a stream."""
    return {'status': 200, 'body': str(len(await request.body.read()))}


async def collect(request):
    """Read the first part of a body, and after ``go`` the rest, which breaks off; count them."""
    parts = [await anext(request.body)]
    SEEN['begun'] += 1
    await seen('go')
    try:
        async for part in request.body:
            parts.append(part)
    finally:
        SEEN[f'collected:{b"".join(parts).decode()}'] += 1


async def form(request):
    """Return a field of a form and the size of its file."""
    fields = await request.form()
    return {'status': 200, 'json': [fields['name'], len(fields['photo']['body'])]}


def tell(request):
    """Return the request table as JSON, with header names in lower case."""
    table = request.plain()
    table['headers'] = [[name.lower(), value] for name, value in table['headers']]
    return {'status': 200, 'json': table}


async def count(request):
    """Return how often the event in the query has happened, once it has."""
    return {'status': 200, 'body': str(await seen(request.query))}


def go(request):
    """Let ``chunks`` continue."""
    SEEN['go'] += 1
    return {'status': 204}


def echo(request):
    """Return the body unchanged, with its Content-Type."""
    body = request.bytes() if request.query == 'bytes' else request.body
    return {
        'status': 200,
        'headers': {'Content-Type': request.headers.get('Content-Type')},
        'body': body,
    }


def fail(request):
    """Raise an exception."""
    raise LookupError(request.path)


async def raise_named(request):
    """Raise what the query names."""
    raise RAISED[request.query.partition('+')[0]]


def raise_plainly(request):
    """Raise what the query names, not in a coroutine."""
    raise RAISED[request.query]


async def raising(name):
    """Raise in place of the first chunk."""
    raise RAISED[name]
    yield b''


class Raising:
    """An iterable that raises when its iterator is made."""

    def __init__(self, name):
        self.name = name

    def __iter__(self):
        raise RAISED[self.name]


ROUTES = {
    '/raise': raise_named,
    '/raise-plainly': raise_plainly,
    '/raise-in-middleware': compress(raise_named),
    '/raise-in-body': lambda request: {'status': 200, 'body': raising(request.query)},
    '/raise-in-iter': lambda request: {'status': 200, 'body': Raising(request.query)},
    '/tell': tell,
    '/echo': echo,
    '/json': lambda request: {'status': 200, 'json': request.body},
    '/parsed': lambda request: {'status': 200, 'json': request.json()},
    '/digest': digest,
    '/collect': collect,
    '/form': form,
    '/fail': fail,
    '/count': count,
    '/access': access,
    '/go': go,
    '/chunks': lambda request: {'status': 200, 'body': chunks()},
    '/length': lambda request: {
        'status': 200,
        'headers': {'Content-Length': 3},
        'body': iter(['a', 'bc']),
    },
    '/forever': lambda request: {'status': 200, 'body': forever(request.query)},
    '/broken': lambda request: {'status': 200, 'body': broken()},
    '/events': lambda request: {'status': 200, 'events': ticks()},
    '/file': lambda request: {'status': 200, 'body': FILE},
    '/path': lambda request: {
        'status': 200,
        'headers': {'Vary': 'Cookie'},
        'body': Path(request.query),
    },
    '/no-file': lambda request: {'status': 200, 'body': FILE.with_name('none')},
    '/many': lambda request: {'status': 200, 'headers': {'X-Many': ['b', 'a', 'b']}},
    '/control': lambda request: {'status': 200, 'headers': {'X': 'a\r\nb: c'}},
    '/204': lambda request: {'status': 204},
    '/304': lambda request: {'status': 304, 'headers': {'ETag': '"x"', 'Content-Length': 9}},
    '/nothing': lambda request: {'status': 200},
    '/bytes': lambda request: {'status': 200, 'body': bytes(range(256))},
    '/koi8': lambda request: {
        'status': 200,
        'headers': {'Content-Type': 'text/plain; charset=koi8-r'},
        'body': 'слово',
    },
    '/socket': lambda request: {
        'websocket': {'callback': chat, 'protocols': ['v2', 'v1'], 'max_message': 100},
        'headers': {'X-Room': 'a'},
    },
    '/denied': lambda request: {'status': 401, 'body': 'who are you?'},
}


async def handler(request):
    """Route by path."""
    if request.path not in ROUTES:
        return {'status': 404, 'headers': {'X-Url': request.url}}
    response = ROUTES[request.path](request)
    return await response if asyncio.iscoroutine(response) else response


def __getattr__(name):
    """Make the ASGI application for engines that import it as ``served:app``."""
    if name == 'app':
        from aioluahttp.asgi import to_asgi

        return to_asgi(handler, **OPTIONS, access_log=ACCESS)
    raise AttributeError(name)
