"""What type checkers must let pass. Never run: tests/typing/check.py reads it."""

import io
import logging
import ssl
import sys
from collections.abc import AsyncIterator, Awaitable, Callable, Mapping
from pathlib import Path
from typing import Any, assert_type

import yarl

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
from aioluahttp.bodies.events import EventStream
from aioluahttp.bodies.stream import Stream
from aioluahttp.types import BytesTable, FormFile, JsonTable, TextTable


async def the_body_has_the_type_that_into_says() -> None:
    assert_type((await http.request({'url': 'http://h'})).body, str)
    assert_type((await http.request(url='http://h')).body, str)
    assert_type((await http.request({'url': 'http://h', 'into': 'text'})).body, str)
    assert_type((await http.request(url='http://h', into='text')).body, str)
    assert_type((await http.request({'url': 'http://h', 'into': 'bytes'})).body, bytes)
    assert_type((await http.request(url='http://h', into='bytes')).body, bytes)
    assert_type((await http.request({'url': 'http://h', 'into': 'json'})).body, Any)
    assert_type((await http.request(url='http://h', into='json')).body, Any)
    assert_type((await http.request({'url': 'http://h', 'into': 'stream'})).body, Stream)
    assert_type((await http.request(url='http://h', into='raw')).body, Stream)
    assert_type((await http.request({'url': 'http://h', 'into': 'events'})).body, EventStream)
    assert_type((await http.request(url='http://h', into=Path('x'))).body, Path)
    file = await http.request({'url': 'http://h', 'into': Path('x'), 'resume': True})
    assert_type(file.body, Path)
    async with (await http.request(url='http://h', into='events')).body as events:
        assert_type([event['data'] async for event in events], list[str])
        assert_type((events.id, events.retry), tuple[str, int | None])
    async with (await http.request(url='http://h', into='stream')).body as stream:
        assert_type([chunk async for chunk in stream], list[bytes])
        assert_type([line async for line in stream.lines()], list[str])


async def a_body_may_flow(chunks: AsyncIterator[bytes]) -> None:
    await http.request({'url': 'http://h', 'body': chunks, 'on_progress': print})
    await http.request(url='http://h', body=Path('x'), on_progress=lambda done, total: None)
    await http.request(url='http://h', body=iter(['x', 'y']))
    await http.request(url='http://h', body=('x', b'y'))
    await http.request(url='http://h', body=io.BytesIO(b'x'))
    await http.request(url='http://h', body=sys.stdin.buffer)


async def a_table_in_a_variable_keeps_its_type(into: str) -> None:
    text: TextTable = {'url': 'http://h'}
    data: BytesTable = {'url': 'http://h', 'into': 'bytes'}
    value: JsonTable = {'url': 'http://h', 'into': 'json'}
    table: RequestTable = {'url': 'http://h', 'into': 'json'}
    assert_type(await http.request(text), Response[str])
    assert_type(await http.request(text, method='PUT', timeout=5), Response[str])
    assert_type(await http.request(data), Response[bytes])
    assert_type(await http.request(value), Response[Any])
    assert_type((await http.request(table)).body, Any)


async def every_key_takes_what_the_contract_says(context: ssl.SSLContext) -> None:
    await http.request(
        method='PUT',
        url=yarl.URL('http://h'),
        scheme='https',
        host='h',
        port='8080',
        path='/a',
        query={'a': 'b', 'c': [1, 2], 'd': None},
        headers={'A': 'b', 'C': ['d', 'e'], 'F': 5},
        body=bytearray(b'x'),
        timeout={'total': None, 'read': 5},
        redirects=0,
        max_body=None,
        check={200, 404},
        auth=('user', 'password'),
        tls={'verify': False, 'ca': Path('ca.pem')},
        proxy='http://proxy:3128',
        unix=Path('/run/x.sock'),
    )
    await http.request(url='http://h', port=80, query='a=b', body='x', timeout=None, check=True)
    await http.request(url='http://h', query=[('a', 'b'), ('a', 'c')], json={'a': [1]}, tls=context)
    await http.request(url='http://h', headers=[('A', 'b'), ('C', ['d'])], form={'a': 'b', 'c': 5})
    await http.request(url='http://h', on_progress=lambda done, total: print(done + 1, total))
    await http.request(url='http://h', bearer='x', auth=None, tls=False, timeout=0.5)
    await http.request(url='http://h', on_progress={'upload': lambda done, total: print(done + 1)})
    await http.request(url='http://h', multipart=[{'name': 'a', 'body': b'x', 'filename': 'c'}])
    for file in Path('x'), io.BytesIO(b'x'), sys.stdin.buffer:
        await http.request(url='http://h', multipart=[{'name': 'a', 'body': file}])


