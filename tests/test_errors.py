"""Errors: their classes, messages and pickles."""

from __future__ import annotations

import pickle
from collections.abc import Collection

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from aioluahttp import errors
from aioluahttp.errors import Error, StatusError, TableError, shown
from aioluahttp.headers import Headers
from aioluahttp.tables.checks import REQUEST_CHECKS, RESPONSE_CHECKS
from aioluahttp.tables.models import Response, SentRequest

KINDS = [getattr(errors, name) for name in errors.__all__ if name != 'TableWarning']
NO_SLASH = st.text(st.characters(codec='utf-8', exclude_characters='/?#'))


class Unshowable:
    """A value whose repr raises."""

    def __repr__(self) -> str:
        raise ZeroDivisionError


@pytest.mark.parametrize(
    ('kind', 'base'),
    [
        (errors.TableError, ValueError),
        (errors.ConnectError, ConnectionError),
        (errors.TimedOut, TimeoutError),
        (errors.ProtocolError, Error),
        (errors.BodyTooLarge, Error),
        (errors.StatusError, Error),
    ],
)
def test_an_error_class_is_a_matching_builtin_too(kind: type[Error], base: type[Exception]) -> None:
    """Each class is an Error, and the built-in exception that means the same."""
    assert issubclass(kind, Error)
    assert issubclass(kind, base)


@pytest.mark.parametrize('kind', KINDS)
def test_the_request_of_an_error_is_none_by_default(kind: type[Error]) -> None:
    """An error that was not caused by a request has None as its request."""
    assert None is kind('text').request


@pytest.mark.parametrize('kind', KINDS)
def test_an_error_pickles_with_its_text_and_request(kind: type[Error]) -> None:
    """An unpickled error has the same type, text and request."""
    error = kind('what went wrong')
    error.request = SentRequest({'method': 'GET', 'path': '/'})
    unpickled = pickle.loads(pickle.dumps(error))
    assert (kind, 'what went wrong') == (type(unpickled), str(unpickled))
    assert {'method': 'GET', 'path': '/'} == unpickled.request


def test_a_status_error_pickles_with_its_response() -> None:
    """An unpickled StatusError has the complete response."""
    error = StatusError('404 Not Found')
    error.response = Response({'status': 404, 'headers': Headers(a='b'), 'body': 'gone'})
    assert error.response == pickle.loads(pickle.dumps(error)).response


def test_the_pickle_of_an_error_holds_no_secret() -> None:
    """Neither the pickle of an error nor the repr of its request contains secrets."""
    error = TableError('text')
    error.request = SentRequest(
        {
            'url': 'http://user:swordfish@host/',
            'headers': {'Authorization': 'swordfish', 'Cookie': 'swordfish'},
            'auth': ('user', 'swordfish'),
            'bearer': 'swordfish',
        }
    )
    assert b'swordfish' not in pickle.dumps(error)
    assert 'swordfish' not in repr(error.request)


def test_a_message_says_what_is_wrong_and_what_would_be_right() -> None:
    """A TableError names the key and the value and says what would be right."""
    assert "'port' is 'x'; it must be an int" == str(TableError.of('port', 'x', 'an int'))


def test_a_message_hides_a_secret_value() -> None:
    """The message for a secret key does not contain its value."""
    error = TableError.of('auth', 'swordfish', 'a pair', secret=True)
    assert "'auth' is ***; it must be a pair" == str(error)


@pytest.mark.parametrize(
    ('key', 'message'),
    [
        ('timout', "unknown key 'timout': did you mean 'timeout'?"),
        ('TimeOut', "unknown key 'TimeOut': did you mean 'timeout'?"),
        ('zzz', "unknown key 'zzz': known are method, timeout"),
        (1, 'unknown key 1: known are method, timeout'),
        pytest.param(10**5000, 'unknown key a int: known are method, timeout', id='huge'),
        (Unshowable(), 'unknown key a Unshowable: known are method, timeout'),
    ],
)
def test_the_error_for_an_unknown_key_suggests_the_nearest(key: object, message: str) -> None:
    """The error suggests the nearest known key, or lists all if none is near."""
    assert message == str(TableError.unknown(key, {'timeout', 'method'}))


REQUEST = {*REQUEST_CHECKS}


@pytest.mark.parametrize(
    ('key', 'known', 'hint'),
    [
        ('params', REQUEST, "did you mean 'query'?"),
        ('data', REQUEST, "did you mean 'form' or 'body'?"),
        ('content', REQUEST, "did you mean 'body'?"),
        ('files', REQUEST, "did you mean 'multipart'?"),
        ('verify', REQUEST, "did you mean 'tls'?"),
        ('Verify', REQUEST, "did you mean 'tls'?"),
        ('cert', REQUEST, "did you mean 'tls'?"),
        ('ssl', REQUEST, "did you mean 'tls'?"),
        ('stream', REQUEST, "did you mean 'into'?"),
        ('allow_redirects', REQUEST, "did you mean 'redirects'?"),
        ('follow_redirects', REQUEST, "did you mean 'redirects'?"),
        ('cookies', REQUEST, 'give cookies to a client, as Client(cookies=…)'),
        ('retries', REQUEST, 'retry is a middleware, as middleware.retry(http.request)'),
        ('retry', REQUEST, 'retry is a middleware, as middleware.retry(http.request)'),
        ('data', RESPONSE_CHECKS, "did you mean 'body'?"),
        ('content', RESPONSE_CHECKS, "did you mean 'body'?"),
        ('cookies', RESPONSE_CHECKS, 'known are body, events,'),
        ('params', RESPONSE_CHECKS, 'known are body, events,'),
        ('files', {'file', 'x'}, "did you mean 'file'?"),
    ],
)
def test_the_error_for_a_key_of_another_library_suggests_ours(
    key: str, known: Collection[str], hint: str
) -> None:
    """What requests, httpx and aiohttp call a key leads to our key, if the table has it."""
    assert str(TableError.unknown(key, known)).startswith(f'unknown key {key!r}: {hint}')


@pytest.mark.parametrize(
    ('value', 'text'),
    [
        ('short', "'short'"),
        ('x' * 98, repr('x' * 98)),
        ('x' * 99, "'" + 'x' * 99 + '…'),
        ('http://user:pass@host/', "'http://***@host/'"),
        (['//a@b', b'//c:d@e'], "['//***@b', b'//***@e']"),
        ('http://host/a@b?c@d', "'http://host/a@b?c@d'"),
        ('http://user:' + 'x' * 1000 + '@host/', "'http://***@host/'"),
        pytest.param(10**5000, 'a int', id='huge'),
        ([10**5000], 'a list'),
        (Unshowable(), 'a Unshowable'),
    ],
)
def test_a_value_in_a_message_is_cut_to_100_characters(value: object, text: str) -> None:
    """It has no credentials either, and a value without a repr does not fail."""
    assert text == shown(value)


@settings(deadline=None)
@given(NO_SLASH)
def test_credentials_in_a_url_are_hidden(userinfo: str) -> None:
    """Any userinfo of a URL is replaced by asterisks."""
    assert 'http://***@host/' == shown(f'http://{userinfo}@host/')[1:-1]
