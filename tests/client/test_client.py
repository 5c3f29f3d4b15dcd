"""Send a table and get one back, with a client of one's own."""

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

OK = b'HTTP/1.1 200 OK\r\nContent-Length: 2\r\n\r\nhi'


def redirect(location, status='302 Found', *fields, body=b'<p>'):
    """Make the bytes of a redirect."""
    lines = [f'HTTP/1.1 {status}', f'Location: {location}', *fields, f'Content-Length: {len(body)}']
    return '\r\n'.join((*lines, '\r\n')).encode() + body


def routing(routes, default=OK):
    """Make a raw handler that answers a target with the bytes that a table has for it."""

    async def handler(line):
        while True:
            asked = await line.request()
            await line.send(routes.get(asked.line.split()[1], default))

    return handler


def lines(peer):
    """Give the method and target of each request."""
    return [asked.line.removesuffix(' HTTP/1.1') for asked in peer.asked]


# Redirects followed


async def test_redirects_are_followed_to_their_end(raw_server):
    """The answer is the last; ``history`` has those before it, ``url`` is where it came from."""
    routes = {
        '/dir/a': redirect('b?x', '301 Moved'),
        '/dir/b?x': redirect('../c', '303 Other'),
    }
    async with raw_server(routing(routes)) as peer:
        routes['/c'] = redirect(f'//127.0.0.1:{peer.port}/d#part', '308 There')
        response = await http.request(url=peer.url + '/dir/a', method='POST', body='x')
    assert ['POST /dir/a', 'GET /dir/b?x', 'GET /c', 'GET /d'] == lines(peer)
    assert (200, 'GET', peer.url + '/d') == (response.status, response.method, response.url)
    expected = [(301, 'POST', '/dir/a'), (303, 'GET', '/dir/b?x'), (308, 'GET', '/c')]
    assert [(status, method, peer.url + path) for status, method, path in expected] == [
        (one.status, one.method, one.url) for one in response.history
    ]
    assert [[]] * 3 == [one.history for one in response.history]


@pytest.mark.parametrize('body', ['text é', b'\x00\xff', 'x' * (2 << 20)], ids=len)
async def test_a_redirect_that_keeps_the_method_resends_the_whole_body(raw_server, body):
    """307 and 308 send the same again, under the same type."""
    routes = {'/1': redirect('/2', '307 T'), '/2': redirect('/3', '308 P')}
    async with raw_server(routing(routes)) as peer:
        await http.request(url=peer.url + '/1', method='POST', body=body)
    assert ['POST /1', 'POST /2', 'POST /3'] == lines(peer)
    sent = body if isinstance(body, bytes) else body.encode()
    assert [sent] * 3 == [asked.body for asked in peer.asked]
    assert 1 == len({tuple(asked.values('Content-Type')) for asked in peer.asked})


@pytest.mark.parametrize(
    ('limit', 'followed'), [({}, 10), ({'redirects': 3}, 3), ({'redirects': 0}, 0)]
)
async def test_so_many_redirects_are_followed_and_no_more(raw_server, limit, followed):
    """Beyond the limit the redirect is the answer."""
    async with raw_server(redirect('/again')) as peer:
        response = await http.request(url=peer.url, **limit)
    assert (302, '<p>', '/again') == (response.status, response.body, response.headers['location'])
    assert (followed, followed + 1) == (len(response.history), len(peer.asked))


@pytest.mark.parametrize('location', ['ftp://a/', 'http://', '/a\tb'])
async def test_a_redirect_to_nowhere_is_the_answer(raw_server, location):
    """What cannot be followed is given as it is."""
    async with raw_server(redirect(location)) as peer:
        response = await http.request(url=peer.url)
    assert (302, []) == (response.status, response.history)


@pytest.mark.parametrize('login', [{'auth': 'me:x'}, {'bearer': 'x'}, {'headers': {'Cookie': 'x'}}])
async def test_secrets_do_not_cross_origins(raw_server, login):
    """Within an origin they are sent on, to another they are not, nor back again."""
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
        [bool(asked.values(names[0]) + asked.values(names[1])) for asked in peer.asked]
        for peer in (here, there)
    ]
    assert [[True, True, False], [False]] == sent
    assert [['1']] * 4 == [asked.values('X-Mine') for asked in (*here.asked, *there.asked)]


