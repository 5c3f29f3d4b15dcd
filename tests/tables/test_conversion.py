"""Conversion of tables to normal form, and of bodies to and from bytes."""

import copy
import doctest
import warnings
from pathlib import Path
from types import MappingProxyType

import pytest
import yarl
from hypothesis import given, settings
from hypothesis import strategies as st

from aioluahttp.bodies.stream import Stream
from aioluahttp.errors import TableError, TableWarning
from aioluahttp.headers import Headers
from aioluahttp.tables import conversion
from aioluahttp.tables.conversion import body_into, to_request, to_response, wire_body
from aioluahttp.tables.models import Request, Response

PARTS = ('url', 'scheme', 'host', 'port', 'path', 'query')


def test_the_examples_hold():
    """The module's doctests pass."""
    assert 0 == doctest.testmod(conversion).failed


def test_a_request_in_normal_form_has_all_target_keys():
    """The target is split, ``url`` is in origin-form, and the method is GET by default."""
    request = to_request(host='h')
    expected = {
        'method': 'GET',
        **dict(zip(PARTS, ('/', 'http', 'h', 80, '/', ''), strict=True)),
        'headers': {},
    }
    assert (expected, Request, Headers) == (request, type(request), type(request.headers))
    assert list(expected) == list(request)


@pytest.mark.parametrize(
    ('table', 'expected'),
    [
        ({'url': 'http://h'}, ('http', 'h', 80, '/', '', '/')),
        ({'url': 'HTTPS://H:/a'}, ('https', 'h', 443, '/a', '', '/a')),
        ({'url': yarl.URL('http://h/a?b=c#d')}, ('http', 'h', 80, '/a', 'b=c', '/a?b=c')),
        ({'url': 'http://h?b#d?e'}, ('http', 'h', 80, '/', 'b', '/?b')),
        ({'url': 'http://[0::1]:8/'}, ('http', '::1', 8, '/', '', '/')),
        ({'url': 'http://é.de/é'}, ('http', 'xn--9ca.de', 80, '/%C3%A9', '', '/%C3%A9')),
        # A '?' with an empty query is part of the URL.
        ({'url': 'http://h/a?'}, ('http', 'h', 80, '/a', '', '/a?')),
        ({'url': 'http://h/a?', 'query': 'b'}, ('http', 'h', 80, '/a', '', '/a?')),
        # The characters of a URL are not changed.
        ({'url': 'http://h/%27%2C%41/../x?%41'}, ('http', 'h', 80, '/%27%2C%41/../x', '%41', None)),
        # A URL that begins with '/' is a path and a query.
        ({'host': 'h', 'url': '/a?b'}, ('http', 'h', 80, '/a', 'b', '/a?b')),
        ({'host': 'h', 'url': '//x/y'}, ('http', 'h', 80, '//x/y', '', '//x/y')),
        ({'host': 'h', 'url': '//u:p@x:9'}, ('http', 'h', 80, '//u:p@x:9', '', '//u:p@x:9')),
        ({'host': 'h', 'url': '///'}, ('http', 'h', 80, '///', '', '///')),
        ({'host': 'h', 'url': '/?'}, ('http', 'h', 80, '/', '', '/?')),
        # Parts of the URL override the keys; missing parts come from the keys.
        (
            {
                'url': 'https://h:1/a?b',
                'scheme': 'http',
                'host': 'x',
                'port': 2,
                'path': '/y',
                'query': 'z',
            },
            ('https', 'h', 1, '/a', 'b', '/a?b'),
        ),
        (
            {'url': 'https://h', 'host': 'x', 'port': '2', 'path': '/y', 'query': {'z': 1}},
            ('https', 'h', 2, '/y', 'z=1', '/y?z=1'),
        ),
        (
            {'host': '[::1]', 'scheme': 'https', 'path': '//a b'},
            ('https', '::1', 443, '//a%20b', '', None),
        ),
        ({'unix': '/x'}, ('http', 'localhost', 80, '/', '', '/')),
        ({'unix': '/x', 'host': 'h'}, ('http', 'h', 80, '/', '', '/')),
        ({'host': 'h', 'url': None, 'port': None, 'path': None}, ('http', 'h', 80, '/', '', '/')),
    ],
)
@pytest.mark.filterwarnings('ignore::aioluahttp.TableWarning')
def test_the_target_comes_from_the_url_and_the_keys(table, expected):
    """A part that the URL has overrides its key; nothing is decoded or normalised."""
    request = to_request(table)
    *parts, path, query, url = expected
    expected = [url or path + (query and f'?{query}'), *parts, path, query]
    assert expected == [request[key] for key in PARTS]


