"""Metrics in words and numbers as people read them."""

from __future__ import annotations

import math
import re
from dataclasses import dataclass

from heteroreg.evaluation.metrics import Metric, metric

# The name spelled out, and a sentence for those who meet the metric for the first time.
WORDS: dict[str, tuple[str, str]] = {
    "dice": ("Dice", "overlap of the warped label with the true one; 100 % is complete."),
    "jaccard": ("Jaccard", "what the two labels share, out of what they cover together."),
    "hd": ("Hausdorff distance", "the largest distance between the two outlines."),
    "hd95": ("Hausdorff distance, 95 %", "the distance below which 95 % of the outlines lie."),
    "asd": ("Surface distance", "the mean distance from the one outline to the other."),
    "assd": ("Symmetric surface distance", "the mean distance between the outlines, measured both ways."),
    "folding_percent": ("Folding", "the share of voxels where the displacement folds space over itself."),
    "sd_log_jacobian": ("Roughness", "how unevenly space is stretched: the standard deviation of log det J."),
    "ause": ("AUSE", "the area between the sparsification curve and its oracle; 0 is a perfect noise map."),
    "aurg": ("AURG", "the area gained by the noise map over removing voxels at random."),
    "ause_foreground": ("AUSE, foreground", "AUSE without the empty background."),
    "aurg_foreground": ("AURG, foreground", "AURG without the empty background."),
    "ece": ("Calibration error", "how far the predicted intervals are from holding what they promise."),
    "nll": ("Negative log-likelihood", "how unlikely the residuals are under the predicted noise."),
    "coverage_50": ("Coverage of 50 % intervals", "50 % is right."),
    "coverage_68": ("Coverage of 68 % intervals", "68 % is right."),
    "coverage_90": ("Coverage of 90 % intervals", "90 % is right."),
    "coverage_95": ("Coverage of 95 % intervals", "95 % is right."),
    "epe": ("End-point error", "the mean distance between the estimated and the true displacement."),
    "noise_correlation": ("Noise correlation", "how well the noise map follows the true noise; 1 is perfect."),
    "noise_rank_correlation": ("Noise rank correlation", "the same, by the order of the voxels alone."),
    "noise_ratio": ("Noise ratio", "predicted over true noise; 1 is right."),
    "displacement_sd_mean": (
        "Displacement uncertainty",
        "how far off the displacement may be, by its own account.",
    ),
    "displacement_sd_cv": ("Spread of the uncertainty", "how much it differs from place to place; 0 is constant."),
    "displacement_sd_correlation": ("Uncertainty correlation", "how well the uncertainty follows the true error."),
    "displacement_sd_ratio": ("Uncertainty ratio", "predicted over true error of the displacement; 1 is right."),
    "displacement_coverage_68": ("Displacement coverage of 68 % intervals", "68 % is right."),
    "displacement_coverage_95": ("Displacement coverage of 95 % intervals", "95 % is right."),
    "seconds": ("Time per pair", "what the registration of one pair took."),
}
UNITS = {"seconds": "s"}
DIGITS = {"folding_percent": 3, "sd_log_jacobian": 3, "noise_correlation": 3, "noise_rank_correlation": 3}
NBSP = "\N{NO-BREAK SPACE}"
ONE_DIGIT = ("%",)
PROPER = ("Dice", "Jaccard", "Hausdorff")  # names of people keep their capital


@dataclass(frozen=True)
class Column:
    """A metric as the page shows it.

    Attributes:
        metric: The metric.
        name: Its name in words, with the label: `Dice, label 2`.
        unit: Its unit; empty where it has none.
        explanation: A sentence on what it measures.
        kind: Its name without the label: `Dice`.
    """

    metric: Metric
    kind: str
    name: str
    unit: str
    explanation: str

    @property
    def arrow(self) -> str:
        """`↑` where higher is better, `↓` where lower is, empty where neither is."""
        return {True: "↑", False: "↓", None: ""}[self.metric.higher_is_better]

    @property
    def heading(self) -> str:
        """Name, direction and unit: `Dice, label 2 ↑ (%)`."""
        unit = f" ({self.unit})" if self.unit else ""
        return f"{self.name} {self.arrow}".rstrip() + unit

    @property
    def spoken_kind(self) -> str:
        """The kind within a sentence: `Dice`, `surface distance`."""
        first = self.kind.split(",")[0].split()[0]
        proper = first.isupper() or first in PROPER
        return self.kind if proper else self.kind[0].lower() + self.kind[1:]

    @property
    def spoken(self) -> str:
        """The name within a sentence: `Dice of label 2`, `folding`."""
        label = self.metric.label
        return self.spoken_kind if label is None else f"{self.spoken_kind} of label {label}"

    @property
    def direction(self) -> str:
        """The arrow in words, for those who hear the page."""
        return {True: "higher is better", False: "lower is better", None: ""}[self.metric.higher_is_better]

    def better(self, number: float, other: float) -> bool:
        """Whether a mean is better than another."""
        return number > other if self.metric.higher_is_better else number < other

    def number(self, value: float, *, sign: bool = False) -> str:
        """A stored value as it is printed: scaled, with the metric's decimals, `–` where there is none."""
        if not math.isfinite(value):
            return "–"
        value *= self.metric.scale
        default = 1 if self.unit in ONE_DIGIT else 2
        text = f"{abs(value):.{DIGITS.get(self.metric.name, default)}f}"
        zero = not re.search("[1-9]", text)
        return ("" if zero else "−" if value < 0 else "+" if sign else "") + text

    def with_unit(self, value: float, *, sign: bool = False) -> str:
        """The same with its unit: `80.1 %`; a difference of percentages is in points."""
        unit = "points" if sign and self.unit == "%" else self.unit
        return f"{self.number(value, sign=sign)}{NBSP}{unit}".rstrip()


def column(name: str, *, voxels: bool = False) -> Column:
    """How to show the metric of this column of scores; one without words is shown under its own name.

    Args:
        name: The column.
        voxels: Whether distances of labels are in voxels, as in some modes.
    """
    known = metric(name) or Metric(name, name, None)
    base = re.sub(r"_\d+$", "", name) if known.label is not None else name
    kind, explanation = WORDS.get(base, (name.replace("_", " "), ""))
    words = kind if known.label is None else f"{kind}, label {known.label}"
    unit = re.search(r"\(([^)]*)\)$", known.title)
    text = UNITS.get(base, unit.group(1) if unit else "")
    if voxels and known.label is not None and base != "epe":
        text = text.replace("mm", "voxels")
    return Column(known, kind, words, text.replace("×1e-4", "×10⁻⁴"), explanation)


def p_value(p: float) -> str:
    """A p-value with two digits: `p = 0.21`, `p < 0.001`, or `no test`."""
    if not math.isfinite(p):
        return "no test"
    if p < 0.001:
        return f"p{NBSP}<{NBSP}0.001"
    return f"p{NBSP}={NBSP}{p:.3f}" if p < 0.1 else f"p{NBSP}={NBSP}{p:.2f}"


def joined(names: list[str]) -> str:
    """`a`, `a and b`, `a, b and c`."""
    return names[0] if len(names) == 1 else f"{', '.join(names[:-1])} and {names[-1]}"
