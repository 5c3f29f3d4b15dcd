"""`request` without a client: each event loop has one, and closes it."""

import asyncio
import gc
import importlib.util
import os
import sys
import threading
import warnings
import weakref

import pytest

import aioluahttp as http
from aioluahttp.client import per_loop

OK = b'HTTP/1.1 200 OK\r\nContent-Length: 2\r\n\r\nhi'

# A program that fails if anything is left open: development mode, warnings as errors.
PRELUDE = """
import asyncio, logging, os, sys, threading
import aioluahttp as http

logging.getLogger('asyncio').setLevel(logging.ERROR)  # no messages about slow callbacks
CA, *URLS = sys.argv[1:]

async def send(path='/'):
    for url in URLS:
        response = await http.request(url=url + path, tls={'ca': CA})
        assert (200, 'hi') == (response.status, response.body)
"""

LATE = """
async def sending(many):
    try:
        yield
    finally:
        for _ in range(many):
            await send()
        print('late')

async def leave(made):
    if made:
        await send()
    global kept
    kept = [sending(2), sending(1)]  # still open when the loop closes its generators
    for generator in kept:
        await anext(generator)
"""

FORK_IN_LOOP = """
async def main():
    await send()
    child = os.fork()
    if not child:
        asyncio.run(send())
        os._exit(0)
    assert 0 == os.waitstatus_to_exitcode(os.waitpid(child, 0)[1])
    await send()

asyncio.run(main())
"""

# The child closes the loop of its parent; inside that loop it could not from Python 3.14 on.
FORK = """
with asyncio.Runner() as runner:
    runner.run(send())
    child = os.fork()
    if not child:
        asyncio.run(send())
        sys.exit(0)
    assert 0 == os.waitstatus_to_exitcode(os.waitpid(child, 0)[1])
    runner.run(send())
"""

needs_uvloop = pytest.mark.skipif(not importlib.util.find_spec('uvloop'), reason='needs uvloop')
needs_fork = pytest.mark.skipif(not hasattr(os, 'fork'), reason='needs fork')


async def outcome(program, certificates, *peers):
    """Run a program against servers; return its exit status, output and errors."""
    # CPython 3.11 crashes where coverage traces uvloop in debug mode.
    mode = () if 'uvloop' in program else ('-X', 'dev')
    process = await asyncio.create_subprocess_exec(
        *(sys.executable, *mode, '-W', 'error', '-c', PRELUDE + program),
        certificates.ca,
        *(peer.url.replace('localhost', '127.0.0.1') for peer in peers),
        stdout=asyncio.subprocess.PIPE,
        stderr=asyncio.subprocess.PIPE,
    )
    try:
        output, errors = await process.communicate()
    finally:
        if process.returncode is None:
            process.kill()
    return process.returncode, output.decode().split(), errors.decode()


@pytest.mark.parametrize(
    ('program', 'output', 'connections'),
    [
        ('asyncio.run(send())', [], 1),
        ('for _ in range(3): asyncio.run(send())', [], 3),
        ('with asyncio.Runner() as runner:\n  for _ in range(3): runner.run(send())', [], 1),
        pytest.param('import uvloop; uvloop.run(send())', [], 1, marks=needs_uvloop),
        (
            'async def many():\n  await asyncio.gather(*(send() for _ in range(5)))\n'
            'asyncio.run(many())',
            [],
            5,
        ),
        (
            'threads = [threading.Thread(target=asyncio.run, args=[send()]) for _ in range(4)]\n'
            'for thread in threads: thread.start()\n'
            'for thread in threads: thread.join()',
            [],
            4,
        ),
        # A generator that sends while the loop shuts down: the client exists, or was never made.
        (LATE + 'asyncio.run(leave(True))', ['late'] * 2, None),
        (LATE + 'asyncio.run(leave(False))', ['late'] * 2, None),
        pytest.param(
            LATE + 'import uvloop; uvloop.run(leave(True))', ['late'] * 2, None, marks=needs_uvloop
        ),
        pytest.param(
            LATE + 'import uvloop; uvloop.run(leave(False))', ['late'] * 2, None, marks=needs_uvloop
        ),
        # Both processes go on, each over its own connection, whichever way the child exits.
        pytest.param(FORK_IN_LOOP, [], 2, marks=needs_fork),
        pytest.param(FORK, [], 2, marks=needs_fork),
        (
            'async def main():\n  task = asyncio.create_task(send())\n'
            '  await asyncio.sleep(0); raise SystemExit(0)\nasyncio.run(main())',
            [],
            None,
        ),
    ],
)
async def test_a_loop_closes_its_client_without_warnings(
    raw_server, certificates, program, output, connections
):
    """Nothing is printed on stderr; until then connections are kept."""
    async with raw_server(OK) as plain, raw_server(OK, tls=certificates.server) as secure:
        assert (0, output, '') == await outcome(program, certificates, plain, secure)
    if connections:
        assert (connections, connections) == (plain.connections, secure.connections)