OVERRIDING = 'the url overrides {} with a different value; change the url'


@pytest.mark.parametrize(
    ('table', 'keys'),
    [
        ({'url': 'http://h/?x=1', 'query': {'page': 2}}, ['query']),
        ({'url': 'http://h/?x=1', 'query': 'x=1'}, []),
        ({'url': 'http://h/?x=%41', 'query': 'x=A'}, ['query']),
        ({'url': 'http://h/?a b', 'query': 'a%20b'}, []),
        ({'url': 'http://h/?x=1', 'query': {'x': 1}}, []),
        ({'url': 'http://h/?', 'query': 'x=1'}, ['query']),
        ({'url': 'http://h/', 'query': 'x=1'}, []),
        ({'url': 'http://h/?x=1', 'query': None}, []),
        ({'url': 'http://h/?x=1', 'query': ''}, ['query']),
        ({'url': 'http://h/', 'path': '/new'}, ['path']),
        ({'url': 'http://h', 'path': '/new'}, []),
        ({'url': 'http://h/é', 'path': '/%C3%A9'}, []),
        ({'url': '/a', 'host': 'h', 'path': '/b'}, ['path']),
        ({'url': '/a', 'host': 'h', 'path': '/a', 'port': 1}, []),
        ({'url': 'http://h:80', 'port': '80', 'host': 'H', 'scheme': 'HTTP'}, []),
        ({'url': 'http://h', 'port': 8080}, []),
        ({'url': 'http://h:80', 'port': 8080}, ['port']),
        ({'url': 'https://a:1/b?c', 'scheme': 'http', 'host': 'x', 'port': 2}, 'scheme host port'),
        ({'url': 'https://a', 'host': 'x', 'auth': ('u', 's3cret')}, ['host']),
        ({'url': 'http://é.example', 'host': 'xn--9ca.example'}, []),
        ({'url': 'http://[0::1]/', 'host': '::1'}, []),
    ],
)
def test_a_key_that_the_url_overrides_gets_a_warning(table, keys):
    """One warning lists the keys with a different value, compared after normalisation."""
    keys = keys.split() if isinstance(keys, str) else keys
    with warnings.catch_warnings(record=True) as caught:
        warnings.simplefilter('always')
        assert to_request(table) == to_request(**table)
    expected = OVERRIDING.format(' and '.join(map(repr, keys)))
    assert [True] * (2 if keys else 0) == [str(one.message).startswith(expected) for one in caught]
    assert all((TableWarning, __file__) == (one.category, one.filename) for one in caught)
    assert 's3cret' not in str([str(one.message) for one in caught])


def test_the_keys_of_a_request_get_no_warning():
    """A ``Request`` may be changed or sent elsewhere; keywords beside it and copies get one."""
    request = to_request(url='http://h/old?x=1')
    assert request == to_request(request)
    assert '/old' == to_request(request | {'path': '/new'}).path
    assert ('other', '/') == (
        (moved := to_request(request, url='http://other/')).host,
        moved.path,
    )
    with pytest.warns(TableWarning, match="overrides 'path' with"):
        to_request(request, path='/new', query='x=1')
    with pytest.warns(TableWarning, match="overrides 'path' with"):
        to_request({**request, 'path': '/new'})


