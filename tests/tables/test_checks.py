"""Checks of table values: which values a key takes, their normal form, and error messages."""

import asyncio
import doctest
import enum
import http
import io
import math
import string
from collections.abc import AsyncIterator
from contextlib import suppress
from pathlib import PurePosixPath

import pytest
import yarl
from hypothesis import given, settings
from hypothesis import strategies as st

from aioluahttp.errors import TableError
from aioluahttp.tables import checks
from aioluahttp.tables.checks import (
    PORTS,
    REQUEST_CHECKS,
    REQUEST_OBJECT_CHECKS,
    RESPONSE_CHECKS,
    RESPONSE_OBJECT_CHECKS,
    SWITCHING_CHECKS,
    check_handler,
    check_userinfo,
    is_streamed,
)

LONG = 'x' * 64


def closed_file():
    """Return a file that is closed."""
    file = io.BytesIO(b'a')
    file.close()
    return file


def exhausted_generator():
    """Return a generator that is exhausted."""
    generator = (part for part in ())
    list(generator)
    return generator


DEEP: list = []
for _ in range(500_000):  # from Python 3.14 on only the stack limits it: 8 MiB hold less
    DEEP = [DEEP]


class Into(str, enum.Enum):  # noqa: UP042  # a StrEnum would test less: its str() is the value
    """A ``str`` enumeration of a user."""

    BYTES = 'bytes'


def test_the_examples_hold():
    """The module's doctests pass."""
    assert 0 == doctest.testmod(checks).failed


@pytest.mark.parametrize(
    ('key', 'value', 'expected'),
    [
        ('method', 'get', 'GET'),
        ('method', 'M-SEARCH', 'M-SEARCH'),
        ('url', 'HTTP://h/%41?', 'HTTP://h/%41?'),
        ('url', '//x', '//x'),
        ('url', yarl.URL('http://h/a b'), 'http://h/a%20b'),
        ('scheme', 'HTTPS', 'https'),
        ('host', 'LocalHost', 'localhost'),
        ('host', 'a_b.example.', 'a_b.example.'),
        ('host', LONG[:63], LONG[:63]),
        *(('host', host, host) for host in ('127.0.0.1', '0.0.0.0', '255.249.199.99')),
        *(('host', host, host) for host in ('1.2.3.4a', 'a.0xg', '1.a', '0x7f.1.a.', 'a1', '1-2')),
        ('host', '１２７.0.0.1', '127.0.0.1'),
        ('host', '::1', '::1'),
        ('host', '[0::1]', '::1'),
        ('host', 'fe80::1%eth0', 'fe80::1%eth0'),
        ('host', 'straße.de', 'xn--strae-oqa.de'),
        ('host', '日本.jp', 'xn--wgv71a.jp'),
        ('port', 1, 1),
        ('port', '65535', 65535),
        ('path', "/%27%2C%41/../x;y=1,'~", "/%27%2C%41/../x;y=1,'~"),
        ('path', '//a//', '//a//'),
        ('path', '/a b"<\\>^`{|}', '/a%20b%22%3C%5C%3E%5E%60%7B%7C%7D'),
        ('path', '/é\x80\udcff', '/%C3%A9%C2%80%FF'),
        ('query', '', ''),
        ('query', 'a=b&c=%2c?/+é d', 'a=b&c=%2c?/+%C3%A9%20d'),
        ('query', {'a': 'b c', 'd': [1, 2], 'e': None}, 'a=b%20c&d=1&d=2'),
        ('query', [('a', 'b'), ('a', 'c')], 'a=b&a=c'),
        ('query', {'a': True, 'b': None, 'c': [False, '']}, 'a=true&c=false&c='),
        ('body', 'é', 'é'),
        ('body', b'\xff', b'\xff'),
        ('body', bytearray(b'x'), b'x'),
        ('body', memoryview(b'xyz')[::2], b'xz'),
        ('body', PurePosixPath('/a'), PurePosixPath('/a')),
        ('body', (b'a', 'b'), (b'a', 'b')),
        ('on_progress', print, print),
        ('on_progress', {'upload': print, 'download': None}, {'upload': print}),
        ('json', None, 'null'),
        ('json', {'a': [1, 'é']}, '{"a":[1,"\\u00e9"]}'),
        ('form', {'a': 'b c&', 'd': b'\xff'}, 'a=b%20c%26&d=%FF'),
        ('form', (), ''),
        ('form', {'a': True, 'b': None, 'c': [False, '']}, 'a=true&c=false&c='),
        ('timeout', None, None),
        ('timeout', 0.5, 0.5),
        ('timeout', {'total': None, 'read': 5}, {'total': None, 'read': 5}),
        ('timeout', {'write': 5}, {'write': 5}),
        ('max_header', 1, 1),
        ('redirects', 0, 0),
        ('into', 'json', 'json'),
        ('into', 'stream', 'stream'),
        ('into', 'events', 'events'),
        ('into', PurePosixPath('/a'), PurePosixPath('/a')),
        ('resume', True, True),
        ('into', Into.BYTES, 'bytes'),
        ('max_body', None, None),
        ('max_body', 0, 0),
        ('check', True, True),
        ('check', {http.HTTPStatus.NOT_FOUND, 200}, [200, 404]),
        ('check', range(200, 203), [200, 201, 202]),
        ('auth', 'user:pass:word', 'Basic dXNlcjpwYXNzOndvcmQ='),
        ('auth', ('é', ''), 'Basic w6k6'),
        ('auth', ['\udcff', 'p'], 'Basic /zpw'),
        ('bearer', 'a.b-c=', 'Bearer a.b-c='),
        ('tls', False, False),
        ('tls', {'ca': PurePosixPath('/a')}, {'ca': '/a'}),
        ('proxy', 'http://u:p@proxy:3128', 'http://u:p@proxy:3128'),
        ('proxy', yarl.URL('HTTPS://[::1]/'), 'https://[::1]/'),
        ('proxy', 'http://é.de', 'http://é.de'),
        ('unix', '/run/x.sock', '/run/x.sock'),
        ('unix', PurePosixPath('/run/\udcff'), '/run/\udcff'),
        ('ip', '::1', '::1'),
        ('version', '1.1', '1.1'),
    ],
)
def test_a_valid_request_value_has_one_normal_form(key, value, expected):
    """Every spelling of a value gives one normal form, which the check returns unchanged."""
    checked = REQUEST_CHECKS[key](value)
    assert (expected, type(expected)) == (checked, type(checked))
    if key not in ('json', 'auth', 'bearer', 'form'):  # their normal form is another kind of value
        assert expected == REQUEST_CHECKS[key](checked)


