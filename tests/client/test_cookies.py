"""The cookies of a client on every way of sending, and ``client.cookies``."""

import json
import os
import stat
import time

import aiohttp
import pytest

import aioluahttp as http

HEAD = 'HTTP/1.1 %s\r\nContent-Length: 2\r\nContent-Type: text/plain\r\n'
COOKIE = {'name': 'a', 'value': '1', 'domain': 'h', 'path': '/', 'is_host_only': True}
COOKIE |= {'is_secure': False, 'expires': 9e9}


def response(*cookies, status='200 OK', fields=()):
    """Make the bytes of a response that sets cookies."""
    lines = [HEAD % status, *(f'Set-Cookie: {one}\r\n' for one in cookies)]
    lines += [f'{one}\r\n' for one in fields]
    return (''.join(lines) + '\r\n').encode('utf-8', 'surrogateescape') + b'hi'


def routing(routes):
    """Make a raw handler that sends the bytes of a route, or a response without cookies."""

    async def handler(line):
        while True:
            target = (await line.request()).line.split()[1]
            await line.send(routes.get(target, response()))

    return handler


def cookies_of(peer):
    """Return the Cookie header of each request, '' if it has none."""
    return ['; '.join(asked.values('Cookie')) for asked in peer.requests]


@pytest.fixture
def over_wire(request, both_routes):
    """Tell whether requests go over the wire, in a test that runs both ways."""
    return 'wire' in request.node.callspec.id


# Every way of sending


VALUES = [
    'v=x=y==',
    'w=a,b',
    'q="quoted"',
    'j={"a": [1, "b"]}',
    'e=',
    'é=é🍪',
    r'o="a\054"',
    'p=%3B',
]


async def test_values_are_sent_back_byte_for_byte(raw_server, over_wire):
    """Through aiohttp a cookie that is not UTF-8 is left out, rather than sent with fewer bytes."""
    async with raw_server(response(*VALUES, 'l=\udce9')) as peer, http.Client() as client:
        for _ in range(2):
            await client.request(url=peer.url)
        assert {**dict(one.split('=', 1) for one in VALUES), 'l': '\udce9'} == client.cookies.get(
            peer.url
        )
    assert ['', '; '.join([*VALUES, *['l=\udce9'] * over_wire])] == cookies_of(peer)


async def test_if_no_cookie_can_be_sent_there_is_no_header(raw_server, over_wire):
    """Nor an empty one."""
    async with raw_server(response('l=\udce9')) as peer, http.Client() as client:
        for _ in range(2):
            await client.request(url=peer.url)
    assert [[], ['l=\udce9'] * over_wire] == [asked.values('Cookie') for asked in peer.requests]


@pytest.mark.parametrize('end', ['Expires=Thu, 01 Jan 1970 00:00:00 GMT', 'Max-Age=0'])
async def test_a_cookie_is_deleted(raw_server, both_routes, end):
    """By a date of the past, and by an age of 0."""
    routes = {'/in': response('s=1; Path=/', 't=1; Path=/'), '/out': response(f's=; Path=/; {end}')}
    async with raw_server(routing(routes)) as peer, http.Client() as client:
        for path in ('/in', '/', '/out', '/'):
            await client.request(url=peer.url + path)
    assert ['', 's=1; t=1', 's=1; t=1', 't=1'] == cookies_of(peer)


async def test_cookies_of_a_redirect_are_sent_with_the_next_request(raw_server, both_routes):
    """To the host that the redirect leads to, its own."""
    routes = {}
    async with raw_server(routing(routes)) as peer, http.Client(cookies={}) as client:
        away = peer.url.replace('127.0.0.1', 'localhost')
        routes['/1'] = response('a=1', status='302 Found', fields=['Location: /2'])
        routes['/2'] = response('b=2', status='302 Found', fields=[f'Location: {away}/3'])
        routes['/3'] = response('c=3', status='302 Found', fields=[f'Location: {peer.url}/4'])
        await client.request(url=peer.url + '/1')
    assert ['', 'a=1', '', 'a=1; b=2'] == cookies_of(peer)


async def test_a_cookie_replaces_one_of_the_request_header(raw_server, both_routes):
    """Others of the header stay in front; without cookies the header is sent as it is."""
    given = {'headers': [('Cookie', 'a=0;b=2'), ('cookie', 'x;  y=1')]}
    async with raw_server(response('a="1"')) as peer, http.Client(base_url=peer.url) as client:
        for _ in range(2):
            await client.request(given)
        await client.request()
    assert ['a=0;b=2; x;  y=1', 'b=2; x; y=1; a="1"', 'a="1"'] == cookies_of(peer)


