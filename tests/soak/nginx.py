"""Load on the client, through a faulty network to nginx, and on the server behind nginx."""

from __future__ import annotations

import argparse
import asyncio
import itertools
import secrets
import sys
import tempfile
import time
from collections import Counter
from collections.abc import Awaitable, Callable, Sequence
from pathlib import Path
from random import Random
from typing import Any

import aioluahttp as http
from faults import FaultyProxy, faulty_proxy
from leaks import check_descriptors, check_tasks, descriptors
from listener import MAX_BODY, Address, Listener, free_port
from logged import watch
from origin import find_nginx, make_files, nginx
from rude import PROXIED, raw_client
from subject import PROVOKED
from tally import Tally
from traffic import Asking, Send, compose

CLIENTS = 32
RAW = 8
HEALTHY = 100  # requests that must all succeed after the faults have ended
NEW = 3  # connections that those may open, one after the other, with a working pool
PATIENCE = 10.0  # seconds: longer than any delay of the proxy, except for a file in tiny segments
ALWAYS = ('wrong responses', 'leaked tasks', 'leaked file descriptors', 'unexpected failures')

Files = dict[str, bytes]
SEND: Send = http.request  # untyped: no TypedDict describes random tables


async def for_a_while(seconds: float, works: Sequence[Callable[[], Awaitable[None]]]) -> None:
    """Repeat each of these for some seconds, all at the same time."""
    until = time.monotonic() + seconds

    async def again(work: Callable[[], Awaitable[None]]) -> None:
        while time.monotonic() < until:
            await work()

    async with asyncio.TaskGroup() as group:
        for work in works:
            group.create_task(again(work))


def file_request(random: Random, files: Files) -> tuple[dict[str, Any], int, bytes]:
    """Return a random request for a file, and the status and body of its response."""
    name = random.choice(list(files))
    table = {'path': f'/{name}', 'into': random.choice(('text', 'bytes')), 'timeout': PATIENCE}
    draw, data = random.random(), files[name]
    if draw < 0.1:
        return table | {'method': 'HEAD'}, 200, b''
    if draw < 0.2 and len(data) > 100:
        first = random.randrange(len(data) - 1)
        last = random.randrange(first, len(data))
        span = {'headers': {'Range': f'bytes={first}-{last}', 'Accept-Encoding': 'identity'}}
        return table | span, 206, data[first : last + 1]
    if draw < 0.25:
        return {**table, 'path': f'/none/{name}'}, 404, b''
    return table, 200, data


async def ask_file(tally: Tally, random: Random, files: Files, port: int, *, harmed: bool) -> None:
    """Request a file, and compare the response with its content."""
    table, status, data = file_request(random, files)
    tally.requests += 1
    try:
        response = await SEND({**table, 'host': '127.0.0.1', 'port': port})
    except http.Error as error:
        tally.failure(error)
        if isinstance(error, http.TableError) or not harmed:
            tally.fault('unexpected failures', f'{table}: {error!r} from {error.__cause__!r}')
    except Exception as error:
        tally.failure(error)
        tally.fault('unexpected exceptions', f'{table}: {error!r}')
    else:
        tally.statuses[response.status] += 1
        body = b'' if status == 404 else response.bytes()  # an error page of nginx
        if (response.status, body) != (status, data):
            what = f'{response.status}, {len(body)} bytes: {body[:60]!r}'
            tally.fault('wrong responses', f'{table} must get {status}, {len(data)} bytes: {what}')


async def harmed_client(
    tally: Tally, seconds: float, random: Random, files: Files, port: int
) -> None:
    """Request files through the faulty proxy, then check that the pool works again."""
    async with faulty_proxy(port, random) as proxy:

        async def ask() -> None:
            await ask_file(tally, random, files, proxy.port, harmed=True)

        await for_a_while(seconds, [ask] * CLIENTS)
        tally.events.update(proxy.done)
        await check_pool(tally, random, files, proxy)


