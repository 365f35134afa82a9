"""The metrics: how each is computed and printed. Adding a metric means adding one entry here."""

from __future__ import annotations

import math
import re
from collections.abc import Callable, Iterable, Mapping
from dataclasses import dataclass, replace
from functools import partial
from typing import Any, Literal

from heteroreg.evaluation.overlap import dice, jaccard
from heteroreg.evaluation.truth import DISPLACEMENT_LEVELS
from heteroreg.evaluation.uncertainty import coverage, expected_calibration_error, noise_nll
from heteroreg.spatial.regularity import percent_folded
from heteroreg.system.arrays import Array

MISSING = "–"
MINUS = "−"
COVERAGE_LEVELS = (50, 68, 90, 95)

Group = Literal["labels", "regularity", "noise", "uncertainty", "error", "truth"]


@dataclass(frozen=True, kw_only=True)
class Metric:
    """A metric: a column of the scores, and how to print it.

    Attributes:
        name: Column of `scores.csv`: `dice_2`, `ause`.
        title: Short name, for the head of a column: `HD95`.
        words: Name within a sentence: `95 % Hausdorff distance`.
        explanation: End of a sentence that begins with the name, for readers who do not know the metric.
        unit: Unit of the printed value; empty without one.
        digits: Decimals of the printed value.
        scale: Factor from the stored to the printed value: Dice is stored from 0 to 1 and printed in %.
        higher_is_better: None where neither direction is better (a ratio that should be 1).
        group: The table that the metric belongs to.
        label: The label that is scored; None for the whole image.
        label_name: Its name; empty if it has none.
        compute: Computes the stored value from an `ImageScoring`, or from a `LabelScoring` for the metrics of a
            label; None where it is not defined. Times and `unusual` have no such function: the pair has them.
    """

    name: str
    title: str
    words: str
    explanation: str
    unit: str = ""
    digits: int = 2
    scale: float = 1.0
    higher_is_better: bool | None = None
    group: Group = "labels"
    label: int | None = None
    label_name: str = ""
    compute: Callable[[Any], float | None] | None = None

    @property
    def arrow(self) -> str:
        """`↑` if higher is better, `↓` if lower is better, else empty."""
        return {True: "↑", False: "↓", None: ""}[self.higher_is_better]

    @property
    def direction(self) -> str:
        """The arrow in words."""
        return {True: "higher is better", False: "lower is better", None: ""}[self.higher_is_better]

    @property
    def heading(self) -> str:
        """Short name, unit and direction: `HD95 (mm) ↓`."""
        return self._with_unit(self.title)

    @property
    def long_title(self) -> str:
        """The name in words: `Hausdorff distance`."""
        return self.words[0].upper() + self.words[1:]

    @property
    def label_called(self) -> str:
        """The name of the label, or `label 2`."""
        return self.label_name or f"label {self.label}"

    @property
    def long_name(self) -> str:
        """The name in words, with the label: `Hausdorff distance, label 2`."""
        return self.long_title if self.label is None else f"{self.long_title}, {self.label_called}"

    @property
    def long_heading(self) -> str:
        """Name in words, label, unit and direction: `Hausdorff distance, label 2 (mm) ↓`."""
        return self._with_unit(self.long_name)

    @property
    def spoken(self) -> str:
        """The name within a sentence, with the label: `Hausdorff distance of label 2`."""
        return self.words if self.label is None else f"{self.words} of {self.label_called}"

    def better(self, value: float, other: float) -> bool:
        """True if a value is better than another."""
        return value > other if self.higher_is_better else value < other

    def format(self, value: float, *, sign: bool = False, unit: bool = False) -> str:
        """Return a stored value as it is printed.

        >>> dice = metric("dice_2")
        >>> dice.format(0.8012)
        '80.12'
        >>> dice.format(0.0041, sign=True)
        '+0.41'

        Args:
            value: The value as it is stored.
            sign: The value is a difference: it gets its sign, and differences of percentages are in points.
            unit: Append the unit.

        Returns:
            The scaled value with the metric's decimals; `–` for NaN.
        """
        if not math.isfinite(value):
            return MISSING
        value *= self.scale
        text = f"{abs(value):.{self.digits}f}"
        is_zero = not re.search("[1-9]", text)
        prefix = "" if is_zero else MINUS if value < 0 else "+" if sign else ""
        shown = "points" if sign and self.unit == "%" else self.unit
        return prefix + text + (f" {shown}" if unit and shown else "")

    def _with_unit(self, name: str) -> str:
        return name + (f" ({self.unit})" if self.unit else "") + (f" {self.arrow}" if self.arrow else "")


