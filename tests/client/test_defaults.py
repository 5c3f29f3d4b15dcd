"""Defaults of a client: the base URL, default keys, and the environment."""

import doctest
import os
import re
import warnings
from base64 import b64decode
from pathlib import Path

import pytest
import yarl

import aioluahttp as http
from aioluahttp import TableError, TableWarning, to_request
from aioluahttp.client import defaults
from aioluahttp.client.defaults import Defaults, from_environment, is_listed
from aioluahttp.headers import Headers

BASE = 'http://user:pw@base:8080/v1/?k=v'


def target(base: str, **fields: object) -> tuple[str, str]:
    """Return the origin and the URL that a client with this base requests."""
    request = Defaults(base, {}).request(fields, {})
    return '{scheme}://{host}:{port}'.format_map(request), request.url


def test_the_examples_are_right():
    """The module's doctests pass."""
    assert 0 == doctest.testmod(defaults).failed


def test_without_defaults_a_table_is_only_normalised():
    """The result is that of ``to_request``."""
    table = {'url': 'http://a/b', 'json': 1}
    assert to_request(table) == Defaults(None, {}).request(table, {})
    assert to_request(table, method='PUT') == Defaults(None, {}).request(table, {'method': 'PUT'})


@pytest.mark.parametrize(
    ('fields', 'origin', 'url'),
    [
        ({}, 'http://base:8080', '/v1/?k=v'),
        ({'url': 'users?a=b'}, 'http://base:8080', '/v1/users?a=b'),
        ({'url': '../x'}, 'http://base:8080', '/x'),
        ({'url': yarl.URL('users')}, 'http://base:8080', '/v1/users'),
        ({'url': '/x'}, 'http://base:8080', '/x'),
        ({'url': '//x'}, 'http://base:8080', '//x'),
        ({'path': '/p'}, 'http://base:8080', '/p'),
        ({'method': 'OPTIONS', 'url': '*'}, 'http://base:8080', '*'),
        ({'url': 'login?next=http://x/'}, 'http://base:8080', '/v1/login?next=http://x/'),
        ({'url': 'https://other/x'}, 'https://other:443', '/x'),
        ({'host': 'other', 'path': '/x'}, 'http://other:80', '/x'),
        ({'port': 9, 'path': '/x'}, 'http://base:9', '/x'),
    ],
    ids=str,
)
def test_a_url_is_resolved_against_the_base(fields, origin, url):
    """What a table leaves out comes from the base; the port only if the host does, too."""
    assert (origin, url) == target(BASE, **fields)


@pytest.mark.parametrize(
    ('own', 'fields', 'expected'),
    [
        ({'bearer': 'a'}, {}, 'Bearer a'),
        ({'bearer': 'a'}, {'bearer': 'b'}, 'Bearer b'),
        ({'bearer': 'a'}, {'auth': 'u:p'}, 'Basic dTpw'),
        ({'bearer': 'a'}, {'headers': {'authorization': 'x'}}, 'x'),
        ({'headers': {'Authorization': 'x'}}, {'bearer': 'b'}, 'Bearer b'),
        ({'bearer': 'a'}, {'bearer': None}, 'Bearer a'),
        ({'bearer': 'a'}, {'url': 'http://u:p@a/'}, 'Basic dTpw'),
        ({'bearer': 'a'}, {'url': yarl.URL('http://u:p@a/')}, 'Basic dTpw'),
        ({'headers': {'Authorization': 'x'}}, {'url': 'http://u:p@a/'}, 'Basic dTpw'),
        *(({'bearer': 'a'}, {'url': url}, 'Bearer a') for url in ('http://a/@b', '//u:p@a/', '/@')),
    ],
    ids=str,
)
def test_a_login_replaces_a_default_login(own, fields, expected):
    """A login of any kind in the table replaces one of any kind; None is no login."""
    request = Defaults(None, own).request({'host': 'a', **fields}, {})
    assert [expected] == request.headers.getall('Authorization')


