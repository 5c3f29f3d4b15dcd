"""The negotiation of permessage-deflate (RFC 7692 7.1)."""

import pytest

from aioluahttp import ProtocolError
from aioluahttp.websockets.deflate import OFFER, accept_offer, read_response

NAME = 'permessage-deflate'
INVALID = [
    'unknown',
    'server_no_context_takeover=1',
    'server_no_context_takeover; server_no_context_takeover',
    'server_max_window_bits=7',
    'server_max_window_bits=16',
    'server_max_window_bits=010',
    'server_max_window_bits=1 0',
    'server_max_window_bits="10',
    'server_max_window_bits',
    'server_max_window_bits=',
    'server_max_window_bits=10; server_max_window_bits=10',
    'client_max_window_bits=7',
    'client_max_window_bits=\u0661\u0660',
    'client_no_context_takeover=true',
    'client_max_window_bits=15; client_max_window_bits',
    '=5',
    '',
]


@pytest.mark.parametrize(
    ('offers', 'window', 'resets', 'response'),
    [
        (NAME, 15, False, NAME),
        (OFFER, 15, False, NAME),
        (f'  {NAME} ;\tclient_max_window_bits = 10 ', 15, False, NAME),
        (f'{NAME};client_no_context_takeover', 15, False, NAME),
        (f'{NAME}; server_max_window_bits="10"', 10, False, f'{NAME}; server_max_window_bits=10'),
        (
            f'{NAME}; server_max_window_bits=9; server_no_context_takeover',
            9,
            True,
            f'{NAME}; server_no_context_takeover; server_max_window_bits=9',
        ),
        (f'other, , {NAME}', 15, False, NAME),
        (f'{NAME}; server_max_window_bits=8, {NAME}', 15, False, NAME),
        (
            f'{NAME}; unknown, {NAME}; server_no_context_takeover',
            15,
            True,
            f'{NAME}; server_no_context_takeover',
        ),
    ],
)
def test_a_server_accepts_the_first_offer_that_it_can_keep(offers, window, resets, response):
    """It says so with the parameters that the offer asks for."""
    assert ((window, resets), response) == accept_offer(offers)


@pytest.mark.parametrize('parameters', [*INVALID, 'server_max_window_bits=8'])
def test_a_server_declines_an_offer_that_is_not_valid(parameters):
    """An offer after it is still accepted."""
    assert ((0, False), None) == accept_offer(f'{NAME}; {parameters}')
    assert NAME == accept_offer(f'{NAME}; {parameters}, {NAME}')[1]


@pytest.mark.parametrize('offers', ['', 'other', 'x-permessage-deflate', f'{NAME}x', ';', ','])
def test_a_server_declines_what_it_does_not_know(offers):
    """Names are compared whole."""
    assert ((0, False), None) == accept_offer(offers)


@pytest.mark.parametrize(
    ('response', 'window', 'resets'),
    [
        ('', 0, False),
        (' , ', 0, False),
        (NAME, 15, False),
        (f'{NAME} ; server_no_context_takeover', 15, False),
        (f'{NAME}; server_max_window_bits=8', 15, False),
        (f'{NAME}; client_max_window_bits=10', 10, False),
        (f'{NAME}; client_no_context_takeover', 15, True),
    ],
)
def test_a_client_reads_what_the_server_accepted(response, window, resets):
    """The parameters of the client say how it compresses."""
    assert (window, resets) == read_response(response, offered=True)


@pytest.mark.parametrize('parameters', [*INVALID, 'client_max_window_bits'])
def test_a_client_fails_on_a_response_that_is_not_valid(parameters):
    """RFC 7692 7.1: it must fail the connection."""
    with pytest.raises(ProtocolError):
        read_response(f'{NAME}; {parameters}', offered=True)


@pytest.mark.parametrize('response', ['other', f'{NAME}, {NAME}', f'{NAME}, other'])
def test_a_client_fails_on_what_it_did_not_offer(response):
    """It offers one extension, once."""
    with pytest.raises(ProtocolError, match='was not offered'):
        read_response(response, offered=True)


def test_a_client_fails_on_compression_that_it_did_not_offer():
    """As with ``compress=False``."""
    with pytest.raises(ProtocolError, match='was not offered'):
        read_response(NAME, offered=False)


def test_a_client_fails_on_a_window_that_zlib_does_not_have():
    """RFC 7692 allows 8 bits; zlib writes no such stream."""
    with pytest.raises(ProtocolError, match='a window'):
        read_response(f'{NAME}; client_max_window_bits=8', offered=True)
