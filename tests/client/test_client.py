"""`Client`: redirects, statuses, the base URL, defaults, cookies, closing and the environment."""

import asyncio
import copy
import gc
import os
import socket
import warnings
from base64 import b64encode

import aiohttp
import pytest
import yarl

import aioluahttp as http
from programs import free_port

OK = b'HTTP/1.1 200 OK\r\nContent-Length: 2\r\n\r\nhi'


def redirect(location, status='302 Found', *fields, body=b'<p>'):
    """Return the bytes of a redirect."""
    lines = [f'HTTP/1.1 {status}', f'Location: {location}', *fields, f'Content-Length: {len(body)}']
    return '\r\n'.join((*lines, '\r\n')).encode() + body


def routing(routes, default=OK):
    """Make a raw handler that sends the bytes of a route for each request target."""

    async def handler(line):
        while True:
            asked = await line.request()
            await line.send(routes.get(asked.line.split()[1], default))

    return handler


def lines(peer):
    """Return the method and target of each request."""
    return [asked.line.removesuffix(' HTTP/1.1') for asked in peer.requests]


# Redirects followed


async def test_redirects_are_followed_to_their_end(raw_server):
    """The last response is returned with its ``url``; ``history`` has those before it."""
    routes = {
        '/dir/a': redirect('b?x', '301 Moved'),
        '/dir/b?x': redirect('../c', '303 Other'),
    }
    async with raw_server(routing(routes)) as peer:
        routes['/c'] = redirect(f'//127.0.0.1:{peer.port}/d#part', '308 There')
        response = await http.request(url=peer.url + '/dir/a', method='POST', body='x')
    assert ['POST /dir/a', 'GET /dir/b?x', 'GET /c', 'GET /d'] == lines(peer)
    assert (200, 'GET', peer.url + '/d#part') == (response.status, response.method, response.url)
    expected = [(301, 'POST', '/dir/a'), (303, 'GET', '/dir/b?x'), (308, 'GET', '/c')]
    assert [(status, method, peer.url + path) for status, method, path in expected] == [
        (one.status, one.method, one.url) for one in response.history
    ]
    assert [[]] * 3 == [one.history for one in response.history]


@pytest.mark.parametrize(
    ('fragment', 'locations', 'expected'),
    [
        ('', ['/2'], ['', '']),
        ('#a', [], ['#a']),
        ('#a', ['/2', '/3'], ['#a', '#a', '#a']),
        ('#a', ['/2#b', '/3'], ['#a', '#b', '#b']),
        ('#a', ['/2', '/3#c?d'], ['#a', '#a', '#c?d']),
        ('#a b#é', ['/2#\xff <'], ['#a%20b%23%C3%A9', '#%C3%BF%20%3C']),
        ('', ['/2#b', '/3#'], ['', '#b', '#']),
    ],
)
@pytest.mark.parametrize('kind', [str, yarl.URL], ids=['str', 'yarl'])
async def test_the_url_has_the_fragment_of_the_request_or_of_a_location(
    raw_server, kind, fragment, locations, expected
):
    """Each response has the last fragment so far (RFC 9110 10.2.2); none is sent."""
    routes = {f'/{n}': redirect(to) for n, to in enumerate(locations, 1)}
    async with raw_server(routing(routes)) as peer:
        url = f'{peer.url}/1{fragment}'
        response = await http.request(url=kind(url))
    assert [f'GET /{n}' for n, _ in enumerate(expected, 1)] == lines(peer)
    assert [f'{peer.url}/{n}{one}' for n, one in enumerate(expected, 1)] == [
        one.url for one in (*response.history, response)
    ]


async def test_a_redirect_that_is_not_followed_keeps_the_fragment(raw_server):
    """Its Location does not count; neither is the fragment in the text of an error."""
    async with raw_server(redirect('/2#b\tc')) as peer:
        table = {'url': peer.url + '/1#token', 'redirects': 0}
        assert peer.url + '/1#token' == (await http.request(table)).url
        with pytest.raises(http.StatusError) as caught:
            await http.request(table, check=[200])
    assert peer.url + '/1#token' == caught.value.response.url
    assert 'token' not in str(caught.value)


@pytest.mark.parametrize(
    ('limit', 'followed'), [({}, 10), ({'redirects': 3}, 3), ({'redirects': 0}, 0)]
)
async def test_so_many_redirects_are_followed_and_no_more(raw_server, limit, followed):
    """Beyond the limit the redirect itself is returned."""
    async with raw_server(redirect('/again')) as peer:
        response = await http.request(url=peer.url, **limit)
    assert (302, '<p>', '/again') == (response.status, response.body, response.headers['location'])
    assert (followed, followed + 1) == (len(response.history), len(peer.requests))


@pytest.mark.parametrize('location', ['ftp://a/', 'http://', '/a\tb'])
async def test_a_redirect_that_cannot_be_followed_is_returned(raw_server, location):
    """A Location that is not an HTTP URL is not followed."""
    async with raw_server(redirect(location)) as peer:
        response = await http.request(url=peer.url)
    assert (302, []) == (response.status, response.history)


