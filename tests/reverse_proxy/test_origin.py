"""Where requests are sent on to, and with what."""

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
    """Not with the first request."""
    with pytest.raises(http.TableError, match=right):
        http.proxy(to, **overrides)


@pytest.mark.parametrize(
    ('given', 'expected'),
    [
        ({}, {'total': None, 'connect': 30.0, 'read': 30.0}),
        ({'timeout': 5}, {'total': 5, 'connect': 30.0, 'read': 30.0}),
        ({'timeout': {'read': 5}}, {'total': None, 'connect': 30.0, 'read': 5}),
        ({'timeout': None}, {'total': None, 'connect': None, 'read': None}),
    ],
    ids=str,
)
def test_deadlines_are_for_progress(given, expected):
    """Where nothing else is said, an exchange may take as long as it goes on."""
    assert expected == check_origin('http://h', given).table['timeout']


def test_headers_are_put_in_place_of_those_of_the_client():
    """By name, as CGI has it; Host is there in any case, framing is nobody's."""
    pairs = [('X-Key', 'ours'), ('Via', None), ('Content-Length', '9'), ('TE', 'trailers')]
    asked = Request(method='GET', url='/x?y', headers=Headers({'x_key': 'theirs', 'X': '1'}))
    for headers, host in (dict(pairs), 'h:81'), ([*pairs, ('host', 'other')], 'other'):
        sent = to_origin_request(asked, check_origin('http://h:81/base/', {'headers': headers}))
        assert ('/base/x?y', '/base/x', 'raw') == (sent.url, sent.path, sent.into)
        assert {
            'X': '1',
            'X-Forwarded-Proto': 'http',
            'Forwarded': 'for=unknown;proto=http',
            'X-Key': 'ours',
            'Host': host,
        } == sent.headers
