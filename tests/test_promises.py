"""The promises of the library, each by a test that names it, over real sockets."""

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
    """Answer with the body that came, under the Content-Type that it had."""
    kind = request.headers.get('Content-Type')
    return {'status': 200, 'headers': {'Content-Type': kind}, 'body': request.body or ''}


def test_the_first_example_holds():
    """The example of the README: both forms of ``request``, and ``listen``."""
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
    """Neither the request passed to ``request`` nor the response of a callback is changed."""
    answer = {'status': 200, 'headers': {'X': ['1', '2']}, 'json': [1]}
    before_answer = copy.deepcopy(answer)
    async with http.listen('127.0.0.1', 0, lambda request: answer) as server:
        table = {'url': server.url + '/?', 'headers': {'A': ['b', 'c']}, 'json': {'x': [1]}}
        before = copy.deepcopy(table)
        response = await http.request(table)
    assert (before, before_answer) == (table, answer)
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
    """Whatever a header's name and value are: they arrive as they were, or none of them is sent."""

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
        if name.lower() in seen[0]:  # what belongs to one hop is not passed on
            assert value.strip(' \t') in seen[0].getall(name)
        assert 200 == response.status

    asyncio.run(main())


@pytest.mark.parametrize('status', [200, 204, 301, 404, 418, 500, 599])
async def test_promise_4_a_status_is_never_an_error(status):
    """Every status comes back as a table."""
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
    """Each is an ``Error`` that carries the table."""
    with pytest.raises(http.Error) as caught:
        await http.request(table)
    assert table == caught.value.request


def test_promise_6_what_is_opened_is_closed():
    """A server, its connections and the client's pool leave no task, socket or warning behind."""

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
    """All 256 byte values go there and back by way of the default text bodies."""
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
    """A body that is relayed as text is what was read."""

    async def main():
        headers = {'Content-Type': f'text/plain; charset={charset}'}
        async with http.listen('127.0.0.1', 0, echo) as server:
            post = {'method': 'POST', 'url': server.url, 'headers': headers}
            assert data == (await http.request(post, body=data)).bytes()

    asyncio.run(main())


async def test_promise_8_limits_have_one_name_and_count_decoded_bytes():
    """``max_body`` holds on either side: a 413 of the server, ``BodyTooLarge`` of the client."""
    async with http.listen('127.0.0.1', 0, echo, max_body=10) as server:
        table = {'method': 'POST', 'url': server.url}
        assert 200 == (await http.request(table, body='x' * 10)).status
        assert 413 == (await http.request(table, body='x' * 11)).status
        with pytest.raises(http.BodyTooLarge):
            await http.request(table, body='x' * 10, max_body=9)
        assert 200 == (await http.request(table, body='x')).status


async def test_promise_9_parallel_map_keeps_order_and_cancels_the_rest():
    """The results stand in the order of the inputs; one failure ends the others."""
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


# Promise 10 is tests/test_exports.py's, promise 11 tests/test_layers.py's.


@pytest.mark.parametrize('target', ['http://127.0.0.1:1/x', '//127.0.0.1:1/x', '/x'])
async def test_no_client_chooses_where_its_request_is_sent_on_to(target):
    """A relay reaches the backend that it names, whatever the request line says."""

    async def backend(request):
        return {'status': 200, 'body': request.url}

    async with http.listen('127.0.0.1', 0, backend) as origin:

        async def relay(request):
            return await http.request(
                {**request, 'scheme': 'http', 'host': '127.0.0.1', 'port': origin.port}
            )

        async with http.listen('127.0.0.1', 0, relay) as server:
            reader, writer = await asyncio.open_connection('127.0.0.1', server.port)
            writer.write(f'GET {target} HTTP/1.1\r\nHost: a\r\nConnection: close\r\n\r\n'.encode())
            answer = await reader.read()
            writer.close()
            await writer.wait_closed()
    body = '/x' if target.startswith('http') else target
    assert answer.startswith(b'HTTP/1.1 200 ')
    assert answer.endswith(f'\r\n\r\n{body}'.encode())


async def test_a_table_with_its_headers_matches():
    """``match`` takes apart a request given and a response given, headers in any case."""

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


async def test_an_empty_answer_is_one_key():
    """``{'status': 204}`` is a whole response."""
    async with http.listen('127.0.0.1', 0, lambda request: {'status': 204}) as server:
        response = await http.request(url=server.url)
    assert (204, '', None) == (
        response.status,
        response.body,
        response.headers.get('Content-Length'),
    )
