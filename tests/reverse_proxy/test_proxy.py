"""`forward` and `proxy`: what the origin receives, and what the client gets."""

import asyncio
import contextlib
import logging
import ssl

import pytest

import aioluahttp as http

OK = b'HTTP/1.1 200 OK\r\nContent-Length: 2\r\n\r\nok'
HOPS = ['Via', 'X-Forwarded-For', 'X-Forwarded-Proto', 'X-Forwarded-Host', 'Forwarded']


@contextlib.asynccontextmanager
async def relayed(raw_server, origin, base='', **overrides):
    """Serve as a reverse proxy of a raw origin; yield both."""
    async with (
        raw_server(origin) as peer,
        http.listen('127.0.0.1', 0, http.proxy(peer.url + base, **overrides)) as server,
    ):
        yield server, peer


async def exchange(wire, server, line, *fields, body=b'', silent=False):
    """Send a request on a new connection; return status, headers and body."""
    async with wire(server) as client:
        client.send_request(line, *fields, body=body)
        return await client.read_response(silent=silent)


# Requests


async def test_the_origin_receives_the_request_of_the_client(raw_server, wire):
    """It has the same target and headers, and those that the relay adds."""
    target = '/a//../%2e%2E/"<>\\^`{|}\'?x=%2C,&?@:'
    async with relayed(raw_server, OK) as (server, peer):
        status, _, body = await exchange(wire, server, f'GET {target}', 'X: caf\udce9', 'x:  2 ')
        assert (200, b'ok') == (status, body)
        asked = peer.requests[0]
        address = f'127.0.0.1:{peer.port}'
    assert f'GET {target} HTTP/1.1' == asked.line
    expected = [
        ('Host', address),
        ('X', 'caf\udce9'),
        ('x', '2'),
        ('Via', '1.1 aioluahttp'),
        ('X-Forwarded-For', '127.0.0.1'),
        ('X-Forwarded-Proto', 'http'),
        ('X-Forwarded-Host', 'h'),
        ('Forwarded', 'for=127.0.0.1;proto=http;host="h"'),
    ]
    assert expected == asked.headers


@pytest.mark.parametrize(
    ('line', 'fields', 'framing', 'body'),
    [
        ('GET', [], [], b''),
        ('HEAD', [], [], b''),
        ('DELETE', [], [], b''),
        ('POST', [], [('Content-Length', '0')], b''),
        ('POST', ['Content-Length: 0'], [('Content-Length', '0')], b''),
        ('GET', ['Content-Length: 03'], [('Content-Length', '3')], b'abc'),
        (
            'PATCH',
            ['Connection: content-length', 'Content-Length: 3'],
            [('Content-Length', '3')],
            b'abc',
        ),
        ('PUT', ['Content-Length: 3', 'Expect: 100-continue'], [('Content-Length', '3')], b'abc'),
    ],
)
async def test_the_framing_is_that_of_the_body(raw_server, wire, line, fields, framing, body):
    """A request without a body has no framing headers, except a POST."""
    async with relayed(raw_server, OK) as (server, peer), wire(server) as client:
        client.send_request(f'{line} /', *fields, body=body)
        assert b'HTTP/1.1 ' == await client.reader.readexactly(9)
    asked = peer.requests[0]
    found = [pair for pair in asked.headers if pair[0] in ('Content-Length', 'Transfer-Encoding')]
    assert (framing, body) == (found, asked.body)


@pytest.mark.parametrize(
    'field',
    [
        'Upgrade: h2c',
        'HTTP2-Settings: AAMAAABkAAQAAP__',
        'TE: trailers',
        'Keep-Alive: timeout=5',
        'Proxy-Connection: keep-alive',
        'Proxy-Authorization: Basic eDp5',
        'X-Forwarded-For: 10.0.0.1',
        'X_Forwarded_For: 10.0.0.1',
        'Forwarded: for=10.0.0.1',
        'X-Hop: 1',
        'Sec-WebSocket-Protocol: chat',
    ],
)
async def test_what_is_not_for_the_origin_does_not_reach_it(raw_server, wire, field):
    """Hop-by-hop headers are dropped, and those about the client."""
    connection = 'Connection: upgrade, HTTP2-Settings, x-hop, sec-websocket-protocol, via, host'
    async with relayed(raw_server, OK) as (server, peer):
        await exchange(wire, server, 'GET /', connection, field)
    assert ['Host', *HOPS] == [name for name, _ in peer.requests[0].headers]