async def test_a_host_as_given_stays_with_its_origin(raw_server):
    """Another origin is asked by its own name."""
    routes = {'/1': redirect('/2')}
    async with raw_server(routing(routes)) as here, raw_server(OK) as there:
        routes['/2'] = redirect(there.url + '/3')
        await http.request(url=here.url + '/1', headers={'Host': 'name.example'})
    hosts = [asked.values('Host') for asked in (*here.asked, *there.asked)]
    assert [['name.example'], ['name.example'], [f'127.0.0.1:{there.port}']] == hosts


async def test_into_is_for_the_last_response(raw_server):
    """The page of a redirect need not be JSON."""
    routes = {'/': redirect('/data'), '/data': OK.replace(b'hi', b'[]')}
    async with raw_server(routing(routes)) as peer:
        response = await http.request(url=peer.url, into='json')
    assert ([], '<p>') == (response.body, response.history[0].body)


async def test_the_total_deadline_holds_over_redirects(raw_server):
    """Each redirect is quick, all of them together are not."""

    async def handler(line):
        while True:
            await line.request()
            await asyncio.sleep(0.02)
            await line.send(redirect('/again'))

    async with raw_server(handler) as peer:
        with pytest.raises(http.TimedOut, match=r'not done within 0\.1 s'):
            await http.request(url=peer.url, timeout=0.1, redirects=1_000_000)


@pytest.mark.parametrize('timeout', [None, {'total': None}, {'read': None, 'connect': None}, 5, {}])
async def test_a_deadline_may_be_far_or_none(raw_server, timeout):
    """None is no limit, and what a table leaves out is the default."""
    async with raw_server(OK) as peer:
        assert 'hi' == (await http.request(url=peer.url, timeout=timeout)).body


@pytest.mark.parametrize('timeout', [0.05, {'total': 0.05}, {'read': 0.05, 'total': None}])
async def test_a_deadline_that_passes_ends_the_request(raw_server, timeout):
    """The total is the client's, what is shorter within it the transport's."""

    async def silent(line):
        await line.reader.read()

    async with raw_server(silent) as peer:
        with pytest.raises(http.TimedOut):
            await http.request(url=peer.url, timeout=timeout)


async def test_a_timeout_of_the_caller_is_the_caller_s(raw_server):
    """asyncio's own deadlines end a request as they end anything."""

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
async def test_a_status_raises_only_where_check_says_so(raw_server, check, status, passes):
    """True is below 400, a collection the statuses that pass; the error has the whole response."""
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


async def test_a_check_is_of_the_last_response(raw_server):
    """A redirect on the way is not checked, but it is in the history."""
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
        ('/api/', {'url': 'x', 'path': '/no', 'query': 'y'}, 'GET /api/x?y'),
        ('/api/', {'url': '*', 'method': 'OPTIONS'}, 'OPTIONS *'),
        ('/api/', {'url': None, 'path': None}, 'GET /api/'),
        ('/api/', {'host': None, 'port': None, 'scheme': None}, 'GET /api/'),
    ],
    ids=str,
)
async def test_a_url_is_resolved_against_the_base(raw_server, base, fields, line):
    """As a link on a page is (RFC 3986), with its bytes unchanged."""
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
async def test_an_absolute_url_goes_where_it_says(raw_server, make):
    """The base is left aside, whether the URL is one or in parts."""
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
async def test_the_port_of_the_base_is_of_its_origin_alone(fields, expected):
    """A URL without a port means the port of its scheme, not that of the base."""
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
async def test_credentials_go_to_the_origin_of_the_base_alone(raw_server, userinfo, defaults):
    """Those of the base URL and of the defaults; all other defaults go everywhere."""
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
        for asked in (*base.asked, *other.asked)
    ]
    assert [True, True, False] == secret
    assert [['y']] * 3 == [asked.values('X-Mine') for asked in (*base.asked, *other.asked)]


