"""Figure of the Dice of each patient and the paired differences to the baseline."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
import pandas as pd
from matplotlib.axes import Axes
from matplotlib.figure import Figure

from heteroreg.comparison import Comparison
from heteroreg.evaluation.metrics import Metric
from heteroreg.registration.plot.style import INK_COLOUR
from heteroreg.report.figures import draw_box, draw_points, lay_out_rows, shorten
from heteroreg.report.paper.layout import LETTER_WIDTH
from heteroreg.report.paper.printing import COLUMN, HEIGHT, MM, PAGE, SMALL, printed
from heteroreg.report.tables import Results
from heteroreg.system.arrays import Floats

DICE_LABELS = 3  # one row of plots each
NAME_LETTERS = 22
FAR_RATIO = 8.0  # a row this many times as far as the others is printed as a number
# mm
ROW_HEIGHT = 6.5  # of an evaluation, less where there are many
ABOVE, BELOW = 4.5, 9.0
PLOT_MARGINS = ABOVE + BELOW
PLOT_GAP = 4.0
RIGHT_MARGIN = 3.0


def dice_plots(comparison: Comparison, labels: Sequence[int]) -> Figure | None:
    """Draw box plots of Dice over patients, beside the paired differences to the baseline.

    Each point is one patient. The diamond is the mean difference with its 95 % interval, filled where the
    difference is significant (paired t-test, Holm's correction).

    Args:
        comparison: The comparison.
        labels: The labels; the first three are shown.

    Returns:
        The figure, or None where no Dice was scored.
    """
    results = Results(comparison)
    metrics = [f"dice_{label}" for label in labels if f"dice_{label}" in results.measured][:DICE_LABELS]
    if not metrics:
        return None
    names = results.names
    width = PAGE if len(names) > 1 else COLUMN
    row = min(ROW_HEIGHT, (HEIGHT / len(metrics) - PLOT_MARGINS) / len(names))
    tall = row * len(names)
    height = len(metrics) * (tall + PLOT_MARGINS)
    with printed():
        figure = Figure(figsize=(width * MM, height * MM))
        start = LETTER_WIDTH * max(len(shorten(name, NAME_LETTERS)) for name in names) + 3.0
        room = width - start - RIGHT_MARGIN
        box = room if len(names) == 1 else (room - PLOT_GAP) / 2
        for number, metric in enumerate(metrics):
            bottom = height - number * (tall + PLOT_MARGINS) - tall - ABOVE
            patients = _patients(comparison.values, metric)
            shown = results.column(metric)
            axes = figure.add_axes((start / width, bottom / height, box / width, tall / height))
            _boxes(axes, patients, names, shown)
            if len(names) > 1:
                left = start + box + PLOT_GAP
                axes = figure.add_axes((left / width, bottom / height, box / width, tall / height))
                _differences(axes, patients, results, metric)
    return figure


def _patients(values: pd.DataFrame, metric: str) -> dict[str, pd.Series[float]]:
    """Return for each evaluation the value of each patient."""
    chosen = values[values["metric"] == metric]
    return {str(row): group.set_index("patient")["value"] for row, group in chosen.groupby("row", sort=False)}


def _boxes(axes: Axes, patients: dict[str, pd.Series[float]], names: Sequence[str], shown: Metric) -> None:
    for index, name in enumerate(names):
        if name in patients:
            numbers = shown.scale * patients[name].to_numpy(dtype=float)
            draw_box(axes, index, numbers, height=0.6, line=0.8, median=1.6)
            _points(axes, index, numbers)
    _rows(axes, len(names))
    axes.set_yticks(range(len(names)), [shorten(name, NAME_LETTERS) for name in names])
    axes.set_xlabel(shown.long_heading)
    axes.set_title("one point a patient", fontsize=SMALL)


def _differences(axes: Axes, patients: dict[str, pd.Series[float]], results: Results, metric: str) -> None:
    shown = results.column(metric)
    axes.axvline(0, color=INK_COLOUR, linewidth=0.6, zorder=1)
    points = {
        name: shown.scale * (patients[name] - patients[results.baseline]).to_numpy(dtype=float)
        for name in results.names
        if (found := results.get(name, metric)) is not None and found.compared
    }
    far = _far(points)
    for index, name in enumerate(results.names):
        result = results.get(name, metric)
        if result is None or name not in points:
            continue
        if name in far:
            _beyond(axes, index, shown.scale * result.difference)
            continue
        _points(axes, index, points[name])
        mean, low, high = (
            shown.scale * number for number in (result.difference, result.difference_low, result.difference_high)
        )
        if np.isfinite([low, high]).all():
            axes.plot([low, high], [index, index], color=INK_COLOUR, linewidth=1.2, zorder=4)
        face = INK_COLOUR if result.significant else "white"
        axes.plot(
            [mean],
            [index],
            "D",
            markersize=3.6,
            color=INK_COLOUR,
            markerfacecolor=face,
            markeredgewidth=0.8,
            zorder=5,
        )
    _rows(axes, len(results.names))
    axes.set_yticks([])
    unit = " (points)" if shown.unit == "%" else f" ({shown.unit})" if shown.unit else ""
    axes.set_title("mean and 95 % interval; filled: p < 0.05 (Holm)", fontsize=SMALL)
    axes.set_xlabel(f"difference to {shorten(results.baseline, NAME_LETTERS)}{unit}")


def _far(points: dict[str, Floats]) -> set[str]:
    """Return the rows so far off that they would squeeze all others into a line, usually `undeformed`.

    Their mean is beyond every point of the others, and more than FAR_RATIO times as far from 0 as their median.
    """
    means = {name: abs(float(np.nanmean(numbers))) for name, numbers in points.items()}
    found = set()
    for name in points:
        others = [other for other in points if other != name]
        if not others:
            continue
        reach = max(float(np.nanmax(np.abs(points[other]))) for other in others)
        if means[name] > max(reach, FAR_RATIO * float(np.median([means[other] for other in others]))):
            found.add(name)
    return found


def _beyond(axes: Axes, index: int, mean: float) -> None:
    """Print the mean of a row outside the plot on the side where it lies."""
    left = mean < 0
    text = f"◂ {mean:.1f}".replace("-", "−") if left else f"{mean:.1f} ▸"
    side, edge = ("left", 0.01) if left else ("right", 0.99)
    across = axes.get_yaxis_transform()
    axes.text(edge, index, text, transform=across, ha=side, va="center", fontsize=SMALL, color=INK_COLOUR)


def _points(axes: Axes, index: int, numbers: Floats) -> None:
    draw_points(axes, index, numbers, spread=0.4, size=4, alpha=0.7)


def _rows(axes: Axes, count: int) -> None:
    axes.set_ylim(count - 0.5, -0.5)
    axes.tick_params(axis="y", length=0)
    lay_out_rows(axes)
