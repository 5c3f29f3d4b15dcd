"""Any table brought to its normal form, in which tables are given."""

import copy
import doctest
from pathlib import Path
from types import MappingProxyType

import pytest
import yarl
from hypothesis import given, settings
from hypothesis import strategies as st

from aioluahttp.bodies.stream import Stream
from aioluahttp.errors import TableError
from aioluahttp.headers import Headers
from aioluahttp.tables import conversion
from aioluahttp.tables.conversion import body_into, to_request, to_response, wire_body
from aioluahttp.tables.models import Request, Response

PARTS = ('url', 'scheme', 'host', 'port', 'path', 'query')


def test_the_examples_hold():
    """The module's doctests pass."""
    assert 0 == doctest.testmod(conversion).failed


def test_a_request_has_what_a_server_gives():
    """The target is taken apart, ``url`` in origin-form, headers are there, GET the default."""
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
        # A lone question mark is part of the URL.
        ({'url': 'http://h/a?'}, ('http', 'h', 80, '/a', '', '/a?')),
        ({'url': 'http://h/a?', 'query': 'b'}, ('http', 'h', 80, '/a', '', '/a?')),
        # Bytes of a URL are not touched.
        ({'url': 'http://h/%27%2C%41/../x?%41'}, ('http', 'h', 80, '/%27%2C%41/../x', '%41', None)),
        # What begins with a slash is path and query only.
        ({'host': 'h', 'url': '/a?b'}, ('http', 'h', 80, '/a', 'b', '/a?b')),
        ({'host': 'h', 'url': '//x/y'}, ('http', 'h', 80, '//x/y', '', '//x/y')),
        ({'host': 'h', 'url': '//u:p@x:9'}, ('http', 'h', 80, '//u:p@x:9', '', '//u:p@x:9')),
        ({'host': 'h', 'url': '///'}, ('http', 'h', 80, '///', '', '///')),
        ({'host': 'h', 'url': '/?'}, ('http', 'h', 80, '/', '', '/?')),
        # What the URL has overrides the keys, what it lacks is theirs.
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
def test_the_target_comes_from_the_url_and_the_keys(table, expected):
    """Any part that is in the URL overrides its key; nothing is decoded or normalised."""
    request = to_request(table)
    *parts, path, query, url = expected
    expected = [url or path + (query and f'?{query}'), *parts, path, query]
    assert expected == [request[key] for key in PARTS]


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
        ({'host': 'h', 'resume': True}, "'resume' is True; it must be absent, or beside a path"),
        (
            {'host': 'h', 'resume': True, 'into': Path('x'), 'method': 'POST'},
            "'resume' is True; it must be absent beside a method other than 'GET'",
        ),
        *(
            (
                {'host': 'h', 'resume': True, 'into': Path('x'), 'headers': {name: 'x'}},
                f"'headers[{name}]' is 'x'; it must be absent beside resume",
            )
            for name in ('Range', 'If-Range')
        ),
    ],
)
def test_a_malformed_request_is_refused(table, message):
    """The error names the key and the value, says what would be right, and tells no secret."""
    with pytest.raises(TableError) as caught:
        to_request(table)
    assert (True, False) == (message in str(caught.value), 'secret' in str(caught.value))


def test_keywords_override_the_table():
    """A table and keywords make one table, in which the keywords count."""
    assert to_request({'host': 'h', 'port': 2, 'body': 'x'}) == to_request(
        {'host': 'x', 'port': 2}, host='h', body='x'
    )


def test_none_is_as_good_as_absent():
    """Except in ``timeout`` and ``max_body`` (no limit) and in ``json`` (null)."""
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
    """However it is given, it goes out as basic authentication in UTF-8 (RFC 7617)."""
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
def test_what_there_is_of_a_login_is_sent(table, expected):
    """A token, a user without a password, odd bytes; nothing where nothing is given."""
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
    """Which of them counts is not for the library to guess."""
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
def test_a_body_of_any_kind_becomes_body(table, body, kind):
    """``json`` and ``form`` become ``body`` and a Content-Type, unless one is given."""
    request = to_request({'host': 'h', **table})
    assert (body, kind) == (request.get('body'), request.headers.get('Content-Type'))
    assert (body is not None) == ('body' in request)
    assert {'json', 'form', 'multipart'}.isdisjoint(request)


