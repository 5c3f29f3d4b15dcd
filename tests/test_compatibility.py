"""Files written by version 0.1.0 can be read: pickles of tables and errors, and a recording."""

import pickle
from pathlib import Path

import pytest

import aioluahttp as http
from aioluahttp import errors, middleware, tables

DATA = Path(__file__).with_name('data')
RESPONSE = {
    'status': 404,
    'headers': [('Set-Cookie', 'a=1'), ('set-cookie', 'b=2')],
    'body': 'nicht da \udcff',
    'reason': 'Not Found',
    'version': '1.1',
    'url': 'http://h/x',
    'method': 'GET',
    'ip': '::1',
    'history': [],
}


@pytest.fixture(scope='module')
def pickled():
    """Load the objects that 0.1.0 has pickled, by name."""
    return pickle.loads((DATA / 'tables-0.1.0.pickle').read_bytes())


def test_a_request_pickled_by_0_1_0_loads(pickled):
    """Class, fields, body and repeated headers of a request are those that were pickled."""
    expected = http.to_request(
        method='POST', url='http://h:81/p?q=1', headers={'X-A': ['1', '2']}, body=b'\x00\xff'
    )
    assert expected == pickled['request']
    assert type(pickled['request']) is http.Request
    assert ['1', '2'] == pickled['request'].headers.getall('x-a')


def test_a_response_pickled_by_0_1_0_loads(pickled):
    """A response, its repeated headers and its history are those that were pickled."""
    assert (
        http.Response(RESPONSE | {'headers': http.Headers(RESPONSE['headers'])})
        == (pickled['response'])
    )
    assert type(pickled['response']) is http.Response
    assert type(pickled['headers']) is http.Headers


@pytest.mark.parametrize('name', sorted(set(errors.__all__) - {'TableWarning'}))
def test_an_error_pickled_by_0_1_0_loads(pickled, name):
    """An error has its class, its text and its request."""
    error = pickled[name]
    assert type(error) is getattr(http, name)
    assert 'what happened' == str(error)
    assert type(error.request) is tables.SentRequest
    assert pickled['sent'] == error.request


def test_a_status_error_pickled_by_0_1_0_has_its_response(pickled):
    """The response that a StatusError carries is the one that was pickled."""
    assert pickled['response'] == pickled['StatusError'].response


@pytest.mark.parametrize('name', ['Request', 'Response', 'SentRequest'])
def test_a_class_of_tables_pickles_by_its_public_path(name):
    """New pickles name ``aioluahttp.tables``, so that older versions load them."""
    assert 'aioluahttp.tables' == getattr(tables, name).__module__


async def test_a_recording_of_0_1_0_is_replayed():
    """Requests get the responses that 0.1.0 has recorded, without their secrets."""
    handler = middleware.replay(DATA / 'recording-0.1.0.jsonl')
    for page in '12':
        response = await handler({'url': f'http://shop/items?page={page}&token=secret'})
        assert {'page': f'page={page}&token=secret'} == response.json()
        assert ['1', '2'] == response.headers.getall('x-a')
    binary = await handler({'url': 'http://shop/binary', 'method': 'POST', 'body': 'ä \udcff'})
    assert bytes(range(256)) == binary.bytes()
