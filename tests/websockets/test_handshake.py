"""What two ends agree upon before a WebSocket opens."""

import pytest

import aioluahttp as http
from aioluahttp.websockets.handshake import (
    accept_of,
    read_agreement,
    refusal_status,
    request_fields,
    response_fields,
    without_handshake,
)

KEY = 'dGhlIHNhbXBsZSBub25jZQ=='  # of RFC 6455 1.3
DEFLATE = 'permessage-deflate'


def asked(**headers):
    """Give a request for a WebSocket; ``Sec_WebSocket_Key=None`` leaves a field out."""
    fields = {'Host': 'example.com:8080', 'Sec-WebSocket-Version': '13', 'Sec-WebSocket-Key': KEY}
    fields |= {name.replace('_', '-'): value for name, value in headers.items()}
    return http.to_request(url='http://example.com:8080/', headers=fields)


def answered(**headers):
    """Give the headers of an answer to ``ASKED``."""
    fields = {'Sec-WebSocket-Accept': accept_of(KEY)}
    return http.Headers(fields | {name.replace('_', '-'): one for name, one in headers.items()})


ASKED = {'Sec-WebSocket-Key': KEY, 'Sec-WebSocket-Extensions': DEFLATE}


def test_the_proof_is_that_of_the_rfc():
    """The example of RFC 6455 1.3."""
    assert 's3pPLMBiTxaQ9kYGzzhZRbK+xOo=' == accept_of(KEY)


def test_a_handshake_given_is_left_out():
    """A table of a server's may be the request of a client."""
    headers = http.Headers({'Sec-WebSocket-Key': KEY, 'sec-websocket-x': '1', 'Origin': 'http://h'})
    assert [('Origin', 'http://h')] == list(without_handshake(headers).items())


def test_a_client_asks_anew_each_time():
    """A key is 16 random bytes; what is not wanted is not asked for."""
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
def test_a_client_takes_what_it_offered(options, headers, terms):
    """The subprotocol, and the compression that the server chose."""
    got = read_agreement(options, ASKED, 101, answered(**headers))
    assert terms == (got.protocol, got.window, got.resets)
    assert (4 * 1024 * 1024, 20) == (got.max_message, got.heartbeat)


@pytest.mark.parametrize(
    ('options', 'status', 'headers', 'what'),
    [
        ({}, 404, {}, 'declined a WebSocket: 404'),
        ({}, 200, {}, 'declined a WebSocket: 200'),
        ({}, 101, {'Sec_WebSocket_Accept': accept_of('other')}, 'did not understand'),
        ({}, 101, {'Sec_WebSocket_Accept': 'x'}, 'did not understand'),
        ({}, 101, {'Sec_WebSocket_Protocol': 'a'}, 'a subprotocol that was not offered'),
        ({'protocols': ['a', 'b']}, 101, {'Sec_WebSocket_Protocol': 'a, b'}, 'not offered'),
        ({}, 101, {'Sec_WebSocket_Extensions': 'x-other'}, 'an extension that was not offered'),
        ({}, 101, {'Sec_WebSocket_Extensions': f'{DEFLATE}; other'}, 'was not offered'),
        ({}, 101, {'Sec_WebSocket_Extensions': f'{DEFLATE}; client_max_window_bits=8'}, 'offered'),
    ],
)
def test_a_client_takes_nothing_else(options, status, headers, what):
    """RFC 6455 4.1: what was not asked for fails the connection."""
    with pytest.raises(http.ProtocolError, match=what):
        read_agreement(options, ASKED, status, answered(**headers))


def test_a_client_that_offers_no_compression_takes_none():
    """Compression counts as any other extension then."""
    with pytest.raises(http.ProtocolError, match='an extension that was not offered'):
        read_agreement(
            {}, {'Sec-WebSocket-Key': KEY}, 101, answered(Sec_WebSocket_Extensions=DEFLATE)
        )


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
def test_a_server_wants_a_version_and_a_key(headers, status):
    """Version 13 and 16 bytes in base64, each once (RFC 6455 4.2.1)."""
    refused = refusal_status({}, asked(**headers), upgrades=True)
    assert status == (refused and refused[0])


def test_a_server_wants_an_upgrade():
    """A request on a connection that goes on with HTTP, and any but a GET, is a 426."""
    upgrade = [
        'Connection: Upgrade',
        'Upgrade: websocket',
        'Sec-WebSocket-Version: 13',
    ]
    for method, upgrades in (('GET', False), ('POST', True)):
        status, fields = refusal_status({}, asked() | {'method': method}, upgrades=upgrades)
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
    """RFC 6455 10.2: by default the host and port of Origin are those that were asked."""
    refused = refusal_status({'origins': origins}, asked(Origin=origin), upgrades=True)
    assert (None if allowed else (403, ())) == refused


@pytest.mark.parametrize(
    ('url', 'origin'),
    [
        ('https://app.example/', 'https://app.example'),
        ('https://app.example:444/', 'https://app.example:444'),
        ('http://[::1]:80/', 'http://[::1]'),
        ('http://[::1]:8080/', 'http://[::1]:8080'),
    ],
)
def test_what_a_trusted_proxy_says_counts_as_the_host(url, origin):
    """The table says what was asked, where Host says what the proxy asked."""
    request = (
        asked(Host='inside', Origin=origin)
        | http.to_request(url=url)
        | {'headers': asked(Host='inside', Origin=origin)['headers']}
    )
    assert refusal_status({}, request, upgrades=True) is None


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
def test_a_server_agrees_to_what_it_knows(options, headers, terms, fields):
    """The first subprotocol of the client's that it knows, and the one compression."""
    got, said = response_fields(options, asked(**headers))
    assert terms == (got.protocol, got.window, got.resets)
    assert [
        'Upgrade: websocket',
        'Connection: Upgrade',
        f'Sec-WebSocket-Accept: {accept_of(KEY)}',
        *fields,
    ] == said


def test_limits_are_those_of_the_options():
    """None is no limit, and no heartbeat."""
    got, _ = response_fields({'max_message': None, 'heartbeat': None}, asked())
    assert (None, None) == (got.max_message, got.heartbeat)