async def test_cookies_are_kept_though_the_body_fails(raw_server, both_routes):
    """They come with the head."""
    async with raw_server(response('a=1')) as peer, http.Client(base_url=peer.url) as client:
        with pytest.raises(http.BodyTooLarge):
            await client.request(max_body=1)
        await client.request()
    assert ['', 'a=1'] == cookies_of(peer)


async def test_streams_and_downloads_keep_and_send_cookies(raw_server, both_routes, tmp_path):
    """As other requests do."""
    routes = {f'/{n}': response(f'n{n}=1') for n in range(3)}
    async with raw_server(routing(routes)) as peer, http.Client(base_url=peer.url) as client:
        async with (await client.request(url='/0', into='stream')).body:
            await client.request(url='/1', into=tmp_path / 'file')
        await client.request(url='/2', into='bytes', on_progress=lambda done, total: None)
        await client.request()
    assert ['', 'n0=1', 'n0=1; n1=1', 'n0=1; n1=1; n2=1'] == cookies_of(peer)


async def test_cookies_go_through_a_proxy(raw_server):
    """They belong to the host behind it."""
    async with raw_server(response('a=1')) as peer, http.Client(proxy=peer.url) as client:
        for host in ('h.example', 'other.example', 'h.example'):
            await client.request(url=f'http://{host}/')
        assert {} == client.cookies.get(peer.url)
    assert ['', '', 'a=1'] == cookies_of(peer)


async def chat(socket):
    """Do nothing with a WebSocket."""


def site(request):
    """Count visits in a cookie, on WebSockets and otherwise."""
    seen = int(request.cookies().get('seen', 0)) + 1
    fields = {'Set-Cookie': f'seen={seen}; Path=/'}
    if request.path == '/ws':
        return {'websocket': chat, 'headers': fields}
    return {'status': 200, 'headers': fields, 'body': str(seen)}


@pytest.mark.parametrize('via', [True, False])
async def test_websockets_keep_and_send_cookies(both_routes, via):
    """Those of an accepted handshake, and of one that the server declines."""
    async with http.listen('127.0.0.1', 0, site) as server:
        where = {'via': site} if via else {}
        async with http.Client(base_url=server.url, **where) as client:
            assert '1' == (await client.request(url='/')).body
            async with client.websocket(url='/ws') as ws:
                assert 'seen=2; Path=/' == ws.response.headers['set-cookie']
            with pytest.raises(http.ProtocolError, match='200'):
                async with client.websocket(url='/'):
                    pass
            assert '4' == (await client.request(url='/')).body


async def test_a_client_without_cookies_keeps_none(raw_server, both_routes):
    """It sends the header that a request has, and no other."""
    async with raw_server(response('a=1')) as peer, http.Client(cookies=False) as client:
        await client.request(url=peer.url)
        await client.request(url=peer.url, headers={'Cookie': 'b=2'})
        async with http.Client(cookies=False, via=site) as inner:
            assert ['1', '1'] == [(await inner.request(url='http://h/')).body for _ in range(2)]
        for one in (client, inner):
            with pytest.raises(http.TableError, match=r"^'cookies' is False; it must be True"):
                one.cookies.get(peer.url)
    assert ['', 'b=2'] == cookies_of(peer)


# Client(cookies={...})


async def test_given_cookies_are_sent_as_they_are(raw_server, both_routes):
    """In their order; an int is written as text."""
    given = {'a': 'x=y', 'b': '"q"', 'c': 'd,e', 'f': '', 'é': 'é', 'n': 5}
    async with raw_server(response()) as peer, http.Client(cookies=given) as client:
        await client.request(url=peer.url)
    assert ['a=x=y; b="q"; c=d,e; f=; é=é; n=5'] == cookies_of(peer)


async def test_a_cookie_of_a_host_replaces_one_for_every_host(raw_server):
    """There only, and until it is deleted."""
    routes = {'/1': response('a=1; Path=/'), '/2': response('a=; Max-Age=0; Path=/')}
    async with raw_server(routing(routes)) as peer, http.Client(cookies={'a': '0'}) as client:
        for path in ('/1', '/', '/2', '/'):
            await client.request(url=peer.url + path)
        assert {'a': '0'} == client.cookies.get('http://other.example')
    assert ['a=0', 'a=1', 'a=1', 'a=0'] == cookies_of(peer)


