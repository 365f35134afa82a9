"""The scores of one row of the table."""

from __future__ import annotations

from collections.abc import Collection
from dataclasses import dataclass
from typing import Any, Literal

import numpy as np
import torch
from numpy.typing import NDArray

from heteroreg.evaluation import learn2reg
from heteroreg.evaluation.metrics import computed
from heteroreg.evaluation.overlap import dice, jaccard
from heteroreg.evaluation.surface import surface_distances
from heteroreg.evaluation.truth import displacement_agreement, displacement_sd_size, noise_agreement
from heteroreg.evaluation.uncertainty import (
    Sparsification,
    coverage,
    expected_calibration_error,
    foreground_mask,
    noise_nll,
    sparsification_curve,
)
from heteroreg.registration.maps import Maps
from heteroreg.spatial import warp
from heteroreg.spatial.regularity import determinant, percent_folded, sd_of_log

ScoringMode = Literal["standard", "reference", "learn2reg"]
COVERAGES = (50, 68, 90, 95)
# Rounding moves at most this much of a voxel to its neighbours.
ROUNDING = 1e-6


@dataclass(frozen=True)
class RowScores:
    """The scores of the maps of a pair, or of one of its slices.

    Attributes:
        values: Metric → value; metrics that are not defined are missing or NaN.
        present: Labels of both label maps.
        missed: Labels of both maps that the warp lost: Dice 0, no distance.
        one_sided: Labels of the moving or the fixed label map only: no score.
        curve: Sparsification over all pixels; None without a noise map.
        curve_foreground: Sparsification over the foreground.
    """

    values: dict[str, float]
    present: frozenset[int]
    missed: frozenset[int]
    one_sided: frozenset[int]
    curve: Sparsification | None = None
    curve_foreground: Sparsification | None = None


def score(
    maps: Maps, labels: Collection[int] | None, mode: ScoringMode, intensity_range: float | None = None
) -> RowScores:
    """Score the maps of a registration, or of one slice of it.

    A label is scored where both the moving and the fixed label map have it.

    `standard`: the warped label map against the fixed one, distances in mm. A label that the warp lost counts
    as a miss with Dice 0. `reference`: as the paper's own figures were made: each label's mask is warped
    linearly and thresholded above 0, distances are in voxels, and a label with an empty mask has no score.
    `asd` is one way in both modes, from moved to fixed. `learn2reg`: whole volumes as the challenges score them;
    label maps are warped to the nearest voxel, distances are in voxels; see `evaluation.learn2reg`.

    Args:
        maps: The maps.
        labels: The labels to score; None takes every label but 0.
        mode: How label maps are compared.
        intensity_range: Maximum minus minimum of the whole fixed image, the unit of the noise; None takes that of
            the maps, which may be one slice.
    """
    jacobian = determinant(maps.displacement)
    spread_of = learn2reg.sd_shifted_log_jacobian if mode == "learn2reg" else sd_of_log
    values = {"folding_percent": percent_folded(jacobian), "sd_log_jacobian": spread_of(jacobian)}
    in_moving, in_fixed = _labels(maps.moving_labels, labels), _labels(maps.fixed_labels, labels)
    present = in_moving & in_fixed
    scored, missed = _scores_of_labels(maps, present, mode)
    curve, curve_foreground, noise = _noise(maps, intensity_range)
    return RowScores(
        values | computed(maps) | scored | noise | _displacement_uncertainty(maps) | _truth(maps, in_fixed),
        frozenset(present),
        frozenset(missed),
        frozenset(in_moving ^ in_fixed),
        curve,
        curve_foreground,
    )


def _scores_of_labels(maps: Maps, present: set[int], mode: ScoringMode) -> tuple[dict[str, float], set[int]]:
    """The scores of the labels that both label maps have, and those of them that the warp lost."""
    if mode == "learn2reg" and maps.moving_labels is not None and maps.fixed_labels is not None:
        moved_labels = learn2reg.warp_nearest(maps.moving_labels, maps.displacement)
        return learn2reg.overlap_and_distance(moved_labels, maps.fixed_labels, present)
    values: dict[str, float] = {}
    missed = set()
    for label in sorted(present):
        moved, fixed = _moved_mask(maps, label, mode), np.asarray(maps.fixed_labels == label)
        if not moved.any():
            missed.add(label)
        if mode == "standard" or moved.any():
            values |= _overlap_and_distances(moved, fixed, label, maps.spacing if mode == "standard" else None)
    return values, missed


