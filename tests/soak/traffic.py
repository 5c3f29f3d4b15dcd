"""Random requests for the client of the library, each with the response that it must get."""

from __future__ import annotations

import asyncio
import gzip
import time
from collections.abc import Awaitable, Callable
from dataclasses import dataclass, replace
from random import Random
from typing import Any

import aioluahttp as http
from subject import MISTAKES, PROVOKED, filler
from tally import Tally

__all__ = ['Ask', 'Asking', 'Send', 'compose']

Send = Callable[..., Awaitable[http.Response[Any]]]

PATIENCE = 15.0  # seconds: longer than any response takes, so that a timeout is a fault
BODILESS = (204, 205, 304)
STATUSES = (200, 201, 400, 404, 409, 500, 503, 599, *BODILESS)
SIZES = (0, 1, 100, 5000, 70_000, 300_000)
LENGTHS = (100, 100, 5000, 70_000)


@dataclass(frozen=True)
class Ask:
    """A request, and the result that it must have.

    Attributes:
        status: Status of the response; None if the request must fail.
        body: Complete response body; None for a page of the server itself, without a token.
        errors: Exceptions that the request provokes: it may fail with them, and must if
            ``status`` is None.
        hops: Number of redirects that it follows.
        cancel: Seconds after which it is cancelled; None is never.
    """

    token: str
    table: dict[str, Any]
    status: int | None
    body: bytes | None
    errors: tuple[type[BaseException], ...] = ()
    hops: int = 0
    cancel: float | None = None

    def fault(self, response: http.Response[Any]) -> tuple[str, str] | None:
        """Return kind and text of what is wrong with a response; None if it is right."""
        tokens = [one['headers'].get('Token') for one in (response, *response['history'])]
        what = f'{self.table} got {response["status"]}, {response["headers"]}'
        if set(tokens) - {self.token, None}:
            return 'wrong responses', what
        if response['status'] != self.status or len(response['history']) != self.hops:
            return 'unexpected responses', what
        if self.body is None:
            return None
        if None in tokens:
            return 'wrong responses', what
        if response.bytes() != self.body:
            return 'wrong responses', f'{what}, {response.bytes()[:60]!r}'
        return None


def compose(random: Random, token: str, target: dict[str, Any], max_body: int) -> Ask:
    """Return a random request.

    Args:
        random: Source of randomness.
        token: Token of the request.
        target: Keys of a table that is sent to the server.
        max_body: The limit of the server in bytes.
    """
    draw = random.random()
    if draw < 0.03:
        return too_large(random, token, target, max_body)
    if draw < 0.06:
        table = target | {'method': 'GET', 'path': f'{PROVOKED}{token}'}
        return Ask(token, table | {'query': {'mistake': random.choice(MISTAKES)}}, 500, None)
    if draw < 0.07:
        return Ask(token, target | {'path': f'/{token}', 'query': {'wait': 30}}, 504, None)
    return obeyed(random, token, target)


def too_large(random: Random, token: str, target: dict[str, Any], max_body: int) -> Ask:
    """Return a request whose body is above the limit, plain or compressed."""
    data, headers = filler(token, max_body + random.choice((1, 1_000_000))), {}
    if random.random() < 0.5:
        data, headers = gzip.compress(data, 1), {'Content-Encoding': 'gzip'}
    table = {'method': 'POST', 'path': f'/{token}', 'body': data, 'headers': headers}
    # The server responds and closes before it has read all: the client may see only the close.
    return Ask(token, target | table, 413, None, errors=(http.ProtocolError,))


def obeyed(random: Random, token: str, target: dict[str, Any]) -> Ask:
    """Return a request that tells the handler what to respond."""
    method = random.choice(('GET', 'GET', 'GET', 'HEAD', 'POST', 'POST', 'PUT', 'DELETE'))
    size, status = random.choice(SIZES), random.choice((200, 200, 200, random.choice(STATUSES)))
    orders: dict[str, Any] = {'size': size, 'status': status}
    for order in ('gzip', 'text', 'close'):
        if random.random() < 0.1:
            orders[order] = 1
    if random.random() < 0.2:
        orders['wait'] = random.choice((0, 0.001, 0.02, 0.2))
    hops, code = redirects(random)
    if hops:
        orders |= {'hops': hops, 'code': code}

    headers, path = {'Token': token}, f'/path/{token}'
    table = target | {'method': method, 'query': orders, 'timeout': PATIENCE, 'headers': headers}
    if method in ('POST', 'PUT'):
        orders['length'] = random.choice(LENGTHS)
        table['body'] = body(random, filler(token, orders['length']), headers)
    if not hops:
        path = random.choice((path, '/header/-'))
        if table.get('body') and random.random() < 0.5:
            del headers['Token']
            path = '/body/-'
    table['path'] = path

    bodiless = method == 'HEAD' or status in BODILESS
    ask = Ask(token, table, status, b'' if bodiless else filler(token, size), hops=hops)
    return disturbed(random, ask, size)