async def check_pool(tally: Tally, random: Random, files: Files, proxy: FaultyProxy) -> None:
    """Send requests without faults, at once and then in sequence; those must reuse connections."""
    proxy.harmful = False
    asked = (ask_file(tally, random, files, proxy.port, harmed=False) for _ in range(HEALTHY))
    await asyncio.gather(*asked)
    before = proxy.connections
    for _ in range(HEALTHY):
        await ask_file(tally, random, files, proxy.port, harmed=False)
    new = proxy.connections - before
    tally.note(f'{HEALTHY} requests at the end took {new} new connections')
    if new > NEW:
        tally.fault('unhealthy pools', f'{new} new connections for {HEALTHY} requests in a row')


async def fronted_server(tally: Tally, seconds: float, random: Random, ports: Any) -> None:
    """Send requests to our server through nginx, which keeps connections to it alive."""
    at = {'host': '127.0.0.1', 'port': ports['front']}
    front = Address('nginx', at, at)
    inside = {'host': '127.0.0.1', 'port': ports['ours']}
    server = Listener('ours', inside, inside, tally, {})
    asking, numbers = Asking(tally), itertools.count()

    def token() -> str:
        return f't{next(numbers):x}z'

    def raw_token() -> str:
        tally.requests += 1
        return token()

    async def ask() -> None:
        await asking(compose(random, token(), front.table, MAX_BODY), http.request)

    async def raw() -> None:
        await raw_client(tally, random, raw_token, front, PROXIED)

    await server.start()
    try:
        await for_a_while(seconds, [ask] * CLIENTS + [raw] * RAW)
    finally:
        await server.close()


def errors_of(folder: Path) -> Counter[str]:
    """Count the messages that nginx logged about its upstream, without their details."""
    lines = (folder / 'error.log').read_text('utf-8', 'replace').splitlines()
    upstream = [line.split('*', 1)[-1].partition(' ')[2] for line in lines if 'upstream' in line]
    return Counter(line.partition(',')[0] for line in upstream)


async def both(program: str, seconds: float, seed: int, tallies: list[Tally]) -> None:
    """Run the two loads, one after the other."""
    with tempfile.TemporaryDirectory() as name:
        folder = Path(name)
        files = make_files(folder / 'files')
        ports = {'files': free_port()}
        ports['front'] = free_port(ports['files'] + 1)
        ports['ours'] = free_port(ports['front'] + 1)
        random = Random(seed)
        async with nginx(program, folder, ports):
            await harmed_client(tallies[0], seconds / 2, random, files, ports['files'])
            await check_tasks(tallies[0])
            await fronted_server(tallies[1], seconds / 2, random, ports)
            await check_tasks(tallies[1])
        for what, number in errors_of(folder).most_common():
            tallies[1].note(f'logged by nginx: {number} times {what}')


def arguments() -> argparse.Namespace:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument('--seconds', type=float, default=30.0, help='of both loads together')
    parser.add_argument('--seed', type=int, default=None, help='seed of a run to repeat')
    return parser.parse_args()


def main() -> int:
    """Run the program, and return its exit code; without nginx it does nothing."""
    given = arguments()
    program = find_nginx()
    if program is None:
        print('skipped: nginx is not installed')
        return 0
    seed = secrets.randbelow(10**6) if given.seed is None else given.seed
    harmed, fronted = tallies = [Tally(), Tally()]
    watch(fronted, PROVOKED)
    before = descriptors()
    asyncio.run(both(program, given.seconds, seed, tallies))
    check_descriptors(fronted, before)
    print('the client against nginx, through a faulty proxy')
    failed = harmed.report(ALWAYS)
    print('\nnginx in front of the server')
    failed |= fronted.report(ALWAYS)
    print(f'\nseed: {seed}')
    return failed


if __name__ == '__main__':
    sys.exit(main())
