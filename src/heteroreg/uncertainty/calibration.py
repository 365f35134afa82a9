"""Calibration of the displacement's error: how wide an interval has to be to hold on new patients."""

from __future__ import annotations

import math
from collections.abc import Hashable, Mapping, Sequence
from dataclasses import dataclass, field, replace
from statistics import NormalDist
from typing import Any

import numpy as np
from numpy.typing import NDArray

from heteroreg.system.arrays import Doubles, Floats
from heteroreg.uncertainty.conformal import conformal_p_value, largest_level, patient_weights, quantile
from heteroreg.uncertainty.contours import Contour, size_sd
from heteroreg.uncertainty.slices import SlicePresence

CALIBRATION_LEVELS = (50, 68, 90, 95)
ALL = "all"  # the scale over all labels
LEARNED = "learned error"  # the map of the error estimator
UNUSUAL = 0.05  # largest p-value of an unusual pair
# Regularisation of the combination, in units of standardised features; errors below this, in mm, count alike.
RIDGE, PRODUCT_RIDGE, SMALLEST_ERROR = 1e-3, 0.3, 0.3
CHUNK = 2**15  # points at once, to bound memory
FOLDS = 5
# Maps that foretell the error in mm, and maps of the intensities: see `PairStatistics`, and benchmarks/log.md.
ERROR_MAPS = (LEARNED, "disagreement", "spread", "displacement_sd")
INTENSITY_MAPS = ("residual", "noise", "gradient")
EXCESS, EXCESS_WEIGHT = 2.0, 3.0
SMALLEST_SPREAD = 1e-3  # of logarithms: keeps a statistic that never varies from deciding alone


@dataclass(frozen=True)
class Combination:
    """The spread of the error as a function of several maps.

    log σ = b₀ + Σ_k b_k·z_k + Σ_{k≤l} c_kl·(z_k·z_l - [k = l]) with z the standardised logarithms of the maps.

    Attributes:
        mean: Mean of each map's logarithm over the contours of the calibration.
        sd: Its standard deviation.
        low: The map is clipped to the range that the calibration saw.
        high: Likewise.
        coefficients: b₀, b₁, ….
        products: The rows of c, zero below the diagonal; empty where a calibration has none.
    """

    mean: tuple[float, ...]
    sd: tuple[float, ...]
    low: tuple[float, ...]
    high: tuple[float, ...]
    coefficients: tuple[float, ...]
    products: tuple[tuple[float, ...], ...] = ()

    @classmethod
    def fit(cls, maps: Doubles, error: Doubles, patients: NDArray[Any]) -> Combination:
        """Fit log(|e| + 0.3 mm) by least squares with a ridge; each patient has the same weight.

        Args:
            maps: Logarithms of the maps at the points of contours (M, K).
            error: Distance of each point to the true contour in mm (M,).
            patients: The patient of each.
        """
        mean, sd = maps.mean(axis=0), maps.std(axis=0) + 1e-6
        low, high = np.percentile(maps, (0.5, 99.5), axis=0)
        weights = patient_weights(patients)
        weights /= weights.sum()
        target = np.log(np.abs(error) + SMALLEST_ERROR)
        count = maps.shape[1]
        pairs = np.triu_indices(count)
        terms = 1 + count + len(pairs[0])
        normal, right = np.zeros((terms, terms)), np.zeros(terms)
        for first in range(0, len(maps), CHUNK):
            part = slice(first, first + CHUNK)
            z = _standardised(maps[part], mean, sd, low, high)
            products = z[:, pairs[0]] * z[:, pairs[1]] - (pairs[0] == pairs[1])
            design = np.concatenate([np.ones((len(z), 1)), z, products], axis=1)
            weighted = design * weights[part, None]
            normal += design.T @ weighted
            right += weighted.T @ target[part]
        ridge = np.concatenate([[0], np.full(count, RIDGE), np.full(len(pairs[0]), PRODUCT_RIDGE)])
        solution = np.linalg.solve(normal + np.diag(ridge), right)
        matrix = np.zeros((count, count))
        matrix[pairs] = solution[1 + count :]
        rows = [tuple(map(float, values)) for values in (mean, sd, low, high, solution[: 1 + count], *matrix)]
        return cls(rows[0], rows[1], rows[2], rows[3], rows[4], products=tuple(rows[5:]))

    def __call__(self, maps: Floats) -> Floats:
        """Return σ in mm for the logarithms of the maps, (…, K)."""
        flat = np.reshape(maps, (-1, maps.shape[-1]))
        found = np.empty(len(flat), np.float32)
        slopes, matrix = np.asarray(self.coefficients[1:]), np.asarray(self.products)
        for first in range(0, len(flat), CHUNK):
            part = slice(first, first + CHUNK)
            z = _standardised(flat[part], *map(np.asarray, (self.mean, self.sd, self.low, self.high)))
            log_sd = self.coefficients[0] + z @ slopes
            if self.products:
                log_sd = log_sd + ((z @ matrix) * z).sum(axis=1) - np.trace(matrix)
            found[part] = np.exp(log_sd)
        return found.reshape(maps.shape[:-1])


