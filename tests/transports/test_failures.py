"""aiohttp's exceptions, translated into ours."""

import asyncio

import aiohttp
import pytest

import aioluahttp as http
from aioluahttp.errors import Refused
from aioluahttp.transports.failures import translate
from aioluahttp.transports.request_body import BodySource


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


def test_an_exception_of_the_sender_is_left_alone():
    """An exception of the body source, or caused by ``Refused``, is not translated."""
    error = OSError()
    source = BodySource(iter(()))
    request = http.to_request(url='http://h') | {'body': source}
    assert translate(error, request, sent=True) is not None
    source.error = error
    assert translate(error, request, sent=True) is None
    error.__cause__ = Refused(400)
    assert translate(error, http.to_request(url='http://h'), sent=True) is None
