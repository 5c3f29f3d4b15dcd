"""What goes on to the next hop, and what is said of the one before."""

import pytest

from aioluahttp.errors import ProtocolError, TableError
from aioluahttp.exchange.forwarded import check_trusted_proxies, client_info
from aioluahttp.headers import Headers
from aioluahttp.reverse_proxy import hops
from aioluahttp.tables.models import Request

ASKED = {'method': 'GET', 'scheme': 'https', 'host': 'example.com', 'port': 443, 'ip': '192.0.2.1'}
SAID = [
    ('Via', '1.1 aioluahttp'),
    ('X-Forwarded-For', '192.0.2.1'),
    ('X-Forwarded-Proto', 'https'),
    ('X-Forwarded-Host', 'example.com'),
    ('Forwarded', 'for=192.0.2.1;proto=https;host="example.com"'),
]


def sent(*pairs, **fields):
    """Give the headers that go to the origin for those of a client."""
    return list(hops.to_origin(Request({**ASKED, 'headers': Headers(pairs), **fields})).items())


@pytest.mark.parametrize(
    'name',
    """Connection Keep-Alive TE Trailer Transfer-Encoding Upgrade Expect Content-Length
    Proxy-Authorization Proxy-Connection HTTP2-Settings keep_alive TRANSFER_ENCODING""".split(),
)
def test_what_belongs_to_one_hop_stays_behind(name):
    """However it is spelled, also as CGI would have it (RFC 9110 7.6.1)."""
    assert SAID == sent((name, 'x'))


@pytest.mark.parametrize(
    'name',
    """Host Forwarded X-Forwarded-For X-Forwarded-Proto X-Forwarded-Host X-Forwarded-Port
    X-Forwarded-Prefix X-Real-IP x_forwarded_for X_Real-IP Proxy""".split(),
)
def test_no_client_says_who_it_is(name):
    """What an origin would believe is what the server knows."""
    assert SAID == sent((name, 'secret'))


def test_all_else_goes_on_as_it_came():
    """Values byte for byte, repeats in their order."""
    pairs = [('Cookie', 'a=b'), ('X', 'caf\udce9'), ('x', '2'), ('Accept-Encoding', 'gzip;q=0.5')]
    assert [*pairs, *SAID] == sent(*pairs)


def test_what_connection_names_stays_behind():
    """In any case, in any of its fields; what the relay says for itself does not."""
    pairs = [
        ('Connection', 'close, x-one ,,X-Forwarded-For'),
        ('connection', 'COOKIE,Via'),
        ('X-One', '1'),
        ('Cookie', 'a=b'),
        ('X-Two', '2'),
    ]
    assert [('X-Two', '2'), *SAID] == sent(*pairs)


@pytest.mark.parametrize(
    ('fields', 'expected'),
    [
        ({'ip': '2001:db8::1'}, 'for="[2001:db8::1]";proto=https;host="example.com"'),
        ({'ip': None}, 'for=unknown;proto=https;host="example.com"'),
        ({'ip': 'x;for=1'}, 'for=unknown;proto=https;host="example.com"'),
        ({'port': 80, 'scheme': 'http'}, 'for=192.0.2.1;proto=http;host="example.com"'),
        ({'port': 8080}, 'for=192.0.2.1;proto=https;host="example.com:8080"'),
        ({'port': None}, 'for=192.0.2.1;proto=https;host="example.com"'),
        ({'host': '::1'}, 'for=192.0.2.1;proto=https;host="[::1]"'),
        ({'host': None, 'scheme': None}, 'for=192.0.2.1;proto=http'),
    ],
    ids=str,
)
def test_it_is_said_who_asked(fields, expected):
    """As RFC 7239 writes it; what is unknown is left out, or said to be."""
    headers = Headers(sent(**fields))
    assert expected == headers['Forwarded']
    assert ('X-Forwarded-For' in headers) == ('unknown' not in expected)


