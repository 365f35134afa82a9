"""Sparsification curves for print."""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence

import numpy as np
from matplotlib.axes import Axes
from matplotlib.figure import Figure
from matplotlib.lines import Line2D
from matplotlib.ticker import FuncFormatter, MaxNLocator, NullFormatter

from heteroreg.evaluation.scores import Scores
from heteroreg.registration.plot.style import INK_COLOUR, PALETTE, colour
from heteroreg.report.figures import SUPERSCRIPT, power_of_ten, shorten
from heteroreg.report.paper.printing import COLUMN, MM, PAGE, printed
from heteroreg.report.sparsification import SparsificationCurve, curves_of

VARIANTS = {"": "all pixels", "_foreground": "foreground"}
DASHES = ("solid", (0, (5, 1.2)), (0, (4, 1, 1, 1)))  # from the seventh curve on, when the colours repeat
ORACLE = (0, (1, 1.2))
LOG_RATIO = 20.0  # above this ratio between the curves a linear axis hides the low ones
PLOT_HEIGHT = 56.0  # mm
LEGEND_LINE = 3.4  # mm
LEGEND_LETTERS = 24  # of a name, so that AUSE fits beside it
SHOWN_FRACTION = 0.95  # the mean over the last few pixels is unsteady: the axis may leave it out


def sparsification_figure(scores: Mapping[str, Scores]) -> Figure | None:
    """Plot the sparsification curves of all evaluations, over all pixels and over the foreground.

    The foreground has its own plot where it differs from the whole. The error axis is logarithmic where the curves
    differ by more than a factor of 20.

    Args:
        scores: Name of the evaluation → its scores.

    Returns:
        The figure, or None where no evaluation has a curve.
    """
    plots = {suffix: curves for suffix in VARIANTS if (curves := curves_of(scores, suffix))}
    if "" in plots and "_foreground" in plots and _same(plots[""], plots["_foreground"]):
        del plots["_foreground"]
    if not plots:
        return None
    ranges = [_range(curves) for curves in plots.values()]
    logarithmic = any(high > LOG_RATIO * low for low, high in ranges) and all(low > 0 for low, _ in ranges)
    width = PAGE if len(plots) > 1 else COLUMN
    most = max(map(len, plots.values()))
    below = LEGEND_LINE * (most + 1) + 9.0
    with printed():
        figure = Figure(figsize=(width * MM, (PLOT_HEIGHT + below) * MM))
        share = 1 / len(plots)
        height = PLOT_HEIGHT + below
        for place, (suffix, curves) in enumerate(plots.items()):
            axes = figure.add_axes(
                (
                    place * share + 12 / width,
                    below / height,
                    share - 16 / width,
                    (PLOT_HEIGHT - (6 if len(plots) > 1 else 2)) / height,
                )
            )
            handles = _draw(axes, curves, logarithmic=logarithmic)
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


def _draw(axes: Axes, curves: Sequence[SparsificationCurve], *, logarithmic: bool) -> list[Line2D]:
    low, high = _range(curves)
    scale, unit = (1.0, "") if logarithmic else power_of_ten(high)
    handles = []
    for curve in curves:
        hue, dash = colour(curve.index), DASHES[curve.index // len(PALETTE) % len(DASHES)]
        (line,) = axes.plot(100 * curve.fraction, scale * curve.error, color=hue, linewidth=1.2, linestyle=dash)
        axes.plot(100 * curve.fraction, scale * curve.oracle, color=hue, linewidth=0.8, linestyle=ORACLE)
        line.set_label(shorten(curve.name, LEGEND_LETTERS) + curve.printed_ause)
        handles.append(line)
    handles.append(
        Line2D([], [], color=INK_COLOUR, linewidth=0.8, linestyle=ORACLE, label="oracle: the best order")
    )
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
    """Return 10⁻² for 0.01, since mathematical text is off in the figures."""
    return f"10{str(round(math.log10(value))).translate(SUPERSCRIPT)}"


def _range(curves: Sequence[SparsificationCurve]) -> tuple[float, float]:
    """Return the smallest and the largest error, without the unsteady end."""
    errors = np.concatenate([curve.error[curve.fraction <= SHOWN_FRACTION] for curve in curves])
    return float(errors.min()), float(errors.max())


def _same(first: Sequence[SparsificationCurve], second: Sequence[SparsificationCurve]) -> bool:
    return len(first) == len(second) and all(
        np.allclose(one.error, other.error, rtol=1e-6, atol=0) for one, other in zip(first, second, strict=True)
    )