BAD = [
    ('method', 'GE T', "is 'GE T'; it must be a token"),
    ('method', '', "is ''; it must be a token"),
    ('method', 'GET\r\n', r"is 'GET\r\n'; it must be a token"),
    ('method', b'GET', "is b'GET'; it must be a token"),
    ('method', 'connect', "is 'connect'; it must be a method with a path; for a tunnel use proxy"),
    ('url', 5, 'is 5; it must be a str or a yarl.URL'),
    ('url', '', "is ''; it must be 'scheme://host/path' or '/path'"),
    ('url', 'localhost:80/x', "is 'localhost:80/x'; it must be 'scheme://host/path' or '/path'"),
    ('url', 'example.com', "or '/path'; write http:// before a host"),
    ('url', 'user:secret@h', "is ***; it must be 'scheme://host/path'"),
    ('url', 'http:user:secret@h//', "is ***; it must be 'scheme://host/path'"),
    ('url', '?a=//secret@', "is '?a=//***@'; it must be"),
    ('scheme', 'ftp', "is 'ftp'; it must be 'http' or 'https'"),
    ('scheme', 5, "is 5; it must be 'http' or 'https'"),
    ('host', 5, 'is 5; it must be a str'),
    *(
        ('host', host, f'is {host!r}; it must be an IP address or a name')
        for host in [
            *('', '.', '..', 'a..b', '.a', 'a b', 'a\n', 'a\0', 'a,b', '*', '\ud800', 'ex%61m'),
            *('[', '[a]', '[::1', '::1]', '[::1]:80', '1::2::3', 'fe80::1%', '::1% x', '::1%é'),
            *(
                '::1%a\r\nX',
                'a:80',
                'user@a',
                'a/b',
                'a?b',
                'a#b',
                'a\\b',
                'http://a',
                'http://a/b',
            ),
            *(LONG, f'a.{LONG}.b', 'é' * 60),
            # Read as IPv4 addresses: some resolvers take 127.1 and 0x7f.1 for 127.0.0.1.
            *('127.1', '2130706433', '1.2.3', '0', '0x7f.1', '0x7f000001', '0X', 'a.0x', 'a.1'),
            *('256.1.1.1', '1.1.1.256', '1.2.3.4.5', '127.0.0.1.', '127.0.0.01', '09.1', 'a.9.'),
            *('１２７.1', '1.2.3.0x4', '1000.1.1.1'),
        ]
    ),
    ('host', 'x.' * 127, 'it must be an IP address or a name (labels of 1 to 63 characters)'),
    *(
        ('port', port, f'is {port!r}; it must be a number from 1 to 65535')
        for port in (0, 65536, -1, True, 80.0, '', '0', '+80', ' 80', '٣', '123456', 'http', b'80')
    ),
    pytest.param('port', 10**5000, 'it must be a number from 1 to 65535', id='port-huge'),
    ('path', 5, "is 5; it must be a str that begins with '/'"),
    ('path', '', "is ''; it must be a str that begins with '/'"),
    ('path', 'a', "is 'a'; it must be a str that begins with '/'"),
    ('path', '/?', "has no '?' or '#'"),
    ('path', '/#', "has no '?' or '#'"),
    *(
        ('path', f'/{char}', f'is {f"/{char}"!r}; it must be free of control characters')
        for char in '\0\t\n\r\x1f\x7f'
    ),
    ('path', '/\ud800', "is '/\\ud800'; it must be text that UTF-8 can encode"),
    ('query', 'a#b', "is 'a#b'; it must be a str without '#' (written %23), or a table"),
    ('query', 'a=\r\nb', 'it must be free of control characters'),
    ('query', '\ud800', 'it must be text that UTF-8 can encode'),
    ('query', b'a=b', "is b'a=b'; it must be a mapping or pairs"),
    ('query', 5, 'is 5; it must be a mapping or pairs'),
    ('query', {'a': {}}, "'query[a]' is {}; it must be text, bytes or a number, or a bool"),
    ('query', True, 'is True; it must be a mapping or pairs'),
    ('query', [1], 'is [1]; it must be a str, a mapping or pairs'),
    ('headers', {'a b': 'c'}, "is 'a b'; it must be a token"),
    ('headers', 5, 'it must be a mapping or a list of pairs'),
    ('headers', {'Cookie': 'secret\n'}, '[Cookie]'),
    ('body', 5, 'is 5; it must be a str, bytes, a path, a binary file or an iterable of bytes'),
    ('body', {'a': 1}, "is {'a': 1}; it must be a str, bytes"),
    ('body', [b'a'], "is [b'a']; it must be a str, bytes"),
    ('body', {b'a'}, "is {b'a'}; it must be a str, bytes"),
    ('body', io.StringIO('a'), "it must be a file opened in binary mode ('rb'), not as text"),
    ('body', closed_file(), 'it must be a file that is open'),
    ('body', exhausted_generator(), 'it must be a generator that is not exhausted'),
    ('json', {1, 2}, 'is {1, 2}; it must be a value that JSON can hold (Object of type set is not'),
    ('json', math.nan, 'is nan; it must be a value that JSON can hold ('),
    ('json', [math.inf], 'is [inf]; it must be a value that JSON can hold ('),
    pytest.param('json', DEEP, 'it must be a value that JSON can hold (', id='json-deep'),
    ('form', 'a=b', "is 'a=b'; it must be a mapping or pairs (give an encoded form as 'body')"),
    ('form', b'a=b', "is b'a=b'; it must be a mapping or pairs"),
    (
        'form',
        {'a': 5j, 'password': 'secret'},
        "'form[a]' is 5j; it must be text, bytes or",
    ),
    ('form', [('a', 1), ('b', [2, '\ud800'])], "'form[b]' is '\\ud800'; it must be text that"),
    ('form', {None: 1}, "'form' is None; it must be text, bytes or a number"),
    ('form', [1], "'form' is [1]; it must be a str, a mapping or pairs"),
    ('multipart', 5, 'is 5; it must be a list of tables with name and body'),
    *(
        ('timeout', value, f'is {value!r}; it must be a number of seconds above 0, or None')
        for value in (0, -1, True, '5', math.nan, math.inf, b'')
    ),
    pytest.param('timeout', 10**400, 'it must be a number of seconds', id='timeout-huge'),
    ('timeout', {'read': 0}, '.read'),
    ('max_header', 0, 'is 0; it must be an int of 1 or more'),
    ('max_header', 1.5, 'is 1.5; it must be an int of 0 or more'),
    ('timeout', {'raed': 1}, "unknown key 'raed': did you mean 'read'?"),
    ('timeout', {5: 1}, 'unknown key 5: known are connect, read, total, write'),
    *(
        (key, value, f'is {value!r}; it must be an int of 0 or more')
        for key in ('redirects', 'max_body')
        for value in (-1, True, 1.0, '1')
    ),
    ('into', 'txt', "is 'txt'; it must be one of 'text', 'bytes', 'json'"),
    ('into', bytes, "is <class 'bytes'>; it must be one of"),
    ('into', '/tmp/x', "is '/tmp/x'; it must be one of"),
    ('into', '/tmp/x', "'events', or a path such as pathlib.Path(...)"),
    ('into', PurePosixPath('a\0'), "'a\\x00'); it must be a path without NUL"),
    ('resume', 1, 'is 1; it must be a bool'),
    ('on_progress', True, 'is True; it must be a function of (done, total)'),
    ('on_progress', asyncio.sleep, '; it must be a function that is not async'),
    ('on_progress', {'upload': 1}, "'on_progress[upload]' is 1; it must be a function of (done,"),
    ('on_progress', {'up': print}, "unknown key 'up'"),
    ('check', 'yes', "is 'yes'; it must be a bool, or a collection of the statuses to accept"),
    ('check', b'ab', "is b'ab'; it must be a bool, or a collection"),
    ('check', 200, 'is 200; it must be a bool, or a collection'),
    ('check', {'404'}, "is {'404'}; it must be a bool, or a collection"),
    *(
        ('auth', auth, "is ***; it must be (user, password) or 'user:password', the user without a")
        for auth in [
            *('secret', b'u:secret', ('secret',), ('u:secret', 'p'), ('u', b'secret')),
            *('u:secret\n', ('u\0', 'secret'), ('u', 'secret\ud800'), ('u', 'secret', 'x')),
        ]
    ),
    *(
        ('bearer', token, 'is ***; it must be a token without blanks')
        for token in ('', 'se cret', 'secret\n', b'secret', 'secreté')
    ),
    ('tls', 'x', "is 'x'; it must be an ssl.SSLContext, a table, or False"),
    ('proxy', 'proxy:3128', "is 'proxy:3128'; it must be a URL such as 'http://proxy:3128'"),
    ('proxy', 'u:secret@proxy:3128', "is ***; it must be a URL such as 'http://proxy:3128'"),
    ('proxy', 'socks5://u:secret@h', "is 'socks5://***@h'; it must be a URL such as"),
    ('proxy', 'http://u:secret@h:0', "is 'http://***@h:0'; it must be a URL such as"),
    ('proxy', 'http://u%0A:secret@h', "is 'http://***@h'; it must be a URL such as"),
    ('proxy', 'http://u%3A:secret@h', "is 'http://***@h'; it must be a URL such as"),
    ('proxy', 'http://u:%00secret@h/@', 'is ***; it must be a URL such as'),
    ('proxy', 'http://u:se/secret@h', 'is ***; it must be a URL such as'),
    ('proxy', 'http://127.1:3128', "is 'http://127.1:3128'; it must be a URL such as"),
    ('proxy', 'http://a b', "is 'http://a b'; it must be a URL such as"),
    ('proxy', 'http://h/\n', 'it must be a URL such as'),
    ('proxy', 'http://h/\ud800', 'it must be a URL such as'),
    ('proxy', 5, 'is 5; it must be a URL such as'),
    ('unix', '', "is ''; it must be the path of a socket"),
    ('unix', 'a\0b', "is 'a\\x00b'; it must be the path of a socket"),
    ('unix', '\ud800', "is '\\ud800'; it must be the path of a socket"),
    ('unix', 5, 'is 5; it must be the path of a socket'),
]


