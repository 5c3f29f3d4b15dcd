"""What a client adds to a table."""

import doctest
from pathlib import Path

import pytest
import yarl

from aioluahttp import TableError, to_request
from aioluahttp.client import defaults
from aioluahttp.client.defaults import Defaults
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