@pytest.mark.parametrize(
    ('table', 'message'),
    [
        ({}, "'host' is missing; give a host, or a url that has one"),
        (None, "'host' is missing"),
        ({'url': '/a'}, "'host' is missing"),
        ({'url': '//h/a'}, "'host' is missing"),
        ({'url': 'http://', 'host': 'h'}, "'url' is 'http://'; it must be a URL with a host"),
        ({'url': 'http://u:secret@/'}, "'url' is 'http://***@/'; it must be a URL with a host"),
        ({'url': 'ftp://h/'}, "'scheme' is 'ftp'; it must be 'http' or 'https'"),
        ({'url': 'http://a b/'}, "'host' is 'a b'; it must be an IP address or a name"),
        ({'url': 'http://h:99999/'}, "'port' is '99999'; it must be a number from 1 to 65535"),
        ({'url': 'http://h/\r\nX: y'}, "'path' is '/\\r\\nX: y'; it must be free of control"),
        ({'url': 'http://h/?\0'}, "'query' is '\\x00'; it must be free of control characters"),
        ({'host': 'h', 'url': '/\ud800'}, "'path' is '/\\ud800'; it must be text that UTF-8"),
        ({'timout': 5}, "unknown key 'timout': did you mean 'timeout'?"),
        ({'Method': 'GET'}, "unknown key 'Method': did you mean 'method'?"),
        ({'xyzzy': 5}, "unknown key 'xyzzy': known are auth, bearer, body,"),
        ({5: 5}, 'unknown key 5: known are'),
        ({'status': 200}, "unknown key 'status': "),
        ('http://h/', "'table' is 'http://h/'; it must be a table such as {'url':"),
        ('http://u:secret@h/', "'table' is 'http://***@h/'; it must be a table"),
        ([('host', 'h')], "'table' is [('host', 'h')]; it must be a table"),
        ({'host': 'h', 'auth': 'u:secret\0'}, "'auth' is ***; it must be (user, password)"),
        ({'url': 'http://u%3A:secret@h/'}, "'auth' is ***; it must be (user, password)"),
        ({'host': 'h', 'resume': True}, "'resume' is True; it must be absent, or used with a path"),
        (
            {'host': 'h', 'resume': True, 'into': Path('x'), 'method': 'POST'},
            "'resume' is True; it must be absent when 'method' is not 'GET'",
        ),
        *(
            (
                {'host': 'h', 'resume': True, 'into': Path('x'), 'headers': {name: 'x'}},
                f"'headers[{name}]' is 'x'; it must be absent when 'resume' is given",
            )
            for name in ('Range', 'If-Range')
        ),
    ],
)
def test_a_malformed_request_is_rejected(table, message):
    """The error names the key and the value, says what would be right, and shows no secret."""
    with pytest.raises(TableError) as caught:
        to_request(table)
    assert (True, False) == (message in str(caught.value), 'secret' in str(caught.value))


def test_keywords_override_the_table():
    """The table and the keywords are merged; keywords override."""
    assert to_request({'host': 'h', 'port': 2, 'body': 'x'}) == to_request(
        {'host': 'x', 'port': 2}, host='h', body='x'
    )


def test_none_means_absent_for_most_keys():
    """The exceptions are ``timeout`` and ``max_body`` (no limit) and ``json`` (null)."""
    nothing = dict.fromkeys(conversion.REQUEST_CHECKS.keys() - conversion.NULLABLE)
    request = to_request({**nothing, 'host': 'h'})
    assert to_request(host='h') == request
    full = to_request(host='h', timeout=None, max_body=None, json=None)
    assert {
        **request,
        'timeout': None,
        'max_body': None,
        'body': 'null',
        'headers': {'content-type': 'application/json'},
    } == full


LOGINS = {
    'auth': {'auth': 'user:pässword'},
    'pair': {'auth': ('user', 'pässword')},
    'url': {'url': 'http://user:p%C3%A4ssword@h/'},
    'raw': {'url': 'http://user:pässword@h/'},
    'header': {'headers': {'authorization': 'Basic dXNlcjpww6Rzc3dvcmQ='}},
}


@pytest.mark.parametrize('login', LOGINS.values(), ids=LOGINS)
def test_a_login_becomes_the_authorization_header(login):
    """Every way to give a login results in basic authentication in UTF-8 (RFC 7617)."""
    request = to_request({'host': 'h', **login})
    assert 'Basic dXNlcjpww6Rzc3dvcmQ=' == request.headers['Authorization']
    assert {'auth', 'bearer'}.isdisjoint(request)
    assert '/' == request.url


@pytest.mark.parametrize(
    ('table', 'expected'),
    [
        ({'bearer': 'a.b'}, 'Bearer a.b'),
        ({'url': 'http://user@h'}, 'Basic dXNlcjo='),
        ({'url': 'http://%FF:p@h'}, 'Basic /zpw'),
        ({'url': 'http://@h'}, None),
        ({}, None),
    ],
)
def test_a_partial_login_is_sent_as_it_is(table, expected):
    """A token, a user without a password, non-UTF-8 bytes, or no header if there is no login."""
    assert expected == to_request({'host': 'h', **table}).headers.get('Authorization')