@pytest.mark.parametrize(('key', 'value', 'message'), BAD)
def test_an_invalid_request_value_is_rejected(key, value, message):
    """The error names the key and the value, says what would be right, and shows no secret."""
    with pytest.raises(TableError) as caught:
        REQUEST_CHECKS[key](value)
    text = str(caught.value)
    assert (True, True, False) == (
        message in text,
        text.startswith((f"'{key}", 'unknown key')),
        'secret' in text,
    )


def test_every_request_key_has_an_invalid_value_in_the_tests():
    """Only ``ip`` and ``version`` accept any value."""
    assert set(REQUEST_CHECKS) - {getattr(row, 'values', row)[0] for row in BAD} == {
        'ip',
        'version',
    }


@pytest.mark.parametrize(
    ('key', 'value', 'expected'),
    [
        ('status', 200, 200),
        ('status', http.HTTPStatus.IM_A_TEAPOT, 418),
        ('status', 599, 599),
        ('reason', 'Not Found', 'Not Found'),
        ('json', [], '[]'),
        *((key, 'x', 'x') for key in ('version', 'url', 'method', 'ip')),
        ('history', [], []),
        ('websocket', print, {'callback': print}),
        *(
            ('websocket', {'callback': print, **options}, {'callback': print, **expected})
            for options, expected in (
                ({'protocols': ('a', 'b.v2')}, {'protocols': ['a', 'b.v2']}),
                ({'origins': '*'}, {'origins': '*'}),
                ({'origins': ['HTTPS://h:1', 'null']}, {'origins': ['https://h:1', 'null']}),
                (
                    {'heartbeat': None, 'max_message': None},
                    {'heartbeat': None, 'max_message': None},
                ),
                ({'heartbeat': 5, 'max_message': 1}, {'heartbeat': 5, 'max_message': 1}),
                ({'compress': False, 'origins': None}, {'compress': False}),
            )
        ),
    ],
)
def test_a_valid_response_value_has_one_normal_form(key, value, expected):
    """The check of each response key returns the normal form of a value."""
    checked = RESPONSE_CHECKS[key](value)
    assert (expected, type(expected)) == (checked, type(checked))


