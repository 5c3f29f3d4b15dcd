"""The middleware ``lint``: check requests and responses against the rules for tables."""

import doctest
from pathlib import Path

import pytest

import aioluahttp as http
from aioluahttp.bodies.stream import Stream
from aioluahttp.middleware import linting
from aioluahttp.middleware.linting import lint

NORMAL = http.to_request(url='http://h:8080/a?b=c', headers={'A': 'b'})


async def chunks():
    """Yield one chunk."""
    yield b'x'


def given(status=200, body='', **fields):
    """Make a response in normal form."""
    return http.Response(status=status, headers=http.Headers(), body=body, **fields)


def test_the_example_holds():
    """The module's doctests pass."""
    assert 0 == doctest.testmod(linting, optionflags=doctest.ELLIPSIS).failed


@pytest.mark.parametrize(
    ('wrong', 'message'),
    [
        ({'method': 'get'}, "'method' is 'get'; it must be 'GET', in normal form"),
        ({'port': '8080'}, "'port' is '8080'; it must be 8080, in normal form"),
        ({'url': 'http://h:8080/a?b=c'}, "'url' is 'http://h:8080/a?b=c'; it must be '/a?b=c'"),
        ({'url': '/x?b=c'}, "'path' is '/a'; it must be '/x', in normal form"),
        ({'headers': {'A': 'b'}}, "'headers' is ***; it must be Headers"),
        ({'headers': [('Cookie', 'secret')]}, "'headers' is ***; it must be Headers"),
        ({'host': None}, "'host' is missing; give a host"),
        ({'path': None}, "'path' is None; it must be '/a', in normal form"),
        ({'bearer': 'secret'}, "'bearer' is not allowed in normal form; use body and headers"),
        ({'json': 5}, "'json' is not allowed in normal form; use body and headers"),
        ({'query': {'b': 'c'}}, "'query' is {'b': 'c'}; it must be 'b=c', in normal form"),
        ({'body': bytearray(b'x')}, "'body' is bytearray(b'x'); it must be b'x', in normal form"),
        ({'timout': 5}, "unknown key 'timout': did you mean 'timeout'?"),
        ({'timeout': -1}, "'timeout' is -1; it must be a number of seconds"),
        ({'into': 'txt'}, "'into' is 'txt'; it must be one of"),
    ],
    ids=str,
)
async def test_a_request_that_is_not_in_normal_form_is_rejected(wrong, message):
    """The error names the handler and the key, says what would be right, and shows no secret."""

    async def handler(request):
        raise AssertionError

    with pytest.raises(http.TableError) as caught:
        await lint(handler)(http.Request({**NORMAL, **wrong}))
    text = str(caught.value)
    assert text.startswith(f'{handler.__qualname__} was given an invalid request: ')
    assert (True, False) == (message in text, 'secret' in text)


async def test_a_missing_key_of_a_request_is_rejected():
    """Even if it could be derived from the other keys."""
    for key in ('method', 'url', 'scheme', 'port', 'path', 'query', 'headers'):
        request = NORMAL.copy()
        del request[key]
        with pytest.raises(http.TableError) as caught:
            await lint(given)(request)
        assert "' is missing; it must be" in str(caught.value) or "'query' is 'b=c'" in str(
            caught.value
        )


@pytest.mark.parametrize(
    ('response', 'message'),
    [
        ({}, "'status' is missing; give one"),
        ({'stauts': 200}, "unknown key 'stauts': did you mean 'status'?"),
        ({'status': '200'}, "'status' is '200'; it must be an int from 200 to 599"),
        ({'status': 99}, "'status' is 99"),
        ({'status': True}, "'status' is True"),
        ({'status': 200, 'body': 5}, "'body' is 5; it must be a str or bytes"),
        ({'status': 200, 'body': 'x', 'json': 5}, "'body' and 'json' exclude each other"),
        ({'status': 200, 'headers': {'A': 'b\nc'}}, "'headers[A]' is 'b\\nc'; it must be free of"),
        ('text', "'response' is 'text'; it must be a table"),
        (None, "'response' is None"),
        (http.Response(status=200, headers=http.Headers()), "'body' is missing; it must be ''"),
        (http.Response(status=200, body='x'), "'headers' is missing; it must be Headers"),
        (http.Response(status=200, headers={}, body='x'), "'headers' is ***; it must be Headers"),
        (http.Response(status=200, json=5), "'json' is not allowed in normal form; use body"),
        (given(body={'a': 1}), "'body' is {'a': 1}; it must be a str, bytes, an iterator or a"),
        (given(body=5), "'body' is 5; it must be"),
    ],
    ids=str,
)
async def test_an_invalid_response_is_rejected(response, message):
    """The error names the handler and the key, for plain tables and for ``Response``."""

    async def handler(request):
        return response

    with pytest.raises(http.TableError) as caught:
        await lint(handler)(NORMAL)
    text = str(caught.value)
    assert text.startswith(f'{handler.__qualname__} returned an invalid response: ')
    assert message in text


