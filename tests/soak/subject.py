"""The handler under load: the query of a request controls the response, which has its token."""

from __future__ import annotations

import asyncio
import gzip
from collections.abc import Mapping
from typing import Any

import aioluahttp as http
from tally import Tally

__all__ = ['MISTAKES', 'PROVOKED', 'Subject', 'filler']

PROVOKED = '/mistake/'  # in the path of each request that provokes a 500
MISTAKES = ('raise', 'none', 'status', 'header', 'cancel')


def filler(token: str, size: int) -> bytes:
    """Return a body of repeated tokens, so that no part of it can be taken for another body."""
    line = f'{token}\n'.encode()
    return (line * (size // len(line) + 1))[:size]


class Subject:
    """A handler. The token is in the path, in a header, or at the start of the body.

    The query says what to do: ``length`` of the request body, ``size`` of the response body,
    ``gzip``, ``text`` and ``close`` (form of the response), ``status``, ``wait`` (seconds),
    ``hops`` (redirects left, with the status ``code``), ``mistake`` (one of ``MISTAKES``).

    Attributes:
        running: Tokens of the requests that are being handled.
    """

    def __init__(self, tally: Tally) -> None:
        self.tally = tally
        self.running: set[str] = set()

    async def __call__(self, request: http.Request) -> Any:
        """Return the response that the query asks for."""
        orders = orders_of(request)
        token = token_of(request)
        if request.bytes() != filler(token, int(orders.get('length', 0))):
            what = f'{request.url} of {token} came with {request.bytes()[:60]!r}'
            self.tally.fault('wrong requests', what)
        self.running.add(token)
        try:
            await asyncio.sleep(float(orders.get('wait', 0)))
            if 'mistake' in orders:
                return mistaken(orders['mistake'])
            if int(orders.get('hops', 0)):
                return redirect(token, request, orders)
            return respond(token, orders)
        finally:
            self.running.discard(token)

    def on_error(self, error: BaseException, request: http.Request) -> None:
        """Count a 500 that no request provoked."""
        if PROVOKED not in request.path:
            self.tally.fault('unmeant 500s', f'{request.url}: {error!r}')


def orders_of(request: http.Request) -> Mapping[str, Any]:
    return http.url.decode(request.query)


def token_of(request: http.Request) -> str:
    last = request.path.rpartition('/')[2]
    if last != '-':
        return last
    if (token := request.headers.get('Token')) is not None:
        return token
    return request.bytes().partition(b'\n')[0].decode('ascii', 'replace')


def respond(token: str, orders: Mapping[str, Any]) -> dict[str, Any]:
    body: Any = filler(token, int(orders.get('size', 0)))
    headers = {'Token': token}
    if 'gzip' in orders:
        headers['Content-Encoding'] = 'gzip'
        body = gzip.compress(body, 1)
    elif 'text' in orders:
        body = body.decode()
    if 'close' in orders:
        headers['Connection'] = 'close'
    return {'status': int(orders.get('status', 200)), 'headers': headers, 'body': body}


def redirect(token: str, request: http.Request, orders: Mapping[str, Any]) -> dict[str, Any]:
    code = int(orders['code'])
    following = {**orders, 'hops': int(orders['hops']) - 1}
    if code == 303 or (code < 303 and request.method == 'POST'):  # the next request has no body
        following['length'] = 0
    location = f'{request.path}?{http.url.encode(following)}'
    return {'status': code, 'headers': {'Token': token, 'Location': location}, 'body': 'onward'}


def mistaken(kind: str) -> Any:
    match kind:
        case 'raise':
            raise RuntimeError('provoked')
        case 'cancel':
            raise asyncio.CancelledError
        case 'status':
            return {'status': 99}
        case 'header':
            return {'status': 200, 'headers': {'Broken': 'a\r\nb'}}
    return None