def cross_fitted(maps: Doubles, error: Doubles, patients: NDArray[Any]) -> Doubles:
    """Return σ at each point from a combination that was fitted to other patients."""
    found = np.empty(len(error))
    for inside, outside in folds(patients):
        found[outside] = Combination.fit(maps[inside], error[inside], patients[inside])(maps[outside])
    return found


def folds(patients: NDArray[Any]) -> list[tuple[NDArray[np.bool_], NDArray[np.bool_]]]:
    """Return masks of five parts of the patients: those outside each part, and those inside."""
    names, group = np.unique(patients, return_inverse=True)
    number = min(FOLDS, len(names))
    parts = [group % number == part for part in range(number)]
    return [(~part, part) for part in parts]


def scales_of(scores: Doubles, patients: NDArray[Any]) -> dict[int, float]:
    """Return the bound of the scores at each level that the number of patients can give."""
    bounds = {level: quantile(scores, patients, level / 100) for level in CALIBRATION_LEVELS}
    return {level: bound for level, bound in bounds.items() if math.isfinite(bound)}


@dataclass(frozen=True)
class Held:
    """Coverage, width and order on patients left out, by cross-validation.

    Attributes:
        coverage: Share of the points inside the interval of each level.
        width: Mean half-width of the largest level in mm; None if too few patients are left for it.
        order: Spearman's correlation of σ and the error over the points; None for a constant σ.
        patients: Number of patients.
    """

    coverage: Mapping[int, float]
    width: float | None
    order: float | None
    patients: int


def held_of(sd: Doubles, error: Doubles, patients: NDArray[Any]) -> Held:
    """Return what intervals from other patients' scores hold; each patient has the same weight."""
    from scipy.stats import spearmanr  # slow to import

    error = np.abs(error)
    weights = patient_weights(patients)
    levels = tuple(scales_of(error / sd, patients))
    inside = {level: np.zeros(len(error), dtype=bool) for level in levels}
    widths = np.full(len(error), np.nan)
    for rest, part in folds(patients):
        bounds = scales_of((error / sd)[rest], patients[rest])
        for level in levels:
            bound = bounds.get(level, math.inf)
            inside[level][part] = error[part] <= bound * sd[part]
        widths[part] = bounds.get(levels[-1], math.nan) * sd[part] if levels else math.nan
    known = np.isfinite(widths)
    width = float(np.average(widths[known], weights=weights[known])) if known.any() else None
    varied = len(error) > 2 and min(np.ptp(sd), np.ptp(error)) > 0
    order = float(spearmanr(sd, error)[0]) if varied else None
    coverage = {level: float(np.average(values, weights=weights)) for level, values in inside.items()}
    return Held(coverage, width, order, len(np.unique(patients)))