@pytest.mark.parametrize('login', [{'auth': 'me:x'}, {'bearer': 'x'}, {'headers': {'Cookie': 'x'}}])
async def test_secrets_do_not_cross_origins(raw_server, login):
    """A login is sent on within an origin, not to another one, nor back again after that."""
    routes = {'/1': redirect('/2')}
    back = {}
    async with (
        raw_server(routing(routes)) as here,
        raw_server(routing(back)) as there,
    ):
        routes['/2'] = redirect(there.url + '/3')
        back['/3'] = redirect(here.url + '/4')
        await http.request(
            {'url': here.url + '/1', **login}, headers={'X-Mine': '1', **login.get('headers', {})}
        )
    names = ('Authorization', 'Cookie')
    sent = [
        [bool(asked.values(names[0]) + asked.values(names[1])) for asked in peer.requests]
        for peer in (here, there)
    ]
    assert [[True, True, False], [False]] == sent
    assert [['1']] * 4 == [asked.values('X-Mine') for asked in (*here.requests, *there.requests)]


async def test_a_given_host_header_is_sent_to_its_origin_only(raw_server):
    """Another origin gets its own name as Host."""
    routes = {'/1': redirect('/2')}
    async with raw_server(routing(routes)) as here, raw_server(OK) as there:
        routes['/2'] = redirect(there.url + '/3')
        await http.request(url=here.url + '/1', headers={'Host': 'name.example'})
    hosts = [asked.values('Host') for asked in (*here.requests, *there.requests)]
    assert [['name.example'], ['name.example'], [f'127.0.0.1:{there.port}']] == hosts


async def test_into_applies_to_the_last_response(raw_server):
    """The body of a redirect does not have to be JSON."""
    routes = {'/': redirect('/data'), '/data': OK.replace(b'hi', b'[]')}
    async with raw_server(routing(routes)) as peer:
        response = await http.request(url=peer.url, into='json')
    assert ([], '<p>') == (response.body, response.history[0].body)


async def test_the_total_deadline_covers_redirects(raw_server):
    """Each redirect is quick, but together they take longer than the total."""

    async def handler(line):
        while True:
            await line.request()
            await asyncio.sleep(0.02)
            await line.send(redirect('/again'))

    async with raw_server(handler) as peer:
        with pytest.raises(http.TimedOut, match=r'not done within 0\.1 s'):
            await http.request(url=peer.url, timeout=0.1, redirects=1_000_000)


@pytest.mark.parametrize('timeout', [None, {'total': None}, {'read': None, 'connect': None}, 5, {}])
async def test_a_timeout_may_be_long_or_none(raw_server, timeout):
    """None is no limit, and a key that is left out has its default."""
    async with raw_server(OK) as peer:
        assert 'hi' == (await http.request(url=peer.url, timeout=timeout)).body


@pytest.mark.parametrize('timeout', [0.05, {'total': 0.05}, {'read': 0.05, 'total': None}])
async def test_a_deadline_that_passes_ends_the_request(raw_server, timeout):
    """The total is enforced by the client, the other timeouts by the transport."""

    async def silent(line):
        await line.reader.read()

    async with raw_server(silent) as peer:
        with pytest.raises(http.TimedOut):
            await http.request(url=peer.url, timeout=timeout)


async def test_a_timeout_of_the_caller_raises_timeouterror(raw_server):
    """asyncio.timeout around a request raises TimeoutError, not an error of the library."""

    async def silent(line):
        await line.reader.read()

    async with raw_server(silent) as peer:
        with pytest.raises(TimeoutError) as caught:
            async with asyncio.timeout(0.05):
                await http.request(url=peer.url)
    assert not isinstance(caught.value, http.Error)


# Statuses


@pytest.mark.parametrize(
    ('check', 'status', 'passes'),
    [
        (False, 500, True),
        (True, 399, True),
        (True, 400, False),
        (True, 599, False),
        ({404}, 404, True),
        ({404}, 200, False),
        ([200, 404], 200, True),
        (range(200, 300), 204, True),
        ((), 200, False),
    ],
)
async def test_a_status_raises_only_if_check_does_not_accept_it(raw_server, check, status, passes):
    """True accepts below 400, a collection its statuses; the error has the whole response."""
    raw = f'HTTP/1.1 {status} Why\r\nX: y\r\nContent-Length: {2 * (status != 204)}\r\n\r\n'.encode()
    async with raw_server(raw + b'hi' * (status != 204)) as peer:
        plain = await http.request(url=peer.url)
        if passes:
            assert plain == await http.request(url=peer.url, check=check)
        else:
            with pytest.raises(
                http.StatusError, match=f'^GET {peer.url}/?: {status} Why$'
            ) as caught:
                await http.request(url=peer.url, check=check)
            assert plain == caught.value.response
            assert {'url': peer.url, 'check': check} == caught.value.request