@pytest.mark.parametrize('url', ['http://u:p@base/', 'http://u:p@other/'])
def test_a_login_in_a_url_replaces_that_of_the_base(url):
    """On its own origin and on another one."""
    for base, own in ('http://a:b@base', {}), ('http://base', {'bearer': 'x'}):
        request = Defaults(base, own).request({'url': url}, {})
        assert ['Basic dTpw'] == request.headers.getall('Authorization')


def test_a_body_replaces_a_default_body():
    """A body of one kind replaces a default of another kind."""
    request = Defaults(None, {'method': 'POST', 'json': 1}).request({'host': 'a'}, {'body': 'x'})
    assert ('POST', 'x', None) == (
        request.method,
        request.body,
        request.headers.get('Content-Type'),
    )


def test_headers_are_merged_by_name():
    """A header of the table replaces all default headers of that name, in any case."""
    own = Defaults(None, {'headers': {'A': ['1', '2'], 'B': '3'}})
    request = own.request({'host': 'a', 'headers': {'a': '4'}}, {})
    assert {'B': '3', 'a': '4'} == request.headers


def test_secret_defaults_go_to_the_origin_of_the_base_only():
    """Other origins get no login, cookie, Host or client certificate."""
    own = Defaults(
        BASE,
        {
            'headers': {'Cookie': 'a=b', 'Host': 'virtual', 'X': 'y'},
            'tls': {'cert': 'c.pem', 'ca': 'ca.pem'},
        },
    )
    home = own.request({'url': 'x'}, {})
    assert 'Basic dXNlcjpwdw==' == home.headers['Authorization']
    assert {'cert': 'c.pem', 'ca': 'ca.pem'} == home['tls']
    away = own.request({'url': 'http://other/x'}, {})
    assert {'X': 'y'} == away.headers
    assert {'ca': 'ca.pem'} == away['tls']


def test_a_default_bearer_goes_to_the_origin_of_the_base_only():
    """Other defaults are used for every origin."""
    own = Defaults('http://base/', {'bearer': 'a', 'timeout': 5})
    assert 'Bearer a' == own.request({}, {}).headers['Authorization']
    away = own.request({'url': 'http://other/'}, {})
    assert ({}, 5) == (away.headers, away['timeout'])


@pytest.mark.parametrize(
    'wrong', [{'timout': 1}, {'timeout': 0}, {'headers': {'a b': 'c'}}], ids=str
)
def test_a_wrong_default_is_refused_by_the_constructor(wrong):
    """The defaults are checked before any request."""
    with pytest.raises(TableError):
        Defaults(None, wrong)


@pytest.mark.parametrize(
    ('key', 'hint'),
    [
        ('baseurl', "did you mean 'base_url'?"),
        ('limits', "did you mean 'limit'?"),
        ('trust_environment', "did you mean 'trust_env'?"),
        ('timout', "did you mean 'timeout'?"),
        ('verify', "did you mean 'tls'?"),
        ('follow_redirects', "did you mean 'redirects'?"),
    ],
)
def test_an_unknown_default_is_told_with_the_options_of_a_client(key, hint):
    """The nearest key of a request, or option of ``Client``, is suggested."""
    with pytest.raises(TableError, match=re.escape(f'unknown key {key!r}: {hint}')):
        http.Client(**{key: 1})


@pytest.mark.parametrize(
    ('base', 'message'),
    [
        (
            '/v1/',
            "'base_url' is '/v1/'; it must be a URL such as 'https://api.ex",
        ),
        ('api.example', "'base_url' is 'api.example'; it must be a URL such as"),
        ('http://127.1/', "'base_url' is 'http://127.1/'; it must be a URL such as"),
        ('http://me:s3cret@h:0/', "'base_url' is 'http://***@h:0/'; it must be"),
        ('http://me:s3cret/@h/', "'base_url' is ***; it must be a URL such as"),
        (5, "'base_url' is 5; it must be"),
    ],
)
def test_the_error_for_an_invalid_base_url_names_it(base, message):
    """The message has no password."""
    with pytest.raises(TableError) as caught:
        http.Client(base_url=base)
    assert str(caught.value).startswith(message)
    assert 's3cret' not in str(caught.value)


