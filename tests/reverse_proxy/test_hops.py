"""Headers and targets of forwarded requests and responses."""

import pytest

from aioluahttp.errors import ProtocolError, TableError
from aioluahttp.exchange.forwarded import check_trusted_proxies, client_info
from aioluahttp.headers import Headers
from aioluahttp.reverse_proxy import hops
from aioluahttp.tables.models import Request

REQUEST = {
    'method': 'GET',
    'scheme': 'https',
    'host': 'example.com',
    'port': 443,
    'ip': '192.0.2.1',
}
ADDED = [
    ('Via', '1.1 aioluahttp'),
    ('X-Forwarded-For', '192.0.2.1'),
    ('X-Forwarded-Proto', 'https'),
    ('X-Forwarded-Host', 'example.com'),
    ('Forwarded', 'for=192.0.2.1;proto=https;host="example.com"'),
]


def sent(*pairs, **fields):
    """Return the headers that are sent to the origin for those of a client."""
    return hops.to_origin(Request({**REQUEST, 'headers': Headers(pairs), **fields}), frozenset())


@pytest.mark.parametrize(
    'name',
    """Connection Keep-Alive TE Trailer Transfer-Encoding Upgrade Expect Content-Length
    Proxy-Authorization Proxy-Connection HTTP2-Settings keep_alive TRANSFER_ENCODING""".split(),
)
def test_hop_by_hop_headers_are_dropped(name):
    """In any spelling, also with underscores as in CGI (RFC 9110 7.6.1)."""
    assert ADDED == sent((name, 'x'))


@pytest.mark.parametrize(
    'name',
    """Host Forwarded X-Forwarded-For X-Forwarded-Proto X-Forwarded-Host X-Forwarded-Port
    X-Forwarded-Prefix X-Real-IP x_forwarded_for X_Real-IP Proxy""".split(),
)
def test_no_client_says_who_it_is(name):
    """Headers about the client that an origin would trust are dropped."""
    assert ADDED == sent((name, 'secret'))


def test_other_headers_are_forwarded_unchanged():
    """Values are the same bytes, repeated headers keep their order."""
    pairs = [('Cookie', 'a=b'), ('X', 'caf\udce9'), ('x', '2'), ('Accept-Encoding', 'gzip;q=0.5')]
    assert [*pairs, *ADDED] == sent(*pairs)


def test_what_connection_names_stays_behind():
    """Names match in any case, in each Connection header; headers that the relay adds are sent."""
    pairs = [
        ('Connection', 'close, x-one ,,X-Forwarded-For'),
        ('connection', 'COOKIE,Via'),
        ('X-One', '1'),
        ('Cookie', 'a=b'),
        ('X-Two', '2'),
    ]
    assert [('X-Two', '2'), *ADDED] == sent(*pairs)


@pytest.mark.parametrize(
    ('fields', 'expected'),
    [
        ({'ip': '2001:db8::1'}, 'for="[2001:db8::1]";proto=https;host="example.com"'),
        ({'ip': None}, 'for=unknown;proto=https;host="example.com"'),
        ({'ip': 'x;for=1'}, 'for=unknown;proto=https;host="example.com"'),
        ({'port': 80, 'scheme': 'http'}, 'for=192.0.2.1;proto=http;host="example.com"'),
        ({'port': 8080}, 'for=192.0.2.1;proto=https;host="example.com:8080"'),
        ({'port': None}, 'for=192.0.2.1;proto=https;host="example.com"'),
        ({'scheme': 'HTTPS', 'port': 443}, 'for=192.0.2.1;proto=https;host="example.com"'),
        ({'scheme': 'HTTP', 'host': None}, 'for=192.0.2.1;proto=http'),
        ({'host': '::1'}, 'for=192.0.2.1;proto=https;host="[::1]"'),
        ({'host': 'fe80::1%lo'}, 'for=192.0.2.1;proto=https;host="[fe80::1]"'),
        ({'host': 'a%20b'}, 'for=192.0.2.1;proto=https;host="a%20b"'),
        ({'host': None, 'scheme': None}, 'for=192.0.2.1;proto=http'),
    ],
    ids=str,
)
def test_forwarded_has_the_client_and_the_url(fields, expected):
    """It has the form of RFC 7239: an unknown address is ``unknown``, an unknown host absent."""
    headers = Headers(sent(**fields))
    assert expected == headers['Forwarded']
    assert ('X-Forwarded-For' in headers) == ('unknown' not in expected)


