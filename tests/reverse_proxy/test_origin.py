"""Origins of a reverse proxy, and the overrides for requests to them."""

import pytest

import aioluahttp as http
from aioluahttp.headers import Headers
from aioluahttp.reverse_proxy.origin import check_origin, to_origin_request
from aioluahttp.tables.models import Request


@pytest.mark.parametrize(
    ('to', 'overrides', 'right'),
    [
        ('/base', {}, "'host' is missing"),
        ('backend:9000', {}, "'url'"),
        ('ftp://backend', {}, "'scheme'"),
        ('http://backend?x', {}, "'to'"),
        ('http://backend#x', {}, "'to'"),
        (None, {}, "'url'|'host'"),
        ('http://backend', {'timout': 5}, "did you mean 'timeout'"),
        ('http://backend', {'url': '/'}, "unknown key 'url'"),
        ('http://backend', {'proxy': 'http://p'}, "unknown key 'proxy'"),
        ('http://backend', {'into': 'text'}, "unknown key 'into'"),
        ('http://backend', {'timeout': -1}, "'timeout'"),
        ('http://backend', {'headers': {'X': 'a\n'}}, 'control|X'),
        ('http://backend', {'headers': 5}, "'headers'"),
        ('http://backend', {'headers': {'Host': ['a', 'b']}}, 'Host'),
        ('http://backend', {'max_message': 0}, "'max_message'"),
        ('http://u:p@backend', {'bearer': 'x'}, 'more than one'),
    ],
)
def test_a_proxy_is_checked_when_it_is_made(to, overrides, right):
    """The error is not raised at the first request only."""
    with pytest.raises(http.TableError, match=right):
        http.proxy(to, **overrides)


@pytest.mark.parametrize(
    ('given', 'expected'),
    [
        ({}, {'total': None, 'connect': 30.0, 'read': 30.0, 'write': 30.0}),
        ({'timeout': 5}, {'total': 5, 'connect': 30.0, 'read': 30.0, 'write': 30.0}),
        (
            {'timeout': {'read': 5}},
            {'total': None, 'connect': 30.0, 'read': 5, 'write': 30.0},
        ),
        ({'timeout': None}, {'total': None, 'connect': None, 'read': None, 'write': None}),
    ],
    ids=str,
)
def test_the_default_timeouts_have_no_total(given, expected):
    """By default an exchange may take as long as it makes progress."""
    assert expected == check_origin('http://h', given).table['timeout']


def test_headers_replace_those_of_the_client():
    """Names match as in CGI; Host is always sent; framing headers are ignored."""
    pairs = [('X-Key', 'ours'), ('Via', None), ('Content-Length', '9'), ('TE', 'trailers')]
    request = Request(method='GET', url='/x?y', headers=Headers({'x_key': 'theirs', 'X': '1'}))
    for headers, host in (dict(pairs), 'h:81'), ([*pairs, ('host', 'other')], 'other'):
        sent = to_origin_request(request, check_origin('http://h:81/base/', {'headers': headers}))
        assert ('/base/x?y', '/base/x', 'raw') == (sent.url, sent.path, sent.into)
        assert {
            'X': '1',
            'X-Forwarded-Proto': 'http',
            'Forwarded': 'for=unknown;proto=http',
            'X-Key': 'ours',
            'Host': host,
        } == sent.headers