@dataclass(frozen=True)
class SizeCalibration:
    """The ratio of true and expected sizes of a label: log(true/expected) = bias ± scale·s.

    The expected size is that of the warped label, in a stack without the slices that it leaves (`presence`).

    Attributes:
        bias: Median of log(true/expected) over the patients.
        scales: Bound of |log(true/expected) - bias|/s at each level, s the predicted relative SD of the size.
        patients: Number of patients.
        floor: s is √(s² + floor²): some error has nothing to do with the displacement.
        presence: Probability that a slice still has the label; None where that is not known.
    """

    bias: float
    scales: Mapping[int, float]
    patients: int
    floor: float
    presence: SlicePresence | None = None

    @classmethod
    def fit(
        cls,
        ratios: Doubles,
        spreads: Doubles,
        patients: Sequence[Hashable],
        presence: SlicePresence | None = None,
    ) -> SizeCalibration:
        """Fit to log(true/expected) of each pair, the predicted relative SD of its size, and its patient.

        The score of a patient is taken from the median of the others.
        """
        names = np.asarray(patients)
        floor = float(np.median(spreads)) if len(spreads) else 0.0
        wide = np.hypot(spreads, floor)
        scores = np.empty(len(ratios))
        for name in np.unique(names):
            others = ratios[names != name]
            bias = float(np.median(others)) if len(others) else 0.0
            scores[names == name] = np.abs(ratios[names == name] - bias)
        return cls(
            float(np.median(ratios)), scales_of(scores / wide, names), len(np.unique(names)), floor, presence
        )

    def middle(self, size: float) -> float:
        """Return the median of the true size for an expected size."""
        return size * math.exp(self.bias)

    def interval(self, size: float, spread: float, level: int) -> tuple[float, float]:
        """Return the interval of the true size for an expected size and its relative SD."""
        half = self.scales[level] * math.hypot(spread, self.floor)
        return size * math.exp(self.bias - half), size * math.exp(self.bias + half)


@dataclass(frozen=True)
class PairStatistics:
    """Statistics of the pairs that the calibration saw, to notice a pair that is unlike them.

    With z the statistics of a pair, standardised over the patients of the calibration, the score of the pair is

        mean z of the maps of the error + 3·mean max(z - 2, 0) of the maps of the intensities.

    So a pair is unlike the others if its maps foretell a larger error than theirs, or if it has far more noise or
    contrast. Low values do not count: there the intervals are only too wide.

    Attributes:
        names: Name of each statistic, see `statistics_of`.
        mean: Mean over the patients.
        sd: Standard deviation over the patients.
        scores: Score of each calibration patient among the others.
    """

    names: tuple[str, ...]
    mean: tuple[float, ...]
    sd: tuple[float, ...]
    scores: tuple[float, ...]

    @classmethod
    def fit(cls, names: Sequence[str], values: Doubles, patients: Sequence[Hashable]) -> PairStatistics:
        """Fit to the statistics of each pair (P, K)."""
        labels = np.asarray(patients)
        rows = np.stack([values[labels == name].mean(axis=0) for name in np.unique(labels)])
        scores = [
            _unlikeness(names, row, *_moments(np.delete(rows, index, axis=0))) for index, row in enumerate(rows)
        ] if len(rows) > 2 else []  # fmt: skip
        mean, sd = _moments(rows)
        return cls(tuple(names), tuple(mean.tolist()), tuple(sd.tolist()), tuple(scores))

    def p_value(self, values: Doubles) -> float:
        """Return the conformal p-value of a pair: small if it is unlike the pairs of the calibration."""
        score = _unlikeness(self.names, values, np.asarray(self.mean), np.asarray(self.sd))
        return conformal_p_value(score, np.asarray(self.scores))

    def most_unlike(self, values: Doubles) -> str:
        """Return the name of the statistic that is farthest above its mean, of those that count."""
        z = (values - np.asarray(self.mean)) / np.asarray(self.sd)
        counts = [name.startswith((*ERROR_MAPS, *INTENSITY_MAPS)) for name in self.names]
        return self.names[int(np.argmax(np.where(counts, z, -np.inf)))]


