"""Detect non-finite values without a GPU sync."""

from __future__ import annotations

from collections.abc import Iterable

import torch
from lightning_fabric import Fabric
from torch import Tensor


class FiniteCheck:
    """Record, on the device, of the first step with a non-finite figure.

    Looking at a figure makes the processor wait for the GPU. So every step only notes on the device whether all
    is well, and the note is read where the training waits anyway: before a row of figures or a checkpoint.

    Args:
        device: Where the figures are.
    """

    NEVER = torch.iinfo(torch.int64).max

    def __init__(self, device: torch.device) -> None:
        self._first = torch.full((), self.NEVER, dtype=torch.int64, device=device)

    def note(self, step: int, figures: Iterable[Tensor]) -> None:
        """Look at the figures of a step."""
        finite = torch.stack([figure.detach().isfinite().all() for figure in figures]).all()
        self._first = torch.where(finite, self._first, self._first.clamp(max=step))

    def first_bad_step(self, fabric: Fabric) -> int | None:
        """Return the first step with a non-finite figure in any process. Waits for device and processes."""
        step = int(torch.as_tensor(fabric.all_reduce(self._first.clone(), reduce_op="min")))
        return None if step == self.NEVER else step