def test_multipart_becomes_body():
    """It makes its own Content-Type, with the boundary."""
    request = to_request(host='h', multipart=[{'name': 'a', 'body': 'b'}])
    kind, _, boundary = request.headers['Content-Type'].partition('; boundary=')
    assert ('multipart/form-data', True) == (kind, boundary.encode() in request.body)
    with pytest.raises(TableError, match=r"^'headers\[Content-Type\]' is 'a/b'; it must be absent"):
        to_request(host='h', multipart=[], headers={'content-type': 'a/b'})


BODIES = {'body': '', 'json': None, 'form': {}, 'multipart': []}


@pytest.mark.parametrize('one', BODIES)
@pytest.mark.parametrize('other', BODIES)
def test_kinds_of_body_exclude_each_other(one, other):
    """Two of the four are an error that names them."""
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


@settings(deadline=None)
@given(TABLES)
def test_a_request_in_normal_form_comes_back_equal(table):
    """``to_request`` changes nothing the second time, also through its plain form."""
    request = to_request(table)
    assert (request, list(request)) == (to_request(request), list(to_request({**request})))
    if not isinstance(request.get('body'), str):
        assert request == to_request(Request.from_plain(request.plain()))


def test_resume_goes_with_a_path():
    """Off it goes with anything."""
    table = {'host': 'h', 'into': Path('x'), 'resume': True}
    assert to_request(table) == to_request(to_request(table))
    assert not to_request(host='h', resume=False)['resume']


@settings(deadline=None)
@given(TABLES)
def test_a_request_that_is_passed_in_is_never_changed(table):
    """Neither the table nor what is in it, also where it is in normal form already."""
    before = copy.deepcopy(table)
    request = to_request(table)
    assert before == table
    before, again = copy.deepcopy(request), to_request(request)
    again['headers']['X'] = 'y'
    assert before == request


@settings(deadline=None)
@given(TABLES)
def test_equal_tables_make_equal_requests(table):
    """Two that are written the same are the same, to the bytes and the order of the fields."""
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
def test_a_request_is_made_or_refused(pairs):
    """Whatever text stands in a table, what is wrong with it is a ``TableError``."""
    try:
        request = to_request(dict(pairs))
    except TableError:
        return
    assert not set(request.url) & set(' \r\n\0#')


def test_a_response_has_what_request_gives():
    """Status, headers and body are there, the body empty where there is none."""
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
def test_a_response_has_one_form(table, expected):
    """Each way of writing a response gives the one form of it, which then stays as it is."""
    response = to_response({'status': 200, **table})
    assert {'status': 200, **expected} == response == to_response({**response})


@pytest.mark.parametrize('body', ['', b'x', None, [1], 5])
def test_a_response_that_came_over_the_network_passes(body):
    """Any status and what was read as JSON stay; the table is not the same one."""
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
        ({'status': 200, 'json': {1}}, "'json' is {1}; it must be what JSON can hold"),
        ({'status': 200, 'body': 5}, "'body' is 5; it must be a str or bytes"),
        # What a handler writes into a response that it was given is checked, too.
        (Response(), "'status' is missing; give one"),
        (Response({'status': 1000}), "'status' is 1000; it must be an int from 200 to 999"),
        (Response({'status': True}), "'status' is True; it must be an int from 200 to 999"),
        (Response({'status': 200, 'reason': 'a\r\nX: y'}), "'reason' is 'a\\r\\nX: y'; it must"),
        (Response({'status': 200, 'headers': Headers({'A': 'b\nX: y'})}), "'headers[A]' is"),
    ],
)
def test_a_malformed_response_is_refused(table, message):
    """The error names the key and the value, says what would be right, and tells no secret."""
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
def test_a_response_in_normal_form_comes_back_equal(table):
    """``to_response`` changes nothing the second time, and its argument at no time."""
    before = copy.deepcopy(table)
    response = to_response(table)
    assert (before, response, response) == (table, to_response(response), to_response({**response}))


OCTETS = 'application/octet-stream'


