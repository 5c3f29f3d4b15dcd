"""The classes ``Request`` and ``Response``: dicts whose fields also read as attributes."""

import copy
import doctest
import json
import math
import pickle
import ssl

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

import aioluahttp as http
from aioluahttp.bodies.text import from_bytes
from aioluahttp.errors import BodyTooLarge, ProtocolError, Refused, TableError
from aioluahttp.headers import Headers, to_headers
from aioluahttp.tables import models
from aioluahttp.tables.conversion import body_into, to_response
from aioluahttp.tables.models import Request, Response, SentRequest


def request(**fields):
    """Make a request as a handler receives it."""
    headers = to_headers(fields.pop('headers', None))
    return Request({'method': 'GET', 'url': '/', 'headers': headers, **fields})


def response(**fields):
    """Make a response as ``request`` returns it."""
    headers = to_headers(fields.pop('headers', None))
    return Response({'status': 200, 'headers': headers, 'body': '', **fields})


def test_the_examples_hold():
    """The module's doctests pass."""
    assert 0 == doctest.testmod(models).failed


@pytest.mark.parametrize('table', [request(body='x'), response(reason='OK')])
def test_a_table_is_a_dict(table):
    """``==``, ``in``, ``**`` and iteration work as for a dict."""
    plain = {**table}
    assert (True, dict, plain, True) == (
        isinstance(table, dict),
        type(plain),
        table,
        table == plain,
    )
    assert (list(plain), True, False) == (list(table), 'headers' in table, 'haeders' in table)


def test_tables_with_equal_headers_are_equal():
    """Headers equal a plain mapping of the same names in any case."""
    table = response(headers={'A': ['1', '2'], 'B': 'c'})
    assert {**table, 'headers': {'b': 'c', 'a': ['1', '2']}} == table
    assert {**table, 'headers': {'b': 'c', 'a': ['2', '1']}} != table


def test_a_table_can_be_matched():
    """``match`` reads a table by key, with header names in any case, and by attribute."""
    match response(headers={'Content-Type': 'text/html'}, reason='OK'):
        case {'status': 200, 'headers': {'content-type': kind}, **rest}:
            assert ('text/html', {'body': '', 'reason': 'OK'}) == (kind, rest)
    match request(method='PUT'):
        case Request(method='PUT', body=body):
            assert body is None


@pytest.mark.parametrize(
    ('table', 'names'), [(request(), 'body ip timeout'), (response(), 'ip url')]
)
def test_a_known_field_that_is_absent_is_none(table, names):
    """As an attribute it reads as None, as in Lua; as a key it is a ``KeyError``."""
    for name in names.split():
        assert getattr(table, name) is None
        with pytest.raises(KeyError):
            table[name]


@pytest.mark.parametrize('table', [request(), response()])
def test_an_unknown_attribute_is_an_error(table):
    """A misspelt field is an error on reading and on writing."""
    kind = type(table).__name__
    with pytest.raises(AttributeError, match=f"^{kind} has no field 'statsu'$"):
        table.statsu  # noqa: B018
    with pytest.raises(AttributeError, match=f"^{kind} has no field 'statsu'$"):
        table.statsu = 200
    with pytest.raises(AttributeError, match='json'):
        table.json = 5


def test_a_field_can_be_set_by_attribute_and_by_key():
    """Both set the same entry."""
    table = response()
    table.status, table['reason'] = 404, 'Gone'
    assert (404, 'Gone') == (table['status'], table.reason)


@pytest.mark.parametrize('table', [request(), response()])
def test_a_copy_is_independent(table):
    """``copy``, ``copy.copy`` and ``copy.deepcopy`` return equal tables of the same class."""
    for made in (table.copy(), copy.copy(table), copy.deepcopy(table)):
        assert (type(table), table) == (type(made), made)
        made['ip'] = '::1'
        assert 'ip' not in table


@pytest.mark.parametrize('table', [request(), response()])
def test_tables_can_be_merged(table):
    """``|`` returns a table of the same class, in which the right side overrides."""
    merged = table | {'ip': '::1', 'url': '/x'}
    assert (type(table), {**table, 'ip': '::1', 'url': '/x'}) == (type(merged), merged)
    assert 'ip' not in table


@pytest.mark.parametrize('table', [request(), response()])
def test_merged_headers_are_checked_and_converted(table):
    """Headers on the right side of ``|`` become ``Headers``."""
    merged = table | {'headers': {'X-A': 1}}
    assert (Headers, '1') == (type(merged.headers), merged.headers['x-a'])
    with pytest.raises(TableError):
        table | {'headers': {'X-A': 'a\n'}}