async def test_the_client_chooses_no_origin(raw_server, wire):
    """No form of the target, and no Host, changes where a request is sent."""
    async with relayed(raw_server, OK, base='/base') as (server, peer):
        for target in 'http://elsewhere.example/x', '//elsewhere.example/x', '/@elsewhere/x':
            assert 200 == (await exchange(wire, server, f'GET {target}'))[0]
        hosts = {asked.values('Host')[0] for asked in peer.requests}
        assert {f'127.0.0.1:{peer.port}'} == hosts
    assert ['GET /base/x', 'GET /base//elsewhere.example/x', 'GET /base/@elsewhere/x'] == [
        asked.line.removesuffix(' HTTP/1.1') for asked in peer.requests
    ]


@pytest.mark.parametrize(
    ('base', 'target', 'expected'),
    [
        ('/', '/x', '/x'),
        ('/base/', '/x', '/base/x'),
        ('/a%2Fb', '/?', '/a%2Fb/?'),
        ('', '*', '*'),
        ('/base', '*', '/base'),
    ],
)
async def test_the_path_of_the_base_is_put_in_front(raw_server, wire, base, target, expected):
    """A slash at its end is not doubled."""
    method = 'OPTIONS' if target == '*' else 'GET'
    async with relayed(raw_server, OK, base=base) as (server, peer):
        await exchange(wire, server, f'{method} {target}')
    assert f'{method} {expected} HTTP/1.1' == peer.requests[0].line


async def test_a_client_of_http_1_0_is_served(raw_server):
    """It needs no Host; a response without a length ends with the connection."""
    chunks = b'HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n2\r\nok\r\n0\r\n\r\n'
    async with relayed(raw_server, chunks) as (server, peer):
        reader, writer = await asyncio.open_connection('127.0.0.1', server.port)
        writer.write(b'GET / HTTP/1.0\r\n\r\n')
        raw = await reader.read()
        writer.close()
        await writer.wait_closed()
        assert ['1.0 aioluahttp'] == peer.requests[0].values('Via')
        assert [f'127.0.0.1:{server.port}'] == peer.requests[0].values('X-Forwarded-Host')
    assert raw.endswith(b'\r\n\r\nok')
    assert b'Transfer-Encoding' not in raw


async def test_header_overrides_replace_those_of_the_client(raw_server, wire):
    """Names match in any spelling; None removes a header; framing headers are ignored."""
    headers = {
        'X-Key': 'ours',
        'Cookie': None,
        'Via': None,
        'Host': 'public.example',
        'x-forwarded-proto': 'https',
        'Content-Length': '9',
        'Connection': 'close',
        'X-Two': ['a', 'b'],
    }
    async with relayed(raw_server, OK, headers=headers, bearer='token') as (server, peer):
        fields = 'X_Key: theirs', 'Cookie: a=b', 'Authorization: Basic eDp5', 'Connection: x-key'
        await exchange(wire, server, 'GET /', *fields)
    assert [
        ('Host', 'public.example'),
        ('X-Forwarded-For', '127.0.0.1'),
        ('X-Forwarded-Host', 'h'),
        ('Forwarded', 'for=127.0.0.1;proto=http;host="h"'),
        ('X-Key', 'ours'),
        ('x-forwarded-proto', 'https'),
        ('X-Two', 'a'),
        ('X-Two', 'b'),
        ('Authorization', 'Bearer token'),
    ] == peer.requests[0].headers


