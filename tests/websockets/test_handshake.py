"""The opening handshake of a WebSocket."""

import pytest

import aioluahttp as http
from aioluahttp.headers import to_headers
from aioluahttp.websockets.handshake import (
    accept_of,
    check_handshake,
    read_agreement,
    request_fields,
    response_fields,
    wants_websocket,
    without_handshake,
)

KEY = 'dGhlIHNhbXBsZSBub25jZQ=='  # of RFC 6455 1.3
DEFLATE = 'permessage-deflate'


def handshake_request(**headers):
    """Make a handshake request; ``Sec_WebSocket_Key=None`` leaves a field out."""
    fields = {'Host': 'example.com:8080', 'Sec-WebSocket-Version': '13', 'Sec-WebSocket-Key': KEY}
    fields |= {name.replace('_', '-'): value for name, value in headers.items()}
    return http.to_request(url='http://example.com:8080/', headers=fields)


def response_headers(**headers):
    """Make the headers of a response to ``ASKED``."""
    fields = {'Upgrade': 'websocket', 'Sec-WebSocket-Accept': accept_of(KEY)}
    return to_headers(fields | {name.replace('_', '-'): one for name, one in headers.items()})


ASKED = {'Sec-WebSocket-Key': KEY, 'Sec-WebSocket-Extensions': DEFLATE}


def test_the_accept_value_is_that_of_the_rfc():
    """The example is from RFC 6455 1.3."""
    assert 's3pPLMBiTxaQ9kYGzzhZRbK+xOo=' == accept_of(KEY)


def test_handshake_fields_of_given_headers_are_left_out():
    """A client may send a request table that a server received."""
    kept = [('Origin', 'http://h'), ('Upgrade-Insecure-Requests', '1')]
    own = [('Sec-WebSocket-Key', KEY), ('sec-websocket-x', '1'), ('Upgrade', 'websocket')]
    assert kept == list(without_handshake(http.Headers(own + kept)).items())


def test_each_handshake_request_has_its_own_key():
    """A key is 16 random bytes. Fields for unwanted options are left out."""
    first, second = request_fields({}), request_fields({'compress': False, 'protocols': ['a', 'b']})
    assert first['Sec-WebSocket-Key'] != second['Sec-WebSocket-Key']
    assert first['Sec-WebSocket-Extensions'].startswith(DEFLATE)
    assert 'Sec-WebSocket-Protocol' not in first
    assert 'Sec-WebSocket-Extensions' not in second
    assert 'a, b' == second['Sec-WebSocket-Protocol']


@pytest.mark.parametrize(
    ('options', 'headers', 'terms'),
    [
        ({}, {}, (None, 0, False)),
        ({}, {'Upgrade': 'WebSocket'}, (None, 0, False)),
        ({'protocols': ['a', 'b']}, {'Sec_WebSocket_Protocol': 'b'}, ('b', 0, False)),
        ({'protocols': ['a']}, {}, (None, 0, False)),
        ({}, {'Sec_WebSocket_Extensions': DEFLATE}, (None, 15, False)),
        (
            {},
            {'Sec_WebSocket_Extensions': f'{DEFLATE}; client_max_window_bits=10'},
            (None, 10, False),
        ),
        (
            {},
            {'Sec_WebSocket_Extensions': f'{DEFLATE}; client_no_context_takeover'},
            (None, 15, True),
        ),
    ],
)
def test_a_client_accepts_what_it_offered(options, headers, terms):
    """The subprotocol and the compression are those that the server chose."""
    got = read_agreement(options, ASKED, {'status': 101, 'headers': response_headers(**headers)})
    assert terms == (got.protocol, got.window, got.resets)
    assert (4 * 1024 * 1024, 20) == (got.max_message, got.heartbeat)