def test_the_repr_of_a_table_names_its_class():
    """``repr`` is the class and the dict."""
    assert "Response({'status': 200})" == repr(Response({'status': 200}))
    assert "Request({'url': '/'})" == repr(Request(url='/'))


def test_a_response_is_generic_over_its_body():
    """``Response[bytes]`` is for type checkers, and makes a plain response."""
    assert Response({'status': 200}) == Response[bytes]({'status': 200})


TEXTS = [
    ('utf-8', 'é'.encode(), 'é', 'é'),
    ('utf-8', b'\xef\xbb\xbfa\xff', '\ufeffa\udcff', 'a\ufffd'),
    ('iso-8859-1', b'\xe9', 'é', 'é'),
    ('big5', b'\xa4\xa4', '\udca4\udca4', '中'),
    ('punycode', b'a\xff', 'a\udcff', 'a\ufffd'),
]


@pytest.mark.parametrize(('charset', 'data', 'body', 'text'), TEXTS)
def test_bytes_are_exact_and_text_is_readable(charset, data, body, text):
    """``bytes`` returns the received bytes, ``text`` has no BOM and no surrogates."""
    kind = f'text/plain; charset={charset}'
    assert body == from_bytes(data, kind)
    for table in (response(headers={'Content-Type': kind}, body=body), request(body=data)):
        assert data == table.bytes()
    assert text == response(headers={'Content-Type': kind}, body=body).text()
    assert text == response(headers={'Content-Type': kind}, body=data).text()


@pytest.mark.parametrize('table', [Request(), Response({'status': 204, 'body': None})])
def test_a_missing_body_reads_as_empty(table):
    """Bytes and text are empty; headers may be missing too."""
    assert (b'', '', {}) == (table.bytes(), table.text(), table.cookies())


def test_a_body_read_as_json_has_no_bytes():
    """The received bytes cannot be restored from a value that ``into='json'`` decoded."""
    with pytest.raises(TableError, match=r"^'body' is \[1\]; it must be a str or bytes; a stream "):
        response(body=[1]).bytes()


@pytest.mark.parametrize(
    'data', [b'["\xc3\xa9"]', '["é"]'.encode('utf-16'), b'\xef\xbb\xbf["\xc3\xa9"]']
)
def test_json_is_decoded_from_the_bytes(data):
    """The encoding of JSON is detected, whether the body was read as text or as bytes."""
    assert ['é'] == response(body=data).json() == request(body=from_bytes(data, None)).json()


@pytest.mark.parametrize('codec', ['utf-8', 'utf-16-le', 'utf-16-be', 'utf-32-le', 'utf-32-be'])
def test_json_of_ascii_characters_is_decoded_from_the_bytes_too(codec):
    """Those of UTF-16 and UTF-32 are ASCII characters and NULs when they are read as text."""
    data = '["e"]'.encode(codec)
    assert ['e'] == response(body=data).json() == request(body=from_bytes(data, None)).json()


@pytest.mark.parametrize('value', [[1], {'a': 1}, 'text', '1', '', 0, 1.5, True, False, None])
def test_json_returns_a_body_that_was_read_as_json(value):
    """After ``into='json'`` it is the body itself, also text; a copy of the table keeps that."""
    body = body_into('json', json.dumps(value).encode(), Headers())
    table = response(body=body)
    copies = [
        table,
        table.copy(),
        table | {'status': 201},
        to_response(table),
        pickle.loads(pickle.dumps(table)),
        Response.from_plain(json.loads(json.dumps(table.plain()))),
        request(body=body),
    ]
    assert [value] * 14 == [got for one in copies for got in (one.body, one.json())]


@pytest.mark.parametrize('into', ['text', 'bytes'])
def test_json_parses_a_body_that_was_not_read_as_json(into):
    """Text and bytes are JSON to be parsed, even if what they decode to is text."""
    assert 'a' == response(body=body_into(into, b'"a"', Headers())).json()
    assert 1 == response(body=body_into(into, b'1', Headers())).json()


@pytest.mark.parametrize('body', ['', '{', b'\xff', '[' * 100_000, None], ids=repr)
def test_a_request_that_is_not_json_is_an_error_of_the_client(body):
    """The error carries the 400 that a server responds with, and the reason."""
    table = request() if body is None else request(body=body)
    with pytest.raises(TableError, match=r"^'body' is .*; it must be valid JSON \(") as caught:
        table.json()
    refused = caught.value.__cause__
    assert (Refused, 400) == (type(refused), refused.status)
    assert isinstance(refused.__cause__, ValueError | RecursionError)


