"""A polite end: a signal asks, the loop saves and leaves."""

from __future__ import annotations

import signal
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from types import FrameType

import torch
from lightning_fabric import Fabric
from torch import Tensor

SIGNALS = (signal.SIGTERM, signal.SIGINT)


class StopRequest:
    """Whether the process was asked to stop, by SIGTERM (a scheduler) or SIGINT (Ctrl-C).

    Attributes:
        signal: The number of the signal; 0 as long as there was none.
    """

    signal: int = 0

    def __call__(self, number: int, _frame: FrameType | None) -> None:
        """Notes a signal. The second Ctrl-C interrupts at once."""
        if number == signal.SIGINT and self.signal == signal.SIGINT:
            raise KeyboardInterrupt
        self.signal = number

    def agreed(self, fabric: Fabric, meeting: bool) -> int:
        """The signal that all processes stop for, 0 if they go on.

        A signal may reach one process alone, or each in another step, and none may leave while others wait for
        it. So several processes ask each other, and only where they meet anyway.

        Args:
            fabric: The processes.
            meeting: Whether all of them are in this call.
        """
        if fabric.world_size == 1:
            return self.signal
        if not meeting:
            return 0
        signals = fabric.all_gather(torch.tensor(self.signal))
        assert isinstance(signals, Tensor)
        return int(signals.max())


@contextmanager
def stop_request() -> Iterator[StopRequest]:
    """Listens for signals within the block; only the main thread of a program can."""
    request = StopRequest()
    if threading.current_thread() is not threading.main_thread():
        yield request
        return
    before = {number: signal.signal(number, request) for number in SIGNALS}
    try:
        yield request
    finally:
        for number, handler in before.items():
            signal.signal(number, handler)
