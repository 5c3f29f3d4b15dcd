"""The client of a request behind trusted proxies."""

import contextlib
import ipaddress

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from aioluahttp.errors import TableError
from aioluahttp.exchange.forwarded import NO_PROXIES, ClientInfo, check_trusted_proxies, client_info
from aioluahttp.headers import Headers

PROXY = '10.0.0.1'
LOCAL = check_trusted_proxies(['10.0.0.0/8', 'fd00::/8', '::1', 'unix'])


def forwarded(*values):
    """Make headers with these Forwarded lines."""
    return Headers([('Forwarded', value) for value in values])


def custom(*addresses, **others):
    """Make headers with X-Forwarded-For lines, and ``host=`` as X-Forwarded-Host."""
    pairs = [('X-Forwarded-For', value) for value in addresses]
    for name, value in others.items():
        pairs.append((f'X-Forwarded-{name.title()}', value))
    return Headers(pairs)


@pytest.mark.parametrize(
    ('trusted', 'peer', 'believed'),
    [
        ([], '127.0.0.1', False),
        ([], None, False),
        ([], '', False),
        (['10.0.0.1'], '10.0.0.1', True),
        (['10.0.0.1'], '10.0.0.2', False),
        (['10.0.0.0/8'], '10.255.255.255', True),
        (['10.0.0.0/8'], '11.0.0.0', False),
        (['0.0.0.0/0'], '::1', False),
        (['::/0'], '127.0.0.1', False),
        (['::1', '10.0.0.1'], '::1', True),
        (['10.0.0.0/8'], '::ffff:10.0.0.1', True),
        (['fe80::/10'], 'fe80::1%eth0', True),
        (['unix'], None, True),
        (['unix'], '', False),
        (['unix'], '127.0.0.1', False),
        (['10.0.0.0/8'], None, False),
        (iter(('::1', 'unix')), None, True),
        ({'::1'}, '::1', True),
    ],
)
def test_only_configured_proxies_are_trusted(trusted, peer, believed):
    """An address, a network, or every peer on a Unix socket, which has no address."""
    proxies = check_trusted_proxies(trusted)
    assert believed is proxies.trust(peer)
    asked = ClientInfo('192.0.2.1', 'https') if believed else ClientInfo(peer)
    assert asked == client_info(peer, forwarded('for=192.0.2.1;proto=https'), proxies)


@pytest.mark.parametrize(
    'trusted',
    ['10.0.0.1', b'10.0.0.1', 5, True, [5], [None], ['10.0.0.1/8'], ['localhost'], [''], ['*']],
    ids=repr,
)
def test_an_invalid_trusted_proxy_is_a_table_error(trusted):
    """The error names the option and shows a valid value."""
    with pytest.raises(TableError, match=r"'trusted_proxies' is .*; it must be .*10\.0\.0\.0/8"):
        check_trusted_proxies(trusted)


@pytest.mark.parametrize(
    ('lines', 'expected'),
    [
        # RFC 7239 4
        (['for="_gazonk"'], ClientInfo(PROXY)),
        (['For="[2001:db8:cafe::17]:4711"'], ClientInfo('2001:db8:cafe::17')),
        (['for=192.0.2.60;proto=http;by=203.0.113.43'], ClientInfo('192.0.2.60', 'http')),
        (['for=192.0.2.43, for=198.51.100.17'], ClientInfo('198.51.100.17')),
        # 6
        (['for=192.0.2.43:47011'], ClientInfo('192.0.2.43')),
        (['for="[2001:db8:cafe::17]:47011"'], ClientInfo('2001:db8:cafe::17')),
        (['for=192.0.2.43:_obf.us-1'], ClientInfo('192.0.2.43')),
        (['for=unknown'], ClientInfo(PROXY)),
        (['for=_hidden, for=_SEVKISEK'], ClientInfo(PROXY)),
        # 7.1
        (['for=192.0.2.43,for="[2001:db8:cafe::17]",for=unknown'], ClientInfo(PROXY)),
        (['for=192.0.2.43', 'for="[2001:db8:cafe::17]", for=unknown'], ClientInfo(PROXY)),
        # 7.4
        (['for=192.0.2.43, for="[2001:db8:cafe::17]"'], ClientInfo('2001:db8:cafe::17')),
        (
            ['for=_hidden;by=10.0.0.7;proto=http;host=example.com'],
            ClientInfo(PROXY, 'http', 'example.com'),
        ),
    ],
)
def test_the_examples_of_the_rfc_are_read(lines, expected):
    """The examples are from RFC 7239, sections 4 to 7, and sent by a trusted proxy."""
    assert expected == client_info(PROXY, forwarded(*lines), LOCAL)