def redirects(random: Random) -> tuple[int, int]:
    if random.random() < 0.9:
        return 0, 0
    return random.choice((1, 2, 3)), random.choice((301, 302, 303, 307, 308))


def body(random: Random, data: bytes, headers: dict[str, str]) -> str | bytes:
    if random.random() < 0.3:
        headers['Content-Encoding'] = 'gzip'
        return gzip.compress(data, 1)
    return data if random.random() < 0.5 else data.decode()


def disturbed(random: Random, ask: Ask, size: int) -> Ask:
    """Change some requests: other ``into``, short timeouts, low limits, ``check``, cancellation."""
    table = ask.table | {'into': random.choice(('text', 'bytes'))}
    ask = replace(ask, table=table)
    draw = random.random()
    if draw < 0.05:
        return replace(ask, cancel=random.expovariate(100))
    if draw < 0.07:
        late = random.choice((0.01, 0.05, {'read': 0.02}, {'connect': 0.01}))
        return replace(ask, table=table | {'timeout': late}, errors=(http.TimedOut,))
    if draw < 0.10 and size > 100 and ask.body:
        strict = table | {'max_body': size - 1}
        return replace(ask, table=strict, status=None, errors=(http.BodyTooLarge,))
    if draw < 0.13 and ask.status and ask.status >= 400:
        checked = table | {'check': True}
        return replace(ask, table=checked, status=None, errors=(http.StatusError,))
    return ask


@dataclass
class Asking:
    """Sends requests, and counts responses, failures and faults.

    Args:
        disturbed: Returns whether a request sent at that time may fail because of a restart.
        promised: Returns whether a token must get a response nevertheless.
    """

    tally: Tally
    disturbed: Callable[[float], bool] = lambda since: False
    promised: Callable[[str], bool] = lambda token: False

    async def __call__(self, ask: Ask, send: Send) -> None:
        """Send a request, and check its result."""
        self.tally.requests += 1
        began = time.monotonic()
        try:
            response = await self._sent(ask, send)
        except asyncio.CancelledError as error:
            task = asyncio.current_task()
            if ask.cancel is None or (task and task.cancelling()):
                raise
            self.tally.failure(error)
        except http.Error as error:
            self.tally.failure(error)
            self._failed(ask, error, began)
        except Exception as error:
            self.tally.failure(error)
            self.tally.fault('unexpected exceptions', f'{ask.table}: {error!r}')
        else:
            self.tally.statuses[response['status']] += 1
            if fault := ask.fault(response):
                self.tally.fault(*fault)

    async def _sent(self, ask: Ask, send: Send) -> http.Response[Any]:
        if ask.cancel is None:
            return await send(ask.table)
        task = asyncio.ensure_future(send(ask.table))
        try:
            await asyncio.wait({task}, timeout=ask.cancel)
        finally:
            task.cancel()
        return await task

    def _failed(self, ask: Ask, error: http.Error, began: float) -> None:
        if isinstance(error, http.StatusError):
            self.tally.statuses[error.response['status']] += 1
            token = error.response['headers'].get('Token')
            if token != ask.token:
                self.tally.fault('wrong responses', f'{ask.table} got {error.response["headers"]}')
        if isinstance(error, ask.errors):
            return
        what = f'{ask.table}: {error!r} from {error.__cause__!r}'
        if self.promised(ask.token) and not ask.hops:
            self.tally.fault('responses lost by a graceful close', what)
        elif not self.disturbed(began) or isinstance(error, http.TimedOut | http.TableError):
            self.tally.fault('unexpected failures', what)