@pytest.mark.parametrize(
    ('cookies', 'key'),
    [({'a': 's3cret;'}, 'cookies[a]'), ({'a': 's3cret\n'}, 'cookies[a]'), ([1], 'cookies')],
)
def test_cookies_that_cannot_be_sent_are_refused(cookies, key):
    """The error names the cookie, and hides its value."""
    with pytest.raises(http.TableError) as caught:
        http.Client(cookies=cookies)
    assert str(caught.value).startswith(f"'{key}' is ***; it must be ")


# client.cookies: get, set and clear


def test_cookies_are_set_and_read():
    """Without a request; the URL may be relative to the base URL."""
    cookies = http.Client(base_url='https://www.example.com/api/').cookies
    cookies.set('a', '1', '/')
    cookies.set('b', 'x=y', 'x', path='/api/', secure=True)
    cookies.set('b', '2', '/', domain='Example.com.')
    cookies.set('c', '3', 'http://other.example:81')
    assert {'b': 'x=y', 'a': '1'} == cookies.get('')
    assert {'a': '1', 'b': '2'} == cookies.get('/')
    assert {'a': '1', 'b': '2'} == cookies.get('http://www.example.com/api/x?y#z')
    assert {'b': '2'} == cookies.get('https://example.com')
    assert {'c': '3'} == cookies.get('https://other.example')


def test_a_path_is_quoted_as_that_of_a_request():
    """So that the two can be compared."""
    cookies = http.Client(base_url='http://h').cookies
    cookies.set('a', '1', '/', path='/é b')
    assert {'a': '1'} == cookies.get('/é b/c')
    assert {} == cookies.get('/é')


async def test_a_secure_cookie_stays_with_https(raw_server, both_routes, certificates):
    """A server on plain HTTP neither gets it nor replaces it; the port does not matter."""
    secret = response('s=good; Secure; Path=/', 'p=1; Path=/')
    evil = response('s=evil; Path=/', 's=evil; Secure; Path=/', 'q=2; Path=/')
    async with (
        raw_server(secret, tls=certificates.server) as peer,
        raw_server(evil) as plain,
        http.Client(tls={'ca': certificates.ca}) as client,
    ):
        for url in (peer.url, f'http://localhost:{plain.port}', peer.url):
            await client.request(url=url)
    assert ['', 's=good; p=1; q=2'] == cookies_of(peer)
    assert ['p=1'] == cookies_of(plain)


def test_an_age_or_a_date_ends_a_cookie():
    """Max-Age counts before Expires; what is over removes the cookie."""
    cookies, now = http.Client(base_url='http://h').cookies, time.time()
    cookies.set('a', '1', '/', max_age=60, expires=0)
    cookies.set('b', '1', '/', expires=now + 60)
    cookies.set('c', '1', '/', max_age=None, expires=None, domain=None, path=None, secure=None)
    assert {'a': '1', 'b': '1', 'c': '1'} == cookies.get('/')
    cookies.set('a', '', '/', max_age=0)
    cookies.set('b', '', '/', expires=now)
    assert {'c': '1'} == cookies.get('/')


def test_the_user_may_replace_a_secure_cookie():
    """Which a response over plain HTTP may not."""
    cookies = http.Client().cookies
    cookies.set('a', '1', 'https://h', secure=True)
    cookies.set('a', '2', 'http://h')
    assert {'a': '2'} == cookies.get('http://h')


@pytest.mark.parametrize(
    ('attributes', 'text'),
    [
        ({'name': 'a b'}, "'name' is 'a b'; it must be a name without blanks"),
        ({'value': 's3cret;'}, r"'cookies\[a\]' is \*\*\*; it must be free of ';'"),
        ({'url': '/'}, 'host'),
        ({'url': 'ftp://h'}, 'scheme'),
        ({'domain': 'example.org'}, "'domain' is 'example.org'; it must be 'www.example.com'"),
        ({'domain': 'com'}, 'no public suffix'),
        ({'domain': ''}, "'domain' is ''; it must be a host"),
        ({'domain': 5}, "'domain' is 5; it must be a host"),
        ({'domain': 'a b'}, "'host' is 'a b'"),
        ({'path': 'a'}, "'path' is 'a'; it must be a str that begins with '/'"),
        ({'path': 5}, "'path' is 5"),
        ({'path': '/a?b'}, r"'path' is '/a\?b'"),
        ({'secure': True, 'url': 'http://www.example.com'}, "'secure' is True; it must be False"),
        ({'secure': 1}, "'secure' is 1; it must be a bool"),
        ({'name': '__Secure-a'}, "'secure' is False; it must be True for the cookie '__Secure-a'"),
        ({'name': '__Host-a'}, "'name' is '__Host-a'; it must be one of 'secure'"),
        ({'max_age': '5'}, "'max_age' is '5'; it must be a number"),
        ({'max_age': True}, "'max_age' is True"),
        ({'max_age': float('nan')}, "'max_age' is nan"),
        ({'expires': 10**400}, "'expires' is 1000"),
        ({'maxage': 5}, "unknown key 'maxage': did you mean 'max_age'"),
    ],
    ids=str,
)
def test_a_wrong_cookie_is_refused(attributes, text):
    """Nothing is kept."""
    cookies = http.Client().cookies
    table = {'name': 'a', 'value': '1', 'url': 'https://www.example.com/', **attributes}
    with pytest.raises(http.TableError, match=text) as caught:
        cookies.set(**table)
    assert 's3cret' not in str(caught.value)
    assert {} == cookies.get('https://www.example.com/')