@pytest.mark.parametrize(
    ('base', 'own', 'fields', 'keys'),
    [
        # The URL may override defaults.
        (None, {'host': 'x', 'path': '/x', 'query': 'x'}, {'url': 'http://a/b?c'}, ''),
        ('http://base:1/v1/', {'query': 'x'}, {'url': 'b?c'}, ''),
        ('http://base:1/v1/', {}, {'url': 'https://other/x?y'}, ''),
        # It overrides keys of the table, also if it is a default.
        (None, {'timeout': 1}, {'url': 'http://a/b', 'path': '/c'}, 'path'),
        (None, {'url': 'http://a/b?c'}, {'query': 'd'}, 'query'),
        (None, {'url': 'http://a/b?c'}, {'query': 'c'}, ''),
        ('http://base/v1/?c', {}, {'query': {'page': 2}}, 'query'),
        ('http://base/v1/', {}, {'query': {'page': 2}}, ''),
        ('http://base/v1/', {}, {'path': '/p', 'query': {'page': 2}}, ''),
        ('http://base/v1/', {}, {'url': 'x', 'path': '/no'}, 'path'),
        ('http://base/v1/', {}, {'url': 'x', 'path': '/v1/x'}, ''),
        ('http://base/', {}, {'url': 'http://other:1/x', 'port': 2, 'path': '/y'}, 'port path'),
    ],
)
@pytest.mark.parametrize('beside', [True, False], ids=['keywords', 'table'])
def test_a_key_that_the_url_overrides_gets_one_warning(base, own, fields, keys, beside):
    """It lists keys of the table and keywords, but no defaults."""
    client = Defaults(base, own)
    with warnings.catch_warnings(record=True) as caught:
        warnings.simplefilter('always')
        client.request({} if beside else fields, fields if beside else {})
    found = [re.findall(r"'(\w+)'", str(one.message)) for one in caught]
    assert ([keys.split()] if keys else []) == found


def test_keys_of_a_request_get_no_warning_with_defaults():
    """A request that a server received may be sent elsewhere; keywords beside it get a warning."""
    received = to_request(url='http://here/p?q')
    client = Defaults('http://base/', {'timeout': 1})
    moved = client.request(received, {'url': 'http://other/x?y'})
    assert ('other', '/x?y') == (moved.host, moved.url)
    with pytest.warns(TableWarning, match="overrides 'path' with"):
        client.request(received, {'path': '/new'})


def test_a_default_resume_applies_to_downloads_only():
    """Without a path in ``into`` it is left out; in a table that is an error."""
    own = Defaults(None, {'resume': True, 'into': 'bytes', 'on_progress': print})
    assert 'resume' not in own.request({'host': 'a'}, {})
    assert own.request({'host': 'a', 'into': Path('x')}, {})['resume']
    assert not own.request({'host': 'a', 'into': Path('x'), 'resume': False}, {})['resume']
    assert own.request({'host': 'a'}, {})['on_progress'] is print
    with pytest.raises(TableError, match="'resume'"):
        own.request({'host': 'a', 'resume': True}, {})


def test_neither_defaults_nor_table_are_changed():
    """Both are as they were after a request."""
    own = {'headers': {'A': '1'}, 'timeout': 5}
    table = {'url': 'x', 'headers': {'B': '2'}}
    before = dict(own), dict(table)
    Defaults('http://base/', own).request(table, {})
    assert before == (own, table)


def test_headers_of_a_session_are_overridden_by_the_defaults():
    """They are read at each request; a login of the defaults or the table replaces theirs."""
    live = Headers({'A': '1', 'B': '1', 'Authorization': 'x'})
    defaults = Defaults(None, {'headers': {'B': '2'}}, live)
    live['C'] = '3'
    assert {'A': '1', 'B': '2', 'C': '3', 'Authorization': 'x'} == (
        defaults.request({'host': 'h'}, {}).headers
    )
    assert (
        'Bearer t'
        == (Defaults('http://h', {'bearer': 't'}, live).request({}, {}).headers['Authorization'])
    )
    elsewhere = Defaults('http://h', {}, live).request({'url': 'http://other'}, {})
    assert {'A': '1', 'B': '1', 'C': '3'} == elsewhere.headers


