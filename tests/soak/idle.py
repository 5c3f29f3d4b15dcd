"""Check that idle connections and slow heads do not slow down others, and slow heads time out.

The server runs in a process of its own; all clients run in this one.
"""

from __future__ import annotations

import argparse
import asyncio
import contextlib
import multiprocessing
import resource
import socket
import statistics
import sys
import time
from collections.abc import Sequence
from multiprocessing.connection import Connection

import aioluahttp as http
from tally import Tally

SPARE = 200  # file descriptors for other uses than connections
SOURCES = 8  # source addresses of clients: each has 28 000 ports
RATIO = 3.0
SLACK = 5.0  # seconds that a slow client may stay connected beyond head_timeout
KEPT = 3600.0  # keepalive_timeout in seconds: no idle connection may be closed
MEASURED = 5.0  # seconds for which the normal client sends requests


def serve(pipe: Connection, head_timeout: float) -> None:
    """Run the server until the pipe is closed."""

    async def echo_path(request: http.Request) -> http.ResponseTable:
        return {'status': 200, 'body': request.path}

    async def main() -> None:
        listening = http.listen(
            '127.0.0.1',
            0,
            echo_path,
            keepalive_timeout=KEPT,
            head_timeout=head_timeout,
            backlog=1024,
        )
        async with listening as server:
            pipe.send(server.port)
            with contextlib.suppress(EOFError):
                await asyncio.to_thread(pipe.recv)

    asyncio.run(main())


def idle_connections(port: int, number: int) -> list[socket.socket]:
    """Open connections, each of which sends one request and then stays open."""
    opened = []
    for n in range(number):
        source = (f'127.0.0.{2 + n % SOURCES}', 0)
        client = socket.create_connection(('127.0.0.1', port), 10, source)
        client.sendall(b'GET /idle HTTP/1.1\r\nHost: h\r\n\r\n')
        if not client.recv(4096).endswith(b'/idle'):
            raise ConnectionError(f'idle connection {n} got no response')
        client.setblocking(False)
        opened.append(client)
    return opened


def alive(client: socket.socket) -> bool:
    """Return whether an idle connection is still open."""
    try:
        client.recv(1, socket.MSG_PEEK)  # end of input, or unexpected data
    except BlockingIOError:
        return True
    except OSError:
        pass
    return False


async def slowloris(port: int, pause: float, kept: bool) -> float:
    """Send the first line of a head, then single bytes; return how long the connection lived.

    Args:
        port: Port of the server.
        pause: Seconds between two bytes.
        kept: Whether it first sends a complete request on the same connection.
    """
    reader, writer = await asyncio.open_connection('127.0.0.1', port)
    if kept:
        writer.write(b'GET /kept HTTP/1.1\r\nHost: h\r\n\r\n')
        await reader.readuntil(b'/kept')
    began = time.monotonic()
    writer.write(b'GET / HTTP/1.1\r\nX-Slow: ')

    async def drip() -> None:
        while True:
            await asyncio.sleep(pause)
            writer.write(b'a')

    dripping = asyncio.create_task(drip())
    try:
        with contextlib.suppress(OSError):
            await reader.read()
        return time.monotonic() - began
    finally:
        dripping.cancel()
        writer.transport.abort()
        with contextlib.suppress(OSError):
            await writer.wait_closed()


async def median(port: int, tally: Tally, seconds: float) -> float:
    """Send requests one after the other for some seconds, and return their median time."""
    times, until = [], time.monotonic() + seconds
    while time.monotonic() < until:
        path, began = f'/{tally.requests}', time.perf_counter()
        response = await http.request(host='127.0.0.1', port=port, path=path)
        times.append(time.perf_counter() - began)
        tally.requests += 1
        tally.statuses[response.status] += 1
        if response.body != path:
            tally.fault('wrong responses', f'{path} got {response.body!r}')
    return statistics.median(times)


async def slow_clients_end(
    slow: Sequence[asyncio.Task[float]], tally: Tally, head_timeout: float
) -> None:
    """Wait until the server has closed the slow clients, and count those left open as faults."""
    gone, left = await asyncio.wait(slow, timeout=head_timeout + SLACK)
    if lives := [task.result() for task in gone]:
        tally.note(f'slowloris clients gone after {min(lives):.1f} to {max(lives):.1f} s')
        for life in lives:
            if life > head_timeout + SLACK:
                tally.fault('slowloris clients left', f'one lived {life:.1f} s')
    for task in left:
        tally.fault('slowloris clients left', f'one outlived {head_timeout + SLACK:.1f} s')
        task.cancel()
    await asyncio.gather(*left, return_exceptions=True)


async def compare(given: argparse.Namespace, port: int, tally: Tally) -> None:
    """Measure the normal client alone, then together with the others."""
    alone = await median(port, tally, given.seconds)
    began = time.monotonic()
    idle = await asyncio.to_thread(idle_connections, port, given.idle)
    tally.note(f'{len(idle)} idle connections made in {time.monotonic() - began:.1f} s')
    pause = min(1.0, given.head_timeout / 4)
    slow = [asyncio.create_task(slowloris(port, pause, n % 2 == 0)) for n in range(given.slow)]
    await asyncio.sleep(pause)
    beside = await median(port, tally, min(given.seconds, given.head_timeout - 2 * pause))
    if any(task.done() for task in slow):
        tally.fault('slowloris clients gone early', 'before the measurement ended')
    tally.note(f'median alone {alone * 1e6:.0f} µs, with the others {beside * 1e6:.0f} µs')
    tally.note(f'ratio: {beside / alone:.2f}')
    if beside / alone > RATIO:
        tally.fault('slowed down', f'by {beside / alone:.2f}, more than {RATIO}')

    if slow:
        await slow_clients_end(slow, tally, given.head_timeout)
    for client in idle:
        if not alive(client):
            tally.fault('idle connections closed', 'before keepalive_timeout')
        client.close()


def arguments() -> argparse.Namespace:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument('--idle', type=int, default=10_000, help='idle keep-alive connections')
    parser.add_argument('--slow', type=int, default=200, help='clients that never finish a head')
    parser.add_argument('--seconds', type=float, default=MEASURED, help='length of a measurement')
    parser.add_argument('--head-timeout', type=float, default=8.0, help='of the server, in seconds')
    return parser.parse_args()


def main() -> int:
    """Run the program, and return its exit code."""
    given = arguments()
    needed = given.idle + given.slow + SPARE
    _, hard = resource.getrlimit(resource.RLIMIT_NOFILE)
    if hard != resource.RLIM_INFINITY and hard < needed:
        sys.exit(f'{needed} file descriptors are needed, and the hard limit is {hard}: ulimit -Hn')
    resource.setrlimit(resource.RLIMIT_NOFILE, (needed, hard))  # the child inherits it
    tally = Tally()
    ours, theirs = multiprocessing.Pipe()
    child = multiprocessing.get_context('spawn').Process(
        target=serve, args=(theirs, given.head_timeout)
    )
    child.start()
    theirs.close()
    try:
        asyncio.run(compare(given, ours.recv(), tally))
    finally:
        ours.close()
        child.join(30)
    if child.exitcode != 0:
        tally.fault('server', f'ended with {child.exitcode}')
        child.kill()
    return tally.report()


if __name__ == '__main__':
    sys.exit(main())
