"""`next_request`: the request that follows a redirect."""

import copy

import pytest
import yarl

from aioluahttp.client.redirects import add_fragments, next_request, origin_of
from aioluahttp.headers import Headers
from aioluahttp.tables.conversion import to_request
from aioluahttp.tables.models import Response

SECRETS = {'Authorization': 'Basic x', 'Cookie': 'a=b', 'Host': 'name.example'}
CONTENT = {
    'Content-Type': 'a/b',
    'Content-Encoding': 'gzip',
    'Content-Language': 'de',
    'Content-Location': '/c',
}


def redirect(status=302, location='/next', url='http://a.example/dir/page?q=1'):
    """Return a redirect response; ``url`` is the URL that was requested."""
    headers = Headers([] if location is None else [('Location', location)])
    return Response(status=status, headers=headers, url=url)


def follow(location='/next', status=302, **fields):
    """Return the request that follows a redirect of a page of a.example."""
    request = to_request({'url': 'http://a.example/dir/page?q=1', **fields})
    return next_request(request, redirect(status, location))


@pytest.mark.parametrize('status', [301, 302, 303, 307, 308])
def test_a_redirect_is_followed(status):
    """Each redirect status leads to its Location."""
    following = follow(status=status)
    expected = ('http', 'a.example', 80, '/next', '', '/next')
    keys = ('scheme', 'host', 'port', 'path', 'query', 'url')
    assert expected == tuple(following[key] for key in keys)


@pytest.mark.parametrize('status', [200, 201, 300, 304, 305, 306, 309, 400, 500])
def test_another_status_is_not_followed(status):
    """Any other status is returned, even with a Location."""
    assert follow(status=status) is None


@pytest.mark.parametrize(
    ('location', 'expected'),
    [
        ('/x', 'http://a.example:80/x'),
        ('x', 'http://a.example:80/dir/x'),
        ('../x/./y', 'http://a.example:80/x/y'),
        ('?p=2', 'http://a.example:80/dir/page?p=2'),
        ('#part', 'http://a.example:80/dir/page?q=1'),
        ('/x#part', 'http://a.example:80/x'),
        ('//b.example/x', 'http://b.example:80/x'),
        ('//b.example', 'http://b.example:80/'),
        ('https://b.example', 'https://b.example:443/'),
        ('HTTPS://B.example:8443/x?', 'https://b.example:8443/x?'),
        ('http://a.example//x', 'http://a.example:80//x'),
        ('http://[::1]:81/', 'http://::1:81/'),
        ('http://me:secret@a.example/x', 'http://a.example:80/x'),
        ('/%41%27%2c?%2F', 'http://a.example:80/%41%27%2c?%2F'),
        ('/a b?é', 'http://a.example:80/a%20b?%C3%A9'),
        ('/\udcff', 'http://a.example:80/%FF'),
        ('http://bücher.example/', 'http://xn--bcher-kva.example:80/'),
    ],
)
def test_a_location_is_resolved_against_the_request_url(location, expected):
    """Its bytes are unchanged, except that characters a URL may not have are quoted."""
    assert expected == '{scheme}://{host}:{port}{url}'.format_map(follow(location))


@pytest.mark.parametrize(
    'location',
    [
        None,
        '',
        'ftp://a.example/',
        'mailto:a@b',
        'javascript:x()',
        'data:,x',
        'http:x',
        'http://',
        'http:///x',
        'http://a b/',
        'http://a.example:0/',
        'http://a.example:99999/',
        'http://[::1/',
        '/a\tb',
        '/a#\tb',
        '/a\x00b',
    ],
)
def test_a_location_that_is_not_an_http_url_is_not_followed(location):
    """There is no next request."""
    assert follow(location) is None


@pytest.mark.parametrize(
    ('status', 'method', 'expected'),
    [
        *((status, 'POST', 'GET') for status in (301, 302, 303)),
        *((status, method, method) for status in (301, 302) for method in ('GET', 'HEAD', 'PUT')),
        *((303, method, 'GET') for method in ('GET', 'PUT', 'DELETE', 'OPTIONS')),
        (303, 'HEAD', 'HEAD'),
        *((status, method, method) for status in (307, 308) for method in ('POST', 'PUT', 'HEAD')),
    ],
)
def test_the_method_changes_as_in_browsers(status, method, expected):
    """POST becomes GET for 301 and 302, all but HEAD for 303, none for 307 and 308."""
    assert expected == follow(status=status, method=method).method


