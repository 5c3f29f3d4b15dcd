"""The head of a request as a table."""

from types import SimpleNamespace

import pytest

from aioluahttp.errors import Refused
from aioluahttp.exchange.forwarded import NO_PROXIES, ClientInfo, check_trusted_proxies
from aioluahttp.exchange.head import client_of, to_head
from aioluahttp.exchange.responder import has_body
from aioluahttp.headers import Headers
from aioluahttp.tables.models import Request

INTERNET = SimpleNamespace(sockname=('10.0.0.1', 8080))
CLIENT = ClientInfo('10.0.0.9')
UNIX = SimpleNamespace(sockname='/run/socket')


def head(target, *, method='GET', read=INTERNET, who=CLIENT, **headers):
    """Make the table of a request."""
    return to_head(method, target, '1.1', Headers(headers), who, 'http', read)


def test_the_table_has_all_parts_of_the_head():
    """The order is that of every request table."""
    assert [
        ('method', 'GET'),
        ('url', '/a?b'),
        ('scheme', 'http'),
        ('host', 'example.org'),
        ('port', 80),
        ('path', '/a'),
        ('query', 'b'),
        ('headers', {'Host': 'example.org'}),
        ('version', '1.1'),
        ('ip', '10.0.0.9'),
    ] == list(head('/a?b', Host='example.org').items())


@pytest.mark.parametrize(
    ('target', 'method', 'url', 'host'),
    [
        ('//h/x', 'GET', '//h/x', 'example.org'),
        ('http://h/x?y', 'GET', '/x?y', 'h'),
        ('https://h:81', 'GET', '/', 'h:81'),
        ('*', 'OPTIONS', '*', 'example.org'),
    ],
)
def test_a_target_becomes_origin_form(target, method, url, host):
    """The authority of an absolute target becomes Host (RFC 9112 3.2.2)."""
    table = head(target, method=method, Host='example.org')
    assert (url, host) == (table.url, table.headers['Host'])
    assert 'http' == table.scheme


@pytest.mark.parametrize(
    ('target', 'method', 'status'),
    [
        ('h:1', 'CONNECT', 501),
        ('/a#b', 'GET', 400),
        ('*', 'GET', 400),
        ('a', 'GET', 400),
        ('ftp://h/', 'GET', 400),
        ('http:///', 'GET', 400),
    ],
)
def test_any_other_target_is_refused(target, method, status):
    """CONNECT is a 501, everything else a 400."""
    with pytest.raises(Refused) as caught:
        head(target, method=method)
    assert status == caught.value.status


@pytest.mark.parametrize(
    ('value', 'host', 'port'),
    [
        ('0.0.0.0=5000', '0.0.0.0=5000', 80),
        ("A!$&'()*+,;=~_b:81", "a!$&'()*+,;=~_b", 81),
        ('a%20B%C3%a9', 'a%20b%c3%a9', 80),
        ('x' * 64, 'x' * 64, 80),
        ('a_b.example.:', 'a_b.example.', 80),
        ('[::1]:', '::1', 80),
    ],
)
def test_a_host_is_any_name_of_rfc_3986(value, host, port):
    """Also one that a client could not resolve (3.2.2); the port may be empty."""
    table = head('/', Host=value)
    assert (host, port, value) == (table.host, table.port, table.headers['Host'])


@pytest.mark.parametrize(
    'host',
    [
        *('a b', 'h:99999', 'h:x', 'u@h', ':80', '::1', '[::1', '[::g]', '[v1.a]'),
        *(
            'a%zz',
            'a%4',
            'a"b',
            'a<b',
            'a^b',
            'a|b',
            'a\\b',
            'a/b',
            'a?b',
            'a#b',
            '0x7f.1',
            '1.2.3',
        ),
    ],
)
def test_a_bad_host_is_refused(host):
    """It is not a host with an optional port."""
    with pytest.raises(Refused):
        head('/', Host=host)


@pytest.mark.parametrize(
    ('read', 'expected'), [(INTERNET, ('10.0.0.1', 8080)), (UNIX, ('localhost', 80))]
)
def test_without_host_the_address_of_the_socket_is_used(read, expected):
    """HTTP/1.0 allows a request without Host."""
    table = head('/', read=read)
    assert expected == (table.host, table.port)


def test_a_trusted_proxy_gives_client_and_scheme():
    """Headers of other peers are ignored, and malformed ones refused."""
    headers = Headers({'X-Forwarded-For': '1.2.3.4', 'X-Forwarded-Proto': 'https'})
    trusted = check_trusted_proxies(['10.0.0.0/8'])
    who = client_of('10.0.0.9', headers, trusted)
    assert ('1.2.3.4', 'https', 443) == tuple(
        map(head('/', who=who, Host='h').get, ('ip', 'scheme', 'port'))
    )
    assert ClientInfo('10.0.0.9') == client_of('10.0.0.9', headers, NO_PROXIES)
    with pytest.raises(Refused):
        client_of('10.0.0.9', Headers({'Forwarded': '"'}), trusted)


def test_the_client_of_a_unix_socket_has_no_address():
    """The key ``ip`` is absent."""
    assert 'ip' not in head('/', who=ClientInfo(None))


@pytest.mark.parametrize(
    ('method', 'headers', 'expected'),
    [
        ('GET', {}, False),
        ('POST', {}, True),
        ('GET', {'Content-Length': '0'}, True),
        ('PUT', {'Transfer-Encoding': 'chunked'}, True),
    ],
)
def test_a_body_is_announced_by_framing_or_a_post(method, headers, expected):
    """Content-Length or Transfer-Encoding announce it."""
    assert expected is has_body(Request(method=method, headers=Headers(headers)))