async def test_check_applies_to_the_last_response(raw_server):
    """A redirect before it is not checked, but is in the history."""
    routes = {'/': redirect('/end'), '/end': b'HTTP/1.1 404 No\r\nContent-Length: 0\r\n\r\n'}
    async with raw_server(routing(routes)) as peer:
        assert 404 == (await http.request(url=peer.url, check={404})).status
        with pytest.raises(http.StatusError) as caught:
            await http.request(url=peer.url, check=True)
    assert [302] == [one.status for one in caught.value.response.history]


# The base URL


@pytest.mark.parametrize(
    ('base', 'fields', 'line'),
    [
        ('', {}, 'GET /'),
        ('/api', {}, 'GET /api'),
        ('/api?x=1', {}, 'GET /api?x=1'),
        ('/api', {'query': 'a=b'}, 'GET /api?a=b'),
        ('/api/', {'url': 'users'}, 'GET /api/users'),
        ('/api', {'url': 'users'}, 'GET /users'),
        ('/api/', {'url': yarl.URL('users/1')}, 'GET /api/users/1'),
        ('/api/', {'url': '/users'}, 'GET /users'),
        ('/api/', {'url': '//users'}, 'GET //users'),
        ('/api/', {'url': '../users'}, 'GET /users'),
        ('/api/', {'url': '..//users'}, 'GET //users'),
        ('/api/', {'url': '../../users'}, 'GET /users'),
        ('/api/', {'url': '?a=b'}, 'GET /api/?a=b'),
        ('/api/v?x', {'url': '?'}, 'GET /api/v?'),
        ('/api/', {'url': ''}, 'GET /api/'),
        ('/api/', {'url': '#part'}, 'GET /api/'),
        ('/api/', {'url': 'go?to=http://x/'}, 'GET /api/go?to=http://x/'),
        ('/api/', {'url': 'a b'}, 'GET /api/a%20b'),
        ('/api/', {'url': '%41/%2F?%27'}, 'GET /api/%41/%2F?%27'),
        ('/api/', {'path': '/users'}, 'GET /users'),
        ('/api/', {'url': 'x', 'path': '/api/x', 'query': 'y'}, 'GET /api/x?y'),
        ('/api/', {'url': '*', 'method': 'OPTIONS'}, 'OPTIONS *'),
        ('/api/', {'url': None, 'path': None}, 'GET /api/'),
        ('/api/', {'host': None, 'port': None, 'scheme': None}, 'GET /api/'),
    ],
    ids=str,
)
async def test_a_url_is_resolved_against_the_base(raw_server, base, fields, line):
    """It is resolved like a link on a page (RFC 3986), with its bytes unchanged."""
    async with raw_server(OK) as peer, http.Client(base_url=peer.url + base) as client:
        await client.request(fields)
    assert [line] == lines(peer)


@pytest.mark.parametrize(
    'make',
    [
        lambda peer: {'url': peer.url + '/x'},
        lambda peer: {'host': '127.0.0.1', 'port': peer.port, 'path': '/x'},
    ],
)
async def test_an_absolute_url_ignores_the_base(raw_server, make):
    """The base is ignored, whether the URL is given as text or in parts."""
    async with (
        raw_server(OK) as base,
        raw_server(OK) as other,
        http.Client(base_url=base.url + '/api/') as client,
    ):
        await client.request(make(other))
    assert ([], ['GET /x']) == (lines(base), lines(other))


@pytest.mark.parametrize(
    ('fields', 'expected'),
    [
        ({'url': 'http://b.invalid/'}, 'http://b.invalid:80/'),
        ({'url': 'https://b.invalid/'}, 'https://b.invalid:443/'),
        ({'url': 'https://a.invalid/'}, 'https://a.invalid:443/'),
        ({'url': 'http://a.invalid/'}, 'http://a.invalid:80/'),
        ({'scheme': 'https'}, 'https://a.invalid:443/'),
        ({'host': 'b.invalid'}, 'http://b.invalid:80/'),
        ({'port': 82}, 'http://a.invalid:82/'),
        ({}, 'http://a.invalid:81/'),
    ],
    ids=str,
)
async def test_the_port_of_the_base_is_used_for_its_origin_only(fields, expected):
    """A URL without a port uses the port of its scheme, not that of the base."""
    async with http.Client(base_url='http://a.invalid:81') as client:
        with pytest.raises(http.ConnectError, match=f'^GET {expected}: '):
            await client.request(fields)


SECRETS = {
    'headers': {'Authorization': 'x', 'Cookie': 'x', 'Host': 'x', 'Proxy-Authorization': 'x'},
}


@pytest.mark.parametrize(
    ('userinfo', 'defaults'),
    [('me:x@', {}), ('', {'auth': 'me:x'}), ('', {'bearer': 'x'}), ('', SECRETS)],
)
async def test_credentials_go_to_the_origin_of_the_base_only(raw_server, userinfo, defaults):
    """Credentials of the base URL and of the defaults do; other defaults go to every origin."""
    async with raw_server(OK) as base, raw_server(OK) as other:
        defaults = copy.deepcopy(defaults)
        defaults.setdefault('headers', {})['X-Mine'] = 'y'
        url = base.url.replace('//', f'//{userinfo}')
        async with http.Client(base_url=url, **defaults) as client:
            for one in ('/', base.url, other.url):
                await client.request(url=one)
    secret = [
        'x' in str(asked.values('Authorization') + asked.values('Cookie') + asked.values('Host'))
        or 'Basic' in str(asked.headers)
        for asked in (*base.requests, *other.requests)
    ]
    assert [True, True, False] == secret
    assert [['y']] * 3 == [asked.values('X-Mine') for asked in (*base.requests, *other.requests)]