@pytest.mark.parametrize(
    'table',
    [
        {'auth': 'a:b', 'bearer': 'c'},
        {'auth': 'a:b', 'headers': {'AUTHORIZATION': 'c'}},
        {'bearer': 'a', 'url': 'http://b:c@h'},
        {'url': 'http://b:c@h', 'headers': [('authorization', 'd')]},
    ],
)
def test_two_logins_exclude_each_other(table):
    """Two ways to give a login in one table are rejected; the library does not choose."""
    with pytest.raises(TableError, match=r'^more than one of auth, bearer, credentials in the url'):
        to_request({'host': 'h', **table})


@pytest.mark.parametrize(
    ('table', 'body', 'kind'),
    [
        ({}, None, None),
        ({'body': 'x'}, 'x', None),
        ({'body': bytearray(b'x')}, b'x', None),
        ({'body': ''}, '', None),
        ({'json': {'a': 1}}, '{"a":1}', 'application/json'),
        ({'json': None}, 'null', 'application/json'),
        ({'json': 1, 'headers': {'content-type': 'a/b'}}, '1', 'a/b'),
        ({'form': {'a': 'b c'}}, 'a=b%20c', 'application/x-www-form-urlencoded'),
        ({'form': {}, 'headers': {'Content-Type': 'a/b'}}, '', 'a/b'),
    ],
)
def test_json_and_form_become_body(table, body, kind):
    """``json`` and ``form`` become ``body`` and a Content-Type, unless the headers have one."""
    request = to_request({'host': 'h', **table})
    assert (body, kind) == (request.get('body'), request.headers.get('Content-Type'))
    assert (body is not None) == ('body' in request)
    assert {'json', 'form', 'multipart'}.isdisjoint(request)


def test_multipart_becomes_body():
    """The Content-Type with the boundary is set; one in the headers is rejected."""
    request = to_request(host='h', multipart=[{'name': 'a', 'body': 'b'}])
    kind, _, boundary = request.headers['Content-Type'].partition('; boundary=')
    assert ('multipart/form-data', True) == (kind, boundary.encode() in request.body)
    with pytest.raises(TableError, match=r"^'headers\[Content-Type\]' is 'a/b'; it must be absent"):
        to_request(host='h', multipart=[], headers={'content-type': 'a/b'})


def test_multipart_with_a_file_becomes_a_body_that_passes_again(tmp_path):
    """The normal form is a valid table, also as keywords."""
    request = to_request(host='h', multipart=[{'name': 'a', 'body': tmp_path}])
    assert [tmp_path] == list(request.body.files)
    assert request == to_request(request) == to_request(**request)


BODIES = {'body': '', 'json': None, 'form': {}, 'multipart': []}


@pytest.mark.parametrize('one', BODIES)
@pytest.mark.parametrize('other', BODIES)
def test_body_keys_exclude_each_other(one, other):
    """Two body keys in one table are an error that names both."""
    if one != other:
        with pytest.raises(TableError) as caught:
            to_request({'host': 'h', one: BODIES[one], other: BODIES[other]})
        first, second = sorted((one, other), key=list(BODIES).index)
        assert f"'{first}' and '{second}' exclude each other; give one of them" == str(caught.value)


