"""Requests that are sent again, where that does no harm and may help."""

from __future__ import annotations

import math
import random
import re
import time
from collections.abc import Collection, Mapping
from contextlib import suppress
from functools import wraps
from typing import Any, NamedTuple, TypeAlias

from ..dates import parse_date
from ..errors import ConnectError, Error, ProtocolError, StatusError, TableError, TimedOut
from ..semantics import IDEMPOTENT
from ..tables.checks import TIMEOUT, check_limit, check_names, check_seconds, is_file, is_one_shot
from ..tables.conversion import to_request
from ..tables.handlers import close_body, response_of_handler
from ..tables.models import Handler, Request, Response, Wrapped

__all__ = ['retry']

Outcome: TypeAlias = Response[Any] | Error

STATUSES = (429, 502, 503, 504)  # those that say: not now
SHORTEST = 0.001  # seconds of an attempt: a timer may be late
JITTER = 1.0  # seconds, at the most, so that many clients do not come again at once


def retry(
    handler: Handler,
    *,
    attempts: int | None = 3,
    methods: Collection[str] = IDEMPOTENT,
    statuses: Collection[int] = STATUSES,
    longest: float | None = 60.0,
) -> Wrapped:
    """Send a request again where it got no answer, or one that says: not now.

    A ``ConnectError`` lets any be sent again, for nothing was sent; a ``TimedOut``, a
    ``ProtocolError`` and the statuses those with one of the methods alone. Between two attempts
    it waits longer and longer, by stamina, and no less than a Retry-After of the answer says.
    The ``timeout`` of the request, 30 s where its table has none, is that of all attempts and
    waits together: once that cannot be kept, the last answer or error is given.

    Args:
        handler: What to wrap.
        attempts: How many, the first one included; ``None`` is no limit.
        methods: Those of requests that may reach the peer twice.
        statuses: Of answers that are asked for again.
        longest: Seconds. An answer whose Retry-After is longer is given. ``None`` is no limit.

    Raises:
        TableError: An option is not what it can be. From the handler: a body that can be read
            only once.
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

    @wraps(handler)  # with what listen reads from it
    async def retried(table: Any) -> Response[Any]:
        request = to_request(table)
        check_restarts(request)
        method, ends = request['method'], time.monotonic() + total_of(request)
        outcome = await outcome_of(handler, request)
        if wait_after(rules, method, outcome, 0.0) == math.inf or not stamina.is_active():
            return attempt_outcome(outcome)  # stamina costs more than a short request
        with suppress(RetryNeeded):  # in its testing mode stamina lets fewer attempts be made
            async for attempt in stamina.retry_context(_seconds, attempts=attempts, timeout=None):
                with attempt:
                    if attempt.num > 1:
                        again = with_time_left(to_request(table), ends - time.monotonic())
                        outcome = await outcome_of(handler, again)
                    backoff = attempt.next_wait and attempt.next_wait + random.uniform(0, JITTER)
                    seconds = wait_after(rules, method, outcome, backoff)
                    if attempt.num < most and seconds < ends - time.monotonic():
                        await close_body(outcome)
                        raise RetryNeeded(outcome, seconds)
        return attempt_outcome(outcome)

    return retried


class Rules(NamedTuple):
    """What is sent again; see ``retry``."""

    methods: frozenset[str]
    statuses: frozenset[int]
    longest: float


def check_statuses(statuses: Any) -> frozenset[int]:
    many = isinstance(statuses, Collection)
    if not many or not all(isinstance(status, int) for status in statuses):
        raise TableError.of('statuses', statuses, 'a list of statuses')
    return frozenset(statuses)


class RetryNeeded(Exception):
    """Tells stamina to let another attempt be made. Its text is logged, so it has no secrets."""

    def __init__(self, outcome: Outcome, seconds: float) -> None:
        status = None if isinstance(outcome, Error) else outcome['status']
        super().__init__(status or type(outcome).__name__)
        self.seconds = seconds


def _seconds(error: Exception) -> float | bool:
    return error.seconds if isinstance(error, RetryNeeded) else False


async def outcome_of(handler: Handler, request: Request) -> Outcome:
    try:
        return await response_of_handler(handler, request)
    except Error as error:
        return error


def attempt_outcome(outcome: Outcome) -> Response[Any]:
    if isinstance(outcome, Error):
        raise outcome
    return outcome


def wait_after(rules: Rules, method: str, outcome: Outcome, backoff: float) -> float:
    """Tell how many seconds after an attempt the next may be made; never is infinite."""
    if isinstance(outcome, ConnectError):  # nothing was sent
        return backoff
    if method not in rules.methods:
        return math.inf
    if isinstance(outcome, StatusError):
        outcome = outcome.response
    if isinstance(outcome, Error):
        return backoff if isinstance(outcome, TimedOut | ProtocolError) else math.inf
    asked = retry_after(outcome['headers'])
    if outcome['status'] not in rules.statuses or asked > rules.longest:
        return math.inf
    return max(asked, backoff)


def retry_after(headers: Mapping[str, str]) -> float:
    """Read the seconds of a Retry-After in either form (RFC 9110 10.2.3); 0 is none, or past."""
    value = headers.get('Retry-After', '')
    if re.fullmatch('[0-9]+', value):
        return float(value)
    date = parse_date(value)
    return 0.0 if date is None else max(0.0, date - time.time())


def total_of(request: Request) -> float:
    """Give the seconds that a request may take, infinite where there is no limit."""
    timeout = request.get('timeout', TIMEOUT)
    total = timeout.get('total', TIMEOUT) if isinstance(timeout, Mapping) else timeout
    return math.inf if total is None else total


def with_time_left(request: Request, left: float) -> Request:
    """Let a request take no longer than what is left."""
    if left == math.inf:
        return request
    timeout = request.get('timeout')
    limits = timeout if isinstance(timeout, Mapping) else {}
    return request | {'timeout': {**limits, 'total': max(left, SHORTEST)}}


def check_restarts(request: Request) -> None:
    """Refuse a body that could be sent only once, before it is; an open file is not wound back."""
    body = request.get('body')
    if is_file(body) or is_one_shot(body):
        right = 'one to be sent more than once, such as text, bytes or a path'
        raise TableError.of('body', body, right)