@pytest.mark.parametrize('ip', ['192.0.2.1', '2001:db8::1'])
def test_what_is_said_is_what_a_trusting_server_reads(ip):
    """``trusted_proxies`` understands both ways, and they agree."""
    trusted = check_trusted_proxies(['127.0.0.1'])
    asked = client_info('127.0.0.1', Headers(sent(ip=ip, port=8443)), trusted)
    assert (ip, 'https', 'example.com:8443') == asked


@pytest.mark.parametrize('host', ['a"b', 'a;b', 'a b', 'a/b', 'a\nb'])
def test_a_host_that_is_none_is_not_said(host):
    """It would end the quotes that it stands in."""
    with pytest.raises(TableError, match="'host'"):
        sent(host=host)


def test_via_tells_the_version_and_those_before():
    """Each relay adds itself (RFC 9110 7.6.3)."""
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
def test_relays_of_this_kind_are_counted(values, count):
    """By the name that each gives itself."""
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
def test_max_forwards_counts_for_options(method, given, left):
    """Other methods may ignore it, and do; so does one that is no number (RFC 9110 7.6.2)."""
    assert left == hops.hops_left(Request(method=method, headers=Headers({'Max-Forwards': given})))


def test_max_forwards_becomes_less():
    """By one for each hop; where it is not heeded it stays."""
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
def test_the_target_goes_on_byte_for_byte(url, base, expected):
    """Nothing is resolved, quoted or left out."""
    assert expected == hops.target_with_base('OPTIONS', url, base)


@pytest.mark.parametrize(
    'url',
    ['', 'a', 'http://x/', '/a b', '/a\r\nX: y', '/a\0', '/a\t', '/a\x7f', '/a#b', '/é', '**', 5],
)
def test_what_is_no_target_goes_nowhere(url):
    """No blank, no control character, no other origin."""
    with pytest.raises(TableError, match="'url'"):
        hops.target_with_base('OPTIONS', url, '')


def test_options_alone_ask_the_whole_server():
    """As on the other side (RFC 9112 3.2.4)."""
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
def test_the_length_of_a_body_is_what_its_headers_say(pairs, expected):
    """Chunks go before a length."""
    assert expected == hops.announced_length(Headers(pairs))


@pytest.mark.parametrize('values', [['x'], [''], ['-5'], ['5', '5'], ['1' * 19], ['٥'], ['5,5']])
def test_a_length_that_is_none_is_refused(values):
    """No request that a server gives has one."""
    with pytest.raises(TableError, match='Content-Length'):
        hops.announced_length(Headers([('Content-Length', value) for value in values]))


ASKING = {
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
        ({'Upgrade': 'websocket, h2c'}, False),
        ({'Sec-WebSocket-Version': '8'}, False),
        ({'Sec-WebSocket-Key': 'x'}, False),
        ({'Origin': 'https://elsewhere.example'}, True),
    ],
)
def test_a_websocket_is_asked_for_in_all_its_fields(changed, expected):
    """And for nothing else; which pages may ask is for the origin to say."""
    request = Request(ASKED, version='1.1', headers=Headers({**ASKING, **changed}))
    assert expected == hops.asks_websocket(request)


@pytest.mark.parametrize('fields', [{'body': 'x'}, {'method': 'POST'}, {'version': '1.0'}])
def test_no_other_request_asks_for_a_websocket(fields):
    """One with a body, with another method, or of HTTP/1.0, which has no Upgrade."""
    request = Request({**ASKED, 'version': '1.1', 'headers': Headers(ASKING), **fields})
    assert not hops.asks_websocket(request)


def test_an_answer_goes_back_without_what_belongs_to_its_hop():
    """Its length stays, whatever Connection says; the rest in its order."""
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


def test_chunks_are_for_one_hop():
    """The server makes its own."""
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
def test_an_answer_that_two_might_read_differently_does_not_go_back(version, pairs):
    """A coding that nobody undoes, a length that is none, a header with a control character."""
    with pytest.raises(ProtocolError, match='the origin sent'):
        hops.to_client(version, Headers(pairs))
