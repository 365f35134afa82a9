"""Sparsification curves in print."""

from __future__ import annotations

import math
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from functools import partial

import numpy as np
from matplotlib.axes import Axes
from matplotlib.figure import Figure
from matplotlib.lines import Line2D
from matplotlib.ticker import FuncFormatter, MaxNLocator, NullFormatter

from heteroreg.evaluation.metrics import metric
from heteroreg.evaluation.scores import Scores
from heteroreg.report.figures import SUPERSCRIPT, power_of_ten, shorten
from heteroreg.report.paper.printing import COLUMN, INK, MM, PAGE, printed
from heteroreg.report.style import PALETTE, colour
from heteroreg.system.arrays import Floats

VARIANTS = {"": "all pixels", "_foreground": "foreground"}
DASHES = ("solid", (0, (5, 1.2)), (0, (4, 1, 1, 1)))  # for the seventh curve and on, in the colours again
ORACLE = (0, (1, 1.2))
RANGE = 20.0  # above this ratio between the curves a linear axis hides the low ones
PLOT = 56.0  # mm
ENTRY = 3.4  # mm: a line of the legend
LETTERS = 24  # of a name, so that AUSE fits beside it
SHOWN = 0.95  # the last pixels are few and their mean is unsteady: the axis need not hold them


@dataclass(frozen=True)
class Curve:
    """The curve of one evaluation.

    Attributes:
        name: Of the evaluation.
        index: Its place in the comparison, which gives its colour.
        fraction: Removed share.
        error: Mean squared error of the rest.
        oracle: The same in the best order.
        ause: The area between them, mean over patients.
    """

    name: str
    index: int
    fraction: Floats
    error: Floats
    oracle: Floats
    ause: float


def curves_of(scores: Mapping[str, Scores], suffix: str = "") -> list[Curve]:
    """The curves that the evaluations have, over all pixels or with `_foreground` over those."""
    found = []
    for index, (name, one) in enumerate(scores.items()):
        table = one.sparsification
        if table is None or f"mse{suffix}" not in table:
            continue
        fraction, error, oracle = (
            table[key].to_numpy(dtype=float) for key in ("fraction", f"mse{suffix}", f"oracle{suffix}")
        )
        patients = one.per_patient()
        ause = float(patients[f"ause{suffix}"].mean()) if f"ause{suffix}" in patients else math.nan
        found.append(Curve(name, index, fraction, error, oracle, ause))
    return found


def sparsification(scores: Mapping[str, Scores]) -> Figure | None:
    """Sparsification curves of all evaluations that have them, over all pixels and over the foreground.

    The foreground has a plot of its own where it is not all there is. The axis of the error is logarithmic
    where the curves differ by more than a factor of 20.

    Args:
        scores: Name of the evaluation → its scores.

    Returns:
        The figure; None where no evaluation has a curve.
    """
    plots = {suffix: curves for suffix in VARIANTS if (curves := curves_of(scores, suffix))}
    if "" in plots and "_foreground" in plots and _same(plots[""], plots["_foreground"]):
        del plots["_foreground"]
    if not plots:
        return None
    ranges = [_range(curves) for curves in plots.values()]
    logarithmic = any(high > RANGE * low for low, high in ranges) and all(low > 0 for low, _ in ranges)
    width = PAGE if len(plots) > 1 else COLUMN
    most = max(map(len, plots.values()))
    below = ENTRY * (most + 1) + 9.0
    with printed():
        figure = Figure(figsize=(width * MM, (PLOT + below) * MM))
        share = 1 / len(plots)
        height = PLOT + below
        for place, (suffix, curves) in enumerate(plots.items()):
            axes = figure.add_axes(
                (
                    place * share + 12 / width,
                    below / height,
                    share - 16 / width,
                    (PLOT - (6 if len(plots) > 1 else 2)) / height,
                )
            )
            printed_area = partial(metric(f"ause{suffix}").format, unit=True)
            handles = _draw(axes, curves, printed_area, logarithmic=logarithmic)
            if len(plots) > 1:
                axes.set_title(VARIANTS[suffix])
            figure.legend(
                handles=handles,
                loc="lower left",
                bbox_to_anchor=(place * share + 10 / width, 0),
                borderaxespad=0.3,
                labelspacing=0.25,
                handlelength=2.6,
            )
    return figure


def _draw(
    axes: Axes, curves: Sequence[Curve], printed_area: Callable[[float], str], *, logarithmic: bool
) -> list[Line2D]:
    low, high = _range(curves)
    scale, unit = (1.0, "") if logarithmic else power_of_ten(high)
    handles = []
    for curve in curves:
        hue, dash = colour(curve.index), DASHES[curve.index // len(PALETTE) % len(DASHES)]
        (line,) = axes.plot(100 * curve.fraction, scale * curve.error, color=hue, linewidth=1.2, linestyle=dash)
        axes.plot(100 * curve.fraction, scale * curve.oracle, color=hue, linewidth=0.8, linestyle=ORACLE)
        area = f" · AUSE {printed_area(curve.ause)}" if math.isfinite(curve.ause) else ""
        line.set_label(f"{shorten(curve.name, LETTERS)}{area}")
        handles.append(line)
    handles.append(Line2D([], [], color=INK, linewidth=0.8, linestyle=ORACLE, label="oracle: the best order"))
    axes.set_xlim(0, 100)
    axes.set_xlabel("removed, most uncertain first (%)")
    axes.set_ylabel(f"MSE of the rest{unit}")
    if logarithmic:
        axes.set_yscale("log")
        axes.set_ylim(low / 3, 1.5 * high)
        axes.yaxis.set_major_formatter(FuncFormatter(_power))
        axes.yaxis.set_minor_formatter(NullFormatter())
    else:
        axes.set_ylim(bottom=0)
        axes.yaxis.set_major_locator(MaxNLocator(5))
    return handles


def _power(value: float, _: int | None = None) -> str:
    """10⁻² for 0.01: the figures have no mathematical type."""
    return f"10{str(round(math.log10(value))).translate(SUPERSCRIPT)}"


def _range(curves: Sequence[Curve]) -> tuple[float, float]:
    """Smallest and largest error, the unsteady end aside."""
    errors = np.concatenate([curve.error[curve.fraction <= SHOWN] for curve in curves])
    return float(errors.min()), float(errors.max())


def _same(first: Sequence[Curve], second: Sequence[Curve]) -> bool:
    return len(first) == len(second) and all(
        np.allclose(one.error, other.error, rtol=1e-6, atol=0) for one, other in zip(first, second, strict=True)
    )
