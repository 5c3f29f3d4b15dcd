"""The middleware ``retry``: send failed requests again, with back-off by stamina."""

from __future__ import annotations

import logging
import math
import random
import re
import time
from collections.abc import Collection, Mapping
from contextlib import suppress
from functools import wraps
from typing import Any, NamedTuple, TypeAlias

from ..bodies.files import is_file
from ..bodies.forms import MultipartBody
from ..dates import parse_date
from ..errors import ConnectError, Error, ProtocolError, StatusError, TableError, TimedOut
from ..semantics import IDEMPOTENT
from ..tables.checks import TIMEOUT, check_limit, check_names, check_seconds, is_one_shot
from ..tables.conversion import to_mapping, to_request
from ..tables.handlers import close_body, response_of_handler
from ..tables.models import Handler, Request, Response, Wrapped, describe_request

__all__ = ['retry']

logger: logging.Logger = logging.getLogger('aioluahttp')

Outcome: TypeAlias = Response[Any] | Error

STATUSES = (429, 502, 503, 504)  # temporary failures
SHORTEST = 0.001  # seconds of an attempt: a late timer may leave none, but 0 is no timeout
JITTER = 1.0  # seconds at most, so that many clients do not retry at the same moment


def retry(
    handler: Handler,
    *,
    attempts: int | None = 3,
    methods: Collection[str] = IDEMPOTENT,
    statuses: Collection[int] = STATUSES,
    longest: float | None = 60.0,
) -> Wrapped:
    """Retry requests that fail or get a status of a temporary failure.

    After a ``ConnectError`` any request is retried, because nothing was sent. After a
    ``TimedOut``, a ``ProtocolError`` or one of the statuses, it is retried only if its method is
    in ``methods``. The wait between two attempts grows, by stamina's back-off, and is at least
    the Retry-After of the response. The ``timeout`` of the request, 30 s if its table has none,
    covers all attempts and waits together: when the next wait would exceed it, the last response
    is returned or the last error raised. A request whose body can be sent only once, such as an
    iterator or an open file, is tried once.

    Each retry is logged at INFO by the logger ``aioluahttp``, and by stamina.

    Args:
        handler: The handler to wrap.
        attempts: Maximum number of attempts, with the first one; ``None`` is no limit.
        methods: Methods of requests that may reach the peer more than once.
        statuses: Statuses of responses after which a request is retried.
        longest: Seconds. A response with a longer Retry-After is returned. ``None`` is no limit.

    Raises:
        TableError: An option is invalid.
        ImportError: stamina is not installed.
    """
    try:
        import stamina
    except ImportError as error:
        raise ImportError("retry needs stamina: pip install 'aioluahttp[retry]'") from error
    check_limit('attempts', attempts)
    check_seconds('longest', longest)
    rules = Rules(
        frozenset(one.upper() for one in check_names('methods', methods)),
        check_statuses(statuses),
        math.inf if longest is None else longest,
    )
    most = math.inf if attempts is None else attempts

    @wraps(handler)  # also copies ``into`` and ``max_body``, which servers read from a handler
    async def retried(table: Any) -> Response[Any]:
        request = to_request(table)
        if sends_once(request):
            return await response_of_handler(handler, request)
        method, deadline = request['method'], time.monotonic() + total_of(request)
        outcome = await outcome_of(handler, request)
        if wait_after(rules, method, outcome, 0.0) == math.inf or not stamina.is_active():
            return response_or_raise(outcome)  # skip stamina, which costs more than a short request
        with suppress(RetryNeeded):  # raised where stamina's testing mode allows fewer attempts
            async for attempt in stamina.retry_context(_seconds, attempts=attempts, timeout=None):
                with attempt:
                    if attempt.num > 1:
                        # As a ``Request``, because its keys get no TableWarning again.
                        again = to_request(Request(to_mapping(table)))
                        repeated = with_time_left(again, deadline - time.monotonic())
                        outcome = await outcome_of(handler, repeated)
                    backoff = attempt.next_wait and attempt.next_wait + random.uniform(0, JITTER)
                    seconds = wait_after(rules, method, outcome, backoff)
                    if attempt.num < most and seconds < deadline - time.monotonic():
                        await close_body(outcome)
                        needed = RetryNeeded(request, outcome, seconds)
                        logger.info(
                            '%s; attempt %s follows in %.1f s', needed, attempt.num + 1, seconds
                        )
                        raise needed
        return response_or_raise(outcome)

    return retried


class Rules(NamedTuple):
    """When a request is retried: the arguments of ``retry``."""

    methods: frozenset[str]
    statuses: frozenset[int]
    longest: float


def check_statuses(statuses: Any) -> frozenset[int]:
    many = isinstance(statuses, Collection)
    if not many or not all(isinstance(status, int) for status in statuses):
        raise TableError.of('statuses', statuses, 'a list of statuses, such as [503]')
    return frozenset(statuses)


class RetryNeeded(Exception):
    """Raised to make stamina start another attempt. Stamina logs its text: it has no secrets."""

    def __init__(self, request: Request, outcome: Outcome, seconds: float) -> None:
        failure = type(outcome).__name__ if isinstance(outcome, Error) else outcome['status']
        super().__init__(f'{describe_request(request)} failed with {failure}')
        self.seconds = seconds


def _seconds(error: Exception) -> float | bool:
    return error.seconds if isinstance(error, RetryNeeded) else False


async def outcome_of(handler: Handler, request: Request) -> Outcome:
    try:
        return await response_of_handler(handler, request)
    except Error as error:
        return error


def response_or_raise(outcome: Outcome) -> Response[Any]:
    if isinstance(outcome, Error):
        raise outcome
    return outcome


def wait_after(rules: Rules, method: str, outcome: Outcome, backoff: float) -> float:
    """Return the seconds to wait before the next attempt; infinity means not to retry."""
    if isinstance(outcome, ConnectError):  # nothing was sent
        return backoff
    if method not in rules.methods:
        return math.inf
    if isinstance(outcome, StatusError):
        outcome = outcome.response
    if isinstance(outcome, Error):
        return backoff if isinstance(outcome, TimedOut | ProtocolError) else math.inf
    requested = retry_after(outcome['headers'])
    if outcome['status'] not in rules.statuses or requested > rules.longest:
        return math.inf
    return max(requested, backoff)


def retry_after(headers: Mapping[str, str]) -> float:
    """Return the seconds of a Retry-After, number or date (RFC 9110 10.2.3); 0 if none or past."""
    value = headers.get('Retry-After', '')
    if re.fullmatch('[0-9]+', value):
        return float(value)
    date = parse_date(value)
    return 0.0 if date is None else max(0.0, date - time.time())


def total_of(request: Request) -> float:
    """Return the total timeout of a request in seconds; infinity if it has no limit."""
    timeout = request.get('timeout', TIMEOUT)
    total = timeout.get('total', TIMEOUT) if isinstance(timeout, Mapping) else timeout
    return math.inf if total is None else total


def with_time_left(request: Request, left: float) -> Request:
    """Limit the total timeout of a request to the seconds that are left."""
    if left == math.inf:
        return request
    timeout = request.get('timeout')
    limits = timeout if isinstance(timeout, Mapping) else {}
    return request | {'timeout': {**limits, 'total': max(left, SHORTEST)}}


def sends_once(request: Request) -> bool:
    """Tell whether a body cannot be sent again: an iterator, or an open file, never rewound."""
    body = request.get('body')
    files = body.files if isinstance(body, MultipartBody) else (body,)
    return any(map(is_file, files)) or is_one_shot(body)
