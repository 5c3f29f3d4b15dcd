"""The demonstration: a server on loopback, requests to it, and all tables printed."""

from __future__ import annotations

from collections.abc import Mapping
from pprint import pformat
from time import perf_counter
from typing import Any

from .. import parallel
from ..client.per_loop import request
from ..server.listen import listen
from ..tables.models import Request, Response
from ..types import RequestTable

__all__ = ['demonstrate']

MANY = 10


async def show_request(table: Request) -> dict[str, Any]:
    """Handle the requests of the demonstration: a page, a square, and an echo."""
    match table:
        case {'method': 'GET', 'path': '/'}:
            return {
                'status': 200,
                'headers': {'Content-Type': 'text/html'},
                'body': '<h1>Hello</h1>',
            }
        case {'method': 'GET', 'path': '/square', 'query': number}:
            return {'status': 200, 'json': int(number) ** 2}
        case {'method': 'POST', 'path': '/echo', 'body': body}:
            return {'status': 201, 'body': body}
    return {'status': 404, 'body': f'nothing at {table.path}'}


async def demonstrate() -> None:
    """Start a server on a free port of loopback, send it requests, and print every table."""
    async with listen('127.0.0.1', 0, show_request) as server:
        print(f'listening on {server.url}\n')
        await exchange({'url': f'{server.url}/'})
        await exchange({'method': 'POST', 'url': f'{server.url}/echo', 'body': 'a table went out'})
        print(f'{MANY} in parallel')
        tables: list[RequestTable] = [
            {'url': f'{server.url}/square?{n}', 'into': 'json'} for n in range(MANY)
        ]
        start = perf_counter()
        responses = await parallel.map(request, tables)
        for table, response in zip(tables, responses, strict=True):
            print(f'  {table}  ->  status {response.status}, body {response.body}')
        print(f'  {_milliseconds(start)} for all of them\n')
    print(f'the server is {server.status}')


async def exchange(table: RequestTable) -> None:
    """Send a request table, and print it and the response table."""
    start = perf_counter()
    response: Response[Any] = await request(table)
    took = _milliseconds(start)
    print(f'request\n{_indented(table)}\nresponse, after {took}\n{_indented(response)}\n')


def _milliseconds(start: float) -> str:
    return f'{(perf_counter() - start) * 1000:.2f} ms'


def _indented(table: Mapping[str, Any]) -> str:
    text = pformat(dict(table), sort_dicts=False, width=96)
    return '\n'.join(f'  {line}' for line in text.splitlines())
