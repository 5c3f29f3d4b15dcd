"""aiohttp's exceptions, translated into ours."""

import asyncio
import ssl

import aiohttp
import pytest

import aioluahttp as http
from aioluahttp.transports.failures import BodyFailed, translate


@pytest.mark.parametrize(
    ('error', 'sent', 'kind'),
    [
        (http.BodyTooLarge('x'), False, http.BodyTooLarge),
        (TimeoutError(), False, http.TimedOut),
        (http.ConnectError('x'), False, http.ConnectError),
        (http.ConnectError('x'), True, http.ProtocolError),
        (aiohttp.ServerDisconnectedError(), False, http.ProtocolError),
        (OSError(), True, http.ProtocolError),
        (KeyError(), False, None),
        (http.TableError('x'), False, None),
        (asyncio.CancelledError(), False, None),
    ],
    ids=repr,
)
def test_an_exception_is_translated_or_left_alone(error, sent, kind):
    """The text names the request; after a sent request no error is a ConnectError."""
    request = http.to_request(url='http://h/a?s3cret')
    made = translate(error, request, sent=sent)
    assert (kind or type(None)) is type(made)
    assert made is None or str(made).startswith('GET http://h:80/a: ')
    ours = isinstance(error, http.ConnectError) and sent
    assert ours == ('after a request had been sent' in str(made))


def test_a_failed_body_carries_what_was_raised():
    """It is no error of a connection, even if that is an OSError."""
    mine = OSError('mine')
    failed = BodyFailed(mine)
    assert (mine, 'mine') == (failed.error, str(failed))
    assert translate(failed, http.to_request(url='http://h'), sent=True) is None


@pytest.mark.parametrize('tls', ['default', 'None', 'True', ssl.create_default_context()])
def test_the_text_says_nothing_of_how_tls_is_set_up(tls):
    """aiohttp tells that also of plain http."""
    error = aiohttp.ClientError(f'Cannot connect to host h:80 ssl:{tls} [refused]')
    made = translate(error, http.to_request(url='http://h'), sent=False)
    assert 'GET http://h:80/: Cannot connect to host h:80 [refused]' == str(made)