async def test_a_certificate_among_the_defaults_goes_to_the_base_alone(raw_server, certificates):
    """Another server that asks for one gets none; whom to trust holds for both."""
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
    assert [] == strict.asked


@pytest.mark.parametrize('base', ['/api', 'a.example', 'ftp://a', 'http://', 5])
def test_a_base_url_that_is_none_is_refused(base):
    """Before there is anything to close."""
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
async def test_what_a_table_has_counts_before_the_defaults(raw_server, defaults, fields, expected):
    """Key by key; a body of any kind replaces one of any other."""
    async with raw_server(OK) as peer, http.Client(**defaults) as client:
        await client.request({'host': '127.0.0.1', 'port': peer.port, **fields})
    method, body = lines(peer)[0], peer.asked[0].body.decode()
    assert expected == f'{method} {body or "-"}'


def basic(pair):
    """Give the header of a login."""
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
async def test_a_login_replaces_a_default_of_any_kind(raw_server, defaults, fields, expected):
    """They are one thing, however they are said."""
    async with raw_server(OK) as peer:
        async with http.Client(**defaults) as client:
            await client.request({'url': peer.url, **fields})
        async with http.Client(base_url=peer.url, **defaults) as client:
            await client.request(fields)
    assert [[expected]] * 2 == [asked.values('Authorization') for asked in peer.asked]


async def test_headers_are_merged_by_name(raw_server):
    """A name that the table has replaces all of that name, in any case."""
    defaults = [('X-A', '1'), ('X-A', '2'), ('X-B', '3'), ('X-C', '4'), ('User-Agent', 'mine')]
    async with raw_server(OK) as peer, http.Client(headers=defaults) as client:
        await client.request(url=peer.url, headers=[('x-a', '5'), ('X-D', '6'), ('X-C', None)])
        await client.request(url=peer.url)
    asked = [
        [asked.values(name) for name in ('X-A', 'X-B', 'X-C', 'X-D', 'User-Agent')]
        for asked in peer.asked
    ]
    assert [['5'], ['3'], ['4'], ['6'], ['mine']] == asked[0]
    assert [['1', '2'], ['3'], ['4'], [], ['mine']] == asked[1]


async def test_neither_a_table_nor_the_defaults_are_changed(raw_server):
    """What is merged is merged into a copy."""
    table = {'url': 'x', 'headers': {'A': ['b', 'c']}, 'json': {'x': [1]}}
    defaults = {'headers': {'D': 'e'}, 'form': {'a': 'b'}, 'auth': ('a', 'b')}
    before = copy.deepcopy((table, defaults))
    async with raw_server(OK) as peer, http.Client(base_url=peer.url, **defaults) as client:
        first, second = await client.request(table), await client.request(table)
    assert before == (table, defaults)
    assert (first, peer.asked[0]) == (second, peer.asked[1])


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
def test_a_default_that_is_wrong_is_refused_at_once(defaults):
    """The client is not made."""
    with pytest.raises(http.TableError) as caught:
        http.Client(**defaults)
    assert 's3cret' not in str(caught.value)


@pytest.mark.parametrize('table', [5, 'http://a/', [('url', 'http://a/')]])
@pytest.mark.parametrize('defaults', [{}, {'timeout': 3}])
async def test_what_is_no_table_is_refused(defaults, table):
    """The error carries what keywords there were."""
    async with http.Client(**defaults) as client:
        with pytest.raises(http.TableError, match=r"^'table' is ") as caught:
            await client.request(table, method='GET')
    assert {'method': 'GET'} == caught.value.request


@pytest.mark.parametrize('base', ['http://127.0.0.1:1', None])
@pytest.mark.parametrize('url', [5, b'http://a', 'ftp://a', 'a.example:80/x'])
async def test_a_url_that_is_none_is_refused(base, url):
    """With a base and without."""
    async with http.Client(base_url=base, timeout=3) as client:
        with pytest.raises(http.TableError):
            await client.request(url=url)