@pytest.fixture(autouse=True)
def environment(monkeypatch, tmp_path):
    """Hide the proxies and the netrc of the machine; return the home folder."""
    for name in list(os.environ):
        if name.lower().endswith('_proxy') or name in ('NETRC', 'REQUEST_METHOD'):
            monkeypatch.delenv(name)
    monkeypatch.setenv('HOME', str(tmp_path))
    monkeypatch.setenv('USERPROFILE', str(tmp_path))
    return tmp_path


def found(url='http://a.example/', **fields):
    """Return a request with the settings of the environment."""
    return from_environment(to_request({'url': url, **fields}))


def login_of(request):
    """Return the user and password that are sent; None if there are none."""
    value = request.headers.get('Authorization')
    return value and b64decode(value.removeprefix('Basic ')).decode()


def test_an_empty_environment_adds_nothing():
    """The request is returned equal."""
    request = to_request(url='http://a.example/')
    assert request == from_environment(request)


@pytest.mark.parametrize(
    ('variables', 'url', 'expected'),
    [
        ({'HTTP_PROXY': 'http://p:3128'}, 'http://a/', 'http://p:3128'),
        ({'http_proxy': 'http://p:3128'}, 'http://a/', 'http://p:3128'),
        ({'HTTP_PROXY': 'p:3128'}, 'http://a/', 'http://p:3128'),
        ({'HTTP_PROXY': 'http://u:p@p:3128/'}, 'http://a/', 'http://u:p@p:3128/'),
        ({'HTTP_PROXY': ''}, 'http://a/', None),
        ({'HTTP_PROXY': 'http://p'}, 'https://a/', None),
        ({'HTTPS_PROXY': 'http://s'}, 'https://a/', 'http://s'),
        ({'HTTPS_PROXY': 'http://s'}, 'http://a/', None),
        ({'ALL_PROXY': 'http://all'}, 'http://a/', 'http://all'),
        ({'ALL_PROXY': 'http://all', 'HTTPS_PROXY': 'http://s'}, 'https://a/', 'http://s'),
        # A CGI script must not take the client's Proxy header for a setting (httpoxy).
        ({'HTTP_PROXY': 'http://p', 'REQUEST_METHOD': 'GET'}, 'http://a/', None),
    ],
)
def test_the_proxy_is_that_of_the_url_scheme(monkeypatch, variables, url, expected):
    """``HTTP_PROXY``, ``HTTPS_PROXY`` and ``ALL_PROXY`` are read, in upper and lower case."""
    for name, value in variables.items():
        monkeypatch.setenv(name, value)
    assert expected == found(url).proxy


@pytest.mark.parametrize(
    ('no_proxy', 'url', 'bypassed'),
    [
        ('*', 'http://a.example/', True),
        ('a.example', 'http://a.example/', True),
        ('example', 'http://a.example/', True),
        ('.example', 'http://a.example/', True),
        ('b.example', 'http://a.example/', False),
        ('example', 'http://notexample/', False),
        ('x, a.example', 'http://a.example/', True),
        ('a.example:81', 'http://a.example:81/', True),
        ('a.example:81', 'http://a.example/', False),
        ('127.0.0.1', 'http://127.0.0.1:8080/', True),
        ('::1', 'http://[::1]:8080/', True),
        ('[::1]', 'http://[::1]:8080/', True),
        ('::1/128', 'http://[::1]:8080/', True),
        ('127.0.0.0/8', 'http://127.0.0.1/', True),
        ('0.0.1', 'http://127.0.0.1/', False),
    ],
)
def test_no_proxy_lists_hosts_without_a_proxy(monkeypatch, no_proxy, url, bypassed):
    """It has hosts, domains, hosts with a port, or ``*`` for all."""
    monkeypatch.setenv('HTTP_PROXY', 'http://p')
    monkeypatch.setenv('NO_PROXY', no_proxy)
    assert bypassed == (found(url).proxy is None)