@pytest.mark.parametrize(
    ('key', 'value', 'message'),
    [
        *(
            ('status', status, f"'status' is {status!r}; it must be an int from 200 to 599")
            for status in (199, 600, -1, '200', 200.0, True, None)
        ),
        (
            'body',
            [b'a'],
            "'body' is [b'a']; it must be a str or bytes (for other values use json)",
        ),
        ('reason', 'a\r\nX: y', "'reason' is 'a\\r\\nX: y'; it must be a str without control"),
        ('reason', b'OK', "'reason' is b'OK'; it must be a str without control"),
        ('websocket', 5, "'websocket' is 5; it must be an async function that takes a Socket"),
        ('websocket', {}, "'callback' is missing in 'websocket'"),
        *(
            ('websocket', {'callback': print, **option}, message)
            for option, message in (
                ({'orgins': '*'}, "unknown key 'orgins': did you mean 'origins'"),
                ({'protocols': 'a'}, "'protocols' is 'a'; it must be a non-empty list of str"),
                ({'protocols': []}, "'protocols' is []; it must be a non-empty list of str"),
                ({'protocols': 5}, "'protocols' is 5; it must be a non-empty list of str"),
                ({'protocols': [5]}, "'protocols' is [5]; it must be a non-empty list of str"),
                ({'protocols': ['a', 'a']}, 'it must be tokens such as'),
                ({'protocols': ['a b']}, 'it must be tokens such as'),
                ({'origins': ['example.com']}, "'origins' is ['example.com']; it must be '*', or"),
                ({'origins': ['http://h/']}, "'origins' is ['http://h/']; it must be '*', or"),
                ({'heartbeat': 0}, "'heartbeat' is 0; it must be a number of seconds above 0"),
                ({'max_message': 0}, "'max_message' is 0; it must be an int of 1 or more"),
                ({'compress': 1}, "'compress' is 1; it must be a bool"),
            )
        ),
    ],
)
def test_an_invalid_response_value_is_rejected(key, value, message):
    """The error names the key and the value and says what would be right."""
    with pytest.raises(TableError) as caught:
        RESPONSE_CHECKS[key](value)
    assert message in str(caught.value)