async def test_a_default_client_certificate_goes_to_the_base_only(raw_server, certificates):
    """Another server that requests one gets none; ``ca`` applies to both."""
    tls = {'ca': certificates.ca, 'cert': certificates.cert, 'key': certificates.key}
    async with (
        raw_server(OK, tls=certificates.strict) as base,
        raw_server(OK, tls=certificates.strict) as strict,
        raw_server(OK, tls=certificates.server) as other,
        http.Client(base_url=base.url, tls=tls) as client,
    ):
        for url in ('/', other.url):
            assert 'hi' == (await client.request(url=url)).body
        with pytest.raises((http.ConnectError, http.ProtocolError)):
            await client.request(url=strict.url)
    assert [] == strict.requests


@pytest.mark.parametrize('base', ['/api', 'a.example', 'ftp://a', 'http://', 5])
def test_an_invalid_base_url_is_refused(base):
    """The constructor raises, so there is nothing to close."""
    with pytest.raises(http.TableError):
        http.Client(base_url=base)


# Defaults


@pytest.mark.parametrize(
    ('defaults', 'fields', 'expected'),
    [
        ({'method': 'POST'}, {}, 'POST / -'),
        ({'method': 'POST'}, {'method': 'PUT'}, 'PUT / -'),
        ({'method': 'POST'}, {'method': None}, 'POST / -'),
        ({'query': 'a=b'}, {}, 'GET /?a=b -'),
        ({'query': 'a=b'}, {'query': 'c'}, 'GET /?c -'),
        ({'json': [1]}, {}, 'GET / [1]'),
        ({'json': [1]}, {'body': 'x'}, 'GET / x'),
        ({'body': 'x'}, {'form': {'a': 'b'}}, 'GET / a=b'),
        ({'body': 'x'}, {'json': None}, 'GET / null'),
        ({'body': 'x'}, {'body': None}, 'GET / x'),
        ({'into': 'json', 'check': True, 'timeout': None}, {'into': 'text'}, 'GET / -'),
    ],
    ids=str,
)
async def test_keys_of_a_table_override_the_defaults(raw_server, defaults, fields, expected):
    """They do so key by key; a body of any kind replaces a default body of any kind."""
    async with raw_server(OK) as peer, http.Client(**defaults) as client:
        await client.request({'host': '127.0.0.1', 'port': peer.port, **fields})
    method, body = lines(peer)[0], peer.requests[0].body.decode()
    assert expected == f'{method} {body or "-"}'


def basic(pair):
    """Return the Authorization header of a login."""
    return 'Basic ' + b64encode(pair.encode()).decode()


@pytest.mark.parametrize(
    ('defaults', 'fields', 'expected'),
    [
        ({'auth': 'a:b'}, {}, basic('a:b')),
        ({'auth': 'a:b'}, {'bearer': 'x'}, 'Bearer x'),
        ({'auth': 'a:b'}, {'auth': 'c:d'}, basic('c:d')),
        ({'auth': 'a:b'}, {'auth': None}, basic('a:b')),
        ({'bearer': 'x'}, {'headers': {'authorization': 'mine'}}, 'mine'),
        ({'headers': {'AUTHORIZATION': 'x'}}, {'auth': 'c:d'}, basic('c:d')),
        ({'headers': {'Authorization': 'x'}}, {}, 'x'),
    ],
    ids=str,
)
async def test_a_login_replaces_a_default_login_of_any_kind(raw_server, defaults, fields, expected):
    """``auth``, ``bearer`` and an Authorization header replace each other."""
    async with raw_server(OK) as peer:
        async with http.Client(**defaults) as client:
            await client.request({'url': peer.url, **fields})
        async with http.Client(base_url=peer.url, **defaults) as client:
            await client.request(fields)
    assert [[expected]] * 2 == [asked.values('Authorization') for asked in peer.requests]


async def test_headers_are_merged_by_name(raw_server):
    """A header of the table replaces all default headers of that name, in any case."""
    defaults = [('X-A', '1'), ('X-A', '2'), ('X-B', '3'), ('X-C', '4'), ('User-Agent', 'mine')]
    async with raw_server(OK) as peer, http.Client(headers=defaults) as client:
        await client.request(url=peer.url, headers=[('x-a', '5'), ('X-D', '6'), ('X-C', None)])
        await client.request(url=peer.url)
    asked = [
        [asked.values(name) for name in ('X-A', 'X-B', 'X-C', 'X-D', 'User-Agent')]
        for asked in peer.requests
    ]
    assert [['5'], ['3'], ['4'], ['6'], ['mine']] == asked[0]
    assert [['1', '2'], ['3'], ['4'], [], ['mine']] == asked[1]


