"""What a handler answers, brought to its normal form."""

import pytest

import aioluahttp as http
from aioluahttp.tables.handlers import close_body, response_of_handler, take_response


class Watched:
    """What flows, and is asked for nothing but to be closed."""

    closed = False

    def __aiter__(self):
        raise AssertionError

    def aclose(self):
        self.closed = True


async def async_handler(request):
    """Answer with what was asked."""
    return {'status': 200, 'body': request.url}


@pytest.mark.parametrize('handler', [async_handler, lambda r: {'status': 200, 'body': r.url}])
async def test_a_handler_may_be_plain_or_async(handler):
    """Its answer is a whole response either way."""
    expected = http.to_response({'status': 200, 'body': '/'})
    assert expected == await response_of_handler(handler, http.to_request(host='h'))


@pytest.mark.parametrize('key', ['body', 'events'])
async def test_the_iterator_of_a_table_that_is_refused_is_closed(key):
    """Nobody gets to read it."""
    chunks = Watched()
    with pytest.raises(http.TableError, match="'status' is 99"):
        await take_response({'status': 99, key: chunks})
    assert chunks.closed


@pytest.mark.parametrize('table', [None, 5, {'status': 200}, {'status': 200, 'body': 'x'}])
async def test_what_has_no_iterator_has_nothing_to_close(table):
    """Whether it is a table or not."""
    await close_body(table)