def _labels(array: NDArray[Any] | None, wanted: Collection[int] | None) -> set[int]:
    found = set() if array is None else {int(label) for label in np.unique(array)} - {0}
    return found if wanted is None else found & set(wanted)


def _moved_mask(maps: Maps, label: int, mode: ScoringMode) -> NDArray[np.bool_]:
    if mode == "standard":
        return np.asarray(maps.moved_labels == label)
    mask = torch.from_numpy(np.asarray(maps.moving_labels == label, dtype=np.float64))
    displacement = torch.from_numpy(np.ascontiguousarray(maps.displacement, dtype=np.float64))
    return np.asarray(warp(mask[None, None], displacement[None], outside="zeros")[0, 0].numpy() > ROUNDING)


def _overlap_and_distances(
    moved: NDArray[np.bool_], fixed: NDArray[np.bool_], label: int, spacing: tuple[float, ...] | None
) -> dict[str, float]:
    distances = surface_distances(moved, fixed, spacing)
    return {
        f"dice_{label}": dice(moved, fixed),
        f"jaccard_{label}": jaccard(moved, fixed),
        f"hd_{label}": distances.hd,
        f"hd95_{label}": distances.hd95,
        f"asd_{label}": distances.asd,
        f"assd_{label}": distances.assd,
    }


def _noise(
    maps: Maps, intensity_range: float | None
) -> tuple[Sparsification | None, Sparsification | None, dict[str, float]]:
    """Uncertainty scores of the residual fixed - moved, both in units of the fixed image's range.

    AUSE and AURG count all pixels, as published, and those of the foreground. Calibration counts the
    foreground: a background of zeros has no residual, and any sd covers it.
    """
    if maps.noise_sd is None:
        return None, None, {}
    span = float(maps.fixed.max()) - float(maps.fixed.min()) if intensity_range is None else intensity_range
    if not span > 0:
        return None, None, {}
    residual = (maps.fixed.astype(np.float64) - maps.moved) / span
    sd = maps.noise_sd.astype(np.float64) / span
    inside = foreground_mask(maps.moved, maps.fixed)
    curve = sparsification_curve(residual**2, sd)
    curve_foreground = sparsification_curve(residual[inside] ** 2, sd[inside])
    values: dict[str, float] = {}
    for suffix, one in (("", curve), ("_foreground", curve_foreground)):
        if one is not None:
            values |= {f"ause{suffix}": one.ause, f"aurg{suffix}": one.aurg}
    residual, sd = residual[inside], sd[inside]
    values |= {"ece": expected_calibration_error(residual, sd), "nll": noise_nll(residual, sd)}
    values |= {f"coverage_{level}": coverage(residual, sd, level / 100) for level in COVERAGES}
    return curve, curve_foreground, values


def _displacement_uncertainty(maps: Maps) -> dict[str, float]:
    """Scores of σ̂_z over the foreground: a background has no motion to be uncertain of."""
    if maps.displacement_sd is None:
        return {}
    inside = foreground_mask(maps.moved, maps.fixed)
    sd = maps.displacement_sd[inside]
    values = displacement_sd_size(sd)
    if maps.end_point_error is not None:
        values |= displacement_agreement(sd, maps.end_point_error[inside], len(maps.displacement))
    return values


def _truth(maps: Maps, in_fixed: set[int]) -> dict[str, float]:
    values: dict[str, float] = {}
    if maps.end_point_error is not None:
        values["epe"] = float(maps.end_point_error.mean())
        for label in in_fixed:
            values[f"epe_{label}"] = float(maps.end_point_error[maps.fixed_labels == label].mean())
    if maps.true_noise_sd is not None and maps.noise_sd is not None:
        inside = foreground_mask(maps.moved, maps.fixed)
        values |= noise_agreement(maps.noise_sd[inside], maps.true_noise_sd[inside])
    return values
