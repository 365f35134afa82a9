"""Slices that a structure leaves between the two images of a stack.

A 2D registration cannot make a label vanish: where the moving slice has it and the fixed one no longer does, as at
the base of the heart, the warped label stays. How likely that is can be learned from labelled stacks.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from heteroreg.system.arrays import Doubles, Floats

# Distances from the end of the label that have a weight of their own, in slices: at the end where the moving label
# is larger (the base of a heart), and at the other.
FROM_LARGE, FROM_SMALL = 3, 2
RIDGE, STEPS = 1.0, 30
FEWEST = 10  # slices with and without the label that a fit needs


@dataclass(frozen=True)
class SliceTable:
    """The slices of a warped label.

    Attributes:
        index: Index of each slice (K,).
        area: Area of the warped label in voxels.
        features: What may foretell that the label is no longer there (K, 8).
    """

    index: NDArray[np.int64]
    area: Doubles
    features: Doubles

    @classmethod
    def of(
        cls, face_slice: NDArray[np.int64], face_sd: Floats, warped: NDArray[np.int64], moving: NDArray[np.int64]
    ) -> SliceTable:
        """Return the table of one label.

        Args:
            face_slice: Slice of each face of its contour (M,).
            face_sd: σ in mm there (M,).
            warped: Voxels of the warped label in each slice (N,).
            moving: Voxels of the moving label in each slice, resampled onto the fixed grid (N,).
        """
        index = np.flatnonzero(warped)
        if not len(index):
            return cls(index, np.empty(0), np.empty((0, FROM_LARGE + FROM_SMALL + 3)))
        count = np.bincount(face_slice, minlength=len(warped))[index]
        total = np.bincount(face_slice, weights=np.log(face_sd), minlength=len(warped))[index]
        area = warped[index].astype(np.float64)
        first, last = index[0], index[-1]
        low, high = index - first, last - index
        large, small = (low, high) if moving[first] > moving[last] else (high, low)
        columns = [large == k for k in range(FROM_LARGE)] + [small == k for k in range(FROM_SMALL)]
        columns += [
            total / np.maximum(count, 1),
            np.log(area / area.max()),
            np.log((area + 1) / (moving[index] + 1)),
        ]
        return cls(index, area, np.stack(columns, axis=1).astype(np.float64))


@dataclass(frozen=True)
class SlicePresence:
    """Logistic regression of whether a slice still has the label.

    Attributes:
        mean: Mean of each feature.
        sd: Its standard deviation.
        coefficients: Constant, then the weight of each standardised feature.
    """

    mean: tuple[float, ...]
    sd: tuple[float, ...]
    coefficients: tuple[float, ...]

    @classmethod
    def fit(cls, features: Doubles, present: NDArray[np.bool_]) -> SlicePresence | None:
        """Fit by Newton's method with a ridge; None if there are fewer than 10 slices of either kind.

        Args:
            features: (K, P).
            present: True where the true label is there (K,).
        """
        if min(np.count_nonzero(present), np.count_nonzero(~present)) < FEWEST:
            return None
        mean, sd = features.mean(axis=0), features.std(axis=0) + 1e-6
        design = np.concatenate([np.ones((len(features), 1)), (features - mean) / sd], axis=1)
        ridge = RIDGE * np.eye(design.shape[1])
        ridge[0, 0] = 0
        weights = np.zeros(design.shape[1])
        for _ in range(STEPS):
            share = _logistic(design @ weights)
            curvature = design.T @ (design * (share * (1 - share) + 1e-6)[:, None]) + ridge
            weights = weights + np.linalg.solve(curvature, design.T @ (present - share) - ridge @ weights)
        return cls(*(tuple(map(float, values)) for values in (mean, sd, weights)))

    def __call__(self, features: Doubles) -> Doubles:
        """Return the probability that each slice still has the label (K,)."""
        standardised = (features - np.asarray(self.mean)) / np.asarray(self.sd)
        return _logistic(self.coefficients[0] + standardised @ np.asarray(self.coefficients[1:]))

    def share_left(self, table: SliceTable) -> float:
        """Return the expected share of a label's size that is in slices which still have it."""
        there = self(table.features)
        return float((there * table.area).sum() / table.area.sum())


def _logistic(values: Doubles) -> Doubles:
    return np.asarray(1 / (1 + np.exp(-np.clip(values, -50, 50))))