TEXT = st.text(st.characters(exclude_categories=['Cc', 'Cs']), max_size=20)
NAME = st.text('abcABC-_', min_size=1, max_size=5).filter(
    lambda name: name.lower() not in ('authorization', 'content-type')
)
PAIRS = st.lists(st.tuples(NAME, TEXT | st.integers() | st.lists(TEXT)))
QUERY = st.dictionaries(TEXT, TEXT | st.integers() | st.lists(TEXT) | st.none())
HOSTS = st.sampled_from(['h', 'LOCALHOST', '[::1]', '127.0.0.1', 'é.example.', 'fe80::1%1'])
PATHS = TEXT.map(lambda text: '/' + text.replace('?', '').replace('#', ''))
QUERIES = TEXT.map(lambda text: text.replace('#', ''))
IN_URL = HOSTS.map(lambda host: f'[{host}]' if ':' in host and host[0] != '[' else host)
URLS = st.builds(
    '{}{}{}{}{}'.format,
    st.sampled_from(['http://', 'HTTPS://']),
    IN_URL,
    st.sampled_from(['', ':', ':1', ':65535']),
    st.just('') | PATHS,
    st.just('') | QUERIES.map('?{}'.format) | QUERIES.map('?{}#x'.format),
)
BODY = st.one_of(
    st.fixed_dictionaries({'body': st.text() | st.binary()}),
    st.fixed_dictionaries({'json': st.none() | st.lists(st.integers() | st.text())}),
    st.fixed_dictionaries({'form': QUERY}),
    st.fixed_dictionaries(
        {'multipart': st.lists(st.fixed_dictionaries({'name': TEXT, 'body': TEXT}))}
    ),
    st.just({}),
)
LOGIN = st.sampled_from([{}, {'auth': 'u:p'}, {'auth': ('u', 'p')}, {'bearer': 't'}])
TABLES = st.builds(
    lambda table, body, login: {'host': 'h', **table, **body, **login},
    st.fixed_dictionaries(
        {},
        optional={
            'method': st.sampled_from(['get', 'POST', 'm-search']),
            'url': URLS | PATHS | st.none(),
            'scheme': st.sampled_from(['http', 'HTTPS']),
            'host': HOSTS,
            'port': st.integers(1, 65535) | st.integers(1, 65535).map(str),
            'path': PATHS,
            'query': QUERIES | QUERY | st.none(),
            'headers': PAIRS | PAIRS.map(dict) | st.none(),
            'timeout': st.none() | st.floats(0.1, 9) | st.just({'read': 5}),
            'redirects': st.integers(0, 9),
            'into': st.sampled_from(['text', 'bytes', 'json']),
            'max_body': st.none() | st.integers(0),
            'check': st.booleans() | st.sets(st.integers(200, 599)),
            'tls': st.booleans() | st.just({'verify': False, 'ca': None}),
            'proxy': st.just('http://u:p@proxy') | st.none(),
            'unix': st.just('/x.sock'),
            'ip': st.just('::1'),
            'version': st.just('1.1'),
        },
    ),
    BODY,
    LOGIN,
)


@pytest.mark.filterwarnings('ignore::aioluahttp.TableWarning')
@settings(deadline=None)
@given(TABLES)
def test_converting_a_request_again_changes_nothing(table):
    """``to_request`` returns an equal table the second time, also after ``plain``."""
    request = to_request(table)
    assert (request, list(request)) == (to_request(request), list(to_request({**request})))
    if not isinstance(request.get('body'), str):
        assert request == to_request(Request.from_plain(request.plain()))


def test_resume_is_accepted_with_a_path():
    """``resume=False`` is accepted with any ``into``."""
    table = {'host': 'h', 'into': Path('x'), 'resume': True}
    assert to_request(table) == to_request(to_request(table))
    assert not to_request(host='h', resume=False)['resume']


@pytest.mark.filterwarnings('ignore::aioluahttp.TableWarning')
@settings(deadline=None)
@given(TABLES)
def test_to_request_does_not_change_its_argument(table):
    """The table and its values stay the same, even if it is in normal form already."""
    before = copy.deepcopy(table)
    request = to_request(table)
    assert before == table
    before, again = copy.deepcopy(request), to_request(request)
    again['headers']['X'] = 'y'
    assert before == request


@pytest.mark.filterwarnings('ignore::aioluahttp.TableWarning')
@settings(deadline=None)
@given(TABLES)
def test_equal_tables_make_equal_requests(table):
    """Equal tables give equal requests, with the same order of keys and headers."""
    one, other = to_request(MappingProxyType(table)), to_request(**table)
    assert (one, list(one), [*one.headers.items()]) == (
        other,
        list(other),
        [*other.headers.items()],
    )


@settings(deadline=None)
@given(
    st.lists(st.tuples(st.sampled_from([*conversion.REQUEST_CHECKS, 'x']), st.text() | st.none()))
)
def test_to_request_returns_a_request_or_raises_a_table_error(pairs):
    """Whatever text a table contains, an invalid one raises ``TableError``."""
    try:
        request = to_request(dict(pairs))
    except TableError:
        return
    assert not set(request.url) & set(' \r\n\0#')


def test_a_response_in_normal_form_has_status_headers_and_body():
    """The body is ``''`` if the table has none."""
    response = to_response({'status': 204})
    assert {'status': 204, 'headers': {}, 'body': ''} == response
    assert (Response, Headers) == (type(response), type(response.headers))