def _coverage(level: int) -> Metric:
    return Metric(
        name=f"coverage_{level}",
        title=f"Coverage of {level} %",
        words=f"coverage of {level} % intervals",
        explanation=f"{level} % is right.",
        unit="%",
        digits=1,
        scale=100,
        group="noise",
        compute=lambda image: _covered(image.foreground_noise, level),
    )


def _covered(noise: tuple[Array, Array] | None, level: int) -> float | None:
    return None if noise is None else coverage(*noise, level / 100)


def _mean(values: Array | None) -> float | None:
    return None if values is None else float(values.mean())


def _displacement_coverage(level: int) -> Metric:
    name = f"displacement_coverage_{level}"
    return Metric(
        name=name,
        title=f"Displacement coverage of {level} %",
        words=f"displacement coverage of {level} % intervals",
        explanation=f"{level} % is right.",
        unit="%",
        digits=1,
        scale=100,
        group="truth",
        compute=lambda image: image.truth.get(name),
    )


def _entry(found: Callable[[Any], dict[str, float]], name: str, scoring: Any) -> float | None:
    return found(scoring).get(name)


def _error_metrics(prefix: str, what: str, found: Callable[[Any], dict[str, float]]) -> tuple[Metric, ...]:
    """Return the metrics of the calibrated error against one kind of truth.

    Args:
        prefix: Begin of the names.
        what: What the error is of, in words.
        found: Returns the scores by name.
    """
    group: Group = "labels" if prefix == "contour" else "error"
    coverages = tuple(
        Metric(
            name=f"{prefix}_coverage_{level}",
            title=f"{prefix.capitalize()} coverage of {level} %",
            words=f"{what} coverage of {level} % intervals",
            explanation=f"the share of the {what} inside the interval; {level} % is right.",
            unit="%",
            digits=1,
            scale=100,
            group=group,
            compute=partial(_entry, found, f"coverage_{level}"),
        )
        for level in COVERAGE_LEVELS
    )
    return (
        *coverages,
        Metric(
            name=f"{prefix}_mean",
            title="Mean error" if prefix == "error" else f"{prefix.capitalize()} error",
            words=f"mean {what}",
            explanation="its mean size; that of a contour is its distance to the true one.",
            unit="mm",
            higher_is_better=False,
            group=group,
            compute=partial(_entry, found, "mean"),
        ),
        Metric(
            name=f"{prefix}_width",
            title=f"{prefix.capitalize()} half-width",
            words=f"half-width of the intervals of the {what}",
            explanation="at the largest level of the calibration; narrower is better if the intervals hold.",
            unit="mm",
            higher_is_better=False,
            group=group,
            compute=partial(_entry, found, "width"),
        ),
        Metric(
            name=f"{prefix}_order",
            title=f"{prefix.capitalize()} rank correlation",
            words=f"rank correlation with the {what}",
            explanation="of the half-width; 0 does not foretell the error, 1 foretells its order.",
            higher_is_better=True,
            group=group,
            compute=partial(_entry, found, "order"),
        ),
        Metric(
            name=f"{prefix}_ause",
            title=f"{prefix.capitalize()} AUSE",
            words=f"AUSE of the {what}",
            explanation="the area between the sparsification curve of the squared error and its oracle.",
            unit="mm²",
            higher_is_better=False,
            group=group,
            compute=partial(_entry, found, "ause"),
        ),
        Metric(
            name=f"{prefix}_aurg",
            title=f"{prefix.capitalize()} AURG",
            words=f"AURG of the {what}",
            explanation="the area gained by the error bars over removing points at random.",
            unit="mm²",
            higher_is_better=True,
            group=group,
            compute=partial(_entry, found, "aurg"),
        ),
        Metric(
            name=f"{prefix}_gain",
            title=f"{prefix.capitalize()} gain",
            words=f"share of the possible gain for the {what}",
            explanation="AURG/(AURG + AUSE) of the sparsification; 0 for a random order, 100 % for the best.",
            unit="%",
            digits=0,
            scale=100,
            higher_is_better=True,
            group=group,
            compute=partial(_entry, found, "gain"),
        ),
        Metric(
            name=f"{prefix}_ence",
            title=f"{prefix.capitalize()} ENCE",
            words=f"normalised calibration error for the {what}",
            explanation="relative difference between the predicted and the true RMS error; 0 is perfect.",
            unit="%",
            digits=0,
            scale=100,
            higher_is_better=False,
            group=group,
            compute=partial(_entry, found, "ence"),
        ),
    )