@pytest.mark.parametrize(
    ('kind', 'body', 'data', 'expected'),
    [
        # Where there is no Content-Type, the body says what it is.
        (None, 'é', b'\xc3\xa9', 'text/plain; charset=utf-8'),
        (None, '\udcff', b'\xff', OCTETS),
        (None, b'\xff', b'\xff', OCTETS),
        (None, '', b'', None),
        (None, b'', b'', None),
        # A text is given a charset where it has none, what is not wholly text is not.
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
def test_a_body_goes_out_with_its_type(kind, body, data, expected):
    """The bytes are those of the charset, and the Content-Type says what they are."""
    headers = Headers({} if kind is None else {'Content-Type': kind})
    assert (data, expected) == (wire_body(headers, body), headers.get('Content-Type'))


@pytest.mark.parametrize(
    ('kind', 'body'), [('text/plain; charset=iso-8859-1', 'a中b'), ('text/plain', 'a\ud800')]
)
def test_a_text_that_its_charset_lacks_is_refused(kind, body):
    """Nothing is replaced or dropped in silence."""
    with pytest.raises(TableError, match=r"^'body' is .*; it must be text in "):
        wire_body(Headers({'Content-Type': kind}), body)


@settings(deadline=None)
@given(st.binary(), st.sampled_from([None, 'text/html', 'text/html; charset=gbk', 'a/b', 'x']))
def test_a_relayed_body_is_what_was_read(data, kind):
    """A response that came over the network goes out again with the same bytes (text rule)."""
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
def test_a_body_becomes_what_into_asks_for(into, kind, data, expected):
    """Text by the charset, the bytes themselves, or what they say as JSON."""
    headers = Headers({} if kind is None else {'Content-Type': kind})
    assert expected == body_into(into, data, headers)


@pytest.mark.parametrize(
    ('data', 'message'), [(b'x', 'Expecting value'), (b'[' * 100_000, 'nested too deeply')], ids=len
)
def test_a_body_that_is_no_json_is_told(data, message):
    """What to call it is for the side that read it; a hostile depth of nesting is no other."""
    with pytest.raises(ValueError, match=message):
        body_into('json', data, Headers())


def test_the_whole_server_is_a_target_of_options_alone():
    """``*`` comes back as it is for OPTIONS, and is refused for any other method."""
    given = to_request(method='OPTIONS', host='h', url='*')
    assert ('*', '*', '') == (given.url, given.path, given.query)
    assert given == to_request(given)
    with pytest.raises(TableError, match=r"'path' is '\*'.*OPTIONS alone"):
        to_request(host='h', url='*')


async def nothing():
    """Give no chunk."""
    return
    yield


@pytest.mark.parametrize('body', [Stream(nothing()), {'a': 1}, [], 5, b'x', 'x'], ids=repr)
def test_a_request_that_a_server_gave_has_any_body(body):
    """A stream, or what its JSON said: a middleware may bring it to its normal form."""
    request = to_request(host='h') | {'body': body}
    assert body is to_request(request).body
    if isinstance(body, dict | list | int):
        with pytest.raises(TableError, match="'body' is "):
            to_request({**request})


def test_a_body_in_a_buffer_becomes_bytes_in_a_request_as_given():
    """As in any other; and a keyword is written, whatever the table is."""
    request = to_request(host='h')
    assert b'x' == to_request(request | {'body': bytearray(b'x')}).body
    with pytest.raises(TableError, match="'body' is 5"):
        to_request(request, body=5)


def test_a_body_that_json_gave_is_no_body_to_send():
    """What was read from JSON is refused as a body, with the key that takes it."""
    with pytest.raises(TableError, match=r"'body' is {'a': 1}.*goes as json"):
        wire_body(Headers(), {'a': 1})


def test_a_response_may_be_a_websocket():
    """Its status is 101, also where none is given; a table in normal form comes back equal."""
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
        ({'status': 200}, "'status' is 200; it must be 101 beside websocket"),
        ({'websocket': None, 'status': 101}, "'status' is 101; it must be an int from 200"),
    ],
)
def test_a_websocket_has_no_body_and_no_other_status(wrong, message):
    """What is neither an answer nor a WebSocket is refused."""
    with pytest.raises(TableError, match=message):
        to_response({'websocket': print, **wrong})


def test_events_are_a_body_of_their_type():
    """The normal form has no ``events``; what the table says of type and caching stays."""
    response = to_response({'status': 200, 'events': iter([]), 'headers': {'Cache-Control': 'x'}})
    assert {'Content-Type': 'text/event-stream', 'Cache-Control': 'x'} == response.headers
    assert {'status', 'headers', 'body'} == response.keys()
    assert response.body is to_response(response).body