async def test_neither_a_table_nor_the_defaults_are_changed(raw_server):
    """The client merges into a copy."""
    table = {'url': 'x', 'headers': {'A': ['b', 'c']}, 'json': {'x': [1]}}
    defaults = {'headers': {'D': 'e'}, 'form': {'a': 'b'}, 'auth': ('a', 'b')}
    before = copy.deepcopy((table, defaults))
    async with raw_server(OK) as peer, http.Client(base_url=peer.url, **defaults) as client:
        first, second = await client.request(table), await client.request(table)
    assert before == (table, defaults)
    assert (first, peer.requests[0]) == (second, peer.requests[1])


@pytest.mark.parametrize(
    'defaults',
    [
        {'timout': 3},
        {'timeout': -1},
        {'headers': {'a b': 'c'}},
        {'auth': 'a:b', 'bearer': 'c'},
        {'json': 1, 'body': 'x'},
        {'cookies': {'a b': 'c'}},
        {'cookies': {'s3cret': object()}, 'timeout': 0},
        {'cookies': 5},
        {'cookies': None},
        {'cookies': 's3cret'},
    ],
    ids=str,
)
def test_a_wrong_default_is_refused_by_the_constructor(defaults):
    """The error has no secret in its text."""
    with pytest.raises(http.TableError) as caught:
        http.Client(**defaults)
    assert 's3cret' not in str(caught.value)


@pytest.mark.parametrize('table', [5, 'http://a/', [('url', 'http://a/')]])
@pytest.mark.parametrize('defaults', [{}, {'timeout': 3}])
async def test_a_table_of_another_type_is_refused(defaults, table):
    """The error has the keywords that were given."""
    async with http.Client(**defaults) as client:
        with pytest.raises(http.TableError, match=r"^'table' is ") as caught:
            await client.request(table, method='GET')
    assert {'method': 'GET'} == caught.value.request


@pytest.mark.parametrize('base', ['http://127.0.0.1:1', None])
@pytest.mark.parametrize('url', [5, b'http://a', 'ftp://a', 'a.example:80/x'])
async def test_an_invalid_url_is_refused(base, url):
    """It is refused with a base URL and without."""
    async with http.Client(base_url=base, timeout=3) as client:
        with pytest.raises(http.TableError):
            await client.request(url=url)


async def test_keywords_override_the_table(raw_server):
    """The table of an error has the keys of both."""
    async with raw_server(OK) as peer, http.Client() as client:
        await client.request({'url': peer.url + '/no', 'method': 'PUT'}, url=peer.url + '/yes')
        with pytest.raises(http.TableError) as caught:
            await client.request({'url': peer.url}, timeout=-1)
    assert ['PUT /yes'] == lines(peer)
    assert {'url': peer.url, 'timeout': -1} == caught.value.request


# Cookies


SETS = b'HTTP/1.1 200 OK\r\nSet-Cookie: %b\r\nContent-Length: 0\r\n\r\n'


def cookies_of(peer):
    """Return the Cookie header of each request, '' if it has none."""
    return ['; '.join(asked.values('Cookie')) for asked in peer.requests]


@pytest.mark.parametrize(
    ('cookies', 'expected'),
    [
        (True, ['', 'a=1', 'a=1']),
        (False, ['', '', '']),
        ({}, ['', 'a=1', 'a=1']),
        ({'b': '2'}, ['b=2', 'a=1; b=2', 'a=1; b=2']),
        ({'a': '0'}, ['a=0', 'a=1', 'a=1']),
    ],
    ids=str,
)
@pytest.mark.parametrize('base', [True, False])
async def test_cookies_are_kept_as_the_option_says(raw_server, base, cookies, expected):
    """A client keeps cookies, also of an IP address, or keeps none, or starts with some."""
    async with raw_server(SETS % b'a=1; Path=/') as peer:
        base_url = {'base_url': peer.url + '/api/'} if base else {}
        async with http.Client(cookies=cookies, **base_url) as client:
            for path in ('/api/x', '/', '/y'):
                await client.request(url=peer.url + path)
    assert expected == ['; '.join(sorted(one.split('; '))) for one in cookies_of(peer)]


async def test_a_cookie_is_sent_to_its_path_and_host_only(raw_server):
    """One that has expired is not sent at all."""
    routes = {
        '/1': SETS % b'a=1; Path=/in',
        '/2': SETS % b'b=2; Domain=other.example',
        '/3': SETS % b'c=3; Secure; Path=/',
        '/4': SETS % b'd=4; Path=/\r\nSet-Cookie: e=5; Path=/',
        '/5': SETS % b'd=; Max-Age=0; Path=/',
    }
    async with raw_server(routing(routes)) as peer, http.Client() as client:
        for path in (*routes, '/in/x', '/out'):
            await client.request(url=peer.url + path)
    assert ['a=1; e=5', 'e=5'] == ['; '.join(sorted(c.split('; '))) for c in cookies_of(peer)[-2:]]