@pytest.mark.parametrize(
    ('table', 'expected'),
    [
        ({'body': None, 'headers': None}, {'headers': {}, 'body': ''}),
        ({'body': memoryview(b'x')}, {'headers': {}, 'body': b'x'}),
        ({'json': None}, {'headers': {'Content-Type': 'application/json'}, 'body': 'null'}),
        (
            {'json': [1], 'headers': {'Content-Type': ['a/b']}},
            {'headers': {'content-type': 'a/b'}, 'body': '[1]'},
        ),
        (
            {'reason': 'OK', 'version': '1.1', 'url': 'http://h/', 'history': []},
            {
                'headers': {},
                'body': '',
                'reason': 'OK',
                'version': '1.1',
                'url': 'http://h/',
                'history': [],
            },
        ),
    ],
)
def test_a_response_has_one_normal_form(table, expected):
    """Every spelling of a response gives one normal form, which a second conversion keeps."""
    response = to_response({'status': 200, **table})
    assert {'status': 200, **expected} == response == to_response({**response})


@pytest.mark.parametrize('body', ['', b'x', None, [1], 5])
def test_a_received_response_keeps_its_status_and_body(body):
    """Any status and a body decoded from JSON are accepted; the result is a copy."""
    response = Response({'status': 999, 'headers': Headers({'A': 'b'}), 'body': body})
    made = to_response(response)
    made.headers['A'] = 'c'
    assert (body, 'b') == (made['body'], response.headers['A'])
    assert response == made | {'headers': {'a': 'b'}}


@pytest.mark.parametrize(
    ('table', 'message'),
    [
        (None, "'response' is None; it must be a table such as {'status': 200}"),
        ('hello', "'response' is 'hello'; it must be a table such as {'status': 200}"),
        ({}, "'status' is missing; give one, as in {'status': 200}"),
        ({'status': None}, "'status' is missing; give one"),
        ({'headers': {'Set-Cookie': 'a=secret'}}, "'status' is missing; give one"),
        ({'status': '200'}, "'status' is '200'; it must be an int from 200 to 599"),
        ({'statsu': 200}, "unknown key 'statsu': did you mean 'status'?"),
        ({'status': 200, 'timeout': 5}, "unknown key 'timeout': known are"),
        ({'status': 200, 'headers': {'Set-Cookie': 'secret\n'}}, "'headers[Set-Cookie]' is ***"),
        ({'status': 200, 'body': '', 'json': 1}, "'body' and 'json' exclude each other; give one"),
        ({'status': 200, 'json': {1}}, "'json' is {1}; it must be a value that JSON can hold"),
        ({'status': 200, 'body': 5}, "'body' is 5; it must be a str or bytes"),
        # A Response is checked too, because it may have been changed.
        (Response(), "'status' is missing; give one"),
        (Response({'status': 1000}), "'status' is 1000; it must be an int from 200 to 999"),
        (Response({'status': True}), "'status' is True; it must be an int from 200 to 999"),
        (Response({'status': 200, 'reason': 'a\r\nX: y'}), "'reason' is 'a\\r\\nX: y'; it must"),
        (Response({'status': 200, 'headers': Headers({'A': 'b\nX: y'})}), "'headers[A]' is"),
    ],
)
def test_a_malformed_response_is_rejected(table, message):
    """The error names the key and the value, says what would be right, and shows no secret."""
    with pytest.raises(TableError) as caught:
        to_response(table)
    assert (True, False) == (message in str(caught.value), 'secret' in str(caught.value))


RESPONSES = st.builds(
    lambda table, body: {'status': 200, **table, **body},
    st.fixed_dictionaries(
        {},
        optional={
            'status': st.integers(200, 599),
            'headers': PAIRS | PAIRS.map(dict) | st.none(),
            'reason': TEXT,
            'ip': st.none() | st.just('::1'),
            'history': st.just([]),
        },
    ),
    BODY.filter({'form', 'multipart'}.isdisjoint),
)


@settings(deadline=None)
@given(RESPONSES)
def test_converting_a_response_again_changes_nothing(table):
    """``to_response`` returns an equal table the second time, and never changes its argument."""
    before = copy.deepcopy(table)
    response = to_response(table)
    assert (before, response, response) == (table, to_response(response), to_response({**response}))


class Copied(Response):
    """A response that takes the general way to its normal form."""

    __slots__ = ()


RECEIVED = {
    'status': 200,
    'reason': 'OK',
    'headers': Headers({'A': 'b'}),
    'body': b'x',
    'url': 'http://h:80/',
    'method': 'GET',
    'version': '1.1',
    'ip': '::1',
    'history': [],
}