@pytest.mark.parametrize(
    ('text', 'expected'),
    [
        ('FOR=192.0.2.1;PROTO=HTTPS;Host=h:1', ClientInfo('192.0.2.1', 'https', 'h:1')),
        ('for="192.0.2.1"; proto="https" ; host="h"', ClientInfo('192.0.2.1', 'https', 'h')),
        ('for=192.0.2.1;proto=wss', ClientInfo('192.0.2.1', 'https')),
        ('for=192.0.2.1;proto=ws', ClientInfo('192.0.2.1', 'http')),
        ('for=192.0.2.1;proto=ftp', ClientInfo('192.0.2.1')),
        ('for=192.0.2.1;x-id=a;secret="a, b;c=d"', ClientInfo('192.0.2.1')),
        (r'host="a\"b, for=\\";for=192.0.2.1', ClientInfo('192.0.2.1', None, 'a"b, for=\\')),
        ('for=192.0.2.1;host=""', ClientInfo('192.0.2.1', None, '')),
        ('proto=https;host=h', ClientInfo(PROXY, 'https', 'h')),
        ('for=""', ClientInfo(PROXY)),
        (', for=192.0.2.1;; ;proto=http , ,', ClientInfo('192.0.2.1', 'http')),
        ('', ClientInfo(PROXY)),
        ('for=2001:db8::1', ClientInfo('2001:db8::1')),
        ('for=[2001:DB8::0:1]:80', ClientInfo('2001:db8::1')),
        ('for="[::ffff:192.0.2.1]"', ClientInfo('192.0.2.1')),
        ('for="[fe80::1%eth0]"', ClientInfo(PROXY)),
        ('for="[fe80::1%<script>]"', ClientInfo(PROXY)),
        ('for=192.0.2.01', ClientInfo(PROXY)),
        ('for=192.0.2.256', ClientInfo(PROXY)),
        ('for=12', ClientInfo(PROXY)),
        ('for="[192.0.2.1"', ClientInfo(PROXY)),
        ('for=example.com', ClientInfo(PROXY)),
    ],
)
def test_an_element_is_parsed(text, expected):
    """Names in any case, quoted strings, ports, and values that are not addresses."""
    assert expected == client_info(PROXY, forwarded(text), LOCAL)


@pytest.mark.parametrize(
    'text',
    [
        'for',
        'for=',
        '=192.0.2.1',
        'for = 192.0.2.1',
        'for=192.0.2.1 x',
        'for=192.0.2.1;for=192.0.2.2',
        'for=192.0.2.1;FOR=192.0.2.1',
        'for="192.0.2.1',
        'for=192.0.2.1"',
        r'for="192.0.2.1\"',
        'for="192.0.2.1"x',
        'x=", for=192.0.2.1',
        'x=a", for="[2001:db8::1]"',
        'x=", for="[2001:db8::1]"',
    ],
)
def test_a_malformed_header_is_refused(text):
    """Another server might parse it differently."""
    with pytest.raises(ValueError, match='Forwarded is malformed'):
        client_info(PROXY, forwarded(text), LOCAL)