LEAVING = """
async def main():
    loop = asyncio.get_running_loop()
    async with http.Client(base_url=URLS[0]) as control:
        slow = [asyncio.create_task(send('/slow')) for _ in range(2)]
        await control.request(url='/asked')
        closing = asyncio.create_task(loop.shutdown_asyncgens())
        while not http.client.per_loop._kept[loop].closing:
            await asyncio.sleep(0)
        await send()
        assert not closing.done()
        await control.request(url='/release')
        await asyncio.gather(*slow, closing)
        await send()

asyncio.run(main())
"""


async def test_a_request_in_progress_keeps_the_client_open(raw_server, certificates):
    """A loop that shuts down waits for it; requests sent meanwhile get their own clients."""
    asked, released = asyncio.Semaphore(0), asyncio.Event()

    async def handler(line):
        while True:
            match (await line.request()).line.split()[1]:
                case '/slow':
                    asked.release()
                    await released.wait()
                case '/asked':
                    for _ in range(2):
                        await asked.acquire()
                case '/release':
                    released.set()
            await line.send(OK)

    async with raw_server(handler) as peer:
        program = 'import aioluahttp.client.per_loop\n' + LEAVING
        assert (0, [], '') == await outcome(program, certificates, peer)
    assert (6, 5) == (len(peer.requests), peer.connections)


async def test_a_loop_has_one_client(raw_server):
    """Requests share its connections; cookies are not kept."""
    raw = OK.replace(b'Content', b'Set-Cookie: a=b\r\nContent', 1)
    async with raw_server(raw) as peer:
        await http.request({'url': peer.url})
        await http.request({'url': peer.url}, method='POST')
        assert 'hi' == (await http.request(http.to_request(url=peer.url))).body
    assert (1, [[], [], []]) == (peer.connections, [one.values('Cookie') for one in peer.requests])


async def test_an_error_does_not_close_the_client(raw_server):
    """The next request is sent over the same connection."""
    async with raw_server(OK) as peer:
        await http.request(url=peer.url)
        for wrong in ({'url': peer.url, 'check': ()}, {'timeout': 0}, {'url': 'http://a.invalid'}):
            with pytest.raises(http.Error) as caught:
                await http.request(wrong)
            assert wrong == caught.value.request
        await http.request(url=peer.url)
    assert 1 == peer.connections


def test_a_closed_loop_is_freed(raw_server):
    """The first request of the next loop frees it, though its client refers to it."""

    async def main():
        async with raw_server(OK) as peer:
            await http.request(url=peer.url)
        return weakref.ref(asyncio.get_running_loop())

    first, second = asyncio.run(main()), asyncio.run(main())
    gc.collect()
    assert (True, False) == (first() is None, second() is None)


def test_loops_in_threads_do_not_change_the_warning_filters():
    """Finding out whether a loop shuts down changes them briefly, one thread at a time."""

    async def main():
        with pytest.raises(http.TableError):
            await http.request()

    def loops():
        for _ in range(50):
            asyncio.run(main())

    before, interval = list(warnings.filters), sys.getswitchinterval()
    threads = [threading.Thread(target=loops) for _ in range(4)]
    sys.setswitchinterval(1e-6)
    try:
        for thread in threads:
            thread.start()
        for thread in threads:
            thread.join()
    finally:
        sys.setswitchinterval(interval)
    assert before == list(warnings.filters)


async def test_a_websocket_needs_no_client():
    """It has a connection of its own, which is closed at the end of the block."""

    async def hello(socket):
        await socket.send('hello')

    async with (
        http.listen('127.0.0.1', 0, lambda request: {'websocket': hello}) as server,
        http.websocket(url=server.url) as socket,
    ):
        assert ['hello'] == [message async for message in socket]


async def test_forwarded_requests_do_not_use_up_the_connection_limit(raw_server):
    """They have their own connections, without a limit."""
    incomplete = b'HTTP/1.1 200 OK\r\nContent-Length: 1\r\n\r\n'
    async with raw_server(incomplete) as peer:
        request = http.to_request(url=peer.url, into='raw', timeout=9)
        forwarding = [asyncio.create_task(per_loop.pass_on(request, None)) for _ in range(101)]
        responses = await asyncio.gather(*forwarding)
        assert '' == (await http.request(url=peer.url, method='HEAD')).body
        for response in responses:
            await response.body.close()


def test_forwarding_raises_once_the_loop_shuts_down():
    """Nothing would close the connections that it made."""
    raised = []

    async def late():
        try:
            yield
        finally:
            try:
                await per_loop.pass_on(http.to_request(url='http://127.0.0.1:1', into='raw'), None)
            except http.ConnectError as error:
                raised.append(str(error))

    async def main():
        generator = late()
        await anext(generator)
        return generator  # so that the loop closes it

    with asyncio.Runner() as runner:
        generator = runner.run(main())
    assert ['the event loop is shutting down'] == raised
    del generator