async def test_host_is_sent_even_if_an_override_removes_it(raw_server, wire):
    """HTTP/1.1 requires it."""
    async with relayed(raw_server, OK, headers=[('Host', None)]) as (server, peer):
        await exchange(wire, server, 'GET /')
        assert [f'127.0.0.1:{peer.port}'] == peer.requests[0].values('Host')


async def test_a_changed_request_is_forwarded_changed(raw_server):
    """The origin receives what a handler put into the table."""

    async def chunks():
        yield b'ab'
        yield 'cd'

    async with raw_server(OK) as peer:
        url = '/new?x'

        async def handler(request):
            match request.path:
                case '/text':
                    changed = {'body': 'caf\u00e9', 'headers': {'Content-Type': 'text/plain'}}
                case '/list':
                    changed = {'headers': {'Content-Length': 4}, 'body': iter([b'ab', b'cd'])}
                case '/long':
                    changed = {'body': 'x' * 20_000}
                case '/none':
                    changed = {'method': 'GET', 'body': None}
            return await http.forward({**request, 'url': url, **changed}, peer.url)

        async with http.listen('127.0.0.1', 0, handler) as server:
            for path in '/text', '/list', '/long', '/none':
                await http.request(url=server.url + path, method='PUT', body='x')
    assert ['PUT /new?x', 'PUT /new?x', 'PUT /new?x', 'GET /new?x'] == [
        asked.line.removesuffix(' HTTP/1.1') for asked in peer.requests
    ]
    assert ['caf\u00e9'.encode(), b'abcd', b'x' * 20_000, b''] == [
        asked.body for asked in peer.requests
    ]


async def test_a_body_of_unknown_length_is_sent_in_chunks():
    """An empty one is sent with Content-Length: 0."""

    async def chunks(count):
        for _ in range(count):
            yield 'ab'

    def handler(request):
        names = 'Content-Length', 'Transfer-Encoding'
        return {'status': 200, 'json': [*map(request.headers.get, names), request.body]}

    async with http.listen('127.0.0.1', 0, handler) as origin:
        for count, expected in (0, ['0', None, '']), (2, [None, 'chunked', 'abab']):
            table = {'method': 'POST', 'url': '/', 'body': chunks(count)}
            response = await http.forward(table, origin.url)
            body = await response['body'].read()
            assert expected == http.Response(response, body=body).json()


@pytest.mark.parametrize(
    ('changed', 'right'),
    [
        ({'url': 'http://elsewhere.example/'}, "'url'"),
        ({'url': '/a b'}, "'url'"),
        ({'url': None}, "'url'"),
        ({'method': 'GET /x HTTP/1.1\r\n'}, "'method'"),
        ({'headers': {'X': 'a\r\nb'}}, 'control'),
        ({'headers': {'X Y': 'a'}}, 'token'),
        ({'host': 'a"b'}, "'host'"),
        ({'scheme': 'ftp'}, "'scheme'"),
        ({'body': [1]}, "'body'"),
        ({'body': iter([1])}, "'body'"),
    ],
)
async def test_a_malformed_request_table_is_refused(raw_server, changed, right):
    """Nothing of it reaches the origin."""
    table = {'method': 'PUT', 'url': '/', 'headers': {}, 'host': 'h', **changed}
    async with raw_server(OK) as peer:
        with pytest.raises(http.TableError, match=right):
            await http.forward(table, peer.url)
    assert [] == peer.requests


async def test_credentials_in_the_url_are_sent_to_the_origin(raw_server, wire):
    """They replace those of the client."""
    async with raw_server(OK) as peer:
        proxy = http.proxy(peer.url.replace('//', '//u:p@'))
        async with http.listen('127.0.0.1', 0, proxy) as server:
            await exchange(wire, server, 'GET /', 'Authorization: Bearer theirs')
    assert ['Basic dTpw'] == peer.requests[0].values('Authorization')


# Responses