@pytest.mark.parametrize(
    'changes',
    [
        {},
        {'status': 999, 'reason': '', 'body': {'a': None}},
        {'headers': {'A': 1}},
        *({key: None} for key in RECEIVED),
        {'status': 1000},
        {'status': True},
        {'reason': 'a\nb'},
        {'reason': 5},
        {'headers': {'A': 'b\n'}},
        {'headers': 5},
        {'websocket': print},
        {'body': '', 'json': [1]},
        {'unknown': 1},
    ],
    ids=str,
)
def test_the_fast_path_for_a_received_response_gives_the_same_normal_form(changes):
    """As the general way; or both raise the same error."""

    def outcome(kind):
        table = kind(RECEIVED | changes)
        try:
            response = to_response(table)
        except TableError as error:
            return str(error)
        assert table['headers'] is not response['headers'] or changes == {'headers': None}
        return type(response), dict(response), type(response['headers'])

    assert outcome(Copied) == outcome(Response)


OCTETS = 'application/octet-stream'


@pytest.mark.parametrize(
    ('kind', 'body', 'data', 'expected'),
    [
        # Without a Content-Type, the body decides.
        (None, 'é', b'\xc3\xa9', 'text/plain; charset=utf-8'),
        (None, '\udcff', b'\xff', OCTETS),
        (None, b'\xff', b'\xff', OCTETS),
        (None, '', b'', None),
        (None, b'', b'', None),
        # Clean text gets a charset; text with surrogates does not.
        ('text/html', 'é', b'\xc3\xa9', 'text/html; charset=utf-8'),
        ('TEXT/HTML; a=b', 'x', b'x', 'TEXT/HTML; a=b; charset=utf-8'),
        ('text/html', '\udcff', b'\xff', 'text/html'),
        ('text/html', '', b'', 'text/html'),
        ('text/html', b'x', b'x', 'text/html'),
        ('text/html; charset=iso-8859-1', 'é', b'\xe9', 'text/html; charset=iso-8859-1'),
        ('text/html; charset=x', 'é', b'\xc3\xa9', 'text/html; charset=x'),
        ('application/json', 'é', b'\xc3\xa9', 'application/json'),
    ],
)
def test_a_body_is_encoded_and_its_content_type_completed(kind, body, data, expected):
    """The bytes are in the charset of the Content-Type, which is set if it is missing."""
    headers = Headers({} if kind is None else {'Content-Type': kind})
    assert (data, expected) == (wire_body(headers, body), headers.get('Content-Type'))


@pytest.mark.parametrize(
    ('kind', 'body'), [('text/plain; charset=iso-8859-1', 'a中b'), ('text/plain', 'a\ud800')]
)
def test_text_that_the_charset_cannot_encode_is_rejected(kind, body):
    """No character is replaced or dropped silently."""
    with pytest.raises(TableError, match=r"^'body' is .*; it must be text in "):
        wire_body(Headers({'Content-Type': kind}), body)


@settings(deadline=None)
@given(st.binary(), st.sampled_from([None, 'text/html', 'text/html; charset=gbk', 'a/b', 'x']))
def test_a_relayed_body_has_the_bytes_that_were_received(data, kind):
    """A received body is sent on with the same bytes, whether it was read as bytes or as text."""
    headers = Headers({} if kind is None else {'Content-Type': kind})
    for body in (data, conversion.text.from_bytes(data, kind)):
        assert data == wire_body(headers.copy(), body)


@pytest.mark.parametrize(
    ('into', 'kind', 'data', 'expected'),
    [
        ('text', 'text/plain; charset=iso-8859-1', b'\xe9', 'é'),
        ('text', None, b'\xff', '\udcff'),
        ('text', None, b'', ''),
        ('bytes', 'text/plain', b'\xe9', b'\xe9'),
        ('json', None, b'[1]', [1]),
        ('json', 'text/plain', '"é"'.encode('utf-16'), 'é'),
        ('json', None, b'', None),
    ],
)
def test_a_body_is_converted_to_what_into_asks_for(into, kind, data, expected):
    """Text in the charset of the Content-Type, bytes, or decoded JSON."""
    headers = Headers({} if kind is None else {'Content-Type': kind})
    assert expected == body_into(into, data, headers)


@pytest.mark.parametrize(
    ('data', 'message'), [(b'x', 'Expecting value'), (b'[' * 100_000, 'nested too deeply')], ids=len
)
def test_a_body_that_is_not_json_is_a_value_error(data, message):
    """Nesting that is too deep is the same error as invalid JSON."""
    with pytest.raises(ValueError, match=message):
        body_into('json', data, Headers())


