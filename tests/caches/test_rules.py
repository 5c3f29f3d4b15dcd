"""The rules of RFC 9111 as tables: what is stored, served, validated, updated and invalidated."""

import pytest

import aioluahttp as http
from aioluahttp.caches.rules import (
    Asked,
    Verdict,
    age_of,
    ask,
    freshened,
    invalidated_targets,
    is_same,
    judge,
    may_replace_error,
    policy_of,
    to_validation,
    without_claims,
)
from aioluahttp.headers import Headers

NOW = 784111777.0
DATE, HOUR_AGO = 'Sun, 06 Nov 1994 08:49:37 GMT', 'Sun, 06 Nov 1994 07:49:37 GMT'
LATER, LONG_AGO = 'Sun, 06 Nov 1994 09:49:37 GMT', 'Sun, 06 Nov 1984 08:49:37 GMT'


def asked(headers=(), method='GET', **keys):
    return http.to_request({'url': 'http://h/a', 'method': method, 'headers': headers, **keys})


def given(headers=(), status=200, **keys):
    return http.to_response({'status': status, 'headers': headers, **keys})


def policy(headers=(), status=200, request=(), *, shared=True, began=NOW):
    return policy_of(asked(request), given(headers, status), shared, (began, NOW))


def control(text, **others):
    return {'Cache-Control': text, **{name.replace('_', '-'): one for name, one in others.items()}}


@pytest.mark.parametrize(
    ('headers', 'lifetime'),
    [
        (control('max-age=60'), 60),
        (control('s-maxage=30, max-age=60'), 30),
        (control('max-age=60', Expires=LONG_AGO), 60),
        (control('max-age=60', CDN_Cache_Control='max-age=5'), 5),
        (control('no-store', CDN_Cache_Control='max-age=5'), 5),
        (control('max-age=60', CDN_Cache_Control='max-age="5"'), 60),
        ({'Expires': LATER}, 3600),
        ({'Expires': LATER, 'Date': HOUR_AGO}, 7200),
        ({'Expires': LATER, 'Date': 'never'}, 3600),
        ({'Last-Modified': HOUR_AGO}, 360),
        ({'Last-Modified': LONG_AGO}, 24 * 3600),
        ({'Last-Modified': LATER}, 0),
        ({'Expires': '0', 'ETag': '"a"'}, 0),
        ({'Expires': [LATER, LATER], 'ETag': '"a"'}, 0),
        ({'Expires': LATER, 'CDN-Cache-Control': 'public', 'ETag': '"a"'}, 0),
        ({'ETag': '"a"'}, 0),
        (control('max-age=0, stale-while-revalidate=5'), 0),
        (control('max-age=0, stale-if-error=5'), 0),
        (control('max-age=x, stale-if-error=5'), 0),
    ],
)
def test_a_response_is_fresh_for_so_long(headers, lifetime):
    """In the order of RFC 9111 4.2.1, by CDN-Cache-Control first (RFC 9213)."""
    assert lifetime == policy(headers).lifetime


@pytest.mark.parametrize(
    ('headers', 'status', 'request_headers'),
    [
        ({}, 200, {}),
        (control('max-age=0'), 200, {}),
        (control('max-age=x'), 200, {}),
        (control('no-store, max-age=60'), 200, {}),
        (control('max-age=60', CDN_Cache_Control='no-store'), 200, {}),
        (control('private, max-age=60'), 200, {}),
        (control('private=set-cookie, private, max-age=60'), 200, {}),
        (control('no-cache, max-age=60'), 200, {}),
        (control('max-age=60', Vary='*'), 200, {}),
        (control('max-age=60'), 416, {}),
        (control('max-age=60', Vary='a, *'), 200, {}),
        (control('max-age=60', Age='61'), 200, {}),
        (control('max-age=60', Date=HOUR_AGO), 200, {}),
        (control('max-age=60'), 206, {}),
        (control('max-age=60'), 304, {}),
        (control('max-age=60, must-understand'), 599, {}),
        ({'Last-Modified': HOUR_AGO}, 201, {}),
        ({'ETag': '"a"'}, 599, {}),
        (control('max-age=60', Set_Cookie='a=b'), 200, {}),
        (control('max-age=60, must-revalidate', Set_Cookie='a=b'), 200, {}),
        (control('max-age=60'), 200, {'Authorization': 'x'}),
        (control('max-age=60'), 200, {'Cookie': 'a=b'}),
        (control('max-age=60, must-revalidate'), 200, {'Cookie': 'a=b'}),
    ],
)
def test_a_shared_cache_does_not_store(headers, status, request_headers):
    """What is forbidden, what could never be served, and what may be one client's own."""
    assert policy(headers, status, request_headers) is None