@pytest.mark.parametrize(
    ('status', 'method', 'kept'),
    [(301, 'POST', False), (303, 'PUT', False), (301, 'PUT', True), (308, 'POST', True)],
)
def test_a_body_is_kept_if_the_method_is(status, method, kept):
    """A request that becomes GET loses its body and the content headers; any other keeps both."""
    headers = {**CONTENT, 'X-Mine': '1'}
    following = follow(status=status, method=method, body='text', headers=headers)
    assert (kept, kept) == ('body' in following, following.headers == headers)
    assert {**(CONTENT if kept else {}), 'X-Mine': '1'} == following.headers


@pytest.mark.parametrize(
    ('location', 'kept'),
    [
        ('/x', True),
        ('http://A.example:80/x', True),
        ('//a.example/x', True),
        ('http://b.example/x', False),
        ('http://sub.a.example/x', False),
        ('http://a.example:81/x', False),
        ('https://a.example/x', False),
        ('https://a.example:80/x', False),
    ],
)
def test_credentials_stay_with_their_origin(location, kept):
    """Authorization, Cookie and Host are kept for the same scheme, host and port only."""
    following = follow(location, headers={**SECRETS, 'X-Mine': '1'})
    assert {**(SECRETS if kept else {}), 'X-Mine': '1'} == following.headers


@pytest.mark.parametrize(
    ('location', 'expected'),
    [
        ('/x', {'verify': True, 'ca': 'a', 'cert': 'c', 'key': 'k', 'server_name': 'n'}),
        ('//b.example', {'verify': True, 'ca': 'a'}),
    ],
)
def test_a_client_certificate_stays_with_its_origin(location, expected):
    """Across origins only ``verify`` and ``ca`` are kept."""
    tls = {'verify': True, 'ca': 'a', 'cert': 'c', 'key': 'k', 'server_name': 'n'}
    assert expected == follow(location, tls=tls).tls


def test_tls_that_is_not_a_table_is_kept():
    """False, and likewise an SSL context, applies to every origin."""
    assert follow('//b.example', tls=False).tls is False


def test_all_other_keys_are_kept():
    """Keys about sending apply to the requests that follow."""
    keys = {'timeout': 3, 'into': 'json', 'max_body': 5, 'check': True, 'proxy': 'http://p/'}
    assert keys == {key: follow('//b.example', **keys)[key] for key in keys}


@pytest.mark.parametrize(
    ('location', 'expected'),
    [('/x', '/s'), ('http://b.example/', '/s'), ('https://a.example', None)],
)
def test_a_unix_socket_is_kept_except_for_https(location, expected):
    """Requests to https are not sent to it, because it is used without TLS."""
    following = follow(location, unix='/s')
    assert expected == (following and following.unix)


@pytest.mark.parametrize(
    ('written', 'locations', 'expected'),
    [
        (None, [], ['']),
        ('http://h/', [], ['']),
        ('http://h/#a', [], ['#a']),
        (yarl.URL('http://h/#a'), [], ['#a']),
        (None, ['/x#a'], ['', '#a']),
        ('/p#a#b', ['x', '#', 'y'], ['#a%23b', '#a%23b', '#', '#']),
        ('/p', ['/x#\udcff"', '//h'], ['', '#%FF%22', '#%FF%22']),
    ],
)
def test_fragments_are_inherited(written, locations, expected):
    """A Location without a fragment has that of the URL before it (RFC 9110 10.2.2)."""
    history = [redirect(location=one, url='http://h/') for one in locations]
    last = redirect(location='/not-followed#z', url='http://h/') | {'history': history}
    add_fragments(last, written)
    assert [f'http://h/{one}' for one in expected] == [one['url'] for one in (*history, last)]


def test_neither_table_is_changed():
    """The request and the response are not changed."""
    request = to_request({'url': 'http://a.example/', 'method': 'POST', 'body': 'x'})
    request['headers'].update(SECRETS | CONTENT)
    request['tls'] = {'cert': 'c'}
    response = redirect(location='//b.example')
    before = copy.deepcopy((request, response))
    next_request(request, response)
    assert before == (request, response)


def test_an_origin_is_its_scheme_host_and_port():
    """The default port is included, so that equal origins compare equal."""
    same = ['HTTPS://A.example/x?y', 'https://a.example:443', 'https://u:p@a.EXAMPLE/']
    assert {('https', 'a.example', 443)} == {origin_of(to_request(url=one)) for one in same}