LABEL_METRICS = (
    Metric(
        name="dice",
        title="Dice",
        words="Dice",
        explanation="overlap of the warped label with the true one; 100 % is complete.",
        unit="%",
        scale=100,
        higher_is_better=True,
        compute=lambda label: dice(label.moved, label.fixed),
    ),
    Metric(
        name="whole_dice",
        title="Dice, whole stack",
        words="Dice of the whole stack",
        explanation="over all slices of the stack, those that have the label in one image alone too.",
        unit="%",
        scale=100,
        higher_is_better=True,
    ),
    Metric(
        name="jaccard",
        title="Jaccard",
        words="Jaccard",
        explanation="intersection of the two labels over their union.",
        unit="%",
        scale=100,
        higher_is_better=True,
        compute=lambda label: jaccard(label.moved, label.fixed),
    ),
    Metric(
        name="hd",
        title="HD",
        words="Hausdorff distance",
        explanation="the largest distance between the two outlines.",
        unit="mm",
        higher_is_better=False,
        compute=lambda label: label.distances.hd,
    ),
    Metric(
        name="hd95",
        title="HD95",
        words="95 % Hausdorff distance",
        explanation="the distance below which 95 % of the outlines lie.",
        unit="mm",
        higher_is_better=False,
        compute=lambda label: label.distances.hd95,
    ),
    Metric(
        name="asd",
        title="ASD",
        words="surface distance",
        explanation="the mean distance from the warped outline to the true one.",
        unit="mm",
        higher_is_better=False,
        compute=lambda label: label.distances.asd,
    ),
    Metric(
        name="assd",
        title="ASSD",
        words="symmetric surface distance",
        explanation="the mean distance between the outlines, measured both ways.",
        unit="mm",
        higher_is_better=False,
        compute=lambda label: label.distances.assd,
    ),
    *_error_metrics("contour", "contour error", lambda label: label.contour),
)
_END_POINT_ERROR = Metric(
    name="epe",
    title="EPE",
    words="end-point error",
    explanation="the mean distance between the estimated and the true displacement.",
    unit="mm",
    higher_is_better=False,
    group="truth",
    compute=lambda image: _mean(image.maps.end_point_error),
)
IMAGE_METRICS = (
    Metric(
        name="folding_percent",
        title="Folding",
        words="folding",
        explanation="the share of voxels where the displacement folds space over itself.",
        unit="%",
        digits=3,
        higher_is_better=False,
        group="regularity",
        compute=lambda image: percent_folded(image.jacobian),
    ),
    Metric(
        name="sd_log_jacobian",
        title="SD log J",
        words="roughness",
        explanation="how unevenly space is stretched: the standard deviation of log det J.",
        digits=3,
        higher_is_better=False,
        group="regularity",
        compute=lambda image: image.sd_log_jacobian,
    ),
    Metric(
        name="ause",
        title="AUSE",
        words="AUSE",
        explanation="the area between the sparsification curve and its oracle; 0 is a perfect noise map.",
        unit="×10⁻⁴",
        scale=1e4,
        higher_is_better=False,
        group="noise",
        compute=lambda image: image.curve and image.curve.ause,
    ),
    Metric(
        name="aurg",
        title="AURG",
        words="AURG",
        explanation="the area gained by the noise map over removing voxels at random.",
        unit="×10⁻⁴",
        scale=1e4,
        higher_is_better=True,
        group="noise",
        compute=lambda image: image.curve and image.curve.aurg,
    ),
    Metric(
        name="ause_foreground",
        title="AUSE, foreground",
        words="AUSE of the foreground",
        explanation="AUSE without the empty background.",
        unit="×10⁻⁴",
        scale=1e4,
        higher_is_better=False,
        group="noise",
        compute=lambda image: image.curve_foreground and image.curve_foreground.ause,
    ),
    Metric(
        name="aurg_foreground",
        title="AURG, foreground",
        words="AURG of the foreground",
        explanation="AURG without the empty background.",
        unit="×10⁻⁴",
        scale=1e4,
        higher_is_better=True,
        group="noise",
        compute=lambda image: image.curve_foreground and image.curve_foreground.aurg,
    ),
    Metric(
        name="ece",
        title="ECE",
        words="calibration error",
        explanation="mean difference between the coverage of the predicted intervals and their level.",
        unit="%",
        digits=1,
        scale=100,
        higher_is_better=False,
        group="noise",
        compute=lambda image: image.foreground_noise and expected_calibration_error(*image.foreground_noise),
    ),
    Metric(
        name="nll",
        title="NLL",
        words="negative log-likelihood",
        explanation="of the residuals under the predicted noise; lower is more likely.",
        unit="nats",
        higher_is_better=False,
        group="noise",
        compute=lambda image: image.foreground_noise and noise_nll(*image.foreground_noise),
    ),
    *(_coverage(level) for level in COVERAGE_LEVELS),
    Metric(
        name="displacement_sd_mean",
        title="Displacement SD",
        words="displacement uncertainty",
        explanation="the predicted error of the displacement.",
        unit="mm",
        group="uncertainty",
        compute=lambda image: image.displacement_sd.get("displacement_sd_mean"),
    ),
    Metric(
        name="displacement_sd_cv",
        title="Displacement SD, CV",
        words="variation of the uncertainty",
        explanation="its standard deviation over the voxels, divided by its mean; 0 is a constant map.",
        group="uncertainty",
        compute=lambda image: image.displacement_sd.get("displacement_sd_cv"),
    ),
    _END_POINT_ERROR,
    Metric(
        name="noise_correlation",
        title="Noise correlation",
        words="noise correlation",
        explanation="correlation of the noise map with the true noise; 1 is perfect.",
        digits=3,
        higher_is_better=True,
        group="truth",
        compute=lambda image: image.truth.get("noise_correlation"),
    ),
    Metric(
        name="noise_rank_correlation",
        title="Noise rank correlation",
        words="noise rank correlation",
        explanation="the same for the ranks of the voxels.",
        digits=3,
        higher_is_better=True,
        group="truth",
        compute=lambda image: image.truth.get("noise_rank_correlation"),
    ),
    Metric(
        name="noise_ratio",
        title="Noise ratio",
        words="noise ratio",
        explanation="predicted over true noise; 1 is right.",
        group="truth",
        compute=lambda image: image.truth.get("noise_ratio"),
    ),
    Metric(
        name="displacement_sd_correlation",
        title="Displacement SD, correlation with the error",
        words="uncertainty correlation",
        explanation="correlation of the displacement's uncertainty with its true error.",
        higher_is_better=True,
        group="truth",
        compute=lambda image: image.truth.get("displacement_sd_correlation"),
    ),
    Metric(
        name="displacement_sd_ratio",
        title="Displacement SD / error",
        words="uncertainty ratio",
        explanation="predicted over true error of the displacement; 1 is right.",
        group="truth",
        compute=lambda image: image.truth.get("displacement_sd_ratio"),
    ),
    *(_displacement_coverage(level) for level in DISPLACEMENT_LEVELS),
    *_error_metrics("error", "displacement error", lambda image: image.error),
    Metric(
        name="unusual",
        title="Unusual",
        words="share of unusual pairs",
        explanation="pairs unlike those of the calibration, whose intervals may not hold; 5 % of ordinary ones.",
        unit="%",
        digits=0,
        scale=100,
        group="error",
    ),
    Metric(
        name="tre_mean",
        title="TRE",
        words="target registration error",
        explanation="the mean distance between the landmarks after the registration.",
        unit="mm",
        higher_is_better=False,
        group="truth",
        compute=lambda image: image.landmark_distances and float(image.landmark_distances[0].mean()),
    ),
    Metric(
        name="tre_max",
        title="Largest TRE",
        words="largest target registration error",
        explanation="the distance of the worst landmark.",
        unit="mm",
        higher_is_better=False,
        group="truth",
        compute=lambda image: image.landmark_distances and float(image.landmark_distances[0].max()),
    ),
    Metric(
        name="tre_undeformed",
        title="TRE before",
        words="distance of the landmarks before",
        explanation="the mean distance between the landmarks without a registration.",
        unit="mm",
        group="truth",
        compute=lambda image: image.landmark_distances and float(image.landmark_distances[1].mean()),
    ),
    *_error_metrics("landmark", "landmark error", lambda image: image.landmarks),
    Metric(
        name="seconds",
        title="Time",
        words="time per pair",
        explanation="duration of the registration of one pair.",
        unit="s",
        higher_is_better=False,
        group="regularity",
    ),
)
_BY_NAME = {one.name: one for one in IMAGE_METRICS}
TRUTH_PER_LABEL = (replace(_END_POINT_ERROR, group="labels", compute=lambda label: label.end_point_error),)
_BY_STEM = {one.name: one for one in (*LABEL_METRICS, *TRUTH_PER_LABEL)}
_ORDER = [one.name for one in (*LABEL_METRICS, *IMAGE_METRICS)]
_LABELLED = re.compile(rf"({'|'.join(_BY_STEM)})_(\d+)")

