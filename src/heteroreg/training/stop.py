"""Stop on a signal, after saving."""

from __future__ import annotations

import signal
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from types import FrameType
from typing import Any

import torch
from lightning_fabric import Fabric
from torch import Tensor

from heteroreg.system.signals import handled


class StopRequest:
    """A request to stop the process, by SIGTERM (a scheduler) or SIGINT (Ctrl-C).

    Attributes:
        signal: The number of the signal; 0 as long as there was none.
        before: The handlers that the signals had.
    """

    def __init__(self) -> None:
        self.signal = 0
        self.before: Mapping[int, Any] = {}

    def __call__(self, number: int, frame: FrameType | None) -> None:
        """Note a signal. The second Ctrl-C goes to the handler from before: by default it interrupts at once.

        Raises:
            KeyboardInterrupt: That handler cannot be called.
        """
        if number == signal.SIGINT and self.signal == signal.SIGINT:
            earlier = self.before.get(number)
            if not callable(earlier):
                raise KeyboardInterrupt
            earlier(number, frame)
        self.signal = number

    def agreed(self, fabric: Fabric, meeting: bool) -> int:
        """Return the signal that all processes stop for, 0 if they go on.

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
    """Listen for signals within the block; only the main thread of a program can.

    A signal that the block did not act on, because it was about to end anyway, is given to the handler from
    before: whoever asked the program to stop does not see it go on to its next work.
    """
    request = StopRequest()
    with handled(request) as request.before:
        yield request
    if request.signal:
        signal.raise_signal(request.signal)
