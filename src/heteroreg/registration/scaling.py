"""The last part of a calibration: from registrations to scales, sizes and statistics."""

from __future__ import annotations

import json
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, fields, replace
from functools import cached_property
from typing import Any

import numpy as np
from numpy.typing import NDArray

from heteroreg.system.arrays import Array, Doubles, Floats
from heteroreg.system.errors import UserError
from heteroreg.uncertainty.calibration import (
    ALL,
    LEARNED,
    Calibration,
    Combination,
    Held,
    PairStatistics,
    SizeCalibration,
    correlation_length,
    cross_fitted,
    folds,
    held_of,
    scales_of,
    statistics_of,
    with_learned,
)
from heteroreg.uncertainty.contours import Contour
from heteroreg.uncertainty.error import ErrorEstimator, KnownErrors, error_sd
from heteroreg.uncertainty.features import combination_maps, for_combination
from heteroreg.uncertainty.slices import SlicePresence, SliceTable

POINTS = 2000  # of the contour of a pair and label, or of a known warp, at most
FEWEST_PATIENTS = 3  # that a combination is fitted to and crossed over
SAMPLED_STACKS = 40  # known warps that the correlation of the error is estimated from


@dataclass(frozen=True)
class Registered:
    """A registered pair of the calibration.

    Attributes:
        patient: The patient.
        arrays: What the calibration keeps of it.
    """

    patient: str
    arrays: Mapping[str, Array]

    @property
    def labelled(self) -> bool:
        """True if the true labels are known."""
        return "contour.label" in self.arrays

    @property
    def marked(self) -> bool:
        """True if there are landmarks."""
        return "landmark.place" in self.arrays

    @property
    def maps(self) -> tuple[str, ...]:
        """Names of the scalar maps, which are the last channels."""
        return tuple(json.loads(self.arrays["maps"].tobytes()))

    def logs(self, learned: Floats) -> dict[str, Floats]:
        """Return the logarithms of the maps (N, *shape) by name, that of the error estimator first."""
        names = self.maps
        channels = self.arrays["channels"][:, -len(names) :]
        return with_learned(learned, {name: channels[:, k] for k, name in enumerate(names)})

    def for_combination(self, learned: Floats) -> dict[str, Floats]:
        """Return the maps (N, *shape) that a combination takes, by name."""
        images = self.arrays["channels"][:, :2].astype(np.float32) + 0.5
        return for_combination(self.logs(learned), images[:, 0], images[:, 1])

    @cached_property
    def contour(self) -> Contour:
        """The contours of all labels."""
        names = ("inside", "outside", "axis", "sign", "error")
        return Contour(*(self.arrays[f"contour.{name}"] for name in names))


@dataclass(frozen=True)
class Evidence:
    """The points that a calibration was computed from.

    Attributes:
        sd: σ in mm, by a combination that was fitted to other patients (M,).
        error: The error in mm (M,).
        patient: The patient of each (M,).
    """

    sd: Doubles
    error: Doubles
    patient: NDArray[Any]


@dataclass(frozen=True)
class ScoredPoints:
    """Points of contours, landmarks, or known warps.

    Attributes:
        maps: Logarithms of the maps (M, K).
        error: Error in mm (M,).
        patient: The patient of each (M,).
        label: The label of each; 0 for a landmark or a known warp.
        slice: The slice of each point of a contour, counted over all pairs; a volume is one.
    """

    maps: Doubles
    error: Doubles
    patient: NDArray[Any]
    label: NDArray[Any]
    slice: NDArray[Any] | None = None


def scaled(
    pairs: Sequence[Registered], estimator: ErrorEstimator, known: KnownErrors, facts: Mapping[str, Any]
) -> tuple[Calibration, Evidence]:
    """Return a calibration, and what it was computed from.

    Args:
        pairs: The registered pairs.
        estimator: The error estimator.
        known: The known warps that it learned from.
        facts: The other entries of `Calibration`.

    Raises:
        UserError: There are too few patients for any level.
    """
    dims = facts["dims"]
    learned = [error_sd(estimator, pair.arrays["channels"]) for pair in pairs]
    names = combination_maps((LEARNED, *pairs[0].maps))
    patients = [pair.patient for pair in pairs]
    found = [pair for pair in pairs if pair.labelled]
    labelled = len({pair.patient for pair in found})
    contours = points_of_contours(pairs, learned, names) if labelled >= FEWEST_PATIENTS else None
    labelled = 0 if contours is None or not len(contours.error) else labelled
    marked = 0 if labelled else len({pair.patient for pair in pairs if pair.marked})
    combination = None
    if contours is None or not labelled:
        contours = points_of_landmarks(pairs, learned, names) if marked >= FEWEST_PATIENTS else None
        marked = 0 if contours is None else marked
    if contours is None:
        points = _of_known(known, estimator, patients)
        sd = np.exp(points.maps[:, 0])
    else:
        points = contours
        combination = Combination.fit(points.maps, points.error, points.patient)
        sd = cross_fitted(points.maps, points.error, points.patient)
    groups: dict[str, NDArray[np.bool_]] = {ALL: np.ones(len(sd), dtype=bool)}
    groups |= {str(label): points.label == label for label in np.unique(points.label) if label}
    scores = np.abs(points.error) / sd
    scales = {name: scales_of(scores[inside], points.patient[inside]) for name, inside in groups.items()}
    if not scales[ALL]:
        raise UserError(
            f"{facts['cohort']}: {len(set(patients))} patients are too few to calibrate on; 19 give 95 %"
        )
    held: dict[str, Held] = {
        name: held_of(sd[inside], points.error[inside], points.patient[inside]) for name, inside in groups.items()
    }
    lengths = _lengths(known, estimator, pairs, dims)
    values = [
        statistics_of(pair.logs(sd_), pair.arrays["foreground"].astype(bool))
        for pair, sd_ in zip(pairs, learned, strict=True)
    ]
    statistics = PairStatistics.fit(values[0][0], np.stack([row for _, row in values]), patients)
    calibration = Calibration(
        **facts,
        maps=names,
        combination=combination,
        scales=scales,
        sizes={},
        lengths=lengths,
        statistics=statistics,
        patients=len(set(patients)),
        pairs=len(pairs),
        labelled=labelled,
        marked=marked,
        held=held,
    )
    if labelled:
        calibration = _with_sizes(calibration, pairs, learned)
    return calibration, Evidence(sd, points.error, points.patient)