async def test_keywords_count_before_the_table(raw_server):
    """Both are one table; the error has both."""
    async with raw_server(OK) as peer, http.Client() as client:
        await client.request({'url': peer.url + '/no', 'method': 'PUT'}, url=peer.url + '/yes')
        with pytest.raises(http.TableError) as caught:
            await client.request({'url': peer.url}, timeout=-1)
    assert ['PUT /yes'] == lines(peer)
    assert {'url': peer.url, 'timeout': -1} == caught.value.request


# Cookies


SETS = b'HTTP/1.1 200 OK\r\nSet-Cookie: %b\r\nContent-Length: 0\r\n\r\n'


def cookies_of(peer):
    """Give the Cookie header of each request, '' where there is none."""
    return ['; '.join(asked.values('Cookie')) for asked in peer.asked]


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
async def test_cookies_are_kept_as_the_client_is_told(raw_server, base, cookies, expected):
    """A client keeps them, also those of an address, or keeps none, or starts with some."""
    async with raw_server(SETS % b'a=1; Path=/') as peer:
        base_url = {'base_url': peer.url + '/api/'} if base else {}
        async with http.Client(cookies=cookies, **base_url) as client:
            for path in ('/api/x', '/', '/y'):
                await client.request(url=peer.url + path)
    assert expected == ['; '.join(sorted(one.split('; '))) for one in cookies_of(peer)]


async def test_a_cookie_goes_where_it_belongs(raw_server):
    """By path and by host; one that has run out goes nowhere."""
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


async def test_a_cookie_of_a_redirect_is_kept(raw_server):
    """It goes out with the request that follows."""
    routes = {'/': redirect('/2', '302 F', 'Set-Cookie: a=1')}
    async with raw_server(routing(routes)) as peer, http.Client() as client:
        await client.request(url=peer.url)
    assert ['', 'a=1'] == cookies_of(peer)


async def test_initial_cookies_go_to_the_base_alone(raw_server):
    """Not to another host, by a URL or by a redirect; without a base they go everywhere."""
    routes = {}
    async with raw_server(routing(routes)) as base, raw_server(OK) as other:
        away = f'http://localhost:{other.port}'
        routes['/away'] = redirect(away)
        for where, expected in (({'base_url': base.url}, ['', '']), ({}, ['a=1', 'a=1'])):
            async with http.Client(cookies={'a': '1'}, **where) as client:
                for url in (base.url, away, base.url + '/away'):
                    await client.request(url=url)
            assert expected == cookies_of(other)
            other.asked.clear()
    assert {'a=1'} == set(cookies_of(base))


# The client's life


async def test_a_closed_client_makes_no_connection(raw_server):
    """Closed before the first request, after it, or twice."""
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
    """Those that idle, and one on which a request waits."""
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
    'answer',
    [
        b'',
        HEAD,
        HEAD + b'Content-Length: 9\r\n\r\nhalf',
        HEAD + b'\r\nhalf',
        HEAD + b'Transfer-Encoding: chunked\r\n\r\n4\r\nhalf\r\n',
    ],
    ids=['no answer', 'half a head', 'half a length', 'half of all', 'half the chunks'],
)
async def test_a_request_under_way_is_told_that_the_client_was_closed(
    raw_server, certificates, answer, tls
):
    """Whatever it waits for, an answer or a free connection; never for ever."""
    asked = asyncio.Event()

    async def handler(line):
        await line.request()
        await line.send(answer)
        asked.set()
        await line.reader.read()

    async with raw_server(handler, tls=certificates.server if tls else None) as peer:
        tables = [{'url': peer.url + path, 'timeout': None} for path in ('/sent', '/queued')]
        async with http.Client(limit=1, tls={'ca': certificates.ca}) as client:
            asking = [asyncio.create_task(client.request(table)) for table in tables]
            await asked.wait()
            for _ in range(20):  # turns of the loop, in which the client reads what there is
                await asyncio.sleep(0)
        errors = await asyncio.gather(*asking, return_exceptions=True)
    what = 'the client was closed before the answer was there'
    assert [f'GET {table["url"]}: {what}' for table in tables] == list(map(str, errors))
    assert [(http.ProtocolError, table) for table in tables] == [
        (type(error), error.request) for error in errors
    ]