@pytest.mark.parametrize(
    ('headers', 'expected'),
    [
        (custom(), ClientInfo(PROXY)),
        (custom(''), ClientInfo(PROXY)),
        (custom('192.0.2.1'), ClientInfo('192.0.2.1')),
        (custom('192.0.2.1:80'), ClientInfo('192.0.2.1')),
        (custom('2001:db8::1'), ClientInfo('2001:db8::1')),
        (custom('[2001:db8::1]:80'), ClientInfo('2001:db8::1')),
        (custom('::ffff:192.0.2.1'), ClientInfo('192.0.2.1')),
        (custom('unknown'), ClientInfo(PROXY)),
        (custom('192.0.2.1', '192.0.2.2'), ClientInfo('192.0.2.2')),
        (custom('192.0.2.1, 192.0.2.2'), ClientInfo('192.0.2.2')),
        (custom('192.0.2.1, 10.0.0.2', '10.0.0.3 , ::1'), ClientInfo('192.0.2.1')),
        (custom('10.0.0.3,10.0.0.2'), ClientInfo('10.0.0.3')),
        (custom('192.0.2.1,'), ClientInfo(PROXY)),
        (custom('192.0.2.1, , 10.0.0.2'), ClientInfo('10.0.0.2')),
        (custom('192.0.2.1, _x, 10.0.0.2'), ClientInfo('10.0.0.2')),
        (custom(proto='https'), ClientInfo(PROXY, 'https')),
        (custom(proto='https', host='h'), ClientInfo(PROXY, 'https', 'h')),
        (custom('192.0.2.1', proto='HTTPS', host='h:1'), ClientInfo('192.0.2.1', 'https', 'h:1')),
        (custom('192.0.2.1, 10.0.0.2', proto='https'), ClientInfo('192.0.2.1', 'https')),
        (custom('192.0.2.1, 10.0.0.2', proto='https,http'), ClientInfo('192.0.2.1', 'https')),
        (custom('192.0.2.1, 192.0.2.2', host='evil,h'), ClientInfo('192.0.2.2', None, 'h')),
        (custom('192.0.2.1', proto='https,http'), ClientInfo('192.0.2.1')),
        (custom('192.0.2.1, 10.0.0.2', proto='http,http,https'), ClientInfo('192.0.2.1')),
        (custom('192.0.2.1, 10.0.0.2, 10.0.0.3', host='a,b'), ClientInfo('192.0.2.1')),
        (custom('192.0.2.1', proto='javascript'), ClientInfo('192.0.2.1')),
    ],
)
def test_x_forwarded_headers_are_parsed(headers, expected):
    """A scheme or host is for all hops, or there is one per hop; any other number is ignored."""
    assert expected == client_info(PROXY, headers, LOCAL)


CLIENT = '192.0.2.66'


def both(element, *addresses, **others):
    """Make headers with Forwarded and X-Forwarded lines."""
    headers = forwarded(element)
    headers.extend(custom(*addresses, **others))
    return headers


@pytest.mark.parametrize(
    ('headers', 'expected'),
    [
        # The client's own element is first; the proxy appends the client's address.
        (forwarded('for=127.0.0.1;proto=https;host=h', f'for={CLIENT}'), ClientInfo(CLIENT)),
        (forwarded(f'for=10.0.0.9, for={CLIENT};proto=http'), ClientInfo(CLIENT, 'http')),
        (custom(f'127.0.0.1, {CLIENT}'), ClientInfo(CLIENT)),
        (custom(f'10.0.0.9, {CLIENT}', proto='https, http'), ClientInfo(CLIENT, 'http')),
        # Two proxies: the trusted one gives the address of the other.
        (forwarded(f'for=::1, for={CLIENT}, for=10.0.0.2'), ClientInfo(CLIENT)),
        # An obfuscated hop ends the walk: it may be anybody.
        (forwarded('for=192.0.2.1, for=_x, for=10.0.0.2'), ClientInfo('10.0.0.2')),
        # The proxy extends one kind of header, and the client wrote the other.
        (both('for=127.0.0.1', CLIENT), ValueError),
        (both('proto=https;host=evil', CLIENT), ValueError),
        (both(f'for={CLIENT};proto=https;host=evil', CLIENT), ClientInfo(CLIENT)),
        (both(f'for={CLIENT};host={CLIENT}', CLIENT), ClientInfo(CLIENT)),
        (both(f'for={CLIENT};proto=https', CLIENT, proto='http'), ClientInfo(CLIENT)),
        (both(f'for={CLIENT}', CLIENT, proto='https', host='evil'), ClientInfo(CLIENT)),
        (both(f'for={CLIENT}', '127.0.0.1'), ValueError),
        (both(f'for={CLIENT};proto=http', proto='https', host='evil'), ClientInfo(CLIENT, 'http')),
        # The proxy wrote both.
        (
            both(f'for={CLIENT};proto=https;host=h', CLIENT, proto='https', host='h'),
            ClientInfo(CLIENT, 'https', 'h'),
        ),
    ],
)
def test_a_client_cannot_pass_for_another(headers, expected):
    """Neither with headers that a proxy extends, nor with those that it passes on."""
    if expected is ValueError:
        with pytest.raises(ValueError, match='name different clients'):
            client_info(PROXY, headers, LOCAL)
    else:
        assert expected == client_info(PROXY, headers, LOCAL)
    assert ClientInfo(CLIENT) == client_info(CLIENT, headers, LOCAL)


