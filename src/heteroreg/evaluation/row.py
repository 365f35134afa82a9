"""The scores of one row of the table."""

from __future__ import annotations

from collections.abc import Collection, Iterable, Mapping
from dataclasses import dataclass, field

import numpy as np

from heteroreg.evaluation import learn2reg
from heteroreg.evaluation.metrics import IMAGE_METRICS, LABEL_METRICS, TRUTH_PER_LABEL, Metric
from heteroreg.evaluation.overlap import dice
from heteroreg.evaluation.scoring import ImageScoring, LabelScoring, ScoringMode
from heteroreg.registration.maps import Maps
from heteroreg.system.arrays import Array
from heteroreg.uncertainty.sparsification import Sparsification


@dataclass(frozen=True)
class RowScores:
    """The scores of the maps of a pair, or of one of its slices.

    Attributes:
        values: Metric → value; metrics that are not defined are missing or NaN.
        present: Labels of both label maps.
        missed: Labels of both maps that the warp lost: Dice 0, no distance.
        one_sided: Labels of the moving or the fixed label map only: no score.
        undeformed: Dice of each present label without a registration, after the initial alignment if there was one.
        curve: Sparsification over all pixels; None without a noise map.
        curve_foreground: Sparsification over the foreground.
    """

    values: dict[str, float]
    present: frozenset[int]
    missed: frozenset[int]
    one_sided: frozenset[int]
    undeformed: Mapping[int, float] = field(default_factory=dict)
    curve: Sparsification | None = None
    curve_foreground: Sparsification | None = None


def score(
    maps: Maps,
    labels: Collection[int] | None,
    mode: ScoringMode,
    intensity_range: float | None = None,
    background: tuple[float, float] | None = None,
) -> RowScores:
    """Score the maps of a registration, or of one slice of it.

    A label is scored where both the moving label map, after the initial alignment, and the fixed one have it.

    `standard` compares the warped label map with the fixed one; distances are in mm. A label that the warp lost is
    a miss, with Dice 0. `reference` scores as the paper did: each label's mask is warped linearly and thresholded
    above 0, distances are in voxels, and a label with an empty mask has no score. `asd` is one way in both modes,
    from moved to fixed. `learn2reg` scores whole volumes as the challenges do: label maps are warped to the nearest
    voxel, and distances are in voxels; see `evaluation.learn2reg`.

    Args:
        maps: The maps.
        labels: The labels to score; None takes every label but 0.
        mode: How label maps are compared.
        intensity_range: Maximum minus minimum of the whole fixed image, the unit of the noise; None takes that of
            the maps, which may be one slice.
        background: Smallest values of the whole moved and fixed image, likewise.
    """
    if intensity_range is None:
        intensity_range = float(maps.fixed.max()) - float(maps.fixed.min())
    image = ImageScoring(maps, mode, intensity_range, background)
    values = _computed(IMAGE_METRICS, image)
    before = maps.moving_labels if maps.initial_labels is None else maps.initial_labels
    in_moving, in_fixed = _labels(before, labels), _labels(maps.fixed_labels, labels)
    present = in_moving & in_fixed
    scored, missed = _scores_of_labels(maps, present, mode)
    for label in in_fixed:
        values |= _computed(TRUTH_PER_LABEL, LabelScoring(maps, mode, label))
    return RowScores(
        values | scored,
        frozenset(present),
        frozenset(missed),
        frozenset(in_moving ^ in_fixed),
        {label: dice(np.asarray(before == label), np.asarray(maps.fixed_labels == label)) for label in present},
        image.curve,
        image.curve_foreground,
    )


def _computed(metrics: Iterable[Metric], scoring: ImageScoring | LabelScoring) -> dict[str, float]:
    """Return the metrics that are defined, with the label at the end of their names."""
    ending = f"_{scoring.label}" if isinstance(scoring, LabelScoring) else ""
    values = {f"{metric.name}{ending}": metric.compute(scoring) for metric in metrics if metric.compute is not None}
    return {name: value for name, value in values.items() if value is not None}


def _scores_of_labels(maps: Maps, present: set[int], mode: ScoringMode) -> tuple[dict[str, float], set[int]]:
    """Return the scores of the labels of both label maps, and the labels that the warp lost."""
    if mode == "learn2reg" and maps.moving_labels is not None and maps.fixed_labels is not None:
        moved_labels = learn2reg.warp_nearest(maps.moving_labels, maps.displacement)
        return learn2reg.overlap_and_distance(moved_labels, maps.fixed_labels, present)
    values: dict[str, float] = {}
    missed = set()
    for label in sorted(present):
        scoring = LabelScoring(maps, mode, label)
        if not scoring.moved.any():
            missed.add(label)
        if mode == "standard" or scoring.moved.any():
            values |= _computed(LABEL_METRICS, scoring)
    return values, missed


def _labels(array: Array | None, wanted: Collection[int] | None) -> set[int]:
    found = set() if array is None else {int(label) for label in np.unique(array)} - {0}
    return found if wanted is None else found & set(wanted)
