"""The names of the metrics: their order, what to print for them, which way is better."""

from __future__ import annotations

import re
from dataclasses import dataclass


@dataclass(frozen=True)
class Metric:
    """What a column of scores means.

    Attributes:
        name: The column.
        title: For people, with the unit.
        higher_is_better: None where neither end is good (a ratio that should be 1).
        scale: Multiply by this for print: Dice is printed in %.
        label: The label that it is about, where it is about one.
    """

    name: str
    title: str
    higher_is_better: bool | None
    scale: float = 1.0
    label: int | None = None


_LABELLED = (
    Metric("dice", "Dice (%)", True, 100),
    Metric("jaccard", "Jaccard (%)", True, 100),
    Metric("hd", "HD (mm)", False),
    Metric("hd95", "HD95 (mm)", False),
    Metric("asd", "ASD (mm)", False),
    Metric("assd", "ASSD (mm)", False),
)
_PLAIN = (
    Metric("folding_percent", "Folding (%)", False),
    Metric("sd_log_jacobian", "SD log J", False),
    Metric("ause", "AUSE (×1e-4)", False, 1e4),
    Metric("aurg", "AURG (×1e-4)", True, 1e4),
    Metric("ause_foreground", "AUSE foreground (×1e-4)", False, 1e4),
    Metric("aurg_foreground", "AURG foreground (×1e-4)", True, 1e4),
    Metric("ece", "ECE (%)", False, 100),
    Metric("nll", "NLL (nats)", False),
    Metric("coverage_50", "Coverage of 50 % (%)", None, 100),
    Metric("coverage_68", "Coverage of 68 % (%)", None, 100),
    Metric("coverage_90", "Coverage of 90 % (%)", None, 100),
    Metric("coverage_95", "Coverage of 95 % (%)", None, 100),
    Metric("displacement_sd_mean", "Displacement SD (mm)", None),
    Metric("displacement_sd_cv", "Displacement SD, spread / mean", None),
    Metric("epe", "EPE (mm)", False),
)
_AFTER_EPE = (
    Metric("noise_correlation", "Noise correlation", True),
    Metric("noise_rank_correlation", "Noise rank correlation", True),
    Metric("noise_ratio", "Noise ratio", None),
    Metric("displacement_sd_correlation", "Displacement SD, correlation with the error", True),
    Metric("displacement_sd_ratio", "Displacement SD / error", None),
    Metric("displacement_coverage_68", "Displacement coverage of 68 % (%)", None, 100),
    Metric("displacement_coverage_95", "Displacement coverage of 95 % (%)", None, 100),
    Metric("seconds", "Seconds", False),
)
_LABEL_EPE = Metric("epe", "EPE (mm)", False)
_KNOWN = {metric.name: metric for metric in (*_PLAIN, *_AFTER_EPE)}
_PER_LABEL = {metric.name: metric for metric in (*_LABELLED, _LABEL_EPE)}
_PATTERN = re.compile(r"(dice|jaccard|hd|hd95|asd|assd|epe)_(\d+)")

# Modes of scoring whose distances of labels are in voxels.
IN_VOXELS = ("reference", "learn2reg")
ALWAYS = ("folding_percent", "sd_log_jacobian", "ause", "aurg", "seconds")


def metric(name: str) -> Metric | None:
    """The metric that a column holds; None for any other column."""
    match = _PATTERN.fullmatch(name)
    if match:
        base = _PER_LABEL[match[1]]
        return Metric(name, base.title, base.higher_is_better, base.scale, int(match[2]))
    return _KNOWN.get(name)


def ordered(names: set[str]) -> list[str]:
    """Names of metrics in the order of the columns: overlap, distances, regularity, noise, truth, time."""
    bases = [entry.name for entry in (*_LABELLED, *_PLAIN, *_AFTER_EPE)]

    def place(name: str) -> tuple[int, int]:
        match = _PATTERN.fullmatch(name)
        return (bases.index(match[1]), int(match[2])) if match else (bases.index(name), -1)

    return sorted(names, key=place)