async def test_initial_cookies_go_to_the_host_of_the_base_only(raw_server):
    """They are not sent to another host, also after a redirect; without a base to every host."""
    routes = {}
    async with raw_server(routing(routes)) as base, raw_server(OK) as other:
        away = f'http://localhost:{other.port}'
        routes['/away'] = redirect(away)
        for where, expected in (({'base_url': base.url}, ['', '']), ({}, ['a=1', 'a=1'])):
            async with http.Client(cookies={'a': '1'}, **where) as client:
                for url in (base.url, away, base.url + '/away'):
                    await client.request(url=url)
            assert expected == cookies_of(other)
            other.requests.clear()
    assert {'a=1'} == set(cookies_of(base))


# Closing, and event loops


async def test_a_closed_client_makes_no_connection(raw_server):
    """A request to it raises, if it was closed before the first request, after it, or twice."""
    async with raw_server(OK) as peer:
        for requests in (0, 1):
            async with http.Client() as client:
                assert not client.closed
                for _ in range(requests):
                    await client.request(url=peer.url)
            await client.close()
            assert client.closed
            with pytest.raises(http.ConnectError, match='the client is closed') as caught:
                await client.request(url=peer.url)
            assert {'url': peer.url} == caught.value.request
    assert 1 == peer.connections


async def test_closing_closes_the_connections(raw_server):
    """It closes idle connections, and one on which a request waits."""
    asked, left = asyncio.Event(), asyncio.Event()

    async def handler(line):
        while (await line.request()).line.startswith('GET /quick'):
            await line.send(OK)
        asked.set()
        await line.reader.read()
        left.set()

    async with raw_server(handler) as peer:
        async with http.Client() as client:
            await client.request(url=peer.url + '/quick')
            waiting = asyncio.create_task(client.request(url=peer.url + '/slow'))
            await asked.wait()
        with pytest.raises(http.ProtocolError):
            await waiting
        await left.wait()


HEAD = b'HTTP/1.1 200 OK\r\n'


@pytest.mark.parametrize('tls', [False, True], ids=['plain', 'tls'])
@pytest.mark.parametrize(
    'raw',
    [
        b'',
        HEAD,
        HEAD + b'Content-Length: 9\r\n\r\nhalf',
        HEAD + b'\r\nhalf',
        HEAD + b'Transfer-Encoding: chunked\r\n\r\n4\r\nhalf\r\n',
    ],
    ids=['no response', 'half a head', 'half a length', 'half of all', 'half the chunks'],
)
async def test_a_request_in_progress_raises_when_the_client_is_closed(
    raw_server, certificates, raw, tls
):
    """It raises while it waits for a response, or for a free connection; it never hangs."""
    asked = asyncio.Event()

    async def handler(line):
        await line.request()
        await line.send(raw)
        asked.set()
        await line.reader.read()

    async with raw_server(handler, tls=certificates.server if tls else None) as peer:
        tables = [{'url': peer.url + path, 'timeout': None} for path in ('/sent', '/queued')]
        async with http.Client(limit=1, tls={'ca': certificates.ca}) as client:
            requests = [asyncio.create_task(client.request(table)) for table in tables]
            await asked.wait()
            for _ in range(20):  # turns of the loop, in which the client reads what there is
                await asyncio.sleep(0)
        errors = await asyncio.gather(*requests, return_exceptions=True)
    what = 'the client was closed before the response arrived'
    assert [f'GET {table["url"]}: {what}' for table in tables] == list(map(str, errors))
    assert [(http.ProtocolError, table) for table in tables] == [
        (type(error), error.request) for error in errors
    ]


async def test_a_client_may_be_closed_at_every_await_of_a_request(raw_server, certificates):
    """The request returns a response or raises an error, and leaves nothing open."""
    routes = {'/moved': redirect('/there', '307 There')}
    async with raw_server(routing(routes), tls=certificates.server) as peer:
        url = f'https://127.0.0.1:{peer.port}/moved'
        done, steps = False, 0
        while not done:
            client = http.Client(tls={'ca': certificates.ca}, timeout=None)
            task = asyncio.create_task(client.request(url=url, method='POST', body='x'))
            for _ in range(steps):
                await asyncio.sleep(0)
            done = task.done()
            await client.close()
            (outcome,) = await asyncio.gather(task, return_exceptions=True)
            known = (http.Response, http.ProtocolError, http.ConnectError)
            assert isinstance(outcome, known), repr(outcome)
            assert done or steps == 0 or not isinstance(outcome, http.ConnectError)
            steps += 1


async def test_a_client_may_be_closed_as_a_deadline_passes(raw_server):
    """The request raises one error, whichever came first."""

    async def silent(line):
        await line.reader.read()

    async with raw_server(silent) as peer:
        for steps in range(5):
            client = http.Client(timeout=1e-9)
            task = asyncio.create_task(client.request(url=peer.url))
            for _ in range(steps):
                await asyncio.sleep(0)
            await client.close()
            with pytest.raises((http.ProtocolError, http.ConnectError, http.TimedOut)):
                await task


