"""The state of the process that a training changes for its own time."""

from __future__ import annotations

import warnings
from collections.abc import Iterator
from contextlib import contextmanager

import torch


@contextmanager
def restored_process_state() -> Iterator[None]:
    """Restore random numbers, cuDNN's choice of algorithms and the filters of warnings after the block.

    A training seeds PyTorch's generators in every step. The generator of a GPU is restored if the GPU was in use
    before: looking at it otherwise would take memory on it.
    """
    devices = [torch.cuda.current_device()] if torch.cuda.is_available() and torch.cuda.is_initialized() else []
    benchmark = torch.backends.cudnn.benchmark
    with torch.random.fork_rng(devices=devices), warnings.catch_warnings():
        try:
            yield
        finally:
            torch.backends.cudnn.benchmark = benchmark