async def test_the_client_gets_the_response_of_the_origin(raw_server, wire):
    """Status, reason and headers are the same; nothing is added, decoded or followed."""
    raw = (
        b'HTTP/1.1 302 Gone \xe9lsewhere\r\nLocation: http://x/\r\nSet-Cookie: a=1\r\nX: \xff\r\n'
        b'Set-Cookie: b=2\r\nDate: then\r\nContent-Encoding: gzip\r\nContent-Length: 4\r\n'
        b'Connection: X-Hop\r\nX-Hop: 1\r\nKeep-Alive: timeout=5\r\n\r\nabcd'
    )
    expected = (
        b'HTTP/1.1 302 Gone \xe9lsewhere\r\nLocation: http://x/\r\nSet-Cookie: a=1\r\nX: \xff\r\n'
        b'Set-Cookie: b=2\r\nDate: then\r\nContent-Encoding: gzip\r\nContent-Length: 4\r\n\r\nabcd'
    )
    async with relayed(raw_server, raw) as (server, _), wire(server) as client:
        client.send_request('GET /')
        assert expected == await client.reader.readexactly(len(expected))
        client.send_request('GET /', 'Connection: close')
        assert len(expected) + len(b'Connection: close\r\n') == len(await client.rest())


@pytest.mark.parametrize('status', [200, 299, 404, 500, 599, 600, 999])
async def test_any_status_is_returned(raw_server, wire, status):
    """A handler's own status is at most 599, but an origin's may be higher."""
    raw = b'HTTP/1.1 %d \r\nContent-Length: 0\r\n\r\n' % status
    async with relayed(raw_server, raw) as (server, _):
        assert status == (await exchange(wire, server, 'GET /'))[0]


@pytest.mark.parametrize(
    ('method', 'start', 'fields'),
    [
        ('HEAD', '200 OK', ['Content-Length: 1000']),
        ('HEAD', '200 OK', []),
        ('GET', '204 No Content', []),
        ('GET', '304 Not Modified', ['Content-Length: 1000', 'ETag: "x"']),
        ('GET', '304 Not Modified', ['ETag: "x"']),
    ],
)
async def test_a_response_without_a_body_keeps_its_head(raw_server, wire, method, start, fields):
    """The connections to the client and to the origin are reused."""
    head = '\r\n'.join((f'HTTP/1.1 {start}', 'Date: D', *fields, '\r\n')).encode()
    async with relayed(raw_server, head) as (server, peer), wire(server) as client:
        for _ in range(2):
            client.send_request(f'{method} /')
            given = await client.reader.readuntil(b'\r\n\r\n')
            assert sorted(head.lower().split(b'\r\n')) == sorted(given.lower().split(b'\r\n'))
        # aiohttp takes the end of the connection for the end of a HEAD response without framing.
        assert (2 if start == '200 OK' and not fields else 1) == peer.connections


@pytest.mark.parametrize('framing', ['Content-Length: 9000000', 'Transfer-Encoding: chunked'])
async def test_a_body_of_a_205_is_not_read(raw_server, wire, framing):
    """It has none (RFC 9110 15.3.6); what an origin sends all the same may have no end."""
    left = asyncio.Event()

    async def origin(line):
        await line.request()
        await line.send(f'HTTP/1.1 205 Reset Content\r\n{framing}\r\n\r\n'.encode())
        with contextlib.suppress(OSError):
            while True:
                await line.send(b'1000\r\n%b\r\n' % bytes(0x1000))
        left.set()

    async with relayed(raw_server, origin) as (server, _):
        status, headers, body = await exchange(wire, server, 'GET /')
        assert (205, '0', b'') == (status, headers['Content-Length'], body)
        await left.wait()


async def test_the_head_does_not_wait_for_the_body(raw_server, wire):
    """A stream of events without an event yet is such a response."""
    head = b'HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n'

    async def origin(line):
        await line.request()
        await line.send(head)
        await seen.wait()
        await line.send(b'2\r\nok\r\n0\r\n\r\n')

    seen = asyncio.Event()
    async with relayed(raw_server, origin) as (server, _), wire(server) as client:
        client.send_request('GET /')
        assert b'chunked' in await client.reader.readuntil(b'\r\n\r\n')
        seen.set()
        assert b'2\r\nok\r\n0\r\n\r\n' == await client.reader.readexactly(12)