@pytest.mark.parametrize(('last', 'ip'), [('192.0.2.1', '192.0.2.1'), ('unix:', None)])
def test_behind_a_unix_socket_the_proxy_has_no_address(last, ip):
    """Its headers are trusted; if they give no address either, there is none."""
    assert ClientInfo(ip) == client_info(None, custom(last), LOCAL)
    assert ClientInfo(None) == client_info(None, custom(last), NO_PROXIES)


NAMES = ['Forwarded', 'X-Forwarded-For', 'X-Forwarded-Proto', 'X-Forwarded-Host']
PIECES = 'for= For= proto= host= x= " \\ , ; : = [ ] % _ 192.0.2.1 ::1 10.0.0.2 unknown https'
TEXTS = st.one_of(
    st.text(st.characters(exclude_categories=['Cs'])),
    st.lists(st.sampled_from([*PIECES.split(), ' ', '\t'])).map(''.join),
)
HEADERS = st.lists(st.tuples(st.sampled_from(NAMES), TEXTS)).map(Headers)


@settings(deadline=None)
@given(HEADERS, st.sampled_from([CLIENT, '2001:db8::1', '127.0.0.1', '']))
def test_headers_of_an_untrusted_peer_change_nothing(headers, peer):
    """The peer is the client, and nothing else is known of it."""
    assert ClientInfo(peer) == client_info(peer, headers, LOCAL)


@settings(deadline=None)
@given(HEADERS, st.sampled_from([PROXY, '::1', '::ffff:10.0.0.1']))
def test_any_headers_of_a_proxy_give_an_address_or_are_refused(headers, peer):
    """The address is in Python's canonical form; the scheme is http, https or unknown."""
    try:
        asked = client_info(peer, headers, LOCAL)
    except ValueError:
        return
    assert asked.ip in (peer, str(ipaddress.ip_address(asked.ip)))
    assert asked.scheme in (None, 'http', 'https')


@settings(deadline=None)
@given(TEXTS, st.sampled_from(['for=192.0.2.66', 'for="[2001:db8::66]:1";proto=http']))
def test_only_the_element_that_the_proxy_adds_is_trusted(text, added):
    """Whatever stands before it is ignored or refused, on one line or two."""
    expected = client_info(PROXY, forwarded(added), LOCAL)
    for lines in [f'{text}, {added}'], [text, added]:
        with contextlib.suppress(ValueError):
            assert expected == client_info(PROXY, forwarded(*lines), LOCAL)


@pytest.mark.parametrize(
    'text',
    [
        '"' * 200_001,
        '"\\' * 100_000,
        '\\"' * 100_000,
        'x="' * 66_666,
        'x="a",' * 33_333 + '"',
        'for=' + ':' * 200_000,
        'for=' + '[' * 200_000,
        'for=' + 'a' * 200_000 + '"',
        ' ' * 200_000 + '"',
        ';' * 200_000 + '=',
        ',' * 200_000 + '=',
        'for=10.0.0.2,' * 20_000 + '=',
    ],
    ids=range(12),
)
def test_parsing_takes_linear_time(text):
    """In quadratic time, each of these headers would take minutes."""
    with contextlib.suppress(ValueError):
        client_info(PROXY, forwarded(text), LOCAL)
    client_info(PROXY, custom(text, proto=text, host=text), LOCAL)
