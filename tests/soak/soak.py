"""Mixed load of the client on the server, both in this process: ``nox -s soak``."""

from __future__ import annotations

import argparse
import asyncio
import contextlib
import itertools
import secrets
import ssl
import sys
import tempfile
import time
from collections.abc import Awaitable, Callable
from dataclasses import replace
from random import Random

import trustme

import aioluahttp as http
from leaks import check_descriptors, check_memory, check_tasks, descriptors, resident
from listener import MAX_BODY, Listener, listeners
from logged import watch
from rude import raw_client
from subject import PROVOKED
from tally import Tally
from traffic import Asking, compose

ASKING = 48  # simultaneous clients that use the library
RAW = 12  # simultaneous raw clients
DRAINING = 30.0  # seconds in which all started work must end
HASTY = 0.03  # share of clients that are closed early
REFUSED = 0.05  # seconds until a client tries again if a server is down
GROWTH = 0.05  # growth of resident memory that is a fault
ALWAYS = (
    'wrong responses',
    'leaked tasks',
    'leaked file descriptors',
    'unexpected failures',
    'unprovoked log records',
)


class Load:
    """Clients that send requests for some time, and servers that are restarted."""

    def __init__(self, tally: Tally, seed: int, served: list[Listener]) -> None:
        self.tally, self.seed, self.served = tally, seed, served
        self.numbers = itertools.count()

    def token(self) -> str:
        """Return a token that no other request has."""
        self.tally.requests += 1
        return f't{next(self.numbers):x}z'

    async def asks(self, random: Random) -> None:
        """Run one user of the library, with ``http.request`` or with a short-lived ``Client``."""
        listener = random.choice(self.served)
        if random.random() < HASTY:
            return await self.closes_early(random, listener)
        asking = Asking(self.tally, listener.disturbed, listener.promises)
        async with contextlib.AsyncExitStack() as stack:
            send = http.request
            if random.random() < 0.1:
                send = (await stack.enter_async_context(http.Client(limit=4))).request
            for _ in range(random.randint(1, 20)):
                ask = compose(random, f't{next(self.numbers):x}z', listener.table, MAX_BODY)
                await asking(ask, send)
                if listener.down:
                    await asyncio.sleep(REFUSED)

    async def closes_early(self, random: Random, listener: Listener) -> None:
        """Close a client while requests run: each must get a response or fail immediately."""
        asking = Asking(self.tally, listener.disturbed)
        client = http.Client(limit=random.choice((1, 8)))
        tasks = []
        for _ in range(4):
            ask = compose(random, f't{next(self.numbers):x}z', listener.table, MAX_BODY)
            errors = (*ask.errors, http.ConnectError, http.ProtocolError)
            ask = replace(ask, cancel=None, errors=errors)
            tasks.append(asyncio.create_task(asking(ask, client.request)))
        try:
            await asyncio.sleep(random.expovariate(50))
            await client.close()
            await asyncio.wait(tasks)
        finally:
            for task in tasks:
                if task.done() and task.cancelled():
                    self.tally.fault('requests cancelled by nobody', 'when their client was closed')
                task.cancel()
        self.tally.events['clients closed early'] += 1

    async def raw(self, random: Random) -> None:
        """Run one raw client."""
        listener = random.choice(self.served)
        await raw_client(self.tally, random, self.token, listener)
        if listener.down:
            await asyncio.sleep(REFUSED)

    async def run(self, seconds: float, phase: int) -> None:
        """Run the load for some seconds, and wait until it has ended."""
        until = time.monotonic() + seconds

        async def again(work: Callable[[Random], Awaitable[None]], random: Random) -> None:
            while time.monotonic() < until:
                try:
                    await work(random)
                except Exception as error:  # the load must go on
                    self.tally.fault('unexpected exceptions', f'in the load: {error!r}')

        roles = (self.asks,) * ASKING + (self.raw,) * RAW
        workers = [
            asyncio.create_task(again(role, Random(f'{self.seed} {phase} {number}')))
            for number, role in enumerate(roles)
        ]
        restarts = [
            asyncio.create_task(one.restarts(Random(f'{self.seed} {phase} {one.name}')))
            for one in self.served
        ]
        _, hung = await asyncio.wait(workers, timeout=seconds + DRAINING)
        for task in hung:
            self.tally.fault('hung clients', repr(task))
        for task in (*hung, *restarts):
            task.cancel()
        results = await asyncio.gather(*workers, *restarts, return_exceptions=True)
        for error in results:
            if isinstance(error, Exception):
                self.tally.fault('unexpected exceptions', f'in the load: {error!r}')


async def soak(tally: Tally, seconds: float, seed: int) -> None:
    """Run the load in two parts, and check tasks and memory after each."""
    authority = trustme.CA()
    context = ssl.create_default_context(ssl.Purpose.CLIENT_AUTH)
    authority.issue_cert('127.0.0.1').configure_cert(context)
    warming = 60.0 if seconds >= 120 else seconds / 3
    with tempfile.TemporaryDirectory() as folder:
        authority.cert_pem.write_to_path(f'{folder}/ca.pem')
        served = listeners(tally, folder, f'{folder}/ca.pem', context)
        load, sizes = Load(tally, seed, served), []
        for phase, part in enumerate((warming, seconds - warming)):
            for listener in served:
                await listener.start()
            began = time.monotonic()
            await load.run(part, phase)
            tally.note(f'part {phase + 1}: {time.monotonic() - began:.1f} s')
            for listener in served:
                await listener.close()
            await check_tasks(tally)
            sizes.append(await resident())
        check_memory(tally, sizes, GROWTH)


def arguments() -> argparse.Namespace:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument('--minutes', type=float, default=1.0)
    parser.add_argument('--seed', type=int, default=None, help='seed of a run to repeat')
    parser.add_argument('--loop', choices=('asyncio', 'uvloop'), default='asyncio')
    return parser.parse_args()


def main() -> int:
    """Run the program, and return its exit code."""
    given = arguments()
    seed = secrets.randbelow(10**6) if given.seed is None else given.seed
    tally = Tally()
    watch(tally, PROVOKED)
    factory = None
    if given.loop == 'uvloop':
        import uvloop

        factory = uvloop.new_event_loop
    with asyncio.Runner(loop_factory=factory) as runner:
        runner.run(asyncio.sleep(0))  # libuv opens a pipe for signals once, and keeps it open
    before = descriptors()
    with asyncio.Runner(loop_factory=factory) as runner:
        runner.run(soak(tally, given.minutes * 60, seed))
    check_descriptors(tally, before)
    tally.note(f'seed: {seed}')
    return tally.report(ALWAYS)


if __name__ == '__main__':
    sys.exit(main())
