"""What the environment says of proxies and logins."""

import os
from base64 import b64decode

import pytest

from aioluahttp.client.environment import from_environment
from aioluahttp.errors import TableError
from aioluahttp.tables.conversion import to_request


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