@pytest.mark.parametrize('ip', ['192.0.2.1', '2001:db8::1'])
def test_trusted_proxies_reads_what_is_added(ip):
    """A server with ``trusted_proxies`` gets the client's address, the scheme and the host."""
    trusted = check_trusted_proxies(['127.0.0.1'])
    info = client_info('127.0.0.1', Headers(sent(ip=ip, port=8443)), trusted)
    assert (ip, 'https', 'example.com:8443') == info


@pytest.mark.parametrize('host', ['a"b', 'a;b', 'a,b', 'a b', 'a/b', 'a\nb'])
def test_an_invalid_host_is_refused(host):
    """It could end its quotes in Forwarded."""
    with pytest.raises(TableError, match="'host'"):
        sent(host=host)


@pytest.mark.parametrize('key', ['ip', 'scheme', 'host', 'port'])
def test_a_wrong_type_is_told(key):
    with pytest.raises(TableError, match=f"'{key}' is"):
        sent(**{key: ['x']})


@pytest.mark.parametrize('host', ['a;for=me', 'a,b'])
def test_a_host_that_would_be_split_is_a_400(host):
    """It is a valid Host, and so a mistake of neither the handler nor the server."""
    with pytest.raises(TableError, match="'host'") as caught:
        sent(host=host)
    assert 400 == caught.value.__cause__.status
    assert 'host="a=b!"' in dict(sent(host='A=b!'))['Forwarded']


def test_via_has_the_version_and_the_relays_before():
    """Each relay appends itself (RFC 9110 7.6.3)."""
    assert [('Via', '1.1 other'), ('Via', '1.0 aioluahttp')] == sent(
        ('Via', '1.1 other'), version='1.0'
    )[:2]


@pytest.mark.parametrize(
    ('values', 'count'),
    [
        ([], 0),
        (['1.1 aioluahttp'], 1),
        (['1.1 aioluahttp, 1.0 other', 'HTTP/1.0 aioluahttp (x)'], 2),
        (['aioluahttp, 1.1 aioluahttp2,,1.1'], 0),
    ],
)
def test_aioluahttp_relays_in_via_are_counted(values, count):
    """They are recognised by their name."""
    assert count == hops.count_via(Headers([('Via', value) for value in values]))


@pytest.mark.parametrize(
    ('method', 'given', 'left'),
    [
        ('OPTIONS', '0', 0),
        ('OPTIONS', '12', 12),
        ('OPTIONS', '-1', None),
        ('OPTIONS', '٥', None),
        ('OPTIONS', '1, 2', None),
        ('GET', '0', None),
    ],
)
def test_max_forwards_is_read_for_options_only(method, given, left):
    """It is ignored for other methods, and if it is not a number (RFC 9110 7.6.2)."""
    assert left == hops.hops_left(Request(method=method, headers=Headers({'Max-Forwards': given})))


def test_max_forwards_is_decremented():
    """It is less by one for OPTIONS, and unchanged for other methods."""
    assert ('Max-Forwards', '6') in sent(('Max-Forwards', '7'), method='OPTIONS')
    assert ('Max-Forwards', '7') in sent(('Max-Forwards', '7'))


@pytest.mark.parametrize(
    ('url', 'base', 'expected'),
    [
        ('/', '', '/'),
        ('/a?b', '/base', '/base/a?b'),
        ('//host/x', '', '//host/x'),
        ('/../%2e%2E/./a//b?', '', '/../%2e%2E/./a//b?'),
        ('/"<>\\^`{|}\'?a?b/@:', '', '/"<>\\^`{|}\'?a?b/@:'),
        ('*', '', '*'),
        ('*', '/base', '/base'),
    ],
)
def test_the_target_is_forwarded_byte_for_byte(url, base, expected):
    """Nothing is resolved, quoted or removed."""
    assert expected == hops.target_with_base('OPTIONS', url, base)


@pytest.mark.parametrize(
    'url',
    ['', 'a', 'http://x/', '/a b', '/a\r\nX: y', '/a\0', '/a\t', '/a\x7f', '/a#b', '/é', '**', 5],
)
def test_an_invalid_target_is_refused(url):
    """It may not have a space, a control character or another origin."""
    with pytest.raises(TableError, match="'url'"):
        hops.target_with_base('OPTIONS', url, '')


def test_only_options_may_have_an_asterisk_as_target():
    """That is asterisk-form (RFC 9112 3.2.4)."""
    with pytest.raises(TableError, match="'url'"):
        hops.target_with_base('GET', '*', '')


