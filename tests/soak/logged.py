"""Count log records and warnings that no request provoked."""

from __future__ import annotations

import logging
import sys
import warnings
from typing import Any

from tally import Tally

__all__ = ['watch']

LOGGERS = ('aioluahttp', 'aiohttp', 'asyncio', 'py.warnings')


class _Watching(logging.Handler):
    """Counts each record as a fault, except those that were provoked on purpose."""

    def __init__(self, tally: Tally, provoked: str) -> None:
        super().__init__(logging.WARNING)
        self.tally = tally
        self.provoked = provoked

    def emit(self, record: logging.LogRecord) -> None:
        text = record.getMessage()
        if record.name == 'aioluahttp' and self.provoked in text:
            self.tally.events['logged mistakes'] += 1
            return
        error = record.exc_info[1] if record.exc_info else None
        self.tally.fault(
            'unprovoked log records', f'{record.levelname} {record.name}: {text} {error!r}'
        )


def watch(tally: Tally, provoked: str) -> None:
    """Count log records from WARNING on, warnings, and unraisable exceptions as faults.

    Args:
        tally: Counts them.
        provoked: Text in the message of each record that was provoked on purpose.
    """
    warnings.simplefilter('always')
    logging.captureWarnings(True)
    handler = _Watching(tally, provoked)
    for name in LOGGERS:
        logging.getLogger(name).addHandler(handler)
        logging.getLogger(name).propagate = False

    def unraisable(what: Any) -> None:
        tally.fault('unraisable exceptions', f'{what.exc_value!r} in {what.object!r}')

    sys.unraisablehook = unraisable