async def test_a_stream_is_not_json():
    """That is an error of the program, on both sides."""
    for table in (request(body=streamed()), response(body=streamed())):
        with pytest.raises(TableError, match=r"^'body' is .*; it must be a str") as caught:
            table.json()
        assert caught.value.__cause__ is None
        await table.body.aclose()


@pytest.mark.parametrize('body', ['', '{', b'\xff', '[' * 100_000], ids=len)
def test_a_body_that_is_not_json_is_a_table_error(body):
    """The error names the body; nesting that is too deep is the same error."""
    with pytest.raises(TableError, match=r"^'body' is .*; it must be valid JSON \("):
        response(body=body).json()


def test_a_request_returns_its_cookies():
    """Cookies of all Cookie headers by name; the first of a name counts (RFC 6265 5.4)."""
    headers = [('Cookie', 'a=1; b="2"'), ('Cookie', 'a=3;c=')]
    assert {'a': '1', 'b': '"2"', 'c': ''} == request(headers=headers).cookies()


def test_a_response_returns_the_cookies_it_sets():
    """The attributes of the cookies are left out."""
    headers = [('Set-Cookie', 'a=1; Path=/; HttpOnly'), ('Set-Cookie', 'b=2, 3')]
    assert {'a': '1', 'b': '2, 3'} == response(headers=headers).cookies()


@pytest.mark.parametrize(
    ('url', 'expected'),
    [({'url': 'http://h/a/b?c'}, 'http://h/a/d'), ({'url': None}, 'd'), ({}, 'd')],
)
def test_links_are_absolute(url, expected):
    """Links of all Link headers by ``rel``, resolved against the URL of the response."""
    table = response(
        headers=[('Link', '<d>; rel=next; title=x'), ('Link', '<//o/>; rel=up')], **url
    )
    links = table.links()
    assert {'url': expected, 'rel': 'next', 'title': 'x'} == links['next']
    assert ('http://o/' if url.get('url') else '//o/') == links['up']['url']


@pytest.mark.parametrize(
    ('body', 'expected'),
    [
        ('é', 'é'),
        (b'\xff', {'base64': '/w=='}),
        ('\udcff', {'base64': '/w==', 'text': True}),
        ({'base64': 'x'}, {'json': {'base64': 'x'}}),
        (None, {'json': None}),
    ],
)
def test_a_plain_table_marks_the_type_of_its_body(body, expected):
    """Bytes, text with surrogates and JSON values are marked, so that all can be restored."""
    table = response(headers=[('A', '1'), ('a', '2')], body=body)
    plain = {'status': 200, 'headers': [['A', '1'], ['a', '2']], 'body': expected}
    assert (plain, table) == (table.plain(), Response.from_plain(plain))


@pytest.mark.parametrize(
    'table',
    [
        request(tls=ssl.create_default_context()),
        response(body=math.nan),
        response(body={1, 2}),
    ],
)
def test_a_value_without_a_json_form_is_rejected(table):
    """The error names the key."""
    key = 'tls' if 'tls' in table else 'body'
    with pytest.raises(TableError, match=f"^'{key}' is .*; it must be a value that JSON can hold"):
        table.plain()


def test_a_plain_table_may_lack_headers():
    """A table without headers has none after ``plain`` and ``from_plain``."""
    assert Request(body='x') == Request.from_plain(Request(body='x').plain())


def test_a_plain_table_includes_the_history():
    """Responses in ``history`` become plain tables, and responses again."""
    table = response(history=[response(status=301, body=b'\xff', history=[])])
    again = Response.from_plain(json.loads(json.dumps(table.plain())))
    assert (table, Response) == (again, type(again.history[0]))


VALUES = st.text(st.characters(exclude_categories=['Cc', 'Cs'])) | st.binary().map(
    lambda data: bytes(b for b in data if b > 31 and b != 127).decode('utf-8', 'surrogateescape')
)
NAMES = st.text('abcABC-!9', min_size=1)
JSON = st.recursive(
    st.none()
    | st.booleans()
    | st.integers()
    | st.floats(allow_nan=False, allow_infinity=False)
    | st.text(st.characters(codec='utf-8')),
    lambda inner: st.lists(inner) | st.dictionaries(st.text(st.characters(codec='utf-8')), inner),
)
FIELDS = {
    'url': st.text(st.characters(codec='utf-8')),
    'ip': st.none() | st.just('::1'),
    'version': st.just('1.1'),
    'method': st.sampled_from(['GET', 'POST']),
}
REQUEST_FIELDS = {
    **FIELDS,
    'timeout': st.none() | st.floats(0.1, 9) | st.fixed_dictionaries({'read': st.none()}),
    'check': st.booleans() | st.lists(st.integers(200, 599)),
    'tls': st.booleans() | st.just({'verify': False}),
}
RESPONSE_FIELDS = {**FIELDS, 'status': st.integers(200, 599), 'reason': st.text('OK')}