@pytest.mark.parametrize(
    ('into', 'body', 'message'),
    [
        ('text', b'x', "'body' is b'x'; it must be a str for into='text'"),
        ('bytes', 'x', "'body' is 'x'; it must be bytes for into='bytes'"),
        ('stream', b'x', "'body' is b'x'; it must be a stream, or the text of a page for into="),
        ('raw', 5, "'body' is 5"),
        ('text', {'a': 1}, "'body' is {'a': 1}"),
    ],
)
async def test_a_body_that_does_not_match_into_is_rejected(into, body, message):
    """The error names the body and ``into``."""
    with pytest.raises(http.TableError) as caught:
        await lint(lambda request: given(body=body))(NORMAL | {'into': into})
    assert message in str(caught.value)


@pytest.mark.parametrize(
    ('into', 'body'),
    [
        (None, 'x'),
        (None, b'x'),
        (None, iter(())),
        (None, Path('x')),
        (None, Stream(chunks())),
        ('text', 'x'),
        ('bytes', b'x'),
        ('json', None),
        ('json', [1]),
        ('stream', Stream(chunks())),
        ('raw', Stream(chunks())),
        ('stream', 'page'),
    ],
    ids=str,
)
async def test_a_valid_response_passes(into, body):
    """It is returned in normal form."""
    expected = given(body=body, url='http://h/', ip=None, history=[])
    request = NORMAL if into is None else NORMAL | {'into': into}
    response = await lint(lambda request: expected)(request)
    assert {key: value for key, value in expected.items() if key != 'ip'} == response


async def test_a_plain_mapping_may_have_all_keys_that_one_may_write():
    """It is converted to normal form."""
    seen = []

    def handler(request):
        seen.append(request)
        return {'status': 201, 'json': [1]}

    table = {'url': 'http://h/', 'method': 'post', 'json': {'a': 1}, 'auth': 'u:p', 'timeout': None}
    response = await lint(handler)(table)
    assert ([http.to_request(table)], http.to_response({'status': 201, 'json': [1]})) == (
        seen,
        response,
    )


async def test_any_request_in_normal_form_passes():
    """Also with all keys that a request can have."""
    written = {
        'url': 'https://u:p@é.example/a b?c#d',
        'method': 'put',
        'json': {'a': 1},
        'timeout': {'read': 5},
        'redirects': 0,
        'into': 'json',
        'max_body': None,
        'check': {404, 200},
        'tls': {'verify': False},
        'proxy': 'http://proxy:3128',
        'ip': '::1',
        'version': '1.1',
    }
    response = await lint(lambda request: {'status': 200})(http.to_request(written))
    assert 200 == response.status


async def test_tables_of_servers_and_clients_pass():
    """Streams, forms, WebSockets and JSON, on both sides."""

    async def echo(request):
        if request.path == '/chat':
            return {'websocket': lambda socket: socket.send('hello')}
        if request.path == '/stream':
            return {'status': 200, 'body': request.body if request.body else chunks()}
        return {'status': 200, 'json': {'path': request.path}}

    async with http.listen('127.0.0.1', 0, lint(echo), into=by_path) as server:
        ask = lint(lint(http.request))
        for into, path in (
            ('text', '/a?b'),
            ('json', '/j'),
            ('bytes', '/x'),
            ('stream', '/stream'),
        ):
            response = await ask(
                {'url': server.url + path, 'into': into, 'method': 'POST', 'body': '5'}
            )
            assert 200 == response.status
            if into == 'stream':
                assert b'5' == await response.body.read()
        async with http.websocket(url=server.url.replace('http', 'ws') + '/chat') as socket:
            assert 'hello' == await anext(socket)


def by_path(request):
    """Choose ``into`` by the path of a request."""
    return {'/stream': 'stream', '/j': 'json', '/x': 'bytes'}.get(request.path, 'text')


async def test_the_stream_of_a_rejected_response_is_closed():
    """It would not be read by anyone."""
    closed = []

    class Watched(Stream):
        async def close(self):
            closed.append(self)

    body = Watched(chunks())
    with pytest.raises(http.TableError, match=r"'body' is .* for into='text'"):
        await lint(lambda request: given(body=body))(NORMAL | {'into': 'text'})
    assert [body] == closed


@pytest.mark.parametrize('target', ['/{a}|"b"?c=<d>', '/%zz%?%', '//a/b?c?d', '/?', '/a\\^`'])
async def test_a_server_may_pass_on_an_unquoted_target(wire, target):
    """A server passes the target on as received; the handler gets it quoted."""
    handler = lint(lambda request: {'status': 200, 'body': request.url})
    async with http.listen('127.0.0.1', 0, handler) as server, wire(server) as client:
        client.send_request(f'GET {target}', 'X: \xff')
        status, _, body = await client.read_response()
        assert (200, http.to_request(host='h', url=target).url) == (status, body.decode())