@dataclass(frozen=True)
class Calibration:
    """Intervals of the error of a registrar's displacement, and of the sizes of labels.

    Attributes:
        registrar: Name of the registrar.
        fingerprint: What identifies the registrar: a calibration holds for it alone.
        cohort: The cohort's table.
        dims: 2 for slices, 3 for volumes.
        spacing: Working spacing in mm, or `image`.
        intensity: How intensities are scaled.
        again: The features need registrations in the other order and under flips.
        maps: Names of the maps of the combination; `learned error` is the error estimator's.
        combination: The combination of the maps; None takes the error estimator's map alone.
        scales: By label, and `all`: the half-width of the interval of each level, in units of σ.
        sizes: By label.
        lengths: Correlation length of the error in mm in the plane, and across slices.
        statistics: Statistics of the calibration's pairs.
        patients: Number of patients.
        pairs: Number of pairs.
        labelled: Number of patients with labels; 0: the scale comes from landmarks, or from known warps alone.
        held: By label, and `all`: what held in cross-validation.
        marked: Number of patients whose landmarks gave the scale; 0 where labels or known warps did.
        label_names: Names of labels by number.
    """

    registrar: str
    fingerprint: str
    cohort: str
    dims: int
    spacing: tuple[float, ...] | str | None
    intensity: str
    again: bool
    maps: tuple[str, ...]
    combination: Combination | None
    scales: Mapping[str, Mapping[int, float]]
    sizes: Mapping[str, SizeCalibration]
    lengths: tuple[float, float]
    statistics: PairStatistics
    patients: int
    pairs: int
    labelled: int
    held: Mapping[str, Held]
    marked: int = 0
    label_names: Mapping[str, str] = field(default_factory=dict)

    def __repr__(self) -> str:
        levels = ", ".join(f"{level} %" for level in self.levels)
        return f"Calibration({self.registrar!r}, on {self.patients} patients, intervals of {levels})"

    def of_any_label(self) -> Calibration:
        """Return it with one width for all labels and no sizes: those of other images may have other meanings."""
        return replace(self, scales={ALL: self.scales[ALL]}, sizes={}, held={ALL: self.held[ALL]})

    @property
    def gives_sizes(self) -> bool:
        """False for one of `of_any_label`: how far sizes are off depends on what is labelled."""
        return bool(self.sizes) or not self.labelled

    @property
    def truth(self) -> int:
        """Number of patients that the scale comes from."""
        return self.labelled or self.marked or self.patients

    @property
    def levels(self) -> tuple[int, ...]:
        """Levels in percent that the number of patients can give."""
        return tuple(self.scales[ALL])

    @property
    def level(self) -> int:
        """The largest of `levels`."""
        return self.levels[-1]

    def scale(self, level: int, label: int | None = None) -> float:
        """Return the half-width of an interval in units of σ; that over all labels for a label without its own."""
        scales = self.scales.get(ALL if label is None else str(label), self.scales[ALL])
        return scales.get(level, self.scales[ALL][level])

    @property
    def relative_scales(self) -> dict[str, dict[int, float]]:
        """By label, and `all`: the half-width of each level in units of the map of the largest level."""
        unit = self.scale(self.level)
        return {
            name: {level: scale / unit for level, scale in scales.items()} for name, scales in self.scales.items()
        }

    @property
    def sd_scale(self) -> float:
        """Factor from σ to the SD of the Gaussian whose central interval of `level` is that of the calibration."""
        return self.scale(self.level) / float(NormalDist().inv_cdf(0.5 + self.level / 200))

    def size_sd(self, contour: Contour, sd: Floats, shape: Sequence[int], spacing: Sequence[float]) -> float:
        """Return the SD of a label's size in mm² or mm³; see `contours.size_sd`.

        Args:
            contour: The contour of the warped label.
            sd: σ at each face (M,), not yet scaled.
            shape: (N, *shape) of the mask.
            spacing: Size of a voxel in mm along each axis of the image.
        """
        along, across = self.lengths
        return size_sd(contour, sd * np.float32(self.sd_scale), shape, spacing, [*[along] * self.dims, across])

    def in_words(self) -> str:
        """Return a line on what the calibration was made of, and what held."""
        by = "known warps alone, without labels"
        if self.labelled or self.marked:
            by = f"the {'labels' if self.labelled else 'landmarks'} of {self.truth} patients"
        parts = [f"calibrated on {self.patients} patients by {by}"]
        for label, held in self.held.items():
            shown = ", ".join(f"{level} %: {100 * share:.1f} %" for level, share in held.coverage.items())
            if label == ALL and shown:
                wide = "" if held.width is None else f", ± {held.width:.1f} mm wide"
                parts.append(f"on patients left out the intervals held: {shown}{wide}")
        if self.level < CALIBRATION_LEVELS[-1]:
            most = 100 * largest_level(self.truth)
            parts.append(f"so few patients give at most {most:.0f} %: the largest level is {self.level} %")
        return "; ".join(parts)