async def headers_may_come_from_anywhere(
    a: dict[str, str], b: Mapping[str, str], c: list[tuple[str, str]], d: http.Headers
) -> None:
    for headers in (a, b, c, d):
        await http.request(url='http://h', headers=headers)
    await http.request(url='http://h', query=a, form=a)


async def a_table_that_a_server_gave_is_a_valid_argument(request: Request) -> None:
    assert_type(await http.request(request), Response[str])
    relayed = request | {'host': 'backend', 'port': 9000}
    assert_type(relayed, Request)
    assert_type(await http.request(relayed), Response[str])


def fields_have_types(request: Request, response: Response) -> None:
    assert_type(request.method, str)
    assert_type(request.port, int)
    assert_type(request.headers, http.Headers)
    assert_type(request.headers['a'], str)
    assert_type(request.headers.getall('a'), list[str])
    assert_type(request.ip, str | None)
    assert_type(request.cookies(), dict[str, str])
    assert_type(request.json(), Any)
    assert_type(response.status, int)
    assert_type(response.body, str)
    assert_type(response.text(), str)
    assert_type(response.bytes(), bytes)
    assert_type(response.links(), dict[str, dict[str, str]])
    assert_type(response.history[0].status, int)
    assert_type(response.copy(), Response[str])
    assert_type(Response.from_plain(response.plain()).status, int)
    response.status = 404
    request['port'] = 80


async def a_table(request: Request) -> ResponseTable:
    return {'status': 200, 'headers': {'A': 'b'}, 'json': {'path': request.path}}


async def a_relay(request: Request) -> Mapping[str, Any]:
    http.listen(None, 0, http.proxy('http://h', headers={'A': None}, timeout={'read': 5}))
    http.run(None, 80, http.proxy('http://h', unix=Path('/run/x'), max_message=None, bearer='x'))
    return await http.forward(request, 'http://h', tls={'verify': False}, max_body=None)


async def chunks() -> AsyncIterator[bytes]:
    yield b'x'


async def event_tables() -> AsyncIterator[dict[str, str]]:
    yield {'data': 'x'}


async def a_flowing_table(request: Request) -> ResponseTable:
    if request.path == '/events':
        return {'status': 200, 'events': event_tables()}
    if request.path == '/plain':
        return {'status': 200, 'body': iter(['a', 'b'])}
    if request.path == '/file':
        return {'status': 200, 'body': Path('a.txt')}
    return {'status': 200, 'body': chunks()}


async def a_form(request: Request) -> ResponseTable:
    form = await request.form(max_size=None, spool=1)
    assert_type(form['a'], str | FormFile)
    return {'status': 200}


async def a_response(request: Request) -> Response:
    return await http.request(request)


async def a_response_of_any_body(request: Request) -> Response[Any]:
    return http.to_response({'status': 200, 'body': b''})


async def a_mapping(request: Request) -> Mapping[str, Any]:
    return {**await http.request(request), 'status': 200}


async def a_dict(request: Request) -> dict[str, object]:
    return {'status': 200}


async def unannotated(request):  # type: ignore[no-untyped-def]  # pyright: ignore[reportMissingParameterType]
    return {'status': 200, 'body': 'x'}


def plain(request: Request) -> ResponseTable:
    return {'status': 204, 'body': None}


static = http.files('.')
backend = http.proxy('http://h')


async def any_response(request: Request) -> http.ResponseLike:
    if request.path == '/static':
        return await static(request)
    if request.path == '/backend':
        return await http.forward(request, 'http://h')
    if request.path == '/request':
        return await http.request(request)
    return {'status': 200, 'json': {'a': [1]}, 'headers': {'A': 'b'}}


async def what_others_gave(request: Request) -> Response[Any]:
    response = await backend(request)
    response.headers['X-Seen'] = 'yes'
    return response if response.status < 400 else await http.compress(static)(request)


def logged(handler: Handler) -> Handler:
    async def wrapper(request: Request) -> Response[Any]:
        answer = handler(request)
        table = await answer if isinstance(answer, Awaitable) else answer
        return http.to_response(table)

    return wrapper


HANDLERS: list[Handler] = [
    *(
        a_table,
        a_flowing_table,
        a_response,
        a_response_of_any_body,
        a_mapping,
        a_dict,
        any_response,
        what_others_gave,
        static,
        backend,
        unannotated,
        plain,
    ),
    http.request,
    http.Client().request,
    logged(a_table),
    http.compress(plain, minimum_size=0, codings=['gzip']),
    http.compress(http.request),
    lambda request: {'status': 200, 'body': request.url},
]


