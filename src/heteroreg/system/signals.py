"""Signals that ask a program to end."""

from __future__ import annotations

import signal
import threading
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from types import FrameType
from typing import Any

SIGNALS = (signal.SIGTERM, signal.SIGINT)  # a scheduler, and Ctrl-C


class Interruption(BaseException):
    """Signal that ends the command; not an `Exception`, so that no handler takes it for a fault.

    Attributes:
        signal: The number of the signal.
    """

    def __init__(self, number: int) -> None:
        super().__init__(number)
        self.signal = number


def interrupt(number: int, _frame: FrameType | None) -> None:
    """Raise `Interruption`, as a handler of signals, so that the running work can clean up.

    Raises:
        Interruption: Always.
    """
    raise Interruption(number)


@contextmanager
def handled(handler: Callable[[int, FrameType | None], Any]) -> Iterator[Mapping[int, Any]]:
    """Handle the signals within the block.

    Only the main thread of a program can; in another nothing changes. A signal that the program ignores since its
    start, as under `nohup` or in the background of a script, stays ignored.

    Yields:
        The handlers from before, by signal.
    """
    before: dict[int, Any] = {}
    try:
        if threading.current_thread() is threading.main_thread():
            for number in SIGNALS:
                if signal.getsignal(number) is not signal.SIG_IGN:
                    before[number] = signal.signal(number, handler) or signal.SIG_DFL
        yield before
    finally:
        for asked, earlier in before.items():
            signal.signal(asked, earlier)