@pytest.mark.parametrize(
    ('headers', 'status', 'request_headers'),
    [
        (control('max-age=60'), 599, {}),
        (control('max-age=60, no-store, must-understand'), 200, {}),
        (control('no-cache', ETag='"a"'), 200, {}),
        (control('public', Last_Modified=HOUR_AGO), 599, {}),
        (control('max-age=60, public', Set_Cookie='a=b'), 200, {}),
        (control('s-maxage=60', Set_Cookie='a=b'), 200, {}),
        (control('max-age=60, no-cache=set-cookie', Set_Cookie='a=b'), 200, {}),
        (control('max-age=60, private=set-cookie', Set_Cookie='a=b'), 200, {}),
        (control('max-age=60, public'), 200, {'Authorization': 'x'}),
        (control('s-maxage=60'), 200, {'Authorization': 'x'}),
        (control('max-age=60, must-revalidate'), 200, {'Authorization': 'x'}),
        (control('max-age=60, public'), 200, {'Cookie': 'a=b'}),
    ],
)
def test_a_shared_cache_stores_what_says_so(headers, status, request_headers):
    """What is one client's own is stored only if the response is explicit."""
    assert policy(headers, status, request_headers) is not None


def test_a_private_cache_stores_more():
    """Its user is the only one."""
    for headers in (control('private, max-age=60'), control('max-age=60', Set_Cookie='a=b')):
        found = policy(headers, request={'Authorization': 'x', 'Cookie': 'y'}, shared=False)
        assert 60 == found.lifetime
    both = control('s-maxage=5, max-age=60, proxy-revalidate', CDN_Cache_Control='max-age=9')
    found = policy(both, shared=False)
    assert (60, False) == (found.lifetime, found.never_stale)


@pytest.mark.parametrize('shared', [True, False])
def test_fields_that_are_private_are_stored_in_a_private_cache(shared):
    """A shared one must not store them (RFC 9111 5.2.2.7)."""
    found = policy(control('max-age=60, private="X-Token"', X_Token='x'), shared=shared)
    assert shared == ('X-Token' not in Headers(found.headers))


def test_the_response_to_another_target_is_not_stored():
    """A redirect that was followed, and a WebSocket."""
    stored = given(control('max-age=60'))
    assert policy_of(asked(), stored, True, (NOW, NOW)) is not None
    followed = stored | {'history': [given(status=302)]}
    assert policy_of(asked(), followed, True, (NOW, NOW)) is None
    opened = http.to_response({'websocket': print, 'headers': control('max-age=60')})
    assert policy_of(asked(), opened, True, (NOW, NOW)) is None


@pytest.mark.parametrize(
    ('headers', 'kept'),
    [
        ({'A': 'b', 'Date': DATE}, {'A': 'b', 'Date': DATE}),
        ({'A': 'b'}, {'A': 'b', 'Date': DATE}),
        ({'Date': 'never'}, {'Date': DATE}),
        ({'Age': '5', 'Connection': 'a, close', 'A': 'b', 'Keep-Alive': 'x'}, {'Date': DATE}),
        ({'Transfer-Encoding': 'chunked', 'Content-Length': '5'}, {'Date': DATE}),
    ],
)
def test_headers_of_one_hop_are_not_stored(headers, kept):
    """Those in Connection included; and there is always a Date (RFC 9111 3.1, RFC 9110 6.6.1)."""
    found = policy(control('max-age=60') | headers)
    assert control('max-age=60') | kept == Headers(found.headers)


def test_fields_in_no_cache_are_not_stored():
    """They would have to be validated each time (RFC 9111 5.2.2.4)."""
    found = policy(control('max-age=60, no-cache="a, B"', A='1', b='2', c='3'))
    assert {'c', 'Date', 'Cache-Control'} == set(dict(found.headers))
    assert not found.must_validate