async def a_middleware_gives_a_handler(request: Request, table: RequestTable) -> None:
    get = middleware.retry(http.request, attempts=None, methods=['GET'], statuses={503}, longest=5)
    assert_type((await get({'url': 'http://h'})).status, int)
    assert_type(await get(table), Response[Any])
    assert_type(await get(request), Response[Any])
    HANDLERS.extend([get, middleware.limit(get, rate=0.5, key=lambda request: request.ip)])
    HANDLERS.extend([middleware.log(a_table, logging.getLogger('x')), middleware.lint(plain)])
    HANDLERS.extend([middleware.record(http.Client().request, 'a'), middleware.replay(Path('a'))])
    HANDLERS.append(middleware.trace(lambda request: {'status': 200}, kind='server'))
    await http.listen('::', 80, middleware.trace(middleware.log(a_flowing_table), kind='server'))
    await parallel.map(middleware.limit(http.request), [table])


async def a_server_listens(log: Callable[[Request, Response[Any]], None]) -> None:
    async with http.listen('127.0.0.1', 0, a_table) as server:
        assert_type(server, http.Server)
        assert_type(server.url, str)
    server = await http.listen(None, None, lambda request: {'status': 200}, unix=Path('/x.sock'))
    await server.close(grace=None)
    await http.listen('::', 80, http.request, into='bytes', max_body=None, access_log=log)
    await http.listen('::', 80, plain, into='stream', max_body=lambda request: request.port)
    await http.listen('::', 80, plain, into=lambda request: 'raw' if request.query else 'text')
    await http.listen('::', 80, plain, handler_timeout=5, access_log=logging.getLogger('x'))


async def a_client_is_like_request() -> None:
    async with http.Client(base_url='http://h', headers={'A': 'b'}, resume=True) as client:
        assert_type((await client.request(url='a')).body, str)
        assert_type((await client.request({'url': 'a', 'into': 'bytes'})).body, bytes)


async def chat(socket: http.Socket) -> None:
    async for message in socket:
        assert_type(message, str | bytes)
        await socket.send(message)
    assert_type(socket.code, int | None)


async def a_websocket_on_both_sides() -> None:
    plain_one: ResponseTable = {'status': 101, 'websocket': chat}
    with_options: ResponseTable = {
        'status': 101,
        'websocket': {'callback': chat, 'protocols': ['a'], 'origins': '*', 'heartbeat': None},
    }
    await http.listen('::', 80, lambda request: {'websocket': chat})
    await http.listen('::', 80, lambda request: plain_one if request.query else with_options)
    async with http.websocket({'url': 'ws://h', 'protocols': ['a']}) as socket:
        assert_type(socket, http.Socket)
        assert_type(socket.protocol, str | None)
    async with http.Client().websocket(url='/', max_message=None, bearer='x') as socket:
        await socket.close(1000, 'done')


async def many_at_once(tables: list[TextTable]) -> None:
    async def status(page: int) -> int:
        return (await http.request(url=f'http://h/{page}')).status

    assert_type(await parallel.map(status, range(9), limit=2), list[int])
    assert_type(await parallel.map(status, [1], errors='return'), list[int | Exception])
    print((await parallel.map(http.request, tables))[0].status)
    urls = ['http://a', 'http://b']
    responses = await parallel.map(http.request, ({'url': one} for one in urls), limit=4)
    print(responses[0].status)
    either = await parallel.map(http.request, [{'url': one} for one in urls], errors='return')
    assert_type(either, list[Response[str] | Exception])


async def streams_and_options_have_names(events: http.EventStream, body: http.Stream) -> None:
    options: http.ListenOptions = {'max_body': 5, 'handler_timeout': 3}
    some: http.ExchangeOptions = {'into': 'stream'}
    async with http.listen('127.0.0.1', 0, plain, **options):
        print([event['data'] async for event in events], await body.read(), some)


def urls_are_tables() -> None:
    assert_type(url.split('http://h'), dict[str, str])
    assert_type(url.join({'scheme': 'http', 'host': 'h', 'port': 80, 'path': None}), str)
    assert_type(
        url.encode('a b') + url.encode({'a': 1, 'b': ['c']}) + url.encode([('a', 'b')]), str
    )
    assert_type(url.decode('a=b'), dict[str, str | list[str]])
    assert_type(url.relative('http://h', '../a'), str)
    assert_type(http.format_date(), str)
    assert_type(http.parse_date('x'), int | None)
    assert_type(http.to_request(host='h'), Request)


async def errors_are_told_apart() -> None:
    try:
        await http.request(url='http://h', check=True)
    except http.StatusError as error:
        assert_type(error.response.status, int)
    except http.Error as error:
        assert_type(error.request, Request | None)


def cookies_are_read_and_set(client: http.Client) -> None:
    assert_type(client.cookies.get('/'), dict[str, str])
    client.cookies.set('a', 'b', '/', domain='h', path='/', max_age=5, expires=9.5, secure=True)
    client.cookies.clear()
    client.cookies.clear('h')
    client.cookies.save(Path('a'))
    client.cookies.load('a')