@pytest.mark.parametrize(
    ('pairs', 'expected'),
    [
        ([], None),
        ([('Content-Length', '5')], 5),
        ([('Content-Length', '0' * 5000 + '5')], 5),
        ([('Content-Length', '000')], 0),
        ([('Content-Length', '5'), ('Transfer-Encoding', 'chunked')], None),
    ],
)
def test_the_length_of_a_body_is_read_from_its_headers(pairs, expected):
    """Transfer-Encoding overrides Content-Length."""
    assert expected == hops.announced_length(Headers(pairs))


@pytest.mark.parametrize('values', [['x'], [''], ['-5'], ['5', '5'], ['1' * 19], ['٥'], ['5,5']])
def test_an_invalid_length_is_refused(values):
    """A request from a server never has one."""
    with pytest.raises(TableError, match='Content-Length'):
        hops.announced_length(Headers([('Content-Length', value) for value in values]))


HANDSHAKE = {
    'Connection': 'keep-alive, Upgrade',
    'Upgrade': 'WebSocket',
    'Sec-WebSocket-Version': '13',
    'Sec-WebSocket-Key': 'dGhlIHNhbXBsZSBub25jZQ==',
}


@pytest.mark.parametrize(
    ('changed', 'expected'),
    [
        ({}, True),
        ({'Connection': 'close'}, False),
        ({'Upgrade': 'h2c'}, False),
        ({'Upgrade': 'websocket, h2c'}, True),
        ({'Sec-WebSocket-Version': '8'}, False),
        ({'Sec-WebSocket-Key': 'x'}, False),
        ({'Origin': 'https://elsewhere.example'}, True),
    ],
)
def test_a_websocket_handshake_has_all_its_headers(changed, expected):
    """WebSocket may be one of several protocols; Origin is left for the origin to check."""
    request = Request(REQUEST, version='1.1', headers=Headers({**HANDSHAKE, **changed}))
    assert expected == hops.asks_websocket(request)


@pytest.mark.parametrize('fields', [{'body': 'x'}, {'method': 'POST'}, {'version': '1.0'}])
def test_other_requests_are_not_a_websocket_handshake(fields):
    """They have a body, another method, or are HTTP/1.0, which has no Upgrade."""
    request = Request({**REQUEST, 'version': '1.1', 'headers': Headers(HANDSHAKE), **fields})
    assert not hops.asks_websocket(request)


def test_a_response_is_returned_without_hop_by_hop_headers():
    """Content-Length is kept even if Connection names it; other headers keep their order."""
    pairs = [
        ('Set-Cookie', 'a=1'),
        ('Connection', 'close, X-Hop, Content-Length'),
        ('Keep-Alive', 'timeout=5'),
        ('X-Hop', '1'),
        ('Upgrade', 'h2c'),
        ('Proxy-Authenticate', 'Basic'),
        ('Trailer', 'X'),
        ('set-cookie', 'b=2'),
        ('Proxy-Status', 'x'),
        ('Content-Length', '5'),
    ]
    expected = [
        ('Set-Cookie', 'a=1'),
        ('set-cookie', 'b=2'),
        ('Proxy-Status', 'x'),
        ('Content-Length', '5'),
    ]
    assert expected == list(hops.to_client('1.1', Headers(pairs)).items())


def test_transfer_encoding_of_a_response_is_dropped():
    """The server adds its own."""
    assert not hops.to_client('1.1', Headers({'Transfer-Encoding': 'Chunked'}))


@pytest.mark.parametrize(
    ('version', 'pairs'),
    [
        ('1.1', [('Transfer-Encoding', 'gzip, chunked')]),
        ('1.1', [('Transfer-Encoding', 'gzip'), ('Transfer-Encoding', 'chunked')]),
        ('1.1', [('Transfer-Encoding', 'chunked'), ('Content-Length', '5')]),
        ('1.0', [('Transfer-Encoding', 'chunked')]),
        ('1.1', [('Content-Length', '5'), ('Content-Length', '5')]),
        ('1.1', [('Content-Length', '+5')]),
        ('1.1', [('Content-Length', '9' * 19)]),
        ('1.1', [('X', 'a\r\nb')]),
        ('1.1', [('X Y', 'a')]),
    ],
)
def test_an_ambiguous_response_is_refused(version, pairs):
    """It has another transfer coding, an invalid length or an invalid header."""
    with pytest.raises(ProtocolError, match='the origin sent'):
        hops.to_client(version, Headers(pairs))