def points_of_contours(
    pairs: Sequence[Registered], learned: Sequence[Floats], names: Sequence[str]
) -> ScoredPoints:
    """Return points of the contours of all labels, at most 2,000 of each pair and label.

    Args:
        pairs: The registered pairs.
        learned: The error estimator's map of each.
        names: The maps to return.
    """
    columns: list[list[Array]] = [[], [], [], [], []]
    random = np.random.default_rng(0)
    firsts = np.cumsum([0, *(len(sd) for sd in learned)])
    for pair, sd, first in zip(pairs, learned, firsts, strict=False):
        if not pair.labelled:
            continue
        error, label = pair.arrays["contour.error"], pair.arrays["contour.label"]
        chosen = []
        for one in np.unique(label):
            able = np.flatnonzero((label == one) & np.isfinite(error))
            chosen.append(able if len(able) <= POINTS else random.choice(able, POINTS, replace=False))
        index = np.concatenate(chosen) if chosen else np.empty(0, dtype=int)
        place = pair.arrays["contour.place"][index]
        maps = _maps_at(pair.for_combination(sd), names, place)
        owner = np.full(len(index), pair.patient)
        rows = (maps, error[index], owner, label[index], first + place // sd[0].size)
        for column, part in zip(columns, rows, strict=True):
            column.append(part)
    found, errors, patients, labels, slices = (np.concatenate(column) for column in columns)
    return ScoredPoints(found, errors.astype(np.float64), patients, labels, slices)


def points_of_landmarks(
    pairs: Sequence[Registered], learned: Sequence[Floats], names: Sequence[str]
) -> ScoredPoints:
    """Return a point for each landmark and axis that the registration moves along, as `points_of_contours`."""
    maps, errors, owners = [], [], []
    for pair, sd in zip(pairs, learned, strict=True):
        if pair.marked:
            error = pair.arrays["landmark.error"].astype(np.float64)
            axes = error.shape[1]
            found = _maps_at(pair.for_combination(sd), names, pair.arrays["landmark.place"])
            maps.append(np.repeat(found, axes, axis=0))
            errors.append(error.ravel())
            owners.append(np.full(error.size, pair.patient))
    error = np.concatenate(errors)
    return ScoredPoints(np.concatenate(maps), error, np.concatenate(owners), np.zeros(len(error), dtype=int))


def _maps_at(logs: Mapping[str, Floats], names: Sequence[str], place: NDArray[Any]) -> Doubles:
    return np.stack([logs[name].ravel()[place].astype(np.float64) for name in names], axis=1)


def _of_known(known: KnownErrors, estimator: ErrorEstimator, patients: Sequence[str]) -> ScoredPoints:
    """Return random foreground points of the known warps, with the error along one axis at random."""
    random = np.random.default_rng(0)
    names = np.asarray(patients)
    maps, errors, owners = [], [], []
    for index in range(len(known)):
        inside = np.flatnonzero(known.weight[index])
        if not len(inside):
            continue
        chosen = random.choice(inside, min(POINTS // 10, len(inside)), replace=False)
        sd = error_sd(estimator, known.channels[index : index + 1])[0].ravel()[chosen]
        axis = int(random.integers(known.error.shape[1]))
        maps.append(np.log(sd))
        errors.append(known.error[index, axis].ravel()[chosen].astype(np.float64))
        owners.append(np.full(len(chosen), names[known.pair[index]]))
    error = np.concatenate(errors) if errors else np.empty(0)
    logs = np.concatenate(maps)[:, None] if maps else np.empty((0, 1))
    return ScoredPoints(
        logs, error, np.concatenate(owners) if owners else np.empty(0), np.zeros(len(error), dtype=int)
    )


def _lengths(
    known: KnownErrors, estimator: ErrorEstimator, pairs: Sequence[Registered], dims: int
) -> tuple[float, float]:
    """Return the correlation lengths of the error of the known warps in mm: in the plane, and across slices."""
    along, across = [], []
    for part in _stacks(known, pairs)[:SAMPLED_STACKS]:
        spacing = pairs[int(known.pair[part[0]])].arrays["step"]
        sd = error_sd(estimator, known.channels[part])[:, None]
        standardised = known.error[part].astype(np.float32) / sd
        weight = known.weight[part]
        if not weight.any():
            continue
        along += [correlation_length(standardised, float(spacing[k]), k + 2, weight) for k in range(dims)]
        if len(spacing) > dims and len(part) > 1:
            across.append(correlation_length(standardised, float(spacing[dims]), 0, weight))
    middle = float(np.median(along)) if along else 1.0
    return middle, float(np.median(across)) if across else middle


def _stacks(known: KnownErrors, pairs: Sequence[Registered]) -> list[NDArray[np.intp]]:
    """Return the indices of the slices of each known warp."""
    changes = np.flatnonzero(np.diff(known.pair)) + 1
    stacks: list[NDArray[np.intp]] = []
    for part in np.split(np.arange(len(known)), changes):
        slices = len(pairs[int(known.pair[part[0]])].arrays["channels"])
        stacks += np.split(part, range(slices, len(part), slices))  # the warps of a pair are not neighbours
    return stacks


@dataclass(frozen=True)
class _Size:
    """The size of one label of a registered pair.

    Attributes:
        patient: The patient.
        warped: Size of the warped label in mm² or mm³.
        true: True size.
        spread: Predicted SD of the size as a share of the size.
        table: The slices of the warped label; None for an image that is not registered slice by slice.
        present: True where a slice of the table has the true label.
    """

    patient: str
    warped: float
    true: float
    spread: float
    table: SliceTable | None
    present: NDArray[np.bool_]

    def expected(self, presence: SlicePresence | None) -> float:
        """Return the size without the slices that the label leaves."""
        if presence is None or self.table is None:
            return self.warped
        return self.warped * presence.share_left(self.table)


def _with_sizes(calibration: Calibration, pairs: Sequence[Registered], learned: Sequence[Floats]) -> Calibration:
    """Return the calibration with the bias and the scale of the label sizes."""
    found: dict[str, list[_Size]] = {}
    for pair, sd in zip(pairs, learned, strict=True):
        if not pair.labelled:
            continue
        logs = pair.for_combination(sd)
        for number, (label, warped, true) in enumerate(pair.arrays["sizes"]):
            if warped > 0 and true > 0:
                size = _size(calibration, pair, logs, number, int(label), (warped, true))
                found.setdefault(str(int(label)), []).append(size)
    return replace(calibration, sizes={name: _size_calibration(sizes) for name, sizes in found.items()})


def _size_calibration(sizes: Sequence[_Size]) -> SizeCalibration:
    """Return the calibration of one label; each patient's expected size is by a fit to other patients."""
    patients = np.array([one.patient for one in sizes])
    expected = np.empty(len(sizes))
    for outside, inside in folds(patients):
        presence = _presence([sizes[index] for index in np.flatnonzero(outside).tolist()])
        for index in np.flatnonzero(inside).tolist():
            expected[index] = max(sizes[index].expected(presence), 1e-3 * sizes[index].warped)
    ratios = np.log(np.array([one.true for one in sizes]) / expected)
    spreads = np.array([one.spread for one in sizes])
    return SizeCalibration.fit(ratios, spreads, patients.tolist(), _presence(sizes))


def _presence(sizes: Sequence[_Size]) -> SlicePresence | None:
    tables = [(one.table.features, one.present) for one in sizes if one.table is not None]
    if not tables:
        return None
    return SlicePresence.fit(*(np.concatenate(parts) for parts in zip(*tables, strict=True)))


def _size(
    calibration: Calibration,
    pair: Registered,
    logs: Mapping[str, Floats],
    number: int,
    label: int,
    sizes: tuple[float, float],
) -> _Size:
    assert calibration.combination is not None
    whole = pair.contour
    chosen = pair.arrays["contour.label"] == label
    contour = Contour(*(getattr(whole, field.name)[chosen] for field in fields(Contour)))
    maps = _maps_at(logs, calibration.maps, pair.arrays["contour.place"][chosen])
    sd = calibration.combination(maps)
    shape, spacing = pair.arrays["shape"].tolist(), pair.arrays["spacing"].tolist()
    spread = calibration.size_sd(contour, sd, shape, spacing) / sizes[0]
    table, present = None, np.empty(0, dtype=bool)
    if shape[0] > 1 and "areas" in pair.arrays:
        warped, true, moving = pair.arrays["areas"][number]
        table = SliceTable.of(contour.inside // int(np.prod(shape[1:])), sd.astype(np.float64), warped, moving)
        present = true[table.index] > 0
    return _Size(pair.patient, *sizes, spread, table, present)