@pytest.mark.parametrize(
    ('headers', 'began', 'age'),
    [
        ({'Date': DATE}, NOW, 0),
        ({'Date': HOUR_AGO}, NOW, 3600),
        ({'Date': LATER}, NOW, 0),
        ({'Date': DATE, 'Age': '30'}, NOW, 30),
        ({'Date': DATE, 'Age': '30'}, NOW - 5, 35),
        ({'Date': DATE}, NOW + 5, 0),
    ],
)
def test_the_age_at_the_start(headers, began, age):
    """By Age and the time that the request took, or by Date (RFC 9111 4.2.3)."""
    found = policy(control('max-age=9999') | headers, began=began)
    assert age == found.age == age_of(found, NOW - 9)
    assert age + 9 == age_of(found, NOW + 9)


@pytest.mark.parametrize(
    ('text', 'request_text', 'passed', 'verdict'),
    [
        ('max-age=60', '', 59, Verdict.FRESH),
        ('max-age=60', '', 60, Verdict.VALIDATE),
        ('max-age=60', 'no-cache', 0, Verdict.VALIDATE),
        ('max-age=60', 'max-age=10', 10, Verdict.FRESH),
        ('max-age=60', 'max-age=10', 11, Verdict.VALIDATE),
        ('max-age=60', 'min-fresh=10', 50, Verdict.FRESH),
        ('max-age=60', 'min-fresh=10', 51, Verdict.VALIDATE),
        ('max-age=60', 'max-stale', 9999, Verdict.STALE),
        ('max-age=60', 'max-stale=10', 70, Verdict.STALE),
        ('max-age=60', 'max-stale=10', 71, Verdict.VALIDATE),
        ('max-age=60', 'max-stale=x', 71, Verdict.VALIDATE),
        ('max-age=60', 'max-stale, max-age=10', 61, Verdict.VALIDATE),
        ('max-age=60, must-revalidate', 'max-stale', 61, Verdict.VALIDATE),
        ('max-age=60, proxy-revalidate', 'max-stale', 61, Verdict.VALIDATE),
        ('s-maxage=60', 'max-stale', 61, Verdict.VALIDATE),
        ('max-age=60, stale-while-revalidate=10', '', 69, Verdict.BACKGROUND),
        ('max-age=60, stale-while-revalidate=10', '', 70, Verdict.VALIDATE),
        ('max-age=60, stale-while-revalidate=10, must-revalidate', '', 61, Verdict.VALIDATE),
        ('max-age=60, no-cache', '', 0, Verdict.VALIDATE),
        ('max-age=60, no-cache', 'max-stale', 0, Verdict.VALIDATE),
        ('max-age=60', 'only-if-cached, unknown', 5, Verdict.FRESH),
    ],
)
def test_a_stored_response_may_be_served_or_not(text, request_text, passed, verdict):
    """By the directives of the response and of the request (RFC 9111 4.2, 5.2; RFC 5861 3)."""
    entry = policy(control(text, ETag='"a"'))
    headers = {'Cache-Control': request_text} if request_text else {}
    assert verdict is judge(entry, ask(asked(headers)), NOW + passed)


@pytest.mark.parametrize(
    ('text', 'passed', 'may'),
    [
        ('max-age=60, stale-if-error=10', 70, True),
        ('max-age=60, stale-if-error=10', 71, False),
        ('max-age=60', 61, False),
        ('max-age=60', 5, False),
        ('max-age=60, stale-if-error=10', 5, True),
        ('max-age=60, stale-if-error=10, must-revalidate', 61, False),
        ('max-age=60, stale-if-error=10, no-cache', 61, False),
    ],
)
def test_a_stale_response_may_replace_an_error(text, passed, may):
    """Only for as long as the response says (RFC 5861 4)."""
    entry = policy(control(text, ETag='"a"'))
    assert may == may_replace_error(entry, Asked(), NOW + passed)
    for wanted in ('no-cache', 'max-age=99', 'min-fresh=0'):
        careful = ask(asked({'Cache-Control': wanted}))
        assert not may_replace_error(entry, careful, NOW + passed)


