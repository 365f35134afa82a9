"""Sizes of the measurements."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any

PRECISIONS = ("32-true", "bf16-mixed")
# The smallest volume that a network takes in every precision: on CPUs oneDNN's bf16 weight gradients of 3D
# convolutions hold rubbish where the first axis of the features is 2, and of transposed ones where the second is 1.
SMALL = (48, 32, 16)
HALF = "voxelmorph-half"
METHODS = ("mse", "hetero", "hetero-paper", f"mse, {HALF}", f"hetero, {HALF}")


@dataclass(frozen=True)
class Case:
    """A batch of a shape."""

    shape: tuple[int, ...]
    batch: int

    @property
    def name(self) -> str:
        """Such as `2D 128×128, batch 8`."""
        return f"{len(self.shape)}D {'×'.join(map(str, self.shape))}, batch {self.batch}"


@dataclass(frozen=True)
class Plan:
    """Choice and number of measurements.

    Attributes:
        threads: Threads of PyTorch.
        repeats: Turns, of which the median counts.
        cases: Sizes for the time and memory of the training step.
        slices: In the stack that is registered.
        native: Voxels of the files that are read.
        evaluated: Pairs that are evaluated.
        large: Size (N, *shape) of the convolution that sets the limit, by dimension; None: the usual.
        methods: Those of heteroreg; a network other than the usual after a comma.
        settings: Further settings of the training.
    """

    threads: int
    repeats: int = 9
    cases: tuple[Case, ...] = (Case((128, 128), 8), Case((64, 64, 64), 1))
    slices: int = 16
    native: tuple[int, int, int] = (256, 256, 12)
    evaluated: int = 12
    large: Mapping[int, tuple[int, ...]] | None = None
    methods: tuple[str, ...] = METHODS
    settings: Mapping[str, Any] = field(default_factory=dict)

    @classmethod
    def quick(cls, threads: int, **other: Any) -> Plan:
        """Return a plan that takes seconds; its figures mean nothing."""
        small: dict[str, Any] = {
            "repeats": 1,
            "methods": ("mse", "hetero"),
            "cases": (Case((32, 32), 2), Case(SMALL, 1)),
            "slices": 2,
            "native": (32, 32, 2),
            "evaluated": 2,
            "large": {2: (1, 16, 16), 3: (1, 8, 8, 8)},
        }
        return cls(threads=threads, **(small | other))