@pytest.mark.parametrize(
    'raw',
    [
        b'HTTP/1.1 200 OK\r\nContent-Length: 9\r\n\r\nok',
        b'HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n2\r\nok\r\n',
    ],
)
async def test_a_response_that_breaks_off_breaks_off(raw_server, wire, raw, caplog):
    """The client does not take a part of it for the whole; the error is logged."""

    async def origin(line):
        await line.request()
        await line.send(raw)

    async with relayed(raw_server, origin) as (server, _), wire(server) as client:
        client.send_request('GET /')
        rest = await client.rest()
    assert b'ok' in rest
    assert not rest.endswith(b'0\r\n\r\n')
    (record,) = caplog.records
    assert 'WARNING' == record.levelname
    assert '127.0.0.1' in record.getMessage()


async def test_a_client_that_leaves_closes_the_origin_connection(raw_server, wire):
    """It is closed in the middle of the response."""

    async def origin(line):
        await line.request()
        await line.send(b'HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n2\r\nok\r\n')
        closed.set_result(await line.reader.read())

    closed = asyncio.get_running_loop().create_future()
    async with relayed(raw_server, origin) as (server, _):
        async with wire(server) as client:
            client.send_request('GET /')
            await client.reader.readuntil(b'ok')
        assert b'' == await closed


@pytest.mark.parametrize(
    ('raw', 'text'),
    [
        (b'garbage\r\n\r\n', 'GET http://127.0.0.1'),
        (b'HTTP/1.1 101 Go\r\n\r\n', '101'),
        (b'HTTP/1.1 200 OK\r\nX: a\x01b\r\nContent-Length: 0\r\n\r\n', ''),
        (b'HTTP/1.1 200 OK\r\nTransfer-Encoding: gzip, chunked\r\n\r\n0\r\n\r\n', 'coding'),
        (b'HTTP/1.1 200 OK\r\nContent-Length: 2\r\nTransfer-Encoding: chunked\r\n\r\n', ''),
    ],
)
async def test_an_answer_that_is_none_is_a_502(raw_server, wire, raw, text, caplog):
    """An invalid response gives a 502; the log has the reason, without the query."""
    async with relayed(raw_server, raw) as (server, _):
        status, _, body = await exchange(wire, server, 'GET /x?secret')
    assert (502, b'Bad Gateway') == (status, body)
    [record] = caplog.records
    assert logging.WARNING == record.levelno
    assert text in record.getMessage()
    assert 'secret' not in record.getMessage()


async def test_an_invalid_body_of_the_client_is_not_a_502(raw_server, wire, caplog):
    """The server responds as if it had read the body itself."""

    async def origin(line):
        await line.reader.read()

    async with relayed(raw_server, origin) as (server, _):
        broken = {'body': b'no chunk\r\n\r\n'}
        assert (
            400
            == (await exchange(wire, server, 'PUT /', 'Transfer-Encoding: chunked', **broken))[0]
        )
    assert not caplog.records


async def test_no_connection_is_a_502(wire, caplog):
    """Nothing listens at the origin's address."""
    async with http.listen('127.0.0.1', 0, lambda request: {'status': 200}) as origin:
        url = origin.url
    async with http.listen('127.0.0.1', 0, http.proxy(url)) as server:
        assert 502 == (await exchange(wire, server, 'GET /'))[0]


async def test_max_body_limits_a_response(raw_server, wire, caplog):
    """A length above it gives a 502; a body that passes it breaks off."""

    async def chunks(line):
        await line.request()
        await line.send(b'HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n')
        await seen.wait()
        await line.send(b'2\r\nok\r\n0\r\n\r\n')

    seen = asyncio.Event()
    async with relayed(raw_server, OK, max_body=1) as (server, _):
        assert 502 == (await exchange(wire, server, 'GET /'))[0]
    async with relayed(raw_server, OK, max_body=2) as (server, _):
        assert 200 == (await exchange(wire, server, 'GET /'))[0]
    async with relayed(raw_server, chunks, max_body=1) as (server, _), wire(server) as client:
        client.send_request('GET /')
        await client.reader.readuntil(b'\r\n\r\n')
        seen.set()
        assert b'' == await client.rest()


