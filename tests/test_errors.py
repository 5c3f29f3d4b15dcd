"""What can go wrong: the kinds, their messages, and how they travel."""

from __future__ import annotations

import pickle

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from aioluahttp import errors
from aioluahttp.errors import Error, StatusError, TableError, shown
from aioluahttp.headers import Headers
from aioluahttp.tables.models import Response, SentRequest

KINDS = [getattr(errors, name) for name in errors.__all__]
NO_SLASH = st.text(st.characters(codec='utf-8', exclude_characters='/?#'))


class Unshowable:
    """A value that fails when it is to be shown."""

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
def test_a_kind_is_also_what_python_calls_it(kind: type[Error], base: type[Exception]) -> None:
    """Each kind is an Error, and the exception of Python's that means the same."""
    assert issubclass(kind, Error)
    assert issubclass(kind, base)


@pytest.mark.parametrize('kind', KINDS)
def test_an_error_without_a_request_says_so(kind: type[Error]) -> None:
    """The request of an error that no request led to is None."""
    assert None is kind('text').request


@pytest.mark.parametrize('kind', KINDS)
def test_an_error_pickles_with_its_text_and_request(kind: type[Error]) -> None:
    """An error that went through pickle has the same type, text and request."""
    error = kind('what went wrong')
    error.request = SentRequest({'method': 'GET', 'path': '/'})
    travelled = pickle.loads(pickle.dumps(error))
    assert (kind, 'what went wrong') == (type(travelled), str(travelled))
    assert {'method': 'GET', 'path': '/'} == travelled.request


def test_a_status_error_pickles_with_its_response() -> None:
    """A StatusError that went through pickle carries the whole response."""
    error = StatusError('404 Not Found')
    error.response = Response({'status': 404, 'headers': Headers(a='b'), 'body': 'gone'})
    assert error.response == pickle.loads(pickle.dumps(error)).response


def test_the_pickle_of_an_error_holds_no_secret() -> None:
    """Neither the text nor the pickle of a request that an error carries has its secrets."""
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
    """The message about a key that holds a secret does not repeat its value."""
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
def test_an_unknown_key_is_answered_with_the_nearest(key: object, message: str) -> None:
    """The error for an unknown key suggests the nearest, or lists all where none is near."""
    assert message == str(TableError.unknown(key, {'timeout', 'method'}))


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
def test_a_value_is_shown_within_bounds(value: object, text: str) -> None:
    """A value is shown cut to 100 characters, without credentials, and without ever failing."""
    assert text == shown(value)


@settings(deadline=None)
@given(NO_SLASH)
def test_no_credentials_are_shown(userinfo: str) -> None:
    """Whatever the userinfo of a URL is, a message has asterisks in its place."""
    assert 'http://***@host/' == shown(f'http://{userinfo}@host/')[1:-1]