def with_learned(learned: Floats, logs: Mapping[str, Floats]) -> dict[str, Floats]:
    """Return logarithms of maps (N, *shape) by name, that of the error estimator first.

    Args:
        learned: The error estimator's map in mm.
        logs: Logarithms of the other maps.
    """
    return {LEARNED: np.log(learned), **logs}


def statistics_of(logs: Mapping[str, Floats], inside: NDArray[np.bool_]) -> tuple[list[str], Doubles]:
    """Return names and values of the statistics of a pair: mean and 95th percentile of each map's logarithm.

    Args:
        logs: Logarithms of the maps (N, *shape) by name.
        inside: The foreground (N, *shape).
    """
    inside = inside if inside.any() else np.ones_like(inside)
    names, values = [], []
    for name, array in logs.items():
        found = array[inside].astype(np.float64)
        names += [f"{name} (mean)", f"{name} (95th percentile)"]
        values += [float(found.mean()), float(np.percentile(found, 95))]
    return names, np.asarray(values)


def correlation_length(error: Floats, step: float, axis: int, weight: NDArray[np.bool_]) -> float:
    """Return L in mm such that standardised errors at the distance r are correlated by about exp(-r²/2L²).

    It is the distance at which the correlation falls to exp(-½), linear between the voxels.

    Args:
        error: e/σ (N, d, *shape).
        step: Distance in mm of neighbours along the axis.
        axis: The axis of `error` to look along.
        weight: Voxels that count (N, *shape).
    """
    values = np.where(weight[:, None], error, 0).astype(np.float64)
    power = float((values**2).sum()) / max(float(weight.sum()), 1)
    before, goal = 1.0, math.exp(-0.5)
    for lag in range(1, error.shape[axis]):
        first, second = _lagged(values, axis, lag), _lagged(values, axis, -lag)
        along = axis if axis == 0 else axis - 1
        both = _lagged(weight, along, lag) & _lagged(weight, along, -lag)
        now = float((first * second).sum()) / max(float(both.sum()), 1) / max(power, 1e-12)
        if now < goal:
            if lag == 1:  # finer than the grid: from the correlation of neighbours
                return float(step / math.sqrt(-2 * math.log(max(now, 1e-3))))
            return float(step * (lag - 1 + (before - goal) / max(before - now, 1e-9)))
        before = now
    return float(step * error.shape[axis])


def _lagged(values: NDArray[Any], axis: int, lag: int) -> NDArray[Any]:
    cut = [slice(None)] * values.ndim
    cut[axis] = slice(lag, None) if lag > 0 else slice(None, lag)
    return values[tuple(cut)]


def _standardised(maps: Floats, mean: Doubles, sd: Doubles, low: Doubles, high: Doubles) -> Doubles:
    return np.asarray((np.clip(maps, low, high) - mean) / sd, dtype=np.float64)


def _unlikeness(names: Sequence[str], values: Doubles, mean: Doubles, sd: Doubles) -> float:
    z = (values - mean) / sd
    of_error = np.asarray([name.startswith(ERROR_MAPS) for name in names])
    of_intensity = np.asarray([name.startswith(INTENSITY_MAPS) for name in names])
    larger = float(z[of_error].mean()) if of_error.any() else 0.0
    excess = float(np.maximum(z[of_intensity] - EXCESS, 0).mean()) if of_intensity.any() else 0.0
    return larger + EXCESS_WEIGHT * excess


def _moments(rows: Doubles) -> tuple[Doubles, Doubles]:
    return rows.mean(axis=0), rows.std(axis=0) + SMALLEST_SPREAD