async def test_a_total_timeout_gives_a_504(raw_server, wire):
    """It covers everything up to the head of the response."""

    async def origin(line):
        await line.reader.read()

    async with relayed(raw_server, origin, timeout=0.05) as (server, _):
        assert 504 == (await exchange(wire, server, 'GET /'))[0]


# Hops


async def test_no_request_goes_round_for_ever(wire):
    """A relay that forwards to itself, also through others, notices by Via (RFC 9110 7.6.3)."""
    passed = 0

    async def handler(request):
        nonlocal passed
        passed += 1
        return await http.forward(request, server.url)

    async with http.listen('127.0.0.1', 0, handler) as server:
        assert 508 == (await exchange(wire, server, 'GET /'))[0]
    assert 11 == passed


async def test_trace_is_not_for_clients(raw_server, wire):
    """It would show the headers that the relay adds."""
    async with relayed(raw_server, OK, bearer='secret') as (server, peer):
        assert 501 == (await exchange(wire, server, 'TRACE /'))[0]
    assert [] == peer.requests


async def test_max_forwards_of_options_is_respected(raw_server, wire):
    """The relay itself responds to ``Max-Forwards: 0`` (RFC 9110 7.6.2)."""
    async with relayed(raw_server, OK) as (server, peer):
        assert 204 == (await exchange(wire, server, 'OPTIONS *', 'Max-Forwards: 0'))[0]
        assert 200 == (await exchange(wire, server, 'OPTIONS *', 'Max-Forwards: 3'))[0]
    assert [['2']] == [asked.values('Max-Forwards') for asked in peer.requests]


# Middleware and connections


async def test_a_middleware_may_wrap_a_proxy(raw_server):
    """It keeps the attributes that ``listen`` reads; a streamed response is compressed."""
    head = b'HTTP/1.1 200 OK\r\nContent-Type: text/plain\r\nContent-Length: 5000\r\n\r\n'
    async with raw_server(head + b'x' * 5000) as peer:
        handler = http.compress(http.proxy(peer.url), codings=['gzip'])
        assert ('raw', None) == (handler.into, handler.max_body)
        async with http.listen('127.0.0.1', 0, handler) as server:
            response = await http.request(url=server.url, into='raw')
            assert 'gzip' == response.headers['Content-Encoding']
            assert len(await response.body.read()) < 5000
            assert 'x' * 5000 == (await http.request(url=server.url)).body


async def test_an_origin_may_be_a_unix_socket_or_have_tls(raw_server, wire, certificates, tmp_path):
    """The overrides ``unix`` and ``tls`` say so."""
    unix = str(tmp_path / 'origin')
    async with relayed(raw_server, OK) as (server, _):
        pass
    async with (
        raw_server(OK, unix=unix) as one,
        raw_server(OK, tls=certificates.server) as other,
    ):
        for peer, overrides in (one, {'unix': unix}), (other, {'tls': {'ca': certificates.ca}}):
            proxy = http.proxy(peer.url, **overrides)
            async with http.listen('127.0.0.1', 0, proxy) as server:
                assert 200 == (await exchange(wire, server, 'GET /'))[0]
                assert 1 == len(peer.requests)


async def test_x_forwarded_proto_is_https_behind_tls(raw_server, certificates):
    """The origin is told the scheme that the client used."""
    async with raw_server(OK) as peer:
        proxy = http.proxy(peer.url)
        async with http.listen('127.0.0.1', 0, proxy, tls=certificates.server) as server:
            trust = ssl.create_default_context(cafile=certificates.ca)
            url = f'https://localhost:{server.port}/'
            assert 200 == (await http.request(url=url, tls=trust)).status
    assert ['https'] == peer.requests[0].values('X-Forwarded-Proto')


