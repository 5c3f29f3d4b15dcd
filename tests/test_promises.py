"""The promises of the library, each with a test named after it, over real sockets."""

import asyncio
import copy
import gc
import warnings

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

import aioluahttp as http
from aioluahttp.headers import CONTROL

EVERY_BYTE = bytes(range(256))


async def echo(request):
    """Return the body of the request, with its Content-Type."""
    kind = request.headers.get('Content-Type')
    return {'status': 200, 'headers': {'Content-Type': kind}, 'body': request.body or ''}


def test_the_first_example_of_the_readme_works():
    """Both forms of ``request``, and ``listen``."""
    seen = []

    async def hello(request):
        seen.append((request.path, request.ip))
        return {'status': 200, 'headers': {'Content-Type': 'text/html'}, 'body': '<h1>Hello</h1>'}

    async def main():
        async with http.listen('127.0.0.1', 0, hello) as server:
            first = await http.request({'url': server.url + '/page1'})
            second = await http.request(host='127.0.0.1', port=server.port, path='/page1')
        return first, second

    for response in asyncio.run(main()):
        assert (200, '<h1>Hello</h1>') == (response.status, response.body)
        assert 'text/html; charset=utf-8' == response.headers['content-type']
    assert [('/page1', '127.0.0.1')] * 2 == seen


async def test_promise_1_a_table_passed_in_is_never_changed():
    """Neither a table passed to ``request`` nor one returned by a handler is changed."""
    returned = {'status': 200, 'headers': {'X': ['1', '2']}, 'json': [1]}
    returned_before = copy.deepcopy(returned)
    async with http.listen('127.0.0.1', 0, lambda request: returned) as server:
        table = {'url': server.url + '/?', 'headers': {'A': ['b', 'c']}, 'json': {'x': [1]}}
        before = copy.deepcopy(table)
        response = await http.request(table)
    assert (before, returned_before) == (table, returned)
    assert isinstance(response, dict)


async def test_promise_2_headers_have_no_case_and_keep_repeats_in_order():
    """A repeated header arrives with both values, under a name in any case, on both sides."""

    async def handler(request):
        return {
            'status': 200,
            'headers': [('X-Many', value) for value in request.headers.getall('x-many')],
        }

    async with http.listen('127.0.0.1', 0, handler) as server:
        response = await http.request(url=server.url, headers={'x-MANY': ['b', 'a', 'b']})
    assert ['b', 'a', 'b'] == response.headers.getall('X-many')


@settings(max_examples=30, deadline=None)
@given(st.text(max_size=8), st.text(max_size=8))
def test_promise_3_no_control_character_of_a_table_reaches_the_wire(name, value):
    """Any name and value of a header arrive unchanged, or raise before anything is sent."""

    async def main():
        seen = []

        async def handler(request):
            seen.append(request.headers)
            return {'status': 200, 'headers': {name: value}}

        async with http.listen('127.0.0.1', 0, handler) as server:
            try:
                response = await http.request(url=server.url, headers={name: value})
            except http.TableError:
                return
        assert not CONTROL.search(name + value.strip(' \t'))
        if name.lower() in seen[0]:  # hop-by-hop headers are not sent
            assert value.strip(' \t') in seen[0].getall(name)
        assert 200 == response.status

    asyncio.run(main())


@pytest.mark.parametrize('status', [200, 204, 301, 404, 418, 500, 599])
async def test_promise_4_a_status_is_never_an_error(status):
    """Every status results in a response table."""
    async with http.listen('127.0.0.1', 0, lambda request: {'status': status}) as server:
        assert status == (await http.request(url=server.url, redirects=0)).status


@pytest.mark.parametrize(
    'table',
    [
        {},
        {'url': 'http://127.0.0.1:1/'},
        {'url': 'http://no-such-host.invalid/'},
        {'url': 'ftp://a/'},
        {'url': 'http://a/', 'json': {1, 2}},
    ],
    ids=str,
)
async def test_promise_5_what_is_raised_on_purpose_is_an_error(table):
    """Every exception of the library is an ``Error`` that has the request table."""
    with pytest.raises(http.Error) as caught:
        await http.request(table)
    assert table == caught.value.request


def test_promise_6_what_is_opened_is_closed():
    """A server, its connections and the connection pool leave no task, socket or warning."""

    async def main():
        async with http.listen('127.0.0.1', 0, echo) as server:
            await http.parallel.map(http.request, [{'url': server.url}] * 8)
            hanging = asyncio.create_task(http.request(url=server.url, method='POST', body='x'))
            await asyncio.sleep(0)
            hanging.cancel()
            await asyncio.gather(hanging, return_exceptions=True)

    with warnings.catch_warnings():
        warnings.simplefilter('error')
        asyncio.run(main())
        gc.collect()