@pytest.mark.parametrize(
    ('entries', 'listed', 'not_listed'),
    [
        # Names: with all that is below them, in any case, and with dots at both ends.
        ('a.example', 'a.example www.a.example A.EXAMPLE. x.y.a.example', 'nota.example example'),
        ('.A.example.', 'a.example www.a.example', 'nota.example a.example.b'),
        ('local', 'local x.local', 'localhost'),
        ('*.example', '', 'a.example'),
        ('.', '', 'a a.'),
        # Addresses: compared as such.
        ('127.0.0.1', '127.0.0.1', '127.0.0.10 1.127.0.0.1.example 128.0.0.1'),
        ('0.0.1', '', '127.0.0.1'),
        ('.0.0.1', '', '127.0.0.1'),
        ('127.*', '', '127.0.0.1'),
        ('::1', '::1', '::2 1::1 0.0.0.1'),
        ('0:0::0:1', '::1', '::2'),
        ('[::1]', '::1', '::2'),
        ('FE80::5', 'fe80::5 fe80::5%eth0', 'fe80::6'),
        # Networks.
        ('127.0.0.0/8', '127.0.0.1 127.255.255.255', '128.0.0.1 ::7f00:1 127.a'),
        ('10.1.0.0/15', '10.0.0.1 10.1.2.3', '10.2.0.0'),
        ('10.1.2.3/31', '10.1.2.2 10.1.2.3', '10.1.2.4'),
        ('10.1.2.3/32', '10.1.2.3', '10.1.2.2'),
        ('0.0.0.0/0', '1.2.3.4', '::1 a'),
        ('::1/128', '::1', '::2'),
        ('[fe80::]/10', 'fe80::1 febf::1%eth0', 'fec0::1'),
        ('10.0.0.0/33 ::/129 10/8 /8 /', '', '10.0.0.1 ::1 a'),
        # Lists, between commas or blanks.
        ('a,b', 'a b', 'c'),
        (' ,, a ,\tb c,', 'a b c', 'd'),
        ('*', 'a 127.0.0.1 ::1', ''),
        (' * ', 'a 127.0.0.1 ::1', ''),
        ('*,a', 'a', 'b 127.0.0.1'),
        ('', '', 'a 127.0.0.1'),
        # Entries with a port; the requested one is 80.
        ('a:80', 'a x.a', 'b'),
        ('a:81 127.0.0.1:81 [::1]:81', '', 'a 127.0.0.1 ::1'),
        ('127.0.0.1:80 [::1]:80', '127.0.0.1 ::1', 'a'),
        ('10.0.0.0/8:80', '10.1.2.3', 'a'),
        ('a:', '', 'a'),
    ],
)
def test_no_proxy_has_names_addresses_and_networks(entries, listed, not_listed):
    """The rules are those of curl since 7.86, and an entry may have a port."""
    hosts = [*listed.split(), *not_listed.split()]
    assert listed.split() == [host for host in hosts if is_listed(host, 80, entries)]


@pytest.mark.parametrize(
    'proxy',
    [
        *('socks5://me:s3cret@p', 'http://', 'http://me:s3cret@p:0', 'http://m%0A:s3cret@p'),
        *('http://me:x/s3cret@p', 'http://127.1:80'),
    ],
)
@pytest.mark.parametrize('name', ['HTTP_PROXY', 'http_proxy', 'ALL_PROXY', 'all_proxy'])
def test_the_error_for_an_invalid_proxy_names_the_variable(monkeypatch, name, proxy):
    """Its message hides the password."""
    monkeypatch.setenv(name, proxy)
    with pytest.raises(TableError, match=f'^{name!r} is ') as caught:
        found()
    assert 's3cret' not in str(caught.value)


@pytest.mark.parametrize('fields', [{'proxy': 'http://mine'}, {'unix': '/socket'}])
def test_the_environment_does_not_replace_a_proxy_or_unix_socket(monkeypatch, fields):
    """The request's own proxy is used, and no proxy for a Unix socket."""
    monkeypatch.setenv('HTTP_PROXY', 'http://p')
    assert fields.get('proxy') == found(**fields).proxy


