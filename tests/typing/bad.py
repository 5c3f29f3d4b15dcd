"""What type checkers must refuse, line by line. Never run: tests/typing/check.py reads it."""

# ruff: noqa: B018

import asyncio
from typing import Any

import aioluahttp as http
from aioluahttp import (
    Handler,
    Request,
    RequestTable,
    Response,
    ResponseTable,
    middleware,
    parallel,
    url,
)

misspelt: RequestTable = {'url': 'http://h', 'timout': 5}  # error
of_another_type: RequestTable = {'method': 5}  # error
not_a_word: RequestTable = {'into': 'txt'}  # error
not_a_deadline: RequestTable = {'timeout': '5'}  # error
misspelt_deadline: RequestTable = {'timeout': {'totl': 5}}  # error
a_list_as_body: RequestTable = {'body': ['x']}  # error
numbers_to_send: RequestTable = {'body': iter([5])}  # error
a_number_as_password: RequestTable = {'auth': ('user', 5)}  # error
a_part_of_another_type: RequestTable = {'multipart': [{'name': 5}]}  # error
a_part_from_a_list: RequestTable = {'multipart': [{'name': 'a', 'body': [b'x']}]}  # error
a_float_as_header: RequestTable = {'headers': {'A': 1.5}}  # error

without_status: ResponseTable = {'body': 'x'}  # error
misspelt_status: ResponseTable = {'statsu': 200}  # error
status_as_text: ResponseTable = {'status': '200'}  # error
numbers_as_body: ResponseTable = {'status': 200, 'body': iter([5])}  # error
a_list_of_events: ResponseTable = {'status': 200, 'events': [{'data': 'x'}]}  # error
number_as_body: ResponseTable = {'status': 200, 'body': 5}  # error


async def wrong_calls() -> None:
    await http.request({'url': 'http://h', 'timout': 5})  # error
    await http.request(url='http://h', timout=5)  # error
    await http.request(url=5)  # error
    await http.request('http://h')  # error
    await http.request(url='http://h', into='txt')  # error
    await http.request({'url': 'http://h', 'port': 8.5})  # error
    await http.request(url='http://h', tls='ca.pem')  # error
    await http.request(url='http://h', check='yes')  # error
    await http.request(url='http://h', into=5)  # error
    await http.request(url='http://h', into=b'x')  # error
    await http.request(url='http://h', resume='yes')  # error
    await http.request(url='http://h', on_progress=lambda done: None)  # error
    await http.request(url='http://h', on_progress=True)  # error
    await http.request(url='http://h', on_progress={'up': print})  # error


async def wrong_middleware(table: RequestTable) -> None:
    middleware.trace(http.request)  # error
    middleware.trace(http.request, kind='both')  # error
    middleware.limit(http.request, 5)  # error
    middleware.record(http.request)  # error
    middleware.log(lambda request: 5)  # error
    await middleware.lint(http.request)({'url': 'http://h', 'timout': 5})  # error
    await middleware.lint(http.request)(url='http://h')  # error
    (await middleware.lint(http.request)(table)).statsu  # error


async def wrong_reads(request: Request, response: Response) -> None:
    response.statsu  # error
    response.status + 'x'  # error
    response.text + 'x'  # error
    request.haeders  # error
    request.port.upper()  # error
    response.statsu = 200  # error
    response.status = '200'  # error
    http.request(url='http://h').body  # error
    text: str = (await http.request(url='http://h', into='bytes')).body  # error
    data: bytes = (await http.request({'url': 'http://h'})).body  # error
    print(text, data)


def without_argument() -> ResponseTable:
    return {'status': 200}


async def with_two_arguments(request: Request, more: int) -> ResponseTable:
    return {'status': 200}


async def that_returns_text(request: Request) -> str:
    return 'x'


async def that_returns_nothing(request: Request) -> None: ...


def that_takes_text(request: str) -> ResponseTable:
    return {'status': 200}


first: Handler = without_argument  # error
second: Handler = with_two_arguments  # error
third: Handler = that_returns_text  # error
fourth: Handler = that_returns_nothing  # error
fifth: Handler = that_takes_text  # error


async def wrong_servers(handler: Handler) -> None:
    http.listen('127.0.0.1', '80', handler)  # error
    http.listen('127.0.0.1', 80, that_returns_text)  # error
    http.listen('127.0.0.1', 80)  # error
    http.listen('127.0.0.1', 80, handler, max_bdy=5)  # error
    http.listen('127.0.0.1', 80, handler, into='strem')  # error
    http.listen('127.0.0.1', 80, handler).url  # error
    http.Client(timout=5)  # error


async def wrong_sockets(socket: http.Socket) -> None:
    http.websocket(url='ws://h', protocols=5)  # error
    http.websocket(url='ws://h', body='x')  # error
    http.websocket({'url': 'ws://h', 'hartbeat': 5})  # error
    await socket.send(5)  # error
    await socket.close('done')  # error
    not_a_callback: ResponseTable = {'status': 101, 'websocket': 5}  # error
    misspelt: ResponseTable = {'status': 101, 'websocket': {'callbak': len}}  # error
    print(not_a_callback, misspelt)


async def wrong_helpers() -> None:
    url.split(b'http://h')  # error
    url.join({'port': [80]})  # error
    await parallel.map(5, [1])  # error
    await parallel.map(asyncio.sleep, [1], errors='ignore')  # error
    await parallel.map(http.request, [5])  # error
    http.format_date('now')  # error
    http.to_response(5)  # error
    http.lisen  # error


def wrong_cookies(client: http.Client) -> None:
    client.cookies.set('a', 'b', '/', maxage=5)  # error
    client.cookies.set('a', 'b')  # error
    client.cookies.set('a', 'b', '/', secure='yes')  # error
    client.cookies.save(5)  # error
    client.cookies = {}  # error


def wrong_answers(request: Request) -> ResponseTable:
    if request.path == '/':
        return {'stauts': 200}  # error
    return {'status': 200, 'header': {}}  # error


def wrong_types(value: dict[str, Any]) -> RequestTable:
    return {'headers': 5}  # error