@pytest.mark.parametrize(
    'kind', [None, 'text/plain', 'text/plain; charset=shift_jis', 'a/b; charset=punycode']
)
async def test_promise_7_no_byte_of_a_body_is_lost(kind):
    """All 256 byte values are unchanged after a round trip as default text bodies."""
    async with http.listen('127.0.0.1', 0, echo) as server:
        response = await http.request(
            method='POST', url=server.url, body=EVERY_BYTE, headers={'Content-Type': kind}
        )
        assert EVERY_BYTE == response.bytes()
        again = await http.request(
            method='POST', url=server.url, body=response.body, headers={'Content-Type': kind}
        )
    assert isinstance(response.body, str)
    assert EVERY_BYTE == again.bytes()


@settings(max_examples=30, deadline=None)
@given(st.binary(max_size=300), st.sampled_from(['utf-8', 'latin-1', 'gbk', 'utf-16', 'euc-jp']))
def test_promise_7_holds_for_any_bytes_and_charset(data, charset):
    """A body that is forwarded as text has the bytes that were read."""

    async def main():
        headers = {'Content-Type': f'text/plain; charset={charset}'}
        async with http.listen('127.0.0.1', 0, echo) as server:
            post = {'method': 'POST', 'url': server.url, 'headers': headers}
            assert data == (await http.request(post, body=data)).bytes()

    asyncio.run(main())


async def test_promise_8_limits_have_one_name_and_count_decoded_bytes():
    """``max_body`` works on either side: a 413 from a server, ``BodyTooLarge`` in a client."""
    async with http.listen('127.0.0.1', 0, echo, max_body=10) as server:
        table = {'method': 'POST', 'url': server.url}
        assert 200 == (await http.request(table, body='x' * 10)).status
        assert 413 == (await http.request(table, body='x' * 11)).status
        with pytest.raises(http.BodyTooLarge):
            await http.request(table, body='x' * 10, max_body=9)
        assert 200 == (await http.request(table, body='x')).status


async def test_promise_9_parallel_map_keeps_order_and_cancels_the_rest():
    """The results are in the order of the inputs; one exception cancels the other calls."""
    ended = []

    async def handler(request):
        if request.query == 'wait':
            await asyncio.Event().wait()
        return {'status': 200, 'body': request.query}

    async def ask(query):
        try:
            return (await http.request(url=server.url, query=query, check=True)).body
        finally:
            ended.append(query)

    async with http.listen('127.0.0.1', 0, handler, shutdown_timeout=0.01) as server:
        assert list('abc') == await http.parallel.map(ask, 'abc')
        with pytest.raises(http.TableError):
            await http.parallel.map(ask, ['wait', '#'])
    assert ['a', 'b', 'c', '#', 'wait'] == [*sorted(ended[:3]), *ended[3:]]


# Promise 10 is tested in tests/test_exports.py, promise 11 in tests/test_layers.py.


@pytest.mark.parametrize('target', ['http://127.0.0.1:1/x', '//127.0.0.1:1/x', '/x'])
async def test_a_client_cannot_choose_the_backend_of_a_forwarded_request(target):
    """A proxy sends to the backend that it names, whatever the request line says."""

    async def backend(request):
        return {'status': 200, 'body': request.url}

    async with http.listen('127.0.0.1', 0, backend) as origin:

        async def proxy(request):
            return await http.request(
                {**request, 'scheme': 'http', 'host': '127.0.0.1', 'port': origin.port}
            )

        async with http.listen('127.0.0.1', 0, proxy) as server:
            reader, writer = await asyncio.open_connection('127.0.0.1', server.port)
            writer.write(f'GET {target} HTTP/1.1\r\nHost: a\r\nConnection: close\r\n\r\n'.encode())
            response = await reader.read()
            writer.close()
            await writer.wait_closed()
    body = '/x' if target.startswith('http') else target
    assert response.startswith(b'HTTP/1.1 200 ')
    assert response.endswith(f'\r\n\r\n{body}'.encode())


async def test_match_works_on_tables_and_their_headers():
    """Patterns match a received request and response, and header names in any case."""

    async def handler(request):
        match request:
            case {'method': 'GET', 'query': 'a=%20&a', 'headers': {'x-test': value}}:
                assert 'body' not in request
                return {'status': 200, 'body': value}
        return {'status': 400}

    async with http.listen('127.0.0.1', 0, handler) as server:
        response = await http.request(url=server.url + '/?a=%20&a', headers={'X-Test': 'yes'})
    match response:
        case {'status': 200, 'headers': {'CONTENT-LENGTH': length}, 'body': body}:
            assert ('3', 'yes') == (length, body)
        case _:
            pytest.fail(f'no match: {response}')


async def test_a_status_alone_is_a_response():
    """A handler may return ``{'status': 204}``."""
    async with http.listen('127.0.0.1', 0, lambda request: {'status': 204}) as server:
        response = await http.request(url=server.url)
    assert (204, '', None) == (
        response.status,
        response.body,
        response.headers.get('Content-Length'),
    )