async def test_a_refused_connection_after_a_redirect_is_a_protocol_error(raw_server):
    """ConnectError means that nothing was sent, but the first request was."""
    url = f'http://127.0.0.1:{free_port()}/'
    async with raw_server(redirect(url, '303 Done')) as peer, http.Client() as client:
        with pytest.raises(http.ProtocolError, match='after a request had been sent') as caught:
            await client.request(url=peer.url, method='POST')
    assert str(caught.value).startswith(f'GET {url}: ')
    assert {'url': peer.url, 'method': 'POST'} == caught.value.request


def test_a_client_belongs_to_one_loop(certificates):
    """A request in another loop raises, and does not hang; the first loop can still use it."""

    async def send(client, url):
        return await client.request(url=url, timeout=5)

    with socket.create_server(('127.0.0.1', 0)) as listening, asyncio.Runner() as first:
        url = f'http://127.0.0.1:{listening.getsockname()[1]}/'
        client = http.Client()
        with pytest.raises(http.TimedOut):
            first.run(client.request(url=url, timeout=0.05))
        with pytest.raises(http.ConnectError, match='belongs to another event loop'):
            asyncio.run(send(client, url))
        first.run(client.close())


async def test_clients_share_nothing(raw_server):
    """Each client has its own connections and cookies."""
    async with raw_server(SETS % b'a=1') as peer, http.Client() as one, http.Client() as two:
        for client in (one, two, one):
            await client.request(url=peer.url)
    assert (2, ['', '', 'a=1']) == (peer.connections, cookies_of(peer))


async def test_client_request_is_a_handler(raw_server):
    """The bound method takes one table and can be passed to other functions."""
    async with raw_server(OK) as peer, http.Client() as client:
        tables = [http.to_request(url=peer.url), {'url': peer.url}]
        responses = await http.parallel.map(client.request, tables)
    assert ['hi', 'hi'] == [response.body for response in responses]


def test_a_client_that_was_never_used_needs_no_closing():
    """It opens nothing, and no warning is emitted."""
    with warnings.catch_warnings():
        warnings.simplefilter('error')
        http.Client()
        gc.collect()


# The environment


@pytest.fixture
def environment(monkeypatch, tmp_path):
    """Hide the proxies of the machine, and provide a netrc with a login for localhost."""
    for name in list(os.environ):
        if name.lower().endswith('_proxy'):
            monkeypatch.delenv(name)
    (tmp_path / 'netrc').write_text('machine localhost login me password x')
    monkeypatch.setenv('NETRC', str(tmp_path / 'netrc'))
    return monkeypatch


@pytest.mark.parametrize('trust_env', [True, False])
async def test_the_environment_is_read_where_it_is_trusted(environment, raw_server, trust_env):
    """Proxies and netrc logins are looked up for each request, also those after redirects."""
    routes = {}
    async with (
        raw_server(OK) as other,
        raw_server(routing(routes)) as here,
        raw_server(OK) as proxy,
    ):
        routes['/'] = redirect(f'http://localhost:{other.port}')
        environment.setenv('HTTP_PROXY', proxy.url)
        environment.setenv('NO_PROXY', f'localhost,127.0.0.1:{here.port}')
        async with http.Client(trust_env=trust_env) as client:
            await client.request(url=here.url)
            if trust_env:
                assert 'hi' == (await client.request(url='http://a.invalid/')).body
    assert ['GET http://a.invalid/'] * trust_env == lines(proxy)
    assert [[]] == [asked.values('Authorization') for asked in here.requests]
    expected = [basic('me:x')] * trust_env
    assert [expected] == [asked.values('Authorization') for asked in other.requests]


async def test_an_invalid_proxy_in_the_environment_is_a_table_error(environment):
    """The error has the table, and does not show the password."""
    environment.setenv('HTTP_PROXY', 'socks5://me:s3cret@p')
    async with http.Client(trust_env=True) as client:
        with pytest.raises(http.TableError, match='proxy') as caught:
            await client.request(url='http://a.invalid')
    assert {'url': 'http://a.invalid'} == caught.value.request
    assert 's3cret' not in str(caught.value)


@pytest.mark.parametrize('name', ['limit', 'limit_per_host'])
@pytest.mark.parametrize('wrong', [0, -1, 'x', True, 1.5], ids=str)
def test_a_limit_is_one_connection_or_more(name, wrong):
    """Any other value is refused by the constructor."""
    with pytest.raises(http.TableError, match=f"'{name}' is {wrong!r}; it must be an int of"):
        http.Client(**{name: wrong})


async def test_a_client_opens_websockets(monkeypatch):
    """It applies its defaults and the environment's proxy; an error has the table."""

    async def chat(socket):
        await socket.send(socket.request.headers['a'])

    async with (
        http.listen('127.0.0.1', 0, lambda request: {'websocket': chat}) as server,
        http.Client(base_url=server.url, headers={'A': 'b'}) as client,
    ):
        async with client.websocket(url='/') as socket:
            assert 'b' == await anext(socket)
        with pytest.raises(http.TableError) as caught:
            async with client.websocket({'url': '/', 'hartbeat': 1}):
                pass
        assert {'url': '/', 'hartbeat': 1} == caught.value.request
    monkeypatch.setenv('HTTP_PROXY', server.url)
    async with http.Client(trust_env=True) as client:
        with pytest.raises(http.ConnectError):
            async with client.websocket(url='ws://nowhere.example'):
                pass


