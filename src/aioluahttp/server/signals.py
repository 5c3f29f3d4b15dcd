"""Signals that stop a server: the first one calls a function, a second one ends the process."""

from __future__ import annotations

import asyncio
import signal
import threading
from collections.abc import Callable, Iterable, Iterator
from contextlib import ExitStack, contextmanager
from typing import Any

from ..errors import TableError

__all__ = ['STOPPING', 'on_first_signal']

STOPPING = (signal.SIGINT, signal.SIGTERM)


@contextmanager
def on_first_signal(signals: Iterable[int], function: Callable[[], Any]) -> Iterator[None]:
    """Call a function in the running loop at the first signal; a second has its default action.

    At the end of the block the signal handlers are those of before.

    Args:
        signals: Numbers of signals. If there are none, this does nothing.
        function: Runs as a callback of the loop.

    Raises:
        TableError: One of them is no signal that can be caught, or this is not the main thread.
    """
    loop, caught = asyncio.get_running_loop(), _check_signals(signals)

    def stop(*_: Any) -> None:
        for number in caught:
            # Not Python's KeyboardInterrupt: raised inside the loop it can lose a task, and hang.
            signal.signal(number, signal.SIG_DFL)
        loop.call_soon_threadsafe(function)

    with ExitStack() as restored:
        for number in caught:
            # Not the loop's add_signal_handler, which forgets a handler that the loop had before.
            before = _catch(number, stop)
            restored.callback(signal.signal, number, before or signal.SIG_DFL)
        yield


def _check_signals(signals: Iterable[int]) -> list[signal.Signals]:
    try:
        caught = [signal.Signals(number) for number in signals]
    except (TypeError, ValueError) as error:
        right = 'a collection of signals, such as (SIGINT, SIGTERM)'
        raise TableError.of('signals', signals, right) from error
    if caught and threading.current_thread() is not threading.main_thread():
        raise TableError.of('signals', caught, 'left out outside the main thread, as Python asks')
    return caught


def _catch(number: signal.Signals, handler: Callable[..., None]) -> Any:
    try:
        return signal.signal(number, handler)
    except OSError as error:
        raise TableError.of('signals', number, 'signals that can be caught') from error
