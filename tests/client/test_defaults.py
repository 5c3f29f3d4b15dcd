"""What a client adds to a table."""

import doctest
import os
from base64 import b64decode
from pathlib import Path

import pytest
import yarl

from aioluahttp import TableError, to_request
from aioluahttp.client import defaults
from aioluahttp.client.defaults import Defaults, from_environment
from aioluahttp.headers import Headers

BASE = 'http://user:pw@base:8080/v1/?k=v'


def target(base: str, **fields: object) -> tuple[str, str]:
    """Give the origin and the URL that a client with this base asks for."""
    request = Defaults(base, {}).request(fields, {})
    return '{scheme}://{host}:{port}'.format_map(request), request.url


def test_the_examples_hold():
    """The module's examples print what they say."""
    assert 0 == doctest.testmod(defaults).failed


def test_without_defaults_a_table_is_what_it_is():
    """A client that adds nothing brings a table to its normal form."""
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
    """What a table has not of a target comes from the base; a port belongs to its host."""
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
    ],
    ids=str,
)
def test_a_login_replaces_the_one_among_the_defaults(own, fields, expected):
    """Of the kinds of login the table's own counts; one that is None is none."""
    request = Defaults(None, own).request({'url': 'http://a/'}, fields)
    assert [expected] == request.headers.getall('Authorization')


def test_a_body_replaces_the_one_among_the_defaults():
    """A body of one kind takes the place of a default of another."""
    request = Defaults(None, {'method': 'POST', 'json': 1}).request({'host': 'a'}, {'body': 'x'})
    assert ('POST', 'x', None) == (
        request.method,
        request.body,
        request.headers.get('Content-Type'),
    )


def test_headers_are_merged_by_name():
    """A header of the table replaces all of that name among the defaults, in any case."""
    own = Defaults(None, {'headers': {'A': ['1', '2'], 'B': '3'}})
    request = own.request({'host': 'a', 'headers': {'a': '4'}}, {})
    assert {'B': '3', 'a': '4'} == request.headers


def test_what_is_secret_goes_to_the_origin_of_the_base_alone():
    """Elsewhere go no login, no cookie, no Host and no client certificate."""
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


def test_a_bearer_goes_to_the_origin_of_the_base_alone():
    """A token among the defaults stays behind, too."""
    own = Defaults('http://base/', {'bearer': 'a', 'timeout': 5})
    assert 'Bearer a' == own.request({}, {}).headers['Authorization']
    away = own.request({'url': 'http://other/'}, {})
    assert ({}, 5) == (away.headers, away['timeout'])


@pytest.mark.parametrize(
    'wrong', [{'timout': 1}, {'timeout': 0}, {'headers': {'a b': 'c'}}], ids=str
)
def test_a_wrong_default_is_refused_at_once(wrong):
    """The defaults are checked before there is any request."""
    with pytest.raises(TableError):
        Defaults(None, wrong)


def test_resume_among_the_defaults_is_for_files():
    """What is to be no file has no use for it; but a table that asks for both is wrong."""
    own = Defaults(None, {'resume': True, 'into': 'bytes', 'on_progress': print})
    assert 'resume' not in own.request({'host': 'a'}, {})
    assert own.request({'host': 'a', 'into': Path('x')}, {})['resume']
    assert not own.request({'host': 'a', 'into': Path('x'), 'resume': False}, {})['resume']
    assert own.request({'host': 'a'}, {})['on_progress'] is print
    with pytest.raises(TableError, match="'resume'"):
        own.request({'host': 'a', 'resume': True}, {})


def test_nothing_that_is_passed_in_is_changed():
    """Neither the defaults nor a table is changed."""
    own = {'headers': {'A': '1'}, 'timeout': 5}
    table = {'url': 'x', 'headers': {'B': '2'}}
    before = dict(own), dict(table)
    Defaults('http://base/', own).request(table, {})
    assert before == (own, table)


def test_live_headers_stand_below_the_defaults():
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
    """Let no proxy and no netrc of the machine be found; give the home folder."""
    for name in list(os.environ):
        if name.lower().endswith('_proxy') or name in ('NETRC', 'REQUEST_METHOD'):
            monkeypatch.delenv(name)
    monkeypatch.setenv('HOME', str(tmp_path))
    monkeypatch.setenv('USERPROFILE', str(tmp_path))
    return tmp_path


def found(url='http://a.example/', **fields):
    """Give what from_environment makes of a request."""
    return from_environment(to_request({'url': url, **fields}))


def login_of(request):
    """Give the user and password that go out; None where none do."""
    value = request.headers.get('Authorization')
    return value and b64decode(value.removeprefix('Basic ')).decode()


def test_an_empty_environment_adds_nothing():
    """The request comes back equal."""
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
def test_a_proxy_is_that_of_the_scheme(monkeypatch, variables, url, expected):
    """``HTTP_PROXY``, ``HTTPS_PROXY`` and ``ALL_PROXY`` are read, in either case."""
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
    ],
)
def test_no_proxy_names_the_exceptions(monkeypatch, no_proxy, url, bypassed):
    """A host, a domain, a host with its port, or all."""
    monkeypatch.setenv('HTTP_PROXY', 'http://p')
    monkeypatch.setenv('NO_PROXY', no_proxy)
    assert bypassed == (found(url).proxy is None)


@pytest.mark.parametrize('proxy', ['socks5://me:s3cret@p', 'http://', 'http://me:s3cret@p:0'])
def test_a_proxy_that_is_none_is_an_error_that_tells_no_secret(monkeypatch, proxy):
    """The error names the key, and no password."""
    monkeypatch.setenv('HTTP_PROXY', proxy)
    with pytest.raises(TableError, match=r"^'proxy' is ") as caught:
        found()
    assert 's3cret' not in str(caught.value)


@pytest.mark.parametrize('fields', [{'proxy': 'http://mine'}, {'unix': '/socket'}])
def test_what_the_request_says_of_its_way_stays(monkeypatch, fields):
    """Its own proxy counts, and there is no proxy before a Unix socket."""
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
def test_a_login_is_that_of_the_host(monkeypatch, environment, variable, content, url, expected):
    """netrc is read from ``NETRC``, else from the home folder."""
    path = environment / ('elsewhere' if variable else '.netrc')
    if variable:
        monkeypatch.setenv('NETRC', str(path))
    path.write_text(content)
    path.chmod(0o600)
    assert expected == login_of(found(url))


@pytest.mark.parametrize(
    'fields', [{'auth': 'you:x'}, {'url': 'http://you:x@a.example/'}, {'bearer': 'x'}]
)
def test_a_login_of_the_request_stays(environment, fields):
    """Any Authorization that there is counts."""
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
def test_a_file_that_cannot_be_read_is_an_error_that_tells_no_secret(environment, content):
    """What is no netrc is not passed over, and the message has no word of it."""
    (environment / '.netrc').write_bytes(content)
    with pytest.raises(TableError) as caught:
        found()
    assert 's3cret' not in str(caught.value)


def test_a_folder_is_no_file(monkeypatch, environment):
    """``NETRC`` may name what is no file: then there is none."""
    monkeypatch.setenv('NETRC', str(environment))
    assert login_of(found()) is None


def test_the_request_is_not_changed(monkeypatch, environment):
    """What is added is added to a copy."""
    monkeypatch.setenv('HTTP_PROXY', 'http://p')
    (environment / '.netrc').write_text(NETRC)
    request = to_request(url='http://a.example/')
    added = from_environment(request)
    assert to_request(url='http://a.example/') == request
    assert ('http://p', 'me:s:cret') == (added.proxy, login_of(added))