def test_an_asterisk_target_is_for_options_only():
    """``*`` is unchanged for OPTIONS, and rejected for any other method."""
    given = to_request(method='OPTIONS', host='h', url='*')
    assert ('*', '*', '') == (given.url, given.path, given.query)
    assert given == to_request(given)
    with pytest.raises(TableError, match=r"'path' is '\*'.*is for OPTIONS only"):
        to_request(host='h', url='*')


async def nothing():
    """Yield no chunk."""
    return
    yield


@pytest.mark.parametrize('body', [Stream(nothing()), {'a': 1}, [], 5, b'x', 'x'], ids=repr)
def test_a_request_object_may_have_a_converted_body(body):
    """Its body may be a stream or a value decoded from JSON, as servers pass them on."""
    request = to_request(host='h') | {'body': body}
    assert body is to_request(request).body
    if isinstance(body, dict | list | int):
        with pytest.raises(TableError, match="'body' is "):
            to_request({**request})


def test_a_buffer_as_the_body_of_a_request_object_becomes_bytes():
    """A body that is given as a keyword is checked as one that is written."""
    request = to_request(host='h')
    assert b'x' == to_request(request | {'body': bytearray(b'x')}).body
    with pytest.raises(TableError, match="'body' is 5"):
        to_request(request, body=5)


def test_a_value_decoded_from_json_cannot_be_encoded_as_a_body():
    """The error names the key to use for it."""
    with pytest.raises(TableError, match=r"'body' is {'a': 1}.*decoded from JSON use json"):
        wire_body(Headers(), {'a': 1})


def test_a_websocket_response_has_status_101():
    """The status may be absent or None; a second conversion changes nothing."""
    for status in ({}, {'status': None}, {'status': 101}):
        response = to_response({'websocket': print, 'headers': {'A': 'b'}, **status})
        assert (101, {'callback': print}, '') == (
            response.status,
            response.websocket,
            response.body,
        )
        assert {'A': 'b'} == response.headers
        assert response == to_response(response)


@pytest.mark.parametrize(
    ('wrong', 'message'),
    [
        ({'body': 'x'}, "'websocket' and a body exclude each other"),
        ({'json': None}, "'websocket' and a body exclude each other"),
        ({'status': 200}, "'status' is 200; it must be 101 or absent when"),
        ({'websocket': None, 'status': 101}, "'status' is 101; it must be an int from 200"),
    ],
)
def test_a_websocket_response_has_no_body_and_no_other_status(wrong, message):
    """A table that is neither a plain response nor a WebSocket is rejected."""
    with pytest.raises(TableError, match=message):
        to_response({'websocket': print, **wrong})


def test_events_become_a_body_with_content_type_and_cache_control():
    """The normal form has no ``events``; headers of the table override the defaults."""
    response = to_response({'status': 200, 'events': iter([]), 'headers': {'Cache-Control': 'x'}})
    assert {'Content-Type': 'text/event-stream', 'Cache-Control': 'x'} == response.headers
    assert {'status', 'headers', 'body'} == response.keys()
    assert response.body is to_response(response).body


URLS = """
    http://h HTTPS://H:8443/a?b=c#d http://h/? http://[::1]/%41 http://u:p@h/@ /a http://h/é
    http:///a http://h:0/ ftp://h/ h *
""".split()


@settings(deadline=None)
@given(
    st.fixed_dictionaries(
        {'url': st.sampled_from(URLS)},
        optional={
            'method': st.sampled_from(['put', 'GET', None, 5]),
            'headers': st.sampled_from([None, {'A': 'b'}, [('A', 'b'), ('a', 'c')], 5]),
            'timeout': st.sampled_from([None, 5, {'read': 1}, -1]),
            'body': st.sampled_from([None, 'x', b'x', 5]),
            'json': st.sampled_from([None, [1], 'x']),
            'auth': st.sampled_from([None, 'a:b']),
            'host': st.sampled_from([None, 'other']),
        },
    )
)
def test_the_fast_path_gives_the_same_normal_form(table):
    """As the general way, which a key of None forces here; or both raise an error."""

    def outcome(given):
        try:
            return list(to_request(given).items())
        except TableError:  # of two mistakes it may name either
            return TableError

    with warnings.catch_warnings():
        warnings.simplefilter('ignore', TableWarning)
        assert outcome({**table, 'unix': None}) == outcome(table) == outcome(table)
