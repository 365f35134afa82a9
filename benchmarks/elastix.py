"""Choose the settings of elastix by Dice, folding and time of candidates on slices of the validation pairs.

    python -m benchmarks.elastix ../shared/data/mnms

Slices that show the myocardium in both images, every second of them by default. The test pairs are not touched.
"""

from __future__ import annotations

import argparse
import time
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
import torch
from numpy.typing import NDArray

from heteroreg import Cohort
from heteroreg.data.samples.dataset import ImageCache
from heteroreg.data.samples.preparation import resample, scale_of
from heteroreg.evaluation.overlap import dice
from heteroreg.registration.elastix import align
from heteroreg.spatial import warp_labels
from heteroreg.spatial.regularity import folding_percent

MYOCARDIUM = 2
ALONE = {"Registration": "MultiResolutionRegistration", "Metric": "AdvancedMeanSquares"}
Settings = Mapping[str, str | Sequence[str]]
CANDIDATES: dict[str, Settings] = {
    "as set": {},
    "no penalty, 250 iterations": {**ALONE, "MaximumNumberOfIterations": "250"},
    "no penalty, 250 iterations, 12 px": {
        **ALONE, "MaximumNumberOfIterations": "250", "FinalGridSpacingInVoxels": "12",
    },
    "penalty 0.01, 250 iterations": {"Metric1Weight": "0.01", "MaximumNumberOfIterations": "250"},
    "penalty 0.1, 250 iterations": {"Metric1Weight": "0.1", "MaximumNumberOfIterations": "250"},
    "penalty 0.3, 500 iterations": {"Metric1Weight": "0.3", "MaximumNumberOfIterations": "500"},
    "penalty 1, 250 iterations": {"Metric1Weight": "1", "MaximumNumberOfIterations": "250"},
    "penalty 1, 600 iterations": {"Metric1Weight": "1", "MaximumNumberOfIterations": "600"},
    "penalty 1, 500 iterations, 6 px": {
        "Metric1Weight": "1", "MaximumNumberOfIterations": "500", "FinalGridSpacingInVoxels": "6",
    },
    "penalty 3, 120 iterations": {"Metric1Weight": "3", "MaximumNumberOfIterations": "120"},
    "penalty 10, 120 iterations": {"Metric1Weight": "10", "MaximumNumberOfIterations": "120"},
    "penalty 3, 120 iterations, 6 px": {
        "Metric1Weight": "3", "MaximumNumberOfIterations": "120", "FinalGridSpacingInVoxels": "6",
    },
    "penalty 3, 120 iterations, 12 px": {
        "Metric1Weight": "3", "MaximumNumberOfIterations": "120", "FinalGridSpacingInVoxels": "12",
    },
    "penalty 3, 120 iterations, 3 levels": {
        "Metric1Weight": "3", "MaximumNumberOfIterations": "120", "NumberOfResolutions": "3",
    },
    "penalty 1, L-BFGS on every 2nd pixel": {
        "Metric0Weight": "1000", "Metric1Weight": "1000", "MaximumNumberOfIterations": "60",
        "Optimizer": "QuasiNewtonLBFGS", "GradientMagnitudeTolerance": "1e-9",
        "ImageSampler": "Grid", "SampleGridSpacing": ["2"] * 8,
    },
    "correlation, penalty 100, 120 iterations": {
        "Metric": ["AdvancedNormalizedCorrelation", "TransformBendingEnergyPenalty"],
        "Metric1Weight": "100", "MaximumNumberOfIterations": "120",
    },
}  # fmt: skip


def slices(cohort: Cohort, every: int) -> list[tuple[str, list[NDArray[Any]], tuple[float, ...]]]:
    """Patient, arrays (moving, fixed, labels of moving, of fixed) and spacing of each slice with myocardium."""
    cache, found = ImageCache(), []
    for pair in cohort:
        assert pair.moving_labels is not None
        assert pair.fixed_labels is not None
        moving, fixed = cache.image(pair.moving), cache.image(pair.fixed)
        grid = fixed.grid
        arrays = [
            scale_of(moving, "percentile")(resample(moving, grid).array),
            scale_of(fixed, "percentile")(fixed.array),
            resample(cache.labels(pair.moving_labels), grid, labels=True).array,
            cache.labels(pair.fixed_labels).array,
        ]
        shown = [k for k in range(grid.shape[2]) if all((a[..., k] == MYOCARDIUM).any() for a in arrays[2:])]
        chosen = shown[len(shown) % every :: every] or shown[:1]
        found += [(pair.patient, [a[..., k] for a in arrays], grid.spacing[:2]) for k in chosen]
    return found


def scored(
    arrays: Sequence[NDArray[Any]], spacing: Sequence[float], settings: Settings, threads: int
) -> dict[str, float]:
    """Return the scores of one slice in % and the seconds of processor time."""
    moving, fixed, moving_labels, fixed_labels = arrays
    began = time.process_time()
    displacement = align(moving, fixed, spacing, settings=settings, threads=threads)
    values = {"seconds": time.process_time() - began, "folding": folding_percent(displacement)}
    labels = torch.from_numpy(moving_labels.astype(np.int64))[None, None]
    moved = warp_labels(labels, torch.from_numpy(displacement)[None])[0, 0].numpy()
    for label in sorted(set(np.unique(moving_labels)) & set(np.unique(fixed_labels)) - {0}):
        values[f"dice_{label}"] = 100 * dice(moved == label, fixed_labels == label)
    return values


def main() -> None:
    """Tries each candidate, prints its means over patients."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("cohort", type=Path)
    parser.add_argument("--only", nargs="+", choices=list(CANDIDATES), default=list(CANDIDATES))
    parser.add_argument("--every", type=int, default=2, help="take every n-th slice")
    parser.add_argument("--threads", type=int, default=1)
    options = parser.parse_args()
    parts = slices(Cohort.read(options.cohort).split("val"), options.every)
    moving, fixed, *_ = parts[0][1]
    align(moving, fixed, parts[0][2])  # loads elastix, which takes seconds
    for name in options.only:
        rows = [
            {"patient": who, **scored(arrays, spacing, CANDIDATES[name], options.threads)}
            for who, arrays, spacing in parts
        ]
        means = pd.DataFrame(rows).groupby("patient").mean().mean()
        means["dice"] = means.filter(like="dice_").mean()
        print(f"{name} ({len(parts)} slices):", means.round(2).to_dict(), flush=True)


if __name__ == "__main__":
    main()