async def test_chained_relays_forward_the_address_of_the_first_client(wire):
    """Each trusts the one before it."""

    def handler(request):
        return {'status': 200, 'json': [request.ip, request.scheme, request.host, request.port]}

    trusted = {'trusted_proxies': ['127.0.0.1']}
    async with (
        http.listen('127.0.0.1', 0, handler, **trusted) as origin,
        http.listen('127.0.0.1', 0, http.proxy(origin.url), **trusted) as inner,
        http.listen('127.0.0.1', 0, http.proxy(inner.url), **trusted) as outer,
    ):
        forwarded = 'X-Forwarded-For: 192.0.2.7', 'X-Forwarded-Host: public.example'
        *_, body = await exchange(wire, outer, 'GET /', *forwarded, 'X-Forwarded-Proto: https')
    assert b'["192.0.2.7","https","public.example",443]' == body


# WebSockets


async def test_a_websocket_handshake_is_forwarded_both_ways(raw_server, frames):
    """Headers and the subprotocol are, besides what the relay adds."""

    async def chat(socket):
        given = socket.request.headers
        names = 'Cookie', 'Origin', 'X-Forwarded-For', 'Via', 'Accept', 'User-Agent'
        await socket.send(repr([given.get(name) for name in names]))
        await socket.send(repr((socket.request.url, socket.protocol)))

    websocket = {'callback': chat, 'protocols': ['two', 'three'], 'origins': '*'}
    response = {'headers': [('Set-Cookie', 'a=1'), ('Set-Cookie', 'b=2')], 'websocket': websocket}
    async with (
        http.listen('127.0.0.1', 0, lambda request: response) as origin,
        http.listen('127.0.0.1', 0, http.proxy(origin.url + '/base')) as server,
        http.websocket(
            url=server.url + '/x?y',
            protocols=['one', 'two'],
            headers={'Cookie': 'c=d', 'Origin': 'https://page.example'},
        ) as socket,
    ):
        expected = ['c=d', 'https://page.example', '127.0.0.1', '1.1 aioluahttp']
        assert repr([*expected, '*/*', 'aioluahttp']) == await anext(socket)
        assert repr(('/base/x?y', 'two')) == await anext(socket)
        assert 'two' == socket.protocol
        assert ['a=1', 'b=2'] == socket.response.headers.getall('Set-Cookie')


@pytest.mark.parametrize(
    ('fields', 'status', 'text'),
    [((), 403, b'no'), (('Sec-WebSocket-Protocol: a, a',), 400, b'Bad Request')],
)
async def test_a_declined_websocket_returns_the_response_of_the_origin(
    raw_server, wire, frames, fields, status, text
):
    """An invalid handshake is refused by the relay itself."""
    refusal = b'HTTP/1.1 403 No\r\nContent-Length: 2\r\nX: y\r\n\r\nno'
    async with relayed(raw_server, refusal) as (server, peer):
        given = await exchange(wire, server, 'GET /', *frames.asking, *fields)
        assert (status, text) == (given[0], given[2])
        assert (status == 403) == bool(peer.requests)


@pytest.mark.parametrize(
    ('overrides', 'status'),
    [({}, 200), ({'max_header': 12_001}, 200), ({'max_header': 12_000}, 502)],
)
async def test_a_header_line_of_the_origin_has_a_limit(raw_server, overrides, status):
    """64 KiB by default; what passes is sent on to the client."""
    raw = b'HTTP/1.1 200 OK\r\nContent-Length: 0\r\nA: %b\r\n\r\n' % (b'x' * 12_000)
    async with (
        raw_server(raw) as peer,
        http.listen('127.0.0.1', 0, http.proxy(peer.url, **overrides)) as server,
    ):
        response = await http.request(url=server.url)
    assert (status, 12_000 * (status == 200)) == (
        response.status,
        len(response.headers.get('A', '')),
    )
