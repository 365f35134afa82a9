"""Panels that several figures for print share."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from functools import partial
from typing import Any

from matplotlib.axes import Axes
from matplotlib.colors import Colormap
from matplotlib.figure import Figure

from heteroreg.evaluation.gallery import Case
from heteroreg.registration.plot.drawing import ColourLimits, draw_image
from heteroreg.report.paper.layout import PanelRow, PrintPanel, largest, picture_grid
from heteroreg.report.paper.material import FIGURE_PAIRS, CasePairs, some
from heteroreg.system.arrays import Floats


def maps_figure(
    pairs: CasePairs,
    names: Sequence[str],
    has: Callable[[Case], bool],
    lead: str,
    lines: Callable[[Mapping[str, Case], Sequence[str]], list[PanelRow]],
) -> Figure | None:
    """Return a figure of maps, with a column for each evaluation that has any and rows for each of a few pairs.

    Args:
        pairs: The pairs to choose from.
        names: The evaluations, in order.
        has: Return True if a case has such a map.
        lead: Heading of the first column.
        lines: Return the rows of one pair, with the columns of the named evaluations.

    Returns:
        The figure, or None where no evaluation has a map.
    """
    usable = [pair for pair in pairs if any(has(case) for case in pair.values())]
    chosen = [name for name in names if any(has(pair[name]) for pair in usable if name in pair)]
    if not chosen:
        return None
    return pairs_figure(usable, [lead, *chosen], lambda pair: lines(pair, chosen))


def pairs_figure(
    pairs: CasePairs,
    headings: Sequence[str],
    lines: Callable[[Mapping[str, Case]], list[PanelRow]],
    legend: Sequence[Any] = (),
) -> Figure:
    """Return a figure with rows for each of as many pairs as a page holds, at most four.

    Args:
        pairs: The pairs to choose from, one or more.
        headings: One for each column.
        lines: Return the rows of one pair.
        legend: Handles of a legend below.
    """

    def make(count: int) -> list[PanelRow]:
        return [line for pair in some(pairs, count) for line in lines(pair)]

    fitting = largest(make, headings, min(FIGURE_PAIRS, len(pairs)), legend=bool(legend))
    return picture_grid(headings, fitting, legend)


def image_of(
    case: Case, values: Floats, limits: ColourLimits, look: str | Colormap = "gray", note: str = ""
) -> PrintPanel:
    """Return the panel of an image or a map.

    Args:
        case: The case.
        values: The image or map [x, y].
        limits: Values at the ends of the colour map.
        look: Colour map.
        note: Text in the corner.
    """
    return PrintPanel(partial(_draw, case, values, limits, look), note)


def images_of(
    cases: Sequence[Case | None],
    get: Callable[[Case], Floats | None],
    limits: ColourLimits,
    look: str | Colormap = "gray",
) -> list[PrintPanel | None]:
    """Return the same map of several cases; None where a case lacks it."""
    panels: list[PrintPanel | None] = []
    for case in cases:
        values = None if case is None else get(case)
        panels.append(None if case is None or values is None else image_of(case, values, limits, look))
    return panels


def empty(axes: Axes) -> None:
    """Draw nothing, for a place without a map."""


def _draw(case: Case, values: Floats, limits: ColourLimits, look: str | Colormap, axes: Axes) -> None:
    # "none": the file keeps the pixels as they are, and prints them without smoothing.
    draw_image(axes, values, case.spacing, limits, look, "none")
