"""Format and parse HTTP dates as Unix time (RFC 9110 5.6.7), and parse those of cookies."""

from __future__ import annotations

import math
import re
from calendar import monthrange, timegm
from datetime import UTC, datetime, timedelta
from email.utils import format_datetime
from functools import lru_cache
from typing import Any

from .errors import TableError

__all__ = ['date_of_second', 'format_date', 'parse_cookie_date', 'parse_date']

EPOCH = datetime(1970, 1, 1, tzinfo=UTC)
MONTHS = ('Jan', 'Feb', 'Mar', 'Apr', 'May', 'Jun', 'Jul', 'Aug', 'Sep', 'Oct', 'Nov', 'Dec')

DAY = r'(?:Mon|Tue|Wed|Thu|Fri|Sat|Sun)'
LONG_DAY = r'(?:Monday|Tuesday|Wednesday|Thursday|Friday|Saturday|Sunday)'
MONTH = rf'(?P<month>{"|".join(MONTHS)})'
TIME = r'(?P<hour>[01][0-9]|2[0-3]):(?P<minute>[0-5][0-9]):(?P<second>[0-5][0-9]|60)'
# Not compiled: re does so at the first date, and many programs never parse one.
FORMS = (
    rf'{DAY}, (?P<day>[0-9]{{2}}) {MONTH} (?P<year>[0-9]{{4}}) {TIME} GMT',
    rf'{LONG_DAY}, (?P<day>[0-9]{{2}})-{MONTH}-(?P<year>[0-9]{{2}}) {TIME} GMT',
    rf'{DAY} {MONTH} (?P<day>[0-9]{{2}}| [0-9]) {TIME} (?P<year>[0-9]{{4}})',
)
# The parts of a date in a cookie, in the order in which they are looked for (RFC 6265 5.1.1).
COOKIE_TOKEN = r'[^\t -/;-@\[-`{-~]+'
COOKIE_PARTS = (
    r'(?P<hour>[0-9]{1,2}):(?P<minute>[0-9]{1,2}):(?P<second>[0-9]{1,2})(?![0-9])',
    r'(?P<day>[0-9]{1,2})(?![0-9])',
    f'(?ai){MONTH}',
    r'(?P<year>[0-9]{2,4})(?![0-9])',
)


def format_date(time: float | datetime | None = None) -> str:
    """Format a time as an HTTP date, such as ``Sun, 06 Nov 1994 08:49:37 GMT``.

    Args:
        time: Unix time in seconds (a fraction is cut off), or an aware ``datetime``.
            ``None`` means now.

    Raises:
        TableError: The time is a naive ``datetime``, or outside the years 1 to 9999.

    Example:
        >>> format_date(784111777)
        'Sun, 06 Nov 1994 08:49:37 GMT'
    """
    return format_datetime(_to_datetime(time), usegmt=True)


@lru_cache(8)
def date_of_second(second: int) -> str:
    """Format a Unix time. It is kept, because all responses of a second have the same date."""
    return format_date(second)


def _to_datetime(time: float | datetime | None) -> datetime:
    if time is None:
        return datetime.now(UTC)
    try:
        if isinstance(time, datetime):
            if time.utcoffset() is None:
                raise TableError.of('time', time, 'aware: a naive datetime has no time zone')
            return time.astimezone(UTC)
        if isinstance(time, bool) or not isinstance(time, int | float):
            raise TableError.of('time', time, 'Unix time (int or float), a datetime, or None')
        return EPOCH + timedelta(seconds=math.floor(time))
    except (OverflowError, ValueError) as error:
        if isinstance(error, TableError):
            raise
        raise TableError.of('time', time, 'a time in the years 1 to 9999') from error


def parse_date(text: Any) -> int | None:
    """Parse an HTTP date in any of its three forms.

    Strict: only GMT, only ASCII digits, only dates that exist; but the name of the day need not
    fit the date. A leap second (``:60``) counts as the second after it.

    Returns:
        Unix time in seconds, or None for anything that is not an HTTP date. Never raises.

    Example:
        >>> parse_date('Sunday, 06-Nov-94 08:49:37 GMT')
        784111777
        >>> parse_date('tomorrow') is None
        True
    """
    if not isinstance(text, str):
        return None
    for form in FORMS:
        if match := re.fullmatch(form, text):
            return _to_unix(**match.groupdict())
    return None


def _to_unix(year: str, month: str, day: str, hour: str, minute: str, second: str) -> int | None:
    rest = (MONTHS.index(month) + 1, int(day), int(hour), int(minute), int(second))
    full = _full_year(int(year), rest) if len(year) == 2 else int(year)
    if full < 1 or not 1 <= rest[1] <= monthrange(full, rest[0])[1]:
        return None
    return timegm((full, *rest))


def _full_year(digits: int, rest: tuple[int, ...]) -> int:
    # RFC 9110 5.6.7: a date that appears to be more than 50 years in the future is in the most
    # recent year in the past with the same last two digits.
    now = datetime.now(UTC)
    latest = now.year + 50
    year = latest - (latest - digits) % 100
    return year - 100 if (year, *rest) > (latest, *now.timetuple()[1:6]) else year


def parse_cookie_date(text: str) -> int | None:
    """Parse the date of a cookie's ``Expires``, which may have many forms (RFC 6265 5.1.1).

    Any zone counts as GMT. A year of two digits is one from 1970 to 2069.

    Returns:
        Unix time in seconds, or None if the text lacks a part of a date. Never raises.

    Example:
        >>> parse_cookie_date('Thu, 01-Jan-1970 00:00:00 GMT')
        0
    """
    found: dict[str, str] = {}
    missing = list(COOKIE_PARTS)
    for token in re.findall(COOKIE_TOKEN, text):
        for part in missing:
            if match := re.match(part, token):
                found |= match.groupdict()
                missing.remove(part)
                break
    if missing or int(found['hour']) > 23:
        return None
    if int(found['minute']) > 59 or int(found['second']) > 59:
        return None
    year = int(found['year'])
    year += 0 if year > 99 else 1900 if year > 69 else 2000
    if year < 1601:
        return None
    return _to_unix(**found | {'year': f'{year:04}', 'month': found['month'].capitalize()})
