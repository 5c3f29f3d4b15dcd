"""Tests of the server with Chromium: ``nox -s browser``. Other test runs do not collect them.

Each test opens ``page/index.html``, which runs one of the modules beside it and posts its
results. ``files`` serves the folder ``page``.
"""

import asyncio
import contextlib
import shutil
import tempfile
import wave
from pathlib import Path

import pytest

import aioluahttp as http

PAGE = Path(__file__).parent / 'page'
NAMES = ('chromium', 'chromium-browser', 'google-chrome')
CHROMIUM = next(filter(None, map(shutil.which, NAMES)), None)
FLAGS = (
    *('--headless', '--no-sandbox', '--disable-gpu', '--disable-quic', '--no-first-run'),
    *('--disable-background-networking', '--disable-component-update', '--disable-sync'),
)
TONE = '/tone.wav'
PATIENCE = 45  # seconds for a page, which takes one or two

pytestmark = pytest.mark.skipif(CHROMIUM is None, reason=f'none of {", ".join(NAMES)} is installed')


@contextlib.asynccontextmanager
async def browser(url):
    """Show a page in the browser until the block ends."""
    quiet = asyncio.subprocess.DEVNULL
    with tempfile.TemporaryDirectory(ignore_cleanup_errors=True) as profile:
        flags = (*FLAGS, f'--user-data-dir={profile}')
        process = await asyncio.create_subprocess_exec(
            CHROMIUM, *flags, url, stdout=quiet, stderr=quiet
        )
        try:
            yield
        finally:
            process.terminate()
            await process.wait()


class Site:
    """Serves the pages and the handler under test, and records requests and results."""

    def __init__(self, handler):
        self.handler, self.static = handler, http.files(PAGE)
        self.log = []  # path, headers, and status of the response, for each request
        self.mistakes = []
        self.found = asyncio.Future()

    async def __call__(self, request):
        """Take the results of the page; otherwise call the handler, or serve a file."""
        if request.path == '/found':
            self.found.set_result(request.json())
            return {'status': 204}
        return await self.handler(request) or await self.static(request)

    def note(self, request, response):
        self.log.append((request.path, request.headers, response.status))

    def told(self, error, request):
        self.mistakes.append(error)

    async def check(self, name, **options):
        """Open the page with one of its modules, and return the results."""
        options |= {'on_error': self.told, 'access_log': self.note}
        async with (
            http.listen('127.0.0.1', 0, self, **options) as server,
            browser(f'{server.url}/index.html?{name}'),
            asyncio.timeout(PATIENCE),
        ):
            return await self.found


async def test_files_are_shown_played_and_cached(tmp_path):
    """The media types of files are right; the browser uses ranges and conditional requests."""
    tone = tmp_path / 'tone.wav'
    with wave.open(str(tone), 'wb') as sound:
        sound.setparams((1, 2, 44_100, 0, 'NONE', ''))
        sound.writeframes(bytes(2 * 44_100 * 120))

    async def handler(request):
        if request.path == TONE:
            return {'status': 200, 'body': tone}

    site = Site(handler)
    assert {
        'color': 'rgb(1, 2, 3)',
        'image': [30, 20],
        'seconds': 120,
        'part': [206, '{ col'],
        'again': [200, (PAGE / 'square.svg').stat().st_size],
        'missing': 404,
    } == await site.check('files')
    parts = {head['Range'] for path, head, status in site.log if (path, status) == (TONE, 206)}
    assert 'bytes=0-' in parts
    assert len(parts) > 1
    assert 304 in [status for path, _, status in site.log if path == '/square.svg']
    assert [] == site.mistakes