async def test_a_client_may_be_closed_at_every_await_of_a_request(raw_server, certificates):
    """The request has its answer or ends in an error, and leaves nothing open."""
    routes = {'/moved': redirect('/there', '307 There')}
    async with raw_server(routing(routes), tls=certificates.server) as peer:
        url = f'https://127.0.0.1:{peer.port}/moved'
        done, steps = False, 0
        while not done:
            client = http.Client(tls={'ca': certificates.ca}, timeout=None)
            asking = asyncio.create_task(client.request(url=url, method='POST', body='x'))
            for _ in range(steps):
                await asyncio.sleep(0)
            done = asking.done()
            await client.close()
            (outcome,) = await asyncio.gather(asking, return_exceptions=True)
            known = (http.Response, http.ProtocolError, http.ConnectError)
            assert isinstance(outcome, known), repr(outcome)
            assert done or steps == 0 or not isinstance(outcome, http.ConnectError)
            steps += 1


async def test_a_client_may_be_closed_as_a_deadline_passes(raw_server):
    """The request has been told already, and hears it once."""

    async def silent(line):
        await line.reader.read()

    async with raw_server(silent) as peer:
        for steps in range(5):
            client = http.Client(timeout=1e-9)
            asking = asyncio.create_task(client.request(url=peer.url))
            for _ in range(steps):
                await asyncio.sleep(0)
            await client.close()
            with pytest.raises((http.ProtocolError, http.ConnectError, http.TimedOut)):
                await asking


async def test_a_redirect_to_where_nobody_listens_is_no_failure_to_connect(raw_server):
    """That would say that nothing was sent, but the first request was."""
    with socket.create_server(('127.0.0.1', 0)) as taken:
        url = f'http://127.0.0.1:{taken.getsockname()[1]}/'
    async with raw_server(redirect(url, '303 Done')) as peer, http.Client() as client:
        with pytest.raises(http.ProtocolError, match='after a request had been sent') as caught:
            await client.request(url=peer.url, method='POST')
    assert str(caught.value).startswith(f'GET {url}: ')
    assert {'url': peer.url, 'method': 'POST'} == caught.value.request


def test_a_client_belongs_to_one_loop(certificates):
    """Another loop gets an error, not a hang; the first goes on."""

    async def ask(client, url):
        return await client.request(url=url, timeout=5)

    with socket.create_server(('127.0.0.1', 0)) as listening, asyncio.Runner() as first:
        url = f'http://127.0.0.1:{listening.getsockname()[1]}/'
        client = http.Client()
        with pytest.raises(http.TimedOut):
            first.run(client.request(url=url, timeout=0.05))
        with pytest.raises(http.ConnectError, match='belongs to another event loop'):
            asyncio.run(ask(client, url))
        first.run(client.close())


async def test_clients_are_apart(raw_server):
    """Each has connections and cookies of its own."""
    async with raw_server(SETS % b'a=1') as peer, http.Client() as one, http.Client() as two:
        for client in (one, two, one):
            await client.request(url=peer.url)
    assert (2, ['', '', 'a=1']) == (peer.connections, cookies_of(peer))


async def test_its_request_is_a_handler(raw_server):
    """It takes one table and can be passed on alone."""
    async with raw_server(OK) as peer, http.Client() as client:
        tables = [http.to_request(url=peer.url), {'url': peer.url}]
        responses = await http.parallel.map(client.request, tables)
    assert ['hi', 'hi'] == [response.body for response in responses]


def test_a_client_that_was_never_used_needs_no_closing():
    """Nothing is open, and nothing warns."""
    with warnings.catch_warnings():
        warnings.simplefilter('error')
        http.Client()
        gc.collect()


# The environment


@pytest.fixture
def environment(monkeypatch, tmp_path):
    """Let no proxy of the machine be found, and a netrc that knows localhost."""
    for name in list(os.environ):
        if name.lower().endswith('_proxy'):
            monkeypatch.delenv(name)
    (tmp_path / 'netrc').write_text('machine localhost login me password x')
    monkeypatch.setenv('NETRC', str(tmp_path / 'netrc'))
    return monkeypatch


