"""Options of an exchange, shared by ``listen``, ``to_asgi``, ``to_web`` and ``Client(via=…)``."""

from __future__ import annotations

import logging
from collections.abc import Callable, Iterable, Mapping
from dataclasses import dataclass, fields
from functools import partial
from typing import Any, Literal, TypeAlias, TypedDict

from ..errors import TableError
from ..tables.checks import check_handler, check_into, check_limit, check_max_body, check_seconds
from ..tables.models import Request, Response
from .forwarded import NO_PROXIES, Proxies, check_trusted_proxies
from .lifespan import LifespanFunction, check_lifespan

__all__ = [
    'EXCHANGE_OPTIONS',
    'AccessLog',
    'ExchangeOptions',
    'OnError',
    'Settings',
    'ViaOptions',
    'check_bool',
    'check_exchange_options',
    'to_settings',
    'to_via_settings',
]


OnError = Callable[[BaseException, Request], Any]
AccessLog = logging.Logger | Callable[[Request, Response[Any]], Any]


@dataclass(frozen=True)
class Settings:
    """Checked options of every exchange. Timeouts are in seconds; a limit of ``None`` is none."""

    into: str | Callable[[Request], str] = 'text'
    max_body: int | Callable[[Request], int | None] | None = 8 * 1024 * 1024
    limits_streams: bool = False  # whether max_body was given: else streams have no limit
    max_concurrent: int | None = None
    head_timeout: float = 30.0
    body_timeout: float = 30.0
    handler_timeout: float | None = None
    keepalive_timeout: float = 75.0  # common proxies use 60: they should close first
    cancel_on_disconnect: bool = False
    trusted_proxies: Proxies = NO_PROXIES
    on_error: OnError | None = None
    access_log: AccessLog | None = None
    lifespan: LifespanFunction | None = None
    server_header: str | None = None


Into: TypeAlias = Literal['text', 'bytes', 'json', 'stream', 'raw']


class ExchangeOptions(TypedDict, total=False):
    """Options of every exchange; the docs of ``listen`` explain them."""

    into: Into | Callable[[Request], Into]
    max_body: int | Callable[[Request], int | None] | None
    max_concurrent: int | None
    body_timeout: float
    handler_timeout: float | None
    cancel_on_disconnect: bool
    trusted_proxies: Iterable[str]
    access_log: AccessLog | None
    lifespan: LifespanFunction | None


class ViaOptions(ExchangeOptions, total=False):
    """The type of ``Client(via_options=...)``: options of every exchange, and ``on_error``."""

    on_error: OnError | None


CARRIED = ('into', 'max_body', 'lifespan')  # a handler may have these as attributes
NULLABLE = frozenset({'max_body', 'shutdown_timeout'})  # None is no limit here, not the default
PER_EXCHANGE = frozenset(field.name for field in fields(Settings))


def check_kind(key: str, kinds: Any, right: str) -> Callable[[Any], Any]:
    def check(value: Any) -> Any:
        if not isinstance(value, kinds):
            raise TableError.of(key, value, right)
        return value

    return check


def or_function(check: Callable[[Any], Any]) -> Callable[[Any], Any]:
    return lambda value: value if callable(value) else check(value)


def check_bool(key: str) -> Callable[[Any], Any]:
    return check_kind(key, bool, 'True or False')


EXCHANGE_OPTIONS: dict[str, Callable[[Any], Any]] = {
    'into': or_function(check_into),
    'max_body': or_function(check_max_body),
    'max_concurrent': partial(check_limit, 'max_concurrent'),
    **{f'{key}_timeout': partial(check_seconds, f'{key}_timeout') for key in ('body', 'handler')},
    'cancel_on_disconnect': check_bool('cancel_on_disconnect'),
    'trusted_proxies': check_trusted_proxies,
    'access_log': check_kind(
        'access_log', (logging.Logger, Callable), 'a logger, or a function of request and response'
    ),
    'lifespan': check_lifespan,
}


def check_exchange_options(
    callback: Any, options: Mapping[str, Any], known: Mapping[str, Callable[[Any], Any]]
) -> dict[str, Any]:
    """Check options, including those that a handler has as attributes.

    Args:
        callback: The handler.
        options: Options as given; they override attributes of the handler.
        known: The check for each known option.

    Raises:
        TableError: An option is unknown or its value is invalid, or ``callback`` is not callable.
    """
    check_handler('callback', callback)
    carried = {key: getattr(callback, key) for key in CARRIED if hasattr(callback, key)}
    made: dict[str, Any] = {}
    for name, value in (carried | dict(options)).items():
        if name not in known:
            raise TableError.unknown(name, known)
        if value is not None or name in NULLABLE:
            made[name] = None if value is None else known[name](value)
    return made


def to_settings(made: Mapping[str, Any], on_error: Any) -> Settings:
    """Make ``Settings`` of checked options."""
    if on_error is not None and not callable(on_error):
        raise TableError.of('on_error', on_error, 'a function of the exception and the request')
    settings = {name: value for name, value in made.items() if name in PER_EXCHANGE}
    limits_streams = made.get('max_body') is not None
    return Settings(on_error=on_error, limits_streams=limits_streams, **settings)


def to_via_settings(handler: Any, options: Mapping[str, Any] | None) -> Settings:
    """Make ``Settings`` of the ``via_options`` of a client.

    Raises:
        TableError: An option is unknown, such as one of a connection, or its value is invalid.
    """
    if options is not None and not isinstance(options, Mapping):
        raise TableError.of('via_options', options, "a table such as {'into': 'bytes'}")
    given = dict(options or {})
    on_error = given.pop('on_error', None)
    return to_settings(check_exchange_options(handler, given, EXCHANGE_OPTIONS), on_error)