async def test_events_continue_after_the_last_id():
    """The browser reconnects after ``retry`` with the last id, until it gets a 204."""
    tick = {'event': 'tick', 'data': 'one\ntwo\n', 'id': 'é1'}
    parts = {
        None: [{'retry': 10}, tick, {}, {'data': ''}],
        'é1': [{'data': 'three', 'id': '2'}, {'data': 'four'}],
    }

    async def handler(request):
        if request.path == '/events':
            events = parts.get(request.headers.get('Last-Event-ID'))
            return {'status': 200, 'events': iter(events)} if events else {'status': 204}

    site = Site(handler)
    assert [
        ['tick', 'one\ntwo\n', 'é1'],
        ['message', '', 'é1'],
        ['error', 0],
        ['message', 'three', '2'],
        ['message', 'four', '2'],
        ['error', 0],
        ['error', 2],
    ] == (await site.check('events'))['seen']
    asked = [head.get('Last-Event-ID') for path, head, _ in site.log if path == '/events']
    assert [None, 'é1', '2'] == asked
    assert [] == site.mistakes


async def test_websockets_exchange_messages_and_close():
    """Compressed text and bytes; each side gets the close of the other; other origins get a 403."""
    ended = []

    async def echo(socket):
        async for message in socket:
            await socket.send(message)
        ended.append((socket.code, socket.reason))

    async def leave(socket):
        await socket.close(4000, 'that is all')

    async def handler(request):
        match request.path:
            case '/echo':
                return {'websocket': {'callback': echo, 'protocols': ['v1', 'v2']}}
            case '/small':
                return {'websocket': {'callback': anext, 'max_message': 1000}}
            case '/leave':
                return {'websocket': leave}

    site = Site(handler)
    assert {
        'same': [True] * 6,
        'protocol': 'v2',
        'extensions': 'permessage-deflate',
        'ours': [4001, 'schön', True],
        'theirs': [4000, 'that is all', True],
        'large': [1009, '', True],
        'foreign': [1006, '', False],
    } == await site.check('sockets')
    assert [(4001, 'schön')] == ended
    assert [403] == [status for path, _, status in site.log if status >= 400]
    assert [] == site.mistakes


def shown(value):
    """Return a field as it is, and name, type and length of a file."""
    if isinstance(value, str):
        return value
    return [value['filename'], value['content_type'], len(value['body'])]


@pytest.mark.parametrize('into', ['text', 'stream'])
async def test_forms_keep_their_fields_and_files(into):
    """Fields and files of forms sent by ``fetch``, and of a form that the page submits."""

    async def handler(request):
        if request.path == '/form':
            form = await request.form()
            return {'status': 200, 'json': [[name, shown(one)] for name, one in form.items()]}

    site = Site(handler)
    assert {
        'multipart': [
            ['name', 'Grüße\r\n'],
            ['a "quoted" name', '1'],
            ['a "quoted" name', '2'],
            ['empty', ['', 'application/octet-stream', 0]],
            ['photo', ['größe "1".png', 'image/png', 3_000_000]],
        ],
        'urlencoded': [['q', 'ä &+'], ['q', '']],
        'submitted': [['_charset_', 'UTF-8'], ['q', 'ä']],
    } == await site.check('forms', into=lambda r: into if r.path == '/form' else 'text')
    assert [] == site.mistakes


async def test_chunks_arrive_when_they_are_sent():
    """A chunk does not wait for the next; a body that the page cancels is closed."""
    read, left = asyncio.Event(), asyncio.Event()

    async def chunks():
        for chunk in ('one', 'two', 'drei ß'):
            yield chunk
            await read.wait()
            read.clear()

    async def endless():
        try:
            while True:
                async for chunk in chunks():
                    yield chunk
        finally:
            left.set()

    async def handler(request):
        match request.path:
            case '/read':
                read.set()
                return {'status': 204}
            case '/chunks':
                return {'status': 200, 'body': chunks()}
            case '/endless':
                return {'status': 200, 'body': endless()}

    site = Site(handler)
    found = {'chunks': ['one', 'two', 'drei ß'], 'left': ['one', 'two']}
    assert found == await site.check('streams')
    await left.wait()
    assert [] == site.mistakes
