"""Exit statuses of commands: what was wrong, as one line on stderr."""

from __future__ import annotations

import os
import sys
from collections.abc import Callable
from typing import Any

from ..errors import Error, TableError

__all__ = ['FAILED', 'INTERRUPTED', 'UNREAD', 'USAGE', 'exit_status']

FAILED = 1  # there was no response, or a server could not start
USAGE = 2  # the command line is wrong, as argparse exits, too
INTERRUPTED, UNREAD = 130, 141  # as in shells: 128 and the number of SIGINT or SIGPIPE


def exit_status(run: Callable[[], Any]) -> int:
    """Run a command and return its exit status; an expected error is one line on stderr."""
    try:
        status = int(run() or 0)
        sys.stdout.flush()
    except BrokenPipeError:  # such as of `| head`; Python would complain again at its end
        os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())
        return UNREAD
    except (Error, OSError, ImportError) as error:
        text = '; '.join([_text_of(error), *getattr(error, '__notes__', ())])
        print(f'aioluahttp: {text}', file=sys.stderr)
        return USAGE if isinstance(error, TableError) else FAILED
    except KeyboardInterrupt:
        return INTERRUPTED
    return status


def _text_of(error: BaseException) -> str:
    """Return the message of an error, without the number that Python puts before an OSError's."""
    if isinstance(error, OSError) and error.strerror:
        return ': '.join([error.strerror, *([repr(error.filename)] if error.filename else [])])
    return str(error)
