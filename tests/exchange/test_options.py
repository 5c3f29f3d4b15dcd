"""The options of an exchange."""

import logging

import pytest

import aioluahttp as http
from aioluahttp.exchange.options import (
    EXCHANGE_OPTIONS,
    Settings,
    check_exchange_options,
    to_settings,
)


def handler(request):
    """Return a 204."""
    return {'status': 204}


def carrying(request):
    """Return a 204; options are attributes of this function."""
    return {'status': 204}


carrying.into, carrying.max_body = 'raw', None


def made(callback=handler, **options):
    """Check options."""
    return check_exchange_options(callback, options, EXCHANGE_OPTIONS)


def test_absent_options_have_defaults():
    """None is the same as absent, except for ``max_body``."""
    assert Settings() == to_settings(made(), None)
    assert {'max_body': None} == made(into=None, body_timeout=None, max_body=None)


def test_options_become_settings():
    """Streams have a limit only if ``max_body`` is given."""
    settings = to_settings(made(max_body=1, handler_timeout=2, access_log=logging.root), print)
    assert (1, 2, logging.root, print, True) == (
        settings.max_body,
        settings.handler_timeout,
        settings.access_log,
        settings.on_error,
        settings.limits_streams,
    )


def test_a_handler_may_have_options_as_attributes():
    """Options that are passed override them."""
    assert {'into': 'raw', 'max_body': None} == made(carrying)
    assert {'into': 'text', 'max_body': None} == made(carrying, into='text')


def test_into_and_max_body_may_be_functions():
    """They are called with the request."""
    assert {'into': print, 'max_body': len} == made(into=print, max_body=len)


@pytest.mark.parametrize(
    ('options', 'message'),
    [
        ({'into': 'txt'}, "'into'"),
        ({'max_body': -1}, "'max_body'"),
        ({'max_concurrent': 0}, "'max_concurrent'"),
        ({'body_timeout': 0}, "'body_timeout'"),
        ({'cancel_on_disconnect': 1}, "'cancel_on_disconnect' is 1; it must be True or False"),
        ({'trusted_proxies': 'all'}, "'trusted_proxies'"),
        ({'access_log': 1}, "'access_log'"),
        ({'handler_timeot': 1}, "did you mean 'handler_timeout'"),
    ],
)
def test_a_wrong_option_is_an_error(options, message):
    """The error names it and what would be right."""
    with pytest.raises(http.TableError, match=message):
        made(**options)


def test_a_handler_or_on_error_that_is_not_callable_is_an_error():
    """The error names it."""
    with pytest.raises(http.TableError, match="'callback' is 1"):
        made(1)
    with pytest.raises(http.TableError, match="'on_error' is 1"):
        to_settings({}, 1)