@pytest.mark.parametrize('status', [200, 600, 999])
def test_a_received_response_may_have_any_final_status(status):
    """A response from the network may have a status from 200 to 999 (RFC 9110 15)."""
    assert status == RESPONSE_OBJECT_CHECKS['status'](status)


@pytest.mark.parametrize('status', [199, 1000, True, '200'])
def test_a_received_status_must_have_three_digits(status):
    """A status outside 200 to 999, or of another type, is rejected even in a ``Response``."""
    with pytest.raises(TableError, match=f"^'status' is {status!r}; it must be an int from 200"):
        RESPONSE_OBJECT_CHECKS['status'](status)


@pytest.mark.parametrize('status', [100, 102, 200, True, '101', 101.5])
def test_the_status_of_a_websocket_is_101(status):
    """With ``websocket`` any other status is rejected (RFC 6455 4.2.2)."""
    assert 101 == SWITCHING_CHECKS['status'](101)
    with pytest.raises(TableError, match="it must be 101 or absent when 'websocket' is given"):
        SWITCHING_CHECKS['status'](status)


LEGAL = string.ascii_letters + string.digits + "-._~:/?[]@!$&'()*+,;=%"


@settings(deadline=None)
@given(st.text(LEGAL))
def test_characters_that_a_url_allows_are_unchanged(text):
    """No legal character is decoded, encoded or normalised, since the URL may be signed."""
    assert ('/' + text.replace('?', ''), text) == (
        REQUEST_CHECKS['path']('/' + text.replace('?', '')),
        REQUEST_CHECKS['query'](text),
    )