@pytest.mark.parametrize(
    ('domain', 'left'), [((), 0), ((None,), 0), (('.Example.com',), 1), (('www.example.com',), 2)]
)
def test_cookies_are_cleared(domain, left):
    """All, or those of a domain and of its subdomains."""
    cookies = http.Client(cookies={'e': '1'}).cookies
    cookies.clear('com')
    assert {'e': '1'} == cookies.get('http://h')
    cookies.clear()
    for host in ('example.com', 'www.example.com', 'h'):
        cookies.set('a', '1', f'http://{host}')
    cookies.clear(*domain)
    found = [cookies.get(f'http://{host}') for host in ('example.com', 'www.example.com', 'h')]
    assert left == sum(map(len, found))


@pytest.mark.parametrize('domain', ['', '.', 5, 'a b'])
def test_what_is_no_domain_cannot_be_cleared(domain):
    """It would clear nothing."""
    with pytest.raises(http.TableError):
        http.Client().cookies.clear(domain)


# client.cookies: save and load


@pytest.fixture
def file(tmp_path):
    """Return the path of a file of cookies."""
    return tmp_path / 'cookies.json'


def mode_of(path):
    """Return the permissions of a file."""
    return stat.S_IMODE(path.stat().st_mode)


@pytest.mark.parametrize('path_type', [str, lambda path: path], ids=['str', 'Path'])
def test_cookies_are_saved_and_loaded(file, path_type):
    """Without those that are kept until the client closes, or whose time is over."""
    cookies = http.Client(cookies={'every': '1'}).cookies
    cookies.set('a', '"é,\udce9"', 'https://www.example.com/', max_age=60, secure=True)
    cookies.set('b', '2', 'http://www.example.com/', max_age=60, domain='example.com')
    cookies.set('c', '3', 'http://www.example.com/', max_age=60, path='/in')
    cookies.set('until-closed', '4', 'http://www.example.com/')
    cookies.set('over', '5', 'http://www.example.com/', max_age=1e-9)
    cookies.save(path_type(file))
    assert ['a', 'b', 'c'] == [one['name'] for one in json.loads(file.read_text())['cookies']]
    loaded = http.Client().cookies
    loaded.set('b', 'old', 'http://www.example.com/', domain='example.com')
    loaded.set('mine', '6', 'http://www.example.com/')
    loaded.load(path_type(file))
    assert {'c': '3', 'b': '2', 'mine': '6', 'a': '"é,\udce9"'} == loaded.get(
        'https://www.example.com/in'
    )
    assert {'b': '2'} == loaded.get('http://example.com')


async def test_what_a_server_sets_is_saved_as_it_is(raw_server, file):
    """Also a name that a user may not give."""
    raw = response('a b,c=1; Max-Age=60', 'd="')
    async with raw_server(raw) as peer, http.Client(base_url=peer.url) as client:
        await client.request()
        client.cookies.save(file)
        client.cookies.clear()
        client.cookies.load(file)
        await client.request()
    assert ['', 'a b,c=1'] == cookies_of(peer)


@pytest.mark.skipif(os.name == 'nt', reason='Windows has no such permissions')
@pytest.mark.parametrize('mode', [None, 0o644, 0o400, 0o777])
def test_only_the_owner_can_read_a_saved_file(file, mode):
    """Whatever permissions it had; a link stays, and the file behind it is replaced."""
    link = file.with_name('link')
    link.symlink_to(file)
    if mode is not None:
        file.write_text('old')
        file.chmod(mode)
    http.Client().cookies.save(link)
    assert (0o600, {'cookies': []}) == (mode_of(file), json.loads(file.read_text()))
    assert link.is_symlink()
    assert [file.name, 'link'] == sorted(os.listdir(file.parent))


