"""Calls of handlers, and their responses in normal form."""

from functools import partial

import pytest

import aioluahttp as http
from aioluahttp.tables.handlers import (
    close_body,
    name_of_handler,
    response_of_handler,
    take_response,
)


class Watched:
    """An iterator that fails if it is read, and notes that it is closed."""

    closed = False

    def __aiter__(self):
        raise AssertionError

    def aclose(self):
        self.closed = True


async def async_handler(request):
    """Respond with the URL of the request."""
    return {'status': 200, 'body': request.url}


@pytest.mark.parametrize(
    ('handler', 'name'),
    [
        (async_handler, 'async_handler'),
        (partial(partial(async_handler, 1), 2), 'async_handler'),
        (Watched.aclose, 'Watched.aclose'),
        (Watched(), 'Watched'),
    ],
)
def test_a_handler_has_a_name(handler, name):
    """That of its function or class."""
    assert name == name_of_handler(handler)


@pytest.mark.parametrize('handler', [async_handler, lambda r: {'status': 200, 'body': r.url}])
async def test_a_handler_may_be_plain_or_async(handler):
    """The response is in normal form either way."""
    expected = http.to_response({'status': 200, 'body': '/'})
    assert expected == await response_of_handler(handler, http.to_request(host='h'))


@pytest.mark.parametrize('key', ['body', 'events'])
async def test_the_iterator_of_a_rejected_response_is_closed(key):
    """It would not be read by anyone."""
    chunks = Watched()
    with pytest.raises(http.TableError, match="'status' is 99"):
        await take_response({'status': 99, key: chunks})
    assert chunks.closed


@pytest.mark.parametrize('table', [None, 5, {'status': 200}, {'status': 200, 'body': 'x'}])
async def test_closing_a_response_without_an_iterator_does_nothing(table):
    """It is no error, even if the value is not a table."""
    await close_body(table)
