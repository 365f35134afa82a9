"""Penalty or kernel: minimise the loss for each pair alone, from the identity, under several of both.

    python -m benchmarks.kernels ../shared/data/hippocampus-3d results/kernels --initial affine --pairs 12

The loss is that of `ncc` with the penalty λ‖∇v‖²; the velocity is smoothed by a Gaussian of the given SD (setting
`kernel`). Scores are means over the first validation pairs. What is there is not done again.
"""

from __future__ import annotations

import argparse
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
import torch
from numpy.typing import NDArray

import heteroreg as hr
from benchmarks.others import scored
from heteroreg.losses import TotalLoss
from heteroreg.losses.objectives import LocalCorrelation
from heteroreg.networks.displacement import Displacement, integrated
from heteroreg.registration.classical import Classical
from heteroreg.registration.refinement import SQUARINGS, refine
from heteroreg.system.files import write_text

Array = NDArray[np.float32]
# λ, and the SD of the kernel.
ROWS = ((0.03, 0.0), (0.1, 0.0), (0.3, 0.0), (1.0, 0.0), (0.0, 0.75), (0.0, 1.0), (0.1, 1.0), (0.0, 1.5))


@dataclass(frozen=True)
class Minimised(Classical):
    """Minimises the local correlation loss of a pair.

    Attributes:
        smoothness: λ.
        kernel: SD of the Gaussian in voxels of the velocity.
        iterations: Steps of the descent.
        window: Window of the correlation.
        epsilon: ε of the correlation.
    """

    smoothness: float = 0.1
    kernel: float = 0.0
    iterations: int = 100
    window: int = 5
    epsilon: float = 0.02
    name: str = "minimised"

    def _align(self, moving: Array, fixed: Array, spacing: Sequence[float]) -> NDArray[np.floating[Any]]:
        del spacing  # it works in voxels
        shape = fixed.shape
        velocity = torch.zeros(1, fixed.ndim, *[(n + 1) // 2 for n in shape])
        found = refine(
            Displacement(velocity, *integrated(velocity, shape, SQUARINGS)),
            torch.from_numpy(np.ascontiguousarray(moving))[None, None],
            torch.from_numpy(np.ascontiguousarray(fixed))[None, None],
            LocalCorrelation(self.window, self.epsilon),
            TotalLoss(self.smoothness),
            SQUARINGS,
            self.iterations,
            kernel=self.kernel,
        )
        return found.forward[0].numpy()


def main(arguments: Sequence[str] | None = None) -> None:
    """Score all rows and print the table."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("cohort", type=Path)
    parser.add_argument("out", type=Path)
    parser.add_argument("--pairs", type=int, default=12, help="validation pairs")
    parser.add_argument("--iterations", type=int, default=100)
    parser.add_argument("--initial", help="initial alignment, as in `heteroreg register`")
    options = parser.parse_args(arguments)
    torch.set_num_threads(1)
    cohort = hr.Cohort.read(options.cohort).split("val")
    cohort = hr.Cohort(cohort.pairs[: options.pairs], cohort.name)
    rows = []
    for smoothness, kernel in ROWS:
        registrar = Minimised(smoothness, kernel, options.iterations)
        place = options.out / f"{smoothness:g}-{kernel:g}-{options.iterations}"
        rows.append({"λ": smoothness, "kernel": kernel, **scored(registrar, cohort, place, options.initial)})
    table = pd.DataFrame(rows)
    write_text(options.out / "table.csv", table.to_csv(index=False))
    print(table.round(4).to_string(index=False))


if __name__ == "__main__":
    main()