def test_a_file_that_cannot_be_written_leaves_the_old_one(file, monkeypatch):
    """And no temporary file."""
    file.write_text('old')

    def fail(*names):
        raise OSError('disk full')

    monkeypatch.setattr(os, 'replace', fail)
    with pytest.raises(OSError, match='disk full'):
        http.Client().cookies.save(file)
    assert ['cookies.json'] == os.listdir(file.parent)
    assert 'old' == file.read_text()
    with pytest.raises(IsADirectoryError):
        http.Client().cookies.save(file.parent)


@pytest.mark.parametrize(
    'text',
    [
        b'',
        b'{}',
        b'[]',
        b'\xff',
        b'{"cookies": 5}',
        b'{"cookies": [5]}',
        b'{"cookies": [{}]}',
        b'[' * 100_000,
        *(
            json.dumps({'cookies': [COOKIE, COOKIE | wrong]}).encode()
            for wrong in (
                {'name': ''},
                {'name': 'a=b'},
                {'name': 5},
                {'value': 'a;b'},
                {'value': 'a\nb'},
                {'value': ' a'},
                {'value': 'x' * 4096},
                {'domain': ''},
                {'domain': 'H'},
                {'domain': '.h'},
                {'domain': 'a b'},
                {'path': 'x'},
                {'is_host_only': 1},
                {'is_secure': None},
                {'expires': True},
                {'expires': None},
                {'expires': float('nan')},
                {'expires': 10**400},
            )
        ),
    ],
    ids=lambda text: repr(text[-150:]),
)
def test_what_is_no_file_of_cookies_is_refused(file, text):
    """And nothing is added."""
    file.write_bytes(text)
    cookies = http.Client().cookies
    with pytest.raises(http.TableError, match=r"^'path' is .*; it must be a file that save wrote$"):
        cookies.load(file)
    assert {} == cookies.get('http://h')


def test_a_file_that_is_missing_is_an_oserror(file):
    """So that a program can go on without it."""
    with pytest.raises(FileNotFoundError):
        http.Client().cookies.load(file)


# Client(session=...)


@pytest.fixture
def lent(raw_server):
    """Run a test with a server, and a client of a session whose jar is for addresses, too."""

    async def run(test, *cookies):
        jar = aiohttp.CookieJar(unsafe=True)
        async with (
            raw_server(response(*cookies)) as peer,
            aiohttp.ClientSession(cookie_jar=jar) as session,
            http.Client(session=session, base_url=peer.url) as client,
        ):
            await test(client)
        return cookies_of(peer)

    return run


async def test_the_cookies_of_a_session_are_read_set_and_cleared(lent):
    """They are in its jar, which aiohttp fills."""

    async def test(client):
        await client.request()
        assert {'a': '1'} == client.cookies.get('/')
        client.cookies.set('b', '2', '/', max_age=60)
        client.cookies.set('c', '3', '/in')
        client.cookies.set('d', '4', 'https://www.example.com', domain='example.com', secure=True)
        client.cookies.set('a', '', '/', max_age=0)
        assert {'b': '2', 'c': '3'} == client.cookies.get('/')
        assert {'d': '4'} == client.cookies.get('https://a.example.com')
        assert {} == client.cookies.get('http://a.example.com')
        await client.request()
        client.cookies.clear('127.0.0.1')
        assert {'d': '4'} == client.cookies.get('https://a.example.com')
        await client.request()
        client.cookies.clear()
        assert {} == client.cookies.get('https://a.example.com')

    assert ['', 'b=2; c=3', ''] == await lent(test, 'a=1')


async def test_what_a_jar_of_aiohttp_cannot_do_is_an_error(lent, file):
    """The error says what to do instead."""

    async def test(client):
        for function in (client.cookies.save, client.cookies.load):
            with pytest.raises(http.TableError, match=rf'session\.cookie_jar\.{function.__name__}'):
                function(file)
        with pytest.raises(http.TableError, match="'name' is 'é'; it must be a token"):
            client.cookies.set('é', '1', '/')
        with pytest.raises(http.TableError, match=r"'cookies\[a\]' is \*\*\*"):
            client.cookies.set('a', ';', '/')

    await lent(test)
    async with aiohttp.ClientSession() as session, http.Client(session=session) as client:
        with pytest.raises(http.TableError, match=r'CookieJar\(unsafe=True\)'):
            client.cookies.set('a', '1', 'http://127.0.0.1')