@pytest.mark.parametrize(
    ('options', 'status', 'headers', 'what'),
    [
        ({}, 404, {}, 'declined a WebSocket: 404'),
        ({}, 200, {}, 'declined a WebSocket: 200'),
        ({}, 101, {'Sec_WebSocket_Accept': accept_of('other')}, 'did not understand'),
        ({}, 101, {'Sec_WebSocket_Accept': 'x'}, 'did not understand'),
        ({}, 101, {'Sec_WebSocket_Accept': None}, 'did not understand'),
        ({}, 101, {'Sec_WebSocket_Accept': [accept_of(KEY), 'x']}, 'did not understand'),
        ({}, 101, {'Upgrade': None}, 'did not switch protocols'),
        ({}, 101, {'Upgrade': 'h2c'}, 'switched to another protocol'),
        ({}, 101, {'Upgrade': ['websocket', 'h2c']}, 'switched to another protocol'),
        ({}, 101, {'Sec_WebSocket_Protocol': 'a'}, 'a subprotocol that was not offered'),
        ({'protocols': ['a', 'b']}, 101, {'Sec_WebSocket_Protocol': 'a, b'}, 'not offered'),
        ({}, 101, {'Sec_WebSocket_Extensions': 'x-other'}, 'an extension that was not offered'),
        (
            {},
            101,
            {'Sec_WebSocket_Extensions': f'{DEFLATE}; other'},
            'parameters that are not valid',
        ),
        ({}, 101, {'Sec_WebSocket_Extensions': f'{DEFLATE}; client_max_window_bits=8'}, 'a window'),
    ],
)
def test_a_client_refuses_what_it_did_not_offer(options, status, headers, what):
    """RFC 6455 4.1: the connection then fails."""
    with pytest.raises(http.ProtocolError, match=what):
        read_agreement(options, ASKED, {'status': status, 'headers': response_headers(**headers)})


def test_a_client_that_offers_no_compression_refuses_it():
    """Compression is then an extension that was not offered."""
    headers = response_headers(Sec_WebSocket_Extensions=DEFLATE)
    with pytest.raises(http.ProtocolError, match='an extension that was not offered'):
        read_agreement({}, {'Sec-WebSocket-Key': KEY}, {'status': 101, 'headers': headers})


@pytest.mark.parametrize(
    ('headers', 'status'),
    [
        ({}, None),
        ({'Sec_WebSocket_Version': '8'}, 426),
        ({'Sec_WebSocket_Version': ['13', '13']}, 426),
        ({'Sec_WebSocket_Version': None}, 426),
        ({'Sec_WebSocket_Key': None}, 400),
        ({'Sec_WebSocket_Key': [KEY, KEY]}, 400),
        ({'Sec_WebSocket_Key': 'AAAA'}, 400),
        ({'Sec_WebSocket_Key': KEY + '!'}, 400),
        ({'Sec_WebSocket_Key': 'ß' * 24}, 400),
    ],
)
def test_a_server_requires_version_13_and_a_valid_key(headers, status):
    """The key is 16 bytes in base64; each field stands once (RFC 6455 4.2.1)."""
    refused = check_handshake({}, handshake_request(**headers), upgrades=True)
    assert status == (refused and refused[0])


def test_a_server_requires_a_get_with_upgrade():
    """Any other request is a 426."""
    upgrade = [
        'Connection: Upgrade',
        'Upgrade: websocket',
        'Sec-WebSocket-Version: 13',
    ]
    for method, upgrades in (('GET', False), ('POST', True)):
        status, fields = check_handshake(
            {}, handshake_request() | {'method': method}, upgrades=upgrades
        )
        assert (426, upgrade) == (status, list(fields))


@pytest.mark.parametrize(
    ('origins', 'origin', 'allowed'),
    [
        (None, None, True),  # no browser
        (None, 'http://example.com:8080', True),
        (None, 'https://example.com:8080', True),  # TLS may have ended at a proxy
        (None, 'HTTP://EXAMPLE.com:8080', True),
        (None, 'http://example.com', False),
        (None, 'http://evil.example:8080', False),
        (None, 'http://example.com:8080.evil', False),
        (None, 'null', False),
        (None, '', False),
        (None, ['http://example.com:8080'] * 2, False),
        ('*', 'http://evil.example', True),
        ('*', 'null', True),
        (['https://app.example'], 'https://APP.example', True),
        (['https://app.example'], 'http://app.example', False),
        (['https://app.example'], 'http://example.com:8080', False),
        (['https://app.example'], ['https://app.example'] * 2, False),
        (['https://app.example'], None, True),
    ],
)
def test_a_page_may_connect_from_its_own_origin_or_those_named(origins, origin, allowed):
    """RFC 6455 10.2: by default Origin must have the host and port of the request."""
    refused = check_handshake({'origins': origins}, handshake_request(Origin=origin), upgrades=True)
    assert (None if allowed else (403, ())) == refused