@st.composite
def given_tables(draw):
    """Draw requests and responses, with any body that may come from the network."""
    kind, fields = draw(st.sampled_from([(Request, REQUEST_FIELDS), (Response, RESPONSE_FIELDS)]))
    headers = to_headers(draw(st.lists(st.tuples(NAMES, VALUES))))
    charset = draw(st.sampled_from([None, 'utf-8', 'cp1252', 'shift_jis', 'gb18030', 'x']))
    if charset:
        headers['Content-Type'] = f'text/html; charset={charset}'
    data = st.binary() | st.text(st.characters(codec='utf-8')).map(str.encode)
    read = data.map(lambda data: from_bytes(data, headers.get('Content-Type')))
    table = draw(st.fixed_dictionaries({}, optional=fields))
    if draw(st.integers(0, 4)):
        table['body'] = draw(st.sampled_from([data, read, JSON]).flatmap(lambda body: body))
    if kind is Response:
        table['history'] = draw(st.just([]) | st.just([response(body=b'\xff')]))
    return kind({**table, 'headers': headers})


@settings(deadline=None)
@given(given_tables())
def test_a_plain_table_survives_json(table):
    """``from_plain`` reverses ``plain``, also after JSON."""
    plain = table.plain()
    through = json.loads(json.dumps(plain, allow_nan=False))
    again = type(table).from_plain(through)
    assert (plain, table, type(table)) == (through, again, type(again))
    assert (type(table.get('body')), Headers) == (type(again.get('body')), type(again['headers']))


@settings(deadline=None)
@given(given_tables())
def test_a_table_can_be_pickled(table):
    """Unpickling returns an equal table of the same class."""
    again = pickle.loads(pickle.dumps(table))
    assert (table, type(table), Headers) == (again, type(again), type(again['headers']))


SENT = {
    'url': 'http://user:secret@h/a@b',
    'proxy': 'https://user:secret@proxy',
    'auth': ('user', 'secret'),
    'bearer': 'secret',
    'headers': {'authorization': 'Basic secret', 'Cookie': 'a=secret', 'Accept': '*/*'},
    'method': 'GET',
}


def test_a_request_is_described_without_its_secrets():
    """The query is left out, because it may be secret."""
    table = request(scheme='http', host='h', port=80, path='/a', query='secret')
    assert 'GET http://h:80/a' == models.describe_request(table)


def test_the_table_of_an_error_pickles_without_its_functions():
    """Functions may not be picklable, so the pickle leaves them out."""
    table = SentRequest({'method': 'GET', 'on_progress': lambda done, total: None})
    assert {'method': 'GET'} == pickle.loads(pickle.dumps(table))


def test_the_table_of_an_error_hides_what_is_secret():
    """``repr`` and pickle hide logins, tokens and cookies, and nothing else."""
    table = SentRequest(SENT)
    hidden = {
        **SENT,
        'url': 'http://***@h/a@b',
        'proxy': 'https://***@proxy',
        'auth': '***',
        'bearer': '***',
        'headers': {'authorization': '***', 'Cookie': '***', 'Accept': '*/*'},
    }
    again = pickle.loads(pickle.dumps(table))
    assert (hidden, SentRequest) == (again, type(again))
    assert (False, repr(again), True) == (
        'secret' in repr(table),
        repr(table),
        repr(table).startswith("Request({'url': 'http://***@h/a@b'"),
    )


@pytest.mark.parametrize(
    ('url', 'shown'),
    [
        ('http://u:se/cret@h/', '***'),
        ('http://u:se?cret@h/', '***'),
        ('http://u:se#cret@h/', '***'),
        ('u:se/cret@h', '***'),
        ('http://h:80/a@b', 'http://h:80/a@b'),
        ('http://h:/a@b', 'http://h:/a@b'),
        ('http://[::1]:80/a@b', 'http://[::1]:80/a@b'),
        ('http://u:p@h:80/a@b', 'http://***@h:80/a@b'),
        ('/a:b/c@d', '/a:b/c@d'),
    ],
)
def test_a_login_is_hidden_though_it_is_not_encoded(url, shown):
    """A slash in a password ends what looks like the host, whose port is then no number."""
    assert f"Request({{'url': {shown!r}}})" == repr(SentRequest({'url': url}))


