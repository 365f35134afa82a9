"""Plots of scores, as Matplotlib figures."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from textwrap import fill

import numpy as np
from matplotlib.axes import Axes
from matplotlib.figure import Figure
from matplotlib.lines import Line2D
from matplotlib.ticker import MaxNLocator
from numpy.typing import ArrayLike

from heteroreg.registration.plot.style import INK_COLOUR, colour, styled
from heteroreg.report.sparsification import SparsificationCurve
from heteroreg.system.arrays import Floats

PLOT_WIDTH = 4.6  # inches: about the natural size on a phone, so that numbers stay readable
TITLE_LENGTH = 46  # characters of a line as wide as the plot
SUPERSCRIPT = str.maketrans("-0123456789", "⁻⁰¹²³⁴⁵⁶⁷⁸⁹")
GOLDEN_RATIO = 0.6180339887498949


def box_plot(values: Mapping[str, ArrayLike], label: str = "", title: str = "") -> Figure:
    """Draw box plots, one row for each evaluation, with a point for each patient.

    The box spans the quartiles, its line is the median, and the diamond is the mean. Whiskers reach the last value
    within 1.5 box lengths. Fewer than four values are shown as points and mean alone.

    Args:
        values: Name of the evaluation → one number per patient; NaN are left out.
        label: Label of the axis, with its unit.
        title: Title of the plot; a long one takes several lines.
    """
    rows = [(name, _finite(numbers)) for name, numbers in values.items()]
    with styled():
        figure = Figure(figsize=(PLOT_WIDTH, 0.8 + 0.66 * len(rows)), layout="constrained")
        axes = figure.add_subplot()
        for index, (name, numbers) in enumerate(rows):
            _box(axes, index, name, numbers)
        axes.set_ylim(len(rows) - 0.35, -0.75)
        axes.set_yticks([])
        lay_out_rows(axes)
        axes.set_xlabel(label)
        axes.set_title(fill(title, TITLE_LENGTH))
    return figure


def draw_box(axes: Axes, index: int, numbers: Floats, *, height: float, line: float, median: float) -> None:
    """Draw the box of one row, in the colour of its index.

    Args:
        axes: Where to draw.
        index: The row.
        numbers: The values.
        height: Height of the box, in rows.
        line: Width of the lines in points.
        median: Width of the median's line in points.
    """
    hue = colour(index)
    whisker = {"color": hue, "linewidth": line}
    axes.boxplot(
        numbers,
        positions=[index],
        orientation="horizontal",
        widths=height,
        showfliers=False,
        patch_artist=True,
        boxprops={"facecolor": hue + "26", "edgecolor": hue, "linewidth": line},
        medianprops={"color": hue, "linewidth": median},
        whiskerprops=whisker,
        capprops=whisker,
        manage_ticks=False,
    )


def draw_points(axes: Axes, index: int, numbers: Floats, *, spread: float, size: float, alpha: float) -> None:
    """Draw a point for each number, spread over this share of a row."""
    # The golden ratio separates neighbours without random numbers: the figure is reproducible.
    jitter = ((np.arange(len(numbers)) * GOLDEN_RATIO) % 1 - 0.5) * spread
    axes.scatter(numbers, index + jitter, s=size, color=colour(index), alpha=alpha, linewidths=0, zorder=3)


def lay_out_rows(axes: Axes) -> None:
    """Lay out axes whose rows are names."""
    axes.spines["left"].set_visible(False)
    axes.grid(axis="y", visible=False)
    axes.xaxis.set_major_locator(MaxNLocator(6))
    axes.margins(x=0.04)


def _box(axes: Axes, index: int, name: str, numbers: Floats) -> None:
    hue = colour(index)
    if len(numbers) >= 4:
        draw_box(axes, index, numbers, height=0.44, line=1.3, median=2.2)
    draw_points(axes, index, numbers, spread=0.3, size=13, alpha=0.65)
    if len(numbers):
        axes.scatter(
            [numbers.mean()], [index], marker="D", s=26, facecolor="white", edgecolor=hue, linewidths=1.3, zorder=4
        )
    text = shorten(name) if len(numbers) else f"{shorten(name)}: no values"
    axes.text(0, index - 0.29, text, transform=axes.get_yaxis_transform(), va="bottom", ha="left")


def sparsification_plot(curves: Sequence[SparsificationCurve]) -> Figure:
    """Plot sparsification curves with their oracles, and AUSE in the legend."""
    with styled():
        figure = Figure(figsize=(PLOT_WIDTH, 3.3 + 0.2 * len(curves)), layout="constrained")
        axes = figure.add_subplot()
        handles = []
        scale, unit = power_of_ten(max(float(np.max(curve.error)) for curve in curves))
        for curve in curves:
            hue = colour(curve.index)
            (line,) = axes.plot(100 * curve.fraction, scale * curve.error, color=hue, linewidth=2)
            axes.plot(100 * curve.fraction, scale * curve.oracle, color=hue, linewidth=1.2, linestyle=(0, (4, 2.5)))
            line.set_label(shorten(curve.name) + curve.printed_ause)
            handles.append(line)
        handles.append(Line2D([], [], color=INK_COLOUR, linewidth=1.2, linestyle=(0, (4, 2.5)), label="oracle"))
        axes.set_xlim(0, 100)
        axes.set_ylim(bottom=0)
        axes.set_xlabel("removed, most uncertain first (%)")
        axes.set_ylabel(f"MSE of the rest{unit}")
        axes.yaxis.set_major_locator(MaxNLocator(5))
        figure.legend(handles=handles, loc="outside lower left", ncols=1)
    return figure


def power_of_ten(largest: float) -> tuple[float, str]:
    """Return the power of ten that scales a small number to 1 to 10, and its text on an axis."""
    if not 0 < largest < 0.1:
        return 1.0, ""
    exponent = int(np.floor(np.log10(largest)))
    return 10.0**-exponent, f" (×10{str(exponent).translate(SUPERSCRIPT)})"


def shorten(name: str, width: int = 42) -> str:
    """Shorten a name to one line of a plot, leaving out its middle where it is too long."""
    name = " ".join(name.split())
    if len(name) <= width:
        return name
    half = (width - 1) // 2
    return f"{name[:half].rstrip()}…{name[-half:].lstrip()}"


def _finite(numbers: ArrayLike) -> Floats:
    array = np.asarray(numbers, dtype=float).ravel()
    return np.asarray(array[np.isfinite(array)])