@pytest.mark.parametrize(
    ('keys', 'bypass', 'plain'),
    [
        ({}, False, True),
        ({'headers': {'Accept': 'a', 'Cookie': 'b', 'Authorization': 'c'}}, False, True),
        ({'headers': {'Cache-Control': 'unknown'}}, False, True),
        ({'headers': {'Cache-Control': 'no-cache'}}, False, False),
        ({'headers': {'Cache-Control': 'no-store'}}, True, False),
        ({'headers': {'Range': 'bytes=0-'}}, False, False),
        ({'headers': {'If-None-Match': '"a"'}}, False, False),
        ({'headers': {'If-Match': '"a"'}}, True, True),
        ({'headers': {'If-Unmodified-Since': DATE}}, True, True),
        ({'headers': {'Upgrade': 'websocket'}}, True, True),
        ({'headers': {'X-HTTP-Method-Override': 'DELETE'}}, True, True),
        ({'headers': {'x_http_method': 'DELETE'}}, True, True),
        ({'headers': {'X-Original-URL': '/admin'}}, True, True),
        ({'body': 'x'}, True, True),
        ({'body': ''}, False, True),
    ],
)
def test_a_request_that_asks_for_something_else_goes_by(keys, bypass, plain):
    """A body, another method in a header, and conditions that only the origin can evaluate."""
    found = ask(asked(**keys))
    assert (bypass, plain) == (found.bypass, found.is_plain)


@pytest.mark.parametrize(
    'name',
    ['Forwarded', 'X-Forwarded-For', 'X-Forwarded-Host', 'x_forwarded_proto', 'X-Real-IP'],
)
def test_what_says_by_which_way_a_request_came_is_dropped(name):
    """No key has it, so that a response must not depend on it; the table is not changed."""
    request = asked([(name, 'first'), ('A', 'b'), (name.swapcase(), 'evil')])
    assert {'A': 'b'} == without_claims(request)['headers']
    assert ['first', 'evil'] == request['headers'].getall(name)
    assert without_claims(asked({'A': 'b'}))['headers'] == {'A': 'b'}


@pytest.mark.parametrize(
    ('stored', 'sent'),
    [
        ({'ETag': 'W/"a"'}, {'If-None-Match': 'W/"a"'}),
        ({'Last-Modified': DATE}, {'If-Modified-Since': DATE}),
        (
            {'ETag': '"a"', 'Last-Modified': DATE},
            {'If-None-Match': '"a"', 'If-Modified-Since': DATE},
        ),
        ({'ETag': ''}, None),
        ({}, None),
    ],
)
def test_a_validation_has_the_validators_of_the_entry(stored, sent):
    """And not the client's own conditions and range, but all its other headers."""
    entry = policy(control('max-age=60') | stored)
    own = {'If-None-Match': '"b"', 'Range': 'bytes=0-1', 'If-Range': '"b"', 'A': 'b'}
    made = to_validation(asked(own), entry)
    assert sent == (made and {k: v for k, v in made['headers'].items() if k != 'A'})
    assert made is None or 'b' == made['headers']['A']


@pytest.mark.parametrize(
    ('stored', 'tag', 'same'),
    [
        ('"a"', '"a"', True),
        ('"a"', 'W/"a"', True),
        ('"a"', '"b"', False),
        ('"a"', None, True),
        (None, '"a"', False),
        (None, None, True),
    ],
)
def test_a_304_with_another_tag_is_about_something_else(stored, tag, same):
    """It must not update the entry (RFC 9111 4.3.4)."""
    entry = policy(control('max-age=60', **({'ETag': stored} if stored else {})))
    assert same == is_same(entry, given({'ETag': tag} if tag else {}, 304))


def test_a_304_of_another_date_or_url_is_about_something_else():
    """Of a file that was replaced by an older one, or of the target of a redirect."""
    dates = [{'Last-Modified': f'Mon, 0{day} Jan 2024 00:00:00 GMT'} for day in (1, 2)]
    entry = policy(control('max-age=60', **dates[0]))
    assert is_same(entry, given(dates[0], 304))
    assert not is_same(entry, given(dates[1], 304))
    assert not is_same(entry, given(dates[0], 304) | {'history': [given({}, 302)]})