@settings(deadline=None)
@given(st.text(st.characters(codec='utf-8', exclude_categories=['Cc'])))
def test_only_characters_that_a_url_forbids_are_quoted(text):
    """Illegal characters become percent-encoded UTF-8; a second check changes nothing."""
    text = text.replace('#', '')
    checked = REQUEST_CHECKS['query'](text)
    expected = ''.join(
        c if c in LEGAL else ''.join(f'%{byte:02X}' for byte in c.encode()) for c in text
    )
    assert (expected, expected) == (checked, REQUEST_CHECKS['query'](checked))


@settings(deadline=None)
@given(st.text())
def test_a_host_is_rejected_or_has_one_normal_form(text):
    """An accepted host is safe to write in a header, and checking it again changes nothing."""
    try:
        host = REQUEST_CHECKS['host'](text)
    except TableError:
        return
    assert (host, True) == (
        REQUEST_CHECKS['host'](host),
        set(host) <= set(string.ascii_lowercase + string.digits + '-._:'),
    )


ANYTHING = st.recursive(
    st.none() | st.booleans() | st.integers() | st.floats() | st.text() | st.binary(),
    lambda inner: st.lists(inner) | st.dictionaries(st.text() | st.integers(), inner),
)


@settings(deadline=None)
@given(st.sampled_from([*REQUEST_CHECKS.items(), *RESPONSE_CHECKS.items()]), ANYTHING)
def test_a_check_raises_only_table_errors(check, value):
    """For any value a check returns normally or raises ``TableError``."""
    with suppress(TableError):
        check[1](value)


def test_each_scheme_has_its_default_port():
    """The default ports are those of RFC 9110 4.2."""
    assert {'http': 80, 'https': 443} == PORTS


def test_a_streamed_body_is_passed_on_unread():
    """A body iterator is returned unchanged; events are encoded when they are read."""
    chunks = iter(['x'])
    assert chunks is RESPONSE_CHECKS['body'](chunks)
    assert isinstance(RESPONSE_CHECKS['events'](iter([{'data': 'x'}])), AsyncIterator)
    with pytest.raises(TableError, match="'events' is 5; it must be an iterator of tables"):
        RESPONSE_CHECKS['events'](5)


def test_an_iterator_is_a_streamed_body_and_a_list_is_not():
    """A list is meant as JSON, so it is no stream of chunks."""
    assert [True, False, False, False] == [
        is_streamed(one) for one in (iter('x'), 'x', b'x', ['x'])
    ]


def test_a_handler_must_be_callable():
    """Any callable is accepted as a handler, and nothing else."""
    assert print is check_handler('via', print)
    with pytest.raises(TableError, match="'via' is 5; it must be a function that takes a request"):
        check_handler('via', 5)


def test_an_asterisk_is_a_valid_path():
    """``*`` is the target of an OPTIONS request for the whole server (RFC 9110 9.3.7)."""
    assert '*' == REQUEST_CHECKS['path']('*')


def test_the_userinfo_of_a_url_becomes_basic_authentication():
    """It is percent-decoded to bytes, which need not be UTF-8."""
    assert 'Basic bWU6czpjcv90' == check_userinfo('me:s%3Acr%FFt')


def test_a_request_object_may_have_any_body():
    """A server may have converted the body; only a buffer is converted to bytes."""
    for body in ('x', b'x', {'a': 1}, iter('x')):
        assert body is REQUEST_OBJECT_CHECKS['body'](body)
    assert b'x' == REQUEST_OBJECT_CHECKS['body'](memoryview(b'x'))