@pytest.mark.parametrize('host', ['', None])
@pytest.mark.parametrize('origin', ['null', '', 'file://', 'x'])
def test_an_empty_host_is_the_origin_of_no_page(host, origin):
    """Nor is an absent one: an opaque origin has no host that could equal it."""
    request = handshake_request(Host=host, Origin=origin)
    assert (403, ()) == check_handshake({}, request, upgrades=True)


@pytest.mark.parametrize(
    ('connection', 'upgrade', 'expected'),
    [
        ('Upgrade', 'websocket', True),
        ('upgrade', 'WebSocket', True),
        ('keep-alive, Upgrade', 'websocket, foo', True),
        (['keep-alive', 'UPGRADE'], ['foo', 'websocket'], True),
        ('keep-alive', 'websocket', False),
        ('upgraded', 'websocket', False),
        ('Upgrade', 'websockets', False),
        ('Upgrade', 'h2c', False),
        ('Upgrade', [], False),
    ],
)
def test_a_websocket_may_be_one_of_several_protocols(connection, upgrade, expected):
    """Connection and Upgrade are lists (RFC 9110 7.6.1 and 7.8)."""
    headers = to_headers({'Connection': connection, 'Upgrade': upgrade})
    assert expected is wants_websocket(headers)


@pytest.mark.parametrize(
    ('url', 'origin'),
    [
        ('https://app.example/', 'https://app.example'),
        ('https://app.example:444/', 'https://app.example:444'),
        ('http://[::1]:80/', 'http://[::1]'),
        ('http://[::1]:8080/', 'http://[::1]:8080'),
    ],
)
def test_origin_is_compared_with_the_host_from_a_trusted_proxy(url, origin):
    """The table has the host that the client requested, Host the one that the proxy requested."""
    request = (
        handshake_request(Host='inside', Origin=origin)
        | http.to_request(url=url)
        | {'headers': handshake_request(Host='inside', Origin=origin)['headers']}
    )
    assert check_handshake({}, request, upgrades=True) is None


@pytest.mark.parametrize(
    ('options', 'headers', 'terms', 'fields'),
    [
        ({}, {}, (None, 0, False), []),
        (
            {'protocols': ['v1', 'v2']},
            {'Sec_WebSocket_Protocol': ['v3,v2', 'v1']},
            ('v2', 0, False),
            ['Sec-WebSocket-Protocol: v2'],
        ),
        ({'protocols': ['v1']}, {'Sec_WebSocket_Protocol': 'v2'}, (None, 0, False), []),
        ({}, {'Sec_WebSocket_Protocol': 'v2'}, (None, 0, False), []),
        (
            {},
            {'Sec_WebSocket_Extensions': f'x-other, {DEFLATE}; client_max_window_bits'},
            (None, 15, False),
            [f'Sec-WebSocket-Extensions: {DEFLATE}'],
        ),
        (
            {},
            {'Sec_WebSocket_Extensions': f'{DEFLATE}; server_no_context_takeover'},
            (None, 15, True),
            [f'Sec-WebSocket-Extensions: {DEFLATE}; server_no_context_takeover'],
        ),
        *(
            (
                {},
                {'Sec_WebSocket_Extensions': f'{DEFLATE}; server_max_window_bits={bits}'},
                (None, bits, False),
                [f'Sec-WebSocket-Extensions: {DEFLATE}; server_max_window_bits={bits}'],
            )
            for bits in (9, 15)
        ),
        ({}, {'Sec_WebSocket_Extensions': 'x-other'}, (None, 0, False), []),
        ({'compress': False}, {'Sec_WebSocket_Extensions': DEFLATE}, (None, 0, False), []),
    ],
)
def test_a_server_accepts_known_subprotocols_and_compression(options, headers, terms, fields):
    """It takes the client's first subprotocol that it knows, and permessage-deflate."""
    got, lines = response_fields(options, handshake_request(**headers))
    assert terms == (got.protocol, got.window, got.resets)
    assert [
        'Upgrade: websocket',
        'Connection: Upgrade',
        f'Sec-WebSocket-Accept: {accept_of(KEY)}',
        *fields,
    ] == lines


def test_limits_are_those_of_the_options():
    """None is no limit, and no heartbeat."""
    got, _ = response_fields({'max_message': None, 'heartbeat': None}, handshake_request())
    assert (None, None) == (got.max_message, got.heartbeat)