@pytest.mark.parametrize('end', ['/', '?', '#'])
async def test_a_login_that_is_not_encoded_is_not_shown(end):
    """Neither in the message nor in what it comes from."""
    with pytest.raises(http.TableError, match='percent-encoded') as caught:
        await http.request(url=f'http://u:se{end}cret@h/')
    error = caught.value
    assert 'cret' not in repr(error.request) + str(error)
    assert not [one for one in (error.__cause__, error.__context__) if one and 'u:se' in str(one)]


def test_the_table_of_an_error_has_the_real_values():
    """Values that ``repr`` hides can be read, also from copies."""
    table = SentRequest(SENT)
    assert SENT == table == table.copy()
    assert (SENT['url'], SENT['bearer']) == (table.url, table['bearer'])


@pytest.mark.parametrize(
    ('fields', 'expected'),
    [
        ({'headers': 5}, {'headers': '***'}),
        ({'headers': {'a b': 'secret'}}, {'headers': '***'}),
        ({'headers': None}, {'headers': Headers()}),
        ({'url': 'user:secret@h'}, {'url': '***@h'}),
        ({'url': 5, 'proxy': None}, {'url': '5', 'proxy': 'None'}),
        ({}, {}),
    ],
)
def test_the_table_of_an_error_may_be_malformed(fields, expected):
    """For any values, ``repr`` shows no secret and raises nothing."""
    assert f'Request({expected!r})' == repr(SentRequest(fields))


PARTS = (
    b'--x\r\nContent-Disposition: form-data; name="a"\r\n\r\nb\r\n'
    b'--x\r\nContent-Disposition: form-data; name="f"; filename="g.txt"\r\n'
    b'Content-Type: text/plain\r\n\r\nhello\r\n--x--\r\n'
)
MULTIPART = {'Content-Type': 'multipart/form-data; boundary=x'}
URLENCODED = {'Content-Type': 'application/x-www-form-urlencoded'}


async def streamed(*chunks):
    """Yield chunks, or raise an exception that is among them."""
    for chunk in chunks:
        if isinstance(chunk, Exception):
            raise chunk
        yield chunk


@pytest.mark.parametrize('make', [lambda data: data, bytes.decode, streamed])
async def test_a_form_is_read_from_any_body(make):
    """Bytes, text and streams are read, urlencoded or multipart."""
    form = await Request(headers=URLENCODED, body=make(b'a=b&a=c')).form()
    assert [('a', 'b'), ('a', 'c')] == list(form.items())
    form = await Request(headers=MULTIPART, body=make(PARTS)).form()
    file = {'filename': 'g.txt', 'content_type': 'text/plain', 'body': b'hello'}
    assert [('a', 'b'), ('f', file)] == list(form.items())


async def test_a_missing_body_is_an_empty_form():
    """A browser sends no body for a form without fields."""
    assert {} == dict(await Request(headers=URLENCODED).form())


TOO_LARGE = BodyTooLarge('of the stream')
TOO_LARGE.__cause__ = Refused(413)


@pytest.mark.parametrize(
    ('body', 'headers', 'limits', 'kind', 'status'),
    [
        (b'a=b&c=d', URLENCODED, {'max_fields': 1}, BodyTooLarge, 413),
        (PARTS, MULTIPART, {'max_files': 0}, BodyTooLarge, 413),
        (PARTS[:-9], MULTIPART, {}, ProtocolError, 400),
        (b'{}', {'Content-Type': 'application/json'}, {}, ProtocolError, 400),
        ((b'a=b', b'c'), URLENCODED, {'max_size': 3}, BodyTooLarge, 413),
        ((b'a=b', TOO_LARGE), URLENCODED, {}, BodyTooLarge, 413),
    ],
)
async def test_an_invalid_form_is_an_error_of_the_client(body, headers, limits, kind, status):
    """The error carries the status that a server responds with."""
    request = Request(headers=headers, body=streamed(*body) if isinstance(body, tuple) else body)
    with pytest.raises(kind) as raised:
        await request.form(**limits)
    assert status == raised.value.__cause__.status


async def test_max_size_applies_to_streams_only():
    """A body in memory is limited by ``max_body``."""
    assert {'a': 'b'} == dict(await Request(headers=URLENCODED, body='a=b').form(max_size=1))


def test_values_that_cannot_be_pickled_are_left_out():
    """The pickle of a sent request has no open files, iterators and functions."""
    table = SentRequest({'url': '/', 'body': (_ for _ in ()), 'timeout': None, 'check': [200]})
    assert {'url': '/', 'timeout': None, 'check': [200]} == pickle.loads(pickle.dumps(table))