OLD = control('max-age=60', ETag='"a"', A='1', B='2', Content_Encoding='gzip', Date=HOUR_AGO)


def update(headers, stored=OLD, request=()):
    entry = policy_of(asked(), given(stored), True, (NOW - 3600, NOW - 3600))
    entry.id, entry.size, entry.body = 'id', 3, b'abc'
    return freshened(asked(request), entry, given(headers, 304), True, (NOW, NOW))


def test_a_304_updates_the_headers_of_an_entry():
    """The fields that it has, but not those that describe the stored bytes (RFC 9111 3.2)."""
    entry, stores, drops = update(
        {'A': '3', 'Content-Encoding': 'br', 'Content-Length': '9', 'Connection': 'close'}
    )
    assert (True, False) == (stores, drops)
    assert OLD | {'A': '3', 'Date': DATE} == Headers(entry.headers)
    assert ('id', b'abc', 3, 60, NOW, 0) == (
        entry.id,
        entry.body,
        entry.size,
        entry.lifetime,
        entry.received,
        entry.age,
    )


@pytest.mark.parametrize(
    ('headers', 'request_headers', 'drops'),
    [
        ({'Set-Cookie': 'a=b'}, {}, False),
        ({'Cache-Control': 'no-store'}, {}, False),
        ({}, {'Cookie': 'a=b'}, False),
        ({'Vary': 'A'}, {}, True),
    ],
)
def test_a_304_that_may_not_be_stored_is_served_once(headers, request_headers, drops):
    """One that makes the response vary otherwise ends the stored one."""
    entry, stores, dropped = update(headers, request=request_headers)
    assert (False, drops) == (stores, dropped)
    assert (entry.received, entry.age) == (NOW, 0)
    assert headers.items() <= dict(entry.headers).items()


@pytest.mark.parametrize(
    ('method', 'status', 'headers', 'targets'),
    [
        ('POST', 200, {}, ['/a/b']),
        ('M-SEARCH', 302, {}, ['/a/b']),
        ('DELETE', 404, {}, []),
        ('PUT', 500, {}, []),
        ('OPTIONS', 200, {}, []),
        ('POST', 201, {'Location': 'c'}, ['/a/b', '/a/c']),
        ('POST', 201, {'Content-Location': '/c?d'}, ['/a/b', '/c?d']),
        ('POST', 201, {'Location': 'http://H:80/c'}, ['/a/b', '/c']),
        ('POST', 201, {'Location': 'c', 'Content-Location': 'd'}, ['/a/b', '/a/c', '/a/d']),
        ('POST', 201, {'Location': 'http://h'}, ['/a/b', '/']),
        ('POST', 201, {'Location': 'http://other/c'}, ['/a/b']),
        ('POST', 201, {'Location': 'https://h/c'}, ['/a/b']),
        ('POST', 201, {'Location': 'http://h:81/c'}, ['/a/b']),
        ('POST', 201, {'Location': 'http://h:x/c'}, ['/a/b']),
        ('POST', 201, {'Location': f'http://h:{"9" * 5000}/c'}, ['/a/b']),
        ('POST', 201, {'Location': ''}, ['/a/b']),
    ],
)  # fmt: skip
def test_an_unsafe_request_invalidates_targets_of_its_origin(method, status, headers, targets):
    """Its own, and those of Location and Content-Location (RFC 9111 4.4)."""
    request = http.to_request({'url': 'http://h/a/b', 'method': method})
    found = invalidated_targets(request, given(headers, status))
    assert targets == [one['url'] for one in found]


def test_the_host_of_a_location_may_be_an_ipv6_address():
    """It is compared without brackets."""
    request = http.to_request({'url': 'http://[::1]:8080/a', 'method': 'POST'})
    response = given({'Location': 'http://[::1]:8080/b'}, 201)
    assert ['/a', '/b'] == [one['url'] for one in invalidated_targets(request, response)]


def test_a_request_without_anything_special_asks_for_nothing():
    """All such requests share one value."""
    assert Asked() is not ask(asked()) is ask(asked({'Accept': '*/*'}))