@pytest.mark.parametrize('trust_env', [True, False])
async def test_the_environment_is_read_where_it_is_trusted(environment, raw_server, trust_env):
    """The proxy and the login of netrc, for each request of a row of redirects its own."""
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
    assert [[]] == [asked.values('Authorization') for asked in here.asked]
    expected = [basic('me:x')] * trust_env
    assert [expected] == [asked.values('Authorization') for asked in other.asked]


async def test_a_broken_environment_is_an_error(environment):
    """It carries the table, as every error does."""
    environment.setenv('HTTP_PROXY', 'socks5://me:s3cret@p')
    async with http.Client(trust_env=True) as client:
        with pytest.raises(http.TableError, match='proxy') as caught:
            await client.request(url='http://a.invalid')
    assert {'url': 'http://a.invalid'} == caught.value.request
    assert 's3cret' not in str(caught.value)


@pytest.mark.parametrize('name', ['limit', 'limit_per_host'])
@pytest.mark.parametrize('wrong', [0, -1, 'x', True, 1.5], ids=str)
def test_a_limit_is_one_connection_or_more(name, wrong):
    """What is no number of connections is refused when the client is made."""
    with pytest.raises(http.TableError, match=f"'{name}' is {wrong!r}; it must be an int of"):
        http.Client(**{name: wrong})


async def test_a_client_opens_websockets(monkeypatch):
    """With its defaults, and what it trusts of the environment; an error carries the table."""

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


async def test_what_is_passed_on_has_a_total(raw_server):
    """That covers the head of the answer."""

    async def silent(line):
        await line.reader.read()

    async with raw_server(silent) as peer, http.Client(cookies=False) as client:
        request = http.to_request(url=peer.url, timeout=0.05, into='raw')
        with pytest.raises(http.TimedOut):
            await client.pass_on(request, None)


# Bodies that are sent as they come; test_delivery has more of them


async def test_a_body_that_cannot_be_sent_twice_is_refused_before_that(raw_server):
    """At the redirect, which the error has; its iterator is closed, as that of a bad table is."""

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


async def test_a_path_is_where_the_body_goes(raw_server, tmp_path):
    """What is a file has been checked as it came."""
    async with (
        raw_server(b'HTTP/1.1 200 OK\r\nContent-Length: 2\r\n\r\nhi') as peer,
        http.Client(into=tmp_path / 'a', resume=True) as client,
    ):
        response = await client.request(url=peer.url, check=True)
        assert b'hi' == response.body.read_bytes()
        assert 'hi' == (await client.request(url=peer.url, into='text')).body


def test_a_session_is_one_of_aiohttps():
    """Whatever else it is, the error says what would be right."""
    with pytest.raises(http.TableError, match='ClientSession'):
        http.Client(session=object())


@pytest.mark.filterwarnings('ignore::DeprecationWarning')  # aiohttp's, for its auth
async def test_a_login_is_the_client_s_and_not_the_session_s():
    """Which would send it to wherever a redirect leads."""
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
async def test_what_a_session_has_is_not_given_beside_it(beside):
    """It would count for nothing."""
    async with aiohttp.ClientSession() as session:
        with pytest.raises(http.TableError, match='it has its own'):
            http.Client(session=session, **beside)


async def test_a_session_is_asked_and_stays_open(raw_server):
    """What it has of its own goes out; who made it closes it."""
    async with raw_server(OK) as peer, aiohttp.ClientSession(headers={'A': 'b'}) as session:
        async with http.Client(session=session) as client:
            assert 200 == (await client.request(url=peer.url)).status
        assert not session.closed
    assert ['b'] == peer.asked[0].values('A')


async def test_a_handler_may_stand_in_the_place_of_the_network():
    """It is given the tables, the defaults of the client in them."""

    def handler(request):
        return {'status': 200, 'body': f'{request.method} {request.host} {request.url}'}

    async with http.Client(via=handler, base_url='http://h/a/') as client:
        assert 'GET h /a/b?c=d' == (await client.request(url='b', query={'c': 'd'})).body
    with pytest.raises(http.ConnectError):
        await client.request()
    with pytest.raises(http.TableError, match='via'):
        http.Client(via='http://h')