async def test_the_total_deadline_applies_to_forwarded_requests(raw_server):
    """It covers the head of the response."""

    async def silent(line):
        await line.reader.read()

    async with raw_server(silent) as peer, http.Client(cookies=False) as client:
        request = http.to_request(url=peer.url, timeout=0.05, into='raw')
        with pytest.raises(http.TimedOut):
            await client.pass_on(request, None)


# Streamed bodies; tests/transports/test_request_body.py has more of them


async def test_a_body_that_cannot_be_sent_again_raises_at_the_redirect(raw_server):
    """The error has the redirect; the iterator is closed, as is that of a malformed table."""

    class Once:
        closed = 0

        def __iter__(self):
            return self

        def __next__(self):
            raise StopIteration

        def close(self):
            self.closed += 1

    async def handler(line):
        await line.reader.readuntil(b'0\r\n\r\n')
        await line.send(redirect('/next', '307 Temporary Redirect'))

    first, second = Once(), Once()
    async with raw_server(handler) as peer:
        with pytest.raises(http.TableError) as caught:
            await http.request(url=peer.url, method='POST', body=first)
        with pytest.raises(http.TableError):
            await http.request(url=peer.url, body=second, colour='red')
    assert ('/next', 1, 1) == (
        caught.value.response.headers['Location'],
        first.closed,
        second.closed,
    )


async def test_a_default_path_in_into_downloads_to_a_file(raw_server, tmp_path):
    """A table may override it."""
    async with (
        raw_server(b'HTTP/1.1 200 OK\r\nContent-Length: 2\r\n\r\nhi') as peer,
        http.Client(into=tmp_path / 'a', resume=True) as client,
    ):
        response = await client.request(url=peer.url, check=True)
        assert b'hi' == response.body.read_bytes()
        assert 'hi' == (await client.request(url=peer.url, into='text')).body


def test_session_must_be_an_aiohttp_session():
    """The error names the type that is expected."""
    with pytest.raises(http.TableError, match='ClientSession'):
        http.Client(session=object())


@pytest.mark.filterwarnings('ignore::DeprecationWarning')  # aiohttp's, for its auth
async def test_a_session_with_auth_is_refused():
    """aiohttp would send it to wherever a redirect leads."""
    async with aiohttp.ClientSession(auth=aiohttp.BasicAuth('me', 's3cret')) as session:
        with pytest.raises(http.TableError, match=r"^'session.auth' is \*\*\*; it must"):
            http.Client(session=session)


@pytest.mark.parametrize(
    'beside',
    [
        {'cookies': False},
        {'cookies': {'a': 'b'}},
        {'limit': 5},
        {'limit_per_host': 5},
        {'via': str},
    ],
)
async def test_options_that_a_session_has_itself_are_refused_beside_it(beside):
    """They would have no effect."""
    async with aiohttp.ClientSession() as session:
        with pytest.raises(http.TableError, match='it has its own'):
            http.Client(session=session, **beside)


async def test_a_given_session_is_used_and_stays_open(raw_server):
    """Its own headers are sent; its owner closes it."""
    async with raw_server(OK) as peer, aiohttp.ClientSession(headers={'A': 'b'}) as session:
        async with http.Client(session=session) as client:
            assert 200 == (await client.request(url=peer.url)).status
        assert not session.closed
    assert ['b'] == peer.requests[0].values('A')


async def test_via_calls_a_handler_instead_of_the_network():
    """The handler gets the tables, with the client's defaults."""

    def handler(request):
        return {'status': 200, 'body': f'{request.method} {request.host} {request.url}'}

    async with http.Client(via=handler, base_url='http://h/a/') as client:
        assert 'GET h /a/b?c=d' == (await client.request(url='b', query={'c': 'd'})).body
    with pytest.raises(http.ConnectError):
        await client.request()
    with pytest.raises(http.TableError, match='via'):
        http.Client(via='http://h')


@pytest.mark.parametrize(
    ('options', 'message'),
    [
        ({'via_options': {}}, "'via_options' is {}; it must be absent, or given with via"),
        ({'via': str, 'via_options': 5}, "'via_options' is 5; it must be a table"),
        ({'via': str, 'via_options': {'head_timeout': 5}}, "unknown key 'head_timeout'"),
        ({'via': str, 'via_options': {'tls': {}}}, "unknown key 'tls'"),
        ({'via': str, 'via_options': {'into': 'colour'}}, "'into' is 'colour'"),
        ({'via': str, 'via_options': {'on_error': 5}}, "'on_error' is 5"),
    ],
)
def test_via_options_are_those_of_an_exchange(options, message):
    """An option of a connection is an error, and so are options without ``via``."""
    with pytest.raises(http.TableError) as caught:
        http.Client(**options)
    assert str(caught.value).startswith(message)