# Modes of scoring that measure the distances between label surfaces in voxels.
IN_VOXELS = ("reference", "learn2reg")
ALWAYS_SCORED = ("folding_percent", "sd_log_jacobian", "ause", "aurg", "seconds")


def is_metric(name: str) -> bool:
    """True if a column of this name holds a metric."""
    return name in _BY_NAME or _LABELLED.fullmatch(name) is not None


def metric(name: str, *, voxels: bool = False, names: Mapping[int, str] | None = None) -> Metric:
    """Return the metric that a column holds.

    Args:
        name: The column, such as `dice_2` or `ause`.
        voxels: Distances between label surfaces are in voxels, as in the modes `IN_VOXELS`.
        names: Names of labels.

    Raises:
        KeyError: No metric has this name.
    """
    match = _LABELLED.fullmatch(name)
    if match is None:
        return _BY_NAME[name]
    base = _BY_STEM[match[1]]
    unit = "voxels" if voxels and base.unit == "mm" and base.name != _END_POINT_ERROR.name else base.unit
    label = int(match[2])
    return replace(base, name=name, label=label, label_name=(names or {}).get(label, ""), unit=unit)


def ordered(names: Iterable[str]) -> list[str]:
    """Return names of metrics in the order of the columns: overlap, distances, regularity, noise, truth, time."""

    def place(name: str) -> tuple[int, int]:
        match = _LABELLED.fullmatch(name)
        return (_ORDER.index(match[1]), int(match[2])) if match else (_ORDER.index(name), -1)

    return sorted(names, key=place)