NETRC = 'machine a.example login me password s:cret\nmachine c.example password only\n'


@pytest.mark.parametrize(
    ('content', 'url', 'expected'),
    [
        (NETRC, 'http://a.example:81/', 'me:s:cret'),
        (NETRC, 'http://b.example/', None),
        (NETRC, 'http://c.example/', ':only'),
        ('machine a.example login me', 'http://a.example/', 'me:'),
        ('default login any password one', 'http://b.example/', 'any:one'),
        ('', 'http://a.example/', None),
    ],
)
@pytest.mark.parametrize('variable', [True, False])
def test_the_netrc_login_is_that_of_the_host(
    monkeypatch, environment, variable, content, url, expected
):
    """netrc is the file ``NETRC``, or else in the home folder."""
    path = environment / ('elsewhere' if variable else '.netrc')
    if variable:
        monkeypatch.setenv('NETRC', str(path))
    path.write_text(content)
    path.chmod(0o600)
    assert expected == login_of(found(url))


@pytest.mark.parametrize(
    'fields', [{'auth': 'you:x'}, {'url': 'http://you:x@a.example/'}, {'bearer': 'x'}]
)
def test_netrc_does_not_replace_a_login_of_the_request(environment, fields):
    """Any Authorization header of the request is kept."""
    (environment / '.netrc').write_text(NETRC)
    request = to_request({'url': 'http://a.example/', **fields})
    assert request == from_environment(request)


@pytest.mark.parametrize(
    'content',
    [
        b'machine a.example login me password s3cret s3cret',
        b'machine a.example login u:ser password s3cret',
        b'machine a.example login me password \xff\xfes3cret',
    ],
)
def test_the_error_for_an_invalid_netrc_hides_its_password(environment, content):
    """An invalid netrc is an error, and its content is not in the message."""
    (environment / '.netrc').write_bytes(content)
    with pytest.raises(TableError) as caught:
        found()
    assert str(caught.value).startswith("'netrc' is ")
    assert 's3cret' not in str(caught.value)


def test_a_folder_as_netrc_is_ignored(monkeypatch, environment):
    """If ``NETRC`` does not name a file, there is no login."""
    monkeypatch.setenv('NETRC', str(environment))
    assert login_of(found()) is None


def test_the_environment_is_added_to_a_copy(monkeypatch, environment):
    """The request that was passed in is not changed."""
    monkeypatch.setenv('HTTP_PROXY', 'http://p')
    (environment / '.netrc').write_text(NETRC)
    request = to_request(url='http://a.example/')
    added = from_environment(request)
    assert to_request(url='http://a.example/') == request
    assert ('http://p', 'me:s:cret') == (added.proxy, login_of(added))


@pytest.mark.parametrize(
    'base',
    ['http://[::1]:81/v1/', 'https://h./v1/', 'http://bücher.example/v1/', 'HTTP://H:80/v1/?x'],
)
@pytest.mark.parametrize('fields', [{}, {'json': 1}, {'headers': {'A': 'b'}}, {'port': 82}])
@pytest.mark.parametrize('own', [{}, {'headers': {'A': '1', 'C': '2'}}, {'port': 83}])
def test_a_relative_url_is_that_of_the_base(base, fields, own):
    """Whatever its host looks like, and whatever the request and the defaults say besides."""
    request = Defaults(base, own).request({'url': 'u@x?q', **fields}, {})
    headers = {**own.get('headers', {}), **fields.get('headers', {})}
    parts = {**own, **fields, 'url': base.partition('?')[0] + 'u@x?q', 'headers': headers}
    port = parts.pop('port', None)
    whole = to_request(parts)
    assert whole | ({'port': port} if port else {}) == request


def test_a_default_that_is_no_header_is_refused():
    """As in a request table."""
    defaults = Defaults('http://h/', {'timeout': 1})
    with pytest.raises(http.TableError, match="'headers' is"):
        defaults.request({'url': '/', 'headers': 0}, {})
